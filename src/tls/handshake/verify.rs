//! The callback that observes the verification of a chain, so that a rejection can be explained.
//!
//! OpenSSL decides. The callback stores the data behind a rejection and passes the decision on. It adds two rejections:
//! a chain without a pinned key, and a CRL that is too old. The first rejection ends the handshake, so at most one
//! [`VerifyError`] is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use openssl::ssl::{SslRef, SslVerifyMode};
use openssl::x509::{
    CrlStatus, ReasonCode, X509, X509CrlRef, X509Ref, X509StoreContextRef, X509VerifyResult,
};

use super::verify_result::misses_crl;
use crate::ffi::callback;
use crate::ffi::openssl as ffi;
use crate::ffi::openssl::instant;
use crate::options::SpkiPin;
use crate::reason::revocation::CrlEntry;
use crate::sync::Mutex;
use crate::tls::certificate::{reason_name, spki_pin};
use crate::tls::config::crl::Crls;

/// A rejection, and its position in the chain.
pub(crate) struct VerifyError {
    /// OpenSSL's reason.
    pub(crate) result: X509VerifyResult,
    /// The position in the chain; 0 is the server's own certificate.
    pub(crate) depth: u32,
    /// The certificate at that position.
    pub(crate) certificate: Option<X509>,
    /// The chain as far as it was built, the server's certificate first.
    pub(crate) chain: Vec<X509>,
    /// The certificates that the server sent.
    pub(crate) sent: Vec<X509>,
    /// The trust anchors that have the name of an issuer in the chain, including those in the chain.
    pub(crate) namesakes: Vec<X509>,
    /// The position of the first trust anchor in the chain.
    pub(crate) trusted_from: u32,
    /// The entry of the CRL in which OpenSSL looked the certificate up.
    pub(crate) crl: Option<CrlEntry>,
}

/// Reads the data of a CRL about itself and about one certificate.
fn crl_entry(crl: &X509CrlRef, certificate: Option<&X509Ref>) -> CrlEntry {
    let status = certificate.map(|certificate| crl.get_by_serial(certificate.serial_number()));
    let entry = match status {
        Some(CrlStatus::Revoked(entry)) => Some(entry),
        _ => None,
    };
    let reason = entry.and_then(|entry| entry.extension::<ReasonCode>().ok().flatten());
    CrlEntry {
        this_update: instant(crl.last_update()),
        next_update: crl.next_update().map(instant),
        revoked_at: entry.map(|entry| instant(entry.revocation_date())),
        reason: reason.and_then(|(_, code)| reason_name(code.get_i64().ok()?)),
    }
}

/// The rejection that the callback of one connection stores.
#[derive(Clone, Default)]
pub(crate) struct VerifyWatch(Arc<WatchState>);

#[derive(Default)]
struct WatchState {
    has_begun: AtomicBool,
    error: Mutex<Option<VerifyError>>,
}

impl VerifyWatch {
    /// Makes `ssl` verify its peer and store a rejection here. With `pins`, the chain must contain one of them. None of
    /// `crls`, which OpenSSL uses too, may list the trust anchor.
    pub(crate) fn install(&self, ssl: &mut SslRef, pins: &[SpkiPin], crls: &Crls) {
        let seen = Arc::clone(&self.0);
        let pins = pins.to_vec();
        let crls = crls.clone();
        let judge = move |mut passed, context: &mut X509StoreContextRef| {
            seen.has_begun.store(true, Ordering::Relaxed);
            // The last call is for the server's certificate, after all other checks have passed.
            if passed
                && context.error_depth() == 0
                && !pins.is_empty()
                && !holds_pin(context, &pins)
            {
                context.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
                passed = false;
            }
            if passed && context.error_depth() == 0 {
                if let Some(error) = VerifyError::of_old_crl(context, &crls) {
                    context.set_error(error.result);
                    let mut slot = seen.error.lock();
                    slot.get_or_insert(error);
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
                let mut error = seen.error.lock();
                error.get_or_insert_with(|| VerifyError::of(context));
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

    /// Takes the rejection, if there was one.
    pub(crate) fn take(&self) -> Option<VerifyError> {
        let mut error = self.0.error.lock();
        error.take()
    }
}

/// Returns whether OpenSSL found no CRL in force for a trust anchor above the server. An anchor is not part of the
/// path (RFC 5280 §6.1), and the issuer of an intermediate CA that is one is not in the chain, so that OpenSSL finds
/// no CRL that it could verify.
fn is_about_crl_of_anchor(context: &X509StoreContextRef) -> bool {
    let depth = context.error_depth();
    depth > 0 && depth >= ffi::untrusted_count(context) && misses_crl(context.error())
}

fn holds_pin(context: &X509StoreContextRef, pins: &[SpkiPin]) -> bool {
    let mut chain = context.chain().into_iter().flatten();
    chain.any(|certificate| spki_pin(certificate).is_some_and(|pin| pins.contains(&pin)))
}

/// The trust anchors that have the name of an issuer in the chain.
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

/// The largest number of anchors to compare: each costs the verification of a signature.
const MOST_NAMESAKES: usize = 16;

impl VerifyError {
    /// A chain that OpenSSL has verified with a CRL that is too old.
    fn of_old_crl(context: &X509StoreContextRef, crls: &Crls) -> Option<Self> {
        let chain = context.chain()?;
        let (depth, list) = crls.too_old(chain, SystemTime::now())?;
        let certificate = chain.get(depth);
        Some(Self {
            result: ffi::crl_has_expired(),
            depth: u32::try_from(depth).unwrap_or(u32::MAX),
            certificate: certificate.map(ToOwned::to_owned),
            crl: Some(crl_entry(&list.crl, certificate)),
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
            crl: ffi::current_crl(context).map(|crl| crl_entry(crl, context.current_cert())),
        }
    }
}
