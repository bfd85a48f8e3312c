//! The reply of a write: counts, and the writes that failed ("CRUD API", "Write Results", "Error Handling").

use bson::raw::RawDocument;
use bson::{Bson, Document};

use crate::document::reply_to_document;
use crate::error::{Error, Result};
use crate::results::{WriteConcernError, WriteError, WriteFailure};

/// The fields of a reply to `insert`, `update`, `delete` or `findAndModify`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WriteReply {
    /// The number of documents that matched, or that were inserted or deleted.
    pub(super) n: u64,
    pub(super) n_modified: u64,
    /// The `_id` of each document that an upsert inserted, with the index of the write.
    pub(super) upserted: Vec<(usize, Bson)>,
    pub(super) errors: Vec<WriteError>,
    pub(super) concern_error: Option<WriteConcernError>,
    pub(super) labels: Vec<String>,
}

impl WriteReply {
    /// Reads a reply with `ok: 1`.
    ///
    /// # Errors
    /// If it is not valid BSON.
    pub(super) fn read(reply: &RawDocument) -> Result<Self> {
        let mut read = Self::default();
        for (key, value) in reply_to_document(reply)? {
            match (key.as_str(), value) {
                ("n", number) => read.n = count(&number),
                ("nModified", number) => read.n_modified = count(&number),
                ("upserted", Bson::Array(upserted)) => {
                    let upserted = upserted.into_iter().filter_map(document);
                    let ids =
                        upserted.filter_map(|mut one| Some((index(&one), one.remove("_id")?)));
                    read.upserted = ids.collect();
                }
                ("writeErrors", Bson::Array(errors)) => {
                    let errors = errors.into_iter().filter_map(document);
                    read.errors = errors.map(write_error).collect();
                }
                ("writeConcernError", Bson::Document(error)) => {
                    read.concern_error = Some(write_concern_error(error));
                }
                ("errorLabels", Bson::Array(labels)) => {
                    let labels = labels.into_iter().filter_map(|label| match label {
                        Bson::String(label) => Some(label),
                        _ => None,
                    });
                    read.labels = labels.collect();
                }
                _ => {}
            }
        }
        Ok(read)
    }

    /// Returns the reply, or its errors as one error.
    ///
    /// # Errors
    /// If a write failed, or was not acknowledged as the write concern requires.
    pub(super) fn check(self) -> Result<Self> {
        if self.errors.is_empty() && self.concern_error.is_none() {
            return Ok(self);
        }
        let labels: Vec<&str> = self.labels.iter().map(String::as_str).collect();
        Err(Error::write(WriteFailure {
            errors: self.errors,
            concern_error: self.concern_error,
        })
        .with_labels(&labels))
    }
}

fn document(value: Bson) -> Option<Document> {
    match value {
        Bson::Document(document) => Some(document),
        _ => None,
    }
}

pub(crate) fn write_error(mut error: Document) -> WriteError {
    WriteError {
        index: index(&error),
        code: code(&error),
        code_name: text(&mut error, "codeName"),
        message: text(&mut error, "errmsg"),
        details: error.remove("errInfo").and_then(document),
    }
}

pub(super) fn write_concern_error(mut error: Document) -> WriteConcernError {
    WriteConcernError {
        code: code(&error),
        code_name: text(&mut error, "codeName"),
        message: text(&mut error, "errmsg"),
        details: error.remove("errInfo").and_then(document),
    }
}

/// The error labels of a reply.
pub(super) fn labels(reply: &RawDocument) -> Vec<String> {
    let labels = reply.get_array("errorLabels").into_iter().flatten();
    let labels = labels.filter_map(|label| Some(label.ok()?.as_str()?.to_owned()));
    labels.collect()
}

fn index(document: &Document) -> usize {
    document.get("index").map_or(0, |index| {
        usize::try_from(count(index)).unwrap_or(usize::MAX)
    })
}

fn code(document: &Document) -> i32 {
    let code = document.get("code").and_then(integer);
    code.and_then(|code| i32::try_from(code).ok()).unwrap_or(0)
}

fn text(document: &mut Document, key: &str) -> String {
    match document.remove(key) {
        Some(Bson::String(text)) => text,
        _ => String::new(),
    }
}

/// A number that is not negative.
fn count(number: &Bson) -> u64 {
    integer(number)
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}

/// Reads a whole number of any numeric type.
fn integer(number: &Bson) -> Option<i64> {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    match number {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the number is whole and in range"
        )]
        Bson::Double(number) if number.fract() == 0.0 && number.abs() <= LARGEST => {
            Some(*number as i64)
        }
        _ => None,
    }
}
