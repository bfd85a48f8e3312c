//! Commands and their replies: the sent bytes, the received values, and the server's errors.
//!
//! Replies are tested as documents, as types and raw, and errors of the server completely. Document sequences and the
//! largest command are here too, and commands that are rejected before anything is sent.

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, RawDocumentBuf, doc, rawdoc};
use mongotls::error::Stage;
use mongotls::{CauseCode, Command, ErrorKind, ServerAddress};
use mongotls_testbench::server::{Hello, Server, fail_command};
use serde::Deserialize;

use crate::common::{Bench, expect_program_open, ping_on, plain_client, without_session};
use crate::things::{Thing, with_things};

#[test]
fn a_reply_comes_as_a_document_as_a_type_and_raw() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Echo {
        #[serde(rename = "benchEcho")]
        text: String,
        ok: f64,
    }
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let database = client.database("db");
    let command = doc! { "benchEcho": "ä€𝄞" };

    let document = database.run_command(command.clone()).unwrap();
    assert_eq!(
        without_session(&document),
        doc! { "benchEcho": "ä€𝄞", "$db": "db", "ok": 1.0 }
    );
    let typed: Echo = database.run_command_as(&command).unwrap();
    assert_eq!(
        typed,
        Echo {
            text: "ä€𝄞".into(),
            ok: 1.0
        }
    );
    let raw_command = RawDocumentBuf::try_from(&command).unwrap();
    let raw = database.run_raw_command(&*raw_command).unwrap();
    assert_eq!(raw, RawDocumentBuf::try_from(&document).unwrap());
    let raw = database.run_raw_command(raw_command).unwrap();
    assert_eq!(raw.get_str("benchEcho").unwrap(), "ä€𝄞");
    assert_eq!(server.program_connections().len(), 1);
}

#[test]
fn a_reply_of_another_shape_is_a_bson_error_that_costs_nothing() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let error = client
        .database("db")
        .run_command_as::<Thing>(doc! { "ping": 1 })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bson);
    assert!(error.to_string().contains("Thing"), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("_id"), "{source}");
    ping_on(&client).unwrap();
    assert_eq!(server.program_connections().len(), 1);
}

#[test]
fn a_server_error_is_complete_and_keeps_the_connection() {
    let bench = Bench::sound();
    let client = bench.client("");
    ping_on(&client).unwrap();
    for (code, name, cause) in [
        (13, "Unauthorized", Some(CauseCode::Unauthorized)),
        (112, "WriteConflict", Some(CauseCode::WriteConflict)),
        (262, "ExceededTimeLimit", None),
    ] {
        bench.server.configure_fail_point(&fail_command(
            1,
            &["ping"],
            doc! { "errorCode": code, "errorCodeName": name, "errorLabels": ["RetryableWriteError", "Another"] },
        ));
        let error = ping_on(&client).unwrap_err();
        assert_eq!(
            (error.kind(), error.stage()),
            (ErrorKind::Command, Some(Stage::Command))
        );
        assert_eq!(error.cause().map(mongotls::Cause::code), cause);
        assert!(!error.is_timeout());
        assert_eq!(
            error.server(),
            Some(&ServerAddress::tcp("localhost", bench.server.port()))
        );
        assert_eq!(error.labels(), ["RetryableWriteError", "Another"]);
        assert!(error.has_label("RetryableWriteError") && !error.has_label("Retryable"));
        let failure = error.command().unwrap();
        assert_eq!((failure.code, failure.code_name.as_str()), (code, name));
        assert!(
            failure.message.contains("failCommand"),
            "{}",
            failure.message
        );
        assert_eq!(failure.reply.get_i32("code").unwrap(), code);
        let text = error.to_string();
        assert!(
            text.contains(&format!("error {code} {name}: Failing command")),
            "{text}"
        );
        assert_eq!(ping_on(&client).unwrap(), doc! { "ok": 1.0 });
    }
    assert_eq!(bench.server.program_connections().len(), 1);
}

#[test]
fn a_state_change_closes_connections_only_at_shutdown() {
    let server = Server::builder().start();
    let client = plain_client(&server, "serverMonitoringMode=poll");
    for code in [10107, 13436, 91, 11600] {
        let ends = [91, 11600].contains(&code);
        ping_on(&client).unwrap();
        let failure = doc! { "errorCode": code };
        server.configure_fail_point(&fail_command(1, &["ping"], failure));
        let error = ping_on(&client).unwrap_err();
        assert_eq!(error.command().unwrap().code, code);
        expect_program_open(&server, usize::from(!ends));
        // The error of a write concern reports the same state change, in a successful reply.
        ping_on(&client).unwrap();
        let failure = doc! { "writeConcernError": { "code": code, "errmsg": "x" } };
        server.configure_fail_point(&fail_command(1, &["ping"], failure));
        let reply = ping_on(&client).unwrap();
        assert!(reply.contains_key("writeConcernError"));
        expect_program_open(&server, usize::from(!ends));
    }
    // One connection for the first two, and each close costs one more than remain at the end.
    let connections = server.program_connections().len();
    assert_eq!(connections, 4, "of the first changes, and after each end");
}

#[test]
fn an_error_without_code_or_text_is_an_error_too() {
    for (reply, expected) in [
        (doc! { "ok": 0 }, (0, "", "the server gave no reason")),
        (doc! { "ok": false, "errmsg": "no" }, (0, "", "no")),
        (
            doc! { "ok": 0.0, "code": 8_000_i64, "codeName": "AtlasError", "errmsg": "no" },
            (8000, "AtlasError", "no"),
        ),
        (
            doc! { "ok": "1", "code": "x" },
            (0, "", "the server gave no reason"),
        ),
        (doc! {}, (0, "", "the server gave no reason")),
    ] {
        let answer = reply.clone();
        let server = Server::builder()
            .handle("ping", move |_| Some(answer.clone()))
            .start();
        let error = ping_on(&plain_client(&server, "")).unwrap_err();
        let failure = error.command().unwrap();
        assert_eq!(
            (
                failure.code,
                failure.code_name.as_str(),
                failure.message.as_str()
            ),
            expected,
            "{reply}"
        );
        assert!(error.labels().is_empty());
    }
    for reply in [
        doc! { "ok": 1 },
        doc! { "ok": 1_i64 },
        doc! { "ok": 1.0 },
        doc! { "ok": true },
    ] {
        let answer = reply.clone();
        let server = Server::builder()
            .handle("ping", move |_| Some(answer.clone()))
            .start();
        assert_eq!(ping_on(&plain_client(&server, "")).unwrap(), reply);
    }
}

#[test]
fn write_errors_are_part_of_a_successful_reply() {
    let (server, client) = with_things(2, "");
    let insert = Command::from(doc! { "insert": "things", "ordered": false }).documents(
        "documents",
        [
            rawdoc! { "_id": 1 },
            rawdoc! { "_id": 9 },
            rawdoc! { "_id": 0 },
        ],
    );
    let reply = client.database("db").run_command(insert).unwrap();
    assert_eq!(reply.get_i32("n").unwrap(), 1);
    let errors = reply.get_array("writeErrors").unwrap();
    let places: Vec<_> = errors
        .iter()
        .map(|error| error.as_document().unwrap().get_i32("index").unwrap())
        .collect();
    assert_eq!(places, [0, 2]);

    server.configure_fail_point(&fail_command(
        1,
        &["insert"],
        doc! { "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } },
    ));
    let insert = doc! { "insert": "things", "documents": [{ "_id": 10 }] };
    let reply = client.database("db").run_command(insert).unwrap();
    assert_eq!(
        reply
            .get_document("writeConcernError")
            .unwrap()
            .get_i32("code")
            .unwrap(),
        64
    );
}

#[test]
fn ten_thousand_documents_go_in_one_sequence() {
    let (server, client) = with_things(0, "");
    let things = (0..10_000).map(|id| rawdoc! { "_id": id, "name": "x" });
    let insert =
        Command::from(doc! { "insert": "things", "ordered": false }).documents("documents", things);
    let reply = client.database("db").run_command(insert).unwrap();
    assert_eq!(reply.get_i32("n").unwrap(), 10_000);
    let seen = server.commands_named("insert");
    assert_eq!(seen.len(), 1);
    assert_eq!(
        without_session(&seen[0].body),
        doc! { "insert": "things", "ordered": false, "$db": "db" }
    );
    let [sequence] = seen[0].sequences.as_slice() else {
        panic!("{} sequences", seen[0].sequences.len());
    };
    assert_eq!(
        (sequence.id.as_str(), sequence.documents.len()),
        ("documents", 10_000)
    );
    let stored = server.documents("db.things");
    assert!(
        stored
            .iter()
            .map(|thing| thing.get_i32("_id").unwrap())
            .eq(0..10_000)
    );
}

#[test]
fn several_sequences_keep_their_order_and_may_be_empty() {
    let (server, client) = with_things(0, "");
    let command = Command::from(doc! { "benchEcho": 1 })
        .documents("first", [rawdoc! { "a": 1 }, rawdoc! {}])
        .documents("second", Vec::<RawDocumentBuf>::new())
        .documents("third", [rawdoc! { "c": [1, 2] }]);
    client.database("db").run_command(command).unwrap();
    let seen = &server.commands_named("benchEcho")[0];
    let sequences: Vec<_> = seen
        .sequences
        .iter()
        .map(|s| (s.id.as_str(), s.documents.clone()))
        .collect();
    assert_eq!(
        sequences,
        [
            ("first", vec![doc! { "a": 1 }, doc! {}]),
            ("second", vec![]),
            ("third", vec![doc! { "c": [1, 2] }])
        ]
    );
}

#[test]
fn commands_are_limited_to_the_size_the_server_accepts() {
    const LIMIT: usize = 100_000;
    // Behind a load balancer, where there are no monitors: every byte belongs to a command.
    let hello = Hello {
        max_message_size_bytes: 100_000,
        extra: doc! { "serviceId": ObjectId::new() },
        ..Hello::mongos()
    };
    let server = Server::builder().hello(hello).start();
    let client = plain_client(&server, "loadBalanced=true");
    ping_on(&client).unwrap();
    let insert = |padding: usize, as_sequence: bool| {
        let document = rawdoc! { "x": " ".repeat(padding) };
        let command = Command::from(doc! { "insert": "things" });
        let command = if as_sequence {
            command.documents("documents", [document])
        } else {
            Command::from(
                doc! { "insert": "things", "documents": [Document::try_from(document).unwrap()] },
            )
        };
        client.database("db").run_command(command)
    };
    for as_sequence in [true, false] {
        let before = server.counts().received;
        insert(0, as_sequence).unwrap();
        let overhead = usize::try_from(server.counts().received - before).unwrap();

        let before = server.counts();
        for beyond in [1, 2, 5, 1000, 1_000_000] {
            let error = insert(LIMIT - overhead + beyond, as_sequence).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
            assert!(
                error.to_string().contains("accepts 100000 at most"),
                "{error}"
            );
            assert!(error.cause().is_none());
            assert_eq!(
                error.server(),
                Some(&ServerAddress::tcp("127.0.0.1", server.port()))
            );
        }
        assert_eq!(server.counts(), before, "something was sent");
        insert(LIMIT - overhead, as_sequence).unwrap();
        assert_eq!(server.counts().received - before.received, 100_000);
    }
    ping_on(&client).unwrap();
    assert_eq!(server.program_connections().len(), 1);
}

#[test]
fn no_server_makes_a_command_exceed_the_limit_of_the_protocol() {
    let hello = Hello {
        max_message_size_bytes: i32::MAX,
        ..Hello::default()
    };
    let server = Server::builder().hello(hello).start();
    let client = plain_client(&server, "");
    let document = rawdoc! { "x": " ".repeat(16_000_000) };
    let insert = Command::from(doc! { "insert": "things" }).documents("documents", [&document; 3]);
    let error = client.database("db").run_command(insert).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(
        error.to_string().contains("accepts 48000000 at most"),
        "{error}"
    );
    assert_eq!(server.count_of("insert"), 0);
}

#[test]
fn impossible_commands_fail_before_sending() {
    let (server, client) = with_things(0, "");
    let database = client.database("db");
    let document = [rawdoc! { "_id": 1 }];
    for (command, word) in [
        (Command::from(doc! {}), "empty"),
        (Command::from(rawdoc! {}), "empty"),
        (
            Command::from(doc! { "insert": "c" }).documents("", &document),
            "identifier",
        ),
        (
            Command::from(doc! { "insert": "c" }).documents("docu\0ments", &document),
            "identifier",
        ),
    ] {
        let error = database.run_command(command).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let error = database.run_command(doc! { "pi\0ng": 1 }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bson, "{error}");
    assert_eq!(server.program_connections().len(), 0);
}

/// Services catch the panics of a request, and continue with the client they share.
#[test]
fn clients_and_options_may_be_used_after_a_caught_panic() {
    fn check<T: Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    check::<mongotls::Client>();
    check::<mongotls::Database>();
    check::<mongotls::ClientOptions>();
    check::<mongotls::options::ClientOptionsBuilder>();
    check::<mongotls::options::TlsOptions>();
    check::<mongotls::tls::TlsContext>();
    check::<mongotls::ConnectionString>();
}
