//! Malformed and hostile connection strings, and their results.
//!
//! Each row of `hostile.txt` also proves that nothing panics and that no piece of a password is shown: every password
//! in a row consists of [`PIECES`], which occur in no text of ours.

use std::error::Error as _;
use std::time::Instant;

use super::ConnectionString;
use crate::cause::CauseCode;
use crate::error::ErrorKind;
use crate::options::{ClientOptions, Secret};

/// The table; its first lines describe the format.
const ROWS: &str = include_str!("hostile.txt");

/// The pieces of the passwords in all rows, joined by characters that confuse a parser.
const PIECES: [&str; 6] = ["s3cr3t-X", "/yz?Q", "q7x", "Zk9w", "vV3j", "hunter2"];

/// All text that a program or a log could show about a connection string.
fn shown(uri: &str) -> String {
    let parsed = match ConnectionString::parse(uri) {
        Ok(parsed) => parsed,
        Err(error) => return shown_error(&error),
    };
    let mut text = format!("{parsed:?} {:?}", parsed.warnings());
    for warning in parsed.warnings() {
        text += &format!("{warning} {:?}", warning.key());
    }
    let builder = parsed.into_builder();
    text += &format!("{builder:?}");
    text += &match builder.build() {
        Ok(options) => format!("{options:?}"),
        Err(error) => shown_error(&error),
    };
    text
}

fn shown_error(error: &crate::Error) -> String {
    let cause = error.cause();
    format!("{error} {error:?} {cause:?} {:?}", error.source())
}

/// Fails if three consecutive characters of any piece are shown; `ter` of hunter2 is a syllable of our own texts.
fn assert_discreet(uri: &str) {
    let shown = shown(uri).to_lowercase();
    for piece in PIECES.map(str::to_lowercase) {
        for window in piece.as_bytes().windows(3) {
            let fragment = std::str::from_utf8(window).unwrap();
            assert!(
                matches!(fragment, "ter" | "nte" | "unt") || !shown.contains(fragment),
                "{uri:?} shows {fragment:?}: {shown}"
            );
        }
    }
}

/// Reads the table: the line number, the expected result, the connection string, and the text.
fn rows() -> impl Iterator<Item = (usize, &'static str, String, &'static str)> {
    let lines = ROWS
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(number, line)| {
        let (expected, rest) = line.split_at(9);
        let (uri, text) = rest.split_once(" => ").unwrap_or((rest, ""));
        (number, expected.trim_end(), unescape(uri), text)
    })
}

fn unescape(text: &str) -> String {
    let mut parts = text.split("\\u{");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |done, part| {
        let (digits, rest) = part.split_once('}').unwrap();
        let code = u32::from_str_radix(digits, 16).unwrap();
        format!("{done}{}{rest}", char::from_u32(code).unwrap())
    })
}

#[test]
fn every_row_ends_as_the_table_says() {
    let mut failures = Vec::new();
    for (number, expected, uri, text) in rows() {
        assert_discreet(&uri);
        let parsed = ClientOptions::parse(&uri);
        let good = match (expected, &parsed) {
            ("invalid", Err(error)) => is_error(error, CauseCode::InvalidUri, text),
            ("conflict", Err(error)) => is_error(error, CauseCode::OptionConflict, text),
            ("warns", Ok((_, warnings))) => warnings.iter().any(|w| w.message().contains(text)),
            ("fine", Ok((_, warnings))) => warnings.is_empty(),
            _ => false,
        };
        if !good {
            failures.push(format!("line {number}: {uri:?}: {parsed:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(rows().count() > 170, "{}", rows().count());
}

fn is_error(error: &crate::Error, code: CauseCode, text: &str) -> bool {
    error.kind() == ErrorKind::Configuration
        && error.to_string().contains(text)
        && !text.is_empty()
        && error
            .cause()
            .is_some_and(|cause| cause.code() == code && !cause.remedy().is_empty())
}

#[test]
fn the_last_valid_value_counts() {
    let size = |uri| ClientOptions::parse(uri).unwrap().0.max_pool_size;
    assert_eq!(size("mongodb://h/?maxPoolSize=5&maxPoolSize=6"), 6);
    assert_eq!(size("mongodb://h/?maxPoolSize=5&MAXPOOLSIZE=x"), 5);
}

#[test]
fn every_tls_request_turns_tls_on() {
    let tls = |uri: &str| ClientOptions::parse(uri).unwrap().0.tls;
    for on in [
        "tls=true",
        "tls=",
        "tls=flase",
        "ssl=t",
        "tlsInsecure=x",
        "ssl_match_hostname=x",
    ] {
        let tls = tls(&format!("mongodb://h/?{on}")).unwrap();
        assert!(
            tls.verifies_certificate() && tls.verifies_hostname(),
            "{on}"
        );
    }
    for off in
        ["", "tls=false", "ssl=0", "tlsx", "appName=tls"].map(|text| text.replace("tlsx", "w=1"))
    {
        assert!(tls(&format!("mongodb://h/?{off}")).is_none(), "{off}");
    }
    assert!(tls("mongodb+srv://h").is_some() && tls("mongodb+srv://h/?tls=false").is_none());
}

#[test]
fn spellings_of_old_set_the_new_options() {
    let uri = "mongodb://h/?ssl=true&ssl_ca_certs=ca&ssl_crlfile=crl&ssl_certfile=key\
               &ssl_pem_passphrase=q7xZk9w&ssl_match_hostname=false&ssl_cert_reqs=CERT_REQUIRED";
    let (options, warnings) = ClientOptions::parse(uri).unwrap();
    let tls = options.tls.unwrap();
    assert_eq!(tls.ca_file().unwrap().to_str(), Some("ca"));
    assert_eq!(tls.crl_files()[0].to_str(), Some("crl"));
    assert_eq!(tls.certificate_key_file().unwrap().to_str(), Some("key"));
    assert_eq!(
        tls.certificate_key_file_password(),
        Some(&Secret::from("q7xZk9w"))
    );
    assert_eq!(tls.allow_invalid_hostnames(), Some(true));
    assert_eq!(tls.allow_invalid_certificates(), Some(false));
    assert_eq!(warnings.len(), 6);
    assert_discreet(uri);
}

/// Tests two characters that confuse a parser, in a password that was not encoded: either the password is unchanged, or
/// there is an error. There is never another host, and never a piece of the password in a text.
#[test]
fn no_raw_password_leads_to_another_host() {
    let special: Vec<char> = (' '..='~').filter(|c| !c.is_ascii_alphanumeric()).collect();
    let mut accepted = 0;
    for (a, b) in special
        .iter()
        .flat_map(|a| special.iter().map(move |b| (a, b)))
    {
        for (start, end) in [("q7x", "vV3j"), ("1", "2"), ("1", "vV3j=1")] {
            let password = format!("{start}{a}Zk9w{b}{end}");
            for tail in [
                "",
                "/",
                "/app",
                "/app?w=1",
                "?w=1",
                ",other.example/?appName=a@b",
            ] {
                for host in [
                    "mongodb://user:{}@db.example",
                    "mongodb+srv://user:{}@db.example",
                ] {
                    let uri = host.replace("{}", &password) + tail;
                    assert_discreet(&uri);
                    let Ok((options, _)) = ClientOptions::parse(&uri) else {
                        continue;
                    };
                    let seeds = options.hosts.first().map(|seed| seed.host());
                    let host = seeds.or(options.srv.map(|srv| srv.host)).unwrap();
                    assert_eq!(host, "db.example", "{uri}");
                    let found = options.credential.unwrap().password.unwrap();
                    assert_eq!(found.expose(), password, "{uri}");
                    accepted += 1;
                }
            }
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

#[test]
fn huge_inputs_take_linear_time() {
    const SIZE: usize = 1 << 20;
    let begin = Instant::now();
    let huge = |before: &str, repeated: &str, after: &str| {
        let middle = repeated.repeat(SIZE / repeated.len());
        ConnectionString::parse(&format!("{before}{middle}{after}"))
    };
    assert!(huge("", "a", "").is_err());
    assert!(huge("mongodb://", "a", "").is_err());
    assert!(huge("mongodb://", "[", "").is_err());
    assert!(huge("mongodb://", ":", "@h").is_err());
    assert!(huge("mongodb://", "@", "h").is_err());
    assert!(huge("mongodb://", "%", "").is_err());
    assert!(huge("mongodb://h", "/", "").is_err());
    assert!(huge("mongodb://h/", "?", "").is_err());
    assert!(huge("mongodb://h/?", "a=b&", "").is_err());
    assert!(huge("mongodb://h/?", "=", "").is_err());
    assert!(huge("mongodb://", "h,", "h").is_ok());
    assert!(huge("mongodb://u:", "%20", "@h").is_ok());
    assert!(huge("mongodb://h/", "d", "").is_ok());
    assert!(huge("mongodb://h/?", "&", "").is_err());
    assert!(huge("mongodb://h/?", "a", "=1").is_ok());
    assert!(huge("mongodb://h/?readPreferenceTags=", "a:b,", "c:d").is_ok());
    assert!(huge("mongodb://h/?authMechanismProperties=", ",", "").is_ok());
    // A few seconds would mean that the time is quadratic.
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

#[test]
fn an_application_name_ends_at_128_bytes() {
    let name = |bytes: usize| "é".repeat(bytes / 2);
    let uri = |bytes| format!("mongodb://h/?appName={}", name(bytes));
    assert_eq!(
        ClientOptions::parse(&uri(128)).unwrap().0.app_name,
        Some(name(128))
    );
    let (options, warnings) = ClientOptions::parse(&uri(130)).unwrap();
    assert_eq!(
        (options.app_name, warnings[0].key()),
        (None, Some("appName"))
    );
}
