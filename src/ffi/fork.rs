//! What must not outlive a `fork()`.
//!
//! A forked child has the memory of its parent, one of its threads, and all of its file descriptors. A lock that
//! another thread held stays locked for ever, and a connection is still the parent's: one byte from the child
//! would break it. So whatever holds locks or connections exists [once for each process](PerProcess): a child
//! that asks for it gets one of its own, made anew, and looks at the parent's no more.
//!
//! OpenSSL too has locks, some of them for the whole process: 3.0 takes one with each algorithm that a handshake
//! looks up. So threads of this crate say when they are [at work](at_work) in OpenSSL, and a fork waits until none
//! is, which takes no longer than the arithmetic of a handshake: whoever waits for the network, a lock or the
//! program's own function meanwhile [steps outside](outside). [Calls](call) on the streams of established connections do
//! without, but for the first time on each thread: OpenSSL keeps a list of its threads under such a lock, and takes it
//! again when one of them ends. So a thread is introduced at work, and is at work once more at its end.
//!
//! Work and calls also keep two other promises: OpenSSL's queue of errors is empty when they begin, so that errors of
//! others in this thread are not taken for ours, and when they end; and [`crate::ffi::exit`] counts the thread as inside.
//!
//! A fork is noticed by handlers of `pthread_atfork`, so that asking whether there was one costs no system call.
//! Processes made by the bare system call `clone` are not noticed.

use std::cell::Cell;
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;

use crate::ffi::exit::{self, Inside};
use crate::ffi::{openssl, system};

/// How many forks lie between this process and the one that made the first [`PerProcess`].
pub(crate) fn count() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

static FORKS: AtomicU64 = AtomicU64::new(0);

/// How many threads are at work in OpenSSL.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// How many threads are about to fork. While there is one, nobody goes to work.
static FORKING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How often this thread went to work and has not come back.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Whether OpenSSL knows this thread.
    static IS_KNOWN: Cell<bool> = const { Cell::new(false) };
    /// Dropped when this thread ends, before OpenSSL's own clean-up would begin.
    static LEAVING: Leaving = const { Leaving };
}

/// Takes the thread off OpenSSL's list when it is dropped.
struct Leaving;

impl Drop for Leaving {
    fn drop(&mut self) {
        let _at_work = at_work();
        openssl::leave_thread();
    }
}

/// A fork waits no longer than this for threads that are at work: 1 s.
const PATIENCE: Duration = Duration::from_secs(1);

/// This thread is at work in OpenSSL, where it may hold locks of the whole process, until the result is dropped.
pub(crate) fn at_work() -> AtWork {
    let inside = exit::inside();
    let is_outermost = DEPTH.get() == 0;
    if is_outermost {
        enter();
    }
    DEPTH.set(DEPTH.get() + 1);
    if !IS_KNOWN.replace(true) {
        introduce();
        // A thread that is ending already has nobody who would do it.
        let _ = LEAVING.try_with(|_| ());
    }
    if is_outermost {
        openssl::clear_errors();
    }
    AtWork { _inside: inside }
}

/// See [`at_work`].
#[must_use]
pub(crate) struct AtWork {
    _inside: Inside,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            openssl::clear_errors();
            AT_WORK.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// This thread calls OpenSSL without being at work, until the result is dropped: a fork does not wait for it.
pub(crate) fn call() -> Call {
    if !IS_KNOWN.get() {
        drop(at_work());
    }
    let inside = exit::inside();
    openssl::clear_errors();
    Call {
        succeeded: false,
        _inside: inside,
    }
}

/// See [`call`].
#[must_use]
pub(crate) struct Call {
    succeeded: bool,
    _inside: Inside,
}

impl Call {
    /// Ends a call. A read or write that succeeded leaves no error behind, so the queue is not looked at again: that
    /// would cost a ping 500 instructions.
    pub(crate) fn end(mut self, succeeded: bool) {
        self.succeeded = succeeded;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.succeeded {
            openssl::clear_errors();
        }
    }
}

/// Fails in a forked child with what was made when the process had forked `forks` times: a connection is still the
/// parent's, and one byte from the child would break it. The program's function for events can fork at any step.
pub(crate) fn refuse_inherited(forks: u64) -> io::Result<()> {
    if forks == count() {
        return Ok(());
    }
    let why = "the connection belongs to the process that this one was forked from";
    Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))
}

/// Does what may take long and is not OpenSSL's, such as waiting for the network, in the middle of work.
pub(crate) fn outside<T>(wait: impl FnOnce() -> T) -> T {
    /// Goes back to work, also after a panic.
    struct Back(usize);
    impl Drop for Back {
        fn drop(&mut self) {
            enter();
            DEPTH.set(self.0);
        }
    }
    if DEPTH.get() == 0 {
        return exit::outside(wait);
    }
    let back = Back(DEPTH.replace(0));
    AT_WORK.fetch_sub(1, Ordering::SeqCst);
    let result = exit::outside(wait);
    drop(back);
    result
}

fn enter() {
    loop {
        AT_WORK.fetch_add(1, Ordering::SeqCst);
        if FORKING.load(Ordering::SeqCst) == 0 {
            return;
        }
        AT_WORK.fetch_sub(1, Ordering::SeqCst);
        while FORKING.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
    }
}

/// Makes this thread known to OpenSSL; the first one also registers for forks and for OpenSSL's clean-up.
fn introduce() {
    static FIRST: Once = Once::new();
    FIRST.call_once(|| {
        openssl::at_cleanup(before_cleanup);
        watch();
    });
    openssl::enter_thread();
}

/// Notices each fork from now on.
fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| system::at_fork(prepare, in_parent, in_child));
}

extern "C" fn before_cleanup() {
    exit::before_cleanup();
}

/// Before a fork: waits until no other thread is at work.
extern "C" fn prepare() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    let own = usize::from(DEPTH.get() > 0);
    let begun = Instant::now();
    while AT_WORK.load(Ordering::SeqCst) > own && begun.elapsed() < PATIENCE {
        thread::yield_now();
    }
}

/// After a fork, in the parent.
extern "C" fn in_parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

/// After a fork, in the child, whose only thread this is. It may do only what is async-signal-safe: it stores to
/// atomics.
extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    AT_WORK.store(usize::from(DEPTH.get() > 0), Ordering::SeqCst);
    exit::in_child();
    FORKING.store(0, Ordering::SeqCst);
}

/// A value that each process has for itself.
#[derive(Debug)]
pub(crate) struct PerProcess<T: Abandon> {
    forks: u64,
    /// There until it is dropped.
    value: Option<T>,
    /// That of a child, in the child. Made without a lock: another thread may have been at it during the fork.
    child: OnceBox<PerProcess<T>>,
}

/// What a child does with what it has inherited.
pub(crate) trait Abandon {
    /// Gives back what can be given back without waiting for a lock and without a word to a peer. The rest stays
    /// where it is until the process ends: nothing is dropped.
    fn abandon(&self);

    /// Begins its work in the child. Until now nobody but its maker knew it, and functions of the program, which
    /// may ask for it, were not called; if another thread was faster, it is dropped without having begun.
    fn begin(&self);
}

impl<T: Abandon> PerProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        watch();
        Self {
            forks: count(),
            value: Some(value),
            child: OnceBox::new(),
        }
    }

    /// The value of this process; `make` makes it from that of the parent.
    pub(crate) fn get(&self, make: impl Fn(&T) -> T) -> &T {
        let mut own = self;
        while own.forks != count() {
            match own.child.get() {
                Some(child) => own = child,
                None => own.make_child(&make),
            }
        }
        own.value()
    }

    /// The value as it was made, of whichever process. It holds no lock that another thread may have taken.
    pub(crate) fn made(&self) -> &T {
        self.value()
    }

    /// Makes that of a child; of several threads that do so at the same time, one succeeds.
    fn make_child(&self, make: impl Fn(&T) -> T) {
        let inherited = self.value();
        inherited.abandon();
        let made = Box::new(Self::new(make(inherited)));
        if self.child.set(made).is_err() {
            return;
        }
        if let Some(child) = self.child.get() {
            child.value().begin();
        }
    }

    #[expect(clippy::expect_used, reason = "only drop takes the value")]
    fn value(&self) -> &T {
        self.value.as_ref().expect("the value is there until drop")
    }
}

impl<T: Abandon> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        if self.forks != count() {
            // Dropping it may wait for a lock that nobody will release, or for a thread that is not here.
            std::mem::forget(value);
        }
    }
}
