//! The events of server discovery and monitoring. Source: "SDAM Logging and Monitoring".
//!
//! `Display` formats an event as its log line, with target `mongotls::topology` and level debug ("Log Messages").
//! A changed description of a server has an event, and no message.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bson::RawDocumentBuf;
use bson::oid::ObjectId;

use crate::address::ServerAddress;
use crate::error::Error;
use crate::sdam::{ServerDescription, TopologyDescription};

/// An event in the discovery and monitoring of a deployment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SdamEvent {
    /// The ID of the topology; each client has one topology.
    pub topology_id: ObjectId,
    /// The kind of the event, with its data.
    pub kind: SdamEventKind,
}

/// The kind of a discovery or monitoring event.
///
/// Events of one topology are sent one after another, in the order in which they happen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SdamEventKind {
    /// The topology starts. This is the first event.
    TopologyOpening,
    /// The topology is closed. This is the last event.
    TopologyClosed,
    /// The description of the deployment changed.
    TopologyDescriptionChanged {
        /// The previous description.
        previous: Arc<TopologyDescription>,
        /// The new description.
        new: Arc<TopologyDescription>,
    },
    /// A server was added to the topology.
    ServerOpening {
        /// The server.
        server: ServerAddress,
    },
    /// A server was removed from the topology.
    ServerClosed {
        /// The server.
        server: ServerAddress,
    },
    /// The description of a server changed in more than its round trip times.
    ServerDescriptionChanged {
        /// The previous description.
        previous: Arc<ServerDescription>,
        /// The new description.
        new: Arc<ServerDescription>,
    },
    /// A server is about to be checked. If there is no connection yet, this comes before one is opened. One of the
    /// next two events follows.
    ServerHeartbeatStarted {
        /// The connection of the check.
        connection: MonitoringConnection,
        /// True if the server replies only after a change, or once the heartbeat interval has passed.
        awaited: bool,
    },
    /// The server replied.
    ServerHeartbeatSucceeded {
        /// The connection of the check.
        connection: MonitoringConnection,
        /// True if the server delayed the reply until there was a change.
        awaited: bool,
        /// The duration of the check. It is a round trip time unless `awaited` is true.
        duration: Duration,
        /// The reply.
        reply: RawDocumentBuf,
    },
    /// The check failed.
    ServerHeartbeatFailed {
        /// The connection of the check.
        connection: MonitoringConnection,
        /// True if the server was to delay the reply until there was a change.
        awaited: bool,
        /// The duration of the check.
        duration: Duration,
        /// The reason.
        failure: Error,
    },
}

/// The connection on which a server is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MonitoringConnection {
    /// The server.
    pub server: ServerAddress,
    /// The client's number for the connection. These numbers are independent of those in the pool.
    pub connection_id: u64,
    /// The server's number for the connection, as in its log, if it is known.
    pub server_connection_id: Option<i64>,
}

impl SdamEventKind {
    /// Returns the event's name in the specification, without the suffix `Event`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TopologyOpening => "TopologyOpening",
            Self::TopologyClosed => "TopologyClosed",
            Self::TopologyDescriptionChanged { .. } => "TopologyDescriptionChanged",
            Self::ServerOpening { .. } => "ServerOpening",
            Self::ServerClosed { .. } => "ServerClosed",
            Self::ServerDescriptionChanged { .. } => "ServerDescriptionChanged",
            Self::ServerHeartbeatStarted { .. } => "ServerHeartbeatStarted",
            Self::ServerHeartbeatSucceeded { .. } => "ServerHeartbeatSucceeded",
            Self::ServerHeartbeatFailed { .. } => "ServerHeartbeatFailed",
        }
    }
}

impl fmt::Display for MonitoringConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, id) = (&self.server, self.connection_id);
        write!(f, "{server} on connection with driver-generated ID {id}")?;
        match self.server_connection_id {
            Some(id) => write!(f, " and server-generated ID {id}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn lines_of_the_log_are_those_of_the_specification() {
        let connection = MonitoringConnection {
            server: ServerAddress::tcp("a", 1),
            connection_id: 3,
            server_connection_id: None,
        };
        let known = MonitoringConnection {
            server_connection_id: Some(9),
            ..connection.clone()
        };
        let duration = Duration::from_millis(5);
        let server = || ServerAddress::tcp("a", 1);
        let unknown = Arc::new(TopologyDescription::default());
        let of_server = Arc::new(ServerDescription::unknown(server()));
        for (kind, name, line) in [
            (
                SdamEventKind::TopologyOpening,
                "TopologyOpening",
                "Starting monitoring for topology with ID ID",
            ),
            (
                SdamEventKind::TopologyClosed,
                "TopologyClosed",
                "Stopped monitoring for topology with ID ID",
            ),
            (
                SdamEventKind::TopologyDescriptionChanged {
                    previous: Arc::clone(&unknown),
                    new: unknown,
                },
                "TopologyDescriptionChanged",
                "Description changed for topology with ID ID. Previous description: Unknown. New description: Unknown",
            ),
            (
                SdamEventKind::ServerOpening { server: server() },
                "ServerOpening",
                "Starting monitoring for server a:1 in topology with ID ID",
            ),
            (
                SdamEventKind::ServerClosed { server: server() },
                "ServerClosed",
                "Stopped monitoring for server a:1 in topology with ID ID",
            ),
            (
                SdamEventKind::ServerDescriptionChanged {
                    previous: Arc::clone(&of_server),
                    new: of_server,
                },
                "ServerDescriptionChanged",
                "Description changed for server in topology with ID ID. Previous description: a:1 (Unknown). New \
                 description: a:1 (Unknown)",
            ),
            (
                SdamEventKind::ServerHeartbeatStarted {
                    connection: connection.clone(),
                    awaited: true,
                },
                "ServerHeartbeatStarted",
                "Heartbeat started for a:1 on connection with driver-generated ID 3 in topology with ID ID. Awaited: true",
            ),
            (
                SdamEventKind::ServerHeartbeatSucceeded {
                    connection: known,
                    awaited: false,
                    duration,
                    reply: rawdoc! { "ok": 1 },
                },
                "ServerHeartbeatSucceeded",
                "Heartbeat succeeded in 5 ms for a:1 on connection with driver-generated ID 3 and server-generated ID 9 \
                 in topology with ID ID. Awaited: false. Reply: {\"ok\":1}",
            ),
            (
                SdamEventKind::ServerHeartbeatFailed {
                    connection,
                    awaited: false,
                    duration,
                    failure: Error::protocol("x"),
                },
                "ServerHeartbeatFailed",
                "Heartbeat failed in 5 ms for a:1 on connection with driver-generated ID 3 in topology with ID ID. \
                 Awaited: false. Failure: x",
            ),
        ] {
            let event = SdamEvent {
                topology_id: ObjectId::new(),
                kind,
            };
            let text = event.to_string().replace(&event.topology_id.to_hex(), "ID");
            assert_eq!((event.kind.name(), text.as_str()), (name, line));
        }
    }
}
