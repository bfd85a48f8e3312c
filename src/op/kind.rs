//! The kinds of operations.

/// The kind of an operation, as far as retries depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperationKind {
    /// A read that selects a server. It is retried if `retryReads` is on.
    Read,
    /// A command of an open cursor, `getMore` or `killCursors`. It counts as a read, but it is retried only after overload:
    /// a second `getMore` could skip a batch.
    Cursor,
    /// A write that the driver numbers (`txnNumber`), with the same number for all attempts. The server runs it at most once.
    /// It is retried if `retryWrites` is on.
    RetryableWrite,
    /// A write that a server would run again. It is retried only after overload, if `retryWrites` is on.
    Write,
    /// A command of the program that may read or write. It is retried only after overload, and only if both `retryReads`
    /// and `retryWrites` are on ("Client Backpressure").
    Generic,
    /// `commitTransaction`. It has the number of its transaction, and is retried as a numbered write, even if `retryWrites`
    /// is off ("Transactions").
    Commit,
    /// `abortTransaction`, which is retried like a commit.
    Abort,
}

impl OperationKind {
    /// Returns true if the server runs the command at most once, because it has a number.
    pub(super) fn is_numbered(self) -> bool {
        matches!(self, Self::RetryableWrite | Self::Commit | Self::Abort)
    }
}
