//! Finding, renaming and deleting files, and dropping a bucket ("GridFS", "Generic Find on Files Collection", "Renaming
//! stored files", "File Deletion", "Dropping an entire `GridFS` bucket").

use std::fmt;
use std::time::Duration;

use bson::{Bson, RawArrayBuf, RawDocumentBuf, cstr, rawdoc};

use super::file::key_of;
use super::upload::raw;
use super::{FilesCollectionDocument, GridFsBucket, Work, equals, limits};
use crate::client_session::{Free, Scope};
use crate::collection::{Find, FindOne};
use crate::encode::ToBson;
use crate::error::{Error, Result};
use crate::options::ReadPreference;
use crate::reason::gridfs::{FileKey, GridFsFailure};

/// The number of files that `delete_by_name` deletes at a time.
const DELETED_AT_ONCE: usize = 1000;

impl<S: Scope> GridFsBucket<S> {
    /// Finds the files whose documents match `filter`. Fields of a file are `_id`, `filename`, `length`, `chunkSize`,
    /// `uploadDate` and `metadata`; a field of the metadata is written `metadata.author`.
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let bucket = client.database("shop").gridfs_bucket(None);
    /// for file in bucket.find(doc! { "metadata.author": "Ada" }).sort(doc! { "uploadDate": -1 }).run()? {
    ///     let file = file?;
    ///     println!("{:?}: {} bytes", file.filename, file.length);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn find(&self, filter: impl ToBson) -> Find<FilesCollectionDocument, S> {
        self.files.find(filter)
    }

    /// Finds the first file whose document matches `filter`. See [`find`](Self::find).
    ///
    /// ```no_run
    /// # use mongotls::bson::doc;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let bucket = client.database("shop").gridfs_bucket(None);
    /// if let Some(file) = bucket.find_one(doc! { "filename": "notes.txt" }).run()? {
    ///     println!("{} bytes", file.length);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn find_one(&self, filter: impl ToBson) -> FindOne<FilesCollectionDocument, S> {
        self.files.find_one(filter)
    }

    /// Renames the file with this ID.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let bucket = client.database("shop").gridfs_bucket(None);
    /// bucket.rename("notes", "old notes.txt").run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn rename(&self, id: impl Into<Bson>, new_filename: impl AsRef<str>) -> Rename<S> {
        self.rename_files(Files::WithId(id.into()), new_filename.as_ref())
    }

    /// Renames all files with this name.
    pub fn rename_by_name(
        &self,
        filename: impl AsRef<str>,
        new_filename: impl AsRef<str>,
    ) -> Rename<S> {
        let files = Files::Named(filename.as_ref().to_owned());
        self.rename_files(files, new_filename.as_ref())
    }

    fn rename_files(&self, files: Files, new_filename: &str) -> Rename<S> {
        Rename {
            bucket: self.clone(),
            files,
            new_filename: new_filename.to_owned(),
            timeout: None,
        }
    }

    /// Deletes the file with this ID: its document first, then its chunks. Chunks without a document, which a failed upload
    /// has left, are deleted although the file does not exist.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let bucket = client.database("shop").gridfs_bucket(None);
    /// bucket.delete("notes").run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn delete(&self, id: impl Into<Bson>) -> Delete<S> {
        Delete {
            bucket: self.clone(),
            files: Files::WithId(id.into()),
            timeout: None,
        }
    }

    /// Deletes all files with this name.
    pub fn delete_by_name(&self, filename: impl AsRef<str>) -> Delete<S> {
        Delete {
            bucket: self.clone(),
            files: Files::Named(filename.as_ref().to_owned()),
            timeout: None,
        }
    }

    /// Drops both collections of the bucket, with all files.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// client.database("shop").gridfs_bucket(None).drop().run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn drop(&self) -> Drop<S> {
        Drop {
            bucket: self.clone(),
            timeout: None,
        }
    }
}

/// The files that an operation changes.
#[derive(Clone, Debug)]
enum Files {
    WithId(Bson),
    Named(String),
}

impl Files {
    fn not_found(&self) -> Error {
        Error::gridfs(GridFsFailure::FileNotFound(match self {
            Self::WithId(id) => key_of(id),
            Self::Named(name) => FileKey::Name(name.clone()),
        }))
    }
}

/// The action of [`GridFsBucket::rename`] and [`GridFsBucket::rename_by_name`].
#[must_use = "an action does nothing until it is run"]
pub struct Rename<S = Free> {
    bucket: GridFsBucket<S>,
    files: Files,
    new_filename: String,
    timeout: Option<Duration>,
}

impl<S: Scope> Rename<S> {
    limits!();

    /// Renames the file, or the files.
    ///
    /// # Errors
    /// [`ErrorKind::GridFs`](crate::ErrorKind::GridFs) if there is no such file
    /// ([`CauseCode::GridfsFileNotFound`](crate::CauseCode::GridfsFileNotFound)), unless the write is not acknowledged;
    /// otherwise those of [`UpdateOne::run`](crate::UpdateOne::run).
    pub fn run(self) -> Result<()> {
        let work = self.bucket.begin(self.timeout);
        let files = &work.bucket.files;
        let update = rawdoc! { "$set": { "filename": self.new_filename.as_str() } };
        let result = match &self.files {
            Files::WithId(id) => {
                let filter = equals(cstr!("_id"), raw(id)?.as_raw_bson_ref());
                files.update_one(&filter, &update).run()?
            }
            Files::Named(name) => {
                let filter = rawdoc! { "filename": name.as_str() };
                files.update_many(&filter, &update).run()?
            }
        };
        match result.acknowledged && result.matched_count == 0 {
            true => Err(self.files.not_found()),
            false => Ok(()),
        }
    }
}

/// The action of [`GridFsBucket::delete`] and [`GridFsBucket::delete_by_name`].
#[must_use = "an action does nothing until it is run"]
pub struct Delete<S = Free> {
    bucket: GridFsBucket<S>,
    files: Files,
    timeout: Option<Duration>,
}

impl<S: Scope> Delete<S> {
    limits!();

    /// Deletes the file, or the files.
    ///
    /// # Errors
    /// [`ErrorKind::GridFs`](crate::ErrorKind::GridFs) if there is no such file
    /// ([`CauseCode::GridfsFileNotFound`](crate::CauseCode::GridfsFileNotFound)), unless the write is not acknowledged;
    /// otherwise those of [`crate::Delete::run`]. If an error comes after the document of the file was deleted, chunks
    /// are left that nothing refers to; deleting the same ID again deletes them.
    pub fn run(self) -> Result<()> {
        let work = self.bucket.begin(self.timeout);
        let existed = match &self.files {
            Files::WithId(id) => work.delete_one(id)?,
            Files::Named(name) => work.delete_named(name)?,
        };
        match existed {
            true => Ok(()),
            false => Err(self.files.not_found()),
        }
    }
}

impl<S: Scope> Work<S> {
    /// Deletes a file, and returns whether it existed.
    fn delete_one(&self, id: &Bson) -> Result<bool> {
        let id = raw(id)?;
        let file = equals(cstr!("_id"), id.as_raw_bson_ref());
        let deleted = self.bucket.files.delete_one(&file).run()?;
        let chunks = equals(cstr!("files_id"), id.as_raw_bson_ref());
        self.bucket.chunks.delete_many(&chunks).run()?;
        Ok(deleted.deleted_count > 0 || !deleted.acknowledged)
    }

    /// Deletes all files with a name, some at a time, and returns whether there was one.
    fn delete_named(&self, name: &str) -> Result<bool> {
        let mut existed = false;
        loop {
            let (ids, count) = self.some_ids(name)?;
            if count == 0 {
                return Ok(existed);
            }
            existed = true;
            let among = |key| -> RawDocumentBuf {
                let mut filter = RawDocumentBuf::new();
                filter.append(key, rawdoc! { "$in": ids.clone() });
                filter
            };
            let files = self.bucket.files.delete_many(among(cstr!("_id")));
            let deleted = files.run()?;
            let chunks = self.bucket.chunks.delete_many(among(cstr!("files_id")));
            chunks.run()?;
            // Without an acknowledgment the same files could be found again.
            if count < DELETED_AT_ONCE || !deleted.acknowledged {
                return Ok(true);
            }
        }
    }

    /// The IDs of files with a name, and their number.
    fn some_ids(&self, name: &str) -> Result<(RawArrayBuf, usize)> {
        let mut found = self
            .bucket
            .files
            .find(&rawdoc! { "filename": name })
            .projection(&rawdoc! { "_id": 1 })
            .limit(i64::try_from(DELETED_AT_ONCE).unwrap_or(i64::MAX))
            .read_preference(ReadPreference::default())
            .run()?;
        let (mut ids, mut count) = (RawArrayBuf::new(), 0);
        while found.advance()? {
            if let Ok(Some(id)) = found.current().get("_id") {
                ids.push(id);
                count += 1;
            }
        }
        Ok((ids, count))
    }
}

/// The action of [`GridFsBucket::drop`].
#[must_use = "an action does nothing until it is run"]
pub struct Drop<S = Free> {
    bucket: GridFsBucket<S>,
    timeout: Option<Duration>,
}

impl<S: Scope> Drop<S> {
    limits!();

    /// Drops the collection of the files, then that of the chunks. Collections that do not exist are not an error. The next
    /// upload creates the indexes again.
    ///
    /// # Errors
    /// As [`DropCollection::run`](crate::DropCollection::run).
    pub fn run(self) -> Result<()> {
        let work = self.bucket.begin(self.timeout);
        work.bucket.shared.set_has_indexes(false);
        work.bucket.files.drop().run()?;
        work.bucket.chunks.drop().run()
    }
}

macro_rules! debug {
    ($($name:ident)*) => {$(
        impl<S> fmt::Debug for $name<S> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("bucket", &self.bucket)
                    .finish_non_exhaustive()
            }
        }
    )*};
}

debug! { Rename Delete Drop }

#[cfg(not(feature = "serde"))]
mod without_serde {
    use super::*;
    use crate::cursor::Cursor;

    impl<S: Scope> Iterator for Cursor<FilesCollectionDocument, S> {
        type Item = Result<FilesCollectionDocument>;

        fn next(&mut self) -> Option<Self::Item> {
            match self.advance() {
                Ok(true) => Some(FilesCollectionDocument::read(self.current())),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            }
        }
    }

    impl<S: Scope> FindOne<FilesCollectionDocument, S> {
        /// Sends the command and returns the file, if one matches.
        ///
        /// # Errors
        /// As [`Find::run`].
        pub fn run(self) -> Result<Option<FilesCollectionDocument>> {
            let found = self.run_raw()?;
            found
                .map(|file| FilesCollectionDocument::read(&file))
                .transpose()
        }
    }
}
