//! Tests of rules that the specification's own cases do not cover; `tests/spec` runs those.

use std::time::{Duration, Instant};

use bson::rawdoc;

use super::*;
use crate::data::hello::Hello;

fn address(name: &str) -> ServerAddress {
    ServerAddress::tcp(name, 27017)
}

fn addresses(names: &[&str]) -> BTreeSet<ServerAddress> {
    names.iter().map(|name| address(name)).collect()
}

fn open(uri: &str) -> TopologyState {
    let (options, _) = ClientOptions::parse(uri).unwrap();
    let seeds = options.hosts.iter().cloned().collect();
    TopologyState::open(ObjectId::new(), &options, &seeds).0
}

fn names<'a>(addresses: impl Iterator<Item = &'a ServerAddress>) -> Vec<String> {
    addresses.map(ServerAddress::host).collect()
}

fn mongos(name: &str) -> ServerDescription {
    let hello = Hello::read(&rawdoc! { "ok": 1, "msg": "isdbgrid", "maxWireVersion": 21 });
    ServerDescription::from_hello(address(name), &hello, Instant::now())
}

fn primary(name: &str, hosts: &[&str], election: u8) -> ServerDescription {
    let hello = rawdoc! {
        "ok": 1, "isWritablePrimary": true, "setName": "rs", "maxWireVersion": 21,
        "electionId": ObjectId::from_bytes([election; 12]),
    };
    let mut hello = Hello::read(&hello);
    hello.hosts = addresses(hosts);
    ServerDescription::from_hello(address(name), &hello, Instant::now())
}

#[test]
fn a_new_primary_makes_the_old_one_unknown_and_due_for_a_check() {
    let mut topology = open("mongodb://a,b/?replicaSet=rs");
    topology.update(primary("a", &["a", "b"], 1)).unwrap();
    let update = topology.update(primary("b", &["a", "b"], 2)).unwrap();
    assert_eq!(update.recheck, [address("a")]);
    assert_eq!(
        topology.description().primary().unwrap().address,
        address("b")
    );
    let events: Vec<String> = update
        .events()
        .iter()
        .map(|event| match &event.kind {
            SdamEventKind::ServerDescriptionChanged { new, .. } => new.to_string(),
            other => other.name().to_owned(),
        })
        .collect();
    assert_eq!(
        events,
        [
            "b:27017 (RSPrimary)",
            "a:27017 (Unknown, server a:27017: primary marked stale due to discovery of newer primary)",
            "TopologyDescriptionChanged",
        ]
    );
}

#[test]
fn an_earlier_state_and_a_foreign_server_change_nothing() {
    let mut topology = open("mongodb://a/?replicaSet=rs");
    let with_version = |counter: i64| {
        let mut server = primary("a", &["a"], 1);
        server.topology_version = TopologyVersion::of_answer(&rawdoc! {
            "topologyVersion": { "processId": ObjectId::from_bytes([1; 12]), "counter": counter },
        });
        server
    };
    assert!(topology.update(with_version(5)).is_some());
    assert!(topology.update(with_version(4)).is_none());
    assert!(
        topology
            .update(with_version(5))
            .unwrap()
            .events()
            .is_empty()
    );
    assert!(topology.update(primary("z", &["a"], 9)).is_none());
}

#[test]
fn round_trip_times_stay_while_the_server_is_known() {
    let mut topology = open("mongodb://a/?directConnection=true");
    let time =
        |topology: &TopologyState| topology.description().servers[&address("a")].round_trip_time;
    let mut timed = mongos("a");
    timed.round_trip_time = Some(Duration::from_millis(2));
    topology.update(timed);
    topology.update(mongos("a"));
    assert_eq!(time(&topology), Some(Duration::from_millis(2)));
    topology.update(ServerDescription::failed(
        address("a"),
        Error::protocol("x"),
    ));
    topology.update(mongos("a"));
    assert_eq!(time(&topology), None);
}

#[test]
fn pools_are_made_ready_for_servers_of_use() {
    let mut topology = open("mongodb://a,b");
    let unknown = topology
        .update(ServerDescription::unknown(address("a")))
        .unwrap();
    assert_eq!(unknown.makes_ready(), None);
    let router = topology.update(mongos("a")).unwrap();
    assert_eq!(router.makes_ready(), Some(&address("a")));
    let removed = topology.update(primary("b", &["b"], 1)).unwrap();
    assert_eq!(
        (removed.makes_ready(), names(removed.closed())),
        (None, vec!["b".to_owned()])
    );

    let arbiter = |topology: &mut TopologyState| {
        let hello = Hello::read(&rawdoc! { "ok": 1, "arbiterOnly": true, "setName": "rs" });
        let server = ServerDescription::from_hello(address("a"), &hello, Instant::now());
        topology.update(server).unwrap().makes_ready().is_some()
    };
    assert!(arbiter(&mut open("mongodb://a/?directConnection=true")));
    assert!(!arbiter(&mut open("mongodb://a/?replicaSet=rs")));
}

#[test]
fn hosts_of_dns_come_and_go_where_there_are_routers() {
    let mut topology = open("mongodb://a,b");
    topology.update(mongos("a"));
    let update = topology.replace_hosts(&addresses(&["a", "c"])).unwrap();
    assert_eq!(
        (names(update.opened()), names(update.closed())),
        (vec!["c".to_owned()], vec!["b".to_owned()])
    );
    assert_eq!(
        topology.description().servers[&address("a")].server_type,
        ServerType::Mongos
    );
    assert!(topology.replace_hosts(&BTreeSet::new()).is_none());

    // A standalone among several hosts never belongs to the deployment, however many hosts there were at first.
    let mut topology = open("mongodb://a");
    topology.replace_hosts(&addresses(&["a", "b"])).unwrap();
    let hello = Hello::read(&rawdoc! { "ok": 1, "maxWireVersion": 21 });
    let standalone = ServerDescription::from_hello(address("a"), &hello, Instant::now());
    topology.update(standalone).unwrap();
    assert_eq!(topology.description().topology_type, TopologyType::Unknown);
    assert_eq!(names(topology.description().servers.keys()), ["b"]);
    assert!(
        open("mongodb://a/?replicaSet=rs")
            .replace_hosts(&addresses(&["c"]))
            .is_none()
    );
}

#[test]
fn behind_a_load_balancer_nothing_changes() {
    let mut topology = open("mongodb://a/?loadBalanced=true");
    assert!(topology.update(mongos("a")).is_none());
    assert!(
        topology
            .update(ServerDescription::failed(
                address("a"),
                Error::protocol("x")
            ))
            .is_none()
    );
    assert!(topology.description().is_compatible());
    let kinds: Vec<_> = topology
        .close()
        .iter()
        .map(|event| event.kind.name())
        .collect();
    assert_eq!(
        kinds,
        [
            "ServerClosed",
            "TopologyDescriptionChanged",
            "TopologyClosed"
        ]
    );
    assert!(topology.close().len() == 1 && topology.description().servers.is_empty());
}

#[test]
fn endless_chains_of_new_members_are_limited() {
    let mut topology = open("mongodb://a/?replicaSet=rs");
    let hosts: Vec<String> = (0..5000).map(|index| format!("h{index}")).collect();
    let mut hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    hosts.push("a");
    let update = topology.update(primary("a", &hosts, 1)).unwrap();
    assert_eq!(update.current.servers.len(), MAX_SERVERS);
}

#[test]
fn the_last_server_that_goes_is_worth_a_warning() {
    let mut topology = open("mongodb://a/?replicaSet=other");
    let update = topology.update(primary("a", &["a"], 1)).unwrap();
    assert!(
        update.is_emptied()
            && !topology
                .replace(TopologyDescription::default(), None, Vec::new())
                .is_emptied()
    );
}
