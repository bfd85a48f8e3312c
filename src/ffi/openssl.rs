//! The few calls of OpenSSL that the `openssl` crate does not offer.
//!
//! Each function here is safe to call from anywhere; each block says who keeps the promise that C asks for. Nothing
//! here decides anything.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use foreign_types::{ForeignType, ForeignTypeRef};
use libc::{c_char, c_int, c_long, c_ulong, c_void};
use openssl::asn1::{Asn1Object, Asn1ObjectRef, Asn1OctetStringRef, Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::nid::Nid;
use openssl::ocsp::{OcspBasicResponseRef, OcspCertId};
use openssl::pkcs12::{ParsedPkcs12_2, Pkcs12};
#[cfg(not(ossl300))]
use openssl::pkey::{Id, Public};
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslContextBuilder, SslRef, SslSession};
use openssl::stack::{Stack, StackRef};
use openssl::x509::store::X509StoreBuilderRef;
use openssl::x509::{
    GeneralNameRef, X509, X509Crl, X509CrlRef, X509Name, X509NameRef, X509Ref, X509StoreContextRef,
};
use openssl_sys as sys;
use zeroize::Zeroizing;

use crate::ffi::callback;

/// An ASN.1 time as an instant.
pub(crate) fn instant(time: &Asn1TimeRef) -> SystemTime {
    let since_epoch = Asn1Time::from_unix(0).and_then(|epoch| epoch.diff(time));
    let Ok(diff) = since_epoch else {
        return SystemTime::UNIX_EPOCH;
    };
    let seconds = i64::from(diff.days) * 86_400 + i64::from(diff.secs);
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let shifted = match seconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
    };
    shifted.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The first private key that a store URI names (`OSSL_STORE`); none if it holds none. `password` writes a
/// password into the buffer that it gets, and says how long it is. It is called for a key that needs one.
///
/// # Errors
/// What OpenSSL says; an empty stack where OpenSSL is older than 3.
#[cfg(ossl300)]
pub(crate) fn load_private_key(
    uri: &str,
    password: &mut dyn FnMut(&mut [u8]) -> usize,
) -> Result<Option<PKey<Private>>, ErrorStack> {
    /// Frees what was opened, whatever happens.
    struct Store(*mut c_void, *mut c_void);
    impl Drop for Store {
        fn drop(&mut self) {
            // SAFETY: both pointers come from the calls below or are null, which both functions accept,
            // and nothing uses them any more.
            unsafe {
                OSSL_STORE_close(self.0);
                UI_destroy_method(self.1);
            }
        }
    }
    extern "C" fn ask(buffer: *mut c_char, size: c_int, _: c_int, data: *mut c_void) -> c_int {
        let Some(size) = usize::try_from(size).ok().filter(|_| !buffer.is_null()) else {
            return -1;
        };
        // SAFETY: OpenSSL hands over a writable buffer of that size, and as data the pointer that was given
        // to OSSL_STORE_open: to a closure that outlives the store and is used on this thread alone.
        let (buffer, password) = unsafe {
            (
                std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size),
                &mut *data.cast::<&mut dyn FnMut(&mut [u8]) -> usize>(),
            )
        };
        buffer.fill(0);
        // A panic must not cross C: an unanswered question ends in an error of OpenSSL's.
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| password(buffer)))
            .ok()
            // OpenSSL writes a zero behind what it is told.
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
    // SAFETY: the URI, the method and the closure outlive the store, which is closed before this function
    // returns. Each pointer that OpenSSL gives is checked for null. The key that get1 returns is a
    // reference of its own, which PKey takes over.
    unsafe {
        let method = UI_UTIL_wrap_read_pem_callback(Some(ask), 0);
        if method.is_null() {
            return Err(ErrorStack::get());
        }
        let data = (&raw mut password).cast::<c_void>();
        let store = OSSL_STORE_open(uri.as_ptr(), method, data, None, std::ptr::null_mut());
        let store = Store(store, method);
        if store.0.is_null() || OSSL_STORE_expect(store.0, OSSL_STORE_INFO_PKEY) != 1 {
            return Err(ErrorStack::get());
        }
        while OSSL_STORE_eof(store.0) == 0 {
            let info = OSSL_STORE_load(store.0);
            if info.is_null() {
                // At the end of a store that holds no key there is no error in the queue.
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

/// The names of the providers that are active; empty where OpenSSL is older than 3.
pub(crate) fn providers() -> Vec<String> {
    #[cfg(ossl300)]
    {
        extern "C" fn collect(provider: *mut c_void, names: *mut c_void) -> c_int {
            // SAFETY: OpenSSL hands over a live provider, whose name is a static string of it, and the
            // pointer to the list that was given to OSSL_PROVIDER_do_all; nobody else uses the list now.
            let (name, names) = unsafe {
                (
                    CStr::from_ptr(OSSL_PROVIDER_get0_name(provider)),
                    &mut *names.cast::<Vec<String>>(),
                )
            };
            names.push(name.to_string_lossy().into_owned());
            1
        }
        let mut names: Vec<String> = Vec::new();
        // SAFETY: null stands for the default library context; the list lives on while the callback is
        // called, which happens before the call returns.
        unsafe {
            OSSL_PROVIDER_do_all(std::ptr::null_mut(), Some(collect), (&raw mut names).cast())
        };
        names
    }
    #[cfg(not(ossl300))]
    Vec::new()
}

/// Whether only algorithms of the FIPS module are fetched unless something else is asked for.
pub(crate) fn fips_is_on() -> bool {
    #[cfg(ossl300)]
    // SAFETY: null stands for the default library context; the call only reads a setting of it.
    unsafe {
        sys::EVP_default_properties_is_fips_enabled(std::ptr::null_mut()) == 1
    }
    #[cfg(not(ossl300))]
    false
}

/// Returns whether a provider that is loaded has algorithms of the FIPS module.
pub(crate) fn has_fips_algorithms() -> bool {
    #[cfg(ossl300)]
    {
        openssl::md::Md::fetch(None, "SHA256", Some("fips=yes")).is_ok()
    }
    #[cfg(not(ossl300))]
    false
}

/// A configuration file of OpenSSL, as text: nothing of it takes effect.
pub(crate) struct Configuration(*mut sys::CONF);

impl Drop for Configuration {
    fn drop(&mut self) {
        // SAFETY: the pointer comes from NCONF_new, and nothing uses it any more.
        unsafe { sys::NCONF_free(self.0) };
    }
}

impl Configuration {
    /// Reads a file.
    ///
    /// # Errors
    /// The line that OpenSSL cannot read, or 0 if unknown, and its message.
    pub(crate) fn load(path: &Path) -> Result<Self, (c_long, ErrorStack)> {
        let mut line: c_long = 0;
        let _ = ErrorStack::get();
        let failed = |line| Err((line, ErrorStack::get()));
        let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
            return failed(line);
        };
        // SAFETY: null stands for the default method, and the result is checked. The path outlives the call that reads
        // it.
        unsafe {
            let conf = sys::NCONF_new(std::ptr::null_mut());
            if conf.is_null() {
                return failed(line);
            }
            let conf = Self(conf);
            match NCONF_load(conf.0, path.as_ptr(), &raw mut line) {
                1.. => Ok(conf),
                _ => failed(line),
            }
        }
    }

    /// A value of a section, or of those that stand before any section.
    pub(crate) fn value(&self, section: Option<&str>, name: &str) -> Option<String> {
        let _mark = ErrorMark::set();
        let section = section.map(CString::new).transpose().ok()?;
        let section = section.as_deref().map_or(std::ptr::null(), CStr::as_ptr);
        let name = CString::new(name).ok()?;
        // SAFETY: all pointers are live or null, which stands for the default section.
        Self::text(unsafe { NCONF_get_string(self.0, section, name.as_ptr()) })
    }

    /// The names and values of a section, in their order.
    pub(crate) fn section(&self, name: &str) -> Vec<(String, String)> {
        #[repr(C)]
        struct Value {
            section: *const c_char,
            name: *const c_char,
            value: *const c_char,
        }
        let _mark = ErrorMark::set();
        let Ok(name) = CString::new(name) else {
            return Vec::new();
        };
        // SAFETY: the configuration is live for the calls. The stack belongs to it and may be null, which is checked; below
        // its number of elements it holds pointers to CONF_VALUE, which has the fields of Value.
        unsafe {
            let stack = NCONF_get_section(self.0, name.as_ptr());
            if stack.is_null() {
                return Vec::new();
            }
            let read = |index| {
                let value = &*sys::OPENSSL_sk_value(stack, index).cast::<Value>();
                Some((Self::text(value.name)?, Self::text(value.value)?))
            };
            let count = sys::OPENSSL_sk_num(stack);
            (0..count).filter_map(read).collect()
        }
    }

    fn text(text: *const c_char) -> Option<String> {
        if text.is_null() {
            return None;
        }
        // SAFETY: a text of a configuration is NUL-terminated and lives as long as the configuration, whose methods call
        // this; it is copied.
        let text = unsafe { CStr::from_ptr(text) };
        Some(text.to_string_lossy().into_owned())
    }
}

/// The configuration file that OpenSSL reads, whether it is there or not; none if OpenSSL cannot tell.
pub(crate) fn configuration_file() -> Option<PathBuf> {
    // SAFETY: the call returns null, which is checked, or a new NUL-terminated string that is ours to
    // free; it is copied first and freed here once.
    unsafe {
        let text = CONF_get1_default_config_file();
        if text.is_null() {
            return None;
        }
        let path = PathBuf::from(OsStr::from_bytes(CStr::from_ptr(text).to_bytes()));
        sys::OPENSSL_free(text.cast());
        Some(path)
    }
}

/// Adds a CRL to a store (RFC 5280 §5). The store takes its own reference.
///
/// # Errors
/// What OpenSSL says if it refuses the CRL.
pub(crate) fn store_add_crl(
    store: &mut X509StoreBuilderRef,
    crl: &X509Crl,
) -> Result<(), ErrorStack> {
    // SAFETY: both pointers come from live values; X509_STORE_add_crl takes its own reference to the
    // CRL and keeps no borrow of ours.
    match unsafe { X509_STORE_add_crl(store.as_ptr(), crl.as_ptr()) } {
        1 => Ok(()),
        _ => Err(ErrorStack::get()),
    }
}

/// Offers a session to the server in the handshake that is to come.
///
/// # Errors
/// What OpenSSL says if it cannot use the session.
pub(crate) fn offer_session(ssl: &mut Ssl, session: &SslSession) -> Result<(), ErrorStack> {
    // SAFETY: a session must come from the context of the connection. The one caller is the session cache
    // (`session.rs`), which belongs to one context, is filled by that context's own callback, and prepares
    // that context's connections alone.
    unsafe { ssl.set_session(session) }
}

/// Lets OpenSSL take the connection for one that ended well, although no close_notify was exchanged.
pub(crate) fn mark_shut_down(ssl: &SslRef) {
    const SENT_AND_RECEIVED: c_int = 3;
    // SAFETY: the connection is live for the call, which sets a flag in it and nothing else.
    unsafe { sys::SSL_set_shutdown(ssl.as_ptr(), SENT_AND_RECEIVED) }
}

/// Initialises OpenSSL so that it does not clean up when the process exits, unless other code has initialised it
/// before. If it does clean up, it calls `before_cleanup` first, once, on the thread that exits.
pub(crate) fn at_cleanup(before_cleanup: extern "C" fn()) {
    openssl::init();
    // SAFETY: the handler is a function of this program, so it lives as long as it does; a panic in it aborts the
    // process. If the call fails because memory is short, a clean-up is not noticed.
    let _ = unsafe { OPENSSL_atexit(before_cleanup) };
}

/// Lets OpenSSL put this thread on its list of threads, and leaves the thread's errors as they are.
pub(crate) fn enter_thread() {
    // SAFETY: looks at this thread's own errors, which OpenSSL makes when they are first asked for.
    unsafe { sys::ERR_peek_last_error() };
}

/// Empties this thread's queue of errors. An error that any code has left in it would be taken for the failure of a
/// later call: `SSL_get_error` looks there first.
pub(crate) fn clear_errors() {
    // SAFETY: both calls concern this thread's own errors. Looking is much cheaper than clearing.
    unsafe {
        if sys::ERR_peek_last_error() != 0 {
            sys::ERR_clear_error();
        }
    }
}

/// Removes the errors that were added to this thread's queue since, when it is dropped. Those that OpenSSL had added
/// before it called back stay.
pub(crate) struct ErrorMark(());

impl ErrorMark {
    pub(crate) fn set() -> Self {
        // SAFETY: concerns this thread's own errors. An empty queue takes no mark; then all that is added goes.
        unsafe { ERR_set_mark() };
        Self(())
    }
}

impl Drop for ErrorMark {
    fn drop(&mut self) {
        // SAFETY: concerns this thread's own errors.
        unsafe { ERR_pop_to_mark() };
    }
}

/// Frees what OpenSSL keeps for this thread, as it would when the thread has ended; it begins anew if the thread goes on.
pub(crate) fn leave_thread() {
    // SAFETY: frees what belongs to this thread alone, and forgets it. No call of OpenSSL is under way on it: the one
    // caller is at the thread's end.
    unsafe { OPENSSL_thread_stop() };
}

/// One answer of an OCSP response (RFC 6960 §4.2.1), as it stands there.
pub(crate) struct SingleResponse {
    /// Whether it is about one of the certificates that were asked for.
    pub(crate) is_asked: bool,
    /// 0 for good, 1 for revoked, 2 for unknown.
    pub(crate) status: c_int,
    /// The `CRLReason`, or -1.
    pub(crate) reason: c_int,
    pub(crate) revoked_at: Option<SystemTime>,
    pub(crate) this_update: Option<SystemTime>,
    pub(crate) next_update: Option<SystemTime>,
    pub(crate) has_critical_extension: bool,
}

/// All answers of an OCSP response, each compared with the names in `ids`.
pub(crate) fn single_responses(
    response: &OcspBasicResponseRef,
    ids: &[OcspCertId],
) -> Vec<SingleResponse> {
    let time = |time: *mut sys::ASN1_GENERALIZEDTIME| {
        if time.is_null() {
            return None;
        }
        // SAFETY: the time belongs to the response, which outlives the call. GeneralizedTime is one of the
        // two forms of ASN1_TIME, and the same type in C.
        Some(instant(unsafe { Asn1TimeRef::from_ptr(time.cast()) }))
    };
    let response = response.as_ptr();
    // SAFETY: the response and the ids are live for all calls. The answers, their ids and their times belong
    // to the response and are only read; each pointer is checked for null.
    unsafe {
        let read = |index| {
            let single = OCSP_resp_get0(response, index);
            if single.is_null() {
                return None;
            }
            let (mut reason, mut revoked_at, mut this_update, mut next_update) = (
                -1,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            );
            let status = OCSP_single_get0_status(
                single,
                &raw mut reason,
                &raw mut revoked_at,
                &raw mut this_update,
                &raw mut next_update,
            );
            let id = OCSP_SINGLERESP_get0_id(single);
            Some(SingleResponse {
                is_asked: !id.is_null()
                    && ids.iter().any(|asked| OCSP_id_cmp(asked.as_ptr(), id) == 0),
                status,
                reason,
                revoked_at: time(revoked_at),
                this_update: time(this_update),
                next_update: time(next_update),
                has_critical_extension: OCSP_SINGLERESP_get_ext_by_critical(single, 1, -1) >= 0,
            })
        };
        (0..OCSP_resp_count(response)).filter_map(read).collect()
    }
}

/// Whether an OCSP response as a whole has a critical extension.
pub(crate) fn has_critical_extension(response: &OcspBasicResponseRef) -> bool {
    // SAFETY: the response is live for the call, which only reads.
    unsafe { OCSP_BASICRESP_get_ext_by_critical(response.as_ptr(), 1, -1) >= 0 }
}

/// The certificate that signed an OCSP response: one of `certificates`, or one that it holds itself.
pub(crate) fn signer(
    response: &OcspBasicResponseRef,
    certificates: &StackRef<X509>,
) -> Option<X509> {
    // SAFETY: response and stack are live for the call. What it finds belongs to one of them, may be null,
    // which is checked, and gets a reference of its own.
    unsafe {
        let mut signer = std::ptr::null_mut();
        let found =
            OCSP_resp_get0_signer(response.as_ptr(), &raw mut signer, certificates.as_ptr());
        (found == 1 && !signer.is_null()).then(|| X509Ref::from_ptr(signer).to_owned())
    }
}

/// The time at which an OCSP response was made.
pub(crate) fn produced_at(response: &OcspBasicResponseRef) -> Option<SystemTime> {
    // SAFETY: the response is live for the call, and the time that is found belongs to it; null is checked.
    // GeneralizedTime is one of the two forms of ASN1_TIME, and the same type in C.
    unsafe {
        let time = OCSP_resp_get0_produced_at(response.as_ptr());
        (!time.is_null()).then(|| instant(Asn1TimeRef::from_ptr(time.cast_mut().cast())))
    }
}

/// Whether the certificate of an OCSP responder need not be checked itself (id-pkix-ocsp-nocheck).
pub(crate) fn has_ocsp_no_check(cert: &X509Ref) -> bool {
    const NID_ID_PKIX_OCSP_NO_CHECK: c_int = 369;
    // SAFETY: the certificate is live for the call, which only reads.
    unsafe { sys::X509_get_ext_by_NID(cert.as_ptr(), NID_ID_PKIX_OCSP_NO_CHECK, -1) >= 0 }
}

/// Whether the certificate demands an OCSP response from the server: `status_request`, the one feature that
/// is asked for in each handshake, in its TLS feature extension (RFC 7633 §4.2.3).
pub(crate) fn must_staple(cert: &X509Ref) -> bool {
    const NID_TLSFEATURE: c_int = 1020;
    const STATUS_REQUEST: c_long = 5;
    // SAFETY: the certificate is live for the call. What the call returns is null, which is checked, or a
    // stack of integers that is ours: RFC 7633 and OpenSSL's table of extensions make it one.
    let features = unsafe {
        let stack = sys::X509_get_ext_d2i(
            cert.as_ptr(),
            NID_TLSFEATURE,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
        if stack.is_null() {
            // One that cannot be read, or stands there twice, demands more than we know.
            return sys::X509_get_ext_by_NID(cert.as_ptr(), NID_TLSFEATURE, -1) >= 0;
        }
        IntegerStack(stack.cast())
    };
    features.any(|number| number == STATUS_REQUEST)
}

/// A stack of integers that is ours.
struct IntegerStack(*mut sys::OPENSSL_STACK);

impl IntegerStack {
    fn any(&self, mut is_wanted: impl FnMut(c_long) -> bool) -> bool {
        // SAFETY: the stack is live and ours; its integers are only read. An index below the number of
        // its elements gives one of them.
        unsafe {
            (0..sys::OPENSSL_sk_num(self.0)).any(|index| {
                let number = sys::OPENSSL_sk_value(self.0, index);
                !number.is_null() && is_wanted(sys::ASN1_INTEGER_get(number.cast()))
            })
        }
    }
}

impl Drop for IntegerStack {
    fn drop(&mut self) {
        // SAFETY: the stack and its integers are ours, and nobody uses them any more.
        unsafe {
            for index in 0..sys::OPENSSL_sk_num(self.0) {
                sys::ASN1_INTEGER_free(sys::OPENSSL_sk_value(self.0, index).cast());
            }
            sys::OPENSSL_sk_free(self.0);
        }
    }
}

/// The certificates that the peer sent, while its chain is being verified.
pub(crate) fn untrusted_chain(context: &X509StoreContextRef) -> Vec<X509> {
    // SAFETY: the context is live for the call; the stack is its own, is borrowed only here, and may
    // be null, which is checked. `to_owned` takes a reference of its own to each certificate.
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

/// A certificate in OpenSSL's own form with trust settings (`BEGIN TRUSTED CERTIFICATE`).
///
/// # Errors
/// OpenSSL's errors if the block cannot be decoded.
pub(crate) fn trusted_certificate(pem: &[u8]) -> Result<X509, ErrorStack> {
    extern "C" fn no_password(_: *mut c_char, _: c_int, _: c_int, _: *mut c_void) -> c_int {
        -1
    }
    let length = c_int::try_from(pem.len()).map_err(|_| ErrorStack::get())?;
    // SAFETY: the BIO reads the bytes, which outlive it, and is freed here. What the call returns is null, which is
    // checked, or a certificate that is ours. The callback needs no argument and does not unwind.
    unsafe {
        let bio = sys::BIO_new_mem_buf(pem.as_ptr().cast(), length);
        if bio.is_null() {
            return Err(ErrorStack::get());
        }
        let certificate = PEM_read_bio_X509_AUX(
            bio,
            std::ptr::null_mut(),
            Some(no_password),
            std::ptr::null_mut(),
        );
        sys::BIO_free_all(bio);
        if certificate.is_null() {
            return Err(ErrorStack::get());
        }
        Ok(X509::from_ptr(certificate))
    }
}

/// Opens a PKCS#12 file (RFC 7292) with a password, which must not contain a NUL.
///
/// A file without a MAC (`openssl pkcs12 -export -nomac`) gets one for this password first, because not every OpenSSL opens
/// it otherwise. Then only the decryption shows whether the password is right.
///
/// # Errors
/// OpenSSL's errors if it cannot decode or decrypt the file.
pub(crate) fn parse_pkcs12(der: &[u8], password: &[u8]) -> Result<ParsedPkcs12_2, ErrorStack> {
    let store = Pkcs12::from_der(der)?;
    let mut text = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    text.extend_from_slice(password);
    text.push(0);
    let length = c_int::try_from(password.len()).map_err(|_| ErrorStack::get())?;
    // SAFETY: the store and the text, which ends with a NUL, are live for all calls. What PKCS12_parse leaves in the three
    // pointers is null or ours to free, also the stack; each is taken over once, and only if the call succeeded.
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

/// Returns whether the trust settings of a certificate reject TLS servers, or name other purposes alone. It is false
/// without settings.
pub(crate) fn rejects_servers(certificate: &X509Ref) -> bool {
    const X509_TRUST_SSL_SERVER: c_int = 3;
    const X509_TRUST_REJECTED: c_int = 2;
    // SAFETY: the certificate is live for the call, which reads its trust settings and caches its extensions under a
    // lock of its own.
    let trust = unsafe { X509_check_trust(certificate.as_ptr(), X509_TRUST_SSL_SERVER, 0) };
    // Without settings OpenSSL returns whether it is self-signed, which an anchor need not be.
    trust == X509_TRUST_REJECTED
}

/// How many certificates of the chain came from the peer, while it is being verified; those above them are
/// from the store.
pub(crate) fn untrusted_count(context: &X509StoreContextRef) -> u32 {
    // SAFETY: the context is live for the call, which only reads a number of it.
    let count = unsafe { X509_STORE_CTX_get_num_untrusted(context.as_ptr()) };
    u32::try_from(count).unwrap_or(0)
}

/// Whether a certificate holds name constraints (RFC 5280 §4.2.1.10).
pub(crate) fn has_name_constraints(certificate: &X509Ref) -> bool {
    // SAFETY: the certificate is live for the call, which only looks for an extension in it.
    unsafe { sys::X509_get_ext_by_NID(certificate.as_ptr(), sys::NID_name_constraints, -1) >= 0 }
}

/// Whether a CRL holds only what has changed since another one (RFC 5280 §5.2.4).
pub(crate) fn is_delta(crl: &X509CrlRef) -> bool {
    // SAFETY: the CRL is live for the call, which only looks for an extension in it.
    unsafe { sys::X509_CRL_get_ext_by_NID(crl.as_ptr(), sys::NID_delta_crl, -1) >= 0 }
}

/// OpenSSL's result for a CRL that is out of date.
pub(crate) fn crl_has_expired() -> openssl::x509::X509VerifyResult {
    // SAFETY: the number is one of OpenSSL's own results.
    unsafe { openssl::x509::X509VerifyResult::from_raw(sys::X509_V_ERR_CRL_HAS_EXPIRED) }
}

/// The value of a CRL's extension, byte for byte; `None` if it has no such extension.
pub(crate) fn crl_extension(crl: &X509CrlRef, nid: Nid) -> Option<Vec<u8>> {
    // SAFETY: the CRL is live for all calls and owns the extension and its value, which are only read. A place that
    // the first call found holds one; the others may return null, which is checked. The length is that of the data.
    unsafe {
        let place = sys::X509_CRL_get_ext_by_NID(crl.as_ptr(), nid.as_raw(), -1);
        if place < 0 {
            return None;
        }
        let extension = sys::X509_CRL_get_ext(crl.as_ptr(), place);
        if extension.is_null() {
            return None;
        }
        let value = sys::X509_EXTENSION_get_data(extension);
        if value.is_null() {
            return None;
        }
        Some(Asn1OctetStringRef::from_ptr(value).as_slice().to_vec())
    }
}

/// The CRL that is being looked at, while a chain is being verified.
pub(crate) fn current_crl(context: &X509StoreContextRef) -> Option<&X509CrlRef> {
    // SAFETY: the context is live for the call, and the CRL belongs to it or to its store, so that it
    // lives as long as the context is borrowed; it may be null, which is checked.
    unsafe {
        let crl = X509_STORE_CTX_get0_current_crl(context.as_ptr());
        (!crl.is_null()).then(|| X509CrlRef::from_ptr(crl))
    }
}

/// The names of the CAs that the server listed when it asked for a client certificate.
pub(crate) fn requested_ca_names(ssl: &SslRef) -> Vec<String> {
    // SAFETY: the connection is live for the call; the stack is its own, is borrowed only here, and
    // may be null, which is checked.
    unsafe {
        let stack = SSL_get0_peer_CA_list(ssl.as_ptr());
        if stack.is_null() {
            return Vec::new();
        }
        StackRef::<X509Name>::from_ptr(stack.cast_mut())
            .iter()
            .map(name_text)
            .collect()
    }
}

/// A distinguished name as text in the form of RFC 2253, with control characters escaped and other
/// UTF-8 as it stands: the form in which people read it.
pub(crate) fn name_text(name: &X509NameRef) -> String {
    print_name(name, XN_FLAG_RFC2253 & !ASN1_STRFLGS_ESC_MSB)
}

/// A distinguished name in the form of RFC 2253 in which MongoDB names X.509 users: each byte from 0x80 on is escaped
/// (`J\C3\BCrgen`).
pub(crate) fn user_name(name: &X509NameRef) -> String {
    print_name(name, XN_FLAG_RFC2253)
}

const XN_FLAG_RFC2253: c_ulong = 0x0111_0317;
const ASN1_STRFLGS_ESC_MSB: c_ulong = 4;

fn print_name(name: &X509NameRef, flags: c_ulong) -> String {
    const BIO_CTRL_INFO: c_int = 3;
    // SAFETY: the name is live for the call. The BIO is made, checked, used and freed here; the data
    // that BIO_ctrl points to belong to it and are copied before it is freed, and a length that is not
    // positive reads nothing.
    unsafe {
        let bio = sys::BIO_new(sys::BIO_s_mem());
        if bio.is_null() {
            return String::new();
        }
        X509_NAME_print_ex(bio, name.as_ptr(), 0, flags);
        let mut data: *mut u8 = std::ptr::null_mut();
        let length = sys::BIO_ctrl(bio, BIO_CTRL_INFO, 0, (&raw mut data).cast());
        let text = match usize::try_from(length) {
            Ok(length) if length > 0 && !data.is_null() => {
                String::from_utf8_lossy(std::slice::from_raw_parts(data, length)).into_owned()
            }
            _ => String::new(),
        };
        sys::BIO_free_all(bio);
        text
    }
}

/// The trust anchors whose subject is `name`, while a chain is being verified.
pub(crate) fn anchors_named(context: &X509StoreContextRef, name: &X509NameRef) -> Vec<X509> {
    // SAFETY: context and name are live for the call, which takes the lock of the store. What it returns is null, which
    // is checked, or a stack that is ours, with references of its own to its certificates.
    unsafe {
        let stack = X509_STORE_CTX_get1_certs(context.as_ptr(), name.as_ptr());
        if stack.is_null() {
            return Vec::new();
        }
        Stack::<X509>::from_ptr(stack).into_iter().collect()
    }
}

/// The kind of a general name (`GEN_DNS` and so on) and its bytes, if they are one string.
pub(crate) fn general_name(name: &GeneralNameRef) -> Option<(c_int, Vec<u8>)> {
    let name = name.as_ptr();
    // SAFETY: the name is live for the calls. For the kinds that are let through the member of the union is a pointer to
    // an ASN1_STRING that belongs to the name; its data are as long as it says, and are copied.
    unsafe {
        let kind = (*name).type_;
        let string = (*name).d.cast::<sys::ASN1_STRING>();
        let is_string = matches!(
            kind,
            sys::GEN_DNS | sys::GEN_EMAIL | sys::GEN_URI | sys::GEN_IPADD
        );
        if !is_string || string.is_null() {
            return None;
        }
        let data = sys::ASN1_STRING_get0_data(string);
        let length = usize::try_from(sys::ASN1_STRING_length(string)).unwrap_or(0);
        let bytes = match data.is_null() || length == 0 {
            true => Vec::new(),
            false => std::slice::from_raw_parts(data, length).to_vec(),
        };
        Some((kind, bytes))
    }
}

/// The security level of a context.
pub(crate) fn security_level(context: &SslContextBuilder) -> u32 {
    // SAFETY: the context is live for the call, which only reads a number of it.
    let level = unsafe { sys::SSL_CTX_get_security_level(context.as_ptr()) };
    u32::try_from(level).unwrap_or(0)
}

/// Sends a certificate after the client's own, which must be there already.
///
/// # Errors
/// What OpenSSL says if it is below the security level.
pub(crate) fn add_chain_certificate(
    context: &mut SslContextBuilder,
    certificate: &X509,
) -> Result<(), ErrorStack> {
    const WITH_A_REFERENCE_OF_ITS_OWN: c_long = 1;
    // SAFETY: context and certificate are live for the call, in which the context takes a reference of its
    // own to the certificate.
    let added = unsafe {
        sys::SSL_CTX_ctrl(
            context.as_ptr(),
            sys::SSL_CTRL_CHAIN_CERT,
            WITH_A_REFERENCE_OF_ITS_OWN,
            certificate.as_ptr().cast(),
        )
    };
    if added == 1 {
        Ok(())
    } else {
        Err(ErrorStack::get())
    }
}

/// The `SubjectPublicKeyInfo` of a certificate, byte for byte as it stands there (RFC 5280 §4.1.2.7); none
/// if OpenSSL cannot encode it.
pub(crate) fn spki_der(certificate: &X509Ref) -> Option<Vec<u8>> {
    // SAFETY: the certificate is live for both calls and owns the key that they share. The first call of
    // i2d only tells the length; the second writes as much into a buffer of that length, and moves the
    // pointer, which is not used again.
    unsafe {
        let key = X509_get_X509_PUBKEY(certificate.as_ptr());
        let length = i2d_X509_PUBKEY(key, std::ptr::null_mut());
        let mut der = vec![0; usize::try_from(length).ok().filter(|length| *length > 0)?];
        let mut end = der.as_mut_ptr();
        (i2d_X509_PUBKEY(key, &raw mut end) == length).then_some(der)
    }
}

/// Whether OpenSSL lets the certificate sign others: by its basic constraints and key usage, or by its
/// age where it has none (version 1, self-signed).
pub(crate) fn is_ca(cert: &X509Ref) -> bool {
    // SAFETY: the certificate is live for the call, which only reads and caches its extensions under a
    // lock of its own.
    unsafe { X509_check_ca(cert.as_ptr()) != 0 }
}

/// The purposes in the extended key usage, by their short names or as dotted numbers; none where the
/// certificate has no such extension, or one that cannot be read.
pub(crate) fn extended_key_usage(cert: &X509Ref) -> Option<Vec<String>> {
    // SAFETY: the certificate is live for the call. What the call returns is null, which is checked, or
    // a stack of objects that is ours: RFC 5280 §4.2.1.12 and OpenSSL's table of extensions make it one.
    let purposes = unsafe {
        let stack = sys::X509_get_ext_d2i(
            cert.as_ptr(),
            sys::NID_ext_key_usage,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
        if stack.is_null() {
            return None;
        }
        Stack::<Asn1Object>::from_ptr(stack.cast())
    };
    let name = |purpose: &Asn1ObjectRef| match purpose.nid() {
        Nid::UNDEF => purpose.to_string(),
        nid => nid
            .short_name()
            .map_or_else(|_| purpose.to_string(), str::to_owned),
    };
    Some(purposes.iter().map(name).collect())
}

/// The algorithm of a CRL's signature.
pub(crate) fn crl_signature(crl: &X509CrlRef) -> Nid {
    // SAFETY: the CRL is live for the call, which reads a number from it.
    Nid::from_raw(unsafe { X509_CRL_get_signature_nid(crl.as_ptr()) })
}

/// The file and the folder in which this OpenSSL was built to look for trust anchors.
pub(crate) fn default_verify_paths() -> (PathBuf, PathBuf) {
    let path = |text: *const c_char| {
        if text.is_null() {
            return PathBuf::new();
        }
        // SAFETY: the text is a static, NUL-terminated string of OpenSSL.
        PathBuf::from(OsStr::from_bytes(
            unsafe { CStr::from_ptr(text) }.to_bytes(),
        ))
    };
    // SAFETY: both calls take no argument and only return the address of a static string.
    unsafe {
        (
            path(sys::X509_get_default_cert_file()),
            path(sys::X509_get_default_cert_dir()),
        )
    }
}

/// The name of the group that the key exchange used, such as `x25519`.
pub(crate) fn negotiated_group(ssl: &SslRef) -> Option<String> {
    #[cfg(ossl300)]
    {
        const SSL_CTRL_GET_NEGOTIATED_GROUP: c_int = 134;
        // SAFETY: the connection is live for both calls. The control takes no argument and returns a
        // number; the name is a static string of OpenSSL or null, which is checked.
        unsafe {
            let id = sys::SSL_ctrl(
                ssl.as_ptr(),
                SSL_CTRL_GET_NEGOTIATED_GROUP,
                0,
                std::ptr::null_mut(),
            );
            let id = c_int::try_from(id).ok().filter(|id| *id != 0)?;
            let name = SSL_group_to_name(ssl.as_ptr(), id);
            if name.is_null() {
                return None;
            }
            Some(CStr::from_ptr(name).to_string_lossy().into_owned())
        }
    }
    #[cfg(not(ossl300))]
    {
        const SSL_CTRL_GET_PEER_TMP_KEY: c_int = 109;
        // SAFETY: the connection is live for the call. A control that succeeds hands over a key of
        // our own, which `from_ptr` takes; one that fails, or leaves null, hands over nothing.
        let key = unsafe {
            let mut key: *mut sys::EVP_PKEY = std::ptr::null_mut();
            let done = sys::SSL_ctrl(
                ssl.as_ptr(),
                SSL_CTRL_GET_PEER_TMP_KEY,
                0,
                (&raw mut key).cast(),
            );
            if done != 1 || key.is_null() {
                return None;
            }
            PKey::<Public>::from_ptr(key)
        };
        let curve = match key.id() {
            Id::EC => key.ec_key().ok()?.group().curve_name()?,
            Id::X25519 | Id::X448 => Nid::from_raw(key.id().as_raw()),
            _ => return None, // finite fields, which had no names then
        };
        // OpenSSL 1.1.1 has the names of the curves, which mostly are those of the groups.
        match curve.short_name().ok()? {
            "prime256v1" => Some("secp256r1".into()),
            name @ ("X25519" | "X448") => Some(name.to_ascii_lowercase()),
            name => Some(name.into()),
        }
    }
}

/// Notes for each connection of a context whether the server asked for a client certificate.
pub(crate) fn watch_certificate_requests(context: &mut SslContextBuilder) {
    // SAFETY: the context is live for the call; the callback is a function and needs no argument. It
    // is called with the connection that is in its handshake.
    unsafe {
        SSL_CTX_set_cert_cb(
            context.as_ptr(),
            Some(on_certificate_request),
            std::ptr::null_mut(),
        )
    }
}

/// Prepares a connection of a watched context; without it the request is not noted.
///
/// # Errors
/// What OpenSSL says if it cannot store the note.
pub(crate) fn expect_certificate_request(ssl: &mut Ssl) -> Result<(), ErrorStack> {
    ssl.set_ex_data(request_index()?, AtomicBool::new(false));
    Ok(())
}

/// Whether the server asked for a client certificate in this connection's handshake.
pub(crate) fn saw_certificate_request(ssl: &SslRef) -> bool {
    request_index()
        .ok()
        .and_then(|index| ssl.ex_data(index))
        .is_some_and(|seen| seen.load(Ordering::Relaxed))
}

extern "C" fn on_certificate_request(ssl: *mut sys::SSL, _argument: *mut c_void) -> c_int {
    // SAFETY: OpenSSL calls this with the live connection that is in its handshake, on the thread
    // that runs it; only shared access is taken.
    let ssl = unsafe { SslRef::from_ptr(ssl) };
    let noted = callback::run(|| {
        if let Some(seen) = request_index().ok().and_then(|index| ssl.ex_data(index)) {
            seen.store(true, Ordering::Relaxed);
        }
    });
    // 1: continue with the configured certificate, or without one.
    c_int::from(noted.is_some())
}

/// Where a connection keeps the note; taken once a process.
fn request_index() -> Result<Index<Ssl, AtomicBool>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, AtomicBool>> = OnceLock::new();
    if let Some(index) = INDEX.get() {
        return Ok(*index);
    }
    let index = Ssl::new_ex_index()?;
    Ok(*INDEX.get_or_init(|| index))
}

type CertificateCallback = extern "C" fn(*mut sys::SSL, *mut c_void) -> c_int;

unsafe extern "C" {
    fn OPENSSL_thread_stop();
    fn OPENSSL_atexit(handler: extern "C" fn()) -> c_int;
    fn ERR_set_mark() -> c_int;
    fn ERR_pop_to_mark() -> c_int;
    fn OCSP_resp_count(response: *mut sys::OCSP_BASICRESP) -> c_int;
    fn OCSP_resp_get0(response: *mut sys::OCSP_BASICRESP, index: c_int) -> *mut c_void;
    fn OCSP_resp_get0_produced_at(
        response: *const sys::OCSP_BASICRESP,
    ) -> *const sys::ASN1_GENERALIZEDTIME;
    fn OCSP_SINGLERESP_get0_id(single: *const c_void) -> *const sys::OCSP_CERTID;
    fn OCSP_id_cmp(a: *const sys::OCSP_CERTID, b: *const sys::OCSP_CERTID) -> c_int;
    fn OCSP_single_get0_status(
        single: *mut c_void,
        reason: *mut c_int,
        revoked_at: *mut *mut sys::ASN1_GENERALIZEDTIME,
        this_update: *mut *mut sys::ASN1_GENERALIZEDTIME,
        next_update: *mut *mut sys::ASN1_GENERALIZEDTIME,
    ) -> c_int;
    fn OCSP_SINGLERESP_get_ext_by_critical(
        single: *mut c_void,
        critical: c_int,
        after: c_int,
    ) -> c_int;
    fn OCSP_BASICRESP_get_ext_by_critical(
        response: *mut sys::OCSP_BASICRESP,
        critical: c_int,
        after: c_int,
    ) -> c_int;
    fn OCSP_resp_get0_signer(
        response: *mut sys::OCSP_BASICRESP,
        signer: *mut *mut sys::X509,
        certificates: *mut sys::stack_st_X509,
    ) -> c_int;
    fn X509_STORE_add_crl(store: *mut sys::X509_STORE, crl: *mut sys::X509_CRL) -> c_int;
    fn X509_get_X509_PUBKEY(certificate: *const sys::X509) -> *const c_void;
    fn i2d_X509_PUBKEY(key: *const c_void, out: *mut *mut u8) -> c_int;
    fn X509_NAME_print_ex(
        out: *mut sys::BIO,
        name: *const sys::X509_NAME,
        indent: c_int,
        flags: c_ulong,
    ) -> c_int;
    fn X509_check_ca(cert: *mut sys::X509) -> c_int;
    fn PKCS12_mac_present(store: *const sys::PKCS12) -> c_int;
    fn PKCS12_set_mac(
        store: *mut sys::PKCS12,
        password: *const c_char,
        length: c_int,
        salt: *mut u8,
        salt_length: c_int,
        iterations: c_int,
        digest: *const sys::EVP_MD,
    ) -> c_int;
    fn X509_check_trust(cert: *mut sys::X509, id: c_int, flags: c_int) -> c_int;
    fn PEM_read_bio_X509_AUX(
        bio: *mut sys::BIO,
        out: *mut *mut sys::X509,
        password: Option<extern "C" fn(*mut c_char, c_int, c_int, *mut c_void) -> c_int>,
        data: *mut c_void,
    ) -> *mut sys::X509;
    fn X509_CRL_get_signature_nid(crl: *const sys::X509_CRL) -> c_int;
    fn X509_STORE_CTX_get0_untrusted(context: *mut sys::X509_STORE_CTX) -> *mut sys::stack_st_X509;
    fn X509_STORE_CTX_get1_certs(
        context: *mut sys::X509_STORE_CTX,
        name: *const sys::X509_NAME,
    ) -> *mut sys::stack_st_X509;
    fn X509_STORE_CTX_get_num_untrusted(context: *mut sys::X509_STORE_CTX) -> c_int;
    fn X509_STORE_CTX_get0_current_crl(context: *mut sys::X509_STORE_CTX) -> *mut sys::X509_CRL;
    fn SSL_get0_peer_CA_list(ssl: *const sys::SSL) -> *const sys::stack_st_X509_NAME;
    fn SSL_CTX_set_cert_cb(
        context: *mut sys::SSL_CTX,
        callback: Option<CertificateCallback>,
        argument: *mut c_void,
    );
    fn CONF_get1_default_config_file() -> *mut c_char;
    fn NCONF_get_section(conf: *const sys::CONF, section: *const c_char)
    -> *mut sys::OPENSSL_STACK;
    fn NCONF_load(conf: *mut sys::CONF, file: *const c_char, line: *mut c_long) -> c_int;
    fn NCONF_get_string(
        conf: *const sys::CONF,
        section: *const c_char,
        name: *const c_char,
    ) -> *mut c_char;
}

#[cfg(ossl300)]
type PasswordCallback = extern "C" fn(*mut c_char, c_int, c_int, *mut c_void) -> c_int;

#[cfg(ossl300)]
unsafe extern "C" {
    fn OSSL_PROVIDER_do_all(
        context: *mut c_void,
        callback: Option<extern "C" fn(*mut c_void, *mut c_void) -> c_int>,
        argument: *mut c_void,
    ) -> c_int;
    fn OSSL_PROVIDER_get0_name(provider: *const c_void) -> *const c_char;
    fn UI_UTIL_wrap_read_pem_callback(
        callback: Option<PasswordCallback>,
        for_writing: c_int,
    ) -> *mut c_void;
    fn UI_destroy_method(method: *mut c_void);
    fn OSSL_STORE_open(
        uri: *const c_char,
        method: *const c_void,
        method_data: *mut c_void,
        post_process: Option<extern "C" fn(*mut c_void, *mut c_void) -> *mut c_void>,
        post_process_data: *mut c_void,
    ) -> *mut c_void;
    fn OSSL_STORE_expect(store: *mut c_void, kind: c_int) -> c_int;
    fn OSSL_STORE_load(store: *mut c_void) -> *mut c_void;
    fn OSSL_STORE_eof(store: *mut c_void) -> c_int;
    fn OSSL_STORE_error(store: *mut c_void) -> c_int;
    fn OSSL_STORE_close(store: *mut c_void) -> c_int;
    fn OSSL_STORE_INFO_get_type(info: *const c_void) -> c_int;
    fn OSSL_STORE_INFO_get1_PKEY(info: *const c_void) -> *mut sys::EVP_PKEY;
    fn OSSL_STORE_INFO_free(info: *mut c_void);
    fn SSL_group_to_name(ssl: *mut sys::SSL, id: c_int) -> *const c_char;
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
