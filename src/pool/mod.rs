//! Connections to one server, shared by threads.
//!
//! A thread checks a connection out, is alone with it, and checks it in by dropping the guard. What is
//! free is handed out newest first, so that connections beyond what the load needs grow old. Nothing
//! dials, closes or logs under the lock. Whoever frees a place wakes a waiter; a place that a dial has
//! taken is given back if the dial fails or panics.
//!
//! Each connection has the pool's generation of when its dial began. When one perishes in a way that
//! speaks against the others too, the pool is cleared: the generation is raised, what is free is
//! closed, and what is older than the generation is closed at check-in (CMAP, "Clearing a Connection
//! Pool"). So a server that was restarted costs one failed command, not one for each connection.
//!
//! This is the first pool: it keeps `maxPoolSize` and `waitQueueTimeoutMS`, drops connections older
//! than `maxIdleTimeMS`, and knows no background work.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::address::ServerAddress;
use crate::conn::{Connection, Connector, Perished};
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
    /// The number of the newest connection.
    last_id: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Free connections of this generation and when they were checked in, oldest first.
    available: Vec<(Connection, Instant)>,
    /// Connections that exist or are being established.
    total: usize,
    /// How often the pool was cleared.
    generation: u64,
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
            last_id: AtomicU64::new(0),
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
                let generation = state.generation;
                drop(state);
                return Ok(self.guard(connection, generation, false));
            }
            if state.total < self.max_size {
                state.total += 1;
                let generation = state.generation;
                drop(state);
                drop(idle_too_long);
                return self.establish(generation, deadline);
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
    fn establish(
        self: &Arc<Self>,
        generation: u64,
        deadline: Option<Deadline>,
    ) -> Result<PooledConnection> {
        let place = Place(self);
        let mut connection = self.connector.establish(&self.server, deadline, &mut ())?;
        connection.set_id(self.last_id.fetch_add(1, Ordering::Relaxed) + 1);
        std::mem::forget(place);
        Ok(self.guard(connection, generation, true))
    }

    fn guard(
        self: &Arc<Self>,
        connection: Connection,
        generation: u64,
        is_new: bool,
    ) -> PooledConnection {
        PooledConnection {
            pool: Arc::clone(self),
            connection: Some(connection),
            generation,
            is_new,
        }
    }

    fn check_in(&self, connection: Connection, generation: u64) {
        match connection.perished() {
            Some(Perished::Network | Perished::StateChange) => self.clear(generation),
            Some(Perished::Alone) => {}
            None => {
                let now = Instant::now();
                let mut state = self.lock();
                if state.generation == generation {
                    state.available.push((connection, now));
                    drop(state);
                    self.freed.notify_one();
                    return;
                }
            }
        }
        drop(connection);
        self.give_place_back();
    }

    /// Gives up all connections of `generation`, unless that has happened already: of many that
    /// perish together, only the first one clears the pool.
    fn clear(&self, generation: u64) {
        let state = self.lock();
        if state.generation == generation {
            self.begin_generation(state);
        }
    }

    /// Retires all connections that there are: the free ones now, those in use when they are checked in.
    pub(crate) fn retire(&self) {
        self.begin_generation(self.lock());
    }

    fn begin_generation(&self, mut state: MutexGuard<'_, State>) {
        state.generation += 1;
        let stale = std::mem::take(&mut state.available);
        state.total -= stale.len();
        drop(state);
        self.freed.notify_all();
        drop(stale);
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
    /// The pool's when the dial began.
    generation: u64,
    is_new: bool,
}

impl PooledConnection {
    /// The pool that the connection belongs to.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Whether the connection was established for this check-out.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Gives this connection up with all that are as old.
    pub(crate) fn clear_pool(self) {
        self.pool.clear(self.generation);
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
            self.pool.check_in(connection, self.generation);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use mongotls_testbench::fault::Fault;
    use mongotls_testbench::server::Server;

    use super::*;

    /// A pool of so many connections, in which nobody waits for long.
    fn pool_of(server: &Server, size: usize) -> Arc<Pool> {
        let uri = format!("{}?maxPoolSize={size}&waitQueueTimeoutMS=50", server.uri());
        let (options, _) = ClientOptions::parse(&uri).unwrap();
        let connector = Connector::new(&options).unwrap();
        let address = options.hosts[0].clone();
        Arc::new(Pool::new(address, connector, &options))
    }

    #[test]
    fn a_panic_gives_the_connection_back() {
        let server = Server::builder().start();
        let pool = pool_of(&server, 1);
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

    /// So many connections that are checked out at once.
    fn connections(pool: &Arc<Pool>, count: usize) -> Vec<PooledConnection> {
        (0..count).map(|_| pool.check_out(None).unwrap()).collect()
    }

    #[test]
    fn clearing_closes_what_is_free_now_and_what_is_in_use_at_check_in() {
        let server = Server::builder().start();
        let pool = pool_of(&server, 3);
        let mut open = connections(&pool, 3);
        drop(open.pop());
        open.remove(0).clear_pool();
        let state = |pool: &Pool| {
            let state = pool.lock();
            (state.available.len(), state.total)
        };
        assert_eq!(state(&pool), (0, 1), "one is still in use");
        drop(open);
        assert_eq!(state(&pool), (0, 0));
        drop(pool.check_out(None).unwrap());
        assert_eq!(state(&pool), (1, 1));
        assert_eq!(server.counts().accepted, 4);
    }

    #[test]
    fn a_stale_connection_does_not_clear_what_is_younger() {
        let server = Server::builder().start();
        let pool = pool_of(&server, 3);
        let mut old = connections(&pool, 2);
        old.remove(0).clear_pool();
        drop(pool.check_out(None).unwrap());
        old.remove(0).clear_pool();
        assert!(!pool.check_out(None).unwrap().is_new());
        assert_eq!(server.counts().accepted, 3);
    }

    #[test]
    fn a_failed_dial_gives_its_place_back() {
        let server = Server::builder().start();
        let pool = pool_of(&server, 1);
        server.faults().next(3, Fault::close_after(0));
        for _ in 0..3 {
            assert!(!pool.check_out(None).unwrap_err().is_timeout());
        }
        drop(pool.check_out(None).unwrap());
    }
}
