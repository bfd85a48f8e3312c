//! An OCSP responder in memory, over HTTP on the loopback interface, that misbehaves on request.
//!
//! It accepts GET and POST (RFC 6960 A.1), answers with the bytes that a test sets for a certificate, and records each
//! request with its problems. Three things can go wrong: the OCSP response (see [`OcspSpec`]), HTTP ([`Behaviour`]),
//! and the bytes on the wire ([`Fault`](crate::fault::Fault): a stall, a trickle, a reset, an end). Each connection has
//! a thread; dropping the responder ends them all.

mod behaviour;
mod request;

use crate::fault::{FaultPlan, FaultyStream, Layer};
use crate::http::{self, Log};
use crate::net::{Bind, Listening, Socket, Stop, lock};
use crate::pki::OcspSpec;
use openssl::ocsp::OcspResponseStatus;
use openssl::x509::X509Ref;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, BufReader, ErrorKind, Write};
use std::iter;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

pub(crate) use behaviour::page;

pub use behaviour::Behaviour;
pub use request::{CertId, Request};

/// A running OCSP responder.
///
/// Its URL is known before there is a certificate. For a certificate without a response it answers `unauthorized`, as
/// most responders do (RFC 5019 §2.2.3).
///
/// ```
/// use mongotls_testbench::fault::Fault;
/// use mongotls_testbench::ocsp::{Behaviour, Responder};
/// use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
///
/// let responder = Responder::start();
/// let ca = Ca::root("root", KeyKind::EcP256);
/// let server = ca.issue(LeafSpec::local_server().ocsp_url(&responder.url()));
/// responder.answer(&server.cert, ca.ocsp(&server.cert).build());
///
/// responder.behave_on("GET", Behaviour::Status(405));
/// responder.faults().next(1, Fault::stall_after(20));
/// assert_eq!(responder.count(), 0);
/// ```
#[derive(Debug)]
pub struct Responder {
    listening: Listening,
    shared: Arc<Shared>,
}

impl Responder {
    /// Listens on `127.0.0.1` and any port.
    ///
    /// # Panics
    ///
    /// If no port can be bound.
    pub fn start() -> Self {
        Self::start_on(&Bind::default()).expect("a free port")
    }

    /// Listens at a given address, for example on the port of a stopped responder, to simulate its return.
    ///
    /// # Errors
    ///
    /// Those of binding.
    pub fn start_on(bind: &Bind) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let listening = Listening::start(bind, move |socket, stop| {
            serving.connections.fetch_add(1, Ordering::SeqCst);
            // An error means that the client has disconnected, or that the bench has ended the connection.
            let _ = serving.serve(&socket, stop);
        })?;
        let url = format!("http://{}", listening.endpoint());
        shared.url.set(url).expect("a responder that starts once");
        Ok(Self { listening, shared })
    }

    /// Its URL, without a path and without a slash at the end; it answers under any path.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.listening.endpoint().addr()
    }

    /// Answers requests about `cert`, identified by its serial number, with these bytes.
    pub fn answer(&self, cert: &X509Ref, response: impl Into<Vec<u8>>) {
        let mut answers = lock(&self.shared.answers);
        let by_serial = &mut answers.by_serial;
        by_serial.insert(request::serial(cert), response.into());
    }

    /// Answers requests about all other certificates with these bytes.
    pub fn answer_all(&self, response: impl Into<Vec<u8>>) {
        lock(&self.shared.answers).otherwise = Some(response.into());
    }

    /// Answers every request with the result of `answer`, regardless of earlier settings.
    pub fn answer_with(&self, answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) {
        lock(&self.shared.answers).function = Some(Arc::new(answer));
    }

    /// Uses this behaviour from now on, regardless of earlier settings for methods or requests.
    pub fn behave(&self, behaviour: Behaviour) {
        *lock(&self.shared.manners) = Manners {
            next: VecDeque::new(),
            by_method: HashMap::new(),
            otherwise: behaviour,
        };
    }

    /// Uses this behaviour for requests with this method from now on.
    pub fn behave_on(&self, method: &str, behaviour: Behaviour) {
        let mut manners = lock(&self.shared.manners);
        manners.by_method.insert(method.into(), behaviour);
    }

    /// Uses this behaviour for the next `count` requests of any method; then the previous one.
    pub fn behave_next(&self, count: usize, behaviour: Behaviour) {
        let mut manners = lock(&self.shared.manners);
        manners.next.extend(iter::repeat_n(behaviour, count));
    }

    /// The faults on the wire of future connections ([`Layer::Tcp`]).
    ///
    /// Bytes are counted from the first of the first answer, so the request has always been read.
    pub fn faults(&self) -> &FaultPlan {
        &self.shared.faults
    }

    /// The requests so far. A request is recorded before its answer begins.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.list()
    }

    /// The number of requests.
    pub fn count(&self) -> usize {
        self.shared.log.count()
    }

    /// The number of connections, with or without a request.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until there were this many requests; returns true if there were.
    pub fn wait_for(&self, count: usize, limit: Duration) -> bool {
        self.shared.log.wait_for(count, limit)
    }

    /// Ends every open connection; continues to listen.
    pub fn cut(&self) {
        self.listening.cut();
    }
}

type Answer = Arc<dyn Fn(&Request) -> Vec<u8> + Send + Sync>;

#[derive(Debug, Default)]
struct Shared {
    url: OnceLock<String>,
    answers: Mutex<Answers>,
    manners: Mutex<Manners>,
    faults: FaultPlan,
    log: Log<Request>,
    connections: AtomicUsize,
}

#[derive(Default)]
struct Answers {
    by_serial: HashMap<Vec<u8>, Vec<u8>>,
    otherwise: Option<Vec<u8>>,
    function: Option<Answer>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers")
            .field("by_serial", &self.by_serial.len())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Manners {
    next: VecDeque<Behaviour>,
    by_method: HashMap<String, Behaviour>,
    otherwise: Behaviour,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            next: VecDeque::new(),
            by_method: HashMap::new(),
            otherwise: Behaviour::Sound,
        }
    }
}

impl Shared {
    fn serve(&self, socket: &Socket, stop: &Stop) -> io::Result<()> {
        let mut from = BufReader::new(socket.clone());
        let mut to = FaultyStream::new(socket.clone(), None, stop);
        let mut fault = self.faults.take(Layer::Tcp);
        loop {
            let http = match http::Request::read(&mut from) {
                Ok(Some(http)) => http,
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return to.write_all(&page(400, &[]));
                }
                Err(error) => return Err(error),
            };
            let request = Request::new(http);
            self.log.push(request.clone());
            if let Some(fault) = fault.take() {
                to.arm(fault.after, fault.action);
            }
            let url = self.url.get().map_or("", String::as_str);
            let response = self.response(&request);
            let behaviour = self.behaviour(&request);
            if !behaviour.answer(&mut to, &request, &response, url, stop)? {
                return Ok(());
            }
        }
    }

    fn response(&self, request: &Request) -> Vec<u8> {
        let function = lock(&self.answers).function.clone();
        if let Some(function) = function {
            return function(request); // without the lock: it may take its time
        }
        let Some(id) = request.cert_ids.first() else {
            return OcspSpec::failure(OcspResponseStatus::MALFORMED_REQUEST);
        };
        let answers = lock(&self.answers);
        let known = answers.by_serial.get(&id.serial);
        known
            .or(answers.otherwise.as_ref())
            .cloned()
            .unwrap_or_else(|| OcspSpec::failure(OcspResponseStatus::UNAUTHORIZED))
    }

    fn behaviour(&self, request: &Request) -> Behaviour {
        let mut manners = lock(&self.manners);
        if let Some(next) = manners.next.pop_front() {
            return next;
        }
        let by_method = manners.by_method.get(&request.http.method);
        by_method.unwrap_or(&manners.otherwise).clone()
    }
}
