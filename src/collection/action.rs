//! The parts that every action has, and the macros that declare the setters of actions.

use std::sync::Arc;
use std::time::Duration;

use bson::raw::{CStr, RawDocument};
use bson::{Document, RawBson, RawBsonRef, RawDocumentBuf, cstr};

use super::action_command::{ActionCommand, ExplainCommand};
use super::target::Target;
use super::write::WriteReply;
use crate::client::Client;
use crate::client_session::{Scope, is_in_transaction, session_of};
use crate::cursor::Cursor;
use crate::database::Database;
use crate::document::reply_to_document;
use crate::encode::OptionFields;
use crate::error::{Error, Result};
use crate::event::OperationId;
use crate::op::run_command::Opened;
use crate::op::{
    CursorFields, CursorReply, CursorTiming, Extent, HasDeployment, Operation, OperationKind,
    OperationSession, OwnOptions, TimeLimit, execute, is_limited, transformed_write,
};
use crate::options::{ReadConcern, ReadPreference, Verbosity, WriteConcern};
use crate::session::ServerSession;
use crate::time::{Deadline, TimeoutKind, TimeoutMs};

/// The parts of an action that do not depend on its kind.
#[derive(Clone, Debug)]
pub(crate) struct Action<S> {
    pub(crate) target: Arc<Target>,
    /// The handle of the client, if the action has limits of its own.
    pub(crate) own_client: Option<Client>,
    pub(crate) scope: S,
    /// The options that are fields of the command.
    pub(crate) options: OptionFields,
    /// `timeoutMS` of the action.
    pub(crate) timeout: Option<Duration>,
    pub(crate) read_concern: Option<ReadConcern>,
    pub(crate) write_concern: Option<WriteConcern>,
    pub(crate) read_preference: Option<ReadPreference>,
    pub(crate) raw_data: Option<bool>,
}

impl<S> Action<S> {
    /// Creates an action without options.
    pub(crate) fn new(target: &Arc<Target>, scope: S) -> Self {
        Self {
            target: Arc::clone(target),
            own_client: None,
            scope,
            options: OptionFields::default(),
            timeout: None,
            read_concern: None,
            write_concern: None,
            read_preference: None,
            raw_data: None,
        }
    }

    /// Moves the action into another scope.
    pub(crate) fn within<S2>(self, scope: S2) -> Action<S2> {
        Action {
            target: self.target,
            own_client: self.own_client,
            scope,
            options: self.options,
            timeout: self.timeout,
            read_concern: self.read_concern,
            write_concern: self.write_concern,
            read_preference: self.read_preference,
            raw_data: self.raw_data,
        }
    }

    /// The write concern of the action. In a transaction that of the collection does not apply.
    pub(crate) fn write_concern(&self) -> &WriteConcern
    where
        S: Scope,
    {
        let of_target = match is_in_transaction(&self.scope) {
            true => &SERVER_DEFAULT,
            false => &self.target.criteria().write_concern,
        };
        self.write_concern.as_ref().unwrap_or(of_target)
    }

    /// The value of the option `comment`, which is also that of each `getMore`.
    pub(crate) fn comment(&self) -> Option<RawBson> {
        let comment = self.options.get(cstr!("comment"))?;
        Some(RawBson::from(comment))
    }

    /// `timeoutMS` of the action or of the collection.
    pub(super) fn timeout_ms(&self) -> Option<TimeoutMs> {
        let of_action = self.timeout.map(|limit| TimeoutMs {
            limit,
            kind: TimeoutKind::Operation,
        });
        of_action.or(self.target.timeout())
    }

    /// The deadline of the larger whole that the action belongs to, unless it has a limit of its own.
    fn whole(&self) -> Option<Deadline> {
        self.target.whole().filter(|_| self.timeout.is_none())
    }

    /// Converts the error of a write into that of a timeout if the server says that the time given by `timeoutMS` has passed.
    ///
    /// # Errors
    /// That of `outcome`.
    pub(crate) fn transformed<T>(&self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(_) => {
                let is_limited = {
                    let deployment = self.client().deployment();
                    is_limited(self.timeout_ms(), deployment.options, deployment.bounds)
                };
                transformed_write(outcome, is_limited)
            }
            outcome => outcome,
        }
    }

    /// The client that runs the action.
    pub(crate) fn client(&self) -> &Client {
        let own = self.own_client.as_ref();
        own.unwrap_or_else(|| self.target.client())
    }

    /// The command of the action: `name` and the collection, its own fields, and its options.
    ///
    /// # Errors
    /// If no server accepts the names of the database and the collection, or if an option cannot be encoded.
    pub(crate) fn command<'a>(
        &'a self,
        name: &'static str,
        own: &'a [(&'static CStr, RawBsonRef<'a>)],
    ) -> Result<ActionCommand<'a>>
    where
        S: Scope,
    {
        self.target.check()?;
        let subject = Some(self.target.name());
        Ok(ActionCommand {
            name,
            // Only the target of a database has no name of a collection.
            subject: subject.filter(|name| !name.is_empty()),
            own,
            options: self.options.check()?,
            ignores_max_time: self.has_timeout(),
        })
    }

    /// Returns whether `timeoutMS` of the action, the collection or the client is set. Then the driver computes
    /// `maxTimeMS`, and that of the program is ignored ("Client Side Operations Timeout", "Command Execution").
    fn has_timeout(&self) -> bool
    where
        S: Scope,
    {
        let in_transaction = || session_of(&self.scope)?.transaction().deadline();
        self.timeout_ms().is_some()
            || self.client().options().timeout.is_some()
            || in_transaction().is_some()
    }

    /// Returns an error if a write that is not acknowledged has a session of the program.
    fn check_acknowledged(&self) -> Result<()>
    where
        S: Scope,
    {
        match session_of(&self.scope) {
            Some(_) if !self.write_concern().is_acknowledged() => Err(Error::invalid_argument(
                "an unacknowledged write cannot run in a session",
            )),
            _ => Ok(()),
        }
    }
}

/// A command that changes collections or indexes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) name: &'static str,
    /// The database, if it is not that of the collection.
    pub(crate) database: Option<&'a str>,
    /// The value of the first field, if it is not the name of the collection.
    pub(crate) subject: Option<&'a str>,
    /// True if the command accepts a write concern.
    pub(crate) has_write_concern: bool,
    /// The oldest wire version that has the command with its options.
    pub(crate) min_wire_version: i32,
}

impl Change<'_> {
    /// A command about the collection of the action, with its write concern.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            database: None,
            subject: None,
            has_write_concern: true,
            min_wire_version: 0,
        }
    }
}

/// The kind of a command that opens a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CursorCommand {
    /// A read, with the read concern and the read preference of the action.
    Read,
    /// An aggregation that writes its results to a collection.
    ReadAndWrite,
    /// A read about the deployment itself. It has no read concern, and runs on the primary.
    List,
}

/// The parts of a cursor that the one in its place takes over.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    /// The time limit of the command, unless it has one of its own.
    pub(crate) limit: Option<TimeLimit>,
    /// The session, if it is one of the pool.
    pub(crate) session: Option<ServerSession>,
}

impl<S: Scope> Action<S> {
    /// An action on a database itself, without options.
    pub(crate) fn of_database(database: &Database<S>) -> Self {
        Self::new(&Target::of_database(database), database.scope().clone())
    }

    /// Runs a command that opens a cursor.
    ///
    /// # Errors
    /// If the command cannot be sent, or the server rejects it.
    pub(crate) fn open_cursor(
        &self,
        kind: CursorCommand,
        name: &'static str,
        own: &[(&'static CStr, RawBsonRef<'_>)],
        timing: CursorTiming,
    ) -> Result<Opened> {
        self.replace_cursor(kind, name, own, timing, Replaced::default())
    }

    /// Runs a command that opens a cursor in place of another one.
    ///
    /// # Errors
    /// If the command cannot be sent, or the server rejects it.
    pub(crate) fn replace_cursor(
        &self,
        kind: CursorCommand,
        name: &'static str,
        own: &[(&'static CStr, RawBsonRef<'_>)],
        timing: CursorTiming,
        replaced: Replaced,
    ) -> Result<Opened> {
        let command = self.command(name, own)?;
        let id = OperationId::default();
        let client = self.client();
        let of_client = || TimeoutMs::of_client(client.options());
        let timeout = self.timeout_ms().or_else(of_client);
        let (mut limit, max_time, mut timeout) =
            timing.begin(timeout, client.deployment().bounds)?;
        if let Some(deadline) = self.whole() {
            limit = TimeLimit::Until(deadline);
            timeout.lifetime = Some(deadline);
        }
        limit = replaced.limit.unwrap_or(limit);
        let mut fields = CursorFields::of_first_batch();
        let operation = match kind {
            CursorCommand::Read => self.read(&command, &id),
            CursorCommand::ReadAndWrite => self.read_and_write(&command, &id)?,
            CursorCommand::List => self.list(&command, &id),
        };
        let operation = Operation {
            limit,
            max_time,
            ..operation
        };
        let (reply, connection) =
            execute::run_in(client, &operation, &mut fields, replaced.session)?;
        if kind == CursorCommand::ReadAndWrite {
            self.transformed(WriteReply::read(&reply)?.check(Extent::Documents))?;
        }
        Ok(Opened {
            reply: CursorReply::new(reply, fields),
            connection,
            timeout,
            id,
        })
    }

    /// Creates the cursor that a command has opened. Servers before MongoDB 4.4 reject a comment of its further batches.
    ///
    /// # Errors
    /// If the reply has no cursor.
    pub(crate) fn into_cursor<T>(
        self,
        opened: Opened,
        timing: CursorTiming,
        batch_size: Option<u32>,
    ) -> Result<Cursor<T, S>> {
        let newest = opened.connection.connection().hello().max_wire_version;
        let comment = self.comment().filter(|_| newest >= COMMENTS_OF_GET_MORE);
        let client = self.client().clone();
        let cursor = Cursor::open(client, self.scope, opened, timing)?;
        let cursor = cursor.batch_size(batch_size.unwrap_or(0));
        Ok(match comment {
            Some(comment) => cursor.comment(comment),
            None => cursor,
        })
    }

    /// Runs a read, and returns its reply.
    ///
    /// # Errors
    /// If the command cannot be sent, or the server rejects it.
    pub(crate) fn run_read(
        &self,
        name: &'static str,
        own: &[(&'static CStr, RawBsonRef<'_>)],
    ) -> Result<RawDocumentBuf> {
        let command = self.command(name, own)?;
        let id = OperationId::default();
        let operation = self.read(&command, &id);
        let (reply, _connection) = execute::run(self.client(), &operation, &mut ())?;
        Ok(reply)
    }

    /// Runs a read whose reply has a cursor with at most one document, and converts this document.
    ///
    /// # Errors
    /// If the command cannot be sent, the server rejects it, its reply has no cursor, or `convert` fails.
    pub(crate) fn first_document<R>(
        &self,
        name: &'static str,
        own: &[(&'static CStr, RawBsonRef<'_>)],
        convert: impl FnOnce(&RawDocument) -> Result<R>,
    ) -> Result<Option<R>> {
        let command = self.command(name, own)?;
        let id = OperationId::default();
        let mut fields = CursorFields::of_first_batch();
        let operation = self.read(&command, &id);
        let (reply, _connection) = execute::run(self.client(), &operation, &mut fields)?;
        let mut batch = CursorReply::new(reply, fields).into_batch()?;
        let position = batch.next()?;
        let document = position.map(|position| convert(batch.document(&position)));
        document.transpose()
    }

    /// Returns the server's explanation of a command that reads, with the read preference of the action.
    ///
    /// # Errors
    /// If the command cannot be sent, or the server rejects it.
    pub(crate) fn explain(
        &self,
        name: &'static str,
        own: &[(&'static CStr, RawBsonRef<'_>)],
        verbosity: Verbosity,
    ) -> Result<Document> {
        self.explain_command(self.command(name, own)?, verbosity, true)
    }

    /// Returns the server's explanation of a command that writes, which changes nothing. It comes from the primary, has no
    /// write concern, and is answered even if the write would not be.
    ///
    /// # Errors
    /// If the command cannot be sent, or the server rejects it.
    pub(crate) fn explain_write(
        &self,
        name: &'static str,
        own: &[(&'static CStr, RawBsonRef<'_>)],
        verbosity: Verbosity,
    ) -> Result<Document> {
        self.explain_command(self.command(name, own)?, verbosity, false)
    }

    /// Returns the server's explanation of a command. `maxTimeMS` limits the explanation, so it is a field of `explain`
    /// itself, which accepts no read concern and no write concern. It changes nothing, so it is retried as a read.
    fn explain_command(
        &self,
        command: ActionCommand<'_>,
        verbosity: Verbosity,
        is_read: bool,
    ) -> Result<Document> {
        let limit = command.max_time().filter(|_| !command.ignores_max_time);
        let command = ExplainCommand {
            explained: ActionCommand {
                ignores_max_time: true,
                ..command
            },
            verbosity,
            limit,
        };
        let id = OperationId::default();
        let of_kind = match is_read {
            true => self.read(&command.explained, &id),
            false => self.list(&command.explained, &id),
        };
        let operation = Operation {
            command: &command,
            read_concern: None,
            ..of_kind
        };
        let (reply, _connection) = execute::run(self.client(), &operation, &mut ())?;
        reply_to_document(&reply)
    }

    /// Runs a command that lists parts of the deployment, and returns its reply.
    ///
    /// # Errors
    /// If the command cannot be sent, or the server rejects it.
    pub(crate) fn run_list(
        &self,
        name: &'static str,
        own: &[(&'static CStr, RawBsonRef<'_>)],
    ) -> Result<RawDocumentBuf> {
        let command = self.command(name, own)?;
        let id = OperationId::default();
        let operation = self.list(&command, &id);
        let (reply, _connection) = execute::run(self.client(), &operation, &mut ())?;
        Ok(reply)
    }

    /// Runs a command that changes collections or indexes, and returns its reply.
    ///
    /// # Errors
    /// If the command cannot be sent, the server rejects it, or it is not acknowledged as the write concern requires.
    pub(crate) fn run_administration(
        &self,
        change: Change<'_>,
        own: &[(&'static CStr, RawBsonRef<'_>)],
    ) -> Result<RawDocumentBuf> {
        let mut command = self.command(change.name, own)?;
        command.subject = change.subject.or(command.subject);
        let id = OperationId::default();
        let mut operation = Operation {
            database: change.database.unwrap_or(self.target.database()),
            min_wire_version: change.min_wire_version,
            ..self.write(&command, &id, OperationKind::Write)
        };
        if change.has_write_concern {
            self.check_acknowledged()?;
        } else {
            operation.write_concern = None;
        }
        if operation
            .write_concern
            .is_some_and(|it| !it.is_acknowledged())
        {
            operation.session = OperationSession::Omitted;
        }
        let (reply, _connection) = execute::run(self.client(), &operation, &mut ())?;
        self.transformed(WriteReply::read(&reply)?.check(Extent::Documents))?;
        Ok(reply)
    }

    /// The operation of a command that reads.
    pub(crate) fn read<'a>(
        &'a self,
        command: &'a ActionCommand<'a>,
        id: &'a OperationId,
    ) -> Operation<'a> {
        let criteria = self.target.criteria();
        let read_concern = self.read_concern.as_ref().unwrap_or(&criteria.read_concern);
        let preference = self
            .read_preference
            .as_ref()
            .unwrap_or(&criteria.read_preference);
        Operation {
            kind: OperationKind::Read,
            read_concern: Some(read_concern),
            read_preference: Some(preference),
            ..self.operation(command, id)
        }
    }

    /// The operation of a command that writes. `kind` says if it may be retried.
    pub(crate) fn write<'a>(
        &'a self,
        command: &'a ActionCommand<'a>,
        id: &'a OperationId,
        kind: OperationKind,
    ) -> Operation<'a> {
        Operation {
            kind,
            write_concern: Some(self.write_concern()),
            ..self.operation(command, id)
        }
    }

    /// The operation of an aggregation that writes. It is not retried, and the server must be new enough for the read
    /// preference ("Server Selection", "Aggregation with $out or $merge").
    fn read_and_write<'a>(
        &'a self,
        command: &'a ActionCommand<'a>,
        id: &'a OperationId,
    ) -> Result<Operation<'a>> {
        self.check_acknowledged()?;
        Ok(Operation {
            kind: OperationKind::Write,
            write_concern: Some(self.write_concern()),
            ..self.read(command, id)
        })
    }

    /// The operation of a command that lists parts of the deployment.
    pub(crate) fn list<'a>(
        &'a self,
        command: &'a ActionCommand<'a>,
        id: &'a OperationId,
    ) -> Operation<'a> {
        Operation {
            kind: OperationKind::Read,
            ..self.operation(command, id)
        }
    }

    fn operation<'a>(
        &'a self,
        command: &'a ActionCommand<'a>,
        id: &'a OperationId,
    ) -> Operation<'a> {
        Operation {
            limit: match self.whole() {
                Some(deadline) => TimeLimit::Until(deadline),
                None => self.timeout_ms().map_or(TimeLimit::OfClient, TimeLimit::Of),
            },
            session: OperationSession::of(session_of(&self.scope)),
            own: OwnOptions {
                read_concern: self.read_concern.is_some(),
                write_concern: self.write_concern.is_some(),
                read_preference: self.read_preference.is_some(),
                timeout: self.timeout.is_some(),
            },
            raw_data: self.raw_data,
            ..Operation::new(self.target.database(), command, id)
        }
    }
}

/// No write concern.
const SERVER_DEFAULT: WriteConcern = WriteConcern {
    w: None,
    w_timeout: None,
    journal: None,
};

/// The first wire version whose servers accept a comment in `getMore`: MongoDB 4.4.
const COMMENTS_OF_GET_MORE: i32 = 9;

/// Declares setters of an action for options that are fields of its command. A row has the type of the value, and the
/// name of the field. With `in statement;` the options are fields of the one statement that the command has.
macro_rules! option_fields {
    (in statement; $($(#[$doc:meta])* $name:ident: $kind:tt => $key:literal;)*) => {
        $($crate::collection::action::option_fields!(@$kind [statement] $(#[$doc])* $name $key);)*
    };
    ($($(#[$doc:meta])* $name:ident: $kind:tt => $key:literal;)*) => {
        $($crate::collection::action::option_fields!(@$kind [action.options] $(#[$doc])* $name $key);)*
    };
    (@bool [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: bool) -> Self {
            self.$($place)+.set(bson::cstr!($key), $name);
            self
        }
    };
    (@text [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: impl AsRef<str>) -> Self {
            self.$($place)+.set(bson::cstr!($key), $name.as_ref());
            self
        }
    };
    (@seconds [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: std::time::Duration) -> Self {
            let seconds = i64::try_from($name.as_secs()).unwrap_or(i64::MAX);
            self.$($place)+.set(bson::cstr!($key), seconds);
            self
        }
    };
    // A type of `options/` with a method `to_document`.
    (@[$kind:ty] [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: $kind) -> Self {
            self.$($place)+.set_document(bson::cstr!($key), &$name.to_document());
            self
        }
    };
    // A type of `options/` with a method `as_str`.
    (@($kind:ty) [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: $kind) -> Self {
            self.$($place)+.set(bson::cstr!($key), $name.as_str());
            self
        }
    };
    (@i64 [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: i64) -> Self {
            self.$($place)+.set(bson::cstr!($key), $name);
            self
        }
    };
    (@u64 [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: u64) -> Self {
            let value = i64::try_from($name).unwrap_or(i64::MAX);
            self.$($place)+.set(bson::cstr!($key), value);
            self
        }
    };
    (@document [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: impl $crate::encode::ToBson) -> Self {
            self.$($place)+.set_document(bson::cstr!($key), &$name);
            self
        }
    };
    (@value [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: impl $crate::encode::ToBson) -> Self {
            self.$($place)+.set_value(bson::cstr!($key), &$name);
            self
        }
    };
    (@array [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: impl $crate::encode::ToBson) -> Self {
            self.$($place)+.set_array(bson::cstr!($key), &$name);
            self
        }
    };
    (@hint [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: impl Into<$crate::options::Hint>) -> Self {
            match $name.into() {
                $crate::options::Hint::Name(name) => self.$($place)+.set(bson::cstr!($key), name),
                $crate::options::Hint::Keys(keys) => {
                    self.$($place)+.set_document(bson::cstr!($key), &keys);
                }
            }
            self
        }
    };
    (@collation [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: $crate::options::Collation) -> Self {
            self.$($place)+.set_document(bson::cstr!($key), &$name.to_document());
            self
        }
    };
    (@duration_ms [$($place:tt)+] $(#[$doc:meta])* $name:ident $key:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: std::time::Duration) -> Self {
            let ms = i64::try_from($name.as_millis()).unwrap_or(i64::MAX);
            self.$($place)+.set(bson::cstr!($key), ms);
            self
        }
    };
}
pub(crate) use option_fields;

/// Implements `Debug` for an action, without the values of the program: only the names of the database and the collection.
macro_rules! redacted_debug {
    ($name:ident<$($parameter:ident),+>) => {
        impl<$($parameter),+> std::fmt::Debug for $name<$($parameter),+> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("database", &self.action.target.database())
                    .field("collection", &self.action.target.name())
                    .finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use redacted_debug;

/// Declares the setter of an action for an optional value.
macro_rules! optional_setter {
    () => {
        /// Calls a setter if there is a value: `find.optional(limit, |find, limit| find.limit(limit))`.
        pub fn optional<V>(self, value: Option<V>, set: impl FnOnce(Self, V) -> Self) -> Self {
            match value {
                Some(value) => set(self, value),
                None => self,
            }
        }
    };
}
pub(crate) use optional_setter;

/// Declares the setters that all actions have.
macro_rules! common_setters {
    () => {
        $crate::collection::action::optional_setter!();
        $crate::collection::action::option_fields! {
            /// Sets a comment, which the logs and the profile of the server show. Any value; servers before MongoDB 4.4
            /// take only a text.
            comment: value => "comment";
        }

        /// Sets whether a time-series collection is read and written in its internal form. Servers before MongoDB 8.2 do
        /// not have this option and get the command without it.
        pub fn raw_data(mut self, raw_data: bool) -> Self {
            self.action.raw_data = Some(raw_data);
            self
        }

        $crate::collection::action::limit_setters!();
    };
}
pub(crate) use common_setters;

/// Declares the setters of limits, which all actions have.
macro_rules! limit_setters {
    () => {
        /// Sets `timeoutMS` of this operation: the limit for all attempts, in all. Default: `timeoutMS` of the client.
        /// Zero means no limit. See the [guide](crate::guide::timeouts).
        pub fn timeout(mut self, limit: std::time::Duration) -> Self {
            self.action.timeout = Some(limit);
            self
        }

        /// Sets an instant after which nothing is sent for this operation, or for the cursor that it opens. It works like
        /// `timeoutMS`, and the earlier limit counts. See [`Client::until`](crate::Client::until).
        pub fn deadline(mut self, deadline: std::time::Instant) -> Self {
            self.action.own_client = Some(self.action.client().until(deadline));
            self
        }

        /// Ends this operation, or the cursor that it opens, when `canceller` is used on another thread. See
        /// [`Client::cancelled_by`](crate::Client::cancelled_by).
        pub fn cancelled_by(mut self, canceller: &$crate::Canceller) -> Self {
            self.action.own_client = Some(self.action.client().cancelled_by(canceller));
            self
        }
    };
}
pub(crate) use limit_setters;

/// Declares the setters of actions that read.
macro_rules! read_setters {
    () => {
        /// Sets the read concern. Default: that of the collection.
        pub fn read_concern(mut self, concern: $crate::options::ReadConcern) -> Self {
            self.action.read_concern = Some(concern);
            self
        }

        /// Sets the members of a replica set that may answer. Default: those of the collection.
        pub fn read_preference(mut self, preference: $crate::options::ReadPreference) -> Self {
            self.action.read_preference = Some(preference);
            self
        }

        /// Sets the read preference, as [`read_preference`](Self::read_preference) does. The official driver has this
        /// name.
        pub fn selection_criteria(self, preference: $crate::options::ReadPreference) -> Self {
            self.read_preference(preference)
        }
    };
}
pub(crate) use read_setters;

/// Declares the setters of actions that write.
macro_rules! write_setters {
    () => {
        /// Sets the write concern. Default: that of the collection.
        pub fn write_concern(mut self, concern: $crate::options::WriteConcern) -> Self {
            self.action.write_concern = Some(concern);
            self
        }
    };
}
pub(crate) use write_setters;
