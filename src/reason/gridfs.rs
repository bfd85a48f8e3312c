//! Why an operation on a file of GridFS failed, although the server answered its commands.

/// A file that does not exist, exists already, or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GridFsFailure {
    /// No file has this ID or this name.
    FileNotFound(FileKey),
    /// The name has fewer revisions.
    RevisionNotFound { filename: String, revision: i32 },
    /// An upload is to be resumed whose file is complete.
    FileExists(FileKey),
    /// The chunks of the file, or the description of it, are not as they must be.
    Corrupt {
        file: FileKey,
        /// The number of the chunk, or `None` if the description of the file is wrong.
        chunk: Option<u64>,
        problem: Problem,
    },
}

/// The ID or the name by which a program refers to a file, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileKey {
    Id(String),
    Name(String),
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The chunk does not exist.
    Missing,
    /// There is another chunk with the same number.
    Duplicate,
    /// The chunk has data behind the end of the file.
    BehindEnd,
    /// The chunk has data of another size.
    Size { expected: u64, found: u64 },
    /// A field of the chunk, or of the file's description, has no possible value.
    Field(&'static str),
}
