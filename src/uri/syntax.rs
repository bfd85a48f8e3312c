//! The parts of a connection string, and percent-decoding. Source: "Connection String".

use percent_encoding::percent_decode_str;
use zeroize::Zeroize;

use super::error::invalid;
use crate::error::{Error, Result};
use crate::reason::options::{UriPlace, UriProblem};

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
        return Err(invalid(UriPlace::Database, UriProblem::AtInDatabase));
    }
    if !slash && options.contains('@') {
        return Err(invalid(UriPlace::Hosts, UriProblem::AtAfterHosts));
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
    let invalid_at = |index: usize, problem| {
        let place = UriPlace::CredentialByte(offset + index + 1);
        Err(invalid(place, problem))
    };
    if let Some(index) = text.find('@') {
        return invalid_at(index, UriProblem::RawAt);
    }
    let mut colons = text.match_indices(':');
    if let (Some(_), Some((index, _))) = (colons.next(), colons.next()) {
        return invalid_at(index, UriProblem::SecondColon);
    }
    if let Some(index) = text.find(|c: char| c.is_ascii() && !is_userinfo(c)) {
        return invalid_at(index, UriProblem::RawCharacter);
    }
    let (name, password) = match text.split_once(':') {
        Some((name, password)) => (name, Some(password)),
        None => (text, None),
    };
    let part = |text, place| {
        let decoded = decode(text).map_err(|bad| bad.error(place))?;
        // A NUL separates name and password in PLAIN, and ends a text in C.
        if decoded.contains('\0') {
            return Err(invalid(place, UriProblem::HoldsNul));
        }
        Ok(decoded)
    };
    let password = password
        .map(|text| part(text, UriPlace::Password))
        .transpose()?;
    Ok((part(name, UriPlace::Username)?, password))
}

/// Decodes the name of the database; `None` if there is none.
pub(super) fn database(text: &str) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let name = decode(text).map_err(|bad| bad.error(UriPlace::Database))?;
    let is_forbidden = |c: &char| matches!(c, '/' | '\\' | ' ' | '"' | '$') || c.is_control();
    let problem = match name.chars().find(is_forbidden) {
        None => return Ok(Some(name)),
        Some('/') => UriProblem::SlashInDatabase,
        Some(c) if c.is_control() => UriProblem::HoldsControlCharacter,
        Some(c) => UriProblem::CharacterInDatabase(c),
    };
    Err(invalid(UriPlace::Database, problem))
}

/// The reason why a text cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadEncoding {
    /// A `%` without two hexadecimal digits after it.
    Percent,
    /// The bytes are not UTF-8.
    Utf8,
}

impl BadEncoding {
    pub(super) fn error(self, place: UriPlace) -> Error {
        let problem = match self {
            Self::Percent => UriProblem::BadPercent,
            Self::Utf8 => UriProblem::NotUtf8,
        };
        invalid(place, problem)
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
            UriPlace::Byte(index + 1),
            UriProblem::IsControlCharacter,
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
    Err(invalid(UriPlace::Scheme, UriProblem::UnknownScheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_split_at_the_specified_separators() {
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
