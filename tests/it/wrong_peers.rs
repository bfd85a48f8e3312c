//! Peers that do not match the connection string: MongoDB without TLS or with it, other servers, no listener.
//!
//! A server that does not answer a ClientHello is tested with one hello in the clear, which has a separate limit. The
//! banner or alert of another protocol is recognised at once.

use std::io::{Read, Write};
use std::time::Duration;

use mongotls::bson::doc;
use mongotls::error::Stage;
use mongotls::{CauseCode, Client, ErrorKind};
use mongotls_testbench::fault::{Action, Fault, Layer};
use mongotls_testbench::net::Stop;
use mongotls_testbench::server::{ReplyFault, Server};
use mongotls_testbench::stranger::{self, Stranger};

use crate::common::{Bench, at_limit, code, expect_open, fact, ping_on, timed};
use crate::target::{FAR, LIMIT, at_rest, attempt_error, for_each, trickle, waiting_error};

// --- the test of a server that does not answer a ClientHello ---

#[test]
fn one_plain_hello_detects_a_server_without_tls() {
    // A tenth of it is for the hello in the clear: enough on a busy machine.
    let limit = Duration::from_millis(2000);
    let server = Server::builder().start();
    let uri = format!(
        "{}?tls=true&tlsInsecure=true&connectTimeoutMS=2000",
        server.uri()
    );
    // A mongod takes the ClientHello for the start of a long message and waits for the rest, or closes if that message
    // would be too long; this one waits.
    server.faults().next(1, Fault::ignore_after(0));
    let client = Client::connect(&uri).unwrap();
    let error = at_limit(limit, || ping_on(&client)).unwrap_err();
    assert_eq!(
        (code(&error), error.stage(), error.kind()),
        (CauseCode::ServerNotTls, Some(Stage::Tls), ErrorKind::Tls),
        "{error}"
    );
    assert_eq!(fact(&error, "looks_like"), "MongoDB in the clear");
    assert_eq!(server.counts().accepted, 2);
    let commands = server.commands();
    let [hello] = commands.as_slice() else {
        panic!("{commands:?}");
    };
    assert_eq!(
        (
            hello.name.as_str(),
            hello.database.as_str(),
            hello.is_legacy()
        ),
        ("hello", "admin", false)
    );
    assert_eq!(hello.body, doc! { "hello": 1, "$db": "admin" });

    // One test in ten seconds is enough: a server with problems gets no further load, and the last result is used.
    server.faults().all(Fault::ignore_after(0));
    let tried_again = server.wait_until(FAR, |server| {
        let error = ping_on(&client).unwrap_err();
        assert_eq!(code(&error), CauseCode::ServerNotTls, "{error}");
        server.counts().accepted == 3
    });
    assert!(tried_again, "{:?}", server.counts());
    assert_eq!(server.commands().len(), 1);
    drop(client);
    expect_open(&server, 0);
}

#[test]
fn the_plain_hello_is_tried_after_an_empty_close() {
    let bench = Bench::sound();
    let client = at_rest(&bench.uri("&maxAdaptiveRetries=0"));
    bench.server.forget_commands();
    // The monitor's connection was the first one.
    for accepted in [3, 4] {
        bench.server.faults().next(1, Fault::close_after(0));
        let error = ping_on(&client).unwrap_err();
        assert_eq!(
            (code(&error), error.stage()),
            (CauseCode::ConnectionClosed, Some(Stage::Tls)),
            "{error}"
        );
        assert_eq!(fact(&error, "received_bytes"), "0");
        assert_eq!(bench.server.counts().accepted, accepted);
    }
    assert!(bench.server.commands().is_empty());
    ping_on(&client).unwrap();

    let server = Server::builder().start();
    server.faults().next(1, Fault::close_after(0));
    let uri = format!("{}?tls=true&tlsInsecure=true", server.uri());
    let error = timed(Duration::ZERO, FAR, || {
        ping_on(&Client::connect(&uri).unwrap())
    })
    .unwrap_err();
    assert_eq!(code(&error), CauseCode::ServerNotTls, "{error}");
    assert_eq!(fact(&error, "looks_like"), "MongoDB in the clear");
}

#[test]
fn the_hello_in_the_clear_is_not_tried_where_tls_was_answered() {
    let ends = [Action::Stall, trickle(100), Action::Close, Action::Reset];
    for_each(ends, |action| {
        let bench = Bench::sound();
        bench
            .server
            .faults()
            .next(1, Fault::new(100, action.clone()));
        let error = attempt_error(&bench.uri_for("127.0.0.1", "&connectTimeoutMS=400"));
        assert_eq!(error.stage(), Some(Stage::Tls), "{action:?}: {error}");
        assert_eq!(bench.server.counts().accepted, 1, "{action:?}: {error}");
    });
}

#[test]
fn the_hello_in_the_clear_has_a_limit_of_its_own() {
    for action in [Action::Stall, trickle(30)] {
        let server = Server::builder().start();
        server.faults().next(1, Fault::ignore_after(0));
        server.faults().next(1, Fault::new(0, action));
        let uri = format!(
            "{}?tls=true&tlsInsecure=true&connectTimeoutMS={}",
            server.uri(),
            LIMIT.as_millis()
        );
        let error = at_limit(LIMIT, || attempt_error(&uri));
        assert_eq!(code(&error), CauseCode::HandshakeTimeout, "{error}");
        // The server's own thread may be late to accept.
        assert!(server.wait_until(FAR, |server| server.counts().accepted == 2));
    }
}

// --- peers that are not MongoDB ---

#[test]
fn a_port_on_which_nobody_listens_refuses() {
    for tls in ["false", "true&tlsInsecure=true"] {
        let address = stranger::nobody();
        let uri = format!("mongodb://{address}/?tls={tls}");
        let error = timed(Duration::ZERO, FAR, || attempt_error(&uri));
        assert_eq!(
            (code(&error), error.stage(), error.kind()),
            (
                CauseCode::ConnectionRefused,
                Some(Stage::Connect),
                ErrorKind::Network
            )
        );
        // A client waits for a listener to start there.
        let waiting = timed(LIMIT, FAR, || waiting_error(&uri));
        assert_eq!(code(&waiting), CauseCode::ConnectionRefused);
        for error in [error, waiting] {
            assert_eq!(fact(&error, "server"), address.to_string());
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
    }
}

#[test]
fn other_protocols_are_recognised_at_once() {
    const SSH: &[u8] = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";
    const SHORT_SSH: &[u8] = b"SSH-2.0-x\r\n";
    const SMTP: &[u8] = b"220 mx ESMTP\r\n";
    type Start = fn() -> Stranger;
    let cases: [(&str, Start, &str); 4] = [
        ("a web server", stranger::http_server, "HTTP"),
        ("an SSH server", || stranger::banner(SSH), "SSH"),
        (
            "an SSH server with a short banner",
            || stranger::banner(SHORT_SSH),
            "SSH",
        ),
        ("a mail server", || stranger::banner(SMTP), "220 mx ESMTP"),
    ];
    for (name, start, looks_like) in cases {
        for (tls, expected, stage) in [
            (
                "tls=true&tlsInsecure=true",
                CauseCode::ServerNotTls,
                Stage::Tls,
            ),
            ("tls=false", CauseCode::NotMongodb, Stage::Hello),
        ] {
            let server = start();
            let client = Client::connect(&format!("mongodb://{}/?{tls}", server.addr())).unwrap();
            let error = timed(Duration::ZERO, FAR, || ping_on(&client)).expect_err(name);
            assert_eq!(
                (code(&error), error.stage()),
                (expected, Some(stage)),
                "{name}: {error}"
            );
            assert!(
                fact(&error, "looks_like").contains(looks_like),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn another_protocol_over_tls_is_not_mongodb() {
    for (bytes, looks_like) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP"),
        (b"HTTP/1.1", "HTTP"),
        (b"* OK IMAP4rev1 ready\r\n", "IMAP4"),
    ] {
        let bench = Bench::sound();
        bench
            .server
            .faults()
            .all(Fault::garbage_after(0, bytes).on(Layer::Message));
        let error = timed(Duration::ZERO, FAR, || ping_on(&bench.client(""))).unwrap_err();
        assert_eq!(
            (code(&error), error.stage(), error.kind()),
            (
                CauseCode::NotMongodb,
                Some(Stage::Hello),
                ErrorKind::Protocol
            ),
            "{error}"
        );
        assert!(fact(&error, "looks_like").contains(looks_like), "{error}");
    }
}

#[test]
fn a_server_that_requires_tls_is_detected() {
    /// Fatal, protocol_version.
    const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 70];
    // OpenSSL and mongod close without an alert, others send one first.
    let bench = Bench::sound();
    let closes = Stranger::start(|mut socket, _| drop(socket.read(&mut [0; 1024])));
    // Some keep the connection open after their alert.
    let lingers = Stranger::start(|mut socket, stop: &Stop| {
        let _ = socket.read(&mut [0; 1024]);
        let _ = socket.write_all(ALERT);
        stop.wait_for_ever();
    });
    let alerts = Stranger::start(|mut socket, _| {
        let _ = socket.read(&mut [0; 1024]);
        let _ = socket.write_all(ALERT);
    });
    let resets = Stranger::start(|mut socket, _| {
        let _ = socket.read(&mut [0; 1024]);
        socket.reset_on_close();
    });
    for (name, address) in [
        ("OpenSSL", bench.server.addr()),
        ("close", closes.addr()),
        ("alert and close", alerts.addr()),
        ("reset", resets.addr()),
        ("alert", lingers.addr()),
    ] {
        let uri = format!("mongodb://{address}/?tls=false&connectTimeoutMS=400");
        let error = timed(Duration::ZERO, Duration::from_millis(540), || {
            attempt_error(&uri)
        });
        assert_eq!(
            (code(&error), error.stage(), error.kind()),
            (
                CauseCode::ServerRequiresTls,
                Some(Stage::Hello),
                ErrorKind::Tls
            ),
            "{name}: {error}"
        );
        assert!(
            error.cause().unwrap().remedy().contains("tls=true"),
            "{name}"
        );
    }
    assert!(bench.server.commands().is_empty());
}

#[test]
fn a_reply_is_not_taken_for_tls_by_its_length() {
    // 790 bytes: the first bytes of the little-endian length are those of a handshake record of SSL 3.0.
    const LENGTH: usize = 790;
    let padding = |length: usize| " ".repeat(LENGTH.checked_sub(length).unwrap());
    let server = Server::builder().start();
    server.set_hello(|hello| drop(hello.extra.insert("padding", "")));
    let client = at_rest(&format!("{}?", server.uri()));
    client.server_report().unwrap();
    let client = client.database("db");
    let echo = |text: String| client.run_command(doc! { "benchEcho": text });
    let sent = || usize::try_from(server.counts().sent).unwrap();
    // The monitor's and the program's.
    let hello = sent() / 2;
    echo(String::new()).unwrap();
    let reply = sent() - 2 * hello;

    server.spoil_replies("benchEcho", 1, ReplyFault::WrongResponseTo);
    let before = sent();
    let error = echo(padding(reply)).unwrap_err();
    assert_eq!(sent() - before, LENGTH);
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::ProtocolError, Some(Stage::Command)),
        "{error}"
    );

    server.set_hello(|of_server| drop(of_server.extra.insert("padding", padding(hello))));
    let others = Server::builder().hello(server.hello()).start();
    others.spoil_replies("isMaster", 1, ReplyFault::WrongResponseTo);
    let error = attempt_error(&others.uri());
    assert_eq!(others.counts().sent, LENGTH as u64);
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::NotMongodb, Some(Stage::Hello)),
        "{error}"
    );
}
