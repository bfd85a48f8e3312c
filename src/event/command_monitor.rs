//! The sender of events and log lines of commands.
//!
//! If no listener is registered and logging is off, a command is neither copied nor timed.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use bson::RawDocumentBuf;
use bson::raw::RawDocument;
use log::{Level, log_enabled};

use super::command::{
    CommandEvent, CommandFailedEvent, CommandInfo, CommandStartedEvent, CommandSucceededEvent,
};
use super::json::extended_json;
use super::{Event, EventKind, EventListener};
use crate::error::{Error, Result};
use crate::logging::debug;
use crate::printable::Quoted;

/// Sends the events and log lines of commands.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommandMonitor {
    listener: EventListener,
    document_length: usize,
}

impl CommandMonitor {
    /// Creates a monitor. `document_length` is the limit on documents in the log, in bytes.
    pub(crate) fn new(listener: &EventListener, document_length: usize) -> Self {
        Self {
            listener: listener.clone(),
            document_length,
        }
    }

    /// Returns true if a command must be reported, to the listener or the log. Handshake commands are not logged.
    pub(crate) fn has_listener(&self, of_handshake: bool) -> bool {
        self.listener.listens_to(EventKind::Command) || logs(of_handshake)
    }

    /// Reports that a command is about to be sent. The end of the returned command must be reported too.
    pub(crate) fn start(
        &self,
        info: CommandInfo,
        command: RawDocumentBuf,
        is_secret: bool,
        of_handshake: bool,
    ) -> OpenCommand {
        let command = if is_secret {
            RawDocumentBuf::new()
        } else {
            command
        };
        let open = OpenCommand {
            monitor: self.clone(),
            info,
            is_secret,
            is_logged: logs(of_handshake),
            started: Instant::now(),
        };
        open.log("started on", "", |length| {
            format!("Command: {}", extended_json(&command, length))
        });
        if self.listener.listens_to(EventKind::Command) {
            let info = open.info.clone();
            self.listener.emit(&Event::Command(CommandEvent::Started(
                CommandStartedEvent { info, command },
            )));
        }
        OpenCommand {
            // The time that the listener took does not count.
            started: Instant::now(),
            ..open
        }
    }
}

/// A command whose start has been reported, and whose end has not.
#[derive(Debug)]
#[must_use = "whatever starts must end"]
pub(crate) struct OpenCommand {
    monitor: CommandMonitor,
    info: CommandInfo,
    is_secret: bool,
    is_logged: bool,
    started: Instant,
}

impl OpenCommand {
    /// Reports the end of the command.
    pub(crate) fn end(self, outcome: Result<&RawDocument, &Error>) {
        let duration = self.started.elapsed();
        let took = format!(" in {} ms", duration.as_millis());
        let listener = &self.monitor.listener;
        match outcome {
            Ok(reply) => {
                let empty = RawDocumentBuf::new();
                let reply = if self.is_secret { &empty } else { reply };
                self.log("succeeded on", &took, |length| {
                    format!("Command reply: {}", extended_json(reply, length))
                });
                if listener.listens_to(EventKind::Command) {
                    listener.emit(&Event::Command(CommandEvent::Succeeded(
                        CommandSucceededEvent {
                            reply: reply.to_owned(),
                            duration,
                            info: self.info,
                        },
                    )));
                }
            }
            Err(error) => {
                let redacted = self.is_secret.then(|| error.redacted());
                let error = redacted.as_ref().unwrap_or(error);
                self.log("failed on", &took, |length| {
                    let reply = error.command().map(|failure| {
                        format!(" (reply: {})", extended_json(&failure.reply, length))
                    });
                    format!("Error: {error}{}", reply.unwrap_or_default())
                });
                if listener.listens_to(EventKind::Command) {
                    listener.emit(&Event::Command(CommandEvent::Failed(CommandFailedEvent {
                        failure: error.clone(),
                        duration,
                        info: self.info,
                    })));
                }
            }
        }
    }

    /// Writes one line, in the words of the specification.
    fn log(&self, what: &str, took: &str, rest: impl FnOnce(usize) -> String) {
        if !self.is_logged {
            return;
        }
        let CommandInfo {
            command_name,
            database_name,
            request_id,
            operation_id,
            server,
            connection_id,
            ..
        } = &self.info;
        let server_id = Known(" and server-generated ID ", self.info.server_connection_id);
        let service = Known(" with service ID ", self.info.service_id);
        let rest = rest(self.monitor.document_length);
        debug!(
            target: TARGET,
            "Command {command_name} {what} database {database_name}{took} using a connection with \
             driver-generated ID {connection_id}{server_id} to {server}{service}. The requestID is {request_id} \
             and the operation ID is {operation_id}. {rest}"
        , command_name = Quoted(&command_name), database_name = Quoted(&database_name));
    }
}

/// Returns a new number for an operation.
pub(crate) fn next_operation_id() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// The target of the log of commands.
const TARGET: &str = "mongotls::command";

fn logs(of_handshake: bool) -> bool {
    !of_handshake && log_enabled!(target: TARGET, Level::Debug)
}

/// Words and a value, printed only if there is a value.
struct Known<T>(&'static str, Option<T>);

impl<T: fmt::Display> fmt::Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.1 {
            Some(value) => write!(f, "{}{value}", self.0),
            None => Ok(()),
        }
    }
}
