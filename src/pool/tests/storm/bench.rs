//! Mock connections and the dialer that makes them. They count, independently of the pool, what it must not exceed.

use std::any::Any;
use std::cell::RefCell;
use std::panic::resume_unwind;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bson::oid::ObjectId;
use mongotls_testbench::random::Random;

use super::super::{Dial, Lease, Pool, Pooled};
use crate::address::ServerAddress;
use crate::error::{Error, Result};
use crate::socket::Interrupt;
use crate::time::Deadline;

/// The faults to inject.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// The maximum duration of a dial in microseconds.
    pub(super) slow: usize,
    /// One dial in this many fails; 0 for no failures. The same applies to the following fields.
    pub(super) fail_one_in: u64,
    pub(super) panic_one_in: u64,
    /// One idle connection in this many turns out to be closed.
    pub(super) dead_one_in: usize,
    /// True if connections lead to one of two services.
    pub(super) behind_load_balancer: bool,
    pub(super) seed: u64,
}

/// The dialer.
#[derive(Debug)]
pub(super) struct Bench {
    faults: Faults,
    max_size: usize,
    max_connecting: usize,
    dialling: AtomicUsize,
    pub(super) most_dialling: AtomicUsize,
    pub(super) dials: AtomicU64,
    /// The number of dials that exceeded no limit. A panic of the others would not be noticed in the background.
    pub(super) sound_dials: AtomicU64,
    /// The number of connections that have not been dropped.
    pub(super) alive: Arc<AtomicUsize>,
    /// The number of times that a thread began to clear the pool, and the number of times that it finished.
    clearing: AtomicU64,
    pub(super) cleared: AtomicU64,
    census: Mutex<Arc<Census>>,
    /// True if no dial fails any more.
    pub(super) has_recovered: AtomicBool,
    pub(super) tally: Tally,
}

/// The results of check-outs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) served: AtomicU64,
    /// The number of these that reused a connection.
    pub(super) reused: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// The number of connections as the users know it: those in use and those being established.
///
/// An interruption takes connections away from their users, who notice it late. Therefore a new census begins for the
/// check-outs that start afterwards.
#[derive(Debug)]
pub(super) struct Census {
    used: AtomicUsize,
    max_size: usize,
    is_void: AtomicBool,
}

/// One connection of a census, until it is dropped.
#[derive(Debug)]
pub(super) struct Used(Arc<Census>);

thread_local! {
    /// The census of the current check-out of this thread.
    static CENSUS: RefCell<Option<Arc<Census>>> = const { RefCell::new(None) };
}

impl Census {
    fn new(max_size: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            max_size,
            is_void: AtomicBool::new(false),
        })
    }

    pub(super) fn add(self: &Arc<Self>) -> Used {
        let used = self.used.fetch_add(1, SeqCst) + 1;
        assert!(
            used <= self.max_size || self.is_void.load(SeqCst),
            "{used} connections at once"
        );
        Used(Arc::clone(self))
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, SeqCst);
    }
}

impl Bench {
    pub(super) fn new(faults: Faults, max_size: usize, max_connecting: usize) -> Self {
        Self {
            faults,
            max_size,
            max_connecting,
            dialling: AtomicUsize::new(0),
            most_dialling: AtomicUsize::new(0),
            dials: AtomicU64::new(0),
            sound_dials: AtomicU64::new(0),
            alive: Arc::default(),
            clearing: AtomicU64::new(0),
            cleared: AtomicU64::new(0),
            census: Mutex::new(Census::new(max_size)),
            has_recovered: AtomicBool::new(false),
            tally: Tally::default(),
        }
    }

    /// Records that this thread is about to check out.
    pub(super) fn enter(&self) -> Arc<Census> {
        let census = Arc::clone(&self.census.lock().unwrap());
        CENSUS.set(Some(Arc::clone(&census)));
        census
    }

    /// Clears the pool; only one thread at a time does this.
    pub(super) fn clearing(&self, interrupts: bool, clear: impl FnOnce()) {
        if interrupts {
            self.census.lock().unwrap().is_void.store(true, SeqCst);
        }
        self.clearing.fetch_add(1, SeqCst);
        clear();
        self.cleared.fetch_add(1, SeqCst);
        if interrupts {
            *self.census.lock().unwrap() = Census::new(self.max_size);
        }
    }

    fn goes_wrong(&self, random: &mut Random, one_in: u64) -> bool {
        one_in > 0 && !self.has_recovered.load(SeqCst) && random.number() % one_in == 0
    }
}

/// One dial, which ends when this value is dropped.
struct Dialling<'a> {
    bench: &'a Bench,
    _used: Used,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.bench.dialling.fetch_sub(1, SeqCst);
    }
}

impl Dial for Bench {
    type Connection = Mock;

    fn dial(
        &self,
        _server: &ServerAddress,
        place: Lease,
        interrupt: &Arc<Interrupt>,
        _deadline: Option<Deadline>,
        served_by: &mut dyn FnMut(ObjectId),
    ) -> Result<Mock> {
        let cleared_before = self.clearing.load(SeqCst);
        self.dials.fetch_add(1, SeqCst);
        let dialling = self.dialling.fetch_add(1, SeqCst) + 1;
        self.most_dialling.fetch_max(dialling, SeqCst);
        assert!(dialling <= self.max_connecting, "{dialling} dials at once");
        // The background thread never checks out.
        let census = CENSUS.with_borrow(Clone::clone);
        let census = census.unwrap_or_else(|| Arc::clone(&self.census.lock().unwrap()));
        let ends = Dialling {
            bench: self,
            _used: census.add(),
        };
        self.sound_dials.fetch_add(1, SeqCst);
        let mut random = Random::seeded(self.faults.seed.rotate_left(32) ^ place.id);
        if self.faults.slow > 0 {
            let micros = random.below(self.faults.slow) as u64;
            thread::sleep(Duration::from_micros(micros));
        }
        if self.goes_wrong(&mut random, self.faults.panic_one_in) {
            // Without the panic hook, which would print each one.
            resume_unwind(Box::new(PANIC));
        }
        if self.faults.behind_load_balancer {
            served_by([[1; 12], [2; 12]].map(ObjectId::from_bytes)[random.below(2)]);
        }
        if interrupt.is_interrupted() {
            return Err(Error::interrupted());
        }
        if self.goes_wrong(&mut random, self.faults.fail_one_in) {
            return Err(Error::protocol(FAILURE));
        }
        drop(ends);
        self.alive.fetch_add(1, SeqCst);
        Ok(Mock {
            cleared_before,
            was_spoilt: false,
            dead_one_in: self.faults.dead_one_in,
            is_used: AtomicBool::new(false),
            interrupt: Arc::clone(interrupt),
            random,
            alive: Arc::clone(&self.alive),
        })
    }

    fn failed(&self, pool: &Pool<Self>, on: Lease, error: &Error) {
        // As after an error that concerns the server.
        if self.dials.load(SeqCst) % 16 == 0 {
            pool.clear_because_of(on, Some(error));
        }
    }
}

/// A mock connection.
#[derive(Debug)]
pub(crate) struct Mock {
    /// The number of times that the pool was cleared, completely or not, when the dial began.
    pub(super) cleared_before: u64,
    pub(super) was_spoilt: bool,
    dead_one_in: usize,
    is_used: AtomicBool,
    interrupt: Arc<Interrupt>,
    random: Random,
    alive: Arc<AtomicUsize>,
}

impl Mock {
    /// Checks that no other thread uses the connection.
    pub(super) fn begin_use(&self) {
        assert!(!self.is_used.swap(true, SeqCst), "two use it");
    }

    pub(super) fn end_use(&self) {
        assert!(self.is_used.swap(false, SeqCst));
    }

    pub(super) fn perish(&mut self) {
        self.was_spoilt = true;
    }
}

impl Pooled for Mock {
    fn has_perished(&self) -> bool {
        self.was_spoilt || self.interrupt.is_interrupted()
    }

    fn is_open(&mut self) -> bool {
        self.dead_one_in == 0 || self.random.below(self.dead_one_in) != 0
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

/// Returns the text of a panic.
pub(super) fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without text".to_owned())
}

/// The text of a panic of a dial.
pub(super) const PANIC: &str = "a bug of the dialler";

/// The text of an error of a dial.
pub(super) const FAILURE: &str = "the server does not like it";
