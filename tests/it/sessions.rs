//! Sessions and the cluster time: the prose tests of the specification "Driver Sessions" by their numbers, as far as
//! commands and cursors reach, and the rules around them.
//!
//! Tests 7, 16 and 17 do not apply: a client has one user, which cannot change. Tests 10 and 15 do not apply either: the
//! tests below look for the sessions that are in use, and no command is sent as OP_QUERY. Tests 12 and 13 are in
//! `tests/fork`. A session that has ended (test 6) cannot be used, because it no longer exists: see the documentation of
//! `Session`.

use std::collections::HashSet;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::oid::ObjectId;
use mongotls::bson::spec::BinarySubtype;
use mongotls::bson::{Bson, Document, Timestamp, doc, rawdoc};
use mongotls::event::{Event, EventKind, SdamEventKind};
use mongotls::options::{ReadPreference, ReadPreferenceMode};
use mongotls::{Client, Command, ConnectionString, Cursor, Error, ErrorKind, Session};
use mongotls_testbench::server::{
    Clock, Hello, ReplyFault, Request, Role, Server, ServerBuilder, fail_command,
};

use crate::common::{at_limit, expect_ready, ping_on, plain_client, timed};
use crate::things::{Thing, find, with_things};

/// The ID of the session that a command carries. It must be a UUID of version 4.
fn lsid(request: &Request) -> Option<Document> {
    let session = request.body.get_document("lsid").ok()?;
    assert_eq!(session.len(), 1, "{session}");
    let Some(Bson::Binary(id)) = session.get("id") else {
        panic!("{session}")
    };
    assert_eq!((id.subtype, id.bytes.len()), (BinarySubtype::Uuid, 16));
    assert_eq!((id.bytes[6] >> 4, id.bytes[8] >> 6), (4, 2));
    Some(session.clone())
}

/// The sessions of the commands with this name.
fn lsids(server: &Server, name: &str) -> Vec<Option<Document>> {
    server.commands_named(name).iter().map(lsid).collect()
}

/// The session of the last command with this name.
fn last_lsid(server: &Server, name: &str) -> Document {
    let found = lsids(server, name).pop().expect("a command");
    found.expect("a session")
}

fn cluster_time(request: &Request) -> Option<Timestamp> {
    let time = request.body.get_document("$clusterTime").ok()?;
    assert_eq!(
        time,
        &Clock::document(time.get_timestamp("clusterTime").unwrap())
    );
    time.get_timestamp("clusterTime").ok()
}

fn last_cluster_time(server: &Server, name: &str) -> Option<Timestamp> {
    cluster_time(server.commands_named(name).last().expect("a command"))
}

fn started(client: &Client) -> Session {
    client.start_session().run().unwrap()
}

/// A router whose replies have the time of a clock.
fn with_clock() -> (Server, Clock) {
    let clock = Clock::default();
    let server = Server::builder().hello(Hello::mongos()).clock(&clock);
    (server.start(), clock)
}

fn ping_within(client: &Client, session: &Session) -> Result<Document, Error> {
    let admin = client.database("admin").within(session);
    admin.run_command(doc! { "ping": 1 })
}

fn insert(count: i32) -> Command {
    let things = (0..count).map(|id| rawdoc! { "_id": id, "name": format!("thing {id}") });
    Command::from(doc! { "insert": "things" }).documents("documents", things)
}

fn expect_invalid(error: &Error, text: &str) {
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn prose_1_snapshot_and_causal_consistency_exclude_each_other() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let both = client
        .start_session()
        .snapshot(true)
        .causal_consistency(true);
    expect_invalid(
        &both.run().unwrap_err(),
        "both causal consistency and snapshot",
    );
    let snapshot = client.start_session().snapshot(true);
    snapshot.run().unwrap();
}

#[test]
fn prose_2_the_pool_is_lifo() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let (a, b) = (started(&client), started(&client));
    let (id_a, id_b) = (a.id(), b.id());
    drop(a);
    drop(b);
    let first = started(&client);
    assert_eq!(first.id(), id_b);
    assert_eq!(started(&client).id(), id_a);
}

#[test]
fn prose_3_commands_carry_the_cluster_time() {
    let (server, clock) = with_clock();
    let client = plain_client(&server, "heartbeatFrequencyMS=10000000");
    let database = client.database("db");
    database.run_command(insert(5)).unwrap();
    let find_all = || {
        let cursor: Cursor<Thing> = database.run_cursor_command(find(0)).unwrap();
        assert_eq!(cursor.map(Result::unwrap).count(), 5);
    };
    let ping = || drop(database.run_command(doc! { "ping": 1 }).unwrap());
    let add = || {
        drop(
            database
                .run_command(doc! { "insert": "others", "documents": [{}] })
                .unwrap(),
        )
    };
    let count = || drop(database.run_command(doc! { "count": "things" }).unwrap());
    let commands: [(&str, &dyn Fn()); 4] = [
        ("ping", &ping),
        ("find", &find_all),
        ("insert", &add),
        ("count", &count),
    ];
    for (name, run) in commands {
        run();
        assert!(last_cluster_time(&server, name).is_some(), "{name}");
        let replied = clock.now();
        run();
        assert_eq!(last_cluster_time(&server, name), Some(replied), "{name}");
    }
}

#[test]
fn a_standalone_server_and_one_without_a_time_get_no_cluster_time() {
    let clock = Clock::default();
    let standalone = Server::builder().clock(&clock).start();
    let without = Server::builder().hello(Hello::mongos()).start();
    for server in [standalone, without] {
        let client = plain_client(&server, "");
        (0..3).for_each(|_| drop(ping_on(&client).unwrap()));
        for ping in server.commands_named("ping") {
            assert_eq!(cluster_time(&ping), None);
            assert!(lsid(&ping).is_some());
        }
    }
}

#[test]
fn prose_4_explicit_and_implicit_sessions() {
    let (server, client) = with_things(5, "");
    let session = started(&client);
    let database = client.database("db");
    let within = database.within(&session);
    let all: [(&str, Document); 3] = [
        ("insert", doc! { "insert": "c", "documents": [{}] }),
        ("count", doc! { "count": "c" }),
        (
            "delete",
            doc! { "delete": "c", "deletes": [{ "q": {}, "limit": 0 }] },
        ),
    ];
    for (name, command) in all {
        within.run_command(command.clone()).unwrap();
        assert_eq!(last_lsid(&server, name), session.id(), "{name}");
        within.run_raw_command(command.clone()).unwrap();
        assert_eq!(last_lsid(&server, name), session.id(), "{name}");
        database.run_command(command).unwrap();
        assert_ne!(last_lsid(&server, name), session.id(), "{name}");
    }
    // A cursor carries the session to its end, also if it is dropped early.
    let cursor: Cursor<Thing, &Session> = within.run_cursor_command(find(2)).unwrap();
    let mut cursor = cursor.batch_size(2);
    assert_eq!(cursor.by_ref().take(3).map(Result::unwrap).count(), 3);
    drop(cursor);
    for name in ["find", "getMore", "killCursors"] {
        assert_eq!(lsids(&server, name), [Some(session.id())], "{name}");
    }
    let scoped = client.within(&session).database("db");
    scoped.run_command(doc! { "ping": 1 }).unwrap();
    assert_eq!(last_lsid(&server, "ping"), session.id());
}

#[test]
fn a_shared_session_lives_as_long_as_its_cursor() {
    let (server, client) = with_things(5, "");
    let session = Rc::new(started(&client));
    let id = session.id();
    let database = client.database("db").within(Rc::clone(&session));
    let mut cursor = database.run_cursor_command::<Thing>(find(2)).unwrap();
    drop((database, session));
    assert_ne!(started(&client).id(), id, "the cursor still uses it");
    assert_eq!(cursor.by_ref().map(Result::unwrap).count(), 5);
    assert_eq!(lsids(&server, "getMore"), [Some(id.clone())]);
    drop(cursor);
    assert_eq!(started(&client).id(), id);
}

#[test]
fn prose_5_a_session_belongs_to_its_client() {
    let (server, one) = with_things(5, "");
    let other = plain_client(&server, "");
    let session = started(&other);
    let database = one.database("db").within(&session);
    let text = "started by another client";
    expect_invalid(&database.run_command(doc! { "ping": 1 }).unwrap_err(), text);
    let cursor = database.run_cursor_command::<Document>(find(0));
    expect_invalid(&cursor.unwrap_err(), text);
    assert!(server.commands_named("ping").is_empty());
    assert!(server.commands_named("find").is_empty());
    // A clone is the same client.
    ping_within(&other.clone(), &session).unwrap();
}

#[test]
fn prose_8_and_9_an_exhausted_cursor_returns_its_session_at_once() {
    for (documents, batch, getmores) in [(2, 10, 0), (5, 3, 1)] {
        let (server, client) = with_things(documents, "");
        let mut cursor: Cursor<Thing> = client
            .database("db")
            .run_cursor_command(find(batch))
            .unwrap();
        for _ in 1..documents {
            cursor.next().unwrap().unwrap();
        }
        assert_eq!(server.count_of("getMore"), getmores);
        assert!(!cursor.is_open());
        ping_on(&client).unwrap();
        let used = last_lsid(&server, "find");
        assert_eq!(last_lsid(&server, "ping"), used);
        cursor.next().unwrap().unwrap();
        assert!(cursor.next().is_none());
    }
}

#[test]
fn an_open_cursor_keeps_its_session_until_it_is_dropped() {
    let (server, client) = with_things(5, "");
    let cursor: Cursor<Thing> = client.database("db").run_cursor_command(find(2)).unwrap();
    let used = last_lsid(&server, "find");
    ping_on(&client).unwrap();
    assert_ne!(last_lsid(&server, "ping"), used);
    drop(cursor);
    assert_eq!(last_lsid(&server, "killCursors"), used);
    ping_on(&client).unwrap();
    assert_eq!(last_lsid(&server, "ping"), used);
}

#[test]
fn a_failed_getmore_returns_its_session() {
    let (server, client) = with_things(5, "");
    let mut cursor: Cursor<Thing> = client.database("db").run_cursor_command(find(2)).unwrap();
    let used = last_lsid(&server, "find");
    server.configure_fail_point(&fail_command(1, &["getMore"], doc! { "errorCode": 43 }));
    let error = cursor.by_ref().find_map(Result::err).unwrap();
    assert_eq!(error.command().unwrap().code, 43);
    ping_on(&client).unwrap();
    assert_eq!(last_lsid(&server, "ping"), used);
}

#[test]
fn prose_11_find_and_getmore_send_the_same_session() {
    let member = |role| {
        let server = Server::builder().start();
        let me = server.endpoint().authority();
        server.set_hello(|hello| *hello = Hello::member(role, "rs", &me, &[&me]));
        (server, "replicaSet=rs")
    };
    let router = || Server::builder().hello(Hello::mongos()).start();
    let mut behind = Hello::mongos();
    behind.extra.insert("serviceId", ObjectId::new());
    let topologies = [
        (Server::builder().start(), ""),
        member(Role::Primary),
        (router(), ""),
        (Server::builder().hello(behind).start(), "loadBalanced=true"),
    ];
    for (server, options) in topologies {
        let client = plain_client(&server, options);
        let database = client.database("db");
        database.run_command(insert(3)).unwrap();
        let modes = [
            ReadPreferenceMode::Primary,
            ReadPreferenceMode::PrimaryPreferred,
            ReadPreferenceMode::SecondaryPreferred,
            ReadPreferenceMode::Nearest,
        ];
        for mode in modes {
            let mut preference = ReadPreference::default();
            preference.mode = mode;
            server.forget_commands();
            let command = Command::from(find(2)).read_preference(preference);
            let cursor: Cursor<Thing> = database.run_cursor_command(command).unwrap();
            assert_eq!(cursor.map(Result::unwrap).count(), 3);
            let used = last_lsid(&server, "find");
            assert_eq!(
                lsids(&server, "getMore"),
                [Some(used)],
                "{options} {mode:?}"
            );
        }
    }
}

#[test]
fn prose_14_a_session_is_taken_after_the_check_out() {
    let (server, client) = with_things(5, "maxPoolSize=1");
    for _ in 0..5 {
        server.forget_commands();
        let database = client.database("db");
        let commands = [
            doc! { "insert": "things", "documents": [{}] },
            doc! { "delete": "others", "deletes": [{ "q": {}, "limit": 1 }] },
            doc! { "count": "things" },
            doc! { "count": "others" },
            doc! { "ping": 1 },
            doc! { "benchEcho": 1 },
            doc! { "listCollections": 1 },
        ];
        thread::scope(|scope| {
            for command in commands {
                let database = &database;
                scope.spawn(move || database.run_command(command).unwrap());
            }
            scope.spawn(|| {
                let find = doc! { "find": "things" };
                let cursor: Cursor<Document> = database.run_cursor_command(find).unwrap();
                cursor.map(Result::unwrap).count()
            });
        });
        let commands = server.commands();
        let used: Vec<Document> = commands.iter().filter_map(lsid).collect();
        assert_eq!(used.len(), 8);
        let distinct: HashSet<String> = used.iter().map(ToString::to_string).collect();
        assert_eq!(distinct.len(), 1, "{distinct:?}");
    }
}

/// A server that does not report `logicalSessionTimeoutMinutes`.
fn without_sessions() -> Server {
    let mut hello = Hello::mongos();
    hello.logical_session_timeout_minutes = None;
    Server::builder().hello(hello).start()
}

#[test]
fn prose_18_an_implicit_session_is_ignored_without_support() {
    let server = without_sessions();
    let client = plain_client(&server, "");
    let database = client.database("db");
    database.run_command(insert(5)).unwrap();
    let cursor: Cursor<Thing> = database.run_cursor_command(find(2)).unwrap();
    assert_eq!(cursor.map(Result::unwrap).count(), 5);
    for name in ["insert", "find", "getMore"] {
        assert!(lsids(&server, name).iter().all(Option::is_none), "{name}");
    }
    client.close(Duration::from_secs(5));
    assert_eq!(server.count_of("endSessions"), 0);
}

#[test]
fn prose_19_an_explicit_session_needs_support() {
    let server = without_sessions();
    let client = plain_client(&server, "");
    let session = started(&client);
    let database = client.database("db").within(&session);
    let text = "does not support sessions";
    expect_invalid(&database.run_command(insert(1)).unwrap_err(), text);
    let cursor = database.run_cursor_command::<Document>(find(0));
    expect_invalid(&cursor.unwrap_err(), text);
    assert_eq!((server.count_of("insert"), server.count_of("find")), (0, 0));
}

#[test]
fn prose_20_heartbeats_do_not_advance_the_cluster_time() {
    let (server, clock) = with_clock();
    let (checked, checks) = std::sync::mpsc::channel();
    let checked = Mutex::new(checked);
    let uri = format!(
        "{}?directConnection=true&heartbeatFrequencyMS=500&serverMonitoringMode=poll",
        server.uri()
    );
    let options = ConnectionString::parse(&uri).unwrap().into_builder();
    let options = options.event_listener_for(&[EventKind::Sdam], move |event| {
        if let Event::Sdam(event) = event {
            if matches!(event.kind, SdamEventKind::ServerHeartbeatSucceeded { .. }) {
                let _ = checked.lock().unwrap().send(());
            }
        }
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
    ping_on(&client).unwrap();
    let replied = clock.now();
    // Another client writes, and a heartbeat shows the new time.
    clock.advance();
    while checks.try_recv().is_ok() {}
    for _ in 0..2 {
        checks.recv_timeout(Duration::from_secs(10)).unwrap();
    }
    ping_on(&client).unwrap();
    assert_eq!(last_cluster_time(&server, "ping"), Some(replied));
    let hellos = server.commands();
    let hellos = hellos.iter().filter(|request| request.name != "ping");
    for hello in hellos {
        assert_eq!((cluster_time(hello), lsid(hello)), (None, None));
    }
}

#[test]
fn prose_21_to_23_a_snapshot_time_belongs_to_snapshot_reads() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let time = Timestamp {
        time: 7,
        increment: 1,
    };
    // 21.
    for snapshot in [None, Some(false)] {
        let mut start = client.start_session().snapshot_time(time);
        if let Some(snapshot) = snapshot {
            start = start.snapshot(snapshot);
        }
        expect_invalid(
            &start.run().unwrap_err(),
            "needs a session with snapshot reads",
        );
    }
    // 22.
    let error = started(&client).snapshot_time().unwrap_err();
    expect_invalid(&error, "only a session with snapshot reads");
    // 23: no method sets it, and the method that reads it returns a copy.
    let start = || client.start_session().snapshot(true);
    let session = start().snapshot_time(time).run().unwrap();
    assert_eq!(session.snapshot_time().unwrap(), Some(time));
    assert_eq!(start().run().unwrap().snapshot_time().unwrap(), None);
}

#[test]
fn snapshot_reads_need_mongodb_5() {
    for (version, is_enough) in [(12, false), (13, true)] {
        let mut hello = Hello::mongos();
        hello.max_wire_version = version;
        let server = Server::builder().hello(hello).start();
        let client = plain_client(&server, "");
        let session = client.start_session().snapshot(true).run().unwrap();
        let outcome = ping_within(&client, &session);
        assert_eq!(outcome.is_ok(), is_enough);
        if let Err(error) = outcome {
            expect_invalid(&error, "Snapshot reads require MongoDB 5.0 or later");
            assert_eq!(server.count_of("ping"), 0);
        }
        // Each command of such a session reads from the snapshot, or the server rejects it.
        for ping in server.commands_named("ping") {
            let read_concern = ping.body.get_document("readConcern").unwrap();
            assert_eq!(*read_concern, doc! { "level": "snapshot" });
        }
    }
}

#[test]
fn behind_a_load_balancer_sessions_are_always_supported() {
    let mut hello = Hello::mongos();
    hello.logical_session_timeout_minutes = None;
    hello.extra.insert("serviceId", ObjectId::new());
    let server = Server::builder().hello(hello).start();
    let client = plain_client(&server, "loadBalanced=true");
    let session = started(&client);
    ping_within(&client, &session).unwrap();
    assert_eq!(last_lsid(&server, "ping"), session.id());
    ping_on(&client).unwrap();
    assert_ne!(last_lsid(&server, "ping"), session.id());
}

#[test]
fn the_times_of_a_session_follow_its_replies() {
    let (server, clock) = with_clock();
    let client = plain_client(&server, "");
    let session = started(&client);
    assert_eq!(
        (session.cluster_time(), session.operation_time()),
        (None, None)
    );
    ping_on(&client).unwrap();
    assert_eq!(session.operation_time(), None, "of another session");
    ping_within(&client, &session).unwrap();
    assert_eq!(session.operation_time(), Some(clock.now()));
    assert_eq!(session.cluster_time(), Some(Clock::document(clock.now())));
    // The reply of a command that failed counts too.
    let admin = client.database("admin").within(&session);
    let error = admin.run_command(doc! { "unknown": 1 }).unwrap_err();
    assert_eq!(error.command().unwrap().code, 59);
    assert_eq!(session.operation_time(), Some(clock.now()));
    assert_eq!(session.cluster_time(), Some(Clock::document(clock.now())));
}

#[test]
fn an_advanced_cluster_time_is_sent_in_its_session_alone() {
    let (server, clock) = with_clock();
    let client = plain_client(&server, "");
    let (session, other) = (started(&client), started(&client));
    ping_on(&client).unwrap();
    let known = clock.now();
    let later = Timestamp {
        time: known.time + 100,
        increment: 0,
    };
    session
        .advance_cluster_time(&Clock::document(later))
        .unwrap();
    session
        .advance_cluster_time(&Clock::document(known))
        .unwrap();
    session.advance_operation_time(later);
    session.advance_operation_time(known);
    assert_eq!(session.cluster_time(), Some(Clock::document(later)));
    assert_eq!(session.operation_time(), Some(later));
    ping_within(&client, &session).unwrap();
    assert_eq!(last_cluster_time(&server, "ping"), Some(later));
    let replied = clock.now();
    ping_within(&client, &other).unwrap();
    assert_eq!(last_cluster_time(&server, "ping"), Some(replied));
    let error = session.advance_cluster_time(&doc! { "clusterTime": 5 });
    expect_invalid(
        &error.unwrap_err(),
        "a document with a timestamp clusterTime",
    );
}

#[test]
fn a_network_error_makes_a_session_dirty() {
    let (server, client) = with_things(0, "");
    ping_on(&client).unwrap();
    let first = last_lsid(&server, "ping");
    let cut = |name: &str| {
        server.configure_fail_point(&fail_command(1, &[name], doc! { "closeConnection": true }));
    };
    cut("ping");
    assert_eq!(ping_on(&client).unwrap_err().kind(), ErrorKind::Network);
    assert_eq!(last_lsid(&server, "ping"), first);
    ping_on(&client).unwrap();
    let second = last_lsid(&server, "ping");
    assert_ne!(second, first);
    // A session of the program keeps its ID, and is not used again after its end.
    let session = started(&client);
    assert_eq!(session.id(), second);
    cut("ping");
    ping_within(&client, &session).unwrap_err();
    ping_within(&client, &session).unwrap();
    assert_eq!(last_lsid(&server, "ping"), second);
    drop(session);
    ping_on(&client).unwrap();
    assert_ne!(last_lsid(&server, "ping"), second);
    // An error of the server leaves a session clean.
    let third = last_lsid(&server, "ping");
    server.configure_fail_point(&fail_command(1, &["ping"], doc! { "errorCode": 8 }));
    ping_on(&client).unwrap_err();
    ping_on(&client).unwrap();
    assert_eq!(last_lsid(&server, "ping"), third);
}

#[test]
fn a_retry_uses_the_session_of_the_first_attempt() {
    let (server, client) = with_things(3, "");
    let cut = doc! { "closeConnection": true };
    server.configure_fail_point(&fail_command(1, &["find"], cut));
    let command = Command::from(doc! { "find": "things" }).read();
    let cursor: Cursor<Thing> = client.database("db").run_cursor_command(command).unwrap();
    assert_eq!(cursor.map(Result::unwrap).count(), 3);
    let used = lsids(&server, "find");
    assert_eq!(used.len(), 2);
    assert_eq!(used[0], used[1]);
    ping_on(&client).unwrap();
    assert_ne!(Some(last_lsid(&server, "ping")), used[0], "it is dirty");
}

#[test]
fn unacknowledged_writes_have_no_session() {
    let (server, client) = with_things(0, "");
    let write = doc! { "insert": "c", "documents": [{}], "writeConcern": { "w": 0 } };
    let database = client.database("db");
    database.run_command(write.clone()).unwrap();
    assert_eq!(lsids(&server, "insert"), [None]);
    let session = started(&client);
    let error = database.within(&session).run_command(write).unwrap_err();
    expect_invalid(&error, "an unacknowledged write cannot run in a session");
    let acknowledged = doc! { "insert": "c", "documents": [{}], "writeConcern": { "w": 1 } };
    database.within(&session).run_command(acknowledged).unwrap();
    assert_eq!(lsids(&server, "insert"), [None, Some(session.id())]);
}

#[test]
fn a_command_with_a_session_of_its_own_gets_no_second_one() {
    let (server, client) = with_things(0, "");
    let session = started(&client);
    let ping = doc! { "ping": 1, "lsid": session.id() };
    client.database("db").run_raw_command(&ping).unwrap();
    let sent = &server.commands_named("ping")[0].body;
    assert_eq!(sent.keys().filter(|key| *key == "lsid").count(), 1);
    assert_eq!(sent.get_document("lsid").unwrap(), &session.id());
    let within = client.database("db").within(&session);
    let error = within.run_command(ping).unwrap_err();
    expect_invalid(&error, "with an lsid of its own");
}

#[test]
fn closing_a_client_ends_its_sessions() {
    for by_drop in [false, true] {
        let (server, clock) = with_clock();
        let client = plain_client(&server, "");
        let (in_use, other) = (started(&client), started(&client));
        ping_on(&client).unwrap();
        let used = last_lsid(&server, "ping");
        drop(other);
        let replied = clock.now();
        match by_drop {
            false => assert!(client.close(Duration::from_secs(5)).is_empty()),
            // A session keeps its client.
            true => {
                drop(client);
                assert_eq!(server.count_of("endSessions"), 0);
                drop(in_use);
            }
        }
        let ends = server.commands_named("endSessions");
        assert_eq!(ends.len(), 1);
        let end = &ends[0];
        assert_eq!((end.database.as_str(), lsid(end)), ("admin", None));
        assert_eq!(cluster_time(end), Some(replied));
        let ids = end.body.get_array("endSessions").unwrap();
        assert_eq!(ids.len(), if by_drop { 3 } else { 2 });
        assert!(ids.contains(&used.into()));
    }
}

#[test]
fn a_message_ends_ten_thousand_sessions() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    ping_on(&client).unwrap();
    let sessions: Vec<Session> = (0..10_001).map(|_| started(&client)).collect();
    drop(sessions);
    client.close(Duration::from_secs(5));
    let ends = server.commands_named("endSessions");
    let ends = ends
        .iter()
        .map(|end| end.body.get_array("endSessions").unwrap().len());
    assert_eq!(ends.collect::<Vec<_>>(), [10_000, 1]);
}

#[test]
fn without_a_primary_a_secondary_ends_sessions() {
    let server = Server::builder().start();
    let me = server.endpoint().authority();
    server.set_hello(|hello| *hello = Hello::member(Role::Secondary, "rs", &me, &[&me]));
    let client = plain_client(&server, "replicaSet=rs");
    let mut preference = ReadPreference::default();
    preference.mode = ReadPreferenceMode::Secondary;
    let count = Command::from(doc! { "count": "c" }).read_preference(preference);
    client.database("db").run_command(count).unwrap();
    client.close(Duration::from_secs(5));
    assert_eq!(server.count_of("endSessions"), 1);
}

#[test]
fn ending_sessions_never_delays_a_close_for_long() {
    // No server is known.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let client = Client::connect(&format!("mongodb://{address}/")).unwrap();
    drop(started(&client));
    timed(Duration::ZERO, Duration::from_millis(500), || {
        client.close(Duration::from_secs(5))
    });
    // The server does not answer.
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    ping_on(&client).unwrap();
    server.spoil_replies("endSessions", 1, ReplyFault::Silence);
    at_limit(Duration::from_secs(1), || {
        client.close(Duration::from_secs(5))
    });
    // An error is ignored.
    let server = failing_to_end(Server::builder()).start();
    let client = plain_client(&server, "");
    ping_on(&client).unwrap();
    assert!(client.close(Duration::from_secs(5)).is_empty());
    assert_eq!(server.count_of("endSessions"), 1);
}

fn failing_to_end(builder: ServerBuilder) -> ServerBuilder {
    let failure = doc! { "ok": 0.0, "code": 13, "errmsg": "not authorized" };
    builder.handle("endSessions", move |_| Some(failure.clone()))
}

#[test]
fn sessions_expire_a_minute_before_the_server_discards_them() {
    // Servers that keep sessions for one minute leave none to be used again.
    let mut hello = Hello::mongos();
    hello.logical_session_timeout_minutes = Some(1);
    let server = Server::builder().hello(hello).start();
    let client = plain_client(&server, "");
    expect_ready(&client);
    let until = Instant::now() + Duration::from_secs(1);
    ping_on(&client).unwrap();
    ping_on(&client).unwrap();
    let used = lsids(&server, "ping");
    assert!(Instant::now() < until);
    assert_ne!(used[0], used[1]);
}
