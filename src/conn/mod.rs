//! One established connection to a server: a request and its reply, one at a time.
//!
//! [`Connector::establish`] returns a [`Connection`] after TLS, hello and authentication. It belongs to one thread at a
//! time. Each request is one write of one buffer, which is kept for the next; a reply that is not small is passed on
//! without a copy. A request may be compressed first. Each request except the first hello is reported as an event. An
//! error that leaves the connection in an unknown state, such as a timeout in the middle of a reply, marks it perished,
//! and the pool then drops it.

mod authenticate;
mod establish;
mod hello;
mod metadata;
mod monitoring;
mod overload;
mod probe;
mod reauthenticate;
mod sensitive;
mod state_change;
mod time_limit;
mod user_rejection;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::raw::{RawDocument, RawElement};
use bson::{RawBson, RawBsonRef, RawDocumentBuf};
use zeroize::Zeroize;

pub(crate) use self::establish::{
    ConnectionSlot, Connector, Learned, Observer, REFUSED_SESSION_REMEDY, ServiceObserver,
};
use self::hello::HelloName;
pub(crate) use self::metadata::is_function;
pub(crate) use self::monitoring::{CheckConnection, HelloExchange, SentHello};
#[cfg(feature = "_internals")]
pub(crate) use self::overload::label as label_overload;
pub(crate) use self::state_change::StateChange;
pub(crate) use self::time_limit::{MaxTime, ServerTimeLimit};
use crate::address::ServerAddress;
use crate::auth::Authenticated;
use crate::cause::{Category, Cause};
use crate::data::cluster_time::{ClusterTime, ReplyTimes};
use crate::data::hello::{Hello, integer};
use crate::data::timing::Timing;
use crate::error::{CommandFailure, Error, Result, Stage};
use crate::event::{CommandInfo, CommandMonitor, OpenCommand, OperationId};
use crate::options::ServerApi;
use crate::printable::Quoted;
use crate::reason::cancel::Cancelled;
use crate::reason::hello::{ExchangeFailure, HandshakeStep, HelloFailure, ReplyViolation};
use crate::reason::io::OsError;
use crate::sniff;
use crate::socket::{Interrupt, Socket};
use crate::steps::Prepared;
use crate::time::Deadline;
use crate::tls::{HandshakeReport, TlsStream};
use crate::wire::compress::{self, Compression, Offered};
use crate::wire::opcode;
use crate::wire::reply::{self, Expected, Malformed, ReadError};
use crate::wire::request::{self, DocumentSequence, EncodeCommand, Envelope, TooLarge};

/// A command and all data that is sent with it.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The command's own fields.
    pub(crate) command: &'a dyn EncodeCommand,
    pub(crate) sequences: &'a [DocumentSequence<'a>],
    /// The fields that the driver adds. For a command of an operation, `maxTimeMS` is computed later.
    pub(crate) envelope: Envelope<'a>,
    /// Decides about `maxTimeMS`, whose value is computed last.
    pub(crate) server_time_limit: ServerTimeLimit,
    /// The operation that the command belongs to. `None`: the command is an operation of its own.
    pub(crate) operation_id: Option<&'a OperationId>,
    /// False for a write without acknowledgment: the server does not answer it.
    pub(crate) has_reply: bool,
    /// True if the server may send further replies without another request (`exhaustAllowed`).
    pub(crate) allows_more: bool,
    /// The time that the operation took before the command, for the events.
    pub(crate) prepared: Prepared,
}

impl<'a> Request<'a> {
    /// A command without any options.
    pub(crate) fn new(database: &'a str, command: &'a dyn EncodeCommand) -> Self {
        Self {
            command,
            sequences: &[],
            envelope: Envelope {
                database,
                ..Envelope::default()
            },
            server_time_limit: ServerTimeLimit::NONE,
            operation_id: None,
            has_reply: true,
            allows_more: false,
            prepared: Prepared::default(),
        }
    }
}

/// Reads the fields of a reply that an operation needs, in the same pass that checks if the command succeeded.
pub(crate) trait ReadReply {
    /// Begins a new reply: discards the fields of an earlier attempt's reply.
    fn begin(&mut self) {}

    /// Reads a field of `reply`, if the operation needs it.
    fn field(&mut self, _reply: &RawDocument, _field: &RawElement<'_>) {}

    /// Returns true if the server holds a cursor after this reply. Then the session of the command is still in use.
    fn leaves_cursor_open(&self) -> bool {
        false
    }
}

/// Reads nothing: the caller gets the whole reply.
impl ReadReply for () {}

/// An established connection; see the [module documentation](self).
#[derive(Debug)]
pub(crate) struct Connection {
    server: ServerAddress,
    stream: BufReader<Stream>,
    /// The client's number of the connection, which its pool gives; 0 until then.
    id: u64,
    hello: Hello,
    /// The user this connection is authenticated as, if any.
    authenticated: Option<Authenticated>,
    /// True after the handshake, authentication included.
    established: bool,
    commands: CommandMonitor,
    /// The version of the Stable API that each command declares, if any.
    server_api: Option<ServerApi>,
    /// The compression of requests, or `None` if requests are not compressed.
    compression: Option<Compression>,
    /// The compressors that replies may use.
    offered: Offered,
    buffer: Vec<u8>,
    /// The buffer for compressed requests.
    compressed: Vec<u8>,
    /// Memory for the next reply.
    spare: Vec<u8>,
    /// The replies that the server still sends without a request, if there are any.
    more: Option<ReplyStream>,
    last_request_id: i32,
    /// True if the last reply reports a change of the server's state.
    says_state_changed: bool,
    /// The times in the last reply.
    times: ReplyTimes,
    perished: Option<Perished>,
    /// The time of the last exchange; see [`timing`](Self::timing).
    timing: Timing,
    /// True if each step of the current exchange is timed, for a listener.
    is_timed: bool,
    /// Interrupts the connection from another thread.
    interrupt: Arc<Interrupt>,
}

/// The replies that a server sends without further requests.
#[derive(Clone, Copy, Debug)]
struct ReplyStream {
    /// The id of the request.
    request: i32,
    /// The id of the last reply, which the next one answers.
    last_reply: i32,
}

/// The reason why a connection must not be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Perished {
    /// A time limit passed in the middle of a reply, or the reply was malformed. Other connections to the server are
    /// not affected.
    Alone,
    /// The network failed: other connections to the server are broken too.
    Network,
}

impl Connection {
    fn new(server: ServerAddress, stream: Stream, interrupt: Arc<Interrupt>) -> Self {
        Self {
            server,
            stream: BufReader::with_capacity(INBOX, stream),
            id: 0,
            hello: Hello::default(),
            authenticated: None,
            established: false,
            commands: CommandMonitor::default(),
            server_api: None,
            compression: None,
            offered: Offered::NONE,
            buffer: Vec::new(),
            compressed: Vec::new(),
            spare: Vec::new(),
            more: None,
            last_request_id: 0,
            says_state_changed: false,
            times: ReplyTimes::default(),
            perished: None,
            timing: Timing::default(),
            is_timed: false,
            interrupt,
        }
    }

    /// Returns true if the server has neither closed the connection nor sent unexpected data, as far as this is visible
    /// without waiting.
    pub(crate) fn is_open(&mut self) -> bool {
        if !self.stream.buffer().is_empty() || self.socket().set_waits(false).is_err() {
            return false;
        }
        let is_silent = match self.stream.get_mut() {
            Stream::Plain(socket) => {
                let read = socket.read(&mut [0]);
                read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            Stream::Tls(stream) => stream.is_silent(),
        };
        self.socket().set_waits(true).is_ok() && is_silent
    }

    /// Returns true if a part of a reply was read from the socket and is still in a buffer.
    fn has_buffered_input(&self) -> bool {
        let is_pending = match self.stream.get_ref() {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.has_pending(),
        };
        is_pending || !self.stream.buffer().is_empty()
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.stream.get_ref() {
            Stream::Plain(socket) => socket.as_fd(),
            Stream::Tls(stream) => stream.get_ref().as_fd(),
        }
    }

    fn socket(&mut self) -> &mut Socket {
        self.stream.get_mut().socket()
    }

    /// Replaces the handle that can interrupt this connection. Fails if the new handle is interrupted already.
    fn move_to(&mut self, interrupt: &Arc<Interrupt>) -> io::Result<()> {
        self.interrupt = Arc::clone(interrupt);
        self.socket().attach_to(interrupt)
    }

    /// The handle that interrupts this connection from another thread.
    pub(crate) fn interrupt(&self) -> &Arc<Interrupt> {
        &self.interrupt
    }

    /// Frees the buffers, which later commands allocate again.
    pub(crate) fn release_memory(&mut self) {
        self.buffer = Vec::new();
        self.compressed = Vec::new();
        self.spare = Vec::new();
        if let Stream::Tls(stream) = self.stream.get_mut() {
            stream.free_buffers();
        }
    }

    /// Marks the connection as perished if it was interrupted after its last exchange had ended.
    pub(crate) fn note_interruption(&mut self) {
        if self.interrupt.is_interrupted() {
            self.perished.get_or_insert(Perished::Alone);
        }
    }

    /// The time of the last exchange, if it was measured: if a listener is registered, or if the exchange failed and had a
    /// time limit.
    pub(crate) fn timing(&self) -> &Timing {
        &self.timing
    }

    /// The server at the other end.
    pub(crate) fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// The reply to hello.
    pub(crate) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The facts of the TLS handshake, or `None` without TLS.
    pub(crate) fn handshake(&self) -> Option<&HandshakeReport> {
        match self.stream.get_ref() {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(stream.report()),
        }
    }

    /// The name of later hello commands: the modern one if the server knows it, or if a version of the Stable API is
    /// declared ("Stable API For Drivers", "Handshake behavior").
    fn hello_name(&self) -> HelloName {
        HelloName::new(self.hello.hello_ok || self.server_api.is_some())
    }

    /// Returns true if the last reply was a success and reports a change of the server's state.
    pub(crate) fn says_state_changed(&self) -> bool {
        self.says_state_changed
    }

    /// The cluster time and the operation time in the last reply. There are none if no reply was received.
    pub(crate) fn times(&self) -> &ReplyTimes {
        &self.times
    }

    /// The reason why the connection must not be used again, or `None` while it may be.
    pub(crate) fn perished(&self) -> Option<Perished> {
        self.perished
    }

    /// Returns whether the server may still send replies without a request. Then the connection is good for nothing but
    /// to read them.
    pub(crate) fn is_streaming(&self) -> bool {
        self.more.is_some()
    }

    /// Sends a command and waits for its reply, until `deadline`. If the server sends further replies to the last command,
    /// and this one allows that, it is not sent: the next reply is the one to it.
    ///
    /// A reply with `ok: 0` is an error that leaves the connection usable.
    pub(crate) fn run(
        &mut self,
        request: &Request<'_>,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        self.run_in_stage(Stage::Command, request, &mut (), deadline)
    }

    /// Like [`run`](Self::run); `fields` reads the reply in the same pass that looks for an error.
    pub(crate) fn run_and_read(
        &mut self,
        request: &Request<'_>,
        fields: &mut dyn ReadReply,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        self.run_in_stage(Stage::Command, request, fields, deadline)
    }

    /// Reuses the memory of `spare` for the next reply.
    pub(crate) fn recycle(&mut self, spare: Vec<u8>) {
        self.spare = spare;
    }

    /// Runs a command that belongs to `stage`.
    fn run_in_stage(
        &mut self,
        stage: Stage,
        request: &Request<'_>,
        fields: &mut dyn ReadReply,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        self.times = ReplyTimes::default();
        self.timing = Timing::default();
        if self.socket().is_inherited() {
            return Err(Error::of_the_parent().with_server(&self.server));
        }
        let id = self.next_request_id();
        if let Some(stream) = self.more.take() {
            return self.next_reply(stage, request, (id, stream), fields, deadline);
        }
        self.encode(request, id, deadline)?;
        if !request.has_reply {
            request::expect_no_reply(&mut self.buffer);
        }
        if request.allows_more {
            request::allow_exhaust(&mut self.buffer);
        }
        let has_listener = self.commands.has_listener(!self.established);
        self.is_timed = has_listener;
        let open = has_listener.then(|| self.start(request, id));
        self.compress(request);
        // The listener and the compression take time, too.
        let outcome = self
            .max_time_ms(request, deadline)
            .and_then(|_| self.exchange_command(stage, request, (id, None), fields, deadline));
        if let Some(open) = open {
            open.end(outcome.as_deref(), self.timing_for(request));
        }
        outcome
    }

    /// The time of the last exchange with that of the steps before it, for an event.
    fn timing_for(&self, request: &Request<'_>) -> Timing {
        let prepared = request.prepared;
        Timing {
            server_selection: prepared.server_selection,
            check_out: prepared.check_out,
            establishing: prepared.establishing,
            pool: prepared.pool,
            ..self.timing
        }
    }

    /// Reads the next reply of `replies`. It is reported as a command with the id `id`.
    fn next_reply(
        &mut self,
        stage: Stage,
        request: &Request<'_>,
        (id, replies): (i32, ReplyStream),
        fields: &mut dyn ReadReply,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        // Replies that nobody has read would be taken for those of another command.
        if !request.allows_more {
            self.perished = Some(Perished::Alone);
            return Err(Error::protocol(
                "the server still sends replies to another command".to_owned(),
            ));
        }
        self.is_timed = self.commands.has_listener(!self.established);
        let open = match self.is_timed {
            true => {
                self.encode(request, id, None)?;
                Some(self.start(request, id))
            }
            false => None,
        };
        // Nothing is sent.
        self.buffer.clear();
        let answered = (replies.last_reply, Some(replies.request));
        let outcome = self.exchange_command(stage, request, answered, fields, deadline);
        if let Some(open) = open {
            open.end(outcome.as_deref(), self.timing_for(request));
        }
        outcome
    }

    /// Puts the message into the buffer. Fails if too little time is left to send it.
    fn encode(&mut self, request: &Request<'_>, id: i32, deadline: Option<Deadline>) -> Result<()> {
        let limit = self.hello.max_message_size;
        let envelope = Envelope {
            max_time_ms: self
                .max_time_ms(request, deadline)?
                .or(request.envelope.max_time_ms),
            ..request.envelope
        };
        let server_api = self.server_api;
        let more = |fields: &mut request::Fields<'_>| {
            fields.server_api(server_api);
            envelope.encode(fields);
        };
        let (command, sequences) = (request.command, request.sequences);
        let encoded = match self.uncopied(request).is_empty() {
            true => request::encode_msg(&mut self.buffer, id, command, more, sequences, limit),
            false => {
                request::encode_all_but_last(&mut self.buffer, id, command, more, sequences, limit)
            }
        };
        encoded.map_err(|error| self.too_large(error))
    }

    /// The end of a large message, which is sent without a copy in the buffer: the documents of its last sequence.
    fn uncopied<'a>(&self, request: &Request<'a>) -> &'a [u8] {
        let last = request.sequences.last();
        let documents = last.map_or(&[][..], |last| last.documents);
        match self.compression.is_none() && documents.len() >= KEPT_BUFFER {
            true => documents,
            false => &[],
        }
    }

    /// Returns the value of `maxTimeMS` in the command, if it has one. The clock is read only if `timeoutMS` is set.
    ///
    /// # Errors
    /// If too little time is left to send the command. The connection can be used again.
    fn max_time_ms(
        &self,
        request: &Request<'_>,
        deadline: Option<Deadline>,
    ) -> Result<Option<i64>> {
        let limit = &request.server_time_limit;
        let deadline = deadline.filter(|_| limit.min_round_trip_time.is_some());
        let (Some(deadline), Some(at)) = (deadline, deadline.and_then(|it| it.at())) else {
            return Ok(limit.max_time_ms(None).unwrap_or_default());
        };
        let remaining = at.saturating_duration_since(Instant::now());
        limit.max_time_ms(Some(remaining)).map_err(|late| {
            let what = Quoted(&request.command.name()).to_string();
            let error = Error::too_late_to_send(
                deadline.elapsed(),
                &what,
                late.remaining,
                late.min_round_trip_time,
            );
            error.with_server(&self.server)
        })
    }

    /// Compresses the message in the buffer, if both sides agreed on it and the command may be compressed.
    fn compress(&mut self, request: &Request<'_>) {
        let Some(compression) = self.compression else {
            return;
        };
        let limit = self.hello.max_message_size;
        if sensitive::may_be_compressed(request.command.name())
            && compress::wrap(&self.buffer, &mut self.compressed, compression, limit)
        {
            std::mem::swap(&mut self.buffer, &mut self.compressed);
        }
        self.compressed.clear();
        self.compressed.shrink_to(KEPT_BUFFER);
    }

    /// Sends the message in the buffer, and reads the reply to the request `id`. `first` is the id of the request that began
    /// a stream of replies, if this is one of them.
    fn exchange_command(
        &mut self,
        stage: Stage,
        request: &Request<'_>,
        (id, first): (i32, Option<i32>),
        fields: &mut dyn ReadReply,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        if !request.has_reply {
            return self.send_only(stage, request, deadline);
        }
        let expected = Expected {
            request_id: id,
            offered: self.offered,
        };
        let reply = match request.allows_more {
            true => self.exchange_one_of_many(expected, first, deadline),
            false => self.exchange(self.uncopied(request), expected, deadline),
        };
        let reply = reply.map_err(|failure| {
            let what = format!("the reply to {}", Quoted(&request.command.name()));
            self.explain(failure, stage, &what, deadline)
        })?;
        let received = self.is_timed.then(Instant::now);
        let outcome = outcome(&reply, fields, &mut self.times);
        if let Some(received) = received {
            self.timing.decode = received.elapsed();
        }
        let success = outcome.map_err(|error| error.with_server(&self.server).with_stage(stage));
        self.says_state_changed =
            matches!(success, Ok(Success::ButNotReplicated)) && StateChange::read(&reply).is_some();
        success.map(|_| reply)
    }

    /// Sends the message in the buffer, which the server does not answer. Returns the reply that stands for none: `ok: 1`
    /// ("Command Logging and Monitoring", "Unacknowledged/Acknowledged Writes").
    fn send_only(
        &mut self,
        stage: Stage,
        request: &Request<'_>,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        let sent = self.exchange_by(self.uncopied(request), deadline, false, |_| Ok(()));
        sent.map_err(|failure| {
            let what = format!("sending {}", Quoted(&request.command.name()));
            self.explain(failure, stage, &what, deadline)
        })?;
        self.says_state_changed = false;
        Ok(bson::rawdoc! { "ok": 1 })
    }

    /// Emits the start event of the command whose message is in the buffer.
    fn start(&self, request: &Request<'_>, id: i32) -> OpenCommand {
        let name = request.command.name();
        let info = CommandInfo {
            command_name: name.to_owned(),
            database_name: request.envelope.database.to_owned(),
            request_id: id,
            operation_id: match request.operation_id {
                Some(id) => id.get(),
                None => OperationId::default().get(),
            },
            server: self.server.clone(),
            connection_id: self.id,
            server_connection_id: self.hello.connection_id,
            service_id: self.hello.service_id,
        };
        let body = request::body(&self.buffer);
        let is_secret = body.is_none_or(|body| sensitive::is_secret(name, body));
        // A secret is not even copied.
        let command = match is_secret {
            true => RawDocumentBuf::new(),
            false => request::folded(&self.buffer, request.sequences),
        };
        let commands = &self.commands;
        commands.start(info, command, is_secret, !self.established)
    }

    /// Writes the buffer and the rest of the message, which is not in it, and reads the reply. The connection has perished
    /// unless both succeed.
    fn exchange(
        &mut self,
        rest: &[u8],
        expected: Expected,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf, ReadError> {
        let spare = std::mem::take(&mut self.spare);
        let read = |stream: &mut _| reply::read_into(spare, stream, expected);
        self.exchange_by(rest, deadline, true, read)
    }

    /// Writes the buffer and reads one of the replies.
    fn exchange_one_of_many(
        &mut self,
        expected: Expected,
        first: Option<i32>,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf, ReadError> {
        let spare = std::mem::take(&mut self.spare);
        let outcome = self.exchange_by(&[], deadline, true, |stream| {
            reply::read_one_of_many(spare, stream, expected, first)
        });
        let (reply, more) = outcome?;
        self.more = more.map(|last_reply| ReplyStream {
            request: first.unwrap_or(expected.request_id),
            last_reply,
        });
        Ok(reply)
    }

    /// Writes the buffer and `rest`, and reads the reply with `read`, if there is one.
    fn exchange_by<T>(
        &mut self,
        rest: &[u8],
        deadline: Option<Deadline>,
        has_reply: bool,
        read: impl FnOnce(&mut BufReader<Stream>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        // A panic leaves the connection in this state.
        self.perished = Some(Perished::Alone);
        self.socket().set_deadline(deadline);
        let started = self.is_timed.then(Instant::now);
        let stream = self.stream.get_mut();
        let sent = stream
            .write_all(&self.buffer)
            .and_then(|()| stream.write_all(rest))
            .and_then(|()| stream.flush());
        let sending_ended = self.is_timed.then(Instant::now);
        // A program that sends large requests is likely to send more.
        let kept = match self.buffer.len() {
            KEPT_BUFFER..=KEPT_WHILE_NEEDED => KEPT_WHILE_NEEDED,
            _ => KEPT_BUFFER,
        };
        self.buffer.clear();
        self.buffer.shrink_to(kept);
        let reply = sent
            .map_err(|error| ReadError::Io {
                error,
                first_bytes: Vec::new(),
            })
            .and_then(|()| {
                if let Some(sending_ended) = sending_ended {
                    // The start of the reply is read as without a listener, with the same system call. Its error is the only
                    // one: after an alert, another read would find the end of the stream.
                    let begun = match has_reply {
                        true => self.stream.fill_buf().map(drop),
                        false => Ok(()),
                    };
                    self.timing.wait = sending_ended.elapsed();
                    begun.map_err(|error| ReadError::Io {
                        error,
                        first_bytes: Vec::new(),
                    })?;
                }
                read(&mut self.stream)
            });
        match (started, sending_ended) {
            (Some(started), Some(sending_ended)) => {
                self.timing.send = sending_ended - started;
                let since_sent = sending_ended.elapsed();
                self.timing.receive = since_sent.saturating_sub(self.timing.wait);
            }
            _ if reply.is_err() => self.timing = self.timing_of_failure(&reply),
            _ => {}
        }
        self.perished = match &reply {
            Ok(_) => None,
            Err(ReadError::Io { error, .. })
                if error.kind() != io::ErrorKind::TimedOut && !self.interrupt.is_cancelled() =>
            {
                Some(Perished::Network)
            }
            Err(_) => Some(Perished::Alone),
        };
        reply
    }

    /// The time of an exchange that failed, as far as its time limit has shown it.
    #[cold]
    fn timing_of_failure<T>(&mut self, failed: &Result<T, ReadError>) -> Timing {
        let now = Instant::now();
        let began = self.socket().began();
        let first_bytes = match failed {
            Err(ReadError::Io { first_bytes, .. } | ReadError::Malformed { first_bytes, .. }) => {
                first_bytes.as_slice()
            }
            Ok(_) => &[],
        };
        let between = |from: Option<Instant>, to: Instant| {
            from.map_or(Duration::ZERO, |from| to.saturating_duration_since(from))
        };
        let since_sent = between(began.read, now);
        let is_receiving = !first_bytes.is_empty();
        Timing {
            send: between(began.write, began.read.unwrap_or(now)),
            wait: if is_receiving {
                Duration::ZERO
            } else {
                since_sent
            },
            receive: if is_receiving {
                since_sent
            } else {
                Duration::ZERO
            },
            ..Timing::default()
        }
    }

    /// Overwrites the buffer of the last request and frees its memory: most requests are smaller than those of the
    /// handshake.
    fn wipe_buffer(&mut self) {
        self.buffer.zeroize();
        self.buffer = Vec::new();
    }

    fn next_request_id(&mut self) -> i32 {
        self.last_request_id = self.last_request_id.wrapping_add(1);
        self.last_request_id
    }

    fn too_large(&self, error: TooLarge) -> Error {
        let TooLarge { size, limit } = error;
        Error::too_large(format!(
            "the command takes {size} bytes, and the server accepts {limit} at most"
        ))
        .with_server(&self.server)
    }

    /// Returns true if the first hello failed because the server answered a resumed TLS session with an alert.
    fn is_session_refused(&self, failure: &ReadError) -> bool {
        match (self.stream.get_ref(), failure) {
            (Stream::Tls(stream), ReadError::Io { error, .. }) => stream.is_session_refused(error),
            _ => false,
        }
    }

    /// Describes a step after the TLS handshake that did not end in time. An OCSP responder may have used up a part of
    /// the time.
    fn handshake_timeout(&self, step: HandshakeStep, deadline: Deadline) -> Cause {
        let timeout = deadline.elapsed();
        let waited = match self.stream.get_ref() {
            Stream::Tls(stream) => stream.report().responder_wait(),
            Stream::Plain(_) => None,
        };
        let waited = waited.filter(|waited| waited.is_considerable(timeout.limit));
        let failure = ExchangeFailure::HandshakeTimeout {
            step,
            timeout,
            waited,
        };
        failure.into()
    }

    /// Converts a failed exchange to an error, with a cause if the exchange belongs to the handshake.
    fn explain(
        &self,
        failure: ReadError,
        stage: Stage,
        what: &str,
        deadline: Option<Deadline>,
    ) -> Error {
        let plain = matches!(self.stream.get_ref(), Stream::Plain(_));
        if let (Stream::Tls(stream), Stage::Hello, ReadError::Io { .. }) =
            (self.stream.get_ref(), stage, &failure)
        {
            if !self.interrupt.is_interrupted() {
                stream.forget_sessions();
            }
        }
        let error = match failure {
            ReadError::Io { .. } if self.interrupt.is_cancelled() => {
                Error::cancelled(match stage {
                    Stage::Command => Cancelled::Reply,
                    _ => Cancelled::Establishing,
                })
            }
            ReadError::Io { error, .. } if self.interrupt.is_interrupted() => {
                Error::interrupted().with_source(error)
            }
            // An alert or a handshake record as the reply to the first message in the clear.
            ReadError::Io { first_bytes, .. } | ReadError::Malformed { first_bytes, .. }
                if plain && stage == Stage::Hello && sniff::is_tls_answer(&first_bytes) =>
            {
                Error::failed(stage, HelloFailure::RequiresTls(None))
            }
            ReadError::Io { error, .. } if error.kind() == io::ErrorKind::TimedOut => {
                match (deadline, stage) {
                    (Some(deadline), Stage::Hello) => {
                        let step = HandshakeStep::Hello { is_tls: !plain };
                        Error::failed(stage, self.handshake_timeout(step, deadline))
                    }
                    (Some(deadline), Stage::Authentication) => {
                        let step = HandshakeStep::Authentication;
                        Error::failed(stage, self.handshake_timeout(step, deadline))
                    }
                    (Some(deadline), _) => Error::timed_out(deadline.elapsed(), what),
                    (None, _) => Error::protocol("the socket gave up without a time limit"),
                }
            }
            ReadError::Io { error, first_bytes } => {
                let has_begun = !first_bytes.is_empty();
                let cause = match self.stream.get_ref() {
                    Stream::Tls(stream) => stream
                        .explain(&error)
                        .filter(|cause| stage == Stage::Hello || !is_clean_close(cause)),
                    Stream::Plain(_) if stage == Stage::Hello && !has_begun => {
                        Some(HelloFailure::RequiresTls(Some(OsError::from(&error))).into())
                    }
                    Stream::Plain(_) => None,
                };
                let lost = || {
                    let error = OsError::from(&error);
                    Cause::from(ExchangeFailure::Lost { error, has_begun })
                };
                Error::failed(stage, cause.unwrap_or_else(lost)).with_source(error)
            }
            ReadError::Malformed {
                what: Malformed::Opcode(opcode::REPLY),
                ..
            } if stage == Stage::Hello => Error::failed(stage, HelloFailure::WithoutOpMsg),
            ReadError::Malformed { what, first_bytes } => {
                let violation = ReplyViolation {
                    rule: what.to_string(),
                    first_bytes,
                };
                match stage {
                    Stage::Hello => Error::failed(stage, HelloFailure::NotMongodb(violation)),
                    _ => Error::failed(stage, ExchangeFailure::Violation(violation)),
                }
            }
        };
        error.with_server(&self.server).with_stage(stage)
    }
}

impl Drop for Connection {
    /// Ends the connection even if a forked child has the socket too. A child itself only closes its descriptor.
    fn drop(&mut self) {
        self.socket().shut_down();
    }
}

/// The size up to which a connection keeps its request buffer: 64 KiB.
const KEPT_BUFFER: usize = 64 << 10;

/// The size up to which a connection keeps its buffer after a large request, until a smaller one: 512 KiB.
const KEPT_WHILE_NEEDED: usize = 512 << 10;

/// The number of bytes that one read requests at the start of a reply: most replies fit, so they take one call of
/// OpenSSL. The rest is read directly to its destination.
const INBOX: usize = 512;

/// The stream to a server, with TLS or without.
#[derive(Debug)]
enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    fn socket(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_mut(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// The success of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Success {
    Whole,
    /// The write concern failed.
    ButNotReplicated,
}

/// Returns an error if the reply reports that the command failed.
pub(crate) fn check(reply: &RawDocument) -> Result<()> {
    outcome(reply, &mut (), &mut ReplyTimes::default()).map(|_| ())
}

/// Checks the reply like [`check`]. Reads its times into `times`; `fields` reads other fields in the same pass.
fn outcome(
    reply: &RawDocument,
    fields: &mut dyn ReadReply,
    times: &mut ReplyTimes,
) -> Result<Success> {
    fields.begin();
    // A reply that says both is no success.
    let mut ok = None;
    let mut success = Success::Whole;
    let mut code = 0;
    let (mut code_name, mut message) = (String::new(), String::new());
    let mut labels = Vec::new();
    let invalid = |error| Error::bson("the server's answer is not valid BSON", error);
    for element in reply.iter_elements() {
        let element = element.map_err(invalid)?;
        match element.key().as_str() {
            "ok" => {
                let yes = match element.value().map_err(invalid)? {
                    RawBsonRef::Boolean(yes) => yes,
                    number => integer(number) == Some(1),
                };
                ok = Some(yes && ok != Some(false));
            }
            "code" => {
                let number = element.value().map_err(invalid)?;
                code = integer(number)
                    .and_then(|code| i32::try_from(code).ok())
                    .unwrap_or(0)
            }
            "codeName" => code_name = text(&element).unwrap_or_default(),
            "errmsg" => message = text(&element).unwrap_or_default(),
            "errorLabels" => {
                if let RawBsonRef::Array(array) = element.value().map_err(invalid)? {
                    let texts = array
                        .into_iter()
                        .filter_map(|label| label.ok()?.as_str().map(str::to_owned));
                    labels = texts.collect();
                }
            }
            "writeConcernError" => success = Success::ButNotReplicated,
            "$clusterTime" => {
                if let Ok(RawBsonRef::Document(time)) = element.value() {
                    times.cluster_time = ClusterTime::read(time);
                }
            }
            "operationTime" => {
                if let Ok(RawBsonRef::Timestamp(time)) = element.value() {
                    times.operation_time = Some(time);
                }
            }
            _ => fields.field(reply, &element),
        }
    }
    if ok == Some(true) {
        return Ok(success);
    }
    if message.is_empty() {
        message = "the server gave no reason".to_owned();
    }
    Err(Error::refused(
        CommandFailure {
            code,
            code_name,
            message,
            reply: reply.to_owned(),
        },
        labels,
    ))
}

/// The text of a server's error. It may be cut within a character, as for a long duplicate key.
fn text(element: &RawElement<'_>) -> Option<String> {
    match element.value_utf8_lossy() {
        Ok(RawBson::String(text)) => Some(text),
        _ => None,
    }
}

/// Reads a reply with all readers, for tests with hostile replies.
#[cfg(test)]
pub(crate) fn read_by_all_readers(reply: &RawDocument) {
    let _ = check(reply);
    let _ = StateChange::read(reply);
    let _ = hello::incompatibility(&Hello::read(reply));
    let _ = request::command_name(reply);
    crate::event::read_for_the_log(reply);
}

/// Returns true if the connection ended without a TLS reason. A server that has answered hello has accepted the
/// client's certificate or its absence, unless an alert contradicts this.
fn is_clean_close(cause: &Cause) -> bool {
    matches!(
        cause.category(),
        Category::Network | Category::ClientCertificate
    ) && cause.reason().alert().is_none()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use bson::rawdoc;

    use super::*;
    use crate::options::Compressor;

    #[test]
    fn a_text_that_is_cut_within_a_character_costs_no_code() {
        let reply = rawdoc! { "ok": 0, "errmsg": "E11000 dup key: { a: \"\u{e9}", "code": 11000, "codeName": "D\u{e9}",
        "errorLabels": ["RetryableWriteError"] };
        let mut bytes = reply.into_bytes();
        // The second byte of each `é`.
        for byte in bytes.iter_mut().filter(|byte| **byte == 0xa9) {
            *byte = b' ';
        }
        let error = check(RawDocument::from_bytes(&bytes).unwrap()).unwrap_err();
        let failure = error.command().unwrap();
        assert_eq!(failure.code, 11000);
        assert_eq!(failure.message, "E11000 dup key: { a: \"\u{fffd} ");
        assert_eq!(failure.code_name, "D\u{fffd} ");
        assert_eq!(failure.reply.as_bytes(), bytes);
        assert!(error.has_label("RetryableWriteError"));
        assert_eq!(
            error.to_string(),
            "the server answered with error 11000 D\u{fffd} : E11000 dup key: { a: \"\u{fffd} "
        );
    }

    fn connected() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stream = Stream::Plain(Socket::new(Arc::new(ours.into())).unwrap());
        let address = ServerAddress::unix("/tmp/m.sock");
        (Connection::new(address, stream, Arc::default()), theirs)
    }

    #[test]
    fn a_buffer_is_kept_while_requests_need_it() {
        let (mut connection, theirs) = connected();
        let server = thread::spawn(move || io::copy(&mut &theirs, &mut io::sink()));
        let mut kept_after = |size: usize| {
            connection.buffer.resize(size, 0);
            let sent = connection.exchange_by(&[], None, false, |_| Ok(()));
            sent.unwrap();
            connection.buffer.capacity()
        };
        let large = 300 << 10;
        assert!(kept_after(1000) <= KEPT_BUFFER);
        assert!((large..=KEPT_WHILE_NEEDED).contains(&kept_after(large)));
        assert!((large..=KEPT_WHILE_NEEDED).contains(&kept_after(large - 1000)));
        assert_eq!(kept_after(1000), KEPT_BUFFER);
        assert_eq!(kept_after(KEPT_WHILE_NEEDED + 1), KEPT_BUFFER);
        drop(connection);
        server.join().unwrap().unwrap();
    }

    #[test]
    fn a_large_request_leaves_small_buffers_compressed_or_not() {
        for compressor in [None, Some(Compressor::Zlib)] {
            if compressor.is_some_and(|one| !one.is_built_in()) {
                continue;
            }
            let compression = compressor.map(|compressor| Compression {
                compressor,
                level: 0,
            });
            let (mut connection, mut theirs) = connected();
            connection.hello.max_message_size = 48_000_000;
            connection.compression = compression;
            let server = thread::spawn(move || {
                let mut head = [0; 16];
                theirs.read_exact(&mut head).unwrap();
                let [size, _, _, opcode] =
                    [0, 4, 8, 12].map(|at| u32::from_le_bytes(*head[at..].first_chunk().unwrap()));
                let rest = u64::from(size) - 16;
                io::copy(&mut (&mut theirs).take(rest), &mut io::sink()).unwrap();
                let mut reply = Vec::new();
                request::encode_msg(&mut reply, 1, &rawdoc! { "ok": 1 }, |_| (), &[], 100).unwrap();
                reply[8..12].copy_from_slice(&1_i32.to_le_bytes()); // answers request 1
                io::copy(&mut Cursor::new(reply), &mut theirs).unwrap();
                opcode
            });
            let insert = rawdoc! { "insert": "x".repeat(1 << 20) };
            let request = Request::new("db", &insert);
            connection.run(&request, None).unwrap();
            let opcode = server.join().unwrap();
            assert_eq!(opcode, if compression.is_some() { 2012 } else { 2013 });
            assert_eq!(connection.perished(), None);
            let kept = [&connection.buffer, &connection.compressed].map(Vec::capacity);
            assert!(kept[0] <= KEPT_BUFFER && kept[1] <= KEPT_BUFFER, "{kept:?}");
        }
    }
}
