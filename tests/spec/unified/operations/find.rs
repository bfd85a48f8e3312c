//! `find` and `findOne` of a collection.

use std::sync::{Arc, Mutex};

use bson::{Bson, Document};
use mongotls::{Collection, Cursor, Free, Scope};

use super::arguments::set;
use super::{Call, Outcome, collection};
use crate::unified::entities::{CursorEntity, Entity};
use crate::unified::failure::Failure;

pub(super) const FIND: &[&str] = &[
    "filter",
    "allowDiskUse",
    "allowPartialResults",
    "batchSize",
    "collation",
    "comment",
    "cursorType",
    "hint",
    "let",
    "limit",
    "max",
    "maxAwaitTimeMS",
    "maxTimeMS",
    "min",
    "noCursorTimeout",
    "projection",
    "rawData",
    "readConcern",
    "readPreference",
    "returnKey",
    "session",
    "showRecordId",
    "skip",
    "sort",
    "timeoutMS",
    "timeoutMode",
];

pub(super) const FIND_ONE: &[&str] = &[
    "filter",
    "allowDiskUse",
    "allowPartialResults",
    "collation",
    "comment",
    "hint",
    "let",
    "max",
    "maxTimeMS",
    "min",
    "projection",
    "rawData",
    "readConcern",
    "readPreference",
    "returnKey",
    "session",
    "showRecordId",
    "skip",
    "sort",
    "timeoutMS",
];

fn open<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Cursor<Document, S>, Failure> {
    let mut find = collection.find(call.document("filter")?);
    set!(find, call:
        allow_disk_use = bool("allowDiskUse"),
        allow_partial_results = bool("allowPartialResults"),
        batch_size = u32("batchSize"),
        collation = collation("collation"),
        comment = value("comment"),
        cursor_type = cursor_type("cursorType"),
        hint = hint("hint"),
        let_vars = fields("let"),
        limit = i64("limit"),
        max = fields("max"),
        max_await_time = millis("maxAwaitTimeMS"),
        max_time = millis("maxTimeMS"),
        min = fields("min"),
        no_cursor_timeout = bool("noCursorTimeout"),
        projection = fields("projection"),
        raw_data = bool("rawData"),
        read_concern = read_concern("readConcern"),
        read_preference = preference("readPreference"),
        return_key = bool("returnKey"),
        show_record_id = bool("showRecordId"),
        skip = u64("skip"),
        sort = fields("sort"),
        timeout = millis("timeoutMS"),
        timeout_mode = timeout_mode("timeoutMode"),
    );
    Ok(find.run()?)
}

pub(super) fn find<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let documents = open(call, collection)?.collect::<Result<_, _>>()?;
    Ok(Outcome::Documents(documents))
}

pub(super) fn create_find_cursor(call: &Call<'_>) -> Result<Outcome, Failure> {
    if call.session()?.is_some() {
        return Err(Failure::runner(
            "a cursor in a session cannot be an entity yet",
        ));
    }
    let cursor = open(call, &collection::object(call)?.within(Free));
    call.all_used()?;
    let entity = CursorEntity {
        cursor: Some(cursor?),
    };
    Ok(Outcome::Entity(Entity::Cursor(Arc::new(Mutex::new(
        entity,
    )))))
}

pub(super) fn find_one<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut find = collection.find_one(call.document("filter")?);
    set!(find, call:
        allow_disk_use = bool("allowDiskUse"),
        allow_partial_results = bool("allowPartialResults"),
        collation = collation("collation"),
        comment = value("comment"),
        hint = hint("hint"),
        let_vars = fields("let"),
        max = fields("max"),
        max_time = millis("maxTimeMS"),
        min = fields("min"),
        projection = fields("projection"),
        raw_data = bool("rawData"),
        read_concern = read_concern("readConcern"),
        read_preference = preference("readPreference"),
        return_key = bool("returnKey"),
        show_record_id = bool("showRecordId"),
        skip = u64("skip"),
        sort = fields("sort"),
        timeout = millis("timeoutMS"),
    );
    Ok(one(find.run()?))
}

/// A document, or null if there is none.
pub(super) fn one(document: Option<Document>) -> Outcome {
    document.map_or(Outcome::Value(Bson::Null), Outcome::Document)
}
