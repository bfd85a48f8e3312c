//! The messages of servers about the client's certificate, or their absence: the bench with alerts and in mongod's way,
//! HAProxy, and `openssl s_server`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use mongotls::CauseCode;
use mongotls::error::Stage;
use mongotls::options::TlsOptions;
use mongotls::tls::TlsContext;
use mongotls_testbench::peers::{ClientCertificates, HaProxy, HaProxyOptions, SServer, or_skip};
use mongotls_testbench::pki::{
    Ca, CaSpec, Digest, Identity, KeyKind, LeafSpec, PkiDir, Purpose, Revocation, Validity,
};
use mongotls_testbench::server::{ClientAuth, Server, ServerTls};
use mongotls_testbench::stranger::Stranger;
use openssl::ssl::{Ssl, SslContextBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509Crl;

use super::{Expected, KINDS, Seen, TLS_1_2, TLS_1_3, key, passes, shown, time};

pub(super) const CODES: &[CauseCode] = &[
    CauseCode::ClientCertificateRequired,
    CauseCode::ClientCertificateUntrusted,
    CauseCode::ClientCertificateExpired,
    CauseCode::ClientCertificateRevoked,
    CauseCode::ClientCertificateRejected,
];

/// A PKI with a client certificate for each fault.
struct Desk {
    dir: PkiDir,
    ca: Ca,
    server: Identity,
    crl: X509Crl,
    clients: Vec<(&'static str, Identity)>,
}

impl Desk {
    fn new(kind: KeyKind) -> Self {
        let ca = CaSpec::new("the root").key(&key(kind, "root")).root();
        let other = CaSpec::new("another root").key(&key(kind, "other")).root();
        let mid = CaSpec::new("the clients' CA")
            .key(&key(kind, "mid"))
            .issued_by(&ca);
        let leaf = || LeafSpec::client("app").key(&key(kind, "leaf"));
        let revoked = ca.issue(leaf());
        let clients = vec![
            ("good", ca.issue(leaf())),
            ("of another CA", other.issue(leaf())),
            ("without its CA", mid.issue(leaf()).without_chain()),
            ("expired", ca.issue(leaf().validity(Validity::expired()))),
            (
                "not yet valid",
                ca.issue(leaf().validity(Validity::not_yet())),
            ),
            (
                "for servers",
                ca.issue(leaf().purposes(&[Purpose::ServerAuth])),
            ),
            ("revoked", revoked.clone()),
        ];
        Self {
            dir: PkiDir::new(),
            crl: ca.crl().revoke(Revocation::of(&revoked.cert)).build(),
            server: ca.issue(LeafSpec::local_server().key(&key(kind, "leaf"))),
            ca,
            clients,
        }
    }

    fn client(&self, name: &str) -> &Identity {
        let found = self.clients.iter().find(|(known, _)| *known == name);
        &found.unwrap_or_else(|| panic!("no client {name}")).1
    }

    /// The connection string of a client; `None` is a client without a certificate.
    fn uri(&self, addr: SocketAddr, client: Option<&Identity>) -> String {
        let ca_file = self.dir.write("ca.pem", self.ca.cert_pem());
        let option = client.map(|client| {
            self.dir.write("client.pem", client.bundle_pem());
            format!("&tlsCertificateKeyFile={}", shown(&self.key_file()))
        });
        format!(
            "mongodb://localhost:{}/?tls=true&tlsCAFile={}{}",
            addr.port(),
            shown(&ca_file),
            option.unwrap_or_default()
        )
    }

    fn key_file(&self) -> PathBuf {
        self.dir.path().join("client.pem")
    }

    /// The expected error of a client; the bench names the CAs that it accepts.
    fn expected(
        &self,
        code: CauseCode,
        client: Option<&Identity>,
        alert: Option<&str>,
    ) -> Expected {
        let expected = Expected::new(code);
        let expected = match alert {
            Some(alert) => expected.fact("alert", alert),
            None => expected,
        };
        match client {
            None => expected.fact("requested_ca_names", vec!["CN=the root"]),
            Some(client) => expected
                .shows(&client.cert)
                .fact("not_before", time(client.cert.not_before()))
                .fact("path", shown(&self.key_file())),
        }
    }
}

/// The stage of the rejection: in TLS 1.3 after the handshake; in TLS 1.2 within it, if the server checks there.
fn stage(version: SslVersion, judges_in_handshake: bool) -> Stage {
    match version {
        SslVersion::TLS1_2 if judges_in_handshake => Stage::Tls,
        _ => Stage::Hello,
    }
}

/// The alert for a missing certificate, which has a specific name only in TLS 1.3.
fn missing(version: SslVersion) -> &'static str {
    match version {
        SslVersion::TLS1_2 => "handshake_failure",
        _ => "certificate_required",
    }
}

/// The clients that a server rejects by alert, with the alert.
const REFUSED: [(&str, CauseCode, &str); 6] = [
    (
        "of another CA",
        CauseCode::ClientCertificateUntrusted,
        "unknown_ca",
    ),
    (
        "without its CA",
        CauseCode::ClientCertificateUntrusted,
        "unknown_ca",
    ),
    (
        "expired",
        CauseCode::ClientCertificateExpired,
        "certificate_expired",
    ),
    (
        "not yet valid",
        CauseCode::ClientCertificateRejected,
        "bad_certificate",
    ),
    (
        "for servers",
        CauseCode::ClientCertificateRejected,
        "unsupported_certificate",
    ),
    (
        "revoked",
        CauseCode::ClientCertificateRevoked,
        "certificate_revoked",
    ),
];

fn against_the_bench(kind: KeyKind, seen: &mut Seen) {
    let desk = Desk::new(kind);
    let bench = Server::builder().tls(ServerTls::new(&desk.server)).start();
    for (min, max) in [TLS_1_2, TLS_1_3] {
        let serve = |auth| {
            let tls = ServerTls::new(&desk.server).versions(min, max);
            let tls = tls.client_auth(auth, &[desk.ca.cert()]);
            bench.set_tls(&tls.client_crl(&desk.crl));
        };
        let scenario = |how: &str, client: &str| format!("{client}, {how}, {min:?}, {kind:?}");
        serve(ClientAuth::Require);
        passes(
            &scenario("alert", "good"),
            &desk.uri(bench.addr(), Some(desk.client("good"))),
        );
        let required = CauseCode::ClientCertificateRequired;
        let none = desk.expected(required, None, Some(missing(min)));
        seen.check(
            &scenario("alert", "none"),
            &desk.uri(bench.addr(), None),
            &none.at(stage(min, true)),
        );
        for (client, code, alert) in REFUSED {
            let identity = desk.client(client);
            let listed = client != "of another CA" && client != "without its CA";
            let expected = desk
                .expected(code, Some(identity), Some(alert))
                .fact("issuer_listed_by_server", listed)
                .fact("allows_client_auth", client != "for servers");
            seen.check(
                &scenario("alert", client),
                &desk.uri(bench.addr(), Some(identity)),
                &expected.at(stage(min, true)),
            );
        }

        // A chain below the security level is rejected before it is sent. OpenSSL 3.5 sends it, and the server does not
        // know the CA then; the check of the file warns of the weak CA in either case.
        if openssl::version::number() < 0x3050_0000 {
            let weak = CaSpec::new("an old CA")
                .key(&key(kind, "mid"))
                .digest(Digest::Sha1)
                .issued_by(&desk.ca);
            let weak = weak.issue(LeafSpec::client("app").key(&key(kind, "leaf")));
            let expected = Expected::new(CauseCode::DigestTooWeak)
                .fact("subject", "CN=an old CA")
                .fact("path", shown(&desk.key_file()))
                .at(Stage::Options);
            let uri = desk.uri(bench.addr(), Some(&weak));
            // Not one of the codes of this file.
            Seen::default().check(&scenario("alert", "weak chain"), &uri, &expected);
        }

        serve(ClientAuth::RequireLikeMongod);
        seen.check(
            &scenario("silence", "none"),
            &desk.uri(bench.addr(), None),
            &desk.expected(required, None, None).at(Stage::Hello),
        );
        for (client, _, _) in REFUSED {
            // Without a message of the server, only the client's own certificate is known.
            let code = match client {
                "expired" => CauseCode::ClientCertificateExpired,
                _ => CauseCode::ClientCertificateRejected,
            };
            let identity = desk.client(client);
            let listed = client != "of another CA" && client != "without its CA";
            let expected = desk
                .expected(code, Some(identity), None)
                .fact("issuer_listed_by_server", listed)
                .fact("allows_client_auth", client != "for servers")
                .at(Stage::Hello);
            let expected = match client {
                "not yet valid" => expected.says("clock"),
                "for servers" => expected.says("clientAuth"),
                _ => expected,
            };
            seen.check(
                &scenario("silence", client),
                &desk.uri(bench.addr(), Some(identity)),
                &expected,
            );
        }
    }
}

#[test]
fn the_bench_refuses_ecdsa_clients_by_alert_and_in_silence() {
    let mut seen = Seen::default();
    against_the_bench(KeyKind::EcP256, &mut seen);
    seen.are(CODES);
}

#[test]
fn the_bench_refuses_rsa_clients_by_alert_and_in_silence() {
    let mut seen = Seen::default();
    against_the_bench(KeyKind::Rsa(2048), &mut seen);
    seen.are(CODES);
}

#[test]
fn haproxy_refuses_clients_by_its_ca_file_and_crl_file() {
    let mut seen = Seen::default();
    for kind in KINDS {
        let desk = Desk::new(kind);
        let behind = Server::builder().start();
        let late = desk.ca.crl().validity(Validity::expired()).build();
        for (min, version) in [
            (SslVersion::TLS1_2, "TLSv1.2"),
            (SslVersion::TLS1_3, "TLSv1.3"),
        ] {
            let options = || {
                HaProxyOptions::new(&desk.server, behind.addr())
                    .clients(ClientCertificates::Required, desk.ca.cert())
                    .versions(version, version)
            };
            let Some(front) = or_skip(HaProxy::start(&options().crl(&desk.crl))) else {
                return;
            };
            let good = Some(desk.client("good"));
            passes("HAProxy, good", &desk.uri(front.addr(), good));
            let none = desk.expected(
                CauseCode::ClientCertificateRequired,
                None,
                Some(missing(min)),
            );
            let scenario = |client: &str| format!("HAProxy, {client}, {version}, {kind:?}");
            seen.check(
                &scenario("none"),
                &desk.uri(front.addr(), None),
                &none.at(stage(min, true)),
            );
            for (client, code, alert) in REFUSED {
                let client = (client, desk.client(client));
                seen.check(
                    &scenario(client.0),
                    &desk.uri(front.addr(), Some(client.1)),
                    &desk
                        .expected(code, Some(client.1), Some(alert))
                        .at(stage(min, true)),
                );
            }

            // The server's own CRL is stale: OpenSSL sends the alert of an expired certificate.
            let front = or_skip(HaProxy::start(&options().crl(&late))).unwrap();
            let code = CauseCode::ClientCertificateExpired;
            let expected = desk.expected(code, good, Some("certificate_expired"));
            seen.check(
                &scenario("CRL expired"),
                &desk.uri(front.addr(), good),
                &expected.at(stage(min, true)).says("CRL"),
            );
        }
    }
    seen.are(CODES);
}

#[test]
fn s_server_refuses_clients_and_is_gone_before_the_first_write() {
    let mut seen = Seen::default();
    for kind in KINDS {
        let desk = Desk::new(kind);
        let ca_file = shown(&desk.dir.write("server-ca.pem", desk.ca.cert_pem()));
        for (min, version) in [
            (SslVersion::TLS1_2, "-tls1_2"),
            (SslVersion::TLS1_3, "-tls1_3"),
        ] {
            let arguments = ["-Verify", "2", "-verify_return_error", "-CAfile", &ca_file];
            let server = SServer::start(&desk.server, &[&arguments[..], &[version]].concat());
            let Some(server) = or_skip(server) else {
                return;
            };
            let scenario = |client: &str| format!("s_server, {client}, {version}, {kind:?}");
            let none = desk.expected(
                CauseCode::ClientCertificateRequired,
                None,
                Some(missing(min)),
            );
            seen.check(
                &scenario("none"),
                &desk.uri(server.addr(), None),
                &none.at(stage(min, true)),
            );
            // It has no CRL.
            for (client, code, alert) in &REFUSED[..5] {
                let identity = desk.client(client);
                let expected = desk.expected(*code, Some(identity), Some(alert));
                seen.check(
                    &scenario(client),
                    &desk.uri(server.addr(), Some(identity)),
                    &expected.at(stage(min, true)),
                );
            }
        }
        gone_before_the_first_write(&desk);
    }
    seen.note(CauseCode::ClientCertificateRevoked);
    seen.are(CODES);
}

/// Tests a server of TLS 1.3 that rejects a certificate and closes before it has read the end of the client's
/// handshake, so that the kernel resets the connection; the alert precedes the reset.
fn gone_before_the_first_write(desk: &Desk) {
    let mut tls = SslContextBuilder::new(SslMethod::tls_server()).unwrap();
    tls.set_min_proto_version(Some(SslVersion::TLS1_3)).unwrap();
    tls.set_certificate(&desk.server.cert).unwrap();
    tls.set_private_key(&desk.server.key).unwrap();
    tls.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    let store = tls.cert_store_mut();
    store.add_cert(desk.ca.cert().clone()).unwrap();
    let tls = tls.build();
    let server = Stranger::start(move |socket, _| {
        let ended = Ssl::new(&tls).unwrap().accept(socket.clone());
        assert!(ended.is_err());
        socket.reset_on_close();
    });

    desk.uri(server.addr(), Some(desk.client("of another CA")));
    let options = TlsOptions::builder()
        .ca_file(desk.dir.path().join("ca.pem"))
        .certificate_key_file(desk.key_file())
        .build()
        .unwrap();
    let context = TlsContext::new(&options).unwrap();
    for pause in [0, 1, 50] {
        let stream = TcpStream::connect(server.addr()).unwrap();
        let mut stream = context.connect("localhost", stream).unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        let outcome = stream
            .write_all(b"hello")
            .and_then(|()| stream.read(&mut [0; 16]));
        let cause = stream.explain(&outcome.unwrap_err()).unwrap();
        assert_eq!(
            cause.code(),
            CauseCode::ClientCertificateUntrusted,
            "{pause} ms: {cause}"
        );
    }
}
