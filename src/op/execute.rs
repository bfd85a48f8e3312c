//! The executor: runs an operation from its deadline to its result.
//!
//! See the [overview](super) for the sequence. [`run`] selects a server for each attempt; [`run_at`] uses the server or the
//! pinned connection of an open cursor. Both call `send`, which is the only place where a command of a program is sent.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use bson::RawDocumentBuf;

use super::evidence::Evidence;
use super::refusal;
use super::retry::{AttemptServer, Attempts, Retry, check_write_concern, is_overload};
use super::session::{Concerns, OperationSession};
use super::target::{CursorTarget, Place, SelectedConnection};
use super::{Operation, OperationKind, timeout, transaction};
use crate::bounds::Bounds;
use crate::conn::{Connection, Connector, ReadReply, Request, ServerTimeLimit};
use crate::data::cluster_time::ClusterTime;
use crate::error::{Error, Result};
use crate::event::{self, EventKind, OperationId};
use crate::logging::debug;
use crate::options::{ClientOptions, ReadPreference, WriteConcern};
use crate::random;
use crate::reason::cancel::Cancelled;
use crate::sdam::errors::OperationResult;
use crate::sdam::selection::{ServerRequirement, WRITES_ON_SECONDARIES};
use crate::sdam::{Selected, SelectingOperation, Topology};
use crate::server_code::REAUTHENTICATION_REQUIRED;
use crate::session::{ImplicitSession, Pinned, ServerSession, SessionPool, TransactionState};
use crate::steps::{Prepared, Steps};
use crate::time::{Deadline, TimeoutKind};
use crate::wire::request::Envelope;

/// The parts of a client that operations use.
#[derive(Clone, Copy)]
pub(crate) struct Deployment<'a> {
    pub(crate) options: &'a ClientOptions,
    pub(crate) connector: &'a Connector,
    pub(crate) topology: &'a Topology,
    pub(crate) sessions: &'a Arc<SessionPool>,
    /// The limits of the handle that the program uses.
    pub(crate) bounds: &'a Bounds,
}

/// A client, as the executor sees it.
pub(crate) trait HasDeployment {
    /// Returns the parts for the current process. Call it for each attempt: a listener may fork between two attempts, and
    /// the child has its own parts.
    fn deployment(&self) -> Deployment<'_>;
}

/// Runs an operation on a server that is selected now, and retries it if that is allowed.
///
/// Returns the reply and the connection that it came from. `fields` has read the fields that it needs from the reply.
pub(crate) fn run(
    client: &dyn HasDeployment,
    operation: &Operation<'_>,
    fields: &mut dyn ReadReply,
) -> Result<(RawDocumentBuf, SelectedConnection)> {
    run_in(client, operation, fields, None)
}

/// Runs an operation like [`run`], in this session of the pool if it needs one.
pub(crate) fn run_in(
    client: &dyn HasDeployment,
    operation: &Operation<'_>,
    fields: &mut dyn ReadReply,
    mut held: Option<ServerSession>,
) -> Result<(RawDocumentBuf, SelectedConnection)> {
    let deployment = client.deployment();
    let listener = &deployment.options.listener;
    let settings = transaction::begin(deployment.sessions, listener, operation)?;
    let number = Cell::new(None);
    let steps = Steps::new(operation.bounds(client.deployment().bounds));
    let mut operation = Operation {
        number: Some(&number),
        steps: Some(&steps),
        ..*operation
    };
    if let Some(settings) = &settings {
        operation = transaction::within(operation, settings)?;
    }
    if !operation.has_reply() {
        if matches!(operation.session, OperationSession::Explicit(_)) {
            return Err(Error::invalid_argument(
                "a write with the write concern w: 0 cannot run in a session of the program",
            ));
        }
        // Without a reply nobody knows if the server has run it ("Retryable Writes", "Driver Sessions").
        operation.kind = OperationKind::Write;
        operation.session = OperationSession::Omitted;
    }
    match run_attempts(client, &operation, fields, &mut held) {
        Ok((reply, mut connection)) => {
            transaction::succeeded(&operation, &reply);
            connection.session =
                held.map(|session| ImplicitSession::new(client.deployment().sessions, session));
            Ok((reply, connection))
        }
        Err(error) => {
            client.deployment().sessions.end(held, None);
            let error = explained(error, &steps);
            transaction::failed(&operation, &error);
            Err(error)
        }
    }
}

/// Completes the error of an operation: its cause, and in a timeout the time that the steps took.
#[cold]
fn explained(error: Error, steps: &Steps<'_>) -> Error {
    let error = match error.is_timeout() {
        true => error.with_timing(steps.timing()),
        false => error,
    };
    refusal::explained(error)
}

/// Runs an operation until an attempt succeeds or no other one is allowed. All attempts use one session: `held`, if it is
/// one of the pool. It is still there after a success that leaves a cursor open, and after an error.
fn run_attempts(
    client: &dyn HasDeployment,
    operation: &Operation<'_>,
    fields: &mut dyn ReadReply,
    held: &mut Option<ServerSession>,
) -> Result<(RawDocumentBuf, SelectedConnection)> {
    event::begin_operation();
    let deadline = client.deployment().begin(operation)?;
    run_until(client, operation, fields, held, deadline)
}

/// Runs an operation as [`run_attempts`] does, until `deadline`.
fn run_until(
    client: &dyn HasDeployment,
    operation: &Operation<'_>,
    fields: &mut dyn ReadReply,
    held: &mut Option<ServerSession>,
    deadline: Option<Deadline>,
) -> Result<(RawDocumentBuf, SelectedConnection)> {
    let primary = ReadPreference::default();
    let preference = operation.read_preference.unwrap_or(&primary);
    let mut deployment = client.deployment();
    operation.session.check(deployment.sessions)?;
    let mut attempts: Option<Attempts> = None;
    let mut deprioritized = Vec::new();
    let own;
    let steps = match operation.steps {
        Some(steps) => steps,
        None => {
            own = Steps::default();
            &own
        }
    };
    let selecting = SelectingOperation::new(operation.command.name(), operation.id, steps);
    loop {
        let pinned = operation.transaction().and_then(|it| it.pinned());
        let requirement = match operation.kind {
            OperationKind::RetryableWrite | OperationKind::Write => match operation.read_preference
            {
                Some(preference) => ServerRequirement::ReadAndWrite(preference),
                None => ServerRequirement::Write,
            },
            // The executor does not know if a command of the program reads or writes. Without a preference both need the
            // primary, so `Read` is right for both.
            _ => ServerRequirement::Read(preference),
        };
        let requirement = match &pinned {
            Some(Pinned::Router(server)) => ServerRequirement::Pinned(server),
            _ => requirement,
        };
        let selection = timeout::of_selection(deployment.options, deadline);
        let started = deployment.has_listener().then(Instant::now);
        let selected =
            deployment
                .topology
                .select(requirement, &deprioritized, selection, &selecting);
        if let Some(started) = started {
            steps.prepare(Prepared {
                server_selection: started.elapsed(),
                ..Prepared::default()
            });
        }
        let selected = selected.map_err(|error| transaction::attempt_failed(operation, error));
        let selected = match (selected, &mut attempts) {
            (Ok(selected), None) => selected,
            (Ok(selected), Some(attempts)) if attempts.may_use((&selected).into()) => selected,
            (Err(error), Some(attempts)) if error.is_cancelled() => {
                return Err(attempts.cancelled(error));
            }
            // The previous error is more useful than "no server available".
            (Err(error), Some(attempts)) => {
                return Err(match timeout::elapsed_after(&error, deadline) {
                    Some(elapsed) => attempts.timed_out(elapsed),
                    None => attempts.give_up(),
                });
            }
            (Ok(_), Some(attempts)) => return Err(attempts.give_up()),
            (Err(error), None) => return Err(error),
        };
        let state = operation.transaction().map(|it| it.state());
        let outcome = deployment.attempt(&selected, operation, fields, held, selection, deadline);
        let error = match outcome {
            Ok(result) => return Ok(result),
            Err(error) => transaction::attempt_failed(operation, error),
        };
        let was_overloaded = is_overload(&error);
        // Most operations succeed at once. So nothing is computed for retries before the first error.
        let attempts = attempts.get_or_insert_with(|| deployment.attempts(operation, deadline));
        if prepare_retry(attempts, error, (&selected).into(), deadline, steps)?.deprioritize {
            deprioritized.push(selected.server.address().clone());
        }
        let was_first = state == Some(TransactionState::Starting);
        transaction::retrying(operation, was_overloaded, was_first);
        if let Some(queue) = operation.queue {
            queue.borrow_mut().set_doubtful(attempts.may_have_written());
        }
        deployment = client.deployment();
    }
}

/// Decides after a failed attempt, and pauses before the next one.
///
/// # Errors
/// The error of the operation if there is no other attempt.
fn prepare_retry(
    attempts: &mut Attempts,
    error: Error,
    server: AttemptServer,
    deadline: Option<Deadline>,
    steps: &Steps<'_>,
) -> Result<Retry> {
    let elapsed = timeout::elapsed_after(&error, deadline);
    let retry = attempts.failed(error, server, elapsed)?;
    let pause = retry.max_pause.mul_f64(random::jitter());
    let remaining = deadline.map(|deadline| deadline.remaining(Instant::now()));
    match remaining {
        Some(Err(elapsed)) => return Err(attempts.timed_out(elapsed)),
        // The pause would not leave any time for the next attempt.
        Some(Ok(Some(remaining))) if remaining <= pause => return Err(attempts.give_up()),
        _ => steps.pause(pause),
    }
    if steps.is_cancelled() {
        return Err(attempts.cancelled(Error::cancelled(Cancelled::Pause)));
    }
    if let Some(last) = attempts.last() {
        debug!(target: "mongotls::command", "another attempt after: {last}");
    }
    Ok(retry)
}

/// Runs an operation of an open cursor at `target`, in the session that opened the cursor. Reuses the memory of `spare`
/// for the reply.
pub(crate) fn run_at(
    client: &dyn HasDeployment,
    target: &mut CursorTarget,
    operation: &Operation<'_>,
    fields: &mut dyn ReadReply,
    spare: Vec<u8>,
) -> Result<RawDocumentBuf> {
    event::begin_operation();
    let mut deployment = client.deployment();
    let steps = Steps::new(operation.bounds(deployment.bounds));
    let operation = &transaction::within_cursor(Operation {
        steps: Some(&steps),
        ..*operation
    });
    let deadline = deployment.begin(operation)?;
    let mut attempts: Option<Attempts> = None;
    let mut spare = Some(spare);
    loop {
        let outcome = deployment.attempt_at(target, operation, fields, &mut spare, deadline);
        let error = match outcome {
            Ok(reply) => return Ok(reply),
            Err(error) => transaction::attempt_failed(operation, error),
        };
        let attempts = attempts.get_or_insert_with(|| deployment.attempts(operation, deadline));
        let retry = prepare_retry(attempts, error, AttemptServer::OF_CURSOR, deadline, &steps);
        if let Err(error) = retry {
            let error = explained(error, &steps);
            transaction::failed(operation, &error);
            return Err(error);
        }
        deployment = client.deployment();
    }
}

/// Runs an operation once on a server that is known now. Does nothing if there is none.
pub(crate) fn run_on_known_server(
    deployment: Deployment<'_>,
    operation: &Operation<'_>,
) -> Result<()> {
    event::begin_operation();
    let primary = ReadPreference::default();
    let preference = operation.read_preference.unwrap_or(&primary);
    let requirement = ServerRequirement::Read(preference);
    let Some(selected) = deployment.topology.select_known(requirement) else {
        return Ok(());
    };
    let deadline = deployment.begin(operation)?;
    deployment.attempt(&selected, operation, &mut (), &mut None, deadline, deadline)?;
    Ok(())
}

/// Checks out a connection to a server that accepts writes. Runs no command on it. `name` is the operation's name in
/// the log.
pub(crate) fn check_out(client: &dyn HasDeployment, name: &str) -> Result<SelectedConnection> {
    event::begin_operation();
    let deployment = client.deployment();
    let primary = ReadPreference::default();
    let requirement = ServerRequirement::Read(&primary);
    let id = OperationId::default();
    let steps = Steps::new(deployment.bounds);
    let command = RawDocumentBuf::new();
    let operation = Operation {
        steps: Some(&steps),
        ..Operation::new("", &command, &id)
    };
    let deadline = deployment.begin(&operation)?;
    let deadline = timeout::of_selection(deployment.options, deadline);
    let selecting = SelectingOperation::new(name, &id, &steps);
    let selected = deployment
        .topology
        .select(requirement, &[], deadline, &selecting);
    let connection =
        selected.and_then(|selected| deployment.check_out(&selected, deadline, &steps));
    connection.map_err(|error| explained(error, &steps))
}

impl Deployment<'_> {
    /// Returns the deadline of an operation that begins now.
    fn begin(self, operation: &Operation<'_>) -> Result<Option<Deadline>> {
        operation.check_cancelled(Cancelled::BeforeStart)?;
        let bounds = operation.bounds(self.bounds);
        timeout::begin(operation.limit, self.options, bounds)
    }

    /// Runs an operation once on the selected server. `selection` limits the check-out, with the handshake of a new
    /// connection, and `deadline` the command.
    fn attempt(
        self,
        selected: &Selected,
        operation: &Operation<'_>,
        fields: &mut dyn ReadReply,
        held: &mut Option<ServerSession>,
        selection: Option<Deadline>,
        deadline: Option<Deadline>,
    ) -> Result<(RawDocumentBuf, SelectedConnection)> {
        let own;
        let steps = match operation.steps {
            Some(steps) => steps,
            None => {
                own = Steps::default();
                &own
            }
        };
        let mut connection = match transaction::pinned_connection(operation) {
            Some(connection) => SelectedConnection {
                connection,
                topology_type: selected.topology_type,
                server_type: selected.description.server_type,
                min_round_trip_time: selected.server.min_round_trip_time(),
                session_minutes: selected.session_minutes,
                session: None,
            },
            None => self.check_out(selected, selection, steps)?,
        };
        transaction::pin(operation, &mut connection);
        let reply = self.send(&mut connection, operation, fields, held, deadline)?;
        Ok((reply, connection))
    }

    /// Runs an operation of an open cursor once.
    fn attempt_at(
        self,
        target: &mut CursorTarget,
        operation: &Operation<'_>,
        fields: &mut dyn ReadReply,
        spare: &mut Option<Vec<u8>>,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        let own;
        let steps = match operation.steps {
            Some(steps) => steps,
            None => {
                own = Steps::default();
                &own
            }
        };
        let mut checked_out;
        let selected = match &mut target.place {
            Place::Connection(pinned) => &mut **pinned,
            Place::Lent(pin, server) => match pin.lend() {
                Some(connection) => {
                    checked_out = server.with(connection);
                    &mut checked_out
                }
                None => return Err(Error::invalid_argument(LENT_ALREADY)),
            },
            Place::Server(server) => {
                let deadline = timeout::of_selection(self.options, deadline);
                steps.prepare(Prepared::default());
                checked_out = self.timed(steps, || server.check_out(deadline, steps))?;
                &mut checked_out
            }
        };
        if let Some(spare) = spare.take() {
            selected.connection.recycle(spare);
        }
        let mut none = None;
        let (held, session) = match (&mut target.session, operation.session) {
            (Some(implicit), session) => (&mut implicit.session, session),
            // The server did not support sessions when it opened the cursor.
            (None, OperationSession::Implicit) => (&mut none, OperationSession::Omitted),
            (None, session) => (&mut none, session),
        };
        let operation = Operation {
            session,
            ..*operation
        };
        self.send(selected, &operation, fields, held, deadline)
    }

    /// The attempts of an operation that has just failed for the first time.
    fn attempts(self, operation: &Operation<'_>, deadline: Option<Deadline>) -> Attempts {
        let has_limit = deadline.is_some_and(|deadline| deadline.replaces_step_limits());
        let kind = operation.current_kind();
        let evidence = Evidence {
            kind,
            extent: operation.current_extent(),
            has_reply: operation.has_reply(),
        };
        Attempts::new(kind, self.options, has_limit).with_evidence(evidence)
    }

    /// Returns true if a listener receives the events of commands, with the time of each step.
    fn has_listener(self) -> bool {
        self.options.listener.listens_to(EventKind::Command)
    }

    /// Makes a check-out, and records its time if a listener needs it.
    fn timed<T>(self, steps: &Steps<'_>, check_out: impl FnOnce() -> Result<T>) -> Result<T> {
        if !self.has_listener() {
            return check_out();
        }
        let (before, started) = (steps.timing(), Instant::now());
        let outcome = check_out();
        let after = steps.timing();
        steps.prepare(Prepared {
            check_out: started.elapsed(),
            establishing: after.establishing.saturating_sub(before.establishing),
            pool: after.pool.filter(|_| before.check_out != after.check_out),
            ..steps.prepared()
        });
        outcome
    }

    /// Checks out a connection to the selected server.
    fn check_out(
        self,
        selected: &Selected,
        deadline: Option<Deadline>,
        steps: &Steps<'_>,
    ) -> Result<SelectedConnection> {
        let pool = selected.server.pool();
        let connection = self.timed(steps, || pool.check_out_for(deadline, steps))?;
        if connection.is_new() {
            self.topology.greeted(&connection);
        }
        Ok(SelectedConnection {
            connection,
            topology_type: selected.topology_type,
            server_type: selected.description.server_type,
            min_round_trip_time: selected.server.min_round_trip_time(),
            session_minutes: selected.session_minutes,
            session: None,
        })
    }

    /// Sends the command of an operation and reads its reply. Then reports to the topology what the reply or the error says
    /// about the server.
    ///
    /// The session of the pool in which the command runs, if it is one, is in `held` after an error and while a cursor is
    /// open.
    fn send(
        self,
        selected: &mut SelectedConnection,
        operation: &Operation<'_>,
        fields: &mut dyn ReadReply,
        held: &mut Option<ServerSession>,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        let whole = deadline;
        check_wire_version(operation, selected.connection.hello().max_wire_version)
            .map_err(|error| error.with_server(selected.connection.server()))?;
        let is_limited = deadline.is_some_and(|deadline| deadline.replaces_step_limits());
        let socket = self.options.socket_timeout.filter(|_| !is_limited);
        let socket =
            socket.map(|limit| Deadline::after(Instant::now(), Some(limit), TimeoutKind::Socket));
        let deadline = socket.map_or(deadline, |socket| Some(socket.within(deadline)));
        let server = AttemptServer::from(&*selected);
        // An old server runs an aggregation that writes on the primary only, so it gets no other preference.
        let preference = operation.read_preference.filter(|_| {
            operation.kind != OperationKind::Write
                || server.max_wire_version >= WRITES_ON_SECONDARIES
        });
        let preference = selected.read_preference(preference)?;
        if let Some(queue) = operation.queue {
            let hello = selected.connection.hello();
            let chosen = queue.borrow_mut().choose(hello, operation.command.size());
            chosen.map_err(|error| error.with_server(selected.connection.server()))?;
        }
        let kind = operation.current_kind();
        let is_numbered = kind == OperationKind::RetryableWrite
            && self.options.retry_writes
            && server.supports_retryable_writes();
        let number = operation.number.filter(|_| is_numbered);
        let concerns = Concerns {
            kind: operation.kind,
            read: operation.read_concern,
            has_write_concern: operation.write_concern.is_some(),
            role: operation.role,
        };
        let session = operation
            .session
            .begin(self.sessions, selected, concerns, number, held)?;
        // With `timeoutMS`, `wtimeout` is not sent: the server stops in time because of `maxTimeMS`.
        let of_end = operation.end_concern();
        let mut write_concern = of_end.as_ref().or(operation.write_concern);
        write_concern = write_concern.filter(|it| !it.is_server_default());
        let without_limit;
        if let Some(concern) = write_concern.filter(|it| is_limited && it.w_timeout.is_some()) {
            without_limit = WriteConcern {
                w_timeout: None,
                ..concern.clone()
            };
            write_concern = Some(&without_limit).filter(|it| !it.is_server_default());
        }
        let queue = operation.queue.map(RefCell::borrow);
        let of_queue = queue.as_ref().map(|queue| queue.sequences());
        let request = Request {
            command: operation.command,
            sequences: of_queue.as_deref().unwrap_or(operation.sequences),
            envelope: Envelope {
                database: operation.database,
                read_preference: preference.as_deref(),
                session_id: session.id,
                cluster_time: session
                    .cluster_time
                    .as_ref()
                    .and_then(ClusterTime::document),
                transaction_number: session.transaction_number,
                position: session.position,
                max_time_ms: operation.max_time_ms,
                read_concern: session.read_concern,
                write_concern,
                raw_data: operation
                    .raw_data
                    .filter(|_| server.max_wire_version >= RAW_DATA),
            },
            server_time_limit: ServerTimeLimit {
                max_time: operation.max_time,
                min_round_trip_time: is_limited.then_some(selected.min_round_trip_time),
            },
            operation_id: Some(operation.id),
            has_reply: operation.has_reply(),
            allows_more: operation.allows_more,
            prepared: operation.steps.map(Steps::prepared).unwrap_or_default(),
        };
        let connection = &mut selected.connection;
        let reply = self.run_cancellable(connection, operation, &request, fields, deadline);
        let must_retry = match &reply {
            Ok(reply) if kind.is_numbered() => check_write_concern(reply, server).err(),
            _ => None,
        };
        let is_kept = reply.is_err() || must_retry.is_some() || fields.leaves_cursor_open();
        let used = operation.session;
        used.end(self.sessions, connection, held, is_kept);
        if let Ok(reply) = &reply {
            used.note_snapshot(reply);
        }
        transaction::replied(operation, selected.server_type, &reply);
        match &reply {
            Err(error) => self
                .topology
                .operation_ended(connection, OperationResult::Error(error)),
            Ok(reply) if connection.says_state_changed() => {
                self.topology
                    .operation_ended(connection, OperationResult::Reply(reply));
            }
            Ok(_) => {}
        }
        let reply = match must_retry {
            Some(error) => Err(error.with_server(connection.server())),
            None => reply,
        };
        timeout::transformed(reply, whole)
    }

    /// Runs a command, unless the program cancels the operation. Then the connection is closed, because its reply is
    /// outstanding.
    fn run_cancellable(
        self,
        connection: &mut Connection,
        operation: &Operation<'_>,
        request: &Request<'_>,
        fields: &mut dyn ReadReply,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        let register =
            |steps: &Steps<'_>| steps.register(|| Arc::clone(connection.interrupt()) as _);
        let registered = operation.steps.map(register).unwrap_or_default();
        let outcome = operation
            .check_cancelled(Cancelled::BeforeSending)
            .and_then(|()| self.run_reauthenticating(connection, request, fields, deadline));
        if !registered.is_empty() {
            drop(registered);
            connection.note_interruption();
        }
        if let (Err(_), Some(steps)) = (&outcome, operation.steps) {
            steps.exchanged(connection.timing());
        }
        outcome
    }

    /// Runs a command. If the server requires that the user authenticates again, does so and runs the command once more.
    fn run_reauthenticating(
        self,
        connection: &mut Connection,
        request: &Request<'_>,
        fields: &mut dyn ReadReply,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        let outcome = connection.run_and_read(request, fields, deadline);
        let failure = outcome.as_ref().err().and_then(Error::command);
        if failure.is_none_or(|failure| failure.code != REAUTHENTICATION_REQUIRED) {
            return outcome;
        }
        match self.connector.reauthenticate(connection, deadline)? {
            Some(human_time) => {
                let deadline = deadline.map(|deadline| deadline.extended(human_time));
                connection.run_and_read(request, fields, deadline)
            }
            None => outcome,
        }
    }
}

/// The text for a cursor whose connection is in use by another command of its transaction.
const LENT_ALREADY: &str = "the connection of the transaction is in use";

/// The wire version of MongoDB 8.2, which brought `rawData`. Servers without it reject the field.
const RAW_DATA: i32 = 27;

/// Rejects an operation that the server is too old for.
fn check_wire_version(operation: &Operation<'_>, newest: i32) -> Result<()> {
    let oldest = operation.min_wire_version;
    if newest >= oldest {
        return Ok(());
    }
    let name = match operation.needed_by {
        Some(part) => part,
        None => operation.command.name(),
    };
    Err(Error::invalid_argument(format!(
        "{name} needs a server with wire version {oldest} or later, and this one has {newest}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_operation_is_not_sent_to_a_server_without_it() {
        let command = bson::rawdoc! { "bulkWrite": 1 };
        let id = OperationId::default();
        let operation = Operation {
            min_wire_version: 25,
            ..Operation::new("admin", &command, &id)
        };
        assert!(check_wire_version(&operation, 25).is_ok());
        let error = check_wire_version(&operation, 24).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(
            error.to_string(),
            "bulkWrite needs a server with wire version 25 or later, and this one has 24"
        );
    }
}
