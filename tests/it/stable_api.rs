//! The Stable API: each command on each kind of connection declares its version.

use std::time::Duration;

use mongotls::bson::{Bson, Document, doc};
use mongotls::error::Stage;
use mongotls::options::{ServerApi, ServerApiVersion};
use mongotls::{CauseCode, Client, Command, ConnectionString, ErrorKind};
use mongotls_testbench::server::{Auth, Hello, Request, Role, Server, User};
use mongotls_testbench::wire::OP_MSG;

use crate::cli::mongotls;
use crate::common::{code, fact, ping_on};

fn client(uri: &str, api: Option<ServerApi>) -> Client {
    let builder = ConnectionString::parse(uri).unwrap().into_builder();
    let builder = match api {
        Some(api) => builder.server_api(api),
        None => builder,
    };
    Client::with_options(builder.build().unwrap()).unwrap()
}

fn v1() -> ServerApi {
    ServerApi::new(ServerApiVersion::V1)
}

/// The fields of the Stable API in a command.
fn declared(request: &Request) -> Document {
    let fields = request.body.iter();
    let of_api = fields.filter(|(key, _)| key.starts_with("api"));
    of_api
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// A user, a cursor that is read to its end, one that is dropped, and a monitor that checks more than once.
fn use_all(server: &Server, api: Option<ServerApi>) {
    let uri = server.uri().replace("mongodb://", "mongodb://ada:pencil@");
    let client = client(&uri, api);
    let db = client.database("db");
    let things: Vec<Document> = (0..10).map(|number| doc! { "n": number }).collect();
    db.run_command(doc! { "insert": "things", "documents": things })
        .unwrap();
    for complete in [true, false] {
        let find = doc! { "find": "things", "batchSize": 2 };
        let cursor = db.run_cursor_command::<Document>(find).unwrap();
        let count = if complete { 20 } else { 1 };
        cursor.take(count).for_each(|thing| drop(thing.unwrap()));
    }
    // The first check, and one that waits for a change.
    let checks = |server: &Server| {
        let commands = server.commands();
        commands
            .iter()
            .any(|it| it.body.contains_key("maxAwaitTimeMS"))
    };
    assert!(server.wait_until(Duration::from_secs(10), checks));
    client.close(Duration::from_secs(5));
}

fn server_with_user() -> Server {
    let auth = Auth::new().user(User::new("admin", "ada", "pencil"));
    Server::builder().auth(auth).start()
}

#[test]
fn all_commands_declare_the_version_and_the_flags_that_are_set() {
    for (api, expected) in [
        (v1(), doc! { "apiVersion": "1" }),
        (
            v1().strict(true).deprecation_errors(false),
            doc! { "apiVersion": "1", "apiStrict": true, "apiDeprecationErrors": false },
        ),
        (
            v1().deprecation_errors(true),
            doc! { "apiVersion": "1", "apiDeprecationErrors": true },
        ),
    ] {
        let server = server_with_user();
        use_all(&server, Some(api));
        let commands = server.commands();
        for command in &commands {
            assert_eq!(declared(command), expected, "{command:?}");
            assert_eq!(command.op_code, OP_MSG, "{command:?}");
        }
        for name in [
            "hello",
            "saslContinue",
            "insert",
            "find",
            "getMore",
            "killCursors",
        ] {
            assert!(
                commands.iter().any(|command| command.name == name),
                "no {name} was sent"
            );
        }
        assert_eq!(server.count_of("isMaster"), 0);
    }
}

#[test]
fn no_command_has_fields_of_the_api_unless_a_version_is_declared() {
    let server = server_with_user();
    use_all(&server, None);
    for command in server.commands() {
        assert_eq!(declared(&command), doc! {}, "{command:?}");
    }
    assert!(server.count_of("isMaster") > 0);
    // An undeclared version in a command is the program's own affair.
    let server = Server::builder().start();
    let client = client(&server.uri(), None);
    let ping = doc! { "ping": 1, "apiVersion": "1" };
    client.database("db").run_command(ping).unwrap();
}

#[test]
fn a_connection_string_cannot_declare_a_version() {
    for key in ["apiVersion=1", "serverApi=1", "apiStrict=true"] {
        let uri = ConnectionString::parse(&format!("mongodb://h/?{key}")).unwrap();
        assert_eq!(uri.warnings().len(), 1, "{key}");
        assert_eq!(uri.into_builder().build().unwrap().server_api(), None);
    }
}

#[test]
fn replica_sets_and_load_balancers_get_the_version_too() {
    let member = Hello::member(Role::Primary, "rs0", "a:1", &["a:1"]);
    let balanced = Hello {
        service_id: Some(mongotls::bson::oid::ObjectId::new()),
        ..Hello::mongos()
    };
    for (hello, options) in [
        (member, "directConnection=true"),
        (balanced, "loadBalanced=true"),
    ] {
        let server = Server::builder().hello(hello).start();
        let client = client(&format!("{}?{options}", server.uri()), Some(v1()));
        ping_on(&client).unwrap();
        for command in server.commands() {
            let version = command.body.get("apiVersion");
            assert_eq!(version, Some(&Bson::from("1")), "{options}: {command:?}");
            assert!(["hello", "ping"].contains(&command.name.as_str()));
        }
    }
}

#[test]
fn the_command_line_declares_a_version() {
    let server = Server::builder().start();
    let uri = server.uri();
    for words in [
        &["ping", &uri, "--api-version", "1"][..],
        &["run", &uri, "db", "{\"ping\": 1}", "--api-version", "1"],
        &["doctor", &uri, "--api-version", "1"],
    ] {
        let run = mongotls(words);
        assert_eq!(run.code, 0, "{words:?}: {}", run.err);
    }
    let commands = server.commands();
    assert!(commands.len() > 6);
    for command in commands {
        assert_eq!(
            declared(&command),
            doc! { "apiVersion": "1" },
            "{command:?}"
        );
    }
}

#[test]
fn a_server_without_hello_has_an_unknown_type() {
    let refuse = |_: &Request| {
        let text = "no such command: 'hello'";
        Some(doc! { "ok": 0.0, "code": 59, "codeName": "CommandNotFound", "errmsg": text })
    };
    let server = Server::builder().handle("hello", refuse).start();
    // Without a declared version, the client uses the legacy name.
    ping_on(&client(&server.uri(), None)).unwrap();
    let uri = format!("{}?serverSelectionTimeoutMS=300", server.uri());
    let client = client(&uri, Some(v1()));
    let error = ping_on(&client).unwrap_err();
    assert_eq!(
        (code(&error), fact(&error, "server_code")),
        (CauseCode::HelloFailed, "59".to_owned())
    );
    assert!(
        error.cause().unwrap().remedy().contains("Stable API"),
        "{error}"
    );
}

#[test]
fn the_error_of_the_server_reaches_the_program() {
    let refuse = |_: &Request| {
        let text = "API version must be \"2\"";
        Some(doc! { "ok": 0.0, "code": 322, "codeName": "APIVersionError", "errmsg": text })
    };
    let server = Server::builder().handle("hello", refuse).start();
    let uri = format!("{}?serverSelectionTimeoutMS=300", server.uri());
    let error = ping_on(&client(&uri, Some(v1()))).unwrap_err();
    assert_eq!(code(&error), CauseCode::HelloFailed);
    assert!(error.cause().unwrap().remedy().contains("Stable API"));
    for (number, name) in [
        (322, "APIVersionError"),
        (323, "APIStrictError"),
        (324, "APIDeprecationError"),
    ] {
        let refuse = move |_: &Request| {
            Some(
                doc! { "ok": 0.0, "code": number, "codeName": name, "errmsg": "not in API Version 1" },
            )
        };
        let server = Server::builder().handle("benchEcho", refuse).start();
        let client = client(&server.uri(), Some(v1().strict(true)));
        let command = Command::from(doc! { "benchEcho": 1 });
        let error = client.database("db").run_command(command).unwrap_err();
        assert_eq!(
            (error.kind(), error.stage()),
            (ErrorKind::Command, Some(Stage::Command))
        );
        let failure = error.command().unwrap();
        assert_eq!((failure.code, failure.code_name.as_str()), (number, name));
        assert_eq!(server.count_of("benchEcho"), 1, "it is not retried");
    }
}
