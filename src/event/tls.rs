//! Events of TLS.

use std::time::Duration;

use crate::address::ServerAddress;
use crate::error::Error;
use crate::tls::{CertificateRevocation, RevocationStatus};

/// Something that concerns TLS.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TlsEvent {
    /// A TLS handshake with a server begins.
    HandshakeStarted(TlsHandshakeStartedEvent),
    /// A TLS handshake succeeded.
    HandshakeSucceeded(TlsHandshakeSucceededEvent),
    /// A TLS handshake failed.
    HandshakeFailed(TlsHandshakeFailedEvent),
    /// A handshake looked for evidence that the server's certificate is not revoked.
    Revocation(RevocationEvent),
    /// The TLS files were read again.
    Reload(TlsReloadEvent),
}

/// A TLS handshake with a server begins.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsHandshakeStartedEvent {
    /// The server.
    pub server: ServerAddress,
}

/// A TLS handshake ended well.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsHandshakeSucceededEvent {
    /// The server.
    pub server: ServerAddress,
    /// The protocol version, such as `TLSv1.3`.
    pub protocol: String,
    /// The cipher suite by its name in the IANA registry.
    pub cipher: String,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// What is known of the revocation of the server's own certificate. `Undetermined` is a check that came
    /// to no end, and was let pass.
    pub revocation: RevocationStatus,
    /// How long the handshake took, the check of revocation included.
    pub duration: Duration,
}

/// A TLS handshake failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsHandshakeFailedEvent {
    /// The server.
    pub server: ServerAddress,
    /// Why, with the [cause](Error::cause).
    pub error: Error,
    /// How long it took until that was known.
    pub duration: Duration,
}

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
