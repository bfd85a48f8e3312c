//! The failures of writes, and their results, as plain data ("CRUD API", "Error handling").

use std::collections::BTreeMap;
use std::fmt;

use bson::{Bson, Document};

use crate::server_code::DUPLICATE_KEYS;

mod admin;
mod bulk;
mod read;

pub use self::admin::{CreateIndexResult, CreateIndexesResult, DatabaseSpecification};
pub use self::bulk::{
    BulkFailure, BulkWriteResult, PartialBulkWriteResult, SummaryBulkWriteResult,
    VerboseBulkWriteResult,
};
pub(crate) use self::read::{labels, whole};

/// The result of [`Collection::insert_one`](crate::Collection::insert_one).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InsertOneResult {
    /// The `_id` of the document: its own, or the one that the driver created.
    pub inserted_id: Bson,
    /// False if the write concern asks for no answer (`w: 0`). Then nobody knows if the document was inserted.
    pub acknowledged: bool,
}

/// The result of [`Collection::insert_many`](crate::Collection::insert_many).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct InsertManyResult {
    /// The number of documents that the server has inserted. 0 without acknowledgment.
    pub inserted_count: u64,
    /// The `_id` of each inserted document, by its index in the input. Empty after `count_only()`.
    pub inserted_ids: BTreeMap<usize, Bson>,
    /// False if the write concern asks for no answer (`w: 0`). Then nobody knows which documents were inserted.
    pub acknowledged: bool,
}

/// The result of an update or a replacement.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct UpdateResult {
    /// The number of documents that matched the filter.
    pub matched_count: u64,
    /// The number of documents that changed.
    pub modified_count: u64,
    /// The `_id` of the document that an upsert inserted, or `None` if it inserted none.
    pub upserted_id: Option<Bson>,
    /// False if the write concern asks for no answer (`w: 0`). Then the counts are 0.
    pub acknowledged: bool,
}

/// The result of a deletion.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DeleteResult {
    /// The number of documents that were deleted.
    pub deleted_count: u64,
    /// False if the write concern asks for no answer (`w: 0`). Then the count is 0.
    pub acknowledged: bool,
}

/// The answer to the question whether a failed operation has written anything ([`Error::written`](crate::Error::written)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Written {
    /// Nothing was written: nothing was sent, or the server's answer proves it.
    No,
    /// Nothing proves that something was written, and nothing that it was not.
    Unknown,
    /// At least one write was made. Others were rejected or not sent, or it is unknown whether they were made.
    Partly,
    /// All writes were made.
    Yes,
}

/// The values that violate a unique index.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DuplicateKey {
    /// The name of the index, or `None` if the server's text does not have it.
    pub index: Option<String>,
    /// The keys of the index, such as `{ email: 1 }`. Servers before MongoDB 4.4 do not send them.
    pub pattern: Option<Document>,
    /// The values that exist already, such as `{ email: "a@example.com" }`. Servers before MongoDB 4.4 do not send them.
    pub value: Option<Document>,
}

/// One write that the server rejected.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WriteError {
    /// The index of the write in the operation, from 0.
    pub index: usize,
    /// The server's error code.
    pub code: i32,
    /// The server's name of the code; empty if it sent none.
    pub code_name: String,
    /// The server's text.
    pub message: String,
    /// More about the reason, such as the rule that a document violates.
    pub details: Option<Document>,
    /// The index and the values, if the write violates a unique index.
    pub duplicate_key: Option<DuplicateKey>,
}

/// The writes were made, but not acknowledged as the write concern requires.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WriteConcernError {
    /// The server's error code.
    pub code: i32,
    /// The server's name of the code; empty if it sent none.
    pub code_name: String,
    /// The server's text.
    pub message: String,
    /// More about the reason, such as the write concern that was not met.
    pub details: Option<Document>,
}

/// The part of an operation that failed: writes that the server rejected, and the failure to acknowledge the others as the
/// write concern requires. `Display` prints the first of them, and the number of the others.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct WriteFailure {
    /// The writes that the server rejected, in the order of their indexes.
    pub errors: Vec<WriteError>,
    /// The number of further writes that the server rejected, which are not in `errors`
    /// ([`keep_failures`](crate::InsertMany::keep_failures)).
    pub unlisted_errors: u64,
    /// The failure to acknowledge the writes that were made.
    pub concern_error: Option<WriteConcernError>,
    /// The index of the document that the source did not provide, or that could not be encoded. The operation stopped
    /// there.
    pub stopped_at: Option<usize>,
}

impl DuplicateKey {
    /// Reads the text of an error, and the fields `keyPattern` and `keyValue` that the server sends next to it.
    pub(crate) fn of(
        code: i32,
        message: &str,
        field: impl Fn(&str) -> Option<Document>,
    ) -> Option<Self> {
        DUPLICATE_KEYS.contains(&code).then(|| Self {
            index: index_name(message).map(str::to_owned),
            pattern: field("keyPattern"),
            value: field("keyValue"),
        })
    }
}

/// Returns the name of the index in the text of a server: "E11000 duplicate key error collection: db.c index: a_1 dup key:
/// { a: 5 }".
fn index_name(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once(" index: ")?;
    let (name, _) = rest.split_once(" dup key")?;
    // The index may have a collation, which follows the name.
    let name = name
        .split_once(" collation: ")
        .map_or(name, |(name, _)| name);
    // Before MongoDB 4.2 the collection is a part of the name.
    let name = name.rsplit_once('$').map_or(name, |(_, name)| name);
    Some(name.trim())
}

impl fmt::Display for WriteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.errors.as_slice(), &self.concern_error) {
            ([first, others @ ..], _) => {
                write!(f, "write {} failed: {}", first.index, first.message)?;
                let others = others.len() as u64 + self.unlisted_errors;
                if others > 0 {
                    write!(f, " (and {others} more)")?;
                }
                Ok(())
            }
            ([], Some(error)) => {
                write!(
                    f,
                    "the write was made, but not acknowledged as required: {}",
                    error.message
                )
            }
            ([], None) => f.write_str("a write failed"),
        }
    }
}
