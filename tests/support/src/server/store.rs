//! Documents in memory, and cursors over them.
//!
//! It implements enough of a database to insert, find by equality, page through results and delete. It rejects unknown
//! features (an operator in a filter) by an error, so that no result is wrong.
//!
//! [`Data`] can be shared by the members of a set, while each server knows only its own cursors. A separated member
//! continues with a copy, and loses its own writes when it comes back.

use super::commands::{failure, ok};
use super::failpoint::integer;
use super::hello::Effect;
use super::record::Request;
use crate::net::lock;
use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, doc};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The documents of a server, or of several that share them.
#[derive(Clone, Debug, Default)]
pub struct Data(Arc<Mutex<Content>>);

#[derive(Clone, Debug)]
struct Content {
    collections: BTreeMap<String, Collection>,
    last_write: DateTime,
}

impl Default for Content {
    fn default() -> Self {
        Self {
            collections: BTreeMap::new(),
            last_write: DateTime::now(),
        }
    }
}

impl Data {
    /// The documents of `database.collection`, in the order of their insertion.
    pub fn documents(&self, namespace: &str) -> Vec<Document> {
        let content = self.lock();
        let collection = content.collections.get(namespace);
        collection.map_or_else(Vec::new, |collection| collection.documents.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        lock(&self.0)
    }

    fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }
}

#[derive(Clone, Debug, Default)]
struct Collection {
    documents: Vec<Document>,
    ids: HashSet<Vec<u8>>,
}

#[derive(Debug)]
struct Cursor {
    namespace: String,
    rest: VecDeque<Document>,
}

/// The state of one server: documents, and the cursors that it has opened.
#[derive(Debug, Default)]
pub(super) struct Store {
    data: Data,
    cursors: BTreeMap<i64, Cursor>,
    /// The data of the others, if the server is separated from its set.
    left: Option<Data>,
    /// True if it was primary when it was separated.
    stale_primary: bool,
    stale: Vec<Request>,
}

impl Store {
    pub(super) fn sharing(data: &Data) -> Self {
        Self {
            data: data.clone(),
            ..Self::default()
        }
    }

    /// Reads and writes a separate copy from now on.
    pub(super) fn cut_off(&mut self, as_primary: bool) {
        if self.left.is_none() {
            let own = self.data.copy();
            self.left = Some(std::mem::replace(&mut self.data, own));
        }
        self.stale_primary = as_primary;
    }

    /// Uses the data of the others again; its own writes are lost.
    pub(super) fn rejoin(&mut self) {
        if let Some(data) = self.left.take() {
            self.data = data;
        }
        self.stale_primary = false;
    }

    /// Cursors do not survive their process.
    pub(super) fn restart(&mut self) {
        self.cursors.clear();
    }

    /// Records a command before it is run.
    pub(super) fn note(&mut self, request: &Request) {
        let effect = Effect::of(&request.name);
        if effect == Effect::Write {
            self.data.lock().last_write = DateTime::now();
        }
        if self.stale_primary && effect != Effect::Neither {
            self.stale.push(request.clone());
        }
    }

    /// The reads and writes that it ran as a separated primary.
    pub(super) fn stale(&self) -> Vec<Request> {
        self.stale.clone()
    }

    /// The time of its last write. An idle primary makes a no-op write from time to time, so that the date advances; a
    /// separated secondary does not receive these.
    pub(super) fn last_write(&self) -> DateTime {
        let mut content = self.data.lock();
        let now = DateTime::now();
        let idle = now.timestamp_millis() - content.last_write.timestamp_millis();
        if idle > IDLE_WRITES && (self.left.is_none() || self.stale_primary) {
            content.last_write = now;
        }
        content.last_write
    }

    pub(super) fn open_cursors(&self) -> usize {
        self.cursors.len()
    }

    pub(super) fn documents(&self, namespace: &str) -> Vec<Document> {
        self.data.documents(namespace)
    }

    pub(super) fn insert(&mut self, request: &Request) -> Document {
        let mut content = self.data.lock();
        let collection = content.collections.entry(namespace(request)).or_default();
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
            let id = NEXT_CURSOR.fetch_add(1, Ordering::Relaxed);
            let cursor = Cursor {
                namespace: namespace.clone(),
                rest,
            };
            self.cursors.insert(id, cursor);
            id
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

    /// Explains a command that finds documents: it reads the whole collection, because there are no indexes.
    pub(super) fn explain(&self, request: &Request) -> Document {
        let Ok(explained) = request.body.get_document("explain") else {
            return failure(9, "FailedToParse", "explain needs a command");
        };
        let name = explained.keys().next().map_or("", String::as_str);
        let collection = explained.get_str(name).unwrap_or_default();
        let namespace = format!("{}.{collection}", request.database);
        let first = |field: &str| explained.get_array(field).ok()?.first()?.as_document();
        let statement = first("updates").or_else(|| first("deletes"));
        let filters = ["filter", "query", "q"].map(|key| {
            let statement = statement.unwrap_or(explained);
            statement.get_document(key).ok()
        });
        let filter = filters.into_iter().flatten().next();
        let found = match self.matching(&namespace, filter) {
            Ok(found) => i32::try_from(found.len()).unwrap_or(i32::MAX),
            Err(reply) => return reply,
        };
        let all = i32::try_from(self.documents(&namespace).len()).unwrap_or(i32::MAX);
        let plan = doc! { "stage": "COLLSCAN", "direction": "forward" };
        let mut stages = plan.clone();
        stages.insert("nReturned", found);
        doc! {
            "explainVersion": "1",
            "queryPlanner": { "namespace": namespace, "winningPlan": plan, "rejectedPlans": [] },
            "executionStats": {
                "executionSuccess": true, "nReturned": found, "executionTimeMillis": 0, "totalKeysExamined": 0,
                "totalDocsExamined": all, "executionStages": stages,
            },
            "ok": 1.0,
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
            let mut content = self.data.lock();
            let Some(collection) = content.collections.get_mut(&namespace(request)) else {
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
        match self.data.lock().collections.remove(&namespace) {
            Some(_) => doc! { "nIndexesWas": 1, "ns": namespace, "ok": 1.0 },
            None => failure(26, "NamespaceNotFound", "ns not found"),
        }
    }

    pub(super) fn drop_database(&mut self, request: &Request) -> Document {
        let prefix = format!("{}.", request.database);
        let mut content = self.data.lock();
        content
            .collections
            .retain(|name, _| !name.starts_with(&prefix));
        let mut reply = ok();
        reply.insert("dropped", &request.database);
        reply
    }

    pub(super) fn list_collections(&self, request: &Request) -> Document {
        let prefix = format!("{}.", request.database);
        let content = self.data.lock();
        let names = content.collections.keys();
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
        let content = self.data.lock();
        for (name, collection) in &content.collections {
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
        let content = self.data.lock();
        let documents = content.collections.get(namespace);
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

/// Returns true if both are equal whole numbers, of any type.
fn same_number(one: &Bson, other: &Bson) -> bool {
    !matches!((one, other), (Bson::Double(_), Bson::Double(_)))
        && integer(one).is_some_and(|n| integer(other) == Some(n))
}

fn id_bytes(document: &Document) -> Vec<u8> {
    let id = document.get("_id").cloned().unwrap_or(Bson::Null);
    doc! { "_id": id }.to_vec().unwrap()
}

/// Returns at most `size` documents and at most 16 MiB, but at least one if there is one and `size` allows it.
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

/// Counted for all servers, so that a cursor is found only on the server that opened it.
static NEXT_CURSOR: AtomicI64 = AtomicI64::new(1);

/// The interval of an idle primary's no-op writes, in milliseconds: `periodicNoopIntervalSecs` of MongoDB.
const IDLE_WRITES: i64 = 10_000;
