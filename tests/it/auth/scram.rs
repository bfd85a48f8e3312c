//! SCRAM: round trips, negotiation, preparation, and servers that do not prove their identity.

use mongotls::bson::spec::BinarySubtype;
use mongotls::bson::{Binary, Document, doc};
use mongotls::error::Stage;
use mongotls::{CauseCode, Client, ErrorKind};
use mongotls_testbench::server::{Auth, Hello, Server, User};

use super::{ada, server, uri, users, work};
use crate::common::{code, expect_program_open, fact};

/// The first hello of the program's first connection.
fn hello(server: &Server) -> Document {
    let connection = server.program_connections()[0].id;
    let mut commands = server.commands().into_iter();
    commands
        .find(|it| it.connection == connection)
        .unwrap()
        .body
}

#[test]
fn scram_takes_as_many_round_trips_as_the_server_needs() {
    for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256"] {
        let new = Auth::new;
        for (auth, starts, continues) in [
            (new(), 0, 1),
            (new().with_empty_exchange(), 0, 2),
            (new().without_speculation(), 1, 1),
            (new().without_speculation().with_empty_exchange(), 1, 2),
        ] {
            let server = server(auth.user(ada()));
            work(&uri(
                &server,
                "ada:pencil",
                &format!("authMechanism={mechanism}"),
            ))
            .unwrap();
            assert_eq!(users(&server), [Some("admin.ada".to_owned())]);
            let trips = (
                server.count_of("saslStart"),
                server.count_of("saslContinue"),
            );
            assert_eq!(trips, (starts, continues), "{mechanism}");
            let asked = hello(&server);
            assert!(!asked.contains_key("saslSupportedMechs"));
            let first = asked.get_document("speculativeAuthenticate").unwrap();
            assert_eq!(first.get_str("mechanism").unwrap(), mechanism);
            assert_eq!(first.get_str("db").unwrap(), "admin");
            let options = doc! { "skipEmptyExchange": true };
            assert_eq!(first.get_document("options").unwrap(), &options);
        }
    }
}

#[test]
fn without_a_mechanism_the_best_that_the_user_has_is_taken() {
    for (mechanisms, speculation, taken) in [
        (&["SCRAM-SHA-1", "SCRAM-SHA-256"][..], true, None),
        (
            &["SCRAM-SHA-1", "SCRAM-SHA-256"],
            false,
            Some("SCRAM-SHA-256"),
        ),
        (&["SCRAM-SHA-1"], true, Some("SCRAM-SHA-1")),
        (&["SCRAM-SHA-256"], false, Some("SCRAM-SHA-256")),
    ] {
        let mut auth = Auth::new().user(ada().only(mechanisms));
        if !speculation {
            auth = auth.without_speculation();
        }
        let server = server(auth);
        work(&uri(&server, "ada:pencil", "")).unwrap();
        assert_eq!(users(&server), [Some("admin.ada".to_owned())]);
        let asked = hello(&server);
        assert_eq!(asked.get_str("saslSupportedMechs").unwrap(), "admin.ada");
        let first = asked.get_document("speculativeAuthenticate").unwrap();
        assert_eq!(first.get_str("mechanism").unwrap(), "SCRAM-SHA-256");
        let starts = server.commands_named("saslStart");
        let started = starts
            .first()
            .map(|start| start.body.get_str("mechanism").unwrap());
        assert_eq!(started, taken);
    }
}

#[test]
fn where_the_server_names_no_mechanisms_sha_1_is_tried() {
    let server = server(Auth::new().user(ada()));
    let error = work(&uri(&server, "bob:pencil", "")).unwrap_err();
    // The error for any wrong credential, and not an error of hello ("Test Plan", step 3).
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let start = server.commands_named("saslStart").remove(0);
    assert_eq!(start.body.get_str("mechanism").unwrap(), "SCRAM-SHA-1");
}

#[test]
fn no_list_of_a_server_leads_to_another_mechanism_than_scram() {
    let lists = [
        (
            doc! { "m": ["PLAIN", "MONGODB-OIDC", "GSSAPI"] },
            "SCRAM-SHA-1",
        ),
        (doc! { "m": [] }, "SCRAM-SHA-1"),
        (doc! { "m": "PLAIN" }, "SCRAM-SHA-1"),
        (doc! { "m": [1, "scram-sha-256"] }, "SCRAM-SHA-1"),
        (
            doc! { "m": ["PLAIN", 7, "SCRAM-SHA-512", "SCRAM-SHA-256"] },
            "SCRAM-SHA-256",
        ),
    ];
    for (list, taken) in lists {
        let extra = doc! { "saslSupportedMechs": list.get("m").unwrap() };
        let hello = Hello {
            extra,
            ..Hello::default()
        };
        // A user that the server does not know, about whom the bench reports nothing.
        let auth = Auth::new().without_speculation();
        let server = Server::builder().hello(hello).auth(auth).start();
        work(&uri(&server, "bob:s3cret", "")).unwrap_err();
        let starts = server.commands_named("saslStart");
        let names: Vec<&str> = starts
            .iter()
            .map(|start| start.body.get_str("mechanism").unwrap())
            .collect();
        assert_eq!(names, [taken], "{list}");
        assert!(
            starts
                .iter()
                .all(|start| !said(&start.body).contains("s3cret"))
        );
    }
}

#[test]
fn an_answer_to_another_conversation_in_hello_proves_nothing() {
    let payload = |text: &str| {
        let mut reply = doc! { "conversationId": 1 };
        say(&mut reply, text);
        reply
    };
    let first = "r=abcdef0123456789,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    for (message, done, why) in [
        (first, false, "does not continue"),
        (first, true, "does not continue"),
        ("", true, "no nonce"),
        (
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            true,
            "no nonce",
        ),
    ] {
        let mut answer = payload(message);
        answer.insert("done", done);
        let hello = Hello {
            extra: doc! { "speculativeAuthenticate": answer },
            ..Hello::default()
        };
        let auth = Auth::new().user(ada()).without_speculation();
        for options in ["", "authMechanism=SCRAM-SHA-1"] {
            let server = Server::builder()
                .hello(hello.clone())
                .auth(auth.clone())
                .start();
            let error = work(&uri(&server, "ada:pencil", options)).unwrap_err();
            assert_eq!(code(&error), CauseCode::ServerNotProven, "{error}");
            assert!(error.to_string().contains(why), "{why}: {error}");
            assert_eq!(
                server.count_of("count") + server.count_of("saslContinue"),
                0
            );
        }
    }
}

#[test]
fn names_and_passwords_of_any_characters_go_through() {
    // "Driver Authentication", "Test Plan", step 4, and characters that URIs and SCRAM escape.
    let people = [
        ("IX", "IX", "IX:I%C2%ADX"),
        ("\u{2168}", "IV", "%E2%85%A8:IV"),
        ("\u{2168}", "IV", "%E2%85%A8:I%C2%ADV"),
        ("\u{2168}", "IV", "%E2%85%A8:%E2%85%A3"),
        ("a=b,c@d", "p:w/?#", "a%3Db%2Cc%40d:p%3Aw%2F%3F%23"),
    ];
    for (name, password, in_uri) in people {
        let server = server(Auth::new().user(User::new("admin", name, password)));
        work(&uri(&server, in_uri, "")).unwrap();
        assert_eq!(users(&server), [Some(format!("admin.{name}"))]);
        let asked = hello(&server);
        assert_eq!(
            asked.get_str("saslSupportedMechs").unwrap(),
            format!("admin.{name}")
        );
    }
}

#[test]
fn a_password_prohibited_by_saslprep_fails_before_connecting() {
    let both = server(Auth::new().user(ada()));
    let wanted = uri(&both, "ada:a%07b", "authMechanism=SCRAM-SHA-256");
    let error = Client::connect(&wanted).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("SASLprep"), "{error}");
    assert_eq!(both.counts().accepted, 0);

    // If the server decides the mechanism, hello comes first.
    let error = work(&uri(&both, "ada:a%07b", "")).unwrap_err();
    assert_eq!(code(&error), CauseCode::OptionConflict);
    assert_eq!(error.stage(), Some(Stage::Authentication));
    assert!(!hello(&both).contains_key("speculativeAuthenticate"));

    let old = User::new("admin", "ada", "a\u{7}b").only(&["SCRAM-SHA-1"]);
    let old = server(Auth::new().user(old));
    work(&uri(&old, "ada:a%07b", "")).unwrap();
}

#[test]
fn the_user_database_is_auth_source_database_or_admin() {
    let server = server(Auth::new().user(User::new("things", "ada", "pencil")));
    let authority = server.endpoint().authority();
    work(&format!("mongodb://ada:pencil@{authority}/things")).unwrap();
    work(&uri(&server, "ada:pencil", "authSource=things")).unwrap();
    let error = work(&uri(&server, "ada:pencil", "")).unwrap_err();
    assert_eq!(fact(&error, "auth_source"), "admin");
}

#[test]
fn behind_a_load_balancer_too() {
    let mut hello = Hello::mongos();
    hello.extra = doc! { "serviceId": mongotls::bson::oid::ObjectId::new() };
    let server = Server::builder()
        .hello(hello)
        .auth(Auth::new().user(ada()))
        .start();
    work(&uri(&server, "ada:pencil", "loadBalanced=true")).unwrap();
    assert_eq!(users(&server), [Some("admin.ada".to_owned())]);
}

/// Replaces the message in an answer.
fn say(reply: &mut Document, message: &str) {
    let payload = Binary {
        subtype: BinarySubtype::Generic,
        bytes: message.into(),
    };
    reply.insert("payload", payload);
}

/// The message in an answer.
fn said(reply: &Document) -> String {
    String::from_utf8(reply.get_binary_generic("payload").unwrap().clone()).unwrap()
}

#[test]
fn a_server_that_does_not_prove_itself_gets_no_command() {
    type Change = fn(&mut Document);
    let changes: [(&str, Change); 8] = [
        ("its signature is wrong", |reply| {
            if said(reply).starts_with("v=") {
                say(reply, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
            }
        }),
        ("does not continue", |reply| {
            let message = said(reply);
            if message.starts_with("r=") {
                say(reply, &message.replacen("r=", "r=x", 1));
            }
        }),
        ("1 iterations", |reply| {
            let message = said(reply).replace("i=4096", "i=1");
            say(reply, &message);
        }),
        ("100000000 iterations", |reply| {
            let message = said(reply).replace("i=4096", "i=100000000");
            say(reply, &message);
        }),
        ("requires an extension", |reply| {
            let message = format!("m=x,{}", said(reply));
            say(reply, &message);
        }),
        ("ended the conversation early", |reply| {
            reply.insert("done", true);
        }),
        ("no conversationId", |reply| {
            reply.remove("conversationId");
        }),
        ("too long", |reply| {
            let message = format!("{},x={}", said(reply), "y".repeat(5000));
            say(reply, &message);
        }),
    ];
    for (why, change) in changes {
        for speculation in [true, false] {
            let mut auth = Auth::new().user(ada()).tamper(change);
            if !speculation {
                auth = auth.without_speculation();
            }
            let server = server(auth);
            let error = work(&uri(&server, "ada:pencil", "")).unwrap_err();
            assert_eq!(code(&error), CauseCode::ServerNotProven, "{error}");
            assert_eq!(error.kind(), ErrorKind::Authentication);
            assert_eq!(error.stage(), Some(Stage::Authentication));
            assert!(error.to_string().contains(why), "{why}: {error}");
            assert_eq!(fact(&error, "mechanism"), "SCRAM-SHA-256");
            assert_eq!(server.count_of("count"), 0);
            expect_program_open(&server, 0);
        }
    }
}
