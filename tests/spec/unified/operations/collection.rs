//! The operations of a collection.

use bson::Document;
use mongotls::Collection;

use super::admin::{self, DROP, RENAME};
use super::aggregate::{self, AGGREGATE};
use super::arguments::scoped;
use super::bulk::{self, BULK_WRITE};
use super::change_stream::{self, CREATE};
use super::count::{self, COUNT, COUNT_DOCUMENTS, DISTINCT, ESTIMATED_COUNT, MAP_REDUCE};
use super::find::{self, FIND, FIND_ONE};
use super::indexes::{
    self, CREATE_INDEX, CREATE_INDEXES, DROP_INDEX, DROP_INDEXES, LIST_INDEX_NAMES, LIST_INDEXES,
};
use super::insert::{self, INSERT_MANY, INSERT_ONE};
use super::write::{self, DELETE, FIND_AND_MODIFY, UPDATE};
use super::{Call, Operation, now};
use crate::unified::entities::{CollectionEntity, Entity};
use crate::unified::failure::Failure;

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
    now("createChangeStream", CREATE, change_stream::of_collection),
    now("createFindCursor", FIND, find::create_find_cursor),
    now(
        "createIndex",
        CREATE_INDEX,
        scoped!(object, indexes::create_index),
    ),
    now(
        "createIndexes",
        CREATE_INDEXES,
        scoped!(object, indexes::create_indexes),
    ),
    now(
        "createSearchIndex",
        &["model", "session"],
        scoped!(object, indexes::create_search_index),
    ),
    now(
        "createSearchIndexes",
        &["models", "session"],
        scoped!(object, indexes::create_search_indexes),
    ),
    now("deleteMany", DELETE, scoped!(object, write::delete_many)),
    now("deleteOne", DELETE, scoped!(object, write::delete_one)),
    now("distinct", DISTINCT, scoped!(object, count::distinct)),
    now("drop", DROP, scoped!(object, admin::drop_of)),
    now(
        "dropIndex",
        DROP_INDEX,
        scoped!(object, indexes::drop_index),
    ),
    now(
        "dropIndexes",
        DROP_INDEXES,
        scoped!(object, indexes::drop_indexes),
    ),
    now(
        "dropSearchIndex",
        &["name", "session"],
        scoped!(object, indexes::drop_search_index),
    ),
    now("find", FIND, scoped!(object, find::find)),
    now("findOne", FIND_ONE, scoped!(object, find::find_one)),
    now(
        "findOneAndDelete",
        FIND_AND_MODIFY,
        scoped!(object, write::find_one_and_delete),
    ),
    now(
        "findOneAndReplace",
        FIND_AND_MODIFY,
        scoped!(object, write::find_one_and_replace),
    ),
    now(
        "findOneAndUpdate",
        FIND_AND_MODIFY,
        scoped!(object, write::find_one_and_update),
    ),
    now(
        "insertMany",
        INSERT_MANY,
        scoped!(object, insert::insert_many),
    ),
    now("insertOne", INSERT_ONE, scoped!(object, insert::insert_one)),
    now(
        "listIndexNames",
        LIST_INDEX_NAMES,
        scoped!(object, indexes::list_index_names),
    ),
    now(
        "listIndexes",
        LIST_INDEXES,
        scoped!(object, indexes::list_indexes),
    ),
    now(
        "listSearchIndexes",
        &["name", "aggregationOptions", "session"],
        scoped!(object, indexes::list_search_indexes),
    ),
    now("mapReduce", MAP_REDUCE, count::map_reduce),
    now("rename", RENAME, scoped!(object, admin::rename)),
    now("replaceOne", UPDATE, scoped!(object, write::replace_one)),
    now("updateMany", UPDATE, scoped!(object, write::update_many)),
    now("updateOne", UPDATE, scoped!(object, write::update_one)),
    now(
        "updateSearchIndex",
        &["name", "definition", "session"],
        scoped!(object, indexes::update_search_index),
    ),
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
