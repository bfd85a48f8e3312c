//! The few OpenSSL calls that the `openssl` crate does not provide.
//!
//! Each function in this module is safe to call from anywhere; each `unsafe` block states who keeps the promises that
//! C requires. Nothing in this module makes decisions.

mod calls;
mod crl_check;
mod errors;
mod keys;
mod library;
mod lookup;
mod ocsp;
mod ssl;
mod store;
mod x509;

pub(crate) use self::crl_check::{
    CrlChecks, current_issuer, store_check_crl_with, verification_flags,
};
pub(crate) use self::errors::{ErrorMark, at_cleanup, clear_errors, enter_thread, leave_thread};
pub(crate) use self::keys::{load_private_key, parse_pkcs12};
pub(crate) use self::library::{
    Configuration, configuration_file, default_verify_paths, fips_is_on, has_fips_algorithms,
    providers,
};
pub(crate) use self::lookup::store_find_by;
pub(crate) use self::ocsp::{
    SingleResponse, has_critical_extension, has_ocsp_no_check, must_staple, produced_at, signer,
    single_responses,
};
pub(crate) use self::ssl::{
    add_chain_certificate, expect_certificate_request, free_buffers, has_pending, mark_shut_down,
    negotiated_group, offer_session, requested_ca_names, saw_certificate_request, security_level,
    watch_certificate_requests,
};
pub(crate) use self::store::{
    anchors_named, crl_has_expired, current_crl, store_add_crl, untrusted_chain, untrusted_count,
};
pub(crate) use self::x509::{
    crl_extension, crl_signature, extended_key_usage, general_name, has_name_constraints, instant,
    is_ca, is_delta, name_text, rejects_servers, spki_der, trusted_certificate, user_name,
};
