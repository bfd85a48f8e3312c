//! The operations of a GridFS bucket.

use super::{Operation, later};

pub(super) const OPERATIONS: &[Operation] = &[
    later("delete", &["id", "timeoutMS"], "GridFS"),
    later("deleteByName", &["filename", "timeoutMS"], "GridFS"),
    later("download", &["id", "timeoutMS"], "GridFS"),
    later(
        "downloadByName",
        &["filename", "revision", "timeoutMS"],
        "GridFS",
    ),
    later("drop", &["timeoutMS"], "GridFS"),
    later("find", FIND, "GridFS"),
    later("rename", &["id", "newFilename", "timeoutMS"], "GridFS"),
    later(
        "renameByName",
        &["filename", "newFilename", "timeoutMS"],
        "GridFS",
    ),
    later("upload", UPLOAD, "GridFS"),
    later("uploadWithId", UPLOAD, "GridFS"),
];

const FIND: &[&str] = &[
    "filter",
    "allowDiskUse",
    "batchSize",
    "limit",
    "maxTimeMS",
    "noCursorTimeout",
    "skip",
    "sort",
    "timeoutMS",
];

const UPLOAD: &[&str] = &[
    "id",
    "filename",
    "source",
    "chunkSizeBytes",
    "metadata",
    "contentType",
    "disableMD5",
    "timeoutMS",
];
