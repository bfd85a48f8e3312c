//! A connection that is checked out, and how it comes back.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::state::Lease;
use super::{Dial, Pool};
#[cfg(test)]
use crate::error::Error;

/// A connection that is checked out. Dropping it checks it in.
#[derive(Debug)]
pub(crate) struct PooledConnection<D: Dial> {
    pub(super) pool: Arc<Pool<D>>,
    /// There until the guard is dropped.
    pub(super) connection: Option<D::Connection>,
    pub(super) lease: Lease,
    pub(super) is_new: bool,
}

impl<D: Dial> PooledConnection<D> {
    /// The pool that the connection belongs to.
    pub(crate) fn pool(&self) -> &Arc<Pool<D>> {
        &self.pool
    }

    /// Whether the connection was established for this check-out.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Its place in the pool.
    pub(crate) fn lease(&self) -> Lease {
        self.lease
    }

    /// Gives up all connections that are as old as this one, because of `error`.
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
        if !self.pool.is_inherited() {
            self.pool.check_in(connection, self.lease);
        }
    }
}
