//! The rules for operations in a transaction ("Transactions"). `end_transaction.rs` has the operations that end one.
//!
//! An operation in a session of the program begins with [`begin`], which finds out if it belongs to the open transaction of
//! the session. If so, [`within`] applies the rules: the transaction has the concerns and the read preference, and nothing
//! but overload is retried. After each attempt [`attempt_failed`] adds the labels and unpins the session.

use std::cell::RefCell;
use std::sync::Arc;

use bson::raw::RawDocument;
use bson::{Document, RawBsonRef, RawDocumentBuf};

use super::retry::is_overload;
use super::role::Role;
use super::target::SelectedConnection;
use super::{MaxTime, Operation, OperationKind, OperationSession, TimeLimit};
use crate::data::hello::integer;
use crate::document::to_document;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::event::{
    self, Event, EventKind, EventListener, OutsideOfTransactionEvent, TransactionEvent,
};
use crate::logging::warn;
use crate::options::{ReadPreferenceMode, WriteConcern};
use crate::results::{WriteError, WriteFailure, whole};
use crate::sdam::{ServerConnection, ServerType, TopologyType};
use crate::server_code;
use crate::session::{Pinned, SessionPool, Transaction, TransactionSettings, TransactionState};

impl<'a> Operation<'a> {
    /// The session whose transaction the operation belongs to or ends.
    pub(super) fn transaction(&self) -> Option<&'a Transaction> {
        match (self.session, self.role) {
            (OperationSession::Explicit(session), Role::Within | Role::End) => {
                Some(session.transaction())
            }
            _ => None,
        }
    }

    /// The write concern of a command that ends a transaction.
    pub(super) fn end_concern(&self) -> Option<WriteConcern> {
        let transaction = self.transaction()?;
        match self.kind {
            OperationKind::Commit => Some(transaction.commit_concern()),
            OperationKind::Abort => Some(transaction.settings().write_concern.clone()),
            _ => None,
        }
    }
}

thread_local! {
    /// The clients, by the addresses of their session pools, in whose transactions closures run on this thread.
    static INSIDE: RefCell<Vec<*const SessionPool>> = const { RefCell::new(Vec::new()) };
}

/// The closure of a transaction runs on this thread, until this is dropped.
pub(crate) struct Inside(());

impl Inside {
    /// `pool` is that of the client.
    pub(crate) fn begin(pool: &Arc<SessionPool>) -> Self {
        let pool = Arc::as_ptr(pool);
        INSIDE.with_borrow_mut(|inside| inside.push(pool));
        Self(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(Vec::pop);
    }
}

/// Reports an operation that is not a part of the transaction whose closure runs it. People lose data this way.
fn report_outside(pool: &Arc<SessionPool>, listener: &EventListener, operation: &Operation<'_>) {
    let pool = Arc::as_ptr(pool);
    let is_inside = INSIDE.with_borrow(|inside| inside.contains(&pool));
    if !is_inside || operation.is_cleanup || event::is_listening() {
        return;
    }
    let outside = OutsideOfTransactionEvent {
        command: operation.command.name().to_owned(),
        database: operation.database.to_owned(),
    };
    warn!(target: "mongotls::transaction", "{outside}");
    if listener.listens_to(EventKind::Transaction) {
        let event = TransactionEvent::Outside(outside);
        listener.emit(&Event::Transaction(event));
    }
}

/// Begins an operation. Returns the settings of the transaction that it belongs to, if it belongs to one.
///
/// # Errors
/// If the session cannot be used with this client.
pub(super) fn begin(
    pool: &Arc<SessionPool>,
    listener: &EventListener,
    operation: &Operation<'_>,
) -> Result<Option<Arc<TransactionSettings>>> {
    let OperationSession::Explicit(session) = operation.session else {
        report_outside(pool, listener, operation);
        return Ok(None);
    };
    operation.session.check(pool)?;
    let transaction = session.transaction();
    let is_open = operation.role != Role::End && transaction.begin_operation().is_open();
    Ok(is_open.then(|| transaction.settings()))
}

/// The operation as a part of the open transaction.
///
/// # Errors
/// If it has an option that no operation of a transaction can have.
pub(super) fn within<'a>(
    operation: Operation<'a>,
    settings: &'a TransactionSettings,
) -> Result<Operation<'a>> {
    let own = operation.own;
    let deadline = match operation.session {
        OperationSession::Explicit(session) => session.transaction().deadline(),
        _ => None,
    };
    let problem = match () {
        () if own.read_concern => "Cannot set read concern after starting a transaction.",
        () if own.write_concern => "Cannot set write concern after starting a transaction.",
        () if own.timeout && deadline.is_some() => {
            "an operation cannot have a timeout of its own in a transaction that has one"
        }
        () => "",
    };
    if !problem.is_empty() {
        return Err(Error::invalid_argument(problem));
    }
    let preference = match operation.read_preference {
        Some(preference) if own.read_preference => preference,
        _ => &settings.read_preference,
    };
    let is_read = operation.read_preference.is_some()
        || matches!(operation.kind, OperationKind::Read | OperationKind::Generic);
    if is_read && preference.mode != ReadPreferenceMode::Primary {
        return Err(Error::invalid_argument(format!(
            "read preference in a transaction must be primary, not: {}",
            preference.mode
        )));
    }
    let kind = match operation.kind {
        // Both are retried after overload only.
        OperationKind::Read => OperationKind::Cursor,
        OperationKind::RetryableWrite => OperationKind::Write,
        kind => kind,
    };
    let (limit, max_time) = match deadline {
        Some(deadline) => (TimeLimit::Until(deadline), MaxTime::Remaining),
        None => (operation.limit, operation.max_time),
    };
    Ok(Operation {
        kind,
        limit,
        max_time,
        read_concern: Some(&settings.read_concern),
        write_concern: None,
        read_preference: None,
        role: Role::Within,
        ..operation
    })
}

/// A command of an open cursor, with its part in a transaction. Only `getMore` counts as an operation of the session.
pub(super) fn within_cursor(operation: Operation<'_>) -> Operation<'_> {
    let OperationSession::Explicit(session) = operation.session else {
        return operation;
    };
    let transaction = session.transaction();
    let is_within = match operation.is_cleanup {
        true => transaction.state() == TransactionState::InProgress,
        false => transaction.begin_operation().is_open(),
    };
    if !is_within {
        return operation;
    }
    Operation {
        role: Role::Within,
        limit: match transaction.deadline() {
            Some(deadline) if !operation.is_cleanup => TimeLimit::Until(deadline),
            _ => operation.limit,
        },
        ..operation
    }
}

/// The connection to which the transaction is pinned, behind a load balancer.
pub(super) fn pinned_connection(operation: &Operation<'_>) -> Option<ServerConnection> {
    match operation.transaction()?.pinned()? {
        Pinned::Connection(pin) => pin.lend(),
        Pinned::Router(_) => None,
    }
}

/// Pins the session to the connection or to its server, if the deployment needs it.
pub(super) fn pin(operation: &Operation<'_>, selected: &mut SelectedConnection) {
    let Some(transaction) = operation.transaction() else {
        return;
    };
    if operation.role != Role::Within || transaction.is_pinned() {
        return;
    }
    match (selected.topology_type, selected.server_type) {
        (TopologyType::LoadBalanced, _) => {
            transaction.pin(Pinned::Connection(selected.connection.keep()));
        }
        (TopologyType::Sharded, ServerType::Mongos) => {
            let server = selected.connection.server().clone();
            transaction.pin(Pinned::Router(Arc::new(server)));
        }
        _ => {}
    }
}

/// Notes the reply to a command, or its failure.
pub(super) fn replied(
    operation: &Operation<'_>,
    server_type: ServerType,
    outcome: &Result<RawDocumentBuf>,
) {
    let Some(transaction) = operation.transaction() else {
        return;
    };
    let was_sent = match outcome {
        Ok(_) => true,
        Err(error) => error.stage() == Some(Stage::Command),
    };
    if was_sent && operation.role == Role::Within {
        transaction.sent();
    }
    let is_router = matches!(server_type, ServerType::Mongos | ServerType::LoadBalancer);
    let token = outcome.as_ref().ok().filter(|_| is_router);
    if let Some(token) = token.and_then(|reply| reply.get_document("recoveryToken").ok()) {
        transaction.note_recovery_token(token.to_owned());
    }
}

/// Completes the error of an attempt: adds the label of the driver, and unpins the session.
pub(super) fn attempt_failed(operation: &Operation<'_>, error: Error) -> Error {
    let Some(transaction) = operation.transaction() else {
        return error;
    };
    let error = match operation.role {
        Role::Within if is_without_answer(&error) => error.with_labels(&[TRANSIENT]),
        _ => error,
    };
    if error.has_label(TRANSIENT) {
        transaction.unpin();
    }
    if operation.kind == OperationKind::Commit {
        transaction.commit_tried(is_overload(&error));
        if may_be_made(&error) {
            transaction.set_may_be_committed(true);
        }
    }
    error
}

/// Returns true if an attempt to commit that failed with this error may have been made.
fn may_be_made(error: &Error) -> bool {
    let Some(failure) = error.command() else {
        return error.stage() == Some(Stage::Command)
            && (is_without_answer(error) || was_interrupted(error));
    };
    // Servers before MongoDB 4.4 do not send the label.
    is_doubtful_code(failure.code)
        || error.has_label("RetryableWriteError")
        || server_code::RETRYABLE_WRITE.contains(&failure.code)
}

/// Returns true if the program cancelled the operation while its command ran.
pub(super) fn was_interrupted(error: &Error) -> bool {
    error.is_cancelled() && error.stage() == Some(Stage::Command)
}

/// The codes of commits that may have been made.
pub(super) fn is_doubtful_code(code: i32) -> bool {
    [
        server_code::MAX_TIME_MS_EXPIRED,
        server_code::WRITE_CONCERN_FAILED,
    ]
    .contains(&code)
}

/// Prepares another attempt after one that `was_overloaded` or not, and that `was_first` in its transaction or not.
pub(super) fn retrying(operation: &Operation<'_>, was_overloaded: bool, was_first: bool) {
    let Some(transaction) = operation.transaction() else {
        return;
    };
    match operation.role {
        Role::Within if was_first => transaction.restart(),
        // The other router finds the outcome by the recovery token.
        Role::End if !was_overloaded => transaction.unpin(),
        _ => {}
    }
}

/// Notes that an operation of the transaction failed, if the server knows of it, or may.
pub(super) fn failed(operation: &Operation<'_>, error: &Error) {
    let counts = error.command().is_some() || error.has_label(TRANSIENT);
    if let Some(transaction) = operation.transaction().filter(|_| counts) {
        if !operation.is_cleanup {
            transaction.note_failure(|| error.clone());
        }
    }
}

/// Notes that some writes of an operation of the transaction failed.
pub(super) fn succeeded(operation: &Operation<'_>, reply: &RawDocument) {
    let Some(transaction) = operation.transaction() else {
        return;
    };
    if operation.role == Role::Within {
        if let Some(failure) = failed_writes(reply) {
            transaction.note_failure(|| failure);
        }
    }
}

/// The failed writes in a reply with `ok: 1`.
fn failed_writes(reply: &RawDocument) -> Option<Error> {
    let fields = ["writeErrors", "nErrors"];
    let mut elements = reply.iter_elements().map_while(std::result::Result::ok);
    let found = elements.find(|element| fields.contains(&element.key().as_str()))?;
    let failure = match found.value().ok()? {
        RawBsonRef::Array(errors) => {
            let errors = errors.into_iter().flatten();
            let errors = errors.filter_map(|error| to_document(error.as_document()?).ok());
            let read = |error: Document| {
                let index = error.get("index").and_then(whole).unwrap_or_default();
                WriteError::read(usize::try_from(index).unwrap_or_default(), error)
            };
            WriteFailure {
                errors: errors.map(read).collect(),
                ..WriteFailure::default()
            }
        }
        // The errors of `bulkWrite` are documents of its cursor.
        number if integer(number) != Some(0) => WriteFailure::default(),
        _ => return None,
    };
    Some(super::refusal::explained(Error::write(failure)))
}

/// Returns true if no server has answered: the network failed, or there was no server or connection in time.
pub(super) fn is_without_answer(error: &Error) -> bool {
    error.command().is_none()
        && match error.kind() {
            ErrorKind::Network | ErrorKind::Timeout => true,
            ErrorKind::Tls => error.stage() == Some(Stage::Command),
            _ => false,
        }
}

/// The label of errors after which a transaction may be run again.
pub(crate) const TRANSIENT: &str = "TransientTransactionError";

/// The label of errors after which a commit may be sent again.
pub(crate) const UNKNOWN_COMMIT: &str = "UnknownTransactionCommitResult";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::{Cause, CauseCode};
    use crate::conn;

    fn failed(code: CauseCode, stage: Stage) -> Error {
        Error::failed(stage, Cause::simulated(code, "m", "r"))
    }

    fn rejected(code: i32, labels: &[&str]) -> Error {
        let error = conn::check(&bson::rawdoc! { "ok": 0, "code": code }).unwrap_err();
        error.with_stage(Stage::Command).with_labels(labels)
    }

    /// Prose test 3 of "Mongos Pinning Prose Tests": a cleared pool is transient.
    #[test]
    fn errors_without_an_answer_are_transient() {
        for (error, expected) in [
            (Error::pool_cleared(None), true),
            (Error::interrupted().with_stage(Stage::Command), true),
            (failed(CauseCode::ConnectionReset, Stage::Command), true),
            (failed(CauseCode::ConnectTimeout, Stage::Connect), true),
            (failed(CauseCode::CertificateExpired, Stage::Tls), false),
            (Error::client_closed(), false),
            (Error::invalid_argument("x"), false),
            (rejected(91, &[]), false),
        ] {
            assert_eq!(is_without_answer(&error), expected, "{error}");
        }
    }

    #[test]
    fn only_an_attempt_that_reached_the_server_may_be_made() {
        let lost = |stage| failed(CauseCode::ConnectionReset, stage);
        for (error, expected) in [
            (lost(Stage::Command), true),
            (lost(Stage::Connect), false),
            (Error::pool_cleared(None), false),
            (rejected(50, &[]), true),
            (rejected(9001, &["RetryableWriteError"]), true),
            (rejected(10107, &[]), true),
            (rejected(251, &[TRANSIENT]), false),
            (rejected(2, &[]), false),
        ] {
            assert_eq!(may_be_made(&error), expected, "{error}");
        }
    }

    #[test]
    fn failed_writes_of_a_reply_are_found() {
        let found = |reply: &RawDocumentBuf| failed_writes(reply).map(|error| error.kind());
        assert_eq!(found(&bson::rawdoc! { "ok": 1, "n": 1 }), None);
        let errors = bson::rawdoc! { "ok": 1, "writeErrors": [{ "index": 1, "code": 11000 }] };
        assert_eq!(found(&errors), Some(ErrorKind::Write));
        assert!(failed_writes(&errors).unwrap().is_duplicate_key());
        assert_eq!(found(&bson::rawdoc! { "ok": 1, "nErrors": 0 }), None);
        assert_eq!(
            found(&bson::rawdoc! { "ok": 1, "nErrors": 2 }),
            Some(ErrorKind::Write)
        );
    }
}
