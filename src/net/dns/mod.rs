//! SRV and TXT records, which the system's resolver has no portable call for: a stub resolver.
//!
//! It asks the name servers of `/etc/resolv.conf`, or one that the program sets, by UDP and, where the answer does
//! not fit, by TCP. Each query has a random id and a port of its own, and only the answer of the server asked counts
//! that has the same id and question (RFC 5452). Servers are tried in turn, and again (`options timeout:` and
//! `attempts:`), until the deadline. Search domains are not used, and nothing is kept: the system's own cache, if it
//! has one, is the name server.

mod message;

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use openssl::rand::rand_bytes;
use resolv_conf::{Config, ScopedIp};

use self::message::{Kind, Query, Record, Reply};
use crate::fork;
use crate::time::{Deadline, Elapsed};

/// Who is asked, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
    /// How long one server has for one answer.
    timeout: Duration,
    /// How often each server is asked.
    attempts: u32,
}

/// Why there are no records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// No server gave an answer.
    Unanswered {
        /// Of each server asked, what came of it last.
        troubles: Vec<(SocketAddr, Trouble)>,
        /// The deadline, if it ended the search.
        elapsed: Option<Elapsed>,
    },
    /// The name is none that DNS can hold, or there is no randomness to be had: nobody was asked.
    NotAsked(String),
}

/// What came of asking a server. `Display` prints the end of a sentence that begins with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It answered with a code, such as SERVFAIL.
    Code(&'static str),
    /// Nothing came that answers the query; `foreign` messages came instead.
    Silent { foreign: u32 },
    /// The system could not send or receive.
    Io(ErrorKind),
    /// It cannot answer by TCP what it cannot answer by UDP.
    Truncated,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "answered {code}"),
            Self::Silent { foreign: 0 } => f.write_str("did not answer in time"),
            Self::Silent { foreign } => write!(
                f,
                "did not answer in time; {foreign} message(s) came that do not answer the query"
            ),
            Self::Io(kind) => write!(f, "could not be asked: {kind}"),
            Self::Truncated => f.write_str("gave no whole answer by TCP either"),
        }
    }
}

impl Resolver {
    /// Asks `server` alone or, without one, those of `/etc/resolv.conf`; 127.0.0.1 if it names none.
    pub(crate) fn new(server: Option<SocketAddr>) -> Self {
        match server {
            Some(server) => Self::of(&Config::new(), vec![server]),
            None => {
                let mut text = Vec::new();
                // What cannot be read names no server.
                if let Ok(file) = File::open("/etc/resolv.conf") {
                    let _ = file.take(MAX_CONFIG).read_to_end(&mut text);
                }
                Self::configured(&text)
            }
        }
    }

    /// The text of a `resolv.conf`; lines that make no sense are passed over, as elsewhere.
    fn configured(text: &[u8]) -> Self {
        let (config, _) = Config::parse_with_errors(text);
        let servers = config.nameservers.iter().map(|server| match server {
            ScopedIp::V4(address) => address.to_string(),
            ScopedIp::V6(address, None) => address.to_string(),
            ScopedIp::V6(address, Some(zone)) => format!("{address}%{zone}"),
        });
        let mut servers: Vec<SocketAddr> = servers
            .take(MAX_SERVERS)
            .filter_map(|server| name_server(&server))
            .collect();
        if servers.is_empty() {
            servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
        }
        Self::of(&config, servers)
    }

    fn of(config: &Config, servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            timeout: Duration::from_secs(config.timeout.clamp(1, 30).into()),
            attempts: config.attempts.clamp(1, 5),
        }
    }

    /// Who is asked, in their order.
    pub(crate) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// The targets and ports of the SRV records at `name`, empty if it has none; and how long all of them may be
    /// remembered.
    pub(crate) fn srv(
        &self,
        name: &str,
        deadline: &Deadline,
    ) -> Result<(Vec<(String, u16)>, Duration), Failure> {
        let records = self.look_up(name, Kind::Srv, deadline)?.into_iter();
        let mut shortest = None;
        let srv = records.filter_map(|record| match record {
            Record::Srv { target, port, ttl } => {
                shortest = Some(shortest.map_or(ttl, |shortest: u32| shortest.min(ttl)));
                Some((target, port))
            }
            Record::Txt(_) => None,
        });
        let srv = srv.collect();
        Ok((srv, Duration::from_secs(shortest.unwrap_or(0).into())))
    }

    /// The TXT records at `name`, the strings of each joined, or none where they are not UTF-8; empty if it has none.
    pub(crate) fn txt(
        &self,
        name: &str,
        deadline: &Deadline,
    ) -> Result<Vec<Option<String>>, Failure> {
        let records = self.look_up(name, Kind::Txt, deadline)?.into_iter();
        let txt = records.filter_map(|record| match record {
            Record::Txt(text) => Some(text),
            Record::Srv { .. } => None,
        });
        Ok(txt.collect())
    }

    fn look_up(&self, name: &str, kind: Kind, deadline: &Deadline) -> Result<Vec<Record>, Failure> {
        let query = Query { name, kind };
        let mut troubles: Vec<(SocketAddr, Trouble)> = Vec::new();
        for _ in 0..self.attempts {
            for &server in &self.servers {
                let now = Instant::now();
                let left = match deadline.remaining(now) {
                    Ok(left) => left.unwrap_or(self.timeout),
                    Err(elapsed) => {
                        return Err(Failure::Unanswered {
                            troubles,
                            elapsed: Some(elapsed),
                        });
                    }
                };
                let until = now + left.min(self.timeout);
                let trouble = match ask(&query, server, until) {
                    Ok(records) => return Ok(records),
                    Err(Unsuccessful::NoSuchName) => return Err(Failure::NoSuchName),
                    Err(Unsuccessful::NotAsked(why)) => return Err(Failure::NotAsked(why)),
                    Err(Unsuccessful::Trouble(trouble)) => trouble,
                };
                crate::logging::debug!(target: "mongotls::dns", "{} {name}: name server {server} {trouble}", kind.as_str());
                match troubles.iter_mut().find(|(known, _)| *known == server) {
                    Some(known) => known.1 = trouble,
                    None => troubles.push((server, trouble)),
                }
            }
        }
        let elapsed = deadline.remaining(Instant::now()).err();
        Err(Failure::Unanswered { troubles, elapsed })
    }
}

/// A line of `resolv.conf`: an address, which may have a zone that only the system knows.
fn name_server(address: &str) -> Option<SocketAddr> {
    if let Ok(address) = address.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, PORT));
    }
    let (bare, _) = address.split_once('%')?;
    bare.parse::<Ipv6Addr>().ok()?;
    // No name server is asked about an address.
    let hints = dns_lookup::AddrInfoHints {
        socktype: dns_lookup::SockType::DGram.into(),
        ..Default::default()
    };
    let mut found = dns_lookup::getaddrinfo(Some(address), None, Some(hints)).ok()?;
    let mut found = found.next()?.ok()?.sockaddr;
    found.set_port(PORT);
    Some(found)
}

/// Why a server gave no records.
enum Unsuccessful {
    NoSuchName,
    NotAsked(String),
    Trouble(Trouble),
}

impl From<Trouble> for Unsuccessful {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<io::Error> for Unsuccessful {
    fn from(error: io::Error) -> Self {
        Self::Trouble(match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Trouble::Silent { foreign: 0 },
            kind => Trouble::Io(kind),
        })
    }
}

/// Asks one server: with EDNS, and without where that is not understood; by TCP where UDP does not do.
fn ask(query: &Query<'_>, server: SocketAddr, until: Instant) -> Result<Vec<Record>, Unsuccessful> {
    let mut edns = true;
    let mut tcp = false;
    loop {
        let mut id = [0; 2];
        let drawn = {
            let _at_work = fork::at_work();
            rand_bytes(&mut id)
        };
        drawn.map_err(|error| {
            Unsuccessful::NotAsked(format!("OpenSSL has no random bytes: {error}"))
        })?;
        let id = u16::from_ne_bytes(id);
        let bytes = query
            .bytes(id, edns)
            .map_err(|error| Unsuccessful::NotAsked(format!("it is no name for DNS: {error}")))?;
        let reply = match tcp {
            true => query.read(id, &by_tcp(&bytes, server, until)?),
            false => by_udp(query, id, &bytes, server, until)?,
        };
        match reply {
            Reply::Records(records) => return Ok(records),
            Reply::NoSuchName => return Err(Unsuccessful::NoSuchName),
            Reply::NotUnderstood(_) if edns => edns = false,
            Reply::Truncated if !tcp => tcp = true,
            Reply::Truncated => return Err(Trouble::Truncated.into()),
            Reply::NotUnderstood(code) | Reply::Refused(code) => {
                return Err(Trouble::Code(code).into());
            }
            Reply::Foreign => return Err(Trouble::Silent { foreign: 1 }.into()),
        }
    }
}

/// Waits for the answer from that very address; the system drops what comes from another.
fn by_udp(
    query: &Query<'_>,
    id: u16,
    bytes: &[u8],
    server: SocketAddr,
    until: Instant,
) -> Result<Reply, Unsuccessful> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(bytes)?;
    let mut buffer = [0; UDP_BUFFER];
    let mut foreign = 0_u32;
    loop {
        let Some(left) = left(until) else {
            return Err(Trouble::Silent { foreign }.into());
        };
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        match query.read(id, &buffer[..length]) {
            // It may be another's: the right one may still come.
            Reply::Foreign => foreign = foreign.saturating_add(1),
            reply => return Ok(reply),
        }
    }
}

/// RFC 1035 §4.2.2: two bytes of length before each message.
fn by_tcp(bytes: &[u8], server: SocketAddr, until: Instant) -> Result<Vec<u8>, Unsuccessful> {
    let limit = left(until).ok_or(Trouble::Silent { foreign: 0 })?;
    let mut stream = TcpStream::connect_timeout(&server, limit)?;
    let length = u16::try_from(bytes.len()).map_err(|_| Trouble::Io(ErrorKind::InvalidInput))?;
    let framed = [&length.to_be_bytes(), bytes].concat();
    stream.set_write_timeout(left(until).or(Some(Duration::from_millis(1))))?;
    stream.write_all(&framed)?;
    let mut length = [0; 2];
    read_exact(&mut stream, &mut length, until)?;
    // At most 64 KiB, by the size of the prefix.
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    read_exact(&mut stream, &mut message, until)?;
    Ok(message)
}

fn read_exact(
    stream: &mut TcpStream,
    mut buffer: &mut [u8],
    until: Instant,
) -> Result<(), Unsuccessful> {
    while !buffer.is_empty() {
        let left = left(until).ok_or(Trouble::Silent { foreign: 0 })?;
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Ok(0) => return Err(Trouble::Io(ErrorKind::UnexpectedEof).into()),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether to look at the clock and to wait on.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn left(until: Instant) -> Option<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

const PORT: u16 = 53;

/// As many as other resolvers ask.
const MAX_SERVERS: usize = 3;

/// More than is asked for, since not every server keeps to that; what is longer still is cut, and does not parse.
const UDP_BUFFER: usize = 4096;

/// More than anybody writes into `resolv.conf`.
const MAX_CONFIG: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Vec<String> {
        let resolver = Resolver::configured(text.as_bytes());
        resolver.servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn name_servers_come_from_resolv_conf() {
        assert_eq!(servers(""), ["127.0.0.1:53"]);
        assert_eq!(
            servers("# text\nnameserver 192.0.2.1\nnonsense\nnameserver ::1\nnameserver x\n"),
            ["192.0.2.1:53", "[::1]:53"]
        );
        let many = "nameserver 192.0.2.1\n".repeat(9);
        assert_eq!(servers(&many).len(), 3);
    }

    #[test]
    fn patience_comes_from_there_too_within_bounds() {
        let patience = |text: &str| {
            let resolver = Resolver::configured(text.as_bytes());
            (resolver.timeout.as_secs(), resolver.attempts)
        };
        assert_eq!(patience(""), (5, 2));
        assert_eq!(patience("options timeout:1 attempts:3\n"), (1, 3));
        assert_eq!(patience("options timeout:0 attempts:0\n"), (1, 1));
        assert_eq!(patience("options timeout:9999 attempts:9999\n"), (30, 5));
    }

    #[test]
    fn a_server_of_the_program_s_is_the_only_one() {
        let server = "192.0.2.7:5353".parse().unwrap();
        assert_eq!(Resolver::new(Some(server)).servers(), [server]);
    }
}
