//! `distinct`: the different values of a field ("CRUD API", "Read").

use std::marker::PhantomData;

use bson::raw::CStr;
use bson::{Bson, Document, RawArray, RawBsonRef, RawDocumentBuf, cstr};
#[cfg(feature = "serde")]
use serde::de::DeserializeOwned;

use super::Collection;
use super::action::{self, Action};
use crate::client_session::{Free, IntoScope, Scope};
use crate::document;
use crate::encode::{ToBson, to_document};
use crate::error::{Error, Result};
use crate::options::Verbosity;

impl<T, S: Scope> Collection<T, S> {
    /// Finds the different values of a field in the documents that match `filter`. They are of type [`Bson`], unless
    /// [`with_type`](Distinct::with_type) sets another one.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let kinds: Vec<String> = things.distinct("kind", doc! {}).with_type::<String>().run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn distinct(&self, field_name: impl AsRef<str>, filter: impl ToBson) -> Distinct<Bson, S> {
        Distinct {
            action: self.action(),
            field_name: field_name.as_ref().to_owned(),
            filter: to_document(&filter, "the filter"),
            values: PhantomData,
        }
    }
}

/// The action of [`Collection::distinct`].
#[must_use = "an action does nothing until it is run"]
pub struct Distinct<T = Bson, S = Free> {
    action: Action<S>,
    field_name: String,
    filter: Result<RawDocumentBuf>,
    values: PhantomData<fn() -> T>,
}

action::redacted_debug!(Distinct<T, S>);

impl<T, S: Scope> Distinct<T, S> {
    action::common_setters!();
    action::read_setters!();
    action::option_fields! {
        /// Sets the index that the server must use.
        hint: hint => "hint";
        /// Sets the rules for comparing text.
        collation: collation => "collation";
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
    }

    /// Sets the type of the values.
    pub fn with_type<U>(self) -> Distinct<U, S> {
        Distinct {
            action: self.action,
            field_name: self.field_name,
            filter: self.filter,
            values: PhantomData,
        }
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> Distinct<T, S2::Scope> {
        Distinct {
            action: self.action.within(scope.into_scope()),
            field_name: self.field_name,
            filter: self.filter,
            values: PhantomData,
        }
    }

    /// Returns the server's explanation of this operation, which describes the plan that it chooses. With
    /// [`Verbosity::QueryPlanner`] the operation does not run.
    ///
    /// # Errors
    /// As `run`, except for errors of values.
    pub fn explain(self, verbosity: Verbosity) -> Result<Document> {
        let filter = self.filter?;
        let own = [
            (cstr!("key"), RawBsonRef::String(&self.field_name)),
            (cstr!("query"), RawBsonRef::Document(&filter)),
        ];
        self.action.explain("distinct", &own, verbosity)
    }

    /// Sends the command, and converts the values.
    fn run_with<U>(self, convert: impl Fn(&RawArray) -> Result<Vec<U>>) -> Result<Vec<U>> {
        let filter = self.filter?;
        let own: [(&'static CStr, _); 2] = [
            (cstr!("key"), RawBsonRef::String(&self.field_name)),
            (cstr!("query"), RawBsonRef::Document(&filter)),
        ];
        let reply = self.action.run_read("distinct", &own)?;
        let values = reply.get_array("values");
        convert(values.map_err(|_| Error::protocol("the reply has no array \"values\""))?)
    }
}

#[cfg(feature = "serde")]
impl<T: DeserializeOwned + 'static, S: Scope> Distinct<T, S> {
    /// Sends the command and returns the values.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if an option cannot be sent, and
    /// [`ErrorKind::Bson`](crate::ErrorKind::Bson) if the filter cannot be encoded or a value is not a `T`; otherwise those
    /// of [`Database::run_command`](crate::Database::run_command).
    pub fn run(self) -> Result<Vec<T>> {
        self.run_with(document::typed_values)
    }
}

#[cfg(not(feature = "serde"))]
impl<S: Scope> Distinct<Bson, S> {
    /// Sends the command and returns the values.
    ///
    /// # Errors
    /// As [`Database::run_command`](crate::Database::run_command), and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if the
    /// filter cannot be encoded.
    pub fn run(self) -> Result<Vec<Bson>> {
        self.run_with(document::values)
    }
}
