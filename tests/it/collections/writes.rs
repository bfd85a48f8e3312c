//! Writes of collections: what they send, what they return, batches of `insert_many`, and writes without acknowledgment.
//!
//! The prose tests of "CRUD API" and "Retryable Writes" that concern these writes have their numbers in their names; those
//! that concern bulk writes are in `bulk.rs`.

use std::sync::{Arc, Mutex};

use mongotls::bson::{Bson, Document, doc, oid::ObjectId};
use mongotls::event::{CommandEvent, ConnectionCheckOutFailedReason, Event, PoolEventKind};
use mongotls::options::{Collation, ReturnDocument, WriteConcern};
use mongotls::topology::ServerType;
use mongotls::{Client, Collection, ConnectionString, ErrorKind, ServerAddress, Written};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::node::NodeOptions;
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::replica_set::ReplicaSet;
use mongotls_testbench::server::{Hello, Request, Role, Server, Version, fail_command};
use mongotls_testbench::sharded_cluster::ShardedCluster;

use crate::common::plain_client;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A store, and a collection in it with a name of its own.
fn stored(version: Version) -> Option<(Deployment, Client, Collection<Document>)> {
    let backend = or_skip(Secantus::shared())?.backend();
    let deployment = Deployment::start(Topology::ReplicaSet, version, &backend);
    let client = Client::connect(&deployment.uri("")).unwrap();
    let name = ObjectId::new().to_hex();
    let things = client.database("writes").collection(&name);
    Some((deployment, client, things))
}

fn all(things: &Collection<Document>) -> Vec<Document> {
    let found = things.find(doc! {}).sort(doc! { "_id": 1 });
    found.run().unwrap().map(Result::unwrap).collect()
}

/// A server in memory, and a collection of it.
fn in_memory(options: &str) -> (Server, Collection<Document>) {
    let server = Server::builder().start();
    let client = plain_client(&server, options);
    (server, client.database("db").collection("things"))
}

/// The only command with this name that the server has received.
fn sent(server: &Server, name: &str) -> Request {
    let mut commands = server.commands_named(name);
    assert_eq!(commands.len(), 1);
    commands.remove(0)
}

#[test]
fn writes_change_documents_and_count_them() {
    let Some((_deployment, _client, things)) = stored(Version::V8_2) else {
        return;
    };
    let one = things.insert_one(doc! { "n": 1, "_id": 1 }).run().unwrap();
    assert_eq!((one.inserted_id, one.acknowledged), (1.into(), true));
    let many = things.insert_many([doc! { "_id": 2, "n": 2 }, doc! { "_id": 3, "n": 3 }]);
    let many = many.run().unwrap();
    assert_eq!(many.inserted_count, 2);
    assert_eq!(many.inserted_ids, [(0, 2.into()), (1, 3.into())].into());

    let add = doc! { "$inc": { "n": 10 } };
    let updated = things.update_many(doc! { "n": { "$gt": 1 } }, &add).run();
    let updated = updated.unwrap();
    assert_eq!((updated.matched_count, updated.modified_count), (2, 2));
    assert_eq!(updated.upserted_id, None);
    let updated = things.update_one(doc! { "_id": 4 }, &add).upsert(true);
    let updated = updated.run().unwrap();
    assert_eq!((updated.matched_count, updated.modified_count), (0, 0));
    assert_eq!(updated.upserted_id, Some(4.into()));
    let replaced = things.replace_one(doc! { "_id": 4 }, doc! { "n": 0 }).run();
    assert_eq!(replaced.unwrap().modified_count, 1);
    let pipeline = [doc! { "$set": { "m": "$n" } }];
    things
        .update_one(doc! { "_id": 1 }, pipeline)
        .run()
        .unwrap();

    let taken = things.find_one_and_delete(doc! {}).sort(doc! { "n": 1 });
    assert_eq!(taken.run().unwrap(), Some(doc! { "_id": 4, "n": 0 }));
    let after = things
        .find_one_and_update(doc! { "_id": 3 }, &add)
        .projection(doc! { "n": 1 })
        .return_document(ReturnDocument::After);
    assert_eq!(after.run().unwrap(), Some(doc! { "_id": 3, "n": 23 }));
    let before = things.find_one_and_replace(doc! { "_id": 3 }, doc! { "a": 1 });
    assert_eq!(before.run().unwrap(), Some(doc! { "_id": 3, "n": 23 }));
    let none = things.find_one_and_delete(doc! { "_id": 9 }).run().unwrap();
    assert_eq!(none, None);
    let expected = [
        doc! { "_id": 1, "n": 1, "m": 1 },
        doc! { "_id": 2, "n": 12 },
        doc! { "_id": 3, "a": 1 },
    ];
    assert_eq!(all(&things), expected);
    assert_eq!(things.delete_one(doc! {}).run().unwrap().deleted_count, 1);
    assert_eq!(things.delete_many(doc! {}).run().unwrap().deleted_count, 2);
}

#[test]
fn options_are_fields_of_the_statement_or_of_the_command() {
    let (server, things) = in_memory("");
    let collation = || Collation::new("en");
    let update = doc! { "$set": { "a.$[x]": 1 } };
    let _ = things
        .update_one(doc! { "a": 1 }, &update)
        .upsert(true)
        .array_filters([doc! { "x": 1 }])
        .collation(collation())
        .hint("a_1")
        .sort(doc! { "b": 1 })
        .let_vars(doc! { "v": 1 })
        .bypass_document_validation(true)
        .comment("why")
        .run();
    let request = sent(&server, "update");
    let statement = doc! {
        "q": { "a": 1 }, "u": &update, "upsert": true, "arrayFilters": [{ "x": 1 }], "collation": { "locale": "en" },
        "hint": "a_1", "sort": { "b": 1 },
    };
    assert_eq!(request.documents("updates"), [statement]);
    let fields = |request: &Request, names: &[&str]| {
        let fields = names
            .iter()
            .map(|name| ((*name).to_owned(), request.body[*name].clone()));
        fields.collect::<Document>()
    };
    let expected = doc! { "ordered": true, "let": { "v": 1 }, "bypassDocumentValidation": true, "comment": "why" };
    let names = ["ordered", "let", "bypassDocumentValidation", "comment"];
    assert_eq!(fields(&request, &names), expected);
    let _ = things.update_many(doc! {}, &update).run();
    let request = server.commands_named("update").remove(1);
    let statement = doc! { "q": {}, "u": &update, "multi": true };
    assert_eq!(request.documents("updates"), [statement]);
    assert!(!request.body.contains_key("txnNumber"));

    let _ = things
        .delete_one(doc! { "a": 1 })
        .hint(doc! { "a": 1 })
        .run();
    let statement = doc! { "q": { "a": 1 }, "limit": 1, "hint": { "a": 1 } };
    assert_eq!(sent(&server, "delete").documents("deletes"), [statement]);

    let _ = things
        .find_one_and_update(doc! { "a": 1 }, [doc! { "$set": { "b": 1 } }])
        .upsert(true)
        .return_document(ReturnDocument::After)
        .projection(doc! { "a": 1 })
        .hint("a_1")
        .run();
    let request = sent(&server, "findAndModify");
    let expected = doc! {
        "findAndModify": "things", "query": { "a": 1 }, "update": [{ "$set": { "b": 1 } }], "upsert": true,
        "new": true, "fields": { "a": 1 }, "hint": "a_1",
    };
    let names: Vec<&str> = expected.keys().map(String::as_str).collect();
    assert_eq!(fields(&request, &names), expected);
}

#[test]
fn wrong_arguments_are_errors_before_anything_is_sent() {
    let (server, things) = in_memory("");
    let plain = doc! { "a": 1 };
    let operators = doc! { "$set": { "a": 1 } };
    let update = "the update must have operators, so its first key must start with $";
    let replacement =
        "the replacement must not have operators, so its first key must not start with $";
    let outcomes = [
        (things.update_one(doc! {}, &plain).run().map(drop), update),
        (things.update_many(doc! {}, doc! {}).run().map(drop), update),
        (
            things.replace_one(doc! {}, &operators).run().map(drop),
            replacement,
        ),
        (
            things.find_one_and_update(doc! {}, &plain).run().map(drop),
            update,
        ),
        (
            things
                .find_one_and_replace(doc! {}, &operators)
                .run()
                .map(drop),
            replacement,
        ),
        (
            things.update_one(doc! {}, 5).run().map(drop),
            "the update must be a document or a pipeline",
        ),
        (
            things
                .update_one(doc! {}, &operators)
                .array_filters(doc! {})
                .run()
                .map(drop),
            "arrayFilters must be an array",
        ),
        (
            things.insert_many::<[Document; 0]>([]).run().map(drop),
            "insert_many needs a document",
        ),
    ];
    for (outcome, text) in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert_eq!(error.to_string(), text);
        assert_eq!(error.written(), Written::No);
    }
    assert_eq!(server.commands_named("update").len(), 0);
    assert_eq!(server.commands_named("findAndModify").len(), 0);
}

#[test]
fn insert_many_sends_a_batch_while_the_source_waits() {
    let server = Server::builder().start();
    let client = plain_client(&server, "maxPoolSize=1&waitQueueTimeoutMS=2000");
    let things = client.database("db").collection::<Document>("things");
    let sizes = || {
        let inserts = server.commands_named("insert");
        let sizes = inserts
            .iter()
            .map(|insert| insert.documents("documents").len());
        sizes.collect::<Vec<_>>()
    };
    // The source uses the only connection itself.
    let source = (0..5).map(|id| {
        things.find_one(doc! { "_id": id }).run().unwrap();
        if id == 3 {
            assert_eq!(sizes(), [2], "the first batch has been sent");
        }
        doc! { "_id": id, "text": "x".repeat(50) }
    });
    let inserted = things.insert_many(source).batch_bytes(100).run().unwrap();
    assert_eq!(sizes(), [2, 2, 1]);
    assert_eq!(inserted.inserted_ids.len(), 5);
    assert_eq!(inserted.inserted_ids[&4], Bson::Int32(4));
    let counted = things.insert_many((10..20).map(|id| doc! { "_id": id }));
    let counted = counted.count_only().run().unwrap();
    assert_eq!(
        (counted.inserted_count, counted.inserted_ids.len()),
        (10, 0)
    );
}

#[test]
fn a_batch_has_at_most_what_the_server_takes() {
    let server = Server::builder().start();
    server.set_hello(|hello| hello.max_write_batch_size = 3);
    let client = plain_client(&server, "");
    let things = client.database("db").collection::<Document>("things");
    let inserted = things
        .insert_many((0..8).map(|id| doc! { "_id": id }))
        .run();
    assert_eq!(inserted.unwrap().inserted_count, 8);
    let inserts = server.commands_named("insert");
    let sizes = inserts.iter().map(|it| it.documents("documents").len());
    assert_eq!(sizes.collect::<Vec<_>>(), [3, 3, 2]);
}

#[test]
fn each_batch_has_its_own_number_and_is_retried_as_it_is() {
    let set = ReplicaSet::builder("rs0").members(1).start();
    let client = Client::connect(&set.uri("")).unwrap();
    let things = client.database("db").collection::<Document>("things");
    let server = set.node(0);
    let cut = fail_command(1, &["insert"], doc! { "closeConnection": true });
    server.server().configure_fail_point(&cut);
    let documents = (0..4).map(|n| doc! { "n": n, "text": "x".repeat(100) });
    let inserted = things
        .insert_many(documents)
        .batch_bytes(200)
        .run()
        .unwrap();
    assert_eq!(inserted.inserted_count, 4);
    let inserts = server.server().commands_named("insert");
    let numbers = inserts.iter().map(|insert| {
        let number = insert.body.get_i64("txnNumber").unwrap();
        (insert.body.get_document("lsid").unwrap(), number)
    });
    let numbers: Vec<_> = numbers.collect();
    assert_eq!(numbers.len(), 3);
    assert_eq!(numbers[0], numbers[1], "a retry");
    assert_ne!(numbers[1], numbers[2], "the next batch");
    assert_eq!(inserts[0].sequences, inserts[1].sequences);
}

#[test]
fn the_error_of_insert_many_has_all_rejected_documents() {
    let (_server, things) = in_memory("");
    let ids = [1, 1, 2, 2, 3, 2];
    let documents = || {
        ids.iter()
            .map(|id| doc! { "_id": id, "text": "x".repeat(100) })
    };
    let error = things.insert_many(documents()).batch_bytes(200).run();
    let error = error.unwrap_err();
    let indexes = |error: &mongotls::Error| {
        let errors = &error.write_failure().unwrap().errors;
        errors.iter().map(|error| error.index).collect::<Vec<_>>()
    };
    assert_eq!(indexes(&error), [1], "an ordered insert ends");

    let (_server, things) = in_memory("");
    let insert = || {
        things
            .insert_many(documents())
            .batch_bytes(200)
            .ordered(false)
    };
    let error = insert().run().unwrap_err();
    assert_eq!(indexes(&error), [1, 3, 5]);
    assert!(error.is_duplicate_key());
    let partial = error.bulk_failure().unwrap().partial_result.as_ref();
    assert_eq!(partial.unwrap().inserted_count(), 3);
    let error = insert().keep_failures(2).run().unwrap_err();
    assert_eq!(indexes(&error), [0, 1]);
    assert_eq!(error.write_failure().unwrap().unlisted_errors, 4);
    assert!(error.to_string().ends_with("(and 5 more)"), "{error}");
}

#[test]
fn a_source_that_fails_ends_the_insert() {
    let (server, things) = in_memory("");
    let documents = (0..4).map(|id| match id {
        3 => Err(std::io::Error::other("the disk is gone")),
        _ => Ok(doc! { "_id": id, "text": "x".repeat(100) }),
    });
    let error = things.try_insert_many(documents).batch_bytes(200).run();
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert_eq!(error.to_string(), "document 3: the source failed");
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "the disk is gone");
    assert_eq!(error.write_failure().unwrap().stopped_at, Some(3));
    let partial = error.bulk_failure().unwrap().partial_result.as_ref();
    assert_eq!(partial.unwrap().inserted_count(), 2);
    assert_eq!(
        server.documents("db.things").len(),
        2,
        "the batch that was not full"
    );
}

#[test]
fn a_write_without_acknowledgment_waits_for_nothing() {
    let (server, things) = in_memory("maxPoolSize=1");
    let silent = || WriteConcern::default().w(0);
    let slow = doc! { "blockConnection": true, "blockTimeMS": 500 };
    server.configure_fail_point(&fail_command(1, &["insert"], slow));
    let start = std::time::Instant::now();
    let one = things.insert_one(doc! { "_id": 1 }).write_concern(silent());
    assert!(!one.run().unwrap().acknowledged);
    assert!(
        start.elapsed().as_millis() < 400,
        "it waited for the server"
    );
    let many = things.insert_many([doc! { "_id": 2 }, doc! { "_id": 3 }]);
    let many = many.write_concern(silent()).run().unwrap();
    assert_eq!((many.acknowledged, many.inserted_count), (false, 0));
    let deleted = things.delete_one(doc! { "_id": 3 }).write_concern(silent());
    let deleted = deleted.run().unwrap();
    assert_eq!((deleted.acknowledged, deleted.deleted_count), (false, 0));
    let updated = things.update_one(doc! {}, doc! { "$set": { "a": 1 } });
    assert!(!updated.write_concern(silent()).run().unwrap().acknowledged);
    let taken = things.find_one_and_delete(doc! {}).write_concern(silent());
    assert_eq!(taken.run().unwrap(), None);
    // The next command on the same connection gets its own answer.
    let ids: Vec<Document> = all(&things);
    assert_eq!(ids.len(), 2);
    let insert = &server.commands_named("insert")[0];
    assert_ne!(insert.flags & 2, 0, "moreToCome");
    for field in ["lsid", "txnNumber"] {
        assert!(!insert.body.contains_key(field), "{field}");
    }

    let session = things.client().start_session().run().unwrap();
    let insert = things.insert_one(doc! {}).write_concern(silent());
    let error = insert.session(&session).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("w: 0"), "{error}");
}

#[test]
fn a_hint_that_would_be_ignored_is_an_error() {
    for (version, is_error) in [(Version::V4_2, true), (Version::V8_2, false)] {
        let server = Server::builder().version(version).start();
        let client = plain_client(&server, "w=0");
        let things = client.database("db").collection::<Document>("things");
        let outcomes = [
            things.delete_one(doc! {}).hint("a").run().map(drop),
            things
                .find_one_and_delete(doc! {})
                .hint("a")
                .run()
                .map(drop),
        ];
        for outcome in outcomes {
            assert_eq!(outcome.is_err(), is_error);
            if let Err(error) = outcome {
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                assert!(error.to_string().contains("a hint"), "{error}");
            }
        }
        let update = doc! { "$set": { "a": 1 } };
        things.update_one(doc! {}, update).hint("a").run().unwrap();
    }
}

#[test]
fn crud_prose_1_write_concern_error_details_are_propagated() {
    let (server, things) = in_memory("");
    let concern = doc! {
        "code": 100, "codeName": "UnsatisfiableWriteConcern", "errmsg": "Not enough data-bearing nodes",
        "errInfo": { "writeConcern": { "w": 2, "wtimeout": 0, "provenance": "clientSupplied" } },
    };
    let details = concern.get_document("errInfo").unwrap().clone();
    let failure = doc! { "writeConcernError": &concern };
    server.configure_fail_point(&fail_command(1, &["insert"], failure));
    let error = things.insert_one(doc! { "x": 1 }).run().unwrap_err();
    let failure = error
        .write_failure()
        .unwrap()
        .concern_error
        .clone()
        .unwrap();
    assert_eq!((failure.code, failure.details), (100, Some(details)));
}

#[test]
fn crud_prose_2_write_error_details_are_propagated() {
    let Some((deployment, client, things)) = stored(Version::V8_2) else {
        return;
    };
    let create = doc! { "create": things.name(), "validator": { "x": { "$type": "string" } } };
    client.database("writes").run_command(create).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let store = Arc::clone(&seen);
    let client = observed(&deployment.uri(""), move |event| {
        if let Event::Command(CommandEvent::Succeeded(event)) = event {
            store.lock().unwrap().push(event.reply.clone());
        }
    });
    let things = client
        .database("writes")
        .collection::<Document>(things.name());
    let error = things.insert_one(doc! { "x": 1 }).run().unwrap_err();
    let failure = &error.write_failure().unwrap().errors[0];
    assert_eq!(failure.code, 121);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1, "a command with failed writes has succeeded");
    let reply = Document::try_from(seen[0].as_ref()).unwrap();
    let errors = reply.get_array("writeErrors").unwrap();
    let sent = errors[0].as_document().unwrap().get_document("errInfo");
    assert!(sent.is_ok(), "{reply}");
    assert_eq!(failure.details.as_ref(), sent.ok());
    assert_eq!(error.cause().unwrap().code().as_str(), "validation-failed");
}

/// A client that passes its events to `react`.
fn observed(uri: &str, react: impl Fn(&Event) + Send + Sync + 'static) -> Client {
    let builder = ConnectionString::parse(uri).unwrap().into_builder();
    Client::with_options(builder.event_listener(react).build().unwrap()).unwrap()
}

/// No server that the driver supports has this storage engine, so the bench answers as one did.
#[test]
fn retryable_writes_prose_1_a_deployment_without_retryable_writes_is_explained() {
    let old = "Transaction numbers are only allowed on a replica set member or mongos";
    let reply = doc! { "ok": 0.0, "code": 20, "codeName": "IllegalOperation", "errmsg": old };
    let insert = move |_: &Request| Some(reply.clone());
    let server = Server::builder().handle("insert", insert).start();
    let me = server.addr().to_string();
    server.set_hello(|hello| *hello = Hello::member(Role::Primary, "rs0", &me, &[&me]));
    let uri = format!("{}?replicaSet=rs0&retryWrites=true", server.uri());
    let client = Client::connect(&uri).unwrap();
    let things = client.database("db").collection::<Document>("things");
    let error = things.insert_one(doc! { "x": 1 }).run().unwrap_err();
    assert_eq!(error.command().unwrap().code, 20);
    let message = "This MongoDB deployment does not support retryable writes. Please add retryWrites=false to your \
                   connection string.";
    assert!(error.to_string().contains(message), "{error}");
    assert_eq!(server.count_of("insert"), 1);
}

#[test]
fn retryable_writes_prose_2_drivers_properly_retry_after_encountering_pool_cleared_errors() {
    let set = ReplicaSet::builder("rs0").members(1).start();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let store = Arc::clone(&seen);
    let client = observed(&set.uri("maxPoolSize=1"), move |event| {
        store.lock().unwrap().push(event.clone());
    });
    let things = client.database("db").collection::<Document>("things");
    things.insert_one(doc! {}).run().unwrap();
    seen.lock().unwrap().clear();
    let failure = doc! {
        "errorCode": 91, "blockConnection": true, "blockTimeMS": 1000, "errorLabels": ["RetryableWriteError"],
    };
    let fail_point = fail_command(1, &["insert"], failure);
    set.node(0).server().configure_fail_point(&fail_point);
    std::thread::scope(|scope| {
        let insert = || things.insert_one(doc! { "x": 1 }).run().map(drop);
        let threads = [scope.spawn(insert), scope.spawn(insert)];
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
    let seen = seen.lock().unwrap();
    let pool = seen.iter().filter_map(|event| match event {
        Event::Pool(event) => match &event.kind {
            PoolEventKind::ConnectionCheckedOut { .. } => Some("checked out"),
            PoolEventKind::Cleared { .. } => Some("cleared"),
            PoolEventKind::ConnectionCheckOutFailed { reason, .. } => {
                assert_eq!(*reason, ConnectionCheckOutFailedReason::ConnectionError);
                Some("failed")
            }
            _ => None,
        },
        _ => None,
    });
    let pool: Vec<_> = pool.take(3).collect();
    assert_eq!(pool, ["checked out", "cleared", "failed"]);
    let is_insert = |event: &&Event| match event {
        Event::Command(CommandEvent::Started(event)) => event.info.command_name == "insert",
        _ => false,
    };
    assert_eq!(seen.iter().filter(is_insert).count(), 3);
}

#[test]
fn retryable_writes_prose_3_the_original_error_is_returned_after_a_write_concern_error() {
    let set = ReplicaSet::builder("rs0").members(1).start();
    let node = set.node(0);
    let client = observed(&set.uri("retryWrites=true"), move |event| {
        let Event::Command(CommandEvent::Succeeded(event)) = event else {
            return;
        };
        if event.info.command_name == "insert" {
            let labels = ["RetryableWriteError", "NoWritesPerformed"];
            let next = doc! { "errorCode": 10107, "errorLabels": labels.to_vec() };
            node.server()
                .configure_fail_point(&fail_command(1, &["insert"], next));
        }
    });
    let concern = doc! { "code": 91, "errorLabels": ["RetryableWriteError"] };
    let first = fail_command(1, &["insert"], doc! { "writeConcernError": concern });
    set.node(0).server().configure_fail_point(&first);
    let things = client.database("db").collection::<Document>("things");
    let error = things.insert_one(doc! { "x": 1 }).run().unwrap_err();
    let failure = error.write_failure().unwrap();
    assert_eq!(failure.concern_error.as_ref().unwrap().code, 91);
    assert_eq!(error.written(), Written::Yes, "the first attempt was made");
}

/// The servers of the attempts to insert that failed, and of those that succeeded.
type Attempts = Arc<Mutex<[Vec<ServerAddress>; 2]>>;

/// A client of a sharded cluster that knows all its routers, and the servers of its inserts.
fn of_routers(cluster: &ShardedCluster, options: &str) -> (Client, Attempts) {
    let attempts = Attempts::default();
    let store = Arc::clone(&attempts);
    let client = observed(&cluster.uri(options), move |event| {
        let (index, info) = match event {
            Event::Command(CommandEvent::Failed(event)) => (0, &event.info),
            Event::Command(CommandEvent::Succeeded(event)) => (1, &event.info),
            _ => return,
        };
        if info.command_name == "insert" {
            store.lock().unwrap()[index].push(info.server.clone());
        }
    });
    // The other router can be chosen only after it has been discovered.
    let servers = || client.snapshot().topology.servers.clone();
    while servers()
        .values()
        .any(|server| server.server_type != ServerType::Mongos)
    {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    (client, attempts)
}

#[test]
fn retryable_writes_prose_4_writes_are_retried_on_a_different_router() {
    let cluster = ShardedCluster::start(2, NodeOptions::new());
    let (client, attempts) = of_routers(&cluster, "retryWrites=true&localThresholdMS=10000");
    for router in 0..2 {
        let failure = doc! { "errorCode": 6, "errorLabels": ["RetryableWriteError"] };
        let fail_point = fail_command(1, &["insert"], failure);
        cluster
            .node(router)
            .server()
            .configure_fail_point(&fail_point);
    }
    let things = client.database("db").collection::<Document>("things");
    let error = things.insert_one(doc! { "x": 1 }).run().unwrap_err();
    assert_eq!(error.command().unwrap().code, 6);
    let [failed, succeeded] = &*attempts.lock().unwrap();
    assert_eq!((failed.len(), succeeded.len()), (2, 0));
    assert_ne!(failed[0], failed[1]);
}

#[test]
fn retryable_writes_prose_5_writes_are_retried_on_the_same_router_without_others() {
    let cluster = ShardedCluster::start(1, NodeOptions::new());
    let (client, attempts) = of_routers(&cluster, "retryWrites=true&directConnection=false");
    let failure = doc! {
        "errorCode": 6, "errorLabels": ["RetryableWriteError"], "closeConnection": true,
    };
    let fail_point = fail_command(1, &["insert"], failure);
    cluster.node(0).server().configure_fail_point(&fail_point);
    let things = client.database("db").collection::<Document>("things");
    things.insert_one(doc! { "x": 1 }).run().unwrap();
    let [failed, succeeded] = &*attempts.lock().unwrap();
    assert_eq!((failed.len(), succeeded.len()), (1, 1));
    assert_eq!(failed[0], succeeded[0]);
}

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    super::expect_in_guide(include_str!("writes.rs"), 5);
}

#[test]
#[allow(clippy::print_stdout, reason = "as the guide shows it")]
fn the_examples_of_the_guide() -> Outcome {
    let Some((_deployment, _client, things)) = stored(Version::V8_2) else {
        return Ok(());
    };
    // example
    let id = things
        .insert_one(doc! { "name": "bolt", "count": 5 })
        .run()?
        .inserted_id;
    let result = things
        .update_one(doc! { "_id": id }, doc! { "$inc": { "count": 1 } })
        .run()?;
    assert_eq!((result.matched_count, result.modified_count), (1, 1));
    let nut = things
        .find_one_and_update(doc! { "name": "nut" }, doc! { "$set": { "count": 1 } })
        .upsert(true)
        .return_document(ReturnDocument::After)
        .run()?;
    assert_eq!(nut.unwrap().get_i32("count")?, 1);
    assert_eq!(things.delete_many(doc! {}).run()?.deleted_count, 2);
    // end
    // example
    let documents = (0..5000).map(|n| doc! { "n": n });
    let result = things.insert_many(documents).count_only().run()?;
    assert_eq!(result.inserted_count, 5000);
    // end
    // example
    let documents = [doc! { "_id": 1 }, doc! { "_id": 1 }, doc! { "_id": 2 }];
    if let Err(error) = things.insert_many(documents).ordered(false).run() {
        for failed in error.write_failure().iter().flat_map(|it| &it.errors) {
            println!("document {}: {}", failed.index, failed.message);
        }
        let failure = error.bulk_failure();
        let partial = failure.and_then(|failure| failure.partial_result.as_ref());
        assert_eq!(partial.map(|it| it.inserted_count()), Some(2));
    }
    // end
    // example
    things.insert_one(doc! { "_id": "a" }).run()?;
    match things.insert_one(doc! { "_id": "a" }).run() {
        Err(error) if error.is_duplicate_key() => {
            println!("it is there already: {:?}", error.duplicate_key());
        }
        outcome => drop(outcome?),
    }
    // end
    // example
    let silent = WriteConcern::default().w(0);
    let result = things
        .insert_one(doc! { "name": "log" })
        .write_concern(silent)
        .run()?;
    assert!(!result.acknowledged);
    // end
    Ok(())
}
