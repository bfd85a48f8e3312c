//! What a server saw: connections, commands, counts.

use super::checks::{Check, Checks};
use super::hello::{Effect, is_hello};
use crate::compress::Compressor;
use crate::net::lock;
use crate::wire::{OP_QUERY, Sequence};
use bson::{Bson, Document};
use openssl::x509::X509;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A command as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Number of the connection, from 1.
    pub connection: u64,
    /// `requestID` of the message.
    pub request_id: i32,
    /// [`OP_MSG`](crate::wire::OP_MSG) or [`OP_QUERY`].
    pub op_code: i32,
    /// How it was compressed.
    pub compressor: Option<Compressor>,
    /// Flag bits of an OP_MSG; 0 for OP_QUERY.
    pub flags: u32,
    /// The command's name, as the client spelled it: the first key of its body.
    pub name: String,
    /// The database it is for.
    pub database: String,
    /// The body.
    pub body: Document,
    /// The document sequences.
    pub sequences: Vec<Sequence>,
    /// `application.name` of the connection's client metadata, as far as a hello has told.
    pub app_name: Option<String>,
    /// The certificate that the client showed.
    pub client_certificate: Option<X509>,
    /// The subject of that certificate, or of the one that a front has verified, as a MongoDB user name.
    pub certificate_subject: Option<String>,
    /// When it was read.
    pub received: Instant,
}

impl Request {
    /// Whether it came as OP_QUERY.
    pub fn is_legacy(&self) -> bool {
        self.op_code == OP_QUERY
    }

    /// Whether it changes data, and so is for a primary alone.
    pub fn is_write(&self) -> bool {
        Effect::of(&self.name) == Effect::Write
    }

    /// The documents under `field`: an array in the body, a document sequence, or both.
    pub fn documents(&self, field: &str) -> Vec<Document> {
        let in_body = self.body.get_array(field).into_iter().flatten();
        let in_body = in_body.filter_map(Bson::as_document);
        let in_sequence = self.sequences.iter().filter(|s| s.id == field);
        in_body
            .chain(in_sequence.flat_map(|s| &s.documents))
            .cloned()
            .collect()
    }
}

/// A connection as the server saw it.
#[derive(Clone, Debug, Default)]
pub struct ConnectionInfo {
    /// Its number, from 1.
    pub id: u64,
    /// The server name that the client asked for.
    pub sni: Option<String>,
    /// `TLSv1.3` and so on; `None` without TLS or before the handshake's end.
    pub protocol: Option<String>,
    /// Name of the cipher suite.
    pub cipher: Option<String>,
    /// Whether the handshake resumed a session.
    pub resumed: bool,
    /// The certificate that the client showed.
    pub client_certificate: Option<X509>,
    /// Who has logged in, as `database.name`.
    pub user: Option<String>,
    /// Why the handshake failed, in OpenSSL's words.
    pub handshake_error: Option<String>,
    /// Whether it is still open.
    pub open: bool,
    /// How many hellos came.
    pub hellos: u64,
    /// How many other commands came.
    pub other_commands: u64,
}

impl ConnectionInfo {
    /// Whether it is a monitor's, as far as can be seen: it ran hello, and never anything else.
    pub fn is_monitor(&self) -> bool {
        self.hellos > 0 && self.other_commands == 0
    }
}

/// How much a server has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// TLS handshakes finished.
    pub handshakes: u64,
    /// Of those, how many resumed a session.
    pub resumed: u64,
    /// TLS handshakes failed.
    pub failed_handshakes: u64,
    /// Commands by name, as the clients spelled them.
    pub commands: BTreeMap<String, u64>,
    /// Bytes sent, on the wire.
    pub sent: u64,
    /// Bytes received, on the wire.
    pub received: u64,
}

#[derive(Debug, Default)]
struct Seen {
    connections: BTreeMap<u64, ConnectionInfo>,
    commands: VecDeque<Request>,
    hellos: VecDeque<Check>,
    counts: BTreeMap<String, u64>,
}

/// The log of one server.
#[derive(Debug)]
pub(super) struct Record {
    seen: Mutex<Seen>,
    changed: Condvar,
    limit: usize,
}

impl Record {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            seen: Mutex::default(),
            changed: Condvar::new(),
            limit,
        }
    }

    pub(super) fn open_connection(&self) -> u64 {
        let mut seen = lock(&self.seen);
        let id = seen.connections.len() as u64 + 1;
        let info = ConnectionInfo {
            id,
            open: true,
            ..ConnectionInfo::default()
        };
        seen.connections.insert(id, info);
        self.changed.notify_all();
        id
    }

    pub(super) fn update(&self, connection: u64, change: impl FnOnce(&mut ConnectionInfo)) {
        if let Some(info) = lock(&self.seen).connections.get_mut(&connection) {
            change(info);
        }
        self.changed.notify_all();
    }

    pub(super) fn command(&self, request: &Request) {
        let mut seen = lock(&self.seen);
        *seen.counts.entry(request.name.clone()).or_default() += 1;
        let mut first = false;
        if let Some(info) = seen.connections.get_mut(&request.connection) {
            if is_hello(&request.name) {
                first = info.hellos == 0;
                info.hellos += 1;
            } else {
                info.other_commands += 1;
            }
        }
        if let Some(check) = Check::of(request, first) {
            if seen.hellos.len() == HELLO_LIMIT {
                seen.hellos.pop_front();
            }
            seen.hellos.push_back(check);
        }
        if self.limit > 0 {
            if seen.commands.len() == self.limit {
                seen.commands.pop_front();
            }
            seen.commands.push_back(request.clone());
        }
        self.changed.notify_all();
    }

    pub(super) fn connections(&self) -> Vec<ConnectionInfo> {
        lock(&self.seen).connections.values().cloned().collect()
    }

    pub(super) fn commands(&self) -> Vec<Request> {
        lock(&self.seen).commands.iter().cloned().collect()
    }

    pub(super) fn checks(&self) -> Checks {
        let seen = lock(&self.seen);
        let by_monitor = |check: &&Check| {
            let info = seen.connections.get(&check.connection);
            info.is_some_and(ConnectionInfo::is_monitor)
        };
        Checks::new(seen.hellos.iter().filter(by_monitor).cloned())
    }

    /// Counts all but the bytes.
    pub(super) fn counts(&self) -> Counts {
        let seen = lock(&self.seen);
        let of = |what: fn(&ConnectionInfo) -> bool| {
            seen.connections.values().filter(|info| what(info)).count() as u64
        };
        Counts {
            accepted: seen.connections.len() as u64,
            open: of(|info| info.open),
            handshakes: of(|info| info.protocol.is_some()),
            resumed: of(|info| info.resumed),
            failed_handshakes: of(|info| info.handshake_error.is_some()),
            commands: seen.counts.clone(),
            ..Counts::default()
        }
    }

    pub(super) fn forget_commands(&self) {
        let mut seen = lock(&self.seen);
        seen.commands.clear();
        seen.counts.clear();
    }

    /// Waits until something changes, at most so long.
    pub(super) fn wait(&self, limit: Duration) {
        let seen = lock(&self.seen);
        let _woken = self
            .changed
            .wait_timeout(seen, limit)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// How many hellos are remembered, whatever the limit of the log.
const HELLO_LIMIT: usize = 100_000;
