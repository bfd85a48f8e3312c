//! Options of a client with the bench: the addresses to connect to, and the names of databases.

use std::net::TcpListener;

use mongotls::bson::doc;
use mongotls::doctor;
use mongotls::{CauseCode, Client, ClientOptions, ConnectionString, ErrorKind, ServerAddress};
use mongotls_testbench::net::Bind;
use mongotls_testbench::node::NodeOptions;
use mongotls_testbench::pki::{KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::replica_set::ReplicaSet;
use mongotls_testbench::server::{Server, ServerTls};
use mongotls_testbench::socks5::Socks5Proxy;

use crate::cli::mongotls_with;
use crate::common::{Bench, code, fact};

/// A name that no resolver knows (RFC 6761).
const NAME: &str = "db.mongotls.invalid";

/// The address of a server of the bench.
fn local(port: u16) -> ServerAddress {
    ServerAddress::tcp("127.0.0.1", port)
}

fn options(uri: &str, connect_to: &[(&str, ServerAddress)]) -> ClientOptions {
    let mut builder = ConnectionString::parse(uri).unwrap().into_builder();
    for (server, target) in connect_to {
        builder = builder.connect_to(server.parse().unwrap(), target.clone());
    }
    builder.build().unwrap()
}

fn ping(options: ClientOptions) -> Result<Client, mongotls::Error> {
    let client = Client::with_options(options)?;
    client.database("admin").run_command(doc! { "ping": 1 })?;
    Ok(client)
}

#[test]
fn connect_to_keeps_the_name_of_the_server() {
    let bench = Bench::with(KeyKind::EcP256, |_| LeafSpec::server(NAME), |tls| tls);
    let ca = bench.ca_file.display();
    let uri = format!("mongodb://{NAME}/?tls=true&tlsCAFile={ca}&serverSelectionTimeoutMS=2000");
    let target = local(bench.server.port());
    let client = ping(options(&uri, &[(NAME, target.clone())])).unwrap();
    let report = client.server_report().unwrap();
    assert_eq!(report.server, ServerAddress::tcp(NAME, 27017));
    let connections = bench.server.connections();
    assert!(
        connections
            .iter()
            .all(|one| one.sni.as_deref() == Some(NAME))
    );

    // The certificate must contain the name of the server, not that of the target.
    let uri = format!("mongodb://other.mongotls.invalid/?tls=true&tlsCAFile={ca}");
    let found = doctor::examine_options(&options(
        &uri,
        &[("other.mongotls.invalid", target.clone())],
    ));
    let error = found.examinations[0].error.as_ref().unwrap();
    assert_eq!(code(error), CauseCode::HostnameMismatch, "{error}");

    // A key matches host and port.
    let uri = format!("mongodb://{NAME}:27018/?tls=true&tlsCAFile={ca}&connectTimeoutMS=5000");
    let found = doctor::examine_options(&options(&uri, &[(NAME, target)]));
    let error = found.examinations[0].error.as_ref().unwrap();
    assert_eq!(
        error.stage(),
        Some(mongotls::error::Stage::Resolve),
        "{error}"
    );
}

#[test]
fn connect_to_leads_to_monitors_and_members_too() {
    let nodes = NodeOptions::new()
        .host(|index| format!("db{index}.mongotls.invalid"))
        .tls(|ca, index| {
            let name = format!("db{index}.mongotls.invalid");
            ServerTls::new(&ca.issue(LeafSpec::server(&name)))
        });
    let set = ReplicaSet::builder("rs").nodes(nodes).start();
    let uri = set.uri_with_seeds(&[2], "");
    let mut builder = ConnectionString::parse(&uri).unwrap().into_builder();
    for index in 0..3 {
        let server: ServerAddress = set.address(index).parse().unwrap();
        let target = local(server.port().unwrap());
        builder = builder.connect_to(server, target);
    }
    let options = builder.build().unwrap();
    let client = ping(options.clone()).unwrap();
    let primary: ServerAddress = set.address(0).parse().unwrap();
    assert_eq!(client.server_report().unwrap().server, primary);
    let found = doctor::examine_options(&options);
    assert!(found.is_ok(), "{found:?}");
    assert_eq!(found.examinations.len(), 3);
}

#[test]
fn connect_to_may_lead_to_a_unix_socket() {
    let dir = PkiDir::new();
    let path = dir.path().join("tunnel.sock");
    let _server = Server::builder().bind(Bind::Unix(path.clone())).start();
    let uri = format!("mongodb://{NAME}/");
    ping(options(&uri, &[(NAME, ServerAddress::unix(&path))])).unwrap();
}

#[test]
fn a_proxy_connects_to_the_target_of_connect_to() {
    let server = Server::builder().start();
    let proxy = Socks5Proxy::builder()
        .name("tunnel.mongotls.invalid", server.addr())
        .start();
    let uri = format!("mongodb://{NAME}/?{}", proxy.options());
    let target = ServerAddress::tcp("tunnel.mongotls.invalid", 27099);
    ping(options(&uri, &[(NAME, target)])).unwrap();
    let mut visits = proxy.visits();
    visits.retain(|visit| visit.address_type != 0);
    assert!(!visits.is_empty());
    for visit in visits {
        assert_eq!(
            (visit.host.as_str(), visit.port),
            ("tunnel.mongotls.invalid", 27099)
        );
    }
}

#[test]
fn a_target_that_does_not_answer_is_named() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let found = doctor::examine_options(&options(
        &format!("mongodb://{NAME}/"),
        &[(NAME, local(port))],
    ));
    let error = found.examinations[0].error.as_ref().unwrap();
    let cause = error.cause().unwrap();
    assert_eq!(cause.code(), CauseCode::ConnectionRefused);
    assert_eq!(
        cause.message(),
        format!(
            "connection refused: nothing listens on 127.0.0.1:{port}; connect_to leads from {NAME}:27017 to 127.0.0.1:{port}"
        )
    );
    let remedy = format!("Check the tunnel or the forwarded port at 127.0.0.1:{port}. ");
    assert!(cause.remedy().starts_with(&remedy), "{}", cause.remedy());
    assert_eq!(fact(error, "connect_to"), format!("127.0.0.1:{port}"));
}

#[test]
fn a_name_that_no_server_accepts_is_not_sent() {
    let server = Server::builder().start();
    let client = Client::connect(&server.uri()).unwrap();
    let ping = |name: &str| client.database(name).run_command(doc! { "ping": 1 });
    ping("$external").unwrap();
    let before = server.commands_named("ping").len();
    for (name, expected) in [
        ("", "the name of the database is empty"),
        ("a.b", "the name of a database cannot contain '.'"),
        ("a\0b", "the name of a database cannot contain '\\0'"),
    ] {
        let error = ping(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.to_string(), expected);
        let cursor = client
            .database(name)
            .run_cursor_command::<mongotls::bson::Document>(doc! { "find": "c" });
        assert_eq!(cursor.unwrap_err().to_string(), expected);
    }
    assert_eq!(server.commands_named("ping").len(), before);
    let error = Client::connect("mongodb://h/tls=true").unwrap_err();
    assert_eq!(code(&error), CauseCode::InvalidUri);
}

#[test]
fn the_command_line_connects_to_another_address_too() {
    let bench = Bench::with(KeyKind::EcP256, |_| LeafSpec::server(NAME), |tls| tls);
    let uri = format!(
        "mongodb://{NAME}/?tls=true&tlsCAFile={}",
        bench.ca_file.display()
    );
    let redirect = format!(
        "--connect-to={NAME}:27017=127.0.0.1:{}",
        bench.server.port()
    );
    let ping = mongotls_with(&["ping", &uri, &redirect], &[]);
    assert_eq!(ping.code, 0, "{}", ping.err);
    assert!(
        ping.out.starts_with(&format!("server      {NAME}:27017\n")),
        "{}",
        ping.out
    );
    let run = mongotls_with(&["run", &uri, "admin", r#"{"ping": 1}"#, &redirect], &[]);
    assert_eq!(run.code, 0, "{}", run.err);
    let doctor = mongotls_with(&["doctor", &uri, &redirect, "--json"], &[]);
    assert_eq!(doctor.code, 0, "{}", doctor.out);
    let wrong = mongotls_with(&["ping", &uri, "--connect-to", NAME], &[]);
    assert_eq!(wrong.code, 2);
    let expected = "mongotls: --connect-to takes HOST:PORT=ADDRESS:PORT\nTry: mongotls --help\n";
    assert_eq!(wrong.err, expected);
}
