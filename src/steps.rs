//! The steps of one operation, while it runs: what may cancel them, and how long the slow ones took.
//!
//! The executor creates one value for each operation, and passes it to the steps that may block. An operation that has no
//! canceller and does not wait costs nothing here: fast steps are not timed.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::bounds::Bounds;
use crate::cancel::{Canceller, Pause, Registration, Wake};
use crate::data::timing::{PoolLoad, Timing};

/// The steps of one operation; see the [module documentation](self).
#[derive(Default)]
pub(crate) struct Steps<'a> {
    cancellers: &'a [Canceller],
    timing: Cell<Timing>,
    /// The time that the current attempt took before its command was sent, if a listener needs it.
    prepared: Cell<Prepared>,
}

/// The time that an attempt took before its command was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) server_selection: Duration,
    pub(crate) check_out: Duration,
    pub(crate) establishing: Duration,
    pub(crate) pool: Option<PoolLoad>,
}

impl<'a> Steps<'a> {
    /// The steps of an operation that has these bounds.
    pub(crate) fn new(bounds: &'a Bounds) -> Self {
        Self {
            cancellers: bounds.cancellers(),
            ..Self::default()
        }
    }

    /// Returns true if the program has cancelled the operation.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancellers.iter().any(Canceller::is_cancelled)
    }

    /// Registers a wait, which each canceller then wakes, until the returned values are dropped. The thread must read
    /// [`is_cancelled`](Self::is_cancelled) afterwards and before it blocks.
    #[inline]
    pub(crate) fn register(&self, wait: impl FnOnce() -> Arc<dyn Wake>) -> Vec<Registration> {
        if self.cancellers.is_empty() {
            return Vec::new();
        }
        let wait = wait();
        let cancellers = self.cancellers.iter();
        cancellers
            .map(|canceller| canceller.register(Arc::clone(&wait)))
            .collect()
    }

    /// Sleeps for this time, or until the operation is cancelled.
    pub(crate) fn pause(&self, time: Duration) {
        if time.is_zero() {
            return;
        }
        let started = Instant::now();
        if self.cancellers.is_empty() {
            thread::sleep(time);
        } else {
            let pause = Arc::new(Pause::default());
            let _registered = self.register(|| Arc::clone(&pause) as _);
            if !self.is_cancelled() {
                pause.sleep(time);
            }
        }
        self.note(|timing| timing.pauses += started.elapsed());
    }

    /// Records a wait for a server since `started`.
    pub(crate) fn selected(&self, started: Instant) {
        self.note(|timing| timing.server_selection += started.elapsed());
    }

    /// Records a wait for a connection of a pool since `started`.
    pub(crate) fn waited_for_connection(&self, started: Instant) {
        self.note(|timing| timing.check_out += started.elapsed());
    }

    /// Records the state of a pool when the operation began to wait for one of its connections.
    pub(crate) fn found_pool_busy(&self, load: PoolLoad) {
        self.note(|timing| timing.pool = Some(load));
    }

    /// Records the attempt to establish a connection, since `started`. It is a part of the check-out.
    pub(crate) fn established(&self, started: Instant) {
        self.note(|timing| {
            let took = started.elapsed();
            timing.check_out += took;
            timing.establishing += took;
        });
    }

    /// Records a failed exchange with a server.
    pub(crate) fn exchanged(&self, exchange: &Timing) {
        self.note(|timing| {
            timing.send += exchange.send;
            timing.wait += exchange.wait;
            timing.receive += exchange.receive;
        });
    }

    /// The time of the slow steps so far.
    pub(crate) fn timing(&self) -> Timing {
        self.timing.get()
    }

    /// Sets the time of server selection of the current attempt, for the events of its command.
    pub(crate) fn prepare(&self, prepared: Prepared) {
        self.prepared.set(prepared);
    }

    /// The time that the current attempt took before its command was sent. Zero if nothing reports it.
    pub(crate) fn prepared(&self) -> Prepared {
        self.prepared.get()
    }

    fn note(&self, change: impl FnOnce(&mut Timing)) {
        let mut timing = self.timing.get();
        change(&mut timing);
        self.timing.set(timing);
    }
}

impl fmt::Debug for Steps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps")
            .field("timing", &self.timing.get())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_when_the_operation_is_cancelled() {
        let canceller = Canceller::new();
        let bounds = Bounds::default().cancelled_by(&canceller);
        let other = canceller.clone();
        let started = Instant::now();
        let cancelling = thread::spawn(move || {
            while other.waiting() == 0 {
                thread::yield_now();
            }
            other.cancel();
        });
        let steps = Steps::new(&bounds);
        steps.pause(Duration::from_secs(20));
        cancelling.join().unwrap();
        assert!(steps.is_cancelled() && started.elapsed() < Duration::from_secs(10));
        assert!(steps.timing().pauses <= started.elapsed());
        assert_eq!(canceller.waiting(), 0);
        // It does not begin to sleep any more.
        steps.pause(Duration::from_secs(20));
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_time_of_steps_adds_up() {
        let steps = Steps::new(Bounds::NONE);
        let ago = |ms| {
            Instant::now()
                .checked_sub(Duration::from_millis(ms))
                .unwrap()
        };
        steps.selected(ago(20));
        steps.selected(ago(30));
        steps.waited_for_connection(ago(5));
        steps.established(ago(7));
        let timing = steps.timing();
        assert!(timing.server_selection >= Duration::from_millis(50));
        assert!(timing.check_out >= Duration::from_millis(12));
        assert!(timing.establishing >= Duration::from_millis(7) && timing.send.is_zero());
    }
}
