//! The common parts of the tests of commands, cursors and the pool: a server with documents in `db.things`.
//!
//! The documents are `{ _id: 0, name: "thing 0" }` and so on, enough of them for several batches. The commands that
//! stored them are removed from the record, so that a test finds only its own.

use mongotls::bson::{Document, doc, rawdoc};
use mongotls::{Client, Command};
use mongotls_testbench::server::Server;
use serde::Deserialize;

use crate::common::plain_client;

/// A document of `things`.
#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct Thing {
    #[serde(rename = "_id")]
    pub(crate) id: i32,
    pub(crate) name: String,
}

/// A server whose collection `db.things` holds this number of documents, and a client of it.
pub(crate) fn with_things(count: i32, options: &str) -> (Server, Client) {
    let server = Server::builder().start();
    let client = plain_client(&server, options);
    let things = (0..count).map(|id| rawdoc! { "_id": id, "name": format!("thing {id}") });
    if count > 0 {
        let insert = Command::from(doc! { "insert": "things" }).documents("documents", things);
        client.database("db").run_command(insert).unwrap();
    }
    server.forget_commands();
    (server, client)
}

pub(crate) fn find(batch_size: i32) -> Document {
    doc! { "find": "things", "batchSize": batch_size }
}
