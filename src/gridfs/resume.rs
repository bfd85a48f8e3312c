//! The part of a resumable upload that an earlier one has stored.
//!
//! An upload inserts its chunks in order, so a part of it has the chunks 0, 1, 2 and so on, all of them full. The last one may be
//! short, if the upload failed between its last chunk and the document of the file; it is deleted, because the content
//! continues after the last full chunk. Any other chunk is an error, and nothing is deleted.

use bson::raw::RawDocument;
use bson::{Document, RawDocumentBuf, cstr, doc};

use super::chunk::Chunk;
use super::equals;
use super::file::key_of;
use super::upload::{GridFsUploadStream, raw};
use crate::client_session::Scope;
use crate::cursor::Cursor;
use crate::data::hello::integer;
use crate::error::{Error, Result};
use crate::options::ReadPreference;
use crate::reason::gridfs::{GridFsFailure, Problem};

impl<S: Scope> GridFsUploadStream<S> {
    /// Finds the chunks that are stored, and continues after them.
    ///
    /// # Errors
    /// If the file is complete, or a chunk is not that of a resumable upload with this chunk size.
    pub(super) fn resume(&mut self) -> Result<()> {
        let id = raw(&self.id)?;
        let files = &self.work.bucket.files;
        let file = files
            .find_one(equals(cstr!("_id"), id.as_raw_bson_ref()))
            .read_preference(ReadPreference::default())
            .run_raw()?;
        if file.is_some() {
            return Err(Error::gridfs(GridFsFailure::FileExists(key_of(&self.id))));
        }
        let filter = equals(cstr!("files_id"), id.as_raw_bson_ref());
        let mut stored = Stored::new(self.chunk_size);
        let outcome = match self.sizes(&filter) {
            Ok(mut sizes) => stored.read(&mut sizes, size_of_projected),
            // MongoDB 4.2 does not know `$binarySize`.
            Err(error) if error.command().is_some() => {
                let chunks = &self.work.bucket.chunks;
                let found = chunks.find(&filter).sort(doc! { "n": 1 }).batch_size(1);
                let mut found = found.read_preference(ReadPreference::default()).run()?;
                stored.read(&mut found, size_of_chunk)
            }
            Err(error) => return Err(error),
        };
        outcome?.map_err(|(n, problem)| {
            Error::gridfs(GridFsFailure::Corrupt {
                file: key_of(&self.id),
                chunk: Some(n),
                problem,
            })
        })?;
        if stored.has_short {
            let mut condition = RawDocumentBuf::new();
            condition.append(cstr!("$gte"), i64::from(stored.full));
            let mut short = filter;
            short.append(cstr!("n"), condition);
            self.work.bucket.chunks.delete_many(&short).run()?;
        }
        self.chunks.skip_to(stored.full);
        self.stored_bytes = u64::from(stored.full) * u64::from(self.chunk_size);
        self.length = self.stored_bytes;
        Ok(())
    }

    /// Asks the server for the sizes of the chunks, so that their content is not transferred.
    fn sizes(&self, filter: &RawDocumentBuf) -> Result<Cursor<Document, S>> {
        let filter = Document::try_from(&**filter);
        let filter = filter.map_err(|error| Error::bson("the ID is not valid BSON", error))?;
        let pipeline = [
            doc! { "$match": filter },
            doc! { "$sort": { "n": 1 } },
            doc! { "$project": { "_id": 0, "n": 1, "size": { "$binarySize": "$data" } } },
        ];
        let chunks = self.work.bucket.chunks.clone_with_type::<Document>();
        let sizes = chunks.aggregate(pipeline);
        sizes.read_preference(ReadPreference::default()).run()
    }
}

/// The chunks that were found so far.
struct Stored {
    chunk_size: u64,
    /// The number of full chunks.
    full: u32,
    /// True if a chunk follows that is not full. It must be the last one.
    has_short: bool,
}

impl Stored {
    fn new(chunk_size: u32) -> Self {
        Self {
            chunk_size: u64::from(chunk_size),
            full: 0,
            has_short: false,
        }
    }

    /// Reads all chunks. The inner result has the first chunk that is wrong.
    fn read<T, S: Scope>(
        &mut self,
        chunks: &mut Cursor<T, S>,
        read: fn(&RawDocument) -> (Option<u64>, Option<u64>),
    ) -> Result<Result<(), (u64, Problem)>> {
        while chunks.advance()? {
            let (n, size) = read(chunks.current());
            if let Err(problem) = self.add(n, size) {
                return Ok(Err(problem));
            }
        }
        Ok(Ok(()))
    }

    fn add(&mut self, n: Option<u64>, size: Option<u64>) -> Result<(), (u64, Problem)> {
        let next = u64::from(self.full);
        let n = n.ok_or((next, Problem::Field("n")))?;
        let size = size.ok_or((n, Problem::Field("data")))?;
        let wrong_size = |n, found| {
            let expected = self.chunk_size;
            Err((n, Problem::Size { expected, found }))
        };
        match () {
            () if n < next || self.has_short && n == next => Err((n, Problem::Duplicate)),
            // The short chunk is the next one, and must be the last one.
            () if self.has_short => wrong_size(next, size),
            () if n > next => Err((next, Problem::Missing)),
            () if size == self.chunk_size => {
                self.full += 1;
                Ok(())
            }
            () if size < self.chunk_size => {
                self.has_short = true;
                Ok(())
            }
            () => wrong_size(n, size),
        }
    }
}

fn size_of_projected(document: &RawDocument) -> (Option<u64>, Option<u64>) {
    let number = |key| {
        let value = document.get(key).ok().flatten().and_then(integer);
        value.and_then(|number| u64::try_from(number).ok())
    };
    (number("n"), number("size"))
}

fn size_of_chunk(document: &RawDocument) -> (Option<u64>, Option<u64>) {
    let chunk = Chunk::read(document);
    (chunk.n, chunk.data.map(|data| data.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of full chunks and whether a short one follows, or the wrong chunk.
    fn stored(chunks: &[(u64, u64)]) -> Result<(u32, bool), (u64, Problem)> {
        let mut stored = Stored::new(4);
        for (n, size) in chunks {
            stored.add(Some(*n), Some(*size))?;
        }
        Ok((stored.full, stored.has_short))
    }

    #[test]
    fn full_chunks_and_a_last_short_one_are_accepted() {
        assert_eq!(stored(&[]), Ok((0, false)));
        assert_eq!(stored(&[(0, 4), (1, 4)]), Ok((2, false)));
        assert_eq!(stored(&[(0, 4), (1, 3)]), Ok((1, true)));
        assert_eq!(stored(&[(0, 0)]), Ok((0, true)));
    }

    #[test]
    fn other_chunks_are_named() {
        let size = |found| Problem::Size { expected: 4, found };
        for (chunks, wrong) in [
            (&[(1, 4)][..], (0, Problem::Missing)),
            (&[(0, 4), (2, 4)], (1, Problem::Missing)),
            (&[(0, 4), (0, 4)], (0, Problem::Duplicate)),
            (&[(0, 3), (0, 3)], (0, Problem::Duplicate)),
            (&[(0, 5)], (0, size(5))),
        ] {
            assert_eq!(stored(chunks), Err(wrong), "{chunks:?}");
        }
        let after_short = stored(&[(0, 3), (1, 4)]);
        assert!(matches!(after_short, Err((0, Problem::Size { .. }))));
        let mut stored = Stored::new(4);
        assert_eq!(stored.add(None, Some(4)), Err((0, Problem::Field("n"))));
        assert_eq!(stored.add(Some(0), None), Err((0, Problem::Field("data"))));
    }
}
