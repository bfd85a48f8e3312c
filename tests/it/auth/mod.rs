//! Authentication: with the bench by every mechanism that it supports, with FerretDB, and behind HAProxy.

mod guide;
mod peers;
mod refusals;
mod scram;
mod secrets;
mod x509;

use mongotls::bson::{Document, doc};
use mongotls::error::Stage;
use mongotls::options::{AuthMechanism, Secret, TlsOptions};
use mongotls::{CauseCode, Client, ClientOptions, Error, ErrorKind, ServerAddress};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
use mongotls_testbench::server::{Auth, Hello, Role, Server, ServerTls, User};

use crate::common::{Bench, code};

/// A server with a user, without TLS.
fn server(auth: Auth) -> Server {
    Server::builder().auth(auth).start()
}

/// A server with TLS.
fn secure(auth: Auth) -> Bench {
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    Bench::around(Server::builder().tls(tls).auth(auth).start(), ca)
}

/// `ada` of `admin`, whose password is `pencil`.
fn ada() -> User {
    User::new("admin", "ada", "pencil")
}

/// A connection string for a user, such as `ada:pencil`.
fn uri(server: &Server, user: &str, options: &str) -> String {
    format!(
        "mongodb://{user}@{}/?{options}",
        server.endpoint().authority()
    )
}

/// A command that needs authentication.
fn work(uri: &str) -> Result<Document, Error> {
    work_on(&Client::connect(uri)?)
}

fn work_on(client: &Client) -> Result<Document, Error> {
    client
        .database("db")
        .run_command(doc! { "count": "things" })
}

/// The user of each connection.
fn users(server: &Server) -> Vec<Option<String>> {
    let connections = server.program_connections().into_iter();
    connections.map(|connection| connection.user).collect()
}

#[test]
fn without_a_user_a_server_that_demands_one_refuses_commands() {
    let server = server(Auth::new().user(ada()));
    let error = work(&server.uri()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Command);
    assert_eq!(error.command().unwrap().code, 13);
}

#[test]
fn plain_sends_the_password_over_tls() {
    let bench = secure(Auth::new().user(User::ldap("ada", "pen\u{2163}cil")));
    let uri = bench.uri("&authMechanism=PLAIN");
    let uri = uri.replace("mongodb://", "mongodb://ada:pen%E2%85%A3cil@");
    work(&uri).unwrap();
    assert_eq!(users(&bench.server), [Some("$external.ada".to_owned())]);
    // One message is enough, and hello carries no authentication.
    assert_eq!(bench.server.count_of("saslContinue"), 0);
    let start = bench.server.commands_named("saslStart").remove(0);
    assert_eq!(start.database, "$external");
    let hello = &bench.server.commands()[0].body;
    assert!(
        !hello.contains_key("speculativeAuthenticate") && !hello.contains_key("saslSupportedMechs")
    );
}

#[test]
fn plain_without_tls_needs_the_dangerous_option() {
    let server = server(Auth::new().user(User::ldap("ada", "pencil")));
    let uri = uri(&server, "ada:pencil", "authMechanism=PLAIN");
    let error = Client::connect(&uri).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(code(&error), CauseCode::OptionConflict);
    assert!(error.to_string().contains("tls is off"), "{error}");
    assert!(error.cause().unwrap().remedy().contains("tls=true"));
    assert_eq!(server.counts().accepted, 0);

    let options = mongotls::ConnectionString::parse(&uri)
        .unwrap()
        .into_builder();
    let options = options
        .dangerously_send_plain_without_tls()
        .build()
        .unwrap();
    work_on(&Client::with_options(options).unwrap()).unwrap();
    assert_eq!(users(&server), [Some("$external.ada".to_owned())]);
}

#[test]
fn a_builder_names_the_user_as_a_connection_string_does() {
    let server = server(Auth::new().user(User::new("things", "ada", "pencil")));
    let address = ServerAddress::tcp("127.0.0.1", server.port());
    let options = ClientOptions::builder()
        .host(address)
        .credential("ada", "pencil");
    let none: [(&str, Secret); 0] = [];
    let options = options
        .auth_source("things")
        .auth_mechanism(AuthMechanism::ScramSha256, none);
    work_on(&Client::with_options(options.build().unwrap()).unwrap()).unwrap();
    assert_eq!(users(&server), [Some("things.ada".to_owned())]);
}

#[test]
fn an_arbiter_is_not_authenticated_to() {
    let hello = Hello::member(Role::Arbiter, "rs", "127.0.0.1:1", &["127.0.0.1:1"]);
    let server = Server::builder().hello(hello).auth(Auth::new()).start();
    let uri = uri(&server, "ada:pencil", "directConnection=true");
    let client = Client::connect(&uri).unwrap();
    assert!(client.server_report().unwrap().hello.arbiter_only);
    assert_eq!(server.count_of("saslStart"), 0);
    assert!(server.connections().iter().all(|it| it.user.is_none()));
}

#[test]
fn only_genuine_arbiters_skip_authentication() {
    // A primary of a set, and a standalone server.
    let primary = Hello::member(Role::Primary, "rs", "127.0.0.1:1", &["127.0.0.1:1"]);
    for hello in [primary, Hello::default()] {
        let extra = doc! { "arbiterOnly": true };
        let hello = Hello { extra, ..hello };
        let server = Server::builder().hello(hello).auth(Auth::new()).start();
        let uri = uri(&server, "ada:pencil", "directConnection=true");
        let error = work(&uri).unwrap_err();
        assert_eq!(code(&error), CauseCode::AuthenticationFailed, "{error}");
        assert_eq!(error.stage(), Some(Stage::Authentication));
        assert_eq!(server.count_of("count"), 0);
    }
}

#[test]
fn a_user_without_a_password_is_refused_before_any_connection() {
    let server = server(Auth::new().user(User::new("admin", "ada", "")));
    let error = Client::connect(&uri(&server, "ada", "")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(code(&error), CauseCode::OptionConflict);
    assert!(error.to_string().contains("no password"), "{error}");
    assert_eq!(server.counts().accepted, 0);
    // An empty password is valid.
    work(&uri(&server, "ada:", "")).unwrap();
}

#[test]
fn each_connection_is_authenticated_before_its_first_command() {
    let server = server(Auth::new().user(ada()));
    let client = Client::connect(&uri(&server, "ada:pencil", "maxPoolSize=8")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..20).for_each(|_| drop(work_on(&client).unwrap())));
        }
    });
    let users = users(&server);
    assert!(!users.is_empty() && users.len() <= 8, "{users:?}");
    assert!(
        users
            .iter()
            .all(|user| user.as_deref() == Some("admin.ada"))
    );
}

#[test]
fn a_user_with_a_nul_is_refused_where_it_would_split_a_message() {
    let address = ServerAddress::tcp("127.0.0.1", 1);
    let none: [(&str, Secret); 0] = [];
    for (user, password) in [("a\0b", "pencil"), ("ada", "pen\0cil")] {
        let options = ClientOptions::builder().host(address.clone());
        let options = options
            .credential(user, password)
            .tls(TlsOptions::default());
        let options = options.auth_mechanism(AuthMechanism::Plain, none.clone());
        let error = Client::with_options(options.build().unwrap()).unwrap_err();
        assert_eq!(code(&error), CauseCode::OptionConflict);
        assert!(error.to_string().contains("NUL"), "{error}");
        assert!(!error.to_string().contains("cil"), "{error}");
    }
}

#[test]
fn stages_of_failure_tell_the_network_from_the_user() {
    use mongotls_testbench::fault::Action;
    use mongotls_testbench::server::ReplyFault;
    let server = server(Auth::new().user(ada()));
    let client = Client::connect(&uri(&server, "ada:pencil", "connectTimeoutMS=300")).unwrap();
    let cut = ReplyFault::Cut {
        after: 10,
        action: Action::Close,
    };
    for (fault, kind, expected) in [
        (cut, ErrorKind::Network, CauseCode::ConnectionClosed),
        (
            ReplyFault::Silence,
            ErrorKind::Timeout,
            CauseCode::HandshakeTimeout,
        ),
        (
            ReplyFault::OpCode(7),
            ErrorKind::Protocol,
            CauseCode::ProtocolError,
        ),
    ] {
        server.spoil_replies("saslContinue", 1, fault);
        let error = work_on(&client).unwrap_err();
        assert_eq!((error.kind(), code(&error)), (kind, expected), "{error}");
        assert_eq!(error.stage(), Some(Stage::Authentication));
        crate::common::expect_program_open(&server, 0);
    }
    work_on(&client).unwrap();
}
