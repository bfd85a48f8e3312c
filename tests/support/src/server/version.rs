//! The version of MongoDB that a server claims to be, and what servers of that version reject.

use super::commands::failure;
use super::record::Request;
use bson::{Bson, Document, doc};

/// A version of MongoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its three numbers.
    pub numbers: [i32; 3],
    /// `maxWireVersion` of its hello.
    pub wire: i32,
}

impl Version {
    /// 4.2: no `hello` command, no streamed checks, and error labels come from drivers only.
    pub const V4_2: Self = Self::new([4, 2, 25], 8);
    /// 7.0.
    pub const V7_0: Self = Self::new([7, 0, 0], 21);
    /// 8.2.
    pub const V8_2: Self = Self::new([8, 2, 0], 27);

    const fn new(numbers: [i32; 3], wire: i32) -> Self {
        Self { numbers, wire }
    }

    /// The version as text, such as `8.2.0`.
    pub fn name(self) -> String {
        let [major, minor, patch] = self.numbers;
        format!("{major}.{minor}.{patch}")
    }

    /// Returns true for 4.4 and newer, which know `hello`, `topologyVersion` and error labels.
    pub(super) fn is_modern(self) -> bool {
        self.wire >= V4_4
    }

    /// `buildInfo`.
    pub(super) fn build_info(self) -> Document {
        let [major, minor, patch] = self.numbers;
        doc! {
            "version": self.name(),
            "versionArray": [major, minor, patch, 0],
            "gitVersion": "bench",
            "modules": [],
            "storageEngines": ["wiredTiger"],
            "bits": 64,
            "debug": false,
            "maxBsonObjectSize": 16_777_216,
            "ok": 1.0,
        }
    }

    /// The rejection of names of fields that begin with a dollar, which servers store from 5.0 on.
    pub(super) fn rejects_names(self, request: &Request) -> Option<Document> {
        if self.wire >= V5_0 {
            return None;
        }
        let is_dollar = |key: &String| key.starts_with('$');
        let (index, code, message) = match request.name.as_str() {
            "insert" => {
                let documents = request.documents("documents");
                let index = documents.iter().position(|it| it.keys().any(is_dollar))?;
                let key = documents[index].keys().find(|key| is_dollar(key))?;
                let message = format!("Document can't have $ prefixed field names: {key}");
                (index, 2, message)
            }
            "update" => {
                let updates = request.documents("updates");
                let nested = |update: &Document| {
                    let replacement = update.get_document("u").ok()?;
                    if replacement.keys().next().is_some_and(is_dollar) {
                        return None;
                    }
                    let fields = replacement.values().filter_map(Bson::as_document);
                    // Those of a DBRef.
                    let others = |key: &&String| !matches!(key.as_str(), "$ref" | "$id" | "$db");
                    let mut names = fields.flat_map(Document::keys).filter(others);
                    names.find(|key| is_dollar(key)).cloned()
                };
                let index = updates.iter().position(|it| nested(it).is_some())?;
                let key = nested(&updates[index])?;
                let message =
                    format!("The dollar ($) prefixed field '{key}' is not valid for storage.");
                (index, 52, message)
            }
            _ => return None,
        };
        let index = i32::try_from(index).ok()?;
        let error = doc! { "index": index, "code": code, "errmsg": message };
        Some(doc! { "ok": 1, "n": 0, "writeErrors": [error] })
    }

    /// The rejection of a command or field that came with a later version.
    ///
    /// Source: the "Changed in version" notes of MongoDB's command reference.
    pub(super) fn rejects(self, request: &Request) -> Option<Document> {
        let name = request.name.as_str();
        if COMMANDS
            .iter()
            .any(|(known, since)| *known == name && self.wire < *since)
        {
            let message = format!("no such command: '{name}'");
            return Some(failure(59, "CommandNotFound", &message));
        }
        let statements = match name {
            "update" => request.documents("updates"),
            "delete" => request.documents("deletes"),
            _ => Vec::new(),
        };
        let newer = FIELDS.iter().find(|(known, field, since)| {
            let has = |document: &Document| document.contains_key(*field);
            *known == name
                && self.wire < *since
                && (has(&request.body) || statements.iter().any(has))
        });
        let newer = newer.map(|(_, field, _)| *field).or_else(|| {
            let comment = request.body.get("comment")?;
            let is_text = matches!(comment, Bson::String(_));
            let allowed = is_text && matches!(name, "find" | "aggregate");
            (!self.is_modern() && !allowed).then_some("comment")
        })?;
        // The parsers of these commands were others before 4.4.
        if matches!(name, "find" | "aggregate") && !self.is_modern() {
            let message = format!("Failed to parse: Unrecognized field '{newer}'.");
            return Some(failure(9, "FailedToParse", &message));
        }
        // `findAndModify` had a parser of its own before 5.0.
        let message = match name {
            "findAndModify" if self.wire < V5_0 => {
                format!("BSON field '{newer}' is an unknown field.")
            }
            _ => format!("BSON field '{name}.{newer}' is an unknown field."),
        };
        Some(failure(40415, "Location40415", &message))
    }
}

impl Default for Version {
    fn default() -> Self {
        Self::V7_0
    }
}

const V4_4: i32 = 9;
const V5_0: i32 = 13;
const V6_0: i32 = 17;
const V7_1: i32 = 22;
const V8_0: i32 = 25;
const V8_2: i32 = 27;

/// Commands, and the wire version that brought them.
///
/// `hello` came with 5.0, and with 4.4.2 and 4.2.10, so each version has it here.
const COMMANDS: [(&str, i32); 1] = [("bulkWrite", V8_0)];

/// Fields of commands or of their statements, and the wire version that brought them.
const FIELDS: [(&str, &str, i32); 22] = [
    ("find", "allowDiskUse", V4_4),
    ("find", "let", V5_0),
    ("find", "rawData", V8_2),
    ("findAndModify", "hint", V4_4),
    ("findAndModify", "let", V5_0),
    ("findAndModify", "rawData", V8_2),
    ("delete", "hint", V4_4),
    ("delete", "let", V5_0),
    ("delete", "rawData", V8_2),
    ("update", "let", V5_0),
    ("update", "sort", V8_0),
    ("update", "rawData", V8_2),
    ("insert", "rawData", V8_2),
    ("aggregate", "let", V5_0),
    ("aggregate", "rawData", V8_2),
    ("count", "rawData", V8_2),
    ("distinct", "hint", V7_1),
    ("distinct", "rawData", V8_2),
    ("create", "timeseries", V5_0),
    ("create", "clusteredIndex", V5_0),
    ("create", "changeStreamPreAndPostImages", V6_0),
    ("createIndexes", "commitQuorum", V4_4),
];
