//! The action that opens a change stream.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bson::raw::CStr;
use bson::{RawBsonRef, RawDocumentBuf, Timestamp, cstr};

#[cfg(feature = "serde")]
use super::ChangeStreamEvent;
use super::position::Start;
use super::source::{Aggregation, Source};
use super::{ChangeStream, ResumeToken};
use crate::client::Client;
use crate::client_session::{Free, IntoScope, Scope, ScopedClient};
use crate::collection::Collection;
use crate::collection::action::{self, Action};
use crate::database::Database;
use crate::encode::{ToBson, to_document};
use crate::error::Result;
use crate::op::CursorTiming;
use crate::options::{CursorType, FullDocumentBeforeChangeType, FullDocumentType};

/// Declares the methods `watch`, whose events have a type only with the feature `serde`.
macro_rules! watch {
    ($(#[$doc:meta])* $self:ident, $document:ty, $scope:ty, $action:expr, $of_cluster:expr) => {
        $(#[$doc])*
        #[cfg(feature = "serde")]
        pub fn watch(&$self) -> Watch<ChangeStreamEvent<$document>, $scope> {
            Watch::new($action, $of_cluster)
        }

        $(#[$doc])*
        #[cfg(not(feature = "serde"))]
        pub fn watch(&$self) -> Watch<bson::Document, $scope> {
            Watch::new($action, $of_cluster)
        }
    };
}

impl<T, S: Scope> Collection<T, S> {
    watch! {
        /// Watches the changes of the collection, once the returned value is [run](Watch::run). It needs a replica set or a
        /// sharded cluster.
        ///
        /// Prefer this to an aggregation with `$changeStream`: the stream continues after failures.
        ///
        /// ```no_run
        /// # use mongotls::bson::Document;
        /// # let client = mongotls::Client::connect("mongodb://localhost")?;
        /// let things = client.database("shop").collection::<Document>("things");
        /// for event in things.watch().run()? {
        ///     let event = event?;
        ///     println!("{} {:?}", event.operation_type, event.document_key);
        /// }
        /// # Ok::<(), mongotls::Error>(())
        /// ```
        self, T, S, self.action(), false
    }
}

impl<S: Scope> Database<S> {
    watch! {
        /// Watches the changes of all collections of the database, once the returned value is [run](Watch::run). From
        /// MongoDB 4.0. See [`Collection::watch`].
        self, bson::Document, S, Action::of_database(self), false
    }
}

impl Client {
    watch! {
        /// Watches the changes of all databases except `admin`, `local` and `config`, once the returned value is
        /// [run](Watch::run). From MongoDB 4.0. See [`Collection::watch`].
        self, bson::Document, Free, Action::of_database(&self.database("admin")), true
    }
}

impl<S: Scope> ScopedClient<S> {
    watch! {
        /// Watches the changes of all databases in the session; see [`Client::watch`].
        self, bson::Document, S, Action::of_database(&self.database("admin")), true
    }
}

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

impl<T, S> fmt::Debug for Watch<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
