//! A dialer for a pool without a topology, which exists only in tests.

use std::sync::Arc;

use bson::oid::ObjectId;

use super::state::Lease;
use super::{Dial, Pool};
use crate::address::ServerAddress;
use crate::conn::{Connection, ConnectionSlot, Connector, ServiceObserver};
use crate::error::{Error, Result};
use crate::socket::Interrupt;
use crate::time::Deadline;

/// Dials for a pool without a topology. Every failed attempt clears the pool, unless the
/// server is overloaded.
#[derive(Debug)]
pub(crate) struct Alone(pub(crate) Arc<Connector>);

impl Dial for Alone {
    type Connection = Box<Connection>;

    fn dial(
        &self,
        server: &ServerAddress,
        place: Lease,
        interrupt: &Arc<Interrupt>,
        deadline: Option<Deadline>,
        served_by: &mut dyn FnMut(ObjectId),
    ) -> Result<Box<Connection>> {
        let place = ConnectionSlot {
            id: place.id,
            interrupt: Arc::clone(interrupt),
        };
        let connection =
            self.0
                .establish(server, &place, deadline, &mut ServiceObserver(served_by))?;
        Ok(Box::new(connection))
    }

    fn failed(&self, pool: &Pool<Self>, on: Lease, error: &Error) {
        if !error.has_label("SystemOverloadedError") {
            pool.clear_because_of(on, Some(error));
        }
    }
}
