//! Descriptions of servers and of the deployment that they form, as known to the client.
//!
//! [`ClientSnapshot::topology`](crate::client::ClientSnapshot::topology) returns the current description, and
//! [`SdamEvent`](crate::event::SdamEvent) reports each change. Source: "Server Discovery and Monitoring".

pub use crate::data::hello::{Hello, TopologyVersion};
pub use crate::sdam::{ServerDescription, ServerType, TopologyDescription, TopologyType};
