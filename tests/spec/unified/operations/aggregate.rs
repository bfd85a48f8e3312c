//! `aggregate` of a collection and of a database.

use bson::Document;
use mongotls::{Aggregate, Collection, Database, Scope};

use super::arguments::set;
use super::{Call, Outcome};
use crate::unified::failure::Failure;

pub(super) const AGGREGATE: &[&str] = &[
    "pipeline",
    "allowDiskUse",
    "batchSize",
    "bypassDocumentValidation",
    "collation",
    "comment",
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

pub(super) fn of_collection<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let pipeline = call.documents("pipeline")?;
    run(call, collection.aggregate(pipeline))
}

pub(super) fn of_database<S: Scope>(
    call: &Call<'_>,
    database: &Database<S>,
) -> Result<Outcome, Failure> {
    let pipeline = call.documents("pipeline")?;
    run(call, database.aggregate(pipeline))
}

fn run<S: Scope>(call: &Call<'_>, action: Aggregate<Document, S>) -> Result<Outcome, Failure> {
    let mut aggregate = action;
    set!(aggregate, call:
        allow_disk_use = bool("allowDiskUse"),
        batch_size = u32("batchSize"),
        bypass_document_validation = bool("bypassDocumentValidation"),
        collation = collation("collation"),
        comment = value("comment"),
        hint = hint("hint"),
        let_vars = fields("let"),
        max_await_time = millis("maxAwaitTimeMS"),
        max_time = millis("maxTimeMS"),
        raw_data = bool("rawData"),
        read_concern = read_concern("readConcern"),
        read_preference = preference("readPreference"),
        timeout = millis("timeoutMS"),
        timeout_mode = timeout_mode("timeoutMode"),
        write_concern = write_concern("writeConcern"),
    );
    let documents = aggregate.run()?.collect::<Result<_, _>>()?;
    Ok(Outcome::Documents(documents))
}
