//! Cancels operations from another thread.
//!
//! A thread that is about to block registers an object that can wake it, for the duration of the wait. A call to
//! [`Canceller::cancel`] sets the flag and wakes all registered threads, which then read the flag. The list is locked while
//! threads are woken: so an object that was removed from the list is never woken later, when another operation may use
//! it. A thread that registers holds no other lock.
//!
//! A forked child ignores what its parent has registered. The list is locked only [at work](fork::at_work), so that no
//! fork leaves it locked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::ffi::fork;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Cancels operations from another thread.
///
/// Give it to an operation or a cursor (`cancelled_by`), or to a handle from which operations are started
/// ([`Client::cancelled_by`](crate::Client::cancelled_by)). After [`cancel`](Self::cancel) each of them ends, wherever it
/// waits: for a server, for a connection, for the network, or before a retry. It fails with
/// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled). Clones share their state. A canceller cannot be used again after a
/// cancellation: create one for each piece of work.
///
/// ```
/// use mongotls::Canceller;
///
/// let canceller = Canceller::new();
/// let other = canceller.clone();
/// std::thread::spawn(move || other.cancel()).join().unwrap();
/// assert!(canceller.is_cancelled());
/// ```
#[derive(Clone, Default)]
pub struct Canceller(Arc<State>);

#[derive(Default)]
struct State {
    is_cancelled: AtomicBool,
    waits: Mutex<Waits>,
}

/// The threads that wait now.
#[derive(Default)]
struct Waits {
    last_number: u64,
    /// The number of forks of the process when the first of `registered` was added.
    forks: u64,
    registered: Vec<(u64, Arc<dyn Wake>)>,
}

/// Wakes a thread that waits for something.
pub(crate) trait Wake: Send + Sync {
    /// Wakes the thread. It must not block.
    fn wake(&self);
}

impl Canceller {
    /// Creates a canceller.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels all operations that have this canceller: those that are running, and those that start later. Does not wait
    /// for their end.
    pub fn cancel(&self) {
        let _at_work = fork::at_work();
        let waits = self.0.lock();
        self.0.is_cancelled.store(true, Ordering::SeqCst);
        for (_, wait) in &waits.registered {
            wait.wake();
        }
    }

    /// Returns true after [`cancel`](Self::cancel).
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::SeqCst)
    }

    /// Registers a wait of this thread until the returned value is dropped. The thread must read
    /// [`is_cancelled`](Self::is_cancelled) afterwards and before it blocks: a wait is not woken for an earlier call to
    /// `cancel`.
    pub(crate) fn register(&self, wait: Arc<dyn Wake>) -> Registration {
        let _at_work = fork::at_work();
        let mut waits = self.0.lock();
        waits.last_number += 1;
        let number = waits.last_number;
        waits.registered.push((number, wait));
        Registration {
            canceller: self.clone(),
            number,
        }
    }

    /// Returns the number of threads that wait now.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().registered.len()
    }
}

impl State {
    /// Locks the list, and removes from it what the parent of this process has registered.
    fn lock(&self) -> MutexGuard<'_, Waits> {
        let mut waits = self.waits.lock();
        if waits.forks != fork::count() {
            waits.forks = fork::count();
            // Dropping them could end connections of the parent.
            std::mem::take(&mut waits.registered)
                .into_iter()
                .for_each(std::mem::forget);
        }
        waits
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller")
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// A wait that a canceller can end; see [`Canceller::register`].
#[must_use]
pub(crate) struct Registration {
    canceller: Canceller,
    number: u64,
}

impl Drop for Registration {
    /// Removes the wait. It is not woken any more when this returns.
    fn drop(&mut self) {
        let _at_work = fork::at_work();
        let mut waits = self.canceller.0.lock();
        waits
            .registered
            .retain(|(number, _)| *number != self.number);
    }
}

/// A pause that can be ended from another thread.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    is_over: Mutex<bool>,
    ended: Condvar,
}

impl Pause {
    /// Sleeps for this time, or until the pause is ended.
    pub(crate) fn sleep(&self, time: Duration) {
        let is_over = self.is_over.lock();
        drop(
            self.ended
                .wait_while(is_over, Some(time), |is_over| !*is_over),
        );
    }
}

impl Wake for Pause {
    fn wake(&self) {
        *self.is_over.lock() = true;
        self.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn only_waits_that_are_registered_are_woken() {
        let canceller = Canceller::new();
        let [before, during] = [(); 2].map(|()| Arc::new(Counter::default()));
        drop(canceller.register(before.clone()));
        let registered = canceller.register(during.clone());
        assert_eq!(canceller.waiting(), 1);
        canceller.clone().cancel();
        assert!(canceller.is_cancelled());
        drop(registered);
        assert_eq!(canceller.waiting(), 0);
        let counts = [&before, &during].map(|it| it.0.load(Ordering::SeqCst));
        assert_eq!(counts, [0, 1]);
    }

    #[test]
    fn a_pause_ends_when_it_is_woken() {
        let pause = Arc::new(Pause::default());
        let other = Arc::clone(&pause);
        let started = Instant::now();
        let waking = thread::spawn(move || other.wake());
        pause.sleep(Duration::from_secs(20));
        assert!(started.elapsed() < Duration::from_secs(10));
        waking.join().unwrap();
        let short = Duration::from_millis(20);
        let started = Instant::now();
        Pause::default().sleep(short);
        assert!(started.elapsed() >= short);
    }
}
