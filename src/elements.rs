//! The elements of a BSON document, found by their sizes alone: neither keys nor values are checked.
//!
//! `bson` checks the key of each element and has a richer type for it. This is several times cheaper, for the code that
//! runs for each document.

use bson::spec::ElementType;

/// An element of a document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) kind: ElementType,
    /// The key, without the NUL behind it.
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl<'a> Element<'a> {
    /// The key, which must be valid UTF-8.
    pub(crate) fn text_key(&self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.key).map_err(|_| Malformed)
    }

    /// The size of the element in bytes: its type, its key with the NUL, and its value.
    pub(crate) fn size(&self) -> usize {
        1 + self.key.len() + 1 + self.value.len()
    }
}

/// The bytes are not a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Walks through the elements of a document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// # Errors
    /// If the bytes do not begin with their length, or do not end with a NUL.
    #[inline]
    pub(crate) fn of(document: &'a [u8]) -> Result<Self, Malformed> {
        let length = document.first_chunk().ok_or(Malformed)?;
        match &document[4..] {
            [elements @ .., 0] if to_size(*length) == Some(document.len()) => Ok(Self(elements)),
            _ => Err(Malformed),
        }
    }

    /// Returns the next element, or `None` at the end.
    ///
    /// # Errors
    /// If the rest is not a whole element.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Element<'a>>, Malformed> {
        let Some((kind, rest)) = self.0.split_first() else {
            return Ok(None);
        };
        let kind = ElementType::from(*kind).ok_or(Malformed)?;
        let end = position_of_nul(rest).ok_or(Malformed)?;
        let (key, rest) = rest.split_at(end);
        let rest = &rest[1..];
        let size = size(kind, rest)?;
        let (value, rest) = rest.split_at_checked(size).ok_or(Malformed)?;
        self.0 = rest;
        Ok(Some(Element { kind, key, value }))
    }
}

/// The position of the first NUL. Most keys are short, so it looks at eight bytes at a time.
#[inline]
fn position_of_nul(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let mut position = 0;
    while let Some(word) = bytes[position..].first_chunk() {
        let word = u64::from_le_bytes(*word);
        // The highest bit of each NUL, and perhaps of bytes behind the first one.
        let found = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if found != 0 {
            return Some(position + found.trailing_zeros() as usize / 8);
        }
        position += 8;
    }
    let rest = &bytes[position..];
    Some(position + rest.iter().position(|byte| *byte == 0)?)
}

/// The size of a value of this type, which `bytes` begins with.
#[inline]
fn size(kind: ElementType, bytes: &[u8]) -> Result<usize, Malformed> {
    let length = || {
        let length = bytes.first_chunk().ok_or(Malformed)?;
        to_size(*length).ok_or(Malformed)
    };
    let text = |from: usize| {
        let text = bytes.get(from..).ok_or(Malformed)?;
        let end = text.iter().position(|byte| *byte == 0);
        Ok(from + end.ok_or(Malformed)? + 1)
    };
    Ok(match kind {
        ElementType::Null | ElementType::Undefined | ElementType::MinKey | ElementType::MaxKey => 0,
        ElementType::Boolean => 1,
        ElementType::Int32 => 4,
        ElementType::Int64
        | ElementType::Double
        | ElementType::DateTime
        | ElementType::Timestamp => 8,
        ElementType::ObjectId => 12,
        ElementType::Decimal128 => 16,
        ElementType::String | ElementType::JavaScriptCode | ElementType::Symbol => 4 + length()?,
        ElementType::Binary => 4 + 1 + length()?,
        ElementType::DbPointer => 4 + length()? + 12,
        ElementType::EmbeddedDocument
        | ElementType::Array
        | ElementType::JavaScriptCodeWithScope => length()?,
        ElementType::RegularExpression => text(text(0)?)?,
    })
}

fn to_size(length: [u8; 4]) -> Option<usize> {
    usize::try_from(i32::from_le_bytes(length)).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use bson::oid::ObjectId;
    use bson::raw::RawDocument;
    use bson::{Binary, Bson, DateTime, Decimal128, Document, Regex, Timestamp, doc};

    use super::*;

    #[test]
    fn the_first_nul_is_found() {
        for length in 0..40 {
            assert_eq!(position_of_nul(&vec![1; length]), None);
            for first in 0..length {
                for fill in [1, 0x80, 0xff] {
                    let mut bytes = vec![fill; length];
                    bytes[first] = 0;
                    assert_eq!(position_of_nul(&bytes), Some(first));
                    bytes[first + 1..].fill(0);
                    assert_eq!(position_of_nul(&bytes), Some(first));
                }
            }
        }
    }

    /// A document with all types of BSON.
    pub(crate) fn all() -> Document {
        let scope = bson::JavaScriptCodeWithScope {
            code: "f()".to_owned(),
            scope: doc! { "x": 1 },
        };
        let binary = Binary {
            subtype: bson::spec::BinarySubtype::Md5,
            bytes: vec![1, 2, 3],
        };
        let timestamp = Timestamp {
            time: 1,
            increment: 2,
        };
        let regex = Regex {
            pattern: "a+".try_into().unwrap(),
            options: "i".try_into().unwrap(),
        };
        doc! {
            "double": 1.5, "text": "é", "": "", "document": { "a": [1, { "b": 2 }] }, "array": [1, "2"],
            "binary": binary, "undefined": Bson::Undefined, "id": ObjectId::new(), "yes": true,
            "date": DateTime::now(), "null": null, "regex": regex, "code": Bson::JavaScriptCode("g()".to_owned()),
            "symbol": Bson::Symbol("s".to_owned()), "scope": scope, "int": 5, "timestamp": timestamp, "long": 6_i64,
            "decimal": Decimal128::from_bytes([7; 16]), "least": Bson::MinKey, "most": Bson::MaxKey,
        }
    }

    #[test]
    fn the_elements_are_those_of_bson() {
        let document = all().to_vec().unwrap();
        let mut expected = RawDocument::from_bytes(&document).unwrap().iter_elements();
        let mut elements = Elements::of(&document).unwrap();
        let mut size = 4 + 1;
        while let Some(element) = elements.next().unwrap() {
            let expected = expected.next().unwrap().unwrap();
            assert_eq!(element.key, expected.key().as_str().as_bytes());
            assert_eq!(element.kind, expected.element_type());
            assert_eq!(element.value.len(), expected.size());
            size += element.size();
        }
        assert!(expected.next().is_none());
        assert_eq!(size, document.len());
    }

    #[test]
    fn broken_documents_are_errors_and_never_read_beyond_the_end() {
        let walk = |bytes: &[u8]| {
            let mut elements = Elements::of(bytes)?;
            while elements.next()?.is_some() {}
            Ok::<_, Malformed>(())
        };
        let good = all().to_vec().unwrap();
        assert_eq!(walk(&good), Ok(()));
        for cut in 0..good.len() {
            assert_eq!(walk(&good[..cut]), Err(Malformed));
            let mut shorter = good[..cut].to_vec();
            if let Some(length) = shorter.first_chunk_mut() {
                *length = i32::try_from(cut).unwrap().to_le_bytes();
            }
            // It may end between two elements, but never panics.
            let _ = walk(&shorter);
        }
        for at in 4..good.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut changed = good.clone();
                changed[at] = byte;
                let _ = walk(&changed);
            }
        }
    }
}
