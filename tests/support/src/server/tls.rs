//! A server's settings for the TLS handshake.
//!
//! The defaults are lenient (security level 0, so that a weak certificate can be served at all), because the client
//! under test should do the rejecting. Versions default to TLS 1.2 and 1.3.

use crate::net::lock;
use crate::pki::Identity;
use openssl::error::ErrorStack;
use openssl::ssl::{
    ClientHelloResponse, NameType, SniError, SslAlert, SslContext, SslContextBuilder, SslFiletype,
    SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use openssl::stack::Stack;
use openssl::x509::store::X509Lookup;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509CrlRef};
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};

/// The server's handling of a client certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Does not request one.
    #[default]
    None,
    /// Requests one; continues without one, rejects an invalid one by alert.
    Request,
    /// Requests one; rejects a missing or invalid one by alert.
    Require,
    /// Requests one as mongod does: accepts any, finishes the handshake, and then closes without an answer if it is
    /// missing or invalid.
    RequireLikeMongod,
}

type Choice = Arc<dyn Fn(Option<&str>) -> Option<Vec<u8>> + Send + Sync>;

type NameCheck = Arc<dyn Fn(Option<&str>) -> bool + Send + Sync>;

/// The TLS side of a [`Server`](super::Server).
///
/// ```
/// use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
/// use mongotls_testbench::server::{ClientAuth, ServerTls};
///
/// let ca = Ca::root("root", KeyKind::EcP256);
/// let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()))
///     .client_auth(ClientAuth::Require, &[ca.cert()])
///     .tickets(0);
/// ```
#[derive(Clone)]
pub struct ServerTls {
    identity: Identity,
    min_version: SslVersion,
    max_version: SslVersion,
    cipher_list: Option<String>,
    ciphersuites: Option<String>,
    groups: Option<String>,
    signature_algorithms: Option<String>,
    client_auth: ClientAuth,
    client_cas: Vec<X509>,
    client_crl: Option<Vec<u8>>,
    tickets: usize,
    has_session_id_context: bool,
    staple: Option<Choice>,
    accepts_name: Option<NameCheck>,
    alert: Option<SslAlert>,
    security_level: u32,
}

impl ServerTls {
    /// Serves this certificate, its chain, and TLS 1.2 and 1.3 with OpenSSL's own settings.
    pub fn new(identity: &Identity) -> Self {
        Self {
            identity: identity.clone(),
            min_version: SslVersion::TLS1_2,
            max_version: SslVersion::TLS1_3,
            cipher_list: None,
            ciphersuites: None,
            groups: None,
            signature_algorithms: None,
            client_auth: ClientAuth::None,
            client_cas: Vec::new(),
            client_crl: None,
            tickets: 2,
            has_session_id_context: true,
            staple: None,
            accepts_name: None,
            alert: None,
            security_level: 0,
        }
    }

    /// The lowest and the highest protocol version.
    pub fn versions(mut self, min: SslVersion, max: SslVersion) -> Self {
        self.min_version = min;
        self.max_version = max;
        self
    }

    /// Cipher suites up to TLS 1.2, in OpenSSL's notation.
    pub fn cipher_list(mut self, list: &str) -> Self {
        self.cipher_list = Some(list.into());
        self
    }

    /// Cipher suites of TLS 1.3.
    pub fn ciphersuites(mut self, list: &str) -> Self {
        self.ciphersuites = Some(list.into());
        self
    }

    /// Key exchange groups, such as `P-384:X25519`.
    pub fn groups(mut self, list: &str) -> Self {
        self.groups = Some(list.into());
        self
    }

    /// Signature algorithms.
    pub fn signature_algorithms(mut self, list: &str) -> Self {
        self.signature_algorithms = Some(list.into());
        self
    }

    /// Sets the handling of client certificates, and the authorities that may issue them.
    pub fn client_auth(mut self, mode: ClientAuth, authorities: &[&X509]) -> Self {
        self.client_auth = mode;
        self.client_cas = authorities.iter().map(|&ca| ca.clone()).collect();
        self
    }

    /// Rejects client certificates that this CRL lists (`certificate_revoked`).
    pub fn client_crl(mut self, crl: &X509CrlRef) -> Self {
        self.client_crl = Some(crl.to_pem().unwrap());
        self
    }

    /// Sets the number of session tickets of a TLS 1.3 handshake; with 0 no version resumes. Default: 2.
    pub fn tickets(mut self, count: usize) -> Self {
        self.tickets = count;
        self
    }

    /// Sets no session ID context, a common omission. OpenSSL then issues tickets and, if it requests client
    /// certificates, answers them with the alert `internal_error`.
    pub fn without_session_id_context(mut self) -> Self {
        self.has_session_id_context = false;
        self
    }

    /// An OCSP response (DER) for clients that request one.
    ///
    /// Up to OpenSSL 3.5 any bytes are sent; 3.6 sends only bytes that it can decode as a response.
    pub fn staple(self, response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        self.staple_with(move |_| Some(response.clone()))
    }

    /// The OCSP response that is in `staple` when a client requests one.
    pub fn staple_from(self, staple: &Staple) -> Self {
        let staple = staple.clone();
        self.staple_with(move |_| staple.take())
    }

    /// Staples the OCSP response that `choose` returns for a client that requests one, if any; it receives the name
    /// that the client sent, and is called once for each handshake that does not resume a session.
    pub fn staple_with(
        mut self,
        choose: impl Fn(Option<&str>) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        self.staple = Some(Arc::new(choose));
        self
    }

    /// Rejects with `unrecognized_name` if `accepts` returns false; it receives `None` if the client sent no name.
    pub fn accept_names(
        mut self,
        accepts: impl Fn(Option<&str>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.accepts_name = Some(Arc::new(accepts));
        self
    }

    /// Answers every ClientHello with this fatal alert.
    pub fn refuse_with(mut self, alert: SslAlert) -> Self {
        self.alert = Some(alert);
        self
    }

    /// OpenSSL's security level. Default: 0.
    pub fn security_level(mut self, level: u32) -> Self {
        self.security_level = level;
        self
    }

    pub(super) fn auth_mode(&self) -> ClientAuth {
        self.client_auth
    }

    /// The context of OpenSSL, for a server of another kind.
    ///
    /// # Errors
    ///
    /// OpenSSL's errors.
    pub fn context(&self) -> Result<SslContext, ErrorStack> {
        let mut builder = SslContext::builder(SslMethod::tls_server())?;
        // Set first, because it determines which certificates may be loaded.
        builder.set_security_level(self.security_level);
        builder.set_min_proto_version(Some(self.min_version))?;
        builder.set_max_proto_version(Some(self.max_version))?;
        if let Some(list) = &self.cipher_list {
            builder.set_cipher_list(list)?;
        }
        if let Some(list) = &self.ciphersuites {
            builder.set_ciphersuites(list)?;
        }
        if let Some(list) = &self.groups {
            builder.set_groups_list(list)?;
        }
        if let Some(list) = &self.signature_algorithms {
            builder.set_sigalgs_list(list)?;
        }
        builder.set_certificate(&self.identity.cert)?;
        builder.set_private_key(&self.identity.key)?;
        for cert in &self.identity.chain {
            builder.add_extra_chain_cert(cert.clone())?;
        }
        self.set_client_auth(&mut builder)?;
        self.set_tickets(&mut builder)?;
        self.set_answers(&mut builder)?;
        Ok(builder.build())
    }

    fn set_client_auth(&self, builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        match self.client_auth {
            ClientAuth::None => builder.set_verify(SslVerifyMode::NONE),
            ClientAuth::Request => builder.set_verify(SslVerifyMode::PEER),
            ClientAuth::Require => {
                builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
            }
            ClientAuth::RequireLikeMongod => {
                builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
            }
        }
        let mut names = Stack::new()?;
        for ca in &self.client_cas {
            names.push(ca.subject_name().to_owned()?)?;
            builder.cert_store_mut().add_cert(ca.clone())?;
        }
        builder.set_client_ca_list(names);
        if let Some(pem) = &self.client_crl {
            // OpenSSL's lookup reads CRLs only from files, and reads them at once.
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(pem).unwrap();
            let store = builder.cert_store_mut();
            store
                .add_lookup(X509Lookup::file())?
                .load_crl_file(file.path(), SslFiletype::PEM)?;
            store.set_flags(X509VerifyFlags::CRL_CHECK)?;
        }
        Ok(())
    }

    fn set_tickets(&self, builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        if self.has_session_id_context {
            builder.set_session_id_context(b"mongotls-testbench")?;
        }
        builder.set_num_tickets(self.tickets)?;
        if self.tickets == 0 {
            builder.set_options(SslOptions::NO_TICKET);
            builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        }
        Ok(())
    }

    fn set_answers(&self, builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        if let Some(choose) = self.staple.clone() {
            builder.set_status_callback(move |ssl| {
                let Some(response) = choose(ssl.servername(NameType::HOST_NAME)) else {
                    return Ok(false);
                };
                ssl.set_ocsp_status(&response)?;
                Ok(true)
            })?;
        }
        if let Some(accepts) = self.accepts_name.clone() {
            builder.set_servername_callback(move |ssl, alert| {
                if accepts(ssl.servername(NameType::HOST_NAME)) {
                    return Ok(());
                }
                *alert = SslAlert::UNRECOGNIZED_NAME;
                Err(SniError::ALERT_FATAL)
            });
        }
        if let Some(refusal) = self.alert {
            builder.set_client_hello_callback(move |_, alert| {
                *alert = refusal;
                Err::<ClientHelloResponse, _>(ErrorStack::get())
            });
        }
        Ok(())
    }
}

/// An OCSP response to staple, which can be changed while the server runs.
///
/// Unlike [`Server::set_tls`](super::Server::set_tls) it leaves sessions and open connections unchanged.
///
/// ```
/// use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
/// use mongotls_testbench::server::{Server, ServerTls, Staple};
///
/// let ca = Ca::root("root", KeyKind::EcP256);
/// let identity = ca.issue(LeafSpec::local_server().must_staple());
/// let staple = Staple::new(ca.ocsp(&identity.cert).build());
/// let server = Server::builder().tls(ServerTls::new(&identity).staple_from(&staple)).start();
/// staple.set(ca.ocsp(&identity.cert).revoked(-60, None).build());
/// staple.clear();
/// assert_eq!(staple.asked(), 0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Staple(Arc<Mutex<StapleState>>);

#[derive(Debug, Default)]
struct StapleState {
    response: Option<Vec<u8>>,
    asked: usize,
}

impl Staple {
    /// This response (DER); [`Staple::default`] has none.
    pub fn new(response: impl Into<Vec<u8>>) -> Self {
        let staple = Self::default();
        staple.set(response);
        staple
    }

    /// Staples this response from now on.
    pub fn set(&self, response: impl Into<Vec<u8>>) {
        lock(&self.0).response = Some(response.into());
    }

    /// Staples nothing from now on, even if a client requests it.
    pub fn clear(&self) {
        lock(&self.0).response = None;
    }

    /// The number of handshakes that requested it, with or without a response.
    pub fn asked(&self) -> usize {
        lock(&self.0).asked
    }

    fn take(&self) -> Option<Vec<u8>> {
        let mut state = lock(&self.0);
        state.asked += 1;
        state.response.clone()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("subject", &self.identity.cert.subject_name())
            .field("client_auth", &self.client_auth)
            .finish_non_exhaustive()
    }
}
