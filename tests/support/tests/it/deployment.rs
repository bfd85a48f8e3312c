//! Deployments in front of SecantusDB. They check the bench, not the connector: with raw messages.

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Document, doc};
use mongotls_testbench::client::RawClient;
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::net::Endpoint;
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::server::{Backend, Version};
use mongotls_testbench::wire::Msg;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A client of one server of a deployment, with a database of its own.
struct Client {
    raw: RawClient<TcpStream>,
    database: String,
}

impl Client {
    fn of(deployment: &Deployment, index: usize) -> Self {
        Self::at(deployment.nodes()[index].proxy().addr())
    }

    fn at(addr: SocketAddr) -> Self {
        Self {
            raw: RawClient::connect(addr).unwrap(),
            database: format!("test-{}", ObjectId::new()),
        }
    }

    fn try_run(&mut self, command: Document) -> io::Result<Document> {
        self.raw.command(&self.database, command)
    }

    fn run(&mut self, command: Document) -> Document {
        self.try_run(command).unwrap()
    }

    fn admin(&mut self, command: Document) -> Document {
        self.raw.command("admin", command).unwrap()
    }

    fn insert(&mut self, documents: Vec<Document>) {
        let reply = self.run(doc! { "insert": "c", "documents": documents });
        assert!(reply.get_f64("ok").unwrap() > 0.5 && !reply.contains_key("writeErrors"));
    }

    fn find(&mut self, command: Document) -> Vec<Document> {
        let mut find = doc! { "find": "c" };
        find.extend(command);
        let reply = self.run(find);
        let batch = reply.get_document("cursor").unwrap();
        let batch = batch.get_array("firstBatch").unwrap().iter();
        batch
            .map(|one| one.as_document().unwrap().clone())
            .collect()
    }
}

fn store() -> Option<Backend> {
    or_skip(Secantus::shared()).map(Secantus::backend)
}

fn code(reply: &Document) -> i32 {
    reply.get_i32("code").unwrap_or_default()
}

fn labels(reply: &Document) -> Vec<&str> {
    let labels = reply.get_array("errorLabels").into_iter().flatten();
    labels.filter_map(|label| label.as_str()).collect()
}

fn session() -> Document {
    let id = Binary {
        subtype: BinarySubtype::Uuid,
        bytes: [ObjectId::new().bytes(), ObjectId::new().bytes()].concat()[..16].to_vec(),
    };
    doc! { "id": id }
}

#[test]
fn each_topology_reports_itself_and_shares_the_store() {
    let Some(store) = store() else { return };
    let database = format!("test-{}", ObjectId::new());
    for (index, topology) in (0..).zip(Topology::ALL) {
        let deployment = Deployment::start(topology, Version::V8_2, &store);
        let mut client = Client::of(&deployment, 0);
        client.database.clone_from(&database);
        let hello = client.admin(doc! { "hello": 1, "loadBalanced": true });
        assert_eq!(hello.get_i32("maxWireVersion").unwrap(), 27, "{topology}");
        let is_router = matches!(topology, Topology::Sharded | Topology::LoadBalanced);
        assert_eq!(hello.get_str("msg").is_ok(), is_router, "{topology}");
        assert_eq!(
            hello.contains_key("setName"),
            topology == Topology::ReplicaSet
        );
        let is_balanced = topology == Topology::LoadBalanced;
        assert_eq!(hello.contains_key("serviceId"), is_balanced);
        client.insert(vec![doc! {}]);
        assert_eq!(client.find(doc! {}).len(), index + 1, "{topology}");
        // Only a standalone has no cluster time.
        let has_time = topology != Topology::Single;
        for reply in [
            client.run(doc! { "ping": 1 }),
            client.admin(doc! { "hello": 1 }),
            client.run(doc! { "noSuchCommand": 1 }),
        ] {
            assert_eq!(
                reply.contains_key("$clusterTime"),
                has_time,
                "{topology}: {reply}"
            );
        }
        let info = client.admin(doc! { "buildInfo": 1 });
        assert_eq!(info.get_str("version").unwrap(), "8.2.0");
        let status = client.admin(doc! { "serverStatus": 1 });
        assert_eq!(status.get_str("version").unwrap(), "8.2.0");
        let process = if is_router { "mongos" } else { "mongod" };
        assert_eq!(status.get_str("process").unwrap(), process);
    }
}

#[test]
fn connection_strings_name_one_router_or_all() {
    let backend = Backend::new(([127, 0, 0, 1], 1).into());
    let uris = |topology| {
        let deployment = Deployment::start(topology, Version::V8_2, &backend);
        let (one, all) = (deployment.uri("w=1"), deployment.uri_of_all("w=1"));
        let hosts = |uri: &str| uri.matches("localhost:").count();
        (
            hosts(&one),
            hosts(&all),
            all.split_once("/?").unwrap().1.to_owned(),
        )
    };
    assert_eq!(uris(Topology::Single), (1, 1, "w=1".into()));
    assert_eq!(
        uris(Topology::ReplicaSet),
        (3, 3, "replicaSet=rs0&w=1".into())
    );
    assert_eq!(uris(Topology::Sharded), (1, 2, "w=1".into()));
    assert_eq!(
        uris(Topology::LoadBalanced),
        (1, 1, "loadBalanced=true&w=1".into())
    );
}

#[test]
fn a_balancer_of_all_routers_reaches_each() {
    let backend = Backend::new(([127, 0, 0, 1], 1).into());
    let deployment = Deployment::start(Topology::LoadBalanced, Version::V8_2, &backend);
    let ids = |uri: String| {
        let host = uri.split("localhost:").nth(1).unwrap();
        let port: u16 = host.split('/').next().unwrap().parse().unwrap();
        let ids: Vec<_> = (0..4)
            .map(|_| {
                let mut client = Client::at(([127, 0, 0, 1], port).into());
                let hello = client.admin(doc! { "hello": 1, "loadBalanced": true });
                hello.get_object_id("serviceId").unwrap()
            })
            .collect();
        ids.iter().collect::<std::collections::HashSet<_>>().len()
    };
    assert_eq!(ids(deployment.uri("")), 1);
    assert_eq!(ids(deployment.uri_of_all("")), 2);
}

#[test]
fn an_old_version_knows_nothing_newer() {
    let Some(store) = store() else { return };
    let deployment = Deployment::start(Topology::ReplicaSet, Version::V4_2, &store);
    let mut client = Client::of(&deployment, 0);
    let hello = client.raw.legacy_hello().unwrap();
    assert_eq!(hello.get_i32("maxWireVersion").unwrap(), 8);
    assert!(!hello.contains_key("helloOk") && !hello.contains_key("topologyVersion"));
    let info = client.admin(doc! { "buildInfo": 1 });
    assert!(info.get_str("version").unwrap().starts_with("4.2."));
    let delete = doc! { "q": {}, "limit": 1, "hint": "_id_" };
    for (newer, expected) in [
        (doc! { "find": "c", "allowDiskUse": true }, 9),
        (doc! { "find": "c", "comment": { "a": 1 } }, 9),
        (doc! { "delete": "c", "deletes": [delete] }, 40415),
    ] {
        assert_eq!(code(&client.run(newer.clone())), expected, "{newer}");
    }
    assert_eq!(
        code(&client.run(doc! { "find": "c", "comment": "text" })),
        0
    );
    assert_eq!(code(&client.admin(doc! { "bulkWrite": 1 })), 59);
}

#[test]
fn parameters_of_test_runners_are_answered() {
    let Some(store) = store() else { return };
    let deployment = Deployment::start(Topology::Sharded, Version::V8_2, &store);
    let mut client = Client::of(&deployment, 0);
    let all = client.admin(doc! { "getParameter": "*" });
    assert!(all.get_bool("enableTestCommands").unwrap());
    assert!(all.get_array("authenticationMechanisms").unwrap().len() > 1);
    let one = client.admin(doc! { "getParameter": 1, "requireApiVersion": 1 });
    assert_eq!(one.len(), 4, "{one}"); // with `ok` and the two times
    assert_eq!(code(&client.admin(doc! { "getParameter": 1, "x": 1 })), 72);
    let strict = doc! { "ping": 1, "apiStrict": true };
    assert_eq!(code(&client.admin(strict)), 4_886_600);
    let unknown = doc! { "ping": 1, "apiVersion": "2" };
    assert_eq!(code(&client.admin(unknown)), 322);
    for command in ["killAllSessions", "refreshSessions", "endSessions"] {
        let reply = client.admin(doc! { command: [] });
        assert!(reply.get_f64("ok").unwrap() > 0.5, "{reply}");
    }
}

#[test]
fn members_have_their_roles_and_fail_points() {
    let Some(store) = store() else { return };
    let deployment = Deployment::start(Topology::ReplicaSet, Version::V8_2, &store);
    let (mut primary, mut secondary) = (Client::of(&deployment, 0), Client::of(&deployment, 1));
    secondary.database.clone_from(&primary.database);
    primary.insert(vec![doc! { "_id": 1 }]);
    let write = doc! { "insert": "c", "documents": [{ "_id": 2 }] };
    assert_eq!(code(&secondary.run(write)), 10107);
    assert_eq!(code(&secondary.run(doc! { "find": "c" })), 13435);
    let preference = doc! { "$readPreference": { "mode": "secondary" } };
    assert_eq!(secondary.find(preference).len(), 1);
    // Three members acknowledge, four do not exist.
    for (w, fails) in [(3, false), (4, true)] {
        let concern = doc! { "w": w };
        let reply = primary.run(doc! {
            "insert": "c", "documents": [{ "_id": w }], "writeConcern": concern,
        });
        assert_eq!(reply.contains_key("writeConcernError"), fails, "{reply}");
    }
    let fail = doc! {
        "configureFailPoint": "failCommand",
        "mode": { "times": 1 },
        "data": { "failCommands": ["ping"], "errorCode": 8 },
    };
    secondary.admin(fail);
    assert_eq!(code(&primary.run(doc! { "ping": 1 })), 0);
    assert_eq!(code(&secondary.run(doc! { "ping": 1 })), 8);
    // Another member is elected.
    primary.admin(doc! { "replSetStepDown": 10 });
    let hello = primary.admin(doc! { "hello": 1 });
    assert!(hello.get_bool("secondary").unwrap());
    secondary.insert(vec![doc! { "_id": 5 }]);
}

#[test]
fn cursors_continue_on_their_server() {
    let Some(store) = store() else { return };
    let deployment = Deployment::start(Topology::Sharded, Version::V8_2, &store);
    let (mut one, mut other) = (Client::of(&deployment, 0), Client::of(&deployment, 1));
    other.database.clone_from(&one.database);
    one.insert((0..5).map(|n| doc! { "_id": n }).collect());
    let open = |client: &mut Client| {
        let reply = client.run(doc! { "find": "c", "batchSize": 2 });
        reply.get_document("cursor").unwrap().get_i64("id").unwrap()
    };
    let id = open(&mut one);
    let more = doc! { "getMore": id, "collection": "c", "batchSize": 2 };
    assert_eq!(code(&other.run(more.clone())), 43);
    let reply = one.run(more.clone());
    let batch = reply.get_document("cursor").unwrap().get_array("nextBatch");
    assert_eq!(batch.unwrap().len(), 2);
    assert_eq!(deployment.nodes()[0].server().open_cursors(), 1);
    one.run(more);
    assert_eq!(deployment.nodes()[0].server().open_cursors(), 0);

    let id = open(&mut one);
    one.admin(doc! {
        "configureFailPoint": "failGetMoreAfterCursorCheckout",
        "mode": { "times": 1 },
        "data": { "errorCode": 7 },
    });
    let more = doc! { "getMore": id, "collection": "c" };
    let reply = one.run(more.clone());
    assert_eq!(
        (code(&reply), labels(&reply)),
        (7, vec!["ResumableChangeStreamError"])
    );
    assert_eq!(code(&one.run(more)), 43, "the cursor is gone");
}

#[test]
fn transactions_continue_on_their_router() {
    let Some(store) = store() else { return };
    let deployment = Deployment::start(Topology::Sharded, Version::V8_2, &store);
    let (mut one, mut other) = (Client::of(&deployment, 0), Client::of(&deployment, 1));
    other.database.clone_from(&one.database);
    one.insert(vec![doc! { "_id": 0 }]);
    let transaction = doc! { "lsid": session(), "txnNumber": 1_i64, "autocommit": false };
    let with = |mut command: Document| {
        command.extend(transaction.clone());
        command
    };
    let insert = doc! { "insert": "c", "documents": [{ "_id": 1 }], "startTransaction": true };
    let reply = one.run(with(insert));
    let token = reply.get_document("recoveryToken").unwrap().clone();
    assert_eq!(other.find(doc! {}).len(), 1, "not committed yet");
    let reply = other.run(with(doc! { "find": "c" }));
    assert_eq!(
        (code(&reply), labels(&reply)),
        (251, vec!["TransientTransactionError"])
    );
    assert_eq!(
        code(&other.admin(with(doc! { "commitTransaction": 1 }))),
        251
    );
    // Errors of fail points have the labels of a real server.
    one.admin(doc! {
        "configureFailPoint": "failCommand",
        "mode": { "times": 2 },
        "data": { "failCommands": ["find", "commitTransaction"], "errorCode": 91 },
    });
    let reply = one.run(with(doc! { "find": "c" }));
    assert_eq!(
        (code(&reply), labels(&reply)),
        (91, vec!["TransientTransactionError"])
    );
    let commit = with(doc! { "commitTransaction": 1, "recoveryToken": token });
    let reply = one.admin(commit.clone());
    assert_eq!(
        (code(&reply), labels(&reply)),
        (91, vec!["RetryableWriteError"])
    );
    assert_eq!(code(&one.admin(commit.clone())), 0);
    assert_eq!(code(&other.admin(commit)), 0, "the token names the outcome");
    assert_eq!(other.find(doc! {}).len(), 2);
    // Another router aborts a transaction that has no outcome yet.
    let transaction = doc! { "lsid": session(), "txnNumber": 1_i64, "autocommit": false };
    let insert = doc! { "insert": "c", "documents": [{ "_id": 2 }], "startTransaction": true };
    let with = |mut command: Document| {
        command.extend(transaction.clone());
        command
    };
    one.run(with(insert));
    let reply = other.admin(with(doc! { "commitTransaction": 1, "recoveryToken": {} }));
    assert_eq!(
        (code(&reply), labels(&reply)),
        (251, vec!["TransientTransactionError"])
    );
    assert_eq!(code(&one.admin(with(doc! { "commitTransaction": 1 }))), 251);
    assert_eq!(other.find(doc! {}).len(), 2);
}

#[test]
fn a_standalone_has_no_transactions_and_change_streams() {
    let Some(store) = store() else { return };
    let deployment = Deployment::start(Topology::Single, Version::V8_2, &store);
    let mut client = Client::of(&deployment, 0);
    let insert = doc! { "insert": "c", "documents": [{}], "lsid": session(), "txnNumber": 1_i64 };
    assert_eq!(code(&client.run(insert)), 20);
    let watch = doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "cursor": {} };
    assert_eq!(code(&client.run(watch)), 40573);
}

#[test]
fn a_retryable_write_is_stopped_before_or_after_its_effect() {
    let Some(store) = store() else { return };
    let deployment = Deployment::start(Topology::ReplicaSet, Version::V8_2, &store);
    let mut client = Client::of(&deployment, 0);
    client.insert((0..3).map(|n| doc! { "_id": n, "x": 0 }).collect());
    let update = |n: i32| doc! { "q": { "_id": n }, "u": { "$inc": { "x": 1 } } };
    let lsid = session();
    let mut number = 0_i64;
    for (skip, before) in [(0, true), (1, true), (1, false)] {
        number += 1;
        let mut data = doc! {};
        if before {
            data.insert("failBeforeCommitExceptionCode", 1);
        }
        client.admin(doc! {
            "configureFailPoint": "onPrimaryTransactionalWrite",
            "mode": { "skip": skip, "times": 1 },
            "data": data,
        });
        let command = doc! {
            "update": "c", "updates": [update(0), update(1), update(2)],
            "lsid": lsid.clone(), "txnNumber": number,
        };
        let ended = client.try_run(command.clone()).unwrap_err();
        assert_eq!(
            ended.kind(),
            io::ErrorKind::UnexpectedEof,
            "{skip} {before}"
        );
        let database = client.database;
        client = Client::of(&deployment, 0);
        client.database = database;
        let changed = client.find(doc! { "filter": { "x": number } }).len();
        let expected = if before {
            usize::try_from(skip).unwrap()
        } else {
            3
        };
        assert_eq!(changed, expected, "{skip} {before}");
        // A statement that ran before does not pass the fail point again.
        if !before {
            client.admin(doc! {
                "configureFailPoint": "onPrimaryTransactionalWrite",
                "mode": { "times": 1 },
                "data": {},
            });
        }
        let reply = client.run(command);
        assert_eq!(reply.get_i32("n").unwrap(), 3, "{reply}");
        assert_eq!(client.find(doc! { "filter": { "x": number } }).len(), 3);
    }
}

#[test]
fn an_unacknowledged_write_runs_and_the_connection_stays_in_step() {
    let Some(store) = store() else { return };
    let deployment = Deployment::start(Topology::Single, Version::V8_2, &store);
    let mut client = Client::of(&deployment, 0);
    let insert = doc! {
        "insert": "c", "documents": [{ "_id": 1 }], "writeConcern": { "w": 0 },
        "$db": &client.database,
    };
    let msg = Msg {
        flags: mongotls_testbench::wire::MORE_TO_COME,
        ..Msg::of(insert)
    };
    let op_code = mongotls_testbench::wire::OP_MSG;
    client.raw.send(op_code, msg.encode()).unwrap();
    assert_eq!(client.find(doc! {}).len(), 1);
}

#[test]
fn a_store_that_is_gone_ends_the_connection() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = Backend::new(closed.local_addr().unwrap());
    drop(closed);
    let deployment = Deployment::start(Topology::Single, Version::V8_2, &backend);
    let mut client = Client::of(&deployment, 0);
    assert!(client.admin(doc! { "hello": 1 }).get_f64("ok").unwrap() > 0.5);
    let error = client.try_run(doc! { "ping": 1 }).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn the_process_and_its_files_end_with_the_guard() {
    let options = mongotls_testbench::peers::SecantusOptions::plain();
    let Some(secantus) = or_skip(Secantus::start(&options)) else {
        return;
    };
    let (addr, folder) = (secantus.addr(), secantus.folder().to_owned());
    assert!(folder.is_dir());
    let start = Instant::now();
    drop(secantus);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(Endpoint::Tcp(addr).connect().is_err());
    assert!(!folder.exists());
}
