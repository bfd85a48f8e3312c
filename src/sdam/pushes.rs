//! The rate at which a server may push replies to hello.
//!
//! A streaming server replies when its state changes, and after `heartbeatFrequencyMS` at the latest. A server (or an
//! attacker in its place) that pushes replies without pause would keep a core busy. A burst is allowed, as in an
//! election. A rate that stays above the sustained one ends the stream, and the server is polled.

use std::time::{Duration, Instant};

/// See the [module documentation](self).
#[derive(Clone, Copy, Debug)]
pub(super) struct Pushes {
    /// The cost of one reply.
    cost: Duration,
    /// The instant at which all replies so far are paid for, at one cost each.
    paid: Option<Instant>,
}

impl Pushes {
    /// Creates the limit for a server that replies after `interval` at the latest.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            cost: COST.min(interval / 2),
            paid: None,
        }
    }

    /// Counts a reply, and returns false if there have been too many.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let paid = self.paid.map_or(now, |paid| paid.max(now)) + self.cost;
        self.paid = Some(paid);
        paid.saturating_duration_since(now) <= self.cost * BURST
    }
}

/// The pause between two replies at the sustained rate: 100 ms.
const COST: Duration = Duration::from_millis(100);

/// The number of replies that may arrive in a burst.
const BURST: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many replies with this pause between them are accepted, up to 1000.
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
        // Replies that arrive at the end of each interval.
        assert_eq!(admitted(ms(20), ms(20)), 1000);
        // After a pause a burst is allowed again.
        let (mut pushes, now) = (Pushes::new(long), Instant::now());
        assert_eq!((0..60).filter(|_| pushes.admit(now)).count(), 50);
        let later = now + Duration::from_secs(60);
        assert_eq!((0..60).filter(|_| pushes.admit(later)).count(), 50);
    }
}
