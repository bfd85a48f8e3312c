//! From the TLS options and the local files that they name to the parts of a context.
//!
//! All files are read once, in `reading.rs`, before any lock is taken. `trust.rs`, `crl.rs` and `identity.rs` then
//! decode them: the trust anchors (`anchor_index.rs` those of the system), the CRLs, and the client's certificate with its key (`key.rs`). `files.rs` describes
//! the contents of a file if it is the wrong one, and `snapshot.rs` detects changes of files and folders.

pub(crate) mod anchor_index;
pub(crate) mod crl;
pub(crate) mod crl_scope;
pub(crate) mod files;
pub(crate) mod identity;
pub(crate) mod key;
pub(crate) mod level;
mod locations;
pub(crate) mod pem;
pub(crate) mod protocol;
pub(crate) mod reading;
pub(crate) mod snapshot;
pub(crate) mod trust;
