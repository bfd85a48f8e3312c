//! The commands and their effects.

use super::Shared;
use super::forward;
use super::hello::{Role, is_hello};
use super::record::Request;
use super::version::Version;
use crate::net::lock;
use bson::{Document, doc};

/// Runs a command; `None` if the connection should end without an answer.
pub(super) fn run(shared: &Shared, request: &Request, over: impl Fn() -> bool) -> Option<Document> {
    if let Some(handler) = shared.handlers.get(&request.name) {
        if let Some(reply) = handler(request) {
            return Some(reply);
        }
    }
    if let Some(rejection) = shared
        .version
        .rejects(request)
        .or_else(|| shared.version.rejects_names(request))
    {
        return Some(rejection);
    }
    if is_hello(&request.name) {
        let last_write = || lock(&shared.store).last_write();
        return shared.hello.answer(request, over, last_write);
    }
    if let Some(forwarding) = &shared.forwarding {
        return match answer_in_front(shared, request) {
            Some(reply) => Some(reply),
            None => {
                let hello = shared.hello.get();
                forwarding.run(request, &hello, shared.version, &shared.fail_point)
            }
        };
    }
    // Locked before the role is read: a command that is allowed then is finished before another member is elected.
    let mut store = lock(&shared.store);
    if let Some(refusal) = shared.hello.refusal(request) {
        return Some(refusal);
    }
    store.note(request);
    Some(match request.name.as_str() {
        "ping" | "endSessions" | "logout" => ok(),
        "buildInfo" | "buildinfo" => shared.version.build_info(),
        "getParameter" => doc! { "featureCompatibilityVersion": { "version": "7.0" }, "ok": 1.0 },
        "whatsmyuri" => doc! { "you": format!("127.0.0.1:{}", request.connection), "ok": 1.0 },
        "benchEcho" => {
            let mut reply = request.body.clone();
            reply.insert("ok", 1.0);
            reply
        }
        "authenticate" => authenticate(request),
        "configureFailPoint" => configure_fail_point(shared, request),
        "insert" => store.insert(request),
        "find" => store.find(request),
        "getMore" => store.get_more(request),
        "killCursors" => store.kill_cursors(request),
        "count" => store.count(request),
        "explain" => store.explain(request),
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

/// The answer of a front end to a command that its store must not see.
fn answer_in_front(shared: &Shared, request: &Request) -> Option<Document> {
    if let Some(mut refusal) = shared.hello.refusal(request) {
        forward::label(&mut refusal, request, shared.version);
        return Some(refusal);
    }
    let is_router = shared.hello.get().role == Role::Mongos;
    Some(match request.name.as_str() {
        "buildInfo" | "buildinfo" => shared.version.build_info(),
        "configureFailPoint" => configure_fail_point(shared, request),
        "getParameter" => get_parameter(request, shared.version),
        "getCmdLineOpts" => doc! {
            "argv": [if is_router { "mongos" } else { "mongod" }, "--setParameter", "enableTestCommands=1"],
            "parsed": { "setParameter": { "enableTestCommands": "1" } },
            "ok": 1.0,
        },
        "listShards" if is_router => doc! {
            "shards": [{ "_id": "shard0", "host": "shard0/localhost:27018", "state": 1 }],
            "ok": 1.0,
        },
        "checkMetadataConsistency" if is_router => {
            let namespace = format!("{}.$cmd.aggregate", request.database);
            doc! { "cursor": { "id": 0_i64, "ns": namespace, "firstBatch": [] }, "ok": 1.0 }
        }
        "whatsmyuri" => doc! { "you": format!("127.0.0.1:{}", request.connection), "ok": 1.0 },
        // Removed in MongoDB 6.2.
        "getnonce" if shared.version.numbers < [6, 2, 0] => {
            doc! { "nonce": "2375531c32080ae8", "ok": 1.0 }
        }
        "authenticate" => authenticate(request),
        "logout" | "replSetFreeze" => ok(),
        _ => return None,
    })
}

fn configure_fail_point(shared: &Shared, request: &Request) -> Document {
    if request.database != "admin" {
        let message = "configureFailPoint may only be run against the admin database.";
        return failure(13, "Unauthorized", message);
    }
    shared.fail_point.configure(&request.body)
}

/// The parameters that test runners ask for: one, several, or all with `"*"`.
fn get_parameter(request: &Request, version: Version) -> Document {
    let [major, minor, _] = version.numbers;
    let all = doc! {
        "featureCompatibilityVersion": { "version": format!("{major}.{minor}") },
        "enableTestCommands": true,
        "authenticationMechanisms": ["SCRAM-SHA-1", "SCRAM-SHA-256", "MONGODB-X509"],
        "requireApiVersion": false,
        "acceptApiVersion2": false,
        "transactionLifetimeLimitSeconds": 60,
        "localLogicalSessionTimeoutMinutes": 30,
    };
    let asked = |name: &str| {
        let wants_all = request
            .body
            .get_str("getParameter")
            .is_ok_and(|asked| asked == "*");
        wants_all || request.body.contains_key(name)
    };
    let mut reply: Document = all.into_iter().filter(|(name, _)| asked(name)).collect();
    if reply.is_empty() {
        return failure(72, "InvalidOptions", "no option found to get");
    }
    reply.insert("ok", 1.0);
    reply
}

/// A reply of success without further fields.
pub(super) fn ok() -> Document {
    doc! { "ok": 1.0 }
}

/// A reply that describes a failure.
pub(super) fn failure(code: i32, name: &str, message: &str) -> Document {
    doc! { "ok": 0.0, "errmsg": message, "code": code, "codeName": name }
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
