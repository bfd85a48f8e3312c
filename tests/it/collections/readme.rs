//! The Rust examples of the README: each is between `// example` and `// end`. They run as they are shown, except for the line
//! that connects.

use mongotls::bson::{Document, doc};
use mongotls::{CauseCode, Client};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::server::Version;
use serde::{Deserialize, Serialize};

const README: &str = include_str!("../../../README.md");

/// A client of a store without the database `shop`.
fn client() -> Option<(Deployment, Client)> {
    let backend = or_skip(Secantus::shared())?.backend();
    let deployment = Deployment::start(Topology::ReplicaSet, Version::V8_2, &backend);
    let client = Client::connect(&deployment.uri("")).unwrap();
    client.database("shop").drop().run().unwrap();
    Some((deployment, client))
}

#[test]
fn the_readme_shows_the_examples_as_they_are_run_here() {
    super::expect_in(README, include_str!("readme.rs"), 3);
    // The rest of each block: what the examples import, and the line that connects.
    assert_eq!(README.matches("```rust").count(), 2);
}

#[test]
#[allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "as the README shows it"
)]
fn the_examples_of_the_readme() -> mongotls::Result<()> {
    let Some((_deployment, client)) = client() else {
        return Ok(());
    };
    // example
    #[derive(Serialize, Deserialize)]
    struct Thing {
        name: String,
        count: i32,
    }
    // end
    // example
    let things = client.database("shop").collection::<Thing>("things");

    let bolt = Thing {
        name: "bolt".to_owned(),
        count: 5,
    };
    things.insert_one(&bolt).run()?;
    let used = doc! { "$inc": { "count": -1 } };
    things.update_many(doc! { "name": "bolt" }, used).run()?;
    for thing in things
        .find(doc! { "count": { "$gt": 0 } })
        .sort(doc! { "name": 1 })
        .run()?
    {
        let thing = thing?;
        println!("{}: {}", thing.name, thing.count);
    }
    // end
    let all = things.find(doc! {}).run()?;
    let all: Vec<Thing> = all.collect::<mongotls::Result<_>>()?;
    assert_eq!((all.len(), all[0].count), (1, 4));

    for _ in 0..2 {
        // example
        let things = client.database("shop").collection::<Document>("things");
        match things.insert_one(doc! { "_id": 1 }).run() {
            Ok(_) => println!("inserted"),
            Err(error) if error.is_duplicate_key() => println!("it is there already"),
            Err(error) => {
                eprintln!("{error}");
                if let Some(cause) = error.cause() {
                    eprintln!("{}: {}", cause.code(), cause.remedy());
                    if cause.code() == CauseCode::CertificateExpired {
                        // page whoever renews certificates
                    }
                }
            }
        }
        // end
    }
    let documents = client.database("shop").collection::<Document>("things");
    assert_eq!(documents.count_documents(doc! { "_id": 1 }).run()?, 1);
    client.database("shop").drop().run()
}
