//! The boundary to C, and its consequences for the whole process.
//!
//! `openssl.rs` and `system.rs` contain the only `unsafe` code of this crate: calls that the `openssl` crate and the
//! standard library do not provide, each of them safe to call from anywhere. The other files handle the process
//! around them: forks (`fork.rs`), the end of the process (`exit.rs`), background threads (`thread.rs`), and
//! callbacks that OpenSSL runs (`callback.rs`).

pub(crate) mod callback;
pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod openssl;
pub(crate) mod system;
pub(crate) mod thread;
