//! The connections that operations use: one to a selected server, or those of an open cursor.

use std::sync::Arc;
use std::time::Duration;

use bson::RawDocumentBuf;

use crate::conn::Perished;
use crate::error::{Error, Result};
use crate::options::{ReadPreference, ReadPreferenceMode};
use crate::pool::PinnedBy;
use crate::sdam::{ServerConnection, ServerPool, ServerType, TopologyType};
use crate::time::Deadline;

/// A connection that is checked out, and the types by which its server was selected.
pub(crate) struct SelectedConnection {
    pub(super) connection: ServerConnection,
    pub(super) topology_type: TopologyType,
    pub(super) server_type: ServerType,
    /// The minimum round trip time to the server when it was selected.
    pub(super) min_round_trip_time: Duration,
}

impl SelectedConnection {
    /// The connection.
    pub(crate) fn connection(&self) -> &ServerConnection {
        &self.connection
    }

    /// Pins the connection: all further commands of a cursor use it.
    pub(crate) fn pin(mut self) -> CursorTarget {
        self.connection.pin(PinnedBy::Cursor);
        CursorTarget::Connection(Box::new(self))
    }

    /// Gives the connection back. Further commands of a cursor go to the same server, on any connection.
    pub(crate) fn release(self) -> CursorTarget {
        CursorTarget::Server(self.server())
    }

    fn server(&self) -> TargetServer {
        TargetServer {
            pool: Arc::clone(self.connection.pool()),
            topology_type: self.topology_type,
            server_type: self.server_type,
            min_round_trip_time: self.min_round_trip_time,
        }
    }

    /// The value of `$readPreference`, if the server needs one ("Server Selection", "Passing a Read Preference").
    pub(super) fn read_preference(
        &self,
        preference: Option<&ReadPreference>,
    ) -> Result<Option<RawDocumentBuf>> {
        let is_direct = self.topology_type == TopologyType::Single;
        let is_member = !matches!(
            self.server_type,
            ServerType::Standalone | ServerType::Mongos
        );
        let other = preference.filter(|preference| preference.mode != ReadPreferenceMode::Primary);
        let document = match other {
            _ if self.server_type == ServerType::Standalone => return Ok(None),
            Some(preference) => preference.to_document(),
            // With a direct connection, a secondary must answer as well.
            None if is_direct && is_member => bson::doc! { "mode": "primaryPreferred" },
            None => return Ok(None),
        };
        RawDocumentBuf::try_from(&document)
            .map(Some)
            .map_err(|error| Error::bson("the read preference cannot be encoded", error))
    }
}

/// Where the commands of an open cursor go.
pub(crate) enum CursorTarget {
    /// To the server that holds the cursor, on any connection.
    Server(TargetServer),
    /// To the connection that opened the cursor ("Load Balancer Support", "Connection Pinning").
    Connection(Box<SelectedConnection>),
}

impl CursorTarget {
    /// Gives a pinned connection back.
    pub(crate) fn unpin(&mut self) {
        if let Self::Connection(pinned) = self {
            *self = Self::Server(pinned.server());
        }
    }

    /// Returns the reason why a pinned connection must not be used again, if there is one.
    pub(crate) fn perished(&self) -> Option<Perished> {
        match self {
            Self::Server(_) => None,
            Self::Connection(pinned) => pinned.connection.perished(),
        }
    }
}

/// The server that holds a cursor.
pub(crate) struct TargetServer {
    pool: Arc<ServerPool>,
    topology_type: TopologyType,
    server_type: ServerType,
    min_round_trip_time: Duration,
}

impl TargetServer {
    pub(super) fn check_out(&self, deadline: Option<Deadline>) -> Result<SelectedConnection> {
        Ok(SelectedConnection {
            connection: self.pool.check_out(deadline)?,
            topology_type: self.topology_type,
            server_type: self.server_type,
            min_round_trip_time: self.min_round_trip_time,
        })
    }
}
