//! Certificates and keys in files.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder for certificate and key files. A temporary one is deleted with it.
#[derive(Debug)]
pub struct PkiDir {
    path: PathBuf,
    _owned: Option<TempDir>,
}

impl PkiDir {
    /// A new temporary folder.
    pub fn new() -> Self {
        let owned = tempfile::Builder::new()
            .prefix("mongotls-")
            .tempdir()
            .unwrap();
        Self {
            path: owned.path().to_owned(),
            _owned: Some(owned),
        }
    }

    /// A permanent folder, created if it does not exist.
    pub fn at(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        Self {
            path: path.to_owned(),
            _owned: None,
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file with mode 0600, atomically replacing one of that name, and returns its path.
    ///
    /// The new file is moved into place, so that a program that watches for changes never reads half of it.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        let half = self.path.join(format!(".{name}.new"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&half)
            .unwrap();
        file.write_all(bytes.as_ref()).unwrap();
        drop(file);
        fs::rename(&half, &path).unwrap();
        path
    }
}

impl Default for PkiDir {
    fn default() -> Self {
        Self::new()
    }
}
