//! Commands that stop waiting for a server before its attempt to connect ends; servers that answer but are unusable;
//! servers that push replies without pause.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, doc};
use mongotls::event::{Event, EventKind, SdamEventKind};
use mongotls::{CauseCode, Client, ConnectionString, Error, ErrorKind};
use mongotls_testbench::server::{Role, Server, fail_command};
use mongotls_testbench::stranger::{self, Stranger};
use mongotls_testbench::wire::{Frame, MORE_TO_COME, OP_MSG, OP_REPLY, encode_reply};

use crate::common::{code, expect_ready, ping_error, ping_on};
use crate::target::for_each;

/// The error of a ping whose time limit is much shorter than that of its attempt to connect.
fn impatient(uri: &str) -> Error {
    let error = ping_error(&format!("{uri}serverSelectionTimeoutMS=600"));
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    error
}

const WITHIN: &str = "no server for a read by primary within 600 ms (serverSelectionTimeoutMS): no server has answered";

#[test]
fn an_ongoing_attempt_reports_its_wait() {
    // A full backlog: the kernel drops new connection requests.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let full = socket.local_addr().unwrap().as_socket().unwrap();
    let fill = || TcpStream::connect_timeout(&full, Duration::from_millis(100));
    let _held: Vec<_> = std::iter::from_fn(|| fill().ok()).take(100).collect();
    let silent = stranger::silent();
    let silent = silent.addr();
    let so_far = "so far; the attempt may take 10 s (connectTimeoutMS)";
    let cases = [
        (
            format!("mongodb://{full}/?"),
            full,
            CauseCode::ConnectTimeout,
            format!("there is no TCP connection to {full} {so_far}"),
            "Check host and port, and that no firewall drops the packets; then raise serverSelectionTimeoutMS.",
        ),
        (
            format!("mongodb://{full}/?connectTimeoutMS=0&"),
            full,
            CauseCode::ConnectTimeout,
            format!("there is no TCP connection to {full} so far; connectTimeoutMS sets no limit"),
            "Check host and port, and that no firewall drops the packets; then raise serverSelectionTimeoutMS.",
        ),
        (
            format!("mongodb://{silent}/?tls=true&tlsInsecure=true&"),
            silent,
            CauseCode::HandshakeTimeout,
            format!("the TLS handshake has not ended {so_far}"),
            "Check that the port speaks TLS, and that the server is not overloaded; then raise serverSelectionTimeoutMS.",
        ),
        (
            format!("mongodb://{silent}/?"),
            silent,
            CauseCode::HandshakeTimeout,
            format!("the server has not answered hello {so_far}"),
            "Check that the port speaks TLS if and only if tls is on, and that the server is not overloaded; then raise \
             serverSelectionTimeoutMS.",
        ),
    ];
    for_each(cases, |(uri, address, expected, message, remedy)| {
        let error = impatient(&uri);
        assert_eq!(code(&error), expected);
        assert_eq!(
            error.to_string(),
            format!(
                "{WITHIN}\n  {address}  Unknown: {message} [{expected}]\n      remedy: {remedy}"
            )
        );
        assert_eq!(error.labels(), [""; 0]);
    });
}

#[test]
fn a_server_without_a_replica_set_has_answered() {
    let server = Server::builder().start();
    server.set_hello(|hello| {
        hello.role = Role::OtherMember;
        hello.set_name = None;
        hello.extra = doc! { "isreplicaset": true };
    });
    let address = server.addr();
    let error = impatient(&format!("{}?", server.uri()));
    assert_eq!(code(&error), CauseCode::HelloFailed);
    let remedy = "For a new replica set run rs.initiate() once, on one member; add a member to one that is there with \
                  rs.add() on its primary.";
    assert_eq!(
        error.to_string(),
        format!(
            "no server for a read by primary within 600 ms (serverSelectionTimeoutMS): no server that has answered can be \
             used\n  {address}  RSGhost: it was started with --replSet and knows no replica set, or it is still starting \
             [hello-failed]\n      remedy: {remedy}"
        )
    );
}

#[test]
fn the_error_of_a_wait_has_no_label_of_a_dial() {
    let nobody = stranger::nobody();
    let error = impatient(&format!("mongodb://{nobody}/?"));
    assert_eq!(
        (code(&error), error.labels().len()),
        (CauseCode::ConnectionRefused, 0)
    );
    let server = Server::builder().start();
    let refuse =
        doc! { "errorCode": 91, "errorLabels": ["SystemOverloadedError", "RetryableError"] };
    server.configure_fail_point(&fail_command(1000, &["hello", "isMaster"], refuse));
    let error = impatient(&format!("{}?", server.uri()));
    assert_eq!(
        (code(&error), error.labels().len()),
        (CauseCode::HelloFailed, 0)
    );
}

/// Answers hello as a standalone of MongoDB 7.
fn hello(counter: i64) -> Document {
    doc! {
        "ismaster": true, "helloOk": true, "minWireVersion": 0, "maxWireVersion": 21, "ok": 1.0,
        "topologyVersion": { "processId": ObjectId::from_bytes([7; 12]), "counter": counter },
    }
}

/// Answers one request; returns true if the next reply is pushed.
fn answer(
    socket: &mut impl Write,
    to: i32,
    own: i32,
    op_code: i32,
    document: &Document,
    more: bool,
) -> bool {
    let payload = match op_code {
        OP_REPLY => encode_reply(document),
        _ => {
            let flags = if more { MORE_TO_COME } else { 0 };
            [&flags.to_le_bytes()[..], &[0], &document.to_vec().unwrap()].concat()
        }
    };
    let frame = Frame {
        request_id: own,
        response_to: to,
        op_code,
        payload,
    };
    socket.write_all(&frame.encode()).is_ok()
}

/// A server that pushes replies to each hello that waits, without pause and each of another state; and their number.
fn flooding() -> (Stranger, Arc<AtomicUsize>) {
    let pushed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pushed);
    let server = Stranger::start(move |mut socket, _| {
        let counter = AtomicUsize::new(0);
        let next = || i64::try_from(counter.fetch_add(1, Ordering::Relaxed)).unwrap();
        serve(&mut socket, &count, next);
    });
    (server, pushed)
}

fn serve(socket: &mut (impl Read + Write), pushed: &AtomicUsize, next: impl Fn() -> i64) {
    while let Ok(Some(request)) = Frame::read(socket) {
        let (id, is_msg) = (request.request_id, request.op_code == OP_MSG);
        let op_code = if is_msg { OP_MSG } else { OP_REPLY };
        let waits = request
            .payload
            .windows(14)
            .any(|it| it == b"maxAwaitTimeMS");
        if !waits {
            answer(socket, id, 1, op_code, &hello(next()), false);
            continue;
        }
        let (mut to, mut own) = (id, 1000);
        while answer(socket, to, own, OP_MSG, &hello(next()), true) {
            pushed.fetch_add(1, Ordering::Relaxed);
            (to, own) = (own, own + 1);
        }
        return;
    }
}

#[test]
fn a_server_that_pushes_without_pause_is_polled() {
    let (server, pushed) = flooding();
    let checks = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&checks);
    let uri = format!("mongodb://{}/?heartbeatFrequencyMS=500", server.addr());
    let options = ConnectionString::parse(&uri)
        .unwrap()
        .into_builder()
        .event_listener_for(&[EventKind::Sdam], move |event| {
            let Event::Sdam(event) = event else { return };
            if let SdamEventKind::ServerHeartbeatSucceeded { awaited, .. } = event.kind {
                told.lock().unwrap().push((awaited, Instant::now()));
            }
        })
        .build()
        .unwrap();
    let client = Client::with_options(options).unwrap();
    expect_ready(&client);
    thread::sleep(Duration::from_secs(4));
    let checks = checks.lock().unwrap();
    let (awaited, polled): (Vec<(bool, Instant)>, Vec<_>) =
        checks.iter().copied().partition(|(awaited, _)| *awaited);
    // The burst that is allowed, once.
    assert!((40..=70).contains(&awaited.len()), "{}", awaited.len());
    assert!((3..=12).contains(&polled.len()), "{}", polled.len());
    let last = awaited.last().unwrap().1;
    assert!(polled.iter().filter(|(_, at)| *at > last).count() >= 2);
    // The server pushes no more: the connection was closed.
    let before = pushed.load(Ordering::Relaxed);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(pushed.load(Ordering::Relaxed), before);
}

#[test]
fn waits_of_a_listener_are_limited_per_command() {
    let server = Server::builder().start();
    let own = Arc::new(std::sync::OnceLock::<Client>::new());
    let (to_use, failures) = (Arc::clone(&own), Arc::new(Mutex::new(Vec::new())));
    let store = Arc::clone(&failures);
    let uri = format!(
        "{}?maxPoolSize=1&serverMonitoringMode=poll&heartbeatFrequencyMS=60000",
        server.uri()
    );
    thread_local!(static NESTED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    let options = ConnectionString::parse(&uri)
        .unwrap()
        .into_builder()
        .event_listener_for(&[EventKind::Pool, EventKind::Command], move |_| {
            let Some(client) = to_use.get().filter(|_| !NESTED.replace(true)) else {
                return;
            };
            store.lock().unwrap().extend(ping_on(client).err());
            NESTED.set(false);
        })
        .build()
        .unwrap();
    let client = Client::with_options(options).unwrap();
    expect_ready(&client);
    own.set(client.clone()).unwrap();
    for _ in 0..2 {
        let begun = Instant::now();
        ping_on(&client).unwrap();
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(1900) && took < Duration::from_secs(5),
            "{took:?}"
        );
    }
    let failures = failures.lock().unwrap();
    assert!(failures.len() >= 4, "{failures:?}");
    for error in failures.iter() {
        let text = error.to_string();
        assert!(
            text.contains("after 2 s (the limit of an event listener)"),
            "{text}"
        );
    }
}
