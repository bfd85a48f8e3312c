//! `configureFailPoint` with `failCommand`, as MongoDB documents it.
//!
//! Source: "Using failCommand" in the driver specifications' transactions test plan, and
//! `src/mongo/util/fail_point.h` for the order of the modes: first `skip` matching commands pass, then
//! `times` of them fail. A failed command leaves no trace; one with only a `writeConcernError` runs.

use super::commands::{failure, ok};
use super::record::Request;
use crate::net::lock;
use bson::{Bson, Document, doc};
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
    failure: Failure,
}

/// The one fail point of a server.
#[derive(Debug, Default)]
pub(super) struct FailPoint {
    active: Mutex<Option<Active>>,
    entered: Mutex<i64>,
}

impl FailPoint {
    /// Runs `configureFailPoint`.
    pub(super) fn configure(&self, command: &Document) -> Document {
        match command.get_str("configureFailPoint") {
            Ok("failCommand") => {}
            Ok(other) => {
                return failure(
                    9,
                    "FailPointSetFailed",
                    &format!("no fail point named {other}"),
                );
            }
            Err(_) => return failure(14, "TypeMismatch", "configureFailPoint wants a string"),
        }
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
                    failure: parse_failure(data),
                })
            }
        };
        *lock(&self.active) = active;
        let entered = std::mem::take(&mut *lock(&self.entered));
        let mut reply = ok();
        reply.insert("count", entered);
        reply
    }

    /// The failure of this command, if any.
    pub(super) fn check(&self, request: &Request) -> Option<Failure> {
        let mut guard = lock(&self.active);
        let active = guard.as_mut()?;
        let named = active.commands.contains(&request.name);
        let from_app = active.app_name.is_none() || active.app_name == request.app_name;
        // Switching it off must always be possible.
        if !named || !from_app || request.name == "configureFailPoint" {
            return None;
        }
        if active.skip > 0 {
            active.skip -= 1;
            return None;
        }
        let failure = active.failure.clone();
        match &mut active.times {
            Some(1) => *guard = None,
            Some(left) => *left -= 1,
            None => {}
        }
        *lock(&self.entered) += 1;
        Some(failure)
    }
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
fn code_name(code: i64) -> &'static str {
    match code {
        6 => "HostUnreachable",
        7 => "HostNotFound",
        11 => "UserNotFound",
        18 => "AuthenticationFailed",
        43 => "CursorNotFound",
        50 => "MaxTimeMSExpired",
        59 => "CommandNotFound",
        63 => "StaleShardVersion",
        64 => "WriteConcernFailed",
        89 => "NetworkTimeout",
        91 => "ShutdownInProgress",
        112 => "WriteConflict",
        133 => "FailedToSatisfyReadPreference",
        189 => "PrimarySteppedDown",
        262 => "ExceededTimeLimit",
        391 => "ReauthenticationRequired",
        9001 => "SocketException",
        10107 => "NotWritablePrimary",
        11600 => "InterruptedAtShutdown",
        11602 => "InterruptedDueToReplStateChange",
        13435 => "NotPrimaryNoSecondaryOk",
        13436 => "NotPrimaryOrSecondary",
        _ => "UnknownError",
    }
}

/// A `configureFailPoint` that makes `commands` fail according to `data`, `times` times.
///
/// It is a convenience for tests: a client would send the same command.
pub fn fail_command(times: i32, commands: &[&str], data: Document) -> Document {
    let mut all = doc! { "failCommands": commands.to_vec() };
    all.extend(data);
    doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": all }
}
