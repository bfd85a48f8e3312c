//! Why a local file, or what is configured in place of one, cannot be used.

use std::time::{Duration, SystemTime};

use crate::data::certificate::{Certificate, TrustAnchors};
use crate::data::limit::ReachedLimit;
use crate::reason::certificate::SecurityLevel;

/// Why a local file cannot be used, or what is configured in place of one. Paths are printable: they may have been the
/// URI of a store, with a PIN.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FileFailure {
    /// The file was not read.
    Unreadable {
        purpose: FilePurpose,
        path: String,
        problem: ReadProblem,
    },
    /// The file or folder of an option cannot be read because of a limit of this host.
    Limited {
        option: &'static str,
        path: String,
        limit: ReachedLimit,
    },
    /// A file, or text in memory, does not hold what it should.
    Content(Box<ContentFailure>),
    /// The folder of the trust anchors cannot be used.
    CaFolder {
        path: String,
        problem: CaFolderProblem,
    },
    /// Neither the options nor the system have trust anchors.
    NoTrustAnchors {
        /// True if the environment names the places (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
        is_chosen: bool,
        searched: Vec<SearchedPlace>,
    },
    /// The system's trust anchors cannot be read because of a limit of this host.
    SystemAnchorsLimited(ReachedLimit),
    /// The folders of the trust anchors cannot be read because of a limit of this host.
    AnchorsLimited {
        anchors: TrustAnchors,
        limit: ReachedLimit,
    },
    /// No trust anchor can be read any more, possibly because of a limit of this host.
    AnchorsGone {
        anchors: TrustAnchors,
        limit: Option<ReachedLimit>,
    },
    /// No trust anchor is in force.
    AnchorsNotInForce {
        anchors: TrustAnchors,
        /// The name of the first one that will be valid, or else of the last one that was.
        name: String,
        not_before: SystemTime,
        not_after: SystemTime,
        /// True if that one will be valid.
        is_early: bool,
        checked_at: SystemTime,
    },
    /// The new CRLs must not replace those in use.
    CrlReplacement(Box<CrlReplacement>),
    /// The client's new certificate is not in force, and must not replace one that is.
    OwnCertificateNotInForce {
        certificate: Box<Certificate>,
        checked_at: SystemTime,
    },
    /// The password of the private key cannot be obtained.
    KeyPassword(KeyPasswordProblem),
    /// The private key of a store cannot be used.
    StoredKey {
        uri: String,
        openssl: Option<String>,
        problem: StoredKeyProblem,
    },
    /// The secrets of connections cannot be written to this file.
    KeyLog {
        path: String,
        problem: KeyLogProblem,
    },
    /// OpenSSL does not know a name in a list of the protocol options.
    ProtocolList { list: ProtocolList, value: String },
    /// OpenSSL rejects a call that can fail only if OpenSSL itself is not set up well.
    OpenSsl {
        error: String,
        problems: Vec<LibraryProblem>,
    },
}

/// The purpose of a file, by the option that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilePurpose {
    TrustAnchors,
    Crl,
    ClientCertificate,
    KeyPassword,
}

impl FilePurpose {
    /// The option that names the file.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::TrustAnchors => "tlsCAFile",
            Self::Crl => "tlsCRLFile",
            Self::ClientCertificate => "tlsCertificateKeyFile",
            Self::KeyPassword => "key_password_file",
        }
    }
}

/// Why a file was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReadProblem {
    NotFound,
    PermissionDenied,
    /// The system gives another reason, with this text.
    System(String),
    IsFolder,
    /// A pipe can be read only once.
    IsPipe,
    IsSocket,
    IsDevice,
    /// The size limit, in bytes.
    LargerThan(usize),
    /// No program wrote the rest to the pipe within this time.
    PipeStalled(Duration),
    /// The options do not name the file.
    NotNamed,
}

/// A file, or text in memory, that does not hold what it should.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ContentFailure {
    pub(crate) purpose: FilePurpose,
    pub(crate) source: ContentSource,
    pub(crate) holds: Option<FileContents>,
    /// OpenSSL's reasons, if it gave any.
    pub(crate) openssl: Option<String>,
    pub(crate) problem: ContentProblem,
}

/// The source of certificates, keys or CRLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ContentSource {
    File {
        option: &'static str,
        path: String,
    },
    /// The text of an option.
    Text {
        option: &'static str,
    },
    /// The client certificate in memory.
    ClientCertificate,
    /// The private key in memory.
    PrivateKey,
}

impl ContentSource {
    /// The option that names the source, if there is one.
    pub(crate) fn option(&self) -> Option<&'static str> {
        match self {
            Self::File { option, .. } | Self::Text { option } => Some(option),
            Self::ClientCertificate | Self::PrivateKey => None,
        }
    }

    /// The path, if the source is a file.
    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Self::File { path, .. } => Some(path),
            _ => None,
        }
    }
}

/// The problem with the contents of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ContentProblem {
    /// A certificate for the trust anchors.
    Certificates(CertificatesProblem),
    /// The trust settings of all certificates reject servers.
    NoAnchor,
    /// A certificate of the client cannot be decoded.
    UndecodableCertificate,
    /// There is no certificate of the client.
    NoCertificate,
    /// The PKCS#12 file has a private key and no certificate.
    StoreWithoutCertificate,
    NoPrivateKey,
    SeveralPrivateKeys {
        count: usize,
    },
    UndecodableKey,
    /// The private key is encrypted and there is no password.
    NoPassword(Option<KeyPasswordSource>),
    WrongPassword(Option<KeyPasswordSource>),
    UnsupportedKey(KeyLack),
    /// The private key does not belong to the certificate of this subject.
    KeyMismatch {
        subject: String,
    },
    /// OpenSSL's security level rejects the certificate.
    TooWeak {
        certificate: Box<Certificate>,
        level: SecurityLevel,
        weakness: CertificateWeakness,
    },
    NoCrl,
    UndecodableCrl {
        /// Counted from 1.
        number: usize,
        /// The line on which its block begins, or `None` in DER form.
        line: Option<usize>,
    },
    CrlCutOff {
        line: usize,
    },
    DeltaCrl,
}

/// The problem with a file of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CertificatesProblem {
    Undecodable {
        /// Counted from 1.
        number: usize,
        count: usize,
        /// The line on which its block begins.
        line: usize,
        damage: PemDamage,
    },
    CutOff {
        line: usize,
    },
    /// A PKCS#7 block beside certificates.
    BesidePkcs7,
    None(FileContents),
}

/// The damage to a PEM block that OpenSSL cannot decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PemDamage {
    CutOff,
    /// The two characters `\\n` are in place of line breaks.
    LiteralBreaks,
    NoBreaks,
    Indented,
    Other,
}

/// The contents of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileContents {
    Empty,
    /// The kinds of the PEM blocks, each once, in their order.
    Pem(Vec<PemKind>),
    Html,
    JavaKeystore,
    Pkcs12,
    /// PKCS#7 in DER form.
    Pkcs7,
    /// Text in this encoding.
    Utf16(&'static str),
    DerCertificate,
    DerCrl,
    DerPrivateKey,
    DerEncryptedPrivateKey,
    DerCertificateRequest,
    DerPublicKey,
    /// Something else in DER form.
    Der,
    /// Base64 of something in DER form, without the lines of PEM.
    Base64,
    Text,
    Binary,
}

/// The kind of a PEM block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PemKind {
    Certificate,
    /// A certificate in OpenSSL's own form, with trust settings.
    TrustedCertificate,
    Crl,
    CertificateRequest,
    PublicKey,
    EncryptedPrivateKey,
    PrivateKey,
    Pkcs7,
    Other,
}

/// The source of the password of the private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyPasswordSource {
    /// The option `tlsCertificateKeyFilePassword`.
    Option,
    /// The first line of a file.
    File(String),
    /// An environment variable.
    Variable(String),
    /// A function of the program.
    Callback,
}

/// The feature that this OpenSSL lacks to read a private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyLack {
    /// An algorithm, by OpenSSL's name of it or as a dotted number.
    pub(crate) algorithm: Option<String>,
    pub(crate) kind: KeyLackKind,
    /// True if OpenSSL has a legacy provider.
    pub(crate) has_legacy: bool,
    /// True if the legacy provider has the algorithm.
    pub(crate) is_legacy: bool,
}

/// The part that an OpenSSL lacks the algorithm for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyLackKind {
    /// The encryption of a PKCS#12 file.
    StoreEncryption,
    /// The protection of a PKCS#12 file against changes.
    StoreMac,
    /// The encryption of a key in PEM form.
    KeyEncryption,
    /// The type of a key.
    KeyType,
}

/// The weakness of a certificate for which OpenSSL's security level rejects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateWeakness {
    Digest,
    /// A key with so many bits of security.
    Key {
        bits: u32,
    },
}

/// Why a folder of trust anchors cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CaFolderProblem {
    /// The system's text.
    Unreadable(String),
    /// It holds no certificate under a hashed name.
    NoHashedNames,
}

/// A place that was searched for the system's trust anchors in vain.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SearchedPlace {
    pub(crate) path: String,
    pub(crate) problem: PlaceProblem,
}

/// Why a place has no trust anchors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PlaceProblem {
    Unread(ReadProblem),
    Certificates(CertificatesProblem),
    /// The trust settings of all certificates reject servers.
    NoAnchor,
    FolderNotFound,
    FolderDenied,
    /// A file in the place of a folder.
    NotFolder,
    FolderUnreadable(String),
    FolderEmpty,
    NoHashedNames,
}

/// New CRLs that must not replace those in use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CrlReplacement {
    pub(crate) issuer: String,
    /// The end of the CRL in use, or `None` if it has none.
    pub(crate) in_force_until: Option<SystemTime>,
    pub(crate) checked_at: SystemTime,
    pub(crate) problem: CrlReplacementProblem,
}

/// Why CRLs must not replace those in use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CrlReplacementProblem {
    /// There is no CRL of the issuer any more.
    Missing,
    NotYetValid(NewCrl),
    Expired(NewCrl),
    /// A CRL with a lower number: it may be an old one, which does not list a certificate that is revoked since.
    LowerNumber {
        new: NewCrl,
        number: String,
        number_in_use: String,
        this_update_in_use: SystemTime,
    },
}

/// A new CRL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewCrl {
    pub(crate) path: String,
    pub(crate) this_update: SystemTime,
    pub(crate) next_update: Option<SystemTime>,
}

/// Why the password of an encrypted private key cannot be obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyPasswordProblem {
    /// The file holds text in UTF-16.
    FileIsUtf16 { path: String },
    /// The first line of the file is empty.
    FileIsEmpty { path: String },
    /// The environment variable is not set.
    NoVariable { name: String },
    /// The function of the program panicked.
    CallbackPanicked,
}

/// Why the private key of a store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoredKeyProblem {
    NoPassword,
    WrongPassword(Option<KeyPasswordSource>),
    /// OpenSSL has no store for the scheme of the URI.
    UnknownStore,
    NotLoaded,
    NotFound,
}

/// Why a file cannot hold the secrets of connections.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KeyLogProblem {
    IsLink,
    /// The system's text.
    NotWritable(String),
    /// The file cannot be opened because of a limit of this host.
    Limited(ReachedLimit),
    /// The system's text.
    NotExaminable(String),
    NotRegular,
    /// The user numbers of the owner and of this process.
    OtherOwner {
        owner: u32,
        user: u32,
    },
    /// The permission bits, which let others read or write.
    OpenToOthers {
        mode: u32,
    },
}

/// One of the lists of the protocol options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolList {
    CipherList,
    CipherSuites,
    Groups,
    SignatureAlgorithms,
}

impl ProtocolList {
    /// The name of the setter.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CipherList => "cipher_list",
            Self::CipherSuites => "cipher_suites",
            Self::Groups => "groups",
            Self::SignatureAlgorithms => "signature_algorithms",
        }
    }
}

/// A setting of OpenSSL that is configured but has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LibraryProblem {
    /// OpenSSL ignores its configuration file.
    IgnoredFile { file: String, error: String },
    /// The file activates a provider that is not loaded.
    MissingProvider { file: String, provider: String },
    /// The file restricts OpenSSL to FIPS algorithms, and no provider has any.
    NoFipsProvider { file: String },
}
