//! The state of a session of the program.
//!
//! It belongs to one thread at a time, so its fields are cells. `transaction.rs` has its transaction.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use bson::Timestamp;

use super::pool::SessionPool;
use super::server_session::{Lifetime, ServerSession};
use super::transaction::{Transaction, TransactionSettings};
use crate::data::cluster_time::{ClusterTime, ReplyTimes, is_later};
use crate::error::{Error, Result};
use crate::wire::request::ReadConcernFields;

/// The way in which the reads of a session are related.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadMode {
    /// Not at all.
    Independent,
    /// A read sees the results of earlier operations of the session ("Causal Consistency").
    Causal,
    /// All reads see the data of one instant ("Snapshot Reads").
    Snapshot,
}

/// See the [module documentation](self). The server session returns to the pool when the state is dropped.
#[derive(Debug)]
pub(crate) struct SessionState {
    pool: Arc<SessionPool>,
    server_session: Cell<ServerSession>,
    read_mode: ReadMode,
    cluster_time: Cell<Option<ClusterTime>>,
    operation_time: Cell<Option<Timestamp>>,
    snapshot_time: Cell<Option<Timestamp>>,
    transaction: Transaction,
}

impl SessionState {
    /// Starts a session with a server session of the pool, whose servers keep sessions for `lifetime`.
    pub(crate) fn start(
        pool: &Arc<SessionPool>,
        lifetime: Lifetime,
        read_mode: ReadMode,
        snapshot_time: Option<Timestamp>,
    ) -> Self {
        let now = Instant::now();
        let (server_session, _) = pool.begin(Some(lifetime), now);
        Self {
            pool: Arc::clone(pool),
            server_session: Cell::new(server_session.unwrap_or_else(|| ServerSession::new(now))),
            read_mode,
            cluster_time: Cell::new(None),
            operation_time: Cell::new(None),
            snapshot_time: Cell::new(snapshot_time),
            transaction: Transaction::default(),
        }
    }

    /// Returns true if the session was started by the client that has this pool.
    pub(crate) fn is_of(&self, pool: &Arc<SessionPool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }

    /// Returns true if the session belongs to the process that this one was forked from.
    pub(crate) fn is_inherited(&self) -> bool {
        self.pool.is_inherited()
    }

    /// The UUID of the server session.
    pub(crate) fn id(&self) -> [u8; 16] {
        self.server_session.get().id()
    }

    /// Notes that a command of the session is sent now.
    pub(crate) fn used(&self, now: Instant) {
        let mut session = self.server_session.get();
        session.used(now);
        self.server_session.set(session);
    }

    /// Returns the number of the next retryable write or transaction.
    pub(crate) fn next_transaction_number(&self) -> i64 {
        let mut session = self.server_session.get();
        let number = session.next_transaction_number();
        self.server_session.set(session);
        number
    }

    /// The transaction.
    pub(crate) fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Starts a transaction. No command is sent.
    ///
    /// # Errors
    /// If there is an open one, if the session is for snapshot reads, or if the write concern is not acknowledged.
    pub(crate) fn start_transaction(&self, settings: Arc<TransactionSettings>) -> Result<()> {
        if self.is_inherited() {
            return Err(Error::of_the_parent());
        }
        if self.read_mode == ReadMode::Snapshot {
            return Err(Error::invalid_argument(
                "Transactions are not supported in snapshot sessions",
            ));
        }
        self.transaction
            .start(settings, || self.next_transaction_number())
    }

    /// Relates a read to the earlier operations of the session ("Causal Consistency", "Snapshot Reads").
    pub(crate) fn relate(&self, read_concern: &mut ReadConcernFields<'_>) {
        match self.read_mode {
            ReadMode::Independent => {}
            ReadMode::Causal => read_concern.after_cluster_time = self.operation_time.get(),
            ReadMode::Snapshot => {
                read_concern.level = Some("snapshot");
                read_concern.at_cluster_time = self.snapshot_time.get();
            }
        }
    }

    /// Notes the time of the first read in a session for snapshot reads.
    pub(crate) fn note_snapshot_time(&self, time: Timestamp) {
        if self.read_mode == ReadMode::Snapshot && self.snapshot_time.get().is_none() {
            self.snapshot_time.set(Some(time));
        }
    }

    /// Marks the server session as dirty.
    pub(crate) fn mark_dirty(&self) {
        let mut session = self.server_session.get();
        session.mark_dirty();
        self.server_session.set(session);
    }

    /// Returns true if the server session is marked as dirty.
    #[cfg(feature = "_internals")]
    pub(crate) fn is_dirty(&self) -> bool {
        self.server_session.get().is_dirty()
    }

    /// The way in which reads are related.
    pub(crate) fn read_mode(&self) -> ReadMode {
        self.read_mode
    }

    /// The latest cluster time that the session knows.
    pub(crate) fn cluster_time(&self) -> Option<ClusterTime> {
        self.cluster_time.get()
    }

    /// The latest time of an operation of the session.
    pub(crate) fn operation_time(&self) -> Option<Timestamp> {
        self.operation_time.get()
    }

    /// The instant that all reads see, in a session for snapshot reads. `None` before the first read.
    pub(crate) fn snapshot_time(&self) -> Option<Timestamp> {
        self.snapshot_time.get()
    }

    /// Advances the times of the session to those of a reply.
    pub(crate) fn advance(&self, times: &ReplyTimes) {
        if let Some(time) = &times.cluster_time {
            self.advance_cluster_time(time);
        }
        if let Some(time) = times.operation_time {
            self.advance_operation_time(time);
        }
    }

    /// Advances the cluster time of the session, but not that of the client.
    pub(crate) fn advance_cluster_time(&self, time: &ClusterTime) {
        let mut known = self.cluster_time.get();
        time.advance(&mut known);
        self.cluster_time.set(known);
    }

    /// Advances the operation time.
    pub(crate) fn advance_operation_time(&self, time: Timestamp) {
        let known = self.operation_time.get();
        if known.is_none_or(|known| is_later(time, known)) {
            self.operation_time.set(Some(time));
        }
    }
}

impl Drop for SessionState {
    fn drop(&mut self) {
        self.pool.end(Some(self.server_session.get()), None);
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn started(pool: &Arc<SessionPool>) -> SessionState {
        SessionState::start(pool, Lifetime::Unknown, ReadMode::Causal, None)
    }

    fn times(seconds: u32) -> ReplyTimes {
        let time = Timestamp {
            time: seconds,
            increment: 0,
        };
        ReplyTimes {
            cluster_time: ClusterTime::read(&rawdoc! { "clusterTime": time }),
            operation_time: Some(time),
        }
    }

    #[test]
    fn a_server_session_has_one_user_and_is_used_again() {
        let pool = Arc::new(SessionPool::new());
        let (first, second) = (started(&pool), started(&pool));
        let (a, b) = (first.id(), second.id());
        assert_ne!(a, b);
        drop(first);
        drop(second);
        let again = [started(&pool), started(&pool)];
        assert_eq!(again.each_ref().map(SessionState::id), [b, a]);
    }

    #[test]
    fn a_dirty_server_session_is_not_used_again() {
        let pool = Arc::new(SessionPool::new());
        let session = started(&pool);
        let id = session.id();
        session.mark_dirty();
        session.used(Instant::now());
        drop(session);
        assert_ne!(started(&pool).id(), id);
    }

    #[test]
    fn times_never_go_back() {
        let pool = Arc::new(SessionPool::new());
        let session = started(&pool);
        assert!(session.cluster_time().is_none() && session.operation_time().is_none());
        for seconds in [5, 4] {
            session.advance(&times(seconds));
            assert_eq!(session.operation_time(), times(5).operation_time);
            let known = session.cluster_time().unwrap();
            let expected = times(5).cluster_time.unwrap();
            assert_eq!(known.document(), expected.document());
        }
        // The client's time comes from replies alone.
        assert!(pool.begin(None, Instant::now()).1.is_none());
    }

    #[test]
    fn a_session_belongs_to_its_client() {
        let (pool, other) = (Arc::new(SessionPool::new()), Arc::new(SessionPool::new()));
        let session = started(&pool);
        assert!(session.is_of(&pool) && !session.is_of(&other));
    }
}
