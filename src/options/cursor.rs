//! The options of cursors.

/// The type of a cursor, as the command that opens it requests it.
///
/// The driver does not read the command. So a program states the type with
/// [`Command::cursor_type`](crate::Command::cursor_type) in addition to the fields `tailable` and `awaitData` of the
/// command. The behaviour is undefined if they differ. Source: "CRUD", "Read".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CursorType {
    /// The cursor ends after its last document.
    #[default]
    NonTailable,
    /// The cursor of a capped collection (`tailable: true`): it stays open after the last document, and returns documents
    /// that are inserted later. Without such documents the server answers at once.
    Tailable,
    /// A tailable cursor whose server waits for documents before it answers (`tailable: true` and `awaitData: true`).
    TailableAwait,
    /// A cursor whose server sends all further batches after one request for them (an exhaust cursor). It saves a round
    /// trip for each batch.
    ///
    /// The cursor keeps its connection until its last batch. If it is dropped or closed before, the connection is closed,
    /// because the server continues to send. Use it for a result that is read to its end. Routers before MongoDB 7.1 and
    /// connections with `loadBalanced=true` do not support it; the cursor is then like [`NonTailable`](Self::NonTailable).
    Exhaust,
}

impl CursorType {
    /// Returns whether the cursor stays open after its last document.
    pub(crate) fn is_tailable(self) -> bool {
        matches!(self, Self::Tailable | Self::TailableAwait)
    }
}

/// The scope of `timeoutMS` for a cursor. Source: "Client Side Operations Timeout", "Cursors".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CursorTimeoutMode {
    /// `timeoutMS` is the limit for the command that opens the cursor and all further batches together. Default, except
    /// for tailable cursors, which do not support this mode.
    CursorLifetime,
    /// `timeoutMS` applies to the command that opens the cursor, and again to each iteration.
    Iteration,
}
