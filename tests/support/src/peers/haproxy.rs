//! HAProxy as the TLS front of a server, as in many deployments.

use super::{Peer, PeerUnavailable, find_program};
use crate::pki::{Identity, PkiDir};
use openssl::x509::{X509, X509CrlRef};
use std::fmt::Write;
use std::net::SocketAddr;
use std::process::Command;

/// HAProxy's handling of client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Requests one, and continues without one.
    Optional,
    /// Rejects a client without one.
    Required,
}

/// The options for HAProxy.
#[derive(Clone, Debug)]
pub struct HaProxyOptions {
    identity: Identity,
    backend: SocketAddr,
    clients: Option<(ClientCertificates, Vec<u8>)>,
    crl: Option<Vec<u8>>,
    staple: Option<(Vec<u8>, Vec<u8>)>,
    bind_options: String,
    server_options: String,
}

impl HaProxyOptions {
    /// TLS with this certificate on the front, plain TCP to `backend`.
    pub fn new(identity: &Identity, backend: SocketAddr) -> Self {
        Self {
            identity: identity.clone(),
            backend,
            clients: None,
            crl: None,
            staple: None,
            bind_options: String::new(),
            server_options: String::new(),
        }
    }

    /// Requests client certificates from this authority.
    pub fn clients(mut self, mode: ClientCertificates, ca: &X509) -> Self {
        self.clients = Some((mode, ca.to_pem().unwrap()));
        self
    }

    /// Rejects client certificates that this CRL lists.
    pub fn crl(mut self, crl: &X509CrlRef) -> Self {
        self.crl = Some(crl.to_pem().unwrap());
        self
    }

    /// Staples this OCSP response (DER).
    ///
    /// When HAProxy starts, it omits a response that it cannot decode, whose CertID does not match the certificate and
    /// this issuer, with the status unknown, or with invalid dates; its log reports that. It does not check the
    /// signature, and also staples the status revoked.
    pub fn staple(mut self, response: &[u8], issuer: &X509) -> Self {
        self.staple = Some((response.to_vec(), issuer.to_pem().unwrap()));
        self
    }

    /// The lowest and the highest version, in HAProxy's notation (`TLSv1.2`).
    pub fn versions(self, min: &str, max: &str) -> Self {
        self.bind_option(&format!("ssl-min-ver {min} ssl-max-ver {max}"))
    }

    /// Cipher suites up to TLS 1.2.
    pub fn ciphers(self, list: &str) -> Self {
        self.bind_option(&format!("ciphers {list}"))
    }

    /// Cipher suites of TLS 1.3.
    pub fn ciphersuites(self, list: &str) -> Self {
        self.bind_option(&format!("ciphersuites {list}"))
    }

    /// Any other keywords of a `bind` line, such as `no-tls-tickets`.
    pub fn bind_option(mut self, keywords: &str) -> Self {
        self.bind_options.push(' ');
        self.bind_options.push_str(keywords);
        self
    }

    /// Any keywords of the `server` line, such as `send-proxy-v2-ssl-cn`.
    pub fn server_option(mut self, keywords: &str) -> Self {
        self.server_options.push(' ');
        self.server_options.push_str(keywords);
        self
    }
}

/// A running HAProxy.
#[derive(Debug)]
pub struct HaProxy(Peer);

impl HaProxy {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// If it is not installed, or rejects its configuration.
    pub fn start(options: &HaProxyOptions) -> Result<Self, PeerUnavailable> {
        let program = find_program("haproxy").ok_or_else(|| PeerUnavailable {
            what: "there is no HAProxy".into(),
            remedy: "install the package haproxy".into(),
        })?;
        let dir = PkiDir::new();
        let bundle = dir.write("server.pem", options.identity.bundle_pem());
        let mut tls = format!("ssl crt {}{}", bundle.display(), options.bind_options);
        if let Some((mode, ca)) = &options.clients {
            let mode = match mode {
                ClientCertificates::Optional => "optional",
                ClientCertificates::Required => "required",
            };
            let ca = dir.write("client-ca.pem", ca);
            write!(tls, " ca-file {} verify {mode}", ca.display()).unwrap();
        }
        if let Some(crl) = &options.crl {
            let crl = dir.write("crl.pem", crl);
            write!(tls, " crl-file {}", crl.display()).unwrap();
        }
        if let Some((response, issuer)) = &options.staple {
            dir.write("server.pem.ocsp", response);
            dir.write("server.pem.issuer", issuer);
        }
        Peer::start("HAProxy", dir, |folder, addr| {
            let config = configuration(addr, &tls, options);
            let file = folder.join("haproxy.cfg");
            std::fs::write(&file, config).expect("a configuration file");
            let mut command = Command::new(&program);
            command.args(["-db", "-f"]).arg(file);
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

fn configuration(front: SocketAddr, tls: &str, options: &HaProxyOptions) -> String {
    let HaProxyOptions {
        backend,
        server_options,
        ..
    } = options;
    format!(
        "global\n\
         \x20   maxconn 256\n\
         \x20   ssl-default-bind-options no-sslv3\n\
         defaults\n\
         \x20   mode tcp\n\
         \x20   timeout connect 5s\n\
         \x20   timeout client 60s\n\
         \x20   timeout server 60s\n\
         frontend front\n\
         \x20   bind {front} {tls}\n\
         \x20   default_backend back\n\
         backend back\n\
         \x20   server one {backend}{server_options}\n"
    )
}
