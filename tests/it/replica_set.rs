//! Replica sets over TLS, simulated by the bench: the targets of writes and reads, changes and failures of the primary,
//! and the client's load on the servers meanwhile.

mod ferretdb;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::{Document, doc};
use mongotls::event::{Event, EventKind, SdamEventKind};
use mongotls::options::{ReadPreference, ReadPreferenceMode, Tag};
use mongotls::{CauseCode, Client, ClientOptions, Command, ConnectionString, Error, ErrorKind};
use mongotls_testbench::node::NodeOptions;
use mongotls_testbench::pki::{LeafSpec, Validity};
use mongotls_testbench::replica_set::{Partition, ReplicaSet};
use mongotls_testbench::server::{CheckKind, ServerTls, fail_command};

use crate::common::{code, timed};

/// The minimum time between two checks.
const SHORTEST: Duration = Duration::from_millis(500);

const PATIENCE: Duration = Duration::from_secs(20);

fn secure_set(members: usize) -> ReplicaSet {
    let nodes = NodeOptions::new().secure();
    ReplicaSet::builder("rs0")
        .members(members)
        .nodes(nodes)
        .start()
}

fn client(set: &ReplicaSet, options: &str) -> Client {
    Client::connect(&set.uri(options)).unwrap()
}

fn insert(client: &Client) -> Result<Document, Error> {
    let command = doc! { "insert": "things", "documents": [{ "from": "test" }] };
    client.database("db").run_command(command)
}

fn preferring(mode: ReadPreferenceMode, command: Document) -> Command {
    let preference = ReadPreference::new(mode);
    Command::from(command).read_preference(preference)
}

/// The number of commands of that name that each member has run.
fn counts(set: &ReplicaSet, members: usize, command: &str) -> Vec<u64> {
    let count = |index| set.node(index).server().count_of(command);
    (0..members).map(count).collect()
}

fn await_primary(client: &Client, address: &str) {
    let started = Instant::now();
    loop {
        let topology = client.snapshot().topology;
        if topology
            .primary()
            .is_some_and(|it| it.address.to_string() == address)
        {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{topology}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn await_members(client: &Client, count: usize) {
    let started = Instant::now();
    while client
        .snapshot()
        .topology
        .servers
        .values()
        .filter(|it| it.is_available())
        .count()
        != count
    {
        assert!(started.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn writes_use_the_primary_and_reads_their_preference() {
    let set = secure_set(3);
    // The seed is a secondary: the others are found in its hello.
    let client = Client::connect(&set.uri_with_seeds(&[2], "localThresholdMS=10000")).unwrap();
    for _ in 0..5 {
        insert(&client).unwrap();
    }
    assert_eq!(counts(&set, 3, "insert"), [5, 0, 0]);
    await_members(&client, 3);
    let database = client.database("db");
    for _ in 0..40 {
        let find = preferring(ReadPreferenceMode::Secondary, doc! { "find": "things" });
        let found = database.run_cursor_command::<Document>(find).unwrap();
        assert_eq!(found.count(), 5);
    }
    let finds = counts(&set, 3, "find");
    assert_eq!((finds[0], finds[1] + finds[2]), (0, 40));
    assert!(finds[1] > 0 && finds[2] > 0, "both are near: {finds:?}");
    let asked = set.node(1).server().commands_named("find");
    let preference = asked[0].body.get_document("$readPreference").unwrap();
    assert_eq!(preference.get_str("mode").unwrap(), "secondary");
    let find = doc! { "find": "things" };
    database.run_cursor_command::<Document>(find).unwrap();
    assert_eq!(counts(&set, 3, "find")[0], 1);
    let asked = set.node(0).server().commands_named("find");
    assert!(!asked[0].body.contains_key("$readPreference"));
}

#[test]
fn tags_select_members_and_unknown_tags_list_known_ones() {
    let set = secure_set(3);
    set.set_tags(1, doc! { "dc": "east" });
    set.set_tags(2, doc! { "dc": "west" });
    let client = client(&set, "serverSelectionTimeoutMS=300");
    await_members(&client, 3);
    let with_tag = |value: &str| {
        let preference = ReadPreference::new(ReadPreferenceMode::Secondary)
            .tag_sets([vec![Tag::new("dc", value)]]);
        let find = Command::from(doc! { "count": "things" }).read_preference(preference);
        client.database("db").run_command(find)
    };
    for _ in 0..5 {
        with_tag("west").unwrap();
    }
    assert_eq!(counts(&set, 3, "count"), [0, 0, 5]);
    let error = with_tag("north").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let text = error.to_string();
    for part in [
        "no server for a read by secondary, tags dc:north within 300 ms (serverSelectionTimeoutMS)",
        "replica set \"rs0\" has a primary",
        "RSPrimary",
        "RSSecondary, tags dc:east",
        "RSSecondary, tags dc:west",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn a_new_primary_is_known_at_once_where_servers_stream() {
    let set = secure_set(3);
    let client = client(&set, "");
    insert(&client).unwrap();
    await_members(&client, 3);
    for round in 1..=6 {
        let index = set.fail_over();
        // heartbeatFrequencyMS is ten seconds: there is no other check meanwhile.
        timed(Duration::ZERO, Duration::from_secs(2), || {
            await_primary(&client, &set.address(index));
        });
        timed(Duration::ZERO, Duration::from_secs(2), || {
            insert(&client).unwrap()
        });
        assert_eq!(counts(&set, 3, "insert").iter().sum::<u64>(), round + 1);
    }
    let interval = set.checks(0).of_kind(CheckKind::Plain).shortest_interval();
    assert!(interval.is_none_or(|it| it >= SHORTEST), "{interval:?}");
}

#[test]
fn where_servers_are_polled_an_error_asks_for_a_check() {
    let set = secure_set(3);
    let client = client(&set, "serverMonitoringMode=poll");
    insert(&client).unwrap();
    await_members(&client, 3);
    for _ in 0..3 {
        let before = set.primary().unwrap();
        let after = set.fail_over();
        let refused = set.node(before).server().count_of("insert") + 1;
        // One command detects it; a program decides itself if it sends a write again.
        let error = insert(&client).unwrap_err();
        assert_eq!(error.command().unwrap().code, 10107);
        timed(Duration::ZERO, Duration::from_secs(3), || {
            insert(&client).unwrap()
        });
        assert_eq!(set.node(before).server().count_of("insert"), refused);
        await_primary(&client, &set.address(after));
    }
    for index in 0..3 {
        let checks = set.checks(index);
        assert!(checks.clone().of_kind(CheckKind::Awaitable).is_empty());
        let interval = checks.shortest_interval();
        assert!(interval.is_none_or(|it| it >= SHORTEST), "{interval:?}");
    }
}

#[test]
fn declared_reads_are_retried_after_a_failover() {
    let set = secure_set(3);
    let client = client(&set, "serverMonitoringMode=poll");
    insert(&client).unwrap();
    await_members(&client, 3);
    set.fail_over();
    let database = client.database("db");
    let find = || Command::from(doc! { "find": "things" });
    let found = database.run_cursor_command::<Document>(find().read());
    assert_eq!(found.unwrap().count(), 1);
    set.fail_over();
    let count = Command::from(doc! { "count": "things" }).read();
    let counted: Document = database.run_command_as(count.clone()).unwrap();
    assert_eq!(counted.get_i32("n").unwrap(), 1);
    set.fail_over();
    let counted = database.run_command(count).unwrap();
    assert_eq!(counted.get_i32("n").unwrap(), 1);
    // The client does not guess from the name of a command.
    for run in [0, 1, 2] {
        // Waits until the client knows the primary.
        insert(&client).unwrap();
        set.fail_over();
        let error = match run {
            0 => database.run_command(find()).err(),
            1 => database.run_command_as::<Document>(find()).err(),
            _ => database.run_cursor_command::<Document>(find()).err(),
        };
        assert_eq!(error.unwrap().command().unwrap().code, 13435);
    }
    let without = Client::connect(&set.uri("serverMonitoringMode=poll&retryReads=false")).unwrap();
    insert(&without).unwrap();
    set.fail_over();
    let found = without
        .database("db")
        .run_cursor_command::<Document>(find().read());
    assert_eq!(found.unwrap_err().command().unwrap().code, 13435);
}

#[test]
fn a_stale_primary_gets_no_command_once_the_new_one_is_known() {
    let set = secure_set(3);
    let client = client(&set, "");
    insert(&client).unwrap();
    await_members(&client, 3);
    for round in 0..3 {
        let (old, new) = (round % 3, (round + 1) % 3);
        assert_eq!(set.primary(), Some(old));
        set.partition(old, Partition::FromMembers);
        set.elect(new);
        await_primary(&client, &set.address(new));
        let before = set.writes_to_stale_primaries().len();
        for _ in 0..20 {
            insert(&client).unwrap();
        }
        assert_eq!(set.writes_to_stale_primaries().len(), before);
        set.heal(old);
    }
}

/// Threads that insert, while the primary changes, stalls, is partitioned and killed.
#[test]
fn commands_continue_within_a_heartbeat_of_a_new_primary() {
    const HEARTBEAT: Duration = Duration::from_secs(1);
    let set = secure_set(3);
    let options = "heartbeatFrequencyMS=1000&connectTimeoutMS=1000&socketTimeoutMS=1000";
    let client = client(&set, options);
    insert(&client).unwrap();
    await_members(&client, 3);
    let (ended, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    if insert(&client).is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let faults: [fn(&ReplicaSet, usize); 5] = [
            |set, index| set.partition(index, Partition::Silent),
            |set, index| set.partition(index, Partition::Reset),
            |set, index| set.kill(index),
            |set, index| set.stall(index),
            |_, _| (),
        ];
        for (round, fault) in faults.iter().enumerate() {
            let (old, new) = (set.primary().unwrap(), (set.primary().unwrap() + 1) % 3);
            fault(&set, old);
            set.elect(new);
            let (elected, before) = (Instant::now(), done.load(Ordering::Relaxed));
            while done.load(Ordering::Relaxed) < before + 4 {
                // The timeout of a command that hangs at the old one, and a heartbeat.
                assert!(
                    elected.elapsed() < HEARTBEAT * 2 + SHORTEST,
                    "round {round}"
                );
                thread::sleep(Duration::from_millis(1));
            }
            match round {
                0 | 1 => set.heal(old),
                2 => set.restart(old),
                3 => set.resume(old),
                _ => {}
            }
            await_members(&client, 3);
        }
        ended.store(true, Ordering::Relaxed);
    });
    let elapsed = begun.elapsed();
    assert!(done.load(Ordering::Relaxed) > 50);
    for index in 0..3 {
        let checks = set.checks(index);
        // One for each heartbeat, two for each fault, and the requested ones, half a second apart.
        let most = 2 * elapsed.as_millis() / SHORTEST.as_millis() + 20;
        assert!(
            u128::try_from(checks.len()).unwrap() < most,
            "{}",
            checks.len()
        );
        let burst = checks.of_kind(CheckKind::Plain).most_within(SHORTEST);
        assert!(burst <= 4, "{burst} within half a second");
    }
}

#[test]
fn a_member_with_a_bad_certificate_is_avoided_and_named() {
    let nodes = NodeOptions::new().tls(|ca, index| {
        let leaf = LeafSpec::local_server();
        let leaf = match index {
            2 => leaf.validity(Validity::expired()),
            _ => leaf,
        };
        ServerTls::new(&ca.issue(leaf))
    });
    let set = ReplicaSet::builder("rs0").members(3).nodes(nodes).start();
    set.set_tags(2, doc! { "dc": "west" });
    let client = client(&set, "serverSelectionTimeoutMS=700");
    insert(&client).unwrap();
    await_members(&client, 2);
    set.elect(2);
    let started = Instant::now();
    let error = loop {
        // Until the client has learned that the old primary has stepped down.
        match insert(&client) {
            Err(error) if error.kind() == ErrorKind::Timeout => break error,
            outcome => assert!(started.elapsed() < PATIENCE, "{outcome:?}"),
        }
    };
    assert_eq!(code(&error), CauseCode::CertificateExpired);
    let text = error.to_string();
    for part in [
        "replica set \"rs0\" without a known primary",
        "RSSecondary",
        "Unknown: TLS handshake failed",
        "[certificate-expired]",
        "remedy: ",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    set.elect(0);
    await_primary(&client, &set.address(0));
    insert(&client).unwrap();
}

#[test]
fn the_limit_of_an_operation_covers_the_wait_for_a_server() {
    let set = secure_set(3);
    let client = client(&set, "");
    insert(&client).unwrap();
    set.step_down();
    let limit = Duration::from_millis(400);
    let write = Command::from(doc! { "insert": "things", "documents": [{}] }).timeout(limit);
    let error = timed(limit, limit + Duration::from_millis(300), || {
        let started = Instant::now();
        loop {
            // The first may still reach the old primary, which rejects it.
            match client.database("db").run_command(write.clone()) {
                Err(error) if error.kind() == ErrorKind::Timeout => return error,
                outcome => assert!(started.elapsed() < PATIENCE, "{outcome:?}"),
            }
        }
    });
    assert!(
        error
            .to_string()
            .contains("within 400 ms (the time limit of the call)"),
        "{error}"
    );
    // Waiting threads are woken at once.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| insert(&client));
        thread::sleep(Duration::from_millis(100));
        set.elect(1);
        let elected = Instant::now();
        waiting.join().unwrap().unwrap();
        assert!(elected.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn reconfigurations_change_members_and_send_ordered_events() {
    let set = secure_set(2);
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let own = Arc::clone(&told);
    let builder = ConnectionString::parse(&set.uri(""))
        .unwrap()
        .into_builder();
    let builder = builder.event_listener_for(&[EventKind::Sdam], move |event| {
        if let Event::Sdam(event) = event {
            let about = match &event.kind {
                SdamEventKind::ServerOpening { server }
                | SdamEventKind::ServerClosed { server } => {
                    format!(" {server}")
                }
                _ => String::new(),
            };
            let name = event.kind.name();
            if !name.starts_with("ServerHeartbeat") {
                own.lock().unwrap().push(format!("{name}{about}"));
            }
        }
    });
    let client = Client::with_options(builder.build().unwrap()).unwrap();
    insert(&client).unwrap();
    await_members(&client, 2);
    let added = set.add(mongotls_testbench::replica_set::MemberKind::Data(
        mongotls_testbench::server::Standing::Host,
    ));
    await_members(&client, 3);
    set.remove(added);
    await_members(&client, 2);
    client.close(Duration::ZERO);
    let told = told.lock().unwrap().clone();
    assert_eq!(told.first().map(String::as_str), Some("TopologyOpening"));
    assert_eq!(told.last().map(String::as_str), Some("TopologyClosed"));
    let place = |text: String| {
        told.iter()
            .position(|it| *it == text)
            .unwrap_or_else(|| panic!("{text} in {told:?}"))
    };
    let address = set.address(added);
    let opened = place(format!("ServerOpening {address}"));
    assert!(opened < place(format!("ServerClosed {address}")));
}

#[test]
fn one_server_has_one_thread_at_rest_and_none_after_the_end() {
    let set = secure_set(1);
    // Other tests of this process have clients too, with indistinguishable threads.
    let report = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "replica_set::threads_of_a_process_with_one_client",
            "--nocapture",
        ])
        .env("MONGOTLS_THREADS_OF", set.uri("&heartbeatFrequencyMS=500"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&report.stderr).into_owned();
    assert!(report.status.success(), "{text}");
    assert!(text.contains("threads 1, then 0"), "{text}");
}

/// Counts the threads of a client in a separate process; see the test above.
#[test]
fn threads_of_a_process_with_one_client() {
    let Ok(uri) = std::env::var("MONGOTLS_THREADS_OF") else {
        return;
    };
    let names = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let names = names.filter(|name| name.starts_with("mongotls"));
        let mut names: Vec<_> = names.map(|name| name.trim().to_owned()).collect();
        names.sort();
        names
    };
    let threads = || names().len();
    let client = Client::connect(&uri).unwrap();
    insert(&client).unwrap();
    let started = Instant::now();
    // Threads that look up or connect to an address are temporary. The system truncates names after 15 bytes.
    // One of them establishes the connection that measures round trips.
    while !names().iter().any(|name| name == "mongotls-rtt") && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_micros(100));
    }
    while names() != ["mongotls-monito"] && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    let at_rest = threads();
    drop(client);
    while threads() > 0 && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    eprintln!("threads {at_rest}, then {}", threads());
}

#[test]
fn commands_rejected_by_overload_are_retried() {
    let set = secure_set(1);
    let client = client(&set, "");
    insert(&client).unwrap();
    let server = set.node(0);
    let labels = ["SystemOverloadedError", "RetryableError"];
    let failure = doc! { "errorCode": 462, "errorLabels": labels.to_vec() };
    let before = server.server().count_of("insert");
    server
        .server()
        .configure_fail_point(&fail_command(2, &["insert"], failure.clone()));
    insert(&client).unwrap();
    assert_eq!(server.server().count_of("insert"), before + 3);
    server
        .server()
        .configure_fail_point(&fail_command(3, &["insert"], failure));
    let error = insert(&client).unwrap_err();
    assert!(error.has_label("SystemOverloadedError"));
    assert_eq!(server.server().count_of("insert"), before + 6);
}

#[test]
fn options_that_no_member_meets_are_refused_without_a_wait() {
    let set = secure_set(1);
    let uri = set.uri("").replace("replicaSet=rs0", "replicaSet=other");
    let client = Client::connect(&uri).unwrap();
    let error = timed(Duration::ZERO, Duration::from_secs(5), || {
        insert(&client).unwrap_err()
    });
    assert_eq!(code(&error), CauseCode::HelloFailed);
    assert!(
        error
            .to_string()
            .contains("belongs to the replica set \"rs0\", not to \"other\""),
        "{error}"
    );
    let (options, _) = ClientOptions::parse(&set.uri("heartbeatFrequencyMS=10000")).unwrap();
    let client = Client::with_options(options).unwrap();
    insert(&client).unwrap();
    let preference =
        ReadPreference::new(ReadPreferenceMode::Secondary).max_staleness(Duration::from_secs(15));
    let read = Command::from(doc! { "ping": 1 }).read_preference(preference);
    let error = client.database("db").run_command(read).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
