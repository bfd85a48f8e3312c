//! A checked-out connection, and its return to the pool.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::state::Lease;
use super::{Dial, PinnedBy, Pool};
#[cfg(test)]
use crate::error::Error;
use crate::sync::Mutex;

/// A checked-out connection. Dropping it checks it in.
#[derive(Debug)]
pub(crate) struct PooledConnection<D: Dial> {
    pub(super) pool: Arc<Pool<D>>,
    /// The connection; `Some` until the guard is dropped.
    pub(super) connection: Option<D::Connection>,
    pub(super) lease: Lease,
    pub(super) is_new: bool,
    /// The work that the connection is pinned to, if any.
    pub(super) pinned_by: Option<PinnedBy>,
    /// The pin that lent the connection, and to which it returns.
    pub(super) home: Option<Arc<Pin<D>>>,
}

/// The place of a connection that a transaction keeps between its commands, and shares with its cursors. The connection
/// is checked in when the last owner of the pin drops it.
pub(crate) struct Pin<D: Dial>(Mutex<Option<PooledConnection<D>>>);

impl<D: Dial> fmt::Debug for Pin<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

impl<D: Dial> Pin<D> {
    /// Lends the connection, which returns when it is dropped. Returns `None` while it is lent.
    pub(crate) fn lend(self: &Arc<Self>) -> Option<PooledConnection<D>> {
        let mut connection = self.0.lock().take()?;
        connection.home = Some(Arc::clone(self));
        Some(connection)
    }
}

impl<D: Dial> PooledConnection<D> {
    /// Returns the pool that the connection belongs to.
    pub(crate) fn pool(&self) -> &Arc<Pool<D>> {
        &self.pool
    }

    /// Returns true if the connection was established for this check-out.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Records that a cursor or a transaction keeps the connection until it is checked in.
    pub(crate) fn pin(&mut self, by: PinnedBy) {
        if let Some(before) = self.pinned_by.replace(by) {
            self.pool.pins.remove(before);
        }
        self.pool.pins.add(by);
    }

    /// Pins the connection for a transaction: it returns to the pin when it is dropped.
    pub(crate) fn keep(&mut self) -> Arc<Pin<D>> {
        self.pin(PinnedBy::Transaction);
        let pin = Arc::new(Pin(Mutex::new(None)));
        self.home = Some(Arc::clone(&pin));
        pin
    }

    /// The pin that lent the connection, if there is one.
    pub(crate) fn home(&self) -> Option<&Arc<Pin<D>>> {
        self.home.as_ref()
    }

    /// Returns the connection's lease in the pool.
    pub(crate) fn lease(&self) -> Lease {
        self.lease
    }

    /// Clears the pool because of `error`, unless it was cleared after this connection was created.
    #[cfg(test)]
    pub(crate) fn clear_pool(&self, error: Option<&Error>) {
        self.pool.clear_because_of(self.lease, error);
    }
}

impl<D: Dial> Deref for PooledConnection<D> {
    type Target = D::Connection;

    #[expect(clippy::expect_used, reason = "only drop takes the connection")]
    fn deref(&self) -> &D::Connection {
        self.connection
            .as_ref()
            .expect("the connection is there until drop")
    }
}

impl<D: Dial> DerefMut for PooledConnection<D> {
    #[expect(clippy::expect_used, reason = "only drop takes the connection")]
    fn deref_mut(&mut self) -> &mut D::Connection {
        self.connection
            .as_mut()
            .expect("the connection is there until drop")
    }
}

impl<D: Dial> Drop for PooledConnection<D> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if let Some(home) = self.home.take() {
            let returned = Self {
                pool: Arc::clone(&self.pool),
                connection: Some(connection),
                lease: self.lease,
                is_new: false,
                pinned_by: self.pinned_by.take(),
                home: None,
            };
            let before = home.0.lock().replace(returned);
            drop(before);
            // If no transaction and no cursor has the pin any more, this checks the connection in.
            return;
        }
        if let Some(by) = self.pinned_by {
            self.pool.pins.remove(by);
        }
        if !self.pool.is_inherited() {
            self.pool.check_in(connection, self.lease);
        }
    }
}
