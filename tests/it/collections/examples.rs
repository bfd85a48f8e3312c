//! The examples of `docs/crud.md` about reads, settings and administration: each is between `// example` and `// end`.

use mongotls::bson::{Document, doc, oid::ObjectId};
use mongotls::options::{CollectionOptions, ReadPreference, ReadPreferenceMode, WriteConcern};
use mongotls::{Client, Database, Error, IndexModel};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::server::Version;
use serde::Deserialize;

/// A database with three things, on a store.
fn shop() -> Option<(Deployment, Database)> {
    let backend = or_skip(Secantus::shared())?.backend();
    let deployment = Deployment::start(Topology::ReplicaSet, Version::V8_2, &backend);
    let client = Client::connect(&deployment.uri("")).unwrap();
    let shop = client.database(&ObjectId::new().to_hex());
    let things = shop.collection::<Document>("things");
    for (name, kind, price) in [("M4", "bolt", 0.1), ("M5", "bolt", 0.2), ("M6", "nut", 0.3)] {
        let thing = doc! { "name": name, "kind": kind, "price": price };
        things.insert_one(thing).run().unwrap();
    }
    Some((deployment, shop))
}

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    super::expect_in_guide(include_str!("examples.rs"), 5);
}

#[test]
#[allow(clippy::print_stdout, reason = "as the guide shows it")]
fn the_examples_of_the_guide() -> Result<(), Error> {
    let Some((_deployment, shop)) = shop() else {
        return Ok(());
    };
    // example
    #[derive(Debug, Deserialize)]
    struct Thing {
        name: String,
        price: f64,
    }

    let things = shop.collection::<Thing>("things");
    for thing in things
        .find(doc! { "kind": "bolt" })
        .sort(doc! { "price": 1 })
        .limit(10)
        .run()?
    {
        let thing = thing?;
        println!("{}: {}", thing.name, thing.price);
    }
    let first = things.find_one(doc! { "kind": "nut" }).run()?;
    assert!(first.is_some());
    // end
    // example
    #[derive(Debug, Deserialize)]
    struct Group {
        #[serde(rename = "_id")]
        kind: String,
        total: f64,
    }

    let stages = [
        doc! { "$group": { "_id": "$kind", "total": { "$sum": "$price" } } },
        doc! { "$sort": { "_id": 1 } },
    ];
    for group in things.aggregate(stages).with_type::<Group>().run()? {
        let group = group?;
        println!("{}: {}", group.kind, group.total);
    }
    let kinds = things
        .distinct("kind", doc! {})
        .with_type::<String>()
        .run()?;
    assert_eq!(kinds, ["bolt", "nut"]);
    assert_eq!(things.count_documents(doc! { "kind": "bolt" }).run()?, 2);
    // end
    // example
    #[derive(Deserialize)]
    struct Name<'a> {
        name: &'a str,
    }

    let mut cursor = things.find(doc! {}).projection(doc! { "name": 1 }).run()?;
    while let Some(thing) = cursor.next_as::<Name<'_>>()? {
        println!("{}", thing.name);
    }
    // end
    // example
    let options = CollectionOptions::default().write_concern(WriteConcern::majority());
    let orders = shop.collection_with_options::<Document>("orders", options);
    orders.insert_one(doc! { "_id": 1 }).run()?;

    let nearest = ReadPreference::new(ReadPreferenceMode::Nearest);
    orders
        .find_one(doc! { "_id": 1 })
        .read_preference(nearest)
        .run()?;
    // end
    // example
    shop.create_collection("log")
        .capped(true)
        .size(1 << 20)
        .run()?;
    let bolts = [doc! { "$match": { "kind": "bolt" } }];
    shop.create_collection("bolts")
        .view_on("things")
        .pipeline(bolts)
        .run()?;

    let by_name = IndexModel::new(doc! { "name": 1 }).unique(true);
    let created = things.create_index(by_name).run()?;
    assert_eq!(created.index_name, "name_1");
    things.drop_index("name_1").run()?;
    // end
    Ok(())
}
