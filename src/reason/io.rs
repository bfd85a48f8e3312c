//! Errors of the operating system, and limits of this process and this host, as data.

use std::io;

use crate::data::limit::{Limit, ReachedLimit};

/// An error of the operating system: an `io::Error` that can be compared and cloned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OsError {
    pub(crate) kind: io::ErrorKind,
    /// The text of the error.
    pub(crate) text: String,
    /// The limit that the error means, if it means one.
    pub(crate) limit: Option<ReachedLimit>,
}

impl From<&io::Error> for OsError {
    fn from(error: &io::Error) -> Self {
        Self {
            kind: error.kind(),
            text: error.to_string(),
            limit: Limit::of(error).map(Limit::reached),
        }
    }
}

impl OsError {
    /// Returns true if packets of an established connection no longer get through.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(
            self.kind,
            io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NetworkDown
        )
    }
}

/// A limit of this process or this host that made something fail.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LocalLimit {
    pub(crate) failed: LimitedAction,
    pub(crate) reached: ReachedLimit,
}

/// A failed exchange with a service beside the database server, for which this host lacked a resource.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LimitedExchange {
    /// The failed action, and the limit.
    pub(crate) message: String,
    pub(crate) reached: ReachedLimit,
}

/// An action that failed because of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitedAction {
    /// The start of the thread that monitors a server.
    StartMonitor,
}
