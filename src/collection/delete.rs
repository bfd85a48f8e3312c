//! `delete`: deletes documents ("CRUD API", "Delete").

use bson::{Document, RawBsonRef, cstr};

use super::Collection;
use super::action::{self, Action};
use super::statement::{OneStatement, Statement};
use crate::client_session::{Free, IntoScope, Scope};
use crate::encode::{OptionFields, ToBson};
use crate::error::Result;
use crate::options::Verbosity;
use crate::results::DeleteResult;

impl<T, S: Scope> Collection<T, S> {
    /// Deletes the first document that matches `filter`.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let deleted = things.delete_one(doc! { "name": "bolt" }).run()?.deleted_count;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn delete_one(&self, filter: impl ToBson) -> Delete<S> {
        self.delete(&filter, true)
    }

    /// Deletes all documents that match `filter`. It is not retried after a network error.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// things.delete_many(doc! { "count": 0 }).hint("count_1").run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn delete_many(&self, filter: impl ToBson) -> Delete<S> {
        self.delete(&filter, false)
    }

    fn delete(&self, filter: &impl ToBson, deletes_one: bool) -> Delete<S> {
        let deletion = Statement::encode(|statement| {
            statement.filter(cstr!("q"), filter)?;
            statement.int32(cstr!("limit"), i32::from(deletes_one));
            Ok(())
        });
        Delete {
            action: self.action(),
            deletion,
            statement: OptionFields::default(),
            deletes_one,
        }
    }
}

/// The action of [`Collection::delete_one`] and [`Collection::delete_many`].
#[must_use = "an action does nothing until it is run"]
pub struct Delete<S = Free> {
    action: Action<S>,
    deletion: Result<Statement>,
    statement: OptionFields,
    deletes_one: bool,
}

action::redacted_debug!(Delete<S>);

impl<S: Scope> Delete<S> {
    action::common_setters!();
    action::write_setters!();
    action::option_fields! {
        /// Sets variables that the filter can use as `$$name`. Servers have them from MongoDB 5.0 on.
        let_vars: document => "let";
    }
    action::option_fields! {
        in statement;
        /// Sets the rules by which the filter compares texts.
        collation: collation => "collation";
        /// Sets the index that the server must use. Servers have it from MongoDB 4.4 on.
        hint: hint => "hint";
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> Delete<S2::Scope> {
        Delete {
            action: self.action.within(scope.into_scope()),
            deletion: self.deletion,
            statement: self.statement,
            deletes_one: self.deletes_one,
        }
    }

    /// Sends the command and returns the number of documents that were deleted.
    ///
    /// # Errors
    /// [`ErrorKind::Write`](crate::ErrorKind::Write) if the server rejects the deletion or does not acknowledge it as
    /// required; [`ErrorKind::Bson`](crate::ErrorKind::Bson) if the filter or an option cannot be encoded; otherwise those
    /// of [`Database::run_command`](crate::Database::run_command).
    pub fn run(self) -> Result<DeleteResult> {
        let statement = self.deletion?.with(&self.statement)?;
        let own = [(cstr!("ordered"), RawBsonRef::Boolean(true))];
        let write = OneStatement {
            name: "delete",
            own: &own,
            statement: Some(statement.sequence("deletes")),
            writes_one: self.deletes_one,
            options: &self.statement,
            hints_since: HINTS,
        };
        let (_, reply, acknowledged) = self.action.run_write(&write)?;
        Ok(DeleteResult {
            deleted_count: reply.n,
            acknowledged,
        })
    }

    /// Returns the server's explanation of this operation, which describes the plan that it chooses. Nothing is deleted,
    /// with any verbosity. The explanation comes from the primary; the write concern has no effect on it.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::options::Verbosity;
    ///
    /// let things = client.database("shop").collection::<Document>("things");
    /// let plan = things.delete_many(doc! { "count": 0 }).explain(Verbosity::ExecutionStats)?;
    /// println!("{plan}");
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run), except for errors of the deletion itself.
    pub fn explain(self, verbosity: Verbosity) -> Result<Document> {
        let deletes = self.deletion?.with(&self.statement)?.into_array();
        let own = [(cstr!("deletes"), RawBsonRef::Array(&deletes))];
        self.action.explain_write("delete", &own, verbosity)
    }
}

/// The first wire version whose `delete` has hints: MongoDB 4.4.
const HINTS: i32 = 9;
