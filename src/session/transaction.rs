//! The transaction of a session: its state, and what its commands have in common.
//!
//! The rules are those of "Transactions", "ClientSession changes" and "When to unpin". A session belongs to one thread at a
//! time, so the fields are cells. No borrow of a cell lasts longer than a call.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use bson::RawDocumentBuf;

use crate::address::ServerAddress;
use crate::error::{Error, Result};
use crate::options::{Acknowledgment, ReadConcern, ReadPreference, WriteConcern};
use crate::sdam::ServerPin;
use crate::time::Deadline;

/// The state of a session's transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TransactionState {
    /// There is no transaction.
    #[default]
    None,
    /// No command of the transaction was sent.
    Starting,
    /// The server knows the transaction.
    InProgress,
    Committed,
    Aborted,
}

impl TransactionState {
    /// Returns true if commands of the session belong to the transaction.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Starting | Self::InProgress)
    }
}

/// The options of a transaction, each from the transaction, the session or the client.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TransactionSettings {
    pub(crate) read_concern: ReadConcern,
    pub(crate) write_concern: WriteConcern,
    pub(crate) read_preference: ReadPreference,
    /// `maxTimeMS` of the commit.
    pub(crate) max_commit_time_ms: Option<i64>,
}

/// The place to which the commands of a transaction go.
#[derive(Clone, Debug)]
pub(crate) enum Pinned {
    /// A router of a sharded cluster.
    Router(Arc<ServerAddress>),
    /// A connection to a load balancer.
    Connection(Arc<ServerPin>),
}

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    state: Cell<TransactionState>,
    /// `txnNumber`.
    number: Cell<i64>,
    settings: RefCell<Arc<TransactionSettings>>,
    /// The last `recoveryToken` of a router.
    recovery_token: RefCell<Option<RawDocumentBuf>>,
    pinned: RefCell<Option<Pinned>>,
    /// True if the transaction was committed or aborted before the server learned of it.
    is_empty: Cell<bool>,
    /// True if a commit was tried, and the server was not just overloaded. Further attempts require a majority.
    needs_majority: Cell<bool>,
    /// True if a commit may have been made.
    may_be_committed: Cell<bool>,
    /// The first command of the transaction that failed.
    failure: RefCell<Option<Error>>,
    /// The deadline of the whole transaction, if `timeoutMS` limits it.
    deadline: Cell<Option<Deadline>>,
}

impl Transaction {
    pub(crate) fn state(&self) -> TransactionState {
        self.state.get()
    }

    /// Starts a transaction. `next_number` assigns its number.
    ///
    /// # Errors
    /// If there is an open one.
    pub(super) fn start(
        &self,
        settings: Arc<TransactionSettings>,
        next_number: impl FnOnce() -> i64,
    ) -> Result<()> {
        if self.state().is_open() {
            return Err(Error::invalid_argument("Transaction already in progress"));
        }
        if !settings.write_concern.is_acknowledged() {
            return Err(Error::invalid_argument(
                "transactions do not support unacknowledged write concerns",
            ));
        }
        self.forget();
        self.number.set(next_number());
        *self.settings.borrow_mut() = settings;
        self.state.set(TransactionState::Starting);
        Ok(())
    }

    /// Notes that an operation of the session begins, which is not the end of a transaction. After the end of a transaction
    /// the session has none.
    pub(crate) fn begin_operation(&self) -> TransactionState {
        if matches!(
            self.state(),
            TransactionState::Committed | TransactionState::Aborted
        ) {
            self.forget();
            self.state.set(TransactionState::None);
        }
        self.state()
    }

    /// Notes that a command of the transaction was sent.
    pub(crate) fn sent(&self) {
        if self.state() == TransactionState::Starting {
            self.state.set(TransactionState::InProgress);
        }
    }

    /// Notes that the first command is sent again, because the server was too busy to look at it.
    pub(crate) fn restart(&self) {
        self.state.set(TransactionState::Starting);
    }

    /// Begins a commit. Returns false if there is nothing to send.
    ///
    /// # Errors
    /// If there is no transaction, or it was aborted.
    pub(crate) fn begin_commit(&self) -> Result<bool> {
        let problem = match self.state() {
            TransactionState::None => "No transaction started",
            TransactionState::Aborted => {
                "Cannot call commitTransaction after calling abortTransaction"
            }
            TransactionState::Starting => {
                self.is_empty.set(true);
                self.state.set(TransactionState::Committed);
                return Ok(false);
            }
            TransactionState::Committed => return Ok(!self.is_empty.get()),
            TransactionState::InProgress => {
                self.state.set(TransactionState::Committed);
                return Ok(true);
            }
        };
        Err(Error::invalid_argument(problem))
    }

    /// Begins an abort. Returns false if there is nothing to send.
    ///
    /// # Errors
    /// If there is no open transaction.
    pub(crate) fn begin_abort(&self) -> Result<bool> {
        let problem = match self.state() {
            TransactionState::None => "No transaction started",
            TransactionState::Committed => {
                "Cannot call abortTransaction after calling commitTransaction"
            }
            TransactionState::Aborted => "Cannot call abortTransaction twice",
            state @ (TransactionState::Starting | TransactionState::InProgress) => {
                self.state.set(TransactionState::Aborted);
                return Ok(state == TransactionState::InProgress);
            }
        };
        Err(Error::invalid_argument(problem))
    }

    /// Notes the end of an attempt to commit. `was_overloaded`: the server was too busy to look at it.
    pub(crate) fn commit_tried(&self, was_overloaded: bool) {
        if !was_overloaded {
            self.needs_majority.set(true);
        }
    }

    /// Sets whether a commit may have been made.
    pub(crate) fn set_may_be_committed(&self, may_be: bool) {
        self.may_be_committed.set(may_be);
    }

    pub(crate) fn may_be_committed(&self) -> bool {
        self.may_be_committed.get()
    }

    /// The write concern of the next attempt to commit ("writeConcern for commitTransaction attempts").
    pub(crate) fn commit_concern(&self) -> WriteConcern {
        let mut concern = self.settings().write_concern.clone();
        if self.needs_majority.get() {
            concern.w = Some(Acknowledgment::from("majority"));
            concern.w_timeout.get_or_insert(LIMIT_OF_MAJORITY);
        }
        concern
    }

    pub(crate) fn number(&self) -> i64 {
        self.number.get()
    }

    pub(crate) fn settings(&self) -> Arc<TransactionSettings> {
        Arc::clone(&self.settings.borrow())
    }

    pub(crate) fn recovery_token(&self) -> Option<RawDocumentBuf> {
        self.recovery_token.borrow().clone()
    }

    pub(crate) fn note_recovery_token(&self, token: RawDocumentBuf) {
        *self.recovery_token.borrow_mut() = Some(token);
    }

    /// The place to which the commands go, if there is one.
    pub(crate) fn pinned(&self) -> Option<Pinned> {
        self.pinned.borrow().clone()
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned.borrow().is_some()
    }

    pub(crate) fn pin(&self, pinned: Pinned) {
        let before = self.pinned.borrow_mut().replace(pinned);
        drop(before);
    }

    pub(crate) fn unpin(&self) {
        // A connection is checked in here, and listeners hear of it: not within the borrow.
        let before = self.pinned.borrow_mut().take();
        drop(before);
    }

    /// Notes that a command of the open transaction failed.
    pub(crate) fn note_failure(&self, failure: impl FnOnce() -> Error) {
        if self.state().is_open() && self.failure.borrow().is_none() {
            let failure = failure();
            *self.failure.borrow_mut() = Some(failure);
        }
    }

    /// Returns the first failure of a command of the transaction, and forgets it.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failure.borrow_mut().take()
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.deadline.get()
    }

    pub(crate) fn set_deadline(&self, deadline: Option<Deadline>) {
        self.deadline.set(deadline);
    }

    /// Forgets the last transaction, except for the deadline, which spans several.
    fn forget(&self) {
        self.unpin();
        self.is_empty.set(false);
        self.needs_majority.set(false);
        self.may_be_committed.set(false);
        drop(self.recovery_token.borrow_mut().take());
        drop(self.take_failure());
    }
}

/// The limit of the wait for a majority, if the write concern has none: 10 s.
const LIMIT_OF_MAJORITY: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::TransactionState as S;
    use super::*;

    fn started() -> Transaction {
        let transaction = Transaction::default();
        let started = transaction.start(Arc::default(), || 1);
        started.unwrap();
        transaction
    }

    fn text<T>(outcome: Result<T>) -> String {
        outcome
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn each_state_allows_what_the_specification_says() {
        let transaction = Transaction::default();
        let (none, started_twice) = ("No transaction started", "Transaction already in progress");
        assert_eq!(text(transaction.begin_commit()), none);
        assert_eq!(text(transaction.begin_abort()), none);
        let start = |transaction: &Transaction| text(transaction.start(Arc::default(), || 5));
        assert_eq!(start(&transaction), "");
        assert_eq!(
            (transaction.state(), transaction.number()),
            (S::Starting, 5)
        );
        assert_eq!(start(&transaction), started_twice);
        transaction.sent();
        assert_eq!(transaction.state(), S::InProgress);
        assert_eq!(start(&transaction), started_twice);
        assert_eq!(transaction.begin_commit().ok(), Some(true));
        assert_eq!(transaction.state(), S::Committed);
        assert_eq!(transaction.begin_commit().ok(), Some(true));
        assert_eq!(
            text(transaction.begin_abort()),
            "Cannot call abortTransaction after calling commitTransaction"
        );
        assert_eq!(start(&transaction), "");
        transaction.sent();
        assert_eq!(transaction.begin_abort().ok(), Some(true));
        assert_eq!(
            text(transaction.begin_abort()),
            "Cannot call abortTransaction twice"
        );
        assert_eq!(
            text(transaction.begin_commit()),
            "Cannot call commitTransaction after calling abortTransaction"
        );
        assert_eq!(transaction.begin_operation(), S::None);
        assert_eq!(text(transaction.begin_commit()), none);
    }

    #[test]
    fn an_empty_transaction_ends_without_a_command() {
        let transaction = started();
        assert_eq!(transaction.begin_commit().ok(), Some(false));
        assert_eq!(transaction.begin_commit().ok(), Some(false));
        let transaction = started();
        assert_eq!(transaction.begin_abort().ok(), Some(false));
        assert_eq!(transaction.state(), S::Aborted);
    }

    #[test]
    fn a_second_commit_requires_a_majority() {
        let transaction = started();
        assert_eq!(transaction.commit_concern(), WriteConcern::default());
        transaction.commit_tried(true);
        assert_eq!(transaction.commit_concern(), WriteConcern::default());
        transaction.commit_tried(false);
        let expected = WriteConcern::majority().w_timeout(Duration::from_secs(10));
        assert_eq!(transaction.commit_concern(), expected);
        let transaction = Transaction::default();
        let own = WriteConcern::nodes(1)
            .journal(true)
            .w_timeout(Duration::from_secs(3));
        let settings = TransactionSettings {
            write_concern: own.clone(),
            ..TransactionSettings::default()
        };
        transaction.start(Arc::new(settings), || 1).unwrap();
        transaction.commit_tried(false);
        assert_eq!(transaction.commit_concern(), own.w("majority"));
    }

    #[test]
    fn a_new_transaction_begins_without_the_state_of_the_last_one() {
        let transaction = started();
        transaction.sent();
        transaction.note_recovery_token(RawDocumentBuf::new());
        transaction.pin(Pinned::Router(Arc::new(ServerAddress::tcp("a", 1))));
        transaction.note_failure(|| Error::protocol("x"));
        transaction.begin_commit().unwrap();
        transaction.commit_tried(false);
        assert!(transaction.is_pinned());
        transaction.start(Arc::default(), || 2).unwrap();
        assert!(!transaction.is_pinned() && transaction.recovery_token().is_none());
        assert_eq!(transaction.commit_concern(), WriteConcern::default());
        assert!(transaction.take_failure().is_none());
    }

    #[test]
    fn writes_of_a_transaction_are_acknowledged() {
        let settings = TransactionSettings {
            write_concern: WriteConcern::nodes(0),
            ..TransactionSettings::default()
        };
        let transaction = Transaction::default();
        assert_eq!(
            text(transaction.start(Arc::new(settings), || 1)),
            "transactions do not support unacknowledged write concerns"
        );
        assert_eq!(transaction.state(), S::None);
    }
}
