//! What programs do with a client: commands, cursors, threads, several hosts.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, RawDocumentBuf, doc, rawdoc};
use mongotls::{
    CauseCode, Client, Command, Cursor, Database, Error, ErrorKind, ServerAddress, Stage,
};
use mongotls_testbench::fault::Fault;
use mongotls_testbench::net::Bind;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Hello, ReplyFault, Role, Server, ServerTls, fail_command};
use mongotls_testbench::stranger;
use mongotls_testbench::wire::{Frame, OP_MSG};
use serde::Deserialize;

use crate::common::{Bench, at_limit, code, expect_open, fact, ping_on, plain_client, timed};

/// A document of `things`.
#[derive(Debug, Deserialize, PartialEq)]
struct Thing {
    #[serde(rename = "_id")]
    id: i32,
    name: String,
}

/// A server whose collection `db.things` holds that many documents, and a client of it.
fn with_things(count: i32, options: &str) -> (Server, Client) {
    let server = Server::builder().start();
    let client = plain_client(&server, options);
    let things = (0..count).map(|id| rawdoc! { "_id": id, "name": format!("thing {id}") });
    if count > 0 {
        let insert = Command::from(doc! { "insert": "things" }).documents("documents", things);
        client.database("db").run_command(insert).unwrap();
    }
    server.forget_commands();
    (server, client)
}

fn find(batch_size: i32) -> Document {
    doc! { "find": "things", "batchSize": batch_size }
}

// --- commands ---

#[test]
fn a_reply_comes_as_a_document_as_a_type_and_raw() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Echo {
        #[serde(rename = "benchEcho")]
        text: String,
        ok: f64,
    }
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let database = client.database("db");
    let command = doc! { "benchEcho": "ä€𝄞" };

    let document = database.run_command(command.clone()).unwrap();
    assert_eq!(
        document,
        doc! { "benchEcho": "ä€𝄞", "$db": "db", "ok": 1.0 }
    );
    let typed: Echo = database.run_command_as(&command).unwrap();
    assert_eq!(
        typed,
        Echo {
            text: "ä€𝄞".into(),
            ok: 1.0
        }
    );
    let raw_command = RawDocumentBuf::try_from(&command).unwrap();
    let raw = database.run_raw_command(&*raw_command).unwrap();
    assert_eq!(raw, RawDocumentBuf::try_from(&document).unwrap());
    let raw = database.run_raw_command(raw_command).unwrap();
    assert_eq!(raw.get_str("benchEcho").unwrap(), "ä€𝄞");
    assert_eq!(server.counts().accepted, 1);
}

#[test]
fn a_reply_of_another_shape_is_a_bson_error_that_costs_nothing() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let error = client
        .database("db")
        .run_command_as::<Thing>(doc! { "ping": 1 })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bson);
    assert!(error.to_string().contains("Thing"), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("_id"), "{source}");
    ping_on(&client).unwrap();
    assert_eq!(server.counts().accepted, 1);
}

#[test]
fn an_error_of_the_server_is_told_whole_and_leaves_the_connection() {
    let bench = Bench::sound();
    let client = bench.client("");
    ping_on(&client).unwrap();
    for (code, name) in [
        (13, "Unauthorized"),
        (112, "WriteConflict"),
        (262, "ExceededTimeLimit"),
    ] {
        bench.server.configure_fail_point(&fail_command(
            1,
            &["ping"],
            doc! { "errorCode": code, "errorCodeName": name, "errorLabels": ["RetryableWriteError", "Another"] },
        ));
        let error = ping_on(&client).unwrap_err();
        assert_eq!(
            (error.kind(), error.stage()),
            (ErrorKind::Command, Some(Stage::Command))
        );
        assert!(error.cause().is_none() && !error.is_timeout());
        assert_eq!(
            error.server(),
            Some(&ServerAddress::tcp("localhost", bench.server.port()))
        );
        assert_eq!(error.labels(), ["RetryableWriteError", "Another"]);
        assert!(error.has_label("RetryableWriteError") && !error.has_label("Retryable"));
        let failure = error.command().unwrap();
        assert_eq!((failure.code, failure.code_name.as_str()), (code, name));
        assert!(
            failure.message.contains("failCommand"),
            "{}",
            failure.message
        );
        assert_eq!(failure.reply.get_i32("code").unwrap(), code);
        let text = error.to_string();
        assert!(
            text.contains(&format!("error {code} {name}: Failing command")),
            "{text}"
        );
        assert_eq!(ping_on(&client).unwrap(), doc! { "ok": 1.0 });
    }
    assert_eq!(bench.server.counts().accepted, 1);
}

#[test]
fn a_change_of_state_at_the_server_gives_its_connections_up() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let codes = [10107, 13435, 11602, 13436, 189, 91, 11600, 10058];
    for (round, code) in (0..).zip(codes) {
        ping_on(&client).unwrap();
        assert_eq!(server.counts().accepted, 2 * round + 1);
        let failure = doc! { "errorCode": code };
        server.configure_fail_point(&fail_command(1, &["ping"], failure));
        let error = ping_on(&client).unwrap_err();
        assert_eq!(error.command().unwrap().code, code);
        // The error of a write concern says the same, in a reply that is no error.
        ping_on(&client).unwrap();
        let failure = doc! { "writeConcernError": { "code": code, "errmsg": "x" } };
        server.configure_fail_point(&fail_command(1, &["ping"], failure));
        let reply = ping_on(&client).unwrap();
        assert!(reply.contains_key("writeConcernError"));
        expect_open(&server, 0);
    }
}

#[test]
fn an_error_without_code_or_text_is_an_error_too() {
    for (reply, expected) in [
        (doc! { "ok": 0 }, (0, "", "the server gave no reason")),
        (doc! { "ok": false, "errmsg": "no" }, (0, "", "no")),
        (
            doc! { "ok": 0.0, "code": 8_000_i64, "codeName": "AtlasError", "errmsg": "no" },
            (8000, "AtlasError", "no"),
        ),
        (
            doc! { "ok": "1", "code": "x" },
            (0, "", "the server gave no reason"),
        ),
        (doc! {}, (0, "", "the server gave no reason")),
    ] {
        let answer = reply.clone();
        let server = Server::builder()
            .handle("ping", move |_| Some(answer.clone()))
            .start();
        let error = ping_on(&plain_client(&server, "")).unwrap_err();
        let failure = error.command().unwrap();
        assert_eq!(
            (
                failure.code,
                failure.code_name.as_str(),
                failure.message.as_str()
            ),
            expected,
            "{reply}"
        );
        assert!(error.labels().is_empty());
    }
    for reply in [
        doc! { "ok": 1 },
        doc! { "ok": 1_i64 },
        doc! { "ok": 1.0 },
        doc! { "ok": true },
    ] {
        let answer = reply.clone();
        let server = Server::builder()
            .handle("ping", move |_| Some(answer.clone()))
            .start();
        assert_eq!(ping_on(&plain_client(&server, "")).unwrap(), reply);
    }
}

#[test]
fn write_errors_are_part_of_a_successful_reply() {
    let (server, client) = with_things(2, "");
    let insert = Command::from(doc! { "insert": "things", "ordered": false }).documents(
        "documents",
        [
            rawdoc! { "_id": 1 },
            rawdoc! { "_id": 9 },
            rawdoc! { "_id": 0 },
        ],
    );
    let reply = client.database("db").run_command(insert).unwrap();
    assert_eq!(reply.get_i32("n").unwrap(), 1);
    let errors = reply.get_array("writeErrors").unwrap();
    let places: Vec<_> = errors
        .iter()
        .map(|error| error.as_document().unwrap().get_i32("index").unwrap())
        .collect();
    assert_eq!(places, [0, 2]);

    server.configure_fail_point(&fail_command(
        1,
        &["insert"],
        doc! { "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } },
    ));
    let insert = doc! { "insert": "things", "documents": [{ "_id": 10 }] };
    let reply = client.database("db").run_command(insert).unwrap();
    assert_eq!(
        reply
            .get_document("writeConcernError")
            .unwrap()
            .get_i32("code")
            .unwrap(),
        64
    );
}

#[test]
fn ten_thousand_documents_go_in_one_sequence() {
    let (server, client) = with_things(0, "");
    let things = (0..10_000).map(|id| rawdoc! { "_id": id, "name": "x" });
    let insert =
        Command::from(doc! { "insert": "things", "ordered": false }).documents("documents", things);
    let reply = client.database("db").run_command(insert).unwrap();
    assert_eq!(reply.get_i32("n").unwrap(), 10_000);
    let seen = server.commands_named("insert");
    assert_eq!(seen.len(), 1);
    assert_eq!(
        seen[0].body,
        doc! { "insert": "things", "ordered": false, "$db": "db" }
    );
    let [sequence] = seen[0].sequences.as_slice() else {
        panic!("{} sequences", seen[0].sequences.len());
    };
    assert_eq!(
        (sequence.id.as_str(), sequence.documents.len()),
        ("documents", 10_000)
    );
    let stored = server.documents("db.things");
    assert!(
        stored
            .iter()
            .map(|thing| thing.get_i32("_id").unwrap())
            .eq(0..10_000)
    );
}

#[test]
fn several_sequences_keep_their_order_and_may_be_empty() {
    let (server, client) = with_things(0, "");
    let command = Command::from(doc! { "benchEcho": 1 })
        .documents("first", [rawdoc! { "a": 1 }, rawdoc! {}])
        .documents("second", Vec::<RawDocumentBuf>::new())
        .documents("third", [rawdoc! { "c": [1, 2] }]);
    client.database("db").run_command(command).unwrap();
    let seen = &server.commands_named("benchEcho")[0];
    let sequences: Vec<_> = seen
        .sequences
        .iter()
        .map(|s| (s.id.as_str(), s.documents.clone()))
        .collect();
    assert_eq!(
        sequences,
        [
            ("first", vec![doc! { "a": 1 }, doc! {}]),
            ("second", vec![]),
            ("third", vec![doc! { "c": [1, 2] }])
        ]
    );
}

#[test]
fn a_command_may_be_as_large_as_the_server_accepts_and_no_larger() {
    const LIMIT: usize = 100_000;
    let hello = Hello {
        max_message_size_bytes: 100_000,
        ..Hello::default()
    };
    let server = Server::builder().hello(hello).start();
    let client = plain_client(&server, "");
    ping_on(&client).unwrap();
    let insert = |padding: usize, as_sequence: bool| {
        let document = rawdoc! { "x": " ".repeat(padding) };
        let command = Command::from(doc! { "insert": "things" });
        let command = if as_sequence {
            command.documents("documents", [document])
        } else {
            Command::from(
                doc! { "insert": "things", "documents": [Document::try_from(document).unwrap()] },
            )
        };
        client.database("db").run_command(command)
    };
    for as_sequence in [true, false] {
        let before = server.counts().received;
        insert(0, as_sequence).unwrap();
        let overhead = usize::try_from(server.counts().received - before).unwrap();

        let before = server.counts();
        for beyond in [1, 2, 5, 1000, 1_000_000] {
            let error = insert(LIMIT - overhead + beyond, as_sequence).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
            assert!(
                error.to_string().contains("accepts 100000 at most"),
                "{error}"
            );
            assert!(error.cause().is_none());
            assert_eq!(
                error.server(),
                Some(&ServerAddress::tcp("127.0.0.1", server.port()))
            );
        }
        assert_eq!(server.counts(), before, "something was sent");
        insert(LIMIT - overhead, as_sequence).unwrap();
        assert_eq!(server.counts().received - before.received, 100_000);
    }
    ping_on(&client).unwrap();
    assert_eq!(server.counts().accepted, 1);
}

#[test]
fn no_server_makes_a_command_exceed_the_limit_of_the_protocol() {
    let hello = Hello {
        max_message_size_bytes: i32::MAX,
        ..Hello::default()
    };
    let server = Server::builder().hello(hello).start();
    let client = plain_client(&server, "");
    let document = rawdoc! { "x": " ".repeat(16_000_000) };
    let insert = Command::from(doc! { "insert": "things" }).documents("documents", [&document; 3]);
    let error = client.database("db").run_command(insert).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(
        error.to_string().contains("accepts 48000000 at most"),
        "{error}"
    );
    assert_eq!(server.count_of("insert"), 0);
}

#[test]
fn what_can_never_work_is_refused_before_anything_is_sent() {
    let (server, client) = with_things(0, "");
    let database = client.database("db");
    let document = [rawdoc! { "_id": 1 }];
    for (command, word) in [
        (Command::from(doc! {}), "empty"),
        (Command::from(rawdoc! {}), "empty"),
        (
            Command::from(doc! { "insert": "c" }).documents("", &document),
            "identifier",
        ),
        (
            Command::from(doc! { "insert": "c" }).documents("docu\0ments", &document),
            "identifier",
        ),
    ] {
        let error = database.run_command(command).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let error = database.run_command(doc! { "pi\0ng": 1 }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bson, "{error}");
    assert_eq!(server.counts().accepted, 0);
}

// --- replies that hold what they must not ---

/// Answers the next `ping` on the one connection of `server` with this document, whatever it holds.
fn answer_ping_with(server: &Server, document: &[u8]) {
    let last = server
        .commands()
        .pop()
        .map_or(0, |command| command.request_id);
    let frame = Frame {
        request_id: 1,
        response_to: last + 1,
        op_code: OP_MSG,
        payload: [&[0; 5][..], document].concat(),
    };
    server.spoil_replies("ping", 1, ReplyFault::Replace(frame.encode()));
}

/// `{ ok: 1, a: … { a: {} } }` with so many levels below the first.
fn nested(levels: usize) -> Vec<u8> {
    let mut document = vec![5, 0, 0, 0, 0];
    for level in 0..levels {
        let mut outer = vec![0; 4];
        if level + 1 == levels {
            outer.write_all(b"\x10ok\0\x01\0\0\0").unwrap();
        }
        outer.write_all(b"\x03a\0").unwrap();
        outer.write_all(&document).unwrap();
        outer.push(0);
        let length = i32::try_from(outer.len()).unwrap().to_le_bytes();
        outer[..4].copy_from_slice(&length);
        document = outer;
    }
    document
}

#[test]
fn a_reply_of_ten_thousand_levels_is_an_error_and_no_crash() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    client.server_report().unwrap();
    let database = client.database("admin");
    let reply = nested(10_000);
    for typed in [false, true] {
        answer_ping_with(&server, &reply);
        let error = if typed {
            database
                .run_command_as::<Document>(doc! { "ping": 1 })
                .unwrap_err()
        } else {
            database.run_command(doc! { "ping": 1 }).unwrap_err()
        };
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(
            error.to_string().contains("nested deeper than 200 levels"),
            "{error}"
        );
    }
    // Who asks for raw BSON gets it, and recurses at his own risk.
    answer_ping_with(&server, &reply);
    assert_eq!(
        database
            .run_raw_command(doc! { "ping": 1 })
            .unwrap()
            .as_bytes(),
        reply
    );
    answer_ping_with(&server, &nested(150));
    database.run_command(doc! { "ping": 1 }).unwrap();
    assert_eq!(server.counts().accepted, 1);
}

#[test]
fn a_reply_that_is_no_valid_bson_is_a_bson_error() {
    let text_at_top = b"\x1a\0\0\0\x10ok\0\x01\0\0\0\x02t\0\x05\0\0\0\xff\xfe\xfd\xfc\0\0";
    let text_below =
        b"\x22\0\0\0\x10ok\0\x01\0\0\0\x03d\0\x11\0\0\0\x02t\0\x05\0\0\0\xff\xfe\xfd\xfc\0\0\0";
    let unknown_kind = b"\x11\0\0\0\x10ok\0\x01\0\0\0\x42t\0\0";
    let text_without_end = b"\x15\0\0\0\x10ok\0\x01\0\0\0\x02t\0\xff\0\0\0";
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    client.server_report().unwrap();
    for (name, reply) in [
        ("text at the top", &text_at_top[..]),
        ("text below", text_below),
        ("unknown kind", unknown_kind),
        ("text without end", text_without_end),
    ] {
        let mut reply = reply.to_vec();
        let length = i32::try_from(reply.len()).unwrap().to_le_bytes();
        reply[..4].copy_from_slice(&length);
        answer_ping_with(&server, &reply);
        let error = ping_on(&client).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Bson, "{name}: {error}");
        assert!(std::error::Error::source(&error).is_some(), "{name}");
        // The message was whole, so that the connection is sound.
        ping_on(&client).unwrap();
    }
    assert_eq!(server.counts().accepted, 1);
}

// --- cursors ---

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
            request.body,
            doc! { "getMore": id, "collection": "things", "batchSize": 49, "$db": "db" }
        );
    }
    assert_eq!(
        (server.open_cursors(), server.count_of("killCursors")),
        (0, 0)
    );
    assert_eq!(server.counts().accepted, 1);
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
        killed[0].body,
        doc! { "killCursors": "things", "cursors": [id], "$db": "db" }
    );
    assert_eq!(server.counts().accepted, 1);
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
    // Nor does one whose last batch was fetched and not read.
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
        // The server holds it no more, or its connections are gone: there is nobody to tell.
        ping_on(&client).unwrap();
        assert_eq!(server.count_of("killCursors"), 0);
        assert_eq!(server.counts().accepted, accepted);
    }
}

#[test]
fn dropping_a_cursor_of_a_server_that_hangs_takes_two_seconds_at_most() {
    let (server, client) = with_things(30, "");
    let cursor = client
        .database("db")
        .run_cursor_command::<Thing>(find(10))
        .unwrap();
    server.spoil_replies("killCursors", 1, ReplyFault::Silence);
    at_limit(Duration::from_secs(2), || drop(cursor));
    // A shorter limit of the command holds here too.
    let limit = Duration::from_millis(300);
    let cursor = client
        .database("db")
        .run_cursor_command::<Thing>(Command::from(find(10)).timeout(limit))
        .unwrap();
    server.spoil_replies("killCursors", 1, ReplyFault::Silence);
    at_limit(limit, || drop(cursor));
    // No limit of the command does not mean that a drop may take for ever.
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
fn a_tailable_cursor_may_be_asked_again_after_an_empty_batch() {
    let server = sparse();
    let client = plain_client(&server, "");
    let tail = doc! { "find": "things", "tailable": true };
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
    // The last batch gave the connection back.
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
    // A cursor that is complete at once keeps nothing.
    let whole = || -> Cursor { database.run_cursor_command(find(101)).unwrap() };
    let _complete = (whole(), whole(), whole());
    assert_eq!(server.counts().accepted, 2);
}

#[test]
fn the_limit_of_a_cursor_command_holds_for_each_batch() {
    let (server, client) = with_things(30, "");
    let limit = Duration::from_millis(300);
    let command = Command::from(find(10)).timeout(limit);
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
    let uri = format!("mongodb://{},{}/", first.addr(), second.addr());
    let client = Client::connect(&uri).unwrap();
    let cursor: Cursor<Thing> = client.database("db").run_cursor_command(find(10)).unwrap();
    let mut cursor = cursor.batch_size(5);
    assert_eq!(first.count_of("find"), 1);
    // The client moves to the second server.
    first.configure_fail_point(&fail_command(
        1,
        &["ping"],
        doc! { "closeConnection": true },
    ));
    ping_on(&client).unwrap_err();
    first.faults().next(1, Fault::reset_after(0));
    ping_on(&client).unwrap();
    assert_eq!((second.count_of("ping"), first.count_of("ping")), (1, 1));

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
        let client = plain_client(&server, &format!("maxPoolSize=4{tls_options}"));
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
                        // Each thread gets the answer to its own question.
                        assert_eq!(reply.get_i32("n").unwrap(), n);
                    }
                });
            }
        });
        let counts = server.counts();
        assert_eq!(counts.commands["benchWork"], 6400);
        assert!(counts.accepted <= 4, "{counts:?}");
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
        100,
        &["ping"],
        doc! { "closeConnection": true },
    ));
    let failures = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..50 {
                    if let Err(error) = ping_on(&client) {
                        assert_eq!(code(&error), CauseCode::ConnectionClosed, "{error}");
                        failures.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(failures.into_inner(), 100);
    let counts = server.counts();
    // Each failure may take with it what else was in use.
    assert!((101..=105).contains(&counts.accepted), "{counts:?}");
    assert!(server.wait_until(Duration::from_secs(5), |server| server.counts().open <= 3));
}

#[test]
fn a_server_that_ends_all_connections_fails_one_command() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let block = doc! { "blockConnection": true, "blockTimeMS": 300 };
    server.configure_fail_point(&fail_command(8, &["benchEcho"], block));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| client.database("db").run_command(doc! { "benchEcho": 1 }));
        }
    });
    assert_eq!(server.counts().accepted, 8);
    server.cut();
    expect_open(&server, 0);
    ping_on(&client).unwrap_err();
    for _ in 0..8 {
        ping_on(&client).unwrap();
    }
    assert_eq!(server.counts().accepted, 9);
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
    assert_eq!(server.counts().accepted, 2);
}

/// Keeps the one connection of the client busy while `work` runs, then lets it go.
fn while_busy(server: &Server, client: &Client, work: impl FnOnce()) {
    let blocked = Duration::from_millis(1500);
    let block = doc! { "blockConnection": true, "blockTimeMS": 1500 };
    server.configure_fail_point(&fail_command(1, &["benchEcho"], block));
    thread::scope(|scope| {
        let started = Instant::now();
        let busy = scope.spawn(|| client.database("db").run_command(doc! { "benchEcho": 1 }));
        assert!(server.wait_until(
            Duration::from_secs(5),
            |server| server.count_of("benchEcho") == 1
        ));
        work();
        assert!(
            started.elapsed() < blocked,
            "the connection was free while it should be busy"
        );
        busy.join().unwrap().unwrap();
    });
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
    assert_eq!(server.counts().accepted, 1);
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
fn the_limit_of_the_client_is_told_by_its_own_name() {
    let server = Server::builder().start();
    let client = plain_client(&server, "timeoutMS=300");
    server.spoil_replies("ping", 1, ReplyFault::Silence);
    let error = ping_on(&client).unwrap_err();
    assert!(error.is_timeout());
    assert!(error.to_string().contains("300 ms (timeoutMS)"), "{error}");
    // The call's own limit goes before it; zero means none.
    server.spoil_replies("ping", 1, ReplyFault::Silence);
    let ping = Command::from(doc! { "ping": 1 }).timeout(Duration::from_millis(100));
    let error = client.database("db").run_command(ping).unwrap_err();
    assert!(error.to_string().contains("of the call"), "{error}");
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
    assert_eq!((waiting.into_inner(), server.counts().accepted), (8, 1));
}

#[test]
fn a_connection_that_was_idle_too_long_is_replaced() {
    let server = Server::builder().start();
    let client = plain_client(&server, "maxIdleTimeMS=150");
    ping_on(&client).unwrap();
    ping_on(&client).unwrap();
    assert_eq!(server.counts().accepted, 1);
    // The time itself is what this is about.
    thread::sleep(Duration::from_millis(200));
    ping_on(&client).unwrap();
    assert_eq!(server.counts().accepted, 2);
    expect_open(&server, 1);
    let last = server.commands().pop().unwrap();
    assert_eq!(last.connection, 2);
}

#[test]
fn a_panic_of_a_thread_loses_no_connection() {
    /// What cannot be read without a panic.
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
    assert_eq!(server.counts().accepted, 1);
}

// --- several hosts, other transports ---

#[test]
fn a_host_that_cannot_be_reached_is_passed_over() {
    let server = Server::builder().start();
    let nobody = stranger::nobody();
    let client = Client::connect(&format!("mongodb://{nobody},{}/", server.addr())).unwrap();
    ping_on(&client).unwrap();
    let report = client.server_report().unwrap();
    assert_eq!(
        report.server,
        ServerAddress::tcp("127.0.0.1", server.port())
    );
    assert_eq!(server.counts().accepted, 1);
}

#[test]
fn when_no_host_can_be_used_the_error_names_each_with_its_reason() {
    let nobody = stranger::nobody();
    let web = stranger::http_server();
    let old = Server::builder()
        .hello(Hello {
            max_wire_version: 6,
            ..Hello::default()
        })
        .start();
    let uri = format!("mongodb://{nobody},{},{}/", web.addr(), old.addr());
    let error = ping_on(&Client::connect(&uri).unwrap()).unwrap_err();
    let text = error.to_string();
    for (address, reason) in [
        (nobody, "connection refused"),
        (web.addr(), "looks like HTTP"),
        (old.addr(), "wire version 6 is too old"),
    ] {
        let own = text
            .split("; server ")
            .find(|part| part.contains(&address.to_string()) && part.contains(reason));
        assert!(own.is_some(), "{address} with {reason:?} in {text}");
    }
    // The first host stands for the others.
    assert_eq!(
        (error.kind(), code(&error)),
        (ErrorKind::Network, CauseCode::ConnectionRefused)
    );
}

#[test]
fn the_limit_of_a_call_covers_all_hosts_together() {
    let limit = Duration::from_millis(400);
    let silent = [stranger::silent(), stranger::silent(), stranger::silent()];
    let hosts: Vec<_> = silent
        .iter()
        .map(|server| server.addr().to_string())
        .collect();
    let client = Client::connect(&format!("mongodb://{}/", hosts.join(","))).unwrap();
    let ping = Command::from(doc! { "ping": 1 }).timeout(limit);
    let error = at_limit(limit, || client.database("db").run_command(ping)).unwrap_err();
    assert_eq!(
        (error.kind(), code(&error)),
        (ErrorKind::Timeout, CauseCode::HandshakeTimeout)
    );
    assert_eq!(fact(&error, "option"), "the time limit of the call");
    // The first host has used the limit up; the others were not tried.
    assert!(
        error
            .to_string()
            .starts_with(&format!("server {}: ", hosts[0])),
        "{error}"
    );
}

/// A primary, a secondary, and a client of both whose seed list begins with the primary.
fn replica_set(options: &str) -> (Server, Server, Client) {
    let member = |role| {
        Server::builder()
            .hello(Hello::member(role, "rs0", "a:1", &["a:1", "b:1"]))
            .start()
    };
    let (primary, secondary) = (member(Role::Primary), member(Role::Secondary));
    let uri = format!(
        "mongodb://{},{}/?{options}",
        primary.addr(),
        secondary.addr()
    );
    (primary, secondary, Client::connect(&uri).unwrap())
}

#[test]
fn a_full_pool_does_not_send_a_command_to_a_secondary() {
    let options = "maxPoolSize=1&waitQueueTimeoutMS=200";
    let (primary, secondary, client) = replica_set(options);
    ping_on(&client).unwrap();
    while_busy(&primary, &client, || {
        let insert = doc! { "insert": "things", "documents": [{}] };
        let error = client.database("db").run_command(insert).unwrap_err();
        assert!(
            error.to_string().contains("200 ms (waitQueueTimeoutMS)"),
            "{error}"
        );
    });
    assert_eq!(secondary.counts().accepted, 0);
}

#[test]
fn after_a_failover_the_next_command_finds_the_new_primary() {
    let (first, second, client) = replica_set("");
    let set = |server: &Server, role| server.set_hello(|hello| hello.role = role);
    let mut old = (&first, &second);
    for _ in 0..3 {
        ping_on(&client).unwrap();
        let (from, to) = old;
        set(from, Role::Secondary);
        set(to, Role::Primary);
        let failure = doc! { "errorCode": 10107 };
        from.configure_fail_point(&fail_command(1, &["insert"], failure));
        let insert = || {
            let insert = doc! { "insert": "things", "documents": [{}] };
            client.database("db").run_command(insert)
        };
        let (before, others) = (to.count_of("insert"), from.count_of("insert"));
        assert_eq!(insert().unwrap_err().command().unwrap().code, 10107);
        insert().unwrap();
        insert().unwrap();
        assert_eq!(to.count_of("insert"), before + 2);
        assert_eq!(from.count_of("insert"), others + 1);
        old = (to, from);
    }
}

#[test]
fn without_a_primary_a_secondary_goes_before_what_cannot_be_read_from() {
    let (first, second, client) = replica_set("");
    first.set_hello(|hello| hello.role = Role::Arbiter);
    ping_on(&client).unwrap();
    assert_eq!((first.count_of("ping"), second.count_of("ping")), (0, 1));
}

#[test]
fn a_dead_host_is_not_tried_with_each_command_where_no_host_is_writable() {
    let silent = stranger::silent();
    let (_, secondary, _) = replica_set("");
    let uri = format!(
        "mongodb://{},{}/?connectTimeoutMS=400",
        silent.addr(),
        secondary.addr()
    );
    let client = Client::connect(&uri).unwrap();
    at_limit(Duration::from_millis(400), || ping_on(&client)).unwrap();
    timed(Duration::ZERO, Duration::from_millis(300), || {
        for _ in 0..20 {
            ping_on(&client).unwrap();
        }
    });
    assert_eq!(secondary.counts().accepted, 1);
    // A server that says that it does not take writes is a reason to search at once.
    let failure = doc! { "errorCode": 13435 };
    secondary.configure_fail_point(&fail_command(1, &["ping"], failure));
    ping_on(&client).unwrap_err();
    secondary.set_hello(|hello| hello.role = Role::Primary);
    timed(Duration::ZERO, Duration::from_millis(300), || {
        ping_on(&client)
    })
    .unwrap();
}

#[test]
fn a_server_on_a_unix_socket_is_reached_with_tls_and_without() {
    let dir = PkiDir::new();
    let plain = Server::builder()
        .bind(Bind::Unix(dir.path().join("plain.sock")))
        .start();
    let client = Client::connect(&plain.uri()).unwrap();
    ping_on(&client).unwrap();
    let report = client.server_report().unwrap();
    assert_eq!(
        report.server,
        ServerAddress::unix(dir.path().join("plain.sock"))
    );
    assert!(report.handshake.is_none());

    let ca = Ca::root("bench root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let secure = Server::builder()
        .tls(tls)
        .bind(Bind::Unix(dir.path().join("secure.sock")))
        .start();
    let bench = Bench::around(secure, ca);
    let uri = format!(
        "{}?tls=true&tlsCAFile={}",
        bench.server.uri(),
        bench.ca_file.display()
    );
    let client = Client::connect(&uri).unwrap();
    ping_on(&client).unwrap();
    assert!(client.server_report().unwrap().handshake.is_some());

    let gone = dir.path().join("gone.sock");
    let uri = format!(
        "mongodb://{}/",
        gone.display().to_string().replace('/', "%2F")
    );
    let error = ping_on(&Client::connect(&uri).unwrap()).unwrap_err();
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::ConnectionRefused, Some(Stage::Connect))
    );
    assert!(
        error.to_string().contains(&gone.display().to_string()),
        "{error}"
    );
}

#[test]
fn a_server_on_ipv6_is_reached_with_tls_and_without() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // This host has no IPv6.
    }
    let plain = Server::builder().bind(Bind::V6(0)).start();
    let client = Client::connect(&plain.uri()).unwrap();
    ping_on(&client).unwrap();
    assert!(plain.uri().contains("[::1]"));
    assert_eq!(
        client.server_report().unwrap().server,
        ServerAddress::tcp("::1", plain.port())
    );

    let ca = Ca::root("bench root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let bench = Bench::around(Server::builder().tls(tls).bind(Bind::V6(0)).start(), ca);
    let client = Client::connect(&bench.uri_for("[::1]", "")).unwrap();
    ping_on(&client).unwrap();
    let report = client.server_report().unwrap();
    assert_eq!(
        report.server,
        ServerAddress::tcp("::1", bench.server.port())
    );
    assert!(report.handshake.is_some());
    // An address is not sent as server name.
    assert_eq!(bench.server.connections()[0].sni, None);
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
fn nothing_is_sent_before_the_first_command() {
    let bench = Bench::sound();
    let client = bench.client("&minPoolSize=0");
    let database = client.database("db");
    let _ = (client.clone(), client.default_database(), database.name());
    let refused = database.run_command(doc! {}).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert_eq!(bench.server.counts().accepted, 0);
    ping_on(&client).unwrap();
    assert_eq!(bench.server.counts().accepted, 1);
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
        expect_open(server, 2);
        let clone = client.clone();
        let database = clone.database("db");
        drop(client);
        drop(clone);
        database.run_command(doc! { "ping": 1 }).unwrap();
        assert_eq!((server.counts().open, server.counts().accepted), (2, 2));
        drop(database);
        expect_open(server, 0);
    }
}
