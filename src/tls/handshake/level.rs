//! OpenSSL's security level: which one applies, who set it, and what it requires
//! (`SSL_CTX_set_security_level`).

use std::fmt;
use std::path::Path;

use crate::ffi::openssl::Configuration;
use crate::options::{ProtocolList, ProtocolOptions};
use crate::printable::Quoted;
use crate::tls::library::Library;
use crate::tls::openssl_version;

/// The security level of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecurityLevel {
    level: u32,
    set_by: SetBy,
}

/// The setting that determines the level. Earlier variants take precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SetBy {
    /// `@SECLEVEL=` in the option `cipher_list`.
    CipherList,
    /// The option `security_level`.
    Option,
    /// `@SECLEVEL=` in the `CipherString` of OpenSSL's configuration file, which is this one.
    ConfigurationFile(String),
    /// Nothing: OpenSSL was built with it.
    Build,
}

impl SecurityLevel {
    /// The level in force, and where it comes from.
    pub(crate) fn new(level: u32, options: &ProtocolOptions) -> Self {
        let sets_level = |list: &str| list.contains(SECLEVEL);
        let mut lists = options.lists();
        let in_list =
            lists.any(|(list, value)| list == ProtocolList::CipherList && sets_level(value));
        let set_by = if in_list {
            SetBy::CipherList
        } else if options.level().is_some() {
            SetBy::Option
        } else {
            let library = Library::inspect();
            let file = library.config_file.filter(|_| library.config_file_found);
            let file = file
                .filter(|path| system_cipher_string(path).is_some_and(|list| sets_level(&list)));
            file.map_or(SetBy::Build, |path| {
                SetBy::ConfigurationFile(path.display().to_string())
            })
        };
        Self { level, set_by }
    }

    /// The number of the level.
    pub(crate) fn number(&self) -> u32 {
        self.level
    }

    /// Describes the problem with a key of `bits` bits of security.
    pub(crate) fn weak_key(&self, key: &str, bits: u32) -> String {
        format!(
            "{key} has {bits} bits of security, and {self}, requires {} ({})",
            self.bits(),
            self.smallest_keys()
        )
    }

    /// The remedy for the key of a certificate.
    pub(crate) fn stronger_key(&self, subject: &str, bits: u32) -> String {
        format!(
            "Have the certificate of {} issued for a key of {} or stronger.{}",
            Quoted(subject),
            self.good_keys(),
            self.lower_for(bits)
        )
    }

    /// Describes the problem with a signature.
    pub(crate) fn weak_digest(&self, algorithm: &str) -> String {
        format!(
            "{algorithm} has less than the {} bits of security that {self}, requires",
            self.bits()
        )
    }

    /// The remedy for the signature of a certificate.
    pub(crate) fn stronger_digest(&self, subject: &str) -> String {
        let digest = self.good_digest();
        let subject = Quoted(subject);
        format!("Have the certificate of {subject} signed again with {digest} or stronger.")
    }

    /// The smallest finite field for a key exchange that the level allows, in bits.
    pub(crate) fn finite_field_bits(&self) -> u32 {
        match self.level {
            0 | 1 => 1024,
            2 => 2048,
            3 => 3072,
            4 => 7680,
            _ => 15360,
        }
    }

    /// The bits of security that the level requires.
    fn bits(&self) -> u32 {
        match self.level {
            0 => 0,
            1 => 80,
            2 => 112,
            3 => 128,
            4 => 192,
            _ => 256,
        }
    }

    /// The smallest keys that the level allows.
    fn smallest_keys(&self) -> &'static str {
        match self.level {
            0 | 1 => "RSA 1024 or an elliptic curve of 160 bits",
            2 => "RSA 2048 or an elliptic curve of 224 bits",
            3 => "RSA 3072 or an elliptic curve of 256 bits",
            4 => "RSA 7680 or an elliptic curve of 384 bits",
            _ => "RSA 15360 or an elliptic curve of 512 bits",
        }
    }

    /// Keys to recommend, which the level allows.
    pub(crate) fn good_keys(&self) -> &'static str {
        match self.level {
            0..=2 => "RSA 2048, EC P-256",
            3 => "RSA 3072, EC P-256",
            4 => "RSA 7680, EC P-384",
            _ => "RSA 15360, EC P-521",
        }
    }

    /// The weakest digest to recommend, which the level allows.
    fn good_digest(&self) -> &'static str {
        match self.level {
            0..=3 => "SHA-256",
            4 => "SHA-384",
            _ => "SHA-512",
        }
    }

    /// A second remedy for a key or signature with `bits` of security; empty if level 2, the usual one, would not do
    /// either.
    fn lower_for(&self, bits: u32) -> String {
        if bits < 112 {
            return String::new();
        }
        let setting = match &self.set_by {
            SetBy::CipherList => format!("{SECLEVEL}2 in cipher_list"),
            SetBy::ConfigurationFile(path) => format!("{SECLEVEL}2 in {path}"),
            SetBy::Option | SetBy::Build => "security_level(2)".to_owned(),
        };
        format!(" Or lower the security level to 2, which accepts it, with {setting}.")
    }
}

impl fmt::Display for SecurityLevel {
    /// `security level 3, which the option security_level sets,`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "security level {}, which ", self.level)?;
        match &self.set_by {
            SetBy::CipherList => write!(f, "{SECLEVEL}{} in cipher_list sets", self.level),
            SetBy::Option => f.write_str("the option security_level sets"),
            SetBy::ConfigurationFile(path) => {
                write!(f, "{SECLEVEL}{} in {path} sets", self.level)
            }
            SetBy::Build => write!(f, "is the default of {}", openssl_version()),
        }
    }
}

/// The prefix with which a cipher list sets the level.
const SECLEVEL: &str = "@SECLEVEL=";

/// The `CipherString` that a configuration file of OpenSSL sets for all connections: that of the section which
/// `system_default` names in the section which `ssl_conf` names in the one of `openssl_conf`.
fn system_cipher_string(file: &Path) -> Option<String> {
    let file = Configuration::load(file).ok()?;
    let modules = file.value(None, "openssl_conf")?;
    let settings = file.value(Some(&modules), "ssl_conf")?;
    let defaults = file.value(Some(&settings), "system_default")?;
    file.value(Some(&defaults), "CipherString")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sets_the_level_is_told() {
        let plain = ProtocolOptions::default;
        let told = |options: ProtocolOptions| SecurityLevel::new(3, &options).to_string();
        assert_eq!(
            told(plain().security_level(3)),
            "security level 3, which the option security_level sets"
        );
        // The list is applied after the option.
        assert_eq!(
            told(plain().security_level(1).cipher_list("ALL:@SECLEVEL=3")),
            "security level 3, which @SECLEVEL=3 in cipher_list sets"
        );
        let set_by = |set_by| SecurityLevel { level: 2, set_by }.to_string();
        assert_eq!(
            set_by(SetBy::ConfigurationFile("/etc/ssl/openssl.cnf".to_owned())),
            "security level 2, which @SECLEVEL=2 in /etc/ssl/openssl.cnf sets"
        );
        assert_eq!(
            set_by(SetBy::Build),
            format!(
                "security level 2, which is the default of {}",
                openssl_version()
            )
        );
    }

    #[test]
    fn a_level_is_lowered_only_for_what_level_2_accepts() {
        let level = SecurityLevel {
            level: 4,
            set_by: SetBy::Option,
        };
        assert_eq!(
            level.stronger_key("CN=a", 128),
            "Have the certificate of \"CN=a\" issued for a key of RSA 7680, EC P-384 or stronger. Or lower the security level to 2, which accepts it, with security_level(2)."
        );
        assert_eq!(
            level.stronger_key("CN=a", 80),
            "Have the certificate of \"CN=a\" issued for a key of RSA 7680, EC P-384 or stronger."
        );
    }
}
