//! Looking at the files of TLS at regular intervals, and reloading them when one has changed.
//!
//! A file is taken for changed when its device, inode, size or time of modification has, links followed:
//! so a file that is rewritten in place is noticed, one that is renamed over it, and a link that is
//! turned to another folder, as Kubernetes does with secrets. Looking costs one `stat` a file. What was
//! seen is noted before the files are read, so that a change while they are read leads to another reload.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ending::Ending;
use crate::thread;

/// A thread that looks at files; it ends when this is dropped.
pub(crate) struct Watcher(Ending);

impl Watcher {
    /// Calls `reload` whenever one of the files has changed since they were `seen`, until it says that it
    /// is over.
    ///
    /// # Errors
    /// Those of the system, if it has no thread left.
    pub(crate) fn start(
        mut seen: Snapshot,
        interval: Duration,
        reload: impl Fn() -> Wanted + Send + 'static,
    ) -> std::io::Result<Self> {
        let ending = Ending::default();
        let sleep = ending.sleep();
        thread::spawn("mongotls-watch", move || {
            while !sleep.ends_within(interval) {
                if seen.renew() && reload() == Wanted::NoMore {
                    return;
                }
            }
        })?;
        Ok(Self(ending))
    }
}

/// Whether a watch goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Still,
    NoMore,
}

impl Watcher {
    /// Ends the thread. Does not wait for it: it may be the one that drops the last client.
    pub(crate) fn end(&self) {
        self.0.end();
    }
}

/// What some files looked like.
pub(crate) struct Snapshot(Vec<(PathBuf, Stamp)>);

/// What tells one state of a file from another; none if it cannot be looked at.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Snapshot {
    pub(crate) fn of(files: Vec<PathBuf>) -> Self {
        let look = |path: PathBuf| {
            let stamp = stamp(&path);
            (path, stamp)
        };
        Self(files.into_iter().map(look).collect())
    }

    /// Looks again; whether a file has changed.
    fn renew(&mut self) -> bool {
        let mut changed = false;
        for (path, seen) in &mut self.0 {
            let now = stamp(path);
            changed |= now != *seen;
            *seen = now;
        }
        changed
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    ))
}
