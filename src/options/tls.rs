//! What TLS is asked to do. Plain data; `tls/` turns it into an OpenSSL context.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{ProtocolOptions, Secret, SpkiPin};
use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};
use crate::ffi::fork;
use crate::store_uri::shown_path;

/// The TLS options of a client.
///
/// The default verifies the server's certificate against the system's trust anchors, and the host
/// against the subject alternative names of the certificate. What relaxes this is reached through
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
    /// Starts from the secure default.
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

    /// The PEM file with the only trust anchors (`tlsCAFile`); none for those of the system.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The folder with trust anchors under hashed names.
    pub fn ca_directory(&self) -> Option<&Path> {
        self.ca_directory.as_deref()
    }

    /// The trust anchors given as text, in PEM form.
    pub fn ca_certificates(&self) -> Option<&str> {
        self.ca_certificates.as_deref()
    }

    /// Whether the trust anchors are named here, and are not the system's.
    pub(crate) fn names_anchors(&self) -> bool {
        self.ca_file.is_some() || self.ca_directory.is_some() || self.ca_certificates.is_some()
    }

    /// The public keys of which the server's chain must hold one; empty if any will do.
    pub fn pinned_keys(&self) -> &[SpkiPin] {
        &self.pins
    }

    /// The protocol settings.
    pub fn protocol(&self) -> &ProtocolOptions {
        &self.protocol
    }

    /// The file that the secrets of each connection are written to.
    pub fn key_log_file(&self) -> Option<&Path> {
        self.key_log_file.as_deref()
    }

    /// How often the files are looked at for changes; none if they are not.
    pub fn watch_interval(&self) -> Option<Duration> {
        self.watch_interval
    }

    /// All files and folders that are read.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = self.files_to_read();
        files.extend(self.ca_directory.clone());
        files
    }

    /// All files that are read whole when a context is built.
    pub(crate) fn files_to_read(&self) -> Vec<PathBuf> {
        let password = match &self.password {
            Some(PasswordSource::File(path)) => Some(path),
            _ => None,
        };
        let files = self.ca_file.iter().chain(&self.crl_files).chain(password);
        let identity = self.identity_files();
        files.chain(identity).cloned().collect()
    }

    /// The files with the client's certificate and private key.
    pub(crate) fn identity_files(&self) -> Vec<&PathBuf> {
        match &self.identity {
            Some(IdentitySource::File(path)) => vec![path],
            Some(IdentitySource::Files { certificate, key }) => vec![certificate, key],
            Some(IdentitySource::Store { certificate, .. }) => vec![certificate],
            Some(IdentitySource::Memory { .. }) | None => Vec::new(),
        }
    }

    /// Whether sessions are kept. One without a verified chain would rest on nothing.
    pub(crate) fn resumes_sessions(&self) -> bool {
        self.verifies_certificate() && self.session_resumption()
    }

    /// Returns true if a context of these options depends only on them and on the contents of the
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

    /// Returns whether a context of these options may be kept when no client uses it: it holds no private key.
    pub(crate) fn can_outlive_its_clients(&self) -> bool {
        self.identity.is_none() && self.password.is_none()
    }

    /// The files with the CRLs (`tlsCRLFile` gives one).
    pub fn crl_files(&self) -> &[PathBuf] {
        &self.crl_files
    }

    /// Whether every certificate of the chain is looked up in the CRLs, not the server's alone.
    pub fn check_whole_chain(&self) -> bool {
        self.check_whole_chain
    }

    /// The file with the client's certificate and private key (`tlsCertificateKeyFile`); none if there
    /// is no client certificate or if it comes from elsewhere.
    pub fn certificate_key_file(&self) -> Option<&Path> {
        match &self.identity {
            Some(IdentitySource::File(path)) => Some(path),
            _ => None,
        }
    }

    /// The password of the private key (`tlsCertificateKeyFilePassword`); none if there is no password
    /// or if it comes from elsewhere.
    pub fn certificate_key_file_password(&self) -> Option<&Secret> {
        match &self.password {
            Some(PasswordSource::Text(password)) => Some(password),
            _ => None,
        }
    }

    /// Where the client's certificate and private key come from.
    pub(crate) fn identity(&self) -> Option<&IdentitySource> {
        self.identity.as_ref()
    }

    /// Where the password of the private key comes from.
    pub(crate) fn password(&self) -> Option<&PasswordSource> {
        self.password.as_ref()
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

    /// Whether it is found out if the server's certificate is revoked: unless an option switches it off, or
    /// nothing is verified.
    pub fn checks_revocation(&self) -> bool {
        self.verifies_certificate() && self.disable_certificate_revocation_check != Some(true)
    }

    /// How long the OCSP responders of a certificate may take together.
    pub fn ocsp_responder_timeout(&self) -> Duration {
        self.ocsp_responder_timeout
            .unwrap_or(Duration::from_secs(5))
    }

    /// Returns how old an OCSP response without `nextUpdate` may be, if that was set.
    pub fn ocsp_max_age(&self) -> Option<Duration> {
        self.ocsp_max_age
    }

    /// Returns how old a CRL without `nextUpdate` may be, or `None` if there is no limit.
    pub fn crl_max_age(&self) -> Option<Duration> {
        self.crl_max_age
    }

    /// Whether a connection is refused where nothing tells that the server's certificate is not revoked.
    pub fn require_revocation_status(&self) -> bool {
        self.require_revocation_status
    }

    /// Whether the common name of a certificate without subject alternative names may match.
    pub fn allow_common_name(&self) -> bool {
        self.allow_common_name
    }

    /// Whether sessions are resumed.
    pub fn session_resumption(&self) -> bool {
        !self.no_session_resumption
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
            ("key_log_file", Some(self.key_log_file.is_some())),
        ]
        .into_iter()
        .filter(|(_, value)| *value == Some(true))
        .map(|(name, _)| name)
    }
}

/// Shows paths without what may be secret: the URI of a store, with a PIN, may stand in the place of one.
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

/// Where the client's certificate and private key come from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum IdentitySource {
    /// One file with both.
    File(PathBuf),
    /// A file each.
    Files { certificate: PathBuf, key: PathBuf },
    /// Both as text.
    Memory { certificate: String, key: Secret },
    /// A file, and a key that an OpenSSL store holds. The URI may hold a PIN.
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

/// Where the password of the private key comes from.
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

/// A function of the program that knows the password.
#[derive(Clone)]
pub(crate) struct PasswordCallback(Arc<dyn Fn() -> Option<Secret> + Send + Sync>);

// A panic of the program's function is caught where it is called.
impl std::panic::UnwindSafe for PasswordCallback {}
impl std::panic::RefUnwindSafe for PasswordCallback {}

impl PasswordCallback {
    /// The password, or an error if the function panicked.
    pub(crate) fn ask(&self) -> std::thread::Result<Option<Secret>> {
        catch_unwind(AssertUnwindSafe(|| fork::outside(|| (self.0)())))
    }
}

impl fmt::Debug for PasswordCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<callback>")
    }
}

/// Two callbacks are the same if they are one.
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
    /// An intermediate CA in the file is a trust anchor by itself. CRLs in the file are used as those of
    /// [`crl_file`](Self::crl_file). Default: the trust anchors of the
    /// system, as [`TlsContext::new`](crate::tls::TlsContext::new) finds them.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.ca_file = Some(path.into());
        self
    }

    /// Trusts the certificates in this folder, which has them in PEM form under hashed names, as
    /// `openssl rehash` makes them; together with those of a CA file, and without the system's. CRLs under hashed names,
    /// such as `5ed36f99.r0`, are used as those of [`crl_file`](Self::crl_file). The path must not contain a colon.
    #[must_use]
    pub fn ca_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.ca_directory = Some(path.into());
        self
    }

    /// Trusts the certificates in this text, in PEM form; together with those of a CA file, and without
    /// the system's. CRLs in it are used as those of [`crl_file`](Self::crl_file).
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

    /// Refuses a server unless its verified chain holds this public key, in whatever certificate (RFC
    /// 7469 §2.6). By further calls more keys may be added, of which one must be there: name the next
    /// key before the server changes to it.
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

    /// Refuses a server whose certificate is listed by a CRL in this file (`tlsCRLFile`).
    ///
    /// The file holds CRLs in PEM form, or in DER form one after the other. More files may be added
    /// by further calls. One of them must hold the CRL of the certificate's issuer, in force; others may be stale.
    #[must_use]
    pub fn crl_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.crl_files.push(path.into());
        self
    }

    /// Looks every certificate of the chain up in the CRLs, so that the CRL of each CA above the server
    /// must be there. The trust anchor is not part of the path. Default: false, the server's certificate alone, as in PyMongo.
    #[must_use]
    pub fn check_whole_chain(mut self, check: bool) -> Self {
        self.0.check_whole_chain = check;
        self
    }

    /// Presents the certificate in this file, which holds its private key as well
    /// (`tlsCertificateKeyFile`).
    ///
    /// The file is PEM, with key, certificate and intermediate CAs in any order, or PKCS#12.
    #[must_use]
    pub fn certificate_key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.identity = Some(IdentitySource::File(path.into()));
        self
    }

    /// Presents the certificate in one PEM file, whose private key is in another, as Kubernetes mounts
    /// them (`tls.crt`, `tls.key`).
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

    /// Presents a certificate, with its intermediate CAs, and its private key, both in PEM form.
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

    /// Presents the certificate in one PEM file, whose private key is named by the URI of an OpenSSL store,
    /// such as `pkcs11:token=db;object=client` for a hardware token. Needs OpenSSL 3 or later, and for
    /// other schemes than `file:` a provider that `openssl.cnf` activates.
    ///
    /// A PIN is best given as the password of the key; what stands behind a `?` in the URI, where a PIN
    /// may stand too, is never printed.
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

    /// Decrypts the private key with the value of this environment variable, read when it is needed.
    #[must_use]
    pub fn key_password_variable(mut self, name: impl Into<String>) -> Self {
        self.0.password = Some(PasswordSource::Variable(name.into()));
        self
    }

    /// Decrypts the private key with what this function returns. It is called each time a key is read,
    /// and only if the key is encrypted; none says that there is no password.
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
        ask: impl Fn() -> Option<Secret> + Send + Sync + 'static,
    ) -> Self {
        self.0.password = Some(PasswordSource::Callback(PasswordCallback(Arc::new(ask))));
        self
    }

    /// Looks at the files of TLS at this interval, and reloads them when one has changed, as
    /// [`Client::reload_tls`](crate::Client::reload_tls) does. Default: files are read when a client is made,
    /// and not looked at again. 10 ms and up; a minute suits certificates that are renewed by a machine.
    ///
    /// The files under hashed names in a CA folder are watched too, and the system's trust anchors if those are in use.
    ///
    /// A set that cannot be used leaves the old one in force; a warning in the log and an
    /// [`Event`](crate::event::Event) say so. It is tried again until it can be used, at least every 30 s.
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

    /// Resumes TLS sessions with servers that offer it (`tlsSessionResumption`), which saves most of the work of a
    /// handshake. Default: true.
    ///
    /// A session is never resumed past the certificates and CRLs that its full handshake rested on. A server that fails
    /// a handshake because of an offered session is offered no session for five minutes; if it answers with an alert,
    /// a client dials it again at once without a session.
    #[must_use]
    pub fn session_resumption(mut self, resume: bool) -> Self {
        self.0.no_session_resumption = !resume;
        self
    }

    /// Does not ask OCSP responders (`tlsDisableOCSPEndpointCheck`). Default: false.
    #[must_use]
    pub fn disable_ocsp_endpoint_check(mut self, disable: bool) -> Self {
        self.0.disable_ocsp_endpoint_check = Some(disable);
        self
    }

    /// How long the OCSP responders that a certificate names may take together. Default: 5 s. Never longer
    /// than what is left of `connectTimeoutMS`.
    #[must_use]
    pub fn ocsp_responder_timeout(mut self, limit: Duration) -> Self {
        self.0.ocsp_responder_timeout = Some(limit);
        self
    }

    /// Sets how old an OCSP response without `nextUpdate` may be, by its `thisUpdate`: it never expires by itself,
    /// and may be sent again after a revocation. Default: one day where certainty is required
    /// (`require_revocation_status`, or a certificate that demands a staple), and else seven days.
    #[must_use]
    pub fn ocsp_max_age(mut self, limit: Duration) -> Self {
        self.0.ocsp_max_age = Some(limit);
        self
    }

    /// Refuses a server unless a staple, a CRL or a responder tells that its certificate is not revoked
    /// (hard fail). Default: false, a connection goes on where nobody knows, as the drivers' specification
    /// asks.
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

    /// Refuses to rely on a CRL without `nextUpdate` that was made longer ago than this. Default: no limit, with a warning
    /// in the log. A CRL with `nextUpdate` says itself until when it is in force.
    #[must_use]
    pub fn crl_max_age(mut self, limit: Duration) -> Self {
        self.0.crl_max_age = Some(limit);
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
        conflicts.extend(options.protocol.conflicts());
        if let Some(interval) = options.watch_interval {
            if interval < Duration::from_millis(10) {
                conflicts.push(format!(
                    "watch_files is {interval:?}, and must be 10 ms or more"
                ));
            }
        }
        // OpenSSL would take it for a list of folders, and trust what is in each of them.
        let has_colon = |path: &&PathBuf| path.as_os_str().as_bytes().contains(&b':');
        if let Some(path) = options.ca_directory.as_ref().filter(has_colon) {
            conflicts.push(format!(
                "ca_directory {:?} contains a colon, at which OpenSSL would split it into several folders",
                shown_path(path)
            ));
        }
        if !options.pins.is_empty() && !options.verifies_certificate() {
            conflicts.push(
                "pinned_key asks for a check that an unverified certificate cannot pass".to_owned(),
            );
        }
        if options.require_revocation_status && !options.checks_revocation() {
            conflicts.push(
                "require_revocation_status asks for a check that another option switches off"
                    .to_owned(),
            );
        }
        if options.crl_max_age == Some(Duration::ZERO) {
            conflicts.push("crl_max_age must not be zero".to_owned());
        }
        if options.ocsp_responder_timeout == Some(Duration::ZERO) {
            conflicts.push("ocsp_responder_timeout must not be zero".to_owned());
        }
        // CRLs may stand beside the trust anchors, which is known when they are read.
        if options.check_whole_chain && options.crl_files.is_empty() && !options.names_anchors() {
            conflicts.push("check_whole_chain needs a CRL file".to_owned());
        }
        if !options.crl_files.is_empty() {
            const COMPATIBLE: [&str; 3] = [
                "tlsAllowInvalidHostnames",
                "allow_common_name",
                "key_log_file",
            ];
            if let Some(name) = options.relaxed().find(|name| !COMPATIBLE.contains(name)) {
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

    /// Appends the secrets of every connection to this file, in the format that Wireshark reads
    /// (`SSLKEYLOGFILE`). Who can read the file can read the connections.
    ///
    /// The file is made with access for its owner alone. One that exists already must be a regular file, not a
    /// symbolic link, that belongs to the effective user of the process and that no other user may read or write
    /// (mode 0600). The environment variable `SSLKEYLOGFILE` is not looked at.
    #[must_use]
    pub fn key_log_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.key_log_file = Some(path.into());
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
