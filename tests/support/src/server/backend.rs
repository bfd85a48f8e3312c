//! A store behind bench servers: another MongoDB server, to which they forward commands.
//!
//! A [`Backend`] is a pool of plain TCP connections: a command takes one, and gives it back after its reply. The fields
//! of sessions, transactions and cursors pass unchanged, so that the store must know them by their content alone,
//! whatever connection they come on.

use super::forward::Half;
use super::record::Request;
use crate::net::{Endpoint, Socket, lock};
use crate::wire::{Frame, Msg, OP_MSG};
use bson::{Document, Timestamp, doc};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// A MongoDB server that runs the commands of one or more bench servers. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Backend(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    addr: SocketAddr,
    idle: Mutex<Vec<Socket>>,
    /// The newest `$clusterTime` and `operationTime` in a reply.
    time: Mutex<Option<(Document, Timestamp)>>,
    /// The last committed transaction of each session.
    committed: Mutex<HashMap<Vec<u8>, i64>>,
    retryable_writes: Mutex<()>,
    /// The retryable writes that are not repeated whole, by their sessions and numbers: those that
    /// `onPrimaryTransactionalWrite` has stopped, each `bulkWrite`, and those with errors.
    halves: Mutex<HashMap<(Vec<u8>, i64), Half>>,
    last_id: AtomicI32,
}

impl Backend {
    /// The server at this address, which must use neither TLS nor authentication. Connections are opened when commands
    /// need them.
    pub fn new(addr: SocketAddr) -> Self {
        Self(Arc::new(Inner {
            addr,
            idle: Mutex::default(),
            time: Mutex::default(),
            committed: Mutex::default(),
            retryable_writes: Mutex::default(),
            halves: Mutex::default(),
            last_id: AtomicI32::new(0),
        }))
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Runs a command.
    ///
    /// # Errors
    ///
    /// Those of the connection; `InvalidData` for a malformed reply. The command may have run then.
    pub fn command(&self, database: &str, command: Document) -> io::Result<Document> {
        let mut msg = Msg::of(command);
        msg.body.insert("$db", database);
        self.run(msg)
    }

    /// Forwards a client's command, with this body.
    pub(super) fn forward(&self, request: &Request, body: Document) -> io::Result<Document> {
        let mut msg = Msg::of(body);
        if request.is_legacy() {
            msg.body.insert("$db", &request.database);
        }
        msg.sequences.clone_from(&request.sequences);
        self.run(msg)
    }

    /// Remembers that a transaction was committed, for the servers that did not begin it.
    pub(super) fn note_commit(&self, session: Vec<u8>, number: i64) {
        lock(&self.0.committed).insert(session, number);
    }

    /// Returns true if this transaction was committed.
    pub(super) fn has_committed(&self, session: &[u8], number: i64) -> bool {
        lock(&self.0.committed).get(session) == Some(&number)
    }

    /// Waits until no other server runs a retryable write.
    pub(super) fn one_retryable_write(&self) -> MutexGuard<'_, ()> {
        lock(&self.0.retryable_writes)
    }

    /// The retryable writes that are not repeated whole.
    pub(super) fn halves(&self) -> MutexGuard<'_, HashMap<(Vec<u8>, i64), Half>> {
        lock(&self.0.halves)
    }

    /// Sends a message without flags, so that exactly one reply comes.
    fn run(&self, msg: Msg) -> io::Result<Document> {
        let idle = lock(&self.0.idle).pop();
        // A store closes connections that are idle for too long.
        let idle = idle.filter(|socket| !socket.has_ended(false));
        let mut socket = match idle {
            Some(socket) => socket,
            None => {
                let socket = Endpoint::Tcp(self.0.addr).connect()?;
                socket.set_read_timeout(Some(LIMIT));
                socket
            }
        };
        let request = Frame {
            request_id: self.0.last_id.fetch_add(1, Ordering::Relaxed),
            response_to: 0,
            op_code: OP_MSG,
            payload: msg.encode(),
        };
        socket.write_all(&request.encode())?;
        let reply = Frame::read(&mut socket)?.ok_or(ErrorKind::UnexpectedEof)?;
        if reply.op_code != OP_MSG || reply.response_to != request.request_id {
            return Err(io::Error::new(ErrorKind::InvalidData, "not the reply"));
        }
        lock(&self.0.idle).push(socket);
        let reply = Msg::decode(&reply.payload)?.body;
        self.note_time(&reply);
        Ok(reply)
    }

    fn note_time(&self, reply: &Document) {
        let cluster_time = reply.get_document("$clusterTime");
        let Ok(operation_time) = reply.get_timestamp("operationTime") else {
            return;
        };
        let Some(cluster_time) = cluster_time.ok().filter(|time| stamp(time).is_some()) else {
            return;
        };
        let mut newest = lock(&self.0.time);
        if newest
            .as_ref()
            .is_none_or(|(newest, _)| stamp(newest) < stamp(cluster_time))
        {
            *newest = Some((cluster_time.clone(), operation_time));
        }
    }

    /// Adds the newest known times to a reply that the store did not write.
    pub(super) fn stamp(&self, reply: &mut Document) {
        if reply.contains_key("$clusterTime") {
            return;
        }
        if lock(&self.0.time).is_none() {
            // A store that cannot be reached has no time.
            let _ = self.command("admin", doc! { "ping": 1 });
        }
        if let Some((cluster_time, operation_time)) = &*lock(&self.0.time) {
            reply.extend(doc! { "$clusterTime": cluster_time, "operationTime": *operation_time });
        }
    }
}

fn stamp(cluster_time: &Document) -> Option<Timestamp> {
    cluster_time.get_timestamp("clusterTime").ok()
}

/// The limit for a reply. A tailable cursor waits for at most its `maxTimeMS`, which tests keep far below it.
const LIMIT: Duration = Duration::from_secs(60);
