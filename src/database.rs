//! A database, on which commands run. The commands themselves are operations: see `op/run_command.rs`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, RawDocumentBuf};
#[cfg(feature = "serde")]
use serde::de::DeserializeOwned;

use crate::cancel::Canceller;
use crate::client::Client;
use crate::client_session::{Free, Scope, ScopedClient, session_of};
use crate::command::Command;
use crate::cursor::Cursor;
use crate::document::reply_to_document;
#[cfg(feature = "serde")]
use crate::document::reply_to_typed;
use crate::error::{Error, Result};
use crate::op::{CursorTiming, run_command};
use crate::options::{
    Criteria, DatabaseOptions, ReadConcern, ReadPreference, WriteConcern, database_name_problem,
};
use crate::results::Written;
use crate::session::SessionState;
use crate::time::{TimeoutKind, TimeoutMs};

impl Client {
    /// The database with this name. No command is sent.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let shop = client.database("shop");
    /// shop.run_command(doc! { "insert": "things", "documents": [{ "_id": 1 }] })?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn database(&self, name: &str) -> Database {
        Database::new(self.clone(), name)
    }

    /// The database with this name and these settings; the others are those of the client.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::options::{DatabaseOptions, WriteConcern};
    ///
    /// let options = DatabaseOptions::default().write_concern(WriteConcern::majority());
    /// let shop = client.database_with_options("shop", options);
    /// shop.collection::<Document>("things").insert_one(doc! { "name": "bolt" }).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn database_with_options(&self, name: &str, options: DatabaseOptions) -> Database {
        Database::new(self.clone(), name).with_options(options)
    }

    /// The database that the connection string names, if it names one.
    ///
    /// ```no_run
    /// let client = mongotls::Client::connect("mongodb://db.example.com/shop")?;
    /// assert_eq!(client.default_database().unwrap().name(), "shop");
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn default_database(&self) -> Option<Database> {
        let name = self.options().default_database()?;
        Some(self.database(name))
    }
}

impl<S: Scope> ScopedClient<S> {
    /// The database with this name; its commands run in the session.
    pub fn database(&self, name: &str) -> Database<S> {
        self.client.database(name).within(self.scope.clone())
    }

    /// The database with this name and these settings; its commands run in the session.
    pub fn database_with_options(&self, name: &str, options: DatabaseOptions) -> Database<S> {
        let database = self.client.database_with_options(name, options);
        database.within(self.scope.clone())
    }

    /// The database that the connection string names, if it names one; its commands run in the session.
    pub fn default_database(&self) -> Option<Database<S>> {
        let database = self.client.default_database()?;
        Some(database.within(self.scope.clone()))
    }
}

/// One database of a deployment. Cheap to clone.
///
/// `S` is the scope of its commands: outside of any session of the program, unless [`within`](Self::within) set one.
#[derive(Clone)]
pub struct Database<S = Free> {
    client: Client,
    scope: S,
    name: String,
    /// The reason why every server rejects the name, if it is invalid.
    problem: Option<String>,
    /// `timeoutMS` of this handle.
    timeout: Option<Duration>,
    /// Read concern, write concern and read preference of this handle, unless they are those of the client.
    criteria: Option<Arc<Criteria>>,
}

impl Database {
    pub(crate) fn new(client: Client, name: &str) -> Self {
        Self {
            client,
            scope: Free,
            name: name.to_owned(),
            problem: database_name_problem(name),
            timeout: None,
            criteria: None,
        }
    }

    /// The same database with these settings.
    fn with_options(self, options: DatabaseOptions) -> Self {
        let of_client = self.criteria();
        let criteria = Criteria {
            read_concern: options.read_concern.unwrap_or(of_client.read_concern),
            write_concern: options.write_concern.unwrap_or(of_client.write_concern),
            read_preference: options.read_preference.unwrap_or(of_client.read_preference),
        };
        Self {
            timeout: options.timeout.or(self.timeout),
            criteria: Some(Arc::new(criteria)),
            ..self
        }
    }
}

impl<S> Database<S> {
    /// The same database, whose commands and cursors run in a session: `&Session` or `Rc<Session>`. With
    /// [`Free`] they run outside of it again.
    ///
    /// A command in a session fails before it is sent if another client started the session, if the command has an `lsid`
    /// of its own, or if its write concern is `w: 0`. In a session for snapshot reads a command must not have a
    /// `readConcern` of its own. It fails if the server does not support sessions.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let session = client.start_session().run()?;
    /// let shop = client.database("shop").within(&session);
    /// for thing in shop.run_cursor_command::<Document>(doc! { "find": "things" })? {
    ///     println!("{}", thing?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn within<T: Scope>(&self, scope: T) -> Database<T> {
        Database {
            client: self.client.clone(),
            scope,
            name: self.name.clone(),
            problem: self.problem.clone(),
            timeout: self.timeout,
            criteria: self.criteria.clone(),
        }
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The read concern of reads that have none of their own. `run_command` has none.
    pub fn read_concern(&self) -> &ReadConcern {
        match &self.criteria {
            Some(criteria) => &criteria.read_concern,
            None => self.client.options().read_concern(),
        }
    }

    /// The write concern of writes that have none of their own. `run_command` has none.
    pub fn write_concern(&self) -> &WriteConcern {
        match &self.criteria {
            Some(criteria) => &criteria.write_concern,
            None => self.client.options().write_concern(),
        }
    }

    /// The read preference of reads that have none of their own. `run_command` has none.
    pub fn read_preference(&self) -> &ReadPreference {
        match &self.criteria {
            Some(criteria) => &criteria.read_preference,
            None => self.client.options().read_preference(),
        }
    }

    /// The read preference, as [`read_preference`](Self::read_preference). The official driver has this name.
    pub fn selection_criteria(&self) -> &ReadPreference {
        self.read_preference()
    }

    /// Read concern, write concern and read preference of this database.
    pub(crate) fn criteria(&self) -> Criteria {
        Criteria {
            read_concern: self.read_concern().clone(),
            write_concern: self.write_concern().clone(),
            read_preference: self.read_preference().clone(),
        }
    }

    /// The scope of the commands.
    pub(crate) fn scope(&self) -> &S {
        &self.scope
    }

    /// The reason why every server rejects the name, if it is invalid.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.clone()
    }

    /// `timeoutMS` of this handle.
    pub(crate) fn timeout_ms(&self) -> Option<TimeoutMs> {
        self.timeout.map(|limit| TimeoutMs {
            limit,
            kind: TimeoutKind::Database,
        })
    }

    /// The name, or an error if no server accepts it.
    fn sendable_name(&self) -> Result<&str> {
        match &self.problem {
            Some(problem) => Err(Error::invalid_argument(problem.clone())),
            None => Ok(&self.name),
        }
    }
}

impl<S: Scope> Database<S> {
    /// Returns a handle of the same database with its own `timeoutMS`: the limit of each command, unless the command has
    /// [its own](Command::timeout). Zero means no limit, even if the client has one.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use std::time::{Duration, Instant};
    ///
    /// let shop = client.database("shop").with_timeout(Duration::from_secs(2));
    /// shop.run_command(doc! { "count": "things" })?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn with_timeout(&self, limit: Duration) -> Self {
        Self {
            timeout: Some(limit),
            ..self.clone()
        }
    }

    /// Returns a handle of the same database with a deadline, which its commands, collections and cursors inherit. See
    /// [`Client::until`].
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use std::time::{Duration, Instant};
    ///
    /// let shop = client.database("shop").until(Instant::now() + Duration::from_secs(2));
    /// shop.run_command(doc! { "count": "things" })?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self {
            client: self.client.until(deadline),
            ..self.clone()
        }
    }

    /// Returns a handle of the same database with a canceller, which its commands, collections and cursors inherit. See
    /// [`Client::cancelled_by`].
    #[must_use]
    pub fn cancelled_by(&self, canceller: &Canceller) -> Self {
        Self {
            client: self.client.cancelled_by(canceller),
            ..self.clone()
        }
    }

    /// Runs a command and returns the server's reply.
    ///
    /// Servers cut long texts, also within a character. In the errors of a reply (`errmsg`, `writeErrors`,
    /// `writeConcernError`) a replacement character marks such a cut; [`run_raw_command`](Self::run_raw_command)
    /// returns the bytes unchanged.
    ///
    /// The command is sent as it is. The read concern, the write concern and the read preference of the client do not
    /// apply to it (specification "Run Command"): without [`Command::read_preference`](crate::Command::read_preference) it
    /// runs on the primary, and a read concern or write concern is part of the command.
    ///
    /// The client does not inspect the command. It retries the command only if an overloaded server rejects it, and only
    /// with both `retryReads` and `retryWrites`. A command that is [declared as a read](crate::Command::read) is also
    /// retried after errors of the network and changes of the server's state. The guide describes
    /// [retries](crate::guide::topologies#retries) in detail.
    ///
    /// The command declares the [version of the Stable API](crate::ClientOptions::server_api) of the client. The behavior
    /// is undefined if the client declares a version and the command contains `apiVersion`, `apiStrict` or
    /// `apiDeprecationErrors` of its own: the command is not searched for them.
    ///
    /// The client adds the ID of a [session](crate::Session) (`lsid`) and the cluster time (`$clusterTime`), if the server
    /// supports them. A command that contains `lsid` gets no second one. An unacknowledged write (`w: 0` in its
    /// `writeConcern`) has no session, and is an error [within](Self::within) one. The behavior is undefined if a command
    /// contains `$clusterTime`.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let reply = client.database("admin").run_command(doc! { "buildInfo": 1 })?;
    /// println!("{}", reply.get_str("version").unwrap_or("unknown"));
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument), before anything is sent, if no server accepts a
    ///   database of this name.
    /// - [`ErrorKind::Command`](crate::ErrorKind::Command) if the server answers `ok: 0`, with its code in
    ///   [`Error::command`](crate::Error::command). Errors inside a successful reply, such as `writeErrors`, are part of
    ///   the reply.
    /// - Otherwise the errors of the connection.
    pub fn run_command(&self, command: impl Into<Command>) -> Result<Document> {
        let (name, command) = (self.sendable_name()?, self.prepare(command));
        let client = self.client.within_bounds(command.bounds());
        let reply = run_command::run(&*client, name, &command, self.session())?;
        reply_to_document(&reply).map_err(|error| after_success(&command, error))
    }

    /// Runs a command and returns the reply as a value of type `T`; with the cargo feature `serde`, which is on by default.
    ///
    /// Otherwise it does the same as [`run_command`](Self::run_command).
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::Command;
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize)]
    /// struct Count {
    ///     n: i64,
    /// }
    ///
    /// let shop = client.database("shop");
    /// let count: Count = shop.run_command_as(Command::from(doc! { "count": "things" }).read())?;
    /// println!("{} things", count.n);
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`run_command`](Self::run_command), and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if the
    /// reply does not fit `T`.
    #[cfg(feature = "serde")]
    pub fn run_command_as<T: DeserializeOwned + 'static>(
        &self,
        command: impl Into<Command>,
    ) -> Result<T> {
        let (name, command) = (self.sendable_name()?, self.prepare(command));
        let client = self.client.within_bounds(command.bounds());
        let reply = run_command::run(&*client, name, &command, self.session())?;
        reply_to_typed(&reply).map_err(|error| after_success(&command, error))
    }

    /// Runs a command and returns the reply as the server sent it.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let reply = client.database("admin").run_raw_command(doc! { "ping": 1 })?;
    /// println!("{} bytes", reply.as_bytes().len());
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`run_command`](Self::run_command).
    pub fn run_raw_command(&self, command: impl Into<Command>) -> Result<RawDocumentBuf> {
        let (name, command) = (self.sendable_name()?, self.prepare(command));
        let client = self.client.within_bounds(command.bounds());
        run_command::run(&*client, name, &command, self.session())
    }

    /// Runs a command whose reply opens a cursor, such as `find` or `aggregate`.
    ///
    /// The command is sent and retried as with [`run_command`](Self::run_command); declare it as a
    /// [read](crate::Command::read) if it is one. The commands that fetch further batches are retried only if an
    /// overloaded server rejects them, and only with `retryReads`.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").run_cursor_command::<Document>(doc! { "find": "things" })?;
    /// for thing in things {
    ///     println!("{}", thing?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`run_command`](Self::run_command), and
    /// [`ErrorKind::Protocol`](crate::ErrorKind::Protocol) if the reply has no cursor.
    pub fn run_cursor_command<T>(&self, command: impl Into<Command>) -> Result<Cursor<T, S>> {
        let (name, command) = (self.sendable_name()?, self.prepare(command));
        let client = self.client.within_bounds(command.bounds());
        let opened = run_command::run_for_cursor(&*client, name, &command, self.session())?;
        let timing = CursorTiming::of(&command);
        let cursor = Cursor::open(client.into_owned(), self.scope.clone(), opened, timing);
        cursor.map_err(|error| after_success(&command, error))
    }

    /// Runs a command and returns its reply, and the cursor that the reply opens, if it does. A command such as
    /// `bulkWrite` returns some of its results in the reply, and others in the cursor.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let admin = client.database("admin");
    /// let command = doc! {
    ///     "bulkWrite": 1,
    ///     "ops": [{ "insert": 0, "document": { "_id": 1 } }],
    ///     "nsInfo": [{ "ns": "shop.things" }],
    /// };
    /// let (reply, results) = admin.run_cursor_command_with_reply::<Document>(command)?;
    /// println!("{:?} inserted", reply.get("nInserted"));
    /// for result in results.into_iter().flatten() {
    ///     println!("{}", result?);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`run_cursor_command`](Self::run_cursor_command); a reply without a cursor is not an error.
    pub fn run_cursor_command_with_reply<T>(
        &self,
        command: impl Into<Command>,
    ) -> Result<(Document, Option<Cursor<T, S>>)> {
        let (name, command) = (self.sendable_name()?, self.prepare(command));
        let client = self.client.within_bounds(command.bounds());
        let opened = run_command::run_for_cursor(&*client, name, &command, self.session())?;
        let after_success = |error| after_success(&command, error);
        let reply = reply_to_document(opened.reply.reply()).map_err(after_success)?;
        let (client, scope) = (client.into_owned(), self.scope.clone());
        let cursor = match reply.contains_key("cursor") {
            true => Some(
                Cursor::open(client, scope, opened, CursorTiming::of(&command))
                    .map_err(after_success)?,
            ),
            false => None,
        };
        Ok((reply, cursor))
    }

    /// The command with the limits of this handle.
    fn prepare(&self, command: impl Into<Command>) -> Command {
        command.into().within_database(self.timeout)
    }

    fn session(&self) -> Option<&SessionState> {
        session_of(&self.scope)
    }
}

/// The error in the reply of a command that the server has run. Only the program knows if it writes.
fn after_success(command: &Command, error: Error) -> Error {
    match command.is_read() {
        true => error,
        false => error.with_written(Written::Unknown),
    }
}

impl<S> fmt::Debug for Database<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
