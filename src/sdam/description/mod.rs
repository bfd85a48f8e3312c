//! The descriptions of a server, and of all servers of a deployment.
//!
//! Input: a reply to hello, or the error of a check. Output: values that are compared, printed and passed to
//! listeners. Source: "Server Discovery and Monitoring", "Data structures" and "Parsing a hello or legacy hello
//! response".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::DateTime;
use bson::oid::ObjectId;

use crate::address::ServerAddress;
use crate::data::hello::{Hello, TopologyVersion, WIRE_VERSIONS};
use crate::enum_text::display_as_str;
use crate::error::Error;
use crate::explain;
use crate::printable::Quoted;
use crate::reason::hello::WireVersionGap;

/// The type of a server, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerType {
    /// The server has not been checked yet, or the last check failed. This includes the `PossiblePrimary` of other
    /// clients.
    #[default]
    Unknown,
    /// A standalone server.
    Standalone,
    /// A router of a sharded cluster.
    Mongos,
    /// The primary of a replica set.
    RsPrimary,
    /// A secondary of a replica set.
    RsSecondary,
    /// A member of a replica set without data.
    RsArbiter,
    /// A member of a replica set that serves no requests: hidden, starting or recovering.
    RsOther,
    /// A member of a replica set whose set is not known yet.
    RsGhost,
    /// A load balancer, according to the connection string.
    LoadBalancer,
}

/// The type of a deployment, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopologyType {
    /// The type is not known yet.
    #[default]
    Unknown,
    /// One server of any type.
    Single,
    /// A replica set without a known primary.
    ReplicaSetNoPrimary,
    /// A replica set with a known primary.
    ReplicaSetWithPrimary,
    /// The routers of a sharded cluster.
    Sharded,
    /// A load balancer.
    LoadBalanced,
}

/// The state of one server, according to its last reply to hello.
///
/// Two descriptions are equal if they differ in nothing for which the specification defines events ("Server
/// Description Equality"): round trip times, the last write and the time of the check do not count.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerDescription {
    /// The address that the client connects to.
    pub address: ServerAddress,
    /// The type of the server.
    pub server_type: ServerType,
    /// The reason why the server is [`Unknown`](ServerType::Unknown), if it was checked or known before.
    pub error: Option<Error>,
    /// The moving average of the time that a reply to hello takes.
    pub round_trip_time: Option<Duration>,
    /// The minimum of the last ten round trip times; zero until there are two.
    pub min_round_trip_time: Duration,
    /// The time of the last write that the server has, by the clock of the primary.
    pub last_write_date: Option<DateTime>,
    /// The time of the last check.
    pub last_update_time: Option<Instant>,
    /// The minimum wire version of the server.
    pub min_wire_version: i32,
    /// The maximum wire version of the server.
    pub max_wire_version: i32,
    /// The address of the server in the configuration of its replica set.
    pub me: Option<ServerAddress>,
    /// The members of the replica set that can become primary.
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
    /// The ID of the election that made the server primary.
    pub election_id: Option<ObjectId>,
    /// The primary, according to this server.
    pub primary: Option<ServerAddress>,
    /// The lifetime of sessions in minutes, or `None` if the server does not support sessions.
    pub logical_session_timeout_minutes: Option<i64>,
    /// The version of the server's state, or `None` before MongoDB 4.4.
    pub topology_version: Option<TopologyVersion>,
    /// True if the server is mongocryptd.
    pub is_cryptd: bool,
}

/// The state of a deployment.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TopologyDescription {
    /// The type of the deployment.
    pub topology_type: TopologyType,
    /// The name of the replica set, from the connection string or from a server.
    pub set_name: Option<String>,
    /// The latest election that a primary has reported.
    pub max_election_id: Option<ObjectId>,
    /// The latest version of the configuration that a primary has reported.
    pub max_set_version: Option<i64>,
    /// The servers.
    pub servers: BTreeMap<ServerAddress, Arc<ServerDescription>>,
    /// The reason why the deployment cannot be used, if a server has no wire version in common with the client.
    pub compatibility_error: Option<String>,
    /// The lifetime of sessions in minutes, or `None` if a data-bearing server does not support sessions.
    pub logical_session_timeout_minutes: Option<i64>,
    /// The interval of checks, which is used to estimate the staleness of a secondary.
    pub(crate) heartbeat_frequency: Duration,
}

impl ServerType {
    /// Returns the type as the specification spells it.
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

    /// Returns true if a server of this type can serve application data.
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

    /// Returns the "type" for a reply with `ok: 1`.
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
    /// Returns the type as the specification spells it.
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
    /// Creates the description of a server that has not been checked yet.
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

    /// Creates the description of a server that became unknown because of an error.
    pub(crate) fn failed(address: ServerAddress, error: Error) -> Self {
        Self {
            error: Some(error),
            ..Self::unknown(address)
        }
    }

    /// Creates the description of the one server behind a load balancer, which is never checked.
    pub(crate) fn load_balancer(address: ServerAddress) -> Self {
        Self {
            server_type: ServerType::LoadBalancer,
            ..Self::unknown(address)
        }
    }

    /// Creates a description from a reply received at `now`. The caller adds the round trip times.
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

    /// Returns true if the server is believed to be reachable.
    pub fn is_available(&self) -> bool {
        self.server_type != ServerType::Unknown
    }

    /// Returns all members of the replica set, according to this server.
    pub(crate) fn members(&self) -> impl Iterator<Item = &ServerAddress> {
        self.hosts
            .iter()
            .chain(&self.passives)
            .chain(&self.arbiters)
    }

    /// Returns true if the server answered, and has a wire version in common with the client.
    pub(crate) fn is_compatible(&self) -> bool {
        self.is_available() && self.wire_version_gap().is_none()
    }

    /// Returns the gap between the wire versions of server and client, if there is one ("Checking wire protocol
    /// compatibility").
    fn wire_version_gap(&self) -> Option<WireVersionGap> {
        // The wire versions of these types are unknown.
        if [ServerType::Unknown, ServerType::LoadBalancer].contains(&self.server_type) {
            return None;
        }
        WireVersionGap::between(self.min_wire_version, self.max_wire_version, WIRE_VERSIONS)
    }
}

impl PartialEq for ServerDescription {
    fn eq(&self, other: &Self) -> bool {
        // Errors do not implement equality, so their texts are compared.
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
    /// Returns true if every server has a wire version in common with the client.
    pub fn is_compatible(&self) -> bool {
        self.compatibility_error.is_none()
    }

    /// Returns the primary of the replica set, if it is known.
    pub fn primary(&self) -> Option<&Arc<ServerDescription>> {
        self.of_type(ServerType::RsPrimary).next()
    }

    /// Returns the servers of a type.
    pub(crate) fn of_type(
        &self,
        server_type: ServerType,
    ) -> impl Iterator<Item = &Arc<ServerDescription>> {
        self.servers
            .values()
            .filter(move |server| server.server_type == server_type)
    }

    /// Returns the first server that this client cannot work with, and the gap between their wire versions.
    pub(crate) fn incompatible(&self) -> Option<(&ServerDescription, WireVersionGap)> {
        let mut servers = self.servers.values();
        servers.find_map(|server| Some((&**server, server.wire_version_gap()?)))
    }

    /// Computes the fields that depend on all servers together.
    pub(crate) fn refresh(&mut self) {
        let incompatible = self.incompatible();
        self.compatibility_error = incompatible
            .map(|(server, gap)| explain::sdam::compatibility_error(&server.address, &gap));
        let with_data = self.servers.values();
        let with_data = with_data.filter(|server| server.server_type.is_data_bearing());
        // `None` is less than any number, and applies to the whole deployment.
        self.logical_session_timeout_minutes = with_data
            .map(|server| server.logical_session_timeout_minutes)
            .min()
            .flatten();
    }
}

display_as_str!(ServerType, TopologyType);

/// Prints one line, for the log and for errors.
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

/// Prints one line, for the log and for errors.
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
