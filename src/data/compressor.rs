//! The compressors of messages. Source: "OP_COMPRESSED".

use crate::enum_text::display_as_str;

/// A compression algorithm for messages. Source: "OP_COMPRESSED".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compressor {
    /// Snappy.
    Snappy,
    /// zlib (RFC 1950).
    Zlib,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compressor {
    /// Returns the name used in a connection string and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// Returns true if the cargo feature of this name is enabled. A compressor that is not built in is not offered to
    /// servers, and the client logs a warning.
    pub fn is_built_in(self) -> bool {
        match self {
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Zlib => cfg!(feature = "zlib"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }
}

display_as_str!(Compressor);
