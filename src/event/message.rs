//! The log messages of the specifications, as data: text and fields of each are described here, and nowhere else.
//!
//! Input: an event, or the step of a server selection. Output: one [`Line`] with the words and the names of fields
//! that the specification of its component requires. A field without a value is left out, with its words. No message
//! is built unless the program's logger wants it.
//!
//! Two things are ours. Every message has the field `topologyId`, which tells the clients of a process apart. A host
//! in a text is printed as in a connection string, so an IPv6 address has brackets.
//!
//! Sources: "Command Logging and Monitoring", "Connection Monitoring and Pooling" ("Connection Pool Logging"), "SDAM
//! Logging and Monitoring" and "Server Selection" ("Logging"); "Logging" rules them all.

use std::error::Error as _;
use std::fmt::{self, Write as _};
use std::time::Duration;

use bson::oid::ObjectId;
use bson::raw::RawDocument;
use log::Level;

use super::command::CommandInfo;
use super::json::extended_json;
use super::pool::{PoolEvent, PoolEventKind};
use super::sdam::{MonitoringConnection, SdamEvent, SdamEventKind};
use crate::address::ServerAddress;
use crate::error::Error;
use crate::logging::{Component, Line};
use crate::printable::Quoted;

/// The parts that the messages of one client have in common.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogSettings {
    /// The ID of the client's topology.
    pub(crate) topology_id: ObjectId,
    /// The maximum length of a document in a message, in bytes.
    pub(crate) document_length: usize,
}

/// The default of [`LogSettings::document_length`]: 1000 bytes ("Configurable Max Document Length").
const DEFAULT_DOCUMENT_LENGTH: usize = 1000;

/// A log message of a specification.
#[derive(Clone, Copy)]
pub(crate) enum Message<'a> {
    /// A command, its reply or its failure.
    Command(&'a CommandInfo, CommandStep<'a>),
    /// An event of a pool.
    Pool(&'a PoolEvent),
    /// An event of discovery and monitoring.
    Sdam(&'a SdamEvent),
    /// A server selection.
    Selection(SelectionInfo<'a>, SelectionStep<'a>),
}

/// The progress of a command. The documents of a command with a secret are empty.
#[derive(Clone, Copy)]
pub(crate) enum CommandStep<'a> {
    Started(&'a RawDocument),
    Succeeded(Duration, &'a RawDocument),
    Failed(Duration, &'a Error),
}

/// The fields that all messages of one server selection have in common.
#[derive(Clone, Copy)]
pub(crate) struct SelectionInfo<'a> {
    /// The name of the operation's command.
    pub(crate) operation: &'a str,
    /// The number of the operation.
    pub(crate) operation_id: i64,
    /// The requirements on the server.
    pub(crate) selector: &'a dyn fmt::Display,
    /// The current description of the topology.
    pub(crate) topology: &'a dyn fmt::Display,
}

/// The progress of a server selection.
#[derive(Clone, Copy)]
pub(crate) enum SelectionStep<'a> {
    Started,
    /// No server is suitable. The remaining time is `None` if there is no limit.
    Waiting(Option<Duration>),
    Succeeded(&'a ServerAddress),
    Failed(&'a Error),
}

impl Message<'_> {
    /// The component that the message belongs to.
    fn component(&self) -> Component {
        match self {
            Self::Command(..) => Component::Command,
            Self::Pool(_) => Component::Connection,
            Self::Sdam(_) => Component::Topology,
            Self::Selection(..) => Component::ServerSelection,
        }
    }

    fn level(&self) -> Level {
        match self {
            Self::Selection(_, SelectionStep::Waiting(_)) => Level::Info,
            _ => Level::Debug,
        }
    }

    /// Writes the message, if the program's logger wants it.
    pub(crate) fn log(&self, settings: LogSettings) {
        let (component, level) = (self.component(), self.level());
        // "A log message regarding a server description change has been intentionally omitted."
        let is_omitted = matches!(self, Self::Sdam(event) if matches!(event.kind, SdamEventKind::ServerDescriptionChanged { .. }));
        if is_omitted || !component.is_logged(level) {
            return;
        }
        let mut line = self.line(settings.document_length);
        if !matches!(self, Self::Sdam(_)) {
            line.hidden("topologyId", settings.topology_id.to_hex());
        }
        line.write(component, level);
    }

    /// Describes the message, with documents of at most `limit` bytes.
    fn line(&self, limit: usize) -> Line {
        match self {
            Self::Command(info, step) => command(info, *step, limit),
            Self::Pool(event) => pool(event, limit),
            Self::Sdam(event) => sdam(event, limit),
            Self::Selection(info, step) => selection(info, *step),
        }
    }
}

/// Formats the event as its log message.
impl fmt::Display for PoolEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Message::Pool(self).line(DEFAULT_DOCUMENT_LENGTH).text())
    }
}

/// Formats the event as its log message.
impl fmt::Display for SdamEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Message::Sdam(self).line(DEFAULT_DOCUMENT_LENGTH).text())
    }
}

fn command(info: &CommandInfo, step: CommandStep<'_>, limit: usize) -> Line {
    let (message, verb) = match step {
        CommandStep::Started(_) => ("Command started", "started"),
        CommandStep::Succeeded(..) => ("Command succeeded", "succeeded"),
        CommandStep::Failed(..) => ("Command failed", "failed"),
    };
    let mut line = Line::new(message);
    line.words(format_args!(
        "Command {} {verb} on database {}",
        Quoted(&info.command_name),
        Quoted(&info.database_name)
    ));
    line.hidden("commandName", info.command_name.as_str());
    line.hidden("databaseName", info.database_name.as_str());
    if let CommandStep::Succeeded(duration, _) | CommandStep::Failed(duration, _) = step {
        line.words(" in ");
        line.field("durationMS", duration);
        line.words(" ms");
    }
    line.words(" using a connection with driver-generated ID ");
    line.field("driverConnectionId", info.connection_id);
    if let Some(id) = info.server_connection_id {
        line.words(" and server-generated ID ");
        line.field("serverConnectionId", id);
    }
    line.words(" to ");
    server(&mut line, &info.server);
    if let Some(id) = info.service_id {
        line.words(" with service ID ");
        line.field("serviceId", id.to_hex());
    }
    line.words(". The requestID is ");
    line.field("requestId", info.request_id);
    line.words(" and the operation ID is ");
    line.field("operationId", info.operation_id);
    match step {
        CommandStep::Started(command) => {
            line.words(". Command: ");
            line.field("command", extended_json(command, limit));
        }
        CommandStep::Succeeded(_, reply) => {
            line.words(". Command reply: ");
            line.field("reply", extended_json(reply, limit));
        }
        CommandStep::Failed(_, error) => {
            line.words(". Error: ");
            line.field("failure", with_reply(error, limit));
        }
    }
    line
}

fn pool(event: &PoolEvent, limit: usize) -> Line {
    let address = &event.server;
    match &event.kind {
        PoolEventKind::Created { options } => {
            let mut line = Line::new("Connection pool created");
            line.words("Connection pool created for ");
            server(&mut line, address);
            let mut before = " using options ";
            let mut option = |name: &'static str, value: Option<crate::logging::Value>| {
                if let Some(value) = value {
                    line.words(format_args!("{before}{name}="));
                    line.field(name, value);
                    before = ", ";
                }
            };
            option("maxIdleTimeMS", options.max_idle_time.map(Into::into));
            option("minPoolSize", options.min_pool_size.map(Into::into));
            option("maxPoolSize", options.max_pool_size.map(Into::into));
            option("maxConnecting", options.max_connecting.map(Into::into));
            let timeout = options.wait_queue_timeout.map(Into::into);
            option("waitQueueTimeoutMS", timeout);
            line
        }
        PoolEventKind::Ready => {
            let mut line = Line::new("Connection pool ready");
            line.words("Connection pool ready for ");
            server(&mut line, address);
            line
        }
        PoolEventKind::Cleared { service_id, .. } => {
            let mut line = Line::new("Connection pool cleared");
            line.words("Connection pool for ");
            server(&mut line, address);
            line.words(" cleared");
            if let Some(id) = service_id {
                line.words(" for serviceId ");
                line.field("serviceId", id.to_hex());
            }
            line
        }
        PoolEventKind::Closed => {
            let mut line = Line::new("Connection pool closed");
            line.words("Connection pool closed for ");
            server(&mut line, address);
            line
        }
        PoolEventKind::ConnectionCreated { connection_id } => {
            let mut line = Line::new("Connection created");
            line.words("Connection created: ");
            connection(&mut line, address, *connection_id);
            line
        }
        PoolEventKind::ConnectionReady {
            connection_id,
            duration,
        } => {
            let mut line = Line::new("Connection ready");
            line.words("Connection ready: ");
            connection(&mut line, address, *connection_id);
            line.words(", established in=");
            line.field("durationMS", *duration);
            line.words(" ms");
            line
        }
        PoolEventKind::ConnectionClosed {
            connection_id,
            reason,
            error,
        } => {
            let mut line = Line::new("Connection closed");
            line.words("Connection closed: ");
            connection(&mut line, address, *connection_id);
            line.words(". Reason: ");
            line.field("reason", reason.to_string());
            if let Some(error) = error {
                line.words(". Error: ");
                line.field("error", failure(error, limit));
            }
            line
        }
        PoolEventKind::ConnectionCheckOutStarted => {
            let mut line = Line::new("Connection checkout started");
            line.words("Checkout started for connection to ");
            server(&mut line, address);
            line
        }
        PoolEventKind::ConnectionCheckOutFailed {
            reason,
            error,
            duration,
        } => {
            let mut line = Line::new("Connection checkout failed");
            line.words("Checkout failed for connection to ");
            server(&mut line, address);
            line.words(". Reason: ");
            line.field("reason", reason.to_string());
            line.words(". Error: ");
            line.field("error", failure(error, limit));
            line.words(". Duration: ");
            line.field("durationMS", *duration);
            line.words(" ms");
            line
        }
        PoolEventKind::ConnectionCheckedOut {
            connection_id,
            duration,
        } => {
            let mut line = Line::new("Connection checked out");
            line.words("Connection checked out: ");
            connection(&mut line, address, *connection_id);
            line.words(", duration=");
            line.field("durationMS", *duration);
            line.words(" ms");
            line
        }
        PoolEventKind::ConnectionCheckedIn { connection_id } => {
            let mut line = Line::new("Connection checked in");
            line.words("Connection checked in: ");
            connection(&mut line, address, *connection_id);
            line
        }
    }
}

fn sdam(event: &SdamEvent, limit: usize) -> Line {
    let topology = |line: &mut Line, before: &str| {
        line.words(before);
        line.words("topology with ID ");
        line.field("topologyId", event.topology_id.to_hex());
    };
    let heartbeat = |line: &mut Line, of: &MonitoringConnection, awaited: bool| {
        line.words(" for ");
        server(line, &of.server);
        line.words(" on connection with driver-generated ID ");
        line.field("driverConnectionId", of.connection_id);
        if let Some(id) = of.server_connection_id {
            line.words(" and server-generated ID ");
            line.field("serverConnectionId", id);
        }
        topology(line, " in ");
        line.words(". Awaited: ");
        line.field("awaited", awaited);
    };
    let descriptions = |line: &mut Line, previous: &dyn fmt::Display, new: &dyn fmt::Display| {
        line.words(". Previous description: ");
        line.field("previousDescription", previous.to_string());
        line.words(". New description: ");
        line.field("newDescription", new.to_string());
    };
    let took = |line: &mut Line, duration: Duration| {
        line.words(" in ");
        line.field("durationMS", duration);
        line.words(" ms");
    };
    match &event.kind {
        SdamEventKind::TopologyOpening => {
            let mut line = Line::new("Starting topology monitoring");
            topology(&mut line, "Starting monitoring for ");
            line
        }
        SdamEventKind::TopologyClosed => {
            let mut line = Line::new("Stopped topology monitoring");
            topology(&mut line, "Stopped monitoring for ");
            line
        }
        SdamEventKind::TopologyDescriptionChanged { previous, new } => {
            let mut line = Line::new("Topology description changed");
            topology(&mut line, "Description changed for ");
            descriptions(&mut line, previous, new);
            line
        }
        SdamEventKind::ServerOpening { server: address } => {
            let mut line = Line::new("Starting server monitoring");
            line.words("Starting monitoring for server ");
            server(&mut line, address);
            topology(&mut line, " in ");
            line
        }
        SdamEventKind::ServerClosed { server: address } => {
            let mut line = Line::new("Stopped server monitoring");
            line.words("Stopped monitoring for server ");
            server(&mut line, address);
            topology(&mut line, " in ");
            line
        }
        // Never written to the log: see `log`.
        SdamEventKind::ServerDescriptionChanged { previous, new } => {
            let mut line = Line::new("Server description changed");
            topology(&mut line, "Description changed for server in ");
            descriptions(&mut line, previous, new);
            line
        }
        SdamEventKind::ServerHeartbeatStarted {
            connection,
            awaited,
        } => {
            let mut line = Line::new("Server heartbeat started");
            line.words("Heartbeat started");
            heartbeat(&mut line, connection, *awaited);
            line
        }
        SdamEventKind::ServerHeartbeatSucceeded {
            connection,
            awaited,
            duration,
            reply,
        } => {
            let mut line = Line::new("Server heartbeat succeeded");
            line.words("Heartbeat succeeded");
            took(&mut line, *duration);
            heartbeat(&mut line, connection, *awaited);
            line.words(". Reply: ");
            line.field("reply", extended_json(reply, limit));
            line
        }
        SdamEventKind::ServerHeartbeatFailed {
            connection,
            awaited,
            duration,
            failure: error,
        } => {
            let mut line = Line::new("Server heartbeat failed");
            line.words("Heartbeat failed");
            took(&mut line, *duration);
            heartbeat(&mut line, connection, *awaited);
            line.words(". Failure: ");
            line.field("failure", failure(error, limit));
            line
        }
    }
}

fn selection(info: &SelectionInfo<'_>, step: SelectionStep<'_>) -> Line {
    let (message, verb) = match step {
        SelectionStep::Started => ("Server selection started", "Server selection started"),
        SelectionStep::Waiting(_) => (
            "Waiting for suitable server to become available",
            "Waiting for server to become available",
        ),
        SelectionStep::Succeeded(_) => ("Server selection succeeded", "Server selection succeeded"),
        SelectionStep::Failed(_) => ("Server selection failed", "Server selection failed"),
    };
    let mut line = Line::new(message);
    line.words(verb);
    line.words(" for operation ");
    line.field("operation", info.operation);
    line.words(" with ID ");
    line.field("operationId", info.operation_id);
    match step {
        SelectionStep::Started | SelectionStep::Waiting(None) => {}
        SelectionStep::Waiting(Some(remaining)) => {
            line.words(". Remaining time: ");
            line.field("remainingTimeMS", remaining);
            line.words(" ms");
        }
        SelectionStep::Succeeded(address) => {
            line.words(". Selected server: ");
            server(&mut line, address);
        }
        SelectionStep::Failed(error) => {
            // The further lines have the state of each server, as the description of the topology does.
            let text = error.to_string();
            line.words(". Failure: ");
            line.field("failure", text.lines().next().unwrap_or_default());
        }
    }
    line.words(". Selector: ");
    line.field("selector", info.selector.to_string());
    line.words(", topology description: ");
    line.field("topologyDescription", info.topology.to_string());
    line
}

/// Adds the address of a server. A Unix socket has no port.
fn server(line: &mut Line, address: &ServerAddress) {
    line.words(address);
    line.hidden("serverHost", address.host());
    if let Some(port) = address.port() {
        line.hidden("serverPort", port);
    }
}

/// Adds the address and the number of a connection in a pool.
fn connection(line: &mut Line, address: &ServerAddress, id: u64) {
    line.words("address=");
    server(line, address);
    line.words(", driver-generated ID=");
    line.field("driverConnectionId", id);
}

/// Returns all that an error says, but for the server's reply ("Representing Errors in Log Messages"). The texts below
/// the first are truncated as documents are.
fn failure(error: &Error, limit: usize) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        let source_text = source.to_string();
        // An error of the server is the source of the failed attempt, which has its text already.
        if !text.contains(&source_text) {
            let _ = write!(text, ": {}", shorten(&source_text, limit));
        }
        below = source.source();
    }
    if !error.labels().is_empty() {
        let _ = write!(text, " (labels: {})", error.labels().join(", "));
    }
    text
}

/// Returns all that an error says, and the server's reply.
fn with_reply(error: &Error, limit: usize) -> String {
    let mut text = failure(error, limit);
    // A redacted failure has an empty reply.
    let reply = error.command().map(|failure| &*failure.reply);
    if let Some(reply) = reply.filter(|reply| !reply.is_empty()) {
        let _ = write!(text, " (reply: {})", extended_json(reply, limit));
    }
    text
}

/// Returns at most `limit` bytes of a text, followed by `...` if it was truncated.
fn shorten(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at));
    format!("{}...", &text[..end.unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::super::command::CommandInfo;
    use super::super::pool::{ConnectionCheckOutFailedReason, ConnectionClosedReason, PoolOptions};
    use super::*;
    use crate::error::{CommandFailure, ErrorKind};
    use crate::logging::Value;

    /// Compares the text and the pairs of a message. `pairs` are `name=value` in order, after `message`.
    fn expect(message: Message<'_>, name: &str, text: &str, pairs: &[(&str, Value)]) {
        let line = message.line(30);
        assert_eq!(line.text(), text);
        let expected: Vec<(&str, Value)> = [("message", name.into())]
            .into_iter()
            .chain(pairs.iter().cloned())
            .collect();
        #[cfg(feature = "log-kv")]
        assert_eq!(line.pairs(), expected, "{text}");
        let _ = expected;
    }

    fn info() -> CommandInfo {
        CommandInfo {
            command_name: "pi\"ng".to_owned(),
            database_name: "admin".to_owned(),
            request_id: 3,
            operation_id: 4,
            server: ServerAddress::tcp("::1", 27017),
            connection_id: 5,
            server_connection_id: None,
            service_id: None,
        }
    }

    const MS: Duration = Duration::from_millis(7);

    #[test]
    fn messages_of_commands() {
        let mut info = info();
        let command = rawdoc! { "ping": 1, "comment": "a long one" };
        expect(
            Message::Command(&info, CommandStep::Started(&command)),
            "Command started",
            r#"Command "pi\"ng" started on database "admin" using a connection with driver-generated ID 5 to [::1]:27017. The requestID is 3 and the operation ID is 4. Command: {"ping":1,"comment":"a long on..."#,
            &[
                ("commandName", "pi\"ng".into()),
                ("databaseName", "admin".into()),
                ("driverConnectionId", 5.into()),
                ("serverHost", "::1".into()),
                ("serverPort", 27017.into()),
                ("requestId", 3.into()),
                ("operationId", 4.into()),
                ("command", r#"{"ping":1,"comment":"a long on..."#.into()),
            ],
        );
        info.server = ServerAddress::unix("/run/db.sock");
        info.server_connection_id = Some(6);
        let service = ObjectId::from_bytes([1; 12]);
        info.service_id = Some(service);
        let id = service.to_hex();
        expect(
            Message::Command(&info, CommandStep::Succeeded(MS, &rawdoc! { "ok": 1 })),
            "Command succeeded",
            &format!(
                r#"Command "pi\"ng" succeeded on database "admin" in 7 ms using a connection with driver-generated ID 5 and server-generated ID 6 to /run/db.sock with service ID {id}. The requestID is 3 and the operation ID is 4. Command reply: {{"ok":1}}"#
            ),
            &[
                ("commandName", "pi\"ng".into()),
                ("databaseName", "admin".into()),
                ("durationMS", 7.into()),
                ("driverConnectionId", 5.into()),
                ("serverConnectionId", 6.into()),
                ("serverHost", "/run/db.sock".into()),
                ("serviceId", id.as_str().into()),
                ("requestId", 3.into()),
                ("operationId", 4.into()),
                ("reply", r#"{"ok":1}"#.into()),
            ],
        );
    }

    #[test]
    fn a_failure_has_labels_and_reply_unless_it_is_redacted() {
        let failure = CommandFailure {
            code: 18,
            code_name: "AuthenticationFailed".to_owned(),
            message: "no user ada".to_owned(),
            reply: rawdoc! { "ok": 0, "errmsg": "no user ada", "code": 18 },
        };
        let error = Error::refused(failure, vec!["RetryableError".to_owned()]);
        let info = info();
        let text = |error: &Error| {
            let message = Message::Command(&info, CommandStep::Failed(MS, error));
            let text = message.line(20).text().to_owned();
            text.split_once("Error: ").unwrap().1.to_owned()
        };
        assert_eq!(
            text(&error),
            "the server answered with error 18 AuthenticationFailed: no user ada (labels: RetryableError) (reply: \
             {\"ok\":0,\"errmsg\":\"no...)"
        );
        assert_eq!(
            text(&error.redacted()),
            "the server answered with error 18 AuthenticationFailed: REDACTED (labels: RetryableError)"
        );
        // All that lies below an error is part of the message.
        let below = std::io::Error::other("the system's reason");
        let error = Error::protocol("the text").with_source(below);
        assert_eq!(text(&error), "the text: the system's reason");
    }

    #[test]
    fn messages_of_pools() {
        let address = [("serverHost", Value::from("a")), ("serverPort", 1.into())];
        let number = ("driverConnectionId", Value::from(5));
        let took = ("durationMS", Value::from(7));
        let service = ObjectId::from_bytes([1; 12]);
        let id = service.to_hex();
        let options = PoolOptions {
            max_pool_size: Some(2),
            max_idle_time: Some(MS),
            wait_queue_timeout: Some(MS),
            ..PoolOptions::default()
        };
        let error = || Error::protocol("x");
        for (kind, name, text, more) in [
            (
                PoolEventKind::Created { options },
                "Connection pool created",
                "Connection pool created for a:1 using options maxIdleTimeMS=7, maxPoolSize=2, waitQueueTimeoutMS=7",
                vec![
                    ("maxIdleTimeMS", 7.into()),
                    ("maxPoolSize", 2.into()),
                    ("waitQueueTimeoutMS", 7.into()),
                ],
            ),
            (
                PoolEventKind::Created {
                    options: PoolOptions::default(),
                },
                "Connection pool created",
                "Connection pool created for a:1",
                vec![],
            ),
            (
                PoolEventKind::Ready,
                "Connection pool ready",
                "Connection pool ready for a:1",
                vec![],
            ),
            (
                PoolEventKind::Cleared {
                    service_id: Some(service),
                    interrupt_in_use_connections: false,
                },
                "Connection pool cleared",
                &format!("Connection pool for a:1 cleared for serviceId {id}"),
                vec![("serviceId", id.as_str().into())],
            ),
            (
                PoolEventKind::Closed,
                "Connection pool closed",
                "Connection pool closed for a:1",
                vec![],
            ),
            (
                PoolEventKind::ConnectionCreated { connection_id: 5 },
                "Connection created",
                "Connection created: address=a:1, driver-generated ID=5",
                vec![number.clone()],
            ),
            (
                PoolEventKind::ConnectionReady {
                    connection_id: 5,
                    duration: MS,
                },
                "Connection ready",
                "Connection ready: address=a:1, driver-generated ID=5, established in=7 ms",
                vec![number.clone(), took.clone()],
            ),
            (
                PoolEventKind::ConnectionClosed {
                    connection_id: 5,
                    reason: ConnectionClosedReason::Error,
                    error: Some(error()),
                },
                "Connection closed",
                "Connection closed: address=a:1, driver-generated ID=5. Reason: An error occurred while using the \
                 connection. Error: x",
                vec![
                    number.clone(),
                    ("reason", "An error occurred while using the connection".into()),
                    ("error", "x".into()),
                ],
            ),
            (
                PoolEventKind::ConnectionClosed {
                    connection_id: 5,
                    reason: ConnectionClosedReason::Idle,
                    error: None,
                },
                "Connection closed",
                "Connection closed: address=a:1, driver-generated ID=5. Reason: Connection has been available but \
                 unused for longer than the configured max idle time",
                vec![
                    number.clone(),
                    (
                        "reason",
                        "Connection has been available but unused for longer than the configured max idle time"
                            .into(),
                    ),
                ],
            ),
            (
                PoolEventKind::ConnectionCheckOutStarted,
                "Connection checkout started",
                "Checkout started for connection to a:1",
                vec![],
            ),
            (
                PoolEventKind::ConnectionCheckOutFailed {
                    reason: ConnectionCheckOutFailedReason::Timeout,
                    error: error(),
                    duration: MS,
                },
                "Connection checkout failed",
                "Checkout failed for connection to a:1. Reason: Wait queue timeout elapsed without a connection \
                 becoming available. Error: x. Duration: 7 ms",
                vec![
                    (
                        "reason",
                        "Wait queue timeout elapsed without a connection becoming available".into(),
                    ),
                    ("error", "x".into()),
                    took.clone(),
                ],
            ),
            (
                PoolEventKind::ConnectionCheckedOut {
                    connection_id: 5,
                    duration: MS,
                },
                "Connection checked out",
                "Connection checked out: address=a:1, driver-generated ID=5, duration=7 ms",
                vec![number.clone(), took.clone()],
            ),
            (
                PoolEventKind::ConnectionCheckedIn { connection_id: 5 },
                "Connection checked in",
                "Connection checked in: address=a:1, driver-generated ID=5",
                vec![number.clone()],
            ),
        ] {
            let event = PoolEvent {
                server: ServerAddress::tcp("a", 1),
                kind,
            };
            let pairs: Vec<_> = address.iter().cloned().chain(more).collect();
            expect(Message::Pool(&event), name, text, &pairs);
            assert_eq!(event.to_string(), text);
        }
    }

    #[test]
    fn messages_of_server_selection() {
        let info = SelectionInfo {
            operation: "insert",
            operation_id: 4,
            selector: &"primary",
            topology: &"Unknown",
        };
        let selected = ServerAddress::tcp("a", 1);
        let error = Error::no_server(
            ErrorKind::Timeout,
            "no server\n  a:1  Unknown".to_owned(),
            None,
        );
        for (step, name, text, more) in [
            (
                SelectionStep::Started,
                "Server selection started",
                "Server selection started for operation insert with ID 4",
                vec![],
            ),
            (
                SelectionStep::Waiting(Some(MS)),
                "Waiting for suitable server to become available",
                "Waiting for server to become available for operation insert with ID 4. Remaining time: 7 ms",
                vec![("remainingTimeMS", 7.into())],
            ),
            (
                SelectionStep::Succeeded(&selected),
                "Server selection succeeded",
                "Server selection succeeded for operation insert with ID 4. Selected server: a:1",
                vec![("serverHost", "a".into()), ("serverPort", 1.into())],
            ),
            (
                SelectionStep::Failed(&error),
                "Server selection failed",
                "Server selection failed for operation insert with ID 4. Failure: no server",
                vec![("failure", "no server".into())],
            ),
        ] {
            let pairs: Vec<_> = [("operation", "insert".into()), ("operationId", 4.into())]
                .into_iter()
                .chain(more)
                .chain([
                    ("selector", "primary".into()),
                    ("topologyDescription", "Unknown".into()),
                ])
                .collect();
            let text = format!("{text}. Selector: primary, topology description: Unknown");
            expect(Message::Selection(info, step), name, &text, &pairs);
        }
    }

    #[test]
    fn messages_of_the_topology_have_the_fields_of_the_specification() {
        let id = ObjectId::from_bytes([2; 12]);
        let connection = MonitoringConnection {
            server: ServerAddress::tcp("a", 1),
            connection_id: 3,
            server_connection_id: Some(9),
        };
        let heartbeat = |more: &[&'static str]| {
            let common = [
                "message",
                "serverHost",
                "serverPort",
                "driverConnectionId",
                "serverConnectionId",
                "topologyId",
                "awaited",
            ];
            [&common[..1], more, &common[1..]].concat()
        };
        let started = SdamEventKind::ServerHeartbeatStarted {
            connection: connection.clone(),
            awaited: true,
        };
        let succeeded = SdamEventKind::ServerHeartbeatSucceeded {
            connection: connection.clone(),
            awaited: false,
            duration: MS,
            reply: rawdoc! { "ok": 1 },
        };
        let failed = SdamEventKind::ServerHeartbeatFailed {
            connection,
            awaited: false,
            duration: MS,
            failure: Error::protocol("x"),
        };
        let took = heartbeat(&["durationMS"]);
        for (kind, name, fields) in [
            (started, "Server heartbeat started", heartbeat(&[])),
            (
                succeeded,
                "Server heartbeat succeeded",
                [&took[..], &["reply"]].concat(),
            ),
            (
                failed,
                "Server heartbeat failed",
                [&took[..], &["failure"]].concat(),
            ),
            (
                SdamEventKind::TopologyOpening,
                "Starting topology monitoring",
                vec!["message", "topologyId"],
            ),
            (
                SdamEventKind::TopologyClosed,
                "Stopped topology monitoring",
                vec!["message", "topologyId"],
            ),
            (
                SdamEventKind::ServerOpening {
                    server: ServerAddress::tcp("a", 1),
                },
                "Starting server monitoring",
                vec!["message", "serverHost", "serverPort", "topologyId"],
            ),
            (
                SdamEventKind::ServerClosed {
                    server: ServerAddress::tcp("a", 1),
                },
                "Stopped server monitoring",
                vec!["message", "serverHost", "serverPort", "topologyId"],
            ),
            (
                SdamEventKind::TopologyDescriptionChanged {
                    previous: std::sync::Arc::default(),
                    new: std::sync::Arc::default(),
                },
                "Topology description changed",
                vec![
                    "message",
                    "topologyId",
                    "previousDescription",
                    "newDescription",
                ],
            ),
        ] {
            let event = SdamEvent {
                topology_id: id,
                kind,
            };
            let line = Message::Sdam(&event).line(100);
            assert!(!line.text().is_empty());
            #[cfg(feature = "log-kv")]
            {
                let names: Vec<_> = line.pairs().iter().map(|(name, _)| *name).collect();
                assert_eq!(names, fields);
                assert_eq!(line.pairs()[0].1, name.into());
            }
            let _ = (name, fields);
        }
    }
}
