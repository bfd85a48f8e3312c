//! The gate to C, and what follows from it for the whole process.
//!
//! `openssl.rs` and `system.rs` hold the only `unsafe` of this crate: calls that the `openssl` crate and the standard
//! library do not offer, each safe to call from anywhere. The other files keep a process in order around them: forks
//! (`fork.rs`), the end of the process (`exit.rs`), background threads (`thread.rs`), and callbacks that OpenSSL runs
//! (`callback.rs`).

pub(crate) mod callback;
pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod openssl;
pub(crate) mod system;
pub(crate) mod thread;
