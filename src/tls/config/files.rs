//! The contents of local files, in particular of those that do not fit the option.
//!
//! Files are [read whole](super::reading) and passed to OpenSSL as bytes, so that errors distinguish an unreadable file
//! from an invalid one, and a path need not be UTF-8.

use openssl::error::ErrorStack;
use openssl::pkcs7::Pkcs7;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509Crl, X509Req};

use crate::enum_text::display_as_str;
use crate::reason::files::{CertificatesProblem, FileContents, PemDamage, PemKind};
use crate::tls::config::key::{self, Password};
use crate::tls::config::pem::{
    PemBlock, cut_block, decode_in_place, find, first_der, is_certificate_label, pem_blocks,
};
use crate::tls::config::reading::Files;

/// The form of a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileForm {
    /// Nothing, or white space.
    Empty,
    /// At least one PEM block (RFC 7468).
    Pem,
    /// DER: the binary form of the data in a PEM block.
    Der,
    /// PKCS#12 (RFC 7292), also known as PFX.
    Pkcs12,
    /// PKCS#7 (RFC 2315) in DER form, which may contain certificates and CRLs.
    Pkcs7,
    /// A Java keystore (JKS or JCEKS).
    JavaKeystore,
    /// An HTML page, the usual result of a failed download.
    Html,
    /// Text in UTF-16, as some editors and shells write it.
    Utf16,
    /// Other text.
    Text,
    /// Other bytes.
    Binary,
}

impl FileForm {
    /// One lower case word, such as `pem`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Pem => "pem",
            Self::Der => "der",
            Self::Pkcs12 => "pkcs12",
            Self::Pkcs7 => "pkcs7",
            Self::JavaKeystore => "jks",
            Self::Html => "html",
            Self::Utf16 => "utf16",
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

display_as_str!(FileForm);

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
    if has_pkcs7(bytes) && !certificates.is_empty() {
        return Err(CertificatesProblem::BesidePkcs7.into());
    }
    if certificates.is_empty() {
        return Err(CertificatesProblem::None(contents(bytes)).into());
    }
    Ok(certificates)
}

/// Returns whether a PEM file has a bundle in the form of PKCS#7.
pub(crate) fn has_pkcs7(bytes: &[u8]) -> bool {
    pem_blocks(bytes).any(|block| is_pkcs7_label(block.label))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_described_by_its_contents() {
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
}
