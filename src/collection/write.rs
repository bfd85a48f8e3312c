//! The reply of a write: counts, and the writes that failed ("CRUD API", "Write Results", "Error Handling").

use bson::raw::{CStr, RawDocument};
use bson::{Bson, Document, RawBsonRef, RawDocumentBuf, cstr};

use super::action::Action;
use super::model::ModelWriter;
use crate::client_session::Scope;
use crate::conn;
use crate::data::hello::integer;
use crate::document::reply_to_document;
use crate::encode::OptionFields;
use crate::error::{Error, ErrorKind, Result};
use crate::event::OperationId;
use crate::op::{Extent, Operation, OperationKind, execute, refusal};
use crate::results::{DuplicateKey, WriteConcernError, WriteError, WriteFailure, Written};
use crate::server_code;
use crate::wire::request::DocumentSequence;

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

/// A statement of `update` or `delete`, or the part of `findAndModify` that is not an option.
#[derive(Debug)]
pub(super) struct Statement(RawDocumentBuf);

impl Statement {
    /// Encodes a statement.
    ///
    /// # Errors
    /// If an argument is wrong or cannot be encoded.
    pub(super) fn encode(encode: impl FnOnce(&mut ModelWriter<'_>) -> Result<()>) -> Result<Self> {
        let mut bytes = Vec::new();
        let mut writer = ModelWriter::begin(&mut bytes);
        encode(&mut writer)?;
        writer.end()?;
        let statement = RawDocumentBuf::from_bytes(bytes);
        Ok(Self(statement.map_err(|error| {
            Error::bson("the write cannot be encoded as BSON", error)
        })?))
    }

    /// Adds the options of the statement.
    ///
    /// # Errors
    /// If the value of an option could not be encoded.
    pub(super) fn with(mut self, options: &OptionFields) -> Result<Self> {
        for (key, value) in options.check()?.into_iter().flatten().flatten() {
            self.0.append(key, value);
        }
        Ok(self)
    }

    /// The value of a field.
    pub(super) fn get(&self, key: &CStr) -> Option<RawBsonRef<'_>> {
        self.0.get(key.as_str()).ok().flatten()
    }

    /// The only document of the sequence with this name.
    pub(super) fn sequence(&self, identifier: &'static str) -> DocumentSequence<'_> {
        DocumentSequence {
            identifier,
            documents: self.0.as_bytes(),
        }
    }
}

/// A command with one statement, or one document.
#[derive(Clone, Copy)]
pub(super) struct OneStatement<'a> {
    pub(super) name: &'static str,
    pub(super) own: &'a [(&'static CStr, RawBsonRef<'a>)],
    /// The statement, unless it is the command itself.
    pub(super) statement: Option<DocumentSequence<'a>>,
    /// True if it writes at most one document.
    pub(super) writes_one: bool,
    /// The options of the statement, or of the command.
    pub(super) options: &'a OptionFields,
    /// The first wire version with hints in this command.
    pub(super) hints_since: i32,
}

impl<S: Scope> Action<S> {
    /// Runs a write, and returns its reply and what it says, and whether the server has acknowledged it.
    ///
    /// # Errors
    /// If the command cannot be sent, or if the server rejects it or does not acknowledge it as required.
    pub(super) fn run_write(
        &self,
        write: &OneStatement<'_>,
    ) -> Result<(RawDocumentBuf, WriteReply, bool)> {
        let command = self.command(write.name, write.own)?;
        let is_acknowledged = self.write_concern().is_acknowledged();
        // A server that does not know hints says so, but not if nobody waits for its answer ("CRUD API", "Hint").
        let has_hint = !is_acknowledged && write.options.get(cstr!("hint")).is_some();
        let (kind, extent) = match write.writes_one {
            true => (OperationKind::RetryableWrite, Extent::OneDocument),
            false => (OperationKind::Write, Extent::Documents),
        };
        let id = OperationId::default();
        let operation = Operation {
            sequences: write.statement.as_slice(),
            extent,
            min_wire_version: if has_hint { write.hints_since } else { 0 },
            needed_by: has_hint.then_some("a hint in a write without acknowledgment"),
            ..self.write(&command, &id, kind)
        };
        let outcome = execute::run(self.client(), &operation, &mut ());
        let (reply, server, labels) = match outcome {
            Ok((reply, connection)) => (reply, Some(connection), Vec::new()),
            Err(error) => {
                let (reply, labels) = replied(error)?;
                (reply, None, labels)
            }
        };
        let read = WriteReply::read(&reply)
            .map_err(|error| error.with_written(Written::Unknown))
            .and_then(|read| read.check(extent));
        let read = self.transformed(read).map_err(|error| {
            let error = error.with_labels(&labels);
            match &server {
                Some(server) => error.with_server(server.connection().server()),
                None => error,
            }
        })?;
        Ok((reply, read, is_acknowledged))
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
