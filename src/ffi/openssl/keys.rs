//! Private keys from stores and PKCS#12 files.

#![allow(unsafe_code)]

#[cfg(ossl300)]
use std::ffi::CString;

use foreign_types::ForeignType;
#[cfg(ossl300)]
use libc::c_void;
use libc::{c_char, c_int};
use openssl::error::ErrorStack;
use openssl::pkcs12::{ParsedPkcs12_2, Pkcs12};
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::x509::X509;
use openssl_sys as sys;
use zeroize::Zeroizing;

use super::calls::*;

/// Returns the first private key that a store URI names (`OSSL_STORE`), or `None` if the store contains none.
/// `password` is called for a key that needs a password. It writes the password into the buffer and returns its
/// length.
///
/// # Errors
/// OpenSSL's errors; an empty stack if OpenSSL is older than 3.
#[cfg(ossl300)]
pub(crate) fn load_private_key(
    uri: &str,
    password: &mut dyn FnMut(&mut [u8]) -> usize,
) -> Result<Option<PKey<Private>>, ErrorStack> {
    /// Frees what was opened, on every path.
    struct StoreHandle(*mut c_void, *mut c_void);
    impl Drop for StoreHandle {
        fn drop(&mut self) {
            // SAFETY: both pointers come from the calls below or are null, which both functions accept, and no code
            // uses them any more.
            unsafe {
                OSSL_STORE_close(self.0);
                UI_destroy_method(self.1);
            }
        }
    }
    extern "C" fn fetch_password(
        buffer: *mut c_char,
        size: c_int,
        _: c_int,
        data: *mut c_void,
    ) -> c_int {
        let Some(size) = usize::try_from(size).ok().filter(|_| !buffer.is_null()) else {
            return -1;
        };
        // SAFETY: OpenSSL passes a writable buffer of that size, and as data the pointer that was given to
        // OSSL_STORE_open: to a closure that outlives the store and is used only on this thread.
        let (buffer, password) = unsafe {
            (
                std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size),
                &mut *data.cast::<&mut dyn FnMut(&mut [u8]) -> usize>(),
            )
        };
        buffer.fill(0);
        // A panic must not cross C: a missing password causes an error of OpenSSL.
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| password(buffer)))
            .ok()
            // OpenSSL writes a zero after the returned length.
            .filter(|length| *length <= size)
            .and_then(|length| c_int::try_from(length).ok())
            .unwrap_or(-1)
    }
    const OSSL_STORE_INFO_PKEY: c_int = 4;

    let Ok(uri) = CString::new(uri) else {
        return Ok(None);
    };
    let mut password = password;
    ErrorStack::get();
    // SAFETY: the URI, the method and the closure outlive the store, which is closed before this function returns.
    // Each pointer that OpenSSL returns is checked for null. The key that get1 returns is a separate reference, which
    // PKey takes over.
    unsafe {
        let method = UI_UTIL_wrap_read_pem_callback(Some(fetch_password), 0);
        if method.is_null() {
            return Err(ErrorStack::get());
        }
        let data = (&raw mut password).cast::<c_void>();
        let store = OSSL_STORE_open(uri.as_ptr(), method, data, None, std::ptr::null_mut());
        let store = StoreHandle(store, method);
        if store.0.is_null() || OSSL_STORE_expect(store.0, OSSL_STORE_INFO_PKEY) != 1 {
            return Err(ErrorStack::get());
        }
        while OSSL_STORE_eof(store.0) == 0 {
            let info = OSSL_STORE_load(store.0);
            if info.is_null() {
                // At the end of a store without a key there is no error in the queue.
                let error = ErrorStack::get();
                if !error.errors().is_empty() {
                    return Err(error);
                }
                if OSSL_STORE_error(store.0) != 0 {
                    break;
                }
                continue;
            }
            let key = match OSSL_STORE_INFO_get_type(info) {
                OSSL_STORE_INFO_PKEY => OSSL_STORE_INFO_get1_PKEY(info),
                _ => std::ptr::null_mut(),
            };
            OSSL_STORE_INFO_free(info);
            if !key.is_null() {
                return Ok(Some(PKey::from_ptr(key)));
            }
        }
    }
    Ok(None)
}

#[cfg(not(ossl300))]
pub(crate) fn load_private_key(
    _: &str,
    _: &mut dyn FnMut(&mut [u8]) -> usize,
) -> Result<Option<PKey<Private>>, ErrorStack> {
    Err(ErrorStack::get())
}

/// Opens a PKCS#12 file (RFC 7292) with a password, which must not contain a NUL.
///
/// A file without a MAC (`openssl pkcs12 -export -nomac`) first gets a MAC for this password, because some versions
/// of OpenSSL cannot open it otherwise. Then only the decryption shows if the password is correct.
///
/// # Errors
/// OpenSSL's errors if it cannot decode or decrypt the file.
pub(crate) fn parse_pkcs12(der: &[u8], password: &[u8]) -> Result<ParsedPkcs12_2, ErrorStack> {
    let store = Pkcs12::from_der(der)?;
    let mut text = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    text.extend_from_slice(password);
    text.push(0);
    let length = c_int::try_from(password.len()).map_err(|_| ErrorStack::get())?;
    // SAFETY: the store and the text, which ends with a NUL, are live for all calls. The three pointers that
    // PKCS12_parse sets are null or ours to free, including the stack; each is taken over once, and only if the call
    // succeeded.
    unsafe {
        let text = text.as_ptr().cast::<c_char>();
        if PKCS12_mac_present(store.as_ptr()) == 0 {
            let digest = sys::EVP_sha256();
            let salt = std::ptr::null_mut();
            if PKCS12_set_mac(store.as_ptr(), text, length, salt, 0, 1, digest) != 1 {
                return Err(ErrorStack::get());
            }
        }
        let (mut key, mut certificate, mut others) = (
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
        let parsed = sys::PKCS12_parse(
            store.as_ptr(),
            text,
            &raw mut key,
            &raw mut certificate,
            &raw mut others,
        );
        if parsed != 1 {
            return Err(ErrorStack::get());
        }
        Ok(ParsedPkcs12_2 {
            pkey: (!key.is_null()).then(|| PKey::from_ptr(key)),
            cert: (!certificate.is_null()).then(|| X509::from_ptr(certificate)),
            ca: (!others.is_null()).then(|| Stack::from_ptr(others)),
        })
    }
}

#[cfg(all(test, ossl300))]
mod tests {
    use mongotls_testbench::pki::{Identity, LeafSpec, PkiDir};

    use super::*;

    #[test]
    fn a_password_longer_than_its_buffer_is_none() {
        let dir = PkiDir::new();
        let identity = Identity::self_signed(LeafSpec::client("client"));
        let path = dir.write("key.pem", identity.encrypted_key_pem("correct horse"));
        let uri = format!("file:{}", path.display());
        assert!(load_private_key(&uri, &mut |buffer| buffer.len() + 4096).is_err());
    }
}
