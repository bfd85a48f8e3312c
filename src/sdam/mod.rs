//! Server discovery and monitoring, and server selection.
//!
//! The rules are plain values that open no socket, start no thread and read no clock. What a check of a server brought
//! goes in as a [`ServerDescription`]; out comes what changed ([`update::Update`]), or, for an error, what is to be
//! done ([`errors::Outcome`]). Descriptions do not change: a new one takes the place of the old, so that a thread may
//! read one as long as it likes. Around them [`Topology`] is the lock, the monitors are the threads.
//!
//! | file | holds |
//! |---|---|
//! | `description.rs` | what is known of a server and of all of them; equality, compatibility |
//! | `update.rs` | how a description changes that of the topology; opening, closing, new hosts |
//! | `errors.rs` | what follows from an error of an operation, or of a check |
//! | `selection.rs` `staleness.rs` | which servers an operation may go to, and which of them it goes to |
//! | `rtt.rs` | round trip times |
//! | `topology.rs` `snapshot.rs` | the topology that threads share, and what it is at an instant |
//! | `effects.rs` | what follows from changes, in their order |
//! | `server.rs` | one server: its pool, its monitor |
//! | `attempt.rs` | the progress of a check's attempt to connect |
//! | `pushes.rs` | the rate at which a server may push answers |
//! | `monitor.rs` `control.rs` | the threads that check a server, and how others steer them |
//! | `handover.rs` | the connection of the first check, until it is the program's |
//! | `verdict.rs` | whether waiting for a server can help |
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
pub(crate) use self::server::{PooledConnection, ServerPool};
pub(crate) use self::snapshot::Selected;
pub(crate) use self::topology::Topology;
