//! Exhaust cursors: the server sends all further batches after one `getMore` ("OP_MSG", `exhaustAllowed` and `moreToCome`).
//!
//! Also the options of tailable cursors of `find`, which share the place where a cursor states its type.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mongotls::bson::{Document, doc, oid::ObjectId, rawdoc};
use mongotls::event::{CommandEvent, Event};
use mongotls::options::{CursorTimeoutMode, CursorType};
use mongotls::{Client, Collection, Command, ConnectionString, Cursor, ErrorKind};
use mongotls_testbench::compress::Compressor;
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::server::{Hello, Server, fail_command};
use mongotls_testbench::wire::EXHAUST_ALLOWED;

use crate::common::{at_limit, ping_on, plain_client, without_session};
use crate::things::{Thing, find, with_things};

fn exhaust(client: &Client, batch_size: u32) -> Cursor<Thing> {
    let things = client.database("db").collection::<Thing>("things");
    let find = things.find(doc! {}).batch_size(batch_size);
    find.cursor_type(CursorType::Exhaust).run().unwrap()
}

/// A server whose documents do not all fit into the buffers of a connection, and a client of it.
fn with_large_things() -> (Server, Client) {
    let (server, client) = with_things(0, "");
    let name = "x".repeat(1 << 20);
    for id in 0..30 {
        let thing = rawdoc! { "_id": id, "name": name.as_str() };
        let insert = Command::from(doc! { "insert": "things" }).documents("documents", [thing]);
        client.database("db").run_command(insert).unwrap();
    }
    server.forget_commands();
    (server, client)
}

#[test]
fn one_request_fetches_all_batches() {
    let (server, client) = with_things(500, "");
    let cursor = exhaust(&client, 10);
    let ids: Vec<i32> = cursor.map(|thing| thing.unwrap().id).collect();
    assert_eq!(ids, (0..500).collect::<Vec<_>>());
    let more = server.commands_named("getMore");
    assert_eq!(more.len(), 1, "49 batches by one request");
    assert_eq!(more[0].flags, EXHAUST_ALLOWED);
    let id = more[0].body.get_i64("getMore").unwrap();
    assert_eq!(
        without_session(&more[0].body),
        doc! { "getMore": id, "collection": "things", "batchSize": 10, "$db": "db" }
    );
    // A find is answered once.
    assert_eq!(server.commands_named("find")[0].flags, 0);
    assert_eq!(
        (server.open_cursors(), server.count_of("killCursors")),
        (0, 0)
    );
    ping_on(&client).unwrap();
    assert_eq!(server.program_connections().len(), 1, "it is used again");
}

#[test]
fn a_command_of_the_program_can_open_an_exhaust_cursor() {
    let (server, client) = with_things(100, "");
    let command = Command::from(find(10)).cursor_type(CursorType::Exhaust);
    let cursor: Cursor<Thing> = client.database("db").run_cursor_command(command).unwrap();
    assert_eq!(cursor.map(Result::unwrap).count(), 100);
    assert_eq!(server.count_of("getMore"), 1);
}

#[test]
fn each_batch_is_an_event_of_its_own() {
    let (server, _) = with_things(50, "");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let store = Arc::clone(&seen);
    let builder = ConnectionString::parse(&server.uri())
        .unwrap()
        .into_builder();
    let listen = move |event: &Event| match event {
        Event::Command(CommandEvent::Started(event)) => {
            let command = Document::try_from(event.command.as_ref()).unwrap();
            let info = event.info.clone();
            store.lock().unwrap().push((info, Some(command)));
        }
        Event::Command(CommandEvent::Succeeded(event)) => {
            store.lock().unwrap().push((event.info.clone(), None));
        }
        _ => {}
    };
    let client = Client::with_options(builder.event_listener(listen).build().unwrap()).unwrap();
    assert_eq!(exhaust(&client, 10).map(Result::unwrap).count(), 50);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 10, "find and four batches, each with its end");
    let operation = seen[0].0.operation_id;
    let mut requests = Vec::new();
    for pair in seen.chunks(2) {
        let [(started, command), (succeeded, end)] = pair else {
            panic!("{pair:?}")
        };
        assert!(command.is_some() && end.is_none());
        assert_eq!(started.request_id, succeeded.request_id);
        assert_eq!(started.operation_id, operation);
        requests.push(started.request_id);
    }
    requests.dedup();
    assert_eq!(requests.len(), 5, "no number occurs twice");
    let bodies: Vec<_> = seen[2..]
        .iter()
        .filter_map(|(_, body)| body.clone())
        .collect();
    let ids = bodies.iter().map(|body| body.get_i64("getMore").unwrap());
    assert_eq!(ids.collect::<std::collections::HashSet<_>>().len(), 1);
    let sessions = bodies
        .iter()
        .map(|body| body.get_document("lsid").cloned().unwrap());
    let of_find = seen[0].1.as_ref().unwrap().get_document("lsid").unwrap();
    assert!(sessions.into_iter().all(|session| session == *of_find));
    assert_eq!(server.count_of("getMore"), 1);
}

#[test]
fn the_cursor_keeps_its_connection_until_the_last_batch() {
    let (server, client) = with_things(30, "maxPoolSize=1&waitQueueTimeoutMS=100");
    let mut cursor = exhaust(&client, 10);
    assert!(ping_on(&client).unwrap_err().is_timeout(), "pinned by find");
    assert_eq!(cursor.by_ref().take(11).map(Result::unwrap).count(), 11);
    assert!(ping_on(&client).unwrap_err().is_timeout(), "in the stream");
    assert_eq!(cursor.by_ref().map(Result::unwrap).count(), 19);
    ping_on(&client).unwrap();
    assert_eq!(server.program_connections().len(), 1);
}

#[test]
fn a_cursor_that_is_dropped_in_the_middle_closes_its_connection() {
    let (server, client) = with_large_things();
    let mut cursor = exhaust(&client, 1);
    assert_eq!(cursor.by_ref().take(5).map(Result::unwrap).count(), 5);
    assert_eq!(server.open_cursors(), 1);
    drop(cursor);
    assert!(server.wait_until(Duration::from_secs(10), |server| server.open_cursors() == 0));
    assert_eq!(
        server.count_of("killCursors"),
        0,
        "no command fits in between"
    );
    ping_on(&client).unwrap();
    let connections = server.program_connections();
    assert_eq!(connections.len(), 2, "the ping has another connection");
    assert!(!connections[0].open && connections[1].open);
    // `close` does the same.
    let mut cursor = exhaust(&client, 1);
    assert_eq!(cursor.by_ref().take(5).map(Result::unwrap).count(), 5);
    cursor.close();
    assert!(server.wait_until(Duration::from_secs(10), |server| server.open_cursors() == 0));
    assert_eq!(server.count_of("killCursors"), 0);
}

#[test]
fn a_cursor_without_a_request_for_batches_is_closed_by_a_command() {
    let (server, client) = with_things(30, "");
    let mut cursor = exhaust(&client, 10);
    assert_eq!(cursor.by_ref().take(3).map(Result::unwrap).count(), 3);
    drop(cursor);
    assert_eq!(
        (server.open_cursors(), server.count_of("killCursors")),
        (0, 1)
    );
    ping_on(&client).unwrap();
    assert_eq!(server.program_connections().len(), 1);
    // A result that is complete at once keeps no connection.
    let complete = exhaust(&client, 100);
    ping_on(&client).unwrap();
    assert_eq!(complete.count(), 30);
    assert_eq!(server.program_connections().len(), 1);
}

/// A fail point for the third batch after the first one.
fn fail_third_get_more(failure: Document) -> Document {
    let mut fail_point = fail_command(1, &["getMore"], failure);
    fail_point.insert("mode", doc! { "skip": 2, "times": 1 });
    fail_point
}

#[test]
fn an_error_of_the_server_ends_the_stream_and_not_the_connection() {
    for (code, killed) in [(43, 0), (96, 1)] {
        let (server, client) = with_things(100, "");
        server.configure_fail_point(&fail_third_get_more(doc! { "errorCode": code }));
        let mut cursor = exhaust(&client, 10);
        assert_eq!(cursor.by_ref().take(30).map(Result::unwrap).count(), 30);
        let error = cursor.next().unwrap().unwrap_err();
        assert_eq!(error.command().map(|failure| failure.code), Some(code));
        assert!(cursor.next().is_none());
        drop(cursor);
        ping_on(&client).unwrap();
        assert_eq!(server.count_of("killCursors"), killed, "{code}");
        assert_eq!(server.program_connections().len(), 1);
    }
}

#[test]
fn a_connection_that_breaks_in_the_stream_is_an_error() {
    let (server, client) = with_things(100, "");
    server.configure_fail_point(&fail_third_get_more(doc! { "closeConnection": true }));
    let mut cursor = exhaust(&client, 10);
    assert_eq!(cursor.by_ref().take(30).map(Result::unwrap).count(), 30);
    let error = cursor.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert!(cursor.next().is_none(), "no batch is lost in silence");
    assert_eq!(server.count_of("getMore"), 1, "it is not retried");
    drop(cursor);
    ping_on(&client).unwrap();
    assert_eq!(server.program_connections().len(), 2);
}

#[test]
fn the_time_limit_applies_to_each_batch_of_the_stream() {
    let limit = Duration::from_millis(400);
    for mode in [
        CursorTimeoutMode::CursorLifetime,
        CursorTimeoutMode::Iteration,
    ] {
        let (server, client) = with_things(100, "");
        let block = doc! { "blockConnection": true, "blockTimeMS": 3000 };
        server.configure_fail_point(&fail_third_get_more(block));
        let things = client.database("db").collection::<Thing>("things");
        let find = things
            .find(doc! {})
            .batch_size(10)
            .timeout(limit)
            .timeout_mode(mode);
        let mut cursor = find.cursor_type(CursorType::Exhaust).run().unwrap();
        assert_eq!(cursor.by_ref().take(30).map(Result::unwrap).count(), 30);
        let error = at_limit(limit, || cursor.next().unwrap().unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(error.to_string().contains("\"getMore\""), "{error}");
        assert!(cursor.next().is_none(), "the reply would still come");
        drop(cursor);
        ping_on(&client).unwrap();
        assert_eq!(server.count_of("killCursors"), 0);
        assert_eq!(
            server.program_connections().len(),
            2,
            "the first one is closed"
        );
    }
}

#[test]
fn compressed_batches_are_read() {
    for (name, compressor) in [("zlib", Compressor::Zlib), ("zstd", Compressor::Zstd)] {
        let hello = Hello {
            compressors: vec![name.to_owned()],
            ..Hello::default()
        };
        let server = Server::builder().hello(hello).start();
        let client = plain_client(&server, &format!("compressors={name}"));
        let things = (0..100).map(|id| rawdoc! { "_id": id, "name": format!("thing {id}") });
        let insert = Command::from(doc! { "insert": "things" }).documents("documents", things);
        client.database("db").run_command(insert).unwrap();
        assert_eq!(exhaust(&client, 10).map(Result::unwrap).count(), 100);
        let more = server.commands_named("getMore");
        assert_eq!((more.len(), more[0].compressor), (1, Some(compressor)));
        assert_eq!(
            more[0].flags, EXHAUST_ALLOWED,
            "inside of the compressed message"
        );
    }
}

#[test]
fn routers_and_load_balancers_get_one_request_for_each_batch() {
    let router = |wire_version| Hello {
        max_wire_version: wire_version,
        ..Hello::mongos()
    };
    let mut balanced = Hello::mongos();
    balanced.extra.insert("serviceId", ObjectId::new());
    balanced.max_wire_version = 25;
    for (hello, options, requests) in [
        (router(21), "", 9),
        (router(22), "", 1),
        (balanced, "loadBalanced=true", 9),
    ] {
        let server = Server::builder().hello(hello).start();
        let client = plain_client(&server, options);
        let things = (0..100).map(|id| rawdoc! { "_id": id, "name": "a" });
        let insert = Command::from(doc! { "insert": "things" }).documents("documents", things);
        client.database("db").run_command(insert).unwrap();
        assert_eq!(exhaust(&client, 10).map(Result::unwrap).count(), 100);
        let more = server.commands_named("getMore");
        assert_eq!(more.len(), requests, "{options}");
        let allowed = more.iter().filter(|more| more.flags != 0).count();
        assert_eq!(allowed, if requests == 1 { 1 } else { 0 });
        ping_on(&client).unwrap();
    }
}

#[test]
fn a_server_decides_if_it_sends_several_batches() {
    // SecantusDB itself, without the bench in front of it.
    let Some(secantus) = or_skip(Secantus::shared()) else {
        return;
    };
    let client = Client::connect(&format!(
        "mongodb://{}/?directConnection=true",
        secantus.addr()
    ))
    .unwrap();
    let name = ObjectId::new().to_hex();
    let things: Collection<Document> = client.database("exhaust").collection(&name);
    things
        .insert_many((0..100).map(|id| doc! { "_id": id }))
        .run()
        .unwrap();
    let find = things.find(doc! {}).batch_size(7);
    let cursor = find.cursor_type(CursorType::Exhaust).run().unwrap();
    let ids: Vec<i32> = cursor
        .map(|thing| thing.unwrap().get_i32("_id").unwrap())
        .collect();
    assert_eq!(ids, (0..100).collect::<Vec<_>>());
    ping_on(&client).unwrap();
}

#[test]
fn the_type_of_a_cursor_decides_about_max_await_time() {
    let reply =
        |field: &str| doc! { "cursor": { "id": 7_i64, "ns": "db.log", field: [] }, "ok": 1.0 };
    let (first, next) = (reply("firstBatch"), reply("nextBatch"));
    let server = Server::builder()
        .handle("find", move |_| Some(first.clone()))
        .handle("getMore", move |_| Some(next.clone()))
        .handle("killCursors", |_| Some(doc! { "ok": 1.0 }))
        .start();
    let client = plain_client(&server, "");
    let log = client.database("db").collection::<Document>("log");
    let wait = Duration::from_millis(250);
    for (cursor_type, tailable, awaits) in [
        (CursorType::Tailable, true, false),
        (CursorType::TailableAwait, true, true),
    ] {
        server.forget_commands();
        let find = log
            .find(doc! {})
            .cursor_type(cursor_type)
            .max_await_time(wait);
        let mut cursor = find.max_time(Duration::from_secs(9)).run().unwrap();
        assert!(!cursor.advance().unwrap() && cursor.is_open());
        assert!(!cursor.advance().unwrap() && cursor.is_open());
        drop(cursor);
        let find = &server.commands_named("find")[0].body;
        assert_eq!(find.get_bool("tailable").unwrap_or(false), tailable);
        assert_eq!(find.get_bool("awaitData").unwrap_or(false), awaits);
        assert_eq!(find.get_i64("maxTimeMS").ok(), Some(9000));
        let more = server.commands_named("getMore");
        assert_eq!(more.len(), 2);
        for more in more {
            let limit = more.body.get("maxTimeMS").and_then(|limit| limit.as_i64());
            assert_eq!(
                limit,
                awaits.then_some(250),
                "{cursor_type:?}: {}",
                more.body
            );
        }
        assert_eq!(server.count_of("killCursors"), 1);
    }
}
