//! `update`: changes or replaces documents ("CRUD API", "Update").

use std::borrow::Borrow;

use bson::{Document, RawBsonRef, cstr};

use super::Collection;
use super::action::{self, Action};
use super::model::ModelWriter;
use super::statement::{OneStatement, Statement};
use crate::client_session::{Free, IntoScope, Scope};
use crate::encode::{OptionFields, ToBson};
use crate::error::Result;
use crate::options::Verbosity;
use crate::results::UpdateResult;

impl<T, S: Scope> Collection<T, S> {
    /// Updates the first document that matches `filter`. The update is a document whose keys are operators (`$set`), or an
    /// aggregation pipeline.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let result = things
    ///     .update_one(doc! { "name": "bolt" }, doc! { "$inc": { "count": 1 } })
    ///     .upsert(true)
    ///     .run()?;
    /// println!("{} changed, inserted: {:?}", result.modified_count, result.upserted_id);
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn update_one(&self, filter: impl ToBson, update: impl ToBson) -> UpdateOne<S> {
        UpdateOne {
            action: self.action(),
            update: encode_update(&filter, &update, false),
            statement: OptionFields::default(),
        }
    }

    /// Updates all documents that match `filter`, as [`update_one`](Self::update_one) updates one. It is not retried after
    /// a network error, because the server would run it twice.
    pub fn update_many(&self, filter: impl ToBson, update: impl ToBson) -> UpdateMany<S> {
        UpdateMany {
            action: self.action(),
            update: encode_update(&filter, &update, true),
            statement: OptionFields::default(),
        }
    }
}

impl<T: ToBson, S: Scope> Collection<T, S> {
    /// Replaces the first document that matches `filter`. Its `_id` stays.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// things.replace_one(doc! { "_id": 1 }, doc! { "name": "nut" }).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn replace_one(&self, filter: impl ToBson, replacement: impl Borrow<T>) -> ReplaceOne<S> {
        let encode = |statement: &mut ModelWriter<'_>| {
            statement.filter(cstr!("q"), &filter)?;
            statement.replacement(cstr!("u"), replacement.borrow())
        };
        ReplaceOne {
            action: self.action(),
            update: Statement::encode(encode),
            statement: OptionFields::default(),
        }
    }
}

fn encode_update(filter: &impl ToBson, update: &impl ToBson, is_multi: bool) -> Result<Statement> {
    Statement::encode(|statement| {
        statement.filter(cstr!("q"), filter)?;
        statement.update(cstr!("u"), update, &mut Vec::new())?;
        if is_multi {
            statement.boolean(cstr!("multi"), true);
        }
        Ok(())
    })
}

/// Declares an action of `update`, with the options that all of them have.
macro_rules! update_action {
    ($(#[$doc:meta])* $name:ident, $writes_one:literal) => {
        $(#[$doc])*
        #[must_use = "an action does nothing until it is run"]
        pub struct $name<S = Free> {
            action: Action<S>,
            update: Result<Statement>,
            statement: OptionFields,
        }

        action::redacted_debug!($name<S>);

        impl<S: Scope> $name<S> {
            action::common_setters!();
            action::write_setters!();
            action::option_fields! {
                /// Sets whether a document may violate the rules of the collection after the update.
                bypass_document_validation: bool => "bypassDocumentValidation";
                /// Sets variables that the filter and a pipeline can use as `$$name`. Servers have them from MongoDB 5.0
                /// on.
                let_vars: document => "let";
            }
            action::option_fields! {
                in statement;
                /// Sets whether a document is inserted if none matches the filter. Default: false.
                upsert: bool => "upsert";
                /// Sets the rules by which the filter compares texts.
                collation: collation => "collation";
                /// Sets the index that the server must use.
                hint: hint => "hint";
            }

            /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
            pub fn session<S2: IntoScope>(self, scope: S2) -> $name<S2::Scope> {
                $name {
                    action: self.action.within(scope.into_scope()),
                    update: self.update,
                    statement: self.statement,
                }
            }

            /// Sends the command and returns the numbers of documents that matched and that changed.
            ///
            /// # Errors
            /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) or
            /// [`ErrorKind::Bson`](crate::ErrorKind::Bson) if an argument or an option is wrong, before anything is sent;
            /// [`ErrorKind::Write`](crate::ErrorKind::Write) if the server rejects the update or does not acknowledge it as
            /// required; otherwise those of [`Database::run_command`](crate::Database::run_command).
            pub fn run(self) -> Result<UpdateResult> {
                run(&self.action, self.update?, &self.statement, $writes_one)
            }

            /// Returns the server's explanation of this operation, which describes the plan that it chooses. Nothing is
            /// changed, with any verbosity. The explanation comes from the primary; the write concern has no effect on it.
            ///
            /// # Errors
            /// As [`run`](Self::run), except for errors of the update itself.
            pub fn explain(self, verbosity: Verbosity) -> Result<Document> {
                let updates = self.update?.with(&self.statement)?.into_array();
                let own = [(cstr!("updates"), RawBsonRef::Array(&updates))];
                self.action.explain_write("update", &own, verbosity)
            }
        }
    };
}

update_action! {
    /// The action of [`Collection::update_one`].
    UpdateOne, true
}
update_action! {
    /// The action of [`Collection::update_many`].
    UpdateMany, false
}
update_action! {
    /// The action of [`Collection::replace_one`].
    ReplaceOne, true
}

/// Declares the option `array_filters`.
macro_rules! array_filters {
    ($name:ident) => {
        impl<S: Scope> $name<S> {
            action::option_fields! {
                in statement;
                /// Sets the filters that select the elements of arrays to update.
                array_filters: array => "arrayFilters";
            }
        }
    };
}

array_filters!(UpdateOne);
array_filters!(UpdateMany);

/// Declares the option `sort`.
macro_rules! sort {
    ($name:ident) => {
        impl<S: Scope> $name<S> {
            action::option_fields! {
                in statement;
                /// Sets the order by which the first of several matching documents is chosen. Servers have it from MongoDB
                /// 8.0 on.
                sort: document => "sort";
            }
        }
    };
}

sort!(UpdateOne);
sort!(ReplaceOne);

fn run<S: Scope>(
    action: &Action<S>,
    update: Statement,
    options: &OptionFields,
    writes_one: bool,
) -> Result<UpdateResult> {
    let statement = update.with(options)?;
    let own = [(cstr!("ordered"), RawBsonRef::Boolean(true))];
    let write = OneStatement {
        name: "update",
        own: &own,
        statement: Some(statement.sequence("updates")),
        writes_one,
        options,
        hints_since: HINTS,
    };
    let (_, mut reply, acknowledged) = action.run_write(&write)?;
    let upserted_id = reply.upserted.pop().map(|(_, id)| id);
    Ok(UpdateResult {
        matched_count: reply.n.saturating_sub(u64::from(upserted_id.is_some())),
        modified_count: reply.n_modified,
        upserted_id,
        acknowledged,
    })
}

/// The first wire version whose `update` has hints: MongoDB 4.2.
const HINTS: i32 = 8;
