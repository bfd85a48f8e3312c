//! The times at which monitors checked a server: each hello on a connection that never ran anything else.
//!
//! A test calls [`Server::checks`](super::Server::checks), filters the result and measures it. A pooled connection
//! looks like a monitor's until its first command, or until it authenticates.

use super::hello::{is_awaitable, is_hello};
use super::record::Request;
use crate::wire::EXHAUST_ALLOWED;
use std::time::{Duration, Instant};

/// The kind of answer that a hello requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// An answer at once: the handshake of a connection, a check by polling, or a round trip to measure.
    Plain,
    /// One answer, when something has changed (`topologyVersion` and `maxAwaitTimeMS`).
    Awaitable,
    /// One awaited answer, and further answers without further requests (`exhaustAllowed`).
    Streaming,
}

/// A received hello.
#[derive(Clone, Debug)]
pub struct Check {
    /// The connection, by its number.
    pub connection: u64,
    /// The kind of the check.
    pub kind: CheckKind,
    /// True if it is the first on its connection: the handshake.
    pub first: bool,
    /// `application.name` of the connection.
    pub app_name: Option<String>,
    /// The time at which it was read.
    pub at: Instant,
}

impl Check {
    /// Converts the request to a check, if it is a hello.
    pub(super) fn of(request: &Request, first: bool) -> Option<Self> {
        let kind = match is_awaitable(request) {
            false => CheckKind::Plain,
            true if request.flags & EXHAUST_ALLOWED == 0 => CheckKind::Awaitable,
            true => CheckKind::Streaming,
        };
        is_hello(&request.name).then(|| Self {
            connection: request.connection,
            kind,
            first,
            app_name: request.app_name.clone(),
            at: request.received,
        })
    }
}

/// The received hellos, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Checks(Vec<Check>);

impl Checks {
    pub(super) fn new(checks: impl Iterator<Item = Check>) -> Self {
        Self(checks.collect())
    }

    /// Keeps only those of this kind.
    pub fn of_kind(mut self, kind: CheckKind) -> Self {
        self.0.retain(|check| check.kind == kind);
        self
    }

    /// Keeps only those of this application.
    pub fn of_app(mut self, name: &str) -> Self {
        self.0
            .retain(|check| check.app_name.as_deref() == Some(name));
        self
    }

    /// Keeps only the handshakes: one for each connection.
    pub fn handshakes(mut self) -> Self {
        self.0.retain(|check| check.first);
        self
    }

    /// Keeps only those since this time.
    pub fn since(mut self, start: Instant) -> Self {
        self.0.retain(|check| check.at >= start);
        self
    }

    /// The checks.
    pub fn list(&self) -> &[Check] {
        &self.0
    }

    /// The times at which they came.
    pub fn times(&self) -> Vec<Instant> {
        self.0.iter().map(|check| check.at).collect()
    }

    /// The number of checks.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The shortest time between two on the same connection; `None` if no connection had two.
    ///
    /// A handshake, and the first request to stream that follows it at once, do not count: only checks of one kind are
    /// compared.
    pub fn shortest_interval(&self) -> Option<Duration> {
        let pairs = self.0.iter().enumerate().filter_map(|(index, check)| {
            let earlier = self.0[..index].iter().rev();
            let mut same = earlier.filter(|other| other.connection == check.connection);
            let before = same.next().filter(|other| other.kind == check.kind)?;
            Some(check.at.duration_since(before.at))
        });
        pairs.min()
    }

    /// The largest number within any window of this length.
    pub fn most_within(&self, window: Duration) -> usize {
        most_within(&self.times(), window)
    }
}

/// The largest number of those times, oldest first, within any window of this length.
pub fn most_within(times: &[Instant], window: Duration) -> usize {
    let counts = times.iter().enumerate().map(|(index, start)| {
        let within = |time: &&Instant| time.duration_since(*start) <= window;
        times[index..].iter().take_while(within).count()
    });
    counts.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_rates_are_those_of_the_checks() {
        let start = Instant::now();
        let check = |connection, kind, ms| Check {
            connection,
            kind,
            first: false,
            app_name: None,
            at: start + Duration::from_millis(ms),
        };
        let (plain, streaming) = (CheckKind::Plain, CheckKind::Streaming);
        let checks = Checks(vec![
            check(1, plain, 0),
            check(1, streaming, 1), // follows a handshake at once
            check(2, plain, 2),     // another connection
            check(2, plain, 502),
            check(2, plain, 1102),
        ]);
        assert_eq!(checks.shortest_interval(), Some(Duration::from_millis(500)));
        assert_eq!(checks.most_within(Duration::from_millis(502)), 4);
        assert_eq!(checks.most_within(Duration::from_millis(501)), 3);
        assert_eq!(checks.clone().of_kind(streaming).len(), 1);
        assert_eq!(checks.of_kind(streaming).shortest_interval(), None);
        assert_eq!(most_within(&[], Duration::from_secs(1)), 0);
    }
}
