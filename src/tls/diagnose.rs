//! From OpenSSL's errors to causes: why a handshake failed, in words that tell what to change.
//!
//! Three sources are told apart: a refusal of the server's chain by our own verification
//! ([`refused_chain`]), an alert or a breach of the protocol ([`failed_exchange`]), and the end of
//! the socket under it. Alerts are read by their number; TLS 1.3 lets a refusal of the client's
//! certificate arrive only with the first read after the handshake, so the same function serves there.

use std::io;
use std::time::SystemTime;

use openssl::ssl::{self, ErrorCode};

use super::alert::Alert;
use super::verify::Refusal;
use super::{Certificate, ServerName, TrustAnchors};
use crate::cause::{Cause, CauseCode};
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
    /// Our certificate, if one is configured.
    pub(super) own_certificate: Option<Certificate>,
    /// Whether the handshake was over.
    pub(super) established: bool,
}

/// Why an exchange of TLS records failed.
pub(super) fn failed_exchange(error: &ssl::Error, peer: &Peer<'_>) -> Cause {
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
            return alerted(alert, peer);
        }
        if code == reason::UNEXPECTED_EOF {
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
    match (error.code(), error.io_error()) {
        (_, Some(error)) => socket_failed(error, peer),
        (ErrorCode::SYSCALL | ErrorCode::ZERO_RETURN, None) => closed(peer),
        _ => broken_protocol(text),
    }
}

/// Why the socket under TLS failed.
pub(super) fn socket_failed(error: &io::Error, peer: &Peer<'_>) -> Cause {
    let phase = if peer.established {
        "after the TLS handshake"
    } else {
        "during the TLS handshake"
    };
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
    if peer.requested_certificate {
        // mongod ends the handshake and then closes, where OpenSSL would send an alert.
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
    let phase = if peer.established {
        "after the TLS handshake"
    } else {
        "during the TLS handshake"
    };
    Cause::new(CauseCode::ConnectionClosed, message, remedy)
        .fact("phase", phase)
        .fact("received_bytes", received)
}

/// Whether the peer's first bytes are no TLS record, and what they look like.
fn not_tls(peer: &Peer<'_>) -> Option<Cause> {
    let looks_like = match peer.head {
        [] => return None,
        // ContentType change_cipher_spec to application_data, and a version 3.x (RFC 8446 §5.1).
        [20..=23] | [20..=23, 3, ..] => return None,
        head if head.starts_with(b"HTTP/") || head.starts_with(b"<") => "HTTP".to_owned(),
        head if is_mongodb_message(head) => "MongoDB in the clear".to_owned(),
        head if head.starts_with(b"SSH-") => "SSH".to_owned(),
        head => format!("\"{}\"", head.escape_ascii()),
    };
    let remedy = match looks_like.as_str() {
        "MongoDB in the clear" => {
            "Turn TLS on at the server (on mongod net.tls.mode: requireTLS), or connect to the port that has it."
        }
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

/// The header of a reply: a length that fits, and the opcode OP_REPLY or OP_MSG.
fn is_mongodb_message(head: &[u8]) -> bool {
    let word = |at: usize| {
        head.get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map(i32::from_le_bytes)
    };
    matches!((word(0), word(12)), (Some(16..=48_000_000), Some(1 | 2013)))
}

fn alerted(alert: Alert, peer: &Peer<'_>) -> Cause {
    let sent_certificate = peer.requested_certificate && peer.own_certificate.is_some();
    let missed_certificate = peer.requested_certificate && peer.own_certificate.is_none();
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
        | Alert::ACCESS_DENIED => client_certificate_refused(peer, Some(alert)),
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
        Alert::UNRECOGNIZED_NAME => Cause::new(
            CauseCode::ServerNameRejected,
            format!(
                "the server does not serve the name {:?}: it sent the alert {name}",
                peer.name.to_string()
            ),
            "Connect by a name that the server or the proxy in front of it is configured for.",
        )
        .fact("server_name", peer.name.to_string()),
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
        None if peer.established => "it closed the connection after the handshake".to_owned(),
        None => "it closed the connection during the handshake".to_owned(),
    };
    let Some(own) = &peer.own_certificate else {
        return Cause::new(
            CauseCode::ClientCertificateRequired,
            format!("the server asks for a client certificate and none is configured: {how}"),
            "Set tlsCertificateKeyFile to a PEM file with a certificate that the server accepts and its private key.",
        )
        .fact("requested_ca_names", peer.requested_ca_names.clone());
    };
    let subject = &own.subject;
    let listed = peer.requested_ca_names.contains(&own.issuer);
    let (code, message, remedy) = match alert {
        Some(Alert::UNKNOWN_CA) => (
            CauseCode::ClientCertificateUntrusted,
            format!(
                "the server does not know the CA {:?} of the client certificate {subject:?}: {how}",
                own.issuer
            ),
            "Add that CA to the server's CA file (on mongod net.tls.CAFile), or use a certificate of a CA that the server knows; the file must also hold the intermediate CAs.",
        ),
        Some(Alert::CERTIFICATE_EXPIRED) => (
            CauseCode::ClientCertificateExpired,
            format!("the server says that the client certificate {subject:?} has expired: {how}"),
            "Renew the certificate in tlsCertificateKeyFile; if it is in force, compare the server's clock.",
        ),
        Some(Alert::CERTIFICATE_REVOKED) => (
            CauseCode::ClientCertificateRevoked,
            format!("the server says that the client certificate {subject:?} is revoked: {how}"),
            "Have a new client certificate issued and put it into tlsCertificateKeyFile.",
        ),
        _ => (
            CauseCode::ClientCertificateRejected,
            format!("the server refuses the client certificate {subject:?}: {how}"),
            "Look at the server's log for this instant. The certificate needs the extended key usage clientAuth and an issuer that the server trusts.",
        ),
    };
    Cause::new(code, message, remedy)
        .fact("subject", subject.as_str())
        .fact("issuer", own.issuer.as_str())
        .fact("serial", own.serial.as_str())
        .fact("not_after", own.not_after)
        .fact("issuer_listed_by_server", listed)
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

/// Why our verification refused the server's chain.
pub(super) fn refused_chain(
    refusal: &Refusal,
    name: &ServerName,
    anchors: &TrustAnchors,
    now: SystemTime,
) -> Cause {
    let certificate = refusal.certificate.as_deref().map(Certificate::from);
    let Some(certificate) = certificate else {
        let text = refusal.result.error_string();
        return Cause::new(
            CauseCode::SignatureInvalid,
            format!("the server's certificate was refused: {text}"),
            GENERAL_REMEDY,
        )
        .fact("openssl", text);
    };
    let case = Case {
        refusal,
        certificate: &certificate,
        name,
        anchors,
        now,
    };
    let cause = case.explain();
    cause
        .fact("subject", certificate.subject.as_str())
        .fact("issuer", certificate.issuer.as_str())
        .fact("serial", certificate.serial.as_str())
        .fact("depth", refusal.depth)
        .fact("role", case.role())
        .fact("not_before", certificate.not_before)
        .fact("not_after", certificate.not_after)
        .fact(
            "sha256_fingerprint",
            certificate.sha256_fingerprint.as_str(),
        )
        .fact("checked_at", now)
        .fact("trust_anchors", anchors.to_string())
        .fact("openssl", refusal.result.error_string())
}

const GENERAL_REMEDY: &str =
    "Have the CA issue a new certificate; `openssl verify` with the same files tells more.";

/// One refused chain, with all that is known about it.
struct Case<'a> {
    refusal: &'a Refusal,
    certificate: &'a Certificate,
    name: &'a ServerName,
    anchors: &'a TrustAnchors,
    now: SystemTime,
}

impl Case<'_> {
    fn explain(&self) -> Cause {
        use CauseCode as Code;
        let who = self.who();
        let text = self.refusal.result.error_string();
        match self.refusal.result.as_raw() {
            verify::HAS_EXPIRED => self.expired(),
            verify::NOT_YET_VALID => self.not_yet_valid(),
            verify::NO_ISSUER | verify::NO_LOCAL_ISSUER | verify::NO_LEAF_SIGNATURE => {
                self.issuer_unknown()
            }
            verify::SELF_SIGNED_LEAF => Cause::new(
                Code::SelfSigned,
                format!("{who} is signed by itself and is not a trust anchor"),
                "If this certificate is the right one, compare its fingerprint with the server's and put it into the file of tlsCAFile; better, have a CA issue one.",
            ),
            verify::SELF_SIGNED_IN_CHAIN => Cause::new(
                Code::UntrustedRoot,
                format!(
                    "the chain ends in {:?}, which is not a trust anchor",
                    self.certificate.subject
                ),
                format!(
                    "Set tlsCAFile to the PEM file of that CA, if it is the right one; {} is in use now.",
                    self.anchors
                ),
            ),
            verify::HOSTNAME_MISMATCH | verify::IP_MISMATCH => self.name_mismatch(),
            verify::INVALID_PURPOSE | verify::UNTRUSTED | verify::REJECTED => Cause::new(
                Code::WrongPurpose,
                format!("{who} is not meant for a TLS server: {text}"),
                "Have a certificate issued with the extended key usage serverAuth and the key usage digitalSignature.",
            ),
            code if verify::INVALID_CA.contains(&code) => Cause::new(
                Code::InvalidCa,
                format!("{who} may not sign the certificate below it: {text}"),
                "Have the certificates issued by a CA whose basic constraints, key usage and name constraints allow it.",
            ),
            verify::EE_KEY_TOO_SMALL | verify::CA_KEY_TOO_SMALL => Cause::new(
                Code::KeyTooWeak,
                format!("the key of {who} is too weak: {}", self.certificate.key),
                "Have the certificate issued for a key of RSA 2048, EC P-256 or stronger.",
            )
            .fact("key", self.certificate.key.as_str()),
            verify::DIGEST_TOO_WEAK => Cause::new(
                Code::DigestTooWeak,
                format!(
                    "the signature of {who} uses a digest that is too weak: {}",
                    self.certificate.signature_algorithm
                ),
                "Have the certificate signed anew with SHA-256 or stronger.",
            )
            .fact(
                "signature_algorithm",
                self.certificate.signature_algorithm.as_str(),
            ),
            verify::REVOKED => Cause::new(
                Code::RevokedCrl,
                format!(
                    "{who} is revoked: the CRL lists serial number {}",
                    self.certificate.serial
                ),
                "Have a new certificate issued for the server. Until then do not trust it: somebody may have its key.",
            ),
            verify::NO_CRL => Cause::new(
                Code::CrlMissing,
                format!(
                    "no CRL of {:?} is there to check {who}",
                    self.certificate.issuer
                ),
                "Add the CRL of that issuer to the file of tlsCRLFile.",
            ),
            verify::CRL_EXPIRED => Cause::new(
                Code::CrlExpired,
                format!(
                    "the CRL of {:?} is past its nextUpdate",
                    self.certificate.issuer
                ),
                "Fetch the current CRL of that issuer into the file of tlsCRLFile, and do so before each nextUpdate.",
            ),
            verify::CRL_NOT_YET_VALID => Cause::new(
                Code::CrlNotYetValid,
                format!(
                    "the CRL of {:?} is before its thisUpdate",
                    self.certificate.issuer
                ),
                "Compare this host's clock with the true time.",
            ),
            code if verify::CRL_INVALID.contains(&code) => Cause::new(
                Code::CrlInvalid,
                format!(
                    "the CRL of {:?} does not verify: {text}",
                    self.certificate.issuer
                ),
                "Fetch the CRL anew from that issuer into the file of tlsCRLFile.",
            ),
            _ => Cause::new(
                Code::SignatureInvalid,
                format!("{who} does not verify: {text}"),
                GENERAL_REMEDY,
            ),
        }
    }

    fn expired(&self) -> Cause {
        let at = rfc3339(self.certificate.not_after);
        let remedy = match self.role() {
            "end entity" => "Renew the server's certificate and let the server load it.",
            "intermediate" => {
                "Replace the intermediate CA in the chain that the server sends by its renewed certificate."
            }
            _ => {
                "Replace the trust anchor by its renewed certificate (tlsCAFile, or the system's CA certificates)."
            }
        };
        Cause::new(
            CauseCode::CertificateExpired,
            format!("{} expired at {at}", self.who()),
            remedy,
        )
    }

    fn not_yet_valid(&self) -> Cause {
        let from = rfc3339(self.certificate.not_before);
        let now = rfc3339(self.now);
        Cause::new(
            CauseCode::CertificateNotYetValid,
            format!(
                "{} is valid only from {from} on; this host's clock says {now}",
                self.who()
            ),
            "Compare this host's clock with the true time; if it is right, wait or have the certificate issued with an earlier start.",
        )
    }

    fn issuer_unknown(&self) -> Cause {
        let only_end_entity = self.refusal.sent.len() <= 1;
        let issuer = &self.certificate.issuer;
        let remedy = match only_end_entity {
            true => format!(
                "Set tlsCAFile to the PEM file of the CA {issuer:?}. If that is an intermediate CA, let the server send it after its own certificate (on mongod in net.tls.certificateKeyFile): it sent no other."
            ),
            false => format!(
                "Set tlsCAFile to the PEM file of the CA {issuer:?}; {} is in use now.",
                self.anchors
            ),
        };
        let sent = self
            .refusal
            .sent
            .iter()
            .map(|cert| Certificate::from(&**cert).subject)
            .collect::<Vec<_>>();
        Cause::new(
            CauseCode::IssuerUnknown,
            format!("no trust anchor for {}: its issuer {issuer:?} is neither a trust anchor nor sent by the server", self.who()),
            remedy,
        )
        .fact("missing_issuer", issuer.as_str())
        .fact("sent_only_end_entity", only_end_entity)
        .fact("sent_certificates", sent)
    }

    fn name_mismatch(&self) -> Cause {
        let presented = self.certificate.presented_names();
        let asked = self.name.to_string();
        let common_name = self.certificate.short_name();
        let cause = if presented.is_empty() {
            Cause::new(
                CauseCode::NoSubjectAltName,
                format!("{} has no subject alternative name, only the common name {common_name:?}, which is not compared", self.who()),
                format!("Have a certificate issued with the subject alternative name {asked:?}."),
            )
            .fact("common_name", common_name)
        } else {
            let names = presented.join(", ");
            let (code, kind) = match self.name {
                ServerName::Ip(_) => (CauseCode::IpAddressMismatch, "the IP address"),
                ServerName::Dns(_) => (CauseCode::HostnameMismatch, "the host name"),
            };
            let remedy = match self.name {
                ServerName::Ip(_) => {
                    "Connect by a name that the certificate holds, or have one issued with this IP address."
                }
                ServerName::Dns(_) => {
                    "Connect by a name that the certificate holds, or have one issued with this name."
                }
            };
            Cause::new(
                code,
                format!("the certificate does not hold {kind} {asked:?}; it holds {names}"),
                remedy,
            )
        };
        cause
            .fact("expected_name", asked)
            .fact("presented_names", presented)
    }

    /// The certificate in question, as it stands at the start of a sentence.
    fn who(&self) -> String {
        let name = self.certificate.short_name();
        match self.role() {
            "end entity" => format!("the server's certificate {name:?}"),
            "intermediate" => format!("the intermediate CA {name:?}"),
            _ => format!("the trust anchor {name:?}"),
        }
    }

    /// The certificate's place in the chain, in the terms of RFC 5280.
    fn role(&self) -> &'static str {
        let last = u32::try_from(self.refusal.chain.len().saturating_sub(1)).unwrap_or(u32::MAX);
        match self.refusal.depth {
            0 => "end entity",
            depth if depth == last && self.certificate.self_issued => "trust anchor",
            _ => "intermediate",
        }
    }
}

/// Reason codes of OpenSSL's library SSL (`sslerr.h`); the same in 1.1.1 and 3.
mod reason {
    pub(super) const LIBRARY: i32 = 20;
    pub(super) const UNEXPECTED_EOF: i32 = 294;
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

/// Results of a verification (`x509_vfy.h`).
mod verify {
    use openssl_sys as sys;

    pub(super) const NO_ISSUER: i32 = sys::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT;
    pub(super) const NO_LOCAL_ISSUER: i32 = sys::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
    pub(super) const NO_LEAF_SIGNATURE: i32 = sys::X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
    pub(super) const SELF_SIGNED_LEAF: i32 = sys::X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT;
    pub(super) const SELF_SIGNED_IN_CHAIN: i32 = sys::X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN;
    pub(super) const HAS_EXPIRED: i32 = sys::X509_V_ERR_CERT_HAS_EXPIRED;
    pub(super) const NOT_YET_VALID: i32 = sys::X509_V_ERR_CERT_NOT_YET_VALID;
    pub(super) const HOSTNAME_MISMATCH: i32 = sys::X509_V_ERR_HOSTNAME_MISMATCH;
    pub(super) const IP_MISMATCH: i32 = sys::X509_V_ERR_IP_ADDRESS_MISMATCH;
    pub(super) const INVALID_PURPOSE: i32 = sys::X509_V_ERR_INVALID_PURPOSE;
    pub(super) const UNTRUSTED: i32 = sys::X509_V_ERR_CERT_UNTRUSTED;
    pub(super) const REJECTED: i32 = sys::X509_V_ERR_CERT_REJECTED;
    pub(super) const EE_KEY_TOO_SMALL: i32 = sys::X509_V_ERR_EE_KEY_TOO_SMALL;
    pub(super) const CA_KEY_TOO_SMALL: i32 = sys::X509_V_ERR_CA_KEY_TOO_SMALL;
    pub(super) const DIGEST_TOO_WEAK: i32 = sys::X509_V_ERR_CA_MD_TOO_WEAK;
    pub(super) const REVOKED: i32 = sys::X509_V_ERR_CERT_REVOKED;
    pub(super) const NO_CRL: i32 = sys::X509_V_ERR_UNABLE_TO_GET_CRL;
    pub(super) const CRL_EXPIRED: i32 = sys::X509_V_ERR_CRL_HAS_EXPIRED;
    pub(super) const CRL_NOT_YET_VALID: i32 = sys::X509_V_ERR_CRL_NOT_YET_VALID;
    pub(super) const INVALID_CA: [i32; 9] = [
        sys::X509_V_ERR_INVALID_CA,
        sys::X509_V_ERR_PATH_LENGTH_EXCEEDED,
        sys::X509_V_ERR_KEYUSAGE_NO_CERTSIGN,
        sys::X509_V_ERR_CERT_CHAIN_TOO_LONG,
        sys::X509_V_ERR_INVALID_NON_CA,
        sys::X509_V_ERR_PERMITTED_VIOLATION,
        sys::X509_V_ERR_EXCLUDED_VIOLATION,
        sys::X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE,
        sys::X509_V_ERR_UNSUPPORTED_NAME_SYNTAX,
    ];
    pub(super) const CRL_INVALID: [i32; 7] = [
        sys::X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE,
        sys::X509_V_ERR_CRL_SIGNATURE_FAILURE,
        sys::X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER,
        sys::X509_V_ERR_KEYUSAGE_NO_CRL_SIGN,
        sys::X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION,
        sys::X509_V_ERR_DIFFERENT_CRL_SCOPE,
        sys::X509_V_ERR_CRL_PATH_VALIDATION_ERROR,
    ];
}
