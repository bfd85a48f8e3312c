//! A check of a CRL that OpenSSL need not repeat.

#![allow(unsafe_code)]

use std::sync::OnceLock;

use foreign_types::{ForeignType, ForeignTypeRef};
use libc::{c_int, c_ulong, time_t};
use openssl::error::ErrorStack;
use openssl::x509::store::{X509StoreBuilder, X509StoreBuilderRef};
use openssl::x509::{X509CrlRef, X509Ref, X509StoreContext, X509StoreContextRef};
use openssl_sys as sys;

use super::calls::*;
use crate::ffi::callback;

/// Remembers the checks of CRLs that have passed. Its functions are called while a chain is being verified.
pub(crate) trait CrlChecks {
    /// Returns true if OpenSSL's check of this CRL for the current certificate would succeed.
    fn has_passed(context: &X509StoreContextRef, crl: &X509CrlRef) -> bool;

    /// Notes that it has succeeded.
    fn note(context: &X509StoreContextRef, crl: &X509CrlRef);
}

/// Lets a store call OpenSSL's own check of a CRL only if `C` does not remember that it has passed.
///
/// # Errors
/// OpenSSL's errors if it has no memory left.
pub(crate) fn store_check_crl_with<C: CrlChecks>(
    store: &mut X509StoreBuilderRef,
) -> Result<(), ErrorStack> {
    own_check()?;
    // SAFETY: the store is live, and the function has the type that OpenSSL expects and lives forever.
    unsafe { X509_STORE_set_check_crl(store.as_ptr(), Some(check::<C>)) };
    Ok(())
}

extern "C" fn check<C: CrlChecks>(
    context: *mut sys::X509_STORE_CTX,
    crl: *mut sys::X509_CRL,
) -> c_int {
    if context.is_null() || crl.is_null() {
        return 0;
    }
    let with = |work: fn(&X509StoreContextRef, &X509CrlRef) -> bool| {
        callback::run(|| {
            // SAFETY: OpenSSL passes the context of the verification and a CRL of it. Both are live for the call, and
            // nothing else uses them meanwhile.
            let (context, crl) = unsafe {
                (
                    X509StoreContextRef::from_ptr(context),
                    X509CrlRef::from_ptr(crl),
                )
            };
            work(context, crl)
        })
    };
    if with(C::has_passed) == Some(true) {
        return 1;
    }
    // It was found before this function was installed.
    let Ok(own) = own_check() else { return 0 };
    // SAFETY: the arguments are those that OpenSSL passed for this very check.
    let result = unsafe { own(context, crl) };
    if result == 1 {
        with(|context, crl| {
            C::note(context, crl);
            true
        });
    }
    result
}

/// OpenSSL's own function, which a verification uses whose store has no other.
fn own_check() -> Result<CrlCheckFunction, ErrorStack> {
    static OWN: OnceLock<CrlCheckFunction> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(*own);
    }
    let store = X509StoreBuilder::new()?.build();
    let context = X509StoreContext::new()?;
    // SAFETY: both are live for the calls. The context is used for nothing else, and is released before the store.
    let own = unsafe {
        match sys::X509_STORE_CTX_init(
            context.as_ptr(),
            store.as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        ) {
            1 => X509_STORE_CTX_get_check_crl(context.as_ptr()),
            _ => None,
        }
    };
    drop(context);
    match own {
        Some(own) => Ok(*OWN.get_or_init(|| own)),
        None => Err(ErrorStack::get()),
    }
}

/// Returns the certificate whose key verifies the CRL that is being checked, if OpenSSL has found one.
pub(crate) fn current_issuer(context: &X509StoreContextRef) -> Option<&X509Ref> {
    // SAFETY: the context is live for the call. The certificate belongs to it, so it lives as long as the context is
    // borrowed; it may be null, which is checked.
    unsafe {
        let issuer = X509_STORE_CTX_get0_current_issuer(context.as_ptr());
        (!issuer.is_null()).then(|| X509Ref::from_ptr(issuer))
    }
}

/// Returns the flags of a verification, and the instant for which it is made in seconds since 1970, unless that is now.
pub(crate) fn verification_flags(context: &X509StoreContextRef) -> (c_ulong, Option<time_t>) {
    const USE_CHECK_TIME: c_ulong = 2;
    // SAFETY: the context is live for the calls, and has parameters from its initialisation on, which are only read.
    unsafe {
        let param = X509_STORE_CTX_get0_param(context.as_ptr());
        let flags = sys::X509_VERIFY_PARAM_get_flags(param);
        let time = X509_VERIFY_PARAM_get_time(param);
        (flags, (flags & USE_CHECK_TIME != 0).then_some(time))
    }
}
