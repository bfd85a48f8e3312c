//! Operations from a seed: the same seed gives the same operations.
//!
//! Each operation has the options of the table in `operations.rs`, each of them with some probability. Most values are
//! valid. Some are rejected by the server, such as a hint at an index that does not exist, and some by the drivers, such as
//! an update without operators.

mod data;
mod options;
mod writes;

use bson::{Bson, Document, doc};
use mongotls_testbench::random::Random;

pub(crate) use self::data::{CAPPED, OTHER, THINGS, is_known, stored};
use crate::driver::Peer;
use crate::operations::{OPERATIONS, Operation};

/// A source of random choices.
pub(crate) struct Choice(Random);

impl Choice {
    /// True with this probability, in percent.
    fn chance(&mut self, percent: usize) -> bool {
        self.0.below(100) < percent
    }

    /// A number from `low` up to `high`, both possible.
    fn between(&mut self, low: i32, high: i32) -> i32 {
        let count = usize::try_from(high - low + 1).expect("a range");
        low + i32::try_from(self.0.below(count)).expect("a small number")
    }

    /// One of these.
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.0.below(of.len())].clone()
    }
}

/// The drivers that run the operations of a seed beside mongotls. Operations and options that one of them lacks occur in
/// the seeds of the others.
pub(crate) fn peers(seed: u64) -> &'static [Peer] {
    match seed % 4 {
        0 => &[Peer::PyMongo],
        1 => &[Peer::Official],
        _ => &[Peer::Official, Peer::PyMongo],
    }
}

/// The operations of a seed.
pub(crate) fn sequence(seed: u64) -> Vec<Document> {
    let choice = &mut Choice(Random::seeded(seed));
    let peers = peers(seed);
    let has = |lacks: Option<Peer>| lacks.is_none_or(|peer| !peers.contains(&peer));
    let possible: Vec<&Operation> = OPERATIONS.iter().filter(|one| has(one.lacks)).collect();
    let plan = plan(seed, &possible, peers);
    let count = choice.between(6, 10);
    let operations = (0..count).map(|index| {
        let planned = usize::try_from(index)
            .ok()
            .and_then(|index| plan.get(index));
        let (operation, wanted) = planned.copied().unwrap_or((choice.one(&possible), None));
        // Without the collection or the database, little remains to compare.
        let is_drop = ["dropDatabase", "dropCollection", "rename"].contains(&operation.name);
        let operation = match planned {
            None if is_drop && index + 2 < count && choice.chance(70) => possible[0],
            _ => operation,
        };
        let percent = choice.one(&[0, 15, 30, 50]);
        let mut options = Vec::new();
        for option in operation.options.iter().filter(|option| has(option.lacks)) {
            if wanted == Some(option.name) || choice.chance(percent) {
                options.push(option.name);
            }
        }
        generate(choice, operation.name, &options, peers)
    });
    operations.collect()
}

/// The operations that a seed begins with, and an option of each, so that all options occur in 200 seeds. The seeds of two
/// drivers have those that the third one lacks.
fn plan(
    seed: u64,
    possible: &[&'static Operation],
    peers: &[Peer],
) -> Vec<(&'static Operation, Option<&'static str>)> {
    let is_rare = |lacks: Option<Peer>| lacks.is_some_and(|peer| !peers.contains(&peer));
    let both = peers.len() > 1;
    let mut all = Vec::new();
    for operation in possible {
        for option in operation.options {
            let lacks = option.lacks.or(operation.lacks);
            if if both {
                lacks.is_none()
            } else {
                is_rare(lacks)
            } {
                all.push((*operation, Some(option.name)));
            }
        }
        if operation.options.is_empty() && (both || is_rare(operation.lacks)) {
            all.push((*operation, None));
        }
    }
    let turn = match both {
        true => seed / 4 * 2 + seed % 4 - 2,
        false => seed / 4,
    };
    let start = usize::try_from(turn).unwrap_or_default() * PLANNED;
    (start..start + PLANNED)
        .map(|index| all[index % all.len()])
        .collect()
}

/// The number of planned operations of a seed.
const PLANNED: usize = 3;

/// An operation with these options.
fn generate(choice: &mut Choice, name: &str, options: &[&str], peers: &[Peer]) -> Document {
    let mut arguments = doc! { "collection": collection(choice, name) };
    arguments.extend(own_arguments(choice, name, options));
    for option in options {
        if let Some(value) = options::value(choice, name, option) {
            arguments.insert(*option, value);
        }
    }
    settle(choice, name, &mut arguments, peers);
    doc! { "name": name, "arguments": arguments }
}

fn collection(choice: &mut Choice, name: &str) -> &'static str {
    match name {
        "createCollection" => choice.one(&["new", "new", "new", THINGS]),
        "listCollections" | "listDatabases" => THINGS,
        _ if choice.chance(92) => THINGS,
        _ => choice.one(&[OTHER, "missing"]),
    }
}

/// The arguments that are not options.
fn own_arguments(choice: &mut Choice, name: &str, options: &[&str]) -> Document {
    let has_variables = options.contains(&"let");
    match name {
        "find" | "findOne" | "countDocuments" => {
            doc! { "filter": data::filter(choice, has_variables) }
        }
        "aggregate" => doc! { "pipeline": data::pipeline(choice, has_variables) },
        "aggregateDatabase" => doc! { "pipeline": data::database_pipeline(choice) },
        "distinct" => doc! {
            "fieldName": choice.one(&["n", "s", "tags", "items.q", "o.a", "missing"]),
            "filter": data::filter(choice, false),
        },
        "insertOne" => doc! { "document": data::document(choice) },
        "insertMany" => {
            // An empty list is rejected by the drivers.
            let count = choice.one(&[0, 1, 2, 3, 5]);
            let documents = (0..count).map(|_| data::document(choice));
            doc! { "documents": documents.collect::<Vec<_>>() }
        }
        "updateOne" | "updateMany" | "findOneAndUpdate" => {
            let update = data::update(choice, options.contains(&"arrayFilters"), has_variables);
            doc! { "filter": data::write_filter(choice, has_variables), "update": update }
        }
        "replaceOne" | "findOneAndReplace" => doc! {
            "filter": data::write_filter(choice, has_variables),
            "replacement": data::replacement(choice),
        },
        "deleteOne" | "deleteMany" | "findOneAndDelete" => {
            doc! { "filter": data::write_filter(choice, has_variables) }
        }
        "bulkWrite" | "clientBulkWrite" => {
            doc! { "models": writes::models(choice, name == "clientBulkWrite", has_variables) }
        }
        "createIndex" => doc! { "indexes": [writes::index(choice)] },
        "createIndexes" => {
            let count = choice.one(&[0, 1, 2, 3]);
            doc! { "indexes": (0..count).map(|_| writes::index(choice)).collect::<Vec<_>>() }
        }
        "dropIndex" => doc! { "name": choice.one(&["n_1", "s_1", "missing_1", "_id_"]) },
        "rename" => doc! { "to": choice.one(&["renamed", OTHER]) },
        "createSearchIndex" => doc! { "definition": writes::definition(choice) },
        "createSearchIndexes" => {
            let count = choice.between(1, 3);
            let models = (0..count).map(|_| writes::search_index(choice));
            doc! { "models": models.collect::<Vec<_>>() }
        }
        "updateSearchIndex" => {
            doc! { "name": "search", "definition": writes::definition(choice) }
        }
        "dropSearchIndex" => doc! { "name": choice.one(&["search", "missing"]) },
        _ => Document::new(),
    }
}

/// Makes the arguments fit together: a bound of an index needs a hint, and a tailable cursor a capped collection.
fn settle(choice: &mut Choice, name: &str, arguments: &mut Document, peers: &[Peer]) {
    let is_bound = name.starts_with("find")
        && (arguments.contains_key("min") || arguments.contains_key("max"));
    if is_bound {
        // PyMongo rejects a bound without a hint, before the server does.
        arguments.insert("hint", doc! { "n": 1 });
        arguments.remove("cursorType");
        arguments.remove("maxAwaitTimeMS");
    }
    if arguments.contains_key("maxAwaitTimeMS") && name == "find" {
        arguments.insert("cursorType", "tailableAwait");
    }
    // It is a field of getMore, so there must be one.
    if arguments.contains_key("maxAwaitTimeMS") && name.starts_with("aggregate") {
        arguments.insert("batchSize", 1);
        if name == "aggregate" && choice.chance(70) {
            arguments.insert("pipeline", vec![doc! { "$match": {} }]);
        }
    }
    let kind = arguments.get_str("cursorType").unwrap_or_default();
    if kind.starts_with("tailable") {
        arguments.insert("collection", CAPPED);
        arguments.insert("filter", doc! {});
        arguments.insert("batchSize", 1);
        // The documents that are there: the next one would never come.
        arguments.insert("read", 3);
        for option in [
            "sort",
            "limit",
            "skip",
            "hint",
            "readConcern",
            "readPreference",
        ] {
            arguments.remove(option);
        }
    }
    let concern = arguments.get_document("writeConcern");
    if concern.is_ok_and(|concern| concern.get("w") == Some(&Bson::Int32(0))) {
        if peers.contains(&Peer::Official) {
            // The crate rejects every write without acknowledgment.
            arguments.insert("writeConcern", doc! { "w": 1 });
        } else {
            avoid_silent_errors(arguments);
        }
    }
    // PyMongo turns 1 into 2 for all cursors but those of find, so the numbers of commands would differ.
    let is_one = arguments.get_i32("batchSize").is_ok_and(|size| size == 1);
    if is_one && name != "find" && peers.contains(&Peer::PyMongo) {
        arguments.insert("batchSize", 2);
    }
    // A negative limit is one batch, which has no size of its own.
    if arguments.get_i32("limit").is_ok_and(|limit| limit < 0) {
        arguments.remove("batchSize");
    }
    if name == "createCollection" {
        if arguments.contains_key("viewOn") != arguments.contains_key("pipeline") {
            arguments.insert("viewOn", THINGS);
        }
        if (arguments.contains_key("size") || arguments.contains_key("max")) && choice.chance(80) {
            arguments.insert("capped", true);
            arguments
                .entry("size".to_owned())
                .or_insert(Bson::Int32(4096));
        }
    }
}

/// PyMongo rejects these options of writes without acknowledgment for every server. The specifications ask for it only for
/// writes by opcodes ("Collation", "Opcode-based Unacknowledged Writes"), which servers from MongoDB 6.0 on do not have.
fn avoid_silent_errors(arguments: &mut Document) {
    let options = ["arrayFilters", "bypassDocumentValidation", "collation"];
    for option in options {
        arguments.remove(option);
    }
    // PyMongo does not send the variables of unordered writes, so writes that use them would have other effects.
    if arguments.get_bool("ordered").is_ok_and(|ordered| !ordered) {
        arguments.remove("let");
    }
    for model in arguments.get_array_mut("models").into_iter().flatten() {
        let model = model.as_document_mut();
        if let Some(model) = model {
            options
                .iter()
                .for_each(|option| drop(model.remove(*option)));
        }
    }
}
