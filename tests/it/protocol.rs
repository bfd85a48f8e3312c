//! Handshakes that fail before or after the certificate: versions, ciphers, alerts, client certificates, and peers of
//! other protocols.

use mongotls::{CauseCode, ErrorKind};
use mongotls_testbench::peers::{ClientCertificates, HaProxy, HaProxyOptions, SServer, or_skip};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, Purpose, Validity};
use mongotls_testbench::server::{ClientAuth, Server, ServerTls};
use mongotls_testbench::stranger;
use openssl::ssl::{SslAlert, SslVersion};

use crate::common::{Bench, code, fact, ping, ping_error};
use crate::target::attempt_error;

#[test]
fn no_common_version_or_cipher_is_reported() {
    let root = Ca::root("root", KeyKind::EcP256);
    let ecdsa = root.issue(LeafSpec::local_server());
    let cases: &[(&[&str], CauseCode)] = &[
        (
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            CauseCode::ProtocolVersionMismatch,
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
            CauseCode::NoSharedCipher,
        ),
        (
            &["-tls1_2", "-groups", "brainpoolP512r1"],
            CauseCode::NoSharedCipher,
        ),
        (
            &["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"],
            CauseCode::NoSharedCipher,
        ),
    ];
    for (arguments, expected) in cases {
        let server = SServer::start(&ecdsa, arguments).unwrap();
        let bench = mongotls_testbench::pki::PkiDir::new();
        let ca_file = bench.write("ca.pem", root.cert_pem());
        let uri = format!(
            "mongodb://localhost:{}/?tls=true&tlsCAFile={}",
            server.addr().port(),
            ca_file.display()
        );
        let error = ping_error(&uri);
        assert_eq!(
            code(&error),
            *expected,
            "{arguments:?}: {error}\n{}",
            server.log()
        );
        assert_eq!(error.kind(), ErrorKind::Tls);
    }
}

#[test]
fn alerts_are_reported_by_name() {
    let cases = [
        (
            SslAlert::INTERNAL_ERROR,
            CauseCode::TlsAlert,
            "internal_error",
        ),
        (
            alert(112),
            CauseCode::ServerNameRejected,
            "unrecognized_name",
        ),
        (
            SslAlert::HANDSHAKE_FAILURE,
            CauseCode::NoSharedCipher,
            "handshake_failure",
        ),
        (
            alert(71),
            CauseCode::NoSharedCipher,
            "insufficient_security",
        ),
        (
            alert(70),
            CauseCode::ProtocolVersionMismatch,
            "protocol_version",
        ),
        (alert(90), CauseCode::TlsAlert, "user_canceled"),
    ];
    for (alert, expected, name) in cases {
        let bench = Bench::with(
            KeyKind::EcP256,
            |leaf| leaf,
            |tls| tls.accept_names(|_| false).refuse_with(alert),
        );
        let error = ping_error(&bench.uri(""));
        assert_eq!(
            (code(&error), fact(&error, "alert").as_str()),
            (expected, name),
            "{error}"
        );
    }
}

/// The alert of that number.
fn alert(number: i32) -> SslAlert {
    SslAlert::from_reason_code(1000 + number).unwrap()
}

#[test]
fn internal_error_from_atlas_points_at_its_access_list() {
    let bench = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf,
        |tls| {
            tls.accept_names(|_| false)
                .refuse_with(SslAlert::INTERNAL_ERROR)
        },
    );
    let options = mongotls::options::TlsOptions::builder()
        .ca_file(&bench.ca_file)
        .build()
        .unwrap();
    let context = mongotls::tls::TlsContext::new(&options).unwrap();
    let stream = std::net::TcpStream::connect(bench.server.addr()).unwrap();
    let error = context
        .connect("cluster0-shard-00-00.abcde.mongodb.net", stream)
        .unwrap_err();
    assert!(error.cause().unwrap().remedy().contains("IP access list"));
}

#[test]
fn peers_that_speak_something_else_are_recognised() {
    let cases = [
        (stranger::http_server(), "HTTP"),
        (stranger::banner(*b"SSH-2.0-OpenSSH_9.2p1\r\n"), "SSH"),
        (
            stranger::banner(*b"220 mail.example ESMTP\r\n"),
            "\"220 mail.example ESMTP\\r\\n\"",
        ),
    ];
    for (peer, looks_like) in cases {
        let error = ping_error(&format!(
            "mongodb://{}/?tls=true&connectTimeoutMS=2000",
            peer.addr()
        ));
        assert_eq!(
            (code(&error), fact(&error, "looks_like").as_str()),
            (CauseCode::ServerNotTls, looks_like),
            "{error}"
        );
        let error = ping_error(&format!("mongodb://{}/?connectTimeoutMS=2000", peer.addr()));
        assert_eq!(code(&error), CauseCode::NotMongodb, "{error}");
    }
}

#[test]
fn a_silent_server_without_tls_is_recognised() {
    let plain = Server::builder().start();
    let error = ping_error(&format!(
        "mongodb://localhost:{}/?tls=true&connectTimeoutMS=1000",
        plain.port()
    ));
    assert_eq!(
        (code(&error), fact(&error, "looks_like").as_str()),
        (CauseCode::ServerNotTls, "MongoDB in the clear")
    );
}

#[test]
fn a_client_without_tls_learns_that_the_server_requires_it() {
    let bench = Bench::sound();
    let error = ping_error(&format!("mongodb://localhost:{}/", bench.server.port()));
    assert_eq!(code(&error), CauseCode::ServerRequiresTls, "{error}");
}

/// The client certificates of one test, as files.
struct Clients {
    bench: Bench,
}

impl Clients {
    fn new(mode: ClientAuth, versions: SslVersion) -> Self {
        let ca = Ca::root("bench root", KeyKind::EcP256);
        let identity = ca.issue(LeafSpec::local_server());
        let tls = ServerTls::new(&identity)
            .client_auth(mode, &[ca.cert()])
            .versions(versions, versions);
        let server = Server::builder().tls(tls).start();
        Self {
            bench: Bench::around(server, ca),
        }
    }

    fn attempt(
        &self,
        identity: Option<&mongotls_testbench::pki::Identity>,
    ) -> Result<(), mongotls::Error> {
        ping(&self.uri(identity))
    }

    fn uri(&self, identity: Option<&mongotls_testbench::pki::Identity>) -> String {
        let option = identity.map(|identity| {
            let path = self.bench.dir.write("client.pem", identity.bundle_pem());
            format!("&tlsCertificateKeyFile={}", path.display())
        });
        self.bench.uri(&option.unwrap_or_default())
    }
}

#[test]
fn client_certificate_rejections_are_distinguished() {
    let stranger = Ca::root("strange root", KeyKind::EcP256);
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let clients = Clients::new(ClientAuth::Require, version);
        let ca = &clients.bench.ca;
        clients
            .attempt(Some(&ca.issue(LeafSpec::client("app"))))
            .unwrap();

        let error = clients.attempt(None).unwrap_err();
        assert_eq!(
            code(&error),
            CauseCode::ClientCertificateRequired,
            "{version:?}: {error}"
        );
        assert_eq!(fact(&error, "requested_ca_names"), "CN=bench root");
        let error = clients
            .attempt(Some(&stranger.issue(LeafSpec::client("app"))))
            .unwrap_err();
        assert_eq!(
            code(&error),
            CauseCode::ClientCertificateUntrusted,
            "{version:?}: {error}"
        );
        assert_eq!(fact(&error, "issuer_listed_by_server"), "no");
        let error = clients
            .attempt(Some(
                &ca.issue(LeafSpec::client("app").validity(Validity::expired())),
            ))
            .unwrap_err();
        assert_eq!(
            code(&error),
            CauseCode::ClientCertificateExpired,
            "{version:?}: {error}"
        );
    }
}

#[test]
fn a_close_in_place_of_an_alert_is_explained() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let clients = Clients::new(ClientAuth::RequireLikeMongod, version);
        let uri = clients.uri(None);
        // Each attempt reports the same error, since none resumes a session, and no client waits for another.
        for error in [attempt_error(&uri), ping_error(&uri), ping_error(&uri)] {
            assert_eq!(
                code(&error),
                CauseCode::ClientCertificateRequired,
                "{version:?}: {error}"
            );
        }
        let counts = clients.bench.server.counts();
        assert!(counts.handshakes >= 3 && counts.resumed == 0, "{counts:?}");
    }
}

#[test]
fn haproxy_refuses_client_certificates_for_the_same_reasons() {
    let ca = Ca::root("root", KeyKind::EcP256);
    let bench = Bench::around(Server::builder().start(), ca);
    let identity = bench.ca.issue(LeafSpec::local_server());
    let revoked = bench.ca.issue(LeafSpec::client("revoked"));
    let crl = bench
        .ca
        .crl()
        .revoke(mongotls_testbench::pki::Revocation::of(&revoked.cert))
        .build();
    let options = HaProxyOptions::new(&identity, bench.server.addr())
        .clients(ClientCertificates::Required, bench.ca.cert())
        .crl(&crl);
    let Some(front) = or_skip(HaProxy::start(&options)) else {
        return;
    };
    let stranger = Ca::root("strange root", KeyKind::EcP256).issue(LeafSpec::client("app"));
    let good = bench.ca.issue(LeafSpec::client("app"));
    let expired = bench
        .ca
        .issue(LeafSpec::client("app").validity(Validity::expired()));
    let cases = [
        (None, Some(CauseCode::ClientCertificateRequired)),
        (Some(&good), None),
        (Some(&stranger), Some(CauseCode::ClientCertificateUntrusted)),
        (Some(&expired), Some(CauseCode::ClientCertificateExpired)),
        (Some(&revoked), Some(CauseCode::ClientCertificateRevoked)),
    ];
    for (client, expected) in cases {
        let option = client.map(|identity| {
            format!(
                "&tlsCertificateKeyFile={}",
                bench
                    .dir
                    .write("client.pem", identity.bundle_pem())
                    .display()
            )
        });
        let uri = format!(
            "mongodb://localhost:{}/?tls=true&tlsCAFile={}{}",
            front.addr().port(),
            bench.ca_file.display(),
            option.unwrap_or_default()
        );
        assert_eq!(ping(&uri).err().as_ref().map(code), expected);
    }
}

#[test]
fn certificate_alerts_need_a_certificate_request() {
    for number in [42, 43, 44, 45, 46, 48, 49] {
        let bench = Bench::with(
            KeyKind::EcP256,
            |leaf| leaf,
            |tls| tls.accept_names(|_| false).refuse_with(alert(number)),
        );
        let error = ping_error(&bench.uri(""));
        assert_eq!(code(&error), CauseCode::TlsAlert, "{number}: {error}");
        assert_eq!(fact(&error, "alert_number"), number.to_string());
    }
}

#[test]
fn a_silently_dropped_client_certificate_is_examined() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let clients = Clients::new(ClientAuth::RequireLikeMongod, version);
        let ca = &clients.bench.ca;
        let expired = ca.issue(LeafSpec::client("app").validity(Validity::expired()));
        let server_only = ca.issue(LeafSpec::client("app").purposes(&[Purpose::ServerAuth]));
        for (client, expected) in [
            (&expired, CauseCode::ClientCertificateExpired),
            (&server_only, CauseCode::ClientCertificateRejected),
        ] {
            let error = attempt_error(&clients.uri(Some(client)));
            assert_eq!(code(&error), expected, "{version:?}: {error}");
            assert_eq!(fact(&error, "issuer_listed_by_server"), "yes");
        }
    }
}

#[test]
fn an_anonymous_cipher_suite_proves_nothing() {
    // Only a system's openssl.cnf can allow one, so the command line is run with such a file.
    let root = Ca::root("root", KeyKind::EcP256);
    let identity = root.issue(LeafSpec::local_server());
    let server = SServer::start(
        &identity,
        &["-tls1_2", "-nocert", "-cipher", "aNULL:@SECLEVEL=0"],
    );
    let Some(server) = or_skip(server) else {
        return;
    };
    let dir = mongotls_testbench::pki::PkiDir::new();
    let ca_file = dir.write("ca.pem", root.cert_pem());
    let lax = "openssl_conf = o\n[o]\nssl_conf = s\n[s]\nsystem_default = d\n[d]\nCipherString = ALL:aNULL:@SECLEVEL=0\nMaxProtocol = TLSv1.2\n";
    let conf = dir.write("openssl.cnf", lax);
    let uri = format!(
        "mongodb://localhost:{}/?tls=true&tlsCAFile={}&connectTimeoutMS=2000",
        server.addr().port(),
        ca_file.display()
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mongotls"))
        .args(["doctor", &uri, "--json"])
        .env("OPENSSL_CONF", &conf)
        .output()
        .unwrap();
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), object["cause"].as_str()),
        (Some(1), Some("issuer-unknown")),
        "{object:#}"
    );
    assert!(
        object["message"].as_str().unwrap().contains("ADH"),
        "{object:#}"
    );
}
