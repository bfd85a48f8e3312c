//! The operations that list, create, change and drop databases and collections.

use bson::{Bson, Document, doc};
use mongotls::options::{
    ChangeStreamPreAndPostImages, ClusteredIndex, TimeseriesGranularity, TimeseriesOptions,
    ValidationAction, ValidationLevel,
};
use mongotls::{Client, Collection, Database, Scope, ScopedClient};
use serde_json::Value;

use super::arguments::set;
use super::{Call, Outcome};
use crate::unified::entities::{CollectionEntity, Entity};
use crate::unified::failure::Failure;
use crate::unified::json::{document, only_arguments};

pub(super) const LIST_DATABASES: &[&str] = &[
    "filter",
    "authorizedDatabases",
    "comment",
    "rawData",
    "session",
    "timeoutMS",
];

pub(super) const DROP_DATABASE: &[&str] = &[
    "database",
    "comment",
    "session",
    "timeoutMS",
    "writeConcern",
];

pub(super) const LIST_COLLECTIONS: &[&str] = &[
    "filter",
    "nameOnly",
    "authorizedCollections",
    "batchSize",
    "comment",
    "maxTimeMS",
    "rawData",
    "session",
    "timeoutMS",
    "timeoutMode",
];

pub(super) const LIST_COLLECTION_NAMES: &[&str] = &[
    "filter",
    "authorizedCollections",
    "comment",
    "maxTimeMS",
    "rawData",
    "session",
    "timeoutMS",
];

pub(super) const CREATE_COLLECTION: &[&str] = &[
    "collection",
    "capped",
    "changeStreamPreAndPostImages",
    "clusteredIndex",
    "collation",
    "comment",
    "expireAfterSeconds",
    "indexOptionDefaults",
    "max",
    "pipeline",
    "rawData",
    "session",
    "size",
    "storageEngine",
    "timeoutMS",
    "timeseries",
    "validationAction",
    "validationLevel",
    "validator",
    "viewOn",
    "writeConcern",
];

pub(super) const MODIFY_COLLECTION: &[&str] = &[
    "collection",
    "changeStreamPreAndPostImages",
    "comment",
    "expireAfterSeconds",
    "index",
    "maxTimeMS",
    "pipeline",
    "rawData",
    "session",
    "timeoutMS",
    "timeseries",
    "validationAction",
    "validationLevel",
    "validator",
    "viewOn",
    "writeConcern",
];

pub(super) const DROP_COLLECTION: &[&str] = &[
    "collection",
    "comment",
    "rawData",
    "session",
    "timeoutMS",
    "writeConcern",
];

pub(super) const DROP: &[&str] = &["comment", "rawData", "session", "timeoutMS", "writeConcern"];

pub(super) const RENAME: &[&str] = &[
    "to",
    "dropTarget",
    "comment",
    "rawData",
    "session",
    "timeoutMS",
    "writeConcern",
];

/// The client of the call.
pub(super) fn client<'a>(call: &Call<'a>) -> Result<&'a Client, Failure> {
    Ok(&super::client::client(call)?.client)
}

/// Names as an array.
pub(super) fn names(names: Vec<String>) -> Outcome {
    Outcome::Value(Bson::Array(names.into_iter().map(Bson::String).collect()))
}

pub(super) fn list_databases<S: Scope>(
    call: &Call<'_>,
    client: &ScopedClient<S>,
) -> Result<Outcome, Failure> {
    let mut list = client.list_databases();
    set!(list, call:
        authorized_databases = bool("authorizedDatabases"),
        comment = value("comment"),
        filter = fields("filter"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
    );
    let documents = list.run()?.into_iter().map(|database| {
        let size = i64::try_from(database.size_on_disk).unwrap_or(i64::MAX);
        let mut fields =
            doc! { "name": database.name, "sizeOnDisk": size, "empty": database.empty };
        if let Some(shards) = database.shards {
            fields.insert("shards", shards);
        }
        fields
    });
    Ok(Outcome::Documents(documents.collect()))
}

pub(super) fn list_database_names<S: Scope>(
    call: &Call<'_>,
    client: &ScopedClient<S>,
) -> Result<Outcome, Failure> {
    let mut list = client.list_database_names();
    set!(list, call:
        authorized_databases = bool("authorizedDatabases"),
        comment = value("comment"),
        filter = fields("filter"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
    );
    Ok(names(list.run()?))
}

pub(super) fn drop_database<S: Scope>(
    call: &Call<'_>,
    client: &ScopedClient<S>,
) -> Result<Outcome, Failure> {
    let mut drop = client.database(call.text("database")?).drop();
    set!(drop, call:
        comment = value("comment"),
        timeout = millis("timeoutMS"),
        write_concern = write_concern("writeConcern"),
    );
    drop.run()?;
    Ok(Outcome::Nothing)
}

pub(super) fn list_collections<S: Scope>(
    call: &Call<'_>,
    database: &Database<S>,
) -> Result<Outcome, Failure> {
    let mut list = database.list_collections();
    set!(list, call:
        authorized_collections = bool("authorizedCollections"),
        batch_size = u32("batchSize"),
        comment = value("comment"),
        filter = fields("filter"),
        max_time = millis("maxTimeMS"),
        name_only = bool("nameOnly"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
        timeout_mode = timeout_mode("timeoutMode"),
    );
    let documents = list.run()?.collect::<Result<_, _>>()?;
    Ok(Outcome::Documents(documents))
}

pub(super) fn list_collection_names<S: Scope>(
    call: &Call<'_>,
    database: &Database<S>,
) -> Result<Outcome, Failure> {
    let mut list = database.list_collection_names();
    set!(list, call:
        authorized_collections = bool("authorizedCollections"),
        comment = value("comment"),
        filter = fields("filter"),
        max_time = millis("maxTimeMS"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
    );
    Ok(names(list.run()?))
}

pub(super) fn create_collection<S: Scope>(
    call: &Call<'_>,
    database: &Database<S>,
) -> Result<Outcome, Failure> {
    let name = call.text("collection")?;
    let mut create = database.create_collection(name);
    set!(create, call:
        capped = bool("capped"),
        change_stream_pre_and_post_images = images("changeStreamPreAndPostImages"),
        clustered_index = clustered_index("clusteredIndex"),
        collation = collation("collation"),
        comment = value("comment"),
        expire_after_seconds = seconds("expireAfterSeconds"),
        index_option_defaults = fields("indexOptionDefaults"),
        max = u64("max"),
        pipeline = array("pipeline"),
        raw_data = bool("rawData"),
        size = u64("size"),
        storage_engine = fields("storageEngine"),
        timeout = millis("timeoutMS"),
        timeseries = timeseries("timeseries"),
        validation_action = validation_action("validationAction"),
        validation_level = validation_level("validationLevel"),
        validator = fields("validator"),
        view_on = string("viewOn"),
        write_concern = write_concern("writeConcern"),
    );
    create.run()?;
    let free = database.within(mongotls::Free);
    Ok(Outcome::Entity(Entity::Collection(CollectionEntity {
        collection: free.collection(name),
        commands: free,
    })))
}

pub(super) fn modify_collection<S: Scope>(
    call: &Call<'_>,
    database: &Database<S>,
) -> Result<Outcome, Failure> {
    let mut modify = database.modify_collection(call.text("collection")?);
    set!(modify, call:
        change_stream_pre_and_post_images = images("changeStreamPreAndPostImages"),
        comment = value("comment"),
        expire_after_seconds = seconds("expireAfterSeconds"),
        index = fields("index"),
        max_time = millis("maxTimeMS"),
        pipeline = array("pipeline"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
        timeseries = fields("timeseries"),
        validation_action = validation_action("validationAction"),
        validation_level = validation_level("validationLevel"),
        validator = fields("validator"),
        view_on = string("viewOn"),
        write_concern = write_concern("writeConcern"),
    );
    modify.run()?;
    Ok(Outcome::Nothing)
}

pub(super) fn drop_collection<S: Scope>(
    call: &Call<'_>,
    database: &Database<S>,
) -> Result<Outcome, Failure> {
    let collection = database.collection::<Document>(call.text("collection")?);
    drop_of(call, &collection)
}

pub(super) fn drop_of<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut drop = collection.drop();
    set!(drop, call:
        comment = value("comment"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
        write_concern = write_concern("writeConcern"),
    );
    drop.run()?;
    Ok(Outcome::Nothing)
}

pub(super) fn rename<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut rename = collection.rename(call.text("to")?);
    set!(rename, call:
        comment = value("comment"),
        drop_target = bool("dropTarget"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
        write_concern = write_concern("writeConcern"),
    );
    rename.run()?;
    Ok(Outcome::Nothing)
}

impl Call<'_> {
    fn images(&self, name: &'static str) -> Result<Option<ChangeStreamPreAndPostImages>, Failure> {
        self.read(name, "{ enabled: boolean }", |value| {
            only_arguments(value, &["enabled"]).ok()?;
            Some(ChangeStreamPreAndPostImages::new(
                value["enabled"].as_bool()?,
            ))
        })
    }

    /// The key is always `{ _id: 1 }`, and `unique` is always true.
    fn clustered_index(&self, name: &'static str) -> Result<Option<ClusteredIndex>, Failure> {
        self.read(name, "a clustered index", |value| {
            only_arguments(value, &["key", "unique", "name"]).ok()?;
            let is_possible = document(&value["key"]).ok()? == doc! { "_id": 1 };
            let index = ClusteredIndex::default();
            match (is_possible && value["unique"] == true, &value["name"]) {
                (true, Value::Null) => Some(index),
                (true, Value::String(name)) => Some(index.name(name)),
                _ => None,
            }
        })
    }

    fn timeseries(&self, name: &'static str) -> Result<Option<TimeseriesOptions>, Failure> {
        self.read(name, "time-series options", |value| {
            let known = [
                "timeField",
                "metaField",
                "granularity",
                "bucketMaxSpanSeconds",
                "bucketRoundingSeconds",
            ];
            only_arguments(value, &known).ok()?;
            let mut options = TimeseriesOptions::new(value["timeField"].as_str()?);
            if let Some(field) = value["metaField"].as_str() {
                options = options.meta_field(field);
            }
            let granularity = match &value["granularity"] {
                Value::Null => None,
                text => Some(match text.as_str()? {
                    "seconds" => TimeseriesGranularity::Seconds,
                    "minutes" => TimeseriesGranularity::Minutes,
                    "hours" => TimeseriesGranularity::Hours,
                    _ => return None,
                }),
            };
            options.granularity = granularity;
            let seconds = |name: &str| value[name].as_u64().map(std::time::Duration::from_secs);
            options.bucket_max_span = seconds("bucketMaxSpanSeconds");
            options.bucket_rounding = seconds("bucketRoundingSeconds");
            Some(options)
        })
    }

    fn validation_level(&self, name: &'static str) -> Result<Option<ValidationLevel>, Failure> {
        self.read(name, "a validation level", |value| {
            match value.as_str()? {
                "off" => Some(ValidationLevel::Off),
                "strict" => Some(ValidationLevel::Strict),
                "moderate" => Some(ValidationLevel::Moderate),
                _ => None,
            }
        })
    }

    fn validation_action(&self, name: &'static str) -> Result<Option<ValidationAction>, Failure> {
        self.read(name, "a validation action", |value| {
            match value.as_str()? {
                "error" => Some(ValidationAction::Error),
                "warn" => Some(ValidationAction::Warn),
                _ => None,
            }
        })
    }
}
