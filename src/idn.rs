//! Unicode host names, and their ASCII form for DNS and certificates (UTS 46, RFC 5891).
//!
//! Only names from the program or its connection string are converted, and only for DNS, SNI and verification.
//! Everywhere else they stay as written. Names from servers are never converted. Without the cargo feature `idna`, a
//! name with non-ASCII characters is rejected.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::address::ip_address;
use crate::error::{Error, Stage};
use crate::explain;
use crate::reason::net::{AsciiNameProblem, HostNameFailure, HostNameProblem};

/// Returns the ASCII form of a host name; addresses and ASCII names stay unchanged.
///
/// # Errors
/// If the name has no ASCII form, or one that is not a host name, because it contains forbidden characters or the
/// system's resolver would interpret it as an address.
pub(crate) fn to_ascii(host: &str) -> Result<Cow<'_, str>, HostNameFailure> {
    if host.is_ascii() || ip_address(host).is_some() {
        return Ok(Cow::Borrowed(host));
    }
    let failed = |problem| HostNameFailure {
        host: host.to_owned(),
        problem,
    };
    let ascii = convert(host).map_err(failed)?;
    match problem(&ascii) {
        None => Ok(Cow::Owned(ascii)),
        Some(problem) => Err(failed(HostNameProblem::InvalidAsciiForm { ascii, problem })),
    }
}

/// Adds the ASCII form of a host name to a DNS or TLS error about it, so that its text contains both forms.
pub(crate) fn in_both_forms(error: Error, written: &str, ascii: &str) -> Error {
    let uses_dns = error.stage().is_some_and(|stage| stage < Stage::Hello);
    if written == ascii || !uses_dns {
        return error;
    }
    let Some(cause) = error.cause().cloned() else {
        return error;
    };
    error.replace_cause(explain::net::with_dns_name(cause, written, ascii))
}

#[cfg(feature = "idna")]
fn convert(host: &str) -> Result<String, HostNameProblem> {
    use idna::AsciiDenyList;
    use idna::uts46::{DnsLength, Hyphens, Uts46};

    // The final dot of an absolute name is allowed.
    let converted = Uts46::new().to_ascii(
        host.as_bytes(),
        AsciiDenyList::STD3,
        Hyphens::CheckFirstLast,
        DnsLength::VerifyAllowRootDot,
    );
    converted
        .map(Cow::into_owned)
        .map_err(|_| HostNameProblem::NoAsciiForm)
}

#[cfg(not(feature = "idna"))]
fn convert(_: &str) -> Result<String, HostNameProblem> {
    Err(HostNameProblem::NotBuiltIn)
}

/// Returns why a converted name is not a valid host name, or `None` if it is.
fn problem(ascii: &str) -> Option<AsciiNameProblem> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if !ascii.bytes().all(is_allowed) {
        return Some(AsciiNameProblem::ForbiddenCharacter);
    }
    let last = ascii.trim_end_matches('.').rsplit('.').next()?;
    let hexadecimal = last.strip_prefix("0x");
    // The C library reads `127.1` and `0x7f.1` as addresses too.
    let is_number = match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    };
    (is_number || ascii.parse::<IpAddr>().is_ok()).then_some(AsciiNameProblem::ReadsAsAddress)
}

#[cfg(all(test, feature = "idna"))]
mod tests {
    use super::*;
    use crate::cause::{Cause, CauseCode};
    use crate::printable::Quoted;

    #[test]
    fn names_are_converted_without_the_deviations_of_old() {
        for (written, ascii) in [
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example", "xn--bcher-kva.example"),
            ("faß.de", "xn--fa-hia.de"),
            ("βόλος.com", "xn--nxasmm1c.com"),
            ("日本語。jp", "xn--wgv71a119e.jp"),
            ("bücher.example.", "xn--bcher-kva.example."),
            ("ｅｘａｍｐｌｅ.org", "example.org"),
            ("u\u{308}.example", "xn--tda.example"),
            ("db-1.bücher.example", "db-1.xn--bcher-kva.example"),
            (
                "xn--bcher-kva.bücher.example",
                "xn--bcher-kva.xn--bcher-kva.example",
            ),
        ] {
            assert_eq!(to_ascii(written).ok().as_deref(), Some(ascii), "{written}");
        }
        // ASCII names and addresses are not checked.
        for same in [
            "db_1.example",
            "A.example",
            "xn--zz--.x",
            "127.1",
            "::1",
            "fe80::1%ä",
        ] {
            assert_eq!(to_ascii(same).ok().as_deref(), Some(same));
        }
    }

    #[test]
    fn invalid_host_names_are_rejected_with_the_reason() {
        for (written, why) in [
            ("ａ_b.example", "it has no ASCII form"),
            ("bü cher.example", "it has no ASCII form"),
            ("a／b.example", "it has no ASCII form"),
            ("a％00.example", "it has no ASCII form"),
            ("bü..example", "it has no ASCII form"),
            ("-bü.example", "it has no ASCII form"),
            ("\u{ad}", "it has no ASCII form"),
            ("אa.example", "it has no ASCII form"),
            ("a\u{200d}b.example", "it has no ASCII form"),
            ("xn--a.ü", "it has no ASCII form"),
            (
                "１２７.0.0.1",
                "its ASCII form \"127.0.0.1\" reads as an IP address",
            ),
            ("127。1", "its ASCII form \"127.1\" reads as an IP address"),
            (
                "0x7ｆ.1.",
                "its ASCII form \"0x7f.1.\" reads as an IP address",
            ),
            (
                "ü.0ｘ",
                "its ASCII form \"xn--tda.0x\" reads as an IP address",
            ),
            (
                "２１３０７０６４３３",
                "its ASCII form \"2130706433\" reads as an IP address",
            ),
        ] {
            let cause = Cause::from(to_ascii(written).expect_err(written));
            assert_eq!(cause.code(), CauseCode::OptionConflict);
            let begin = format!(
                "the host name {} cannot be looked up: {why}",
                Quoted(written)
            );
            assert!(cause.message().starts_with(&begin), "{}", cause.message());
        }
        let long = format!("{}.example", "ü".repeat(64));
        assert!(to_ascii(&long).is_err());
    }
}
