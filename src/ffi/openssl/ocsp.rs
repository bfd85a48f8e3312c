//! OCSP responses, and the certificate extensions for OCSP.

#![allow(unsafe_code)]

use std::time::SystemTime;

use foreign_types::{ForeignType, ForeignTypeRef};
use libc::{c_int, c_long};
use openssl::asn1::Asn1TimeRef;
use openssl::ocsp::{OcspBasicResponseRef, OcspCertId};
use openssl::stack::StackRef;
use openssl::x509::{X509, X509Ref};
use openssl_sys as sys;

use super::calls::*;
use super::x509::instant;

/// One single response of an OCSP response (RFC 6960 §4.2.1), without interpretation.
pub(crate) struct SingleResponse {
    /// True if it is about one of the requested certificates.
    pub(crate) is_requested: bool,
    /// 0 for good, 1 for revoked, 2 for unknown.
    pub(crate) status: c_int,
    /// The `CRLReason`, or -1 if there is none.
    pub(crate) reason: c_int,
    pub(crate) revoked_at: Option<SystemTime>,
    pub(crate) this_update: Option<SystemTime>,
    pub(crate) next_update: Option<SystemTime>,
    pub(crate) has_critical_extension: bool,
}

/// Returns all single responses of an OCSP response, each compared with the certificates in `ids`.
pub(crate) fn single_responses(
    response: &OcspBasicResponseRef,
    ids: &[OcspCertId],
) -> Vec<SingleResponse> {
    let time = |time: *mut sys::ASN1_GENERALIZEDTIME| {
        if time.is_null() {
            return None;
        }
        // SAFETY: the time belongs to the response, which outlives the call. GeneralizedTime is one of the two forms
        // of ASN1_TIME, and the same type in C.
        Some(instant(unsafe { Asn1TimeRef::from_ptr(time.cast()) }))
    };
    let response = response.as_ptr();
    // SAFETY: the response and the ids are live for all calls. The single responses, their ids and their times belong
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
                is_requested: !id.is_null()
                    && ids
                        .iter()
                        .any(|requested| OCSP_id_cmp(requested.as_ptr(), id) == 0),
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

/// Returns true if an OCSP response as a whole has a critical extension.
pub(crate) fn has_critical_extension(response: &OcspBasicResponseRef) -> bool {
    // SAFETY: the response is live for the call, which only reads.
    unsafe { OCSP_BASICRESP_get_ext_by_critical(response.as_ptr(), 1, -1) >= 0 }
}

/// Returns the certificate that signed an OCSP response: one of `certificates`, or one in the response itself.
pub(crate) fn signer(
    response: &OcspBasicResponseRef,
    certificates: &StackRef<X509>,
) -> Option<X509> {
    // SAFETY: response and stack are live for the call. The certificate that it finds belongs to one of them, may be
    // null, which is checked, and gets a separate reference.
    unsafe {
        let mut signer = std::ptr::null_mut();
        let found =
            OCSP_resp_get0_signer(response.as_ptr(), &raw mut signer, certificates.as_ptr());
        (found == 1 && !signer.is_null()).then(|| X509Ref::from_ptr(signer).to_owned())
    }
}

/// Returns the time at which an OCSP response was produced.
pub(crate) fn produced_at(response: &OcspBasicResponseRef) -> Option<SystemTime> {
    // SAFETY: the response is live for the call, and the returned time belongs to it; null is checked.
    // GeneralizedTime is one of the two forms of ASN1_TIME, and the same type in C.
    unsafe {
        let time = OCSP_resp_get0_produced_at(response.as_ptr());
        (!time.is_null()).then(|| instant(Asn1TimeRef::from_ptr(time.cast_mut().cast())))
    }
}

/// Returns true if the revocation status of an OCSP responder's certificate need not be checked
/// (id-pkix-ocsp-nocheck).
pub(crate) fn has_ocsp_no_check(cert: &X509Ref) -> bool {
    const NID_ID_PKIX_OCSP_NO_CHECK: c_int = 369;
    // SAFETY: the certificate is live for the call, which only reads.
    unsafe { sys::X509_get_ext_by_NID(cert.as_ptr(), NID_ID_PKIX_OCSP_NO_CHECK, -1) >= 0 }
}

/// Returns true if the certificate requires an OCSP response from the server: its TLS feature extension (RFC 7633
/// §4.2.3) contains `status_request`, the only feature that every handshake requests.
pub(crate) fn must_staple(cert: &X509Ref) -> bool {
    const NID_TLSFEATURE: c_int = 1020;
    const STATUS_REQUEST: c_long = 5;
    // SAFETY: the certificate is live for the call. The call returns null, which is checked, or a stack of integers
    // that is ours, as defined by RFC 7633 and OpenSSL's table of extensions.
    let features = unsafe {
        let stack = sys::X509_get_ext_d2i(
            cert.as_ptr(),
            NID_TLSFEATURE,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
        if stack.is_null() {
            // An extension that cannot be read, or occurs twice, requires more than is known here.
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
        // SAFETY: the stack is live and ours; its integers are only read. Each index below the number of its elements
        // is valid.
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
        // SAFETY: the stack and its integers are ours, and no code uses them any more.
        unsafe {
            for index in 0..sys::OPENSSL_sk_num(self.0) {
                sys::ASN1_INTEGER_free(sys::OPENSSL_sk_value(self.0, index).cast());
            }
            sys::OPENSSL_sk_free(self.0);
        }
    }
}
