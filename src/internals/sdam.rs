//! The topology with pools that only count their generations, and server selection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::raw::RawDocument;

use crate::address::ServerAddress;
use crate::cause::{Cause, CauseCode};
use crate::conn;
use crate::data::hello::Hello;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::event::SdamEvent;
use crate::options::{ClientOptions, ReadPreference};
use crate::sdam::errors::{ApplicationError, Clear, ErrorEffects, OperationResult};
use crate::sdam::rtt;
use crate::sdam::selection::{self, ServerRequirement};
use crate::sdam::update::{self, Update};
use crate::topology::{ServerDescription, ServerType, TopologyDescription, TopologyType};

/// The topology of a client without monitors. Its servers have pools without connections.
#[derive(Debug)]
pub struct Topology {
    state: update::TopologyState,
    generations: BTreeMap<ServerAddress, u64>,
    events: Vec<SdamEvent>,
}

/// An error of an operation of the program.
#[derive(Clone, Debug)]
pub struct OperationError<'a> {
    /// The generation of the pool of the connection, or `None` for the current generation.
    pub generation: Option<u64>,
    /// The newest wire version of the connection.
    pub max_wire_version: i32,
    /// True if the connection was still being established.
    pub before_handshake: bool,
    /// The kind of the error.
    pub kind: OperationErrorKind<'a>,
}

/// The kind of an error of an operation.
#[derive(Clone, Copy, Debug)]
pub enum OperationErrorKind<'a> {
    /// A network error.
    Network,
    /// A network timeout.
    Timeout,
    /// The server's reply with an error.
    Command(&'a RawDocument),
}

impl Topology {
    /// Creates the topology of a client with these options, which name their hosts.
    pub fn new(options: &ClientOptions) -> Self {
        let seeds: BTreeSet<ServerAddress> = options.hosts.iter().cloned().collect();
        let (state, events) = update::TopologyState::open(ObjectId::new(), options, &seeds);
        Self {
            state,
            generations: seeds.into_iter().map(|seed| (seed, 0)).collect(),
            events,
        }
    }

    /// The current description of the topology.
    pub fn description(&self) -> Arc<TopologyDescription> {
        Arc::clone(self.state.description())
    }

    /// Returns how often the pool of a server was cleared.
    pub fn generation(&self, server: &ServerAddress) -> Option<u64> {
        self.generations.get(server).copied()
    }

    /// The events since they were last taken.
    pub fn take_events(&mut self) -> Vec<SdamEvent> {
        std::mem::take(&mut self.events)
    }

    /// Closes the topology.
    pub fn close(&mut self) {
        self.events.extend(self.state.close());
    }

    /// Handles the result of a check of a server: its reply, or `None` after a network error.
    pub fn checked(&mut self, server: &ServerAddress, reply: Option<&RawDocument>) {
        let answer = match reply {
            Some(reply) => conn::check(reply).map(|()| Hello::read(reply)),
            None => Err(failed(Stage::Command, CauseCode::ConnectionReset)),
        };
        match answer {
            Ok(hello) => {
                self.update(ServerDescription::from_hello(
                    server.clone(),
                    &hello,
                    Instant::now(),
                ));
            }
            Err(error) => {
                if let Some(known) = self.description().servers.get(server) {
                    self.carry_out(server, ErrorEffects::of_check(known, &error));
                }
            }
        }
    }

    /// Handles an error of an operation of the program.
    pub fn operation_failed(&mut self, server: &ServerAddress, error: &OperationError<'_>) {
        let stage = match (error.before_handshake, error.kind) {
            (true, OperationErrorKind::Command(_)) => Stage::Authentication,
            (true, _) => Stage::Hello,
            (false, _) => Stage::Command,
        };
        let failure = match error.kind {
            OperationErrorKind::Command(reply) => conn::check(reply).err(),
            OperationErrorKind::Network => Some(failed(stage, CauseCode::ConnectionReset)),
            OperationErrorKind::Timeout if error.before_handshake => {
                Some(failed(stage, CauseCode::HandshakeTimeout))
            }
            OperationErrorKind::Timeout => Some(Error::new(ErrorKind::Timeout, "too slow")),
        };
        // The pool also labels errors that end an attempt to connect.
        let failure = failure.map(|failure| conn::label_overload(failure.with_stage(stage)));
        let what = match (&failure, error.kind) {
            (Some(failure), _) => OperationResult::Error(failure),
            (None, OperationErrorKind::Command(reply)) => OperationResult::Reply(reply),
            (None, _) => return,
        };
        let now = self.generation(server);
        let error = ApplicationError {
            server,
            what,
            is_stale: error
                .generation
                .is_some_and(|generation| Some(generation) < now),
            max_wire_version: error.max_wire_version,
            service_id: None,
        };
        let outcome = ErrorEffects::of_operation(self.state.description(), error);
        self.carry_out(server, outcome);
    }

    fn carry_out(&mut self, server: &ServerAddress, outcome: ErrorEffects) {
        if let Some(description) = outcome.description {
            self.update(description);
        }
        if let (Clear::Pool { .. }, Some(generation)) =
            (outcome.clear, self.generations.get_mut(server))
        {
            *generation += 1;
        }
    }

    fn update(&mut self, description: ServerDescription) {
        let Some(update) = self.state.update(description) else {
            return;
        };
        self.follow(&update);
    }

    fn follow(&mut self, update: &Update) {
        for closed in update.closed() {
            self.generations.remove(closed);
        }
        for opened in update.opened() {
            self.generations.insert(opened.clone(), 0);
        }
        self.events.extend(update.events());
    }
}

fn failed(stage: Stage, code: CauseCode) -> Error {
    Error::failed(stage, Cause::simulated(code, "simulated", "None."))
}

/// Creates a description with only these fields; the caller sets the others.
pub fn server(address: ServerAddress, server_type: ServerType) -> ServerDescription {
    let mut server = ServerDescription::unknown(address);
    server.server_type = server_type;
    server
}

/// Creates a topology of these servers.
pub fn topology(
    topology_type: TopologyType,
    servers: Vec<ServerDescription>,
    heartbeat_frequency: Duration,
) -> TopologyDescription {
    let mut topology = TopologyDescription {
        topology_type,
        heartbeat_frequency,
        ..TopologyDescription::default()
    };
    for server in servers {
        topology
            .servers
            .insert(server.address.clone(), Arc::new(server));
    }
    topology.refresh();
    topology
}

/// The servers that are suitable for an operation, which is a read if there is a preference.
///
/// # Errors
/// If the preference can never be satisfied.
pub fn suitable<'t>(
    topology: &'t TopologyDescription,
    preference: Option<&ReadPreference>,
    deprioritized: &[ServerAddress],
) -> Result<Vec<&'t Arc<ServerDescription>>> {
    let requirement = preference.map_or(ServerRequirement::Write, ServerRequirement::Read);
    topology.suitable(requirement, deprioritized)
}

/// The servers within the latency window.
pub fn in_latency_window(
    suitable: Vec<&Arc<ServerDescription>>,
    local_threshold: Duration,
) -> Vec<&Arc<ServerDescription>> {
    selection::in_latency_window(suitable, local_threshold)
}

/// Chooses a server; `below` returns random numbers below its argument.
pub fn choose<'t>(
    window: &[&'t Arc<ServerDescription>],
    operation_count: impl Fn(&ServerAddress) -> usize,
    below: impl FnMut(usize) -> usize,
) -> Option<&'t Arc<ServerDescription>> {
    selection::choose(window, |server| operation_count(&server.address), below).copied()
}

/// The average round trip time after a sample.
pub fn moving_average(before: Option<Duration>, sample: Duration) -> Duration {
    rtt::moving_average(before, sample)
}
