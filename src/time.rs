//! Time as an argument: deadlines that record the option that set them, and instants as text.
//!
//! No rule in this crate reads the clock: the outer layers read it once and pass it on. A [`Deadline`] is an absolute
//! instant, so that a peer that sends one byte per second cannot extend it.

use std::time::{Duration, Instant, SystemTime};

/// The limit that a deadline enforces, so that an error can name the option to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TimeoutKind {
    /// `connectTimeoutMS`: name resolution, TCP, TLS and the MongoDB handshake of one connection.
    Connect,
    /// `socketTimeoutMS`: one command and its reply.
    Socket,
    /// `serverSelectionTimeoutMS`: the wait for a server.
    ServerSelection,
    /// `waitQueueTimeoutMS`: the wait for a pooled connection.
    WaitQueue,
    /// `timeoutMS`: one operation as a whole.
    Client,
    /// The wait of the event listener for a pooled connection.
    Listener,
    /// `timeoutMS` of a database handle ([`Database::with_timeout`](crate::Database::with_timeout)).
    Database,
    /// A limit given with the call itself.
    Operation,
    /// An instant that the program passes down to the operation.
    Deadline,
    /// The limit on the retries of a transaction.
    Transaction,
    /// A limit that the driver sets for its own commands, such as `killCursors` of a cursor that is dropped.
    Internal,
    /// `ocsp_responder_timeout`: one search for an OCSP response.
    OcspResponder,
    /// One request for a credential to a cloud service.
    #[cfg_attr(not(feature = "cloud"), allow(dead_code, reason = "none is asked"))]
    CredentialService,
    /// One call of an OIDC callback.
    OidcCallback,
}

impl TimeoutKind {
    /// Returns the option that sets the limit, as spelled in a connection string.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Connect => "connectTimeoutMS",
            Self::Socket => "socketTimeoutMS",
            Self::ServerSelection => "serverSelectionTimeoutMS",
            Self::WaitQueue => "waitQueueTimeoutMS",
            Self::Client => "timeoutMS",
            Self::Listener => "the limit of an event listener",
            Self::Database => "the time limit of the database handle",
            Self::Operation => "the time limit of the call",
            Self::Deadline => "the deadline of the program",
            Self::Transaction => "the limit on retries of a transaction",
            Self::Internal => "a limit of the driver",
            Self::OcspResponder => "ocsp_responder_timeout",
            Self::CredentialService => "the limit of a credential service",
            Self::OidcCallback => "the limit of an OIDC callback",
        }
    }
}

/// A value of `timeoutMS`, and the level that sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeoutMs {
    /// Zero means no limit.
    pub(crate) limit: Duration,
    pub(crate) kind: TimeoutKind,
}

/// An instant after which an operation fails, and the limit that defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    limit: Duration,
    kind: TimeoutKind,
}

impl Deadline {
    /// Creates a deadline `limit` after `now`. There is no deadline if `limit` is `None`, or larger than the clock
    /// can represent.
    pub(crate) fn after(now: Instant, limit: Option<Duration>, kind: TimeoutKind) -> Self {
        let at = limit.and_then(|limit| now.checked_add(limit));
        Self {
            at,
            limit: limit.unwrap_or(Duration::MAX),
            kind,
        }
    }

    /// Creates the deadline of an operation that begins at `now`, from the instant that the program passes down.
    pub(crate) fn passed_down(at: Instant, now: Instant) -> Self {
        Self {
            at: Some(at),
            limit: at.saturating_duration_since(now),
            kind: TimeoutKind::Deadline,
        }
    }

    /// Returns the deadline of an operation whose `timeoutMS` is zero: it never passes.
    pub(crate) fn unlimited(kind: TimeoutKind) -> Self {
        Self {
            at: None,
            limit: Duration::MAX,
            kind,
        }
    }

    /// Returns true if the deadline comes from `timeoutMS` of any level, or from the program, which is the same. Then `waitQueueTimeoutMS` and `socketTimeoutMS`
    /// do not apply, even if it never passes ("Client Side Operations Timeout", "Validation and Overrides").
    pub(crate) fn replaces_step_limits(&self) -> bool {
        // A limit of server selection is passed on to later steps only if `timeoutMS` is set.
        matches!(
            self.kind,
            TimeoutKind::Client
                | TimeoutKind::Database
                | TimeoutKind::Operation
                | TimeoutKind::Deadline
                | TimeoutKind::ServerSelection
        )
    }

    /// Returns the deadline, or `None` if there is no limit.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Returns the earlier of the two deadlines.
    pub(crate) fn earlier(self, other: Self) -> Self {
        match (self.at, other.at) {
            (Some(own), Some(others)) if others < own => other,
            (None, Some(_)) => other,
            _ => self,
        }
    }

    /// Returns the earlier of this deadline and the deadline of the whole, if that has one.
    #[inline]
    pub(crate) fn within(self, whole: Option<Self>) -> Self {
        whole.map_or(self, |whole| whole.earlier(self))
    }

    /// Returns the deadline of a step whose own limit is `step`, within an operation with the deadline `whole`. If
    /// `whole` comes from `timeoutMS`, it replaces the limit of the step.
    #[inline]
    pub(crate) fn of_step(step: impl FnOnce() -> Self, whole: Option<Self>) -> Self {
        match whole {
            Some(whole) if whole.replaces_step_limits() => whole,
            _ => step().within(whole),
        }
    }

    /// Returns the deadline after half of the remaining time at `now`.
    pub(crate) fn halfway(self, now: Instant) -> Self {
        let half = |at: Instant| now + at.saturating_duration_since(now) / 2;
        Self {
            at: self.at.map(half),
            ..self
        }
    }

    /// Returns the deadline moved later by this time, for periods that do not count against the limit.
    pub(crate) fn extended(self, by: Duration) -> Self {
        Self {
            at: self.at.and_then(|at| at.checked_add(by)),
            ..self
        }
    }

    /// Returns the remaining time at `now`: `Ok(None)` without a limit, or an error once the deadline has passed.
    pub(crate) fn remaining(&self, now: Instant) -> Result<Option<Duration>, Elapsed> {
        let Some(at) = self.at else { return Ok(None) };
        match at.checked_duration_since(now) {
            Some(remaining) if !remaining.is_zero() => Ok(Some(remaining)),
            _ => Err(Elapsed {
                limit: self.limit,
                kind: self.kind,
            }),
        }
    }

    /// Returns the limit and its option, for an error that reports the deadline as passed.
    pub(crate) fn elapsed(&self) -> Elapsed {
        Elapsed {
            limit: self.limit,
            kind: self.kind,
        }
    }
}

/// The error for a deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed {
    pub(crate) limit: Duration,
    pub(crate) kind: TimeoutKind,
}

/// Formats `time` in UTC as RFC 3339 text with whole seconds, for example `2026-08-12T17:00:03Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let whole_seconds = bson::DateTime::from_millis(
        bson::DateTime::from_system_time(time)
            .timestamp_millis()
            .div_euclid(1000)
            * 1000,
    );
    whole_seconds
        .try_to_rfc3339_string()
        .unwrap_or_else(|_| format!("{}s after 1970", whole_seconds.timestamp_millis() / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_ends_at_its_instant_and_names_its_option() {
        let now = Instant::now();
        let deadline = Deadline::after(now, Some(Duration::from_millis(250)), TimeoutKind::Connect);
        assert_eq!(
            deadline.remaining(now),
            Ok(Some(Duration::from_millis(250)))
        );
        let late = deadline
            .remaining(now + Duration::from_millis(250))
            .unwrap_err();
        assert_eq!(
            (late.kind.option(), late.limit),
            ("connectTimeoutMS", Duration::from_millis(250))
        );
    }

    #[test]
    fn without_a_limit_or_past_the_clock_a_deadline_never_ends() {
        let now = Instant::now();
        for limit in [None, Some(Duration::MAX)] {
            assert_eq!(
                Deadline::after(now, limit, TimeoutKind::Socket)
                    .remaining(now + Duration::from_secs(1 << 30)),
                Ok(None)
            );
        }
    }

    #[test]
    fn instants_print_in_utc_with_whole_seconds() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_786_554_003_900);
        assert_eq!(rfc3339(time), "2026-08-12T17:00:03Z");
        assert_eq!(
            rfc3339(SystemTime::UNIX_EPOCH - Duration::from_millis(1)),
            "1969-12-31T23:59:59Z"
        );
    }
}
