//! The check-out of a connection (CMAP, "Checking Out a Connection"): an available one, a new one, or the wait for one.

use std::sync::Arc;
use std::time::Instant;

use super::guard::PooledConnection;
use super::state::{CheckOutRefusal, CheckOutStep, Counts, Lease};
use super::wait_queue::{CheckOut, Patience, Waiter};
use super::{Dial, Pool, Pooled};
use crate::cancel::{Registration, Wake};
use crate::data::timing::PoolLoad;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, ConnectionCheckOutFailedReason, PoolEventKind};
use crate::reason::cancel::Cancelled;
use crate::steps::Steps;
use crate::time::{Deadline, TimeoutKind};

impl<D: Dial> Pool<D> {
    /// Checks out an available connection, or a new one if there is capacity, or whichever comes first.
    ///
    /// `deadline` limits the wait and, with `connectTimeoutMS`, the time for establishing a new connection. The wait is
    /// also limited by `waitQueueTimeoutMS`, unless `deadline` comes from `timeoutMS`. `steps` are those of the operation,
    /// which may be cancelled.
    pub(crate) fn check_out_for(
        self: &Arc<Self>,
        deadline: Option<Deadline>,
        steps: &Steps<'_>,
    ) -> Result<PooledConnection<D>> {
        if self.is_inherited() {
            return Err(Error::of_the_parent().with_server(&self.server));
        }
        self.follow_ready();
        let started = Instant::now();
        self.emit(|| PoolEventKind::ConnectionCheckOutStarted);
        let in_progress = CheckOutInProgress {
            pool: self,
            started,
        };
        let outcome = self.wait_for_connection(started, deadline, steps);
        std::mem::forget(in_progress);
        match &outcome {
            Ok(connection) => self.emit(|| PoolEventKind::ConnectionCheckedOut {
                connection_id: connection.lease.id,
                duration: started.elapsed(),
            }),
            Err((reason, error)) => self.emit(|| PoolEventKind::ConnectionCheckOutFailed {
                reason: *reason,
                error: error.clone(),
                duration: started.elapsed(),
            }),
        }
        outcome.map_err(|(_, error)| error)
    }

    /// Checks out a connection outside of any operation.
    #[cfg(any(test, feature = "_internals"))]
    pub(crate) fn check_out(
        self: &Arc<Self>,
        deadline: Option<Deadline>,
    ) -> Result<PooledConnection<D>> {
        self.check_out_for(deadline, &Steps::default())
    }

    fn wait_for_connection(
        self: &Arc<Self>,
        started: Instant,
        deadline: Option<Deadline>,
        steps: &Steps<'_>,
    ) -> Result<PooledConnection<D>, (ConnectionCheckOutFailedReason, Error)> {
        let own = || Deadline::after(started, self.wait_queue_timeout, TimeoutKind::WaitQueue);
        let wait_deadline = event::within_listener_limit(Deadline::of_step(own, deadline), started);
        let patience = || WaitInQueue {
            deadline: wait_deadline.at(),
            steps,
            max_size: self.max_size,
        };
        let (mut outcome, closed) = self.queue.check_out(started, patience());
        event::listener_waited(started);
        self.close_all(closed);
        // The clock is not read again: a connection that a thread has waited for was in use meanwhile.
        let mut now = started;
        // The error of this thread if it could not establish a connection because of a limit of this host.
        let mut beyond_limit = None;
        loop {
            match outcome {
                CheckOut::Served(CheckOutStep::Reuse(lease, mut connection, since)) => {
                    if now.duration_since(since) < self.checked_when_idle_for
                        || connection.is_open()
                    {
                        return Ok(self.guard(lease, connection, false));
                    }
                    now = Instant::now();
                    let (next, closed) =
                        self.queue
                            .check_out_instead(lease, connection, now, patience());
                    self.close_all(closed);
                    self.wake_maintenance();
                    outcome = next;
                }
                CheckOut::Served(CheckOutStep::Establish(lease)) => {
                    let error = match self.establish_for(lease, deadline, steps) {
                        Ok(connection) => {
                            self.close_all(self.queue.established(lease, Instant::now()));
                            return Ok(self.guard(lease, connection, true));
                        }
                        Err(error) => error,
                    };
                    now = Instant::now();
                    let another = match error.is_local_limit() {
                        true => self.queue.check_out_another(now, patience()),
                        false => None,
                    };
                    let Some((next, closed)) = another else {
                        return Err((failure_reason(&error), error));
                    };
                    self.close_all(closed);
                    outcome = next;
                    beyond_limit = Some(error);
                }
                CheckOut::Served(CheckOutStep::Refused(CheckOutRefusal::Closed)) => {
                    let error = Error::client_closed().with_server(&self.server);
                    return Err((ConnectionCheckOutFailedReason::PoolClosed, error));
                }
                CheckOut::Served(CheckOutStep::Refused(CheckOutRefusal::Paused)) => {
                    let error = Error::pool_cleared(self.cleared_by()).with_server(&self.server);
                    return Err((ConnectionCheckOutFailedReason::ConnectionError, error));
                }
                CheckOut::Cancelled => {
                    let error = Error::cancelled(Cancelled::CheckOut).with_server(&self.server);
                    return Err((ConnectionCheckOutFailedReason::ConnectionError, error));
                }
                CheckOut::TimedOut(counts) => {
                    if let Some(error) = beyond_limit {
                        return Err((ConnectionCheckOutFailedReason::Timeout, error));
                    }
                    let error = self.waited_too_long(&wait_deadline, counts);
                    let error = error.with_server(&self.server);
                    return Err((ConnectionCheckOutFailedReason::Timeout, error));
                }
            }
        }
    }

    fn guard(
        self: &Arc<Self>,
        lease: Lease,
        connection: D::Connection,
        is_new: bool,
    ) -> PooledConnection<D> {
        PooledConnection {
            pool: Arc::clone(self),
            connection: Some(connection),
            lease,
            is_new,
            pinned_by: None,
            home: None,
        }
    }

    /// Creates the error for a check-out that timed out. It describes what the pool was busy with.
    fn waited_too_long(&self, deadline: &Deadline, counts: Counts) -> Error {
        if let Some(max_pool_size) = self.load_balanced_size {
            let uses = self.pins.describe(max_pool_size, counts);
            return Error::load_balanced_wait_queue_timeout(deadline.elapsed(), &uses);
        }
        let Counts {
            in_use,
            pending,
            waiting,
            ..
        } = counts;
        let others = waiting.saturating_sub(1);
        Error::wait_queue_timeout(
            deadline.elapsed(),
            &format!(
                "{in_use} in use, {pending} being established, {others} other threads waiting"
            ),
        )
    }
}

/// The wait of an operation in the queue.
struct WaitInQueue<'a> {
    deadline: Option<Instant>,
    steps: &'a Steps<'a>,
    /// `maxPoolSize`, or `None` for no limit.
    max_size: Option<usize>,
}

/// Ends a wait in the queue when it is dropped.
struct RegisteredWait<'a> {
    steps: &'a Steps<'a>,
    started: Instant,
    _registered: Vec<Registration>,
}

impl<'a, C: Send + 'static> Patience<C> for WaitInQueue<'a> {
    type Wait = RegisteredWait<'a>;

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn begin(&self, waiter: &Arc<Waiter<C>>, counts: Counts) -> RegisteredWait<'a> {
        self.steps.found_pool_busy(PoolLoad {
            max_pool_size: self.max_size,
            waiting: counts.waiting,
        });
        RegisteredWait {
            steps: self.steps,
            started: Instant::now(),
            _registered: self.steps.register(|| Arc::clone(waiter) as _),
        }
    }

    fn is_cancelled(&self) -> bool {
        self.steps.is_cancelled()
    }
}

impl Drop for RegisteredWait<'_> {
    fn drop(&mut self) {
        self.steps.waited_for_connection(self.started);
    }
}

impl<C: Send> Wake for Waiter<C> {
    fn wake(&self) {
        self.notify();
    }
}

/// A check-out in progress. Dropping it, as when the dial panics, reports that the check-out failed.
struct CheckOutInProgress<'a, D: Dial> {
    pool: &'a Pool<D>,
    started: Instant,
}

impl<D: Dial> Drop for CheckOutInProgress<'_, D> {
    fn drop(&mut self) {
        let message = "the attempt to establish a connection panicked";
        self.pool.emit(|| PoolEventKind::ConnectionCheckOutFailed {
            reason: ConnectionCheckOutFailedReason::ConnectionError,
            error: Error::new(ErrorKind::Network, message).with_server(&self.pool.server),
            duration: self.started.elapsed(),
        });
    }
}

/// Returns the reason for the event of a check-out that failed to establish a connection.
fn failure_reason(error: &Error) -> ConnectionCheckOutFailedReason {
    match error.kind() {
        ErrorKind::ClientClosed => ConnectionCheckOutFailedReason::PoolClosed,
        _ => ConnectionCheckOutFailedReason::ConnectionError,
    }
}
