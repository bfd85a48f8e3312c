//! Messages that are prepared in advance.

use bson::raw::RawDocument;
use bson::{RawDocumentBuf, rawdoc};
use kit::documents::{self, BATCH};

/// An OP_MSG with one body.
pub(crate) fn message(body: &RawDocument) -> Vec<u8> {
    let content = [&[0], body.as_bytes()].concat();
    with_header(&content)
}

pub(crate) fn find() -> Vec<u8> {
    let size = BATCH as i32;
    message(&rawdoc! { "find": "documents", "batchSize": size, "$db": "bench" })
}

/// The id of the cursor is written into it; see [`GET_MORE_ID`].
pub(crate) fn get_more() -> Vec<u8> {
    let size = BATCH as i32;
    message(
        &rawdoc! { "getMore": 0_i64, "collection": "documents", "batchSize": size, "$db": "bench" },
    )
}

pub(crate) fn find_one() -> Vec<u8> {
    message(&rawdoc! { "find": "one", "filter": { "number": 0 }, "limit": 1, "$db": "bench" })
}

/// An insert whose documents are in a separate section.
pub(crate) fn insert(documents: &[RawDocumentBuf]) -> Vec<u8> {
    let body = rawdoc! { "insert": "documents", "$db": "bench" };
    with_sequence(&body, b"documents\0", documents)
}

/// The updates of one batch.
pub(crate) fn update() -> Vec<u8> {
    let body = rawdoc! { "update": "documents", "$db": "bench" };
    let to_raw = |document| RawDocumentBuf::try_from(&document).expect("a document");
    let updates = (0..BATCH).map(|number| {
        let (filter, update) = (documents::filter(number), documents::update());
        rawdoc! { "q": to_raw(filter), "u": to_raw(update) }
    });
    with_sequence(&body, b"updates\0", &updates.collect::<Vec<_>>())
}

fn with_sequence(body: &RawDocument, key: &[u8], documents: &[RawDocumentBuf]) -> Vec<u8> {
    let documents: Vec<u8> = documents
        .iter()
        .flat_map(|one| one.as_bytes())
        .copied()
        .collect();
    let size = (4 + key.len() + documents.len()) as u32;
    let content: [&[u8]; 6] = [
        &[0],
        body.as_bytes(),
        &[1],
        &size.to_le_bytes(),
        key,
        &documents,
    ];
    with_header(&content.concat())
}

fn with_header(sections: &[u8]) -> Vec<u8> {
    let size = (20 + sections.len()) as u32;
    let words = [size, 1, 0, 2013, 0].map(u32::to_le_bytes).concat();
    [&words[..], sections].concat()
}

/// The position of the body in a message.
const BODY: usize = 21;

/// The position of the id in [`get_more`]: it is the first value.
pub(crate) const GET_MORE_ID: usize = BODY + 4 + 1 + "getMore\0".len();

/// The position of the id in a reply, after its four bytes of length, which are read separately: the document `cursor`
/// is the first value of the body, and the id the first value of that.
pub(crate) const REPLY_ID: usize = BODY - 4 + 4 + 1 + "cursor\0".len() + 4 + 1 + "id\0".len();
