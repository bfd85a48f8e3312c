//! A DNS server in memory: records from a zone as text, by UDP and TCP, and wrong answers on request.
//!
//! It builds the bytes itself (RFC 1035), so that no mistake of a DNS library occurs on both sides and cancels out.

use crate::http::Log;
use crate::net::{Bind, Listening, Socket, Stop};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A record as bytes.
#[derive(Clone, Debug)]
struct Record {
    name: Vec<u8>,
    kind: u16,
    /// The time to live in seconds.
    ttl: u32,
    data: Vec<u8>,
}

/// The records of a name server.
///
/// ```
/// use mongotls_testbench::dns::Zone;
///
/// let zone = Zone::parse(
///     r#"
///     _mongodb._tcp.db.example. SRV   27017 one.db.example.
///     db.example.               TXT   "replicaSet=" "rs0"
///     one.db.example.           A     127.0.0.1
///     "#,
/// );
/// assert_eq!(zone.len(), 3);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Zone {
    records: Vec<Record>,
    lacks_targets: bool,
}

impl Zone {
    /// Reads lines of a name, a type and its data: `A` an address, `CNAME` a target, `SRV` a port and a target, `TXT`
    /// strings in quotes. A `#` begins a comment line.
    ///
    /// # Panics
    ///
    /// If a line is none of these.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self {
            records: lines.map(Record::parse).collect(),
            lacks_targets: false,
        }
    }

    /// Adds the records of `text`.
    pub fn with(mut self, text: &str) -> Self {
        self.records.extend(Self::parse(text).records);
        self
    }

    /// Makes answers contain only the alias, without the records of its target.
    pub fn without_targets(mut self) -> Self {
        self.lacks_targets = true;
        self
    }

    /// Sets the time to live of all records, in seconds. Default: 60.
    pub fn ttl(mut self, seconds: u32) -> Self {
        for record in &mut self.records {
            record.ttl = seconds;
        }
        self
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns true if there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The answer to a query, or `None` if the query is invalid.
    pub fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let asked = Asked::read(query)?;
        let mut owner = asked.name_bytes.clone();
        let mut answers: Vec<&Record> = Vec::new();
        let exists = loop {
            let own = self.records.iter().filter(|record| record.name == owner);
            let wanted: Vec<_> = own.clone().filter(|it| it.kind == asked.kind).collect();
            let alias = own.clone().find(|record| record.kind == CNAME);
            let is_known = answers.iter().any(|record| record.name == owner);
            match alias {
                Some(alias) if wanted.is_empty() && !is_known => {
                    answers.push(alias);
                    owner = alias.data.to_ascii_lowercase();
                    if self.lacks_targets {
                        break true;
                    }
                }
                _ => {
                    answers.extend(wanted);
                    break own.count() > 0;
                }
            }
        };
        let mut records = Vec::new();
        for record in &answers {
            match record.name == asked.name_bytes {
                // The name is that of the question, at byte 12.
                true => records.extend([0xc0, 12]),
                false => records.extend(&record.name),
            }
            records.extend(record.kind.to_be_bytes());
            records.extend(1_u16.to_be_bytes());
            records.extend(record.ttl.to_be_bytes());
            records.extend(u16::try_from(record.data.len()).unwrap().to_be_bytes());
            records.extend(&record.data);
        }
        let code = if exists { 0 } else { NXDOMAIN };
        let mut message = head(&asked, code, u16::try_from(answers.len()).unwrap());
        message.extend(records);
        Some(message)
    }
}

const CNAME: u16 = 5;

/// The code for a name that does not exist.
pub const NXDOMAIN: u8 = 3;
/// The code of a server that does not understand the query.
pub const FORMERR: u8 = 1;
/// The code of a server that failed to find the answer.
pub const SERVFAIL: u8 = 2;
/// The code of a server that does not serve this client.
pub const REFUSED: u8 = 5;

/// The code of a server that does not support the operation.
pub const NOTIMP: u8 = 4;

/// A fault of the answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DnsFault {
    /// No fault.
    #[default]
    None,
    /// By UDP none of the records fit.
    Truncated,
    /// By TCP no record fits either.
    AlwaysTruncated,
    /// By UDP none of the records fit, and TCP answers with random bytes of the announced length.
    TruncatedThenGarbage,
    /// By UDP none of the records fit, and TCP is closed in the middle of the answer.
    TruncatedThenCut,
    /// By UDP none of the records fit, and TCP never answers.
    TruncatedThenSilent,
    /// The answer has another id.
    WrongId,
    /// The answer has another question.
    OtherQuestion,
    /// An answer with the wrong id and records of an attacker comes first, then the right one.
    ForgedFirst,
    /// The answer comes this late.
    Late(Duration),
    /// No answer comes.
    Silent,
    /// The answer is not a DNS message.
    Garbage,
    /// The answer comes from another port.
    OtherPort,
    /// The answer has this code, and no record.
    Code(u8),
    /// The answer to a query with EDNS is this code.
    EdnsCode(u8),
    /// A query with EDNS is dropped.
    EdnsSilent,
    /// The answer to a query with EDNS is not a DNS message.
    EdnsGarbage,
    /// By UDP without EDNS none of the records fit, and TCP is closed at once.
    LongWithoutTcp,
    /// The answer by UDP ends in the middle of a record, without the flag for that.
    Cut,
    /// The answer by TCP ends there too.
    AlwaysCut,
    /// The header of the answer by UDP counts no record, but the records follow.
    Emptied,
    /// There is no record, from a server that does not resolve names.
    Referral,
    /// Only queries for TXT records fail.
    TxtFails,
}

/// A received query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name, in lower case, without a dot at the end.
    pub name: String,
    /// The type: 33 for SRV, 16 for TXT.
    pub kind: u16,
    /// Its id.
    pub id: u16,
    /// True if it has an EDNS record.
    pub edns: bool,
    /// True if it came by TCP.
    pub tcp: bool,
    /// The port of the sender.
    pub port: u16,
    name_bytes: Vec<u8>,
    question: Vec<u8>,
}

impl Asked {
    fn read(query: &[u8]) -> Option<Self> {
        let id = u16::from_be_bytes(query.get(..2)?.try_into().ok()?);
        let mut at = 12;
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*query.get(at)?);
            if length == 0 {
                break;
            }
            let label = query.get(at + 1..at + 1 + length)?;
            labels.push(String::from_utf8_lossy(label).to_lowercase());
            at += 1 + length;
        }
        let kind = u16::from_be_bytes(query.get(at + 1..at + 3)?.try_into().ok()?);
        Some(Self {
            name: labels.join("."),
            kind,
            id,
            edns: query.get(11) == Some(&1),
            tcp: false,
            port: 0,
            name_bytes: query.get(12..=at)?.to_ascii_lowercase(),
            question: query.get(12..at + 5)?.to_vec(),
        })
    }
}

#[derive(Debug)]
struct Shared {
    zone: Mutex<Zone>,
    fault: Mutex<DnsFault>,
    asked: Log<Asked>,
    stop: Stop,
}

/// A running DNS server on the loopback interface; dropping it ends its threads.
#[derive(Debug)]
pub struct DnsServer {
    listening: Listening,
    shared: Arc<Shared>,
    udp: Option<JoinHandle<()>>,
}

impl DnsServer {
    /// Serves a zone, by UDP and TCP on the same port.
    ///
    /// # Panics
    ///
    /// If no port can be bound.
    pub fn start(zone: Zone) -> Self {
        let shared = Arc::new(Shared {
            zone: Mutex::new(zone),
            fault: Mutex::default(),
            asked: Log::default(),
            stop: Stop::default(),
        });
        // The port that TCP gets may be in use for UDP.
        let (listening, socket) = (0..50)
            .find_map(|_| {
                let serving = Arc::clone(&shared);
                let listening = Listening::start(&Bind::default(), move |socket, stop| {
                    // An error means that the client has disconnected.
                    let _ = serving.by_tcp(socket, stop);
                })
                .ok()?;
                let socket = UdpSocket::bind(listening.endpoint().addr()).ok()?;
                Some((listening, socket))
            })
            .expect("a port that is free for UDP and TCP");
        let serving = Arc::clone(&shared);
        let udp = thread::spawn(move || serving.by_udp(&socket));
        Self {
            listening,
            shared,
            udp: Some(udp),
        }
    }

    /// The address of the server.
    pub fn addr(&self) -> SocketAddr {
        self.listening.endpoint().addr()
    }

    /// Applies a fault to every answer from now on.
    pub fn set_fault(&self, fault: DnsFault) {
        *lock(&self.shared.fault) = fault;
    }

    /// Serves another zone from now on.
    pub fn set_zone(&self, zone: Zone) {
        *lock(&self.shared.zone) = zone;
    }

    /// The received queries, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.list()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.stop.set();
        if let Some(udp) = self.udp.take() {
            let _ = udp.join();
        }
    }
}

impl Shared {
    fn by_udp(&self, socket: &UdpSocket) {
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a time limit");
        let mut buffer = [0; 2048];
        while !self.stop.is_set() {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            self.answer_by_udp(socket, &buffer[..length], from);
        }
    }

    fn answer_by_udp(&self, socket: &UdpSocket, query: &[u8], from: SocketAddr) {
        let Some((asked, answer)) = self.take(query, from.port(), false) else {
            return;
        };
        let send = |message: &[u8]| {
            let _ = socket.send_to(message, from);
        };
        let cut = |asked: &Asked| {
            let mut message = head(asked, 0, 0);
            message[2] |= 2;
            message
        };
        match self.fault() {
            DnsFault::Silent => {}
            DnsFault::Late(delay) => {
                if !self.stop.wait(delay) {
                    send(&answer);
                }
            }
            DnsFault::Truncated
            | DnsFault::AlwaysTruncated
            | DnsFault::TruncatedThenGarbage
            | DnsFault::TruncatedThenCut
            | DnsFault::TruncatedThenSilent => send(&cut(&asked)),
            DnsFault::LongWithoutTcp if !asked.edns => send(&cut(&asked)),
            DnsFault::EdnsSilent if asked.edns => {}
            DnsFault::Cut => send(&answer[..answer.len() - 5]),
            DnsFault::Emptied => {
                let mut emptied = answer;
                emptied[7] = 0;
                send(&emptied);
            }
            DnsFault::WrongId => send(&with_other_id(answer)),
            DnsFault::ForgedFirst => {
                let forged = format!("{}. SRV 1 evil.{}.", asked.name, asked.name);
                if let Some(forged) = Zone::parse(&forged).answer(query) {
                    send(&with_other_id(forged));
                }
                send(&answer);
            }
            DnsFault::OtherPort => {
                if let Ok(other) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
                    let _ = other.send_to(&answer, from);
                }
            }
            _ => send(&answer),
        }
    }

    fn by_tcp(&self, mut socket: Socket, stop: &Stop) -> io::Result<()> {
        let mut length = [0; 2];
        socket.read_exact(&mut length)?;
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        socket.read_exact(&mut query)?;
        let Some((asked, mut answer)) = self.take(&query, 0, true) else {
            return Ok(());
        };
        match self.fault() {
            DnsFault::LongWithoutTcp => return Ok(()),
            DnsFault::TruncatedThenSilent => {
                stop.wait_for_ever();
                return Ok(());
            }
            DnsFault::AlwaysTruncated => {
                answer = head(&asked, 0, 0);
                answer[2] |= 2;
            }
            DnsFault::TruncatedThenGarbage => answer.fill(0xff),
            DnsFault::TruncatedThenCut => {
                let length = u16::try_from(answer.len()).unwrap();
                socket.write_all(&length.to_be_bytes())?;
                return socket.write_all(&answer[..answer.len() / 2]);
            }
            _ => {}
        }
        let length = u16::try_from(answer.len()).unwrap();
        socket.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat())
    }

    /// Records a query and makes the answer, with the fault that applies to both transports.
    fn take(&self, query: &[u8], port: u16, tcp: bool) -> Option<(Asked, Vec<u8>)> {
        let asked = Asked {
            port,
            tcp,
            ..Asked::read(query)?
        };
        self.asked.push(asked.clone());
        let sound = lock(&self.zone).answer(query)?;
        let answer = match self.fault() {
            DnsFault::Garbage => b"what is DNS?".to_vec(),
            DnsFault::Code(code) => head(&asked, code, 0),
            DnsFault::EdnsCode(code) if asked.edns => head(&asked, code, 0),
            DnsFault::EdnsGarbage if asked.edns => b"what is EDNS?".to_vec(),
            DnsFault::AlwaysCut => sound[..sound.len() - 5].to_vec(),
            DnsFault::Referral => {
                let mut referral = head(&asked, 0, 0);
                referral[3] = 0;
                referral
            }
            DnsFault::TxtFails if asked.kind == 16 => head(&asked, SERVFAIL, 0),
            DnsFault::OtherQuestion => {
                let mut other = sound;
                // The first letter of the name.
                other[13] = b'x';
                other
            }
            _ => sound,
        };
        Some((asked, answer))
    }

    fn fault(&self) -> DnsFault {
        lock(&self.fault).clone()
    }
}

impl Record {
    fn parse(line: &str) -> Self {
        let (name, rest) = line.split_once(char::is_whitespace).expect(line);
        let name = name_bytes(name).to_ascii_lowercase();
        let (kind, data) = rest.trim().split_once(char::is_whitespace).expect(line);
        let data = data.trim();
        let (kind, data) = match kind {
            "A" => (1, data.parse::<Ipv4Addr>().expect(line).octets().to_vec()),
            "CNAME" => (CNAME, name_bytes(data)),
            "SRV" => {
                let (port, target) = data.split_once(char::is_whitespace).expect(line);
                let port: u16 = port.parse().expect(line);
                // Priority and weight come first.
                let numbers = [0, 5, port].map(u16::to_be_bytes).concat();
                (33, [numbers, name_bytes(target.trim())].concat())
            }
            "TXT" => {
                let strings = data.split('"').skip(1).step_by(2);
                let string = |text: &str| {
                    let length = u8::try_from(text.len()).expect(line);
                    [&[length], text.as_bytes()].concat()
                };
                (16, strings.map(string).collect::<Vec<_>>().concat())
            }
            _ => panic!("{line}"),
        };
        Self {
            name,
            kind,
            ttl: 60,
            data,
        }
    }
}

fn name_bytes(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes = Vec::new();
    for label in labels {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The header of an answer with that many records, and the question.
fn head(asked: &Asked, code: u8, records: u16) -> Vec<u8> {
    let mut message = asked.id.to_be_bytes().to_vec();
    // A response, recursion desired and available.
    message.extend([0x81, 0x80 | code]);
    message.extend([0, 1]);
    message.extend(records.to_be_bytes());
    message.extend([0; 4]);
    message.extend(&asked.question);
    message
}

fn with_other_id(mut message: Vec<u8>) -> Vec<u8> {
    message[0] ^= 0x55;
    message
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
