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

pub(crate) const SKIPS: &[Skip] = &[];
