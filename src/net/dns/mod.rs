//! A stub resolver for SRV and TXT records: the system's resolver has no portable call for them.
//!
//! It queries the name servers of `/etc/resolv.conf`, or one that the program sets, by UDP. If the answer does not fit
//! or was damaged on the way, it uses TCP. Queries have no EDNS record, which some servers and middleboxes drop, refuse
//! or damage; one is used only if an answer is too long and TCP fails. Each query has a random id and a port of its own.
//! An answer counts only if it comes from the queried server and has the same id and question (RFC 5452).
//!
//! Servers are tried in turn, in several rounds (`options timeout:` and `attempts:`), until the deadline. The remaining
//! time is divided among the remaining turns, so that one dead server does not use it up. The server that answered is
//! the first one for the next name. Search domains are not used, and nothing is cached: the system's own cache, if it has
//! one, is the name server.

mod message;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::rand::rand_bytes;
use resolv_conf::{Config, ScopedIp};
use simple_dns::SimpleDnsError;

use self::message::{DnsQuery, DnsReply, Record, RecordType};
use super::connect::is_without_port;
use crate::ffi::fork;
use crate::limit::Limit;
use crate::reason::dns::{DnsFailure, NameServerError, QueryError};
use crate::time::{Deadline, Elapsed};

/// The name servers, and the timeout and attempts for each.
#[derive(Debug)]
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
    /// The timeout of one server for one answer.
    timeout: Duration,
    /// The number of queries to each server.
    attempts: u32,
    /// The index of the server that answered last, which comes first.
    first: AtomicUsize,
}

impl From<io::Error> for NameServerError {
    fn from(error: io::Error) -> Self {
        if let Some(limit) = Limit::of(&error) {
            return Self::Limited(limit);
        }
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Silent { foreign: 0 },
            kind => Self::Io(kind),
        }
    }
}

impl Resolver {
    /// Creates a resolver that queries only `server` or, without one, those of `/etc/resolv.conf`; 127.0.0.1 if it
    /// names none.
    ///
    /// # Errors
    /// The local limit that prevents reading that file.
    pub(crate) fn new(server: Option<SocketAddr>) -> Result<Self, Limit> {
        if let Some(server) = server {
            return Ok(Self::of(&Config::new(), vec![server]));
        }
        let mut text = Vec::new();
        let file = File::open("/etc/resolv.conf");
        let read = file.and_then(|file| file.take(MAX_CONFIG).read_to_end(&mut text));
        // If the file cannot be read for another reason, it counts as empty.
        if let Some(limit) = read.err().as_ref().and_then(Limit::of) {
            return Err(limit);
        }
        Self::configured(&text)
    }

    /// Parses the text of a `resolv.conf`; invalid lines are ignored, as in other resolvers.
    fn configured(text: &[u8]) -> Result<Self, Limit> {
        let (config, _) = Config::parse_with_errors(text);
        let servers = config.nameservers.iter().map(|server| match server {
            ScopedIp::V4(address) => address.to_string(),
            ScopedIp::V6(address, None) => address.to_string(),
            ScopedIp::V6(address, Some(zone)) => format!("{address}%{zone}"),
        });
        let servers: Vec<String> = servers.take(MAX_SERVERS).collect();
        let mut found: Vec<SocketAddr> = servers.iter().filter_map(|it| name_server(it)).collect();
        // The system needs a socket to look up the zone of an address.
        if found.len() < servers.len() {
            if let Some(limit) = Limit::of_descriptors() {
                return Err(limit);
            }
        }
        if found.is_empty() {
            found.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
        }
        Ok(Self::of(&config, found))
    }

    fn of(config: &Config, servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            timeout: Duration::from_secs(config.timeout.clamp(1, 30).into()),
            attempts: config.attempts.clamp(1, 5),
            first: AtomicUsize::new(0),
        }
    }

    /// The name servers, in the order of the configuration.
    pub(crate) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// The targets and ports of the SRV records at `name`, empty if it has none; and the time for which all of them may
    /// be cached.
    pub(crate) fn srv(
        &self,
        name: &str,
        deadline: &Deadline,
    ) -> Result<(Vec<(String, u16)>, Duration), DnsFailure> {
        let records = self.look_up(name, RecordType::Srv, deadline)?.into_iter();
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

    /// The TXT records at `name`, empty if it has none. The strings of each are joined; `None` if they are not UTF-8.
    pub(crate) fn txt(
        &self,
        name: &str,
        deadline: &Deadline,
    ) -> Result<Vec<Option<String>>, DnsFailure> {
        let records = self.look_up(name, RecordType::Txt, deadline)?.into_iter();
        let txt = records.filter_map(|record| match record {
            Record::Txt(text) => Some(text),
            Record::Srv { .. } => None,
        });
        Ok(txt.collect())
    }

    /// The records of a name, or of the name that its aliases lead to.
    fn look_up(
        &self,
        name: &str,
        kind: RecordType,
        deadline: &Deadline,
    ) -> Result<Vec<Record>, DnsFailure> {
        let not_a_name =
            |error: SimpleDnsError| DnsFailure::NotSent(QueryError::InvalidName(error.to_string()));
        let mut query = DnsQuery::new(name, kind).map_err(not_a_name)?;
        loop {
            match self.query_servers(&query, name, deadline)? {
                DnsAnswer::Records(records) => return Ok(records),
                DnsAnswer::NoSuchName => return Err(DnsFailure::NoSuchName),
                // Each step makes the chain longer, and its length is limited.
                DnsAnswer::Alias(target) => query = target,
            }
        }
    }

    /// The first reply of a server; `name` is for the log.
    fn query_servers(
        &self,
        query: &DnsQuery,
        name: &str,
        deadline: &Deadline,
    ) -> Result<DnsAnswer, DnsFailure> {
        let first = self.first.load(Ordering::Relaxed);
        let order = (0..self.servers.len()).map(|place| (first + place) % self.servers.len());
        let mut talks: Vec<(usize, Talk)> = order
            .filter_map(|index| Some((index, Talk::with(*self.servers.get(index)?))))
            .collect();
        let mut errors: Vec<(SocketAddr, NameServerError)> = Vec::new();
        let mut turns = self.attempts * u32::try_from(talks.len()).unwrap_or(u32::MAX);
        for _ in 0..self.attempts {
            for (index, talk) in &mut talks {
                let now = Instant::now();
                let share = match deadline.remaining(now) {
                    Ok(left) => left.map_or(self.timeout, |left| left / turns.max(1)),
                    Err(elapsed) => {
                        return Err(unanswered(errors, Some(elapsed)));
                    }
                };
                turns = turns.saturating_sub(1);
                let error = match talk.query_server(query, now + share.min(self.timeout)) {
                    Ok(answer) => {
                        self.first.store(*index, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(Unsuccessful::NotSent(error)) => return Err(DnsFailure::NotSent(error)),
                    Err(Unsuccessful::NameServer(error)) => error,
                };
                let (kind, server) = (query.kind().as_str(), talk.server);
                crate::logging::debug!(target: "mongotls::dns", "{kind} {name}: name server {server} {error}");
                match errors.iter_mut().find(|(known, _)| *known == server) {
                    Some(known) => known.1 = error,
                    None => errors.push((server, error)),
                }
            }
        }
        let elapsed = deadline.remaining(Instant::now()).err();
        Err(unanswered(errors, elapsed))
    }
}

/// The failure if no server answered. If this host could not query one of them, its limit is the reason.
fn unanswered(errors: Vec<(SocketAddr, NameServerError)>, elapsed: Option<Elapsed>) -> DnsFailure {
    let limit = errors.iter().find_map(|(_, error)| match error {
        NameServerError::Limited(limit) => Some(*limit),
        _ => None,
    });
    limit.map_or(
        DnsFailure::Unanswered { errors, elapsed },
        DnsFailure::Limited,
    )
}

/// Parses a name server in `resolv.conf`: an address, which may have a zone that only the system knows.
fn name_server(address: &str) -> Option<SocketAddr> {
    if let Ok(address) = address.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, PORT));
    }
    let (bare, _) = address.split_once('%')?;
    bare.parse::<Ipv6Addr>().ok()?;
    // An address needs no query to a name server.
    let hints = dns_lookup::AddrInfoHints {
        socktype: dns_lookup::SockType::DGram.into(),
        ..Default::default()
    };
    let mut found = dns_lookup::getaddrinfo(Some(address), None, Some(hints)).ok()?;
    let mut found = found.next()?.ok()?.sockaddr;
    found.set_port(PORT);
    Some(found)
}

/// The reply of a server.
enum DnsAnswer {
    /// The records; empty if the name has no record of that type.
    Records(Vec<Record>),
    NoSuchName,
    /// The next query.
    Alias(DnsQuery),
}

/// The reason why a server gave no answer.
enum Unsuccessful {
    NotSent(QueryError),
    NameServer(NameServerError),
}

impl<T: Into<NameServerError>> From<T> for Unsuccessful {
    fn from(error: T) -> Self {
        Self::NameServer(error.into())
    }
}

/// The exchange with one server about one query, in one turn or several.
struct Talk {
    server: SocketAddr,
    /// The socket of the previous turn and the id of its query: a late reply to that turn still counts.
    udp: Option<(UdpSocket, u16)>,
}

impl Talk {
    fn with(server: SocketAddr) -> Self {
        Self { server, udp: None }
    }

    /// Runs one turn, which ends at `until`.
    fn query_server(
        &mut self,
        query: &DnsQuery,
        until: Instant,
    ) -> Result<DnsAnswer, Unsuccessful> {
        match self.by_udp(query, until)? {
            DnsReply::Truncated => self.query_by_tcp(query, until),
            // The reply may have been changed on the way.
            DnsReply::Malformed => match self.by_tcp(query, until) {
                Err(Unsuccessful::NameServer(
                    NameServerError::Silent { .. } | NameServerError::Io(_),
                )) => Err(NameServerError::Malformed.into()),
                other => other,
            },
            reply => conclude(reply),
        }
    }

    /// Fetches a reply that is too long for UDP: by TCP or, if that fails, by UDP with EDNS.
    fn query_by_tcp(&self, query: &DnsQuery, until: Instant) -> Result<DnsAnswer, Unsuccessful> {
        // TCP gets half of the time, because it may be blocked.
        let now = Instant::now();
        let halfway = now + until.saturating_duration_since(now) / 2;
        self.by_tcp(query, halfway)
            .or_else(|failed| self.by_edns(query, until).map_err(|_| failed))
    }

    fn by_udp(&mut self, query: &DnsQuery, until: Instant) -> Result<DnsReply, Unsuccessful> {
        let (socket, id) = match self.udp.take() {
            Some(known) => known,
            None => (connected(self.server)?, random_id()?),
        };
        let received = exchange(&socket, query, id, false, until);
        self.udp = Some((socket, id));
        received
    }

    /// Queries by UDP with EDNS, which allows a longer reply.
    fn by_edns(&self, query: &DnsQuery, until: Instant) -> Result<DnsAnswer, Unsuccessful> {
        let socket = connected(self.server)?;
        conclude(exchange(&socket, query, random_id()?, true, until)?)
    }

    fn by_tcp(&self, query: &DnsQuery, until: Instant) -> Result<DnsAnswer, Unsuccessful> {
        let id = random_id()?;
        let bytes = encode(query, id, false)?;
        conclude(query.read(id, &exchange_by_tcp(&bytes, self.server, until)?))
    }
}

/// Converts a final reply to an answer or a failure.
fn conclude(reply: DnsReply) -> Result<DnsAnswer, Unsuccessful> {
    Err(Unsuccessful::NameServer(match reply {
        DnsReply::Records(records) => return Ok(DnsAnswer::Records(records)),
        DnsReply::NoSuchName => return Ok(DnsAnswer::NoSuchName),
        DnsReply::Alias(target) => return Ok(DnsAnswer::Alias(target)),
        DnsReply::Foreign => NameServerError::Silent { foreign: 1 },
        DnsReply::Malformed => NameServerError::Malformed,
        DnsReply::Truncated => NameServerError::Truncated,
        DnsReply::Refused(code) => NameServerError::Code(code),
        DnsReply::Referral => NameServerError::Referral,
        DnsReply::Aliases(error) => NameServerError::Aliases(error),
    }))
}

fn random_id() -> Result<u16, Unsuccessful> {
    let mut id = [0; 2];
    let drawn = {
        let _at_work = fork::at_work();
        rand_bytes(&mut id)
    };
    let failed =
        |error: ErrorStack| Unsuccessful::NotSent(QueryError::NoRandomness(error.to_string()));
    drawn.map_err(failed)?;
    Ok(u16::from_ne_bytes(id))
}

fn encode(query: &DnsQuery, id: u16, edns: bool) -> Result<Vec<u8>, Unsuccessful> {
    let not_a_name =
        |error: SimpleDnsError| Unsuccessful::NotSent(QueryError::InvalidName(error.to_string()));
    query.bytes(id, edns).map_err(not_a_name)
}

/// Returns a socket that receives only from `server`: the system drops packets from other addresses.
fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).map_err(|error| match error.kind() {
        // The socket requested any port.
        ErrorKind::AddrInUse => Limit::Ports.into(),
        _ => error,
    })?;
    socket.connect(server)?;
    Ok(socket)
}

/// Sends the query by UDP and waits for its answer.
fn exchange(
    socket: &UdpSocket,
    query: &DnsQuery,
    id: u16,
    edns: bool,
    until: Instant,
) -> Result<DnsReply, Unsuccessful> {
    socket.send(&encode(query, id, edns)?)?;
    let mut buffer = [0; UDP_BUFFER];
    let mut foreign = 0_u32;
    loop {
        let Some(timeout) = remaining(until) else {
            return Err(NameServerError::Silent { foreign }.into());
        };
        socket.set_read_timeout(Some(timeout))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if is_transient(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        match query.read(id, &buffer[..length]) {
            // The reply may be for another query; the right one may still arrive.
            DnsReply::Foreign => foreign = foreign.saturating_add(1),
            reply => return Ok(reply),
        }
    }
}

/// Sends the query by TCP and waits for its reply. RFC 1035 §4.2.2: two bytes of length before each message.
fn exchange_by_tcp(
    bytes: &[u8],
    server: SocketAddr,
    until: Instant,
) -> Result<Vec<u8>, NameServerError> {
    let limit = remaining(until).ok_or(NameServerError::Silent { foreign: 0 })?;
    let connected = TcpStream::connect_timeout(&server, limit);
    let mut stream = connected.map_err(|error| match is_without_port(&error, server) {
        true => Limit::Ports.into(),
        false => error,
    })?;
    let length =
        u16::try_from(bytes.len()).map_err(|_| NameServerError::Io(ErrorKind::InvalidInput))?;
    let framed = [&length.to_be_bytes(), bytes].concat();
    stream.set_write_timeout(remaining(until).or(Some(Duration::from_millis(1))))?;
    stream.write_all(&framed)?;
    let mut length = [0; 2];
    read_exact(&mut stream, &mut length, until)?;
    // The prefix limits the size to 64 KiB.
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    read_exact(&mut stream, &mut message, until)?;
    Ok(message)
}

fn read_exact(
    stream: &mut TcpStream,
    mut buffer: &mut [u8],
    until: Instant,
) -> Result<(), NameServerError> {
    while !buffer.is_empty() {
        let left = remaining(until).ok_or(NameServerError::Silent { foreign: 0 })?;
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Ok(0) => return Err(NameServerError::Io(ErrorKind::UnexpectedEof)),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Returns true if the error is temporary: the caller checks the time and continues to wait.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn remaining(until: Instant) -> Option<Duration> {
    let remaining = until.saturating_duration_since(Instant::now());
    (!remaining.is_zero()).then_some(remaining)
}

const PORT: u16 = 53;

/// The maximum number of name servers, as in other resolvers.
const MAX_SERVERS: usize = 3;

/// Larger than the requested size, since some servers exceed it. A longer reply is truncated, and does not parse.
const UDP_BUFFER: usize = 4096;

/// A size that no real `resolv.conf` reaches.
const MAX_CONFIG: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use mongotls_testbench::dns::{DnsFault, DnsServer, Zone};

    use super::*;
    use crate::time::TimeoutKind;

    fn servers(text: &str) -> Vec<String> {
        let resolver = Resolver::configured(text.as_bytes()).unwrap();
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
        let settings = |text: &str| {
            let resolver = Resolver::configured(text.as_bytes()).unwrap();
            (resolver.timeout.as_secs(), resolver.attempts)
        };
        assert_eq!(settings(""), (5, 2));
        assert_eq!(settings("options timeout:1 attempts:3\n"), (1, 3));
        assert_eq!(settings("options timeout:0 attempts:0\n"), (1, 1));
        assert_eq!(settings("options timeout:9999 attempts:9999\n"), (30, 5));
    }

    #[test]
    fn a_server_of_the_program_s_is_the_only_one() {
        let server = "192.0.2.7:5353".parse().unwrap();
        assert_eq!(Resolver::new(Some(server)).unwrap().servers(), [server]);
    }

    const ZONE: &str = r#"
        _mongodb._tcp.db.example. SRV 27017 one.example.
        db.example. TXT "replicaSet=rs0"
    "#;

    /// A server that receives queries and never answers, or answers according to the fault.
    fn server(fault: DnsFault) -> DnsServer {
        let server = DnsServer::start(Zone::parse(ZONE));
        server.set_fault(fault);
        server
    }

    fn resolver(servers: &[&DnsServer], timeout_ms: u64) -> Resolver {
        let addresses = servers.iter().map(|server| server.addr()).collect();
        Resolver {
            timeout: Duration::from_millis(timeout_ms),
            ..Resolver::of(&Config::new(), addresses)
        }
    }

    fn within(ms: Option<u64>) -> Deadline {
        let limit = ms.map(Duration::from_millis);
        Deadline::after(Instant::now(), limit, TimeoutKind::Connect)
    }

    /// Both lookups of a `mongodb+srv` name.
    fn both(resolver: &Resolver, deadline: &Deadline) -> Result<usize, DnsFailure> {
        let hosts = resolver.srv("_mongodb._tcp.db.example", deadline)?.0.len();
        let texts = resolver.txt("db.example", deadline)?;
        assert_eq!(texts, [Some("replicaSet=rs0".to_owned())]);
        Ok(hosts)
    }

    #[test]
    fn a_dead_server_is_waited_for_once() {
        let (dead, alive) = (server(DnsFault::Silent), server(DnsFault::None));
        let resolver = resolver(&[&dead, &alive], 5000);
        // One server gets half of the total time, which two waits would use up.
        assert_eq!(both(&resolver, &within(Some(4000))), Ok(1));
        assert_eq!((dead.asked().len(), alive.asked().len()), (1, 2));
    }

    #[test]
    fn the_time_is_divided_among_the_servers() {
        let dead = [server(DnsFault::Silent), server(DnsFault::Silent)];
        let alive = server(DnsFault::None);
        let resolver = resolver(&[&dead[0], &dead[1], &alive], 5000);
        assert_eq!(both(&resolver, &within(Some(3000))), Ok(1));
        // No server answers: each was queried as often as the configuration requires.
        alive.set_fault(DnsFault::Silent);
        let Err(DnsFailure::Unanswered { errors, elapsed }) = both(&resolver, &within(Some(1200)))
        else {
            panic!("an answer")
        };
        let silent = |server: &DnsServer| (server.addr(), NameServerError::Silent { foreign: 0 });
        let [first, second] = &dead;
        assert_eq!(errors, [silent(&alive), silent(first), silent(second)]);
        assert!(elapsed.is_some());
        assert_eq!((first.asked().len(), alive.asked().len()), (3, 4));
    }

    #[test]
    fn one_server_has_its_timeout_for_each_attempt() {
        for (fault, least) in [
            (DnsFault::Silent, 600),
            (DnsFault::WrongId, 600),
            // TCP has half of each turn; with EDNS the reply is truncated at once.
            (DnsFault::TruncatedThenSilent, 300),
        ] {
            let server = server(fault.clone());
            let started = Instant::now();
            let outcome = resolver(&[&server], 300).srv("db.example", &within(None));
            let took = started.elapsed();
            assert!(
                matches!(outcome, Err(DnsFailure::Unanswered { elapsed: None, .. })),
                "{fault:?}: {outcome:?}"
            );
            let expected = Duration::from_millis(least)..Duration::from_millis(1500);
            assert!(expected.contains(&took), "{fault:?}: {took:?}");
        }
    }

    #[test]
    fn an_answer_that_is_late_for_its_turn_counts_in_the_next() {
        let slow = server(DnsFault::Late(Duration::from_millis(700)));
        let dead = server(DnsFault::Silent);
        let resolver = resolver(&[&slow, &dead], 400);
        let (hosts, _) = resolver
            .srv("_mongodb._tcp.db.example", &within(Some(8000)))
            .unwrap();
        assert_eq!(hosts, [("one.example".to_owned(), 27017)]);
        let ids: Vec<u16> = slow.asked().iter().map(|asked| asked.id).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}
