//! The error about a user that the server rejects: from the library, and from the doctor, which finds out more.

use mongotls::error::Stage;
use mongotls::{CauseCode, ErrorKind};
use mongotls_testbench::server::{Auth, Hello, ReplyFault, Role, Server, User, fail_command};
use serde_json::{Value, json};

use super::{ada, secure, server, uri, work};
use crate::cli::mongotls;
use crate::common::{code, expect_program_open, fact};

/// The doctor's result.
fn doctor(uri: &str) -> Value {
    let run = mongotls(&["doctor", uri, "--json"]);
    assert_eq!(run.code, 1, "{}{}", run.out, run.err);
    serde_json::from_str(&run.out).unwrap()
}

/// A rejection: the connection string, and the expected texts of doctor and library.
struct Case {
    user: &'static str,
    options: &'static str,
    cause: CauseCode,
    /// Parts of the library's text.
    library: &'static str,
    /// Parts of the doctor's text.
    doctor: &'static str,
    remedy: &'static str,
    facts: Value,
}

const FAILED: CauseCode = CauseCode::AuthenticationFailed;
const UNAVAILABLE: CauseCode = CauseCode::MechanismUnavailable;

fn cases() -> Vec<Case> {
    vec![
        Case {
            user: "ada:wrong",
            options: "",
            cause: FAILED,
            library: "most likely for its password",
            doctor: "the server knows the user \"ada\" of the database \"admin\"",
            remedy: "Correct the password",
            facts: json!({ "user": "ada", "auth_source": "admin", "mechanism": "SCRAM-SHA-256",
                "user_mechanisms": ["SCRAM-SHA-1", "SCRAM-SHA-256"], "server_code": 18 }),
        },
        Case {
            user: "ada:wrong",
            options: "authMechanism=SCRAM-SHA-1",
            cause: FAILED,
            library: "the server refused the user \"ada\" of the database \"admin\" by SCRAM-SHA-1",
            doctor: "most likely for its password",
            remedy: "Correct the password",
            facts: json!({ "mechanism": "SCRAM-SHA-1" }),
        },
        Case {
            user: "eve:pencil",
            options: "",
            cause: FAILED,
            library: "knows no such user",
            doctor: "knows no such user",
            remedy: "Correct the user name, or set authSource",
            facts: json!({ "user": "eve", "known_in": null, "server_code": 18 }),
        },
        Case {
            user: "ada:pencil",
            options: "authSource=things",
            cause: FAILED,
            library: "knows no such user",
            doctor: "does not know the user \"ada\" in the database \"things\", but knows it in admin",
            remedy: "Set authSource=admin",
            facts: json!({ "auth_source": "things", "known_in": ["admin"] }),
        },
        Case {
            user: "old:pencil",
            options: "authMechanism=SCRAM-SHA-256",
            cause: UNAVAILABLE,
            library: "",
            doctor: "the user has no keys for SCRAM-SHA-256",
            remedy: "updateUser",
            facts: json!({ "mechanism": "SCRAM-SHA-256", "user_mechanisms": ["SCRAM-SHA-1"] }),
        },
    ]
}

#[test]
fn each_rejection_is_explained_with_a_remedy() {
    let old = User::new("admin", "old", "pencil").only(&["SCRAM-SHA-1"]);
    for case in cases() {
        let server = server(Auth::new().user(ada()).user(old.clone()));
        let uri = uri(&server, case.user, case.options);
        let error = work(&uri).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        assert_eq!(error.stage(), Some(Stage::Authentication));
        assert_eq!(error.command().unwrap().code, 18);
        assert!(error.to_string().contains(case.library), "{error}");
        expect_program_open(&server, 0);

        let object = doctor(&uri);
        let context = format!("{uri}: {object:#}");
        assert_eq!(object["cause"], case.cause.as_str(), "{context}");
        assert_eq!(object["stage"], "authentication", "{context}");
        assert_eq!(object["category"], "server", "{context}");
        assert!(
            object["message"].as_str().unwrap().contains(case.doctor),
            "{context}"
        );
        assert!(
            object["remedy"].as_str().unwrap().contains(case.remedy),
            "{context}"
        );
        for (key, value) in case.facts.as_object().unwrap() {
            assert_eq!(&object["facts"][key], value, "{key} of {context}");
        }
        let last = object["stages"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&last["name"], &last["ok"]),
            (&json!("authentication"), &json!(false))
        );
        assert_eq!(server.count_of("count"), 0);
    }
}

#[test]
fn a_mechanism_that_the_server_does_not_offer_is_named() {
    let bench = secure(Auth::new().user(ada()).mechanisms(&["SCRAM-SHA-1"]));
    for (options, mechanism) in [
        ("&authMechanism=PLAIN", "PLAIN"),
        ("&authMechanism=SCRAM-SHA-256", "SCRAM-SHA-256"),
    ] {
        let uri = bench
            .uri(options)
            .replace("mongodb://", "mongodb://ada:pencil@");
        let error = work(&uri).unwrap_err();
        assert_eq!(code(&error), CauseCode::MechanismUnavailable);
        let text = format!("the server does not offer {mechanism}");
        assert!(error.to_string().contains(&text), "{error}");
        assert!(
            error
                .cause()
                .unwrap()
                .remedy()
                .contains("authenticationMechanisms")
        );
        assert_eq!(fact(&error, "server_code"), "334");
        assert_eq!(doctor(&uri)["cause"], "mechanism-unavailable");
    }
}

#[test]
fn other_answers_to_authentication_keep_the_servers_words() {
    let server = server(Auth::new().user(ada()));
    let failure = mongotls::bson::doc! { "errorCode": 91, "errorLabels": ["RetryableWriteError"] };
    server.configure_fail_point(&fail_command(1, &["saslContinue"], failure));
    let error = work(&uri(&server, "ada:pencil", "")).unwrap_err();
    assert_eq!(code(&error), CauseCode::AuthenticationFailed);
    assert_eq!(error.stage(), Some(Stage::Authentication));
    assert_eq!(error.command().unwrap().code, 91);
    assert!(error.has_label("RetryableWriteError"));
    assert!(error.to_string().contains("failpoint"), "{error}");
}

#[test]
fn plain_asks_for_the_database_that_ldap_users_are_in() {
    let bench = secure(Auth::new().user(User::ldap("ada", "pencil")));
    let uri = |options: &str, user: &str| {
        let uri = bench.uri(&format!("&authMechanism=PLAIN{options}"));
        uri.replace("mongodb://", &format!("mongodb://{user}@"))
    };
    let error = work(&uri("&authSource=admin", "ada:pencil")).unwrap_err();
    assert_eq!(code(&error), CauseCode::AuthenticationFailed);
    assert!(
        error
            .cause()
            .unwrap()
            .remedy()
            .contains("authSource=$external")
    );
    let error = work(&uri("", "ada:wrong")).unwrap_err();
    assert!(error.cause().unwrap().remedy().contains("LDAP"));
}

#[test]
fn a_failed_probe_leaves_the_library_error() {
    // hello is the first command with the new name; before it, the connection has used the old one.
    let server = server(Auth::new().user(ada()));
    let failure = mongotls::bson::doc! { "errorCode": 59 };
    server.configure_fail_point(&fail_command(1, &["hello"], failure));
    let uri = uri(
        &server,
        "ada:wrong",
        "authMechanism=SCRAM-SHA-1&connectTimeoutMS=2000",
    );
    let object = doctor(&uri);
    assert_eq!(object["cause"], "authentication-failed");
    assert!(
        object["remedy"]
            .as_str()
            .unwrap()
            .contains("does not say which"),
        "{object:#}"
    );
}

#[test]
fn doctor_shows_the_authenticated_user() {
    let server = server(Auth::new().user(ada()));
    let uri = uri(&server, "ada:pencil", "");
    let run = mongotls(&["doctor", &uri, "--json"]);
    let object: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((run.code, &object["ok"]), (0, &json!(true)), "{object:#}");
    let stages = object["stages"].as_array().unwrap();
    let stage = stages
        .iter()
        .find(|stage| stage["name"] == "authentication")
        .unwrap();
    assert_eq!(
        [&stage["mechanism"], &stage["auth_source"], &stage["user"]],
        ["SCRAM-SHA-256", "admin", "ada"]
    );
    let text = mongotls(&["doctor", &uri]).out;
    assert!(text.contains("ada of admin, SCRAM-SHA-256"), "{text}");
}

#[test]
fn doctor_does_not_log_in_to_an_arbiter() {
    let hello = Hello::member(Role::Arbiter, "rs", "127.0.0.1:1", &["127.0.0.1:1"]);
    let server = Server::builder().hello(hello).auth(Auth::new()).start();
    let uri = uri(&server, "ada:pencil", "directConnection=true");
    let text = mongotls(&["doctor", &uri]).out;
    assert!(text.contains("arbiter of \"rs\""), "{text}");
    assert!(
        text.contains("an arbiter knows no users") && text.contains("all is well"),
        "{text}"
    );
}

#[test]
fn an_unanswered_authentication_reports_its_limit() {
    let server = server(Auth::new().user(ada()));
    server.spoil_replies("saslContinue", 1, ReplyFault::Silence);
    let object = doctor(&uri(&server, "ada:pencil", "connectTimeoutMS=200"));
    assert_eq!(
        [&object["cause"], &object["stage"]],
        ["handshake-timeout", "authentication"]
    );
    let remedy = object["remedy"].as_str().unwrap();
    assert!(
        remedy.contains("overloaded; then raise connectTimeoutMS"),
        "{remedy}"
    );
}
