//! The reports about files, as plain data.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::enum_text::{codes, display_as_str};
use crate::tls::Certificate;
use crate::tls::config::files::FileForm;

/// The contents of a file, and its problems.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileReport {
    /// The file. If it cannot be read, parts that may be secret are removed, because the path may be the URI of a
    /// store.
    pub path: PathBuf,
    /// The option that names the file, such as `tlsCAFile`; `None` if it was inspected separately.
    pub option: Option<&'static str>,
    /// The form of its bytes, or `None` if it cannot be read.
    pub form: Option<FileForm>,
    /// The contents in words that complete "it holds …".
    pub holds: String,
    /// The certificates in their order.
    pub certificates: Vec<Certificate>,
    /// The CRLs in their order.
    pub crls: Vec<CrlReport>,
    /// The private keys in their order.
    pub keys: Vec<KeyReport>,
    /// The connections between the certificates, if they should form a chain: several of them, and not only CAs.
    pub chain: Option<ChainReport>,
    /// The problems of the file, and notes about it.
    pub findings: Vec<Finding>,
}

/// The contents of a CRL, without its entries (RFC 5280 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrlReport {
    /// The issuer in the form of RFC 2253.
    pub issuer: String,
    /// The time of its creation.
    pub this_update: SystemTime,
    /// The time of the next CRL, or `None` if this one does not name it.
    pub next_update: Option<SystemTime>,
    /// The number of certificates that it revokes.
    pub entries: usize,
    /// The number in decimal form, or `None` if it has none.
    pub number: Option<String>,
    /// The algorithm of the issuer's signature, such as `ecdsa-with-SHA256`.
    pub signature_algorithm: String,
    /// Its limits, such as `CA certificates only`; empty for a full CRL.
    pub scope: Vec<String>,
}

/// The properties of a private key. None of them is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyReport {
    /// The kind and size, such as `RSA 2048`. If the key did not open, only the kind, or `None`.
    pub kind: Option<String>,
    /// The encoding of the key.
    pub form: KeyForm,
    /// True if a password protects it.
    pub encrypted: bool,
    /// True if it opened: without a password, or with the given one.
    pub opened: bool,
    /// The index of the first certificate in the file that matches the key.
    pub certificate: Option<usize>,
    /// The SHA-256 digest of the public key, as in [`Certificate::public_key_sha256`]; `None` if the key did not open.
    pub public_key_sha256: Option<String>,
}

/// The encoding of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyForm {
    /// `BEGIN PRIVATE KEY` or `BEGIN ENCRYPTED PRIVATE KEY` (RFC 5958).
    Pkcs8,
    /// The older form, such as `BEGIN RSA PRIVATE KEY`.
    Traditional,
    /// In a PKCS#12 file.
    Pkcs12,
}

/// The connections between the certificates of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainReport {
    /// The indexes of the certificates from the end entity upward, each issued by the next.
    pub path: Vec<usize>,
    /// True if all certificates belong to that path, in its order, as TLS sends them.
    pub in_order: bool,
    /// True if each signature on that path is that of the next certificate.
    pub signatures_valid: bool,
}

/// A problem of a file, or a note about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The stable name.
    pub code: FindingCode,
    /// The severity.
    pub severity: Severity,
    /// The problem and, if it is not obvious, the remedy: one line, without a full stop.
    pub message: String,
}

/// The severity of a finding; a failure is greater than a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Connections work, for now or with some servers.
    Warning,
    /// A connection that uses the file fails.
    Failure,
}

codes! {
    /// The stable name of a finding. It has the same text as the [`CauseCode`](crate::CauseCode) with the same meaning,
    /// if there is one.
    FindingCode

    FileUnreadable = "file-unreadable", "the file cannot be read";
    NothingUsable = "nothing-usable", "the file holds no certificate, no CRL and no private key";
    DamagedBlock = "damaged-block", "a PEM block cannot be decoded, or has no end";
    TooManyBlocks = "too-many-blocks", "there are more blocks than are looked at";
    NotPem = "not-pem", "the file is in DER form, and PEM is needed";
    CertificateExpired = "certificate-expired", "a certificate is past its notAfter";
    ClientCertificateExpired = "client-certificate-expired", "the client certificate is past its notAfter";
    CertificateNotYetValid = "certificate-not-yet-valid", "a certificate is before its notBefore";
    CertificateEndsSoon = "certificate-ends-soon", "a certificate ends within 30 days";
    CrlExpired = "crl-expired", "a CRL is past its nextUpdate";
    CrlNotYetValid = "crl-not-yet-valid", "a CRL is before its thisUpdate";
    CrlEndsSoon = "crl-ends-soon", "less than a tenth of a CRL's term is left";
    CrlNoNextUpdate = "crl-no-next-update", "a CRL does not say when the next one is due";
    ChainOutOfOrder = "chain-out-of-order", "the certificates of a chain do not stand in the order of the chain";
    ChainUnrelated = "chain-unrelated", "a certificate is not part of the chain";
    SignatureInvalid = "signature-invalid", "a certificate is not signed by the one that bears its issuer's name";
    IssuerMismatch = "issuer-mismatch", "a certificate in another file bears the name of an issuer, and is not the issuer";
    WrongPurpose = "wrong-purpose", "the extended key usage forbids the use in TLS";
    NoSubjectAltName = "no-subject-alt-name", "a server's certificate names no host";
    KeyTooWeak = "key-too-weak", "a key is shorter than OpenSSL's security level 2 asks for";
    DigestTooWeak = "digest-too-weak", "a signature uses SHA-1, MD5 or an older digest";
    KeyCertificateMismatch = "key-certificate-mismatch", "private key and certificate do not belong together";
    KeyPasswordMissing = "key-password-missing", "the private key is encrypted and no password was given";
    KeyPasswordWrong = "key-password-wrong", "the password does not open the private key";
    KeyAlgorithmUnsupported = "key-algorithm-unsupported", "this OpenSSL does not offer the key's type or encryption";
    ReadableByOthers = "readable-by-others", "every user of this host may read the private key";
}

impl Severity {
    /// `failure` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

impl KeyForm {
    /// `pkcs8`, `traditional` or `pkcs12`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pkcs8 => "pkcs8",
            Self::Traditional => "traditional",
            Self::Pkcs12 => "pkcs12",
        }
    }
}

display_as_str!(Severity, KeyForm);

impl FileReport {
    /// Returns true if nothing in the file makes a connection fail; there may be warnings.
    pub fn is_ok(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity != Severity::Failure)
    }
}
