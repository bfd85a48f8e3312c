//! A command as a program builds it, before a server is selected.

use std::time::Duration;

use bson::raw::RawDocument;
use bson::{Document, RawDocumentBuf};

use crate::error::{Error, Result};
use crate::options::ReadPreference;
use crate::wire::request::DocumentSequence;

/// A command with its options.
///
/// Most commands are a document only: a method that takes a `Command` also takes a [`Document`](bson::Document) or raw
/// BSON. Many documents, as for an insert, belong into a [sequence](Self::documents): they are sent as they are, and need
/// not fit into one document with the command.
///
/// ```
/// use mongotls::Command;
/// use mongotls::bson::{doc, rawdoc};
///
/// let insert = Command::from(doc! { "insert": "things" })
///     .documents("documents", [rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }]);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a command does nothing until it is run"]
pub struct Command {
    body: Result<RawDocumentBuf>,
    sequences: Vec<(String, Vec<u8>)>,
    timeout: Option<Duration>,
    read_preference: Option<ReadPreference>,
}

impl Command {
    fn new(body: Result<RawDocumentBuf>) -> Self {
        Self {
            body,
            sequences: Vec::new(),
            timeout: None,
            read_preference: None,
        }
    }

    /// Adds documents for the field `identifier` of the command, such as `documents` of an insert.
    ///
    /// The command itself must not have this field. An identifier with a NUL is rejected when the command is run.
    pub fn documents<D: AsRef<RawDocument>>(
        mut self,
        identifier: &str,
        documents: impl IntoIterator<Item = D>,
    ) -> Self {
        if identifier.is_empty() || identifier.contains('\0') {
            self.body = Err(Error::invalid_argument(
                "the identifier of a document sequence must not be empty nor hold a NUL",
            ));
            return self;
        }
        let mut bytes = Vec::new();
        for document in documents {
            bytes.extend_from_slice(document.as_ref().as_bytes());
        }
        self.sequences.push((identifier.to_owned(), bytes));
        self
    }

    /// Limits the time for this command: server selection, check-out, sending and the reply, in all.
    ///
    /// Default: `timeoutMS` of the client; without it only the limits of each step apply. Zero means no limit, even if
    /// `timeoutMS` is set. For a command that opens a cursor, the limit applies to each batch separately.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use mongotls::Command;
    /// use mongotls::bson::doc;
    ///
    /// let find = Command::from(doc! { "find": "things" }).timeout(Duration::from_secs(2));
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Sets the members of a replica set, or of the shards of a cluster, that may run the command. Default: the primary,
    /// even if the client has another read preference (specification "Run Command").
    ///
    /// The client selects a server by the preference, and sends it to members and routers. With `directConnection=true`
    /// a member of a replica set answers reads even if it is not the primary: without a preference, or with `primary`, the
    /// client sends `primaryPreferred`. A standalone server gets no preference.
    ///
    /// ```
    /// use mongotls::Command;
    /// use mongotls::bson::doc;
    /// use mongotls::options::{ReadPreference, ReadPreferenceMode};
    ///
    /// let mut preference = ReadPreference::default();
    /// preference.mode = ReadPreferenceMode::SecondaryPreferred;
    /// let find = Command::from(doc! { "find": "things" }).read_preference(preference);
    /// ```
    pub fn read_preference(mut self, preference: ReadPreference) -> Self {
        self.read_preference = Some(preference);
        self
    }

    /// The command's document.
    pub(crate) fn body(&self) -> Result<&RawDocumentBuf> {
        match &self.body {
            Ok(body) if body.is_empty() => Err(Error::invalid_argument("the command is empty")),
            Ok(body) => Ok(body),
            Err(error) => Err(error.clone()),
        }
    }

    pub(crate) fn sequences(&self) -> Vec<DocumentSequence<'_>> {
        let sequences = self.sequences.iter();
        sequences
            .map(|(identifier, documents)| DocumentSequence {
                identifier,
                documents,
            })
            .collect()
    }

    pub(crate) fn limit(&self) -> Option<Duration> {
        self.timeout
    }

    pub(crate) fn preference(&self) -> Option<&ReadPreference> {
        self.read_preference.as_ref()
    }
}

impl From<Document> for Command {
    fn from(document: Document) -> Self {
        Self::from(&document)
    }
}

impl From<&Document> for Command {
    fn from(document: &Document) -> Self {
        let raw = RawDocumentBuf::try_from(document);
        Self::new(raw.map_err(|error| Error::bson("the command cannot be encoded", error)))
    }
}

impl From<RawDocumentBuf> for Command {
    fn from(raw: RawDocumentBuf) -> Self {
        Self::new(Ok(raw))
    }
}

impl From<&RawDocument> for Command {
    fn from(raw: &RawDocument) -> Self {
        Self::new(Ok(raw.to_owned()))
    }
}
