//! Bulk writes to one collection: `insert`, `update` and `delete` with as many writes as a server takes at once ("CRUD API",
//! "Bulk Write").
//!
//! Each kind of command has a queue. An ordered bulk sends the models in their order, so each command takes models of one
//! kind up to the next model of another. An unordered bulk sends one queue after the other.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use bson::raw::CStr;
use bson::{Document, RawBsonRef, cstr};

use super::Collection;
use super::action::{self, Action};
use super::document_id::id_of;
use super::model::{
    DeleteModel, LastModel, ModelWriter, ReplaceOneModel, UpdateManyModel, UpdateOneModel,
    append_insert,
};
use super::progress::Progress;
use super::write::{Documents, Sent, WriteReply, replied, unknown, unknown_write};
use crate::client_session::{Free, IntoScope, Scope, session_of};
use crate::encode::{OptionFields, ToBson};
use crate::error::{Error, Result};
use crate::event::OperationId;
use crate::op::{
    Operation, OperationKind, OperationSession, QueuedWrite, Rules, TimeLimit, WriteQueue, execute,
};
use crate::results::{BulkWriteResult, PartialBulkWriteResult};
use crate::time::TimeoutMs;

impl<T, S: Scope> Collection<T, S> {
    /// Starts a bulk write: many writes to this collection with few commands. Models are added one by one and encoded at
    /// once, and [`run`](Bulk::run) sends them in batches that the server accepts.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let mut bulk = things.bulk();
    /// bulk.insert_one(doc! { "name": "bolt", "count": 5 });
    /// bulk.update_one(doc! { "name": "nut" }, doc! { "$inc": { "count": 1 } }).upsert(true);
    /// bulk.delete_many(doc! { "count": 0 });
    /// let result = bulk.run()?;
    /// println!("{} inserted, {} deleted", result.inserted_count, result.deleted_count);
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn bulk(&self) -> Bulk<T, S> {
        Bulk {
            action: self.action(),
            is_ordered: true,
            bypass_document_validation: None,
            variables: OptionFields::default(),
            flush_at: None,
            keeps_ids: true,
            inserts: RefCell::new(WriteQueue::new(INSERT.sequence)),
            updates: RefCell::new(WriteQueue::new(UPDATE.sequence)),
            deletes: RefCell::new(WriteQueue::new(DELETE.sequence)),
            models: 0,
            scratch: Vec::new(),
            id: OperationId::default(),
            progress: Progress::default(),
            documents: PhantomData,
        }
    }
}

/// A bulk write to one collection; see [`Collection::bulk`]. Set its options before the first model is added.
#[must_use = "a bulk write does nothing until it is run"]
pub struct Bulk<T = Document, S = Free> {
    action: Action<S>,
    is_ordered: bool,
    bypass_document_validation: Option<bool>,
    /// The option `let`.
    variables: OptionFields,
    flush_at: Option<usize>,
    keeps_ids: bool,
    inserts: RefCell<WriteQueue>,
    updates: RefCell<WriteQueue>,
    deletes: RefCell<WriteQueue>,
    /// The number of models so far.
    models: usize,
    /// Memory for encoding.
    scratch: Vec<u8>,
    id: OperationId,
    progress: Progress<BulkWriteResult>,
    documents: PhantomData<fn(T)>,
}

/// A command that a bulk uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CommandKind {
    name: &'static str,
    /// The field with the writes.
    sequence: &'static str,
}

const INSERT: CommandKind = CommandKind {
    name: "insert",
    sequence: "documents",
};
const UPDATE: CommandKind = CommandKind {
    name: "update",
    sequence: "updates",
};
const DELETE: CommandKind = CommandKind {
    name: "delete",
    sequence: "deletes",
};

/// The wire version of MongoDB 4.4, which brought the hint of deletions.
const HINT_OF_DELETE: i32 = 9;

/// The models that can be added.
impl<T, S: Scope> Bulk<T, S> {
    /// Inserts a document. If it has no `_id`, the driver creates one, an `ObjectId`.
    pub fn insert_one(&mut self, document: impl Borrow<T>)
    where
        T: ToBson,
    {
        self.add(INSERT, false, |bytes, _| {
            append_insert(document.borrow(), bytes)
        });
    }

    /// Updates the first document that matches the filter. The update is a document whose keys are operators (`$set`), or
    /// an aggregation pipeline.
    pub fn update_one(&mut self, filter: impl ToBson, update: impl ToBson) -> UpdateOneModel<'_> {
        UpdateOneModel(self.add_update(&filter, &update, false))
    }

    /// Updates all documents that match the filter, as [`update_one`](Self::update_one) updates one. A command with this
    /// model is not retried after a network error.
    pub fn update_many(&mut self, filter: impl ToBson, update: impl ToBson) -> UpdateManyModel<'_> {
        UpdateManyModel(self.add_update(&filter, &update, true))
    }

    /// Replaces the first document that matches the filter. Its `_id` stays.
    pub fn replace_one(
        &mut self,
        filter: impl ToBson,
        replacement: impl Borrow<T>,
    ) -> ReplaceOneModel<'_>
    where
        T: ToBson,
    {
        let added = self.add(UPDATE, false, |bytes, _| {
            let mut writer = ModelWriter::begin(bytes);
            writer.filter(cstr!("q"), &filter)?;
            writer.replacement(cstr!("u"), replacement.borrow())?;
            writer.end()
        });
        ReplaceOneModel(added)
    }

    /// Deletes the first document that matches the filter.
    pub fn delete_one(&mut self, filter: impl ToBson) -> DeleteModel<'_> {
        DeleteModel(self.add_delete(&filter, false))
    }

    /// Deletes all documents that match the filter. A command with this model is not retried after a network error.
    pub fn delete_many(&mut self, filter: impl ToBson) -> DeleteModel<'_> {
        DeleteModel(self.add_delete(&filter, true))
    }

    fn add_update(
        &mut self,
        filter: &impl ToBson,
        update: &impl ToBson,
        is_multi: bool,
    ) -> LastModel<'_> {
        self.add(UPDATE, is_multi, |bytes, scratch| {
            let mut writer = ModelWriter::begin(bytes);
            writer.filter(cstr!("q"), filter)?;
            writer.update(cstr!("u"), update, scratch)?;
            if is_multi {
                writer.boolean(cstr!("multi"), true);
            }
            writer.end()
        })
    }

    fn add_delete(&mut self, filter: &impl ToBson, is_multi: bool) -> LastModel<'_> {
        self.add(DELETE, is_multi, |bytes, _| {
            let mut writer = ModelWriter::begin(bytes);
            writer.filter(cstr!("q"), filter)?;
            writer.int32(cstr!("limit"), if is_multi { 0 } else { 1 });
            writer.end()
        })
    }

    /// Adds a model, unless the bulk is over. Sends the models before it if they take enough memory.
    fn add(
        &mut self,
        kind: CommandKind,
        is_multi: bool,
        encode: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> Result<()>,
    ) -> LastModel<'_> {
        if self.flush_at.is_some_and(|limit| self.size() >= limit) {
            self.send();
        }
        let index = self.models;
        self.models += 1;
        let queue = match kind {
            INSERT => self.inserts.get_mut(),
            UPDATE => self.updates.get_mut(),
            _ => self.deletes.get_mut(),
        };
        let mut start = None;
        if !self.progress.is_over(self.is_ordered) {
            let end = queue.end();
            let write = QueuedWrite {
                index,
                is_multi,
                namespace: 0,
            };
            match queue.push(write, |bytes| encode(bytes, &mut self.scratch)) {
                Ok(()) => start = Some(end),
                Err(error) => self.progress.fail(error),
            }
        }
        LastModel {
            queue,
            failure: self.progress.failure_mut(),
            start,
        }
    }
}

impl<T, S: Scope> Bulk<T, S> {
    action::common_setters!();
    action::write_setters!();

    /// Sets whether the writes are made in the order of the models, up to the first that fails. Default: true. Without an
    /// order, all writes are tried, and the models are sorted by kind, so that fewer commands are needed.
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.is_ordered = ordered;
        self
    }

    /// Sets whether documents may violate the rules of the collection.
    pub fn bypass_document_validation(mut self, bypass: bool) -> Self {
        self.bypass_document_validation = Some(bypass);
        self
    }

    /// Sets variables that filters and pipelines can use as `$$name`. Servers have them from MongoDB 5.0 on.
    pub fn let_vars(mut self, variables: impl ToBson) -> Self {
        self.variables.set_document(cstr!("let"), &variables);
        self
    }

    /// Sets the size in bytes at which the models so far are sent, when the next one is added. Default: no model is sent
    /// before [`run`](Self::run). So a bulk of any number of models needs the memory of one batch. The error of a batch is
    /// returned by `run`, and models that are added after it are not encoded. `timeoutMS` limits each sending.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let mut bulk = things.bulk().flush_at(1 << 20);
    /// for n in 0..1_000_000 {
    ///     bulk.update_one(doc! { "_id": n }, doc! { "$inc": { "count": 1 } });
    /// }
    /// println!("{} matched", bulk.run()?.matched_count);
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn flush_at(mut self, bytes: usize) -> Self {
        self.flush_at = Some(bytes);
        self
    }

    /// Leaves `inserted_ids` of the result empty, which saves memory in large bulks.
    pub fn count_only(mut self) -> Self {
        self.keeps_ids = false;
        self
    }

    /// Runs the bulk in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> Bulk<T, S2::Scope> {
        Bulk {
            action: self.action.within(scope.into_scope()),
            is_ordered: self.is_ordered,
            bypass_document_validation: self.bypass_document_validation,
            variables: self.variables,
            flush_at: self.flush_at,
            keeps_ids: self.keeps_ids,
            inserts: self.inserts,
            updates: self.updates,
            deletes: self.deletes,
            models: self.models,
            scratch: self.scratch,
            id: self.id,
            progress: self.progress,
            documents: PhantomData,
        }
    }

    /// Sends the models that have not been sent, and returns the result of all.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if there is no model, or one is wrong; [`ErrorKind::Bson`](crate::ErrorKind::Bson) if
    /// one cannot be encoded; [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) if one is larger than a message;
    /// [`ErrorKind::Write`](crate::ErrorKind::Write) if the server rejects writes or does not acknowledge them as
    /// required; otherwise those of [`Database::run_command`](crate::Database::run_command). If writes have succeeded or failed
    /// before, [`Error::bulk_failure`] and [`Error::write_failure`] have them.
    pub fn run(mut self) -> Result<BulkWriteResult> {
        if self.models == 0 {
            return Err(Error::invalid_argument("a bulk write needs a model"));
        }
        self.send();
        let result = self.progress.finish(PartialBulkWriteResult::Collection);
        self.action.transformed(result)
    }

    /// Sends all models so far, unless the bulk is over.
    fn send(&mut self) {
        if !self.progress.is_over(self.is_ordered) {
            if let Err(error) = self.try_send() {
                self.progress.fail(error);
            }
        }
        if self.progress.is_over(self.is_ordered) {
            for queue in [&mut self.inserts, &mut self.updates, &mut self.deletes] {
                queue.get_mut().clear();
            }
        }
    }

    fn try_send(&mut self) -> Result<()> {
        let is_acknowledged = self.action.write_concern().is_acknowledged();
        self.progress.result.acknowledged = is_acknowledged;
        for queue in [&mut self.inserts, &mut self.updates, &mut self.deletes] {
            queue.get_mut().set_rules(Rules {
                is_ordered: self.is_ordered,
                checks_sizes: !is_acknowledged,
            });
        }
        let of_client = || TimeoutMs::of_client(self.action.client().options());
        let timeout = self.action.timeout_ms().or_else(of_client);
        let limit = timeout.map_or(TimeLimit::OfClient, |it| TimeLimit::Until(it.begin()));
        while let Some(kind) = self.next_kind() {
            let (reply, labels) = self.run_command(kind, limit, is_acknowledged)?;
            if is_acknowledged {
                let mut reply = WriteReply::read(&reply)?;
                reply.add_labels(labels);
                self.read(kind, reply).map_err(unknown)?;
            }
            self.queue(kind).borrow_mut().advance();
            if self.progress.is_over(self.is_ordered) {
                break;
            }
        }
        Ok(())
    }

    /// The kind of the next command: that of the next model, or without an order that of any model.
    fn next_kind(&self) -> Option<CommandKind> {
        let next = |kind| Some((self.queue(kind).borrow().next()?.index, kind));
        let mut kinds = [INSERT, UPDATE, DELETE].into_iter().filter_map(next);
        let next = match self.is_ordered {
            true => kinds.min_by_key(|(index, _)| *index),
            false => kinds.next(),
        };
        next.map(|(_, kind)| kind)
    }

    fn queue(&self, kind: CommandKind) -> &RefCell<WriteQueue> {
        match kind {
            INSERT => &self.inserts,
            UPDATE => &self.updates,
            _ => &self.deletes,
        }
    }

    fn size(&self) -> usize {
        let queues = [&self.inserts, &self.updates, &self.deletes];
        queues.map(|queue| queue.borrow().size()).iter().sum()
    }

    /// Runs one command, with the models that the server takes at once.
    fn run_command(
        &self,
        kind: CommandKind,
        limit: TimeLimit,
        is_acknowledged: bool,
    ) -> Result<(bson::RawDocumentBuf, Vec<String>)> {
        let own = self.own_fields(kind)?;
        let command = self.action.command(kind.name, &own)?;
        let session = session_of(&self.action.scope);
        let (session, retries) = match (is_acknowledged, session) {
            (true, session) => (OperationSession::of(session), OperationKind::RetryableWrite),
            (false, None) => (OperationSession::Omitted, OperationKind::Write),
            (false, Some(_)) => {
                return Err(Error::invalid_argument(
                    "an unacknowledged write cannot run in a session",
                ));
            }
        };
        // An older server ignores the hint of a deletion, and could not report an error ("CRUD API", "Hint").
        let needs_hint = !is_acknowledged && kind == DELETE && self.queue(kind).borrow().has_hint();
        let operation = Operation {
            min_wire_version: if needs_hint { HINT_OF_DELETE } else { 0 },
            queue: Some(self.queue(kind)),
            limit,
            session,
            ..self.action.write(&command, &self.id, retries)
        };
        match execute::run(self.action.client(), &operation, &mut ()) {
            Ok((reply, _)) => Ok((reply, Vec::new())),
            Err(error) => replied(error),
        }
    }

    /// The fields of the command, besides the options that each command has.
    fn own_fields(&self, kind: CommandKind) -> Result<Vec<(&'static CStr, RawBsonRef<'_>)>> {
        let mut own = vec![(cstr!("ordered"), RawBsonRef::Boolean(self.is_ordered))];
        let bypass = self.bypass_document_validation.filter(|_| kind != DELETE);
        if let Some(bypass) = bypass {
            own.push((
                cstr!("bypassDocumentValidation"),
                RawBsonRef::Boolean(bypass),
            ));
        }
        self.variables.check()?;
        if let Some(variables) = self.variables.get(cstr!("let")).filter(|_| kind != INSERT) {
            own.push((cstr!("let"), variables));
        }
        Ok(own)
    }

    /// Adds the reply of a command to the result.
    fn read(&mut self, kind: CommandKind, mut reply: WriteReply) -> Result<()> {
        let queue = match kind {
            INSERT => &self.inserts,
            UPDATE => &self.updates,
            _ => &self.deletes,
        };
        let queue = queue.borrow();
        reply.check_sent(Sent {
            writes: queue.chosen_count(),
            is_ordered: self.is_ordered,
            is_update: kind == UPDATE,
            documents: Some(match kind {
                INSERT => Documents::OneEach,
                _ if queue.has_multi() => Documents::Any,
                _ => Documents::AtMostOneEach,
            }),
        })?;
        let result = &mut self.progress.result;
        let write_of = |index| {
            let write = queue.chosen_write(index);
            write.ok_or_else(unknown_write)
        };
        let upserted = reply.upserted.len() as u64;
        match kind {
            INSERT => result.inserted_count += reply.n,
            UPDATE => {
                result.matched_count += reply.n.saturating_sub(upserted);
                result.modified_count += reply.n_modified;
                result.upserted_count += upserted;
            }
            _ => result.deleted_count += reply.n,
        }
        for (index, id) in std::mem::take(&mut reply.upserted) {
            result.upserted_ids.insert(write_of(index)?.index, id);
        }
        let failed: BTreeSet<usize> = reply.errors.iter().map(|error| error.index).collect();
        let first_failed = failed.first().copied();
        if kind == INSERT && self.keeps_ids {
            let made = match (self.is_ordered, first_failed) {
                (true, Some(first)) => first,
                _ => usize::MAX,
            };
            for (position, (write, document)) in queue.chosen().enumerate().take(made) {
                if !failed.contains(&position) {
                    result.inserted_ids.insert(write.index, id_of(document)?);
                }
            }
        }
        let has_success = match (self.is_ordered, first_failed) {
            (_, None) => true,
            (true, Some(first)) => first > 0,
            (false, Some(_)) => failed.len() < queue.chosen_count(),
        };
        if has_success {
            self.progress.succeeded();
        }
        // An update that matches nothing, or changes nothing, succeeds.
        let written = match kind {
            UPDATE => reply.n_modified + upserted,
            _ => reply.n,
        };
        if written > 0 {
            self.progress.wrote();
        }
        self.progress.add_errors(&mut reply, write_of)
    }
}

impl<T, S> fmt::Debug for Bulk<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk")
            .field("ordered", &self.is_ordered)
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}
