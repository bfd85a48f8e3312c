//! The messages of a server (RFC 5802 §7): text in, values out. Their content is untrusted.
//!
//! ```text
//! server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]
//! server-final-message = (server-error / verifier) ["," extensions]
//! ```
//!
//! This client supports no mandatory extension (`m=`), so one ends the conversation (RFC 5802 §5.1). Other extensions
//! are ignored.

use std::borrow::Cow;

use crate::reason::auth::SaslViolation;

/// `server-first-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerFirst<'a> {
    pub(super) nonce: &'a str,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

/// `server-final-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerFinal<'a> {
    /// The server's reason for its rejection.
    Error(&'a str),
    Signature(Vec<u8>),
}

impl<'a> ServerFirst<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, SaslViolation> {
        let mut attributes = text.split(',');
        let nonce = match attributes.next() {
            Some(first) if first.starts_with("m=") => {
                return Err(SaslViolation::MandatoryExtension);
            }
            first => value(first, "r=").ok_or(SaslViolation::NoNonce)?,
        };
        let is_printable = |byte: u8| matches!(byte, 0x21..=0x7e);
        if nonce.is_empty() || !nonce.bytes().all(is_printable) {
            return Err(SaslViolation::NonceMalformed);
        }
        let salt = value(attributes.next(), "s=").ok_or(SaslViolation::NoSalt)?;
        let salt = decode_base64(salt).ok_or(SaslViolation::SaltMalformed)?;
        let iterations = value(attributes.next(), "i=").ok_or(SaslViolation::NoIterationCount)?;
        let iterations = number(iterations).ok_or(SaslViolation::IterationCountMalformed)?;
        check_extensions(attributes)?;
        Ok(Self {
            nonce,
            salt,
            iterations,
        })
    }
}

impl<'a> ServerFinal<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, SaslViolation> {
        let mut attributes = text.split(',');
        let first = attributes.next();
        let parsed = if let Some(word) = value(first, "e=") {
            let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            match (1..=64).contains(&word.len()) && word.bytes().all(is_known) {
                true => Self::Error(word),
                false => return Err(SaslViolation::ErrorMalformed),
            }
        } else {
            let signature = value(first, "v=").ok_or(SaslViolation::NoSignature)?;
            Self::Signature(decode_base64(signature).ok_or(SaslViolation::SignatureMalformed)?)
        };
        check_extensions(attributes)?;
        Ok(parsed)
    }
}

/// Escapes a user name for a message (`saslname`).
pub(super) fn escape(name: &str) -> Cow<'_, str> {
    match name.contains(['=', ',']) {
        true => Cow::Owned(name.replace('=', "=3D").replace(',', "=2C")),
        false => Cow::Borrowed(name),
    }
}

/// Returns the value of an attribute, if it has that name.
fn value<'a>(attribute: Option<&'a str>, name: &str) -> Option<&'a str> {
    attribute?.strip_prefix(name)
}

fn check_extensions<'a>(attributes: impl Iterator<Item = &'a str>) -> Result<(), SaslViolation> {
    for attribute in attributes {
        match attribute.as_bytes() {
            [b'm', b'=', ..] => return Err(SaslViolation::MandatoryExtension),
            [b'r' | b's' | b'i' | b'v' | b'e', b'=', ..] => {
                return Err(SaslViolation::FieldOutOfOrder);
            }
            [name, b'=', ..] if name.is_ascii_alphabetic() => {}
            _ => return Err(SaslViolation::FieldWithoutName),
        }
    }
    Ok(())
}

/// Reads a `posit-number`: digits, the first of which is not 0.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    // A number that does not fit is above every limit.
    (digits && !text.is_empty()).then(|| text.parse().unwrap_or(u32::MAX))
}

/// Decodes a non-empty base 64 text, and accepts only its canonical form: OpenSSL's decoder ignores white space and
/// bits in the padding.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let bytes = openssl::base64::decode_block(text).ok()?;
    let is_sound = !bytes.is_empty() && openssl::base64::encode_block(&bytes) == text;
    is_sound.then_some(bytes)
}
