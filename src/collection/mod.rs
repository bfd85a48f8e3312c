//! Collections: what programs use to read and write documents.
//!
//! A method of [`Collection`] returns an *action*: a value with the options of one operation, which `run()` sends. Each
//! kind of action has a file, which holds its options, its command and the reading of its reply. `action.rs` has what
//! they share; `op/` runs them.
//!
//! | file | holds |
//! |---|---|
//! | `admin/` | collections, databases and indexes: create, list, change, drop |
//! | `action.rs` `action_command.rs` | the parts of every action, and the macros for their setters; its command |
//! | `find.rs` `aggregate.rs` `count.rs` `distinct.rs` | reads |
//! | `bulk.rs` `model.rs` `progress.rs` | bulk writes; the models and the results that they share with those of the client |
//! | `insert.rs` `insert_many.rs` `update.rs` `delete.rs` `find_and_modify.rs` | writes |
//! | `statement.rs` | the command of a write with one statement |
//! | `write.rs` | the reply to a write |
//!
//! Sources: "CRUD API", "Read and Write Concern", "Find, getMore and killCursors".

pub(crate) mod action;
mod action_command;
mod admin;
mod aggregate;
mod bulk;
mod count;
mod delete;
mod distinct;
mod document_id;
mod find;
mod find_and_modify;
mod insert;
mod insert_many;
mod model;
mod progress;
mod statement;
mod target;
mod update;
mod write;

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use bson::Document;

pub use self::admin::{
    CreateCollection, CreateIndex, CreateIndexes, CreateSearchIndex, CreateSearchIndexes,
    DropCollection, DropDatabase, DropIndexes, DropSearchIndex, ListCollectionNames,
    ListCollections, ListDatabaseNames, ListDatabases, ListIndexNames, ListIndexes,
    ListSearchIndexes, ModifyCollection, RenameCollection, UpdateSearchIndex,
};
pub use self::aggregate::Aggregate;
pub use self::bulk::Bulk;
pub use self::count::{CountDocuments, EstimatedDocumentCount};
pub use self::delete::Delete;
pub use self::distinct::Distinct;
pub(crate) use self::document_id::id_of;
pub use self::find::{Find, FindOne};
pub use self::find_and_modify::{FindOneAndDelete, FindOneAndReplace, FindOneAndUpdate};
pub use self::insert::InsertOne;
pub use self::insert_many::InsertMany;
pub(crate) use self::insert_many::Inserter;
pub use self::model::{DeleteModel, ReplaceOneModel, UpdateManyModel, UpdateOneModel};
pub(crate) use self::model::{LastModel, ModelWriter};
pub(crate) use self::progress::Progress;
use self::target::Target;
pub use self::update::{ReplaceOne, UpdateMany, UpdateOne};
pub(crate) use self::write::{
    malformed as malformed_reply, unknown as with_unknown_outcome, unknown_write,
};
use crate::cancel::Canceller;
use crate::client::Client;
use crate::client_session::{Free, Scope};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::options::{CollectionOptions, ReadConcern, ReadPreference, WriteConcern};
use crate::time::{Deadline, TimeoutMs};

/// A collection of documents of type `T`. Cheap to clone.
///
/// `T` is any type that `serde` can serialise and deserialise as a document, or [`Document`] for any document. Without
/// the cargo feature `serde` it is [`Document`] or [`RawDocumentBuf`](bson::RawDocumentBuf).
///
/// Methods return an action, which is sent by `run()`. `S` is the scope of the actions: outside of any session of the
/// program, unless [`within`](Self::within) set one.
///
/// ```no_run
/// use mongotls::bson::doc;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Thing {
///     name: String,
///     count: i32,
/// }
///
/// let client = mongotls::Client::connect("mongodb://localhost")?;
/// let things = client.database("shop").collection::<Thing>("things");
/// for thing in things.find(doc! { "count": { "$gt": 0 } }).sort(doc! { "name": 1 }).run()? {
///     println!("{}", thing?.name);
/// }
/// # Ok::<(), mongotls::Error>(())
/// ```
pub struct Collection<T = Document, S = Free> {
    target: Arc<Target>,
    scope: S,
    documents: PhantomData<fn(T) -> T>,
}

impl<S: Scope> Database<S> {
    /// The collection with this name, for documents of type `T`. No command is sent.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let bolts = things.find(doc! { "kind": "bolt" }).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn collection<T>(&self, name: &str) -> Collection<T, S> {
        self.collection_with_options(name, CollectionOptions::default())
    }

    /// The collection with this name and these settings; the others are those of the database.
    pub fn collection_with_options<T>(
        &self,
        name: &str,
        options: CollectionOptions,
    ) -> Collection<T, S> {
        let target = Target::of_collection(self, name, options);
        Collection {
            target,
            scope: self.scope().clone(),
            documents: PhantomData,
        }
    }
}

impl<T, S> Collection<T, S> {
    /// The name of the collection.
    pub fn name(&self) -> &str {
        self.target.name()
    }

    /// The names of the database and of the collection.
    pub fn namespace(&self) -> Namespace {
        Namespace {
            db: self.target.database().to_owned(),
            coll: self.target.name().to_owned(),
        }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        self.target.client()
    }

    /// The read concern of reads that have none of their own.
    pub fn read_concern(&self) -> &ReadConcern {
        &self.target.criteria().read_concern
    }

    /// The write concern of writes that have none of their own.
    pub fn write_concern(&self) -> &WriteConcern {
        &self.target.criteria().write_concern
    }

    /// The read preference of reads that have none of their own.
    pub fn read_preference(&self) -> &ReadPreference {
        &self.target.criteria().read_preference
    }

    /// The read preference of reads that have none of their own, as [`read_preference`](Self::read_preference). The
    /// official driver has this name.
    pub fn selection_criteria(&self) -> &ReadPreference {
        self.read_preference()
    }

    /// The same collection, whose documents are of type `U`.
    pub fn clone_with_type<U>(&self) -> Collection<U, S>
    where
        S: Clone,
    {
        Collection {
            target: Arc::clone(&self.target),
            scope: self.scope.clone(),
            documents: PhantomData,
        }
    }

    /// The same collection with a deadline, which its actions and cursors inherit. See [`Client::until`].
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// # let things = client.database("shop").collection::<Document>("things");
    /// use std::time::{Duration, Instant};
    ///
    /// let hurried = things.until(Instant::now() + Duration::from_secs(2));
    /// let bolt = hurried.find_one(doc! { "kind": "bolt" }).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self
    where
        S: Clone,
    {
        Self {
            target: self.target.of_client(self.client().until(deadline)),
            scope: self.scope.clone(),
            documents: PhantomData,
        }
    }

    /// The same collection with a canceller, which its actions and cursors inherit. See [`Client::cancelled_by`].
    #[must_use]
    pub fn cancelled_by(&self, canceller: &Canceller) -> Self
    where
        S: Clone,
    {
        Self {
            target: self.target.of_client(self.client().cancelled_by(canceller)),
            scope: self.scope.clone(),
            documents: PhantomData,
        }
    }

    /// Returns the collection with one limit and one deadline for all its actions, such as those of an upload.
    pub(crate) fn within_whole(&self, timeout: TimeoutMs, deadline: Deadline) -> Self
    where
        S: Clone,
    {
        Self {
            target: self.target.within_whole(timeout, deadline),
            scope: self.scope.clone(),
            documents: PhantomData,
        }
    }

    /// `timeoutMS` of each action, if this collection or its database sets it.
    pub(crate) fn timeout_ms(&self) -> Option<TimeoutMs> {
        self.target.timeout()
    }

    /// The same collection, whose actions run in a session: `&Session` or `Rc<Session>`. With [`Free`] they run outside of
    /// it again.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// # let things = client.database("shop").collection::<Document>("things");
    /// let session = client.start_session().run()?;
    /// let first = things.within(&session).find_one(doc! { "kind": "bolt" }).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn within<S2: Scope>(&self, scope: S2) -> Collection<T, S2> {
        Collection {
            target: Arc::clone(&self.target),
            scope,
            documents: PhantomData,
        }
    }
}

impl<T, S: Scope> Collection<T, S> {
    /// An action on this collection, without options.
    pub(crate) fn action(&self) -> action::Action<S> {
        action::Action::new(&self.target, self.scope.clone())
    }
}

impl<T, S: Clone> Clone for Collection<T, S> {
    fn clone(&self) -> Self {
        Self {
            target: Arc::clone(&self.target),
            scope: self.scope.clone(),
            documents: PhantomData,
        }
    }
}

impl<T, S> fmt::Debug for Collection<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection")
            .field("database", &self.target.database())
            .field("name", &self.target.name())
            .finish_non_exhaustive()
    }
}

/// The names of a database and of a collection in it. `Display` prints them with a dot in between.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace {
    /// The name of the database.
    pub db: String,
    /// The name of the collection.
    pub coll: String,
}

impl Namespace {
    /// Creates a namespace. Its names are checked when it is used.
    pub fn new(db: impl Into<String>, coll: impl Into<String>) -> Self {
        Self {
            db: db.into(),
            coll: coll.into(),
        }
    }
}

/// Splits at the first dot: names of collections can have dots.
impl FromStr for Namespace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('.') {
            Some((db, coll)) if !coll.is_empty() => Ok(Self::new(db, coll)),
            _ => Err(Error::invalid_argument(
                "a namespace is the name of a database, a dot and the name of a collection",
            )),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.db, self.coll)
    }
}
