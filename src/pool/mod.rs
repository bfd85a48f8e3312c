//! Connections to one server, shared by threads.
//!
//! A thread checks a connection out, is alone with it, and checks it in by dropping the guard. What is
//! free is handed out newest first, so that connections beyond what the load needs grow old. Nothing
//! dials, closes or logs under the lock. Whoever frees a place wakes a waiter; a place that a dial has
//! taken is given back if the dial fails or panics.
//!
//! This is the first pool: it keeps `maxPoolSize` and `waitQueueTimeoutMS`, drops connections older
//! than `maxIdleTimeMS`, and knows no background work.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::address::ServerAddress;
use crate::conn::{Connection, Connector};
use crate::error::{Error, Result};
use crate::options::ClientOptions;
use crate::time::{Deadline, TimeoutKind};

/// The pool of one server.
#[derive(Debug)]
pub(crate) struct Pool {
    server: ServerAddress,
    connector: Arc<Connector>,
    max_size: usize,
    max_idle_time: Option<Duration>,
    wait_queue_timeout: Option<Duration>,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Free connections and when they were checked in, oldest first.
    available: Vec<(Connection, Instant)>,
    /// Connections that exist or are being established.
    total: usize,
}

impl Pool {
    pub(crate) fn new(
        server: ServerAddress,
        connector: Arc<Connector>,
        options: &ClientOptions,
    ) -> Self {
        Self {
            server,
            connector,
            // 0 means no limit.
            max_size: match options.max_pool_size {
                0 => usize::MAX,
                size => usize::try_from(size).unwrap_or(usize::MAX),
            },
            max_idle_time: options.max_idle_time,
            wait_queue_timeout: options.wait_queue_timeout,
            state: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// A free connection, or a new one if there is room, or whichever becomes free first.
    pub(crate) fn check_out(
        self: &Arc<Self>,
        deadline: Option<Deadline>,
    ) -> Result<PooledConnection> {
        let now = Instant::now();
        let own = Deadline::after(now, self.wait_queue_timeout, TimeoutKind::WaitQueue);
        let waiting = deadline.map_or(own, |deadline| deadline.earlier(own));
        let mut idle_too_long = Vec::new();
        let mut state = self.lock();
        loop {
            while let Some((connection, since)) = state.available.pop() {
                if self
                    .max_idle_time
                    .is_some_and(|limit| now.duration_since(since) > limit)
                {
                    state.total -= 1;
                    idle_too_long.push(connection);
                    continue;
                }
                drop(state);
                return Ok(self.guard(connection));
            }
            if state.total < self.max_size {
                state.total += 1;
                drop(state);
                drop(idle_too_long);
                return self.establish(deadline);
            }
            let left = match waiting.remaining(Instant::now()) {
                Ok(left) => left,
                Err(elapsed) => {
                    return Err(
                        Error::timed_out(elapsed, "the wait for a pooled connection")
                            .with_server(&self.server),
                    );
                }
            };
            state = match left {
                Some(left) => self
                    .freed
                    .wait_timeout(state, left)
                    .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state),
                None => self
                    .freed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Dials in the place that the caller has taken.
    fn establish(self: &Arc<Self>, deadline: Option<Deadline>) -> Result<PooledConnection> {
        let place = Place(self);
        let connection = self.connector.establish(&self.server, deadline, &mut ())?;
        std::mem::forget(place);
        Ok(self.guard(connection))
    }

    fn guard(self: &Arc<Self>, connection: Connection) -> PooledConnection {
        PooledConnection {
            pool: Arc::clone(self),
            connection: Some(connection),
        }
    }

    fn check_in(&self, connection: Connection) {
        if connection.perished() {
            self.give_place_back();
            return;
        }
        self.lock().available.push((connection, Instant::now()));
        self.freed.notify_one();
    }

    fn give_place_back(&self) {
        self.lock().total -= 1;
        self.freed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is whole between any two lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection that is being established; dropping it gives the place back.
struct Place<'a>(&'a Pool);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.give_place_back();
    }
}

/// A connection that is checked out. Dropping it checks it in.
#[derive(Debug)]
pub(crate) struct PooledConnection {
    pool: Arc<Pool>,
    /// There until the guard is dropped.
    connection: Option<Connection>,
}

impl PooledConnection {
    /// The pool that the connection belongs to.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Deref for PooledConnection {
    type Target = Connection;

    #[expect(clippy::expect_used, reason = "only drop takes the connection")]
    fn deref(&self) -> &Connection {
        self.connection
            .as_ref()
            .expect("the connection is there until drop")
    }
}

impl DerefMut for PooledConnection {
    #[expect(clippy::expect_used, reason = "only drop takes the connection")]
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection
            .as_mut()
            .expect("the connection is there until drop")
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.check_in(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use mongotls_testbench::fault::Fault;
    use mongotls_testbench::server::Server;

    use super::*;

    /// A pool of one connection, in which nobody waits for long.
    fn pool_of_one(server: &Server) -> Arc<Pool> {
        let uri = format!("{}?maxPoolSize=1&waitQueueTimeoutMS=50", server.uri());
        let (options, _) = ClientOptions::parse(&uri).unwrap();
        let connector = Connector::new(&options).unwrap();
        let address = options.hosts[0].clone();
        Arc::new(Pool::new(address, connector, &options))
    }

    #[test]
    fn a_panic_gives_the_connection_back() {
        let server = Server::builder().start();
        let pool = pool_of_one(&server);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _connection = pool.check_out(None).unwrap();
            assert!(pool.check_out(None).unwrap_err().is_timeout());
            panic!("a bug of the program");
        }));
        let payload = outcome.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"a bug of the program"));
        drop(pool.check_out(None).unwrap());
        assert_eq!(server.counts().accepted, 1);
    }

    #[test]
    fn a_failed_dial_gives_its_place_back() {
        let server = Server::builder().start();
        let pool = pool_of_one(&server);
        server.faults().next(3, Fault::close_after(0));
        for _ in 0..3 {
            assert!(!pool.check_out(None).unwrap_err().is_timeout());
        }
        drop(pool.check_out(None).unwrap());
    }
}
