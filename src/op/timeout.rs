//! The time limits of operations and of cursors ("Client Side Operations Timeout").
//!
//! An operation has one deadline from its start to its result. It comes from `timeoutMS` of the call, of the database or
//! of the client, in this order, or it is that of a larger whole. An instant that the program passes down
//! ([`Bounds`]) works like a `timeoutMS` that ends then; the earlier one counts. If no level sets a limit, there is no
//! deadline, and each step has its own limit. A `timeoutMS` of zero gives a deadline that never passes: the steps have no limits of
//! their own then, except `serverSelectionTimeoutMS` and `connectTimeoutMS`.

use std::time::{Duration, Instant};

use super::MaxTime;
use crate::bounds::Bounds;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::options::{ClientOptions, CursorTimeoutMode, CursorType};
use crate::server_code::MAX_TIME_MS_EXPIRED;
use crate::time::{Deadline, Elapsed, TimeoutKind, TimeoutMs};

/// The time limit of an operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum TimeLimit {
    /// `timeoutMS` of the client, if it is set.
    #[default]
    OfClient,
    /// `timeoutMS` of the call or of the database. Zero means no limit.
    Of(TimeoutMs),
    /// The deadline of a larger whole, such as the lifetime of a cursor.
    Until(Deadline),
    /// A limit that the driver sets itself. It does not reach the server, and the limits of the steps apply too.
    Internal(Duration),
}

impl TimeoutMs {
    /// Returns `timeoutMS` of the client, if it is set.
    pub(crate) fn of_client(options: &ClientOptions) -> Option<Self> {
        options.timeout.map(|limit| Self {
            limit,
            kind: TimeoutKind::Client,
        })
    }

    /// Returns the deadline of an operation that begins now.
    pub(crate) fn begin(self) -> Deadline {
        match self.limit.is_zero() {
            true => Deadline::unlimited(self.kind),
            false => Deadline::after(Instant::now(), Some(self.limit), self.kind),
        }
    }
}

impl TimeLimit {
    /// The limit of a call.
    pub(crate) fn of_call(limit: Duration) -> Self {
        Self::Of(TimeoutMs {
            limit,
            kind: TimeoutKind::Operation,
        })
    }

    /// Returns true if the command has a deadline that the server learns of.
    pub(crate) fn reaches_server(self, options: &ClientOptions, bounds: &Bounds) -> bool {
        match self {
            _ if bounds.deadline().is_some() => true,
            Self::OfClient => options.timeout.is_some_and(|limit| !limit.is_zero()),
            Self::Of(timeout) => !timeout.limit.is_zero(),
            Self::Until(deadline) => deadline.at().is_some() && deadline.replaces_step_limits(),
            Self::Internal(_) => false,
        }
    }

    /// Returns the deadline of an operation that begins now, or `None` if nothing limits it as a whole. The clock is
    /// read only if there is a limit.
    pub(crate) fn begin(self, options: &ClientOptions) -> Option<Deadline> {
        match self {
            Self::OfClient => TimeoutMs::of_client(options).map(TimeoutMs::begin),
            Self::Of(timeout) => Some(timeout.begin()),
            Self::Until(deadline) => Some(deadline),
            Self::Internal(limit) => {
                let now = Instant::now();
                Some(Deadline::after(now, Some(limit), TimeoutKind::Internal))
            }
        }
    }
}

/// Returns the deadline of an operation that begins now: that of its own limit, or the one that the program passes down
/// if that is earlier. The clock is read only if there is one.
///
/// # Errors
/// If the deadline of the program has passed.
pub(super) fn begin(
    limit: TimeLimit,
    options: &ClientOptions,
    bounds: &Bounds,
) -> Result<Option<Deadline>> {
    let own = limit.begin(options);
    let Some(at) = bounds.deadline() else {
        return Ok(own);
    };
    let now = Instant::now();
    if at <= now {
        return Err(Error::deadline_passed());
    }
    let passed_down = Deadline::passed_down(at, now);
    Ok(Some(
        own.map_or(passed_down, |own| own.earlier(passed_down)),
    ))
}

/// Returns true if the time of an operation is limited as a whole. `timeout` is `timeoutMS` of the operation.
pub(crate) fn is_limited(
    timeout: Option<TimeoutMs>,
    options: &ClientOptions,
    bounds: &Bounds,
) -> bool {
    let timeout = timeout.or_else(|| TimeoutMs::of_client(options));
    bounds.deadline().is_some() || timeout.is_some_and(|it| !it.limit.is_zero())
}

/// Returns the deadline of the next server selection and check-out of an operation with the deadline `whole`, if
/// `timeoutMS` is set: `min(serverSelectionTimeoutMS, remaining timeoutMS)`. Otherwise the steps have their own limits.
pub(crate) fn of_selection(options: &ClientOptions, whole: Option<Deadline>) -> Option<Deadline> {
    let whole = whole?;
    if !whole.replaces_step_limits() {
        return Some(whole);
    }
    let limit = Some(options.server_selection_timeout);
    let own = Deadline::after(Instant::now(), limit, TimeoutKind::ServerSelection);
    Some(own.within(Some(whole)))
}

/// Converts the server's report that `maxTimeMS` has passed to a timeout, if `timeoutMS` is set ("Error
/// Transformations"). Only the code counts.
///
/// Typed operations also convert this code in `writeErrors` and in `writeConcernError`, which are parts of a successful
/// reply to `run_command`.
pub(crate) fn transformed<T>(outcome: Result<T>, deadline: Option<Deadline>) -> Result<T> {
    outcome.map_err(|error| {
        let is_set = deadline.is_some_and(|deadline| deadline.replaces_step_limits());
        let code = error.command().map(|failure| failure.code);
        match is_set && code == Some(MAX_TIME_MS_EXPIRED) {
            true => error.into_timeout(),
            false => error,
        }
    })
}

/// The same for the code of a failed write, or of a failure to acknowledge it, in a reply with `ok: 1`. `is_limited`: see
/// the function of this name.
pub(crate) fn transformed_write<T>(outcome: Result<T>, is_limited: bool) -> Result<T> {
    outcome.map_err(|error| {
        let is_expired = error.write_failure().is_some_and(|failure| {
            let of_writes = failure.errors.iter().map(|error| error.code);
            let of_concern = failure.concern_error.iter().map(|error| error.code);
            of_writes
                .chain(of_concern)
                .any(|code| code == MAX_TIME_MS_EXPIRED)
        });
        match is_limited && is_expired {
            true => error.into_timeout(),
            false => error,
        }
    })
}

/// Returns the time limit of an operation that leaves no time for another attempt after `error`. Without it the limit has
/// not passed.
pub(crate) fn elapsed_after(error: &Error, deadline: Option<Deadline>) -> Option<Elapsed> {
    let deadline = deadline.filter(|deadline| deadline.at().is_some())?;
    // The server has ended the command a little earlier, or the rest was too short to send it or to get a connection.
    let is_of_limit = error.is_timeout()
        && deadline.replaces_step_limits()
        && (error.command().is_some() || error.stage().is_none());
    match deadline.remaining(Instant::now()) {
        Ok(_) => is_of_limit.then(|| deadline.elapsed()),
        Err(elapsed) => Some(elapsed),
    }
}

/// The options of a command that opens a cursor, as far as they concern time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CursorTiming {
    pub(crate) cursor_type: CursorType,
    pub(crate) timeout_mode: Option<CursorTimeoutMode>,
    pub(crate) max_await_time: Option<Duration>,
}

impl CursorTiming {
    /// Returns the options of a command.
    pub(crate) fn of(command: &Command) -> Self {
        Self {
            cursor_type: command.own_cursor_type(),
            timeout_mode: command.own_timeout_mode(),
            max_await_time: command.own_max_await_time(),
        }
    }

    /// Begins the command that opens the cursor. Returns its limit, its `maxTimeMS`, and the limits of the cursor. `bounds`
    /// are those of the program, which apply to each command of the cursor.
    ///
    /// # Errors
    /// If the options contradict each other ("Cursors", "Tailable Cursors"; "Run Command", "Client Side Operations
    /// Timeout").
    pub(crate) fn begin(
        self,
        timeout: Option<TimeoutMs>,
        bounds: &Bounds,
    ) -> Result<(TimeLimit, MaxTime, CursorTimeout)> {
        use CursorTimeoutMode::{CursorLifetime, Iteration};
        let is_tailable = self.cursor_type.is_tailable();
        if self.timeout_mode.is_some() && timeout.is_none() {
            return Err(Error::invalid_argument("a timeout mode needs timeoutMS"));
        }
        if is_tailable && self.timeout_mode == Some(CursorLifetime) {
            return Err(Error::invalid_argument(
                "a tailable cursor has no timeout for its lifetime: its timeout mode is Iteration",
            ));
        }
        if let (Some(wait), Some(timeout)) = (self.max_await_time, timeout) {
            if self.cursor_type != CursorType::TailableAwait {
                return Err(Error::invalid_argument(
                    "maxTimeMS of getMore together with timeoutMS is for cursors of the type TailableAwait only",
                ));
            }
            if !timeout.limit.is_zero() && wait >= timeout.limit {
                return Err(Error::invalid_argument(format!(
                    "maxAwaitTimeMS ({} ms) must be shorter than timeoutMS ({} ms)",
                    wait.as_millis(),
                    timeout.limit.as_millis()
                )));
            }
        }
        let Some(timeout) = timeout else {
            let max_time = match (bounds.deadline(), self.cursor_type) {
                (None, _) | (_, CursorType::Tailable) => MaxTime::Absent,
                (Some(_), _) => MaxTime::Remaining,
            };
            return Ok((TimeLimit::OfClient, max_time, CursorTimeout::default()));
        };
        let mode = match is_tailable {
            true => Iteration,
            false => self.timeout_mode.unwrap_or(CursorLifetime),
        };
        // The server would apply the value to the lifetime of the cursor, except if the cursor waits for documents.
        let max_time = match (mode, self.cursor_type) {
            (CursorLifetime, _) | (Iteration, CursorType::TailableAwait) => MaxTime::Remaining,
            (Iteration, _) => MaxTime::Absent,
        };
        let deadline = timeout.begin();
        let cursor = CursorTimeout {
            timeout: Some(timeout),
            lifetime: (mode == CursorLifetime).then_some(deadline),
        };
        Ok((TimeLimit::Until(deadline), max_time, cursor))
    }

    /// Returns `maxTimeMS` of the commands that fetch further batches.
    pub(crate) fn of_get_more(self) -> MaxTime {
        self.max_await_time.map_or(MaxTime::Absent, MaxTime::AtMost)
    }
}

/// The time limits of a cursor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CursorTimeout {
    /// `timeoutMS`, if it is set.
    pub(crate) timeout: Option<TimeoutMs>,
    /// The deadline of the whole cursor. `None` if `timeoutMS` applies to each iteration anew, or is not set.
    pub(crate) lifetime: Option<Deadline>,
}

impl CursorTimeout {
    /// Returns the limit of an iteration that begins now, with all its `getMore` commands.
    pub(crate) fn of_iteration(&self) -> TimeLimit {
        match (self.lifetime, self.timeout) {
            (Some(lifetime), _) => TimeLimit::Until(lifetime),
            (None, Some(timeout)) => TimeLimit::Until(timeout.begin()),
            (None, None) => TimeLimit::OfClient,
        }
    }

    /// Returns true if the cursor can be used after an iteration that took too long.
    pub(crate) fn is_refreshed(&self) -> bool {
        self.lifetime.is_none() && self.timeout.is_some()
    }

    /// Returns the limit for closing the cursor: `timeoutMS` again, even if the lifetime of the cursor is over.
    pub(crate) fn of_close(&self) -> TimeLimit {
        self.timeout
            .map_or(TimeLimit::Internal(LONGEST_DROP), TimeLimit::Of)
    }

    /// Returns the limit for closing the cursor when it is dropped: as [`of_close`](Self::of_close), but two seconds at
    /// most.
    pub(crate) fn of_drop(&self) -> TimeLimit {
        match self.timeout {
            Some(timeout) if !timeout.limit.is_zero() => TimeLimit::Of(TimeoutMs {
                limit: timeout.limit.min(LONGEST_DROP),
                ..timeout
            }),
            _ => TimeLimit::Internal(LONGEST_DROP),
        }
    }
}

/// The longest time that dropping a cursor waits for the server: 2 s.
const LONGEST_DROP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{CommandFailure, ErrorKind};
    use crate::uri::ConnectionString;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn options(text: &str) -> ClientOptions {
        let uri = format!("mongodb://h/?{text}");
        let builder = ConnectionString::parse(&uri).unwrap().into_builder();
        builder.build().unwrap()
    }

    fn of_call(millis: u64) -> TimeoutMs {
        TimeoutMs {
            limit: MS(millis),
            kind: TimeoutKind::Operation,
        }
    }

    #[test]
    fn the_nearest_level_sets_the_limit() {
        let limit_of = |limit: TimeLimit, text: &str| {
            let deadline = limit.begin(&options(text))?;
            let elapsed = deadline.elapsed();
            Some((elapsed.limit, elapsed.kind, deadline.at().is_some()))
        };
        let client = Some((MS(300), TimeoutKind::Client, true));
        let call = Some((MS(5), TimeoutKind::Operation, true));
        assert_eq!(limit_of(TimeLimit::OfClient, ""), None);
        assert_eq!(limit_of(TimeLimit::OfClient, "timeoutMS=300"), client);
        assert_eq!(limit_of(TimeLimit::Of(of_call(5)), "timeoutMS=300"), call);
        for limit in [TimeLimit::OfClient, TimeLimit::Of(of_call(0))] {
            let (_, _, passes) = limit_of(limit, "timeoutMS=0").unwrap();
            assert!(!passes);
        }
    }

    #[test]
    fn the_deadline_of_the_program_counts_if_it_is_earlier() {
        let now = Instant::now();
        let kind = |timeout: u64, deadline: u64, text: &str| {
            let limit = match timeout {
                0 => TimeLimit::OfClient,
                timeout => TimeLimit::Of(of_call(timeout)),
            };
            let bounds = Bounds::NONE.until(now + MS(deadline));
            let deadline = begin(limit, &options(text), &bounds);
            deadline.map(|it| it.unwrap().elapsed().kind)
        };
        let kind_of = |timeout, deadline, text| kind(timeout, deadline, text).unwrap();
        assert_eq!(kind_of(5_000, 60_000, ""), TimeoutKind::Operation);
        assert_eq!(kind_of(60_000, 5_000, ""), TimeoutKind::Deadline);
        assert_eq!(kind_of(0, 5_000, ""), TimeoutKind::Deadline);
        assert_eq!(kind_of(0, 5_000, "timeoutMS=0"), TimeoutKind::Deadline);
        assert_eq!(kind_of(0, 60_000, "timeoutMS=5000"), TimeoutKind::Client);
        let passed = kind(60_000, 0, "").unwrap_err();
        assert_eq!((passed.kind(), passed.stage()), (ErrorKind::Timeout, None));
    }

    #[test]
    fn selection_is_limited_by_both_options() {
        let kind_of = |text: &str| {
            let options = options(text);
            let whole = TimeLimit::OfClient.begin(&options);
            of_selection(&options, whole).map(|deadline| deadline.elapsed().kind)
        };
        let selection = "serverSelectionTimeoutMS=100&timeoutMS";
        assert_eq!(kind_of("serverSelectionTimeoutMS=100"), None);
        assert_eq!(
            kind_of(&format!("{selection}=50")),
            Some(TimeoutKind::Client)
        );
        for timeout in ["0", "200"] {
            let kind = kind_of(&format!("{selection}={timeout}"));
            assert_eq!(kind, Some(TimeoutKind::ServerSelection));
        }
        let internal = TimeLimit::Internal(MS(1000)).begin(&options(""));
        let deadline = of_selection(&options("serverSelectionTimeoutMS=100"), internal);
        assert_eq!(deadline, internal, "the limits of the steps apply as well");
    }

    #[test]
    fn only_a_set_timeout_turns_code_50_into_a_timeout() {
        let kind = |code, limit: TimeLimit| {
            let failure = CommandFailure {
                code,
                code_name: "AnyName".to_owned(),
                message: "too slow".to_owned(),
                reply: bson::RawDocumentBuf::new(),
            };
            let deadline = limit.begin(&options(""));
            let outcome = transformed::<()>(Err(Error::refused(failure, Vec::new())), deadline);
            let error = outcome.unwrap_err();
            assert_eq!(error.command().unwrap().code, code);
            assert!(error.to_string().contains("too slow"), "{error}");
            error.kind()
        };
        let set = TimeLimit::Of(of_call(1000));
        assert_eq!(kind(50, set), ErrorKind::Timeout);
        assert_eq!(kind(50, TimeLimit::Of(of_call(0))), ErrorKind::Timeout);
        assert_eq!(kind(262, set), ErrorKind::Command);
        assert_eq!(kind(50, TimeLimit::OfClient), ErrorKind::Command);
        assert_eq!(kind(50, TimeLimit::Internal(MS(1000))), ErrorKind::Command);
    }

    #[test]
    fn the_type_and_the_mode_of_a_cursor_decide_about_its_limits() {
        use CursorTimeoutMode as M;
        use CursorType as T;
        let begin = |cursor_type, timeout_mode, timeout| {
            let timing = CursorTiming {
                cursor_type,
                timeout_mode,
                max_await_time: None,
            };
            let (_, max_time, cursor) = timing.begin(timeout, Bounds::NONE).unwrap();
            (max_time, cursor.lifetime.is_some())
        };
        let set = Some(of_call(100));
        for mode in [None, Some(M::CursorLifetime)] {
            assert_eq!(begin(T::NonTailable, mode, set), (MaxTime::Remaining, true));
        }
        let iteration = Some(M::Iteration);
        assert_eq!(
            begin(T::NonTailable, iteration, set),
            (MaxTime::Absent, false)
        );
        for mode in [None, iteration] {
            assert_eq!(begin(T::Tailable, mode, set), (MaxTime::Absent, false));
            let awaiting = begin(T::TailableAwait, mode, set);
            assert_eq!(awaiting, (MaxTime::Remaining, false));
        }
        assert_eq!(begin(T::NonTailable, None, None), (MaxTime::Absent, false));
        let timing = CursorTiming {
            max_await_time: Some(MS(7)),
            ..CursorTiming::default()
        };
        assert_eq!(timing.of_get_more(), MaxTime::AtMost(MS(7)));
        assert_eq!(CursorTiming::default().of_get_more(), MaxTime::Absent);
    }

    #[test]
    fn contradicting_options_of_a_cursor_are_rejected() {
        use CursorTimeoutMode as M;
        use CursorType as T;
        let message = |cursor_type, timeout_mode, wait: Option<u64>, timeout: Option<u64>| {
            let timing = CursorTiming {
                cursor_type,
                timeout_mode,
                max_await_time: wait.map(MS),
            };
            let error = timing.begin(timeout.map(of_call), Bounds::NONE).err()?;
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            Some(error.to_string())
        };
        let iteration = Some(M::Iteration);
        let no_timeout = message(T::NonTailable, iteration, None, None).unwrap();
        assert_eq!(no_timeout, "a timeout mode needs timeoutMS");
        for cursor_type in [T::Tailable, T::TailableAwait] {
            let lifetime = message(cursor_type, Some(M::CursorLifetime), None, Some(5)).unwrap();
            assert!(
                lifetime.contains("its timeout mode is Iteration"),
                "{lifetime}"
            );
        }
        for wait in [5, 6] {
            let too_long = message(T::TailableAwait, None, Some(wait), Some(5)).unwrap();
            let expected =
                format!("maxAwaitTimeMS ({wait} ms) must be shorter than timeoutMS (5 ms)");
            assert_eq!(too_long, expected);
        }
        for cursor_type in [T::NonTailable, T::Tailable] {
            let both = message(cursor_type, None, Some(1), Some(5)).unwrap();
            assert!(both.contains("TailableAwait only"), "{both}");
        }
        for allowed in [
            message(T::TailableAwait, None, Some(4), Some(5)),
            message(T::TailableAwait, None, Some(4), Some(0)),
            message(T::TailableAwait, None, Some(4), None),
            message(T::NonTailable, None, Some(4), None),
            message(T::NonTailable, iteration, None, Some(0)),
        ] {
            assert_eq!(allowed, None);
        }
    }

    #[test]
    fn closing_a_cursor_refreshes_its_limit() {
        let cursor = |timeout, lifetime| CursorTimeout { timeout, lifetime };
        let lifetime = Some(of_call(5).begin());
        let limits = |limit: TimeLimit| limit.begin(&options("")).map(|it| it.elapsed());
        let (longest, kind) = (MS(2000), TimeoutKind::Operation);
        let dropped = limits(cursor(Some(of_call(5)), lifetime).of_drop()).unwrap();
        assert_eq!((dropped.limit, dropped.kind), (MS(5), kind));
        let long = cursor(Some(of_call(5000)), None);
        let [closed, dropped] = [long.of_close(), long.of_drop()].map(|it| limits(it).unwrap());
        assert_eq!((closed.limit, closed.kind), (MS(5000), kind));
        assert_eq!((dropped.limit, dropped.kind), (longest, kind));
        for timeout in [None, Some(of_call(0))] {
            let dropped = limits(cursor(timeout, None).of_drop()).unwrap();
            assert_eq!(
                (dropped.limit, dropped.kind),
                (longest, TimeoutKind::Internal)
            );
        }
        let unlimited = cursor(Some(of_call(0)), None).of_close();
        assert_eq!(unlimited.begin(&options("")).unwrap().at(), None);
    }
}
