//! Events of commands and TLS handshakes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, RawDocumentBuf, doc, rawdoc};
use mongotls::error::Stage;
use mongotls::event::{
    CommandEvent, CommandFailedEvent, CommandInfo, CommandStartedEvent, CommandSucceededEvent,
    Event, EventKind, TlsEvent,
};
use mongotls::options::ClientOptionsBuilder;
use mongotls::tls::RevocationStatus;
use mongotls::{CauseCode, Client, Command, ConnectionString, ErrorKind, ServerAddress};
use mongotls_testbench::pki::{KeyKind, Validity};
use mongotls_testbench::server::{Hello, Server, fail_command};

use crate::common::{Bench, code, expect_ready, ping_on, without_session};
use crate::target::dial_anew;

type Seen = Arc<Mutex<Vec<Event>>>;

/// A client whose events are collected.
fn listening(uri: &str, kinds: Option<&[EventKind]>) -> (Client, Seen) {
    listening_with(uri, kinds, |builder| builder)
}

fn listening_with(
    uri: &str,
    kinds: Option<&[EventKind]>,
    change: impl FnOnce(ClientOptionsBuilder) -> ClientOptionsBuilder,
) -> (Client, Seen) {
    let seen = Seen::default();
    let store = Arc::clone(&seen);
    let listen = move |event: &Event| store.lock().unwrap().push(event.clone());
    let builder = change(ConnectionString::parse(uri).unwrap().into_builder());
    let builder = match kinds {
        Some(kinds) => builder.event_listener_for(kinds, listen),
        None => builder.event_listener(listen),
    };
    (
        Client::with_options(builder.build().unwrap()).unwrap(),
        seen,
    )
}

/// The events of commands so far, in pairs; fails if one is incomplete.
fn commands(
    seen: &Seen,
) -> Vec<(
    CommandStartedEvent,
    Result<CommandSucceededEvent, CommandFailedEvent>,
)> {
    let events = std::mem::take(&mut *seen.lock().unwrap());
    let mut pairs = Vec::new();
    let mut open: Option<CommandStartedEvent> = None;
    for event in events {
        let end = match event {
            Event::Command(CommandEvent::Started(started)) => {
                assert!(open.replace(started).is_none());
                continue;
            }
            Event::Command(CommandEvent::Succeeded(event)) => Ok(event),
            Event::Command(CommandEvent::Failed(event)) => Err(event),
            _ => continue,
        };
        let started = open.take().expect("what ends has begun");
        let info = match &end {
            Ok(event) => &event.info,
            Err(event) => &event.info,
        };
        assert_eq!(*info, started.info);
        pairs.push((started, end));
    }
    assert!(open.is_none(), "{open:?} does not end");
    pairs
}

fn document(raw: &RawDocumentBuf) -> Document {
    Document::try_from(raw).unwrap()
}

// --- commands ---

#[test]
fn a_successful_command_has_complete_events() {
    let server = Server::builder().start();
    let (client, seen) = listening(&server.uri(), None);
    let insert = Command::from(doc! { "insert": "c", "ordered": true })
        .documents("documents", [rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }]);
    client.database("db").run_command(insert).unwrap();
    ping_on(&client).unwrap();
    let pairs = commands(&seen);
    let [(insert, inserted), (ping, _)] = pairs.as_slice() else {
        panic!("{pairs:?}");
    };
    let sent = doc! { "insert": "c", "ordered": true, "$db": "db", "documents": [{ "_id": 1 }, { "_id": 2 }] };
    assert_eq!(without_session(&document(&insert.command)), sent);
    let inserted = inserted.as_ref().unwrap();
    let reply = document(&inserted.reply);
    assert_eq!(
        (reply.get_i32("n").unwrap(), reply.get_f64("ok").unwrap()),
        (2, 1.0)
    );
    assert!(inserted.duration > Duration::ZERO && inserted.duration < Duration::from_secs(5));
    let CommandInfo {
        command_name,
        database_name,
        request_id,
        operation_id,
        server: address,
        connection_id,
        server_connection_id,
        service_id,
        ..
    } = &insert.info;
    assert_eq!(
        (command_name.as_str(), database_name.as_str()),
        ("insert", "db")
    );
    let seen = server.commands_named("insert");
    assert_eq!(*request_id, seen[0].request_id);
    assert_eq!(
        *server_connection_id,
        i64::try_from(seen[0].connection).ok()
    );
    assert_eq!(*address, ServerAddress::tcp("127.0.0.1", server.port()));
    assert_eq!((*connection_id, *service_id), (1, None));
    assert!(ping.info.request_id > *request_id && ping.info.operation_id > *operation_id);
}

#[test]
fn the_service_behind_a_load_balancer_is_named() {
    let service = ObjectId::new();
    let mut hello = Hello::mongos();
    hello.extra.insert("serviceId", service);
    let server = Server::builder().hello(hello).start();
    let (client, seen) = listening(&format!("{}?loadBalanced=true", server.uri()), None);
    ping_on(&client).unwrap();
    assert_eq!(commands(&seen)[0].0.info.service_id, Some(service));
}

#[test]
fn failure_events_contain_the_error_of_the_caller() {
    let server = Server::builder().start();
    let (client, seen) = listening(&format!("{}?socketTimeoutMS=300", server.uri()), None);
    let failures = [
        (
            doc! { "errorCode": 112, "errorLabels": ["X"] },
            ErrorKind::Command,
        ),
        (doc! { "closeConnection": true }, ErrorKind::Network),
        (
            doc! { "blockConnection": true, "blockTimeMS": 900 },
            ErrorKind::Timeout,
        ),
    ];
    for (data, kind) in failures {
        server.configure_fail_point(&fail_command(1, &["ping"], data));
        let error = ping_on(&client).unwrap_err();
        let mut pairs = commands(&seen);
        let (started, end) = pairs.pop().unwrap();
        assert_eq!(
            (pairs.len(), started.info.command_name.as_str()),
            (0, "ping")
        );
        let failed = end.unwrap_err();
        assert_eq!(failed.failure.kind(), kind);
        // Only the caller gets the times of the whole operation.
        let (told, failure) = (error.to_string(), failed.failure.to_string());
        let times = told.strip_prefix(&failure);
        let times = times.unwrap_or_else(|| panic!("{failure}: {told}"));
        assert_eq!(times.starts_with("; of "), kind == ErrorKind::Timeout);
        assert_eq!(times.is_empty(), kind != ErrorKind::Timeout);
        assert_eq!(failed.failure.labels(), error.labels());
        let least = if kind == ErrorKind::Timeout { 300 } else { 0 };
        assert!(failed.duration >= Duration::from_millis(least));
    }
    // An error in a successful reply is part of it.
    let failure = doc! { "writeConcernError": { "code": 64, "errmsg": "m" } };
    server.configure_fail_point(&fail_command(1, &["insert"], failure));
    let insert = doc! { "insert": "c", "documents": [{ "_id": 1 }] };
    client.database("db").run_command(insert).unwrap();
    let (_, end) = commands(&seen).pop().unwrap();
    assert!(document(&end.unwrap().reply).contains_key("writeConcernError"));
}

#[test]
fn each_batch_and_the_end_of_a_cursor_have_events() {
    let server = Server::builder().start();
    let (client, seen) = listening(&server.uri(), Some(&[EventKind::Command]));
    let database = client.database("db");
    let documents = (0..5).map(|id| rawdoc! { "_id": id });
    database
        .run_command(Command::from(doc! { "insert": "c" }).documents("documents", documents))
        .unwrap();
    let find = || doc! { "find": "c", "batchSize": 2 };
    let all = database
        .run_cursor_command::<Document>(find())
        .unwrap()
        .batch_size(2);
    assert_eq!(all.count(), 5);
    drop(database.run_cursor_command::<Document>(find()).unwrap());
    let names: Vec<_> = commands(&seen)
        .into_iter()
        .map(|(started, _)| started.info.command_name)
        .collect();
    assert_eq!(
        names,
        [
            "insert",
            "find",
            "getMore",
            "getMore",
            "find",
            "killCursors"
        ]
    );
}

#[test]
fn events_of_sensitive_commands_are_redacted() {
    const SECRET: &str = "topsecret";
    let answer = |_: &_| Some(doc! { "ok": 1, "payload": SECRET });
    let names = "authenticate saslStart saslContinue getnonce createUser updateUser copydbgetnonce copydbsaslstart \
                 copydb hello isMaster ismaster";
    let names: Vec<&str> = names.split_whitespace().collect();
    // The client's own hello gets the usual reply.
    let handled = names.iter().fold(Server::builder(), |server, name| {
        if name.to_lowercase() == "ismaster" {
            server
        } else {
            server.handle(name, answer)
        }
    });
    let server = handled.start();
    // Monitors send hello too: this one does so once.
    let uri = format!(
        "{}?serverMonitoringMode=poll&heartbeatFrequencyMS=60000",
        server.uri()
    );
    let (client, seen) = listening(&uri, None);
    let database = client.database("admin");
    for name in &names {
        let command =
            doc! { *name: 1, "pwd": SECRET, "speculativeAuthenticate": { "payload": SECRET } };
        database.run_command(command.clone()).unwrap();
        let (started, end) = commands(&seen).pop().unwrap();
        assert_eq!(started.info.command_name, *name);
        assert_eq!(
            (document(&started.command), document(&end.unwrap().reply)),
            (doc! {}, doc! {}),
            "{name}"
        );

        let failure = doc! { "errorCode": 18, "errorLabels": ["L"] };
        server.configure_fail_point(&fail_command(1, &[name], failure));
        let error = database.run_command(command).unwrap_err();
        assert!(error.to_string().contains("failCommand"), "{error}");
        let (_, end) = commands(&seen).pop().unwrap();
        let failure = end.unwrap_err().failure;
        let command = failure.command().unwrap();
        assert_eq!(
            (command.code, command.code_name.as_str()),
            (18, "AuthenticationFailed")
        );
        assert_eq!(failure.labels(), ["L"]);
        assert!(
            command.reply.is_empty() && !format!("{failure:?} {command:?}").contains("failCommand")
        );
    }
    // Without credentials a hello contains no secret.
    database
        .run_command(doc! { "isMaster": 1, "x": 2 })
        .unwrap();
    let (started, end) = commands(&seen).pop().unwrap();
    assert!(document(&started.command).contains_key("x") && !end.unwrap().reply.is_empty());
}

#[test]
fn a_panicking_listener_stops_nothing() {
    let server = Server::builder().start();
    let builder = ConnectionString::parse(&server.uri())
        .unwrap()
        .into_builder();
    let options = builder
        .event_listener(|_| panic!("a bug of the program"))
        .build()
        .unwrap();
    let client = Client::with_options(options).unwrap();
    for _ in 0..3 {
        ping_on(&client).unwrap();
    }
    assert_eq!(server.program_connections().len(), 1);
    let (client, seen) = listening(&server.uri(), Some(&[EventKind::Tls]));
    ping_on(&client).unwrap();
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn a_listener_may_use_the_client_itself() {
    let server = Server::builder().start();
    let held: Arc<Mutex<Option<Client>>> = Arc::default();
    let client = Arc::clone(&held);
    let options = ConnectionString::parse(&server.uri()).unwrap().into_builder().event_listener(move |event| {
        // Only for the ping, so that the recursion ends.
        if matches!(event, Event::Command(CommandEvent::Started(started)) if started.info.command_name == "ping") {
            let client = client.lock().unwrap().clone().unwrap();
            client.database("db").run_command(doc! { "benchEcho": 1 }).unwrap();
        }
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
    *held.lock().unwrap() = Some(client.clone());
    ping_on(&client).unwrap();
    assert_eq!(server.count_of("benchEcho"), 1);
    *held.lock().unwrap() = None;
}

// --- TLS ---

#[test]
fn handshakes_have_start_and_end_events() {
    let bench = Bench::sound();
    let (client, seen) = listening(
        &bench.uri(bench.without_monitors()),
        Some(&[EventKind::Tls]),
    );
    let address = ServerAddress::tcp("localhost", bench.server.port());
    for _ in 0..2 {
        ping_on(&client).unwrap();
        client.reload_tls().unwrap();
        let events = std::mem::take(&mut *seen.lock().unwrap());
        let [
            Event::Tls(TlsEvent::HandshakeStarted(started)),
            Event::Tls(TlsEvent::HandshakeSucceeded(ended)),
            Event::Tls(TlsEvent::Reload(_)),
        ] = events.as_slice()
        else {
            panic!("{events:?}");
        };
        assert_eq!((&started.server, &ended.server), (&address, &address));
        assert!(
            ended.protocol.starts_with("TLSv1.") && ended.cipher.starts_with("TLS_"),
            "{ended:?}"
        );
        assert!(!ended.resumed, "a reload begins without sessions");
        assert_eq!(ended.revocation, RevocationStatus::NotChecked);
        assert!(ended.duration > Duration::ZERO);
    }
    let close = || fail_command(1, &["ping"], doc! { "closeConnection": true });
    bench.server.configure_fail_point(&close());
    ping_on(&client).unwrap_err();
    ping_on(&client).unwrap();
    let last = seen.lock().unwrap().pop();
    assert!(matches!(last, Some(Event::Tls(TlsEvent::HandshakeSucceeded(ended))) if ended.resumed));
}

#[test]
fn the_monitor_handshake_has_events_first() {
    let bench = Bench::sound();
    let uri = bench.uri("&serverMonitoringMode=poll");
    let (client, seen) = listening(&uri, Some(&[EventKind::Tls]));
    expect_ready(&client);
    dial_anew(&client);
    ping_on(&client).unwrap();
    let seen = seen.lock().unwrap();
    let ended = seen.iter().filter_map(|event| match event {
        Event::Tls(TlsEvent::HandshakeSucceeded(ended)) => Some(ended.resumed),
        _ => None,
    });
    assert_eq!(ended.collect::<Vec<_>>(), [false, true], "{seen:?}");
}

#[test]
fn a_failed_handshake_event_has_its_cause() {
    let expired = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf.validity(Validity::days(-20, -10)),
        |tls| tls,
    );
    let (client, seen) = listening(&expired.uri(""), Some(&[EventKind::Tls]));
    let error = ping_on(&client).unwrap_err();
    let events = seen.lock().unwrap();
    let [
        Event::Tls(TlsEvent::HandshakeStarted(_)),
        Event::Tls(TlsEvent::HandshakeFailed(failed)),
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!(
        (code(&failed.error), failed.error.stage()),
        (CauseCode::CertificateExpired, Some(Stage::Tls))
    );
    assert_eq!(failed.error.to_string(), error.to_string());
    assert_eq!(
        failed.server,
        ServerAddress::tcp("localhost", expired.server.port())
    );
    assert!(failed.duration > Duration::ZERO);
}
