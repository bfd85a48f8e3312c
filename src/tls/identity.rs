//! The client's own certificate and private key (`tlsCertificateKeyFile`).
//!
//! One PEM file holds the key, the certificate that belongs to it and, if the server needs them, the
//! intermediate CAs, in any order. The whole chain is sent. A password is never asked for on a
//! terminal: OpenSSL gets a callback that hands over the one that is configured, and that notes
//! whether it was needed at all.

use std::path::Path;

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::SslContextBuilder;
use openssl::x509::X509;

use super::files::{self, Purpose};
use super::{Certificate, ffi, internal};
use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};
use crate::options::Secret;

/// A certificate, its key and the intermediates above it.
pub(super) struct Identity {
    key: PKey<Private>,
    certificate: X509,
    intermediates: Vec<X509>,
}

impl Identity {
    /// Reads `path`.
    pub(super) fn load(path: &Path, password: Option<&Secret>) -> Result<Self> {
        let bytes = files::read(Purpose::ClientCertificate, path)?;
        let faults = Faults {
            path,
            bytes: &bytes,
        };
        let key = faults.private_key(password)?;
        let mut certificates =
            files::certificates(&bytes).map_err(|error| faults.undecodable_certificate(error))?;
        if certificates.is_empty() {
            return Err(faults.no_certificate());
        }
        let own = certificates.iter().position(|certificate| {
            certificate
                .public_key()
                .is_ok_and(|public| public.public_eq(&key))
        });
        let Some(own) = own else {
            return Err(faults.mismatch(&certificates[0]));
        };
        let certificate = certificates.remove(own);
        Ok(Self {
            key,
            certificate,
            intermediates: certificates,
        })
    }

    /// Presents the identity in every handshake of the context. `path` is where it was read from.
    pub(super) fn install(&self, context: &mut SslContextBuilder, path: &Path) -> Result<()> {
        context
            .set_certificate(&self.certificate)
            .map_err(|error| too_weak(error, path, &self.certificate))?;
        context.set_private_key(&self.key).map_err(internal)?;
        self.intermediates
            .iter()
            .try_for_each(|intermediate| context.add_extra_chain_cert(intermediate.clone()))
            .map_err(internal)
    }

    /// What is told of it in reports and causes.
    pub(super) fn describe(&self) -> OwnChain {
        let issuers = std::iter::once(&self.certificate).chain(&self.intermediates);
        OwnChain {
            certificate: Certificate::from(&*self.certificate),
            issuers: issuers
                .map(|certificate| ffi::name_text(certificate.issuer_name()))
                .collect(),
        }
    }
}

/// The client's certificate, and the names of the CAs above it.
#[derive(Clone, Debug)]
pub(super) struct OwnChain {
    pub(super) certificate: Certificate,
    issuers: Vec<String>,
}

impl OwnChain {
    /// Whether one of these CAs issued the certificate or an intermediate that is sent with it.
    pub(super) fn is_listed(&self, ca_names: &[String]) -> bool {
        self.issuers.iter().any(|issuer| ca_names.contains(issuer))
    }
}

/// OpenSSL refuses a certificate that is below its security level.
fn too_weak(error: ErrorStack, path: &Path, certificate: &X509) -> Error {
    const LIB_SSL: i32 = 20;
    const CA_MD_TOO_WEAK: i32 = 398;
    const KEY_TOO_SMALL: [i32; 2] = [397, 399];
    let reasons = error
        .errors()
        .iter()
        .filter(|entry| entry.library_code() == LIB_SSL);
    let reason = reasons.map(openssl::error::Error::reason_code).next();
    let (code, what) = match reason {
        Some(CA_MD_TOO_WEAK) => (CauseCode::DigestTooWeak, "signature digest"),
        Some(code) if KEY_TOO_SMALL.contains(&code) => (CauseCode::KeyTooWeak, "key"),
        _ => return internal(error),
    };
    let certificate = Certificate::from(&**certificate);
    let path = path.display().to_string();
    let cause = Cause::new(
        code,
        format!(
            "tlsCertificateKeyFile {path:?} holds a certificate whose {what} is below OpenSSL's security level"
        ),
        "Have a certificate issued for a key of RSA 2048, EC P-256 or stronger, signed with SHA-256 or stronger.",
    );
    let cause = cause
        .fact("option", "tlsCertificateKeyFile")
        .fact("path", path)
        .fact("subject", certificate.subject);
    Error::configuration(cause.fact("key", certificate.key)).with_source(error)
}

/// The ways in which the file can be wrong, each with its words.
struct Faults<'a> {
    path: &'a Path,
    bytes: &'a [u8],
}

impl Faults<'_> {
    fn private_key(&self, password: Option<&Secret>) -> Result<PKey<Private>> {
        let blocks = files::pem_blocks(self.bytes)
            .filter(|block| block.label.ends_with("PRIVATE KEY"))
            .collect::<Vec<_>>();
        let [block] = blocks.as_slice() else {
            return Err(if blocks.is_empty() {
                self.no_private_key()
            } else {
                self.several_private_keys(blocks.len())
            });
        };
        let mut was_asked = false;
        let outcome = PKey::private_key_from_pem_callback(block.text, |buffer| {
            was_asked = true;
            let password = password.map_or("", Secret::expose).as_bytes();
            // A password that does not fit is not cut: OpenSSL then reports a wrong one.
            let Some(room) = buffer.get_mut(..password.len()) else {
                return Ok(0);
            };
            room.copy_from_slice(password);
            Ok(password.len())
        });
        match outcome {
            Ok(key) => Ok(key),
            Err(_) if was_asked && password.is_none() => Err(self.password_missing()),
            Err(error) if is_unsupported(&error) => Err(self.unsupported(error)),
            Err(error) if was_asked => Err(self.password_wrong(error)),
            Err(error) => Err(self.undecodable_key(error)),
        }
    }

    fn no_private_key(&self) -> Error {
        self.error(
            CauseCode::KeyFileNoPrivateKey,
            &format!("holds no private key in PEM form: it holds {}", files::describe(self.bytes)),
            "Put the private key and the certificate into one PEM file: `cat client.crt client.key > client.pem`.",
        )
    }

    fn several_private_keys(&self, count: usize) -> Error {
        let why = format!("holds {count} private keys");
        self.error(
            CauseCode::KeyCertificateMismatch,
            &why,
            "Leave only the private key that belongs to the certificate in the file.",
        )
    }

    fn no_certificate(&self) -> Error {
        self.error(
            CauseCode::KeyFileNoCertificate,
            &format!("holds no certificate in PEM form: it holds {}", files::describe(self.bytes)),
            "Put the certificate and the private key into one PEM file: `cat client.crt client.key > client.pem`.",
        )
    }

    fn undecodable_certificate(&self, error: ErrorStack) -> Error {
        let remedy = "Replace the damaged PEM block; each block must hold one whole certificate.";
        self.error(
            CauseCode::KeyFileNoCertificate,
            "holds a certificate that cannot be decoded",
            remedy,
        )
        .with_source(error)
    }

    fn undecodable_key(&self, error: ErrorStack) -> Error {
        let remedy = "Replace the private key by a whole one in PEM form.";
        self.error(
            CauseCode::KeyFileNoPrivateKey,
            "holds a private key that cannot be decoded",
            remedy,
        )
        .with_source(error)
    }

    fn password_missing(&self) -> Error {
        let remedy = "Set tlsCertificateKeyFilePassword to the password of the private key.";
        self.error(
            CauseCode::KeyPasswordMissing,
            "holds an encrypted private key and no password is configured",
            remedy,
        )
    }

    fn password_wrong(&self, error: ErrorStack) -> Error {
        let remedy = "Correct tlsCertificateKeyFilePassword; in a connection string it must be percent-encoded.";
        self.error(
            CauseCode::KeyPasswordWrong,
            "holds a private key that the configured password does not decrypt",
            remedy,
        )
        .with_source(error)
    }

    fn unsupported(&self, error: ErrorStack) -> Error {
        self.error(
            CauseCode::KeyAlgorithmUnsupported,
            "holds a private key whose type or encryption this OpenSSL does not offer",
            "Encrypt the key anew with AES: `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW`, on a machine whose OpenSSL reads the old one.",
        )
        .with_source(error)
    }

    fn mismatch(&self, first: &X509) -> Error {
        let subject = Certificate::from(&**first).subject;
        let why =
            format!("holds a private key that does not belong to the certificate of {subject:?}");
        let cause = self.cause(
            CauseCode::KeyCertificateMismatch,
            &why,
            "Pair the certificate with the private key that it was issued for.",
        );
        Error::configuration(cause.fact("subject", subject))
    }

    fn error(&self, code: CauseCode, why: &str, remedy: &str) -> Error {
        Error::configuration(self.cause(code, why, remedy))
    }

    fn cause(&self, code: CauseCode, why: &str, remedy: &str) -> Cause {
        let option = Purpose::ClientCertificate.option();
        Cause::new(
            code,
            format!("{option} {:?} {why}", self.path.display().to_string()),
            remedy,
        )
        .fact("option", option)
        .fact("path", self.path.display().to_string())
        .fact("holds", files::describe(self.bytes))
    }
}

/// Whether OpenSSL says that it lacks the algorithm, rather than that the text is wrong.
///
/// A wrong password may decrypt a key to rubbish, of which a decoder says "unsupported" as well; so only
/// those parts of OpenSSL are believed that look an algorithm up.
fn is_unsupported(error: &ErrorStack) -> bool {
    const LIB_EVP: i32 = 6;
    const LIB_PEM: i32 = 9;
    error.errors().iter().any(|entry| {
        let reason = entry.reason().unwrap_or_default();
        let told = reason.contains("unsupported") || reason.contains("unknown");
        told && matches!(entry.library_code(), LIB_EVP | LIB_PEM)
    })
}
