//! Stops a background thread that sleeps between its rounds.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// Stops the thread that holds the other half, by a call or when dropped.
#[derive(Debug, Default)]
pub(crate) struct Stop(Arc<StopSignal>);

/// The half on which the thread sleeps.
#[derive(Clone, Debug)]
pub(crate) struct Sleep(Arc<StopSignal>);

#[derive(Debug, Default)]
struct StopSignal {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Returns the half for the thread.
    pub(crate) fn sleep(&self) -> Sleep {
        Sleep(Arc::clone(&self.0))
    }

    /// Stops the thread. Does not wait for its end, because the thread itself may call this.
    pub(crate) fn stop(&self) {
        *self.0.stopped.lock() = true;
        self.0.changed.notify_all();
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Sleep {
    /// Sleeps for `interval`. Returns true as soon as the thread must end.
    pub(crate) fn stops_within(&self, interval: Duration) -> bool {
        let stopped = self.0.stopped.lock();
        let changed = &self.0.changed;
        *changed.wait_while(stopped, Some(interval), |stopped| !*stopped)
    }
}
