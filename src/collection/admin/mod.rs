//! The administration of collections, databases and indexes ("Collection Management", "Enumerating Collections",
//! "Enumerating Databases", "Index Management").
//!
//! Commands that list something run on the primary, without a read concern, and are retried as reads. The others have the
//! write concern of the handle, and are not retried.

mod collections;
mod databases;
mod indexes;
mod list_collections;
mod search_indexes;

pub use self::collections::{
    CreateCollection, DropCollection, DropDatabase, ModifyCollection, RenameCollection,
};
pub use self::databases::{ListDatabaseNames, ListDatabases};
pub use self::indexes::{CreateIndex, CreateIndexes, DropIndexes, ListIndexNames, ListIndexes};
pub use self::list_collections::{ListCollectionNames, ListCollections};
pub use self::search_indexes::{
    CreateSearchIndex, CreateSearchIndexes, DropSearchIndex, ListSearchIndexes, UpdateSearchIndex,
};
use bson::raw::RawDocument;
use bson::{Document, RawArrayBuf};

use crate::client_session::Scope;
use crate::cursor::Cursor;
use crate::encode::to_document;
use crate::error::{Error, Result};
use crate::server_code::NAMESPACE_NOT_FOUND;

/// Treats the missing collection of a command that drops something as success.
fn unless_missing<T>(outcome: Result<T>) -> Result<()> {
    match outcome.map(drop) {
        Err(error) if is_missing(&error) => Ok(()),
        outcome => outcome,
    }
}

fn is_missing(error: &Error) -> bool {
    let code = error.command().map(|failure| failure.code);
    code == Some(NAMESPACE_NOT_FOUND)
}

/// The field `name` of each document of a cursor.
fn names<S: Scope>(mut cursor: Cursor<Document, S>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    while cursor.advance()? {
        names.push(name(cursor.current())?);
    }
    Ok(names)
}

fn name(document: &RawDocument) -> Result<String> {
    let name = document.get_str("name");
    name.map(str::to_owned)
        .map_err(|_| Error::protocol("an element of the reply has no name"))
}

/// Encodes documents as an array. `what` names one of them in an error.
fn array(documents: impl IntoIterator<Item = Document>, what: &str) -> Result<RawArrayBuf> {
    let mut array = RawArrayBuf::new();
    for document in documents {
        array.push(to_document(&document, what)?);
    }
    Ok(array)
}
