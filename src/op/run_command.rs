//! A command of the program, sent as it is ("Run Command").

use bson::raw::{RawDocument, RawElement};
use bson::{RawBsonRef, RawDocumentBuf};

use super::target::SelectedConnection;
use super::{
    CursorFields, CursorReply, CursorTimeout, CursorTiming, HasDeployment, MaxTime, Operation,
    OperationKind, OperationSession, TimeLimit, execute,
};
use crate::command::Command;
use crate::conn::ReadReply;
use crate::data::hello::integer;
use crate::error::{Error, Result};
use crate::session::SessionState;
use crate::time::TimeoutMs;
use crate::wire::request::command_name;

/// Which commands are retried as reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// No command, because the call is generic: the name of its command does not say that it reads.
    Unknown,
    /// Those with the name of a read: the call has a typed result.
    ByName,
}

/// Runs a command and returns its reply.
///
/// # Errors
/// If the command cannot be encoded; otherwise those of [`execute::run`].
pub(crate) fn run(
    client: &dyn HasDeployment,
    database: &str,
    command: &Command,
    reads: Reads,
    session: Option<&SessionState>,
) -> Result<RawDocumentBuf> {
    let limit = command
        .timeout_ms()
        .map_or(TimeLimit::OfClient, TimeLimit::Of);
    let limits = (limit, MaxTime::Remaining);
    let (reply, _) = execute_command(client, database, command, reads, limits, session, &mut ())?;
    Ok(reply)
}

/// The result of a command that opens a cursor.
pub(crate) struct Opened {
    pub(crate) reply: CursorReply,
    /// The connection that the reply came from.
    pub(crate) connection: SelectedConnection,
    /// The time limits of the cursor.
    pub(crate) timeout: CursorTimeout,
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
    let of_client = || TimeoutMs::of_client(client.deployment().options);
    let timeout = command.timeout_ms().or_else(of_client);
    let (limit, max_time, timeout) = CursorTiming::of(command).begin(timeout)?;
    let limits = (limit, max_time);
    let mut fields = CursorFields::of_first_batch();
    let (reply, connection) = execute_command(
        client,
        database,
        command,
        Reads::ByName,
        limits,
        session,
        &mut fields,
    )?;
    Ok(Opened {
        reply: CursorReply::new(reply, fields),
        connection,
        timeout,
    })
}

fn execute_command(
    client: &dyn HasDeployment,
    database: &str,
    command: &Command,
    reads: Reads,
    (limit, max_time): (TimeLimit, MaxTime),
    session: Option<&SessionState>,
    fields: &mut dyn ReadReply,
) -> Result<(RawDocumentBuf, SelectedConnection)> {
    let body = command.body()?;
    let replaces = max_time == MaxTime::Remaining
        && has_field(body, MAX_TIME)
        && limit.reaches_server(client.deployment().options);
    let without_max_time = replaces
        .then(|| without_field(body, MAX_TIME))
        .transpose()?;
    let body = without_max_time.as_ref().unwrap_or(body);
    let operation = Operation {
        sequences: &command.sequences(),
        kind: &|| kind(body, reads),
        limit,
        max_time,
        read_preference: command.preference(),
        session: operation_session(body, session)?,
        ..Operation::new(database, body)
    };
    execute::run(client, &operation, fields)
}

/// Chooses the session of a command. A command that carries the ID of a session gets no second one, and a write without
/// acknowledgement gets none ("Driver Sessions", "When using unacknowledged writes").
fn operation_session<'a>(
    body: &RawDocument,
    session: Option<&'a SessionState>,
) -> Result<OperationSession<'a>> {
    let mut problem = None;
    for field in body.iter_elements().map_while(std::result::Result::ok) {
        match field.key().as_str() {
            "lsid" => problem = Some("a command with an lsid of its own cannot run in a session"),
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

fn kind(body: &RawDocument, reads: Reads) -> OperationKind {
    match body {
        body if reads == Reads::ByName && is_read(body) => OperationKind::Read,
        body if is_numbered_write(body) => OperationKind::NumberedWrite,
        _ => OperationKind::Other,
    }
}

/// Returns whether a command reads, by its name. A command of a transaction does not count, nor one that writes its
/// results to a collection.
fn is_read(body: &RawDocument) -> bool {
    const READS: [&str; 7] = [
        "find",
        "aggregate",
        "count",
        "distinct",
        "listCollections",
        "listDatabases",
        "listIndexes",
    ];
    let is_of_transaction = has_field(body, "txnNumber") || has_field(body, "autocommit");
    READS.contains(&command_name(body)) && !is_of_transaction && !writes_results(body)
}

/// Returns whether a stage of a pipeline is `$out` or `$merge`. A pipeline that cannot be read counts as one with such a
/// stage.
fn writes_results(body: &RawDocument) -> bool {
    let Ok(Some(RawBsonRef::Array(pipeline))) = body.get("pipeline") else {
        return false;
    };
    pipeline.into_iter().any(|stage| match stage {
        Ok(RawBsonRef::Document(stage)) => ["$out", "$merge"].contains(&command_name(stage)),
        _ => true,
    })
}

/// Returns whether the program may send a write again with the same `txnNumber`. In a transaction only its last command
/// may be sent again.
fn is_numbered_write(body: &RawDocument) -> bool {
    let is_end = ["commitTransaction", "abortTransaction"].contains(&command_name(body));
    has_field(body, "txnNumber") && (is_end || !has_field(body, "autocommit"))
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
    use bson::rawdoc;

    use super::*;

    fn typed(body: &RawDocument) -> OperationKind {
        kind(body, Reads::ByName)
    }

    #[test]
    fn reads_are_recognised_by_name() {
        for name in ["find", "aggregate", "count", "distinct", "listIndexes"] {
            let mut body = RawDocumentBuf::new();
            body.append(<&bson::raw::CStr>::try_from(name).unwrap(), "c");
            assert_eq!(typed(&body), OperationKind::Read, "{name}");
            assert_eq!(kind(&body, Reads::Unknown), OperationKind::Other, "{name}");
        }
        for other in ["insert", "getMore", "mapReduce", "ping", "Find"] {
            let mut body = RawDocumentBuf::new();
            body.append(<&bson::raw::CStr>::try_from(other).unwrap(), 1);
            assert_eq!(typed(&body), OperationKind::Other, "{other}");
        }
    }

    #[test]
    fn a_pipeline_that_writes_its_results_is_not_a_read() {
        let aggregate =
            |pipeline: bson::RawArrayBuf| rawdoc! { "aggregate": "c", "pipeline": pipeline };
        let stages = |last: RawDocumentBuf| {
            let mut pipeline = bson::RawArrayBuf::new();
            pipeline.push(rawdoc! { "$match": {} });
            pipeline.push(last);
            pipeline
        };
        let matching = stages(rawdoc! { "$match": {} });
        assert_eq!(typed(&aggregate(matching)), OperationKind::Read);
        for stage in [
            rawdoc! { "$out": "d" },
            rawdoc! { "$merge": { "into": "d" } },
        ] {
            assert_eq!(typed(&aggregate(stages(stage))), OperationKind::Other);
        }
        let mut no_stage = bson::RawArrayBuf::new();
        no_stage.push(5);
        assert_eq!(typed(&aggregate(no_stage)), OperationKind::Other);
    }

    #[test]
    fn one_field_of_a_command_is_left_out() {
        let find = rawdoc! { "find": "c", "maxTimeMS": 5, "filter": { "maxTimeMS": 1 } };
        let rest = rawdoc! { "find": "c", "filter": { "maxTimeMS": 1 } };
        assert_eq!(without_field(&find, MAX_TIME).unwrap(), rest);
        assert_eq!(without_field(&rest, MAX_TIME).unwrap(), rest);
    }

    #[test]
    fn a_number_makes_a_write_that_may_be_sent_again() {
        let insert = rawdoc! { "insert": "c", "txnNumber": 1_i64 };
        assert_eq!(typed(&insert), OperationKind::NumberedWrite);
        assert_eq!(kind(&insert, Reads::Unknown), OperationKind::NumberedWrite);
        assert_eq!(typed(&rawdoc! { "insert": "c" }), OperationKind::Other);
        for name in ["insert", "find"] {
            let mut body = RawDocumentBuf::new();
            body.append(<&bson::raw::CStr>::try_from(name).unwrap(), "c");
            body.append(bson::cstr!("txnNumber"), 1_i64);
            body.append(bson::cstr!("autocommit"), false);
            assert_eq!(typed(&body), OperationKind::Other, "{name}");
        }
        let commit = rawdoc! { "commitTransaction": 1, "txnNumber": 1_i64, "autocommit": false };
        assert_eq!(typed(&commit), OperationKind::NumberedWrite);
    }
}
