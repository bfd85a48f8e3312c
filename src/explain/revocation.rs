//! Words for revoked certificates, and for CRLs and OCSP responses that do not show the status of one.

use std::fmt;

use super::limit::{exchange, local_limit};
use super::wording::with_certificate;
use crate::cause::{CauseCode, Explanation};
use crate::data::limit::ReachedLimit;
use crate::data::revocation::RevocationStep;
use crate::error::Milliseconds;
use crate::printable::Quoted;
use crate::reason::certificate::ChainRejection;
use crate::reason::revocation::{
    CrlFault, CrlFaultKind, CrlMismatch, CrlScope, EvidenceCheck, EvidenceResult, OcspFault,
    OcspSource, OcspStatus, ResponderResult, ResponderWait, RevocationFailure,
    RevocationFailureKind,
};
use crate::time::rfc3339;

/// The remedy for a revoked certificate.
const REPLACE_REVOKED: &str = "Have a new certificate issued for the server. Until then do not trust it: somebody may have its key.";

/// Explains a chain whose check against the CRLs failed.
pub(super) fn crl(rejection: &ChainRejection, fault: &CrlFault) -> Explanation {
    let mut explanation = crl_fault(rejection, fault);
    if let Some(entry) = &fault.entry {
        explanation = explanation
            .fact_opt("revoked_at", entry.revoked_at)
            .fact_opt("reason", entry.reason)
            .fact("this_update", entry.this_update)
            .fact_opt("next_update", entry.next_update);
    }
    explanation.fact("crl_files", fault.files.clone())
}

fn crl_fault(rejection: &ChainRejection, fault: &CrlFault) -> Explanation {
    let who = rejection.certificate_name();
    let issuer = Quoted(&rejection.certificate.issuer);
    let option = fault.option;
    match &fault.kind {
        CrlFaultKind::Revoked => Explanation::new(
            CauseCode::RevokedCrl,
            format!(
                "{who} is revoked: the CRL lists serial number {}",
                rejection.certificate.serial
            ),
            REPLACE_REVOKED,
        ),
        CrlFaultKind::Missing { issuers, indirect } => {
            let indirect = indirect.as_ref().map(|other| {
                format!(
                    "; the CRL of {} is an indirect one, which is not supported",
                    Quoted(other)
                )
            });
            Explanation::new(
                CauseCode::CrlMissing,
                format!(
                    "no CRL of {issuer} is there to check {who}{}",
                    indirect.unwrap_or_default()
                ),
                "Add the CRL of that issuer to the file of tlsCRLFile.",
            )
            .fact("crl_issuers", issuers.clone())
        }
        CrlFaultKind::Expired => {
            let next_update = fault.entry.as_ref().and_then(|entry| entry.next_update);
            let next_update = next_update.map(|at| format!(" ({})", rfc3339(at)));
            Explanation::new(
                CauseCode::CrlExpired,
                format!(
                    "the CRL of {issuer} is past its nextUpdate{}",
                    next_update.unwrap_or_default()
                ),
                format!(
                    "Fetch the current CRL of that issuer into the file of {option}, and do so before each nextUpdate."
                ),
            )
        }
        CrlFaultKind::TooOld => {
            let this_update = fault.entry.as_ref().map(|entry| rfc3339(entry.this_update));
            Explanation::new(
                CauseCode::CrlExpired,
                format!(
                    "the CRL of {issuer} has no nextUpdate and is older than crl_max_age allows: its thisUpdate is {}",
                    this_update.unwrap_or_default()
                ),
                format!(
                    "Fetch the current CRL of that issuer into the file of {option}, and do so before it is as old as crl_max_age."
                ),
            )
        }
        CrlFaultKind::NotYetValid => Explanation::new(
            CauseCode::CrlNotYetValid,
            format!("the CRL of {issuer} is before its thisUpdate"),
            "Compare this host's clock with the true time.",
        ),
        CrlFaultKind::NotApplicable(mismatches) => {
            let mismatches: Vec<_> = mismatches.iter().map(ToString::to_string).collect();
            Explanation::new(
                CauseCode::CrlInvalid,
                format!(
                    "the CRL of {issuer} does not serve to check {who}: {}",
                    mismatches.join("; another: ")
                ),
                format!(
                    "Give the full CRL that the CA signs with its present key in the file of {option}."
                ),
            )
        }
        CrlFaultKind::Invalid => Explanation::new(
            CauseCode::CrlInvalid,
            format!("the CRL of {issuer} does not verify: {}", rejection.openssl),
            format!("Fetch the CRL again from that issuer into the file of {option}."),
        ),
    }
}

impl fmt::Display for CrlMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Indirect => f.write_str("it is an indirect CRL, which is not supported"),
            Self::SomeReasons(reasons) => {
                write!(f, "it covers the reasons {} only", reasons.join(", "))
            }
            Self::AttributeCertificates => f.write_str("it covers attribute certificates only"),
            Self::EndEntities => f.write_str("it covers end entities only, and this is a CA"),
            Self::CaCertificates => {
                f.write_str("it covers CA certificates only, and this is an end entity")
            }
            Self::DistributionPoint {
                of_crl,
                of_certificate,
            } => {
                let own = match of_certificate.as_slice() {
                    [] => "none".to_owned(),
                    own => own.join(", "),
                };
                write!(
                    f,
                    "it is for the distribution point {}, and the certificate names {own}",
                    of_crl.join(", ")
                )
            }
            Self::OtherKey => f.write_str("it is signed with another key of that CA"),
            Self::Other(openssl) => f.write_str(openssl),
        }
    }
}

impl CrlScope {
    /// The limits in words, one for each; empty for a full CRL.
    pub(crate) fn limits(&self) -> Vec<String> {
        let flags = [
            (self.end_entities_only, "end entities only"),
            (self.cas_only, "CA certificates only"),
            (self.attributes_only, "attribute certificates only"),
            (self.is_indirect, "indirect: certificates of other CAs too"),
        ];
        let flags = flags.into_iter().filter(|(is_set, _)| *is_set);
        let reasons = self.reasons.iter();
        let reasons = reasons.map(|reasons| format!("the reasons {} only", reasons.join(", ")));
        let points = self.points.iter();
        flags
            .map(|(_, words)| words.to_owned())
            .chain(reasons)
            .chain(points.map(|point| format!("the distribution point {point}")))
            .collect()
    }
}

/// Explains that this host lacked a resource for a request to a responder, if it did.
fn not_sent(checks: &[EvidenceCheck], message: &str) -> Option<Explanation> {
    checks.iter().find_map(|check| match &check.result {
        EvidenceResult::Responder { result, .. } => match result {
            ResponderResult::NoThread(reached) => {
                let limit = local_limit("no responder was asked", reached);
                let message = format!("{message}: {}", limit.message());
                Some(limit.with_message(message))
            }
            ResponderResult::Limited { failed, .. } => {
                let message = format!("{message}: {}", failed.message);
                Some(exchange(failed, message))
            }
            _ => None,
        },
        _ => None,
    })
}

fn no_thread(reached: &ReachedLimit) -> Explanation {
    local_limit("was not asked", reached)
}

/// Explains a chain that the check by OCSP rejected.
pub(super) fn explain(failure: &RevocationFailure) -> Explanation {
    let who = Quoted(failure.certificate.short_name());
    match &failure.kind {
        RevocationFailureKind::Revoked {
            source,
            revoked_at,
            reason,
            this_update,
            next_update,
        } => {
            let (code, by, url) = match source {
                OcspSource::Staple => (
                    CauseCode::RevokedOcspStaple,
                    "the OCSP response that the server sent".to_owned(),
                    None,
                ),
                OcspSource::Responder(url) => (
                    CauseCode::RevokedOcspResponder,
                    format!("the OCSP responder {url}"),
                    Some(url.as_str()),
                ),
            };
            let message = format!("the server's certificate {who} is revoked: {by} says so");
            about(failure, Explanation::new(code, message, REPLACE_REVOKED))
                .fact_opt("responder", url)
                .fact_opt("revoked_at", *revoked_at)
                .fact_opt("reason", *reason)
                .fact("this_update", *this_update)
                .fact_opt("next_update", *next_update)
        }
        RevocationFailureKind::StapleMissing => about(
            failure,
            Explanation::new(
                CauseCode::MustStapleMissing,
                format!(
                    "the server's certificate {who} demands an OCSP response from the server (must-staple), and the server sent none"
                ),
                "Let the server staple (mongod does so by itself if it reaches its OCSP responder; look at its log), or have a certificate issued without the TLS feature extension.",
            ),
        ),
        RevocationFailureKind::StapleInvalid(fault) => staple_invalid(failure, fault),
        RevocationFailureKind::StatusUnknown(checks) => {
            let message = format!(
                "whether the server's certificate {who} is revoked is not known, and require_revocation_status asks for it"
            );
            let explanation = not_sent(checks, &message).unwrap_or_else(|| {
                let remedy = "Let the server staple, let this host reach the responder that the certificate names, or give the CRL of its issuer (tlsCRLFile).";
                Explanation::new(CauseCode::RevocationUnknown, message, remedy)
            });
            let tried: Vec<_> = checks.iter().map(ToString::to_string).collect();
            about(failure, explanation).fact("tried", tried)
        }
        RevocationFailureKind::DemandNotPassedOn { ca, has_staple } => {
            let demand = format!(
                "the CA {} demands that certificates it issues ask for an OCSP response from the server (must-staple)",
                Quoted(ca)
            );
            let explanation = match has_staple {
                false => Explanation::new(
                    CauseCode::MustStapleMissing,
                    format!("{demand}, {who} does not ask, and the server sent none"),
                    "Have the certificate issued with the TLS feature extension, and let the server staple.",
                ),
                true => Explanation::new(
                    CauseCode::InvalidCa,
                    format!("{demand}, and {who} does not ask"),
                    "Have the certificate issued with the TLS feature extension, or by another CA.",
                ),
            };
            about(failure, explanation).fact("constrained_by", ca.as_str())
        }
    }
}

/// Adds the facts about the certificate in question.
fn about(failure: &RevocationFailure, explanation: Explanation) -> Explanation {
    with_certificate(
        explanation,
        &failure.certificate,
        failure.depth,
        failure.role,
    )
    .fact("checked_at", failure.checked_at)
}

fn staple_invalid(failure: &RevocationFailure, fault: &OcspFault) -> Explanation {
    let message = format!(
        "the OCSP response that the server sent for {} is not valid: {fault}",
        Quoted(failure.certificate.short_name())
    );
    let remedy = match fault {
        OcspFault::NotYetValid(_) | OcspFault::NotYetProduced(_) => {
            "Compare this host's clock with the true time, and with the server's."
        }
        OcspFault::TooOld { .. } => {
            "Let the server fetch a new OCSP response, and the responder state a nextUpdate; ocsp_max_age sets how old one without may be."
        }
        OcspFault::OutOfDate(_) => {
            "Let the server fetch a new OCSP response: look whether it reaches its responder, and compare the clocks."
        }
        _ => {
            "Look at what the server staples: it must be a response of the CA that issued its certificate, or of a responder that the CA certified for it."
        }
    };
    let (this_update, next_update) = match fault {
        OcspFault::NotYetValid(from) => (Some(*from), None),
        OcspFault::OutOfDate(until) => (None, Some(*until)),
        OcspFault::TooOld { this_update, .. } => (Some(*this_update), None),
        _ => (None, None),
    };
    about(
        failure,
        Explanation::new(CauseCode::OcspStapleInvalid, message, remedy),
    )
    .fact("why", fault.to_string())
    .fact_opt("this_update", this_update)
    .fact_opt("next_update", next_update)
}

/// Writes one clause about the response.
impl fmt::Display for OcspFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { size, limit } => write!(f, "it has {size} bytes, more than {limit}"),
            Self::Malformed => f.write_str("it is no OCSP response"),
            Self::TrailingData => f.write_str("more bytes follow the OCSP response"),
            Self::NotSuccessful(status) => {
                write!(
                    f,
                    "it says {}",
                    status.unwrap_or("a status that is not known")
                )
            }
            Self::Signature(openssl) => write!(
                f,
                "its signature does not verify: {}",
                openssl.as_deref().unwrap_or("OpenSSL gives no reason")
            ),
            Self::SignerMissing => {
                f.write_str("its signature does not verify: its signer is not there")
            }
            Self::DelegateRevoked => f.write_str("a CRL lists the certificate that signed it"),
            Self::CriticalExtension => f.write_str("it has a critical extension that is not known"),
            Self::OtherCertificate => f.write_str("it is for another certificate"),
            Self::NoTimes => f.write_str("it does not say when it was made"),
            Self::NotYetValid(from) => write!(
                f,
                "it is valid only from {} on (thisUpdate)",
                rfc3339(*from)
            ),
            Self::NotYetProduced(at) => write!(
                f,
                "it was made in the future, at {} (producedAt)",
                rfc3339(*at)
            ),
            Self::OutOfDate(until) => {
                write!(f, "it was valid until {} (nextUpdate)", rfc3339(*until))
            }
            Self::TooOld {
                this_update,
                max_age,
            } => write!(
                f,
                "it is of {} (thisUpdate) without a nextUpdate, and older than {} s (ocsp_max_age)",
                rfc3339(*this_update),
                max_age.as_secs()
            ),
        }
    }
}

/// Completes "the responder …".
impl fmt::Display for OcspStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "says good",
            Self::Revoked { .. } => "says revoked",
            Self::Unknown => "says unknown",
        })
    }
}

/// Completes "the staple …" and "the responder …".
impl fmt::Display for EvidenceResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status, until) => {
                write!(f, "{status}")?;
                match until {
                    Some(until) => write!(f, ", until {}", rfc3339(*until)),
                    None => Ok(()),
                }
            }
            Self::Cached(status, until, source) => {
                write!(f, "{}, by ", Self::Status(status.clone(), *until))?;
                match source {
                    OcspSource::Staple => f.write_str("a staple"),
                    OcspSource::Responder(url) => f.write_str(url),
                }
            }
            Self::Invalid(fault) => write!(f, "is not valid: {fault}"),
            Self::Responder {
                result,
                by_another_connection,
            } => {
                write!(f, "{result}")?;
                match by_another_connection {
                    true => f.write_str(" (asked by another connection)"),
                    false => Ok(()),
                }
            }
            Self::StillWaiting => f.write_str("another connection still waits for it"),
            Self::Disabled => f.write_str("was not asked, for tlsDisableOCSPEndpointCheck=true"),
            Self::NotListed => f.write_str("does not list it"),
            Self::FullHandshake => {
                f.write_str("was checked in its full handshake, and what it rests on still holds")
            }
        }
    }
}

/// Completes "the responder …".
impl fmt::Display for ResponderResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Invalid(fault) => write!(f, "sent a response that is not valid: {fault}"),
            Self::UnusableUrl(why) => write!(f, "was not asked: {why}"),
            Self::NoThread(reached) => f.write_str(no_thread(reached).message()),
            Self::TimedOut(limit) => write!(f, "did not answer in time ({})", limit.option()),
            Self::BeyondLimit(limit) => write!(f, "was not asked: only the first {limit} are"),
            Self::HttpStatus(status) => write!(f, "answered with HTTP status {status}"),
            Self::PostRedirected => f.write_str("redirects a POST, which is not followed"),
            Self::UnusableRedirect(why) => {
                write!(f, "redirects to a URL that cannot be used: {why}")
            }
            Self::RedirectToOtherHost(host) => {
                write!(f, "redirects to another host, {host}, which is not asked")
            }
            Self::TooManyRedirects(limit) => write!(f, "redirects more than {limit} times"),
            Self::Exchange(text) | Self::Limited { text, .. } => f.write_str(text),
        }
    }
}

impl fmt::Display for EvidenceCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.evidence, self.result)
    }
}

impl From<&EvidenceCheck> for RevocationStep {
    fn from(check: &EvidenceCheck) -> Self {
        Self {
            evidence: check.evidence.clone(),
            outcome: check.result.to_string(),
            duration: check.duration,
        }
    }
}

/// Names the responder in the explanation of a passed time limit.
pub(super) fn with_responder(explanation: Explanation, waited: &ResponderWait) -> Explanation {
    let message = format!(
        "{}; {} of that time were spent on the OCSP responder {}, which did not answer",
        explanation.message(),
        Milliseconds(waited.duration),
        Quoted(&waited.url)
    );
    let remedy = format!(
        "Let this host reach the OCSP responder, or let the server staple. {}",
        explanation.remedy()
    );
    let ms = i64::try_from(waited.duration.as_millis()).unwrap_or(i64::MAX);
    explanation
        .with_message(message)
        .with_remedy(remedy)
        .fact("responder", waited.url.as_str())
        .fact("responder_ms", ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_of_a_crl_has_words() {
        let scope = CrlScope {
            points: vec!["http://a.b/c".to_owned()],
            end_entities_only: true,
            cas_only: true,
            attributes_only: true,
            is_indirect: true,
            reasons: Some(vec!["keyCompromise", "cACompromise"]),
        };
        assert_eq!(
            scope.limits(),
            [
                "end entities only",
                "CA certificates only",
                "attribute certificates only",
                "indirect: certificates of other CAs too",
                "the reasons keyCompromise, cACompromise only",
                "the distribution point http://a.b/c",
            ]
        );
        assert!(CrlScope::default().limits().is_empty());
    }
}
