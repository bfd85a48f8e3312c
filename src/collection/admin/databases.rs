//! Listing the databases of a deployment ("Enumerating Databases").

use bson::raw::RawDocument;
use bson::{RawDocumentBuf, cstr};

use super::super::action::{self, Action};
use super::super::target::Target;
use super::name;
use crate::client::Client;
use crate::client_session::{Free, IntoScope, Scope, ScopedClient};
use crate::data::hello::integer;
use crate::document::to_document;
use crate::error::{Error, Result};
use crate::results::DatabaseSpecification;

impl Client {
    /// Lists the databases of the deployment.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// for database in client.list_databases().run()? {
    ///     println!("{}: {} bytes", database.name, database.size_on_disk);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn list_databases(&self) -> ListDatabases {
        ListDatabases {
            action: action(self, Free),
        }
    }

    /// Lists the names of the databases of the deployment.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let names: Vec<String> = client.list_database_names().run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn list_database_names(&self) -> ListDatabaseNames {
        ListDatabaseNames {
            action: action(self, Free),
        }
    }
}

impl<S: Scope> ScopedClient<S> {
    /// Lists the databases of the deployment, in the session.
    pub fn list_databases(&self) -> ListDatabases<S> {
        ListDatabases {
            action: action(&self.client, self.scope.clone()),
        }
    }

    /// Lists the names of the databases of the deployment, in the session.
    pub fn list_database_names(&self) -> ListDatabaseNames<S> {
        ListDatabaseNames {
            action: action(&self.client, self.scope.clone()),
        }
    }
}

fn action<S>(client: &Client, scope: S) -> Action<S> {
    Action::new(&Target::of_database(&client.database("admin")), scope)
}

/// The action of [`Client::list_databases`].
#[must_use = "an action does nothing until it is run"]
pub struct ListDatabases<S = Free> {
    action: Action<S>,
}

action::redacted_debug!(ListDatabases<S>);

/// The action of [`Client::list_database_names`].
#[must_use = "an action does nothing until it is run"]
pub struct ListDatabaseNames<S = Free> {
    action: Action<S>,
}

action::redacted_debug!(ListDatabaseNames<S>);

macro_rules! list_options {
    () => {
        action::common_setters!();
        action::option_fields! {
            /// Sets the filter: only databases that match it are listed.
            filter: document => "filter";
            /// Sets whether only the databases are listed that the user may read. Default: it depends on the rights of the
            /// user.
            authorized_databases: bool => "authorizedDatabases";
        }
    };
}

impl<S: Scope> ListDatabases<S> {
    list_options!();

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> ListDatabases<S2::Scope> {
        ListDatabases {
            action: self.action.within(scope.into_scope()),
        }
    }

    /// Sends the command and returns the databases.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if
    /// an option cannot be sent; otherwise those of
    /// [`Database::run_command`](crate::Database::run_command).
    pub fn run(self) -> Result<Vec<DatabaseSpecification>> {
        let reply = self.action.run_list("listDatabases", &[])?;
        each_database(&reply, |database| {
            let size = database.get("sizeOnDisk").ok().flatten().and_then(integer);
            let shards = database.get_document("shards").ok();
            Ok(DatabaseSpecification {
                name: name(database)?,
                size_on_disk: size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                empty: database.get_bool("empty").unwrap_or(false),
                shards: shards.map(to_document).transpose()?,
            })
        })
    }
}

impl<S: Scope> ListDatabaseNames<S> {
    list_options!();

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> ListDatabaseNames<S2::Scope> {
        ListDatabaseNames {
            action: self.action.within(scope.into_scope()),
        }
    }

    /// Sends the command and returns the names.
    ///
    /// # Errors
    /// As [`ListDatabases::run`].
    pub fn run(mut self) -> Result<Vec<String>> {
        self.action.options.set(cstr!("nameOnly"), true);
        let reply = self.action.run_list("listDatabases", &[])?;
        each_database(&reply, name)
    }
}

fn each_database<T>(
    reply: &RawDocumentBuf,
    read: impl Fn(&RawDocument) -> Result<T>,
) -> Result<Vec<T>> {
    let malformed = || Error::protocol("the reply has no list of databases");
    let databases = reply.get_array("databases").map_err(|_| malformed())?;
    let databases = databases.into_iter().map(|database| {
        let database = database.ok().and_then(|value| value.as_document());
        read(database.ok_or_else(malformed)?)
    });
    databases.collect()
}
