//! Explanations of writes: what is sent, to which server, and that nothing changes. Those of reads are in `reads.rs`.

use std::time::Duration;

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, doc};
use mongotls::options::{Hint, ReturnDocument, Verbosity, WriteConcern};
use mongotls::{Client, Collection, ErrorKind};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::replica_set::ReplicaSet;
use mongotls_testbench::server::{Server, ServerBuilder, Version};

use crate::common::plain_client;

/// A server that answers `explain`.
fn explaining() -> ServerBuilder {
    Server::builder().handle("explain", |_| {
        Some(doc! { "ok": 1.0, "queryPlanner": { "winningPlan": { "stage": "UPDATE" } } })
    })
}

/// The explanations of all writes, with all their options, and the commands that they explain.
fn all_writes(things: &Collection<Document>) -> Vec<(Result<Document, mongotls::Error>, Document)> {
    const HOW: Verbosity = Verbosity::ExecutionStats;
    let change = doc! { "$set": { "n": 1 } };
    let one = things.update_one(doc! { "a": 1 }, &change).upsert(true);
    let many = things.update_many(doc! { "a": 1 }, &change).hint("a_1");
    let replace = things.replace_one(doc! { "a": 1 }, doc! { "n": 2 });
    let take = things.find_one_and_delete(doc! { "a": 1 });
    let set = things.find_one_and_update(doc! { "a": 1 }, &change);
    let swap = things.find_one_and_replace(doc! { "a": 1 }, doc! { "n": 2 });
    vec![
        (
            one.let_vars(doc! { "v": 1 }).comment("why").explain(HOW),
            doc! { "update": "things", "updates": [{ "q": { "a": 1 }, "u": &change, "upsert": true }], "let": { "v": 1 }, "comment": "why" },
        ),
        (
            many.explain(HOW),
            doc! { "update": "things", "updates": [{ "q": { "a": 1 }, "u": &change, "multi": true, "hint": "a_1" }] },
        ),
        (
            replace.sort(doc! { "b": 1 }).explain(HOW),
            doc! { "update": "things", "updates": [{ "q": { "a": 1 }, "u": { "n": 2 }, "sort": { "b": 1 } }] },
        ),
        (
            things.delete_one(doc! { "a": 1 }).explain(HOW),
            doc! { "delete": "things", "deletes": [{ "q": { "a": 1 }, "limit": 1 }] },
        ),
        (
            things.delete_many(doc! { "a": 1 }).explain(HOW),
            doc! { "delete": "things", "deletes": [{ "q": { "a": 1 }, "limit": 0 }] },
        ),
        (
            take.sort(doc! { "b": 1 }).explain(HOW),
            doc! { "findAndModify": "things", "query": { "a": 1 }, "remove": true, "sort": { "b": 1 } },
        ),
        (
            set.return_document(ReturnDocument::After).explain(HOW),
            doc! { "findAndModify": "things", "query": { "a": 1 }, "update": &change, "new": true },
        ),
        (
            swap.hint(Hint::Keys(doc! { "a": 1 })).explain(HOW),
            doc! { "findAndModify": "things", "query": { "a": 1 }, "update": { "n": 2 }, "hint": { "a": 1 } },
        ),
    ]
}

#[test]
fn an_explanation_has_the_command_of_the_write_and_no_concerns() {
    let server = explaining().start();
    let options = "readConcernLevel=majority&w=majority&retryWrites=true";
    let client = plain_client(&server, options);
    let things = client.database("db").collection::<Document>("things");
    let explained = all_writes(&things);
    let sent = server.commands_named("explain");
    assert_eq!((sent.len(), explained.len()), (8, 8));
    for ((outcome, expected), request) in explained.into_iter().zip(sent) {
        let plan = outcome.unwrap();
        assert!(plan.contains_key("queryPlanner"));
        let mut body = request.body;
        body.remove("lsid");
        let expected = doc! { "explain": expected, "verbosity": "executionStats", "$db": "db" };
        assert_eq!(
            body, expected,
            "no concern, and no number of a retryable write"
        );
    }
}

#[test]
fn an_explanation_of_a_write_without_acknowledgment_is_answered() {
    let server = explaining().start();
    let client = plain_client(&server, "w=0");
    let things = client.database("db").collection::<Document>("things");
    for (outcome, _) in all_writes(&things) {
        assert!(outcome.unwrap().contains_key("queryPlanner"));
    }
    let session = client.start_session().run().unwrap();
    let silent = WriteConcern::default().w(0);
    let deletion = things.delete_one(doc! {}).write_concern(silent);
    deletion
        .session(&session)
        .explain(Verbosity::QueryPlanner)
        .unwrap();
    let with_concern = |request: &mongotls_testbench::server::Request| {
        request.body.contains_key("writeConcern") || request.flags != 0
    };
    assert!(!server.commands_named("explain").iter().any(with_concern));
}

#[test]
fn an_explanation_of_a_write_comes_from_the_primary() {
    let set = ReplicaSet::builder("rs0").members(2).start();
    let client = Client::connect(&set.uri("readPreference=secondary")).unwrap();
    let things = client.database("db").collection::<Document>("things");
    let verbosity = Verbosity::QueryPlanner;
    things.delete_one(doc! {}).explain(verbosity).unwrap();
    things.find(doc! {}).explain(verbosity).unwrap();
    let explained = |node: usize| {
        let sent = set.node(node).server().commands_named("explain");
        let sent = sent.iter().map(|sent| sent.body.get_document("explain"));
        let names = sent.map(|explained| explained.unwrap().keys().next().cloned());
        names.collect::<Vec<_>>()
    };
    let primary = set.primary().unwrap();
    assert_eq!(explained(primary), [Some("delete".to_owned())]);
    assert_eq!(explained(1 - primary), [Some("find".to_owned())]);
}

#[test]
fn max_time_limits_the_explanation_and_timeout_ms_replaces_it() {
    let server = explaining().start();
    let limit = Duration::from_millis(2000);
    let plain = plain_client(&server, "");
    let limited = plain_client(&server, "timeoutMS=60000");
    for (client, least, most) in [(&plain, 2000, 2000), (&limited, 30_000, 60_000)] {
        server.forget_commands();
        let things = client.database("db").collection::<Document>("things");
        let verbosity = Verbosity::QueryPlanner;
        let change = things.find_one_and_delete(doc! {}).max_time(limit);
        change.explain(verbosity).unwrap();
        let find = things.find(doc! {}).max_time(limit);
        find.explain(verbosity).unwrap();
        for request in server.commands_named("explain") {
            let of_server = request.body.get_i64("maxTimeMS").unwrap();
            assert!((least..=most).contains(&of_server), "{of_server}");
            let explained = request.body.get_document("explain").unwrap();
            assert!(!explained.contains_key("maxTimeMS"), "{explained}");
        }
    }
    server.forget_commands();
    let things = limited.database("db").collection::<Document>("things");
    // `timeout` of the action counts, too.
    let things = things.update_one(doc! {}, doc! { "$set": { "a": 1 } });
    let things = things.timeout(Duration::from_secs(20));
    things.explain(Verbosity::QueryPlanner).unwrap();
    let sent = server.commands_named("explain");
    let of_server = sent[0].body.get_i64("maxTimeMS").unwrap();
    assert!((10_000..=20_000).contains(&of_server), "{of_server}");
}

/// The number of times that a field occurs in a document. A decoded document has each field once.
fn occurrences(bytes: &[u8], field: &str) -> usize {
    let field = [field.as_bytes(), &[0]].concat();
    bytes
        .windows(field.len())
        .filter(|part| *part == field)
        .count()
}

#[test]
fn a_command_has_only_one_time_limit() {
    use std::sync::{Arc, Mutex};

    use mongotls::ConnectionString;
    use mongotls::event::{CommandEvent, Event};
    let server = Server::builder().start();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let store = Arc::clone(&seen);
    let uri = format!("{}?timeoutMS=60000", server.uri());
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let listen = move |event: &Event| {
        if let Event::Command(CommandEvent::Started(event)) = event {
            let name = event.info.command_name.clone();
            store.lock().unwrap().push((name, event.command.clone()));
        }
    };
    let options = builder.event_listener(listen).build().unwrap();
    let client = Client::with_options(options).unwrap();
    let things = client.database("db").collection::<Document>("things");
    let limit = Duration::from_millis(2000);
    things.find_one(doc! {}).max_time(limit).run().unwrap();
    let all = things.find(doc! {}).max_time(limit).sort(doc! { "a": 1 });
    assert_eq!(all.run().unwrap().count(), 0);
    let count = things.estimated_document_count().max_time(limit);
    assert_eq!(count.run().unwrap(), 0);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    for (name, command) in &*seen {
        assert_eq!(occurrences(command.as_bytes(), "maxTimeMS"), 1, "{name}");
        assert!(command.get_i64("maxTimeMS").unwrap() > 2000);
    }
    assert!(
        seen[1].1.get("sort").unwrap().is_some(),
        "other options stay"
    );
}

#[test]
fn a_wrong_argument_is_not_explained() {
    let server = explaining().start();
    let client = plain_client(&server, "");
    let things = client.database("db").collection::<Document>("things");
    let update = things.update_one(doc! {}, doc! { "n": 1 });
    let replacement = things.replace_one(doc! {}, doc! { "$set": { "n": 1 } });
    for explained in [
        update.explain(Verbosity::QueryPlanner),
        replacement.explain(Verbosity::QueryPlanner),
    ] {
        assert_eq!(explained.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(server.count_of("explain"), 0);
}

#[test]
fn an_explained_write_changes_nothing() {
    let Some(secantus) = or_skip(Secantus::shared()) else {
        return;
    };
    let backend = secantus.backend();
    let deployment = Deployment::start(Topology::ReplicaSet, Version::V8_2, &backend);
    let client = Client::connect(&deployment.uri("")).unwrap();
    let name = ObjectId::new().to_hex();
    let things = client.database("explaining").collection::<Document>(&name);
    let thing = doc! { "_id": 1, "a": 1 };
    things.insert_one(&thing).run().unwrap();
    for (outcome, command) in all_writes(&things) {
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::Command, "{command}: {error}");
        }
    }
    assert_eq!(things.find_one(doc! {}).run().unwrap(), Some(thing));
    assert_eq!(things.count_documents(doc! {}).run().unwrap(), 1);
}
