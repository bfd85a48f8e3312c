//! The hosts of a connection string: the selection among several, and the connection to each kind.
//!
//! They are seeds: a server's report about its deployment determines which server runs a command. A seed that cannot be
//! reached is ignored, and one that does not belong to the deployment is removed. Hosts may be Unix sockets and IPv6
//! addresses, with TLS and without.

use std::time::Duration;

use mongotls::bson::doc;
use mongotls::error::Stage;
use mongotls::event::{Event, EventKind, SdamEventKind};
use mongotls::options::{ReadPreference, ReadPreferenceMode};
use mongotls::{CauseCode, Client, Command, ConnectionString, Error, ErrorKind, ServerAddress};
use mongotls_testbench::net::Bind;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::replica_set::{MemberKind, ReplicaSet};
use mongotls_testbench::server::{Hello, Server, ServerTls, Standing, fail_command};
use mongotls_testbench::sharded_cluster::ShardedCluster;
use mongotls_testbench::stranger;

use crate::common::{Bench, at_limit, code, expect_streaming, ping_on, timed, while_busy};
use crate::target::{LIMIT, attempt_error, waiting_error};

/// An insert of one document.
fn insert_on(client: &Client) -> Result<(), Error> {
    let insert = doc! { "insert": "things", "documents": [{}] };
    client.database("db").run_command(insert).map(drop)
}

/// The number of commands of that name that each member of a set of two has run.
fn counts_of(set: &ReplicaSet, command: &str) -> [u64; 2] {
    [0, 1].map(|index| set.node(index).server().count_of(command))
}

fn pair() -> ReplicaSet {
    ReplicaSet::builder("rs0").members(2).start()
}

#[test]
fn an_unreachable_seed_is_skipped() {
    let set = pair();
    let nobody = stranger::nobody();
    // The only seed that answers is a secondary; it names the primary.
    let uri = format!("mongodb://{nobody},{}/?replicaSet=rs0", set.address(1));
    let client = Client::connect(&uri).unwrap();
    insert_on(&client).unwrap();
    let report = client.server_report().unwrap();
    assert_eq!(report.server.to_string(), set.address(0));
    assert_eq!(counts_of(&set, "insert"), [1, 0]);
    assert_eq!(set.node(1).server().program_connections().len(), 0);
}

#[test]
fn an_error_names_each_unusable_host_with_its_reason() {
    let nobody = stranger::nobody();
    let web = stranger::http_server();
    let alone = Server::builder().start();
    let uri = format!("mongodb://{nobody},{},{}/", web.addr(), alone.addr());
    let error = waiting_error(&uri);
    let text = error.to_string();
    for (address, reason) in [
        (nobody, "connection refused"),
        (web.addr(), "looks like HTTP"),
        (
            alone.addr(),
            "left out: the server stands on its own, and is one of several hosts",
        ),
    ] {
        let own = text
            .lines()
            .find(|line| line.trim_start().starts_with(&address.to_string()));
        assert!(
            own.is_some_and(|line| line.contains(reason)),
            "{address} with {reason:?} in {text}"
        );
    }
    // The error reports the problem that retrying cannot solve.
    assert_eq!(code(&error), CauseCode::NotMongodb);
    assert_eq!(alone.program_connections().len(), 0);
}

#[test]
fn an_old_server_ends_the_wait_at_once() {
    let old = || {
        let hello = Hello {
            max_wire_version: 6,
            ..Hello::mongos()
        };
        Server::builder().hello(hello).start()
    };
    let (one, other) = (old(), old());
    for uri in [
        one.uri(),
        format!("mongodb://{},{}/", one.addr(), other.addr()),
    ] {
        let error = ping_on(&Client::connect(&uri).unwrap()).unwrap_err();
        assert_eq!(
            (code(&error), error.stage()),
            (CauseCode::HelloFailed, Some(Stage::Hello)),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.contains("reports wire version 6"), "{text}");
    }
    let error = attempt_error(&one.uri());
    assert!(
        error.to_string().contains("wire version 6 is too old"),
        "{error}"
    );
}

#[test]
fn the_limit_of_a_call_covers_all_hosts_together() {
    let limit = Duration::from_millis(400);
    let silent = [stranger::silent(), stranger::silent(), stranger::silent()];
    let hosts: Vec<_> = silent
        .iter()
        .map(|server| server.addr().to_string())
        .collect();
    let client = Client::connect(&format!("mongodb://{}/", hosts.join(","))).unwrap();
    let ping = Command::from(doc! { "ping": 1 }).timeout(limit);
    let error = at_limit(limit, || client.database("db").run_command(ping)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let text = error.to_string();
    assert!(
        text.starts_with(
            "no server for a read by primary within 400 ms (the time limit of the call): "
        ),
        "{text}"
    );
    // All of them are checked in parallel, and none has answered.
    for host in hosts {
        assert!(
            text.contains(&format!(
                "{host}  Unknown: the server has not answered hello so far; the attempt may take 10 s (connectTimeoutMS)"
            )),
            "{text}"
        );
    }
}

#[test]
fn a_full_pool_does_not_send_a_command_to_a_secondary() {
    let set = pair();
    let options = "maxPoolSize=1&waitQueueTimeoutMS=200";
    let client = Client::connect(&set.uri(options)).unwrap();
    ping_on(&client).unwrap();
    while_busy(set.node(0).server(), &client, || {
        let error = insert_on(&client).unwrap_err();
        assert!(
            error.to_string().contains("200 ms (waitQueueTimeoutMS)"),
            "{error}"
        );
    });
    assert_eq!(set.node(1).server().program_connections().len(), 0);
}

#[test]
fn after_a_failover_the_next_command_finds_the_new_primary() {
    let set = pair();
    // Not detected by the monitors, which check every minute: the old primary reports that it has stepped down.
    let options = "serverMonitoringMode=poll&heartbeatFrequencyMS=60000";
    let client = Client::connect(&set.uri(options)).unwrap();
    let mut old = 0;
    for _ in 0..3 {
        ping_on(&client).unwrap();
        let new = 1 - old;
        set.elect(new);
        let before = counts_of(&set, "insert");
        assert_eq!(
            insert_on(&client).unwrap_err().command().unwrap().code,
            10107
        );
        insert_on(&client).unwrap();
        insert_on(&client).unwrap();
        let after = counts_of(&set, "insert");
        assert_eq!(after[new], before[new] + 2);
        assert_eq!(after[old], before[old] + 1);
        old = new;
    }
}

#[test]
fn a_failover_that_the_monitors_have_seen_fails_no_command() {
    let set = pair();
    let (told, primaries) = std::sync::mpsc::channel();
    let options = ConnectionString::parse(&set.uri("serverMonitoringMode=stream"))
        .unwrap()
        .into_builder()
        .event_listener_for(&[EventKind::Sdam], move |event| {
            let Event::Sdam(event) = event else { return };
            if let SdamEventKind::TopologyDescriptionChanged { new, .. } = &event.kind {
                let primary = new.primary().map(|server| server.address.to_string());
                let _ = told.send(primary);
            }
        })
        .build()
        .unwrap();
    let client = Client::with_options(options).unwrap();
    insert_on(&client).unwrap();
    set.elect(1);
    let new = set.address(1);
    while primaries.recv_timeout(Duration::from_secs(5)).unwrap() != Some(new.clone()) {}
    insert_on(&client).unwrap();
    assert_eq!(counts_of(&set, "insert"), [1, 1]);
}

#[test]
fn without_a_primary_only_secondaries_are_read() {
    let kinds = [
        MemberKind::Data(Standing::Host),
        MemberKind::Data(Standing::Host),
        MemberKind::Arbiter,
    ];
    let set = ReplicaSet::builder("rs0").kinds(&kinds).start();
    set.kill(0);
    let seeds = set.uri_with_seeds(&[1, 2], "");
    let client = Client::connect(&seeds).unwrap();
    let read = || Command::from(doc! { "ping": 1 });
    let modes = [
        ReadPreferenceMode::PrimaryPreferred,
        ReadPreferenceMode::Secondary,
    ];
    for mode in modes {
        let preference = ReadPreference::new(mode);
        let ping = read().read_preference(preference);
        client.database("db").run_command(ping).unwrap();
    }
    assert_eq!(set.node(1).server().count_of("ping"), 2);
    assert_eq!(set.node(2).server().count_of("ping"), 0);
    let ping = read().timeout(LIMIT);
    let error = at_limit(LIMIT, || client.database("db").run_command(ping)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("replica set \"rs0\" without a known primary"),
        "{text}"
    );
    assert!(
        text.contains(&format!("{}  RSSecondary", set.address(1))),
        "{text}"
    );
    assert!(
        text.contains(&format!("{}  RSArbiter", set.address(2))),
        "{text}"
    );
}

#[test]
fn a_dead_host_holds_up_no_command() {
    let silent = stranger::silent();
    let set = pair();
    let uri = format!(
        "mongodb://{},{}/?replicaSet=rs0&connectTimeoutMS=400",
        silent.addr(),
        set.address(0)
    );
    let client = Client::connect(&uri).unwrap();
    timed(Duration::ZERO, Duration::from_millis(300), || {
        for _ in 0..20 {
            ping_on(&client).unwrap();
        }
    });
    assert_eq!(set.node(0).server().program_connections().len(), 1);
    // This also holds after the primary stepped down and was elected again, which its monitor learns at once.
    expect_streaming(set.node(0).server());
    let failure = doc! { "errorCode": 13435 };
    let failing = fail_command(1, &["ping"], failure);
    set.node(0).server().configure_fail_point(&failing);
    ping_on(&client).unwrap_err();
    set.step_down();
    set.elect(0);
    timed(Duration::ZERO, Duration::from_millis(300), || {
        ping_on(&client)
    })
    .unwrap();
}

#[test]
fn other_routers_replace_a_stopped_router() {
    let cluster = ShardedCluster::start(2, Default::default());
    let client = Client::connect(&cluster.uri("")).unwrap();
    cluster.node(0).proxy().refuse();
    cluster.node(0).proxy().cut();
    let other = cluster.node(1);
    let mut pings = 0;
    // A ping that was already sent to the first one may fail.
    while other.server().count_of("ping") < 5 {
        pings += 1;
        assert!(pings < 100, "{:?}", other.server().counts());
        let _ = ping_on(&client);
    }
    for _ in 0..10 {
        ping_on(&client).unwrap();
    }
}

#[test]
fn a_server_on_a_unix_socket_is_reached_with_tls_and_without() {
    let dir = PkiDir::new();
    let plain = Server::builder()
        .bind(Bind::Unix(dir.path().join("plain.sock")))
        .start();
    let client = Client::connect(&plain.uri()).unwrap();
    ping_on(&client).unwrap();
    let report = client.server_report().unwrap();
    assert_eq!(
        report.server,
        ServerAddress::unix(dir.path().join("plain.sock"))
    );
    assert!(report.handshake.is_none());

    let ca = Ca::root("bench root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let secure = Server::builder()
        .tls(tls)
        .bind(Bind::Unix(dir.path().join("secure.sock")))
        .start();
    let bench = Bench::around(secure, ca);
    let uri = format!(
        "{}?tls=true&tlsCAFile={}",
        bench.server.uri(),
        bench.ca_file.display()
    );
    let client = Client::connect(&uri).unwrap();
    ping_on(&client).unwrap();
    assert!(client.server_report().unwrap().handshake.is_some());

    let gone = dir.path().join("gone.sock");
    let uri = format!(
        "mongodb://{}/",
        gone.display().to_string().replace('/', "%2F")
    );
    let error = attempt_error(&uri);
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::ConnectionRefused, Some(Stage::Connect))
    );
    for error in [error, waiting_error(&uri)] {
        assert_eq!(code(&error), CauseCode::ConnectionRefused);
        assert!(
            error.to_string().contains(&gone.display().to_string()),
            "{error}"
        );
    }
}

#[test]
fn a_server_on_ipv6_is_reached_with_tls_and_without() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // This host has no IPv6.
    }
    let plain = Server::builder().bind(Bind::V6(0)).start();
    let client = Client::connect(&plain.uri()).unwrap();
    ping_on(&client).unwrap();
    assert!(plain.uri().contains("[::1]"));
    assert_eq!(
        client.server_report().unwrap().server,
        ServerAddress::tcp("::1", plain.port())
    );

    let ca = Ca::root("bench root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let bench = Bench::around(Server::builder().tls(tls).bind(Bind::V6(0)).start(), ca);
    let client = Client::connect(&bench.uri_for("[::1]", "")).unwrap();
    ping_on(&client).unwrap();
    let report = client.server_report().unwrap();
    assert_eq!(
        report.server,
        ServerAddress::tcp("::1", bench.server.port())
    );
    assert!(report.handshake.is_some());
    // An address is not sent as server name.
    let connections = bench.server.connections();
    assert!(
        connections
            .iter()
            .all(|connection| connection.sni.is_none())
    );
}
