//! TLS protocol settings: versions, cipher suites, groups, signature algorithms. Plain data; the system's OpenSSL
//! configuration applies to settings that are not set.

pub use crate::data::tls_version::TlsVersion;
pub(crate) use crate::reason::files::ProtocolList;
use crate::reason::options::OptionConflict;

/// The TLS protocol settings, all of them optional.
///
/// By default nothing is set: the system's `openssl.cnf` and crypto policy apply, with a minimum of TLS 1.2. Lists
/// use OpenSSL's syntax, separated by colons. A name that the linked OpenSSL does not know causes an error when the
/// client is created.
///
/// ```
/// use mongotls::options::{TlsOptions, TlsVersion};
///
/// let options = TlsOptions::builder()
///     .protocol(|tls| tls.min_version(TlsVersion::Tls13).groups("X25519:P-256"))
///     .build()?;
/// # Ok::<(), mongotls::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolOptions {
    min_version: Option<TlsVersion>,
    max_version: Option<TlsVersion>,
    cipher_list: Option<String>,
    cipher_suites: Option<String>,
    groups: Option<String>,
    signature_algorithms: Option<String>,
    security_level: Option<u32>,
}

impl ProtocolOptions {
    /// Sets the minimum version. Default: that of `openssl.cnf`, but at least TLS 1.2.
    #[must_use]
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = Some(version);
        self
    }

    /// Sets the maximum version. Default: that of `openssl.cnf`, or else the newest version that OpenSSL supports.
    #[must_use]
    pub fn max_version(mut self, version: TlsVersion) -> Self {
        self.max_version = Some(version);
        self
    }

    /// Sets the ciphers for TLS 1.2, in the syntax of `openssl ciphers`, such as `ECDHE+AESGCM`.
    #[must_use]
    pub fn cipher_list(mut self, list: impl Into<String>) -> Self {
        self.cipher_list = Some(list.into());
        self
    }

    /// Sets the cipher suites for TLS 1.3, such as `TLS_AES_256_GCM_SHA384`.
    #[must_use]
    pub fn cipher_suites(mut self, suites: impl Into<String>) -> Self {
        self.cipher_suites = Some(suites.into());
        self
    }

    /// Sets the groups for the key exchange in order of preference, such as `X25519:P-256`, or
    /// `X25519MLKEM768:X25519` if the linked OpenSSL supports hybrid groups (3.5).
    #[must_use]
    pub fn groups(mut self, groups: impl Into<String>) -> Self {
        self.groups = Some(groups.into());
        self
    }

    /// Sets the accepted signature algorithms, such as `ECDSA+SHA256:RSA-PSS+SHA256`.
    #[must_use]
    pub fn signature_algorithms(mut self, algorithms: impl Into<String>) -> Self {
        self.signature_algorithms = Some(algorithms.into());
        self
    }

    /// Rejects keys, digests and ciphers below this security level, from 1 (80 bits of security) to 5 (256 bits), as
    /// defined by `SSL_CTX_set_security_level`. Default: that of `openssl.cnf` or of the build, 1 or 2.
    #[must_use]
    pub fn security_level(mut self, level: u32) -> Self {
        self.security_level = Some(level);
        self
    }

    pub(crate) fn oldest(&self) -> Option<TlsVersion> {
        self.min_version
    }

    pub(crate) fn newest(&self) -> Option<TlsVersion> {
        self.max_version
    }

    pub(crate) fn level(&self) -> Option<u32> {
        self.security_level
    }

    /// Returns the lists that are set, each with the name of its setter.
    pub(crate) fn lists(&self) -> impl Iterator<Item = (ProtocolList, &str)> {
        [
            (ProtocolList::CipherList, &self.cipher_list),
            (ProtocolList::CipherSuites, &self.cipher_suites),
            (ProtocolList::Groups, &self.groups),
            (
                ProtocolList::SignatureAlgorithms,
                &self.signature_algorithms,
            ),
        ]
        .into_iter()
        .filter_map(|(list, value)| Some((list, value.as_deref()?)))
    }

    /// Returns the conflicts between the settings.
    pub(super) fn conflicts(&self) -> Vec<OptionConflict> {
        let mut conflicts = Vec::new();
        if let (Some(min), Some(max)) = (self.min_version, self.max_version) {
            if min > max {
                conflicts.push(OptionConflict::Versions { min, max });
            }
        }
        if let Some(level) = self.security_level {
            if !(1..=5).contains(&level) {
                conflicts.push(OptionConflict::SecurityLevel(level));
            }
        }
        conflicts
    }
}
