//! The library and the command line against real servers and against the bench, one file a subject.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "tests say what they need by failing"
)]

mod auth;
mod aws;
mod certificates;
mod cli;
mod commands;
mod common;
mod crl;
mod cursors;
mod docs;
mod ends;
mod ferretdb;
mod files;
#[cfg(feature = "gssapi")]
mod gssapi;
mod guide;
mod hello;
mod identity;
mod inspect;
mod matrix;
mod ocsp;
mod oidc;
mod pooling;
mod protocol;
mod replies;
mod resumption;
mod rotation;
mod seeds;
mod settings;
mod silence;
mod strangers;
mod target;
mod things;
mod troubleshooting;
mod trust;
#[cfg(not(feature = "gssapi"))]
mod without_gssapi;
