//! Successful connections through a SOCKS5 proxy, with the bench's proxy and a real one. Source: "SOCKS5 Support".

mod failures;

use std::net::ToSocketAddrs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mongotls::bson::doc;
use mongotls::doctor::{self, Findings};
use mongotls::error::Stage;
use mongotls::event::Event;
use mongotls::options::Secret;
use mongotls::{CauseCode, Client, ClientOptions, ConnectionString, ServerAddress};
use mongotls_testbench::fault::Fault;
use mongotls_testbench::net::Bind;
use mongotls_testbench::ocsp::Responder;
use mongotls_testbench::peers::{MicroSocks, or_skip};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Auth, Server, ServerTls, User, fail_command};
use mongotls_testbench::socks5::{Socks5Proxy, Visit};
use serde_json::{Value, json};

use crate::cli::mongotls;
use crate::common::{Bench, code, fact, ping, ping_error, ping_on};
use crate::target::{attempt_error, waiting_error};

/// A name that only a proxy can resolve (RFC 6761).
const NAME: &str = "db.mongotls.invalid";

/// A server on TLS whose certificate contains only that name, and none of this host.
fn named() -> Bench {
    let spec = |_| LeafSpec::server(NAME);
    Bench::with(KeyKind::EcP256, spec, |tls| tls)
}

/// A connection string for the name, with these options.
fn uri_of(bench: &Bench, options: &str) -> String {
    let ca = bench.ca_file.display();
    format!("mongodb://{NAME}/?tls=true&tlsCAFile={ca}&{options}")
}

/// Waits for the program's connection and for the monitor's own, which comes with its second check: the proxy has
/// recorded equal visits.
fn expect_visits(proxy: &Socks5Proxy, expected: &Visit) {
    let both = [expected.clone(), expected.clone()];
    proxy.wait_until(Duration::from_secs(10), |visits| *visits == both);
    assert_eq!(proxy.visits(), both);
}

fn bob() -> Option<(String, String)> {
    Some(("bob".to_owned(), "p@ss".to_owned()))
}

/// The visit of a client that requests that name, and sent `login` on request.
fn visit(methods: &[u8], login: Option<(String, String)>) -> Visit {
    Visit {
        methods: methods.to_vec(),
        login,
        address_type: 3,
        host: NAME.to_owned(),
        port: 27017,
    }
}

/// The table of the specification's test plan, with TLS and without: proxies with and without a user, clients with and
/// without one.
#[test]
fn the_proxy_resolves_the_server_for_accepted_users() {
    let bench = named();
    let plain = Server::builder().start();
    for tls in [true, false] {
        let server = if tls { &bench.server } else { &plain };
        let open = Socks5Proxy::builder().name(NAME, server.addr());
        let closed = open.clone().login("bob", "p@ss").start();
        let open = open.start();
        let known = "proxyUsername=bob&proxyPassword=p%40ss";
        let unknown = "proxyUsername=eve&proxyPassword=guess";
        let eve = Some(("eve".to_owned(), "guess".to_owned()));
        for (proxy, user, expected, lets_in) in [
            (&open, "", visit(&[0], None), true),
            (&open, known, visit(&[0, 2], None), true),
            (&open, unknown, visit(&[0, 2], None), true),
            (&closed, known, visit(&[0, 2], bob()), true),
            (
                &closed,
                "",
                Visit {
                    methods: vec![0],
                    ..Visit::default()
                },
                false,
            ),
            (
                &closed,
                unknown,
                Visit {
                    methods: vec![0, 2],
                    login: eve,
                    ..Visit::default()
                },
                false,
            ),
        ] {
            let options = format!("{}&{user}&directConnection=true", proxy.options());
            let uri = match tls {
                true => uri_of(&bench, &options),
                false => format!("mongodb://{NAME}/?{options}"),
            };
            let (before, visits) = (server.counts().accepted, proxy.visits().len());
            if lets_in {
                ping(&uri).unwrap_or_else(|error| panic!("{uri}: {error}"));
            } else {
                assert_eq!(code(&attempt_error(&uri)), CauseCode::ProxyFailed, "{uri}");
            }
            // The monitor and the program use the same route.
            let visits = proxy.visits().split_off(visits);
            assert!(visits.iter().all(|visit| *visit == expected), "{visits:?}");
            assert!(!visits.is_empty(), "{uri}");
            let made = server.counts().accepted - before;
            let expected = if lets_in { visits.len() } else { 0 };
            assert_eq!(made, expected as u64, "{uri}");
        }
    }
}

#[test]
fn the_builder_leads_through_the_proxy_too() {
    let server = Server::builder().start();
    let proxy = Socks5Proxy::builder()
        .name(NAME, server.addr())
        .login("bob", "p@ss")
        .start();
    let builder = ClientOptions::builder()
        .host(ServerAddress::tcp(NAME, 27017))
        .proxy("127.0.0.1", proxy.addr().port())
        .proxy_credential("bob", Secret::new("p@ss"));
    let client = Client::with_options(builder.build().unwrap()).unwrap();
    ping_on(&client).unwrap();
    expect_visits(&proxy, &visit(&[0, 2], bob()));
}

/// All of it together; and no event of the connection names the proxy.
#[test]
fn authentication_works_via_the_proxy_with_tls() {
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let auth = Auth::new().user(User::new("admin", "ada", "pencil"));
    let tls = ServerTls::new(&ca.issue(LeafSpec::server(NAME)));
    let bench = Bench::around(Server::builder().tls(tls).auth(auth).start(), ca);
    let proxy = Socks5Proxy::builder()
        .name(NAME, bench.server.addr())
        .login("bob", "p@ss")
        .start();
    let options = format!("{}&proxyUsername=bob&proxyPassword=p%40ss", proxy.options());
    let uri = uri_of(&bench, &options).replace("//", "//ada:pencil@");
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&seen);
    let builder = ConnectionString::parse(&uri)
        .unwrap()
        .into_builder()
        .event_listener(move |event: &Event| heard.lock().unwrap().push(format!("{event:?}")));
    let client = Client::with_options(builder.build().unwrap()).unwrap();
    client
        .database("db")
        .run_command(doc! { "count": "things" })
        .unwrap();
    let connections = bench.server.program_connections();
    assert_eq!(connections[0].user.as_deref(), Some("admin.ada"));
    // It has resumed the session of the monitor's connection to this server.
    let snapshot = client.snapshot();
    assert_eq!(
        (snapshot.full_handshakes, snapshot.resumed_handshakes),
        (1, 1)
    );
    // Later connections do so too.
    let close = fail_command(1, &["ping"], doc! { "closeConnection": true });
    bench.server.configure_fail_point(&close);
    ping_on(&client).unwrap_err();
    ping_on(&client).unwrap();
    let snapshot = client.snapshot();
    assert_eq!(snapshot.full_handshakes, 1);
    assert!(snapshot.resumed_handshakes > 1, "{snapshot:?}");
    let seen = seen.lock().unwrap();
    let port = proxy.addr().port().to_string();
    assert!(seen.iter().any(|event| event.contains("CommandSucceeded")));
    for event in seen.iter() {
        assert!(!event.contains(&port) && !event.contains("p@ss"), "{event}");
    }
}

#[test]
fn tls_verifies_the_server_name_not_the_proxy_name() {
    // The certificate names this host, like that of a proxy here would.
    let bench = Bench::sound();
    let proxy = Socks5Proxy::builder()
        .name(NAME, bench.server.addr())
        .start();
    let error = ping_error(&uri_of(&bench, &proxy.options()));
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::HostnameMismatch, Some(Stage::Tls))
    );
    assert_eq!(fact(&error, "host"), NAME);
}

#[test]
fn addresses_are_sent_as_such_and_proxies_may_use_ipv6() {
    let v4 = Server::builder().start();
    let proxy = Socks5Proxy::start();
    let last = |proxy: &Socks5Proxy| {
        let visit = proxy.visits().pop().unwrap();
        (visit.address_type, visit.host, visit.port)
    };
    let options = proxy.options();
    ping(&format!("{}?{options}", v4.uri())).unwrap();
    assert_eq!(last(&proxy), (1, "127.0.0.1".to_owned(), v4.port()));
    ping(&format!("mongodb://LocalHost:{}/?{options}", v4.port())).unwrap();
    assert_eq!(last(&proxy), (3, "localhost".to_owned(), v4.port()));

    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // This host has no IPv6.
    }
    let v6 = Server::builder().bind(Bind::V6(0)).start();
    let proxy = Socks5Proxy::builder().bind(Bind::V6(0)).start();
    for host in ["::1", "[::1]", "%5B%3A%3A1%5D"] {
        let uri = format!(
            "{}?proxyHost={host}&proxyPort={}",
            v6.uri(),
            proxy.addr().port()
        );
        ping(&uri).unwrap();
        assert_eq!(last(&proxy), (4, "::1".to_owned(), v6.port()), "{host}");
    }
    // All addresses of the proxy's name are tried.
    let mut addresses = ("localhost", 1).to_socket_addrs().unwrap();
    if addresses.any(|address| address.is_ipv6()) {
        let port = proxy.addr().port();
        ping(&format!(
            "{}?proxyHost=localhost&proxyPort={port}",
            v6.uri()
        ))
        .unwrap();
    }
}

#[test]
fn a_unix_socket_needs_no_proxy() {
    let dir = PkiDir::new();
    let path = dir.path().join("mongodb.sock");
    let server = Server::builder().bind(Bind::Unix(path)).start();
    let proxy = Socks5Proxy::start();
    let uri = format!("{}?{}", server.uri(), proxy.options());
    ping(&uri).unwrap();
    assert_eq!(proxy.visits(), []);
    let found = doctor::examine(&uri).examinations.remove(0);
    assert!(
        found
            .stages
            .iter()
            .any(|stage| matches!(stage.findings, Findings::Peer(None)))
    );
}

/// The test in the clear of a server that does not answer the ClientHello uses the same route.
#[test]
fn the_look_in_the_clear_goes_through_the_proxy() {
    let server = Server::builder().start();
    let proxy = Socks5Proxy::builder().name(NAME, server.addr()).start();
    server.faults().next(1, Fault::close_after(0));
    let options = proxy.options();
    let error = ping_error(&format!(
        "mongodb://{NAME}/?tls=true&tlsInsecure=true&{options}"
    ));
    assert_eq!(code(&error), CauseCode::ServerNotTls);
    assert_eq!(proxy.visits(), [visit(&[0], None), visit(&[0], None)]);
    assert_eq!(server.counts().accepted, 2);
}

/// The specification requires the proxy for connections to MongoDB, and names no others that are made here.
#[test]
fn ocsp_responders_are_queried_directly() {
    let responder = Responder::start();
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::server(NAME).ocsp_url(&responder.url()));
    responder.answer(&identity.cert, ca.ocsp(&identity.cert).build());
    let server = Server::builder().tls(ServerTls::new(&identity)).start();
    let bench = Bench::around(server, ca);
    let proxy = Socks5Proxy::builder()
        .name(NAME, bench.server.addr())
        .start();
    let client = Client::connect(&uri_of(&bench, &proxy.options())).unwrap();
    ping_on(&client).unwrap();
    expect_visits(&proxy, &visit(&[0], None));
    assert_eq!(responder.requests().len(), 1);
}

#[cfg(feature = "srv")]
#[test]
fn seed_lists_use_local_dns_and_hosts_use_the_proxy() {
    use mongotls_testbench::dns::{DnsServer, Zone};

    let server = Server::builder().start();
    let proxy = Socks5Proxy::builder().name(NAME, server.addr()).start();
    let zone = format!("_mongodb._tcp.mongotls.invalid. SRV 27017 {NAME}.");
    let dns = DnsServer::start(Zone::parse(&zone));
    let uri = format!(
        "mongodb+srv://mongotls.invalid/?tls=false&{}",
        proxy.options()
    );
    let options = ConnectionString::parse(&uri)
        .unwrap()
        .into_builder()
        .dns_server(dns.addr())
        .build()
        .unwrap();
    let client = Client::with_options(options).unwrap();
    ping_on(&client).unwrap();
    expect_visits(&proxy, &visit(&[0], None));
}

#[test]
fn the_doctor_shows_the_proxy_where_it_looks_for_the_server() {
    let bench = named();
    let proxy = Socks5Proxy::builder()
        .name(NAME, bench.server.addr())
        .start();
    let port = proxy.addr().port();
    let uri = uri_of(&bench, &format!("proxyHost=127.0.0.1&proxyPort={port}"));
    let run = mongotls(&["doctor", &uri]);
    assert_eq!(run.code, 0, "{}", run.out);
    let line = |stage: &str| {
        let mut lines = run.out.lines();
        lines
            .find(|line| line.trim_start().starts_with(stage))
            .unwrap_or_else(|| panic!("{}", run.out))
    };
    let of_proxy = format!("127.0.0.1, of the proxy 127.0.0.1:{port}");
    assert!(line("resolve").ends_with(&of_proxy), "{}", run.out);
    let through = format!("through the proxy 127.0.0.1:{port} at 127.0.0.1:{port}");
    assert!(line("connect").ends_with(&through), "{}", run.out);

    let run = mongotls(&["doctor", &uri, "--json"]);
    let object: Value = serde_json::from_str(&run.out).unwrap();
    let stage = |name: &str| {
        let stages = object["stages"].as_array().unwrap();
        stages.iter().find(|stage| stage["name"] == name).unwrap()
    };
    let address = format!("127.0.0.1:{port}");
    assert_eq!(stage("resolve")["proxy"], json!(address));
    assert_eq!(stage("resolve")["addresses"], json!([address]));
    assert_eq!(stage("connect")["proxy"], json!(address));
    assert_eq!(stage("connect")["peer"], json!(address));
    assert_eq!(object["server"], json!(format!("{NAME}:27017")));

    let found = doctor::examine(&uri).examinations.remove(0);
    let findings: Vec<_> = found.stages.iter().map(|stage| &stage.findings).collect();
    assert!(
        matches!(findings[1], Findings::ProxyAddresses { addresses, .. } if addresses == &[proxy.addr()])
    );
    assert!(matches!(findings[2], Findings::ProxyPeer { peer, .. } if *peer == Some(proxy.addr())));
}

#[test]
fn a_real_proxy_is_passed() {
    let Some(open) = or_skip(MicroSocks::start(None)) else {
        return;
    };
    let closed = or_skip(MicroSocks::start(Some(("bob", "p@ss")))).unwrap();
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let auth = Auth::new().user(User::new("admin", "ada", "pencil"));
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    // microsocks connects only to the first address of a name.
    let first = ("localhost", 0).to_socket_addrs().unwrap().next();
    let (server, literal) = match first.is_some_and(|first| first.is_ipv6()) {
        true => (Server::builder().bind(Bind::V6(0)), "[::1]"),
        false => (Server::builder(), "127.0.0.1"),
    };
    let bench = Bench::around(server.tls(tls).auth(auth).start(), ca);
    let of = |host: &str, proxy: &MicroSocks, user: &str| {
        let port = proxy.addr().port();
        let options = format!("&proxyHost=localhost&proxyPort={port}{user}");
        bench.uri_for(&format!("ada:pencil@{host}"), &options)
    };
    let bob = "&proxyUsername=bob&proxyPassword=p%40ss";
    for host in ["localhost", literal] {
        for (proxy, user) in [(&open, ""), (&open, bob), (&closed, bob)] {
            ping(&of(host, proxy, user)).unwrap();
        }
    }
    let log = closed.log();
    let port = bench.server.port();
    assert!(
        log.contains(&format!("connected to localhost:{port}")),
        "{log}"
    );

    let error = attempt_error(&of("localhost", &closed, ""));
    assert_eq!(code(&error), CauseCode::ProxyFailed);
    assert!(error.to_string().contains("requires user and password"));
    let eve = "&proxyUsername=eve&proxyPassword=guess";
    let error = waiting_error(&of("localhost", &closed, eve));
    assert_eq!(code(&error), CauseCode::ProxyFailed);
    assert_eq!(fact(&error, "user"), "eve");
    let nobody = mongotls_testbench::stranger::nobody();
    let uri = format!(
        "mongodb://{nobody}/?proxyHost=127.0.0.1&proxyPort={}",
        open.addr().port()
    );
    let error = waiting_error(&uri);
    assert_eq!(code(&error), CauseCode::ConnectionRefused);
    assert_eq!(fact(&error, "reply"), "5");
}
