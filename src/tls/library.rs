//! The OpenSSL that this program runs with, its providers and its configuration file, and the errors that it reports.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;

use crate::error::Error;
use crate::ffi::fork;
use crate::ffi::openssl as ffi;
use crate::ffi::openssl::Configuration;
use crate::reason::files::{FileFailure, LibraryProblem};

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
    /// True if only algorithms of the FIPS module are used: OpenSSL is configured that way, and a provider has them.
    pub fips: bool,
    /// The configuration file (`OPENSSL_CONF`, otherwise the path that this OpenSSL was built with).
    pub config_file: Option<PathBuf>,
    /// True if that file exists.
    pub config_file_found: bool,
    /// The reason why OpenSSL cannot load that file, which it then silently ignores; `None` if it can, or without a
    /// file.
    pub config_error: Option<String>,
    /// The providers that the file activates but that are not loaded: OpenSSL continues without them.
    pub missing_providers: Vec<String>,
    /// True if OpenSSL is configured to use only FIPS algorithms, but no provider has them: then nothing works.
    fips_is_missing: bool,
}

impl Library {
    /// Inspects the OpenSSL in use.
    ///
    /// ```
    /// use mongotls::tls::Library;
    ///
    /// for problem in Library::inspect().problems() {
    ///     eprintln!("OpenSSL: {problem}");
    /// }
    /// ```
    pub fn inspect() -> Self {
        let _at_work = fork::at_work();
        let config_file = ffi::configuration_file();
        let found = config_file.as_deref().filter(|path| path.is_file());
        let (activated, config_error) = match found.map(activated_providers) {
            Some(Ok(activated)) => (activated, None),
            Some(Err(why)) => (Vec::new(), Some(why)),
            None => (Vec::new(), None),
        };
        let providers = ffi::providers();
        let is_missing = |name: &String| !providers.contains(name);
        let (fips_is_on, has_fips) = (ffi::fips_is_on(), ffi::has_fips_algorithms());
        Self {
            version: openssl_version().to_owned(),
            fips: fips_is_on && has_fips,
            config_file_found: found.is_some(),
            config_error,
            missing_providers: activated.into_iter().filter(is_missing).collect(),
            fips_is_missing: fips_is_on && !has_fips,
            providers,
            config_file,
        }
    }

    /// The settings that are configured but have no effect, one sentence each; empty if all take effect.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.found_problems().into_iter();
        problems.map(|problem| problem.to_string()).collect()
    }

    /// The settings without effect, as data.
    pub(crate) fn found_problems(&self) -> Vec<LibraryProblem> {
        let file = || {
            let file = self.config_file.as_deref().unwrap_or(Path::new(""));
            file.display().to_string()
        };
        let ignored = self
            .config_error
            .iter()
            .map(|error| LibraryProblem::IgnoredFile {
                file: file(),
                error: error.clone(),
            });
        let missing = self.missing_providers.iter();
        let missing = missing.map(|provider| LibraryProblem::MissingProvider {
            file: file(),
            provider: provider.clone(),
        });
        let fips = self
            .fips_is_missing
            .then(|| LibraryProblem::NoFipsProvider { file: file() });
        ignored.chain(missing).chain(fips).collect()
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)?;
        if !self.providers.is_empty() {
            write!(f, "; providers: {}", self.providers.join(", "))?;
        }
        if !self.missing_providers.is_empty() {
            write!(f, "; not loaded: {}", self.missing_providers.join(", "))?;
        }
        match (self.fips, self.fips_is_missing) {
            (true, _) => f.write_str("; FIPS only")?,
            (false, true) => f.write_str("; FIPS only, and no FIPS provider")?,
            (false, false) => {}
        }
        let Some(path) = &self.config_file else {
            return Ok(());
        };
        match (&self.config_error, self.config_file_found) {
            (Some(_), _) => write!(f, "; configuration ignored: {}", path.display()),
            (None, true) => write!(f, "; configuration: {}", path.display()),
            (None, false) => write!(f, "; no configuration at {}", path.display()),
        }
    }
}

/// The providers that a configuration file activates, or the reason why OpenSSL cannot load it.
fn activated_providers(path: &Path) -> Result<Vec<String>, String> {
    if let Err(error) = File::open(path) {
        return Err(error.to_string());
    }
    let file = Configuration::load(path).map_err(|(line, error)| {
        let why = reasons(&error).unwrap_or_else(|| "it cannot be read".to_owned());
        match line {
            1.. => format!("line {line}: {why}"),
            _ => why,
        }
    })?;
    // The part before a dot only distinguishes entries of one name.
    let after_dot = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let is_off = |value: &str| {
        let off = ["0", "no", "off", "false"];
        off.iter().any(|off| value.eq_ignore_ascii_case(off))
    };
    let modules = file.value(None, "openssl_conf");
    let modules = modules.map(|modules| file.section(&modules));
    let mut names = Vec::new();
    for (module, section) in modules.into_iter().flatten() {
        if after_dot(&module) != "providers" {
            continue;
        }
        for (provider, settings) in file.section(&section) {
            let activate = file.value(Some(&settings), "activate");
            if activate.is_some_and(|value| !is_off(&value)) {
                let identity = file.value(Some(&settings), "identity");
                names.push(identity.unwrap_or_else(|| after_dot(&provider)));
            }
        }
    }
    Ok(names)
}

/// OpenSSL's reasons, one after the other; `None` if there are none.
pub(crate) fn reasons(error: &ErrorStack) -> Option<String> {
    let reasons = error.errors().iter();
    let reasons: Vec<_> = reasons.filter_map(openssl::error::Error::reason).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// OpenSSL rejected a call that can fail only if OpenSSL itself is misconfigured.
pub(crate) fn internal(error: ErrorStack) -> Error {
    let failure = FileFailure::OpenSsl {
        error: error.to_string(),
        problems: Library::inspect().found_problems(),
    };
    Error::configuration(failure).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_in_use_is_described() {
        let library = Library::inspect();
        assert_eq!(library.version, openssl_version());
        let config_file = library.config_file.clone().expect("a path");
        assert!(config_file.is_absolute(), "{config_file:?}");
        assert_eq!(library.config_file_found, config_file.is_file());
        if openssl::version::number() >= 0x3000_0000 {
            assert!(!library.providers.is_empty());
            let is_fips = library.providers.contains(&"fips".to_owned());
            assert!(!library.fips || is_fips, "{:?}", library.providers);
            assert_eq!(library.problems(), [""; 0]);
        }
    }
}
