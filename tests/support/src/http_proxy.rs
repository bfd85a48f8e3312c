//! An HTTP proxy, for tests of a client's use of `http_proxy`.
//!
//! It receives requests in absolute form (RFC 9112 §3.2.2), records them, and forwards them, but never beyond the
//! loopback interface; or it only records them. Each connection has a thread; dropping the proxy ends them all.

use crate::fault::{FaultPlan, FaultyStream, Layer};
use crate::http::{Log, Request};
use crate::net::{Bind, Endpoint, Listening, Socket, Stop, is_timeout};
use crate::ocsp::page;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A running HTTP proxy.
///
/// ```
/// use mongotls_testbench::http_proxy::HttpProxy;
/// use mongotls_testbench::ocsp::Responder;
///
/// let responder = Responder::start();
/// // Whatever name the URL has: only the proxy knows the way to it.
/// let proxy = HttpProxy::to(responder.addr());
/// let http_proxy = proxy.url();
/// assert_eq!(proxy.count(), 0);
/// ```
#[derive(Debug)]
pub struct HttpProxy {
    listening: Listening,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Way {
    ByName,
    To(SocketAddr),
    Nowhere(u16),
    Tunnel(SocketAddr),
}

#[derive(Debug)]
struct Shared {
    way: Way,
    authorization: Option<String>,
    log: Log<Request>,
    faults: FaultPlan,
}

impl HttpProxy {
    /// Forwards to the host in the URL if that is on the loopback interface, otherwise answers 502.
    pub fn start() -> Self {
        Self::serve(Way::ByName, None)
    }

    /// Forwards everything to this address, for any host in the URL.
    pub fn to(addr: SocketAddr) -> Self {
        Self::serve(Way::To(addr), None)
    }

    /// Forwards nothing, and answers with this status.
    pub fn answering(status: u16) -> Self {
        Self::serve(Way::Nowhere(status), None)
    }

    /// Forwards everything to this address for requests with this `user:password`; answers others with 407.
    pub fn with_password(addr: SocketAddr, credentials: &str) -> Self {
        let encoded = openssl::base64::encode_block(credentials.as_bytes());
        Self::serve(Way::To(addr), Some(format!("Basic {encoded}")))
    }

    /// Accepts `CONNECT` to any host, and tunnels to this address (RFC 9110 §9.3.6).
    pub fn tunnel_to(addr: SocketAddr) -> Self {
        Self::serve(Way::Tunnel(addr), None)
    }

    fn serve(way: Way, authorization: Option<String>) -> Self {
        let shared = Arc::new(Shared {
            way,
            authorization,
            log: Log::default(),
            faults: FaultPlan::default(),
        });
        let serving = Arc::clone(&shared);
        let listening = Listening::start(&Bind::default(), move |socket, stop| {
            // An error means that the client has disconnected, or that the bench has ended the connection.
            let _ = serving.relay(&socket, stop);
        })
        .expect("a free port");
        Self { listening, shared }
    }

    /// Its URL, in the form of `http_proxy`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.listening.endpoint().addr()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.list()
    }

    /// The number of requests.
    pub fn count(&self) -> usize {
        self.shared.log.count()
    }

    /// Waits until there were this many requests; returns true if there were.
    pub fn wait_for(&self, count: usize, limit: Duration) -> bool {
        self.shared.log.wait_for(count, limit)
    }

    /// The faults on the wire of future connections, counted from the first byte of the answer.
    pub fn faults(&self) -> &FaultPlan {
        &self.shared.faults
    }
}

impl Shared {
    /// Serves one request per connection.
    fn relay(&self, client: &Socket, stop: &Stop) -> io::Result<()> {
        let mut to = FaultyStream::new(client.clone(), None, stop);
        let request = match Request::read(&mut BufReader::new(client.clone())) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return to.write_all(&page(400, &[]));
            }
            Err(error) => return Err(error),
        };
        self.log.push(request.clone());
        if let Some(fault) = self.faults.take(Layer::Tcp) {
            to.arm(fault.after, fault.action);
        }
        let credentials = request.header("Proxy-Authorization");
        if self.authorization.is_some() && credentials != self.authorization.as_deref() {
            let challenge = "Proxy-Authenticate: Basic realm=\"testbench\"";
            return to.write_all(&page(407, &[challenge]));
        }
        if let (Way::Tunnel(addr), "CONNECT") = (&self.way, request.method.as_str()) {
            let upstream = Endpoint::Tcp(*addr).connect()?;
            to.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            return tunnel(client, &upstream, stop);
        }
        // `CONNECT` and paths have no absolute form: a proxy of plain HTTP does not accept them.
        let Some((authority, path)) = absolute(&request.target) else {
            return to.write_all(&page(400, &[]));
        };
        let addr = match &self.way {
            Way::Tunnel(_) => return to.write_all(&page(405, &[])),
            Way::Nowhere(status) => return to.write_all(&page(*status, &[])),
            Way::To(addr) => Some(*addr),
            Way::ByName => loopback(authority),
        };
        match addr.and_then(|addr| Endpoint::Tcp(addr).connect().ok()) {
            Some(upstream) => exchange(&request, path, upstream, &mut to, stop),
            None => to.write_all(&page(502, &[])),
        }
    }
}

/// Copies bytes in both directions until either side ends.
pub(crate) fn tunnel(client: &Socket, upstream: &Socket, stop: &Stop) -> io::Result<()> {
    let over = AtomicBool::new(false);
    let carry = |mut from: Socket, mut to: Socket| -> io::Result<()> {
        from.set_read_timeout(Some(Duration::from_millis(20)));
        let mut buffer = vec![0; 16 * 1024];
        while !stop.is_set() && !over.load(Ordering::Relaxed) {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => to.write_all(&buffer[..count])?,
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        over.store(true, Ordering::Relaxed);
        Ok(())
    };
    thread::scope(|scope| {
        let there = scope.spawn(|| carry(client.clone(), upstream.clone()));
        let back = carry(upstream.clone(), client.clone());
        over.store(true, Ordering::Relaxed);
        there.join().expect("no panic").and(back)
    })
}

/// Forwards the request in origin form, and copies the answer until its end.
fn exchange(
    request: &Request,
    path: &str,
    mut upstream: Socket,
    to: &mut impl Write,
    stop: &Stop,
) -> io::Result<()> {
    let mut head = format!("{} {path} HTTP/1.1\r\n", request.method);
    for (name, value) in &request.headers {
        let name_of_hop = name.to_ascii_lowercase();
        if !name_of_hop.starts_with("proxy-") && name_of_hop != "connection" {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str("Connection: close\r\n\r\n");
    upstream.write_all(&[head.as_bytes(), &request.body].concat())?;
    upstream.set_read_timeout(Some(Duration::from_millis(20)));
    let mut buffer = vec![0; 16 * 1024];
    while !stop.is_set() {
        match upstream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Host with port, and path, of an `http` URL.
fn absolute(target: &str) -> Option<(&str, &str)> {
    let rest = target.strip_prefix("http://")?;
    Some(match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    })
}

fn loopback(authority: &str) -> Option<SocketAddr> {
    let with_port = authority.to_socket_addrs();
    let addrs = with_port.or_else(|_| (authority, 80).to_socket_addrs());
    addrs.ok()?.find(|addr| addr.ip().is_loopback())
}
