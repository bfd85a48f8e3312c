//! `insert` of many documents, which a source provides one by one ("CRUD API", "Insert").
//!
//! Documents are encoded into a batch as the source provides them, so the whole needs the memory of one batch. The source
//! is the program's code: it is called while no connection is checked out and no command is in flight, so it may use the
//! same client, even with `maxPoolSize=1`. A batch is kept until its reply is final: a retry sends the same bytes. The
//! queue splits it if a server takes less at once.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fmt;

use bson::{Bson, RawBsonRef, RawDocumentBuf, cstr};

use super::Collection;
use super::action::{self, Action};
use super::document_id::{append_with_id, id_of};
use super::progress::Progress;
use super::write::{Documents, Sent, WriteReply, replied, unknown, unknown_write};
use crate::client_session::{Free, IntoScope, Scope};
use crate::encode::{ToBson, append_document, is_bson};
use crate::error::{Error, ErrorKind, Result};
use crate::event::OperationId;
use crate::object_id::IdGenerator;
use crate::op::{Operation, OperationKind, QueuedWrite, Rules, WriteQueue, execute};
use crate::results::{BulkWriteResult, InsertManyResult, PartialBulkWriteResult};

impl<T: ToBson, S: Scope> Collection<T, S> {
    /// Inserts all documents of an iterator. A document without an `_id` gets one, an `ObjectId`.
    ///
    /// The documents are sent in batches of about 1 MiB ([`batch_bytes`](InsertMany::batch_bytes)), and are not collected:
    /// the iterator is read while the action runs, and needs not end in memory. It may use the same client.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let documents = (0..1_000_000).map(|n| doc! { "n": n });
    /// let result = things.insert_many(documents).count_only().run()?;
    /// println!("{} inserted", result.inserted_count);
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn insert_many<I>(&self, documents: I) -> InsertMany<I::IntoIter, S>
    where
        I: IntoIterator,
        I::Item: Borrow<T>,
    {
        self.insert_all(documents.into_iter(), |document, bytes| {
            append_document(document.borrow(), "the document", bytes)
        })
    }

    /// Inserts all documents of an iterator that can fail, such as the lines of a file.
    ///
    /// An error of the iterator ends the operation: the complete batches before it have been sent, the documents since then
    /// are not. The error has the kind [`ErrorKind::Source`], and that of the iterator as its source;
    /// [`WriteFailure::stopped_at`](crate::results::WriteFailure::stopped_at) is the index of the document.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use std::io::{BufRead, stdin};
    ///
    /// let lines = client.database("shop").collection::<Document>("lines");
    /// let documents = stdin().lock().lines().map(|line| line.map(|line| doc! { "line": line }));
    /// lines.try_insert_many(documents).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn try_insert_many<I, D, E>(&self, documents: I) -> InsertMany<I::IntoIter, S>
    where
        I: IntoIterator<Item = Result<D, E>>,
        D: Borrow<T>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.insert_all(documents.into_iter(), |document, bytes| match document {
            Ok(document) => append_document(document.borrow(), "the document", bytes),
            Err(error) => Err(Error::of_source(error.into())),
        })
    }

    fn insert_all<I: Iterator>(
        &self,
        documents: I,
        encode: fn(I::Item, &mut Vec<u8>) -> Result<()>,
    ) -> InsertMany<I, S> {
        InsertMany {
            action: self.action(),
            documents,
            encode,
            keeps_null: is_bson::<T>(),
            is_ordered: true,
            batch_bytes: BATCH_BYTES,
            keeps_ids: true,
            kept_failures: None,
        }
    }
}

/// The default size of a batch: 1 MiB.
const BATCH_BYTES: usize = 1 << 20;

/// The action of [`Collection::insert_many`] and [`Collection::try_insert_many`].
#[must_use = "an action does nothing until it is run"]
pub struct InsertMany<I: Iterator, S = Free> {
    action: Action<S>,
    documents: I,
    /// Appends a document of the source.
    encode: fn(I::Item, &mut Vec<u8>) -> Result<()>,
    /// True if a null `_id` stays.
    keeps_null: bool,
    is_ordered: bool,
    batch_bytes: usize,
    keeps_ids: bool,
    kept_failures: Option<usize>,
}

impl<I: Iterator, S: Scope> InsertMany<I, S> {
    action::common_setters!();
    action::write_setters!();
    action::option_fields! {
        /// Sets whether the documents may violate the rules of the collection.
        bypass_document_validation: bool => "bypassDocumentValidation";
    }

    /// Sets whether the operation ends at the first document that the server rejects. Default: true. Without an order all
    /// documents are tried, and the error has all that were rejected.
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.is_ordered = ordered;
        self
    }

    /// Sets the size in bytes at which a batch is sent. Default: 1 MiB. A batch is smaller if the server takes less in one
    /// message (usually 48 MB and 100,000 documents).
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Leaves `inserted_ids` of the result empty. So the memory that is needed does not depend on the number of documents.
    pub fn count_only(mut self) -> Self {
        self.keeps_ids = false;
        self
    }

    /// Keeps no more than this number of rejected documents in the error, and only counts the others
    /// ([`unlisted_errors`](crate::results::WriteFailure::unlisted_errors)). Default: all are kept.
    pub fn keep_failures(mut self, limit: usize) -> Self {
        self.kept_failures = Some(limit);
        self
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> InsertMany<I, S2::Scope> {
        InsertMany {
            action: self.action.within(scope.into_scope()),
            documents: self.documents,
            encode: self.encode,
            keeps_null: self.keeps_null,
            is_ordered: self.is_ordered,
            batch_bytes: self.batch_bytes,
            keeps_ids: self.keeps_ids,
            kept_failures: self.kept_failures,
        }
    }

    /// Reads the source, sends its documents, and returns the `_id`s. `timeoutMS` limits the sending of each batch; the
    /// time of the source does not count.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the source is empty; [`ErrorKind::Source`] if it fails; [`ErrorKind::Bson`] if a
    /// document cannot be encoded; [`ErrorKind::TooLarge`] if one is larger than a message; [`ErrorKind::Write`] if the
    /// server rejects documents or does not acknowledge them as required; otherwise those of
    /// [`Database::run_command`](crate::Database::run_command). If documents have been inserted or rejected before,
    /// [`Error::bulk_failure`] and [`Error::write_failure`] have them.
    pub fn run(self) -> Result<InsertManyResult> {
        let mut run = Inserter::new(self.action, self.is_ordered, self.keeps_ids);
        if let Some(limit) = self.kept_failures {
            run.progress.keep_errors(limit);
        }
        run.insert_all(
            self.documents,
            self.encode,
            self.batch_bytes,
            self.keeps_null,
        )?;
        run.progress.result.inserted_ids = run.inserted_ids.into_iter().flatten().collect();
        let outcome = run.progress.finish(PartialBulkWriteResult::Collection);
        let result = run.action.transformed(outcome)?;
        Ok(InsertManyResult {
            inserted_count: result.inserted_count,
            inserted_ids: result.inserted_ids,
            acknowledged: result.acknowledged,
        })
    }
}

impl<I: Iterator, S> fmt::Debug for InsertMany<I, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InsertMany")
            .field("ordered", &self.is_ordered)
            .finish_non_exhaustive()
    }
}

/// Inserts documents in batches.
pub(crate) struct Inserter<S> {
    action: Action<S>,
    /// The current batch.
    queue: RefCell<WriteQueue>,
    progress: Progress<BulkWriteResult>,
    /// All commands have the same number of the operation.
    id: OperationId,
    is_ordered: bool,
    /// The ID of each inserted document by its index, in order, unless the program does not want them. A map that is made
    /// of all of them at the end costs half as much as one that grows with each.
    inserted_ids: Option<Vec<(usize, Bson)>>,
}

impl<T, S: Scope> Collection<T, S> {
    /// Returns what inserts the documents of a stream, in order.
    pub(crate) fn inserter(&self) -> Inserter<S> {
        Inserter::new(self.action(), true, false)
    }
}

impl<S: Scope> Inserter<S> {
    fn new(action: Action<S>, is_ordered: bool, keeps_ids: bool) -> Self {
        let mut progress = Progress::<BulkWriteResult>::default();
        progress.result.acknowledged = action.write_concern().is_acknowledged();
        let mut queue = WriteQueue::new("documents");
        queue.set_rules(Rules {
            is_ordered,
            checks_sizes: !progress.result.acknowledged,
        });
        Self {
            action,
            queue: RefCell::new(queue),
            progress,
            id: OperationId::default(),
            is_ordered,
            inserted_ids: keeps_ids.then(Vec::new),
        }
    }

    /// The current batch.
    pub(crate) fn queue(&mut self) -> &mut WriteQueue {
        self.queue.get_mut()
    }

    /// Sends the current batch.
    ///
    /// # Errors
    /// If a document is not inserted, or not acknowledged as required. Then documents may be left in the batch.
    pub(crate) fn send_batch(&mut self) -> Result<()> {
        self.send();
        let mut next = Progress::<BulkWriteResult>::default();
        next.result.acknowledged = self.progress.result.acknowledged;
        let progress = std::mem::replace(&mut self.progress, next);
        self.id = OperationId::default();
        let outcome = progress.finish(PartialBulkWriteResult::Collection);
        self.action.transformed(outcome).map(drop)
    }

    /// Inserts the documents, until one of them ends the operation. What happened is in the progress.
    ///
    /// # Errors
    /// If there is no document, or an option is wrong.
    fn insert_all<I: Iterator>(
        &mut self,
        documents: I,
        encode: fn(I::Item, &mut Vec<u8>) -> Result<()>,
        batch_bytes: usize,
        keeps_null: bool,
    ) -> Result<()> {
        // A wrong option or name is an error before the source is read.
        self.action.command("insert", &[])?;
        let mut ids = IdGenerator::new();
        let mut has_document = false;
        for (index, document) in documents.enumerate() {
            has_document = true;
            let write = QueuedWrite {
                index,
                is_multi: false,
                namespace: 0,
            };
            // The source may have forked.
            ids = ids.in_this_process();
            let added = self.queue.get_mut().push(write, |bytes| {
                append_with_id(bytes, ids, keeps_null, |bytes| encode(document, bytes))
            });
            if let Err(error) = added {
                self.progress.fail(error.of_document(index));
                self.progress.stopped_at(index);
                return Ok(());
            }
            if self.queue.get_mut().is_full(batch_bytes) {
                self.send();
                if self.progress.is_over(self.is_ordered) {
                    return Ok(());
                }
                ids = IdGenerator::new();
            }
        }
        if !has_document {
            return Err(Error::invalid_argument("insert_many needs a document"));
        }
        self.send();
        Ok(())
    }

    /// Sends the batch.
    fn send(&mut self) {
        while let Some(next) = self.queue.get_mut().next() {
            if self.progress.is_over(self.is_ordered) {
                break;
            }
            if let Err(error) = self.send_once() {
                if error.kind() == ErrorKind::TooLarge {
                    self.progress.stopped_at(next.index);
                }
                self.progress.fail(error);
            }
        }
    }

    /// Sends the documents of the batch that the server takes at once.
    fn send_once(&mut self) -> Result<()> {
        let (reply, labels) = self.run_command()?;
        if self.progress.result.acknowledged {
            let mut reply = WriteReply::read(&reply)?;
            reply.add_labels(labels);
            self.read(reply).map_err(unknown)?;
        }
        self.queue.get_mut().advance();
        Ok(())
    }

    fn run_command(&self) -> Result<(RawDocumentBuf, Vec<String>)> {
        let own = [(cstr!("ordered"), RawBsonRef::Boolean(self.is_ordered))];
        let command = self.action.command("insert", &own)?;
        let write = OperationKind::RetryableWrite;
        let operation = Operation {
            queue: Some(&self.queue),
            ..self.action.write(&command, &self.id, write)
        };
        let outcome = execute::run(self.action.client(), &operation, &mut ());
        match self.action.transformed(outcome) {
            Ok((reply, _connection)) => Ok((reply, Vec::new())),
            Err(error) => replied(error),
        }
    }

    /// Adds the reply to a command to the result.
    fn read(&mut self, mut reply: WriteReply) -> Result<()> {
        let queue = self.queue.borrow();
        reply.check_sent(Sent {
            writes: queue.chosen_count(),
            is_ordered: self.is_ordered,
            is_update: false,
            documents: Some(Documents::OneEach),
        })?;
        let result = &mut self.progress.result;
        result.inserted_count += reply.n;
        let failed: BTreeSet<usize> = reply.errors.iter().map(|error| error.index).collect();
        if let Some(ids) = &mut self.inserted_ids {
            let made = match (self.is_ordered, failed.first()) {
                (true, Some(first)) => *first,
                _ => usize::MAX,
            };
            for (position, (write, document)) in queue.chosen().enumerate().take(made) {
                if !failed.contains(&position) {
                    ids.push((write.index, id_of(document)?));
                }
            }
        }
        if reply.n > 0 {
            self.progress.succeeded();
            self.progress.wrote();
        }
        let write_of = |index| queue.chosen_write(index).ok_or_else(unknown_write);
        self.progress.add_errors(&mut reply, write_of)
    }
}
