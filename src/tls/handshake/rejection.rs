//! Converts a failed verification to its reason: the certificate at fault, and the data that explains the fault.
//!
//! OpenSSL rejects a chain with one of about eighty numbers (`X509_V_ERR_*`). Each is mapped to a [`ChainFault`], and
//! the data of the certificate, its position in the chain, its issuers and its CRLs is added.

use std::time::SystemTime;

use openssl::x509::{X509, X509CrlRef, X509Ref};

use crate::data::certificate::CertificateRole;
use crate::data::certificate::{Certificate, TrustAnchors};
use crate::ffi::openssl as ffi;
use crate::options::ProtocolOptions;
use crate::reason::certificate::{
    CaFault, CertificateFailure, ChainFault, ChainRejection, NameMismatch, Namesake,
    NamesakeOrigin, PresentedName, SecurityLevel, ServerName, UnknownIssuer,
};
use crate::reason::revocation::{CrlFault, CrlFaultKind, CrlMismatch};
use crate::tls::certificate::spki_pin;
use crate::tls::config::crl::Crls;
use crate::tls::config::crl_scope;
use crate::tls::handshake::verify::VerifyError;
use crate::tls::handshake::{issuer, names, verify_result as result};
use crate::tls::library::openssl_version;

/// The rules by which the server's chain was verified.
pub(crate) struct Rules<'a> {
    pub(crate) name: &'a ServerName,
    pub(crate) anchors: &'a TrustAnchors,
    pub(crate) crls: &'a Crls,
    pub(crate) protocol: &'a ProtocolOptions,
    /// The security level of the connection.
    pub(crate) level: u32,
    pub(crate) now: SystemTime,
}

/// Returns the reason why the verification rejected the server's chain.
pub(crate) fn rejected_chain(error: &VerifyError, rules: &Rules<'_>) -> CertificateFailure {
    let openssl = error.result.error_string();
    let Some(certificate) = error.certificate.as_deref() else {
        return CertificateFailure::Unlocated { openssl };
    };
    let facts = Certificate::of(certificate);
    let case = RejectedChain {
        error,
        rules,
        certificate,
        facts: &facts,
    };
    let (fault, role) = (case.fault(), case.role());
    let sent = error.sent.iter();
    CertificateFailure::Chain(Box::new(ChainRejection {
        fault,
        certificate: facts,
        depth: error.depth,
        role,
        sent: sent.map(|sent| Certificate::of(sent)).collect(),
        anchors: rules.anchors.clone(),
        openssl,
        openssl_version: openssl_version(),
        checked_at: rules.now,
    }))
}

/// One rejected chain, with all data about it.
struct RejectedChain<'a> {
    error: &'a VerifyError,
    rules: &'a Rules<'a>,
    /// The certificate at fault.
    certificate: &'a X509Ref,
    /// The contents of that certificate.
    facts: &'a Certificate,
}

impl RejectedChain<'_> {
    fn fault(&self) -> ChainFault {
        let code = self.error.result.as_raw();
        match code {
            result::HAS_EXPIRED => ChainFault::Expired,
            result::NOT_YET_VALID => ChainFault::NotYetValid,
            result::NO_ISSUER | result::NO_LOCAL_ISSUER | result::NO_LEAF_SIGNATURE => {
                self.unknown_issuer()
            }
            result::SELF_SIGNED_LEAF => ChainFault::SelfSigned {
                namesakes: self.namesakes(),
            },
            result::SELF_SIGNED_IN_CHAIN => self.untrusted_root(),
            result::HOSTNAME_MISMATCH | result::IP_MISMATCH => self.name_mismatch(),
            result::UNTRUSTED | result::REJECTED if self.error.depth >= self.error.trusted_from => {
                ChainFault::DistrustedAnchor
            }
            result::INVALID_PURPOSE | result::UNTRUSTED | result::REJECTED => {
                ChainFault::WrongPurpose
            }
            result::UNKNOWN_EXTENSION => ChainFault::UnknownExtension,
            code if result::NAME_CONSTRAINTS.contains(&code) => ChainFault::NameConstraint {
                constrained_by: self.constrained_by(),
            },
            code if result::INVALID_CA.contains(&code) => ChainFault::InvalidCa(match code {
                result::PATH_LENGTH_EXCEEDED => CaFault::PathLengthExceeded,
                result::CHAIN_TOO_LONG => CaFault::ChainTooLong,
                _ => CaFault::NotAllowed,
            }),
            result::SIGNATURE_FAILURE => self.bad_signature(),
            result::EE_KEY_TOO_SMALL | result::CA_KEY_TOO_SMALL => {
                let key = self.certificate.public_key().ok();
                ChainFault::WeakKey {
                    security_bits: key.map(|key| key.security_bits()),
                    level: self.level(),
                }
            }
            result::DIGEST_TOO_WEAK => ChainFault::WeakDigest {
                level: self.level(),
            },
            result::EXPLICIT_CURVE => ChainFault::ExplicitCurve,
            result::UNDECODABLE_SIGNATURE | result::UNDECODABLE_ISSUER_KEY => {
                ChainFault::UndecodableSignature
            }
            result::PIN_MISMATCH => ChainFault::PinMismatch {
                presented: self.presented_pins(),
            },
            _ => self.crl_fault().map_or(ChainFault::Other, |kind| {
                ChainFault::Crl(Box::new(CrlFault {
                    kind,
                    entry: self.error.crl.clone(),
                    files: self.crl_files(),
                    option: self.crl_option(),
                }))
            }),
        }
    }

    /// The certificate's position in the chain, in the terms of RFC 5280.
    fn role(&self) -> CertificateRole {
        let last = u32::try_from(self.error.chain.len().saturating_sub(1)).unwrap_or(u32::MAX);
        match self.error.depth {
            0 => CertificateRole::EndEntity,
            depth if depth >= self.error.trusted_from => CertificateRole::TrustAnchor,
            depth if depth == last && self.facts.self_issued => CertificateRole::Root,
            _ => CertificateRole::Intermediate,
        }
    }

    /// The subject of the CA whose name constraints a name breaks. OpenSSL reports the certificate with the name.
    fn constrained_by(&self) -> Option<String> {
        let above = self.error.chain.iter().zip(0..);
        above
            .filter(|(_, depth)| *depth > self.error.depth)
            .find(|(certificate, _)| ffi::has_name_constraints(certificate))
            .map(|(certificate, _)| ffi::name_text(certificate.subject_name()))
    }

    fn unknown_issuer(&self) -> ChainFault {
        let namesakes = self.namesakes();
        let below = namesakes.is_empty().then(|| self.namesake_below());
        let mut sent = self.error.sent.iter();
        ChainFault::IssuerUnknown(UnknownIssuer {
            below: below.flatten().map(Box::new),
            namesakes,
            has_gap: sent.any(|sent| !self.error.chain.contains(sent) && ffi::is_ca(sent)),
        })
    }

    /// The certificates that have the name of the issuer of the certificate at fault: the trust anchors first, then
    /// those that the server sent.
    fn namesakes(&self) -> Vec<Namesake> {
        let anchors = self.error.namesakes.iter();
        let anchors = anchors.map(|anchor| (anchor, NamesakeOrigin::TrustAnchor));
        let sent = self.error.sent.iter();
        let sent = sent.map(|sent| (sent, NamesakeOrigin::SentByServer));
        let mut known: Vec<&X509> = self.error.certificate.iter().collect();
        anchors
            .chain(sent)
            .filter(|(candidate, _)| issuer::is_named_as_issuer(self.certificate, candidate))
            .filter(|(candidate, _)| {
                let is_new = !known.contains(candidate);
                known.push(candidate);
                is_new
            })
            .map(|(candidate, origin)| Namesake::of(self.certificate, candidate, origin))
            .collect()
    }

    /// A trust anchor with the name of a CA lower in the chain, which is not that CA; and the certificate that this CA
    /// issued.
    fn namesake_below(&self) -> Option<(Certificate, Namesake)> {
        let below = self.error.chain.iter();
        below.take(self.error.depth as usize).find_map(|lower| {
            let mut anchors = self.error.namesakes.iter();
            let anchor = anchors.find(|anchor| issuer::is_named_as_issuer(lower, anchor))?;
            let namesake = Namesake::of(lower, anchor, NamesakeOrigin::TrustAnchor);
            Some((Certificate::of(lower), namesake))
        })
    }

    /// OpenSSL found an issuer by its name, but its key does not verify the signature.
    fn bad_signature(&self) -> ChainFault {
        let mut namesakes = self.namesakes();
        // The one that OpenSSL used comes first.
        let taken = self.error.chain.get(self.error.depth as usize + 1);
        let taken = taken.map(|taken| Certificate::of(taken).sha256_fingerprint);
        namesakes.sort_by_key(|namesake| {
            Some(&namesake.certificate.sha256_fingerprint) != taken.as_ref()
        });
        ChainFault::BadSignature { namesakes }
    }

    fn untrusted_root(&self) -> ChainFault {
        let namesakes = self.namesakes();
        let mut anchors = self.error.namesakes.iter();
        let anchor = anchors.find(|anchor| {
            issuer::is_named_as_issuer(self.certificate, anchor)
                && Some(*anchor) != self.error.certificate.as_ref()
        });
        let anchor = anchor.map(|anchor| {
            // The certificate that the root has signed is more informative than the root itself.
            let below = self.error.depth.checked_sub(1);
            let below = below.and_then(|depth| self.error.chain.get(depth as usize));
            let below = below.map_or(self.certificate, |below| below);
            Box::new(Namesake::of(below, anchor, NamesakeOrigin::TrustAnchor))
        });
        ChainFault::UntrustedRoot { namesakes, anchor }
    }

    fn level(&self) -> SecurityLevel {
        SecurityLevel::new(self.rules.level, self.rules.protocol)
    }

    fn name_mismatch(&self) -> ChainFault {
        let presented = PresentedName::of(self.certificate);
        let mut kinds = presented.iter();
        let is_compared =
            kinds.any(|name| matches!(name, PresentedName::Dns(_) | PresentedName::Ip(_)));
        let common_name = is_compared.then(|| self.facts.short_name());
        let mismatch = NameMismatch {
            expected: self.rules.name.clone(),
            has_usable_name: presented.iter().any(PresentedName::is_usable),
            near_misses: names::near_misses(self.rules.name, &presented, common_name),
            presented,
        };
        match is_compared {
            true => ChainFault::NameMismatch(mismatch),
            false => ChainFault::NoSubjectAltName(mismatch),
        }
    }

    fn presented_pins(&self) -> Vec<String> {
        let chain = self.error.chain.iter();
        let pins = chain.filter_map(|certificate| spki_pin(certificate));
        pins.map(|pin| pin.to_string()).collect()
    }

    /// The reason why the check against the CRLs failed, if it did.
    fn crl_fault(&self) -> Option<CrlFaultKind> {
        let has_next_update = || {
            let entry = self.error.crl.as_ref();
            entry.is_some_and(|entry| entry.next_update.is_some())
        };
        Some(match self.error.result.as_raw() {
            _ if self.is_revoked() => CrlFaultKind::Revoked,
            result::NO_CRL => self.no_crl(),
            result::CRL_EXPIRED if has_next_update() => CrlFaultKind::Expired,
            result::CRL_EXPIRED => CrlFaultKind::TooOld,
            result::CRL_NOT_YET_VALID => CrlFaultKind::NotYetValid,
            result::DIFFERENT_SCOPE => CrlFaultKind::NotApplicable(self.mismatches()),
            code if result::CRL_INVALID.contains(&code) => CrlFaultKind::Invalid,
            _ => return None,
        })
    }

    /// Returns whether a CRL lists the certificate. OpenSSL finds no CRL for a trust anchor, because its issuer is
    /// not in the chain.
    fn is_revoked(&self) -> bool {
        self.error.result.as_raw() == result::REVOKED
            || (result::misses_crl(self.error.result)
                && self.role() == CertificateRole::TrustAnchor
                && self.rules.crls.list(self.certificate))
    }

    /// OpenSSL reports that there is no CRL even if there is one that it does not consider.
    fn no_crl(&self) -> CrlFaultKind {
        let crls = self.rules.crls;
        if crls.of(&self.facts.issuer).next().is_some() {
            return CrlFaultKind::NotApplicable(self.mismatches());
        }
        let indirect = crls
            .all()
            .find(|list| crl_scope::scope(&list.crl).is_indirect);
        CrlFaultKind::Missing {
            issuers: crls.issuers(),
            indirect: indirect.map(|list| ffi::name_text(list.crl.issuer_name())),
        }
    }

    /// The distinct reasons why the CRLs of the issuer do not cover the certificate.
    fn mismatches(&self) -> Vec<CrlMismatch> {
        let mut mismatches: Vec<CrlMismatch> = Vec::new();
        for list in self.rules.crls.of(&self.facts.issuer) {
            let mismatch = self.mismatch(&list.crl);
            if !mismatches.contains(&mismatch) {
                mismatches.push(mismatch);
            }
        }
        mismatches
    }

    /// Returns why a CRL of the issuer does not cover the certificate.
    fn mismatch(&self, crl: &X509CrlRef) -> CrlMismatch {
        let of_scope = crl_scope::mismatch(&crl_scope::scope(crl), self.certificate);
        let above = usize::try_from(self.error.depth)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        let issuer = self.error.chain.get(above);
        let key = issuer.and_then(|issuer| issuer.public_key().ok());
        let is_signed = key.is_some_and(|key| crl.verify(&key).unwrap_or(false));
        of_scope.unwrap_or_else(|| match is_signed {
            false => CrlMismatch::OtherKey,
            true => CrlMismatch::Other(self.error.result.error_string()),
        })
    }

    /// The option that names the CRL of the issuer.
    fn crl_option(&self) -> &'static str {
        let own = self.rules.crls.of(&self.facts.issuer).next();
        own.map_or("tlsCRLFile", |list| list.option)
    }

    /// The files with a CRL of the issuer, or all files with CRLs if none of them has one.
    fn crl_files(&self) -> Vec<String> {
        let own: Vec<_> = self.rules.crls.of(&self.facts.issuer).collect();
        let files = if own.is_empty() {
            self.rules.crls.all().collect()
        } else {
            own
        };
        let mut paths: Vec<_> = files.iter().map(|list| list.path.clone()).collect();
        paths.dedup();
        paths
    }
}
