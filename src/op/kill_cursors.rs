//! `killCursors`: closes an open cursor on its server ("Find, getMore and killCursors").

use super::{
    CursorTarget, HasDeployment, Operation, OperationKind, OperationSession, TimeLimit, execute,
};
use crate::error::Result;
use crate::event::OperationId;
use crate::session::SessionState;
use crate::wire::request::{EncodeCommand, Fields};

/// See the [module documentation](self).
pub(crate) struct KillCursors<'a> {
    pub(crate) database: &'a str,
    pub(crate) collection: &'a str,
    pub(crate) cursor_id: i64,
    /// The operation that opened the cursor.
    pub(crate) operation_id: &'a OperationId,
    /// The session of the program that opened the cursor, if it was one.
    pub(crate) session: Option<&'a SessionState>,
    pub(crate) limit: TimeLimit,
}

impl KillCursors<'_> {
    /// Closes the cursor.
    pub(crate) fn run(&self, client: &dyn HasDeployment, target: &mut CursorTarget) -> Result<()> {
        let operation = Operation {
            kind: OperationKind::Cursor,
            limit: self.limit,
            is_cleanup: true,
            session: OperationSession::of(self.session),
            ..Operation::new(self.database, self, self.operation_id)
        };
        execute::run_at(client, target, &operation, &mut (), Vec::new())?;
        Ok(())
    }
}

impl EncodeCommand for KillCursors<'_> {
    fn name(&self) -> &str {
        "killCursors"
    }

    fn encode(&self, fields: &mut Fields<'_>) {
        fields.text(self.name(), self.collection);
        fields.array_of_one("cursors", self.cursor_id);
    }
}
