//! Plain data at the bottom of the layers, shared by reasons, events, reports and the code that gathers it.
//!
//! Nothing here reads a file, a socket or an OpenSSL object.

pub(crate) mod certificate;
pub(crate) mod revocation;
