//! Creating, listing and dropping indexes ("Index Management").

use bson::{Document, RawBsonRef, RawDocumentBuf, cstr};

use super::super::Collection;
use super::super::action::{self, Action, Change, CursorCommand};
use super::{array, names};
use crate::client_session::{Free, IntoScope, Scope};
use crate::cursor::Cursor;
use crate::encode::ToBson;
use crate::error::{Error, Result};
use crate::index_model::IndexModel;
use crate::op::CursorTiming;
use crate::options::{CursorTimeoutMode, Hint};
use crate::results::{CreateIndexResult, CreateIndexesResult};

impl<T, S: Scope> Collection<T, S> {
    /// Creates an index, and the collection if it does not exist. An index that exists is left as it is.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::IndexModel;
    ///
    /// let things = client.database("shop").collection::<Document>("things");
    /// let by_name = IndexModel::new(doc! { "name": 1 }).unique(true);
    /// assert_eq!(things.create_index(by_name).run()?.index_name, "name_1");
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn create_index(&self, index: IndexModel) -> CreateIndex<S> {
        CreateIndex {
            indexes: vec![index],
            needs_commit_quorum: false,
            action: self.action(),
        }
    }

    /// Creates several indexes by one command. See [`create_index`](Self::create_index).
    pub fn create_indexes(
        &self,
        indexes: impl IntoIterator<Item = IndexModel>,
    ) -> CreateIndexes<S> {
        CreateIndexes {
            indexes: indexes.into_iter().collect(),
            needs_commit_quorum: false,
            action: self.action(),
        }
    }

    /// Lists the indexes, each as a document with its `name`, its keys in `key`, and its options. From MongoDB 4.4 on, such
    /// a document has no field `ns`.
    ///
    /// ```no_run
    /// # use mongotls::bson::Document;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// for index in client.database("shop").collection::<Document>("things").list_indexes().run()? {
    ///     println!("{}", index?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn list_indexes(&self) -> ListIndexes<S> {
        ListIndexes {
            action: self.action(),
            timing: CursorTiming::default(),
            batch_size: None,
        }
    }

    /// Lists the names of the indexes.
    ///
    /// ```no_run
    /// # use mongotls::bson::Document;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let names: Vec<String> = things.list_index_names().run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn list_index_names(&self) -> ListIndexNames<S> {
        ListIndexNames {
            action: self.action(),
        }
    }

    /// Drops one index: that with a name, or that with a document of keys.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// things.drop_index("name_1").run()?;
    /// things.drop_index(doc! { "kind": 1 }).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn drop_index(&self, index: impl Into<Hint>) -> DropIndexes<S> {
        DropIndexes {
            action: self.action(),
            index: Some(index.into()),
        }
    }

    /// Drops all indexes, except that on `_id`.
    pub fn drop_indexes(&self) -> DropIndexes<S> {
        DropIndexes {
            action: self.action(),
            index: None,
        }
    }
}

/// The action of [`Collection::create_index`].
#[must_use = "an action does nothing until it is run"]
pub struct CreateIndex<S = Free> {
    action: Action<S>,
    indexes: Vec<IndexModel>,
    needs_commit_quorum: bool,
}

action::redacted_debug!(CreateIndex<S>);

/// The action of [`Collection::create_indexes`].
#[must_use = "an action does nothing until it is run"]
pub struct CreateIndexes<S = Free> {
    action: Action<S>,
    indexes: Vec<IndexModel>,
    needs_commit_quorum: bool,
}

action::redacted_debug!(CreateIndexes<S>);

/// The action of [`Collection::list_indexes`].
#[must_use = "an action does nothing until it is run"]
pub struct ListIndexes<S = Free> {
    action: Action<S>,
    timing: CursorTiming,
    batch_size: Option<u32>,
}

action::redacted_debug!(ListIndexes<S>);

/// The action of [`Collection::list_index_names`].
#[must_use = "an action does nothing until it is run"]
pub struct ListIndexNames<S = Free> {
    action: Action<S>,
}

action::redacted_debug!(ListIndexNames<S>);

/// The action of [`Collection::drop_index`] and [`Collection::drop_indexes`].
#[must_use = "an action does nothing until it is run"]
pub struct DropIndexes<S = Free> {
    action: Action<S>,
    /// `None` for all indexes.
    index: Option<Hint>,
}

action::redacted_debug!(DropIndexes<S>);

macro_rules! create_options {
    ($action:ident) => {
        action::common_setters!();
        action::write_setters!();
        action::option_fields! {
            /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
            max_time: duration_ms => "maxTimeMS";
        }

        /// Sets the members with data that must have built the indexes before they can be used: a number, `majority`,
        /// `votingMembers`, or the name of a set of tags. An error on servers before MongoDB 4.4.
        pub fn commit_quorum(mut self, quorum: impl ToBson) -> Self {
            let key = cstr!("commitQuorum");
            self.action.options.set_value(key, &quorum);
            self.needs_commit_quorum = true;
            self
        }

        /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
        pub fn session<S2: IntoScope>(self, scope: S2) -> $action<S2::Scope> {
            $action {
                action: self.action.within(scope.into_scope()),
                indexes: self.indexes,
                needs_commit_quorum: self.needs_commit_quorum,
            }
        }

        /// Sends the command, and returns the names of the indexes.
        fn create(self) -> Result<Vec<String>> {
            let models = self.indexes.iter().map(IndexModel::to_document);
            let indexes = array(models, "an index")?;
            let change = Change {
                min_wire_version: if self.needs_commit_quorum {
                    COMMIT_QUORUM
                } else {
                    0
                },
                ..Change::new("createIndexes")
            };
            let own = [(cstr!("indexes"), RawBsonRef::Array(&indexes))];
            self.action.run_administration(change, &own)?;
            Ok(self.indexes.iter().map(IndexModel::name).collect())
        }
    };
}

/// The first wire version whose servers have `commitQuorum`: MongoDB 4.4.
const COMMIT_QUORUM: i32 = 9;

impl<S: Scope> CreateIndex<S> {
    create_options!(CreateIndex);

    /// Sends the command and returns the name of the index.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if
    /// the index or an option cannot be sent; [`ErrorKind::Write`](crate::ErrorKind::Write) if the index is not acknowledged
    /// as required; otherwise those of [`Database::run_command`](crate::Database::run_command).
    pub fn run(self) -> Result<CreateIndexResult> {
        let mut names = self.create()?;
        Ok(CreateIndexResult {
            index_name: names.pop().unwrap_or_default(),
        })
    }
}

impl<S: Scope> CreateIndexes<S> {
    create_options!(CreateIndexes);

    /// Sends the command and returns the names of the indexes.
    ///
    /// # Errors
    /// As [`CreateIndex::run`].
    pub fn run(self) -> Result<CreateIndexesResult> {
        let index_names = self.create()?;
        Ok(CreateIndexesResult { index_names })
    }
}

impl<S: Scope> ListIndexes<S> {
    action::common_setters!();
    action::option_fields! {
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
    }

    /// Sets the number of indexes in each batch. Default: it is left to the server.
    pub fn batch_size(mut self, documents: u32) -> Self {
        self.batch_size = Some(documents);
        self
    }

    /// Sets the scope of `timeoutMS`. Default: the lifetime of the cursor.
    pub fn timeout_mode(mut self, mode: CursorTimeoutMode) -> Self {
        self.timing.timeout_mode = Some(mode);
        self
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> ListIndexes<S2::Scope> {
        ListIndexes {
            action: self.action.within(scope.into_scope()),
            timing: self.timing,
            batch_size: self.batch_size,
        }
    }

    /// Sends the command and returns a cursor of the indexes.
    ///
    /// # Errors
    /// As [`Database::run_command`](crate::Database::run_command). A collection that does not exist is an error of the
    /// server.
    pub fn run(self) -> Result<Cursor<Document, S>> {
        let mut cursor = RawDocumentBuf::new();
        if let Some(size) = self.batch_size {
            cursor.append(cstr!("batchSize"), i64::from(size));
        }
        let own = [(cstr!("cursor"), RawBsonRef::Document(&cursor))];
        let opened =
            self.action
                .open_cursor(CursorCommand::List, "listIndexes", &own, self.timing)?;
        self.action
            .into_cursor(opened, self.timing, self.batch_size)
    }
}

impl<S: Scope> ListIndexNames<S> {
    action::common_setters!();
    action::option_fields! {
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> ListIndexNames<S2::Scope> {
        ListIndexNames {
            action: self.action.within(scope.into_scope()),
        }
    }

    /// Sends the command and returns the names.
    ///
    /// # Errors
    /// As [`ListIndexes::run`].
    pub fn run(self) -> Result<Vec<String>> {
        let list = ListIndexes {
            action: self.action,
            timing: CursorTiming::default(),
            batch_size: None,
        };
        names(list.run()?)
    }
}

impl<S: Scope> DropIndexes<S> {
    action::common_setters!();
    action::write_setters!();
    action::option_fields! {
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> DropIndexes<S2::Scope> {
        DropIndexes {
            action: self.action.within(scope.into_scope()),
            index: self.index,
        }
    }

    /// Sends the command.
    ///
    /// # Errors
    /// As [`CreateIndex::run`]. The name `*`, which would drop all indexes, is rejected before it is sent.
    pub fn run(mut self) -> Result<()> {
        let key = cstr!("index");
        match self.index {
            None => self.action.options.set(key, ALL),
            Some(Hint::Name(name)) if name == ALL => {
                return Err(Error::invalid_argument(
                    "the index \"*\" means all indexes: use drop_indexes",
                ));
            }
            Some(Hint::Name(name)) => self.action.options.set(key, name),
            Some(Hint::Keys(keys)) => self.action.options.set_document(key, &keys),
        }
        let change = Change::new("dropIndexes");
        self.action.run_administration(change, &[]).map(drop)
    }
}

/// The name that stands for all indexes except that on `_id`.
const ALL: &str = "*";
