//! DNS messages: encodes a query, and decodes a reply. No sockets.
//!
//! The format is `simple-dns`'s; RFC 1035, with EDNS(0) of RFC 6891 and SRV of RFC 2782. Every byte of a reply is
//! untrusted. A reply counts only if it has the id and the question of the query, and an empty one only if it is
//! consistent.
//!
//! Aliases (CNAME) are followed inside a reply, as the system's resolver does: from the name in question from owner to
//! owner, in any order of the records. If the reply lacks the records of a target, a separate query follows.

use simple_dns::rdata::{OPT, RData, SRV, TXT};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use simple_dns::{SimpleDnsError, header_buffer};

use crate::reason::dns::AliasError;

/// A query for the records of one type at a name, or at the name that its aliases lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DnsQuery {
    /// The name from the caller, then the target of each alias; the query is for the last one.
    chain: Vec<Name<'static>>,
    kind: RecordType,
    /// The shortest time to live of the aliases, in seconds.
    ttl: u32,
}

/// A type of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordType {
    Srv,
    Txt,
}

/// A record of the requested type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The location of a service: the target as text, escaped if it contains more than letters, digits, `-` and `_`,
    /// without a dot at the end. A MongoDB client ignores priority and weight.
    Srv {
        target: String,
        port: u16,
        /// The time for which the record may be cached, in seconds.
        ttl: u32,
    },
    /// The strings of a TXT record, joined; `None` if they are not UTF-8.
    Txt(Option<String>),
}

/// The meaning of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DnsReply {
    /// The message does not answer this query: it has another id or another question, or is no DNS message.
    Foreign,
    /// The message has the query's id, but is not readable or contradicts itself.
    Malformed,
    /// The reply did not fit, and the query must be repeated by TCP.
    Truncated,
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The server does not answer the query, for the given reason, such as SERVFAIL.
    Refused(&'static str),
    /// The server does not resolve names for clients; it names other servers at best.
    Referral,
    /// The records; empty if the name has none of that type.
    Records(Vec<Record>),
    /// The name is an alias, and the reply lacks the records of its target: the query for them.
    Alias(DnsQuery),
    /// The aliases of the name lead nowhere.
    Aliases(AliasError),
}

impl DnsQuery {
    /// # Errors
    /// If the name is not valid in DNS.
    pub(super) fn new(name: &str, kind: RecordType) -> Result<Self, SimpleDnsError> {
        let name = Name::new(name)?.into_owned();
        Ok(Self {
            chain: vec![name],
            kind,
            ttl: u32::MAX,
        })
    }

    pub(super) fn kind(&self) -> RecordType {
        self.kind
    }

    /// The name of the query: the last of the chain.
    fn name(&self) -> Option<&Name<'static>> {
        self.chain.last()
    }

    /// Encodes the query with this id. With EDNS, the reply may be longer than 512 bytes.
    ///
    /// # Errors
    /// If DNS cannot represent the name.
    pub(super) fn bytes(&self, id: u16, edns: bool) -> Result<Vec<u8>, SimpleDnsError> {
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let question =
            |name: &Name<'static>| Question::new(name.clone(), self.kind.qtype(), IN, false);
        packet.questions.extend(self.name().map(question));
        if edns {
            *packet.opt_mut() = Some(OPT {
                opt_codes: Vec::new(),
                udp_packet_size: UDP_SIZE,
                version: 0,
            });
        }
        packet.build_bytes_vec()
    }

    /// Interprets `message` as the reply to this query with this id.
    pub(super) fn read(&self, id: u16, message: &[u8]) -> DnsReply {
        let response = header_buffer::has_flags(message, PacketFlag::RESPONSE);
        if header_buffer::id(message) != Ok(id) || response != Ok(true) {
            return DnsReply::Foreign;
        }
        if !is_plausible(message) {
            return DnsReply::Malformed;
        }
        let packet = match Packet::parse(message) {
            Ok(packet) => packet,
            // A server may truncate in the middle of a record.
            Err(_) if header_buffer::has_flags(message, PacketFlag::TRUNCATION) == Ok(true) => {
                return DnsReply::Truncated;
            }
            Err(_) => return DnsReply::Malformed,
        };
        let refused = refusal(packet.rcode());
        let [question] = packet.questions.as_slice() else {
            // Some servers leave the question out of a reply with an error code.
            return match (packet.questions.is_empty(), refused) {
                (true, Some(code)) => DnsReply::Refused(code),
                _ => DnsReply::Malformed,
            };
        };
        if Some(&question.qname) != self.name()
            || question.qtype != self.kind.qtype()
            || question.qclass != IN
        {
            return DnsReply::Foreign;
        }
        if packet.opcode() != OPCODE::StandardQuery {
            return DnsReply::Malformed;
        }
        if packet.has_flags(PacketFlag::TRUNCATION) {
            return DnsReply::Truncated;
        }
        if let Some(code) = refused {
            return DnsReply::Refused(code);
        }
        let found = self.follow(&packet, message.len());
        match (packet.rcode(), found) {
            // The code is that of the last name of a chain.
            (RCODE::NameError, DnsReply::Records(records)) if !records.is_empty() => {
                DnsReply::Malformed
            }
            (RCODE::NameError, DnsReply::Records(_) | DnsReply::Alias(_) | DnsReply::Referral) => {
                DnsReply::NoSuchName
            }
            (_, found) => found,
        }
    }

    /// The records at the end of the chain of aliases that begins at the name in question.
    fn follow(&self, packet: &Packet<'_>, length: usize) -> DnsReply {
        let mut chain = self.chain.clone();
        let mut ttl = self.ttl;
        while let Some(owner) = chain.last() {
            let own = packet.answers.iter();
            let own = own.filter(|record| record.class == CLASS::IN && record.name == *owner);
            let matching = own
                .clone()
                .filter(|record| record.rdata.type_code() == self.kind.code());
            let records: Option<Vec<Record>> = matching
                .map(|record| Record::of(&record.rdata, record.ttl.min(ttl)))
                .collect();
            match records {
                None => return DnsReply::Malformed,
                Some(records) if !records.is_empty() => return DnsReply::Records(records),
                Some(_) => {}
            }
            let alias = own.filter_map(|record| match &record.rdata {
                RData::CNAME(alias) => Some((alias.0.clone().into_owned(), record.ttl)),
                _ => None,
            });
            let Some((target, own_ttl)) = alias.into_iter().next() else {
                break;
            };
            if chain.contains(&target) {
                return DnsReply::Aliases(AliasError::Loop);
            }
            if chain.len() > MOST_ALIASES {
                return DnsReply::Aliases(AliasError::TooMany);
            }
            ttl = ttl.min(own_ttl);
            chain.push(target);
        }
        if chain.len() > self.chain.len() {
            let kind = self.kind;
            return DnsReply::Alias(Self { chain, kind, ttl });
        }
        self.nothing(packet, length)
    }

    /// Interprets a reply without any record of the name.
    fn nothing(&self, packet: &Packet<'_>, length: usize) -> DnsReply {
        let sections = [&packet.name_servers, &packet.additional_records];
        let is_bare = sections.iter().all(|section| section.is_empty()) && packet.opt().is_none();
        let question = HEADER + self.name().map_or(0, name_length) + TYPE_AND_CLASS;
        // Records of another name, or bytes after the end, mean that the reply was changed on the way.
        if !packet.answers.is_empty() || is_bare && length > question {
            return DnsReply::Malformed;
        }
        // A server that resolves names, or is authoritative for the name, sets the flag.
        let is_authoritative = [
            PacketFlag::RECURSION_AVAILABLE,
            PacketFlag::AUTHORITATIVE_ANSWER,
        ];
        match is_authoritative.iter().any(|flag| packet.has_flags(*flag)) {
            true => DnsReply::Records(Vec::new()),
            false => DnsReply::Referral,
        }
    }
}

impl Record {
    /// Returns `None` if the data does not belong to an SRV or TXT record.
    fn of(data: &RData<'_>, ttl: u32) -> Option<Self> {
        match data {
            RData::SRV(SRV { target, port, .. }) => Some(Self::Srv {
                target: text(target),
                port: *port,
                ttl,
            }),
            RData::TXT(strings) => Some(Self::Txt(joined(strings))),
            _ => None,
        }
    }
}

fn joined(strings: &TXT<'_>) -> Option<String> {
    String::try_from(strings.clone()).ok()
}

/// The length of a name on the wire: a byte before each label, and one at the end.
fn name_length(name: &Name<'_>) -> usize {
    name.as_bytes().map(|label| label.len() + 1).sum::<usize>() + 1
}

impl RecordType {
    fn code(self) -> TYPE {
        match self {
            Self::Srv => TYPE::SRV,
            Self::Txt => TYPE::TXT,
        }
    }

    fn qtype(self) -> QTYPE {
        QTYPE::TYPE(self.code())
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Srv => "SRV",
            Self::Txt => "TXT",
        }
    }
}

/// Returns true if the message is long enough for the number of records in its header, because `simple-dns` allocates
/// space for them.
fn is_plausible(message: &[u8]) -> bool {
    let count = |number: Result<u16, SimpleDnsError>| usize::from(number.unwrap_or(u16::MAX));
    let questions = count(header_buffer::questions(message));
    let records = count(header_buffer::answers(message))
        + count(header_buffer::name_servers(message))
        + count(header_buffer::additional_records(message));
    // A truncated message may promise more than it contains; it is then not read to its end.
    HEADER + questions * LEAST_QUESTION + records * LEAST_RECORD <= message.len()
        || header_buffer::has_flags(message, PacketFlag::TRUNCATION) == Ok(true)
            && questions <= 1
            && records <= MOST_PROMISED
}

/// The name of an error code, or `None` if the reply counts.
fn refusal(code: RCODE) -> Option<&'static str> {
    Some(match code {
        RCODE::NoError | RCODE::NameError => return None,
        RCODE::FormatError => "FORMERR",
        RCODE::NotImplemented => "NOTIMP",
        RCODE::BADVERS => "BADVERS",
        RCODE::ServerFailure => "SERVFAIL",
        RCODE::Refused => "REFUSED",
        RCODE::NOTAUTH => "NOTAUTH",
        _ => "an error code that a query does not have",
    })
}

/// Converts a name to text. Characters that no host name has are escaped, so that a dot within a label differs from a
/// dot between labels.
fn text(name: &Name<'_>) -> String {
    let label = |label: &[u8]| -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        label
            .iter()
            .map(|&byte| match plain(byte) {
                true => char::from(byte).to_string(),
                false => format!("\\{byte:03}"),
            })
            .collect()
    };
    let labels: Vec<String> = name.as_bytes().map(label).collect();
    labels.join(".")
}

const IN: QCLASS = QCLASS::CLASS(CLASS::IN);

/// The largest UDP reply that a query requests, which no common network fragments: the recommendation of DNS Flag Day
/// 2020.
const UDP_SIZE: u16 = 1232;

/// The sizes of RFC 1035 §4.1: a header, and the minimum of a question and of a record.
const HEADER: usize = 12;
const LEAST_QUESTION: usize = 5;
const TYPE_AND_CLASS: usize = 4;
const LEAST_RECORD: usize = 11;

/// The maximum number of aliases that are followed, in all replies for one name together.
const MOST_ALIASES: usize = 8;

/// The maximum number of records that a truncated reply may promise; with more it is invalid.
const MOST_PROMISED: usize = 1000;

#[cfg(test)]
mod tests {
    use mongotls_testbench::dns::Zone;
    use mongotls_testbench::random::{Random, rounds};

    use super::*;

    const ZONE: &str = r#"
        _mongodb._tcp.db.example.  SRV  27017 One.example.
        _mongodb._tcp.db.example.  SRV  27018 two.example.
        db.example.                TXT  "replica" "Set=rs0"
        odd.example.               SRV  1 a\.b.example.
    "#;

    fn srv(name: &str) -> DnsQuery {
        DnsQuery::new(name, RecordType::Srv).unwrap()
    }

    fn txt(name: &str) -> DnsQuery {
        DnsQuery::new(name, RecordType::Txt).unwrap()
    }

    fn answer(query: &DnsQuery, id: u16) -> Vec<u8> {
        Zone::parse(ZONE)
            .answer(&query.bytes(id, true).unwrap())
            .unwrap()
    }

    #[test]
    fn records_are_read_with_their_strings_joined() {
        let query = srv("_mongodb._tcp.db.example");
        let target = |target: &str, port| Record::Srv {
            target: target.to_owned(),
            port,
            ttl: 60,
        };
        assert_eq!(
            query.read(7, &answer(&query, 7)),
            DnsReply::Records(vec![
                target("One.example", 27017),
                target("two.example", 27018)
            ])
        );
        let query = txt("DB.example.");
        assert_eq!(
            query.read(7, &answer(&query, 7)),
            DnsReply::Records(vec![Record::Txt(Some("replicaSet=rs0".to_owned()))])
        );
        let query = srv("odd.example");
        assert_eq!(
            query.read(7, &answer(&query, 7)),
            DnsReply::Records(vec![target(r"a\092.b.example", 1)])
        );
    }

    #[test]
    fn only_the_answer_to_the_query_counts() {
        let query = srv("_mongodb._tcp.db.example");
        let sound = answer(&query, 7);
        assert_eq!(query.read(8, &sound), DnsReply::Foreign);
        assert_eq!(srv("db.example").read(7, &sound), DnsReply::Foreign);
        assert_eq!(
            txt("_mongodb._tcp.db.example").read(7, &sound),
            DnsReply::Foreign
        );
        // The query itself is no reply.
        let own = query.bytes(7, true).unwrap();
        assert_eq!(query.read(7, &own), DnsReply::Foreign);
    }

    #[test]
    fn response_codes_are_distinguished() {
        let query = srv("_mongodb._tcp.db.example");
        let with_code = |code: u8| {
            let mut message = answer(&query, 7);
            message[3] = (message[3] & 0xf0) | code;
            query.read(7, &message)
        };
        assert_eq!(with_code(1), DnsReply::Refused("FORMERR"));
        assert_eq!(with_code(2), DnsReply::Refused("SERVFAIL"));
        // The reply reports that the name does not exist, but has records.
        assert_eq!(with_code(3), DnsReply::Malformed);
        let absent = srv("no.example");
        assert_eq!(absent.read(7, &answer(&absent, 7)), DnsReply::NoSuchName);
        assert_eq!(with_code(5), DnsReply::Refused("REFUSED"));
        let mut truncated = answer(&query, 7);
        truncated[2] |= 2;
        assert_eq!(query.read(7, &truncated), DnsReply::Truncated);
        truncated.truncate(60);
        assert_eq!(query.read(7, &truncated), DnsReply::Truncated);
    }

    #[test]
    fn an_empty_answer_must_not_contradict_itself() {
        let query = txt("_mongodb._tcp.db.example");
        let empty = answer(&query, 7);
        assert_eq!(query.read(7, &empty), DnsReply::Records(Vec::new()));
        // Bytes after the end, another operation, an owner or type that does not match the query.
        let mut longer = empty.clone();
        longer.extend([0; 16]);
        assert_eq!(query.read(7, &longer), DnsReply::Malformed);
        let mut notify = empty.clone();
        notify[2] |= 4 << 3;
        assert_eq!(query.read(7, &notify), DnsReply::Malformed);
        let query = txt("db.example");
        let sound = answer(&query, 7);
        let owner = 12 + b"\x02db\x07example\0".len() + 4;
        for (at, byte) in [(owner + 1, 15), (owner + 3, 1), (owner + 5, 3)] {
            let mut other = sound.clone();
            other[at] = byte;
            assert_eq!(query.read(7, &other), DnsReply::Malformed, "byte {at}");
        }
        // Neither recursion nor authority.
        let mut lame = empty;
        lame[3] &= 0x7f;
        let query = txt("_mongodb._tcp.db.example");
        assert_eq!(query.read(7, &lame), DnsReply::Referral);
        lame[2] |= 4;
        assert_eq!(query.read(7, &lame), DnsReply::Records(Vec::new()));
    }

    #[test]
    fn aliases_are_followed_in_any_order() {
        let zone = "a.example. CNAME B.example.\nb.example. CNAME c.example.\nc.example. TXT \"x\"";
        let query = txt("a.example");
        let bytes = query.bytes(7, false).unwrap();
        let sound = Zone::parse(zone).answer(&bytes).unwrap();
        let found = DnsReply::Records(vec![Record::Txt(Some("x".to_owned()))]);
        assert_eq!(query.read(7, &sound), found);
        let mut packet = Packet::parse(&sound).unwrap();
        packet.answers.reverse();
        assert_eq!(query.read(7, &packet.build_bytes_vec().unwrap()), found);
        // Without the alias in the middle, the owners of the remaining records are not in the chain.
        packet.answers.remove(1);
        let DnsReply::Alias(next) = query.read(7, &packet.build_bytes_vec().unwrap()) else {
            panic!("no alias")
        };
        assert_eq!(next.name(), Some(&Name::new("b.example").unwrap()));
    }

    #[test]
    fn a_name_that_dns_cannot_hold_is_refused() {
        for name in ["a".repeat(64), "abc.".repeat(64)] {
            assert!(DnsQuery::new(&name, RecordType::Srv).is_err(), "{name}");
        }
    }

    #[test]
    fn impossible_record_counts_are_rejected() {
        let mut message = vec![0; 12];
        message[2] = 0x80;
        message[4..12].fill(0xff);
        assert_eq!(srv("db").read(0, &message), DnsReply::Malformed);
        message[2] |= 2;
        assert_eq!(srv("db").read(0, &message), DnsReply::Malformed);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let queries = [srv("_mongodb._tcp.db.example"), txt("db.example")];
        let mut seen = 0_u32;
        let mut random = Random::default();
        for round in 0..rounds(20_000) {
            let query = &queries[random.below(2)];
            let mut message = answer(query, 7);
            for _ in 0..=random.below(4) {
                let at = random.below(message.len());
                match random.below(4) {
                    0 => message[at] = random.bytes(1)[0],
                    1 => message[at] ^= 1 << random.below(8),
                    2 => message.truncate(at.max(1)),
                    _ => message.insert(at, 0xc0),
                }
            }
            if matches!(query.read(7, &message), DnsReply::Records(_)) {
                seen += 1;
            }
            let noise = 3 + random.below(300);
            let noise = query.read(7, &random.bytes(noise));
            assert!(
                matches!(noise, DnsReply::Foreign | DnsReply::Malformed),
                "round {round}: {noise:?}"
            );
        }
        assert!(seen > 0, "no mutated message was read");
    }
}
