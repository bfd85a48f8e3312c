//! Words and facts that the explanations of several layers share.

use crate::cause::Explanation;
use crate::data::certificate::{Certificate, CertificateRole};
use crate::error::Milliseconds;
use crate::time::Elapsed;

/// The remedy for a certificate that does not verify, if nothing more is known.
pub(super) const GENERAL_REMEDY: &str =
    "Have the CA issue a new certificate; `openssl verify` with the same files tells more.";

/// The limit that has passed, as the end of a sentence: `within 10 s (connectTimeoutMS)`.
pub(super) fn within(elapsed: Elapsed) -> String {
    format!(
        "within {} ({})",
        Milliseconds(elapsed.limit),
        elapsed.kind.option()
    )
}

/// The fact `limit_ms`.
pub(super) fn limit_ms(elapsed: Elapsed) -> i64 {
    i64::try_from(elapsed.limit.as_millis()).unwrap_or(i64::MAX)
}

/// A cargo feature is off that `what` needs; `remedy` names the feature.
#[cfg(not(all(
    feature = "cloud",
    feature = "gssapi",
    feature = "saslprep",
    feature = "srv"
)))]
pub(super) fn not_built_in(what: &str, remedy: &str) -> Explanation {
    let message = format!("this program is built without {what}");
    Explanation::new(
        crate::cause::CauseCode::MechanismUnsupported,
        message,
        remedy,
    )
}

/// Adds the facts about the certificate in question.
pub(super) fn with_certificate(
    explanation: Explanation,
    certificate: &Certificate,
    depth: u32,
    role: CertificateRole,
) -> Explanation {
    explanation
        .fact("subject", certificate.subject.as_str())
        .fact("issuer", certificate.issuer.as_str())
        .fact("serial", certificate.serial.as_str())
        .fact("depth", depth)
        .fact("role", role.as_str())
        .fact("not_before", certificate.not_before)
        .fact("not_after", certificate.not_after)
        .fact(
            "sha256_fingerprint",
            certificate.sha256_fingerprint.as_str(),
        )
}

impl CertificateRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::EndEntity => "end entity",
            Self::Intermediate => "intermediate",
            Self::Root => "root",
            Self::TrustAnchor => "trust anchor",
        }
    }
}
