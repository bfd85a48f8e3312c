//! Creating, changing, renaming and dropping collections, and dropping databases.

use bson::{RawBsonRef, cstr};

use super::super::Collection;
use super::super::action::{self, Action, Change};
use super::super::aggregate::Pipeline;
use super::unless_missing;
use crate::client_session::{Free, IntoScope, Scope};
use crate::database::Database;
use crate::encode::ToBson;
use crate::error::Result;
use crate::options::{
    ChangeStreamPreAndPostImages, ClusteredIndex, TimeseriesOptions, ValidationAction,
    ValidationLevel,
};

impl<S: Scope> Database<S> {
    /// Creates a collection with options, or a view. A collection without options is created by the first write.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::options::TimeseriesOptions;
    ///
    /// let shop = client.database("shop");
    /// shop.create_collection("log").capped(true).size(1 << 20).run()?;
    /// shop.create_collection("readings").timeseries(TimeseriesOptions::new("at")).run()?;
    /// let bolts = [doc! { "$match": { "kind": "bolt" } }];
    /// shop.create_collection("bolts").view_on("things").pipeline(bolts).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn create_collection(&self, name: impl AsRef<str>) -> CreateCollection<S> {
        CreateCollection {
            action: self.collection::<()>(name.as_ref()).action(),
        }
    }

    /// Changes the options of a collection or of a view, or of one index (`collMod`).
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let hide = doc! { "name": "kind_1", "hidden": true };
    /// client.database("shop").modify_collection("things").index(hide).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn modify_collection(&self, name: impl AsRef<str>) -> ModifyCollection<S> {
        ModifyCollection {
            action: self.collection::<()>(name.as_ref()).action(),
        }
    }

    /// Drops the database with all its collections. It is not an error if the database does not exist.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// client.database("old-shop").drop().run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn drop(&self) -> DropDatabase<S> {
        DropDatabase {
            action: Action::of_database(self),
        }
    }
}

impl<T, S: Scope> Collection<T, S> {
    /// Drops the collection with its documents and indexes. It is not an error if the collection does not exist.
    ///
    /// ```no_run
    /// # use mongotls::bson::Document;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// client.database("shop").collection::<Document>("things").drop().run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn drop(&self) -> DropCollection<S> {
        DropCollection {
            action: self.action(),
        }
    }

    /// Renames the collection, within its database. This handle keeps the old name.
    ///
    /// ```no_run
    /// # use mongotls::bson::Document;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// client.database("shop").collection::<Document>("things").rename("parts").run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn rename(&self, to: impl AsRef<str>) -> RenameCollection<S> {
        let namespace = self.namespace();
        RenameCollection {
            to: format!("{}.{}", namespace.db, to.as_ref()),
            from: namespace.to_string(),
            action: self.action(),
        }
    }
}

/// The action of [`Database::create_collection`].
#[must_use = "an action does nothing until it is run"]
pub struct CreateCollection<S = Free> {
    action: Action<S>,
}

action::redacted_debug!(CreateCollection<S>);

/// The action of [`Database::modify_collection`].
#[must_use = "an action does nothing until it is run"]
pub struct ModifyCollection<S = Free> {
    action: Action<S>,
}

action::redacted_debug!(ModifyCollection<S>);

/// The action of [`Collection::drop`].
#[must_use = "an action does nothing until it is run"]
pub struct DropCollection<S = Free> {
    action: Action<S>,
}

action::redacted_debug!(DropCollection<S>);

/// The action of [`Collection::rename`].
#[must_use = "an action does nothing until it is run"]
pub struct RenameCollection<S = Free> {
    action: Action<S>,
    from: String,
    to: String,
}

action::redacted_debug!(RenameCollection<S>);

/// The action of [`Database::drop`].
#[must_use = "an action does nothing until it is run"]
pub struct DropDatabase<S = Free> {
    action: Action<S>,
}

action::redacted_debug!(DropDatabase<S>);

/// The options that a collection has from the beginning and that can be changed later.
macro_rules! changeable_options {
    () => {
        action::option_fields! {
            /// Sets the rule that documents must match.
            validator: document => "validator";
            /// Sets the writes that the validator checks.
            validation_level: (ValidationLevel) => "validationLevel";
            /// Sets the consequence of a write that violates the validator.
            validation_action: (ValidationAction) => "validationAction";
            /// Sets the collection or view that a view shows. See also [`pipeline`](Self::pipeline).
            view_on: text => "viewOn";
            /// Sets the time after which documents of a time-series or clustered collection are deleted, in whole seconds.
            expire_after_seconds: seconds => "expireAfterSeconds";
            /// Sets whether change streams can show documents as they were before and after a change.
            change_stream_pre_and_post_images: [ChangeStreamPreAndPostImages] => "changeStreamPreAndPostImages";
        }

        /// Sets the pipeline by which a view shows its collection.
        pub fn pipeline(mut self, pipeline: impl IntoIterator<Item = impl ToBson>) -> Self {
            match Pipeline::new(pipeline) {
                Ok(pipeline) => self
                    .action
                    .options
                    .set(cstr!("pipeline"), RawBsonRef::Array(&pipeline.stages)),
                Err(error) => self.action.options.fail(error),
            }
            self
        }
    };
}

impl<S: Scope> CreateCollection<S> {
    action::common_setters!();
    action::write_setters!();
    changeable_options!();
    action::option_fields! {
        /// Sets whether the collection has a fixed size, beyond which its oldest documents are removed. It needs a size.
        capped: bool => "capped";
        /// Sets the size of a capped collection, in bytes.
        size: u64 => "size";
        /// Sets the largest number of documents in a capped collection.
        max: u64 => "max";
        /// Sets options of the storage engine: `{ <name>: <options> }`.
        storage_engine: document => "storageEngine";
        /// Sets the default options of indexes.
        index_option_defaults: document => "indexOptionDefaults";
        /// Sets the default rules for comparing text.
        collation: collation => "collation";
        /// Makes the collection a time-series collection.
        timeseries: [TimeseriesOptions] => "timeseries";
        /// Makes the collection a clustered collection.
        clustered_index: [ClusteredIndex] => "clusteredIndex";
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> CreateCollection<S2::Scope> {
        CreateCollection {
            action: self.action.within(scope.into_scope()),
        }
    }

    /// Sends the command.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if
    /// the name or an option cannot be sent; [`ErrorKind::Write`](crate::ErrorKind::Write) if the change is not acknowledged
    /// as required; otherwise those of [`Database::run_command`].
    pub fn run(self) -> Result<()> {
        let change = Change::new("create");
        self.action.run_administration(change, &[]).map(drop)
    }
}

impl<S: Scope> ModifyCollection<S> {
    action::common_setters!();
    action::write_setters!();
    changeable_options!();
    action::option_fields! {
        /// Sets the index to change, by its name or its keys, and its new options.
        index: document => "index";
        /// Changes the options of a time-series collection.
        timeseries: document => "timeseries";
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> ModifyCollection<S2::Scope> {
        ModifyCollection {
            action: self.action.within(scope.into_scope()),
        }
    }

    /// Sends the command.
    ///
    /// # Errors
    /// As [`CreateCollection::run`].
    pub fn run(self) -> Result<()> {
        let change = Change::new("collMod");
        self.action.run_administration(change, &[]).map(drop)
    }
}

impl<S: Scope> DropCollection<S> {
    action::common_setters!();
    action::write_setters!();

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> DropCollection<S2::Scope> {
        DropCollection {
            action: self.action.within(scope.into_scope()),
        }
    }

    /// Sends the command.
    ///
    /// # Errors
    /// As [`CreateCollection::run`].
    pub fn run(self) -> Result<()> {
        unless_missing(self.action.run_administration(Change::new("drop"), &[]))
    }
}

impl<S: Scope> RenameCollection<S> {
    action::common_setters!();
    action::write_setters!();
    action::option_fields! {
        /// Sets whether a collection with the new name is dropped first. Default: false, and such a collection is an error.
        drop_target: bool => "dropTarget";
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> RenameCollection<S2::Scope> {
        RenameCollection {
            action: self.action.within(scope.into_scope()),
            from: self.from,
            to: self.to,
        }
    }

    /// Sends the command.
    ///
    /// # Errors
    /// As [`CreateCollection::run`].
    pub fn run(self) -> Result<()> {
        let change = Change {
            database: Some("admin"),
            subject: Some(&self.from),
            ..Change::new("renameCollection")
        };
        let own = [(cstr!("to"), RawBsonRef::String(&self.to))];
        self.action.run_administration(change, &own).map(drop)
    }
}

impl<S: Scope> DropDatabase<S> {
    action::common_setters!();
    action::write_setters!();

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> DropDatabase<S2::Scope> {
        DropDatabase {
            action: self.action.within(scope.into_scope()),
        }
    }

    /// Sends the command.
    ///
    /// # Errors
    /// As [`CreateCollection::run`].
    pub fn run(self) -> Result<()> {
        let change = Change::new("dropDatabase");
        unless_missing(self.action.run_administration(change, &[]))
    }
}
