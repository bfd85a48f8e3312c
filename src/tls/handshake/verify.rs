//! Watching the verification of a chain, so that a refusal can be explained.
//!
//! OpenSSL decides; the callback stores what it decided about and passes the decision on. It adds one
//! refusal of its own, of a chain without a pinned key. The first refusal ends the handshake, so at most
//! one [`Refusal`] is kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use openssl::sha::sha256;
use openssl::ssl::{SslRef, SslVerifyMode};
use openssl::x509::{
    CrlStatus, ReasonCode, X509, X509CrlRef, X509Ref, X509StoreContextRef, X509VerifyResult,
};

use super::refusal;
use crate::ffi::callback;
use crate::ffi::openssl as ffi;
use crate::ffi::openssl::instant;
use crate::options::SpkiPin;
use crate::tls::config::crl::Crls;

/// What OpenSSL refused, and where in the chain.
pub(crate) struct Refusal {
    /// OpenSSL's reason.
    pub(crate) result: X509VerifyResult,
    /// The place in the chain; 0 is the server's own certificate.
    pub(crate) depth: u32,
    /// The certificate at that place.
    pub(crate) certificate: Option<X509>,
    /// The chain as far as it was built, the server's certificate first.
    pub(crate) chain: Vec<X509>,
    /// The certificates that the server sent.
    pub(crate) sent: Vec<X509>,
    /// The trust anchors that bear the name of an issuer in the chain; those in the chain are among them.
    pub(crate) namesakes: Vec<X509>,
    /// From which place on the chain consists of trust anchors.
    pub(crate) trusted_from: u32,
    /// The CRL that the certificate was looked up in.
    pub(crate) crl: Option<CrlFacts>,
}

/// What a CRL says of itself and of one certificate (RFC 5280 §5).
pub(crate) struct CrlFacts {
    pub(crate) this_update: SystemTime,
    pub(crate) next_update: Option<SystemTime>,
    /// When the certificate was revoked; none if it is not listed.
    pub(crate) revoked_at: Option<SystemTime>,
    /// Why, if the CRL tells.
    pub(crate) reason: Option<&'static str>,
}

impl CrlFacts {
    fn of(crl: &X509CrlRef, certificate: Option<&X509Ref>) -> Self {
        let status = certificate.map(|certificate| crl.get_by_serial(certificate.serial_number()));
        let entry = match status {
            Some(CrlStatus::Revoked(entry)) => Some(entry),
            _ => None,
        };
        let reason = entry.and_then(|entry| entry.extension::<ReasonCode>().ok().flatten());
        Self {
            this_update: instant(crl.last_update()),
            next_update: crl.next_update().map(instant),
            revoked_at: entry.map(|entry| instant(entry.revocation_date())),
            reason: reason.and_then(|(_, code)| reason_name(code.get_i64().ok()?)),
        }
    }
}

/// The name of a `CRLReason` (RFC 5280 §5.3.1).
pub(crate) fn reason_name(code: i64) -> Option<&'static str> {
    Some(match code {
        0 => "unspecified",
        1 => "keyCompromise",
        2 => "cACompromise",
        3 => "affiliationChanged",
        4 => "superseded",
        5 => "cessationOfOperation",
        6 => "certificateHold",
        9 => "privilegeWithdrawn",
        10 => "aACompromise",
        _ => return None,
    })
}

/// The findings of the callback of one connection.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Seen>);

#[derive(Default)]
struct Seen {
    has_begun: AtomicBool,
    refusal: Mutex<Option<Refusal>>,
}

impl Watch {
    /// Lets `ssl` verify its peer and leave a refusal here. With `pins`, one of them must be in the chain. None of `crls`,
    /// which OpenSSL uses too, may list the trust anchor.
    pub(crate) fn install(&self, ssl: &mut SslRef, pins: &[SpkiPin], crls: &Crls) {
        let seen = Arc::clone(&self.0);
        let pins = pins.to_vec();
        let crls = crls.clone();
        let judge = move |mut passed, context: &mut X509StoreContextRef| {
            seen.has_begun.store(true, Ordering::Relaxed);
            // The last of the calls is for the server's certificate, when all else has passed.
            if passed
                && context.error_depth() == 0
                && !pins.is_empty()
                && !holds_pin(context, &pins)
            {
                context.set_error(PIN_MISMATCH);
                passed = false;
            }
            if passed && context.error_depth() == 0 {
                if let Some(refusal) = Refusal::of_old_crl(context, &crls) {
                    context.set_error(refusal.result);
                    let mut slot = seen.refusal.lock().unwrap_or_else(PoisonError::into_inner);
                    slot.get_or_insert(refusal);
                    return false;
                }
            }
            let anchor = context.current_cert();
            if !passed
                && is_about_crl_of_anchor(context)
                && !anchor.is_some_and(|anchor| crls.list(anchor))
            {
                context.set_error(X509VerifyResult::OK);
                passed = true;
            }
            if !passed {
                let mut refusal = seen.refusal.lock().unwrap_or_else(PoisonError::into_inner);
                refusal.get_or_insert_with(|| Refusal::of(context));
            }
            passed
        };
        ssl.set_verify_callback(SslVerifyMode::PEER, move |passed, context| {
            callback::run(|| judge(passed, context)).unwrap_or(false)
        });
    }

    /// Returns whether a chain was verified, with any result: the server has sent a certificate, which it does not do
    /// if a session is resumed.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.has_begun.load(Ordering::Relaxed)
    }

    /// The refusal, if there was one.
    pub(crate) fn take(&self) -> Option<Refusal> {
        let mut refusal = self
            .0
            .refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        refusal.take()
    }
}

/// Returns whether OpenSSL misses a CRL in force for a trust anchor above the server. An anchor is not part of the
/// path (RFC 5280 §6.1), and the issuer of an intermediate CA that is one is not in the chain, so that OpenSSL finds
/// no CRL that it could verify.
fn is_about_crl_of_anchor(context: &X509StoreContextRef) -> bool {
    let depth = context.error_depth();
    depth > 0 && depth >= ffi::untrusted_count(context) && refusal::misses_crl(context.error())
}

/// The result that stands for a chain without a pinned key; OpenSSL leaves it to applications.
pub(crate) const PIN_MISMATCH: X509VerifyResult = X509VerifyResult::APPLICATION_VERIFICATION;

fn holds_pin(context: &X509StoreContextRef, pins: &[SpkiPin]) -> bool {
    let mut chain = context.chain().into_iter().flatten();
    chain.any(|certificate| spki_pin(certificate).is_some_and(|pin| pins.contains(&pin)))
}

/// The pin of a certificate's public key; none if OpenSSL cannot encode it.
pub(crate) fn spki_pin(certificate: &X509Ref) -> Option<SpkiPin> {
    ffi::spki_der(certificate).map(|spki| SpkiPin::from_digest(sha256(&spki)))
}

/// The trust anchors that bear the name of an issuer in the chain.
fn namesakes(context: &X509StoreContextRef) -> Vec<X509> {
    let mut found: Vec<X509> = Vec::new();
    for certificate in context.chain().into_iter().flatten() {
        for anchor in ffi::anchors_named(context, certificate.issuer_name()) {
            if !found.contains(&anchor) && found.len() < MOST_NAMESAKES {
                found.push(anchor);
            }
        }
    }
    found
}

/// More anchors of the names in a chain are not compared: each costs a signature.
const MOST_NAMESAKES: usize = 16;

impl Refusal {
    /// A chain that OpenSSL has verified with a CRL that is too old.
    fn of_old_crl(context: &X509StoreContextRef, crls: &Crls) -> Option<Self> {
        let chain = context.chain()?;
        let (depth, list) = crls.too_old(chain, SystemTime::now())?;
        let certificate = chain.get(depth);
        Some(Self {
            result: ffi::crl_has_expired(),
            depth: u32::try_from(depth).unwrap_or(u32::MAX),
            certificate: certificate.map(ToOwned::to_owned),
            crl: Some(CrlFacts::of(&list.crl, certificate)),
            ..Self::of(context)
        })
    }

    fn of(context: &X509StoreContextRef) -> Self {
        Self {
            result: context.error(),
            depth: context.error_depth(),
            certificate: context.current_cert().map(ToOwned::to_owned),
            chain: context
                .chain()
                .into_iter()
                .flatten()
                .map(ToOwned::to_owned)
                .collect(),
            sent: ffi::untrusted_chain(context),
            namesakes: namesakes(context),
            trusted_from: ffi::untrusted_count(context),
            crl: ffi::current_crl(context).map(|crl| CrlFacts::of(crl, context.current_cert())),
        }
    }
}
