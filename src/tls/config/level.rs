//! OpenSSL's security level, and the setting that determines it (`SSL_CTX_set_security_level`).

use std::path::Path;

use crate::ffi::openssl::Configuration;
use crate::options::{ProtocolList, ProtocolOptions};
use crate::reason::certificate::SecurityLevelSource;
use crate::tls::library::{Library, openssl_version};

pub(crate) use crate::reason::certificate::SecurityLevel;

impl SecurityLevel {
    /// Determines which setting sets the current level.
    pub(crate) fn new(level: u32, options: &ProtocolOptions) -> Self {
        let sets_level = |list: &str| list.contains(SECLEVEL);
        let mut lists = options.lists();
        let in_list =
            lists.any(|(list, value)| list == ProtocolList::CipherList && sets_level(value));
        let set_by = if in_list {
            SecurityLevelSource::CipherList
        } else if options.level().is_some() {
            SecurityLevelSource::Option
        } else {
            let library = Library::inspect();
            let file = library.config_file.filter(|_| library.config_file_found);
            let file = file
                .filter(|path| system_cipher_string(path).is_some_and(|list| sets_level(&list)));
            file.map_or(
                SecurityLevelSource::Build {
                    openssl_version: openssl_version(),
                },
                |path| SecurityLevelSource::ConfigurationFile(path.display().to_string()),
            )
        };
        Self { level, set_by }
    }
}

/// The prefix with which a cipher list sets the level.
const SECLEVEL: &str = "@SECLEVEL=";

/// The `CipherString` that a configuration file of OpenSSL sets for all connections. The section in `openssl_conf` has
/// `ssl_conf`, which names a section with `system_default`, which names the section with the string.
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
    fn the_setting_that_determines_the_level_is_found() {
        let plain = ProtocolOptions::default;
        let source = |options: ProtocolOptions| SecurityLevel::new(3, &options).set_by;
        assert_eq!(
            source(plain().security_level(3)),
            SecurityLevelSource::Option
        );
        // The list is applied after the option.
        assert_eq!(
            source(plain().security_level(1).cipher_list("ALL:@SECLEVEL=3")),
            SecurityLevelSource::CipherList
        );
    }
}
