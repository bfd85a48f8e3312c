//! Values of the program → BSON: documents to insert, filters, updates, and the options of an operation.
//!
//! [`ToBson`] is implemented by what a program may pass. [`Encoded`] is one such value as BSON, with its type, so that an
//! operation can reject a value of the wrong type before it sends anything. [`OptionFields`] collects the options of an
//! operation in the form in which they are sent.

use std::any::type_name;

use bson::raw::{BindRawBsonRef, CStr, RawDocument};
use bson::{Document, RawBsonRef, RawDocumentBuf};

use crate::error::{Error, Result};

/// A value that can be sent to a server: a document, a filter, an update, a pipeline or an option.
///
/// With the feature `serde` (default), every type that implements `serde::Serialize` is such a value. Where a document is
/// required, a value of another type is an error, and nothing is sent. Where an aggregation pipeline is possible, a
/// sequence of documents is one.
///
/// Without the feature `serde`: [`Document`](bson::Document), [`RawDocument`], [`RawDocumentBuf`], vectors, slices and
/// arrays of them, and references to all of these.
pub trait ToBson: sealed::Encode {}

impl<T: sealed::Encode + ?Sized> ToBson for T {}

/// The encoding itself, which programs can neither call nor implement.
mod sealed {
    use crate::error::Result;

    /// See [`ToBson`](super::ToBson). `what` names the value in an error, for example "the filter".
    pub trait Encode {
        /// Appends a document with `self` as its only element.
        fn encode_element(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()>;

        /// Appends `self` as a document. Any other value is an error.
        fn encode_document(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()>;
    }
}

#[cfg(feature = "serde")]
mod with_serde {
    use serde::ser::{Serialize, SerializeStruct, Serializer};

    use super::cannot_be_encoded;
    use crate::{direct, error};

    /// Serialises as a document with one element.
    struct Element<'a, T: ?Sized>(&'a T);

    impl<T: Serialize + ?Sized> Serialize for Element<'_, T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut document = serializer.serialize_struct("Element", 1)?;
            document.serialize_field("v", self.0)?;
            document.end()
        }
    }

    impl<T: Serialize + ?Sized> super::sealed::Encode for T {
        fn encode_element(&self, what: &str, bytes: &mut Vec<u8>) -> error::Result<()> {
            direct::serialize(&Element(self), bytes).map_err(|error| cannot_be_encoded(what, error))
        }

        fn encode_document(&self, what: &str, bytes: &mut Vec<u8>) -> error::Result<()> {
            direct::serialize(self, bytes).map_err(|error| cannot_be_encoded(what, error))
        }
    }
}

#[cfg(not(feature = "serde"))]
mod without_serde {
    use bson::raw::RawDocument;
    use bson::{Document, RawArrayBuf, RawDocumentBuf, cstr};

    use super::cannot_be_encoded;
    use super::sealed::Encode;
    use crate::error::{Error, Result};

    impl Encode for RawDocument {
        fn encode_element(&self, _what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            let mut element = RawDocumentBuf::new();
            element.append(cstr!("v"), self);
            bytes.extend_from_slice(element.as_bytes());
            Ok(())
        }

        fn encode_document(&self, _what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            bytes.extend_from_slice(self.as_bytes());
            Ok(())
        }
    }

    impl Encode for RawDocumentBuf {
        fn encode_element(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            (**self).encode_element(what, bytes)
        }

        fn encode_document(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            (**self).encode_document(what, bytes)
        }
    }

    impl Encode for Document {
        fn encode_element(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            raw(self, what)?.encode_element(what, bytes)
        }

        fn encode_document(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            raw(self, what)?.encode_document(what, bytes)
        }
    }

    fn raw(document: &Document, what: &str) -> Result<RawDocumentBuf> {
        RawDocumentBuf::try_from(document).map_err(|error| cannot_be_encoded(what, error))
    }

    impl<T: Encode> Encode for [T] {
        fn encode_element(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            let mut array = RawArrayBuf::new();
            for value in self {
                let mut document = Vec::new();
                value.encode_document(what, &mut document)?;
                let document = RawDocumentBuf::from_bytes(document);
                array.push(document.map_err(|error| cannot_be_encoded(what, error))?);
            }
            let mut element = RawDocumentBuf::new();
            element.append(cstr!("v"), array);
            bytes.extend_from_slice(element.as_bytes());
            Ok(())
        }

        fn encode_document(&self, what: &str, _bytes: &mut Vec<u8>) -> Result<()> {
            Err(Error::invalid_argument(format!(
                "{what} is an array, and must be a document"
            )))
        }
    }

    impl<T: Encode> Encode for Vec<T> {
        fn encode_element(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            self[..].encode_element(what, bytes)
        }

        fn encode_document(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            self[..].encode_document(what, bytes)
        }
    }

    impl<T: Encode, const N: usize> Encode for [T; N] {
        fn encode_element(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            self[..].encode_element(what, bytes)
        }

        fn encode_document(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            self[..].encode_document(what, bytes)
        }
    }

    impl<T: Encode + ?Sized> Encode for &T {
        fn encode_element(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            (**self).encode_element(what, bytes)
        }

        fn encode_document(&self, what: &str, bytes: &mut Vec<u8>) -> Result<()> {
            (**self).encode_document(what, bytes)
        }
    }
}

/// Appends a value as a document. After an error `bytes` is as before.
///
/// # Errors
/// If the value is not encoded as a document, or cannot be encoded. `what` names it in the error, for example
/// "the filter".
pub(crate) fn append_document(
    value: &(impl ToBson + ?Sized),
    what: &str,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let start = bytes.len();
    let encoded = value.encode_document(what, bytes);
    if encoded.is_err() {
        bytes.truncate(start);
    }
    encoded
}

/// The memory for one value, in bytes. Most values fit, so that it is allocated once.
pub(crate) const USUAL_SIZE: usize = 256;

/// Encodes a value as a document.
///
/// # Errors
/// As [`append_document`].
pub(crate) fn to_document(value: &(impl ToBson + ?Sized), what: &str) -> Result<RawDocumentBuf> {
    let mut bytes = Vec::with_capacity(USUAL_SIZE);
    append_document(value, what, &mut bytes)?;
    RawDocumentBuf::from_bytes(bytes).map_err(|error| cannot_be_encoded(what, error))
}

/// Returns whether values of type `T` are BSON already, so that each null in them is written by the program itself.
pub(crate) fn is_bson<T: ?Sized>() -> bool {
    let name = type_name::<T>().trim_start_matches('&');
    let all = [
        type_name::<Document>(),
        type_name::<RawDocumentBuf>(),
        type_name::<RawDocument>(),
    ];
    all.contains(&name)
}

fn cannot_be_encoded(what: &str, error: bson::error::Error) -> Error {
    Error::bson(format!("{what} cannot be encoded as BSON"), error)
}

/// One value of the program as BSON.
#[derive(Clone, Debug)]
pub(crate) struct Encoded(RawDocumentBuf);

impl Encoded {
    /// Encodes a value. `what` names it in an error, for example "the update".
    ///
    /// # Errors
    /// If the value cannot be encoded.
    pub(crate) fn new(value: &(impl ToBson + ?Sized), what: &str) -> Result<Self> {
        let mut bytes = Vec::with_capacity(USUAL_SIZE);
        value.encode_element(what, &mut bytes)?;
        let document = RawDocumentBuf::from_bytes(bytes);
        Ok(Self(
            document.map_err(|error| cannot_be_encoded(what, error))?,
        ))
    }

    /// The value.
    pub(crate) fn value(&self) -> RawBsonRef<'_> {
        // The serialiser has written exactly one element.
        let first = self.0.iter().next().and_then(std::result::Result::ok);
        first.map_or(RawBsonRef::Null, |(_, value)| value)
    }
}

/// The options of an operation that the program has set, as fields of its command.
#[derive(Clone, Debug, Default)]
pub(crate) struct OptionFields {
    /// The fields, or `None` as long as there is none: most operations have no options.
    fields: Option<RawDocumentBuf>,
    /// The first error. The operation fails with it when it runs.
    error: Option<Error>,
}

impl OptionFields {
    /// Sets a field. A later value replaces an earlier one.
    pub(crate) fn set(&mut self, key: &CStr, value: impl BindRawBsonRef) {
        let fields = self.fields.get_or_insert_default();
        if fields.get(key.as_str()).is_ok_and(|old| old.is_some()) {
            let others = fields.iter().filter_map(std::result::Result::ok);
            let others = others.filter(|(name, _)| *name != key);
            *fields = others.collect();
        }
        fields.append(key, value);
    }

    /// Sets a field to a value of the program.
    pub(crate) fn set_value(&mut self, key: &CStr, value: &(impl ToBson + ?Sized)) {
        match Encoded::new(value, key.as_str()) {
            Ok(encoded) => self.set(key, encoded.value()),
            Err(error) => self.fail(error),
        }
    }

    /// Sets a field to a document of the program.
    pub(crate) fn set_document(&mut self, key: &CStr, value: &(impl ToBson + ?Sized)) {
        match to_document(value, key.as_str()) {
            Ok(document) => self.set(key, document),
            Err(error) => self.fail(error),
        }
    }

    /// Sets a field to an array of the program.
    pub(crate) fn set_array(&mut self, key: &CStr, value: &(impl ToBson + ?Sized)) {
        match Encoded::new(value, key.as_str()) {
            Ok(encoded) => match encoded.value() {
                RawBsonRef::Array(_) => self.set(key, encoded.value()),
                _ => self.fail(Error::invalid_argument(format!(
                    "{} must be an array",
                    key.as_str()
                ))),
            },
            Err(error) => self.fail(error),
        }
    }

    /// Lets the operation fail with `error` when it runs, unless an earlier error is known.
    pub(crate) fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// The value of a field, if it is set.
    pub(crate) fn get(&self, key: &CStr) -> Option<RawBsonRef<'_>> {
        self.fields.as_ref()?.get(key.as_str()).ok().flatten()
    }

    /// Returns the fields that are set, or the first error.
    ///
    /// # Errors
    /// If the value of an option could not be encoded.
    pub(crate) fn check(&self) -> Result<Option<&RawDocument>> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None => Ok(self.fields.as_deref()),
        }
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use bson::{cstr, doc, rawdoc};
    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Thing<'a> {
        name: &'a str,
        count: Option<i32>,
    }

    const THING: Thing<'static> = Thing {
        name: "bolt",
        count: None,
    };

    #[test]
    fn documents_of_all_kinds_are_encoded() {
        let expected = rawdoc! { "name": "bolt", "count": null };
        assert_eq!(to_document(&THING, "the filter").unwrap(), expected);
        let document = doc! { "name": "bolt", "count": null };
        assert_eq!(to_document(&document, "the filter").unwrap(), expected);
        assert_eq!(to_document(&&expected, "the filter").unwrap(), expected);
        assert_eq!(to_document(&&*expected, "the filter").unwrap(), expected);
    }

    #[test]
    fn other_values_are_no_documents() {
        let mut bytes = vec![1, 2];
        let error = append_document(&[doc! {}], "the filter", &mut bytes).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Bson);
        assert_eq!(error.to_string(), "the filter cannot be encoded as BSON");
        assert_eq!(bytes, [1, 2]);
        for error in [
            to_document(&5, "the filter").unwrap_err(),
            to_document("text", "the filter").unwrap_err(),
            to_document(&None::<Document>, "the filter").unwrap_err(),
            to_document(&doc! { "a\0b": 1 }, "the filter").unwrap_err(),
        ] {
            assert_eq!(error.to_string(), "the filter cannot be encoded as BSON");
        }
    }

    #[test]
    fn a_value_keeps_its_type() {
        let pipeline = Encoded::new(&[doc! { "$set": {} }], "the update").unwrap();
        assert!(matches!(pipeline.value(), RawBsonRef::Array(_)));
        let document = Encoded::new(&THING, "the update").unwrap();
        assert!(matches!(document.value(), RawBsonRef::Document(_)));
        let number = Encoded::new(&5_i64, "the update").unwrap();
        assert_eq!(number.value(), RawBsonRef::Int64(5));
    }

    #[test]
    fn bson_is_told_from_other_values() {
        assert!(is_bson::<Document>() && is_bson::<&Document>() && is_bson::<&RawDocument>());
        assert!(is_bson::<RawDocumentBuf>());
        assert!(!is_bson::<Thing<'_>>() && !is_bson::<Vec<Document>>());
    }

    #[test]
    fn a_later_option_replaces_an_earlier_one() {
        let mut options = OptionFields::default();
        assert_eq!(options.check().unwrap(), None);
        options.set(cstr!("limit"), 1);
        options.set_document(cstr!("sort"), &doc! { "n": 1 });
        options.set(cstr!("limit"), 2);
        let expected = rawdoc! { "sort": { "n": 1 }, "limit": 2 };
        assert_eq!(options.check().unwrap(), Some(&*expected));
        assert_eq!(options.get(cstr!("limit")), Some(RawBsonRef::Int32(2)));
    }

    #[test]
    fn the_first_wrong_option_is_the_error() {
        let mut options = OptionFields::default();
        options.set_document(cstr!("sort"), &1);
        options.set_document(cstr!("hint"), &2);
        let error = options.check().unwrap_err();
        assert_eq!(error.to_string(), "sort cannot be encoded as BSON");
    }
}
