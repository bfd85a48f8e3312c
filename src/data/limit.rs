//! A limit of this process or this host that is reached.

use std::fmt;
use std::io;

/// A resource that can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limit {
    /// File descriptors of this process (`EMFILE`).
    OpenFiles,
    /// File descriptors of this host (`ENFILE`).
    OpenFilesOfHost,
    /// Threads (`EAGAIN` when a thread is started).
    Threads,
    /// Local ports for connections to one address (`EADDRNOTAVAIL`).
    Ports,
    /// Memory (`ENOMEM`, `ENOBUFS`).
    Memory,
}

/// Completes the sentence "what failed: …". An [`io::Error`] may carry a limit, so the limit is an error itself.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenFiles => "this process has reached its limit of open files",
            Self::OpenFilesOfHost => "this host has reached its limit of open files",
            Self::Threads => "this process cannot start another thread",
            Self::Ports => "this host has no local port left for connections to this address",
            Self::Memory => "this process or this host has no memory left",
        })
    }
}

impl std::error::Error for Limit {}

impl From<Limit> for io::Error {
    fn from(limit: Limit) -> Self {
        Self::other(limit)
    }
}

/// A limit that is reached, and the settings that may define it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReachedLimit {
    pub(crate) limit: Limit,
    /// The settings, the most likely first; empty if none is known.
    pub(crate) settings: Vec<LimitSetting>,
}

/// A setting that limits a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitSetting {
    pub(crate) name: &'static str,
    /// The value, if it is known.
    pub(crate) value: Option<String>,
}
