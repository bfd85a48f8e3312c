//! The decision whether a failed operation is retried, when, and which error it returns in the end.
//!
//! In: the kind of the operation, the options, and the errors of its attempts. Out: a [`Retry`], or the error of the
//! operation. No clock, no sleep.
//!
//! - A read is retried after an error that another connection or server may not have ("Retryable Reads").
//! - A numbered write is retried after an error with the label `RetryableWriteError`, which servers before MongoDB 4.4 do
//!   not send: [`Attempts::failed`] adds it ("Retryable Writes").
//! - Both are retried once; with a time limit of the operation, as often as the limit allows ("Client Side Operations
//!   Timeout", "Retryability").
//! - Any operation is retried if the error has the labels `SystemOverloadedError` and `RetryableError`, after a pause that
//!   grows, up to `maxAdaptiveRetries` times ("Client Backpressure"). After the first overload this limit applies to all
//!   retries of the operation.
//! - `retryReads` and `retryWrites` allow retries of each kind: those of [`OperationKind`].

use std::error::Error as _;
use std::time::Duration;

use bson::RawBsonRef;
use bson::raw::RawDocument;

use super::OperationKind;
use super::evidence::Evidence;
use super::target::SelectedConnection;
use crate::data::hello::integer;
use crate::error::{CommandFailure, Error, ErrorKind, Result, Stage};
use crate::options::ClientOptions;
use crate::results::Written;
use crate::sdam::{Selected, ServerType, TopologyType};
use crate::server_code;
use crate::time::Elapsed;

/// The attempts of one operation that has failed at least once.
#[derive(Debug)]
pub(crate) struct Attempts {
    kind: OperationKind,
    /// True if the options allow any retry of this kind.
    is_enabled: bool,
    /// The limit on retries while the server has never been overloaded.
    ordinary_limit: u32,
    /// The limit on retries after the server has been overloaded.
    adaptive_limit: u32,
    /// True if a retry after overload prefers another server.
    retargets: bool,
    retries: u32,
    was_overloaded: bool,
    /// The error to return if there is no other attempt.
    last: Option<Error>,
    evidence: Evidence,
    /// The strongest evidence of all attempts that something was written.
    written: Written,
}

/// Another attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Retry {
    /// The longest pause before it. The executor takes a random part of it, so that clients do not retry at the same
    /// instant.
    pub(crate) max_pause: Duration,
    /// True if another server is preferred.
    pub(crate) deprioritize: bool,
}

/// The server of an attempt, as far as retries depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptServer {
    pub(crate) topology_type: TopologyType,
    pub(crate) server_type: ServerType,
    pub(crate) max_wire_version: i32,
    pub(crate) has_sessions: bool,
}

impl From<&Selected> for AttemptServer {
    fn from(selected: &Selected) -> Self {
        let description = &selected.description;
        Self {
            topology_type: selected.topology_type,
            server_type: description.server_type,
            max_wire_version: description.max_wire_version,
            has_sessions: description.logical_session_timeout_minutes.is_some(),
        }
    }
}

impl From<&SelectedConnection> for AttemptServer {
    fn from(selected: &SelectedConnection) -> Self {
        let hello = selected.connection().hello();
        Self {
            topology_type: selected.topology_type,
            server_type: selected.server_type,
            max_wire_version: hello.max_wire_version,
            has_sessions: hello.logical_session_timeout_minutes.is_some(),
        }
    }
}

impl AttemptServer {
    /// The server of an open cursor. It is fixed, and retries of the cursor's commands do not depend on it.
    pub(crate) const OF_CURSOR: Self = Self {
        topology_type: TopologyType::Unknown,
        server_type: ServerType::Unknown,
        max_wire_version: i32::MAX,
        has_sessions: true,
    };

    /// Returns whether the server accepts numbered writes. All supported servers have a wire version that does.
    pub(crate) fn supports_retryable_writes(&self) -> bool {
        match self.server_type {
            ServerType::LoadBalancer => true,
            ServerType::Standalone => false,
            _ => self.has_sessions,
        }
    }

    /// Returns whether the server leaves the label `RetryableWriteError` to the driver. The servers behind a load balancer
    /// are later ones.
    fn leaves_label_to_driver(&self) -> bool {
        self.server_type != ServerType::LoadBalancer && self.max_wire_version < WIRE_VERSION_OF_4_4
    }
}

impl Attempts {
    /// `has_limit`: the operation has a time limit of its own or of the client.
    pub(crate) fn new(kind: OperationKind, options: &ClientOptions, has_limit: bool) -> Self {
        let is_enabled = match kind {
            OperationKind::Read | OperationKind::Cursor => options.retry_reads,
            OperationKind::RetryableWrite | OperationKind::Write => options.retry_writes,
            OperationKind::Generic => options.retry_reads && options.retry_writes,
            OperationKind::Commit | OperationKind::Abort => true,
        };
        Self {
            kind,
            is_enabled,
            ordinary_limit: if has_limit { u32::MAX } else { 1 },
            adaptive_limit: options.max_adaptive_retries,
            retargets: options.enable_overload_retargeting,
            retries: 0,
            was_overloaded: false,
            last: None,
            evidence: Evidence::of_kind(kind),
            written: Written::No,
        }
    }

    /// Sets how the attempts are judged ([`Error::written`]).
    pub(crate) fn with_evidence(self, evidence: Evidence) -> Self {
        Self { evidence, ..self }
    }

    /// Decides after a failed attempt. `elapsed`: the time limit of the operation, if it has passed.
    ///
    /// # Errors
    /// The error of the operation if there is no other attempt.
    pub(crate) fn failed(
        &mut self,
        error: Error,
        server: AttemptServer,
        elapsed: Option<Elapsed>,
    ) -> Result<Retry> {
        let is_router = matches!(
            server.server_type,
            ServerType::Mongos | ServerType::LoadBalancer
        );
        self.written = self.written.max(self.evidence.of(&error, is_router));
        if error.is_cancelled() {
            return Err(self.cancelled(error));
        }
        if let Some(elapsed) = elapsed.filter(|_| error.is_timeout()) {
            return Err(self.timed_out_in(error, elapsed));
        }
        let error = self.complete(error, server);
        let is_overloaded = error.has_label(OVERLOADED);
        let is_retryable = self.is_enabled && self.is_retryable(&error, server);
        let max_pause = match is_overloaded {
            true => max_pause(&error, self.retries.saturating_add(1)),
            false => Duration::ZERO,
        };
        self.was_overloaded |= is_overloaded;
        self.keep(error);
        let limit = match self.was_overloaded {
            true => self.adaptive_limit,
            false => self.ordinary_limit,
        };
        if !is_retryable || self.retries >= limit {
            return Err(self.give_up());
        }
        self.retries += 1;
        let is_sharded = server.topology_type == TopologyType::Sharded;
        Ok(Retry {
            max_pause,
            deprioritize: is_sharded || (is_overloaded && self.retargets),
        })
    }

    /// Returns whether the next attempt may use this server: one that does not accept the number of a write cannot.
    pub(crate) fn may_use(&self, server: AttemptServer) -> bool {
        self.kind != OperationKind::RetryableWrite || server.supports_retryable_writes()
    }

    /// Returns whether an attempt may have written something.
    pub(crate) fn may_have_written(&self) -> bool {
        self.written > Written::No
    }

    /// The error to return if there is no other attempt.
    pub(crate) fn last(&self) -> Option<&Error> {
        self.last.as_ref()
    }

    /// Returns the error of the operation if no further attempt can be made. It says that an attempt was made, which the
    /// error of a failed server selection does not.
    pub(crate) fn give_up(&mut self) -> Error {
        let last = self.last.take();
        last.unwrap_or_else(|| Error::protocol("an operation failed without an error"))
            .with_written(self.written)
    }

    /// Returns the error of an operation that the program has cancelled, with the strongest evidence of its attempts.
    pub(crate) fn cancelled(&mut self, error: Error) -> Error {
        error.with_written(self.written)
    }

    /// Returns the error of the operation if its time limit has passed before another attempt.
    pub(crate) fn timed_out(&mut self, elapsed: Elapsed) -> Error {
        let last = self.give_up();
        timed_out(elapsed, last.stage(), last).with_written(self.written)
    }

    /// Returns the error of the operation if its time limit has passed during an attempt, which failed with `error`.
    fn timed_out_in(&mut self, error: Error, elapsed: Elapsed) -> Error {
        match self.last.take() {
            Some(last) => timed_out(elapsed, error.stage().or(last.stage()), last),
            None => error,
        }
        .with_written(self.written)
    }

    /// Keeps the more useful error of the last one and this one ("Retryable Reads", "If a retry attempt fails";
    /// "Retryable Writes", "Executing Retryable Write Commands").
    fn keep(&mut self, error: Error) {
        let value = self.value(&error);
        let is_better = |last: &Error| value == Value::Attempted || value > self.value(last);
        if self.last.as_ref().is_none_or(is_better) {
            self.last = Some(error);
        }
    }

    fn value(&self, error: &Error) -> Value {
        let is_read = matches!(self.kind, OperationKind::Read | OperationKind::Cursor);
        match error.stage() {
            None => Value::NotAttempted,
            Some(_) if !is_read && error.has_label("NoWritesPerformed") => Value::NothingWritten,
            Some(_) => Value::Attempted,
        }
    }

    fn is_retryable(&self, error: &Error, server: AttemptServer) -> bool {
        if is_overload(error) {
            return true;
        }
        if is_of_rejected_user(error) {
            return false;
        }
        match self.kind {
            OperationKind::Read => is_retryable_read_error(error),
            OperationKind::RetryableWrite | OperationKind::Commit | OperationKind::Abort => {
                server.supports_retryable_writes() && error.has_label(RETRYABLE_WRITE)
            }
            OperationKind::Write | OperationKind::Cursor | OperationKind::Generic => false,
        }
    }

    /// Adds to the error of a numbered write what the server does not say.
    fn complete(&self, error: Error, server: AttemptServer) -> Error {
        let is_numbered =
            self.kind.is_numbered() && self.is_enabled && server.supports_retryable_writes();
        if !is_numbered {
            return error;
        }
        let is_retryable = match error.command() {
            Some(failure) if is_without_numbers(failure) => {
                return error.with_server_message(WITHOUT_NUMBERS);
            }
            Some(failure) => {
                server.leaves_label_to_driver()
                    && server_code::RETRYABLE_WRITE.contains(&failure.code)
            }
            None => is_of_network(&error),
        };
        match is_retryable {
            true => error.with_labels(&[RETRYABLE_WRITE]),
            false => error,
        }
    }
}

/// The value of an error for the caller of a failed operation, from the least useful one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    /// The error does not say that an attempt was made, such as one of the connection pool.
    NotAttempted,
    /// The server says that this attempt wrote nothing. An earlier attempt may have.
    NothingWritten,
    /// The error says what happened to an attempt.
    Attempted,
}

/// Returns true if the server was too busy to look at the command.
pub(super) fn is_overload(error: &Error) -> bool {
    error.has_label(OVERLOADED) && error.has_label("RetryableError")
}

/// The label of errors of an overloaded server.
const OVERLOADED: &str = "SystemOverloadedError";

/// The label of errors after which a write may be sent again with the same number.
const RETRYABLE_WRITE: &str = "RetryableWriteError";

/// The first wire version of servers that send [`RETRYABLE_WRITE`] themselves.
const WIRE_VERSION_OF_4_4: i32 = 9;

/// The base of the pauses after overload, unless the server sends another one.
const BASE_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: 10 s.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The longest pause before a retry: `min(MAX, BASE * 2^number)`, with numbers from 1.
fn max_pause(error: &Error, number: u32) -> Duration {
    let reply = error.command().map(|failure| &failure.reply);
    let of_server = reply.and_then(|reply| integer(reply.get("baseBackoffMS").ok()??));
    let of_server = of_server.and_then(|ms| u64::try_from(ms).ok());
    let base = of_server
        .filter(|ms| *ms > 0)
        .map_or(BASE_PAUSE, Duration::from_millis);
    base.saturating_mul(1 << number.min(20)).min(MAX_PAUSE)
}

/// The text for a server whose storage engine has no numbered writes ("Retryable Writes", "Supported Server Versions").
const WITHOUT_NUMBERS: &str = "This MongoDB deployment does not support retryable writes. Please add retryWrites=false to \
                               your connection string.";

fn is_without_numbers(failure: &CommandFailure) -> bool {
    failure.code == server_code::ILLEGAL_OPERATION
        && failure.message.starts_with("Transaction numbers")
}

/// A timeout of the operation, which contains the last error and has its labels.
fn timed_out(elapsed: Elapsed, stage: Option<Stage>, last: Error) -> Error {
    let mut error = Error::timed_out(elapsed, "the operation with its retries");
    if let Some(stage) = stage {
        error = error.with_stage(stage);
    }
    if let Some(server) = last.server() {
        error = error.with_server(server);
    }
    error.with_labels(last.labels()).with_source(last)
}

/// Returns an error if a numbered write must be retried although the server ran it: if `writeConcernError` is retryable.
///
/// # Errors
/// The write concern error, with the labels of the reply.
pub(crate) fn check_write_concern(reply: &RawDocument, server: AttemptServer) -> Result<()> {
    let Ok(Some(RawBsonRef::Document(failure))) = reply.get("writeConcernError") else {
        return Ok(());
    };
    let code = failure.get("code").ok().flatten().and_then(integer);
    let code = code.and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    let text = |key| failure.get_str(key).unwrap_or_default().to_owned();
    let labels = match reply.get_array("errorLabels") {
        Ok(labels) => labels.into_iter().collect::<Result<Vec<_>, _>>(),
        Err(_) => Ok(Vec::new()),
    };
    let labels = labels.unwrap_or_default();
    let mut labels: Vec<String> = labels
        .into_iter()
        .filter_map(|label| label.as_str().map(str::to_owned))
        .collect();
    // The write concern error of a router does not count: the router has retried the write itself.
    let is_labelled_here = server.leaves_label_to_driver()
        && server.server_type != ServerType::Mongos
        && server_code::RETRYABLE_WRITE.contains(&code);
    if is_labelled_here && !labels.iter().any(|label| label == RETRYABLE_WRITE) {
        labels.push(RETRYABLE_WRITE.to_owned());
    }
    if !labels.iter().any(|label| label == RETRYABLE_WRITE) {
        return Ok(());
    }
    let failure = CommandFailure {
        code,
        code_name: text("codeName"),
        message: text("errmsg"),
        reply: reply.to_owned(),
    };
    Err(Error::refused(failure, labels).with_stage(Stage::Command))
}

/// Returns whether the pool was cleared because the server rejected the user. It would reject the user again.
fn is_of_rejected_user(error: &Error) -> bool {
    let cleared_by = error.source().and_then(|it| it.downcast_ref::<Error>());
    error.is_pool_cleared()
        && error.stage() != Some(Stage::Command)
        && cleared_by.is_some_and(|it| it.stage() == Some(Stage::Authentication))
}

/// "Retryable Error" of "Retryable Reads".
fn is_retryable_read_error(error: &Error) -> bool {
    match error.command() {
        Some(failure) => server_code::RETRYABLE_READ.contains(&failure.code),
        None => is_of_network(error),
    }
}

/// Returns whether the network failed or was too slow. A rejected certificate or a wrong setting is not of this kind.
fn is_of_network(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Network => true,
        // A timeout without a stage is one of the pool or of the operation.
        ErrorKind::Timeout => error.stage().is_some(),
        ErrorKind::Tls => error.stage() == Some(Stage::Command),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};

    use super::OperationKind as K;
    use super::*;
    use crate::address::ServerAddress;
    use crate::cause::{Cause, CauseCode};
    use crate::time::TimeoutKind;

    fn options(text: &str) -> ClientOptions {
        ClientOptions::parse(&format!("mongodb://a/?{text}"))
            .unwrap()
            .0
    }

    fn rejected(code: i32, labels: &[&str]) -> Error {
        rejected_by(&rawdoc! { "ok": 0, "code": code }).with_labels(labels)
    }

    fn rejected_by(reply: &RawDocumentBuf) -> Error {
        let error = crate::conn::check(reply).unwrap_err();
        error
            .with_stage(Stage::Command)
            .with_server(&ServerAddress::tcp("a", 1))
    }

    fn reset(stage: Stage) -> Error {
        Error::failed(
            stage,
            Cause::simulated(CauseCode::ConnectionReset, "m", "r"),
        )
    }

    fn expired() -> Error {
        Error::failed(
            Stage::Tls,
            Cause::simulated(CauseCode::CertificateExpired, "m", "r"),
        )
    }

    fn cleared_by(stage: Stage) -> Error {
        Error::pool_cleared(Some(reset(stage)))
    }

    const OVERLOAD: [&str; 2] = [OVERLOADED, "RetryableError"];
    const ELAPSED: Elapsed = Elapsed {
        limit: Duration::from_millis(500),
        kind: TimeoutKind::Client,
    };

    /// The primary of a replica set.
    fn primary(max_wire_version: i32) -> AttemptServer {
        AttemptServer {
            topology_type: TopologyType::ReplicaSetWithPrimary,
            server_type: ServerType::RsPrimary,
            max_wire_version,
            has_sessions: true,
        }
    }

    fn of_type(server_type: ServerType, max_wire_version: i32) -> AttemptServer {
        AttemptServer {
            server_type,
            ..primary(max_wire_version)
        }
    }

    const NEW: i32 = 25;
    const OLD: i32 = 8;

    /// The number of retries of an operation that fails with the same error each time.
    fn retries(kind: K, text: &str, has_limit: bool, error: &Error) -> usize {
        let mut attempts = Attempts::new(kind, &options(text), has_limit);
        let retry = |_: &usize| attempts.failed(error.clone(), primary(NEW), None).is_ok();
        (0..100).take_while(retry).count()
    }

    #[test]
    fn each_kind_is_retried_after_its_own_errors() {
        // (error, [read, numbered write, write, cursor, generic])
        for (error, expected) in [
            (rejected(10107, &[]), [1, 0, 0, 0, 0]),
            (rejected(134, &[]), [1, 0, 0, 0, 0]),
            (rejected(262, &[]), [1, 0, 0, 0, 0]),
            (rejected(11000, &[]), [0, 0, 0, 0, 0]),
            (rejected(64, &[RETRYABLE_WRITE]), [0, 1, 0, 0, 0]),
            (rejected(91, &["RetryableError"]), [1, 0, 0, 0, 0]),
            (reset(Stage::Command), [1, 1, 0, 0, 0]),
            (reset(Stage::Connect), [1, 1, 0, 0, 0]),
            (Error::pool_cleared(None), [1, 1, 0, 0, 0]),
            (cleared_by(Stage::Connect), [1, 1, 0, 0, 0]),
            (cleared_by(Stage::Authentication), [0, 0, 0, 0, 0]),
            (
                Error::interrupted().with_stage(Stage::Command),
                [1, 1, 0, 0, 0],
            ),
            (Error::client_closed(), [0, 0, 0, 0, 0]),
            (Error::protocol("x"), [0, 0, 0, 0, 0]),
            (expired(), [0, 0, 0, 0, 0]),
            (rejected(462, &OVERLOAD), [2, 2, 2, 2, 2]),
            (reset(Stage::Hello).with_labels(&OVERLOAD), [2, 2, 2, 2, 2]),
            (rejected(462, &OVERLOAD[..1]), [0, 0, 0, 0, 0]),
            (rejected(462, &OVERLOAD[1..]), [0, 0, 0, 0, 0]),
            // A read with only one of the labels is retried as a read; then the limit after overload applies.
            (rejected(91, &OVERLOAD[..1]), [2, 0, 0, 0, 0]),
        ] {
            let kinds = [K::Read, K::RetryableWrite, K::Write, K::Cursor, K::Generic];
            let actual = kinds.map(|kind| retries(kind, "", false, &error));
            assert_eq!(actual, expected, "{error:?}");
        }
    }

    #[test]
    fn options_allow_retries_of_each_kind() {
        let overload = rejected(462, &OVERLOAD);
        // (options, [read, numbered write, write, cursor, generic])
        for (text, expected) in [
            ("", [2, 2, 2, 2, 2]),
            ("retryReads=false", [0, 2, 2, 0, 0]),
            ("retryWrites=false", [2, 0, 0, 2, 0]),
            ("retryReads=false&retryWrites=false", [0, 0, 0, 0, 0]),
            ("maxAdaptiveRetries=5", [5, 5, 5, 5, 5]),
            ("maxAdaptiveRetries=0", [0, 0, 0, 0, 0]),
        ] {
            let kinds = [K::Read, K::RetryableWrite, K::Write, K::Cursor, K::Generic];
            let actual = kinds.map(|kind| retries(kind, text, false, &overload));
            assert_eq!(actual, expected, "{text}");
        }
        let lost = reset(Stage::Command);
        assert_eq!(retries(K::Read, "retryReads=false", false, &lost), 0);
        assert_eq!(
            retries(K::RetryableWrite, "retryWrites=false", false, &lost),
            0
        );
    }

    #[test]
    fn a_time_limit_allows_more_retries_but_not_after_overload() {
        let lost = reset(Stage::Command);
        assert_eq!(retries(K::Read, "", true, &lost), 100);
        assert_eq!(retries(K::RetryableWrite, "", true, &lost), 100);
        assert_eq!(retries(K::Generic, "", true, &lost), 0);
        assert_eq!(retries(K::Read, "", true, &rejected(462, &OVERLOAD)), 2);
        // The limit after overload counts the retries before it too.
        let mut attempts = Attempts::new(K::Read, &options(""), true);
        attempts.failed(lost.clone(), primary(NEW), None).unwrap();
        let overload = rejected(462, &OVERLOAD);
        attempts.failed(overload, primary(NEW), None).unwrap();
        let error = attempts.failed(lost, primary(NEW), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
    }

    #[test]
    fn pauses_after_overload_double_up_to_ten_seconds() {
        let mut attempts = Attempts::new(K::Generic, &options("maxAdaptiveRetries=9"), false);
        let mut pause = |error: &Error| {
            let retry = attempts.failed(error.clone(), primary(NEW), None).unwrap();
            assert!(!retry.deprioritize);
            retry.max_pause.as_millis()
        };
        let error = rejected(462, &OVERLOAD);
        let pauses: Vec<_> = (0..9).map(|_| pause(&error)).collect();
        let expected = [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000];
        assert_eq!(pauses, expected);
    }

    #[test]
    fn only_retries_after_overload_have_a_pause() {
        let mut attempts = Attempts::new(K::Read, &options(""), false);
        let mut pause = |error: Error| {
            let retry = attempts.failed(error, primary(NEW), None);
            retry.unwrap().max_pause.as_millis()
        };
        assert_eq!(pause(rejected(91, &[])), 0);
        // The second retry: the first one counts, although it had another reason.
        assert_eq!(pause(rejected(462, &OVERLOAD)), 400);
    }

    #[test]
    fn a_positive_base_of_the_server_replaces_the_default() {
        let overload = |field: &str, value: bson::RawBson| {
            let labels = OVERLOAD.into_iter().collect::<RawArrayBuf>();
            let mut reply = rawdoc! { "ok": 0, "code": 462, "errorLabels": labels };
            reply.append(<&bson::raw::CStr>::try_from(field).unwrap(), value);
            let mut attempts = Attempts::new(K::Generic, &options(""), false);
            let retry = attempts.failed(rejected_by(&reply), primary(NEW), None);
            retry.unwrap().max_pause.as_millis()
        };
        assert_eq!(overload("baseBackoffMS", 50_i32.into()), 100);
        assert_eq!(overload("baseBackoffMS", 50_i64.into()), 100);
        assert_eq!(overload("baseBackoffMS", 50_f64.into()), 100);
        assert_eq!(overload("baseBackoffMS", 0_i32.into()), 200);
        assert_eq!(overload("baseBackoffMS", (-50_i32).into()), 200);
        assert_eq!(overload("baseBackoffMS", "50".to_owned().into()), 200);
        assert_eq!(overload("baseBackoffMS", i64::MAX.into()), 10_000);
        assert_eq!(overload("other", 50_i32.into()), 200);
    }

    #[test]
    fn another_server_is_preferred_in_a_cluster_and_on_request_after_overload() {
        let deprioritizes = |text: &str, topology_type, error: &Error| {
            let mut attempts = Attempts::new(K::Read, &options(text), false);
            let server = AttemptServer {
                topology_type,
                ..primary(NEW)
            };
            attempts
                .failed(error.clone(), server, None)
                .unwrap()
                .deprioritize
        };
        let (change, overload) = (rejected(91, &[]), rejected(462, &OVERLOAD));
        let set = TopologyType::ReplicaSetWithPrimary;
        let retargeting = "enableOverloadRetargeting=true";
        assert!(deprioritizes("", TopologyType::Sharded, &change));
        assert!(deprioritizes("", TopologyType::Sharded, &overload));
        assert!(!deprioritizes("", set, &change));
        assert!(!deprioritizes("", set, &overload));
        assert!(deprioritizes(retargeting, set, &overload));
        assert!(!deprioritizes(retargeting, set, &change));
    }

    /// The error of a numbered write that fails with `error` and is not retried again.
    fn written(error: &Error, server: AttemptServer, text: &str) -> Error {
        let mut attempts = Attempts::new(K::RetryableWrite, &options(text), false);
        let last = attempts.failed(error.clone(), server, None);
        last.err().unwrap_or_else(|| attempts.give_up())
    }

    #[test]
    fn errors_of_numbered_writes_are_labelled_if_the_server_does_not_do_it() {
        let labels = |error: &Error, server, text: &str| {
            written(error, server, text).has_label(RETRYABLE_WRITE)
        };
        let router = |version| of_type(ServerType::Mongos, version);
        for error in [
            reset(Stage::Command),
            reset(Stage::Connect),
            Error::pool_cleared(None),
        ] {
            assert!(labels(&error, primary(NEW), ""), "{error:?}");
            assert!(labels(&error, primary(OLD), ""), "{error:?}");
            assert!(!labels(&error, primary(OLD), "retryWrites=false"));
            // This server does not accept numbers.
            assert!(!labels(&error, of_type(ServerType::Standalone, NEW), ""));
        }
        let codes = [
            6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436,
        ];
        for code in codes {
            let error = rejected(code, &[]);
            assert!(labels(&error, primary(OLD), ""), "{code}");
            assert!(labels(&error, router(OLD), ""), "{code}");
            assert!(!labels(&error, primary(NEW), ""), "{code}");
            assert!(!labels(&error, of_type(ServerType::LoadBalancer, 0), ""));
            assert!(!labels(&error, primary(OLD), "retryWrites=false"));
        }
        for code in [134, 64, 11000, 0] {
            assert!(!labels(&rejected(code, &[]), primary(OLD), ""), "{code}");
        }
        let mut read = Attempts::new(K::Read, &options("retryReads=false"), false);
        let error = read.failed(reset(Stage::Command), primary(NEW), None);
        assert!(!error.unwrap_err().has_label(RETRYABLE_WRITE));
    }

    #[test]
    fn a_write_concern_error_is_retryable_by_its_label_or_by_the_code_of_an_old_member() {
        let reply = |code: i32, labels: &[&str]| {
            let labels = labels.iter().copied().collect::<RawArrayBuf>();
            rawdoc! {
                "ok": 1, "n": 1, "errorLabels": labels,
                "writeConcernError": { "code": code, "codeName": "N", "errmsg": "m" },
            }
        };
        let is_retryable = |code, labels: &[&str], server| {
            check_write_concern(&reply(code, labels), server).is_err()
        };
        assert!(is_retryable(91, &[RETRYABLE_WRITE], primary(NEW)));
        assert!(is_retryable(
            64,
            &[RETRYABLE_WRITE],
            of_type(ServerType::Mongos, NEW)
        ));
        assert!(!is_retryable(91, &["NoWritesPerformed"], primary(NEW)));
        assert!(is_retryable(91, &[], primary(OLD)));
        assert!(!is_retryable(64, &[], primary(OLD)));
        assert!(!is_retryable(91, &[], of_type(ServerType::Mongos, OLD)));
        let write_error = rawdoc! { "ok": 1, "writeErrors": [{ "index": 0, "code": 91 }] };
        assert!(check_write_concern(&write_error, primary(OLD)).is_ok());
        let error = check_write_concern(&reply(91, &[]), primary(OLD)).unwrap_err();
        assert_eq!(error.labels(), [RETRYABLE_WRITE]);
        let failure = error.command().unwrap();
        assert_eq!((failure.code, failure.code_name.as_str()), (91, "N"));
        assert_eq!(failure.reply, reply(91, &[]));
    }

    #[test]
    fn a_server_without_numbers_is_named_with_the_remedy() {
        let message = "Transaction numbers are only allowed on a replica set member or mongos";
        let error = rejected_by(&rawdoc! { "ok": 0, "code": 20, "errmsg": message });
        let expected = "This MongoDB deployment does not support retryable writes. Please add retryWrites=false to your \
                        connection string.";
        let actual = written(&error, primary(NEW), "");
        assert_eq!(actual.command().unwrap().message, expected);
        assert_eq!(actual.command().unwrap().code, 20);
        assert!(actual.to_string().ends_with(expected), "{actual}");
        let other = rejected_by(&rawdoc! { "ok": 0, "code": 20, "errmsg": "other" });
        assert_eq!(
            written(&other, primary(NEW), "").command().unwrap().message,
            "other"
        );
    }

    #[test]
    fn a_numbered_write_is_not_sent_to_a_server_without_numbers() {
        let standalone = of_type(ServerType::Standalone, NEW);
        let without_sessions = AttemptServer {
            has_sessions: false,
            ..primary(NEW)
        };
        let write = Attempts::new(K::RetryableWrite, &options(""), false);
        assert!(write.may_use(primary(NEW)));
        assert!(write.may_use(of_type(ServerType::LoadBalancer, 0)));
        assert!(!write.may_use(standalone));
        assert!(!write.may_use(without_sessions));
        let read = Attempts::new(K::Read, &options(""), false);
        assert!(read.may_use(standalone));
        // It was not numbered, so it is not sent again.
        let mut write = write;
        let lost = write.failed(reset(Stage::Command), standalone, None);
        assert_eq!(lost.unwrap_err().kind(), ErrorKind::Network);
    }

    /// The error of an operation whose attempts fail with these errors. The last one is final.
    fn returned(kind: K, errors: &[Error]) -> Error {
        let mut attempts = Attempts::new(kind, &options("maxAdaptiveRetries=9"), true);
        for error in errors {
            if let Err(last) = attempts.failed(error.clone(), primary(NEW), None) {
                return last;
            }
        }
        attempts.give_up()
    }

    #[test]
    fn the_error_that_says_most_about_an_attempt_is_returned() {
        let nothing_written = |code| {
            let labels = ["NoWritesPerformed", RETRYABLE_WRITE];
            rejected(code, &labels).with_labels(&OVERLOAD)
        };
        let written = |code| rejected(code, &[RETRYABLE_WRITE]).with_labels(&OVERLOAD);
        let code = |error: Error| error.command().map(|failure| failure.code);
        let no_attempt = Error::client_closed();
        // (errors of the attempts, code of a write, code of a read)
        for (errors, write, read) in [
            (vec![written(91), written(10107)], 10107, 10107),
            (vec![nothing_written(91), nothing_written(10107)], 91, 10107),
            (vec![written(91), nothing_written(10107)], 91, 10107),
            (vec![nothing_written(91), written(10107)], 10107, 10107),
            (vec![written(91), no_attempt.clone()], 91, 91),
            (vec![nothing_written(91), no_attempt], 91, 91),
            (
                vec![written(6), nothing_written(91), nothing_written(10107)],
                6,
                10107,
            ),
        ] {
            for kind in [K::RetryableWrite, K::Generic, K::Write] {
                assert_eq!(code(returned(kind, &errors)), Some(write), "{errors:?}");
            }
            for kind in [K::Read, K::Cursor] {
                assert_eq!(code(returned(kind, &errors)), Some(read), "{errors:?}");
            }
        }
        // The first attempt did not reach a server.
        let errors = [Error::pool_cleared(None), nothing_written(91)];
        assert_eq!(code(returned(K::RetryableWrite, &errors)), Some(91));
    }

    #[test]
    fn a_timeout_while_retrying_contains_the_last_error() {
        let late = || Error::timed_out(ELAPSED, "the reply to find").with_stage(Stage::Command);
        let source_of = |error: &Error| {
            let source = error.source().unwrap().downcast_ref::<Error>().unwrap();
            source.command().unwrap().code
        };
        let check = |error: &Error| {
            assert_eq!(error.kind(), ErrorKind::Timeout);
            assert_eq!(error.stage(), Some(Stage::Command));
            assert_eq!(error.labels(), ["A"]);
            assert_eq!(source_of(error), 91);
            assert_eq!(
                error.to_string(),
                "server a:1: command failed: the operation with its retries took longer than 500 ms (timeoutMS)"
            );
        };
        // During an attempt.
        let mut attempts = Attempts::new(K::Read, &options(""), true);
        attempts
            .failed(rejected(91, &["A"]), primary(NEW), None)
            .unwrap();
        check(
            &attempts
                .failed(late(), primary(NEW), Some(ELAPSED))
                .unwrap_err(),
        );
        // While the next server is selected.
        let mut attempts = Attempts::new(K::Read, &options(""), true);
        attempts
            .failed(rejected(91, &["A"]), primary(NEW), Some(ELAPSED))
            .unwrap();
        check(&attempts.timed_out(ELAPSED));
        // Without a retry the error is the timeout itself.
        let mut attempts = Attempts::new(K::Read, &options(""), true);
        let error = attempts.failed(late(), primary(NEW), Some(ELAPSED));
        let error = error.unwrap_err();
        assert!(error.is_timeout() && error.source().is_none());
        // An error that is not retried is returned although the limit has passed.
        let mut attempts = Attempts::new(K::Read, &options(""), true);
        let error = attempts.failed(rejected(11000, &[]), primary(NEW), Some(ELAPSED));
        assert_eq!(error.unwrap_err().command().unwrap().code, 11000);
    }
}
