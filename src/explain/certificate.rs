//! Words for rejected certificates of servers: which certificate, which date, which name, and what to change.

use super::wording::{GENERAL_REMEDY, with_certificate};
use super::{issuer, names, revocation};
use crate::cause::{CauseCode, Explanation};
use crate::data::certificate::CertificateRole;
use crate::printable::Quoted;
use crate::reason::certificate::{
    CaFault, CertificateFailure, ChainFault, ChainRejection, NameKind, NameMismatch, SecurityLevel,
    ServerName,
};
use crate::time::rfc3339;

pub(super) fn explain(reason: &CertificateFailure) -> Explanation {
    match reason {
        CertificateFailure::Anonymous { cipher } => Explanation::new(
            CauseCode::IssuerUnknown,
            format!(
                "the server did not prove who it is: the cipher suite {cipher} needs no certificate"
            ),
            "Remove anonymous cipher suites (aNULL) from the settings of the server, and from the CipherString in this host's openssl.cnf.",
        )
        .fact("cipher", cipher.as_str()),
        CertificateFailure::Unlocated { openssl } => Explanation::new(
            CauseCode::SignatureInvalid,
            format!("the server's certificate was refused: {openssl}"),
            GENERAL_REMEDY,
        )
        .fact("openssl", *openssl),
        CertificateFailure::Chain(rejection) => chain(rejection),
    }
}

fn chain(rejection: &ChainRejection) -> Explanation {
    let sent = rejection.sent.iter();
    let dates = sent.clone().map(|cert| {
        let (from, until) = (rfc3339(cert.not_before), rfc3339(cert.not_after));
        format!("{from} to {until}: {}", cert.subject)
    });
    let dates: Vec<_> = dates.collect();
    let subjects: Vec<_> = sent.map(|cert| cert.subject.clone()).collect();
    let explanation = with_certificate(
        fault(rejection),
        &rejection.certificate,
        rejection.depth,
        rejection.role,
    );
    explanation
        .fact("checked_at", rejection.checked_at)
        .fact("sent_certificates", subjects)
        .fact("sent_validity", dates)
        .fact("trust_anchors", rejection.anchors.to_string())
        .fact("openssl", rejection.openssl)
}

impl ChainRejection {
    /// The certificate at fault, as the beginning of a sentence.
    pub(super) fn certificate_name(&self) -> String {
        let role = match self.role {
            CertificateRole::EndEntity => "the server's certificate",
            CertificateRole::Intermediate => "the intermediate CA",
            CertificateRole::Root => "the root CA",
            CertificateRole::TrustAnchor => "the trust anchor",
        };
        format!("{role} {}", Quoted(self.certificate.short_name()))
    }
}

fn fault(rejection: &ChainRejection) -> Explanation {
    let name = rejection.certificate_name();
    match &rejection.fault {
        ChainFault::Expired => expired(rejection),
        ChainFault::NotYetValid => not_yet_valid(rejection),
        ChainFault::IssuerUnknown(unknown) => issuer::unknown(rejection, unknown),
        ChainFault::SelfSigned { namesakes } => issuer::self_signed(rejection, namesakes),
        ChainFault::UntrustedRoot { namesakes, anchor } => {
            issuer::untrusted_root(rejection, namesakes, anchor.as_deref())
        }
        ChainFault::BadSignature { namesakes } => issuer::bad_signature(rejection, namesakes),
        ChainFault::DistrustedAnchor => distrusted_anchor(rejection),
        ChainFault::NameMismatch(mismatch) => name_mismatch(rejection, mismatch),
        ChainFault::NoSubjectAltName(mismatch) => no_subject_alt_name(rejection, mismatch),
        ChainFault::WrongPurpose => wrong_purpose(rejection),
        ChainFault::UnknownExtension => unknown_extension(rejection),
        ChainFault::NameConstraint { constrained_by } => {
            name_constraint(rejection, constrained_by.as_deref())
        }
        ChainFault::InvalidCa(fault) => invalid_ca(rejection, *fault),
        ChainFault::UndecodableSignature => undecodable_signature(rejection),
        ChainFault::WeakKey {
            security_bits,
            level,
        } => weak_key(rejection, *security_bits, level),
        ChainFault::WeakDigest { level } => weak_digest(rejection, level),
        ChainFault::ExplicitCurve => explicit_curve(rejection),
        ChainFault::PinMismatch { presented } => Explanation::new(
            CauseCode::PinMismatch,
            "none of the public keys in the server's chain is pinned",
            "Find out whether the server or its CA was meant to change its key. If so, pin the new one beside the old one; if not, somebody may stand between this host and the server.",
        )
        .fact("presented_pins", presented.clone()),
        ChainFault::Crl(fault) => revocation::crl(rejection, fault),
        ChainFault::Other => Explanation::new(
            CauseCode::SignatureInvalid,
            format!("{name} does not verify: {}", rejection.openssl),
            GENERAL_REMEDY,
        ),
    }
}

fn expired(rejection: &ChainRejection) -> Explanation {
    let at = rfc3339(rejection.certificate.not_after);
    let remedy = match rejection.role {
        CertificateRole::EndEntity => "Renew the server's certificate and let the server load it.",
        CertificateRole::Intermediate => {
            "Replace the intermediate CA in the chain that the server sends with its renewed certificate."
        }
        CertificateRole::Root | CertificateRole::TrustAnchor => {
            "Replace the trust anchor with its renewed certificate (tlsCAFile, or the system's CA certificates)."
        }
    };
    Explanation::new(
        CauseCode::CertificateExpired,
        format!("{} expired at {at}", rejection.certificate_name()),
        remedy,
    )
}

fn not_yet_valid(rejection: &ChainRejection) -> Explanation {
    let from = rfc3339(rejection.certificate.not_before);
    let now = rfc3339(rejection.checked_at);
    Explanation::new(
        CauseCode::CertificateNotYetValid,
        format!(
            "{} is valid only from {from} on; this host's clock says {now}",
            rejection.certificate_name()
        ),
        "Compare this host's clock with the true time; if it is right, wait or have the certificate issued with an earlier start.",
    )
}

fn distrusted_anchor(rejection: &ChainRejection) -> Explanation {
    Explanation::new(
        CauseCode::UntrustedRoot,
        format!(
            "the chain ends in {}, which is not a trust anchor: its trust settings (BEGIN TRUSTED CERTIFICATE) do not allow serverAuth",
            Quoted(&rejection.certificate.subject)
        ),
        format!(
            "If that CA is to be trusted for servers, put its certificate without trust settings into the file of tlsCAFile: `openssl x509 -in FILE -out ca.pem`; {} is in use now.",
            rejection.anchors
        ),
    )
}

fn name_constraint(rejection: &ChainRejection, constrained_by: Option<&str>) -> Explanation {
    let ca = constrained_by.map_or("a CA above it".to_owned(), |ca| {
        format!("the CA {}", Quoted(ca))
    });
    Explanation::new(
        CauseCode::InvalidCa,
        format!(
            "{ca} is not allowed to issue for the names of {}: {}",
            rejection.certificate_name(),
            rejection.openssl
        ),
        format!(
            "Have the certificate issued for names within the name constraints of {ca}, or by another CA."
        ),
    )
    .fact_opt("constrained_by", constrained_by)
}

/// RFC 5280 §4.2: a certificate with an unknown critical extension must be rejected.
fn unknown_extension(rejection: &ChainRejection) -> Explanation {
    let code = match rejection.depth {
        0 => CauseCode::WrongPurpose,
        _ => CauseCode::InvalidCa,
    };
    Explanation::new(
        code,
        format!(
            "{} holds a critical extension that OpenSSL does not know",
            rejection.certificate_name()
        ),
        "Have the certificate issued without that extension, or with one that is not marked critical; `openssl x509 -noout -text` shows it.",
    )
}

fn wrong_purpose(rejection: &ChainRejection) -> Explanation {
    let certificate = &rejection.certificate;
    let only = |purposes: &[String]| match purposes {
        [] => "allows nothing".to_owned(),
        purposes => format!("allows {} and not serverAuth", purposes.join(", ")),
    };
    let extended = certificate.extended_key_usage.as_deref();
    let extended = extended.filter(|_| !certificate.allows_server_auth);
    let (why, remedy) = match (rejection.depth, extended, &certificate.key_usage) {
        (0, Some(purposes), _) => (
            format!("its extended key usage {}", only(purposes)),
            "Have a certificate issued for the server with the extended key usage serverAuth.",
        ),
        (0, None, Some(usage)) => (
            format!("its key usage allows {} alone", usage.join(", ")),
            "Have a certificate issued for the server with the key usage digitalSignature.",
        ),
        (0, None, None) => (
            rejection.openssl.to_owned(),
            "Have a certificate issued with the extended key usage serverAuth and the key usage digitalSignature.",
        ),
        (_, Some(purposes), _) => (
            format!("its extended key usage {}", only(purposes)),
            "Have the server's certificate issued by a CA whose extended key usage allows serverAuth, or that has no extended key usage.",
        ),
        (_, None, _) => (
            rejection.openssl.to_owned(),
            "Have the server's certificate issued by a CA that is allowed to issue certificates for TLS servers.",
        ),
    };
    let may_not = match rejection.depth {
        0 => "is not meant for a TLS server",
        _ => "is not allowed to issue certificates for TLS servers",
    };
    Explanation::new(
        CauseCode::WrongPurpose,
        format!("{} {may_not}: {why}", rejection.certificate_name()),
        remedy,
    )
}

fn invalid_ca(rejection: &ChainRejection, fault: CaFault) -> Explanation {
    let remedy = match (fault, rejection.role) {
        (CaFault::PathLengthExceeded, _) => format!(
            "Have the CA certificate {} issued again with a greater path length in its basic constraints. Or let this CA issue the server's certificate itself.",
            Quoted(&rejection.certificate.subject)
        ),
        (CaFault::ChainTooLong, _) => {
            "Have the server's certificate issued by a CA that is nearer to the root.".to_owned()
        }
        (CaFault::NotAllowed, CertificateRole::TrustAnchor) => format!(
            "Set tlsCAFile to the certificate of a CA, with CA:TRUE in its basic constraints and keyCertSign in its key usage; {} is in use now.",
            rejection.anchors
        ),
        (CaFault::NotAllowed, _) => {
            "Have the certificates issued by a CA whose basic constraints, key usage and name constraints allow it.".to_owned()
        }
    };
    Explanation::new(
        CauseCode::InvalidCa,
        format!(
            "{} is not allowed to sign the certificate below it: {}",
            rejection.certificate_name(),
            rejection.openssl
        ),
        remedy,
    )
}

fn undecodable_signature(rejection: &ChainRejection) -> Explanation {
    Explanation::new(
        CauseCode::SignatureInvalid,
        format!(
            "{} cannot check the signature of {} ({}): {}",
            rejection.openssl_version,
            rejection.certificate_name(),
            rejection.certificate.signature_algorithm,
            rejection.openssl
        ),
        format!(
            "Have the certificate issued again by a CA whose key type and signature algorithm this OpenSSL supports. Or use an OpenSSL that supports those of the CA {}.",
            Quoted(&rejection.certificate.issuer)
        ),
    )
}

fn explicit_curve(rejection: &ChainRejection) -> Explanation {
    Explanation::new(
        CauseCode::KeyTooWeak,
        format!(
            "{} does not accept the key of {}: it contains the parameters of its elliptic curve instead of the name of the curve, which a certificate must have",
            rejection.openssl_version,
            rejection.certificate_name()
        ),
        format!(
            "Have the certificate of {} issued for a key on a named curve (`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve`).",
            Quoted(&rejection.certificate.subject)
        ),
    )
}

fn weak_key(
    rejection: &ChainRejection,
    security_bits: Option<u32>,
    level: &SecurityLevel,
) -> Explanation {
    let (who, certificate) = (rejection.certificate_name(), &rejection.certificate);
    let explanation = match security_bits {
        Some(bits) => Explanation::new(
            CauseCode::KeyTooWeak,
            format!(
                "the key of {who} is too weak: {}",
                level.weak_key(&certificate.key, bits)
            ),
            level.stronger_key(&certificate.subject, bits),
        )
        .fact("key_security_bits", bits),
        // OpenSSL reports a key that it cannot read as too weak.
        None => Explanation::new(
            CauseCode::KeyTooWeak,
            format!(
                "{} cannot use the key of {who}: it does not know its kind, or the key is malformed",
                rejection.openssl_version
            ),
            format!(
                "Have the certificate of {} issued for a key of {} or stronger.",
                Quoted(&certificate.subject),
                level.good_keys()
            ),
        ),
    };
    explanation
        .fact("key", certificate.key.as_str())
        .fact("security_level", level.level)
}

fn weak_digest(rejection: &ChainRejection, level: &SecurityLevel) -> Explanation {
    let certificate = &rejection.certificate;
    let algorithm = certificate.signature_algorithm.as_str();
    Explanation::new(
        CauseCode::DigestTooWeak,
        format!(
            "the signature of {} uses a digest that is too weak: {}",
            rejection.certificate_name(),
            level.weak_digest(algorithm)
        ),
        level.stronger_digest(&certificate.subject),
    )
    .fact("signature_algorithm", algorithm)
    .fact("security_level", level.level)
}

/// The expected name as a subject alternative name, in the form of OpenSSL's configuration.
fn needed_name(expected: &ServerName) -> String {
    let kind = match expected {
        ServerName::Ip(_) => NameKind::Ip,
        ServerName::Dns(_) => NameKind::Dns,
    };
    format!("{}:{expected}", kind.prefix())
}

fn no_subject_alt_name(rejection: &ChainRejection, mismatch: &NameMismatch) -> Explanation {
    let common_name = rejection.certificate.short_name();
    let near = mismatch.near_misses.iter().map(|near| format!("; {near}"));
    Explanation::new(
        CauseCode::NoSubjectAltName,
        format!(
            "{} names no host and no IP address among its subject alternative names; its common name {} is not compared{}",
            rejection.certificate_name(),
            Quoted(common_name),
            near.collect::<String>()
        ),
        format!(
            "Have a certificate issued with the subject alternative name {}.",
            needed_name(&mismatch.expected)
        ),
    )
    .fact("common_name", common_name)
    .fact("expected_name", mismatch.expected.to_string())
    .fact("presented_names", rejection.certificate.presented_names())
}

fn name_mismatch(rejection: &ChainRejection, mismatch: &NameMismatch) -> Explanation {
    let expected = &mismatch.expected;
    let (code, kind) = match expected {
        ServerName::Ip(_) => (CauseCode::IpAddressMismatch, "the IP address"),
        ServerName::Dns(_) => (CauseCode::HostnameMismatch, "the host name"),
    };
    let near_misses: Vec<_> = mismatch
        .near_misses
        .iter()
        .map(ToString::to_string)
        .collect();
    let near: String = near_misses.iter().map(|near| format!("; {near}")).collect();
    let needed = needed_name(expected);
    let remedy = match mismatch.has_usable_name {
        true => format!(
            "Connect by a name that the certificate holds, or have one issued with the subject alternative name {needed}."
        ),
        false => format!("Have a certificate issued with the subject alternative name {needed}."),
    };
    Explanation::new(
        code,
        format!(
            "the certificate does not hold {kind} {}; it holds {}{near}",
            Quoted(expected),
            names::list(&mismatch.presented)
        ),
        remedy,
    )
    .fact("expected_name", expected.to_string())
    .fact("presented_names", rejection.certificate.presented_names())
    .fact_opt(
        "near_misses",
        (!near_misses.is_empty()).then_some(near_misses),
    )
}
