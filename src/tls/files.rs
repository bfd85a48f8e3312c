//! Local files: what they hold, and saying so when it is not what was asked for.
//!
//! Files are [read whole](super::reading) and handed to OpenSSL as bytes, so that an unreadable file and
//! an invalid one are told apart, and a path need not be UTF-8.

use std::ops::Range;
use std::path::Path;

use memchr::memmem;
use openssl::base64;
use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509Crl};

use super::inspect::FileForm;
use super::key::{self, Password};
use super::reading::{Files, Unread};
use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};
use crate::limit::Limit;

/// What a file is for: which option names it, and which codes tell its faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    TrustAnchors,
    Crl,
    ClientCertificate,
}

impl Purpose {
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::TrustAnchors => "tlsCAFile",
            Self::Crl => "tlsCRLFile",
            Self::ClientCertificate => "tlsCertificateKeyFile",
        }
    }

    fn unreadable(self) -> CauseCode {
        match self {
            Self::TrustAnchors => CauseCode::CaFileUnreadable,
            Self::Crl => CauseCode::CrlFileUnreadable,
            Self::ClientCertificate => CauseCode::KeyFileUnreadable,
        }
    }
}

/// The bytes of the file of an option.
pub(super) fn bytes<'a>(purpose: Purpose, path: &Path, files: &'a Files) -> Result<&'a [u8]> {
    match files.get(path) {
        Ok(file) => Ok(&file.bytes),
        Err(unread) => Err(unreadable(purpose, path, unread)),
    }
}

/// A file cannot be read because a limit of this host is reached.
pub(super) fn beyond_limit(limit: Limit, option: &str, path: &Path) -> Error {
    let path = key::shown_uri(&path.display().to_string());
    let cause = limit.cause(&format!("{option} {path:?} cannot be read"));
    Error::configuration(cause.fact("option", option).fact("path", path))
}

/// The error for the file of an option that was not read.
pub(super) fn unreadable(purpose: Purpose, path: &Path, unread: &Unread) -> Error {
    let source = unread.source();
    if let Some(limit) = source.as_ref().and_then(Limit::of) {
        return beyond_limit(limit, purpose.option(), path);
    }
    // It may be the URI of a store, with a PIN, in the place of a path.
    let path = key::shown_uri(&path.display().to_string());
    let message = format!(
        "{} {path:?} cannot be read: {}",
        purpose.option(),
        unread.why
    );
    let cause = Cause::new(purpose.unreadable(), message, unread.remedy);
    let error = Error::configuration(
        cause
            .fact("option", purpose.option())
            .fact("path", path)
            .fact("reason", &*unread.why),
    );
    match source {
        Some(source) => error.with_source(source),
        None => error,
    }
}

/// The certificates of a PEM file, in their order.
///
/// # Errors
/// What OpenSSL says of the first block that it cannot decode.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<X509>, ErrorStack> {
    let blocks = pem_blocks(bytes).filter(PemBlock::is_certificate);
    blocks.map(|block| X509::from_pem(block.text)).collect()
}

/// OpenSSL's reasons, one after the other; none if it gave none.
pub(super) fn reasons(error: &ErrorStack) -> Option<String> {
    let reasons = error.errors().iter();
    let reasons: Vec<_> = reasons.filter_map(openssl::error::Error::reason).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// What form the bytes of a file have.
pub(super) fn form(bytes: &[u8]) -> FileForm {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return FileForm::Empty;
    }
    if pem_blocks(bytes).next().is_some() {
        return FileForm::Pem;
    }
    let text = bytes.trim_ascii_start();
    let starts = |word: &str| {
        text.get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
    };
    if starts("<!doctype html") || starts("<html") || starts("<head") {
        return FileForm::Html;
    }
    match bytes {
        [0xFE, 0xED, 0xFE, 0xED, ..] | [0xCE, 0xCE, 0xCE, 0xCE, ..] => FileForm::JavaKeystore,
        [0x30, ..] if Pkcs12::from_der(bytes).is_ok() => FileForm::Pkcs12,
        [0x30, ..] => FileForm::Der,
        _ if std::str::from_utf8(bytes).is_ok() => FileForm::Text,
        _ => FileForm::Binary,
    }
}

/// What a file holds, in words that complete "it holds …".
pub(super) fn describe(bytes: &[u8]) -> String {
    let words = match form(bytes) {
        FileForm::Empty => "nothing",
        FileForm::Pem => return pem_labels(bytes),
        FileForm::Html => "an HTML page",
        FileForm::JavaKeystore => "a Java keystore",
        FileForm::Pkcs12 => "a PKCS#12 file",
        FileForm::Der if X509::from_der(bytes).is_ok() => "a certificate in DER form",
        FileForm::Der if X509Crl::from_der(bytes).is_ok() => "a CRL in DER form",
        FileForm::Der if PKey::private_key_from_der(bytes).is_ok() => "a private key in DER form",
        FileForm::Der
            if key::open_encrypted_der(bytes, &mut Password::new(None, &Files::none()))
                .is_some() =>
        {
            "an encrypted private key in DER form"
        }
        FileForm::Der => "binary data in DER form",
        FileForm::Text => "text without a PEM block",
        FileForm::Binary => "binary data",
    };
    words.to_owned()
}

/// The kinds of the PEM blocks in a file.
fn pem_labels(bytes: &[u8]) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for label in pem_blocks(bytes).map(|block| block.label) {
        let kind = match label {
            "CERTIFICATE" | "X509 CERTIFICATE" => "a certificate".to_owned(),
            "TRUSTED CERTIFICATE" => "a certificate in OpenSSL's own trusted form".to_owned(),
            "X509 CRL" => "a CRL".to_owned(),
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => "a certificate request".to_owned(),
            "PUBLIC KEY" => "a public key".to_owned(),
            "ENCRYPTED PRIVATE KEY" => "an encrypted private key".to_owned(),
            _ if label.ends_with("PRIVATE KEY") => "a private key".to_owned(),
            "PKCS7" => "a PKCS#7 file".to_owned(),
            _ => "a PEM block of another kind".to_owned(),
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.join(" and ")
}

/// One PEM block of a file.
pub(super) struct PemBlock<'a> {
    /// What stands between `-----BEGIN ` and the dashes.
    pub(super) label: &'a str,
    /// The block with its first and last line.
    pub(super) text: &'a [u8],
    /// Where its base64 stands in the file.
    pub(super) body: Range<usize>,
}

impl PemBlock<'_> {
    pub(super) fn is_certificate(&self) -> bool {
        matches!(self.label, "CERTIFICATE" | "X509 CERTIFICATE")
    }

    pub(super) fn is_crl(&self) -> bool {
        self.label == "X509 CRL"
    }

    pub(super) fn is_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    /// Whether a password protects the block: in the form of PKCS#8, or in the one before (RFC 1421).
    pub(super) fn is_encrypted(&self) -> bool {
        self.label.starts_with("ENCRYPTED ") || find(self.text, b"Proc-Type:").is_some()
    }
}

/// The complete PEM blocks of a file (RFC 7468), in their order, and those that another one of their
/// kind cuts off.
///
/// Only private keys may be encrypted in the traditional way: OpenSSL would ask for the password of
/// anything else on the terminal. Other blocks that claim to be are left out, as if damaged.
pub(super) fn pem_blocks(bytes: &[u8]) -> impl Iterator<Item = PemBlock<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let start = find(rest, b"-----BEGIN ")?;
            let block = &rest[start..];
            let place = bytes.len() - block.len();
            let after = &block[b"-----BEGIN ".len()..];
            let Some(label_end) = find(after, b"-----") else {
                rest = &[];
                return None;
            };
            let label = std::str::from_utf8(&after[..label_end])
                .ok()
                .filter(|label| !label.contains('\n'));
            let Some(label) = label else {
                rest = after;
                continue;
            };
            // No line of a block has five dashes but its last: whatever comes next must be that one.
            // To look further would take a time that grows with the square of a hostile file.
            let end_line = format!("-----END {label}-----");
            let same_again = format!("-----BEGIN {label}-----");
            let body = same_again.len();
            let dashes = body + find(&block[body..], b"-----")?;
            let end = if block[dashes..].starts_with(end_line.as_bytes()) {
                dashes + end_line.len()
            } else if block[dashes..].starts_with(same_again.as_bytes()) {
                // One of two was cut off. It is not skipped, for whoever decodes it will complain.
                dashes
            } else {
                rest = after;
                continue;
            };
            let (text, tail) = block.split_at(end);
            rest = tail;
            let body = place + body..place + dashes;
            let block = PemBlock { label, text, body };
            if !block.is_key() && block.is_encrypted() {
                continue;
            }
            return Some(block);
        }
    })
}

/// Decodes base64 in its own place (RFC 4648 §4), with white space anywhere; returns how many bytes
/// there are now at the start.
///
/// A large CRL would otherwise stand in memory twice while OpenSSL takes it apart.
pub(super) fn decode_in_place(text: &mut [u8]) -> Option<usize> {
    /// A whole number of groups of four digits.
    const PIECE: usize = 1 << 16;
    let mut digits = 0;
    for at in 0..text.len() {
        let byte = text[at];
        text[digits] = byte;
        digits += usize::from(!byte.is_ascii_whitespace());
    }
    let mut decoded = 0;
    for start in (0..digits).step_by(PIECE) {
        let end = digits.min(start + PIECE);
        let piece = std::str::from_utf8(&text[start..end]).ok()?;
        if end < digits && piece.contains('=') {
            return None;
        }
        let bytes = base64::decode_block(piece).ok()?;
        text[decoded..decoded + bytes.len()].copy_from_slice(&bytes);
        decoded += bytes.len();
    }
    Some(decoded)
}

/// How many PEM blocks a file begins, whole or not.
pub(super) fn pem_beginnings(bytes: &[u8]) -> usize {
    memmem::find_iter(bytes, b"-----BEGIN ").count()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memmem::find(haystack, needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_described_by_what_it_holds() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "nothing"),
            (b" \n\t", "nothing"),
            (b"\n<!DOCTYPE HTML><p>", "an HTML page"),
            (b"\xFE\xED\xFE\xED\0\0", "a Java keystore"),
            (b"hello", "text without a PEM block"),
            (b"\xFF\x00\x01", "binary data"),
            (
                b"-----BEGIN EC PRIVATE KEY-----\nAA\n-----END EC PRIVATE KEY-----\n",
                "a private key",
            ),
            (
                b"-----BEGIN X509 CRL-----\nAA\n-----END X509 CRL-----",
                "a CRL",
            ),
            (
                b"-----BEGIN CERTIFICATE-----\nAA\n",
                "text without a PEM block",
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(describe(bytes), *expected, "{bytes:?}");
        }
    }

    #[test]
    fn an_unfinished_block_does_not_hide_the_next_one() {
        let text = b"-----BEGIN A-----\n-----BEGIN B-----\nx\n-----END B-----\n-----BEGIN C";
        let labels: Vec<_> = pem_blocks(text).map(|block| block.label).collect();
        assert_eq!(labels, ["B"]);
    }

    #[test]
    fn a_block_that_the_next_one_of_its_kind_cuts_off_is_not_skipped() {
        let text = b"-----BEGIN A-----\nx\n-----BEGIN A-----\ny\n-----END A-----\n";
        let texts: Vec<_> = pem_blocks(text).map(|block| block.text).collect();
        let whole = b"-----BEGIN A-----\ny\n-----END A-----";
        assert_eq!(texts, [&b"-----BEGIN A-----\nx\n"[..], whole]);
    }

    /// To look for the last line of each unfinished block in all that follows would take an hour here.
    #[test]
    fn a_hostile_file_is_read_in_no_time() {
        const SIZE: usize = 8 << 20;
        let repeated = |line: &dyn Fn(usize) -> String| {
            let mut text = String::with_capacity(SIZE + 100);
            (0..)
                .map(line)
                .take_while(|line| {
                    text.push_str(line);
                    text.len() < SIZE
                })
                .for_each(drop);
            text
        };
        let files = [
            repeated(&|_| "-----BEGIN A-----\n".to_owned()),
            repeated(&|n| format!("-----BEGIN {n}-----\n")),
            repeated(&|_| "-----BEGIN ".to_owned()),
            repeated(&|_| "-----END ".to_owned()),
            repeated(&|n| format!("-----BEGIN {n}-----\n-----END x{n}-----\n")),
            format!(
                "{}{}",
                repeated(&|_| "-----BEGIN B-----".to_owned()),
                repeated(&|_| "-----END A-----".to_owned())
            ),
        ];
        let started = std::time::Instant::now();
        for file in &files {
            let whole = |block: &PemBlock<'_>| find(block.text, b"-----END").is_some();
            let blocks = pem_blocks(file.as_bytes()).filter(whole);
            assert_eq!(blocks.count(), 0, "{}", &file[..50]);
        }
        let took = started.elapsed();
        assert!(took < std::time::Duration::from_secs(20), "{took:?}");
    }

    #[test]
    fn base64_is_decoded_where_it_stands() {
        let cases: &[(&str, Option<&[u8]>)] = &[
            ("", Some(b"")),
            ("\r\nQUJD\r\n", Some(b"ABC")),
            ("\nQU\n \tJ\nDRA==\n", Some(b"ABCD")),
            ("QUJDREU=", Some(b"ABCDE")),
            ("QUJ", None),
            ("QU*D", None),
            ("QUJ\u{e9}", None),
        ];
        for (text, expected) in cases {
            let mut bytes = text.as_bytes().to_vec();
            let length = decode_in_place(&mut bytes);
            assert_eq!(length.map(|length| &bytes[..length]), *expected, "{text:?}");
        }
        let long: Vec<u8> = (0..=u8::MAX).cycle().take(300_000).collect();
        let mut text = base64::encode_block(&long).into_bytes();
        assert_eq!(decode_in_place(&mut text), Some(long.len()));
        assert_eq!(text[..long.len()], long);
        let mut two = base64::encode_block(&long[..1000]).repeat(100).into_bytes();
        assert_eq!(decode_in_place(&mut two), None);
    }
}
