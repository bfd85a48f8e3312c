//! Words for OpenSSL's security level: what determines it, and what it requires.

use std::fmt;

use crate::printable::Quoted;
use crate::reason::certificate::{SecurityLevel, SecurityLevelSource};

impl SecurityLevel {
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

    /// A second remedy for a key or signature with `bits` of security. It is empty if level 2, the usual one, would not
    /// accept it either.
    fn lower_for(&self, bits: u32) -> String {
        if bits < 112 {
            return String::new();
        }
        let setting = match &self.set_by {
            SecurityLevelSource::CipherList => format!("{SECLEVEL}2 in cipher_list"),
            SecurityLevelSource::ConfigurationFile(path) => format!("{SECLEVEL}2 in {path}"),
            SecurityLevelSource::Option | SecurityLevelSource::Build { .. } => {
                "security_level(2)".to_owned()
            }
        };
        format!(" Or lower the security level to 2, which accepts it, with {setting}.")
    }
}

impl fmt::Display for SecurityLevel {
    /// `security level 3, which the option security_level sets,`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "security level {}, which ", self.level)?;
        match &self.set_by {
            SecurityLevelSource::CipherList => {
                write!(f, "{SECLEVEL}{} in cipher_list sets", self.level)
            }
            SecurityLevelSource::Option => f.write_str("the option security_level sets"),
            SecurityLevelSource::ConfigurationFile(path) => {
                write!(f, "{SECLEVEL}{} in {path} sets", self.level)
            }
            SecurityLevelSource::Build { openssl_version } => {
                write!(f, "is the default of {openssl_version}")
            }
        }
    }
}

/// The prefix with which a cipher list sets the level.
const SECLEVEL: &str = "@SECLEVEL=";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_name_the_setting_that_determines_the_level() {
        let words = |set_by| SecurityLevel { level: 3, set_by }.to_string();
        assert_eq!(
            words(SecurityLevelSource::Option),
            "security level 3, which the option security_level sets"
        );
        assert_eq!(
            words(SecurityLevelSource::CipherList),
            "security level 3, which @SECLEVEL=3 in cipher_list sets"
        );
        assert_eq!(
            words(SecurityLevelSource::ConfigurationFile(
                "/etc/ssl/openssl.cnf".to_owned()
            )),
            "security level 3, which @SECLEVEL=3 in /etc/ssl/openssl.cnf sets"
        );
        assert_eq!(
            words(SecurityLevelSource::Build {
                openssl_version: "OpenSSL 3.0.19"
            }),
            "security level 3, which is the default of OpenSSL 3.0.19"
        );
    }

    #[test]
    fn a_level_is_lowered_only_for_what_level_2_accepts() {
        let level = SecurityLevel {
            level: 4,
            set_by: SecurityLevelSource::Option,
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
