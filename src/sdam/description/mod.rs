//! What is known of a server, and of all servers of a deployment.
//!
//! In: an answer to hello, or the error of a check. Out: values that are compared, printed and handed to
//! listeners. Source: "Server Discovery and Monitoring", "Data structures" and "Parsing a hello or legacy hello
//! response".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::DateTime;
use bson::oid::ObjectId;

use crate::address::ServerAddress;
use crate::conn::{Hello, TopologyVersion, WIRE_VERSIONS};
use crate::error::Error;
use crate::explain;
use crate::printable::Quoted;
use crate::reason::hello::WireVersionGap;

/// What kind of server it is, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerType {
    /// Not checked yet, or the last check failed. What other clients call `PossiblePrimary` is here too.
    #[default]
    Unknown,
    /// A server on its own.
    Standalone,
    /// A router of a sharded cluster.
    Mongos,
    /// The primary of a replica set.
    RsPrimary,
    /// A secondary of a replica set.
    RsSecondary,
    /// A member of a replica set without data.
    RsArbiter,
    /// A member of a replica set that serves nobody: hidden, starting or recovering.
    RsOther,
    /// A member of a replica set that does not know its set.
    RsGhost,
    /// A load balancer, by the word of the connection string.
    LoadBalancer,
}

/// What kind of deployment it is, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopologyType {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// One server, whatever it is.
    Single,
    /// A replica set without a known primary.
    ReplicaSetNoPrimary,
    /// A replica set with its primary.
    ReplicaSetWithPrimary,
    /// The routers of a sharded cluster.
    Sharded,
    /// A load balancer.
    LoadBalanced,
}

/// What is known of one server, by its last answer to hello.
///
/// Two descriptions are equal if nothing differs that the specification has events for ("Server Description
/// Equality"): round trip times, the last write and the time of the check do not count.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerDescription {
    /// The address that the client connects to.
    pub address: ServerAddress,
    /// What kind of server it is.
    pub server_type: ServerType,
    /// Why the server is [`Unknown`](ServerType::Unknown), if it was known or checked.
    pub error: Option<Error>,
    /// The moving average of how long an answer to hello takes.
    pub round_trip_time: Option<Duration>,
    /// The shortest of the last ten round trips; zero until there are two.
    pub min_round_trip_time: Duration,
    /// The primary's time when it made the last write that the server has.
    pub last_write_date: Option<DateTime>,
    /// When the server was last checked.
    pub last_update_time: Option<Instant>,
    /// The oldest wire version that the server speaks.
    pub min_wire_version: i32,
    /// The newest wire version that the server speaks.
    pub max_wire_version: i32,
    /// The address of the server as its replica set knows it.
    pub me: Option<ServerAddress>,
    /// The members of the replica set that may become primary.
    pub hosts: BTreeSet<ServerAddress>,
    /// The members that cannot become primary.
    pub passives: BTreeSet<ServerAddress>,
    /// The members without data.
    pub arbiters: BTreeSet<ServerAddress>,
    /// The tags of the member.
    pub tags: BTreeMap<String, String>,
    /// The name of the replica set.
    pub set_name: Option<String>,
    /// The version of the replica set's configuration.
    pub set_version: Option<i64>,
    /// The election that made the server primary.
    pub election_id: Option<ObjectId>,
    /// Whom the server takes for the primary.
    pub primary: Option<ServerAddress>,
    /// How long sessions live, in minutes; none without sessions.
    pub logical_session_timeout_minutes: Option<i64>,
    /// Which state of the server this is; none before MongoDB 4.4.
    pub topology_version: Option<TopologyVersion>,
    /// Whether the server is mongocryptd.
    pub is_cryptd: bool,
}

/// What is known of a deployment.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TopologyDescription {
    /// What kind of deployment it is.
    pub topology_type: TopologyType,
    /// The name of the replica set: of the connection string, or as found.
    pub set_name: Option<String>,
    /// The latest election that a primary has told of.
    pub max_election_id: Option<ObjectId>,
    /// The latest version of the configuration that a primary has told of.
    pub max_set_version: Option<i64>,
    /// The servers.
    pub servers: BTreeMap<ServerAddress, Arc<ServerDescription>>,
    /// Why the deployment cannot be used, if a server speaks no wire version that the client speaks.
    pub compatibility_error: Option<String>,
    /// How long sessions live, in minutes; none if a server that holds data knows no sessions.
    pub logical_session_timeout_minutes: Option<i64>,
    /// The interval of checks, by which the staleness of a secondary is estimated.
    pub(crate) heartbeat_frequency: Duration,
}

impl ServerType {
    /// The type as the specification spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Standalone => "Standalone",
            Self::Mongos => "Mongos",
            Self::RsPrimary => "RSPrimary",
            Self::RsSecondary => "RSSecondary",
            Self::RsArbiter => "RSArbiter",
            Self::RsOther => "RSOther",
            Self::RsGhost => "RSGhost",
            Self::LoadBalancer => "LoadBalancer",
        }
    }

    /// Whether application data can come from such a server.
    pub fn is_data_bearing(self) -> bool {
        matches!(
            self,
            Self::Standalone
                | Self::Mongos
                | Self::RsPrimary
                | Self::RsSecondary
                | Self::LoadBalancer
        )
    }

    /// "type"; of an answer with `ok: 1`.
    fn of(hello: &Hello) -> Self {
        match () {
            () if hello.is_replica_set => Self::RsGhost,
            () if hello.is_mongos => Self::Mongos,
            () if hello.set_name.is_none() => Self::Standalone,
            () if hello.hidden => Self::RsOther,
            () if hello.is_writable_primary => Self::RsPrimary,
            () if hello.secondary => Self::RsSecondary,
            () if hello.arbiter_only => Self::RsArbiter,
            () => Self::RsOther,
        }
    }
}

impl TopologyType {
    /// The type as the specification spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Single => "Single",
            Self::ReplicaSetNoPrimary => "ReplicaSetNoPrimary",
            Self::ReplicaSetWithPrimary => "ReplicaSetWithPrimary",
            Self::Sharded => "Sharded",
            Self::LoadBalanced => "LoadBalanced",
        }
    }
}

impl ServerDescription {
    /// A server that nothing is known of yet.
    pub(crate) fn unknown(address: ServerAddress) -> Self {
        Self {
            address,
            server_type: ServerType::Unknown,
            error: None,
            round_trip_time: None,
            min_round_trip_time: Duration::ZERO,
            last_write_date: None,
            last_update_time: None,
            min_wire_version: 0,
            max_wire_version: 0,
            me: None,
            hosts: BTreeSet::new(),
            passives: BTreeSet::new(),
            arbiters: BTreeSet::new(),
            tags: BTreeMap::new(),
            set_name: None,
            set_version: None,
            election_id: None,
            primary: None,
            logical_session_timeout_minutes: None,
            topology_version: None,
            is_cryptd: false,
        }
    }

    /// A server that an error has made unknown.
    pub(crate) fn failed(address: ServerAddress, error: Error) -> Self {
        Self {
            error: Some(error),
            ..Self::unknown(address)
        }
    }

    /// The one server behind a load balancer, which is never checked.
    pub(crate) fn load_balancer(address: ServerAddress) -> Self {
        Self {
            server_type: ServerType::LoadBalancer,
            ..Self::unknown(address)
        }
    }

    /// What a server said at `now`. Round trip times are filled in by who measures them.
    pub(crate) fn from_hello(address: ServerAddress, hello: &Hello, now: Instant) -> Self {
        Self {
            server_type: ServerType::of(hello),
            error: None,
            round_trip_time: None,
            min_round_trip_time: Duration::ZERO,
            last_write_date: hello.last_write_date,
            last_update_time: Some(now),
            min_wire_version: hello.min_wire_version,
            max_wire_version: hello.max_wire_version,
            me: hello.me.clone(),
            hosts: hello.hosts.clone(),
            passives: hello.passives.clone(),
            arbiters: hello.arbiters.clone(),
            tags: hello.tags.clone(),
            set_name: hello.set_name.clone(),
            set_version: hello.set_version,
            election_id: hello.election_id,
            primary: hello.primary.clone(),
            logical_session_timeout_minutes: hello.logical_session_timeout_minutes,
            topology_version: hello.topology_version,
            is_cryptd: hello.is_cryptd,
            address,
        }
    }

    /// Whether the server is believed to answer.
    pub fn is_available(&self) -> bool {
        self.server_type != ServerType::Unknown
    }

    /// All members of the replica set, by the word of this one.
    pub(crate) fn members(&self) -> impl Iterator<Item = &ServerAddress> {
        self.hosts
            .iter()
            .chain(&self.passives)
            .chain(&self.arbiters)
    }

    /// Returns whether the server answered, and speaks a wire version that the client speaks.
    pub(crate) fn is_compatible(&self) -> bool {
        self.is_available() && self.wire_version_gap().is_none()
    }

    /// The gap between the wire versions of server and client, if there is one ("Checking wire protocol
    /// compatibility").
    fn wire_version_gap(&self) -> Option<WireVersionGap> {
        // The wire versions of these are not known.
        if [ServerType::Unknown, ServerType::LoadBalancer].contains(&self.server_type) {
            return None;
        }
        WireVersionGap::between(self.min_wire_version, self.max_wire_version, WIRE_VERSIONS)
    }
}

impl PartialEq for ServerDescription {
    fn eq(&self, other: &Self) -> bool {
        // Errors have no equality of their own: they are the same if they say the same.
        let text = |it: &Self| it.error.as_ref().map(ToString::to_string);
        self.address == other.address
            && self.server_type == other.server_type
            && self.min_wire_version == other.min_wire_version
            && self.max_wire_version == other.max_wire_version
            && self.me == other.me
            && self.hosts == other.hosts
            && self.passives == other.passives
            && self.arbiters == other.arbiters
            && self.tags == other.tags
            && self.set_name == other.set_name
            && self.set_version == other.set_version
            && self.election_id == other.election_id
            && self.primary == other.primary
            && self.logical_session_timeout_minutes == other.logical_session_timeout_minutes
            && self.topology_version == other.topology_version
            && self.is_cryptd == other.is_cryptd
            && text(self) == text(other)
    }
}

impl TopologyDescription {
    /// Whether the client speaks a wire version of every server.
    pub fn is_compatible(&self) -> bool {
        self.compatibility_error.is_none()
    }

    /// The primary of the replica set, if it is known.
    pub fn primary(&self) -> Option<&Arc<ServerDescription>> {
        self.of_type(ServerType::RsPrimary).next()
    }

    /// The servers of a type.
    pub(crate) fn of_type(
        &self,
        wanted: ServerType,
    ) -> impl Iterator<Item = &Arc<ServerDescription>> {
        self.servers
            .values()
            .filter(move |server| server.server_type == wanted)
    }

    /// The first server that this client cannot work with, and the gap between their wire versions.
    pub(crate) fn incompatible(&self) -> Option<(&ServerDescription, WireVersionGap)> {
        let mut servers = self.servers.values();
        servers.find_map(|server| Some((&**server, server.wire_version_gap()?)))
    }

    /// Recomputes the fields that follow from all servers together.
    pub(crate) fn refresh(&mut self) {
        let incompatible = self.incompatible();
        self.compatibility_error = incompatible
            .map(|(server, gap)| explain::sdam::compatibility_error(&server.address, &gap));
        let with_data = self.servers.values();
        let with_data = with_data.filter(|server| server.server_type.is_data_bearing());
        // None is less than any number, and stands for the whole.
        self.logical_session_timeout_minutes = with_data
            .map(|server| server.logical_session_timeout_minutes)
            .min()
            .flatten();
    }
}

impl fmt::Display for ServerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for TopologyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line, for the log and for errors.
impl fmt::Display for ServerDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.address, self.server_type)?;
        if let Some(time) = self.round_trip_time {
            write!(f, ", {:.1} ms", time.as_secs_f64() * 1000.0)?;
        }
        if let Some(error) = &self.error {
            write!(f, ", {error}")?;
        }
        f.write_str(")")
    }
}

/// One line, for the log and for errors.
impl fmt::Display for TopologyDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.topology_type)?;
        if let Some(name) = &self.set_name {
            write!(f, " {}", Quoted(name))?;
        }
        for (index, server) in self.servers.values().enumerate() {
            write!(f, "{} {server}", if index == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
