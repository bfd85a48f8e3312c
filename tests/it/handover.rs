//! The connection of a server's first check becomes the program's first one, until the next check.
//!
//! If it is not, or no longer, fit for commands, the pool dials. An event that ends checks does not end a command that
//! runs on it.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::doc;
use mongotls::event::{Event, EventKind, PoolEventKind, TlsEvent};
use mongotls::{CauseCode, Client, ConnectionString};
use mongotls_testbench::server::{Auth, CheckKind, ConnectionInfo, Server, User, fail_command};

use crate::common::{Bench, code, expect_open, ping_on};
use crate::target::{FAR, at_rest, checked};

/// The single connection that ran commands.
fn of_program(server: &Server) -> ConnectionInfo {
    let mut seen = server.program_connections();
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen.remove(0)
}

/// Fails unless the program's commands ran on another connection than the first check.
fn expect_dialled(server: &Server) -> ConnectionInfo {
    let all = server.connections();
    assert!(all[0].is_monitor(), "{all:?}");
    let connection = of_program(server);
    assert_ne!(connection.id, all[0].id);
    connection
}

/// Full and resumed handshakes of a client.
fn handshakes(client: &Client) -> (u64, u64) {
    let snapshot = client.snapshot();
    (snapshot.full_handshakes, snapshot.resumed_handshakes)
}

#[test]
fn the_first_command_runs_on_the_connection_of_the_first_check() {
    let bench = Bench::sound();
    let client = checked(&bench.uri(""));
    let report = client.server_report().unwrap();
    ping_on(&client).unwrap();
    assert!(!report.handshake.unwrap().resumed());
    let counts = (report.full_handshakes, report.resumed_handshakes);
    assert_eq!(counts, (1, 0));
    let seen = bench.server.counts();
    assert_eq!((seen.accepted, seen.handshakes, seen.open), (1, 1, 1));
    assert_eq!(bench.server.count_of("isMaster"), 1);
    assert_eq!(of_program(&bench.server).id, 1);
    // It belongs to the pool, and is used again.
    ping_on(&client).unwrap();
    assert_eq!(client.snapshot().pools[0].available, 1);
    assert_eq!(bench.server.counts().accepted, 1);
}

#[test]
fn the_next_check_resumes_the_session_on_a_new_connection() {
    for mode in ["poll", "stream"] {
        let bench = Bench::sound();
        let options = format!("&serverMonitoringMode={mode}&heartbeatFrequencyMS=500");
        let client = bench.client(&options);
        ping_on(&client).unwrap();
        let is_second_there = |server: &Server| server.counts().commands["isMaster"] == 2;
        assert!(bench.server.wait_until(FAR, is_second_there), "{mode}");
        let seen = bench.server.connections();
        let [first, second] = seen.as_slice() else {
            panic!("{mode}: {seen:?}");
        };
        assert!(!first.is_monitor() && !first.resumed, "{mode}: {first:?}");
        assert!(second.is_monitor() && second.resumed, "{mode}: {second:?}");
        assert!(first.open && second.open);
        assert_eq!(handshakes(&client), (1, 1), "{mode}");
        let hellos = bench.server.commands_named("isMaster");
        let between = hellos[1].received.duration_since(hellos[0].received);
        assert!(between >= Duration::from_millis(500), "{mode}: {between:?}");
        // The checks continue there, and commands on their connection.
        let checks = |server: &Server| {
            let checks = server.checks();
            let checks = match mode {
                "stream" => checks.of_kind(CheckKind::Streaming),
                _ => checks,
            };
            let mut checks = checks.list().iter();
            checks.any(|check| !check.first && check.connection == second.id)
        };
        assert!(bench.server.wait_until(FAR, checks), "{mode}");
        ping_on(&client).unwrap();
        assert_eq!(of_program(&bench.server).id, first.id);
    }
}

#[test]
fn the_handed_over_connection_has_pool_events_once() {
    let bench = Bench::sound();
    let told = Arc::<Mutex<Vec<String>>>::default();
    let store = Arc::clone(&told);
    let uri = bench.uri("&serverMonitoringMode=poll");
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let kinds = [EventKind::Pool, EventKind::Tls];
    let options = builder.event_listener_for(&kinds, move |event| {
        let name = match event {
            Event::Pool(event) => match event.kind {
                PoolEventKind::ConnectionCreated { connection_id }
                | PoolEventKind::ConnectionReady { connection_id, .. } => {
                    format!("{} {connection_id}", event.kind.name())
                }
                _ => event.kind.name().to_owned(),
            },
            Event::Tls(TlsEvent::HandshakeStarted(_)) => "handshake".to_owned(),
            Event::Tls(TlsEvent::HandshakeSucceeded(ended)) => {
                format!("resumed: {}", ended.resumed)
            }
            event => panic!("{event:?}"),
        };
        store.lock().unwrap().push(name);
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
    ping_on(&client).unwrap();
    let mut told = told.lock().unwrap().clone();
    told.retain(|name| !name.starts_with("ConnectionPool"));
    let expected = [
        "handshake",
        "resumed: false",
        "ConnectionCheckOutStarted",
        "ConnectionCreated 1",
        "ConnectionReady 1",
        "ConnectionCheckedOut",
        "ConnectionCheckedIn",
    ];
    assert_eq!(told, expected);
}

#[test]
fn the_handed_over_connection_counts_for_min_pool_size() {
    let bench = Bench::sound();
    let client = checked(&bench.uri("&minPoolSize=1"));
    let is_there = |_: &Server| client.snapshot().pools[0].available == 1;
    assert!(bench.server.wait_until(FAR, is_there));
    ping_on(&client).unwrap();
    assert_eq!(bench.server.counts().accepted, 1);
    assert_eq!(handshakes(&client), (1, 0));
}

#[test]
fn an_untaken_connection_returns_to_the_monitor() {
    for mode in ["poll", "stream"] {
        let bench = Bench::sound();
        let options = format!("&serverMonitoringMode={mode}&heartbeatFrequencyMS=500");
        // Its round trips would be measured on another connection, after 500 ms of the stream.
        let options = match mode {
            "stream" => options.replace("=500", "=5000"),
            _ => options,
        };
        let client = bench.client(&options);
        let goes_on = |server: &Server| match mode {
            "stream" => !server.checks().of_kind(CheckKind::Streaming).is_empty(),
            _ => server.checks().len() >= 3,
        };
        assert!(bench.server.wait_until(FAR, goes_on), "{mode}");
        assert_eq!(bench.server.counts().accepted, 1, "{mode}");
        ping_on(&client).unwrap();
        let dialled = expect_dialled(&bench.server);
        assert!(dialled.resumed, "{mode}");
        assert_eq!(bench.server.counts().accepted, 2, "{mode}");
        // It stays that connection.
        let before = bench.server.checks().len();
        if mode == "poll" {
            let goes_on = |server: &Server| server.checks().len() > before;
            assert!(bench.server.wait_until(FAR, goes_on), "{mode}");
        }
        assert!(bench.server.connections()[0].open, "{mode}");
        assert_eq!(bench.server.counts().accepted, 2, "{mode}");
    }
}

#[test]
fn a_server_that_was_lost_and_found_is_dialled_for_the_program() {
    let bench = Bench::sound();
    let client = checked(&bench.uri(""));
    ping_on(&client).unwrap();
    let close = doc! { "closeConnection": true };
    let failing = fail_command(1, &["ping"], close);
    bench.server.configure_fail_point(&failing);
    let error = ping_on(&client).unwrap_err();
    assert_eq!(code(&error), CauseCode::ConnectionClosed, "{error}");
    ping_on(&client).unwrap();
    let seen = bench.server.connections();
    // Another connection that must be made after a failure could fail too.
    let [first, checks, second] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    assert!(!first.is_monitor() && !second.is_monitor(), "{seen:?}");
    assert!(checks.is_monitor() && checks.open, "{seen:?}");
    assert!(second.resumed);
}

// --- connections that the program does not adopt ---

#[test]
fn without_the_option_the_monitor_keeps_its_connection() {
    let bench = Bench::sound();
    let uri = bench.uri("&serverMonitoringMode=stream");
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let options = builder.reuse_monitor_connection(false).build().unwrap();
    let client = Client::with_options(options).unwrap();
    ping_on(&client).unwrap();
    assert!(expect_dialled(&bench.server).resumed);
    assert_eq!(bench.server.counts().accepted, 2);
    // It streams at once, on the connection of the first check.
    let streams = |server: &Server| !server.checks().of_kind(CheckKind::Streaming).is_empty();
    assert!(bench.server.wait_until(FAR, streams));
    let checks = bench.server.checks().of_kind(CheckKind::Streaming);
    assert_eq!(checks.list()[0].connection, 1);
}

#[test]
fn who_logs_in_dials() {
    let auth = Auth::new().user(User::new("admin", "ada", "pencil"));
    let server = Server::builder().auth(auth).start();
    let client = checked(&format!("mongodb://ada:pencil@{}/?", server.addr()));
    ping_on(&client).unwrap();
    let dialled = expect_dialled(&server);
    assert_eq!(dialled.user.as_deref(), Some("admin.ada"));
    assert_eq!(server.counts().accepted, 2);
    // It was never available to the pool: it belongs to the monitor.
    assert!(server.connections()[0].open);
}

#[cfg(feature = "zlib")]
#[test]
fn who_compresses_dials() {
    let server = Server::builder().start();
    server.set_hello(|hello| hello.compressors = vec!["zlib".to_owned()]);
    let client = checked(&format!("{}?compressors=zlib", server.uri()));
    client
        .database("db")
        .run_command(doc! { "benchEcho": 1 })
        .unwrap();
    expect_dialled(&server);
    assert_eq!(server.counts().accepted, 2);
    assert!(server.connections()[0].open);
    let echo = server.commands_named("benchEcho").remove(0);
    assert!(echo.compressor.is_some());
}

#[test]
fn who_has_more_to_tell_of_himself_dials() {
    let bench = Bench::sound();
    let client = at_rest(&bench.uri(""));
    ping_on(&client).unwrap();
    assert!(expect_dialled(&bench.server).resumed);
    assert_eq!(bench.server.counts().accepted, 2);
    // The other one is not needed: the monitor makes another when it checks.
    expect_open(&bench.server, 1);
}

#[test]
fn connections_from_before_a_reload_are_not_handed_over() {
    let bench = Bench::sound();
    let client = checked(&bench.uri(""));
    client.reload_tls().unwrap();
    ping_on(&client).unwrap();
    let dialled = expect_dialled(&bench.server);
    assert!(!dialled.resumed);
    // The monitor closes its connection, too.
    let is_closed = |server: &Server| !server.connections()[0].open;
    assert!(bench.server.wait_until(FAR, is_closed));
}

#[test]
fn an_offered_connection_closed_by_the_server_fails_nothing() {
    for tls in [true, false] {
        let bench = tls.then(Bench::sound);
        let plain = (!tls).then(|| Server::builder().start());
        let (server, uri) = match (&bench, &plain) {
            (Some(bench), _) => (&bench.server, bench.uri("")),
            (_, Some(server)) => (server, format!("{}?", server.uri())),
            _ => unreachable!(),
        };
        let client = checked(&uri);
        server.cut();
        expect_open(server, 0);
        // It is checked after a second, like connections of the pool.
        thread::sleep(Duration::from_millis(1100));
        ping_on(&client).unwrap();
        expect_dialled(server);
        assert_eq!(server.counts().accepted, 2);
    }
}

// --- the end of the connection ---

#[test]
fn an_offered_connection_closes_with_the_client() {
    let bench = Bench::sound();
    let ends: [fn(Client); 2] = [
        |client| assert!(client.close(Duration::from_secs(5)).is_empty()),
        drop,
    ];
    for end in ends {
        let client = checked(&bench.uri(""));
        expect_open(&bench.server, 1);
        let started = Instant::now();
        end(client);
        expect_open(&bench.server, 0);
        assert!(started.elapsed() < FAR);
    }
}

/// The command runs on the connection of the first check while its former monitor is interrupted: by the failure of
/// another command, by a reload, and by the end of the client.
#[test]
fn cancelling_checks_does_not_interrupt_commands() {
    type CutOff = fn(&Server, &Client);
    let cuts: [(&str, CutOff); 3] = [
        ("a failure", |server, client| {
            let close = doc! { "closeConnection": true };
            server.configure_fail_point(&fail_command(1, &["ping"], close));
            ping_on(client).unwrap_err();
        }),
        ("a reload", |_, client| client.reload_tls().unwrap()),
        ("the end", |_, client| {
            assert_eq!(client.close(Duration::ZERO).len(), 1);
        }),
    ];
    for (name, cut_off) in cuts {
        let bench = Bench::sound();
        let client = checked(&bench.uri(""));
        let block = doc! { "blockConnection": true, "blockTimeMS": 800 };
        let blocking = fail_command(1, &["benchEcho"], block);
        bench.server.configure_fail_point(&blocking);
        thread::scope(|scope| {
            let echo = || client.database("db").run_command(doc! { "benchEcho": 1 });
            let busy = scope.spawn(echo);
            let is_there = |server: &Server| server.count_of("benchEcho") == 1;
            assert!(bench.server.wait_until(FAR, is_there), "{name}");
            assert_eq!(of_program(&bench.server).id, 1, "{name}");
            cut_off(&bench.server, &client);
            assert!(!busy.is_finished(), "{name}");
            let outcome = busy.join().unwrap();
            outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        });
    }
}
