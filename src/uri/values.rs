//! The values of options: text in; the result is one field of the builder, or the reason why it was not set.

use std::path::PathBuf;
use std::time::Duration;

use self::ValueResult::{Ignored, Noted, Refused, Taken};
use super::syntax::decode;
use crate::options::{
    Acknowledgment, AuthMechanism, ClientOptions, ClientOptionsBuilder, Compressor,
    DangerousTlsOptions, Secret, ServerMonitoringMode, SrvOptions, Tag, TlsOptionsBuilder,
};
use crate::reason::options::{IntendedMechanism, UriValueProblem};

/// The parser of a key's value, and the field that stores it.
#[derive(Clone, Copy)]
pub(super) enum ValueKind {
    /// `true` or `false`.
    Flag(fn(&mut ClientOptionsBuilder, bool)),
    /// `tls` and `ssl`.
    Tls,
    /// A number from the given one to 2^31 - 1.
    Count(u32, fn(&mut ClientOptionsBuilder, u32)),
    /// Milliseconds, from the given number to 2^31 - 1.
    Millis(u32, fn(&mut ClientOptionsBuilder, Duration)),
    /// Milliseconds, from 0 to 2^63 - 1.
    LongMillis(fn(&mut ClientOptionsBuilder, Duration)),
    /// Text; `None` if empty.
    Text(fn(&mut ClientOptionsBuilder, String)),
    /// The path of a file; an empty one is an error.
    File(fn(&mut ClientOptionsBuilder, PathBuf)),
    /// A password.
    Password(fn(&mut ClientOptionsBuilder, Secret)),
    /// A list with encoded elements: the function splits it before it decodes them.
    Encoded(fn(&mut ClientOptionsBuilder, &str) -> ValueResult),
    /// A value that the function parses.
    Other(fn(&mut ClientOptionsBuilder, &str) -> ValueResult),
}

/// The result of a value.
#[derive(Debug, PartialEq)]
pub(super) enum ValueResult {
    /// The value is set.
    Taken,
    /// The value is set, with this warning for the user.
    Noted(String),
    /// The value is not set, for this reason: a warning.
    Ignored(String),
    /// The value must not be ignored: an error with a remedy.
    Refused(UriValueProblem),
}

impl ValueKind {
    /// Sets the field, if `text` is a valid value for it.
    pub(super) fn read(self, builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
        match self {
            Self::Flag(set) => match flag(text) {
                Some((value, documented)) => {
                    set(builder, value);
                    spelling(value, documented)
                }
                None => not_a_flag(text),
            },
            Self::Tls => tls(builder, text),
            Self::Count(min, set) => match whole_number(text, min) {
                Some(number) => apply(builder, set, number),
                None => out_of_range(text, min),
            },
            Self::Millis(min, set) => match whole_number(text, min) {
                Some(ms) => apply(builder, set, Duration::from_millis(u64::from(ms))),
                None => out_of_range(text, min),
            },
            Self::LongMillis(set) => match integer(text).map(u64::try_from) {
                Some(Ok(ms)) => apply(builder, set, Duration::from_millis(ms)),
                _ => Ignored("is not a number from 0 up".to_owned()),
            },
            Self::Text(_) if text.is_empty() => empty(),
            Self::Text(set) => apply(builder, set, text.to_owned()),
            Self::File(_) if text.is_empty() => Refused(UriValueProblem::EmptyFile),
            Self::File(set) => apply(builder, set, PathBuf::from(text)),
            Self::Password(set) => apply(builder, set, Secret::new(text)),
            Self::Encoded(read) | Self::Other(read) => read(builder, text),
        }
    }

    /// Returns true if a value may contain an `@`; elsewhere one is a sign of an unescaped password.
    pub(super) fn is_text(self) -> bool {
        !matches!(
            self,
            Self::Flag(_) | Self::Tls | Self::Count(..) | Self::Millis(..) | Self::LongMillis(_)
        )
    }

    /// Returns true if two values are equivalent.
    pub(super) fn agree(self, one: &str, other: &str) -> bool {
        let value = |text| flag(text).map(|(value, _)| value);
        match self {
            Self::Flag(_) | Self::Tls if value(one).is_some() => value(one) == value(other),
            _ => one == other,
        }
    }
}

/// Sets `tls`. An invalid value must not lead to a connection in the clear.
fn tls(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    match flag(text) {
        Some((value, documented)) => {
            builder.tls_enabled = Some(value);
            spelling(value, documented)
        }
        None => {
            builder.tls_enabled = Some(true);
            Noted("is neither true nor false; TLS is on".to_owned())
        }
    }
}

/// Changes one TLS option. Its presence turns TLS on.
pub(super) fn change_tls(
    builder: &mut ClientOptionsBuilder,
    change: impl FnOnce(TlsOptionsBuilder) -> TlsOptionsBuilder,
) {
    builder.tls = Some(change(builder.tls.take().unwrap_or_default()));
}

/// Changes one TLS option that weakens security.
pub(super) fn relax_tls(
    builder: &mut ClientOptionsBuilder,
    relax: impl FnOnce(DangerousTlsOptions) -> DangerousTlsOptions,
) {
    change_tls(builder, |tls| tls.dangerous(relax));
}

/// Sets the name, of at most 128 bytes. Source: "MongoDB Handshake".
pub(super) fn app_name(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    match text.len() {
        0 => empty(),
        length if length > ClientOptions::MAX_APP_NAME => Ignored(format!(
            "is longer than {} bytes",
            ClientOptions::MAX_APP_NAME
        )),
        _ => store(&mut builder.app_name, text.to_owned()),
    }
}

/// Sets the mechanism. An unknown one must not be ignored: another one may show the password to the server. `DEFAULT`,
/// which Compass writes, means that no mechanism is named.
pub(super) fn auth_mechanism(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    if text == "DEFAULT" {
        builder.credential.mechanism = None;
        return Taken;
    }
    match text.parse::<AuthMechanism>() {
        Ok(mechanism) => store(&mut builder.credential.mechanism, mechanism),
        Err(_) => Refused(UriValueProblem::UnknownMechanism(intended_mechanism(text))),
    }
}

/// The mechanism that a text in another spelling, of an older version or by another name probably means.
fn intended_mechanism(text: &str) -> IntendedMechanism {
    let plain = text.chars().filter(char::is_ascii_alphanumeric);
    let plain = plain.collect::<String>().to_ascii_uppercase();
    match plain.strip_prefix("MONGODB").unwrap_or(&plain) {
        "DEFAULT" => IntendedMechanism::Default,
        "SCRAMSHA256" => IntendedMechanism::One(AuthMechanism::ScramSha256),
        "SCRAMSHA1" => IntendedMechanism::One(AuthMechanism::ScramSha1),
        "X509" => IntendedMechanism::One(AuthMechanism::MongodbX509),
        "PLAIN" | "LDAP" => IntendedMechanism::One(AuthMechanism::Plain),
        "GSSAPI" | "KERBEROS" => IntendedMechanism::One(AuthMechanism::Gssapi),
        "AWS" => IntendedMechanism::One(AuthMechanism::MongodbAws),
        "OIDC" => IntendedMechanism::One(AuthMechanism::MongodbOidc),
        "CR" => IntendedMechanism::ChallengeResponse,
        _ => IntendedMechanism::Unknown,
    }
}

/// Sets the source. "Driver Authentication": an empty authSource is an error.
pub(super) fn auth_source(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    match text {
        "" => Refused(UriValueProblem::EmptyAuthSource),
        _ => store(&mut builder.credential.source, text.to_owned()),
    }
}

/// Parses `NAME:value` pairs. They are split after decoding, so a comma cannot be part of a value: "Connection String",
/// "Values".
pub(super) fn auth_mechanism_properties(
    builder: &mut ClientOptionsBuilder,
    text: &str,
) -> ValueResult {
    if text.is_empty() {
        return empty();
    }
    let mut dropped = 0;
    for (index, pair) in text.split(',').enumerate() {
        let Some((name, value)) = pair.split_once(':') else {
            dropped += 1;
            continue;
        };
        let name = name.to_ascii_uppercase();
        if !AuthMechanism::is_property(&name) {
            return Refused(UriValueProblem::UnknownProperty { number: index + 1 });
        }
        builder
            .credential
            .properties
            .insert(name, Secret::new(value));
    }
    match dropped {
        0 => Taken,
        _ => Noted(
            "has text without a \":\" between two commas, which is dropped; a value cannot hold a \
             comma, not even as %2C"
                .to_owned(),
        ),
    }
}

/// Handles the deprecated form of `authMechanismProperties=SERVICE_NAME:…`, which takes precedence over it.
pub(super) fn gssapi_service_name(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    const NOTE: &str = "is deprecated; write authMechanismProperties=SERVICE_NAME:…";
    if text.is_empty() {
        return empty();
    }
    let properties = &mut builder.credential.properties;
    properties
        .entry("SERVICE_NAME".to_owned())
        .or_insert_with(|| Secret::new(text));
    Noted(NOTE.to_owned())
}

/// Parses names separated by commas, best first; unknown ones are ignored.
pub(super) fn compressors(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    if text.is_empty() {
        return empty();
    }
    let mut found = Vec::new();
    let mut dropped = 0;
    for name in text.split(',') {
        match name.parse::<Compressor>() {
            Ok(compressor) if !found.contains(&compressor) => found.push(compressor),
            Ok(_) => {}
            Err(_) => dropped += 1,
        }
    }
    builder.compressors = found;
    match dropped {
        0 => Taken,
        _ => Noted(format!(
            "has {dropped} name(s) other than snappy, zlib and zstd, which are dropped"
        )),
    }
}

pub(super) fn zlib_compression_level(
    builder: &mut ClientOptionsBuilder,
    text: &str,
) -> ValueResult {
    match integer(text).and_then(|level| i32::try_from(level).ok()) {
        Some(level @ -1..=9) => store(&mut builder.zlib_compression_level, level),
        _ => Ignored("is not a number from -1 to 9".to_owned()),
    }
}

pub(super) fn proxy_host(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    match text {
        // A direct connection would reveal the traffic that the proxy hides.
        "" => Refused(UriValueProblem::EmptyProxyHost),
        _ => store(&mut builder.proxy.host, text.to_owned()),
    }
}

pub(super) fn proxy_port(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    match integer(text).and_then(|port| u16::try_from(port).ok()) {
        Some(port @ 1..) => store(&mut builder.proxy.port, port),
        _ => Ignored("is not a number from 1 to 65535".to_owned()),
    }
}

/// Sets the password. "SOCKS5 Support": an empty text is ignored.
pub(super) fn proxy_password(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    match text {
        "" => empty(),
        _ => store(&mut builder.proxy.password, Secret::new(text)),
    }
}

pub(super) fn read_preference(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    match text.parse() {
        Ok(mode) => store(&mut builder.read_preference, mode),
        Err(_) => Ignored(
            "is none of primary, primaryPreferred, secondary, secondaryPreferred and nearest"
                .to_owned(),
        ),
    }
}

/// Adds one set of tags; an empty one matches every member. It is split before its names and values are decoded, so
/// that `%2C` and `%3A` are parts of them.
pub(super) fn read_preference_tags(
    builder: &mut ClientOptionsBuilder,
    encoded: &str,
) -> ValueResult {
    let pairs = encoded.split(',').filter(|_| !encoded.is_empty());
    let set = pairs
        .map(|pair| match pair.split_once(':') {
            Some(("", _)) | None => None,
            Some((name, value)) => Some(Tag::new(decode(name).ok()?, decode(value).ok()?)),
        })
        .collect::<Option<Vec<_>>>();
    match set {
        Some(set) => {
            builder.read_preference_tags.push(set);
            Taken
        }
        None => Ignored("is not a list of name:value, separated by commas".to_owned()),
    }
}

/// Sets the limit. "Max Staleness": -1 means no limit.
pub(super) fn max_staleness(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    match integer(text) {
        Some(-1) => {
            builder.max_staleness = None;
            Taken
        }
        Some(seconds @ 90..=MAX) => {
            let limit = Duration::from_secs(seconds.unsigned_abs());
            store(&mut builder.max_staleness, limit)
        }
        _ => Ignored("is neither -1 nor a number from 90 to 2147483647".to_owned()),
    }
}

pub(super) fn server_monitoring_mode(
    builder: &mut ClientOptionsBuilder,
    text: &str,
) -> ValueResult {
    let mode = match text {
        "auto" => ServerMonitoringMode::Auto,
        "stream" => ServerMonitoringMode::Stream,
        "poll" => ServerMonitoringMode::Poll,
        _ => return Ignored("is none of auto, stream and poll".to_owned()),
    };
    store(&mut builder.server_monitoring_mode, mode)
}

pub(super) fn srv_service_name(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    if !SrvOptions::is_service_name(text) {
        return Ignored("is not the name of a service (RFC 6335)".to_owned());
    }
    store(&mut builder.srv_service_name, text.to_owned())
}

/// Parses a number of members, or the name of a set of tags. "Read and Write Concern": a number must be 0 or more.
pub(super) fn w(builder: &mut ClientOptionsBuilder, text: &str) -> ValueResult {
    let members = match text.strip_prefix('-').unwrap_or(text) {
        "" => return empty(),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => whole_number(text, 0),
        _ => {
            return store(
                &mut builder.write_concern.w,
                Acknowledgment::Tag(text.to_owned()),
            );
        }
    };
    match members {
        Some(members) => store(&mut builder.write_concern.w, Acknowledgment::Nodes(members)),
        None => Refused(UriValueProblem::AcknowledgmentCount),
    }
}

/// Parses a boolean; the second value is true if it has its documented spelling. "Connection String", "Values", lists
/// the other spellings, which are deprecated.
pub(super) fn flag(text: &str) -> Option<(bool, bool)> {
    match text {
        "true" => Some((true, true)),
        "false" => Some((false, true)),
        "1" | "yes" | "y" | "t" => Some((true, false)),
        "0" | "-1" | "no" | "n" | "f" => Some((false, false)),
        _ => None,
    }
}

const MAX: i64 = i32::MAX as i64;

/// Parses digits, with an optional minus. No plus, no spaces.
fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// Parses a 32-bit number, at least `min` ("URI Options": all integers are signed 32-bit integers).
fn whole_number(text: &str, min: u32) -> Option<u32> {
    let number = integer(text).filter(|number| *number <= MAX)?;
    u32::try_from(number).ok().filter(|number| *number >= min)
}

fn store<T>(field: &mut Option<T>, value: T) -> ValueResult {
    *field = Some(value);
    Taken
}

fn apply<T>(
    builder: &mut ClientOptionsBuilder,
    set: fn(&mut ClientOptionsBuilder, T),
    value: T,
) -> ValueResult {
    set(builder, value);
    Taken
}

fn empty() -> ValueResult {
    Ignored("is empty".to_owned())
}

fn not_a_flag(text: &str) -> ValueResult {
    match text {
        "" => empty(),
        _ => Ignored("is neither true nor false".to_owned()),
    }
}

fn out_of_range(text: &str, min: u32) -> ValueResult {
    match text {
        "" => empty(),
        _ => Ignored(format!("is not a number from {min} to {MAX}")),
    }
}

fn spelling(value: bool, documented: bool) -> ValueResult {
    match documented {
        true => Taken,
        false => Noted(format!("has a deprecated spelling; write {value}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_alone() {
        assert_eq!(integer("-5"), Some(-5));
        assert_eq!(integer("007"), Some(7));
        for text in [
            "",
            "-",
            "+5",
            " 5",
            "5 ",
            "5.0",
            "0x5",
            "٣",
            "9223372036854775808",
        ] {
            assert_eq!(integer(text), None, "{text}");
        }
        assert_eq!(whole_number("2147483647", 0), Some(2_147_483_647));
        assert_eq!(whole_number("2147483648", 0), None);
        assert_eq!(whole_number("499", 500), None);
    }

    #[test]
    fn flags_have_two_documented_spellings() {
        assert_eq!(flag("true"), Some((true, true)));
        assert_eq!(flag("-1"), Some((false, false)));
        for text in ["", "True", "TRUE", "on", "2", " true"] {
            assert_eq!(flag(text), None, "{text}");
        }
    }

    #[test]
    fn w_is_a_number_or_a_name() {
        let read = |text| {
            let mut builder = ClientOptionsBuilder::default();
            let verdict = w(&mut builder, text);
            (verdict, builder.write_concern.w)
        };
        let tag = |name: &str| Some(Acknowledgment::Tag(name.to_owned()));
        assert_eq!(read("2"), (Taken, Some(Acknowledgment::Nodes(2))));
        assert_eq!(read("majority"), (Taken, tag("majority")));
        assert_eq!(read("2dc"), (Taken, tag("2dc")));
        assert!(matches!(read("-1"), (Refused(..), None)));
        assert!(matches!(read("2147483648"), (Refused(..), None)));
        assert!(matches!(read(""), (Ignored(_), None)));
    }

    #[test]
    fn a_misspelled_mechanism_is_rejected_with_the_right_one() {
        let read = |text| {
            let mut builder = ClientOptionsBuilder::default();
            let verdict = auth_mechanism(&mut builder, text);
            (verdict, builder.credential.mechanism)
        };
        assert_eq!(read("DEFAULT"), (Taken, None));
        assert_eq!(read("PLAIN"), (Taken, Some(AuthMechanism::Plain)));
        let one = IntendedMechanism::One;
        for (text, intended) in [
            ("scram-sha-256", one(AuthMechanism::ScramSha256)),
            ("SCRAM-SHA256", one(AuthMechanism::ScramSha256)),
            ("Scram-Sha-1", one(AuthMechanism::ScramSha1)),
            ("mongodb-x509", one(AuthMechanism::MongodbX509)),
            ("X.509", one(AuthMechanism::MongodbX509)),
            ("plain", one(AuthMechanism::Plain)),
            ("gssapi", one(AuthMechanism::Gssapi)),
            ("Mongodb_Aws", one(AuthMechanism::MongodbAws)),
            ("oidc", one(AuthMechanism::MongodbOidc)),
            ("default", IntendedMechanism::Default),
            ("mongodb-cr", IntendedMechanism::ChallengeResponse),
            ("NTLM", IntendedMechanism::Unknown),
        ] {
            let problem = UriValueProblem::UnknownMechanism(intended);
            assert_eq!(read(text), (Refused(problem), None), "{text}");
        }
    }

    #[test]
    fn tags_are_split_before_they_are_decoded() {
        let read = |encoded| {
            let mut builder = ClientOptionsBuilder::default();
            let verdict = read_preference_tags(&mut builder, encoded);
            (verdict == Taken, builder.read_preference_tags)
        };
        let set = |pairs: &[(&str, &str)]| {
            let tags = pairs.iter().map(|(name, value)| Tag::new(*name, *value));
            (true, vec![tags.collect::<Vec<_>>()])
        };
        assert_eq!(read("dc:x%2Cy%3Az"), set(&[("dc", "x,y:z")]));
        assert_eq!(
            read("d%2Cc:a%2cb,r%3Ak:%C3%A9%25,use:"),
            set(&[("d,c", "a,b"), ("r:k", "é%"), ("use", "")])
        );
        assert_eq!(read("dc:ny,rack:1"), set(&[("dc", "ny"), ("rack", "1")]));
        assert_eq!(read("%3A:x:y"), set(&[(":", "x:y")]));
        assert_eq!(read(""), set(&[]));
        for text in ["dc%3Any", "dc:ny,", ",", ":ny", "dc:ny,rack%3A1"] {
            assert_eq!(read(text), (false, vec![]), "{text}");
        }
    }

    #[test]
    fn service_names_follow_rfc_6335() {
        let sound =
            |text: &str| srv_service_name(&mut ClientOptionsBuilder::default(), text) == Taken;
        assert!(sound("customname") && sound("a-1") && sound(&"a".repeat(62)));
        for text in ["", "-a", "a-", "a--b", "123", "a_b", "a.b", &"a".repeat(63)] {
            assert!(!sound(text), "{text}");
        }
    }
}
