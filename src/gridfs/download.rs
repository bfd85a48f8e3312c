//! Downloads ("GridFS", "File Download", "File Download by Filename", "Partial File Retrieval").
//!
//! The chunks come from a cursor, in batches of about 1 MiB. The data is copied from the reply to the program's buffer. Each
//! chunk is checked before any of its bytes is returned.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::time::Duration;

use bson::{Bson, Document, RawDocumentBuf, cstr, rawdoc};

use super::chunk::Chunk;
use super::file::{Shape, key_of};
use super::upload::{io_error, raw};
use super::{GridFsBucket, Work, equals, limits};
use crate::client_session::{Free, Scope};
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::reason::gridfs::{FileKey, GridFsFailure, Problem};

/// The size of a batch of chunks, unless one chunk is larger.
const BATCH_BYTES: u64 = 1 << 20;

/// The bytes of a chunk besides its data, about.
const OVERHEAD: u64 = 100;

impl<S: Scope> GridFsBucket<S> {
    /// Opens the download of the file with this ID.
    ///
    /// ```no_run
    /// # use mongotls::bson::oid::ObjectId;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// # let id = ObjectId::new();
    /// use std::io::{Read, Seek, SeekFrom};
    ///
    /// let bucket = client.database("shop").gridfs_bucket(None);
    /// let mut backup = bucket.open_download_stream(id).run()?;
    /// let mut last = [0; 512];
    /// backup.seek(SeekFrom::End(-512))?;
    /// backup.read_exact(&mut last)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_download_stream(&self, id: impl Into<Bson>) -> OpenDownloadStream<S> {
        OpenDownloadStream {
            bucket: self.clone(),
            file: Wanted::Id(id.into()),
            timeout: None,
        }
    }

    /// Opens the download of the file with this name: the newest one, unless a [revision](OpenDownloadStream::revision) is
    /// set.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let bucket = client.database("shop").gridfs_bucket(None);
    /// let oldest = bucket.open_download_stream_by_name("notes.txt").revision(0).run()?;
    /// println!("{}", std::io::read_to_string(oldest)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_download_stream_by_name(&self, filename: impl AsRef<str>) -> OpenDownloadStream<S> {
        OpenDownloadStream {
            bucket: self.clone(),
            file: Wanted::Name {
                filename: filename.as_ref().to_owned(),
                revision: NEWEST,
            },
            timeout: None,
        }
    }

    /// Writes the content of the file with this ID to `destination`, which is neither flushed nor closed.
    ///
    /// ```no_run
    /// # use mongotls::bson::oid::ObjectId;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// # let id = ObjectId::new();
    /// let bucket = client.database("shop").gridfs_bucket(None);
    /// let size = bucket.download_to_stream(id, std::io::stdout()).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn download_to_stream<W: Write>(
        &self,
        id: impl Into<Bson>,
        destination: W,
    ) -> DownloadToStream<W, S> {
        DownloadToStream {
            open: self.open_download_stream(id),
            destination,
        }
    }

    /// Writes the content of the file with this name to `destination`: of the newest one, unless a
    /// [revision](DownloadToStream::revision) is set.
    pub fn download_to_stream_by_name<W: Write>(
        &self,
        filename: impl AsRef<str>,
        destination: W,
    ) -> DownloadToStream<W, S> {
        DownloadToStream {
            open: self.open_download_stream_by_name(filename),
            destination,
        }
    }
}

/// The newest revision of a file.
const NEWEST: i32 = -1;

/// The file that a program wants.
#[derive(Clone, Debug)]
enum Wanted {
    Id(Bson),
    Name { filename: String, revision: i32 },
}

/// The action of [`GridFsBucket::open_download_stream`] and [`GridFsBucket::open_download_stream_by_name`].
#[must_use = "an action does nothing until it is run"]
pub struct OpenDownloadStream<S = Free> {
    bucket: GridFsBucket<S>,
    file: Wanted,
    timeout: Option<Duration>,
}

impl<S: Scope> OpenDownloadStream<S> {
    limits!();

    /// Sets the revision, if the file is chosen by its name. 0 is the oldest file with the name, 1 the second one; -1 is the
    /// newest one, -2 the one before. Default: -1. It has no effect on a file that is chosen by its ID.
    pub fn revision(mut self, number: i32) -> Self {
        if let Wanted::Name { revision, .. } = &mut self.file {
            *revision = number;
        }
        self
    }

    /// Finds the file, and opens its download.
    ///
    /// # Errors
    /// [`ErrorKind::GridFs`](crate::ErrorKind::GridFs) if there is no such file
    /// ([`CauseCode::GridfsFileNotFound`](crate::CauseCode::GridfsFileNotFound)) or no such revision
    /// ([`CauseCode::GridfsRevisionNotFound`](crate::CauseCode::GridfsRevisionNotFound)), or if its document is not usable
    /// ([`CauseCode::GridfsCorrupt`](crate::CauseCode::GridfsCorrupt)); otherwise those of
    /// [`Database::run_command`](crate::Database::run_command).
    pub fn run(self) -> Result<GridFsDownloadStream<S>> {
        let work = self.bucket.begin(self.timeout);
        let file = work.find_file(&self.file)?;
        Ok(GridFsDownloadStream {
            file: Shape::read(&file)?,
            work,
            cursor: None,
            current: None,
            next: 0,
            position: 0,
            error: None,
        })
    }
}

impl<S> fmt::Debug for OpenDownloadStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDownloadStream")
            .field("bucket", &self.bucket)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl<S: Scope> Work<S> {
    /// The document of the file.
    fn find_file(&self, wanted: &Wanted) -> Result<RawDocumentBuf> {
        let files = &self.bucket.files;
        let (filename, revision) = match wanted {
            Wanted::Id(id) => {
                let filter = equals(cstr!("_id"), raw(id)?.as_raw_bson_ref());
                let found = files.find_one(&filter).run_raw()?;
                let not_found = || Error::gridfs(GridFsFailure::FileNotFound(key_of(id)));
                return found.ok_or_else(not_found);
            }
            Wanted::Name { filename, revision } => (filename, *revision),
        };
        let filter = rawdoc! { "filename": filename.as_str() };
        let (order, skipped) = match revision < 0 {
            true => (-1, u64::from(revision.unsigned_abs()) - 1),
            false => (1, u64::from(revision.unsigned_abs())),
        };
        let mut find = files
            .find_one(&filter)
            .sort(&rawdoc! { "uploadDate": order });
        if skipped > 0 {
            find = find.skip(skipped);
        }
        if let Some(found) = find.run_raw()? {
            return Ok(found);
        }
        let exists = skipped > 0 && files.find_one(&filter).run_raw()?.is_some();
        let filename = filename.clone();
        Err(Error::gridfs(match exists {
            true => GridFsFailure::RevisionNotFound { filename, revision },
            false => GridFsFailure::FileNotFound(FileKey::Name(filename)),
        }))
    }
}

/// The action of [`GridFsBucket::download_to_stream`] and [`GridFsBucket::download_to_stream_by_name`].
#[must_use = "an action does nothing until it is run"]
pub struct DownloadToStream<W, S = Free> {
    open: OpenDownloadStream<S>,
    destination: W,
}

impl<W: Write, S: Scope> DownloadToStream<W, S> {
    /// Sets `timeoutMS` of the whole download. The destination is not interrupted: if it takes longer than the rest of the
    /// time, so does the download. See [`OpenDownloadStream::timeout`].
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.open = self.open.timeout(limit);
        self
    }

    /// Sets an instant after which nothing is sent. See [`OpenDownloadStream::deadline`].
    pub fn deadline(mut self, deadline: std::time::Instant) -> Self {
        self.open = self.open.deadline(deadline);
        self
    }

    /// Ends the download when `canceller` is used on another thread. See [`OpenDownloadStream::cancelled_by`].
    pub fn cancelled_by(mut self, canceller: &crate::Canceller) -> Self {
        self.open = self.open.cancelled_by(canceller);
        self
    }

    /// Sets the revision, if the file is chosen by its name. See [`OpenDownloadStream::revision`].
    pub fn revision(mut self, number: i32) -> Self {
        self.open = self.open.revision(number);
        self
    }

    /// Downloads the file and returns its size in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Source`](crate::ErrorKind::Source) if the destination fails, with its error as the source of this one;
    /// [`ErrorKind::GridFs`](crate::ErrorKind::GridFs) if a chunk is missing or wrong; otherwise those of
    /// [`OpenDownloadStream::run`].
    pub fn run(self) -> Result<u64> {
        let mut destination = self.destination;
        let mut stream = self.open.run()?;
        loop {
            let data = stream.data()?;
            if data.is_empty() {
                return Ok(stream.position);
            }
            let size = data.len();
            destination.write_all(data).map_err(Error::of_destination)?;
            stream.position += size as u64;
        }
    }
}

impl<W, S> fmt::Debug for DownloadToStream<W, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownloadToStream")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

/// The download of one file, as an [`io::Read`](std::io::Read), [`io::BufRead`](std::io::BufRead) and
/// [`io::Seek`](std::io::Seek).
///
/// It keeps one batch of chunks, of about 1 MiB or one chunk. Seeking sends nothing; the next read begins with the chunk at
/// the new position, and does not read those in between.
///
/// Each chunk is checked: its number, and the size of its data. A missing or wrong chunk is an error that names the file and
/// the chunk; none of its bytes is returned. A chunk with data behind the end of the file is an error when the end is read. An
/// [`io::Error`] contains the [`Error`] of this crate ([`get_ref`](io::Error::get_ref)); it is returned again by further
/// reads.
pub struct GridFsDownloadStream<S: Scope = Free> {
    work: Work<S>,
    file: Shape,
    /// The chunks from [`next`](Self::next) on.
    cursor: Option<Cursor<Document, S>>,
    /// The number of the chunk that the cursor is at, and the position of its data in the document.
    current: Option<(u64, Range<usize>)>,
    /// The number of the next chunk of the cursor.
    next: u64,
    /// The position in the file.
    position: u64,
    /// The error that ended the download.
    error: Option<Error>,
}

impl<S: Scope> GridFsDownloadStream<S> {
    /// The ID of the file.
    pub fn id(&self) -> &Bson {
        &self.file.id
    }

    /// The name of the file. Files of some old programs have none.
    pub fn filename(&self) -> Option<&str> {
        self.file.filename.as_deref()
    }

    /// The size of the file in bytes.
    pub fn length(&self) -> u64 {
        self.file.length
    }

    /// The size of the file's chunks in bytes.
    pub fn chunk_size_bytes(&self) -> u32 {
        self.file.chunk_size
    }

    /// The rest of the chunk at the current position. Empty at the end of the file.
    fn data(&mut self) -> Result<&[u8]> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if let Err(error) = self.load() {
            self.cursor = None;
            self.current = None;
            self.error = Some(error.clone());
            return Err(error);
        }
        let (Some(cursor), Some((n, data))) = (&self.cursor, &self.current) else {
            return Ok(&[]);
        };
        if self.position >= self.file.length {
            return Ok(&[]);
        }
        let data = cursor.current().as_bytes().get(data.clone());
        let begin = self.position - n * u64::from(self.file.chunk_size);
        let begin = usize::try_from(begin).unwrap_or(usize::MAX);
        Ok(data.and_then(|data| data.get(begin..)).unwrap_or_default())
    }

    /// Lets the current chunk be that of the position.
    fn load(&mut self) -> Result<()> {
        if self.position >= self.file.length {
            return self.check_end();
        }
        let n = self.position / u64::from(self.file.chunk_size);
        if self
            .current
            .as_ref()
            .is_some_and(|(current, _)| *current == n)
        {
            return Ok(());
        }
        if self.cursor.is_none() || self.next != n {
            self.open(n)?;
        }
        self.current = None;
        let Some(chunk) = self.advance()? else {
            return Err(self.file.wrong(Some(n), Problem::Missing));
        };
        let found = chunk.n;
        let found = found.ok_or_else(|| self.file.wrong(Some(n), Problem::Field("n")))?;
        if found != n {
            // The chunks are sorted.
            return Err(match found < n {
                true => self.file.wrong(Some(found), Problem::Duplicate),
                false => self.file.wrong(Some(n), Problem::Missing),
            });
        }
        let data = chunk.data;
        let data = data.ok_or_else(|| self.file.wrong(Some(n), Problem::Field("data")))?;
        let (expected, found) = (self.file.size_of(n), data.len() as u64);
        if found != expected {
            return Err(self.file.wrong(Some(n), Problem::Size { expected, found }));
        }
        self.current = Some((n, data));
        self.next = n + 1;
        Ok(())
    }

    /// Opens a cursor of the chunks from `n` on. A batch that is not full tells the server that there are no more chunks,
    /// so one more than the rest is requested.
    fn open(&mut self, n: u64) -> Result<()> {
        let mut filter = equals(cstr!("files_id"), raw(&self.file.id)?.as_raw_bson_ref());
        if n > 0 {
            let first = i64::try_from(n).unwrap_or(i64::MAX);
            filter.append(cstr!("n"), rawdoc! { "$gte": first });
        }
        let whole = BATCH_BYTES / (u64::from(self.file.chunk_size) + OVERHEAD);
        let rest = self.file.chunk_count().saturating_sub(n).saturating_add(1);
        let batch = u32::try_from(whole.min(rest)).unwrap_or(u32::MAX).max(1);
        self.current = None;
        self.cursor = None;
        let chunks = self.work.bucket.chunks.clone_with_type::<Document>();
        let find = chunks.find(&filter).sort(&rawdoc! { "n": 1 });
        self.cursor = Some(find.batch_size(batch).run()?);
        self.next = n;
        Ok(())
    }

    /// Moves the cursor to its next chunk.
    fn advance(&mut self) -> Result<Option<Chunk>> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
        match cursor.advance()? {
            true => Ok(Some(Chunk::read(cursor.current()))),
            false => Ok(None),
        }
    }

    /// Returns an error if a chunk with data follows the last one. Only a cursor that has read the last one knows.
    fn check_end(&mut self) -> Result<()> {
        self.current = None;
        if self.cursor.is_none() || self.next != self.file.chunk_count() {
            return Ok(());
        }
        while let Some(chunk) = self.advance()? {
            // Some drivers have written an empty chunk at the end.
            if chunk.data.is_none_or(|data| !data.is_empty()) {
                let n = chunk.n.unwrap_or(self.next);
                let problem = match n < self.next {
                    true => Problem::Duplicate,
                    false => Problem::BehindEnd,
                };
                return Err(self.file.wrong(Some(n), problem));
            }
        }
        self.cursor = None;
        Ok(())
    }
}

impl<S: Scope> Read for GridFsDownloadStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let data = self.data().map_err(io_error)?;
        let size = data.len().min(buffer.len());
        buffer[..size].copy_from_slice(&data[..size]);
        self.position += size as u64;
        Ok(size)
    }
}

impl<S: Scope> BufRead for GridFsDownloadStream<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.data().map_err(io_error)
    }

    fn consume(&mut self, size: usize) {
        self.position = self.position.saturating_add(size as u64);
    }
}

impl<S: Scope> Seek for GridFsDownloadStream<S> {
    /// Sets the position. Nothing is sent. A position behind the end is possible; reads return nothing there.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::Current(offset) => (self.position, offset),
            SeekFrom::End(offset) => (self.file.length, offset),
        };
        let position = base.checked_add_signed(offset).ok_or_else(|| {
            io_error(Error::invalid_argument(
                "the position would be before the beginning of the file",
            ))
        })?;
        self.position = position;
        Ok(position)
    }
}

impl<S: Scope> fmt::Debug for GridFsDownloadStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GridFsDownloadStream")
            .field("bucket", &self.work.bucket)
            .field("file", &self.file)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
