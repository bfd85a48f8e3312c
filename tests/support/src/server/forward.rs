//! The rules of a server whose commands a [`Backend`] runs.
//!
//! The store is one server for all; what distinguishes the members of a deployment is added here. A cursor continues,
//! and a transaction goes on, only on the server that began it. A standalone server has no transactions, no change
//! streams and no cluster time. A router adds `recoveryToken`. Errors of fail points get the labels that MongoDB from
//! 4.4 on adds itself; an older [`Version`] sends none, and rejects what it does not know.
//!
//! Source: `src/mongo/db/error_labels.cpp` for the labels; the driver specifications of transactions and of retryable
//! writes for the rest.

use super::backend::Backend;
use super::commands::failure;
use super::failpoint::{FailPoint, Failure, code_name, integer};
use super::hello::{Hello, Role};
use super::record::Request;
use super::version::Version;
use crate::net::lock;
use bson::{Bson, Document, doc};
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

/// One server's part of what the store runs.
#[derive(Debug)]
pub(super) struct Forwarding {
    backend: Backend,
    cursors: Mutex<HashSet<i64>>,
    /// The last transaction that a session began here.
    transactions: Mutex<HashMap<Vec<u8>, i64>>,
}

/// The statements of a write that have run, which a retry does not repeat. All servers of a store know them.
#[derive(Clone, Debug)]
pub(super) struct Half {
    statements: usize,
    reply: Document,
}

impl Forwarding {
    pub(super) fn new(backend: &Backend) -> Self {
        Self {
            backend: backend.clone(),
            cursors: Mutex::default(),
            transactions: Mutex::default(),
        }
    }

    /// Cursors and transactions do not survive their process.
    pub(super) fn restart(&self) {
        lock(&self.cursors).clear();
        lock(&self.transactions).clear();
    }

    pub(super) fn open_cursors(&self) -> usize {
        lock(&self.cursors).len()
    }

    /// Completes a reply that the store did not write.
    pub(super) fn complete(&self, hello: &Hello, reply: &mut Document) {
        if hello.role != Role::Standalone {
            self.backend.stamp(reply);
        }
    }

    /// Runs a command; `None` if the connection should end without an answer.
    pub(super) fn run(
        &self,
        request: &Request,
        hello: &Hello,
        version: Version,
        fail_points: &FailPoint,
    ) -> Option<Document> {
        if let Some(rejection) = self.refusal(request, hello) {
            return Some(rejection);
        }
        if request.name == "getMore" {
            if let Some(code) = fail_points.check_get_more(request) {
                let cursor = request.body.get("getMore").and_then(integer);
                self.kill(request, cursor.unwrap_or(0));
                let message = "Hit the 'failGetMoreAfterCursorCheckout' failpoint";
                let mut reply = failure(code, code_name(i64::from(code)), message);
                if version.is_modern() && is_resumable(code) {
                    add_labels(&mut reply, vec![RESUMABLE]);
                }
                return Some(reply);
            }
        }
        let mut reply = if let (Some(id), true) = (transaction(request), is_retryable(request)) {
            self.run_retryable(request, hello, id, fail_points)?
        } else {
            self.send(request, hello, None).ok()?
        };
        self.note(request, hello, &mut reply);
        if hello.role == Role::Standalone {
            reply.remove("$clusterTime");
            reply.remove("operationTime");
        }
        if !version.is_modern() {
            retain_labels(&mut reply, |label| {
                label == TRANSIENT || label == UNKNOWN_COMMIT
            });
        }
        if matches!(request.name.as_str(), "serverStatus") {
            reply.insert("version", version.name());
            let is_router = hello.role == Role::Mongos;
            reply.insert("process", if is_router { "mongos" } else { "mongod" });
        }
        Some(reply)
    }

    /// The reason why this server does not run what the store would.
    fn refusal(&self, request: &Request, hello: &Hello) -> Option<Document> {
        let body = &request.body;
        let restricts = body.contains_key("apiStrict") || body.contains_key("apiDeprecationErrors");
        if restricts && !body.contains_key("apiVersion") {
            let message =
                "Provided apiStrict and/or apiDeprecationErrors without passing apiVersion";
            return Some(failure(4_886_600, "Location4886600", message));
        }
        if hello.role == Role::Standalone {
            if body.contains_key("txnNumber") {
                let message =
                    "Transaction numbers are only allowed on a replica set member or mongos";
                return Some(failure(20, "IllegalOperation", message));
            }
            if begins_with_change_stream(body) {
                let message = "The $changeStream stage is only supported on replica sets";
                return Some(failure(40573, "Location40573", message));
            }
            let concern = body.get_document("readConcern");
            if concern.is_ok_and(|concern| {
                concern
                    .get_str("level")
                    .is_ok_and(|level| level == "snapshot")
            }) {
                let message = "node needs to be a replica set member to use read concern snapshot";
                return Some(failure(123, "NotAReplicaSet", message));
            }
        }
        if request.name == "getMore" {
            let id = body.get("getMore").and_then(integer).unwrap_or(0);
            if !lock(&self.cursors).contains(&id) {
                let message = format!("cursor id {id} not found");
                return Some(failure(43, "CursorNotFound", &message));
            }
        }
        let (session, number) = transaction(request)?;
        if body.get_bool("autocommit").ok()? || is_true(body, "startTransaction") {
            return None;
        }
        if lock(&self.transactions).get(&session) == Some(&number) {
            return None;
        }
        // A router that does not know the transaction recovers its outcome from the shard that the token names; the
        // members of a set share the outcome. If there is none yet, the transaction is aborted.
        let recovers = hello.role != Role::Mongos || body.contains_key("recoveryToken");
        let commits = request.name == "commitTransaction";
        if (commits || request.name == "abortTransaction") && recovers {
            if commits && self.backend.has_committed(&session, number) {
                return None;
            }
            let mut abort = doc! { "abortTransaction": 1, "autocommit": false };
            for field in ["lsid", "txnNumber"] {
                abort.insert(field, body.get(field).cloned());
            }
            // The first commit may be running, or its end may not have been noted. Another error means that the store
            // does not know the transaction either.
            let reply = self.backend.command("admin", abort);
            let code = reply
                .ok()
                .and_then(|reply| reply.get("code").and_then(integer));
            if commits && code == Some(TRANSACTION_COMMITTED) {
                return None;
            }
        }
        let message = format!("Transaction {number} has not been started here");
        let mut reply = failure(251, "NoSuchTransaction", &message);
        reply.insert("errorLabels", [TRANSIENT]);
        Some(reply)
    }

    /// Runs a retryable write, with `onPrimaryTransactionalWrite` if that is active.
    ///
    /// One at a time: SecantusDB does not recognise a retry while the first attempt still runs, and never that of a
    /// `bulkWrite`, or of a write some of whose statements failed.
    ///
    /// MongoDB passes the fail point once for each statement of an update or delete, and once for the documents of an
    /// insert.
    fn run_retryable(
        &self,
        request: &Request,
        hello: &Hello,
        id: (Vec<u8>, i64),
        fail_points: &FailPoint,
    ) -> Option<Document> {
        let field = match request.name.as_str() {
            "update" => Some("updates"),
            "delete" => Some("deletes"),
            _ => None,
        };
        let _one = self.backend.one_retryable_write();
        let half = self.backend.halves().get(&id).cloned();
        let done = half.as_ref().map_or(0, |half| half.statements);
        let count = field.map_or(1, |field| request.documents(field).len());
        let mut stop = None;
        if fail_points.fails_writes() {
            stop = (done..count).find_map(|index| Some((index, fail_points.check_write()?)));
        }
        let rest = match (&stop, field) {
            (Some((index, effect)), _) if effect.before_commit.is_some() => done..*index,
            _ => done..count,
        };
        let reply = if rest.is_empty() {
            None // the first statement fails
        } else {
            let part = field.filter(|_| rest != (0..count));
            let part = part.map(|field| (field, rest.clone()));
            Some(self.send(request, hello, part).ok()?)
        };
        let reply = match (half, reply) {
            (Some(half), Some(reply)) => Some(merged(half, reply)),
            (Some(half), None) => Some(half.reply),
            (None, reply) => reply,
        };
        let is_repeated = stop.is_some() || request.name == "bulkWrite" || has_write_errors(&reply);
        if let (Some(reply), true) = (&reply, is_repeated) {
            let half = Half {
                statements: rest.end,
                reply: reply.clone(),
            };
            self.backend.halves().insert(id, half);
        }
        let Some((_, effect)) = stop else {
            return reply;
        };
        if effect.close_connection {
            return None;
        }
        match effect.before_commit {
            None => reply,
            Some(code) => {
                let message = "Failing write due to failpoint. The write must not be reflected.";
                Some(failure(code, code_name(i64::from(code)), message))
            }
        }
    }

    /// Sends a command to the store, or only some of its statements.
    fn send(
        &self,
        request: &Request,
        hello: &Hello,
        part: Option<(&str, std::ops::Range<usize>)>,
    ) -> std::io::Result<Document> {
        let mut body = request.body.clone();
        body.remove("recoveryToken");
        // SecantusDB stores time series as they are, and not each of its commands knows the field.
        body.remove("rawData");
        if request.name == "bulkWrite" {
            body.remove("readConcern"); // SecantusDB does not know it there
        }
        satisfy_write_concern(&mut body, hello);
        let Some((field, range)) = part else {
            return self.backend.forward(request, body);
        };
        let statements = request.documents(field);
        body.insert(field, statements[range].to_vec());
        let without_sequences = Request {
            sequences: Vec::new(),
            ..request.clone()
        };
        self.backend.forward(&without_sequences, body)
    }

    /// Remembers cursors and transactions, and adds what only a router sends.
    fn note(&self, request: &Request, hello: &Hello, reply: &mut Document) {
        let succeeded = reply.get("ok").and_then(integer) == Some(1);
        if request.name == "killCursors" {
            let ids = request.body.get_array("cursors").into_iter().flatten();
            let mut cursors = lock(&self.cursors);
            for id in ids.filter_map(integer) {
                cursors.remove(&id);
            }
        }
        let id = reply.get_document("cursor").ok();
        let id = id.and_then(|cursor| cursor.get("id")).and_then(integer);
        match (id, request.body.get("getMore").and_then(integer)) {
            (Some(0), Some(own)) => drop(lock(&self.cursors).remove(&own)),
            (Some(id), _) if id != 0 => drop(lock(&self.cursors).insert(id)),
            _ => {}
        }
        if !in_transaction(&request.body) {
            return;
        }
        let ends = matches!(
            request.name.as_str(),
            "commitTransaction" | "abortTransaction"
        );
        if is_true(&request.body, "startTransaction") {
            if let Some((session, number)) = transaction(request) {
                lock(&self.transactions).insert(session, number);
            }
        }
        if let ("commitTransaction", true, Some((session, number))) =
            (request.name.as_str(), succeeded, transaction(request))
        {
            self.backend.note_commit(session, number);
        }
        if hello.role == Role::Mongos && succeeded && !ends {
            reply.insert("recoveryToken", doc! { "recoveredShardId": "shard0" });
        }
    }

    fn kill(&self, request: &Request, cursor: i64) {
        let collection = request.body.get_str("collection").unwrap_or_default();
        let kill = doc! { "killCursors": collection, "cursors": [cursor] };
        // The store may have ended; the cursor is gone then, too.
        let _ = self.backend.command(&request.database, kill);
        lock(&self.cursors).remove(&cursor);
    }
}

impl Failure {
    /// Adds the labels that MongoDB itself adds to errors, unless the fail point names its own.
    pub(super) fn label(&mut self, request: &Request, version: Version) {
        if self.has_labels {
            return;
        }
        let in_write_concern = self.write_concern_error.as_ref();
        let in_write_concern = in_write_concern.and_then(|error| error.get("code"));
        let in_error = self.error.as_ref().and_then(|error| error.get("code"));
        let Some(code) = in_error.or(in_write_concern).and_then(integer) else {
            return;
        };
        let code = i32::try_from(code).unwrap_or(i32::MAX);
        let labels = labels_of(request, code, in_error.is_none(), version);
        match &mut self.error {
            Some(error) => add_labels(error, labels),
            None => self.labels = labels.into_iter().map(Bson::from).collect(),
        }
    }
}

/// Adds the labels to a reply with `ok: 0` that a server of this version adds.
pub(super) fn label(reply: &mut Document, request: &Request, version: Version) {
    let code = reply.get("code").and_then(integer);
    if let Some(code) = code.and_then(|code| i32::try_from(code).ok()) {
        add_labels(reply, labels_of(request, code, false, version));
    }
}

/// The labels that a server of this version adds to an error with this code.
fn labels_of(
    request: &Request,
    code: i32,
    in_write_concern: bool,
    version: Version,
) -> Vec<&'static str> {
    let ends = matches!(
        request.name.as_str(),
        "commitTransaction" | "abortTransaction"
    );
    let mut labels = Vec::new();
    if (ends || is_retryable(request)) && RETRYABLE_CODES.contains(&code) {
        labels.push("RetryableWriteError");
    } else if in_transaction(&request.body) && !in_write_concern {
        let transient = TRANSIENT_CODES.contains(&code) || RETRYABLE_CODES.contains(&code);
        labels.extend(transient.then_some(TRANSIENT));
    } else if [280, 286].contains(&code) {
        labels.push("NonResumableChangeStreamError");
    } else if begins_with_change_stream(&request.body) && is_resumable(code) {
        labels.push(RESUMABLE);
    }
    if [433, 449, 450, 462].contains(&code) {
        labels.push("SystemOverloadedError");
    }
    if !version.is_modern() {
        labels.retain(|label| *label == TRANSIENT);
    }
    labels
}

fn is_resumable(code: i32) -> bool {
    RETRYABLE_CODES.contains(&code) || RESUMABLE_CODES.contains(&code)
}

fn add_labels(reply: &mut Document, labels: Vec<&'static str>) {
    if !labels.is_empty() {
        reply.insert("errorLabels", labels);
    }
}

fn retain_labels(reply: &mut Document, keep: impl Fn(&str) -> bool) {
    let Ok(labels) = reply.get_array_mut("errorLabels") else {
        return;
    };
    labels.retain(|label| label.as_str().is_some_and(&keep));
    if labels.is_empty() {
        reply.remove("errorLabels");
    }
}

fn has_write_errors(reply: &Option<Document>) -> bool {
    let reply = reply.as_ref();
    reply.is_some_and(|reply| reply.contains_key("writeErrors"))
}

/// The reply of a write whose statements ran in two parts.
fn merged(half: Half, mut reply: Document) -> Document {
    let shift = i32::try_from(half.statements).unwrap_or(i32::MAX);
    for field in ["upserted", "writeErrors"] {
        let mut all = half.reply.get_array(field).cloned().unwrap_or_default();
        for entry in reply.get_array_mut(field).into_iter().flatten() {
            if let Some(entry) = entry.as_document_mut() {
                let index = entry.get_i32("index").unwrap_or(0);
                entry.insert("index", index.saturating_add(shift));
            }
        }
        all.extend(reply.get_array(field).cloned().unwrap_or_default());
        if !all.is_empty() {
            reply.insert(field, all);
        }
    }
    for field in ["n", "nModified"] {
        let of = |reply: &Document| reply.get(field).and_then(integer);
        if let (Some(one), Some(other)) = (of(&half.reply), of(&reply)) {
            reply.insert(field, i32::try_from(one + other).unwrap_or(i32::MAX));
        }
    }
    reply
}

/// Replaces a number of members that this deployment has, but the store does not.
fn satisfy_write_concern(body: &mut Document, hello: &Hello) {
    let members = match hello.role {
        Role::Standalone => return,
        Role::Mongos => 3,
        _ => hello.hosts.len() + hello.passives.len(),
    };
    let Ok(concern) = body.get_document_mut("writeConcern") else {
        return;
    };
    let wanted = concern.get("w").and_then(integer);
    let wanted = wanted.and_then(|wanted| usize::try_from(wanted).ok());
    if wanted.is_some_and(|wanted| (2..=members).contains(&wanted)) {
        concern.insert("w", 1);
    }
}

/// The bytes of `lsid.id`, and `txnNumber`.
fn transaction(request: &Request) -> Option<(Vec<u8>, i64)> {
    let number = request.body.get("txnNumber").and_then(integer)?;
    let session = request.body.get_document("lsid").ok()?;
    let Some(Bson::Binary(id)) = session.get("id") else {
        return None;
    };
    Some((id.bytes.clone(), number))
}

fn is_true(body: &Document, field: &str) -> bool {
    body.get_bool(field).is_ok_and(|value| value)
}

fn in_transaction(body: &Document) -> bool {
    body.get_bool("autocommit").is_ok_and(|value| !value)
}

/// The code for the abort of a transaction that was committed.
const TRANSACTION_COMMITTED: i64 = 256;

/// Returns true for a write with a transaction number outside of a transaction.
fn is_retryable(request: &Request) -> bool {
    let name = request.name.to_ascii_lowercase();
    let writes = ["insert", "update", "delete", "findandmodify", "bulkwrite"];
    writes.contains(&name.as_str())
        && request.body.contains_key("txnNumber")
        && !request.body.contains_key("autocommit")
}

fn begins_with_change_stream(body: &Document) -> bool {
    let pipeline = body.get_array("pipeline").ok();
    let first = pipeline.and_then(|stages| stages.first()?.as_document());
    first.is_some_and(|stage| stage.contains_key("$changeStream"))
}

const TRANSIENT: &str = "TransientTransactionError";
const RESUMABLE: &str = "ResumableChangeStreamError";
const UNKNOWN_COMMIT: &str = "UnknownTransactionCommitResult";

/// The codes, other than [`RETRYABLE_CODES`], after which a transaction can run again.
const TRANSIENT_CODES: [i32; 9] = [24, 112, 150, 239, 246, 250, 251, 267, 272];

/// MongoDB's category `RetriableError`, as version 8.2.11 labels it.
const RETRYABLE_CODES: [i32; 23] = [
    6, 7, 89, 91, 134, 189, 262, 317, 358, 384, 402, 406, 407, 412, 453, 462, 9001, 10107, 11600,
    11602, 13435, 13436, 50915,
];

/// The other codes after which a change stream resumes: "Resumable Error" in the change streams specification.
const RESUMABLE_CODES: [i32; 7] = [43, 63, 133, 150, 175, 234, 13388];
