//! Connections to one server, shared by threads.
//!
//! A thread checks a connection out, is alone with it, and checks it in by dropping the guard. What is
//! available is handed out newest first, so that connections beyond what the load needs grow old; who must wait
//! is served in the order of arrival. The rules are a plain value (`state.rs`), the lock around it and the
//! waiting threads are in `wait_queue.rs`, and this file does what may take time: it dials, closes, and tells
//! the program, always with the lock released. `maintenance.rs` is the thread in the background, which exists
//! only where the options give it work.
//!
//! A pool begins paused and serves check-outs once it is [`ready`](Pool::ready). Each connection has the pool's
//! generation of when it was created; [`clear`](Pool::clear) raises the generation and pauses the pool, so that
//! a server that was restarted costs one failed command, not one for each connection.
//!
//! Source: CMAP.

mod dial;
mod guard;
mod maintenance;
mod state;
mod wait_queue;

/// What the wait queue is built on. The model test puts its own in this place.
mod sync {
    pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

    pub(super) fn now() -> std::time::Instant {
        std::time::Instant::now()
    }
}

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use log::{Level, log_enabled};

#[cfg(any(test, feature = "_internals"))]
pub(crate) use self::dial::Alone;
pub(crate) use self::dial::{Dial, Pooled};
pub(crate) use self::guard::PooledConnection;
use self::maintenance::Maintenance;
pub(crate) use self::state::Lease;
use self::state::{Closing, Counts, Limits, Outcome, Phase, Reason, Refusal};
use self::wait_queue::{CheckOut, Cleared, Closed, WaitQueue};
use crate::address::ServerAddress;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{
    self, ConnectionCheckOutFailedReason, ConnectionClosedReason, Event, EventKind, EventListener,
    PoolEvent, PoolEventKind, PoolOptions,
};
use crate::ffi::fork;
use crate::logging::debug;
use crate::options::ClientOptions;
use crate::socket::Interrupt;
use crate::time::{Deadline, TimeoutKind};

/// The pool of one server.
#[derive(Debug)]
pub(crate) struct Pool<D: Dial> {
    server: ServerAddress,
    dialer: Arc<D>,
    queue: WaitQueue<D::Connection, Arc<Interrupt>>,
    wait_queue_timeout: Option<Duration>,
    listener: EventListener,
    maintenance: Option<Maintenance>,
    checked_when_idle_for: Duration,
    /// The error for which the pool was cleared last.
    cleared_by: Mutex<Option<Error>>,
    /// What the program is told of the options.
    told: PoolOptions,
    /// Whether the program knows of the pool.
    is_announced: AtomicBool,
    /// Whether the pool is ready and the program does not know yet.
    is_ready_untold: AtomicBool,
    /// How often the process had forked when the pool was made.
    forks: u64,
}

/// How a pool is made.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    limits: Limits,
    wait_queue_timeout: Option<Duration>,
    listener: EventListener,
    told: PoolOptions,
    /// How often the maintenance looks after the pool at least; none for never.
    pub(crate) maintenance_interval: Option<Duration>,
    /// How long a connection may be unused and still be handed out without a look at its socket.
    checked_when_idle_for: Duration,
}

impl Settings {
    pub(crate) fn new(options: &ClientOptions) -> Self {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let unless = |value: u32, default: u32| (value != default).then_some(value);
        Self {
            limits: Limits {
                // 0 means no limit.
                max_size: match options.max_pool_size {
                    0 => usize::MAX,
                    size => count(size),
                },
                min_size: count(options.min_pool_size),
                max_connecting: count(options.max_connecting),
                max_idle_time: options.max_idle_time,
            },
            wait_queue_timeout: options.wait_queue_timeout,
            listener: options.listener.clone(),
            told: PoolOptions {
                max_pool_size: unless(options.max_pool_size, 100),
                min_pool_size: unless(options.min_pool_size, 0),
                max_connecting: unless(options.max_connecting, 2),
                max_idle_time: options.max_idle_time,
                wait_queue_timeout: options.wait_queue_timeout,
            },
            maintenance_interval: Some(maintenance::INTERVAL),
            checked_when_idle_for: CHECKED_WHEN_IDLE_FOR,
        }
    }
}

impl<D: Dial> Pool<D> {
    /// An empty pool, paused. The program does not know of it before it is [announced](Self::announce).
    pub(crate) fn new(server: ServerAddress, dialer: Arc<D>, settings: Settings) -> Arc<Self> {
        let Settings {
            limits,
            wait_queue_timeout,
            listener,
            told,
            maintenance_interval,
            checked_when_idle_for,
        } = settings;
        let has_work = limits.min_size > 0 || limits.max_idle_time.is_some();
        let maintenance = maintenance_interval.filter(|_| has_work).map(|interval| {
            Maintenance::new(
                limits
                    .max_idle_time
                    .map_or(interval, |idle| interval.min(idle)),
            )
        });
        Arc::new(Self {
            server,
            dialer,
            queue: WaitQueue::new(limits),
            wait_queue_timeout,
            listener,
            maintenance,
            checked_when_idle_for,
            cleared_by: Mutex::new(None),
            told,
            is_announced: AtomicBool::new(false),
            is_ready_untold: AtomicBool::new(false),
            forks: fork::count(),
        })
    }

    /// Tells the program that there is the pool: once whoever made it is ready for the program's function to use it.
    pub(crate) fn announce(&self) {
        self.is_announced.store(true, Ordering::Relaxed);
        self.tell(|| PoolEventKind::Created {
            options: self.told.clone(),
        });
    }

    /// Lets the pool serve check-outs, unless it is closed.
    #[cfg(any(test, feature = "_internals"))]
    pub(crate) fn ready(self: &Arc<Self>) {
        if self.mark_ready() {
            self.follow_ready();
        }
    }

    /// The first half of making the pool ready: it serves from now on. Nothing that takes time, for a caller that
    /// holds a lock; true if the pool was paused, and then the caller does the [rest](Self::follow_ready) without
    /// the lock.
    pub(crate) fn mark_ready(&self) -> bool {
        let was_paused = self.queue.ready();
        if was_paused {
            self.is_ready_untold.store(true, Ordering::Release);
        }
        was_paused
    }

    /// The second half, unless it is done: tells the program, and lets the thread in the background begin. A check-out
    /// may come before whoever made the pool ready gets to it.
    pub(crate) fn follow_ready(self: &Arc<Self>) {
        let is_untold = self.is_ready_untold.load(Ordering::Acquire);
        if !is_untold || !self.is_ready_untold.swap(false, Ordering::AcqRel) {
            return;
        }
        self.tell(|| PoolEventKind::Ready);
        // Not before the program knows: it must not see connections made in a pool that is not ready.
        self.queue.allow_populating();
        if let Some(maintenance) = &self.maintenance {
            maintenance.start(self);
            maintenance.wake();
        }
    }

    /// Starts the thread in the background if it should be there and could not be started before.
    pub(crate) fn maintain(self: &Arc<Self>) {
        let (phase, ..) = self.queue.counts();
        if let (Some(maintenance), Phase::Ready) = (&self.maintenance, phase) {
            maintenance.start(self);
        }
    }

    /// A connection that is available, or a new one if there is room, or whichever comes first.
    ///
    /// The wait is limited by `waitQueueTimeoutMS` and by `deadline`, the time to establish a new connection by
    /// `connectTimeoutMS` and by `deadline`.
    pub(crate) fn check_out(
        self: &Arc<Self>,
        deadline: Option<Deadline>,
    ) -> Result<PooledConnection<D>> {
        if self.is_inherited() {
            return Err(Error::of_the_parent().with_server(&self.server));
        }
        self.follow_ready();
        let started = Instant::now();
        self.tell(|| PoolEventKind::ConnectionCheckOutStarted);
        let asked = Asked {
            pool: self,
            started,
        };
        let outcome = self.find(started, deadline);
        std::mem::forget(asked);
        match &outcome {
            Ok(connection) => self.tell(|| PoolEventKind::ConnectionCheckedOut {
                connection_id: connection.lease.id,
                duration: started.elapsed(),
            }),
            Err((reason, error)) => self.tell(|| PoolEventKind::ConnectionCheckOutFailed {
                reason: *reason,
                error: error.clone(),
                duration: started.elapsed(),
            }),
        }
        outcome.map_err(|(_, error)| error)
    }

    fn find(
        self: &Arc<Self>,
        started: Instant,
        deadline: Option<Deadline>,
    ) -> Result<PooledConnection<D>, (ConnectionCheckOutFailedReason, Error)> {
        let own = Deadline::after(started, self.wait_queue_timeout, TimeoutKind::WaitQueue);
        let mut waiting = deadline.map_or(own, |deadline| deadline.earlier(own));
        let of_listener = event::listener_deadline(started);
        if let Some(deadline) = of_listener {
            waiting = waiting.earlier(deadline);
        }
        let (mut outcome, closed) = self.queue.check_out(started, waiting.at());
        if of_listener.is_some() {
            event::listener_waited(started);
        }
        self.close_all(closed);
        // Not the clock again: what a thread has waited for was in use meanwhile.
        let mut now = started;
        // The limit of this host for which this thread could not establish a connection, if any.
        let mut beyond_limit = None;
        loop {
            match outcome {
                CheckOut::Served(Outcome::Reuse(lease, mut connection, since)) => {
                    if now.duration_since(since) < self.checked_when_idle_for
                        || connection.is_open()
                    {
                        return Ok(self.guard(lease, connection, false));
                    }
                    now = Instant::now();
                    let (next, closed) =
                        self.queue
                            .check_out_instead(lease, connection, now, waiting.at());
                    self.close_all(closed);
                    self.wake_maintenance();
                    outcome = next;
                }
                CheckOut::Served(Outcome::Establish(lease)) => {
                    let error = match self.establish(lease, deadline) {
                        Ok(connection) => {
                            let service = connection.service_id().map(|id| id.bytes());
                            let now = Instant::now();
                            self.close_all(self.queue.established(lease, service, now));
                            return Ok(self.guard(lease, connection, true));
                        }
                        Err(error) => error,
                    };
                    now = Instant::now();
                    let another = match error.is_local_limit() {
                        true => self.queue.check_out_another(now, waiting.at()),
                        false => None,
                    };
                    let Some((next, closed)) = another else {
                        return Err((why_not(&error), error));
                    };
                    self.close_all(closed);
                    outcome = next;
                    beyond_limit = Some(error);
                }
                CheckOut::Served(Outcome::Refused(Refusal::Closed)) => {
                    let error = Error::client_closed().with_server(&self.server);
                    return Err((ConnectionCheckOutFailedReason::PoolClosed, error));
                }
                CheckOut::Served(Outcome::Refused(Refusal::Paused)) => {
                    let error = Error::pool_cleared(self.cleared_by()).with_server(&self.server);
                    return Err((ConnectionCheckOutFailedReason::ConnectionError, error));
                }
                CheckOut::TimedOut(counts) => {
                    if let Some(error) = beyond_limit {
                        return Err((ConnectionCheckOutFailedReason::Timeout, error));
                    }
                    let error = waited_too_long(&waiting, counts).with_server(&self.server);
                    return Err((ConnectionCheckOutFailedReason::Timeout, error));
                }
            }
        }
    }

    /// Dials in a place that was given out for that. If it fails or panics the place is given back.
    fn establish(
        self: &Arc<Self>,
        lease: Lease,
        deadline: Option<Deadline>,
    ) -> Result<D::Connection> {
        let started = Instant::now();
        self.tell(|| PoolEventKind::ConnectionCreated {
            connection_id: lease.id,
        });
        let place = Place { pool: self, lease };
        let interrupt = self.queue.handle(lease).unwrap_or_default();
        let outcome = self.dialer.dial(&self.server, lease, &interrupt, deadline);
        if outcome.is_ok() {
            self.tell(|| PoolEventKind::ConnectionReady {
                connection_id: lease.id,
                duration: started.elapsed(),
            });
        }
        if self.is_inherited() {
            // The program's function has forked, and this is the child. The place is the parent's.
            std::mem::forget(place);
            return Err(Error::of_the_parent().with_server(&self.server));
        }
        let outcome = match outcome {
            // In the last moment, or by the program as it was told.
            Ok(_) if interrupt.is_interrupted() => {
                Err(Error::interrupted().with_server(&self.server))
            }
            outcome => outcome,
        };
        match outcome {
            Ok(connection) => {
                std::mem::forget(place);
                Ok(connection)
            }
            Err(error) => {
                let error = self.unless_closed(error);
                if error.is_local_limit() {
                    // Before the place is released, so that the next thread does not dial without success.
                    self.queue.hold(Instant::now());
                }
                self.dialer.failed(self, lease, &error);
                std::mem::forget(place);
                self.give_place_back(lease, Some(&error));
                Err(error)
            }
        }
    }

    /// The error of an attempt to connect; where it was cut off because the pool was closed, that is the error.
    fn unless_closed(&self, error: Error) -> Error {
        let (phase, ..) = self.queue.counts();
        if error.is_pool_cleared() && phase == Phase::Closed {
            return Error::client_closed().with_server(&self.server);
        }
        error
    }

    /// Establishes a connection if there are fewer than `minPoolSize`; false if none is wanted or it failed.
    fn populate(self: &Arc<Self>) -> bool {
        let Some(lease) = self.queue.populate(Instant::now()) else {
            return false;
        };
        match self.establish(lease, None) {
            Ok(connection) => {
                let service = connection.service_id().map(|id| id.bytes());
                self.close_all(
                    self.queue
                        .populated(lease, connection, service, Instant::now()),
                );
                true
            }
            // The event and the log have it; the next run is another chance.
            Err(_) => false,
        }
    }

    fn give_place_back(&self, lease: Lease, error: Option<&Error>) {
        let is_closed = error.is_some_and(|error| error.kind() == ErrorKind::ClientClosed);
        let reason = if is_closed {
            Reason::PoolClosed
        } else {
            Reason::Error
        };
        let closed = self.queue.failed(lease, reason, Instant::now());
        let is_own = |closing: &Closing<_, _>| closing.id == lease.id;
        let (own, others): (Vec<_>, Vec<_>) = closed.into_iter().partition(is_own);
        let error = error.filter(|_| !is_closed);
        for closing in own {
            self.tell_closed(closing.id, closing.reason, error);
        }
        self.close_all(others);
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
        }
    }

    fn check_in(&self, connection: D::Connection, lease: Lease) {
        self.tell(|| PoolEventKind::ConnectionCheckedIn {
            connection_id: lease.id,
        });
        let perished = connection.has_perished();
        let closed = self
            .queue
            .check_in(lease, connection, perished, Instant::now());
        if !closed.is_empty() {
            self.close_all(closed);
            self.wake_maintenance();
        }
    }

    /// Gives up all connections and serves nobody until the pool is ready again, because of `error`. With
    /// `interrupt` the connections in use are cut off, and so are attempts to connect.
    #[cfg(any(test, feature = "_internals"))]
    pub(crate) fn clear(&self, error: Option<&Error>, interrupt: bool) {
        if let Some(clearing) = self.mark_cleared(None, error, interrupt) {
            self.follow_cleared(clearing);
        }
    }

    /// The first half of clearing the pool: it serves nobody from now on. Nothing that takes time, for a caller that
    /// holds a lock, and does the [rest](Self::follow_cleared) without it. With `on`, because of what happened to
    /// that connection; none if the pool has been cleared since that one was created.
    pub(crate) fn mark_cleared(
        &self,
        on: Option<Lease>,
        error: Option<&Error>,
        interrupt: bool,
    ) -> Option<Clearing<D>> {
        // Locked until the pool is cleared: nobody is refused for what it was cleared for before, and what did not
        // clear it leaves no trace.
        let mut cleared_by = self
            .cleared_by
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let cleared = self.queue.clear(on, true, interrupt)?;
        *cleared_by = error.cloned();
        Some(Clearing { cleared, interrupt })
    }

    /// The second half: tells the program, closes what was given up, and wakes who waits.
    pub(crate) fn follow_cleared(&self, clearing: Clearing<D>) {
        let Clearing { cleared, interrupt } = clearing;
        if cleared.was_ready {
            self.tell(|| PoolEventKind::Cleared {
                service_id: None,
                interrupt_in_use_connections: interrupt,
            });
        }
        cleared.dials.iter().for_each(|dial| dial.interrupt());
        self.close_all(cleared.closed);
        self.close_all(self.queue.wake(Instant::now()));
    }

    /// Gives up all connections that are as old as `on`, because of `error`.
    #[cfg(any(test, feature = "_internals"))]
    pub(crate) fn clear_because_of(&self, on: Lease, error: Option<&Error>) {
        if let Some(clearing) = self.mark_cleared(Some(on), error, false) {
            self.follow_cleared(clearing);
        }
    }

    /// Whether the pool has been cleared since that connection was created, or the attempt to create it began.
    pub(crate) fn is_stale(&self, on: Lease) -> bool {
        self.queue.is_stale(on)
    }

    /// The generation of a pool that is paused; none if it is not.
    pub(crate) fn paused_generation(&self) -> Option<u64> {
        let (phase, generation, _) = self.queue.counts();
        (phase == Phase::Paused).then_some(generation)
    }

    /// How many operations are at work with the pool: with a connection, or waiting for one.
    pub(crate) fn operation_count(&self) -> usize {
        let (_, _, counts) = self.queue.counts();
        counts.in_use + counts.pending + counts.waiting
    }

    /// Gives up the connections to one service behind a load balancer; the pool goes on serving.
    pub(crate) fn clear_service(&self, on: Lease, service: ObjectId) {
        let Some(closed) = self
            .queue
            .clear_service(on, &service.bytes(), Instant::now())
        else {
            return;
        };
        self.tell(|| PoolEventKind::Cleared {
            service_id: Some(service),
            interrupt_in_use_connections: false,
        });
        self.close_all(closed);
        self.wake_maintenance();
    }

    /// Retires all connections that there are: the available ones now, those in use when they are checked in.
    /// The pool goes on serving.
    pub(crate) fn retire(&self) {
        if let Some(cleared) = self.queue.clear(None, false, false) {
            self.close_all(cleared.closed);
            self.close_all(self.queue.wake(Instant::now()));
            self.wake_maintenance();
        }
    }

    /// Closes the pool: what is available now, what is in use when it is checked in, and what is being established
    /// at once. Who waits gets an error.
    pub(crate) fn close(&self) {
        let Some(cleared) = self.queue.close() else {
            return;
        };
        if let Some(maintenance) = &self.maintenance {
            maintenance.end();
        }
        cleared.dials.iter().for_each(|dial| dial.interrupt());
        self.close_all(cleared.closed);
        if self.is_announced.load(Ordering::Relaxed) {
            self.tell(|| PoolEventKind::Closed);
        }
        self.close_all(self.queue.wake(Instant::now()));
    }

    /// Waits until nothing of a closed pool is in use, or `until`; returns what still is, and since when.
    pub(crate) fn drain(&self, until: Option<Instant>) -> Vec<(u64, Instant)> {
        self.queue.drain(until)
    }

    /// The server.
    pub(crate) fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// How many connections and waiting threads there are.
    pub(crate) fn snapshot(&self) -> PoolSnapshot {
        let (phase, generation, counts) = self.queue.counts();
        PoolSnapshot {
            server: self.server.clone(),
            state: match phase {
                Phase::Paused => PoolState::Paused,
                Phase::Ready => PoolState::Ready,
                Phase::Closed => PoolState::Closed,
            },
            generation,
            available: counts.available,
            in_use: counts.in_use,
            pending: counts.pending,
            waiting: counts.waiting,
        }
    }

    /// In a forked child, closes what the parent had available, without a word to the servers.
    pub(crate) fn abandon(&self) {
        drop(self.queue.abandon());
    }

    /// Whether the pool is the parent's, and its lock may be held for ever.
    fn is_inherited(&self) -> bool {
        self.forks != fork::count()
    }

    fn cleared_by(&self) -> Option<Error> {
        self.cleared_by
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn wake_maintenance(&self) {
        if let Some(maintenance) = &self.maintenance {
            maintenance.wake();
        }
    }

    fn close_all(&self, closed: Closed<D::Connection, Arc<Interrupt>>) {
        for closing in closed {
            if let Some(handle) = closing.handle {
                handle.interrupt();
            }
            self.tell_closed(closing.id, closing.reason, None);
            drop(closing.connection);
        }
    }

    fn tell_closed(&self, connection_id: u64, reason: Option<Reason>, error: Option<&Error>) {
        let Some(reason) = reason else { return };
        self.tell(|| PoolEventKind::ConnectionClosed {
            connection_id,
            reason: match reason {
                Reason::Stale => ConnectionClosedReason::Stale,
                Reason::Idle => ConnectionClosedReason::Idle,
                Reason::Error => ConnectionClosedReason::Error,
                Reason::PoolClosed => ConnectionClosedReason::PoolClosed,
            },
            error: error.cloned(),
        });
    }

    /// Tells the program and the log; never under the lock. Costs nothing where nobody listens.
    fn tell(&self, kind: impl FnOnce() -> PoolEventKind) {
        let is_logged = log_enabled!(target: "mongotls::pool", Level::Debug);
        let is_heard = self.listener.hears(EventKind::Pool);
        if !is_logged && !is_heard {
            return;
        }
        let event = PoolEvent {
            server: self.server.clone(),
            kind: kind(),
        };
        if is_logged {
            debug!(target: "mongotls::pool", "{event}");
        }
        if is_heard {
            self.listener.emit(&Event::Pool(event));
        }
    }
}

impl<D: Dial> Drop for Pool<D> {
    fn drop(&mut self) {
        if let Some(maintenance) = &self.maintenance {
            maintenance.end();
        }
    }
}

/// What is left to do when a pool has been cleared.
#[must_use = "the program is to be told, and connections are to be closed"]
pub(crate) struct Clearing<D: Dial> {
    cleared: Cleared<D::Connection, Arc<Interrupt>>,
    interrupt: bool,
}

/// What a pool holds at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolSnapshot {
    /// The server whose pool it is.
    pub server: ServerAddress,
    /// Whether the pool serves check-outs.
    pub state: PoolState,
    /// How often the pool was cleared.
    pub generation: u64,
    /// The connections that are ready to be checked out.
    pub available: usize,
    /// The connections that are checked out.
    pub in_use: usize,
    /// The connections that are being established.
    pub pending: usize,
    /// The threads that wait for a connection.
    pub waiting: usize,
}

/// The state of a pool. Source: CMAP, "Connection Pool".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolState {
    /// The pool serves no check-outs until its server is known to be available.
    Paused,
    /// The pool serves check-outs.
    Ready,
    /// The pool is closed for good.
    Closed,
}

impl PoolState {
    /// The name in the specification: `paused`, `ready` or `closed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Ready => "ready",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for PoolState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The place of a connection that is being established; dropping it, when the dial panics, gives it back.
struct Place<'a, D: Dial> {
    pool: &'a Pool<D>,
    lease: Lease,
}

impl<D: Dial> Drop for Place<'_, D> {
    fn drop(&mut self) {
        self.pool.give_place_back(self.lease, None);
    }
}

/// A check-out that is under way; dropping it, when the dial panics, tells that it has failed.
struct Asked<'a, D: Dial> {
    pool: &'a Pool<D>,
    started: Instant,
}

impl<D: Dial> Drop for Asked<'_, D> {
    fn drop(&mut self) {
        let message = "the attempt to establish a connection panicked";
        self.pool.tell(|| PoolEventKind::ConnectionCheckOutFailed {
            reason: ConnectionCheckOutFailedReason::ConnectionError,
            error: Error::new(ErrorKind::Network, message).with_server(&self.pool.server),
            duration: self.started.elapsed(),
        });
    }
}

/// How long a connection may be unused and still be handed out without a look at its socket: 1 s.
const CHECKED_WHEN_IDLE_FOR: Duration = Duration::from_secs(1);

/// What a check-out that was to establish a connection failed for.
fn why_not(error: &Error) -> ConnectionCheckOutFailedReason {
    match error.kind() {
        ErrorKind::ClientClosed => ConnectionCheckOutFailedReason::PoolClosed,
        _ => ConnectionCheckOutFailedReason::ConnectionError,
    }
}

/// No connection became free in time. Says what the pool was busy with.
fn waited_too_long(deadline: &Deadline, counts: Counts) -> Error {
    let Counts {
        in_use,
        pending,
        waiting,
        ..
    } = counts;
    let others = waiting.saturating_sub(1);
    Error::wait_queue_timeout(
        deadline.elapsed(),
        &format!("{in_use} in use, {pending} being established, {others} other threads waiting"),
    )
}

#[cfg(test)]
mod tests;
