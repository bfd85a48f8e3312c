//! Which OpenSSL this program runs with, and what shapes it: providers and configuration file.

use std::path::PathBuf;

use super::ffi;
use crate::fork;

/// The version of the OpenSSL that this program runs with, such as `OpenSSL 3.0.19 27 Jan 2026`.
pub fn openssl_version() -> &'static str {
    openssl::version::version()
}

/// The OpenSSL that this program runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Library {
    /// Its version, such as `OpenSSL 3.0.19 27 Jan 2026`.
    pub version: String,
    /// The providers that are active, such as `default`, `fips` or `legacy`; empty before OpenSSL 3.
    pub providers: Vec<String>,
    /// Whether only algorithms of the FIPS module are used.
    pub fips: bool,
    /// The configuration file (`OPENSSL_CONF`, otherwise where this OpenSSL was built to look).
    pub config_file: Option<PathBuf>,
    /// Whether that file is there.
    pub config_file_found: bool,
}

impl Library {
    /// Looks at the OpenSSL in use.
    pub fn inspect() -> Self {
        let _at_work = fork::at_work();
        let config_file = ffi::configuration_file();
        Self {
            version: openssl_version().to_owned(),
            providers: ffi::providers(),
            fips: ffi::fips_is_on(),
            config_file_found: config_file.as_ref().is_some_and(|path| path.is_file()),
            config_file,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_in_use_is_described() {
        let library = Library::inspect();
        assert_eq!(library.version, openssl_version());
        let config_file = library.config_file.expect("a path");
        assert!(config_file.is_absolute(), "{config_file:?}");
        assert_eq!(library.config_file_found, config_file.is_file());
        if openssl::version::number() >= 0x3000_0000 {
            assert!(!library.providers.is_empty());
            let is_fips = library.providers.contains(&"fips".to_owned());
            assert!(!library.fips || is_fips, "{:?}", library.providers);
        }
    }
}
