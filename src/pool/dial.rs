//! What a pool needs of its connections and of whoever establishes them, and how the client's own give it.
//!
//! The pool is generic over both, so that its tests do without sockets.

use std::sync::Arc;

use bson::oid::ObjectId;

use super::Pool;
use super::state::Lease;
use crate::address::ServerAddress;
use crate::conn::{self, Connection, Connector};
use crate::error::{Error, Result};
use crate::socket::Interrupt;
use crate::time::Deadline;

/// What establishes the connections of a pool.
pub(crate) trait Dial: Send + Sync + 'static {
    /// A connection, ready for use.
    type Connection: Pooled;

    /// Establishes the connection of that number, until `deadline` or until it is interrupted.
    fn dial(
        &self,
        server: &ServerAddress,
        id: u64,
        interrupt: &Arc<Interrupt>,
        deadline: Option<Deadline>,
    ) -> Result<Self::Connection>;

    /// A connection could not be established; its place is not given back yet. Whoever knows the server decides
    /// what follows, such as to [clear](Failed::clear_pool) the pool ("Server Discovery and Monitoring", "Application
    /// Errors").
    fn failed(&self, failed: &Failed<'_, Self>)
    where
        Self: Sized;
}

/// A connection that could not be established.
pub(crate) struct Failed<'a, D: Dial> {
    pub(super) pool: &'a Pool<D>,
    pub(super) lease: Lease,
    pub(super) error: &'a Error,
}

impl<D: Dial> Failed<'_, D> {
    /// Gives up all connections that are as old.
    pub(crate) fn clear_pool(&self) {
        self.pool
            .clear_unless_stale(Some(self.lease), Some(self.error), false);
    }

    /// Gives up all connections to that service behind a load balancer.
    pub(crate) fn clear_service(&self, service: ObjectId) {
        self.pool.clear_service(self.lease, service);
    }
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

impl Dial for Connector {
    type Connection = Box<Connection>;

    fn dial(
        &self,
        server: &ServerAddress,
        id: u64,
        interrupt: &Arc<Interrupt>,
        deadline: Option<Deadline>,
    ) -> Result<Box<Connection>> {
        let place = conn::Place {
            id,
            interrupt: Arc::clone(interrupt),
        };
        let connection = self.establish(server, &place, deadline, &mut ())?;
        Ok(Box::new(connection))
    }

    /// An overloaded server refuses connections, and is spared by not making all of them anew. Which service a
    /// load balancer leads to is known from hello on ("Load Balancer Support", "Initial Handshake Errors").
    fn failed(&self, failed: &Failed<'_, Self>) {
        if failed.error.has_label("SystemOverloadedError") {
            return;
        }
        match failed.error.service_id() {
            _ if !self.is_load_balanced() => failed.clear_pool(),
            Some(service) => failed.clear_service(service),
            None => {}
        }
    }
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
