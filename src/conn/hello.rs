//! The first hello of a connection: what is asked, and what the answer says.
//!
//! Source: "MongoDB Handshake", "Connection handshake". Without load balancing the first message is
//! the legacy hello as OP_QUERY with `helloOk`, which every server understands; behind a load balancer
//! it is `hello` as OP_MSG.

use bson::oid::ObjectId;
use bson::raw::RawDocument;
use bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf, cstr};

use crate::auth::{Attempt, with_room};
use crate::cause::{Cause, CauseCode};
use crate::options::Compressor;

/// The wire versions that this crate speaks: MongoDB 4.2 and later.
pub(crate) const WIRE_VERSIONS: std::ops::RangeInclusive<i32> = 8..=29;

/// What a server says about itself when a connection is established.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Hello {
    /// Whether the server understands the command `hello`.
    pub hello_ok: bool,
    /// Whether the server takes writes.
    pub is_writable_primary: bool,
    /// Whether the server is a secondary of a replica set.
    pub secondary: bool,
    /// The name of the replica set that the server belongs to.
    pub set_name: Option<String>,
    /// Whether the server is an arbiter of a replica set, which knows no users.
    pub arbiter_only: bool,
    /// Whether the server is a router of a sharded cluster.
    pub is_mongos: bool,
    /// The oldest wire version that the server speaks.
    pub min_wire_version: i32,
    /// The newest wire version that the server speaks.
    pub max_wire_version: i32,
    /// The largest document, in bytes.
    pub max_bson_object_size: usize,
    /// The largest message, in bytes.
    pub max_message_size: usize,
    /// The largest number of writes in one command.
    pub max_write_batch_size: u32,
    /// The server's number for the connection, as in its log.
    pub connection_id: Option<i64>,
    /// The service behind a load balancer.
    pub service_id: Option<ObjectId>,
    /// The compressors that both sides know. Requests are compressed with the first that the client names.
    pub compressors: Vec<Compressor>,
}

/// The command that opens a connection. `backpressure` says that errors of an overloaded server are
/// understood ("Client Backpressure", "Handshake changes").
pub(super) fn command(
    metadata: &RawDocument,
    load_balanced: bool,
    compressors: &[Compressor],
    attempt: Option<&Attempt<'_>>,
) -> RawDocumentBuf {
    let user = attempt.and_then(Attempt::user_to_negotiate);
    let first = attempt.and_then(Attempt::speculative_command);
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

/// More than what the fields take that are always the same: names of fields and of compressors.
const OWN_FIELDS: usize = 512;

impl Hello {
    /// Whether the server is an arbiter by the rules of "Server Discovery And Monitoring", which tells more
    /// than [`arbiter_only`](Self::arbiter_only): on its connections nobody authenticates.
    pub(crate) fn is_arbiter(&self) -> bool {
        let is_other = self.is_writable_primary || self.secondary || self.is_mongos;
        self.arbiter_only && self.set_name.is_some() && !is_other
    }

    /// Reads the fields of a successful answer. A field of another type counts as absent.
    pub(super) fn read(reply: &RawDocument) -> Self {
        let mut hello = Self {
            max_bson_object_size: 16 << 20,
            max_message_size: crate::wire::MAX_MESSAGE_SIZE,
            max_write_batch_size: 100_000,
            ..Self::default()
        };
        for (key, value) in reply.iter().map_while(Result::ok) {
            match (key.as_str(), value) {
                ("helloOk", RawBsonRef::Boolean(yes)) => hello.hello_ok = yes,
                ("ismaster" | "isWritablePrimary", RawBsonRef::Boolean(yes)) => {
                    hello.is_writable_primary = yes
                }
                ("secondary", RawBsonRef::Boolean(yes)) => hello.secondary = yes,
                ("arbiterOnly", RawBsonRef::Boolean(yes)) => hello.arbiter_only = yes,
                ("setName", RawBsonRef::String(name)) => hello.set_name = Some(name.to_owned()),
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
            // A server may ask for less than the protocol's limit, not for more.
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
            _ => {}
        }
    }

    /// Why this crate cannot work with the server, if it cannot.
    pub(super) fn incompatibility(&self) -> Option<Cause> {
        let (min, max) = (self.min_wire_version, self.max_wire_version);
        let (message, remedy) = if max < *WIRE_VERSIONS.start() {
            (
                format!(
                    "the server's wire version {max} is too old: at least {} (MongoDB 4.2) is needed",
                    WIRE_VERSIONS.start()
                ),
                "Update the server to MongoDB 4.2 or later.",
            )
        } else if min > *WIRE_VERSIONS.end() {
            (
                format!(
                    "the server needs wire version {min}, and this client speaks {} at most",
                    WIRE_VERSIONS.end()
                ),
                "Update mongotls to a release that knows this server.",
            )
        } else {
            return None;
        };
        let cause = Cause::new(CauseCode::HelloFailed, message, remedy);
        Some(
            cause
                .fact("min_wire_version", i64::from(min))
                .fact("max_wire_version", i64::from(max)),
        )
    }
}

/// A number of any of BSON's types, if it is whole.
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
    fn wire_versions_out_of_reach_are_refused_with_what_to_update() {
        let hello = |min, max| Hello {
            min_wire_version: min,
            max_wire_version: max,
            ..Hello::default()
        };
        assert!(
            hello(0, 7)
                .incompatibility()
                .unwrap()
                .remedy()
                .contains("Update the server")
        );
        assert!(
            hello(30, 40)
                .incompatibility()
                .unwrap()
                .remedy()
                .contains("Update mongotls")
        );
        assert!(
            hello(0, 8).incompatibility().is_none() && hello(29, 40).incompatibility().is_none()
        );
    }
}
