//! A cursor: the results of a command, in batches.
//!
//! This file holds what programs use. `op/batch.rs` finds the documents in a reply; `op/get_more.rs` and
//! `op/kill_cursors.rs` are the commands.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::{Duration, Instant};

#[cfg(not(feature = "serde"))]
use bson::RawDocumentBuf;
use bson::raw::RawDocument;
use bson::{Document, RawBson};
#[cfg(feature = "serde")]
use serde::de::{Deserialize, DeserializeOwned};

use crate::cancel::Canceller;
use crate::client::Client;
use crate::client_session::{Free, Scope, is_in_transaction, session_of};
#[cfg(not(feature = "serde"))]
use crate::document::to_document;
#[cfg(feature = "serde")]
use crate::document::{to_borrowed_result, to_typed_result};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::event::OperationId;
use crate::logging::debug;
use crate::op::run_command::Opened;
use crate::op::{
    Batch, CursorReply, CursorTarget, CursorTimeout, CursorTiming, GetMore, GetMoreComment,
    KillCursors, MaxTime, TimeLimit,
};
use crate::options::CursorType;
use crate::server_code::CURSOR_NOT_FOUND;
use crate::session::ServerSession;

/// The results of a command, fetched in batches as they are consumed.
///
/// As an iterator it yields values of type `T`: any type that `serde` can deserialise from a document or, without the
/// cargo feature `serde`, a [`Document`] or a [`RawDocumentBuf`](bson::RawDocumentBuf). [`advance`](Self::advance) and
/// [`current`](Self::current) give access to the raw documents without a copy, and with the feature `serde` `next_as` to
/// values that borrow from them.
///
/// A document that is not a `T` is an error that names its index among the results, its `_id`, and the field:
/// `document 17 (_id: 5) is not a shop::Order: items[3].price: expected f64, found string`. The cursor continues with the
/// next document.
///
/// A tailable cursor ([`Command::cursor_type`](crate::Command::cursor_type)) does not end when there are no more documents: it returns `None` for now,
/// and may be used again as long as it [is open](Self::is_open). So the iterator is not fused. With
/// [`TailableAwait`](CursorType::TailableAwait) the server waits for more documents before it answers; without it, the
/// program should pause before it calls the cursor again.
///
/// With `timeoutMS`, the time limit includes all batches, unless [`Command::timeout_mode`](crate::Command::timeout_mode) says otherwise. Documents that
/// have arrived are returned even after that time.
///
/// Dropping a cursor that is not exhausted sends `killCursors` on a connection of the pool, for at most two seconds;
/// [`close`](Self::close) has a limit of your choice. A failure of this command goes to the log, target
/// `mongotls::cursor`.
///
/// Behind a load balancer (`loadBalanced=true`) a cursor keeps its connection until the server has closed the cursor,
/// because another connection may lead to another server. If a batch fails with a network error, the cursor keeps the
/// broken connection until it is dropped.
///
/// An exhaust cursor ([`CursorType::Exhaust`](crate::options::CursorType::Exhaust)) keeps its connection, too. Its server
/// sends the batches without further requests. [`batch_size`](Self::batch_size) and [`comment`](Self::comment) have no effect
/// after the second batch. Each batch is reported as a `getMore` of its own to listeners and in the log.
///
/// All commands of a cursor run in one session. It is that of the program if the cursor was opened
/// [within](crate::Database::within) one, and `S` is its type. Otherwise the client lends a session to the cursor until the
/// server has closed it.
pub struct Cursor<T = Document, S: Scope = Free> {
    client: Client,
    scope: S,
    target: CursorTarget,
    database: String,
    collection: String,
    /// 0 once the server has closed the cursor.
    id: i64,
    /// The operation that all commands of the cursor belong to.
    operation_id: OperationId,
    batch: Batch,
    /// The position of the current document in the batch.
    current: Range<usize>,
    /// The number of documents that the cursor has moved to.
    count: u64,
    batch_size: Option<i32>,
    comment: Option<GetMoreComment>,
    /// `maxTimeMS` of each `getMore`.
    max_time: MaxTime,
    timeout: CursorTimeout,
    cursor_type: CursorType,
    /// True if the server may send several batches for one `getMore`.
    is_exhaust: bool,
    failed: bool,
    values: PhantomData<fn() -> T>,
}

/// The end of a step of a tailable cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// A document, or one empty batch.
    OneEmptyBatch,
    /// A document.
    Document,
}

impl<T, S: Scope> Cursor<T, S> {
    /// Opens a cursor from the result of a command with these options.
    pub(crate) fn open(
        client: Client,
        scope: S,
        opened: Opened,
        options: CursorTiming,
    ) -> Result<Self> {
        let Opened {
            reply,
            connection,
            timeout,
            id: operation_id,
        } = opened;
        let id = reply.cursor_id()?;
        let namespace = reply.namespace();
        let namespace = namespace.map(|(database, rest)| (database.to_owned(), rest.to_owned()));
        let batch = reply.into_batch()?;
        let (database, collection) = namespace?;
        // A transaction needs its connection for other commands.
        let is_exhaust = options.cursor_type == CursorType::Exhaust
            && connection.can_stream()
            && !is_in_transaction(&scope);
        let target = match id != 0 && (client.options().load_balanced || is_exhaust) {
            true => connection.pin(),
            false => connection.release(),
        };
        Ok(Self {
            client,
            scope,
            target,
            database,
            collection,
            id,
            operation_id,
            batch,
            current: 0..0,
            count: 0,
            batch_size: None,
            comment: None,
            max_time: options.of_get_more(),
            timeout,
            cursor_type: options.cursor_type,
            is_exhaust,
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

    /// Sets the field `comment` of each further `getMore`, which appears in the logs and the profile of the server. Servers
    /// before MongoDB 4.4 reject it.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let find = doc! { "find": "things", "comment": "nightly report" };
    /// let things = client.database("shop").run_cursor_command::<Document>(find)?;
    /// for thing in things.comment("nightly report") {
    ///     println!("{}", thing?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn comment(mut self, comment: impl Into<RawBson>) -> Self {
        self.comment = Some(GetMoreComment::new(comment));
        self
    }

    /// Sets an instant after which the cursor requests no further batch. Documents that have arrived are still returned. The
    /// earlier limit counts if there are several; see [`Client::until`].
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use std::time::{Duration, Instant};
    ///
    /// let things = client.database("shop").run_cursor_command::<Document>(doc! { "find": "things" })?;
    /// for thing in things.deadline(Instant::now() + Duration::from_secs(5)) {
    ///     println!("{}", thing?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.client = self.client.until(deadline);
        self
    }

    /// Ends the cursor when `canceller` is used on another thread. A request for the next batch then fails with
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), and the cursor returns no more documents. Documents that have
    /// arrived are still returned. See [`Client::cancelled_by`].
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::Canceller;
    ///
    /// let canceller = Canceller::new();
    /// let things = client.database("shop").run_cursor_command::<Document>(doc! { "find": "things" })?;
    /// for thing in things.cancelled_by(&canceller) {
    ///     println!("{}", thing?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn cancelled_by(mut self, canceller: &Canceller) -> Self {
        self.client = self.client.cancelled_by(canceller);
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
    /// As [`Database::run_command`](crate::Database::run_command). After an error the cursor returns no more documents,
    /// with one exception: if `timeoutMS` applies to each iteration, and has passed before the next batch was requested
    /// or according to the server, the cursor can be called again. If the time has passed while the reply was on its way,
    /// the batch is lost; a cursor that went on would skip documents.
    pub fn advance(&mut self) -> Result<bool> {
        self.advance_to(Until::OneEmptyBatch)
    }

    /// Moves to the next document like [`advance`](Self::advance); a tailable cursor fetches batches until there is a
    /// document, or the server has closed the cursor. `timeoutMS` is the limit of the whole call.
    ///
    /// Use it with [`TailableAwait`](CursorType::TailableAwait): a server that does not wait for documents gets one request
    /// after another.
    ///
    /// ```no_run
    /// use mongotls::bson::{Document, doc};
    /// use mongotls::options::CursorType;
    /// use mongotls::{Client, Command};
    ///
    /// let client = Client::connect("mongodb://localhost")?;
    /// let find = doc! { "find": "log", "tailable": true, "awaitData": true };
    /// let find = Command::from(find).cursor_type(CursorType::TailableAwait);
    /// let mut log = client.database("shop").run_cursor_command::<Document>(find)?;
    /// while log.advance_or_wait()? {
    ///     println!("{:?}", log.current().get("message"));
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub fn advance_or_wait(&mut self) -> Result<bool> {
        self.advance_to(Until::Document)
    }

    fn advance_to(&mut self, until: Until) -> Result<bool> {
        if self.failed {
            return Ok(false);
        }
        let moved = self.step(until, None);
        if let Err(error) = &moved {
            self.failed = !self.can_continue_after(error);
            if is_cursor_lost(error) {
                self.id = 0;
                self.target.end_session();
                // After a network error a pinned connection stays with the cursor until it is dropped ("Load Balancer
                // Support", "Behaviour With Cursors").
                if self.target.perished().is_none() {
                    self.target.unpin();
                }
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

    /// Closes the cursor on the server, if it is still open there, within `timeoutMS`. That limit begins again, even if the
    /// time of the cursor is over; without it, the limit is two seconds. Dropping the cursor does the same.
    ///
    /// A failure goes to the log, target `mongotls::cursor`: the server closes an unused cursor itself after ten minutes.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let mut things = client.database("shop").run_cursor_command::<Document>(doc! { "find": "things" })?;
    /// let first = things.next().transpose()?;
    /// things.close();
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn close(mut self) {
        self.kill(self.timeout.of_close());
    }

    /// Closes the cursor like [`close`](Self::close), with another limit. Zero means no limit.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use std::time::Duration;
    ///
    /// let things = client.database("shop").run_cursor_command::<Document>(doc! { "find": "things" })?;
    /// things.close_within(Duration::from_millis(200));
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn close_within(mut self, limit: Duration) {
        self.kill(TimeLimit::of_call(limit));
    }

    /// Moves to the next document like [`advance`](Self::advance), within this limit, for a change stream. After an error the
    /// cursor keeps its session, which the cursor that replaces it needs.
    pub(crate) fn advance_in_stream(&mut self, limit: TimeLimit) -> Result<bool> {
        self.step(Until::OneEmptyBatch, Some(limit))
    }

    /// Returns whether the current document is the last one of the batch.
    pub(crate) fn is_at_end_of_batch(&self) -> bool {
        self.batch.is_empty()
    }

    /// The token at which a change stream can resume after the batch, if the server has sent one.
    pub(crate) fn post_batch_token(&self) -> Option<&RawDocument> {
        self.batch.resume_token()
    }

    /// Closes the cursor after an error of a change stream, unless the server no longer has it. Returns its session, if it is
    /// not that of the program.
    pub(crate) fn retire(&mut self, error: Option<&Error>) -> Option<ServerSession> {
        let code = error.and_then(Error::command).map(|failure| failure.code);
        if code != Some(CURSOR_NOT_FOUND) {
            self.kill(self.timeout.of_drop());
        }
        self.id = 0;
        self.target.take_session()
    }

    fn kill(&mut self, limit: TimeLimit) {
        // A server that is sending batches closes the cursor when its connection ends.
        if self.id == 0 || self.target.perished().is_some() || self.target.is_streaming() {
            return;
        }
        let kill_cursors = KillCursors {
            database: &self.database,
            collection: &self.collection,
            cursor_id: self.id,
            session: session_of(&self.scope),
            operation_id: &self.operation_id,
            limit,
        };
        if let Err(error) = kill_cursors.run(&self.client, &mut self.target) {
            debug!(target: "mongotls::cursor", "cursor {} may stay open on the server: {error}", self.id);
        }
        self.id = 0;
    }

    /// Returns whether no batch can be lost after this error of an iteration.
    fn can_continue_after(&self, error: &Error) -> bool {
        let was_sent = error.stage() == Some(Stage::Command) && error.command().is_none();
        self.timeout.is_refreshed() && error.is_timeout() && !was_sent
    }

    /// Moves to the next document. `limit` is that of the call; otherwise it begins if a batch is needed.
    fn step(&mut self, until: Until, mut limit: Option<TimeLimit>) -> Result<bool> {
        loop {
            if let Some(document) = self.batch.next()? {
                self.current = document;
                self.count += 1;
                return Ok(true);
            }
            if self.id == 0 {
                return Ok(false);
            }
            // One limit for all batches of this call.
            let limit = *limit.get_or_insert_with(|| self.timeout.of_iteration());
            self.fetch(limit)?;
            let is_tailable = self.cursor_type.is_tailable();
            if is_tailable && until == Until::OneEmptyBatch && self.batch.is_empty() {
                return Ok(false);
            }
        }
    }

    fn fetch(&mut self, limit: TimeLimit) -> Result<()> {
        let get_more = GetMore {
            database: &self.database,
            collection: &self.collection,
            cursor_id: self.id,
            session: session_of(&self.scope),
            operation_id: &self.operation_id,
            batch_size: self.batch_size,
            comment: self.comment.as_ref(),
            limit,
            max_time: self.max_time,
            allows_more: self.is_exhaust,
        };
        self.current = 0..0;
        let spare = self.batch.take();
        let reply = get_more.run(&self.client, &mut self.target, spare)?;
        let id = reply.cursor_id()?;
        self.rename(&reply);
        self.batch = reply.into_batch()?;
        self.id = id;
        if self.id == 0 {
            self.target.end_session();
            self.target.unpin();
        }
        Ok(())
    }

    /// Takes the namespace of a reply: that of the cursor may change, as when the collection is renamed.
    fn rename(&mut self, reply: &CursorReply) {
        let Ok((database, collection)) = reply.namespace() else {
            return;
        };
        if (database, collection) != (&self.database, &self.collection) {
            database.clone_into(&mut self.database);
            collection.clone_into(&mut self.collection);
        }
    }

    /// Moves to the next document and returns it as a value of type `U`, which may borrow its texts and bytes from the
    /// batch. Returns `None` if there is no document for now; see [`advance`](Self::advance).
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// #[derive(serde::Deserialize)]
    /// struct Thing<'a> {
    ///     name: &'a str,
    /// }
    ///
    /// let things = client.database("shop").collection::<Document>("things");
    /// let mut cursor = things.find(doc! {}).run()?;
    /// while let Some(thing) = cursor.next_as::<Thing<'_>>()? {
    ///     println!("{}", thing.name);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`advance`](Self::advance), and [`ErrorKind::Bson`] if the document is not a `U`. The error then names the
    /// document and the field, and the cursor can be called again for the next document.
    #[cfg(feature = "serde")]
    pub fn next_as<'a, U: Deserialize<'a>>(&'a mut self) -> Result<Option<U>> {
        match self.advance()? {
            true => to_borrowed_result(self.current(), Some(self.count - 1)).map(Some),
            false => Ok(None),
        }
    }

    /// Returns the document that [`advance`](Self::advance) moved to as a value of `T`, which can borrow from the batch.
    ///
    /// # Errors
    /// [`ErrorKind::Bson`] if the document is not a `T`.
    #[cfg(feature = "serde")]
    pub fn deserialize_current<'a>(&'a self) -> Result<T>
    where
        T: Deserialize<'a>,
    {
        to_borrowed_result(self.current(), self.count.checked_sub(1))
    }

    fn next_with(
        &mut self,
        value: impl FnOnce(&RawDocument, u64) -> Result<T>,
    ) -> Option<Result<T>> {
        match self.advance() {
            Ok(true) => Some(value(self.current(), self.count - 1)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(feature = "serde")]
impl<T: DeserializeOwned + 'static, S: Scope> Iterator for Cursor<T, S> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.next_with(|document, index| to_typed_result(document, Some(index)))
    }
}

#[cfg(not(feature = "serde"))]
impl<S: Scope> Iterator for Cursor<Document, S> {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Result<Document>> {
        self.next_with(|document, _| to_document(document))
    }
}

#[cfg(not(feature = "serde"))]
impl<S: Scope> Iterator for Cursor<RawDocumentBuf, S> {
    type Item = Result<RawDocumentBuf>;

    fn next(&mut self) -> Option<Result<RawDocumentBuf>> {
        self.next_with(|document, _| Ok(document.to_owned()))
    }
}

impl<T, S: Scope> Drop for Cursor<T, S> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.kill(self.timeout.of_drop());
        }
    }
}

impl<T, S: Scope> fmt::Debug for Cursor<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("database", &self.database)
            .field("collection", &self.collection)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Returns whether the server no longer has the cursor after this error, or cannot be reached to close it.
fn is_cursor_lost(error: &Error) -> bool {
    error.kind() == ErrorKind::Network
        || error
            .command()
            .is_some_and(|failure| failure.code == CURSOR_NOT_FOUND)
}
