//! The first hello of a connection: its command, and its reply.
//!
//! Source: "MongoDB Handshake", "Connection handshake". The first message is the legacy hello with `helloOk`, which every
//! supported server understands. It is `hello` behind a load balancer, and if the program declares a version of the Stable
//! API. Both are OP_MSG.

use std::time::Duration;

use bson::raw::{CStr, RawDocument};
use bson::{RawArrayBuf, RawDocumentBuf, cstr};

use crate::auth::{Authentication, with_room};
use crate::data::compressor::Compressor;
use crate::data::hello::{Hello, TopologyVersion, WIRE_VERSIONS};
use crate::reason::hello::{HelloFailure, WireVersionGap};

/// The name of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HelloName {
    /// `hello`.
    Modern,
    /// `isMaster`, which all servers know.
    Legacy,
}

impl HelloName {
    /// Returns the modern name if `is_modern`, otherwise the legacy one.
    pub(super) fn new(is_modern: bool) -> Self {
        match is_modern {
            true => Self::Modern,
            false => Self::Legacy,
        }
    }

    pub(super) fn as_cstr(self) -> &'static CStr {
        match self {
            Self::Modern => cstr!("hello"),
            Self::Legacy => cstr!("isMaster"),
        }
    }
}

/// The command that opens a connection. `backpressure` is the version of the rules for errors of an overloaded server
/// that the client follows ("MongoDB Handshake", "Connection handshake").
pub(super) fn command(
    metadata: &RawDocument,
    name: HelloName,
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
    command.append(name.as_cstr(), 1_i32);
    command.append(cstr!("helloOk"), true);
    if load_balanced {
        command.append(cstr!("loadBalanced"), true);
    }
    let mut names = RawArrayBuf::new();
    compressors.iter().for_each(|one| names.push(one.as_str()));
    command.append(cstr!("client"), metadata);
    command.append(cstr!("compression"), names);
    command.append(cstr!("backpressure"), "2");
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
    name: HelloName,
    awaited: Option<(TopologyVersion, Duration)>,
) -> RawDocumentBuf {
    let mut command = RawDocumentBuf::new();
    command.append(name.as_cstr(), 1_i32);
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

/// The reason why this crate cannot work with the server, or `None` if it can.
pub(super) fn incompatibility(hello: &Hello) -> Option<HelloFailure> {
    let (min, max) = (hello.min_wire_version, hello.max_wire_version);
    WireVersionGap::between(min, max, WIRE_VERSIONS).map(HelloFailure::WireVersion)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bson::oid::ObjectId;
    use bson::{DateTime, rawdoc};

    use super::*;
    use crate::address::ServerAddress;

    #[test]
    fn fields_are_read_whatever_number_type_they_have() {
        let reply = rawdoc! {
            "ismaster": true, "helloOk": true, "maxWireVersion": 21.0, "minWireVersion": 0_i64,
            "maxMessageSizeBytes": 48_000_001_i32, "maxBsonObjectSize": -1_i32, "setName": "rs", "connectionId": 7_i32,
        };
        let hello = Hello::read(&reply);
        assert!(hello.is_writable_primary && hello.hello_ok && incompatibility(&hello).is_none());
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
    fn replica_set_fields_are_read_and_invalid_ones_ignored() {
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
        let is_client_too_old = |min, max| match incompatibility(&hello(min, max)) {
            Some(HelloFailure::WireVersion(gap)) => Some(gap.is_client_too_old()),
            _ => None,
        };
        assert_eq!(is_client_too_old(0, 7), Some(false));
        assert_eq!(is_client_too_old(30, 40), Some(true));
        assert!(
            incompatibility(&hello(0, 8)).is_none() && incompatibility(&hello(29, 40)).is_none()
        );
    }
}
