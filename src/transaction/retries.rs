//! The decision whether and when a transaction is run again: no clock, no sleep.
//!
//! The rules are those of "Convenient API for Transactions", "Sequence of Actions". Retries end with the time limit of the
//! transaction, and otherwise after 120 s.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::event::TransactionRetry;
use crate::time::{Deadline, Elapsed, TimeoutKind, TimeoutMs};

/// The attempts of one transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    /// The deadline of the transaction as a whole, if it has a time limit.
    deadline: Option<Deadline>,
    /// The instant at which no other attempt begins.
    end: Deadline,
    limit: Option<u32>,
    attempts: u32,
}

/// The step after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// Another attempt, after a pause.
    Pause(Duration),
    /// No other attempt, because the program limits their number.
    Stop,
    /// No other attempt, because no time is left.
    TimedOut(Elapsed),
}

impl Retries {
    pub(super) fn new(now: Instant, limit: Option<TimeoutMs>, attempts: Option<u32>) -> Self {
        let deadline = limit.map(TimeoutMs::begin);
        Self {
            deadline,
            end: deadline
                .unwrap_or_else(|| Deadline::after(now, Some(LIMIT), TimeoutKind::Transaction)),
            limit: attempts,
            attempts: 0,
        }
    }

    /// Begins an attempt.
    pub(super) fn begin(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// The deadline of the transaction as a whole, if it has a time limit.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// The limit, if it has passed.
    pub(super) fn elapsed(&self, now: Instant) -> Option<Elapsed> {
        self.end.remaining(now).err()
    }

    /// Decides after a failed attempt. `jitter` is a random number from 0 to 1.
    pub(super) fn next(&self, now: Instant, jitter: f64) -> Next {
        if self.limit.is_some_and(|limit| self.attempts >= limit) {
            return Next::Stop;
        }
        let pause = longest_pause(self.attempts).mul_f64(jitter);
        match self.end.remaining(now) {
            Err(elapsed) => Next::TimedOut(elapsed),
            Ok(Some(remaining)) if remaining <= pause => Next::TimedOut(self.end.elapsed()),
            Ok(_) => Next::Pause(pause),
        }
    }

    /// The report of another attempt.
    pub(super) fn retry(&self, error: Error, pause: Duration) -> TransactionRetry {
        TransactionRetry {
            attempts: self.attempts,
            is_commit: false,
            pause,
            error,
        }
    }

    /// The report of another commit.
    pub(super) fn commit_retry(&self, error: Error) -> TransactionRetry {
        TransactionRetry {
            is_commit: true,
            ..self.retry(error, Duration::ZERO)
        }
    }
}

/// The longest pause before the retry of this number, from 1: `min(5 ms * 1.5^(number - 1), 500 ms)`.
fn longest_pause(number: u32) -> Duration {
    // A higher power exceeds the longest pause by far.
    let power = i32::try_from(number.saturating_sub(1).min(100)).unwrap_or(100);
    FIRST_PAUSE.mul_f64(1.5_f64.powi(power)).min(LAST_PAUSE)
}

/// The time within which the last retry begins, without a time limit of the transaction: 120 s.
const LIMIT: Duration = Duration::from_secs(120);

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn after(attempts: u32, limit: Option<u32>) -> (Instant, Retries) {
        let now = Instant::now();
        let mut retries = Retries::new(now, None, limit);
        (0..attempts).for_each(|_| retries.begin());
        (now, retries)
    }

    #[test]
    fn pauses_grow_up_to_half_a_second() {
        let pause = |number| longest_pause(number).as_micros();
        assert_eq!([pause(1), pause(2), pause(3)], [5000, 7500, 11_250]);
        assert_eq!([pause(12), pause(13)], [432_487, 500_000]);
        assert_eq!(pause(u32::MAX), 500_000);
        let (now, retries) = after(2, None);
        assert_eq!(
            retries.next(now, 0.5),
            Next::Pause(Duration::from_micros(3750))
        );
        assert_eq!(retries.next(now, 0.0), Next::Pause(Duration::ZERO));
    }

    #[test]
    fn retries_end_after_two_minutes() {
        let (now, retries) = after(1, None);
        let elapsed = Elapsed {
            limit: LIMIT,
            kind: TimeoutKind::Transaction,
        };
        let just_before = now + LIMIT - MS(6);
        assert_eq!(retries.next(just_before, 1.0), Next::Pause(MS(5)));
        assert_eq!(
            retries.next(now + LIMIT - MS(5), 1.0),
            Next::TimedOut(elapsed)
        );
        assert_eq!(retries.next(now + LIMIT, 0.0), Next::TimedOut(elapsed));
        assert_eq!(retries.elapsed(just_before), None);
        assert_eq!(retries.elapsed(now + LIMIT), Some(elapsed));
        assert_eq!(retries.deadline(), None);
    }

    #[test]
    fn a_time_limit_of_the_transaction_replaces_the_two_minutes() {
        let limit = |ms| {
            let limit = TimeoutMs {
                limit: MS(ms),
                kind: TimeoutKind::Operation,
            };
            Retries::new(Instant::now(), Some(limit), None)
        };
        let late = Instant::now() + Duration::from_secs(500);
        let elapsed = limit(50).elapsed(late).unwrap();
        assert_eq!(
            (elapsed.limit, elapsed.kind),
            (MS(50), TimeoutKind::Operation)
        );
        assert_eq!(limit(0).elapsed(late), None, "zero means no limit");
        assert_eq!(limit(600_000).elapsed(late), None);
    }

    #[test]
    fn the_program_may_limit_the_attempts() {
        let next = |attempts| {
            let (now, retries) = after(attempts, Some(3));
            retries.next(now, 0.0)
        };
        assert_eq!(next(2), Next::Pause(Duration::ZERO));
        assert_eq!(next(3), Next::Stop);
    }
}
