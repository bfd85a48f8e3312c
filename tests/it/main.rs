//! The library and the command line against real servers and against the bench, one file a subject.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "tests say what they need by failing"
)]

mod certificates;
mod cli;
mod client;
mod common;
mod docs;
mod faults;
mod ferretdb;
mod files;
mod hello;
mod identity;
mod protocol;
mod resumption;
