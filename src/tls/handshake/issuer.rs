//! Certificates that bear the name of an issuer without being the issuer (RFC 5280 §6.1.3).
//!
//! A CA that was created again under its old name has another key: what the new one signs does not lead to
//! the old certificate, although all names match. In: a certificate, and one whose subject is the issuer of
//! the first. Out: what differs between the issuer and its namesake, as data and as words. Used for refused
//! chains and for files.

use openssl::error::ErrorStack;
use openssl::x509::{X509Ref, X509VerifyResult};
use openssl_sys as sys;

use crate::time::rfc3339;
use crate::tls::Certificate;

/// The reason why a certificate with the name of an issuer is not the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// It has another key.
    Key,
    /// It has the key identifier that is asked for, but its key does not verify the signature.
    Signature,
    /// It has the right key, and another key identifier than the one that is asked for.
    KeyId,
    /// It has the right key, and another serial number than the one that is asked for.
    Serial,
    /// OpenSSL has another reason.
    Other(&'static str),
}

/// A certificate that bears the name of an issuer.
#[derive(Clone, Debug)]
pub(crate) struct Namesake {
    pub(crate) certificate: Certificate,
    /// The reason why it is not the issuer; `None` if it is.
    pub(crate) difference: Option<Difference>,
    /// The key identifier and the serial number that are asked for.
    asked: (Option<String>, Option<String>),
}

impl Namesake {
    /// Compares the issuer of `below` with `candidate`, whose subject has the name of that issuer.
    pub(crate) fn of(below: &X509Ref, candidate: &X509Ref) -> Self {
        let asked = Certificate::from(below);
        let namesake = Self {
            certificate: Certificate::from(candidate),
            difference: difference(below, candidate),
            asked: (asked.authority_key_id, asked.authority_serial),
        };
        // A signature that does not verify leaves errors in OpenSSL's queue.
        drop(ErrorStack::get());
        namesake
    }

    /// Completes "the certificate X bears the name of the issuer, but".
    pub(crate) fn differs(&self) -> String {
        let found = &self.certificate;
        let (key_id, serial) = (&self.asked.0, &self.asked.1);
        let what = match (self.difference, key_id, &found.subject_key_id) {
            (Some(Difference::Key), Some(asked), Some(has)) => {
                format!("has another key, with the key identifier {has} instead of {asked}")
            }
            (Some(Difference::Key), ..) => "has another key".to_owned(),
            (Some(Difference::Signature), ..) => {
                "its key does not verify the signature, although it has the right key identifier"
                    .to_owned()
            }
            (Some(Difference::KeyId), asked, has) => format!(
                "has, with the same key, the key identifier {} instead of {}",
                has.as_deref().unwrap_or("none"),
                asked.as_deref().unwrap_or("none")
            ),
            (Some(Difference::Serial), ..) => format!(
                "has, with the same key, the serial number {} instead of {}",
                found.serial,
                serial.as_deref().unwrap_or("none")
            ),
            (Some(Difference::Other(why)), ..) => format!("OpenSSL does not accept it: {why}"),
            (None, ..) => "is another certificate with the same key".to_owned(),
        };
        format!("{what} ({})", self.identity())
    }

    /// The property that distinguishes the certificate from others of its name.
    pub(crate) fn identity(&self) -> String {
        let found = &self.certificate;
        format!(
            "SHA-256 fingerprint {}, valid from {} to {}",
            found.sha256_fingerprint,
            rfc3339(found.not_before),
            rfc3339(found.not_after)
        )
    }

    /// ` with the key identifier …` of the right issuer, if the certificate below names it.
    pub(crate) fn asked_key_id(&self) -> String {
        let key_id = self.asked.0.as_ref();
        key_id.map_or_else(String::new, |id| format!(" with the key identifier {id}"))
    }

    /// The serial number of the right issuer, if the certificate below names it.
    pub(crate) fn asked_serial(&self) -> &str {
        self.asked.1.as_deref().unwrap_or_default()
    }
}

fn difference(below: &X509Ref, candidate: &X509Ref) -> Option<Difference> {
    let key = candidate.public_key();
    if !key.is_ok_and(|key| below.verify(&key).unwrap_or(false)) {
        let (asked, has) = (below.authority_key_id(), candidate.subject_key_id());
        let is_same = asked
            .zip(has)
            .is_some_and(|(asked, has)| asked.as_slice() == has.as_slice());
        return Some(if is_same {
            Difference::Signature
        } else {
            Difference::Key
        });
    }
    let result = candidate.issued(below);
    match result.as_raw() {
        _ if result == X509VerifyResult::OK => None,
        sys::X509_V_ERR_AKID_SKID_MISMATCH => Some(Difference::KeyId),
        sys::X509_V_ERR_AKID_ISSUER_SERIAL_MISMATCH => Some(Difference::Serial),
        _ => Some(Difference::Other(result.error_string())),
    }
}

/// Returns whether the subject of `candidate` is the issuer of `below`, by name.
pub(crate) fn is_named_as_issuer(below: &X509Ref, candidate: &X509Ref) -> bool {
    candidate
        .subject_name()
        .try_cmp(below.issuer_name())
        .is_ok_and(|order| order.is_eq())
}
