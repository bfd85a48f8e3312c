//! Operations: what a program asks a deployment to do, and the executor that does it.
//!
//! An operation is data to the executor ([`Operation`]): its kind, its options, and a value that writes the command's own
//! fields into the buffer of a connection ([`EncodeCommand`]). If it needs more than the raw reply, a value that implements
//! [`ReadReply`](crate::conn::ReadReply) reads the fields in the one pass over the reply that also looks for errors. Each
//! operation has a file; nothing else knows how operations differ.
//!
//! [`execute`] controls the sequence: deadline → server selection → check-out, or the pinned connection → session → the
//! fields that the driver adds ([`Envelope`](crate::wire::request::Envelope)) → encode → one write, one read → one pass over the
//! reply → retry or result.
//!
//! | file | holds |
//! |---|---|
//! | `execute.rs` | the sequence above, for an operation that selects a server and for one of an open cursor |
//! | `evidence.rs` | whether a failed attempt may have written |
//! | `refusal.rs` | the cause of an error that a server answers with |
//! | `retry.rs` | the decision whether and when to retry: no clock, no sleep |
//! | `timeout.rs` | the time limits of operations and cursors |
//! | `kind.rs` | the kinds of operations, as far as retries depend on them |
//! | `session.rs` | the session of a command, and the cluster time that it sends |
//! | `role.rs` `transaction.rs` | the part of an operation in a transaction; the rules for it |
//! | `end_transaction.rs` | commit and abort |
//! | `target.rs` | a connection to the selected server; the server or the pinned connection of a cursor |
//! | `run_command.rs` | a command of the program, as it is |
//! | `get_more.rs` `kill_cursors.rs` | the next batch of a cursor; closing a cursor |
//! | `end_sessions.rs` | the end of all sessions of a client that closes |
//! | `batch.rs` | the batch of a cursor in a reply |
//!
//! Runs on the thread of the program. It holds no lock while it waits for a server, a connection or a reply.
//!
//! Sources: "Run Command", "Retryable Reads", "Retryable Writes", "Client Backpressure", "Server Selection", "Find,
//! getMore and killCursors", "Client Side Operations Timeout", "Transactions".

mod batch;
pub(crate) mod end_sessions;
pub(crate) mod end_transaction;
mod evidence;
pub(crate) mod execute;
mod get_more;
mod kill_cursors;
mod kind;
mod queue;
pub(crate) mod refusal;
mod retry;
mod role;
pub(crate) mod run_command;
mod session;
mod target;
pub(crate) mod timeout;
pub(crate) mod transaction;

use std::cell::{Cell, RefCell};

#[cfg(test)]
pub(crate) use self::batch::read_batches;
pub(crate) use self::batch::{Batch, CursorFields, CursorReply};
pub(crate) use self::execute::{Deployment, HasDeployment};
pub(crate) use self::get_more::{GetMore, GetMoreComment};
pub(crate) use self::kill_cursors::KillCursors;
pub(crate) use self::kind::OperationKind;
pub(crate) use self::queue::{QueuedWrite, Rules, WriteQueue};
pub(crate) use self::role::{OwnOptions, Role};
pub(crate) use self::session::OperationSession;
pub(crate) use self::target::CursorTarget;
pub(crate) use self::timeout::{
    CursorTimeout, CursorTiming, TimeLimit, is_limited, transformed_write,
};
use crate::bounds::Bounds;
pub(crate) use crate::conn::MaxTime;
use crate::error::{Error, Result};
use crate::event::OperationId;
use crate::options::{ReadConcern, ReadPreference, WriteConcern};
use crate::reason::cancel::Cancelled;
use crate::steps::Steps;
use crate::wire::request::{DocumentSequence, EncodeCommand};

/// The description of an operation, by which the executor runs it.
///
/// Read concern, write concern and `min_wire_version` are for the typed operations of collections, which are added next.
#[derive(Clone, Copy)]
pub(crate) struct Operation<'a> {
    /// The database that the command runs on.
    pub(crate) database: &'a str,
    /// The command's own fields.
    pub(crate) command: &'a dyn EncodeCommand,
    /// Documents that are sent next to the command.
    pub(crate) sequences: &'a [DocumentSequence<'a>],
    /// The writes of a bulk. The executor chooses those that the server takes, and sends them in place of `sequences`.
    pub(crate) queue: Option<&'a RefCell<WriteQueue>>,
    /// The kind, which decides about retries. With a queue see [`current_kind`](Self::current_kind).
    pub(crate) kind: OperationKind,
    /// The number of the operation in events and in the log. All commands of a cursor share one.
    pub(crate) id: &'a OperationId,
    /// The time limit of this operation in all.
    pub(crate) limit: TimeLimit,
    /// True if the operation cleans up after another one, such as `killCursors`. It has only its own limit: the bounds of
    /// the program do not apply.
    pub(crate) is_cleanup: bool,
    /// The steps of the operation while it runs. The executor provides them.
    pub(crate) steps: Option<&'a Steps<'a>>,
    /// The part of the limit that the server gets.
    pub(crate) max_time: MaxTime,
    /// The members of a replica set that may run the command. `None`: the primary.
    pub(crate) read_preference: Option<&'a ReadPreference>,
    /// The read concern, if the command accepts one and the driver adds it. A session may add a time to it.
    pub(crate) read_concern: Option<&'a ReadConcern>,
    /// The write concern, if the driver adds it.
    pub(crate) write_concern: Option<&'a WriteConcern>,
    /// `rawData` of the command. A server that does not know it gets the command without it.
    pub(crate) raw_data: Option<bool>,
    /// The options that the program has set for the operation itself.
    pub(crate) own: OwnOptions,
    /// The part of the operation in a transaction. The executor finds it out.
    pub(crate) role: Role,
    /// `maxTimeMS`, unless the driver computes it.
    pub(crate) max_time_ms: Option<i64>,
    /// The session that the command runs in.
    pub(crate) session: OperationSession<'a>,
    /// The number of a retryable write, the same for all attempts. The executor provides it, and assigns the number with
    /// the session.
    pub(crate) number: Option<&'a Cell<Option<i64>>>,
    /// The oldest wire version that has this operation. An older server does not get the command.
    pub(crate) min_wire_version: i32,
    /// The part of the operation that needs `min_wire_version`, or `None` for the command itself.
    pub(crate) needed_by: Option<&'static str>,
    /// The documents that the command may write.
    pub(crate) extent: Extent,
    /// True if the server may send further replies without another request.
    pub(crate) allows_more: bool,
}

impl<'a> Operation<'a> {
    /// An operation of kind [`OperationKind::Generic`] without any options.
    pub(crate) fn new(
        database: &'a str,
        command: &'a dyn EncodeCommand,
        id: &'a OperationId,
    ) -> Self {
        Self {
            database,
            command,
            sequences: &[],
            queue: None,
            kind: OperationKind::Generic,
            id,
            limit: TimeLimit::default(),
            is_cleanup: false,
            steps: None,
            max_time: MaxTime::default(),
            read_preference: None,
            read_concern: None,
            write_concern: None,
            raw_data: None,
            own: OwnOptions::default(),
            role: Role::Outside,
            max_time_ms: None,
            session: OperationSession::Implicit,
            number: None,
            min_wire_version: 0,
            needed_by: None,
            extent: Extent::Unknown,
            allows_more: false,
        }
    }

    /// The kind of the current command. A command with a write that may change more than one document cannot be numbered
    /// ("Retryable Writes", "Supported Write Operations").
    fn current_kind(&self) -> OperationKind {
        match (self.kind, self.queue) {
            (OperationKind::RetryableWrite, Some(queue)) if queue.borrow().has_multi() => {
                OperationKind::Write
            }
            (kind, _) => kind,
        }
    }

    /// The limits of the program that apply: those of the client's handle, except for cleaning up.
    fn bounds<'b>(&self, of_client: &'b Bounds) -> &'b Bounds {
        match self.is_cleanup {
            true => Bounds::NONE,
            false => of_client,
        }
    }

    /// Returns an error if the program has cancelled the operation.
    fn check_cancelled(&self, at: Cancelled) -> Result<()> {
        match self.steps.is_some_and(Steps::is_cancelled) {
            true => Err(Error::cancelled(at)),
            false => Ok(()),
        }
    }

    /// Returns false if the server does not answer the command: a write with the write concern `w: 0`.
    pub(crate) fn has_reply(&self) -> bool {
        let writes = self.extent != Extent::Unknown || self.queue.is_some();
        !writes || self.write_concern.is_none_or(WriteConcern::is_acknowledged)
    }

    /// The documents that the current command may write.
    fn current_extent(&self) -> Extent {
        match self.queue.map(RefCell::borrow) {
            Some(queue) if queue.chosen_count() == 1 && !queue.has_multi() => Extent::OneDocument,
            Some(_) => Extent::Documents,
            None => self.extent,
        }
    }
}

/// The documents that a command may write. Commands other than those that write documents are always acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The command is none of those that write documents, or it is not known.
    Unknown,
    /// At most one document. So a server that rejects the command has written nothing.
    OneDocument,
    /// Several documents. A server that rejects the command may have written a part of them.
    Documents,
}
