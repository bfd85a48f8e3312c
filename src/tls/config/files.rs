//! Local files: their contents, and errors if the contents do not fit the option.
//!
//! Files are [read whole](super::reading) and passed to OpenSSL as bytes, so that errors distinguish an unreadable file
//! from an invalid one, and a path need not be UTF-8.

use std::ops::Range;
use std::path::Path;

use memchr::memmem;
use openssl::base64;
use openssl::error::ErrorStack;
use openssl::pkcs7::Pkcs7;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509Crl, X509Req};

use crate::error::{Error, Result};
use crate::ffi::openssl as ffi;
use crate::limit::Limit;
use crate::reason::files::{
    CertificatesProblem, FileContents, FileFailure, FilePurpose, PemDamage, PemKind,
};
use crate::store_uri::shown_path;
use crate::tls::config::key::{self, Password};
use crate::tls::config::reading::{Files, Unread};
use crate::tls::inspect::FileForm;

/// The bytes of the file of an option.
pub(crate) fn bytes<'a>(purpose: FilePurpose, path: &Path, files: &'a Files) -> Result<&'a [u8]> {
    match files.get(path) {
        Ok(file) => Ok(&file.bytes),
        Err(unread) => Err(unreadable(purpose, path, unread)),
    }
}

/// The error for a file or folder that cannot be read because of a limit of this host.
pub(crate) fn beyond_limit(limit: Limit, option: &'static str, path: &Path) -> Error {
    Error::configuration(FileFailure::Limited {
        option,
        path: shown_path(path),
        limit: limit.reached(),
    })
}

/// The error for the file of an option that was not read.
pub(crate) fn unreadable(purpose: FilePurpose, path: &Path, unread: &Unread) -> Error {
    let source = unread.source();
    if let Some(limit) = source.as_ref().and_then(Limit::of) {
        return beyond_limit(limit, purpose.option(), path);
    }
    let error = Error::configuration(FileFailure::Unreadable {
        purpose,
        path: shown_path(path),
        problem: unread.problem.clone(),
    });
    match source {
        Some(source) => error.with_source(source),
        None => error,
    }
}

/// The certificates of a PEM file, in their order.
///
/// # Errors
/// OpenSSL's error about the first block that it cannot decode.
pub(crate) fn certificates(bytes: &[u8]) -> Result<Vec<X509>, ErrorStack> {
    let blocks = pem_blocks(bytes).filter(PemBlock::is_certificate);
    blocks.map(|block| block.certificate()).collect()
}

/// The reason why the certificates of a file cannot be used.
pub(crate) struct CertificatesError {
    pub(crate) problem: CertificatesProblem,
    /// OpenSSL's error, if it has one.
    pub(crate) error: Option<ErrorStack>,
}

impl From<CertificatesProblem> for CertificatesError {
    fn from(problem: CertificatesProblem) -> Self {
        Self {
            problem,
            error: None,
        }
    }
}

/// The certificates of a PEM file. There must be at least one, and all must be complete.
pub(crate) fn whole_certificates(bytes: &[u8]) -> Result<Vec<X509>, CertificatesError> {
    let blocks: Vec<_> = pem_blocks(bytes).filter(PemBlock::is_certificate).collect();
    let mut certificates = Vec::with_capacity(blocks.len());
    for (at, block) in blocks.iter().enumerate() {
        certificates.push(block.certificate().map_err(|error| CertificatesError {
            problem: CertificatesProblem::Undecodable {
                number: at + 1,
                count: blocks.len(),
                line: block.line(bytes),
                damage: damage(block),
            },
            error: Some(error),
        })?);
    }
    if let Some(line) = cut_block(bytes, is_certificate_label) {
        return Err(CertificatesProblem::CutOff { line }.into());
    }
    if pem_blocks(bytes).any(|block| is_pkcs7_label(block.label)) && !certificates.is_empty() {
        return Err(CertificatesProblem::BesidePkcs7.into());
    }
    if certificates.is_empty() {
        return Err(CertificatesProblem::None(contents(bytes)).into());
    }
    Ok(certificates)
}

/// The damage to a PEM block that OpenSSL cannot decode.
fn damage(block: &PemBlock<'_>) -> PemDamage {
    let text = block.text;
    let mut lines = text.split(|byte| *byte == b'\n').skip(1);
    if !text.ends_with(b"-----") || find(text, b"-----END ").is_none() {
        PemDamage::CutOff
    } else if find(text, br"\n").is_some() {
        PemDamage::LiteralBreaks
    } else if !text.contains(&b'\n') {
        PemDamage::NoBreaks
    } else if lines.any(|line| matches!(line, [b' ' | b'\t', ..])) {
        PemDamage::Indented
    } else {
        PemDamage::Other
    }
}

/// The encoding of text in UTF-16, with a byte order mark or without one.
pub(crate) fn utf16(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => Some("UTF-16"),
        [b'-', 0, b'-', 0, ..] => Some("UTF-16LE"),
        [0, b'-', 0, b'-', ..] => Some("UTF-16BE"),
        _ => None,
    }
}

/// Returns whether text is the base64 of a value in DER form, without the lines around it.
fn is_bare_base64(bytes: &[u8]) -> bool {
    let mut text = bytes.to_vec();
    decode_in_place(&mut text).is_some_and(|length| first_der(&text[..length]).is_some())
}

/// Returns whether a PEM block contains several objects in the form of PKCS#7 or CMS.
fn is_pkcs7_label(label: &str) -> bool {
    matches!(label, "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS")
}

/// The first value in DER form: its tag, its contents and the rest; `None` if it is incomplete.
pub(crate) fn der_value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match usize::from(length) {
        short @ 0..0x80 => (short, rest),
        // An indefinite length, which DER does not allow.
        0x80 => return None,
        long => {
            let (digits, rest) = rest.split_at_checked(long - 0x80)?;
            let length = digits.iter().try_fold(0_usize, |length, digit| {
                length.checked_mul(0x100)?.checked_add(usize::from(*digit))
            })?;
            (length, rest)
        }
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// The first value in DER form with its tag and length; `None` if the bytes do not begin with a whole sequence.
pub(crate) fn first_der(bytes: &[u8]) -> Option<&[u8]> {
    let (_, _, rest) = der_value(bytes).filter(|(tag, ..)| *tag == 0x30)?;
    bytes.get(..bytes.len() - rest.len())
}

/// OpenSSL's reasons, one after the other; `None` if there are none.
pub(crate) fn reasons(error: &ErrorStack) -> Option<String> {
    let reasons = error.errors().iter();
    let reasons: Vec<_> = reasons.filter_map(openssl::error::Error::reason).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Determines the form of a file's bytes.
pub(crate) fn form(bytes: &[u8]) -> FileForm {
    if utf16(bytes).is_some() {
        return FileForm::Utf16;
    }
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
        [0x30, ..] if Pkcs7::from_der(bytes).is_ok() => FileForm::Pkcs7,
        [0x30, ..] => FileForm::Der,
        _ if std::str::from_utf8(bytes).is_ok() => FileForm::Text,
        _ => FileForm::Binary,
    }
}

/// The contents of a file.
pub(crate) fn contents(bytes: &[u8]) -> FileContents {
    match form(bytes) {
        FileForm::Empty => FileContents::Empty,
        FileForm::Pem => FileContents::Pem(pem_kinds(bytes)),
        FileForm::Html => FileContents::Html,
        FileForm::JavaKeystore => FileContents::JavaKeystore,
        FileForm::Pkcs12 => FileContents::Pkcs12,
        FileForm::Pkcs7 => FileContents::Pkcs7,
        FileForm::Utf16 => FileContents::Utf16(utf16(bytes).unwrap_or("UTF-16")),
        FileForm::Der => der_contents(bytes),
        FileForm::Text if is_bare_base64(bytes) => FileContents::Base64,
        FileForm::Text => FileContents::Text,
        FileForm::Binary => FileContents::Binary,
    }
}

/// The contents of a file in DER form.
fn der_contents(bytes: &[u8]) -> FileContents {
    let is_encrypted_key =
        || key::open_encrypted_der(bytes, &mut Password::new(None, &Files::none())).is_some();
    if X509::from_der(bytes).is_ok() {
        FileContents::DerCertificate
    } else if X509Crl::from_der(bytes).is_ok() {
        FileContents::DerCrl
    } else if PKey::private_key_from_der(bytes).is_ok() {
        FileContents::DerPrivateKey
    } else if is_encrypted_key() {
        FileContents::DerEncryptedPrivateKey
    } else if X509Req::from_der(bytes).is_ok() {
        FileContents::DerCertificateRequest
    } else if PKey::public_key_from_der(bytes).is_ok() {
        FileContents::DerPublicKey
    } else {
        FileContents::Der
    }
}

/// The distinct kinds of the PEM blocks in a file.
fn pem_kinds(bytes: &[u8]) -> Vec<PemKind> {
    let mut kinds = Vec::new();
    for label in pem_blocks(bytes).map(|block| block.label) {
        let kind = match label {
            "CERTIFICATE" | "X509 CERTIFICATE" => PemKind::Certificate,
            "TRUSTED CERTIFICATE" => PemKind::TrustedCertificate,
            "X509 CRL" => PemKind::Crl,
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => PemKind::CertificateRequest,
            "PUBLIC KEY" => PemKind::PublicKey,
            "ENCRYPTED PRIVATE KEY" => PemKind::EncryptedPrivateKey,
            _ if label.ends_with("PRIVATE KEY") => PemKind::PrivateKey,
            _ if is_pkcs7_label(label) => PemKind::Pkcs7,
            _ => PemKind::Other,
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// One PEM block of a file.
pub(crate) struct PemBlock<'a> {
    /// The text between `-----BEGIN ` and the dashes.
    pub(crate) label: &'a str,
    /// The block with its first and last line.
    pub(crate) text: &'a [u8],
    /// The position of its base64 in the file.
    pub(crate) body: Range<usize>,
}

impl PemBlock<'_> {
    pub(crate) fn is_certificate(&self) -> bool {
        is_certificate_label(self.label)
    }

    /// The certificate, with its trust settings if it is in OpenSSL's own form (`TRUSTED CERTIFICATE`).
    pub(crate) fn certificate(&self) -> Result<X509, ErrorStack> {
        match self.label {
            "TRUSTED CERTIFICATE" => ffi::trusted_certificate(self.text),
            _ => X509::from_pem(self.text),
        }
    }

    pub(crate) fn is_crl(&self) -> bool {
        is_crl_label(self.label)
    }

    /// The line of the file on which the block begins, counted from 1.
    pub(crate) fn line(&self, file: &[u8]) -> usize {
        line_of(file, self.body.start)
    }

    pub(crate) fn is_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    /// Returns whether a password protects the block: in the form of PKCS#8, or in the older form (RFC 1421).
    pub(crate) fn is_encrypted(&self) -> bool {
        self.label.starts_with("ENCRYPTED ") || find(self.text, b"Proc-Type:").is_some()
    }
}

/// The complete PEM blocks of a file (RFC 7468), in their order, and those that another one of their kind cuts off.
///
/// Only private keys may be encrypted in the traditional way: for other blocks, OpenSSL would prompt for the password
/// on the terminal. Other blocks that claim to be encrypted are left out, as if damaged.
pub(crate) fn pem_blocks(bytes: &[u8]) -> impl Iterator<Item = PemBlock<'_>> {
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
            // Only the last line of a block has five dashes, so the next such line must be the last one. Looking
            // further would take quadratic time for a hostile file.
            let end_line = format!("-----END {label}-----");
            let next_begin = format!("-----BEGIN {label}-----");
            let body = next_begin.len();
            let dashes = body + find(&block[body..], b"-----")?;
            let end = if block[dashes..].starts_with(end_line.as_bytes()) {
                dashes + end_line.len()
            } else if block[dashes..].starts_with(next_begin.as_bytes()) {
                // One of two blocks was cut off. It is not skipped, because decoding it will report the error.
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

/// Decodes base64 in place (RFC 4648 §4), with white space anywhere; returns the number of decoded bytes at the start.
///
/// Otherwise a large CRL would be in memory twice while OpenSSL decodes it.
pub(crate) fn decode_in_place(text: &mut [u8]) -> Option<usize> {
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

pub(crate) fn is_certificate_label(label: &str) -> bool {
    matches!(
        label,
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE"
    )
}

pub(crate) fn is_crl_label(label: &str) -> bool {
    label == "X509 CRL"
}

/// The line on which the first block begins that has one of these labels and is not among [`pem_blocks`]: it does not
/// end, or claims to be encrypted.
pub(crate) fn cut_block(bytes: &[u8], is_wanted: fn(&str) -> bool) -> Option<usize> {
    let begin = b"-----BEGIN ";
    let mut whole = pem_blocks(bytes).map(|block| block.body.start).peekable();
    for start in memmem::find_iter(bytes, begin) {
        let after = &bytes[start + begin.len()..];
        // No label is longer.
        let head = &after[..after.len().min(64)];
        let label = find(head, b"-----").and_then(|end| std::str::from_utf8(&head[..end]).ok());
        let Some(label) = label.filter(|label| is_wanted(label)) else {
            continue;
        };
        let body = start + begin.len() + label.len() + b"-----".len();
        while whole.next_if(|known| *known < body).is_some() {}
        if whole.peek() != Some(&body) {
            return Some(line_of(bytes, start));
        }
    }
    None
}

/// The line of a position, counted from 1.
fn line_of(bytes: &[u8], place: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', &bytes[..place]).count()
}

/// The number of PEM blocks that begin in a file, complete or not.
pub(crate) fn pem_beginnings(bytes: &[u8]) -> usize {
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
            assert_eq!(contents(bytes).to_string(), *expected, "{bytes:?}");
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

    /// Searching all following text for the last line of each unfinished block would take an hour here.
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
