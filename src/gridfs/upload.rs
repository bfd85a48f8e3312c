//! Uploads ("GridFS", "File Upload").
//!
//! The content is written into the chunks of a batch as the program provides it, so it is copied once. A batch is sent when
//! the next chunk would make it larger than 1 MiB. After a failure nothing is deleted: what prevented an insert also delays a deletion ("Operation Failure").

use std::fmt;
use std::io::{self, ErrorKind as IoKind, Read, Write};
use std::time::Duration;

use bson::{Bson, DateTime, RawBson, RawDocumentBuf, cstr};

use super::chunk::ChunkWriter;
use super::{GridFsBucket, Work, equals, limits};
use crate::client_session::{Free, Scope};
use crate::collection::Inserter;
use crate::encode::{ToBson, to_document};
use crate::error::{Error, Result};
use crate::ffi::fork;
use crate::logging::warn;
use crate::object_id::IdGenerator;
use crate::op::QueuedWrite;

/// The size of a batch: four chunks of the usual size fit. A larger chunk has a batch of its own.
const BATCH_BYTES: usize = 1 << 20;

/// The longest time that dropping an upload waits for the deletion of its chunks.
const LONGEST_DROP: Duration = Duration::from_secs(10);

impl<S: Scope> GridFsBucket<S> {
    /// Opens an upload, to which the program writes the content of the file. The file exists when the upload is
    /// [closed](GridFsUploadStream::close). Several files may have the same name; they are its revisions.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use std::io::Write;
    ///
    /// let bucket = client.database("shop").gridfs_bucket(None);
    /// let mut upload = bucket
    ///     .open_upload_stream("notes.txt")
    ///     .metadata(doc! { "author": "Ada" })
    ///     .run()?;
    /// writeln!(upload, "from 8 to 16")?;
    /// upload.close()?;
    /// println!("{}", upload.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_upload_stream(&self, filename: impl AsRef<str>) -> OpenUploadStream<S> {
        OpenUploadStream {
            bucket: self.clone(),
            filename: filename.as_ref().to_owned(),
            id: None,
            chunk_size: self.shared.chunk_size,
            metadata: None,
            is_resumable: false,
            timeout: None,
        }
    }

    /// Uploads what `source` provides until its end. If the source fails, the upload is aborted.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let bucket = client.database("shop").gridfs_bucket(None);
    /// let id = bucket.upload_from_stream("bolt.jpg", std::fs::File::open("bolt.jpg")?).run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn upload_from_stream<R: Read>(
        &self,
        filename: impl AsRef<str>,
        source: R,
    ) -> UploadFromStream<R, S> {
        UploadFromStream {
            open: self.open_upload_stream(filename),
            source,
        }
    }
}

/// The action of [`GridFsBucket::open_upload_stream`].
#[must_use = "an action does nothing until it is run"]
pub struct OpenUploadStream<S = Free> {
    bucket: GridFsBucket<S>,
    filename: String,
    id: Option<Bson>,
    chunk_size: u32,
    metadata: Option<Result<RawDocumentBuf>>,
    is_resumable: bool,
    timeout: Option<Duration>,
}

impl<S: Scope> OpenUploadStream<S> {
    limits!();

    /// Sets the ID of the file. Default: a new `ObjectId`.
    pub fn id(mut self, id: impl Into<Bson>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the size of the chunks in bytes: from 1 to 16,760,832. Default: that of the bucket.
    pub fn chunk_size_bytes(mut self, bytes: u32) -> Self {
        self.chunk_size = bytes;
        self
    }

    /// Sets data that is stored with the file.
    pub fn metadata(mut self, metadata: impl ToBson) -> Self {
        self.metadata = Some(to_document(&metadata, "the metadata"));
        self
    }

    /// Makes the upload of the file with this ID resumable. If it fails or is dropped, its chunks stay. When it is opened
    /// again with the same ID and the same chunk size, it continues after the last complete chunk:
    /// [`stored_bytes`](GridFsUploadStream::stored_bytes) says how much of the content is stored already, which the program
    /// must not write again.
    ///
    /// Only one upload at a time may have the ID. Chunks that are never completed stay until the upload is
    /// [aborted](GridFsUploadStream::abort).
    ///
    /// ```no_run
    /// # use mongotls::bson::oid::ObjectId;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// # let id = ObjectId::new();
    /// use std::io::{Seek, SeekFrom};
    ///
    /// let bucket = client.database("shop").gridfs_bucket(None);
    /// let mut backup = std::fs::File::open("backup.tar")?;
    /// let mut upload = bucket.open_upload_stream("backup.tar").resumable(id).run()?;
    /// backup.seek(SeekFrom::Start(upload.stored_bytes()))?;
    /// std::io::copy(&mut backup, &mut upload)?;
    /// upload.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resumable(mut self, id: impl Into<Bson>) -> Self {
        self.id = Some(id.into());
        self.is_resumable = true;
        self
    }

    /// Opens the upload. Nothing is sent, unless it is [resumable](Self::resumable).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if no server stores chunks of this size;
    /// [`ErrorKind::Bson`](crate::ErrorKind::Bson) if the metadata cannot be encoded. For a resumable upload also
    /// [`ErrorKind::GridFs`](crate::ErrorKind::GridFs) if the file is complete already
    /// ([`CauseCode::GridfsFileExists`](crate::CauseCode::GridfsFileExists)) or its chunks are not those of such an upload
    /// ([`CauseCode::GridfsCorrupt`](crate::CauseCode::GridfsCorrupt)), and the errors of
    /// [`Database::run_command`](crate::Database::run_command).
    pub fn run(self) -> Result<GridFsUploadStream<S>> {
        let id = self.id.unwrap_or_else(|| IdGenerator::new().next().into());
        let chunks = ChunkWriter::new(&id, self.chunk_size)?;
        let metadata = self.metadata.transpose()?;
        let work = self.bucket.begin(self.timeout);
        let mut stream = GridFsUploadStream {
            inserter: work.bucket.chunks.inserter(),
            work,
            id,
            filename: self.filename,
            chunk_size: self.chunk_size,
            metadata,
            chunks,
            length: 0,
            stored_bytes: 0,
            state: State::Open,
            is_resumable: self.is_resumable,
            forks: fork::count(),
        };
        if self.is_resumable {
            stream.resume()?;
        }
        Ok(stream)
    }
}

impl<S> fmt::Debug for OpenUploadStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenUploadStream")
            .field("bucket", &self.bucket)
            .field("filename", &self.filename)
            .finish_non_exhaustive()
    }
}

/// The action of [`GridFsBucket::upload_from_stream`].
#[must_use = "an action does nothing until it is run"]
pub struct UploadFromStream<R, S = Free> {
    open: OpenUploadStream<S>,
    source: R,
}

impl<R: Read, S: Scope> UploadFromStream<R, S> {
    /// Sets `timeoutMS` of the whole upload. The source is not interrupted: if it takes longer than the rest of the time, so
    /// does the upload. See [`OpenUploadStream::timeout`].
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.open = self.open.timeout(limit);
        self
    }

    /// Sets an instant after which nothing is sent. See [`OpenUploadStream::deadline`].
    pub fn deadline(mut self, deadline: std::time::Instant) -> Self {
        self.open = self.open.deadline(deadline);
        self
    }

    /// Ends the upload when `canceller` is used on another thread. See [`OpenUploadStream::cancelled_by`].
    pub fn cancelled_by(mut self, canceller: &crate::Canceller) -> Self {
        self.open = self.open.cancelled_by(canceller);
        self
    }

    /// Sets the ID of the file. Default: a new `ObjectId`.
    pub fn id(mut self, id: impl Into<Bson>) -> Self {
        self.open = self.open.id(id);
        self
    }

    /// Sets the size of the chunks in bytes. Default: that of the bucket.
    pub fn chunk_size_bytes(mut self, bytes: u32) -> Self {
        self.open = self.open.chunk_size_bytes(bytes);
        self
    }

    /// Sets data that is stored with the file.
    pub fn metadata(mut self, metadata: impl ToBson) -> Self {
        self.open = self.open.metadata(metadata);
        self
    }

    /// Makes the upload resumable, as [`OpenUploadStream::resumable`] does. The source must begin with the first byte of the
    /// file; as many bytes as are stored already are read from it and left out.
    pub fn resumable(mut self, id: impl Into<Bson>) -> Self {
        self.open = self.open.resumable(id);
        self
    }

    /// Uploads the file and returns its ID.
    ///
    /// # Errors
    /// [`ErrorKind::Source`](crate::ErrorKind::Source) if the source fails, with its error as the source of this one; the
    /// chunks are deleted then, unless the upload is resumable. Otherwise those of [`OpenUploadStream::run`] and
    /// [`GridFsUploadStream::close`].
    pub fn run(self) -> Result<Bson> {
        let mut source = self.source;
        let mut stream = self.open.run()?;
        match stream.fill_from(&mut source) {
            Ok(()) => stream.finish(),
            Err(Failed::Upload(error)) => Err(error),
            Err(Failed::Source(error)) => {
                let error = Error::of_source(error.into());
                if !stream.is_resumable {
                    if let Err(of_abort) = stream.abort() {
                        warn!(target: "mongotls::gridfs", "the chunks of a file whose source failed may be left: {of_abort}");
                    }
                }
                stream.state = State::Failed;
                Err(error)
            }
        }
    }
}

impl<R, S> fmt::Debug for UploadFromStream<R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadFromStream")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

/// The reason why a source could not be uploaded.
enum Failed {
    Source(io::Error),
    Upload(Error),
}

/// The upload of one file, as an [`io::Write`](std::io::Write).
///
/// The content is sent in batches of about 1 MiB, so that a write usually only copies. A failed write, or a failed
/// [`close`](Self::close), ends the upload: chunks that were sent before stay in the database, as the specification
/// requires. [`abort`](Self::abort) deletes them. An [`io::Error`] of a write contains the [`Error`] of this crate
/// ([`get_ref`](io::Error::get_ref)).
///
/// Dropping an upload that is not closed aborts it for at most ten seconds, and logs a warning (target `mongotls::gridfs`).
/// The chunks stay if an operation failed, if the time limit has passed, if the upload is
/// [resumable](OpenUploadStream::resumable), and if the thread panics. A forked child can neither use nor abort an upload of its
/// parent, and dropping it there does nothing.
pub struct GridFsUploadStream<S: Scope = Free> {
    pub(super) work: Work<S>,
    inserter: Inserter<S>,
    pub(super) id: Bson,
    filename: String,
    pub(super) chunk_size: u32,
    metadata: Option<RawDocumentBuf>,
    pub(super) chunks: ChunkWriter,
    /// The size of the file so far.
    pub(super) length: u64,
    pub(super) stored_bytes: u64,
    state: State,
    is_resumable: bool,
    /// The number of forks when the upload was opened.
    forks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// A command failed, or the source did.
    Failed,
    Closed,
    Aborted,
}

impl<S: Scope> GridFsUploadStream<S> {
    /// The ID of the file.
    pub fn id(&self) -> &Bson {
        &self.id
    }

    /// The name of the file.
    pub fn filename(&self) -> &str {
        &self.filename
    }

    /// The number of bytes of the content that an earlier upload has stored, if this one is
    /// [resumable](OpenUploadStream::resumable). The program continues with the next byte. Otherwise zero.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Sends the rest of the content, and then the document that describes the file, which then exists. Nothing can be
    /// written afterwards.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the upload is closed or aborted, has failed, or
    /// belongs to the process that this one was forked from;
    /// otherwise those of [`InsertMany::run`](crate::InsertMany::run). Then the file does not exist, or it is unknown
    /// whether it does ([`Error::written`]).
    pub fn close(&mut self) -> Result<()> {
        self.check_open()?;
        let outcome = self.complete();
        self.state = match outcome {
            Ok(()) => State::Closed,
            Err(_) => State::Failed,
        };
        outcome
    }

    /// Closes the upload like [`close`](Self::close), and returns the ID of the file.
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub fn finish(mut self) -> Result<Bson> {
        self.close()?;
        Ok(std::mem::replace(&mut self.id, Bson::Null))
    }

    /// Deletes the chunks that have been sent. Nothing can be written afterwards, even if this fails. An upload that has
    /// failed can be aborted, too, and so can a [resumable](OpenUploadStream::resumable) one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the upload is closed or aborted already, or belongs
    /// to the process that this one was forked from; the
    /// errors of [`Delete::run`](crate::Delete::run) if the chunks cannot be deleted.
    pub fn abort(&mut self) -> Result<()> {
        self.check_process()?;
        if let State::Closed | State::Aborted = self.state {
            return Err(self.not_open());
        }
        self.state = State::Aborted;
        self.delete_chunks(None)
    }

    fn delete_chunks(&self, limit: Option<Duration>) -> Result<()> {
        let id = raw(&self.id)?;
        let chunks = &self.work.bucket.chunks;
        let mut delete = chunks.delete_many(equals(cstr!("files_id"), id.as_raw_bson_ref()));
        if let Some(limit) = limit {
            delete = delete.timeout(limit);
        }
        delete.run().map(drop)
    }

    fn complete(&mut self) -> Result<()> {
        if self.chunks.is_open() {
            self.end_chunk()?;
        }
        self.send()?;
        self.work.bucket.ensure_indexes()?;
        let mut file = RawDocumentBuf::new();
        let too_large = |_| Error::too_large("the file is larger than GridFS can store");
        file.append(cstr!("_id"), raw(&self.id)?);
        file.append(
            cstr!("length"),
            i64::try_from(self.length).map_err(too_large)?,
        );
        file.append(
            cstr!("chunkSize"),
            i32::try_from(self.chunk_size).map_err(too_large)?,
        );
        file.append(cstr!("uploadDate"), DateTime::now());
        file.append(cstr!("filename"), self.filename.as_str());
        if let Some(metadata) = &self.metadata {
            file.append(cstr!("metadata"), &**metadata);
        }
        let files = self.work.bucket.files.clone_with_type::<RawDocumentBuf>();
        files.insert_one(file).run().map(drop)
    }

    /// Ends the open chunk. It is sent with the next batch.
    fn end_chunk(&mut self) -> Result<()> {
        if i32::try_from(self.chunks.n()).is_err() {
            return Err(Error::too_large(
                "the file has more chunks than GridFS can number; choose larger ones (chunk_size_bytes)",
            ));
        }
        let write = QueuedWrite {
            index: usize::try_from(self.chunks.n()).unwrap_or(usize::MAX),
            is_multi: false,
            namespace: 0,
        };
        let (queue, chunks) = (self.inserter.queue(), &mut self.chunks);
        queue.push(write, |batch| {
            chunks.end(batch);
            Ok(())
        })
    }

    /// Sends the complete chunks. No chunk is open.
    fn send(&mut self) -> Result<()> {
        if self.inserter.queue().next().is_none() {
            return Ok(());
        }
        self.work.bucket.ensure_indexes()?;
        self.inserter.send_batch()
    }

    fn add(&mut self, data: &[u8]) -> Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let (queue, chunks) = (self.inserter.queue(), &mut self.chunks);
        let batch = queue.bytes_mut();
        reserve(batch, chunks, data.len());
        let id = || IdGenerator::new().next();
        let (taken, is_full) = chunks.append(batch, data, id);
        self.length += taken as u64;
        if is_full {
            self.end_chunk()?;
            if self.inserter.queue().size() + self.chunks.size() > BATCH_BYTES {
                self.send()?;
            }
        }
        Ok(taken)
    }

    /// Appends what the source provides until its end, without what is stored already.
    fn fill_from(&mut self, source: &mut impl Read) -> Result<(), Failed> {
        let mut buffer = vec![0; COPY_BYTES];
        let mut stored = self.stored_bytes;
        loop {
            let size = match source.read(&mut buffer) {
                Ok(size) => size,
                Err(error) if error.kind() == IoKind::Interrupted => continue,
                Err(error) => return Err(Failed::Source(error)),
            };
            let data = &buffer[..size];
            if data.is_empty() && stored > 0 {
                let text = "the source is shorter than the part of the file that is stored";
                return Err(Failed::Source(io::Error::other(text)));
            }
            if data.is_empty() {
                return Ok(());
            }
            let skipped = usize::try_from(stored).unwrap_or(usize::MAX).min(size);
            stored -= skipped as u64;
            self.write_data(&data[skipped..]).map_err(Failed::Upload)?;
        }
    }

    fn write_data(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let taken = self.guarded(|stream| stream.add(data))?;
            data = &data[taken..];
        }
        Ok(())
    }

    /// Runs a step of an open upload, which fails with the step.
    fn guarded<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.check_open()?;
        let outcome = step(self);
        if outcome.is_err() {
            self.state = State::Failed;
        }
        outcome
    }

    fn check_open(&self) -> Result<()> {
        self.check_process()?;
        match self.state {
            State::Open => Ok(()),
            _ => Err(self.not_open()),
        }
    }

    /// Two processes that write the same chunks would spoil the file.
    fn check_process(&self) -> Result<()> {
        match self.forks == fork::count() {
            true => Ok(()),
            false => Err(Error::of_the_parent()),
        }
    }

    fn not_open(&self) -> Error {
        Error::invalid_argument(match self.state {
            State::Closed => "the upload is closed already",
            State::Aborted => "the upload was aborted",
            State::Open | State::Failed => "the upload has failed before",
        })
    }
}

/// Reserves memory for the data of a write, and for a whole batch as soon as there is more than one chunk: so small files
/// need little, and a batch does not move when it grows.
fn reserve(batch: &mut Vec<u8>, chunks: &ChunkWriter, data: usize) {
    let whole = match batch.is_empty() || chunks.is_open() {
        true => return batch.reserve(data.min(chunks.size()) + chunks.size().min(OVERHEAD)),
        false => BATCH_BYTES.max(chunks.size()),
    };
    batch.reserve(whole.saturating_sub(batch.len()));
}

/// The bytes for the fields of a chunk, besides its data.
const OVERHEAD: usize = 128;

/// The size of the pieces in which a source is read: 64 KiB.
const COPY_BYTES: usize = 64 << 10;

/// The ID as raw BSON.
pub(super) fn raw(id: &Bson) -> Result<RawBson> {
    let raw = RawBson::try_from(id.clone());
    raw.map_err(|error| Error::bson("the ID of the file is not valid BSON", error))
}

/// Wraps an error for the traits of `std::io`. The kind is never `Interrupted`, which means that a call may be repeated.
pub(super) fn io_error(error: Error) -> io::Error {
    let kind = match error.kind() {
        crate::ErrorKind::Timeout => IoKind::TimedOut,
        crate::ErrorKind::InvalidArgument => IoKind::InvalidInput,
        crate::ErrorKind::GridFs => IoKind::InvalidData,
        _ => IoKind::Other,
    };
    io::Error::new(kind, error)
}

impl<S: Scope> Write for GridFsUploadStream<S> {
    /// Takes as many bytes as the current chunk takes, and sends a batch if it is full.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.guarded(|stream| stream.add(data)).map_err(io_error)
    }

    /// Sends the complete chunks that wait, if the last one is complete. An incomplete chunk cannot be stored before the
    /// upload is closed.
    fn flush(&mut self) -> io::Result<()> {
        if self.chunks.is_open() {
            return self.check_open().map_err(io_error);
        }
        self.guarded(Self::send).map_err(io_error)
    }
}

impl<S: Scope> Drop for GridFsUploadStream<S> {
    fn drop(&mut self) {
        if self.state != State::Open {
            return;
        }
        let file = &self.filename;
        let kept = match () {
            () if self.check_process().is_err() => return,
            () if self.is_resumable => Some("they stay, because it is resumable"),
            () if self.work.is_late() => Some("they stay, because its time was over"),
            () if std::thread::panicking() => Some("they stay, because the thread panics"),
            () => None,
        };
        if let Some(kept) = kept {
            warn!(target: "mongotls::gridfs", "the upload of {file:?} was dropped before it was closed; its chunks: {kept}");
            return;
        }
        match self.delete_chunks(Some(LONGEST_DROP)) {
            Ok(()) => {
                warn!(target: "mongotls::gridfs", "the upload of {file:?} was dropped before it was closed, and was aborted");
            }
            Err(error) => {
                warn!(target: "mongotls::gridfs", "the upload of {file:?} was dropped before it was closed; chunks may be left: {error}");
            }
        }
    }
}

impl<S: Scope> fmt::Debug for GridFsUploadStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GridFsUploadStream")
            .field("bucket", &self.work.bucket)
            .field("filename", &self.filename)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
