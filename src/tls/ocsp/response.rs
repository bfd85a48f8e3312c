//! One OCSP response: whether it is valid, and what it then says of one certificate (RFC 6960 §3.2).
//!
//! OpenSSL decodes the response and verifies its signature; nothing that it says is looked at before that
//! holds. The only trust anchor is the issuer of the certificate in question, as our own verification of
//! the chain found it: a response is signed by the issuer, or by a delegate that the issuer certified for
//! it.

use std::fmt;
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
use crate::time::rfc3339;
use crate::tls::config::crl::Crls;
use crate::tls::handshake::verify::reason_name;

/// No response is larger: 64 KiB. One with a delegate's certificate has some 2 KiB.
pub(super) const LARGEST: usize = 64 << 10;

/// How far the responder's clock may be from ours: 30 s.
pub(super) const TOLERANCE: Duration = Duration::from_secs(30);

/// A certificate, and the one above it in the verified chain.
pub(super) struct Subject<'a> {
    pub(super) certificate: &'a X509Ref,
    pub(super) issuer: &'a X509Ref,
    /// The user's CRLs: a delegate may be revoked as well.
    pub(super) crls: &'a Crls,
    /// The age limit of an answer without `nextUpdate`.
    pub(super) max_age: Duration,
}

/// What a valid response says of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) this_update: SystemTime,
    pub(super) next_update: Option<SystemTime>,
}

/// The status of a certificate (RFC 6960 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Good,
    Revoked {
        at: Option<SystemTime>,
        reason: Option<&'static str>,
    },
    Unknown,
}

/// In words that complete "the responder …".
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "says good",
            Self::Revoked { .. } => "says revoked",
            Self::Unknown => "says unknown",
        })
    }
}

impl Answer {
    /// Whether it is in force for a cache: `thisUpdate ≤ now < nextUpdate`.
    pub(super) fn holds(&self, now: SystemTime) -> bool {
        self.this_update <= now && self.next_update.is_some_and(|end| now < end)
    }

    pub(super) fn is_conclusive(&self) -> bool {
        self.status != Status::Unknown
    }

    pub(super) fn is_revoked(&self) -> bool {
        matches!(self.status, Status::Revoked { .. })
    }

    /// Whether a revocation is known that a later answer than `other` would have to take back.
    pub(super) fn revokes(&self, other: &Self) -> bool {
        self.is_revoked() && !other.is_revoked() && other.this_update <= self.this_update
    }

    /// Whether it stays in a cache where `other` could take its place: a revocation, until something younger
    /// says otherwise; else what lasts longer.
    pub(super) fn outlasts(&self, other: &Self) -> bool {
        if self.is_revoked() == other.is_revoked() {
            return self.next_update > other.next_update;
        }
        self.revokes(other) || self.this_update > other.this_update
    }
}

/// Why a response is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Invalid {
    TooLarge(usize),
    Malformed,
    TrailingData,
    NotSuccessful(OcspResponseStatus),
    /// With OpenSSL's reason.
    Signature(String),
    DelegateRevoked,
    CriticalExtension,
    OtherCertificate,
    NoTimes,
    NotYetValid(SystemTime),
    /// `producedAt` lies in the future.
    NotYetProduced(SystemTime),
    OutOfDate(SystemTime),
    /// Without `nextUpdate`: its `thisUpdate`, and how old it may be.
    TooOld(SystemTime, Duration),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(size) => write!(f, "it has {size} bytes, more than {LARGEST}"),
            Self::Malformed => f.write_str("it is no OCSP response"),
            Self::TrailingData => f.write_str("more bytes follow the OCSP response"),
            Self::NotSuccessful(status) => write!(f, "it says {}", status_name(*status)),
            Self::Signature(why) => write!(f, "its signature does not verify: {why}"),
            Self::DelegateRevoked => f.write_str("a CRL lists the certificate that signed it"),
            Self::CriticalExtension => f.write_str("it has a critical extension that is not known"),
            Self::OtherCertificate => f.write_str("it is for another certificate"),
            Self::NoTimes => f.write_str("it does not say when it was made"),
            Self::NotYetValid(from) => {
                write!(
                    f,
                    "it is valid only from {} on (thisUpdate)",
                    rfc3339(*from)
                )
            }
            Self::NotYetProduced(at) => {
                write!(
                    f,
                    "it was made in the future, at {} (producedAt)",
                    rfc3339(*at)
                )
            }
            Self::OutOfDate(until) => {
                write!(f, "it was valid until {} (nextUpdate)", rfc3339(*until))
            }
            Self::TooOld(from, max_age) => write!(
                f,
                "it is of {} (thisUpdate) without a nextUpdate, and older than {} s (ocsp_max_age)",
                rfc3339(*from),
                max_age.as_secs()
            ),
        }
    }
}

fn status_name(status: OcspResponseStatus) -> &'static str {
    match status {
        OcspResponseStatus::MALFORMED_REQUEST => "malformedRequest",
        OcspResponseStatus::INTERNAL_ERROR => "internalError",
        OcspResponseStatus::TRY_LATER => "tryLater",
        OcspResponseStatus::SIG_REQUIRED => "sigRequired",
        OcspResponseStatus::UNAUTHORIZED => "unauthorized",
        _ => "a status that is not known",
    }
}

/// The request for one certificate, which is also its name in the cache: it holds the CertID and nothing
/// else.
pub(super) fn request(subject: &Subject<'_>) -> Result<Vec<u8>, ErrorStack> {
    let mut request = OcspRequest::new()?;
    // RFC 5019 §2.1.1 asks for SHA-1: here it names a certificate and protects nothing.
    request.add_id(subject.id(MessageDigest::sha1())?)?;
    request.to_der()
}

/// What a response says of a certificate, if it is valid at `now`.
pub(super) fn validate(
    der: &[u8],
    subject: &Subject<'_>,
    now: SystemTime,
) -> Result<Answer, Invalid> {
    let outcome = validate_with_leftovers(der, subject, now);
    // What OpenSSL complained about is told. Left in its queue, it would be taken for the failure of the
    // handshake.
    drop(ErrorStack::get());
    outcome
}

fn validate_with_leftovers(
    der: &[u8],
    subject: &Subject<'_>,
    now: SystemTime,
) -> Result<Answer, Invalid> {
    if der.len() > LARGEST {
        return Err(Invalid::TooLarge(der.len()));
    }
    let response = OcspResponse::from_der(der).map_err(|_| Invalid::Malformed)?;
    // OpenSSL reads one value and leaves what follows.
    if response.to_der().is_ok_and(|whole| whole.len() < der.len()) {
        return Err(Invalid::TrailingData);
    }
    if response.status() != OcspResponseStatus::SUCCESSFUL {
        return Err(Invalid::NotSuccessful(response.status()));
    }
    let basic = response.basic().map_err(|_| Invalid::Malformed)?;
    subject.verify(&basic)?;
    if ffi::has_critical_extension(&basic) {
        return Err(Invalid::CriticalExtension);
    }
    let produced_at = ffi::produced_at(&basic).filter(|at| *at > now + TOLERANCE);
    if let Some(at) = produced_at {
        return Err(Invalid::NotYetProduced(at));
    }
    let ids = subject
        .ids()
        .map_err(|error| Invalid::Signature(told(&error)))?;
    let answers = ffi::single_responses(&basic, &ids);
    let answers = answers.into_iter().filter(|answer| answer.is_asked);
    choose(answers.map(|answer| read(&answer, now, subject.max_age)))
}

impl Subject<'_> {
    fn id(&self, digest: MessageDigest) -> Result<OcspCertId, ErrorStack> {
        OcspCertId::from_cert(digest, self.certificate, self.issuer)
    }

    /// The names that a response may use for the certificate.
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

    /// Verifies the signature, and that whoever made it may sign for the issuer (RFC 6960 §4.2.2.2).
    fn verify(&self, basic: &OcspBasicResponse) -> Result<(), Invalid> {
        let refused = |error: ErrorStack| Invalid::Signature(told(&error));
        let store = self.anchor().map_err(refused)?;
        let mut certificates = Stack::new().map_err(refused)?;
        certificates.push(self.issuer.to_owned()).map_err(refused)?;
        // NO_EXPLICIT: a delegate gets its right from the issuer, and not from a setting of the anchor.
        basic
            .verify(&certificates, &store, OcspFlag::NO_EXPLICIT)
            .map_err(refused)?;
        match ffi::signer(basic, &certificates) {
            Some(signer) if self.is_revoked(&signer) => Err(Invalid::DelegateRevoked),
            Some(_) => Ok(()),
            None => Err(Invalid::Signature("its signer is not there".to_owned())),
        }
    }

    /// The issuer as the one trust anchor, also where it is an intermediate CA.
    fn anchor(&self) -> Result<X509Store, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        store.add_cert(self.issuer.to_owned())?;
        Ok(store.build())
    }

    /// Whether one of the user's CRLs lists a delegate, unless its certificate says that nobody need
    /// look (id-pkix-ocsp-nocheck, RFC 6960 §4.2.2.2.1).
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
fn told(error: &ErrorStack) -> String {
    let reasons = error.errors().iter();
    let reason = reasons.filter_map(|entry| entry.reason()).next_back();
    reason.unwrap_or("OpenSSL gives no reason").to_owned()
}

/// One answer about the certificate, if it is in force.
fn read(single: &SingleResponse, now: SystemTime, max_age: Duration) -> Result<Answer, Invalid> {
    const GOOD: i32 = 0;
    const REVOKED: i32 = 1;
    if single.has_critical_extension {
        return Err(Invalid::CriticalExtension);
    }
    // A time that cannot be read stands as 1970.
    let this_update = single.this_update;
    let this_update = this_update.filter(|at| *at != SystemTime::UNIX_EPOCH);
    let this_update = this_update.ok_or(Invalid::NoTimes)?;
    if this_update > now + TOLERANCE {
        return Err(Invalid::NotYetValid(this_update));
    }
    if let Some(next_update) = single.next_update {
        if next_update + TOLERANCE <= now || next_update < this_update {
            return Err(Invalid::OutOfDate(next_update));
        }
    }
    // RFC 6960 §4.2.2.1: newer information is always available then. A revocation stays one.
    let age = now.duration_since(this_update).unwrap_or_default();
    let is_too_old = age.checked_sub(TOLERANCE).is_some_and(|age| age > max_age);
    if single.next_update.is_none() && is_too_old && single.status != REVOKED {
        return Err(Invalid::TooOld(this_update, max_age));
    }
    let status = match single.status {
        GOOD => Status::Good,
        REVOKED => Status::Revoked {
            at: single.revoked_at,
            reason: reason_name(i64::from(single.reason)),
        },
        _ => Status::Unknown,
    };
    Ok(Answer {
        status,
        this_update,
        next_update: single.next_update,
    })
}

/// Of several answers about one certificate: a revocation, else the freshest that is conclusive.
fn choose(answers: impl Iterator<Item = Result<Answer, Invalid>>) -> Result<Answer, Invalid> {
    let rank = |answer: &Answer| {
        let kind = match answer.status {
            Status::Unknown => 0,
            Status::Good => 1,
            Status::Revoked { .. } => 2,
        };
        (kind, answer.this_update)
    };
    let (mut best, mut fault) = (None::<Answer>, None);
    for answer in answers {
        match answer {
            Ok(answer) if best.as_ref().is_none_or(|best| rank(best) < rank(&answer)) => {
                best = Some(answer);
            }
            Ok(_) => {}
            Err(invalid) => fault = Some(invalid),
        }
    }
    best.ok_or(fault.unwrap_or(Invalid::OtherCertificate))
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
        let subject = Subject {
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
            Status::Good
        );
        let large = spec.nonce(&[7; 65 << 10]).build();
        let size = large.len();
        assert_eq!(
            validate(&large, &subject, now),
            Err(Invalid::TooLarge(size))
        );
    }

    /// Random changes to sound responses, and rubbish: none is taken for good unless it is one that was
    /// signed, and none panics. `MONGOTLS_FUZZ_ROUNDS` sets how many, `MONGOTLS_FUZZ_SECONDS` for how long.
    #[test]
    #[allow(clippy::print_stdout, reason = "a long run tells how far it came")]
    fn random_and_mutated_responses_are_refused() {
        let wanted = rounds(50_000);
        let seconds = std::env::var("MONGOTLS_FUZZ_SECONDS").ok();
        let seconds: Option<u64> = seconds.and_then(|text| text.parse().ok());
        let ca = Ca::root("ca", KeyKind::EcP256);
        let leaf = ca.issue(LeafSpec::local_server());
        let delegate = ca.issue(LeafSpec::ocsp_responder("delegate"));
        let crls = Crls::default();
        let subject = Subject {
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
                // Certificates beside the signed part may change; what is signed may not.
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
