//! Events of transactions.

use std::fmt;
use std::time::Duration;

use crate::error::Error;

/// An event of a [transaction](crate::Client::transaction).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TransactionEvent {
    /// The transaction, or its commit, is tried again.
    Retry(TransactionRetry),
    /// A command does not belong to the transaction whose closure runs it.
    Outside(OutsideOfTransactionEvent),
}

/// A transaction, or its commit, is tried again.
///
/// `Display` says what is tried again, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TransactionRetry {
    /// The number of times that the closure was called so far.
    pub attempts: u32,
    /// True if only the commit is sent again. Otherwise the whole transaction is run again.
    pub is_commit: bool,
    /// The pause before the next attempt.
    pub pause: Duration,
    /// The reason: the error of the last attempt.
    pub error: Error,
}

impl fmt::Display for TransactionRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, .. } = self;
        match self.is_commit {
            true => write!(
                f,
                "the commit of a transaction is sent again after: {error}"
            ),
            false => write!(
                f,
                "a transaction is run again in {:.1?}, after {} attempts: {error}",
                self.pause, self.attempts
            ),
        }
    }
}

/// A command does not belong to the transaction whose closure runs it, because the closure uses the plain client. It takes
/// effect even if the transaction is aborted, and again if the transaction is retried.
///
/// `Display` names the command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutsideOfTransactionEvent {
    /// The name of the command.
    pub command: String,
    /// The name of its database.
    pub database: String,
}

impl fmt::Display for OutsideOfTransactionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "outside-of-transaction: {} on the database {} is not a part of the transaction whose closure runs it; use \
             `within(tx)`",
            self.command, self.database
        )
    }
}
