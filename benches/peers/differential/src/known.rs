//! The differences that are known, each with its reason. Everything else is reported.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};

use crate::command::{at, sort};
use crate::driver::{Peer, WHY, failed};
use crate::generate::is_known;
use crate::lane::Step;
use crate::stage::Store;

/// A difference between commands without a meaning. Commands lose it before they are compared.
struct Rule {
    name: &'static str,
    /// The driver that it concerns; `None` for all. In a comparison with this driver, the commands of both lose it.
    of: Option<Peer>,
    /// The reason.
    #[expect(dead_code, reason = "for readers")]
    why: &'static str,
    /// Changes a command of the operation with this name; returns true if it was different.
    apply: fn(&str, &mut Document) -> bool,
}

/// A difference between what drivers do. After it, documents may differ, so the rest of the sequence is not compared, unless
/// it is harmless.
pub(crate) struct Excuse {
    pub(crate) name: &'static str,
    /// The driver that it concerns; `None` for all.
    peer: Option<Peer>,
    /// The store that it concerns; `None` for all.
    store: Option<Store>,
    #[expect(dead_code, reason = "for readers")]
    why: &'static str,
    /// True if the documents are equal nevertheless, so that the comparison goes on.
    pub(crate) is_harmless: bool,
    matches: fn(&str, &Step, &Step) -> bool,
}

/// How often each known difference has occurred.
pub(crate) type Uses = BTreeMap<&'static str, u64>;

/// The names of the known differences that occur in any 200 seeds.
pub(crate) fn frequent() -> impl Iterator<Item = &'static str> {
    let rules = RULES.iter().map(|rule| rule.name);
    let all = rules.chain(EXCUSES.iter().map(|excuse| excuse.name));
    all.filter(|name| !RARE.contains(name))
}

/// The known differences that only many seeds contain.
const RARE: &[&str] = &[
    "a rejected command after rejected writes of a bulk",
    "an error in ordered writes without acknowledgment",
    "the comment of unordered writes without acknowledgment",
    "the option that FerretDB rejects first",
];

/// Removes the known differences from a command.
///
/// `peer` is the driver in the comparison, not always that which has sent the command.
pub(crate) fn without(
    operation: &str,
    command: &Document,
    peer: Peer,
    uses: &mut Uses,
) -> Document {
    let mut command = command.clone();
    for rule in RULES {
        if rule.of.is_none_or(|of| of == peer) && (rule.apply)(operation, &mut command) {
            *uses.entry(rule.name).or_default() += 1;
        }
    }
    // No order of fields is specified, except that the name of the command comes first ("OP_MSG", "Command Arguments").
    for place in PARTS {
        at(&mut command, place, &mut |part| sort(part, false));
    }
    sort(&mut command, true);
    let mut command = Bson::Document(command);
    hide_ids(&mut command);
    match command {
        Bson::Document(command) => command,
        _ => unreachable!("it was a document"),
    }
}

/// A result without words, and without IDs that differ each time.
pub(crate) fn essence(result: &Document) -> Bson {
    let mut result = result.clone();
    result.remove(WHY);
    let mut result = Bson::Document(result);
    hide_ids(&mut result);
    result
}

/// The known difference between what this peer and mongotls did.
pub(crate) fn excuse(
    (peer, store): (Peer, Store),
    operation: &Document,
    ours: &Step,
    theirs: &Step,
) -> Option<&'static Excuse> {
    let name = operation.get_str("name").expect("the name");
    let mut of_peer = EXCUSES
        .iter()
        .filter(|excuse| excuse.peer.is_none_or(|of| of == peer))
        .filter(|excuse| excuse.store.is_none_or(|of| of == store));
    of_peer.find(|excuse| (excuse.matches)(name, ours, theirs))
}

/// Replaces the IDs that drivers and servers have created.
fn hide_ids(value: &mut Bson) {
    match value {
        Bson::ObjectId(id) if !is_known(id) => *value = Bson::String("a new ID".to_owned()),
        Bson::Document(document) => document.iter_mut().for_each(|(_, value)| hide_ids(value)),
        Bson::Array(elements) => elements.iter_mut().for_each(hide_ids),
        _ => {}
    }
}

/// The documents inside a command whose fields are parts of the command, not data of the program.
const PARTS: &[&str] = &[
    "collation",
    "clusteredIndex",
    "cursor",
    "deletes[]",
    "deletes[].collation",
    "indexes[]",
    "indexes[].collation",
    "nsInfo[]",
    "ops[]",
    "ops[].collation",
    "readConcern",
    "timeseries",
    "updates[]",
    "updates[].collation",
    "writeConcern",
    "$readPreference",
];

const RULES: &[Rule] = &[
    Rule {
        name: "the width of numbers",
        of: None,
        why: "The server takes 32 bits, 64 bits and whole doubles for its own options.",
        apply: |_, command| {
            let mut changed = false;
            for place in PARTS.iter().chain(&["", "pipeline[]"]) {
                at(command, place, &mut |part| changed |= widen(part));
            }
            changed
        },
    },
    Rule {
        name: "default values",
        of: None,
        why: "A field with the server's default value means the same as no field. PyMongo sends some of them, such as \
            `ordered: true` and `upsert: false`.",
        apply: |_, command| {
            let mut changed = false;
            for (place, name, default) in DEFAULTS {
                at(command, place, &mut |part| {
                    if part.get(name) == Some(&Bson::Boolean(*default)) {
                        part.remove(*name);
                        changed = true;
                    }
                });
            }
            if command.get("skip") == Some(&Bson::Int64(0)) {
                command.remove("skip");
                changed = true;
            }
            changed
        },
    },
    Rule {
        name: "the IDs of cursors",
        of: None,
        why: "The server chooses them.",
        apply: |_, command| match command.get_mut("getMore") {
            Some(id) => {
                *id = Bson::String("a cursor".to_owned());
                true
            }
            None => false,
        },
    },
    Rule {
        name: "an empty cursor document",
        of: None,
        why: "`cursor: {}` of a list is the default. The `mongodb` crate does not send it.",
        apply: |_, command| {
            let is_empty = command.get_document("cursor").is_ok_and(Document::is_empty);
            is_empty && command.remove("cursor").is_some()
        },
    },
    Rule {
        name: "a read preference of getMore",
        of: Some(Peer::Official),
        why: "The crate adds `primaryPreferred` to every getMore in a replica set, because it selects the server of the \
            cursor by its address. No specification has it: a getMore runs where the cursor is.",
        apply: |_, command| {
            command.contains_key("getMore") && command.remove("$readPreference").is_some()
        },
    },
    Rule {
        name: "a write concern of a pipeline that does not write",
        of: Some(Peer::Official),
        why: "\"Read and Write Concern\" has a write concern only for aggregations with `$out` or `$merge`.",
        apply: |_, command| {
            let stages = command.get_array("pipeline").ok();
            let last = stages
                .and_then(|stages| stages.last())
                .and_then(Bson::as_document);
            let writes =
                |stage: &Document| stage.contains_key("$out") || stage.contains_key("$merge");
            stages.is_some()
                && !last.is_some_and(writes)
                && command.remove("writeConcern").is_some()
        },
    },
    Rule {
        name: "the batch size of getMore",
        of: Some(Peer::PyMongo),
        why: "PyMongo sends the rest of the limit if it is smaller than the batch size. \"CRUD API\" (\"Combining Limit and \
            Batch Size for the Wire Protocol\") has the batch size of the program, with which the server also closes the \
            cursor at the limit.",
        apply: |_, command| {
            command.contains_key("getMore") && command.remove("batchSize").is_some()
        },
    },
    Rule {
        name: "several ordered writes without acknowledgment",
        of: Some(Peer::PyMongo),
        why: "PyMongo leaves out `w: 0` of all commands but the last, and of several writes in one command, so that it can \
            stop after an error. No specification asks for it, and the program has asked for no answer.",
        apply: |operation, command| {
            let concern = command.get_document("writeConcern");
            let is_silent = concern.is_ok_and(|concern| concern.get("w") == Some(&Bson::Int64(0)));
            let is_ordered = !command.contains_key("ordered");
            let has_several = operation == "bulkWrite" || operation == "insertMany";
            has_several && is_silent && is_ordered && command.remove("writeConcern").is_some()
        },
    },
    Rule {
        name: "the comment of unordered writes without acknowledgment",
        of: Some(Peer::PyMongo),
        why: "PyMongo does not send `comment` with them. \"CRUD API\" has it for every write.",
        apply: |operation, command| {
            let concern = command.get_document("writeConcern");
            let is_silent = concern.is_ok_and(|concern| concern.get("w") == Some(&Bson::Int64(0)));
            let is_ordered = !command.contains_key("ordered");
            let has_several = operation == "bulkWrite" || operation == "insertMany";
            has_several && is_silent && !is_ordered && command.remove("comment").is_some()
        },
    },
    Rule {
        name: "the validation of deleted documents",
        of: Some(Peer::PyMongo),
        why: "PyMongo's bulk writes also send `bypassDocumentValidation` with `delete`, which validates nothing.",
        apply: |_, command| {
            command.contains_key("delete") && command.remove("bypassDocumentValidation").is_some()
        },
    },
    Rule {
        name: "a comment that is null",
        of: Some(Peer::PyMongo),
        why: "PyMongo's dropDatabase sends its own default value.",
        apply: |_, command| {
            command.get("comment") == Some(&Bson::Null) && command.remove("comment").is_some()
        },
    },
    Rule {
        name: "the comment of a getMore of listIndexes",
        of: Some(Peer::Official),
        why: "\"Index Management\": \"If a comment is provided, drivers MUST attach this comment to all subsequent getMore \
            commands run on the same cursor.\" The crate does not.",
        apply: |operation, command| {
            let is_further = operation == "listIndexes" && command.contains_key("getMore");
            is_further && command.remove("comment").is_some()
        },
    },
];

/// Places, fields and the values that the server assumes without the field.
const DEFAULTS: &[(&str, &str, bool)] = &[
    ("", "ordered", true),
    ("", "upsert", false),
    ("", "new", false),
    ("", "nameOnly", false),
    ("", "noCursorTimeout", false),
    ("", "allowPartialResults", false),
    ("updates[]", "upsert", false),
    ("updates[]", "multi", false),
    ("ops[]", "upsert", false),
    ("ops[]", "multi", false),
];

const NUMBERS: &[&str] = &[
    "$limit",
    "$skip",
    "aggregate",
    "batchSize",
    "bits",
    "bucketMaxSpanSeconds",
    "bucketRoundingSeconds",
    "bulkWrite",
    "commitQuorum",
    "delete",
    "dropDatabase",
    "expireAfterSeconds",
    "insert",
    "limit",
    "listCollections",
    "listDatabases",
    "max",
    "maxStalenessSeconds",
    "maxTimeMS",
    "size",
    "skip",
    "strength",
    "update",
    "w",
    "wtimeout",
];

/// Makes the numbers of options 64 bits wide.
fn widen(part: &mut Document) -> bool {
    let mut changed = false;
    for name in NUMBERS {
        let Some(value) = part.get_mut(name) else {
            continue;
        };
        let wide = match value {
            Bson::Int32(number) => i64::from(*number),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is a small whole number"
            )]
            Bson::Double(number) if number.fract() == 0.0 => *number as i64,
            _ => continue,
        };
        *value = Bson::Int64(wide);
        changed = true;
    }
    changed
}

const EXCUSES: &[Excuse] = &[
    Excuse {
        name: "indexes of a collection that does not exist",
        peer: Some(Peer::PyMongo),
        store: None,
        why: "PyMongo takes the error NamespaceNotFound (26) for success. \"Index Management\" asks for that only in \
            dropSearchIndex.",
        is_harmless: true,
        matches: |operation, ours, theirs| {
            let is_suppressed = [
                "dropIndex",
                "dropIndexes",
                "listIndexes",
                "updateSearchIndex",
            ];
            is_suppressed.contains(&operation)
                && ours.result.get("code") == Some(&Bson::Int32(26))
                && !failed(&theirs.result)
        },
    },
    Excuse {
        name: "an error in ordered writes without acknowledgment",
        peer: Some(Peer::PyMongo),
        store: None,
        why: "PyMongo gets an answer from all commands but the last, and stops after an error. mongotls gets none, and sends \
            the next command.",
        is_harmless: false,
        matches: |operation, ours, theirs| {
            operation == "bulkWrite"
                && ours.result == doc! { "result": { "acknowledged": false } }
                && ours.commands.len() > theirs.commands.len()
        },
    },
    Excuse {
        name: "a rejected command after rejected writes of a bulk",
        peer: Some(Peer::PyMongo),
        store: None,
        why: "PyMongo returns only the error of the last command. The error of mongotls also has the writes that were \
            rejected before it.",
        is_harmless: true,
        matches: |operation, ours, theirs| {
            let writes = |step: &Step| step.result.get_array("writes").map(Vec::len).unwrap_or(0);
            operation == "bulkWrite"
                && writes(ours) > 0
                && failed(&theirs.result)
                && writes(theirs) == 0
                && ours.commands.len() == theirs.commands.len()
        },
    },
    Excuse {
        name: "the time limit of further indexes",
        peer: Some(Peer::Official),
        store: None,
        why: "The crate sends `maxTimeMS` with the getMore of listIndexes, and the server rejects it. \"Find, getMore and \
            killCursors\" allows it only for tailable cursors that wait.",
        is_harmless: true,
        matches: |operation, _, theirs| {
            let last = theirs.commands.last();
            operation == "listIndexes"
                && last.is_some_and(|last| {
                    last.contains_key("getMore") && last.contains_key("maxTimeMS")
                })
        },
    },
    Excuse {
        name: "the option that FerretDB rejects first",
        peer: None,
        store: Some(Store::FerretDb),
        why: "FerretDB stops at the first option that it does not have, and drivers send options in different orders.",
        is_harmless: false,
        matches: |_, ours, theirs| {
            // NotImplemented, TypeMismatch, FailedToParse.
            let code = |step: &Step| step.result.get_i32("code").ok();
            let codes = [code(ours), code(theirs)];
            codes[0] != codes[1] && codes.iter().all(|code| matches!(code, Some(238 | 14 | 9)))
        },
    },
];
