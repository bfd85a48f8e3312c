//! A lookup of trust anchors for the verification of a chain, implemented by this crate.

#![allow(unsafe_code)]

use std::cmp;
use std::sync::OnceLock;

use foreign_types::{ForeignType, ForeignTypeRef};
use libc::{c_int, c_void};
use openssl::error::ErrorStack;
use openssl::x509::store::X509StoreBuilderRef;
use openssl::x509::{X509, X509NameRef};
use openssl_sys as sys;

use super::calls::*;
use crate::ffi::callback;
use crate::sync::Mutex;

/// Returns the certificates with this subject name.
pub(crate) type Find = dyn Fn(&X509NameRef) -> Vec<X509> + Send + Sync;

/// Lets a store call `find` while it verifies a chain, for a name that none of its certificates has. The returned
/// certificates are added to the store.
///
/// # Errors
/// OpenSSL's errors if it has no memory left.
pub(crate) fn store_find_by(
    store: &mut X509StoreBuilderRef,
    find: Box<Find>,
) -> Result<(), ErrorStack> {
    const X509_LU_X509: c_int = 1;
    /// The data of the lookup of one store.
    struct Data {
        find: Box<Find>,
        /// The certificates that were found. They keep alive the certificates that `by_subject` returns without a
        /// reference.
        found: Mutex<Vec<X509>>,
    }
    extern "C" fn by_subject(
        lookup: *mut c_void,
        kind: c_int,
        name: *mut sys::X509_NAME,
        result: *mut c_void,
    ) -> c_int {
        if kind != X509_LU_X509 || name.is_null() {
            return 0;
        }
        let work = || {
            // SAFETY: OpenSSL passes the lookup that the store created below, whose data was set before any handshake
            // and lives until `free`, and a name that is live for the call.
            let (data, name) = unsafe {
                (
                    &*X509_LOOKUP_get_method_data(lookup).cast::<Data>(),
                    X509NameRef::from_ptr(name),
                )
            };
            let mut found = None;
            for certificate in (data.find)(name) {
                // SAFETY: the lookup belongs to a live store, whose lock is not held during this call. The store
                // takes its own reference.
                let added = unsafe {
                    sys::X509_STORE_add_cert(X509_LOOKUP_get_store(lookup), certificate.as_ptr())
                };
                let is_named = certificate
                    .subject_name()
                    .try_cmp(name)
                    .is_ok_and(cmp::Ordering::is_eq);
                if added == 1 && is_named && found.is_none() {
                    found = Some(certificate);
                }
            }
            let certificate = found?;
            let mut all = data.found.lock();
            let known = all.iter().position(|known| *known == certificate);
            let place = known.unwrap_or_else(|| {
                all.push(certificate);
                all.len() - 1
            });
            let certificate = all.get(place)?.as_ptr();
            // SAFETY: `result` is an empty object of the caller. The caller takes its own reference and never
            // releases the one that set1 takes, so it is released here, as X509_LOOKUP_meth_new(3) describes; `found`
            // still holds one.
            unsafe {
                if X509_OBJECT_set1_X509(result, certificate) != 1 {
                    return None;
                }
                sys::X509_free(certificate);
            }
            Some(())
        };
        c_int::from(callback::run(work).flatten().is_some())
    }
    extern "C" fn free(lookup: *mut c_void) {
        // SAFETY: the data is null or the box that was set below. OpenSSL calls this once, when no code uses the
        // lookup any more.
        unsafe {
            let data = X509_LOOKUP_get_method_data(lookup).cast::<Data>();
            if !data.is_null() {
                drop(Box::from_raw(data));
            }
        }
    }
    /// The methods, which are never freed.
    struct LookupMethod(*mut c_void);
    // SAFETY: OpenSSL only reads the structure after it was filled in.
    unsafe impl Send for LookupMethod {}
    // SAFETY: as above.
    unsafe impl Sync for LookupMethod {}
    static METHOD: OnceLock<LookupMethod> = OnceLock::new();

    // SAFETY: the name is a C string that lives forever, and both functions have the types that OpenSSL expects. Each
    // pointer is checked for null. The lookup belongs to the store, which is live, and takes ownership of the data.
    unsafe {
        let method = METHOD.get_or_init(|| {
            let method = X509_LOOKUP_meth_new(c"mongotls".as_ptr());
            if !method.is_null() {
                X509_LOOKUP_meth_set_get_by_subject(method, by_subject);
                X509_LOOKUP_meth_set_free(method, free);
            }
            LookupMethod(method)
        });
        if method.0.is_null() {
            return Err(ErrorStack::get());
        }
        let lookup = X509_STORE_add_lookup(store.as_ptr(), method.0);
        if lookup.is_null() {
            return Err(ErrorStack::get());
        }
        let data = Box::new(Data {
            find,
            found: Mutex::default(),
        });
        // A store has one lookup of each kind: the data of an earlier call is replaced.
        free(lookup);
        X509_LOOKUP_set_method_data(lookup, Box::into_raw(data).cast());
    }
    Ok(())
}
