//! One chunk as a document: `{ _id, files_id, n, data }` ("GridFS", "Definitions", "Chunk").
//!
//! A chunk that is uploaded is written directly into the batch that is sent, behind the chunks that wait there. A chunk that
//! is downloaded is read where it lies in the reply.

use std::ops::Range;

use bson::oid::ObjectId;
use bson::raw::RawDocument;
use bson::spec::BinarySubtype;
use bson::{Bson, RawBsonRef, RawDocumentBuf, cstr};

use crate::data::hello::integer;
use crate::error::{Error, Result};

/// The largest document that servers store.
const MAX_DOCUMENT: usize = 16 << 20;

/// The part of [`MAX_DOCUMENT`] that is left for the ID of the file and for the other fields of a chunk.
const MAX_OVERHEAD: usize = 16 << 10;

/// The largest size of a chunk.
pub(super) const MAX_CHUNK: usize = MAX_DOCUMENT - MAX_OVERHEAD;

/// Writes the chunks of one file.
#[derive(Debug)]
pub(super) struct ChunkWriter {
    /// The element `files_id`.
    files_id: Vec<u8>,
    chunk_size: usize,
    /// The number of the next chunk, or of the open one.
    n: u32,
    /// The position of the open chunk in the batch, and the size of its data.
    open: Option<(usize, usize)>,
}

impl ChunkWriter {
    /// Creates the writer of a file.
    ///
    /// # Errors
    /// If no server stores chunks of this size.
    pub(super) fn new(id: &Bson, chunk_size: u32) -> Result<Self> {
        let mut document = RawDocumentBuf::new();
        let element = bson::RawBson::try_from(id.clone());
        let element =
            element.map_err(|error| Error::bson("the ID of the file is not valid BSON", error))?;
        document.append(cstr!("files_id"), element);
        let bytes = document.into_bytes();
        let files_id = bytes[4..bytes.len() - 1].to_vec();
        let chunk_size = usize::try_from(chunk_size).unwrap_or(usize::MAX);
        if chunk_size == 0 || chunk_size > MAX_CHUNK {
            return Err(Error::invalid_argument(format!(
                "a chunk must have from 1 to {MAX_CHUNK} bytes, not {chunk_size}"
            )));
        }
        let writer = Self {
            files_id,
            chunk_size,
            n: 0,
            open: None,
        };
        if writer.size() > MAX_DOCUMENT {
            return Err(Error::invalid_argument(
                "the ID of the file and a chunk do not fit into one document",
            ));
        }
        Ok(writer)
    }

    /// Begins with this chunk.
    pub(super) fn skip_to(&mut self, n: u32) {
        self.n = n;
    }

    /// The size of a full chunk as a document.
    pub(super) fn size(&self) -> usize {
        BEFORE_FILES_ID + self.files_id.len() + BEFORE_DATA + self.chunk_size + 1
    }

    /// The number of the open chunk, or of the next one.
    pub(super) fn n(&self) -> u32 {
        self.n
    }

    /// Returns true if a chunk has been begun and not ended.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Appends as much of `data` as the open chunk takes, and returns this size and whether the chunk is full. Begins a
    /// chunk with the ID that `id` returns if none is open.
    pub(super) fn append(
        &mut self,
        batch: &mut Vec<u8>,
        data: &[u8],
        id: impl FnOnce() -> ObjectId,
    ) -> (usize, bool) {
        let (start, size) = self.open.unwrap_or_else(|| {
            let start = batch.len();
            self.begin(batch, id());
            (start, 0)
        });
        let taken = data.len().min(self.chunk_size - size);
        batch.extend_from_slice(&data[..taken]);
        self.open = Some((start, size + taken));
        (taken, size + taken == self.chunk_size)
    }

    fn begin(&self, batch: &mut Vec<u8>, id: ObjectId) {
        batch.extend_from_slice(&[0; 4]);
        batch.extend_from_slice(b"\x07_id\0");
        batch.extend_from_slice(&id.bytes());
        batch.extend_from_slice(&self.files_id);
        batch.extend_from_slice(b"\x10n\0");
        batch.extend_from_slice(&self.n.to_le_bytes());
        batch.extend_from_slice(b"\x05data\0");
        batch.extend_from_slice(&[0; 4]);
        batch.push(BinarySubtype::Generic.into());
    }

    /// Ends the open chunk, which is then a whole document.
    pub(super) fn end(&mut self, batch: &mut Vec<u8>) {
        let Some((start, size)) = self.open.take() else {
            return;
        };
        batch.push(0);
        // Both are below 16 MiB.
        let length = |size: usize| i32::try_from(size).unwrap_or(i32::MAX).to_le_bytes();
        let document = length(batch.len() - start);
        batch[start..start + 4].copy_from_slice(&document);
        let at = start + BEFORE_FILES_ID + self.files_id.len() + BEFORE_DATA - 5;
        batch[at..at + 4].copy_from_slice(&length(size));
        self.n += 1;
    }
}

/// The length and the element `_id`.
const BEFORE_FILES_ID: usize = 4 + 5 + 12;

/// The element `n`, and the beginning of the element `data` with its length and its subtype.
const BEFORE_DATA: usize = 3 + 4 + 6 + 4 + 1;

/// The number of a chunk, and the position of its data in the document. `None` if the field has another type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) n: Option<u64>,
    pub(super) data: Option<Range<usize>>,
}

impl Chunk {
    /// Reads a document of the collection of chunks.
    pub(super) fn read(document: &RawDocument) -> Self {
        let field = |key: &'static str| document.get(key).ok().flatten();
        let n = field("n").and_then(integer);
        let data = match field("data") {
            Some(RawBsonRef::Binary(binary)) => position(document.as_bytes(), binary.bytes),
            _ => None,
        };
        Self {
            n: n.and_then(|n| u64::try_from(n).ok()),
            data,
        }
    }
}

/// The position of a part in the whole.
fn position(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let range = start..start + part.len();
    (range.end <= whole.len()).then_some(range)
}

#[cfg(test)]
mod tests {
    use bson::{Binary, Document, doc};

    use super::*;

    #[test]
    fn chunks_are_written_one_behind_the_other() {
        let file = Bson::Document(doc! { "a": "b" });
        let mut writer = ChunkWriter::new(&file, 4).unwrap();
        let mut batch = Vec::new();
        let ids = [ObjectId::from_bytes([1; 12]), ObjectId::from_bytes([2; 12])];
        assert_eq!(writer.append(&mut batch, b"ab", || ids[0]), (2, false));
        assert_eq!(writer.append(&mut batch, b"cdef", || ids[1]), (2, true));
        assert_eq!(writer.size(), batch.len() + 1);
        writer.end(&mut batch);
        let second = batch.len();
        assert_eq!(writer.append(&mut batch, b"ef", || ids[1]), (2, false));
        assert!(writer.is_open());
        writer.end(&mut batch);
        assert!(!writer.is_open());
        for (bytes, n, data) in [
            (&batch[..second], 0, &b"abcd"[..]),
            (&batch[second..], 1, b"ef"),
        ] {
            let data = Binary {
                subtype: BinarySubtype::Generic,
                bytes: data.to_vec(),
            };
            let id = ids[n as usize];
            let expected = doc! { "_id": id, "files_id": file.clone(), "n": n, "data": data };
            assert_eq!(Document::from_reader(bytes).unwrap(), expected);
        }
        let raw = RawDocument::from_bytes(&batch[second..]).unwrap();
        let chunk = Chunk::read(raw);
        assert_eq!(chunk.n, Some(1));
        assert_eq!(raw.as_bytes()[chunk.data.unwrap()], *b"ef");
    }

    #[test]
    fn sizes_that_no_server_stores_are_rejected() {
        for size in [0, MAX_CHUNK + 1, u32::MAX as usize] {
            let error = ChunkWriter::new(&Bson::Int32(1), u32::try_from(size).unwrap());
            let error = error.unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("16760832"), "{error}");
        }
        let id = Bson::String("x".repeat(17 << 10));
        let error = ChunkWriter::new(&id, u32::try_from(MAX_CHUNK).unwrap()).unwrap_err();
        assert!(error.to_string().contains("the ID of the file"), "{error}");
        ChunkWriter::new(&id, 1000).unwrap();
    }

    #[test]
    fn wrong_types_are_not_read() {
        let read = |document: &Document| Chunk::read(&RawDocumentBuf::try_from(document).unwrap());
        let wrong = doc! { "n": -1, "data": "text" };
        assert_eq!(
            read(&wrong),
            Chunk {
                n: None,
                data: None
            }
        );
        assert_eq!(read(&doc! { "n": 2.0 }).n, Some(2));
        assert_eq!(read(&doc! { "n": 2.5 }).n, None);
    }
}
