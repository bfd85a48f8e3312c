//! A server's record: connections, commands, counts.

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

/// A received command.
#[derive(Clone, Debug)]
pub struct Request {
    /// The number of the connection, from 1.
    pub connection: u64,
    /// `requestID` of the message.
    pub request_id: i32,
    /// [`OP_MSG`](crate::wire::OP_MSG) or [`OP_QUERY`].
    pub op_code: i32,
    /// The compressor of the message, if any.
    pub compressor: Option<Compressor>,
    /// Flag bits of an OP_MSG; 0 for OP_QUERY.
    pub flags: u32,
    /// The command's name, in the client's spelling: the first key of its body.
    pub name: String,
    /// The database of the command.
    pub database: String,
    /// The body.
    pub body: Document,
    /// The document sequences.
    pub sequences: Vec<Sequence>,
    /// `application.name` of the connection's client metadata, if a hello contained it.
    pub app_name: Option<String>,
    /// The client's certificate, if it sent one.
    pub client_certificate: Option<X509>,
    /// The subject of that certificate, or of the one that a front has verified, as a MongoDB user name.
    pub certificate_subject: Option<String>,
    /// The time at which it was read.
    pub received: Instant,
}

impl Request {
    /// Returns true if it came as OP_QUERY.
    pub fn is_legacy(&self) -> bool {
        self.op_code == OP_QUERY
    }

    /// Returns true if it changes data, so that only a primary may run it.
    pub fn is_write(&self) -> bool {
        Effect::of(&self.name) == Effect::Write
    }

    /// `database.collection` of a command that names its collection; a getMore does in another field.
    pub fn namespace(&self) -> String {
        let collection = match self.name.as_str() {
            "getMore" => self.body.get_str("collection"),
            name => self.body.get_str(name),
        };
        format!("{}.{}", self.database, collection.unwrap_or_default())
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

/// A connection in the server's record.
#[derive(Clone, Debug, Default)]
pub struct ConnectionInfo {
    /// Its number, from 1.
    pub id: u64,
    /// The server name in the client's SNI.
    pub sni: Option<String>,
    /// `TLSv1.3` and so on; `None` without TLS or before the handshake's end.
    pub protocol: Option<String>,
    /// Name of the cipher suite.
    pub cipher: Option<String>,
    /// True if the handshake resumed a session.
    pub resumed: bool,
    /// The client's certificate, if it sent one.
    pub client_certificate: Option<X509>,
    /// The authenticated user, as `database.name`.
    pub user: Option<String>,
    /// OpenSSL's reason for a failed handshake.
    pub handshake_error: Option<String>,
    /// True if it is still open.
    pub open: bool,
    /// The number of hellos.
    pub hellos: u64,
    /// The number of other commands.
    pub other_commands: u64,
}

impl ConnectionInfo {
    /// Returns true if it may be a monitor's: it ran only hello.
    pub fn is_monitor(&self) -> bool {
        self.hellos > 0 && self.other_commands == 0
    }
}

/// The counters of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// TLS handshakes finished.
    pub handshakes: u64,
    /// The number of those that resumed a session.
    pub resumed: u64,
    /// TLS handshakes failed.
    pub failed_handshakes: u64,
    /// Commands by name, in the clients' spelling.
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

    /// All counters except those of bytes.
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

    /// Waits until something changes, for at most this time.
    pub(super) fn wait(&self, limit: Duration) {
        let seen = lock(&self.seen);
        let _woken = self
            .changed
            .wait_timeout(seen, limit)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// The maximum number of hellos in the record, for any limit of the log.
const HELLO_LIMIT: usize = 100_000;
