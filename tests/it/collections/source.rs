//! `insert_many` and the code of the program that provides the documents: what this code may do, and what happens if it
//! fails. `tests/fork` has a source that forks.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mongotls::bson::{Bson, Document, doc};
use mongotls::event::{CommandEvent, Event};
use mongotls::{Client, Collection, ConnectionString, ErrorKind, Written};
use mongotls_testbench::replica_set::ReplicaSet;
use mongotls_testbench::server::{Request, Server, fail_command};

use crate::common::plain_client;

/// A document of a bit more than 100 bytes.
fn large(id: i32) -> Document {
    doc! { "_id": id, "text": "x".repeat(100) }
}

/// A server, and a client with one connection.
fn single() -> (Server, Client, Collection<Document>) {
    let server = Server::builder().start();
    let client = plain_client(&server, "maxPoolSize=1&waitQueueTimeoutMS=2000");
    let things = client.database("db").collection("things");
    (server, client, things)
}

fn sizes(inserts: &[Request]) -> Vec<usize> {
    let sizes = inserts.iter().map(|it| it.documents("documents").len());
    sizes.collect()
}

#[test]
fn a_source_may_use_the_session_of_the_insert() {
    let set = ReplicaSet::builder("rs0").members(1).start();
    let client = Client::connect(&set.uri("maxPoolSize=1&waitQueueTimeoutMS=2000")).unwrap();
    let session = client.start_session().run().unwrap();
    let things = client.database("db").within(&session).collection("things");
    let source = (0..5).map(|id| {
        things.find_one(doc! { "_id": id }).run().unwrap();
        large(id)
    });
    let inserted = things.insert_many(source).batch_bytes(200).run().unwrap();
    assert_eq!(inserted.inserted_count, 5);
    let node = set.node(0);
    let commands = node.server().commands();
    let ours = commands.iter().filter(|it| it.database == "db");
    let names: Vec<_> = ours.clone().map(|it| it.name.as_str()).collect();
    let expected = "find find insert find find insert find insert";
    assert_eq!(
        names.join(" "),
        expected,
        "no command while another one runs"
    );
    for command in ours {
        assert_eq!(command.body.get_document("lsid").unwrap(), &session.id());
    }
}

#[test]
fn a_source_may_run_operations_that_fail_and_threads_that_use_the_client() {
    let (server, client, things) = single();
    server.configure_fail_point(&fail_command(
        1,
        &["find"],
        doc! { "closeConnection": true },
    ));
    let source = (0..3).map(|id| {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| things.find_one(doc! { "_id": id }).run());
            let outcome = other.join().unwrap();
            // The read is retried.
            assert!(outcome.is_ok(), "{outcome:?}");
        });
        assert_eq!(
            client.snapshot().pools[0].in_use,
            0,
            "no connection is held"
        );
        large(id)
    });
    let inserted = things.insert_many(source).batch_bytes(1).run().unwrap();
    assert_eq!(inserted.inserted_count, 3);
}

#[test]
fn a_source_that_panics_leaves_the_client_usable() {
    let (server, client, things) = single();
    let source = (0..5).map(|id| match id {
        3 => panic!("the source panics"),
        _ => large(id),
    });
    let insert = things.insert_many(source).batch_bytes(200);
    let panicked = catch_unwind(AssertUnwindSafe(|| insert.run()));
    let text = panicked.unwrap_err();
    assert_eq!(text.downcast_ref::<&str>(), Some(&"the source panics"));
    // The complete batch is written, and the other one is not sent.
    assert_eq!(sizes(&server.commands_named("insert")), [2]);
    assert_eq!(server.documents("db.things").len(), 2);
    assert_eq!(client.snapshot().pools[0].in_use, 0);
    things.insert_many([large(7)]).run().unwrap();
    assert_eq!(server.documents("db.things").len(), 3);
}

/// The time of the source does not count for `timeoutMS`.
#[test]
fn a_slow_source_is_no_timeout() {
    let (server, _client, things) = single();
    let source = (0..4).map(|id| {
        std::thread::sleep(Duration::from_millis(150));
        large(id)
    });
    let insert = things.insert_many(source).batch_bytes(200);
    let start = Instant::now();
    let inserted = insert.timeout(Duration::from_millis(400)).run().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(600));
    assert_eq!(inserted.inserted_count, 4);
    assert_eq!(sizes(&server.commands_named("insert")), [2, 2]);
}

#[test]
fn a_document_that_cannot_be_encoded_ends_the_insert() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let things = client
        .database("db")
        .collection::<HashMap<String, serde_json::Value>>("things");
    let documents = (0..5_u64).map(|n| {
        // BSON has no number of this size.
        let n = if n == 3 { u64::MAX } else { n };
        let text = "x".repeat(100);
        HashMap::from([("n".to_owned(), n.into()), ("text".to_owned(), text.into())])
    });
    let error = things.insert_many(documents).batch_bytes(200).run();
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bson, "{error}");
    assert!(error.to_string().starts_with("document 3: "), "{error}");
    assert_eq!(error.write_failure().unwrap().stopped_at, Some(3));
    assert_eq!(error.written(), Written::Partly);
    let partial = error.bulk_failure().unwrap().partial_result.as_ref();
    assert_eq!(partial.unwrap().inserted_count(), 2);
    let inserted = server.documents("db.things");
    let numbers: Vec<_> = inserted.iter().map(|it| it.get("n").cloned()).collect();
    assert_eq!(numbers.len(), 2, "{numbers:?}");

    // The first document.
    let documents = [HashMap::from([("n".to_owned(), u64::MAX.into())])];
    let error = things.insert_many(documents).run().unwrap_err();
    assert_eq!(error.write_failure().unwrap().stopped_at, Some(0));
    assert_eq!(error.written(), Written::No);
    assert!(
        error
            .bulk_failure()
            .is_none_or(|it| it.partial_result.is_none())
    );
}

/// A set whose second member takes two writes at once, and becomes the primary when a command fails.
fn with_smaller_successor() -> (Arc<ReplicaSet>, Collection<Document>) {
    let set = Arc::new(ReplicaSet::builder("rs0").members(2).start());
    let change = |hello: &mut mongotls_testbench::server::Hello| hello.max_write_batch_size = 2;
    set.node(1).server().set_hello(change);
    let successor = Mutex::new(Some(Arc::clone(&set)));
    let listen = move |event: &Event| {
        if let Event::Command(CommandEvent::Failed(_)) = event {
            if let Some(set) = successor.lock().unwrap().take() {
                set.elect(1);
            }
        }
    };
    let uri = ConnectionString::parse(&set.uri("")).unwrap();
    let options = uri.into_builder().event_listener(listen).build().unwrap();
    let client = Client::with_options(options).unwrap();
    let things = client.database("db").collection("things");
    (set, things)
}

fn inserts(set: &ReplicaSet, index: usize) -> Vec<Request> {
    set.node(index).server().commands_named("insert")
}

#[test]
fn a_retry_on_a_smaller_server_is_split() {
    let (set, things) = with_smaller_successor();
    let labels = ["RetryableWriteError", "NoWritesPerformed"];
    let rejected = doc! { "errorCode": 10107, "errorLabels": labels.to_vec() };
    let fail_point = fail_command(1, &["insert"], rejected);
    set.node(0).server().configure_fail_point(&fail_point);
    let inserted = things.insert_many((0..5).map(large)).run().unwrap();
    assert_eq!(inserted.inserted_count, 5);
    assert_eq!(inserted.inserted_ids[&4], Bson::Int32(4));
    let (before, after) = (inserts(&set, 0), inserts(&set, 1));
    assert_eq!((sizes(&before), sizes(&after)), (vec![5], vec![2, 2, 1]));
    let number = |insert: &Request| insert.body.get_i64("txnNumber").unwrap();
    assert_eq!(number(&before[0]), number(&after[0]), "a retry");
    assert_ne!(number(&after[0]), number(&after[1]), "a command of its own");
    assert_eq!(
        before[0].documents("documents")[..2],
        after[0].documents("documents")[..],
    );
}

/// The rest of the batch would get a number of its own, so a server that has written it already would write it again.
#[test]
fn a_batch_that_may_be_written_is_not_split() {
    let (set, things) = with_smaller_successor();
    let cut = fail_command(1, &["insert"], doc! { "closeConnection": true });
    set.node(0).server().configure_fail_point(&cut);
    let error = things.insert_many((0..5).map(large)).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert_eq!(error.written(), Written::Unknown);
    assert_eq!(sizes(&inserts(&set, 0)), [5]);
    assert_eq!(inserts(&set, 1).len(), 0);
}
