//! A mutex and a condition variable that ignore poisoning. They are otherwise those of the standard library.
//!
//! A mutex of the standard library is poisoned once a thread panics while it holds the lock, because the value may then
//! be half changed. In this crate it is not: a change under a lock either cannot panic between its first and its last
//! step, or a guard completes it when it is dropped. One panic must not make a client unusable for all other threads.

use std::sync;
use std::time::Duration;

pub(crate) use std::sync::MutexGuard;

/// A [`std::sync::Mutex`] without poisoning.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(sync::PoisonError::into_inner)
    }

    /// Locks the mutex unless it is locked now. A forked child must not wait for a lock: the thread that holds it may
    /// exist in the parent only.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(sync::TryLockError::WouldBlock) => None,
        }
    }
}

/// A [`std::sync::Condvar`] for a [`Mutex`].
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    #[inline]
    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    #[inline]
    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Waits for a notification, for at most `limit` if given. It may also return for no reason.
    pub(crate) fn wait<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, T> {
        match limit {
            Some(limit) => {
                let waited = self.0.wait_timeout(guard, limit);
                waited.unwrap_or_else(sync::PoisonError::into_inner).0
            }
            None => {
                let waited = self.0.wait(guard);
                waited.unwrap_or_else(sync::PoisonError::into_inner)
            }
        }
    }

    /// Waits while `condition` is true, for at most `limit` if given.
    pub(crate) fn wait_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Option<Duration>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        match limit {
            Some(limit) => {
                let waited = self.0.wait_timeout_while(guard, limit, condition);
                waited.unwrap_or_else(sync::PoisonError::into_inner).0
            }
            None => {
                let waited = self.0.wait_while(guard, condition);
                waited.unwrap_or_else(sync::PoisonError::into_inner)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_panic_under_the_lock_leaves_the_value_usable() {
        let (mutex, condvar) = (Mutex::new(1), Condvar::new());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _guard = mutex.lock();
            panic!("this is part of the test");
        }));
        assert!(panicked.is_err() && mutex.0.is_poisoned());
        assert_eq!(mutex.try_lock().as_deref(), Some(&1));
        let no_time = Some(Duration::ZERO);
        assert_eq!(*condvar.wait(mutex.lock(), no_time), 1);
        assert_eq!(*condvar.wait_while(mutex.lock(), no_time, |_| true), 1);
        assert_eq!(*condvar.wait_while(mutex.lock(), None, |_| false), 1);
    }
}
