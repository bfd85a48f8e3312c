//! From OpenSSL's errors to causes: why a handshake failed, in words that tell what to change.
//!
//! Two sources are told apart here: an alert or a breach of the protocol ([`failed_exchange`]), and
//! the end of the socket under it ([`socket_failed`], [`closed`]). What our own verification refuses is
//! explained in `refusal`. Alerts are read by their number; TLS 1.3 lets a refusal of the client's
//! certificate arrive only with the first read after the handshake, so the same functions serve there.

use std::io;
use std::time::SystemTime;

use openssl::error::ErrorStack;
use openssl::ssl::{self, ErrorCode};

use super::ServerName;
use super::alert::Alert;
use super::identity::OwnChain;
use crate::cause::{Cause, CauseCode};
use crate::limit::Limit;
use crate::sniff;
use crate::time::rfc3339;

/// What is known about the other side when something fails.
pub(super) struct Peer<'a> {
    /// Whom we wanted to talk to.
    pub(super) name: &'a ServerName,
    /// The first bytes that came from it.
    pub(super) head: &'a [u8],
    /// How many bytes came from it.
    pub(super) received: u64,
    /// Whether it asked for a client certificate.
    pub(super) requested_certificate: bool,
    /// The CAs that it accepts client certificates from, as far as it named them.
    pub(super) requested_ca_names: Vec<String>,
    /// Our certificate and its chain, if one is configured.
    pub(super) own: Option<&'a OwnChain>,
    /// Whether our last message went out after the last byte that came in.
    pub(super) answered: bool,
    /// Whether the handshake was over.
    pub(super) established: bool,
    /// The time of the failure.
    pub(super) now: SystemTime,
}

impl Peer<'_> {
    fn phase(&self) -> &'static str {
        if self.established {
            "after the TLS handshake"
        } else {
            "during the TLS handshake"
        }
    }

    /// Whether an end of the connection is an answer to our certificate, or to the lack of one: mongod
    /// ends the handshake and then closes, where OpenSSL would send an alert.
    fn judged_certificate(&self) -> bool {
        self.requested_certificate && (self.established || self.answered)
    }
}

/// Why an exchange of TLS records failed: as OpenSSL sees it, and how the stream under it failed, if it
/// did.
pub(super) fn failed_exchange(
    error: &ssl::Error,
    io: Option<&io::Error>,
    peer: &Peer<'_>,
) -> Cause {
    if let Some(cause) = not_tls(peer) {
        return cause;
    }
    let entries: &[openssl::error::Error] = error.ssl_error().map_or(&[], |stack| stack.errors());
    let text = entries
        .first()
        .and_then(|entry| entry.reason())
        .unwrap_or("unexpected end of file");
    for entry in entries
        .iter()
        .filter(|entry| entry.library_code() == reason::LIBRARY)
    {
        let code = entry.reason_code();
        if let Some(alert) = Alert::from_reason(code) {
            return alerted(alert, peer).fact_opt("openssl", entry.reason());
        }
        if reason::UNEXPECTED_EOF == Some(code) {
            return closed(peer);
        }
        // Later records with another version are rubbish: the version is agreed on.
        if reason::VERSION.contains(&code) && !peer.established {
            return version_mismatch(text);
        }
        if reason::SELECTION.contains(&code) {
            return no_shared_cipher(text);
        }
    }
    match (error.code(), io) {
        (_, Some(error)) => socket_failed(error, peer),
        (ErrorCode::SYSCALL | ErrorCode::ZERO_RETURN, None) => closed(peer),
        _ => broken_protocol(text),
    }
}

/// Whether the peer sent an alert.
pub(super) fn is_alert(error: &ssl::Error) -> bool {
    let mut entries = error.ssl_error().into_iter().flat_map(ErrorStack::errors);
    entries.any(|entry| {
        entry.library_code() == reason::LIBRARY && Alert::from_reason(entry.reason_code()).is_some()
    })
}

/// Why the socket under TLS failed.
pub(super) fn socket_failed(error: &io::Error, peer: &Peer<'_>) -> Cause {
    let reset = matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
    );
    if reset && peer.judged_certificate() {
        // A server that closes with our last message unread makes the kernel send a reset.
        return client_certificate_refused(peer, None);
    }
    let phase = peer.phase();
    if let Some(limit) = Limit::of(error) {
        return limit.cause(&format!("the connection failed {phase}"));
    }
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => Cause::new(
            CauseCode::ConnectionReset,
            format!("the server reset the connection {phase}"),
            "Look at the server's log for this instant, and for a firewall, an IP access list or a proxy that cuts connections.",
        ),
        _ => Cause::new(
            CauseCode::ConnectionClosed,
            format!("the connection failed {phase}: {error}"),
            "Look at the network between this host and the server.",
        ),
    }
    .fact("phase", phase)
    .fact("received_bytes", i64::try_from(peer.received).unwrap_or(i64::MAX))
}

/// Why the connection ended: the peer closed it.
pub(super) fn closed(peer: &Peer<'_>) -> Cause {
    let received = i64::try_from(peer.received).unwrap_or(i64::MAX);
    if peer.judged_certificate() {
        return client_certificate_refused(peer, None);
    }
    let (message, remedy) = match (peer.established, peer.received) {
        (true, _) => (
            "the server closed the connection after the TLS handshake".to_owned(),
            "Look at the server's log for this instant; a proxy in front of the server may have lost its backend.",
        ),
        (false, 0) => (
            "the server closed the connection during the TLS handshake, without a byte of an answer".to_owned(),
            "Check that this port speaks TLS (on mongod net.tls.mode), and that no firewall, IP access list or proxy closes the connection.",
        ),
        (false, received) => (
            format!("the server closed the connection during the TLS handshake, after {received} bytes"),
            "Look at the server's log for this instant; the reason is there, for the server sent no alert.",
        ),
    };
    let phase = peer.phase();
    Cause::new(CauseCode::ConnectionClosed, message, remedy)
        .fact("phase", phase)
        .fact("received_bytes", received)
}

/// Whether the peer's first bytes are no TLS record, and what they look like.
pub(super) fn not_tls(peer: &Peer<'_>) -> Option<Cause> {
    if peer.head.is_empty() || sniff::is_tls_record(peer.head) {
        return None;
    }
    let looks_like = sniff::looks_like(peer.head);
    let remedy = match looks_like.as_str() {
        sniff::MONGODB_IN_THE_CLEAR => TURN_TLS_ON,
        "HTTP" => "The host or port is that of a web server or of a proxy for HTTP; correct it.",
        _ => "Check host and port; what answers there does not speak TLS.",
    };
    let message =
        format!("the server answered with something other than TLS: it looks like {looks_like}");
    Some(
        Cause::new(CauseCode::ServerNotTls, message, remedy)
            .fact("looks_like", looks_like)
            .fact("first_bytes", peer.head.escape_ascii().to_string()),
    )
}

/// The remedy where a server speaks MongoDB without TLS.
pub(crate) const TURN_TLS_ON: &str = "Turn TLS on at the server (on mongod net.tls.mode: requireTLS), or connect to the port that has it.";

fn alerted(alert: Alert, peer: &Peer<'_>) -> Cause {
    let sent_certificate = peer.requested_certificate && peer.own.is_some();
    let missed_certificate = peer.requested_certificate && peer.own.is_none();
    let name = alert.name();
    let cause = match alert {
        Alert::CERTIFICATE_REQUIRED => client_certificate_refused(peer, Some(alert)),
        // TLS 1.2 has no alert of its own for a certificate that did not come.
        Alert::HANDSHAKE_FAILURE | Alert::BAD_CERTIFICATE | Alert::CERTIFICATE_UNKNOWN
            if missed_certificate =>
        {
            client_certificate_refused(peer, Some(alert))
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
            client_certificate_refused(peer, Some(alert))
        }
        // Version and cipher suite are settled before the server asks for a certificate.
        Alert::HANDSHAKE_FAILURE | Alert::DECRYPT_ERROR if sent_certificate => {
            client_certificate_refused(peer, Some(alert))
        }
        Alert::HANDSHAKE_FAILURE | Alert::INSUFFICIENT_SECURITY | Alert::MISSING_EXTENSION => {
            no_shared_cipher(&format!("the server sent the alert {name}"))
        }
        Alert::PROTOCOL_VERSION | Alert::INAPPROPRIATE_FALLBACK => {
            version_mismatch(&format!("the server sent the alert {name}"))
        }
        Alert::UNRECOGNIZED_NAME => name_rejected(peer, &name),
        _ => Cause::new(
            CauseCode::TlsAlert,
            format!("the server ended the handshake with the alert {name}"),
            alert_remedy(alert, peer),
        ),
    };
    cause
        .fact("alert", name)
        .fact("alert_number", i64::from(alert.number()))
}

/// The server refuses the name in SNI, or misses one: none is sent for an IP address (RFC 6066 §3).
fn name_rejected(peer: &Peer<'_>, alert: &str) -> Cause {
    let (message, remedy, sent) = match peer.name {
        ServerName::Dns(name) => (
            format!("the server does not serve the name {name:?}: it sent the alert {alert}"),
            "Connect by a name that the server or the proxy in front of it is configured for.",
            Some(name.as_str()),
        ),
        ServerName::Ip(address) => (
            format!(
                "the server needs to be asked for by name, and was by the IP address {address}: it sent the alert {alert}"
            ),
            "Connect by a name that the server or the proxy in front of it is configured for, not by the IP address.",
            None,
        ),
    };
    Cause::new(CauseCode::ServerNameRejected, message, remedy).fact_opt("server_name", sent)
}

fn alert_remedy(alert: Alert, peer: &Peer<'_>) -> &'static str {
    let atlas = peer.name.to_string().ends_with(".mongodb.net");
    match alert {
        Alert::INTERNAL_ERROR if atlas => {
            "Add this host's public address to the IP access list of the Atlas project; Atlas answers others with this alert."
        }
        Alert::INTERNAL_ERROR => {
            "Look at the server's log for this instant. MongoDB Atlas sends this alert to addresses outside of its IP access list."
        }
        _ => "Look at the server's log for this instant; it holds the reason for the alert.",
    }
}

/// The server refused the client certificate, by an alert or by closing, or misses one.
fn client_certificate_refused(peer: &Peer<'_>, alert: Option<Alert>) -> Cause {
    let how = match alert {
        Some(alert) => format!("it sent the alert {}", alert.name()),
        None => format!("it closed the connection {}", peer.phase()),
    };
    let Some(own) = peer.own else {
        return Cause::new(
            CauseCode::ClientCertificateRequired,
            format!("the server asks for a client certificate and none is configured: {how}"),
            "Set tlsCertificateKeyFile to a PEM file with a certificate that the server accepts and its private key.",
        )
        .fact("requested_ca_names", peer.requested_ca_names.clone());
    };
    let certificate = &own.certificate;
    let subject = &certificate.subject;
    let ended = certificate.not_after < peer.now;
    let begun = certificate.not_before <= peer.now;
    let (code, message, remedy) = match alert {
        Some(Alert::UNKNOWN_CA) => (
            CauseCode::ClientCertificateUntrusted,
            format!(
                "the server does not know the CA {:?} of the client certificate {subject:?}: {how}",
                certificate.issuer
            ),
            "Add that CA to the server's CA file (on mongod net.tls.CAFile), or use a certificate of a CA that the server knows; the file must also hold the intermediate CAs.",
        ),
        Some(Alert::CERTIFICATE_REVOKED) => (
            CauseCode::ClientCertificateRevoked,
            format!("the server says that the client certificate {subject:?} is revoked: {how}"),
            "Have a new client certificate issued and put it into tlsCertificateKeyFile.",
        ),
        Some(Alert::CERTIFICATE_EXPIRED) if !ended => (
            CauseCode::ClientCertificateExpired,
            format!("the server says that the client certificate {subject:?} has expired: {how}"),
            "Compare the server's clock with the true time: by this host's clock the certificate is in force. A server whose CRL is past its nextUpdate sends this alert too.",
        ),
        _ if ended => (
            CauseCode::ClientCertificateExpired,
            format!(
                "the client certificate {subject:?} expired at {}: {how}",
                rfc3339(certificate.not_after)
            ),
            "Renew the certificate in tlsCertificateKeyFile.",
        ),
        _ if !begun => (
            CauseCode::ClientCertificateRejected,
            format!(
                "the client certificate {subject:?} is valid only from {} on: {how}",
                rfc3339(certificate.not_before)
            ),
            "Compare this host's clock with the true time; if it is right, wait or have the certificate issued with an earlier start.",
        ),
        _ if !certificate.allows_client_auth => (
            CauseCode::ClientCertificateRejected,
            format!(
                "the client certificate {subject:?} is not meant for a TLS client, and the server refuses it: {how}"
            ),
            "Have a certificate issued with the extended key usage clientAuth.",
        ),
        _ => (
            CauseCode::ClientCertificateRejected,
            format!("the server refuses the client certificate {subject:?}: {how}"),
            "Look at the server's log for this instant; the certificate needs an issuer that the server trusts.",
        ),
    };
    // A server that lists no names, as many do, says nothing about ours.
    let listed =
        (!peer.requested_ca_names.is_empty()).then(|| own.is_listed(&peer.requested_ca_names));
    Cause::new(code, message, remedy)
        .fact("subject", subject.as_str())
        .fact("issuer", certificate.issuer.as_str())
        .fact("serial", certificate.serial.as_str())
        .fact("not_before", certificate.not_before)
        .fact("not_after", certificate.not_after)
        .fact("checked_at", peer.now)
        .fact_opt("path", own.path.as_deref())
        .fact("allows_client_auth", certificate.allows_client_auth)
        .fact_opt("issuer_listed_by_server", listed)
        .fact("requested_ca_names", peer.requested_ca_names.clone())
}

fn version_mismatch(text: &str) -> Cause {
    Cause::new(
        CauseCode::ProtocolVersionMismatch,
        format!("client and server have no TLS version in common: {text}"),
        "Enable TLS 1.2 or 1.3 at the server (on mongod net.tls.disabledProtocols); the client uses no older one. The client's openssl.cnf may set a minimum too.",
    )
    .fact("openssl", text)
}

fn no_shared_cipher(text: &str) -> Cause {
    Cause::new(
        CauseCode::NoSharedCipher,
        format!("client and server have no cipher suite, group or signature algorithm in common: {text}"),
        "Compare the cipher settings of the server with those of the client's OpenSSL (`openssl ciphers -s -v`, and openssl.cnf).",
    )
    .fact("openssl", text)
}

/// We ended the handshake, because what came breaks the protocol.
fn broken_protocol(text: &str) -> Cause {
    Cause::new(
        CauseCode::TlsAlert,
        format!("the server broke the TLS protocol: {text}"),
        "Look for a proxy or a load balancer on the way that changes the bytes, and at the server's log.",
    )
    .fact("openssl", text)
    .fact("ended_by", "client")
}

/// Reason codes of OpenSSL's library SSL (`sslerr.h`); the same in 1.1.1 and 3, where nothing else is
/// said.
mod reason {
    pub(super) const LIBRARY: i32 = 20;
    /// From OpenSSL 3 on: in 1.1.1, where an end of file has no reason at all, the number stands for a
    /// callback that failed.
    pub(super) const UNEXPECTED_EOF: Option<i32> = if cfg!(ossl300) { Some(294) } else { None };
    /// no protocols available, unsupported protocol, wrong ssl version, wrong version number, version
    /// too high, version too low, inappropriate fallback.
    pub(super) const VERSION: [i32; 7] = [191, 258, 266, 267, 166, 396, 373];
    /// no ciphers available, no shared cipher, unknown cipher returned, wrong cipher returned, wrong
    /// curve, dh key too small, wrong signature type, no suitable signature algorithm, no shared
    /// signature algorithms, unsupported elliptic curve, no suitable key share, no shared groups, no
    /// suitable groups.
    pub(super) const SELECTION: [i32; 13] = [
        181, 193, 248, 261, 378, 394, 370, 118, 376, 315, 101, 410, 295,
    ];
}
