//! The progress of a monitor's current attempt to connect.
//!
//! If a thread stops waiting for a server before that attempt ends, the error names the step that the attempt waits
//! for.

use std::net::SocketAddr;
use std::time::Duration;

use crate::address::ServerAddress;
use crate::conn::{Connector, Learned, Observer};
use crate::error::{Error, ErrorKind, Stage};
use crate::reason::sdam::{AttemptStep, SdamFailure, UnfinishedAttempt};
use crate::sync::Mutex;
use crate::time::Elapsed;

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct CheckProgress(Mutex<Option<Progress>>);

#[derive(Clone, Debug)]
struct Progress {
    /// The last finished stage, if any.
    finished: Option<Stage>,
    /// The resolved addresses of the server, or of the proxy.
    addresses: Vec<SocketAddr>,
}

impl CheckProgress {
    /// Records the start of an attempt, which ends when the returned value is dropped.
    pub(super) fn begin(&self) -> Observed<'_> {
        *self.0.lock() = Some(Progress {
            finished: None,
            addresses: Vec::new(),
        });
        Observed(&self.0)
    }

    /// Returns the error of the current attempt to reach `server`, if there is one. It names the step that the
    /// attempt waits for. `elapsed` is the limit that has passed.
    pub(super) fn unfinished(
        &self,
        server: &ServerAddress,
        connector: &Connector,
        elapsed: Elapsed,
    ) -> Option<Error> {
        let progress = self.0.lock().clone()?;
        let attempt = UnfinishedAttempt {
            server: server.clone(),
            step: progress.step(server, connector),
            addresses: progress.addresses,
            connect_timeout: connector.connect_timeout(),
            timeout: elapsed,
        };
        let error = Error::explained(ErrorKind::Timeout, SdamFailure::UnfinishedAttempt(attempt));
        Some(error.with_server(server))
    }
}

impl Progress {
    /// Returns the current step.
    fn step(&self, server: &ServerAddress, connector: &Connector) -> AttemptStep {
        let is_unix = matches!(server, ServerAddress::Unix { .. });
        match self.finished {
            None if is_unix => AttemptStep::Connect,
            None => AttemptStep::Resolve,
            Some(Stage::Resolve) => AttemptStep::Connect,
            Some(Stage::Connect) if connector.tls().is_some() => AttemptStep::Tls,
            Some(_) => AttemptStep::Hello,
        }
    }
}

/// Records the progress of an attempt.
pub(super) struct Observed<'a>(&'a Mutex<Option<Progress>>);

impl Observer for Observed<'_> {
    fn finished(&mut self, stage: Stage, _: Duration, learned: Learned<'_>) {
        if let Some(progress) = &mut *self.0.lock() {
            progress.finished = Some(stage);
            if let Learned::Addresses(addresses) = learned {
                progress.addresses = addresses.to_vec();
            }
        }
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}
