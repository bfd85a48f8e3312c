//! Converts OpenSSL's errors to reasons: why a handshake, or the exchange of records after it, failed.
//!
//! Two sources are distinguished: an alert or a breach of the protocol ([`failed_exchange`]), and the end of the socket
//! under TLS ([`socket_failed`], [`closed`]). `refusal` handles the rejections by our own verification. Alerts are
//! identified by their number. In TLS 1.3 the server's rejection of the client's certificate arrives only with the
//! first read after the handshake, so these functions are also used for that read.

use std::io;
use std::time::SystemTime;

use openssl::error::ErrorStack;
use openssl::ssl::{self, ErrorCode};

use crate::options::{ProtocolList, ProtocolOptions, TlsVersion};
use crate::reason::alert::Alert;
use crate::reason::certificate::ServerName;
use crate::reason::io::OsError;
use crate::reason::tls::{
    AcceptedBefore, AlertMeaning, ClientCertificateFailure, OptionValue, PolicyRejection,
    SentCertificate, SentCertificateProblem, TlsFailure, TlsPhase, VersionLimit,
};
use crate::sniff;
use crate::tls::config::identity::OwnChain;
use crate::tls::config::level::SecurityLevel;

/// The state of a connection when it failed.
pub(crate) struct Peer<'a> {
    /// The name or address that the server's certificate must contain.
    pub(crate) name: &'a ServerName,
    /// The first bytes from the server.
    pub(crate) head: &'a [u8],
    /// The number of bytes from the server.
    pub(crate) received: u64,
    /// True if the server requested a client certificate.
    pub(crate) requested_certificate: bool,
    /// The CAs from which the server accepts client certificates, if it names them.
    pub(crate) requested_ca_names: Vec<String>,
    /// Our certificate and its chain, if one is configured.
    pub(crate) own: Option<&'a OwnChain>,
    /// True if our last message was sent after the last byte was received.
    pub(crate) answered: bool,
    /// The phase of the connection.
    pub(crate) phase: TlsPhase,
    /// True if this server has accepted this client before with the same certificate, or without one.
    pub(crate) accepted_before: bool,
    /// The protocol settings of the options.
    pub(crate) protocol: &'a ProtocolOptions,
    /// The security level of the connection.
    pub(crate) level: u32,
    /// The time of the failure.
    pub(crate) now: SystemTime,
}

impl Peer<'_> {
    /// Returns whether an end of the connection may be a response to our certificate, or to its absence: mongod ends
    /// the handshake and then closes, where OpenSSL would send an alert. A server that has accepted the same identity
    /// before has another reason.
    fn judged_certificate(&self) -> bool {
        let may_judge = match self.phase {
            TlsPhase::Handshake => self.answered,
            TlsPhase::Established => true,
            TlsPhase::Answered => false,
        };
        self.requested_certificate && may_judge && !self.accepted_before
    }

    /// The identity that this server has accepted before, if it also requested one now.
    fn accepted(&self) -> Option<AcceptedBefore> {
        let is_known = self.accepted_before && self.requested_certificate;
        is_known.then_some(match self.own {
            Some(_) => AcceptedBefore::SameCertificate,
            None => AcceptedBefore::NoCertificate,
        })
    }

    /// The versions that the options exclude.
    fn version_limit(&self) -> VersionLimit {
        match (self.protocol.oldest(), self.protocol.newest()) {
            (_, Some(TlsVersion::Tls12)) => VersionLimit::NewestIsTls12,
            (Some(TlsVersion::Tls13), _) => VersionLimit::OldestIsTls13,
            _ => VersionLimit::None,
        }
    }

    /// The lists that the options set.
    fn lists(&self) -> Vec<OptionValue> {
        let lists = self.protocol.lists().map(|(list, value)| OptionValue {
            option: list.name(),
            value: value.to_owned(),
        });
        lists.collect()
    }

    /// The value of one of these lists, if it is set.
    fn list(&self, wanted: ProtocolList) -> Option<String> {
        let mut lists = self.protocol.lists();
        lists
            .find(|(list, _)| *list == wanted)
            .map(|(_, value)| value.to_owned())
    }

    /// The reason if the server closed the connection because of our certificate or its absence.
    fn closed_for_certificate(&self) -> TlsFailure {
        TlsFailure::ClientCertificate {
            phase: self.phase,
            failure: self.client_certificate(None),
        }
    }

    /// The server rejected the client certificate, by an alert or by closing, or requires one.
    fn client_certificate(&self, alert: Option<Alert>) -> Box<ClientCertificateFailure> {
        Box::new(ClientCertificateFailure {
            requested_ca_names: self.requested_ca_names.clone(),
            sent: self.own.map(|own| self.sent_certificate(own, alert)),
        })
    }

    fn sent_certificate(&self, own: &OwnChain, alert: Option<Alert>) -> SentCertificate {
        use SentCertificateProblem as Problem;
        let certificate = &own.certificate;
        let stale = own.intermediates.iter().find(|intermediate| {
            !(intermediate.not_before..=intermediate.not_after).contains(&self.now)
        });
        let problem = match (alert, stale) {
            (Some(Alert::CERTIFICATE_REVOKED), _) => Problem::Revoked,
            _ if certificate.not_after < self.now => Problem::Expired,
            _ if self.now < certificate.not_before => Problem::NotYetValid,
            (_, Some(stale)) if stale.not_after < self.now => Problem::IntermediateExpired {
                name: stale.short_name().to_owned(),
                not_after: stale.not_after,
            },
            (_, Some(stale)) => Problem::IntermediateNotYetValid {
                name: stale.short_name().to_owned(),
                not_before: stale.not_before,
            },
            (Some(Alert::UNKNOWN_CA), None) => Problem::UnknownCa,
            (Some(Alert::CERTIFICATE_EXPIRED), None) => Problem::ExpiredForServer,
            _ if !certificate.allows_client_auth => Problem::NotForClients,
            (Some(_), None) => Problem::Unspecified,
            (None, None) => Problem::Closed,
        };
        SentCertificate {
            certificate: certificate.clone(),
            has_intermediates: !own.intermediates.is_empty(),
            path: own.path.clone(),
            // A server that lists no names, as many do, gives no information about our issuer.
            is_issuer_listed: (!self.requested_ca_names.is_empty())
                .then(|| own.is_listed(&self.requested_ca_names)),
            checked_at: self.now,
            problem,
        }
    }
}

/// Returns the reason why an exchange of TLS records failed: `error` is OpenSSL's, and `io` that of the stream under
/// TLS, if it failed.
pub(crate) fn failed_exchange(
    error: &ssl::Error,
    io: Option<&io::Error>,
    peer: &Peer<'_>,
) -> TlsFailure {
    if let Some(failure) = not_tls(peer) {
        return failure;
    }
    let entries: &[openssl::error::Error] = error.ssl_error().map_or(&[], |stack| stack.errors());
    let text = entries
        .first()
        .and_then(|entry| entry.reason())
        .unwrap_or("unexpected end of file")
        .to_owned();
    for entry in entries
        .iter()
        .filter(|entry| entry.library_code() == reason::LIBRARY)
    {
        let code = entry.reason_code();
        if let Some(alert) = Alert::from_reason(code) {
            return TlsFailure::Alert {
                alert,
                text: entry.reason().map(str::to_owned),
                meaning: meaning(alert, peer),
            };
        }
        if reason::UNEXPECTED_EOF == Some(code) {
            return closed(peer);
        }
        if peer.phase != TlsPhase::Handshake {
            // Both sides have already agreed on the protocol, so it cannot be the reason.
            continue;
        }
        // Older entries of the queue may be about details.
        let text = entry.reason().map_or_else(|| text.clone(), str::to_owned);
        if let Some(rejection) = policy_rejection(code, peer) {
            return TlsFailure::PolicyRejection { text, rejection };
        }
        if reason::VERSION.contains(&code) {
            let limit = peer.version_limit();
            return TlsFailure::VersionMismatch { text, limit };
        }
        if reason::SELECTION.contains(&code) {
            let lists = peer.lists();
            return TlsFailure::NoSharedCipher { text, lists };
        }
    }
    match (error.code(), io) {
        (_, Some(error)) => socket_failed(error, peer),
        (ErrorCode::SYSCALL | ErrorCode::ZERO_RETURN, None) => closed(peer),
        _ if peer.phase == TlsPhase::Handshake && entries.iter().any(is_of_certificate) => {
            TlsFailure::UndecodableCertificate { text }
        }
        _ => TlsFailure::BrokenProtocol {
            text,
            phase: peer.phase,
        },
    }
}

/// Returns whether OpenSSL could not decode data that should be a certificate.
fn is_of_certificate(entry: &openssl::error::Error) -> bool {
    reason::CERTIFICATE_LIBRARIES.contains(&entry.library_code())
}

/// The rule if our own OpenSSL rejects valid TLS by its policy.
fn policy_rejection(code: i32, peer: &Peer<'_>) -> Option<PolicyRejection> {
    Some(match code {
        reason::UNSAFE_LEGACY_RENEGOTIATION => PolicyRejection::LegacyRenegotiation,
        reason::EXCESSIVE_MESSAGE_SIZE => PolicyRejection::LargeMessage,
        reason::INCONSISTENT_EXTMS => PolicyRejection::InconsistentMasterSecret,
        reason::DH_KEY_TOO_SMALL => {
            PolicyRejection::SmallDiffieHellman(SecurityLevel::new(peer.level, peer.protocol))
        }
        code if reason::CURVE.contains(&code) => PolicyRejection::Curve {
            groups: peer.list(ProtocolList::Groups),
        },
        reason::NO_SUITABLE_SIGNATURE_ALGORITHM if peer.requested_certificate => {
            let key = peer.own?.certificate.key.clone();
            PolicyRejection::ClientKey { key }
        }
        code if reason::SIGNATURE.contains(&code) => PolicyRejection::Signature {
            algorithms: peer.list(ProtocolList::SignatureAlgorithms),
        },
        code if reason::CERTIFICATE_KEY.contains(&code) => PolicyRejection::CertificateKey,
        _ => return None,
    })
}

/// Returns whether the peer sent an alert.
pub(crate) fn is_alert(error: &ssl::Error) -> bool {
    let mut entries = error.ssl_error().into_iter().flat_map(ErrorStack::errors);
    entries.any(|entry| {
        entry.library_code() == reason::LIBRARY && Alert::from_reason(entry.reason_code()).is_some()
    })
}

/// Returns the reason why the socket under TLS failed.
pub(crate) fn socket_failed(error: &io::Error, peer: &Peer<'_>) -> TlsFailure {
    let is_reset = matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
    );
    if is_reset && peer.judged_certificate() {
        // The kernel sends a reset if a server closes before it has read our last message.
        return peer.closed_for_certificate();
    }
    let (phase, received) = (peer.phase, peer.received);
    let os_error = OsError::from(error);
    if os_error.is_unreachable() {
        TlsFailure::Unreachable {
            phase,
            received,
            error: os_error,
        }
    } else if is_reset {
        TlsFailure::Reset {
            phase,
            received,
            accepted: peer.accepted(),
        }
    } else {
        TlsFailure::SocketFailed {
            phase,
            received,
            error: os_error,
        }
    }
}

/// Returns the reason why the peer closed the connection.
pub(crate) fn closed(peer: &Peer<'_>) -> TlsFailure {
    if peer.judged_certificate() {
        return peer.closed_for_certificate();
    }
    TlsFailure::Closed {
        phase: peer.phase,
        received: peer.received,
        accepted: peer.accepted(),
    }
}

/// The reason if the peer's first bytes are not a TLS record.
pub(crate) fn not_tls(peer: &Peer<'_>) -> Option<TlsFailure> {
    let is_other = !peer.head.is_empty() && !sniff::is_tls_record(peer.head);
    is_other.then(|| TlsFailure::NotTls {
        head: peer.head.to_vec(),
    })
}

/// The meaning of an alert from this peer.
fn meaning(alert: Alert, peer: &Peer<'_>) -> AlertMeaning {
    let has_sent_certificate = peer.requested_certificate && peer.own.is_some();
    let misses_certificate = peer.requested_certificate && peer.own.is_none();
    match alert {
        _ if peer.phase == TlsPhase::Answered => AlertMeaning::ConnectionEnded,
        Alert::CERTIFICATE_REQUIRED => {
            AlertMeaning::ClientCertificate(peer.client_certificate(Some(alert)))
        }
        // TLS 1.2 has no specific alert for a missing certificate.
        Alert::HANDSHAKE_FAILURE | Alert::BAD_CERTIFICATE | Alert::CERTIFICATE_UNKNOWN
            if misses_certificate =>
        {
            AlertMeaning::ClientCertificate(peer.client_certificate(Some(alert)))
        }
        Alert::UNKNOWN_CA
        | Alert::CERTIFICATE_EXPIRED
        | Alert::CERTIFICATE_REVOKED
        | Alert::BAD_CERTIFICATE
        | Alert::UNSUPPORTED_CERTIFICATE
        | Alert::CERTIFICATE_UNKNOWN
        | Alert::ACCESS_DENIED
            if peer.requested_certificate =>
        {
            AlertMeaning::ClientCertificate(peer.client_certificate(Some(alert)))
        }
        // The server chooses version and cipher suite before it requests a certificate.
        Alert::HANDSHAKE_FAILURE | Alert::DECRYPT_ERROR if has_sent_certificate => {
            AlertMeaning::ClientCertificate(peer.client_certificate(Some(alert)))
        }
        Alert::HANDSHAKE_FAILURE | Alert::INSUFFICIENT_SECURITY | Alert::MISSING_EXTENSION => {
            AlertMeaning::NoSharedCipher(peer.lists())
        }
        Alert::PROTOCOL_VERSION | Alert::INAPPROPRIATE_FALLBACK => {
            AlertMeaning::VersionMismatch(peer.version_limit())
        }
        Alert::UNRECOGNIZED_NAME => AlertMeaning::NameNotServed(peer.name.clone()),
        _ => AlertMeaning::HandshakeEnded(peer.name.clone()),
    }
}

/// Reason codes of OpenSSL's library SSL (`sslerr.h`); the same in 1.1.1 and 3, unless
/// stated otherwise.
mod reason {
    pub(crate) const LIBRARY: i32 = 20;
    /// X509 and ASN1.
    pub(crate) const CERTIFICATE_LIBRARIES: [i32; 2] = [11, 13];
    pub(crate) const UNSAFE_LEGACY_RENEGOTIATION: i32 = 338;
    pub(crate) const EXCESSIVE_MESSAGE_SIZE: i32 = 152;
    pub(crate) const INCONSISTENT_EXTMS: i32 = 104;
    pub(crate) const DH_KEY_TOO_SMALL: i32 = 394;
    pub(crate) const NO_SUITABLE_SIGNATURE_ALGORITHM: i32 = 118;
    /// wrong curve, unsupported elliptic curve, bad ecc cert.
    pub(crate) const CURVE: [i32; 3] = [378, 315, 304];
    /// wrong signature type, unknown digest, no suitable digest algorithm, legacy sigalg disallowed or
    /// unsupported.
    pub(crate) const SIGNATURE: [i32; 4] = [370, 368, 297, 333];
    /// unknown certificate type, unable to find public key parameters, unknown pkey type.
    pub(crate) const CERTIFICATE_KEY: [i32; 3] = [247, 239, 251];
    /// Since OpenSSL 3. In 1.1.1 an end of file has no reason, and the number means a callback that failed.
    pub(crate) const UNEXPECTED_EOF: Option<i32> = if cfg!(ossl300) { Some(294) } else { None };
    /// no protocols available, unsupported protocol, wrong ssl version, wrong version number, version
    /// too high, version too low, inappropriate fallback.
    pub(crate) const VERSION: [i32; 7] = [191, 258, 266, 267, 166, 396, 373];
    /// no ciphers available, no shared cipher, unknown cipher returned, wrong cipher returned, no suitable
    /// signature algorithm, no shared signature algorithms, no suitable key share, no shared groups, no
    /// suitable groups.
    pub(crate) const SELECTION: [i32; 9] = [181, 193, 248, 261, 118, 376, 101, 410, 295];
}
