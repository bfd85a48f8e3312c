//! TLS events.

use std::time::Duration;

use crate::address::ServerAddress;
use crate::error::Error;
use crate::tls::{CertificateRevocation, RevocationStatus};

/// A TLS event.
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

/// A TLS handshake succeeded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsHandshakeSucceededEvent {
    /// The server.
    pub server: ServerAddress,
    /// The protocol version, such as `TLSv1.3`.
    pub protocol: String,
    /// The cipher suite by its name in the IANA registry.
    pub cipher: String,
    /// True if an earlier session was resumed.
    pub resumed: bool,
    /// The revocation status of the server's own certificate. `Undetermined` means that the check had no conclusive
    /// result, and that the connection continued.
    pub revocation: RevocationStatus,
    /// The duration of the handshake, including the revocation check.
    pub duration: Duration,
}

/// A TLS handshake failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsHandshakeFailedEvent {
    /// The server.
    pub server: ServerAddress,
    /// The reason, with its [cause](Error::cause).
    pub error: Error,
    /// The time until the failure was known.
    pub duration: Duration,
}

/// The TLS files were read again, by [`Client::reload_tls`](crate::Client::reload_tls) or after a change in one of
/// them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsReloadEvent {
    /// The reason why the new files are not used, or `None` if they are now in force.
    pub error: Option<Error>,
    /// The duration of reading and checking the files.
    pub duration: Duration,
}

/// A handshake looked for evidence of whether the server's certificate is revoked. Resumed handshakes do not look for
/// evidence and send no such event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RevocationEvent {
    /// The server.
    pub server: ServerAddress,
    /// The results for each certificate; empty if the connection was rejected.
    pub certificates: Vec<CertificateRevocation>,
    /// The reason why the connection was rejected, or `None` if it continues.
    pub error: Option<Error>,
}
