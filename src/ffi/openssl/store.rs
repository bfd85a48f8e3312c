//! The store of trust anchors and CRLs, and the verification of a chain with it.

#![allow(unsafe_code)]

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::error::ErrorStack;
use openssl::stack::{Stack, StackRef};
use openssl::x509::store::X509StoreBuilderRef;
use openssl::x509::{X509, X509Crl, X509CrlRef, X509NameRef, X509Ref, X509StoreContextRef};
use openssl_sys as sys;

use super::calls::*;

/// Adds a CRL to a store (RFC 5280 §5). The store takes its own reference.
///
/// # Errors
/// OpenSSL's errors if it rejects the CRL.
pub(crate) fn store_add_crl(
    store: &mut X509StoreBuilderRef,
    crl: &X509Crl,
) -> Result<(), ErrorStack> {
    // SAFETY: both pointers come from live values; X509_STORE_add_crl takes its own reference to the CRL and keeps no
    // borrow of ours.
    match unsafe { X509_STORE_add_crl(store.as_ptr(), crl.as_ptr()) } {
        1 => Ok(()),
        _ => Err(ErrorStack::get()),
    }
}

/// Returns the certificates that the peer sent, while its chain is being verified.
pub(crate) fn untrusted_chain(context: &X509StoreContextRef) -> Vec<X509> {
    // SAFETY: the context is live for the call; the stack belongs to it, is borrowed only here, and may be null,
    // which is checked. `to_owned` takes a separate reference to each certificate.
    unsafe {
        let stack = X509_STORE_CTX_get0_untrusted(context.as_ptr());
        if stack.is_null() {
            return Vec::new();
        }
        StackRef::<X509>::from_ptr(stack)
            .iter()
            .map(|cert: &X509Ref| cert.to_owned())
            .collect()
    }
}

/// Returns the number of certificates in the chain that came from the peer, while it is being verified. The
/// certificates above them are from the store.
pub(crate) fn untrusted_count(context: &X509StoreContextRef) -> u32 {
    // SAFETY: the context is live for the call, which only reads a number from it.
    let count = unsafe { X509_STORE_CTX_get_num_untrusted(context.as_ptr()) };
    u32::try_from(count).unwrap_or(0)
}

/// Returns OpenSSL's result for an expired CRL.
pub(crate) fn crl_has_expired() -> openssl::x509::X509VerifyResult {
    // SAFETY: the number is one of OpenSSL's own results.
    unsafe { openssl::x509::X509VerifyResult::from_raw(sys::X509_V_ERR_CRL_HAS_EXPIRED) }
}

/// Returns the CRL that is being checked, while a chain is being verified.
pub(crate) fn current_crl(context: &X509StoreContextRef) -> Option<&X509CrlRef> {
    // SAFETY: the context is live for the call. The CRL belongs to it or to its store, so it lives as long as the
    // context is borrowed; it may be null, which is checked.
    unsafe {
        let crl = X509_STORE_CTX_get0_current_crl(context.as_ptr());
        (!crl.is_null()).then(|| X509CrlRef::from_ptr(crl))
    }
}

/// Returns the trust anchors whose subject is `name`, while a chain is being verified.
pub(crate) fn anchors_named(context: &X509StoreContextRef, name: &X509NameRef) -> Vec<X509> {
    // SAFETY: context and name are live for the call, which takes the lock of the store. The call returns null, which
    // is checked, or a stack that is ours, with its own references to its certificates.
    unsafe {
        let stack = X509_STORE_CTX_get1_certs(context.as_ptr(), name.as_ptr());
        if stack.is_null() {
            return Vec::new();
        }
        Stack::<X509>::from_ptr(stack).into_iter().collect()
    }
}
