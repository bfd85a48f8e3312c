//! The models of a bulk write: one write each, encoded when it is added.
//!
//! The commands of a collection and `bulkWrite` have the same writes with other names of fields, so both kinds of bulks
//! encode them here. The last model of a bulk lies at the end of its queue, where its options are appended. Sources: "CRUD
//! API", "Write Models"; "Bulk Write", "Write Models".

use std::fmt;

use bson::raw::{BindRawBsonRef, CStr, RawDocument};
use bson::spec::ElementType;
use bson::{RawBsonRef, RawDocumentBuf, cstr};

use super::document_id::append_with_id;
use crate::encode::{Encoded, ToBson, append_document, is_bson, to_document};
use crate::error::{Error, Result};
use crate::object_id::IdGenerator;
use crate::op::WriteQueue;
use crate::options::{Collation, Hint};

/// Appends one write to the bytes of a queue.
pub(crate) struct ModelWriter<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> ModelWriter<'a> {
    /// Begins a document at the end of `bytes`.
    pub(crate) fn begin(bytes: &'a mut Vec<u8>) -> Self {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; LENGTH]);
        Self { bytes, start }
    }

    /// Appends a 32-bit integer.
    pub(crate) fn int32(&mut self, key: &CStr, value: i32) {
        self.key(ElementType::Int32, key);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a boolean.
    pub(crate) fn boolean(&mut self, key: &CStr, value: bool) {
        self.key(ElementType::Boolean, key);
        self.bytes.push(value.into());
    }

    /// Appends a filter.
    pub(crate) fn filter(&mut self, key: &CStr, filter: &(impl ToBson + ?Sized)) -> Result<()> {
        self.key(ElementType::EmbeddedDocument, key);
        append_document(filter, "the filter", self.bytes)
    }

    /// Appends a document to insert, with its `_id` in front.
    pub(crate) fn insert(&mut self, key: &CStr, document: &(impl ToBson + ?Sized)) -> Result<()> {
        self.key(ElementType::EmbeddedDocument, key);
        append_insert(document, self.bytes)
    }

    /// Appends an update: a document of operators, or a pipeline. `scratch` is memory for the call.
    ///
    /// # Errors
    /// If it is something else.
    pub(crate) fn update(
        &mut self,
        key: &CStr,
        update: &(impl ToBson + ?Sized),
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        const WHAT: &str = "the update";
        scratch.clear();
        update.encode_element(WHAT, scratch)?;
        let element = RawDocument::from_bytes(scratch.as_slice()).ok();
        let value = element.and_then(|element| element.iter().next()?.ok());
        match value.map(|(_, value)| value) {
            Some(RawBsonRef::Document(update)) => {
                check_update(update)?;
                self.key(ElementType::EmbeddedDocument, key);
                self.bytes.extend_from_slice(update.as_bytes());
            }
            Some(RawBsonRef::Array(pipeline)) => {
                self.key(ElementType::Array, key);
                self.bytes.extend_from_slice(pipeline.as_bytes());
            }
            _ => {
                return Err(Error::invalid_argument(
                    "the update must be a document or a pipeline",
                ));
            }
        }
        Ok(())
    }

    /// Appends a replacement.
    ///
    /// # Errors
    /// If it is an update, or not a document.
    pub(crate) fn replacement(
        &mut self,
        key: &CStr,
        replacement: &(impl ToBson + ?Sized),
    ) -> Result<()> {
        self.key(ElementType::EmbeddedDocument, key);
        let start = self.bytes.len();
        append_document(replacement, "the replacement", self.bytes)?;
        let replacement = RawDocument::from_bytes(&self.bytes[start..])
            .map_err(|error| Error::bson("the replacement cannot be encoded as BSON", error))?;
        match first_key(replacement) {
            Some(key) if key.starts_with('$') => Err(Error::invalid_argument(
                "the replacement must not have operators, so its first key must not start with $",
            )),
            _ => Ok(()),
        }
    }

    /// Ends the document.
    ///
    /// # Errors
    /// If it is larger than BSON allows.
    pub(crate) fn end(self) -> Result<()> {
        self.bytes.push(0);
        let size = i32::try_from(self.bytes.len() - self.start)
            .map_err(|_| Error::too_large("a write of the bulk is larger than 2 GiB"))?;
        self.bytes[self.start..self.start + LENGTH].copy_from_slice(&size.to_le_bytes());
        Ok(())
    }

    fn key(&mut self, kind: ElementType, key: &CStr) {
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(key.as_str().as_bytes());
        self.bytes.push(0);
    }
}

/// Appends a document to insert, with its `_id` in front.
pub(crate) fn append_insert<D: ToBson + ?Sized>(document: &D, bytes: &mut Vec<u8>) -> Result<()> {
    append_with_id(bytes, IdGenerator::new(), is_bson::<D>(), |bytes| {
        append_document(document, "the document", bytes)
    })
}

/// The size of the length in front of a document.
const LENGTH: usize = 4;

fn check_update(update: &RawDocument) -> Result<()> {
    match first_key(update) {
        Some(key) if key.starts_with('$') => Ok(()),
        _ => Err(Error::invalid_argument(
            "the update must have operators, so its first key must start with $",
        )),
    }
}

fn first_key(document: &RawDocument) -> Option<&str> {
    let first = document.iter().next()?.ok()?;
    Some(first.0.as_str())
}

/// The last model of a bulk, to which options are added.
pub(crate) struct LastModel<'a> {
    pub(crate) queue: &'a mut WriteQueue,
    pub(crate) failure: &'a mut Option<Error>,
    /// The position of the model in the queue. `None` if it was not added, because the bulk is over.
    pub(crate) start: Option<usize>,
}

impl LastModel<'_> {
    /// Sets an option. A later value replaces an earlier one.
    fn set(&mut self, key: &CStr, value: impl BindRawBsonRef) {
        let Some(start) = self.start else {
            return;
        };
        let last = self.queue.last(start);
        if last.is_some_and(|last| matches!(last.get(key.as_str()), Ok(Some(_)))) {
            let fields = last.into_iter().flat_map(RawDocument::iter);
            let fields = fields.map_while(std::result::Result::ok);
            let others: RawDocumentBuf = fields.filter(|(name, _)| *name != key).collect();
            self.queue.replace_last(start, &others);
        }
        let mut field = RawDocumentBuf::new();
        field.append(key, value);
        self.queue.append_to_last(start, &field);
    }

    fn set_document(&mut self, key: &CStr, value: &(impl ToBson + ?Sized)) {
        match to_document(value, key.as_str()) {
            Ok(document) => self.set(key, document),
            Err(error) => self.fail(error),
        }
    }

    fn set_array(&mut self, key: &CStr, value: &(impl ToBson + ?Sized)) {
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

    fn set_hint(&mut self, hint: Hint) {
        self.queue.add_hint();
        match hint {
            Hint::Name(name) => self.set(cstr!("hint"), name),
            Hint::Keys(keys) => self.set_document(cstr!("hint"), &keys),
        }
    }

    /// Ends the bulk with an error. The model is not sent.
    fn fail(&mut self, error: Error) {
        if let Some(start) = self.start.take() {
            self.queue.remove_last(start);
        }
        self.failure.get_or_insert(error);
    }
}

/// The options of an update of one document that was added to a bulk; see `update_one` of [`Bulk`](crate::Bulk) and
/// [`ClientBulk`](crate::ClientBulk).
pub struct UpdateOneModel<'a>(pub(crate) LastModel<'a>);

impl UpdateOneModel<'_> {
    /// Sets the filters that select the elements of arrays to update.
    pub fn array_filters(mut self, array_filters: impl ToBson) -> Self {
        self.0.set_array(cstr!("arrayFilters"), &array_filters);
        self
    }

    /// Sets the rules by which the filter compares texts.
    pub fn collation(mut self, collation: Collation) -> Self {
        self.0
            .set_document(cstr!("collation"), &collation.to_document());
        self
    }

    /// Sets the index to use.
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.0.set_hint(hint.into());
        self
    }

    /// Sets whether a document is inserted if none matches the filter. Default: false.
    pub fn upsert(mut self, upsert: bool) -> Self {
        self.0.set(cstr!("upsert"), upsert);
        self
    }

    /// Sets the order by which the first of several matching documents is chosen. Servers have it from MongoDB 8.0 on.
    pub fn sort(mut self, sort: impl ToBson) -> Self {
        self.0.set_document(cstr!("sort"), &sort);
        self
    }
}

/// The options of an update of all matching documents that was added to a bulk; see `update_many` of [`Bulk`](crate::Bulk) and
/// [`ClientBulk`](crate::ClientBulk).
pub struct UpdateManyModel<'a>(pub(crate) LastModel<'a>);

impl UpdateManyModel<'_> {
    /// Sets the filters that select the elements of arrays to update.
    pub fn array_filters(mut self, array_filters: impl ToBson) -> Self {
        self.0.set_array(cstr!("arrayFilters"), &array_filters);
        self
    }

    /// Sets the rules by which the filter compares texts.
    pub fn collation(mut self, collation: Collation) -> Self {
        self.0
            .set_document(cstr!("collation"), &collation.to_document());
        self
    }

    /// Sets the index to use.
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.0.set_hint(hint.into());
        self
    }

    /// Sets whether a document is inserted if none matches the filter. Default: false.
    pub fn upsert(mut self, upsert: bool) -> Self {
        self.0.set(cstr!("upsert"), upsert);
        self
    }
}

/// The options of the replacement of one document that was added to a bulk; see `replace_one` of [`Bulk`](crate::Bulk) and
/// [`ClientBulk`](crate::ClientBulk).
pub struct ReplaceOneModel<'a>(pub(crate) LastModel<'a>);

impl ReplaceOneModel<'_> {
    /// Sets the rules by which the filter compares texts.
    pub fn collation(mut self, collation: Collation) -> Self {
        self.0
            .set_document(cstr!("collation"), &collation.to_document());
        self
    }

    /// Sets the index to use.
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.0.set_hint(hint.into());
        self
    }

    /// Sets whether a document is inserted if none matches the filter. Default: false.
    pub fn upsert(mut self, upsert: bool) -> Self {
        self.0.set(cstr!("upsert"), upsert);
        self
    }

    /// Sets the order by which the first of several matching documents is chosen. Servers have it from MongoDB 8.0 on.
    pub fn sort(mut self, sort: impl ToBson) -> Self {
        self.0.set_document(cstr!("sort"), &sort);
        self
    }
}

/// The options of a deletion that was added to a bulk; see `delete_one` and `delete_many` of [`Bulk`](crate::Bulk) and
/// [`ClientBulk`](crate::ClientBulk).
pub struct DeleteModel<'a>(pub(crate) LastModel<'a>);

impl DeleteModel<'_> {
    /// Sets the rules by which the filter compares texts.
    pub fn collation(mut self, collation: Collation) -> Self {
        self.0
            .set_document(cstr!("collation"), &collation.to_document());
        self
    }

    /// Sets the index to use.
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.0.set_hint(hint.into());
        self
    }
}

macro_rules! debug_without_content {
    ($($name:ident)*) => {
        $(
            impl fmt::Debug for $name<'_> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_struct(stringify!($name)).finish_non_exhaustive()
                }
            }
        )*
    };
}

debug_without_content! { UpdateOneModel UpdateManyModel ReplaceOneModel DeleteModel }
