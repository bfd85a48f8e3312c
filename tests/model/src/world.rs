//! The environment of the wait queue: the work of `src/pool/mod.rs`, with connections that only count themselves, and
//! the externally visible invariants.
//!
//! The counters are locks and atomics of std: all threads of a schedule run on one thread of the system, and only the
//! queue's own locks should be points to switch at.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};

use crate::state::{CheckOutRefusal, CheckOutStep, CloseReason, Lease, Limits, Phase, ServiceId};
use crate::sync::now;
use crate::wait_queue::{CheckOut, Cleared, Closed, WaitQueue};

/// The source of random events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chances {
    Everything,
    /// Waits time out as soon as they have begun.
    NothingAndWaitsEnd,
    NothingAndWaitsDoNotEnd,
}

thread_local! {
    static CHANCES: Cell<Chances> = const { Cell::new(Chances::Everything) };
}

/// Returns true once in this number of times, at random.
pub(crate) fn chance(times: u32) -> bool {
    CHANCES.get() == Chances::Everything && thread_rng().gen_ratio(1, times)
}

/// Returns true if a wait times out.
pub(crate) fn time_is_up() -> bool {
    CHANCES.get() == Chances::NothingAndWaitsEnd || chance(2)
}

/// Sets it for this thread of the system.
pub(crate) fn leave_to_chance(what: Chances) {
    CHANCES.set(what);
}

/// A connection, which counts itself.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    alive: Arc<AtomicUsize>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

/// The handle that is interrupted.
pub(crate) type Handle = Arc<AtomicBool>;

/// A pool from the program's view.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) queue: WaitQueue<Connection, Handle>,
    limits: Limits,
    alive: Arc<AtomicUsize>,
    dialling: AtomicUsize,
    /// The numbers of the connections that threads have: checked out, and not yet checked in.
    held: Mutex<HashSet<u64>>,
    /// The number of calls that have not yet notified the waiting threads, and the number of all calls.
    owing: AtomicUsize,
    calls: AtomicUsize,
    /// The numbers of the connections whose close was requested.
    closed: Mutex<Vec<u64>>,
    created: Mutex<Vec<u64>>,
}

/// A connection that is checked out.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) lease: Lease,
    connection: Connection,
}

/// The reason why there is no connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Refused(CheckOutRefusal),
    TimedOut,
    Dial,
}

impl World {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let world = Arc::new(Self {
            queue: WaitQueue::new(limits),
            limits,
            alive: Arc::default(),
            dialling: AtomicUsize::new(0),
            held: Mutex::default(),
            owing: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            closed: Mutex::default(),
            created: Mutex::default(),
        });
        world.queue.ready();
        world.queue.allow_populating();
        world
    }

    pub(crate) fn check_out(&self, has_limit: bool) -> Result<Held, Failure> {
        let deadline = has_limit.then(|| now() + Duration::from_secs(1));
        let (mut outcome, closed) = self.queue.check_out(now(), deadline);
        self.close(closed);
        loop {
            match outcome {
                CheckOut::Served(CheckOutStep::Reuse(lease, connection, _)) => {
                    assert_eq!(lease.id, connection.id);
                    self.hold(lease);
                    if !chance(4) {
                        return Ok(Held { lease, connection });
                    }
                    self.let_go(lease);
                    let (next, closed) =
                        self.queue
                            .check_out_instead(lease, connection, now(), deadline);
                    self.close(closed);
                    outcome = next;
                }
                CheckOut::Served(CheckOutStep::Establish(lease)) => {
                    let connection = self.dial(lease).ok_or(Failure::Dial)?;
                    // The lease is a connection that is being established.
                    self.hold(lease);
                    self.owe(|| self.queue.established(lease, now()));
                    return Ok(Held { lease, connection });
                }
                CheckOut::Served(CheckOutStep::Refused(refusal)) => {
                    return Err(Failure::Refused(refusal));
                }
                // Nothing cancels a wait here.
                CheckOut::Cancelled => unreachable!(),
                CheckOut::TimedOut(_) => {
                    assert!(has_limit, "it waits for ever");
                    return Err(Failure::TimedOut);
                }
            }
        }
    }

    pub(crate) fn check_in(&self, held: Held) {
        let perished = chance(4);
        let Held { lease, connection } = held;
        self.let_go(lease);
        self.owe(|| self.queue.check_in(lease, connection, perished, now()));
    }

    /// Does the work of the background thread.
    pub(crate) fn populate(&self) {
        let Some(lease) = self.queue.populate(now()) else {
            return;
        };
        if let Some(connection) = self.dial(lease) {
            self.owe(|| self.queue.populated(lease, connection, now()));
        }
    }

    /// Clears the pool; with `pause`, until it is ready again.
    pub(crate) fn clear(&self, pause: bool, interrupt: bool) {
        self.owe(|| {
            if let Some(cleared) = self.queue.clear(None, pause, interrupt) {
                self.cut(cleared);
            }
            self.queue.wake(now())
        });
    }

    pub(crate) fn clear_service(&self, held: &Held) {
        self.owe(|| {
            let closed = self.queue.clear_service(held.lease, &SERVICE, now());
            closed.unwrap_or_default()
        });
    }

    pub(crate) fn close_idle(&self) {
        self.owe(|| self.queue.close_idle(now() + Duration::from_secs(100)).1);
    }

    pub(crate) fn close_pool(&self) {
        self.owe(|| {
            let Some(cleared) = self.queue.close() else {
                return Vec::new();
            };
            self.cut(cleared);
            self.queue.wake(now())
        });
    }

    /// Checks the invariants after the last use of the pool.
    pub(crate) fn check_at_the_end(&self) {
        let (_, _, counts) = self.queue.counts();
        assert_eq!((counts.in_use, counts.pending, counts.waiting), (0, 0, 0));
        assert_eq!(self.alive.load(SeqCst), counts.available, "lost or leaked");
        let created = self.created.lock().unwrap();
        let mut closed = self.closed.lock().unwrap().clone();
        closed.sort_unstable();
        let told = closed.len();
        closed.dedup();
        assert_eq!(closed.len(), told, "told to be closed twice");
        assert_eq!(
            created.len(),
            told + counts.available,
            "each is there or closed"
        );
        let mut numbers = created.clone();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(1..=created.len() as u64));
    }

    /// Checks that no thread waits for an available connection. Nothing is known while a call still has to notify
    /// waiting threads.
    fn check_waiting(&self) {
        let calls = self.calls.load(SeqCst);
        if self.owing.load(SeqCst) > 0 {
            return;
        }
        let (phase, _, counts) = self.queue.counts();
        if calls != self.calls.load(SeqCst) {
            return;
        }
        assert!(counts.total() <= self.limits.max_size, "{counts:?}");
        assert!(counts.pending <= self.limits.max_connecting, "{counts:?}");
        if counts.waiting == 0 {
            return;
        }
        assert_eq!(
            phase,
            Phase::Ready,
            "nobody waits for a pool that does not serve"
        );
        assert_eq!(counts.available, 0, "{counts:?}");
        let is_full = counts.total() == self.limits.max_size;
        let is_busy = counts.pending == self.limits.max_connecting;
        assert!(is_full || is_busy, "{counts:?}");
    }

    fn dial(&self, lease: Lease) -> Option<Connection> {
        self.created.lock().unwrap().push(lease.id);
        let dialling = self.dialling.fetch_add(1, SeqCst) + 1;
        assert!(dialling <= self.limits.max_connecting, "{dialling} dial");
        self.check_size();
        let handle = self
            .queue
            .handle(lease)
            .expect("no place is taken away while it dials");
        if chance(2) {
            self.queue.serves(lease, SERVICE);
        }
        shuttle::thread::yield_now();
        self.dialling.fetch_sub(1, SeqCst);
        if chance(4) || handle.load(SeqCst) {
            self.owe(|| self.queue.failed(lease, CloseReason::Error, now()));
            return None;
        }
        self.alive.fetch_add(1, SeqCst);
        Some(Connection {
            id: lease.id,
            alive: Arc::clone(&self.alive),
        })
    }

    fn hold(&self, lease: Lease) {
        assert!(self.held.lock().unwrap().insert(lease.id), "held twice");
        self.check_size();
    }

    fn let_go(&self, lease: Lease) {
        assert!(self.held.lock().unwrap().remove(&lease.id), "not held");
    }

    fn check_size(&self) {
        let size = self.held.lock().unwrap().len() + self.dialling.load(SeqCst);
        assert!(size <= self.limits.max_size, "{size} at once");
    }

    /// Makes a call that must notify waiting threads of the capacity it frees.
    fn owe(&self, call: impl FnOnce() -> Closed<Connection>) {
        self.calls.fetch_add(1, SeqCst);
        self.owing.fetch_add(1, SeqCst);
        let closed = call();
        self.owing.fetch_sub(1, SeqCst);
        self.close(closed);
        self.check_waiting();
    }

    fn cut(&self, cleared: Cleared<Connection, Handle>) {
        for handle in cleared.interrupted {
            handle.store(true, SeqCst);
        }
        self.close(cleared.closed);
    }

    fn close(&self, closed: Closed<Connection>) {
        for closing in closed {
            if let Some(connection) = &closing.connection {
                assert_eq!(closing.id, connection.id);
            }
            let held = self.held.lock().unwrap();
            assert!(
                !held.contains(&closing.id),
                "closed before it is checked in"
            );
            drop(held);
            self.closed.lock().unwrap().push(closing.id);
        }
    }
}

/// The service of the model's connections.
const SERVICE: ServiceId = [7; 12];
