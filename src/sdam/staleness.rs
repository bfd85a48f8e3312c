//! The estimated replication lag of secondaries.
//!
//! Input: descriptions of servers. Output: those whose lag is within the limit of a read preference. Source:
//! "Max Staleness"; "Server Selection", "maxStalenessSeconds".

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::description::{ServerDescription, ServerType, TopologyDescription};

/// The reference for the lag of a secondary.
pub(super) struct Staleness {
    /// The primary's last write and the time at which it was reported, or the latest write of any secondary.
    latest: Option<Latest>,
    heartbeat_frequency: i128,
}

enum Latest {
    OfPrimary(i128, Instant),
    OfSecondaries(i128),
}

impl Staleness {
    pub(super) fn new(topology: &TopologyDescription) -> Self {
        let of_primary = |primary: &Arc<ServerDescription>| {
            Some(Latest::OfPrimary(
                last_write(primary)?,
                primary.last_update_time?,
            ))
        };
        let latest = match topology.primary() {
            Some(primary) => of_primary(primary),
            None => {
                let secondaries = topology.of_type(ServerType::RsSecondary);
                let latest = secondaries.filter_map(|server| last_write(server)).max();
                latest.map(Latest::OfSecondaries)
            }
        };
        Self {
            latest,
            heartbeat_frequency: nanos(topology.heartbeat_frequency),
        }
    }

    /// Returns true if the lag of a server is within the limit. A secondary whose staleness is unknown is excluded.
    pub(super) fn is_within(&self, server: &ServerDescription, limit: Duration) -> bool {
        if server.server_type != ServerType::RsSecondary {
            return true;
        }
        self.of_secondary(server)
            .is_some_and(|staleness| staleness <= nanos(limit))
    }

    /// Returns the lag in nanoseconds; it is negative if the secondary was checked long before the primary.
    fn of_secondary(&self, server: &ServerDescription) -> Option<i128> {
        let own = last_write(server)?;
        let lag = match self.latest.as_ref()? {
            // (S.lastUpdateTime - S.lastWriteDate) - (P.lastUpdateTime - P.lastWriteDate)
            Latest::OfPrimary(write, updated) => {
                (write - own) + between(*updated, server.last_update_time?)
            }
            Latest::OfSecondaries(write) => write - own,
        };
        // Until the next check the lag may grow by one interval.
        Some(lag + self.heartbeat_frequency)
    }
}

/// Returns the time of the last write, in nanoseconds since 1970.
fn last_write(server: &ServerDescription) -> Option<i128> {
    let date = server.last_write_date?;
    Some(i128::from(date.timestamp_millis()) * 1_000_000)
}

/// Returns the time from `start` to `end`, in nanoseconds; it is negative if `end` is earlier.
fn between(start: Instant, end: Instant) -> i128 {
    nanos(end.saturating_duration_since(start)) - nanos(start.saturating_duration_since(end))
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX / 4)
}

#[cfg(test)]
mod tests {
    use bson::DateTime;

    use super::*;
    use crate::address::ServerAddress;

    /// Returns a server that was checked at one second and whose last write was at another.
    fn server(
        name: &str,
        server_type: ServerType,
        checked: u64,
        written: i64,
        zero: Instant,
    ) -> Arc<ServerDescription> {
        let mut server = ServerDescription::unknown(ServerAddress::tcp(name, 1));
        server.server_type = server_type;
        server.last_update_time = Some(zero + Duration::from_secs(checked));
        server.last_write_date = Some(DateTime::from_millis(written * 1000));
        Arc::new(server)
    }

    fn staleness(servers: &[&Arc<ServerDescription>], of: &ServerDescription) -> Option<i128> {
        let mut topology = TopologyDescription {
            heartbeat_frequency: Duration::from_secs(10),
            ..TopologyDescription::default()
        };
        for server in servers {
            topology
                .servers
                .insert(server.address.clone(), Arc::clone(server));
        }
        let staleness = Staleness::new(&topology).of_secondary(of);
        staleness.map(|nanos| nanos / 1_000_000_000)
    }

    /// Runs the examples of "Max Staleness".
    #[test]
    fn the_lag_is_estimated_by_the_clock_of_the_primary() {
        let zero = Instant::now();
        let of = |checked, written, primary_checked, primary_written| {
            let secondary = server("s", ServerType::RsSecondary, checked, written, zero);
            let primary = server(
                "p",
                ServerType::RsPrimary,
                primary_checked,
                primary_written,
                zero,
            );
            staleness(&[&primary, &secondary], &secondary)
        };
        assert_eq!(of(60, 0, 60, 10), Some(20));
        assert_eq!(of(70, 5, 60, 10), Some(25));
        assert_eq!(of(70, 5, 80, 30), Some(25));
        assert_eq!(of(10, 100, 60, 60), Some(-80));
    }

    #[test]
    fn without_a_primary_the_freshest_secondary_is_the_measure() {
        let zero = Instant::now();
        let first = server("a", ServerType::RsSecondary, 0, 20, zero);
        let second = server("b", ServerType::RsSecondary, 0, 5, zero);
        assert_eq!(staleness(&[&first, &second], &first), Some(10));
        assert_eq!(staleness(&[&first, &second], &second), Some(25));
    }

    #[test]
    fn a_secondary_of_unknown_staleness_is_excluded() {
        let zero = Instant::now();
        let silent = ServerDescription {
            last_write_date: None,
            ..(*server("a", ServerType::RsSecondary, 0, 0, zero)).clone()
        };
        let primary = server("p", ServerType::RsPrimary, 0, 0, zero);
        let mut topology = TopologyDescription::default();
        topology
            .servers
            .insert(primary.address.clone(), Arc::clone(&primary));
        let staleness = Staleness::new(&topology);
        assert!(!staleness.is_within(&silent, Duration::MAX));
        assert!(staleness.is_within(&primary, Duration::ZERO));
    }
}
