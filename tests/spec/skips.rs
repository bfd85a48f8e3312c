//! The cases that are skipped, each with its reason.
//!
//! A skipped case still runs: one that passes is a failure, and so is a skip that matches no case of a whole checkout
//! (see [`crate::runner::check_skips`]).

/// One skipped case.
pub(crate) struct Skip {
    /// The file below the root.
    pub(crate) suite: &'static str,
    pub(crate) description: &'static str,
    pub(crate) reason: &'static str,
}

pub(crate) const SKIPS: &[Skip] = &[
    Skip {
        suite: "bson-corpus/tests/datetime.json",
        description: "Y10K",
        reason: "the bson crate writes 9999-12-31 for later dates in relaxed Extended JSON",
    },
    Skip {
        suite: "bson-corpus/tests/top.json",
        description: "Bad $date (number, not string or hash)",
        reason: "the bson crate reads a number in $date, as older Extended JSON has it",
    },
    Skip {
        suite: "client-side-operations-timeout/tests/runCursorCommand.json",
        description: "Non-tailable cursor iteration timeoutMS is refreshed for getMore if timeoutMode is iteration - failure",
        reason: "the server answers each getMore after 60 ms, and each iteration may take 100 ms",
    },
    Skip {
        suite: "client-side-operations-timeout/tests/runCursorCommand.json",
        description: "Tailable cursor awaitData iteration timeoutMS is refreshed for getMore - failure",
        reason: "the first batch has both documents, so the second iteration sends no getMore",
    },
    Skip {
        suite: "connection-monitoring-and-pooling/tests/logging/connection-pool-options.json",
        description: "waitQueueSize should be included in connection pool created message when specified",
        reason: "the library has no waitQueueSize, which CMAP only lets older drivers keep",
    },
    Skip {
        suite: "connection-monitoring-and-pooling/tests/logging/connection-pool-options.json",
        description: "waitQueueMultiple should be included in connection pool created message when specified",
        reason: "the library has no waitQueueMultiple, which CMAP only lets older drivers keep",
    },
    Skip {
        suite: "retryable-reads/tests/unified/mapReduce.json",
        description: "MapReduce succeeds with retry on",
        reason: "SecantusDB has no JavaScript and returns no documents, and PyMongo has no mapReduce to prove it",
    },
    Skip {
        suite: "sessions/tests/snapshot-sessions.json",
        description: "Aggregate operation with snapshot and snapshot time",
        reason: "SecantusDB reads no data of the past, and PyMongo has no snapshotTime to prove it",
    },
    Skip {
        suite: "sessions/tests/snapshot-sessions.json",
        description: "Mixed operation with snapshot and snapshotTime",
        reason: "SecantusDB reads no data of the past, and PyMongo has no snapshotTime to prove it",
    },
];
