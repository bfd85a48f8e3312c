//! Resumed sessions: their use, their number, and their lifetime, which never exceeds that of their evidence.

use std::time::Duration;

use mongotls::bson::doc;
use mongotls::options::TlsOptions;
use mongotls::tls::TlsContext;
use mongotls::{CauseCode, Client};
use mongotls_testbench::client::RawClient;
use mongotls_testbench::pki::{Ca, Identity, KeyKind, LeafSpec, Revocation, Validity};
use mongotls_testbench::server::{Server, ServerTls};
use openssl::ssl::SslVersion;

use crate::common::{Bench, code};
use crate::target::at_rest;

/// Makes connections of one context one after another, each with a hello, and closes them.
pub(crate) struct Caller<'a> {
    bench: &'a Bench,
    pub(crate) context: TlsContext,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(bench: &'a Bench) -> Self {
        Self::with(
            bench,
            TlsOptions::builder()
                .ca_file(&bench.ca_file)
                .build()
                .unwrap(),
        )
    }

    pub(crate) fn with(bench: &'a Bench, options: TlsOptions) -> Self {
        Self {
            bench,
            context: TlsContext::new(&options).unwrap(),
        }
    }

    /// Returns true if the handshake resumed a session.
    pub(crate) fn call(&self) -> Result<bool, mongotls::Error> {
        let socket = std::net::TcpStream::connect(self.bench.server.addr()).unwrap();
        let stream = self.context.connect("localhost", socket)?;
        let resumed = stream.report().resumed();
        // Tickets of TLS 1.3 come with the first reply.
        RawClient::over(stream).legacy_hello().unwrap();
        Ok(resumed)
    }
}

fn only(version: SslVersion) -> Bench {
    Bench::with(
        KeyKind::EcP256,
        |leaf| leaf,
        |tls| tls.versions(version, version),
    )
}

#[test]
fn the_second_connection_resumes_and_the_report_counts_it() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let bench = only(version);
        let caller = Caller::new(&bench);
        assert!(!caller.call().unwrap());
        for _ in 0..5 {
            assert!(caller.call().unwrap(), "{version:?}");
        }
        assert_eq!(
            (
                caller.context.full_handshakes(),
                caller.context.resumed_handshakes()
            ),
            (1, 5)
        );
        assert!(
            bench
                .server
                .wait_until(Duration::from_secs(5), |server| server.counts().resumed
                    == 5)
        );
    }
}

#[test]
fn a_resumed_connection_is_still_verified_and_names_its_peer() {
    let bench = Bench::sound();
    let caller = Caller::new(&bench);
    caller.call().unwrap();
    let socket = std::net::TcpStream::connect(bench.server.addr()).unwrap();
    let stream = caller.context.connect("localhost", socket).unwrap();
    assert!(stream.report().resumed() && stream.report().is_verified());
    assert_eq!(stream.report().peer_chain()[0].subject, "CN=localhost");
}

#[test]
fn a_ticket_of_tls_1_3_is_used_once() {
    let bench = Bench::with(KeyKind::EcP256, |leaf| leaf, |tls| tls.tickets(1));
    let caller = Caller::new(&bench);
    caller.call().unwrap();
    // Two handshakes in parallel: there is one ticket for both.
    let dial = || {
        caller
            .context
            .connect(
                "localhost",
                std::net::TcpStream::connect(bench.server.addr()).unwrap(),
            )
            .unwrap()
    };
    let (first, second) = (dial(), dial());
    assert_eq!(
        [first.report().resumed(), second.report().resumed()],
        [true, false]
    );
}

#[test]
fn sessions_belong_to_one_name_and_one_context() {
    let bench = Bench::sound();
    let caller = Caller::new(&bench);
    caller.call().unwrap();
    let dial = |context: &TlsContext, host: &str| {
        let stream = context
            .connect(
                host,
                std::net::TcpStream::connect(bench.server.addr()).unwrap(),
            )
            .unwrap();
        stream.report().resumed()
    };
    assert!(!dial(&caller.context, "127.0.0.1"));
    let other = TlsOptions::builder().ca_file(&bench.ca_file);
    let other = other.dangerous(|tls| tls.allow_common_name(true));
    let other = other.build().unwrap();
    assert!(!dial(&Caller::with(&bench, other).context, "localhost"));
    assert!(dial(&caller.context, "localhost"));
}

#[test]
fn pool_connections_resume_the_session_of_the_monitor() {
    let bench = Bench::sound();
    let client = at_rest(&bench.uri(""));
    let report = client.server_report().unwrap();
    assert!(report.handshake.unwrap().resumed());
    let counts = (report.full_handshakes, report.resumed_handshakes);
    assert_eq!(counts, (1, 1));
}

#[test]
fn a_client_resumes_when_its_pool_dials_again() {
    let bench = Bench::sound();
    let client: Client = bench.client(&format!("&maxIdleTimeMS=1{}", bench.without_monitors()));
    for _ in 0..3 {
        client
            .database("admin")
            .run_command(doc! { "ping": 1 })
            .unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        bench
            .server
            .wait_until(Duration::from_secs(5), |server| server.counts().resumed
                == 2),
        "{:?}",
        bench.server.counts()
    );
    let report = client.server_report().unwrap();
    let counts = (report.full_handshakes, report.resumed_handshakes);
    assert_eq!(counts, (1, bench.server.counts().resumed));
    // A reload drops the sessions, but not the counts.
    client.reload_tls().unwrap();
    let report = client.server_report().unwrap();
    assert_eq!(
        (report.full_handshakes, report.resumed_handshakes),
        (2, counts.1)
    );
}

#[test]
fn a_forgotten_session_leads_to_a_full_handshake() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let bench = only(version);
        let caller = Caller::new(&bench);
        caller.call().unwrap();
        // New settings come with new ticket keys.
        let identity = bench.ca.issue(LeafSpec::local_server());
        bench
            .server
            .set_tls(&ServerTls::new(&identity).versions(version, version));
        assert!(!caller.call().unwrap(), "{version:?}");
        assert!(caller.call().unwrap(), "{version:?}");
    }
}

#[test]
fn no_session_is_kept_past_the_certificate_or_the_crl() {
    let certificate = |seconds| {
        Bench::with(
            KeyKind::EcP256,
            |leaf| leaf.validity(Validity::seconds(-60, seconds)),
            |tls| tls,
        )
    };
    // The certificate expires while the session would still be valid for hours.
    let bench = certificate(3);
    let caller = Caller::new(&bench);
    caller.call().unwrap();
    assert!(caller.call().unwrap());
    std::thread::sleep(Duration::from_millis(3200));
    assert_eq!(
        code(&caller.call().unwrap_err()),
        CauseCode::CertificateExpired
    );

    let bench = Bench::sound();
    let crl = bench.dir.write(
        "crl.pem",
        bench
            .ca
            .crl()
            .validity(Validity::seconds(-60, 3))
            .build()
            .to_pem()
            .unwrap(),
    );
    let caller = Caller::with(
        &bench,
        TlsOptions::builder()
            .ca_file(&bench.ca_file)
            .crl_file(crl)
            .build()
            .unwrap(),
    );
    caller.call().unwrap();
    assert!(caller.call().unwrap());
    std::thread::sleep(Duration::from_millis(3200));
    assert_eq!(code(&caller.call().unwrap_err()), CauseCode::CrlExpired);
}

#[test]
fn a_newer_crl_invalidates_old_tickets() {
    let ca = Ca::root("root", KeyKind::EcP256);
    let identity: Identity = ca.issue(LeafSpec::local_server());
    let server = Server::builder().tls(ServerTls::new(&identity)).start();
    let bench = Bench::around(server, ca);
    let options = |name: &str, crl: openssl::x509::X509Crl| {
        let path = bench.dir.write(name, crl.to_pem().unwrap());
        TlsOptions::builder()
            .ca_file(&bench.ca_file)
            .crl_file(path)
            .build()
            .unwrap()
    };
    let before = Caller::with(&bench, options("old.pem", bench.ca.crl().build()));
    before.call().unwrap();
    assert!(before.call().unwrap());
    let revoked = bench
        .ca
        .crl()
        .revoke(Revocation::of(&identity.cert))
        .build();
    let after = Caller::with(&bench, options("new.pem", revoked));
    assert_eq!(code(&after.call().unwrap_err()), CauseCode::RevokedCrl);
}

#[test]
fn resumption_can_be_disabled_and_needs_verification() {
    let bench = Bench::sound();
    let off = TlsOptions::builder()
        .ca_file(&bench.ca_file)
        .session_resumption(false)
        .build()
        .unwrap();
    let blind = TlsOptions::builder()
        .dangerous(|tls| tls.insecure(true))
        .build()
        .unwrap();
    for options in [off, blind] {
        let caller = Caller::with(&bench, options);
        for _ in 0..3 {
            assert!(!caller.call().unwrap());
        }
    }
}
