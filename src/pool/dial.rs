//! What a pool needs of its connections and of whoever establishes them, and how the client's own give it.
//!
//! The pool is generic over both, so that its tests do without sockets.

use std::sync::Arc;

use bson::oid::ObjectId;

use super::Pool;
use super::state::Lease;
use crate::address::ServerAddress;
use crate::conn::Connection;
use crate::error::{Error, Result};
use crate::socket::Interrupt;
use crate::time::Deadline;

/// What establishes the connections of a pool.
pub(crate) trait Dial: Send + Sync + 'static {
    /// A connection, ready for use.
    type Connection: Pooled;

    /// Establishes the connection of a place, until `deadline` or until it is interrupted.
    fn dial(
        &self,
        server: &ServerAddress,
        place: Lease,
        interrupt: &Arc<Interrupt>,
        deadline: Option<Deadline>,
    ) -> Result<Self::Connection>;

    /// A connection could not be established; its place, `on`, is not given back yet. Whoever knows the server decides
    /// what follows ("Server Discovery and Monitoring", "Error handling").
    fn failed(&self, pool: &Pool<Self>, on: Lease, error: &Error)
    where
        Self: Sized;
}

/// What a pool needs to know of a connection.
pub(crate) trait Pooled: Send + 'static {
    /// Whether it must not be used again.
    fn has_perished(&self) -> bool;

    /// Whether the peer has not closed it, as far as that can be seen without waiting.
    fn is_open(&mut self) -> bool;

    /// The service behind a load balancer that it leads to.
    fn service_id(&self) -> Option<ObjectId>;
}

impl Pooled for Box<Connection> {
    fn has_perished(&self) -> bool {
        self.perished().is_some()
    }

    fn is_open(&mut self) -> bool {
        Connection::is_open(self)
    }

    fn service_id(&self) -> Option<ObjectId> {
        self.hello().service_id
    }
}

/// Dials for a pool without a topology, which exists in tests alone: whatever ends an attempt clears the pool, but an
/// overloaded server.
#[cfg(any(test, feature = "_internals"))]
#[derive(Debug)]
pub(crate) struct Alone(pub(crate) Arc<crate::conn::Connector>);

#[cfg(any(test, feature = "_internals"))]
impl Dial for Alone {
    type Connection = Box<Connection>;

    fn dial(
        &self,
        server: &ServerAddress,
        place: Lease,
        interrupt: &Arc<Interrupt>,
        deadline: Option<Deadline>,
    ) -> Result<Box<Connection>> {
        let place = crate::conn::Place {
            id: place.id,
            interrupt: Arc::clone(interrupt),
        };
        let connection = self.0.establish(server, &place, deadline, &mut ())?;
        Ok(Box::new(connection))
    }

    fn failed(&self, pool: &Pool<Self>, on: Lease, error: &Error) {
        if !error.has_label("SystemOverloadedError") {
            pool.clear_because_of(on, Some(error));
        }
    }
}
