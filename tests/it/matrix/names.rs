//! The expected name and the names in the certificate (RFC 9525).
//!
//! Most names here do not resolve: the doctor runs with a separate hosts file, if this host allows that, and the
//! library gets a socket that is already connected.

use std::net::TcpStream;

use mongotls::options::{SpkiPin, TlsOptions};
use mongotls::tls::TlsContext;
use mongotls::{CauseCode, Error};
use mongotls_testbench::der;
use mongotls_testbench::pki::{CaSpec, KeyKind, LeafSpec, Purpose};
use mongotls_testbench::server::{Server, ServerTls};
use openssl::sha::sha256;
use serde_json::json;

use super::{Expected, KINDS, Place, Seen, TLS_1_2, TLS_1_3, key, passes, skipped, tempfile};
use crate::common::Bench;

pub(super) const CODES: &[CauseCode] = &[
    CauseCode::HostnameMismatch,
    CauseCode::IpAddressMismatch,
    CauseCode::NoSubjectAltName,
    CauseCode::PinMismatch,
];

/// Hosts, with the expected result for each of them.
type Ends = Vec<(&'static str, Option<CauseCode>)>;

/// The names in the certificate, and the expected result for each host; `None` is success.
fn cases(kind: KeyKind) -> Vec<(LeafSpec, Ends)> {
    let spec = || {
        LeafSpec::new("cn.example")
            .purposes(&[Purpose::ServerAuth])
            .key(&key(kind, "leaf"))
    };
    let no = Some(CauseCode::HostnameMismatch);
    let not_ip = Some(CauseCode::IpAddressMismatch);
    let none = Some(CauseCode::NoSubjectAltName);
    // rfc822Name: a name of another kind.
    let mail = der::sequence(&[der::context(1, b"db@cn.example")]);
    vec![
        (
            spec().dns("*.db.example"),
            vec![
                ("a.db.example", None),
                ("A.DB.Example", None),
                ("a.db.example.", None),
                ("xn--bcher-kva.db.example", None),
                ("a.b.db.example", no),
                ("db.example", no),
                ("localhost", no),
            ],
        ),
        (
            spec()
                .dns("f*.part.example")
                .dns("*")
                .dns("a.*.inner.example")
                .dns("*.example."),
            vec![
                ("foo.part.example", no),
                ("localhost", no),
                ("a.b.inner.example", no),
            ],
        ),
        (
            spec().dns("LOCALHOST").dns("xn--bcher-kva.example"),
            vec![
                ("localhost", None),
                ("localhost.", None),
                ("xn--bcher-kva.example", None),
                ("XN--BCHER-KVA.example", None),
                ("xn--bcher-kvb.example", no),
                ("127.0.0.1", not_ip),
            ],
        ),
        (
            spec().dns("localhost").ip("192.0.2.7"),
            vec![("localhost", None), ("127.0.0.1", not_ip)],
        ),
        (
            spec().dns("127.0.0.1").dns("db.example"),
            vec![("127.0.0.1", not_ip), ("localhost", no)],
        ),
        (
            spec().ip("127.0.0.1"),
            vec![("127.0.0.1", None), ("localhost", no)],
        ),
        (
            spec().cn("localhost"),
            vec![("localhost", none), ("127.0.0.1", none)],
        ),
        (
            spec().cn("localhost").extension("2.5.29.17", false, &mail),
            vec![("localhost", none)],
        ),
    ]
}

#[test]
fn names_are_compared_by_the_rules_and_shown_when_they_differ() {
    // The names that resolve to this host; that is not part of the test.
    let (hosts, _dir) = tempfile(
        b"127.0.0.1 localhost a.db.example xn--bcher-kva.db.example a.b.db.example db.example \
          foo.part.example a.b.inner.example xn--bcher-kva.example xn--bcher-kvb.example\n",
    );
    let far = Place {
        mounts: vec![(hosts, "/etc/hosts")],
        ..Place::default()
    };
    if !Place::can_mount() {
        skipped("the doctor for other names than localhost; it needs unshare --mount");
    }
    let mut seen = Seen::default();
    for kind in KINDS {
        let root = CaSpec::new("the root").key(&key(kind, "root")).root();
        let first = root.issue(LeafSpec::local_server().key(&key(kind, "leaf")));
        let server = Server::builder().tls(ServerTls::new(&first)).start();
        let bench = Bench::around(server, root);
        for (spec, hosts) in cases(kind) {
            let identity = bench.ca.issue(spec);
            let names = identity.cert.subject_alt_names();
            let mut presented: Vec<String> = Vec::new();
            let mut addresses: Vec<String> = Vec::new();
            for name in names.iter().flatten() {
                presented.extend(name.dnsname().map(str::to_owned));
                let octets = name.ipaddress().and_then(|ip| <[u8; 4]>::try_from(ip).ok());
                addresses.extend(octets.map(|ip| std::net::Ipv4Addr::from(ip).to_string()));
            }
            presented.extend(addresses);
            for (min, max) in [TLS_1_2, TLS_1_3] {
                let tls = ServerTls::new(&identity).versions(min, max);
                bench.server.set_tls(&tls);
                for (host, code) in &hosts {
                    let scenario = format!("{host} on {min:?} with {kind:?}: {presented:?}");
                    let uri = bench.uri_for(host, "");
                    let near = ["localhost", "127.0.0.1"].contains(host);
                    let Some(code) = *code else {
                        if near {
                            passes(&scenario, &uri);
                        }
                        handshake(&bench, host).expect(&scenario);
                        continue;
                    };
                    let mut expected = Expected::new(code)
                        .blames(&identity.cert, 0, "end entity")
                        .fact("expected_name", host.trim_end_matches('.'))
                        .fact("presented_names", presented.clone());
                    if code == CauseCode::NoSubjectAltName {
                        expected = expected.fact("common_name", "localhost");
                    }
                    if near {
                        seen.check(&scenario, &uri, &expected);
                    } else if Place::can_mount() {
                        seen.check_in(&far, &scenario, &uri, &expected);
                    }
                    let error = handshake(&bench, host).expect_err(&scenario);
                    seen.check_error(&scenario, &error, &expected);
                }
            }
        }
        pins(&bench, kind, &mut seen);
    }
    seen.are(CODES);
}

/// The names in a certificate, the expected host, and the ends of the message and the remedy. OpenSSL rejects each.
#[test]
fn near_misses_are_explained() {
    let root = CaSpec::new("the root")
        .key(&key(KeyKind::EcP256, "root"))
        .root();
    let spec = || {
        LeafSpec::new("cn.example")
            .purposes(&[Purpose::ServerAuth])
            .key(&key(KeyKind::EcP256, "leaf"))
    };
    let names = |names: &[(u8, &[u8])]| {
        let names: Vec<_> = names
            .iter()
            .map(|(kind, bytes)| der::context(*kind, bytes))
            .collect();
        spec().extension("2.5.29.17", false, &der::sequence(&names))
    };
    let server = Server::builder()
        .tls(ServerTls::new(&root.issue(LeafSpec::local_server())))
        .start();
    let bench = Bench::around(server, root);
    let many = (0..100).fold(spec(), |spec, i| spec.dns(&format!("h{i}.example")));
    let or_by_name = |name: &str| {
        format!(
            "Connect by a name that the certificate holds, or have one issued with the subject alternative name {name}."
        )
    };
    let issue =
        |name: &str| format!("Have a certificate issued with the subject alternative name {name}.");
    let host = |asked: &str, rest: &str| {
        format!("the certificate does not hold the host name \"{asked}\"; it holds {rest}")
    };
    let ip = |asked: &str, rest: &str| {
        format!("the certificate does not hold the IP address \"{asked}\"; it holds {rest}")
    };
    let no_host = CauseCode::HostnameMismatch;
    let no_ip = CauseCode::IpAddressMismatch;
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1];
    let cases = [
        (
            spec().dns("127.0.0.1").dns("db.example"),
            "127.0.0.1",
            no_ip,
            ip(
                "127.0.0.1",
                "DNS:127.0.0.1, DNS:db.example; \"127.0.0.1\" stands there as a DNS name, and only names of the kind IP are compared",
            ),
            or_by_name("IP:127.0.0.1"),
        ),
        (
            spec().dns("127.0.0.1"),
            "127.0.0.1",
            no_ip,
            ip(
                "127.0.0.1",
                "DNS:127.0.0.1; \"127.0.0.1\" stands there as a DNS name, and only names of the kind IP are compared",
            ),
            issue("IP:127.0.0.1"),
        ),
        (
            names(&[(7, &mapped)]),
            "127.0.0.1",
            no_ip,
            ip(
                "127.0.0.1",
                "IP:::ffff:127.0.0.1; \"::ffff:127.0.0.1\" and \"127.0.0.1\" are one address in two forms, IPv4 and IPv6, and only the same form matches",
            ),
            or_by_name("IP:127.0.0.1"),
        ),
        (
            names(&[(7, b"127.0.0.1")]),
            "127.0.0.1",
            no_ip,
            ip(
                "127.0.0.1",
                "IP:(9 bytes); \"127.0.0.1\" stands there as text in an entry of the kind IP, which needs the 4 or 16 bytes of the address",
            ),
            issue("IP:127.0.0.1"),
        ),
        (
            spec().dns("*.db.example"),
            "a_1.db.example",
            no_host,
            host(
                "a_1.db.example",
                "DNS:*.db.example; the wildcard of \"*.db.example\" matches no name with an underscore",
            ),
            or_by_name("DNS:a_1.db.example"),
        ),
        (
            spec().dns("*.my_db.example"),
            "a.my_db.example",
            no_host,
            host(
                "a.my_db.example",
                "DNS:*.my_db.example; the wildcard of \"*.my_db.example\" matches no name with an underscore",
            ),
            issue("DNS:a.my_db.example"),
        ),
        (
            spec().dns("*.local"),
            "db.local",
            no_host,
            host(
                "db.local",
                "DNS:*.local; the wildcard of \"*.local\" matches nothing, since a domain of two labels or more must follow it",
            ),
            issue("DNS:db.local"),
        ),
        (
            spec().dns("*.*.example"),
            "a.b.example",
            no_host,
            host(
                "a.b.example",
                "DNS:*.*.example; \"*.*.example\" has more than one wildcard, and only the whole first label of a name may be a wildcard",
            ),
            issue("DNS:a.b.example"),
        ),
        (
            spec().dns("db*.part.example").dns("other.example"),
            "db1.part.example",
            no_host,
            host(
                "db1.part.example",
                "DNS:db*.part.example, DNS:other.example; \"db*.part.example\" has a wildcard for a part of a label, and only the whole first label of a name may be a wildcard",
            ),
            or_by_name("DNS:db1.part.example"),
        ),
        (
            spec().dns("localhost."),
            "localhost",
            no_host,
            host(
                "localhost",
                "DNS:localhost.; \"localhost.\" has a dot at its end, and a name in a certificate has none",
            ),
            issue("DNS:localhost"),
        ),
        (
            spec().dns(" localhost"),
            "localhost",
            no_host,
            host(
                "localhost",
                "DNS: localhost; \" localhost\" has white space around it, and a name in a certificate has none",
            ),
            issue("DNS:localhost"),
        ),
        (
            spec().dns("localhost:27017"),
            "localhost",
            no_host,
            host(
                "localhost",
                "DNS:localhost:27017; \"localhost:27017\" has a port, and a name in a certificate has none",
            ),
            issue("DNS:localhost"),
        ),
        (
            spec().dns("mongodb://localhost"),
            "localhost",
            no_host,
            host(
                "localhost",
                "DNS:mongodb://localhost; \"mongodb://localhost\" has a scheme, and a name in a certificate has none",
            ),
            issue("DNS:localhost"),
        ),
        (
            spec().dns("bücher.example").dns("other.example"),
            "xn--bcher-kva.example",
            no_host,
            host(
                "xn--bcher-kva.example",
                "DNS:bücher.example, DNS:other.example; \"bücher.example\" is not in the ASCII form (xn--…) that certificates need",
            ),
            or_by_name("DNS:xn--bcher-kva.example"),
        ),
        (
            spec().dns("localhost\0.evil.example"),
            "localhost",
            no_host,
            host(
                "localhost",
                "DNS:localhost\\u0000.evil.example; \"localhost\\u0000.evil.example\" holds a NUL character, and matches no host",
            ),
            issue("DNS:localhost"),
        ),
        (
            spec().dns("localhost, other.example"),
            "localhost",
            no_host,
            host(
                "localhost",
                "DNS:localhost, other.example; \"localhost, other.example\" is one entry with several names, and each needs its own",
            ),
            issue("DNS:localhost"),
        ),
        (
            spec().cn("localhost").ip("192.0.2.7"),
            "localhost",
            no_host,
            host(
                "localhost",
                "IP:192.0.2.7; \"localhost\" is its common name, and common names are not compared",
            ),
            or_by_name("DNS:localhost"),
        ),
        (
            names(&[(1, b"db@localhost"), (6, b"mongodb://localhost:27017")]),
            "localhost",
            CauseCode::NoSubjectAltName,
            "the server's certificate \"cn.example\" names no host and no IP address among its subject alternative names; its common name \"cn.example\" is not compared; \"db@localhost\" stands there as an e-mail address, and only names of the kind DNS are compared; \"mongodb://localhost:27017\" stands there as a URI, and only names of the kind DNS are compared".to_owned(),
            issue("DNS:localhost"),
        ),
        (
            many,
            "localhost",
            no_host,
            host(
                "localhost",
                "DNS:h0.example, DNS:h1.example, DNS:h2.example, DNS:h3.example, DNS:h4.example and 95 more",
            ),
            or_by_name("DNS:localhost"),
        ),
    ];
    let mut seen = Seen::default();
    for (spec, asked, code, message, remedy) in cases {
        let identity = bench.ca.issue(spec);
        bench.server.set_tls(&ServerTls::new(&identity));
        let expected = Expected::new(code).reads(&message, &remedy);
        let error = handshake(&bench, asked).expect_err(&message);
        seen.check_error(&message, &error, &expected);
        if ["localhost", "127.0.0.1"].contains(&asked) {
            seen.check(&message, &bench.uri_for(asked, ""), &expected);
        }
    }
}

/// A handshake for any name with the server of the bench.
fn handshake(bench: &Bench, host: &str) -> Result<(), Error> {
    let options = TlsOptions::builder().ca_file(&bench.ca_file).build()?;
    let stream = TcpStream::connect(bench.server.addr()).unwrap();
    TlsContext::new(&options)?.connect(host, stream).map(drop)
}

/// Tests pins, which only programs can set; no connection string contains one.
fn pins(bench: &Bench, kind: KeyKind, seen: &mut Seen) {
    let spec = LeafSpec::local_server().key(&key(kind, "leaf"));
    let identity = bench.ca.issue(spec);
    let pin = |key: &openssl::pkey::PKey<openssl::pkey::Private>| {
        SpkiPin::from_digest(sha256(&key.public_key_to_der().unwrap()))
    };
    let presented = [&identity.key, bench.ca.key()].map(|key| pin(key).to_string());
    let expected = Expected::new(CauseCode::PinMismatch)
        .blames(&identity.cert, 0, "end entity")
        .fact("presented_pins", json!(presented));
    for (min, max) in [TLS_1_2, TLS_1_3] {
        bench
            .server
            .set_tls(&ServerTls::new(&identity).versions(min, max));
        let attempt = |pin| bench.handshake(|tls| tls.ca_file(&bench.ca_file).pinned_key(pin));
        attempt(pin(&identity.key)).unwrap();
        let error = attempt(SpkiPin::from_digest([7; 32])).unwrap_err();
        seen.check_error("another key is pinned", &error, &expected);
        let told = error.cause().unwrap().facts().get("presented_pins");
        assert_eq!(told.unwrap().to_string(), presented.join(", "));
    }
}
