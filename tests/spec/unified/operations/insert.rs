//! `insertOne` and `insertMany` of a collection.

use bson::{Document, doc};
use mongotls::{Collection, Scope};

use super::arguments::set;
use super::{Call, Outcome};
use crate::unified::failure::Failure;

pub(super) const INSERT_ONE: &[&str] = &[
    "document",
    "bypassDocumentValidation",
    "comment",
    "rawData",
    "session",
    "timeoutMS",
    "writeConcern",
];

pub(super) const INSERT_MANY: &[&str] = &[
    "documents",
    "bypassDocumentValidation",
    "comment",
    "ordered",
    "rawData",
    "session",
    "timeoutMS",
    "writeConcern",
];

pub(super) fn insert_one<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut insert = collection.insert_one(call.document("document")?);
    set!(insert, call:
        bypass_document_validation = bool("bypassDocumentValidation"),
        comment = value("comment"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
        write_concern = write_concern("writeConcern"),
    );
    let result = insert.run()?;
    Ok(Outcome::Document(doc! { "insertedId": result.inserted_id }))
}

pub(super) fn insert_many<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut insert = collection.insert_many(call.documents("documents")?);
    set!(insert, call:
        bypass_document_validation = bool("bypassDocumentValidation"),
        comment = value("comment"),
        ordered = bool("ordered"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
        write_concern = write_concern("writeConcern"),
    );
    let result = insert.run()?;
    let ids = result.inserted_ids.into_iter();
    let ids: Document = ids.map(|(index, id)| (index.to_string(), id)).collect();
    let count = i64::try_from(result.inserted_count);
    Ok(Outcome::Document(doc! {
        "insertedIds": ids,
        "insertedCount": count.map_err(|error| Failure::runner(error.to_string()))?,
    }))
}
