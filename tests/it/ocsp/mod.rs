//! Revocation by OCSP: staples, responders, the cache, and the drivers' own test plan.

mod cache;
mod plan;
mod pymongo;
mod responder;
mod staple;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mongotls::event::{Event, RevocationEvent, TlsEvent};
use mongotls::options::{TlsOptions, TlsOptionsBuilder};
use mongotls::tls::{CertificateRevocation, HandshakeReport, RevocationStatus};
use mongotls::{Client, ClientOptions, Error, ServerAddress};
use mongotls_testbench::pki::{Ca, Identity, KeyKind, LeafSpec};
use mongotls_testbench::server::{Server, ServerTls};
use openssl::ssl::SslVersion;

use crate::common::Bench;

/// A server whose certificate comes from an intermediate CA, which signs the responses.
struct Scene {
    bench: Bench,
    issuer: Ca,
    identity: Identity,
    version: SslVersion,
}

impl Scene {
    fn new(kind: KeyKind, version: SslVersion, leaf: impl FnOnce(LeafSpec) -> LeafSpec) -> Self {
        let root = Ca::root("bench root", KeyKind::EcP256);
        let issuer = root.intermediate("bench issuer", kind);
        let identity = issuer.issue(leaf(LeafSpec::local_server().key_kind(kind)));
        let tls = ServerTls::new(&identity).versions(version, version);
        let bench = Bench::around(Server::builder().tls(tls).start(), root);
        Self {
            bench,
            issuer,
            identity,
            version,
        }
    }

    fn ec(leaf: impl FnOnce(LeafSpec) -> LeafSpec) -> Self {
        Self::new(KeyKind::EcP256, SslVersion::TLS1_3, leaf)
    }

    /// Makes the server send this response in its next handshakes.
    fn staple(&self, response: impl Into<Vec<u8>>) {
        let tls = ServerTls::new(&self.identity).versions(self.version, self.version);
        self.bench.server.set_tls(&tls.staple(response));
    }

    /// Makes the server send no response.
    fn no_staple(&self) {
        let tls = ServerTls::new(&self.identity).versions(self.version, self.version);
        self.bench.server.set_tls(&tls);
    }

    /// One full handshake.
    fn attempt(
        &self,
        change: impl FnOnce(TlsOptionsBuilder) -> TlsOptionsBuilder,
    ) -> Result<HandshakeReport, Error> {
        self.bench
            .handshake(|tls| change(tls.ca_file(&self.bench.ca_file)))
    }

    fn plain(&self) -> Result<HandshakeReport, Error> {
        self.attempt(|tls| tls)
    }

    /// A client that lasts but keeps no connection for long, and its events. It has no monitors, so that each handshake
    /// belongs to a command.
    fn client(
        &self,
        change: impl FnOnce(TlsOptionsBuilder) -> TlsOptionsBuilder,
    ) -> (Client, Told) {
        let told = Told::default();
        let list = Arc::clone(&told);
        self.bench.without_monitors();
        let tls = change(TlsOptions::builder().ca_file(&self.bench.ca_file));
        let options = ClientOptions::builder()
            .host(ServerAddress::tcp("localhost", self.bench.server.port()))
            .load_balanced(true)
            .tls(tls.build().unwrap())
            .max_idle_time(Duration::from_millis(1))
            .max_connecting(64_u32)
            .event_listener(move |event| {
                if let Event::Tls(TlsEvent::Revocation(event)) = event {
                    list.lock().unwrap().push(event.clone());
                }
            })
            .build()
            .unwrap();
        (Client::with_options(options).unwrap(), told)
    }
}

/// The events of a client.
type Told = Arc<Mutex<Vec<RevocationEvent>>>;

/// The report about the server's own certificate.
fn leaf(report: &HandshakeReport) -> CertificateRevocation {
    report.revocation().swap_remove(0)
}

/// Its status, and the text of each step.
fn told(report: &HandshakeReport) -> (RevocationStatus, Vec<String>) {
    let found = leaf(report);
    let steps = found.steps.iter();
    let words = steps.map(|step| format!("{} {}", step.evidence, step.outcome));
    (found.status, words.collect())
}
