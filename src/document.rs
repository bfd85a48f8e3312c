//! From raw BSON to values: replies of a server, which are not trusted.
//!
//! `bson` walks documents by recursion and without a limit; a reply that is nested a million levels
//! deep would exhaust the stack. So the depth is checked first.

#[cfg(feature = "serde")]
use std::any::Any;

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBsonRef};
#[cfg(feature = "serde")]
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// MongoDB refuses documents nested deeper than 100 levels; replies wrap them in a few more.
const DEEPEST: usize = 200;

/// What a level takes at least: its type, an empty key, its length, and its end.
const SMALLEST_LEVEL: usize = 1 + 1 + 4 + 1;

/// The document as an owned value.
pub(crate) fn to_document(raw: &RawDocument) -> Result<Document> {
    check_depth(raw)?;
    owned(raw).map_err(|error| Error::bson("the server's answer is not valid BSON", error))
}

/// The document with its content in memory of its own; `bson` does the same, with a copy of each value on the way.
fn owned(raw: &RawDocument) -> bson::error::Result<Document> {
    let mut document = Document::new();
    for element in raw {
        let (key, value) = element?;
        document.insert(key.as_str(), owned_value(value)?);
    }
    Ok(document)
}

fn owned_value(value: RawBsonRef<'_>) -> bson::error::Result<Bson> {
    Ok(match value {
        RawBsonRef::String(text) => Bson::String(text.to_owned()),
        RawBsonRef::Document(inner) => Bson::Document(owned(inner)?),
        RawBsonRef::Array(inner) => {
            let mut values = Vec::new();
            for value in inner {
                values.push(owned_value(value?)?);
            }
            Bson::Array(values)
        }
        RawBsonRef::Int32(value) => Bson::Int32(value),
        RawBsonRef::Int64(value) => Bson::Int64(value),
        RawBsonRef::Double(value) => Bson::Double(value),
        RawBsonRef::Boolean(value) => Bson::Boolean(value),
        RawBsonRef::ObjectId(value) => Bson::ObjectId(value),
        RawBsonRef::DateTime(value) => Bson::DateTime(value),
        value => value.try_into()?,
    })
}

/// The document as a value of type `T`.
#[cfg(feature = "serde")]
pub(crate) fn to_typed<T: DeserializeOwned + 'static>(raw: &RawDocument) -> Result<T> {
    // A plain document needs no serde, which takes longer.
    let mut typed: Option<T> = None;
    if let Some(document) = (&mut typed as &mut dyn Any).downcast_mut::<Option<Document>>() {
        *document = Some(to_document(raw)?);
    }
    if let Some(document) = typed {
        return Ok(document);
    }
    check_depth(raw)?;
    bson::deserialize_from_slice(raw.as_bytes()).map_err(|error| {
        Error::bson(
            format!(
                "the server's answer is not a {}",
                std::any::type_name::<T>()
            ),
            error,
        )
    })
}

fn check_depth(raw: &RawDocument) -> Result<()> {
    // Most are too small for it, and need no look.
    if raw.as_bytes().len() > DEEPEST * SMALLEST_LEVEL && is_deeper(raw, DEEPEST) {
        return Err(Error::protocol(format!(
            "the server's answer is nested deeper than {DEEPEST} levels"
        )));
    }
    Ok(())
}

/// Whether the document has more than `levels` levels. What is not valid BSON counts as flat; whoever
/// reads it finds out.
fn is_deeper(raw: &RawDocument, levels: usize) -> bool {
    if levels == 0 {
        return true;
    }
    raw.iter()
        .map_while(std::result::Result::ok)
        .any(|(_, value)| match value {
            RawBsonRef::Document(inner) => is_deeper(inner, levels - 1),
            RawBsonRef::Array(inner) => RawDocument::from_bytes(inner.as_bytes())
                .is_ok_and(|inner| is_deeper(inner, levels - 1)),
            RawBsonRef::JavaScriptCodeWithScope(code) => is_deeper(code.scope, levels - 1),
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use bson::RawDocumentBuf;

    use super::*;

    /// `{ "": { "": … {} } }` with that many levels.
    fn nested(levels: usize) -> RawDocumentBuf {
        let mut bytes = Vec::new();
        for level in (1..levels).rev() {
            let length = 5 + SMALLEST_LEVEL * level;
            bytes.extend_from_slice(&i32::try_from(length).unwrap().to_le_bytes());
            bytes.extend_from_slice(b"\x03\0");
        }
        bytes.extend_from_slice(&[5, 0, 0, 0, 0]);
        bytes.resize(bytes.len() + levels - 1, 0);
        RawDocumentBuf::from_bytes(bytes).unwrap()
    }

    #[test]
    fn depth_is_bounded_before_anything_recurses() {
        assert!(to_document(&nested(200)).is_ok());
        assert!(
            to_document(&nested(201))
                .unwrap_err()
                .to_string()
                .contains("nested")
        );
        assert!(
            to_document(&nested(3_000_000))
                .unwrap_err()
                .to_string()
                .contains("nested")
        );
        #[cfg(feature = "serde")]
        assert!(
            to_typed::<Document>(&nested(3_000_000))
                .unwrap_err()
                .to_string()
                .contains("nested")
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn values_of_each_type_are_those_that_bson_makes_of_them() {
        use bson::spec::BinarySubtype;
        use bson::{Binary, DateTime, Decimal128, JavaScriptCodeWithScope, Regex, Timestamp, doc};

        let code = JavaScriptCodeWithScope {
            code: "f()".to_owned(),
            scope: doc! { "x": [1, "y"] },
        };
        let regex = Regex {
            pattern: bson::cstr!("a.b").to_owned(),
            options: bson::cstr!("ix").to_owned(),
        };
        let document = doc! {
            "double": 1.5, "text": "ü", "": "", "document": { "a": { "b": [] } }, "array": [1, "x", { "y": [2_i64] }],
            "binary": Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2] }, "undefined": Bson::Undefined,
            "id": bson::oid::ObjectId::new(), "yes": true, "at": DateTime::from_millis(7), "null": null,
            "regex": regex, "i32": 1, "i64": 2_i64,
            "code": Bson::JavaScriptCode("g()".to_owned()), "symbol": Bson::Symbol("s".to_owned()), "scope": code,
            "timestamp": Timestamp { time: 1, increment: 2 }, "decimal": Decimal128::from_bytes([3; 16]),
            "min": Bson::MinKey, "max": Bson::MaxKey,
        };
        let raw = RawDocumentBuf::try_from(&document).unwrap();
        assert_eq!(to_document(&raw).unwrap(), document);
        assert_eq!(to_typed::<Document>(&raw).unwrap(), document);
        assert_eq!(Document::try_from(&*raw).unwrap(), document);
    }

    #[test]
    fn what_is_no_bson_is_refused() {
        // A text that is not UTF-8, in a document and in an array, and an element of no known type.
        for bytes in [
            &b"\x0e\0\0\0\x02a\0\x02\0\0\0\xff\0\0"[..],
            b"\x16\0\0\0\x04a\0\x0e\0\0\0\x020\0\x02\0\0\0\xff\0\0\0",
            b"\x0c\0\0\0\x20a\0\0\0\0\0\0",
        ] {
            let raw = RawDocument::from_bytes(bytes).unwrap();
            let error = to_document(raw).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Bson);
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_reply_of_another_shape_says_what_was_wanted() {
        let error = to_typed::<Vec<u8>>(&nested(2)).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Bson);
    }
}
