//! Tests of types, equality, the fields that depend on all servers, and printing.

use super::*;

fn address(name: &str) -> ServerAddress {
    ServerAddress::tcp(name, 27017)
}

#[test]
fn server_types_follow_from_hello() {
    let of = |change: fn(&mut Hello)| {
        let mut hello = Hello::default();
        change(&mut hello);
        ServerType::of(&hello)
    };
    let of_set = |change: fn(&mut Hello)| {
        let mut hello = Hello {
            set_name: Some("rs".to_owned()),
            ..Hello::default()
        };
        change(&mut hello);
        ServerType::of(&hello)
    };
    assert_eq!(of(|_| ()), ServerType::Standalone);
    assert_eq!(of(|it| it.is_mongos = true), ServerType::Mongos);
    assert_eq!(of(|it| it.is_replica_set = true), ServerType::RsGhost);
    assert_eq!(of_set(|it| it.is_replica_set = true), ServerType::RsGhost);
    assert_eq!(
        of_set(|it| it.is_writable_primary = true),
        ServerType::RsPrimary
    );
    assert_eq!(of_set(|it| it.secondary = true), ServerType::RsSecondary);
    assert_eq!(of_set(|it| it.arbiter_only = true), ServerType::RsArbiter);
    assert_eq!(of_set(|_| ()), ServerType::RsOther);
    let hidden = of_set(|it| (it.hidden, it.secondary) = (true, true));
    assert_eq!(hidden, ServerType::RsOther);
}

#[test]
fn equality_passes_over_what_changes_with_every_check() {
    let hello = Hello::default();
    let now = Instant::now();
    let first = ServerDescription::from_hello(address("a"), &hello, now);
    let mut second = first.clone();
    second.round_trip_time = Some(Duration::from_millis(3));
    second.min_round_trip_time = Duration::from_millis(1);
    second.last_update_time = Some(now + Duration::from_secs(1));
    second.last_write_date = Some(DateTime::from_millis(5));
    assert_eq!(first, second);
    second.tags.insert("dc".to_owned(), "east".to_owned());
    assert_ne!(first, second);

    let failed = |text: &str| ServerDescription::failed(address("a"), Error::protocol(text));
    assert_eq!(failed("x"), failed("x"));
    assert_ne!(failed("x"), failed("y"));
}

#[test]
fn the_whole_follows_from_its_servers() {
    let topology = |minutes: &[Option<i64>], max_wire_version| {
        let mut topology = TopologyDescription::default();
        for (index, minutes) in minutes.iter().enumerate() {
            let mut server = ServerDescription::unknown(address(&index.to_string()));
            server.server_type = ServerType::Mongos;
            server.max_wire_version = max_wire_version;
            server.logical_session_timeout_minutes = *minutes;
            topology
                .servers
                .insert(server.address.clone(), Arc::new(server));
        }
        let unknown = ServerDescription::unknown(address("unknown"));
        topology
            .servers
            .insert(unknown.address.clone(), Arc::new(unknown));
        topology.refresh();
        topology
    };
    let minutes = |all: &[Option<i64>]| topology(all, 21).logical_session_timeout_minutes;
    assert_eq!(minutes(&[]), None);
    assert_eq!(minutes(&[Some(30), Some(20)]), Some(20));
    assert_eq!(minutes(&[Some(30), None]), None);
    assert!(topology(&[None], 8).is_compatible());
    let error = topology(&[None], 7).compatibility_error.unwrap();
    assert_eq!(
        error,
        "server at 0:27017 reports wire version 7, but this version of mongotls requires at least 8 (MongoDB 4.2)"
    );
}

#[test]
fn a_description_prints_in_one_line() {
    let mut topology = TopologyDescription {
        topology_type: TopologyType::ReplicaSetNoPrimary,
        set_name: Some("rs".to_owned()),
        ..TopologyDescription::default()
    };
    let mut known = ServerDescription::unknown(address("a"));
    known.server_type = ServerType::RsSecondary;
    known.round_trip_time = Some(Duration::from_micros(1250));
    let failed = ServerDescription::failed(address("b"), Error::protocol("x"));
    for server in [known, failed] {
        topology
            .servers
            .insert(server.address.clone(), Arc::new(server));
    }
    assert_eq!(
        topology.to_string(),
        "ReplicaSetNoPrimary \"rs\": a:27017 (RSSecondary, 1.2 ms), b:27017 (Unknown, x)"
    );
}
