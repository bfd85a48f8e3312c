//! The operations and their options, and which driver lacks which.
//!
//! Options of mongotls that no other driver has (`rawData`, `batch_bytes`, `flush_at`, `timeoutMode`) are not here: there is
//! nothing to compare with. `timeoutMS` is not here either, because the values on the wire depend on the clock.

use crate::driver::Peer;

/// An operation of the "CRUD API" and its relatives, with the names of the unified test format.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// The driver that has no such operation.
    pub(crate) lacks: Option<Peer>,
    pub(crate) options: &'static [Opt],
}

/// An option of an operation.
pub(crate) struct Opt {
    pub(crate) name: &'static str,
    /// The driver that has no such option.
    pub(crate) lacks: Option<Peer>,
}

const fn all(name: &'static str) -> Opt {
    Opt { name, lacks: None }
}

/// An option that the `mongodb` crate lacks.
const fn not_official(name: &'static str) -> Opt {
    Opt {
        name,
        lacks: Some(Peer::Official),
    }
}

/// An option that PyMongo lacks.
const fn not_pymongo(name: &'static str) -> Opt {
    Opt {
        name,
        lacks: Some(Peer::PyMongo),
    }
}

const fn operation(name: &'static str, options: &'static [Opt]) -> Operation {
    Operation {
        name,
        lacks: None,
        options,
    }
}

/// An operation that one of the drivers lacks.
const fn operation_without(peer: Peer, name: &'static str, options: &'static [Opt]) -> Operation {
    Operation {
        name,
        lacks: Some(peer),
        options,
    }
}

/// The operation of this name.
pub(crate) fn named(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

/// All operations.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation(
        "find",
        &[
            all("allowDiskUse"),
            all("allowPartialResults"),
            all("batchSize"),
            all("collation"),
            all("comment"),
            all("cursorType"),
            all("hint"),
            all("let"),
            all("limit"),
            all("max"),
            all("maxAwaitTimeMS"),
            all("maxTimeMS"),
            all("min"),
            all("noCursorTimeout"),
            all("projection"),
            all("readConcern"),
            all("readPreference"),
            all("returnKey"),
            all("showRecordId"),
            all("skip"),
            all("sort"),
        ],
    ),
    operation(
        "findOne",
        &[
            not_official("allowDiskUse"),
            all("collation"),
            all("comment"),
            all("hint"),
            all("let"),
            all("max"),
            all("maxTimeMS"),
            all("min"),
            all("projection"),
            all("readConcern"),
            all("readPreference"),
            all("returnKey"),
            all("showRecordId"),
            all("skip"),
            all("sort"),
        ],
    ),
    operation("aggregate", AGGREGATE),
    operation("aggregateDatabase", AGGREGATE),
    operation(
        "countDocuments",
        &[
            all("collation"),
            all("comment"),
            all("hint"),
            all("limit"),
            all("maxTimeMS"),
            all("readConcern"),
            all("readPreference"),
            all("skip"),
        ],
    ),
    operation(
        "estimatedDocumentCount",
        &[
            all("comment"),
            all("maxTimeMS"),
            all("readConcern"),
            all("readPreference"),
        ],
    ),
    operation(
        "distinct",
        &[
            all("collation"),
            all("comment"),
            all("hint"),
            all("maxTimeMS"),
            all("readConcern"),
            all("readPreference"),
        ],
    ),
    operation(
        "insertOne",
        &[
            all("bypassDocumentValidation"),
            all("comment"),
            all("writeConcern"),
        ],
    ),
    operation(
        "insertMany",
        &[
            all("bypassDocumentValidation"),
            all("comment"),
            all("ordered"),
            all("writeConcern"),
        ],
    ),
    operation(
        "updateOne",
        &[
            all("arrayFilters"),
            all("bypassDocumentValidation"),
            all("collation"),
            all("comment"),
            all("hint"),
            all("let"),
            all("sort"),
            all("upsert"),
            all("writeConcern"),
        ],
    ),
    operation(
        "updateMany",
        &[
            all("arrayFilters"),
            all("bypassDocumentValidation"),
            all("collation"),
            all("comment"),
            all("hint"),
            all("let"),
            all("upsert"),
            all("writeConcern"),
        ],
    ),
    operation(
        "replaceOne",
        &[
            all("bypassDocumentValidation"),
            all("collation"),
            all("comment"),
            all("hint"),
            all("let"),
            all("sort"),
            all("upsert"),
            all("writeConcern"),
        ],
    ),
    operation("deleteOne", DELETE),
    operation("deleteMany", DELETE),
    operation(
        "findOneAndUpdate",
        &[
            all("arrayFilters"),
            all("bypassDocumentValidation"),
            all("collation"),
            all("comment"),
            all("hint"),
            all("let"),
            all("maxTimeMS"),
            all("projection"),
            all("returnDocument"),
            all("sort"),
            all("upsert"),
            all("writeConcern"),
        ],
    ),
    operation(
        "findOneAndReplace",
        &[
            all("bypassDocumentValidation"),
            all("collation"),
            all("comment"),
            all("hint"),
            all("let"),
            all("maxTimeMS"),
            all("projection"),
            all("returnDocument"),
            all("sort"),
            all("upsert"),
            all("writeConcern"),
        ],
    ),
    operation(
        "findOneAndDelete",
        &[
            all("collation"),
            all("comment"),
            all("hint"),
            all("let"),
            all("maxTimeMS"),
            all("projection"),
            all("sort"),
            all("writeConcern"),
        ],
    ),
    operation_without(
        Peer::Official,
        "bulkWrite",
        &[
            all("bypassDocumentValidation"),
            all("comment"),
            all("let"),
            all("ordered"),
            all("writeConcern"),
        ],
    ),
    operation(
        "clientBulkWrite",
        &[
            all("bypassDocumentValidation"),
            all("comment"),
            all("let"),
            all("ordered"),
            all("verboseResults"),
            all("writeConcern"),
        ],
    ),
    operation(
        "createIndex",
        &[
            all("comment"),
            not_pymongo("commitQuorum"),
            all("maxTimeMS"),
            all("writeConcern"),
        ],
    ),
    operation(
        "createIndexes",
        &[
            all("comment"),
            all("commitQuorum"),
            all("maxTimeMS"),
            all("writeConcern"),
        ],
    ),
    operation(
        "dropIndex",
        &[all("comment"), all("maxTimeMS"), all("writeConcern")],
    ),
    operation(
        "dropIndexes",
        &[all("comment"), all("maxTimeMS"), all("writeConcern")],
    ),
    operation(
        "listIndexes",
        &[
            not_pymongo("batchSize"),
            all("comment"),
            not_pymongo("maxTimeMS"),
        ],
    ),
    operation_without(Peer::PyMongo, "listIndexNames", &[]),
    operation(
        "createCollection",
        &[
            all("capped"),
            all("changeStreamPreAndPostImages"),
            all("clusteredIndex"),
            all("collation"),
            all("comment"),
            all("expireAfterSeconds"),
            all("indexOptionDefaults"),
            all("max"),
            all("pipeline"),
            all("size"),
            all("storageEngine"),
            all("timeseries"),
            all("validationAction"),
            all("validationLevel"),
            all("validator"),
            all("viewOn"),
            // The crate has the option, and does not send it.
            not_official("writeConcern"),
        ],
    ),
    operation(
        "listCollections",
        &[
            all("authorizedCollections"),
            not_pymongo("batchSize"),
            all("comment"),
            all("filter"),
            not_official("maxTimeMS"),
            not_official("nameOnly"),
        ],
    ),
    operation(
        "listCollectionNames",
        &[
            all("authorizedCollections"),
            all("comment"),
            all("filter"),
            not_official("maxTimeMS"),
        ],
    ),
    operation(
        "listDatabases",
        &[all("authorizedDatabases"), all("comment"), all("filter")],
    ),
    operation(
        "listDatabaseNames",
        &[
            not_pymongo("authorizedDatabases"),
            all("comment"),
            not_pymongo("filter"),
        ],
    ),
    operation_without(
        Peer::Official,
        "rename",
        &[all("comment"), all("dropTarget"), all("writeConcern")],
    ),
    operation(
        "dropCollection",
        &[not_official("comment"), all("writeConcern")],
    ),
    operation(
        "dropDatabase",
        &[not_official("comment"), not_pymongo("writeConcern")],
    ),
    operation("createSearchIndex", &[all("name"), all("type")]),
    operation("createSearchIndexes", &[]),
    operation("updateSearchIndex", &[]),
    operation("dropSearchIndex", &[]),
    operation(
        "listSearchIndexes",
        &[
            all("allowDiskUse"),
            all("batchSize"),
            all("collation"),
            all("comment"),
            all("maxTimeMS"),
            all("name"),
        ],
    ),
];

const AGGREGATE: &[Opt] = &[
    all("allowDiskUse"),
    all("batchSize"),
    all("bypassDocumentValidation"),
    all("collation"),
    all("comment"),
    all("hint"),
    all("let"),
    not_pymongo("maxAwaitTimeMS"),
    all("maxTimeMS"),
    all("readConcern"),
    all("readPreference"),
    all("writeConcern"),
];

const DELETE: &[Opt] = &[
    all("collation"),
    all("comment"),
    all("hint"),
    all("let"),
    all("writeConcern"),
];

/// The options of the models of bulk writes.
pub(crate) const MODELS: &[(&str, &[&str])] = &[
    (
        "updateOne",
        &["arrayFilters", "collation", "hint", "sort", "upsert"],
    ),
    (
        "updateMany",
        &["arrayFilters", "collation", "hint", "upsert"],
    ),
    ("replaceOne", &["collation", "hint", "sort", "upsert"]),
    ("deleteOne", &["collation", "hint"]),
    ("deleteMany", &["collation", "hint"]),
];

/// The optional fields of a collation.
pub(crate) const COLLATION: &[&str] = &[
    "alternate",
    "backwards",
    "caseFirst",
    "caseLevel",
    "maxVariable",
    "normalization",
    "numericOrdering",
    "strength",
];

/// The options of an index.
pub(crate) const INDEX: &[&str] = &[
    "background",
    "bits",
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
    "unique",
    "weights",
    "wildcardProjection",
];

/// Other options that have optional fields.
pub(crate) const OTHER_PARTS: &[(&str, &[&str])] = &[
    ("clusteredIndex", &["name"]),
    ("readPreference", &["maxStalenessSeconds"]),
    (
        "timeseries",
        &[
            "bucketMaxSpanSeconds",
            "bucketRoundingSeconds",
            "granularity",
            "metaField",
        ],
    ),
    ("writeConcern", &["journal", "w", "wtimeoutMS"]),
];
