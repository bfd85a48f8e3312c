//! What TLS is asked to do. Plain data; `tls/` turns it into an OpenSSL context.

use std::path::{Path, PathBuf};

use super::Secret;
use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};

/// The TLS options of a client.
///
/// The default verifies the server's certificate against the system's trust anchors, and the host
/// against the subject alternative names of the certificate. What relaxes this is reached through
/// [`TlsOptionsBuilder::dangerous`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    ca_file: Option<PathBuf>,
    crl_file: Option<PathBuf>,
    certificate_key_file: Option<PathBuf>,
    certificate_key_file_password: Option<Secret>,
    allow_invalid_certificates: Option<bool>,
    allow_invalid_hostnames: Option<bool>,
    insecure: Option<bool>,
    disable_ocsp_endpoint_check: Option<bool>,
    disable_certificate_revocation_check: Option<bool>,
    allow_common_name: bool,
}

impl TlsOptions {
    /// Starts from the secure default.
    pub fn builder() -> TlsOptionsBuilder {
        TlsOptionsBuilder::default()
    }

    /// The PEM file with the only trust anchors (`tlsCAFile`); none for those of the system.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The PEM file with the CRLs (`tlsCRLFile`).
    pub fn crl_file(&self) -> Option<&Path> {
        self.crl_file.as_deref()
    }

    /// The PEM file with the client's certificate and private key (`tlsCertificateKeyFile`).
    pub fn certificate_key_file(&self) -> Option<&Path> {
        self.certificate_key_file.as_deref()
    }

    /// The password of the private key (`tlsCertificateKeyFilePassword`).
    pub fn certificate_key_file_password(&self) -> Option<&Secret> {
        self.certificate_key_file_password.as_ref()
    }

    /// `tlsAllowInvalidCertificates`, if it was given.
    pub fn allow_invalid_certificates(&self) -> Option<bool> {
        self.allow_invalid_certificates
    }

    /// `tlsAllowInvalidHostnames`, if it was given.
    pub fn allow_invalid_hostnames(&self) -> Option<bool> {
        self.allow_invalid_hostnames
    }

    /// `tlsInsecure`, if it was given.
    pub fn insecure(&self) -> Option<bool> {
        self.insecure
    }

    /// `tlsDisableOCSPEndpointCheck`, if it was given.
    pub fn disable_ocsp_endpoint_check(&self) -> Option<bool> {
        self.disable_ocsp_endpoint_check
    }

    /// `tlsDisableCertificateRevocationCheck`, if it was given.
    pub fn disable_certificate_revocation_check(&self) -> Option<bool> {
        self.disable_certificate_revocation_check
    }

    /// Whether the common name of a certificate without subject alternative names may match.
    pub fn allow_common_name(&self) -> bool {
        self.allow_common_name
    }

    /// Whether the server's certificate must verify.
    pub fn verifies_certificate(&self) -> bool {
        self.insecure != Some(true) && self.allow_invalid_certificates != Some(true)
    }

    /// Whether the host must be named in the certificate.
    ///
    /// A name in a certificate that nobody verified proves nothing, so that
    /// `tlsAllowInvalidCertificates` switches this off too, as in PyMongo.
    pub fn verifies_hostname(&self) -> bool {
        self.verifies_certificate() && self.allow_invalid_hostnames != Some(true)
    }

    /// The relaxed options that are in force, in their spelling in a connection string where they have
    /// one.
    pub fn relaxed(&self) -> impl Iterator<Item = &'static str> {
        [
            ("tlsInsecure", self.insecure),
            (
                "tlsAllowInvalidCertificates",
                self.allow_invalid_certificates,
            ),
            ("tlsAllowInvalidHostnames", self.allow_invalid_hostnames),
            (
                "tlsDisableCertificateRevocationCheck",
                self.disable_certificate_revocation_check,
            ),
            ("allow_common_name", Some(self.allow_common_name)),
        ]
        .into_iter()
        .filter(|(_, value)| *value == Some(true))
        .map(|(name, _)| name)
    }
}

/// Collects [`TlsOptions`]; [`build`](Self::build) checks them.
#[derive(Clone, Debug, Default)]
pub struct TlsOptionsBuilder(TlsOptions);

impl TlsOptionsBuilder {
    /// Trusts the certificates in this PEM file and no others (`tlsCAFile`).
    ///
    /// An intermediate CA in the file is a trust anchor by itself. Default: the trust anchors of the
    /// system, as [`TlsContext::new`](crate::tls::TlsContext::new) finds them.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.ca_file = Some(path.into());
        self
    }

    /// Refuses a server whose certificate is listed by a CRL in this file (`tlsCRLFile`).
    ///
    /// The file must hold the CRL of the certificate's issuer, in force.
    #[must_use]
    pub fn crl_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.crl_file = Some(path.into());
        self
    }

    /// Presents the certificate in this PEM file, which holds its private key as well
    /// (`tlsCertificateKeyFile`).
    #[must_use]
    pub fn certificate_key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.certificate_key_file = Some(path.into());
        self
    }

    /// Decrypts the private key with this password (`tlsCertificateKeyFilePassword`).
    #[must_use]
    pub fn certificate_key_file_password(mut self, password: impl Into<Secret>) -> Self {
        self.0.certificate_key_file_password = Some(password.into());
        self
    }

    /// Does not ask OCSP responders (`tlsDisableOCSPEndpointCheck`). Default: false.
    #[must_use]
    pub fn disable_ocsp_endpoint_check(mut self, disable: bool) -> Self {
        self.0.disable_ocsp_endpoint_check = Some(disable);
        self
    }

    /// Opens the options that weaken TLS.
    ///
    /// ```
    /// # use mongotls::options::TlsOptions;
    /// let options = TlsOptions::builder().dangerous(|tls| tls.allow_invalid_hostnames(true)).build()?;
    /// assert!(options.verifies_certificate() && !options.verifies_hostname());
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn dangerous(self, relax: impl FnOnce(DangerousTlsOptions) -> DangerousTlsOptions) -> Self {
        Self(relax(DangerousTlsOptions(self.0)).0)
    }

    /// Checks the options against each other.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) with every conflict found.
    pub fn build(self) -> Result<TlsOptions> {
        let conflicts = self.conflicts();
        if conflicts.is_empty() {
            Ok(self.0)
        } else {
            Err(Error::configuration(option_conflict(&conflicts)))
        }
    }

    /// The pairs that must not stand together, whatever their values ("URI Options", "Conflicting
    /// TLS options"), and what makes no sense together.
    pub(crate) fn conflicts(&self) -> Vec<String> {
        let options = &self.0;
        let given = [
            ("tlsInsecure", options.insecure.is_some()),
            (
                "tlsAllowInvalidCertificates",
                options.allow_invalid_certificates.is_some(),
            ),
            (
                "tlsAllowInvalidHostnames",
                options.allow_invalid_hostnames.is_some(),
            ),
            (
                "tlsDisableOCSPEndpointCheck",
                options.disable_ocsp_endpoint_check.is_some(),
            ),
            (
                "tlsDisableCertificateRevocationCheck",
                options.disable_certificate_revocation_check.is_some(),
            ),
        ];
        let mut conflicts = Vec::new();
        for (index, (first, first_given)) in given.iter().enumerate() {
            for (second, second_given) in &given[index + 1..] {
                // A relaxed host name check goes together with everything but tlsInsecure.
                let compatible = *first == "tlsAllowInvalidHostnames"
                    || (*first != "tlsInsecure" && *second == "tlsAllowInvalidHostnames");
                if *first_given && *second_given && !compatible {
                    conflicts.push(format!("{first} and {second} cannot be set together"));
                }
            }
        }
        if options.crl_file.is_some() {
            if let Some(name) = options
                .relaxed()
                .find(|name| *name != "tlsAllowInvalidHostnames")
            {
                conflicts.push(format!(
                    "tlsCRLFile asks for a check that {name}=true switches off"
                ));
            }
        }
        conflicts
    }
}

impl From<TlsOptions> for TlsOptionsBuilder {
    fn from(options: TlsOptions) -> Self {
        Self(options)
    }
}

/// The options that let an attacker in, or a revoked certificate pass.
///
/// None of them ever leads to a connection without TLS.
#[derive(Clone, Debug)]
pub struct DangerousTlsOptions(TlsOptions);

impl DangerousTlsOptions {
    /// Accepts any certificate, and with it any host (`tlsAllowInvalidCertificates`).
    #[must_use]
    pub fn allow_invalid_certificates(mut self, allow: bool) -> Self {
        self.0.allow_invalid_certificates = Some(allow);
        self
    }

    /// Accepts a valid certificate of any host (`tlsAllowInvalidHostnames`).
    #[must_use]
    pub fn allow_invalid_hostnames(mut self, allow: bool) -> Self {
        self.0.allow_invalid_hostnames = Some(allow);
        self
    }

    /// Relaxes all there is: certificate, host and revocation (`tlsInsecure`).
    #[must_use]
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.0.insecure = Some(insecure);
        self
    }

    /// Does not ask whether a certificate is revoked (`tlsDisableCertificateRevocationCheck`).
    #[must_use]
    pub fn disable_certificate_revocation_check(mut self, disable: bool) -> Self {
        self.0.disable_certificate_revocation_check = Some(disable);
        self
    }

    /// Admits the common name of a certificate that has no subject alternative name.
    ///
    /// RFC 9525 forbids it; it is for old deployments whose certificates cannot be renewed yet. A
    /// connection string has no key for it.
    #[must_use]
    pub fn allow_common_name(mut self, allow: bool) -> Self {
        self.0.allow_common_name = allow;
        self
    }
}

/// The cause for options that contradict each other: all of them in one message.
pub(crate) fn option_conflict(conflicts: &[String]) -> Cause {
    Cause::new(
        CauseCode::OptionConflict,
        conflicts.join("; "),
        "Remove or change one of the options named.",
    )
    .fact("conflicts", conflicts.to_vec())
}
