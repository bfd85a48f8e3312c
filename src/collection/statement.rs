//! Writes with one statement: `update`, `delete`, `findAndModify`, and the `insert` of one document.

use bson::raw::CStr;
use bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf, cstr};

use super::action::Action;
use super::model::ModelWriter;
use super::write::{Documents, Sent, WriteReply, replied};
use crate::client_session::Scope;
use crate::encode::OptionFields;
use crate::error::{Error, Result};
use crate::event::OperationId;
use crate::op::{Extent, Operation, OperationKind, execute};
use crate::wire::request::DocumentSequence;

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

    /// The array with this statement only, as in a command without sequences.
    pub(super) fn into_array(self) -> RawArrayBuf {
        let mut array = RawArrayBuf::new();
        array.push(self.0);
        array
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

impl OneStatement<'_> {
    fn sent(&self) -> Sent {
        let documents = match (self.statement, self.writes_one) {
            (None, _) => None,
            (_, false) => Some(Documents::Any),
            _ if self.name == "insert" => Some(Documents::OneEach),
            _ => Some(Documents::AtMostOneEach),
        };
        Sent {
            writes: 1,
            is_ordered: true,
            is_update: self.name == "update",
            documents,
        }
    }
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
        let read = match is_acknowledged {
            true => WriteReply::read(&reply).and_then(|read| {
                read.check_sent(write.sent())?;
                read.check(extent)
            }),
            false => Ok(WriteReply::default()),
        };
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
