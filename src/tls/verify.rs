//! Watching the verification of a chain, so that a refusal can be explained.
//!
//! OpenSSL decides; the callback stores what it decided about and passes the decision on unchanged.
//! The first refusal ends the handshake, so at most one [`Refusal`] is kept.

use std::sync::{Arc, Mutex, PoisonError};

use openssl::ssl::{SslRef, SslVerifyMode};
use openssl::x509::{X509, X509StoreContextRef, X509VerifyResult};

use super::ffi;

/// What OpenSSL refused, and where in the chain.
pub(super) struct Refusal {
    /// OpenSSL's reason.
    pub(super) result: X509VerifyResult,
    /// The place in the chain; 0 is the server's own certificate.
    pub(super) depth: u32,
    /// The certificate at that place.
    pub(super) certificate: Option<X509>,
    /// The chain as far as it was built, the server's certificate first.
    pub(super) chain: Vec<X509>,
    /// The certificates that the server sent.
    pub(super) sent: Vec<X509>,
}

/// Where the callback of one connection leaves the refusal.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Option<Refusal>>>);

impl Watch {
    /// Lets `ssl` verify its peer and leave a refusal here.
    pub(super) fn install(&self, ssl: &mut SslRef) {
        let slot = Arc::clone(&self.0);
        ssl.set_verify_callback(SslVerifyMode::PEER, move |passed, context| {
            if !passed {
                let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
                slot.get_or_insert_with(|| Refusal::of(context));
            }
            passed
        });
    }

    /// The refusal, if there was one.
    pub(super) fn take(&self) -> Option<Refusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Refusal {
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
        }
    }
}
