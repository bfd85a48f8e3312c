//! `insert`: inserts documents ("CRUD API", "Insert").

use std::borrow::Borrow;

use bson::{Bson, RawBsonRef, cstr};

use super::Collection;
use super::action::{self, Action};
use super::document_id::ensure_id;
use super::statement::OneStatement;
use crate::client_session::{Free, IntoScope, Scope};
use crate::encode::{ToBson, append_document, is_bson};
use crate::error::Result;
use crate::object_id::IdGenerator;
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
        let mut bytes = Vec::new();
        let encoded = append_document(document.borrow(), "the document", &mut bytes);
        InsertOne {
            action: self.action(),
            document: encoded.and_then(|()| {
                let id = ensure_id(&mut bytes, 0, IdGenerator::new(), is_bson::<T>())?;
                Ok((bytes, id))
            }),
        }
    }
}

/// The action of [`Collection::insert_one`].
#[must_use = "an action does nothing until it is run"]
pub struct InsertOne<S = Free> {
    action: Action<S>,
    /// The document and its `_id`.
    document: Result<(Vec<u8>, Bson)>,
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
        let (document, inserted_id) = self.document?;
        let own = [(cstr!("ordered"), RawBsonRef::Boolean(true))];
        let write = OneStatement {
            name: "insert",
            own: &own,
            statement: Some(DocumentSequence {
                identifier: "documents",
                documents: &document,
            }),
            writes_one: true,
            options: &self.action.options,
            hints_since: 0,
        };
        let (_, _, acknowledged) = self.action.run_write(&write)?;
        Ok(InsertOneResult {
            inserted_id,
            acknowledged,
        })
    }
}
