//! Connections and their contexts.

#![allow(unsafe_code)]

#[cfg(ossl300)]
use std::ffi::CStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use foreign_types::{ForeignType, ForeignTypeRef};
use libc::{c_int, c_long, c_void};
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
#[cfg(not(ossl300))]
use openssl::nid::Nid;
#[cfg(not(ossl300))]
use openssl::pkey::{Id, PKey, Public};
use openssl::ssl::{Ssl, SslContextBuilder, SslRef, SslSession};
use openssl::stack::StackRef;
use openssl::x509::{X509, X509Name};
use openssl_sys as sys;

use super::calls::*;
use super::x509::name_text;
use crate::ffi::callback;

/// Offers a session to the server in the next handshake.
///
/// # Errors
/// OpenSSL's errors if it cannot use the session.
pub(crate) fn offer_session(ssl: &mut Ssl, session: &SslSession) -> Result<(), ErrorStack> {
    // SAFETY: a session must come from the context of the connection. The only caller is the session cache
    // (`session.rs`). It belongs to one context, is filled by that context's own callback, and prepares only that
    // context's connections.
    unsafe { ssl.set_session(session) }
}

/// Makes OpenSSL treat the connection as closed properly, although no close_notify was exchanged.
pub(crate) fn mark_shut_down(ssl: &SslRef) {
    const SENT_AND_RECEIVED: c_int = 3;
    // SAFETY: the connection is live for the call, which only sets a flag in it.
    unsafe { sys::SSL_set_shutdown(ssl.as_ptr(), SENT_AND_RECEIVED) }
}

/// Returns true if OpenSSL has read bytes from the socket that the program has not read from the connection.
pub(crate) fn has_pending(ssl: &SslRef) -> bool {
    // SAFETY: the connection is live for the call, which only reads from it.
    unsafe { SSL_has_pending(ssl.as_ptr()) == 1 }
}

/// Frees the record buffers of a connection, unless they hold data. OpenSSL allocates them again when it needs them.
pub(crate) fn free_buffers(ssl: &SslRef) {
    // SAFETY: the connection is live for the call, which is not made by one of its callbacks. It does nothing while a
    // buffer holds data.
    unsafe { SSL_free_buffers(ssl.as_ptr()) };
}

/// Returns the names of the CAs that the server listed when it requested a client certificate.
pub(crate) fn requested_ca_names(ssl: &SslRef) -> Vec<String> {
    // SAFETY: the connection is live for the call; the stack belongs to it, is borrowed only here, and may be null,
    // which is checked.
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

/// Returns the security level of a context.
pub(crate) fn security_level(context: &SslContextBuilder) -> u32 {
    // SAFETY: the context is live for the call, which only reads a number from it.
    let level = unsafe { sys::SSL_CTX_get_security_level(context.as_ptr()) };
    u32::try_from(level).unwrap_or(0)
}

/// Sends a certificate after the client's own, which must already be set.
///
/// # Errors
/// OpenSSL's errors if the certificate is below the security level.
pub(crate) fn add_chain_certificate(
    context: &mut SslContextBuilder,
    certificate: &X509,
) -> Result<(), ErrorStack> {
    const WITH_A_REFERENCE_OF_ITS_OWN: c_long = 1;
    // SAFETY: context and certificate are live for the call, in which the context takes its own reference to the
    // certificate.
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

/// Returns the name of the group used for the key exchange, such as `x25519`.
pub(crate) fn negotiated_group(ssl: &SslRef) -> Option<String> {
    #[cfg(ossl300)]
    {
        const SSL_CTRL_GET_NEGOTIATED_GROUP: c_int = 134;
        // SAFETY: the connection is live for both calls. The control takes no argument and returns a number; the name
        // is a static string of OpenSSL or null, which is checked.
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
        // SAFETY: the connection is live for the call. If the control succeeds, it returns a key that is ours, which
        // `from_ptr` takes; if it fails, or returns null, there is nothing to free.
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
            _ => return None, // finite fields, which had no names at that time
        };
        // OpenSSL 1.1.1 has the names of the curves, most of which are those of the groups.
        match curve.short_name().ok()? {
            "prime256v1" => Some("secp256r1".into()),
            name @ ("X25519" | "X448") => Some(name.to_ascii_lowercase()),
            name => Some(name.into()),
        }
    }
}

/// Records for each connection of a context if the server requested a client certificate.
pub(crate) fn watch_certificate_requests(context: &mut SslContextBuilder) {
    // SAFETY: the context is live for the call; the callback is a function and needs no argument. It is called with
    // the connection that is in its handshake.
    unsafe {
        SSL_CTX_set_cert_cb(
            context.as_ptr(),
            Some(on_certificate_request),
            std::ptr::null_mut(),
        )
    }
}

/// Prepares a connection of a watched context; without this call the request is not recorded.
///
/// # Errors
/// OpenSSL's errors if it cannot store the record.
pub(crate) fn expect_certificate_request(ssl: &mut Ssl) -> Result<(), ErrorStack> {
    ssl.set_ex_data(request_index()?, AtomicBool::new(false));
    Ok(())
}

/// Returns true if the server requested a client certificate in this connection's handshake.
pub(crate) fn saw_certificate_request(ssl: &SslRef) -> bool {
    request_index()
        .ok()
        .and_then(|index| ssl.ex_data(index))
        .is_some_and(|seen| seen.load(Ordering::Relaxed))
}

extern "C" fn on_certificate_request(ssl: *mut sys::SSL, _argument: *mut c_void) -> c_int {
    // SAFETY: OpenSSL calls this with the live connection that is in its handshake, on the thread that runs it; only
    // shared access is used.
    let ssl = unsafe { SslRef::from_ptr(ssl) };
    let noted = callback::run(|| {
        if let Some(seen) = request_index().ok().and_then(|index| ssl.ex_data(index)) {
            seen.store(true, Ordering::Relaxed);
        }
    });
    // 1: continue with the configured certificate, or without one.
    c_int::from(noted.is_some())
}

/// Returns the index at which a connection stores the record, allocated once for each process.
fn request_index() -> Result<Index<Ssl, AtomicBool>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, AtomicBool>> = OnceLock::new();
    if let Some(index) = INDEX.get() {
        return Ok(*index);
    }
    let index = Ssl::new_ex_index()?;
    Ok(*INDEX.get_or_init(|| index))
}
