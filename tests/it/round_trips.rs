//! Round trips to a server that pushes its replies: the monitor measures them on a second connection, and no fault of
//! that connection delays a reply of the first one.

use std::time::{Duration, Instant};

use mongotls::Client;
use mongotls_testbench::fault::{Fault, Layer};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{CheckKind, Hello, Role, Server, ServerTls};

use crate::common::{expect_ready, expect_streaming};

const PATIENCE: Duration = Duration::from_secs(10);

/// A member of a replica set on TLS, and a client that streams from it. The files of the client are in the folder.
fn streaming(options: &str) -> (Server, Client, PkiDir) {
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let server = Server::builder().tls(tls).start();
    let me = server.endpoint().to_string();
    server.set_hello(|hello| *hello = Hello::member(Role::Primary, "rs0", &me, &[&me]));
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", ca.cert_pem());
    let uri = format!(
        "{}?replicaSet=rs0&heartbeatFrequencyMS=500&tls=true&tlsCAFile={}{options}",
        server.uri(),
        ca_file.display()
    );
    let client = Client::connect(&uri).unwrap();
    expect_ready(&client);
    expect_streaming(&server);
    (server, client, dir)
}

/// The time until the client knows of a change of the server.
fn time_of_a_change(server: &Server, client: &Client, set_version: i32) -> Duration {
    server.set_hello(|hello| hello.set_version = set_version);
    let started = Instant::now();
    let known = || {
        let topology = client.snapshot().topology;
        let known = topology.servers.values().next().unwrap().set_version;
        known == Some(i64::from(set_version))
    };
    while !known() {
        assert!(started.elapsed() < PATIENCE, "the change is not noticed");
        std::thread::sleep(Duration::from_millis(1));
    }
    started.elapsed()
}

/// The number of measurements so far, on connections that have not streamed.
fn measurements(server: &Server) -> usize {
    let streamed = server.checks().of_kind(CheckKind::Streaming);
    let plain = server.checks().of_kind(CheckKind::Plain);
    let is_own = |id: u64| streamed.list().iter().all(|check| check.connection != id);
    let own = plain
        .list()
        .iter()
        .filter(|check| !check.first && is_own(check.connection));
    own.count()
}

fn expect_measurements(server: &Server, count: usize) {
    let settled = server.wait_until(PATIENCE, |server| measurements(server) >= count);
    assert!(settled, "{} of {count}", measurements(server));
}

#[test]
fn round_trips_are_measured_while_the_monitor_waits() {
    let (server, client, _dir) = streaming("");
    let started = Instant::now();
    expect_measurements(&server, 3);
    let took = started.elapsed();
    // One after each interval; the first one after the connection is established.
    assert!(took > Duration::from_millis(1400), "{took:?}");
    let took = time_of_a_change(&server, &client, 2);
    assert!(took < Duration::from_millis(400), "{took:?}");
    let topology = client.snapshot().topology;
    let time = topology.servers.values().next().unwrap().round_trip_time;
    assert!(time.is_some_and(|time| !time.is_zero()), "{time:?}");
}

/// Neither a connection whose handshake stalls, nor one on which the server stops answering.
#[test]
fn a_stalled_measurement_delays_no_change() {
    let faults = [
        Fault::stall_after(0),
        Fault::stall_after(300),
        Fault::stall_after(400).on(Layer::Message),
    ];
    for fault in faults {
        let (server, client, _dir) = streaming("&connectTimeoutMS=3000");
        let before = server.connections().len();
        server.faults().all(fault.clone());
        let opened = |server: &Server| server.connections().len() > before;
        assert!(server.wait_until(PATIENCE, opened), "{fault:?}");
        for version in 2..10 {
            let took = time_of_a_change(&server, &client, version);
            assert!(took < Duration::from_millis(400), "{fault:?}: {took:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
        // The next connection measures again.
        server.faults().clear();
        let known = measurements(&server);
        expect_measurements(&server, known + 2);
    }
}

#[test]
fn other_servers_are_measured_on_time_while_some_stall() {
    const SERVERS: usize = 8;
    const STALLED: usize = 3;
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let start = |_| {
        Server::builder()
            .hello(Hello::mongos())
            .tls(tls.clone())
            .start()
    };
    let servers: Vec<Server> = (0..SERVERS).map(start).collect();
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", ca.cert_pem());
    let hosts: Vec<_> = servers.iter().map(|it| it.endpoint().to_string()).collect();
    let (stalled, others) = servers.split_at(STALLED);
    stalled
        .iter()
        .for_each(|server| server.faults().all(Fault::stall_after(100)));
    let client = Client::connect(&format!(
        "mongodb://{}/?heartbeatFrequencyMS=500&tls=true&tlsCAFile={}",
        hosts.join(","),
        ca_file.display()
    ))
    .unwrap();
    for server in others {
        expect_measurements(server, 5);
        let plain = server.checks().of_kind(CheckKind::Plain);
        let own = plain.list().iter().filter(|check| !check.first);
        let times: Vec<_> = own.map(|check| check.at).collect();
        for pair in times.windows(2) {
            let pause = pair[1] - pair[0];
            assert!(pause < Duration::from_millis(900), "{pause:?}");
        }
    }
    drop(client);
}

#[test]
fn measurements_go_on_after_all_connections_are_cut() {
    let (server, client, _dir) = streaming("");
    expect_measurements(&server, 1);
    for _ in 0..2 {
        let known = measurements(&server);
        server.cut();
        expect_measurements(&server, known + 2);
    }
    drop(client);
    let closed = |server: &Server| server.connections().iter().all(|it| !it.open);
    assert!(
        server.wait_until(PATIENCE, closed),
        "all are closed at the end"
    );
}
