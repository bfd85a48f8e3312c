//! Read concern, write concern and read preference: of the client, a database, a collection and an action.

use mongotls::bson::{Document, doc};
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
