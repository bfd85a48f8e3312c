//! The TLS options. Plain data; `tls/` turns it into an OpenSSL context.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{ProtocolOptions, Secret, SpkiPin};
use crate::error::{Error, Result};
use crate::ffi::fork;
use crate::reason::options::OptionConflict;
use crate::store_uri::shown_path;

/// The TLS options of a client.
///
/// By default, the server's certificate is verified against the system's trust anchors, and the host against the
/// subject alternative names of the certificate. The options that relax this are reached through
/// [`TlsOptionsBuilder::dangerous`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    ca_file: Option<PathBuf>,
    ca_directory: Option<PathBuf>,
    ca_certificates: Option<String>,
    pins: Vec<SpkiPin>,
    crl_files: Vec<PathBuf>,
    check_whole_chain: bool,
    identity: Option<IdentitySource>,
    password: Option<PasswordSource>,
    allow_invalid_certificates: Option<bool>,
    allow_invalid_hostnames: Option<bool>,
    insecure: Option<bool>,
    disable_ocsp_endpoint_check: Option<bool>,
    disable_certificate_revocation_check: Option<bool>,
    allow_common_name: bool,
    no_session_resumption: bool,
    protocol: ProtocolOptions,
    key_log_file: Option<PathBuf>,
    watch_interval: Option<Duration>,
    ocsp_responder_timeout: Option<Duration>,
    ocsp_max_age: Option<Duration>,
    require_revocation_status: bool,
    crl_max_age: Option<Duration>,
}

impl TlsOptions {
    /// Creates a builder with the secure defaults.
    ///
    /// ```
    /// use mongotls::options::TlsOptions;
    ///
    /// let tls = TlsOptions::builder()
    ///     .ca_file("ca.pem")
    ///     .certificate_key_file("client.pem")
    ///     .crl_file("crl.pem")
    ///     .build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn builder() -> TlsOptionsBuilder {
        TlsOptionsBuilder::default()
    }

    /// Returns the PEM file with the only trust anchors (`tlsCAFile`), or `None` for those of the system.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Returns the directory with trust anchors under hashed names.
    pub fn ca_directory(&self) -> Option<&Path> {
        self.ca_directory.as_deref()
    }

    /// Returns the trust anchors given as text, in PEM form.
    pub fn ca_certificates(&self) -> Option<&str> {
        self.ca_certificates.as_deref()
    }

    /// Returns true if the trust anchors are set here instead of taken from the system.
    pub(crate) fn names_anchors(&self) -> bool {
        self.ca_file.is_some() || self.ca_directory.is_some() || self.ca_certificates.is_some()
    }

    /// Returns the public keys of which the server's chain must contain one. If the list is empty, any key is
    /// accepted.
    pub fn pinned_keys(&self) -> &[SpkiPin] {
        &self.pins
    }

    /// Returns the protocol settings.
    pub fn protocol(&self) -> &ProtocolOptions {
        &self.protocol
    }

    /// Returns the file that the secrets of each connection are written to.
    pub fn key_log_file(&self) -> Option<&Path> {
        self.key_log_file.as_deref()
    }

    /// Returns the interval at which the files are checked for changes, or `None` if they are not watched.
    pub fn watch_interval(&self) -> Option<Duration> {
        self.watch_interval
    }

    /// Returns all files and directories that are read.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = self.files_to_read();
        files.extend(self.ca_directory.clone());
        files
    }

    /// Returns all files that are read completely when a context is built.
    pub(crate) fn files_to_read(&self) -> Vec<PathBuf> {
        let password = match &self.password {
            Some(PasswordSource::File(path)) => Some(path),
            _ => None,
        };
        let files = self.ca_file.iter().chain(&self.crl_files).chain(password);
        let identity = self.identity_files();
        files.chain(identity).cloned().collect()
    }

    /// Returns the files with the client's certificate and private key.
    pub(crate) fn identity_files(&self) -> Vec<&PathBuf> {
        match &self.identity {
            Some(IdentitySource::File(path)) => vec![path],
            Some(IdentitySource::Files { certificate, key }) => vec![certificate, key],
            Some(IdentitySource::Store { certificate, .. }) => vec![certificate],
            Some(IdentitySource::Memory { .. }) | None => Vec::new(),
        }
    }

    /// Returns true if sessions are cached. A session without a verified chain is not cached, because resuming it
    /// would verify nothing.
    pub(crate) fn resumes_sessions(&self) -> bool {
        self.verifies_certificate() && self.session_resumption()
    }

    /// Returns true if a context built from these options depends only on them and on the contents of the
    /// [files](Self::files_to_read), and on nothing else that may change.
    pub(crate) fn rests_on_files_alone(&self) -> bool {
        let names_anchors = self.ca_file.is_some() || self.ca_certificates.is_some();
        let is_key_at_hand = !matches!(self.identity, Some(IdentitySource::Store { .. }));
        let is_password_at_hand = matches!(
            self.password,
            None | Some(PasswordSource::Text(_) | PasswordSource::File(_))
        );
        let has_folder = self.ca_directory.is_some();
        let writes = self.key_log_file.is_some();
        names_anchors && is_key_at_hand && is_password_at_hand && !has_folder && !writes
    }

    /// Returns true if a context built from these options may be cached while no client uses it: it holds no private
    /// key.
    pub(crate) fn can_outlive_its_clients(&self) -> bool {
        self.identity.is_none() && self.password.is_none()
    }

    /// Returns the files with the CRLs (`tlsCRLFile` sets one).
    pub fn crl_files(&self) -> &[PathBuf] {
        &self.crl_files
    }

    /// Returns true if the CRLs are checked for every certificate of the chain, not only for the server's.
    pub fn check_whole_chain(&self) -> bool {
        self.check_whole_chain
    }

    /// Returns the file with the client's certificate and private key (`tlsCertificateKeyFile`), or `None` if there
    /// is no client certificate or it comes from elsewhere.
    pub fn certificate_key_file(&self) -> Option<&Path> {
        match &self.identity {
            Some(IdentitySource::File(path)) => Some(path),
            _ => None,
        }
    }

    /// Returns the password of the private key (`tlsCertificateKeyFilePassword`), or `None` if there is no password
    /// or it comes from elsewhere.
    pub fn certificate_key_file_password(&self) -> Option<&Secret> {
        match &self.password {
            Some(PasswordSource::Text(password)) => Some(password),
            _ => None,
        }
    }

    /// Returns the source of the client's certificate and private key.
    pub(crate) fn identity(&self) -> Option<&IdentitySource> {
        self.identity.as_ref()
    }

    /// Returns the source of the private key's password.
    pub(crate) fn password(&self) -> Option<&PasswordSource> {
        self.password.as_ref()
    }

    /// Returns the value of `tlsAllowInvalidCertificates`, if set.
    pub fn allow_invalid_certificates(&self) -> Option<bool> {
        self.allow_invalid_certificates
    }

    /// Returns the value of `tlsAllowInvalidHostnames`, if set.
    pub fn allow_invalid_hostnames(&self) -> Option<bool> {
        self.allow_invalid_hostnames
    }

    /// Returns the value of `tlsInsecure`, if set.
    pub fn insecure(&self) -> Option<bool> {
        self.insecure
    }

    /// Returns the value of `tlsDisableOCSPEndpointCheck`, if set.
    pub fn disable_ocsp_endpoint_check(&self) -> Option<bool> {
        self.disable_ocsp_endpoint_check
    }

    /// Returns the value of `tlsDisableCertificateRevocationCheck`, if set.
    pub fn disable_certificate_revocation_check(&self) -> Option<bool> {
        self.disable_certificate_revocation_check
    }

    /// Returns true if the revocation status of the server's certificate is checked. It is not checked if an option
    /// disables it, or if the certificate is not verified.
    pub fn checks_revocation(&self) -> bool {
        self.verifies_certificate() && self.disable_certificate_revocation_check != Some(true)
    }

    /// Returns the time limit for all OCSP responders of a certificate together. Default: 5 s.
    pub fn ocsp_responder_timeout(&self) -> Duration {
        self.ocsp_responder_timeout
            .unwrap_or(Duration::from_secs(5))
    }

    /// Returns the maximum age of an OCSP response without `nextUpdate`, if set.
    pub fn ocsp_max_age(&self) -> Option<Duration> {
        self.ocsp_max_age
    }

    /// Returns the maximum age of a CRL without `nextUpdate`, or `None` for no limit.
    pub fn crl_max_age(&self) -> Option<Duration> {
        self.crl_max_age
    }

    /// Returns true if a connection is rejected when the revocation status of the server's certificate is unknown.
    pub fn require_revocation_status(&self) -> bool {
        self.require_revocation_status
    }

    /// Returns true if the common name of a certificate without subject alternative names may match.
    pub fn allow_common_name(&self) -> bool {
        self.allow_common_name
    }

    /// Returns true if TLS sessions are resumed.
    pub fn session_resumption(&self) -> bool {
        !self.no_session_resumption
    }

    /// Returns true if the server's certificate must be valid.
    pub fn verifies_certificate(&self) -> bool {
        self.insecure != Some(true) && self.allow_invalid_certificates != Some(true)
    }

    /// Returns true if the certificate must name the host.
    ///
    /// A name in an unverified certificate proves nothing, so `tlsAllowInvalidCertificates` disables this check too,
    /// as in PyMongo.
    pub fn verifies_hostname(&self) -> bool {
        self.verifies_certificate() && self.allow_invalid_hostnames != Some(true)
    }

    /// Returns the options in force that relax security, as spelled in a connection string if they have a key there.
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
            ("key_log_file", Some(self.key_log_file.is_some())),
        ]
        .into_iter()
        .filter(|(_, value)| *value == Some(true))
        .map(|(name, _)| name)
    }
}

/// Redacts paths that may contain secrets: a path may be the URI of a store, which may contain a PIN.
impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ca_file,
            ca_directory,
            ca_certificates,
            pins,
            crl_files,
            check_whole_chain,
            identity,
            password,
            allow_invalid_certificates,
            allow_invalid_hostnames,
            insecure,
            disable_ocsp_endpoint_check,
            disable_certificate_revocation_check,
            allow_common_name,
            no_session_resumption,
            protocol,
            key_log_file,
            watch_interval,
            ocsp_responder_timeout,
            ocsp_max_age,
            require_revocation_status,
            crl_max_age,
        } = self;
        f.debug_struct("TlsOptions")
            .field("ca_file", &ca_file.as_deref().map(ShownPath))
            .field("ca_directory", &ca_directory.as_deref().map(ShownPath))
            .field("ca_certificates", ca_certificates)
            .field("pins", pins)
            .field("crl_files", &shown_paths(crl_files))
            .field("check_whole_chain", check_whole_chain)
            .field("identity", identity)
            .field("password", password)
            .field("allow_invalid_certificates", allow_invalid_certificates)
            .field("allow_invalid_hostnames", allow_invalid_hostnames)
            .field("insecure", insecure)
            .field("disable_ocsp_endpoint_check", disable_ocsp_endpoint_check)
            .field(
                "disable_certificate_revocation_check",
                disable_certificate_revocation_check,
            )
            .field("allow_common_name", allow_common_name)
            .field("no_session_resumption", no_session_resumption)
            .field("protocol", protocol)
            .field("key_log_file", &key_log_file.as_deref().map(ShownPath))
            .field("watch_interval", watch_interval)
            .field("ocsp_responder_timeout", ocsp_responder_timeout)
            .field("ocsp_max_age", ocsp_max_age)
            .field("require_revocation_status", require_revocation_status)
            .field("crl_max_age", crl_max_age)
            .finish()
    }
}

/// A path in the output of `Debug`.
struct ShownPath<'a>(&'a Path);

impl fmt::Debug for ShownPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&shown_path(self.0), f)
    }
}

fn shown_paths(paths: &[PathBuf]) -> Vec<ShownPath<'_>> {
    paths.iter().map(|path| ShownPath(path)).collect()
}

/// The source of the client's certificate and private key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum IdentitySource {
    /// One file with both.
    File(PathBuf),
    /// A separate file for each.
    Files { certificate: PathBuf, key: PathBuf },
    /// Both as text.
    Memory { certificate: String, key: Secret },
    /// A certificate file, and the URI of a key in an OpenSSL store. The URI may contain a PIN.
    Store { certificate: PathBuf, key: Secret },
}

impl fmt::Debug for IdentitySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(&ShownPath(path)).finish(),
            Self::Files { certificate, key } => f
                .debug_struct("Files")
                .field("certificate", &ShownPath(certificate))
                .field("key", &ShownPath(key))
                .finish(),
            Self::Memory { certificate, key } => f
                .debug_struct("Memory")
                .field("certificate", certificate)
                .field("key", key)
                .finish(),
            Self::Store { certificate, key } => f
                .debug_struct("Store")
                .field("certificate", &ShownPath(certificate))
                .field("key", key)
                .finish(),
        }
    }
}

/// The source of the private key's password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PasswordSource {
    Text(Secret),
    File(PathBuf),
    Variable(String),
    Callback(PasswordCallback),
}

impl fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(password) => f.debug_tuple("Text").field(password).finish(),
            Self::File(path) => f.debug_tuple("File").field(&ShownPath(path)).finish(),
            Self::Variable(name) => f.debug_tuple("Variable").field(name).finish(),
            Self::Callback(function) => f.debug_tuple("Callback").field(function).finish(),
        }
    }
}

/// A callback of the program that returns the password.
#[derive(Clone)]
pub(crate) struct PasswordCallback(Arc<dyn Fn() -> Option<Secret> + Send + Sync>);

// A panic of the program's function is caught where it is called.
impl std::panic::UnwindSafe for PasswordCallback {}
impl std::panic::RefUnwindSafe for PasswordCallback {}

impl PasswordCallback {
    /// Returns the password, or an error if the callback panicked.
    pub(crate) fn call(&self) -> std::thread::Result<Option<Secret>> {
        catch_unwind(AssertUnwindSafe(|| fork::outside(|| (self.0)())))
    }
}

impl fmt::Debug for PasswordCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<callback>")
    }
}

/// Two callbacks are equal if they are the same object.
impl PartialEq for PasswordCallback {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for PasswordCallback {}

/// Collects [`TlsOptions`]; [`build`](Self::build) checks them.
#[derive(Clone, Debug, Default)]
pub struct TlsOptionsBuilder(TlsOptions);

impl TlsOptionsBuilder {
    /// Trusts the certificates in this PEM file and no others (`tlsCAFile`).
    ///
    /// An intermediate CA in the file is a trust anchor by itself. CRLs in the file are used like those of
    /// [`crl_file`](Self::crl_file). Default: the trust anchors of the system, as found by
    /// [`TlsContext::new`](crate::tls::TlsContext::new).
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.ca_file = Some(path.into());
        self
    }

    /// Trusts the certificates in this directory, in addition to those of a CA file and instead of the system's. The
    /// directory contains PEM files under hashed names, as created by `openssl rehash`. CRLs under hashed names, such
    /// as `5ed36f99.r0`, are used like those of [`crl_file`](Self::crl_file). The path must not contain a colon.
    #[must_use]
    pub fn ca_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.ca_directory = Some(path.into());
        self
    }

    /// Trusts the certificates in this PEM text, in addition to those of a CA file and instead of the system's. CRLs
    /// in the text are used like those of [`crl_file`](Self::crl_file).
    ///
    /// ```
    /// use mongotls::options::TlsOptions;
    ///
    /// let pem = "-----BEGIN CERTIFICATE-----\nMII…\n-----END CERTIFICATE-----\n";
    /// let tls = TlsOptions::builder().ca_certificates_pem(pem).build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn ca_certificates_pem(mut self, certificates: impl Into<String>) -> Self {
        self.0.ca_certificates = Some(certificates.into());
        self
    }

    /// Rejects a server unless its verified chain contains this public key, in any certificate (RFC 7469 §2.6).
    /// Further calls add more keys, one of which must be present: add the next key before the server changes to it.
    ///
    /// ```
    /// use mongotls::options::{SpkiPin, TlsOptions};
    ///
    /// let current = SpkiPin::from_digest([0; 32]); // SHA-256 of the public key
    /// let next = SpkiPin::from_digest([1; 32]);
    /// let tls = TlsOptions::builder().pinned_key(current).pinned_key(next).build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn pinned_key(mut self, pin: SpkiPin) -> Self {
        self.0.pins.push(pin);
        self
    }

    /// Sets versions, ciphers, groups, signature algorithms and the security level.
    ///
    /// ```
    /// use mongotls::options::{TlsOptions, TlsVersion};
    ///
    /// let tls = TlsOptions::builder()
    ///     .protocol(|protocol| protocol.min_version(TlsVersion::Tls13))
    ///     .build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn protocol(mut self, set: impl FnOnce(ProtocolOptions) -> ProtocolOptions) -> Self {
        self.0.protocol = set(self.0.protocol);
        self
    }

    /// Rejects a server whose certificate is listed in a CRL in this file (`tlsCRLFile`).
    ///
    /// The file contains CRLs in PEM form, or concatenated in DER form. Further calls add more files. One of them
    /// must contain a current CRL of the certificate's issuer; others may be stale.
    #[must_use]
    pub fn crl_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.crl_files.push(path.into());
        self
    }

    /// Checks the CRLs for every certificate of the chain, so that the CRL of each CA above the server is required.
    /// The trust anchor is not part of the path. Default: false, which checks only the server's certificate, as in
    /// PyMongo.
    #[must_use]
    pub fn check_whole_chain(mut self, check: bool) -> Self {
        self.0.check_whole_chain = check;
        self
    }

    /// Presents the certificate in this file, which also contains its private key (`tlsCertificateKeyFile`).
    ///
    /// The file is PEM, with key, certificate and intermediate CAs in any order, or PKCS#12.
    #[must_use]
    pub fn certificate_key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.identity = Some(IdentitySource::File(path.into()));
        self
    }

    /// Presents the certificate in one PEM file, with its private key in another, as Kubernetes mounts them
    /// (`tls.crt`, `tls.key`).
    ///
    /// ```
    /// use mongotls::options::TlsOptions;
    ///
    /// let tls = TlsOptions::builder()
    ///     .certificate_and_key_files("client.pem", "client.key")
    ///     .key_password_file("/run/secrets/key-password")
    ///     .build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn certificate_and_key_files(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.0.identity = Some(IdentitySource::Files {
            certificate: certificate.into(),
            key: key.into(),
        });
        self
    }

    /// Presents a certificate with its intermediate CAs and its private key, both in PEM form.
    #[must_use]
    pub fn certificate_and_key_pem(
        mut self,
        certificate: impl Into<String>,
        key: impl Into<Secret>,
    ) -> Self {
        self.0.identity = Some(IdentitySource::Memory {
            certificate: certificate.into(),
            key: key.into(),
        });
        self
    }

    /// Presents the certificate in one PEM file, with its private key named by the URI of an OpenSSL store, such as
    /// `pkcs11:token=db;object=client` for a hardware token. This requires OpenSSL 3 or later and, for schemes other
    /// than `file:`, a provider that `openssl.cnf` activates.
    ///
    /// A PIN is best given as the password of the key. A PIN may also follow the `?` of the URI; that part is never
    /// printed.
    #[must_use]
    pub fn certificate_file_and_key_uri(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<Secret>,
    ) -> Self {
        self.0.identity = Some(IdentitySource::Store {
            certificate: certificate.into(),
            key: key.into(),
        });
        self
    }

    /// Decrypts the private key with this password (`tlsCertificateKeyFilePassword`).
    #[must_use]
    pub fn certificate_key_file_password(mut self, password: impl Into<Secret>) -> Self {
        self.0.password = Some(PasswordSource::Text(password.into()));
        self
    }

    /// Decrypts the private key with the first line of this file.
    #[must_use]
    pub fn key_password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.password = Some(PasswordSource::File(path.into()));
        self
    }

    /// Decrypts the private key with the value of this environment variable, which is read when it is needed.
    #[must_use]
    pub fn key_password_variable(mut self, name: impl Into<String>) -> Self {
        self.0.password = Some(PasswordSource::Variable(name.into()));
        self
    }

    /// Decrypts the private key with the result of this function. It is called each time a key is read, and only if
    /// the key is encrypted. `None` means that there is no password.
    ///
    /// ```
    /// use mongotls::options::{Secret, TlsOptions};
    ///
    /// let tls = TlsOptions::builder()
    ///     .certificate_key_file("client.pem")
    ///     .key_password_callback(|| Some(Secret::new("from a vault")))
    ///     .build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn key_password_callback(
        mut self,
        callback: impl Fn() -> Option<Secret> + Send + Sync + 'static,
    ) -> Self {
        self.0.password = Some(PasswordSource::Callback(PasswordCallback(Arc::new(
            callback,
        ))));
        self
    }

    /// Checks the TLS files for changes at this interval and reloads them after a change, like
    /// [`Client::reload_tls`](crate::Client::reload_tls). Default: files are read once, when a client is created.
    /// Range: 10 ms and up; one minute suits certificates that are renewed automatically.
    ///
    /// The files under hashed names in a CA directory are watched too, and so are the system's trust anchors if they
    /// are in use.
    ///
    /// If the new files cannot be used, the old ones remain in force, and a warning in the log and an
    /// [`Event`](crate::event::Event) report it. Reloading is retried until it succeeds, at least every 30 s.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use mongotls::options::TlsOptions;
    ///
    /// let tls = TlsOptions::builder()
    ///     .certificate_key_file("client.pem")
    ///     .watch_files(Duration::from_secs(60))
    ///     .build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn watch_files(mut self, interval: Duration) -> Self {
        self.0.watch_interval = Some(interval);
        self
    }

    /// Resumes TLS sessions with servers that support it (`tlsSessionResumption`), which saves most of the work of a
    /// handshake. Default: true.
    ///
    /// A session is never resumed after the expiry of the certificates and CRLs that its full handshake relied on. If
    /// a server fails a handshake because of an offered session, no session is offered to it for five minutes. If it
    /// fails with an alert, the client also reconnects at once without a session.
    #[must_use]
    pub fn session_resumption(mut self, resume: bool) -> Self {
        self.0.no_session_resumption = !resume;
        self
    }

    /// Disables requests to OCSP responders (`tlsDisableOCSPEndpointCheck`). Default: false.
    #[must_use]
    pub fn disable_ocsp_endpoint_check(mut self, disable: bool) -> Self {
        self.0.disable_ocsp_endpoint_check = Some(disable);
        self
    }

    /// Sets the time limit for all OCSP responders named by a certificate together. Default: 5 s. The limit is never
    /// longer than the remaining `connectTimeoutMS`.
    #[must_use]
    pub fn ocsp_responder_timeout(mut self, limit: Duration) -> Self {
        self.0.ocsp_responder_timeout = Some(limit);
        self
    }

    /// Sets the maximum age of an OCSP response without `nextUpdate`, counted from its `thisUpdate`. Such a response
    /// never expires by itself, and could be replayed after a revocation. Default: one day if the status is required
    /// (`require_revocation_status`, or a certificate with must-staple), otherwise seven days.
    #[must_use]
    pub fn ocsp_max_age(mut self, limit: Duration) -> Self {
        self.0.ocsp_max_age = Some(limit);
        self
    }

    /// Rejects a server unless a staple, a CRL or a responder confirms that its certificate is not revoked (hard
    /// fail). Default: false; a connection with unknown status continues, as the drivers' specification requires.
    ///
    /// ```
    /// use mongotls::options::TlsOptions;
    ///
    /// // A server is refused if neither a CRL nor OCSP tells its status.
    /// let tls = TlsOptions::builder().require_revocation_status(true).build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn require_revocation_status(mut self, require: bool) -> Self {
        self.0.require_revocation_status = require;
        self
    }

    /// Rejects a CRL without `nextUpdate` that was issued longer ago than this. Default: no limit, with a warning in
    /// the log. A CRL with `nextUpdate` defines its own expiry.
    #[must_use]
    pub fn crl_max_age(mut self, limit: Duration) -> Self {
        self.0.crl_max_age = Some(limit);
        self
    }

    /// Gives access to the options that weaken TLS.
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
            Err(Error::configuration(conflicts))
        }
    }

    /// Returns the pairs of options that must not be set together, regardless of their values ("URI Options",
    /// "Conflicting TLS options"), and all other conflicts.
    pub(crate) fn conflicts(&self) -> Vec<OptionConflict> {
        let options = &self.0;
        let named_sources = [
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
        for (index, (first, first_given)) in named_sources.iter().enumerate() {
            for (second, second_given) in &named_sources[index + 1..] {
                // A relaxed host name check can be combined with every option except tlsInsecure.
                let compatible = *first == "tlsAllowInvalidHostnames"
                    || (*first != "tlsInsecure" && *second == "tlsAllowInvalidHostnames");
                if *first_given && *second_given && !compatible {
                    conflicts.push(OptionConflict::Together(first, second));
                }
            }
        }
        conflicts.extend(options.protocol.conflicts());
        if let Some(interval) = options.watch_interval {
            if interval < Duration::from_millis(10) {
                conflicts.push(OptionConflict::WatchInterval(interval));
            }
        }
        // OpenSSL would interpret the path as a list of directories, and trust the contents of each.
        let has_colon = |path: &&PathBuf| path.as_os_str().as_bytes().contains(&b':');
        if let Some(path) = options.ca_directory.as_ref().filter(has_colon) {
            conflicts.push(OptionConflict::CaDirectoryHasColon(shown_path(path)));
        }
        if !options.pins.is_empty() && !options.verifies_certificate() {
            conflicts.push(OptionConflict::PinnedKeyUnverified);
        }
        if options.require_revocation_status && !options.checks_revocation() {
            conflicts.push(OptionConflict::RevocationStatusUnchecked);
        }
        if options.crl_max_age == Some(Duration::ZERO) {
            conflicts.push(OptionConflict::CrlMaxAgeZero);
        }
        if options.ocsp_responder_timeout == Some(Duration::ZERO) {
            conflicts.push(OptionConflict::OcspResponderTimeoutZero);
        }
        // CRLs may also be next to the trust anchors, which is known only when those are read.
        if options.check_whole_chain && options.crl_files.is_empty() && !options.names_anchors() {
            conflicts.push(OptionConflict::WholeChainWithoutCrlFile);
        }
        if !options.crl_files.is_empty() {
            const COMPATIBLE: [&str; 3] = [
                "tlsAllowInvalidHostnames",
                "allow_common_name",
                "key_log_file",
            ];
            if let Some(name) = options.relaxed().find(|name| !COMPATIBLE.contains(name)) {
                conflicts.push(OptionConflict::CrlFileUnchecked(name));
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

/// The options that allow attacks, or accept a revoked certificate.
///
/// None of them ever leads to a connection without TLS.
#[derive(Clone, Debug)]
pub struct DangerousTlsOptions(TlsOptions);

impl DangerousTlsOptions {
    /// Accepts any certificate, and therefore also any host (`tlsAllowInvalidCertificates`).
    #[must_use]
    pub fn allow_invalid_certificates(mut self, allow: bool) -> Self {
        self.0.allow_invalid_certificates = Some(allow);
        self
    }

    /// Accepts a valid certificate for any host (`tlsAllowInvalidHostnames`).
    #[must_use]
    pub fn allow_invalid_hostnames(mut self, allow: bool) -> Self {
        self.0.allow_invalid_hostnames = Some(allow);
        self
    }

    /// Disables all checks: certificate, host and revocation (`tlsInsecure`).
    #[must_use]
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.0.insecure = Some(insecure);
        self
    }

    /// Disables the revocation check (`tlsDisableCertificateRevocationCheck`).
    #[must_use]
    pub fn disable_certificate_revocation_check(mut self, disable: bool) -> Self {
        self.0.disable_certificate_revocation_check = Some(disable);
        self
    }

    /// Appends the secrets of every connection to this file, in the format that Wireshark reads (`SSLKEYLOGFILE`).
    /// Anyone who can read the file can decrypt the connections.
    ///
    /// The file is created with access for its owner only. An existing file must be a regular file, not a symbolic
    /// link; it must belong to the effective user of the process, and no other user may read or write it (mode 0600).
    /// The environment variable `SSLKEYLOGFILE` is ignored.
    #[must_use]
    pub fn key_log_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.key_log_file = Some(path.into());
        self
    }

    /// Accepts the common name of a certificate that has no subject alternative name.
    ///
    /// RFC 9525 forbids this; it is for old deployments whose certificates cannot be renewed yet. A connection string
    /// has no key for it.
    #[must_use]
    pub fn allow_common_name(mut self, allow: bool) -> Self {
        self.0.allow_common_name = allow;
        self
    }
}
