//! The operations of a collection.

use bson::Document;
use mongotls::Collection;

use super::arguments::scoped;
use super::bulk::{self, BULK_WRITE};
use super::find::{self, FIND, FIND_ONE};
use super::insert::{self, INSERT_ONE};
use super::{Call, Operation, later, now};
use crate::unified::entities::Entity;
use crate::unified::failure::Failure;

const TYPED: &str = "typed collections";
const INDEXES: &str = "index management";

pub(super) const OPERATIONS: &[Operation] = &[
    later("aggregate", AGGREGATE, TYPED),
    now("bulkWrite", BULK_WRITE, scoped!(object, bulk::bulk_write)),
    later("count", COUNT, TYPED),
    later("countDocuments", COUNT, TYPED),
    later("estimatedDocumentCount", COUNT, TYPED),
    later(
        "createChangeStream",
        super::database::CHANGE_STREAM,
        "change streams",
    ),
    now("createFindCursor", FIND, find::create_find_cursor),
    later("createIndex", INDEX, INDEXES),
    later("createIndexes", INDEX, INDEXES),
    later(
        "createSearchIndex",
        &["model", "name", "definition", "type"],
        INDEXES,
    ),
    later("createSearchIndexes", &["models"], INDEXES),
    later("deleteMany", DELETE, TYPED),
    later("deleteOne", DELETE, TYPED),
    later(
        "distinct",
        &[
            "fieldName",
            "filter",
            "collation",
            "comment",
            "hint",
            "maxTimeMS",
            "rawData",
            "readConcern",
            "readPreference",
            "session",
            "timeoutMS",
        ],
        TYPED,
    ),
    later(
        "drop",
        &["writeConcern", "comment", "session", "timeoutMS"],
        TYPED,
    ),
    later("dropIndex", DROP_INDEX, INDEXES),
    later("dropIndexes", DROP_INDEX, INDEXES),
    later("dropSearchIndex", &["name"], INDEXES),
    now("find", FIND, scoped!(object, find::find)),
    now("findOne", FIND_ONE, scoped!(object, find::find_one)),
    later("findOneAndDelete", FIND_AND_MODIFY, TYPED),
    later("findOneAndReplace", FIND_AND_MODIFY, TYPED),
    later("findOneAndUpdate", FIND_AND_MODIFY, TYPED),
    later(
        "insertMany",
        &[
            "documents",
            "ordered",
            "bypassDocumentValidation",
            "comment",
            "rawData",
            "session",
            "timeoutMS",
        ],
        TYPED,
    ),
    now("insertOne", INSERT_ONE, scoped!(object, insert::insert_one)),
    later("listIndexNames", LIST_INDEXES, INDEXES),
    later("listIndexes", LIST_INDEXES, INDEXES),
    later(
        "listSearchIndexes",
        &["name", "aggregationOptions"],
        INDEXES,
    ),
    later(
        "mapReduce",
        &[
            "map",
            "reduce",
            "out",
            "finalize",
            "scope",
            "verbose",
            "session",
            "timeoutMS",
        ],
        TYPED,
    ),
    later(
        "rename",
        &["to", "dropTarget", "comment", "session", "timeoutMS"],
        TYPED,
    ),
    later("replaceOne", UPDATE, TYPED),
    later("updateMany", UPDATE, TYPED),
    later("updateOne", UPDATE, TYPED),
    later("updateSearchIndex", &["name", "definition"], INDEXES),
];

/// The collection of the call.
pub(super) fn object<'a>(call: &Call<'a>) -> Result<&'a Collection<Document>, Failure> {
    match call.object {
        Some(Entity::Collection(collection)) => Ok(collection),
        _ => Err(Failure::Entity("the object is not a collection".to_owned())),
    }
}

pub(super) const AGGREGATE: &[&str] = &[
    "pipeline",
    "allowDiskUse",
    "batchSize",
    "bypassDocumentValidation",
    "collation",
    "comment",
    "cursorType",
    "hint",
    "let",
    "maxAwaitTimeMS",
    "maxTimeMS",
    "rawData",
    "readConcern",
    "readPreference",
    "session",
    "timeoutMS",
    "timeoutMode",
    "writeConcern",
];

const COUNT: &[&str] = &[
    "filter",
    "collation",
    "comment",
    "hint",
    "limit",
    "maxTimeMS",
    "rawData",
    "session",
    "skip",
    "timeoutMS",
];

const DELETE: &[&str] = &[
    "filter",
    "collation",
    "comment",
    "hint",
    "let",
    "rawData",
    "session",
    "timeoutMS",
];

const DROP_INDEX: &[&str] = &[
    "name",
    "comment",
    "maxTimeMS",
    "rawData",
    "session",
    "timeoutMS",
    "writeConcern",
];

const FIND_AND_MODIFY: &[&str] = &[
    "filter",
    "arrayFilters",
    "bypassDocumentValidation",
    "collation",
    "comment",
    "hint",
    "let",
    "maxTimeMS",
    "projection",
    "rawData",
    "replacement",
    "returnDocument",
    "session",
    "sort",
    "timeoutMS",
    "update",
    "upsert",
    "writeConcern",
];

const INDEX: &[&str] = &[
    "keys",
    "indexes",
    "background",
    "bits",
    "bucketSize",
    "collation",
    "comment",
    "commitQuorum",
    "expireAfterSeconds",
    "hidden",
    "max",
    "maxTimeMS",
    "min",
    "name",
    "partialFilterExpression",
    "rawData",
    "session",
    "sparse",
    "timeoutMS",
    "unique",
    "wildcardProjection",
    "writeConcern",
];

const LIST_INDEXES: &[&str] = &[
    "batchSize",
    "comment",
    "cursorType",
    "maxTimeMS",
    "rawData",
    "session",
    "timeoutMS",
    "timeoutMode",
];

const UPDATE: &[&str] = &[
    "filter",
    "arrayFilters",
    "bypassDocumentValidation",
    "collation",
    "comment",
    "hint",
    "let",
    "rawData",
    "replacement",
    "session",
    "sort",
    "timeoutMS",
    "update",
    "upsert",
];
