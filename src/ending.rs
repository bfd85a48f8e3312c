//! The end of a thread in the background that sleeps between its rounds.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Ends the thread that holds the other half, at once or when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Ending(Arc<Signal>);

/// What the thread sleeps on.
#[derive(Clone, Debug)]
pub(crate) struct Sleep(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Ending {
    /// The half that the thread holds.
    pub(crate) fn sleep(&self) -> Sleep {
        Sleep(Arc::clone(&self.0))
    }

    /// Ends the thread. Does not wait for it: it may be the one that calls.
    pub(crate) fn end(&self) {
        *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.end();
    }
}

impl Sleep {
    /// Sleeps so long; true if the thread is to end.
    pub(crate) fn ends_within(&self, interval: Duration) -> bool {
        let ended = self.0.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .0
            .changed
            .wait_timeout_while(ended, interval, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
