//! The findings about the revocation of the server's own certificate.

use std::time::{Duration, SystemTime};

use crate::cause::Cause;
use crate::data::revocation::{Evidence, RevocationStatus, RevocationStep};
use crate::error::Milliseconds;
use crate::printable::Quoted;

/// What was found out about the server's own certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) status: RevocationStatus,
    pub(crate) steps: Vec<RevocationStep>,
    pub(crate) valid_until: Option<SystemTime>,
}

impl Found {
    /// The wait for OCSP responders of which none had an answer, if there was one.
    pub(crate) fn wait(&self) -> Option<ResponderWait> {
        if self.status != RevocationStatus::Undetermined {
            return None;
        }
        let asked = self.steps.iter().filter_map(|step| match &step.evidence {
            Evidence::Responder(url) => Some((url, step.duration)),
            _ => None,
        });
        // They are asked side by side.
        let (url, duration) = asked.max_by_key(|(_, duration)| *duration)?;
        Some(ResponderWait {
            url: url.clone(),
            duration,
        })
    }

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

/// The time that a handshake spent on an OCSP responder that had no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponderWait {
    url: String,
    duration: Duration,
}

impl ResponderWait {
    /// Names the responder in the cause for a passed time limit, if the wait was a quarter of that limit or more.
    pub(crate) fn named_in(&self, cause: Cause, limit: Duration) -> Cause {
        if self.duration < limit / 4 {
            return cause;
        }
        let message = format!(
            "{}; {} of that time were spent on the OCSP responder {}, which did not answer",
            cause.message(),
            Milliseconds(self.duration),
            Quoted(&self.url)
        );
        let remedy = format!(
            "Let this host reach the OCSP responder, or let the server staple. {}",
            cause.remedy()
        );
        let ms = i64::try_from(self.duration.as_millis()).unwrap_or(i64::MAX);
        cause
            .with_message(message)
            .with_remedy(remedy)
            .fact("responder", self.url.as_str())
            .fact("responder_ms", ms)
    }
}
