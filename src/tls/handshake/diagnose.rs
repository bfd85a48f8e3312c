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

use super::context::ServerName;
use crate::cause::{Cause, CauseCode};
use crate::limit::Limit;
use crate::options::{ProtocolOptions, TlsVersion};
use crate::printable::Quoted;
use crate::sniff;
use crate::time::rfc3339;
use crate::tls::config::identity::OwnChain;
use crate::tls::handshake::alert::Alert;
use crate::tls::handshake::level::SecurityLevel;
use crate::tls::openssl_version;

/// What is known about the other side when something fails.
pub(crate) struct Peer<'a> {
    /// Whom we wanted to talk to.
    pub(crate) name: &'a ServerName,
    /// The first bytes that came from it.
    pub(crate) head: &'a [u8],
    /// How many bytes came from it.
    pub(crate) received: u64,
    /// Whether it asked for a client certificate.
    pub(crate) requested_certificate: bool,
    /// The CAs that it accepts client certificates from, as far as it named them.
    pub(crate) requested_ca_names: Vec<String>,
    /// Our certificate and its chain, if one is configured.
    pub(crate) own: Option<&'a OwnChain>,
    /// Whether our last message went out after the last byte that came in.
    pub(crate) answered: bool,
    /// The phase that the connection had reached.
    pub(crate) phase: Phase,
    /// True if this server has accepted this client with the same certificate, or without one, before.
    pub(crate) accepted_before: bool,
    /// The protocol settings of the options.
    pub(crate) protocol: &'a ProtocolOptions,
    /// The security level of the connection.
    pub(crate) level: u32,
    /// The time of the failure.
    pub(crate) now: SystemTime,
}

/// The phase of a connection when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In the handshake.
    Handshake,
    /// After the handshake, before the server has answered anything. In TLS 1.3 its verdict on the client's
    /// certificate arrives now.
    Established,
    /// After the first answer: the server has accepted the handshake.
    Answered,
}

impl Peer<'_> {
    fn phase(&self) -> &'static str {
        match self.phase {
            Phase::Handshake => "during the TLS handshake",
            Phase::Established => "after the TLS handshake",
            Phase::Answered => "after it had answered",
        }
    }

    /// Whether an end of the connection is an answer to our certificate, or to the lack of one: mongod
    /// ends the handshake and then closes, where OpenSSL would send an alert. A server that has accepted the same
    /// before has another reason.
    fn judged_certificate(&self) -> bool {
        let may_judge = match self.phase {
            Phase::Handshake => self.answered,
            Phase::Established => true,
            Phase::Answered => false,
        };
        self.requested_certificate && may_judge && !self.accepted_before
    }

    /// Words about the identity that this server has accepted before, if the close would otherwise be blamed on it.
    fn accepted(&self) -> &'static str {
        match (
            self.accepted_before && self.requested_certificate,
            self.own.is_some(),
        ) {
            (false, _) => "",
            (true, true) => ", and accepted the same client certificate before",
            (true, false) => ", and accepted this client without a certificate before",
        }
    }

    fn security_level(&self) -> SecurityLevel {
        SecurityLevel::new(self.level, self.protocol)
    }
}

/// Why an exchange of TLS records failed: as OpenSSL sees it, and how the stream under it failed, if it
/// did.
pub(crate) fn failed_exchange(
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
        if peer.phase != Phase::Handshake {
            // Both sides have already agreed on the protocol, so it cannot be the reason.
            continue;
        }
        // Older entries of the queue may be about details.
        let text = entry.reason().unwrap_or(text);
        if let Some(cause) = refused_here(code, text, peer) {
            return cause.fact("openssl", text).fact("ended_by", "client");
        }
        if reason::VERSION.contains(&code) {
            return version_mismatch(text, peer);
        }
        if reason::SELECTION.contains(&code) {
            return no_shared_cipher(text, peer);
        }
    }
    match (error.code(), io) {
        (_, Some(error)) => socket_failed(error, peer),
        (ErrorCode::SYSCALL | ErrorCode::ZERO_RETURN, None) => closed(peer),
        _ if peer.phase == Phase::Handshake && entries.iter().any(is_of_certificate) => {
            undecodable_certificate(text)
        }
        _ => broken_protocol(text, peer),
    }
}

/// Returns whether OpenSSL could not read what should have been a certificate.
fn is_of_certificate(entry: &openssl::error::Error) -> bool {
    reason::CERTIFICATE_LIBRARIES.contains(&entry.library_code())
}

fn undecodable_certificate(text: &str) -> Cause {
    Cause::new(
        CauseCode::TlsAlert,
        format!("{} cannot decode a certificate that the server sends: {text}", openssl_version()),
        "Have the certificate issued again and let the server load it; `openssl x509 -noout -text` shows what it holds.",
    )
    .fact("openssl", text)
    .fact("ended_by", "client")
}

/// The cause if our own OpenSSL refuses by its rules what is valid TLS.
fn refused_here(code: i32, text: &str, peer: &Peer<'_>) -> Option<Cause> {
    let version = openssl_version();
    let list = |name: &str| {
        let mut lists = peer.protocol.lists();
        lists
            .find(|(list, _)| list.name() == name)
            .map(|(_, value)| value.to_owned())
    };
    let (cause, message, remedy) = match code {
        reason::UNSAFE_LEGACY_RENEGOTIATION => (
            CauseCode::TlsAlert,
            format!("{version} refuses the server, which does not support secure renegotiation (RFC 5746)"),
            "Update the TLS library of the server, or of the proxy in front of it: all that are younger than 2010 support RFC 5746.".to_owned(),
        ),
        reason::EXCESSIVE_MESSAGE_SIZE => (
            CauseCode::TlsAlert,
            format!("{version} refuses a message of the server's handshake that is too large: its chain of certificates, or its list of CAs for client certificates"),
            "Let the server send its own certificate and its intermediate CAs alone (on mongod net.tls.certificateKeyFile), and name only the CAs of its clients (net.tls.CAFile), each in less than 100 KiB.".to_owned(),
        ),
        reason::INCONSISTENT_EXTMS => (
            CauseCode::TlsAlert,
            format!("{version} refuses the resumed session of the server, whose extended master secret (RFC 7627) does not go with its full handshake"),
            "Update the TLS library of the server, or of the proxy in front of it; until then, tlsSessionResumption=false in the connection string avoids resumption.".to_owned(),
        ),
        reason::DH_KEY_TOO_SMALL => {
            let level = peer.security_level();
            let bits = level.finite_field_bits();
            (
                CauseCode::NoSharedCipher,
                format!("the server's Diffie-Hellman parameters are too small: {level}, requires {bits} bits"),
                format!("Give the server parameters of {bits} bits or more (on mongod the parameter opensslDiffieHellmanParameters), or let it prefer cipher suites with ECDHE."),
            )
        }
        code if reason::CURVE.contains(&code) => (
            CauseCode::NoSharedCipher,
            format!("the server uses an elliptic curve that this client does not accept: {text}"),
            match list("groups") {
                Some(groups) => format!("Add the server's curve to the option groups, which allows only {groups}, or let the server use one of these."),
                None => "Let the server use X25519 or P-256 for the key exchange, and a certificate whose key is on P-256 or P-384; openssl.cnf may limit the client's groups (Groups).".to_owned(),
            },
        ),
        reason::NO_SUITABLE_SIGNATURE_ALGORITHM if peer.own.is_some() && peer.requested_certificate => {
            let key = peer.own.map_or("", |own| own.certificate.key.as_str());
            (
                CauseCode::NoSharedCipher,
                format!("the server accepts no signature that the client's key ({key}) can make"),
                "Use a client certificate (tlsCertificateKeyFile) with a key that the server accepts, such as RSA 2048 or EC P-256, or let the server accept more signature algorithms.".to_owned(),
            )
        }
        code if reason::SIGNATURE.contains(&code) => (
            CauseCode::NoSharedCipher,
            format!("the server signs its handshake with an algorithm that this client does not accept: {text}"),
            match list("signature_algorithms") {
                Some(algorithms) => format!("Add the server's algorithm to the option signature_algorithms, which allows only {algorithms}, or let the server use one of these."),
                None => "Let the server sign with SHA-256 or stronger: update its TLS library, or enable TLS 1.3 there.".to_owned(),
            },
        ),
        code if reason::CERTIFICATE_KEY.contains(&code) => (
            CauseCode::NoSharedCipher,
            format!("{version} cannot use the kind of key in the server's certificate: {text}"),
            "Have the certificate issued for a key of RSA 2048, EC P-256 or stronger, or use an OpenSSL that knows the kind of key.".to_owned(),
        ),
        _ => return None,
    };
    Some(Cause::new(cause, message, remedy))
}

/// Whether the peer sent an alert.
pub(crate) fn is_alert(error: &ssl::Error) -> bool {
    let mut entries = error.ssl_error().into_iter().flat_map(ErrorStack::errors);
    entries.any(|entry| {
        entry.library_code() == reason::LIBRARY && Alert::from_reason(entry.reason_code()).is_some()
    })
}

/// Why the socket under TLS failed.
pub(crate) fn socket_failed(error: &io::Error, peer: &Peer<'_>) -> Cause {
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
        _ if is_unreachable(error) => Cause::new(
            CauseCode::NetworkUnreachable,
            format!("the connection was lost {phase}: {error}"),
            SILENT_NETWORK,
        ),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => Cause::new(
            CauseCode::ConnectionReset,
            format!("the server reset the connection {phase}{}", peer.accepted()),
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

/// Returns whether an established connection failed because packets no longer get through.
pub(crate) fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

/// The remedy for such a connection.
pub(crate) const SILENT_NETWORK: &str = "Check that the server's host is up, and look for a firewall, a NAT gateway or a VPN that drops packets without an answer; socketTimeoutMS limits how long a command waits.";

/// Why the connection ended: the peer closed it.
pub(crate) fn closed(peer: &Peer<'_>) -> Cause {
    let received = i64::try_from(peer.received).unwrap_or(i64::MAX);
    if peer.judged_certificate() {
        return client_certificate_refused(peer, None);
    }
    let accepted = peer.accepted();
    let (message, remedy) = match (peer.phase, peer.received) {
        (Phase::Established | Phase::Answered, _) => (
            format!("the server closed the connection {}{accepted}", peer.phase()),
            "Look at the server's log for this instant; a proxy in front of the server may have lost its backend.",
        ),
        (Phase::Handshake, 0) => (
            "the server closed the connection during the TLS handshake, without a byte of an answer".to_owned(),
            "Check that this port speaks TLS (on mongod net.tls.mode), and that no firewall, IP access list or proxy closes the connection.",
        ),
        (Phase::Handshake, received) => (
            format!("the server closed the connection during the TLS handshake, after {received} bytes{accepted}"),
            "Look at the server's log for this instant; the reason is there, for the server sent no alert.",
        ),
    };
    let phase = peer.phase();
    Cause::new(CauseCode::ConnectionClosed, message, remedy)
        .fact("phase", phase)
        .fact("received_bytes", received)
}

/// Whether the peer's first bytes are no TLS record, and what they look like.
pub(crate) fn not_tls(peer: &Peer<'_>) -> Option<Cause> {
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
        // The handshake was accepted: only the connection is in question.
        _ if peer.phase == Phase::Answered => Cause::new(
            CauseCode::TlsAlert,
            format!("the server ended the established connection with the alert {name}"),
            match alert.number() {
                reason::BAD_RECORD_MAC => {
                    "Look for a proxy or a load balancer on the way that changes the bytes, and at the server's log."
                }
                _ => {
                    "Look at the server's log for this instant; it holds the reason for the alert."
                }
            },
        ),
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
            no_shared_cipher(&format!("the server sent the alert {name}"), peer)
        }
        Alert::PROTOCOL_VERSION | Alert::INAPPROPRIATE_FALLBACK => {
            version_mismatch(&format!("the server sent the alert {name}"), peer)
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
            format!(
                "the server does not serve the name {name}: it sent the alert {alert}",
                name = Quoted(&name)
            ),
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
///
/// A close is less specific than an alert: a proxy that has lost its backend closes too. The message names both, the
/// more likely one first.
fn client_certificate_refused(peer: &Peer<'_>, alert: Option<Alert>) -> Cause {
    let how = match alert {
        Some(alert) => format!("it sent the alert {}", alert.name()),
        None => format!("it closed the connection {} without a reason", peer.phase()),
    };
    let Some(own) = peer.own else {
        let (or, otherwise) = match alert {
            Some(_) => ("", ""),
            None => (
                "; if it needs none, a proxy in front of it has lost its backend",
                " If the server accepts clients without one, see whether the server behind the proxy runs, and look at the proxy's log.",
            ),
        };
        return Cause::new(
            CauseCode::ClientCertificateRequired,
            format!("the server asks for a client certificate and none is configured: {how}{or}"),
            format!("Set tlsCertificateKeyFile to a PEM file with a certificate that the server accepts and its private key.{otherwise}"),
        )
        .fact("requested_ca_names", peer.requested_ca_names.clone());
    };
    let certificate = &own.certificate;
    let subject = &certificate.subject;
    let ended = certificate.not_after < peer.now;
    let begun = certificate.not_before <= peer.now;
    // A server that lists no names, as many do, says nothing about ours.
    let listed =
        (!peer.requested_ca_names.is_empty()).then(|| own.is_listed(&peer.requested_ca_names));
    let stale = own.intermediates.iter().find(|intermediate| {
        !(intermediate.not_before..=intermediate.not_after).contains(&peer.now)
    });
    let (code, message, remedy) = match (alert, stale) {
        (Some(Alert::CERTIFICATE_REVOKED), _) => (
            CauseCode::ClientCertificateRevoked,
            format!("the server says that the client certificate {subject} is revoked: {how}", subject = Quoted(&subject)),
            "Have a new client certificate issued and put it into tlsCertificateKeyFile."
                .to_owned(),
        ),
        _ if ended => (
            CauseCode::ClientCertificateExpired,
            format!(
                "the client certificate {subject} expired at {}: {how}",
                rfc3339(certificate.not_after)
            , subject = Quoted(&subject)),
            "Renew the certificate in tlsCertificateKeyFile.".to_owned(),
        ),
        _ if !begun => (
            CauseCode::ClientCertificateRejected,
            format!(
                "the client certificate {subject} is valid only from {} on: {how}",
                rfc3339(certificate.not_before)
            , subject = Quoted(&subject)),
            "Compare this host's clock with the true time; if it is right, wait or have the certificate issued with an earlier start.".to_owned(),
        ),
        // Of the certificates that this host sends, the intermediate CA is the problem.
        (_, Some(stale)) => {
            let (name, code, when) = match stale.not_after < peer.now {
                true => (
                    stale.short_name(),
                    CauseCode::ClientCertificateExpired,
                    format!("expired at {}", rfc3339(stale.not_after)),
                ),
                false => (
                    stale.short_name(),
                    CauseCode::ClientCertificateRejected,
                    format!("is valid only from {} on", rfc3339(stale.not_before)),
                ),
            };
            (
                code,
                format!("the intermediate CA {name} that is sent with the client certificate {subject} {when}: {how}", name = Quoted(&name), subject = Quoted(&subject)),
                format!("Put a certificate of the intermediate CA {name} that is in force into tlsCertificateKeyFile, in place of the one there.", name = Quoted(&name)),
            )
        }
        (Some(Alert::UNKNOWN_CA), None) => (
            CauseCode::ClientCertificateUntrusted,
            format!(
                "the server does not know the CA {} of the client certificate {subject}: {how}",
                Quoted(&certificate.issuer), subject = Quoted(&subject)),
            unknown_client_ca(own, listed),
        ),
        (Some(Alert::CERTIFICATE_EXPIRED), None) => (
            CauseCode::ClientCertificateExpired,
            format!("the server says that the client certificate {subject} has expired: {how}", subject = Quoted(&subject)),
            "Compare the server's clock with the true time: by this host's clock the certificate is in force. A server whose CRL is past its nextUpdate sends this alert too.".to_owned(),
        ),
        _ if !certificate.allows_client_auth => (
            CauseCode::ClientCertificateRejected,
            format!(
                "the client certificate {subject} is not meant for a TLS client, and the server refuses it: {how}"
            , subject = Quoted(&subject)),
            "Have a certificate issued with the extended key usage clientAuth.".to_owned(),
        ),
        (None, None) if listed == Some(true) => (
            CauseCode::ClientCertificateRejected,
            format!(
                "the server closed the connection {} without a reason: a proxy in front of it has lost its backend, or it refuses the client certificate {subject}, which is in force and of a CA that the server names",
                peer.phase()
            , subject = Quoted(&subject)),
            "See whether the server behind the proxy runs, and look at the log of the proxy or of the server for this instant; it holds the reason.".to_owned(),
        ),
        (None, None) => (
            CauseCode::ClientCertificateRejected,
            format!("the server refuses the client certificate {subject}: {how}; if it accepts the certificate, a proxy in front of it has lost its backend", subject = Quoted(&subject)),
            "Look at the server's log for this instant; the certificate needs an issuer that the server trusts. If the certificate is right, see whether the server behind the proxy runs.".to_owned(),
        ),
        (Some(_), None) => (
            CauseCode::ClientCertificateRejected,
            format!("the server refuses the client certificate {subject}: {how}", subject = Quoted(&subject)),
            "Look at the server's log for this instant; the certificate needs an issuer that the server trusts.".to_owned(),
        ),
    };
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

/// The remedy for a client certificate whose CA the server does not trust: first the certificates that this host
/// omits.
fn unknown_client_ca(own: &OwnChain, listed: Option<bool>) -> String {
    let certificate = &own.certificate;
    let issuer = &certificate.issuer;
    let key_id = certificate.authority_key_id.as_ref();
    let key_id = key_id.map_or_else(String::new, |id| format!(" with the key identifier {id}"));
    match (listed, own.intermediates.is_empty()) {
        (Some(true), _) => format!(
            "The server names a CA of that name, so that its own certificate of the CA is another one: put the certificate of {issuer}{key_id} into the server's CA file (on mongod net.tls.CAFile), or use a client certificate of the CA that the server has."
        , issuer = Quoted(&issuer)),
        (_, true) => format!(
            "If {issuer} is an intermediate CA, put its certificate into tlsCertificateKeyFile, after the client's own. Otherwise add the CA to the server's CA file (on mongod net.tls.CAFile), or use a certificate of a CA that the server knows."
        , issuer = Quoted(&issuer)),
        (_, false) => {
            "Add the root CA to the server's CA file (on mongod net.tls.CAFile), or use a certificate of a CA that the server knows.".to_owned()
        }
    }
}

fn version_mismatch(text: &str, peer: &Peer<'_>) -> Cause {
    // Exclusions by the options come first.
    let remedy = match (peer.protocol.oldest(), peer.protocol.newest()) {
        (_, Some(newest @ TlsVersion::Tls12)) => format!(
            "Enable {newest} at the server (on mongod net.tls.disabledProtocols), or raise max_version, which allows nothing newer."
        ),
        (Some(oldest @ TlsVersion::Tls13), _) => format!(
            "Enable {oldest} at the server (on mongod net.tls.disabledProtocols), or lower min_version, which allows nothing older."
        ),
        _ => "Enable TLS 1.2 or 1.3 at the server (on mongod net.tls.disabledProtocols); the client uses no older one. The client's openssl.cnf may set a minimum too.".to_owned(),
    };
    Cause::new(
        CauseCode::ProtocolVersionMismatch,
        format!("client and server have no TLS version in common: {text}"),
        remedy,
    )
    .fact("openssl", text)
}

fn no_shared_cipher(text: &str, peer: &Peer<'_>) -> Cause {
    let lists = peer.protocol.lists();
    let limits: Vec<_> = lists
        .map(|(list, value)| format!("{} ({value})", list.name()))
        .collect();
    let remedy = match limits.as_slice() {
        [] => "Compare the cipher settings of the server with those of the client's OpenSSL (`openssl ciphers -s -v`, and openssl.cnf).".to_owned(),
        limits => format!(
            "The client offers only what these options allow: {}. Add what the server has, or let the server accept one of these.",
            limits.join(", ")
        ),
    };
    Cause::new(
        CauseCode::NoSharedCipher,
        format!(
            "client and server have no cipher suite, group or signature algorithm in common: {text}"
        ),
        remedy,
    )
    .fact("openssl", text)
}

/// We ended the connection, because what came breaks the protocol.
fn broken_protocol(text: &str, peer: &Peer<'_>) -> Cause {
    let message = match peer.phase {
        Phase::Handshake => format!("the server broke the TLS protocol: {text}"),
        Phase::Established | Phase::Answered => {
            format!("what came over the established TLS connection breaks the protocol: {text}")
        }
    };
    Cause::new(
        CauseCode::TlsAlert,
        message,
        "Look for a proxy or a load balancer on the way that changes the bytes, and at the server's log.",
    )
    .fact("openssl", text)
    .fact("ended_by", "client")
}

/// Reason codes of OpenSSL's library SSL (`sslerr.h`); the same in 1.1.1 and 3, where nothing else is
/// said.
mod reason {
    pub(crate) const LIBRARY: i32 = 20;
    /// X509 and ASN1.
    pub(crate) const CERTIFICATE_LIBRARIES: [i32; 2] = [11, 13];
    pub(crate) const BAD_RECORD_MAC: u8 = 20;
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
    /// From OpenSSL 3 on: in 1.1.1, where an end of file has no reason at all, the number stands for a
    /// callback that failed.
    pub(crate) const UNEXPECTED_EOF: Option<i32> = if cfg!(ossl300) { Some(294) } else { None };
    /// no protocols available, unsupported protocol, wrong ssl version, wrong version number, version
    /// too high, version too low, inappropriate fallback.
    pub(crate) const VERSION: [i32; 7] = [191, 258, 266, 267, 166, 396, 373];
    /// no ciphers available, no shared cipher, unknown cipher returned, wrong cipher returned, no suitable
    /// signature algorithm, no shared signature algorithms, no suitable key share, no shared groups, no
    /// suitable groups.
    pub(crate) const SELECTION: [i32; 9] = [181, 193, 248, 261, 118, 376, 101, 410, 295];
}
