//! Events of TLS.

use std::time::Duration;

use crate::address::ServerAddress;
use crate::error::Error;
use crate::tls::CertificateRevocation;

/// The files of TLS were read anew, by [`Client::reload_tls`](crate::Client::reload_tls) or because one
/// had changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsReloadEvent {
    /// Why the new set is not used; none if it has taken over.
    pub error: Option<Error>,
    /// How long reading and checking took.
    pub duration: Duration,
}

/// A handshake looked for evidence of whether the server's certificate is revoked. Resumed handshakes do not
/// look, and tell nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RevocationEvent {
    /// The server.
    pub server: ServerAddress,
    /// What was found out about each certificate; empty if the connection was refused.
    pub certificates: Vec<CertificateRevocation>,
    /// Why the connection was refused; none if it goes on.
    pub error: Option<Error>,
}
