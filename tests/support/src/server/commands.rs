//! The commands and their effects.

use super::Shared;
use super::hello::is_hello;
use super::record::Request;
use crate::net::lock;
use bson::{Document, doc};

/// Runs a command; `None` if the connection should end without an answer.
pub(super) fn run(shared: &Shared, request: &Request, over: impl Fn() -> bool) -> Option<Document> {
    if let Some(handler) = shared.handlers.get(&request.name) {
        if let Some(reply) = handler(request) {
            return Some(reply);
        }
    }
    if is_hello(&request.name) {
        let last_write = || lock(&shared.store).last_write();
        return shared.hello.answer(request, over, last_write);
    }
    // Locked before the role is read: a command that is allowed then is finished before another member is elected.
    let mut store = lock(&shared.store);
    if let Some(refusal) = shared.hello.refusal(request) {
        return Some(refusal);
    }
    store.note(request);
    Some(match request.name.as_str() {
        "ping" | "endSessions" | "logout" => ok(),
        "buildInfo" | "buildinfo" => build_info(),
        "getParameter" => doc! { "featureCompatibilityVersion": { "version": "7.0" }, "ok": 1.0 },
        "whatsmyuri" => doc! { "you": format!("127.0.0.1:{}", request.connection), "ok": 1.0 },
        "benchEcho" => {
            let mut reply = request.body.clone();
            reply.insert("ok", 1.0);
            reply
        }
        "authenticate" => authenticate(request),
        "configureFailPoint" if request.database != "admin" => failure(
            13,
            "Unauthorized",
            "configureFailPoint may only be run against the admin database.",
        ),
        "configureFailPoint" => shared.fail_point.configure(&request.body),
        "insert" => store.insert(request),
        "find" => store.find(request),
        "getMore" => store.get_more(request),
        "killCursors" => store.kill_cursors(request),
        "count" => store.count(request),
        "delete" => store.delete(request),
        "drop" => store.drop_collection(request),
        "dropDatabase" => store.drop_database(request),
        "listCollections" => store.list_collections(request),
        "listDatabases" => store.list_databases(),
        other => failure(
            59,
            "CommandNotFound",
            &format!("no such command: '{other}'"),
        ),
    })
}

/// A reply of success without further fields.
pub(super) fn ok() -> Document {
    doc! { "ok": 1.0 }
}

/// A reply that describes a failure.
pub(super) fn failure(code: i32, name: &str, message: &str) -> Document {
    doc! { "ok": 0.0, "errmsg": message, "code": code, "codeName": name }
}

fn build_info() -> Document {
    doc! {
        "version": "7.0.0-bench",
        "versionArray": [7, 0, 0, 0],
        "gitVersion": "bench",
        "modules": [],
        "maxBsonObjectSize": 16_777_216,
        "ok": 1.0,
    }
}

/// MONGODB-X509: a client whose certificate passed the handshake is the user that it names.
fn authenticate(request: &Request) -> Document {
    let mechanism = request.body.get_str("mechanism").unwrap_or_default();
    if mechanism != "MONGODB-X509" || request.client_certificate.is_none() {
        return failure(18, "AuthenticationFailed", "Authentication failed.");
    }
    let mut reply = doc! { "dbname": "$external" };
    if let Ok(user) = request.body.get_str("user") {
        reply.insert("user", user);
    }
    reply.insert("ok", 1.0);
    reply
}
