//! A cursor: the results of a command, batch by batch.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;

use bson::raw::RawDocument;
use bson::{Document, RawArrayBuf, RawBsonRef, RawDocumentBuf, rawdoc};
#[cfg(feature = "serde")]
use serde::de::DeserializeOwned;

use crate::client::{Checked, Client, HomeServer};
use crate::command::Command;
use crate::conn::integer;
#[cfg(not(feature = "serde"))]
use crate::document::to_document;
#[cfg(feature = "serde")]
use crate::document::to_typed;
use crate::error::{Error, ErrorKind, Result};
use crate::logging::debug;

/// The results of a command, fetched in batches as they are consumed.
///
/// As an iterator it yields values of type `T`: any that `serde` can make of a document or, without the cargo feature
/// `serde`, a [`Document`] or a [`RawDocumentBuf`]. [`advance`](Self::advance) and
/// [`current`](Self::current) give access to the raw documents without copying them.
///
/// A tailable cursor (`tailable: true` in the command that opened it) has no end of its own: it gives
/// nothing where there is nothing now, and may be asked again as long as it
/// [is open](Self::is_open). With `awaitData: true` the server waits a while for more before it answers;
/// without it, the program should pause before it asks again. So the iterator is not fused.
///
/// Dropping a cursor that is not exhausted tells the server to close it, on a connection of the pool;
/// a failure to do so goes to the log, target `mongotls::cursor`.
///
/// Behind a load balancer (`loadBalanced=true`) a cursor keeps its connection until the server has
/// closed it: another connection may lead to another server.
pub struct Cursor<T = Document> {
    client: Client,
    home: Home,
    database: String,
    collection: String,
    /// 0 once the server has closed the cursor.
    id: i64,
    batch: Batch,
    /// Where the current document lies in the batch.
    current: Range<usize>,
    batch_size: Option<i32>,
    limit: Option<Duration>,
    tailable: bool,
    failed: bool,
    values: PhantomData<fn() -> T>,
}

/// Where the commands of a cursor must go.
pub(crate) enum Home {
    /// To the server that holds it, on any connection.
    Server(HomeServer),
    /// To the connection that opened it ("Load Balancer Support", "Connection Pinning").
    Connection(Box<Checked>),
}

impl<T> Cursor<T> {
    /// Reads the reply of the command that opened the cursor.
    pub(crate) fn open(
        client: Client,
        checked: Checked,
        reply: RawDocumentBuf,
        command: &Command,
    ) -> Result<Self> {
        let opened = Batch::read(reply, "firstBatch")?;
        let (database, collection) = opened
            .namespace
            .split_once('.')
            .ok_or_else(|| malformed("a namespace"))?;
        let is_pinned = client.options().load_balanced && opened.cursor_id != 0;
        let home = if is_pinned {
            Home::Connection(Box::new(checked))
        } else {
            Home::Server(checked.server())
        };
        Ok(Self {
            client,
            home,
            database: database.to_owned(),
            collection: collection.to_owned(),
            id: opened.cursor_id,
            batch: opened.batch,
            current: 0..0,
            batch_size: None,
            limit: command.limit(),
            tailable: is_tailable(command),
            failed: false,
            values: PhantomData,
        })
    }

    /// Asks for so many documents in each further batch; 0 leaves it to the server. Default: 0.
    #[must_use]
    pub fn batch_size(mut self, documents: u32) -> Self {
        self.batch_size = i32::try_from(documents).ok().filter(|size| *size > 0);
        self
    }

    /// Moves to the next document, fetching the next batch if this one is used up. Returns whether
    /// there is one.
    ///
    /// Of a cursor that is not tailable, empty batches are passed over until the server closes it. Of a
    /// tailable one a single empty batch ends the call: it returns false, and the cursor is still open.
    ///
    /// # Errors
    /// As [`Database::run_command`](crate::Database::run_command). After an error the cursor is at its
    /// end.
    pub fn advance(&mut self) -> Result<bool> {
        if self.failed {
            return Ok(false);
        }
        let moved = self.step();
        if let Err(error) = &moved {
            self.failed = true;
            if is_gone(error) {
                self.id = 0;
                self.unpin();
            }
        }
        moved
    }

    /// The document that [`advance`](Self::advance) moved to, as the server sent it; an empty one
    /// before the first move, and where fetching the next batch gave none.
    pub fn current(&self) -> &RawDocument {
        self.batch.document(&self.current)
    }

    /// Whether the server still holds the cursor.
    pub fn is_open(&self) -> bool {
        self.id != 0
    }

    fn step(&mut self) -> Result<bool> {
        loop {
            if let Some(document) = self.batch.next()? {
                self.current = document;
                return Ok(true);
            }
            if self.id == 0 {
                return Ok(false);
            }
            self.fetch()?;
            if self.tailable && self.batch.is_empty() {
                return Ok(false);
            }
        }
    }

    fn fetch(&mut self) -> Result<()> {
        let mut body = rawdoc! { "getMore": self.id, "collection": self.collection.as_str() };
        if let Some(size) = self.batch_size {
            body.append(bson::cstr!("batchSize"), size);
        }
        let command = self.command(body);
        self.current = 0..0;
        let spare = self.batch.take();
        let reply = self
            .client
            .run_at(&mut self.home, &self.database, &command, spare)?;
        let next = Batch::read(reply, "nextBatch")?;
        self.id = next.cursor_id;
        self.batch = next.batch;
        if self.id == 0 {
            self.unpin();
        }
        Ok(())
    }

    fn next_as(&mut self, value: impl FnOnce(&RawDocument) -> Result<T>) -> Option<Result<T>> {
        match self.advance() {
            Ok(true) => Some(value(self.current())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Gives a connection back that nothing needs any more.
    fn unpin(&mut self) {
        if let Home::Connection(checked) = &self.home {
            self.home = Home::Server(checked.server());
        }
    }

    fn command(&self, body: RawDocumentBuf) -> Command {
        let command = Command::from(body);
        match self.limit {
            Some(limit) => command.timeout(limit),
            None => command,
        }
    }
}

#[cfg(feature = "serde")]
impl<T: DeserializeOwned + 'static> Iterator for Cursor<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.next_as(to_typed)
    }
}

#[cfg(not(feature = "serde"))]
impl Iterator for Cursor<Document> {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Result<Document>> {
        self.next_as(to_document)
    }
}

#[cfg(not(feature = "serde"))]
impl Iterator for Cursor<RawDocumentBuf> {
    type Item = Result<RawDocumentBuf>;

    fn next(&mut self) -> Option<Result<RawDocumentBuf>> {
        self.next_as(|document| Ok(document.to_owned()))
    }
}

impl<T> Drop for Cursor<T> {
    fn drop(&mut self) {
        let is_cut_off = matches!(&self.home, Home::Connection(pinned) if pinned.connection.perished().is_some());
        if self.id == 0 || is_cut_off || std::thread::panicking() {
            return;
        }
        /// A drop waits no longer for the server.
        const LIMIT: Duration = Duration::from_secs(2);
        let mut ids = RawArrayBuf::new();
        ids.push(self.id);
        let body = rawdoc! { "killCursors": self.collection.as_str(), "cursors": ids };
        // Zero means no limit.
        let limit = self.limit.filter(|limit| !limit.is_zero());
        let limit = limit.map_or(LIMIT, |limit| limit.min(LIMIT));
        if let Err(error) = self.client.run_at(
            &mut self.home,
            &self.database,
            &Command::from(body).timeout(limit),
            Vec::new(),
        ) {
            debug!(target: "mongotls::cursor", "cursor {} may stay open on the server: {error}", self.id);
        }
    }
}

impl<T> fmt::Debug for Cursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("database", &self.database)
            .field("collection", &self.collection)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The documents of one reply, in place.
struct Batch {
    reply: RawDocumentBuf,
    /// Where the next element of the array begins.
    next: usize,
    /// Where the array ends, at its final NUL.
    end: usize,
}

/// A reply that holds a cursor.
struct Opened {
    cursor_id: i64,
    namespace: String,
    batch: Batch,
}

impl Batch {
    /// Finds the batch in `reply`, under `cursor` and the name `field`.
    fn read(reply: RawDocumentBuf, field: &str) -> Result<Opened> {
        let cursor = reply
            .get_document("cursor")
            .map_err(|_| malformed("a cursor"))?;
        let (mut cursor_id, mut namespace, mut array) = (None, None, None);
        for (key, value) in cursor.iter().map_while(std::result::Result::ok) {
            match (key.as_str(), value) {
                ("id", number) => cursor_id = integer(number),
                ("ns", RawBsonRef::String(name)) => namespace = Some(name.to_owned()),
                (key, RawBsonRef::Array(documents)) if key == field => {
                    array = Some(documents.as_bytes())
                }
                _ => {}
            }
        }
        let cursor_id = cursor_id.ok_or_else(|| malformed("a cursor id"))?;
        let namespace = namespace.unwrap_or_default();
        let array = array.ok_or_else(|| malformed(field))?;
        // The array is a part of the reply, so that its place in it follows from the addresses.
        let start = array.as_ptr().addr() - reply.as_bytes().as_ptr().addr();
        let (next, end) = (start + 4, start + array.len() - 1);
        Ok(Opened {
            cursor_id,
            namespace,
            batch: Self { reply, next, end },
        })
    }

    /// The memory of a batch that is used up; it is empty then.
    fn take(&mut self) -> Vec<u8> {
        (self.next, self.end) = (0, 0);
        std::mem::take(&mut self.reply).into_bytes()
    }

    /// Whether no document is left.
    fn is_empty(&self) -> bool {
        self.next >= self.end
    }

    /// Where the next document lies; none at the end.
    fn next(&mut self) -> Result<Option<Range<usize>>> {
        const DOCUMENT: u8 = 3;
        if self.is_empty() {
            return Ok(None);
        }
        let rest = &self.reply.as_bytes()[self.next..self.end];
        // An element: its type, its index as text, the document with its own length in front.
        let key_end = rest
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(|| malformed("whole documents"))?;
        let document = &rest[key_end + 1..];
        let length = document
            .first_chunk()
            .map(|bytes| i32::from_le_bytes(*bytes))
            .and_then(|n| usize::try_from(n).ok());
        let length = length.filter(|length| {
            rest[0] == DOCUMENT
                && *length <= document.len()
                && RawDocument::from_bytes(&document[..*length]).is_ok()
        });
        let length = length.ok_or_else(|| malformed("whole documents"))?;
        let start = self.next + key_end + 1;
        self.next = start + length;
        Ok(Some(start..self.next))
    }

    fn document(&self, place: &Range<usize>) -> &RawDocument {
        // Only places that `next` has checked come here, and the empty one.
        RawDocument::from_bytes(&self.reply.as_bytes()[place.clone()]).unwrap_or_else(|_| empty())
    }
}

/// Reads a reply as that of a cursor, to its end or first fault, for tests with hostile ones. Returns
/// how many documents there were.
#[cfg(test)]
pub(crate) fn read_batches(reply: &RawDocument) -> usize {
    let mut count = 0;
    for field in ["firstBatch", "nextBatch"] {
        let Ok(mut opened) = Batch::read(reply.to_owned(), field) else {
            continue;
        };
        while let Ok(Some(place)) = opened.batch.next() {
            let document = opened.batch.document(&place);
            assert_eq!(document.as_bytes().len(), place.len());
            let _ = crate::document::to_document(document);
            count += 1;
        }
    }
    count
}

fn is_tailable(command: &Command) -> bool {
    let body = command.body().ok();
    body.is_some_and(|body| body.get_bool("tailable").unwrap_or(false))
}

/// Whether an error means that the server holds the cursor no more, or cannot be told to close it.
fn is_gone(error: &Error) -> bool {
    const CURSOR_NOT_FOUND: i32 = 43;
    error.kind() == ErrorKind::Network
        || error
            .command()
            .is_some_and(|failure| failure.code == CURSOR_NOT_FOUND)
}

fn empty() -> &'static RawDocument {
    const BYTES: &[u8] = &[5, 0, 0, 0, 0];
    #[expect(
        clippy::expect_used,
        reason = "the bytes are those of an empty document"
    )]
    RawDocument::from_bytes(BYTES).expect("five bytes, the last one NUL")
}

fn malformed(what: &str) -> Error {
    Error::protocol(format!("the reply of a cursor does not hold {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(reply: RawDocumentBuf) -> Result<Opened> {
        Batch::read(reply, "firstBatch")
    }

    #[test]
    fn documents_are_found_in_place() {
        let reply = rawdoc! { "cursor": { "id": 7_i64, "ns": "a.b.c", "firstBatch": [{ "x": 1 }, {}, { "y": [1, 2] }] }, "ok": 1 };
        let mut opened = batch(reply).unwrap();
        assert_eq!((opened.cursor_id, opened.namespace.as_str()), (7, "a.b.c"));
        let mut found = Vec::new();
        while let Some(place) = opened.batch.next().unwrap() {
            found.push(opened.batch.document(&place).to_owned());
        }
        assert_eq!(
            found,
            [rawdoc! { "x": 1 }, rawdoc! {}, rawdoc! { "y": [1, 2] }]
        );
    }

    #[test]
    fn a_batch_of_anything_but_documents_is_refused() {
        let mut opened =
            batch(rawdoc! { "cursor": { "id": 0, "ns": "a.b", "firstBatch": [{ }, 5] } }).unwrap();
        assert!(opened.batch.next().is_ok());
        assert!(
            opened
                .batch
                .next()
                .unwrap_err()
                .to_string()
                .contains("whole documents")
        );
    }

    #[test]
    fn a_reply_without_a_cursor_is_refused() {
        for reply in [
            rawdoc! { "ok": 1 },
            rawdoc! { "cursor": {} },
            rawdoc! { "cursor": { "id": 1, "ns": "a.b" } },
        ] {
            assert!(batch(reply).is_err());
        }
    }
}
