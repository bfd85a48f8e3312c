//! Documents in memory, and cursors over them.
//!
//! Enough of a database to insert, find by equality, page through results and delete. What it does not
//! know (an operator in a filter) it refuses by an error, rather than give a wrong result.

use super::commands::{failure, ok};
use super::failpoint::integer;
use super::record::Request;
use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use std::collections::{BTreeMap, HashSet, VecDeque};

#[derive(Debug, Default)]
struct Collection {
    documents: Vec<Document>,
    ids: HashSet<Vec<u8>>,
}

#[derive(Debug)]
struct Cursor {
    namespace: String,
    rest: VecDeque<Document>,
}

/// All databases of one server, by `database.collection`.
#[derive(Debug, Default)]
pub(super) struct Store {
    collections: BTreeMap<String, Collection>,
    cursors: BTreeMap<i64, Cursor>,
    next_cursor: i64,
}

impl Store {
    pub(super) fn open_cursors(&self) -> usize {
        self.cursors.len()
    }

    pub(super) fn documents(&self, namespace: &str) -> Vec<Document> {
        self.collections
            .get(namespace)
            .map_or_else(Vec::new, |collection| collection.documents.clone())
    }

    pub(super) fn insert(&mut self, request: &Request) -> Document {
        let collection = self.collections.entry(namespace(request)).or_default();
        let ordered = request.body.get_bool("ordered").unwrap_or(true);
        let mut inserted = 0;
        let mut errors = Vec::new();
        for (index, mut document) in (0..).zip(request.documents("documents")) {
            if !document.contains_key("_id") {
                let mut with_id = doc! { "_id": ObjectId::new() };
                with_id.extend(document);
                document = with_id;
            }
            if collection.ids.insert(id_bytes(&document)) {
                collection.documents.push(document);
                inserted += 1;
                continue;
            }
            errors.push(doc! {
                "index": index,
                "code": 11000,
                "keyPattern": { "_id": 1 },
                "keyValue": { "_id": document.get("_id").cloned() },
                "errmsg": format!("E11000 duplicate key error collection: {}", namespace(request)),
            });
            if ordered {
                break;
            }
        }
        let mut reply = doc! { "n": inserted };
        if !errors.is_empty() {
            reply.insert("writeErrors", errors);
        }
        reply.insert("ok", 1.0);
        reply
    }

    pub(super) fn find(&mut self, request: &Request) -> Document {
        let namespace = namespace(request);
        let found = match self.matching(&namespace, request.body.get_document("filter").ok()) {
            Ok(found) => found,
            Err(reply) => return reply,
        };
        let number = |key| request.body.get(key).and_then(integer);
        let limit = number("limit").unwrap_or(0);
        let single = limit < 0 || request.body.get_bool("singleBatch").unwrap_or(false);
        let limit = usize::try_from(limit.unsigned_abs()).unwrap_or(usize::MAX);
        let skip = number("skip").and_then(|n| n.try_into().ok()).unwrap_or(0);
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut rest: VecDeque<_> = found.into_iter().skip(skip).take(limit).collect();
        let size = number("batchSize").and_then(|n| n.try_into().ok());
        let batch = take_batch(&mut rest, size.unwrap_or(101));
        let id = if rest.is_empty() || single {
            0
        } else {
            self.next_cursor += 1;
            let cursor = Cursor {
                namespace: namespace.clone(),
                rest,
            };
            self.cursors.insert(self.next_cursor, cursor);
            self.next_cursor
        };
        doc! { "cursor": { "firstBatch": batch, "id": id, "ns": namespace }, "ok": 1.0 }
    }

    pub(super) fn get_more(&mut self, request: &Request) -> Document {
        let id = request.body.get("getMore").and_then(integer).unwrap_or(0);
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return failure(43, "CursorNotFound", &format!("cursor id {id} not found"));
        };
        let size = request.body.get("batchSize").and_then(integer);
        let size = size.and_then(|n| n.try_into().ok()).filter(|n| *n > 0);
        let batch = take_batch(&mut cursor.rest, size.unwrap_or(usize::MAX));
        let namespace = cursor.namespace.clone();
        let id = if cursor.rest.is_empty() {
            self.cursors.remove(&id);
            0
        } else {
            id
        };
        doc! { "cursor": { "nextBatch": batch, "id": id, "ns": namespace }, "ok": 1.0 }
    }

    pub(super) fn kill_cursors(&mut self, request: &Request) -> Document {
        let ids = request.body.get_array("cursors").into_iter().flatten();
        let (mut killed, mut unknown) = (Vec::new(), Vec::new());
        for id in ids.filter_map(integer) {
            match self.cursors.remove(&id) {
                Some(_) => killed.push(id),
                None => unknown.push(id),
            }
        }
        doc! {
            "cursorsKilled": killed,
            "cursorsNotFound": unknown,
            "cursorsAlive": [],
            "cursorsUnknown": [],
            "ok": 1.0,
        }
    }

    pub(super) fn count(&self, request: &Request) -> Document {
        match self.matching(&namespace(request), request.body.get_document("query").ok()) {
            Ok(found) => doc! { "n": i32::try_from(found.len()).unwrap_or(i32::MAX), "ok": 1.0 },
            Err(reply) => reply,
        }
    }

    pub(super) fn delete(&mut self, request: &Request) -> Document {
        let mut removed = 0;
        for statement in request.documents("deletes") {
            let filter = statement.get_document("q").ok();
            if let Err(reply) = check_filter(filter) {
                return reply;
            }
            let mut left = match statement.get("limit").and_then(integer) {
                Some(1) => 1,
                _ => usize::MAX,
            };
            let Some(collection) = self.collections.get_mut(&namespace(request)) else {
                continue;
            };
            let ids = &mut collection.ids;
            collection.documents.retain(|document| {
                let goes = left > 0 && matches(document, filter);
                if goes {
                    left -= 1;
                    removed += 1;
                    ids.remove(&id_bytes(document));
                }
                !goes
            });
        }
        doc! { "n": removed, "ok": 1.0 }
    }

    pub(super) fn drop_collection(&mut self, request: &Request) -> Document {
        let namespace = namespace(request);
        match self.collections.remove(&namespace) {
            Some(_) => doc! { "nIndexesWas": 1, "ns": namespace, "ok": 1.0 },
            None => failure(26, "NamespaceNotFound", "ns not found"),
        }
    }

    pub(super) fn drop_database(&mut self, request: &Request) -> Document {
        let prefix = format!("{}.", request.database);
        self.collections
            .retain(|name, _| !name.starts_with(&prefix));
        let mut reply = ok();
        reply.insert("dropped", &request.database);
        reply
    }

    pub(super) fn list_collections(&self, request: &Request) -> Document {
        let prefix = format!("{}.", request.database);
        let names = self.collections.keys();
        let batch: Vec<Document> = names
            .filter_map(|name| name.strip_prefix(&prefix))
            .map(|name| {
                doc! { "name": name, "type": "collection", "options": {}, "info": { "readOnly": false } }
            })
            .collect();
        let namespace = format!("{prefix}$cmd.listCollections");
        doc! { "cursor": { "firstBatch": batch, "id": 0_i64, "ns": namespace }, "ok": 1.0 }
    }

    pub(super) fn list_databases(&self) -> Document {
        let mut sizes = BTreeMap::<&str, i64>::new();
        for (name, collection) in &self.collections {
            let database = name.split_once('.').map_or(name.as_str(), |(db, _)| db);
            *sizes.entry(database).or_default() +=
                i64::try_from(collection.documents.len()).unwrap_or(i64::MAX);
        }
        let total: i64 = sizes.values().sum();
        let databases: Vec<Document> = sizes
            .iter()
            .map(|(name, size)| doc! { "name": *name, "sizeOnDisk": *size, "empty": *size == 0 })
            .collect();
        doc! { "databases": databases, "totalSize": total, "ok": 1.0 }
    }

    fn matching(
        &self,
        namespace: &str,
        filter: Option<&Document>,
    ) -> Result<Vec<Document>, Document> {
        check_filter(filter)?;
        let documents = self.collections.get(namespace);
        let documents = documents.into_iter().flat_map(|c| &c.documents);
        Ok(documents
            .filter(|document| matches(document, filter))
            .cloned()
            .collect())
    }
}

/// `database.collection` of a command that names its collection.
fn namespace(request: &Request) -> String {
    let collection = request.body.get_str(&request.name).unwrap_or_default();
    format!("{}.{collection}", request.database)
}

fn check_filter(filter: Option<&Document>) -> Result<(), Document> {
    let operator = filter.into_iter().flatten().find(|(key, value)| {
        let inner = value.as_document().and_then(|inner| inner.keys().next());
        key.starts_with('$') || inner.is_some_and(|key| key.starts_with('$'))
    });
    match operator {
        None => Ok(()),
        Some((key, _)) => Err(failure(
            2,
            "BadValue",
            &format!("the bench filters by equality only; operator at '{key}'"),
        )),
    }
}

fn matches(document: &Document, filter: Option<&Document>) -> bool {
    filter
        .into_iter()
        .flatten()
        .all(|(key, wanted)| match document.get(key) {
            Some(value) => value == wanted || same_number(value, wanted),
            None => *wanted == Bson::Null,
        })
}

/// Whether both are the same whole number, of whatever type.
fn same_number(one: &Bson, other: &Bson) -> bool {
    !matches!((one, other), (Bson::Double(_), Bson::Double(_)))
        && integer(one).is_some_and(|n| integer(other) == Some(n))
}

fn id_bytes(document: &Document) -> Vec<u8> {
    let id = document.get("_id").cloned().unwrap_or(Bson::Null);
    doc! { "_id": id }.to_vec().unwrap()
}

/// At most `size` documents and at most 16 MiB, but one at least if there is one and `size` allows it.
fn take_batch(rest: &mut VecDeque<Document>, size: usize) -> Vec<Document> {
    let mut bytes = 0;
    let mut batch = Vec::new();
    while batch.len() < size {
        let Some(next) = rest.front() else { break };
        bytes += next.to_vec().unwrap().len() + 16;
        if bytes > 16 << 20 && !batch.is_empty() {
            break;
        }
        batch.extend(rest.pop_front());
    }
    batch
}
