//! The cases that are skipped, each with its reason.
//!
//! A skipped case runs all the same: one that passes is a failure, and so is a skip that matches no
//! case of a whole checkout (see [`crate::runner::check_skips`]).

/// One skipped case.
pub(crate) struct Skip {
    /// The file below the root.
    pub(crate) suite: &'static str,
    pub(crate) description: &'static str,
    pub(crate) reason: &'static str,
}

pub(crate) const SKIPS: &[Skip] = &[Skip {
    suite: "auth/tests/legacy/connection-string.json",
    description: "should throw an exception if username and password provided (MONGODB-AWS)",
    reason: "for drivers that take credentials from the AWS SDK alone (DRIVERS-3131); it \
             contradicts \"should use username and password if specified (MONGODB-AWS)\", which \
             holds here",
}];
