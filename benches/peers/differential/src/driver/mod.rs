//! The three drivers behind one interface: an operation as a document goes in, its result as a document comes out.
//!
//! `interpreter.rs` is compiled twice, for mongotls and for the `mongodb` crate: their collections have the same methods.
//! PyMongo runs in a process of its own (`worker.py`).

mod arguments;
mod official;
mod ours;
mod pymongo;

use std::fmt;

use bson::{Bson, Document, doc};

pub(crate) use self::official::Official;
pub(crate) use self::ours::Ours;
pub(crate) use self::pymongo::PyMongo;

/// A driver that mongotls is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// The crate `mongodb`, `sync`.
    Official,
    PyMongo,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Official => "mongodb::sync",
            Self::PyMongo => "PyMongo",
        })
    }
}

/// Runs operations.
pub(crate) trait Driver: Send {
    /// Runs an operation: `{ name, arguments }`. An error of the driver or of the server is a result.
    fn run(&mut self, operation: &Document) -> Document;
}

/// The database of all operations.
pub(crate) const DATABASE: &str = "differential";

/// The result of an operation that was rejected before anything was sent, or of an answer that the driver does not accept.
fn rejected(why: &str) -> Document {
    doc! { "error": "client", WHY: why }
}

/// The result of a rejection by the server.
fn refused(code: i32, writes: Vec<(usize, i32)>, concern: Option<i32>) -> Document {
    let writes = writes.into_iter().map(|(index, code)| {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        Bson::from(doc! { "index": index, "code": code })
    });
    doc! {
        "error": "server",
        "code": code,
        "writes": writes.collect::<Vec<_>>(),
        "concern": concern,
    }
}

/// A field of results that is for readers: the drivers have different words.
pub(crate) const WHY: &str = "why";

/// True if the result is an error.
pub(crate) fn failed(result: &Document) -> bool {
    result.contains_key("error")
}
