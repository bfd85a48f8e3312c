//! The result of the revocation check of a certificate, for reports and events.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::enum_text::display_as_str;
use crate::printable::Printable;

/// The result of the revocation check of one certificate of a server's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateRevocation {
    /// The subject in the form of RFC 2253.
    pub subject: String,
    /// The position in the verified chain; 0 is the server's own certificate.
    pub depth: usize,
    /// The result of the whole check.
    pub status: RevocationStatus,
    /// The evidence that was looked for, in order.
    pub steps: Vec<RevocationStep>,
    /// The end of the period for which the status is valid, if the evidence defines one.
    pub valid_until: Option<SystemTime>,
}

/// The revocation status of a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationStatus {
    /// Evidence shows that the certificate is not revoked.
    Good,
    /// Evidence shows that the certificate is revoked. The connection was rejected.
    Revoked,
    /// The check found no conclusive evidence. The connection continues, unless the options require a status.
    Undetermined,
    /// No check was made: there was no evidence to look for, or the options request no check.
    #[default]
    NotChecked,
}

impl RevocationStatus {
    /// Returns `good`, `revoked`, `undetermined` or `not-checked`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Revoked => "revoked",
            Self::Undetermined => "undetermined",
            Self::NotChecked => "not-checked",
        }
    }
}

display_as_str!(RevocationStatus);

/// One piece of evidence that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevocationStep {
    /// The source of the evidence.
    pub evidence: Evidence,
    /// The result, such as `says good`.
    pub outcome: String,
    /// The time that it took.
    pub duration: Duration,
}

/// A source of the revocation status of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// An OCSP response that the server sent in the handshake (RFC 6066 §8).
    Staple,
    /// An earlier OCSP response, from the cache.
    Cache,
    /// The CRLs that the options name.
    Crl,
    /// The OCSP responder at this URL (RFC 6960).
    Responder(String),
    /// The full handshake of the session that was resumed.
    Session,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Staple => f.write_str("staple"),
            Self::Cache => f.write_str("cache"),
            Self::Crl => f.write_str("CRL"),
            Self::Responder(url) => write!(f, "responder {}", Printable(url)),
            Self::Session => f.write_str("session"),
        }
    }
}
