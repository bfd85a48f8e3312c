//! The handshake: from a context and a stream to a verified stream, or to the reason why there is none.
//!
//! `context.rs` runs it with what `loaded.rs` holds. OpenSSL verifies the server's chain. The callback in `verify.rs`
//! stores what it rejects, and `rejection.rs` gathers the reason with the help of `issuer.rs`, `names.rs` and `level.rs`. Alerts and broken exchanges are
//! explained in `diagnose.rs`. `session.rs` resumes sessions, `sharing.rs` shares contexts between clients,
//! `report.rs` describes a handshake that succeeded, and `stream.rs` is the stream after it.

pub(crate) mod context;
pub(crate) mod diagnose;
pub(crate) mod issuer;
pub(crate) mod loaded;
pub(crate) mod names;
pub(crate) mod rejection;
pub(crate) mod report;
pub(crate) mod session;
pub(crate) mod sharing;
pub(crate) mod stream;
pub(crate) mod verify;
pub(crate) mod verify_result;
