//! From reasons to words: the one place where messages, remedies and facts of causes are written.
//!
//! Each layer's reasons have a file here. It converts a [`Reason`] into an [`Explanation`]: the stable code, a message
//! that says what happened, a remedy that names the option, file or command to change, and the facts behind both.
//! Nothing here decides anything, and no other code reads facts.

pub(crate) mod auth;
mod certificate;
#[cfg(feature = "srv")]
mod dns;
mod files;
pub(crate) mod hello;
mod http;
mod issuer;
mod limit;
mod names;
pub(crate) mod net;
mod options;
mod revocation;
pub(crate) mod sdam;
mod security_level;
pub(crate) mod srv;
mod tls;

use std::path::Path;

pub(crate) use self::limit::local_limit;
use crate::cause::{Cause, CauseCode, Explanation};
use crate::error::Milliseconds;
use crate::printable::Quoted;
use crate::reason::Reason;
use crate::reason::files::ReadProblem;
use crate::time::Elapsed;

#[doc(hidden)] // Only this crate has reasons.
impl<R: Into<Reason>> From<R> for Cause {
    #[cold]
    fn from(reason: R) -> Self {
        let reason = reason.into();
        let explanation = match &reason {
            Reason::Hello(reason) => hello::explain(reason),
            Reason::Exchange(reason) => hello::explain_exchange(reason),
            Reason::Sdam(reason) => sdam::explain(reason),
            Reason::Net(reason) => net::explain(reason),
            Reason::Option(reason) => options::explain(reason),
            Reason::File(reason) => files::explain(reason),
            Reason::Tls(reason) => tls::explain(reason),
            Reason::LocalLimit(reason) => limit::explain(reason),
            #[cfg(any(test, feature = "_internals"))]
            Reason::Simulated => Explanation::new(CauseCode::OptionConflict, "", ""),
            Reason::Auth(reason) => auth::explain(reason),
            Reason::Srv(reason) => srv::explain(reason),
            Reason::Certificate(reason) => certificate::explain(reason),
            Reason::Revocation(reason) => revocation::explain(reason),
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

/// Names in the message a file of a CA folder that was not used: it was not read for this reason, or it holds no
/// certificate.
pub(crate) fn with_unused_file(cause: Cause, path: &Path, problem: Option<&ReadProblem>) -> Cause {
    let path = path.display().to_string();
    let why = match problem {
        Some(problem) => problem.to_string(),
        None => "it holds no certificate in PEM form".to_owned(),
    };
    let message = format!("{}; {} was not used: {why}", cause.message(), Quoted(&path));
    cause.with_message(message)
}

/// Names in the remedy a file that has changed since it was read. `is_watched` is true if the option `watch_files` is on.
pub(crate) fn with_changed_file(cause: Cause, path: &Path, is_watched: bool) -> Cause {
    let path = path.display().to_string();
    let what = match is_watched {
        false => "call Client::reload_tls, or set watch_files, to use what it holds now",
        true => {
            "watch_files has not taken what it holds now; the log (mongotls::tls) and Client::reload_tls say why"
        }
    };
    let remedy = format!(
        "{} has changed since it was read: {what}. If that does not help: {}",
        Quoted(&path),
        cause.remedy()
    );
    cause.with_remedy(remedy).fact("changed_file", path)
}
