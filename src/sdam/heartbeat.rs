//! The events of a server's checks: every start is followed by exactly one end.
//!
//! A check ends when its monitor says so. It also ends when the client is closed or the server leaves the topology,
//! whatever its monitor is doing then: the events of a server and of a topology must not follow their own end. Both
//! happen under the lock of [`Topology`](super::Topology). Source: "SDAM Logging and Monitoring", "Heartbeats".

use std::time::{Duration, Instant};

use crate::conn::HelloExchange;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{MonitoringConnection, SdamEventKind};

/// A check whose start has been reported, and whose end has not.
#[derive(Debug)]
pub(super) struct OpenHeartbeat {
    connection: MonitoringConnection,
    awaited: bool,
    started: Instant,
}

/// The reason why a check ends before its monitor has a result.
#[derive(Clone, Copy, Debug)]
pub(super) enum AbortedCheck {
    ClientClosed,
    ServerRemoved,
    /// The monitor begins a new check without a result of this one, because its thread panicked.
    Unfinished,
}

impl OpenHeartbeat {
    /// Begins a check now.
    pub(super) fn new(connection: MonitoringConnection, awaited: bool) -> Self {
        Self {
            connection,
            awaited,
            started: Instant::now(),
        }
    }

    /// Returns the last event of a check that took `took`.
    pub(super) fn ended(
        mut self,
        server_connection_id: Option<i64>,
        outcome: &Result<HelloExchange>,
        took: Duration,
    ) -> SdamEventKind {
        self.connection.server_connection_id = server_connection_id;
        match outcome {
            Ok(answer) => SdamEventKind::ServerHeartbeatSucceeded {
                connection: self.connection,
                awaited: self.awaited,
                duration: answer.took,
                reply: answer.reply.clone(),
            },
            Err(error) => self.failed(error.clone(), took),
        }
    }

    /// Returns the last event of a check without a result.
    pub(super) fn aborted(self, why: AbortedCheck) -> SdamEventKind {
        let error = match why {
            AbortedCheck::ClientClosed => Error::new(
                ErrorKind::ClientClosed,
                "the client was closed during the check",
            ),
            AbortedCheck::ServerRemoved => Error::new(
                ErrorKind::Network,
                "the server was removed from the topology during the check",
            ),
            AbortedCheck::Unfinished => {
                Error::new(ErrorKind::Network, "the check ended without a result")
            }
        };
        let duration = self.started.elapsed();
        let failure = error.with_server(&self.connection.server);
        self.failed(failure, duration)
    }

    fn failed(self, failure: Error, duration: Duration) -> SdamEventKind {
        SdamEventKind::ServerHeartbeatFailed {
            connection: self.connection,
            awaited: self.awaited,
            duration,
            failure,
        }
    }
}
