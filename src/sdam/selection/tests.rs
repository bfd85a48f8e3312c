//! Tests of rules that the specification's own cases do not cover; `tests/spec` runs those.

use super::*;
use crate::cause::CauseCode;

fn server(name: &str, server_type: ServerType, millis: Option<u64>) -> Arc<ServerDescription> {
    let mut server = ServerDescription::unknown(ServerAddress::tcp(name, 1));
    server.server_type = server_type;
    server.round_trip_time = millis.map(Duration::from_millis);
    Arc::new(server)
}

fn topology(
    topology_type: TopologyType,
    servers: &[Arc<ServerDescription>],
) -> TopologyDescription {
    let mut topology = TopologyDescription {
        topology_type,
        heartbeat_frequency: Duration::from_secs(10),
        ..TopologyDescription::default()
    };
    for server in servers {
        topology
            .servers
            .insert(server.address.clone(), Arc::clone(server));
    }
    topology
}

fn names(servers: &[&Arc<ServerDescription>]) -> String {
    let names: Vec<String> = servers.iter().map(|server| server.address.host()).collect();
    names.join(" ")
}

#[test]
fn a_limit_of_staleness_must_go_with_the_interval_of_checks() {
    let members = [server("a", ServerType::RsPrimary, None)];
    let mut topology = topology(TopologyType::ReplicaSetWithPrimary, &members);
    let refused = |topology: &TopologyDescription, seconds| {
        let preference = ReadPreference::new(ReadPreferenceMode::Nearest)
            .max_staleness(Duration::from_secs(seconds));
        let suitable = topology.suitable(ServerRequirement::Read(&preference), &[]);
        suitable.err().map(|error| error.to_string())
    };
    assert_eq!(refused(&topology, 90), None);
    assert!(refused(&topology, 89).unwrap().contains("90 or more"));
    topology.heartbeat_frequency = Duration::from_secs(120);
    let text = "maxStalenessSeconds must be heartbeatFrequencyMS and 10 s or more, in all 130 s";
    assert_eq!(refused(&topology, 129).as_deref(), Some(text));
    assert_eq!(refused(&topology, 130), None);
    topology.topology_type = TopologyType::Sharded;
    assert_eq!(refused(&topology, 1), None);
}

#[test]
fn an_incompatible_deployment_has_no_suitable_server() {
    let mut topology = topology(
        TopologyType::Sharded,
        &[server("a", ServerType::Mongos, None)],
    );
    assert!(topology.has_writable_server() && topology.has_readable_server(None));
    topology.refresh();
    let error = topology
        .suitable(ServerRequirement::Write, &[])
        .unwrap_err();
    assert!(
        error.to_string().contains("reports wire version 0"),
        "{error}"
    );
    let cause = error.cause().unwrap();
    assert_eq!(cause.code(), CauseCode::HelloFailed);
    let fact = |key| cause.facts().get(key).map(ToString::to_string);
    assert_eq!(fact("host").as_deref(), Some("a"));
    assert_eq!(fact("max_wire_version").as_deref(), Some("0"));
    assert!(!topology.has_writable_server());
}

#[test]
fn a_server_without_rtt_is_in_the_latency_window() {
    let of = |times: [Option<u64>; 3]| {
        let all = ["a", "b", "c"].iter();
        let servers: Vec<_> = all
            .zip(times)
            .map(|(name, time)| server(name, ServerType::Mongos, time))
            .collect();
        let window = in_latency_window(servers.iter().collect(), Duration::from_millis(15));
        self::names(&window)
    };
    assert_eq!(of([Some(5), Some(20), Some(21)]), "a b");
    assert_eq!(of([None, Some(20), Some(36)]), "a b");
    assert_eq!(of([None, None, None]), "a b c");
}

#[test]
fn of_two_different_servers_the_less_busy_one_is_chosen() {
    let servers = ["a", "b", "c"].map(|name| server(name, ServerType::Mongos, None));
    let window: Vec<_> = servers.iter().collect();
    let busy = |server: &&Arc<ServerDescription>| match server.address.host().as_str() {
        "a" => 1,
        "b" => 2,
        _ => 3,
    };
    for (first, second, expected) in [
        (0, 0, "a"),
        (0, 1, "a"),
        (1, 0, "b"),
        (1, 1, "a"),
        (2, 0, "a"),
        (2, 1, "b"),
    ] {
        let mut numbers = [(3, first), (2, second)].into_iter();
        let below = |end| {
            let (expected_end, number) = numbers.next().unwrap();
            assert_eq!(end, expected_end);
            number
        };
        let chosen = choose(&window, busy, below).unwrap();
        assert_eq!(chosen.address.host(), expected, "{first} {second}");
    }
    let none = |_| -> usize { panic!("there is nothing to choose") };
    assert_eq!(names(&[choose(&window[..1], busy, none).unwrap()]), "a");
    assert!(choose(&[], busy, none).is_none());
}
