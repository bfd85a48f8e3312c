//! The first hello of a connection: its command, and its reply.
//!
//! Source: "MongoDB Handshake", "Connection handshake". Without load balancing the first message is the legacy hello as
//! OP_QUERY with `helloOk`, which every server understands; behind a load balancer it is `hello` as OP_MSG.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bson::DateTime;
use bson::oid::ObjectId;
use bson::raw::{RawArray, RawDocument};
use bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf, cstr};

use crate::address::ServerAddress;
use crate::auth::{Authentication, with_room};
use crate::options::Compressor;
use crate::reason::hello::{HelloFailure, WireVersionGap};

/// The wire versions that this crate supports: MongoDB 4.2 and later.
pub(crate) const WIRE_VERSIONS: std::ops::RangeInclusive<i32> = 8..=29;

/// A server's description of itself, when a connection is established and when the server is monitored.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Hello {
    /// True if the server understands the command `hello`.
    pub hello_ok: bool,
    /// True if the server accepts writes.
    pub is_writable_primary: bool,
    /// True if the server is a secondary of a replica set.
    pub secondary: bool,
    /// The name of the replica set that the server belongs to.
    pub set_name: Option<String>,
    /// True if the server is an arbiter of a replica set, which has no users.
    pub arbiter_only: bool,
    /// True if the server is a member of a replica set but does not know its set: it is not initialized, or was
    /// removed.
    pub is_replica_set: bool,
    /// True if the server is a hidden member of a replica set, which serves no reads.
    pub hidden: bool,
    /// True if the server is a router of a sharded cluster.
    pub is_mongos: bool,
    /// True if the server is mongocryptd, which helps with encryption and holds no data.
    pub is_cryptd: bool,
    /// The address of the server as its replica set knows it.
    pub me: Option<ServerAddress>,
    /// The members of the replica set that may become primary. At most 1000 members are read, here and below, and
    /// invalid addresses are omitted.
    pub hosts: BTreeSet<ServerAddress>,
    /// The members that cannot become primary.
    pub passives: BTreeSet<ServerAddress>,
    /// The members without data.
    pub arbiters: BTreeSet<ServerAddress>,
    /// The primary according to the server.
    pub primary: Option<ServerAddress>,
    /// The version of the replica set's configuration.
    pub set_version: Option<i64>,
    /// The election that made the server primary.
    pub election_id: Option<ObjectId>,
    /// The tags of the member.
    pub tags: BTreeMap<String, String>,
    /// The primary's time when it made the last write that the member has.
    pub last_write_date: Option<DateTime>,
    /// The server's clock at the time of the reply.
    pub local_time: Option<DateTime>,
    /// The lifetime of sessions, in minutes; `None` if the server does not support sessions.
    pub logical_session_timeout_minutes: Option<i64>,
    /// The version of the server's state in this reply; `None` before MongoDB 4.4.
    pub topology_version: Option<TopologyVersion>,
    /// The oldest wire version that the server supports.
    pub min_wire_version: i32,
    /// The newest wire version that the server supports.
    pub max_wire_version: i32,
    /// The largest document, in bytes.
    pub max_bson_object_size: usize,
    /// The largest message, in bytes.
    pub max_message_size: usize,
    /// The largest number of writes in one command.
    pub max_write_batch_size: u32,
    /// The server's number of the connection, as in its log.
    pub connection_id: Option<i64>,
    /// The service behind a load balancer, or `None` without one.
    pub service_id: Option<ObjectId>,
    /// The compressors that both sides know. Requests are compressed with the first that the client names.
    pub compressors: Vec<Compressor>,
}

/// The version of a server's state in a reply: the server counts its states from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopologyVersion {
    /// The process; it changes with each start.
    pub process_id: ObjectId,
    /// The number of the state.
    pub counter: i64,
}

/// The command that opens a connection. `backpressure` reports that the client understands errors of an overloaded
/// server ("Client Backpressure", "Handshake changes").
pub(super) fn command(
    metadata: &RawDocument,
    load_balanced: bool,
    compressors: &[Compressor],
    attempt: Option<&Authentication<'_>>,
) -> RawDocumentBuf {
    let user = attempt.and_then(Authentication::user_to_negotiate);
    let first = attempt.and_then(Authentication::speculative_command);
    let mut command = with_room(
        OWN_FIELDS
            + metadata.as_bytes().len()
            + user.as_ref().map_or(0, String::len)
            + first.map_or(0, |first| first.as_bytes().len()),
    );
    let name = match load_balanced {
        true => cstr!("hello"),
        false => cstr!("isMaster"),
    };
    command.append(name, 1_i32);
    command.append(cstr!("helloOk"), true);
    if load_balanced {
        command.append(cstr!("loadBalanced"), true);
    }
    let mut names = RawArrayBuf::new();
    compressors.iter().for_each(|one| names.push(one.as_str()));
    command.append(cstr!("client"), metadata);
    command.append(cstr!("compression"), names);
    command.append(cstr!("backpressure"), true);
    if let Some(user) = user {
        command.append(cstr!("saslSupportedMechs"), user);
    }
    if let Some(first) = first {
        command.append(cstr!("speculativeAuthenticate"), first);
    }
    command
}

/// The command of a later check, on a connection whose server has answered the first hello. With `awaited`, the server
/// answers as soon as its state differs from that version, or after that time.
pub(super) fn check_command(
    hello_ok: bool,
    awaited: Option<(TopologyVersion, Duration)>,
) -> RawDocumentBuf {
    let mut command = RawDocumentBuf::new();
    match hello_ok {
        true => command.append(cstr!("hello"), 1_i32),
        false => command.append(cstr!("isMaster"), 1_i32),
    }
    command.append(cstr!("helloOk"), true);
    if let Some((version, limit)) = awaited {
        let mut known = RawDocumentBuf::new();
        known.append(cstr!("processId"), version.process_id);
        known.append(cstr!("counter"), version.counter);
        command.append(cstr!("topologyVersion"), known);
        let limit = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        command.append(cstr!("maxAwaitTimeMS"), limit);
    }
    command
}

/// An upper bound of the size of the constant fields: names of fields and of compressors.
const OWN_FIELDS: usize = 512;

impl Hello {
    /// Returns true if the server is an arbiter by the rules of "Server Discovery And Monitoring", which cover more
    /// than [`arbiter_only`](Self::arbiter_only). No client authenticates on its connections.
    pub(crate) fn is_arbiter(&self) -> bool {
        let is_other = self.is_writable_primary || self.secondary || self.is_mongos;
        self.arbiter_only && self.set_name.is_some() && !is_other
    }

    /// Reads the fields of a successful reply. A field of another type counts as absent.
    pub(crate) fn read(reply: &RawDocument) -> Self {
        let mut hello = Self {
            max_bson_object_size: 16 << 20,
            max_message_size: crate::wire::MAX_MESSAGE_SIZE,
            max_write_batch_size: 100_000,
            ..Self::default()
        };
        let mut is_master = false;
        let mut is_writable_primary = None;
        for (key, value) in reply.iter().filter_map(Result::ok) {
            match (key.as_str(), value) {
                ("helloOk", RawBsonRef::Boolean(yes)) => hello.hello_ok = yes,
                ("ismaster", RawBsonRef::Boolean(yes)) => is_master = yes,
                ("isWritablePrimary", RawBsonRef::Boolean(yes)) => is_writable_primary = Some(yes),
                ("secondary", RawBsonRef::Boolean(yes)) => hello.secondary = yes,
                ("arbiterOnly", RawBsonRef::Boolean(yes)) => hello.arbiter_only = yes,
                ("isreplicaset", RawBsonRef::Boolean(yes)) => hello.is_replica_set = yes,
                ("hidden", RawBsonRef::Boolean(yes)) => hello.hidden = yes,
                ("iscryptd", RawBsonRef::Boolean(yes)) => hello.is_cryptd = yes,
                ("setName", RawBsonRef::String(name)) => hello.set_name = Some(name.to_owned()),
                ("me", RawBsonRef::String(address)) => hello.me = address.parse().ok(),
                ("primary", RawBsonRef::String(address)) => hello.primary = address.parse().ok(),
                ("hosts", RawBsonRef::Array(list)) => hello.hosts = addresses(list),
                ("passives", RawBsonRef::Array(list)) => hello.passives = addresses(list),
                ("arbiters", RawBsonRef::Array(list)) => hello.arbiters = addresses(list),
                ("electionId", RawBsonRef::ObjectId(id)) => hello.election_id = Some(id),
                ("localTime", RawBsonRef::DateTime(time)) => hello.local_time = Some(time),
                ("tags", RawBsonRef::Document(tags)) => hello.tags = texts(tags),
                ("lastWrite", RawBsonRef::Document(last)) => {
                    let date = last.get_datetime("lastWriteDate");
                    hello.last_write_date = date.ok();
                }
                ("topologyVersion", RawBsonRef::Document(version)) => {
                    hello.topology_version = TopologyVersion::read(version);
                }
                ("msg", RawBsonRef::String(text)) => hello.is_mongos = text == "isdbgrid",
                ("serviceId", RawBsonRef::ObjectId(id)) => hello.service_id = Some(id),
                ("compression", RawBsonRef::Array(names)) => {
                    let names = names.into_iter().map_while(Result::ok);
                    for known in names.filter_map(|name| name.as_str()?.parse().ok()) {
                        if !hello.compressors.contains(&known) {
                            hello.compressors.push(known);
                        }
                    }
                }
                (_, number) => hello.read_number(key.as_str(), number),
            }
        }
        hello.is_writable_primary = is_writable_primary.unwrap_or(is_master);
        hello
    }

    fn read_number(&mut self, key: &str, value: RawBsonRef<'_>) {
        let Some(number) = integer(value) else { return };
        let size = usize::try_from(number).ok().filter(|size| *size > 0);
        match key {
            "minWireVersion" => self.min_wire_version = i32::try_from(number).unwrap_or(i32::MAX),
            "maxWireVersion" => self.max_wire_version = i32::try_from(number).unwrap_or(i32::MAX),
            "maxBsonObjectSize" => {
                self.max_bson_object_size = size.unwrap_or(self.max_bson_object_size)
            }
            // A server may set a lower limit than the protocol's, but not a higher one.
            "maxMessageSizeBytes" => {
                self.max_message_size = size
                    .unwrap_or(self.max_message_size)
                    .min(crate::wire::MAX_MESSAGE_SIZE);
            }
            "maxWriteBatchSize" => {
                self.max_write_batch_size =
                    u32::try_from(number).unwrap_or(self.max_write_batch_size)
            }
            "connectionId" => self.connection_id = Some(number),
            "setVersion" => self.set_version = Some(number),
            "logicalSessionTimeoutMinutes" => {
                self.logical_session_timeout_minutes = Some(number);
            }
            _ => {}
        }
    }

    /// The reason why this crate cannot work with the server, or `None` if it can.
    pub(super) fn incompatibility(&self) -> Option<HelloFailure> {
        let (min, max) = (self.min_wire_version, self.max_wire_version);
        WireVersionGap::between(min, max, WIRE_VERSIONS).map(HelloFailure::WireVersion)
    }
}

impl TopologyVersion {
    pub(super) fn read(version: &RawDocument) -> Option<Self> {
        Some(Self {
            process_id: version.get_object_id("processId").ok()?,
            counter: integer(version.get("counter").ok()??)?,
        })
    }

    /// The version in a reply to any command.
    pub(crate) fn of_answer(answer: &RawDocument) -> Option<Self> {
        Self::read(answer.get_document("topologyVersion").ok()?)
    }

    /// Returns true if `answer` is of an earlier state than `known`. Versions that cannot be compared count as later
    /// ("topologyVersion Comparison").
    pub(crate) fn is_earlier(answer: Option<Self>, known: Option<Self>) -> bool {
        Self::both_of_one_process(answer, known).is_some_and(|(answer, known)| answer < known)
    }

    /// Returns true if `answer` is of an earlier state than `known`, or of the same state.
    pub(crate) fn is_no_later(answer: Option<Self>, known: Option<Self>) -> bool {
        Self::both_of_one_process(answer, known).is_some_and(|(answer, known)| answer <= known)
    }

    fn both_of_one_process(answer: Option<Self>, known: Option<Self>) -> Option<(i64, i64)> {
        let (answer, known) = (answer?, known?);
        (answer.process_id == known.process_id).then_some((answer.counter, known.counter))
    }
}

/// The addresses of a list, up to [`MAX_MEMBERS`].
fn addresses(list: &RawArray) -> BTreeSet<ServerAddress> {
    let texts = list.into_iter().map_while(Result::ok);
    texts
        .take(MAX_MEMBERS)
        .filter_map(|text| text.as_str()?.parse().ok())
        .collect()
}

fn texts(tags: &RawDocument) -> BTreeMap<String, String> {
    let tags = tags.iter().map_while(Result::ok);
    tags.filter_map(|(key, value)| Some((key.to_string(), value.as_str()?.to_owned())))
        .collect()
}

/// The maximum number of members of a replica set that are read; MongoDB allows 50.
const MAX_MEMBERS: usize = 1000;

/// Converts a number of any BSON type, if it is whole.
pub(crate) fn integer(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(number) => Some(i64::from(number)),
        RawBsonRef::Int64(number) => Some(number),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked to be whole and far below 2^63"
        )]
        RawBsonRef::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Some(number as i64)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn fields_are_read_whatever_number_type_they_have() {
        let reply = rawdoc! {
            "ismaster": true, "helloOk": true, "maxWireVersion": 21.0, "minWireVersion": 0_i64,
            "maxMessageSizeBytes": 48_000_001_i32, "maxBsonObjectSize": -1_i32, "setName": "rs", "connectionId": 7_i32,
        };
        let hello = Hello::read(&reply);
        assert!(hello.is_writable_primary && hello.hello_ok && hello.incompatibility().is_none());
        assert_eq!(
            (hello.max_message_size, hello.max_bson_object_size),
            (48_000_000, 16 << 20)
        );
        assert_eq!(
            (hello.set_name.as_deref(), hello.connection_id),
            (Some("rs"), Some(7))
        );
    }

    #[test]
    fn what_a_member_says_of_its_set_is_read_and_nonsense_left_out() {
        let address = |name: &str| ServerAddress::tcp(name, 27017);
        let reply = rawdoc! {
            "hosts": ["A:27017", "b", 7, "no host", "[::1]:1"], "arbiters": ["c:27017"], "me": "a:0", "primary": "B:27017",
            "tags": { "dc": "east", "rank": 1 }, "setVersion": 3.0, "electionId": ObjectId::from_bytes([1; 12]),
            "lastWrite": { "lastWriteDate": DateTime::from_millis(5), "opTime": 1 }, "hidden": true,
            "topologyVersion": { "processId": ObjectId::from_bytes([2; 12]), "counter": 4_i64 },
            "localTime": DateTime::from_millis(7), "logicalSessionTimeoutMinutes": 30, "isWritablePrimary": false, "ismaster": true,
        };
        let hello = Hello::read(&reply);
        let hosts = [address("a"), address("b"), ServerAddress::tcp("::1", 1)];
        assert_eq!(hello.hosts, BTreeSet::from(hosts));
        assert_eq!(hello.arbiters, BTreeSet::from([address("c")]));
        assert_eq!((hello.me, hello.primary), (None, Some(address("b"))));
        let tags = BTreeMap::from([("dc".to_owned(), "east".to_owned())]);
        assert_eq!((hello.tags, hello.set_version), (tags, Some(3)));
        assert_eq!(hello.election_id, Some(ObjectId::from_bytes([1; 12])));
        assert_eq!(hello.last_write_date, Some(DateTime::from_millis(5)));
        assert_eq!(hello.local_time, Some(DateTime::from_millis(7)));
        assert_eq!(hello.topology_version.unwrap().counter, 4);
        assert_eq!(hello.logical_session_timeout_minutes, Some(30));
        assert!(hello.hidden && !hello.is_writable_primary);
    }

    #[test]
    fn topology_versions_compare_within_one_process_alone() {
        let version = |process: u8, counter| {
            let process_id = ObjectId::from_bytes([process; 12]);
            Some(TopologyVersion {
                process_id,
                counter,
            })
        };
        for (answer, known, is_earlier, is_no_later) in [
            (version(1, 1), version(1, 2), true, true),
            (version(1, 2), version(1, 2), false, true),
            (version(1, 3), version(1, 2), false, false),
            (version(2, 1), version(1, 2), false, false),
            (None, version(1, 2), false, false),
            (version(1, 1), None, false, false),
        ] {
            assert_eq!(TopologyVersion::is_earlier(answer, known), is_earlier);
            assert_eq!(TopologyVersion::is_no_later(answer, known), is_no_later);
        }
    }

    #[test]
    fn wire_versions_out_of_reach_are_refused() {
        let hello = |min, max| Hello {
            min_wire_version: min,
            max_wire_version: max,
            ..Hello::default()
        };
        let is_client_too_old = |min, max| match hello(min, max).incompatibility() {
            Some(HelloFailure::WireVersion(gap)) => Some(gap.is_client_too_old()),
            _ => None,
        };
        assert_eq!(is_client_too_old(0, 7), Some(false));
        assert_eq!(is_client_too_old(30, 40), Some(true));
        assert!(
            hello(0, 8).incompatibility().is_none() && hello(29, 40).incompatibility().is_none()
        );
    }
}
