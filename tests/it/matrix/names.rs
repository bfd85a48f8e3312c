//! The name that was asked for and those that the certificate holds (RFC 9525).
//!
//! Most names here lead nowhere: the doctor runs with a hosts file of its own, where this host allows
//! that, and the library is given a socket that is connected already.

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

/// Hosts, and how it ends with each of them.
type Ends = Vec<(&'static str, Option<CauseCode>)>;

/// What the certificate holds, and for each host how it must end; none: well.
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
    // Not the library's business: which names lead to this host.
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

/// A handshake for any name with the server of the bench.
fn handshake(bench: &Bench, host: &str) -> Result<(), Error> {
    let options = TlsOptions::builder().ca_file(&bench.ca_file).build()?;
    let stream = TcpStream::connect(bench.server.addr()).unwrap();
    TlsContext::new(&options)?.connect(host, stream).map(drop)
}

/// Pins are for programs alone: no connection string holds one.
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
