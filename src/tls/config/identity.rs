//! The client's own certificate and private key.
//!
//! They come from one file with both (`tlsCertificateKeyFile`), PEM or PKCS#12 by its content, from two separate files,
//! from memory, or the key from an OpenSSL store. The certificate is the one that matches the key; all others are
//! treated as the intermediate CAs above it and are sent with it, in any order of the file.

use std::collections::HashMap;
use std::path::Path;

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::SslContextBuilder;
use openssl::x509::X509;

use crate::error::{Error, Result};
use crate::ffi::fork::Abandon;
use crate::ffi::openssl as ffi;
use crate::options::{IdentitySource, PasswordSource, ProtocolOptions};
use crate::reason::files::{
    CertificateWeakness, ContentFailure, ContentProblem, ContentSource, FilePurpose,
};
use crate::sync::Mutex;
use crate::tls::Certificate;
use crate::tls::config::files;
use crate::tls::config::key::{self, Password, UnlockFailure};
use crate::tls::config::level::SecurityLevel;
use crate::tls::config::pem::{self, PemBlock};
use crate::tls::config::reading::{self, Files};
use crate::tls::library::{self, internal};

/// A certificate, its key and the intermediates above it.
pub(crate) struct Identity {
    key: PKey<Private>,
    certificate: X509,
    intermediates: Vec<X509>,
    origin: IdentityOrigin,
}

impl Identity {
    /// Loads the key and the certificates.
    pub(crate) fn load(
        source: &IdentitySource,
        password: Option<&PasswordSource>,
        files: &Files,
    ) -> Result<Self> {
        let mut password = Password::new(password, files);
        match source {
            IdentitySource::File(path) => {
                let both = Material::read(path, files)?;
                if let Some(store) = pkcs12(&both, &mut password)? {
                    return Self::pair(store.key, store.certificates, both.origin);
                }
                let key = private_key(&both, &mut password)?;
                let certificates = both.certificates()?;
                Self::pair(key, certificates, both.origin)
            }
            IdentitySource::Files { certificate, key } => {
                let certificates = Material::read(certificate, files)?;
                let key = private_key(&Material::read(key, files)?, &mut password)?;
                Self::pair(key, certificates.certificates()?, certificates.origin)
            }
            IdentitySource::Store { certificate, key } => {
                let certificates = Material::read(certificate, files)?;
                let key = key::stored_key(key.expose(), &mut password)?;
                Self::pair(key, certificates.certificates()?, certificates.origin)
            }
            IdentitySource::Memory { certificate, key } => {
                let source = ContentSource::ClientCertificate;
                let certificates = Material::memory(source, certificate.as_bytes());
                let key = Material::memory(ContentSource::PrivateKey, key.expose().as_bytes());
                let key = private_key(&key, &mut password)?;
                Self::pair(key, certificates.certificates()?, certificates.origin)
            }
        }
    }

    /// Finds the certificate that matches the key.
    fn pair(
        key: PKey<Private>,
        mut certificates: Vec<X509>,
        origin: IdentityOrigin,
    ) -> Result<Self> {
        let belongs = |certificate: &X509| {
            certificate
                .public_key()
                .is_ok_and(|public| public.public_eq(&key))
        };
        match certificates.iter().position(belongs) {
            Some(own) => {
                let certificate = certificates.remove(own);
                Ok(Self {
                    key,
                    certificate,
                    intermediates: certificates,
                    origin,
                })
            }
            None => {
                let subject = certificates
                    .first()
                    .map(|first| Certificate::of(first).subject)
                    .unwrap_or_default();
                Err(origin.error(ContentProblem::KeyMismatch { subject }))
            }
        }
    }

    /// Presents the identity in every handshake of the context.
    pub(crate) fn install(
        &self,
        context: &mut SslContextBuilder,
        protocol: &ProtocolOptions,
    ) -> Result<()> {
        let number = ffi::security_level(context);
        let level = || SecurityLevel::new(number, protocol);
        context
            .set_certificate(&self.certificate)
            .map_err(|error| self.too_weak(&self.certificate, &level(), error))?;
        context.set_private_key(&self.key).map_err(internal)?;
        let mut intermediates = self.intermediates.iter();
        // Not as extra certificates: OpenSSL checks those only when it sends them, and not every version then reports
        // the problem.
        intermediates.try_for_each(|intermediate| {
            ffi::add_chain_certificate(context, intermediate)
                .map_err(|error| self.too_weak(intermediate, &level(), error))
        })
    }

    /// The data for reports and causes.
    pub(crate) fn describe(&self) -> OwnChain {
        let issuers = std::iter::once(&self.certificate).chain(&self.intermediates);
        OwnChain {
            certificate: Certificate::of(&self.certificate),
            intermediates: self
                .intermediates
                .iter()
                .map(|certificate| Certificate::of(certificate))
                .collect(),
            path: self.origin.0.path().map(str::to_owned),
            issuers: issuers
                .map(|certificate| ffi::name_text(certificate.issuer_name()))
                .collect(),
        }
    }

    /// OpenSSL rejects a certificate that is below its security level.
    fn too_weak(&self, certificate: &X509, level: &SecurityLevel, error: ErrorStack) -> Error {
        const LIB_SSL: i32 = 20;
        const CA_MD_TOO_WEAK: i32 = 398;
        const KEY_TOO_SMALL: [i32; 2] = [397, 399];
        let mut reasons = error
            .errors()
            .iter()
            .filter(|entry| entry.library_code() == LIB_SSL);
        let reason = reasons.next().map(openssl::error::Error::reason_code);
        let key = certificate.public_key();
        let weakness = match (reason, key.map(|key| key.security_bits())) {
            (Some(CA_MD_TOO_WEAK), _) => CertificateWeakness::Digest,
            (Some(code), Ok(bits)) if KEY_TOO_SMALL.contains(&code) => {
                CertificateWeakness::Key { bits }
            }
            _ => return internal(error),
        };
        let problem = ContentProblem::TooWeak {
            certificate: Box::new(Certificate::of(certificate)),
            level: level.clone(),
            weakness,
        };
        self.origin.error(problem).with_source(error)
    }
}

/// The client's certificate, and the names of the CAs above it.
#[derive(Clone, Debug)]
pub(crate) struct OwnChain {
    pub(crate) certificate: Certificate,
    /// The certificates that are sent with it.
    pub(crate) intermediates: Vec<Certificate>,
    /// The file that contains it, if it comes from one.
    pub(crate) path: Option<String>,
    issuers: Vec<String>,
}

impl OwnChain {
    /// Returns whether one of these CAs issued the certificate or an intermediate that is sent with it.
    pub(crate) fn is_listed(&self, ca_names: &[String]) -> bool {
        self.issuers.iter().any(|issuer| ca_names.contains(issuer))
    }
}

/// The servers that have accepted one client, each with the certificate or without one. Only servers that request
/// certificates are recorded.
#[derive(Default)]
pub(crate) struct Accepted(Mutex<HashMap<String, Option<String>>>);

impl Accepted {
    /// Records that `server` has answered this client.
    pub(crate) fn note(&self, server: &str, own: Option<&OwnChain>) {
        let fingerprint = own.map(|own| own.certificate.sha256_fingerprint.as_str());
        let mut servers = self.0.lock();
        if let Some(known) = servers.get_mut(server) {
            if known.as_deref() != fingerprint {
                *known = fingerprint.map(str::to_owned);
            }
        } else if servers.len() < MOST_SERVERS {
            servers.insert(server.to_owned(), fingerprint.map(str::to_owned));
        }
    }

    /// Returns true if `server` has last answered this client with the certificate `own`, or without one if that is
    /// `None`.
    pub(crate) fn has(&self, server: &str, own: Option<&OwnChain>) -> bool {
        let fingerprint = own.map(|own| own.certificate.sha256_fingerprint.as_str());
        let servers = self.0.lock();
        servers
            .get(server)
            .is_some_and(|known| known.as_deref() == fingerprint)
    }
}

impl Abandon for Accepted {
    fn abandon(&self) {}

    fn begin(&self) {}
}

/// The maximum number of servers that are recorded.
const MOST_SERVERS: usize = 512;

/// Bytes of keys or certificates, and their source.
pub(crate) struct Material<'a> {
    pub(crate) origin: IdentityOrigin,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Material<'a> {
    fn read(path: &Path, files: &'a Files) -> Result<Self> {
        let purpose = FilePurpose::ClientCertificate;
        let bytes = reading::bytes(purpose, path, files)?;
        let source = ContentSource::File {
            option: purpose.option(),
            path: path.display().to_string(),
        };
        Ok(Self::memory(source, bytes))
    }

    fn memory(source: ContentSource, bytes: &'a [u8]) -> Self {
        Self {
            origin: IdentityOrigin(source),
            bytes,
        }
    }

    fn certificates(&self) -> Result<Vec<X509>> {
        let certificates = pem::certificates(self.bytes)
            .map_err(|error| self.refused(ContentProblem::UndecodableCertificate, error))?;
        match certificates.is_empty() {
            true => Err(self.error(ContentProblem::NoCertificate)),
            false => Ok(certificates),
        }
    }

    /// Returns an error with OpenSSL's reason.
    pub(crate) fn refused(&self, problem: ContentProblem, error: ErrorStack) -> Error {
        let failure = ContentFailure {
            holds: Some(files::contents(self.bytes)),
            openssl: library::reasons(&error),
            ..self.origin.failure(problem)
        };
        Error::configuration(failure).with_source(error)
    }

    pub(crate) fn error(&self, problem: ContentProblem) -> Error {
        Error::configuration(ContentFailure {
            holds: Some(files::contents(self.bytes)),
            ..self.origin.failure(problem)
        })
    }
}

/// The one private key in PEM form.
pub(crate) fn private_key(
    material: &Material<'_>,
    password: &mut Password<'_>,
) -> Result<PKey<Private>> {
    let blocks: Vec<_> = pem::pem_blocks(material.bytes)
        .filter(PemBlock::is_key)
        .collect();
    let [block] = blocks.as_slice() else {
        return Err(material.error(match blocks.len() {
            0 => ContentProblem::NoPrivateKey,
            count => ContentProblem::SeveralPrivateKeys { count },
        }));
    };
    key::open(block, password).map_err(|locked| locked.into_error(material, password))
}

/// The contents of a PKCS#12 file.
pub(crate) struct KeyStore {
    pub(crate) key: PKey<Private>,
    pub(crate) certificates: Vec<X509>,
}

/// Key and certificates of a PKCS#12 file (RFC 7292), or `None` if the bytes are something else.
pub(crate) fn pkcs12(
    material: &Material<'_>,
    password: &mut Password<'_>,
) -> Result<Option<KeyStore>> {
    let store = match key::open_pkcs12(material.bytes, password) {
        None => return Ok(None),
        Some(store) => store.map_err(|locked| locked.into_error(material, password))?,
    };
    let key = store
        .key
        .ok_or_else(|| material.error(ContentProblem::NoPrivateKey))?;
    if store.certificates.is_empty() {
        return Err(material.error(ContentProblem::StoreWithoutCertificate));
    }
    Ok(Some(KeyStore {
        key,
        certificates: store.certificates,
    }))
}

impl UnlockFailure {
    fn into_error(self, material: &Material<'_>, password: &Password<'_>) -> Error {
        match self {
            Self::NoPassword => material.error(ContentProblem::NoPassword(password.source())),
            Self::WrongPassword(error) => {
                material.refused(ContentProblem::WrongPassword(password.source()), error)
            }
            Self::Unsupported(error) => {
                let lack = key::lack(material.bytes, &error);
                material.refused(ContentProblem::UnsupportedKey(lack), error)
            }
            Self::Undecodable(error) => material.refused(ContentProblem::UndecodableKey, error),
            Self::Unfetched(error) => error,
        }
    }
}

/// The source of the client's certificate or key.
pub(crate) struct IdentityOrigin(ContentSource);

impl IdentityOrigin {
    fn failure(&self, problem: ContentProblem) -> ContentFailure {
        ContentFailure {
            purpose: FilePurpose::ClientCertificate,
            source: self.0.clone(),
            holds: None,
            openssl: None,
            problem,
        }
    }

    fn error(&self, problem: ContentProblem) -> Error {
        Error::configuration(self.failure(problem))
    }
}
