//! Words for files of GridFS that do not exist, exist already, or cannot be read.

use crate::cause::{CauseCode, Explanation};
use crate::printable::Quoted;
use crate::reason::gridfs::{FileKey, GridFsFailure, Problem};

pub(super) fn explain(failure: &GridFsFailure) -> Explanation {
    match failure {
        GridFsFailure::FileNotFound(file) => Explanation::new(
            CauseCode::GridfsFileNotFound,
            format!("there is no file with {} in the bucket", words(file)),
            "Check the ID or the name, the name of the bucket and that of the database (`bucket.find`). Another program may \
             have deleted the file.",
        )
        .file(file),
        GridFsFailure::RevisionNotFound { filename, revision } => Explanation::new(
            CauseCode::GridfsRevisionNotFound,
            format!(
                "the file with the name {} has no revision {revision}",
                Quoted(filename)
            ),
            "Choose a revision that exists: 0 is the oldest, -1 the newest. `bucket.find` lists all files with the name.",
        )
        .fact("filename", filename.as_str())
        .fact("revision", i64::from(*revision)),
        GridFsFailure::FileExists(file) => Explanation::new(
            CauseCode::GridfsFileExists,
            format!("the file with {} is complete already", words(file)),
            "There is nothing to resume: the upload had been closed. To replace the file, delete it first.",
        )
        .file(file),
        GridFsFailure::Corrupt {
            file,
            chunk,
            problem,
        } => corrupt(file, *chunk, problem),
    }
}

fn corrupt(file: &FileKey, chunk: Option<u64>, problem: &Problem) -> Explanation {
    let what = match (chunk, problem) {
        (Some(n), Problem::Missing) => format!("chunk {n} is missing"),
        (Some(n), Problem::Duplicate) => format!("there are two chunks {n}"),
        (Some(n), Problem::BehindEnd) => format!("chunk {n} lies behind the end of the file"),
        (Some(n), Problem::Size { expected, found }) => {
            format!("chunk {n} has {found} bytes, and must have {expected}")
        }
        (Some(n), Problem::Field(field)) => {
            format!("chunk {n} has no usable field {}", Quoted(field))
        }
        (None, Problem::Field(field)) => {
            format!("its document has no usable field {}", Quoted(field))
        }
        (None, _) => "its document is not usable".to_owned(),
    };
    let explanation = Explanation::new(
        CauseCode::GridfsCorrupt,
        format!("the file with {} cannot be read: {what}", words(file)),
        "Upload the file again and delete this one (`bucket.delete`). Look for programs that write to the two collections of \
         the bucket without a driver, and for an upload or deletion that is running.",
    )
    .file(file);
    match chunk.and_then(|n| i64::try_from(n).ok()) {
        Some(n) => explanation.fact("chunk", n),
        None => explanation,
    }
}

/// The file in a sentence.
fn words(file: &FileKey) -> String {
    match file {
        FileKey::Id(id) => format!("the ID {id}"),
        FileKey::Name(name) => format!("the name {}", Quoted(name)),
    }
}

impl Explanation {
    /// Adds the fact that names the file.
    fn file(self, file: &FileKey) -> Self {
        match file {
            FileKey::Id(id) => self.fact("file_id", id.as_str()),
            FileKey::Name(name) => self.fact("filename", name.as_str()),
        }
    }
}
