//! The findings about the revocation of the server's own certificate.

use std::time::{Duration, SystemTime};

use crate::data::revocation::{Evidence, RevocationStatus, RevocationStep};
use crate::reason::revocation::{EvidenceCheck, EvidenceResult, ResponderWait};

/// The findings about the revocation of the server's own certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct RevocationFindings {
    pub(crate) status: RevocationStatus,
    /// The evidence that was looked for, in order.
    pub(crate) checks: Vec<EvidenceCheck>,
    /// The end of the time for which the status holds, if the evidence gives one.
    pub(crate) valid_until: Option<SystemTime>,
}

impl RevocationFindings {
    /// The CRLs do not list the certificate: OpenSSL would have ended the handshake.
    pub(crate) fn by_crl() -> Self {
        let mut findings = Self {
            status: RevocationStatus::Good,
            ..Self::default()
        };
        findings.add(Evidence::Crl, EvidenceResult::NotListed, Duration::ZERO);
        findings
    }

    /// Adds one piece of evidence that was looked for.
    pub(crate) fn add(&mut self, evidence: Evidence, result: EvidenceResult, duration: Duration) {
        // Each connection keeps this list.
        self.checks.reserve_exact(1);
        self.checks.push(EvidenceCheck {
            evidence,
            result,
            duration,
        });
    }

    /// The evidence in the form of public reports.
    pub(crate) fn steps(&self) -> Vec<RevocationStep> {
        self.checks.iter().map(RevocationStep::from).collect()
    }

    /// The wait for OCSP responders of which none had an answer, if there was one.
    pub(crate) fn wait(&self) -> Option<ResponderWait> {
        if self.status != RevocationStatus::Undetermined {
            return None;
        }
        let requests = self
            .checks
            .iter()
            .filter_map(|check| match &check.evidence {
                Evidence::Responder(url) => Some((url, check.duration)),
                _ => None,
            });
        // The requests run at the same time.
        let (url, duration) = requests.max_by_key(|(_, duration)| *duration)?;
        Some(ResponderWait {
            url: url.clone(),
            duration,
        })
    }
}
