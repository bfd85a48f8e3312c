//! SecantusDB, a MongoDB-compatible server in Python on WiredTiger, with sessions, transactions and change streams.
//!
//! It is slow (700 µs for a ping) and needs 0.7 s to start, so tests share one process: [`Secantus::shared`]. It calls
//! itself the primary of the set `secantus`; [`Deployment`](crate::deployment::Deployment) puts other topologies in
//! front of it.

use super::{Peer, PeerUnavailable, cache};
use crate::pki::{Identity, PkiDir};
use crate::server::Backend;
use bson::doc;
use openssl::x509::X509;
use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// The options for SecantusDB.
#[derive(Clone, Debug, Default)]
pub struct SecantusOptions {
    tls: Option<Identity>,
    client_ca: Option<X509>,
    requires_client_certificates: bool,
    auth: bool,
}

impl SecantusOptions {
    /// Without TLS and authentication.
    pub fn plain() -> Self {
        Self::default()
    }

    /// With TLS, and this certificate.
    pub fn tls(identity: &Identity) -> Self {
        Self {
            tls: Some(identity.clone()),
            ..Self::default()
        }
    }

    /// Verifies client certificates against this authority; `required` also rejects clients without one. Only with TLS.
    pub fn client_ca(mut self, ca: &X509, required: bool) -> Self {
        self.client_ca = Some(ca.clone());
        self.requires_client_certificates = required;
        self
    }

    /// Requires authentication. SecantusDB has no users at first, and no exception for the first connection.
    pub fn auth(mut self) -> Self {
        self.auth = true;
        self
    }
}

/// A running SecantusDB; dropping it ends the process and removes its files.
#[derive(Debug)]
pub struct Secantus(Peer);

impl Secantus {
    /// Starts it.
    ///
    /// The program is the one that `MONGOTLS_SECANTUS` names, or the one that `get-secantus.sh` has installed; it is
    /// not installed here.
    ///
    /// # Errors
    ///
    /// If there is no such program, or it does not start.
    pub fn start(options: &SecantusOptions) -> Result<Self, PeerUnavailable> {
        let program = find()?;
        let dir = PkiDir::new();
        let files = options.tls.as_ref().map(|identity| {
            let cert = dir.write("server-chain.pem", identity.chain_pem());
            let key = dir.write("server-key.pem", identity.key_pem());
            (cert, key)
        });
        let client_ca = options.client_ca.as_ref();
        let client_ca = client_ca.map(|ca| dir.write("client-ca.pem", ca.to_pem().unwrap()));
        let peer = Peer::start("SecantusDB", dir, |folder, addr| {
            let mut command = Command::new("sh");
            command
                .args(["-c", WATCH, "secantus"])
                .arg(folder)
                .arg(&program)
                .args(["--host", "127.0.0.1", "--storage-path", ":memory:"])
                .args(["--enable-test-commands", "--log-level", "WARNING"])
                .args(["--port", &addr.port().to_string()])
                // Its files are in a folder there.
                .env("TMPDIR", folder)
                // Otherwise it reads a configuration from them.
                .env("HOME", folder)
                .current_dir(folder);
            if let Some((cert, key)) = &files {
                command.arg("--tls-cert-file").arg(cert);
                command.arg("--tls-key-file").arg(key);
            }
            if let Some(ca) = &client_ca {
                command.arg("--tls-ca-file").arg(ca);
            }
            if options.requires_client_certificates {
                command.arg("--tls-require-client-cert");
            }
            if options.auth {
                command.arg("--auth");
            }
            command
        });
        let secantus = peer.map(Self)?;
        if options.tls.is_none() {
            secantus.check()?;
        }
        Ok(secantus)
    }

    /// The Python of the environment that `get-secantus.sh` has made. It has PyMongo, which SecantusDB requires. `None` if
    /// SecantusDB is another program.
    pub fn python() -> Option<PathBuf> {
        let python = find().ok()?.with_file_name("python");
        python.is_file().then_some(python)
    }

    /// The process that all tests of this program share: plain, and started by the first call.
    ///
    /// It lives as long as the program. Tests must use databases of their own.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start), for every call.
    pub fn shared() -> Result<&'static Self, PeerUnavailable> {
        static SHARED: OnceLock<Result<Secantus, PeerUnavailable>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::start(&SecantusOptions::plain()));
        shared.as_ref().map_err(Clone::clone)
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.0.log()
    }

    /// The temporary folder with its files.
    pub fn folder(&self) -> &Path {
        self.0.dir.path()
    }

    /// It as the store of bench servers.
    pub fn backend(&self) -> Backend {
        Backend::new(self.addr())
    }

    /// Checks that it answers a ping.
    fn check(&self) -> Result<(), PeerUnavailable> {
        let answer = self.backend().command("admin", doc! { "ping": 1 });
        match answer {
            Ok(reply) if reply.get_f64("ok").is_ok_and(|ok| ok == 1.0) => Ok(()),
            other => Err(PeerUnavailable {
                what: format!("SecantusDB does not answer a ping: {other:?}"),
                remedy: format!("see its log: {}", self.log().trim()),
            }),
        }
    }
}

impl Drop for Secantus {
    fn drop(&mut self) {
        // The shell ends the server in an orderly way when its input ends; that takes 0.3 s.
        drop(self.0.child.stdin.take());
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(self.0.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn find() -> Result<PathBuf, PeerUnavailable> {
    let named = env::var_os("MONGOTLS_SECANTUS").map(PathBuf::from);
    let cached = || Some(cache()?.join("secantusdb-0.7.0b3/bin/secantusd-py"));
    named
        .or_else(cached)
        .filter(|program| program.is_file())
        .ok_or_else(|| PeerUnavailable {
            what: "there is no SecantusDB".into(),
            remedy: "run tests/support/get-secantus.sh, or set MONGOTLS_SECANTUS to a program"
                .into(),
        })
}

/// Runs a server (`$2` and the rest) until it ends or the input of this script does, then removes the folder `$1`.
///
/// The input ends with the process that holds its other end, even if that is killed. The signal for the death of a
/// parent (`PR_SET_PDEATHSIG`) would not do: it comes with the end of the thread that started the child.
const WATCH: &str = r#"
folder=$1
shift
"$@" </dev/null &
server=$!
exec 3<&0
{ cat <&3 >/dev/null; kill "$server" 2>/dev/null; } >/dev/null 2>&1 &
exec 3<&-
wait "$server"
status=$?
cd /
rm -rf "$folder"
exit "$status"
"#;
