//! Cancellation from another thread: each place where an operation waits, how fast it ends, and what stays usable.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::{Document, doc};
use mongotls::error::Stage;
use mongotls::{Canceller, CauseCode, Client, Collection, Command, Error, ErrorKind, Written};
use mongotls_testbench::server::{ReplyFault, Server};
use mongotls_testbench::stranger;

use crate::common::{Bench, code, expect_program_open, fact, ping_on, plain_client, while_busy};
use crate::things::with_things;

/// The time within which a cancelled operation ends.
const LIMIT: Duration = Duration::from_millis(50);

/// A limit that none of the cancelled operations reaches.
const LONG: &str = "serverSelectionTimeoutMS=20000&connectTimeoutMS=20000";

/// Runs `work` on another thread, and cancels it once it waits. Returns its error, and the time that it took to end.
fn cancel<T: Send>(
    canceller: &Canceller,
    waits: impl Fn() -> bool,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> (Error, Duration) {
    thread::scope(|scope| {
        let running = scope.spawn(|| (work().err(), Instant::now()));
        let until = Instant::now() + Duration::from_secs(20);
        while !waits() {
            assert!(Instant::now() < until, "the operation does not wait");
            thread::sleep(Duration::from_millis(1));
        }
        // From the last thing that can be seen to the wait itself.
        thread::sleep(Duration::from_millis(50));
        let cancelled = Instant::now();
        canceller.cancel();
        let (error, ended) = running.join().unwrap();
        let error = error.unwrap_or_else(|| panic!("the operation succeeded"));
        (error, ended.saturating_duration_since(cancelled))
    })
}

/// Runs a scenario until the operation ends in time in the expected step: a busy machine may be late, but not always.
fn expect_quick(step: &str, scenario: impl Fn() -> (Error, Duration)) -> Error {
    let mut seen = Vec::new();
    for _ in 0..8 {
        let (error, took) = scenario();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error:?}");
        assert_eq!(code(&error), CauseCode::Cancelled);
        let reached = fact(&error, "step");
        if reached == step && took <= LIMIT {
            return error;
        }
        seen.push((reached, took));
    }
    panic!("never in {LIMIT:?} in the step {step}: {seen:?}");
}

/// The pools have never been cleared.
fn expect_never_cleared(client: &Client) {
    let pools = client.snapshot().pools;
    assert!(pools.iter().all(|pool| pool.generation == 0), "{pools:?}");
}

fn after(time: Duration) -> impl Fn() -> bool {
    let started = Instant::now();
    move || started.elapsed() >= time
}

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn server_selection_ends() {
    let uri = format!("mongodb://{}/?{LONG}", stranger::nobody());
    let client = Client::connect(&uri).unwrap();
    let error = expect_quick("server-selection", || {
        let canceller = Canceller::new();
        let limited = client.cancelled_by(&canceller);
        cancel(&canceller, after(SHORT), || ping_on(&limited))
    });
    assert_eq!((error.stage(), error.written()), (None, Written::No));
    assert_eq!(
        error.to_string(),
        "the program cancelled the operation while it waited for a server"
    );
}

#[test]
fn the_wait_for_a_connection_ends() {
    let server = Server::builder().start();
    let client = plain_client(&server, "maxPoolSize=1");
    let error = expect_quick("check-out", || {
        server.forget_commands();
        let mut outcome = None;
        while_busy(&server, &client, || {
            let canceller = Canceller::new();
            let limited = client.cancelled_by(&canceller);
            let waits = || client.snapshot().pools[0].waiting == 1;
            outcome = Some(cancel(&canceller, waits, || ping_on(&limited)));
            assert_eq!(client.snapshot().pools[0].waiting, 0);
        });
        outcome.unwrap()
    });
    assert_eq!((error.stage(), error.written()), (None, Written::No));
    assert_eq!(server.count_of("ping"), 0);
    expect_never_cleared(&client);
    ping_on(&client).unwrap();
    assert_eq!(server.program_connections().len(), 1);
}

/// A listener whose queue is full, so that the kernel answers no further connection, and what keeps it full.
fn full_listener() -> (socket2::Socket, SocketAddr, Vec<TcpStream>) {
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut kept = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        kept.push(stream);
        assert!(kept.len() < 100, "the queue has no end");
    }
    (listener, address, kept)
}

#[test]
fn connecting_ends() {
    let (_listener, address, _kept) = full_listener();
    let uri = format!("mongodb://{address}/?loadBalanced=true&{LONG}");
    let error = expect_quick("establishing", || {
        let client = Client::connect(&uri).unwrap();
        let canceller = Canceller::new();
        let limited = client.cancelled_by(&canceller);
        let waits = || {
            client
                .snapshot()
                .pools
                .first()
                .is_some_and(|pool| pool.pending == 1)
        };
        let outcome = cancel(&canceller, waits, || ping_on(&limited));
        expect_never_cleared(&client);
        assert_eq!(client.snapshot().pools[0].pending, 0);
        outcome
    });
    assert_eq!(
        (error.stage(), error.written()),
        (Some(Stage::Connect), Written::No)
    );
    assert!(error.labels().is_empty());
}

/// Establishing a connection to a server that accepts it, and is silent then.
fn expect_handshake_ends(uri: &str, stage: Stage) {
    let error = expect_quick("establishing", || {
        let client = Client::connect(uri).unwrap();
        let canceller = Canceller::new();
        let limited = client.cancelled_by(&canceller);
        let waits = || {
            client
                .snapshot()
                .pools
                .first()
                .is_some_and(|pool| pool.pending == 1)
        };
        let outcome = cancel(&canceller, waits, || ping_on(&limited));
        expect_never_cleared(&client);
        outcome
    });
    assert_eq!((error.stage(), error.written()), (Some(stage), Written::No));
}

#[test]
fn the_tls_handshake_ends() {
    let silent = stranger::silent();
    let bench = Bench::sound();
    let ca = bench.ca_file.display();
    let uri = format!(
        "mongodb://{}/?loadBalanced=true&tls=true&tlsCAFile={ca}&{LONG}",
        silent.addr()
    );
    expect_handshake_ends(&uri, Stage::Tls);
}

#[test]
fn the_mongodb_handshake_ends() {
    let silent = stranger::silent();
    let uri = format!("mongodb://{}/?loadBalanced=true&{LONG}", silent.addr());
    expect_handshake_ends(&uri, Stage::Hello);
}

#[test]
fn the_pause_before_a_retry_ends() {
    let overloaded = doc! {
        "ok": 0, "code": 462, "errmsg": "overloaded", "baseBackoffMS": 10_000,
        "errorLabels": ["SystemOverloadedError", "RetryableError"],
    };
    let server = Server::builder()
        .handle("find", move |_| Some(overloaded.clone()))
        .start();
    let client = plain_client(&server, "");
    let things = client.database("db").collection::<Document>("things");
    let error = expect_quick("retry", || {
        server.forget_commands();
        let canceller = Canceller::new();
        let find = things.find(doc! {}).cancelled_by(&canceller);
        cancel(&canceller, || server.count_of("find") == 1, || find.run())
    });
    assert_eq!(error.written(), Written::No);
    expect_never_cleared(&client);
}

#[test]
fn the_wait_for_a_reply_ends() {
    let server = Server::builder().start();
    let client = plain_client(&server, "retryWrites=true");
    ping_on(&client).unwrap();
    let things = client.database("db").collection::<Document>("things");
    let error = expect_quick("reply", || {
        server.forget_commands();
        server.spoil_replies("insert", 1, ReplyFault::Silence);
        let canceller = Canceller::new();
        let insert = things.insert_one(doc! { "a": 1 }).cancelled_by(&canceller);
        let outcome = cancel(
            &canceller,
            || server.count_of("insert") == 1,
            || insert.run(),
        );
        // It is not retried, the connection is closed, and others can be used.
        assert_eq!(server.count_of("insert"), 1);
        expect_program_open(&server, 0);
        ping_on(&client).unwrap();
        expect_program_open(&server, 1);
        outcome
    });
    assert_eq!(error.stage(), Some(Stage::Command));
    assert_eq!(error.written(), Written::Unknown);
    expect_never_cleared(&client);
    // The session was dirty, so it is not used again.
    let last = server.commands_named("insert").pop().unwrap();
    let id = last.body.get_document("lsid").unwrap().clone();
    server.forget_commands();
    things.insert_one(doc! { "a": 1 }).run().unwrap();
    let insert = &server.commands_named("insert")[0].body;
    assert_ne!(insert.get_document("lsid").unwrap(), &id);
    assert_eq!(fact(&error, "host"), "127.0.0.1");
}

#[test]
fn a_reply_over_tls_is_no_longer_awaited() {
    let bench = Bench::sound();
    let client = bench.client("");
    ping_on(&client).unwrap();
    expect_quick("reply", || {
        bench.server.forget_commands();
        bench.server.spoil_replies("ping", 1, ReplyFault::Silence);
        let canceller = Canceller::new();
        let limited = client.cancelled_by(&canceller);
        cancel(
            &canceller,
            || bench.server.count_of("ping") == 1,
            || ping_on(&limited),
        )
    });
    expect_never_cleared(&client);
}

#[test]
fn a_cursor_ends() {
    let (server, client) = with_things(30, "");
    let things = client.database("db").collection::<Document>("things");
    let error = expect_quick("reply", || {
        server.forget_commands();
        let canceller = Canceller::new();
        let cursor = things.find(doc! {}).batch_size(10).run().unwrap();
        let mut cursor = cursor.cancelled_by(&canceller);
        assert_eq!(cursor.by_ref().take(10).map(Result::unwrap).count(), 10);
        server.spoil_replies("getMore", 1, ReplyFault::Silence);
        let outcome = cancel(
            &canceller,
            || server.count_of("getMore") == 1,
            || {
                let next = cursor.next().unwrap();
                assert!(cursor.next().is_none());
                next
            },
        );
        // The server holds it until it is dropped.
        assert_eq!(server.count_of("killCursors"), 0);
        drop(cursor);
        assert_eq!(server.count_of("killCursors"), 1);
        outcome
    });
    assert_eq!(error.written(), Written::No);
    assert_eq!(server.open_cursors(), 0);
    expect_never_cleared(&client);
}

#[test]
fn documents_that_have_arrived_are_returned_after_a_cancellation() {
    let (server, client) = with_things(30, "");
    let canceller = Canceller::new();
    let things = client
        .cancelled_by(&canceller)
        .database("db")
        .collection::<Document>("things");
    let mut cursor = things.find(doc! {}).batch_size(10).run().unwrap();
    canceller.cancel();
    assert_eq!(cursor.by_ref().take(10).map(Result::unwrap).count(), 10);
    let error = cursor.next().unwrap().unwrap_err();
    assert_eq!(fact(&error, "step"), "start");
    assert!(cursor.next().is_none());
    drop(cursor);
    assert_eq!((server.count_of("getMore"), server.open_cursors()), (0, 0));
}

/// The error of an operation that was cancelled before it started.
fn expect_not_started<T>(outcome: Result<T, Error>) {
    let Err(error) = outcome else {
        panic!("it succeeded")
    };
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert_eq!((error.stage(), error.written()), (None, Written::No));
    assert_eq!(fact(&error, "step"), "start");
}

#[test]
fn nothing_is_sent_after_a_cancellation() {
    let (server, client) = with_things(3, "");
    let canceller = Canceller::new();
    let (one, other) = (canceller.clone(), Canceller::new());
    canceller.cancel();
    let things: Collection<Document> = client.database("db").collection("things");
    let of_handle = client.cancelled_by(&one).cancelled_by(&other);
    expect_not_started(ping_on(&of_handle));
    expect_not_started(of_handle.server_report());
    expect_not_started(ping_on(client.database("db").cancelled_by(&one).client()));
    expect_not_started(things.cancelled_by(&one).find(doc! {}).run());
    expect_not_started(
        things
            .cancelled_by(&other)
            .find(doc! {})
            .cancelled_by(&one)
            .run(),
    );
    expect_not_started(things.delete_many(doc! {}).cancelled_by(&one).run());
    expect_not_started(things.drop_index("a_1").cancelled_by(&one).run());
    let ping = Command::from(doc! { "ping": 1 }).cancelled_by(&one);
    expect_not_started(client.database("db").run_command(ping));
    let mut bulk = client.bulk().cancelled_by(&one);
    bulk.insert_one(things.namespace(), doc! {});
    expect_not_started(bulk.run());
    assert!(server.commands_named("ping").is_empty() && server.commands_named("find").is_empty());
    // Another canceller has no effect.
    ping_on(&client.cancelled_by(&other)).unwrap();
}

#[test]
fn a_bulk_keeps_the_results_from_before_its_cancellation() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let canceller = Canceller::new();
    let things = client.database("db").collection::<Document>("things");
    let documents = (0..6).map(|id| {
        if id == 4 {
            canceller.cancel();
        }
        doc! { "_id": id, "text": "x".repeat(1000) }
    });
    let insert = things.insert_many(documents).batch_bytes(2_500);
    let error = insert.cancelled_by(&canceller).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    let partial = error
        .bulk_failure()
        .unwrap()
        .partial_result
        .as_ref()
        .unwrap();
    assert!((1..=4).contains(&partial.inserted_count()));
    assert_eq!(error.written(), Written::Partly);
}
