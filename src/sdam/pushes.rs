//! The rate at which a server may push answers to hello.
//!
//! A server that streams answers when its state changes, and at `heartbeatFrequencyMS` at the latest. One that pushes
//! without pause, or a peer in its place, would keep a core busy. A burst is free, as in an election; what comes faster
//! than the sustained rate for longer ends the stream, and the server is polled.

use std::time::{Duration, Instant};

/// See the [module documentation](self).
#[derive(Clone, Copy, Debug)]
pub(super) struct Pushes {
    /// The cost of one answer.
    cost: Duration,
    /// The instant at which all answers so far are paid for, at one cost each.
    paid: Option<Instant>,
}

impl Pushes {
    /// The rate for a server that answers each `interval` at the latest.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            cost: COST.min(interval / 2),
            paid: None,
        }
    }

    /// Counts an answer; false if there have been too many.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let paid = self.paid.map_or(now, |paid| paid.max(now)) + self.cost;
        self.paid = Some(paid);
        paid.saturating_duration_since(now) <= self.cost * BURST
    }
}

/// The pause between two answers of a sustained rate: 100 ms.
const COST: Duration = Duration::from_millis(100);

/// The number of answers that may come at once.
const BURST: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many answers with this pause between them are admitted, up to 1000.
    fn admitted(interval: Duration, pause: Duration) -> u32 {
        let (mut pushes, mut now) = (Pushes::new(interval), Instant::now());
        let mut count = 0;
        while count < 1000 && pushes.admit(now) {
            count += 1;
            now += pause;
        }
        count
    }

    #[test]
    fn bursts_and_a_sustained_rate_pass_and_a_flood_does_not() {
        let (long, ms) = (Duration::from_secs(10), Duration::from_millis);
        assert_eq!(admitted(long, Duration::ZERO), 50);
        assert_eq!(admitted(long, ms(1)), 50);
        assert_eq!(admitted(long, ms(50)), 99);
        assert_eq!(admitted(long, ms(100)), 1000);
        // Answers that come when the interval is over.
        assert_eq!(admitted(ms(20), ms(20)), 1000);
        // After a pause there is a burst again.
        let (mut pushes, now) = (Pushes::new(long), Instant::now());
        assert_eq!((0..60).filter(|_| pushes.admit(now)).count(), 50);
        let later = now + Duration::from_secs(60);
        assert_eq!((0..60).filter(|_| pushes.admit(later)).count(), 50);
    }
}
