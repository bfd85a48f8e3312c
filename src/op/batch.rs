//! The batch of a cursor in a reply, read where it lies.
//!
//! [`CursorFields`] takes part in the pass over the reply and notes positions; nothing is copied. [`Batch`] owns the reply
//! and yields the positions of its documents. A server is not trusted: each document is checked before it is used.

use std::ops::Range;

use bson::raw::{RawDocument, RawElement};
use bson::{RawBsonRef, RawDocumentBuf};

use crate::conn::ReadReply;
use crate::data::hello::integer;
use crate::error::{Error, Result};

/// Reads the field `cursor` of a reply.
#[derive(Debug)]
pub(crate) struct CursorFields {
    /// The name of the array of documents: `firstBatch` or `nextBatch`.
    batch: &'static str,
    /// The positions, if the reply has a cursor.
    found: Option<Positions>,
}

#[derive(Debug, Default)]
struct Positions {
    cursor_id: Option<i64>,
    namespace: Option<Range<usize>>,
    documents: Option<Range<usize>>,
    resume_token: Option<Range<usize>>,
}

impl CursorFields {
    /// Reads the reply of a command that opens a cursor.
    pub(crate) fn of_first_batch() -> Self {
        Self {
            batch: "firstBatch",
            found: None,
        }
    }

    /// Reads the reply of a `getMore`.
    pub(crate) fn of_next_batch() -> Self {
        Self {
            batch: "nextBatch",
            found: None,
        }
    }
}

impl ReadReply for CursorFields {
    fn begin(&mut self) {
        self.found = None;
    }

    fn field(&mut self, reply: &RawDocument, field: &RawElement<'_>) {
        if field.key() != bson::cstr!("cursor") {
            return;
        }
        let Ok(RawBsonRef::Document(cursor)) = field.value() else {
            return;
        };
        // The parts of the document are parts of the reply, so their positions follow from their addresses.
        let position = |part: &[u8]| {
            let start = part.as_ptr().addr() - reply.as_bytes().as_ptr().addr();
            start..start + part.len()
        };
        let mut found = Positions::default();
        for (key, value) in cursor.iter().map_while(std::result::Result::ok) {
            match (key.as_str(), value) {
                ("id", number) => found.cursor_id = integer(number),
                ("ns", RawBsonRef::String(name)) => {
                    found.namespace = Some(position(name.as_bytes()));
                }
                ("postBatchResumeToken", RawBsonRef::Document(token)) => {
                    found.resume_token = Some(position(token.as_bytes()));
                }
                (key, RawBsonRef::Array(documents)) if key == self.batch => {
                    found.documents = Some(position(documents.as_bytes()));
                }
                _ => {}
            }
        }
        self.found = Some(found);
    }

    fn leaves_cursor_open(&self) -> bool {
        let id = self.found.as_ref().and_then(|found| found.cursor_id);
        id.is_some_and(|id| id != 0)
    }
}

/// A reply, and the positions that were read in it.
#[derive(Debug)]
pub(crate) struct CursorReply {
    reply: RawDocumentBuf,
    fields: CursorFields,
}

impl CursorReply {
    pub(crate) fn new(reply: RawDocumentBuf, fields: CursorFields) -> Self {
        Self { reply, fields }
    }

    /// The reply.
    pub(crate) fn reply(&self) -> &RawDocument {
        &self.reply
    }

    /// The ID of the cursor; 0 if the server has closed it.
    ///
    /// # Errors
    /// If the reply has no cursor, or one without an ID.
    pub(crate) fn cursor_id(&self) -> Result<i64> {
        let id = self.found()?.cursor_id;
        id.ok_or_else(|| malformed("a cursor id"))
    }

    /// The database and the collection of the cursor.
    ///
    /// # Errors
    /// If the reply does not name both.
    pub(crate) fn namespace(&self) -> Result<(&str, &str)> {
        let bytes = self.found()?.namespace.clone();
        let bytes = bytes.map(|range| &self.reply.as_bytes()[range]);
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.and_then(|text| text.split_once('.'))
            .ok_or_else(|| malformed("a namespace"))
    }

    /// The batch.
    ///
    /// # Errors
    /// If the reply has none.
    pub(crate) fn into_batch(self) -> Result<Batch> {
        let found = self.found()?;
        let (array, resume_token) = (found.documents.clone(), found.resume_token.clone());
        let array = array.ok_or_else(|| malformed(self.fields.batch))?;
        // The length of the array is in front of its elements, and a NUL follows them.
        Ok(Batch {
            reply: self.reply,
            next: array.start + 4,
            end: array.end - 1,
            resume_token,
        })
    }

    fn found(&self) -> Result<&Positions> {
        let found = self.fields.found.as_ref();
        found.ok_or_else(|| malformed("a cursor"))
    }
}

/// The documents of one reply, in place.
#[derive(Debug)]
pub(crate) struct Batch {
    reply: RawDocumentBuf,
    /// The position of the next element of the array.
    next: usize,
    /// The position of the NUL that ends the array.
    end: usize,
    /// The position of the token at which a change stream can resume after the batch, if the server has sent one.
    resume_token: Option<Range<usize>>,
}

impl Batch {
    /// Takes the memory of a batch that is used up. The batch is empty afterwards.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        (self.next, self.end) = (0, 0);
        self.resume_token = None;
        std::mem::take(&mut self.reply).into_bytes()
    }

    /// The token at which a change stream can resume after the batch, if the server has sent one.
    pub(crate) fn resume_token(&self) -> Option<&RawDocument> {
        RawDocument::from_bytes(self.reply.as_bytes().get(self.resume_token.clone()?)?).ok()
    }

    /// Returns whether no document is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.next >= self.end
    }

    /// Returns the position of the next document, or `None` at the end.
    ///
    /// # Errors
    /// If the next element is not a whole document.
    pub(crate) fn next(&mut self) -> Result<Option<Range<usize>>> {
        const DOCUMENT: u8 = 3;
        if self.is_empty() {
            return Ok(None);
        }
        let rest = &self.reply.as_bytes()[self.next..self.end];
        // An element is its type, its index as text, and the document, which begins with its length.
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

    /// The document at a position that [`next`](Self::next) has returned; an empty one at an empty position.
    pub(crate) fn document(&self, position: &Range<usize>) -> &RawDocument {
        RawDocument::from_bytes(&self.reply.as_bytes()[position.clone()])
            .unwrap_or_else(|_| empty())
    }
}

/// Reads `reply` as the reply of a cursor up to its first error, for tests with hostile replies. Returns the number of
/// documents.
#[cfg(test)]
pub(crate) fn read_batches(reply: &RawDocument) -> usize {
    let mut count = 0;
    for fields in [
        CursorFields::of_first_batch(),
        CursorFields::of_next_batch(),
    ] {
        let Ok(mut batch) = read(reply.to_owned(), fields).into_batch() else {
            continue;
        };
        while let Ok(Some(position)) = batch.next() {
            let document = batch.document(&position);
            assert_eq!(document.as_bytes().len(), position.len());
            let _ = crate::document::to_document(document);
            count += 1;
        }
    }
    count
}

/// Reads a reply as a connection does.
#[cfg(test)]
fn read(reply: RawDocumentBuf, mut fields: CursorFields) -> CursorReply {
    fields.begin();
    for field in reply.iter_elements().map_while(std::result::Result::ok) {
        fields.field(&reply, &field);
    }
    CursorReply::new(reply, fields)
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
    use bson::rawdoc;

    use super::*;

    fn first(reply: RawDocumentBuf) -> CursorReply {
        read(reply, CursorFields::of_first_batch())
    }

    #[test]
    fn documents_are_found_in_place() {
        let reply = rawdoc! { "cursor": { "id": 7_i64, "ns": "a.b.c", "firstBatch": [{ "x": 1 }, {}, { "y": [1, 2] }] }, "ok": 1 };
        let reply = first(reply);
        assert_eq!(reply.cursor_id().unwrap(), 7);
        assert_eq!(reply.namespace().unwrap(), ("a", "b.c"));
        let mut batch = reply.into_batch().unwrap();
        let mut found = Vec::new();
        while let Some(position) = batch.next().unwrap() {
            found.push(batch.document(&position).to_owned());
        }
        assert_eq!(
            found,
            [rawdoc! { "x": 1 }, rawdoc! {}, rawdoc! { "y": [1, 2] }]
        );
    }

    #[test]
    fn a_batch_holds_nothing_but_documents() {
        let reply = rawdoc! { "cursor": { "id": 0, "ns": "a.b", "firstBatch": [{ }, 5] } };
        let mut batch = first(reply).into_batch().unwrap();
        assert!(batch.next().is_ok());
        let error = batch.next().unwrap_err();
        assert!(error.to_string().contains("whole documents"));
    }

    #[test]
    fn a_reply_without_a_whole_cursor_is_rejected() {
        let message = |reply: RawDocumentBuf| {
            let reply = first(reply);
            let checked = reply.cursor_id().and_then(|_| reply.into_batch());
            checked.unwrap_err().to_string()
        };
        let without = |what: &str| format!("the reply of a cursor does not hold {what}");
        assert_eq!(message(rawdoc! { "ok": 1 }), without("a cursor"));
        assert_eq!(message(rawdoc! { "cursor": 5 }), without("a cursor"));
        assert_eq!(message(rawdoc! { "cursor": {} }), without("a cursor id"));
        let no_batch = rawdoc! { "cursor": { "id": 1, "ns": "a.b", "nextBatch": [] } };
        assert_eq!(message(no_batch), without("firstBatch"));
    }

    #[test]
    fn each_reply_is_read_without_what_came_before() {
        let mut fields = CursorFields::of_first_batch();
        let failed = rawdoc! { "ok": 0, "cursor": { "id": 1 } };
        for field in failed.iter_elements() {
            fields.field(&failed, &field.unwrap());
        }
        let reply = read(rawdoc! { "ok": 1 }, fields);
        assert!(reply.cursor_id().is_err());
    }
}
