//! Transactions, as programs use them. `session/transaction.rs` has the state, and `op/transaction.rs` the commands.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the explicit form: start, commit, abort |
//! | `run.rs` | the form with a closure |
//! | `retries.rs` | the decision whether and when the closure runs again |
//!
//! Sources: "Transactions", "Convenient API for Transactions".

mod retries;
mod run;

use std::sync::Arc;
use std::time::Duration;

pub use self::run::{RunTransaction, Tx};
use crate::client_session::Session;
use crate::error::Result;
use crate::op::{TimeLimit, end_transaction};
use crate::options::{ReadConcern, ReadPreference, TransactionOptions, WriteConcern};
use crate::session::TransactionSettings;
use crate::time::{TimeoutKind, TimeoutMs};

impl Session {
    /// Starts a transaction, once the returned value is [run](StartTransaction::run). No command is sent: the server learns
    /// of it from its first command.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let accounts = client.database("bank").collection::<Document>("accounts");
    /// let session = client.start_session().run()?;
    /// session.start_transaction().run()?;
    /// let accounts = accounts.within(&session);
    /// accounts.update_one(doc! { "_id": 1 }, doc! { "$inc": { "balance": -5 } }).run()?;
    /// accounts.update_one(doc! { "_id": 2 }, doc! { "$inc": { "balance": 5 } }).run()?;
    /// session.commit_transaction().run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn start_transaction(&self) -> StartTransaction<'_> {
        StartTransaction {
            session: self,
            options: TransactionOptions::default(),
        }
    }

    /// Commits the open transaction, once the returned value is [run](CommitTransaction::run). Called again, it repeats the
    /// last commit, which the server makes at most once.
    pub fn commit_transaction(&self) -> CommitTransaction<'_> {
        CommitTransaction {
            session: self,
            timeout: None,
        }
    }

    /// Aborts the open transaction, once the returned value is [run](AbortTransaction::run).
    pub fn abort_transaction(&self) -> AbortTransaction<'_> {
        AbortTransaction {
            session: self,
            timeout: None,
        }
    }

    /// The limit of a commit, an abort or a whole transaction: its own, that of the session, or that of the client.
    fn limit(&self, own: Option<Duration>) -> TimeLimit {
        match own.or(self.options().default_timeout) {
            Some(limit) => TimeLimit::Of(TimeoutMs {
                limit,
                kind: TimeoutKind::Operation,
            }),
            None => TimeLimit::OfClient,
        }
    }

    /// The settings of a transaction with these options.
    fn settings(&self, options: TransactionOptions) -> Arc<TransactionSettings> {
        let options = options.or(self.options().default_transaction_options.as_ref());
        let of_client = self.client().options();
        let milliseconds = |limit: Duration| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        Arc::new(TransactionSettings {
            read_concern: options
                .read_concern
                .unwrap_or_else(|| of_client.read_concern().clone()),
            write_concern: options
                .write_concern
                .unwrap_or_else(|| of_client.write_concern().clone()),
            read_preference: options
                .selection_criteria
                .unwrap_or_else(|| of_client.read_preference().clone()),
            max_commit_time_ms: options.max_commit_time.map(milliseconds),
        })
    }
}

/// Declares the setters of the options of a transaction.
macro_rules! option_setters {
    () => {
        /// Sets the read concern of the transaction. Default: that of the session, and otherwise that of the client. Those of
        /// databases and collections do not apply in a transaction.
        pub fn read_concern(mut self, concern: ReadConcern) -> Self {
            self.options.read_concern = Some(concern);
            self
        }

        /// Sets the write concern of the transaction. Default: that of the session, and otherwise that of the client. It must
        /// be acknowledged.
        pub fn write_concern(mut self, concern: WriteConcern) -> Self {
            self.options.write_concern = Some(concern);
            self
        }

        /// Sets the read preference of the transaction. Default: that of the session, and otherwise that of the client. A read
        /// fails before it is sent unless this is `primary`.
        pub fn read_preference(mut self, preference: ReadPreference) -> Self {
            self.options.selection_criteria = Some(preference);
            self
        }

        /// Sets the read preference, as [`read_preference`](Self::read_preference) does. The official driver has this name.
        pub fn selection_criteria(self, preference: ReadPreference) -> Self {
            self.read_preference(preference)
        }

        /// Sets the time that the server may take for a commit, in milliseconds on the wire. `timeoutMS` replaces it.
        pub fn max_commit_time(mut self, limit: Duration) -> Self {
            self.options.max_commit_time = Some(limit);
            self
        }

        /// Replaces all options.
        pub fn with_options(mut self, options: impl Into<Option<TransactionOptions>>) -> Self {
            self.options = options.into().unwrap_or_default();
            self
        }
    };
}

use option_setters;

/// A transaction that is about to start; see [`Session::start_transaction`].
#[derive(Clone, Debug)]
#[must_use = "a transaction starts when `run` is called"]
pub struct StartTransaction<'a> {
    session: &'a Session,
    options: TransactionOptions,
}

impl StartTransaction<'_> {
    option_setters!();

    /// Starts the transaction.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the session has an open transaction, if it is for
    /// snapshot reads, if the write concern is `w: 0`, or in a forked child.
    pub fn run(self) -> Result<()> {
        let settings = self.session.settings(self.options);
        self.session.state().start_transaction(settings)
    }
}

/// A commit; see [`Session::commit_transaction`].
#[derive(Clone, Debug)]
#[must_use = "a commit does nothing until it is run"]
pub struct CommitTransaction<'a> {
    session: &'a Session,
    timeout: Option<Duration>,
}

impl CommitTransaction<'_> {
    /// Sets `timeoutMS` of the commit. Default: that of the session, and otherwise that of the client. Zero means no limit.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Commits the transaction. A commit that fails with an error of the network or a change of the primary is sent once
    /// more, or with `timeoutMS` until the time is up, and requires a majority then.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if there is no transaction, or it was aborted.
    /// An error with the label `UnknownTransactionCommitResult` does not say if the transaction was committed: call this
    /// again to find out ([`CauseCode::CommitUnknown`](crate::CauseCode::CommitUnknown)). After an error with the label
    /// `TransientTransactionError` it was not committed, and the transaction may be run again.
    /// [`Error::written`](crate::Error::written) tells these cases apart.
    pub fn run(self) -> Result<()> {
        let limit = self.session.limit(self.timeout);
        end_transaction::commit(self.session.client(), self.session.state(), limit)
    }
}

/// An abort; see [`Session::abort_transaction`].
#[derive(Clone, Debug)]
#[must_use = "an abort does nothing until it is run"]
pub struct AbortTransaction<'a> {
    session: &'a Session,
    timeout: Option<Duration>,
}

impl AbortTransaction<'_> {
    /// Sets `timeoutMS` of the abort. Default: that of the session, and otherwise that of the client. Zero means no limit.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Aborts the transaction. Errors of the server and of the network are ignored, because the server aborts a transaction
    /// that is not used itself.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if there is no open transaction.
    pub fn run(self) -> Result<()> {
        let limit = self.session.limit(self.timeout);
        end_transaction::abort(self.session.client(), self.session.state(), limit)
    }
}
