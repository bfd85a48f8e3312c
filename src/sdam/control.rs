//! The control of a server's monitor by other threads: they request a check, cancel one, or stop the monitor.
//!
//! A request shortens the monitor's pause between two checks. If a check is already in progress, its result satisfies
//! the request, unless it is cancelled. Two checks are at least half a second apart, counted from the end of the
//! first ("minHeartbeatFrequencyMS").

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::socket::Interrupt;
use crate::sync::{Condvar, Mutex};

/// The minimum pause between two checks: 500 ms. No option changes it. Source: "Server Monitoring".
pub(super) const MIN_HEARTBEAT_FREQUENCY: Duration = Duration::from_millis(500);

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct Control {
    state: Mutex<ControlState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ControlState {
    has_ended: bool,
    /// True while a check is in progress.
    is_checking: bool,
    /// True if a check was requested while no check was in progress.
    is_requested: bool,
    /// True if a check was requested during a check. That check satisfies the request, unless it is cancelled.
    is_awaited: bool,
    /// True if the current check, or the connection for the next check, was cancelled.
    is_cancelled: bool,
    /// Interrupts the connection for checks.
    interrupt: Arc<Interrupt>,
    /// Interrupts the connection for measuring round trips.
    other_interrupt: Arc<Interrupt>,
}

impl ControlState {
    fn take_interrupts(&mut self) -> [Arc<Interrupt>; 2] {
        [
            std::mem::take(&mut self.interrupt),
            std::mem::take(&mut self.other_interrupt),
        ]
    }
}

/// The connection to use for a new check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Use the existing connection, if there is one.
    AsBefore,
    /// Open a new connection: the existing one was interrupted.
    Anew,
    /// Do not check: the monitor must stop.
    Never,
}

/// The way in which a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The check ended normally: its result counts.
    OfItself,
    /// The check was cancelled, and says nothing about the server.
    Cancelled,
    /// The monitor must stop.
    Ended,
}

impl Control {
    /// Requests a check as soon as possible.
    pub(super) fn request(&self) {
        let mut state = self.state.lock();
        if state.is_checking && !state.is_cancelled {
            state.is_awaited = true;
        } else if !state.is_requested {
            state.is_requested = true;
            self.changed.notify_all();
        }
    }

    /// Cancels the current check and invalidates the connection for checks. The caller must
    /// [interrupt](Interrupt::interrupt) the returned handle.
    pub(super) fn cancel(&self) -> Arc<Interrupt> {
        let mut state = self.state.lock();
        state.is_cancelled = true;
        std::mem::take(&mut state.interrupt)
    }

    /// Interrupts both connections, which are stale, and requests a check on a new one.
    pub(super) fn retire(&self) {
        let mut state = self.state.lock();
        state.is_cancelled = true;
        state.is_requested = true;
        let interrupts = state.take_interrupts();
        drop(state);
        self.changed.notify_all();
        interrupts.iter().for_each(|it| it.interrupt());
    }

    /// Stops the monitor. Does not wait for its thread, because the monitor itself may be the caller.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.has_ended = true;
        let interrupts = state.take_interrupts();
        drop(state);
        self.changed.notify_all();
        interrupts.iter().for_each(|it| it.interrupt());
    }

    /// Records that a check is about to begin.
    pub(super) fn begin(&self) -> Begin {
        let mut state = self.state.lock();
        state.is_checking = true;
        state.is_requested = false;
        state.is_awaited = false;
        let was_cancelled = std::mem::take(&mut state.is_cancelled);
        match () {
            () if state.has_ended => Begin::Never,
            () if was_cancelled => Begin::Anew,
            () => Begin::AsBefore,
        }
    }

    /// Returns a new handle that interrupts the connection for checks, which is about to be opened.
    pub(super) fn renew(&self) -> Arc<Interrupt> {
        let mut state = self.state.lock();
        state.interrupt = Self::fresh(state.has_ended || state.is_cancelled);
        Arc::clone(&state.interrupt)
    }

    /// Returns a new handle that interrupts the connection for measuring round trips.
    pub(super) fn renew_other(&self) -> Arc<Interrupt> {
        let mut state = self.state.lock();
        state.other_interrupt = Self::fresh(state.has_ended);
        Arc::clone(&state.other_interrupt)
    }

    fn fresh(is_over: bool) -> Arc<Interrupt> {
        let interrupt = Arc::<Interrupt>::default();
        if is_over {
            interrupt.interrupt();
        }
        interrupt
    }

    /// Records that a check has ended.
    pub(super) fn finish(&self) -> End {
        let mut state = self.state.lock();
        state.is_checking = false;
        if state.is_cancelled && state.is_awaited {
            state.is_requested = true;
        }
        match () {
            () if state.has_ended => End::Ended,
            () if state.is_cancelled => End::Cancelled,
            () => End::OfItself,
        }
    }

    /// Waits for the next check: for `interval`, or less if a check is requested. Returns false if the monitor must
    /// stop.
    pub(super) fn wait(&self, interval: Duration) -> bool {
        let start = Instant::now();
        let mut state = self.state.lock();
        loop {
            if state.has_ended {
                return false;
            }
            let pause = match state.is_requested {
                true => MIN_HEARTBEAT_FREQUENCY,
                false => interval,
            };
            let remaining = pause.saturating_sub(start.elapsed());
            if remaining.is_zero() {
                return true;
            }
            state = self.changed.wait(state, Some(remaining));
        }
    }

    /// Waits for the whole `interval`, regardless of requests. Returns false if the monitor must stop.
    pub(super) fn pause(&self, interval: Duration) -> bool {
        let waits = |state: &mut ControlState| !state.has_ended;
        let state = self
            .changed
            .wait_while(self.state.lock(), Some(interval), waits);
        !state.has_ended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_request_shortens_the_wait_and_is_void_during_a_check() {
        let control = Control::default();
        assert_eq!(control.begin(), Begin::AsBefore);
        control.request();
        assert_eq!(control.finish(), End::OfItself);
        let start = Instant::now();
        assert!(control.wait(Duration::from_millis(600)));
        assert!(start.elapsed() >= Duration::from_millis(600));
        control.request();
        let start = Instant::now();
        assert!(control.wait(LONG));
        let took = start.elapsed();
        assert!(took >= MIN_HEARTBEAT_FREQUENCY && took < LONG, "{took:?}");
        // The next check satisfies the request.
        assert_eq!(control.begin(), Begin::AsBefore);
        assert_eq!(control.finish(), End::OfItself);
        assert!(!control.state.lock().is_requested);
    }

    #[test]
    fn a_cancelled_check_is_ignored_and_loses_its_connection() {
        let control = Control::default();
        let interrupt = control.renew();
        assert_eq!(control.begin(), Begin::AsBefore);
        control.cancel().interrupt();
        assert!(interrupt.is_interrupted());
        // A cancelled check does not satisfy a request.
        control.request();
        assert_eq!(control.finish(), End::Cancelled);
        assert!(control.state.lock().is_requested);
        assert_eq!(control.begin(), Begin::Anew);
        let interrupt = control.renew();
        assert!(!interrupt.is_interrupted());
        assert_eq!(control.finish(), End::OfItself);
        // The connection is also interrupted between two checks.
        control.cancel().interrupt();
        assert!(interrupt.is_interrupted());
        assert_eq!(control.begin(), Begin::Anew);
    }

    #[test]
    fn waiters_of_a_cancelled_check_get_the_next_one() {
        let control = Control::default();
        assert_eq!(control.begin(), Begin::AsBefore);
        control.request();
        control.cancel().interrupt();
        assert_eq!(control.finish(), End::Cancelled);
        let start = Instant::now();
        assert!(control.wait(LONG));
        assert!(start.elapsed() < LONG);
        // This check satisfies the request, and no further one follows.
        assert_eq!(control.begin(), Begin::Anew);
        assert_eq!(control.finish(), End::OfItself);
        assert!(!control.state.lock().is_requested);
    }

    #[test]
    fn connections_that_are_out_of_date_are_replaced_soon() {
        let control = Control::default();
        let interrupts = [control.renew(), control.renew_other()];
        assert_eq!(control.begin(), Begin::AsBefore);
        control.retire();
        assert!(interrupts.iter().all(|it| it.is_interrupted()));
        assert_eq!(control.finish(), End::Cancelled);
        let start = Instant::now();
        assert!(control.wait(LONG));
        assert!(start.elapsed() < LONG);
        assert_eq!(control.begin(), Begin::Anew);
        assert!(!control.renew().is_interrupted() && !control.renew_other().is_interrupted());
    }

    #[test]
    fn stopping_interrupts_connections_and_wakes_waiters() {
        let control = Arc::new(Control::default());
        let interrupts = [control.renew(), control.renew_other()];
        let (sender, receiver) = mpsc::channel();
        let waits: [fn(&Control) -> bool; 2] = [|it| it.wait(LONG), |it| it.pause(LONG)];
        for wait in waits {
            let (control, sender) = (Arc::clone(&control), sender.clone());
            thread::spawn(move || sender.send(wait(&control)));
        }
        control.end();
        for _ in 0..2 {
            assert_eq!(receiver.recv_timeout(LONG), Ok(false));
        }
        assert!(interrupts.iter().all(|it| it.is_interrupted()));
        assert!(control.renew().is_interrupted() && control.renew_other().is_interrupted());
        assert_eq!(control.begin(), Begin::Never);
        assert_eq!(control.finish(), End::Ended);
    }
}
