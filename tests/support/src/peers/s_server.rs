//! `openssl s_server`, for settings of TLS that the bench server lacks.

use super::{Peer, PeerUnavailable, find_program};
use crate::pki::{Identity, PkiDir};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// A running `openssl s_server`; it completes handshakes and sends nothing.
///
/// ```no_run
/// # use mongotls_testbench::{pki::*, peers::SServer};
/// # let identity = Ca::root("root", KeyKind::EcP256).issue(LeafSpec::local_server());
/// let server = SServer::start(&identity, &["-tls1_3", "-groups", "P-521"]).unwrap();
/// ```
#[derive(Debug)]
pub struct SServer(Peer);

impl SServer {
    /// Starts it with this certificate and further arguments of `openssl s_server`.
    ///
    /// # Errors
    ///
    /// If there is no `openssl` program, or it rejects the arguments.
    pub fn start(identity: &Identity, arguments: &[&str]) -> Result<Self, PeerUnavailable> {
        let program = find_program("openssl").ok_or_else(|| PeerUnavailable {
            what: "there is no openssl program".into(),
            remedy: "install the package openssl".into(),
        })?;
        let dir = PkiDir::new();
        let cert = dir.write("cert.pem", identity.cert_pem());
        let chain = dir.write("chain.pem", identity.chain_pem());
        let key = dir.write("key.pem", identity.key_pem());
        Peer::start("openssl s_server", dir, |_, addr| {
            let mut command = Command::new(&program);
            command.arg("s_server").arg("-quiet");
            command.arg("-accept").arg(addr.to_string());
            command.arg("-cert").arg(&cert).arg("-key").arg(&key);
            command.arg("-cert_chain").arg(&chain).args(arguments);
            command
        })
        .map(Self)
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// The folder with its files.
    pub fn dir(&self) -> &Path {
        self.0.dir.path()
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        self.0.log()
    }
}
