//! The connections of a client: how threads share them, the time limit of a wait, and their end.
//!
//! The pool never exceeds its limit. A connection that breaks, idles too long or belongs to a thread that panics leaves
//! its place in the pool, and none outlives the last clone of its client.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mongotls::bson::doc;
use mongotls::client::PoolState;
use mongotls::{CauseCode, Client, Command, Cursor, Database, Error, ErrorKind, ServerAddress};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{ReplyFault, Server, ServerTls, fail_command};
use openssl::ssl::SslVersion;
use serde::Deserialize;

use crate::common::{
    Bench, at_limit, code, expect_open, expect_program_open, expect_ready, expect_streaming,
    ping_on, plain_client, timed, while_busy,
};
use crate::things::{Thing, find, with_things};

// --- idle connections ---

/// A check of the server frees the buffers of connections that have been idle for a second.
#[test]
fn connections_are_used_again_after_their_buffers_are_freed() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let bench = Bench::with(
            KeyKind::EcP256,
            |leaf| leaf,
            |tls| tls.versions(version, version),
        );
        let client = bench.client("&heartbeatFrequencyMS=500&serverMonitoringMode=poll");
        for size in [10, 100_000, 10] {
            let ping = doc! { "ping": 1, "comment": "x".repeat(size) };
            client.database("admin").run_command(ping).unwrap();
            // Two checks, more than a second after the connection became idle.
            thread::sleep(Duration::from_millis(2100));
        }
        let opened = bench.server.program_connections().len();
        assert_eq!(opened, 1, "{version:?}");
    }
}

// --- threads and the pool ---

#[test]
fn threads_share_a_client_and_never_exceed_the_pool() {
    for tls in [false, true] {
        let working = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let (now, peak) = (Arc::clone(&working), Arc::clone(&most));
        let mut builder = Server::builder().handle("benchWork", move |request| {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            Some(doc! { "n": request.body.get_i32("benchWork").ok(), "ok": 1 })
        });
        let ca = Ca::root("bench root", KeyKind::EcP256);
        if tls {
            builder = builder.tls(ServerTls::new(&ca.issue(LeafSpec::local_server())));
        }
        let server = builder.log_limit(0).start();
        let dir = PkiDir::new();
        let ca_file = dir.write("ca.pem", ca.cert_pem());
        let tls_options = if tls {
            format!("&tls=true&tlsCAFile={}", ca_file.display())
        } else {
            String::new()
        };
        let options = format!("maxPoolSize=4&serverMonitoringMode=poll{tls_options}");
        let client = plain_client(&server, &options);
        thread::scope(|scope| {
            for worker in 0..32 {
                let client = client.clone();
                scope.spawn(move || {
                    for round in 0..200 {
                        let n = worker * 1000 + round;
                        let reply = client
                            .database("db")
                            .run_command(doc! { "benchWork": n })
                            .unwrap();
                        // Each thread gets the reply to its own command.
                        assert_eq!(reply.get_i32("n").unwrap(), n);
                    }
                });
            }
        });
        let counts = server.counts();
        assert_eq!(counts.commands["benchWork"], 6400);
        // One is the monitor's; it polls, so that it needs no second one.
        assert!(counts.accepted <= 4 + 1, "{counts:?}");
        assert!(server.program_connections().len() <= 4);
        assert!(
            (2..=4).contains(&most.load(Ordering::SeqCst)),
            "{most:?} at once"
        );
        expect_open(&server, counts.accepted);
        drop(client);
        expect_open(&server, 0);
    }
}

#[test]
fn connections_that_break_do_not_use_the_pool_up() {
    let server = Server::builder().log_limit(0).start();
    let client = plain_client(&server, "maxPoolSize=3&waitQueueTimeoutMS=10000");
    server.configure_fail_point(&fail_command(
        10,
        &["ping"],
        doc! { "closeConnection": true },
    ));
    let failures = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let Err(error) = ping_on(&client) else {
                        continue;
                    };
                    // A failure ends the wait of the threads that wait for a connection.
                    if error
                        .to_string()
                        .contains("the connection pool was cleared")
                    {
                        let because = std::error::Error::source(&error).unwrap();
                        assert!(
                            because.to_string().contains("closed the connection"),
                            "{because}"
                        );
                        continue;
                    }
                    assert_eq!(code(&error), CauseCode::ConnectionClosed, "{error}");
                    failures.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(failures.into_inner(), 10);
    let made = server.program_connections().len();
    // Each failure ends its own connection, and the others of the pool with it.
    assert!((11..=33).contains(&made), "{made}");
    let pool = client.snapshot().pools.remove(0);
    assert_eq!(
        (pool.state, pool.in_use, pool.waiting),
        (PoolState::Ready, 0, 0)
    );
    // Three of the pool, and the monitor's.
    assert!(
        server.wait_until(Duration::from_secs(5), |server| server.counts().open
            <= 3 + 1)
    );
}

/// Makes eight connections, ends them all, and returns the results of the next commands.
fn after_a_cut(mode: &str, cut: impl FnOnce(&Server)) -> Vec<Result<(), Error>> {
    let server = Server::builder().start();
    let client = plain_client(&server, &format!("serverMonitoringMode={mode}"));
    let block = doc! { "blockConnection": true, "blockTimeMS": 300 };
    server.configure_fail_point(&fail_command(8, &["benchEcho"], block));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| client.database("db").run_command(doc! { "benchEcho": 1 }));
        }
    });
    assert_eq!(server.program_connections().len(), 8);
    cut(&server);
    let outcomes = (0..9).map(|_| ping_on(&client).map(drop)).collect();
    assert_eq!(server.program_connections().len(), 9);
    outcomes
}

#[test]
fn a_server_that_ends_all_connections_fails_one_command() {
    let cut = |server: &Server| {
        server.cut();
        expect_program_open(server, 0);
    };
    let mut outcomes = after_a_cut("poll", cut).into_iter();
    let error = outcomes.next().unwrap().unwrap_err();
    assert_eq!(code(&error), CauseCode::ConnectionClosed, "{error}");
    assert!(outcomes.all(|outcome| outcome.is_ok()));
}

#[test]
fn a_streaming_monitor_notices_a_server_stop_at_once() {
    let outcomes = after_a_cut("stream", |server| {
        expect_streaming(server);
        let checks = |server: &Server| server.checks().handshakes().len();
        let before = checks(server);
        server.cut();
        let is_back = |server: &Server| checks(server) == before + 1;
        assert!(server.wait_until(Duration::from_secs(10), is_back));
        expect_program_open(server, 0);
    });
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

#[test]
fn a_command_that_takes_too_long_costs_its_own_connection_only() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    while_busy(&server, &client, || ping_on(&client).map(drop).unwrap());
    server.spoil_replies("ping", 1, ReplyFault::Silence);
    let ping = Command::from(doc! { "ping": 1 }).timeout(Duration::from_millis(100));
    let error = client.database("db").run_command(ping).unwrap_err();
    assert!(error.is_timeout());
    ping_on(&client).unwrap();
    assert_eq!(server.program_connections().len(), 2);
}

#[test]
fn the_wait_for_a_connection_ends_at_wait_queue_timeout() {
    let limit = Duration::from_millis(400);
    let server = Server::builder().start();
    let client = plain_client(&server, "maxPoolSize=1&waitQueueTimeoutMS=400");
    while_busy(&server, &client, || {
        let error = at_limit(limit, || ping_on(&client)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(
            error.to_string().contains("400 ms (waitQueueTimeoutMS)"),
            "{error}"
        );
        assert_eq!(
            error.server(),
            Some(&ServerAddress::tcp("127.0.0.1", server.port()))
        );
    });
    ping_on(&client).unwrap();
    assert_eq!(server.program_connections().len(), 1);
}

#[test]
fn the_limit_of_a_call_covers_the_wait_for_a_connection() {
    let limit = Duration::from_millis(400);
    let server = Server::builder().start();
    let client = plain_client(&server, "maxPoolSize=1&waitQueueTimeoutMS=60000");
    while_busy(&server, &client, || {
        let ping = Command::from(doc! { "ping": 1 }).timeout(limit);
        let error = at_limit(limit, || client.database("db").run_command(ping)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(
            error
                .to_string()
                .contains("400 ms (the time limit of the call)"),
            "{error}"
        );
    });
    ping_on(&client).unwrap();
}

#[test]
fn the_client_limit_is_reported_by_its_option() {
    let server = Server::builder().start();
    let client = plain_client(&server, "timeoutMS=300");
    // The connection is there before the time counts. A silence that no ping takes would let the last one wait for ever.
    let ping = Command::from(doc! { "ping": 1 }).timeout(Duration::ZERO);
    client.database("db").run_command(ping).unwrap();
    server.spoil_replies("ping", 1, ReplyFault::Silence);
    let error = ping_on(&client).unwrap_err();
    assert!(error.is_timeout());
    assert!(error.to_string().contains("300 ms (timeoutMS)"), "{error}");
    // The call's own limit takes precedence; zero means no limit.
    server.spoil_replies("ping", 1, ReplyFault::Silence);
    let ping = Command::from(doc! { "ping": 1 }).timeout(Duration::from_millis(100));
    let error = client.database("db").run_command(ping).unwrap_err();
    assert!(error.to_string().contains("of the call"), "{error}");
    assert_eq!(server.count_of("ping"), 3);
    let block = doc! { "blockConnection": true, "blockTimeMS": 500 };
    server.configure_fail_point(&fail_command(1, &["ping"], block));
    let ping = Command::from(doc! { "ping": 1 }).timeout(Duration::ZERO);
    client.database("db").run_command(ping).unwrap();
}

#[test]
fn a_waiter_gets_the_connection_as_soon_as_it_is_free() {
    let server = Server::builder().start();
    let client = plain_client(&server, "maxPoolSize=1&waitQueueTimeoutMS=30000");
    let waiting = AtomicUsize::new(0);
    thread::scope(|scope| {
        let block = doc! { "blockConnection": true, "blockTimeMS": 300 };
        server.configure_fail_point(&fail_command(1, &["benchEcho"], block));
        scope.spawn(|| {
            client
                .database("db")
                .run_command(doc! { "benchEcho": 1 })
                .unwrap()
        });
        assert!(server.wait_until(
            Duration::from_secs(5),
            |server| server.count_of("benchEcho") == 1
        ));
        for _ in 0..8 {
            scope.spawn(|| {
                timed(Duration::ZERO, Duration::from_secs(3), || ping_on(&client)).unwrap();
                waiting.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    let made = server.program_connections().len();
    assert_eq!((waiting.into_inner(), made), (8, 1));
}

#[test]
fn a_connection_that_was_idle_too_long_is_replaced() {
    let server = Server::builder().start();
    let client = plain_client(&server, "maxIdleTimeMS=150");
    ping_on(&client).unwrap();
    ping_on(&client).unwrap();
    assert_eq!(server.program_connections().len(), 1);
    // The test is about this time.
    thread::sleep(Duration::from_millis(200));
    ping_on(&client).unwrap();
    let made = server.program_connections();
    assert_eq!(made.len(), 2);
    expect_program_open(&server, 1);
    let last = server.commands_named("ping").pop().unwrap();
    assert_eq!(last.connection, made[1].id);
}

#[test]
fn a_panic_of_a_thread_loses_no_connection() {
    /// A type whose deserialization panics.
    #[derive(Debug)]
    struct Panics;
    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("a bug of the program");
        }
    }
    let (server, client) = with_things(30, "maxPoolSize=1&waitQueueTimeoutMS=2000");
    let database = client.database("db");
    let message = |panic: Box<dyn std::any::Any + Send>| *panic.downcast::<&str>().unwrap();
    for _ in 0..3 {
        let reply = catch_unwind(AssertUnwindSafe(|| {
            let _ = database.run_command_as::<Panics>(doc! { "ping": 1 });
        }));
        assert_eq!(message(reply.unwrap_err()), "a bug of the program");
        let cursor = database.run_cursor_command::<Panics>(find(10)).unwrap();
        let read = catch_unwind(AssertUnwindSafe(move || cursor.count()));
        assert_eq!(message(read.unwrap_err()), "a bug of the program");
        let in_thread = thread::scope(|scope| {
            let work = scope.spawn(|| {
                let _cursor = database.run_cursor_command::<Thing>(find(10)).unwrap();
                panic!("another bug");
            });
            work.join()
        });
        assert_eq!(message(in_thread.unwrap_err()), "another bug");
        ping_on(&client).unwrap();
    }
    assert_eq!(server.program_connections().len(), 1);
}

// --- the life of a client ---

#[test]
fn a_client_is_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    fn cloned<T: Clone>() {}
    shared::<Client>();
    shared::<Database>();
    shared::<Error>();
    shared::<Command>();
    cloned::<Client>();
    cloned::<Database>();
    fn sent<T: Send + 'static>() {}
    sent::<Cursor<Thing>>();
}

#[test]
fn only_the_monitor_connects_before_the_first_command() {
    let bench = Bench::sound();
    let client = bench.client("&minPoolSize=0&serverMonitoringMode=poll");
    let database = client.database("db");
    let _ = (client.clone(), client.default_database(), database.name());
    let refused = database.run_command(doc! {}).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    expect_ready(&client);
    assert_eq!(bench.server.counts().accepted, 1);
    assert!(bench.server.program_connections().is_empty());
    // The monitor's connection serves the command, until the next check.
    ping_on(&client).unwrap();
    assert_eq!(bench.server.counts().accepted, 1);
    assert_eq!(bench.server.program_connections().len(), 1);
}

#[test]
fn connections_end_with_the_last_clone() {
    for tls in [true, false] {
        let bench = tls.then(Bench::sound);
        let plain = (!tls).then(|| Server::builder().start());
        let (server, client) = match (&bench, &plain) {
            (Some(bench), _) => (&bench.server, bench.client("")),
            (_, Some(server)) => (server, plain_client(server, "")),
            _ => unreachable!(),
        };
        // Two connections: one is busy while the other is made.
        while_busy(server, &client, || ping_on(&client).map(drop).unwrap());
        expect_program_open(server, 2);
        let clone = client.clone();
        let database = clone.database("db");
        drop(client);
        drop(clone);
        database.run_command(doc! { "ping": 1 }).unwrap();
        expect_program_open(server, 2);
        assert_eq!(server.program_connections().len(), 2);
        drop(database);
        // The monitor's ends too.
        expect_open(server, 0);
    }
}
