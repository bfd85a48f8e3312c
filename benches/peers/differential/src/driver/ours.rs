//! mongotls.

use std::collections::BTreeMap;
use std::time::Duration;

use bson::{Bson, Document, doc};
use mongotls::options::{
    ChangeStreamPreAndPostImages, ClusteredIndex, Collation, CollationAlternate,
    CollationCaseFirst, CollationMaxVariable, CollationStrength, CursorType, Hint, ReadConcern,
    ReadPreference, ReadPreferenceMode, ReturnDocument, TimeseriesGranularity, TimeseriesOptions,
    ValidationAction, ValidationLevel, WriteConcern,
};
use mongotls::results::UpdateResult;
use mongotls::{
    Client, Collection, Database, Error, IndexModel, ListSearchIndexes, Namespace,
    SearchIndexModel, SearchIndexType,
};

use super::arguments::{
    self, any, doc, docs, document, documents, flag, long, millis, name, seconds, short, signed,
    text,
};
use super::{DATABASE, Driver, refused, rejected};

/// The driver under test.
pub(crate) struct Ours(Client);

impl Ours {
    pub(crate) fn new(uri: &str) -> Self {
        Self(Client::connect(uri).expect("a client"))
    }
}

impl Driver for Ours {
    fn run(&mut self, operation: &Document) -> Document {
        outcome(perform(&self.0, operation))
    }
}

/// Around what the `mongodb` crate lacks.
macro_rules! ours {
    ($($code:tt)*) => { $($code)* };
}

include!("interpreter.rs");

/// A ping.
fn ping(database: &Database) -> Result<Bson, Error> {
    Ok(database.run_command(doc! { "ping": 1 })?.into())
}

fn failure(error: &Error) -> Document {
    let why = error.to_string();
    let bulk = error.bulk_failure();
    let concerns = bulk.into_iter().flat_map(|bulk| &bulk.concern_errors);
    let mut concern = concerns.map(|concern| concern.code).next();
    if let Some(failure) = error.write_failure() {
        let writes = failure.errors.iter();
        let writes = writes.map(|write| (write.index, write.code)).collect();
        concern = concern.or(failure.concern_error.as_ref().map(|concern| concern.code));
        return refused(0, writes, concern);
    }
    match error.command() {
        Some(command) => refused(command.code, Vec::new(), concern),
        None => rejected(&why),
    }
}

fn modification(arguments: &Document, name: &str) -> Bson {
    any(arguments, name).expect("an update")
}

fn collation(arguments: &Document, name: &str) -> Option<Collation> {
    let rules = doc(arguments, name)?;
    let mut collation = Collation::new(text(&rules, "locale").expect("a locale"));
    collation.strength = signed(&rules, "strength").map(|level| match level {
        1 => CollationStrength::Primary,
        2 => CollationStrength::Secondary,
        3 => CollationStrength::Tertiary,
        4 => CollationStrength::Quaternary,
        _ => CollationStrength::Identical,
    });
    collation.case_level = flag(&rules, "caseLevel");
    collation.case_first = text(&rules, "caseFirst").map(|first| match first.as_str() {
        "upper" => CollationCaseFirst::Upper,
        "lower" => CollationCaseFirst::Lower,
        _ => CollationCaseFirst::Off,
    });
    collation.numeric_ordering = flag(&rules, "numericOrdering");
    collation.alternate = text(&rules, "alternate").map(|alternate| match alternate.as_str() {
        "shifted" => CollationAlternate::Shifted,
        _ => CollationAlternate::NonIgnorable,
    });
    collation.max_variable = text(&rules, "maxVariable").map(|most| match most.as_str() {
        "space" => CollationMaxVariable::Space,
        _ => CollationMaxVariable::Punct,
    });
    collation.normalization = flag(&rules, "normalization");
    collation.backwards = flag(&rules, "backwards");
    Some(collation)
}

fn hint(arguments: &Document, name: &str) -> Option<Hint> {
    Some(match any(arguments, name)? {
        Bson::String(index) => Hint::Name(index),
        Bson::Document(keys) => Hint::Keys(keys),
        other => panic!("the hint {other}"),
    })
}

fn read_concern(arguments: &Document, name: &str) -> Option<ReadConcern> {
    let level = text(&doc(arguments, name)?, "level");
    Some(ReadConcern::new(level.expect("a level")))
}

fn write_concern(arguments: &Document, name: &str) -> Option<WriteConcern> {
    let parts = doc(arguments, name)?;
    let mut concern = WriteConcern::default();
    concern = match parts.get("w") {
        None => concern,
        Some(Bson::String(mode)) => concern.w(mode.as_str()),
        Some(_) => concern.w(short(&parts, "w").expect("a number")),
    };
    if let Some(limit) = millis(&parts, "wtimeoutMS") {
        concern = concern.w_timeout(limit);
    }
    if let Some(journal) = flag(&parts, "journal") {
        concern = concern.journal(journal);
    }
    Some(concern)
}

fn preference(arguments: &Document, name: &str) -> Option<ReadPreference> {
    let parts = doc(arguments, name)?;
    let mode = match text(&parts, "mode").expect("a mode").as_str() {
        "primary" => ReadPreferenceMode::Primary,
        "primaryPreferred" => ReadPreferenceMode::PrimaryPreferred,
        "secondary" => ReadPreferenceMode::Secondary,
        "secondaryPreferred" => ReadPreferenceMode::SecondaryPreferred,
        _ => ReadPreferenceMode::Nearest,
    };
    let preference = ReadPreference::new(mode);
    Some(match seconds(&parts, "maxStalenessSeconds") {
        Some(limit) => preference.max_staleness(limit),
        None => preference,
    })
}

fn cursor_type(arguments: &Document, name: &str) -> Option<CursorType> {
    Some(match text(arguments, name)?.as_str() {
        "tailable" => CursorType::Tailable,
        "tailableAwait" => CursorType::TailableAwait,
        _ => CursorType::NonTailable,
    })
}

fn return_document(arguments: &Document, name: &str) -> Option<ReturnDocument> {
    Some(match text(arguments, name)?.as_str() {
        "after" => ReturnDocument::After,
        _ => ReturnDocument::Before,
    })
}

fn index_model(index: &Document) -> IndexModel {
    let mut model = IndexModel::new(document(index, "key"));
    if let Some(name) = text(index, "name") {
        model = model.with_name(name);
    }
    set!(model, index:
        collation = collation("collation"),
        expire_after = seconds("expireAfterSeconds"),
        hidden = flag("hidden"),
        partial_filter_expression = doc("partialFilterExpression"),
        sparse = flag("sparse"),
        unique = flag("unique"),
    );
    for option in OTHER_INDEX_OPTIONS {
        if let Some(value) = any(index, option) {
            model = model.option(*option, value);
        }
    }
    model
}

/// The options of indexes that [`IndexModel`] has no method for.
const OTHER_INDEX_OPTIONS: &[&str] = &[
    "background",
    "bits",
    "default_language",
    "language_override",
    "max",
    "min",
    "storageEngine",
    "weights",
    "wildcardProjection",
];

fn commit_quorum(arguments: &Document, name: &str) -> Option<Bson> {
    any(arguments, name)
}

fn listed_indexes(indexes: Vec<Document>) -> Bson {
    // The `mongodb` crate returns only what it has a field for, so the keys and the names must do.
    let both =
        |index: Document| doc! { "key": document(&index, "key"), "name": text(&index, "name") };
    Bson::Array(
        indexes
            .into_iter()
            .map(|index| both(index).into())
            .collect(),
    )
}

fn listed_collection(collection: Document) -> Bson {
    doc! { "name": text(&collection, "name"), "type": text(&collection, "type") }.into()
}

fn images(arguments: &Document, name: &str) -> Option<ChangeStreamPreAndPostImages> {
    let images = doc(arguments, name)?;
    flag(&images, "enabled").map(ChangeStreamPreAndPostImages::new)
}

fn clustered_index(arguments: &Document, name: &str) -> Option<ClusteredIndex> {
    let index = doc(arguments, name)?;
    Some(match text(&index, "name") {
        Some(name) => ClusteredIndex::default().name(name),
        None => ClusteredIndex::default(),
    })
}

fn index_option_defaults(arguments: &Document, name: &str) -> Option<Document> {
    doc(arguments, name)
}

fn timeseries(arguments: &Document, name: &str) -> Option<TimeseriesOptions> {
    let parts = doc(arguments, name)?;
    let mut options = TimeseriesOptions::new(text(&parts, "timeField").expect("a field"));
    options.meta_field = text(&parts, "metaField");
    options.granularity = text(&parts, "granularity").map(|unit| match unit.as_str() {
        "minutes" => TimeseriesGranularity::Minutes,
        "hours" => TimeseriesGranularity::Hours,
        _ => TimeseriesGranularity::Seconds,
    });
    let time = |name| long(&parts, name).map(Duration::from_secs);
    options.bucket_max_span = time("bucketMaxSpanSeconds");
    options.bucket_rounding = time("bucketRoundingSeconds");
    Some(options)
}

fn validation_action(arguments: &Document, name: &str) -> Option<ValidationAction> {
    Some(match text(arguments, name)?.as_str() {
        "warn" => ValidationAction::Warn,
        _ => ValidationAction::Error,
    })
}

fn validation_level(arguments: &Document, name: &str) -> Option<ValidationLevel> {
    Some(match text(arguments, name)?.as_str() {
        "off" => ValidationLevel::Off,
        "moderate" => ValidationLevel::Moderate,
        _ => ValidationLevel::Strict,
    })
}

fn search_index_model(index: &Document) -> SearchIndexModel {
    let mut model = SearchIndexModel::new(document(index, "definition"));
    if let Some(name) = text(index, "name") {
        model = model.name(name);
    }
    match text(index, "type").as_deref() {
        None => model,
        Some("vectorSearch") => model.index_type(SearchIndexType::VectorSearch),
        Some(_) => model.index_type(SearchIndexType::Search),
    }
}

fn list_search_indexes(things: &Collection<Document>, arguments: &Document) -> ListSearchIndexes {
    let mut list = things.list_search_indexes();
    set!(list, arguments:
        allow_disk_use = flag("allowDiskUse"),
        batch_size = short("batchSize"),
        collation = collation("collation"),
        comment = any("comment"),
        max_time = millis("maxTimeMS"),
        name = text("name"),
    );
    list
}

fn rename(things: &Collection<Document>, arguments: &Document) -> Result<Bson, Error> {
    let mut rename = things.rename(name(arguments, "to"));
    set!(rename, arguments:
        comment = any("comment"),
        drop_target = flag("dropTarget"),
        write_concern = write_concern("writeConcern"),
    );
    rename.run()?;
    Ok(Bson::Null)
}

/// Adds the models of the arguments to `$bulk`. The arguments in front of those of a model are `$target`.
macro_rules! add_models {
    ($bulk:ident, $arguments:ident, $model:ident, [$($target:expr)?]) => {
        for $model in &documents($arguments, "models") {
            let kind = name($model, "model");
            match kind.as_str() {
                "insertOne" => {
                    $bulk.insert_one($($target,)? document($model, "document"));
                }
                "updateOne" => {
                    let filter = document($model, "filter");
                    let mut last =
                        $bulk.update_one($($target,)? filter, modification($model, "update"));
                    set!(last, $model:
                        array_filters = docs("arrayFilters"),
                        collation = collation("collation"),
                        hint = hint("hint"),
                        sort = doc("sort"),
                        upsert = flag("upsert"),
                    );
                    let _ = last;
                }
                "updateMany" => {
                    let filter = document($model, "filter");
                    let mut last =
                        $bulk.update_many($($target,)? filter, modification($model, "update"));
                    set!(last, $model:
                        array_filters = docs("arrayFilters"),
                        collation = collation("collation"),
                        hint = hint("hint"),
                        upsert = flag("upsert"),
                    );
                    let _ = last;
                }
                "replaceOne" => {
                    let filter = document($model, "filter");
                    let mut last =
                        $bulk.replace_one($($target,)? filter, document($model, "replacement"));
                    set!(last, $model:
                        collation = collation("collation"),
                        hint = hint("hint"),
                        sort = doc("sort"),
                        upsert = flag("upsert"),
                    );
                    let _ = last;
                }
                _ => {
                    let filter = document($model, "filter");
                    let mut last = match kind.as_str() {
                        "deleteOne" => $bulk.delete_one($($target,)? filter),
                        _ => $bulk.delete_many($($target,)? filter),
                    };
                    set!(last, $model: collation = collation("collation"), hint = hint("hint"));
                    let _ = last;
                }
            }
        }
    };
}

fn bulk_write(things: &Collection<Document>, arguments: &Document) -> Result<Bson, Error> {
    let mut bulk = things.bulk();
    set!(bulk, arguments:
        bypass_document_validation = flag("bypassDocumentValidation"),
        comment = any("comment"),
        let_vars = doc("let"),
        ordered = flag("ordered"),
        write_concern = write_concern("writeConcern"),
    );
    add_models!(bulk, arguments, model, []);
    let result = bulk.run()?;
    let counts = doc! {
        "insertedCount": number(result.inserted_count),
        "matchedCount": number(result.matched_count),
        "modifiedCount": number(result.modified_count),
        "upsertedCount": number(result.upserted_count),
        "deletedCount": number(result.deleted_count),
        "upsertedIds": by_index(result.upserted_ids, |id| id),
    };
    Ok(acknowledged(arguments, counts))
}

fn client_bulk_write(client: &Client, arguments: &Document) -> Result<Bson, Error> {
    let mut bulk = client.bulk();
    set!(bulk, arguments:
        bypass_document_validation = flag("bypassDocumentValidation"),
        comment = any("comment"),
        let_vars = doc("let"),
        ordered = flag("ordered"),
        write_concern = write_concern("writeConcern"),
    );
    add_models!(
        bulk,
        arguments,
        model,
        [Namespace::new(DATABASE, name(model, "collection"))]
    );
    let (summary, verbose) = if flag(arguments, "verboseResults") == Some(true) {
        let result = bulk.verbose_results().run()?;
        let verbose = doc! {
            "insertResults": by_index(result.insert_results, |one| one.inserted_id),
            "updateResults": by_index(result.update_results, |one| updated(one).into()),
            "deleteResults": by_index(result.delete_results, |one| number(one.deleted_count)),
        };
        (result.summary, Some(verbose))
    } else {
        (bulk.run()?, None)
    };
    let counts = doc! {
        "insertedCount": number(summary.inserted_count),
        "matchedCount": number(summary.matched_count),
        "modifiedCount": number(summary.modified_count),
        "upsertedCount": number(summary.upserted_count),
        "deletedCount": number(summary.deleted_count),
        "verbose": verbose,
    };
    Ok(acknowledged(arguments, counts))
}
