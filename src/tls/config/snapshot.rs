//! The state of the files and folders of TLS, to detect changes.
//!
//! A file has changed when its device, inode, size, time of modification or time of status change differs; links are
//! followed. So these changes are detected: a file that is rewritten in place, even with equal size and time of
//! modification, a file that another one is renamed to, and a link that is changed to another folder, as Kubernetes
//! does with secrets. In a folder of trust anchors, the files with hashed names are included, because OpenSSL reads
//! those. A check costs one `stat` for each file.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::options::TlsOptions;
use crate::tls::config::locations;

/// Some files and folders, with their state.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilesSnapshot(Vec<(PathBuf, FileState)>);

impl FilesSnapshot {
    /// Records the state of all files and folders that a context of these options is made from.
    pub(crate) fn of(options: &TlsOptions) -> Self {
        let mut paths = options.files();
        if options.verifies_certificate() && !options.names_anchors() {
            paths.extend(locations::system_paths());
        }
        Self::at(paths)
    }

    /// Records the state of the files and folders that the options name.
    pub(crate) fn of_named(options: &TlsOptions) -> Self {
        Self::at(options.files())
    }

    fn at(paths: Vec<PathBuf>) -> Self {
        let look = |path: PathBuf| {
            let seen = FileState::at(&path);
            (path, seen)
        };
        Self(paths.into_iter().map(look).collect())
    }

    /// Returns whether a file or folder has other contents now. A pipe has no further data and does not count as
    /// changed.
    pub(crate) fn has_changed(&self, path: &Path) -> bool {
        let known = self.0.iter().find(|(known, _)| known == path);
        let found = fs::metadata(path);
        found.is_ok_and(|found| found.is_file() || found.is_dir())
            && known.is_some_and(|(_, seen)| *seen != FileState::at(path))
    }

    /// Records the state again. Returns whether it has changed.
    pub(crate) fn renew(&mut self) -> bool {
        let mut changed = false;
        for (path, seen) in &mut self.0 {
            let now = FileState::at(path);
            changed |= now != *seen;
            *seen = now;
        }
        changed
    }
}

/// The state of a file or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState {
    /// The state of the path itself, or `None` if it cannot be read.
    itself: Option<Stamp>,
    /// The files under hashed names in a folder.
    inside: Vec<(OsString, Option<Stamp>)>,
}

impl FileState {
    fn at(path: &Path) -> Self {
        let metadata = fs::metadata(path).ok();
        let is_folder = metadata.as_ref().is_some_and(Metadata::is_dir);
        let mut inside = Vec::new();
        if let (true, Ok(entries)) = (is_folder, fs::read_dir(path)) {
            let hashed = entries
                .flatten()
                .filter(|entry| locations::is_hashed_name(&entry.file_name()));
            inside.extend(hashed.map(|entry| (entry.file_name(), Stamp::at(&entry.path()))));
            inside.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        Self {
            itself: metadata.as_ref().map(Stamp::of),
            inside,
        }
    }
}

/// The state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    /// The time of the status change. No program can set it back, while `cp -p` and `rsync -t` set the time of
    /// modification.
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::of)
    }
}
