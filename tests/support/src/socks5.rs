//! A SOCKS5 proxy (RFC 1928, RFC 1929) that records its requests, and misbehaves on request.
//!
//! It connects to the address that the test sets for a name, or otherwise to loopback addresses, and never beyond the
//! loopback interface. A [`Fault`](crate::fault::Fault) of [`Layer::Tcp`] counts the bytes of its own answers, from the
//! first on; [`Misbehaviour`] is for answers that are complete and wrong. Each connection has a thread; dropping the
//! proxy ends them all.

use crate::fault::{FaultPlan, FaultyStream, Layer};
use crate::http_proxy::tunnel;
use crate::net::{Bind, Endpoint, Listening, Socket, Stop, lock};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A running SOCKS5 proxy.
///
/// ```
/// use mongotls_testbench::server::Server;
/// use mongotls_testbench::socks5::Socks5Proxy;
///
/// let server = Server::builder().start();
/// // Only the proxy knows that name.
/// let proxy = Socks5Proxy::builder()
///     .name("db.example.com", server.addr())
///     .start();
/// let uri = format!("mongodb://db.example.com/?{}", proxy.options());
/// assert_eq!(proxy.visits().len(), 0);
/// ```
#[derive(Debug)]
pub struct Socks5Proxy {
    listening: Listening,
    shared: Arc<Shared>,
}

/// The settings of a proxy, before it starts.
#[derive(Clone, Debug, Default)]
pub struct Socks5ProxyBuilder {
    bind: Bind,
    names: Vec<(String, SocketAddr)>,
    login: Option<(String, String)>,
}

/// The request of a client, as far as it was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visit {
    /// The methods of authentication that it offered.
    pub methods: Vec<u8>,
    /// User and password, if the proxy requested them.
    pub login: Option<(String, String)>,
    /// The type of the address of the server: 1 for IPv4, 3 for a name, 4 for IPv6; 0 if the client did not request
    /// one.
    pub address_type: u8,
    /// The server's name or address.
    pub host: String,
    /// The server's port.
    pub port: u16,
}

/// A wrong answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// These bytes instead of the choice of a method, then the end.
    Greeting(Vec<u8>),
    /// This choice of a method, for any offer, and its exchange.
    Method(u8),
    /// These bytes as the answer to user and password, then the end.
    Login(Vec<u8>),
    /// These bytes instead of a reply; then the end, unless the bytes report success.
    Reply(Vec<u8>),
    /// The reply in one piece with the first bytes of the server, which must send first.
    WithServersBytes,
}

#[derive(Debug)]
struct Shared {
    settings: Socks5ProxyBuilder,
    misbehaviour: Mutex<Option<Misbehaviour>>,
    visits: Visits,
    faults: FaultPlan,
}

/// Each is recorded when the greeting has come, and completed before the proxy answers.
#[derive(Debug, Default)]
struct Visits {
    list: Mutex<Vec<Visit>>,
    changed: Condvar,
}

impl Socks5ProxyBuilder {
    /// Listens there, instead of on `127.0.0.1` and any port.
    pub fn bind(mut self, bind: Bind) -> Self {
        self.bind = bind;
        self
    }

    /// Connects to this address for that name, or that address as text, and any port.
    pub fn name(mut self, name: &str, addr: SocketAddr) -> Self {
        self.names.push((name.to_owned(), addr));
        self
    }

    /// Rejects clients without this user and password.
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// If no port can be bound.
    pub fn start(self) -> Socks5Proxy {
        let bind = self.bind.clone();
        let shared = Arc::new(Shared {
            settings: self,
            misbehaviour: Mutex::default(),
            visits: Visits::default(),
            faults: FaultPlan::default(),
        });
        let serving = Arc::clone(&shared);
        let listening = Listening::start(&bind, move |socket, stop| {
            // An error means that the client has disconnected, or that the bench has ended the connection.
            let _ = serving.serve(&socket, stop);
        })
        .expect("a free port");
        Socks5Proxy { listening, shared }
    }
}

impl Socks5Proxy {
    /// Starts a proxy that accepts every client, and resolves only the system's names of loopback addresses.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Settings to change.
    pub fn builder() -> Socks5ProxyBuilder {
        Socks5ProxyBuilder::default()
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.listening.endpoint().addr()
    }

    /// The options of a connection string for this proxy, without a user.
    pub fn options(&self) -> String {
        let addr = self.addr();
        format!("proxyHost={}&proxyPort={}", addr.ip(), addr.port())
    }

    /// The requests of clients, in the order in which their greetings came.
    pub fn visits(&self) -> Vec<Visit> {
        lock(&self.shared.visits.list).clone()
    }

    /// Waits until `are` returns true for the visits; returns true if it did.
    pub fn wait_until(&self, limit: Duration, are: impl Fn(&[Visit]) -> bool) -> bool {
        let visits = &self.shared.visits;
        let list = lock(&visits.list);
        let (list, _) = visits
            .changed
            .wait_timeout_while(list, limit, |list| !are(list))
            .unwrap_or_else(PoisonError::into_inner);
        are(&list)
    }

    /// Misbehaves in this way from now on.
    pub fn misbehave(&self, how: Misbehaviour) {
        *lock(&self.shared.misbehaviour) = Some(how);
    }

    /// Answers CONNECT with this code.
    pub fn reply_with(&self, code: u8) {
        self.misbehave(Misbehaviour::Reply(vec![
            VERSION, code, 0, IPV4, 0, 0, 0, 0, 0, 0,
        ]));
    }

    /// Behaves correctly from now on.
    pub fn behave(&self) {
        *lock(&self.shared.misbehaviour) = None;
        self.shared.faults.clear();
    }

    /// The faults of its answers to future connections, counted from the first byte of the first answer.
    pub fn faults(&self) -> &FaultPlan {
        &self.shared.faults
    }
}

impl Visits {
    fn begin(&self, visit: Visit) -> usize {
        let mut list = lock(&self.list);
        list.push(visit);
        self.changed.notify_all();
        list.len() - 1
    }

    fn update(&self, number: usize, visit: &Visit) {
        lock(&self.list)[number] = visit.clone();
        self.changed.notify_all();
    }
}

impl Shared {
    fn serve(&self, client: &Socket, stop: &Stop) -> io::Result<()> {
        let fault = self.faults.take(Layer::Tcp);
        let mut to = FaultyStream::new(client.clone(), fault, stop);
        let how = lock(&self.misbehaviour).clone();
        match self.handshake(client, &mut to, how.as_ref())? {
            Some(upstream) => tunnel(client, &upstream, stop),
            None => Ok(()),
        }
    }

    /// Runs the exchange with the client up to the reply; returns the connection to the server, if there is one.
    fn handshake(
        &self,
        mut from: &Socket,
        to: &mut impl Write,
        how: Option<&Misbehaviour>,
    ) -> io::Result<Option<Socket>> {
        let [version, count] = array(&mut from)?;
        if version != VERSION {
            return Ok(None);
        }
        let mut visit = Visit {
            methods: bytes(&mut from, count)?,
            ..Visit::default()
        };
        let number = self.visits.begin(visit.clone());
        let wanted = if self.settings.login.is_some() { 2 } else { 0 };
        let method = match how {
            Some(Misbehaviour::Greeting(answer)) => {
                to.write_all(answer)?;
                return Ok(None);
            }
            Some(Misbehaviour::Method(method)) => *method,
            _ if visit.methods.contains(&wanted) => wanted,
            _ => NO_ACCEPTABLE_METHOD,
        };
        to.write_all(&[VERSION, method])?;
        match method {
            0 => {}
            2 => {
                let [_, length] = array(&mut from)?;
                let user = text(&bytes(&mut from, length)?);
                let [length] = array(&mut from)?;
                let login = (user, text(&bytes(&mut from, length)?));
                let is_known = self.settings.login.as_ref() == Some(&login);
                visit.login = Some(login);
                self.visits.update(number, &visit);
                if let Some(Misbehaviour::Login(answer)) = how {
                    to.write_all(answer)?;
                    return Ok(None);
                }
                to.write_all(&[LOGIN_VERSION, u8::from(!is_known)])?;
                if !is_known {
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        }
        let [_, command, _, kind] = array(&mut from)?;
        visit.address_type = kind;
        visit.host = match kind {
            IPV4 => Ipv4Addr::from(array::<4>(&mut from)?).to_string(),
            IPV6 => Ipv6Addr::from(array::<16>(&mut from)?).to_string(),
            NAME => {
                let [length] = array(&mut from)?;
                text(&bytes(&mut from, length)?)
            }
            _ => return Err(ErrorKind::InvalidData.into()),
        };
        visit.port = u16::from_be_bytes(array(&mut from)?);
        self.visits.update(number, &visit);
        if command != CONNECT {
            to.write_all(&reply(COMMAND_NOT_SUPPORTED))?;
            return Ok(None);
        }
        self.answer(to, how, &visit)
    }

    /// The reply, and the connection to the server.
    fn answer(
        &self,
        to: &mut impl Write,
        how: Option<&Misbehaviour>,
        visit: &Visit,
    ) -> io::Result<Option<Socket>> {
        if let Some(Misbehaviour::Reply(answer)) = how {
            if answer.get(1) != Some(&0) {
                to.write_all(answer)?;
                return Ok(None);
            }
        }
        let addresses = self.find(&visit.host, visit.port);
        if addresses.is_empty() {
            to.write_all(&reply(HOST_UNREACHABLE))?;
            return Ok(None);
        }
        // A server may listen on only one address of its name, as with `localhost`.
        let mut upstreams = addresses
            .into_iter()
            .map(|addr| Endpoint::Tcp(addr).connect());
        let Some(mut upstream) = upstreams.find_map(io::Result::ok) else {
            to.write_all(&reply(CONNECTION_REFUSED))?;
            return Ok(None);
        };
        let mut answer = match how {
            Some(Misbehaviour::Reply(answer)) => answer.clone(),
            _ => reply(0),
        };
        if let Some(Misbehaviour::WithServersBytes) = how {
            let mut first = [0; 1024];
            let count = upstream.read(&mut first)?;
            answer.extend_from_slice(&first[..count]);
        }
        to.write_all(&answer)?;
        Ok(Some(upstream))
    }

    /// The loopback addresses of a name; others are not used.
    fn find(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        let known = self.settings.names.iter().find(|(name, _)| name == host);
        let mut addresses = match (known, host.parse::<IpAddr>()) {
            (Some((_, addr)), _) => vec![*addr],
            (None, Ok(ip)) => vec![SocketAddr::new(ip, port)],
            (None, Err(_)) => match (host, port).to_socket_addrs() {
                Ok(found) => found.collect(),
                Err(_) => Vec::new(),
            },
        };
        addresses.retain(|addr| addr.ip().is_loopback());
        addresses
    }
}

fn reply(code: u8) -> Vec<u8> {
    vec![VERSION, code, 0, IPV4, 127, 0, 0, 1, 0x04, 0x38]
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    from.read_exact(&mut array)?;
    Ok(array)
}

fn bytes(from: &mut impl Read, count: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(count)];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_ACCEPTABLE_METHOD: u8 = 0xFF;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
const HOST_UNREACHABLE: u8 = 4;
const CONNECTION_REFUSED: u8 = 5;
const COMMAND_NOT_SUPPORTED: u8 = 7;
