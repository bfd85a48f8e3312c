//! `aggregate`: runs a pipeline on a collection or on a database ("CRUD API", "Read").

use std::marker::PhantomData;
use std::time::Duration;

use bson::{Document, RawArrayBuf, RawBsonRef, RawDocumentBuf, cstr};

use super::Collection;
use super::action::{self, Action, CursorCommand};
use super::write::unknown;
use crate::client_session::{Free, IntoScope, Scope};
use crate::cursor::Cursor;
use crate::database::Database;
use crate::encode::{ToBson, to_document};
use crate::error::{Error, Result};
use crate::op::CursorTiming;
use crate::options::{CursorTimeoutMode, Verbosity};

impl<T, S: Scope> Collection<T, S> {
    /// Runs an aggregation pipeline: a sequence of stages, each a document. Its results are of type [`Document`], unless
    /// [`with_type`](Aggregate::with_type) sets another one.
    ///
    /// A pipeline that ends with `$out` or `$merge` writes its results to a collection, and the cursor is empty. It then
    /// has the write concern of the collection, and it is not retried. Servers before MongoDB 5.0 run it on the primary.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let count_by_kind = [doc! { "$group": { "_id": "$kind", "n": { "$sum": 1 } } }];
    /// for group in things.aggregate(count_by_kind).run()? {
    ///     println!("{}", group?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn aggregate(
        &self,
        pipeline: impl IntoIterator<Item = impl ToBson>,
    ) -> Aggregate<Document, S> {
        Aggregate::new(self.action(), pipeline)
    }
}

impl<S: Scope> Database<S> {
    /// Runs an aggregation pipeline that begins with a stage without a collection, such as `$currentOp` or `$documents`.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let stages = [doc! { "$currentOp": {} }, doc! { "$limit": 5 }];
    /// for operation in client.database("admin").aggregate(stages).run()? {
    ///     println!("{}", operation?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn aggregate(
        &self,
        pipeline: impl IntoIterator<Item = impl ToBson>,
    ) -> Aggregate<Document, S> {
        Aggregate::new(Action::of_database(self), pipeline)
    }
}

/// The action of [`Collection::aggregate`] and [`Database::aggregate`].
#[must_use = "an action does nothing until it is run"]
pub struct Aggregate<T = Document, S = Free> {
    action: Action<S>,
    pipeline: Result<Pipeline>,
    timing: CursorTiming,
    batch_size: Option<u32>,
    documents: PhantomData<fn() -> T>,
}

action::redacted_debug!(Aggregate<T, S>);

impl<T, S> Aggregate<T, S> {
    pub(super) fn new(action: Action<S>, pipeline: impl IntoIterator<Item = impl ToBson>) -> Self {
        Self {
            action,
            pipeline: Pipeline::new(pipeline),
            timing: CursorTiming::default(),
            batch_size: None,
            documents: PhantomData,
        }
    }
}

impl<T, S: Scope> Aggregate<T, S> {
    action::common_setters!();
    action::read_setters!();
    action::write_setters!();
    action::option_fields! {
        /// Sets the index that the server must use.
        hint: hint => "hint";
        /// Sets the rules for comparing text.
        collation: collation => "collation";
        /// Sets variables for expressions in the pipeline.
        let_vars: document => "let";
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
        /// Sets whether the server may use files for large stages.
        allow_disk_use: bool => "allowDiskUse";
        /// Sets whether documents that `$out` or `$merge` writes may violate the rules of their collection.
        bypass_document_validation: bool => "bypassDocumentValidation";
    }

    /// Sets the number of documents in each batch. Default: it is left to the server. A pipeline that writes has no
    /// batches, and is sent without it.
    pub fn batch_size(mut self, documents: u32) -> Self {
        self.batch_size = Some(documents);
        self
    }

    /// Sets how long the server waits for documents before it answers a further batch with an empty one, in milliseconds
    /// on the wire. Servers accept it only for pipelines that wait for documents.
    pub fn max_await_time(mut self, limit: Duration) -> Self {
        self.timing.max_await_time = Some(limit);
        self
    }

    /// Sets the scope of `timeoutMS`. Default: the lifetime of the cursor. A pipeline that writes accepts no other one.
    pub fn timeout_mode(mut self, mode: CursorTimeoutMode) -> Self {
        self.timing.timeout_mode = Some(mode);
        self
    }

    /// Sets the type of the results.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// #[derive(serde::Deserialize)]
    /// struct Group {
    ///     #[serde(rename = "_id")]
    ///     kind: String,
    ///     n: i64,
    /// }
    ///
    /// let things = client.database("shop").collection::<Document>("things");
    /// let stages = [doc! { "$group": { "_id": "$kind", "n": { "$sum": 1 } } }];
    /// for group in things.aggregate(stages).with_type::<Group>().run()? {
    ///     let group = group?;
    ///     println!("{}: {}", group.kind, group.n);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn with_type<U>(self) -> Aggregate<U, S> {
        Aggregate {
            action: self.action,
            pipeline: self.pipeline,
            timing: self.timing,
            batch_size: self.batch_size,
            documents: PhantomData,
        }
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> Aggregate<T, S2::Scope> {
        Aggregate {
            action: self.action.within(scope.into_scope()),
            pipeline: self.pipeline,
            timing: self.timing,
            batch_size: self.batch_size,
            documents: PhantomData,
        }
    }

    /// Returns the server's explanation of this operation, which describes the plan that it chooses. With
    /// [`Verbosity::QueryPlanner`] the operation does not run.
    ///
    /// # Errors
    /// As [`run`](Self::run), except for errors of documents.
    pub fn explain(self, verbosity: Verbosity) -> Result<Document> {
        let pipeline = self.pipeline?;
        let cursor = RawDocumentBuf::new();
        let own = [
            (cstr!("pipeline"), RawBsonRef::Array(&pipeline.stages)),
            (cstr!("cursor"), RawBsonRef::Document(&cursor)),
        ];
        self.action.explain("aggregate", &own, verbosity)
    }

    /// Sends the command and returns a cursor of the results.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if
    /// the pipeline or an option cannot be sent; [`ErrorKind::Write`](crate::ErrorKind::Write) if a pipeline that writes is
    /// not acknowledged as required; otherwise those of [`Database::run_command`].
    pub fn run(self) -> Result<Cursor<T, S>> {
        let pipeline = self.pipeline?;
        let kind = match pipeline.writes {
            true if self.timing.timeout_mode == Some(CursorTimeoutMode::Iteration) => {
                return Err(Error::invalid_argument(
                    "an aggregation with $out or $merge has no timeout for each iteration",
                ));
            }
            true => CursorCommand::ReadAndWrite,
            false => CursorCommand::Read,
        };
        let mut cursor = RawDocumentBuf::new();
        // A batch size of zero would prevent the pipeline from writing.
        if let Some(size) = self.batch_size.filter(|_| !pipeline.writes) {
            cursor.append(cstr!("batchSize"), i64::from(size));
        }
        let own = [
            (cstr!("pipeline"), RawBsonRef::Array(&pipeline.stages)),
            (cstr!("cursor"), RawBsonRef::Document(&cursor)),
        ];
        let opened = self
            .action
            .open_cursor(kind, "aggregate", &own, self.timing)?;
        let cursor = self
            .action
            .into_cursor(opened, self.timing, self.batch_size);
        match pipeline.writes {
            true => cursor.map_err(unknown),
            false => cursor,
        }
    }
}

/// An encoded pipeline.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) stages: RawArrayBuf,
    /// True if the last stage is `$out` or `$merge`.
    writes: bool,
}

impl Pipeline {
    /// # Errors
    /// If a stage is not a document.
    pub(super) fn new(stages: impl IntoIterator<Item = impl ToBson>) -> Result<Self> {
        let mut pipeline = Self {
            stages: RawArrayBuf::new(),
            writes: false,
        };
        for stage in stages {
            let stage = to_document(&stage, "a stage of the pipeline")?;
            let first = stage.iter().next().and_then(std::result::Result::ok);
            let name = first.map(|(name, _)| name.as_str());
            pipeline.writes = matches!(name, Some("$out" | "$merge"));
            pipeline.stages.push(stage);
        }
        Ok(pipeline)
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn only_the_last_stage_writes() {
        let writes = |stages: Vec<Document>| Pipeline::new(stages).unwrap().writes;
        let merge = doc! { "$merge": { "into": "other" } };
        assert!(writes(vec![doc! { "$match": {} }, merge.clone()]));
        assert!(writes(vec![doc! { "$out": "other" }]));
        assert!(!writes(vec![merge, doc! { "$match": { "$out": 1 } }]));
        assert!(!writes(vec![]));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_stage_is_a_document() {
        let error = Pipeline::new([1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a stage of the pipeline cannot be encoded as BSON"
        );
    }
}
