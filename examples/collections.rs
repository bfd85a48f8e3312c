//! Documents as types of the program: inserts, a query, a duplicate key, a deletion. `make demo` runs it.
//!
//! ```sh
//! cargo run --example collections -- 'mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem'
//! ```
//!
//! It uses the collection `shop.things`, and removes what is in it first.

#![allow(clippy::print_stdout)]

use mongotls::bson::doc;
use mongotls::{Client, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Thing {
    #[serde(rename = "_id")]
    id: i32,
    kind: String,
    size: f64,
}

impl Thing {
    fn new(id: i32) -> Self {
        let kind = if id % 2 == 0 { "nut" } else { "bolt" };
        Self {
            id,
            kind: kind.to_owned(),
            size: f64::from(id) / 2.0,
        }
    }
}

fn main() -> Result<()> {
    let uri = std::env::args().nth(1);
    let client = Client::connect(&uri.unwrap_or("mongodb://localhost".to_owned()))?;
    let things = client.database("shop").collection::<Thing>("things");
    things.drop().run()?;

    let first = Thing::new(1);
    let inserted = things.insert_one(&first).run()?;
    println!("inserted: {}", inserted.inserted_id);

    // Any iterator will do. Its documents are sent in batches while it is read, so they need not fit in memory.
    let many = (2..=1000).map(Thing::new);
    let inserted = things.insert_many(many).count_only().run()?;
    println!("inserted: {} more", inserted.inserted_count);

    for thing in things.find(doc! { "kind": "nut" }).limit(3).run()? {
        println!("found: {:?}", thing?);
    }

    match things.insert_one(&first).run() {
        Err(error) if error.is_duplicate_key() => {
            println!("rejected: {error}");
            println!("written: {:?}", error.written());
            if let Some(cause) = error.cause() {
                println!("{}: {}", cause.code(), cause.remedy());
            }
        }
        outcome => drop(outcome?),
    }

    let deleted = things.delete_many(doc! { "kind": "nut" }).run()?;
    println!("deleted: {}", deleted.deleted_count);
    let left = things.estimated_document_count().run()?;
    println!("left: {left}");
    Ok(())
}
