//! Words for transactions that failed as a whole.

use crate::cause::{CauseCode, Explanation};
use crate::reason::transaction::TransactionFailure;

pub(super) fn explain(failure: &TransactionFailure) -> Explanation {
    match failure {
        TransactionFailure::CommitUnknown { because } => Explanation::new(
            CauseCode::CommitUnknown,
            format!("it is unknown whether the transaction was committed: {because}"),
            "Call commit_transaction again on the same session: it returns the outcome, and never commits twice. Without the \
             session, read the data before the transaction is repeated.",
        ),
        TransactionFailure::Spoiled { because } => Explanation::new(
            CauseCode::TransactionSpoiled,
            format!(
                "nothing was committed, because the closure ignored the error of a command: {because}"
            ),
            "Return the error from the closure. Check before the write instead of ignoring its error, for example with a find \
             or an upsert, or run the command outside of the transaction.",
        ),
    }
}
