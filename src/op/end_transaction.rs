//! The two operations that end a transaction: commit and abort ("Transactions").

use std::time::Duration;

use bson::RawDocumentBuf;
use bson::raw::RawDocument;

use super::role::Role;
use super::transaction::{
    TRANSIENT, UNKNOWN_COMMIT, is_doubtful_code, is_without_answer, was_interrupted,
};
use super::{HasDeployment, Operation, OperationKind, OperationSession, TimeLimit, execute};
use crate::conn;
use crate::document::to_document;
use crate::error::{Error, Result, Stage};
use crate::event::OperationId;
use crate::logging::debug;
use crate::reason::transaction::TransactionFailure;
use crate::results::{WriteConcernError, WriteFailure, Written, labels};
use crate::server_code;
use crate::session::SessionState;
use crate::wire::request::{EncodeCommand, Fields};

/// Commits the transaction of a session.
///
/// # Errors
/// If there is none, or if the commit failed or was not acknowledged.
pub(crate) fn commit(
    client: &dyn HasDeployment,
    session: &SessionState,
    limit: TimeLimit,
) -> Result<()> {
    OperationSession::Explicit(session).check(client.deployment().sessions)?;
    let transaction = session.transaction();
    if !transaction.begin_commit()? {
        return Ok(());
    }
    let outcome = end(client, session, limit, OperationKind::Commit);
    if outcome.is_ok() {
        // The server has made the commit, even if it has not acknowledged it as required.
        transaction.commit_tried(false);
        transaction.set_may_be_committed(true);
    }
    let unacknowledged = match &outcome {
        Ok(reply) => unacknowledged(reply),
        Err(error) => error
            .command()
            .filter(|failure| conn::check(&failure.reply).is_ok())
            .and_then(|failure| unacknowledged(&failure.reply)),
    };
    let error = match (unacknowledged, outcome) {
        (Some(concern_error), outcome) => not_acknowledged(concern_error, outcome),
        (None, Err(error)) => not_committed(error, transaction.may_be_committed()),
        (None, Ok(_)) => return Ok(()),
    };
    if error.has_label(UNKNOWN_COMMIT) {
        transaction.unpin();
    }
    if error.has_label(TRANSIENT) {
        transaction.set_may_be_committed(false);
    }
    Err(error)
}

/// Aborts the transaction of a session. The server aborts it itself later, so its errors are ignored.
///
/// # Errors
/// If there is no open transaction, or it belongs to another client or process.
pub(crate) fn abort(
    client: &dyn HasDeployment,
    session: &SessionState,
    limit: TimeLimit,
) -> Result<()> {
    OperationSession::Explicit(session).check(client.deployment().sessions)?;
    let transaction = session.transaction();
    if transaction.begin_abort()? {
        if let Err(error) = end(client, session, limit, OperationKind::Abort) {
            debug!(target: "mongotls::transaction", "the transaction was not aborted: {error}");
        }
    }
    transaction.unpin();
    Ok(())
}

/// Aborts the open transaction of a session that ends, if there is one, within two seconds.
pub(crate) fn abort_open(client: &dyn HasDeployment, session: &SessionState) {
    if session.transaction().state().is_open() && !session.is_inherited() {
        // Only a transaction that is not open could be an error.
        let _ = abort(client, session, TimeLimit::Internal(LONGEST_DROP));
    }
}

/// The longest time that the end of a session waits for its transaction to be aborted: 2 s.
const LONGEST_DROP: Duration = Duration::from_secs(2);

fn end(
    client: &dyn HasDeployment,
    session: &SessionState,
    limit: TimeLimit,
    kind: OperationKind,
) -> Result<RawDocumentBuf> {
    let transaction = session.transaction();
    let is_commit = kind == OperationKind::Commit;
    let command = EndTransaction {
        name: match is_commit {
            true => "commitTransaction",
            false => "abortTransaction",
        },
        recovery_token: transaction.recovery_token(),
    };
    let id = OperationId::default();
    let operation = Operation {
        kind,
        limit,
        is_cleanup: !is_commit,
        session: OperationSession::Explicit(session),
        role: Role::End,
        max_time_ms: transaction
            .settings()
            .max_commit_time_ms
            .filter(|_| is_commit),
        ..Operation::new("admin", &command, &id)
    };
    let (reply, _connection) = execute::run(client, &operation, &mut ())?;
    Ok(reply)
}

/// `commitTransaction` or `abortTransaction`.
struct EndTransaction {
    name: &'static str,
    recovery_token: Option<RawDocumentBuf>,
}

impl EncodeCommand for EndTransaction {
    fn name(&self) -> &str {
        self.name
    }

    fn encode(&self, fields: &mut Fields<'_>) {
        fields.int32(self.name, 1);
        if let Some(token) = &self.recovery_token {
            fields.document("recoveryToken", token);
        }
    }
}

/// The failure to acknowledge a commit, in a reply with `ok: 1`.
fn unacknowledged(reply: &RawDocument) -> Option<WriteConcernError> {
    let error = reply.get_document("writeConcernError").ok()?;
    Some(WriteConcernError::read(to_document(error).ok()?))
}

/// The error for a commit that was made, but not acknowledged as required. `outcome` has the labels.
fn not_acknowledged(concern_error: WriteConcernError, outcome: Result<RawDocumentBuf>) -> Error {
    let can_be_satisfied = ![
        server_code::UNSATISFIABLE_WRITE_CONCERN,
        server_code::UNKNOWN_REPL_WRITE_CONCERN,
    ]
    .contains(&concern_error.code);
    let labels = match &outcome {
        Ok(reply) => labels(reply),
        Err(error) => error.labels().to_vec(),
    };
    let error = Error::write(WriteFailure {
        concern_error: Some(concern_error),
        ..WriteFailure::default()
    });
    let error = error
        .with_stage(Stage::Command)
        .with_labels(&labels)
        .with_written(Written::Yes);
    let error = match can_be_satisfied {
        true => error.with_labels(&[UNKNOWN_COMMIT]),
        false => error,
    };
    super::refusal::explained(error)
}

/// Completes the error of a commit. `may_be_committed`: this commit, or an earlier one, may have been made.
fn not_committed(error: Error, may_be_committed: bool) -> Error {
    // The server says that there is no such transaction, so none was committed.
    if error.has_label(TRANSIENT) {
        return error.with_written(Written::No);
    }
    let error = match is_unknown(&error) {
        true => error.with_labels(&[UNKNOWN_COMMIT]),
        false => error,
    };
    if !may_be_committed {
        return error.with_written(Written::No);
    }
    let source = error.clone();
    let cause = TransactionFailure::CommitUnknown {
        because: source.message().to_owned(),
    };
    let error = error.replace_cause(cause.into());
    error.with_written(Written::Unknown).with_source(source)
}

/// Returns true if a commit that failed with this error may be sent again ("UnknownTransactionCommitResult").
fn is_unknown(error: &Error) -> bool {
    match error.command() {
        Some(failure) => is_doubtful_code(failure.code) || error.has_label("RetryableWriteError"),
        None => is_without_answer(error) || was_interrupted(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::{Cause, CauseCode};

    fn failed(code: CauseCode, stage: Stage) -> Error {
        Error::failed(stage, Cause::simulated(code, "m", "r"))
    }

    fn rejected(code: i32, labels: &[&str]) -> Error {
        let error = conn::check(&bson::rawdoc! { "ok": 0, "code": code }).unwrap_err();
        error.with_stage(Stage::Command).with_labels(labels)
    }

    #[test]
    fn a_commit_is_unknown_if_it_may_have_been_made() {
        use Written as W;
        let lost = || failed(CauseCode::ConnectionReset, Stage::Command);
        let unsent = || failed(CauseCode::ConnectionReset, Stage::Connect);
        let retryable = || rejected(9001, &["RetryableWriteError"]);
        for (error, may_be, has_label, written) in [
            (lost(), true, true, W::Unknown),
            (unsent(), false, true, W::No),
            (unsent(), true, true, W::Unknown),
            (retryable(), true, true, W::Unknown),
            (rejected(50, &[]), true, true, W::Unknown),
            (rejected(64, &[]), true, true, W::Unknown),
            (rejected(251, &[TRANSIENT]), true, false, W::No),
            (rejected(2, &[]), false, false, W::No),
            // An earlier attempt may have been made, and this answer does not say that it was not.
            (rejected(13, &[]), true, false, W::Unknown),
            (
                rejected(462, &["SystemOverloadedError"]),
                true,
                false,
                W::Unknown,
            ),
            (Error::client_closed(), true, false, W::Unknown),
        ] {
            assert!(!has_label || is_unknown(&error), "{error}");
            let text = error.to_string();
            let error = not_committed(error, may_be);
            assert_eq!(error.has_label(UNKNOWN_COMMIT), has_label, "{text}");
            assert_eq!(error.written(), written, "{text}");
            let code = error.cause().map(Cause::code);
            let is_unknown = written == W::Unknown;
            assert_eq!(code == Some(CauseCode::CommitUnknown), is_unknown, "{text}");
        }
    }
}
