//! Deadlines that a program passes down, and the time of each step in timeouts and events.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::{Document, doc};
use mongotls::error::Stage;
use mongotls::event::{CommandEvent, Event, Timing};
use mongotls::{Client, Command, ConnectionString, Cursor, Error, ErrorKind};
use mongotls_testbench::server::{ReplyFault, Server, fail_command};
use mongotls_testbench::stranger;

use crate::common::{at_limit, ping_on, plain_client, while_busy};
use crate::things::with_things;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A deadline that no operation of a test reaches.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// `maxTimeMS` of the last command with that name.
fn max_time(server: &Server, name: &str) -> Option<i64> {
    let last = server.commands_named(name).pop().unwrap();
    last.body.get("maxTimeMS").map(|it| it.as_i64().unwrap())
}

/// The error of an operation that was not started because its deadline had passed.
fn expect_passed(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(error.stage(), None);
    assert_eq!(
        error.to_string(),
        "the operation was not started because the deadline of the program had passed"
    );
}

#[test]
fn whatever_is_started_from_a_handle_has_its_deadline() {
    let (server, client) = with_things(30, "");
    let limited = client.until(far());
    let database = limited.database("db");
    let things = database.collection::<Document>("things");
    ping_on(&limited).unwrap();
    assert!(max_time(&server, "ping").unwrap() > 50_000);
    things.insert_one(doc! { "_id": 100 }).run().unwrap();
    assert!(max_time(&server, "insert").is_some());
    things
        .clone_with_type::<Document>()
        .find_one(doc! {})
        .run()
        .unwrap();
    assert!(max_time(&server, "find").is_some());
    let mut bulk = things.bulk();
    bulk.delete_one(doc! { "_id": 100 });
    bulk.run().unwrap();
    assert!(max_time(&server, "delete").is_some());
    let session = limited.start_session().run().unwrap();
    session
        .client()
        .database("db")
        .run_command(doc! { "ping": 2 })
        .unwrap();
    assert!(max_time(&server, "ping").is_some());
    // The handle that it came from has none.
    ping_on(&client).unwrap();
    assert_eq!(max_time(&server, "ping"), None);
}

#[test]
fn nothing_is_sent_after_the_deadline() {
    let (server, client) = with_things(30, "");
    let past = client.until(Instant::now());
    let things = past.database("db").collection::<Document>("things");
    let of_client = client.database("db").collection::<Document>("things");
    expect_passed(&ping_on(&past).unwrap_err());
    expect_passed(&things.find(doc! {}).run().unwrap_err());
    expect_passed(&things.insert_many([doc! {}]).run().unwrap_err());
    let now = Instant::now();
    expect_passed(&of_client.until(now).find_one(doc! {}).run().unwrap_err());
    expect_passed(&of_client.find_one(doc! {}).deadline(now).run().unwrap_err());
    expect_passed(&of_client.drop_index("a_1").deadline(now).run().unwrap_err());
    let command = Command::from(doc! { "ping": 1 }).deadline(now);
    expect_passed(&client.database("db").run_command(command).unwrap_err());
    expect_passed(&ping_on(client.database("db").until(now).client()).unwrap_err());
    let mut bulk = client.bulk().deadline(now);
    bulk.insert_one(of_client.namespace(), doc! {});
    expect_passed(&bulk.run().unwrap_err());
    let sent = u64::try_from(server.commands().len()).unwrap();
    assert_eq!(sent, server.count_of("hello"));
}

#[test]
fn the_earlier_limit_counts() {
    let server = Server::builder().start();
    let client = plain_client(&server, "timeoutMS=60000");
    let near = Instant::now() + Duration::from_secs(20);
    ping_on(&client.until(near)).unwrap();
    assert!(max_time(&server, "ping").unwrap() <= 20_000);
    ping_on(&client.until(near).until(far())).unwrap();
    assert!(max_time(&server, "ping").unwrap() <= 20_000);
    let command = Command::from(doc! { "ping": 1 })
        .timeout(MS(5_000))
        .deadline(near);
    client.database("db").run_command(command).unwrap();
    assert!(max_time(&server, "ping").unwrap() <= 5_000);

    server.spoil_replies("ping", 2, ReplyFault::Silence);
    let hurried = client.until(Instant::now() + MS(300));
    let error = at_limit(MS(300), || ping_on(&hurried)).unwrap_err();
    assert_eq!(
        (error.kind(), error.stage()),
        (ErrorKind::Timeout, Some(Stage::Command))
    );
    assert!(
        error.to_string().contains("(the deadline of the program)"),
        "{error}"
    );
    let short = plain_client(&server, "timeoutMS=300").until(far());
    let error = at_limit(MS(300), || ping_on(&short)).unwrap_err();
    assert!(error.to_string().contains("300 ms (timeoutMS)"), "{error}");
}

#[test]
fn a_cursor_returns_what_has_arrived_and_is_closed_after_the_deadline() {
    let (server, client) = with_things(30, "");
    let things = client.database("db").collection::<Document>("things");
    for is_of_handle in [true, false] {
        let end = Instant::now() + MS(700);
        let mut cursor: Cursor = match is_of_handle {
            true => {
                let things = things.until(end);
                things.find(doc! {}).batch_size(10).run().unwrap()
            }
            false => {
                let cursor = things.find(doc! {}).batch_size(10).run().unwrap();
                cursor.deadline(end)
            }
        };
        server.forget_commands();
        assert_eq!(cursor.by_ref().take(12).map(Result::unwrap).count(), 12);
        thread::sleep(end.saturating_duration_since(Instant::now()));
        assert_eq!(cursor.by_ref().take(8).map(Result::unwrap).count(), 8);
        expect_passed(&cursor.next().unwrap().unwrap_err());
        assert!(cursor.next().is_none() && cursor.is_open());
        assert_eq!(server.count_of("killCursors"), 0);
        drop(cursor);
        assert_eq!(
            server.count_of("killCursors"),
            1,
            "closing has its own limit"
        );
        assert!(max_time(&server, "getMore").is_none());
    }
}

#[test]
fn a_bulk_sends_no_batch_after_the_deadline() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let end = Instant::now() + MS(600);
    let things = client
        .until(end)
        .database("db")
        .collection::<Document>("things");
    let documents = (0..6).map(|id| {
        if id == 4 {
            thread::sleep(end.saturating_duration_since(Instant::now()));
        }
        doc! { "_id": id, "text": "x".repeat(1000) }
    });
    let error = things
        .insert_many(documents)
        .batch_bytes(2_500)
        .run()
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let sent = server.count_of("insert");
    assert!((1..3).contains(&sent), "{sent}");
    let partial = error
        .bulk_failure()
        .unwrap()
        .partial_result
        .as_ref()
        .unwrap();
    assert!(partial.inserted_count() > 0);
}

fn timing(error: &Error) -> Timing {
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    *error.timing().unwrap()
}

/// At least nine tenths of the limit were spent in this step.
fn expect_most(step: Duration, limit: u64) {
    assert!(step >= MS(limit) * 9 / 10, "{step:?} of {limit} ms");
}

#[test]
fn a_timeout_says_where_the_time_went() {
    let server = Server::builder().start();
    let client = plain_client(&server, "maxPoolSize=1&timeoutMS=400");
    server.spoil_replies("ping", 1, ReplyFault::Silence);
    let error = ping_on(&client).unwrap_err();
    expect_most(timing(&error).wait, 300);
    assert!(
        error.to_string().contains(" waiting for the reply"),
        "{error}"
    );

    // A part of a reply arrives.
    let cut = ReplyFault::Replace(vec![100, 0, 0, 0, 1]);
    server.spoil_replies("ping", 1, cut);
    let error = ping_on(&client).unwrap_err();
    expect_most(timing(&error).receive, 300);
    assert!(
        error.to_string().contains(" receiving the reply"),
        "{error}"
    );

    let waiting = plain_client(&server, "maxPoolSize=1&waitQueueTimeoutMS=400");
    while_busy(&server, &waiting, || {
        thread::scope(|scope| {
            let other = scope.spawn(|| ping_on(&waiting));
            while waiting.snapshot().pools[0].waiting == 0 {
                thread::yield_now();
            }
            let error = ping_on(&waiting).unwrap_err();
            let timing = timing(&error);
            expect_most(timing.check_out, 400);
            let load = timing.pool.unwrap();
            assert_eq!((load.max_pool_size, load.waiting), (Some(1), 2));
            let text = "waiting for a connection: maxPoolSize=1, 2 threads waiting";
            assert!(error.to_string().contains(text), "{error}");
            other.join().unwrap().unwrap_err();
        });
    });
}

#[test]
fn a_timeout_before_the_command_says_where_the_time_went() {
    let uri = format!(
        "mongodb://{}/?serverSelectionTimeoutMS=300",
        stranger::nobody()
    );
    let error = ping_on(&Client::connect(&uri).unwrap()).unwrap_err();
    expect_most(timing(&error).server_selection, 300);
    // The text says it already.
    let text = error.to_string();
    assert!(
        text.starts_with("no server for") && !text.contains("; of "),
        "{text}"
    );

    let silent = stranger::silent();
    let uri = format!(
        "mongodb://{}/?loadBalanced=true&timeoutMS=300",
        silent.addr()
    );
    let error = ping_on(&Client::connect(&uri).unwrap()).unwrap_err();
    let timing = timing(&error);
    expect_most(timing.establishing, 300);
    assert!(timing.check_out >= timing.establishing);
    assert!(
        error.to_string().contains(" establishing a connection"),
        "{error}"
    );
}

/// The name of a finished command, its timing, and its duration.
type Finished = (String, Timing, Duration);

/// A client whose finished commands are recorded with their timing.
fn listening(server: &Server, options: &str) -> (Client, Arc<Mutex<Vec<Finished>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let store = Arc::clone(&seen);
    let uri = format!("{}?{options}", server.uri());
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let options = builder.event_listener(move |event| {
        let finished = match event {
            Event::Command(CommandEvent::Succeeded(it)) => (&it.info, it.timing, it.duration),
            Event::Command(CommandEvent::Failed(it)) => (&it.info, it.timing, it.duration),
            _ => return,
        };
        let (info, timing, duration) = finished;
        let name = info.command_name.clone();
        store.lock().unwrap().push((name, timing, duration));
    });
    (
        Client::with_options(options.build().unwrap()).unwrap(),
        seen,
    )
}

#[test]
fn the_event_of_a_command_has_the_time_of_each_step() {
    let server = Server::builder().start();
    let (client, seen) = listening(&server, "maxPoolSize=1");
    let block = doc! { "blockConnection": true, "blockTimeMS": 200 };
    server.configure_fail_point(&fail_command(1, &["ping"], block.clone()));
    ping_on(&client).unwrap();
    ping_on(&client).unwrap();
    let reject = doc! { "errorCode": 50 };
    server.configure_fail_point(&fail_command(1, &["ping"], reject));
    ping_on(&client).unwrap_err();
    let taken = std::mem::take(&mut *seen.lock().unwrap());
    let pings: Vec<_> = taken
        .into_iter()
        .filter(|(name, ..)| name == "ping")
        .collect();
    let [(_, first, duration), (_, second, _), (_, failed, _)] = &*pings else {
        panic!("{pings:?}")
    };
    // It established the connection, unless the monitor handed its own over.
    assert!(first.check_out >= first.establishing && !first.server_selection.is_zero());
    assert!(first.wait >= MS(150), "{first:?}");
    for timing in [first, second, failed] {
        let steps = [timing.check_out, timing.send, timing.wait, timing.decode];
        assert!(steps.iter().all(|step| !step.is_zero()), "{timing:?}");
        assert_eq!(timing.pool, None);
    }
    let exchange = first.send + first.wait + first.receive + first.decode;
    assert!(exchange <= *duration, "{first:?} in {duration:?}");

    // Another thread has the only connection.
    let block = doc! { "blockConnection": true, "blockTimeMS": 400 };
    server.configure_fail_point(&fail_command(1, &["benchEcho"], block));
    thread::scope(|scope| {
        scope.spawn(|| client.database("db").run_command(doc! { "benchEcho": 1 }));
        assert!(server.wait_until(Duration::from_secs(5), |it| it.count_of("benchEcho") == 1));
        ping_on(&client).unwrap();
    });
    let taken = seen.lock().unwrap();
    let (_, waited, _) = taken.iter().find(|(name, ..)| name == "ping").unwrap();
    assert!(waited.check_out >= MS(200), "{waited:?}");
    assert_eq!(waited.pool.unwrap().waiting, 1);
    assert!(waited.wait < waited.check_out);
}
