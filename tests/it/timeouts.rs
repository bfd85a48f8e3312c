//! `timeoutMS`: the time limit of operations and cursors ("Client Side Operations Timeout"), and the options of `getMore`
//! ("Run Command"). The examples of `docs/timeouts.md` are run here, and compared like those of `docs/tls.md`.
//!
//! The prose tests of the specification wait for 10 to 20 ms. The limits here are longer, so that a busy machine does not
//! fail them; their relations are those of the specification.

use std::sync::{Arc, Mutex};
use std::thread;

// example
use std::time::{Duration, Instant};

use mongotls::bson::{Document, doc};
use mongotls::options::{CursorTimeoutMode, CursorType};
use mongotls::{Canceller, Client, Command, Cursor};
// end
use mongotls::bson::RawDocumentBuf;
use mongotls::error::Stage;
use mongotls::event::{CommandEvent, Event, PoolEventKind};
use mongotls::{ConnectionString, Error, ErrorKind};
use mongotls_testbench::server::{Auth, ReplyFault, Server, User, fail_command};

use crate::common::{at_limit, ping_on, plain_client, timed, while_busy};
use crate::guide::{Desk, Outcome, expect_shown};
use crate::things::{Thing, find, with_things};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn ping() -> Command {
    Command::from(doc! { "ping": 1 })
}

/// Makes `commands` wait for this time, as often as `mode` says.
fn block(server: &Server, mode: mongotls::bson::Bson, commands: &[&str], millis: i64) {
    let data =
        doc! { "failCommands": commands.to_vec(), "blockConnection": true, "blockTimeMS": millis };
    let fail_point = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
    server.configure_fail_point(&fail_point);
}

/// `maxTimeMS` of the last command with that name.
fn max_time(server: &Server, name: &str) -> Option<i64> {
    let last = server.commands_named(name).pop().unwrap();
    last.body.get("maxTimeMS").map(|it| it.as_i64().unwrap())
}

/// A timeout of an operation.
fn expect_timeout(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[test]
fn a_command_has_the_remaining_time_as_max_time() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    ping_on(&client).unwrap();
    assert_eq!(max_time(&server, "ping"), None);
    let database = client.database("db");
    database.run_command(ping().timeout(MS(60_000))).unwrap();
    let value = max_time(&server, "ping").unwrap();
    assert!((50_000..=60_000).contains(&value), "{value}");
    database.run_command(ping().timeout(MS(0))).unwrap();
    assert_eq!(max_time(&server, "ping"), None, "no limit");

    let limited = plain_client(&server, "timeoutMS=60000");
    ping_on(&limited).unwrap();
    assert!(max_time(&server, "ping").is_some());
    limited
        .database("db")
        .run_command(ping().timeout(MS(0)))
        .unwrap();
    assert_eq!(max_time(&server, "ping"), None, "no limit for the call");
}

#[test]
fn a_database_handle_has_its_own_limit() {
    let server = Server::builder().start();
    let client = plain_client(&server, "timeoutMS=60000");
    let database = client.database("db");
    let (short, unlimited) = (database.with_timeout(MS(300)), database.with_timeout(MS(0)));
    short.run_command(ping()).unwrap();
    assert!(max_time(&server, "ping").unwrap() <= 300);
    unlimited.run_command(ping()).unwrap();
    assert_eq!(max_time(&server, "ping"), None);
    database.run_command(ping()).unwrap();
    assert!(max_time(&server, "ping").unwrap() > 300);
    short.run_command(ping().timeout(MS(60_000))).unwrap();
    assert!(
        max_time(&server, "ping").unwrap() > 300,
        "the call comes first"
    );
    server.spoil_replies("ping", 1, ReplyFault::Silence);
    let error = at_limit(MS(300), || short.run_command(ping())).unwrap_err();
    expect_timeout(&error);
    let named = "300 ms (the time limit of the database handle)";
    assert!(error.to_string().contains(named), "{error}");
}

#[test]
fn max_time_of_a_raw_command_is_replaced() {
    let server = Server::builder().start();
    let started = Arc::new(Mutex::new(Vec::<RawDocumentBuf>::new()));
    let store = Arc::clone(&started);
    let builder = ConnectionString::parse(&server.uri())
        .unwrap()
        .into_builder();
    let options = builder.event_listener(move |event| {
        if let Event::Command(CommandEvent::Started(command)) = event {
            store.lock().unwrap().push(command.command.clone());
        }
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
    let own = || Command::from(doc! { "ping": 1, "maxTimeMS": 5_i64, "comment": "c" });
    let run = |command: Command| client.database("db").run_command(command).unwrap();
    run(own().timeout(MS(60_000)));
    run(own());
    run(own().timeout(MS(0)));
    let mut values = Vec::new();
    for command in started.lock().unwrap().iter() {
        let fields = command.iter().map(Result::unwrap);
        let mut found: Vec<i64> = fields
            .filter(|(key, _)| key.as_str() == "maxTimeMS")
            .map(|(_, value)| value.as_i64().unwrap())
            .collect();
        assert_eq!(found.len(), 1, "servers reject two");
        values.append(&mut found);
        assert_eq!(command.get_str("comment").unwrap(), "c");
    }
    assert!(values[0] > 5, "{values:?}");
    assert_eq!(values[1..], [5, 5]);
}

#[test]
fn a_command_is_not_sent_if_its_reply_would_come_too_late() {
    let server = Server::builder().start();
    block(&server, "alwaysOn".into(), &["hello", "isMaster"], 150);
    let client = plain_client(
        &server,
        "serverMonitoringMode=poll&heartbeatFrequencyMS=500",
    );
    ping_on(&client).unwrap();
    let connections = server.program_connections().len();
    // With one round trip the minimum is zero; there are two after the next check.
    let hurried = || client.database("db").run_command(ping().timeout(MS(140)));
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let error = loop {
        match hurried() {
            Err(error) if error.to_string().contains("was not sent") => break error,
            outcome => drop(outcome),
        }
        assert!(std::time::Instant::now() < until);
        thread::sleep(MS(50));
    };
    expect_timeout(&error);
    assert_eq!(error.stage(), None, "{error}");
    assert!(
        error
            .to_string()
            .contains("a round trip to the server takes at least"),
        "{error}"
    );
    let sent = server.count_of("ping");
    expect_timeout(&hurried().unwrap_err());
    assert_eq!(server.count_of("ping"), sent);
    // The connection is not affected, and a longer limit is reduced by the round trip.
    let unhurried = ping().timeout(MS(60_000));
    client.database("db").run_command(unhurried).unwrap();
    assert!(max_time(&server, "ping").unwrap() <= 60_000 - 150);
    assert_eq!(server.program_connections().len(), connections);
}

#[test]
fn an_exceeded_max_time_is_a_timeout_if_there_is_a_limit() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let fail = || {
        let data = doc! { "errorCode": 50, "errorCodeName": "AnotherName" };
        server.configure_fail_point(&fail_command(1, &["ping"], data));
    };
    for (limit, kind) in [
        (None, ErrorKind::Command),
        (Some(60_000), ErrorKind::Timeout),
        (Some(0), ErrorKind::Timeout),
    ] {
        fail();
        let command = limit.map_or_else(ping, |limit| ping().timeout(MS(limit)));
        let error = client.database("db").run_command(command).unwrap_err();
        assert_eq!((error.kind(), error.is_timeout()), (kind, limit.is_some()));
        assert_eq!(error.command().unwrap().code, 50);
        assert!(error.to_string().contains("50 AnotherName"), "{error}");
    }
    let data = doc! { "errorCode": 262 };
    server.configure_fail_point(&fail_command(1, &["ping"], data));
    let error = client
        .database("db")
        .run_command(ping().timeout(MS(60_000)));
    assert_eq!(
        error.unwrap_err().kind(),
        ErrorKind::Command,
        "another code"
    );
    assert_eq!(server.program_connections().len(), 1);
}

#[test]
fn a_limit_replaces_the_limits_of_the_steps() {
    let server = Server::builder().start();
    for timeout in [0, 5000] {
        let options = format!("socketTimeoutMS=200&timeoutMS={timeout}");
        let client = plain_client(&server, &options);
        block(&server, doc! { "times": 1 }.into(), &["ping"], 500);
        ping_on(&client).unwrap();
        let options = format!("maxPoolSize=1&waitQueueTimeoutMS=100&timeoutMS={timeout}");
        let client = plain_client(&server, &options);
        server.forget_commands();
        while_busy_until_free(&server, &client);
    }
    let client = plain_client(
        &server,
        "maxPoolSize=1&waitQueueTimeoutMS=100&timeoutMS=400",
    );
    while_busy_for(&server, &client, MS(0), || {
        let error = at_limit(MS(400), || ping_on(&client)).unwrap_err();
        expect_timeout(&error);
        assert!(error.to_string().contains("400 ms (timeoutMS)"), "{error}");
    });
}

/// Keeps the single connection of the client busy for longer than `waitQueueTimeoutMS`; a waiter gets it.
fn while_busy_until_free(server: &Server, client: &Client) {
    block(server, doc! { "times": 1 }.into(), &["benchEcho"], 400);
    thread::scope(|scope| {
        let before = server.count_of("benchEcho");
        scope.spawn(|| {
            client
                .database("db")
                .run_command(doc! { "benchEcho": 1 })
                .unwrap()
        });
        let is_busy = |server: &Server| server.count_of("benchEcho") > before;
        assert!(server.wait_until(Duration::from_secs(5), is_busy));
        ping_on(client).unwrap();
    });
}

/// Keeps the single connection of the client busy, without a limit for the command that does, while `work` runs.
fn while_busy_for(server: &Server, client: &Client, limit: Duration, work: impl FnOnce()) {
    block(server, doc! { "times": 1 }.into(), &["benchEcho"], 1500);
    thread::scope(|scope| {
        let before = server.count_of("benchEcho");
        let echo = Command::from(doc! { "benchEcho": 1 }).timeout(limit);
        scope.spawn(|| client.database("db").run_command(echo).unwrap());
        let is_busy = |server: &Server| server.count_of("benchEcho") > before;
        assert!(server.wait_until(Duration::from_secs(5), is_busy));
        work();
    });
}

#[test]
fn without_a_limit_the_steps_have_theirs() {
    let server = Server::builder().start();
    let client = plain_client(&server, "maxPoolSize=1&waitQueueTimeoutMS=300");
    while_busy(&server, &client, || {
        let error = at_limit(MS(300), || ping_on(&client)).unwrap_err();
        assert!(
            error.to_string().contains("(waitQueueTimeoutMS)"),
            "{error}"
        );
    });
    let client = plain_client(&server, "socketTimeoutMS=300");
    server.spoil_replies("ping", 1, ReplyFault::Silence);
    let error = at_limit(MS(300), || ping_on(&client)).unwrap_err();
    assert!(error.to_string().contains("(socketTimeoutMS)"), "{error}");
}

#[test]
fn server_selection_limits_the_check_out_too() {
    let server = Server::builder().start();
    let options = "maxPoolSize=1&timeoutMS=5000&serverSelectionTimeoutMS=400";
    let client = plain_client(&server, options);
    while_busy_for(&server, &client, MS(0), || {
        let error = at_limit(MS(400), || ping_on(&client)).unwrap_err();
        expect_timeout(&error);
        let named = "400 ms (serverSelectionTimeoutMS)";
        assert!(error.to_string().contains(named), "{error}");
    });
}

#[test]
fn a_cursor_has_one_limit_for_its_lifetime() {
    let (server, client) = with_things(30, "");
    let limit = MS(900);
    let command = Command::from(find(10)).timeout(limit);
    let database = client.database("db");
    let cursor: Cursor<Thing> = database.run_cursor_command(command).unwrap();
    let mut cursor = cursor.batch_size(10);
    assert!(max_time(&server, "find").unwrap() <= 900);
    assert_eq!(cursor.by_ref().take(11).map(Result::unwrap).count(), 11);
    assert_eq!(max_time(&server, "getMore"), None);
    thread::sleep(limit);
    // The documents that have arrived are returned; no other batch is requested.
    assert_eq!(cursor.by_ref().take(9).map(Result::unwrap).count(), 9);
    let error = cursor.next().unwrap().unwrap_err();
    expect_timeout(&error);
    assert!(
        error
            .to_string()
            .contains("900 ms (the time limit of the call)"),
        "{error}"
    );
    assert_eq!(server.count_of("getMore"), 1);
    assert!(cursor.next().is_none() && cursor.is_open());
    // Closing has the whole limit again.
    drop(cursor);
    assert!((1..=900).contains(&max_time(&server, "killCursors").unwrap()));
    assert_eq!(server.open_cursors(), 0);
}

#[test]
fn the_remaining_lifetime_limits_a_batch() {
    let (server, client) = with_things(30, "");
    let command = Command::from(find(10)).timeout(MS(700));
    let database = client.database("db");
    at_limit(MS(700), || {
        let mut cursor: Cursor<Thing> = database.run_cursor_command(command).unwrap();
        thread::sleep(MS(300));
        server.spoil_replies("getMore", 1, ReplyFault::Silence);
        let error = cursor.find_map(Result::err).unwrap();
        expect_timeout(&error);
        // Do not wait for the connection that is lost.
        server.heal_replies();
    });
}

#[test]
fn in_iteration_mode_each_batch_has_the_whole_limit() {
    let (server, client) = with_things(40, "");
    let command = Command::from(find(10))
        .timeout(MS(1000))
        .timeout_mode(CursorTimeoutMode::Iteration);
    block(&server, doc! { "times": 3 }.into(), &["getMore"], 400);
    let database = client.database("db");
    let cursor: Cursor<Thing> = database.run_cursor_command(command).unwrap();
    assert_eq!(max_time(&server, "find"), None);
    let count = timed(MS(1200), Duration::from_secs(20), || {
        cursor.batch_size(10).map(Result::unwrap).count()
    });
    assert_eq!(count, 40);
    let more = server.commands_named("getMore");
    assert!(more.iter().all(|it| !it.body.contains_key("maxTimeMS")));
}

#[test]
fn an_iteration_that_lost_no_batch_can_be_repeated() {
    let (server, client) = with_things(30, "maxPoolSize=1");
    let open = || -> Cursor<Thing> {
        let command = Command::from(find(10))
            .timeout(MS(300))
            .timeout_mode(CursorTimeoutMode::Iteration);
        client.database("db").run_cursor_command(command).unwrap()
    };
    // Not sent: no connection was available.
    let mut cursor = open();
    assert_eq!(cursor.by_ref().take(10).map(Result::unwrap).count(), 10);
    while_busy_for(&server, &client, MS(0), || {
        expect_timeout(&cursor.next().unwrap().unwrap_err());
    });
    let rest: Vec<i32> = cursor.map(|thing| thing.unwrap().id).collect();
    assert_eq!(rest, (10..30).collect::<Vec<_>>());
    // Answered: the bench keeps the cursor.
    let mut cursor = open();
    assert_eq!(cursor.by_ref().take(10).map(Result::unwrap).count(), 10);
    server.configure_fail_point(&fail_command(1, &["getMore"], doc! { "errorCode": 50 }));
    expect_timeout(&cursor.next().unwrap().unwrap_err());
    assert_eq!(cursor.map(Result::unwrap).count(), 20);
    // Sent and not answered in time: the next request would skip the lost batch.
    let mut cursor = open();
    assert_eq!(cursor.by_ref().take(10).map(Result::unwrap).count(), 10);
    server.spoil_replies("getMore", 1, ReplyFault::Silence);
    let error = cursor.next().unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.stage()),
        (ErrorKind::Timeout, Some(Stage::Command))
    );
    assert!(cursor.next().is_none());
}

/// A server with a tailable cursor that has one document at first, and another one in the third batch after it.
fn capped() -> Server {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let reply = |field: &str, documents: Vec<Document>| doc! { "cursor": { "id": 7_i64, "ns": "db.coll", field: documents }, "ok": 1 };
    Server::builder()
        .handle("find", move |_| {
            Some(reply("firstBatch", vec![doc! { "x": 1 }]))
        })
        .handle("getMore", move |_| {
            let n = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
            let batch = if n % 3 == 0 {
                vec![doc! { "x": 2 }]
            } else {
                vec![]
            };
            Some(reply("nextBatch", batch))
        })
        .handle("killCursors", |_| Some(doc! { "ok": 1 }))
        .start()
}

fn tail(cursor_type: CursorType) -> Command {
    let awaits = cursor_type == CursorType::TailableAwait;
    let find = doc! { "find": "coll", "tailable": true, "awaitData": awaits };
    Command::from(find).cursor_type(cursor_type)
}

#[test]
fn a_tailable_cursor_has_the_limit_for_each_iteration() {
    let server = capped();
    let client = plain_client(&server, "timeoutMS=60000");
    let database = client.database("db");
    let open = |command: Command| -> Cursor { database.run_cursor_command(command).unwrap() };

    let mut cursor = open(tail(CursorType::Tailable));
    assert_eq!(max_time(&server, "find"), None);
    assert!(cursor.advance().unwrap());
    assert!(!cursor.advance().unwrap() && cursor.is_open());
    assert_eq!(max_time(&server, "getMore"), None);

    let mut cursor = open(tail(CursorType::TailableAwait));
    assert!(max_time(&server, "find").unwrap() <= 60_000);
    assert!(cursor.advance().unwrap());
    assert!(!cursor.advance().unwrap());
    assert_eq!(max_time(&server, "getMore"), None, "no wait was requested");

    let mut cursor = open(tail(CursorType::TailableAwait).max_await_time(MS(100)));
    assert!(cursor.advance().unwrap() && cursor.advance().is_ok());
    assert_eq!(max_time(&server, "getMore"), Some(100));
}

#[test]
fn the_wait_for_documents_never_exceeds_the_remaining_time() {
    let server = capped();
    let client = plain_client(&server, "");
    let command = tail(CursorType::TailableAwait)
        .max_await_time(MS(1100))
        .timeout(MS(1200));
    let mut cursor: Cursor = client.database("db").run_cursor_command(command).unwrap();
    block(&server, doc! { "times": 1 }.into(), &["getMore"], 500);
    assert!(cursor.advance_or_wait().unwrap());
    // The first batch was empty and took 500 ms, so 700 ms remain for the next one.
    assert!(cursor.advance_or_wait().unwrap());
    let waits: Vec<i64> = server
        .commands_named("getMore")
        .iter()
        .map(|request| request.body.get_i64("maxTimeMS").unwrap())
        .collect();
    assert_eq!((waits.len(), waits[0]), (3, 1100));
    assert!(waits[1] <= 700 && waits[2] <= 700, "{waits:?}");
}

#[test]
fn contradicting_options_of_a_cursor_are_rejected_before_anything_is_sent() {
    let server = capped();
    let client = plain_client(&server, "");
    let expect = |command: Command, text: &str| {
        let outcome = client
            .database("db")
            .run_cursor_command::<Document>(command);
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(text), "{error}");
        assert!(!error.is_timeout());
    };
    let (iteration, lifetime) = (
        CursorTimeoutMode::Iteration,
        CursorTimeoutMode::CursorLifetime,
    );
    let plain = || Command::from(find(0));
    expect(
        plain().timeout_mode(iteration),
        "a timeout mode needs timeoutMS",
    );
    expect(
        plain().timeout_mode(lifetime),
        "a timeout mode needs timeoutMS",
    );
    for cursor_type in [CursorType::Tailable, CursorType::TailableAwait] {
        let command = tail(cursor_type).timeout(MS(100)).timeout_mode(lifetime);
        expect(command, "its timeout mode is Iteration");
    }
    let waiting = || tail(CursorType::TailableAwait).max_await_time(MS(100));
    expect(
        waiting().timeout(MS(100)),
        "must be shorter than timeoutMS (100 ms)",
    );
    expect(
        waiting().timeout(MS(50)),
        "must be shorter than timeoutMS (50 ms)",
    );
    let both = plain().max_await_time(MS(5)).timeout(MS(100));
    expect(both, "TailableAwait only");
    assert_eq!(server.count_of("find"), 0);
    let allowed = waiting().timeout(MS(0));
    let opened = client
        .database("db")
        .run_cursor_command::<Document>(allowed);
    assert!(opened.is_ok());
}

#[test]
fn get_more_has_the_options_of_the_cursor() {
    let server = capped();
    let client = plain_client(&server, "");
    let command = Command::from(doc! { "find": "coll", "maxTimeMS": 200, "comment": "find" });
    let command = command.max_await_time(MS(300));
    let cursor: Cursor = client.database("db").run_cursor_command(command).unwrap();
    let comment = doc! { "hello": "getMore" };
    let raw = RawDocumentBuf::try_from(&comment).unwrap();
    let mut cursor = cursor.batch_size(5).comment(raw);
    assert!(cursor.advance().unwrap() && cursor.advance().unwrap());
    let find = server.commands_named("find").pop().unwrap().body;
    assert_eq!(
        (
            find.get_i32("maxTimeMS").unwrap(),
            find.get_str("comment").unwrap()
        ),
        (200, "find")
    );
    assert!(!find.contains_key("batchSize"));
    let more = server.commands_named("getMore");
    assert_eq!(more.len(), 3);
    for request in more {
        let body = request.body;
        assert_eq!(body.get_i32("batchSize").unwrap(), 5);
        assert_eq!(body.get_document("comment").unwrap(), &comment);
        assert_eq!(body.get_i64("maxTimeMS").unwrap(), 300);
    }
}

#[test]
fn a_cursor_takes_its_namespace_from_each_reply() {
    let reply = |field: &str, namespace: &str, id: i64| doc! { "cursor": { "id": id, "ns": namespace, field: [{ "x": 1 }] }, "ok": 1 };
    let server = Server::builder()
        .handle("find", move |_| Some(reply("firstBatch", "db.old", 7)))
        .handle("getMore", move |_| {
            Some(reply("nextBatch", "other.new.name", 7))
        })
        .handle("killCursors", |_| Some(doc! { "ok": 1 }))
        .start();
    let client = plain_client(&server, "");
    let mut cursor: Cursor = client.database("db").run_cursor_command(find(1)).unwrap();
    for _ in 0..3 {
        assert!(cursor.advance().unwrap());
    }
    drop(cursor);
    let sent: Vec<_> = ["getMore", "killCursors"]
        .iter()
        .flat_map(|name| server.commands_named(name))
        .map(|request| {
            let body = &request.body;
            let collection = body.get_str("collection").or(body.get_str("killCursors"));
            (request.database.clone(), collection.unwrap().to_owned())
        })
        .collect();
    let named = |database: &str, collection: &str| (database.to_owned(), collection.to_owned());
    let new = named("other", "new.name");
    assert_eq!(sent, [named("db", "old"), new.clone(), new]);
}

#[test]
fn closing_a_cursor_has_a_limit_of_its_own() {
    let (server, client) = with_things(30, "");
    let open = |command: Command| -> Cursor<Thing> {
        client.database("db").run_cursor_command(command).unwrap()
    };
    open(Command::from(find(10))).close();
    assert_eq!(server.open_cursors(), 0);
    assert_eq!(max_time(&server, "killCursors"), None);
    open(Command::from(find(10)).timeout(MS(60_000))).close();
    assert!(max_time(&server, "killCursors").unwrap() > 2000);
    drop(open(Command::from(find(10)).timeout(MS(60_000))));
    assert!(max_time(&server, "killCursors").unwrap() <= 2000);
    assert_eq!(
        server.count_of("killCursors"),
        3,
        "no cursor is closed twice"
    );
    let cursor = open(Command::from(find(10)).timeout(MS(60_000)));
    server.spoil_replies("killCursors", 1, ReplyFault::Silence);
    at_limit(MS(300), || cursor.close_within(MS(300)));
    let cursor = open(Command::from(find(10)));
    server.spoil_replies("killCursors", 1, ReplyFault::Silence);
    at_limit(Duration::from_secs(2), || cursor.close());
}

/// A server with a user, and the connection string of a client that it accepts.
fn with_user() -> (Server, String) {
    let auth = Auth::new().user(User::new("admin", "ada", "pencil"));
    let server = Server::builder().auth(auth).start();
    let uri = format!("mongodb://ada:pencil@{}/?", server.addr());
    (server, uri)
}

/// Waits up to 10 s until the pool of a client with these options emits both events.
fn expect_pool_events(uri: &str, expected: impl Fn(&PoolEventKind) -> bool) {
    let (sender, events) = std::sync::mpsc::channel();
    let builder = ConnectionString::parse(uri).unwrap().into_builder();
    let options = builder.event_listener(move |event| {
        if let Event::Pool(event) = event {
            let _ = sender.send(event.kind.clone());
        }
    });
    let _client = Client::with_options(options.build().unwrap()).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(10);
    let mut created = false;
    loop {
        let remaining = until.saturating_duration_since(std::time::Instant::now());
        let kind = events.recv_timeout(remaining).expect("the events arrive");
        created |= matches!(kind, PoolEventKind::ConnectionCreated { .. });
        if created && expected(&kind) {
            return;
        }
    }
}

/// "Client Side Operations Timeout", prose test 4, "timeoutMS used for handshake commands".
#[test]
fn prose_4_timeout_limits_the_handshake_of_background_connections() {
    let (server, uri) = with_user();
    let app = "timeoutBackgroundPoolTest";
    let data = doc! { "blockConnection": true, "blockTimeMS": 1500, "appName": app };
    server.configure_fail_point(&fail_command(1, &["saslContinue"], data));
    let options = format!("{uri}minPoolSize=1&timeoutMS=1000&appName={app}");
    expect_pool_events(&options, |kind| {
        let PoolEventKind::ConnectionClosed { error, .. } = kind else {
            return false;
        };
        let error = error.as_ref().unwrap();
        assert!(error.to_string().contains("1 s (timeoutMS)"), "{error}");
        error.is_timeout()
    });
    let sasl = server.commands_named("saslContinue").remove(0);
    assert!((1..=1000).contains(&sasl.body.get_i64("maxTimeMS").unwrap()));
}

/// "Client Side Operations Timeout", prose test 4, "timeoutMS is refreshed for each handshake command".
#[test]
fn prose_4_timeout_is_refreshed_for_each_command_of_a_background_handshake() {
    let (server, uri) = with_user();
    let app = "refreshTimeoutBackgroundPoolTest";
    let data = doc! {
        "failCommands": ["hello", "isMaster", "saslContinue"], "blockConnection": true, "blockTimeMS": 600, "appName": app,
    };
    let always = doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data };
    server.configure_fail_point(&always);
    let options = format!("{uri}minPoolSize=1&timeoutMS=1000&appName={app}");
    expect_pool_events(&options, |kind| match kind {
        PoolEventKind::ConnectionReady { duration, .. } => {
            assert!(*duration > MS(1000), "{duration:?}");
            true
        }
        PoolEventKind::ConnectionClosed { error, .. } => panic!("closed: {error:?}"),
        _ => false,
    });
}

/// "Client Side Operations Timeout", prose test 5, "Tailable cursors".
#[test]
fn prose_5_the_limit_covers_all_batches_of_a_blocking_iteration() {
    let server = capped();
    block(&server, "alwaysOn".into(), &["getMore"], 600);
    let client = plain_client(&server, "timeoutMS=1000");
    let database = client.database("db");
    let mut cursor: Cursor = database
        .run_cursor_command(tail(CursorType::Tailable))
        .unwrap();
    assert!(cursor.is_open() && cursor.advance_or_wait().unwrap());
    assert_eq!(cursor.current().get_i32("x").unwrap(), 1);
    assert_eq!(server.count_of("getMore"), 0);
    let error = at_limit(MS(1000), || cursor.advance_or_wait()).unwrap_err();
    expect_timeout(&error);
    assert_eq!(
        (server.count_of("find"), server.count_of("getMore")),
        (1, 2)
    );
}

/// "Client Side Operations Timeout", prose test 8, "Server Selection": the host does not exist.
#[test]
fn prose_8_server_selection_ends_at_the_earlier_limit() {
    for (options, limit, named) in [
        (
            "serverSelectionTimeoutMS=300",
            300,
            "serverSelectionTimeoutMS",
        ),
        (
            "timeoutMS=300&serverSelectionTimeoutMS=3000",
            300,
            "timeoutMS",
        ),
        (
            "timeoutMS=3000&serverSelectionTimeoutMS=300",
            300,
            "serverSelectionTimeoutMS",
        ),
        (
            "timeoutMS=0&serverSelectionTimeoutMS=300",
            300,
            "serverSelectionTimeoutMS",
        ),
    ] {
        let client = Client::connect(&format!("mongodb://invalid/?{options}")).unwrap();
        let error = at_limit(MS(limit), || ping_on(&client)).unwrap_err();
        expect_timeout(&error);
        let named = format!("within {limit} ms ({named})");
        assert!(error.to_string().contains(&named), "{options}: {error}");
    }
}

/// "Client Side Operations Timeout", prose test 8, the last two: the handshake of a connection for an operation.
#[test]
fn prose_8_the_handshake_ends_at_the_earlier_limit() {
    for (options, named) in [
        ("timeoutMS=700&serverSelectionTimeoutMS=3000", "timeoutMS"),
        (
            "timeoutMS=3000&serverSelectionTimeoutMS=700",
            "serverSelectionTimeoutMS",
        ),
    ] {
        let (server, uri) = with_user();
        block(&server, doc! { "times": 1 }.into(), &["saslContinue"], 2000);
        let client = Client::connect(&format!("{uri}{options}")).unwrap();
        let insert = doc! { "insert": "coll", "documents": [{ "x": 1 }] };
        let error = at_limit(MS(700), || client.database("db").run_command(insert)).unwrap_err();
        expect_timeout(&error);
        assert_eq!(error.stage(), Some(Stage::Authentication), "{error}");
        assert!(
            error.to_string().contains(&format!("700 ms ({named})")),
            "{error}"
        );
        assert_eq!(server.count_of("insert"), 0);
    }
}

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    let guide = include_str!("../../docs/timeouts.md");
    expect_shown(include_str!("timeouts.rs"), guide);
}

#[test]
#[allow(clippy::print_stderr, reason = "as the guide shows it")]
fn one_limit_for_an_operation() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(
        &desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem&timeoutMS=5000"),
    )?;
    let shop = client.database("shop").with_timeout(Duration::from_secs(2));
    let count = Command::from(doc! { "ping": 1 }).timeout(Duration::from_millis(500));
    match shop.run_command(count) {
        Err(error) if error.is_timeout() => eprintln!("not in time: {error}"),
        outcome => drop(outcome?),
    }
    // end
    Ok(())
}

#[test]
fn a_limit_for_each_batch() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem"))?;
    let find = Command::from(doc! { "find": "things", "batchSize": 1000 })
        .timeout(Duration::from_secs(2))
        .timeout_mode(CursorTimeoutMode::Iteration);
    let things: Cursor<Document> = client.database("shop").run_cursor_command(find)?;
    for thing in things.batch_size(1000) {
        println!("{}", thing?);
    }
    // end
    Ok(())
}

#[test]
fn following_a_capped_collection() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem"))?;
    let find = Command::from(doc! { "find": "log", "tailable": true, "awaitData": true })
        .cursor_type(CursorType::TailableAwait)
        .max_await_time(Duration::from_secs(1))
        .timeout(Duration::from_secs(5));
    let mut log: Cursor<Document> = client.database("shop").run_cursor_command(find)?;
    while log.is_open() {
        while log.advance()? {
            println!("{:?}", log.current());
        }
    }
    // end
    Ok(())
}

#[test]
fn a_deadline_for_all_work_of_a_request() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem"))?;
    // Everything for this request ends after two seconds.
    let request = client.until(Instant::now() + Duration::from_secs(2));
    let things = request.database("shop").collection::<Document>("things");
    let bolts = things.find(doc! { "kind": "bolt" }).run()?;
    for bolt in bolts {
        println!("{}", bolt?);
    }
    // end
    Ok(())
}

#[test]
#[allow(clippy::print_stderr, reason = "as the guide shows it")]
fn where_the_time_went() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(
        &desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem&timeoutMS=5000"),
    )?;
    if let Err(error) = client.database("shop").run_command(doc! { "ping": 1 }) {
        if let Some(timing) = error.timing() {
            eprintln!(
                "{:?} in the pool, {:?} at the server",
                timing.check_out, timing.wait
            );
        }
    }
    // end
    Ok(())
}

#[test]
fn cancelling_from_another_thread() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem"))?;
    let things = client.database("shop").collection::<Document>("things");
    let canceller = Canceller::new();
    let find = things
        .find(doc! { "kind": "bolt" })
        .cancelled_by(&canceller);
    let reading = std::thread::spawn(move || find.run()?.collect::<Result<Vec<_>, _>>());
    // The user has gone away.
    canceller.cancel();
    match reading.join().expect("the thread does not panic") {
        Err(error) if error.is_cancelled() => println!("cancelled, nothing to do"),
        outcome => println!("{} bolts", outcome?.len()),
    }
    // end
    Ok(())
}
