//! The operations of a session.

use super::{Operation, later};

pub(super) const OPERATIONS: &[Operation] = &[
    later("endSession", &[], "sessions"),
    later("getSnapshotTime", &[], "sessions"),
    later("startTransaction", TRANSACTION, "transactions"),
    later("commitTransaction", &["timeoutMS"], "transactions"),
    later("abortTransaction", &["timeoutMS"], "transactions"),
    later("withTransaction", WITH_TRANSACTION, "transactions"),
];

const TRANSACTION: &[&str] = &[
    "readConcern",
    "writeConcern",
    "readPreference",
    "maxCommitTimeMS",
    "timeoutMS",
];

const WITH_TRANSACTION: &[&str] = &[
    "callback",
    "readConcern",
    "writeConcern",
    "readPreference",
    "maxCommitTimeMS",
    "timeoutMS",
];
