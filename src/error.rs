//! The one error of this crate.
//!
//! [`Error`] says what failed in one line: the server, the stage and the cause. What a program needs
//! to decide is data: [`kind`](Error::kind) groups errors by what a caller can do about them,
//! [`cause`](Error::cause) holds the exact reason for a failed connection, [`command`](Error::command)
//! the server's own answer, and [`labels`](Error::labels) the labels of the MongoDB specifications.
//!
//! `Display` prints this layer alone; [`source`](std::error::Error::source) leads to the error of the
//! system, of OpenSSL or of BSON below it. No secret is ever part of either.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bson::RawDocumentBuf;
use bson::oid::ObjectId;

use crate::address::ServerAddress;
use crate::cause::{Cause, CauseCode};
pub use crate::data::timing::{PoolLoad, Timing};
use crate::enum_text::display_as_str;
use crate::printable::{Printable, printable};
use crate::reason::cancel::Cancelled;
use crate::reason::gridfs::GridFsFailure;
use crate::results::{BulkFailure, DuplicateKey, WriteFailure, Written};
use crate::server_code::{DUPLICATE_KEYS, MAX_TIME_MS_EXPIRED};
use crate::time::Elapsed;

/// The result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation failed.
#[derive(Clone)]
pub struct Error(Box<ErrorInner>);

#[derive(Clone)]
struct ErrorInner {
    kind: ErrorKind,
    message: String,
    stage: Option<Stage>,
    server: Option<ServerAddress>,
    cause: Option<Cause>,
    command: Option<CommandFailure>,
    write: Option<WriteFailure>,
    bulk: Option<BulkFailure>,
    written: Option<Written>,
    /// That of a command that failed as a whole.
    duplicate_key: Option<DuplicateKey>,
    labels: Vec<String>,
    is_pool_cleared: bool,
    service_id: Option<ObjectId>,
    timing: Option<Timing>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    /// The error of the program.
    custom: Option<Arc<dyn Any + Send + Sync>>,
}

/// Errors grouped by what a caller can do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option, the connection string or a local file is wrong. No command was sent; trying again is
    /// of no use, unless the cause is [`CauseCode::LocalLimit`]: this host may have what it lacks again soon.
    Configuration,
    /// The server could not be reached or went away. A command may have run if the error is of
    /// [`Stage::Command`]; otherwise nothing of it was sent.
    Network,
    /// A time limit has passed. A command may have run if the error is of
    /// [`Stage::Command`]; otherwise nothing of it was sent.
    Timeout,
    /// TLS failed: the server's certificate was refused, or the handshake was.
    Tls,
    /// The server refused the credential, or did not prove that it knows the user, or the credential could
    /// not be obtained.
    Authentication,
    /// The server answered a command, or the first hello, with an error.
    Command,
    /// The peer does not speak the MongoDB protocol, or breaks it.
    Protocol,
    /// A value does not fit BSON, or a reply does not fit the requested type.
    Bson,
    /// A command is larger than the server accepts. Nothing was sent.
    TooLarge,
    /// A call has an argument that can never work, such as an empty command. Nothing was sent.
    InvalidArgument,
    /// The server rejected some of the writes of an operation, or has not acknowledged them as the write concern
    /// requires. [`Error::write_failure`] has the details.
    Write,
    /// The program's own source of documents failed ([`try_insert_many`](crate::Collection::try_insert_many)), or the source
    /// or the destination of a file of GridFS ([`upload_from_stream`](crate::gridfs::GridFsBucket::upload_from_stream)).
    Source,
    /// A file of GridFS does not exist, or cannot be read because its chunks are not as they must be. The server answered
    /// all commands. [`Error::cause`] says which file, and which chunk.
    GridFs,
    /// The program returned an error of its own from a [transaction](crate::Client::transaction): [`Error::custom`].
    Custom,
    /// The client was closed by [`Client::close`](crate::Client::close). Nothing was sent.
    ClientClosed,
    /// The program cancelled the operation ([`Canceller::cancel`](crate::Canceller::cancel)). A command may have run if the
    /// error is of [`Stage::Command`]; otherwise nothing of it was sent.
    Cancelled,
}

impl ErrorKind {
    /// The kind in lower case words joined by hyphens, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Authentication => "authentication",
            Self::Command => "command",
            Self::Protocol => "protocol",
            Self::Bson => "bson",
            Self::TooLarge => "too-large",
            Self::InvalidArgument => "invalid-argument",
            Self::Write => "write",
            Self::Source => "source",
            Self::GridFs => "gridfs",
            Self::Custom => "custom",
            Self::ClientClosed => "client-closed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The stage that an attempt to connect had reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// Reading options and local files.
    Options,
    /// Finding the addresses of a host name.
    Resolve,
    /// Opening the TCP connection or the Unix socket.
    Connect,
    /// The TLS handshake, with the check of the certificate's chain and names.
    Tls,
    /// The check that no certificate is revoked.
    Revocation,
    /// The first hello.
    Hello,
    /// The authentication of the user.
    Authentication,
    /// A command on an established connection.
    Command,
}

impl Stage {
    /// The stage as it stands in `mongotls doctor --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Options => "options",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Revocation => "revocation",
            Self::Hello => "hello",
            Self::Authentication => "authentication",
            Self::Command => "command",
        }
    }

    /// The failed step, as the text of an error names it.
    fn failure(self) -> &'static str {
        match self {
            Self::Options => "the options are not usable",
            Self::Resolve => "name resolution failed",
            Self::Connect => "connecting failed",
            Self::Tls => "TLS handshake failed",
            Self::Revocation => "revocation check failed",
            Self::Hello => "MongoDB handshake failed",
            Self::Authentication => "authentication failed",
            Self::Command => "command failed",
        }
    }
}

display_as_str!(ErrorKind, Stage);

/// The answer of a server that refused a command (`ok: 0`). Errors inside a successful reply, such as
/// `writeErrors`, are part of the reply and not a failure.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CommandFailure {
    /// The server's error code; 0 if it sent none.
    pub code: i32,
    /// The server's name of the code; empty if it sent none.
    pub code_name: String,
    /// The server's text.
    pub message: String,
    /// The whole reply.
    pub reply: RawDocumentBuf,
}

impl Error {
    #[cold]
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorInner {
            kind,
            message: printable(message.into()),
            stage: None,
            server: None,
            cause: None,
            command: None,
            write: None,
            bulk: None,
            written: None,
            duplicate_key: None,
            labels: Vec::new(),
            is_pool_cleared: false,
            service_id: None,
            timing: None,
            source: None,
            custom: None,
        }))
    }

    /// An error of the program, which a [transaction](crate::Client::transaction) returns as it is.
    /// [`get_custom`](Self::get_custom) returns the value.
    ///
    /// ```
    /// use mongotls::Error;
    ///
    /// #[derive(Debug, PartialEq)]
    /// struct SoldOut;
    ///
    /// let error = Error::custom(SoldOut);
    /// assert_eq!(error.get_custom::<SoldOut>(), Some(&SoldOut));
    /// ```
    pub fn custom(error: impl Any + Send + Sync) -> Self {
        let any: &dyn Any = &error;
        let text = any.downcast_ref::<&str>().copied();
        let text = text.or_else(|| any.downcast_ref::<String>().map(String::as_str));
        let mut custom = Self::new(ErrorKind::Custom, text.unwrap_or("an error of the program"));
        custom.0.custom = Some(Arc::new(error));
        custom
    }

    /// An attempt to connect that ended in `cause` at `stage`.
    #[cold]
    pub(crate) fn failed(stage: Stage, cause: impl Into<Cause>) -> Self {
        use crate::cause::Category;
        let cause = cause.into();
        let kind = match (cause.category(), cause.code()) {
            _ if stage == Stage::Options => ErrorKind::Configuration,
            (_, CauseCode::ConnectTimeout | CauseCode::HandshakeTimeout) => ErrorKind::Timeout,
            (_, CauseCode::DnsFailed) if cause.reason().is_resolver_timeout() => ErrorKind::Timeout,
            (Category::Configuration, _) => ErrorKind::Configuration,
            (Category::Credential, _) => ErrorKind::Authentication,
            (Category::Network, _) => ErrorKind::Network,
            (
                Category::Server,
                CauseCode::AuthenticationFailed
                | CauseCode::MechanismUnavailable
                | CauseCode::ServerNotProven,
            ) => ErrorKind::Authentication,
            (Category::Server, CauseCode::HelloFailed) => ErrorKind::Command,
            (Category::Server, _) => ErrorKind::Protocol,
            _ => ErrorKind::Tls,
        };
        let mut error = Self::new(kind, cause.message());
        error.0.stage = Some(stage);
        error.0.cause = Some(cause);
        error
    }

    /// Options or a local file are wrong: [`Stage::Options`] with `cause`.
    pub(crate) fn configuration(cause: impl Into<Cause>) -> Self {
        Self::failed(Stage::Options, cause)
    }

    /// A limit has passed while waiting for `what`.
    pub(crate) fn timed_out(elapsed: Elapsed, what: &str) -> Self {
        let limit = Milliseconds(elapsed.limit);
        Self::new(
            ErrorKind::Timeout,
            format!(
                "{what} took longer than {limit} ({})",
                elapsed.kind.option()
            ),
        )
    }

    /// The time for retries of a transaction has passed. The last error is the source, and its labels and its cause stay.
    pub(crate) fn retries_timed_out(elapsed: Elapsed, last: Self) -> Self {
        let mut error = Self::timed_out(elapsed, "the transaction with its retries")
            .with_labels(last.labels())
            .with_written(last.written());
        error.0.cause.clone_from(&last.0.cause);
        error.with_source(last)
    }

    /// Returns true if the time limit on the server has passed, in the answer to a command or in a write concern error.
    pub(crate) fn is_max_time_expired(&self) -> bool {
        let of_command = self.command().map(|failure| failure.code);
        let of_concern = || Some(self.write_failure()?.concern_error.as_ref()?.code);
        of_command.or_else(of_concern) == Some(MAX_TIME_MS_EXPIRED)
    }

    /// The deadline of the program had passed before an operation began.
    pub(crate) fn deadline_passed() -> Self {
        let message =
            "the operation was not started because the deadline of the program had passed";
        Self::new(ErrorKind::Timeout, message)
    }

    /// The server has too little time left for `what`, so it was not sent.
    pub(crate) fn too_late_to_send(
        elapsed: Elapsed,
        what: &str,
        remaining: Duration,
        min_round_trip_time: Duration,
    ) -> Self {
        let (limit, option) = (Milliseconds(elapsed.limit), elapsed.kind.option());
        let message = match remaining.is_zero() {
            true => format!("{what} was not sent because {limit} ({option}) have passed"),
            false => format!(
                "{what} was not sent because {remaining:.1?} of {limit} ({option}) remain, and a round trip to the \
                server takes at least {min_round_trip_time:.1?}"
            ),
        };
        Self::new(ErrorKind::Timeout, message)
    }

    /// Converts the rejection of a command whose time has passed at the server to a timeout. The server's answer stays.
    pub(crate) fn into_timeout(mut self) -> Self {
        self.0.kind = ErrorKind::Timeout;
        self
    }

    /// No connection became free in time (CMAP, `WaitQueueTimeoutError`); `meanwhile` says what the pool was
    /// busy with.
    pub(crate) fn wait_queue_timeout(elapsed: Elapsed, meanwhile: &str) -> Self {
        let (limit, option) = (Milliseconds(elapsed.limit), elapsed.kind.option());
        let message = format!(
            "timed out while checking out a connection from connection pool after {limit} ({option}): {meanwhile}"
        );
        Self::new(ErrorKind::Timeout, message)
    }

    /// No connection became free in time behind a load balancer ("Load Balancer Support", "Connection Tracking");
    /// `uses` counts the connections in use.
    pub(crate) fn load_balanced_wait_queue_timeout(elapsed: Elapsed, uses: &str) -> Self {
        let (limit, option) = (Milliseconds(elapsed.limit), elapsed.kind.option());
        let message = format!(
            "Timeout waiting for connection from the connection pool. {uses} (the wait took {limit}, {option})"
        );
        Self::new(ErrorKind::Timeout, message)
    }

    /// The client is closed (CMAP, `PoolClosedError`).
    pub(crate) fn client_closed() -> Self {
        let message =
            "the client is closed: attempted to check out a connection from closed connection pool";
        Self::new(ErrorKind::ClientClosed, message)
    }

    /// The pool is paused until its server is known to be available again (CMAP, `PoolClearedError`).
    pub(crate) fn pool_cleared(because: Option<Self>) -> Self {
        let message = match because {
            Some(_) => "the connection pool was cleared because another operation failed",
            None => "the connection pool was cleared",
        };
        let mut error = Self::new(ErrorKind::Network, message);
        error.0.is_pool_cleared = true;
        error.0.source = because.map(|because| Arc::new(because) as _);
        error
    }

    /// The cursor or connection was created before a fork, and belongs to the parent process.
    pub(crate) fn of_the_parent() -> Self {
        let message = "the cursor, session, connection or upload belongs to the process that this one was forked from";
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// A connection in use was cut off because the pool was cleared.
    pub(crate) fn interrupted() -> Self {
        let message = "the connection was interrupted because the connection pool was cleared";
        let mut error = Self::new(ErrorKind::Network, message);
        error.0.is_pool_cleared = true;
        error
    }

    /// The program cancelled the operation.
    #[cold]
    pub(crate) fn cancelled(at: Cancelled) -> Self {
        Self::explained(ErrorKind::Cancelled, at)
    }

    /// Adds the time that the steps of the operation took, to the data and to the first line of the text. The text of a
    /// server selection that failed already says it if there was no other step.
    pub(crate) fn with_timing(mut self, timing: Timing) -> Self {
        if timing.total() > timing.server_selection {
            let message = &mut self.0.message;
            let first_line = message.find('\n').unwrap_or(message.len());
            message.insert_str(first_line, &format!("; {timing}"));
        }
        self.0.timing = Some(timing);
        self
    }

    /// Adds the service behind a load balancer that answered hello before the attempt to connect failed.
    pub(crate) fn with_service(mut self, service_id: Option<ObjectId>) -> Self {
        self.0.service_id = service_id;
        self
    }

    /// See [`with_service`](Self::with_service).
    pub(crate) fn service_id(&self) -> Option<ObjectId> {
        self.0.service_id
    }

    /// Returns true if the pool was cleared in the meantime: the operation may be retried, and the error says nothing
    /// about the server.
    pub(crate) fn is_pool_cleared(&self) -> bool {
        self.0.is_pool_cleared
    }

    /// The peer broke the wire protocol.
    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, message)
    }

    /// A call has an argument that can never work; nothing was sent.
    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// The error of an operation for which there is no server. `text` says so in one or more lines; its external
    /// parts are printable. `telling` is the most useful error of a server; this one has its cause, answer and
    /// labels, and no stage, for nothing of the operation was sent.
    pub(crate) fn no_server(kind: ErrorKind, text: String, telling: Option<&Self>) -> Self {
        let mut error = telling.map_or_else(|| Self::new(kind, ""), Self::clone);
        error.0.kind = kind;
        error.0.message = text;
        error.0.server = None;
        error.0.stage = None;
        error.0.source = None;
        error.without_labels()
    }

    /// Returns true if waiting cannot help: a certificate, a setting or the protocol is wrong, not the network or a server
    /// that is starting. This applies to a server that has never worked in this client.
    pub(crate) fn is_permanent(&self) -> bool {
        use crate::cause::Category as C;
        let Some(cause) = &self.0.cause else {
            return false;
        };
        // An overloaded server closes before the TLS handshake is over, and not after it.
        let may_be_overload =
            self.has_label("SystemOverloadedError") && cause.category() != C::ClientCertificate;
        let is_certain = match cause.category() {
            C::Certificate | C::Protocol | C::Revocation | C::ClientCertificate => true,
            // A resource that this host lacks now may be available again soon.
            C::Configuration => !self.is_local_limit(),
            // What a server says in words may be that it starts or ends.
            C::Server => {
                let codes = [CauseCode::NotMongodb, CauseCode::HelloFailed];
                codes.contains(&cause.code()) && self.0.command.is_none() && self.0.source.is_none()
            }
            _ => false,
        };
        is_certain && !may_be_overload
    }

    /// Returns whether this host has no descriptor, thread, port or memory left: that says nothing about the server.
    pub(crate) fn is_local_limit(&self) -> bool {
        let cause = self.0.cause.as_ref();
        cause.is_some_and(|cause| cause.code() == CauseCode::LocalLimit)
    }

    /// Returns true if a server that has worked before fails for this until a certificate, a TLS version or a setting
    /// changes. Errors while a server or a proxy restarts are not of this kind.
    pub(crate) fn is_lasting(&self) -> bool {
        use crate::cause::Category as C;
        let Some(cause) = &self.0.cause else {
            return false;
        };
        let counts = match cause.code() {
            CauseCode::ProtocolVersionMismatch
            | CauseCode::RevokedCrl
            | CauseCode::RevokedOcspStaple
            | CauseCode::RevokedOcspResponder => true,
            code => [C::Certificate, C::Configuration].contains(&code.category()),
        };
        counts && self.is_permanent()
    }

    /// A command does not fit the server's limits; nothing was sent.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TooLarge, message)
    }

    /// A value does not fit BSON or the requested type.
    pub(crate) fn bson(message: impl Into<String>, source: bson::error::Error) -> Self {
        Self::new(ErrorKind::Bson, message).with_source(Printable(source))
    }

    /// Some writes of an operation failed, or were not acknowledged as required.
    #[cold]
    pub(crate) fn write(failure: WriteFailure) -> Self {
        let mut error = Self::new(ErrorKind::Write, failure.to_string());
        error.0.write = Some(failure);
        error
    }

    /// The program's source of documents failed.
    #[cold]
    pub(crate) fn of_source(source: Box<dyn StdError + Send + Sync>) -> Self {
        let mut error = Self::new(ErrorKind::Source, "the source failed");
        error.0.source = Some(Arc::from(source));
        error
    }

    /// The program's destination of a download failed.
    #[cold]
    pub(crate) fn of_destination(source: io::Error) -> Self {
        Self::new(ErrorKind::Source, "the destination failed").with_source(source)
    }

    /// A file of GridFS does not exist, exists already, or cannot be read.
    #[cold]
    pub(crate) fn gridfs(failure: GridFsFailure) -> Self {
        Self::explained(ErrorKind::GridFs, failure)
    }

    /// Names the document of a source that could not be taken or encoded.
    #[cold]
    pub(crate) fn of_document(mut self, index: usize) -> Self {
        self.0.message = format!("document {index}: {}", self.0.message);
        self
    }

    /// Adds what is known about the other writes of a bulk.
    #[cold]
    pub(crate) fn in_bulk(mut self, write: Option<WriteFailure>, bulk: BulkFailure) -> Self {
        self.0.write = write.or(self.0.write);
        self.0.bulk = Some(bulk);
        self
    }

    /// Adds the values of a command that violates a unique index.
    pub(crate) fn with_duplicate_key(mut self, key: DuplicateKey) -> Self {
        self.0.duplicate_key = Some(key);
        self
    }

    /// Sets the answer of [`written`](Self::written).
    pub(crate) fn with_written(mut self, written: Written) -> Self {
        self.0.written = Some(written);
        self
    }

    /// The server refused a command.
    pub(crate) fn refused(failure: CommandFailure, labels: Vec<String>) -> Self {
        let name = if failure.code_name.is_empty() {
            String::new()
        } else {
            format!(" {}", failure.code_name)
        };
        let mut error = Self::new(
            ErrorKind::Command,
            format!(
                "the server answered with error {}{name}: {}",
                failure.code, failure.message
            ),
        );
        error.0.labels = labels;
        error.0.command = Some(failure);
        error
    }

    #[cold]
    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    pub(crate) fn with_stage(mut self, stage: Stage) -> Self {
        self.0.stage.get_or_insert(stage);
        self
    }

    /// Turns the refusal of a command into the failure of an attempt to connect, which keeps the server's
    /// answer and its labels.
    pub(crate) fn into_failed(mut self, stage: Stage, cause: Cause) -> Self {
        let mut failed = Self::failed(stage, cause);
        failed.0.command = self.0.command.take();
        failed.0.labels = std::mem::take(&mut self.0.labels);
        failed.with_source(self)
    }

    /// Replaces the text of the server that refused a command. Its whole reply stays.
    pub(crate) fn with_server_message(self, message: &str) -> Self {
        let Some(failure) = self.command() else {
            return self;
        };
        let failure = CommandFailure {
            message: message.to_owned(),
            ..failure.clone()
        };
        let mut error = Self::refused(failure, self.0.labels);
        error.0.server = self.0.server;
        error.0.stage = self.0.stage;
        error.0.written = self.0.written;
        error
    }

    /// The error without its labels.
    pub(crate) fn without_labels(&self) -> Self {
        let mut error = self.clone();
        error.0.labels.clear();
        error
    }

    /// Adds labels that are not there yet.
    pub(crate) fn with_labels(mut self, labels: &[impl AsRef<str>]) -> Self {
        for label in labels.iter().map(AsRef::as_ref) {
            if !self.has_label(label) {
                self.0.labels.push(label.to_owned());
            }
        }
        self
    }

    /// The error without what a server says of a command that carries a secret: of its answer code, name and
    /// labels stay ("Command Logging and Monitoring", "Security").
    pub(crate) fn redacted(&self) -> Self {
        let Some(failure) = self.command() else {
            return self.clone();
        };
        let failure = CommandFailure {
            code: failure.code,
            code_name: failure.code_name.clone(),
            message: "REDACTED".to_owned(),
            reply: RawDocumentBuf::new(),
        };
        let mut error = Self::refused(failure, self.0.labels.clone());
        error.0.server.clone_from(&self.0.server);
        error.0.stage = self.0.stage;
        error
    }

    /// Replaces the cause and the text of a failed attempt; the rest stays.
    pub(crate) fn replace_cause(mut self, cause: Cause) -> Self {
        cause.message().clone_into(&mut self.0.message);
        self.with_cause(cause)
    }

    /// An error of `kind` with the message of `cause`, and without a stage.
    pub(crate) fn explained(kind: ErrorKind, cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        Self::new(kind, cause.message()).with_cause(cause)
    }

    /// Adds the cause of this error; its text stays.
    pub(crate) fn with_cause(mut self, cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        self.0.cause = Some(match &self.0.server {
            Some(server) => cause.with_server(server),
            None => cause,
        });
        self
    }

    /// The text without the server and the stage.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// Names the server, where no layer below has done so.
    pub(crate) fn with_server(mut self, server: &ServerAddress) -> Self {
        if self.0.server.is_none() {
            self.0.server = Some(server.clone());
            self.0.cause = self.0.cause.map(|cause| cause.with_server(server));
        }
        self
    }

    /// Returns true if no connection to the server could be established: nothing of a command was sent.
    pub(crate) fn is_of_establishing(&self) -> bool {
        let stage = self.0.stage;
        stage.is_some_and(|stage| (Stage::Resolve..Stage::Command).contains(&stage))
    }

    /// The kind of the error, by what a caller can do about it.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::ErrorKind;
    ///
    /// match client.database("shop").run_command(doc! { "ping": 1 }) {
    ///     Ok(_) => println!("ok"),
    ///     Err(error) => match error.kind() {
    ///         ErrorKind::Network | ErrorKind::Timeout => println!("try again later"),
    ///         _ => println!("a person must look at it: {error}"),
    ///     },
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stage that the connection had reached; `None` for errors that do not concern a connection.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::error::Stage;
    ///
    /// if let Err(error) = client.database("admin").run_command(doc! { "ping": 1 }) {
    ///     let is_sent = error.stage() == Some(Stage::Command);
    ///     println!("the command may have run: {is_sent}");
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn stage(&self) -> Option<Stage> {
        self.0.stage
    }

    /// The server of the connection.
    pub fn server(&self) -> Option<&ServerAddress> {
        self.0.server.as_ref()
    }

    /// The cause of a failed connection, or of a rejected command or write. Every error of an attempt to connect has exactly
    /// one. The error of a server has one if its code has a remedy of its own.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::CauseCode;
    ///
    /// if let Err(error) = client.database("admin").run_command(doc! { "ping": 1 }) {
    ///     match error.cause() {
    ///         Some(cause) if cause.code() == CauseCode::CertificateExpired => {
    ///             println!("renew it: {}", cause.remedy());
    ///         }
    ///         _ => println!("{error}"),
    ///     }
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn cause(&self) -> Option<&Cause> {
        self.0.cause.as_ref()
    }

    /// The server's reply if it refused a command.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let create = doc! { "create": "things" };
    /// if let Err(error) = client.database("shop").run_command(create) {
    ///     let exists = error.command().is_some_and(|failure| failure.code == 48);
    ///     println!("the collection exists: {exists}");
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn command(&self) -> Option<&CommandFailure> {
        self.0.command.as_ref()
    }

    /// The value of [`Error::custom`], if this is such an error and the value is an `E`.
    pub fn get_custom<E: Any>(&self) -> Option<&E> {
        self.0.custom.as_deref()?.downcast_ref()
    }

    /// The writes that failed, and the failure to acknowledge writes, if the error is one of a write
    /// ([`ErrorKind::Write`]). An operation of several commands also has them if one of the commands failed for another
    /// reason; [`bulk_failure`](Self::bulk_failure) has the writes that were made nevertheless.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let documents = [doc! { "_id": 1 }, doc! { "_id": 1 }, doc! { "_id": 2 }];
    /// if let Err(error) = things.insert_many(documents).ordered(false).run() {
    ///     if let Some(failure) = error.write_failure() {
    ///         for error in &failure.errors {
    ///             println!("document {}: {}", error.index, error.message);
    ///         }
    ///     }
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn write_failure(&self) -> Option<&WriteFailure> {
        self.0.write.as_ref()
    }

    /// The partial result of a bulk write, and its failures to acknowledge writes. It is there if some writes are known to
    /// have succeeded or failed, whatever ended the bulk: an error that is not of
    /// [`ErrorKind::Write`] is that of the command that ended it. [`write_failure`](Self::write_failure) has the writes
    /// that the server rejected.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let mut bulk = things.bulk();
    /// bulk.insert_one(doc! { "_id": 1 });
    /// bulk.insert_one(doc! { "_id": 1 });
    /// if let Err(error) = bulk.run() {
    ///     let partial = error.bulk_failure().and_then(|failure| failure.partial_result.as_ref());
    ///     println!("{} inserted", partial.map_or(0, |partial| partial.inserted_count()));
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn bulk_failure(&self) -> Option<&BulkFailure> {
        self.0.bulk.as_ref()
    }

    /// Returns whether the operation has written anything, as far as the driver can tell. The
    /// [guide](crate::guide::crud#was-it-written) has the rules.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::Written;
    ///
    /// let things = client.database("shop").collection::<Document>("things");
    /// if let Err(error) = things.delete_one(doc! { "_id": 1 }).run() {
    ///     match error.written() {
    ///         Written::No => println!("nothing was deleted"),
    ///         Written::Yes => println!("deleted, but not acknowledged as required"),
    ///         _ => println!("look at the collection"),
    ///     }
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn written(&self) -> Written {
        let default = match self.0.stage {
            Some(Stage::Command) => Written::Unknown,
            _ => Written::No,
        };
        self.0.written.unwrap_or(default)
    }

    /// Returns true if a write violates a unique index: the first one that failed, or the only one.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// match things.insert_one(doc! { "_id": 1 }).run() {
    ///     Err(error) if error.is_duplicate_key() => println!("it is there already"),
    ///     outcome => drop(outcome?),
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn is_duplicate_key(&self) -> bool {
        let of_write = self
            .0
            .write
            .as_ref()
            .and_then(|failure| failure.errors.first());
        let code = match (of_write, &self.0.command) {
            (Some(error), _) => error.code,
            (None, Some(failure)) => failure.code,
            (None, None) => return false,
        };
        DUPLICATE_KEYS.contains(&code)
    }

    /// The index and the values of a write that [violates a unique index](Self::is_duplicate_key).
    pub fn duplicate_key(&self) -> Option<&DuplicateKey> {
        let of_write = self
            .0
            .write
            .as_ref()
            .and_then(|failure| failure.errors.first());
        match of_write {
            Some(error) => error.duplicate_key.as_ref(),
            None => self.0.duplicate_key.as_ref(),
        }
    }

    /// The error labels: those that the server sent, such as `RetryableWriteError`, and `SystemOverloadedError`
    /// with `RetryableError` if the network failed while a connection was being established.
    pub fn labels(&self) -> &[String] {
        &self.0.labels
    }

    /// Returns true if the error has that label.
    ///
    /// ```
    /// # fn send() -> mongotls::Result<()> { Ok(()) }
    /// if let Err(error) = send() {
    ///     if error.has_label("RetryableWriteError") {
    ///         send()?;
    ///     }
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn has_label(&self, label: &str) -> bool {
        self.0.labels.iter().any(|own| own == label)
    }

    /// Returns true if the error has that label, as [`has_label`](Self::has_label). The official driver has this name.
    pub fn contains_label(&self, label: impl AsRef<str>) -> bool {
        self.has_label(label.as_ref())
    }

    /// The time that the steps of the operation took, over all its attempts, if a time limit has passed. The text of the
    /// error names the longest steps.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// if let Err(error) = client.database("admin").run_command(doc! { "ping": 1 }) {
    ///     if let Some(timing) = error.timing() {
    ///         println!("{:?} for a connection", timing.check_out);
    ///     }
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn timing(&self) -> Option<&Timing> {
        self.0.timing.as_ref()
    }

    /// Returns true if the program cancelled the operation.
    pub fn is_cancelled(&self) -> bool {
        self.0.kind == ErrorKind::Cancelled
    }

    /// Returns true if a time limit has passed.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::Timeout
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(server) = &self.0.server {
            write!(f, "server {server}: ")?;
        }
        write!(f, "{}", WithoutServer(self))
    }
}

/// The text of an error where the server is named already.
pub(crate) struct WithoutServer<'a>(pub(crate) &'a Error);

impl fmt::Display for WithoutServer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = &self.0.0;
        match error.stage {
            Some(Stage::Options) | None => {}
            Some(stage) => write!(f, "{}: ", stage.failure())?,
        }
        f.write_str(&error.message)
    }
}

impl fmt::Debug for Error {
    /// Prints the one-line text, the code of the cause and the source: what `main` shows when it
    /// returns an error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if let Some(cause) = &self.0.cause {
            write!(f, " [{}]\n  remedy: {}", cause.code(), cause.remedy())?;
        }
        if let Some(source) = &self.0.source {
            match source.downcast_ref::<Self>() {
                // It may have several lines, and is printable.
                Some(error) => write!(f, "\n  source: {error}")?,
                None => write!(f, "\n  source: {}", Printable(source))?,
            }
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// An error of [`ErrorKind::Bson`], so that a function that returns this crate's `Result` can use `?` on those of `bson`.
impl From<bson::error::Error> for Error {
    fn from(error: bson::error::Error) -> Self {
        Self::bson("a value of BSON cannot be read or written", error)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Timeout => io::ErrorKind::TimedOut,
            ErrorKind::Configuration
            | ErrorKind::Bson
            | ErrorKind::TooLarge
            | ErrorKind::InvalidArgument => io::ErrorKind::InvalidInput,
            ErrorKind::Protocol => io::ErrorKind::InvalidData,
            ErrorKind::Tls | ErrorKind::Authentication => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// A duration as people write limits: `250 ms`, `10 s`.
pub(crate) struct Milliseconds(pub(crate) Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms >= 1000 && ms % 1000 == 0 {
            write!(f, "{} s", ms / 1000)
        } else {
            write!(f, "{ms} ms")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_one_word_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn the_text_names_server_stage_and_cause_once() {
        let cause = Cause::simulated(
            CauseCode::CertificateExpired,
            "certificate for \"db\" expired",
            "renew it",
        );
        let error = Error::failed(Stage::Tls, cause).with_server(&ServerAddress::tcp("db", 27017));
        assert_eq!(
            error.to_string(),
            "server db:27017: TLS handshake failed: certificate for \"db\" expired"
        );
        assert_eq!(error.kind(), ErrorKind::Tls);
    }

    #[test]
    fn the_first_server_and_stage_stay() {
        let error = Error::protocol("x")
            .with_stage(Stage::Hello)
            .with_stage(Stage::Command);
        let error = error
            .with_server(&ServerAddress::tcp("a", 1))
            .with_server(&ServerAddress::tcp("b", 1));
        assert_eq!(
            (error.stage(), error.server()),
            (Some(Stage::Hello), Some(&ServerAddress::tcp("a", 1)))
        );
    }
}
