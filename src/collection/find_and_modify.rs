//! `findAndModify`: changes or deletes one document and returns it ("CRUD API", "Find And Modify").

use std::borrow::Borrow;
use std::marker::PhantomData;

use bson::raw::CStr;
use bson::{Document, RawBsonRef, RawDocumentBuf, cstr};
#[cfg(feature = "serde")]
use serde::de::DeserializeOwned;

use super::Collection;
use super::action::{self, Action};
use super::model::ModelWriter;
use super::statement::{OneStatement, Statement};
use super::write::malformed;
use crate::client_session::{Free, IntoScope, Scope};
use crate::encode::ToBson;
use crate::error::Result;
use crate::options::{ReturnDocument, Verbosity};
use crate::results::Written;

impl<T, S: Scope> Collection<T, S> {
    /// Updates the first document that matches `filter`, and returns it as it was before. The update is a document whose
    /// keys are operators (`$set`), or an aggregation pipeline.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::options::ReturnDocument;
    ///
    /// let jobs = client.database("shop").collection::<Document>("jobs");
    /// let job = jobs
    ///     .find_one_and_update(doc! { "state": "new" }, doc! { "$set": { "state": "taken" } })
    ///     .sort(doc! { "_id": 1 })
    ///     .return_document(ReturnDocument::After)
    ///     .run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn find_one_and_update(
        &self,
        filter: impl ToBson,
        update: impl ToBson,
    ) -> FindOneAndUpdate<T, S> {
        let encode = |statement: &mut ModelWriter<'_>| {
            statement.filter(cstr!("query"), &filter)?;
            statement.update(cstr!("update"), &update, &mut Vec::new())
        };
        FindOneAndUpdate {
            action: self.action(),
            change: Statement::encode(encode),
            documents: PhantomData,
        }
    }

    /// Deletes the first document that matches `filter`, and returns it.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let jobs = client.database("shop").collection::<Document>("jobs");
    /// if let Some(job) = jobs.find_one_and_delete(doc! { "state": "done" }).run()? {
    ///     println!("removed {job}");
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn find_one_and_delete(&self, filter: impl ToBson) -> FindOneAndDelete<T, S> {
        let encode = |statement: &mut ModelWriter<'_>| {
            statement.filter(cstr!("query"), &filter)?;
            statement.boolean(cstr!("remove"), true);
            Ok(())
        };
        FindOneAndDelete {
            action: self.action(),
            change: Statement::encode(encode),
            documents: PhantomData,
        }
    }
}

impl<T: ToBson, S: Scope> Collection<T, S> {
    /// Replaces the first document that matches `filter`, and returns it as it was before.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let old = things.find_one_and_replace(doc! { "_id": 1 }, doc! { "name": "nut" }).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn find_one_and_replace(
        &self,
        filter: impl ToBson,
        replacement: impl Borrow<T>,
    ) -> FindOneAndReplace<T, S> {
        let encode = |statement: &mut ModelWriter<'_>| {
            statement.filter(cstr!("query"), &filter)?;
            statement.replacement(cstr!("update"), replacement.borrow())
        };
        FindOneAndReplace {
            action: self.action(),
            change: Statement::encode(encode),
            documents: PhantomData,
        }
    }
}

/// Declares an action of `findAndModify`, with the options that all of them have.
macro_rules! find_and_modify_action {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[must_use = "an action does nothing until it is run"]
        pub struct $name<T, S = Free> {
            action: Action<S>,
            /// The fields of the command for the filter and the change.
            change: Result<Statement>,
            documents: PhantomData<fn() -> T>,
        }

        action::redacted_debug!($name<T, S>);

        impl<T, S: Scope> $name<T, S> {
            action::common_setters!();
            action::write_setters!();
            action::option_fields! {
                /// Sets the order by which the first of several matching documents is chosen, such as `{ n: 1 }`.
                sort: document => "sort";
                /// Sets the fields that are returned, such as `{ name: 1 }`.
                projection: document => "fields";
                /// Sets the rules by which the filter compares texts.
                collation: collation => "collation";
                /// Sets the index that the server must use. Servers have it from MongoDB 4.4 on.
                hint: hint => "hint";
                /// Sets variables that the filter and a pipeline can use as `$$name`. Servers have them from MongoDB 5.0
                /// on.
                let_vars: document => "let";
                /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
                max_time: duration_ms => "maxTimeMS";
            }

            /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
            pub fn session<S2: IntoScope>(self, scope: S2) -> $name<T, S2::Scope> {
                $name {
                    action: self.action.within(scope.into_scope()),
                    change: self.change,
                    documents: PhantomData,
                }
            }

            /// Sends the command and returns the document as the server sent it, or `None` if no document matches. With the
            /// write concern `w: 0` the server sends none.
            ///
            /// # Errors
            /// Those of [`run`](Self::run), but not that the document is not a `T`.
            pub fn run_raw(self) -> Result<Option<RawDocumentBuf>> {
                let change = self.change?;
                run(&self.action, &change)
            }

            /// Returns the server's explanation of this operation, which describes the plan that it chooses. Nothing is
            /// changed, with any verbosity. The explanation comes from the primary; the write concern has no effect on it,
            /// and `max_time` limits the explanation.
            ///
            /// # Errors
            /// As [`run_raw`](Self::run_raw), except for errors of the change itself.
            pub fn explain(self, verbosity: Verbosity) -> Result<Document> {
                let change = self.change?;
                self.action.explain_write("findAndModify", &change.fields(), verbosity)
            }
        }

        #[cfg(feature = "serde")]
        impl<T: DeserializeOwned + 'static, S: Scope> $name<T, S> {
            /// Sends the command and returns the document, or `None` if no document matches. With the write concern `w: 0`
            /// the server sends none.
            ///
            /// # Errors
            /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) or
            /// [`ErrorKind::Bson`](crate::ErrorKind::Bson) if an argument or an option is wrong, before anything is sent;
            /// [`ErrorKind::Bson`](crate::ErrorKind::Bson) if the document is not a `T`, although the change was made
            /// ([`Error::written`](crate::Error::written)); [`ErrorKind::Write`](crate::ErrorKind::Write) if the server does
            /// not acknowledge the change as required; otherwise those of
            /// [`Database::run_command`](crate::Database::run_command).
            pub fn run(self) -> Result<Option<T>> {
                let document = self.run_raw()?;
                let typed = document.map(|document| crate::document::to_typed(&document));
                typed.transpose().map_err(|error| error.with_written(Written::Yes))
            }
        }

        #[cfg(not(feature = "serde"))]
        impl<S: Scope> $name<Document, S> {
            /// Sends the command and returns the document, or `None` if no document matches. With the write concern `w: 0`
            /// the server sends none.
            ///
            /// # Errors
            /// As with the feature `serde`.
            pub fn run(self) -> Result<Option<Document>> {
                let document = self.run_raw()?;
                let read = document.map(|document| crate::document::to_document(&document));
                read.transpose().map_err(|error| error.with_written(Written::Yes))
            }
        }
    };
}

find_and_modify_action! {
    /// The action of [`Collection::find_one_and_update`].
    FindOneAndUpdate
}
find_and_modify_action! {
    /// The action of [`Collection::find_one_and_replace`].
    FindOneAndReplace
}
find_and_modify_action! {
    /// The action of [`Collection::find_one_and_delete`].
    FindOneAndDelete
}

/// Declares the options of a change that keeps the document.
macro_rules! change_options {
    ($name:ident) => {
        impl<T, S: Scope> $name<T, S> {
            action::option_fields! {
                /// Sets whether a document is inserted if none matches the filter. Default: false.
                upsert: bool => "upsert";
                /// Sets whether the document may violate the rules of the collection after the change.
                bypass_document_validation: bool => "bypassDocumentValidation";
            }

            /// Sets whether the document is returned as it was before the change, or as it is after it. Default: before.
            pub fn return_document(mut self, document: ReturnDocument) -> Self {
                let is_after = document == ReturnDocument::After;
                self.action.options.set(cstr!("new"), is_after);
                self
            }
        }
    };
}

change_options!(FindOneAndUpdate);
change_options!(FindOneAndReplace);

impl<T, S: Scope> FindOneAndUpdate<T, S> {
    action::option_fields! {
        /// Sets the filters that select the elements of arrays to update.
        array_filters: array => "arrayFilters";
    }
}

fn run<S: Scope>(action: &Action<S>, change: &Statement) -> Result<Option<RawDocumentBuf>> {
    let fields = change.fields();
    let write = OneStatement {
        name: "findAndModify",
        own: &fields,
        statement: None,
        writes_one: true,
        options: &action.options,
        hints_since: HINTS,
    };
    let (reply, _, is_acknowledged) = action.run_write(&write)?;
    match reply.get("value") {
        Ok(Some(RawBsonRef::Document(document))) => Ok(Some(document.to_owned())),
        Ok(Some(RawBsonRef::Null)) => Ok(None),
        _ if !is_acknowledged => Ok(None),
        _ => Err(malformed("the document or null")),
    }
}

/// A field of a command.
type Field<'a> = (&'static CStr, RawBsonRef<'a>);

impl Statement {
    /// The fields of the command for the filter and the change.
    fn fields(&self) -> Vec<Field<'_>> {
        const NAMES: [&CStr; 3] = [cstr!("query"), cstr!("update"), cstr!("remove")];
        let fields = NAMES.into_iter().map(|name| (name, self.get(name)));
        fields
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// The first wire version whose `findAndModify` has hints: MongoDB 4.4.
const HINTS: i32 = 9;
