//! OpenSSL itself: its providers, its configuration file, the locations of its trust anchors.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libc::{c_char, c_long};
#[cfg(ossl300)]
use libc::{c_int, c_void};
use openssl::error::ErrorStack;
use openssl_sys as sys;

use super::calls::*;
use super::errors::ErrorMark;

/// Returns the names of the active providers; empty if OpenSSL is older than 3.
pub(crate) fn providers() -> Vec<String> {
    #[cfg(ossl300)]
    {
        extern "C" fn collect(provider: *mut c_void, names: *mut c_void) -> c_int {
            // SAFETY: OpenSSL passes a live provider, whose name is a static string, and the pointer to the list that
            // was given to OSSL_PROVIDER_do_all; no other code uses the list now.
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
        // SAFETY: null means the default library context; the list outlives all calls of the callback, which end
        // before this call returns.
        unsafe {
            OSSL_PROVIDER_do_all(std::ptr::null_mut(), Some(collect), (&raw mut names).cast())
        };
        names
    }
    #[cfg(not(ossl300))]
    Vec::new()
}

/// Returns true if by default only algorithms of the FIPS module are fetched.
pub(crate) fn fips_is_on() -> bool {
    #[cfg(ossl300)]
    // SAFETY: null means the default library context; the call only reads a setting of it.
    unsafe {
        sys::EVP_default_properties_is_fips_enabled(std::ptr::null_mut()) == 1
    }
    #[cfg(not(ossl300))]
    false
}

/// Returns true if a loaded provider has algorithms of the FIPS module.
pub(crate) fn has_fips_algorithms() -> bool {
    #[cfg(ossl300)]
    {
        openssl::md::Md::fetch(None, "SHA256", Some("fips=yes")).is_ok()
    }
    #[cfg(not(ossl300))]
    false
}

/// An OpenSSL configuration file, as text: it is not applied.
pub(crate) struct Configuration(*mut sys::CONF);

impl Drop for Configuration {
    fn drop(&mut self) {
        // SAFETY: the pointer comes from NCONF_new, and no code uses it any more.
        unsafe { sys::NCONF_free(self.0) };
    }
}

impl Configuration {
    /// Reads a file.
    ///
    /// # Errors
    /// The line that OpenSSL cannot read, or 0 if it is unknown, and OpenSSL's message.
    pub(crate) fn load(path: &Path) -> Result<Self, (c_long, ErrorStack)> {
        let mut line: c_long = 0;
        let _ = ErrorStack::get();
        let failed = |line| Err((line, ErrorStack::get()));
        let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
            return failed(line);
        };
        // SAFETY: null means the default method, and the result is checked. The path outlives the call that reads it.
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

    /// Returns a value of a section, or of the default section before all others.
    pub(crate) fn value(&self, section: Option<&str>, name: &str) -> Option<String> {
        let _mark = ErrorMark::set();
        let section = section.map(CString::new).transpose().ok()?;
        let section = section.as_deref().map_or(std::ptr::null(), CStr::as_ptr);
        let name = CString::new(name).ok()?;
        // SAFETY: all pointers are live or null, which means the default section.
        Self::text(unsafe { NCONF_get_string(self.0, section, name.as_ptr()) })
    }

    /// Returns the names and values of a section, in order.
    pub(crate) fn section(&self, name: &str) -> Vec<(String, String)> {
        #[repr(C)]
        struct ConfigurationValue {
            section: *const c_char,
            name: *const c_char,
            value: *const c_char,
        }
        let _mark = ErrorMark::set();
        let Ok(name) = CString::new(name) else {
            return Vec::new();
        };
        // SAFETY: the configuration is live for the calls. The stack belongs to it and may be null, which is checked.
        // At each index below its number of elements it has a pointer to a CONF_VALUE, which has the fields of Value.
        unsafe {
            let stack = NCONF_get_section(self.0, name.as_ptr());
            if stack.is_null() {
                return Vec::new();
            }
            let read = |index| {
                let value = &*sys::OPENSSL_sk_value(stack, index).cast::<ConfigurationValue>();
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
        // SAFETY: a text of a configuration is NUL-terminated and lives as long as the configuration, whose methods
        // call this function; it is copied.
        let text = unsafe { CStr::from_ptr(text) };
        Some(text.to_string_lossy().into_owned())
    }
}

/// Returns the path of the configuration file that OpenSSL reads, even if it does not exist, or `None` if OpenSSL
/// cannot determine it.
pub(crate) fn configuration_file() -> Option<PathBuf> {
    // SAFETY: the call returns null, which is checked, or a new NUL-terminated string that is ours to free; it is
    // copied first and freed here once.
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

/// Returns the file and the directory in which this build of OpenSSL looks for trust anchors.
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
