//! Two sides that do not agree on TLS parameters, or of which one does not use TLS.

use std::io::{Read, Write};
use std::net::SocketAddr;

use mongotls::CauseCode;
use mongotls::error::Stage;
use mongotls_testbench::fault::{Fault, Layer};
use mongotls_testbench::peers::{HaProxy, HaProxyOptions, SServer, or_skip};
use mongotls_testbench::pki::{CaSpec, Identity, KeyKind, LeafSpec};
use mongotls_testbench::server::{Server, ServerTls};
use mongotls_testbench::stranger::{self, Stranger};
use openssl::bn::BigNum;
use openssl::dh::Dh;
use openssl::ssl::{Ssl, SslAlert, SslContextBuilder, SslMethod, SslVersion};
use serde_json::Value;

use super::{Expected, KINDS, Place, Seen, TLS_1_2, TLS_1_3, key, security_level, shown, skipped};
use crate::common::{Bench, code, ping_error};
use crate::target::for_each;

pub(super) const CODES: &[CauseCode] = &[
    CauseCode::ProtocolVersionMismatch,
    CauseCode::NoSharedCipher,
    CauseCode::ServerNameRejected,
    CauseCode::ServerNotTls,
    CauseCode::ServerRequiresTls,
    CauseCode::TlsAlert,
];

/// A bench, and an identity of the same CA for other servers.
fn bench(kind: KeyKind) -> (Bench, Identity) {
    let ca = CaSpec::new("the root").key(&key(kind, "root")).root();
    let identity = ca.issue(LeafSpec::local_server().key(&key(kind, "leaf")));
    let server = Server::builder().tls(ServerTls::new(&identity)).start();
    (Bench::around(server, ca), identity)
}

fn uri(bench: &Bench, addr: SocketAddr) -> String {
    format!(
        "mongodb://localhost:{}/?tls=true&tlsCAFile={}",
        addr.port(),
        shown(&bench.ca_file)
    )
}

#[test]
fn s_server_has_nothing_in_common_with_the_client() {
    let version = CauseCode::ProtocolVersionMismatch;
    let selection = CauseCode::NoSharedCipher;
    let mut seen = Seen::default();
    for kind in KINDS {
        let (bench, identity) = bench(kind);
        // The suites of the other kind of key, and a signature that the client rejects.
        let (others, sha1) = match kind {
            KeyKind::EcP256 => ("ECDHE-RSA-AES128-GCM-SHA256", "ECDSA+SHA1"),
            _ => ("ECDHE-ECDSA-AES128-GCM-SHA256", "RSA+SHA1"),
        };
        let old = "ALL:@SECLEVEL=0";
        let cases: Vec<(&str, Vec<&str>, CauseCode, &str)> = vec![
            (
                "TLS 1.1",
                vec!["-tls1_1", "-cipher", old],
                version,
                "protocol_version",
            ),
            (
                "up to TLS 1.1",
                vec!["-no_tls1_2", "-no_tls1_3", "-cipher", old],
                version,
                "protocol_version",
            ),
            (
                "TLS 1.0",
                vec!["-tls1", "-cipher", old],
                version,
                "protocol_version",
            ),
            (
                "suites for another key",
                vec!["-tls1_2", "-cipher", others],
                selection,
                "handshake_failure",
            ),
            (
                "suites below the security level",
                vec!["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"],
                selection,
                "handshake_failure",
            ),
            (
                "group of TLS 1.2",
                vec!["-tls1_2", "-groups", "brainpoolP512r1", "-cipher", "ECDHE"],
                selection,
                "handshake_failure",
            ),
            (
                "signature algorithm of TLS 1.2",
                vec!["-tls1_2", "-sigalgs", sha1, "-cipher", "ALL:@SECLEVEL=0"],
                selection,
                "handshake_failure",
            ),
            (
                "group of TLS 1.3",
                vec!["-tls1_3", "-groups", "brainpoolP512r1"],
                selection,
                "handshake_failure",
            ),
            (
                "suite of TLS 1.3",
                vec!["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"],
                selection,
                "handshake_failure",
            ),
        ];
        for (name, arguments, code, alert) in cases {
            // That of 1.1.1 ends with its first connection if its configuration excludes all versions.
            if name == "up to TLS 1.1" && openssl::version::number() < 0x3000_0000 {
                continue;
            }
            let Some(server) = or_skip(SServer::start(&identity, &arguments)) else {
                return;
            };
            let expected = Expected::new(code).fact("alert", alert);
            let scenario = format!("{name} with {kind:?}: {}", server.log());
            seen.check(&scenario, &uri(&bench, server.addr()), &expected);
        }
    }
    seen.are(&[version, selection]);
}

#[test]
fn the_client_refuses_what_the_server_chose() {
    // A ServerHello of TLS 1.1, for any offer of the client; the client sends the alert.
    let mut hello = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 0x2f, 0]);
    let old = Stranger::start(move |mut socket, stop| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(&hello);
        stop.wait_for_ever();
    });
    let (bench, identity) = bench(KeyKind::Rsa(2048));
    let mut seen = Seen::default();
    seen.check(
        "ServerHello of TLS 1.1",
        &uri(&bench, old.addr()),
        &Expected::new(CauseCode::ProtocolVersionMismatch),
    );

    // OpenSSL servers require at least 1024 bits, at any level.
    if security_level() < 2 {
        skipped("weak Diffie-Hellman; this OpenSSL is built for security level 1");
        return;
    }
    let (prime, generator) = (BigNum::get_rfc2409_prime_1024(), BigNum::from_u32(2));
    let parameters = Dh::from_pqg(prime.unwrap(), None, generator.unwrap()).unwrap();
    let mut weak = SslContextBuilder::new(SslMethod::tls_server()).unwrap();
    weak.set_security_level(0);
    weak.set_max_proto_version(Some(SslVersion::TLS1_2))
        .unwrap();
    weak.set_cipher_list("DHE-RSA-AES128-GCM-SHA256").unwrap();
    weak.set_tmp_dh(&parameters).unwrap();
    weak.set_certificate(&identity.cert).unwrap();
    weak.set_private_key(&identity.key).unwrap();
    let weak = weak.build();
    let server = Stranger::start(move |socket, _| {
        // The client ends the handshake.
        let _ = Ssl::new(&weak).unwrap().accept(socket);
    });
    seen.check(
        "weak Diffie-Hellman",
        &uri(&bench, server.addr()),
        &Expected::new(CauseCode::NoSharedCipher)
            .fact("ended_by", "client")
            .says("the server's Diffie-Hellman parameters are too small: security level 2, which ")
            .says(" requires 2048 bits")
            .says("Give the server parameters of 2048 bits or more (on mongod the parameter opensslDiffieHellmanParameters), or let it prefer cipher suites with ECDHE."),
    );
    seen.are(&[
        CauseCode::ProtocolVersionMismatch,
        CauseCode::NoSharedCipher,
    ]);
}

#[test]
fn each_alert_has_its_name_and_its_code() {
    let version = CauseCode::ProtocolVersionMismatch;
    let selection = CauseCode::NoSharedCipher;
    let other = CauseCode::TlsAlert;
    let cases = [
        (40, "handshake_failure", selection),
        (71, "insufficient_security", selection),
        (70, "protocol_version", version),
        (86, "inappropriate_fallback", version),
        (112, "unrecognized_name", CauseCode::ServerNameRejected),
        (80, "internal_error", other),
        (90, "user_canceled", other),
        (47, "illegal_parameter", other),
        (50, "decode_error", other),
        (120, "no_application_protocol", other),
        // About a certificate that was not requested.
        (48, "unknown_ca", other),
        (49, "access_denied", other),
    ];
    let mut seen = Seen::default();
    for kind in KINDS {
        let (bench, identity) = bench(kind);
        for (min, max) in [TLS_1_2, TLS_1_3] {
            for (number, name, code) in cases {
                let alert = SslAlert::from_reason_code(1000 + number).unwrap();
                let tls = ServerTls::new(&identity).versions(min, max);
                bench.server.set_tls(&tls.refuse_with(alert));
                let expected = Expected::new(code)
                    .fact("alert", name)
                    .fact("alert_number", number);
                let expected = match name {
                    "unrecognized_name" => expected.fact("server_name", "localhost"),
                    "internal_error" => expected.says("IP access list"),
                    _ => expected,
                };
                let scenario = format!("{name} on {min:?} with {kind:?}");
                seen.check(&scenario, &bench.uri(""), &expected);
            }
        }
    }
    seen.are(&[version, selection, CauseCode::ServerNameRejected, other]);
}

#[test]
fn real_servers_refuse_a_name_that_they_do_not_serve() {
    let rejected = CauseCode::ServerNameRejected;
    let mut seen = Seen::default();
    for kind in KINDS {
        let (bench, identity) = bench(kind);
        let other = LeafSpec::server("db.example").key(&key(kind, "leaf"));
        let other = bench.ca.issue(other);
        let expected = Expected::new(rejected)
            .fact("alert", "unrecognized_name")
            .fact("server_name", "localhost");
        let (cert, private) = (
            bench.dir.write("other.crt", other.cert_pem()),
            bench.dir.write("other.key", other.key_pem()),
        );
        for version in ["-tls1_2", "-tls1_3"] {
            let arguments = [
                version,
                "-servername",
                "db.example",
                "-servername_fatal",
                "-cert2",
                cert.to_str().unwrap(),
                "-key2",
                private.to_str().unwrap(),
            ];
            let Some(server) = or_skip(SServer::start(&identity, &arguments)) else {
                return;
            };
            let scenario = format!("s_server {version} with {kind:?}");
            seen.check(&scenario, &uri(&bench, server.addr()), &expected);
        }
        for version in ["TLSv1.2", "TLSv1.3"] {
            let options = HaProxyOptions::new(&other, bench.server.addr())
                .versions(version, version)
                .bind_option("strict-sni");
            let Some(front) = or_skip(HaProxy::start(&options)) else {
                continue;
            };
            let scenario = format!("HAProxy {version} with {kind:?}");
            let by_name = uri(&bench, front.addr());
            seen.check(&scenario, &by_name, &expected);
            // For an address, no name is sent.
            let nameless = Expected::new(rejected)
                .fact("alert", "unrecognized_name")
                .fact("server_name", Value::Null)
                .says("not by the IP address");
            let by_address = by_name.replace("localhost", "127.0.0.1");
            seen.check_in(&Place::default(), &scenario, &by_address, &nameless);
            assert_eq!(code(&ping_error(&by_address)), rejected);
        }
    }
    seen.are(&[rejected]);
}

#[test]
fn other_protocols_than_tls_are_named() {
    let strangers = [
        (stranger::http_server(), "HTTP"),
        (stranger::banner(*b"SSH-2.0-OpenSSH_9.2p1\r\n"), "SSH"),
        (
            stranger::banner(*b"220 mx ESMTP\r\n"),
            "\"220 mx ESMTP\\r\\n\"",
        ),
        (stranger::banner([0, 1]), "\"\\x00\\x01\""),
    ];
    let mut seen = Seen::default();
    let code = CauseCode::ServerNotTls;
    for (stranger, looks_like) in &strangers {
        let uri = format!(
            "mongodb://{}/?tls=true&connectTimeoutMS=500",
            stranger.addr()
        );
        let expected = Expected::new(code).fact("looks_like", *looks_like);
        seen.check(looks_like, &uri, &expected);
    }
    // A server without TLS waits for the rest of a supposed message, or closes.
    let waits = Server::builder().start();
    let closes = Server::builder().start();
    closes.faults().next(1, Fault::close_after(0));
    let expected = Expected::new(code)
        .fact("looks_like", "MongoDB in the clear")
        .says("requireTLS");
    let uri = |server: &Server| {
        format!(
            "mongodb://localhost:{}/?tls=true&connectTimeoutMS=1500",
            server.port()
        )
    };
    seen.check("MongoDB in the clear", &uri(&waits), &expected);
    let place = Place::default();
    seen.check_in(&place, "MongoDB that closes", &uri(&closes), &expected);
    // Behind a program that terminates TLS and sends the client plain text: the reverse mistake.
    let answers = Server::builder().start();
    let garbage = Fault::garbage_after(0, *b"HTTP/1.0 400 Bad Request\r\n").on(Layer::Tcp);
    answers.faults().all(garbage);
    let expected = Expected::new(code).fact("looks_like", "HTTP");
    seen.check("HTTP from the first byte", &uri(&answers), &expected);
    seen.are(&[code]);
}

#[test]
fn a_server_that_requires_tls_is_detected_by_its_close() {
    let code = CauseCode::ServerRequiresTls;
    let (bench, identity) = bench(KeyKind::EcP256);
    let closes = Stranger::start(|mut socket, _| drop(socket.read(&mut [0; 1024])));
    let alerts = Stranger::start(|mut socket, _| {
        let _ = socket.read(&mut [0; 1024]);
        let _ = socket.write_all(&[21, 3, 3, 0, 2, 2, 70]);
    });
    let mut addresses = vec![
        ("bench", bench.server.addr()),
        ("close", closes.addr()),
        ("alert", alerts.addr()),
    ];
    let s_server = or_skip(SServer::start(&identity, &[]));
    addresses.extend(s_server.iter().map(|server| ("s_server", server.addr())));
    let options = HaProxyOptions::new(&identity, bench.server.addr());
    let front = or_skip(HaProxy::start(&options));
    addresses.extend(front.iter().map(|server| ("HAProxy", server.addr())));
    for_each(addresses, |(name, address)| {
        let mut seen = Seen::default();
        let uri = format!("mongodb://{address}/?connectTimeoutMS=3000");
        let expected = Expected::new(code).at(Stage::Hello).says("tls=true");
        seen.check(name, &uri, &expected);
    });
}
