//! Invalid bytes and replies: garbage, messages that break the protocol, and documents with invalid contents.
//!
//! Garbage and broken messages end only their connection. After a complete message the connection stays usable,
//! whatever its document contains.

use std::io::Write;
use std::time::Duration;

use mongotls::bson::{Document, RawDocumentBuf, doc};
use mongotls::error::Stage;
use mongotls::{CauseCode, ErrorKind};
use mongotls_testbench::fault::{Action, Fault};
use mongotls_testbench::server::{ReplyFault, Server};
use mongotls_testbench::wire::{EXHAUST_ALLOWED, Frame, OP_MSG, OP_REPLY};
use openssl::ssl::SslVersion;

use crate::common::{code, expect_program_open, ping_on, plain_client, timed};
use crate::target::{FAR, Lengths, Target, attempt_error, checked, for_each, steady};

// --- garbage ---

#[test]
fn garbage_in_the_handshake_ends_with_a_cause_of_its_own() {
    let bench = steady(SslVersion::TLS1_3);
    let lengths = Lengths::measure(
        Some(&bench),
        &bench.server,
        &checked(&bench.uri_for("127.0.0.1", "")),
    );
    let kinds: [(&str, Vec<u8>); 5] = [
        ("ones", vec![0xff; 64]),
        ("zeros", vec![0; 64]),
        ("text", b"HTTP/1.1 502 Bad Gateway\r\n\r\n".to_vec()),
        (
            "a record without an end",
            [&[22, 3, 3, 0x3f, 0xff][..], &[0; 64]].concat(),
        ),
        (
            "records of rubbish",
            [&[22, 3, 3, 0, 32][..], &[0xab; 32]].concat().repeat(4),
        ),
    ];
    let places = [
        0,
        1,
        5,
        6,
        50,
        200,
        // The last record's whole tag: a single byte may be correct by chance.
        lengths.handshake - 16,
        lengths.handshake,
    ];
    for_each(kinds, |(name, garbage)| {
        for after in places {
            let bench = steady(SslVersion::TLS1_3);
            bench
                .server
                .faults()
                .all(Fault::garbage_after(after, garbage.clone()));
            let uri = bench.uri_for("127.0.0.1", "&connectTimeoutMS=400");
            let error = timed(Duration::ZERO, Duration::from_millis(540), || {
                attempt_error(&uri)
            });
            let stage = error.stage().unwrap();
            assert_eq!(stage, lengths.stage(after), "{name} after {after}: {error}");
            let seen = code(&error);
            let expected: &[CauseCode] = match (after, name) {
                (0, "ones" | "zeros" | "text") | (1, _) => &[CauseCode::ServerNotTls],
                // Either the bytes are invalid, or they announce more than follows.
                (..=300, _) => &[CauseCode::TlsAlert, CauseCode::HandshakeTimeout],
                // Bytes without valid encryption are rejected.
                _ => &[CauseCode::TlsAlert],
            };
            assert!(
                expected.contains(&seen),
                "{name} after {after}: {seen} {error}"
            );
        }
    });
}

#[test]
fn garbage_after_the_handshake_ends_with_a_cause() {
    for tls in [true, false] {
        let target = Target::new(tls);
        let client = target.client("socketTimeoutMS=5000");
        ping_on(&client).unwrap();
        let action = Action::Garbage(vec![0xee; 100]);
        for after in [0, 3, 4, 15, 16, 21, 24] {
            target.server().spoil_replies(
                "ping",
                1,
                ReplyFault::Cut {
                    after,
                    action: action.clone(),
                },
            );
            let error = timed(Duration::ZERO, FAR, || ping_on(&client)).unwrap_err();
            assert_eq!(
                (code(&error), error.kind(), error.stage()),
                (
                    CauseCode::ProtocolError,
                    ErrorKind::Protocol,
                    Some(Stage::Command)
                ),
                "after {after}: {error}"
            );
            ping_on(&client).unwrap();
        }
        expect_program_open(target.server(), 1);
    }
}

// --- replies that break the protocol ---

/// Replies to a command that break one rule each, with a word of the error's text.
fn broken_replies() -> Vec<(ReplyFault, &'static str)> {
    use ReplyFault as R;
    vec![
        (R::WrongResponseTo, "answers request"),
        (R::DeclaredLength(i32::MAX), "2147483647 bytes"),
        (R::DeclaredLength(48_000_001), "48000001 bytes"),
        (R::DeclaredLength(i32::MIN), "-2147483648 bytes"),
        (R::DeclaredLength(-1), "-1 bytes"),
        (R::DeclaredLength(0), "0 bytes"),
        (R::DeclaredLength(15), "15 bytes"),
        (R::DeclaredLength(25), "25 bytes"),
        (R::DeclaredLength(30), "length of the document"),
        (R::OpCode(0), "opcode 0"),
        (R::OpCode(OP_REPLY), "opcode 1"),
        (R::OpCode(2012), "opcode 2012"),
        (R::OpCode(-1), "opcode -1"),
        (R::Truncated(1), "length of the document"),
        (R::Truncated(1000), "16 bytes"),
        (R::Flags(1 << 2), "flags 0x4"),
        (R::Flags(1 << 15), "flags 0x8000"),
        (R::MoreToCome, "flags 0x2"),
        (R::TrailingBytes(1), "section of kind 0"),
        (R::TrailingBytes(100), "section of kind 0"),
        (R::TwoBodies, "section of kind 0"),
        (
            R::Replace(b"HTTP/1.1 502 Bad Gateway\r\n\r\n".to_vec()),
            "HTTP",
        ),
        (R::Replace(vec![0; 64]), "0 bytes"),
        (R::Replace(vec![0xff; 4]), "-1 bytes"),
    ]
}

#[test]
fn a_reply_that_breaks_the_protocol_costs_its_connection() {
    for tls in [true, false] {
        let target = Target::new(tls);
        let client = target.client("socketTimeoutMS=5000");
        ping_on(&client).unwrap();
        for (accepted, (fault, text)) in (2..).zip(broken_replies()) {
            target.server().spoil_replies("ping", 1, fault.clone());
            let error = timed(Duration::ZERO, FAR, || ping_on(&client)).expect_err(text);
            assert_eq!(
                (error.kind(), code(&error), error.stage()),
                (
                    ErrorKind::Protocol,
                    CauseCode::ProtocolError,
                    Some(Stage::Command)
                ),
                "{fault:?}: {error}"
            );
            assert!(error.to_string().contains(text), "{fault:?}: {error}");
            ping_on(&client).unwrap();
            assert_eq!(
                target.server().program_connections().len(),
                accepted,
                "{fault:?}"
            );
        }
        expect_program_open(target.server(), 1);
    }
}

#[test]
fn an_answer_to_hello_that_breaks_the_protocol_is_not_mongodb() {
    let mut faults = broken_replies();
    // This one shows that the server is too old.
    faults.retain(|(fault, _)| !matches!(fault, ReplyFault::OpCode(OP_REPLY)));
    for tls in [true, false] {
        let target = Target::new(tls);
        for (fault, text) in &faults {
            target.server().spoil_replies("isMaster", 1, fault.clone());
            let error = timed(Duration::ZERO, FAR, || attempt_error(&target.uri("")));
            assert_eq!(
                (error.kind(), code(&error), error.stage()),
                (
                    ErrorKind::Protocol,
                    CauseCode::NotMongodb,
                    Some(Stage::Hello)
                ),
                "{fault:?}: {error}"
            );
            assert!(error.to_string().contains(text), "{fault:?}: {error}");
        }
        assert!(target.server().program_connections().is_empty());
    }
}

#[test]
fn valid_reply_variants_keep_the_connection() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    for fault in [
        ReplyFault::Checksum { valid: true },
        // TCP and TLS protect the bytes; OP_MSG does not require the check.
        ReplyFault::Checksum { valid: false },
        // Flags from bit 16 on are optional.
        ReplyFault::Flags(EXHAUST_ALLOWED),
        ReplyFault::Flags(1 << 31),
    ] {
        server.spoil_replies("ping", 1, fault.clone());
        let reply = ping_on(&client).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(reply, doc! { "ok": 1.0 });
    }
    assert_eq!(server.program_connections().len(), 1);
}

#[test]
fn a_second_reply_is_not_taken_for_the_next_ones() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    client.server_report().unwrap();
    let id = server.commands()[0].request_id + 1;
    let body = RawDocumentBuf::try_from(&doc! { "stale": true, "ok": 1.0 }).unwrap();
    let frame = Frame {
        request_id: 1,
        response_to: id,
        op_code: OP_MSG,
        payload: [&[0; 5][..], body.as_bytes()].concat(),
    };
    server.spoil_replies("ping", 1, ReplyFault::Replace(frame.encode().repeat(2)));
    assert!(ping_on(&client).unwrap().contains_key("stale"));
    let error = ping_on(&client).unwrap_err();
    assert_eq!(
        (error.kind(), code(&error)),
        (ErrorKind::Protocol, CauseCode::ProtocolError)
    );
    assert!(
        error.to_string().contains(&format!("answers request {id}")),
        "{error}"
    );
    assert_eq!(ping_on(&client).unwrap(), doc! { "ok": 1.0 });
}

// --- replies with invalid contents ---

/// Answers the next `ping` on the program's single connection with this document, which may be invalid. The client
/// polls, so that the last command is the program's, or a first hello.
fn answer_ping_with(server: &Server, document: &[u8]) {
    let last = server
        .commands()
        .pop()
        .map_or(0, |command| command.request_id);
    let frame = Frame {
        request_id: 1,
        response_to: last + 1,
        op_code: OP_MSG,
        payload: [&[0; 5][..], document].concat(),
    };
    server.spoil_replies("ping", 1, ReplyFault::Replace(frame.encode()));
}

/// `{ ok: 1, a: … { a: {} } }` with this number of levels below the first.
fn nested(levels: usize) -> Vec<u8> {
    let mut document = vec![5, 0, 0, 0, 0];
    for level in 0..levels {
        let mut outer = vec![0; 4];
        if level + 1 == levels {
            outer.write_all(b"\x10ok\0\x01\0\0\0").unwrap();
        }
        outer.write_all(b"\x03a\0").unwrap();
        outer.write_all(&document).unwrap();
        outer.push(0);
        let length = i32::try_from(outer.len()).unwrap().to_le_bytes();
        outer[..4].copy_from_slice(&length);
        document = outer;
    }
    document
}

#[test]
fn a_reply_of_ten_thousand_levels_is_an_error_and_no_crash() {
    let server = Server::builder().start();
    let client = plain_client(&server, "serverMonitoringMode=poll");
    client.server_report().unwrap();
    let database = client.database("admin");
    let reply = nested(10_000);
    for typed in [false, true] {
        answer_ping_with(&server, &reply);
        let error = if typed {
            database
                .run_command_as::<Document>(doc! { "ping": 1 })
                .unwrap_err()
        } else {
            database.run_command(doc! { "ping": 1 }).unwrap_err()
        };
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(
            error.to_string().contains("nested deeper than 200 levels"),
            "{error}"
        );
    }
    // A caller of the raw API gets raw BSON, and must limit recursion itself.
    answer_ping_with(&server, &reply);
    assert_eq!(
        database
            .run_raw_command(doc! { "ping": 1 })
            .unwrap()
            .as_bytes(),
        reply
    );
    answer_ping_with(&server, &nested(150));
    database.run_command(doc! { "ping": 1 }).unwrap();
    assert_eq!(server.program_connections().len(), 1);
}

#[test]
fn a_reply_that_is_no_valid_bson_is_a_bson_error() {
    let text_at_top = b"\x1a\0\0\0\x10ok\0\x01\0\0\0\x02t\0\x05\0\0\0\xff\xfe\xfd\xfc\0\0";
    let text_below =
        b"\x22\0\0\0\x10ok\0\x01\0\0\0\x03d\0\x11\0\0\0\x02t\0\x05\0\0\0\xff\xfe\xfd\xfc\0\0\0";
    let unknown_kind = b"\x11\0\0\0\x10ok\0\x01\0\0\0\x42t\0\0";
    let text_without_end = b"\x15\0\0\0\x10ok\0\x01\0\0\0\x02t\0\xff\0\0\0";
    let server = Server::builder().start();
    let client = plain_client(&server, "serverMonitoringMode=poll");
    client.server_report().unwrap();
    for (name, reply) in [
        ("text at the top", &text_at_top[..]),
        ("text below", text_below),
        ("unknown kind", unknown_kind),
        ("text without end", text_without_end),
    ] {
        let mut reply = reply.to_vec();
        let length = i32::try_from(reply.len()).unwrap().to_le_bytes();
        reply[..4].copy_from_slice(&length);
        answer_ping_with(&server, &reply);
        let error = ping_on(&client).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Bson, "{name}: {error}");
        assert!(std::error::Error::source(&error).is_some(), "{name}");
        // The message was complete, so the connection is usable.
        ping_on(&client).unwrap();
    }
    assert_eq!(server.program_connections().len(), 1);
}
