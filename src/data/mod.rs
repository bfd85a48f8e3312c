//! Plain data at the bottom of the layers, shared by reasons, events, reports and the code that gathers it.
//!
//! Nothing here reads a file, a socket or an OpenSSL object.

pub(crate) mod auth_mechanism;
pub(crate) mod certificate;
pub(crate) mod cluster_time;
pub(crate) mod compressor;
pub(crate) mod hello;
pub(crate) mod limit;
pub(crate) mod revocation;
pub(crate) mod timing;
pub(crate) mod tls_version;
