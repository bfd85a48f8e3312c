//! The traits that a pool requires of its connections and of the dialer that establishes them, and their
//! implementation for the client's own types.
//!
//! The pool is generic over both, so that its tests need no sockets.

use std::sync::Arc;

use bson::oid::ObjectId;

use super::Pool;
use super::state::Lease;
use crate::address::ServerAddress;
use crate::conn::Connection;
use crate::error::{Error, Result};
use crate::socket::Interrupt;
use crate::time::Deadline;

/// Establishes the connections of a pool.
pub(crate) trait Dial: Send + Sync + 'static {
    /// A connection that is ready for use.
    type Connection: Pooled;

    /// Establishes the connection of a lease, until `deadline` or until it is interrupted.
    fn dial(
        &self,
        server: &ServerAddress,
        place: Lease,
        interrupt: &Arc<Interrupt>,
        deadline: Option<Deadline>,
    ) -> Result<Self::Connection>;

    /// Handles a connection that could not be established; its lease, `on`, has not been returned yet. The
    /// consequences are decided by the code that knows the server ("Server Discovery and Monitoring", "Error
    /// handling").
    fn failed(&self, pool: &Pool<Self>, on: Lease, error: &Error)
    where
        Self: Sized;
}

/// The properties of a connection that a pool needs.
pub(crate) trait Pooled: Send + 'static {
    /// Returns true if the connection must not be used again.
    fn has_perished(&self) -> bool;

    /// Returns false if the peer has closed the connection, as far as that can be detected without waiting.
    fn is_open(&mut self) -> bool;

    /// Returns the service behind a load balancer that the connection leads to.
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

/// Dials for a pool without a topology, which exists only in tests. Every failed attempt clears the pool, unless the
/// server is overloaded.
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
        let place = crate::conn::ConnectionSlot {
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
