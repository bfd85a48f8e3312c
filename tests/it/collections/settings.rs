//! Read concern, write concern and read preference: of the client, a database, a collection and an action.

use mongotls::IndexModel;
use mongotls::bson::{Bson, Document, doc};
use mongotls::error::ErrorKind;
use mongotls::options::{
    CollectionOptions, DatabaseOptions, ReadConcern, ReadPreference, ReadPreferenceMode,
    WriteConcern,
};
use mongotls_testbench::server::{Hello, Server};

use crate::common::plain_client;

#[test]
fn the_nearest_level_sets_them() {
    let server = Server::builder().hello(Hello::mongos()).start();
    let client = plain_client(
        &server,
        "w=majority&readConcernLevel=local&readPreference=nearest",
    );
    let of_database = DatabaseOptions::default()
        .write_concern(WriteConcern::default().w(2))
        .read_concern(ReadConcern::available())
        .read_preference(ReadPreference::new(ReadPreferenceMode::Secondary));
    let of_collection = CollectionOptions::default()
        .write_concern(WriteConcern::default().journal(true))
        .read_concern(ReadConcern::majority())
        .read_preference(ReadPreference::new(ReadPreferenceMode::SecondaryPreferred));
    let shop = client.database("shop");
    let other = client.database_with_options("shop", of_database);
    let handles = [
        (
            shop.collection::<Document>("a"),
            doc! { "w": "majority" },
            "local",
            "nearest",
        ),
        (
            other.collection("a"),
            doc! { "w": 2 },
            "available",
            "secondary",
        ),
        (
            other.collection_with_options("a", of_collection),
            doc! { "j": true },
            "majority",
            "secondaryPreferred",
        ),
    ];
    for (collection, write, level, mode) in handles {
        server.forget_commands();
        collection.insert_one(doc! {}).run().unwrap();
        collection.find(doc! {}).run().unwrap();
        let insert = &server.commands_named("insert")[0].body;
        assert_eq!(insert.get_document("writeConcern").ok(), Some(&write));
        assert!(!insert.contains_key("readConcern"));
        assert!(!insert.contains_key("$readPreference"));
        let find = &server.commands_named("find")[0].body;
        assert_eq!(
            find.get_document("readConcern").ok(),
            Some(&doc! { "level": level })
        );
        let preference = find.get_document("$readPreference").unwrap();
        assert_eq!(preference.get_str("mode").ok(), Some(mode));
        assert!(!find.contains_key("writeConcern"));
        assert_eq!(collection.selection_criteria().mode.as_str(), mode);
    }
    server.forget_commands();
    let things = other.collection::<Document>("a");
    let own = things.find(doc! {}).read_concern(ReadConcern::default());
    own.selection_criteria(ReadPreference::default())
        .run()
        .unwrap();
    let find = &server.commands_named("find")[0].body;
    assert!(!find.contains_key("readConcern") && !find.contains_key("$readPreference"));
}

#[test]
fn commands_of_the_program_are_sent_as_they_are() {
    let server = Server::builder().hello(Hello::mongos()).start();
    let client = plain_client(
        &server,
        "w=majority&readConcernLevel=majority&readPreference=nearest",
    );
    let find = doc! { "find": "a", "filter": {} };
    client.database("shop").run_command(find).unwrap();
    let sent = &server.commands_named("find")[0].body;
    for field in ["readConcern", "writeConcern", "$readPreference"] {
        assert!(!sent.contains_key(field), "{sent}");
    }
}

#[test]
fn an_unacknowledged_change_cannot_run_in_a_session() {
    let server = Server::builder().start();
    let client = plain_client(&server, "w=0");
    let session = client.start_session().run().unwrap();
    let shop = client.database("shop").within(&session);
    let things = shop.collection::<Document>("things");
    let stages = [doc! { "$out": "copy" }];
    for outcome in [
        things.aggregate(stages).run().map(drop),
        things.drop().run(),
        shop.create_collection("things").run(),
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(
            error.to_string(),
            "an unacknowledged write cannot run in a session"
        );
    }
    assert_eq!(server.count_of("drop"), 0);
}

/// The commands that all operations with a read concern or a write concern send. The server does not have to know them.
fn concerns_of_all_commands(options: &str) -> Vec<(String, Option<Bson>, Option<Bson>)> {
    let server = Server::builder().start();
    let client = plain_client(&server, options);
    let shop = client.database("shop");
    let things = shop.collection::<Document>("things");
    let set = doc! { "$set": { "a": 1 } };
    let mut bulk = things.bulk();
    bulk.insert_one(doc! { "a": 1 });
    let out = [doc! { "$out": "copy" }];
    let none = || doc! {};
    let _ = (
        things.find(none()).run().map(drop),
        things.aggregate([doc! { "$match": {} }]).run().map(drop),
        things.estimated_document_count().run(),
        things.distinct("a", none()).run().map(drop),
        things.aggregate(out).run().map(drop),
        things.insert_one(doc! { "a": 1 }).run().map(drop),
        things.insert_many([doc! { "a": 1 }]).run().map(drop),
        things.update_one(none(), &set).run().map(drop),
        things.delete_one(none()).run().map(drop),
        things.find_one_and_delete(none()).run().map(drop),
        bulk.run().map(drop),
    );
    let by_a = IndexModel::new(doc! { "a": 1 });
    let _ = (
        things.create_index(by_a).run().map(drop),
        things.drop_indexes().run(),
        shop.create_collection("other").run(),
        things.drop().run(),
        shop.drop().run(),
    );
    let sent = server.commands().into_iter();
    let sent = sent.filter(|request| request.database == "shop");
    let concerns = sent.map(|request| {
        let [read, write] =
            ["readConcern", "writeConcern"].map(|key| request.body.get(key).cloned());
        (request.name, read, write)
    });
    concerns.collect()
}

/// "Read and Write Concern", "Test Plan": ReadConcern 2 and WriteConcern 1. Number 1 of ReadConcern is about servers that the
/// driver does not support.
#[test]
fn read_write_concern_test_plan_defaults_are_not_sent() {
    let sent = concerns_of_all_commands("");
    assert_eq!(sent.len(), 16);
    for (name, read, write) in sent {
        assert_eq!((read, write), (None, None), "{name}");
    }
}

/// "Read and Write Concern", "Test Plan": ReadConcern 3 and WriteConcern 2.
#[test]
fn read_write_concern_test_plan_others_are_sent() {
    let sent = concerns_of_all_commands("readConcernLevel=local&w=1&journal=true");
    assert_eq!(sent.len(), 16);
    let mut aggregations = 0;
    for (name, read, write) in sent {
        aggregations += i32::from(name == "aggregate");
        // The second aggregation writes.
        let reads = ["find", "aggregate", "count", "distinct"].contains(&name.as_str());
        let writes = !reads || aggregations == 2 && name == "aggregate";
        let local = Bson::Document(doc! { "level": "local" });
        let of_client = Bson::Document(doc! { "w": 1, "j": true });
        assert_eq!(read, reads.then_some(local), "{name}");
        assert_eq!(write, writes.then_some(of_client), "{name}");
    }
}
