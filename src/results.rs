//! The failures of writes, and their results, as plain data ("CRUD API", "Error handling").

use std::collections::BTreeMap;
use std::fmt;

use bson::{Bson, Document};

mod admin;
mod bulk;

pub use self::admin::{CreateIndexResult, CreateIndexesResult, DatabaseSpecification};
pub use self::bulk::{
    BulkFailure, BulkWriteResult, PartialBulkWriteResult, SummaryBulkWriteResult,
    VerboseBulkWriteResult,
};

/// The result of [`Collection::insert_one`](crate::Collection::insert_one).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InsertOneResult {
    /// The `_id` of the document: its own, or the one that the driver created.
    pub inserted_id: Bson,
}

/// The result of [`Collection::insert_many`](crate::Collection::insert_many).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct InsertManyResult {
    /// The number of documents that the server has inserted.
    pub inserted_count: u64,
    /// The `_id` of each inserted document, by its index in the input. Empty after `count_only()`.
    pub inserted_ids: BTreeMap<usize, Bson>,
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
}

/// The result of a deletion.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DeleteResult {
    /// The number of documents that were deleted.
    pub deleted_count: u64,
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
    /// The failure to acknowledge the writes that were made.
    pub concern_error: Option<WriteConcernError>,
}

impl fmt::Display for WriteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.errors.as_slice(), &self.concern_error) {
            ([first, others @ ..], _) => {
                write!(f, "write {} failed: {}", first.index, first.message)?;
                if !others.is_empty() {
                    write!(f, " (and {} more)", others.len())?;
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
