//! A cursor: the results of a command, in batches.
//!
//! This file holds what programs use. `op/batch.rs` finds the documents in a reply; `op/get_more.rs` and
//! `op/kill_cursors.rs` are the commands.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;

use bson::Document;
#[cfg(not(feature = "serde"))]
use bson::RawDocumentBuf;
use bson::raw::RawDocument;
#[cfg(feature = "serde")]
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::command::Command;
#[cfg(not(feature = "serde"))]
use crate::document::to_document;
#[cfg(feature = "serde")]
use crate::document::to_typed;
use crate::error::{Error, ErrorKind, Result};
use crate::logging::debug;
use crate::op::{Batch, CursorReply, CursorTarget, GetMore, KillCursors, SelectedConnection};
use crate::server_code::CURSOR_NOT_FOUND;

/// The results of a command, fetched in batches as they are consumed.
///
/// As an iterator it yields values of type `T`: any type that `serde` can deserialise from a document or, without the
/// cargo feature `serde`, a [`Document`] or a [`RawDocumentBuf`](bson::RawDocumentBuf). [`advance`](Self::advance) and
/// [`current`](Self::current) give access to the raw documents without a copy.
///
/// A tailable cursor (`tailable: true` in the command that opened it) does not end when there are no more documents: it
/// returns `None` for now, and may be used again as long as it [is open](Self::is_open). So the iterator is not fused.
/// With `awaitData: true` the server waits for more documents before it answers; without it, the program should pause
/// before it calls the cursor again.
///
/// Dropping a cursor that is not exhausted sends `killCursors` on a connection of the pool. A failure of this command
/// goes to the log, target `mongotls::cursor`.
///
/// Behind a load balancer (`loadBalanced=true`) a cursor keeps its connection until the server has closed the cursor,
/// because another connection may lead to another server.
pub struct Cursor<T = Document> {
    client: Client,
    target: CursorTarget,
    database: String,
    collection: String,
    /// 0 once the server has closed the cursor.
    id: i64,
    batch: Batch,
    /// The position of the current document in the batch.
    current: Range<usize>,
    batch_size: Option<i32>,
    limit: Option<Duration>,
    tailable: bool,
    failed: bool,
    values: PhantomData<fn() -> T>,
}

impl<T> Cursor<T> {
    /// Opens a cursor from the reply of `command`, which came from `connection`.
    pub(crate) fn open(
        client: Client,
        connection: SelectedConnection,
        reply: CursorReply,
        command: &Command,
    ) -> Result<Self> {
        let id = reply.cursor_id()?;
        let namespace = reply.namespace();
        let namespace = namespace.map(|(database, rest)| (database.to_owned(), rest.to_owned()));
        let batch = reply.into_batch()?;
        let (database, collection) = namespace?;
        let target = match client.options().load_balanced && id != 0 {
            true => connection.pin(),
            false => connection.release(),
        };
        Ok(Self {
            client,
            target,
            database,
            collection,
            id,
            batch,
            current: 0..0,
            batch_size: None,
            limit: command.limit(),
            tailable: is_tailable(command),
            failed: false,
            values: PhantomData,
        })
    }

    /// Sets the number of documents in each further batch. Default: 0, which leaves it to the server.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let find = doc! { "find": "things", "batchSize": 10 };
    /// let things = client.database("shop").run_cursor_command::<Document>(find)?;
    /// for thing in things.batch_size(1000) {
    ///     println!("{}", thing?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn batch_size(mut self, documents: u32) -> Self {
        self.batch_size = i32::try_from(documents).ok().filter(|size| *size > 0);
        self
    }

    /// Moves to the next document, and fetches the next batch if this one is used up. Returns whether there is a
    /// document.
    ///
    /// A cursor that is not tailable skips empty batches until the server closes it. A tailable cursor returns false after
    /// one empty batch, and is still open.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// // Without a copy of each document:
    /// let find = doc! { "find": "things" };
    /// let mut things = client.database("shop").run_cursor_command::<Document>(find)?;
    /// while things.advance()? {
    ///     println!("{:?}", things.current().get("name"));
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Database::run_command`](crate::Database::run_command). After an error the cursor returns no more documents.
    pub fn advance(&mut self) -> Result<bool> {
        if self.failed {
            return Ok(false);
        }
        let moved = self.step();
        if let Err(error) = &moved {
            self.failed = true;
            if is_cursor_lost(error) {
                self.id = 0;
                self.target.unpin();
            }
        }
        moved
    }

    /// The document that [`advance`](Self::advance) moved to, as the server sent it. It is empty before the first call of
    /// `advance`, and after a call that returned false.
    pub fn current(&self) -> &RawDocument {
        self.batch.document(&self.current)
    }

    /// Returns whether the server still holds the cursor.
    pub fn is_open(&self) -> bool {
        self.id != 0
    }

    fn step(&mut self) -> Result<bool> {
        loop {
            if let Some(document) = self.batch.next()? {
                self.current = document;
                return Ok(true);
            }
            if self.id == 0 {
                return Ok(false);
            }
            self.fetch()?;
            if self.tailable && self.batch.is_empty() {
                return Ok(false);
            }
        }
    }

    fn fetch(&mut self) -> Result<()> {
        let get_more = GetMore {
            database: &self.database,
            collection: &self.collection,
            cursor_id: self.id,
            batch_size: self.batch_size,
            limit: self.limit,
        };
        self.current = 0..0;
        let spare = self.batch.take();
        let reply = get_more.run(&self.client, &mut self.target, spare)?;
        let id = reply.cursor_id()?;
        self.batch = reply.into_batch()?;
        self.id = id;
        if self.id == 0 {
            self.target.unpin();
        }
        Ok(())
    }

    fn next_as(&mut self, value: impl FnOnce(&RawDocument) -> Result<T>) -> Option<Result<T>> {
        match self.advance() {
            Ok(true) => Some(value(self.current())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(feature = "serde")]
impl<T: DeserializeOwned + 'static> Iterator for Cursor<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.next_as(to_typed)
    }
}

#[cfg(not(feature = "serde"))]
impl Iterator for Cursor<Document> {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Result<Document>> {
        self.next_as(to_document)
    }
}

#[cfg(not(feature = "serde"))]
impl Iterator for Cursor<RawDocumentBuf> {
    type Item = Result<RawDocumentBuf>;

    fn next(&mut self) -> Option<Result<RawDocumentBuf>> {
        self.next_as(|document| Ok(document.to_owned()))
    }
}

impl<T> Drop for Cursor<T> {
    fn drop(&mut self) {
        /// The longest time that a drop waits for the server.
        const LIMIT: Duration = Duration::from_secs(2);
        if self.id == 0 || self.target.perished().is_some() || std::thread::panicking() {
            return;
        }
        // Zero means no limit.
        let limit = self.limit.filter(|limit| !limit.is_zero());
        let kill_cursors = KillCursors {
            database: &self.database,
            collection: &self.collection,
            cursor_id: self.id,
            limit: limit.map_or(LIMIT, |limit| limit.min(LIMIT)),
        };
        if let Err(error) = kill_cursors.run(&self.client, &mut self.target) {
            debug!(target: "mongotls::cursor", "cursor {} may stay open on the server: {error}", self.id);
        }
    }
}

impl<T> fmt::Debug for Cursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("database", &self.database)
            .field("collection", &self.collection)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn is_tailable(command: &Command) -> bool {
    let body = command.body().ok();
    body.is_some_and(|body| body.get_bool("tailable").unwrap_or(false))
}

/// Returns whether the server no longer has the cursor after this error, or cannot be reached to close it.
fn is_cursor_lost(error: &Error) -> bool {
    error.kind() == ErrorKind::Network
        || error
            .command()
            .is_some_and(|failure| failure.code == CURSOR_NOT_FOUND)
}
