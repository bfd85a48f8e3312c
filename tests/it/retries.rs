//! Retries of commands and of cursors: the kinds of operations, their limits, the error that is returned in the end, and
//! the number of the operation. The prose tests of "Retryable Reads" and "Retryable Writes" are here as far as commands
//! reach; those of "Client Backpressure" are in `overload.rs`.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::{Document, doc};
use mongotls::error::Stage;
use mongotls::event::{
    CommandEvent, CommandInfo, ConnectionCheckOutFailedReason, Event, PoolEventKind,
};
use mongotls::internals::fix_jitter;
use mongotls::options::{ReadPreference, ReadPreferenceMode};
use mongotls::topology::{ServerDescription, ServerType};
use mongotls::{Client, Command, ConnectionString, Error, ErrorKind};
use mongotls_testbench::node::NodeOptions;
use mongotls_testbench::replica_set::ReplicaSet;
use mongotls_testbench::server::{Hello, Server, fail_command};
use mongotls_testbench::sharded_cluster::ShardedCluster;

use crate::common::{plain_client, timed};

const OVERLOAD: [&str; 2] = ["SystemOverloadedError", "RetryableError"];

type Seen = Arc<Mutex<Vec<Event>>>;

/// A client that collects its events and passes each one to `react`.
fn observed(uri: &str, react: impl Fn(&Event) + Send + Sync + 'static) -> (Client, Seen) {
    let seen = Seen::default();
    let store = Arc::clone(&seen);
    let listen = move |event: &Event| {
        store.lock().unwrap().push(event.clone());
        react(event);
    };
    let builder = ConnectionString::parse(uri).unwrap().into_builder();
    let options = builder.event_listener(listen).build().unwrap();
    (Client::with_options(options).unwrap(), seen)
}

/// The commands with this name that were started, and those of them that failed.
fn attempts(seen: &Seen, name: &str) -> (Vec<CommandInfo>, Vec<CommandInfo>) {
    let (mut started, mut failed) = (Vec::new(), Vec::new());
    for event in &*seen.lock().unwrap() {
        match event {
            Event::Command(CommandEvent::Started(event)) => started.push(event.info.clone()),
            Event::Command(CommandEvent::Failed(event)) => failed.push(event.info.clone()),
            _ => {}
        }
    }
    started.retain(|info| info.command_name == name);
    failed.retain(|info| info.command_name == name);
    (started, failed)
}

fn find() -> Command {
    Command::from(doc! { "find": "things", "batchSize": 2 })
}

fn insert(client: &Client) -> Result<Document, Error> {
    let insert = doc! { "insert": "things", "documents": [{ "a": 1 }] };
    client.database("db").run_command(insert)
}

fn replica_set(members: usize) -> ReplicaSet {
    ReplicaSet::builder("rs0").members(members).start()
}

fn server_code(error: &Error) -> i32 {
    error.command().unwrap_or_else(|| panic!("{error}")).code
}

/// A server with five documents.
fn with_things() -> Server {
    let server = Server::builder().start();
    let things: Vec<Document> = (0..5).map(|id| doc! { "_id": id }).collect();
    let insert = doc! { "insert": "things", "documents": things };
    let client = plain_client(&server, "");
    client.database("db").run_command(insert).unwrap();
    server
}

/// Runs two reads on a pool with one connection. The first one fails with a change of the server's state while the other
/// one waits for the connection, so that it finds the pool cleared.
fn two_reads_of_which_one_finds_the_pool_cleared(
    find: &Command,
) -> (Vec<Result<Document, Error>>, Seen) {
    let set = replica_set(1);
    let (client, seen) = observed(&set.uri("maxPoolSize=1"), |_| {});
    insert(&client).unwrap();
    seen.lock().unwrap().clear();
    let failure = doc! { "errorCode": 91, "blockConnection": true, "blockTimeMS": 1000 };
    let node = set.node(0);
    node.server()
        .configure_fail_point(&fail_command(1, &["find"], failure));
    let outcomes = thread::scope(|scope| {
        let run = || client.database("db").run_command(find.clone());
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.map(|thread| thread.join().unwrap())
    });
    (outcomes.into(), seen)
}

#[test]
fn retryable_reads_prose_1_pool_cleared_error_retryability_test() {
    let (outcomes, seen) = two_reads_of_which_one_finds_the_pool_cleared(&find().read());
    for outcome in outcomes {
        outcome.unwrap();
    }
    let seen_events = seen.lock().unwrap().clone();
    let pool_events = seen_events.iter().filter_map(|event| match event {
        Event::Pool(event) => match &event.kind {
            PoolEventKind::ConnectionCheckedOut { .. } => Some("checked out"),
            PoolEventKind::Cleared { .. } => Some("cleared"),
            PoolEventKind::ConnectionCheckOutFailed { reason, .. } => {
                assert_eq!(*reason, ConnectionCheckOutFailedReason::ConnectionError);
                Some("failed")
            }
            _ => None,
        },
        _ => None,
    });
    let pool_events: Vec<_> = pool_events.take(3).collect();
    assert_eq!(pool_events, ["checked out", "cleared", "failed"]);
    assert_eq!(attempts(&seen, "find").0.len(), 3);
}

#[test]
fn an_undeclared_command_is_not_retried_after_a_cleared_pool() {
    let (outcomes, seen) = two_reads_of_which_one_finds_the_pool_cleared(&find());
    let errors: Vec<_> = outcomes.into_iter().map(Result::unwrap_err).collect();
    let rejected = |error: &&Error| error.command().is_some();
    let [rejected, cleared] = [
        errors.iter().find(rejected).unwrap(),
        errors.iter().find(|error| !rejected(error)).unwrap(),
    ];
    assert_eq!(server_code(rejected), 91);
    assert_eq!(
        (cleared.kind(), cleared.stage()),
        (ErrorKind::Network, None)
    );
    assert!(
        cleared.to_string().contains("pool was cleared"),
        "{cleared}"
    );
    assert_eq!(attempts(&seen, "find").0.len(), 1);
}

#[test]
fn retryable_reads_prose_2_1_reads_are_retried_on_a_different_router() {
    let cluster = ShardedCluster::start(2, NodeOptions::new());
    let (client, seen) = observed(&cluster.uri("localThresholdMS=10000"), |_| {});
    // The other router can be chosen only after it has been discovered.
    let is_known = |server: &Arc<ServerDescription>| server.server_type == ServerType::Mongos;
    while !client.snapshot().topology.servers.values().all(is_known) {
        thread::sleep(Duration::from_millis(5));
    }
    for router in 0..2 {
        let failure = doc! { "errorCode": 6 };
        let node = cluster.node(router);
        node.server()
            .configure_fail_point(&fail_command(1, &["find"], failure));
    }
    let found = client.database("db").run_command(find().read());
    assert_eq!(server_code(&found.unwrap_err()), 6);
    let (started, failed) = attempts(&seen, "find");
    assert_eq!((started.len(), failed.len()), (2, 2));
    assert_ne!(failed[0].server, failed[1].server);
}

#[test]
fn retryable_reads_prose_2_2_reads_are_retried_on_the_same_router_without_others() {
    let cluster = ShardedCluster::start(1, NodeOptions::new());
    let (client, seen) = observed(&cluster.uri(""), |_| {});
    let failure = doc! { "errorCode": 6 };
    let node = cluster.node(0);
    node.server()
        .configure_fail_point(&fail_command(1, &["find"], failure));
    client.database("db").run_command(find().read()).unwrap();
    let (started, failed) = attempts(&seen, "find");
    assert_eq!((started.len(), failed.len()), (2, 1));
    assert_eq!(started[0].server, started[1].server);
}

/// The servers of a read with `primaryPreferred` that is rejected once by the primary of three members.
fn servers_of_a_rejected_read(options: &str, labels: &[&str]) -> bool {
    let set = replica_set(3);
    let (client, seen) = observed(&set.uri(options), |_| {});
    insert(&client).unwrap();
    while client
        .snapshot()
        .topology
        .servers
        .values()
        .any(|it| !it.is_available())
    {
        thread::sleep(Duration::from_millis(1));
    }
    let failure = doc! { "errorCode": 6, "errorLabels": labels.to_vec() };
    let primary = set.node(set.primary().unwrap());
    primary
        .server()
        .configure_fail_point(&fail_command(1, &["find"], failure));
    let preference = ReadPreference::new(ReadPreferenceMode::PrimaryPreferred);
    let find = find().read().read_preference(preference);
    client.database("db").run_command(find).unwrap();
    let (started, failed) = attempts(&seen, "find");
    assert_eq!((started.len(), failed.len()), (2, 1));
    started[0].server == started[1].server
}

#[test]
fn retryable_reads_prose_3_1_overload_moves_a_read_to_another_member_on_request() {
    let on_same = servers_of_a_rejected_read("enableOverloadRetargeting=true", &OVERLOAD);
    assert!(!on_same);
}

#[test]
fn retryable_reads_prose_3_2_other_errors_are_retried_on_the_same_member() {
    let on_same = servers_of_a_rejected_read("enableOverloadRetargeting=true", &["RetryableError"]);
    assert!(on_same);
}

#[test]
fn retryable_reads_prose_3_3_overload_stays_on_the_member_by_default() {
    assert!(servers_of_a_rejected_read("", &OVERLOAD));
}

/// A client of a replica set whose `command` fails once with `first`, and always with `then` after that.
fn failing_first_and_then(
    set: &ReplicaSet,
    command: &'static str,
    first: Document,
    then: Document,
) -> (Client, Seen) {
    let node = set.node(0);
    let is_first = AtomicBool::new(true);
    let (client, seen) = observed(&set.uri(""), move |event| {
        let Event::Command(CommandEvent::Failed(event)) = event else {
            return;
        };
        if event.info.command_name == command && is_first.swap(false, Ordering::Relaxed) {
            let then = fail_command(1000, &[command], then.clone());
            node.server().configure_fail_point(&then);
        }
    });
    client
        .database("db")
        .run_command(doc! { "ping": 1 })
        .unwrap();
    let first = fail_command(1, &[command], first);
    set.node(0).server().configure_fail_point(&first);
    (client, seen)
}

fn failure(code: i32, labels: &[&str]) -> Document {
    doc! { "errorCode": code, "errorLabels": labels.to_vec() }
}

const NOTHING_WRITTEN: [&str; 3] = [
    "RetryableError",
    "SystemOverloadedError",
    "NoWritesPerformed",
];

#[test]
fn retryable_reads_and_writes_overload_then_other_errors_allow_more_retries() {
    let set = replica_set(1);
    let (first, then) = (failure(91, &OVERLOAD), failure(91, &["RetryableError"]));
    let (client, seen) = failing_first_and_then(&set, "find", first, then);
    let found = client.database("db").run_command(find().read());
    assert_eq!(server_code(&found.unwrap_err()), 91);
    assert_eq!(attempts(&seen, "find").0.len(), 3);
}

#[test]
fn retryable_reads_and_writes_backoff_is_not_applied_for_other_errors() {
    fix_jitter(Some(1.0));
    let set = replica_set(1);
    let (first, then) = (failure(262, &OVERLOAD), failure(262, &["RetryableError"]));
    let (client, seen) = failing_first_and_then(&set, "find", first, then);
    // One pause of 200 ms; a second one would take 400 ms more.
    let (least, most) = (Duration::from_millis(200), Duration::from_millis(550));
    let found = timed(least, most, || {
        client.database("db").run_command(find().read())
    });
    assert_eq!(server_code(&found.unwrap_err()), 262);
    assert_eq!(attempts(&seen, "find").0.len(), 3);
}

#[test]
fn retryable_writes_prose_6_case_1_the_last_error_is_returned() {
    let set = replica_set(1);
    let (first, then) = (failure(91, &OVERLOAD), failure(10107, &OVERLOAD));
    let (client, _) = failing_first_and_then(&set, "insert", first, then);
    assert_eq!(server_code(&insert(&client).unwrap_err()), 10107);
}

#[test]
fn retryable_writes_prose_6_case_2_the_first_error_is_returned_if_nothing_was_written() {
    let set = replica_set(1);
    let (first, then) = (
        failure(91, &NOTHING_WRITTEN),
        failure(10107, &NOTHING_WRITTEN),
    );
    let (client, _) = failing_first_and_then(&set, "insert", first, then);
    assert_eq!(server_code(&insert(&client).unwrap_err()), 91);
}

#[test]
fn retryable_writes_prose_6_case_3_the_error_of_an_attempt_that_may_have_written_is_returned() {
    let set = replica_set(1);
    let (first, then) = (failure(91, &OVERLOAD), failure(91, &NOTHING_WRITTEN));
    let (client, _) = failing_first_and_then(&set, "insert", first, then);
    let error = insert(&client).unwrap_err();
    assert_eq!(server_code(&error), 91);
    assert!(!error.has_label("NoWritesPerformed"));
}

#[test]
fn a_command_is_retried_after_overload_only_with_both_options() {
    let server = with_things();
    let overload = doc! { "errorCode": 462, "errorLabels": OVERLOAD.to_vec() };
    // (options, attempts of an undeclared command, attempts of a read)
    for (options, undeclared, read) in [
        ("", 3, 3),
        ("retryReads=false", 1, 1),
        ("retryWrites=false", 1, 3),
        ("maxAdaptiveRetries=1", 2, 2),
    ] {
        let client = plain_client(&server, options);
        for (find, expected) in [(find(), undeclared), (find().read(), read)] {
            server.configure_fail_point(&fail_command(100, &["find"], overload.clone()));
            let before = server.count_of("find");
            let error = client.database("db").run_command(find).unwrap_err();
            assert_eq!(error.labels(), OVERLOAD);
            assert_eq!(server.count_of("find") - before, expected, "{options}");
        }
    }
}

#[test]
fn the_commands_of_a_cursor_are_retried_after_overload_with_retry_reads() {
    let server = with_things();
    let overload = |times, name: &str| {
        let failure = doc! { "errorCode": 462, "errorLabels": OVERLOAD.to_vec() };
        server.configure_fail_point(&fail_command(times, &[name], failure));
    };
    let client = plain_client(&server, "");
    let open = |client: &Client| {
        let cursor = client.database("db").run_cursor_command::<Document>(find());
        cursor.unwrap().batch_size(2)
    };
    overload(2, "getMore");
    let all: Result<Vec<_>, _> = open(&client).collect();
    assert_eq!(all.unwrap().len(), 5);
    assert_eq!(server.count_of("getMore"), 4);

    overload(3, "getMore");
    let mut cursor = open(&client);
    let error = cursor.find_map(Result::err).unwrap();
    assert_eq!(error.labels(), OVERLOAD);
    assert_eq!(server.count_of("getMore"), 7);
    overload(2, "killCursors");
    drop(cursor);
    assert_eq!(
        (server.count_of("killCursors"), server.open_cursors()),
        (3, 0)
    );

    // It is not retried after another error: the server may have moved the cursor.
    let lost = doc! { "closeConnection": true };
    server.configure_fail_point(&fail_command(1, &["getMore"], lost));
    let error = open(&client).find_map(Result::err).unwrap();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(server.count_of("getMore"), 8);

    let without = plain_client(&server, "retryReads=false");
    overload(1, "getMore");
    let error = open(&without).find_map(Result::err).unwrap();
    assert_eq!(error.labels(), OVERLOAD);
    assert_eq!(server.count_of("getMore"), 9);
}

#[test]
fn a_pinned_cursor_is_retried_on_its_connection() {
    let server = with_things();
    server.set_hello(|hello| {
        *hello = Hello::mongos();
        hello.extra = doc! { "serviceId": mongotls::bson::oid::ObjectId::new() };
    });
    let (client, seen) = observed(&format!("{}?loadBalanced=true", server.uri()), |_| {});
    let failure = doc! { "errorCode": 462, "errorLabels": OVERLOAD.to_vec() };
    server.configure_fail_point(&fail_command(2, &["getMore"], failure));
    let cursor = client.database("db").run_cursor_command::<Document>(find());
    assert_eq!(cursor.unwrap().batch_size(2).count(), 5);
    let (started, failed) = attempts(&seen, "getMore");
    assert_eq!((started.len(), failed.len()), (4, 2));
    let opened = &attempts(&seen, "find").0[0];
    for get_more in started {
        assert_eq!(get_more.connection_id, opened.connection_id);
    }
}

#[test]
fn all_commands_of_an_operation_have_one_number() {
    let server = with_things();
    let (client, seen) = observed(&server.uri(), |_| {});
    let failure = doc! { "errorCode": 462, "errorLabels": OVERLOAD.to_vec() };
    server.configure_fail_point(&fail_command(1, &["find"], failure.clone()));
    let open = || {
        let cursor = client.database("db").run_cursor_command::<Document>(find());
        cursor.unwrap().batch_size(2)
    };
    let mut cursor = open();
    server.configure_fail_point(&fail_command(1, &["getMore"], failure));
    assert_eq!(cursor.by_ref().take(3).map(Result::unwrap).count(), 3);
    drop(cursor);
    drop(open());
    let events = seen.lock().unwrap();
    let started = events.iter().filter_map(|event| match event {
        Event::Command(CommandEvent::Started(event)) => Some(&event.info),
        _ => None,
    });
    let commands: Vec<_> = started
        .map(|info| (info.command_name.as_str(), info.operation_id))
        .collect();
    let names: Vec<_> = commands.iter().map(|(name, _)| *name).collect();
    let expected = [
        "find",
        "find",
        "getMore",
        "getMore",
        "killCursors",
        "find",
        "killCursors",
    ];
    assert_eq!(names, expected);
    let (first, second) = (commands[0].1, commands[5].1);
    assert!(second > first);
    assert!(
        commands[..5].iter().all(|(_, id)| *id == first),
        "{commands:?}"
    );
    assert_eq!(commands[6].1, second);
}

#[test]
fn a_timeout_while_retrying_contains_the_last_error() {
    let server = with_things();
    // The state of the server does not change, so each retry follows at once.
    let failure =
        doc! { "errorCode": 262, "errorLabels": ["A"], "blockConnection": true, "blockTimeMS": 40 };
    server.configure_fail_point(&fail_command(1000, &["find"], failure));
    let client = plain_client(&server, "timeoutMS=400");
    let before = server.count_of("find");
    let started = Instant::now();
    let found = client.database("db").run_command(find().read());
    let error = found.unwrap_err();
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert!(server.count_of("find") > before + 3);
    assert_eq!(
        (error.kind(), error.stage()),
        (ErrorKind::Timeout, Some(Stage::Command))
    );
    assert_eq!(error.labels(), ["A"]);
    assert!(error.to_string().contains("400 ms (timeoutMS)"), "{error}");
    let last = error.source().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(server_code(last), 262);
}

#[test]
fn a_pause_that_is_longer_than_the_limit_returns_the_error_at_once() {
    fix_jitter(Some(1.0));
    let server = with_things();
    let failure = doc! { "errorCode": 462, "errorLabels": OVERLOAD.to_vec() };
    server.configure_fail_point(&fail_command(10, &["find"], failure));
    let client = plain_client(&server, "timeoutMS=450");
    let before = server.count_of("find");
    let found = timed(
        Duration::from_millis(200),
        Duration::from_millis(420),
        || client.database("db").run_command(find()),
    );
    // After the pause of 200 ms there is no time for one of 400 ms.
    assert_eq!(found.unwrap_err().labels(), OVERLOAD);
    assert_eq!(server.count_of("find") - before, 2);
}
