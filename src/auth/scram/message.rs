//! The messages of a server (RFC 5802 §7): text in, values out, nothing believed.
//!
//! ```text
//! server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]
//! server-final-message = (server-error / verifier) ["," extensions]
//! ```
//!
//! A mandatory extension (`m=`) is one that this client does not know, and ends the conversation (RFC 5802
//! §5.1). Others are passed over.

use std::borrow::Cow;

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
    /// The server refuses, in this word.
    Error(&'a str),
    Signature(Vec<u8>),
}

impl<'a> ServerFirst<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let mut attributes = text.split(',');
        let nonce = match attributes.next() {
            Some(first) if first.starts_with("m=") => return Err(MANDATORY),
            first => value(first, "r=").ok_or("its first message has no nonce where one is due")?,
        };
        let is_printable = |byte: u8| matches!(byte, 0x21..=0x7e);
        if nonce.is_empty() || !nonce.bytes().all(is_printable) {
            return Err("its nonce is malformed");
        }
        let salt = value(attributes.next(), "s=").ok_or("its first message has no salt")?;
        let salt = decode_base64(salt).ok_or("its salt is malformed")?;
        let iterations =
            value(attributes.next(), "i=").ok_or("its first message has no iteration count")?;
        let iterations = number(iterations).ok_or("its iteration count is malformed")?;
        check_extensions(attributes)?;
        Ok(Self {
            nonce,
            salt,
            iterations,
        })
    }
}

impl<'a> ServerFinal<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let mut attributes = text.split(',');
        let first = attributes.next();
        let parsed = if let Some(word) = value(first, "e=") {
            let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            match (1..=64).contains(&word.len()) && word.bytes().all(is_known) {
                true => Self::Error(word),
                false => return Err("its error is malformed"),
            }
        } else {
            let signature = value(first, "v=").ok_or("its last message has no signature")?;
            Self::Signature(decode_base64(signature).ok_or("its signature is malformed")?)
        };
        check_extensions(attributes)?;
        Ok(parsed)
    }
}

/// A user name as it stands in a message (`saslname`).
pub(super) fn escape(name: &str) -> Cow<'_, str> {
    match name.contains(['=', ',']) {
        true => Cow::Owned(name.replace('=', "=3D").replace(',', "=2C")),
        false => Cow::Borrowed(name),
    }
}

/// The value of an attribute that must be the one of that name.
fn value<'a>(attribute: Option<&'a str>, name: &str) -> Option<&'a str> {
    attribute?.strip_prefix(name)
}

fn check_extensions<'a>(attributes: impl Iterator<Item = &'a str>) -> Result<(), &'static str> {
    for attribute in attributes {
        match attribute.as_bytes() {
            [b'm', b'=', ..] => return Err(MANDATORY),
            [b'r' | b's' | b'i' | b'v' | b'e', b'=', ..] => {
                return Err("it sent a field twice, or out of its order");
            }
            [name, b'=', ..] if name.is_ascii_alphabetic() => {}
            _ => return Err("its message has a field without a name"),
        }
    }
    Ok(())
}

/// `posit-number`: digits, the first of which is not 0.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    // What does not fit is more than any limit.
    (digits && !text.is_empty()).then(|| text.parse().unwrap_or(u32::MAX))
}

/// Text in base 64 that is not empty, in the one spelling that it has: OpenSSL's decoder passes over white
/// space and over bits in the padding.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let bytes = openssl::base64::decode_block(text).ok()?;
    let is_sound = !bytes.is_empty() && openssl::base64::encode_block(&bytes) == text;
    is_sound.then_some(bytes)
}

const MANDATORY: &str = "it demands an extension that this client does not know";
