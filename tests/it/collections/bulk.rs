//! Bulk writes of collections and of clients: commands, batches, results and errors.
//!
//! The prose tests of the specification "CRUD API" that concern bulk writes have their numbers in their names. They take
//! the limits from the server's hello, as the specification says; here the limits are small. Number 8 needs transactions;
//! number 13 needs automatic encryption, which this driver does not have.

use std::sync::{Arc, Mutex};

use mongotls::bson::{Bson, Document, doc, oid::ObjectId};
use mongotls::error::ErrorKind;
use mongotls::event::{CommandEvent, Event};
use mongotls::options::WriteConcern;
use mongotls::results::PartialBulkWriteResult;
use mongotls::{Client, Collection, ConnectionString, Error, Namespace};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::server::{Hello, Request, Server, Version, fail_command};

use crate::common::plain_client;

const MAX_WRITES: i32 = 5;
const MAX_DOCUMENT: i32 = 16_000;
const MAX_MESSAGE: i32 = 48_000;

/// A store with small limits, a client of it, and a collection with a name of its own.
struct Store {
    deployment: Deployment,
    client: Client,
    things: Namespace,
}

impl Store {
    fn new(topology: Topology, options: &str) -> Option<Self> {
        let backend = or_skip(Secantus::shared())?.backend();
        let deployment = Deployment::start(topology, Version::V8_2, &backend);
        for node in deployment.nodes() {
            node.server().set_hello(|hello| {
                hello.max_write_batch_size = MAX_WRITES;
                hello.max_bson_object_size = MAX_DOCUMENT;
                hello.max_message_size_bytes = MAX_MESSAGE;
            });
        }
        let client = Client::connect(&deployment.uri(options)).unwrap();
        let things = Namespace::new("bulk", ObjectId::new().to_hex());
        Some(Self {
            deployment,
            client,
            things,
        })
    }

    fn single() -> Option<Self> {
        Self::new(Topology::Single, "")
    }

    fn collection(&self) -> Collection<Document> {
        let database = self.client.database(&self.things.db);
        database.collection(&self.things.coll)
    }

    fn documents(&self) -> Vec<Document> {
        let found = self.collection().find(doc! {}).sort(doc! { "_id": 1 });
        found.run().unwrap().map(Result::unwrap).collect()
    }

    /// The commands with this name that the servers have received.
    fn commands(&self, name: &str) -> Vec<Request> {
        let nodes = self.deployment.nodes();
        let commands = nodes.iter().map(|node| node.server().commands_named(name));
        commands.flatten().collect()
    }

    fn fail(&self, times: i32, command: &str, failure: Document) {
        let failure = fail_command(times, &[command], failure);
        for node in self.deployment.nodes() {
            node.server().configure_fail_point(&failure);
        }
    }

    /// The number of operations in each `bulkWrite`.
    fn batches(&self) -> Vec<usize> {
        let commands = self.commands("bulkWrite");
        let sizes = commands
            .iter()
            .map(|request| request.documents("ops").len());
        sizes.collect()
    }

    fn namespaces(&self) -> Vec<Vec<String>> {
        let commands = self.commands("bulkWrite");
        let names = commands.iter().map(|request| {
            let names = request.documents("nsInfo").into_iter();
            names.map(|it| it.get_str("ns").unwrap().to_owned())
        });
        names.map(Iterator::collect).collect()
    }
}

fn text(length: i32) -> String {
    "b".repeat(usize::try_from(length).unwrap())
}

fn indexes(error: &Error) -> Vec<usize> {
    let errors = &error.write_failure().unwrap().errors;
    errors.iter().map(|error| error.index).collect()
}

fn partial(error: &Error) -> Option<&PartialBulkWriteResult> {
    error.bulk_failure()?.partial_result.as_ref()
}

#[test]
fn crud_prose_3_a_batch_has_at_most_max_write_batch_size_operations() {
    let Some(store) = Store::single() else {
        return;
    };
    let numbers = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&numbers);
    let uri = store.deployment.uri("");
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let builder = builder.event_listener(move |event: &Event| match event {
        Event::Command(CommandEvent::Started(event)) if event.info.command_name == "bulkWrite" => {
            seen.lock().unwrap().push(event.info.operation_id);
        }
        _ => {}
    });
    let client = Client::with_options(builder.build().unwrap()).unwrap();
    let mut bulk = client.bulk();
    for _ in 0..=MAX_WRITES {
        bulk.insert_one(&store.things, doc! { "a": "b" });
    }
    assert_eq!(bulk.run().unwrap().inserted_count, 6);
    assert_eq!(store.batches(), [5, 1]);
    let numbers = numbers.lock().unwrap();
    assert!(
        numbers.len() == 2 && numbers[0] == numbers[1],
        "{numbers:?}"
    );
}

#[test]
fn crud_prose_4_a_batch_has_at_most_max_message_size_bytes() {
    let Some(store) = Store::single() else {
        return;
    };
    let models = usize::try_from(MAX_MESSAGE / MAX_DOCUMENT + 1).unwrap();
    let mut bulk = store.client.bulk();
    for _ in 0..models {
        bulk.insert_one(&store.things, doc! { "a": text(MAX_DOCUMENT - 500) });
    }
    assert_eq!(bulk.run().unwrap().inserted_count, models as u64);
    assert_eq!(store.batches(), [models - 1, 1]);
}

#[test]
fn crud_prose_5_write_concern_errors_are_collected_across_batches() {
    let Some(store) = Store::new(Topology::ReplicaSet, "retryWrites=false") else {
        return;
    };
    let shutdown = doc! { "code": 91, "errmsg": "Replication is being shut down" };
    store.fail(2, "bulkWrite", doc! { "writeConcernError": shutdown });
    let mut bulk = store.client.bulk();
    for _ in 0..=MAX_WRITES {
        bulk.insert_one(&store.things, doc! { "a": "b" });
    }
    let error = bulk.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Write);
    let concerns = &error.bulk_failure().unwrap().concern_errors;
    let codes: Vec<i32> = concerns.iter().map(|error| error.code).collect();
    assert_eq!(codes, [91, 91]);
    assert_eq!(partial(&error).unwrap().inserted_count(), 6);
    assert_eq!(store.batches(), [5, 1]);
}

#[test]
fn crud_prose_6_write_errors_are_collected_across_batches_without_an_order() {
    for (ordered, batches) in [(false, vec![5, 1]), (true, vec![5])] {
        let Some(store) = Store::single() else {
            return;
        };
        store
            .collection()
            .insert_one(doc! { "_id": 1 })
            .run()
            .unwrap();
        let mut bulk = store.client.bulk().ordered(ordered);
        for _ in 0..=MAX_WRITES {
            bulk.insert_one(&store.things, doc! { "_id": 1 });
        }
        let error = bulk.run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Write);
        let expected = if ordered { 0..1 } else { 0..6 };
        assert_eq!(indexes(&error), expected.collect::<Vec<_>>());
        assert!(
            error
                .write_failure()
                .unwrap()
                .errors
                .iter()
                .all(|it| it.code == 11000)
        );
        assert_eq!(partial(&error), None);
        assert_eq!(store.batches(), batches);
    }
}

/// A server whose `bulkWrite` has two results, the second of them in a batch that `getMore` fetches.
fn with_two_results(more: Document) -> (Server, Client) {
    let hello = Hello {
        max_wire_version: 25,
        ..Hello::default()
    };
    let result = |index: i32| doc! { "ok": 1, "idx": index, "n": 1, "nModified": 0, "upserted": { "_id": index } };
    let reply = doc! {
        "ok": 1, "nErrors": 0, "nInserted": 0, "nUpserted": 2, "nMatched": 0, "nModified": 0, "nDeleted": 0,
        "cursor": { "id": 5_i64, "ns": "admin.$cmd.bulkWrite", "firstBatch": [result(0)] },
    };
    let mut more = more;
    if more.get_i32("ok").unwrap() == 1 {
        let cursor = doc! { "id": 0_i64, "ns": "admin.$cmd.bulkWrite", "nextBatch": [result(1)] };
        more.insert("cursor", cursor);
    }
    let server = Server::builder()
        .hello(hello)
        .handle("bulkWrite", move |_| Some(reply.clone()))
        .handle("getMore", move |_| Some(more.clone()))
        .start();
    let client = plain_client(&server, "");
    (server, client)
}

#[test]
fn crud_prose_7_the_results_cursor_is_read_to_its_end_in_one_session() {
    let (server, client) = with_two_results(doc! { "ok": 1 });
    let things = Namespace::new("db", "coll");
    let mut bulk = client.bulk().verbose_results();
    for id in ["a", "b"] {
        let set = doc! { "$set": { "x": 1 } };
        bulk.update_one(&things, doc! { "_id": id }, set)
            .upsert(true);
    }
    let result = bulk.run().unwrap();
    assert_eq!(result.summary.upserted_count, 2);
    assert_eq!(result.update_results.len(), 2);
    assert_eq!(result.update_results[&1].upserted_id, Some(Bson::Int32(1)));
    let more = server.commands_named("getMore");
    assert_eq!(more.len(), 1);
    let session = server.commands_named("bulkWrite")[0]
        .body
        .get("lsid")
        .cloned();
    assert!(session.is_some() && more[0].body.get("lsid") == session.as_ref());
    assert_eq!(server.count_of("killCursors"), 0);
}

#[test]
fn crud_prose_9_an_error_of_get_more_keeps_the_results_before_it() {
    let failure = doc! { "ok": 0, "code": 8, "codeName": "UnknownError", "errmsg": "no more" };
    let (server, client) = with_two_results(failure);
    let things = Namespace::new("db", "coll");
    let mut bulk = client.bulk().verbose_results();
    for id in ["a", "b"] {
        let set = doc! { "$set": { "x": 1 } };
        bulk.update_one(&things, doc! { "_id": id }, set)
            .upsert(true);
    }
    let error = bulk.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Command);
    assert_eq!(error.command().unwrap().code, 8);
    let Some(PartialBulkWriteResult::Verbose(result)) = partial(&error) else {
        panic!("{error:?}");
    };
    assert_eq!(result.summary.upserted_count, 2);
    assert_eq!(result.update_results.len(), 1);
    assert_eq!(server.count_of("getMore"), 1);
    assert_eq!(server.count_of("killCursors"), 1);
}

/// Fills a batch so that one more operation fits, but no other namespace.
fn run_prose_11(store: &Store, last: &Namespace) -> u64 {
    let bytes = MAX_MESSAGE - 1122;
    let things = Namespace::new("db", "coll");
    let mut bulk = store.client.bulk();
    let mut rest = bytes;
    while rest >= MAX_DOCUMENT {
        bulk.insert_one(&things, doc! { "a": text(MAX_DOCUMENT - 57) });
        rest -= MAX_DOCUMENT;
    }
    assert!(rest >= 217);
    bulk.insert_one(&things, doc! { "a": text(rest - 57) });
    bulk.insert_one(last, doc! { "a": "b" });
    bulk.run().unwrap().inserted_count
}

#[test]
fn crud_prose_11_a_new_namespace_counts_towards_the_size_of_a_message() {
    let Some(store) = Store::single() else {
        return;
    };
    assert_eq!(run_prose_11(&store, &Namespace::new("db", "coll")), 4);
    assert_eq!(store.batches(), [4]);
    assert_eq!(store.namespaces(), [["db.coll"]]);

    let store = Store::single().unwrap();
    let long = Namespace::new("db", "c".repeat(200));
    assert_eq!(run_prose_11(&store, &long), 4);
    assert_eq!(store.batches(), [3, 1]);
    assert_eq!(store.namespaces(), [["db.coll"], [&*long.to_string()]]);
    let second = &store.commands("bulkWrite")[1].documents("ops")[0];
    assert_eq!(
        second.get_i32("insert").unwrap(),
        0,
        "numbered within its command"
    );
}

#[test]
fn crud_prose_12_a_model_that_fits_no_message_is_an_error() {
    let hello = Hello {
        max_wire_version: 25,
        max_message_size_bytes: MAX_MESSAGE,
        ..Hello::default()
    };
    let server = Server::builder().hello(hello).start();
    let client = plain_client(&server, "");
    let mut bulk = client.bulk();
    bulk.insert_one(
        Namespace::new("db", "coll"),
        doc! { "a": text(MAX_MESSAGE) },
    );
    let error = bulk.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(partial(&error), None);

    let mut bulk = client.bulk();
    bulk.insert_one(Namespace::new("db", text(MAX_MESSAGE)), doc! { "a": "b" });
    let error = bulk.run().unwrap_err();
    assert!([ErrorKind::TooLarge, ErrorKind::InvalidArgument].contains(&error.kind()));
    assert_eq!(partial(&error), None);
    assert_eq!(server.count_of("bulkWrite"), 0);
}

#[test]
fn crud_prose_15_all_batches_of_an_unacknowledged_bulk_have_w_0() {
    let Some(store) = Store::single() else {
        return;
    };
    let create = doc! { "create": &store.things.coll };
    store
        .client
        .database(&store.things.db)
        .run_command(create)
        .unwrap();
    let models = usize::try_from(MAX_MESSAGE / MAX_DOCUMENT + 1).unwrap();
    let unacknowledged = WriteConcern::default().w(0);
    let mut bulk = store
        .client
        .bulk()
        .ordered(false)
        .write_concern(unacknowledged);
    for _ in 0..models {
        bulk.insert_one(&store.things, doc! { "a": text(MAX_DOCUMENT - 500) });
    }
    let result = bulk.run().unwrap();
    assert!(!result.acknowledged);
    // The client does not wait for the server.
    let node = store.deployment.nodes().remove(0);
    let limit = std::time::Duration::from_secs(10);
    let has_both = node
        .server()
        .wait_until(limit, |server| server.count_of("bulkWrite") == 2);
    assert!(has_both);
    assert_eq!(store.batches(), [models - 1, 1]);
    for request in store.commands("bulkWrite") {
        assert_eq!(
            *request.body.get_document("writeConcern").unwrap(),
            doc! { "w": 0 }
        );
        assert!(!request.body.contains_key("lsid"), "{}", request.body);
    }
    assert_eq!(store.documents().len(), models);
}

#[test]
fn crud_prose_16_a_generated_id_is_the_first_field() {
    let Some(store) = Store::single() else {
        return;
    };
    let mut bulk = store.client.bulk().verbose_results();
    bulk.insert_one(&store.things, doc! { "x": 1 });
    let result = bulk.run().unwrap();
    let ops = store.commands("bulkWrite")[0].documents("ops");
    let document = ops[0].get_document("document").unwrap();
    let (key, id) = document.iter().next().unwrap();
    assert_eq!(
        (key.as_str(), id),
        ("_id", &result.insert_results[&0].inserted_id)
    );

    let things = store.collection();
    let mut bulk = things.bulk();
    bulk.insert_one(doc! { "x": 1 });
    let result = bulk.run().unwrap();
    let documents = store.commands("insert")[0].documents("documents");
    let (key, id) = documents[0].iter().next().unwrap();
    assert_eq!((key.as_str(), id), ("_id", &result.inserted_ids[&0]));

    let result = things.insert_one(doc! { "x": 1 }).run().unwrap();
    let documents = store.commands("insert")[1].documents("documents");
    let (key, id) = documents[0].iter().next().unwrap();
    assert_eq!((key.as_str(), id), ("_id", &result.inserted_id));
}

#[test]
fn the_errors_of_unacknowledged_client_bulks_come_before_sending() {
    let (server, client) = with_two_results(doc! { "ok": 1 });
    let things = Namespace::new("db", "coll");
    let unacknowledged = || WriteConcern::default().w(0);
    let mut ordered = client.bulk().write_concern(unacknowledged());
    ordered.delete_one(&things, doc! {});
    let ordered = ordered.run().unwrap_err();
    let bulk = client.bulk().ordered(false);
    let mut verbose = bulk.verbose_results().write_concern(unacknowledged());
    verbose.delete_one(&things, doc! {});
    let verbose = verbose.run().unwrap_err();
    for (error, what) in [(ordered, "ordered writes"), (verbose, "verbose results")] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let message = format!("Cannot request unacknowledged write concern and {what}");
        assert_eq!(error.to_string(), message);
    }
    assert_eq!(server.count_of("bulkWrite"), 0);
}

#[test]
fn wrong_models_are_errors_before_anything_is_sent() {
    let (server, client) = with_two_results(doc! { "ok": 1 });
    let things = client.database("db").collection::<Document>("coll");
    let error_of = |add: &dyn Fn(&mut mongotls::Bulk)| {
        let mut bulk = things.bulk();
        bulk.delete_one(doc! {});
        add(&mut bulk);
        bulk.delete_one(doc! {});
        bulk.run().unwrap_err()
    };
    let no_operator = "the update must have operators, so its first key must start with $";
    for update in [doc! {}, doc! { "a": 1 }] {
        let error = error_of(&|bulk| {
            bulk.update_one(doc! {}, &update);
        });
        assert_eq!(error.to_string(), no_operator);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let error = error_of(&|bulk| {
        bulk.update_many(doc! {}, "text").upsert(true);
    });
    assert_eq!(
        error.to_string(),
        "the update must be a document or a pipeline"
    );
    let error = error_of(&|bulk| {
        bulk.replace_one(doc! {}, doc! { "$set": {} });
    });
    let operator =
        "the replacement must not have operators, so its first key must not start with $";
    assert_eq!(error.to_string(), operator);
    let error = error_of(&|bulk| {
        bulk.delete_one(5);
    });
    assert_eq!(error.to_string(), "the filter cannot be encoded as BSON");
    let set = doc! { "$set": { "a.$[x]": 1 } };
    let error = error_of(&|bulk| {
        bulk.update_one(doc! {}, &set).array_filters(5);
    });
    assert_eq!(error.to_string(), "arrayFilters must be an array");
    for error in [
        things.bulk().run().map(drop).unwrap_err(),
        client.bulk().run().map(drop).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "a bulk write needs a model");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(
        (server.count_of("delete"), server.count_of("update")),
        (0, 0)
    );
}

#[test]
fn a_server_without_bulk_write_is_an_error() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let mut bulk = client.bulk();
    bulk.insert_one(Namespace::new("db", "coll"), doc! {});
    let error = bulk.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let expected = "bulkWrite needs a server with wire version 25 or later, and this one has 21";
    assert!(error.to_string().ends_with(expected), "{error}");
    assert_eq!(server.count_of("bulkWrite"), 0);
}

/// Adds models of all kinds.
fn mixed(bulk: &mut mongotls::Bulk) {
    bulk.insert_one(doc! { "_id": 1, "n": 1 });
    bulk.insert_one(doc! { "_id": 2, "n": 1 });
    bulk.update_one(doc! { "_id": 1 }, [doc! { "$set": { "n": 2 } }]);
    bulk.update_many(doc! {}, doc! { "$inc": { "n": 1 } });
    bulk.replace_one(doc! { "_id": 3 }, doc! { "n": 7 })
        .upsert(false)
        .upsert(true);
    bulk.delete_one(doc! { "_id": 2 });
    bulk.insert_one(doc! { "_id": 4, "n": 0 });
}

#[test]
fn an_ordered_bulk_of_a_collection_groups_neighbours() {
    let Some(store) = Store::single() else {
        return;
    };
    let things = store.collection();
    let mut bulk = things.bulk();
    mixed(&mut bulk);
    let result = bulk.run().unwrap();
    assert!(result.acknowledged);
    assert_eq!((result.inserted_count, result.deleted_count), (3, 1));
    assert_eq!((result.matched_count, result.modified_count), (3, 3));
    assert_eq!(result.upserted_count, 1);
    assert_eq!(result.upserted_ids.get(&4), Some(&Bson::Int32(3)));
    let ids: Vec<usize> = result.inserted_ids.keys().copied().collect();
    assert_eq!(ids, [0, 1, 6]);
    let expected = [
        doc! { "_id": 1, "n": 3 },
        doc! { "_id": 3, "n": 7 },
        doc! { "_id": 4, "n": 0 },
    ];
    assert_eq!(store.documents(), expected);
    let updates = store.commands("update");
    assert_eq!(updates.len(), 1);
    let upsert = &updates[0].documents("updates")[2];
    assert_eq!(
        *upsert,
        doc! { "q": { "_id": 3 }, "u": { "n": 7 }, "upsert": true }
    );
    assert_eq!(
        (
            store.commands("insert").len(),
            store.commands("delete").len()
        ),
        (2, 1)
    );
}

#[test]
fn the_errors_of_a_collection_bulk_have_the_indexes_of_their_models() {
    for (ordered, failed, inserted, made) in [
        (false, vec![2, 6], vec![0, 3, 7], 1),
        (true, vec![2], vec![0], 0),
    ] {
        let Some(store) = Store::single() else {
            return;
        };
        let things = store.collection();
        let mut bulk = things.bulk().ordered(ordered);
        bulk.insert_one(doc! { "_id": 1 });
        bulk.update_one(doc! { "_id": 1 }, doc! { "$set": { "x": 1 } });
        bulk.insert_one(doc! { "_id": 1 });
        bulk.insert_one(doc! { "_id": 2 });
        bulk.delete_one(doc! { "_id": 2 });
        bulk.delete_one(doc! { "_id": 9 });
        bulk.insert_one(doc! { "_id": 2 });
        bulk.insert_one(doc! { "_id": 3 });
        let error = bulk.run().unwrap_err();
        assert_eq!(indexes(&error), failed);
        let Some(PartialBulkWriteResult::Collection(result)) = partial(&error) else {
            panic!("{error:?}");
        };
        let ids: Vec<usize> = result.inserted_ids.keys().copied().collect();
        assert_eq!((ids, result.deleted_count), (inserted, made));
        assert_eq!(result.modified_count, 1);
    }
}

#[test]
fn a_bulk_that_flushes_sends_before_it_is_run() {
    let Some(store) = Store::single() else {
        return;
    };
    let things = store.collection();
    let mut bulk = things.bulk().flush_at(100).count_only();
    for id in 0..4 {
        bulk.insert_one(doc! { "_id": id, "text": text(40) });
    }
    // Each model has about 70 bytes, so the third one sends two.
    assert_eq!(store.commands("insert").len(), 1);
    let result = bulk.run().unwrap();
    assert_eq!((result.inserted_count, result.inserted_ids.len()), (4, 0));
    assert_eq!(store.commands("insert").len(), 2);

    let mut bulk = store.client.bulk().flush_at(1);
    for id in 3..7 {
        bulk.insert_one(&store.things, doc! { "_id": id });
    }
    let error = bulk.run().unwrap_err();
    assert_eq!((indexes(&error), partial(&error)), (vec![0], None));
    assert_eq!(
        store.batches(),
        [1],
        "an ordered bulk ends with its first error"
    );
}

#[test]
fn only_a_command_without_multi_writes_is_retried() {
    for (is_multi, attempts) in [(false, 2), (true, 1)] {
        let Some(store) = Store::new(Topology::ReplicaSet, "") else {
            return;
        };
        store
            .collection()
            .insert_one(doc! { "_id": 1, "n": 1 })
            .run()
            .unwrap();
        store.fail(1, "bulkWrite", doc! { "closeConnection": true });
        let add = doc! { "$inc": { "n": 1 } };
        let mut bulk = store.client.bulk();
        match is_multi {
            true => drop(bulk.update_many(&store.things, doc! {}, add)),
            false => drop(bulk.update_one(&store.things, doc! {}, add)),
        }
        let outcome = bulk.run();
        let commands = store.commands("bulkWrite");
        assert_eq!(commands.len(), attempts);
        let number = |request: &Request| request.body.get("txnNumber").cloned();
        if is_multi {
            let error = outcome.unwrap_err();
            assert_eq!((error.kind(), partial(&error)), (ErrorKind::Network, None));
            assert_eq!(number(&commands[0]), None);
        } else {
            assert_eq!(outcome.unwrap().modified_count, 1);
            assert!(number(&commands[0]).is_some());
            assert_eq!(number(&commands[0]), number(&commands[1]));
            assert_eq!(commands[0].sequences, commands[1].sequences);
        }
    }
}

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    super::expect_in_guide(include_str!("bulk.rs"), 3);
}

#[test]
#[allow(clippy::print_stdout, reason = "as the guide shows it")]
fn the_examples_of_the_guide() -> Result<(), Error> {
    let Some(store) = Store::single() else {
        return Ok(());
    };
    let (client, things) = (&store.client, store.collection());
    // example
    let mut bulk = things.bulk();
    bulk.insert_one(doc! { "_id": 1, "name": "bolt" });
    bulk.update_one(doc! { "_id": 2 }, doc! { "$inc": { "count": 1 } })
        .upsert(true);
    bulk.delete_many(doc! { "count": 0 });
    let result = bulk.run()?;
    assert_eq!((result.inserted_count, result.upserted_count), (1, 1));
    // end
    // example
    let log = Namespace::new("shop", "log");
    let mut bulk = client.bulk().verbose_results();
    bulk.update_one(
        things.namespace(),
        doc! { "_id": 1 },
        doc! { "$set": { "sold": true } },
    );
    bulk.insert_one(&log, doc! { "sold": 1 });
    let result = bulk.run()?;
    assert_eq!(result.update_results[&0].modified_count, 1);
    assert_eq!(result.insert_results.len(), 1);
    // end
    // example
    let mut bulk = things.bulk().ordered(false);
    bulk.insert_one(doc! { "_id": 1 });
    bulk.insert_one(doc! { "_id": 3 });
    if let Err(error) = bulk.run() {
        let failure = error.write_failure();
        for failed in failure.iter().flat_map(|failure| &failure.errors) {
            println!("model {}: {}", failed.index, failed.message);
        }
        let failure = error.bulk_failure();
        let partial = failure.and_then(|failure| failure.partial_result.as_ref());
        println!("{} inserted", partial.map_or(0, |it| it.inserted_count()));
    }
    // end
    let expected = [
        doc! { "_id": 1, "name": "bolt", "sold": true },
        doc! { "_id": 2, "count": 1 },
        doc! { "_id": 3 },
    ];
    assert_eq!(store.documents(), expected);
    Ok(())
}
