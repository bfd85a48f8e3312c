//! Declarations of OpenSSL functions that `openssl-sys` does not declare.

#![allow(unsafe_code)]

use libc::{c_char, c_int, c_long, c_ulong, c_void};
use openssl_sys as sys;

pub(super) type CrlCheckFunction =
    unsafe extern "C" fn(*mut sys::X509_STORE_CTX, *mut sys::X509_CRL) -> c_int;
pub(super) type CertificateCallback = extern "C" fn(*mut sys::SSL, *mut c_void) -> c_int;

unsafe extern "C" {
    pub(super) fn OPENSSL_thread_stop();
    pub(super) fn OPENSSL_atexit(handler: extern "C" fn()) -> c_int;
    pub(super) fn ERR_set_mark() -> c_int;
    pub(super) fn ERR_pop_to_mark() -> c_int;
    pub(super) fn OCSP_resp_count(response: *mut sys::OCSP_BASICRESP) -> c_int;
    pub(super) fn OCSP_resp_get0(response: *mut sys::OCSP_BASICRESP, index: c_int) -> *mut c_void;
    pub(super) fn OCSP_resp_get0_produced_at(
        response: *const sys::OCSP_BASICRESP,
    ) -> *const sys::ASN1_GENERALIZEDTIME;
    pub(super) fn OCSP_SINGLERESP_get0_id(single: *const c_void) -> *const sys::OCSP_CERTID;
    pub(super) fn OCSP_id_cmp(a: *const sys::OCSP_CERTID, b: *const sys::OCSP_CERTID) -> c_int;
    pub(super) fn OCSP_single_get0_status(
        single: *mut c_void,
        reason: *mut c_int,
        revoked_at: *mut *mut sys::ASN1_GENERALIZEDTIME,
        this_update: *mut *mut sys::ASN1_GENERALIZEDTIME,
        next_update: *mut *mut sys::ASN1_GENERALIZEDTIME,
    ) -> c_int;
    pub(super) fn OCSP_SINGLERESP_get_ext_by_critical(
        single: *mut c_void,
        critical: c_int,
        after: c_int,
    ) -> c_int;
    pub(super) fn OCSP_BASICRESP_get_ext_by_critical(
        response: *mut sys::OCSP_BASICRESP,
        critical: c_int,
        after: c_int,
    ) -> c_int;
    pub(super) fn OCSP_resp_get0_signer(
        response: *mut sys::OCSP_BASICRESP,
        signer: *mut *mut sys::X509,
        certificates: *mut sys::stack_st_X509,
    ) -> c_int;
    pub(super) fn X509_STORE_add_crl(store: *mut sys::X509_STORE, crl: *mut sys::X509_CRL)
    -> c_int;
    pub(super) fn X509_STORE_set_check_crl(
        store: *mut sys::X509_STORE,
        check: Option<CrlCheckFunction>,
    );
    pub(super) fn X509_STORE_CTX_get_check_crl(
        context: *const sys::X509_STORE_CTX,
    ) -> Option<CrlCheckFunction>;
    pub(super) fn X509_STORE_CTX_get0_current_issuer(
        context: *const sys::X509_STORE_CTX,
    ) -> *mut sys::X509;
    pub(super) fn X509_STORE_CTX_get0_param(
        context: *const sys::X509_STORE_CTX,
    ) -> *mut sys::X509_VERIFY_PARAM;
    pub(super) fn X509_VERIFY_PARAM_get_time(param: *const sys::X509_VERIFY_PARAM) -> libc::time_t;
    pub(super) fn X509_STORE_add_lookup(
        store: *mut sys::X509_STORE,
        method: *mut c_void,
    ) -> *mut c_void;
    pub(super) fn X509_LOOKUP_meth_new(name: *const c_char) -> *mut c_void;
    pub(super) fn X509_LOOKUP_meth_set_get_by_subject(
        method: *mut c_void,
        by_subject: extern "C" fn(*mut c_void, c_int, *mut sys::X509_NAME, *mut c_void) -> c_int,
    ) -> c_int;
    pub(super) fn X509_LOOKUP_meth_set_free(
        method: *mut c_void,
        free: extern "C" fn(*mut c_void),
    ) -> c_int;
    pub(super) fn X509_LOOKUP_set_method_data(lookup: *mut c_void, data: *mut c_void) -> c_int;
    pub(super) fn X509_LOOKUP_get_method_data(lookup: *const c_void) -> *mut c_void;
    pub(super) fn X509_LOOKUP_get_store(lookup: *const c_void) -> *mut sys::X509_STORE;
    pub(super) fn X509_OBJECT_set1_X509(object: *mut c_void, certificate: *mut sys::X509) -> c_int;
    pub(super) fn X509_get_X509_PUBKEY(certificate: *const sys::X509) -> *const c_void;
    pub(super) fn i2d_X509_PUBKEY(key: *const c_void, out: *mut *mut u8) -> c_int;
    pub(super) fn X509_NAME_print_ex(
        out: *mut sys::BIO,
        name: *const sys::X509_NAME,
        indent: c_int,
        flags: c_ulong,
    ) -> c_int;
    pub(super) fn X509_check_ca(cert: *mut sys::X509) -> c_int;
    pub(super) fn PKCS12_mac_present(store: *const sys::PKCS12) -> c_int;
    pub(super) fn PKCS12_set_mac(
        store: *mut sys::PKCS12,
        password: *const c_char,
        length: c_int,
        salt: *mut u8,
        salt_length: c_int,
        iterations: c_int,
        digest: *const sys::EVP_MD,
    ) -> c_int;
    pub(super) fn X509_check_trust(cert: *mut sys::X509, id: c_int, flags: c_int) -> c_int;
    pub(super) fn PEM_read_bio_X509_AUX(
        bio: *mut sys::BIO,
        out: *mut *mut sys::X509,
        password: Option<extern "C" fn(*mut c_char, c_int, c_int, *mut c_void) -> c_int>,
        data: *mut c_void,
    ) -> *mut sys::X509;
    pub(super) fn X509_CRL_get_signature_nid(crl: *const sys::X509_CRL) -> c_int;
    pub(super) fn X509_STORE_CTX_get0_untrusted(
        context: *mut sys::X509_STORE_CTX,
    ) -> *mut sys::stack_st_X509;
    pub(super) fn X509_STORE_CTX_get1_certs(
        context: *mut sys::X509_STORE_CTX,
        name: *const sys::X509_NAME,
    ) -> *mut sys::stack_st_X509;
    pub(super) fn X509_STORE_CTX_get_num_untrusted(context: *mut sys::X509_STORE_CTX) -> c_int;
    pub(super) fn X509_STORE_CTX_get0_current_crl(
        context: *mut sys::X509_STORE_CTX,
    ) -> *mut sys::X509_CRL;
    pub(super) fn SSL_get0_peer_CA_list(ssl: *const sys::SSL) -> *const sys::stack_st_X509_NAME;
    pub(super) fn SSL_free_buffers(ssl: *mut sys::SSL) -> c_int;
    pub(super) fn SSL_has_pending(ssl: *const sys::SSL) -> c_int;
    pub(super) fn SSL_CTX_set_cert_cb(
        context: *mut sys::SSL_CTX,
        callback: Option<CertificateCallback>,
        argument: *mut c_void,
    );
    pub(super) fn CONF_get1_default_config_file() -> *mut c_char;
    pub(super) fn NCONF_get_section(
        conf: *const sys::CONF,
        section: *const c_char,
    ) -> *mut sys::OPENSSL_STACK;
    pub(super) fn NCONF_load(conf: *mut sys::CONF, file: *const c_char, line: *mut c_long)
    -> c_int;
    pub(super) fn NCONF_get_string(
        conf: *const sys::CONF,
        section: *const c_char,
        name: *const c_char,
    ) -> *mut c_char;
}

#[cfg(ossl300)]
pub(super) type RawPasswordCallback =
    extern "C" fn(*mut c_char, c_int, c_int, *mut c_void) -> c_int;

#[cfg(ossl300)]
unsafe extern "C" {
    pub(super) fn OSSL_PROVIDER_do_all(
        context: *mut c_void,
        callback: Option<extern "C" fn(*mut c_void, *mut c_void) -> c_int>,
        argument: *mut c_void,
    ) -> c_int;
    pub(super) fn OSSL_PROVIDER_get0_name(provider: *const c_void) -> *const c_char;
    pub(super) fn UI_UTIL_wrap_read_pem_callback(
        callback: Option<RawPasswordCallback>,
        for_writing: c_int,
    ) -> *mut c_void;
    pub(super) fn UI_destroy_method(method: *mut c_void);
    pub(super) fn OSSL_STORE_open(
        uri: *const c_char,
        method: *const c_void,
        method_data: *mut c_void,
        post_process: Option<extern "C" fn(*mut c_void, *mut c_void) -> *mut c_void>,
        post_process_data: *mut c_void,
    ) -> *mut c_void;
    pub(super) fn OSSL_STORE_expect(store: *mut c_void, kind: c_int) -> c_int;
    pub(super) fn OSSL_STORE_load(store: *mut c_void) -> *mut c_void;
    pub(super) fn OSSL_STORE_eof(store: *mut c_void) -> c_int;
    pub(super) fn OSSL_STORE_error(store: *mut c_void) -> c_int;
    pub(super) fn OSSL_STORE_close(store: *mut c_void) -> c_int;
    pub(super) fn OSSL_STORE_INFO_get_type(info: *const c_void) -> c_int;
    pub(super) fn OSSL_STORE_INFO_get1_PKEY(info: *const c_void) -> *mut sys::EVP_PKEY;
    pub(super) fn OSSL_STORE_INFO_free(info: *mut c_void);
    pub(super) fn SSL_group_to_name(ssl: *mut sys::SSL, id: c_int) -> *const c_char;
}
