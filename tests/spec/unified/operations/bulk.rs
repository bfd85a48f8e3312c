//! `bulkWrite` of a collection and `clientBulkWrite` of a client.
//!
//! The arguments of a model are read like those of an operation, so that an ignored one is a failure.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use mongotls::results::PartialBulkWriteResult;
use mongotls::{Client, ClientBulk, Collection, Namespace, Scope};

use super::arguments::set;
use super::{Call, Outcome};
use crate::unified::failure::Failure;
use crate::unified::json::items;

pub(super) const BULK_WRITE: &[&str] = &[
    "requests",
    "ordered",
    "bypassDocumentValidation",
    "comment",
    "let",
    "rawData",
    "writeConcern",
    "session",
    "timeoutMS",
];

pub(super) const CLIENT_BULK_WRITE: &[&str] = &[
    "models",
    "ordered",
    "bypassDocumentValidation",
    "let",
    "comment",
    "verboseResults",
    "writeConcern",
    "rawData",
    "session",
    "timeoutMS",
];

/// The models of an argument: the name of each, and its arguments.
fn models<'a>(
    call: &'a Call<'_>,
    argument: &'static str,
) -> Result<Vec<(&'a str, Call<'a>)>, Failure> {
    let models = call.argument(argument).map(items).unwrap_or_default();
    let models = models.iter().map(|model| {
        let mut fields = model.as_object().into_iter().flatten();
        let (Some((name, arguments)), None) = (fields.next(), fields.next()) else {
            return Err(Failure::malformed(format!("the model {model}")));
        };
        Ok((name.as_str(), Call::new(call.run, None, arguments)))
    });
    models.collect()
}

/// Sets the options of the model that was added last.
macro_rules! set_model {
    ($added:expr, $call:ident: $($options:tt)*) => {{
        let mut added = $added;
        set!(added, $call: $($options)*);
        let _ = added;
    }};
}

pub(super) fn bulk_write<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut bulk = collection.bulk();
    set!(bulk, call:
        ordered = bool("ordered"),
        bypass_document_validation = bool("bypassDocumentValidation"),
        comment = value("comment"),
        let_vars = fields("let"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
        write_concern = write_concern("writeConcern"),
    );
    for (name, model) in models(call, "requests")? {
        match name {
            "insertOne" => bulk.insert_one(model.document("document")?),
            "updateOne" => {
                set_model!(bulk.update_one(model.document("filter")?, model.present("update")?), model:
                    array_filters = array("arrayFilters"),
                    collation = collation("collation"),
                    hint = hint("hint"),
                    sort = fields("sort"),
                    upsert = bool("upsert"),
                );
            }
            "updateMany" => {
                set_model!(bulk.update_many(model.document("filter")?, model.present("update")?), model:
                    array_filters = array("arrayFilters"),
                    collation = collation("collation"),
                    hint = hint("hint"),
                    upsert = bool("upsert"),
                );
            }
            "replaceOne" => {
                set_model!(bulk.replace_one(model.document("filter")?, model.document("replacement")?), model:
                    collation = collation("collation"),
                    hint = hint("hint"),
                    sort = fields("sort"),
                    upsert = bool("upsert"),
                );
            }
            "deleteOne" => {
                set_model!(bulk.delete_one(model.document("filter")?), model:
                    collation = collation("collation"),
                    hint = hint("hint"),
                );
            }
            "deleteMany" => {
                set_model!(bulk.delete_many(model.document("filter")?), model:
                    collation = collation("collation"),
                    hint = hint("hint"),
                );
            }
            other => return Err(Failure::malformed(format!("the model {other}"))),
        }
        model.all_used()?;
    }
    call.all_used()?;
    let result = bulk.run()?;
    Ok(Outcome::Document(document(
        &PartialBulkWriteResult::Collection(result),
    )))
}

/// The collection that `namespace` names.
fn namespace(client: &Client, model: &Call<'_>) -> Result<Namespace, Failure> {
    let text = model.text("namespace")?;
    let (database, collection) = text
        .split_once('.')
        .ok_or_else(|| Failure::malformed(format!("the namespace {text}")))?;
    let database = client.database(database);
    Ok(database.collection::<Document>(collection).namespace())
}

pub(super) fn client_bulk_write(call: &Call<'_>) -> Result<Outcome, Failure> {
    let client = &super::client::client(call)?.client;
    let outcome = match call.session()? {
        Some(session) => {
            session.with(|session| run_client_bulk(call, client, client.within(session).bulk()))
        }
        None => run_client_bulk(call, client, client.bulk()),
    };
    call.all_used()?;
    outcome
}

fn run_client_bulk<S: Scope>(
    call: &Call<'_>,
    client: &Client,
    bulk: ClientBulk<S>,
) -> Result<Outcome, Failure> {
    let mut bulk = bulk;
    set!(bulk, call:
        ordered = bool("ordered"),
        bypass_document_validation = bool("bypassDocumentValidation"),
        comment = value("comment"),
        let_vars = fields("let"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
        write_concern = write_concern("writeConcern"),
    );
    for (name, model) in models(call, "models")? {
        let target = namespace(client, &model)?;
        match name {
            "insertOne" => bulk.insert_one(target, model.document("document")?),
            "updateOne" => {
                set_model!(bulk.update_one(target, model.document("filter")?, model.present("update")?), model:
                    array_filters = array("arrayFilters"),
                    collation = collation("collation"),
                    hint = hint("hint"),
                    sort = fields("sort"),
                    upsert = bool("upsert"),
                );
            }
            "updateMany" => {
                set_model!(bulk.update_many(target, model.document("filter")?, model.present("update")?), model:
                    array_filters = array("arrayFilters"),
                    collation = collation("collation"),
                    hint = hint("hint"),
                    upsert = bool("upsert"),
                );
            }
            "replaceOne" => {
                set_model!(bulk.replace_one(target, model.document("filter")?, model.document("replacement")?), model:
                    collation = collation("collation"),
                    hint = hint("hint"),
                    sort = fields("sort"),
                    upsert = bool("upsert"),
                );
            }
            "deleteOne" => {
                set_model!(bulk.delete_one(target, model.document("filter")?), model:
                    collation = collation("collation"),
                    hint = hint("hint"),
                );
            }
            "deleteMany" => {
                set_model!(bulk.delete_many(target, model.document("filter")?), model:
                    collation = collation("collation"),
                    hint = hint("hint"),
                );
            }
            other => return Err(Failure::malformed(format!("the model {other}"))),
        }
        model.all_used()?;
    }
    let result = match call.bool("verboseResults")? {
        Some(true) => PartialBulkWriteResult::Verbose(bulk.verbose_results().run()?),
        _ => PartialBulkWriteResult::Summary(bulk.run()?),
    };
    Ok(Outcome::Document(document(&result)))
}

/// The result in the form of the cases.
pub(in crate::unified) fn document(result: &PartialBulkWriteResult) -> Document {
    let is_acknowledged = match result {
        PartialBulkWriteResult::Collection(result) => result.acknowledged,
        PartialBulkWriteResult::Summary(result) => result.acknowledged,
        PartialBulkWriteResult::Verbose(result) => result.summary.acknowledged,
        _ => true,
    };
    if !is_acknowledged {
        return doc! { "acknowledged": false };
    }
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut fields = doc! {
        "insertedCount": count(result.inserted_count()),
        "matchedCount": count(result.matched_count()),
        "modifiedCount": count(result.modified_count()),
        "deletedCount": count(result.deleted_count()),
        "upsertedCount": count(result.upserted_count()),
    };
    match result {
        PartialBulkWriteResult::Collection(result) => {
            fields.insert("insertedIds", by_index(&result.inserted_ids, Bson::clone));
            fields.insert("upsertedIds", by_index(&result.upserted_ids, Bson::clone));
        }
        PartialBulkWriteResult::Verbose(result) => {
            let inserts = by_index(&result.insert_results, |one| {
                doc! { "insertedId": &one.inserted_id }.into()
            });
            let updates = by_index(&result.update_results, |one| {
                let mut update = doc! {
                    "matchedCount": count(one.matched_count),
                    "modifiedCount": count(one.modified_count),
                };
                update.extend(
                    one.upserted_id
                        .iter()
                        .map(|id| ("upsertedId".to_owned(), id.clone())),
                );
                update.into()
            });
            let deletes = by_index(&result.delete_results, |one| {
                doc! { "deletedCount": count(one.deleted_count) }.into()
            });
            fields.insert("insertResults", inserts);
            fields.insert("updateResults", updates);
            fields.insert("deleteResults", deletes);
        }
        _ => {}
    }
    fields
}

fn by_index<T>(results: &BTreeMap<usize, T>, convert: impl Fn(&T) -> Bson) -> Document {
    let fields = results.iter();
    fields
        .map(|(index, result)| (index.to_string(), convert(result)))
        .collect()
}
