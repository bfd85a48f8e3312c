//! The reply of a write: counts, and the writes that failed ("CRUD API", "Write Results", "Error Handling").

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBsonRef, RawDocumentBuf};

use crate::conn;
use crate::data::hello::integer;
use crate::document::reply_to_document;
use crate::error::{Error, ErrorKind, Result};
use crate::op::{Extent, refusal};
use crate::results::{DuplicateKey, WriteConcernError, WriteError, WriteFailure, Written};
use crate::server_code;

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
    /// Reads a reply with `ok: 1`. One with nothing but numbers is read without any allocation.
    ///
    /// # Errors
    /// If it is not valid BSON.
    pub(super) fn read(reply: &RawDocument) -> Result<Self> {
        let mut read = Self::default();
        let mut has_more = false;
        let invalid = |error| Error::bson("the server's answer is not valid BSON", error);
        for element in reply.iter_elements() {
            let element = element.map_err(invalid)?;
            let number = || element.value().ok().map_or(0, count);
            match element.key().as_str() {
                "n" => read.n = number(),
                "nModified" => read.n_modified = number(),
                "upserted" | "writeErrors" | "writeConcernError" | "errorLabels" => has_more = true,
                _ => {}
            }
        }
        if has_more {
            read.read_more(reply_to_document(reply)?);
        }
        Ok(read)
    }

    /// Adds labels that the server did not send.
    pub(super) fn add_labels(&mut self, labels: Vec<String>) {
        for label in labels {
            if !self.labels.contains(&label) {
                self.labels.push(label);
            }
        }
    }

    fn read_more(&mut self, reply: Document) {
        for (key, value) in reply {
            match (key.as_str(), value) {
                ("upserted", Bson::Array(upserted)) => {
                    let upserted = upserted.into_iter().filter_map(document);
                    let ids =
                        upserted.filter_map(|mut one| Some((index(&one), one.remove("_id")?)));
                    self.upserted = ids.collect();
                }
                ("writeErrors", Bson::Array(errors)) => {
                    let errors = errors.into_iter().filter_map(document);
                    self.errors = errors.map(write_error).collect();
                }
                ("writeConcernError", Bson::Document(error)) => {
                    self.concern_error = Some(write_concern_error(error));
                }
                ("errorLabels", Bson::Array(labels)) => {
                    let labels = labels.into_iter().filter_map(|label| match label {
                        Bson::String(label) => Some(label),
                        _ => None,
                    });
                    self.labels = labels.collect();
                }
                _ => {}
            }
        }
    }

    /// Returns the reply, or its errors as one error. `extent`: the documents that the command may write.
    ///
    /// # Errors
    /// If a write failed, or was not acknowledged as the write concern requires.
    pub(super) fn check(self, extent: Extent) -> Result<Self> {
        if self.errors.is_empty() && self.concern_error.is_none() {
            return Ok(self);
        }
        let written = self.written(extent);
        let error = Error::write(WriteFailure {
            errors: self.errors,
            concern_error: self.concern_error,
            ..WriteFailure::default()
        });
        let error = error.with_labels(&self.labels).with_written(written);
        Err(refusal::explained(error))
    }

    /// Returns whether a command with one statement that failed has written.
    fn written(&self, extent: Extent) -> Written {
        let Some(error) = self.errors.first() else {
            return Written::Yes;
        };
        let is_cut_short = server_code::CUT_SHORT.contains(&error.code);
        match extent {
            Extent::OneDocument if !is_cut_short => Written::No,
            _ if server_code::REJECTED_BEFORE_RUN.contains(&error.code) => Written::No,
            _ if self.n > 0 => Written::Partly,
            _ => Written::Unknown,
        }
    }
}

/// The reply of a write that the server made, but did not acknowledge as required, although it was retried. Its labels may
/// be more than those of the server.
///
/// # Errors
/// Any other error.
pub(super) fn replied(error: Error) -> Result<(RawDocumentBuf, Vec<String>)> {
    let reply = error.command().map(|failure| &failure.reply);
    match reply.filter(|reply| conn::check(reply).is_ok()) {
        Some(reply) if error.kind() == ErrorKind::Command => {
            Ok((reply.clone(), error.labels().to_vec()))
        }
        _ => Err(error),
    }
}

fn document(value: Bson) -> Option<Document> {
    match value {
        Bson::Document(document) => Some(document),
        _ => None,
    }
}

pub(crate) fn write_error(mut error: Document) -> WriteError {
    let (code, message) = (code(&error), text(&mut error, "errmsg"));
    let duplicate_key = DuplicateKey::of(code, &message, |key| match error.get(key) {
        Some(Bson::Document(document)) => Some(document.clone()),
        _ => None,
    });
    WriteError {
        index: index(&error),
        code,
        code_name: text(&mut error, "codeName"),
        message,
        details: error.remove("errInfo").and_then(document),
        duplicate_key,
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
    let index = document.get("index").and_then(whole);
    index.map_or(0, |index| usize::try_from(index).unwrap_or(usize::MAX))
}

fn code(document: &Document) -> i32 {
    let code = document.get("code").and_then(whole);
    code.and_then(|code| i32::try_from(code).ok()).unwrap_or(0)
}

/// Reads a whole number of any numeric type.
fn whole(number: &Bson) -> Option<i64> {
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

/// A number that is not negative.
fn count(number: RawBsonRef<'_>) -> u64 {
    integer(number)
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}
