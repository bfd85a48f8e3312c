//! DNS messages: a question as bytes, and what the bytes of an answer say. No sockets.
//!
//! The format is `simple-dns`'s; RFC 1035, with EDNS(0) of RFC 6891 and SRV of RFC 2782. An answer is untrusted
//! to the last byte: it counts only with the id and the question of the query.

use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use simple_dns::{SimpleDnsError, header_buffer};

/// What is asked for: the records of one type at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
}

/// A type of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Srv,
    Txt,
}

/// A record that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Where a service is: the target as text, escaped where it holds more than letters, digits, `-` and `_`,
    /// without a dot at the end; priority and weight do not matter to a MongoDB client.
    Srv {
        target: String,
        port: u16,
        /// How long the record may be remembered, in seconds.
        ttl: u32,
    },
    /// The strings of a TXT record, joined; none if they are not UTF-8.
    Txt(Option<String>),
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It is no answer to this query: not its id, not its question, or no DNS message.
    Foreign,
    /// The answer did not fit, and is to be asked for by TCP.
    Truncated,
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The server does not understand the query (FORMERR, NOTIMP), which may be EDNS's fault.
    NotUnderstood(&'static str),
    /// The server does not answer the query, for the reason given, such as SERVFAIL.
    Refused(&'static str),
    /// The records; empty if the name has none of that type.
    Records(Vec<Record>),
}

impl Query<'_> {
    /// The query with that id, as bytes; with EDNS, the answer may be longer than 512 bytes.
    ///
    /// # Errors
    /// If the name is none that DNS can hold.
    pub(super) fn bytes(&self, id: u16, edns: bool) -> Result<Vec<u8>, SimpleDnsError> {
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(self.name)?;
        packet
            .questions
            .push(Question::new(name, self.kind.qtype(), IN, false));
        if edns {
            *packet.opt_mut() = Some(OPT {
                opt_codes: Vec::new(),
                udp_packet_size: UDP_SIZE,
                version: 0,
            });
        }
        packet.build_bytes_vec()
    }

    /// What `message` says to this query with that id.
    pub(super) fn read(&self, id: u16, message: &[u8]) -> Reply {
        if !is_plausible(id, message) {
            return Reply::Foreign;
        }
        let packet = match Packet::parse(message) {
            Ok(packet) => packet,
            // A server may cut in the middle of a record.
            Err(_) if header_buffer::has_flags(message, PacketFlag::TRUNCATION) == Ok(true) => {
                return Reply::Truncated;
            }
            Err(_) => return Reply::Foreign,
        };
        let [question] = packet.questions.as_slice() else {
            // Some servers leave the question out of an answer that refuses it.
            return match (packet.questions.is_empty(), refusal(packet.rcode())) {
                (true, Some(reply)) if packet.rcode() != RCODE::NameError => reply,
                _ => Reply::Foreign,
            };
        };
        let Ok(name) = Name::new(self.name) else {
            return Reply::Foreign;
        };
        if question.qname != name || question.qtype != self.kind.qtype() || question.qclass != IN {
            return Reply::Foreign;
        }
        if packet.has_flags(PacketFlag::TRUNCATION) {
            return Reply::Truncated;
        }
        if let Some(reply) = refusal(packet.rcode()) {
            return reply;
        }
        let own = packet
            .answers
            .into_iter()
            .filter(|record| record.class == CLASS::IN && record.name == name);
        let records = own.filter_map(|record| match (self.kind, record.rdata) {
            (Kind::Srv, RData::SRV(srv)) => Some(Record::Srv {
                target: text(&srv.target),
                port: srv.port,
                ttl: record.ttl,
            }),
            (Kind::Txt, RData::TXT(txt)) => Some(Record::Txt(String::try_from(txt).ok())),
            _ => None,
        });
        Reply::Records(records.collect())
    }
}

impl Kind {
    fn qtype(self) -> QTYPE {
        QTYPE::TYPE(match self {
            Self::Srv => TYPE::SRV,
            Self::Txt => TYPE::TXT,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Srv => "SRV",
            Self::Txt => "TXT",
        }
    }
}

/// Whether it is a response with that id whose numbers of records its length can hold: `simple-dns` makes room
/// for as many as the header promises.
fn is_plausible(id: u16, message: &[u8]) -> bool {
    let response = header_buffer::has_flags(message, PacketFlag::RESPONSE);
    if header_buffer::id(message) != Ok(id) || response != Ok(true) {
        return false;
    }
    let count = |number: Result<u16, SimpleDnsError>| usize::from(number.unwrap_or(u16::MAX));
    let questions = count(header_buffer::questions(message));
    let records = count(header_buffer::answers(message))
        + count(header_buffer::name_servers(message))
        + count(header_buffer::additional_records(message));
    // A truncated message may promise more than it holds; it is not read to its end then.
    HEADER + questions * LEAST_QUESTION + records * LEAST_RECORD <= message.len()
        || header_buffer::has_flags(message, PacketFlag::TRUNCATION) == Ok(true)
            && questions <= 1
            && records <= MOST_PROMISED
}

fn refusal(code: RCODE) -> Option<Reply> {
    Some(match code {
        RCODE::NoError => return None,
        RCODE::NameError => Reply::NoSuchName,
        RCODE::FormatError => Reply::NotUnderstood("FORMERR"),
        RCODE::NotImplemented => Reply::NotUnderstood("NOTIMP"),
        RCODE::BADVERS => Reply::NotUnderstood("BADVERS"),
        RCODE::ServerFailure => Reply::Refused("SERVFAIL"),
        RCODE::Refused => Reply::Refused("REFUSED"),
        RCODE::NOTAUTH => Reply::Refused("NOTAUTH"),
        _ => Reply::Refused("an error code that a query does not have"),
    })
}

/// A name as text. What no host name has is escaped, so that a dot within a label is not taken for one between two.
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

/// The longest answer by UDP that is asked for, which no usual network has to cut: the recommendation of DNS Flag
/// Day 2020.
const UDP_SIZE: u16 = 1232;

/// The sizes of RFC 1035 §4.1: a header, and the least that a question and a record can be.
const HEADER: usize = 12;
const LEAST_QUESTION: usize = 5;
const LEAST_RECORD: usize = 11;

/// A truncated answer that promises more records than this is no answer.
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

    fn srv(name: &str) -> Query<'_> {
        Query {
            name,
            kind: Kind::Srv,
        }
    }

    fn answer(query: &Query<'_>, id: u16) -> Vec<u8> {
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
            Reply::Records(vec![
                target("One.example", 27017),
                target("two.example", 27018)
            ])
        );
        let query = Query {
            name: "DB.example.",
            kind: Kind::Txt,
        };
        assert_eq!(
            query.read(7, &answer(&query, 7)),
            Reply::Records(vec![Record::Txt(Some("replicaSet=rs0".to_owned()))])
        );
        let query = srv("odd.example");
        assert_eq!(
            query.read(7, &answer(&query, 7)),
            Reply::Records(vec![target(r"a\092.b.example", 1)])
        );
    }

    #[test]
    fn only_the_answer_to_the_query_counts() {
        let query = srv("_mongodb._tcp.db.example");
        let sound = answer(&query, 7);
        assert_eq!(query.read(8, &sound), Reply::Foreign);
        assert_eq!(srv("db.example").read(7, &sound), Reply::Foreign);
        let text = Query {
            kind: Kind::Txt,
            ..query
        };
        assert_eq!(text.read(7, &sound), Reply::Foreign);
        // The query itself is no answer.
        let own = query.bytes(7, true).unwrap();
        assert_eq!(query.read(7, &own), Reply::Foreign);
    }

    #[test]
    fn codes_are_told_apart() {
        let query = srv("_mongodb._tcp.db.example");
        let with_code = |code: u8| {
            let mut message = answer(&query, 7);
            message[3] = (message[3] & 0xf0) | code;
            query.read(7, &message)
        };
        assert_eq!(with_code(1), Reply::NotUnderstood("FORMERR"));
        assert_eq!(with_code(2), Reply::Refused("SERVFAIL"));
        assert_eq!(with_code(3), Reply::NoSuchName);
        assert_eq!(with_code(5), Reply::Refused("REFUSED"));
        let mut truncated = answer(&query, 7);
        truncated[2] |= 2;
        assert_eq!(query.read(7, &truncated), Reply::Truncated);
        truncated.truncate(60);
        assert_eq!(query.read(7, &truncated), Reply::Truncated);
    }

    #[test]
    fn a_name_that_dns_cannot_hold_is_refused() {
        for name in ["a".repeat(64), "abc.".repeat(64)] {
            assert!(srv(&name).bytes(1, false).is_err(), "{name}");
        }
    }

    #[test]
    fn numbers_that_the_length_cannot_hold_are_not_believed() {
        let mut message = vec![0; 12];
        message[2] = 0x80;
        message[4..12].fill(0xff);
        assert_eq!(srv("db").read(0, &message), Reply::Foreign);
        message[2] |= 2;
        assert_eq!(srv("db").read(0, &message), Reply::Foreign);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let queries = [
            srv("_mongodb._tcp.db.example"),
            Query {
                name: "db.example",
                kind: Kind::Txt,
            },
        ];
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
            if matches!(query.read(7, &message), Reply::Records(_)) {
                seen += 1;
            }
            let noise = 3 + random.below(300);
            assert_eq!(
                query.read(7, &random.bytes(noise)),
                Reply::Foreign,
                "round {round}"
            );
        }
        assert!(seen > 0, "no mutated message was read");
    }
}
