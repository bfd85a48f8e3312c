//! Certificates, CRLs and names.

#![allow(unsafe_code)]

use std::time::{Duration, SystemTime};

use foreign_types::{ForeignType, ForeignTypeRef};
use libc::{c_char, c_int, c_ulong, c_void};
use openssl::asn1::{Asn1Object, Asn1ObjectRef, Asn1OctetStringRef, Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::stack::Stack;
use openssl::x509::{GeneralNameRef, X509, X509CrlRef, X509NameRef, X509Ref};
use openssl_sys as sys;

use super::calls::*;

/// Converts an ASN.1 time to an instant.
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

/// Decodes a certificate in OpenSSL's own form with trust settings (`BEGIN TRUSTED CERTIFICATE`).
///
/// # Errors
/// OpenSSL's errors if the block cannot be decoded.
pub(crate) fn trusted_certificate(pem: &[u8]) -> Result<X509, ErrorStack> {
    extern "C" fn no_password(_: *mut c_char, _: c_int, _: c_int, _: *mut c_void) -> c_int {
        -1
    }
    let length = c_int::try_from(pem.len()).map_err(|_| ErrorStack::get())?;
    // SAFETY: the BIO reads the bytes, which outlive it, and is freed here. The call returns null, which is checked,
    // or a certificate that is ours. The callback needs no argument and does not unwind.
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

/// Returns true if the trust settings of a certificate reject TLS servers, or list only other purposes. Without trust
/// settings it returns false.
pub(crate) fn rejects_servers(certificate: &X509Ref) -> bool {
    const X509_TRUST_SSL_SERVER: c_int = 3;
    const X509_TRUST_REJECTED: c_int = 2;
    // SAFETY: the certificate is live for the call, which reads its trust settings and caches its extensions under
    // its own lock.
    let trust = unsafe { X509_check_trust(certificate.as_ptr(), X509_TRUST_SSL_SERVER, 0) };
    // Without settings OpenSSL returns whether the certificate is self-signed, which an anchor need not be.
    trust == X509_TRUST_REJECTED
}

/// Returns true if a certificate contains name constraints (RFC 5280 §4.2.1.10).
pub(crate) fn has_name_constraints(certificate: &X509Ref) -> bool {
    // SAFETY: the certificate is live for the call, which only looks for an extension in it.
    unsafe { sys::X509_get_ext_by_NID(certificate.as_ptr(), sys::NID_name_constraints, -1) >= 0 }
}

/// Returns true if a CRL contains only the changes since another one (RFC 5280 §5.2.4).
pub(crate) fn is_delta(crl: &X509CrlRef) -> bool {
    // SAFETY: the CRL is live for the call, which only looks for an extension in it.
    unsafe { sys::X509_CRL_get_ext_by_NID(crl.as_ptr(), sys::NID_delta_crl, -1) >= 0 }
}

/// Returns the bytes of a CRL's extension, or `None` if it has no such extension.
pub(crate) fn crl_extension(crl: &X509CrlRef, nid: Nid) -> Option<Vec<u8>> {
    // SAFETY: the CRL is live for all calls and owns the extension and its value, which are only read. An index that
    // the first call found is valid; the others may return null, which is checked. The length is that of the data.
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

/// Returns a distinguished name as readable text in the form of RFC 2253, with control characters escaped and other
/// UTF-8 unchanged.
pub(crate) fn name_text(name: &X509NameRef) -> String {
    print_name(name, XN_FLAG_RFC2253 & !ASN1_STRFLGS_ESC_MSB)
}

/// Returns a distinguished name in the form of RFC 2253 that MongoDB uses for the names of X.509 users: each byte
/// from 0x80 on is escaped (`J\C3\BCrgen`).
pub(crate) fn user_name(name: &X509NameRef) -> String {
    print_name(name, XN_FLAG_RFC2253)
}

const XN_FLAG_RFC2253: c_ulong = 0x0111_0317;

const ASN1_STRFLGS_ESC_MSB: c_ulong = 4;

fn print_name(name: &X509NameRef, flags: c_ulong) -> String {
    const BIO_CTRL_INFO: c_int = 3;
    // SAFETY: the name is live for the call. The BIO is created, checked, used and freed here. The data that BIO_ctrl
    // points to belong to it and are copied before it is freed; nothing is read if the length is not positive.
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

/// Returns the kind of a general name (`GEN_DNS` and so on) and its bytes, if the name is a single string.
pub(crate) fn general_name(name: &GeneralNameRef) -> Option<(c_int, Vec<u8>)> {
    let name = name.as_ptr();
    // SAFETY: the name is live for the calls. For the accepted kinds the member of the union is a pointer to an
    // ASN1_STRING that belongs to the name; its data have the length it states, and are copied.
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

/// Returns the `SubjectPublicKeyInfo` of a certificate, with its original bytes (RFC 5280 §4.1.2.7), or `None` if
/// OpenSSL cannot encode it.
pub(crate) fn spki_der(certificate: &X509Ref) -> Option<Vec<u8>> {
    // SAFETY: the certificate is live for both calls and owns the key that they share. The first call of i2d only
    // returns the length; the second writes as much into a buffer of that length, and moves the pointer, which is not
    // used again.
    unsafe {
        let key = X509_get_X509_PUBKEY(certificate.as_ptr());
        let length = i2d_X509_PUBKEY(key, std::ptr::null_mut());
        let mut der = vec![0; usize::try_from(length).ok().filter(|length| *length > 0)?];
        let mut end = der.as_mut_ptr();
        (i2d_X509_PUBKEY(key, &raw mut end) == length).then_some(der)
    }
}

/// Returns true if OpenSSL allows the certificate to sign others, because of its basic constraints and key usage, or
/// because of its age if it has no such extensions (version 1, self-signed).
pub(crate) fn is_ca(cert: &X509Ref) -> bool {
    // SAFETY: the certificate is live for the call, which only reads and caches its extensions under its own lock.
    unsafe { X509_check_ca(cert.as_ptr()) != 0 }
}

/// Returns the purposes in the extended key usage, by their short names or as dotted numbers. Returns `None` if the
/// certificate has no such extension, or one that cannot be read.
pub(crate) fn extended_key_usage(cert: &X509Ref) -> Option<Vec<String>> {
    // SAFETY: the certificate is live for the call. The call returns null, which is checked, or a stack of objects
    // that is ours, as defined by RFC 5280 §4.2.1.12 and OpenSSL's table of extensions.
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

/// Returns the algorithm of a CRL's signature.
pub(crate) fn crl_signature(crl: &X509CrlRef) -> Nid {
    // SAFETY: the CRL is live for the call, which reads a number from it.
    Nid::from_raw(unsafe { X509_CRL_get_signature_nid(crl.as_ptr()) })
}
