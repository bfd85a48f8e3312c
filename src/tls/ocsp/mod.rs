//! The revocation check by OCSP: the evidence, its order, and its consequences (the drivers' "OCSP Support"
//! specification; RFC 6960, 6066, 7633).
//!
//! The order is: the staple, the cached answer, the user's CRLs, and the responders that the certificate names. The first
//! conclusive answer decides. If there is none, the connection continues, with the reason in its report, unless the
//! options require a status. No requests are sent about intermediate CAs.
//!
//! The check runs inside the handshake, after the chain has been verified and before the client's certificate is sent,
//! in OpenSSL's callback for the staple. `response.rs` validates one response, `responder.rs` sends requests, `cache.rs`
//! holds answers, and `findings.rs` the evidence of one check.

mod cache;
pub(crate) mod findings;
mod responder;
mod response;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::nid::Nid;
use openssl::ssl::{Ssl, SslContextBuilder, SslRef, StatusType};
use openssl::x509::X509Ref;

use self::cache::{CachedAnswer, OcspCache};
use self::findings::RevocationFindings;
use self::response::{OcspAnswer, OcspSubject};
use crate::data::certificate::Certificate;
use crate::data::certificate::CertificateRole;
use crate::data::revocation::{Evidence, RevocationStatus};
use crate::ffi::callback;
use crate::ffi::openssl as ffi;
use crate::logging::{debug, warn};
use crate::options::TlsOptions;
use crate::reason::revocation::{
    EvidenceResult, OcspSource, OcspStatus, RevocationFailure, RevocationFailureKind,
};
use crate::sync::Mutex;
use crate::time::{Deadline, TimeoutKind};
use crate::tls::config::crl::Crls;

/// The check of one context, shared by its connections.
pub(crate) struct Checker {
    queries_responders: bool,
    requires_status: bool,
    responder_timeout: Duration,
    max_age: Option<Duration>,
    crls: Crls,
    cache: OcspCache,
}

/// The result of the check of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct RevocationResult {
    pub(super) findings: RevocationFindings,
    /// The limit for resuming the session.
    pub(super) session: SessionLimit,
    /// The reason to reject the connection.
    pub(super) rejection: Option<Box<RevocationFailure>>,
}

/// The time for which the evidence allows to resume a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SessionLimit {
    /// No limit by OCSP.
    #[default]
    None,
    Until(SystemTime),
    /// No evidence remains valid, so the session is not kept.
    NotKept,
}

/// The check of one connection, and its result.
struct ConnectionCheck {
    checker: Arc<Checker>,
    server: String,
    deadline: Option<Deadline>,
    result: Mutex<Option<RevocationResult>>,
}

impl Checker {
    /// Creates the check that the options request, if they request one. `crls` are those that OpenSSL uses in the
    /// verification of the chain.
    pub(super) fn new(options: &TlsOptions, crls: Crls) -> Option<Arc<Self>> {
        options.checks_revocation().then(|| {
            Arc::new(Self {
                queries_responders: options.disable_ocsp_endpoint_check() != Some(true),
                requires_status: options.require_revocation_status(),
                responder_timeout: options.ocsp_responder_timeout(),
                max_age: options.ocsp_max_age(),
                crls,
                cache: OcspCache::default(),
            })
        })
    }

    /// Makes a context run the check for each of its connections that is prepared for it.
    pub(super) fn install(context: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        context.set_status_callback(|ssl| {
            // The check of the full handshake also covers a resumed session.
            let check = match index().ok().and_then(|index| ssl.ex_data(index)) {
                Some(check) if !ssl.session_reused() => check,
                _ => return Ok(true),
            };
            let run = || {
                let result = check.run(ssl);
                let is_accepted = result.rejection.is_none();
                *check.result.lock() = Some(result);
                is_accepted
            };
            Ok(callback::run(run).unwrap_or(false))
        })
    }

    /// Requests a staple from the server, and prepares the check.
    pub(super) fn prepare(
        self: &Arc<Self>,
        ssl: &mut Ssl,
        server: &str,
        deadline: Option<Deadline>,
    ) -> Result<(), ErrorStack> {
        ssl.set_status_type(StatusType::OCSP)?;
        let check = ConnectionCheck {
            checker: Arc::clone(self),
            server: server.to_owned(),
            deadline,
            result: Mutex::new(None),
        };
        ssl.set_ex_data(index()?, check);
        Ok(())
    }

    /// The limit that the check sets for resuming the session.
    pub(super) fn session_limit(ssl: &SslRef) -> SessionLimit {
        let check = index().ok().and_then(|index| ssl.ex_data(index));
        let limit =
            check.and_then(|check| check.result.lock().as_ref().map(|result| result.session));
        limit.unwrap_or_default()
    }

    /// The findings of the check so far, if there was one.
    pub(super) fn findings(ssl: &SslRef) -> Option<RevocationFindings> {
        let check = ssl.ex_data(index().ok()?)?;
        let result = check.result.lock();
        result.as_ref().map(|result| result.findings.clone())
    }

    /// The result of the check after the handshake, if there was a check. It is logged now, because a logger of the
    /// program must not run inside a callback of OpenSSL.
    pub(super) fn conclude(ssl: &SslRef) -> Option<RevocationResult> {
        let check = ssl.ex_data(index().ok()?)?;
        let result = check.result.lock().clone()?;
        check.log(&result);
        Some(result)
    }

    /// Checks the certificate of a server.
    fn check(
        &self,
        subject: &OcspSubject<'_>,
        staple: Option<&[u8]>,
        deadline: Option<Deadline>,
    ) -> RevocationResult {
        let mut result = RevocationResult::default();
        let Ok(id) = response::request(subject) else {
            // Without a CertID nothing can be looked up, and no response can match.
            return self.undetermined(subject, result);
        };
        if let Some(staple) = staple.filter(|staple| !staple.is_empty()) {
            if self.check_staple(subject, &id, staple, &mut result) {
                return result;
            }
        } else if ffi::must_staple(subject.certificate) {
            result.reject(subject.certificate, RevocationFailureKind::StapleMissing);
            return result;
        }
        if self.check_cache(subject, &id, &mut result) {
            return result;
        }
        if self.crls.count() > 0 {
            // OpenSSL has looked the certificate up while it verified the chain. It would have ended the handshake if
            // the certificate were listed, or if the CRL of its issuer were missing.
            let by_crl = RevocationFindings::by_crl();
            result.findings.checks.extend(by_crl.checks);
            result.findings.status = by_crl.status;
            return result;
        }
        if self.check_responders(subject, &id, deadline, &mut result) {
            return result;
        }
        self.undetermined(subject, result)
    }

    /// Checks a certificate that is a trust anchor itself: no CA above it could revoke it, and no response about it
    /// could be verified.
    fn check_anchor(&self, certificate: &X509Ref, staple: Option<&[u8]>) -> RevocationResult {
        let mut result = RevocationResult::default();
        if staple.is_none_or(<[u8]>::is_empty) && ffi::must_staple(certificate) {
            result.reject(certificate, RevocationFailureKind::StapleMissing);
        } else if self.requires_status {
            result.reject_unknown(certificate);
        }
        result
    }

    /// Checks the staple. Returns whether it decides.
    fn check_staple(
        &self,
        subject: &OcspSubject<'_>,
        id: &[u8],
        staple: &[u8],
        result: &mut RevocationResult,
    ) -> bool {
        let started = Instant::now();
        let now = SystemTime::now();
        let known = self.cache.get(id, now);
        let same = known.as_ref().filter(|known| *known.der == *staple);
        let validated = match same {
            Some(known) => Ok(known.answer.clone()),
            None => response::validate(staple, subject, now),
        };
        let took = started.elapsed();
        let findings = &mut result.findings;
        match validated {
            Ok(answer) => {
                findings.add(Evidence::Staple, answer.as_evidence(), took);
                if answer.is_conclusive() {
                    let kept = CachedAnswer {
                        answer: answer.clone(),
                        source: OcspSource::Staple,
                        der: staple.into(),
                    };
                    self.cache.keep(id, kept, now);
                }
                // A staple that is older than a known revocation must not hide it.
                let revoked = known.filter(|known| known.answer.revokes(&answer));
                match revoked {
                    Some(known) => {
                        let evidence = known.answer.as_evidence();
                        findings.add(Evidence::Cache, evidence, Duration::ZERO);
                        result.decide(subject, &known.answer, &known.source)
                    }
                    None => result.decide(subject, &answer, &OcspSource::Staple),
                }
            }
            Err(fault) => {
                let evidence = EvidenceResult::Invalid(fault.clone());
                findings.add(Evidence::Staple, evidence, took);
                let kind = RevocationFailureKind::StapleInvalid(fault);
                result.reject(subject.certificate, kind);
                true
            }
        }
    }

    /// Looks for a cached answer. Returns whether it decides.
    fn check_cache(
        &self,
        subject: &OcspSubject<'_>,
        id: &[u8],
        result: &mut RevocationResult,
    ) -> bool {
        let Some(known) = self.cache.get(id, SystemTime::now()) else {
            return false;
        };
        let (status, until) = (known.answer.status.clone(), known.answer.until());
        let evidence = EvidenceResult::Cached(status, until, known.source.clone());
        result
            .findings
            .add(Evidence::Cache, evidence, Duration::ZERO);
        result.decide(subject, &known.answer, &known.source)
    }

    /// Sends requests to the responders. Returns whether one of them decides.
    fn check_responders(
        &self,
        subject: &OcspSubject<'_>,
        id: &[u8],
        deadline: Option<Deadline>,
        result: &mut RevocationResult,
    ) -> bool {
        let urls = responders(subject.certificate);
        if urls.is_empty() || !self.queries_responders {
            return false;
        }
        let started = Instant::now();
        let limit = Deadline::after(
            started,
            Some(self.responder_timeout),
            TimeoutKind::OcspResponder,
        );
        // A server that has used up most of the time must not disable the check in this way.
        let is_short = deadline.is_some_and(|deadline| match deadline.remaining(started) {
            Ok(remaining) => remaining.is_some_and(|left| left < deadline.elapsed().limit / 2),
            Err(_) => true,
        });
        // A check that may fail leaves half of the time to the rest: the handshake, hello and authentication.
        let deadline = deadline.map(|deadline| match self.requires_status || is_short {
            true => deadline,
            false => deadline.halfway(started),
        });
        let deadline = limit.within(deadline);
        // `None` without any limit.
        let remaining = deadline.remaining(started).unwrap_or(Some(Duration::ZERO));
        let results = self.cache.request_once(id, remaining, || {
            let (mut results, der) = responder::request(&urls, id, subject, deadline);
            results.was_cut_short = results.answer.is_none()
                && deadline.remaining(Instant::now()).is_err()
                && deadline.elapsed().kind != TimeoutKind::OcspResponder
                && is_short;
            if let Some((answer, url)) = &results.answer {
                let kept = CachedAnswer {
                    answer: answer.clone(),
                    source: OcspSource::Responder(url.clone()),
                    der: der.into(),
                };
                self.cache.keep(id, kept, SystemTime::now());
            }
            results
        });
        let findings = &mut result.findings;
        let Some((results, by_another_connection)) = results else {
            let evidence = Evidence::Responder(urls.join(", "));
            findings.add(evidence, EvidenceResult::StillWaiting, started.elapsed());
            return false;
        };
        for request in results.requests {
            let evidence = Evidence::Responder(request.url);
            let of_responder = EvidenceResult::Responder {
                result: request.result,
                by_another_connection,
            };
            findings.add(evidence, of_responder, request.duration);
        }
        match results.answer {
            Some((answer, url)) => result.decide(subject, &answer, &OcspSource::Responder(url)),
            None => false,
        }
    }

    /// Completes a check in which no evidence was conclusive.
    fn undetermined(
        &self,
        subject: &OcspSubject<'_>,
        mut result: RevocationResult,
    ) -> RevocationResult {
        let urls = responders(subject.certificate);
        // The next connection may learn more, unless there was nothing to look for.
        if !result.findings.checks.is_empty() {
            result.session = SessionLimit::NotKept;
        }
        if !urls.is_empty() && !self.queries_responders {
            let evidence = Evidence::Responder(urls.join(", "));
            let findings = &mut result.findings;
            findings.add(evidence, EvidenceResult::Disabled, Duration::ZERO);
        }
        result.findings.status = match result.findings.checks.is_empty() {
            true => RevocationStatus::NotChecked,
            false => RevocationStatus::Undetermined,
        };
        if self.requires_status {
            result.reject_unknown(subject.certificate);
        }
        result
    }
}

impl ConnectionCheck {
    fn run(&self, ssl: &SslRef) -> RevocationResult {
        let chain: Vec<&X509Ref> = ssl.verified_chain().into_iter().flatten().collect();
        if let Some(rejection) = unmet_demand(&chain, ssl.ocsp_status()) {
            return RevocationResult {
                rejection: Some(Box::new(rejection)),
                ..RevocationResult::default()
            };
        }
        match chain.as_slice() {
            [certificate, issuer, ..] => {
                let is_certain = self.checker.requires_status || ffi::must_staple(certificate);
                let default = if is_certain { A_DAY } else { A_DAY * 7 };
                let subject = OcspSubject {
                    certificate,
                    issuer,
                    crls: &self.checker.crls,
                    max_age: self.checker.max_age.unwrap_or(default),
                };
                self.checker
                    .check(&subject, ssl.ocsp_status(), self.deadline)
            }
            [certificate] => self.checker.check_anchor(certificate, ssl.ocsp_status()),
            [] => RevocationResult::default(),
        }
    }

    fn log(&self, result: &RevocationResult) {
        let checks = result.findings.checks.iter();
        let checks: Vec<_> = checks.map(ToString::to_string).collect();
        let (server, tried) = (&self.server, checks.join("; "));
        match result.findings.status {
            RevocationStatus::Undetermined if result.rejection.is_none() => {
                warn!(target: "mongotls::ocsp", "server {server}: whether its certificate is revoked is not known: {tried}");
            }
            status => {
                debug!(target: "mongotls::ocsp", "server {server}: {}: {tried}", status.as_str());
            }
        }
    }
}

impl RevocationResult {
    /// Rejects the connection because of the server's own certificate.
    fn reject(&mut self, certificate: &X509Ref, kind: RevocationFailureKind) {
        self.rejection = Some(Box::new(RevocationFailure {
            kind,
            certificate: Certificate::of(certificate),
            depth: 0,
            role: CertificateRole::EndEntity,
            checked_at: SystemTime::now(),
        }));
    }

    /// Rejects the connection because no evidence was conclusive.
    fn reject_unknown(&mut self, certificate: &X509Ref) {
        let checks = self.findings.checks.clone();
        self.reject(certificate, RevocationFailureKind::StatusUnknown(checks));
    }

    /// Applies an answer. Returns whether it decides.
    fn decide(
        &mut self,
        subject: &OcspSubject<'_>,
        answer: &OcspAnswer,
        source: &OcspSource,
    ) -> bool {
        match &answer.status {
            OcspStatus::Unknown => return false,
            OcspStatus::Good => self.findings.status = RevocationStatus::Good,
            OcspStatus::Revoked { at, reason } => {
                self.findings.status = RevocationStatus::Revoked;
                let kind = RevocationFailureKind::Revoked {
                    source: source.clone(),
                    revoked_at: *at,
                    reason: *reason,
                    this_update: answer.this_update,
                    next_update: answer.next_update,
                };
                self.reject(subject.certificate, kind);
            }
        }
        self.findings.valid_until = answer.next_update;
        self.session = match answer.next_update {
            Some(until) => SessionLimit::Until(until),
            None => SessionLimit::NotKept,
        };
        true
    }
}

/// The age limit of an answer without `nextUpdate` if certainty is required, unless the options set another one.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Rejects a chain in which a CA demands staples, unless each certificate that it issues demands one too
/// (RFC 7633 §4.2.2). The trust anchor, which is the last one, is not part of the path.
fn unmet_demand(chain: &[&X509Ref], staple: Option<&[u8]>) -> Option<RevocationFailure> {
    let path = chain.split_last().map_or(&[][..], |(_, path)| path);
    let links = path.iter().zip(path.iter().skip(1)).zip(0_u32..);
    let mut unmet = links.filter(|((certificate, issuer), _)| {
        ffi::must_staple(issuer) && !ffi::must_staple(certificate)
    });
    let ((certificate, issuer), depth) = unmet.next()?;
    Some(RevocationFailure {
        kind: RevocationFailureKind::DemandNotPassedOn {
            ca: Certificate::of(issuer).short_name().to_owned(),
            has_staple: staple.is_some_and(|staple| !staple.is_empty()),
        },
        certificate: Certificate::of(certificate),
        depth,
        role: match depth {
            0 => CertificateRole::EndEntity,
            _ => CertificateRole::Intermediate,
        },
        checked_at: SystemTime::now(),
    })
}

/// Returns the distinct OCSP responders that a certificate names (RFC 5280 §4.2.2.1).
fn responders(certificate: &X509Ref) -> Vec<String> {
    let access = certificate.authority_info();
    let access = access.iter().flatten();
    let ocsp = access.filter(|access| access.method().nid() == Nid::AD_OCSP);
    let mut urls: Vec<String> = Vec::new();
    for url in ocsp.filter_map(|access| access.location().uri()) {
        if urls.iter().all(|known| known != url) {
            urls.push(url.to_owned());
        }
    }
    urls
}

/// The index under which a connection holds its [`ConnectionCheck`]. A process allocates it once.
fn index() -> Result<Index<Ssl, ConnectionCheck>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, ConnectionCheck>> = OnceLock::new();
    if let Some(index) = INDEX.get() {
        return Ok(*index);
    }
    let index = Ssl::new_ex_index()?;
    Ok(*INDEX.get_or_init(|| index))
}
