//! Search indexes ("Index Management", "Search Indexes").
//!
//! Another process than the server manages them, after the command has ended. Its commands accept neither a read concern
//! nor a write concern.

use bson::raw::CStr;
use bson::{Document, RawArrayBuf, RawBsonRef, RawDocumentBuf, cstr};

use super::super::Collection;
use super::super::action::{self, Action, Change, CursorCommand, option_fields};
use super::super::write::unknown;
use super::{array, name, unless_missing};
use crate::client_session::{Free, IntoScope, Scope};
use crate::cursor::Cursor;
use crate::encode::to_document;
use crate::error::{Error, Result};
use crate::index_model::SearchIndexModel;
use crate::op::CursorTiming;
use crate::options::CursorTimeoutMode;

impl<T, S: Scope> Collection<T, S> {
    /// Creates a search index. The server builds it after the command: [`list_search_indexes`](Self::list_search_indexes)
    /// shows when it is ready.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::SearchIndexModel;
    ///
    /// let things = client.database("shop").collection::<Document>("things");
    /// let by_text = SearchIndexModel::new(doc! { "mappings": { "dynamic": true } }).name("by-text");
    /// assert_eq!(things.create_search_index(by_text).run()?, "by-text");
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn create_search_index(&self, index: SearchIndexModel) -> CreateSearchIndex<S> {
        CreateSearchIndex {
            action: self.action(),
            indexes: vec![index],
        }
    }

    /// Creates several search indexes by one command. See [`create_search_index`](Self::create_search_index).
    pub fn create_search_indexes(
        &self,
        indexes: impl IntoIterator<Item = SearchIndexModel>,
    ) -> CreateSearchIndexes<S> {
        CreateSearchIndexes {
            action: self.action(),
            indexes: indexes.into_iter().collect(),
        }
    }

    /// Replaces the definition of a search index.
    pub fn update_search_index(
        &self,
        name: impl AsRef<str>,
        definition: Document,
    ) -> UpdateSearchIndex<S> {
        UpdateSearchIndex {
            action: self.action(),
            name: name.as_ref().to_owned(),
            definition,
        }
    }

    /// Drops a search index. It is not an error if the collection does not exist.
    pub fn drop_search_index(&self, name: impl AsRef<str>) -> DropSearchIndex<S> {
        DropSearchIndex {
            action: self.action(),
            name: name.as_ref().to_owned(),
        }
    }

    /// Lists the search indexes: all, or that with a [name](ListSearchIndexes::name).
    ///
    /// ```no_run
    /// # use mongotls::bson::Document;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// for index in things.list_search_indexes().name("by-text").run()? {
    ///     println!("{}", index?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn list_search_indexes(&self) -> ListSearchIndexes<S> {
        ListSearchIndexes {
            action: self.action(),
            name: None,
            timing: CursorTiming::default(),
            batch_size: None,
        }
    }
}

/// The action of [`Collection::create_search_index`].
#[must_use = "an action does nothing until it is run"]
pub struct CreateSearchIndex<S = Free> {
    action: Action<S>,
    indexes: Vec<SearchIndexModel>,
}

action::redacted_debug!(CreateSearchIndex<S>);

/// The action of [`Collection::create_search_indexes`].
#[must_use = "an action does nothing until it is run"]
pub struct CreateSearchIndexes<S = Free> {
    action: Action<S>,
    indexes: Vec<SearchIndexModel>,
}

action::redacted_debug!(CreateSearchIndexes<S>);

/// The action of [`Collection::update_search_index`].
#[must_use = "an action does nothing until it is run"]
pub struct UpdateSearchIndex<S = Free> {
    action: Action<S>,
    name: String,
    definition: Document,
}

action::redacted_debug!(UpdateSearchIndex<S>);

/// The action of [`Collection::drop_search_index`].
#[must_use = "an action does nothing until it is run"]
pub struct DropSearchIndex<S = Free> {
    action: Action<S>,
    name: String,
}

action::redacted_debug!(DropSearchIndex<S>);

/// The action of [`Collection::list_search_indexes`].
#[must_use = "an action does nothing until it is run"]
pub struct ListSearchIndexes<S = Free> {
    action: Action<S>,
    name: Option<String>,
    timing: CursorTiming,
    batch_size: Option<u32>,
}

action::redacted_debug!(ListSearchIndexes<S>);

/// Runs a command about search indexes.
fn change<S: Scope>(
    action: &Action<S>,
    name: &'static str,
    own: &[(&'static CStr, RawBsonRef<'_>)],
) -> Result<RawDocumentBuf> {
    let change = Change {
        has_write_concern: false,
        ..Change::new(name)
    };
    action.run_administration(change, own)
}

/// Creates search indexes, and returns the names that the server has given them.
fn create<S: Scope>(action: &Action<S>, indexes: &[SearchIndexModel]) -> Result<Vec<String>> {
    let models = indexes.iter().map(SearchIndexModel::to_document);
    let indexes = array(models, "a search index")?;
    let own = [(cstr!("indexes"), RawBsonRef::Array(&indexes))];
    let reply = change(action, "createSearchIndexes", &own)?;
    let malformed = || unknown(Error::protocol("the reply has no list of search indexes"));
    let created = reply.get_array("indexesCreated").map_err(|_| malformed())?;
    let names = created.into_iter().map(|index| {
        let index = index.ok().and_then(|value| value.as_document());
        name(index.ok_or_else(malformed)?).map_err(unknown)
    });
    names.collect()
}

impl<S: Scope> CreateSearchIndex<S> {
    action::optional_setter!();
    action::limit_setters!();

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> CreateSearchIndex<S2::Scope> {
        CreateSearchIndex {
            action: self.action.within(scope.into_scope()),
            indexes: self.indexes,
        }
    }

    /// Sends the command and returns the name of the index.
    ///
    /// # Errors
    /// As [`Database::run_command`](crate::Database::run_command), and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if the
    /// definition cannot be encoded.
    pub fn run(self) -> Result<String> {
        let created = create(&self.action, &self.indexes)?.pop();
        created.ok_or_else(|| unknown(Error::protocol("the reply names no search index")))
    }
}

impl<S: Scope> CreateSearchIndexes<S> {
    action::optional_setter!();
    action::limit_setters!();

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> CreateSearchIndexes<S2::Scope> {
        CreateSearchIndexes {
            action: self.action.within(scope.into_scope()),
            indexes: self.indexes,
        }
    }

    /// Sends the command and returns the names of the indexes.
    ///
    /// # Errors
    /// As [`CreateSearchIndex::run`].
    pub fn run(self) -> Result<Vec<String>> {
        create(&self.action, &self.indexes)
    }
}

impl<S: Scope> UpdateSearchIndex<S> {
    action::optional_setter!();
    action::limit_setters!();

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> UpdateSearchIndex<S2::Scope> {
        UpdateSearchIndex {
            action: self.action.within(scope.into_scope()),
            name: self.name,
            definition: self.definition,
        }
    }

    /// Sends the command.
    ///
    /// # Errors
    /// As [`CreateSearchIndex::run`].
    pub fn run(self) -> Result<()> {
        let definition = to_document(&self.definition, "the definition")?;
        let own = [
            (cstr!("name"), RawBsonRef::String(&self.name)),
            (cstr!("definition"), RawBsonRef::Document(&definition)),
        ];
        change(&self.action, "updateSearchIndex", &own).map(drop)
    }
}

impl<S: Scope> DropSearchIndex<S> {
    action::optional_setter!();
    action::limit_setters!();

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> DropSearchIndex<S2::Scope> {
        DropSearchIndex {
            action: self.action.within(scope.into_scope()),
            name: self.name,
        }
    }

    /// Sends the command.
    ///
    /// # Errors
    /// As [`Database::run_command`](crate::Database::run_command).
    pub fn run(self) -> Result<()> {
        let own = [(cstr!("name"), RawBsonRef::String(&self.name))];
        unless_missing(change(&self.action, "dropSearchIndex", &own))
    }
}

impl<S: Scope> ListSearchIndexes<S> {
    action::optional_setter!();
    action::limit_setters!();
    option_fields! {
        /// Sets a comment, which the logs and the profile of the server show.
        comment: value => "comment";
        /// Sets the rules for comparing text.
        collation: collation => "collation";
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
        /// Sets whether the server may use files.
        allow_disk_use: bool => "allowDiskUse";
    }

    /// Sets the name of the index to list. Default: all indexes.
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        self.name = Some(name.as_ref().to_owned());
        self
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
    pub fn session<S2: IntoScope>(self, scope: S2) -> ListSearchIndexes<S2::Scope> {
        ListSearchIndexes {
            action: self.action.within(scope.into_scope()),
            name: self.name,
            timing: self.timing,
            batch_size: self.batch_size,
        }
    }

    /// Sends the command and returns a cursor of the indexes.
    ///
    /// # Errors
    /// As [`Database::run_command`](crate::Database::run_command).
    pub fn run(self) -> Result<Cursor<Document, S>> {
        let mut filter = RawDocumentBuf::new();
        if let Some(name) = &self.name {
            filter.append(cstr!("name"), name.as_str());
        }
        let mut stage = RawDocumentBuf::new();
        stage.append(cstr!("$listSearchIndexes"), filter);
        let mut pipeline = RawArrayBuf::new();
        pipeline.push(stage);
        let mut cursor = RawDocumentBuf::new();
        if let Some(size) = self.batch_size {
            cursor.append(cstr!("batchSize"), i64::from(size));
        }
        let own = [
            (cstr!("pipeline"), RawBsonRef::Array(&pipeline)),
            (cstr!("cursor"), RawBsonRef::Document(&cursor)),
        ];
        let opened =
            self.action
                .open_cursor(CursorCommand::List, "aggregate", &own, self.timing)?;
        self.action
            .into_cursor(opened, self.timing, self.batch_size)
    }
}
