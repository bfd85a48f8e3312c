//! The warnings about a connection string, which the client writes to its log.

use std::fmt;

/// A problem in a connection string that is not an error.
///
/// `Display` prints one line, without any value of the connection string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub(super) key: Option<&'static str>,
    pub(super) message: String,
}

impl Warning {
    /// The key that the warning is about, in its documented spelling; `None` for a key that does not exist.
    pub fn key(&self) -> Option<&'static str> {
        self.key
    }

    /// The whole text.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
