//! Messages that are prepared in advance.

use bson::raw::RawDocument;
use bson::{RawDocumentBuf, rawdoc};
use kit::documents::BATCH;

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

/// An insert whose documents are in a separate section.
pub(crate) fn insert(documents: &[RawDocumentBuf]) -> Vec<u8> {
    let body = rawdoc! { "insert": "documents", "$db": "bench" };
    let documents: Vec<u8> = documents
        .iter()
        .flat_map(|one| one.as_bytes())
        .copied()
        .collect();
    let key = b"documents\0";
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
