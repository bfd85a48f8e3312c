//! The client's own certificate and private key.
//!
//! They come from one file with both (`tlsCertificateKeyFile`), PEM or PKCS#12 by its content, from a
//! file each, from memory, or the key from an OpenSSL store. The certificate is the one that the key belongs to; all others are taken
//! for the intermediate CAs above it and are sent with it, in whatever order they stand.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::SslContextBuilder;
use openssl::x509::X509;

use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};
use crate::ffi::fork::Abandon;
use crate::ffi::openssl as ffi;
use crate::options::{IdentitySource, PasswordSource, ProtocolOptions};
use crate::printable::Quoted;
use crate::tls::config::files::{self, Purpose};
use crate::tls::config::key::{self, Password};
use crate::tls::config::reading::Files;
use crate::tls::handshake::level::SecurityLevel;
use crate::tls::{Certificate, internal};

/// A certificate, its key and the intermediates above it.
pub(crate) struct Identity {
    key: PKey<Private>,
    certificate: X509,
    intermediates: Vec<X509>,
    origin: Origin,
}

impl Identity {
    /// Takes key and certificates from where they are.
    pub(crate) fn load(
        source: &IdentitySource,
        password: Option<&PasswordSource>,
        files: &Files,
    ) -> Result<Self> {
        let mut password = Password::new(password, files);
        match source {
            IdentitySource::File(path) => {
                let both = Material::read(path, files)?;
                if let Some(store) = key::pkcs12(&both, &mut password)? {
                    return Self::pair(store.key, store.certificates, both.origin);
                }
                let key = key::private_key(&both, &mut password)?;
                let certificates = both.certificates()?;
                Self::pair(key, certificates, both.origin)
            }
            IdentitySource::Files { certificate, key } => {
                let certificates = Material::read(certificate, files)?;
                let key = key::private_key(&Material::read(key, files)?, &mut password)?;
                Self::pair(key, certificates.certificates()?, certificates.origin)
            }
            IdentitySource::Store { certificate, key } => {
                let certificates = Material::read(certificate, files)?;
                let key = key::stored_key(key.expose(), &mut password)?;
                Self::pair(key, certificates.certificates()?, certificates.origin)
            }
            IdentitySource::Memory { certificate, key } => {
                let certificates =
                    Material::memory("the client certificate", certificate.as_bytes());
                let key = Material::memory("the private key", key.expose().as_bytes());
                let key = key::private_key(&key, &mut password)?;
                Self::pair(key, certificates.certificates()?, certificates.origin)
            }
        }
    }

    /// Finds the certificate that the key belongs to.
    fn pair(key: PKey<Private>, mut certificates: Vec<X509>, origin: Origin) -> Result<Self> {
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
                    .map(|first| Certificate::from(&**first).subject)
                    .unwrap_or_default();
                let cause = origin.cause(
                    CauseCode::KeyCertificateMismatch,
                    &format!("holds the certificate of {subject}, to which the private key does not belong", subject = Quoted(&subject)),
                    "Pair the certificate with the private key that it was issued for.",
                );
                Err(Error::configuration(cause.fact("subject", subject)))
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
        // Not as extra certificates: OpenSSL looks at those only when it sends them, and not every version
        // then says what is wrong.
        intermediates.try_for_each(|intermediate| {
            ffi::add_chain_certificate(context, intermediate)
                .map_err(|error| self.too_weak(intermediate, &level(), error))
        })
    }

    /// What is told of it in reports and causes.
    pub(crate) fn describe(&self) -> OwnChain {
        let issuers = std::iter::once(&self.certificate).chain(&self.intermediates);
        OwnChain {
            certificate: Certificate::from(&*self.certificate),
            intermediates: self
                .intermediates
                .iter()
                .map(|certificate| Certificate::from(&**certificate))
                .collect(),
            path: self.origin.path.clone(),
            issuers: issuers
                .map(|certificate| ffi::name_text(certificate.issuer_name()))
                .collect(),
        }
    }

    /// OpenSSL refuses a certificate that is below its security level.
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
        let certificate = Certificate::from(&**certificate);
        let subject = &certificate.subject;
        let (code, why, remedy) = match (reason, key.map(|key| key.security_bits())) {
            (Some(CA_MD_TOO_WEAK), _) => (
                CauseCode::DigestTooWeak,
                format!(
                    "signature uses a digest that is too weak: {}",
                    level.weak_digest(&certificate.signature_algorithm)
                ),
                level.stronger_digest(subject),
            ),
            (Some(code), Ok(bits)) if KEY_TOO_SMALL.contains(&code) => (
                CauseCode::KeyTooWeak,
                format!(
                    "key is too weak: {}",
                    level.weak_key(&certificate.key, bits)
                ),
                level.stronger_key(subject, bits),
            ),
            _ => return internal(error),
        };
        let cause = self.origin.cause(
            code,
            &format!("holds the certificate of {}, whose {why}", Quoted(subject)),
            &remedy,
        );
        let cause = cause
            .fact("subject", certificate.subject)
            .fact("issuer", certificate.issuer)
            .fact("serial", certificate.serial)
            .fact("not_before", certificate.not_before)
            .fact("not_after", certificate.not_after)
            .fact("key", certificate.key)
            .fact("signature_algorithm", certificate.signature_algorithm);
        Error::configuration(cause).with_source(error)
    }
}

/// The client's certificate, and the names of the CAs above it.
#[derive(Clone, Debug)]
pub(crate) struct OwnChain {
    pub(crate) certificate: Certificate,
    /// The certificates that are sent with it.
    pub(crate) intermediates: Vec<Certificate>,
    /// The file that holds it, if it comes from one.
    pub(crate) path: Option<String>,
    issuers: Vec<String>,
}

impl OwnChain {
    /// Whether one of these CAs issued the certificate or an intermediate that is sent with it.
    pub(crate) fn is_listed(&self, ca_names: &[String]) -> bool {
        self.issuers.iter().any(|issuer| ca_names.contains(issuer))
    }
}

/// The servers that have accepted one client, each with its certificate or without one. Only those count that asked.
#[derive(Default)]
pub(crate) struct Accepted(Mutex<HashMap<String, Option<String>>>);

impl Accepted {
    /// Notes that `server` has answered this client.
    pub(crate) fn note(&self, server: &str, own: Option<&OwnChain>) {
        let fingerprint = own.map(|own| own.certificate.sha256_fingerprint.as_str());
        let mut servers = self.lock();
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
        let servers = self.lock();
        servers
            .get(server)
            .is_some_and(|known| known.as_deref() == fingerprint)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Abandon for Accepted {
    fn abandon(&self) {}

    fn begin(&self) {}
}

/// The number of servers that are remembered.
const MOST_SERVERS: usize = 512;

/// Bytes that hold keys or certificates, and where they come from.
pub(crate) struct Material<'a> {
    pub(crate) origin: Origin,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Material<'a> {
    fn read(path: &Path, files: &'a Files) -> Result<Self> {
        let bytes = files::bytes(Purpose::ClientCertificate, path, files)?;
        let path = path.display().to_string();
        let what = format!(
            "{} {path}",
            Purpose::ClientCertificate.option(),
            path = Quoted(&path)
        );
        Ok(Self {
            origin: Origin {
                what,
                path: Some(path),
            },
            bytes,
        })
    }

    fn memory(what: &str, bytes: &'a [u8]) -> Self {
        Self {
            origin: Origin {
                what: what.to_owned(),
                path: None,
            },
            bytes,
        }
    }

    fn certificates(&self) -> Result<Vec<X509>> {
        let certificates = files::certificates(self.bytes).map_err(|error| {
            let remedy =
                "Replace the damaged PEM block; each block must hold one whole certificate.";
            self.refused(
                CauseCode::KeyFileNoCertificate,
                "holds a certificate that cannot be decoded",
                remedy,
                error,
            )
        })?;
        if certificates.is_empty() {
            let why = format!(
                "holds no certificate in PEM form: it holds {}",
                files::describe(self.bytes)
            );
            let remedy = "Put the certificate and the private key into one PEM file: `cat client.crt client.key > client.pem`.";
            return Err(self.error(CauseCode::KeyFileNoCertificate, &why, remedy));
        }
        Ok(certificates)
    }

    /// An error for which OpenSSL has a reason of its own.
    pub(crate) fn refused(
        &self,
        code: CauseCode,
        why: &str,
        remedy: &str,
        error: ErrorStack,
    ) -> Error {
        let cause = self.origin.cause(code, why, remedy);
        let cause = cause.fact("holds", files::describe(self.bytes));
        Error::configuration(cause.fact_opt("openssl", files::reasons(&error))).with_source(error)
    }

    pub(crate) fn error(&self, code: CauseCode, why: &str, remedy: &str) -> Error {
        let cause = self.origin.cause(code, why, remedy);
        Error::configuration(cause.fact("holds", files::describe(self.bytes)))
    }
}

/// Where bytes come from, for the text of an error.
pub(crate) struct Origin {
    /// The option and the path, or what the bytes are.
    what: String,
    path: Option<String>,
}

impl Origin {
    fn cause(&self, code: CauseCode, why: &str, remedy: &str) -> Cause {
        let option = self
            .path
            .is_some()
            .then_some(Purpose::ClientCertificate.option());
        Cause::new(code, format!("{} {why}", self.what), remedy)
            .fact_opt("option", option)
            .fact_opt("path", self.path.as_deref())
    }
}
