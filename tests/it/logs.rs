//! The log: its lines, and their key-value pairs.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Mutex, Once};
use std::thread;
use std::time::Duration;

use log::kv::{Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use mongotls::bson::{Document, doc};
use mongotls::event::{Event, EventKind, SdamEvent, SdamEventKind};
use mongotls::options::ClientOptionsBuilder;
use mongotls::{Client, ConnectionString, ServerAddress};
use mongotls_testbench::pki::{KeyKind, Validity};
#[cfg(not(feature = "zlib"))]
use mongotls_testbench::server::Hello;
use mongotls_testbench::server::{Server, fail_command};

use crate::common::{Bench, ping_on};
use crate::target::at_rest;

/// One entry of the log.
#[derive(Clone, Debug)]
struct Entry {
    target: String,
    level: Level,
    text: String,
    pairs: BTreeMap<String, String>,
}

impl Entry {
    fn pair(&self, name: &str) -> &str {
        self.pairs.get(name).map_or("", String::as_str)
    }
}

/// All entries of this process below `mongotls`.
static ENTRIES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// Other loggers that receive the same records.
static OTHERS: Mutex<Vec<&'static dyn Log>> = Mutex::new(Vec::new());

struct Collector;

impl Log for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Debug && metadata.target().starts_with("mongotls::")
    }

    fn log(&self, record: &Record<'_>) {
        struct Pairs(BTreeMap<String, String>);
        impl<'kvs> VisitSource<'kvs> for Pairs {
            fn visit_pair(
                &mut self,
                key: Key<'kvs>,
                value: Value<'kvs>,
            ) -> Result<(), log::kv::Error> {
                let before = self.0.insert(key.to_string(), value.to_string());
                assert_eq!(before, None, "{key} occurs twice");
                Ok(())
            }
        }
        for other in OTHERS.lock().unwrap().iter() {
            if other.enabled(record.metadata()) {
                other.log(record);
            }
        }
        if self.enabled(record.metadata()) {
            let mut pairs = Pairs(BTreeMap::new());
            record.key_values().visit(&mut pairs).unwrap();
            ENTRIES.lock().unwrap().push(Entry {
                target: record.target().to_owned(),
                level: record.level(),
                text: record.args().to_string(),
                pairs: pairs.0,
            });
        }
    }

    fn flush(&self) {}
}

/// The entries of a target with this word in their text, after the first `since`: a port may have belonged to another
/// test's server before.
fn entries_with(since: usize, target: &str, word: &str) -> Vec<Entry> {
    let entries = ENTRIES.lock().unwrap();
    let of = |entry: &&Entry| entry.target == target && entry.text.contains(word);
    entries[since..].iter().filter(of).cloned().collect()
}

/// The lines of a target with this word.
fn lines_with(since: usize, target: &str, word: &str) -> Vec<String> {
    let entries = entries_with(since, target, word).into_iter();
    entries.map(|entry| entry.text).collect()
}

/// Collects the log from now on; returns the number of existing entries.
fn collect_log() -> usize {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Collector).unwrap();
        log::set_max_level(LevelFilter::Debug);
    });
    ENTRIES.lock().unwrap().len()
}

/// Passes the log to another logger too, from now on.
pub(crate) fn forward_to(logger: &'static dyn Log) {
    OTHERS.lock().unwrap().push(logger);
    collect_log();
}

fn client_with(
    uri: &str,
    change: impl FnOnce(ClientOptionsBuilder) -> ClientOptionsBuilder,
) -> Client {
    let builder = ConnectionString::parse(uri).unwrap().into_builder();
    Client::with_options(change(builder).build().unwrap()).unwrap()
}

/// The entries of the client of this server, with the names of their messages.
fn messages_of(server: &Server, since: usize, target: &str) -> Vec<Entry> {
    let port = server.port().to_string();
    let mut entries = ENTRIES.lock().unwrap()[since..].to_vec();
    let is_ours = |entry: &&Entry| entry.pair("serverPort") == port;
    let topology = entries
        .iter()
        .find(is_ours)
        .unwrap()
        .pair("topologyId")
        .to_owned();
    assert_eq!(topology.len(), 24);
    entries.retain(|entry| entry.target == target && entry.pair("topologyId") == topology);
    entries
}

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.pair("message")).collect()
}

#[test]
fn commands_are_logged_in_the_words_of_the_specification() {
    let server = Server::builder().start();
    let since = collect_log();
    let client = client_with(&server.uri(), |builder| {
        builder.max_log_document_length(60_usize)
    });
    let run = |command: Document| client.database("logged").run_command(command);
    run(doc! { "benchEcho": "ä".repeat(100) }).unwrap();
    server.configure_fail_point(&fail_command(1, &["benchEcho"], doc! { "errorCode": 112 }));
    run(doc! { "benchEcho": 1 }).unwrap_err();
    run(doc! { "saslStart": 1, "payload": "topsecret" }).unwrap_err();
    let to = format!("to 127.0.0.1:{}", server.port());
    let lines = lines_with(since, "mongotls::command", &to);
    let [started, succeeded, _, failed, secret, secret_failed] = lines.as_slice() else {
        panic!("{lines:#?}");
    };
    let using = format!(
        "using a connection with driver-generated ID 1 and server-generated ID {} {to}. The requestID is 2 and the operation ID is ",
        server.program_connections()[0].id
    );
    assert!(
        started.starts_with(&format!(
            "Command \"benchEcho\" started on database \"logged\" {using}"
        )),
        "{started}"
    );
    let shown = format!("Command: {{\"benchEcho\":\"{}...", "ä".repeat(23));
    assert!(started.ends_with(&shown), "{started}");
    assert!(
        succeeded.starts_with("Command \"benchEcho\" succeeded on database \"logged\" in "),
        "{succeeded}"
    );
    assert!(
        succeeded.contains(&format!(" ms {using}")) && succeeded.contains("Command reply: {"),
        "{succeeded}"
    );
    assert!(
        failed.contains("failed on database")
            && failed.contains("Error: ")
            && failed.contains("(reply: {"),
        "{failed}"
    );
    assert!(secret.ends_with("Command: {}"), "{secret}");
    assert!(
        secret_failed.contains("REDACTED") && !lines.iter().any(|line| line.contains("topsecret"))
    );
    // The hello of the handshake is not logged as a command.
    assert!(!lines.iter().any(|line| line.contains("isMaster")));
}

#[test]
fn handshakes_are_logged() {
    let bench = Bench::sound();
    let since = collect_log();
    ping_on(&at_rest(&bench.uri(""))).unwrap();
    let server = format!("localhost:{} ", bench.server.port());
    let lines = lines_with(since, "mongotls::tls", &server);
    assert_eq!(lines.len(), 4, "{lines:#?}");
    // The monitor's handshake, and that of the command.
    for (pair, kind) in lines.chunks(2).zip(["full", "resumed"]) {
        let [started, succeeded] = pair else {
            panic!("{pair:?}");
        };
        assert_eq!(*started, format!("TLS handshake with {server}started"));
        assert!(
            succeeded.starts_with(&format!("TLS handshake with {server}succeeded in ")),
            "{succeeded}"
        );
        assert!(
            succeeded.ends_with(&format!(", {kind}, revocation not-checked")),
            "{succeeded}"
        );
    }

    let expired = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf.validity(Validity::days(-20, -10)),
        |tls| tls,
    );
    let since = collect_log();
    ping_on(&expired.client("")).unwrap_err();
    let lines = lines_with(
        since,
        "mongotls::tls",
        &format!("localhost:{} failed", expired.server.port()),
    );
    assert!(
        lines.len() == 1 && lines[0].ends_with("[certificate-expired]"),
        "{lines:?}"
    );
}

/// "Command Logging and Monitoring", prose test 1.
#[test]
fn prose_test_1_default_truncation_limit() {
    let server = Server::builder().start();
    let since = collect_log();
    let client = Client::connect(&server.uri()).unwrap();
    let database = client.database("logged");
    let docs = vec![doc! { "x": "y" }; 100];
    database
        .run_command(doc! { "insert": "truncated", "documents": docs })
        .unwrap();
    database.run_command(doc! { "find": "truncated" }).unwrap();
    let entries = messages_of(&server, since, "mongotls::command");
    let [inserting, inserted, _, found] = entries.as_slice() else {
        panic!("{entries:#?}");
    };
    assert!(inserting.pair("command").ends_with("..."));
    assert_eq!(inserting.pair("command").len(), 1003);
    assert!(inserted.pair("reply").len() <= 1003);
    assert!(found.pair("reply").ends_with("..."));
    assert_eq!(found.pair("reply").len(), 1003);
}

/// "Command Logging and Monitoring", prose test 2.
#[test]
fn prose_test_2_explicitly_configured_truncation_limit() {
    let server = Server::builder().start();
    let since = collect_log();
    let client = client_with(&server.uri(), |it| it.max_log_document_length(5_usize));
    let database = client.database("logged");
    database.run_command(doc! { "hello": true }).unwrap();
    database
        .run_command(doc! { "notARealCommand": true })
        .unwrap_err();
    let entries = messages_of(&server, since, "mongotls::command");
    let [started, succeeded, _, failed] = entries.as_slice() else {
        panic!("{entries:#?}");
    };
    assert_eq!(started.pair("command"), "{\"hel...");
    assert_eq!(succeeded.pair("reply").len(), 8);
    assert!(succeeded.pair("reply").ends_with("..."));
    let reply = failed.pair("failure").rsplit_once("(reply: ").unwrap().1;
    assert!(reply.len() == 9 && reply.ends_with("...)"), "{failed:?}");
}

/// "Command Logging and Monitoring", prose test 3. The unit is the byte, and a text is never cut within a character.
#[test]
fn prose_test_3_truncation_with_multi_byte_codepoints() {
    let server = Server::builder().start();
    server.configure_fail_point(&fail_command(1, &["fails"], doc! { "errorCode": 112 }));
    for length in 10_usize..30 {
        let since = collect_log();
        let client = client_with(&server.uri(), |it| it.max_log_document_length(length));
        let text = "ä日🦀".repeat(10);
        let echo = doc! { "benchEcho": &text };
        client.database("logged").run_command(echo.clone()).unwrap();
        let entries = messages_of(&server, since, "mongotls::command");
        let [started, succeeded] = entries.as_slice() else {
            panic!("{entries:#?}");
        };
        for shown in [started.pair("command"), succeeded.pair("reply")] {
            let shown = shown.strip_suffix("...").unwrap();
            assert!(
                (length - 3..=length).contains(&shown.len()),
                "{length}: {shown}"
            );
        }
        let whole = format!("{{\"benchEcho\":\"{text}");
        let shown = started.pair("command").strip_suffix("...").unwrap();
        assert!(whole.starts_with(shown), "{shown}");
        // The server's reply in a failure.
        let wrong = format!("no{text}");
        client
            .database("logged")
            .run_command(doc! { wrong: 1 })
            .unwrap_err();
        let entries = messages_of(&server, since, "mongotls::command");
        let failure = entries.last().unwrap().pair("failure").to_owned();
        let reply = failure.rsplit_once("(reply: ").unwrap().1;
        let reply = reply.strip_suffix("...)").unwrap();
        assert!(
            (length - 3..=length).contains(&reply.len()),
            "{length}: {reply}"
        );
    }
}

#[test]
fn pairs_of_commands_and_of_their_server_selection_belong_together() {
    let server = Server::builder().start();
    let since = collect_log();
    let client = Client::connect(&server.uri()).unwrap();
    ping_on(&client).unwrap();
    let commands = messages_of(&server, since, "mongotls::command");
    let [started, succeeded] = commands.as_slice() else {
        panic!("{commands:#?}");
    };
    assert_eq!(names(&commands), ["Command started", "Command succeeded"]);
    for entry in [started, succeeded] {
        assert_eq!(entry.level, Level::Debug);
        assert_eq!(
            (entry.pair("commandName"), entry.pair("databaseName")),
            ("ping", "admin")
        );
        assert_eq!(entry.pair("serverHost"), "127.0.0.1");
        assert_eq!(entry.pair("driverConnectionId"), "1");
        let id = server.program_connections()[0].id.to_string();
        assert_eq!(entry.pair("serverConnectionId"), id);
        assert_eq!(entry.pair("requestId"), started.pair("requestId"));
        assert!(!entry.pairs.contains_key("serviceId") && !entry.pairs.contains_key("failure"));
    }
    assert!(started.pair("command").starts_with("{\"ping\":1,"));
    assert!(!started.pairs.contains_key("durationMS"));
    let _: u64 = succeeded.pair("durationMS").parse().unwrap();

    let selection = messages_of(&server, since, "mongotls::server_selection");
    // The first command may wait until the server is discovered.
    let mut expected = vec!["Server selection started", "Server selection succeeded"];
    if selection.len() == 3 {
        expected.insert(1, "Waiting for suitable server to become available");
        assert_eq!(selection[1].level, Level::Info);
        let remaining: u64 = selection[1].pair("remainingTimeMS").parse().unwrap();
        assert!((29_000..=30_000).contains(&remaining), "{remaining}");
    }
    assert_eq!(names(&selection), expected);
    for entry in &selection {
        assert_eq!(entry.pair("operation"), "ping");
        assert_eq!(entry.pair("operationId"), started.pair("operationId"));
        assert!(
            !entry.pair("selector").is_empty() && !entry.pair("topologyDescription").is_empty()
        );
    }
    assert_eq!(
        selection.last().unwrap().pair("serverPort"),
        server.port().to_string()
    );
}

#[test]
fn a_failed_server_selection_says_once_that_it_waits() {
    let server = Server::builder().start();
    let since = collect_log();
    let uri = format!(
        "{}?serverSelectionTimeoutMS=1200&heartbeatFrequencyMS=500",
        server.uri()
    );
    let data = doc! { "closeConnection": true };
    server.configure_fail_point(&fail_command(
        1000,
        &["hello", "isMaster", "ismaster"],
        data,
    ));
    let client = Client::connect(&uri).unwrap();
    ping_on(&client).unwrap_err();
    let selection: Vec<Entry> = {
        let entries = ENTRIES.lock().unwrap()[since..].to_vec();
        let port = format!(":{} ", server.port());
        let is_ours = |entry: &&Entry| entry.pair("topologyDescription").contains(&port);
        let topology = entries
            .iter()
            .find(is_ours)
            .unwrap()
            .pair("topologyId")
            .to_owned();
        let is_ours = |entry: &Entry| {
            entry.target == "mongotls::server_selection" && entry.pair("topologyId") == topology
        };
        entries.into_iter().filter(is_ours).collect()
    };
    assert_eq!(
        names(&selection),
        [
            "Server selection started",
            "Waiting for suitable server to become available",
            "Server selection failed"
        ]
    );
    let failure = selection[2].pair("failure");
    assert!(
        failure.starts_with("no server for a read by primary"),
        "{failure}"
    );
    assert!(
        !failure.contains('\n') && !failure.contains(r"\n"),
        "{failure}"
    );
}

#[test]
fn messages_of_a_pool_and_of_the_topology_have_pairs() {
    let server = Server::builder().start();
    let since = collect_log();
    let client = client_with(&format!("{}?maxPoolSize=7", server.uri()), |it| {
        it.max_log_document_length(20_usize)
    });
    ping_on(&client).unwrap();
    client.close(Duration::from_secs(5));
    let pool = messages_of(&server, since, "mongotls::connection");
    let all = names(&pool);
    for name in [
        "Connection pool created",
        "Connection pool ready",
        "Connection checkout started",
        "Connection created",
        "Connection ready",
        "Connection checked out",
        "Connection checked in",
        "Connection closed",
        "Connection pool closed",
    ] {
        assert!(all.contains(&name), "{name}: {all:?}");
    }
    assert_eq!(pool[0].pair("maxPoolSize"), "7");
    assert!(!pool[0].pairs.contains_key("minPoolSize"));

    let topology = messages_of(&server, since, "mongotls::topology");
    assert!(!names(&topology).contains(&"Server description changed"));
    let is_heartbeat = |entry: &&Entry| entry.pair("message") == "Server heartbeat succeeded";
    let heartbeat = topology.iter().find(is_heartbeat).unwrap();
    let reply = heartbeat.pair("reply").strip_suffix("...").unwrap();
    assert!((17..=20).contains(&reply.len()), "{heartbeat:?}");
    assert_eq!(heartbeat.pair("awaited"), "false");
    let ends = &names(&topology)[topology.len() - 3..];
    assert_eq!(
        ends,
        [
            "Stopped server monitoring",
            "Topology description changed",
            "Stopped topology monitoring"
        ]
    );
}

/// Takes the start of a check from `open`, or adds it.
fn pair_up(open: &mut Vec<(ServerAddress, u64)>, event: &SdamEvent) {
    match &event.kind {
        SdamEventKind::ServerHeartbeatStarted { connection, .. } => {
            open.push((connection.server.clone(), connection.connection_id));
        }
        SdamEventKind::ServerHeartbeatSucceeded { connection, .. }
        | SdamEventKind::ServerHeartbeatFailed { connection, .. } => {
            let key = (connection.server.clone(), connection.connection_id);
            let at = open.iter().position(|one| *one == key);
            open.remove(at.unwrap_or_else(|| panic!("no check has started: {event}")));
        }
        _ => {}
    }
}

/// "SDAM Logging and Monitoring", "Heartbeats" and "Closing Topology Description".
#[test]
fn every_check_ends_before_its_server_and_its_topology() {
    let server = Server::builder().start();
    for round in 0..5 {
        let (sender, events) = mpsc::channel();
        let client = client_with(&server.uri(), |it| {
            it.event_listener_for(&[EventKind::Sdam], move |event| {
                if let Event::Sdam(event) = event {
                    let _ = sender.send(event.clone());
                }
            })
        });
        if round > 0 {
            ping_on(&client).unwrap();
            // The next check waits at the server, or has not begun.
            thread::sleep(Duration::from_millis(150 * round));
        }
        client.close(Duration::from_secs(5));
        // All events have been sent.
        let seen: Vec<SdamEvent> = events.try_iter().collect();
        thread::sleep(Duration::from_millis(100));
        assert!(events.try_recv().is_err());
        let mut open = Vec::new();
        for event in &seen {
            if let SdamEventKind::ServerClosed { .. } = event.kind {
                assert_eq!(open, [], "round {round}: {seen:#?}");
            }
            pair_up(&mut open, event);
        }
        let last = seen[seen.len() - 3..].iter().map(|event| event.kind.name());
        let expected = [
            "ServerClosed",
            "TopologyDescriptionChanged",
            "TopologyClosed",
        ];
        assert!(last.eq(expected), "round {round}: {seen:#?}");
        // A check that was in progress is reported as failed because the client was closed.
        for event in &seen {
            if let SdamEventKind::ServerHeartbeatFailed { failure, .. } = &event.kind {
                assert_eq!(
                    failure.kind(),
                    mongotls::ErrorKind::ClientClosed,
                    "{failure}"
                );
            }
        }
    }
}

/// Only a build without the feature can test it: `cargo test --features cli --test it events::`.
#[cfg(not(feature = "zlib"))]
#[test]
fn a_compressor_that_is_not_built_in_is_named_and_not_offered() {
    let since = collect_log();
    let hello = Hello {
        compressors: vec!["zlib".to_owned()],
        ..Hello::default()
    };
    let server = Server::builder().hello(hello).start();
    ping_on(&Client::connect(&format!("{}?compressors=zlib", server.uri())).unwrap()).unwrap();
    let lines = lines_with(
        since,
        "mongotls::command",
        "compressors: zlib is not offered",
    );
    assert!(
        lines.len() == 1 && lines[0].contains("the cargo feature \"zlib\""),
        "{lines:?}"
    );
    let commands = server.commands();
    let offered = commands[0].body.get_array("compression").unwrap();
    assert!(offered.is_empty() && commands[1].compressor.is_none());
}

#[cfg(feature = "cli")]
#[test]
fn the_command_line_writes_the_log_to_a_file() {
    use std::path::Path;

    use crate::cli::mongotls_with;

    let server = Server::builder().start();
    let folder = mongotls_testbench::pki::PkiDir::new();
    let path = folder.path().join("log");
    let uri = server.uri();
    let run = |path: &Path| {
        let level = Path::new("debug");
        let variables = [("MONGODB_LOG_COMMAND", level), ("MONGODB_LOG_PATH", path)];
        mongotls_with(&["run", &uri, "admin", "{\"ping\": 1}"], &variables)
    };
    for count in 1..=2 {
        let run = run(&path);
        assert_eq!((run.code, run.err.as_str()), (0, ""));
        // The second run appends.
        let log = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            log.matches("Command \"ping\" started").count(),
            count,
            "{log}"
        );
        assert!(!log.contains("Heartbeat"), "{log}");
    }
    // A file that cannot be written is reported, and the log goes to standard error.
    let run = run(&folder.path().join("missing/log"));
    assert_eq!(run.code, 0);
    assert!(
        run.err
            .contains("mongotls: MONGODB_LOG_PATH: cannot write to "),
        "{}",
        run.err
    );
    assert!(
        run.err.contains("Command \"ping\" succeeded"),
        "{}",
        run.err
    );
}
