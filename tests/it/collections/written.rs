//! `Error::written`: a test for each row of the table in `docs/crud.md`, with the words of the row.

use std::sync::{Arc, Mutex};

use mongotls::bson::{Document, doc};
use mongotls::event::{CommandEvent, Event};
use mongotls::options::WriteConcern;
use mongotls::{Client, Collection, ConnectionString, Error, ErrorKind, Written};
use mongotls_testbench::replica_set::ReplicaSet;
use mongotls_testbench::server::{Server, fail_command};

use crate::common::plain_client;

/// A server that answers a command in this way, and its collection.
fn answering(command: &str, reply: Document) -> (Server, Collection<Document>) {
    let server = Server::builder().handle(command, move |_| Some(reply.clone()));
    let server = server.start();
    let client = plain_client(&server, "");
    let things = client.database("db").collection("things");
    (server, things)
}

/// A server whose next commands of this name fail in this way, and its collection.
fn failing(command: &str, data: Document, options: &str) -> (Server, Collection<Document>) {
    let server = Server::builder().start();
    server.configure_fail_point(&fail_command(9, &[command], data));
    let client = plain_client(&server, options);
    let things = client.database("db").collection("things");
    (server, things)
}

fn insert_one(things: &Collection<Document>) -> Error {
    things.insert_one(doc! { "_id": 1 }).run().unwrap_err()
}

fn update_many(things: &Collection<Document>) -> Error {
    let update = doc! { "$set": { "a": 1 } };
    things.update_many(doc! {}, update).run().unwrap_err()
}

/// Checks a row of the guide: the words of its case, and the answer.
fn expect(error: &Error, case: &str, written: Written) {
    let answer = format!("{written:?}").to_lowercase();
    let row = include_str!("../../../docs/crud.md").lines().find(|line| {
        let mut cells = line.split(" | ");
        cells.next() == Some(&format!("| {case}"))
            && cells.next().is_some_and(|cell| {
                cell.trim_end_matches(" |").to_lowercase() == format!("`{answer}`")
            })
    });
    assert!(row.is_some(), "not in the guide: {case} | {written:?}");
    assert_eq!(error.written(), written, "{error}");
}

#[test]
fn nothing_was_sent() {
    let (server, things) = answering("update", doc! { "ok": 1 });
    let case = "nothing was sent: a wrong argument, no server, no connection in time";
    let error = things
        .update_one(doc! {}, doc! { "a": 1 })
        .run()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    expect(&error, case, Written::No);
    assert_eq!(server.count_of("update"), 0);
    let client = Client::connect("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100").unwrap();
    let error = insert_one(&client.database("db").collection("things"));
    expect(&error, case, Written::No);
}

#[test]
fn a_write_of_one_document_was_rejected() {
    let case = "the server rejected a write of one document";
    let (_server, things) = answering("insert", doc! { "ok": 0, "code": 2 });
    expect(&insert_one(&things), case, Written::No);
    let rejected =
        doc! { "ok": 1, "n": 0, "writeErrors": [{ "index": 0, "code": 2, "errmsg": "no" }] };
    let (_server, things) = answering("insert", rejected);
    expect(&insert_one(&things), case, Written::No);
}

#[test]
fn a_command_was_rejected_before_it_ran() {
    let case = "the server rejected the command before it ran: no right, unknown command, overload, `NoWritesPerformed`";
    for reply in [
        doc! { "ok": 0, "code": 13 },
        doc! { "ok": 0, "code": 91, "errorLabels": ["NoWritesPerformed"] },
        doc! { "ok": 0, "code": 462, "errorLabels": ["SystemOverloadedError"] },
    ] {
        let (_server, things) = answering("update", reply);
        expect(&update_many(&things), case, Written::No);
    }
}

#[test]
fn a_write_of_several_documents_was_rejected() {
    let case = "the server rejected `update_many`, `delete_many` or a batch as a whole (`ok: 0`)";
    let (_server, things) = answering("update", doc! { "ok": 0, "code": 11601 });
    expect(&update_many(&things), case, Written::Unknown);
    let (_server, things) = answering("insert", doc! { "ok": 0, "code": 11601 });
    let documents = [doc! { "_id": 1 }, doc! { "_id": 2 }];
    let error = things.insert_many(documents).run().unwrap_err();
    expect(&error, case, Written::Unknown);

    let case = "`update_many` or `delete_many` failed, and the server counts no document";
    let failed =
        |n| doc! { "ok": 1, "n": n, "writeErrors": [{ "index": 0, "code": 2, "errmsg": "no" }] };
    let (_server, things) = answering("update", failed(0));
    expect(&update_many(&things), case, Written::Unknown);
    let case = "`update_many` or `delete_many` failed, and the server counts some documents";
    let (_server, things) = answering("update", failed(3));
    expect(&update_many(&things), case, Written::Partly);
}

#[test]
fn an_aggregation_that_writes_failed() {
    let (_server, things) = answering("aggregate", doc! { "ok": 0, "code": 11601 });
    let error = things.aggregate([doc! { "$out": "b" }]).run().unwrap_err();
    let case = "an aggregation with `$out` or `$merge` failed";
    expect(&error, case, Written::Unknown);
}

#[test]
fn no_answer_came() {
    let (_server, things) = failing("insert", doc! { "closeConnection": true }, "");
    let error = insert_one(&things);
    assert_eq!(error.kind(), ErrorKind::Network);
    let case = "the command was sent, and no answer came";
    expect(&error, case, Written::Unknown);
    let slow = doc! { "blockConnection": true, "blockTimeMS": 2_000 };
    let (_server, things) = failing("insert", slow, "socketTimeoutMS=100");
    let error = insert_one(&things);
    assert_eq!(error.kind(), ErrorKind::Timeout);
    expect(&error, case, Written::Unknown);
}

#[test]
fn a_write_was_not_acknowledged_as_required() {
    let concern = doc! { "code": 64, "errmsg": "waiting for replication timed out" };
    let reply = doc! { "ok": 1, "n": 1, "writeConcernError": concern };
    let (_server, things) = answering("insert", reply.clone());
    let case = "the write was made, and not acknowledged as required (`writeConcernError`)";
    expect(&insert_one(&things), case, Written::Yes);
    let error = things.insert_many([doc! {}]).run().unwrap_err();
    expect(&error, case, Written::Yes);
}

#[test]
fn the_returned_document_could_not_be_decoded() {
    #[derive(Debug, serde::Deserialize)]
    struct Thing {
        #[allow(dead_code, reason = "decoding fails at it")]
        count: i32,
    }
    let reply = doc! { "ok": 1, "value": { "_id": 1, "count": "many" } };
    let (_server, things) = answering("findAndModify", reply);
    let things = things.clone_with_type::<Thing>();
    let error = things.find_one_and_delete(doc! {}).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bson);
    let case = "the write was made, and the returned document could not be decoded";
    expect(&error, case, Written::Yes);
}

#[test]
fn a_write_without_acknowledgment_failed() {
    // The server does not read while it blocks the first insert, so the second one, which is larger than the buffers of
    // the sockets, cannot be sent in time.
    let block = doc! { "blockConnection": true, "blockTimeMS": 3_000 };
    let (_server, things) = failing("insert", block, "maxPoolSize=1&socketTimeoutMS=300");
    let insert = |text: String| {
        let silent = WriteConcern::default().w(0);
        things
            .insert_one(doc! { "text": text })
            .write_concern(silent)
            .run()
    };
    assert!(!insert(String::new()).unwrap().acknowledged);
    let error = insert("x".repeat(15 << 20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let case = "sending failed without acknowledgment (`w: 0`)";
    expect(&error, case, Written::Unknown);
}

#[test]
fn a_retry_failed_after_an_attempt_without_an_answer() {
    let set = ReplicaSet::builder("rs0").members(1).start();
    let fail = |data| {
        let fail_point = fail_command(1, &["insert"], data);
        set.node(0).server().configure_fail_point(&fail_point);
    };
    let case = "an attempt got no answer, and the retry failed, whatever its error says";
    let next = Arc::new(Mutex::new(None::<Document>));
    let server = set.node(0);
    let waiting = Arc::clone(&next);
    let listen = move |event: &Event| {
        if let Event::Command(CommandEvent::Failed(_)) = event {
            if let Some(data) = waiting.lock().unwrap().take() {
                let fail_point = fail_command(1, &["insert"], data);
                server.server().configure_fail_point(&fail_point);
            }
        }
    };
    let builder = ConnectionString::parse(&set.uri(""))
        .unwrap()
        .into_builder();
    let client = Client::with_options(builder.event_listener(listen).build().unwrap()).unwrap();
    let things = client.database("db").collection("things");
    for second in [
        doc! { "errorCode": 91, "errorLabels": ["RetryableWriteError", "NoWritesPerformed"] },
        doc! { "errorCode": 2 },
    ] {
        *next.lock().unwrap() = Some(second);
        fail(doc! { "closeConnection": true });
        expect(&insert_one(&things), case, Written::Unknown);
    }
}

#[test]
fn several_batches() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let things = client.database("db").collection::<Document>("things");
    let case = "some writes of `insert_many` or of a bulk were made, and others not";
    let documents = [doc! { "_id": 1 }, doc! { "_id": 1 }];
    let error = things.insert_many(documents).run().unwrap_err();
    expect(&error, case, Written::Partly);
    let documents = [Ok(doc! { "_id": 2 }), Err("the end of the file")];
    let source = things.try_insert_many(documents).batch_bytes(1);
    let error = source.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    expect(&error, case, Written::Partly);
    assert_eq!(error.write_failure().unwrap().stopped_at, Some(1));
    let case = "no write of `insert_many` or of a bulk was made";
    let error = things.insert_many([doc! { "_id": 1 }]).run().unwrap_err();
    expect(&error, case, Written::No);
    let error = things.try_insert_many([Ok(doc! {}), Err("no")]).run();
    expect(&error.unwrap_err(), case, Written::No);
}

#[test]
fn a_read_failed() {
    let (_server, things) = failing("find", doc! { "closeConnection": true }, "");
    let error = things.find(doc! {}).run().unwrap_err();
    expect(&error, "a read failed", Written::No);
}

#[test]
fn an_answer_does_not_fit_the_writes() {
    let case = "the answer does not fit the writes that were sent";
    let expect_misfit = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        expect(&error, case, Written::Unknown);
    };
    let failed = |index: i32| doc! { "index": index, "code": 2, "errmsg": "no" };
    for reply in [
        doc! { "ok": 1 },
        doc! { "ok": 1, "n": 0 },
        doc! { "ok": 1, "n": 2 },
        doc! { "ok": 1, "n": -1 },
        doc! { "ok": 1, "n": "1" },
        doc! { "ok": 1, "n": 1, "writeErrors": "no" },
        doc! { "ok": 1, "n": 1, "writeErrors": [1] },
        doc! { "ok": 1, "n": 1, "writeErrors": [failed(0)] },
        doc! { "ok": 1, "n": 0, "writeErrors": [failed(1)] },
        doc! { "ok": 1, "n": 0, "writeErrors": [failed(-1)] },
        doc! { "ok": 1, "n": 0, "writeErrors": [{ "code": 2 }] },
        doc! { "ok": 1, "n": 0, "writeErrors": [failed(0), failed(0)] },
        doc! { "ok": 1, "n": 1, "writeConcernError": "no" },
    ] {
        let (_server, things) = answering("insert", reply);
        expect_misfit(insert_one(&things));
        expect_misfit(things.insert_many([doc! {}]).run().unwrap_err());
        let mut bulk = things.bulk();
        bulk.insert_one(doc! {});
        expect_misfit(bulk.run().unwrap_err());
    }
    let (_server, things) = answering("findAndModify", doc! { "ok": 1 });
    expect_misfit(things.find_one_and_delete(doc! {}).run().unwrap_err());
    for reply in [
        doc! { "ok": 1, "n": 3 },
        doc! { "ok": 1, "n": 3, "nModified": 4 },
        doc! { "ok": 1, "n": 1, "nModified": 1, "upserted": [{ "index": 1, "_id": 1 }] },
        doc! { "ok": 1, "n": 1, "nModified": 1, "upserted": [{ "index": 0 }] },
    ] {
        let (_server, things) = answering("update", reply);
        expect_misfit(update_many(&things));
    }
    let (_server, things) = answering("delete", doc! { "ok": 1, "n": 2 });
    expect_misfit(things.delete_one(doc! {}).run().unwrap_err());
}

#[test]
fn a_later_command_got_no_answer() {
    let server = Server::builder().start();
    let second = doc! { "skip": 1 };
    let mut fail_point = fail_command(1, &["insert"], doc! { "closeConnection": true });
    fail_point.insert("mode", second);
    server.configure_fail_point(&fail_point);
    let client = plain_client(&server, "");
    let things = client.database("db").collection::<Document>("things");
    let documents = (0..2).map(|id| doc! { "_id": id });
    let error = things.insert_many(documents).batch_bytes(1).run();
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    let case =
        "some writes of `insert_many` or of a bulk were made, and a later command got no answer";
    expect(&error, case, Written::Partly);
}

#[test]
fn an_update_that_changes_nothing_writes_nothing() {
    let unchanged = doc! { "ok": 1, "n": 1, "nModified": 0 };
    let server = Server::builder()
        .handle("update", move |_| Some(unchanged.clone()))
        .start();
    let client = plain_client(&server, "");
    let things = client.database("db").collection::<Document>("things");
    things.insert_one(doc! { "_id": 1 }).run().unwrap();
    let mut bulk = things.bulk();
    bulk.update_one(doc! {}, doc! { "$set": { "a": 1 } });
    bulk.insert_one(doc! { "_id": 1 });
    let error = bulk.run().unwrap_err();
    let case = "no write of `insert_many` or of a bulk was made";
    expect(&error, case, Written::No);
    let partial = error.bulk_failure().unwrap().partial_result.as_ref();
    assert_eq!(partial.unwrap().matched_count(), 1, "the update succeeded");
}

/// No row of the guide is without a test.
#[test]
fn each_row_of_the_guide_is_tested() {
    let guide = include_str!("../../../docs/crud.md");
    let (_, table) = guide.split_once("| case | answer |").unwrap();
    let source = include_str!("written.rs");
    for row in table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
    {
        let case = row[2..].split(" | ").next().unwrap();
        assert!(
            source.contains(&format!("\"{case}\"")),
            "not tested: {case}"
        );
    }
}
