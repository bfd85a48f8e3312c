//! The settings of a bucket of GridFS.

use std::time::Duration;

use super::{ReadConcern, ReadPreference, WriteConcern};

/// The settings of a [`GridFsBucket`](crate::gridfs::GridFsBucket). `None` takes the setting of the database, or the
/// default.
///
/// ```
/// use mongotls::options::{GridFsBucketOptions, WriteConcern};
///
/// let options = GridFsBucketOptions::default()
///     .bucket_name("photos")
///     .write_concern(WriteConcern::majority());
/// ```
///
/// Source: "GridFS", "Configurable GridFSBucket class".
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GridFsBucketOptions {
    /// The name of the bucket, with which the names of its two collections begin. Default: `fs`, for `fs.files` and
    /// `fs.chunks`.
    pub bucket_name: Option<String>,
    /// The size of the chunks of new files, in bytes: from 1 to 16,760,832 (16 MiB minus 16 KiB). Default: 261,120 (255
    /// KiB). Existing files keep theirs.
    pub chunk_size_bytes: Option<u32>,
    /// The read concern of reads.
    pub read_concern: Option<ReadConcern>,
    /// The write concern of writes.
    pub write_concern: Option<WriteConcern>,
    /// The read preference of reads.
    pub read_preference: Option<ReadPreference>,
    /// `timeoutMS` of each operation, and of each stream from its opening to its end. Zero means no limit.
    pub timeout: Option<Duration>,
}

impl GridFsBucketOptions {
    /// Creates a builder without settings.
    pub fn builder() -> GridFsBucketOptionsBuilder {
        GridFsBucketOptionsBuilder::default()
    }

    /// Sets the name of the bucket. Default: `fs`.
    #[must_use]
    pub fn bucket_name(mut self, name: impl Into<String>) -> Self {
        self.bucket_name = Some(name.into());
        self
    }

    /// Sets the size of the chunks of new files, in bytes: from 1 to 16,760,832. Default: 261,120. Opening an upload fails
    /// with another value.
    #[must_use]
    pub fn chunk_size_bytes(mut self, bytes: u32) -> Self {
        self.chunk_size_bytes = Some(bytes);
        self
    }

    /// Sets the read concern of reads.
    #[must_use]
    pub fn read_concern(mut self, concern: ReadConcern) -> Self {
        self.read_concern = Some(concern);
        self
    }

    /// Sets the write concern of writes.
    #[must_use]
    pub fn write_concern(mut self, concern: WriteConcern) -> Self {
        self.write_concern = Some(concern);
        self
    }

    /// Sets the read preference of reads.
    #[must_use]
    pub fn read_preference(mut self, preference: ReadPreference) -> Self {
        self.read_preference = Some(preference);
        self
    }

    /// Sets `timeoutMS` of each operation, and of each stream from its opening to its end. Zero means no limit.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }
}

/// A builder of [`GridFsBucketOptions`], which has the same setters itself.
#[derive(Clone, Debug, Default)]
#[must_use = "the options are made by build"]
pub struct GridFsBucketOptionsBuilder(GridFsBucketOptions);

impl GridFsBucketOptionsBuilder {
    /// Sets the name of the bucket. Default: `fs`.
    pub fn bucket_name(self, name: impl Into<String>) -> Self {
        Self(self.0.bucket_name(name))
    }

    /// Sets the size of the chunks of new files, in bytes. Default: 261,120.
    pub fn chunk_size_bytes(self, bytes: u32) -> Self {
        Self(self.0.chunk_size_bytes(bytes))
    }

    /// Sets the read concern of reads.
    pub fn read_concern(self, concern: ReadConcern) -> Self {
        Self(self.0.read_concern(concern))
    }

    /// Sets the write concern of writes.
    pub fn write_concern(self, concern: WriteConcern) -> Self {
        Self(self.0.write_concern(concern))
    }

    /// Sets the read preference of reads. The official driver has this name.
    pub fn selection_criteria(self, preference: ReadPreference) -> Self {
        Self(self.0.read_preference(preference))
    }

    /// Returns the options.
    pub fn build(self) -> GridFsBucketOptions {
        self.0
    }
}
