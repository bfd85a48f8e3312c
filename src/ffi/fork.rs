//! Protection of state that a forked child must not use.
//!
//! A forked child has the memory of its parent, one of its threads, and all of its file descriptors. A lock that
//! another thread held stays locked forever. A connection still belongs to the parent: one byte from the child would
//! break it. Therefore everything that holds locks or connections exists [once for each process](PerProcess): a child
//! creates its own value when it needs one, and does not use the parent's any more.
//!
//! OpenSSL has locks too, some of them for the whole process: version 3.0 takes one for each algorithm that a
//! handshake looks up. Therefore threads of this crate are marked as [at work](at_work) in OpenSSL, and a fork waits
//! until no thread is. That takes no longer than the arithmetic of a handshake, because a thread [steps
//! outside](outside) while it waits for the network, a lock or the program's own function. [Calls](call) on the
//! streams of established connections do not need this, except the first one on each thread. The reason is that
//! OpenSSL keeps a list of its threads under such a lock, which it also takes when a thread ends. Therefore a thread
//! is added to that list while it is marked as at work, and is marked again at its end.
//!
//! Work and calls also guarantee two other properties. OpenSSL's error queue is empty when they begin and when they
//! end, so that errors of other code on this thread are not mistaken for ours. And [`crate::ffi::exit`] counts the
//! thread as inside.
//!
//! Forks are detected by handlers of `pthread_atfork`, so that the check for a fork costs no system call. Processes
//! created by the bare system call `clone` are not detected.

use std::cell::Cell;
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;

use crate::ffi::exit::{self, Inside};
use crate::ffi::{openssl, system};

/// Returns the number of forks between the process that created the first [`PerProcess`] and this process.
pub(crate) fn count() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

static FORKS: AtomicU64 = AtomicU64::new(0);

/// The number of threads that are at work in OpenSSL.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// The number of threads that are about to fork. While it is not zero, no thread starts work.
static FORKING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The nesting depth of this thread's work.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// True if this thread is on OpenSSL's list.
    static IS_KNOWN: Cell<bool> = const { Cell::new(false) };
    /// Dropped when this thread ends, before OpenSSL's own clean-up would begin.
    static LEAVING: Leaving = const { Leaving };
}

/// Removes the thread from OpenSSL's list when dropped.
struct Leaving;

impl Drop for Leaving {
    fn drop(&mut self) {
        let _at_work = at_work();
        openssl::leave_thread();
    }
}

/// The maximum time for which a fork waits for threads that are at work: 1 s.
const PATIENCE: Duration = Duration::from_secs(1);

/// Marks this thread as at work in OpenSSL, where it may hold locks of the whole process, until the returned value is
/// dropped.
pub(crate) fn at_work() -> AtWork {
    let inside = exit::inside();
    let is_outermost = DEPTH.get() == 0;
    if is_outermost {
        enter();
    }
    DEPTH.set(DEPTH.get() + 1);
    if !IS_KNOWN.replace(true) {
        register_thread();
        // During thread exit the destructor can no longer be registered.
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

/// Marks this thread as calling OpenSSL without being at work, until the returned value is dropped. A fork does not
/// wait for it.
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
    /// Ends a call. A successful read or write leaves no error behind, so the queue is not checked again: that would
    /// cost a ping 500 instructions.
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

/// Fails in a forked child. `forks` is the number of forks when the connection was created. The connection belongs to
/// the parent, and one byte from the child would break it. The program's event listener can fork at any step.
pub(crate) fn refuse_inherited(forks: u64) -> io::Result<()> {
    if forks == count() {
        return Ok(());
    }
    let why = "the connection belongs to the process that this one was forked from";
    Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))
}

/// Runs code that is not part of OpenSSL and may take long, such as waiting for the network, in the middle of work.
pub(crate) fn outside<T>(wait: impl FnOnce() -> T) -> T {
    /// Resumes work, even after a panic.
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

/// Adds this thread to OpenSSL's list. The first thread also registers the handlers for forks and for OpenSSL's
/// clean-up.
fn register_thread() {
    static FIRST: Once = Once::new();
    FIRST.call_once(|| {
        openssl::at_cleanup(before_cleanup);
        watch();
    });
    openssl::enter_thread();
}

/// Detects each fork from now on.
fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| system::at_fork(prepare, in_parent, in_child));
}

extern "C" fn before_cleanup() {
    exit::before_cleanup();
}

/// Runs before a fork: waits until no other thread is at work.
extern "C" fn prepare() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    let own = usize::from(DEPTH.get() > 0);
    let begun = Instant::now();
    while AT_WORK.load(Ordering::SeqCst) > own && begun.elapsed() < PATIENCE {
        thread::yield_now();
    }
}

/// Runs after a fork, in the parent.
extern "C" fn in_parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

/// Runs after a fork, in the child, on its only thread. It may do only what is async-signal-safe: it stores to
/// atomics.
extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    AT_WORK.store(usize::from(DEPTH.get() > 0), Ordering::SeqCst);
    exit::in_child();
    FORKING.store(0, Ordering::SeqCst);
}

/// A value that exists once for each process.
#[derive(Debug)]
pub(crate) struct PerProcess<T: Abandon> {
    forks: u64,
    /// The value; `Some` until it is dropped.
    value: Option<T>,
    /// The value of a child process. It is created without a lock, because another thread may have held one during
    /// the fork.
    child: OnceBox<PerProcess<T>>,
}

/// The handling of inherited values in a forked child.
pub(crate) trait Abandon {
    /// Releases what can be released without waiting for a lock and without sending anything to a peer. The rest
    /// stays in place until the process ends: nothing is dropped.
    fn abandon(&self);

    /// Starts the work of the value in the child. Before this call only its creator knows it, and no function of the
    /// program, which might request it, is called. If another thread was faster, the value is dropped without having
    /// started.
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

    /// Returns the value of this process. `make` creates it from the parent's value.
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

    /// Returns the original value, even if it belongs to a parent process. It holds no lock that another thread may
    /// have taken.
    pub(crate) fn made(&self) -> &T {
        self.value()
    }

    /// Creates the value of a child. If several threads do this at the same time, one of them succeeds.
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
            // Dropping the value may wait for a lock that no thread will release, or for a thread that does not exist
            // here.
            std::mem::forget(value);
        }
    }
}
