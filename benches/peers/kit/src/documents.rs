//! The documents that are read and written.

use bson::oid::ObjectId;
use bson::{DateTime, RawDocumentBuf, rawdoc};
use serde::Deserialize;

/// The number of documents that are written.
pub const WRITTEN: usize = 100_000;

/// The number of documents in one written message, and in one that is read.
pub const BATCH: usize = 1000;

/// The documents of one message: 256 bytes each, with ids.
pub fn to_write() -> Vec<RawDocumentBuf> {
    let count = i32::try_from(BATCH).expect("a small number");
    let documents = (0..count).map(|id| {
        let with = |text: &str| {
            rawdoc! { "_id": id, "number": 123_456_i64, "price": 1234.5, "active": true, "text": text }
        };
        let missing = WRITTEN_SIZE - with("").as_bytes().len();
        with(&"x".repeat(missing))
    });
    documents.collect()
}

const WRITTEN_SIZE: usize = 256;

/// A document of the test bench's lean server, as a program would declare it.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "it is there to be filled")]
pub struct Item {
    #[serde(rename = "_id")]
    id: ObjectId,
    number: i32,
    total: i64,
    price: f64,
    active: bool,
    created: DateTime,
    name: String,
    email: String,
    tags: Vec<String>,
    address: Address,
    scores: Vec<f64>,
    text: String,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "it is there to be filled")]
struct Address {
    street: String,
    city: String,
    postcode: String,
}
