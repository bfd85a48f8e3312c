//! Words for failures of TLS.

use std::fmt;

use openssl::version::version as openssl_version;

use super::revocation::with_responder;
use crate::cause::{CauseCode, Explanation};
use crate::printable::Quoted;
use crate::reason::alert::Alert;
use crate::reason::certificate::ServerName;
use crate::reason::tls::{
    AcceptedBefore, AlertMeaning, ClientCertificateFailure, OptionValue, PolicyRejection,
    SentCertificate, SentCertificateProblem, TlsFailure, TlsPhase, VersionLimit,
};
use crate::sniff;
use crate::time::rfc3339;

pub(super) fn explain(reason: &TlsFailure) -> Explanation {
    match reason {
        TlsFailure::HandshakeTimeout { received, waited } => {
            let explanation = handshake_timeout(*received);
            match waited {
                Some(waited) => with_responder(explanation, waited),
                None => explanation,
            }
        }
        TlsFailure::CallbackPanicked => Explanation::new(
            CauseCode::OptionConflict,
            "mongotls panicked in the middle of the TLS handshake",
            "Report the message of the panic, which is on standard error, as a bug of mongotls.",
        ),
        TlsFailure::UnusableHostName { host } => Explanation::new(
            CauseCode::OptionConflict,
            format!(
                "{host} cannot stand in a certificate as the name of a host",
                host = Quoted(host)
            ),
            "Write an internationalised name in its ASCII form (xn--…), without spaces.",
        ),
        TlsFailure::NotTls { head } => not_tls(head),
        TlsFailure::Alert {
            alert,
            text,
            meaning,
        } => alerted(*alert, meaning)
            .fact("alert", alert.name())
            .fact("alert_number", i64::from(alert.number()))
            .fact_opt("openssl", text.as_deref()),
        TlsFailure::VersionMismatch { text, limit } => version_mismatch(text, *limit),
        TlsFailure::NoSharedCipher { text, lists } => no_shared_cipher(text, lists),
        TlsFailure::PolicyRejection { text, rejection } => policy_rejection(rejection, text)
            .fact("openssl", text.as_str())
            .fact("ended_by", "client"),
        TlsFailure::UndecodableCertificate { text } => Explanation::new(
            CauseCode::TlsAlert,
            format!("{} cannot decode a certificate that the server sends: {text}", openssl_version()),
            "Have the certificate issued again and let the server load it; `openssl x509 -noout -text` shows what it holds.",
        )
        .fact("openssl", text.as_str())
        .fact("ended_by", "client"),
        TlsFailure::BrokenProtocol { text, phase } => broken_protocol(text, *phase),
        TlsFailure::ClientCertificate { phase, failure } => {
            client_certificate(failure, CertificateRejection::Closed(*phase))
        }
        TlsFailure::Closed {
            phase,
            received,
            accepted,
        } => closed(*phase, *received, *accepted),
        TlsFailure::Reset {
            phase,
            received,
            accepted,
        } => of_socket(
            *phase,
            *received,
            CauseCode::ConnectionReset,
            &format!("the server reset the connection {}{}", phase_text(*phase), accepted_before(*accepted)),
            "Look at the server's log for this instant, and for a firewall, an IP access list or a proxy that cuts connections.",
        ),
        TlsFailure::Unreachable {
            phase,
            received,
            error,
        } => of_socket(
            *phase,
            *received,
            CauseCode::NetworkUnreachable,
            &format!("the connection was lost {}: {}", phase_text(*phase), error.text),
            SILENT_NETWORK,
        ),
        TlsFailure::SocketFailed {
            phase,
            received,
            error,
        } => match &error.limit {
            Some(limit) => {
                super::local_limit(&format!("the connection failed {}", phase_text(*phase)), limit)
            }
            None => of_socket(
            *phase,
            *received,
            CauseCode::ConnectionClosed,
            &format!("the connection failed {}: {}", phase_text(*phase), error.text),
            "Look at the network between this host and the server.",
        ) },
    }
}

/// The remedy for an established connection whose packets no longer get through.
pub(super) const SILENT_NETWORK: &str = "Check that the server's host is up, and look for a firewall, a NAT gateway or a VPN that drops packets without an answer; socketTimeoutMS limits how long a command waits.";

/// The remedy for a server that speaks MongoDB without TLS.
pub(super) const TURN_TLS_ON: &str = "Turn TLS on at the server (on mongod net.tls.mode: requireTLS), or connect to the port that has it.";

/// The phase, as the end of a sentence about the connection.
fn phase_text(phase: TlsPhase) -> &'static str {
    match phase {
        TlsPhase::Handshake => "during the TLS handshake",
        TlsPhase::Established => "after the TLS handshake",
        TlsPhase::Answered => "after it had answered",
    }
}

/// The identity that the server has accepted before, if the close would otherwise be blamed on it.
fn accepted_before(accepted: Option<AcceptedBefore>) -> &'static str {
    match accepted {
        None => "",
        Some(AcceptedBefore::SameCertificate) => {
            ", and accepted the same client certificate before"
        }
        Some(AcceptedBefore::NoCertificate) => {
            ", and accepted this client without a certificate before"
        }
    }
}

/// `received` as a fact.
fn bytes(received: u64) -> i64 {
    i64::try_from(received).unwrap_or(i64::MAX)
}

fn of_socket(
    phase: TlsPhase,
    received: u64,
    code: CauseCode,
    message: &str,
    remedy: &str,
) -> Explanation {
    Explanation::new(code, message, remedy)
        .fact("phase", phase_text(phase))
        .fact("received_bytes", bytes(received))
}

fn handshake_timeout(received: u64) -> Explanation {
    // A peer that has begun to answer speaks TLS: others were detected earlier.
    let (message, remedy) = match received {
        0 => (
            "the TLS handshake did not end in time: the server did not answer".to_owned(),
            "Check that this port speaks TLS and that the server is not overloaded; then let the stream wait longer.",
        ),
        _ => (
            format!(
                "the TLS handshake did not end in time: the server stopped after {received} bytes"
            ),
            "See whether the server, or the way to it, is overloaded; then let the stream wait longer.",
        ),
    };
    Explanation::new(CauseCode::HandshakeTimeout, message, remedy)
        .fact("received_bytes", bytes(received))
}

fn not_tls(head: &[u8]) -> Explanation {
    let looks_like = sniff::looks_like(head);
    let remedy = match looks_like.as_str() {
        sniff::MONGODB_IN_THE_CLEAR => TURN_TLS_ON,
        "HTTP" => "The host or port is that of a web server or of a proxy for HTTP; correct it.",
        _ => "Check host and port; what answers there does not speak TLS.",
    };
    let message =
        format!("the server answered with something other than TLS: it looks like {looks_like}");
    Explanation::new(CauseCode::ServerNotTls, message, remedy)
        .fact("looks_like", looks_like)
        .fact("first_bytes", head.escape_ascii().to_string())
}

fn closed(phase: TlsPhase, received: u64, accepted: Option<AcceptedBefore>) -> Explanation {
    let accepted = accepted_before(accepted);
    let (message, remedy) = match (phase, received) {
        (TlsPhase::Established, _) => (
            format!("the server closed the connection {}{accepted}", phase_text(phase)),
            "Look at the server's log for this instant; a proxy in front of the server may have lost its backend, or the server is older than MongoDB 3.6 and does not know OP_MSG.",
        ),
        (TlsPhase::Answered, _) => (
            format!("the server closed the connection {}{accepted}", phase_text(phase)),
            "Look at the server's log for this instant; a proxy in front of the server may have lost its backend.",
        ),
        (TlsPhase::Handshake, 0) => (
            "the server closed the connection during the TLS handshake, without a byte of an answer".to_owned(),
            "Check that this port speaks TLS (on mongod net.tls.mode), and that no firewall, IP access list or proxy closes the connection.",
        ),
        (TlsPhase::Handshake, received) => (
            format!("the server closed the connection during the TLS handshake, after {received} bytes{accepted}"),
            "Look at the server's log for this instant; the reason is there, for the server sent no alert.",
        ),
    };
    of_socket(
        phase,
        received,
        CauseCode::ConnectionClosed,
        &message,
        remedy,
    )
}

fn alerted(alert: Alert, meaning: &AlertMeaning) -> Explanation {
    let name = alert.name();
    match meaning {
        AlertMeaning::ConnectionEnded => Explanation::new(
            CauseCode::TlsAlert,
            format!("the server ended the established connection with the alert {name}"),
            match alert {
                Alert::BAD_RECORD_MAC => CHANGED_BYTES,
                _ => SERVER_LOG,
            },
        ),
        AlertMeaning::ClientCertificate(failure) => {
            client_certificate(failure, CertificateRejection::Alert(alert))
        }
        AlertMeaning::VersionMismatch(limit) => {
            version_mismatch(&format!("the server sent the alert {name}"), *limit)
        }
        AlertMeaning::NoSharedCipher(lists) => {
            no_shared_cipher(&format!("the server sent the alert {name}"), lists)
        }
        AlertMeaning::NameNotServed(server) => name_not_served(server, &name),
        AlertMeaning::HandshakeEnded(server) => Explanation::new(
            CauseCode::TlsAlert,
            format!("the server ended the handshake with the alert {name}"),
            match alert {
                Alert::INTERNAL_ERROR if server.to_string().ends_with(".mongodb.net") => {
                    "Add this host's public address to the IP access list of the Atlas project; Atlas answers others with this alert."
                }
                Alert::INTERNAL_ERROR => {
                    "Look at the server's log for this instant. MongoDB Atlas sends this alert to addresses outside of its IP access list."
                }
                _ => SERVER_LOG,
            },
        ),
    }
}

const SERVER_LOG: &str =
    "Look at the server's log for this instant; it holds the reason for the alert.";

const CHANGED_BYTES: &str = "Look for a proxy or a load balancer on the way that changes the bytes, and at the server's log.";

fn name_not_served(name: &ServerName, alert: &str) -> Explanation {
    let (message, remedy, sent) = match name {
        ServerName::Dns(name) => (
            format!(
                "the server does not serve the name {name}: it sent the alert {alert}",
                name = Quoted(name)
            ),
            "Connect by a name that the server or the proxy in front of it is configured for.",
            Some(name.as_str()),
        ),
        ServerName::Ip(address) => (
            format!(
                "the server needs a host name, but the client used the IP address {address}: it sent the alert {alert}"
            ),
            "Connect by a name that the server or the proxy in front of it is configured for, not by the IP address.",
            None,
        ),
    };
    Explanation::new(CauseCode::ServerNameRejected, message, remedy).fact_opt("server_name", sent)
}

fn version_mismatch(text: &str, limit: VersionLimit) -> Explanation {
    let remedy = match limit {
        VersionLimit::NewestIsTls12 => {
            "Enable TLS 1.2 at the server (on mongod net.tls.disabledProtocols), or raise max_version, which allows nothing newer."
        }
        VersionLimit::OldestIsTls13 => {
            "Enable TLS 1.3 at the server (on mongod net.tls.disabledProtocols), or lower min_version, which allows nothing older."
        }
        VersionLimit::None => {
            "Enable TLS 1.2 or 1.3 at the server (on mongod net.tls.disabledProtocols); the client uses no older one. The client's openssl.cnf may set a minimum too."
        }
    };
    Explanation::new(
        CauseCode::ProtocolVersionMismatch,
        format!("client and server have no TLS version in common: {text}"),
        remedy,
    )
    .fact("openssl", text)
}

fn no_shared_cipher(text: &str, lists: &[OptionValue]) -> Explanation {
    let lists: Vec<_> = lists
        .iter()
        .map(|list| format!("{} ({})", list.option, list.value))
        .collect();
    let remedy = match lists.as_slice() {
        [] => "Compare the cipher settings of the server with those of the client's OpenSSL (`openssl ciphers -s -v`, and openssl.cnf).".to_owned(),
        lists => format!(
            "The client offers only what these options allow: {}. Add what the server has, or let the server accept one of these.",
            lists.join(", ")
        ),
    };
    Explanation::new(
        CauseCode::NoSharedCipher,
        format!(
            "client and server have no cipher suite, group or signature algorithm in common: {text}"
        ),
        remedy,
    )
    .fact("openssl", text)
}

fn broken_protocol(text: &str, phase: TlsPhase) -> Explanation {
    let message = match phase {
        TlsPhase::Handshake => format!("the server broke the TLS protocol: {text}"),
        TlsPhase::Established | TlsPhase::Answered => {
            format!("what came over the established TLS connection breaks the protocol: {text}")
        }
    };
    Explanation::new(CauseCode::TlsAlert, message, CHANGED_BYTES)
        .fact("openssl", text)
        .fact("ended_by", "client")
}

fn policy_rejection(rejection: &PolicyRejection, text: &str) -> Explanation {
    let version = openssl_version();
    let (code, message, remedy) = match rejection {
        PolicyRejection::LegacyRenegotiation => (
            CauseCode::TlsAlert,
            format!("{version} refuses the server, which does not support secure renegotiation (RFC 5746)"),
            "Update the TLS library of the server, or of the proxy in front of it: all that are younger than 2010 support RFC 5746.".to_owned(),
        ),
        PolicyRejection::LargeMessage => (
            CauseCode::TlsAlert,
            format!("{version} refuses a message of the server's handshake that is too large: its chain of certificates, or its list of CAs for client certificates"),
            "Let the server send its own certificate and its intermediate CAs alone (on mongod net.tls.certificateKeyFile), and name only the CAs of its clients (net.tls.CAFile), each in less than 100 KiB.".to_owned(),
        ),
        PolicyRejection::InconsistentMasterSecret => (
            CauseCode::TlsAlert,
            format!("{version} refuses the resumed session of the server, whose extended master secret (RFC 7627) does not go with its full handshake"),
            "Update the TLS library of the server, or of the proxy in front of it; until then, tlsSessionResumption=false in the connection string avoids resumption.".to_owned(),
        ),
        PolicyRejection::SmallDiffieHellman(level) => {
            let bits = level.finite_field_bits();
            (
                CauseCode::NoSharedCipher,
                format!("the server's Diffie-Hellman parameters are too small: {level}, requires {bits} bits"),
                format!("Give the server parameters of {bits} bits or more (on mongod the parameter opensslDiffieHellmanParameters), or let it prefer cipher suites with ECDHE."),
            )
        }
        PolicyRejection::Curve { groups } => (
            CauseCode::NoSharedCipher,
            format!("the server uses an elliptic curve that this client does not accept: {text}"),
            match groups {
                Some(groups) => format!("Add the server's curve to the option groups, which allows only {groups}, or let the server use one of these."),
                None => "Let the server use X25519 or P-256 for the key exchange, and a certificate whose key is on P-256 or P-384; openssl.cnf may limit the client's groups (Groups).".to_owned(),
            },
        ),
        PolicyRejection::ClientKey { key } => (
            CauseCode::NoSharedCipher,
            format!("the server accepts no signature that the client's key ({key}) can make"),
            "Use a client certificate (tlsCertificateKeyFile) with a key that the server accepts, such as RSA 2048 or EC P-256, or let the server accept more signature algorithms.".to_owned(),
        ),
        PolicyRejection::Signature { algorithms } => (
            CauseCode::NoSharedCipher,
            format!("the server signs its handshake with an algorithm that this client does not accept: {text}"),
            match algorithms {
                Some(algorithms) => format!("Add the server's algorithm to the option signature_algorithms, which allows only {algorithms}, or let the server use one of these."),
                None => "Let the server sign with SHA-256 or stronger: update its TLS library, or enable TLS 1.3 there.".to_owned(),
            },
        ),
        PolicyRejection::CertificateKey => (
            CauseCode::NoSharedCipher,
            format!("{version} cannot use the kind of key in the server's certificate: {text}"),
            "Have the certificate issued for a key of RSA 2048, EC P-256 or stronger, or use an OpenSSL that knows the kind of key.".to_owned(),
        ),
    };
    Explanation::new(code, message, remedy)
}

/// How a server rejects the client's certificate or the lack of one. Completes a sentence about the server.
#[derive(Clone, Copy)]
enum CertificateRejection {
    Alert(Alert),
    Closed(TlsPhase),
}

impl fmt::Display for CertificateRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert(alert) => write!(f, "sent the alert {}", alert.name()),
            Self::Closed(phase) => {
                write!(
                    f,
                    "closed the connection {} without a reason",
                    phase_text(*phase)
                )
            }
        }
    }
}

/// The server rejected the client certificate, or misses one.
///
/// A close is less specific than an alert: a proxy that has lost its backend closes too. The message names both, the
/// more likely one first.
fn client_certificate(
    failure: &ClientCertificateFailure,
    how: CertificateRejection,
) -> Explanation {
    let explanation = match &failure.sent {
        Some(sent) => sent_certificate(sent, how),
        None => {
            let (or, otherwise) = match how {
                CertificateRejection::Alert(_) => ("", ""),
                CertificateRejection::Closed(_) => (
                    "; if it needs none, a proxy in front of it has lost its backend",
                    " If the server accepts clients without one, see whether the server behind the proxy runs, and look at the proxy's log.",
                ),
            };
            Explanation::new(
                CauseCode::ClientCertificateRequired,
                format!(
                    "the server asks for a client certificate and none is configured: it {how}{or}"
                ),
                format!(
                    "Set tlsCertificateKeyFile to a PEM file with a certificate that the server accepts and its private key.{otherwise}"
                ),
            )
        }
    };
    explanation.fact("requested_ca_names", failure.requested_ca_names.clone())
}

fn sent_certificate(sent: &SentCertificate, how: CertificateRejection) -> Explanation {
    use SentCertificateProblem as Problem;
    let certificate = &sent.certificate;
    let subject = Quoted(&certificate.subject);
    let intermediate = |name: &str, when: String| {
        let name = Quoted(name);
        (
            format!(
                "the intermediate CA {name} that is sent with the client certificate {subject} {when}: it {how}"
            ),
            format!(
                "Put a certificate of the intermediate CA {name} that is in force into tlsCertificateKeyFile, in place of the one there."
            ),
        )
    };
    let (code, (message, remedy)) = match &sent.problem {
        Problem::Revoked => (
            CauseCode::ClientCertificateRevoked,
            (
                format!("the server says that the client certificate {subject} is revoked: it {how}"),
                "Have a new client certificate issued and put it into tlsCertificateKeyFile.".to_owned(),
            ),
        ),
        Problem::Expired => (
            CauseCode::ClientCertificateExpired,
            (
                format!("the client certificate {subject} expired at {}: it {how}", rfc3339(certificate.not_after)),
                "Renew the certificate in tlsCertificateKeyFile.".to_owned(),
            ),
        ),
        Problem::NotYetValid => (
            CauseCode::ClientCertificateRejected,
            (
                format!("the client certificate {subject} is valid only from {} on: it {how}", rfc3339(certificate.not_before)),
                "Compare this host's clock with the true time; if it is right, wait or have the certificate issued with an earlier start.".to_owned(),
            ),
        ),
        // Of the certificates that this host sends, the intermediate CA is the problem.
        Problem::IntermediateExpired { name, not_after } => (
            CauseCode::ClientCertificateExpired,
            intermediate(name, format!("expired at {}", rfc3339(*not_after))),
        ),
        Problem::IntermediateNotYetValid { name, not_before } => (
            CauseCode::ClientCertificateRejected,
            intermediate(name, format!("is valid only from {} on", rfc3339(*not_before))),
        ),
        Problem::UnknownCa => (
            CauseCode::ClientCertificateUntrusted,
            (
                format!(
                    "the server does not know the CA {} of the client certificate {subject}: it {how}",
                    Quoted(&certificate.issuer)
                ),
                unknown_client_ca(sent),
            ),
        ),
        Problem::ExpiredForServer => (
            CauseCode::ClientCertificateExpired,
            (
                format!("the server says that the client certificate {subject} has expired: it {how}"),
                "Compare the server's clock with the true time: by this host's clock the certificate is in force. A server whose CRL is past its nextUpdate sends this alert too.".to_owned(),
            ),
        ),
        Problem::NotForClients => (
            CauseCode::ClientCertificateRejected,
            (
                format!("the client certificate {subject} is not meant for a TLS client, and the server refuses it: it {how}"),
                "Have a certificate issued with the extended key usage clientAuth.".to_owned(),
            ),
        ),
        Problem::Closed if sent.is_issuer_listed == Some(true) => (
            CauseCode::ClientCertificateRejected,
            (
                format!("the server {how}: a proxy in front of it has lost its backend, or it refuses the client certificate {subject}, which is in force and of a CA that the server names"),
                "See whether the server behind the proxy runs, and look at the log of the proxy or of the server for this instant; it holds the reason.".to_owned(),
            ),
        ),
        Problem::Closed => (
            CauseCode::ClientCertificateRejected,
            (
                format!("the server refuses the client certificate {subject}: it {how}; if it accepts the certificate, a proxy in front of it has lost its backend"),
                "Look at the server's log for this instant; the certificate needs an issuer that the server trusts. If the certificate is right, see whether the server behind the proxy runs.".to_owned(),
            ),
        ),
        Problem::Unspecified => (
            CauseCode::ClientCertificateRejected,
            (
                format!("the server refuses the client certificate {subject}: it {how}"),
                "Look at the server's log for this instant; the certificate needs an issuer that the server trusts.".to_owned(),
            ),
        ),
    };
    Explanation::new(code, message, remedy)
        .fact("subject", certificate.subject.as_str())
        .fact("issuer", certificate.issuer.as_str())
        .fact("serial", certificate.serial.as_str())
        .fact("not_before", certificate.not_before)
        .fact("not_after", certificate.not_after)
        .fact("checked_at", sent.checked_at)
        .fact_opt("path", sent.path.as_deref())
        .fact("allows_client_auth", certificate.allows_client_auth)
        .fact_opt("issuer_listed_by_server", sent.is_issuer_listed)
}

/// The remedy for a client certificate whose CA the server does not trust: first the certificates that this host
/// omits.
fn unknown_client_ca(sent: &SentCertificate) -> String {
    let certificate = &sent.certificate;
    let issuer = Quoted(&certificate.issuer);
    let key_id = certificate.authority_key_id.as_ref();
    let key_id = key_id.map_or_else(String::new, |id| format!(" with the key identifier {id}"));
    match (sent.is_issuer_listed, sent.has_intermediates) {
        (Some(true), _) => format!(
            "The server names a CA of that name, so that its own certificate of the CA is another one: put the certificate of {issuer}{key_id} into the server's CA file (on mongod net.tls.CAFile), or use a client certificate of the CA that the server has."
        ),
        (_, false) => format!(
            "If {issuer} is an intermediate CA, put its certificate into tlsCertificateKeyFile, after the client's own. Otherwise add the CA to the server's CA file (on mongod net.tls.CAFile), or use a certificate of a CA that the server knows."
        ),
        (_, true) => {
            "Add the root CA to the server's CA file (on mongod net.tls.CAFile), or use a certificate of a CA that the server knows.".to_owned()
        }
    }
}
