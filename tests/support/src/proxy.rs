//! A TCP proxy that can cut, hold and spoil what passes between a client and any server.
//!
//! It stands in front of servers that the bench does not control (FerretDB, HAProxy) and simulates the
//! network between. A [`Fault`](crate::fault::Fault) of [`Layer::Tcp`] applies to the bytes that the
//! client receives; the proxy sees no messages, so [`Layer::Message`] means nothing here. Each
//! connection has two threads, one a direction; dropping the proxy ends them.

use crate::fault::{FaultPlan, FaultyStream, Layer, Transport};
use crate::net::{Bind, Endpoint, Listening, Socket, Stop, lock};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

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
/// ```
#[derive(Debug)]
pub struct Proxy {
    listening: Listening,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    faults: FaultPlan,
    gate: Gate,
    cuts: AtomicU64,
}

impl Proxy {
    /// Listens on `127.0.0.1` and any port, and connects on to `server`.
    ///
    /// # Panics
    ///
    /// If no port can be bound.
    pub fn start(server: &Endpoint) -> Self {
        let shared = Arc::new(Shared::default());
        let (server, serving) = (server.clone(), Arc::clone(&shared));
        let listening = Listening::start(&Bind::default(), move |client, stop| {
            // If the server cannot be reached, the client's connection just ends.
            if let Ok(upstream) = server.connect() {
                serving.relay(&client, &upstream, stop);
            }
        })
        .expect("a free port");
        Self { listening, shared }
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.listening.endpoint().addr()
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        self.listening.endpoint()
    }

    /// Which connections to come get a fault.
    pub fn faults(&self) -> &FaultPlan {
        &self.shared.faults
    }

    /// Ends every open connection, on both sides; goes on listening.
    pub fn cut(&self) {
        self.shared.cuts.fetch_add(1, Ordering::SeqCst);
        self.listening.cut();
    }

    /// Holds all bytes, in both directions; connections stay open, new ones are taken.
    pub fn pause(&self) {
        self.shared.gate.set(true);
    }

    /// Lets bytes pass again, those held first.
    pub fn resume(&self) {
        self.shared.gate.set(false);
    }
}

impl Shared {
    fn relay(&self, client: &Socket, upstream: &Socket, stop: &Stop) {
        let cuts = self.cuts.load(Ordering::SeqCst);
        let fault = self.faults.take(Layer::Tcp);
        thread::scope(|scope| {
            scope.spawn(|| {
                self.copy(client.clone(), upstream.clone(), stop);
                // The client ended: tell the server, and do not wait for it if we were cut.
                let cut = stop.is_set() || self.cuts.load(Ordering::SeqCst) != cuts;
                upstream.shutdown(if cut { Shutdown::Both } else { Shutdown::Write });
            });
            let mut to_client = FaultyStream::new(client.clone(), fault, stop);
            self.copy(upstream.clone(), &mut to_client, stop);
            upstream.shutdown(Shutdown::Read);
            if client.will_reset() {
                client.shutdown(Shutdown::Read); // so that the other thread lets go of the socket
            } else {
                to_client.close();
            }
        });
    }

    fn copy(&self, mut from: impl Read, mut to: impl Write, stop: &Stop) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            self.gate.pass(stop);
            if to.write_all(&buffer[..count]).is_err() {
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

    fn pass(&self, stop: &Stop) {
        let mut closed = lock(&self.closed);
        while *closed && !stop.is_set() {
            closed = self
                .opened
                .wait_timeout(closed, Duration::from_millis(10))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
