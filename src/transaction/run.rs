//! The closure form of a transaction: it is run until it is committed, or until retrying cannot help.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::retries::{Next, Retries};
use crate::client::Client;
use crate::client_session::sealed::HasSession;
use crate::client_session::{Scope, Session};
use crate::collection::Collection;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, TransactionEvent, TransactionRetry};
use crate::logging::warn;
use crate::op::transaction::{Inside, TRANSIENT, UNKNOWN_COMMIT};
use crate::op::{HasDeployment, TimeLimit, end_transaction};
use crate::options::{ReadConcern, ReadPreference, TransactionOptions, WriteConcern};
use crate::random;
use crate::reason::cancel::Cancelled;
use crate::reason::transaction::TransactionFailure;
use crate::results::Written;
use crate::steps::Steps;
use crate::time::{TimeoutKind, TimeoutMs};

impl Client {
    /// Runs a closure in a transaction, in a session of its own, once the returned value is [run](RunTransaction::run).
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let stock = client.database("shop").collection::<Document>("stock");
    /// client.transaction().run(|tx| {
    ///     stock.within(tx).update_one(doc! { "_id": "bolt" }, doc! { "$inc": { "n": -1 } }).run()?;
    ///     let orders = tx.collection::<Document>("shop", "orders");
    ///     orders.insert_one(doc! { "thing": "bolt" }).run()?;
    ///     Ok(())
    /// })?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn transaction(&self) -> RunTransaction<'_> {
        RunTransaction::new(Starter::Client(self))
    }
}

impl Session {
    /// Runs a closure in a transaction of this session, once the returned value is [run](RunTransaction::run). See
    /// [`Client::transaction`].
    pub fn transaction(&self) -> RunTransaction<'_> {
        RunTransaction::new(Starter::Session(self))
    }
}

/// The open transaction, as a closure sees it. It dereferences to the [`Session`].
///
/// Pass it to `within` of a client, database or collection, or to `session` of an action. A handle without it is not a part
/// of the transaction.
pub struct Tx<'a> {
    session: &'a Session,
}

impl<'a> Tx<'a> {
    /// The collection with this name in a database, for documents of type `T`. Its actions belong to the transaction.
    pub fn collection<T>(&self, database: &str, name: &str) -> Collection<T, &'a Session> {
        self.database(database).collection(name)
    }

    /// The database with this name. Its commands belong to the transaction.
    pub fn database(&self, name: &str) -> Database<&'a Session> {
        self.session.client().database(name).within(self.session)
    }
}

impl Deref for Tx<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
    }
}

impl fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx")
            .field("session", self.session)
            .finish_non_exhaustive()
    }
}

impl Scope for &Tx<'_> {}

impl HasSession for &Tx<'_> {
    fn session(&self) -> Option<&Session> {
        Some(self.session)
    }
}

/// The owner of the session.
#[derive(Clone, Copy)]
enum Starter<'a> {
    Client(&'a Client),
    Session(&'a Session),
}

/// A transaction that is about to run; see [`Client::transaction`].
#[must_use = "a transaction does nothing until it is run"]
pub struct RunTransaction<'a> {
    starter: Starter<'a>,
    options: TransactionOptions,
    timeout: Option<Duration>,
    attempts: Option<u32>,
    on_retry: Option<Box<OnRetry<'a>>>,
}

type OnRetry<'a> = dyn FnMut(&TransactionRetry) + 'a;

impl fmt::Debug for RunTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunTransaction")
            .field("options", &self.options)
            .field("timeout", &self.timeout)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl<'a> RunTransaction<'a> {
    fn new(starter: Starter<'a>) -> Self {
        Self {
            starter,
            options: TransactionOptions::default(),
            timeout: None,
            attempts: None,
            on_retry: None,
        }
    }

    super::option_setters!();

    /// Sets `timeoutMS` of the whole transaction: the limit for all attempts with all their commands, and for the commit.
    /// Default: that of the session, and otherwise that of the client. Zero means no limit. Without any, the last retry begins
    /// within 120 s. An operation of the transaction must not have a timeout of its own then. Operations outside of the
    /// transaction have their own limits.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Sets the largest number of times that the closure is called. Default: no limit except time.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// Calls a function before each retry. Retries also are [events](crate::event::TransactionEvent) and log lines.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// client.transaction().on_retry(|retry| eprintln!("{retry}")).run(|tx| Ok(()))?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn on_retry(mut self, on_retry: impl FnMut(&TransactionRetry) + 'a) -> Self {
        self.on_retry = Some(Box::new(on_retry));
        self
    }

    /// Runs the closure in a transaction, commits, and returns the value of the closure.
    ///
    /// The closure may be called several times: again for each error with the label `TransientTransactionError`. So it must
    /// have no effect outside of the transaction that must not happen twice. If it returns an error, the transaction is
    /// aborted. It may commit or abort the transaction itself; nothing is committed or retried for it then.
    ///
    /// The closure must return the errors of commands: a server aborts a transaction whose command fails. If it returns `Ok`
    /// nevertheless, nothing is committed, and the error is [`CauseCode::TransactionSpoiled`](crate::CauseCode::TransactionSpoiled) with
    /// the ignored error as its source. Use [`Session::start_transaction`] to handle such errors differently.
    ///
    /// # Errors
    /// The error of the closure, among them [`Error::custom`]; that of the commit, as
    /// [`CommitTransaction::run`](crate::CommitTransaction::run) has it; or
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) with the last error as its source, and its labels, if no time is left for a
    /// retry. [`Error::written`] says if the transaction was committed.
    pub fn run<R>(self, work: impl FnMut(&Tx<'_>) -> Result<R>) -> Result<R> {
        let own;
        let session = match self.starter {
            Starter::Session(session) => session,
            Starter::Client(client) => {
                own = client.start_session().run()?;
                &own
            }
        };
        let options = session.client().options();
        let limit = self.timeout.or(session.options().default_timeout);
        let limit = limit.map(|limit| TimeoutMs {
            limit,
            kind: TimeoutKind::Operation,
        });
        let limit = limit.or_else(|| TimeoutMs::of_client(options));
        let mut run = Run {
            session,
            limit,
            retries: Retries::new(Instant::now(), limit, self.attempts),
            on_retry: self.on_retry,
        };
        run.run(self.options, work)
    }
}

/// A transaction that is running.
struct Run<'a> {
    session: &'a Session,
    limit: Option<TimeoutMs>,
    retries: Retries,
    on_retry: Option<Box<OnRetry<'a>>>,
}

/// The end of an attempt that did not commit.
enum Failed {
    /// The transaction may be run again.
    Transient(Error),
    Final(Error),
}

impl Run<'_> {
    fn run<R>(
        &mut self,
        options: TransactionOptions,
        mut work: impl FnMut(&Tx<'_>) -> Result<R>,
    ) -> Result<R> {
        let state = self.session.state();
        let settings = self.session.settings(options);
        loop {
            state.start_transaction(Arc::clone(&settings))?;
            self.retries.begin();
            let _limited = Limited::new(self);
            let error = match self.attempt(&mut work) {
                Ok(value) => return Ok(value),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Transient(error)) => error,
            };
            match self.retries.next(Instant::now(), random::jitter()) {
                Next::Pause(pause) => self.pause(error, pause)?,
                Next::Stop => return Err(error),
                Next::TimedOut(elapsed) => return Err(Error::retries_timed_out(elapsed, error)),
            }
        }
    }

    /// Runs the closure once, and commits.
    fn attempt<R>(&mut self, work: &mut impl FnMut(&Tx<'_>) -> Result<R>) -> Result<R, Failed> {
        let tx = Tx {
            session: self.session,
        };
        let inside = Inside::begin(self.session.client().deployment().sessions);
        let outcome = work(&tx);
        drop(inside);
        let transaction = self.session.state().transaction();
        let is_open = transaction.state().is_open();
        let outcome = outcome.and_then(|value| match transaction.take_failure() {
            Some(failure) if is_open && failure.has_label(TRANSIENT) => Err(failure),
            Some(failure) if is_open => Err(spoiled(failure)),
            _ => Ok(value),
        });
        match outcome {
            Ok(value) if is_open => self.commit().map(|()| value),
            Ok(value) => Ok(value),
            Err(error) => {
                let error = match is_open {
                    true => {
                        self.abort();
                        error.with_written(Written::No)
                    }
                    false => error,
                };
                Err(match error.has_label(TRANSIENT) {
                    true => Failed::Transient(error),
                    false => Failed::Final(error),
                })
            }
        }
    }

    fn commit(&mut self) -> Result<(), Failed> {
        let (client, state) = (self.session.client(), self.session.state());
        loop {
            let limit = match state.transaction().deadline() {
                Some(deadline) => TimeLimit::Until(deadline),
                None => TimeLimit::OfClient,
            };
            let Err(error) = end_transaction::commit(client, state, limit) else {
                return Ok(());
            };
            let is_unknown = error.has_label(UNKNOWN_COMMIT);
            if let Some(elapsed) = self.retries.elapsed(Instant::now()).filter(|_| is_unknown) {
                return Err(Failed::Final(Error::retries_timed_out(elapsed, error)));
            }
            match () {
                () if is_unknown && !error.is_max_time_expired() => {
                    self.report(&self.retries.commit_retry(error));
                }
                () if error.has_label(TRANSIENT) => return Err(Failed::Transient(error)),
                () => return Err(Failed::Final(error)),
            }
        }
    }

    /// Aborts the transaction. Its limit begins again.
    fn abort(&self) {
        let limit = self.limit.map_or(TimeLimit::OfClient, TimeLimit::Of);
        // It is open, and of this client.
        let _ = end_transaction::abort(self.session.client(), self.session.state(), limit);
    }

    /// Reports a retry of the whole transaction, and pauses before it.
    fn pause(&mut self, error: Error, pause: Duration) -> Result<()> {
        let retry = self.retries.retry(error, pause);
        self.report(&retry);
        let client = self.session.client();
        let steps = Steps::new(client.deployment().bounds);
        steps.pause(pause);
        match steps.is_cancelled() {
            true => Err(Error::cancelled(Cancelled::Pause)),
            false => Ok(()),
        }
    }

    fn report(&mut self, retry: &TransactionRetry) {
        warn!(target: "mongotls::transaction", "{retry}");
        let listener = &self.session.client().options().listener;
        if listener.listens_to(EventKind::Transaction) {
            let event = TransactionEvent::Retry(retry.clone());
            listener.emit(&Event::Transaction(event));
        }
        if let Some(on_retry) = &mut self.on_retry {
            on_retry(retry);
        }
    }
}

/// The error for a closure that ignored the failure of a command.
fn spoiled(failure: Error) -> Error {
    let cause = TransactionFailure::Spoiled {
        because: failure.message().to_owned(),
    };
    let error = Error::explained(failure.kind(), cause).with_written(Written::No);
    let error = match failure.server() {
        Some(server) => error.with_server(server),
        None => error,
    };
    error.with_source(failure)
}

/// The deadline of a transaction, while an attempt runs. If the closure panics, the transaction is aborted.
struct Limited<'a>(&'a Session);

impl<'a> Limited<'a> {
    fn new(run: &Run<'a>) -> Self {
        let transaction = run.session.state().transaction();
        transaction.set_deadline(run.retries.deadline());
        Self(run.session)
    }
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        self.0.state().transaction().set_deadline(None);
        if thread::panicking() {
            end_transaction::abort_open(self.0.client(), self.0.state());
        }
    }
}
