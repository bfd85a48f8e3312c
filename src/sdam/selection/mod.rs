//! The servers that are suitable for an operation, and the choice among them.
//!
//! Input: the topology, the requirements of the operation, and the load of the servers. Output: servers. If there is
//! none, the caller waits. The server itself hedges reads. Source: "Server Selection".

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::description::{ServerDescription, ServerType, TopologyDescription, TopologyType};
use super::staleness::Staleness;
use crate::address::ServerAddress;
use crate::error::{Error, Result, Stage};
use crate::options::{ReadPreference, ReadPreferenceMode, TagSet};
use crate::reason::sdam::SdamFailure;

/// The requirements of an operation on its server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ServerRequirement<'a> {
    /// A read, with this preference.
    Read(&'a ReadPreference),
    /// An aggregation that writes its results, with this preference. A deployment with a server that has no such
    /// aggregations on secondaries runs it on the primary.
    ReadAndWrite(&'a ReadPreference),
    /// A write.
    Write,
    /// A command of a transaction that is pinned to this server ("Transactions", "Mongos Pinning").
    Pinned(&'a ServerAddress),
}

impl fmt::Display for ServerRequirement<'_> {
    /// Prints the requirements, as the end of "no server for".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let preference = match self {
            Self::Read(preference) | Self::ReadAndWrite(preference) => preference,
            Self::Write => return f.write_str("a write"),
            Self::Pinned(server) => return write!(f, "a transaction that is pinned to {server}"),
        };
        write!(f, "a read by {}", preference.mode)?;
        for set in &preference.tag_sets {
            let tags: Vec<String> = set
                .iter()
                .map(|tag| format!("{}:{}", tag.name, tag.value))
                .collect();
            write!(f, ", tags {}", if tags.is_empty() { "any" } else { "" })?;
            f.write_str(&tags.join(","))?;
        }
        match preference.max_staleness {
            Some(limit) => write!(f, ", maxStalenessSeconds {}", limit.as_secs_f64()),
            None => Ok(()),
        }
    }
}

/// The first wire version whose secondaries run aggregations with `$out` or `$merge`: MongoDB 5.0.
pub(crate) const WRITES_ON_SECONDARIES: i32 = 13;

type Servers<'t> = Vec<&'t Arc<ServerDescription>>;

impl TopologyDescription {
    /// Returns the servers that are suitable for an operation. Servers in `deprioritized` are excluded, unless no
    /// other is suitable.
    ///
    /// # Errors
    /// If a server has no wire version in common with the client, or if no replica set can ever satisfy the read
    /// preference.
    pub(crate) fn suitable(
        &self,
        requirement: ServerRequirement<'_>,
        deprioritized: &[ServerAddress],
    ) -> Result<Servers<'_>> {
        let incompatible = self.compatibility_error.as_ref();
        if let Some((server, gap)) = incompatible.and_then(|_| self.incompatible()) {
            let server = server.address.clone();
            let cause = SdamFailure::Incompatible {
                server: server.clone(),
                gap,
            };
            return Err(Error::failed(Stage::Hello, cause).with_server(&server));
        }
        let requirement = match requirement {
            ServerRequirement::ReadAndWrite(preference) => match self.writes_on_secondaries() {
                true => ServerRequirement::Read(preference),
                false => ServerRequirement::Write,
            },
            other => other,
        };
        if let ServerRequirement::Read(preference) = requirement {
            self.check(preference)?;
        }
        let others = |server: &ServerDescription| !deprioritized.contains(&server.address);
        let suitable = self.suitable_of(requirement, others);
        match suitable.is_empty() && !deprioritized.is_empty() {
            true => Ok(self.suitable_of(requirement, |_| true)),
            false => Ok(suitable),
        }
    }

    /// Returns true if a server that can be read from is known. Without a preference, only the primary counts.
    pub fn has_readable_server(&self, preference: Option<&ReadPreference>) -> bool {
        let primary = ReadPreference::default();
        let requirement = ServerRequirement::Read(preference.unwrap_or(&primary));
        self.suitable(requirement, &[])
            .is_ok_and(|servers| !servers.is_empty())
    }

    /// Returns true if a server that can be written to is known.
    pub fn has_writable_server(&self) -> bool {
        self.suitable(ServerRequirement::Write, &[])
            .is_ok_and(|servers| !servers.is_empty())
    }

    /// Returns true if all available servers can run an aggregation that writes on a secondary.
    fn writes_on_secondaries(&self) -> bool {
        let mut available = self.servers.values().filter(|server| server.is_available());
        available.all(|server| server.max_wire_version >= WRITES_ON_SECONDARIES)
    }

    fn is_replica_set(&self) -> bool {
        let kinds = [
            TopologyType::ReplicaSetNoPrimary,
            TopologyType::ReplicaSetWithPrimary,
        ];
        kinds.contains(&self.topology_type)
    }

    /// Checks the one rule between a staleness limit and the heartbeat interval, which no single option can check.
    fn check(&self, preference: &ReadPreference) -> Result<()> {
        if !self.is_replica_set() {
            return Ok(());
        }
        let checked = preference.check();
        checked.map_err(|conflict| Error::invalid_argument(conflict.to_string()))?;
        let smallest = self.heartbeat_frequency.saturating_add(IDLE_WRITE_PERIOD);
        match preference.max_staleness {
            Some(limit) if limit < smallest => Err(Error::invalid_argument(format!(
                "maxStalenessSeconds must be heartbeatFrequencyMS and 10 s or more, in all {} s",
                smallest.as_secs_f64()
            ))),
            _ => Ok(()),
        }
    }

    fn suitable_of(
        &self,
        requirement: ServerRequirement<'_>,
        admit: impl Fn(&ServerDescription) -> bool,
    ) -> Servers<'_> {
        let of_type = |wanted: ServerType| -> Servers<'_> {
            self.of_type(wanted)
                .filter(|server| admit(server))
                .collect()
        };
        match (self.topology_type, requirement) {
            (TopologyType::Unknown, _) => Vec::new(),
            (_, ServerRequirement::Pinned(address)) => {
                let servers = self.servers.values();
                servers
                    .filter(|server| server.is_available() && server.address == *address)
                    .collect()
            }
            (TopologyType::Single, _) => {
                let servers = self.servers.values();
                servers
                    .filter(|server| server.is_available() && admit(server))
                    .collect()
            }
            (TopologyType::Sharded, _) => of_type(ServerType::Mongos),
            (TopologyType::LoadBalanced, _) => of_type(ServerType::LoadBalancer),
            (_, ServerRequirement::Write) => of_type(ServerType::RsPrimary),
            (
                _,
                ServerRequirement::Read(preference) | ServerRequirement::ReadAndWrite(preference),
            ) => {
                let primary = of_type(ServerType::RsPrimary);
                let secondaries = of_type(ServerType::RsSecondary);
                let eligible = |candidates| self.eligible(candidates, preference);
                match preference.mode {
                    ReadPreferenceMode::Primary => primary,
                    ReadPreferenceMode::PrimaryPreferred if primary.is_empty() => {
                        eligible(secondaries)
                    }
                    ReadPreferenceMode::PrimaryPreferred => primary,
                    ReadPreferenceMode::Secondary => eligible(secondaries),
                    ReadPreferenceMode::SecondaryPreferred => match eligible(secondaries) {
                        none if none.is_empty() => primary,
                        some => some,
                    },
                    ReadPreferenceMode::Nearest => eligible([primary, secondaries].concat()),
                }
            }
        }
    }

    /// Returns the candidates that are within `maxStalenessSeconds` and have the tags.
    fn eligible<'t>(
        &self,
        mut candidates: Servers<'t>,
        preference: &ReadPreference,
    ) -> Servers<'t> {
        if let Some(limit) = preference.max_staleness {
            let staleness = Staleness::new(self);
            candidates.retain(|server| staleness.is_within(server, limit));
        }
        let sets = &preference.tag_sets;
        if sets.is_empty() {
            return candidates;
        }
        // The first tag set that any candidate matches decides.
        let decisive = sets
            .iter()
            .find(|set| candidates.iter().any(|server| has_tags(server, set)));
        candidates.retain(|server| decisive.is_some_and(|set| has_tags(server, set)));
        candidates
    }
}

/// Returns the servers whose round trip time exceeds that of the fastest by at most `local_threshold`. A server
/// without a measurement is kept, and does not count as the fastest.
pub(crate) fn in_latency_window(
    mut suitable: Servers<'_>,
    local_threshold: Duration,
) -> Servers<'_> {
    let fastest = suitable
        .iter()
        .filter_map(|server| server.round_trip_time)
        .min();
    let end = fastest.map(|fastest| fastest.saturating_add(local_threshold));
    // `None` is less than any duration.
    suitable.retain(|server| server.round_trip_time <= end);
    suitable
}

/// Chooses one server: of two random ones, the one with fewer operations in progress. `below` returns a uniform random
/// number below its argument.
pub(crate) fn choose<T>(
    window: &[T],
    operation_count: impl Fn(&T) -> usize,
    mut below: impl FnMut(usize) -> usize,
) -> Option<&T> {
    let (first, second) = match window {
        [] => return None,
        [only] => return Some(only),
        [..] => {
            let first = below(window.len());
            // Each of the others is equally likely.
            let second = (first + 1 + below(window.len() - 1)) % window.len();
            (&window[first], &window[second])
        }
    };
    // The two are already in random order, so that either may be taken if the counts are equal.
    match operation_count(second) < operation_count(first) {
        true => Some(second),
        false => Some(first),
    }
}

fn has_tags(server: &ServerDescription, wanted: &TagSet) -> bool {
    wanted
        .iter()
        .all(|tag| server.tags.get(&tag.name) == Some(&tag.value))
}

/// The interval at which an idle primary writes ("idleWritePeriodMS").
const IDLE_WRITE_PERIOD: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
