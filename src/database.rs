//! A database: where commands are run.

use std::fmt;

use bson::{Document, RawDocumentBuf};
#[cfg(feature = "serde")]
use serde::de::DeserializeOwned;

use crate::client::{Checked, Client};
use crate::command::Command;
use crate::cursor::Cursor;
use crate::document::reply_to_document;
#[cfg(feature = "serde")]
use crate::document::reply_to_typed;
use crate::error::{Error, Result};
use crate::options::database_name_problem;
use crate::retry;

/// One database of a deployment. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    client: Client,
    name: String,
    /// The reason why every server rejects the name, if it is invalid.
    problem: Option<String>,
}

impl Database {
    pub(crate) fn new(client: Client, name: &str) -> Self {
        Self {
            client,
            name: name.to_owned(),
            problem: database_name_problem(name),
        }
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command and returns the server's reply.
    ///
    /// Servers cut long texts, also within a character. In the errors of a reply (`errmsg`, `writeErrors`,
    /// `writeConcernError`) a replacement character marks such a cut; [`run_raw_command`](Self::run_raw_command)
    /// returns the bytes as they came.
    ///
    /// No read or write concern of the client is added: the command goes as it stands (specification
    /// "Run Command").
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument), before anything is sent, if no server accepts
    /// a database of this name; [`ErrorKind::Command`](crate::ErrorKind::Command) if the server answers `ok: 0`, with its code
    /// in [`Error::command`](crate::Error::command); otherwise those of the connection. Errors inside
    /// a successful reply, such as `writeErrors`, are part of the reply.
    pub fn run_command(&self, command: impl Into<Command>) -> Result<Document> {
        reply_to_document(&self.run_raw_command(command)?)
    }

    /// Runs a command and returns the reply as a value of type `T`; with the cargo feature `serde`, which is on by default.
    ///
    /// A read (`find`, `aggregate` without `$out` and `$merge`, `count`, `distinct`, `listCollections`,
    /// `listDatabases`, `listIndexes`) that is no part of a transaction is tried once more, on a server chosen anew,
    /// after an error of the network or a change of the server's state, unless `retryReads=false`; with `timeoutMS` or a
    /// limit of its own, as often as fits into that (specification "Retryable Reads"). [`run_command`](Self::run_command)
    /// sends what it is given once.
    ///
    /// # Errors
    /// As [`run_command`](Self::run_command), and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if the
    /// reply does not fit `T`.
    #[cfg(feature = "serde")]
    pub fn run_command_as<T: DeserializeOwned + 'static>(
        &self,
        command: impl Into<Command>,
    ) -> Result<T> {
        let command = command.into();
        let (reply, _) = self.run_typed(&command)?;
        reply_to_typed(&reply)
    }

    /// Runs a command and returns the reply as the server sent it.
    ///
    /// # Errors
    /// As [`run_command`](Self::run_command).
    pub fn run_raw_command(&self, command: impl Into<Command>) -> Result<RawDocumentBuf> {
        let operation = retry::Operation::Other;
        let (reply, _) = self
            .client
            .run(operation, self.sendable_name()?, &command.into())?;
        Ok(reply)
    }

    /// Runs a command whose reply opens a cursor, such as `find` or `aggregate`. A read is tried again as with
    /// `run_command_as`; fetching further batches is not.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").run_cursor_command::<Document>(doc! { "find": "things" })?;
    /// for thing in things {
    ///     println!("{}", thing?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`run_command`](Self::run_command), and
    /// [`ErrorKind::Protocol`](crate::ErrorKind::Protocol) if the reply has no cursor.
    pub fn run_cursor_command<T>(&self, command: impl Into<Command>) -> Result<Cursor<T>> {
        let command = command.into();
        let (reply, checked) = self.run_typed(&command)?;
        Cursor::open(self.client.clone(), checked, reply, &command)
    }

    /// Runs a command and returns its reply, and the cursor that the reply opens, if it does. A command such as
    /// `bulkWrite` returns some of its results in the reply, and others in the cursor.
    ///
    /// # Errors
    /// As [`run_cursor_command`](Self::run_cursor_command); a reply without a cursor is not an error.
    pub fn run_cursor_command_with_reply<T>(
        &self,
        command: impl Into<Command>,
    ) -> Result<(Document, Option<Cursor<T>>)> {
        let command = command.into();
        let (raw, checked) = self.run_typed(&command)?;
        let reply = reply_to_document(&raw)?;
        let cursor = match reply.contains_key("cursor") {
            true => Some(Cursor::open(self.client.clone(), checked, raw, &command)?),
            false => None,
        };
        Ok((reply, cursor))
    }

    /// The name, unless no server accepts it.
    fn sendable_name(&self) -> Result<&str> {
        match &self.problem {
            Some(problem) => Err(Error::invalid_argument(problem.clone())),
            None => Ok(&self.name),
        }
    }

    /// Runs a command whose reads may be tried again.
    fn run_typed(&self, command: &Command) -> Result<(RawDocumentBuf, Checked)> {
        let operation = command
            .body()
            .map_or(retry::Operation::Other, retry::Operation::of);
        self.client.run(operation, self.sendable_name()?, command)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
