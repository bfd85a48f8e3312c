//! Why TLS failed.

use std::time::SystemTime;

use crate::data::certificate::Certificate;
use crate::reason::alert::Alert;
use crate::reason::certificate::{SecurityLevel, ServerName};
use crate::reason::io::OsError;
use crate::reason::revocation::ResponderWait;

/// Why a TLS handshake, or the exchange of records after it, failed.
///
/// `text` is OpenSSL's own reason.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TlsFailure {
    /// The stream's own timeout ended the handshake after `received` bytes from the server.
    HandshakeTimeout {
        received: u64,
        /// The part of the time that was spent on an OCSP responder, if it was a considerable one.
        waited: Option<ResponderWait>,
    },
    /// A callback that OpenSSL ran panicked. The program's panic hook has printed the message.
    CallbackPanicked,
    /// `host` cannot be the name of a host in a certificate.
    UnusableHostName { host: String },
    /// The server answered with something other than TLS, which begins with these bytes.
    NotTls { head: Vec<u8> },
    /// The server sent a fatal alert.
    Alert {
        alert: Alert,
        text: Option<String>,
        meaning: AlertMeaning,
    },
    /// Client and server have no TLS version in common.
    VersionMismatch { text: String, limit: VersionLimit },
    /// Client and server have no cipher suite, group or signature algorithm in common. The options allow only what
    /// these lists name.
    NoSharedCipher {
        text: String,
        lists: Vec<OptionValue>,
    },
    /// Our OpenSSL rejects by its rules what is valid TLS.
    PolicyRejection {
        text: String,
        rejection: PolicyRejection,
    },
    /// Our OpenSSL cannot decode a certificate from the server.
    UndecodableCertificate { text: String },
    /// The server broke the protocol, so the client ended the connection.
    BrokenProtocol { text: String, phase: TlsPhase },
    /// The server closed or reset the connection, most likely because of the client's certificate or the lack of one.
    ClientCertificate {
        phase: TlsPhase,
        failure: Box<ClientCertificateFailure>,
    },
    /// The server closed the connection.
    Closed {
        phase: TlsPhase,
        received: u64,
        accepted: Option<AcceptedBefore>,
    },
    /// The server, or something on the route to it, reset the connection.
    Reset {
        phase: TlsPhase,
        received: u64,
        accepted: Option<AcceptedBefore>,
    },
    /// Packets no longer get through.
    Unreachable {
        phase: TlsPhase,
        received: u64,
        error: OsError,
    },
    /// The socket failed in another way.
    SocketFailed {
        phase: TlsPhase,
        received: u64,
        error: OsError,
    },
}

impl TlsFailure {
    /// The alert that the server sent, if it sent one.
    pub(crate) fn alert(&self) -> Option<Alert> {
        match self {
            Self::Alert { alert, .. } => Some(*alert),
            _ => None,
        }
    }

    /// The number of bytes that came from the server before the connection ended, if that is the failure.
    pub(crate) fn received(&self) -> Option<u64> {
        match self {
            Self::HandshakeTimeout { received, .. }
            | Self::Closed { received, .. }
            | Self::Reset { received, .. }
            | Self::Unreachable { received, .. }
            | Self::SocketFailed { received, .. } => Some(*received),
            _ => None,
        }
    }
}

/// The phase of a TLS connection when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsPhase {
    /// In the handshake.
    Handshake,
    /// After the handshake, before the first answer of the server. In TLS 1.3 its verdict on the client's certificate
    /// arrives now.
    Established,
    /// After the first answer: the server has accepted the handshake.
    Answered,
}

/// The meaning of an alert in its context.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AlertMeaning {
    /// The server had accepted the handshake: only the connection is in question.
    ConnectionEnded,
    /// The server does not accept the client's certificate or the lack of one.
    ClientCertificate(Box<ClientCertificateFailure>),
    /// See [`TlsFailure::VersionMismatch`].
    VersionMismatch(VersionLimit),
    /// See [`TlsFailure::NoSharedCipher`].
    NoSharedCipher(Vec<OptionValue>),
    /// The server does not serve the name in SNI, or needs one: none is sent for an IP address (RFC 6066 §3).
    NameNotServed(ServerName),
    /// The alert ended the handshake with this server, and does not tell why.
    HandshakeEnded(ServerName),
}

/// The versions of TLS that the options exclude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionLimit {
    /// `max_version` allows nothing newer than TLS 1.2.
    NewestIsTls12,
    /// `min_version` allows nothing older than TLS 1.3.
    OldestIsTls13,
    /// The options exclude no version that this crate speaks.
    None,
}

/// An option that restricts TLS, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OptionValue {
    pub(crate) option: &'static str,
    pub(crate) value: String,
}

/// A rule of our OpenSSL that the server does not meet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PolicyRejection {
    /// No secure renegotiation (RFC 5746).
    LegacyRenegotiation,
    /// A message of the handshake is too large.
    LargeMessage,
    /// A resumed session whose extended master secret (RFC 7627) differs from that of its full handshake.
    InconsistentMasterSecret,
    /// The Diffie-Hellman parameters are too small for the security level.
    SmallDiffieHellman(SecurityLevel),
    /// An elliptic curve that the client does not accept. The option `groups` may be the reason.
    Curve { groups: Option<String> },
    /// The server accepts no signature that the client's key, of this kind, can make.
    ClientKey { key: String },
    /// A signature algorithm that the client does not accept. The option `signature_algorithms` may be the reason.
    Signature { algorithms: Option<String> },
    /// A kind of key that OpenSSL cannot use.
    CertificateKey,
}

/// The identity with which a server accepted this client before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptedBefore {
    /// A client certificate, equal to that of the earlier connection.
    SameCertificate,
    /// No certificate.
    NoCertificate,
}

/// A server does not accept the client's certificate or the lack of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClientCertificateFailure {
    /// The CAs from which the server accepts certificates, if it names them.
    pub(crate) requested_ca_names: Vec<String>,
    /// The certificate that was sent, or `None` if none is configured.
    pub(crate) sent: Option<SentCertificate>,
}

/// The client's certificate, and why the server does not accept it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SentCertificate {
    pub(crate) certificate: Certificate,
    /// True if intermediate CAs are sent with it.
    pub(crate) has_intermediates: bool,
    /// The file that holds it, if it comes from one.
    pub(crate) path: Option<String>,
    /// True if the server names a CA that issued it. `None` if the server names no CA.
    pub(crate) is_issuer_listed: Option<bool>,
    pub(crate) checked_at: SystemTime,
    pub(crate) problem: SentCertificateProblem,
}

/// Why a server does not accept the client's certificate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SentCertificateProblem {
    /// The server says that it is revoked.
    Revoked,
    Expired,
    NotYetValid,
    /// An intermediate CA that is sent with it has expired.
    IntermediateExpired {
        name: String,
        not_after: SystemTime,
    },
    /// An intermediate CA that is sent with it is not yet valid.
    IntermediateNotYetValid {
        name: String,
        not_before: SystemTime,
    },
    /// The server does not know its CA.
    UnknownCa,
    /// The server says that it has expired, and it has not.
    ExpiredForServer,
    /// It is not meant for a TLS client.
    NotForClients,
    /// The server sent an alert that does not tell more.
    Unspecified,
    /// The server closed the connection without an alert.
    Closed,
}
