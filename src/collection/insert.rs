//! `insert`: inserts documents ("CRUD API", "Insert").

use std::borrow::Borrow;

use bson::{RawBsonRef, RawDocumentBuf, cstr};

use super::Collection;
use super::action::{self, Action};
use super::document_id::id_of;
use super::model::append_insert;
use super::statement::OneStatement;
use crate::client_session::{Free, IntoScope, Scope};
use crate::encode::{ToBson, USUAL_SIZE};
use crate::error::{Error, Result};
use crate::results::InsertOneResult;
use crate::wire::request::DocumentSequence;

impl<T: ToBson, S: Scope> Collection<T, S> {
    /// Inserts a document. If it has no `_id`, the driver creates one, an `ObjectId`.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let id = things.insert_one(doc! { "name": "bolt" }).run()?.inserted_id;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn insert_one(&self, document: impl Borrow<T>) -> InsertOne<S> {
        InsertOne {
            action: self.action(),
            document: to_insert(document.borrow()),
        }
    }
}

/// Encodes a document with its `_id`.
fn to_insert<T: ToBson>(document: &T) -> Result<RawDocumentBuf> {
    let mut bytes = Vec::with_capacity(USUAL_SIZE);
    append_insert(document, &mut bytes)?;
    RawDocumentBuf::from_bytes(bytes)
        .map_err(|error| Error::bson("the document cannot be encoded as BSON", error))
}

/// The action of [`Collection::insert_one`].
#[must_use = "an action does nothing until it is run"]
pub struct InsertOne<S = Free> {
    action: Action<S>,
    /// The document, which begins with its `_id`.
    document: Result<RawDocumentBuf>,
}

action::redacted_debug!(InsertOne<S>);

impl<S: Scope> InsertOne<S> {
    action::common_setters!();
    action::write_setters!();
    action::option_fields! {
        /// Sets whether the document may violate the rules of the collection.
        bypass_document_validation: bool => "bypassDocumentValidation";
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> InsertOne<S2::Scope> {
        InsertOne {
            action: self.action.within(scope.into_scope()),
            document: self.document,
        }
    }

    /// Sends the command and returns the `_id` of the document.
    ///
    /// # Errors
    /// [`ErrorKind::Write`](crate::ErrorKind::Write) if the server rejects the document or does not acknowledge it as
    /// required; [`ErrorKind::Bson`](crate::ErrorKind::Bson) if the document or an option cannot be encoded; otherwise those
    /// of [`Database::run_command`](crate::Database::run_command).
    pub fn run(self) -> Result<InsertOneResult> {
        let document = self.document?;
        let own = [(cstr!("ordered"), RawBsonRef::Boolean(true))];
        let write = OneStatement {
            name: "insert",
            own: &own,
            statement: Some(DocumentSequence {
                identifier: "documents",
                documents: document.as_bytes(),
            }),
            writes_one: true,
            options: &self.action.options,
            hints_since: 0,
        };
        let (_, _, acknowledged) = self.action.run_write(&write)?;
        Ok(InsertOneResult {
            inserted_id: id_of(&document)?,
            acknowledged,
        })
    }
}
