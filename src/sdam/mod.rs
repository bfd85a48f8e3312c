//! Server discovery and monitoring, and server selection.
//!
//! The rules are plain values that open no socket, start no thread and read no clock. Their input is the result of a
//! check, as a [`ServerDescription`]. Their output is the change ([`update::Update`]), or the consequences of an
//! error ([`errors::ErrorEffects`]). Descriptions are immutable: a new one replaces the old one, so that a thread may read
//! one for as long as it likes. [`Topology`] adds the lock around the rules, and the monitors are the threads.
//!
//! | file | contents |
//! |---|---|
//! | `description/` | the descriptions of a server and of the topology; equality, compatibility |
//! | `update/` | how a server's description changes the topology; added and removed servers, new hosts |
//! | `errors.rs` | the consequences of an error of an operation or of a check |
//! | `selection/` `staleness.rs` | the servers that are suitable for an operation, and the choice among them |
//! | `rtt.rs` | round trip times |
//! | `topology.rs` `snapshot.rs` | the topology that threads share, and its state at an instant |
//! | `effects.rs` | the effects of changes, in order |
//! | `server.rs` | one server: its pool, its monitor |
//! | `attempt.rs` | the progress of a monitor's attempt to connect |
//! | `pushes.rs` | the rate at which a server may push replies |
//! | `monitor.rs` `control.rs` | the thread that checks a server, and its control by other threads |
//! | `measurement.rs` | its measurement of round trips while it waits for the server |
//! | `heartbeat.rs` | the events of checks: each start has one end |
//! | `handover.rs` | the connection of the first check, which is handed over to the pool |
//! | `verdict.rs` | the decision whether waiting for a server can help |
//! | `select.rs` `selection_error.rs` | the wait for a server, and the error if there is none |
//!
//! Sources: "Server Discovery and Monitoring", "Server Monitoring", "SDAM Logging and Monitoring", "Server
//! Selection", "Max Staleness", "Load Balancer Support".

mod attempt;
mod control;
pub(crate) mod description;
mod effects;
pub(crate) mod errors;
mod handover;
mod heartbeat;
mod measurement;
mod monitor;
mod pushes;
pub(crate) mod rtt;
mod select;
pub(crate) mod selection;
mod selection_error;
mod server;
mod snapshot;
mod staleness;
mod topology;
pub(crate) mod update;
mod verdict;

pub use self::description::{ServerDescription, ServerType, TopologyDescription, TopologyType};
pub(crate) use self::select::SelectingOperation;
pub(crate) use self::server::{ServerConnection, ServerPin, ServerPool};
pub(crate) use self::snapshot::Selected;
pub(crate) use self::topology::Topology;
