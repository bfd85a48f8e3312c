//! Updates, replacements and deletions of a collection, and the operations that return the document that they change.

use bson::{Bson, Document, doc};
use mongotls::options::ReturnDocument;
use mongotls::results::UpdateResult;
use mongotls::{Collection, Scope};

use super::arguments::set;
use super::find::one;
use super::{Call, Outcome};
use crate::unified::failure::Failure;

pub(super) const DELETE: &[&str] = &[
    "filter",
    "collation",
    "comment",
    "hint",
    "let",
    "rawData",
    "session",
    "timeoutMS",
    "writeConcern",
];

pub(super) const UPDATE: &[&str] = &[
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
    "writeConcern",
];

pub(super) const FIND_AND_MODIFY: &[&str] = &[
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

impl Call<'_> {
    fn return_document(&self, name: &'static str) -> Result<Option<ReturnDocument>, Failure> {
        self.read(name, "Before or After", |value| match value.as_str()? {
            "Before" => Some(ReturnDocument::Before),
            "After" => Some(ReturnDocument::After),
            _ => None,
        })
    }
}

/// Sets the options that all writes of this file have.
macro_rules! set_common {
    ($action:ident, $call:ident: $($more:tt)*) => {
        set!($action, $call:
            collation = collation("collation"),
            comment = value("comment"),
            hint = hint("hint"),
            let_vars = fields("let"),
            raw_data = bool("rawData"),
            timeout = millis("timeoutMS"),
            write_concern = write_concern("writeConcern"),
            $($more)*
        );
    };
}

pub(super) fn delete_one<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut delete = collection.delete_one(call.document("filter")?);
    set_common!(delete, call:);
    deleted(delete.run()?.deleted_count)
}

pub(super) fn delete_many<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut delete = collection.delete_many(call.document("filter")?);
    set_common!(delete, call:);
    deleted(delete.run()?.deleted_count)
}

pub(super) fn update_one<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut update = collection.update_one(call.document("filter")?, call.present("update")?);
    set_common!(update, call:
        array_filters = array("arrayFilters"),
        bypass_document_validation = bool("bypassDocumentValidation"),
        sort = fields("sort"),
        upsert = bool("upsert"),
    );
    updated(update.run()?)
}

pub(super) fn update_many<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut update = collection.update_many(call.document("filter")?, call.present("update")?);
    set_common!(update, call:
        array_filters = array("arrayFilters"),
        bypass_document_validation = bool("bypassDocumentValidation"),
        upsert = bool("upsert"),
    );
    updated(update.run()?)
}

pub(super) fn replace_one<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let filter = call.document("filter")?;
    let mut replace = collection.replace_one(filter, call.document("replacement")?);
    set_common!(replace, call:
        bypass_document_validation = bool("bypassDocumentValidation"),
        sort = fields("sort"),
        upsert = bool("upsert"),
    );
    updated(replace.run()?)
}

pub(super) fn find_one_and_delete<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut delete = collection.find_one_and_delete(call.document("filter")?);
    set_common!(delete, call:
        max_time = millis("maxTimeMS"),
        projection = fields("projection"),
        sort = fields("sort"),
    );
    Ok(one(delete.run()?))
}

pub(super) fn find_one_and_replace<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let filter = call.document("filter")?;
    let mut replace = collection.find_one_and_replace(filter, call.document("replacement")?);
    set_common!(replace, call:
        bypass_document_validation = bool("bypassDocumentValidation"),
        max_time = millis("maxTimeMS"),
        projection = fields("projection"),
        return_document = return_document("returnDocument"),
        sort = fields("sort"),
        upsert = bool("upsert"),
    );
    Ok(one(replace.run()?))
}

pub(super) fn find_one_and_update<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let filter = call.document("filter")?;
    let mut update = collection.find_one_and_update(filter, call.present("update")?);
    set_common!(update, call:
        array_filters = array("arrayFilters"),
        bypass_document_validation = bool("bypassDocumentValidation"),
        max_time = millis("maxTimeMS"),
        projection = fields("projection"),
        return_document = return_document("returnDocument"),
        sort = fields("sort"),
        upsert = bool("upsert"),
    );
    Ok(one(update.run()?))
}

fn deleted(count: u64) -> Result<Outcome, Failure> {
    Ok(Outcome::Document(doc! { "deletedCount": number(count) }))
}

fn updated(result: UpdateResult) -> Result<Outcome, Failure> {
    let mut fields = doc! {
        "matchedCount": number(result.matched_count),
        "modifiedCount": number(result.modified_count),
        "upsertedCount": i64::from(result.upserted_id.is_some()),
    };
    if let Some(id) = result.upserted_id {
        fields.insert("upsertedId", id);
    }
    Ok(Outcome::Document(fields))
}

fn number(count: u64) -> Bson {
    i64::try_from(count).map_or(Bson::Null, Bson::Int64)
}
