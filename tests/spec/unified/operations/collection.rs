//! The operations of a collection.

use bson::Document;
use mongotls::Collection;

use super::aggregate::{self, AGGREGATE};
use super::arguments::scoped;
use super::bulk::{self, BULK_WRITE};
use super::count::{self, COUNT, COUNT_DOCUMENTS, DISTINCT, ESTIMATED_COUNT, MAP_REDUCE};
use super::find::{self, FIND, FIND_ONE};
use super::insert::{self, INSERT_ONE};
use super::{Call, Operation, later, now};
use crate::unified::entities::{CollectionEntity, Entity};
use crate::unified::failure::Failure;

const TYPED: &str = "typed collections";
const INDEXES: &str = "index management";

pub(super) const OPERATIONS: &[Operation] = &[
    now(
        "aggregate",
        AGGREGATE,
        scoped!(object, aggregate::of_collection),
    ),
    now("bulkWrite", BULK_WRITE, scoped!(object, bulk::bulk_write)),
    now("count", COUNT, count::count),
    now(
        "countDocuments",
        COUNT_DOCUMENTS,
        scoped!(object, count::count_documents),
    ),
    now(
        "estimatedDocumentCount",
        ESTIMATED_COUNT,
        scoped!(object, count::estimated_document_count),
    ),
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
    now("distinct", DISTINCT, scoped!(object, count::distinct)),
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
    now("mapReduce", MAP_REDUCE, count::map_reduce),
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
    Ok(&entity(call)?.collection)
}

pub(super) fn entity<'a>(call: &Call<'a>) -> Result<&'a CollectionEntity, Failure> {
    match call.object {
        Some(Entity::Collection(entity)) => Ok(entity),
        _ => Err(Failure::Entity("the object is not a collection".to_owned())),
    }
}

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
