//! Listeners that use the client they belong to: on one thread and on several, in every event, while it is closed.

use std::cell::Cell;
use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::doc;
use mongotls::client::PoolState;
use mongotls::event::{CommandEvent, Event, EventKind, PoolEventKind};
use mongotls::{Client, ClientOptions, ConnectionString, Error, ErrorKind};
use mongotls_testbench::server::{Auth, Server, User, fail_command};

use crate::common::{Bench, expect_ready, expect_streaming, ping_on};
use crate::target::dial_anew;

/// The client that a listener uses. It is removed at the end, so that it can be dropped.
type Own = Arc<OnceLock<Client>>;

thread_local! {
    /// True if this thread is in the listener, whose own commands are ignored.
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

/// Returns true if this thread checks a server.
fn is_monitor() -> bool {
    // The first 15 bytes of "mongotls-monitor". The standard library did not start the thread, so it has no name
    // there.
    fs::read_to_string("/proc/thread-self/comm")
        .is_ok_and(|name| name.trim_end() == "mongotls-monito")
}

/// Returns true if a command failed because the listener must not wait for long.
fn is_limit_of_listeners(error: &Error) -> bool {
    error.kind() == ErrorKind::Timeout && error.to_string().contains("listener")
}

/// A client whose listener calls `act` with it and each event that `act` itself does not cause.
fn acting(uri: &str, act: impl Fn(&Client, &Event) + Send + Sync + 'static) -> Client {
    let own = Own::default();
    let to_use = Arc::clone(&own);
    let builder = ConnectionString::parse(uri).unwrap().into_builder();
    let options: ClientOptions = builder
        .event_listener(move |event| {
            // A monitor may be faster than the thread that makes the client.
            while is_monitor() && to_use.get().is_none() {
                thread::yield_now();
            }
            let Some(client) = to_use.get().filter(|_| !LISTENS.replace(true)) else {
                return;
            };
            act(client, event);
            LISTENS.set(false);
        })
        .build()
        .unwrap();
    let client = Client::with_options(options).unwrap();
    own.set(client.clone()).unwrap();
    client
}

/// Runs `work` on this number of threads; fails if one of them has not ended after half a minute.
fn on_threads(threads: usize, work: impl Fn() + Clone + Send + 'static) {
    let (ended, ends) = mpsc::channel();
    for _ in 0..threads {
        let (work, ended) = (work.clone(), ended.clone());
        thread::spawn(move || {
            work();
            ended.send(()).unwrap();
        });
    }
    drop(ended);
    for left in (1..=threads).rev() {
        match ends.recv_timeout(Duration::from_secs(30)) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => panic!("{left} of {threads} threads hang"),
            Err(RecvTimeoutError::Disconnected) => panic!("a thread panicked"),
        }
    }
}

#[test]
fn a_listener_runs_a_command_in_every_event_on_one_thread() {
    let kinds = [
        "ConnectionCheckOutStarted",
        "ConnectionCreated",
        "TlsHandshakeStarted",
        "TlsHandshakeSucceeded",
        "ConnectionReady",
        "ConnectionCheckedOut",
        "CommandStarted",
        "CommandSucceeded",
        "ConnectionCheckedIn",
        "TlsReload",
        "ConnectionClosed",
        "ServerHeartbeatStarted",
        "ServerHeartbeatSucceeded",
    ];
    // Events that happen once, maybe before the listener has its client, and again when the server is lost and found.
    let of_changes = [
        "ServerDescriptionChanged",
        "TopologyDescriptionChanged",
        "ConnectionPoolReady",
    ];
    let check = &|kind: &'static str| {
        let bench = Arc::new(Bench::sound());
        let (told, outcomes) = mpsc::channel();
        let client = acting(&bench.uri(""), move |client, event| {
            if name(event).contains(kind) {
                // The monitor itself emits the event of its first check before it has found the server.
                let is_early =
                    is_monitor() && client.snapshot().pools[0].state == PoolState::Paused;
                let outcome = client.database("db").run_command(doc! { "benchEcho": 1 });
                // At the end the channel has no receiver.
                let _ = told.send((is_early, outcome));
            }
        });
        let own = Arc::clone(&bench);
        on_threads(1, move || {
            // The program's connection emits its handshake, too.
            expect_ready(&client);
            dial_anew(&client);
            ping_on(&client).unwrap();
            client.reload_tls().unwrap();
            ping_on(&client).unwrap();
            // The event of the monitor's first check may come before the listener has its client.
            expect_streaming(&own.server);
            if of_changes.contains(&kind) {
                let close = doc! { "closeConnection": true };
                own.server
                    .configure_fail_point(&fail_command(1, &["ping"], close));
                ping_on(&client).unwrap_err();
                ping_on(&client).unwrap();
            }
        });
        let outcomes: Vec<_> = outcomes.try_iter().collect();
        assert!(!outcomes.is_empty(), "{kind} did not come");
        for (is_early, outcome) in &outcomes {
            let is_right = match outcome {
                Ok(_) => !is_early,
                Err(error) => *is_early && is_limit_of_listeners(error),
            };
            assert!(is_right, "{kind}: {outcomes:?}");
        }
    };
    thread::scope(|scope| {
        for kind in kinds.into_iter().chain(of_changes) {
            scope.spawn(move || check(kind));
        }
    });
}

/// The name of an event, by its fields.
fn name(event: &Event) -> String {
    match event {
        Event::Pool(event) => event.kind.name().to_owned(),
        Event::Sdam(event) => event.kind.name().to_owned(),
        event => format!("{event:?}"),
    }
}

#[test]
fn listeners_on_several_threads_do_not_deadlock() {
    let bench = Bench::sound();
    let failures = Arc::new(Mutex::new(Vec::new()));
    let store = Arc::clone(&failures);
    let uri = bench.uri("&maxPoolSize=3&maxConnecting=2");
    let client = acting(&uri, move |client, _| {
        // In the worst case all threads with a connection are in here.
        let outcome = client.database("db").run_command(doc! { "benchEcho": 1 });
        store.lock().unwrap().extend(outcome.err());
    });
    on_threads(4, {
        let client = client.clone();
        move || ping_on(&client).map(drop).unwrap()
    });
    // The monitor's second check has an event too, possibly now.
    let in_use = || {
        let pool = client.snapshot().pools.remove(0);
        (pool.in_use, pool.pending, pool.waiting)
    };
    let is_over = |_: &Server| in_use() == (0, 0, 0);
    bench.server.wait_until(Duration::from_secs(10), is_over);
    assert_eq!(in_use(), (0, 0, 0));
    let failures = failures.lock().unwrap();
    assert!(failures.iter().all(is_limit_of_listeners), "{failures:?}");
}

#[test]
fn a_listener_may_close_the_client_in_any_event() {
    let kinds: [fn(&Event) -> bool; 6] = [
        |event| matches!(event, Event::Pool(pool) if matches!(pool.kind, PoolEventKind::ConnectionCheckOutStarted)),
        |event| matches!(event, Event::Pool(pool) if matches!(pool.kind, PoolEventKind::ConnectionCreated { .. })),
        |event| matches!(event, Event::Pool(pool) if matches!(pool.kind, PoolEventKind::ConnectionReady { .. })),
        |event| matches!(event, Event::Pool(pool) if matches!(pool.kind, PoolEventKind::ConnectionCheckedOut { .. })),
        |event| matches!(event, Event::Command(CommandEvent::Started(_))),
        |event| matches!(event, Event::Pool(pool) if matches!(pool.kind, PoolEventKind::ConnectionCheckedIn { .. })),
    ];
    for (index, is_it) in kinds.into_iter().enumerate() {
        let server = Server::builder().start();
        let client = acting(&server.uri(), move |client, event| {
            if is_it(event) {
                client.close(Duration::from_millis(50));
            }
        });
        on_threads(1, {
            let client = client.clone();
            // A connection that was checked out before the close continues.
            move || match ping_on(&client) {
                Ok(_) => assert!(index >= 3, "closed at {index}"),
                Err(error) => {
                    assert_eq!(
                        error.kind(),
                        ErrorKind::ClientClosed,
                        "closed at {index}: {error}"
                    );
                }
            }
        });
        assert_eq!(
            ping_on(&client).unwrap_err().kind(),
            ErrorKind::ClientClosed
        );
        assert!(client.close(Duration::from_secs(5)).is_empty());
        crate::common::expect_open(&server, 0);
    }
}

#[test]
fn an_attempt_to_connect_that_ends_with_the_client_says_so() {
    let server = Server::builder().start();
    let (told, events) = mpsc::channel();
    let uri = format!("{}?serverMonitoringMode=poll", server.uri());
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let options = builder.event_listener_for(&[EventKind::Pool], move |event| {
        let Event::Pool(event) = event else { return };
        told.send(event.clone()).unwrap();
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
    // The monitor has its answer; the next one belongs to the command.
    expect_ready(&client);
    dial_anew(&client);
    let block = doc! { "blockConnection": true, "blockTimeMS": 5000 };
    server.configure_fail_point(&fail_command(1, &["hello", "isMaster"], block));
    let begun = Instant::now();
    let error = thread::scope(|scope| {
        let waiting = scope.spawn(|| ping_on(&client).unwrap_err());
        let is_dialing =
            |kind: &PoolEventKind| matches!(kind, PoolEventKind::ConnectionCreated { .. });
        assert!(events.iter().any(|event| is_dialing(&event.kind)));
        assert!(client.close(Duration::from_secs(4)).is_empty());
        waiting.join().unwrap()
    });
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(error.kind(), ErrorKind::ClientClosed, "{error}");
    let rest: Vec<String> = events.try_iter().map(|event| event.to_string()).collect();
    let closed = rest
        .iter()
        .find(|line| line.starts_with("Connection closed"));
    assert!(
        closed.is_some_and(|line| line.ends_with("Connection pool was closed")),
        "{rest:?}"
    );
    let failed: Vec<_> = rest
        .iter()
        .filter(|line| line.starts_with("Checkout failed"))
        .collect();
    assert_eq!(failed.len(), 1, "{rest:?}");
    assert!(
        failed[0].contains("Reason: Connection pool was closed"),
        "{rest:?}"
    );
}

/// The texts of an error and of its sources.
fn texts(error: &Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    texts
}

/// Pings on 32 threads, all of which fail; returns the number of requested connections, and the texts of the errors.
fn all_fail(uri: &str) -> (usize, Vec<Vec<String>>) {
    let (told, events) = mpsc::channel();
    let builder = ConnectionString::parse(uri).unwrap().into_builder();
    let options = builder.event_listener_for(&[EventKind::Pool], move |event| {
        if matches!(event, Event::Pool(event) if matches!(event.kind, PoolEventKind::ConnectionCheckOutStarted)) {
            told.send(()).unwrap();
        }
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
    let (failed, errors) = mpsc::channel();
    on_threads(THREADS, {
        let client = client.clone();
        move || failed.send(texts(&ping_on(&client).unwrap_err())).unwrap()
    });
    (events.try_iter().count(), errors.try_iter().collect())
}

const THREADS: usize = 32;

#[test]
fn selection_stops_when_monitors_are_always_rejected() {
    let server = Server::builder().start();
    let refuse = doc! { "errorCode": 91 };
    server.configure_fail_point(&fail_command(1000, &["hello", "isMaster"], refuse));
    let uri = format!("{}?serverSelectionTimeoutMS=1200", server.uri());
    let (asked, errors) = all_fail(&uri);
    for texts in errors {
        assert!(texts[0].contains("refused hello"), "{texts:?}");
        assert!(texts[0].contains("serverSelectionTimeoutMS"), "{texts:?}");
    }
    assert_eq!(asked, 0, "no connection is asked for without a server");
    // The first check, and one each half second for all threads together.
    let checks = server.counts().accepted;
    assert!((2..=4).contains(&checks), "{checks} checks");
}

#[test]
fn selection_stops_when_all_users_are_rejected() {
    let auth = Auth::new().user(User::new("admin", "ada", "pencil"));
    let server = Server::builder().auth(auth).start();
    let refuse = doc! { "errorCode": 91 };
    server.configure_fail_point(&fail_command(1000, &["saslStart", "saslContinue"], refuse));
    let uri = format!("mongodb://ada:pencil@127.0.0.1:{}/", server.port());
    let (asked, errors) = all_fail(&uri);
    for texts in errors {
        assert!(
            texts.iter().any(|text| text.contains("failCommand")),
            "{texts:?}"
        );
    }
    // All threads that waited for a connection fail with the first failed attempt.
    assert_eq!(asked, THREADS);
}
