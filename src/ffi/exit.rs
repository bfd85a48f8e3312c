//! The end of the process while other threads are inside OpenSSL.
//!
//! If another part of the process (such as a C program or libcurl) has initialised OpenSSL first, OpenSSL frees its
//! global state when the process exits. A thread that is inside OpenSSL at that moment crashes. Therefore threads of
//! this crate are counted while they [are inside](inside), even for a single call on an established stream. On the
//! exiting thread, OpenSSL first calls [`before_cleanup`]. From then on no other thread enters, and the exit waits
//! until no thread is inside, for at most [`PATIENCE`]. A thread that waits for the network or for the program's own
//! function has [stepped outside](outside). It does not enter again, and sleeps until the process has ended.
//!
//! None of this happens if OpenSSL does not clean up, because this or another Rust crate initialised it first.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The maximum time for which an exit waits for threads that are inside: 1 s.
const PATIENCE: Duration = Duration::from_secs(1);

/// True if OpenSSL is about to clean up, or has done so.
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// The numbers of threads that are inside. There are several counters so that threads do not share one cache line.
static COUNTERS: [Counter; 16] = [const { Counter(AtomicUsize::new(0)) }; 16];

/// The counter of the next thread that enters for the first time.
static NEXT: AtomicUsize = AtomicUsize::new(0);

#[repr(align(64))]
struct Counter(AtomicUsize);

/// The state of one thread.
struct Own {
    /// The nesting depth of the thread's calls inside.
    depth: Cell<usize>,
    counter: Cell<Option<&'static Counter>>,
    /// True for the thread that exits.
    exits: Cell<bool>,
}

thread_local! {
    static OWN: Own = const {
        Own { depth: Cell::new(0), counter: Cell::new(None), exits: Cell::new(false) }
    };
}

impl Own {
    fn counter(&self) -> &'static AtomicUsize {
        let counter = self.counter.get().unwrap_or_else(|| {
            let counter = &COUNTERS[NEXT.fetch_add(1, Ordering::Relaxed) % COUNTERS.len()];
            self.counter.set(Some(counter));
            counter
        });
        &counter.0
    }

    fn enter(&self) {
        let counter = self.counter();
        // Both operations are sequentially consistent: either this thread sees the end, or the exit sees this thread.
        counter.fetch_add(1, Ordering::SeqCst);
        if IS_OVER.load(Ordering::SeqCst) && !self.exits.get() {
            counter.fetch_sub(1, Ordering::SeqCst);
            loop {
                thread::sleep(Duration::MAX);
            }
        }
    }

    fn leave(&self) {
        self.counter().fetch_sub(1, Ordering::SeqCst);
    }
}

/// Marks this thread as inside OpenSSL until the returned value is dropped.
pub(crate) fn inside() -> Inside {
    OWN.with(|own| {
        let depth = own.depth.get();
        if depth == 0 {
            own.enter();
        }
        own.depth.set(depth + 1);
    });
    Inside(())
}

/// See [`inside`].
#[must_use]
pub(crate) struct Inside(());

impl Drop for Inside {
    fn drop(&mut self) {
        OWN.with(|own| {
            let depth = own.depth.get() - 1;
            own.depth.set(depth);
            if depth == 0 {
                own.leave();
            }
        });
    }
}

/// Runs code that is not part of OpenSSL and may take long, such as waiting for the network, in the middle of a call.
pub(crate) fn outside<T>(wait: impl FnOnce() -> T) -> T {
    /// Enters again, even after a panic.
    struct ComeBackGuard(usize);
    impl Drop for ComeBackGuard {
        fn drop(&mut self) {
            OWN.with(|own| {
                own.enter();
                own.depth.set(self.0);
            });
        }
    }
    let depth = OWN.with(|own| own.depth.get());
    if depth == 0 {
        return wait();
    }
    OWN.with(|own| {
        own.depth.set(0);
        own.leave();
    });
    let _back = ComeBackGuard(depth);
    wait()
}

/// Runs on the exiting thread, before OpenSSL cleans up.
pub(crate) fn before_cleanup() {
    let own = OWN.with(|own| {
        own.exits.set(true);
        usize::from(own.depth.get() > 0)
    });
    IS_OVER.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let inside = || -> usize {
        let counts = COUNTERS.iter().map(|it| it.0.load(Ordering::SeqCst));
        counts.sum()
    };
    while inside() > own && begun.elapsed() < PATIENCE {
        thread::yield_now();
    }
}

/// Resets the counters in a forked child, on its only thread. It does only what is async-signal-safe.
pub(crate) fn in_child() {
    for counter in &COUNTERS {
        counter.0.store(0, Ordering::SeqCst);
    }
    OWN.with(|own| {
        if let (1.., Some(counter)) = (own.depth.get(), own.counter.get()) {
            counter.0.store(1, Ordering::SeqCst);
        }
    });
}
