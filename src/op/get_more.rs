//! `getMore`: the next batch of an open cursor ("Find, getMore and killCursors").

use bson::{RawBson, RawDocumentBuf};

use super::{
    CursorFields, CursorReply, CursorTarget, HasDeployment, MaxTime, Operation, OperationKind,
    OperationSession, TimeLimit, execute,
};
use crate::error::Result;
use crate::event::OperationId;
use crate::session::SessionState;
use crate::wire::request::{EncodeCommand, Fields};

/// See the [module documentation](self).
pub(crate) struct GetMore<'a> {
    pub(crate) database: &'a str,
    pub(crate) collection: &'a str,
    pub(crate) cursor_id: i64,
    /// The operation that opened the cursor.
    pub(crate) operation_id: &'a OperationId,
    /// The session of the program that opened the cursor, if it was one.
    pub(crate) session: Option<&'a SessionState>,
    /// The number of documents in the batch; `None` leaves it to the server.
    pub(crate) batch_size: Option<i32>,
    pub(crate) comment: Option<&'a GetMoreComment>,
    /// The limit of the operation; see [`Operation::limit`].
    pub(crate) limit: TimeLimit,
    /// The time that the server waits for documents, if the cursor has one.
    pub(crate) max_time: MaxTime,
    /// True if the server may send further batches without another request.
    pub(crate) allows_more: bool,
}

/// The field `comment`, encoded.
#[derive(Clone, Debug)]
pub(crate) struct GetMoreComment(RawDocumentBuf);

impl GetMoreComment {
    pub(crate) fn new(value: impl Into<RawBson>) -> Self {
        let mut field = RawDocumentBuf::new();
        field.append(bson::cstr!("comment"), value.into());
        Self(field)
    }
}

impl GetMore<'_> {
    /// Fetches the batch into the memory of `spare`.
    pub(crate) fn run(
        &self,
        client: &dyn HasDeployment,
        target: &mut CursorTarget,
        spare: Vec<u8>,
    ) -> Result<CursorReply> {
        let mut fields = CursorFields::of_next_batch();
        let operation = Operation {
            kind: OperationKind::Cursor,
            limit: self.limit,
            max_time: self.max_time,
            allows_more: self.allows_more,
            session: OperationSession::of(self.session),
            ..Operation::new(self.database, self, self.operation_id)
        };
        let reply = execute::run_at(client, target, &operation, &mut fields, spare)?;
        Ok(CursorReply::new(reply, fields))
    }
}

impl EncodeCommand for GetMore<'_> {
    fn name(&self) -> &str {
        "getMore"
    }

    fn encode(&self, fields: &mut Fields<'_>) {
        fields.int64(self.name(), self.cursor_id);
        fields.text("collection", self.collection);
        if let Some(size) = self.batch_size {
            fields.int32("batchSize", size);
        }
        if let Some(comment) = self.comment {
            fields.fields_of(&comment.0);
        }
    }
}
