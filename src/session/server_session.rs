//! One server session, as plain data.

use std::time::{Duration, Instant};

use crate::ffi::fork;
use crate::random;

/// A server session that has one user at a time. It is returned to the pool by value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerSession {
    id: [u8; 16],
    /// The time at which a command with this ID was last sent.
    last_use: Instant,
    /// The number of the last retryable write or transaction; 0 before the first one.
    transaction_number: i64,
    /// True after an error of the network: the server may still be running a command of this session.
    is_dirty: bool,
    /// The number of forks of the process when the session was created.
    forks: u64,
}

impl ServerSession {
    /// Creates a session. The server learns of it from the first command that is sent with its ID.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            id: random::uuid(),
            last_use: now,
            transaction_number: 0,
            is_dirty: false,
            forks: fork::count(),
        }
    }

    /// The UUID.
    pub(crate) fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Notes that a command with this ID is sent now.
    pub(crate) fn used(&mut self, now: Instant) {
        self.last_use = now;
    }

    /// Returns the number of the next retryable write or transaction. It is larger than all earlier ones.
    pub(crate) fn next_transaction_number(&mut self) -> i64 {
        self.transaction_number += 1;
        self.transaction_number
    }

    /// Marks the session as dirty. It is not returned to the pool.
    pub(crate) fn mark_dirty(&mut self) {
        self.is_dirty = true;
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Returns true if the session belongs to the process that this one was forked from.
    pub(crate) fn is_inherited(&self) -> bool {
        self.forks != fork::count()
    }

    /// Returns true if the server will discard the session in less than a minute, unless it is used.
    pub(super) fn is_about_to_expire(&self, lifetime: Lifetime, now: Instant) -> bool {
        match lifetime {
            Lifetime::Unknown => false,
            Lifetime::Limited(limit) => {
                let unused = now.saturating_duration_since(self.last_use);
                unused + MARGIN > limit
            }
        }
    }

    /// A session with an ID of this byte, for tests.
    #[cfg(test)]
    pub(super) fn numbered(byte: u8, last_use: Instant) -> Self {
        Self {
            id: [byte; 16],
            last_use,
            transaction_number: 0,
            is_dirty: false,
            forks: fork::count(),
        }
    }
}

/// The time for which servers keep a session that is not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Unknown, as behind a load balancer. Sessions are then kept.
    #[default]
    Unknown,
    /// The shortest `logicalSessionTimeoutMinutes` of the servers.
    Limited(Duration),
}

impl Lifetime {
    /// The lifetime for a value of `logicalSessionTimeoutMinutes`.
    pub(crate) fn of_minutes(minutes: Option<i64>) -> Self {
        let minutes = minutes.and_then(|minutes| u64::try_from(minutes).ok());
        let seconds = minutes.map(|minutes| minutes.saturating_mul(60));
        seconds.map_or(Self::Unknown, |seconds| {
            Self::Limited(Duration::from_secs(seconds))
        })
    }
}

/// The minimum time that a session must have left to be used: 1 min ("Server Session Pool").
const MARGIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_expires_a_minute_early() {
        let start = Instant::now();
        let session = ServerSession::numbered(1, start);
        let lifetime = Lifetime::of_minutes(Some(30));
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!session.is_about_to_expire(lifetime, after(0)));
        assert!(!session.is_about_to_expire(lifetime, after(29 * 60)));
        assert!(session.is_about_to_expire(lifetime, after(29 * 60 + 1)));
        assert!(!session.is_about_to_expire(Lifetime::Unknown, after(100_000)));
        // A server that keeps sessions for a minute or less leaves none to be used again.
        let short = Lifetime::of_minutes(Some(1));
        assert!(session.is_about_to_expire(short, after(1)));
    }

    #[test]
    fn a_lifetime_is_known_if_the_servers_report_one() {
        let minutes = |n: u64| Lifetime::Limited(Duration::from_secs(60 * n));
        assert_eq!(Lifetime::of_minutes(Some(30)), minutes(30));
        assert_eq!(Lifetime::of_minutes(None), Lifetime::Unknown);
        assert_eq!(Lifetime::of_minutes(Some(-1)), Lifetime::Unknown);
        let longest = Lifetime::Limited(Duration::from_secs(i64::MAX as u64));
        let most = Lifetime::of_minutes(Some(i64::MAX));
        assert!(matches!((most, longest), (Lifetime::Limited(a), Lifetime::Limited(b)) if a > b));
    }
}
