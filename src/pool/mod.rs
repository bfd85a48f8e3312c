//! Connections to one server, shared by threads.
//!
//! A thread checks out a connection, uses it exclusively, and checks it in by dropping the guard. Available
//! connections are handed out newest first, so that connections beyond the current load become idle. Threads that
//! must wait are served in the order of arrival. The rules are a plain value (`state/`), and the lock around it and
//! the waiting threads are in `wait_queue.rs`. This file and `check_out.rs` do everything that may take time: they dial, close
//! connections and send events, always with the lock released. `maintenance.rs` is the background thread, which
//! exists only if the options require it. The pool is generic over its connections and over the dialer that
//! establishes them ([`Pooled`], [`Dial`]), so that its tests need no sockets.
//!
//! A pool starts paused and serves check-outs once it is [`ready`](Pool::ready). Each connection has the generation
//! that the pool had when the connection was created. [`clear`](Pool::clear) increases the generation and pauses the
//! pool, so that a restarted server costs one failed command, not one for each connection.
//!
//! Source: CMAP.

#[cfg(any(test, feature = "_internals"))]
mod alone;
mod check_out;
mod guard;
mod maintenance;
mod state;
mod tracking;
mod wait_queue;

/// The synchronization primitives of the wait queue. The model test replaces them.
mod sync {
    pub(super) use std::sync::Arc;

    pub(super) use crate::sync::{Condvar, Mutex, MutexGuard};

    pub(super) fn now() -> std::time::Instant {
        std::time::Instant::now()
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use log::Level;

#[cfg(any(test, feature = "_internals"))]
pub(crate) use self::alone::Alone;
pub(crate) use self::guard::{Pin, PooledConnection};
use self::maintenance::{Maintained, Maintenance};
pub(crate) use self::state::Lease;
use self::state::{CloseReason, Closing, Limits, Phase};
pub(crate) use self::tracking::PinnedBy;
use self::tracking::Pins;
use self::wait_queue::{Cleared, Closed, WaitQueue};
use crate::address::ServerAddress;
use crate::conn::Connection;
use crate::enum_text::display_as_str;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{
    ConnectionClosedReason, Event, EventKind, EventListener, LogSettings, Message, PoolEvent,
    PoolEventKind, PoolOptions,
};
use crate::ffi::fork;
use crate::logging::Component;
use crate::options::ClientOptions;
use crate::reason::cancel::Cancelled;
use crate::socket::Interrupt;
use crate::steps::Steps;
use crate::sync::Mutex;
use crate::time::Deadline;

/// Establishes the connections of a pool.
pub(crate) trait Dial: Send + Sync + 'static {
    /// A connection that is ready for use.
    type Connection: Pooled;

    /// Establishes the connection of a lease, until `deadline` or until it is interrupted. Calls `served_by` with the
    /// service behind a load balancer as soon as the server's hello has named it.
    fn dial(
        &self,
        server: &ServerAddress,
        place: Lease,
        interrupt: &Arc<Interrupt>,
        deadline: Option<Deadline>,
        served_by: &mut dyn FnMut(ObjectId),
    ) -> Result<Self::Connection>;

    /// Handles a connection that could not be established; its lease, `on`, has not been returned yet. The
    /// consequences are decided by the code that knows the server ("Server Discovery and Monitoring", "Error
    /// handling").
    fn failed(&self, pool: &Pool<Self>, on: Lease, error: &Error)
    where
        Self: Sized;
}

/// The properties of a connection that a pool needs.
pub(crate) trait Pooled: Send + 'static {
    /// Returns true if the connection must not be used again.
    fn has_perished(&self) -> bool;

    /// Returns false if the peer has closed the connection, as far as that can be detected without waiting.
    fn is_open(&mut self) -> bool;

    /// Frees the memory that the connection does not need until it is used again.
    fn release_memory(&mut self) {}
}

impl Pooled for Box<Connection> {
    fn has_perished(&self) -> bool {
        self.perished().is_some() || self.is_streaming()
    }

    fn is_open(&mut self) -> bool {
        Connection::is_open(self)
    }

    fn release_memory(&mut self) {
        Connection::release_memory(self);
    }
}

/// The connection pool of one server.
#[derive(Debug)]
pub(crate) struct Pool<D: Dial> {
    server: ServerAddress,
    dialer: Arc<D>,
    queue: WaitQueue<D::Connection, Arc<Interrupt>>,
    /// `maxPoolSize`, or `None` for no limit.
    max_size: Option<usize>,
    wait_queue_timeout: Option<Duration>,
    listener: EventListener,
    log: LogSettings,
    maintenance: Option<Maintenance>,
    checked_when_idle_for: Duration,
    /// The connections in use by cursors and transactions.
    pins: Pins,
    /// `maxPoolSize` behind a load balancer, or `None` elsewhere. 0 means no limit.
    load_balanced_size: Option<u32>,
    /// The error for which the pool was last cleared.
    cleared_by: Mutex<Option<Error>>,
    /// The options as reported to the program.
    announced_options: PoolOptions,
    /// True once the creation of the pool has been reported to the program.
    is_announced: AtomicBool,
    /// True if the pool is ready, and this has not been reported to the program yet.
    is_ready_event_pending: AtomicBool,
    /// The number of forks of the process when the pool was created.
    forks: u64,
}

/// The settings of a pool.
#[derive(Clone, Debug)]
pub(crate) struct PoolSettings {
    limits: Limits,
    wait_queue_timeout: Option<Duration>,
    listener: EventListener,
    /// The parts that all log messages of the client have in common.
    pub(crate) log: LogSettings,
    announced_options: PoolOptions,
    /// The maximum interval between two runs of the maintenance, or `None` for no maintenance.
    pub(crate) maintenance_interval: Option<Duration>,
    /// The maximum idle time after which a connection is handed out without a check of its socket.
    checked_when_idle_for: Duration,
    /// `maxPoolSize` behind a load balancer, or `None` elsewhere. 0 means no limit.
    load_balanced_size: Option<u32>,
}

impl PoolSettings {
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
            log: LogSettings::default(),
            announced_options: PoolOptions {
                max_pool_size: unless(options.max_pool_size, 100),
                min_pool_size: unless(options.min_pool_size, 0),
                max_connecting: unless(options.max_connecting, 2),
                max_idle_time: options.max_idle_time,
                wait_queue_timeout: options.wait_queue_timeout,
            },
            maintenance_interval: Some(maintenance::INTERVAL),
            checked_when_idle_for: CHECKED_WHEN_IDLE_FOR,
            load_balanced_size: options.load_balanced.then_some(options.max_pool_size),
        }
    }
}

impl<D: Dial> Pool<D> {
    /// Creates an empty, paused pool. It is not reported to the program before [`announce`](Self::announce).
    pub(crate) fn new(server: ServerAddress, dialer: Arc<D>, settings: PoolSettings) -> Arc<Self> {
        let PoolSettings {
            limits,
            wait_queue_timeout,
            listener,
            log,
            announced_options,
            maintenance_interval,
            checked_when_idle_for,
            load_balanced_size,
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
            max_size: Some(limits.max_size).filter(|size| *size != usize::MAX),
            queue: WaitQueue::new(limits),
            wait_queue_timeout,
            listener,
            log,
            maintenance,
            checked_when_idle_for,
            pins: Pins::default(),
            load_balanced_size,
            cleared_by: Mutex::new(None),
            announced_options,
            is_announced: AtomicBool::new(false),
            is_ready_event_pending: AtomicBool::new(false),
            forks: fork::count(),
        })
    }

    /// Reports the pool to the program. The owner calls this once it is ready for the program's listener to use the
    /// pool.
    pub(crate) fn announce(&self) {
        self.is_announced.store(true, Ordering::Relaxed);
        self.emit(|| PoolEventKind::Created {
            options: self.announced_options.clone(),
        });
    }

    /// Lets the pool serve check-outs, unless it is closed.
    #[cfg(any(test, feature = "_internals"))]
    pub(crate) fn ready(self: &Arc<Self>) {
        if self.mark_ready() {
            self.follow_ready();
        }
    }

    /// Makes the pool ready (first half): it serves check-outs from now on. This does nothing that takes time, so the
    /// caller may hold a lock. Returns true if the pool was paused; the caller must then call
    /// [`follow_ready`](Self::follow_ready) without the lock.
    pub(crate) fn mark_ready(&self) -> bool {
        let was_paused = self.queue.ready();
        if was_paused {
            self.is_ready_event_pending.store(true, Ordering::Release);
        }
        was_paused
    }

    /// Makes the pool ready (second half), unless this has been done: sends the event and lets the background thread
    /// start. A check-out may call this before the thread that made the pool ready does.
    pub(crate) fn follow_ready(self: &Arc<Self>) {
        let is_event_pending = self.is_ready_event_pending.load(Ordering::Acquire);
        if !is_event_pending || !self.is_ready_event_pending.swap(false, Ordering::AcqRel) {
            return;
        }
        self.emit(|| PoolEventKind::Ready);
        // Not before the event is sent: the program must not see connections being created in a pool that is not
        // ready.
        self.queue.allow_populating();
        if let Some(maintenance) = &self.maintenance {
            maintenance.start(self);
            maintenance.wake();
        }
    }

    /// Starts the background thread if it is needed and could not be started before.
    pub(crate) fn maintain(self: &Arc<Self>) {
        let (phase, ..) = self.queue.counts();
        if let (Some(maintenance), Phase::Ready) = (&self.maintenance, phase) {
            maintenance.start(self);
        }
    }

    /// Frees the buffers of connections that have not been used lately. Each check of the server calls this.
    pub(crate) fn release_memory(&self) {
        self.queue
            .each_idle_for(MEMORY_KEPT_FOR, Instant::now(), Pooled::release_memory);
    }

    /// Establishes the connection of a lease for an operation, which may be cancelled meanwhile.
    fn establish_for(
        self: &Arc<Self>,
        lease: Lease,
        deadline: Option<Deadline>,
        steps: &Steps<'_>,
    ) -> Result<D::Connection> {
        let started = Instant::now();
        let outcome = self.establish(lease, deadline, steps);
        steps.established(started);
        outcome
    }

    /// Establishes the connection of a lease. The lease is returned if this fails or panics.
    fn establish(
        self: &Arc<Self>,
        lease: Lease,
        deadline: Option<Deadline>,
        steps: &Steps<'_>,
    ) -> Result<D::Connection> {
        let started = Instant::now();
        self.emit(|| PoolEventKind::ConnectionCreated {
            connection_id: lease.id,
        });
        let place = PendingConnection { pool: self, lease };
        let interrupt = self.queue.handle(lease).unwrap_or_default();
        let mut served_by = |service: ObjectId| self.queue.serves(lease, service.bytes());
        let registered = steps.register(|| Arc::clone(&interrupt) as _);
        let outcome = match steps.is_cancelled() {
            true => Err(Error::cancelled(Cancelled::Establishing).with_server(&self.server)),
            false => self
                .dialer
                .dial(&self.server, lease, &interrupt, deadline, &mut served_by),
        };
        drop(registered);
        if outcome.is_ok() {
            self.emit(|| PoolEventKind::ConnectionReady {
                connection_id: lease.id,
                duration: started.elapsed(),
            });
        }
        if self.is_inherited() {
            // The program's listener has forked, and this is the child. The lease belongs to the parent.
            std::mem::forget(place);
            return Err(Error::of_the_parent().with_server(&self.server));
        }
        let outcome = match outcome {
            // The interruption came at the last moment, or from the program's listener.
            Ok(_) if interrupt.is_cancelled() => {
                Err(Error::cancelled(Cancelled::Establishing).with_server(&self.server))
            }
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
                let error = self.closed_or(error);
                if error.is_local_limit() {
                    // Before the lease is released, so that the next thread does not dial without success.
                    self.queue.hold(Instant::now());
                }
                self.dialer.failed(self, lease, &error);
                std::mem::forget(place);
                self.give_back_slot(lease, Some(&error));
                Err(error)
            }
        }
    }

    /// Returns the error of an attempt to connect. If the attempt was interrupted because the pool was closed, that
    /// is the error.
    fn closed_or(&self, error: Error) -> Error {
        let (phase, ..) = self.queue.counts();
        if error.is_pool_cleared() && phase == Phase::Closed {
            return Error::client_closed().with_server(&self.server);
        }
        error
    }

    fn give_back_slot(&self, lease: Lease, error: Option<&Error>) {
        let is_closed = error.is_some_and(|error| error.kind() == ErrorKind::ClientClosed);
        let reason = if is_closed {
            CloseReason::PoolClosed
        } else {
            CloseReason::Error
        };
        let closed = self.queue.failed(lease, reason, Instant::now());
        let is_own = |closing: &Closing<_>| closing.id == lease.id;
        let (own, others): (Vec<_>, Vec<_>) = closed.into_iter().partition(is_own);
        let error = error.filter(|_| !is_closed);
        for closing in own {
            self.emit_closed(closing.id, closing.reason, error);
        }
        self.close_all(others);
    }

    fn check_in(&self, connection: D::Connection, lease: Lease) {
        self.emit(|| PoolEventKind::ConnectionCheckedIn {
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

    /// Makes all connections stale because of `error`, and pauses the pool until it is ready again. With `interrupt`,
    /// connections in use and attempts to connect are interrupted.
    #[cfg(any(test, feature = "_internals"))]
    pub(crate) fn clear(&self, error: Option<&Error>, interrupt: bool) {
        if let Some(clearing) = self.mark_cleared(None, error, interrupt) {
            self.follow_cleared(clearing);
        }
    }

    /// Clears the pool (first half): it serves no check-outs from now on. This does nothing that takes time, so the
    /// caller may hold a lock, and must call [`follow_cleared`](Self::follow_cleared) without it. `on` is the
    /// connection whose error clears the pool, if any. Returns `None` if the pool has been cleared since that
    /// connection was created.
    pub(crate) fn mark_cleared(
        &self,
        on: Option<Lease>,
        error: Option<&Error>,
        interrupt: bool,
    ) -> Option<Clearing<D>> {
        // Locked until the pool is cleared. So no check-out fails with the error of an earlier clear, and an error
        // that does not clear the pool is not stored.
        let mut cleared_by = self.cleared_by.lock();
        let cleared = self.queue.clear(on, true, interrupt)?;
        *cleared_by = error.cloned();
        Some(Clearing { cleared, interrupt })
    }

    /// Clears the pool (second half): sends the event, closes the stale connections, and wakes the waiting threads.
    pub(crate) fn follow_cleared(&self, clearing: Clearing<D>) {
        let Clearing { cleared, interrupt } = clearing;
        if cleared.was_ready {
            self.emit(|| PoolEventKind::Cleared {
                service_id: None,
                interrupt_in_use_connections: interrupt,
            });
        }
        cleared.interrupted.iter().for_each(|it| it.interrupt());
        self.close_all(cleared.closed);
        self.close_all(self.queue.wake(Instant::now()));
    }

    /// Clears the pool because of `error`, unless it was cleared after the connection `on` was created.
    #[cfg(any(test, feature = "_internals"))]
    pub(crate) fn clear_because_of(&self, on: Lease, error: Option<&Error>) {
        if let Some(clearing) = self.mark_cleared(Some(on), error, false) {
            self.follow_cleared(clearing);
        }
    }

    /// Returns true if the pool has been cleared since that connection was created, or since the attempt to create it
    /// began.
    pub(crate) fn is_stale(&self, on: Lease) -> bool {
        self.queue.is_stale(on)
    }

    /// Returns the generation of a paused pool, or `None` if the pool is not paused.
    pub(crate) fn paused_generation(&self) -> Option<u64> {
        let (phase, generation, _) = self.queue.counts();
        (phase == Phase::Paused).then_some(generation)
    }

    /// Returns the number of operations that use a connection or wait for one.
    pub(crate) fn operation_count(&self) -> usize {
        let (_, _, counts) = self.queue.counts();
        counts.in_use + counts.pending + counts.waiting
    }

    /// Makes the connections to one service behind a load balancer stale. The pool continues to serve check-outs.
    pub(crate) fn clear_service(&self, on: Lease, service: ObjectId) {
        let Some(closed) = self
            .queue
            .clear_service(on, &service.bytes(), Instant::now())
        else {
            return;
        };
        self.emit(|| PoolEventKind::Cleared {
            service_id: Some(service),
            interrupt_in_use_connections: false,
        });
        self.close_all(closed);
        self.wake_maintenance();
    }

    /// Makes all existing connections stale: the available ones are closed now, those in use when they are checked
    /// in. The pool continues to serve check-outs.
    pub(crate) fn retire(&self) {
        if let Some(cleared) = self.queue.clear(None, false, false) {
            self.close_all(cleared.closed);
            self.close_all(self.queue.wake(Instant::now()));
            self.wake_maintenance();
        }
    }

    /// Closes the pool. Available connections are closed now, those in use when they are checked in. Attempts to
    /// connect are interrupted at once. Waiting threads get an error.
    pub(crate) fn close(&self) {
        let Some(cleared) = self.queue.close() else {
            return;
        };
        if let Some(maintenance) = &self.maintenance {
            maintenance.end();
        }
        cleared.interrupted.iter().for_each(|it| it.interrupt());
        self.close_all(cleared.closed);
        if self.is_announced.load(Ordering::Relaxed) {
            self.emit(|| PoolEventKind::Closed);
        }
        self.close_all(self.queue.wake(Instant::now()));
    }

    /// Waits until no connection of a closed pool is in use, or until `until`. Returns the connections that are still
    /// in use, and the time of their check-out.
    pub(crate) fn drain(&self, until: Option<Instant>) -> Vec<(u64, Instant)> {
        self.queue.drain(until)
    }

    /// Returns the server.
    pub(crate) fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// Returns the numbers of connections and waiting threads.
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

    /// Closes, in a forked child, the parent's available connections, without sending anything to the servers.
    pub(crate) fn abandon(&self) {
        drop(self.queue.abandon());
    }

    /// Returns true if the pool belongs to the parent process. Its lock may then be held forever.
    fn is_inherited(&self) -> bool {
        self.forks != fork::count()
    }

    fn cleared_by(&self) -> Option<Error> {
        self.cleared_by.lock().clone()
    }

    fn wake_maintenance(&self) {
        if let Some(maintenance) = &self.maintenance {
            maintenance.wake();
        }
    }

    fn close_all(&self, closed: Closed<D::Connection>) {
        for closing in closed {
            self.emit_closed(closing.id, closing.reason, None);
            drop(closing.connection);
        }
    }

    fn emit_closed(&self, connection_id: u64, reason: CloseReason, error: Option<&Error>) {
        self.emit(|| PoolEventKind::ConnectionClosed {
            connection_id,
            reason: match reason {
                CloseReason::Stale => ConnectionClosedReason::Stale,
                CloseReason::Idle => ConnectionClosedReason::Idle,
                CloseReason::Error => ConnectionClosedReason::Error,
                CloseReason::PoolClosed => ConnectionClosedReason::PoolClosed,
            },
            error: error.cloned(),
        });
    }

    /// Sends an event to the program and the log; never call this under the lock. Costs nothing if no listener is
    /// registered.
    fn emit(&self, kind: impl FnOnce() -> PoolEventKind) {
        let is_logged = Component::Connection.is_logged(Level::Debug);
        let has_listener = self.listener.listens_to(EventKind::Pool);
        if !is_logged && !has_listener {
            return;
        }
        let event = PoolEvent {
            server: self.server.clone(),
            kind: kind(),
        };
        if is_logged {
            Message::Pool(&event).log(self.log);
        }
        if has_listener {
            self.listener.emit(&Event::Pool(event));
        }
    }
}

impl<D: Dial> Maintained for Pool<D> {
    fn server(&self) -> &ServerAddress {
        &self.server
    }

    fn close_idle(&self) -> Option<Instant> {
        let (next_idle, closed) = self.queue.close_idle(Instant::now());
        self.close_all(closed);
        next_idle
    }

    fn populate(self: &Arc<Self>) -> bool {
        let Some(lease) = self.queue.populate(Instant::now()) else {
            return false;
        };
        match self.establish(lease, None, &Steps::default()) {
            Ok(connection) => {
                self.close_all(self.queue.populated(lease, connection, Instant::now()));
                true
            }
            // The event and the log report the error; the next run tries again.
            Err(_) => false,
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

/// The remaining work after a pool has been cleared.
#[must_use = "the program is to be told, and connections are to be closed"]
pub(crate) struct Clearing<D: Dial> {
    cleared: Cleared<D::Connection, Arc<Interrupt>>,
    interrupt: bool,
}

/// The state of a pool at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolSnapshot {
    /// The server that the pool belongs to.
    pub server: ServerAddress,
    /// The state of the pool, which determines if it serves check-outs.
    pub state: PoolState,
    /// The number of times that the pool was cleared.
    pub generation: u64,
    /// The number of connections that are available for check-out.
    pub available: usize,
    /// The number of connections that are checked out.
    pub in_use: usize,
    /// The number of connections that are being established.
    pub pending: usize,
    /// The number of threads that wait for a connection.
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
    /// The pool is closed permanently.
    Closed,
}

impl PoolState {
    /// Returns the name in the specification: `paused`, `ready` or `closed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Ready => "ready",
            Self::Closed => "closed",
        }
    }
}

display_as_str!(PoolState);

/// The lease of a connection that is being established. Dropping it, as when the dial panics, returns the lease.
struct PendingConnection<'a, D: Dial> {
    pool: &'a Pool<D>,
    lease: Lease,
}

impl<D: Dial> Drop for PendingConnection<'_, D> {
    fn drop(&mut self) {
        self.pool.give_back_slot(self.lease, None);
    }
}

/// The maximum idle time after which a connection is handed out without a check of its socket: 1 s.
const CHECKED_WHEN_IDLE_FOR: Duration = Duration::from_secs(1);

/// The idle time after which a connection's buffers are freed.
const MEMORY_KEPT_FOR: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
