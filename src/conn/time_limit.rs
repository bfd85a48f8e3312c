//! The part of a time limit that a command passes on to the server, as `maxTimeMS`.
//!
//! In: the remaining time of the operation, and the minimum round trip time of the server. Out: the value of `maxTimeMS`,
//! or the decision not to send the command, because its reply would come too late and the connection would be closed. The
//! clock is read only for the handshake.
//!
//! Source: "Client Side Operations Timeout", "Command Execution" and "Cursors".

use std::time::{Duration, Instant};

use crate::time::{Deadline, TimeoutKind};

/// The value of `maxTimeMS` in a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MaxTime {
    /// The remaining time of the operation without a round trip, if `timeoutMS` is set.
    #[default]
    Remaining,
    /// This time, or the remaining time if that is shorter: `maxAwaitTimeMS` of a cursor.
    AtMost(Duration),
    /// No value, because the server would apply it to the whole lifetime of a cursor.
    Absent,
}

/// The time limit of a command at its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerTimeLimit {
    /// The value that the operation asks for.
    pub(crate) max_time: MaxTime,
    /// The minimum round trip time to the server. `None` if `timeoutMS` is not set.
    pub(crate) min_round_trip_time: Option<Duration>,
}

impl ServerTimeLimit {
    /// A command without `maxTimeMS`, which is sent even if little time remains.
    pub(crate) const NONE: Self = Self {
        max_time: MaxTime::Absent,
        min_round_trip_time: None,
    };

    /// Returns the value of `maxTimeMS`, if the command has one. `remaining` is the remaining time of the operation, or
    /// `None` without a limit.
    ///
    /// # Errors
    /// If a round trip takes at least the remaining time.
    pub(crate) fn max_time_ms(&self, remaining: Option<Duration>) -> Result<Option<i64>, TooLate> {
        let at_server = match (remaining, self.min_round_trip_time) {
            (Some(remaining), Some(round_trip)) => Some(time_at_server(remaining, round_trip)?),
            _ => None,
        };
        let max_time = match (self.max_time, at_server) {
            (MaxTime::Absent, _) => None,
            (MaxTime::Remaining, at_server) => at_server,
            (MaxTime::AtMost(limit), Some(at_server)) => Some(limit.min(at_server)),
            // Zero has a meaning here: the server applies no limit.
            (MaxTime::AtMost(limit), None) => return Ok(milliseconds(limit)),
        };
        // Zero would mean that there is no limit.
        Ok(max_time.and_then(milliseconds).map(|limit| limit.max(1)))
    }
}

/// Returns the deadline of a command of the handshake that is sent now, and its `maxTimeMS`, if `timeoutMS` limits it.
///
/// `whole` is the deadline of the attempt to connect. A background thread has a `timeout` for each command in addition
/// ("Background Connection Pooling"). The round trip time is not subtracted, because it is unknown here: the value only
/// keeps the server from working longer.
pub(super) fn of_handshake(whole: Deadline, timeout: Option<Duration>) -> (Deadline, Option<i64>) {
    let own = |limit| Deadline::after(Instant::now(), Some(limit), TimeoutKind::Client);
    let deadline = timeout.map_or(whole, |limit| own(limit).within(Some(whole)));
    let deadline_of_operation = Some(deadline).filter(Deadline::replaces_step_limits);
    let remaining = deadline_of_operation.and_then(|it| it.remaining(Instant::now()).ok()?);
    let max_time_ms = remaining.and_then(milliseconds).map(|limit| limit.max(1));
    (deadline, max_time_ms)
}

/// The error for a command that is not sent, because its reply would come too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLate {
    pub(crate) remaining: Duration,
    pub(crate) min_round_trip_time: Duration,
}

/// Returns the time that the server has for a command.
fn time_at_server(remaining: Duration, min_round_trip_time: Duration) -> Result<Duration, TooLate> {
    let too_late = TooLate {
        remaining,
        min_round_trip_time,
    };
    let at_server = remaining.checked_sub(min_round_trip_time);
    at_server.filter(|time| !time.is_zero()).ok_or(too_late)
}

/// Returns a time in whole milliseconds, or `None` if it is longer than servers accept, which is as good as no limit.
fn milliseconds(time: Duration) -> Option<i64> {
    i32::try_from(time.as_millis()).ok().map(i64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn limit(max_time: MaxTime, round_trip: u64) -> ServerTimeLimit {
        ServerTimeLimit {
            max_time,
            min_round_trip_time: Some(MS(round_trip)),
        }
    }

    #[test]
    fn the_server_gets_the_remaining_time_without_a_round_trip() {
        let limit = limit(MaxTime::Remaining, 20);
        assert_eq!(limit.max_time_ms(Some(MS(500))), Ok(Some(480)));
        assert_eq!(
            limit.max_time_ms(Some(Duration::from_micros(499_900))),
            Ok(Some(479))
        );
        assert_eq!(limit.max_time_ms(None), Ok(None), "timeoutMS=0");
        let unset = ServerTimeLimit::default();
        assert_eq!(
            unset.max_time_ms(Some(MS(500))),
            Ok(None),
            "an internal limit"
        );
        assert_eq!(unset.max_time_ms(None), Ok(None));
    }

    #[test]
    fn a_background_thread_has_the_timeout_for_each_command() {
        let now = Instant::now();
        let connect = Deadline::after(now, Some(MS(60_000)), TimeoutKind::Connect);
        assert_eq!(of_handshake(connect, None), (connect, None));
        let (deadline, max_time_ms) = of_handshake(connect, Some(MS(5000)));
        assert_eq!(deadline.elapsed().kind, TimeoutKind::Client);
        assert!((1..=5000).contains(&max_time_ms.unwrap()));
        // `connectTimeoutMS` is a total.
        assert_eq!(of_handshake(connect, Some(MS(90_000))), (connect, None));
        for kind in [TimeoutKind::Operation, TimeoutKind::ServerSelection] {
            let (_, max_time_ms) = of_handshake(Deadline::after(now, Some(MS(5000)), kind), None);
            assert!((1..=5000).contains(&max_time_ms.unwrap()));
        }
        let passed = Deadline::after(now, Some(Duration::ZERO), TimeoutKind::Operation);
        assert_eq!(of_handshake(passed, None), (passed, None));
    }

    #[test]
    fn less_than_a_millisecond_is_not_no_limit() {
        let limit = limit(MaxTime::Remaining, 20);
        assert_eq!(
            limit.max_time_ms(Some(Duration::from_micros(20_100))),
            Ok(Some(1))
        );
        let limit = self::limit(MaxTime::AtMost(Duration::from_micros(100)), 0);
        assert_eq!(limit.max_time_ms(Some(MS(10))), Ok(Some(1)));
    }

    #[test]
    fn a_limit_that_servers_do_not_accept_is_left_out() {
        let longest = MS(i32::MAX as u64);
        let limit = limit(MaxTime::Remaining, 0);
        assert_eq!(
            limit.max_time_ms(Some(longest)),
            Ok(Some(i64::from(i32::MAX)))
        );
        assert_eq!(limit.max_time_ms(Some(longest + MS(1))), Ok(None));
    }

    #[test]
    fn a_command_is_not_sent_if_no_more_than_a_round_trip_remains() {
        for max_time in [MaxTime::Remaining, MaxTime::Absent, MaxTime::AtMost(MS(1))] {
            for remaining in [0, 19, 20] {
                let too_late = TooLate {
                    remaining: MS(remaining),
                    min_round_trip_time: MS(20),
                };
                let limit = limit(max_time, 20);
                assert_eq!(limit.max_time_ms(Some(MS(remaining))), Err(too_late));
            }
        }
        assert_eq!(
            limit(MaxTime::Absent, 20).max_time_ms(Some(MS(21))),
            Ok(None)
        );
    }

    #[test]
    fn the_wait_for_documents_ends_before_the_operation() {
        let limit = limit(MaxTime::AtMost(MS(100)), 20);
        assert_eq!(limit.max_time_ms(Some(MS(500))), Ok(Some(100)));
        assert_eq!(limit.max_time_ms(Some(MS(60))), Ok(Some(40)));
        assert_eq!(limit.max_time_ms(None), Ok(Some(100)));
        let unset = ServerTimeLimit {
            min_round_trip_time: None,
            ..limit
        };
        assert_eq!(unset.max_time_ms(Some(MS(60))), Ok(Some(100)));
        let zero = ServerTimeLimit {
            max_time: MaxTime::AtMost(Duration::ZERO),
            min_round_trip_time: None,
        };
        assert_eq!(zero.max_time_ms(None), Ok(Some(0)));
    }
}
