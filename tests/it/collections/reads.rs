//! Reads of collections and databases: results and their types, decode errors, and aggregations that write.

use std::time::Duration;

use mongotls::bson::{Bson, Document, doc, oid::ObjectId};
use mongotls::error::ErrorKind;
use mongotls::options::{
    CursorTimeoutMode, ReadConcern, ReadPreference, ReadPreferenceMode, Verbosity, WriteConcern,
};
use mongotls::{Client, Collection};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::server::{Request, Server, Version, fail_command};
use serde::Deserialize;

use crate::common::plain_client;
use crate::things::{Thing, with_things};

/// A deployment on a store, and a collection of its own with three documents.
struct Store {
    deployment: Deployment,
    things: Collection<Document>,
}

impl Store {
    fn new(topology: Topology, version: Version, options: &str) -> Option<Self> {
        let backend = or_skip(Secantus::shared())?.backend();
        let deployment = Deployment::start(topology, version, &backend);
        let client = Client::connect(&deployment.uri(options)).unwrap();
        let name = ObjectId::new().to_hex();
        let things = client.database("reads").collection::<Document>(&name);
        for (id, kind) in [(1, "bolt"), (2, "nut"), (3, "bolt")] {
            let thing = doc! { "_id": id, "kind": kind };
            things.insert_one(thing).run().unwrap();
        }
        Some(Self { deployment, things })
    }

    /// The aggregations that the servers have received, each with the index of its server.
    fn aggregations(&self) -> Vec<(usize, Request)> {
        let nodes = self.deployment.nodes();
        let of_node = |(index, node): (usize, &std::sync::Arc<_>)| {
            let node: &mongotls_testbench::node::Node = node;
            let commands = node.server().commands_named("aggregate").into_iter();
            commands
                .map(move |command| (index, command))
                .collect::<Vec<_>>()
        };
        nodes.iter().enumerate().flat_map(of_node).collect()
    }
}

#[test]
fn documents_are_aggregated_and_counted() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Group {
        #[serde(rename = "_id")]
        kind: String,
        n: i32,
    }
    let Some(store) = Store::new(Topology::Single, Version::V8_2, "") else {
        return;
    };
    let stages = [
        doc! { "$group": { "_id": "$kind", "n": { "$sum": 1 } } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let groups = store.things.aggregate(stages).with_type::<Group>();
    let groups: Vec<Group> = groups.run().unwrap().map(Result::unwrap).collect();
    let group = |kind: &str, n| Group {
        kind: kind.to_owned(),
        n,
    };
    assert_eq!(groups, [group("bolt", 2), group("nut", 1)]);

    let count = |filter: Document| store.things.count_documents(filter);
    assert_eq!(count(doc! {}).run().unwrap(), 3);
    assert_eq!(count(doc! { "kind": "bolt" }).skip(1).run().unwrap(), 1);
    assert_eq!(count(doc! {}).limit(2).run().unwrap(), 2);
    assert_eq!(count(doc! { "kind": "screw" }).run().unwrap(), 0);
    assert_eq!(store.things.estimated_document_count().run().unwrap(), 3);

    let mut kinds = store.things.distinct("kind", doc! {}).with_type::<String>();
    kinds = kinds.comment("kinds");
    assert_eq!(kinds.run().unwrap(), ["bolt", "nut"]);
    let ids = store.things.distinct("_id", doc! { "_id": { "$lt": 3 } });
    assert_eq!(ids.run().unwrap(), [Bson::Int32(1), Bson::Int32(2)]);
    let error = store
        .things
        .distinct("kind", doc! {})
        .with_type::<i32>()
        .run();
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bson);
    let message = error.to_string();
    assert!(
        message.ends_with("0: expected i32, found string"),
        "{message}"
    );
}

#[test]
fn the_pipeline_of_a_database_has_no_collection() {
    let reply = doc! { "ok": 1, "cursor": { "id": 0_i64, "ns": "db.$cmd.aggregate", "firstBatch": [{ "x": 1 }] } };
    let server = Server::builder()
        .handle("aggregate", move |_| Some(reply.clone()))
        .start();
    let client = plain_client(&server, "");
    let stages = vec![doc! { "$documents": [{ "x": 1 }] }];
    let found = client
        .database("db")
        .aggregate(stages.clone())
        .run()
        .unwrap();
    let found: Vec<Document> = found.map(Result::unwrap).collect();
    assert_eq!(found, [doc! { "x": 1 }]);
    let sent = &server.commands_named("aggregate")[0].body;
    assert_eq!(sent.get("aggregate"), Some(&Bson::Int32(1)));
    assert_eq!(sent.get("pipeline"), Some(&Bson::from(stages)));
    assert_eq!(sent.get_document("cursor").ok(), Some(&doc! {}));
}

#[test]
fn values_are_borrowed_from_the_batch_and_a_wrong_document_ends_nothing() {
    #[derive(Deserialize)]
    struct Borrowed<'a> {
        name: &'a str,
    }
    let (_server, client) = with_things(3, "");
    let things = client.database("db").collection::<Document>("things");
    let mut cursor = things.find(doc! {}).batch_size(2).run().unwrap();
    let mut names = Vec::new();
    while let Some(thing) = cursor.next_as::<Borrowed<'_>>().unwrap() {
        names.push(thing.name.to_owned());
    }
    assert_eq!(names, ["thing 0", "thing 1", "thing 2"]);

    things
        .insert_one(doc! { "_id": 5, "name": { "first": 1 } })
        .run()
        .unwrap();
    things
        .insert_one(doc! { "_id": 6, "name": "last" })
        .run()
        .unwrap();
    let typed = things.clone_with_type::<Thing>();
    let mut cursor = typed.find(doc! {}).run().unwrap().skip(3);
    let error = cursor.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bson);
    let type_name = std::any::type_name::<Thing>();
    let expected = format!(
        "document 3 (_id: 5) is not a {type_name}: name: expected a string, found document"
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(cursor.next().unwrap().unwrap().name, "last");
    let error = typed.find_one(doc! { "_id": 5 }).run().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the document (_id: 5) is not a ")
    );
}

#[test]
fn an_aggregation_that_writes_is_a_write() {
    let Some(store) = Store::new(Topology::ReplicaSet, Version::V8_2, "") else {
        return;
    };
    let merge = || {
        let stages = [doc! { "$match": {} }, doc! { "$out": "copy" }];
        let aggregate = store.things.aggregate(stages).batch_size(0);
        aggregate
            .read_concern(ReadConcern::majority())
            .write_concern(WriteConcern::majority())
    };
    assert_eq!(merge().run().unwrap().count(), 0);
    let sent = store.aggregations();
    let body = &sent[0].1.body;
    assert_eq!(body.get_document("cursor").ok(), Some(&doc! {}));
    assert_eq!(
        body.get_document("writeConcern").ok(),
        Some(&doc! { "w": "majority" })
    );
    let level = body.get_document("readConcern").unwrap().get_str("level");
    assert_eq!(level.ok(), Some("majority"));
    assert!(!body.contains_key("txnNumber"));

    let limit = Duration::from_secs(10);
    let iteration = merge()
        .timeout(limit)
        .timeout_mode(CursorTimeoutMode::Iteration);
    let error = iteration.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        error.to_string(),
        "an aggregation with $out or $merge has no timeout for each iteration"
    );
    assert_eq!(store.aggregations().len(), 1);

    let fail = |failure: Document| {
        let command = fail_command(1, &["aggregate"], failure);
        for node in store.deployment.nodes() {
            node.server().configure_fail_point(&command);
        }
    };
    fail(doc! { "closeConnection": true });
    assert_eq!(merge().run().unwrap_err().kind(), ErrorKind::Network);
    assert_eq!(store.aggregations().len(), 2, "it is not retried");
    store.deployment.clear_fail_points();
    fail(
        doc! { "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } },
    );
    let error = merge().run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Write);
    let concern = error.write_failure().unwrap().concern_error.as_ref();
    assert_eq!(concern.unwrap().code, 64);
}

#[test]
fn an_aggregation_that_writes_runs_on_a_secondary_from_5_0_on() {
    for (version, on_primary) in [(Version::V4_2, true), (Version::V7_0, false)] {
        let Some(store) = Store::new(Topology::ReplicaSet, version, "") else {
            return;
        };
        let secondary = ReadPreference::new(ReadPreferenceMode::Secondary);
        let stages = [doc! { "$match": {} }, doc! { "$out": "copy" }];
        // The store rejects a write on a secondary, or not: only the choice of the server counts.
        let _ = store
            .things
            .aggregate(stages)
            .read_preference(secondary)
            .run();
        let sent = store.aggregations();
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].0 == 0), on_primary, "{version:?}");
        assert_eq!(sent[0].1.body.contains_key("$readPreference"), !on_primary);
    }
}

#[test]
fn a_comment_is_repeated_only_for_servers_that_accept_it() {
    for (wire_version, repeated) in [(8, false), (9, true)] {
        let (server, _) = with_things(3, "");
        server.set_hello(|hello| hello.max_wire_version = wire_version);
        let client = Client::connect(&server.uri()).unwrap();
        let things = client.database("db").collection::<Document>("things");
        let found = things.find(doc! {}).batch_size(2).comment("report");
        assert_eq!(found.run().unwrap().count(), 3);
        let sent = |name: &str| server.commands_named(name)[0].body.contains_key("comment");
        assert_eq!((sent("find"), sent("getMore")), (true, repeated));
    }
}

#[test]
fn crud_prose_14_an_explanation_has_its_own_time_limit() {
    let server = Server::builder()
        .handle("explain", |_| {
            Some(doc! { "ok": 1, "queryPlanner": { "x": 1 } })
        })
        .start();
    let client = plain_client(&server, "readConcernLevel=majority");
    let things = client.database("db").collection::<Document>("things");
    let limit = Duration::from_millis(2000);
    let verbosity = Verbosity::QueryPlanner;
    let find = things.find(doc! { "name": "john doe" }).limit(3);
    let plan = find.max_time(limit).explain(verbosity).unwrap();
    assert_eq!(
        plan.get_document("queryPlanner").ok(),
        Some(&doc! { "x": 1 })
    );
    let count = things.count_documents(doc! {}).max_time(limit);
    count.explain(verbosity).unwrap();
    let group = doc! { "$group": { "_id": 1, "n": { "$sum": 1 } } };
    let expected = [
        doc! { "find": "things", "filter": { "name": "john doe" }, "limit": 3_i64 },
        doc! { "aggregate": "things", "pipeline": [{ "$match": {} }, group], "cursor": {} },
    ];
    for (request, explained) in server.commands_named("explain").iter().zip(expected) {
        let body = &request.body;
        assert_eq!(body.get_document("explain").ok(), Some(&explained));
        assert_eq!(body.get_str("verbosity").ok(), Some("queryPlanner"));
        assert_eq!(body.get_i64("maxTimeMS").ok(), Some(2000));
        assert!(!body.contains_key("readConcern"));
    }
    assert_eq!(server.count_of("explain"), 2);
}
