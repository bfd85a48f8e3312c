//! Reading the files that options name: each once, within a size limit, and never blocking for long.
//!
//! [`Files`] holds the bytes of all files of a set of options. The context, the decision if it may be shared and the
//! doctor all use these bytes, so a pipe such as `<(cat ca.pem)` is enough for all of them. Files are read before any
//! lock is taken and [outside](crate::ffi::fork::outside) of work that delays a fork.
//!
//! When a client is made, pipes are read without blocking, until a deadline. While files are in use, only regular files
//! are read again, because a pipe has no further data.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use openssl::sha::sha256;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::ffi::fork;
use crate::ffi::system::wait_until_readable;
use crate::limit::Limit;
use crate::options::TlsOptions;
use crate::reason::files::{FileFailure, FilePurpose, ReadProblem};
use crate::store_uri::shown_path;
use crate::tls::config::snapshot::FilesSnapshot;

/// The size limit of a file: 256 MiB. A CRL of a million entries has about 60 MB in PEM form.
const LARGEST: usize = 256 << 20;

/// The time limit for all pipes of a set of options.
const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// The kinds of files that may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Regular files and pipes: for a new client, or one look at a file.
    Once,
    /// Regular files: while an earlier state of them is in use.
    Again,
}

/// A file that was read.
pub(crate) struct FileBytes {
    /// Overwritten on drop, because they may hold a key.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// The permission bits.
    pub(crate) mode: u32,
}

/// The reason why a file was not read.
pub(crate) struct Unread {
    pub(crate) problem: ReadProblem,
    /// The system's error number, if the system refused to read it.
    os_error: Option<i32>,
}

impl Unread {
    fn by_system(error: &io::Error) -> Self {
        Self {
            problem: match error.kind() {
                io::ErrorKind::NotFound => ReadProblem::NotFound,
                io::ErrorKind::PermissionDenied => ReadProblem::PermissionDenied,
                _ => ReadProblem::System(error.to_string()),
            },
            os_error: error.raw_os_error(),
        }
    }

    /// The system's error, if the system refused to read it.
    pub(crate) fn source(&self) -> Option<io::Error> {
        self.os_error.map(io::Error::from_raw_os_error)
    }
}

impl From<ReadProblem> for Unread {
    fn from(problem: ReadProblem) -> Self {
        Self {
            problem,
            os_error: None,
        }
    }
}

/// A file that the options do not name.
static UNKNOWN: Unread = Unread {
    problem: ReadProblem::NotNamed,
    os_error: None,
};

/// The files of a set of options, read once.
pub(crate) struct Files {
    reading: Reading,
    until: Instant,
    read: Vec<(PathBuf, Result<FileBytes, Unread>)>,
    /// The state of the files before they were read.
    seen: FilesSnapshot,
    /// The SHA-256 of each file; `None` if one of them was not read.
    digests: Option<Vec<[u8; 32]>>,
}

impl Files {
    /// Reads the files that `options` name.
    pub(crate) fn of(options: &TlsOptions, reading: Reading) -> Self {
        let mut files = Self {
            reading,
            until: Instant::now() + WAIT_LIMIT,
            read: Vec::new(),
            seen: fork::outside(|| FilesSnapshot::of_named(options)),
            digests: None,
        };
        for path in options.files_to_read() {
            if files.place(&path).is_none() {
                let outcome = files.read_also(&path);
                files.read.push((path, outcome));
            }
        }
        let digests = files.read.iter().map(|(_, outcome)| {
            let file = outcome.as_ref().ok()?;
            Some(digest_of(&file.bytes))
        });
        files.digests = digests.collect();
        files
    }

    /// No files.
    pub(crate) fn none() -> Self {
        Self {
            reading: Reading::Once,
            until: Instant::now(),
            read: Vec::new(),
            seen: FilesSnapshot::default(),
            digests: None,
        }
    }

    fn place(&self, path: &Path) -> Option<usize> {
        self.read.iter().position(|(known, _)| known == path)
    }

    /// One of the files.
    pub(crate) fn get(&self, path: &Path) -> Result<&FileBytes, &Unread> {
        match self.place(path) {
            Some(place) => self.read[place].1.as_ref(),
            None => Err(&UNKNOWN),
        }
    }

    /// One of the files, with mutable bytes: a large file is decoded in place.
    pub(crate) fn get_mut(&mut self, path: &Path) -> Result<&mut FileBytes, &Unread> {
        match self.place(path) {
            Some(place) => self.read[place].1.as_mut().map_err(|unread| &*unread),
            None => Err(&UNKNOWN),
        }
    }

    /// Reads another file under the same rules.
    pub(crate) fn read_also(&self, path: &Path) -> Result<FileBytes, Unread> {
        fork::outside(|| read(path, self.reading, self.until))
    }

    /// The state of the files before they were read.
    pub(crate) fn seen(&self) -> &FilesSnapshot {
        &self.seen
    }

    /// Each file with its SHA-256 as it was read, or an empty list if one of them was not read.
    pub(crate) fn contents(&self) -> Vec<(PathBuf, [u8; 32])> {
        let paths = self.read.iter().map(|(path, _)| path.clone());
        paths.zip(self.digests.iter().flatten().copied()).collect()
    }

    /// The SHA-256 of each file as it was read; `None` if one of them was not read.
    pub(crate) fn digests(&self) -> Option<&[[u8; 32]]> {
        self.digests.as_deref()
    }
}

/// The bytes of the file of an option.
pub(crate) fn bytes<'a>(
    purpose: FilePurpose,
    path: &Path,
    files: &'a Files,
) -> crate::error::Result<&'a [u8]> {
    match files.get(path) {
        Ok(file) => Ok(&file.bytes),
        Err(unread) => Err(unreadable(purpose, path, unread)),
    }
}

/// The error for a file or folder that cannot be read because of a limit of this host.
pub(crate) fn beyond_limit(limit: Limit, option: &'static str, path: &Path) -> Error {
    Error::configuration(FileFailure::Limited {
        option,
        path: shown_path(path),
        limit: limit.reached(),
    })
}

/// The error for the file of an option that was not read.
pub(crate) fn unreadable(purpose: FilePurpose, path: &Path, unread: &Unread) -> Error {
    let source = unread.source();
    if let Some(limit) = source.as_ref().and_then(Limit::of) {
        return beyond_limit(limit, purpose.option(), path);
    }
    let error = Error::configuration(FileFailure::Unreadable {
        purpose,
        path: shown_path(path),
        problem: unread.problem.clone(),
    });
    match source {
        Some(source) => error.with_source(source),
        None => error,
    }
}

/// Reads one whole file.
pub(crate) fn read_once(path: &Path) -> Result<FileBytes, Unread> {
    fork::outside(|| read(path, Reading::Once, Instant::now() + WAIT_LIMIT))
}

/// Returns whether `path` is a regular file whose bytes have this SHA-256 now.
pub(crate) fn has_digest(path: &Path, digest: &[u8; 32]) -> bool {
    reread(path).is_ok_and(|file| digest_of(&file.bytes) == *digest)
}

/// The SHA-256 of a file. OpenSSL looks the algorithm up in memory that an exit of the process frees.
fn digest_of(bytes: &[u8]) -> [u8; 32] {
    let _at_work = fork::at_work();
    sha256(bytes)
}

/// Reads one whole regular file.
pub(crate) fn reread(path: &Path) -> Result<FileBytes, Unread> {
    fork::outside(|| read(path, Reading::Again, Instant::now() + WAIT_LIMIT))
}

/// Reads a whole file of at most `largest` bytes: a regular file, or a pipe, which may take up to `wait_limit`.
#[cfg(feature = "cloud")]
pub(crate) fn read_small(
    path: &Path,
    largest: usize,
    wait_limit: Duration,
) -> Result<Zeroizing<Vec<u8>>, Unread> {
    let bounds = Bounds {
        largest,
        wait_limit,
        until: Instant::now() + wait_limit,
    };
    let file = fork::outside(|| read_within(path, Reading::Once, &bounds))?;
    Ok(file.bytes)
}

/// Reads a whole small regular file, for a handshake that waits for it.
pub(crate) fn read_for_handshake(path: &Path, largest: usize) -> Result<FileBytes, Unread> {
    let bounds = Bounds {
        largest,
        ..Bounds::until(Instant::now())
    };
    fork::outside(|| read_within(path, Reading::Again, &bounds))
}

/// The limits of one read.
struct Bounds {
    /// The size limit in bytes.
    largest: usize,
    until: Instant,
    /// The time limit that ends at `until`.
    wait_limit: Duration,
}

impl Bounds {
    fn until(until: Instant) -> Self {
        Self {
            largest: LARGEST,
            until,
            wait_limit: WAIT_LIMIT,
        }
    }
}

fn read(path: &Path, reading: Reading, until: Instant) -> Result<FileBytes, Unread> {
    read_within(path, reading, &Bounds::until(until))
}

fn read_within(path: &Path, reading: Reading, bounds: &Bounds) -> Result<FileBytes, Unread> {
    // Opening a device may have side effects, so the kind is checked before opening and again after it.
    let found = fs::metadata(path).map_err(|error| Unread::by_system(&error))?;
    check_kind(found.file_type(), reading)?;
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| Unread::by_system(&error))?;
    let found = file.metadata().map_err(|error| Unread::by_system(&error))?;
    check_kind(found.file_type(), reading)?;
    // Some system files report a size of 0.
    let size = usize::try_from(found.len()).unwrap_or(usize::MAX);
    let bytes = read_all(&mut file, size, found.file_type().is_fifo(), bounds)?;
    Ok(FileBytes {
        bytes,
        mode: found.permissions().mode(),
    })
}

/// Accepts a regular file and, for [`Reading::Once`], a pipe.
fn check_kind(kind: FileType, reading: Reading) -> Result<(), Unread> {
    let problem = if kind.is_file() || (kind.is_fifo() && reading == Reading::Once) {
        return Ok(());
    } else if kind.is_dir() {
        ReadProblem::IsFolder
    } else if kind.is_fifo() {
        ReadProblem::IsPipe
    } else if kind.is_socket() {
        ReadProblem::IsSocket
    } else {
        ReadProblem::IsDevice
    };
    Err(problem.into())
}

/// Reads a file up to its end. Waits only for a pipe, and for a regular file that is not ready, such as some of the
/// system's.
fn read_all(
    file: &mut File,
    size: usize,
    is_pipe: bool,
    bounds: &Bounds,
) -> Result<Zeroizing<Vec<u8>>, Unread> {
    // Small enough for the caches of the processor.
    const LARGEST_PIECE: usize = 64 << 10;
    // Enough for most pipes, and for files whose size the system does not tell.
    const SMALLEST: usize = 4 << 10;
    let too_large = || Unread::from(ReadProblem::LargerThan(bounds.largest));
    let by_system = |error: io::Error| Unread::by_system(&error);
    if size > bounds.largest {
        return Err(too_large());
    }
    // One more byte, so that the read that finds the end has room.
    let mut bytes = Zeroizing::new(Vec::with_capacity((size + 1).max(SMALLEST)));
    let mut must_wait = is_pipe;
    loop {
        if must_wait && !wait_until_readable([file.as_fd()], bounds.until).map_err(by_system)?[0] {
            return Err(ReadProblem::PipeStalled(bounds.wait_limit).into());
        }
        let filled = bytes.len();
        if bytes.capacity() == filled {
            // The vector must not grow by itself, which would leave a copy of a key behind.
            let mut larger = Zeroizing::new(Vec::with_capacity(2 * bytes.capacity()));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        let piece = LARGEST_PIECE.min(bytes.capacity() - filled);
        bytes.resize(filled + piece, 0);
        let outcome = file.read(&mut bytes[filled..]);
        bytes.truncate(filled + outcome.as_ref().map_or(0, |length| *length));
        must_wait = is_pipe;
        match outcome {
            Ok(0) => return Ok(bytes),
            Ok(_) if bytes.len() > bounds.largest => return Err(too_large()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => must_wait = true,
            Err(error) => return Err(by_system(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Command;
    use std::thread;

    use mongotls_testbench::pki::PkiDir;

    use super::*;

    fn fifo(dir: &PkiDir) -> PathBuf {
        let path = dir.path().join("fifo");
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        path
    }

    fn short_deadline() -> Instant {
        Instant::now() + Duration::from_millis(200)
    }

    fn problem(outcome: Result<FileBytes, Unread>) -> ReadProblem {
        outcome.err().unwrap().problem
    }

    const STALLED: ReadProblem = ReadProblem::PipeStalled(WAIT_LIMIT);

    #[test]
    fn a_pipe_without_a_writer_ends_at_the_deadline() {
        let dir = PkiDir::new();
        let path = fifo(&dir);
        assert_eq!(
            problem(read(&path, Reading::Once, short_deadline())),
            STALLED
        );
    }

    #[test]
    fn a_writer_that_stops_in_the_middle_ends_at_the_deadline() {
        let dir = PkiDir::new();
        let path = fifo(&dir);
        let writer = thread::spawn({
            let path = path.clone();
            move || {
                let mut file = File::create(path).unwrap();
                file.write_all(b"half").unwrap();
                file
            }
        });
        assert_eq!(
            problem(read(&path, Reading::Once, short_deadline())),
            STALLED
        );
        drop(writer.join().unwrap());
    }

    #[test]
    fn a_writer_that_comes_late_and_writes_much_is_read_whole() {
        let dir = PkiDir::new();
        let path = fifo(&dir);
        let long: Vec<u8> = (0..=u8::MAX).cycle().take(1_000_000).collect();
        let writer = thread::spawn({
            let (path, long) = (path.clone(), long.clone());
            move || {
                thread::sleep(Duration::from_millis(100));
                let mut file = File::create(path).unwrap();
                for part in long.chunks(300_000) {
                    file.write_all(part).unwrap();
                    thread::sleep(Duration::from_millis(10));
                }
            }
        });
        let file = read(&path, Reading::Once, Instant::now() + WAIT_LIMIT);
        assert_eq!(*file.ok().unwrap().bytes, long);
        writer.join().unwrap();
    }

    #[test]
    fn only_regular_files_and_pipes_are_read() {
        let dir = PkiDir::new();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let fifo = fifo(&dir);
        let cases = [
            (Path::new("/dev/zero"), Reading::Once, ReadProblem::IsDevice),
            (
                Path::new("/dev/null"),
                Reading::Again,
                ReadProblem::IsDevice,
            ),
            (&socket, Reading::Once, ReadProblem::IsSocket),
            (dir.path(), Reading::Once, ReadProblem::IsFolder),
            (&fifo, Reading::Again, ReadProblem::IsPipe),
            (
                Path::new("/nowhere/x"),
                Reading::Again,
                ReadProblem::NotFound,
            ),
        ];
        for (path, reading, expected) in cases {
            assert_eq!(
                problem(read(path, reading, short_deadline())),
                expected,
                "{path:?}"
            );
        }
    }

    #[test]
    fn a_file_up_to_the_limit_is_read() {
        let dir = PkiDir::new();
        let path = dir.write("large", "");
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        // A hole, which takes no space.
        file.set_len(LARGEST as u64 + 1).unwrap();
        let outcome = read(&path, Reading::Once, short_deadline());
        assert_eq!(problem(outcome), ReadProblem::LargerThan(LARGEST));
        file.set_len(100 << 20).unwrap();
        let read = read(&path, Reading::Again, short_deadline()).ok().unwrap();
        assert_eq!(read.bytes.len(), 100 << 20);
    }

    #[test]
    fn a_pipe_that_never_ends_is_not_read_beyond_the_limit() {
        let dir = PkiDir::new();
        let path = fifo(&dir);
        let writer = thread::spawn({
            let path = path.clone();
            move || {
                let mut file = File::create(path).unwrap();
                let piece = vec![0; 1 << 20];
                while file.write_all(&piece).is_ok() {}
            }
        });
        let until = Instant::now() + Duration::from_secs(120);
        assert_eq!(
            problem(read(&path, Reading::Once, until)),
            ReadProblem::LargerThan(LARGEST)
        );
        writer.join().unwrap();
    }
}
