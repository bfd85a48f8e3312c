//! Files of any size in a database, as GridFS stores them: a document that describes the file, and its content in chunks.
//!
//! A [`GridFsBucket`] has the files of two collections. An upload is an [`io::Write`](std::io::Write), a download an
//! [`io::Read`](std::io::Read) and [`io::Seek`](std::io::Seek). Neither needs memory for more than about a mebibyte or one chunk.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the bucket, its handles, and the limits of its operations |
//! | `file.rs` | the document of a file, whose fields are checked |
//! | `chunk.rs` | one chunk as bytes: written behind those that wait, and read where it lies |
//! | `upload.rs` `resume.rs` | an upload; the part of it that an earlier one has stored |
//! | `download.rs` | a download |
//! | `admin.rs` | finding, renaming and deleting files |
//! | `indexes.rs` | the indexes, which the first write creates |
//!
//! Everything here is made of operations of collections; nothing selects servers or retries. Runs on the thread of the
//! program, and holds no lock while it waits.
//!
//! Source: "GridFS"; "Client Side Operations Timeout", "GridFS API".

mod admin;
mod chunk;
mod download;
mod file;
mod indexes;
mod resume;
mod upload;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bson::raw::CStr;
use bson::{RawBsonRef, RawDocumentBuf, cstr};

pub use self::admin::{Delete, Drop, Rename};
pub use self::download::{DownloadToStream, GridFsDownloadStream, OpenDownloadStream};
pub use self::file::FilesCollectionDocument;
pub use self::upload::{GridFsUploadStream, OpenUploadStream, UploadFromStream};
use crate::cancel::Canceller;
use crate::client_session::{Free, Scope};
use crate::collection::Collection;
use crate::database::Database;
use crate::options::{
    CollectionOptions, GridFsBucketOptions, ReadConcern, ReadPreference, WriteConcern,
};
use crate::time::{Deadline, TimeoutKind, TimeoutMs};

impl<S: Scope> Database<S> {
    /// The bucket with these settings, for files of any size. No command is sent.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use std::fs::File;
    ///
    /// let bucket = client.database("shop").gridfs_bucket(None);
    /// let photo = File::open("bolt.jpg")?;
    /// let id = bucket.upload_from_stream("bolt.jpg", photo).run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gridfs_bucket(
        &self,
        options: impl Into<Option<GridFsBucketOptions>>,
    ) -> GridFsBucket<S> {
        let options = options.into().unwrap_or_default();
        let name = options.bucket_name.as_deref().unwrap_or("fs");
        let of_collections = CollectionOptions {
            read_concern: options.read_concern,
            write_concern: options.write_concern,
            read_preference: options.read_preference,
            timeout: options.timeout,
        };
        let (files, chunks) = (format!("{name}.files"), format!("{name}.chunks"));
        GridFsBucket {
            files: self.collection_with_options(&files, of_collections.clone()),
            chunks: self.collection_with_options(&chunks, of_collections),
            shared: Arc::new(Shared {
                name: name.to_owned(),
                chunk_size: options.chunk_size_bytes.unwrap_or(CHUNK_SIZE),
                has_indexes: AtomicBool::new(false),
            }),
        }
    }
}

/// The default size of a chunk: 255 KiB.
const CHUNK_SIZE: u32 = 255 << 10;

/// A bucket of GridFS: the files of two collections. Cheap to clone.
///
/// `S` is the scope of its commands: outside of any session of the program, unless the [`Database`] is
/// [within](Database::within) one. The specification does not support GridFS in transactions: the parts of a file may be more than a
/// transaction can hold, and creating the indexes is not possible in one.
///
/// ```no_run
/// use std::io::{Read, Write};
///
/// # let client = mongotls::Client::connect("mongodb://localhost")?;
/// let bucket = client.database("shop").gridfs_bucket(None);
///
/// let mut upload = bucket.open_upload_stream("notes.txt").run()?;
/// upload.write_all(b"from 8 to 16")?;
/// let id = upload.finish()?;
///
/// let mut text = String::new();
/// bucket.open_download_stream(id).run()?.read_to_string(&mut text)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct GridFsBucket<S = Free> {
    files: Collection<FilesCollectionDocument, S>,
    chunks: Collection<RawDocumentBuf, S>,
    shared: Arc<Shared>,
}

/// The parts of a bucket that its clones share.
#[derive(Debug)]
struct Shared {
    name: String,
    chunk_size: u32,
    /// True if a write of this bucket has made sure that the indexes exist.
    has_indexes: AtomicBool,
}

impl<S> GridFsBucket<S> {
    /// The name of the bucket.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The size of the chunks of new files, in bytes.
    pub fn chunk_size_bytes(&self) -> u32 {
        self.shared.chunk_size
    }

    /// The read concern of reads.
    pub fn read_concern(&self) -> &ReadConcern {
        self.files.read_concern()
    }

    /// The write concern of writes.
    pub fn write_concern(&self) -> &WriteConcern {
        self.files.write_concern()
    }

    /// The read preference of reads.
    pub fn read_preference(&self) -> &ReadPreference {
        self.files.read_preference()
    }

    /// The read preference of reads, as [`read_preference`](Self::read_preference). The official driver has this name.
    pub fn selection_criteria(&self) -> &ReadPreference {
        self.read_preference()
    }
}

impl<S: Scope> GridFsBucket<S> {
    /// Returns a handle of the same bucket with a deadline, which its operations and streams inherit. See
    /// [`Client::until`](crate::Client::until).
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self {
            files: self.files.until(deadline),
            chunks: self.chunks.until(deadline),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Returns a handle of the same bucket with a canceller, which its operations and streams inherit. See
    /// [`Client::cancelled_by`](crate::Client::cancelled_by).
    #[must_use]
    pub fn cancelled_by(&self, canceller: &Canceller) -> Self {
        Self {
            files: self.files.cancelled_by(canceller),
            chunks: self.chunks.cancelled_by(canceller),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Begins an operation or a stream with this `timeoutMS`, or that of the bucket. One deadline applies to all its
    /// commands ("Client Side Operations Timeout", "GridFS API").
    fn begin(&self, timeout: Option<Duration>) -> Work<S> {
        let own = timeout.map(|limit| TimeoutMs {
            limit,
            kind: TimeoutKind::Operation,
        });
        let timeout = own
            .or_else(|| self.files.timeout_ms())
            .or_else(|| TimeoutMs::of_client(self.files.client().options()));
        let Some(timeout) = timeout else {
            return Work {
                bucket: self.clone(),
                deadline: None,
            };
        };
        let deadline = timeout.begin();
        Work {
            bucket: Self {
                files: self.files.within_whole(timeout, deadline),
                chunks: self.chunks.within_whole(timeout, deadline),
                shared: Arc::clone(&self.shared),
            },
            deadline: Some(deadline),
        }
    }
}

/// One operation or one stream: the bucket, whose commands all have the deadline.
struct Work<S> {
    bucket: GridFsBucket<S>,
    deadline: Option<Deadline>,
}

impl<S> Work<S> {
    /// Returns whether the time is over.
    fn is_late(&self) -> bool {
        let deadline = self.deadline;
        deadline.is_some_and(|deadline| deadline.remaining(Instant::now()).is_err())
    }
}

impl Shared {
    fn has_indexes(&self) -> bool {
        self.has_indexes.load(Ordering::Relaxed)
    }

    fn set_has_indexes(&self, has_indexes: bool) {
        self.has_indexes.store(has_indexes, Ordering::Relaxed);
    }
}

impl<S: Clone> Clone for GridFsBucket<S> {
    fn clone(&self) -> Self {
        Self {
            files: self.files.clone(),
            chunks: self.chunks.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S> fmt::Debug for GridFsBucket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GridFsBucket")
            .field("database", &self.files.namespace().db)
            .field("name", &self.shared.name)
            .field("chunk_size_bytes", &self.shared.chunk_size)
            .finish_non_exhaustive()
    }
}

/// The filter that matches exactly this ID ("`TFileId` Queries"). An ID that is a document, an array or a regular expression
/// would be a condition of its own, so it is compared by `$eq`. For any other value that makes no difference, and the
/// specification's cases expect the value itself.
fn equals<'a>(key: &CStr, id: impl Into<RawBsonRef<'a>>) -> RawDocumentBuf {
    let mut filter = RawDocumentBuf::new();
    match id.into() {
        id
        @ (RawBsonRef::Document(_) | RawBsonRef::Array(_) | RawBsonRef::RegularExpression(_)) => {
            let mut condition = RawDocumentBuf::new();
            condition.append(cstr!("$eq"), id);
            filter.append(key, condition);
        }
        id => filter.append(key, id),
    }
    filter
}

/// Declares the setters of limits that all operations of a bucket have.
macro_rules! limits {
    () => {
        /// Sets `timeoutMS` of this operation as a whole; for a stream, until it is closed. Default: that of the bucket. Zero
        /// means no limit. See the [guide](crate::guide::timeouts).
        pub fn timeout(mut self, limit: std::time::Duration) -> Self {
            self.timeout = Some(limit);
            self
        }

        /// Sets an instant after which nothing is sent for this operation. The earlier limit counts if there are several. See
        /// [`Client::until`](crate::Client::until).
        pub fn deadline(mut self, deadline: std::time::Instant) -> Self {
            self.bucket = self.bucket.until(deadline);
            self
        }

        /// Ends this operation when `canceller` is used on another thread. See
        /// [`Client::cancelled_by`](crate::Client::cancelled_by).
        pub fn cancelled_by(mut self, canceller: &$crate::Canceller) -> Self {
            self.bucket = self.bucket.cancelled_by(canceller);
            self
        }
    };
}
use limits;
