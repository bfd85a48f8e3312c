//! One established connection to a server: a request, its reply, nothing in between.
//!
//! A [`Connection`] comes out of [`Connector::establish`], after TLS and hello. It belongs to one
//! thread at a time. Each request is one write of one buffer, which is kept for the next; the reply is
//! handed on without a copy. Whatever leaves a connection in an unknown state, such as a time-out in
//! the middle of a reply, marks it perished, and the pool then drops it.

mod authenticate;
mod establish;
mod hello;
mod metadata;
mod probe;
mod reauthenticate;

use std::io::{self, Read, Write};

use bson::raw::RawDocument;
use bson::{RawBsonRef, RawDocumentBuf};
use zeroize::Zeroize;

pub(crate) use self::establish::{Connector, Learned, Observer};
pub use self::hello::Hello;
pub(crate) use self::hello::integer;
use crate::address::ServerAddress;
use crate::auth::Authenticated;
use crate::cause::{Category, Cause, CauseCode};
use crate::error::{CommandFailure, Error, Result, Stage};
use crate::sniff;
use crate::socket::Socket;
use crate::time::Deadline;
use crate::tls::{HandshakeReport, TlsStream};
use crate::wire::opcode;
use crate::wire::reply::{self, Expected, ReadError};
use crate::wire::request::{self, DocumentSequence, TooLarge};

/// A command on its way to a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) database: &'a str,
    pub(crate) body: &'a RawDocument,
    pub(crate) sequences: &'a [DocumentSequence<'a>],
    /// The value of `$readPreference`, where the server needs one.
    pub(crate) read_preference: Option<&'a RawDocument>,
}

/// An established connection; see the [module documentation](self).
#[derive(Debug)]
pub(crate) struct Connection {
    server: ServerAddress,
    stream: Stream,
    hello: Hello,
    /// As whom; none without a user.
    authenticated: Option<Authenticated>,
    buffer: Vec<u8>,
    last_request_id: i32,
    perished: Option<Perished>,
}

/// Why a connection must not be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Perished {
    /// A time limit passed in the middle of a reply, or the reply was malformed. Nothing follows for
    /// other connections to the server.
    Alone,
    /// The network failed: other connections to the server are no better.
    Network,
    /// The server said that its state has changed: what it told each connection is out of date.
    StateChange,
}

impl Connection {
    fn new(server: ServerAddress, stream: Stream) -> Self {
        Self {
            server,
            stream,
            hello: Hello::default(),
            authenticated: None,
            buffer: Vec::new(),
            last_request_id: 0,
            perished: None,
        }
    }

    /// The server at the other end.
    pub(crate) fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// What the server said about itself.
    pub(crate) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The facts of the TLS handshake; none without TLS.
    pub(crate) fn handshake(&self) -> Option<&HandshakeReport> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(stream.report()),
        }
    }

    /// Why the connection must not be used again; none while it may be.
    pub(crate) fn perished(&self) -> Option<Perished> {
        self.perished
    }

    /// Sends a command and waits for its reply, until `deadline`.
    ///
    /// An answer with `ok: 0` is an error that leaves the connection usable, unless it says that the
    /// server's state has changed: hello is that of connection time, and so is out of date.
    pub(crate) fn run(
        &mut self,
        request: &Request<'_>,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        self.run_at(Stage::Command, request, deadline)
    }

    /// The same for a command that belongs to a stage of establishing the connection.
    fn run_at(
        &mut self,
        stage: Stage,
        request: &Request<'_>,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        let limit = self.hello.max_message_size;
        let id = self.next_request_id();
        let more = |fields: &mut request::Fields<'_>| {
            fields.text("$db", request.database);
            if let Some(preference) = request.read_preference {
                fields.document("$readPreference", preference);
            }
        };
        request::encode_msg(
            &mut self.buffer,
            id,
            request.body,
            more,
            request.sequences,
            limit,
        )
        .map_err(|error| self.too_large(error))?;
        let reply = self
            .exchange(
                Expected {
                    request_id: id,
                    opcode: opcode::MSG,
                },
                deadline,
            )
            .map_err(|failure| {
                let name = command_name(request.body);
                self.explain(failure, stage, &format!("the reply to {name:?}"), deadline)
            })?;
        if state_changed(&reply) {
            self.perished = Some(Perished::StateChange);
        }
        check(&reply).map_err(|error| error.with_server(&self.server).with_stage(stage))?;
        Ok(reply)
    }

    /// Writes the buffer and reads the reply. The connection has perished unless both succeed.
    fn exchange(
        &mut self,
        expected: Expected,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf, ReadError> {
        // Also what a panic would leave behind.
        self.perished = Some(Perished::Alone);
        self.stream.socket().set_deadline(deadline);
        let sent = self
            .stream
            .write_all(&self.buffer)
            .and_then(|()| self.stream.flush());
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
        let reply = sent
            .map_err(|error| ReadError::Io {
                error,
                first_bytes: Vec::new(),
            })
            .and_then(|()| reply::read(&mut self.stream, expected));
        self.perished = match &reply {
            Ok(_) => None,
            Err(ReadError::Io { error, .. }) if error.kind() != io::ErrorKind::TimedOut => {
                Some(Perished::Network)
            }
            Err(_) => Some(Perished::Alone),
        };
        reply
    }

    /// Overwrites what the last request has left in the buffer.
    fn wipe_buffer(&mut self) {
        self.buffer.zeroize();
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

    /// Turns a failed exchange into an error: for the first hello with the cause of a failed
    /// connection, later with what is known.
    fn explain(
        &self,
        failure: ReadError,
        stage: Stage,
        what: &str,
        deadline: Option<Deadline>,
    ) -> Error {
        let plain = matches!(self.stream, Stream::Plain(_));
        let error = match failure {
            // An alert or a handshake record in answer to the first message in the clear.
            ReadError::Io { first_bytes, .. } | ReadError::Malformed { first_bytes, .. }
                if plain && stage == Stage::Hello && sniff::is_tls_answer(&first_bytes) =>
            {
                Error::failed(stage, requires_tls("it answered in TLS"))
            }
            ReadError::Io { error, .. } if error.kind() == io::ErrorKind::TimedOut => {
                match (deadline, stage) {
                    (Some(deadline), Stage::Hello) => Error::failed(
                        stage,
                        establish::handshake_timeout("the MongoDB handshake", deadline.elapsed()),
                    ),
                    (Some(deadline), Stage::Authentication) => {
                        let elapsed = deadline.elapsed();
                        let remedy = format!(
                            "See whether the server, or what it asks about users, is overloaded; then raise {}.",
                            elapsed.kind.option()
                        );
                        let cause = establish::handshake_timeout("the authentication", elapsed);
                        Error::failed(stage, cause.with_remedy(remedy))
                    }
                    (Some(deadline), _) => Error::timed_out(deadline.elapsed(), what),
                    (None, _) => Error::protocol("the socket gave up without a time limit"),
                }
            }
            ReadError::Io { error, first_bytes } => {
                let begun = !first_bytes.is_empty();
                let cause = match &self.stream {
                    Stream::Tls(stream) => stream
                        .explain(&error)
                        .filter(|cause| stage == Stage::Hello || !is_plain_end(cause)),
                    Stream::Plain(_) if stage == Stage::Hello && !begun => {
                        Some(requires_tls(&error.to_string()))
                    }
                    Stream::Plain(_) => None,
                };
                Error::failed(stage, cause.unwrap_or_else(|| lost(&error, begun)))
                    .with_source(error)
            }
            ReadError::Malformed { what, first_bytes } => {
                Error::failed(stage, not_mongodb(&what.to_string(), &first_bytes))
            }
        };
        error.with_server(&self.server).with_stage(stage)
    }
}

/// What a connection keeps of its request buffer after a large request: 64 KiB.
const KEPT_BUFFER: usize = 64 << 10;

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

/// The name of a command is its first key.
pub(crate) fn command_name(body: &RawDocument) -> &str {
    body.iter()
        .next()
        .and_then(std::result::Result::ok)
        .map_or("", |(key, _)| key.as_str())
}

/// Whether the server carried the command out. What it says otherwise becomes the error.
fn check(reply: &RawDocument) -> Result<()> {
    let mut ok = false;
    let mut code = 0;
    let (mut code_name, mut message) = (String::new(), String::new());
    let mut labels = Vec::new();
    for element in reply {
        let (key, value) =
            element.map_err(|error| Error::bson("the server's answer is not valid BSON", error))?;
        match (key.as_str(), value) {
            ("ok", RawBsonRef::Boolean(yes)) => ok = yes,
            ("ok", number) => ok = integer(number) == Some(1),
            ("code", number) => {
                code = integer(number)
                    .and_then(|code| i32::try_from(code).ok())
                    .unwrap_or(0)
            }
            ("codeName", RawBsonRef::String(name)) => code_name = name.to_owned(),
            ("errmsg", RawBsonRef::String(text)) => message = text.to_owned(),
            ("errorLabels", RawBsonRef::Array(array)) => {
                let texts = array
                    .into_iter()
                    .filter_map(|label| label.ok()?.as_str().map(str::to_owned));
                labels = texts.collect();
            }
            _ => {}
        }
    }
    if ok {
        return Ok(());
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

/// Reads an answer in all ways there are, for tests with hostile ones.
#[cfg(test)]
pub(crate) fn read_every_way(reply: &RawDocument) {
    let _ = check(reply);
    let _ = state_changed(reply);
    let _ = Hello::read(reply).incompatibility();
    let _ = command_name(reply);
}

/// Whether an answer says that the server has another role than before or is about to end, as error of
/// the command or of its write concern ("Server Discovery and Monitoring", "Error handling").
fn state_changed(reply: &RawDocument) -> bool {
    /// InterruptedAtShutdown, InterruptedDueToReplStateChange, NotPrimaryOrSecondary,
    /// PrimarySteppedDown, ShutdownInProgress, NotWritablePrimary, NotPrimaryNoSecondaryOk,
    /// LegacyNotPrimary.
    const CODES: [i64; 8] = [11600, 11602, 13436, 189, 91, 10107, 13435, 10058];
    let failed = reply.iter().map_while(std::result::Result::ok);
    let mut failed = failed.filter_map(|(key, value)| match (key.as_str(), value) {
        ("code", code) => integer(code),
        ("writeConcernError", RawBsonRef::Document(error)) => {
            error.get("code").ok().flatten().and_then(integer)
        }
        _ => None,
    });
    failed.any(|code| CODES.contains(&code))
}

/// TLS is off, and the server does not answer a message in the clear.
fn requires_tls(how: &str) -> Cause {
    Cause::new(
        CauseCode::ServerRequiresTls,
        format!("TLS is off and the server does not answer in the clear: {how}"),
        "Add tls=true to the connection string; a server that requires TLS closes other connections without a word.",
    )
}

/// Whether a connection that ended so just ended. Once the server has answered hello, it is content
/// with the client's certificate or the lack of one, unless an alert says otherwise.
fn is_plain_end(cause: &Cause) -> bool {
    matches!(
        cause.category(),
        Category::Network | Category::ClientCertificate
    ) && cause.facts().get("alert").is_none()
}

/// The server went away.
fn lost(error: &io::Error, begun: bool) -> Cause {
    let when = if begun {
        "in the middle of its reply"
    } else {
        "before it replied"
    };
    let (code, how) = match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => (CauseCode::ConnectionReset, "reset"),
        _ => (CauseCode::ConnectionClosed, "closed"),
    };
    let message = if error.kind() == io::ErrorKind::ConnectionAborted {
        // TCP's own words: nobody has reset anything.
        format!("the connection to the server was lost {when}: {error}")
    } else {
        format!("the server {how} the connection {when}")
    };
    Cause::new(
        code,
        message,
        "Look at the server's log for this instant, and for a firewall or a proxy that cuts connections.",
    )
    .fact("begun", begun)
}

/// What answers does not speak the MongoDB protocol.
fn not_mongodb(what: &str, first_bytes: &[u8]) -> Cause {
    let looks_like = sniff::looks_like(first_bytes);
    Cause::new(
        CauseCode::NotMongodb,
        format!("what answers is not a MongoDB server: {what}; its answer looks like {looks_like}"),
        "Check host and port: something other than MongoDB answers there.",
    )
    .fact("looks_like", looks_like)
    .fact("first_bytes", first_bytes.escape_ascii().to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use bson::rawdoc;

    use super::*;

    #[test]
    fn a_connection_that_the_network_gave_up_is_lost_and_not_late() {
        let error = io::Error::new(io::ErrorKind::ConnectionAborted, "no acknowledgement");
        let cause = lost(&error, false);
        assert_eq!(cause.code(), CauseCode::ConnectionReset);
        assert_eq!(
            cause.message(),
            "the connection to the server was lost before it replied: no acknowledgement"
        );
    }

    #[test]
    fn a_large_request_leaves_a_small_buffer() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let stream = Stream::Plain(Socket::unix(ours).unwrap());
        let mut connection = Connection::new(ServerAddress::unix("/tmp/m.sock"), stream);
        connection.hello.max_message_size = 48_000_000;
        let server = thread::spawn(move || {
            let mut length = [0; 4];
            theirs.read_exact(&mut length).unwrap();
            let rest = u64::from(u32::from_le_bytes(length)) - 4;
            io::copy(&mut (&mut theirs).take(rest), &mut io::sink()).unwrap();
            let mut reply = Vec::new();
            request::encode_msg(&mut reply, 1, &rawdoc! { "ok": 1 }, |_| (), &[], 100).unwrap();
            reply[8..12].copy_from_slice(&1_i32.to_le_bytes()); // answers request 1
            io::copy(&mut Cursor::new(reply), &mut theirs).unwrap();
        });
        let request = Request {
            database: "db",
            body: &rawdoc! { "insert": "x".repeat(1 << 20) },
            sequences: &[],
            read_preference: None,
        };
        connection.run(&request, None).unwrap();
        server.join().unwrap();
        assert_eq!(connection.perished(), None);
        assert!(
            connection.buffer.capacity() <= KEPT_BUFFER,
            "{}",
            connection.buffer.capacity()
        );
    }
}
