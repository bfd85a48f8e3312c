//! The results of OpenSSL's verification of a chain (`x509_vfy.h`), grouped by their meaning.

use openssl::x509::X509VerifyResult;
use openssl_sys as sys;

/// Returns whether OpenSSL found no CRL that it could use.
pub(crate) fn misses_crl(result: X509VerifyResult) -> bool {
    let code = result.as_raw();
    let dates = [NO_CRL, CRL_EXPIRED, CRL_NOT_YET_VALID];
    dates.contains(&code) || CRL_INVALID.contains(&code)
}

pub(crate) const NO_ISSUER: i32 = sys::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT;
pub(crate) const NO_LOCAL_ISSUER: i32 = sys::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
pub(crate) const NO_LEAF_SIGNATURE: i32 = sys::X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
pub(crate) const SELF_SIGNED_LEAF: i32 = sys::X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT;
pub(crate) const SELF_SIGNED_IN_CHAIN: i32 = sys::X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN;
pub(crate) const HAS_EXPIRED: i32 = sys::X509_V_ERR_CERT_HAS_EXPIRED;
pub(crate) const NOT_YET_VALID: i32 = sys::X509_V_ERR_CERT_NOT_YET_VALID;
pub(crate) const HOSTNAME_MISMATCH: i32 = sys::X509_V_ERR_HOSTNAME_MISMATCH;
pub(crate) const IP_MISMATCH: i32 = sys::X509_V_ERR_IP_ADDRESS_MISMATCH;
pub(crate) const INVALID_PURPOSE: i32 = sys::X509_V_ERR_INVALID_PURPOSE;
pub(crate) const UNTRUSTED: i32 = sys::X509_V_ERR_CERT_UNTRUSTED;
pub(crate) const REJECTED: i32 = sys::X509_V_ERR_CERT_REJECTED;
pub(crate) const SIGNATURE_FAILURE: i32 = sys::X509_V_ERR_CERT_SIGNATURE_FAILURE;
pub(crate) const EE_KEY_TOO_SMALL: i32 = sys::X509_V_ERR_EE_KEY_TOO_SMALL;
pub(crate) const CA_KEY_TOO_SMALL: i32 = sys::X509_V_ERR_CA_KEY_TOO_SMALL;
pub(crate) const DIGEST_TOO_WEAK: i32 = sys::X509_V_ERR_CA_MD_TOO_WEAK;
pub(crate) const REVOKED: i32 = sys::X509_V_ERR_CERT_REVOKED;
pub(crate) const NO_CRL: i32 = sys::X509_V_ERR_UNABLE_TO_GET_CRL;
pub(crate) const CRL_EXPIRED: i32 = sys::X509_V_ERR_CRL_HAS_EXPIRED;
pub(crate) const CRL_NOT_YET_VALID: i32 = sys::X509_V_ERR_CRL_NOT_YET_VALID;
/// The result of this crate for a chain without a pinned key. OpenSSL reserves the number for applications.
pub(crate) const PIN_MISMATCH: i32 = sys::X509_V_ERR_APPLICATION_VERIFICATION;
pub(crate) const UNKNOWN_EXTENSION: i32 = sys::X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION;
pub(crate) const NAME_CONSTRAINTS: [i32; 6] = [
    sys::X509_V_ERR_PERMITTED_VIOLATION,
    sys::X509_V_ERR_EXCLUDED_VIOLATION,
    sys::X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE,
    sys::X509_V_ERR_UNSUPPORTED_NAME_SYNTAX,
    sys::X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX,
    sys::X509_V_ERR_SUBTREE_MINMAX,
];
pub(crate) const PATH_LENGTH_EXCEEDED: i32 = sys::X509_V_ERR_PATH_LENGTH_EXCEEDED;
pub(crate) const CHAIN_TOO_LONG: i32 = sys::X509_V_ERR_CERT_CHAIN_TOO_LONG;
pub(crate) const UNDECODABLE_SIGNATURE: i32 = sys::X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE;
pub(crate) const UNDECODABLE_ISSUER_KEY: i32 = sys::X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY;
pub(crate) const EXPLICIT_CURVE: i32 = if cfg!(ossl300) { 94 } else { 79 };
pub(crate) const INVALID_CA: [i32; 5] = [
    sys::X509_V_ERR_INVALID_CA,
    PATH_LENGTH_EXCEEDED,
    sys::X509_V_ERR_KEYUSAGE_NO_CERTSIGN,
    CHAIN_TOO_LONG,
    sys::X509_V_ERR_INVALID_NON_CA,
];
pub(crate) const DIFFERENT_SCOPE: i32 = sys::X509_V_ERR_DIFFERENT_CRL_SCOPE;
pub(crate) const CRL_INVALID: [i32; 9] = [
    sys::X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE,
    sys::X509_V_ERR_CRL_SIGNATURE_FAILURE,
    sys::X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER,
    sys::X509_V_ERR_KEYUSAGE_NO_CRL_SIGN,
    sys::X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION,
    sys::X509_V_ERR_DIFFERENT_CRL_SCOPE,
    sys::X509_V_ERR_CRL_PATH_VALIDATION_ERROR,
    sys::X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD,
    sys::X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD,
];
