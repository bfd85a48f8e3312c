//! The files of GridFS: a file whose ID is a number has as many bytes. Its chunks are made when they are requested.

#![allow(
    clippy::cast_possible_truncation,
    reason = "a reply and a chunk are small"
)]

use bson::raw::{RawBsonRef, RawDocument};
use bson::{DateTime, Document, doc};

use super::replies::{message, respond};
use crate::wire::{Frame, OP_MSG};

/// The size of a chunk in bytes, the usual one.
pub(super) const CHUNK_SIZE: usize = 255 << 10;

/// The reply to a `find` of `fs.files`.
pub(super) fn file(body: &RawDocument) -> Vec<u8> {
    let length = body.get_document("filter").ok();
    let length = length.and_then(|filter| number(filter, "_id")).unwrap_or(0);
    let file = doc! {
        "_id": length,
        "length": length,
        "chunkSize": CHUNK_SIZE as i32,
        "uploadDate": DateTime::now(),
        "filename": "file",
    };
    let cursor = doc! { "id": 0_i64, "ns": "bench.fs.files", "firstBatch": [file] };
    message(&doc! { "cursor": cursor, "ok": 1.0 })
}

/// The reply to `listIndexes`: those of both collections.
pub(super) fn indexes() -> Document {
    let index = |name: &str, key: Document| doc! { "v": 2, "key": key, "name": name };
    let indexes = [
        index("_id_", doc! { "_id": 1 }),
        index(
            "filename_1_uploadDate_1",
            doc! { "filename": 1, "uploadDate": 1 },
        ),
        doc! { "v": 2, "key": { "files_id": 1, "n": 1 }, "name": "files_id_1_n_1", "unique": true },
    ];
    let cursor = doc! { "id": 0_i64, "ns": "bench.fs.files", "firstBatch": indexes.to_vec() };
    doc! { "cursor": cursor, "ok": 1.0 }
}

/// The state of a cursor, which is its ID: the length of the file, and the number of the next chunk.
#[derive(Clone, Copy)]
struct Place {
    length: u64,
    n: u64,
}

/// The low bits of a cursor's ID have the number of the chunk.
const N_BITS: u32 = 20;

impl Place {
    fn of_find(body: &RawDocument) -> Self {
        let filter = body.get_document("filter").ok();
        let length = filter.and_then(|filter| number(filter, "files_id"));
        let n = filter.and_then(|filter| filter.get_document("n").ok());
        let n = n.and_then(|n| number(n, "$gte"));
        let positive = |number: Option<i64>| number.and_then(|number| number.try_into().ok());
        Self {
            length: positive(length).unwrap_or(0),
            n: positive(n).unwrap_or(0),
        }
    }

    fn of_cursor(id: i64) -> Self {
        let id = id.unsigned_abs();
        Self {
            length: id >> N_BITS,
            n: id & ((1 << N_BITS) - 1),
        }
    }

    fn id(self) -> i64 {
        match self.size() {
            0 => 0,
            _ => ((self.length << N_BITS) | self.n) as i64,
        }
    }

    /// The size of the next chunk. Zero after the last one.
    fn size(self) -> usize {
        let rest = self.length.saturating_sub(self.n * CHUNK_SIZE as u64);
        usize::try_from(rest).unwrap_or(CHUNK_SIZE).min(CHUNK_SIZE)
    }
}

/// Writes the reply to a `find` of `fs.chunks`.
pub(super) fn first_batch(reply: &mut Vec<u8>, request: &[u8], body: &RawDocument) {
    // As a server does, if the client sets no size: 101 documents.
    let size = number(body, "batchSize").unwrap_or(101);
    batch(reply, request, "firstBatch", Place::of_find(body), size);
}

/// Writes the reply to a `getMore` for `fs.chunks`.
pub(super) fn next_batch(reply: &mut Vec<u8>, request: &[u8], body: &RawDocument) {
    let size = number(body, "batchSize").unwrap_or(i64::MAX);
    let place = Place::of_cursor(number(body, "getMore").unwrap_or(0));
    batch(reply, request, "nextBatch", place, size);
}

fn batch(reply: &mut Vec<u8>, request: &[u8], name: &str, mut place: Place, size: i64) {
    let frame = Frame {
        request_id: 1,
        response_to: 0,
        op_code: OP_MSG,
        // Flags, and the kind of the section.
        payload: vec![0; 5],
    };
    reply.clear();
    reply.extend(frame.encode());
    let body = begin(reply, None);
    let cursor = begin(reply, Some((0x03, "cursor")));
    let id = reply.len();
    element(reply, 0x12, "id", &[0; 8]);
    element(reply, 0x02, "ns", b"\x10\0\0\0bench.fs.chunks\0");
    let documents = begin(reply, Some((0x04, name)));
    let (start, mut index) = (reply.len(), 0);
    // A reply of a server has 16 MiB of documents at most.
    while place.size() > 0 && index < size && reply.len() - start + CHUNK_SIZE < 16 << 20 {
        let document = begin(reply, Some((0x03, &index.to_string())));
        element(reply, 0x07, "_id", &[0; 12]);
        element(reply, 0x12, "files_id", &place.length.to_le_bytes());
        element(reply, 0x10, "n", &(place.n as i32).to_le_bytes());
        element(reply, 0x05, "data", &(place.size() as u32).to_le_bytes());
        reply.push(0);
        reply.resize(reply.len() + place.size(), place.n as u8);
        end(reply, document);
        place.n += 1;
        index += 1;
    }
    end(reply, documents);
    end(reply, cursor);
    element(reply, 0x01, "ok", &1.0_f64.to_le_bytes());
    end(reply, body);
    let id = id + 1 + "id\0".len();
    reply[id..id + 8].copy_from_slice(&place.id().to_le_bytes());
    let length = reply.len() as u32;
    reply[..4].copy_from_slice(&length.to_le_bytes());
    respond(reply, request);
}

/// Begins a document or an array, and returns its position.
fn begin(reply: &mut Vec<u8>, element_of: Option<(u8, &str)>) -> usize {
    if let Some((kind, key)) = element_of {
        element(reply, kind, key, &[]);
    }
    reply.extend([0; 4]);
    reply.len() - 4
}

fn end(reply: &mut Vec<u8>, at: usize) {
    reply.push(0);
    let length = (reply.len() - at) as u32;
    reply[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

fn element(reply: &mut Vec<u8>, kind: u8, key: &str, value: &[u8]) {
    reply.push(kind);
    reply.extend(key.as_bytes());
    reply.push(0);
    reply.extend(value);
}

fn number(document: &RawDocument, key: &str) -> Option<i64> {
    match document.get(key).ok()?? {
        RawBsonRef::Int32(number) => Some(number.into()),
        RawBsonRef::Int64(number) => Some(number),
        RawBsonRef::Document(operator) => number(operator, "$eq"),
        _ => None,
    }
}
