//! The operations on the indexes of a collection, and on its search indexes.

use bson::{Bson, Document};
use mongotls::options::Hint;
use mongotls::{Collection, IndexModel, Scope, SearchIndexModel, SearchIndexType};
use serde_json::Value;

use super::admin::names;
use super::arguments::set;
use super::{Call, Outcome};
use crate::unified::failure::Failure;
use crate::unified::json::{bson, document, items, only_arguments};

/// The options of an index, which are arguments of `createIndex`.
const OF_INDEX: [&str; 19] = [
    "2dsphereIndexVersion",
    "background",
    "bits",
    "bucketSize",
    "collation",
    "default_language",
    "expireAfterSeconds",
    "hidden",
    "language_override",
    "max",
    "min",
    "name",
    "partialFilterExpression",
    "sparse",
    "storageEngine",
    "textIndexVersion",
    "unique",
    "weights",
    "wildcardProjection",
];

pub(super) const CREATE_INDEX: &[&str] = &[
    "keys",
    "2dsphereIndexVersion",
    "background",
    "bits",
    "bucketSize",
    "collation",
    "default_language",
    "expireAfterSeconds",
    "hidden",
    "language_override",
    "max",
    "min",
    "name",
    "partialFilterExpression",
    "sparse",
    "storageEngine",
    "textIndexVersion",
    "unique",
    "weights",
    "wildcardProjection",
    "comment",
    "commitQuorum",
    "maxTimeMS",
    "rawData",
    "session",
    "timeoutMS",
    "writeConcern",
];

pub(super) const CREATE_INDEXES: &[&str] = &[
    "indexes",
    "comment",
    "commitQuorum",
    "maxTimeMS",
    "rawData",
    "session",
    "timeoutMS",
    "writeConcern",
];

pub(super) const LIST_INDEXES: &[&str] = &[
    "batchSize",
    "comment",
    "maxTimeMS",
    "rawData",
    "session",
    "timeoutMS",
    "timeoutMode",
];

pub(super) const LIST_INDEX_NAMES: &[&str] =
    &["comment", "maxTimeMS", "rawData", "session", "timeoutMS"];

pub(super) const DROP_INDEX: &[&str] = &[
    "name",
    "keys",
    "comment",
    "maxTimeMS",
    "rawData",
    "session",
    "timeoutMS",
    "writeConcern",
];

pub(super) const DROP_INDEXES: &[&str] = &[
    "comment",
    "maxTimeMS",
    "rawData",
    "session",
    "timeoutMS",
    "writeConcern",
];

pub(super) fn create_index<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut model = IndexModel::new(call.document("keys")?);
    for name in OF_INDEX {
        if let Some(value) = call.value(name)? {
            model = model.option(name, value);
        }
    }
    let mut create = collection.create_index(model);
    set!(create, call:
        comment = value("comment"),
        commit_quorum = value("commitQuorum"),
        max_time = millis("maxTimeMS"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
        write_concern = write_concern("writeConcern"),
    );
    let created = create.run()?;
    Ok(Outcome::Value(Bson::String(created.index_name)))
}

/// The index of `createIndexes` with this description.
fn index(value: &Value) -> Result<IndexModel, String> {
    let mut model = IndexModel::new(document(&value["key"])?);
    for (name, value) in value.as_object().into_iter().flatten() {
        match name.as_str() {
            "key" => {}
            name if OF_INDEX.contains(&name) => model = model.option(name, bson(value)?),
            other => return Err(format!("the index has \"{other}\"")),
        }
    }
    Ok(model)
}

pub(super) fn create_indexes<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let models = call.argument("indexes").map(items).unwrap_or_default();
    let models: Result<Vec<_>, _> = models.iter().map(index).collect();
    let mut create = collection.create_indexes(models.map_err(Failure::Malformed)?);
    set!(create, call:
        comment = value("comment"),
        commit_quorum = value("commitQuorum"),
        max_time = millis("maxTimeMS"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
        write_concern = write_concern("writeConcern"),
    );
    Ok(names(create.run()?.index_names))
}

pub(super) fn list_indexes<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut list = collection.list_indexes();
    set!(list, call:
        batch_size = u32("batchSize"),
        comment = value("comment"),
        max_time = millis("maxTimeMS"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
        timeout_mode = timeout_mode("timeoutMode"),
    );
    let documents = list.run()?.collect::<Result<_, _>>()?;
    Ok(Outcome::Documents(documents))
}

pub(super) fn list_index_names<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut list = collection.list_index_names();
    set!(list, call:
        comment = value("comment"),
        max_time = millis("maxTimeMS"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
    );
    Ok(names(list.run()?))
}

pub(super) fn drop_index<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let index = match (call.string("name")?, call.fields("keys")?) {
        (Some(name), None) => Hint::from(name),
        (None, Some(keys)) => Hint::from(keys),
        _ => return Err(Failure::malformed("dropIndex needs either a name or keys")),
    };
    drop_by(call, collection.drop_index(index))
}

pub(super) fn drop_indexes<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    drop_by(call, collection.drop_indexes())
}

fn drop_by<S: Scope>(
    call: &Call<'_>,
    action: mongotls::DropIndexes<S>,
) -> Result<Outcome, Failure> {
    let mut drop = action;
    set!(drop, call:
        comment = value("comment"),
        max_time = millis("maxTimeMS"),
        raw_data = bool("rawData"),
        timeout = millis("timeoutMS"),
        write_concern = write_concern("writeConcern"),
    );
    drop.run()?;
    Ok(Outcome::Nothing)
}

/// The search index with this description.
fn search_index(value: &Value) -> Result<SearchIndexModel, String> {
    only_arguments(value, &["definition", "name", "type"])?;
    let mut model = SearchIndexModel::new(document(&value["definition"])?);
    if let Some(name) = value["name"].as_str() {
        model = model.name(name);
    }
    match &value["type"] {
        Value::Null => Ok(model),
        Value::String(text) if text == "search" => Ok(model.index_type(SearchIndexType::Search)),
        Value::String(text) if text == "vectorSearch" => {
            Ok(model.index_type(SearchIndexType::VectorSearch))
        }
        other => Err(format!("the type {other} of a search index")),
    }
}

pub(super) fn create_search_index<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let model = call.argument("model").map(search_index).transpose();
    let model = model.map_err(Failure::Malformed)?;
    let model = model.ok_or_else(|| Failure::malformed("the model is missing"))?;
    let name = collection.create_search_index(model).run()?;
    Ok(Outcome::Value(Bson::String(name)))
}

pub(super) fn create_search_indexes<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let models = call.argument("models").map(items).unwrap_or_default();
    let models: Result<Vec<_>, _> = models.iter().map(search_index).collect();
    let models = models.map_err(Failure::Malformed)?;
    Ok(names(collection.create_search_indexes(models).run()?))
}

pub(super) fn drop_search_index<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    collection.drop_search_index(call.text("name")?).run()?;
    Ok(Outcome::Nothing)
}

pub(super) fn update_search_index<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let definition = call.document("definition")?;
    collection
        .update_search_index(call.text("name")?, definition)
        .run()?;
    Ok(Outcome::Nothing)
}

pub(super) fn list_search_indexes<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut list = collection.list_search_indexes();
    set!(list, call: name = string("name"));
    if let Some(options) = call.argument("aggregationOptions") {
        let call = &Call::new(call.run, None, options);
        set!(list, call:
            allow_disk_use = bool("allowDiskUse"),
            batch_size = u32("batchSize"),
            collation = collation("collation"),
            comment = value("comment"),
            max_time = millis("maxTimeMS"),
        );
        call.all_used()?;
    }
    let documents = list.run()?.collect::<Result<_, _>>()?;
    Ok(Outcome::Documents(documents))
}
