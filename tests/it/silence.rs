//! Servers that are silent or slow: each attempt ends at its limit, and the error names the limit.
//!
//! A connection attempt ends in every phase, from the handshake to the reply to hello, and a command while it is sent
//! or its reply is read. Neither an occasional byte nor a server that reads slowly extends a limit.

use std::io::{Read, Write};
use std::time::Duration;

use mongotls::bson::spec::BinarySubtype;
use mongotls::bson::{Binary, Document, doc, rawdoc};
use mongotls::error::Stage;
use mongotls::{CauseCode, Client, Command, Error, ErrorKind};
use mongotls_testbench::fault::{Action, Fault, Layer};
use mongotls_testbench::proxy::Proxy;
use mongotls_testbench::server::ReplyFault;
use mongotls_testbench::stranger::Stranger;
use mongotls_testbench::wire::{Frame, Msg, OP_MSG};

use crate::common::{at_limit, code, fact, ping_on};
use crate::target::{LIMIT, Target, for_each, trickle};

/// A ping with a separate limit.
fn ping_within(client: &Client, limit: Duration) -> Result<Document, Error> {
    let ping = Command::from(doc! { "ping": 1 }).timeout(limit);
    client.database("admin").run_command(ping)
}

#[test]
fn connect_timeout_ends_a_hang_at_any_stage() {
    let stall = || Action::Stall;
    let cases = [
        (
            "accepts and is silent",
            true,
            Layer::Tcp,
            0,
            stall(),
            Stage::Tls,
        ),
        (
            "silent in the handshake",
            true,
            Layer::Tcp,
            100,
            stall(),
            Stage::Tls,
        ),
        (
            "trickles the handshake, a byte in 100 ms",
            true,
            Layer::Tcp,
            0,
            trickle(100),
            Stage::Tls,
        ),
        (
            "trickles the handshake, a byte in 600 ms",
            true,
            Layer::Tcp,
            0,
            trickle(600),
            Stage::Tls,
        ),
        (
            "trickles the end of the handshake, a byte in 100 ms",
            true,
            Layer::Tcp,
            300,
            trickle(100),
            Stage::Tls,
        ),
        (
            "trickles the end of the handshake, a byte in 600 ms",
            true,
            Layer::Tcp,
            300,
            trickle(600),
            Stage::Tls,
        ),
        (
            "silent after TLS",
            true,
            Layer::Message,
            0,
            stall(),
            Stage::Hello,
        ),
        (
            "silent in hello, on TLS",
            true,
            Layer::Message,
            20,
            stall(),
            Stage::Hello,
        ),
        (
            "trickles hello, on TLS, a byte in 100 ms",
            true,
            Layer::Message,
            0,
            trickle(100),
            Stage::Hello,
        ),
        (
            "trickles hello, on TLS, a byte in 600 ms",
            true,
            Layer::Message,
            0,
            trickle(600),
            Stage::Hello,
        ),
        (
            "accepts and is silent, plain",
            false,
            Layer::Tcp,
            0,
            stall(),
            Stage::Hello,
        ),
        (
            "silent in hello, plain",
            false,
            Layer::Tcp,
            50,
            stall(),
            Stage::Hello,
        ),
        (
            "trickles hello, plain, a byte in 100 ms",
            false,
            Layer::Tcp,
            0,
            trickle(100),
            Stage::Hello,
        ),
        (
            "trickles hello, plain, a byte in 600 ms",
            false,
            Layer::Tcp,
            0,
            trickle(600),
            Stage::Hello,
        ),
    ];
    // Made in advance: keys and certificates take time that would be measured.
    let cases = cases.map(|case| {
        let target = Target::without_tickets(case.1);
        let limited = target.settled(&format!(
            "connectTimeoutMS={}&maxAdaptiveRetries=0",
            LIMIT.as_millis()
        ));
        let patient = target.settled("connectTimeoutMS=60000&maxAdaptiveRetries=0");
        (target, limited, patient, case)
    });
    for_each(cases, |(target, limited, patient, case)| {
        let (name, _, layer, after, action, stage) = case;
        target
            .server()
            .faults()
            .all(Fault::new(after, action).on(layer));

        let error = at_limit(LIMIT, || ping_on(&limited)).expect_err(name);
        assert_eq!(
            (error.kind(), code(&error), error.stage()),
            (ErrorKind::Timeout, CauseCode::HandshakeTimeout, Some(stage)),
            "{name}: {error}"
        );
        assert_eq!(fact(&error, "option"), "connectTimeoutMS", "{name}");
        assert_eq!(fact(&error, "limit_ms"), "800", "{name}");
        assert!(
            error.to_string().contains("800 ms (connectTimeoutMS)"),
            "{error}"
        );

        // The limit of a call covers connecting too.
        let error = at_limit(LIMIT, || ping_within(&patient, LIMIT)).expect_err(name);
        assert_eq!(
            (error.kind(), code(&error), error.stage()),
            (ErrorKind::Timeout, CauseCode::HandshakeTimeout, Some(stage)),
            "{name}: {error}"
        );
        assert_eq!(
            fact(&error, "option"),
            "the time limit of the call",
            "{name}"
        );
    });
}

#[test]
fn a_command_times_out_wherever_its_reply_hangs() {
    let limit = LIMIT.as_millis();
    let cut = |after, action| ReplyFault::Cut { after, action };
    let faults = [
        ("no reply", ReplyFault::Silence),
        ("silent in the header", cut(7, Action::Stall)),
        ("silent in the document", cut(30, Action::Stall)),
        ("a byte in 100 ms", cut(0, trickle(100))),
        ("a byte in 600 ms", cut(0, trickle(600))),
        (
            "a reply that is shorter than it says",
            ReplyFault::DeclaredLength(47_999_999),
        ),
    ];
    let limits = [
        (
            format!("socketTimeoutMS={limit}"),
            None,
            "800 ms (socketTimeoutMS)",
        ),
        (format!("timeoutMS={limit}"), None, "800 ms (timeoutMS)"),
        (
            "socketTimeoutMS=60000".to_owned(),
            Some(LIMIT),
            "800 ms (the time limit of the call)",
        ),
    ];
    for (options, of_call, named) in &limits {
        let cases = faults
            .iter()
            .flat_map(|(name, fault)| [(name, fault, true), (name, fault, false)])
            .map(|(name, fault, tls)| {
                let target = Target::new(tls);
                let client = target.client(options);
                ping_on(&client).unwrap();
                (target, client, name, fault, tls)
            });
        let cases: Vec<_> = cases.collect();
        for_each(cases, |(target, client, name, fault, tls)| {
            target.server().spoil_replies("ping", 1, fault.clone());
            let error = at_limit(LIMIT, || match of_call {
                Some(limit) => ping_within(&client, *limit),
                None => ping_on(&client),
            })
            .expect_err(name);
            assert_eq!(
                (error.kind(), error.stage()),
                (ErrorKind::Timeout, Some(Stage::Command)),
                "{name}, TLS {tls}: {error}"
            );
            assert!(
                error.to_string().contains(named),
                "{name}, TLS {tls}: {error}"
            );
            assert!(error.to_string().contains("\"ping\""), "{error}");
            // The rest of the reply is not read as the next one.
            ping_on(&client).unwrap();
            let connections = target.server().program_connections();
            assert_eq!(connections.len(), 2, "{name}, TLS {tls}");
        });
    }
}

#[test]
fn a_large_command_times_out_if_the_server_stops_reading() {
    for_each([true, false], |tls| {
        let target = Target::new(tls);
        let proxy = Proxy::start(target.server().endpoint());
        let port = format!(":{}/", target.server().port());
        let options = format!("socketTimeoutMS={}", LIMIT.as_millis());
        let uri = match &target.bench {
            Some(bench) => bench.uri_for("127.0.0.1", &format!("&{options}")),
            None => format!("{}?{options}", target.server().uri()),
        };
        let client =
            Client::connect(&uri.replace(&port, &format!(":{}/", proxy.addr().port()))).unwrap();
        ping_on(&client).unwrap();

        let insert = insert_of_20_mb();
        proxy.pause();
        let error = at_limit(LIMIT, || client.database("db").run_command(insert)).unwrap_err();
        assert_eq!(
            (error.kind(), error.stage()),
            (ErrorKind::Timeout, Some(Stage::Command))
        );
        assert!(
            error
                .to_string()
                .contains("\"insert\" took longer than 800 ms (socketTimeoutMS)"),
            "{error}"
        );
        proxy.resume();

        ping_on(&client).unwrap();
        assert_eq!(target.server().documents("db.things").len(), 0, "TLS {tls}");
    });
}

#[test]
fn a_slow_reader_does_not_extend_the_limit() {
    let server = Stranger::start(|mut socket, stop| {
        answer_hello(&mut socket);
        let mut taken = vec![0; 64 << 10];
        while socket.read(&mut taken).is_ok_and(|count| count > 0) {
            if stop.wait(Duration::from_millis(50)) {
                break;
            }
        }
    });
    let uri = format!(
        "mongodb://{}/?socketTimeoutMS={}",
        server.addr(),
        LIMIT.as_millis()
    );
    let client = Client::connect(&uri).unwrap();
    client.server_report().unwrap();
    let insert = insert_of_20_mb();
    let error = at_limit(LIMIT, || client.database("db").run_command(insert)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("socketTimeoutMS"), "{error}");
}

/// An insert of 20 documents of a megabyte each.
fn insert_of_20_mb() -> Command {
    let binary = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![7; 1_000_000],
    };
    let document = rawdoc! { "payload": binary };
    Command::from(doc! { "insert": "things" })
        .documents("documents", std::iter::repeat_n(&document, 20))
}

/// Reads a legacy hello and answers as a standalone does.
fn answer_hello(socket: &mut (impl Read + Write)) {
    let Ok(Some(hello)) = Frame::read(socket) else {
        return;
    };
    let answer = doc! { "ismaster": true, "minWireVersion": 0, "maxWireVersion": 21, "ok": 1.0 };
    let reply = Frame {
        request_id: 1,
        response_to: hello.request_id,
        op_code: OP_MSG,
        payload: Msg::of(answer).encode(),
    };
    // An error means that the client has disconnected.
    let _ = socket.write_all(&reply.encode());
}
