//! The validation of one OCSP response, and the status of a certificate in it (RFC 6960 §3.2).
//!
//! OpenSSL decodes the response and verifies its signature. Its contents are read only after that. The only trust
//! anchor is the issuer of the certificate in question, as the verification of the chain found it: the issuer signs a
//! response, or a delegate that the issuer certified for this purpose.

use std::time::{Duration, SystemTime};

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::ocsp::{
    OcspBasicResponse, OcspCertId, OcspFlag, OcspRequest, OcspResponse, OcspResponseStatus,
};
use openssl::stack::Stack;
use openssl::x509::X509Ref;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{CrlStatus, X509};

use crate::ffi::openssl::{self as ffi, SingleResponse};
use crate::reason::revocation::{EvidenceResult, OcspFault, OcspStatus};
use crate::tls::certificate::reason_name;
use crate::tls::config::crl::Crls;

/// The largest response: 64 KiB. One with a delegate's certificate has about 2 KiB.
pub(super) const LARGEST: usize = 64 << 10;

/// The largest difference between the responder's clock and this host's: 30 s.
pub(super) const TOLERANCE: Duration = Duration::from_secs(30);

/// The certificate in question, and the one above it in the verified chain.
pub(super) struct OcspSubject<'a> {
    pub(super) certificate: &'a X509Ref,
    pub(super) issuer: &'a X509Ref,
    /// The user's CRLs: a delegate may be revoked as well.
    pub(super) crls: &'a Crls,
    /// The age limit of an answer without `nextUpdate`.
    pub(super) max_age: Duration,
}

/// The status of a certificate by a valid response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OcspAnswer {
    pub(super) status: OcspStatus,
    pub(super) this_update: SystemTime,
    pub(super) next_update: Option<SystemTime>,
}

impl OcspAnswer {
    /// Returns whether the answer is in force for a cache: `thisUpdate ≤ now < nextUpdate`.
    pub(super) fn holds(&self, now: SystemTime) -> bool {
        self.this_update <= now && self.next_update.is_some_and(|end| now < end)
    }

    /// The status as evidence, and the end of the time for which it holds.
    pub(super) fn as_evidence(&self) -> EvidenceResult {
        EvidenceResult::Status(self.status.clone(), self.until())
    }

    /// The end of the time for which a conclusive answer holds, if the response gives one.
    pub(super) fn until(&self) -> Option<SystemTime> {
        self.next_update.filter(|_| self.is_conclusive())
    }

    pub(super) fn is_conclusive(&self) -> bool {
        self.status != OcspStatus::Unknown
    }

    pub(super) fn is_revoked(&self) -> bool {
        matches!(self.status, OcspStatus::Revoked { .. })
    }

    /// Returns whether this is a revocation that `other`, which is not younger, does not cancel.
    pub(super) fn revokes(&self, other: &Self) -> bool {
        self.is_revoked() && !other.is_revoked() && other.this_update <= self.this_update
    }

    /// Returns whether this answer stays in a cache when `other` could replace it. A revocation stays until a younger
    /// answer contradicts it. Of other answers, the one that is valid for longer stays.
    pub(super) fn outlasts(&self, other: &Self) -> bool {
        if self.is_revoked() == other.is_revoked() {
            return self.next_update > other.next_update;
        }
        self.revokes(other) || self.this_update > other.this_update
    }
}

/// The name of the status of a response (RFC 6960 §4.2.1), if it is a known one.
fn status_name(status: OcspResponseStatus) -> Option<&'static str> {
    Some(match status {
        OcspResponseStatus::MALFORMED_REQUEST => "malformedRequest",
        OcspResponseStatus::INTERNAL_ERROR => "internalError",
        OcspResponseStatus::TRY_LATER => "tryLater",
        OcspResponseStatus::SIG_REQUIRED => "sigRequired",
        OcspResponseStatus::UNAUTHORIZED => "unauthorized",
        _ => return None,
    })
}

/// Encodes the request for one certificate. It holds only the CertID, and is also the key in the cache.
pub(super) fn request(subject: &OcspSubject<'_>) -> Result<Vec<u8>, ErrorStack> {
    let mut request = OcspRequest::new()?;
    // RFC 5019 §2.1.1 requires SHA-1: here it names a certificate and protects nothing.
    request.add_id(subject.id(MessageDigest::sha1())?)?;
    request.to_der()
}

/// Returns the status of a certificate by a response, if the response is valid at `now`.
pub(super) fn validate(
    der: &[u8],
    subject: &OcspSubject<'_>,
    now: SystemTime,
) -> Result<OcspAnswer, OcspFault> {
    let outcome = validate_with_leftovers(der, subject, now);
    // The reason is in the result. An error that stays in OpenSSL's queue would look like a failure of the handshake.
    drop(ErrorStack::get());
    outcome
}

fn validate_with_leftovers(
    der: &[u8],
    subject: &OcspSubject<'_>,
    now: SystemTime,
) -> Result<OcspAnswer, OcspFault> {
    if der.len() > LARGEST {
        return Err(OcspFault::TooLarge {
            size: der.len(),
            limit: LARGEST,
        });
    }
    let response = OcspResponse::from_der(der).map_err(|_| OcspFault::Malformed)?;
    // OpenSSL reads one value and ignores the bytes after it.
    if response.to_der().is_ok_and(|whole| whole.len() < der.len()) {
        return Err(OcspFault::TrailingData);
    }
    if response.status() != OcspResponseStatus::SUCCESSFUL {
        return Err(OcspFault::NotSuccessful(status_name(response.status())));
    }
    let basic = response.basic().map_err(|_| OcspFault::Malformed)?;
    subject.verify(&basic)?;
    if ffi::has_critical_extension(&basic) {
        return Err(OcspFault::CriticalExtension);
    }
    let produced_at = ffi::produced_at(&basic).filter(|at| *at > now + TOLERANCE);
    if let Some(at) = produced_at {
        return Err(OcspFault::NotYetProduced(at));
    }
    let ids = subject
        .ids()
        .map_err(|error| OcspFault::Signature(innermost_reason(&error)))?;
    let answers = ffi::single_responses(&basic, &ids);
    let answers = answers.into_iter().filter(|answer| answer.is_requested);
    choose(answers.map(|answer| read(&answer, now, subject.max_age)))
}

impl OcspSubject<'_> {
    fn id(&self, digest: MessageDigest) -> Result<OcspCertId, ErrorStack> {
        OcspCertId::from_cert(digest, self.certificate, self.issuer)
    }

    /// The CertIDs that a response may use for the certificate.
    fn ids(&self) -> Result<Vec<OcspCertId>, ErrorStack> {
        [
            MessageDigest::sha1(),
            MessageDigest::sha256(),
            MessageDigest::sha384(),
            MessageDigest::sha512(),
        ]
        .into_iter()
        .map(|digest| self.id(digest))
        .collect()
    }

    /// Verifies the signature, and that the signer may sign for the issuer (RFC 6960 §4.2.2.2).
    fn verify(&self, basic: &OcspBasicResponse) -> Result<(), OcspFault> {
        let refused = |error: ErrorStack| OcspFault::Signature(innermost_reason(&error));
        let store = self.anchor().map_err(refused)?;
        let mut certificates = Stack::new().map_err(refused)?;
        certificates.push(self.issuer.to_owned()).map_err(refused)?;
        // NO_EXPLICIT: only the issuer authorizes a delegate, and not a setting of the anchor.
        basic
            .verify(&certificates, &store, OcspFlag::NO_EXPLICIT)
            .map_err(refused)?;
        match ffi::signer(basic, &certificates) {
            Some(signer) if self.is_revoked(&signer) => Err(OcspFault::DelegateRevoked),
            Some(_) => Ok(()),
            None => Err(OcspFault::SignerMissing),
        }
    }

    /// The issuer as the only trust anchor, even if it is an intermediate CA.
    fn anchor(&self) -> Result<X509Store, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        store.add_cert(self.issuer.to_owned())?;
        Ok(store.build())
    }

    /// Returns whether one of the user's CRLs lists a delegate. The check is skipped if the delegate's certificate
    /// permits that (id-pkix-ocsp-nocheck, RFC 6960 §4.2.2.2.1).
    fn is_revoked(&self, signer: &X509) -> bool {
        if self.crls.count() == 0 || ffi::has_ocsp_no_check(signer) {
            return false;
        }
        let Ok(key) = self.issuer.public_key() else {
            return true;
        };
        let issuer = ffi::name_text(self.issuer.subject_name());
        self.crls
            .of(&issuer)
            .filter(|list| list.crl.verify(&key).unwrap_or(false))
            .any(|list| matches!(list.crl.get_by_cert(signer), CrlStatus::Revoked(_)))
    }
}

/// The innermost of OpenSSL's reasons.
fn innermost_reason(error: &ErrorStack) -> Option<String> {
    let reasons = error.errors().iter();
    let reason = reasons.filter_map(|entry| entry.reason()).next_back();
    reason.map(str::to_owned)
}

/// Decodes one answer about the certificate, if it is in force.
fn read(
    single: &SingleResponse,
    now: SystemTime,
    max_age: Duration,
) -> Result<OcspAnswer, OcspFault> {
    const GOOD: i32 = 0;
    const REVOKED: i32 = 1;
    if single.has_critical_extension {
        return Err(OcspFault::CriticalExtension);
    }
    // OpenSSL reports a time that it cannot read as 1970.
    let this_update = single.this_update;
    let this_update = this_update.filter(|at| *at != SystemTime::UNIX_EPOCH);
    let this_update = this_update.ok_or(OcspFault::NoTimes)?;
    if this_update > now + TOLERANCE {
        return Err(OcspFault::NotYetValid(this_update));
    }
    if let Some(next_update) = single.next_update {
        if next_update + TOLERANCE <= now || next_update < this_update {
            return Err(OcspFault::OutOfDate(next_update));
        }
    }
    // RFC 6960 §4.2.2.1: newer information is always available then. A revocation remains valid.
    let age = now.duration_since(this_update).unwrap_or_default();
    let is_too_old = age.checked_sub(TOLERANCE).is_some_and(|age| age > max_age);
    if single.next_update.is_none() && is_too_old && single.status != REVOKED {
        return Err(OcspFault::TooOld {
            this_update,
            max_age,
        });
    }
    let status = match single.status {
        GOOD => OcspStatus::Good,
        REVOKED => OcspStatus::Revoked {
            at: single.revoked_at,
            reason: reason_name(i64::from(single.reason)),
        },
        _ => OcspStatus::Unknown,
    };
    Ok(OcspAnswer {
        status,
        this_update,
        next_update: single.next_update,
    })
}

/// Selects from several answers about one certificate: a revocation, or else the freshest conclusive answer.
fn choose(
    answers: impl Iterator<Item = Result<OcspAnswer, OcspFault>>,
) -> Result<OcspAnswer, OcspFault> {
    let rank = |answer: &OcspAnswer| {
        let kind = match answer.status {
            OcspStatus::Unknown => 0,
            OcspStatus::Good => 1,
            OcspStatus::Revoked { .. } => 2,
        };
        (kind, answer.this_update)
    };
    let (mut best, mut fault) = (None::<OcspAnswer>, None);
    for answer in answers {
        match answer {
            Ok(answer) if best.as_ref().is_none_or(|best| rank(best) < rank(&answer)) => {
                best = Some(answer);
            }
            Ok(_) => {}
            Err(invalid) => fault = Some(invalid),
        }
    }
    best.ok_or(fault.unwrap_or(OcspFault::OtherCertificate))
}

#[cfg(test)]
mod tests {
    use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
    use mongotls_testbench::random::{Random, rounds};

    use super::*;

    #[test]
    fn a_response_larger_than_any_is_not_looked_at() {
        let ca = Ca::root("ca", KeyKind::EcP256);
        let leaf = ca.issue(LeafSpec::local_server());
        let crls = Crls::default();
        let subject = OcspSubject {
            certificate: &leaf.cert,
            issuer: ca.cert(),
            crls: &crls,
            max_age: Duration::from_secs(86_400),
        };
        let spec = ca.ocsp(&leaf.cert);
        let now = SystemTime::now();
        let allowed = spec.clone().nonce(&[7; 60 << 10]).build();
        assert_eq!(
            validate(&allowed, &subject, now).unwrap().status,
            OcspStatus::Good
        );
        let large = spec.nonce(&[7; 65 << 10]).build();
        let size = large.len();
        assert_eq!(
            validate(&large, &subject, now),
            Err(OcspFault::TooLarge {
                size,
                limit: LARGEST
            })
        );
    }

    /// Tests random changes to valid responses, and random bytes: none is accepted unless its signed part is unchanged,
    /// and none panics. `MONGOTLS_FUZZ_ROUNDS` sets the number of rounds, `MONGOTLS_FUZZ_SECONDS` the duration.
    #[test]
    #[allow(clippy::print_stdout, reason = "a long run reports its progress")]
    fn random_and_mutated_responses_are_refused() {
        let wanted = rounds(50_000);
        let seconds = std::env::var("MONGOTLS_FUZZ_SECONDS").ok();
        let seconds: Option<u64> = seconds.and_then(|text| text.parse().ok());
        let ca = Ca::root("ca", KeyKind::EcP256);
        let leaf = ca.issue(LeafSpec::local_server());
        let delegate = ca.issue(LeafSpec::ocsp_responder("delegate"));
        let crls = Crls::default();
        let subject = OcspSubject {
            certificate: &leaf.cert,
            issuer: ca.cert(),
            crls: &crls,
            max_age: Duration::from_secs(86_400),
        };
        let spec = || ca.ocsp(&leaf.cert);
        let seeds = [
            spec().build(),
            spec().revoked(-10, None).build(),
            spec().unknown().build(),
            spec().signed_by(&delegate).build(),
            spec().nonce(b"0123456789abcdef").next_update(None).build(),
            spec().no_singles().build(),
        ];
        let now = SystemTime::now();
        let sound: Vec<_> = seeds
            .iter()
            .map(|seed| validate(seed, &subject, now).ok())
            .collect();
        let mut random = Random::default();
        let started = std::time::Instant::now();
        let mut round = 0;
        let is_over = |round: u64| match seconds {
            Some(seconds) => started.elapsed().as_secs() >= seconds,
            None => round >= wanted,
        };
        while !is_over(round) {
            round += 1;
            let which = random.below(seeds.len());
            let mut bytes = match random.below(8) {
                0 => {
                    let count = 1 + random.below(300);
                    random.bytes(count)
                }
                _ => seeds[which].clone(),
            };
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                match random.below(6) {
                    0 => bytes[at] ^= 1 << random.below(8),
                    1 => bytes[at] = [0, 1, 0x30, 0x7f, 0x80, 0x82, 0xff][random.below(7)],
                    2 => bytes.truncate(at + 1),
                    3 => drop(bytes.remove(at)),
                    4 => bytes.insert(at, u8::try_from(random.number() & 0xff).unwrap()),
                    _ => {
                        let from = random.below(bytes.len());
                        let piece = bytes[from.min(at)..from.max(at)].to_vec();
                        bytes.splice(at..at, piece);
                    }
                }
                if bytes.is_empty() {
                    bytes.push(0x30);
                }
            }
            let answer = validate(&bytes, &subject, now);
            if let Ok(answer) = answer {
                // Certificates beside the signed part may change; the signed part may not.
                assert!(
                    sound.iter().flatten().any(|known| *known == answer),
                    "round {round}: {answer:?} by {bytes:02x?}"
                );
            }
            assert!(ErrorStack::get().errors().is_empty(), "round {round}");
        }
        println!("{round} responses in {:?}", started.elapsed());
    }
}
