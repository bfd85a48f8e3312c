//! Listing the collections of a database ("Enumerating Collections").

use bson::{Document, RawBsonRef, RawDocumentBuf, cstr};

use super::super::action::{self, Action, CursorCommand};
use super::names;
use crate::client_session::{Free, IntoScope, Scope};
use crate::cursor::Cursor;
use crate::database::Database;
use crate::error::Result;
use crate::op::CursorTiming;
use crate::options::CursorTimeoutMode;

impl<S: Scope> Database<S> {
    /// Lists the collections and views of the database, each as a document with `name`, `type` and `options`. From MongoDB
    /// 4.4 on, the field `idIndex` of such a document has no field `ns`.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// for collection in client.database("shop").list_collections().run()? {
    ///     println!("{}", collection?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn list_collections(&self) -> ListCollections<S> {
        ListCollections {
            action: Action::of_database(self),
            timing: CursorTiming::default(),
            batch_size: None,
        }
    }

    /// Lists the names of the collections and views of the database.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let names: Vec<String> = client.database("shop").list_collection_names().run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn list_collection_names(&self) -> ListCollectionNames<S> {
        ListCollectionNames {
            action: Action::of_database(self),
        }
    }
}

/// The action of [`Database::list_collections`].
#[must_use = "an action does nothing until it is run"]
pub struct ListCollections<S = Free> {
    action: Action<S>,
    timing: CursorTiming,
    batch_size: Option<u32>,
}

action::redacted_debug!(ListCollections<S>);

/// The action of [`Database::list_collection_names`].
#[must_use = "an action does nothing until it is run"]
pub struct ListCollectionNames<S = Free> {
    action: Action<S>,
}

action::redacted_debug!(ListCollectionNames<S>);

impl<S: Scope> ListCollections<S> {
    action::common_setters!();
    action::option_fields! {
        /// Sets the filter: only collections that match it are listed.
        filter: document => "filter";
        /// Sets whether only names and types are returned. A server applies the filter after this option, so a filter on
        /// other fields then matches nothing.
        name_only: bool => "nameOnly";
        /// Sets whether only the collections are listed that the user may read.
        authorized_collections: bool => "authorizedCollections";
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
    }

    /// Sets the number of collections in each batch. Default: it is left to the server.
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
    pub fn session<S2: IntoScope>(self, scope: S2) -> ListCollections<S2::Scope> {
        ListCollections {
            action: self.action.within(scope.into_scope()),
            timing: self.timing,
            batch_size: self.batch_size,
        }
    }

    /// Sends the command and returns a cursor of the collections.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if
    /// an option cannot be sent; otherwise those of [`Database::run_command`].
    pub fn run(self) -> Result<Cursor<Document, S>> {
        let mut cursor = RawDocumentBuf::new();
        if let Some(size) = self.batch_size {
            cursor.append(cstr!("batchSize"), i64::from(size));
        }
        let own = [(cstr!("cursor"), RawBsonRef::Document(&cursor))];
        let opened =
            self.action
                .open_cursor(CursorCommand::List, "listCollections", &own, self.timing)?;
        // The server itself repeats the comment for further batches.
        let client = self.action.client().clone();
        let cursor = Cursor::open(client, self.action.scope, opened, self.timing)?;
        Ok(cursor.batch_size(self.batch_size.unwrap_or(0)))
    }
}

impl<S: Scope> ListCollectionNames<S> {
    action::common_setters!();
    action::option_fields! {
        /// Sets the filter: only collections that match it are listed.
        filter: document => "filter";
        /// Sets whether only the collections are listed that the user may read.
        authorized_collections: bool => "authorizedCollections";
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> ListCollectionNames<S2::Scope> {
        ListCollectionNames {
            action: self.action.within(scope.into_scope()),
        }
    }

    /// Sends the command and returns the names.
    ///
    /// # Errors
    /// As [`ListCollections::run`].
    pub fn run(mut self) -> Result<Vec<String>> {
        if needs_only_names(&self.action)? {
            self.action.options.set(cstr!("nameOnly"), true);
        }
        let list = ListCollections {
            action: self.action,
            timing: CursorTiming::default(),
            batch_size: None,
        };
        names(list.run()?)
    }
}

/// Returns true if the filter does not need more than the names: the server applies it after `nameOnly`.
fn needs_only_names<S>(action: &Action<S>) -> Result<bool> {
    action.options.check()?;
    let Some(RawBsonRef::Document(filter)) = action.options.get(cstr!("filter")) else {
        return Ok(true);
    };
    let mut keys = filter.iter().map_while(std::result::Result::ok);
    Ok(keys.all(|(key, _)| key.as_str() == "name"))
}
