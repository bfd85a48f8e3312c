//! Every operation under faults of the connection and of the server, and with replies that are wrong.
//!
//! - `operations.rs` has a row for each public operation; `coverage.rs` fails if one is missing.
//! - `injection.rs` runs them while replies are cut, connections end or block, and primaries step down. `judge.rs`
//!   compares what the driver reports with what the store has.
//! - `replies.rs` runs them with mutated replies (`mutate.rs`); `justified.rs` says which of these mean success.
//!
//! `make test` runs a selection; `make faults` runs all of it (`MONGOTLS_FAULTS=all`).

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests, which print what they counted"
)]

mod coverage;
mod injection;
mod judge;
mod justified;
mod mutate;
mod operations;
mod replies;
mod scene;

/// Returns whether all cases run, in place of a selection.
fn runs_all() -> bool {
    std::env::var("MONGOTLS_FAULTS").is_ok_and(|it| it == "all")
}
