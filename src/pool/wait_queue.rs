//! The lock of a pool, and the threads that wait for a connection.
//!
//! Waiting threads are served in the order of their arrival, and each has a condition of its own, so that
//! exactly the one is woken that has something to do. Whoever gives capacity back takes the head of the queue
//! off under the lock and hands it what it gets after the lock is released; a thread that arrives later never
//! overtakes. A thread whose time is up leaves the queue under the lock; if it is not there any more, it has
//! been served, and takes what it was given.
//!
//! The lock guards the [`State`] and nothing else: no dial, no close, no event happens under it. What leaves
//! the pool is returned to the caller.

use std::time::Instant;

use super::state::{Closing, Counts, Lease, Limits, Outcome, Phase, Reason, ServiceId, State};
use super::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The state of a pool, shared by threads.
#[derive(Debug)]
pub(super) struct WaitQueue<C, H> {
    state: Mutex<Locked<C, H>>,
    /// Told when the last connection of a closed pool is given back.
    drained: Condvar,
}

/// The rules, with the threads that wait as they are here.
type Locked<C, H> = State<C, H, Arc<Waiter<C>>>;

/// What has left the pool, to be closed by the caller.
pub(super) type Closed<C, H> = Vec<Closing<C, H>>;

/// What a check-out came to.
#[derive(Debug)]
pub(super) enum CheckOut<C> {
    Served(Outcome<C>),
    /// The time was up.
    TimedOut(Counts),
}

/// One waiting thread.
#[derive(Debug)]
pub(super) struct Waiter<C> {
    granted: Mutex<Option<Outcome<C>>>,
    arrived: Condvar,
}

impl<C, H: Clone + Default> WaitQueue<C, H> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::new(State::new(limits)),
            drained: Condvar::new(),
        }
    }

    /// Waits for a connection, or for the right to establish one, until `deadline`.
    pub(super) fn check_out(
        &self,
        now: Instant,
        deadline: Option<Instant>,
    ) -> (CheckOut<C>, Closed<C, H>) {
        let mut state = self.lock();
        let served = state.check_out(now, H::default);
        self.served_or_wait(state, served, false, deadline)
    }

    /// As [`check_out`](Self::check_out), for a thread that was given a connection which turned out to be dead;
    /// it stays the first in the queue.
    pub(super) fn check_out_instead(
        &self,
        dead: Lease,
        connection: C,
        now: Instant,
        deadline: Option<Instant>,
    ) -> (CheckOut<C>, Closed<C, H>) {
        let mut state = self.lock();
        let served = state.check_out_instead(dead, connection, now, H::default);
        self.notify_if_drained(&state);
        self.served_or_wait(state, served, true, deadline)
    }

    /// As [`check_out`](Self::check_out), for a thread that could not establish a connection because of a limit of this
    /// host; it stays the first in the queue. Returns `None` if there is no other connection to wait for.
    pub(super) fn check_out_another(
        &self,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Option<(CheckOut<C>, Closed<C, H>)> {
        let mut state = self.lock();
        let served = state.check_out_another(now, H::default)?;
        Some(self.served_or_wait(state, served, true, deadline))
    }

    /// This host can establish no more connections for now.
    pub(super) fn hold(&self, now: Instant) {
        self.lock().hold(now);
    }

    /// A place for a connection in the background, if one is wanted.
    pub(super) fn populate(&self, now: Instant) -> Option<Lease> {
        self.lock().populate(now, H::default)
    }

    /// The handle of a connection that is being established; none if the pool has taken its place away.
    pub(super) fn handle(&self, lease: Lease) -> Option<H> {
        self.lock().handle(lease)
    }

    /// A connection is established, and is its thread's.
    pub(super) fn established(
        &self,
        lease: Lease,
        service: Option<ServiceId>,
        now: Instant,
    ) -> Closed<C, H> {
        self.act(now, |state| state.established(lease, service, now))
            .1
    }

    /// A connection was established in the background, and is available.
    pub(super) fn populated(
        &self,
        lease: Lease,
        connection: C,
        service: Option<ServiceId>,
        now: Instant,
    ) -> Closed<C, H> {
        let change = |state: &mut Locked<C, H>| {
            state.established(lease, service, now);
            state.check_in(lease, connection, false, now);
        };
        self.act(now, change).1
    }

    /// A connection could not be established.
    pub(super) fn failed(&self, lease: Lease, reason: Reason, now: Instant) -> Closed<C, H> {
        self.act(now, |state| state.failed(lease, reason)).1
    }

    /// A connection comes back.
    pub(super) fn check_in(
        &self,
        lease: Lease,
        connection: C,
        perished: bool,
        now: Instant,
    ) -> Closed<C, H> {
        self.act(now, |state| {
            state.check_in(lease, connection, perished, now)
        })
        .1
    }

    /// Marks the pool ready; true if it was paused.
    pub(super) fn ready(&self) -> bool {
        self.lock().ready()
    }

    /// Allows connections to be made in the background.
    pub(super) fn allow_populating(&self) {
        self.lock().allow_populating();
    }

    /// See [`State::clear`]. The waiting threads are told by [`wake`](Self::wake), which the caller calls after
    /// it has told the program; with `only`, nothing happens if that connection is out of date already.
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
        let (was_ready, dials) = state.clear(pause, interrupt);
        let closed = state.take_closing();
        Some(Cleared {
            was_ready,
            dials,
            closed,
        })
    }

    /// See [`State::clear_service`]; none if the connection is out of date already.
    pub(super) fn clear_service(
        &self,
        only: Lease,
        service: &ServiceId,
        now: Instant,
    ) -> Option<Closed<C, H>> {
        let (cleared, closed) = self.act(now, |state| {
            !state.is_stale(only) && state.clear_service(service)
        });
        cleared.then_some(closed)
    }

    /// Serves the threads that wait, as far as that is possible now.
    pub(super) fn wake(&self, now: Instant) -> Closed<C, H> {
        self.act(now, |_| ()).1
    }

    /// Closes the pool; see [`clear`](Self::clear) for the waiting threads. None if it was closed.
    pub(super) fn close(&self) -> Option<Cleared<C, H>> {
        let mut state = self.lock();
        let was_ready = state.phase() == Phase::Ready;
        let (is_new, dials) = state.close_pool();
        let closed = state.take_closing();
        is_new.then_some(Cleared {
            was_ready,
            dials,
            closed,
        })
    }

    /// Waits until nothing of a closed pool is in use or being established, or `deadline` has passed; returns
    /// what is still in use, and since when.
    pub(super) fn drain(&self, deadline: Option<Instant>) -> Vec<(u64, Instant)> {
        let mut state = self.lock();
        loop {
            let counts = state.counts();
            let left =
                deadline.map(|deadline| deadline.saturating_duration_since(super::sync::now()));
            if counts.in_use + counts.pending == 0 || left.is_some_and(|left| left.is_zero()) {
                return state.in_use().collect();
            }
            state = match left {
                Some(left) => {
                    self.drained
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .drained
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Closes what has been idle for too long; returns when to look again.
    pub(super) fn close_idle(&self, now: Instant) -> (Option<Instant>, Closed<C, H>) {
        self.act(now, |state| state.close_idle(now))
    }

    /// Whether a connection is out of date.
    pub(super) fn is_stale(&self, lease: Lease) -> bool {
        self.lock().is_stale(lease)
    }

    pub(super) fn counts(&self) -> (Phase, u64, Counts) {
        let state = self.lock();
        (state.phase(), state.generation(), state.counts())
    }

    /// What is available, if nobody holds the lock: in a forked child, whose parent may have held it.
    pub(super) fn abandon(&self) -> Closed<C, H> {
        let Ok(mut state) = self.state.try_lock() else {
            return Vec::new();
        };
        let (_, _) = state.close_pool();
        state.take_closing()
    }

    fn served_or_wait(
        &self,
        mut state: MutexGuard<'_, Locked<C, H>>,
        served: Option<Outcome<C>>,
        first: bool,
        deadline: Option<Instant>,
    ) -> (CheckOut<C>, Closed<C, H>) {
        let closed = state.take_closing();
        if let Some(outcome) = served {
            return (CheckOut::Served(outcome), closed);
        }
        let waiter = Arc::new(Waiter::default());
        let ticket = state.enqueue(Arc::clone(&waiter), first);
        drop(state);
        if let Some(outcome) = waiter.wait(deadline) {
            return (CheckOut::Served(outcome), closed);
        }
        let mut state = self.lock();
        let counts = state.counts();
        let left = state.leave(ticket);
        drop(state);
        if left {
            return (CheckOut::TimedOut(counts), closed);
        }
        // Whoever took this thread off the queue is about to deliver.
        let outcome = waiter.wait(None);
        (
            outcome.map_or(CheckOut::TimedOut(counts), CheckOut::Served),
            closed,
        )
    }

    /// Changes the state, and serves the head of the queue with what that has freed.
    fn act<R>(
        &self,
        now: Instant,
        change: impl FnOnce(&mut Locked<C, H>) -> R,
    ) -> (R, Closed<C, H>) {
        let mut state = self.lock();
        let result = change(&mut state);
        let mut next = || state.next_grant(now, H::default);
        let first = next();
        // Seldom more than one: then nothing is allocated.
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

    fn notify_if_drained(&self, state: &Locked<C, H>) {
        let counts = state.counts();
        if counts.in_use + counts.pending == 0 && state.phase() == Phase::Closed {
            self.drained.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Locked<C, H>> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a clear or a close has done.
#[derive(Debug)]
pub(super) struct Cleared<C, H> {
    /// Whether the pool served check-outs before.
    pub(super) was_ready: bool,
    /// What is being established, to be cut off.
    pub(super) dials: Vec<H>,
    pub(super) closed: Closed<C, H>,
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
    fn deliver(&self, outcome: Outcome<C>) {
        *self.granted.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.arrived.notify_one();
    }

    /// What was delivered; none if the deadline has passed before.
    fn wait(&self, deadline: Option<Instant>) -> Option<Outcome<C>> {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(outcome) = granted.take() {
                return Some(outcome);
            }
            granted = match deadline {
                Some(deadline) => {
                    let left = deadline.checked_duration_since(super::sync::now())?;
                    if left.is_zero() {
                        return None;
                    }
                    self.arrived
                        .wait_timeout(granted, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .arrived
                    .wait(granted)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}
