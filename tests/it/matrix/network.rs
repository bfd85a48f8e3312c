//! Names that do not resolve, ports without a listener, connections that end, and servers of another kind.

use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use mongotls::CauseCode;
use mongotls::bson::doc;
use mongotls::error::Stage;
use mongotls_testbench::fault::{Fault, Layer};
use mongotls_testbench::peers::{HaProxy, HaProxyOptions, or_skip};
use mongotls_testbench::pki::{CaSpec, KeyKind, LeafSpec};
use mongotls_testbench::server::{ReplyFault, Role, Server, ServerTls, fail_command};
use mongotls_testbench::socks5::{Misbehaviour, Socks5Proxy};
use mongotls_testbench::stranger;
use serde_json::{Value, json};

use super::{Expected, KINDS, Place, Seen, TLS_1_2, TLS_1_3, key, shown, skipped, tempfile};
use crate::common::Bench;
use crate::target::for_each;

pub(super) const CODES: &[CauseCode] = &[
    CauseCode::DnsNotFound,
    CauseCode::DnsFailed,
    CauseCode::ConnectionRefused,
    CauseCode::ConnectionReset,
    CauseCode::ConnectionClosed,
    CauseCode::NetworkUnreachable,
    CauseCode::ConnectTimeout,
    CauseCode::ProxyFailed,
    CauseCode::HandshakeTimeout,
    CauseCode::NotMongodb,
    CauseCode::ProtocolError,
    CauseCode::HelloFailed,
];

fn bench(kind: KeyKind) -> Bench {
    let ca = CaSpec::new("the root").key(&key(kind, "root")).root();
    let identity = ca.issue(LeafSpec::local_server().key(&key(kind, "leaf")));
    let server = Server::builder().tls(ServerTls::new(&identity)).start();
    Bench::around(server, ca)
}

#[test]
fn an_unknown_name_differs_from_a_failing_resolver() {
    let uri = "mongodb://db.mongotls.invalid/?connectTimeoutMS=20000&serverSelectionTimeoutMS=3000";
    let mut seen = Seen::default();
    if !Place::can_mount() {
        // `net::resolve` has unit tests for both; the result on a host depends on its name servers.
        skipped("names and resolvers; they need unshare --mount");
        return;
    }
    // Only files are read, and then a name server of this host that does not exist.
    let (files, _a) = tempfile(b"hosts: files\n");
    let (dns, _b) = tempfile(b"hosts: dns\n");
    let (nobody, _c) = tempfile(b"nameserver 127.254.254.254\noptions timeout:1 attempts:1\n");
    let cases = [
        (
            vec![(files, "/etc/nsswitch.conf")],
            Expected::new(CauseCode::DnsNotFound).says("db.mongotls.invalid"),
        ),
        (
            vec![(dns, "/etc/nsswitch.conf"), (nobody, "/etc/resolv.conf")],
            Expected::new(CauseCode::DnsFailed).says("resolv.conf"),
        ),
    ];
    for (mounts, expected) in cases {
        let place = Place {
            mounts,
            ..Place::default()
        };
        let expected = expected
            .at(Stage::Resolve)
            .fact("host", "db.mongotls.invalid")
            .fact("port", 27017);
        seen.check_in(&place, "resolver", uri, &expected);
        assert_eq!(place.client_code(uri), expected.code.as_str());
    }
    seen.are(&[CauseCode::DnsNotFound, CauseCode::DnsFailed]);
}

/// A name server of this host that receives queries and does not answer.
#[test]
fn a_silent_name_server_is_reported_as_the_wait() {
    let Ok(silent) = UdpSocket::bind("127.254.254.253:53") else {
        return skipped("a silent name server; it needs the port 53");
    };
    if !Place::can_mount() {
        return skipped("a silent name server; it needs unshare --mount");
    }
    let (dns, _a) = tempfile(b"hosts: dns\n");
    let (conf, _b) = tempfile(b"nameserver 127.254.254.253\noptions timeout:5 attempts:2\n");
    let place = Place {
        mounts: vec![(dns, "/etc/nsswitch.conf"), (conf, "/etc/resolv.conf")],
        ..Place::default()
    };
    let told = |uri: &str| {
        let (exit, object) = place.json(&["ping", uri, "--json"]);
        assert_eq!(
            (exit, &object["cause"]),
            (1, &json!("dns-failed")),
            "{object:#}"
        );
        (
            object["message"].as_str().unwrap().to_owned(),
            object["remedy"].clone(),
        )
    };
    let remedy = "Check the name servers in /etc/resolv.conf and the way to them; then raise serverSelectionTimeoutMS.";
    for (option, limit) in [
        ("", "so far; the attempt may take 10 s (connectTimeoutMS)"),
        (
            "&connectTimeoutMS=0",
            "so far; connectTimeoutMS sets no limit",
        ),
    ] {
        let uri = format!("mongodb://db.mongotls.invalid/?serverSelectionTimeoutMS=600{option}");
        let (message, advice) = told(&uri);
        let expected = format!(
            "\n  db.mongotls.invalid:27017  Unknown: the resolver has not answered for \"db.mongotls.invalid\" {limit} [dns-failed]"
        );
        assert!(message.contains(&expected), "{message}");
        assert_eq!(advice, remedy);
    }
    // An attempt that has ended has a result.
    let mut seen = Seen::default();
    let uri = "mongodb://db.mongotls.invalid/?connectTimeoutMS=600";
    let expected = Expected::new(CauseCode::DnsFailed)
        .at(Stage::Resolve)
        .says("600 ms (connectTimeoutMS)")
        .says("resolv.conf");
    seen.check_in(&place, "a silent name server", uri, &expected);
    let mut query = [0; 512];
    assert!(silent.recv(&mut query).unwrap() > 12);
}

#[test]
fn unreachable_ports_and_networks_are_distinguished() {
    let mut seen = Seen::default();
    let nobody = stranger::nobody();
    let refused = Expected::new(CauseCode::ConnectionRefused)
        .fact("host", "127.0.0.1")
        .fact("port", nobody.port());
    for tls in ["true&tlsInsecure=true", "false"] {
        let uri = format!("mongodb://{nobody}/?tls={tls}");
        seen.check("nobody", &uri, &refused);
    }
    let unix = "mongodb://%2Fnowhere%2Fmongodb-27017.sock/";
    let expected = Expected::new(CauseCode::ConnectionRefused).says("/nowhere/mongodb-27017.sock");
    seen.check("no Unix socket", unix, &expected);
    // The kernel rejects a TCP connection to the broadcast address.
    let expected = Expected::new(CauseCode::NetworkUnreachable).fact("host", "255.255.255.255");
    seen.check("broadcast", "mongodb://255.255.255.255/", &expected);

    // A full backlog: the kernel drops new connection requests.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let full = socket.local_addr().unwrap().as_socket().unwrap();
    let fill = || TcpStream::connect_timeout(&full, Duration::from_millis(100));
    let _held: Vec<_> = std::iter::from_fn(|| fill().ok()).take(100).collect();
    let expected = Expected::new(CauseCode::ConnectTimeout)
        .fact("limit_ms", 400)
        .fact("option", "connectTimeoutMS");
    let uri = format!("mongodb://{full}/?connectTimeoutMS=400");
    seen.check("backlog", &uri, &expected);
    seen.are(&[
        CauseCode::ConnectionRefused,
        CauseCode::NetworkUnreachable,
        CauseCode::ConnectTimeout,
    ]);
}

#[test]
fn each_proxy_failure_is_reported_with_its_reason() {
    let code = CauseCode::ProxyFailed;
    let mut seen = Seen::default();
    for kind in KINDS {
        let bench = bench(kind);
        let proxy = Socks5Proxy::builder().login("bob", "pw").start();
        let expected = Expected::new(code)
            .fact("proxy", proxy.addr().to_string())
            .fact("host", "localhost");
        let uri = |user: &str| bench.uri(&format!("&{}{user}", proxy.options()));
        let bob = uri("&proxyUsername=bob&proxyPassword=pw");
        let greeting = expected.clone().fact("step", "greeting");
        let lacks = greeting.clone().says("proxyUsername");
        seen.check("no user", &uri(""), &lacks);
        let wrong = uri("&proxyUsername=bob&proxyPassword=guess");
        let refused = expected.clone().fact("step", "login").fact("user", "bob");
        seen.check("a wrong password", &wrong, &refused);
        proxy.reply_with(2);
        let ruled_out = expected.fact("step", "connect").fact("reply", 2);
        seen.check("a rule", &bob, &ruled_out.says("rules of the proxy"));
        let page = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
        proxy.misbehave(Misbehaviour::Greeting(page));
        let other = greeting.fact("looks_like", "HTTP").says("proxyPort");
        seen.check("a web server", &bob, &other);
    }
    seen.are(&[code]);
}

#[test]
fn an_incomplete_handshake_reports_its_phase() {
    let (closed, reset) = (CauseCode::ConnectionClosed, CauseCode::ConnectionReset);
    let timeout = CauseCode::HandshakeTimeout;
    for_each(KINDS, |kind| {
        let mut seen = Seen::default();
        let bench = bench(kind);
        let identity = bench
            .ca
            .issue(LeafSpec::local_server().key(&key(kind, "leaf")));
        for (min, max) in [TLS_1_2, TLS_1_3] {
            bench
                .server
                .set_tls(&ServerTls::new(&identity).versions(min, max));
            let uri = bench.uri_for("127.0.0.1", "&connectTimeoutMS=400");
            for (fault, code) in [
                (Fault::close_after(100), closed),
                (Fault::reset_after(100), reset),
                (Fault::stall_after(100), timeout),
            ] {
                let faults = bench.server.faults();
                faults.all(fault);
                let expected = Expected::new(code).at(Stage::Tls);
                let expected = match code {
                    CauseCode::HandshakeTimeout => expected
                        .fact("limit_ms", 400)
                        .fact("option", "connectTimeoutMS")
                        .fact("received_bytes", 100),
                    CauseCode::ConnectionClosed => expected
                        .fact("received_bytes", 100)
                        .says("during the TLS handshake"),
                    _ => expected.says("during the TLS handshake"),
                };
                let scenario = format!("{code} on {min:?} with {kind:?}");
                seen.check(&scenario, &uri, &expected);
                faults.clear();
            }
            for (fault, code) in [
                (Fault::close_after(0).on(Layer::Message), closed),
                (Fault::reset_after(0).on(Layer::Message), reset),
                (Fault::stall_after(0).on(Layer::Message), timeout),
            ] {
                let faults = bench.server.faults();
                faults.all(fault);
                let scenario = format!("{code} at hello on {min:?} with {kind:?}");
                seen.check(&scenario, &uri, &Expected::new(code).at(Stage::Hello));
                faults.clear();
            }
        }
        seen.are(&[closed, reset, timeout]);
    });
    let mut seen = Seen::default();
    let silent = stranger::silent();
    for tls in ["true&tlsInsecure=true", "false"] {
        let stage = if tls == "false" {
            Stage::Hello
        } else {
            Stage::Tls
        };
        let uri = format!(
            "mongodb://{}/?tls={tls}&connectTimeoutMS=400",
            silent.addr()
        );
        let expected = Expected::new(timeout).at(stage).fact("limit_ms", 400);
        seen.check("silence", &uri, &expected);
    }
    seen.are(&[timeout]);
}

#[test]
fn other_protocols_than_mongodb_are_named() {
    let code = CauseCode::NotMongodb;
    let mut seen = Seen::default();
    let web = stranger::http_server();
    let plain = format!("mongodb://{}/", web.addr());
    let expected = Expected::new(code).fact("looks_like", "HTTP");
    seen.check("a web server", &plain, &expected);
    let ssh = stranger::banner(*b"SSH-2.0-OpenSSH_9.2p1\r\n");
    let ssh_uri = format!("mongodb://{}/", ssh.addr());
    let of_ssh = Expected::new(code).fact("looks_like", "SSH");
    seen.check("an SSH server", &ssh_uri, &of_ssh);
    for kind in KINDS {
        let bench = bench(kind);
        let identity = bench
            .ca
            .issue(LeafSpec::local_server().key(&key(kind, "leaf")));
        for (min, max, version) in [
            (TLS_1_2.0, TLS_1_2.1, "TLSv1.2"),
            (TLS_1_3.0, TLS_1_3.1, "TLSv1.3"),
        ] {
            let tls = ServerTls::new(&identity).versions(min, max);
            bench.server.set_tls(&tls);
            let garbage = Fault::garbage_after(0, *b"HTTP/1.1 400 Bad Request\r\n\r\n");
            bench.server.faults().all(garbage.on(Layer::Message));
            let scenario = format!("HTTP behind {version} with {kind:?}");
            seen.check(&scenario, &bench.uri(""), &expected);
            bench.server.faults().clear();
            // A web server behind a proxy that ends TLS.
            let options = HaProxyOptions::new(&identity, web.addr()).versions(version, version);
            let Some(front) = or_skip(HaProxy::start(&options)) else {
                continue;
            };
            let uri = format!(
                "mongodb://localhost:{}/?tls=true&tlsCAFile={}",
                front.addr().port(),
                shown(&bench.ca_file)
            );
            seen.check(&format!("HAProxy, {scenario}"), &uri, &expected);
        }
    }
    seen.are(&[code]);
}

#[test]
fn a_server_that_breaks_the_protocol_after_hello_says_how() {
    let code = CauseCode::ProtocolError;
    let mut seen = Seen::default();
    for kind in KINDS {
        let bench = bench(kind);
        let page = b"HTTP/1.0 503 Service Unavailable\r\n\r\n".to_vec();
        for (fault, words, looks_like) in [
            (
                ReplyFault::WrongResponseTo,
                "the server broke the MongoDB protocol: the reply answers request",
                None,
            ),
            (
                ReplyFault::DeclaredLength(48_000_001),
                "a message cannot be 48000001 bytes long",
                None,
            ),
            (
                ReplyFault::Replace(page),
                "; its answer looks like HTTP",
                Some("HTTP"),
            ),
        ] {
            bench.server.spoil_replies("ping", 1000, fault);
            let expected = Expected::new(code)
                .at(Stage::Command)
                .says(words)
                .says("load balancer");
            let expected = match looks_like {
                Some(looks_like) => expected.fact("looks_like", looks_like),
                None => expected,
            };
            seen.check(&format!("{words} with {kind:?}"), &bench.uri(""), &expected);
            bench.server.heal_replies();
        }
    }
    seen.are(&[code]);
}

#[test]
fn a_hello_that_does_not_suit_says_why() {
    let code = CauseCode::HelloFailed;
    let bench = bench(KeyKind::EcP256);
    let mut seen = Seen::default();
    let uri = bench.uri("");
    bench.server.set_hello(|hello| hello.max_wire_version = 6);
    let expected = Expected::new(code).fact("max_wire_version", 6);
    seen.check("an old server", &uri, &expected.says("MongoDB"));
    bench.server.set_hello(|hello| {
        hello.min_wire_version = 99;
        hello.max_wire_version = 100;
    });
    let expected = Expected::new(code).fact("min_wire_version", 99);
    seen.check("a server from the future", &uri, &expected);
    bench.server.set_hello(|hello| {
        hello.min_wire_version = 0;
        hello.max_wire_version = 21;
        hello.role = Role::Primary;
        hello.set_name = Some("found".to_owned());
    });
    let expected = Expected::new(code)
        .fact("expected_set", "wanted")
        .fact("found_set", "found");
    let of_set = bench.uri("&replicaSet=wanted&directConnection=true");
    seen.check("another replica set", &of_set, &expected);
    let refusal = doc! { "errorCode": 59 };
    let fail = fail_command(1000, &["isMaster", "ismaster", "hello"], refusal);
    bench.server.configure_fail_point(&fail);
    let expected = Expected::new(code).fact("server_code", 59);
    seen.check("a refused hello", &uri, &expected);
    assert_eq!(json!(code.category().as_str()), Value::from("server"));
    seen.are(&[code]);
}
