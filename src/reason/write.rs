//! Why a server rejected a command or one of its writes, as far as the reason has a remedy of its own.

use bson::Document;

/// A command or a write that the server rejected, or did not acknowledge.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    /// The index of the write in the operation, if it is one of several.
    pub(crate) position: Option<usize>,
    /// The server's code of the error.
    pub(crate) code: i32,
    /// The server's text.
    pub(crate) text: String,
    pub(crate) kind: RefusalKind,
}

/// The reason of a [`Refusal`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RefusalKind {
    /// A unique index has the value already.
    DuplicateKey {
        index: Option<String>,
        pattern: Option<Document>,
        value: Option<Document>,
    },
    /// The document violates rules of its collection.
    ValidationFailed { broken: Vec<BrokenRule> },
    /// Another operation has changed the same document at the same time.
    WriteConflict,
    /// The server is not the primary, or stops being it.
    NotPrimary,
    /// The write was made, and not enough members have confirmed it in time.
    WriteConcernTimeout { required: Option<String> },
    /// `maxTimeMS` has passed at the server.
    MaxTimeExpired,
    /// The document is larger than the server allows.
    DocumentTooLarge,
    /// The server does not have the cursor any more.
    CursorExpired,
    /// The user may not do this.
    Unauthorized {
        action: Option<String>,
        resource: Option<String>,
    },
    /// The update changes a field that cannot change.
    ImmutableField { field: Option<String> },
    /// There is another index with the same name or the same keys.
    IndexConflict,
    /// There is a collection or a view with this name.
    NamespaceExists,
    /// The command is not a part of the Stable API.
    ApiStrict,
}

/// A rule of a collection that a document violates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokenRule {
    /// The path of the field, such as `address.zip`. Empty for the document.
    pub(crate) path: String,
    /// The operator of the rule, such as `bsonType`.
    pub(crate) rule: String,
}
