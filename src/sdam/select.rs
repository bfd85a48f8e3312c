//! Selects a server for an operation, and waits until there is one.
//!
//! A thread that finds no server requests a check from all monitors and sleeps until something changes, for at most
//! `serverSelectionTimeoutMS` and its own limit. Selection fails immediately if waiting cannot help
//! ([`verdict`](super::verdict)): every server has just been checked, and was rejected for its certificate or for
//! settings that no check can fix. Other drivers wait in that case; MongoDB's shell does not, for the same reason.
//! Source: "Server Selection", "Multi-threaded or asynchronous server selection".

use std::cell::Cell;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use log::Level;

use super::description::ServerDescription;
use super::selection::ServerRequirement;
use super::selection_error::{self, WaitEnd};
use super::snapshot::Selected;
use super::topology::{LockedTopology, Topology};
use crate::address::ServerAddress;
use crate::cancel::Wake;
use crate::error::{Error, Result};
use crate::event::{self, Message, OperationId, SelectionInfo, SelectionStep};
use crate::logging::Component;
use crate::reason::cancel::Cancelled;
use crate::steps::Steps;
use crate::time::{Deadline, TimeoutKind};

/// An operation that selects servers, as the log names it. One value serves all attempts of the operation.
#[derive(Debug)]
pub(crate) struct SelectingOperation<'a> {
    /// The name of the command.
    name: &'a str,
    /// The number of the operation.
    id: &'a OperationId,
    steps: &'a Steps<'a>,
    /// True once the log says that the operation waits for a server. It says so once.
    has_waited: Cell<bool>,
}

impl<'a> SelectingOperation<'a> {
    pub(crate) fn new(name: &'a str, id: &'a OperationId, steps: &'a Steps<'a>) -> Self {
        Self {
            name,
            id,
            steps,
            has_waited: Cell::new(false),
        }
    }
}

impl Topology {
    /// Selects a server for `operation`, within `serverSelectionTimeoutMS` and `deadline`. Servers in `deprioritized`
    /// are the last choice.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout), with the state of each server. If waiting cannot help, the error of the
    /// only server, or of all together. [`ClientClosed`](crate::ErrorKind::ClientClosed) if the client is closed.
    pub(crate) fn select(
        &self,
        requirement: ServerRequirement<'_>,
        deprioritized: &[ServerAddress],
        deadline: Option<Deadline>,
        operation: &SelectingOperation<'_>,
    ) -> Result<Selected> {
        let is_logged = Component::ServerSelection.is_logged(Level::Debug);
        let locked = self.lock();
        if locked.is_closed {
            return Err(Error::client_closed());
        }
        // The fast path of most operations costs no more than sharing the snapshot.
        let selected = locked.snapshot.precomputed(requirement, deprioritized);
        if let Some(selected) = selected.filter(|_| !is_logged) {
            return Ok(selected);
        }
        let snapshot = locked.snapshot.clone();
        drop(locked);
        if is_logged {
            self.log_selection(operation, requirement, SelectionStep::Started);
        }
        let outcome = match snapshot.choose(requirement, deprioritized) {
            Ok(Some(selected)) => Ok(selected),
            Ok(None) => {
                let started = Instant::now();
                let found = self.wait_for(requirement, deprioritized, deadline, started, operation);
                event::listener_waited(started);
                operation.steps.selected(started);
                found
            }
            Err(error) => Err(error),
        };
        if is_logged {
            let step = match &outcome {
                Ok(selected) => SelectionStep::Succeeded(selected.server.address()),
                Err(error) => SelectionStep::Failed(error),
            };
            self.log_selection(operation, requirement, step);
        }
        outcome
    }

    /// Selects a server that is known now, without waiting. Returns `None` if there is none.
    pub(crate) fn select_known(&self, requirement: ServerRequirement<'_>) -> Option<Selected> {
        let locked = self.lock();
        let snapshot = Arc::clone(&locked.snapshot);
        let is_closed = locked.is_closed;
        drop(locked);
        let selected = snapshot.choose(requirement, &[]).ok().flatten();
        selected.filter(|_| !is_closed)
    }

    /// Writes a message with the current description of the topology.
    fn log_selection(
        &self,
        operation: &SelectingOperation<'_>,
        requirement: ServerRequirement<'_>,
        step: SelectionStep<'_>,
    ) {
        let snapshot = self.snapshot();
        let info = SelectionInfo {
            operation: operation.name,
            operation_id: operation.id.get(),
            selector: &requirement,
            topology: snapshot.description(),
        };
        Message::Selection(info, step).log(self.log);
    }

    fn wait_for(
        &self,
        requirement: ServerRequirement<'_>,
        deprioritized: &[ServerAddress],
        deadline: Option<Deadline>,
        started: Instant,
        operation: &SelectingOperation<'_>,
    ) -> Result<Selected> {
        let own = Deadline::after(
            started,
            Some(self.selection_timeout),
            TimeoutKind::ServerSelection,
        );
        let deadline = event::within_listener_limit(own.within(deadline), started);
        let is_logged = Component::ServerSelection.is_logged(Level::Info);
        if is_logged && !operation.has_waited.replace(true) {
            let remaining = deadline.remaining(Instant::now());
            let step = SelectionStep::Waiting(remaining.unwrap_or(Some(Duration::ZERO)));
            self.log_selection(operation, requirement, step);
        }
        let steps = operation.steps;
        let _registered = steps.register(|| Arc::new(SelectionWait(self.own.clone())) as _);
        let mut locked = self.lock();
        loop {
            // A monitor may not have been started yet.
            drop(locked);
            let has_all_threads = self.background().retry();
            locked = self.lock();
            if locked.is_closed {
                return Err(Error::client_closed());
            }
            if steps.is_cancelled() {
                return Err(Error::cancelled(Cancelled::ServerSelection));
            }
            if let Some(selected) = locked.snapshot.choose(requirement, deprioritized)? {
                return Ok(selected);
            }
            let now = Instant::now();
            if self.must_wait_fail(&locked, started, now) {
                return Err(self.no_server(&locked, requirement, WaitEnd::Hopeless));
            }
            let remaining = match deadline.remaining(now) {
                Ok(left) => left,
                Err(elapsed) => {
                    return Err(self.no_server(&locked, requirement, WaitEnd::TimedOut(elapsed)));
                }
            };
            Self::request_checks(&locked.snapshot);
            let pause = match has_all_threads {
                true => remaining,
                false => Some(remaining.map_or(THREAD_PAUSE, |left| left.min(THREAD_PAUSE))),
            };
            locked = self.wait(locked, pause);
        }
    }

    fn no_server(
        &self,
        locked: &LockedTopology,
        requirement: ServerRequirement<'_>,
        end: WaitEnd,
    ) -> Error {
        let mut topology = (**locked.snapshot.description()).clone();
        if let WaitEnd::TimedOut(elapsed) = end {
            for (address, server) in locked.snapshot.servers() {
                let known = topology.servers.get(address);
                let is_unchecked = known.is_some_and(|it| !it.is_available() && it.error.is_none());
                let unfinished = server
                    .attempt
                    .unfinished(address, self.connector(), elapsed)
                    .filter(|_| is_unchecked);
                if let Some(error) = unfinished {
                    let failed = ServerDescription::failed(address.clone(), error);
                    topology.servers.insert(address.clone(), Arc::new(failed));
                }
            }
        }
        selection_error::error(&topology, &locked.removal_errors, requirement, end)
    }
}

/// Wakes the threads that wait for a server, so that they see if their operation was cancelled.
struct SelectionWait(Weak<Topology>);

impl Wake for SelectionWait {
    fn wake(&self) {
        if let Some(topology) = self.0.upgrade() {
            topology.wake_selections();
        }
    }
}

/// The pause before another attempt to start a thread: 100 ms.
const THREAD_PAUSE: Duration = Duration::from_millis(100);
