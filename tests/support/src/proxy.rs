//! A TCP proxy that can cut, hold and corrupt the bytes between a client and any server.
//!
//! It stands in front of servers that the bench does not control (FerretDB, HAProxy) and simulates the network between,
//! and in front of the members of a [`ReplicaSet`](crate::replica_set::ReplicaSet). Its port stays reserved even while
//! it refuses connections. In front of several servers it balances load. A [`Fault`](crate::fault::Fault) of
//! [`Layer::Tcp`] applies to the bytes that the client receives; the proxy sees no messages, so [`Layer::Message`] has
//! no meaning here. Each connection has two threads, one for each direction; dropping the proxy ends them.

use crate::fault::{FaultPlan, FaultyStream, Layer, Transport};
use crate::net::{Bind, Endpoint, Listening, Port, Socket, Stop, lock};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A running proxy.
///
/// ```
/// use mongotls_testbench::proxy::Proxy;
/// use mongotls_testbench::server::Server;
///
/// let server = Server::builder().start();
/// let proxy = Proxy::start(server.endpoint());
/// let uri = format!("mongodb://{}/", proxy.addr());
/// proxy.cut();
/// proxy.refuse(); // a connection is refused, as by a host where nothing listens
/// proxy.admit();
/// ```
#[derive(Debug)]
pub struct Proxy {
    // Declared before `shared`, so that its threads have ended when the rest is dropped.
    listening: Mutex<Option<Listening>>,
    endpoint: Endpoint,
    shared: Arc<Shared>,
    port: Port,
}

#[derive(Debug, Default)]
struct Shared {
    servers: Mutex<Vec<Endpoint>>,
    faults: FaultPlan,
    gate: Gate,
    resets: AtomicBool,
    cuts: AtomicU64,
    accepted: Mutex<Vec<Instant>>,
}

impl Proxy {
    /// Listens on `127.0.0.1` and any port, and connects to `server`.
    ///
    /// # Panics
    ///
    /// If no port can be bound.
    pub fn start(server: &Endpoint) -> Self {
        Self::balance(std::slice::from_ref(server))
    }

    /// Listens in front of several servers, of which each connection gets the next: a load balancer.
    ///
    /// # Panics
    ///
    /// If no port can be bound.
    pub fn balance(servers: &[Endpoint]) -> Self {
        let port = Port::reserve().expect("a free port");
        let addr = (Ipv4Addr::LOCALHOST, port.number()).into();
        let proxy = Self {
            listening: Mutex::default(),
            endpoint: Endpoint::Tcp(addr),
            shared: Arc::default(),
            port,
        };
        proxy.set_servers(servers);
        proxy.admit();
        proxy
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.endpoint.addr()
    }

    /// The address that it listens on.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sets the servers that it connects to from now on, in turn.
    pub fn set_servers(&self, servers: &[Endpoint]) {
        *lock(&self.shared.servers) = servers.to_vec();
    }

    /// The faults of future connections.
    pub fn faults(&self) -> &FaultPlan {
        &self.shared.faults
    }

    /// The times at which it accepted connections, including those that it reset at once; oldest first.
    pub fn accepted(&self) -> Vec<Instant> {
        lock(&self.shared.accepted).clone()
    }

    /// Ends every open connection, on both sides; continues to listen.
    pub fn cut(&self) {
        self.shared.cuts.fetch_add(1, Ordering::SeqCst);
        if let Some(listening) = &*lock(&self.listening) {
            listening.cut();
        }
    }

    /// Holds all bytes, in both directions; connections stay open, new ones are accepted.
    pub fn pause(&self) {
        self.shared.gate.set(true);
    }

    /// Lets bytes pass again, starting with those held.
    pub fn resume(&self) {
        self.shared.gate.set(false);
    }

    /// Ends every open connection with RST, and each new one as soon as it is accepted.
    pub fn reset(&self) {
        self.shared.resets.store(true, Ordering::SeqCst);
        self.shared.cuts.fetch_add(1, Ordering::SeqCst);
        if let Some(listening) = &*lock(&self.listening) {
            listening.reset();
        }
    }

    /// Ends every open connection, and makes the system refuse new ones, because there is no listener.
    pub fn refuse(&self) {
        let listening = lock(&self.listening).take();
        self.shared.cuts.fetch_add(1, Ordering::SeqCst);
        drop(listening);
    }

    /// Accepts connections again, after [`reset`](Self::reset) or [`refuse`](Self::refuse).
    ///
    /// # Panics
    ///
    /// If the port, which is reserved, cannot be bound.
    pub fn admit(&self) {
        self.shared.resets.store(false, Ordering::SeqCst);
        let mut listening = lock(&self.listening);
        if listening.is_none() {
            let serving = Arc::clone(&self.shared);
            let started = Listening::start(&Bind::V4(self.port.number()), move |client, stop| {
                serving.serve(&client, stop);
            });
            *listening = Some(started.expect("the reserved port"));
        }
    }
}

impl Shared {
    fn serve(&self, client: &Socket, stop: &Stop) {
        lock(&self.accepted).push(Instant::now());
        let cuts = self.cuts.load(Ordering::SeqCst);
        if self.resets.load(Ordering::SeqCst) {
            return client.reset_on_close();
        }
        // If the server cannot be reached, the client's connection is closed.
        let Some(server) = self.next_server() else {
            return;
        };
        if let Ok(upstream) = server.connect() {
            // This connection was cut, or the proxy ends: held bytes are no longer needed.
            let over = || stop.is_set() || self.cuts.load(Ordering::SeqCst) != cuts;
            self.relay(client, &upstream, stop, over);
        }
    }

    fn next_server(&self) -> Option<Endpoint> {
        let mut servers = lock(&self.servers);
        let next = servers.first().cloned();
        if !servers.is_empty() {
            servers.rotate_left(1);
        }
        next
    }

    fn relay(
        &self,
        client: &Socket,
        upstream: &Socket,
        stop: &Stop,
        over: impl Fn() -> bool + Copy + Send,
    ) {
        let fault = self.faults.take(Layer::Tcp);
        thread::scope(|scope| {
            scope.spawn(move || {
                self.copy(client.clone(), upstream.clone(), over);
                // The client ended: forward the end to the server, and do not wait for it if this connection was cut.
                upstream.shutdown(if over() {
                    Shutdown::Both
                } else {
                    Shutdown::Write
                });
            });
            let mut to_client = FaultyStream::new(client.clone(), fault, stop);
            self.copy(upstream.clone(), &mut to_client, over);
            upstream.shutdown(Shutdown::Read);
            if client.will_reset() {
                client.shutdown(Shutdown::Read); // so that the other thread lets go of the socket
            } else {
                to_client.close();
            }
        });
    }

    /// Copies bytes. They wait at the gate, and so does the end.
    fn copy(&self, mut from: impl Read, mut to: impl Write, over: impl Fn() -> bool) {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from.read(&mut buffer).unwrap_or(0);
            let open = self.gate.pass(&over);
            if count == 0 || !open || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    }
}

/// Holds threads while it is closed.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set(&self, closed: bool) {
        *lock(&self.closed) = closed;
        self.opened.notify_all();
    }

    /// Waits until it is open; returns true if that happened before `over` returned true.
    fn pass(&self, over: impl Fn() -> bool) -> bool {
        let mut closed = lock(&self.closed);
        while *closed {
            if over() {
                return false;
            }
            closed = self
                .opened
                .wait_timeout(closed, Duration::from_millis(10))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}
