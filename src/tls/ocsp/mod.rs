//! Revocation by OCSP: which evidence counts, in which order, and what follows from it (the drivers' "OCSP
//! Support" specification; RFC 6960, 6066, 7633).
//!
//! The staple comes first, then what is known from before, then the user's CRL, then the responders that
//! the certificate names. The first conclusive answer decides. Where there is none the connection goes on,
//! with the reason in its report, unless the program asks for certainty. Responders of intermediate CAs are
//! not asked.
//!
//! The check runs inside the handshake, after the chain has been verified and before the client's
//! certificate is sent, in OpenSSL's callback for the staple. `response.rs` judges one response,
//! `responder.rs` fetches, `cache.rs` remembers.

mod cache;
mod responder;
mod response;
pub(crate) mod revocation;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::nid::Nid;
use openssl::ssl::{Ssl, SslContextBuilder, SslRef, StatusType};
use openssl::x509::X509Ref;

use self::cache::{Cache, Known, Origin};
use self::response::{Answer, Invalid, Status, Subject};
use crate::cause::{Cause, CauseCode};
use crate::data::revocation::{Evidence, RevocationStatus, RevocationStep};
use crate::ffi::callback;
use crate::ffi::openssl as ffi;
use crate::logging::{debug, warn};
use crate::options::TlsOptions;
use crate::printable::Quoted;
use crate::time::{Deadline, TimeoutKind, rfc3339};
use crate::tls::Certificate;
use crate::tls::config::crl::Crls;
use crate::tls::ocsp::revocation::Found;

/// The check of one context, shared by its connections.
pub(crate) struct Checker {
    asks_responders: bool,
    requires_status: bool,
    responder_timeout: Duration,
    max_age: Option<Duration>,
    crls: Crls,
    cache: Cache,
}

/// What the check of one connection found.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) found: Found,
    /// Until when the session may be resumed.
    pub(super) session: SessionLimit,
    /// Why the connection is refused.
    pub(super) refused: Option<Cause>,
}

/// How far the evidence carries a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SessionLimit {
    /// OCSP does not limit it.
    #[default]
    None,
    Until(SystemTime),
    /// There is no evidence that holds for a while.
    NotKept,
}

/// What a connection brings to its check, and takes from it.
struct Check {
    checker: Arc<Checker>,
    server: String,
    deadline: Option<Deadline>,
    outcome: Mutex<Option<Outcome>>,
}

impl Checker {
    /// The check that the options ask for; none if they ask for none. `crls` are those that OpenSSL uses
    /// in the verification of the chain.
    pub(super) fn new(options: &TlsOptions, crls: Crls) -> Option<Arc<Self>> {
        options.checks_revocation().then(|| {
            Arc::new(Self {
                asks_responders: options.disable_ocsp_endpoint_check() != Some(true),
                requires_status: options.require_revocation_status(),
                responder_timeout: options.ocsp_responder_timeout(),
                max_age: options.ocsp_max_age(),
                crls,
                cache: Cache::default(),
            })
        })
    }

    /// Lets a context run the check of each of its connections that is prepared for it.
    pub(super) fn install(context: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        context.set_status_callback(|ssl| {
            // A resumed session rests on the check of its full handshake.
            let check = match index().ok().and_then(|index| ssl.ex_data(index)) {
                Some(check) if !ssl.session_reused() => check,
                _ => return Ok(true),
            };
            let run = || {
                let outcome = check.run(ssl);
                let accepted = outcome.refused.is_none();
                *check.slot() = Some(outcome);
                accepted
            };
            Ok(callback::run(run).unwrap_or(false))
        })
    }

    /// Asks the server for a staple, and prepares the check.
    pub(super) fn prepare(
        self: &Arc<Self>,
        ssl: &mut Ssl,
        server: &str,
        deadline: Option<Deadline>,
    ) -> Result<(), ErrorStack> {
        ssl.set_status_type(StatusType::OCSP)?;
        let check = Check {
            checker: Arc::clone(self),
            server: server.to_owned(),
            deadline,
            outcome: Mutex::new(None),
        };
        ssl.set_ex_data(index()?, check);
        Ok(())
    }

    /// How far what the check found carries a session.
    pub(super) fn session_limit(ssl: &SslRef) -> SessionLimit {
        let check = index().ok().and_then(|index| ssl.ex_data(index));
        let limit = check.and_then(|check| check.slot().as_ref().map(|outcome| outcome.session));
        limit.unwrap_or_default()
    }

    /// What the check found so far; none if there was none.
    pub(super) fn found(ssl: &SslRef) -> Option<Found> {
        let check = ssl.ex_data(index().ok()?)?;
        check.slot().as_ref().map(|outcome| outcome.found.clone())
    }

    /// What the check found, once the handshake is over; none if there was none. The log is told now: a
    /// logger of the program has no place inside a callback of OpenSSL's.
    pub(super) fn conclude(ssl: &SslRef) -> Option<Outcome> {
        let check = ssl.ex_data(index().ok()?)?;
        let outcome = check.slot().clone()?;
        check.log(&outcome);
        Some(outcome)
    }

    /// The check of a server's certificate.
    fn check(
        &self,
        subject: &Subject<'_>,
        staple: Option<&[u8]>,
        deadline: Option<Deadline>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let Ok(id) = response::request(subject) else {
            // No CertID can be made: nothing can be looked up, and nothing can be for it.
            return self.undetermined(subject, outcome);
        };
        if let Some(staple) = staple.filter(|staple| !staple.is_empty()) {
            if self.look_at_staple(subject, &id, staple, &mut outcome) {
                return outcome;
            }
        } else if ffi::must_staple(subject.certificate) {
            outcome.refused = Some(staple_missing(subject.certificate));
            return outcome;
        }
        if self.look_into_cache(subject, &id, &mut outcome) {
            return outcome;
        }
        if self.crls.count() > 0 {
            // OpenSSL has looked the certificate up while it verified the chain, and would have ended
            // the handshake if it were listed, or if its issuer's list were missing.
            let by_crl = Found::by_crl();
            outcome.found.steps.extend(by_crl.steps);
            outcome.found.status = by_crl.status;
            return outcome;
        }
        if self.ask_responders(subject, &id, deadline, &mut outcome) {
            return outcome;
        }
        self.undetermined(subject, outcome)
    }

    /// The check of a certificate that is a trust anchor by itself: nobody above it could revoke it, and
    /// no response about it could be verified.
    fn check_anchor(&self, certificate: &X509Ref, staple: Option<&[u8]>) -> Outcome {
        let mut outcome = Outcome::default();
        if staple.is_none_or(<[u8]>::is_empty) && ffi::must_staple(certificate) {
            outcome.refused = Some(staple_missing(certificate));
        } else if self.requires_status {
            outcome.refused = Some(status_unknown(certificate, &outcome.found));
        }
        outcome
    }

    /// Whether the staple decides.
    fn look_at_staple(
        &self,
        subject: &Subject<'_>,
        id: &[u8],
        staple: &[u8],
        outcome: &mut Outcome,
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
        let mut note = |what: String| {
            outcome
                .found
                .steps
                .push(RevocationStep::new(Evidence::Staple, what, took));
        };
        match validated {
            Ok(answer) => {
                note(says(&answer));
                if answer.is_conclusive() {
                    let origin = Origin::Staple;
                    let der = staple.into();
                    let kept = Known {
                        answer: answer.clone(),
                        origin,
                        der,
                    };
                    self.cache.keep(id, kept, now);
                }
                // A staple from before a revocation that is known must not hide it.
                let revoked = known.filter(|known| known.answer.revokes(&answer));
                match revoked {
                    Some(known) => {
                        let step = RevocationStep::new(
                            Evidence::Cache,
                            says(&known.answer),
                            Duration::ZERO,
                        );
                        outcome.found.steps.push(step);
                        decide(subject, &known.answer, &known.origin, outcome)
                    }
                    None => decide(subject, &answer, &Origin::Staple, outcome),
                }
            }
            Err(invalid) => {
                note(format!("is not valid: {invalid}"));
                outcome.refused = Some(staple_invalid(subject, &invalid));
                true
            }
        }
    }

    fn look_into_cache(&self, subject: &Subject<'_>, id: &[u8], outcome: &mut Outcome) -> bool {
        let Some(known) = self.cache.get(id, SystemTime::now()) else {
            return false;
        };
        let from = match &known.origin {
            Origin::Staple => "a staple".to_owned(),
            Origin::Responder(url) => url.clone(),
        };
        let what = format!("{}, by {from}", says(&known.answer));
        let step = RevocationStep::new(Evidence::Cache, what, Duration::ZERO);
        outcome.found.steps.push(step);
        decide(subject, &known.answer, &known.origin, outcome)
    }

    fn ask_responders(
        &self,
        subject: &Subject<'_>,
        id: &[u8],
        deadline: Option<Deadline>,
        outcome: &mut Outcome,
    ) -> bool {
        let urls = responders(subject.certificate);
        if urls.is_empty() || !self.asks_responders {
            return false;
        }
        let started = Instant::now();
        let limit = Deadline::after(
            started,
            Some(self.responder_timeout),
            TimeoutKind::OcspResponder,
        );
        // A server that has used up most of the time must not thereby switch the check off.
        let is_short = deadline.is_some_and(|deadline| match deadline.remaining(started) {
            Ok(left) => left.is_some_and(|left| left < deadline.elapsed().limit / 2),
            Err(_) => true,
        });
        // A check that may fail leaves half of the time to the rest: the handshake, hello and authentication.
        let deadline = deadline.map(|deadline| match self.requires_status || is_short {
            true => deadline,
            false => deadline.halfway(started),
        });
        let deadline = deadline.map_or(limit, |deadline| limit.earlier(deadline));
        // None without any limit.
        let left = deadline.remaining(started).unwrap_or(Some(Duration::ZERO));
        let asked = self.cache.ask_once(id, left, || {
            let (mut learned, der) = responder::ask(&urls, id, subject, deadline);
            learned.was_cut_short = learned.answer.is_none()
                && deadline.remaining(Instant::now()).is_err()
                && deadline.elapsed().kind != TimeoutKind::OcspResponder
                && is_short;
            if let Some((answer, url)) = &learned.answer {
                let known = Known {
                    answer: answer.clone(),
                    origin: Origin::Responder(url.clone()),
                    der: der.into(),
                };
                self.cache.keep(id, known, SystemTime::now());
            }
            learned
        });
        let Some((learned, by_another)) = asked else {
            let what = "another connection still waits for it".to_owned();
            let evidence = Evidence::Responder(urls.join(", "));
            let step = RevocationStep::new(evidence, what, started.elapsed());
            outcome.found.steps.push(step);
            return false;
        };
        for attempt in learned.attempts {
            let by = if by_another {
                " (asked by another connection)"
            } else {
                ""
            };
            let what = format!("{}{by}", attempt.outcome);
            let evidence = Evidence::Responder(attempt.url.clone());
            let step = RevocationStep::new(evidence, what, attempt.duration);
            outcome.found.steps.push(step);
        }
        match learned.answer {
            Some((answer, url)) => decide(subject, &answer, &Origin::Responder(url), outcome),
            None => false,
        }
    }

    /// No evidence was conclusive.
    fn undetermined(&self, subject: &Subject<'_>, mut outcome: Outcome) -> Outcome {
        let urls = responders(subject.certificate);
        // The next connection may learn more. Where nobody was asked it cannot.
        if !outcome.found.steps.is_empty() {
            outcome.session = SessionLimit::NotKept;
        }
        if !urls.is_empty() && !self.asks_responders {
            let what = "was not asked, for tlsDisableOCSPEndpointCheck=true";
            let evidence = Evidence::Responder(urls.join(", "));
            let step = RevocationStep::new(evidence, what, Duration::ZERO);
            outcome.found.steps.push(step);
        }
        let was_looked_for = !outcome.found.steps.is_empty();
        outcome.found.status = match was_looked_for {
            true => RevocationStatus::Undetermined,
            false => RevocationStatus::NotChecked,
        };
        if self.requires_status {
            outcome.refused = Some(status_unknown(subject.certificate, &outcome.found));
        }
        outcome
    }
}

impl Check {
    fn run(&self, ssl: &SslRef) -> Outcome {
        let chain: Vec<&X509Ref> = ssl.verified_chain().into_iter().flatten().collect();
        if let Some(cause) = unmet_demand(&chain, ssl.ocsp_status()) {
            return Outcome {
                refused: Some(cause),
                ..Outcome::default()
            };
        }
        match chain.as_slice() {
            [certificate, issuer, ..] => {
                let is_certain = self.checker.requires_status || ffi::must_staple(certificate);
                let default = if is_certain { A_DAY } else { A_DAY * 7 };
                let subject = Subject {
                    certificate,
                    issuer,
                    crls: &self.checker.crls,
                    max_age: self.checker.max_age.unwrap_or(default),
                };
                self.checker
                    .check(&subject, ssl.ocsp_status(), self.deadline)
            }
            [certificate] => self.checker.check_anchor(certificate, ssl.ocsp_status()),
            [] => Outcome::default(),
        }
    }

    fn log(&self, outcome: &Outcome) {
        let tried: Vec<_> = outcome
            .found
            .steps
            .iter()
            .map(|step| format!("{} {}", step.evidence, step.outcome))
            .collect();
        let (server, tried) = (&self.server, tried.join("; "));
        match outcome.found.status {
            RevocationStatus::Undetermined if outcome.refused.is_none() => {
                warn!(target: "mongotls::ocsp", "server {server}: whether its certificate is revoked is not known: {tried}");
            }
            status => {
                debug!(target: "mongotls::ocsp", "server {server}: {}: {tried}", status.as_str());
            }
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Outcome>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The age limit of an answer without `nextUpdate` if certainty is required, unless the options set another one.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Refuses a chain in which a CA demands staples, unless each certificate that it issues demands one too
/// (RFC 7633 §4.2.2). The trust anchor, which is the last one, is not part of the path.
fn unmet_demand(chain: &[&X509Ref], staple: Option<&[u8]>) -> Option<Cause> {
    let path = chain.split_last().map_or(&[][..], |(_, path)| path);
    let links = path.iter().zip(path.iter().skip(1)).zip(0_u32..);
    let mut unmet = links.filter(|((certificate, issuer), _)| {
        ffi::must_staple(issuer) && !ffi::must_staple(certificate)
    });
    let ((certificate, issuer), depth) = unmet.next()?;
    let (certificate, issuer) = (Certificate::from(*certificate), Certificate::from(*issuer));
    let (name, issuer) = (certificate.short_name(), issuer.short_name());
    let demand = format!(
        "the CA {issuer:?} demands that certificates it issues ask for an OCSP response from the server (must-staple)"
    );
    let cause = match staple.is_none_or(<[u8]>::is_empty) {
        true => Cause::new(
            CauseCode::MustStapleMissing,
            format!("{demand}, {name:?} does not ask, and the server sent none"),
            "Have the certificate issued with the TLS feature extension, and let the server staple.",
        ),
        false => Cause::new(
            CauseCode::InvalidCa,
            format!("{demand}, and {name:?} does not ask"),
            "Have the certificate issued with the TLS feature extension, or by another CA.",
        ),
    };
    Some(
        about(cause, &certificate)
            .fact("depth", depth)
            .fact(
                "role",
                if depth == 0 {
                    "end entity"
                } else {
                    "intermediate"
                },
            )
            .fact("constrained_by", issuer),
    )
}

/// The OCSP responders that a certificate names (RFC 5280 §4.2.2.1), each once.
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

/// Whether an answer decides, and what follows from it.
fn decide(subject: &Subject<'_>, answer: &Answer, origin: &Origin, outcome: &mut Outcome) -> bool {
    match &answer.status {
        Status::Unknown => return false,
        Status::Good => outcome.found.status = RevocationStatus::Good,
        Status::Revoked { .. } => {
            outcome.found.status = RevocationStatus::Revoked;
            outcome.refused = Some(revoked(subject, answer, origin));
        }
    }
    outcome.found.valid_until = answer.next_update;
    outcome.session = match answer.next_update {
        Some(until) => SessionLimit::Until(until),
        None => SessionLimit::NotKept,
    };
    true
}

/// An answer in words that complete "the staple …".
fn says(answer: &Answer) -> String {
    let until = answer.next_update.filter(|_| answer.is_conclusive());
    match until {
        Some(until) => format!("{}, until {}", answer.status, rfc3339(until)),
        None => answer.status.to_string(),
    }
}

fn revoked(subject: &Subject<'_>, answer: &Answer, origin: &Origin) -> Cause {
    let (code, by, url) = match origin {
        Origin::Staple => (
            CauseCode::RevokedOcspStaple,
            "the OCSP response that the server sent".to_owned(),
            None,
        ),
        Origin::Responder(url) => (
            CauseCode::RevokedOcspResponder,
            format!("the OCSP responder {url}"),
            Some(url.as_str()),
        ),
    };
    let certificate = Certificate::from(subject.certificate);
    let message = format!(
        "the server's certificate {} is revoked: {by} says so",
        Quoted(&certificate.short_name())
    );
    let remedy = "Have a new certificate issued for the server. Until then do not trust it: somebody may have its key.";
    let (revoked_at, reason) = match &answer.status {
        Status::Revoked { at, reason } => (*at, *reason),
        _ => (None, None),
    };
    about(Cause::new(code, message, remedy), &certificate)
        .fact_opt("responder", url)
        .fact_opt("revoked_at", revoked_at)
        .fact_opt("reason", reason)
        .fact("this_update", answer.this_update)
        .fact_opt("next_update", answer.next_update)
}

fn staple_missing(certificate: &X509Ref) -> Cause {
    let certificate = Certificate::from(certificate);
    let message = format!(
        "the server's certificate {} demands an OCSP response from the server (must-staple), and the server sent none",
        Quoted(&certificate.short_name())
    );
    let remedy = "Let the server staple (mongod does so by itself if it reaches its OCSP responder; look at its log), or have a certificate issued without the TLS feature extension.";
    about(
        Cause::new(CauseCode::MustStapleMissing, message, remedy),
        &certificate,
    )
}

fn staple_invalid(subject: &Subject<'_>, invalid: &Invalid) -> Cause {
    let certificate = Certificate::from(subject.certificate);
    let message = format!(
        "the OCSP response that the server sent for {} is not valid: {invalid}",
        Quoted(&certificate.short_name())
    );
    let remedy = match invalid {
        Invalid::NotYetValid(_) | Invalid::NotYetProduced(_) => {
            "Compare this host's clock with the true time, and with the server's."
        }
        Invalid::TooOld(..) => {
            "Let the server fetch a new OCSP response, and the responder state a nextUpdate; ocsp_max_age sets how old one without may be."
        }
        Invalid::OutOfDate(_) => {
            "Let the server fetch a new OCSP response: look whether it reaches its responder, and compare the clocks."
        }
        _ => {
            "Look at what the server staples: it must be a response of the CA that issued its certificate, or of a responder that the CA certified for it."
        }
    };
    let (this_update, next_update) = match invalid {
        Invalid::NotYetValid(from) => (Some(*from), None),
        Invalid::OutOfDate(until) => (None, Some(*until)),
        Invalid::TooOld(from, _) => (Some(*from), None),
        _ => (None, None),
    };
    about(
        Cause::new(CauseCode::OcspStapleInvalid, message, remedy),
        &certificate,
    )
    .fact("why", invalid.to_string())
    .fact_opt("this_update", this_update)
    .fact_opt("next_update", next_update)
}

fn status_unknown(certificate: &X509Ref, found: &Found) -> Cause {
    let certificate = Certificate::from(certificate);
    let tried: Vec<_> = found
        .steps
        .iter()
        .map(|step| format!("{} {}", step.evidence, step.outcome))
        .collect();
    let message = format!(
        "whether the server's certificate {} is revoked is not known, and require_revocation_status asks for it",
        Quoted(&certificate.short_name())
    );
    let remedy = "Let the server staple, let this host reach the responder that the certificate names, or give the CRL of its issuer (tlsCRLFile).";
    about(
        Cause::new(CauseCode::RevocationUnknown, message, remedy),
        &certificate,
    )
    .fact("tried", tried)
}

/// The facts of the certificate in question.
fn about(cause: Cause, certificate: &Certificate) -> Cause {
    cause
        .fact("subject", certificate.subject.as_str())
        .fact("issuer", certificate.issuer.as_str())
        .fact("serial", certificate.serial.as_str())
        .fact("depth", 0_u32)
        .fact("role", "end entity")
        .fact("not_before", certificate.not_before)
        .fact("not_after", certificate.not_after)
        .fact(
            "sha256_fingerprint",
            certificate.sha256_fingerprint.as_str(),
        )
        .fact("checked_at", SystemTime::now())
}

/// Where a connection keeps its [`Check`]; taken once a process.
fn index() -> Result<Index<Ssl, Check>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, Check>> = OnceLock::new();
    if let Some(index) = INDEX.get() {
        return Ok(*index);
    }
    let index = Ssl::new_ex_index()?;
    Ok(*INDEX.get_or_init(|| index))
}
