//! Bulk writes to any collections of a deployment: the command `bulkWrite` of MongoDB 8.0 ("Bulk Write").
//!
//! The results of the single writes are documents of a cursor. It is read to its end, because errors are among them.

mod reply;

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBsonRef, RawDocumentBuf, cstr};

use self::reply::Counts;
use crate::cancel::Canceller;
use crate::client::Client;
use crate::client_session::{Free, IntoScope, Scope, ScopedClient, is_in_transaction, session_of};
use crate::collection::{
    DeleteModel, LastModel, ModelWriter, Namespace, Progress, ReplaceOneModel, UpdateManyModel,
    UpdateOneModel, id_of, malformed_reply, unknown_write, with_unknown_outcome,
};
use crate::cursor::Cursor;
use crate::data::hello::integer;
use crate::document::reply_to_document;
use crate::encode::{OptionFields, ToBson};
use crate::error::{Error, Result};
use crate::event::OperationId;
use crate::op::run_command::Opened;
use crate::op::{
    CursorFields, CursorReply, CursorTiming, HasDeployment, Operation, OperationKind,
    OperationSession, OwnOptions, QueuedWrite, Rules, WriteQueue, execute, is_limited,
    transformed_write,
};
use crate::options::{WriteConcern, collection_name_problem, database_name_problem};
use crate::results::{
    DeleteResult, InsertOneResult, SummaryBulkWriteResult, UpdateResult, VerboseBulkWriteResult,
    WriteError,
};
use crate::time::{TimeoutKind, TimeoutMs};

impl Client {
    /// Starts a bulk write: many writes to any collections, with few commands. Models are added one by one and encoded at
    /// once, and [`run`](ClientBulk::run) sends them in batches that the server accepts. It needs MongoDB 8.0; for older
    /// servers use [`Collection::bulk`](crate::Collection::bulk).
    ///
    /// ```no_run
    /// use mongotls::Namespace;
    /// use mongotls::bson::doc;
    ///
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let (things, log) = (Namespace::new("shop", "things"), Namespace::new("shop", "log"));
    /// let mut bulk = client.bulk();
    /// bulk.update_one(&things, doc! { "name": "bolt" }, doc! { "$inc": { "count": -1 } });
    /// bulk.insert_one(&log, doc! { "sold": "bolt" });
    /// let result = bulk.run()?;
    /// println!("{} changed, {} inserted", result.modified_count, result.inserted_count);
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn bulk(&self) -> ClientBulk {
        ClientBulk::new(self.clone(), Free)
    }
}

impl<S: Scope> ScopedClient<S> {
    /// Starts a bulk write in the session, as [`Client::bulk`] does outside of one.
    pub fn bulk(&self) -> ClientBulk<S> {
        ClientBulk::new(self.client.clone(), self.scope.clone())
    }
}

/// A bulk write to any collections; see [`Client::bulk`]. Set its options before the first model is added.
///
/// `R` is the type of the result: [`SummaryBulkWriteResult`], or [`VerboseBulkWriteResult`] after
/// [`verbose_results`](Self::verbose_results).
#[must_use = "a bulk write does nothing until it is run"]
pub struct ClientBulk<S = Free, R = SummaryBulkWriteResult> {
    client: Client,
    scope: S,
    is_ordered: bool,
    is_verbose: bool,
    /// The other options that are fields of the command.
    options: OptionFields,
    raw_data: Option<bool>,
    timeout: Option<Duration>,
    write_concern: Option<WriteConcern>,
    flush_at: Option<usize>,
    queue: RefCell<WriteQueue>,
    /// The namespace of the last model, with its index.
    last_namespace: Option<(Namespace, u32)>,
    /// The number of models so far.
    models: usize,
    /// Memory for encoding.
    scratch: Vec<u8>,
    id: OperationId,
    progress: Progress<VerboseBulkWriteResult>,
    result: PhantomData<fn() -> R>,
}

/// The result of a bulk write of a client.
pub trait ClientBulkResult: sealed::FromVerbose {}

impl ClientBulkResult for SummaryBulkWriteResult {}
impl ClientBulkResult for VerboseBulkWriteResult {}

mod sealed {
    use crate::results::{PartialBulkWriteResult, SummaryBulkWriteResult, VerboseBulkWriteResult};

    /// The part of [`ClientBulkResult`](super::ClientBulkResult) that programs do not see.
    pub trait FromVerbose: Sized {
        fn from_verbose(verbose: VerboseBulkWriteResult) -> Self;
        fn partial(verbose: VerboseBulkWriteResult) -> PartialBulkWriteResult;
    }

    impl FromVerbose for SummaryBulkWriteResult {
        fn from_verbose(verbose: VerboseBulkWriteResult) -> Self {
            verbose.summary
        }

        fn partial(verbose: VerboseBulkWriteResult) -> PartialBulkWriteResult {
            PartialBulkWriteResult::Summary(verbose.summary)
        }
    }

    impl FromVerbose for VerboseBulkWriteResult {
        fn from_verbose(verbose: VerboseBulkWriteResult) -> Self {
            verbose
        }

        fn partial(verbose: VerboseBulkWriteResult) -> PartialBulkWriteResult {
            PartialBulkWriteResult::Verbose(verbose)
        }
    }
}

/// The wire version of MongoDB 8.0, which brought `bulkWrite`.
const BULK_WRITE: i32 = 25;

impl<S: Scope> ClientBulk<S> {
    fn new(client: Client, scope: S) -> Self {
        Self {
            client,
            scope,
            is_ordered: true,
            is_verbose: false,
            options: OptionFields::default(),
            raw_data: None,
            timeout: None,
            write_concern: None,
            flush_at: None,
            queue: RefCell::new(WriteQueue::new("ops")),
            last_namespace: None,
            models: 0,
            scratch: Vec::new(),
            id: OperationId::default(),
            progress: Progress::default(),
            result: PhantomData,
        }
    }

    /// Requests the result of each successful write, next to the counts.
    ///
    /// ```no_run
    /// # use mongotls::Namespace;
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let mut bulk = client.bulk().verbose_results();
    /// bulk.insert_one(Namespace::new("shop", "things"), doc! { "name": "bolt" });
    /// let result = bulk.run()?;
    /// println!("{}", result.insert_results[&0].inserted_id);
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn verbose_results(self) -> ClientBulk<S, VerboseBulkWriteResult> {
        let scope = self.scope.clone();
        ClientBulk {
            is_verbose: true,
            ..self.convert(scope)
        }
    }
}

/// The models that can be added.
impl<S: Scope, R: ClientBulkResult> ClientBulk<S, R> {
    /// Inserts a document. If it has no `_id`, the driver creates one, an `ObjectId`.
    pub fn insert_one(&mut self, namespace: impl Borrow<Namespace>, document: impl ToBson) {
        self.add(namespace.borrow(), false, |bytes, number, _| {
            let mut writer = ModelWriter::begin(bytes);
            writer.int32(cstr!("insert"), number);
            writer.insert(cstr!("document"), &document)?;
            writer.end()
        });
    }

    /// Updates the first document that matches the filter. The update is a document whose keys are operators (`$set`), or
    /// an aggregation pipeline.
    pub fn update_one(
        &mut self,
        namespace: impl Borrow<Namespace>,
        filter: impl ToBson,
        update: impl ToBson,
    ) -> UpdateOneModel<'_> {
        UpdateOneModel(self.add_update(namespace.borrow(), &filter, &update, false))
    }

    /// Updates all documents that match the filter, as [`update_one`](Self::update_one) updates one. A command with this
    /// model is not retried after a network error.
    pub fn update_many(
        &mut self,
        namespace: impl Borrow<Namespace>,
        filter: impl ToBson,
        update: impl ToBson,
    ) -> UpdateManyModel<'_> {
        UpdateManyModel(self.add_update(namespace.borrow(), &filter, &update, true))
    }

    /// Replaces the first document that matches the filter. Its `_id` stays.
    pub fn replace_one(
        &mut self,
        namespace: impl Borrow<Namespace>,
        filter: impl ToBson,
        replacement: impl ToBson,
    ) -> ReplaceOneModel<'_> {
        let added = self.add(namespace.borrow(), false, |bytes, number, _| {
            let mut writer = ModelWriter::begin(bytes);
            writer.int32(cstr!("update"), number);
            writer.filter(cstr!("filter"), &filter)?;
            writer.replacement(cstr!("updateMods"), &replacement)?;
            writer.boolean(cstr!("multi"), false);
            writer.end()
        });
        ReplaceOneModel(added)
    }

    /// Deletes the first document that matches the filter.
    pub fn delete_one(
        &mut self,
        namespace: impl Borrow<Namespace>,
        filter: impl ToBson,
    ) -> DeleteModel<'_> {
        DeleteModel(self.add_delete(namespace.borrow(), &filter, false))
    }

    /// Deletes all documents that match the filter. A command with this model is not retried after a network error.
    pub fn delete_many(
        &mut self,
        namespace: impl Borrow<Namespace>,
        filter: impl ToBson,
    ) -> DeleteModel<'_> {
        DeleteModel(self.add_delete(namespace.borrow(), &filter, true))
    }

    fn add_update(
        &mut self,
        namespace: &Namespace,
        filter: &impl ToBson,
        update: &impl ToBson,
        is_multi: bool,
    ) -> LastModel<'_> {
        self.add(namespace, is_multi, |bytes, number, scratch| {
            let mut writer = ModelWriter::begin(bytes);
            writer.int32(cstr!("update"), number);
            writer.filter(cstr!("filter"), filter)?;
            writer.update(cstr!("updateMods"), update, scratch)?;
            writer.boolean(cstr!("multi"), is_multi);
            writer.end()
        })
    }

    fn add_delete(
        &mut self,
        namespace: &Namespace,
        filter: &impl ToBson,
        is_multi: bool,
    ) -> LastModel<'_> {
        self.add(namespace, is_multi, |bytes, number, _| {
            let mut writer = ModelWriter::begin(bytes);
            writer.int32(cstr!("delete"), number);
            writer.filter(cstr!("filter"), filter)?;
            writer.boolean(cstr!("multi"), is_multi);
            writer.end()
        })
    }

    /// Adds a model, unless the bulk is over. Sends the models before it if they take enough memory. `encode` gets a number
    /// for the namespace, which the queue replaces.
    fn add(
        &mut self,
        namespace: &Namespace,
        is_multi: bool,
        encode: impl FnOnce(&mut Vec<u8>, i32, &mut Vec<u8>) -> Result<()>,
    ) -> LastModel<'_> {
        let size = self.queue.get_mut().size();
        if self.flush_at.is_some_and(|limit| size >= limit) {
            self.send();
        }
        let index = self.models;
        self.models += 1;
        let mut start = None;
        if !self.progress.is_over(self.is_ordered) {
            let end = self.queue.get_mut().end();
            match self.try_add(namespace, index, is_multi, encode) {
                Ok(()) => start = Some(end),
                Err(error) => self.progress.fail(error),
            }
        }
        LastModel {
            queue: self.queue.get_mut(),
            failure: self.progress.failure_mut(),
            start,
        }
    }

    fn try_add(
        &mut self,
        namespace: &Namespace,
        index: usize,
        is_multi: bool,
        encode: impl FnOnce(&mut Vec<u8>, i32, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let write = QueuedWrite {
            index,
            is_multi,
            namespace: self.index_of(namespace)?,
        };
        let queue = self.queue.get_mut();
        queue.push(write, |bytes| encode(bytes, 0, &mut self.scratch))
    }

    /// The index of a namespace in the queue.
    fn index_of(&mut self, namespace: &Namespace) -> Result<u32> {
        match &self.last_namespace {
            Some((last, index)) if last == namespace => Ok(*index),
            _ => {
                let problem = database_name_problem(&namespace.db);
                let problem = problem.or_else(|| collection_name_problem(&namespace.coll));
                if let Some(problem) = problem {
                    return Err(Error::invalid_argument(problem));
                }
                let index = self.queue.get_mut().namespace(&namespace.to_string());
                self.last_namespace = Some((namespace.clone(), index));
                Ok(index)
            }
        }
    }
}

impl<S: Scope, R: ClientBulkResult> ClientBulk<S, R> {
    /// Calls a setter if there is a value: `bulk.optional(comment, |bulk, comment| bulk.comment(comment))`.
    pub fn optional<V>(self, value: Option<V>, set: impl FnOnce(Self, V) -> Self) -> Self {
        match value {
            Some(value) => set(self, value),
            None => self,
        }
    }

    /// Sets whether the writes are made in the order of the models, up to the first that fails. Default: true. A bulk
    /// without acknowledgement cannot be ordered.
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.is_ordered = ordered;
        self
    }

    /// Sets whether documents may violate the rules of their collections.
    pub fn bypass_document_validation(mut self, bypass: bool) -> Self {
        self.options.set(cstr!("bypassDocumentValidation"), bypass);
        self
    }

    /// Sets variables that filters and pipelines can use as `$$name`.
    pub fn let_vars(mut self, variables: impl ToBson) -> Self {
        self.options.set_document(cstr!("let"), &variables);
        self
    }

    /// Sets a comment, which the logs and the profile of the server show. Any value.
    pub fn comment(mut self, comment: impl ToBson) -> Self {
        self.options.set_value(cstr!("comment"), &comment);
        self
    }

    /// Sets whether time-series collections are written in their internal form. Servers before MongoDB 8.2 do not have
    /// this option and get the command without it.
    pub fn raw_data(mut self, raw_data: bool) -> Self {
        self.raw_data = Some(raw_data);
        self
    }

    /// Sets the write concern. Default: that of the client. Without acknowledgement (`w: 0`) the bulk must not be ordered
    /// or have verbose results.
    pub fn write_concern(mut self, concern: WriteConcern) -> Self {
        self.write_concern = Some(concern);
        self
    }

    /// Sets `timeoutMS` of the bulk: the limit for all commands, in all. Default: `timeoutMS` of the client. Zero means no
    /// limit. See the [guide](crate::guide::timeouts).
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Sets an instant after which nothing is sent for the bulk. It works like `timeoutMS`, and the earlier limit counts. See
    /// [`Client::until`].
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.client = self.client.until(deadline);
        self
    }

    /// Ends the bulk when `canceller` is used on another thread. See [`Client::cancelled_by`].
    pub fn cancelled_by(mut self, canceller: &Canceller) -> Self {
        self.client = self.client.cancelled_by(canceller);
        self
    }

    /// Sets the size in bytes at which the models so far are sent, when the next one is added. Default: no model is sent
    /// before [`run`](Self::run). So a bulk of any number of models needs the memory of one batch. The error of a batch is
    /// returned by `run`, and models that are added after it are not encoded. `timeoutMS` limits each sending.
    pub fn flush_at(mut self, bytes: usize) -> Self {
        self.flush_at = Some(bytes);
        self
    }

    /// Runs the bulk in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> ClientBulk<S2::Scope, R> {
        self.convert(scope.into_scope())
    }

    /// The same bulk in another scope, with another type of the result.
    fn convert<S2, R2>(self, scope: S2) -> ClientBulk<S2, R2> {
        ClientBulk {
            client: self.client,
            scope,
            is_ordered: self.is_ordered,
            is_verbose: self.is_verbose,
            options: self.options,
            raw_data: self.raw_data,
            timeout: self.timeout,
            write_concern: self.write_concern,
            flush_at: self.flush_at,
            queue: self.queue,
            last_namespace: self.last_namespace,
            models: self.models,
            scratch: self.scratch,
            id: self.id,
            progress: self.progress,
            result: PhantomData,
        }
    }

    /// Sends the models that have not been sent, and returns the result of all.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if there is no model, one is wrong, or the server
    /// is older than MongoDB 8.0; [`ErrorKind::Bson`](crate::ErrorKind::Bson) if a model cannot be encoded;
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) if one is larger than a message;
    /// [`ErrorKind::Write`](crate::ErrorKind::Write) if the server rejects writes or does not acknowledge them as
    /// required; otherwise those of [`Database::run_command`](crate::Database::run_command). If writes have succeeded or failed
    /// before, [`Error::bulk_failure`] and [`Error::write_failure`] have them.
    pub fn run(mut self) -> Result<R> {
        if self.models == 0 {
            return Err(Error::invalid_argument("a bulk write needs a model"));
        }
        self.send();
        let is_limited = {
            let deployment = self.client.deployment();
            is_limited(self.timeout_ms(), deployment.options, deployment.bounds)
        };
        let result = self.progress.finish(R::partial).map(R::from_verbose);
        transformed_write(result, is_limited)
    }

    /// Sends all models so far, unless the bulk is over.
    fn send(&mut self) {
        if !self.progress.is_over(self.is_ordered) {
            if let Err(error) = self.try_send() {
                self.progress.fail(error);
            }
        }
        if self.progress.is_over(self.is_ordered) {
            self.queue.get_mut().clear();
        }
    }

    fn try_send(&mut self) -> Result<()> {
        let of_client = &self.client.options().write_concern;
        let concern = match &self.write_concern {
            Some(concern) => concern.clone(),
            // In a transaction that of the client does not apply.
            None if is_in_transaction(&self.scope) => WriteConcern::default(),
            None => of_client.clone(),
        };
        let is_acknowledged = concern.is_acknowledged();
        self.check_unacknowledged(is_acknowledged)?;
        self.progress.result.summary.acknowledged = is_acknowledged;
        self.queue.get_mut().set_rules(Rules {
            is_ordered: false,
            checks_sizes: !is_acknowledged,
        });
        let command = self.command()?;
        let (limit, max_time, cursor_timeout) = {
            let bounds = self.client.deployment().bounds;
            CursorTiming::default().begin(self.timeout_ms(), bounds)?
        };
        while self.queue.get_mut().next().is_some() {
            let (session, kind) = match is_acknowledged {
                true => (
                    OperationSession::of(session_of(&self.scope)),
                    OperationKind::RetryableWrite,
                ),
                false => (OperationSession::Omitted, OperationKind::Write),
            };
            let operation = Operation {
                queue: Some(&self.queue),
                kind,
                session,
                limit,
                max_time,
                write_concern: Some(&concern),
                own: OwnOptions {
                    write_concern: self.write_concern.is_some(),
                    timeout: self.timeout.is_some(),
                    ..OwnOptions::default()
                },
                raw_data: self.raw_data,
                min_wire_version: BULK_WRITE,
                ..Operation::new("admin", &command, &self.id)
            };
            let mut fields = CursorFields::of_first_batch();
            let (reply, connection) = execute::run(&self.client, &operation, &mut fields)?;
            if is_acknowledged {
                let opened = Opened {
                    reply: CursorReply::new(reply, fields),
                    connection,
                    timeout: cursor_timeout,
                    id: self.id.same(),
                };
                self.read(opened).map_err(with_unknown_outcome)?;
            }
            self.queue.get_mut().advance();
            if self.progress.is_over(self.is_ordered) {
                break;
            }
        }
        Ok(())
    }

    /// `timeoutMS` of the bulk or of the client.
    fn timeout_ms(&self) -> Option<TimeoutMs> {
        let of_bulk = self.timeout.map(|limit| TimeoutMs {
            limit,
            kind: TimeoutKind::Operation,
        });
        of_bulk.or_else(|| TimeoutMs::of_client(self.client.options()))
    }

    /// Rejects what a bulk without acknowledgement cannot do.
    fn check_unacknowledged(&self, is_acknowledged: bool) -> Result<()> {
        let problem = match () {
            () if is_acknowledged => return Ok(()),
            () if self.is_verbose => {
                "Cannot request unacknowledged write concern and verbose results"
            }
            () if self.is_ordered => {
                "Cannot request unacknowledged write concern and ordered writes"
            }
            () if session_of(&self.scope).is_some() => {
                "an unacknowledged write cannot run in a session"
            }
            () => return Ok(()),
        };
        Err(Error::invalid_argument(problem))
    }

    /// The command without the writes.
    fn command(&self) -> Result<RawDocumentBuf> {
        let mut command = bson::rawdoc! {
            "bulkWrite": 1,
            "errorsOnly": !self.is_verbose,
            "ordered": self.is_ordered,
        };
        let options = self
            .options
            .check()?
            .into_iter()
            .flat_map(RawDocument::iter);
        for (key, value) in options.map_while(std::result::Result::ok) {
            command.append(key, value);
        }
        Ok(command)
    }

    /// Adds the reply of a command, and the results in its cursor, to the result.
    fn read(&mut self, opened: Opened) -> Result<()> {
        let reply = opened.reply.reply();
        let counts = Counts::read(reply)?;
        let queue = self.queue.get_mut();
        if !counts.fits(queue, self.is_ordered) {
            let text = "the reply counts documents that do not fit the writes";
            return Err(Error::protocol(text));
        }
        let sent = queue.chosen_count();
        let summary = &mut self.progress.result.summary;
        for (total, count) in [
            (&mut summary.inserted_count, counts.inserted),
            (&mut summary.upserted_count, counts.upserted),
            (&mut summary.matched_count, counts.matched),
            (&mut summary.modified_count, counts.modified),
            (&mut summary.deleted_count, counts.deleted),
        ] {
            *total = total.saturating_add(count);
        }
        let has_written = counts.has_written();
        if has_written {
            self.progress.wrote();
        }
        let is_complete = counts.errors == 0 || !self.is_ordered && counts.errors < sent as u64;
        if has_written || counts.matched > 0 || is_complete {
            self.progress.succeeded();
        }
        self.progress.read_concern_error(reply)?;
        let (client, scope) = (self.client.clone(), self.scope.clone());
        let mut cursor: Cursor<Document, S> =
            Cursor::open(client, scope, opened, CursorTiming::default())?;
        let documents = Documents::of(self.queue.get_mut(), self.is_verbose);
        let (mut seen, mut failed) = (BTreeSet::new(), 0);
        while cursor.advance()? {
            let (position, has_failed) = self.read_result(cursor.current(), &documents)?;
            if !seen.insert(position) {
                return Err(malformed_reply("one result of each write"));
            }
            failed += u64::from(has_failed);
            if self.progress.is_over(self.is_ordered) {
                break;
            }
        }
        let expected = match self.is_ordered {
            true if failed > 0 => seen.last().map_or(0, |last| last + 1),
            _ => sent,
        };
        if failed != counts.errors || self.is_verbose && seen.len() != expected {
            return Err(malformed_reply("the result of a write"));
        }
        Ok(())
    }

    /// Adds the result of one write. Returns its position in the command, and whether the write failed.
    fn read_result(
        &mut self,
        result: &RawDocument,
        documents: &Documents,
    ) -> Result<(usize, bool)> {
        let number = |key: &str| result.get(key).ok().flatten().and_then(integer);
        let position = number("idx").and_then(|index| usize::try_from(index).ok());
        let position = position.ok_or_else(unknown_write)?;
        let queue = self.queue.get_mut();
        let write = queue.chosen_write(position).ok_or_else(unknown_write)?;
        match number("ok") {
            Some(1) => {}
            Some(0) if number("code").is_some() => {
                let error = WriteError::read(write.index, reply_to_document(result)?);
                self.progress.add_error(error, write.index, write.is_multi);
                // The writes before that of an ordered bulk have succeeded.
                if self.is_ordered && position > 0 {
                    self.progress.succeeded();
                }
                return Ok((position, true));
            }
            _ => return Err(malformed_reply("a result with \"ok\"")),
        }
        self.progress.succeeded();
        if !self.is_verbose {
            return Ok((position, false));
        }
        let count = |key| {
            let count = number(key).and_then(|n| u64::try_from(n).ok());
            let count = count.filter(|n| *n <= 1 || write.is_multi);
            count.ok_or_else(|| malformed_reply("a number of documents"))
        };
        let document = documents.get(queue, position).ok_or_else(unknown_write)?;
        let kind = document.iter().next().and_then(std::result::Result::ok);
        let results = &mut self.progress.result;
        match kind.map_or("", |(key, _)| key.as_str()) {
            "insert" => {
                let inserted = document.get_document("document").map_err(invalid)?;
                let inserted_id = id_of(inserted)?;
                if count("n")? != 1 {
                    return Err(malformed_reply("an inserted document"));
                }
                let result = InsertOneResult {
                    inserted_id,
                    acknowledged: true,
                };
                results.insert_results.insert(write.index, result);
            }
            "update" => {
                let upserted = match result.get("upserted").map_err(invalid)? {
                    Some(RawBsonRef::Document(upserted)) => upserted.get("_id").map_err(invalid)?,
                    _ => None,
                };
                let upserted_id = upserted.map(Bson::try_from).transpose().map_err(invalid)?;
                let result = UpdateResult {
                    matched_count: count("n")?,
                    modified_count: count("nModified")?,
                    upserted_id,
                    acknowledged: true,
                };
                results.update_results.insert(write.index, result);
            }
            _ => {
                let deleted_count = count("n")?;
                let result = DeleteResult {
                    deleted_count,
                    acknowledged: true,
                };
                results.delete_results.insert(write.index, result);
            }
        }
        Ok((position, false))
    }
}

fn invalid(error: impl Into<bson::error::Error>) -> Error {
    Error::bson("the server's answer is not valid BSON", error.into())
}

/// The positions of the writes of a command, if their results are needed.
struct Documents(Vec<usize>);

impl Documents {
    fn of(queue: &WriteQueue, is_needed: bool) -> Self {
        Self(match is_needed {
            true => queue.chosen_positions(),
            false => Vec::new(),
        })
    }

    fn get<'a>(&self, queue: &'a WriteQueue, index: usize) -> Option<&'a RawDocument> {
        queue.document_at(*self.0.get(index)?)
    }
}

impl<S, R> fmt::Debug for ClientBulk<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBulk")
            .field("ordered", &self.is_ordered)
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}
