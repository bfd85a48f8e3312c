//! The part of an operation in a transaction, and the options that it has itself.

/// The part of an operation in a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// It belongs to no transaction.
    #[default]
    Outside,
    /// It is one of the commands of the transaction.
    Within,
    /// It ends the transaction.
    End,
}

/// The options that the program has set for the operation itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnOptions {
    pub(crate) read_concern: bool,
    pub(crate) write_concern: bool,
    pub(crate) read_preference: bool,
    pub(crate) timeout: bool,
}
