//! The action that opens a change stream, and the aggregation that it sends.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bson::raw::CStr;
use bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf, Timestamp, cstr};

use super::position::Start;
use super::{ChangeStream, ResumeToken};
use crate::client_session::{Free, IntoScope, Scope};
use crate::collection::action::{self, Action, CursorCommand, Replaced};
use crate::cursor::Cursor;
use crate::encode::{ToBson, to_document};
use crate::error::Result;
use crate::op::CursorTiming;
use crate::op::run_command::Opened;
use crate::options::{CursorType, FullDocumentBeforeChangeType, FullDocumentType};

/// The action that opens a change stream: [`Collection::watch`](crate::Collection::watch),
/// [`Database::watch`](crate::Database::watch) and [`Client::watch`](crate::Client::watch).
///
/// The read concern must be `majority` or that of the server; servers reject others.
#[must_use = "an action does nothing until it is run"]
pub struct Watch<T, S = Free> {
    action: Action<S>,
    aggregation: Aggregation,
    start: Start,
    joins_parts: bool,
    events: PhantomData<fn() -> T>,
}

/// The aggregation of a stream, which is sent again when another cursor replaces the last one.
pub(super) struct Source<S> {
    pub(super) action: Action<S>,
    aggregation: Aggregation,
}

/// The parts of the aggregation that stay the same.
struct Aggregation {
    /// The options of the stage `$changeStream`, except for those that say where it starts.
    stage: RawDocumentBuf,
    /// The stages of the program, which follow it.
    pipeline: Result<Vec<RawDocumentBuf>>,
    batch_size: Option<u32>,
    timing: CursorTiming,
}

impl<T, S: Scope> Watch<T, S> {
    /// `of_cluster`: the changes of the whole deployment, by the database `admin`.
    pub(super) fn new(action: Action<S>, of_cluster: bool) -> Self {
        let mut stage = RawDocumentBuf::new();
        if of_cluster {
            stage.append(cstr!("allChangesForCluster"), true);
        }
        Self {
            action,
            aggregation: Aggregation {
                stage,
                pipeline: Ok(Vec::new()),
                batch_size: None,
                timing: CursorTiming {
                    cursor_type: CursorType::TailableAwait,
                    ..CursorTiming::default()
                },
            },
            start: Start::default(),
            joins_parts: false,
            events: PhantomData,
        }
    }

    /// Sets the stages that select and change events, such as `$match` and `$project`. They must keep the field `_id`. The
    /// server rejects stages that it does not support here. With `$project` read the stream
    /// [`with_type`](Self::with_type).
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let orders = client.database("shop").collection::<Document>("orders");
    /// let large = [doc! { "$match": { "fullDocument.total": { "$gt": 1000 } } }];
    /// for event in orders.watch().pipeline(large).run()? {
    ///     println!("{:?}", event?.full_document);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn pipeline(mut self, stages: impl IntoIterator<Item = impl ToBson>) -> Self {
        let stages = stages.into_iter();
        let stages = stages.map(|stage| to_document(&stage, "a stage of the pipeline"));
        self.aggregation.pipeline = stages.collect();
        self
    }

    action::optional_setter!();
    action::limit_setters!();
    action::read_setters!();
    action::option_fields! {
        /// Sets a comment of all commands of the stream, which the logs and the profile of the server show. Any value;
        /// servers before MongoDB 4.4 take only a text.
        comment: value => "comment";
        /// Sets the rules for comparing text in the pipeline.
        collation: collation => "collation";
    }

    /// Sets the document that update events include. Default: none, only the fields that have changed.
    pub fn full_document(self, kind: FullDocumentType) -> Self {
        self.stage(cstr!("fullDocument"), kind.as_str())
    }

    /// Sets whether events include the document before the change. Default: no.
    pub fn full_document_before_change(self, kind: FullDocumentBeforeChangeType) -> Self {
        self.stage(cstr!("fullDocumentBeforeChange"), kind.as_str())
    }

    /// Sets whether there are events for changes of collections and indexes, too. Default: false. From MongoDB 6.0.
    pub fn show_expanded_events(self, show: bool) -> Self {
        self.stage(cstr!("showExpandedEvents"), show)
    }

    fn stage<'a>(mut self, key: &CStr, value: impl Into<RawBsonRef<'a>>) -> Self {
        self.aggregation.stage.append(key, value.into());
        self
    }

    /// Sets the place at which the stream starts: behind the change of this token. The server rejects the token of an event
    /// `invalidate`; use [`start_after`](Self::start_after). Only one of the options for the start can be set.
    pub fn resume_after(mut self, token: impl Into<Option<ResumeToken>>) -> Self {
        self.start.resume_after = token.into();
        self
    }

    /// Sets the place at which the stream starts, as [`resume_after`](Self::resume_after) does. The token may be that of an
    /// event `invalidate`. From MongoDB 4.2.
    pub fn start_after(mut self, token: impl Into<Option<ResumeToken>>) -> Self {
        self.start.start_after = token.into();
        self
    }

    /// Sets the cluster time of the first changes that the stream reports. From MongoDB 4.0. The
    /// [operation time](crate::Session::operation_time) of a session is such a time.
    pub fn start_at_operation_time(mut self, time: Timestamp) -> Self {
        self.start.at_operation_time = Some(time);
        self
    }

    /// Sets how long the server waits for changes before it answers with an empty batch, in milliseconds on the wire. Default:
    /// that of the server, one second. It must be shorter than `timeoutMS`.
    pub fn max_await_time(mut self, limit: Duration) -> Self {
        self.aggregation.timing.max_await_time = Some(limit);
        self
    }

    /// Sets the number of events in each batch. Default: it is left to the server.
    pub fn batch_size(mut self, events: u32) -> Self {
        self.aggregation.batch_size = Some(events);
        self
    }

    /// Splits events that are larger than 16 MiB on the server, and joins their parts again. Without it such an event ends the
    /// stream. From MongoDB 6.0.9. It adds the stage `$changeStreamSplitLargeEvent` behind the pipeline.
    pub fn join_split_events(mut self) -> Self {
        self.joins_parts = true;
        self
    }

    /// Sets the type of the events.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let orders = client.database("shop").collection::<Document>("orders");
    /// for event in orders.watch().with_type::<Document>().run()? {
    ///     println!("{}", event?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn with_type<U>(self) -> Watch<U, S> {
        Watch {
            action: self.action,
            aggregation: self.aggregation,
            start: self.start,
            joins_parts: self.joins_parts,
            events: PhantomData,
        }
    }

    /// Runs the stream in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> Watch<T, S2::Scope> {
        Watch {
            action: self.action.within(scope.into_scope()),
            aggregation: self.aggregation,
            start: self.start,
            joins_parts: self.joins_parts,
            events: PhantomData,
        }
    }

    /// Opens the stream. `timeoutMS` is the limit of this call, and again of each iteration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if
    /// the pipeline or an option cannot be sent; otherwise those of
    /// [`Database::run_command`](crate::Database::run_command).
    pub fn run(self) -> Result<ChangeStream<T, S>> {
        let mut aggregation = self.aggregation;
        if self.joins_parts {
            let mut split = RawDocumentBuf::new();
            split.append(cstr!("$changeStreamSplitLargeEvent"), RawDocumentBuf::new());
            aggregation.pipeline = aggregation.pipeline.map(|mut stages| {
                stages.push(split);
                stages
            });
        }
        let source = Source {
            action: self.action,
            aggregation,
        };
        ChangeStream::open(source, self.start, self.joins_parts)
    }
}

impl<S: Scope> Source<S> {
    /// Sends the aggregation. `append_place` adds the options that say where the stream starts.
    pub(super) fn open(
        &self,
        append_place: impl FnOnce(&mut RawDocumentBuf),
        replaced: Replaced,
    ) -> Result<Opened> {
        let Aggregation {
            stage,
            pipeline,
            batch_size,
            timing,
        } = &self.aggregation;
        let mut options = stage.clone();
        append_place(&mut options);
        let mut first = RawDocumentBuf::new();
        first.append(cstr!("$changeStream"), options);
        let mut stages = RawArrayBuf::new();
        stages.push(first);
        let pipeline = pipeline.as_ref().map_err(Clone::clone)?;
        pipeline
            .iter()
            .for_each(|stage| stages.push(stage.as_ref()));
        let mut cursor = RawDocumentBuf::new();
        if let Some(size) = *batch_size {
            cursor.append(cstr!("batchSize"), i64::from(size));
        }
        let own = [
            (cstr!("pipeline"), RawBsonRef::Array(&stages)),
            (cstr!("cursor"), RawBsonRef::Document(&cursor)),
        ];
        let kind = CursorCommand::Read;
        self.action
            .replace_cursor(kind, "aggregate", &own, *timing, replaced)
    }

    /// The cursor that the aggregation has opened.
    pub(super) fn cursor(&self, opened: Opened) -> Result<Cursor<(), S>> {
        let action = self.action.clone();
        let Aggregation {
            timing, batch_size, ..
        } = &self.aggregation;
        action.into_cursor(opened, *timing, *batch_size)
    }
}

impl<T, S> fmt::Debug for Watch<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
