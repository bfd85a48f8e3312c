//! A command of the program, sent as it is ("Run Command").

use bson::raw::{RawDocument, RawElement};
use bson::{RawBsonRef, RawDocumentBuf};

use super::target::SelectedConnection;
use super::{
    CursorFields, CursorReply, CursorTimeout, CursorTiming, HasDeployment, MaxTime, Operation,
    OperationKind, OperationSession, OwnOptions, TimeLimit, execute,
};
use crate::command::Command;
use crate::conn::ReadReply;
use crate::data::hello::integer;
use crate::error::{Error, Result};
use crate::event::OperationId;
use crate::session::{ReadMode, SessionState};
use crate::time::{TimeoutKind, TimeoutMs};

/// Runs a command and returns its reply.
///
/// # Errors
/// If the command cannot be encoded; otherwise those of [`execute::run`].
pub(crate) fn run(
    client: &dyn HasDeployment,
    database: &str,
    command: &Command,
    session: Option<&SessionState>,
) -> Result<RawDocumentBuf> {
    let id = OperationId::default();
    let limit = command
        .timeout_ms()
        .map_or(TimeLimit::OfClient, TimeLimit::Of);
    let limits = (limit, MaxTime::Remaining);
    let (reply, _) = execute_command(client, database, command, &id, limits, session, &mut ())?;
    Ok(reply)
}

/// The result of a command that opens a cursor.
pub(crate) struct Opened {
    pub(crate) reply: CursorReply,
    /// The connection that the reply came from.
    pub(crate) connection: SelectedConnection,
    /// The time limits of the cursor.
    pub(crate) timeout: CursorTimeout,
    /// The operation that all commands of the cursor belong to.
    pub(crate) id: OperationId,
}

/// Runs a command that may open a cursor.
///
/// # Errors
/// As [`run`], and if the options of the cursor contradict each other.
pub(crate) fn run_for_cursor(
    client: &dyn HasDeployment,
    database: &str,
    command: &Command,
    session: Option<&SessionState>,
) -> Result<Opened> {
    let deployment = client.deployment();
    let of_client = || TimeoutMs::of_client(deployment.options);
    let timeout = command.timeout_ms().or_else(of_client);
    let (limit, max_time, timeout) = CursorTiming::of(command).begin(timeout, deployment.bounds)?;
    let limits = (limit, max_time);
    let mut fields = CursorFields::of_first_batch();
    let id = OperationId::default();
    let (reply, connection) =
        execute_command(client, database, command, &id, limits, session, &mut fields)?;
    Ok(Opened {
        reply: CursorReply::new(reply, fields),
        connection,
        timeout,
        id,
    })
}

fn execute_command(
    client: &dyn HasDeployment,
    database: &str,
    command: &Command,
    id: &OperationId,
    (limit, max_time): (TimeLimit, MaxTime),
    session: Option<&SessionState>,
    fields: &mut dyn ReadReply,
) -> Result<(RawDocumentBuf, SelectedConnection)> {
    let body = command.body()?;
    let deployment = client.deployment();
    let is_limited = limit.reaches_server(deployment.options, deployment.bounds)
        || session.is_some_and(|session| session.transaction().deadline().is_some());
    let replaces = max_time == MaxTime::Remaining && is_limited && has_field(body, MAX_TIME);
    let without_max_time = replaces
        .then(|| without_field(body, MAX_TIME))
        .transpose()?;
    let body = without_max_time.as_ref().unwrap_or(body);
    let operation = Operation {
        sequences: &command.sequences(),
        kind: kind(command),
        limit,
        max_time,
        read_preference: command.preference(),
        own: OwnOptions {
            read_preference: command.preference().is_some(),
            timeout: command
                .timeout_ms()
                .is_some_and(|timeout| timeout.kind == TimeoutKind::Operation),
            ..OwnOptions::default()
        },
        session: operation_session(body, session)?,
        ..Operation::new(database, body, id)
    };
    execute::run(client, &operation, fields)
}

/// Chooses the session of a command. A command that carries the ID of a session gets no second one, and a write without
/// acknowledgement gets none ("Driver Sessions", "When using unacknowledged writes").
fn operation_session<'a>(
    body: &RawDocument,
    session: Option<&'a SessionState>,
) -> Result<OperationSession<'a>> {
    let is_snapshot = session.is_some_and(|it| it.read_mode() == ReadMode::Snapshot);
    let mut problem = None;
    for field in body.iter_elements().map_while(std::result::Result::ok) {
        match field.key().as_str() {
            "lsid" => problem = Some("a command with an lsid of its own cannot run in a session"),
            "readConcern" if is_snapshot => {
                problem = Some(
                    "a command with a readConcern of its own cannot run in a session for snapshot reads",
                );
            }
            "writeConcern" if is_unacknowledged(&field) => {
                problem = Some("an unacknowledged write cannot run in a session");
            }
            _ => {}
        }
    }
    match (problem, session) {
        (Some(problem), Some(_)) => Err(Error::invalid_argument(problem)),
        (Some(_), None) => Ok(OperationSession::Omitted),
        (None, session) => Ok(OperationSession::of(session)),
    }
}

/// Returns whether a write concern is `w: 0`.
fn is_unacknowledged(write_concern: &RawElement<'_>) -> bool {
    let Ok(RawBsonRef::Document(write_concern)) = write_concern.value() else {
        return false;
    };
    let w = write_concern.get("w").ok().flatten();
    w.and_then(integer) == Some(0)
}

/// The command itself is not inspected: the program says if it is a read ("Run Command").
fn kind(command: &Command) -> OperationKind {
    match command.is_read() {
        true => OperationKind::Read,
        false => OperationKind::Generic,
    }
}

/// The field of the server's time limit. That of `timeoutMS` replaces the field of the program, because servers reject a
/// command with both.
const MAX_TIME: &str = "maxTimeMS";

fn without_field(body: &RawDocument, field: &str) -> Result<RawDocumentBuf> {
    let mut rest = RawDocumentBuf::new();
    for element in body {
        let (key, value) =
            element.map_err(|error| Error::bson("the command is not valid BSON", error))?;
        if key.as_str() != field {
            rest.append(key, value);
        }
    }
    Ok(rest)
}

fn has_field(body: &RawDocument, field: &str) -> bool {
    body.get(field).ok().flatten().is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bson::rawdoc;

    use super::*;
    use crate::session::{Lifetime, SessionPool};

    #[test]
    fn only_the_program_says_that_a_command_is_a_read() {
        for body in [
            rawdoc! { "find": "c" },
            rawdoc! { "insert": "c", "txnNumber": 1_i64 },
        ] {
            let command = || Command::from(&*body);
            assert_eq!(kind(&command()), OperationKind::Generic);
            assert_eq!(kind(&command().read()), OperationKind::Read);
        }
    }

    #[test]
    fn a_session_excludes_fields_that_it_sets() {
        let pool = Arc::new(SessionPool::new());
        let start = |mode| SessionState::start(&pool, Lifetime::Unknown, mode, None);
        let (causal, snapshot) = (start(ReadMode::Causal), start(ReadMode::Snapshot));
        let find = rawdoc! { "find": "c", "readConcern": { "level": "local" } };
        assert!(operation_session(&find, Some(&causal)).is_ok());
        let other =
            "a command with a readConcern of its own cannot run in a session for snapshot reads";
        let lsid = rawdoc! { "find": "c", "lsid": {} };
        let own = "a command with an lsid of its own cannot run in a session";
        for (body, message) in [(find, other), (lsid, own)] {
            let error = operation_session(&body, Some(&snapshot)).err();
            assert_eq!(
                error.map(|error| error.to_string()).as_deref(),
                Some(message)
            );
            assert!(operation_session(&body, None).is_ok());
        }
    }

    #[test]
    fn one_field_of_a_command_is_left_out() {
        let find = rawdoc! { "find": "c", "maxTimeMS": 5, "filter": { "maxTimeMS": 1 } };
        let rest = rawdoc! { "find": "c", "filter": { "maxTimeMS": 1 } };
        assert_eq!(without_field(&find, MAX_TIME).unwrap(), rest);
        assert_eq!(without_field(&rest, MAX_TIME).unwrap(), rest);
    }
}
