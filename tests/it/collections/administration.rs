//! The administration of collections, databases and indexes.

use std::collections::BTreeSet;

use mongotls::bson::{Bson, Document, doc, oid::ObjectId};
use mongotls::error::ErrorKind;
use mongotls::options::{
    ChangeStreamPreAndPostImages, ClusteredIndex, TimeseriesOptions, ValidationAction,
    ValidationLevel,
};
use mongotls::{Client, Database, IndexModel, SearchIndexModel, SearchIndexType};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::server::{Server, Version};

use crate::common::plain_client;

/// A database of its own on a store.
fn database() -> Option<(Deployment, Database)> {
    let backend = or_skip(Secantus::shared())?.backend();
    let deployment = Deployment::start(Topology::Single, Version::V8_2, &backend);
    let client = Client::connect(&deployment.uri("")).unwrap();
    let database = client.database(&ObjectId::new().to_hex());
    Some((deployment, database))
}

fn set(names: Vec<String>) -> BTreeSet<String> {
    names.into_iter().collect()
}

#[test]
fn indexes_are_created_listed_and_dropped() {
    let Some((_deployment, database)) = database() else {
        return;
    };
    let things = database.collection::<Document>("things");
    let by_kind = IndexModel::new(doc! { "kind": 1, "n": -1 });
    let created = things.create_index(by_kind).run().unwrap();
    assert_eq!(created.index_name, "kind_1_n_-1");
    let more = [
        IndexModel::new(doc! { "name": 1 }).unique(true),
        IndexModel::new(doc! { "seen": 1 }).with_name("by-time"),
    ];
    let created = things.create_indexes(more).run().unwrap();
    assert_eq!(created.index_names, ["name_1", "by-time"]);
    let names = || set(things.list_index_names().run().unwrap());
    let expected =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|it| (*it).to_owned()).collect() };
    assert_eq!(
        names(),
        expected(&["_id_", "kind_1_n_-1", "name_1", "by-time"])
    );
    let listed = things.list_indexes().batch_size(1).run().unwrap();
    let unique = listed
        .map(Result::unwrap)
        .find(|it| it.get_str("name").ok() == Some("name_1"));
    assert_eq!(unique.unwrap().get_bool("unique").ok(), Some(true));
    things.drop_index("by-time").run().unwrap();
    things.drop_index(doc! { "name": 1 }).run().unwrap();
    assert_eq!(names(), expected(&["_id_", "kind_1_n_-1"]));
    let error = things.drop_index("*").run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        error.to_string(),
        "the index \"*\" means all indexes: use drop_indexes"
    );
    things.drop_indexes().run().unwrap();
    assert_eq!(names(), expected(&["_id_"]));
}

#[test]
fn collections_and_databases_are_created_listed_and_dropped() {
    let Some((deployment, database)) = database() else {
        return;
    };
    database
        .create_collection("log")
        .capped(true)
        .size(4096)
        .run()
        .unwrap();
    database.create_collection("things").run().unwrap();
    // With other options than before.
    let error = database.create_collection("log").run().unwrap_err();
    assert_eq!(error.command().unwrap().code, 48);
    let names = || set(database.list_collection_names().run().unwrap());
    assert_eq!(names(), set(vec!["log".to_owned(), "things".to_owned()]));
    let capped = doc! { "options.capped": true };
    let found = database
        .list_collection_names()
        .filter(capped.clone())
        .run();
    assert_eq!(found.unwrap(), ["log"]);
    let listed = database.list_collections().filter(capped).run().unwrap();
    let listed: Vec<Document> = listed.map(Result::unwrap).collect();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        listed[0]
            .get_document("options")
            .unwrap()
            .get_bool("capped")
            .ok(),
        Some(true)
    );
    let sent = deployment.nodes()[0]
        .server()
        .commands_named("listCollections");
    let name_only: Vec<bool> = sent
        .iter()
        .map(|it| it.body.contains_key("nameOnly"))
        .collect();
    assert_eq!(name_only, [true, false, false]);

    let things = database.collection::<Document>("things");
    things.insert_one(doc! { "_id": 1 }).run().unwrap();
    things.rename("parts").run().unwrap();
    assert_eq!(names(), set(vec!["log".to_owned(), "parts".to_owned()]));
    let parts = database.collection::<Document>("parts");
    assert_eq!(parts.count_documents(doc! {}).run().unwrap(), 1);

    let client = database.client();
    let own = || doc! { "name": database.name() };
    assert_eq!(
        client.list_database_names().filter(own()).run().unwrap(),
        [database.name()]
    );
    let listed = client.list_databases().filter(own()).run().unwrap();
    assert_eq!(listed[0].name, database.name());

    parts.drop().run().unwrap();
    parts.drop().run().unwrap();
    assert_eq!(names(), set(vec!["log".to_owned()]));
    database.drop().run().unwrap();
    database.drop().run().unwrap();
    assert!(names().is_empty());
}

/// A server that accepts each of these commands.
fn server_of(commands: &[&str]) -> (Server, Client) {
    let mut server = Server::builder();
    for command in commands {
        server = server.handle(command, |_| Some(doc! { "ok": 1 }));
    }
    let server = server.start();
    let client = plain_client(&server, "w=majority&readConcernLevel=majority");
    (server, client)
}

/// The command without the fields of the session and of the envelope.
fn sent(server: &Server, name: &str) -> Document {
    let mut body = server.commands_named(name).pop().unwrap().body;
    for field in ["lsid", "$db", "$clusterTime"] {
        body.remove(field);
    }
    body
}

#[test]
fn options_are_fields_of_the_commands() {
    let (server, client) = server_of(&["create", "collMod", "renameCollection", "dropDatabase"]);
    let shop = client.database("shop");
    let majority = || doc! { "w": "majority" };
    let images = ChangeStreamPreAndPostImages::new(true);
    let create = shop
        .create_collection("things")
        .validator(doc! { "n": { "$gt": 0 } })
        .validation_level(ValidationLevel::Moderate)
        .validation_action(ValidationAction::Warn)
        .change_stream_pre_and_post_images(images)
        .clustered_index(ClusteredIndex::default())
        .expire_after_seconds(std::time::Duration::from_secs(60));
    create.run().unwrap();
    let expected = doc! {
        "create": "things", "validator": { "n": { "$gt": 0 } }, "validationLevel": "moderate",
        "validationAction": "warn", "changeStreamPreAndPostImages": { "enabled": true },
        "clusteredIndex": { "key": { "_id": 1 }, "unique": true }, "expireAfterSeconds": 60_i64,
        "writeConcern": majority(),
    };
    assert_eq!(sent(&server, "create"), expected);
    let view = shop.create_collection("bolts").view_on("things");
    view.pipeline([doc! { "$match": { "kind": "bolt" } }])
        .run()
        .unwrap();
    let expected = doc! {
        "create": "bolts", "viewOn": "things", "pipeline": [{ "$match": { "kind": "bolt" } }],
        "writeConcern": majority(),
    };
    assert_eq!(sent(&server, "create"), expected);
    let readings = shop.create_collection("readings");
    readings
        .timeseries(TimeseriesOptions::new("at"))
        .run()
        .unwrap();
    let series = doc! { "timeField": "at" };
    assert_eq!(
        sent(&server, "create").get_document("timeseries").ok(),
        Some(&series)
    );
    let hidden = doc! { "name": "a_1", "hidden": true };
    shop.modify_collection("things")
        .index(hidden.clone())
        .run()
        .unwrap();
    let expected = doc! { "collMod": "things", "index": hidden, "writeConcern": majority() };
    assert_eq!(sent(&server, "collMod"), expected);
    let things = shop.collection::<Document>("things");
    things.rename("parts").drop_target(true).run().unwrap();
    let expected = doc! {
        "renameCollection": "shop.things", "to": "shop.parts", "dropTarget": true, "writeConcern": majority(),
    };
    let rename = server.commands_named("renameCollection").pop().unwrap();
    assert_eq!(
        (sent(&server, "renameCollection"), &*rename.database),
        (expected, "admin")
    );
    shop.drop().run().unwrap();
    let expected = doc! { "dropDatabase": 1, "writeConcern": majority() };
    assert_eq!(sent(&server, "dropDatabase"), expected);
}

#[test]
fn commands_of_search_indexes_have_no_concerns() {
    let created = doc! { "ok": 1, "indexesCreated": [{ "id": "1", "name": "by-text" }] };
    let empty = doc! { "ok": 1, "cursor": { "id": 0_i64, "ns": "shop.things", "firstBatch": [] } };
    let missing =
        doc! { "ok": 0, "code": 26, "codeName": "NamespaceNotFound", "errmsg": "no collection" };
    let server = Server::builder()
        .handle("createSearchIndexes", move |_| Some(created.clone()))
        .handle("updateSearchIndex", |_| Some(doc! { "ok": 1 }))
        .handle("dropSearchIndex", move |_| Some(missing.clone()))
        .handle("aggregate", move |_| Some(empty.clone()))
        .start();
    let client = plain_client(&server, "w=majority&readConcernLevel=majority");
    let things = client.database("shop").collection::<Document>("things");
    let definition = doc! { "mappings": { "dynamic": true } };
    let model = SearchIndexModel::new(definition.clone())
        .name("by-text")
        .index_type(SearchIndexType::Search);
    assert_eq!(things.create_search_index(model).run().unwrap(), "by-text");
    let index = doc! { "definition": definition.clone(), "name": "by-text", "type": "search" };
    let expected = doc! { "createSearchIndexes": "things", "indexes": [index] };
    assert_eq!(sent(&server, "createSearchIndexes"), expected);
    things
        .update_search_index("by-text", definition.clone())
        .run()
        .unwrap();
    let expected =
        doc! { "updateSearchIndex": "things", "name": "by-text", "definition": definition };
    assert_eq!(sent(&server, "updateSearchIndex"), expected);
    things.drop_search_index("by-text").run().unwrap();
    let expected = doc! { "dropSearchIndex": "things", "name": "by-text" };
    assert_eq!(sent(&server, "dropSearchIndex"), expected);
    assert_eq!(
        things
            .list_search_indexes()
            .name("by-text")
            .run()
            .unwrap()
            .count(),
        0
    );
    let expected = doc! {
        "aggregate": "things", "pipeline": [{ "$listSearchIndexes": { "name": "by-text" } }], "cursor": {},
    };
    assert_eq!(sent(&server, "aggregate"), expected);
}

#[test]
fn a_commit_quorum_needs_a_server_that_has_it() {
    let (server, client) = server_of(&["createIndexes"]);
    let things = client.database("shop").collection::<Document>("things");
    let create = || {
        things
            .create_index(IndexModel::new(doc! { "a": 1 }))
            .commit_quorum("majority")
    };
    create().run().unwrap();
    let quorum = sent(&server, "createIndexes").remove("commitQuorum");
    assert_eq!(quorum, Some(Bson::from("majority")));

    let old = Server::builder()
        .version(Version::V4_2)
        .handle("createIndexes", |_| Some(doc! { "ok": 1 }))
        .start();
    let client = plain_client(&old, "");
    let things = client.database("shop").collection::<Document>("things");
    let model = IndexModel::new(doc! { "a": 1 });
    let error = things
        .create_index(model)
        .commit_quorum(1)
        .run()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(old.count_of("createIndexes"), 0);
}
