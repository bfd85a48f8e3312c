//! The results of bulk writes ("Bulk Write", "Result"; "CRUD API", "Write Results").

use std::collections::BTreeMap;

use bson::Bson;

use super::{DeleteResult, InsertOneResult, UpdateResult, WriteConcernError};

/// The result of [`Collection::bulk`](crate::Collection::bulk). All counts are 0 if the writes were not acknowledged.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BulkWriteResult {
    /// True unless the write concern is `w: 0`.
    pub acknowledged: bool,
    /// The number of documents that were inserted.
    pub inserted_count: u64,
    /// The number of documents that the filters of updates and replacements matched.
    pub matched_count: u64,
    /// The number of documents that updates and replacements changed.
    pub modified_count: u64,
    /// The number of documents that were deleted.
    pub deleted_count: u64,
    /// The number of documents that upserts inserted.
    pub upserted_count: u64,
    /// The `_id` of each inserted document, by the index of the model. Empty after
    /// [`count_only`](crate::Bulk::count_only).
    pub inserted_ids: BTreeMap<usize, Bson>,
    /// The `_id` of each document that an upsert inserted, by the index of the model.
    pub upserted_ids: BTreeMap<usize, Bson>,
}

/// The result of [`Client::bulk`](crate::Client::bulk). All counts are 0 if the writes were not acknowledged.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SummaryBulkWriteResult {
    /// True unless the write concern is `w: 0`.
    pub acknowledged: bool,
    /// The number of documents that were inserted.
    pub inserted_count: u64,
    /// The number of documents that the filters of updates and replacements matched.
    pub matched_count: u64,
    /// The number of documents that updates and replacements changed.
    pub modified_count: u64,
    /// The number of documents that were deleted.
    pub deleted_count: u64,
    /// The number of documents that upserts inserted.
    pub upserted_count: u64,
}

/// The result of [`Client::bulk`](crate::Client::bulk) with
/// [`verbose_results`](crate::ClientBulk::verbose_results): the counts, and the result of each successful write by the
/// index of its model.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct VerboseBulkWriteResult {
    /// The counts.
    pub summary: SummaryBulkWriteResult,
    /// The results of inserts.
    pub insert_results: BTreeMap<usize, InsertOneResult>,
    /// The results of updates and replacements.
    pub update_results: BTreeMap<usize, UpdateResult>,
    /// The results of deletions.
    pub delete_results: BTreeMap<usize, DeleteResult>,
}

/// The part of a failed bulk write that succeeded.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PartialBulkWriteResult {
    /// Of [`Collection::bulk`](crate::Collection::bulk).
    Collection(BulkWriteResult),
    /// Of [`Client::bulk`](crate::Client::bulk).
    Summary(SummaryBulkWriteResult),
    /// Of [`Client::bulk`](crate::Client::bulk) with verbose results.
    Verbose(VerboseBulkWriteResult),
}

impl PartialBulkWriteResult {
    /// The number of documents that were inserted.
    pub fn inserted_count(&self) -> u64 {
        self.counts().0
    }

    /// The number of documents that the filters of updates and replacements matched.
    pub fn matched_count(&self) -> u64 {
        self.counts().1
    }

    /// The number of documents that updates and replacements changed.
    pub fn modified_count(&self) -> u64 {
        self.counts().2
    }

    /// The number of documents that were deleted.
    pub fn deleted_count(&self) -> u64 {
        self.counts().3
    }

    /// The number of documents that upserts inserted.
    pub fn upserted_count(&self) -> u64 {
        self.counts().4
    }

    /// The counts of inserted, matched, modified, deleted and upserted documents.
    fn counts(&self) -> (u64, u64, u64, u64, u64) {
        let summary = match self {
            Self::Collection(it) => {
                return (
                    it.inserted_count,
                    it.matched_count,
                    it.modified_count,
                    it.deleted_count,
                    it.upserted_count,
                );
            }
            Self::Summary(summary) => summary,
            Self::Verbose(verbose) => &verbose.summary,
        };
        (
            summary.inserted_count,
            summary.matched_count,
            summary.modified_count,
            summary.deleted_count,
            summary.upserted_count,
        )
    }
}

/// The parts of a failed bulk write that other errors do not have; see [`Error::bulk_failure`](crate::Error::bulk_failure).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BulkFailure {
    /// The failures to acknowledge writes as the write concern requires: at most one for each command.
    pub concern_errors: Vec<WriteConcernError>,
    /// The results of the writes that succeeded. `None` if it is not certain that one did.
    pub partial_result: Option<PartialBulkWriteResult>,
}
