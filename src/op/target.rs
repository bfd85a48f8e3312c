//! The connections that operations use: one to a selected server, or those of an open cursor with its session.

use std::sync::Arc;
use std::time::Duration;

use bson::RawDocumentBuf;

use crate::conn::Perished;
use crate::error::{Error, Result};
use crate::options::{ReadPreference, ReadPreferenceMode};
use crate::pool::PinnedBy;
use crate::sdam::{ServerConnection, ServerPin, ServerPool, ServerType, TopologyType};
use crate::session::{ImplicitSession, Lifetime, ServerSession};
use crate::steps::Steps;
use crate::time::Deadline;

/// A connection that is checked out, and the types by which its server was selected.
pub(crate) struct SelectedConnection {
    pub(super) connection: ServerConnection,
    pub(super) topology_type: TopologyType,
    pub(super) server_type: ServerType,
    /// The minimum round trip time to the server when it was selected.
    pub(super) min_round_trip_time: Duration,
    /// The shortest lifetime of sessions on the servers of the deployment, in minutes, if all have sessions.
    pub(super) session_minutes: Option<i64>,
    /// The session of the driver's own in which a command has opened a cursor.
    pub(super) session: Option<ImplicitSession>,
}

impl SelectedConnection {
    /// The connection.
    pub(crate) fn connection(&self) -> &ServerConnection {
        &self.connection
    }

    /// Pins the connection: all further commands of a cursor use it.
    pub(crate) fn pin(mut self) -> CursorTarget {
        let session = self.session.take();
        if let Some(pin) = self.connection.home() {
            return CursorTarget {
                place: Place::Lent(Arc::clone(pin), self.server()),
                session,
            };
        }
        self.connection.pin(PinnedBy::Cursor);
        CursorTarget {
            place: Place::Connection(Box::new(self)),
            session,
        }
    }

    /// Gives the connection back. Further commands of a cursor go to the same server, on any connection.
    pub(crate) fn release(mut self) -> CursorTarget {
        CursorTarget {
            place: Place::Server(self.server()),
            session: self.session.take(),
        }
    }

    /// Returns whether the server can send several replies to one `getMore`. Routers can from MongoDB 7.1 on. Behind a load
    /// balancer drivers do not ask for it.
    pub(crate) fn can_stream(&self) -> bool {
        let is_router = self.server_type == ServerType::Mongos;
        let newest = self.connection.hello().max_wire_version;
        self.topology_type != TopologyType::LoadBalanced
            && (!is_router || newest >= STREAMING_ROUTERS)
    }

    /// Returns the lifetime of a session on the server, or `None` if the server does not support sessions ("How to Tell
    /// Whether a Connection Supports Sessions").
    pub(super) fn session_lifetime(&self) -> Option<Lifetime> {
        if self.topology_type == TopologyType::LoadBalanced {
            return Some(Lifetime::Unknown);
        }
        let minutes = self.connection.hello().logical_session_timeout_minutes?;
        let shortest = self.session_minutes.map_or(minutes, |all| all.min(minutes));
        Some(Lifetime::of_minutes(Some(shortest)))
    }

    fn server(&self) -> TargetServer {
        TargetServer {
            pool: Arc::clone(self.connection.pool()),
            topology_type: self.topology_type,
            server_type: self.server_type,
            min_round_trip_time: self.min_round_trip_time,
            session_minutes: self.session_minutes,
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

/// Where the commands of an open cursor go, and the session in which they run if the program gave none.
pub(crate) struct CursorTarget {
    pub(super) place: Place,
    pub(super) session: Option<ImplicitSession>,
}

/// Where the commands of an open cursor go.
pub(super) enum Place {
    /// To the server that holds the cursor, on any connection.
    Server(TargetServer),
    /// To the connection that opened the cursor ("Load Balancer Support", "Connection Pinning").
    Connection(Box<SelectedConnection>),
    /// To the connection of the transaction that opened the cursor.
    Lent(Arc<ServerPin>, TargetServer),
}

impl CursorTarget {
    /// Gives the session back, if it is one of the pool.
    pub(crate) fn end_session(&mut self) {
        self.session = None;
    }

    /// Takes the session, if it is one of the pool.
    pub(crate) fn take_session(&mut self) -> Option<ServerSession> {
        self.session.as_mut()?.session.take()
    }

    /// Gives a pinned connection back.
    pub(crate) fn unpin(&mut self) {
        let server = match &self.place {
            Place::Server(_) => return,
            Place::Connection(pinned) => pinned.server(),
            Place::Lent(_, server) => server.clone(),
        };
        self.place = Place::Server(server);
    }

    /// Returns the reason why a pinned connection must not be used again, if there is one.
    pub(crate) fn perished(&self) -> Option<Perished> {
        match &self.place {
            Place::Server(_) => None,
            Place::Connection(pinned) => pinned.connection.perished(),
            Place::Lent(pin, _) => pin.lend().and_then(|connection| connection.perished()),
        }
    }

    /// Returns whether the server may still send batches that were not read.
    pub(crate) fn is_streaming(&self) -> bool {
        match &self.place {
            Place::Server(_) | Place::Lent(..) => false,
            Place::Connection(pinned) => pinned.connection.is_streaming(),
        }
    }
}

/// The first wire version whose routers send several replies to one request: MongoDB 7.1.
const STREAMING_ROUTERS: i32 = 22;

/// The server that holds a cursor.
#[derive(Clone)]
pub(super) struct TargetServer {
    pool: Arc<ServerPool>,
    topology_type: TopologyType,
    server_type: ServerType,
    min_round_trip_time: Duration,
    session_minutes: Option<i64>,
}

impl TargetServer {
    pub(super) fn check_out(
        &self,
        deadline: Option<Deadline>,
        steps: &Steps<'_>,
    ) -> Result<SelectedConnection> {
        Ok(self.with(self.pool.check_out_for(deadline, steps)?))
    }

    /// A connection to the server.
    pub(super) fn with(&self, connection: ServerConnection) -> SelectedConnection {
        SelectedConnection {
            connection,
            topology_type: self.topology_type,
            server_type: self.server_type,
            min_round_trip_time: self.min_round_trip_time,
            session_minutes: self.session_minutes,
            session: None,
        }
    }
}
