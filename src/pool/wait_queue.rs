//! The lock of a pool, and the threads that wait for a connection.
//!
//! Waiting threads are served in the order of arrival. Each thread has its own condition variable, so that exactly
//! the thread that can continue is woken. A thread that frees capacity removes the head of the queue under the lock,
//! and delivers the result after the lock is released. A thread that arrives later never overtakes. A thread whose
//! wait times out leaves the queue under the lock; if it is not in the queue any more, it has been served, and takes
//! the delivered result.
//!
//! The lock guards only the [`State`]: no dial, close or event happens under it. Connections that leave the pool are
//! returned to the caller.

use std::time::{Duration, Instant};

use super::state::{
    CheckOutStep, CloseReason, Closing, Counts, Lease, Limits, Phase, ServiceId, State,
};
use super::sync::{Arc, Condvar, Mutex, MutexGuard};

/// The state of a pool, shared by threads.
#[derive(Debug)]
pub(super) struct WaitQueue<C, H> {
    state: Mutex<LockedState<C, H>>,
    /// Notified when the last connection of a closed pool is returned.
    drained: Condvar,
}

/// The rules of the pool, with the waiting threads of this module.
type LockedState<C, H> = State<C, H, Arc<Waiter<C>>>;

/// Connections that have left the pool, and that the caller must close.
pub(super) type Closed<C> = Vec<Closing<C>>;

/// The result of a check-out.
#[derive(Debug)]
pub(super) enum CheckOut<C> {
    Served(CheckOutStep<C>),
    /// The wait timed out.
    TimedOut(Counts),
    /// The program cancelled the operation that waits.
    Cancelled,
}

/// How long a thread waits, and what else may end its wait.
pub(super) trait Patience<C> {
    /// Ends the registration of the wait when it is dropped.
    type Wait;

    /// The instant at which the wait ends.
    fn deadline(&self) -> Option<Instant>;

    /// Registers a wait that begins now. `counts` has the numbers with the waiting thread.
    fn begin(&self, waiter: &Arc<Waiter<C>>, counts: Counts) -> Self::Wait;

    /// Returns true if the wait must end.
    fn is_cancelled(&self) -> bool;
}

/// A wait that nothing but its deadline ends.
impl<C> Patience<C> for Option<Instant> {
    type Wait = ();

    fn deadline(&self) -> Option<Instant> {
        *self
    }

    fn begin(&self, _: &Arc<Waiter<C>>, _: Counts) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// One waiting thread.
#[derive(Debug)]
pub(super) struct Waiter<C> {
    granted: Mutex<Option<CheckOutStep<C>>>,
    arrived: Condvar,
}

impl<C, H: Clone + Default> WaitQueue<C, H> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::new(State::new(limits)),
            drained: Condvar::new(),
        }
    }

    /// Waits for a connection, or for the right to establish one, as long as `patience` says.
    pub(super) fn check_out(
        &self,
        now: Instant,
        patience: impl Patience<C>,
    ) -> (CheckOut<C>, Closed<C>) {
        let mut state = self.lock();
        let served = state.check_out(now, H::default);
        self.served_or_wait(state, served, false, patience)
    }

    /// Does the same as [`check_out`](Self::check_out) for a thread whose connection turned out to be dead. It stays
    /// first in the queue.
    pub(super) fn check_out_instead(
        &self,
        dead: Lease,
        connection: C,
        now: Instant,
        patience: impl Patience<C>,
    ) -> (CheckOut<C>, Closed<C>) {
        let mut state = self.lock();
        let served = state.check_out_instead(dead, connection, now, H::default);
        self.notify_if_drained(&state);
        self.served_or_wait(state, served, true, patience)
    }

    /// Does the same as [`check_out`](Self::check_out) for a thread that could not establish a connection because of
    /// a limit of this host. It stays first in the queue. Returns `None` if there is no other connection to wait for.
    pub(super) fn check_out_another(
        &self,
        now: Instant,
        patience: impl Patience<C>,
    ) -> Option<(CheckOut<C>, Closed<C>)> {
        let mut state = self.lock();
        let served = state.check_out_another(now, H::default)?;
        Some(self.served_or_wait(state, served, true, patience))
    }

    /// Records that this host can establish no more connections for now.
    pub(super) fn hold(&self, now: Instant) {
        self.lock().hold(now);
    }

    /// Returns a lease for a connection in the background, if one is needed.
    pub(super) fn populate(&self, now: Instant) -> Option<Lease> {
        self.lock().populate(now, H::default)
    }

    /// Returns the handle of a connection that is being established.
    pub(super) fn handle(&self, lease: Lease) -> Option<H> {
        self.lock().handle(lease)
    }

    /// Records the service that a connection leads to; see [`State::serves`].
    pub(super) fn serves(&self, lease: Lease, service: ServiceId) {
        self.lock().serves(lease, service);
    }

    /// Records that a connection is established; it is in use by its thread.
    pub(super) fn established(&self, lease: Lease, now: Instant) -> Closed<C> {
        self.act(now, |state| state.established(lease, now)).1
    }

    /// Records that a connection was established in the background; it is available.
    pub(super) fn populated(&self, lease: Lease, connection: C, now: Instant) -> Closed<C> {
        let change = |state: &mut LockedState<C, H>| {
            state.established(lease, now);
            state.check_in(lease, connection, false, now);
        };
        self.act(now, change).1
    }

    /// Records that a connection could not be established.
    pub(super) fn failed(&self, lease: Lease, reason: CloseReason, now: Instant) -> Closed<C> {
        self.act(now, |state| state.failed(lease, reason)).1
    }

    /// Returns a connection to the pool.
    pub(super) fn check_in(
        &self,
        lease: Lease,
        connection: C,
        perished: bool,
        now: Instant,
    ) -> Closed<C> {
        self.act(now, |state| {
            state.check_in(lease, connection, perished, now)
        })
        .1
    }

    /// Marks the pool ready, and returns true if it was paused.
    pub(super) fn ready(&self) -> bool {
        self.lock().ready()
    }

    /// Allows connections to be established in the background.
    pub(super) fn allow_populating(&self) {
        self.lock().allow_populating();
    }

    /// Clears the pool; see [`State::clear`]. The caller sends the event, and then calls [`wake`](Self::wake) to
    /// notify the waiting threads. With `only`, nothing happens if that connection is already stale.
    pub(super) fn clear(
        &self,
        only: Option<Lease>,
        pause: bool,
        interrupt: bool,
    ) -> Option<Cleared<C, H>> {
        let mut state = self.lock();
        if only.is_some_and(|lease| state.is_stale(lease)) {
            return None;
        }
        let (was_ready, interrupted) = state.clear(pause, interrupt);
        let closed = state.take_closing();
        Some(Cleared {
            was_ready,
            interrupted,
            closed,
        })
    }

    /// Clears one service; see [`State::clear_service`]. Returns `None` if the connection is already stale.
    pub(super) fn clear_service(
        &self,
        only: Lease,
        service: &ServiceId,
        now: Instant,
    ) -> Option<Closed<C>> {
        let (cleared, closed) = self.act(now, |state| {
            !state.is_stale(only) && state.clear_service(service)
        });
        cleared.then_some(closed)
    }

    /// Serves the waiting threads, as far as that is possible now.
    pub(super) fn wake(&self, now: Instant) -> Closed<C> {
        self.act(now, |_| ()).1
    }

    /// Closes the pool; see [`clear`](Self::clear) for the waiting threads. Returns `None` if it was already closed.
    pub(super) fn close(&self) -> Option<Cleared<C, H>> {
        let mut state = self.lock();
        let was_ready = state.phase() == Phase::Ready;
        let (is_new, interrupted) = state.close_pool();
        let closed = state.take_closing();
        is_new.then_some(Cleared {
            was_ready,
            interrupted,
            closed,
        })
    }

    /// Waits until no connection of a closed pool is in use or being established, or until `deadline`. Returns the
    /// connections that are still in use, and the time of their check-out.
    pub(super) fn drain(&self, deadline: Option<Instant>) -> Vec<(u64, Instant)> {
        let mut state = self.lock();
        loop {
            let counts = state.counts();
            let remaining =
                deadline.map(|deadline| deadline.saturating_duration_since(super::sync::now()));
            if counts.in_use + counts.pending == 0 || remaining.is_some_and(|left| left.is_zero()) {
                return state.in_use().collect();
            }
            state = self.drained.wait(state, remaining);
        }
    }

    /// Closes the connections that have been idle for too long, and returns the time of the next check.
    pub(super) fn close_idle(&self, now: Instant) -> (Option<Instant>, Closed<C>) {
        self.act(now, |state| state.close_idle(now))
    }

    /// Calls `act`, which must be quick, with each connection that has been available for longer than `limit`.
    pub(super) fn each_idle_for(&self, limit: Duration, now: Instant, act: impl FnMut(&mut C)) {
        self.lock().each_idle_for(limit, now, act);
    }

    /// Returns true if a connection is stale.
    pub(super) fn is_stale(&self, lease: Lease) -> bool {
        self.lock().is_stale(lease)
    }

    pub(super) fn counts(&self) -> (Phase, u64, Counts) {
        let state = self.lock();
        (state.phase(), state.generation(), state.counts())
    }

    /// Returns the available connections, if no thread holds the lock. Used in a forked child, whose parent may have
    /// held it.
    pub(super) fn abandon(&self) -> Closed<C> {
        let Some(mut state) = self.state.try_lock() else {
            return Vec::new();
        };
        let (_, _) = state.close_pool();
        state.take_closing()
    }

    fn served_or_wait(
        &self,
        mut state: MutexGuard<'_, LockedState<C, H>>,
        served: Option<CheckOutStep<C>>,
        first: bool,
        patience: impl Patience<C>,
    ) -> (CheckOut<C>, Closed<C>) {
        let closed = state.take_closing();
        if let Some(outcome) = served {
            return (CheckOut::Served(outcome), closed);
        }
        let waiter = Arc::new(Waiter::default());
        let ticket = state.enqueue(Arc::clone(&waiter), first);
        let counts = state.counts();
        drop(state);
        let wait = patience.begin(&waiter, counts);
        let outcome = waiter.wait(patience.deadline(), || patience.is_cancelled());
        drop(wait);
        if let Some(outcome) = outcome {
            return (CheckOut::Served(outcome), closed);
        }
        let mut state = self.lock();
        let counts = state.counts();
        let was_waiting = state.leave(ticket);
        drop(state);
        let unserved = || match patience.is_cancelled() {
            true => CheckOut::Cancelled,
            false => CheckOut::TimedOut(counts),
        };
        if was_waiting {
            return (unserved(), closed);
        }
        // The thread that removed this one from the queue is about to deliver.
        let outcome = waiter.wait(None, || false);
        (outcome.map_or_else(unserved, CheckOut::Served), closed)
    }

    /// Changes the state, and serves the head of the queue with the freed capacity.
    fn act<R>(
        &self,
        now: Instant,
        change: impl FnOnce(&mut LockedState<C, H>) -> R,
    ) -> (R, Closed<C>) {
        let mut state = self.lock();
        let result = change(&mut state);
        let mut next = || state.next_grant(now, H::default);
        let first = next();
        // There is seldom more than one; then nothing is allocated.
        let others: Vec<_> = match first {
            Some(_) => std::iter::from_fn(next).collect(),
            None => Vec::new(),
        };
        let closed = state.take_closing();
        self.notify_if_drained(&state);
        drop(state);
        if let Some((waiter, outcome)) = first {
            waiter.deliver(outcome);
            for (waiter, outcome) in others {
                waiter.deliver(outcome);
            }
        }
        (result, closed)
    }

    fn notify_if_drained(&self, state: &LockedState<C, H>) {
        let counts = state.counts();
        if counts.in_use + counts.pending == 0 && state.phase() == Phase::Closed {
            self.drained.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, LockedState<C, H>> {
        self.state.lock()
    }
}

/// The result of clearing or closing the pool.
#[derive(Debug)]
pub(super) struct Cleared<C, H> {
    /// True if the pool served check-outs before.
    pub(super) was_ready: bool,
    /// The connections that must be interrupted: those that are being established and, if the pool was cleared with
    /// an interruption, those in use.
    pub(super) interrupted: Vec<H>,
    pub(super) closed: Closed<C>,
}

impl<C> Default for Waiter<C> {
    fn default() -> Self {
        Self {
            granted: Mutex::new(None),
            arrived: Condvar::new(),
        }
    }
}

impl<C> Waiter<C> {
    fn deliver(&self, outcome: CheckOutStep<C>) {
        *self.granted.lock() = Some(outcome);
        self.arrived.notify_one();
    }

    /// Lets the waiting thread look again if its wait must end.
    pub(super) fn notify(&self) {
        drop(self.granted.lock());
        self.arrived.notify_one();
    }

    /// Waits for the delivered result. Returns `None` if the deadline passes first, or if the wait is cancelled.
    fn wait(
        &self,
        deadline: Option<Instant>,
        is_cancelled: impl Fn() -> bool,
    ) -> Option<CheckOutStep<C>> {
        let mut granted = self.granted.lock();
        loop {
            if let Some(outcome) = granted.take() {
                return Some(outcome);
            }
            if is_cancelled() {
                return None;
            }
            let left = match deadline {
                Some(deadline) => Some(deadline.checked_duration_since(super::sync::now())?),
                None => None,
            };
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            granted = self.arrived.wait(granted, left);
        }
    }
}
