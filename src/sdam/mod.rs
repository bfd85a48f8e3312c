//! Server discovery and monitoring, and server selection: what is known of a deployment, as plain values.
//!
//! Nothing here opens a socket, starts a thread or reads the clock. What a check of a server brought goes in as a
//! [`ServerDescription`]; out comes what changed ([`update::Update`]), or, for an error, what is to be done
//! ([`errors::Outcome`]). Descriptions do not change: a new one takes the place of the old, so that a thread may
//! read one as long as it likes.
//!
//! | file | holds |
//! |---|---|
//! | `description.rs` | what is known of a server and of all of them; equality, compatibility |
//! | `update.rs` | how a description changes that of the topology; opening, closing, new hosts |
//! | `errors.rs` | what follows from an error of an operation, or of a check |
//! | `selection.rs` `staleness.rs` | which servers an operation may go to, and which of them it goes to |
//! | `rtt.rs` | round trip times |
//!
//! Sources: "Server Discovery and Monitoring", "Server Monitoring", "SDAM Logging and Monitoring", "Server
//! Selection", "Max Staleness", "Load Balancer Support".

pub(crate) mod description;
pub(crate) mod errors;
pub(crate) mod rtt;
pub(crate) mod selection;
mod staleness;
pub(crate) mod update;

pub use self::description::{ServerDescription, ServerType, TopologyDescription, TopologyType};
