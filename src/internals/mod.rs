//! The internals that the runners of the specifications' own tests need. They are not part of the API: they change with
//! any version, and exist only with the feature `_internals`, which this crate's tests enable.

pub mod sdam;

use std::sync::Arc;
use std::time::Duration;

use crate::address::ServerAddress;
use crate::client_session::{Session, session_of};
use crate::conn::Connector;
use crate::error::{Error, Result};
use crate::options::ClientOptions;
pub use crate::options::cloud::CloudServices;
use crate::pool::{self, Alone, PoolSettings, PooledConnection};
use crate::session::{Pinned, SessionState, TransactionState};

/// Replaces the name whose DNS records hold the seed list. Tests that use an IP address, which a connection string
/// rejects, need no resolver.
pub fn set_srv_host(options: &mut ClientOptions, host: &str) {
    if let Some(srv) = &mut options.srv {
        host.clone_into(&mut srv.host);
    }
}

/// Makes pauses between retries on this thread this part of the longest pause, from 0 to 1. With `None` they are random
/// again.
pub fn fix_jitter(value: Option<f64>) {
    crate::random::fix_jitter(value);
}

/// Returns true if the server session of a session is marked as dirty.
pub fn is_session_dirty(session: &Session) -> bool {
    session_of(&session).is_some_and(SessionState::is_dirty)
}

/// The state of a session's transaction, as the unified test format names it.
pub fn transaction_state(session: &Session) -> &'static str {
    match session.state().transaction().state() {
        TransactionState::None => "none",
        TransactionState::Starting => "starting",
        TransactionState::InProgress => "in_progress",
        TransactionState::Committed => "committed",
        TransactionState::Aborted => "aborted",
    }
}

/// Returns true if a session is pinned to a router or to a connection.
pub fn is_session_pinned(session: &Session) -> bool {
    session.state().transaction().is_pinned()
}

/// The router that a session is pinned to, if there is one.
pub fn pinned_server(session: &Session) -> Option<ServerAddress> {
    match session.state().transaction().pinned()? {
        Pinned::Router(server) => Some(ServerAddress::clone(&server)),
        Pinned::Connection(_) => None,
    }
}

/// The pool of one server.
#[derive(Clone, Debug)]
pub struct Pool(Arc<pool::Pool<Alone>>);

/// A connection that is checked out. Dropping it checks it in.
#[derive(Debug)]
pub struct CheckedOut(
    #[expect(dead_code, reason = "held until it is dropped")] PooledConnection<Alone>,
);

impl Pool {
    /// Creates the pool of the first host, with maintenance at this interval, or without maintenance if there is none.
    ///
    /// # Errors
    /// As [`Client::with_options`](crate::Client::with_options).
    pub fn new(options: &ClientOptions, maintenance_interval: Option<Duration>) -> Result<Self> {
        let mut settings = PoolSettings::new(options);
        settings.maintenance_interval = maintenance_interval;
        let connector = Connector::new(options)?;
        let dialer = Arc::new(Alone(connector));
        let pool = pool::Pool::new(options.hosts[0].clone(), dialer, settings);
        pool.announce();
        Ok(Self(pool))
    }

    /// Marks the pool ready.
    pub fn ready(&self) {
        self.0.ready();
    }

    /// Checks a connection out.
    ///
    /// # Errors
    /// If no connection is available.
    pub fn check_out(&self) -> Result<CheckedOut> {
        self.0.check_out(None).map(CheckedOut)
    }

    /// Clears the pool.
    pub fn clear(&self, interrupt_in_use_connections: bool) {
        self.0.clear(None, interrupt_in_use_connections);
    }

    /// Closes the pool.
    pub fn close(&self) {
        self.0.close();
    }
}

/// Returns true if an error is CMAP's `PoolClearedError`.
pub fn is_pool_cleared(error: &Error) -> bool {
    error.is_pool_cleared()
}
