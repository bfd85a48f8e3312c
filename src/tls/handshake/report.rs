//! The facts of a handshake, for people and programs. They are computed when a method needs them.

use std::fmt;
use std::time::Duration;

use openssl::ssl::SslRef;
use openssl::x509::{X509, X509VerifyResult};

use crate::data::revocation::{CertificateRevocation, Evidence, RevocationStatus};
use crate::ffi::fork;
use crate::ffi::openssl as ffi;
use crate::reason::revocation::{EvidenceResult, ResponderWait};
use crate::tls::Certificate;
use crate::tls::handshake::session::Proof;
use crate::tls::ocsp::findings::RevocationFindings;

/// The facts of one finished TLS handshake.
///
/// Certificates are kept in OpenSSL's form and decoded when a method needs them, so that the report adds almost no cost
/// to a handshake.
#[derive(Clone)]
pub struct HandshakeReport {
    pub(crate) protocol: &'static str,
    pub(crate) cipher: &'static str,
    pub(crate) group: Option<String>,
    pub(crate) resumed: bool,
    pub(crate) verification: Verification,
    pub(crate) peer_chain: Vec<X509>,
    pub(crate) verified_chain: Vec<X509>,
    pub(crate) client_certificate_requested: bool,
    pub(crate) client_certificate_sent: bool,
    pub(crate) requested_ca_names: Vec<String>,
    pub(crate) revocation: RevocationFindings,
    pub(crate) checks_whole_chain: bool,
    pub(crate) duration: Duration,
}

/// The extent to which the server's identity was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verification {
    /// The chain leads to a trust anchor and the certificate names the host.
    Verified,
    /// The chain leads to a trust anchor; the host was not compared, because the options exclude that.
    ChainOnly,
    /// Nothing was verified, because the options exclude that.
    None {
        /// OpenSSL's reason to reject the chain, or `None` if it would have passed.
        would_fail: Option<String>,
    },
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified => f.write_str("verified"),
            Self::ChainOnly => f.write_str("chain verified, host name not compared"),
            Self::None { would_fail: None } => f.write_str("not verified"),
            Self::None {
                would_fail: Some(why),
            } => write!(f, "not verified ({why})"),
        }
    }
}

impl HandshakeReport {
    /// Reads the facts of a finished handshake.
    pub(crate) fn of(ssl: &SslRef, verifies: (bool, bool), sent: bool, duration: Duration) -> Self {
        let peer_chain = match ssl.peer_cert_chain() {
            Some(chain) if !chain.is_empty() => chain.iter().map(|cert| cert.to_owned()).collect(),
            // A server may send only its own certificate.
            _ => ssl.peer_certificate().into_iter().collect(),
        };
        let verification = match verifies {
            (true, true) => Verification::Verified,
            (true, false) => Verification::ChainOnly,
            (false, _) => {
                let result = ssl.verify_result();
                let failed =
                    (result != X509VerifyResult::OK).then(|| result.error_string().to_owned());
                Verification::None { would_fail: failed }
            }
        };
        let verified_chain = match verification {
            Verification::None { .. } => Vec::new(),
            _ => ssl
                .verified_chain()
                .into_iter()
                .flatten()
                .map(|cert| cert.to_owned())
                .collect(),
        };
        let requested = ffi::saw_certificate_request(ssl);
        Self {
            protocol: ssl.version_str(),
            cipher: ssl.current_cipher().map_or("none", |cipher| {
                cipher.standard_name().unwrap_or(cipher.name())
            }),
            group: ffi::negotiated_group(ssl),
            resumed: ssl.session_reused(),
            verification,
            peer_chain,
            verified_chain,
            client_certificate_requested: requested,
            client_certificate_sent: requested && sent,
            requested_ca_names: if requested {
                ffi::requested_ca_names(ssl)
            } else {
                Vec::new()
            },
            revocation: RevocationFindings::default(),
            checks_whole_chain: false,
            duration,
        }
    }

    /// Copies the results of the full handshake whose session was resumed.
    pub(crate) fn rest_on(&mut self, proof: &Proof, checks_revocation: bool) {
        self.peer_chain.clone_from(&proof.peer_chain);
        self.verified_chain.clone_from(&proof.verified_chain);
        self.revocation.clone_from(&proof.revocation);
        if checks_revocation {
            let result = EvidenceResult::FullHandshake;
            self.revocation
                .add(Evidence::Session, result, Duration::ZERO);
        }
    }

    /// The protocol version, such as `TLSv1.3`.
    pub fn protocol(&self) -> &str {
        self.protocol
    }

    /// The cipher suite by its name in the IANA registry, such as `TLS_AES_256_GCM_SHA384`.
    pub fn cipher(&self) -> &str {
        self.cipher
    }

    /// The group of the key exchange, such as `x25519`. `None` if the key exchange has no group or OpenSSL does
    /// not report it, as OpenSSL 1.1.1 for a resumed TLS 1.2 session.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Returns true if an earlier session was resumed, so that no certificate was sent. Chains and revocation are then
    /// those of its full handshake, and still valid.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// The extent to which the server's identity was verified.
    pub fn verification(&self) -> &Verification {
        &self.verification
    }

    /// Returns true if both chain and host were verified.
    pub fn is_verified(&self) -> bool {
        self.verification == Verification::Verified
    }

    /// The certificates that the server sent, starting with its own.
    pub fn peer_chain(&self) -> Vec<Certificate> {
        let _at_work = fork::at_work();
        self.peer_chain
            .iter()
            .map(|cert| Certificate::of(cert))
            .collect()
    }

    /// The certification path that was verified, from the server's certificate to the trust anchor; empty if nothing
    /// was verified.
    pub fn verified_chain(&self) -> Vec<Certificate> {
        let _at_work = fork::at_work();
        self.verified_chain
            .iter()
            .map(|cert| Certificate::of(cert))
            .collect()
    }

    /// Returns true if the server requested a client certificate.
    pub fn client_certificate_requested(&self) -> bool {
        self.client_certificate_requested
    }

    /// Returns true if a client certificate was sent.
    pub fn client_certificate_sent(&self) -> bool {
        self.client_certificate_sent
    }

    /// The CAs from which the server accepts client certificates, in the form of RFC 2253; empty if it named none.
    pub fn requested_ca_names(&self) -> &[String] {
        &self.requested_ca_names
    }

    /// The revocation of each certificate of the verified chain below its anchor, starting with the server's; empty if
    /// nothing was verified.
    ///
    /// The server's certificate is checked by OCSP and the CRLs. The certificates above it are checked only by the
    /// CRLs, if the options require that; no requests are sent to their responders.
    pub fn revocation(&self) -> Vec<CertificateRevocation> {
        let _at_work = fork::at_work();
        let chain = match self.verification {
            Verification::None { .. } => &[],
            _ => self.verified_chain.as_slice(),
        };
        let below_anchor = chain.len().saturating_sub(1).max(1);
        let certificates = chain.iter().take(below_anchor);
        let found = certificates.enumerate().map(|(depth, certificate)| {
            let found = match depth {
                0 => self.revocation.clone(),
                _ if self.checks_whole_chain => RevocationFindings::by_crl(),
                _ => RevocationFindings::default(),
            };
            CertificateRevocation {
                subject: ffi::name_text(certificate.subject_name()),
                depth,
                status: found.status,
                steps: found.steps(),
                valid_until: found.valid_until,
            }
        });
        found.collect()
    }

    /// The wait for OCSP responders in this handshake, if none of them had an answer.
    pub(crate) fn responder_wait(&self) -> Option<ResponderWait> {
        self.revocation.wait()
    }

    /// The status of the server's own certificate, without the rest of the chain.
    pub(crate) fn own_revocation(&self) -> RevocationStatus {
        self.revocation.status
    }

    /// The duration of the handshake.
    pub fn duration(&self) -> Duration {
        self.duration
    }
}

impl fmt::Debug for HandshakeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeReport")
            .field("protocol", &self.protocol)
            .field("cipher", &self.cipher)
            .field("group", &self.group)
            .field("resumed", &self.resumed)
            .field("verification", &self.verification)
            .field("peer_chain", &self.peer_chain())
            .field(
                "client_certificate_requested",
                &self.client_certificate_requested,
            )
            .field("client_certificate_sent", &self.client_certificate_sent)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}
