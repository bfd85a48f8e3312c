//! The contents of a certificate, and the source of trust anchors.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

/// The contents of one certificate (RFC 5280).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// The subject in the form of RFC 2253, most specific part first.
    pub subject: String,
    /// The issuer in the form of RFC 2253.
    pub issuer: String,
    /// The serial number in hexadecimal, upper case, without separators.
    pub serial: String,
    /// The first instant at which the certificate is valid.
    pub not_before: SystemTime,
    /// The last instant at which the certificate is valid.
    pub not_after: SystemTime,
    /// The DNS names among the subject alternative names.
    pub dns_names: Vec<String>,
    /// The IP addresses among the subject alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// The kind and size of the public key, such as `RSA 2048` or `EC prime256v1`.
    pub key: String,
    /// The algorithm of the issuer's signature, such as `ecdsa-with-SHA256`.
    pub signature_algorithm: String,
    /// The SHA-256 digest of the whole certificate in hexadecimal, lower case.
    pub sha256_fingerprint: String,
    /// The key identifier of the subject as `openssl x509 -text` prints it (`0A:1B:…`), if the certificate has one.
    pub subject_key_id: Option<String>,
    /// The key identifier that the certificate names for its issuer, in the same form, if it names one.
    pub authority_key_id: Option<String>,
    /// The serial number that the certificate names for its issuer's certificate, if it names one.
    pub authority_serial: Option<String>,
    /// True if subject and issuer are the same.
    pub self_issued: bool,
    /// True if the certificate belongs to a CA, which may sign other certificates.
    pub is_ca: bool,
    /// The permitted uses in the key usage, by their names in RFC 5280, such as `digitalSignature`. `None` if the
    /// certificate has no such extension, which permits every use.
    pub key_usage: Option<Vec<&'static str>>,
    /// The purposes in the extended key usage, such as `serverAuth`, or as dotted numbers. `None` if the certificate
    /// has no such extension, which permits every purpose.
    pub extended_key_usage: Option<Vec<String>>,
    /// True if a TLS client may use the certificate: its extended key usage permits it, or is absent.
    pub allows_client_auth: bool,
    /// True if a TLS server may use the certificate: its extended key usage permits it, or is absent.
    pub allows_server_auth: bool,
    /// The SHA-256 digest of the public key (SubjectPublicKeyInfo in DER form) in hexadecimal, lower case. A
    /// certificate and its private key have the same digest. It is the text form of an
    /// [`SpkiPin`](crate::options::SpkiPin).
    pub public_key_sha256: String,
    /// The last common name in the subject.
    pub(crate) common_name: Option<String>,
    /// The subject as a MongoDB user.
    pub(crate) user_name: String,
}

/// The position of a certificate in a chain, in the terms of RFC 5280.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateRole {
    EndEntity,
    Intermediate,
    /// A self-issued CA at the end of the chain, which is not a trust anchor.
    Root,
    TrustAnchor,
}

impl Certificate {
    /// Returns the name of the user in the database `$external` that MONGODB-X509 derives from the certificate: the
    /// subject in the form of RFC 2253, with each byte from 0x80 on escaped (`CN=J\C3\BCrgen`).
    pub fn user_name(&self) -> &str {
        &self.user_name
    }

    /// Returns the DNS names and IP addresses in the certificate, as text.
    pub fn presented_names(&self) -> Vec<String> {
        let addresses = self.ip_addresses.iter().map(IpAddr::to_string);
        self.dns_names.iter().cloned().chain(addresses).collect()
    }

    /// Returns the common name of the subject, or the whole subject if it has no common name.
    pub fn short_name(&self) -> &str {
        self.common_name.as_deref().unwrap_or(&self.subject)
    }
}

/// Decodes the bytes of an IP address among the subject alternative names (RFC 5280 §4.2.1.6).
pub(crate) fn address_of_entry(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A file of trust anchors.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnchorFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The number of certificates in it.
    pub count: usize,
}

/// The source of the trust anchors of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustAnchors {
    /// The trust anchors that the options name.
    Configured {
        /// The file of `tlsCAFile`.
        file: Option<AnchorFile>,
        /// A directory of certificates under hashed names.
        directory: Option<PathBuf>,
        /// The number of certificates given as text.
        in_memory: usize,
    },
    /// The trust anchors of the system.
    System {
        /// A file with certificates.
        file: Option<AnchorFile>,
        /// A directory of certificates under hashed names.
        directory: Option<PathBuf>,
    },
    /// Mozilla's root certificates, built in with the feature `bundled-roots`.
    Bundled {
        /// The number of certificates.
        count: usize,
    },
    /// No trust anchors: the server's certificate is not verified.
    NotUsed,
}

impl fmt::Display for TrustAnchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured {
                file,
                directory,
                in_memory,
            } => {
                let file = file
                    .iter()
                    .map(|file| format!("{} ({} from tlsCAFile)", file.path.display(), file.count));
                let directory = directory.iter().map(|path| path.display().to_string());
                let memory = (*in_memory > 0).then(|| format!("{in_memory} from memory"));
                let places: Vec<_> = file.chain(directory).chain(memory).collect();
                f.write_str(&places.join(" and "))
            }
            Self::System { file, directory } => {
                let file = file
                    .iter()
                    .map(|file| format!("{} ({})", file.path.display(), file.count));
                let directory = directory.iter().map(|path| path.display().to_string());
                let places: Vec<_> = file.chain(directory).collect();
                write!(f, "{} (system)", places.join(" and "))
            }
            Self::Bundled { count } => write!(f, "{count} built in"),
            Self::NotUsed => f.write_str("none, since the certificate is not verified"),
        }
    }
}
