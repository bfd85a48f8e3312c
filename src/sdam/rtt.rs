//! Round trip times of one server: the moving average, which server selection uses, and the minimum.
//!
//! Input: the duration of each reply to hello, except for replies that the server delays until something changes.
//! Sources: "Server Selection", "Calculation of Average Round Trip Times"; "Server Monitoring", "Measuring RTT".

use std::collections::VecDeque;
use std::time::Duration;

/// The round trip times of a server, since it was last unknown.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoundTripTimes {
    average: Option<Duration>,
    /// The last samples, up to [`SAMPLES`].
    last: VecDeque<Duration>,
}

impl RoundTripTimes {
    /// Adds a sample.
    pub(crate) fn record(&mut self, sample: Duration) {
        self.average = Some(moving_average(self.average, sample));
        if self.last.len() == SAMPLES {
            self.last.pop_front();
        }
        self.last.push_back(sample);
    }

    /// Removes all samples, because the server is unknown now.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Returns the moving average, or `None` without a sample.
    pub(crate) fn average(&self) -> Option<Duration> {
        self.average
    }

    /// Returns the minimum of the last ten samples, or zero until there are two.
    pub(crate) fn minimum(&self) -> Duration {
        match self.last.len() {
            0 | 1 => Duration::ZERO,
            _ => self.last.iter().min().copied().unwrap_or_default(),
        }
    }
}

/// Returns the average after `sample`, which has a weight of one fifth (`alpha` is 0.2).
pub(crate) fn moving_average(before: Option<Duration>, sample: Duration) -> Duration {
    match before {
        // This order of operations cannot overflow.
        Some(average) => sample / 5 + (average - average / 5),
        None => sample,
    }
}

const SAMPLES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_average_moves_by_a_fifth() {
        let mut times = RoundTripTimes::default();
        assert_eq!(times.average(), None);
        for (sample, average) in [(10, 10_000), (20, 12_000), (0, 9_600)] {
            times.record(MS(sample));
            assert_eq!(times.average(), Some(Duration::from_micros(average)));
        }
        times.record(Duration::MAX);
        assert!(times.average().unwrap() > Duration::MAX / 6);
        times.reset();
        assert_eq!((times.average(), times.minimum()), (None, Duration::ZERO));
    }

    #[test]
    fn the_minimum_is_of_ten_samples_and_needs_two() {
        let mut times = RoundTripTimes::default();
        times.record(MS(1));
        assert_eq!(times.minimum(), Duration::ZERO);
        for _ in 0..9 {
            times.record(MS(5));
            assert_eq!(times.minimum(), MS(1));
        }
        times.record(MS(7));
        assert_eq!(times.minimum(), MS(5));
    }
}
