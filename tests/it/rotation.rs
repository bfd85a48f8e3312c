//! Files of TLS that change under a running client.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use mongotls::{CauseCode, Client};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, Revocation, Validity};
use mongotls_testbench::server::{ClientAuth, Server, ServerTls};

use crate::common::{Bench, code, ping_on};

/// A server that wants a client certificate, and a client whose files can be rewritten.
struct Rotation {
    bench: Bench,
    client: Client,
}

impl Rotation {
    fn new() -> Self {
        let ca = Ca::root("bench root", KeyKind::EcP256);
        let identity = ca.issue(LeafSpec::local_server());
        let tls = ServerTls::new(&identity).client_auth(ClientAuth::Require, &[ca.cert()]);
        let bench = Bench::around(Server::builder().tls(tls).start(), ca);
        let first = bench.ca.issue(LeafSpec::client("first"));
        let file = bench.dir.write("client.pem", first.bundle_pem());
        let client = bench.client(&format!("&tlsCertificateKeyFile={}", file.display()));
        Self { bench, client }
    }

    fn write(&self, common_name: &str, validity: Validity) {
        let identity = self
            .bench
            .ca
            .issue(LeafSpec::client(common_name).validity(validity));
        self.bench.dir.write("client.pem", identity.bundle_pem());
    }

    /// The subject of the certificate that the newest connection was made with.
    fn presented(&self) -> String {
        ping_on(&self.client).unwrap();
        let last = self.bench.server.connections().pop().unwrap();
        let certificate = last.client_certificate.unwrap();
        mongotls::tls::Certificate::from(&*certificate).subject
    }
}

#[test]
fn a_new_certificate_is_used_from_the_next_command_on() {
    let rotation = Rotation::new();
    assert!(
        rotation.presented().contains("CN=first"),
        "{}",
        rotation.presented()
    );
    rotation.write("second", Validity::days(-1, 10));
    assert!(rotation.presented().contains("CN=first"));
    rotation.client.reload_tls().unwrap();
    assert!(
        rotation.presented().contains("CN=second"),
        "{}",
        rotation.presented()
    );
    assert!(
        rotation
            .bench
            .server
            .wait_until(Duration::from_secs(5), |server| server.counts().open == 1)
    );
}

#[test]
fn a_set_that_is_not_sound_leaves_the_old_one_in_force() {
    let rotation = Rotation::new();
    ping_on(&rotation.client).unwrap();
    let other_key = Ca::root("x", KeyKind::EcP256).issue(LeafSpec::client("x"));
    let bad = [
        (b"rubbish".to_vec(), CauseCode::KeyFileNoPrivateKey),
        (
            [
                other_key.cert_pem(),
                rotation.bench.ca.issue(LeafSpec::client("y")).key_pem(),
            ]
            .concat(),
            CauseCode::KeyCertificateMismatch,
        ),
    ];
    for (bytes, expected) in bad {
        rotation.bench.dir.write("client.pem", bytes);
        assert_eq!(code(&rotation.client.reload_tls().unwrap_err()), expected);
    }
    rotation.write("expired", Validity::expired());
    assert_eq!(
        code(&rotation.client.reload_tls().unwrap_err()),
        CauseCode::ClientCertificateExpired
    );
    rotation.write("early", Validity::not_yet());
    assert_eq!(
        code(&rotation.client.reload_tls().unwrap_err()),
        CauseCode::CertificateNotYetValid
    );
    assert!(rotation.presented().contains("CN=first"));
    assert_eq!(
        rotation.bench.server.counts().accepted,
        1,
        "the old connection was kept"
    );
}

#[test]
fn a_revoked_server_is_not_let_in_by_an_old_ticket_after_a_reload() {
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let bench = Bench::around(Server::builder().tls(ServerTls::new(&identity)).start(), ca);
    let write = |crl: openssl::x509::X509Crl| bench.dir.write("crl.pem", crl.to_pem().unwrap());
    let crl = write(bench.ca.crl().build());
    let client = bench.client(&format!("&tlsCRLFile={}&maxIdleTimeMS=1", crl.display()));
    for _ in 0..2 {
        ping_on(&client).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    assert!(
        bench
            .server
            .wait_until(Duration::from_secs(5), |server| server.counts().resumed
                == 1)
    );
    write(
        bench
            .ca
            .crl()
            .revoke(Revocation::of(&identity.cert))
            .build(),
    );
    client.reload_tls().unwrap();
    assert_eq!(code(&ping_on(&client).unwrap_err()), CauseCode::RevokedCrl);
}

#[test]
fn no_command_fails_because_of_a_reload() {
    let rotation = Rotation::new();
    let (stop, commands) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    ping_on(&rotation.client).unwrap();
                    commands.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 0..20 {
            rotation.write(&format!("number {n}"), Validity::days(-1, 10));
            rotation.client.reload_tls().unwrap();
            let seen = commands.load(Ordering::Relaxed);
            while commands.load(Ordering::Relaxed) < seen + 20 {
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(rotation.presented().contains("CN=number 19"));
}
