//! OP_COMPRESSED between the client and servers: the negotiation, the compressed messages, and replies with invalid
//! compression.

use std::time::Duration;

use mongotls::bson::{Document, doc, rawdoc};
use mongotls::error::Stage;
use mongotls::options::Compressor as Ours;
use mongotls::{CauseCode, Client, Command, ErrorKind};
use mongotls_testbench::compress::Compressor;
use mongotls_testbench::server::{CompressedFault, Hello, ReplyFault, Server, fail_command};

use crate::common::{code, expect_program_open, ping_on, plain_client, program_commands, timed};
use crate::target::at_rest;

/// A server with these compressors.
fn server_with(compressors: &[Compressor]) -> Server {
    let compressors = compressors.iter().map(|one| one.name().to_owned());
    let hello = Hello {
        compressors: compressors.collect(),
        ..Hello::default()
    };
    Server::builder().hello(hello).start()
}

/// The compressors of the pings that the server received.
fn of_pings(server: &Server) -> Vec<Option<Compressor>> {
    let pings = server.commands_named("ping");
    pings.iter().map(|ping| ping.compressor).collect()
}

// --- negotiation ---

#[test]
fn the_first_common_compressor_is_used() {
    use Compressor::{Snappy, Zlib, Zstd};
    let cases: [(&str, &[Compressor], Option<Compressor>); 8] = [
        ("zstd,zlib,snappy", &Compressor::ALL, Some(Zstd)),
        ("snappy,zlib,zstd", &Compressor::ALL, Some(Snappy)),
        ("zlib,zstd", &[Zstd, Zlib], Some(Zlib)),
        ("zlib,zstd", &[Zstd], Some(Zstd)),
        ("lz4,snappy", &[Snappy], Some(Snappy)),
        ("snappy", &[Zlib, Zstd], None),
        ("snappy", &[], None),
        ("", &Compressor::ALL, None),
    ];
    for (ours, theirs, expected) in cases {
        let server = server_with(theirs);
        let client = plain_client(&server, &format!("compressors={ours}"));
        for _ in 0..2 {
            ping_on(&client).unwrap();
        }
        assert_eq!(of_pings(&server), [expected; 2], "{ours} {theirs:?}");
        let hello = &program_commands(&server)[0];
        assert_eq!(hello.compressor, None);
        let offered = hello.body.get_array("compression").unwrap().iter();
        let offered: Vec<_> = offered.map(|name| name.as_str().unwrap()).collect();
        let known: Vec<_> = ours
            .split(',')
            .filter(|name| !["lz4", ""].contains(name))
            .collect();
        assert_eq!(offered, known);
        let agreed = client.server_report().unwrap().hello.compressors;
        let agreed: Vec<_> = agreed.into_iter().map(Ours::as_str).collect();
        let common: Vec<_> = known
            .into_iter()
            .filter(|name| theirs.iter().any(|one| one.name() == *name))
            .collect();
        assert_eq!(agreed, common);
    }
}

#[test]
fn each_level_of_zlib_makes_what_a_server_reads() {
    let server = server_with(&[Compressor::Zlib]);
    let text = "once upon a time ".repeat(5000);
    let mut sizes = Vec::new();
    for level in [-1, 0, 1, 9] {
        let options = format!("compressors=zlib&zlibCompressionLevel={level}");
        let client = plain_client(&server, &options);
        ping_on(&client).unwrap();
        let before = server.counts().received;
        let reply = client
            .database("db")
            .run_command(doc! { "benchEcho": text.as_str() });
        assert!(reply.unwrap().contains_key("ok"));
        sizes.push(server.counts().received - before);
    }
    let [default, none, fastest, smallest] = sizes[..] else {
        unreachable!()
    };
    let whole = u64::try_from(text.len()).unwrap();
    assert!(none > whole && fastest < whole / 10, "{sizes:?}");
    assert!(smallest <= default && default <= fastest, "{sizes:?}");
}

// --- compressed messages ---

#[test]
fn commands_that_carry_secrets_are_not_compressed() {
    let never = "hello isMaster ismaster saslStart saslContinue getnonce authenticate createUser updateUser \
                 copydbSaslStart copydbgetnonce copydb";
    for compressor in Compressor::ALL {
        let server = server_with(&[compressor]);
        let client = plain_client(&server, &format!("compressors={}", compressor.name()));
        let database = client.database("admin");
        for name in never.split_whitespace() {
            // The bench's reply does not matter.
            let _ = database.run_command(doc! { name: 1 });
            let seen = server.commands_named(name).pop().unwrap();
            assert_eq!(seen.compressor, None, "{name}");
        }
        for name in ["ping", "benchEcho", "usersInfo", "dropUser"] {
            let _ = database.run_command(doc! { name: 1 });
            let seen = server.commands_named(name).pop().unwrap();
            assert_eq!(seen.compressor, Some(compressor), "{name}");
        }
    }
}

#[test]
fn large_inserts_and_cursors_come_through_as_they_are() {
    for compressor in Compressor::ALL {
        let server = server_with(&[compressor]);
        let client = plain_client(&server, &format!("compressors={}", compressor.name()));
        let database = client.database("db");
        let text = "x".repeat(100_000);
        let documents = (0..60).map(|id| rawdoc! { "_id": id, "text": text.as_str() });
        let insert = Command::from(doc! { "insert": "c" }).documents("documents", documents);
        assert_eq!(
            database.run_command(insert).unwrap().get_i32("n").unwrap(),
            60
        );
        let find = doc! { "find": "c", "batchSize": 7 };
        let found = database.run_cursor_command::<Document>(find).unwrap();
        let found: Vec<Document> = found.map(Result::unwrap).collect();
        assert_eq!(found.len(), 60);
        assert!(found.iter().all(|one| one.get_str("text").unwrap() == text));
        // Six megabytes in each direction, almost none of which were sent.
        let counts = server.counts();
        assert!(
            counts.received < 600_000 && counts.sent < 600_000,
            "{counts:?}"
        );
        assert!(
            server
                .commands_named("getMore")
                .iter()
                .all(|one| one.compressor == Some(compressor))
        );
    }
}

#[test]
fn replies_need_not_be_compressed_like_requests() {
    let server = server_with(&Compressor::ALL);
    let client = at_rest(&format!("{}?compressors=zlib,snappy,zstd", server.uri()));
    ping_on(&client).unwrap();
    let mut ways = vec![ReplyFault::Uncompressed];
    let others = [
        Compressor::Noop,
        Compressor::Snappy,
        Compressor::Zlib,
        Compressor::Zstd,
    ];
    ways.extend(others.map(|one| ReplyFault::Compressed(one, None)));
    for way in ways {
        server.spoil_replies("ping", 1, way.clone());
        ping_on(&client).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        // A request that is not compressed, too.
        server.spoil_replies("hello", 1, way.clone());
        let hello = client.database("admin").run_command(doc! { "hello": 1 });
        hello.unwrap_or_else(|error| panic!("{way:?}: {error}"));
    }
    expect_program_open(&server, 1);
    // The reply to the first hello, before the negotiation.
    for compressor in others {
        let uri = format!("{}?compressors=zlib,snappy,zstd", server.uri());
        let client = at_rest(&uri);
        server.spoil_replies("isMaster", 1, ReplyFault::Compressed(compressor, None));
        ping_on(&client).unwrap();
    }
}

#[test]
fn an_error_of_a_command_is_read_from_a_compressed_reply() {
    let server = server_with(&[Compressor::Zstd]);
    let client = plain_client(&server, "compressors=zstd");
    let failure = doc! { "errorCode": 112, "errorLabels": ["X"] };
    server.configure_fail_point(&fail_command(1, &["ping"], failure));
    let error = ping_on(&client).unwrap_err();
    assert_eq!(
        (error.kind(), error.command().unwrap().code),
        (ErrorKind::Command, 112)
    );
    assert!(error.has_label("X"));
    ping_on(&client).unwrap();
    expect_program_open(&server, 1);
}

// --- invalid compression ---

#[test]
fn an_invalid_compressed_reply_closes_the_connection() {
    use CompressedFault as F;
    let data = "do not come to what was declared";
    for compressor in Compressor::ALL {
        let server = server_with(&Compressor::ALL);
        let options = format!("compressors={}&socketTimeoutMS=5000", compressor.name());
        let client = plain_client(&server, &options);
        ping_on(&client).unwrap();
        let unwanted = Compressor::ALL
            .into_iter()
            .find(|one| *one != compressor)
            .unwrap();
        let not_offered = format!("the compressor {:?} was not offered", unwanted.name());
        let with = |fault| ReplyFault::Compressed(compressor, Some(fault));
        let cases = [
            (ReplyFault::Compressed(unwanted, None), not_offered.as_str()),
            (with(F::Number(4)), "no compressor has the number 4"),
            (with(F::Number(255)), "no compressor has the number 255"),
            (
                with(F::OpCode(2012)),
                "opcode 2012 was not expected in OP_COMPRESSED",
            ),
            (
                with(F::OpCode(1)),
                "opcode 1 was not expected in OP_COMPRESSED",
            ),
            (with(F::Size(-1)), "cannot come to -1 bytes"),
            (with(F::Size(0)), "cannot come to 0 bytes"),
            (with(F::Size(i32::MAX)), "cannot come to 2147483647 bytes"),
            (with(F::Size(23)), data),
            (with(F::Truncated(1)), data),
            (with(F::Trailing(vec![0])), data),
            (with(F::Bomb(50 << 20)), data),
        ];
        for (fault, words) in cases {
            server.spoil_replies("ping", 1, fault.clone());
            let error =
                timed(Duration::ZERO, Duration::from_secs(3), || ping_on(&client)).unwrap_err();
            assert_eq!(
                (code(&error), error.kind(), error.stage()),
                (
                    CauseCode::ProtocolError,
                    ErrorKind::Protocol,
                    Some(Stage::Command)
                ),
                "{fault:?}: {error}"
            );
            assert!(error.to_string().contains(words), "{fault:?}: {error}");
            // The same client works again, on a new connection.
            ping_on(&client).unwrap();
            expect_program_open(&server, 1);
        }
    }
}

#[test]
fn without_compressors_a_compressed_reply_is_none() {
    let server = server_with(&Compressor::ALL);
    let client = plain_client(&server, "");
    server.spoil_replies("ping", 1, ReplyFault::Compressed(Compressor::Zlib, None));
    let error = ping_on(&client).unwrap_err();
    assert!(
        error.to_string().contains("opcode 2012 was not expected"),
        "{error}"
    );
}

// --- PyMongo ---

/// PyMongo as a client of the bench: it verifies that the bench compresses like other implementations, so that the
/// tests above do not depend on a shared mistake.
#[test]
fn pymongo_and_the_bench_understand_each_other() {
    const PROGRAM: &str = "
import sys, pymongo
client = pymongo.MongoClient(sys.argv[1], compressors=sys.argv[2], serverSelectionTimeoutMS=5000)
text = 'x' * 100000
client.db.c.insert_many([{'_id': i, 'text': text} for i in range(20)])
found = list(client.db.c.find(batch_size=6))
assert len(found) == 20 and all(one['text'] == text for one in found)
print('well')
";
    #[allow(clippy::print_stderr, reason = "whoever reads the log must see it")]
    let Some(python) = std::env::var_os("MONGOTLS_PYMONGO") else {
        eprintln!("SKIPPED: MONGOTLS_PYMONGO names no Python with pymongo[snappy,zstd]");
        return;
    };
    for compressor in Compressor::ALL {
        let server = server_with(&[compressor]);
        let mut program = std::process::Command::new(&python);
        let output = program
            .args(["-c", PROGRAM, &server.uri(), compressor.name()])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.stdout, b"well\n", "{compressor:?}: {errors}");
        for name in ["insert", "find", "getMore"] {
            let seen = server.commands_named(name);
            assert!(
                !seen.is_empty() && seen.iter().all(|one| one.compressor == Some(compressor)),
                "{name}"
            );
        }
        // This client reads documents that PyMongo wrote, and PyMongo those of this client.
        let client: Client = plain_client(&server, &format!("compressors={}", compressor.name()));
        let find = doc! { "find": "c", "filter": { "_id": 3 } };
        let found = client
            .database("db")
            .run_cursor_command::<Document>(find)
            .unwrap();
        assert!(
            found
                .map(Result::unwrap)
                .any(|one| one.get_str("text").unwrap().len() == 100_000)
        );
    }
}
