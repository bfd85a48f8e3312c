//! Messages that are prepared in advance.

use bson::oid::ObjectId;
use bson::raw::RawDocument;
use bson::spec::BinarySubtype;
use bson::{Binary, RawDocumentBuf, rawdoc};
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

/// The size of a chunk in bytes, and the number of those in a message.
const CHUNK: usize = 255 << 10;
const CHUNKS: usize = 4;

/// The size of the chunks of a message.
pub(crate) const CHUNKS_SIZE: u64 = (CHUNK * CHUNKS) as u64;

/// An insert of chunks of a file.
pub(crate) fn insert_chunks() -> Vec<u8> {
    let body = rawdoc! { "insert": "fs.chunks", "$db": "bench" };
    let chunk = |n| {
        let data = Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![7; CHUNK],
        };
        rawdoc! { "_id": ObjectId::new(), "files_id": ObjectId::new(), "n": n, "data": data }
    };
    let chunks: Vec<_> = (0..CHUNKS as i32).map(chunk).collect();
    with_sequence(&body, b"documents\0", &chunks)
}

/// A find of the chunks of the file that has this size.
pub(crate) fn find_chunks(size: u64) -> Vec<u8> {
    let batch = CHUNKS as i32;
    message(
        &rawdoc! { "find": "fs.chunks", "filter": { "files_id": size as i64 }, "batchSize": batch, "$db": "bench" },
    )
}

/// See [`get_more`].
pub(crate) fn get_more_chunks() -> Vec<u8> {
    let batch = CHUNKS as i32;
    message(
        &rawdoc! { "getMore": 0_i64, "collection": "fs.chunks", "batchSize": batch, "$db": "bench" },
    )
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
