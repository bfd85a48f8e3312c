//! The models of bulk writes, and indexes.

use bson::{Bson, Document, doc};

use super::options::{collation, hint, sort, value};
use super::{Choice, OTHER, THINGS, data};

/// The models of a bulk write. An empty list is rejected by the drivers.
pub(super) fn models(choice: &mut Choice, in_client: bool, has_variables: bool) -> Vec<Document> {
    let count = choice.one(&[0, 1, 2, 3, 4, 5, 6]);
    (0..count)
        .map(|_| {
            let mut model = model(choice, has_variables);
            if in_client {
                model.insert("collection", choice.one(&[THINGS, THINGS, OTHER]));
            }
            model
        })
        .collect()
}

fn model(choice: &mut Choice, has_variables: bool) -> Document {
    let kinds = [
        "insertOne",
        "updateOne",
        "updateMany",
        "replaceOne",
        "deleteOne",
        "deleteMany",
    ];
    let kind = choice.one(&kinds);
    let mut model = doc! { "model": kind };
    if kind == "insertOne" {
        model.insert("document", data::document(choice));
        return model;
    }
    model.insert("filter", data::write_filter(choice, has_variables));
    let add = |model: &mut Document, name: &str, value: Bson| {
        model.insert(name, value);
    };
    if choice.chance(40) {
        add(&mut model, "collation", collation(choice).into());
    }
    if choice.chance(40) {
        add(&mut model, "hint", hint(choice));
    }
    if kind.starts_with("delete") {
        return model;
    }
    if choice.chance(50) {
        add(&mut model, "upsert", choice.chance(80).into());
    }
    if kind != "updateMany" && choice.chance(25) {
        add(&mut model, "sort", sort(choice).into());
    }
    if kind == "replaceOne" {
        add(&mut model, "replacement", data::replacement(choice).into());
        return model;
    }
    let has_filters = choice.chance(25);
    if has_filters {
        let filters = value(choice, "bulkWrite", "arrayFilters");
        model.extend(filters.map(|filters| ("arrayFilters".to_owned(), filters)));
    }
    add(
        &mut model,
        "update",
        data::update(choice, has_filters, has_variables),
    );
    model
}

/// An index with some of its options.
pub(super) fn index(choice: &mut Choice) -> Document {
    let mut index = match choice.between(0, 9) {
        0 => doc! { "key": { "o.a": 1 } },
        1 => doc! { "key": { "n": -1, "s": 1 } },
        2 => doc! { "key": { "tags": 1 } },
        3 => doc! { "key": { "s": "hashed" } },
        4 => doc! { "key": { "$**": 1 }, "wildcardProjection": { "n": 1 } },
        // It exists already.
        5 => doc! { "key": { "n": 1 } },
        6 => doc! { "key": { "at": "2d" }, "bits": 20, "min": -90.5, "max": 90.5 },
        7 => doc! {
            "key": { "s": "text" },
            "default_language": "french",
            "language_override": "tongue",
            "weights": { "s": 3 },
        },
        _ => doc! { "key": { "v": 1, "_id": -1 } },
    };
    for name in ["background", "hidden", "sparse", "unique"] {
        if choice.chance(15) {
            index.insert(name, choice.chance(60));
        }
    }
    let more: [(&str, Bson); 5] = [
        ("collation", collation(choice).into()),
        ("expireAfterSeconds", choice.between(1, 9_999).into()),
        ("name", format!("index {}", choice.between(0, 3)).into()),
        ("partialFilterExpression", doc! { "n": { "$gt": 1 } }.into()),
        ("storageEngine", doc! { "wiredTiger": {} }.into()),
    ];
    for (name, value) in more {
        if choice.chance(15) {
            index.insert(name, value);
        }
    }
    index
}

/// A definition of a search index.
pub(super) fn definition(choice: &mut Choice) -> Document {
    doc! { "mappings": { "dynamic": choice.chance(50) } }
}

/// A search index with some of its options.
pub(super) fn search_index(choice: &mut Choice) -> Document {
    let mut index = doc! { "definition": definition(choice) };
    for option in ["name", "type"] {
        if choice.chance(40) {
            let value = value(choice, "createSearchIndex", option);
            index.extend(value.map(|value| (option.to_owned(), value)));
        }
    }
    index
}
