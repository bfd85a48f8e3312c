//! Replies made in advance, and the few bytes that are replaced in each.

use super::files;
use crate::wire::{self, Frame, Msg, OP_MSG, OP_QUERY, OP_REPLY};
use bson::oid::ObjectId;
use bson::raw::RawDocument;
use bson::{Bson, DateTime, Document, doc};
use std::sync::Arc;

/// The number of documents of a cursor.
pub const DOCUMENTS: usize = 100_000;

/// The number of documents in a batch.
pub const BATCH: usize = 1000;

/// The size of each in bytes.
pub const DOCUMENT_SIZE: usize = 1024;

/// One reply for each kind of answer.
pub(super) struct Replies {
    ok: Vec<u8>,
    inserted: Vec<u8>,
    updated: Vec<u8>,
    bulk_written: Vec<u8>,
    indexes: Vec<u8>,
    one: Vec<u8>,
    first_batch: Vec<u8>,
    next_batch: Vec<u8>,
    hello: Vec<u8>,
    /// The hello reply for a client behind a load balancer.
    hello_of_service: Vec<u8>,
    /// Both as OP_REPLY.
    legacy_hello: Vec<u8>,
    legacy_hello_of_service: Vec<u8>,
}

impl Replies {
    pub(super) fn new() -> Self {
        let batch = vec![Bson::Document(document()); BATCH];
        let cursor = |key: &str| {
            let cursor = doc! { "id": 0_i64, "ns": "bench.documents", key: batch.clone() };
            message(&doc! { "cursor": cursor, "ok": 1.0 })
        };
        let mut of_service = hello();
        of_service.insert("serviceId", ObjectId::new());
        Self {
            ok: message(&doc! { "ok": 1.0 }),
            inserted: message(&doc! { "n": 0, "ok": 1.0 }),
            updated: message(&doc! { "n": 0, "nModified": 0, "ok": 1.0 }),
            bulk_written: message(&bulk_written()),
            indexes: message(&files::indexes()),
            one: message(&doc! {
                "cursor": { "id": 0_i64, "ns": "bench.one", "firstBatch": [document()] },
                "ok": 1.0,
            }),
            first_batch: cursor("firstBatch"),
            next_batch: cursor("nextBatch"),
            hello: message(&hello()),
            hello_of_service: message(&of_service),
            legacy_hello: frame(OP_REPLY, wire::encode_reply(&hello())),
            legacy_hello_of_service: frame(OP_REPLY, wire::encode_reply(&of_service)),
        }
    }
}

/// Answers the requests of one connection, with separate copies of the replies.
pub(super) struct Answerer {
    replies: Arc<Replies>,
    small: Vec<u8>,
    /// Copied when the connection first needs them: a megabyte each.
    first_batch: Vec<u8>,
    next_batch: Vec<u8>,
    of_files: Vec<u8>,
}

impl Answerer {
    pub(super) fn new(replies: Arc<Replies>) -> Self {
        Self {
            replies,
            small: Vec::new(),
            first_batch: Vec::new(),
            next_batch: Vec::new(),
            of_files: Vec::new(),
        }
    }

    /// The reply to a message, or `None` if it wants none.
    pub(super) fn answer(&mut self, request: &[u8]) -> Option<&[u8]> {
        let all = &*self.replies;
        let op_code = i32_at(request, 12);
        let small = if op_code == OP_QUERY {
            if is_of_service(request) {
                &all.legacy_hello_of_service
            } else {
                &all.legacy_hello
            }
        } else if op_code != OP_MSG || i32_at(request, 16) & MORE_TO_COME != 0 {
            return None;
        } else {
            if let Some(body) = of_bucket(request) {
                return Some(self.answer_about_files(request, body));
            }
            match name(request) {
                b"find" if collection(request) == b"one" => &all.one,
                b"find" | b"aggregate" => {
                    let left = DOCUMENTS.div_ceil(BATCH) as i64 - 1;
                    return Some(batch(
                        &mut self.first_batch,
                        &all.first_batch,
                        request,
                        left,
                    ));
                }
                b"getMore" => {
                    let left = i64_at(request, BODY + 4 + 1 + "getMore\0".len()).max(1) - 1;
                    return Some(batch(&mut self.next_batch, &all.next_batch, request, left));
                }
                b"insert" => &all.inserted,
                b"update" => &all.updated,
                b"bulkWrite" => &all.bulk_written,
                b"listIndexes" => &all.indexes,
                b"hello" | b"ismaster" | b"isMaster" if is_of_service(request) => {
                    &all.hello_of_service
                }
                b"hello" | b"ismaster" | b"isMaster" => &all.hello,
                _ => &all.ok,
            }
        };
        self.small.clear();
        self.small.extend_from_slice(small);
        if [&all.inserted, &all.updated]
            .map(|one| std::ptr::eq(small, one))
            .contains(&true)
        {
            put(&mut self.small, COUNT, &writes(request).to_le_bytes());
        }
        if std::ptr::eq(small, &all.bulk_written) {
            put(
                &mut self.small,
                COUNT_OF_BULK,
                &writes(request).to_le_bytes(),
            );
        }
        respond(&mut self.small, request);
        Some(&self.small)
    }
}

impl Answerer {
    fn answer_about_files(&mut self, request: &[u8], body: &RawDocument) -> &[u8] {
        let reply = &mut self.of_files;
        match (name(request), collection(request)) {
            (b"find", b"fs.files") => {
                reply.clear();
                reply.extend(files::file(body));
                respond(reply, request);
            }
            (b"find", _) => files::first_batch(reply, request, body),
            _ => files::next_batch(reply, request, body),
        }
        reply
    }
}

/// The body of a read of `fs.files` or `fs.chunks`.
fn of_bucket(request: &[u8]) -> Option<&RawDocument> {
    let is_read = match name(request) {
        b"find" => collection(request).starts_with(b"fs."),
        b"getMore" => true,
        _ => false,
    };
    let body = request.get(BODY..).filter(|_| is_read)?;
    let body = RawDocument::from_bytes(&body[..length_at(body, 0).min(body.len())]).ok()?;
    let is_of_chunks = || {
        body.get_str("collection")
            .is_ok_and(|name| name == "fs.chunks")
    };
    (name(request) == b"find" || is_of_chunks()).then_some(body)
}

/// The collection of a `find`.
fn collection(request: &[u8]) -> &[u8] {
    let name = request.get(SUBJECT..).unwrap_or_default();
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The copy of a batch, with the id of its cursor.
fn batch<'a>(copy: &'a mut Vec<u8>, template: &[u8], request: &[u8], cursor: i64) -> &'a [u8] {
    if copy.is_empty() {
        copy.extend_from_slice(template);
    }
    put(copy, CURSOR_ID, &cursor.to_le_bytes());
    respond(copy, request);
    copy
}

/// Copies the id of the request to the reply.
pub(super) fn respond(reply: &mut [u8], request: &[u8]) {
    reply[8..12].copy_from_slice(&request[4..8]);
}

fn put(reply: &mut [u8], at: usize, bytes: &[u8]) {
    reply[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The first key of the body, which is the name of the command. The body comes first in the messages of all clients.
fn name(request: &[u8]) -> &[u8] {
    let key = request.get(BODY + 5..).unwrap_or_default();
    key.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Returns true if a hello requests a service behind a load balancer.
fn is_of_service(request: &[u8]) -> bool {
    let key = b"loadBalanced\0";
    request.windows(key.len()).any(|bytes| bytes == key)
}

/// The number of writes in a command: in a separate section, or in its body.
fn writes(request: &[u8]) -> i32 {
    let body = request.get(BODY..).unwrap_or_default();
    let (body, mut sections) = body.split_at(length_at(request, BODY).min(body.len()));
    let mut count = 0;
    while let [1, rest @ ..] = sections {
        let (section, others) = rest.split_at(length_at(rest, 0).max(4).min(rest.len()));
        let key = section.get(4..).unwrap_or_default();
        let key = key.split(|byte| *byte == 0).next().unwrap_or_default();
        // The other section of a `bulkWrite` has its namespaces.
        if key != b"nsInfo" {
            let mut at = 4 + key.len() + 1;
            while at < section.len() {
                at += length_at(section, at).max(5);
                count += 1;
            }
        }
        sections = others;
    }
    if let (0, Ok(body)) = (count, RawDocument::from_bytes(body)) {
        let writes = ["documents", "updates", "ops"].into_iter();
        let writes = writes.filter_map(|key| body.get_array(key).ok());
        count = writes.map(|writes| writes.into_iter().count()).sum();
    }
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn length_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(i32_at(bytes, at)).unwrap_or(0)
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| i32::from_le_bytes(*bytes))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

pub(super) fn message(body: &Document) -> Vec<u8> {
    frame(OP_MSG, Msg::of(body.clone()).encode())
}

fn frame(op_code: i32, payload: Vec<u8>) -> Vec<u8> {
    let frame = Frame {
        request_id: 1,
        response_to: 0,
        op_code,
        payload,
    };
    frame.encode()
}

/// A standalone server, with neither sessions nor a topology version.
fn hello() -> Document {
    doc! {
        "helloOk": true,
        "ismaster": true,
        "isWritablePrimary": true,
        "maxBsonObjectSize": 16 << 20,
        "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000,
        "localTime": DateTime::now(),
        "minWireVersion": 0,
        "maxWireVersion": 25,
        "readOnly": false,
        "ok": 1.0,
    }
}

/// The reply to a bulk write. Without errors, and without results of each write, its cursor is empty.
fn bulk_written() -> Document {
    doc! {
        "nMatched": 0,
        "nErrors": 0,
        "nInserted": 0,
        "nUpserted": 0,
        "nModified": 0,
        "nDeleted": 0,
        "cursor": { "id": 0_i64, "firstBatch": [], "ns": "admin.$cmd.bulkWrite" },
        "ok": 1.0,
    }
}

/// A typical document: several kinds of values, a list, and a nested document.
fn document() -> Document {
    let mut document = doc! {
        "_id": ObjectId::new(),
        "number": 123_456,
        "total": 9_876_543_210_i64,
        "price": 1234.5,
        "active": true,
        "created": DateTime::now(),
        "name": "Ada Lovelace",
        "email": "ada.lovelace@example.org",
        "tags": ["first", "second", "third", "fourth"],
        "address": { "street": "12 St James's Square", "city": "London", "postcode": "SW1Y 4JH" },
        "scores": [0.25, 0.5, 0.75, 1.0],
        "text": "",
    };
    let missing = DOCUMENT_SIZE - document.to_vec().unwrap().len();
    document.insert("text", "x".repeat(missing));
    document
}

const MORE_TO_COME: i32 = wire::MORE_TO_COME as i32;

/// The position of the body in an OP_MSG: after the header, the flags and the kind of the section.
const BODY: usize = 16 + 4 + 1;

/// The position of the number of writes in the reply to an insert: after the length, and `n` with its type.
const COUNT: usize = BODY + 4 + 1 + "n\0".len();

/// The position of the number of matched documents in the reply to a bulk write, where it is the first field.
const COUNT_OF_BULK: usize = BODY + 4 + 1 + "nMatched\0".len();

/// The position of the collection in a `find`: after the length, the name with its type, and the length of the text.
const SUBJECT: usize = BODY + 4 + 1 + "find\0".len() + 4;

/// The position of the id in a reply with a batch: `cursor` is its first field, and `id` the first of that.
const CURSOR_ID: usize = BODY + 4 + 1 + "cursor\0".len() + 4 + 1 + "id\0".len();
