//! From reasons to words: the one place where messages, remedies and facts of causes are written.
//!
//! Each layer's reasons have a file here. It converts a [`Reason`] into an [`Explanation`]: the stable code, a message
//! that says what happened, a remedy that names the option, file or command to change, and the facts behind both.
//! Nothing here decides anything, and no other code reads facts.

mod auth;
mod limit;
pub(crate) mod net;
mod tls;

pub(crate) use self::limit::local_limit;
use crate::cause::{Cause, CauseCode, Explanation};
use crate::error::Milliseconds;
use crate::reason::Reason;
use crate::time::Elapsed;

impl<R: Into<Reason>> From<R> for Cause {
    #[cold]
    fn from(reason: R) -> Self {
        let reason = reason.into();
        let explanation = match &reason {
            Reason::Net(reason) => net::explain(reason),
            Reason::Tls(reason) => tls::explain(reason),
            Reason::LocalLimit(reason) => limit::explain(reason),
            #[cfg(any(test, feature = "_internals"))]
            Reason::Simulated => Explanation::new(CauseCode::OptionConflict, "", ""),
            Reason::Auth(reason) => auth::explain(reason),
            Reason::Worded => Explanation::new(CauseCode::OptionConflict, "", ""),
        };
        Self::explained(reason, explanation)
    }
}

/// The limit that has passed, as the end of a sentence: `within 10 s (connectTimeoutMS)`.
fn within(elapsed: Elapsed) -> String {
    format!(
        "within {} ({})",
        Milliseconds(elapsed.limit),
        elapsed.kind.option()
    )
}

/// The fact `limit_ms`.
fn limit_ms(elapsed: Elapsed) -> i64 {
    i64::try_from(elapsed.limit.as_millis()).unwrap_or(i64::MAX)
}

/// A cargo feature is off that `what` needs; `remedy` names the feature.
#[cfg(not(all(
    feature = "cloud",
    feature = "gssapi",
    feature = "saslprep",
    feature = "srv"
)))]
fn not_built_in(what: &str, remedy: &str) -> Explanation {
    let message = format!("this program is built without {what}");
    Explanation::new(CauseCode::MechanismUnsupported, message, remedy)
}
