//! A command as a program builds it, before a server is selected.

use std::fmt;
use std::time::{Duration, Instant};

use bson::raw::RawDocument;
use bson::{Document, RawDocumentBuf};

use crate::bounds::Bounds;
use crate::cancel::Canceller;
use crate::error::{Error, Result};
use crate::options::{CursorTimeoutMode, CursorType, ReadPreference};
use crate::time::{TimeoutKind, TimeoutMs};
use crate::wire::request::DocumentSequence;

/// A command with its options.
///
/// Most commands are a document only: a method that takes a `Command` also takes a [`Document`](bson::Document) or raw
/// BSON. Many documents, as for an insert, belong into a [sequence](Self::documents): they are sent as they are, and need
/// not fit into one document with the command.
///
/// ```
/// use mongotls::Command;
/// use mongotls::bson::{doc, rawdoc};
///
/// let insert = Command::from(doc! { "insert": "things" })
///     .documents("documents", [rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }]);
/// ```
#[derive(Clone)]
#[must_use = "a command does nothing until it is run"]
pub struct Command {
    body: Result<RawDocumentBuf>,
    sequences: Vec<(String, Vec<u8>)>,
    timeout: Option<TimeoutMs>,
    read_preference: Option<ReadPreference>,
    cursor_type: CursorType,
    timeout_mode: Option<CursorTimeoutMode>,
    max_await_time: Option<Duration>,
    is_read: bool,
    bounds: Bounds,
}

impl Command {
    fn new(body: Result<RawDocumentBuf>) -> Self {
        Self {
            body,
            sequences: Vec::new(),
            timeout: None,
            read_preference: None,
            cursor_type: CursorType::default(),
            timeout_mode: None,
            max_await_time: None,
            is_read: false,
            bounds: Bounds::default(),
        }
    }

    /// Adds documents for the field `identifier` of the command, such as `documents` of an insert.
    ///
    /// The command itself must not have this field. An identifier with a NUL is rejected when the command is run.
    pub fn documents<D: AsRef<RawDocument>>(
        mut self,
        identifier: &str,
        documents: impl IntoIterator<Item = D>,
    ) -> Self {
        if identifier.is_empty() || identifier.contains('\0') {
            self.body = Err(Error::invalid_argument(
                "the identifier of a document sequence must not be empty nor hold a NUL",
            ));
            return self;
        }
        let mut bytes = Vec::new();
        for document in documents {
            bytes.extend_from_slice(document.as_ref().as_bytes());
        }
        self.sequences.push((identifier.to_owned(), bytes));
        self
    }

    /// Sets `timeoutMS` of this command: the limit for server selection, check-out, sending and the reply, in all.
    ///
    /// Default: `timeoutMS` of the [database](crate::Database::with_timeout) or of the client; without it only the limits
    /// of each step apply. Zero means no limit, even if `timeoutMS` is set. For a command that opens a cursor,
    /// [`timeout_mode`](Self::timeout_mode) sets the scope of the limit.
    ///
    /// The driver adds `maxTimeMS` to the command, the remaining time without a round trip, so that the server stops in
    /// time. It replaces a field `maxTimeMS` of the command. Do not use both: this combination is undefined in the
    /// specification "Client Side Operations Timeout". See the [guide](crate::guide::timeouts).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use mongotls::Command;
    /// use mongotls::bson::doc;
    ///
    /// let find = Command::from(doc! { "find": "things" }).timeout(Duration::from_secs(2));
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(TimeoutMs {
            limit,
            kind: TimeoutKind::Operation,
        });
        self
    }

    /// Sets an instant after which nothing is sent for this command, or for the cursor that it opens. It works like
    /// [`timeout`](Self::timeout), and the earlier limit counts. See [`Client::until`](crate::Client::until).
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use mongotls::Command;
    /// use mongotls::bson::doc;
    ///
    /// let end = Instant::now() + Duration::from_secs(2);
    /// let find = Command::from(doc! { "find": "things" }).deadline(end);
    /// ```
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.bounds = self.bounds.until(deadline);
        self
    }

    /// Ends the command, or the cursor that it opens, when `canceller` is used on another thread. See
    /// [`Client::cancelled_by`](crate::Client::cancelled_by).
    ///
    /// ```
    /// use mongotls::bson::doc;
    /// use mongotls::{Canceller, Command};
    ///
    /// let canceller = Canceller::new();
    /// let find = Command::from(doc! { "find": "things" }).cancelled_by(&canceller);
    /// ```
    pub fn cancelled_by(mut self, canceller: &Canceller) -> Self {
        self.bounds = self.bounds.cancelled_by(canceller);
        self
    }

    /// Sets the scope of `timeoutMS` for the cursor that this command opens. Default:
    /// [`CursorLifetime`](CursorTimeoutMode::CursorLifetime), or [`Iteration`](CursorTimeoutMode::Iteration) for a tailable
    /// cursor.
    ///
    /// The command is rejected ([`InvalidArgument`](crate::ErrorKind::InvalidArgument)) if `timeoutMS` is not set on any
    /// level, or if a tailable cursor has the mode `CursorLifetime`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use mongotls::Command;
    /// use mongotls::bson::doc;
    /// use mongotls::options::CursorTimeoutMode;
    ///
    /// // Each batch may take two seconds.
    /// let find = Command::from(doc! { "find": "things" })
    ///     .timeout(Duration::from_secs(2))
    ///     .timeout_mode(CursorTimeoutMode::Iteration);
    /// ```
    pub fn timeout_mode(mut self, mode: CursorTimeoutMode) -> Self {
        self.timeout_mode = Some(mode);
        self
    }

    /// Sets the type of the cursor that this command opens. Default: [`CursorType::NonTailable`]. The driver does not read
    /// the type from the command, so the fields `tailable` and `awaitData` must agree with it.
    ///
    /// ```
    /// use mongotls::Command;
    /// use mongotls::bson::doc;
    /// use mongotls::options::CursorType;
    ///
    /// let find = doc! { "find": "log", "tailable": true, "awaitData": true };
    /// let find = Command::from(find).cursor_type(CursorType::TailableAwait);
    /// ```
    pub fn cursor_type(mut self, cursor_type: CursorType) -> Self {
        self.cursor_type = cursor_type;
        self
    }

    /// Sets how long the server waits for documents before it answers with an empty batch: `maxTimeMS` of each `getMore` of
    /// the cursor that this command opens. Unit: milliseconds. Default: the server decides (one second).
    ///
    /// It applies to the further batches only, not to this command, and servers accept it only for a cursor of the type
    /// [`TailableAwait`](CursorType::TailableAwait). With `timeoutMS`, the command is rejected
    /// ([`InvalidArgument`](crate::ErrorKind::InvalidArgument)) if this time is not shorter, or if the cursor has another
    /// type. The value that is sent never exceeds the remaining time without a round trip.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use mongotls::Command;
    /// use mongotls::bson::doc;
    /// use mongotls::options::CursorType;
    ///
    /// let find = doc! { "find": "log", "tailable": true, "awaitData": true };
    /// let find = Command::from(find)
    ///     .cursor_type(CursorType::TailableAwait)
    ///     .max_await_time(Duration::from_millis(500))
    ///     .timeout(Duration::from_secs(2));
    /// ```
    pub fn max_await_time(mut self, limit: Duration) -> Self {
        self.max_await_time = Some(limit);
        self
    }

    /// Sets the members of a replica set, or of the shards of a cluster, that may run the command. Default: the primary,
    /// even if the client has another read preference (specification "Run Command").
    ///
    /// The client selects a server by the preference, and sends it to members and routers. With `directConnection=true`
    /// a member of a replica set answers reads even if it is not the primary: without a preference, or with `primary`, the
    /// client sends `primaryPreferred`. A standalone server gets no preference.
    ///
    /// ```
    /// use mongotls::Command;
    /// use mongotls::bson::doc;
    /// use mongotls::options::{ReadPreference, ReadPreferenceMode};
    ///
    /// let mut preference = ReadPreference::default();
    /// preference.mode = ReadPreferenceMode::SecondaryPreferred;
    /// let find = Command::from(doc! { "find": "things" }).read_preference(preference);
    /// ```
    pub fn read_preference(mut self, preference: ReadPreference) -> Self {
        self.read_preference = Some(preference);
        self
    }

    /// Declares that the command only reads, so that it is retried as a read.
    ///
    /// The client does not look into a command to find out if it reads. A command that is declared as a read is retried
    /// after errors of the network and changes of the server's state, unless `retryReads=false`. Without the declaration
    /// it is retried only if an overloaded server rejects it, and only with both `retryReads` and `retryWrites`.
    /// Source: "Retryable Reads", "Supported Read Operations"; "Client Backpressure".
    ///
    /// A retry may run the command twice. So do not declare commands that write, such as an `aggregate` with `$out` or
    /// `$merge`, nor commands of a transaction. A `mapReduce` that is declared as a read is retried too. The server may
    /// continue to run the first attempt, because it does not notice that the connection of a `mapReduce` was closed.
    ///
    /// ```
    /// use mongotls::Command;
    /// use mongotls::bson::doc;
    ///
    /// let count = Command::from(doc! { "count": "things" }).read();
    /// ```
    pub fn read(mut self) -> Self {
        self.is_read = true;
        self
    }

    /// The command's document.
    pub(crate) fn body(&self) -> Result<&RawDocumentBuf> {
        match &self.body {
            Ok(body) if body.is_empty() => Err(Error::invalid_argument("the command is empty")),
            Ok(body) => Ok(body),
            Err(error) => Err(error.clone()),
        }
    }

    pub(crate) fn sequences(&self) -> Vec<DocumentSequence<'_>> {
        let sequences = self.sequences.iter();
        sequences
            .map(|(identifier, documents)| DocumentSequence {
                identifier,
                documents,
            })
            .collect()
    }

    /// The command with `timeoutMS` of its database, unless it has its own.
    pub(crate) fn within_database(mut self, limit: Option<Duration>) -> Self {
        let of_database = limit.map(|limit| TimeoutMs {
            limit,
            kind: TimeoutKind::Database,
        });
        self.timeout = self.timeout.or(of_database);
        self
    }

    /// The limits of the command and its cursor, besides those of the client.
    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(crate) fn timeout_ms(&self) -> Option<TimeoutMs> {
        self.timeout
    }

    pub(crate) fn own_cursor_type(&self) -> CursorType {
        self.cursor_type
    }

    pub(crate) fn own_timeout_mode(&self) -> Option<CursorTimeoutMode> {
        self.timeout_mode
    }

    pub(crate) fn own_max_await_time(&self) -> Option<Duration> {
        self.max_await_time
    }

    pub(crate) fn is_read(&self) -> bool {
        self.is_read
    }

    pub(crate) fn preference(&self) -> Option<&ReadPreference> {
        self.read_preference.as_ref()
    }
}

/// Prints the name of the command, not its values: it may carry a password.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body.as_ref().ok();
        let first = body.and_then(|body| body.iter().next()?.ok());
        let name = first.map(|(key, _)| key.as_str());
        f.debug_struct("Command")
            .field("name", &name)
            .finish_non_exhaustive()
    }
}

impl From<Document> for Command {
    fn from(document: Document) -> Self {
        Self::from(&document)
    }
}

impl From<&Document> for Command {
    fn from(document: &Document) -> Self {
        let raw = RawDocumentBuf::try_from(document);
        Self::new(raw.map_err(|error| Error::bson("the command cannot be encoded", error)))
    }
}

impl From<RawDocumentBuf> for Command {
    fn from(raw: RawDocumentBuf) -> Self {
        Self::new(Ok(raw))
    }
}

impl From<&RawDocument> for Command {
    fn from(raw: &RawDocument) -> Self {
        Self::new(Ok(raw.to_owned()))
    }
}
