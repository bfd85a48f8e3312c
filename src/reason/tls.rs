//! Why TLS failed.

/// Why a TLS handshake, or the exchange of records after it, failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TlsFailure {
    /// The stream's own timeout ended the handshake after `received` bytes from the server.
    HandshakeTimeout { received: u64 },
    /// A callback that OpenSSL ran panicked. The program's panic hook has printed the message.
    CallbackPanicked,
    /// `host` cannot be the name of a host in a certificate.
    UnusableHostName { host: String },
}
