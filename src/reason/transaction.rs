//! Why a transaction failed, apart from the failures of its commands.

/// The failure of a transaction as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TransactionFailure {
    /// The commit was sent, and it is not known if the server made it.
    CommitUnknown {
        /// The text of the error of the commit.
        because: String,
    },
    /// A command of the transaction failed, and the program went on as if it had not.
    Spoiled {
        /// The text of the error of the command.
        because: String,
    },
}
