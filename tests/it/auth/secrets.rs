//! The password is not in any output: not of the command line, not in its log, not in an error.

use std::path::Path;

use mongotls::Client;
use mongotls_testbench::server::{Auth, User};

use super::{ada, secure, server, uri, work};
use crate::cli::mongotls_with;

/// The forms of the password: itself, percent-encoded, and as the digest of SCRAM-SHA-1.
const SECRETS: [&str; 3] = ["pen/cil", "pen%2Fcil", "%2Fcil"];

fn check(output: &str, context: &str) {
    for secret in SECRETS {
        assert!(!output.contains(secret), "{context}: {output}");
    }
}

#[test]
fn the_command_line_never_prints_the_password() {
    let right = User::new("admin", "ada", "pen/cil");
    let known = server(Auth::new().user(right));
    let unknown = server(Auth::new());
    let other = server(Auth::new().user(ada()));
    let hostile = server(Auth::new().user(ada()).tamper(|reply| {
        reply.insert("done", true);
    }));
    let plain = secure(Auth::new());
    let uris = [
        uri(&known, "ada:pen%2Fcil", ""),
        uri(&known, "ada:pen%2Fcil", "authMechanism=SCRAM-SHA-1"),
        uri(&unknown, "ada:pen%2Fcil", ""),
        uri(&other, "ada:pen%2Fcil", ""),
        uri(&hostile, "ada:pen%2Fcil", ""),
        // Rejected before any connection.
        uri(&known, "ada:pen%2Fcil", "authMechanism=PLAIN"),
        uri(&known, "ada:pen%2Fcil%07", "authMechanism=SCRAM-SHA-256"),
        uri(&known, "ada:pen%2Fcil", "authMechanism=MONGODB-X509"),
        uri(&known, "ada:pen%2Fcil", "authMechanism=MONGODB-AWS"),
        "mongodb://ada:pen%2Fcil@127.0.0.1:1/?connectTimeoutMS=100&serverSelectionTimeoutMS=100"
            .to_owned(),
        plain
            .uri("&authMechanism=PLAIN")
            .replace("mongodb://", "mongodb://ada:pen%2Fcil@"),
    ];
    for uri in &uris {
        for words in [
            &["ping", uri.as_str()][..],
            &["ping", uri, "--json"],
            &["run", uri, "db", "{\"count\": \"things\"}"],
            &["doctor", uri],
            &["doctor", uri, "--json"],
        ] {
            let run = mongotls_with(words, &[("MONGOTLS_LOG", Path::new("trace"))]);
            assert!(!run.out.is_empty() || !run.err.is_empty());
            let context = format!("{words:?}");
            check(&run.out, &context);
            check(&run.err, &context);
        }
    }
    let run = mongotls_with(&["run", &uris[0], "db", "{\"count\": \"things\"}"], &[]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("\"n\""), "{}", run.out);
}

#[test]
fn errors_and_clients_do_not_show_the_password() {
    let server = server(Auth::new().user(ada()));
    let uri = uri(&server, "ada:pen%2Fcil", "");
    check(
        &format!("{:?}", Client::connect(&uri).unwrap()),
        "the client",
    );
    let error = work(&uri).unwrap_err();
    check(
        &format!("{error} {error:?} {:?}", error.cause()),
        "the error",
    );
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        check(&format!("{error} {error:?}"), "a source");
        source = error.source();
    }
}
