//! The server sessions of a client that are not in use, and the cluster time of the client.
//!
//! The rules are a plain value ([`Available`]); [`SessionPool`] is the lock around it. A command takes the lock when it is
//! sent, for its session and the cluster time, and when it has ended, to give both back. Nothing is allocated unless more
//! sessions are in use at the same time than ever before.
//!
//! A pool belongs to one process. In a forked child its lock may be locked forever, so the child does not touch it.

use std::collections::VecDeque;
use std::time::Instant;

use super::server_session::{Lifetime, ServerSession};
use crate::data::cluster_time::ClusterTime;
use crate::ffi::fork;
use crate::sync::Mutex;

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct SessionPool {
    /// The number of forks of the process when the pool was created.
    forks: u64,
    locked: Mutex<Locked>,
}

#[derive(Debug, Default)]
struct Locked {
    available: Available,
    cluster_time: Option<ClusterTime>,
}

impl SessionPool {
    pub(crate) fn new() -> Self {
        Self {
            forks: fork::count(),
            locked: Mutex::default(),
        }
    }

    /// Returns true if the pool belongs to the process that this one was forked from.
    pub(crate) fn is_inherited(&self) -> bool {
        self.forks != fork::count()
    }

    /// Begins a command: returns the cluster time to send and, if `lifetime` is given, a server session.
    pub(crate) fn begin(
        &self,
        lifetime: Option<Lifetime>,
        now: Instant,
    ) -> (Option<ServerSession>, Option<ClusterTime>) {
        if self.is_inherited() {
            return (None, None);
        }
        let mut locked = self.locked.lock();
        let cluster_time = locked.cluster_time;
        let Some(lifetime) = lifetime else {
            return (None, cluster_time);
        };
        let available = locked.available.take(lifetime, now);
        drop(locked);
        // OpenSSL generates the ID without the lock.
        let session = available.unwrap_or_else(|| ServerSession::new(now));
        (Some(session), cluster_time)
    }

    /// Ends a command: advances the cluster time to the time in the reply, and takes a session back.
    pub(crate) fn end(&self, session: Option<ServerSession>, cluster_time: Option<&ClusterTime>) {
        if self.is_inherited() || (session.is_none() && cluster_time.is_none()) {
            return;
        }
        let now = Instant::now();
        let mut locked = self.locked.lock();
        if let Some(time) = cluster_time {
            time.advance(&mut locked.cluster_time);
        }
        if let Some(session) = session.filter(|session| !session.is_inherited()) {
            locked.available.give_back(session, now);
        }
    }

    /// Removes all available sessions, and returns their IDs.
    pub(crate) fn drain(&self) -> Vec<[u8; 16]> {
        if self.is_inherited() {
            return Vec::new();
        }
        let mut locked = self.locked.lock();
        let sessions = std::mem::take(&mut locked.available.sessions);
        drop(locked);
        sessions.iter().map(ServerSession::id).collect()
    }
}

/// The rules of "Server Session Pool".
#[derive(Debug, Default)]
struct Available {
    /// The sessions in the order of their return; the one that was returned last is at the back.
    sessions: VecDeque<ServerSession>,
    /// The lifetime by which a session was last taken.
    lifetime: Lifetime,
}

impl Available {
    /// Takes the session that was returned last. Discards sessions that are about to expire.
    fn take(&mut self, lifetime: Lifetime, now: Instant) -> Option<ServerSession> {
        self.lifetime = lifetime;
        loop {
            let session = self.sessions.pop_back()?;
            if !session.is_about_to_expire(lifetime, now) {
                return Some(session);
            }
        }
    }

    /// Takes a session back, unless it is dirty or about to expire.
    fn give_back(&mut self, session: ServerSession, now: Instant) {
        let is_expiring = |session: &ServerSession| session.is_about_to_expire(self.lifetime, now);
        while self.sessions.front().is_some_and(is_expiring) {
            self.sessions.pop_front();
        }
        if !session.is_dirty() && !session.is_about_to_expire(self.lifetime, now) {
            self.sessions.push_back(session);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bson::{Timestamp, rawdoc};

    use super::*;

    const HALF_AN_HOUR: Lifetime = Lifetime::Limited(Duration::from_secs(1800));

    fn ids(available: &Available) -> Vec<u8> {
        let sessions = available.sessions.iter();
        sessions.map(|session| session.id()[0]).collect()
    }

    #[test]
    fn the_session_that_was_returned_last_is_taken_first() {
        let now = Instant::now();
        let mut available = Available::default();
        for byte in [1, 2, 3] {
            available.give_back(ServerSession::numbered(byte, now), now);
        }
        let mut taken = || available.take(HALF_AN_HOUR, now).map(|one| one.id()[0]);
        assert_eq!(
            [taken(), taken(), taken(), taken()],
            [Some(3), Some(2), Some(1), None]
        );
    }

    #[test]
    fn an_expiring_session_is_discarded_when_one_is_taken() {
        let start = Instant::now();
        let minutes = |n: u64| start + Duration::from_secs(60 * n);
        let mut available = Available::default();
        available.give_back(ServerSession::numbered(1, minutes(10)), minutes(10));
        available.give_back(ServerSession::numbered(2, minutes(0)), minutes(10));
        let taken = available.take(HALF_AN_HOUR, minutes(35)).unwrap();
        assert_eq!(taken.id(), [1; 16]);
        assert!(available.sessions.is_empty());
    }

    #[test]
    fn expiring_sessions_are_discarded_when_one_is_returned() {
        let start = Instant::now();
        let minutes = |n: u64| start + Duration::from_secs(60 * n);
        let mut available = Available::default();
        assert!(available.take(HALF_AN_HOUR, start).is_none());
        for (byte, used) in [(1, 0), (2, 1), (3, 20)] {
            available.give_back(ServerSession::numbered(byte, minutes(used)), minutes(used));
        }
        available.give_back(ServerSession::numbered(4, minutes(40)), minutes(40));
        assert_eq!(ids(&available), [3, 4]);
        // It was not used for a long time before it is returned.
        available.give_back(ServerSession::numbered(5, minutes(2)), minutes(40));
        assert_eq!(ids(&available), [3, 4]);
    }

    #[test]
    fn nothing_expires_without_a_known_lifetime() {
        let start = Instant::now();
        let late = start + Duration::from_secs(1_000_000);
        let mut available = Available::default();
        available.give_back(ServerSession::numbered(1, start), late);
        available.give_back(ServerSession::numbered(2, start), late);
        assert_eq!(ids(&available), [1, 2]);
        assert!(available.take(Lifetime::Unknown, late).is_some());
    }

    #[test]
    fn a_dirty_session_is_discarded() {
        let now = Instant::now();
        let mut available = Available::default();
        let mut session = ServerSession::numbered(1, now);
        session.mark_dirty();
        // It stays dirty.
        session.used(now);
        available.give_back(session, now);
        assert!(available.sessions.is_empty());
    }

    #[test]
    fn a_command_gets_the_latest_cluster_time_and_a_session_if_it_needs_one() {
        let pool = SessionPool::new();
        let now = Instant::now();
        let time = |increment| {
            let time = Timestamp { time: 1, increment };
            ClusterTime::read(&rawdoc! { "clusterTime": time }).unwrap()
        };
        let (session, cluster_time) = pool.begin(None, now);
        assert!(session.is_none() && cluster_time.is_none());
        pool.end(None, Some(&time(2)));
        pool.end(None, Some(&time(1)));
        let (session, cluster_time) = pool.begin(Some(HALF_AN_HOUR), now);
        assert_eq!(cluster_time.unwrap().document(), time(2).document());
        let session = session.unwrap();
        pool.end(Some(session), None);
        let (again, _) = pool.begin(Some(HALF_AN_HOUR), now);
        assert_eq!(again.unwrap().id(), session.id());
        pool.end(again, None);
        assert_eq!(pool.drain(), [session.id()]);
        assert!(pool.drain().is_empty());
    }
}
