//! The sender of events and log lines of commands.
//!
//! If no listener is registered and logging is off, a command is neither copied nor timed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use bson::RawDocumentBuf;
use bson::raw::RawDocument;
use log::Level;

use super::command::{
    CommandEvent, CommandFailedEvent, CommandInfo, CommandStartedEvent, CommandSucceededEvent,
};
use super::message::{CommandStep, LogSettings, Message};
use super::{Event, EventKind, EventListener};
use crate::data::timing::Timing;
use crate::error::{Error, Result};
use crate::logging::Component;

/// Sends the events and log lines of commands.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommandMonitor {
    listener: EventListener,
    log: LogSettings,
}

impl CommandMonitor {
    /// Creates a monitor.
    pub(crate) fn new(listener: &EventListener, log: LogSettings) -> Self {
        Self {
            listener: listener.clone(),
            log,
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
        open.log(CommandStep::Started(&command));
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
    pub(crate) fn end(self, outcome: Result<&RawDocument, &Error>, timing: Timing) {
        let duration = self.started.elapsed();
        let listener = &self.monitor.listener;
        match outcome {
            Ok(reply) => {
                let empty = RawDocumentBuf::new();
                let reply = if self.is_secret { &empty } else { reply };
                self.log(CommandStep::Succeeded(duration, reply));
                if listener.listens_to(EventKind::Command) {
                    listener.emit(&Event::Command(CommandEvent::Succeeded(
                        CommandSucceededEvent {
                            reply: reply.to_owned(),
                            duration,
                            timing,
                            info: self.info,
                        },
                    )));
                }
            }
            Err(error) => {
                let redacted = self.is_secret.then(|| error.redacted());
                let error = redacted.as_ref().unwrap_or(error);
                self.log(CommandStep::Failed(duration, error));
                if listener.listens_to(EventKind::Command) {
                    listener.emit(&Event::Command(CommandEvent::Failed(CommandFailedEvent {
                        failure: error.clone(),
                        duration,
                        timing,
                        info: self.info,
                    })));
                }
            }
        }
    }

    /// Writes a message to the log, unless the command belongs to a handshake.
    fn log(&self, step: CommandStep<'_>) {
        if self.is_logged {
            Message::Command(&self.info, step).log(self.monitor.log);
        }
    }
}

/// The number of an operation, which all its messages and commands have in common, those of its cursor included.
///
/// The number is assigned when it is read for the first time, so an operation that nothing reports costs nothing. It is
/// atomic only because a cursor has one and may be shared between threads.
#[derive(Debug, Default)]
pub(crate) struct OperationId(AtomicI64);

impl OperationId {
    /// Returns the number: positive, and unique in the process.
    pub(crate) fn get(&self) -> i64 {
        static LAST: AtomicI64 = AtomicI64::new(0);
        let assigned = self.0.load(Ordering::Relaxed);
        if assigned != 0 {
            return assigned;
        }
        // An operation runs on one thread at a time, so no other thread assigns a number meanwhile.
        let next = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.0.store(next, Ordering::Relaxed);
        next
    }

    /// Returns the same number, for a cursor of the operation.
    pub(crate) fn same(&self) -> Self {
        Self(AtomicI64::new(self.get()))
    }
}

fn logs(of_handshake: bool) -> bool {
    !of_handshake && Component::Command.is_logged(Level::Debug)
}
