//! The parts of a connection string, and percent-decoding. Source: "Connection String".

use percent_encoding::percent_decode_str;
use zeroize::Zeroize;

use super::trouble::{ENCODE_CREDENTIALS, invalid};
use crate::error::{Error, Result};

/// The parts, still encoded.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// True for the scheme `mongodb+srv`.
    pub(super) srv: bool,
    /// The text before the `@`.
    pub(super) userinfo: Option<&'a str>,
    pub(super) userinfo_offset: usize,
    /// The hosts, separated by commas.
    pub(super) hosts: &'a str,
    /// The database, or empty if there is none.
    pub(super) database: &'a str,
    /// The options, separated by `&`, or empty if there are none.
    pub(super) options: &'a str,
    /// Database and options, unchanged.
    pub(super) after_hosts: &'a str,
    /// True if a `/` ends the hosts.
    pub(super) slash: bool,
}

/// Splits the text at the first `/` or `?`, the part before that at the last `@`, and the part after it at the first
/// `?`. Rejects an `@` that a password with one of these characters could leave there.
pub(super) fn split(uri: &str) -> Result<Parts<'_>> {
    no_control_characters(uri)?;
    let (srv, rest) = scheme(uri)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, after_hosts) = rest.split_at(end);
    let slash = after_hosts.starts_with('/');
    let tail = after_hosts.strip_prefix('/').unwrap_or(after_hosts);
    let (database, options) = tail.split_once('?').unwrap_or((tail, ""));
    let (userinfo, hosts) = match authority.rsplit_once('@') {
        Some((userinfo, hosts)) => (Some(userinfo), hosts),
        None => (None, authority),
    };
    if database.contains('@') {
        return Err(invalid(
            "the database name",
            "contains an \"@\" that is not percent-encoded; it may belong to a password with an \
             unescaped \"/\"",
            ENCODE_CREDENTIALS,
        ));
    }
    if !slash && options.contains('@') {
        return Err(invalid(
            "the host part",
            "is followed by \"?\" and an \"@\" that is not percent-encoded; it may belong to a \
             password with an unescaped \"?\"",
            "Percent-encode the password (? as %3F, @ as %40). If the \"@\" does belong to an option, \
             write %40 there, or \"/?\" behind the hosts.",
        ));
    }
    Ok(Parts {
        srv,
        userinfo,
        userinfo_offset: uri.len() - rest.len(),
        hosts,
        database,
        options,
        after_hosts,
        slash,
    })
}

/// Decodes the name and the password of the user.
pub(super) fn userinfo(text: &str, offset: usize) -> Result<(String, Option<String>)> {
    let refuse = |index: usize, what: &str| {
        Err(invalid(
            format_args!("byte {} (in the user name or password)", offset + index + 1),
            what,
            ENCODE_CREDENTIALS,
        ))
    };
    if let Some(index) = text.find('@') {
        return refuse(index, "is an \"@\" that must be percent-encoded");
    }
    let mut colons = text.match_indices(':');
    if let (Some(_), Some((index, _))) = (colons.next(), colons.next()) {
        return refuse(index, "is a second \":\", which must be percent-encoded");
    }
    if let Some(index) = text.find(|c: char| c.is_ascii() && !is_userinfo(c)) {
        return refuse(index, "is a character that must be percent-encoded");
    }
    let (name, password) = match text.split_once(':') {
        Some((name, password)) => (name, Some(password)),
        None => (text, None),
    };
    let part = |text, place| {
        let decoded = decode(text).map_err(|bad| bad.error(place, ENCODE_CREDENTIALS))?;
        // A NUL separates name and password in PLAIN, and ends a text in C.
        if decoded.contains('\0') {
            return Err(invalid(place, "contains a NUL", "Remove the %00."));
        }
        Ok(decoded)
    };
    let password = password
        .map(|text| part(text, "the password"))
        .transpose()?;
    Ok((part(name, "the user name")?, password))
}

/// Decodes the name of the database; `None` if there is none.
pub(super) fn database(text: &str) -> Result<Option<String>> {
    const PLACE: &str = "the database name";
    if text.is_empty() {
        return Ok(None);
    }
    let name = decode(text).map_err(|bad| bad.error(PLACE, ENCODE_PERCENT))?;
    match name
        .chars()
        .find(|c| matches!(c, '/' | '\\' | ' ' | '"' | '$') || c.is_control())
    {
        Some('/') => Err(invalid(
            PLACE,
            "contains a \"/\"",
            "One \"/\" stands between the hosts and the database. Percent-encode those in the path \
             of a Unix socket, in the user name and in the password, as %2F.",
        )),
        Some(c) if c.is_control() => {
            Err(invalid(PLACE, "contains a control character", "Remove it."))
        }
        Some(c) => Err(invalid(
            PLACE,
            format_args!("contains {c:?}"),
            "The name of a database holds none of / \\ \" $ and no space.",
        )),
        None => Ok(Some(name)),
    }
}

/// The remedy for an invalid percent sign outside of the credentials.
pub(super) const ENCODE_PERCENT: &str =
    "Write a percent sign as %25; other bytes of UTF-8 as % and two hexadecimal digits.";

/// The reason why a text cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadEncoding {
    /// A `%` without two hexadecimal digits after it.
    Percent,
    /// The bytes are not UTF-8.
    Utf8,
}

impl BadEncoding {
    pub(super) fn error(self, place: &str, remedy: &str) -> Error {
        let problem = match self {
            Self::Percent => "has a \"%\" that two hexadecimal digits do not follow",
            Self::Utf8 => "is not UTF-8 after percent-decoding",
        };
        invalid(place, problem, remedy)
    }
}

/// Decodes `%XX`, strictly: RFC 3986 §2.1, and UTF-8.
pub(super) fn decode(text: &str) -> Result<String, BadEncoding> {
    let bytes = text.as_bytes();
    let escapes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    for (index, _) in escapes {
        let digits = bytes
            .get(index + 1..index + 3)
            .ok_or(BadEncoding::Percent)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(BadEncoding::Percent);
        }
    }
    // The text may be a password. The capacity is sufficient for all of it, so no freed memory contains a piece of it.
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend(percent_decode_str(text));
    String::from_utf8(decoded).map_err(|error| {
        error.into_bytes().zeroize();
        BadEncoding::Utf8
    })
}

/// RFC 3986 §3.2.1: `unreserved / pct-encoded / sub-delims / ":"`.
fn is_userinfo(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:".contains(c)
}

/// Rejects a line break at the end of a file, and sequences that would control a terminal or a log.
fn no_control_characters(uri: &str) -> Result<()> {
    match uri.char_indices().find(|(_, c)| c.is_control()) {
        Some((index, _)) => Err(invalid(
            format_args!("byte {}", index + 1),
            "is a control character",
            "Remove it; a text read from a file may end in a line break.",
        )),
        None => Ok(()),
    }
}

/// Parses the scheme. RFC 3986 §3.1: schemes are case-insensitive.
fn scheme(uri: &str) -> Result<(bool, &str)> {
    for (scheme, srv) in [("mongodb://", false), ("mongodb+srv://", true)] {
        let found = uri.get(..scheme.len());
        if found.is_some_and(|found| found.eq_ignore_ascii_case(scheme)) {
            return Ok((srv, &uri[scheme.len()..]));
        }
    }
    Err(invalid(
        "the scheme",
        "is missing or not a known one",
        "Begin with mongodb:// or mongodb+srv://.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_at_the_first_slash_the_last_at_sign_and_the_first_question_mark() {
        let parts = split("mongodb://u:p@a,b:1/db?x=1/2?3@4").unwrap();
        assert_eq!(
            (parts.userinfo, parts.hosts, parts.database, parts.options),
            (Some("u:p"), "a,b:1", "db", "x=1/2?3@4")
        );
        let parts = split("mongodb+srv://a?x=1").unwrap();
        assert_eq!((parts.srv, parts.hosts, parts.options), (true, "a", "x=1"));
        assert_eq!(
            (parts.userinfo, parts.database, parts.slash),
            (None, "", false)
        );
    }

    #[test]
    fn userinfo_is_split_and_decoded() {
        let password = |text| userinfo(text, 0).unwrap().1;
        assert_eq!(password("u"), None);
        assert_eq!(password("u:"), Some(String::new()));
        assert_eq!(
            password("u:!$&'()*+,;=-._~"),
            Some("!$&'()*+,;=-._~".to_owned())
        );
        assert_eq!(password("u:%40%3a%2F%C3%A9é"), Some("@:/éé".to_owned()));
        let error = userinfo("alice:a:b", 10).unwrap_err();
        assert!(error.to_string().contains("byte 18"), "{error}");
    }

    #[test]
    fn decoding_is_strict() {
        assert_eq!(decode("a%20b+c"), Ok("a b+c".to_owned()));
        for text in ["%", "%4", "%zz", "a%2", "%%20", "%+1", "%é"] {
            assert_eq!(decode(text), Err(BadEncoding::Percent), "{text}");
        }
        for text in ["%ff", "%C3", "%ED%A0%80"] {
            assert_eq!(decode(text), Err(BadEncoding::Utf8), "{text}");
        }
    }
}
