//! From reasons to words: the one place where messages, remedies and facts of causes are written.
//!
//! Each layer's reasons have a file here. It converts a [`Reason`] into an [`Explanation`]: the stable code, a message
//! that says what happened, a remedy that names the option, file or command to change, and the facts behind both.
//! Nothing here decides anything, and no other code reads facts.

pub(crate) mod auth;
mod cancel;
mod certificate;
#[cfg(feature = "srv")]
mod dns;
mod files;
mod gridfs;
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
mod transaction;
mod wording;
mod write;

use std::path::Path;

pub(crate) use self::limit::local_limit;
use crate::cause::Cause;
use crate::printable::Quoted;
use crate::reason::Reason;
use crate::reason::files::ReadProblem;

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
            #[cfg(feature = "cloud")]
            Reason::LimitedExchange(reason) => limit::exchange(reason, reason.message.clone()),
            #[cfg(any(test, feature = "_internals"))]
            Reason::Simulated => {
                crate::cause::Explanation::new(crate::cause::CauseCode::OptionConflict, "", "")
            }
            Reason::Auth(reason) => auth::explain(reason),
            Reason::Srv(reason) => srv::explain(reason),
            Reason::Certificate(reason) => certificate::explain(reason),
            Reason::Revocation(reason) => revocation::explain(reason),
            Reason::Refusal(reason) => write::explain(reason),
            Reason::Cancelled(reason) => cancel::explain(*reason),
            Reason::GridFs(reason) => gridfs::explain(reason),
            Reason::Transaction(reason) => transaction::explain(reason),
        };
        Self::explained(reason, explanation)
    }
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
    cause.reworded(|explanation| explanation.with_message(message))
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
    cause.reworded(|explanation| explanation.with_remedy(remedy).fact("changed_file", path))
}
