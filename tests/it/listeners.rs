//! Listeners that use the client they listen to: on one thread and on several, in every event, while it is closed.

use std::cell::Cell;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::doc;
use mongotls::event::{Event, EventKind, PoolEventKind};
use mongotls::{Client, ClientOptions, ConnectionString, ErrorKind};
use mongotls_testbench::server::{Server, fail_command};

use crate::common::{Bench, ping_on};

/// The client that a listener uses. Taken out at the end, so that it goes.
type Own = Arc<OnceLock<Client>>;

thread_local! {
    /// Whether this thread is in the listener, whose own commands are not listened to.
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

/// A client whose listener calls `act` with it and each event that `act` itself does not bring about.
fn acting(uri: &str, act: impl Fn(&Client, &Event) + Send + Sync + 'static) -> Client {
    let own = Own::default();
    let to_use = Arc::clone(&own);
    let builder = ConnectionString::parse(uri).unwrap().into_builder();
    let options: ClientOptions = builder
        .event_listener(move |event| {
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

/// Runs `work` on so many threads; fails if one of them has not ended after half a minute.
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
    let bench = Bench::sound();
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
    ];
    for kind in kinds {
        let (told, outcomes) = mpsc::channel();
        let client = acting(&bench.uri(""), move |client, event| {
            if format!("{event:?}").contains(kind) {
                let outcome = client.database("db").run_command(doc! { "benchEcho": 1 });
                told.send(outcome).unwrap();
            }
        });
        on_threads(1, move || {
            ping_on(&client).unwrap();
            client.reload_tls().unwrap();
            ping_on(&client).unwrap();
        });
        let outcomes: Vec<_> = outcomes.try_iter().collect();
        assert!(!outcomes.is_empty(), "{kind} did not come");
        assert!(outcomes.iter().all(Result::is_ok), "{kind}: {outcomes:?}");
    }
}

#[test]
fn listeners_on_several_threads_do_not_wait_for_each_other_for_ever() {
    let bench = Bench::sound();
    let client = acting(&bench.uri("&maxPoolSize=3&maxConnecting=2"), |client, _| {
        // In the worst case all places belong to threads that are in here.
        let outcome = client.database("db").run_command(doc! { "benchEcho": 1 });
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert!(error.to_string().contains("listener"), "{error}");
        }
    });
    on_threads(4, {
        let client = client.clone();
        move || ping_on(&client).map(drop).unwrap()
    });
    let snapshot = client.snapshot();
    let pool = &snapshot.pools[0];
    assert_eq!((pool.in_use, pool.pending, pool.waiting), (0, 0, 0));
}

#[test]
fn a_listener_may_close_the_client_in_any_event() {
    let kinds: [fn(&Event) -> bool; 6] = [
        |event| matches!(event, Event::Pool(pool) if matches!(pool.kind, PoolEventKind::ConnectionCheckOutStarted)),
        |event| matches!(event, Event::Pool(pool) if matches!(pool.kind, PoolEventKind::ConnectionCreated { .. })),
        |event| matches!(event, Event::Pool(pool) if matches!(pool.kind, PoolEventKind::ConnectionReady { .. })),
        |event| matches!(event, Event::Pool(pool) if matches!(pool.kind, PoolEventKind::ConnectionCheckedOut { .. })),
        |event| matches!(event, Event::CommandStarted(_)),
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
            // What was checked out before it was closed goes on.
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
    let block = doc! { "blockConnection": true, "blockTimeMS": 5000 };
    server.configure_fail_point(&fail_command(1, &["hello", "isMaster"], block));
    let (told, events) = mpsc::channel();
    let builder = ConnectionString::parse(&server.uri())
        .unwrap()
        .into_builder();
    let options = builder.event_listener_for(&[EventKind::Pool], move |event| {
        let Event::Pool(event) = event else { return };
        told.send(event.clone()).unwrap();
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
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

#[test]
fn threads_that_wait_for_a_server_that_refuses_all_do_not_ask_for_ever() {
    const THREADS: usize = 32;
    let server = Server::builder().start();
    let refuse = doc! { "errorCode": 91 };
    server.configure_fail_point(&fail_command(1000, &["hello", "isMaster"], refuse));
    let (told, events) = mpsc::channel();
    let builder = ConnectionString::parse(&server.uri())
        .unwrap()
        .into_builder();
    let options = builder.event_listener_for(&[EventKind::Pool], move |event| {
        if matches!(event, Event::Pool(event) if matches!(event.kind, PoolEventKind::ConnectionCheckOutStarted)) {
            told.send(()).unwrap();
        }
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
    on_threads(THREADS, {
        let client = client.clone();
        move || {
            let error = ping_on(&client).unwrap_err();
            let mut texts = vec![error.to_string()];
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                texts.push(error.to_string());
                source = error.source();
            }
            assert!(
                texts.iter().any(|text| text.contains("refused hello")),
                "{texts:?}"
            );
        }
    });
    // An attempt that fails sends those that wait to ask again, each time one fewer.
    let asked = events.try_iter().count();
    assert!(
        (THREADS..=THREADS * THREADS).contains(&asked),
        "{asked} check-outs of {THREADS} threads"
    );
}
