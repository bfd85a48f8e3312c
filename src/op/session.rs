//! The use of a session by one command, and the cluster time that the command sends.
//!
//! Before a command is sent, its session is taken: that of the program, that of an open cursor, or one of the pool. After
//! its reply, the times in the reply are noted, and a session of the pool is given back unless a cursor or a retry needs
//! it. Sources: "Driver Sessions", "Run Command".

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use bson::raw::RawDocument;

use super::kind::OperationKind;
use super::role::Role;
use super::target::SelectedConnection;
use crate::conn::Connection;
use crate::data::cluster_time::ClusterTime;
use crate::error::{Error, Result};
use crate::options::ReadConcern;
use crate::sdam::ServerType;
use crate::session::{ReadMode, ServerSession, SessionPool, SessionState, TransactionState};
use crate::wire::request::{Position, ReadConcernFields};

/// The session in which an operation runs.
#[derive(Clone, Copy)]
pub(crate) enum OperationSession<'a> {
    /// One of the pool, if the server supports sessions.
    Implicit,
    /// A session of the program.
    Explicit(&'a SessionState),
    /// None: the command carries the ID of a session itself, or must not have one.
    Omitted,
}

/// The fields that sessions add to a command.
pub(super) struct SessionFields<'a> {
    pub(super) id: Option<[u8; 16]>,
    pub(super) cluster_time: Option<ClusterTime>,
    /// The number of a retryable write or of a transaction.
    pub(super) transaction_number: Option<i64>,
    /// The position of the command in a transaction.
    pub(super) position: Option<Position>,
    pub(super) read_concern: Option<ReadConcernFields<'a>>,
}

/// The part of an operation on which its read concern depends.
#[derive(Clone, Copy)]
pub(super) struct Concerns<'a> {
    pub(super) kind: OperationKind,
    pub(super) read: Option<&'a ReadConcern>,
    /// True if the command accepts a write concern.
    pub(super) has_write_concern: bool,
    pub(super) role: Role,
}

impl<'a> OperationSession<'a> {
    /// The session of the program, or one of the pool if there is none.
    pub(crate) fn of(session: Option<&'a SessionState>) -> Self {
        session.map_or(Self::Implicit, Self::Explicit)
    }

    /// Returns an error if the session of the program cannot be used with this client, before anything is sent.
    pub(super) fn check(self, pool: &Arc<SessionPool>) -> Result<()> {
        let Self::Explicit(session) = self else {
            return Ok(());
        };
        if session.is_inherited() {
            return Err(Error::of_the_parent());
        }
        if !session.is_of(pool) {
            return Err(Error::invalid_argument(
                "the session was started by another client",
            ));
        }
        Ok(())
    }

    /// Takes the session of a command that is sent next. `pool` is that of the client, and `held` is the session of the
    /// pool that the operation has already.
    ///
    /// In a session with causal consistency reads and writes state the time that they must see, but commands of the program
    /// do not ("Causally consistent read and write commands").
    ///
    /// In a session for snapshot reads every command states `snapshot` as its read concern, so that the server rejects
    /// those that cannot read at a time in the past. The commands of open cursors are exceptions.
    ///
    /// # Errors
    /// If the server does not support what the session of the program needs.
    pub(super) fn begin(
        self,
        pool: &Arc<SessionPool>,
        selected: &SelectedConnection,
        concerns: Concerns<'a>,
        number: Option<&Cell<Option<i64>>>,
        held: &mut Option<ServerSession>,
    ) -> Result<SessionFields<'a>> {
        let hello = selected.connection.hello();
        let lifetime = selected.session_lifetime();
        let now = Instant::now();
        *held = held.take().filter(|held| !held.is_inherited());
        let (mut id, mut session_time) = (None, None);
        let mut needed = None;
        match (self, held.as_mut()) {
            (Self::Explicit(session), _) => {
                // The process may have been forked since the operation began.
                self.check(pool)?;
                if lifetime.is_none() {
                    return Err(unsupported("the server does not support sessions"));
                }
                if session.read_mode() == ReadMode::Snapshot && hello.max_wire_version < SNAPSHOTS {
                    return Err(unsupported("Snapshot reads require MongoDB 5.0 or later"));
                }
                session.used(now);
                id = Some(session.id());
                session_time = session.cluster_time();
                assign(number, || session.next_transaction_number());
            }
            (Self::Implicit, Some(held)) => {
                held.used(now);
                id = Some(held.id());
                assign(number, || held.next_transaction_number());
            }
            (Self::Implicit, None) => needed = lifetime,
            (Self::Omitted, _) => {}
        }
        let (taken, mut cluster_time) = pool.begin(needed, now);
        if let Some(mut taken) = taken {
            taken.used(now);
            id = Some(taken.id());
            // An attempt before a fork had another session, and another number.
            number.inspect(|number| number.set(None));
            assign(number, || taken.next_transaction_number());
            *held = Some(taken);
        }
        if let Some(time) = session_time {
            time.advance(&mut cluster_time);
        }
        let is_standalone = selected.server_type == ServerType::Standalone;
        if is_standalone || hello.max_wire_version < CLUSTER_TIMES {
            cluster_time = None;
        }
        let mut read_concern = concerns.read.map(|concern| ReadConcernFields {
            level: concern.level.as_deref(),
            ..ReadConcernFields::default()
        });
        let position = self.position(concerns.role);
        if let (Self::Explicit(session), Some(position)) = (self, position) {
            match position {
                Position::First => session.relate(read_concern.get_or_insert_default()),
                Position::Later => read_concern = None,
            }
        } else if let Self::Explicit(session) = self {
            let is_snapshot = session.read_mode() == ReadMode::Snapshot;
            let states_time = match concerns.kind {
                // The commands of search indexes, which have no write concern, accept no read concern either.
                OperationKind::RetryableWrite | OperationKind::Write => {
                    is_snapshot || concerns.has_write_concern
                }
                OperationKind::Read | OperationKind::Generic => is_snapshot,
                OperationKind::Cursor | OperationKind::Commit | OperationKind::Abort => false,
            };
            if states_time {
                read_concern.get_or_insert_default();
            }
            if let Some(fields) = read_concern
                .as_mut()
                .filter(|_| is_snapshot || !is_standalone)
            {
                session.relate(fields);
            }
        }
        Ok(SessionFields {
            id,
            cluster_time,
            transaction_number: match (self, position) {
                (Self::Explicit(session), Some(_)) => Some(session.transaction().number()),
                _ => number.filter(|_| id.is_some()).and_then(Cell::get),
            },
            position,
            read_concern: read_concern.filter(|it| *it != ReadConcernFields::default()),
        })
    }

    /// The position of a command in the transaction, if it belongs to one. The first command has the read concern of the
    /// transaction, and the others have none.
    fn position(self, role: Role) -> Option<Position> {
        let Self::Explicit(session) = self else {
            return None;
        };
        let is_first = session.transaction().state() == TransactionState::Starting;
        match role {
            Role::Outside => None,
            Role::Within if is_first => Some(Position::First),
            Role::Within | Role::End => Some(Position::Later),
        }
    }

    /// Notes the time of a snapshot read, which the later reads of the session have, too. `reply` is that of a `find`, an
    /// `aggregate` or a `distinct`.
    pub(super) fn note_snapshot(self, reply: &RawDocument) {
        let Self::Explicit(session) = self else {
            return;
        };
        if session.read_mode() != ReadMode::Snapshot || session.snapshot_time().is_some() {
            return;
        }
        let time = |document: &RawDocument| document.get_timestamp("atClusterTime").ok();
        let of_cursor = || time(reply.get_document("cursor").ok()?);
        if let Some(time) = time(reply).or_else(of_cursor) {
            session.note_snapshot_time(time);
        }
    }

    /// Ends the use of a session by a command, after its reply or its failure on `connection`. A session of the pool stays
    /// in `held` if `is_kept`.
    pub(super) fn end(
        self,
        pool: &Arc<SessionPool>,
        connection: &Connection,
        held: &mut Option<ServerSession>,
        is_kept: bool,
    ) {
        let times = connection.times();
        let is_dirty = connection.perished().is_some();
        if let Self::Explicit(session) = self {
            session.advance(times);
            if is_dirty {
                session.mark_dirty();
            }
        }
        if let Some(held) = held.as_mut().filter(|_| is_dirty) {
            held.mark_dirty();
        }
        let returned = match is_kept {
            true => None,
            false => held.take(),
        };
        pool.end(returned, times.cluster_time.as_ref());
    }
}

/// Assigns the number of a write, unless an earlier attempt has one.
fn assign(number: Option<&Cell<Option<i64>>>, next: impl FnOnce() -> i64) {
    if let Some(number) = number.filter(|number| number.get().is_none()) {
        number.set(Some(next()));
    }
}

/// The error for a session of the program that the server cannot serve.
fn unsupported(message: &str) -> Error {
    Error::invalid_argument(message)
}

/// The first wire version whose servers know cluster times: MongoDB 3.6.
const CLUSTER_TIMES: i32 = 6;

/// The first wire version whose servers serve snapshot reads: MongoDB 5.0.
const SNAPSHOTS: i32 = 13;
