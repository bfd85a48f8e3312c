//! Why a certificate counts as revoked, or its revocation status is not known: CRLs and OCSP.

use std::time::{Duration, SystemTime};

use super::io::LimitedExchange;
use crate::data::certificate::{Certificate, CertificateRole};
use crate::data::limit::ReachedLimit;
use crate::data::revocation::Evidence;
use crate::time::TimeoutKind;

/// The check of a certificate against the CRLs failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CrlFault {
    pub(crate) kind: CrlFaultKind,
    /// The entry of the CRL for the certificate, if OpenSSL found a CRL.
    pub(crate) entry: Option<CrlEntry>,
    /// The files with a CRL of the issuer, or all CRL files if there is none.
    pub(crate) files: Vec<String>,
    /// The option that names the CRL of the issuer.
    pub(crate) option: &'static str,
}

/// The reason why the check against the CRLs failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CrlFaultKind {
    /// The CRL lists the certificate.
    Revoked,
    /// There is no CRL of the issuer.
    Missing {
        /// The issuers of the loaded CRLs.
        issuers: Vec<String>,
        /// The issuer of an indirect CRL, if one is loaded.
        indirect: Option<String>,
    },
    /// The CRL is past its `nextUpdate`.
    Expired,
    /// The CRL has no `nextUpdate`, and is older than `crl_max_age` allows.
    TooOld,
    NotYetValid,
    /// No CRL of the issuer covers the certificate; the reasons are those of each.
    NotApplicable(Vec<CrlMismatch>),
    /// The CRL does not verify.
    Invalid,
}

/// The contents of a CRL about itself and about one certificate (RFC 5280 §5).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CrlEntry {
    pub(crate) this_update: SystemTime,
    pub(crate) next_update: Option<SystemTime>,
    /// The instant of the revocation, if the CRL lists the certificate.
    pub(crate) revoked_at: Option<SystemTime>,
    /// The name of the `CRLReason`, if the CRL gives one.
    pub(crate) reason: Option<&'static str>,
}

/// The reason why a CRL of the issuer does not cover a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CrlMismatch {
    Indirect,
    /// It covers only revocations for these reasons.
    SomeReasons(Vec<&'static str>),
    AttributeCertificates,
    EndEntities,
    CaCertificates,
    DistributionPoint {
        /// The distribution points of the CRL.
        of_crl: Vec<String>,
        /// The distribution points of the certificate.
        of_certificate: Vec<String>,
    },
    /// Another key of the CA signed it.
    OtherKey,
    /// OpenSSL has another reason.
    Other(&'static str),
}

/// The limits of a CRL by its issuing distribution point (RFC 5280 §5.2.5). A full CRL has no limits.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CrlScope {
    /// The URLs at which the CRL is published.
    pub(crate) points: Vec<String>,
    pub(crate) end_entities_only: bool,
    pub(crate) cas_only: bool,
    pub(crate) attributes_only: bool,
    pub(crate) is_indirect: bool,
    /// The only reasons for which it lists certificates.
    pub(crate) reasons: Option<Vec<&'static str>>,
}

/// The revocation check by OCSP rejected the server's chain.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RevocationFailure {
    pub(crate) kind: RevocationFailureKind,
    /// The certificate in question.
    pub(crate) certificate: Certificate,
    /// The position of the certificate in the chain.
    pub(crate) depth: u32,
    pub(crate) role: CertificateRole,
    pub(crate) checked_at: SystemTime,
}

/// The reason why the revocation check by OCSP rejected the server's chain.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RevocationFailureKind {
    /// An OCSP response says that the certificate is revoked.
    Revoked {
        source: OcspSource,
        revoked_at: Option<SystemTime>,
        /// The name of the `CRLReason`, if the response gives one.
        reason: Option<&'static str>,
        this_update: SystemTime,
        next_update: Option<SystemTime>,
    },
    /// The certificate demands a stapled response (RFC 7633), and the server sent none.
    StapleMissing,
    /// The stapled response is not valid.
    StapleInvalid(OcspFault),
    /// The options require a status, and no evidence was conclusive.
    StatusUnknown(Vec<EvidenceCheck>),
    /// A CA demands that the certificates it issues demand a stapled response, and this one does not (RFC 7633 §4.2.2).
    DemandNotPassedOn {
        /// The short name of the CA.
        ca: String,
        has_staple: bool,
    },
}

/// The source of an OCSP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OcspSource {
    Staple,
    /// The responder with this URL.
    Responder(String),
}

/// The status of a certificate by an OCSP response (RFC 6960 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OcspStatus {
    Good,
    Revoked {
        at: Option<SystemTime>,
        reason: Option<&'static str>,
    },
    Unknown,
}

/// The reason why an OCSP response is not valid (RFC 6960 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OcspFault {
    /// It has `size` bytes, more than `limit`.
    TooLarge {
        size: usize,
        limit: usize,
    },
    Malformed,
    TrailingData,
    /// The status of the response by its name in RFC 6960, if it is a known one.
    NotSuccessful(Option<&'static str>),
    /// The signature does not verify, for this reason of OpenSSL if it gives one.
    Signature(Option<String>),
    /// The certificate of the signer is not in the response.
    SignerMissing,
    DelegateRevoked,
    CriticalExtension,
    OtherCertificate,
    /// It has no readable `thisUpdate`.
    NoTimes,
    /// `thisUpdate` is in the future.
    NotYetValid(SystemTime),
    /// `producedAt` is in the future.
    NotYetProduced(SystemTime),
    /// `nextUpdate` has passed.
    OutOfDate(SystemTime),
    /// It has no `nextUpdate`, and is older than `max_age`.
    TooOld {
        this_update: SystemTime,
        max_age: Duration,
    },
}

/// One piece of evidence that was looked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EvidenceCheck {
    pub(crate) evidence: Evidence,
    pub(crate) result: EvidenceResult,
    pub(crate) duration: Duration,
}

/// The result of looking for one piece of evidence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EvidenceResult {
    /// A valid response, which holds until the given instant.
    Status(OcspStatus, Option<SystemTime>),
    /// A valid response from the cache, and its original source.
    Cached(OcspStatus, Option<SystemTime>, OcspSource),
    /// The response is not valid.
    Invalid(OcspFault),
    Responder {
        result: ResponderResult,
        /// True if another connection sent the request.
        by_another_connection: bool,
    },
    /// Another connection has sent the request, and got no answer in time.
    StillWaiting,
    /// The option `tlsDisableOCSPEndpointCheck` disables requests.
    Disabled,
    /// The CRLs do not list the certificate.
    NotListed,
    /// The full handshake of the session checked the certificate.
    FullHandshake,
}

/// The result of a request to an OCSP responder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ResponderResult {
    Status(OcspStatus),
    Invalid(OcspFault),
    /// The URL cannot be used, for this reason.
    UnusableUrl(String),
    /// No thread could be started for the request, because of this limit.
    NoThread(ReachedLimit),
    /// No answer came within a limit of this kind.
    TimedOut(TimeoutKind),
    /// Only this many responders get a request.
    BeyondLimit(usize),
    HttpStatus(u16),
    PostRedirected,
    /// A redirect to a URL that cannot be used, for this reason.
    UnusableRedirect(String),
    /// A redirect to this other host.
    RedirectToOtherHost(String),
    /// More redirects than this.
    TooManyRedirects(usize),
    /// The exchange failed; the text completes "the responder …".
    Exchange(String),
    /// This host lacked a resource for the exchange.
    Limited {
        /// It completes "the responder …".
        text: String,
        failed: LimitedExchange,
    },
}

impl ResponderResult {
    /// Returns true if this host lacked a resource for the request, which says nothing about the responder.
    pub(crate) fn is_local_limit(&self) -> bool {
        matches!(self, Self::NoThread(_) | Self::Limited { .. })
    }
}

/// The time that a handshake spent on an OCSP responder that had no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponderWait {
    pub(crate) url: String,
    pub(crate) duration: Duration,
}

impl ResponderWait {
    /// Returns true if the wait was a quarter of the time `limit`, or more.
    pub(crate) fn is_considerable(&self, limit: Duration) -> bool {
        self.duration >= limit / 4
    }
}
