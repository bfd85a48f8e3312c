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
];
