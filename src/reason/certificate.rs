//! Why the certificate of a server was rejected.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use super::revocation::CrlFault;
use crate::data::certificate::{Certificate, CertificateRole, TrustAnchors};

/// Why the server's certificate does not prove its identity.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CertificateFailure {
    /// The server sent no certificate, or OpenSSL verified none: the cipher suite is anonymous.
    Anonymous { cipher: String },
    /// OpenSSL rejected the chain for a reason of its own, and did not say which certificate is at fault.
    Unlocated { openssl: &'static str },
    /// A certificate of the chain was rejected.
    Chain(Box<ChainRejection>),
}

/// A rejected chain, and the certificate at fault.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChainRejection {
    pub(crate) fault: ChainFault,
    /// The certificate at fault.
    pub(crate) certificate: Certificate,
    /// The position of the certificate in the chain; 0 is the server's own certificate.
    pub(crate) depth: u32,
    pub(crate) role: CertificateRole,
    /// The certificates that the server sent, in their order.
    pub(crate) sent: Vec<Certificate>,
    pub(crate) anchors: TrustAnchors,
    /// OpenSSL's text for the result of the verification.
    pub(crate) openssl: &'static str,
    /// The version of OpenSSL.
    pub(crate) openssl_version: &'static str,
    /// The time of the verification.
    pub(crate) checked_at: SystemTime,
}

/// The reason why a certificate was rejected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ChainFault {
    Expired,
    NotYetValid,
    /// No trust anchor and no certificate that the server sent is the issuer.
    IssuerUnknown(UnknownIssuer),
    /// The server's own certificate is signed by itself. The namesakes are certificates of the same name.
    SelfSigned {
        namesakes: Vec<Namesake>,
    },
    /// The chain ends in a self-signed CA that is not a trust anchor.
    UntrustedRoot {
        namesakes: Vec<Namesake>,
        /// A trust anchor with the name of that CA, compared with the certificate that the CA signed, if there is one.
        anchor: Option<Box<Namesake>>,
    },
    /// The trust settings of a certificate among the trust anchors do not allow servers.
    DistrustedAnchor,
    /// The certificate holds names, but not the expected one.
    NameMismatch(NameMismatch),
    /// The certificate holds no DNS name and no IP address.
    NoSubjectAltName(NameMismatch),
    /// The extended key usage or the key usage does not allow a TLS server.
    WrongPurpose,
    /// A critical extension is unknown.
    UnknownExtension,
    /// A name breaks the name constraints of a CA above, whose subject this is if it was found.
    NameConstraint {
        constrained_by: Option<String>,
    },
    InvalidCa(CaFault),
    /// A signature does not verify. The first namesake is the one that OpenSSL took for the issuer.
    BadSignature {
        namesakes: Vec<Namesake>,
    },
    /// OpenSSL cannot decode the signature, or the key of the issuer.
    UndecodableSignature,
    /// The key has `security_bits`; `None` if OpenSSL cannot read it.
    WeakKey {
        security_bits: Option<u32>,
        level: SecurityLevel,
    },
    WeakDigest {
        level: SecurityLevel,
    },
    /// The key contains the parameters of its elliptic curve instead of the name of the curve.
    ExplicitCurve,
    /// No public key of the chain is pinned; these are the pins of its keys.
    PinMismatch {
        presented: Vec<String>,
    },
    /// The check against the CRLs failed.
    Crl(Box<CrlFault>),
    /// Another reason, for which OpenSSL has a text.
    Other,
}

/// The reason why a CA is not allowed to sign the certificate below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaFault {
    PathLengthExceeded,
    ChainTooLong,
    /// It is no CA, or its key usage does not allow it.
    NotAllowed,
}

/// An issuer that was not found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UnknownIssuer {
    /// The certificates with the name of the issuer, which are not the issuer.
    pub(crate) namesakes: Vec<Namesake>,
    /// A certificate lower in the chain, and a trust anchor that has the name of its issuer without being it.
    pub(crate) below: Option<Box<(Certificate, Namesake)>>,
    /// True if the server sent a CA that is not part of the chain: an intermediate CA is missing between them.
    pub(crate) has_gap: bool,
}

/// A certificate that has the name of an issuer (RFC 5280 §6.1.3).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Namesake {
    pub(crate) certificate: Certificate,
    pub(crate) origin: NamesakeOrigin,
    /// The reason why it is not the issuer; `None` if it is.
    pub(crate) difference: Option<IssuerDifference>,
    /// The key identifier of the issuer, if the certificate below names it.
    pub(crate) expected_key_id: Option<String>,
    /// The serial number of the issuer, if the certificate below names it.
    pub(crate) expected_serial: Option<String>,
}

/// The place where a namesake was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamesakeOrigin {
    TrustAnchor,
    SentByServer,
    File,
}

/// The reason why a certificate with the name of an issuer is not the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IssuerDifference {
    /// It has another key.
    Key,
    /// It has the expected key identifier, but its key does not verify the signature.
    Signature,
    /// It has the right key, and another key identifier than the expected one.
    KeyId,
    /// It has the right key, and another serial number than the expected one.
    Serial,
    /// OpenSSL has another reason.
    Other(&'static str),
}

/// The reference identifier: the name or address that the certificate must hold (RFC 9525).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerName {
    Dns(String),
    Ip(IpAddr),
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => write!(f, "{address}"),
        }
    }
}

/// A certificate without the expected name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NameMismatch {
    pub(crate) expected: ServerName,
    /// The presented identifiers.
    pub(crate) presented: Vec<PresentedName>,
    /// True if a host or an address exists that one of them matches.
    pub(crate) has_usable_name: bool,
    pub(crate) near_misses: Vec<NearMiss>,
}

/// A presented identifier: one subject alternative name, with its bytes as they are in the certificate (RFC 9525).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PresentedName {
    Dns(Vec<u8>),
    Ip(Vec<u8>),
    Email(Vec<u8>),
    Uri(Vec<u8>),
}

/// The kind of a subject alternative name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    Dns,
    Ip,
    Email,
    Uri,
}

/// A name in a certificate that looks like the expected one, and the reason why it does not match. The text is the
/// name in the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NearMiss {
    /// The common name is the expected name.
    CommonName(String),
    /// The name has the wrong kind.
    OtherKind {
        name: String,
        kind: NameKind,
        needed: NameKind,
    },
    /// The name is not in the ASCII form.
    Unicode(String),
    /// The name holds a NUL character.
    Nul(String),
    /// The name has additions that no name in a certificate has.
    Additions(String, Vec<NameAddition>),
    /// One entry holds several names.
    SeveralNames(String),
    /// A wildcard without a domain.
    BareWildcard,
    /// A wildcard is not the whole first label.
    MisplacedWildcard(String, WildcardFault),
    /// The host is the domain after the wildcard.
    WildcardOfDomain(String),
    /// A label of the host or of the name has an underscore.
    WildcardWithUnderscore(String),
    /// The domain after the wildcard has only one label.
    WildcardOfTopLevel(String),
    /// The wildcard would have to replace `labels` labels of `host`, which are before `domain`.
    WildcardOfSeveralLabels {
        name: String,
        host: String,
        domain: String,
        labels: usize,
    },
    /// The name begins with a dot.
    LeadingDot(String),
    /// The name begins with the host.
    Longer { name: String, host: String },
    /// The host begins with the name.
    Shorter(String),
    /// The name is a domain above the host.
    ParentDomain(String),
    /// The name is a network with the expected address, as text.
    NetworkName(String),
    /// A wildcard would match the expected address.
    WildcardAddress(String),
    /// The name is the expected address in its other form: IPv4, or IPv4 as IPv6.
    OtherAddressForm { found: IpAddr, expected: IpAddr },
    /// An IP entry of `length` bytes is a network with the expected address.
    NetworkEntry {
        length: usize,
        network: IpAddr,
        prefix: u32,
    },
    /// An IP entry holds the expected address as text.
    AddressAsText(String),
}

/// Something in a name that does not belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameAddition {
    WhiteSpace,
    Scheme,
    Path,
    User,
    Port,
    Brackets,
    FinalDot,
}

/// The fault of a misplaced wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WildcardFault {
    PartOfLabel,
    AfterFirstLabel,
    Several,
}

/// OpenSSL's security level for a connection (`SSL_CTX_set_security_level`), and the setting that determines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecurityLevel {
    pub(crate) level: u32,
    pub(crate) set_by: SecurityLevelSource,
}

/// The setting that determines the security level. Earlier variants take precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecurityLevelSource {
    /// `@SECLEVEL=` in the option `cipher_list`.
    CipherList,
    /// The option `security_level`.
    Option,
    /// `@SECLEVEL=` in the `CipherString` of this configuration file of OpenSSL.
    ConfigurationFile(String),
    /// The default of this version of OpenSSL.
    Build { openssl_version: &'static str },
}
