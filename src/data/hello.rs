//! The description of itself that a server returns in its reply to hello.
//!
//! Source: "Server Discovery and Monitoring", "MongoDB Handshake".

use std::collections::{BTreeMap, BTreeSet};

use bson::oid::ObjectId;
use bson::raw::{RawArray, RawDocument};
use bson::{DateTime, RawBsonRef};

use crate::address::ServerAddress;
use crate::data::compressor::Compressor;

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
    /// True if the server is an arbiter of a replica set, which stores no users.
    pub arbiter_only: bool,
    /// True if the server is a member of a replica set whose set is not known: it is not initialized, or was removed.
    pub is_replica_set: bool,
    /// True if the server is a hidden member of a replica set, which serves no reads.
    pub hidden: bool,
    /// True if the server is a router of a sharded cluster.
    pub is_mongos: bool,
    /// True if the server is mongocryptd, which helps with encryption and stores no data.
    pub is_cryptd: bool,
    /// The address of the server in the configuration of its replica set.
    pub me: Option<ServerAddress>,
    /// The members of the replica set that can become primary. At most 1000 members are read for this field and the
    /// next two, and invalid addresses are omitted.
    pub hosts: BTreeSet<ServerAddress>,
    /// The members that cannot become primary.
    pub passives: BTreeSet<ServerAddress>,
    /// The members without data.
    pub arbiters: BTreeSet<ServerAddress>,
    /// The primary, according to the server.
    pub primary: Option<ServerAddress>,
    /// The version of the replica set's configuration.
    pub set_version: Option<i64>,
    /// The election that made the server primary.
    pub election_id: Option<ObjectId>,
    /// The tags of the member.
    pub tags: BTreeMap<String, String>,
    /// The time of the last write that the member has, by the clock of the primary.
    pub last_write_date: Option<DateTime>,
    /// The server's clock at the time of the reply.
    pub local_time: Option<DateTime>,
    /// The lifetime of sessions, in minutes; `None` if the server does not support sessions.
    pub logical_session_timeout_minutes: Option<i64>,
    /// The version of the server's state in this reply; `None` before MongoDB 4.4.
    pub topology_version: Option<TopologyVersion>,
    /// The minimum wire version of the server.
    pub min_wire_version: i32,
    /// The maximum wire version of the server.
    pub max_wire_version: i32,
    /// The maximum size of a document, in bytes.
    pub max_bson_object_size: usize,
    /// The maximum size of a message, in bytes.
    pub max_message_size: usize,
    /// The maximum number of writes in one command.
    pub max_write_batch_size: u32,
    /// The server's number for the connection, as in its log.
    pub connection_id: Option<i64>,
    /// The service behind a load balancer, or `None` without one.
    pub service_id: Option<ObjectId>,
    /// The compressors that both sides support. Requests are compressed with the first one in the client's order.
    pub compressors: Vec<Compressor>,
}

/// The version of a server's state in a reply. A server numbers its states from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopologyVersion {
    /// The ID of the server process, which changes with each start.
    pub process_id: ObjectId,
    /// The number of the state.
    pub counter: i64,
}

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
            max_message_size: MAX_MESSAGE_SIZE,
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
                self.max_message_size = size.unwrap_or(self.max_message_size).min(MAX_MESSAGE_SIZE);
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
}

impl TopologyVersion {
    pub(crate) fn read(version: &RawDocument) -> Option<Self> {
        Some(Self {
            process_id: version.get_object_id("processId").ok()?,
            counter: integer(version.get("counter").ok()??)?,
        })
    }

    /// Reads the version in a reply to any command.
    pub(crate) fn of_answer(answer: &RawDocument) -> Option<Self> {
        Self::read(answer.get_document("topologyVersion").ok()?)
    }

    /// Returns true if `answer` belongs to an earlier state than `known`. Versions that cannot be compared count as
    /// later ("topologyVersion Comparison").
    pub(crate) fn is_earlier(answer: Option<Self>, known: Option<Self>) -> bool {
        Self::both_of_one_process(answer, known).is_some_and(|(answer, known)| answer < known)
    }

    /// Returns true if `answer` belongs to an earlier state than `known`, or to the same state.
    pub(crate) fn is_no_later(answer: Option<Self>, known: Option<Self>) -> bool {
        Self::both_of_one_process(answer, known).is_some_and(|(answer, known)| answer <= known)
    }

    fn both_of_one_process(answer: Option<Self>, known: Option<Self>) -> Option<(i64, i64)> {
        let (answer, known) = (answer?, known?);
        (answer.process_id == known.process_id).then_some((answer.counter, known.counter))
    }
}

/// Reads the addresses of a list, up to [`MAX_MEMBERS`].
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

/// The maximum size of a message in either direction, unless the server announces a smaller limit.
pub(crate) const MAX_MESSAGE_SIZE: usize = 48_000_000;

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
