//! Conversion of raw BSON to values, for replies of a server, which are not trusted.
//!
//! `bson` walks documents recursively and without a limit, so a reply with a million nested levels would exhaust the
//! stack. Therefore the depth is checked first.

#[cfg(feature = "serde")]
use std::any::Any;
#[cfg(feature = "serde")]
use std::fmt;
#[cfg(feature = "serde")]
use std::marker::PhantomData;

#[cfg(feature = "serde")]
use bson::RawDocumentBuf;
use bson::oid::ObjectId;
use bson::raw::{RawDocument, RawElement};
use bson::spec::ElementType;
use bson::{Bson, DateTime, Document, RawArray, RawBsonRef};
#[cfg(feature = "serde")]
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::elements::{Element, Elements, Malformed};
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "serde")]
use crate::{decode, direct};

/// The maximum depth of a reply. MongoDB rejects documents with more than 100 levels; replies wrap them in a few
/// more.
const DEEPEST: usize = 200;

/// The minimum size of a level: its type, an empty key, its length, and its end.
const SMALLEST_LEVEL: usize = 1 + 1 + 4 + 1;

/// Converts the document to an owned value.
pub(crate) fn to_document(raw: &RawDocument) -> Result<Document> {
    check_depth(raw)?;
    if let Ok(document) = quickly_owned(raw.as_bytes()) {
        return Ok(document);
    }
    owned(raw).map_err(|error| Error::bson("the server's answer is not valid BSON", error))
}

/// Converts a reply to an owned value. A server may truncate error texts within a character. Such texts are decoded
/// as far as possible, so that codes are not lost. All other texts must be valid, because they are data.
pub(crate) fn reply_to_document(raw: &RawDocument) -> Result<Document> {
    to_document(raw).or_else(|error| match error.kind() {
        ErrorKind::Bson => lossy_about_errors(raw).map_err(|_| error),
        _ => Err(error),
    })
}

fn lossy_about_errors(raw: &RawDocument) -> bson::error::Result<Document> {
    // The results of `bulkWrite` are documents of a cursor.
    let of_bulk_write = matches!(raw.get("nErrors"), Ok(Some(_)));
    let mut document = Document::new();
    for element in raw.iter_elements() {
        let element = element?;
        let key = element.key().as_str();
        let value = match key {
            "errmsg" | "codeName" | "writeErrors" | "writeConcernError" => lossy(&element)?,
            "cursor" if of_bulk_write => lossy(&element)?,
            _ => owned_value(element.value()?)?,
        };
        document.insert(key, value);
    }
    Ok(document)
}

/// Returns the value of an element, with replacement characters for invalid UTF-8 in its texts.
fn lossy(element: &RawElement<'_>) -> bson::error::Result<Bson> {
    Ok(match element.element_type() {
        ElementType::EmbeddedDocument => {
            let mut document = Document::new();
            for (key, value) in lossy_elements(element)? {
                document.insert(key, value);
            }
            Bson::Document(document)
        }
        ElementType::Array => {
            let values = lossy_elements(element)?.into_iter();
            Bson::Array(values.map(|(_, value)| value).collect())
        }
        _ => element.value_utf8_lossy()?.try_into()?,
    })
}

fn lossy_elements(element: &RawElement<'_>) -> bson::error::Result<Vec<(String, Bson)>> {
    let inner = match element.value()? {
        RawBsonRef::Document(inner) => inner,
        RawBsonRef::Array(inner) => RawDocument::from_bytes(inner.as_bytes())?,
        _ => return Ok(Vec::new()),
    };
    let elements = inner.iter_elements().map(|element| {
        let element = element?;
        Ok((element.key().as_str().to_owned(), lossy(&element)?))
    });
    elements.collect()
}

/// Converts the document to an owned one like [`owned`], which has the reason of a failure. It finds the elements by their
/// sizes, which takes half the time.
fn quickly_owned(raw: &[u8]) -> std::result::Result<Document, Malformed> {
    let mut document = Document::new();
    let mut elements = Elements::of(raw)?;
    let mut index = 0;
    while let Some(element) = elements.next()? {
        let value = quickly_owned_value(&element, raw, index)?;
        document.insert(element.text_key()?, value);
        index += 1;
    }
    Ok(document)
}

/// Converts the value of an element. It is the one with this index in `document`.
fn quickly_owned_value(
    element: &Element<'_>,
    document: &[u8],
    index: usize,
) -> std::result::Result<Bson, Malformed> {
    fn fixed<const N: usize>(value: &[u8]) -> std::result::Result<[u8; N], Malformed> {
        value.try_into().map_err(|_| Malformed)
    }
    let value = element.value;
    Ok(match element.kind {
        ElementType::String => match value {
            [_, _, _, _, text @ .., 0] => {
                let text = std::str::from_utf8(text).map_err(|_| Malformed)?;
                Bson::String(text.to_owned())
            }
            _ => return Err(Malformed),
        },
        ElementType::EmbeddedDocument => Bson::Document(quickly_owned(value)?),
        ElementType::Array => {
            let mut values = Vec::new();
            let mut elements = Elements::of(value)?;
            while let Some(element) = elements.next()? {
                element.text_key()?;
                values.push(quickly_owned_value(&element, value, values.len())?);
            }
            Bson::Array(values)
        }
        ElementType::Int32 => Bson::Int32(i32::from_le_bytes(fixed(value)?)),
        ElementType::Int64 => Bson::Int64(i64::from_le_bytes(fixed(value)?)),
        ElementType::Double => Bson::Double(f64::from_le_bytes(fixed(value)?)),
        ElementType::DateTime => {
            Bson::DateTime(DateTime::from_millis(i64::from_le_bytes(fixed(value)?)))
        }
        ElementType::ObjectId => Bson::ObjectId(ObjectId::from_bytes(fixed(value)?)),
        ElementType::Null => Bson::Null,
        // `bson` knows the rest.
        _ => {
            let document = RawDocument::from_bytes(document).map_err(|_| Malformed)?;
            let element = document.iter_elements().nth(index).ok_or(Malformed)?;
            let value = element.and_then(|element| owned_value(element.value()?));
            value.map_err(|_| Malformed)?
        }
    })
}

/// Converts the document to an owned one. `bson` does the same, but with an additional copy of each value.
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

/// Converts the values of an array to owned ones.
pub(crate) fn values(array: &RawArray) -> Result<Vec<Bson>> {
    let document = as_document(array)?;
    check_depth(document)?;
    let values = document.iter().map(|element| owned_value(element?.1));
    let values = values.collect::<bson::error::Result<_>>();
    values.map_err(|error| Error::bson("the server's answer is not valid BSON", error))
}

/// Converts the values of an array to values of type `T`.
#[cfg(feature = "serde")]
pub(crate) fn typed_values<T: DeserializeOwned + 'static>(array: &RawArray) -> Result<Vec<T>> {
    let mut typed: Option<Vec<T>> = None;
    if let Some(plain) = (&mut typed as &mut dyn Any).downcast_mut::<Option<Vec<Bson>>>() {
        *plain = Some(values(array)?);
    }
    if let Some(values) = typed {
        return Ok(values);
    }
    to_typed::<Values<T>>(as_document(array)?).map(|values| values.0)
}

/// An array has the form of a document.
fn as_document(array: &RawArray) -> Result<&RawDocument> {
    RawDocument::from_bytes(array.as_bytes())
        .map_err(|error| Error::bson("the server's answer is not valid BSON", error))
}

/// The values of a document, without their keys.
#[cfg(feature = "serde")]
struct Values<T>(Vec<T>);

#[cfg(feature = "serde")]
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Values<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Collect<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Collect<T> {
            type Value = Values<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Values<T>, A::Error> {
                let mut values = Vec::new();
                while let Some((_, value)) = map.next_entry::<IgnoredAny, T>()? {
                    values.push(value);
                }
                Ok(Values(values))
            }
        }

        deserializer.deserialize_map(Collect(PhantomData))
    }
}

/// Converts a reply to a value of type `T`.
#[cfg(feature = "serde")]
pub(crate) fn to_typed<T: DeserializeOwned + 'static>(raw: &RawDocument) -> Result<T> {
    to_typed_or(raw, || "the server's answer".to_owned())
}

/// Converts a document of a collection to a value of type `T`. `index` is its position among the results of a cursor.
#[cfg(feature = "serde")]
pub(crate) fn to_typed_result<T: DeserializeOwned + 'static>(
    raw: &RawDocument,
    index: Option<u64>,
) -> Result<T> {
    to_typed_or(raw, || subject(raw, index))
}

/// Converts a document of a collection to a value of type `T`, which may borrow from it.
#[cfg(feature = "serde")]
pub(crate) fn to_borrowed_result<'a, T: Deserialize<'a>>(
    raw: &'a RawDocument,
    index: Option<u64>,
) -> Result<T> {
    deserialize_or(raw, || subject(raw, index))
}

/// Converts the document. `subject` names it in an error.
#[cfg(feature = "serde")]
fn to_typed_or<T: DeserializeOwned + 'static>(
    raw: &RawDocument,
    subject: impl FnOnce() -> String,
) -> Result<T> {
    // A plain document needs no serde, which is slower.
    let mut typed: Option<T> = None;
    if let Some(document) = (&mut typed as &mut dyn Any).downcast_mut::<Option<Document>>() {
        *document = Some(to_document(raw)?);
    }
    match typed {
        Some(document) => Ok(document),
        None => deserialize_or(raw, subject),
    }
}

#[cfg(feature = "serde")]
fn deserialize_or<'a, T: Deserialize<'a>>(
    raw: &'a RawDocument,
    subject: impl FnOnce() -> String,
) -> Result<T> {
    check_depth(raw)?;
    if let Ok(value) = direct::deserialize(raw.as_bytes()) {
        return Ok(value);
    }
    // The errors are those of `bson`.
    bson::deserialize_from_slice(raw.as_bytes()).map_err(|error| {
        let mut message = format!("{} is not a {}", subject(), std::any::type_name::<T>());
        if let Some(reason) = decode::explain::<T>(raw) {
            message.push_str(&format!(": {reason}"));
        }
        Error::bson(message, error)
    })
}

/// The name of a document in an error: its index, and its `_id`.
#[cfg(feature = "serde")]
fn subject(raw: &RawDocument, index: Option<u64>) -> String {
    let mut subject = match index {
        Some(index) => format!("document {index}"),
        None => "the document".to_owned(),
    };
    let id = raw.get("_id").ok().flatten();
    if let Some(id) = id.and_then(|id| Bson::try_from(id).ok()) {
        let id: String = id.to_string().chars().take(LONGEST_ID).collect();
        subject.push_str(&format!(" (_id: {id})"));
    }
    subject
}

/// The longest `_id` in an error, in characters.
#[cfg(feature = "serde")]
const LONGEST_ID: usize = 100;

/// Converts a reply to a value of type `T`; see [`reply_to_document`].
#[cfg(feature = "serde")]
pub(crate) fn reply_to_typed<T: DeserializeOwned + 'static>(raw: &RawDocument) -> Result<T> {
    to_typed(raw).or_else(|error| {
        let is_valid = error.kind() != ErrorKind::Bson || to_document(raw).is_ok();
        let valid = reply_to_document(raw).ok().filter(|_| !is_valid);
        let valid = valid.and_then(|reply| RawDocumentBuf::try_from(&reply).ok());
        valid.map_or(Err(error), |valid| to_typed(&valid))
    })
}

fn check_depth(raw: &RawDocument) -> Result<()> {
    // Most documents are too small to be that deep, and need no check.
    if raw.as_bytes().len() > DEEPEST * SMALLEST_LEVEL && is_deeper(raw, DEEPEST) {
        return Err(Error::protocol(format!(
            "the server's answer is nested deeper than {DEEPEST} levels"
        )));
    }
    Ok(())
}

/// Returns true if the document has more than `levels` levels. Invalid BSON counts as flat; the reader reports it.
fn is_deeper(raw: &RawDocument, levels: usize) -> bool {
    if levels == 0 {
        return true;
    }
    raw.iter()
        .filter_map(std::result::Result::ok)
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
    use bson::{RawDocumentBuf, doc};

    use super::*;
    use crate::elements;

    /// Returns the document without the second byte of each `é`.
    fn cut(document: &Document) -> RawDocumentBuf {
        let mut bytes = RawDocumentBuf::try_from(document).unwrap().into_bytes();
        for byte in bytes.iter_mut().filter(|byte| **byte == 0xa9) {
            *byte = b'_';
        }
        RawDocumentBuf::from_bytes(bytes).unwrap()
    }

    #[test]
    fn a_document_is_converted_as_by_bson() {
        let all = elements::tests::all();
        let bytes = all.to_vec().unwrap();
        assert_eq!(quickly_owned(&bytes).unwrap(), all);
        let nested = doc! { "a": [all.clone(), [1, &all]], "": { "b": all } };
        let bytes = nested.to_vec().unwrap();
        assert_eq!(quickly_owned(&bytes).unwrap(), nested);
        let (mut same, mut rejected) = (0, 0);
        for at in 0..bytes.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                let expected = Document::from_reader(&*changed).ok();
                match quickly_owned(&changed) {
                    Ok(own) => {
                        assert_eq!(format!("{:?}", Some(own)), format!("{expected:?}"));
                        same += 1;
                    }
                    Err(Malformed) => rejected += 1,
                }
            }
        }
        assert!(same > 100 && rejected > 100, "{same} {rejected}");
    }

    #[test]
    fn texts_about_errors_may_be_cut_and_no_others() {
        let errors = doc! { "ok": 1, "n": 0, "errmsg": "é", "codeName": "é",
        "writeErrors": [{ "index": 0, "code": 11000, "errmsg": "E11000 é", "errInfo": { "x": ["é"] } }],
        "writeConcernError": { "code": 64, "errmsg": "é" } };
        let expected = doc! { "ok": 1, "n": 0, "errmsg": "\u{fffd}_", "codeName": "\u{fffd}_",
        "writeErrors": [{ "index": 0, "code": 11000, "errmsg": "E11000 \u{fffd}_", "errInfo": { "x": ["\u{fffd}_"] } }],
        "writeConcernError": { "code": 64, "errmsg": "\u{fffd}_" } };
        assert_eq!(reply_to_document(&cut(&errors)).unwrap(), expected);
        let batch = |text: &str| doc! { "cursor": { "firstBatch": [{ "ok": 0, "code": 11000, "errmsg": text }] } };
        let mut bulk = batch("é");
        bulk.insert("nErrors", 1);
        let read = reply_to_document(&cut(&bulk)).unwrap();
        let cursor = batch("\u{fffd}_");
        assert_eq!(read.get("cursor"), cursor.get("cursor"));
        for document in [batch("é"), doc! { "value": "é" }, doc! { "é": 1 }] {
            let error = reply_to_document(&cut(&document)).unwrap_err();
            assert_eq!(error.to_string(), "the server's answer is not valid BSON");
        }
        assert_eq!(
            to_document(&cut(&errors)).unwrap_err().kind(),
            ErrorKind::Bson
        );
        #[cfg(feature = "serde")]
        {
            #[derive(serde::Deserialize, Debug, PartialEq)]
            struct Reply {
                n: i32,
                errmsg: String,
            }
            let read: Reply = reply_to_typed(&cut(&errors)).unwrap();
            let expected = Reply {
                n: 0,
                errmsg: "\u{fffd}_".to_owned(),
            };
            assert_eq!(read, expected);
            assert!(reply_to_typed::<Reply>(&cut(&doc! { "n": 0, "x": "é" })).is_err());
        }
    }

    #[test]
    fn a_cut_text_hides_no_depth() {
        let deep = nested(1000);
        let mut document = doc! { "errmsg": "é" };
        document.insert("writeErrors", bson::Bson::Null);
        let mut raw = cut(&document);
        raw.append(bson::cstr!("writeConcernError"), deep);
        let error = reply_to_document(&raw).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server's answer is nested deeper than 200 levels"
        );
    }

    /// Returns `{ "": { "": … {} } }` with that many levels.
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
    fn invalid_bson_is_rejected() {
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
    fn a_reply_of_another_shape_names_the_expected_type() {
        let error = to_typed::<Vec<u8>>(&nested(2)).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Bson);
    }
}
