//! FerretDB, a real server that speaks MongoDB, with documents in SQLite.

use super::{Peer, PeerUnavailable, cache};
use crate::pki::{Identity, PkiDir};
use openssl::x509::X509;
use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// The options for FerretDB.
#[derive(Clone, Debug, Default)]
pub struct FerretDbOptions {
    tls: Option<Identity>,
    client_ca: Option<X509>,
    repl_set_name: Option<String>,
    user: Option<(String, String)>,
}

impl FerretDbOptions {
    /// Without TLS.
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

    /// Demands client certificates from this authority. Only with TLS.
    pub fn client_ca(mut self, ca: &X509) -> Self {
        self.client_ca = Some(ca.clone());
        self
    }

    /// Requires authentication, and adds this user of `admin`, with keys for both SCRAM mechanisms.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    /// Reports in hello that it is the primary of a replica set of that name.
    ///
    /// FerretDB 1.24 names one host: the value of its option `--listen-addr`, at which it listens without TLS, here
    /// [`FerretDb::addr`]. With only TLS, as after [`tls`](Self::tls), that value is empty and so is the host, which no
    /// client can use. If it also listened in the clear, the host would be that port, which has no TLS; and there is no
    /// option for another name. So over TLS it can be a set only behind a [`Front`](crate::front::Front), which names
    /// itself. It reports neither `me` nor `primary`, `setVersion`, `electionId` or `topologyVersion`.
    pub fn repl_set_name(mut self, name: &str) -> Self {
        self.repl_set_name = Some(name.into());
        self
    }
}

/// A running FerretDB.
#[derive(Debug)]
pub struct FerretDb(Peer);

impl FerretDb {
    /// Starts it.
    ///
    /// The program is the one that `MONGOTLS_FERRETDB` names, or the one that `get-ferretdb.sh` has built; it is not
    /// built here.
    ///
    /// # Errors
    ///
    /// If there is no such program, or it does not start.
    pub fn start(options: &FerretDbOptions) -> Result<Self, PeerUnavailable> {
        let program = find()?;
        let dir = PkiDir::new();
        let files = options.tls.as_ref().map(|identity| {
            let cert = dir.write("server-chain.pem", identity.chain_pem());
            let key = dir.write("server-key.pem", identity.key_pem());
            (cert, key)
        });
        let client_ca = options.client_ca.as_ref();
        let client_ca = client_ca.map(|ca| dir.write("client-ca.pem", ca.to_pem().unwrap()));
        Peer::start("FerretDB", dir, |folder, addr| {
            let mut command = Command::new(&program);
            let folder = folder.display();
            command
                .arg("--handler=sqlite")
                .arg(format!("--sqlite-url=file:{folder}/"))
                .arg(format!("--state-dir={folder}"))
                .args(["--debug-addr=-", "--telemetry=disable", "--log-level=error"]);
            match &files {
                None => {
                    command.arg(format!("--listen-addr={addr}"));
                }
                Some((cert, key)) => {
                    command
                        .arg("--listen-addr=")
                        .arg(format!("--listen-tls={addr}"))
                        .arg(format!("--listen-tls-cert-file={}", cert.display()))
                        .arg(format!("--listen-tls-key-file={}", key.display()));
                }
            }
            if let Some(ca) = &client_ca {
                command.arg(format!("--listen-tls-ca-file={}", ca.display()));
            }
            if let Some(name) = &options.repl_set_name {
                command.arg(format!("--repl-set-name={name}"));
            }
            if let Some((name, password)) = &options.user {
                command
                    .args(["--test-enable-new-auth", "--setup-database=admin"])
                    .arg(format!("--setup-username={name}"))
                    .arg(format!("--setup-password={password}"));
            }
            command
        })
        .map(Self)
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.0.log()
    }
}

fn find() -> Result<PathBuf, PeerUnavailable> {
    let cached = || Some(cache()?.join("ferretdb-1.24.2"));
    let program = env::var_os("MONGOTLS_FERRETDB").map(PathBuf::from);
    program
        .or_else(cached)
        .filter(|program| program.is_file())
        .ok_or_else(|| PeerUnavailable {
            what: "there is no FerretDB".into(),
            remedy: "run tests/support/get-ferretdb.sh, or set MONGOTLS_FERRETDB to a binary"
                .into(),
        })
}
