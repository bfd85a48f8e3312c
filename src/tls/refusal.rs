//! From a refused chain to its cause: which certificate, which date, which name, and what to change.
//!
//! OpenSSL refuses a chain with one of some eighty numbers (`X509_V_ERR_*`); each is mapped to the code
//! of the contract, and the certificate, its place in the chain and the CRL behind it are added.

use std::time::SystemTime;

use super::crl::Crls;
use super::verify::{Refusal, spki_pin};
use super::{Certificate, ServerName, TrustAnchors, ffi};
use crate::cause::{Category, Cause, CauseCode};
use crate::time::rfc3339;

/// Why our verification refused the server's chain.
pub(super) fn refused_chain(
    refusal: &Refusal,
    name: &ServerName,
    anchors: &TrustAnchors,
    crls: &Crls,
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
        crls,
        now,
    };
    let mut cause = case.explain();
    if cause.category() == Category::Revocation {
        if let Some(crl) = &refusal.crl {
            cause = cause
                .fact_opt("revoked_at", crl.revoked_at)
                .fact_opt("reason", crl.reason)
                .fact("this_update", crl.this_update)
                .fact_opt("next_update", crl.next_update);
        }
        cause = cause.fact("crl_files", case.crl_files());
    }
    let sent: Vec<_> = refusal
        .sent
        .iter()
        .map(|cert| Certificate::from(&**cert))
        .collect();
    let dates = sent.iter().map(|cert| {
        let (from, until) = (rfc3339(cert.not_before), rfc3339(cert.not_after));
        format!("{from} to {until}: {}", cert.subject)
    });
    let dates = dates.collect::<Vec<_>>();
    let subjects: Vec<_> = sent.into_iter().map(|cert| cert.subject).collect();
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
        .fact("sent_certificates", subjects)
        .fact("sent_validity", dates)
        .fact("trust_anchors", anchors.to_string())
        .fact("openssl", refusal.result.error_string())
}

/// The server sent no certificate, or OpenSSL did not verify the one that it sent: an anonymous cipher
/// suite does that where the system's configuration allows it.
pub(super) fn unauthenticated(cipher: &str) -> Cause {
    Cause::new(
        CauseCode::IssuerUnknown,
        format!("the server did not prove who it is: the cipher suite {cipher} needs no certificate"),
        "Remove anonymous cipher suites (aNULL) from the settings of the server, and from the CipherString in this host's openssl.cnf.",
    )
    .fact("cipher", cipher)
}

const GENERAL_REMEDY: &str =
    "Have the CA issue a new certificate; `openssl verify` with the same files tells more.";

/// One refused chain, with all that is known about it.
struct Case<'a> {
    refusal: &'a Refusal,
    certificate: &'a Certificate,
    name: &'a ServerName,
    anchors: &'a TrustAnchors,
    crls: &'a Crls,
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
            verify::UNKNOWN_EXTENSION => self.unknown_extension(),
            code if verify::NAME_CONSTRAINTS.contains(&code) => self.constrained(),
            code if verify::INVALID_CA.contains(&code) => Cause::new(
                Code::InvalidCa,
                format!("{who} may not sign the certificate below it: {text}"),
                "Have the certificates issued by a CA whose basic constraints, key usage and name constraints allow it.",
            ),
            verify::SIGNATURE_FAILURE => Cause::new(
                Code::SignatureInvalid,
                format!("{who} does not verify: {text}"),
                format!(
                    "Look for another CA named {:?} with another key: that of the trust anchors ({}) must be the one that signed. Otherwise have the CA issue a new certificate.",
                    self.certificate.issuer, self.anchors
                ),
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
            verify::NO_CRL => self.no_crl(),
            verify::CRL_EXPIRED => Cause::new(
                Code::CrlExpired,
                format!(
                    "the CRL of {:?} is past its nextUpdate{}",
                    self.certificate.issuer,
                    self.next_update()
                ),
                "Fetch the current CRL of that issuer into the file of tlsCRLFile, and do so before each nextUpdate.",
            ),
            verify::PIN_MISMATCH => self.pin_mismatch(),
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

    /// A name breaks the constraints of a CA above. OpenSSL blames the certificate with the name.
    fn constrained(&self) -> Cause {
        let text = self.refusal.result.error_string();
        let above = self.refusal.chain.iter().zip(0..);
        let by = above
            .filter(|(_, depth)| *depth > self.refusal.depth)
            .find(|(certificate, _)| ffi::has_name_constraints(certificate))
            .map(|(certificate, _)| Certificate::from(&**certificate).subject);
        let ca = by
            .as_ref()
            .map_or("a CA above it".to_owned(), |by| format!("the CA {by:?}"));
        Cause::new(
            CauseCode::InvalidCa,
            format!("{ca} may not issue for the names of {}: {text}", self.who()),
            format!("Have the certificate issued for names within the name constraints of {ca}, or by another CA."),
        )
        .fact_opt("constrained_by", by)
    }

    /// What is critical and not understood must be refused (RFC 5280 §4.2).
    fn unknown_extension(&self) -> Cause {
        let code = match self.refusal.depth {
            0 => CauseCode::WrongPurpose,
            _ => CauseCode::InvalidCa,
        };
        Cause::new(
            code,
            format!(
                "{} holds a critical extension that OpenSSL does not know",
                self.who()
            ),
            "Have the certificate issued without that extension, or with one that is not marked critical; `openssl x509 -noout -text` shows it.",
        )
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
        Cause::new(
            CauseCode::IssuerUnknown,
            format!("no trust anchor for {}: its issuer {issuer:?} is neither a trust anchor nor sent by the server", self.who()),
            remedy,
        )
        .fact("missing_issuer", issuer.as_str())
        .fact("sent_only_end_entity", only_end_entity)
    }

    fn name_mismatch(&self) -> Cause {
        let presented = self.certificate.presented_names();
        let asked = self.name.to_string();
        let common_name = self.certificate.short_name();
        let cause = if presented.is_empty() {
            Cause::new(
                CauseCode::NoSubjectAltName,
                format!("{} names no host and no IP address among its subject alternative names; its common name {common_name:?} is not compared", self.who()),
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

    /// OpenSSL says that there is no CRL also where there is one that it does not consider.
    fn no_crl(&self) -> Cause {
        let issuer = &self.certificate.issuer;
        if self.crls.of(issuer).next().is_some() {
            return Cause::new(
                CauseCode::CrlInvalid,
                format!(
                    "the CRL of {issuer:?} does not serve to check {}: it is signed with another key of that CA, or is an indirect one, or one for some reasons only",
                    self.who()
                ),
                "Give the full CRL that the CA signs with its present key in the file of tlsCRLFile.",
            );
        }
        Cause::new(
            CauseCode::CrlMissing,
            format!("no CRL of {issuer:?} is there to check {}", self.who()),
            "Add the CRL of that issuer to the file of tlsCRLFile.",
        )
        .fact("crl_issuers", self.crls.issuers())
    }

    /// The files with a CRL of the issuer in question; all where none of them has one.
    fn crl_files(&self) -> Vec<String> {
        let own: Vec<_> = self.crls.of(&self.certificate.issuer).collect();
        let files = if own.is_empty() {
            self.crls.all().collect()
        } else {
            own
        };
        let mut paths: Vec<_> = files.iter().map(|list| list.path.clone()).collect();
        paths.dedup();
        paths
    }

    fn pin_mismatch(&self) -> Cause {
        let chain = self.refusal.chain.iter();
        let presented: Vec<_> = chain
            .filter_map(|certificate| spki_pin(certificate))
            .map(|pin| pin.to_string())
            .collect();
        Cause::new(
            CauseCode::PinMismatch,
            "none of the public keys in the server's chain is pinned",
            "Find out whether the server or its CA was meant to change its key. If so, pin the new one beside the old one; if not, somebody may stand between this host and the server.",
        )
        .fact("presented_pins", presented)
    }

    /// ` (2026-…)`, where the CRL tells.
    fn next_update(&self) -> String {
        let next_update = self.refusal.crl.as_ref().and_then(|crl| crl.next_update);
        next_update
            .map(|at| format!(" ({})", rfc3339(at)))
            .unwrap_or_default()
    }

    /// The certificate in question, as it stands at the start of a sentence.
    fn who(&self) -> String {
        let name = self.certificate.short_name();
        match self.role() {
            "end entity" => format!("the server's certificate {name:?}"),
            "intermediate" => format!("the intermediate CA {name:?}"),
            "root" => format!("the root CA {name:?}"),
            _ => format!("the trust anchor {name:?}"),
        }
    }

    /// The certificate's place in the chain, in the terms of RFC 5280.
    fn role(&self) -> &'static str {
        let last = u32::try_from(self.refusal.chain.len().saturating_sub(1)).unwrap_or(u32::MAX);
        match self.refusal.depth {
            0 => "end entity",
            depth if depth >= self.refusal.trusted_from => "trust anchor",
            depth if depth == last && self.certificate.self_issued => "root",
            _ => "intermediate",
        }
    }
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
    pub(super) const SIGNATURE_FAILURE: i32 = sys::X509_V_ERR_CERT_SIGNATURE_FAILURE;
    pub(super) const EE_KEY_TOO_SMALL: i32 = sys::X509_V_ERR_EE_KEY_TOO_SMALL;
    pub(super) const CA_KEY_TOO_SMALL: i32 = sys::X509_V_ERR_CA_KEY_TOO_SMALL;
    pub(super) const DIGEST_TOO_WEAK: i32 = sys::X509_V_ERR_CA_MD_TOO_WEAK;
    pub(super) const REVOKED: i32 = sys::X509_V_ERR_CERT_REVOKED;
    pub(super) const NO_CRL: i32 = sys::X509_V_ERR_UNABLE_TO_GET_CRL;
    pub(super) const CRL_EXPIRED: i32 = sys::X509_V_ERR_CRL_HAS_EXPIRED;
    pub(super) const CRL_NOT_YET_VALID: i32 = sys::X509_V_ERR_CRL_NOT_YET_VALID;
    /// Ours, and not OpenSSL's: see `tls/verify.rs`.
    pub(super) const PIN_MISMATCH: i32 = sys::X509_V_ERR_APPLICATION_VERIFICATION;
    pub(super) const UNKNOWN_EXTENSION: i32 = sys::X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION;
    pub(super) const NAME_CONSTRAINTS: [i32; 6] = [
        sys::X509_V_ERR_PERMITTED_VIOLATION,
        sys::X509_V_ERR_EXCLUDED_VIOLATION,
        sys::X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE,
        sys::X509_V_ERR_UNSUPPORTED_NAME_SYNTAX,
        sys::X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX,
        sys::X509_V_ERR_SUBTREE_MINMAX,
    ];
    pub(super) const INVALID_CA: [i32; 5] = [
        sys::X509_V_ERR_INVALID_CA,
        sys::X509_V_ERR_PATH_LENGTH_EXCEEDED,
        sys::X509_V_ERR_KEYUSAGE_NO_CERTSIGN,
        sys::X509_V_ERR_CERT_CHAIN_TOO_LONG,
        sys::X509_V_ERR_INVALID_NON_CA,
    ];
    pub(super) const CRL_INVALID: [i32; 9] = [
        sys::X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE,
        sys::X509_V_ERR_CRL_SIGNATURE_FAILURE,
        sys::X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER,
        sys::X509_V_ERR_KEYUSAGE_NO_CRL_SIGN,
        sys::X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION,
        sys::X509_V_ERR_DIFFERENT_CRL_SCOPE,
        sys::X509_V_ERR_CRL_PATH_VALIDATION_ERROR,
        sys::X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD,
        sys::X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD,
    ];
}
