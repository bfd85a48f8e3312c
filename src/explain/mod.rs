//! From reasons to words: the one place where messages, remedies and facts of causes are written.
//!
//! Each layer's reasons have a file here. It converts a [`Reason`] into an [`Explanation`]: the stable code, a message
//! that says what happened, a remedy that names the option, file or command to change, and the facts behind both.
//! Nothing here decides anything, and no other code reads facts.

mod tls;

use crate::cause::{Cause, CauseCode, Explanation};
use crate::reason::Reason;

impl<R: Into<Reason>> From<R> for Cause {
    #[cold]
    fn from(reason: R) -> Self {
        let reason = reason.into();
        let explanation = match &reason {
            Reason::Tls(reason) => tls::explain(reason),
            Reason::Worded => Explanation::new(CauseCode::OptionConflict, "", ""),
        };
        Self::explained(reason, explanation)
    }
}
