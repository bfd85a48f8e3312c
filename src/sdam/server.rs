//! One server of a topology: its pool, and the state shared between its monitor and other threads.
//!
//! If an address leaves the topology and comes back, it becomes a new server.

use std::fmt::Debug;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bson::oid::ObjectId;

use super::attempt::CheckProgress;
use super::control::Control;
use super::handover::Handover;
use super::heartbeat::OpenHeartbeat;
use super::rtt::RoundTripTimes;
use super::verdict::ServerVerdict;
use crate::address::ServerAddress;
use crate::conn::{Connection, ConnectionSlot, Connector, ServiceObserver};
use crate::error::{Error, Result};
use crate::pool::{self, Dial, Lease, Pool};
use crate::socket::Interrupt;
use crate::sync::{Mutex, MutexGuard};
use crate::time::Deadline;

/// The pool of a server of a topology.
pub(crate) type ServerPool = Pool<Dialer>;

/// A connection that is checked out of such a pool.
pub(crate) type ServerConnection = pool::PooledConnection<Dialer>;

/// The place of a connection to a server that a transaction keeps.
pub(crate) type ServerPin = pool::Pin<Dialer>;

/// A server in the topology.
#[derive(Debug)]
pub(crate) struct Server {
    pub(super) pool: Arc<ServerPool>,
    pub(super) control: Control,
    /// The monitor's progress with a new connection.
    pub(super) attempt: CheckProgress,
    pub(super) handover: Arc<Handover>,
    /// The round trip times since the server was last unknown.
    round_trip_times: Mutex<RoundTripTimes>,
    /// The decision, from the server's checks, whether waiting for it can help.
    verdict: Mutex<ServerVerdict>,
    /// The check whose end has not been reported yet. Locked only under the lock of the topology.
    pub(super) heartbeat: Mutex<Option<OpenHeartbeat>>,
}

impl Server {
    pub(super) fn new(
        address: &ServerAddress,
        connector: &Arc<Connector>,
        topology: Weak<dyn DialFailures>,
        settings: pool::PoolSettings,
    ) -> Arc<Self> {
        let handover = Arc::<Handover>::default();
        let dialer = Arc::new(Dialer {
            connector: Arc::clone(connector),
            topology,
            handover: Arc::clone(&handover),
        });
        Arc::new(Self {
            pool: Pool::new(address.clone(), dialer, settings),
            control: Control::default(),
            attempt: CheckProgress::default(),
            handover,
            round_trip_times: Mutex::default(),
            verdict: Mutex::default(),
            heartbeat: Mutex::default(),
        })
    }

    /// Returns the address of the server.
    pub(crate) fn address(&self) -> &ServerAddress {
        self.pool.server()
    }

    /// Returns the connection pool of the server.
    pub(crate) fn pool(&self) -> &Arc<ServerPool> {
        &self.pool
    }

    /// Returns the minimum of the last round trip times. The description has it only since the last check, and a server that
    /// pushes its checks is measured in between.
    pub(crate) fn min_round_trip_time(&self) -> Duration {
        self.round_trip_times().minimum()
    }

    pub(super) fn round_trip_times(&self) -> MutexGuard<'_, RoundTripTimes> {
        self.round_trip_times.lock()
    }

    /// Returns the decision, from the server's checks, whether waiting for it can help.
    pub(super) fn verdict(&self) -> MutexGuard<'_, ServerVerdict> {
        self.verdict.lock()
    }
}

/// Handles connections that could not be established: the topology.
pub(super) trait DialFailures: Debug + Send + Sync {
    /// Handles a failed attempt to establish the connection `on` of a pool.
    fn connection_failed(&self, pool: &ServerPool, on: Lease, error: &Error);
}

/// Establishes the connections of a pool, and reports failures to the topology.
#[derive(Debug)]
pub(crate) struct Dialer {
    connector: Arc<Connector>,
    topology: Weak<dyn DialFailures>,
    handover: Arc<Handover>,
}

impl Dial for Dialer {
    type Connection = Box<Connection>;

    fn dial(
        &self,
        server: &ServerAddress,
        lease: Lease,
        interrupt: &Arc<Interrupt>,
        deadline: Option<Deadline>,
        served_by: &mut dyn FnMut(ObjectId),
    ) -> Result<Box<Connection>> {
        let place = ConnectionSlot {
            id: lease.id,
            interrupt: Arc::clone(interrupt),
        };
        let offered = self.handover.take(lease.generation);
        if let Some(connection) = offered.and_then(|checks| self.connector.adopt(checks, &place)) {
            return Ok(Box::new(connection));
        }
        let connection =
            self.connector
                .establish(server, &place, deadline, &mut ServiceObserver(served_by))?;
        Ok(Box::new(connection))
    }

    fn failed(&self, pool: &ServerPool, on: Lease, error: &Error) {
        if let Some(topology) = self.topology.upgrade() {
            topology.connection_failed(pool, on, error);
        }
    }
}
