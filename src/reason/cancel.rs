//! Why an operation ended before its result: the program cancelled it.

/// The step that an operation had reached when the program cancelled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// Before the first step.
    BeforeStart,
    /// The wait for a server.
    ServerSelection,
    /// The wait for a connection of the pool.
    CheckOut,
    /// The attempt to establish a connection.
    Establishing,
    /// After a connection was checked out, and before the command was sent.
    BeforeSending,
    /// Sending the command, or the wait for its reply.
    Reply,
    /// The pause before a retry.
    Pause,
}
