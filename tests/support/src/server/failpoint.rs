//! `configureFailPoint`, as MongoDB documents it, with three fail points.
//!
//! - `failCommand`: a failed command leaves no trace; one with only a `writeConcernError` runs.
//! - `failGetMoreAfterCursorCheckout`: getMore fails with `errorCode`, and its cursor is gone.
//! - `onPrimaryTransactionalWrite`: the connection of a retryable write ends, after the write or, with
//!   `failBeforeCommitExceptionCode`, before it.
//!
//! Source: "Using failCommand" in the driver specifications' transactions test plan, the test plan of retryable writes,
//! and `src/mongo/util/fail_point.h` for the order of the modes: first `skip` matching commands pass, then `times` of
//! them fail.

use super::commands::{failure, ok};
use super::record::Request;
use crate::net::lock;
use bson::{Bson, Document, doc};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// The failure of one command.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure {
    pub(super) block: Option<Duration>,
    pub(super) close_connection: bool,
    pub(super) error: Option<Document>,
    pub(super) write_concern_error: Option<Document>,
    pub(super) labels: Vec<Bson>,
    /// True if `errorLabels` was set, even to an empty array: then MongoDB adds no labels.
    pub(super) has_labels: bool,
}

impl Failure {
    /// Adds the fields of this failure to the reply of a command that ran.
    pub(super) fn amend(&self, reply: &mut Document) {
        if let Some(error) = &self.write_concern_error {
            reply.insert("writeConcernError", error.clone());
            if !self.labels.is_empty() {
                reply.insert("errorLabels", self.labels.clone());
            }
        }
    }
}

#[derive(Debug)]
struct Active {
    skip: i64,
    times: Option<i64>,
    commands: Vec<String>,
    app_name: Option<String>,
    namespace: Option<String>,
    failure: Failure,
    data: Document,
}

impl Active {
    /// Returns true if the fail point is about this command of this client.
    fn is_about(&self, request: &Request) -> bool {
        let from_app = self.app_name.is_none() || self.app_name == request.app_name;
        let namespace = self.namespace.as_ref();
        from_app && namespace.is_none_or(|namespace| *namespace == request.namespace())
    }
}

/// The fail points of a server: the active ones, and how often each took effect.
#[derive(Debug, Default)]
pub(super) struct FailPoint {
    active: Mutex<HashMap<&'static str, Active>>,
    entered: Mutex<HashMap<&'static str, i64>>,
}

impl FailPoint {
    /// Runs `configureFailPoint`.
    pub(super) fn configure(&self, command: &Document) -> Document {
        let Ok(asked) = command.get_str("configureFailPoint") else {
            return failure(14, "TypeMismatch", "configureFailPoint wants a string");
        };
        let Some(name) = NAMES.into_iter().find(|name| *name == asked) else {
            return failure(
                9,
                "FailPointSetFailed",
                &format!("no fail point named {asked}"),
            );
        };
        let active = match parse_mode(command.get("mode")) {
            Err(reply) => return reply,
            Ok(None) => None,
            Ok(Some((skip, times))) => {
                let empty = Document::new();
                let data = command.get_document("data").unwrap_or(&empty);
                Some(Active {
                    skip,
                    times,
                    commands: strings(data.get("failCommands")),
                    app_name: data.get_str("appName").ok().map(Into::into),
                    namespace: data.get_str("namespace").ok().map(Into::into),
                    failure: parse_failure(data),
                    data: data.clone(),
                })
            }
        };
        let mut all = lock(&self.active);
        match active {
            Some(active) => drop(all.insert(name, active)),
            None => drop(all.remove(name)),
        }
        let entered = lock(&self.entered).remove(name).unwrap_or(0);
        let mut reply = ok();
        reply.insert("count", entered);
        reply
    }

    /// Turns all of them off.
    pub(super) fn clear(&self) {
        lock(&self.active).clear();
        lock(&self.entered).clear();
    }

    /// The failure of this command by `failCommand`, if any.
    pub(super) fn check(&self, request: &Request) -> Option<Failure> {
        // Switching it off must always be possible.
        if request.name == "configureFailPoint" {
            return None;
        }
        let active = self.enter(FAIL_COMMAND, |active| {
            let mut commands = active.commands.iter();
            commands.any(|command| is_same_command(command, &request.name))
                && active.is_about(request)
        });
        active.map(|active| active.0)
    }

    /// The error code of this getMore by `failGetMoreAfterCursorCheckout`, if any.
    pub(super) fn check_get_more(&self, request: &Request) -> Option<i32> {
        let active = self.enter(FAIL_GET_MORE, |active| active.is_about(request));
        let code = active?.1.get("errorCode").and_then(integer).unwrap_or(1);
        Some(i32::try_from(code).unwrap_or(i32::MAX))
    }

    /// Returns true if `onPrimaryTransactionalWrite` is active.
    pub(super) fn fails_writes(&self) -> bool {
        lock(&self.active).contains_key(ON_WRITE)
    }

    /// The effect of `onPrimaryTransactionalWrite` on the next retryable write of a statement.
    pub(super) fn check_write(&self) -> Option<WriteFailure> {
        let (_, data) = self.enter(ON_WRITE, |_| true)?;
        let code = data.get("failBeforeCommitExceptionCode").and_then(integer);
        Some(WriteFailure {
            close_connection: data.get_bool("closeConnection").unwrap_or(true),
            before_commit: code.map(|code| i32::try_from(code).unwrap_or(i32::MAX)),
        })
    }

    /// Counts a pass of the fail point for which `matches` is true; returns its effect if it takes effect now.
    fn enter(
        &self,
        name: &'static str,
        matches: impl FnOnce(&Active) -> bool,
    ) -> Option<(Failure, Document)> {
        let mut all = lock(&self.active);
        let active = all.get_mut(name).filter(|active| matches(active))?;
        if active.skip > 0 {
            active.skip -= 1;
            return None;
        }
        let effect = (active.failure.clone(), active.data.clone());
        match &mut active.times {
            Some(1) => drop(all.remove(name)),
            Some(left) => *left -= 1,
            None => {}
        }
        *lock(&self.entered).entry(name).or_default() += 1;
        Some(effect)
    }
}

/// The effect of `onPrimaryTransactionalWrite` on a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteFailure {
    pub(super) close_connection: bool,
    /// The code with which the write fails, without effect.
    pub(super) before_commit: Option<i32>,
}

/// Returns true if both are spellings of one command.
fn is_same_command(one: &str, other: &str) -> bool {
    one == other
        || (one.eq_ignore_ascii_case(other)
            && ["ismaster", "findandmodify", "buildinfo"]
                .iter()
                .any(|name| one.eq_ignore_ascii_case(name)))
}

/// Parses the mode to `(skip, times)`; `None` is off.
fn parse_mode(mode: Option<&Bson>) -> Result<Option<(i64, Option<i64>)>, Document> {
    match mode {
        Some(Bson::String(word)) if word == "off" => Ok(None),
        Some(Bson::String(word)) if word == "alwaysOn" => Ok(Some((0, None))),
        Some(Bson::Document(mode)) if mode.contains_key("times") || mode.contains_key("skip") => {
            let times = mode.get("times").and_then(integer);
            let skip = mode.get("skip").and_then(integer).unwrap_or(0);
            Ok((times != Some(0)).then_some((skip, times)))
        }
        _ => Err(failure(
            2,
            "BadValue",
            "mode must be 'off', 'alwaysOn', {times: n} or {skip: n}",
        )),
    }
}

fn parse_failure(data: &Document) -> Failure {
    let labels: Vec<Bson> = data.get_array("errorLabels").cloned().unwrap_or_default();
    let error = data.get("errorCode").and_then(integer).map(|code| {
        let name = data
            .get_str("errorCodeName")
            .unwrap_or_else(|_| code_name(code));
        let message = "Failing command via 'failCommand' failpoint";
        let mut error = failure(i32::try_from(code).unwrap_or(i32::MAX), name, message);
        if !labels.is_empty() {
            error.insert("errorLabels", labels.clone());
        }
        error
    });
    let blocks = data.get_bool("blockConnection").unwrap_or(false);
    let block = data.get("blockTimeMS").and_then(integer);
    let block = block.filter(|_| blocks).and_then(|ms| ms.try_into().ok());
    Failure {
        block: block.map(Duration::from_millis),
        close_connection: data.get_bool("closeConnection").unwrap_or(false),
        error,
        write_concern_error: data.get_document("writeConcernError").ok().cloned(),
        labels,
        has_labels: data.contains_key("errorLabels"),
    }
}

fn strings(value: Option<&Bson>) -> Vec<String> {
    let array = value.and_then(Bson::as_array).into_iter().flatten();
    array
        .filter_map(Bson::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

/// A whole number of any numeric type.
pub(super) fn integer(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a whole number is meant, and saturation is as good as any answer"
        )]
        Bson::Double(n) => Some(*n as i64),
        _ => None,
    }
}

/// Names of the codes that tests of retries and of pools use.
pub(super) fn code_name(code: i64) -> &'static str {
    match code {
        1 => "InternalError",
        2 => "BadValue",
        6 => "HostUnreachable",
        7 => "HostNotFound",
        11 => "UserNotFound",
        13 => "Unauthorized",
        14 => "TypeMismatch",
        18 => "AuthenticationFailed",
        20 => "IllegalOperation",
        24 => "LockTimeout",
        26 => "NamespaceNotFound",
        43 => "CursorNotFound",
        48 => "NamespaceExists",
        50 => "MaxTimeMSExpired",
        59 => "CommandNotFound",
        63 => "StaleShardVersion",
        64 => "WriteConcernFailed",
        89 => "NetworkTimeout",
        91 => "ShutdownInProgress",
        100 => "UnsatisfiableWriteConcern",
        112 => "WriteConflict",
        117 => "ConflictingOperationInProgress",
        125 => "CommandFailed",
        133 => "FailedToSatisfyReadPreference",
        134 => "ReadConcernMajorityNotAvailableYet",
        136 => "CappedPositionLost",
        150 => "StaleEpoch",
        189 => "PrimarySteppedDown",
        222 => "CloseChangeStream",
        225 => "TransactionTooOld",
        234 => "RetryChangeStream",
        237 => "CursorKilled",
        238 => "NotImplemented",
        239 => "SnapshotTooOld",
        246 => "SnapshotUnavailable",
        251 => "NoSuchTransaction",
        262 => "ExceededTimeLimit",
        267 => "PreparedTransactionInProgress",
        280 => "ChangeStreamFatalError",
        286 => "ChangeStreamHistoryLost",
        314 => "ObjectIsBusy",
        317 => "ConnectionPoolExpired",
        391 => "ReauthenticationRequired",
        462 => "IngressRequestRateLimitExceeded",
        9001 => "SocketException",
        10107 => "NotWritablePrimary",
        11000 => "DuplicateKey",
        11600 => "InterruptedAtShutdown",
        11601 => "Interrupted",
        11602 => "InterruptedDueToReplStateChange",
        13435 => "NotPrimaryNoSecondaryOk",
        13436 => "NotPrimaryOrSecondary",
        _ => "UnknownError",
    }
}

const FAIL_COMMAND: &str = "failCommand";
const FAIL_GET_MORE: &str = "failGetMoreAfterCursorCheckout";
const ON_WRITE: &str = "onPrimaryTransactionalWrite";
const NAMES: [&str; 3] = [FAIL_COMMAND, FAIL_GET_MORE, ON_WRITE];

/// A `configureFailPoint` that makes `commands` fail according to `data`, `times` times.
///
/// It is a convenience for tests: a client would send the same command.
pub fn fail_command(times: i32, commands: &[&str], data: Document) -> Document {
    let mut all = doc! { "failCommands": commands.to_vec() };
    all.extend(data);
    doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": all }
}
