//! The options of a transaction.

use std::time::Duration;

use super::{ReadConcern, ReadPreference, WriteConcern};

/// The options of a transaction. `None` takes the default of the session, and otherwise the setting of the client.
///
/// ```
/// use mongotls::options::{ReadConcern, TransactionOptions, WriteConcern};
///
/// let options = TransactionOptions::default()
///     .read_concern(ReadConcern::snapshot())
///     .write_concern(WriteConcern::majority());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TransactionOptions {
    /// The read concern of the transaction. Its first command has it.
    pub read_concern: Option<ReadConcern>,
    /// The write concern of the transaction. The command that commits or aborts it has it. It must be acknowledged.
    pub write_concern: Option<WriteConcern>,
    /// The read preference of all reads. Only `primary` is possible.
    pub selection_criteria: Option<ReadPreference>,
    /// The time that the server may take for a commit, in milliseconds on the wire. `timeoutMS` replaces it.
    pub max_commit_time: Option<Duration>,
}

impl TransactionOptions {
    /// Sets the read concern of the transaction.
    #[must_use]
    pub fn read_concern(mut self, concern: ReadConcern) -> Self {
        self.read_concern = Some(concern);
        self
    }

    /// Sets the write concern of the transaction.
    #[must_use]
    pub fn write_concern(mut self, concern: WriteConcern) -> Self {
        self.write_concern = Some(concern);
        self
    }

    /// Sets the read preference of all reads.
    #[must_use]
    pub fn selection_criteria(mut self, preference: ReadPreference) -> Self {
        self.selection_criteria = Some(preference);
        self
    }

    /// Sets the time that the server may take for a commit.
    #[must_use]
    pub fn max_commit_time(mut self, limit: Duration) -> Self {
        self.max_commit_time = Some(limit);
        self
    }

    /// These options, and those of `defaults` for what they leave open.
    pub(crate) fn or(self, defaults: Option<&Self>) -> Self {
        let Some(defaults) = defaults else {
            return self;
        };
        Self {
            read_concern: self.read_concern.or_else(|| defaults.read_concern.clone()),
            write_concern: self
                .write_concern
                .or_else(|| defaults.write_concern.clone()),
            selection_criteria: self
                .selection_criteria
                .or_else(|| defaults.selection_criteria.clone()),
            max_commit_time: self.max_commit_time.or(defaults.max_commit_time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_the_transaction_comes_before_the_default() {
        let defaults = TransactionOptions::default()
            .read_concern(ReadConcern::local())
            .write_concern(WriteConcern::nodes(1))
            .max_commit_time(Duration::from_secs(1));
        let own = TransactionOptions::default().write_concern(WriteConcern::majority());
        let options = own.clone().or(Some(&defaults));
        assert_eq!(options.read_concern, Some(ReadConcern::local()));
        assert_eq!(options.write_concern, Some(WriteConcern::majority()));
        assert_eq!(options.max_commit_time, Some(Duration::from_secs(1)));
        assert_eq!(own.clone().or(None), own);
    }
}
