//! The errors of writes, as a reply of a server has them.

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBsonRef};

use super::{DuplicateKey, WriteConcernError, WriteError};
use crate::data::hello::integer;

impl WriteError {
    /// Reads the error of the write with this index.
    pub(crate) fn read(index: usize, mut error: Document) -> Self {
        let (code, message) = (code(&error), text(&mut error, "errmsg"));
        let duplicate_key = DuplicateKey::of(code, &message, |key| match error.get(key) {
            Some(Bson::Document(document)) => Some(document.clone()),
            _ => None,
        });
        Self {
            index,
            code,
            code_name: text(&mut error, "codeName"),
            message,
            details: details(&mut error),
            duplicate_key,
        }
    }
}

impl WriteConcernError {
    /// Reads the value of `writeConcernError`.
    pub(crate) fn read(mut error: Document) -> Self {
        Self {
            code: code(&error),
            code_name: text(&mut error, "codeName"),
            message: text(&mut error, "errmsg"),
            details: details(&mut error),
        }
    }
}

/// The error labels of a reply.
pub(crate) fn labels(reply: &RawDocument) -> Vec<String> {
    let labels = reply.get_array("errorLabels").into_iter().flatten();
    let labels = labels.filter_map(|label| Some(label.ok()?.as_str()?.to_owned()));
    labels.collect()
}

fn details(error: &mut Document) -> Option<Document> {
    match error.remove("errInfo") {
        Some(Bson::Document(details)) => Some(details),
        _ => None,
    }
}

fn code(document: &Document) -> i32 {
    let code = document.get("code").and_then(whole);
    code.and_then(|code| i32::try_from(code).ok()).unwrap_or(0)
}

/// Reads a whole number of any numeric type.
pub(crate) fn whole(number: &Bson) -> Option<i64> {
    integer(match number {
        Bson::Int32(number) => RawBsonRef::Int32(*number),
        Bson::Int64(number) => RawBsonRef::Int64(*number),
        Bson::Double(number) => RawBsonRef::Double(*number),
        _ => return None,
    })
}

fn text(document: &mut Document, key: &str) -> String {
    match document.remove(key) {
        Some(Bson::String(text)) => text,
        _ => String::new(),
    }
}
