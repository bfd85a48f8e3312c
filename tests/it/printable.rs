//! Text of servers and certificates that could control a terminal or forge a line of the log: it is escaped when it is
//! rendered, and unchanged in facts and replies.

use std::error::Error as _;
use std::path::Path;

use mongotls::Client;
use mongotls::bson::doc;
use mongotls::cause::Printable;
use mongotls_testbench::pki::{KeyKind, Validity};
use mongotls_testbench::server::{Hello, Role, Server};
use serde_json::Value;

use crate::cli::{Run, mongotls_with};
use crate::common::{Bench, ping_error};

/// A sequence of the terminal, a forged line, a C1 control, separators and bidirectional controls, beside letters.
const HOSTILE: &str = "né 日本 \u{1b}[2J\u{9b}1m\n[2026-01-01T00:00:00Z ERROR mongotls] forged\r\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}\u{85}";
const ESCAPED: &str = r"né 日本 \u001b[2J\u009b1m\n[2026-01-01T00:00:00Z ERROR mongotls] forged\r\u202e\u2066\u200f\u061c\u2028\u0085";

fn expect_printable(text: &str) {
    let harmful = text.chars().find(|c| {
        (c.is_control() && *c != '\n')
            || "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}"
                .contains(*c)
    });
    assert_eq!(harmful, None, "{text:?}");
    // No line begins with external text.
    assert!(
        !text
            .lines()
            .any(|line| line.starts_with("[2026-01-01T00:00:00Z ERROR")),
        "{text}"
    );
}

fn traced(words: &[&str]) -> Run {
    let run = mongotls_with(words, &[("MONGOTLS_LOG", Path::new("trace"))]);
    expect_printable(&run.out);
    expect_printable(&run.err);
    run
}

fn refusing() -> Server {
    Server::builder()
        .handle("ping", |_| {
            Some(doc! { "ok": 0, "code": 11, "codeName": HOSTILE, "errmsg": HOSTILE, "extra": HOSTILE })
        })
        .start()
}

#[test]
fn a_refusal_is_escaped_in_errors_and_exact_in_replies() {
    let server = refusing();
    let client = Client::connect(&server.uri()).unwrap();
    let error = client
        .database("admin")
        .run_command(doc! { "ping": 1 })
        .unwrap_err();
    let text = format!(
        "server {}: command failed: the server answered with error 11 {ESCAPED}: {ESCAPED}",
        server.addr()
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(format!("{error:?}"), text);
    let failure = error.command().unwrap();
    assert_eq!(
        (failure.message.as_str(), failure.code_name.as_str()),
        (HOSTILE, HOSTILE)
    );
    assert_eq!(failure.reply.get_str("extra").unwrap(), HOSTILE);
    assert_eq!(Printable(&failure.message).to_string(), ESCAPED);
}

#[test]
fn a_refusal_forges_no_line_of_the_log_nor_of_the_command_line() {
    let server = refusing();
    let run = traced(&["run", &server.uri(), "admin", r#"{"ping": 1}"#]);
    assert_eq!(run.code, 1);
    // The end of the client is logged later.
    let (printed, log): (Vec<&str>, Vec<&str>) = run
        .err
        .lines()
        .partition(|line| line.starts_with("mongotls: "));
    assert_eq!(
        printed,
        [format!(
            "mongotls: server {}: command failed: the server answered with error 11 {ESCAPED}: {ESCAPED}",
            server.addr()
        )]
    );
    let reply = format!("\"errmsg\":\"{ESCAPED}\"");
    assert!(log.iter().any(|line| line.contains(&reply)), "{log:?}");
    let is_ours = |line: &&str| line.starts_with('[') && line.contains(" mongotls::");
    assert!(log.iter().all(is_ours), "{log:?}");
}

#[test]
fn a_reply_is_printed_as_json_that_reads_as_the_exact_text() {
    let server = Server::builder()
        .handle("ping", |_| {
            Some(doc! { "ok": 1, "x": HOSTILE, HOSTILE.replace('\0', ""): 1 })
        })
        .start();
    let run = traced(&["run", &server.uri(), "admin", r#"{"ping": 1}"#]);
    let reply: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((run.code, &reply["x"]), (0, &Value::from(HOSTILE)));
    assert_eq!(reply[HOSTILE], 1);
    assert!(
        run.out.contains(&format!("\"x\": \"{ESCAPED}\"")),
        "{}",
        run.out
    );
}

#[test]
fn names_of_a_replica_set_are_escaped_wherever_they_are_shown() {
    let server = Server::builder().start();
    server.set_hello(|hello| {
        let me = format!("localhost:{}", 1);
        *hello = Hello::member(Role::Primary, HOSTILE, &me, &[]);
        hello.me = Some(HOSTILE.to_owned());
        hello.tags = doc! { "dc": HOSTILE };
        hello.hosts = vec![
            format!("localhost:{}", server.port()),
            HOSTILE.to_owned(),
            "a\u{202e}b:1".to_owned(),
        ];
        hello.compressors = vec![HOSTILE.to_owned()];
    });
    let wrong_set = format!(
        "{}?replicaSet=rs0&serverSelectionTimeoutMS=300&compressors=zlib",
        server.uri()
    );
    let error = ping_error(&wrong_set);
    expect_printable(&error.to_string());
    expect_printable(&format!("{error:?}"));
    for uri in [wrong_set, server.uri()] {
        for words in [
            &["ping", &uri][..],
            &["ping", &uri, "--json"],
            &["doctor", &uri],
            &["doctor", &uri, "--json"],
        ] {
            let run = traced(words);
            assert!(run.out.len() + run.err.len() > 100, "{words:?}");
        }
    }
}

#[test]
fn certificate_names_are_exact_in_facts_and_escaped_in_text() {
    let bench = Bench::with(
        KeyKind::EcP256,
        |leaf| {
            let leaf = leaf
                .subject_entry("O", "né \u{202e}gpj.exe")
                .dns("evil\u{202e}\n.example");
            leaf.validity(Validity::expired())
        },
        |tls| tls,
    );
    let error = ping_error(&bench.uri("&serverSelectionTimeoutMS=300"));
    let cause = error.cause().unwrap();
    let subject = cause.facts().get("subject").unwrap();
    assert_eq!(subject.to_string(), "CN=localhost,O=né \\u202egpj.exe");
    assert_eq!(*subject, "CN=localhost,O=né \u{202e}gpj.exe".into());
    for text in [
        error.to_string(),
        format!("{error:?}"),
        cause.to_string(),
        cause.remedy().to_owned(),
    ] {
        expect_printable(&text);
    }
    assert!(error.source().is_none_or(|source| {
        expect_printable(&source.to_string());
        true
    }));
    let uri = bench.uri("");
    traced(&["doctor", &uri]);
    let run = traced(&["doctor", &uri, "--json"]);
    let object: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        object["facts"]["subject"],
        "CN=localhost,O=né \u{202e}gpj.exe"
    );
}
