//! Certificates that have the name of an issuer without being the issuer (RFC 5280 §6.1.3).
//!
//! A CA that was created again under its old name has another key: the certificates that the new CA signs do not lead
//! to the old certificate, although all names match. In: a certificate, and one whose subject is the issuer of the
//! first. Out: the difference between the issuer and its namesake. It is used for rejected chains and for files.

use openssl::error::ErrorStack;
use openssl::x509::{X509Ref, X509VerifyResult};
use openssl_sys as sys;

use crate::data::certificate::Certificate;
use crate::reason::certificate::{IssuerDifference, Namesake, NamesakeOrigin};

impl Namesake {
    /// Compares the issuer of `below` with `candidate`, whose subject has the name of that issuer.
    pub(crate) fn of(below: &X509Ref, candidate: &X509Ref, origin: NamesakeOrigin) -> Self {
        let expected = Certificate::of(below);
        let namesake = Self {
            certificate: Certificate::of(candidate),
            origin,
            difference: difference(below, candidate),
            expected_key_id: expected.authority_key_id,
            expected_serial: expected.authority_serial,
        };
        // A signature that does not verify leaves errors in OpenSSL's queue.
        drop(ErrorStack::get());
        namesake
    }
}

fn difference(below: &X509Ref, candidate: &X509Ref) -> Option<IssuerDifference> {
    let key = candidate.public_key();
    if !key.is_ok_and(|key| below.verify(&key).unwrap_or(false)) {
        let (expected, has) = (below.authority_key_id(), candidate.subject_key_id());
        let is_same = expected
            .zip(has)
            .is_some_and(|(expected, has)| expected.as_slice() == has.as_slice());
        return Some(if is_same {
            IssuerDifference::Signature
        } else {
            IssuerDifference::Key
        });
    }
    let result = candidate.issued(below);
    match result.as_raw() {
        _ if result == X509VerifyResult::OK => None,
        sys::X509_V_ERR_AKID_SKID_MISMATCH => Some(IssuerDifference::KeyId),
        sys::X509_V_ERR_AKID_ISSUER_SERIAL_MISMATCH => Some(IssuerDifference::Serial),
        _ => Some(IssuerDifference::Other(result.error_string())),
    }
}

/// Returns whether the subject of `candidate` is the issuer of `below`, by name.
pub(crate) fn is_named_as_issuer(below: &X509Ref, candidate: &X509Ref) -> bool {
    candidate
        .subject_name()
        .try_cmp(below.issuer_name())
        .is_ok_and(|order| order.is_eq())
}
