//! The shape of the official crate: calls that programs for it make compile here and do the same.

use mongotls::bson::{self, Bson, Document, doc};
use mongotls::options::{
    Collation, CollationStrength, CollectionOptions, DatabaseOptions, ReadConcern, ReadPreference,
    ReadPreferenceMode, WriteConcern,
};
use mongotls::{
    Client, Command, Cursor, Error, ErrorKind, IndexModel, IndexOptions, Namespace, Session,
};
use mongotls_testbench::server::Server;
use serde::{Deserialize, Serialize};

use crate::common::plain_client;

const SECRET: &str = "correct-horse";

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Thing {
    #[serde(rename = "_id")]
    id: i32,
    name: String,
}

fn thing(id: i32) -> Thing {
    Thing {
        id,
        name: format!("thing {id}"),
    }
}

#[test]
fn actions_take_a_session_as_the_official_crate_passes_it() {
    fn all(client: &Client, session: &mut Session) -> mongotls::Result<Vec<Thing>> {
        let things = client.database("db").collection::<Thing>("things");
        things.insert_one(thing(1)).session(&mut *session).run()?;
        things
            .insert_many([thing(2)])
            .session(&mut *session)
            .run()?;
        let filter = doc! { "_id": 2 };
        things.delete_one(filter).session(&mut *session).run()?;
        let found = things.find_one(doc! {}).session(&mut *session).run()?;
        assert_eq!(found, Some(thing(1)));
        things.find(doc! {}).session(session).run()?.collect()
    }
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let mut session = client.start_session().run().unwrap();
    assert_eq!(all(&client, &mut session).unwrap(), [thing(1)]);
    let id = session.id();
    let commands = server.commands();
    let of_session = commands
        .iter()
        .filter(|it| it.body.get_document("lsid").ok() == Some(&id));
    assert_eq!(of_session.count(), 5);
}

#[test]
fn builders_make_the_same_values_as_the_setters() {
    let collation = Collation::builder()
        .locale("de")
        .strength(CollationStrength::Primary)
        .case_level(true)
        .numeric_ordering(true)
        .build();
    let expected = Collation::new("de")
        .strength(CollationStrength::Primary)
        .case_level(true)
        .numeric_ordering(true);
    assert_eq!(collation, expected);

    let options = IndexOptions::builder()
        .unique(true)
        .name("first".to_owned())
        .collation(collation.clone());
    let model = IndexModel::builder()
        .keys(doc! { "a": 1 })
        .options(options.build())
        .build();
    let expected = IndexModel::new(doc! { "a": 1 })
        .unique(true)
        .with_name("first")
        .collation(collation);
    assert_eq!(model, expected);
    let model = IndexModel::builder().keys(doc! { "a": 1 }).options(None);
    assert_eq!(model.build(), IndexModel::new(doc! { "a": 1 }));

    let nearest = ReadPreference::new(ReadPreferenceMode::Nearest);
    let options = CollectionOptions::builder()
        .read_concern(ReadConcern::local())
        .write_concern(WriteConcern::nodes(2))
        .selection_criteria(nearest.clone());
    let expected = CollectionOptions::default()
        .read_concern(ReadConcern::local())
        .write_concern(WriteConcern::default().w(2))
        .read_preference(nearest);
    assert_eq!(options.build(), expected);
    let options = DatabaseOptions::builder().write_concern(WriteConcern::custom("east"));
    let expected = DatabaseOptions::default().write_concern(WriteConcern::default().w("east"));
    assert_eq!(options.build(), expected);
}

#[test]
fn all_options_of_indexes_have_their_names_in_the_command() {
    let server = Server::builder()
        .handle("createIndexes", |_| Some(doc! { "ok": 1 }))
        .start();
    let client = plain_client(&server, "");
    let things = client.database("db").collection::<Document>("things");
    let model = IndexModel::new(doc! { "a": 1 })
        .sparse(true)
        .hidden(true)
        .partial_filter_expression(doc! { "b": 1 })
        .wildcard_projection(doc! { "c": 0 })
        .weights(doc! { "d": 2 })
        .default_language("german")
        .language_override("lang")
        .min(-10.0)
        .max(10.0)
        .bits(20)
        .background(true)
        .storage_engine(doc! { "wiredTiger": {} });
    things.create_index(model).run().unwrap();
    let expected = doc! {
        "key": { "a": 1 }, "name": "a_1", "sparse": true, "hidden": true, "partialFilterExpression": { "b": 1 },
        "wildcardProjection": { "c": 0 }, "weights": { "d": 2 }, "default_language": "german",
        "language_override": "lang", "min": -10.0, "max": 10.0, "bits": 20, "background": true,
        "storageEngine": { "wiredTiger": {} },
    };
    let sent = server.commands_named("createIndexes").remove(0).body;
    let indexes = sent.get_array("indexes").unwrap();
    assert_eq!(indexes, &[Bson::Document(expected)]);
}

#[test]
fn optional_values_call_a_setter() {
    let server = Server::builder().start();
    let client = Client::with_uri_str(server.uri() + "?w=2&readConcernLevel=local").unwrap();
    assert_eq!(client.write_concern(), &WriteConcern::nodes(2));
    assert_eq!(client.read_concern(), &ReadConcern::local());
    assert_eq!(client.selection_criteria(), &ReadPreference::default());
    let things = client.database("db").collection::<Document>("things");
    for limit in [Some(7), None] {
        let find = things
            .find(doc! {})
            .optional(limit, |find, limit| find.limit(limit));
        find.run().unwrap();
    }
    let sent = server.commands_named("find");
    assert_eq!(sent[0].body.get_i64("limit").ok(), Some(7));
    assert!(!sent[1].body.contains_key("limit"));
}

#[test]
fn a_cursor_decodes_its_current_document() -> mongotls::Result<()> {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let things = client.database("db").collection::<Thing>("things");
    things.insert_many([thing(1), thing(2)]).run()?;
    let mut cursor: Cursor<Thing> = things.find(doc! {}).run()?;
    let mut all = Vec::new();
    while cursor.advance()? {
        all.push(cursor.deserialize_current()?);
    }
    assert_eq!(all, [thing(1), thing(2)]);
    Ok(())
}

#[test]
fn errors_are_used_as_those_of_the_official_crate() {
    fn is_shared<T: Clone + Send + Sync + 'static>() {}
    is_shared::<Error>();

    fn decoded() -> mongotls::Result<Thing> {
        Ok(bson::deserialize_from_document(doc! { "_id": "a" })?)
    }
    let error = decoded().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bson);
    assert!(std::error::Error::source(&error).is_some());
    assert!(!error.contains_label("RetryableWriteError"));
}

#[test]
fn a_namespace_is_split_at_the_first_dot() {
    assert_eq!("db.a.b".parse().ok(), Some(Namespace::new("db", "a.b")));
    for text in ["db", "db.", ""] {
        let error = text.parse::<Namespace>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
    }
}

#[test]
fn no_debug_output_has_values_of_the_program() {
    let server = Server::builder().start();
    let uri = format!("mongodb://user:{SECRET}@127.0.0.1:{}/", server.port());
    let client = Client::connect(&uri).unwrap();
    let database = client.database("db");
    let things = database.collection::<Document>("things");
    let document = doc! { "password": SECRET };
    let update = doc! { "$set": { "password": SECRET } };
    let mut bulk = things.bulk();
    bulk.insert_one(&document);
    let mut client_bulk = client.bulk();
    client_bulk.insert_one(things.namespace(), &document);
    let all = [
        format!(
            "{:?}",
            Command::from(doc! { "createUser": "a", "pwd": SECRET })
        ),
        format!("{client:?}{database:?}{things:?}{:?}", client.options()),
        format!("{:?}", things.find(document.clone()).comment(SECRET)),
        format!("{:?}", things.find_one(document.clone())),
        format!(
            "{:?}",
            things.aggregate([doc! { "$match": document.clone() }])
        ),
        format!("{:?}", things.count_documents(document.clone())),
        format!("{:?}", things.distinct("a", document.clone())),
        format!("{:?}", things.insert_one(&document)),
        format!("{:?}", things.insert_many([&document])),
        format!("{:?}", things.update_one(document.clone(), update.clone())),
        format!("{:?}", things.update_many(document.clone(), update.clone())),
        format!(
            "{:?}",
            things.replace_one(document.clone(), document.clone())
        ),
        format!("{:?}", things.delete_many(document.clone())),
        format!("{:?}", things.find_one_and_update(document.clone(), update)),
        format!("{:?}", things.find_one_and_delete(document.clone())),
        format!("{:?}", database.create_collection("a").validator(document)),
        format!("{bulk:?}{client_bulk:?}"),
    ];
    for text in &all {
        assert!(!text.contains(SECRET), "{text}");
        // A vector of bytes would show it as numbers.
        assert!(!text.contains("99, 111, 114"), "{text}");
    }
    assert_eq!(all[0], "Command { name: Some(\"createUser\"), .. }");
    assert_eq!(
        all[2],
        "Find { database: \"db\", collection: \"things\", .. }"
    );
}
