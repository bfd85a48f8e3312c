//! Cursors, from the first batch to `killCursors`.
//!
//! A cursor reads all batches from the server that holds it, including empty ones, and ends with the first error. A
//! cursor that is dropped before its end is closed at the server, within its time limit. Behind a load balancer it
//! keeps its connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, doc, rawdoc};
use mongotls::options::{CursorTimeoutMode, CursorType};
use mongotls::{Client, Command, Cursor, ErrorKind};
use mongotls_testbench::server::{Hello, ReplyFault, Role, Server, fail_command};

use crate::common::{at_limit, ping_on, plain_client, without_session};
use crate::things::{Thing, find, with_things};

#[test]
fn a_cursor_goes_through_all_batches_in_order() {
    let (server, client) = with_things(500, "");
    let cursor: Cursor<Thing> = client.database("db").run_cursor_command(find(10)).unwrap();
    assert!(cursor.is_open());
    let things: Vec<Thing> = cursor.batch_size(49).map(Result::unwrap).collect();
    assert_eq!(things.len(), 500);
    for (id, thing) in (0..).zip(&things) {
        assert_eq!(
            *thing,
            Thing {
                id,
                name: format!("thing {id}")
            }
        );
    }
    let more = server.commands_named("getMore");
    assert_eq!(more.len(), 10, "490 documents by 49");
    for request in &more {
        let id = request.body.get_i64("getMore").unwrap();
        assert_eq!(
            without_session(&request.body),
            doc! { "getMore": id, "collection": "things", "batchSize": 49, "$db": "db" }
        );
    }
    assert_eq!(
        (server.open_cursors(), server.count_of("killCursors")),
        (0, 0)
    );
    assert_eq!(server.program_connections().len(), 1);
}

#[test]
fn a_cursor_gives_raw_documents_in_place() {
    let (server, client) = with_things(7, "");
    let mut cursor = client
        .database("db")
        .run_cursor_command::<Document>(find(0))
        .unwrap();
    assert_eq!(
        cursor.current().as_bytes(),
        [5, 0, 0, 0, 0],
        "before the first move"
    );
    for id in 0..7 {
        assert!(cursor.advance().unwrap());
        let expected = rawdoc! { "_id": id, "name": format!("thing {id}") };
        assert_eq!(cursor.current().as_bytes(), expected.as_bytes());
    }
    assert!(!cursor.is_open());
    assert!(!cursor.advance().unwrap() && !cursor.advance().unwrap());
    let more = server.commands_named("getMore");
    assert_eq!(more.len(), 1);
    assert!(!more[0].body.contains_key("batchSize"), "{}", more[0].body);
}

#[test]
fn a_document_of_another_shape_does_not_end_a_cursor() {
    let (server, client) = with_things(0, "");
    let documents = [
        rawdoc! { "_id": 1, "name": "a" },
        rawdoc! { "_id": "b" },
        rawdoc! { "_id": 3, "name": "c" },
    ];
    let insert = Command::from(doc! { "insert": "things" }).documents("documents", documents);
    client.database("db").run_command(insert).unwrap();
    let cursor: Cursor<Thing> = client.database("db").run_cursor_command(find(1)).unwrap();
    let things: Vec<_> = cursor
        .map(|thing| thing.map(|thing| thing.id).map_err(|error| error.kind()))
        .collect();
    assert_eq!(things, [Ok(1), Err(ErrorKind::Bson), Ok(3)]);
    assert_eq!(server.open_cursors(), 0);
}

#[test]
fn a_cursor_dropped_half_way_is_closed_at_the_server() {
    let (server, client) = with_things(100, "maxPoolSize=1&waitQueueTimeoutMS=2000");
    let cursor: Cursor<Thing> = client.database("db").run_cursor_command(find(10)).unwrap();
    let mut cursor = cursor.batch_size(10);
    for id in 0..15 {
        assert_eq!(cursor.next().unwrap().unwrap().id, id);
    }
    assert_eq!(server.open_cursors(), 1);
    let id = server.commands_named("getMore")[0]
        .body
        .get_i64("getMore")
        .unwrap();
    drop(cursor);
    assert_eq!(server.open_cursors(), 0);
    let killed = server.commands_named("killCursors");
    assert_eq!(killed.len(), 1);
    assert_eq!(
        without_session(&killed[0].body),
        doc! { "killCursors": "things", "cursors": [id], "$db": "db" }
    );
    assert_eq!(server.program_connections().len(), 1);
}

#[test]
fn a_cursor_that_is_used_up_needs_no_closing() {
    let (server, client) = with_things(20, "");
    for batch in [5, 20, 101] {
        let mut cursor: Cursor<Thing> = client
            .database("db")
            .run_cursor_command(find(batch))
            .unwrap();
        assert_eq!(cursor.by_ref().count(), 20);
        drop(cursor);
    }
    // A cursor whose last batch was fetched but not read is not closed either.
    drop(
        client
            .database("db")
            .run_cursor_command::<Thing>(find(101))
            .unwrap(),
    );
    assert_eq!(
        (server.open_cursors(), server.count_of("killCursors")),
        (0, 0)
    );
}

#[test]
fn an_error_in_the_middle_ends_a_cursor() {
    for (failure, kind, accepted) in [
        (doc! { "errorCode": 43 }, ErrorKind::Command, 1),
        (doc! { "closeConnection": true }, ErrorKind::Network, 2),
    ] {
        let (server, client) = with_things(30, "");
        let mut cursor: Cursor<Thing> = client.database("db").run_cursor_command(find(10)).unwrap();
        assert_eq!(cursor.by_ref().take(10).map(Result::unwrap).count(), 10);
        server.configure_fail_point(&fail_command(1, &["getMore"], failure));
        let error = cursor.next().unwrap().unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(cursor.next().is_none() && !cursor.advance().unwrap());
        assert_eq!(server.count_of("getMore"), 1, "no further try");
        drop(cursor);
        // The server no longer holds it, or its connections have ended: there is nothing to close.
        ping_on(&client).unwrap();
        assert_eq!(server.count_of("killCursors"), 0);
        assert_eq!(server.program_connections().len(), accepted);
    }
}

#[test]
fn dropping_a_cursor_of_a_hanging_server_takes_2_seconds() {
    let (server, client) = with_things(30, "");
    let cursor = client
        .database("db")
        .run_cursor_command::<Thing>(find(10))
        .unwrap();
    server.spoil_replies("killCursors", 1, ReplyFault::Silence);
    at_limit(Duration::from_secs(2), || drop(cursor));
    // A shorter limit of the command applies here too.
    let limit = Duration::from_millis(300);
    let cursor = client
        .database("db")
        .run_cursor_command::<Thing>(Command::from(find(10)).timeout(limit))
        .unwrap();
    server.spoil_replies("killCursors", 1, ReplyFault::Silence);
    at_limit(limit, || drop(cursor));
    // Even without a limit of the command, a drop ends in time.
    let unlimited = Command::from(find(10)).timeout(Duration::ZERO);
    let cursor = client
        .database("db")
        .run_cursor_command::<Thing>(unlimited)
        .unwrap();
    server.spoil_replies("killCursors", 1, ReplyFault::Silence);
    at_limit(Duration::from_secs(2), || drop(cursor));
}

/// A server whose cursors give empty batches, three of them, before each document, and two documents.
fn sparse() -> Server {
    let asked = AtomicUsize::new(0);
    let reply = |field: &str, documents: Vec<Document>, id: i64| doc! { "cursor": { "id": id, "ns": "db.things", field: documents }, "ok": 1 };
    Server::builder()
        .handle("find", move |_| Some(reply("firstBatch", vec![], 7)))
        .handle("getMore", move |_| {
            let n = asked.fetch_add(1, Ordering::SeqCst) + 1;
            let batch = if n % 4 == 0 { vec![doc! {}] } else { vec![] };
            Some(reply("nextBatch", batch, if n % 8 == 0 { 0 } else { 7 }))
        })
        .handle("killCursors", |_| Some(doc! { "ok": 1 }))
        .start()
}

#[test]
fn empty_batches_of_an_open_cursor_are_passed_over() {
    let server = sparse();
    let client = plain_client(&server, "");
    let mut cursor: Cursor = client.database("db").run_cursor_command(find(0)).unwrap();
    assert!(cursor.advance().unwrap() && cursor.is_open());
    assert_eq!(server.count_of("getMore"), 4);
    assert!(cursor.advance().unwrap() && !cursor.is_open());
    assert!(!cursor.advance().unwrap());
    assert_eq!(server.count_of("getMore"), 8);
}

#[test]
fn a_tailable_cursor_continues_after_an_empty_batch() {
    let server = sparse();
    let client = plain_client(&server, "");
    let tail = Command::from(doc! { "find": "things", "tailable": true });
    let tail = tail.cursor_type(CursorType::Tailable);
    let mut cursor: Cursor = client.database("db").run_cursor_command(tail).unwrap();
    for round in 1..=3 {
        assert!(!cursor.advance().unwrap() && cursor.is_open());
        assert_eq!(server.count_of("getMore"), round);
        assert!(cursor.current().is_empty());
    }
    assert!(cursor.next().unwrap().is_ok());
    assert!(cursor.next().is_none() && cursor.is_open());
    drop(cursor);
    assert_eq!(server.count_of("killCursors"), 1);
}

#[test]
fn behind_a_load_balancer_a_cursor_keeps_its_connection() {
    let mut hello = Hello::mongos();
    hello.extra.insert("serviceId", ObjectId::new());
    let server = Server::builder().hello(hello).start();
    let client = plain_client(
        &server,
        "loadBalanced=true&maxPoolSize=2&waitQueueTimeoutMS=100",
    );
    let database = client.database("db");
    let things = (0..30).map(|id| rawdoc! { "_id": id });
    let insert = Command::from(doc! { "insert": "things" }).documents("documents", things);
    database.run_command(insert).unwrap();
    let open = || -> Cursor { database.run_cursor_command(find(10)).unwrap() };
    let (mut one, two) = (open(), open());
    assert!(ping_on(&client).unwrap_err().is_timeout());
    assert_eq!(one.by_ref().take(30).map(Result::unwrap).count(), 30);
    // The last batch returned the connection.
    ping_on(&client).unwrap();
    let of = |name| server.commands_named(name).pop().unwrap().connection;
    let (first, second) = {
        let finds = server.commands_named("find");
        (finds[0].connection, finds[1].connection)
    };
    assert_ne!(first, second);
    assert_eq!((of("getMore"), of("ping")), (first, first));
    drop(two);
    assert_eq!(of("killCursors"), second);
    assert_eq!(server.open_cursors(), 0);
    // A cursor that is complete at once keeps no connection.
    let whole = || -> Cursor { database.run_cursor_command(find(101)).unwrap() };
    let _complete = (whole(), whole(), whole());
    assert_eq!(server.program_connections().len(), 2);
}

#[test]
fn the_limit_of_a_cursor_command_holds_for_each_batch_in_iteration_mode() {
    let (server, client) = with_things(30, "");
    let limit = Duration::from_millis(300);
    let command = Command::from(find(10))
        .timeout(limit)
        .timeout_mode(CursorTimeoutMode::Iteration);
    let mut cursor: Cursor<Thing> = client.database("db").run_cursor_command(command).unwrap();
    assert_eq!(cursor.by_ref().take(10).map(Result::unwrap).count(), 10);
    server.spoil_replies("getMore", 1, ReplyFault::Silence);
    let error = at_limit(limit, || cursor.next().unwrap().unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        error
            .to_string()
            .contains("\"getMore\" took longer than 300 ms (the time limit of the call)"),
        "{error}"
    );
}

#[test]
fn batches_come_from_the_server_that_holds_the_cursor() {
    let (first, _) = with_things(30, "");
    let (second, _) = with_things(30, "");
    let hosts = [first.addr().to_string(), second.addr().to_string()];
    let member = |server: &Server, role, me: &str| {
        server.set_hello(|hello| *hello = Hello::member(role, "rs0", me, &[&hosts[0], &hosts[1]]));
    };
    member(&first, Role::Primary, &hosts[0]);
    member(&second, Role::Secondary, &hosts[1]);
    let uri = format!("mongodb://{}/?replicaSet=rs0", hosts.join(","));
    let client = Client::connect(&uri).unwrap();
    let cursor: Cursor<Thing> = client.database("db").run_cursor_command(find(10)).unwrap();
    let mut cursor = cursor.batch_size(5);
    assert_eq!(first.count_of("find"), 1);
    // The second one becomes primary, and commands go there.
    member(&first, Role::Secondary, &hosts[0]);
    member(&second, Role::Primary, &hosts[1]);
    while second.count_of("ping") == 0 {
        ping_on(&client).unwrap();
    }

    assert_eq!(cursor.by_ref().take(25).map(Result::unwrap).count(), 25);
    assert_eq!((first.count_of("getMore"), first.open_cursors()), (3, 1));
    drop(cursor);
    assert_eq!(
        (first.count_of("killCursors"), first.open_cursors()),
        (1, 0)
    );
    assert_eq!(
        (second.count_of("getMore"), second.count_of("killCursors")),
        (0, 0)
    );
}

#[test]
fn a_reply_without_a_cursor_breaks_the_protocol() {
    for reply in [
        doc! { "ok": 1 },
        doc! { "cursor": 5, "ok": 1 },
        doc! { "cursor": { "id": 0_i64, "ns": "db.things" }, "ok": 1 },
        doc! { "cursor": { "id": 0_i64, "firstBatch": [] }, "ok": 1 },
        doc! { "cursor": { "ns": "db.things", "firstBatch": [] }, "ok": 1 },
    ] {
        let answer = reply.clone();
        let server = Server::builder()
            .handle("find", move |_| Some(answer.clone()))
            .start();
        let client = plain_client(&server, "");
        let opened = client
            .database("db")
            .run_cursor_command::<Document>(find(0));
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Protocol, "{reply}");
    }
}
