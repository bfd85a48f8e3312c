//! The DER that the `openssl` crate has no builder for.
//!
//! Certificate extensions (must-staple, AIA, CRL distribution points, name constraints), CRL entry reasons and whole
//! OCSP responses are small trees of tags. Values go in as slices and come out as owned bytes. [`split`] decodes bytes
//! from elsewhere, such as a client's OCSP request.
//!
//! Rules: ITU-T X.690, chapters 8 and 10.

use openssl::asn1::{Asn1Object, Asn1OctetString};
use openssl::x509::X509Extension;

/// BOOLEAN.
pub const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// NULL.
pub const NULL: u8 = 0x05;
/// OBJECT IDENTIFIER.
pub const OBJECT_IDENTIFIER: u8 = 0x06;
/// ENUMERATED.
pub const ENUMERATED: u8 = 0x0a;
/// GeneralizedTime.
pub const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE and SEQUENCE OF, constructed.
pub const SEQUENCE: u8 = 0x30;

/// One value: tag, length in the shortest form, content.
pub fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = content.len().to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let significant = &bytes[zeros..];
            out.push(0x80 | u8::try_from(significant.len()).expect("at most 8"));
            out.extend_from_slice(significant);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of values that are encoded already.
pub fn sequence<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    let content: Vec<u8> = parts
        .iter()
        .flat_map(|part| part.as_ref().iter().copied())
        .collect();
    value(SEQUENCE, &content)
}

/// An OBJECT IDENTIFIER from its dotted text.
pub fn object_identifier(dotted: &str) -> Vec<u8> {
    let object = Asn1Object::from_str(dotted).expect("an object identifier in dotted form");
    value(OBJECT_IDENTIFIER, object.as_slice())
}

/// The context-specific tag `[number]`, primitive: an IMPLICIT string or number.
pub fn context(number: u8, content: &[u8]) -> Vec<u8> {
    value(0x80 | number, content)
}

/// The context-specific tag `[number]`, constructed: EXPLICIT, or an IMPLICIT sequence.
pub fn context_constructed(number: u8, content: &[u8]) -> Vec<u8> {
    value(0xa0 | number, content)
}

/// The content of the one value in `der`.
pub fn content(der: &[u8]) -> &[u8] {
    let header = match der[1] {
        short if short < 0x80 => 2,
        long => 2 + usize::from(long & 0x7f),
    };
    &der[header..]
}

/// Splits consecutive values in `bytes`, each into its tag and its content.
///
/// Returns `None` if the bytes are not whole values with definite lengths and tags of one byte.
pub fn split(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut values = Vec::new();
    while let [tag, first, rest @ ..] = bytes {
        let (length, rest) = match first {
            ..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = length
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        values.push((*tag, content));
        bytes = rest;
    }
    bytes.is_empty().then_some(values)
}

/// A certificate or CRL extension with `der` as its value.
pub fn extension(dotted: &str, critical: bool, der: &[u8]) -> X509Extension {
    let object = Asn1Object::from_str(dotted).expect("an object identifier in dotted form");
    let octets = Asn1OctetString::new_from_bytes(der).expect("an octet string");
    X509Extension::new_from_der(&object, critical, &octets).expect("an extension")
}
