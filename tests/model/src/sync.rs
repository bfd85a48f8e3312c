//! The synchronization of the wait queue, in the model: the mutex and the condition variable of shuttle, with timeouts.
//!
//! Each thread has a separate clock. It stands still until a wait with a time limit times out, which is a choice: such
//! a wait may end at any moment, or never. Any wait may also end spuriously, like those of real condition variables.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{LazyLock, PoisonError};
use std::time::{Duration, Instant};

pub(super) use std::sync::Arc;

use crate::world::{chance, time_is_up};

/// The time that passes when a wait times out: a day.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

shuttle::thread_local! {
    static PASSED: Cell<Duration> = Cell::new(Duration::ZERO);
}

/// The clock of this thread.
pub(super) fn now() -> Instant {
    *BEGINNING + PASSED.with(Cell::get)
}

#[derive(Debug, Default)]
pub(super) struct Mutex<T>(shuttle::sync::Mutex<T>);

#[derive(Debug)]
pub(super) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// `Some` until it is dropped.
    guard: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            guard: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let guard = self.0.try_lock().ok()?;
        Some(MutexGuard {
            mutex: self,
            guard: Some(guard),
        })
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("it is held until drop")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("it is held until drop")
    }
}

#[derive(Debug, Default)]
pub(super) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(super) fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Waits. A wait with a limit times out, after any actions of the other threads, or not at all.
    pub(super) fn wait<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, T> {
        let mutex = guard.mutex;
        if limit.is_some() && time_is_up() {
            drop(guard);
            shuttle::thread::yield_now();
            PASSED.with(|passed| passed.set(passed.get() + LONG));
            return mutex.lock();
        }
        let held = guard.guard.take();
        if chance(8) {
            drop(held);
            return mutex.lock();
        }
        guard.guard = held.map(|held| self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        guard
    }
}
