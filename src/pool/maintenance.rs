//! The background thread of a pool (CMAP, "Background Thread"). It closes connections that have been idle for longer
//! than `maxIdleTimeMS`, and establishes connections while there are fewer than `minPoolSize`.
//!
//! The thread exists only if one of these options is set. It starts when the pool becomes ready for the first time,
//! and does not keep the pool alive. A run does all pending work and ends. The next run begins when a connection
//! reaches its idle limit, when the pool wakes the thread, or after an interval.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::address::ServerAddress;
use crate::event;
use crate::ffi::thread;
use crate::logging::{error, warn};
use crate::sync::{Condvar, Mutex};

/// The interval between two runs without another trigger: 10 s, like `heartbeatFrequencyMS`.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// The minimum interval, even if `maxIdleTimeMS` is shorter: 10 ms.
const SHORTEST: Duration = Duration::from_millis(10);

/// The work that the thread does on its pool.
pub(super) trait Maintained: Send + Sync + 'static {
    /// Returns the server of the pool.
    fn server(&self) -> &ServerAddress;

    /// Closes connections that have reached their idle limit, and returns the time at which the next one does.
    fn close_idle(&self) -> Option<Instant>;

    /// Establishes a connection if there are fewer than `minPoolSize`. Returns false if none is needed or it failed.
    fn populate(self: &Arc<Self>) -> bool;
}

/// The maintenance of one pool.
#[derive(Debug)]
pub(super) struct Maintenance {
    interval: Duration,
    is_started: AtomicBool,
    signal: Arc<MaintenanceSignal>,
}

#[derive(Debug, Default)]
struct MaintenanceSignal {
    request: Mutex<MaintenanceRequest>,
    changed: Condvar,
}

/// The request of the pool to the thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum MaintenanceRequest {
    #[default]
    Nothing,
    Run,
    End,
}

impl Maintenance {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval: interval.max(SHORTEST),
            is_started: AtomicBool::new(false),
            signal: Arc::default(),
        }
    }

    /// Starts the thread, unless it has been started. If the system cannot start a thread now, the next call tries
    /// again.
    pub(super) fn start<P: Maintained>(&self, pool: &Arc<P>) {
        let is_started = &self.is_started;
        if is_started.load(Ordering::Relaxed) || is_started.swap(true, Ordering::Relaxed) {
            return;
        }
        let (signal, interval) = (Arc::clone(&self.signal), self.interval);
        let weak = Arc::downgrade(pool);
        let spawned = thread::spawn("mongotls-pool", move || {
            maintain(&weak, &signal, interval);
        });
        if let Err(error) = spawned {
            is_started.store(false, Ordering::Relaxed);
            warn!(target: "mongotls::connection", "no thread yet for minPoolSize and maxIdleTimeMS of {}: {error}", pool.server());
        }
    }

    /// Starts the next run now.
    pub(super) fn wake(&self) {
        self.signal.send(MaintenanceRequest::Run);
    }

    /// Stops the thread after its run. Does not wait for it, because that thread may be the one that drops the pool.
    pub(super) fn end(&self) {
        self.signal.send(MaintenanceRequest::End);
    }
}

fn maintain<P: Maintained>(pool: &Weak<P>, signal: &MaintenanceSignal, interval: Duration) {
    loop {
        let Some(pool) = pool.upgrade() else { return };
        // Functions of the program may be called while a connection is established. A panic in one of them must not
        // stop the maintenance; the next run tries again.
        let next_idle = catch_unwind(AssertUnwindSafe(|| run(&pool, signal))).unwrap_or_else(|_| {
            error!(target: "mongotls::connection", "the maintenance of the pool of {} panicked", pool.server());
            None
        });
        drop(pool);
        let now = Instant::now();
        let until_idle = next_idle.map_or(interval, |next| next.saturating_duration_since(now));
        if signal.wait(until_idle.clamp(SHORTEST, interval)) == MaintenanceRequest::End {
            return;
        }
    }
}

/// Does one run, and returns the time at which the next connection reaches its idle limit.
fn run<P: Maintained>(pool: &Arc<P>, signal: &MaintenanceSignal) -> Option<Instant> {
    event::begin_operation();
    let next_idle = pool.close_idle();
    while !signal.is_ended() && pool.populate() {}
    next_idle
}

impl MaintenanceSignal {
    fn send(&self, wanted: MaintenanceRequest) {
        let mut current = self.request.lock();
        if *current != MaintenanceRequest::End {
            *current = wanted;
        }
        drop(current);
        self.changed.notify_all();
    }

    fn is_ended(&self) -> bool {
        *self.request.lock() == MaintenanceRequest::End
    }

    fn wait(&self, limit: Duration) -> MaintenanceRequest {
        let waits = |wanted: &mut MaintenanceRequest| *wanted == MaintenanceRequest::Nothing;
        let mut current = self
            .changed
            .wait_while(self.request.lock(), Some(limit), waits);
        match *current {
            MaintenanceRequest::End => MaintenanceRequest::End,
            _ => std::mem::take(&mut *current),
        }
    }
}
