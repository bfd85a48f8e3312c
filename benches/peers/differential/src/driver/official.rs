//! The `mongodb` crate, by its API without async.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use mongodb::action::ListSearchIndexes;
use mongodb::error::{BulkWriteError, Error, ErrorKind, WriteFailure};
use mongodb::options::{
    Acknowledgment, AggregateOptions, ChangeStreamPreAndPostImages, ClusteredIndex, Collation,
    CommitQuorum, CursorType, DeleteManyModel, DeleteOneModel, Hint, IndexOptionDefaults,
    InsertOneModel, ReadConcern, ReadPreference, ReadPreferenceOptions, ReplaceOneModel,
    ReturnDocument, SelectionCriteria, TimeseriesOptions, UpdateManyModel, UpdateModifications,
    UpdateOneModel, ValidationAction, ValidationLevel, WriteConcern, WriteModel,
};
use mongodb::results::{CollectionSpecification, UpdateResult};
use mongodb::sync::{Client, Collection, Database};
use mongodb::{IndexModel, Namespace, SearchIndexModel};

use super::arguments::{
    self, any, doc, docs, document, documents, flag, long, millis, name, seconds, short, signed,
    text,
};
use super::{DATABASE, Driver, refused, rejected};

/// The official driver.
pub(crate) struct Official(Client);

impl Official {
    pub(crate) fn new(uri: &str) -> Self {
        Self(Client::with_uri_str(uri).expect("a client"))
    }
}

impl Driver for Official {
    fn run(&mut self, operation: &Document) -> Document {
        outcome(perform(&self.0, operation))
    }
}

/// Around what the `mongodb` crate lacks.
macro_rules! ours {
    ($($code:tt)*) => {};
}

include!("interpreter.rs");

/// A ping.
fn ping(database: &Database) -> Result<Bson, Error> {
    Ok(database.run_command(doc! { "ping": 1 }).run()?.into())
}

fn failure(error: &Error) -> Document {
    match &*error.kind {
        ErrorKind::Command(command) => refused(command.code, Vec::new(), None),
        ErrorKind::Write(WriteFailure::WriteError(write)) => {
            refused(0, vec![(0, write.code)], None)
        }
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => {
            refused(0, Vec::new(), Some(concern.code))
        }
        ErrorKind::InsertMany(failure) => {
            let writes = failure.write_errors.iter().flatten();
            let concern = failure.write_concern_error.as_ref();
            refused(
                0,
                writes.map(|write| (write.index, write.code)).collect(),
                concern.map(|concern| concern.code),
            )
        }
        ErrorKind::BulkWrite(failure) => bulk_failure(error, failure),
        _ => rejected(&error.to_string()),
    }
}

fn bulk_failure(error: &Error, failure: &BulkWriteError) -> Document {
    let writes: BTreeMap<_, _> = failure.write_errors.iter().collect();
    let writes: Vec<_> = writes
        .into_iter()
        .map(|(index, write)| (*index, write.code))
        .collect();
    let concern = failure
        .write_concern_errors
        .first()
        .map(|concern| concern.code);
    // The error of the command itself is the source.
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    match source.map(|source| &*source.kind) {
        Some(ErrorKind::Command(command)) => refused(command.code, writes, concern),
        Some(_) => rejected(&error.to_string()),
        None => refused(0, writes, concern),
    }
}

/// An option whose type the crate can read from a document.
fn parsed<T: serde::de::DeserializeOwned>(arguments: &Document, name: &str) -> Option<T> {
    let value = any(arguments, name)?;
    Some(bson::deserialize_from_bson(value).expect("an option"))
}

fn modification(arguments: &Document, name: &str) -> UpdateModifications {
    match any(arguments, name).expect("an update") {
        Bson::Document(update) => UpdateModifications::Document(update),
        _ => UpdateModifications::Pipeline(documents(arguments, name)),
    }
}

fn collation(arguments: &Document, name: &str) -> Option<Collation> {
    parsed(arguments, name)
}

fn hint(arguments: &Document, name: &str) -> Option<Hint> {
    parsed(arguments, name)
}

fn read_concern(arguments: &Document, name: &str) -> Option<ReadConcern> {
    parsed(arguments, name)
}

fn write_concern(arguments: &Document, name: &str) -> Option<WriteConcern> {
    let parts = doc(arguments, name)?;
    let mut concern = WriteConcern::default();
    concern.w = parts.get("w").map(|w| match w {
        Bson::String(mode) if mode == "majority" => Acknowledgment::Majority,
        Bson::String(mode) => Acknowledgment::Custom(mode.clone()),
        _ => Acknowledgment::Nodes(short(&parts, "w").expect("a number")),
    });
    concern.w_timeout = millis(&parts, "wtimeoutMS");
    concern.journal = flag(&parts, "journal");
    Some(concern)
}

fn preference(arguments: &Document, name: &str) -> Option<SelectionCriteria> {
    let parts = doc(arguments, name)?;
    let limit = seconds(&parts, "maxStalenessSeconds");
    let options = limit.map(|limit| {
        ReadPreferenceOptions::builder()
            .max_staleness(limit)
            .build()
    });
    let preference = match text(&parts, "mode").expect("a mode").as_str() {
        "primary" => ReadPreference::primary(),
        "primaryPreferred" => ReadPreference::primary_preferred(options),
        "secondary" => ReadPreference::secondary(options),
        "secondaryPreferred" => ReadPreference::secondary_preferred(options),
        _ => ReadPreference::nearest(options),
    };
    Some(SelectionCriteria::ReadPreference(preference))
}

fn cursor_type(arguments: &Document, name: &str) -> Option<CursorType> {
    parsed(arguments, name)
}

fn return_document(arguments: &Document, name: &str) -> Option<ReturnDocument> {
    Some(match text(arguments, name)?.as_str() {
        "after" => ReturnDocument::After,
        _ => ReturnDocument::Before,
    })
}

fn index_model(index: &Document) -> IndexModel {
    bson::deserialize_from_document(index.clone()).expect("an index")
}

fn commit_quorum(arguments: &Document, name: &str) -> Option<CommitQuorum> {
    parsed(arguments, name)
}

fn listed_indexes(indexes: Vec<IndexModel>) -> Bson {
    let both = |index: IndexModel| {
        let name = index.options.and_then(|options| options.name);
        Bson::from(doc! { "key": index.keys, "name": name })
    };
    Bson::Array(indexes.into_iter().map(both).collect())
}

fn listed_collection(collection: CollectionSpecification) -> Bson {
    let kind = bson::serialize_to_bson(&collection.collection_type).expect("a type");
    doc! { "name": collection.name, "type": kind }.into()
}

fn images(arguments: &Document, name: &str) -> Option<ChangeStreamPreAndPostImages> {
    parsed(arguments, name)
}

fn clustered_index(arguments: &Document, name: &str) -> Option<ClusteredIndex> {
    parsed(arguments, name)
}

fn index_option_defaults(arguments: &Document, name: &str) -> Option<IndexOptionDefaults> {
    parsed(arguments, name)
}

fn timeseries(arguments: &Document, name: &str) -> Option<TimeseriesOptions> {
    parsed(arguments, name)
}

fn validation_action(arguments: &Document, name: &str) -> Option<ValidationAction> {
    parsed(arguments, name)
}

fn validation_level(arguments: &Document, name: &str) -> Option<ValidationLevel> {
    parsed(arguments, name)
}

fn search_index_model(index: &Document) -> SearchIndexModel {
    let fields = ["definition", "name", "type"].into_iter();
    let fields = fields.filter_map(|name| Some((name.to_owned(), any(index, name)?)));
    bson::deserialize_from_document(fields.collect()).expect("a search index")
}

fn list_search_indexes<'a>(
    things: &'a Collection<Document>,
    arguments: &Document,
) -> ListSearchIndexes<'a> {
    let mut options = AggregateOptions::default();
    options.allow_disk_use = flag(arguments, "allowDiskUse");
    options.batch_size = short(arguments, "batchSize");
    options.collation = collation(arguments, "collation");
    options.comment = any(arguments, "comment");
    options.max_time = millis(arguments, "maxTimeMS");
    let list = things.list_search_indexes().aggregate_options(options);
    match text(arguments, "name") {
        Some(name) => list.name(name),
        None => list,
    }
}

fn rename(_: &Collection<Document>, _: &Document) -> Result<Bson, Error> {
    unreachable!("the mongodb crate has no such operation")
}

fn bulk_write(_: &Collection<Document>, _: &Document) -> Result<Bson, Error> {
    unreachable!("the mongodb crate has no such operation")
}

fn client_bulk_write(client: &Client, arguments: &Document) -> Result<Bson, Error> {
    let models = documents(arguments, "models");
    let mut bulk = client.bulk_write(models.iter().map(model));
    set!(bulk, arguments:
        bypass_document_validation = flag("bypassDocumentValidation"),
        comment = any("comment"),
        let_vars = doc("let"),
        ordered = flag("ordered"),
        write_concern = write_concern("writeConcern"),
    );
    let (summary, verbose) = if flag(arguments, "verboseResults") == Some(true) {
        let result = bulk.verbose_results().run()?;
        let count = |count: u64| number(count);
        let verbose = doc! {
            "insertResults": by_index(result.insert_results, |one| one.inserted_id),
            "updateResults": by_index(result.update_results, |one| updated(one).into()),
            "deleteResults": by_index(result.delete_results, |one| count(one.deleted_count)),
        };
        (result.summary, Some(verbose))
    } else {
        (bulk.run()?, None)
    };
    let counts = doc! {
        "insertedCount": summary.inserted_count,
        "matchedCount": summary.matched_count,
        "modifiedCount": summary.modified_count,
        "upsertedCount": summary.upserted_count,
        "deletedCount": summary.deleted_count,
        "verbose": verbose,
    };
    Ok(acknowledged(arguments, counts))
}

fn model(model: &Document) -> WriteModel {
    let namespace = Namespace::new(DATABASE, name(model, "collection"));
    let filter = || document(model, "filter");
    let rules = doc(model, "collation");
    let hint = any(model, "hint");
    match name(model, "model").as_str() {
        "insertOne" => InsertOneModel::builder()
            .namespace(namespace)
            .document(document(model, "document"))
            .build()
            .into(),
        "updateOne" => UpdateOneModel::builder()
            .namespace(namespace)
            .filter(filter())
            .update(modification(model, "update"))
            .array_filters(array_filters(model))
            .collation(rules)
            .hint(hint)
            .upsert(flag(model, "upsert"))
            .sort(doc(model, "sort"))
            .build()
            .into(),
        "updateMany" => UpdateManyModel::builder()
            .namespace(namespace)
            .filter(filter())
            .update(modification(model, "update"))
            .array_filters(array_filters(model))
            .collation(rules)
            .hint(hint)
            .upsert(flag(model, "upsert"))
            .build()
            .into(),
        "replaceOne" => ReplaceOneModel::builder()
            .namespace(namespace)
            .filter(filter())
            .replacement(document(model, "replacement"))
            .collation(rules)
            .hint(hint)
            .upsert(flag(model, "upsert"))
            .sort(doc(model, "sort"))
            .build()
            .into(),
        "deleteOne" => DeleteOneModel::builder()
            .namespace(namespace)
            .filter(filter())
            .collation(rules)
            .hint(hint)
            .build()
            .into(),
        _ => DeleteManyModel::builder()
            .namespace(namespace)
            .filter(filter())
            .collation(rules)
            .hint(hint)
            .build()
            .into(),
    }
}

fn array_filters(model: &Document) -> Option<Vec<Bson>> {
    let filters = docs(model, "arrayFilters")?;
    Some(filters.into_iter().map(Bson::Document).collect())
}
