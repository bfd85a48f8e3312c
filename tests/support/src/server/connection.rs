//! One connection, from accept to end, in a thread of its own.

use super::Shared;
use super::auth::{self, Session};
use super::commands;
use super::failpoint::{Failure, integer};
use super::front;
use super::hello::{Role, is_awaitable, is_hello};
use super::record::Request;
use super::reply::ReplyFault;
use super::tls::ClientAuth;
use crate::compress::{self, Compressor};
use crate::fault::{FaultyStream, Layer, Transport};
use crate::net::{Socket, Stop};
use crate::wire::{
    EXHAUST_ALLOWED, Frame, MORE_TO_COME, Msg, OP_MSG, OP_QUERY, OP_REPLY, Query, encode_reply,
};
use bson::{Document, doc};
use openssl::ssl::{HandshakeError, NameType, Ssl, SslRef, SslStream};
use openssl::x509::{X509, X509VerifyResult};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// Serves a connection until either side ends it.
pub(super) fn serve(shared: &Shared, socket: Socket, stop: &Stop) {
    let id = shared.record.open_connection();
    let mut raw =
        FaultyStream::new(socket, shared.faults.take(Layer::Tcp), stop).counting(&shared.traffic);
    let subject = match shared.behind_proxy {
        false => Ok(None),
        true => front::read_subject(&mut raw),
    };
    let Ok(subject) = subject else {
        return shared.record.update(id, |info| info.open = false);
    };
    // Reading or writing fails when the client disconnects or a fault acts: both end the connection.
    let _ended = match shared.tls() {
        None => talk(shared, id, (None, subject), (raw, false), stop),
        Some((context, auth)) => Ssl::new(&context)
            .map_err(io::Error::other)
            .and_then(|ssl| shake_hands(shared, id, ssl, raw))
            .and_then(|stream| {
                let certificate = stream.ssl().peer_certificate();
                let trusted = stream.ssl().verify_result() == X509VerifyResult::OK;
                if auth == ClientAuth::RequireLikeMongod && !(trusted && certificate.is_some()) {
                    return Ok(());
                }
                let subject = certificate.as_deref().map(auth::subject);
                talk(shared, id, (certificate, subject), (stream, true), stop)
            }),
    };
    shared.record.update(id, |info| info.open = false);
}

fn shake_hands<S: Transport>(
    shared: &Shared,
    id: u64,
    ssl: Ssl,
    raw: S,
) -> io::Result<SslStream<S>> {
    let sni = |ssl: &SslRef| ssl.servername(NameType::HOST_NAME).map(ToOwned::to_owned);
    match ssl.accept(raw) {
        Ok(stream) => {
            let ssl = stream.ssl();
            shared.record.update(id, |info| {
                info.sni = sni(ssl);
                info.protocol = Some(ssl.version_str().into());
                info.cipher = ssl.current_cipher().map(|cipher| cipher.name().into());
                info.resumed = ssl.session_reused();
                info.client_certificate = ssl.peer_certificate();
            });
            Ok(stream)
        }
        Err(error) => {
            shared.record.update(id, |info| match &error {
                HandshakeError::SetupFailure(stack) => {
                    info.handshake_error = Some(stack.to_string());
                }
                HandshakeError::Failure(middle) | HandshakeError::WouldBlock(middle) => {
                    info.sni = sni(middle.ssl());
                    info.handshake_error = Some(middle.error().to_string());
                }
            });
            Err(io::Error::other("the handshake failed"))
        }
    }
}

/// Answers commands until the stream ends.
fn talk<S: Transport>(
    shared: &Shared,
    id: u64,
    (client_certificate, certificate_subject): (Option<X509>, Option<String>),
    (stream, over_tls): (S, bool),
    stop: &Stop,
) -> io::Result<()> {
    let fault = shared.faults.take(Layer::Message);
    let mut conversation = Conversation {
        shared,
        id,
        client_certificate,
        certificate_subject,
        session: Session::default(),
        app_name: None,
        stream: FaultyStream::new(stream, fault, stop),
        over_tls,
        stop,
        last_id: 0,
    };
    while let Some(frame) = Frame::read(&mut conversation.stream)? {
        let (frame, compressor) = compress::unwrap(frame)?;
        let request = conversation.read_request(frame, compressor)?;
        // Checked first: a test that sees the command in the record may set the fail point again.
        let failure = conversation.failure(&request);
        shared.record.command(&request);
        if !conversation.answer(request, failure)? {
            break;
        }
    }
    conversation.stream.close();
    Ok(())
}

struct Conversation<'a, S> {
    shared: &'a Shared,
    id: u64,
    client_certificate: Option<X509>,
    certificate_subject: Option<String>,
    session: Session,
    app_name: Option<String>,
    stream: FaultyStream<S>,
    over_tls: bool,
    stop: &'a Stop,
    last_id: i32,
}

impl<S: Transport> Conversation<'_, S> {
    fn read_request(
        &mut self,
        frame: Frame,
        compressor: Option<Compressor>,
    ) -> io::Result<Request> {
        let (flags, database, body, sequences) = match frame.op_code {
            OP_MSG => {
                let msg = Msg::decode(&frame.payload)?;
                let database = msg.body.get_str("$db").unwrap_or_default().to_owned();
                (msg.flags, database, msg.body, msg.sequences)
            }
            OP_QUERY => {
                let query = Query::decode(&frame.payload)?;
                let database = query.namespace.strip_suffix(".$cmd");
                let database = database.ok_or_else(|| invalid("a query that is no command"))?;
                (0, database.to_owned(), query.document, Vec::new())
            }
            other => return Err(invalid(&format!("opcode {other}"))),
        };
        let name = body.keys().next().cloned().unwrap_or_default();
        if is_hello(&name) {
            let client = body.get_document("client");
            let application = client.and_then(|client| client.get_document("application"));
            if let Ok(name) = application.and_then(|application| application.get_str("name")) {
                self.app_name = Some(name.to_owned());
            }
        }
        Ok(Request {
            connection: self.id,
            request_id: frame.request_id,
            op_code: frame.op_code,
            compressor,
            flags,
            name,
            database,
            body,
            sequences,
            app_name: self.app_name.clone(),
            client_certificate: self.client_certificate.clone(),
            certificate_subject: self.certificate_subject.clone(),
            received: Instant::now(),
        })
    }

    /// Answers a command; returns true if the conversation continues.
    fn answer(&mut self, mut request: Request, mut failure: Failure) -> io::Result<bool> {
        let allows_more = request.flags & EXHAUST_ALLOWED != 0;
        let streams = is_awaitable(&request) && allows_more;
        let streams_batches = allows_more && request.name == "getMore" && self.can_stream_batches();
        loop {
            if failure
                .block
                .is_some_and(|block| self.block(&request, block))
                || failure.close_connection
            {
                return Ok(false);
            }
            let reply = match &failure.error {
                Some(error) => Some(error.clone()),
                None => self.run(&request),
            };
            let Some(mut reply) = reply else {
                return Ok(false);
            };
            failure.amend(&mut reply);
            if let Some(clock) = &self.shared.clock {
                clock.stamp(&request, &mut reply);
            }
            if let Some(forwarding) = &self.shared.forwarding {
                forwarding.complete(&self.shared.hello.get(), &mut reply);
            }
            if request.flags & MORE_TO_COME != 0 {
                return Ok(true); // the client wants no reply
            }
            let version = reply.get("topologyVersion").cloned();
            let version =
                version.filter(|_| streams && reply.get_f64("ok").is_ok_and(|ok| ok == 1.0));
            let is_open = streams_batches && leaves_cursor_open(&reply);
            let sent = self.send(&request, &reply, version.is_some() || is_open);
            if is_open {
                if sent.is_err() {
                    self.kill_cursor(&request);
                }
                sent?;
                // An exhaust getMore: each reply answers the one before it.
                request.request_id = self.last_id;
                failure = self.failure(&request);
                continue;
            }
            sent?;
            let Some(version) = version else {
                return Ok(true);
            };
            // An exhaust hello: each reply answers the one before it, and has the current state. A fail point handles
            // each as a separate command.
            request.request_id = self.last_id;
            request.body.insert("topologyVersion", version);
            failure = self.failure(&request);
        }
    }

    /// Waits as `blockConnection` says; returns true if the command must not run. A server interrupts a command whose
    /// client has disconnected, unless the client did not want a reply.
    fn block(&self, request: &Request, time: Duration) -> bool {
        let waits_for_reply = request.flags & MORE_TO_COME == 0;
        self.stop.wait(time) || (waits_for_reply && self.stream.socket().has_ended(self.over_tls))
    }

    /// Returns whether it sends several batches for one getMore. Routers do from MongoDB 7.1 on.
    fn can_stream_batches(&self) -> bool {
        let hello = self.shared.hello.get();
        hello.role != Role::Mongos || hello.max_wire_version >= 22
    }

    /// Closes the cursor of an exhaust getMore whose client is gone.
    fn kill_cursor(&self, get_more: &Request) {
        let mut kill = get_more.clone();
        let collection = get_more.body.get_str("collection").unwrap_or_default();
        kill.name = "killCursors".to_owned();
        kill.body = doc! {
            "killCursors": collection,
            "cursors": [get_more.body.get_i64("getMore").unwrap_or_default()],
            "$db": &get_more.database,
        };
        commands::run(self.shared, &kill, || false);
    }

    /// The failure of this command by a fail point, with the labels of a real server if this is its front end.
    fn failure(&self, request: &Request) -> Failure {
        let mut failure = self.shared.fail_point.check(request).unwrap_or_default();
        if self.shared.forwarding.is_some() {
            failure.label(request, self.shared.version);
        }
        failure
    }

    /// Runs a command that the user may run.
    fn run(&mut self, request: &Request) -> Option<Document> {
        let (stop, socket) = (self.stop, self.stream.socket());
        let over = || stop.is_set() || socket.has_ended(self.over_tls);
        let Some(auth) = &self.shared.auth else {
            return commands::run(self.shared, request, over);
        };
        let mut reply = match self.session.answer(auth, request) {
            Some(reply) => reply,
            None => commands::run(self.shared, request, over)?,
        };
        if is_hello(&request.name) {
            self.session.hello(auth, request, &mut reply);
        }
        let user = &self.session.user;
        let update = |info: &mut super::record::ConnectionInfo| info.user.clone_from(user);
        self.shared.record.update(self.id, update);
        Some(reply)
    }

    fn send(&mut self, request: &Request, reply: &Document, more: bool) -> io::Result<()> {
        self.last_id = self.last_id.wrapping_add(1);
        let (op_code, payload) = if request.is_legacy() {
            (OP_REPLY, encode_reply(reply))
        } else {
            let mut msg = Msg::of(reply.clone());
            msg.flags = if more { MORE_TO_COME } else { 0 };
            (OP_MSG, msg.encode())
        };
        let frame = Frame {
            request_id: self.last_id,
            response_to: request.request_id,
            op_code,
            payload,
        };
        // As in MongoDB, a reply is compressed if its request was.
        let encode = |frame: &Frame| match request.compressor {
            None => frame.encode(),
            Some(compressor) => compress::wrap(frame, compressor).encode(),
        };
        let bytes = match self.shared.replies.take(&request.name) {
            None => encode(&frame),
            Some(ReplyFault::Cut { after, action }) => {
                self.stream.arm(after, action);
                encode(&frame)
            }
            Some(fault) => fault.apply(frame),
        };
        io::Write::write_all(&mut self.stream, &bytes)
    }
}

/// Returns whether a successful reply has a cursor with further batches.
fn leaves_cursor_open(reply: &Document) -> bool {
    let is_ok = reply.get_f64("ok").is_ok_and(|ok| ok == 1.0);
    let cursor = reply.get_document("cursor");
    let id = cursor.ok().and_then(|cursor| cursor.get("id"));
    is_ok && id.and_then(integer).is_some_and(|id| id != 0)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
