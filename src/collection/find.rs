//! `find`: reads the documents that match a filter ("CRUD API", "Read"; "Find, getMore and killCursors").

use std::marker::PhantomData;
use std::time::Duration;

use bson::raw::{CStr, RawDocument};
use bson::{Document, RawBsonRef, RawDocumentBuf, cstr};
#[cfg(feature = "serde")]
use serde::de::DeserializeOwned;

use super::Collection;
use super::action::{self, Action, CursorCommand};
use crate::client_session::{Free, IntoScope, Scope};
use crate::cursor::Cursor;
use crate::encode::{ToBson, to_document};
use crate::error::{Error, Result};
use crate::op::CursorTiming;
use crate::options::{CursorTimeoutMode, CursorType, Verbosity};

impl<T, S: Scope> Collection<T, S> {
    /// Finds the documents that match `filter`, as values of type `T`. An empty filter matches all documents.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<mongotls::bson::Document>("things");
    /// for thing in things.find(doc! { "kind": "bolt" }).sort(doc! { "n": 1 }).limit(10).run()? {
    ///     println!("{}", thing?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn find(&self, filter: impl ToBson) -> Find<T, S> {
        Find {
            action: self.action(),
            filter: to_document(&filter, "the filter"),
            timing: CursorTiming::default(),
            limit: 0,
            batch_size: None,
            documents: PhantomData,
        }
    }

    /// Finds the first document that matches `filter`, in the order of the server unless `sort` is set.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<mongotls::bson::Document>("things");
    /// if let Some(thing) = things.find_one(doc! { "_id": 1 }).run()? {
    ///     println!("{thing}");
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn find_one(&self, filter: impl ToBson) -> FindOne<T, S> {
        FindOne {
            action: self.action(),
            filter: to_document(&filter, "the filter"),
            documents: PhantomData,
        }
    }
}

/// The action of [`Collection::find`].
#[must_use = "an action does nothing until it is run"]
pub struct Find<T, S = Free> {
    action: Action<S>,
    filter: Result<RawDocumentBuf>,
    timing: CursorTiming,
    limit: i64,
    batch_size: Option<u32>,
    documents: PhantomData<fn() -> T>,
}

action::redacted_debug!(Find<T, S>);

impl<T, S: Scope> Find<T, S> {
    action::common_setters!();
    action::read_setters!();
    action::option_fields! {
        /// Sets the order of the documents, such as `{ n: 1 }`.
        sort: document => "sort";
        /// Sets the fields that are returned, such as `{ name: 1 }`.
        projection: document => "projection";
        /// Sets the number of documents that are left out at the beginning.
        skip: u64 => "skip";
        /// Sets the index that the server must use.
        hint: hint => "hint";
        /// Sets the rules for comparing text.
        collation: collation => "collation";
        /// Sets variables for expressions in the filter.
        let_vars: document => "let";
        /// Sets the exclusive upper bound of an index; it needs a hint.
        max: document => "max";
        /// Sets the inclusive lower bound of an index; it needs a hint.
        min: document => "min";
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
        /// Sets whether the server may use files for large sorts.
        allow_disk_use: bool => "allowDiskUse";
        /// Sets whether a sharded cluster may return partial results when shards do not answer.
        allow_partial_results: bool => "allowPartialResults";
        /// Sets whether the cursor stays open without a time limit.
        no_cursor_timeout: bool => "noCursorTimeout";
        /// Sets whether only the keys of the index are returned.
        return_key: bool => "returnKey";
        /// Sets whether each document gets its position on disk in a field `$recordId`.
        show_record_id: bool => "showRecordId";
    }
}

impl<T, S: Scope> Find<T, S> {
    /// Sets the number of documents to return. Zero means all. A negative number is an error of the server.
    pub fn limit(mut self, limit: i64) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the number of documents in each batch. Default: 0, which leaves it to the server.
    pub fn batch_size(mut self, documents: u32) -> Self {
        self.batch_size = Some(documents);
        self
    }

    /// Sets the type of the cursor. Default: [`CursorType::NonTailable`].
    pub fn cursor_type(mut self, cursor_type: CursorType) -> Self {
        self.timing.cursor_type = cursor_type;
        self
    }

    /// Sets how long the server waits for documents before it answers a further batch with an empty one, in milliseconds
    /// on the wire. Only for [`CursorType::TailableAwait`].
    pub fn max_await_time(mut self, limit: Duration) -> Self {
        self.timing.max_await_time = Some(limit);
        self
    }

    /// Sets the scope of `timeoutMS`. Default: the lifetime of the cursor, or each iteration if it is tailable.
    pub fn timeout_mode(mut self, mode: CursorTimeoutMode) -> Self {
        self.timing.timeout_mode = Some(mode);
        self
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> Find<T, S2::Scope> {
        Find {
            action: self.action.within(scope.into_scope()),
            filter: self.filter,
            timing: self.timing,
            limit: self.limit,
            batch_size: self.batch_size,
            documents: PhantomData,
        }
    }

    /// The fields of the command, besides the options that are stored as fields.
    fn own_fields<'a>(&self, filter: &'a RawDocument) -> Vec<(&'static CStr, RawBsonRef<'a>)> {
        let mut own = vec![(cstr!("filter"), RawBsonRef::Document(filter))];
        if self.limit != 0 {
            own.push((
                cstr!("limit"),
                RawBsonRef::Int64(self.limit.saturating_abs()),
            ));
        }
        if self.limit < 0 {
            own.push((cstr!("singleBatch"), RawBsonRef::Boolean(true)));
        }
        // A batch that is exactly full would leave a cursor open that has no documents ("Combining Limit and Batch Size").
        let batch_size = self.batch_size.map(i64::from);
        if let Some(size) = batch_size {
            let size = if size > 0 && size == self.limit {
                size + 1
            } else {
                size
            };
            own.push((cstr!("batchSize"), RawBsonRef::Int64(size)));
        }
        match self.timing.cursor_type {
            CursorType::NonTailable | CursorType::Exhaust => {}
            CursorType::Tailable => own.push((cstr!("tailable"), RawBsonRef::Boolean(true))),
            CursorType::TailableAwait => {
                own.push((cstr!("tailable"), RawBsonRef::Boolean(true)));
                own.push((cstr!("awaitData"), RawBsonRef::Boolean(true)));
            }
        }
        own
    }

    /// Returns the server's explanation of this operation, which describes the plan that it chooses. With
    /// [`Verbosity::QueryPlanner`] the operation does not run.
    ///
    /// # Errors
    /// As [`run`](Self::run), except for errors of documents.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::options::Verbosity;
    ///
    /// let things = client.database("shop").collection::<Document>("things");
    /// let plan = things.find(doc! { "kind": "bolt" }).explain(Verbosity::ExecutionStats)?;
    /// println!("{plan}");
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn explain(self, verbosity: Verbosity) -> Result<Document> {
        let filter = self.filter.as_deref().map_err(Error::clone)?;
        let own = self.own_fields(filter);
        self.action.explain("find", &own, verbosity)
    }

    /// Sends the command and returns a cursor of the documents.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if
    /// the filter or an option cannot be sent; otherwise those of
    /// [`Database::run_command`](crate::Database::run_command).
    pub fn run(self) -> Result<Cursor<T, S>> {
        let filter = self.filter.as_deref().map_err(Error::clone)?;
        let own = self.own_fields(filter);
        let opened = self
            .action
            .open_cursor(CursorCommand::Read, "find", &own, self.timing)?;
        let mut timing = self.timing;
        // Other cursors ignore it: the server rejects it ("Semantics of maxTimeMS for a Driver").
        if timing.cursor_type != CursorType::TailableAwait {
            timing.max_await_time = None;
        }
        self.action.into_cursor(opened, timing, self.batch_size)
    }
}

/// The action of [`Collection::find_one`].
#[must_use = "an action does nothing until it is run"]
pub struct FindOne<T, S = Free> {
    action: Action<S>,
    filter: Result<RawDocumentBuf>,
    documents: PhantomData<fn() -> T>,
}

action::redacted_debug!(FindOne<T, S>);

impl<T, S: Scope> FindOne<T, S> {
    action::common_setters!();
    action::read_setters!();
    action::option_fields! {
        /// Sets the order in which the first document is chosen, such as `{ n: 1 }`.
        sort: document => "sort";
        /// Sets the fields that are returned, such as `{ name: 1 }`.
        projection: document => "projection";
        /// Sets the number of documents that are left out at the beginning.
        skip: u64 => "skip";
        /// Sets the index that the server must use.
        hint: hint => "hint";
        /// Sets the rules for comparing text.
        collation: collation => "collation";
        /// Sets variables for expressions in the filter.
        let_vars: document => "let";
        /// Sets the exclusive upper bound of an index; it needs a hint.
        max: document => "max";
        /// Sets the inclusive lower bound of an index; it needs a hint.
        min: document => "min";
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
        /// Sets whether the server may use files for large sorts.
        allow_disk_use: bool => "allowDiskUse";
        /// Sets whether a sharded cluster may return a partial result when shards do not answer.
        allow_partial_results: bool => "allowPartialResults";
        /// Sets whether only the keys of the index are returned.
        return_key: bool => "returnKey";
        /// Sets whether the document gets its position on disk in a field `$recordId`.
        show_record_id: bool => "showRecordId";
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> FindOne<T, S2::Scope> {
        FindOne {
            action: self.action.within(scope.into_scope()),
            filter: self.filter,
            documents: PhantomData,
        }
    }

    /// Sends the command and returns the document as the server sent it.
    ///
    /// # Errors
    /// As [`Find::run`].
    pub fn run_raw(self) -> Result<Option<RawDocumentBuf>> {
        self.first_document(|document| Ok(document.to_owned()))
    }

    /// Sends the command, and converts the document where it lies in the reply.
    fn first_document<R>(
        self,
        convert: impl FnOnce(&RawDocument) -> Result<R>,
    ) -> Result<Option<R>> {
        let filter = self.filter?;
        let own = own_fields(&filter);
        self.action.first_document("find", &own, convert)
    }

    /// Returns the server's explanation of this operation, which describes the plan that it chooses. With
    /// [`Verbosity::QueryPlanner`] the operation does not run.
    ///
    /// # Errors
    /// As [`run_raw`](Self::run_raw), except for errors of documents.
    pub fn explain(self, verbosity: Verbosity) -> Result<Document> {
        let filter = self.filter?;
        self.action.explain("find", &own_fields(&filter), verbosity)
    }
}

#[cfg(feature = "serde")]
impl<T: DeserializeOwned + 'static, S: Scope> FindOne<T, S> {
    /// Sends the command and returns the document, if one matches.
    ///
    /// # Errors
    /// As [`Find::run`], and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if the document is not a `T`.
    pub fn run(self) -> Result<Option<T>> {
        self.first_document(|document| crate::document::to_typed_result(document, None))
    }
}

#[cfg(not(feature = "serde"))]
impl<S: Scope> FindOne<bson::Document, S> {
    /// Sends the command and returns the document, if one matches.
    ///
    /// # Errors
    /// As [`Find::run`].
    pub fn run(self) -> Result<Option<bson::Document>> {
        self.first_document(crate::document::to_document)
    }
}

/// The fields of a `find` that returns one document.
fn own_fields(filter: &RawDocument) -> [(&'static CStr, RawBsonRef<'_>); 3] {
    [
        (cstr!("filter"), RawBsonRef::Document(filter)),
        (cstr!("limit"), RawBsonRef::Int32(1)),
        (cstr!("singleBatch"), RawBsonRef::Boolean(true)),
    ]
}
