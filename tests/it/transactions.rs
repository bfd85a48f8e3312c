//! Transactions: the prose tests of "Transactions" and "Convenient API for Transactions", and the rules of the two forms.
//!
//! The bench is a router that answers `commitTransaction` and `abortTransaction`. It applies writes at once, so these tests
//! look at the commands; the cases of the specifications and the bank test look at the data.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, doc};
use mongotls::event::{Event, EventKind, TransactionEvent};
use mongotls::internals::fix_jitter;
use mongotls::options::{
    CursorType, ReadConcern, ReadPreference, ReadPreferenceMode, TransactionOptions, WriteConcern,
};
use mongotls::{
    CauseCode, Client, Collection, ConnectionString, Error, ErrorKind, Result, Session, Written,
};
use mongotls_testbench::server::{Data, Hello, Request, Server, fail_command};

use crate::common::plain_client;

const TRANSIENT: &str = "TransientTransactionError";
const UNKNOWN: &str = "UnknownTransactionCommitResult";
const MS: fn(u64) -> Duration = Duration::from_millis;

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let outcome = work();
    (outcome, started.elapsed())
}

/// A router with the commands of transactions.
fn router(data: &Data) -> Server {
    let done = |_: &Request| Some(doc! { "ok": 1 });
    let builder = Server::builder().hello(Hello::mongos()).data(data);
    let builder = builder.handle("commitTransaction", done);
    builder.handle("abortTransaction", done).start()
}

fn bench() -> (Server, Client) {
    let server = router(&Data::default());
    let client = plain_client(&server, "");
    (server, client)
}

fn things(client: &Client) -> Collection<Document> {
    client.database("db").collection("things")
}

fn fail(server: &Server, times: i32, command: &str, data: Document) {
    server.configure_fail_point(&fail_command(times, &[command], data));
}

fn transient(code: i32) -> Document {
    doc! { "errorCode": code, "errorLabels": [TRANSIENT] }
}

/// The names of the commands since the last call, without those of monitors and handshakes.
fn commands(server: &Server) -> Vec<String> {
    let names = server.commands().into_iter().map(|request| request.name);
    let names: Vec<_> = names
        .filter(|name| !["hello", "isMaster", "ismaster", "endSessions"].contains(&&**name))
        .collect();
    server.forget_commands();
    names
}

fn insert(tx: &Session, client: &Client, id: i32) -> Result<()> {
    let things = things(client);
    things.within(tx).insert_one(doc! { "_id": id }).run()?;
    Ok(())
}

/// Inserts a document that is another one each time.
fn insert_any(tx: &Session, client: &Client) -> Result<()> {
    let things = things(client);
    things.within(tx).insert_one(doc! {}).run()?;
    Ok(())
}

fn code(error: &Error) -> Option<CauseCode> {
    error.cause().map(|cause| cause.code())
}

fn source(error: &Error) -> &Error {
    let source = error.source().expect("a source");
    source.downcast_ref().expect("an error of the library")
}

fn expect_invalid<T>(outcome: Result<T>, text: &str) {
    let error = outcome.err().expect("an error");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn the_value_of_the_closure_is_returned_after_the_commit() {
    let (server, client) = bench();
    let value = client.transaction().run(|tx| {
        insert(tx, &client, 1)?;
        tx.collection::<Document>("db", "others")
            .insert_one(doc! { "_id": 1 })
            .run()?;
        Ok("a value")
    });
    assert_eq!(value.unwrap(), "a value");
    let requests = server.commands_named("insert");
    let field = |index: usize, name: &str| requests[index].body.get(name).cloned();
    assert_eq!(field(0, "startTransaction"), Some(true.into()));
    assert_eq!(field(1, "startTransaction"), None);
    for name in ["txnNumber", "lsid", "autocommit"] {
        assert_eq!(field(0, name), field(1, name), "{name}");
    }
    assert_eq!(field(0, "autocommit"), Some(false.into()));
    let commit = server.commands_named("commitTransaction").remove(0);
    assert_eq!(commit.body.get("txnNumber").cloned(), field(0, "txnNumber"));
    assert_eq!(commit.database, "admin");
    assert_eq!(commands(&server), ["insert", "insert", "commitTransaction"]);
}

#[test]
fn an_error_of_the_program_comes_back_unchanged() {
    #[derive(Debug, PartialEq)]
    struct SoldOut(u32);
    let (server, client) = bench();
    let outcome = client.transaction().run(|tx| {
        insert(tx, &client, 1)?;
        Err::<(), _>(Error::custom(SoldOut(3)))
    });
    let error = outcome.unwrap_err();
    assert_eq!(error.get_custom(), Some(&SoldOut(3)));
    assert_eq!(error.get_custom::<u32>(), None);
    assert_eq!(
        (error.kind(), error.written()),
        (ErrorKind::Custom, Written::No)
    );
    assert_eq!(commands(&server), ["insert", "abortTransaction"]);
}

#[test]
fn a_transient_error_runs_the_closure_again() {
    fix_jitter(Some(0.0));
    let events = Arc::new(Mutex::new(Vec::new()));
    let (server, _) = bench();
    let client = listening(&server, &events);
    let (calls, seen) = (Cell::new(0), Cell::new(0));
    fail(&server, 2, "insert", transient(112));
    let run = client.transaction().on_retry(|retry| {
        seen.set(seen.get() + 1);
        assert_eq!((retry.attempts, retry.is_commit), (seen.get(), false));
        assert_eq!(retry.error.command().unwrap().code, 112);
    });
    run.run(|tx| {
        calls.set(calls.get() + 1);
        insert(tx, &client, 1)
    })
    .unwrap();
    assert_eq!((calls.get(), seen.get()), (3, 2));
    let texts = events.lock().unwrap().clone();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[0].starts_with("a transaction is run again"),
        "{texts:?}"
    );
    let numbers = server.commands_named("insert").into_iter();
    let numbers: BTreeSet<_> = numbers
        .map(|request| request.body.get_i64("txnNumber").unwrap())
        .collect();
    assert_eq!(numbers.len(), 3, "each attempt has a number of its own");
}

fn listening(server: &Server, events: &Arc<Mutex<Vec<String>>>) -> Client {
    let events = Arc::clone(events);
    let builder = ConnectionString::parse(&server.uri())
        .unwrap()
        .into_builder();
    let builder = builder.event_listener_for(&[EventKind::Transaction], move |event| {
        let text = match event {
            Event::Transaction(TransactionEvent::Retry(retry)) => retry.to_string(),
            Event::Transaction(TransactionEvent::Outside(outside)) => outside.to_string(),
            other => panic!("{other:?}"),
        };
        events.lock().unwrap().push(text);
    });
    Client::with_options(builder.build().unwrap()).unwrap()
}

#[test]
fn the_program_can_limit_the_attempts() {
    fix_jitter(Some(0.0));
    let (server, client) = bench();
    fail(&server, 5, "insert", transient(112));
    let outcome = client
        .transaction()
        .attempts(2)
        .run(|tx| insert(tx, &client, 1));
    let error = outcome.unwrap_err();
    assert!(error.has_label(TRANSIENT) && !error.is_timeout());
    assert_eq!(server.count_of("insert"), 2);
}

/// "Retry Timeout is Enforced".
#[test]
fn no_retry_begins_after_the_time_limit() {
    fix_jitter(Some(1.0));
    let (server, client) = bench();
    let run = || {
        let transaction = client.transaction().timeout(MS(60));
        transaction.run(|tx| insert_any(tx, &client)).unwrap_err()
    };
    fail(&server, 1000, "insert", transient(112));
    let of_closure = run();
    server.clear_fail_points();
    fail(&server, 1000, "commitTransaction", transient(251));
    let of_commit = run();
    server.clear_fail_points();
    let unknown = doc! { "errorCode": 91, "errorLabels": ["RetryableWriteError"] };
    fail(&server, 100_000, "commitTransaction", unknown);
    let (of_unknown_commit, took) = timed(run);
    assert!(took < MS(2000), "{took:?}");
    for (error, label, command) in [
        (of_closure, TRANSIENT, 112),
        (of_commit, TRANSIENT, 251),
        (of_unknown_commit, UNKNOWN, 91),
    ] {
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        assert!(error.has_label(label), "{error:?}");
        let mut last = &error;
        while last.command().is_none() {
            last = source(last);
        }
        assert_eq!(last.command().unwrap().code, command);
    }
}

/// "Retry Backoff is Enforced".
#[test]
fn pauses_between_attempts_grow() {
    let took = |jitter| {
        fix_jitter(Some(jitter));
        let (server, client) = bench();
        fail(&server, 13, "commitTransaction", transient(251));
        let (outcome, took) = timed(|| client.transaction().run(|tx| insert_any(tx, &client)));
        outcome.unwrap();
        assert_eq!(server.count_of("commitTransaction"), 14);
        took
    };
    let (without, with) = (took(0.0), took(1.0));
    // 5 ms · (1.5^12 - 1) / 0.5 + 500 ms.
    assert!(with - without > MS(1600), "{without:?}, {with:?}");
}

#[test]
fn nothing_is_committed_if_the_closure_ignores_an_error() {
    let (server, client) = bench();
    let error = doc! { "errorCode": 121 };
    fail(&server, 1, "insert", error);
    let outcome = client.transaction().run(|tx| {
        let ignored = insert(tx, &client, 1);
        assert!(ignored.is_err());
        insert(tx, &client, 2)
    });
    let error = outcome.unwrap_err();
    assert_eq!(
        code(&error),
        Some(CauseCode::TransactionSpoiled),
        "{error:?}"
    );
    assert_eq!(error.written(), Written::No);
    assert_eq!(source(&error).command().unwrap().code, 121);
    assert_eq!(commands(&server), ["insert", "insert", "abortTransaction"]);
}

#[test]
fn an_ignored_write_error_spoils_the_transaction() {
    let (server, client) = bench();
    things(&client).insert_one(doc! { "_id": 1 }).run().unwrap();
    commands(&server);
    let outcome = client.transaction().run(|tx| {
        let ignored = insert(tx, &client, 1).unwrap_err();
        assert!(ignored.is_duplicate_key());
        Ok(())
    });
    let error = outcome.unwrap_err();
    assert_eq!(
        code(&error),
        Some(CauseCode::TransactionSpoiled),
        "{error:?}"
    );
    assert!(source(&error).is_duplicate_key());
    assert_eq!(commands(&server), ["insert", "abortTransaction"]);
}

#[test]
fn an_ignored_transient_error_runs_the_closure_again() {
    fix_jitter(Some(0.0));
    let (server, client) = bench();
    fail(&server, 1, "insert", doc! { "closeConnection": true });
    let calls = Cell::new(0);
    let outcome = client.transaction().run(|tx| {
        calls.set(calls.get() + 1);
        let _ignored = insert(tx, &client, 1);
        Ok(())
    });
    outcome.unwrap();
    assert_eq!(calls.get(), 2);
    assert_eq!(server.count_of("commitTransaction"), 1);
}

#[test]
fn only_failures_of_commands_spoil_a_transaction() {
    let (server, client) = bench();
    let outcome = client.transaction().run(|tx| {
        insert(tx, &client, 1)?;
        let things = things(&client);
        let things = things.within(tx);
        // Rejected before it is sent.
        let local = things.update_one(doc! {}, doc! { "x": 1 }).run();
        expect_invalid(local, "");
        // The document is not of this type.
        let typed = things.clone_with_type::<Vec<u8>>();
        assert!(typed.find_one(doc! {}).run().is_err());
        Ok(())
    });
    outcome.unwrap();
    assert_eq!(commands(&server), ["insert", "find", "commitTransaction"]);
}

#[test]
fn the_explicit_commit_is_sent_after_a_failure() {
    let (server, client) = bench();
    fail(&server, 1, "insert", doc! { "errorCode": 121 });
    let session = client.start_session().run().unwrap();
    session.start_transaction().run().unwrap();
    insert(&session, &client, 1).unwrap_err();
    session.commit_transaction().run().unwrap();
    assert_eq!(commands(&server), ["insert", "commitTransaction"]);
}

#[test]
fn a_command_outside_of_the_transaction_is_reported() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let (server, _) = bench();
    let client = listening(&server, &events);
    let elsewhere = client.clone();
    let outcome = client.transaction().run(|tx| {
        insert(tx, &client, 1)?;
        things(&client).insert_one(doc! { "_id": 2 }).run()?;
        // Other threads are not inside of the closure.
        let other = elsewhere.clone();
        let ping = move || other.database("admin").run_command(doc! { "ping": 1 });
        thread::spawn(ping).join().unwrap().map(|_| ())
    });
    outcome.unwrap();
    things(&client).insert_one(doc! { "_id": 3 }).run().unwrap();
    let texts = events.lock().unwrap().clone();
    assert_eq!(texts.len(), 1, "{texts:?}");
    let expected = "outside-of-transaction: insert on the database db";
    assert!(texts[0].starts_with(expected), "{texts:?}");
}

#[test]
fn an_unknown_commit_is_told_apart_from_none() {
    let (server, client) = bench();
    let session = client.start_session().run().unwrap();
    let start = || {
        server.clear_fail_points();
        session.start_transaction().run().unwrap();
        insert(&session, &client, 1).ok();
    };
    start();
    fail(
        &server,
        2,
        "commitTransaction",
        doc! { "closeConnection": true },
    );
    let error = session.commit_transaction().run().unwrap_err();
    assert_eq!(code(&error), Some(CauseCode::CommitUnknown), "{error:?}");
    assert!(error.has_label(UNKNOWN) && !error.has_label(TRANSIENT));
    assert_eq!(
        (error.kind(), error.written()),
        (ErrorKind::Network, Written::Unknown)
    );
    assert_eq!(source(&error).kind(), ErrorKind::Network);
    // The commit can be repeated, and requires a majority from the second time on.
    session.commit_transaction().run().unwrap();
    let concerns = server.commands_named("commitTransaction").into_iter();
    let concerns: Vec<_> = concerns
        .map(|request| request.body.get_document("writeConcern").ok().cloned())
        .collect();
    let majority = Some(doc! { "w": "majority", "wtimeout": 10_000_i64 });
    assert_eq!(concerns, [None, majority.clone(), majority]);

    start();
    fail(&server, 1, "commitTransaction", transient(251));
    let error = session.commit_transaction().run().unwrap_err();
    assert!(
        code(&error).is_none() && !error.has_label(UNKNOWN),
        "{error:?}"
    );
    assert_eq!(error.written(), Written::No);

    start();
    let concern =
        doc! { "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } };
    fail(&server, 1, "commitTransaction", concern);
    let error = session.commit_transaction().run().unwrap_err();
    assert!(error.has_label(UNKNOWN), "{error:?}");
    assert_eq!(code(&error), Some(CauseCode::WriteConcernTimeout));
    assert_eq!(error.written(), Written::Yes);

    start();
    let concern = doc! { "writeConcernError": { "code": 100, "errmsg": "not enough members" } };
    fail(&server, 1, "commitTransaction", concern);
    let error = session.commit_transaction().run().unwrap_err();
    assert!(!error.has_label(UNKNOWN), "{error:?}");
}

#[test]
fn a_commit_that_was_not_sent_is_not_unknown() {
    let (server, client) = bench();
    let client = client.until(Instant::now() + MS(300));
    let session = client.start_session().run().unwrap();
    session.start_transaction().run().unwrap();
    insert(&session, &client, 1).unwrap();
    thread::sleep(MS(350));
    let error = session.commit_transaction().run().unwrap_err();
    assert!(error.is_timeout() && error.has_label(UNKNOWN), "{error:?}");
    assert_eq!((code(&error), error.written()), (None, Written::No));
    assert_eq!(server.count_of("commitTransaction"), 0);
}

#[test]
fn the_labels_of_a_closure_decide_and_not_its_commit() {
    let (server, client) = bench();
    let session = client.start_session().run().unwrap();
    let outcome = session.transaction().run(|tx| {
        insert(tx, &client, 1)?;
        fail(
            &server,
            2,
            "commitTransaction",
            doc! { "closeConnection": true },
        );
        tx.commit_transaction().run()
    });
    let error = outcome.unwrap_err();
    assert_eq!(code(&error), Some(CauseCode::CommitUnknown));
    assert_eq!(error.written(), Written::Unknown);
    assert_eq!(server.count_of("abortTransaction"), 0);
}

#[test]
fn dropping_a_session_aborts_its_transaction() {
    let (server, client) = bench();
    let session = client.start_session().run().unwrap();
    session.start_transaction().run().unwrap();
    insert(&session, &client, 1).unwrap();
    drop(session);
    assert_eq!(commands(&server), ["insert", "abortTransaction"]);
    // Without a command there is nothing to abort.
    let session = client.start_session().run().unwrap();
    session.start_transaction().run().unwrap();
    drop(session);
    assert_eq!(commands(&server), Vec::<String>::new());
}

#[test]
fn dropping_a_session_waits_two_seconds_at_most() {
    let (server, client) = bench();
    let session = client.start_session().run().unwrap();
    session.start_transaction().run().unwrap();
    insert(&session, &client, 1).unwrap();
    let silent = doc! { "blockConnection": true, "blockTimeMS": 6000 };
    fail(&server, 5, "abortTransaction", silent);
    let ((), took) = timed(|| drop(session));
    assert!((MS(1900)..MS(3000)).contains(&took), "{took:?}");
}

#[test]
fn a_panic_in_the_closure_aborts_the_transaction() {
    let (server, client) = bench();
    let session = client.start_session().run().unwrap();
    for own in [true, false] {
        let run = match own {
            true => client.transaction(),
            false => session.transaction(),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            run.run(|tx| -> Result<()> {
                insert(tx, &client, 1)?;
                panic!("of the program")
            })
        }));
        assert!(outcome.is_err());
        assert_eq!(commands(&server), ["insert", "abortTransaction"]);
        things(&client).delete_many(doc! {}).run().unwrap();
        commands(&server);
    }
    // The session can be used again.
    session
        .transaction()
        .run(|tx| insert(tx, &client, 9))
        .unwrap();
}

#[test]
fn a_session_can_be_shared_with_a_lock() {
    let (server, client) = bench();
    let session = Arc::new(Mutex::new(client.start_session().run().unwrap()));
    session.lock().unwrap().start_transaction().run().unwrap();
    let threads = (0..4).map(|id| {
        let (session, client) = (Arc::clone(&session), client.clone());
        thread::spawn(move || insert(&session.lock().unwrap(), &client, id))
    });
    let threads: Vec<_> = threads.collect();
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    session.lock().unwrap().commit_transaction().run().unwrap();
    let starts = server.commands_named("insert").into_iter();
    let starts = starts.filter(|request| request.body.contains_key("startTransaction"));
    assert_eq!(starts.count(), 1);
}

#[test]
fn operations_of_a_transaction_have_its_options() {
    let (server, client) = bench();
    let options = TransactionOptions::default()
        .read_concern(ReadConcern::snapshot())
        .write_concern(WriteConcern::majority());
    let session = client
        .start_session()
        .causal_consistency(false)
        .default_transaction_options(options);
    let session = session.run().unwrap();
    session
        .start_transaction()
        .max_commit_time(MS(700))
        .run()
        .unwrap();
    let things = things(&client);
    let things = things.within(&session);
    let own = things.find_one(doc! {}).read_concern(ReadConcern::local());
    expect_invalid(
        own.run(),
        "Cannot set read concern after starting a transaction",
    );
    let own = things
        .insert_one(doc! { "_id": 1 })
        .write_concern(WriteConcern::nodes(1));
    expect_invalid(
        own.run(),
        "Cannot set write concern after starting a transaction",
    );
    let secondary = ReadPreference::new(ReadPreferenceMode::Secondary);
    let own = things.find_one(doc! {}).read_preference(secondary.clone());
    expect_invalid(
        own.run(),
        "read preference in a transaction must be primary",
    );
    assert_eq!(mongotls::internals::transaction_state(&session), "starting");
    things.find_one(doc! {}).run().unwrap();
    things.insert_one(doc! { "_id": 1 }).run().unwrap();
    session.commit_transaction().run().unwrap();
    let body = |name: &str| server.commands_named(name).remove(0).body;
    let concern = |name: &str, field: &str| body(name).get_document(field).ok().cloned();
    assert_eq!(
        concern("find", "readConcern"),
        Some(doc! { "level": "snapshot" })
    );
    assert_eq!(concern("insert", "readConcern"), None);
    assert_eq!(concern("insert", "writeConcern"), None);
    let commit = body("commitTransaction");
    assert_eq!(
        commit.get_document("writeConcern").unwrap(),
        &doc! { "w": "majority" }
    );
    assert_eq!(commit.get_i64("maxTimeMS").unwrap(), 700);
    session
        .start_transaction()
        .read_preference(secondary)
        .run()
        .unwrap();
    expect_invalid(
        things.find_one(doc! {}).run(),
        "read preference in a transaction must be primary",
    );
}

#[test]
fn an_operation_has_no_timeout_of_its_own_in_a_limited_transaction() {
    let (server, client) = bench();
    let limited = client.transaction().timeout(MS(5000));
    let outcome = limited.run(|tx| {
        let things = things(&client);
        let insert = things.within(tx).insert_one(doc! { "_id": 1 });
        insert.timeout(MS(100)).run()
    });
    expect_invalid(outcome, "cannot have a timeout of its own");
    assert_eq!(server.count_of("insert"), 0);
    let outcome = client.transaction().run(|tx| {
        let things = things(&client);
        let insert = things.within(tx).insert_one(doc! { "_id": 1 });
        insert.timeout(MS(5000)).run()
    });
    outcome.unwrap();
}

#[test]
fn an_exhaust_cursor_sends_requests_in_a_transaction() {
    let (server, client) = bench();
    let documents = (0..10).map(|id| doc! { "_id": id });
    things(&client).insert_many(documents).run().unwrap();
    let count = client.transaction().run(|tx| {
        let things = things(&client);
        let things = things.within(tx);
        let find = things
            .find(doc! {})
            .batch_size(3)
            .cursor_type(CursorType::Exhaust);
        let found = find.run()?.collect::<Result<Vec<_>>>()?;
        things.find_one(doc! {}).run()?;
        Ok(found.len())
    });
    assert_eq!(count.unwrap(), 10);
    let flags = server.commands_named("getMore").into_iter();
    let flags: Vec<_> = flags.map(|request| request.flags).collect();
    assert_eq!(flags, [0, 0, 0]);
}

/// Two routers, of which a session is pinned to one at a time.
fn two_routers() -> ([Server; 2], Client) {
    let data = Data::default();
    let servers = [router(&data), router(&data)];
    let [one, two] = servers.each_ref().map(|server| server.port());
    let uri = format!("mongodb://localhost:{one},localhost:{two}/?localThresholdMS=1000");
    let client = Client::connect(&uri).unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    let known = || {
        let topology = client.snapshot().topology;
        let servers = topology.servers.values();
        servers.filter(|server| server.is_available()).count()
    };
    while known() < 2 {
        assert!(Instant::now() < end, "two routers");
        thread::sleep(MS(5));
    }
    things(&client).insert_one(doc! { "_id": 1 }).run().unwrap();
    (servers, client)
}

fn used(servers: &[Server; 2]) -> [bool; 2] {
    servers.each_ref().map(|server| server.count_of("find") > 0)
}

#[test]
fn prose_1_a_new_transaction_selects_a_router_again() {
    let (servers, client) = two_routers();
    let session = client.start_session().run().unwrap();
    for _ in 0..50 {
        session.start_transaction().run().unwrap();
        let things = things(&client);
        for _ in 0..2 {
            things.within(&session).find_one(doc! {}).run().unwrap();
        }
        session.commit_transaction().run().unwrap();
    }
    assert_eq!(used(&servers), [true, true]);
    for server in &servers {
        assert_eq!(
            server.count_of("find"),
            2 * server.count_of("commitTransaction")
        );
    }
}

#[test]
fn prose_2_an_operation_without_a_transaction_selects_a_router_again() {
    let (servers, client) = two_routers();
    let session = client.start_session().run().unwrap();
    session
        .transaction()
        .run(|tx| insert(tx, &client, 2))
        .unwrap();
    for _ in 0..50 {
        let things = things(&client);
        things.within(&session).find_one(doc! {}).run().unwrap();
    }
    assert_eq!(used(&servers), [true, true]);
}

/// Prose test 3, about `PoolClearedError`, is a unit test of `op/transaction.rs`.
#[test]
fn an_unreachable_server_is_a_transient_error() {
    let (server, client) = bench();
    let session = client.start_session().run().unwrap();
    session.start_transaction().run().unwrap();
    drop(server);
    let client = client.until(Instant::now() + MS(500));
    let error = things(&client).within(&session).find_one(doc! {}).run();
    let error = error.unwrap_err();
    assert!(error.has_label(TRANSIENT), "{error:?}");
    assert_eq!(error.command(), None);
}

/// A client behind a load balancer, and the number of its connections that are in use.
fn balanced() -> (Server, Client, impl Fn() -> usize) {
    let mut hello = Hello::mongos();
    hello.extra.insert("serviceId", ObjectId::new());
    let done = |_: &Request| Some(doc! { "ok": 1 });
    let builder = Server::builder().hello(hello);
    let builder = builder.handle("commitTransaction", done);
    let server = builder.handle("abortTransaction", done).start();
    let client = plain_client(&server, "loadBalanced=true");
    let counted = client.clone();
    let in_use = move || {
        let pools = counted.snapshot().pools;
        pools.iter().map(|pool| pool.in_use).sum()
    };
    (server, client, in_use)
}

fn connections(server: &Server) -> BTreeSet<u64> {
    let requests = server.commands().into_iter();
    let requests = requests.filter(|request| request.body.contains_key("autocommit"));
    requests.map(|request| request.connection).collect()
}

#[test]
fn behind_a_load_balancer_a_transaction_keeps_its_connection() {
    let (server, client, in_use) = balanced();
    let session = client.start_session().run().unwrap();
    session.start_transaction().run().unwrap();
    assert_eq!(in_use(), 0);
    insert(&session, &client, 1).unwrap();
    assert_eq!(in_use(), 1);
    // Another operation gets another connection in the meantime.
    things(&client).insert_one(doc! { "_id": 2 }).run().unwrap();
    insert(&session, &client, 3).unwrap();
    fail(&server, 1, "commitTransaction", doc! { "errorCode": 51 });
    session.commit_transaction().run().unwrap_err();
    assert_eq!(in_use(), 1, "after an error that is not transient");
    session.commit_transaction().run().unwrap();
    session.commit_transaction().run().unwrap();
    assert_eq!(in_use(), 1, "a commit can be repeated");
    assert_eq!(connections(&server).len(), 1);
    session.start_transaction().run().unwrap();
    assert_eq!(in_use(), 0);
    insert(&session, &client, 4).unwrap();
    assert_eq!(in_use(), 1);
    session.commit_transaction().run().unwrap();
    things(&client)
        .within(&session)
        .find_one(doc! {})
        .run()
        .unwrap();
    assert_eq!(in_use(), 0, "after an operation without a transaction");
}

#[test]
fn behind_a_load_balancer_the_connection_is_released_as_specified() {
    let (server, client, in_use) = balanced();
    let session = client.start_session().run().unwrap();
    let cut = || doc! { "closeConnection": true };
    let start = || {
        server.clear_fail_points();
        session.start_transaction().run().unwrap();
        insert_any(&session, &client).unwrap();
        assert_eq!(in_use(), 1);
    };
    for (name, error) in [
        ("insert", transient(24)),
        ("insert", cut()),
        ("commitTransaction", transient(24)),
        ("commitTransaction", cut()),
        ("abortTransaction", transient(24)),
        ("abortTransaction", cut()),
        ("abortTransaction", doc! { "errorCode": 51 }),
        ("abortTransaction", doc! { "errorCode": 91 }),
    ] {
        start();
        fail(&server, 1, name, error.clone());
        let failed = match name {
            "insert" => insert_any(&session, &client).is_err(),
            // It is retried on another connection.
            "commitTransaction" => session.commit_transaction().run().is_err() || error == cut(),
            _ => session.abort_transaction().run().is_ok(),
        };
        assert!(failed, "{name}: {error}");
        assert_eq!(in_use(), 0, "{name}: {error}");
        session.abort_transaction().run().ok();
    }
    start();
    fail(&server, 1, "insert", doc! { "errorCode": 51 });
    insert_any(&session, &client).unwrap_err();
    assert_eq!(in_use(), 1);
    drop(session);
    assert_eq!(in_use(), 0);
}

#[test]
fn behind_a_load_balancer_a_cursor_shares_the_connection_of_its_transaction() {
    let (server, client, in_use) = balanced();
    let documents = (0..10).map(|id| doc! { "_id": id });
    things(&client).insert_many(documents).run().unwrap();
    server.forget_commands();
    let session = client.start_session().run().unwrap();
    session.start_transaction().run().unwrap();
    let things = things(&client);
    let things = things.within(&session);
    let mut cursor = things.find(doc! {}).batch_size(2).run().unwrap();
    let mut other = things.find(doc! {}).batch_size(2).run().unwrap();
    for _ in 0..5 {
        cursor.next().unwrap().unwrap();
        other.next().unwrap().unwrap();
    }
    things.find_one(doc! {}).run().unwrap();
    assert_eq!(in_use(), 1);
    cursor.close();
    assert_eq!(in_use(), 1);
    session.commit_transaction().run().unwrap();
    assert_eq!(connections(&server).len(), 1);
    session.start_transaction().run().unwrap();
    // The other cursor still has the connection.
    assert_eq!(in_use(), 1);
    drop(other);
    assert_eq!(in_use(), 0);
    assert_eq!(server.count_of("killCursors"), 2);
}
