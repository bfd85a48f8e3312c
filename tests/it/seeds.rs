//! The hosts of a connection string: which of several is used, and how each kind is reached.
//!
//! A host that cannot be reached is passed over, a primary goes before a secondary, and the choice
//! is kept while it holds. Hosts may be Unix sockets and IPv6 addresses, with TLS and without.

use std::time::Duration;

use mongotls::bson::doc;
use mongotls::{CauseCode, Client, Command, ErrorKind, ServerAddress, Stage};
use mongotls_testbench::net::Bind;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Hello, Role, Server, ServerTls, fail_command};
use mongotls_testbench::stranger;

use crate::common::{Bench, at_limit, code, fact, ping_on, timed, while_busy};

#[test]
fn a_host_that_cannot_be_reached_is_passed_over() {
    let server = Server::builder().start();
    let nobody = stranger::nobody();
    let client = Client::connect(&format!("mongodb://{nobody},{}/", server.addr())).unwrap();
    ping_on(&client).unwrap();
    let report = client.server_report().unwrap();
    assert_eq!(
        report.server,
        ServerAddress::tcp("127.0.0.1", server.port())
    );
    assert_eq!(server.counts().accepted, 1);
}

#[test]
fn when_no_host_can_be_used_the_error_names_each_with_its_reason() {
    let nobody = stranger::nobody();
    let web = stranger::http_server();
    let old = Server::builder()
        .hello(Hello {
            max_wire_version: 6,
            ..Hello::default()
        })
        .start();
    let uri = format!("mongodb://{nobody},{},{}/", web.addr(), old.addr());
    let error = ping_on(&Client::connect(&uri).unwrap()).unwrap_err();
    let text = error.to_string();
    for (address, reason) in [
        (nobody, "connection refused"),
        (web.addr(), "looks like HTTP"),
        (old.addr(), "wire version 6 is too old"),
    ] {
        let own = text
            .split("; server ")
            .find(|part| part.contains(&address.to_string()) && part.contains(reason));
        assert!(own.is_some(), "{address} with {reason:?} in {text}");
    }
    // The first host stands for the others.
    assert_eq!(
        (error.kind(), code(&error)),
        (ErrorKind::Network, CauseCode::ConnectionRefused)
    );
}

#[test]
fn the_limit_of_a_call_covers_all_hosts_together() {
    let limit = Duration::from_millis(400);
    let silent = [stranger::silent(), stranger::silent(), stranger::silent()];
    let hosts: Vec<_> = silent
        .iter()
        .map(|server| server.addr().to_string())
        .collect();
    let client = Client::connect(&format!("mongodb://{}/", hosts.join(","))).unwrap();
    let ping = Command::from(doc! { "ping": 1 }).timeout(limit);
    let error = at_limit(limit, || client.database("db").run_command(ping)).unwrap_err();
    assert_eq!(
        (error.kind(), code(&error)),
        (ErrorKind::Timeout, CauseCode::HandshakeTimeout)
    );
    assert_eq!(fact(&error, "option"), "the time limit of the call");
    // The first host has used the limit up; the others were not tried.
    assert!(
        error
            .to_string()
            .starts_with(&format!("server {}: ", hosts[0])),
        "{error}"
    );
}

/// A primary, a secondary, and a client of both whose seed list begins with the primary.
fn replica_set(options: &str) -> (Server, Server, Client) {
    let member = |role| {
        Server::builder()
            .hello(Hello::member(role, "rs0", "a:1", &["a:1", "b:1"]))
            .start()
    };
    let (primary, secondary) = (member(Role::Primary), member(Role::Secondary));
    let uri = format!(
        "mongodb://{},{}/?{options}",
        primary.addr(),
        secondary.addr()
    );
    (primary, secondary, Client::connect(&uri).unwrap())
}

#[test]
fn a_full_pool_does_not_send_a_command_to_a_secondary() {
    let options = "maxPoolSize=1&waitQueueTimeoutMS=200";
    let (primary, secondary, client) = replica_set(options);
    ping_on(&client).unwrap();
    while_busy(&primary, &client, || {
        let insert = doc! { "insert": "things", "documents": [{}] };
        let error = client.database("db").run_command(insert).unwrap_err();
        assert!(
            error.to_string().contains("200 ms (waitQueueTimeoutMS)"),
            "{error}"
        );
    });
    assert_eq!(secondary.counts().accepted, 0);
}

#[test]
fn after_a_failover_the_next_command_finds_the_new_primary() {
    let (first, second, client) = replica_set("");
    let set = |server: &Server, role| server.set_hello(|hello| hello.role = role);
    let mut old = (&first, &second);
    for _ in 0..3 {
        ping_on(&client).unwrap();
        let (from, to) = old;
        set(from, Role::Secondary);
        set(to, Role::Primary);
        let failure = doc! { "errorCode": 10107 };
        from.configure_fail_point(&fail_command(1, &["insert"], failure));
        let insert = || {
            let insert = doc! { "insert": "things", "documents": [{}] };
            client.database("db").run_command(insert)
        };
        let (before, others) = (to.count_of("insert"), from.count_of("insert"));
        assert_eq!(insert().unwrap_err().command().unwrap().code, 10107);
        insert().unwrap();
        insert().unwrap();
        assert_eq!(to.count_of("insert"), before + 2);
        assert_eq!(from.count_of("insert"), others + 1);
        old = (to, from);
    }
}

#[test]
fn without_a_primary_a_secondary_goes_before_what_cannot_be_read_from() {
    let (first, second, client) = replica_set("");
    first.set_hello(|hello| hello.role = Role::Arbiter);
    ping_on(&client).unwrap();
    assert_eq!((first.count_of("ping"), second.count_of("ping")), (0, 1));
}

#[test]
fn a_dead_host_is_not_tried_with_each_command_where_no_host_is_writable() {
    let silent = stranger::silent();
    let (_, secondary, _) = replica_set("");
    let uri = format!(
        "mongodb://{},{}/?connectTimeoutMS=400",
        silent.addr(),
        secondary.addr()
    );
    let client = Client::connect(&uri).unwrap();
    at_limit(Duration::from_millis(400), || ping_on(&client)).unwrap();
    timed(Duration::ZERO, Duration::from_millis(300), || {
        for _ in 0..20 {
            ping_on(&client).unwrap();
        }
    });
    assert_eq!(secondary.counts().accepted, 1);
    // A server that says that it does not take writes is a reason to search at once.
    let failure = doc! { "errorCode": 13435 };
    secondary.configure_fail_point(&fail_command(1, &["ping"], failure));
    ping_on(&client).unwrap_err();
    secondary.set_hello(|hello| hello.role = Role::Primary);
    timed(Duration::ZERO, Duration::from_millis(300), || {
        ping_on(&client)
    })
    .unwrap();
}

#[test]
fn a_server_on_a_unix_socket_is_reached_with_tls_and_without() {
    let dir = PkiDir::new();
    let plain = Server::builder()
        .bind(Bind::Unix(dir.path().join("plain.sock")))
        .start();
    let client = Client::connect(&plain.uri()).unwrap();
    ping_on(&client).unwrap();
    let report = client.server_report().unwrap();
    assert_eq!(
        report.server,
        ServerAddress::unix(dir.path().join("plain.sock"))
    );
    assert!(report.handshake.is_none());

    let ca = Ca::root("bench root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let secure = Server::builder()
        .tls(tls)
        .bind(Bind::Unix(dir.path().join("secure.sock")))
        .start();
    let bench = Bench::around(secure, ca);
    let uri = format!(
        "{}?tls=true&tlsCAFile={}",
        bench.server.uri(),
        bench.ca_file.display()
    );
    let client = Client::connect(&uri).unwrap();
    ping_on(&client).unwrap();
    assert!(client.server_report().unwrap().handshake.is_some());

    let gone = dir.path().join("gone.sock");
    let uri = format!(
        "mongodb://{}/",
        gone.display().to_string().replace('/', "%2F")
    );
    let error = ping_on(&Client::connect(&uri).unwrap()).unwrap_err();
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::ConnectionRefused, Some(Stage::Connect))
    );
    assert!(
        error.to_string().contains(&gone.display().to_string()),
        "{error}"
    );
}

#[test]
fn a_server_on_ipv6_is_reached_with_tls_and_without() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // This host has no IPv6.
    }
    let plain = Server::builder().bind(Bind::V6(0)).start();
    let client = Client::connect(&plain.uri()).unwrap();
    ping_on(&client).unwrap();
    assert!(plain.uri().contains("[::1]"));
    assert_eq!(
        client.server_report().unwrap().server,
        ServerAddress::tcp("::1", plain.port())
    );

    let ca = Ca::root("bench root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let bench = Bench::around(Server::builder().tls(tls).bind(Bind::V6(0)).start(), ca);
    let client = Client::connect(&bench.uri_for("[::1]", "")).unwrap();
    ping_on(&client).unwrap();
    let report = client.server_report().unwrap();
    assert_eq!(
        report.server,
        ServerAddress::tcp("::1", bench.server.port())
    );
    assert!(report.handshake.is_some());
    // An address is not sent as server name.
    assert_eq!(bench.server.connections()[0].sni, None);
}

#[test]
fn options_that_a_program_changed_after_the_check_do_not_panic() {
    let (mut options, _) = mongotls::ClientOptions::parse("mongodb://localhost/").unwrap();
    options.hosts.clear();
    let outcome = Client::with_options(options).and_then(|client| ping_on(&client).map(|_| ()));
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidArgument);
}
