//! Watches the TLS files at regular intervals, and reloads them after a change.
//!
//! The state of the files is recorded before they are read, so that a change during the read causes another reload. A
//! failed reload is retried even if nothing has changed: a file may become readable, a certificate or a CRL may come
//! into force, descriptors or memory may be available again. The delay doubles with each failure, up to
//! [`LONGEST_DELAY`].

use std::time::{Duration, Instant};

use crate::ffi::thread::{Background, restart_after_panics};
use crate::stop::{Sleep, Stop};
use crate::tls::FilesSnapshot;

/// A thread that watches files. It stops when this value is dropped.
pub(crate) struct Watcher(Stop);

impl Watcher {
    /// Calls `reload` whenever one of the files has changed since the state `seen`, and again while it fails, until
    /// it returns that there is no client any more. The thread is one of `background`, which starts it as soon as the
    /// system can.
    pub(crate) fn start(
        background: &Background,
        mut seen: FilesSnapshot,
        interval: Duration,
        mut reload: impl FnMut(ReloadReason) -> Reload + Send + 'static,
    ) -> Self {
        let stop = Stop::default();
        let sleep = stop.sleep();
        let go_on = sleep.clone();
        let run = move || {
            let watch = || watch(&sleep, &mut seen, interval, &mut reload);
            restart_after_panics("watching files", watch, || !go_on.stops_within(interval));
        };
        // If this fails, the thread is started later.
        let _ = background.start("mongotls-watch", run);
        Self(stop)
    }

    /// Stops the thread. Does not wait for it, because that thread may be the one that drops the last client.
    pub(crate) fn end(&self) {
        self.0.stop();
    }
}

/// Runs the loop of the thread, until the thread ends or panics.
fn watch(
    sleep: &Sleep,
    seen: &mut FilesSnapshot,
    interval: Duration,
    reload: &mut impl FnMut(ReloadReason) -> Reload,
) {
    let mut failures = 0;
    let mut retry_at: Option<Instant> = None;
    loop {
        let until_retry = retry_at.map(|at| at.saturating_duration_since(Instant::now()));
        if sleep.stops_within(until_retry.map_or(interval, |left| left.min(interval))) {
            return;
        }
        let reason = if seen.renew() {
            failures = 0;
            ReloadReason::Change
        } else if retry_at.is_some_and(|at| at <= Instant::now()) {
            ReloadReason::Retry
        } else {
            continue;
        };
        match reload(reason) {
            Reload::Done => retry_at = None,
            Reload::Failed => {
                retry_at = Instant::now().checked_add(delay(interval, failures));
                failures += 1;
            }
            Reload::NoMore => return,
        }
    }
}

/// The reason for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadReason {
    /// One of the files has changed.
    Change,
    /// The last reload failed.
    Retry,
}

/// The result of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    Done,
    Failed,
    /// No client exists any more.
    NoMore,
}

/// The maximum delay between two attempts to reload files that cannot be used.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Returns the delay before the next attempt, after `failures` consecutive failures.
fn delay(interval: Duration, failures: u32) -> Duration {
    let first = interval.min(Duration::from_secs(1));
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures));
    doubled.min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_half_a_minute() {
        let minute = Duration::from_secs(60);
        let delays: Vec<_> = (0..7).map(|n| delay(minute, n).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(delay(Duration::MAX, u32::MAX), LONGEST_DELAY);
        assert_eq!(delay(Duration::from_millis(10), 3).as_millis(), 80);
    }
}
