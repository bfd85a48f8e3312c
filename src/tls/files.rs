//! Local files: reading them, and saying what they hold when it is not what was asked for.
//!
//! Files are read whole with `std::fs` and handed to OpenSSL as bytes, so that an unreadable file and
//! an invalid one are told apart, and a path need not be UTF-8.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509Crl};
use zeroize::Zeroizing;

use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};

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

/// No file with certificates, keys or CRLs is larger: 1 GiB.
const LARGEST: u64 = 1 << 30;

/// Reads a file whole; the memory is zeroed on drop, for it may hold a key.
pub(super) fn read(purpose: Purpose, path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let outcome = File::open(path).and_then(|file| {
        if let Ok(metadata) = file.metadata() {
            // Room for all of it at once: a vector that grows leaves copies of a key behind.
            bytes.reserve_exact(usize::try_from(metadata.len().min(LARGEST)).unwrap_or(0) + 1);
        }
        file.take(LARGEST + 1).read_to_end(&mut bytes)
    });
    match outcome {
        Ok(size) if size as u64 <= LARGEST => Ok(bytes),
        Ok(_) => Err(unreadable(
            purpose,
            path,
            "it is larger than 1 GiB",
            "Give a file that holds certificates or keys alone.",
        )),
        Err(error) => {
            let (why, remedy) = explain(&error, path);
            Err(unreadable(purpose, path, &why, &remedy).with_source(error))
        }
    }
}

fn unreadable(purpose: Purpose, path: &Path, why: &str, remedy: &str) -> Error {
    let message = format!(
        "{} {:?} cannot be read: {why}",
        purpose.option(),
        path.display().to_string()
    );
    let cause = Cause::new(purpose.unreadable(), message, remedy);
    Error::configuration(
        cause
            .fact("option", purpose.option())
            .fact("path", path.display().to_string())
            .fact("reason", why),
    )
}

fn explain(error: &io::Error, path: &Path) -> (String, String) {
    if path.is_dir() {
        return (
            "it is a folder".into(),
            "Give the path of a file, not of the folder that holds it.".into(),
        );
    }
    match error.kind() {
        io::ErrorKind::NotFound => (
            "there is no such file".into(),
            "Correct the path; a relative path starts at the working directory of the process."
                .into(),
        ),
        io::ErrorKind::PermissionDenied => (
            "permission denied".into(),
            "Let the user that runs this process read the file and enter its folders.".into(),
        ),
        _ => (
            error.to_string(),
            "Look at the file system that holds the file.".into(),
        ),
    }
}

/// The certificates of a PEM file, in their order.
///
/// # Errors
/// What OpenSSL says of the first block that it cannot decode.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<X509>, ErrorStack> {
    let blocks =
        pem_blocks(bytes).filter(|block| matches!(block.label, "CERTIFICATE" | "X509 CERTIFICATE"));
    blocks.map(|block| X509::from_pem(block.text)).collect()
}

/// OpenSSL's reasons, one after the other; none if it gave none.
pub(super) fn reasons(error: &ErrorStack) -> Option<String> {
    let reasons = error.errors().iter();
    let reasons: Vec<_> = reasons.filter_map(openssl::error::Error::reason).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// What a file holds, in words that complete "it holds …".
pub(super) fn describe(bytes: &[u8]) -> String {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return "nothing".into();
    }
    if let Some(labels) = pem_labels(bytes) {
        return labels;
    }
    let text = bytes.trim_ascii_start();
    let starts = |word: &str| {
        text.get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
    };
    if starts("<!doctype html") || starts("<html") || starts("<head") {
        return "an HTML page".into();
    }
    match bytes {
        [0xFE, 0xED, 0xFE, 0xED, ..] | [0xCE, 0xCE, 0xCE, 0xCE, ..] => {
            return "a Java keystore".into();
        }
        [0x30, ..] if X509::from_der(bytes).is_ok() => return "a certificate in DER form".into(),
        [0x30, ..] if X509Crl::from_der(bytes).is_ok() => return "a CRL in DER form".into(),
        [0x30, ..] if Pkcs12::from_der(bytes).is_ok() => return "a PKCS#12 file".into(),
        [0x30, ..] if PKey::private_key_from_der(bytes).is_ok() => {
            return "a private key in DER form".into();
        }
        [0x30, ..] => return "binary data in DER form".into(),
        _ => {}
    }
    if std::str::from_utf8(bytes).is_ok() {
        "text without a PEM block".into()
    } else {
        "binary data".into()
    }
}

/// The kinds of the PEM blocks in a file; none where there is no block.
fn pem_labels(bytes: &[u8]) -> Option<String> {
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
    (!kinds.is_empty()).then(|| kinds.join(" and "))
}

/// One PEM block of a file.
pub(super) struct PemBlock<'a> {
    /// What stands between `-----BEGIN ` and the dashes.
    pub(super) label: &'a str,
    /// The block with its first and last line.
    pub(super) text: &'a [u8],
}

/// The complete PEM blocks of a file (RFC 7468), in their order.
///
/// Only private keys may be encrypted in the traditional way: OpenSSL would ask for the password of
/// anything else on the terminal. Other blocks that claim to be are left out, as if damaged.
pub(super) fn pem_blocks(bytes: &[u8]) -> impl Iterator<Item = PemBlock<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let start = find(rest, b"-----BEGIN ")?;
            let block = &rest[start..];
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
            let end_line = format!("-----END {label}-----");
            let Some(end) = find(block, end_line.as_bytes()) else {
                rest = after;
                continue;
            };
            let (text, tail) = block.split_at(end + end_line.len());
            rest = tail;
            if !label.ends_with("PRIVATE KEY") && find(text, b"Proc-Type:").is_some() {
                continue;
            }
            return Some(PemBlock { label, text });
        }
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
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
}
