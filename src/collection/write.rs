//! The reply of a write: counts, and the writes that failed ("CRUD API", "Write Results", "Error Handling").

use std::collections::BTreeSet;

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBsonRef, RawDocumentBuf};

use crate::conn;
use crate::data::hello::integer;
use crate::document::reply_to_document;
use crate::error::{Error, ErrorKind, Result};
use crate::op::{Extent, refusal};
use crate::results::{WriteConcernError, WriteError, WriteFailure, Written, whole};
use crate::server_code;

/// The fields of a reply to `insert`, `update`, `delete` or `findAndModify`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WriteReply {
    /// The number of documents that matched, or that were inserted or deleted.
    pub(super) n: u64,
    pub(super) n_modified: u64,
    /// False if the reply does not count the documents.
    has_count: bool,
    /// False if the reply does not count the documents that changed.
    has_modified: bool,
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
    /// If it is not valid BSON, or a field that says what was written has another form than that of a server. Then it is
    /// unknown what was written.
    pub(super) fn read(reply: &RawDocument) -> Result<Self> {
        let mut read = Self::default();
        let mut has_more = false;
        let mut seen = [false; FIELDS.len()];
        let invalid = |error| Error::bson("the server's answer is not valid BSON", error);
        for element in reply.iter_elements() {
            let element = element.map_err(invalid).map_err(unknown)?;
            let key = element.key().as_str();
            if let Some(field) = FIELDS.iter().position(|field| *field == key) {
                if std::mem::replace(&mut seen[field], true) {
                    return Err(malformed("each field once"));
                }
            }
            let number = || {
                let number = element.value().ok().and_then(count);
                number.ok_or_else(|| malformed("a number of documents"))
            };
            match key {
                "n" => (read.n, read.has_count) = (number()?, true),
                "nModified" => (read.n_modified, read.has_modified) = (number()?, true),
                "upserted" | "writeErrors" | "writeConcernError" | "errorLabels" => has_more = true,
                _ => {}
            }
        }
        if has_more {
            let reply = reply_to_document(reply).map_err(unknown)?;
            read.read_more(reply)
                .ok_or_else(|| malformed("a list of errors"))?;
        }
        Ok(read)
    }

    /// Checks that the reply fits the writes that were sent. A server that reports less, or more, may have written
    /// anything.
    ///
    /// # Errors
    /// If it does not fit.
    pub(super) fn check_sent(&self, sent: Sent) -> Result<()> {
        let Some(documents) = sent.documents else {
            return match self.errors.is_empty() {
                true => Ok(()),
                false => Err(malformed("one result")),
            };
        };
        // FerretDB counts no documents if the only write has failed.
        if !self.has_count && self.errors.is_empty() {
            return Err(malformed("a number of documents"));
        }
        let failed: BTreeSet<usize> = self.errors.iter().map(|error| error.index).collect();
        let upserted: BTreeSet<usize> = self.upserted.iter().map(|(index, _)| *index).collect();
        let is_known = |index: &usize| *index < sent.writes;
        if !failed.iter().chain(&upserted).all(is_known) {
            return Err(unknown(unknown_write()));
        }
        if failed.len() < self.errors.len() || upserted.len() < self.upserted.len() {
            return Err(malformed("one result of each write"));
        }
        let made = match (sent.is_ordered, failed.first()) {
            (true, Some(first)) => *first,
            _ => sent.writes - failed.len(),
        } as u64;
        let fits = match documents {
            Documents::OneEach => self.n == made,
            Documents::AtMostOneEach => self.n <= made,
            Documents::Any => true,
        };
        let fits = fits && self.n_modified <= self.n && upserted.len() as u64 <= self.n;
        if sent.is_update && self.errors.is_empty() && !self.has_modified {
            return Err(malformed("a number of documents"));
        }
        match fits {
            true => Ok(()),
            false => Err(unknown(Error::protocol(format!(
                "the reply counts {} documents, which does not fit the {made} writes",
                self.n
            )))),
        }
    }

    /// Adds labels that the server did not send.
    pub(super) fn add_labels(&mut self, labels: Vec<String>) {
        for label in labels {
            if !self.labels.contains(&label) {
                self.labels.push(label);
            }
        }
    }

    /// Returns `None` if a list of results or errors has another form than that of a server.
    fn read_more(&mut self, reply: Document) -> Option<()> {
        for (key, value) in reply {
            match (key.as_str(), value) {
                ("upserted", Bson::Array(upserted)) => {
                    let ids = upserted.into_iter().map(|one| {
                        let mut one = document(one)?;
                        Some((index(&one)?, one.remove("_id")?))
                    });
                    self.upserted = ids.collect::<Option<_>>()?;
                }
                ("writeErrors", Bson::Array(errors)) => {
                    let errors = errors.into_iter().map(|error| {
                        let error = document(error)?;
                        Some(WriteError::read(index(&error)?, error))
                    });
                    self.errors = errors.collect::<Option<_>>()?;
                }
                ("writeConcernError", Bson::Document(error)) => {
                    self.concern_error = Some(WriteConcernError::read(error));
                }
                ("upserted" | "writeErrors" | "writeConcernError", _) => return None,
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
        Some(())
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

fn index(document: &Document) -> Option<usize> {
    let index = document.get("index").and_then(whole)?;
    usize::try_from(index).ok()
}

/// A number that is not negative.
fn count(number: RawBsonRef<'_>) -> Option<u64> {
    u64::try_from(integer(number)?).ok()
}

/// The server has reported a write that it did not get.
pub(crate) fn unknown_write() -> Error {
    Error::protocol("the reply has the result of a write that was not sent")
}

/// The server says that a write was made, and the rest of its reply is not what a server sends.
pub(crate) fn malformed(expected: &str) -> Error {
    unknown(Error::protocol(format!(
        "the reply to a write lacks {expected}"
    )))
}

/// An error in the reply of a write that may have been made.
pub(crate) fn unknown(error: Error) -> Error {
    error.with_written(Written::Unknown)
}

/// The fields that say what was written.
const FIELDS: [&str; 5] = [
    "n",
    "nModified",
    "upserted",
    "writeErrors",
    "writeConcernError",
];

/// The writes of a command, against which its reply is checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) writes: usize,
    pub(super) is_ordered: bool,
    /// True if the reply also counts the documents that changed.
    pub(super) is_update: bool,
    /// The documents that the reply counts. `None`: it counts none.
    pub(super) documents: Option<Documents>,
}

/// The documents that each write of a command changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Documents {
    /// Exactly one: an insert.
    OneEach,
    /// None, or one.
    AtMostOneEach,
    /// Any number.
    Any,
}
