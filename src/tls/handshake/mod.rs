//! The handshake: from a context and a stream to a verified stream, or to the reason why there is none.
//!
//! `connect.rs` runs it with a context (`context.rs`), which uses what `loaded.rs` holds. OpenSSL verifies the server's
//! chain; `crl_checks.rs` knows which CRLs need not be verified again. The callback in `verify.rs` stores what is
//! rejected, and `rejection.rs` gathers the reason with the help of `issuer.rs` and `names.rs`. `diagnose.rs` finds the
//! reason for alerts and broken exchanges, with the bytes that `tap.rs` keeps. `session.rs` resumes sessions,
//! `sharing.rs` shares contexts between clients, `report.rs` describes a handshake that succeeded, and `stream.rs` is the
//! stream after it.

pub(crate) mod connect;
pub(crate) mod context;
mod crl_checks;
pub(crate) mod diagnose;
pub(crate) mod issuer;
pub(crate) mod loaded;
pub(crate) mod names;
pub(crate) mod rejection;
pub(crate) mod report;
pub(crate) mod session;
pub(crate) mod sharing;
pub(crate) mod stream;
mod tap;
pub(crate) mod verify;
pub(crate) mod verify_result;
