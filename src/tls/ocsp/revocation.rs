//! What is known about the revocation of a server's certificate: facts for reports, events and people.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::printable::Printable;

/// What was found out about one certificate of a server's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateRevocation {
    /// The subject in the form of RFC 2253.
    pub subject: String,
    /// The place in the verified chain; 0 is the server's own certificate.
    pub depth: usize,
    /// What is known in the end.
    pub status: RevocationStatus,
    /// What was tried, in order.
    pub steps: Vec<RevocationStep>,
    /// Until when the status holds; none if nobody says.
    pub valid_until: Option<SystemTime>,
}

/// Whether a certificate is revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationStatus {
    /// It is not, as evidence shows.
    Good,
    /// It is: the connection was refused.
    Revoked,
    /// There was a check, and it came to no end. The connection goes on, unless the options ask for more.
    Undetermined,
    /// There was no check: nothing to check with, or the options ask for none.
    #[default]
    NotChecked,
}

impl RevocationStatus {
    /// `good`, `revoked`, `undetermined` or `not-checked`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Revoked => "revoked",
            Self::Undetermined => "undetermined",
            Self::NotChecked => "not-checked",
        }
    }
}

/// One piece of evidence that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevocationStep {
    /// Which.
    pub evidence: Evidence,
    /// What came of it, such as `says good`.
    pub outcome: String,
    /// How long it took.
    pub duration: Duration,
}

impl RevocationStep {
    pub(crate) fn new(evidence: Evidence, outcome: impl Into<String>, duration: Duration) -> Self {
        Self {
            evidence,
            outcome: outcome.into(),
            duration,
        }
    }
}

/// Where the status of a certificate can come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// An OCSP response that the server sent in the handshake (RFC 6066 §8).
    Staple,
    /// An OCSP response from before.
    Cache,
    /// The user's CRLs.
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

/// What was found out about the server's own certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) status: RevocationStatus,
    pub(crate) steps: Vec<RevocationStep>,
    pub(crate) valid_until: Option<SystemTime>,
}

impl Found {
    /// The CRLs do not list it: OpenSSL would have ended the handshake.
    pub(crate) fn by_crl() -> Self {
        let step = RevocationStep::new(Evidence::Crl, "does not list it", Duration::ZERO);
        Self {
            status: RevocationStatus::Good,
            steps: vec![step],
            valid_until: None,
        }
    }
}
