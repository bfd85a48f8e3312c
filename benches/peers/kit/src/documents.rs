//! The documents that are read and written.

use bson::oid::ObjectId;
use bson::{DateTime, Document, RawDocumentBuf, doc, rawdoc};
use serde::{Deserialize, Serialize};

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

/// A document to write, as a program would declare it. With the `_id` that the driver adds it takes 256 bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Sale {
    /// A number that differs from one to the next.
    pub number: i64,
    price: f64,
    active: bool,
    text: String,
}

impl Sale {
    /// The sale with this number.
    pub fn new(number: usize) -> Self {
        Self {
            number: i64::try_from(number).expect("a small number"),
            price: 1234.5,
            active: true,
            text: "x".repeat(SALE_TEXT),
        }
    }

    /// All that are written.
    pub fn all() -> Vec<Self> {
        (0..WRITTEN).map(Self::new).collect()
    }

    /// The same with an ID, as one that is stored.
    pub fn stored(&self) -> RawDocumentBuf {
        let stored = rawdoc! {
            "_id": ObjectId::new(),
            "number": self.number,
            "price": self.price,
            "active": self.active,
            "text": self.text.as_str(),
        };
        assert_eq!(stored.as_bytes().len(), WRITTEN_SIZE, "the size of a sale");
        stored
    }
}

/// The length of the text of a sale: what is missing to the size of the document.
const SALE_TEXT: usize = 183;

/// The filter of an update in a bulk.
pub fn filter(number: usize) -> Document {
    doc! { "number": i64::try_from(number).expect("a small number") }
}

/// An update in a bulk.
pub fn update() -> Document {
    doc! { "$set": { "price": 99.5, "active": false } }
}

/// A document of the test bench's lean server, as a program would declare it.
#[derive(Clone, Debug, Deserialize)]
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

#[derive(Clone, Debug, Deserialize)]
#[allow(dead_code, reason = "it is there to be filled")]
struct Address {
    street: String,
    city: String,
    postcode: String,
}

/// The same, with texts that are borrowed from the reply.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "it is there to be filled")]
pub struct BorrowedItem<'a> {
    #[serde(rename = "_id")]
    id: ObjectId,
    number: i32,
    total: i64,
    price: f64,
    active: bool,
    created: DateTime,
    name: &'a str,
    email: &'a str,
    #[serde(borrow)]
    tags: Vec<&'a str>,
    #[serde(borrow)]
    address: BorrowedAddress<'a>,
    scores: Vec<f64>,
    text: &'a str,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "it is there to be filled")]
struct BorrowedAddress<'a> {
    street: &'a str,
    city: &'a str,
    postcode: &'a str,
}
