//! The values of options.

use bson::{Bson, Document, doc};

use super::{Choice, data};

/// A value of this option; `None` if the other arguments decide about it.
pub(super) fn value(choice: &mut Choice, operation: &str, option: &str) -> Option<Bson> {
    Some(match option {
        "allowDiskUse"
        | "allowPartialResults"
        | "authorizedCollections"
        | "authorizedDatabases"
        | "bypassDocumentValidation"
        | "capped"
        | "dropTarget"
        | "nameOnly"
        | "noCursorTimeout"
        | "ordered"
        | "returnKey"
        | "showRecordId"
        | "upsert"
        | "verboseResults" => choice.chance(60).into(),
        "arrayFilters" => vec![doc! { "i.q": { "$gte": choice.between(0, 6) } }].into(),
        "batchSize" => choice.between(1, 7).into(),
        "changeStreamPreAndPostImages" => doc! { "enabled": choice.chance(50) }.into(),
        "clusteredIndex" => {
            let mut index = doc! { "key": { "_id": 1 }, "unique": true };
            if choice.chance(50) {
                index.insert("name", "by id");
            }
            index.into()
        }
        "collation" => collation(choice).into(),
        "comment" => match choice.between(0, 2) {
            0 => "why".into(),
            // PyMongo does not send the comments 0 and "" of a client's bulk.
            1 => choice.between(1, 9).into(),
            _ => doc! { "by": "seed", "n": choice.between(0, 9) }.into(),
        },
        "commitQuorum" => match choice.between(0, 2) {
            0 => "majority".into(),
            1 => "votingMembers".into(),
            _ => choice.between(0, 1).into(),
        },
        "cursorType" => choice
            .one(&["nonTailable", "tailable", "tailableAwait"])
            .into(),
        "expireAfterSeconds" => choice.between(1, 100_000).into(),
        "filter" => filter(choice, operation).into(),
        "hint" => hint(choice),
        "indexOptionDefaults" => doc! { "storageEngine": { "wiredTiger": {} } }.into(),
        "let" => doc! { "least": choice.between(0, 8) }.into(),
        "limit" => limit(choice, operation),
        "max" if operation == "createCollection" => choice.between(1, 100).into(),
        "max" => doc! { "n": choice.between(4, 9) }.into(),
        "maxAwaitTimeMS" => choice.between(1, 50).into(),
        "maxTimeMS" => choice.between(30_000, 90_000).into(),
        "min" => doc! { "n": choice.between(0, 3) }.into(),
        "name" => "search".into(),
        "pipeline" => data::pipeline(choice, false).into(),
        "projection" => projection(choice).into(),
        "readConcern" => {
            let levels = ["local", "available", "majority", "linearizable"];
            doc! { "level": choice.one(&levels) }.into()
        }
        "readPreference" => preference(choice).into(),
        "returnDocument" => choice.one(&["before", "after", "after"]).into(),
        "size" => (choice.between(1, 9) * 1024).into(),
        "skip" => choice.between(0, 5).into(),
        "sort" => sort(choice).into(),
        "storageEngine" => doc! { "wiredTiger": { "configString": "" } }.into(),
        "timeseries" => timeseries(choice).into(),
        "type" => choice.one(&["search", "vectorSearch"]).into(),
        "validationAction" => choice.one(&["error", "warn"]).into(),
        "validationLevel" => choice.one(&["off", "strict", "moderate"]).into(),
        "validator" => doc! { "n": { "$type": "number" } }.into(),
        "viewOn" => super::THINGS.into(),
        "writeConcern" => write_concern(choice, operation).into(),
        other => panic!("the option {other} has no values"),
    })
}

fn limit(choice: &mut Choice, operation: &str) -> Bson {
    // The other operations have no negative limit.
    let low = if operation == "find" { -4 } else { 1 };
    match choice.between(low, 9) {
        // The server rejects a limit of 0 documents to count, and drivers do not send it.
        0 => 1.into(),
        limit => limit.into(),
    }
}

fn filter(choice: &mut Choice, operation: &str) -> Document {
    match operation {
        "listDatabases" | "listDatabaseNames" => match choice.between(0, 1) {
            0 => doc! { "name": crate::driver::DATABASE },
            _ => doc! { "name": { "$in": [crate::driver::DATABASE, "none"] } },
        },
        _ => match choice.between(0, 3) {
            0 => doc! { "name": super::THINGS },
            1 => doc! { "name": { "$in": ["new", super::OTHER] } },
            2 => doc! { "type": "collection" },
            _ => doc! { "options.capped": true },
        },
    }
}

pub(super) fn collation(choice: &mut Choice) -> Document {
    let mut collation = doc! { "locale": choice.one(&["en", "en", "en", "fr", "sv", "simple"]) };
    if collation
        .get_str("locale")
        .is_ok_and(|locale| locale == "simple")
    {
        return collation;
    }
    if choice.chance(60) {
        collation.insert("strength", choice.between(1, 5));
    }
    let more: [(&str, &[Bson]); 7] = [
        ("caseLevel", &[true.into(), false.into()]),
        ("caseFirst", &["upper".into(), "lower".into(), "off".into()]),
        ("numericOrdering", &[true.into(), false.into()]),
        ("alternate", &["non-ignorable".into(), "shifted".into()]),
        ("maxVariable", &["punct".into(), "space".into()]),
        ("normalization", &[true.into(), false.into()]),
        ("backwards", &[true.into(), false.into()]),
    ];
    for (name, values) in more {
        if choice.chance(20) {
            collation.insert(name, choice.one(values));
        }
    }
    collation
}

pub(super) fn hint(choice: &mut Choice) -> Bson {
    match choice.between(0, 9) {
        0..=2 => "n_1".into(),
        3..=5 => doc! { "n": 1 }.into(),
        6 => "s_1".into(),
        7 => doc! { "s": 1, "n": -1 }.into(),
        8 => "_id_".into(),
        _ => "missing_1".into(),
    }
}

pub(super) fn sort(choice: &mut Choice) -> Document {
    match choice.between(0, 3) {
        0 => doc! { "n": 1 },
        1 => doc! { "n": -1, "_id": 1 },
        2 => doc! { "s": 1, "_id": -1 },
        _ => doc! { "o.a": -1, "_id": 1 },
    }
}

fn projection(choice: &mut Choice) -> Document {
    match choice.between(0, 4) {
        0 => doc! { "n": 1 },
        1 => doc! { "s": 1, "_id": 0 },
        2 => doc! { "items": 0, "tags": 0 },
        3 => doc! { "o.a": 1, "double": { "$add": ["$n", "$n"] } },
        // The server rejects it.
        _ => doc! { "n": 1, "s": 0 },
    }
}

fn preference(choice: &mut Choice) -> Document {
    let modes = [
        "primary",
        "primaryPreferred",
        "secondary",
        "secondaryPreferred",
        "nearest",
    ];
    let mode = choice.one(&modes);
    let mut preference = doc! { "mode": mode };
    if mode != "primary" && choice.chance(30) {
        preference.insert("maxStalenessSeconds", choice.between(90, 900));
    }
    preference
}

fn write_concern(choice: &mut Choice, operation: &str) -> Document {
    let is_data = [
        "insert",
        "update",
        "replace",
        "delete",
        "findOneAnd",
        "bulk",
    ];
    let is_data = is_data.iter().any(|start| operation.starts_with(start));
    // PyMongo does something of its own for these.
    let is_bulk = operation == "bulkWrite" && choice.chance(30);
    match if is_bulk { 6 } else { choice.between(0, 7) } {
        0 | 1 => doc! { "w": "majority" },
        2 => doc! { "w": 1 },
        3 => doc! { "w": 1, "journal": choice.chance(50) },
        4 => doc! { "w": "majority", "wtimeoutMS": choice.between(10_000, 60_000) },
        5 => doc! { "journal": true },
        6 if is_data => doc! { "w": 0 },
        _ => doc! { "w": 2 },
    }
}

fn timeseries(choice: &mut Choice) -> Document {
    let mut series = doc! { "timeField": "at" };
    if choice.chance(50) {
        series.insert("metaField", "of");
    }
    match choice.between(0, 2) {
        0 => {
            series.insert("granularity", choice.one(&["seconds", "minutes", "hours"]));
        }
        1 => {
            series.insert("bucketMaxSpanSeconds", 3600);
            series.insert("bucketRoundingSeconds", 3600);
        }
        _ => {}
    }
    series
}
