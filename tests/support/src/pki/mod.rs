//! Certificates, keys, CRLs and OCSP responses made at run time.
//!
//! A test creates exactly the certificate that it needs: expired yesterday, signed with MD5, an intermediate that may
//! not sign, no subject alternative name. Nothing here is read from the repository, so nothing in it can expire. The
//! defaults are valid (P-256, SHA-256, valid since yesterday, subject and authority key identifiers, a random positive
//! serial of 127 bits), so a test names only its defects.
//!
//! [`CaSpec`] makes a [`Ca`], [`LeafSpec`] an [`Identity`], [`Ca::crl`] a CRL, [`Ca::ocsp`] an OCSP response;
//! [`PkiDir`] writes them to files. Profile: RFC 5280 §4 and §5, RFC 6960. Everything panics on failure, because this
//! is a bench.

mod authority;
mod crl;
mod dir;
mod identity;
mod leaf;
mod ocsp;

use crate::der;
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{AuthorityKeyIdentifier, SubjectKeyIdentifier};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509NameRef};
use std::time::{SystemTime, UNIX_EPOCH};

pub use authority::{BasicConstraints, Ca, CaSpec};
pub use crl::{CrlSpec, Revocation};
pub use dir::PkiDir;
pub use identity::Identity;
pub use leaf::{LeafSpec, Purpose, Usage};
pub use ocsp::{OcspSpec, ResponderId, SingleResponse};

/// Seconds in a day, for offsets.
pub const DAY: i64 = 86_400;

/// The setters of the fields that `CaSpec` and `LeafSpec` have in common.
macro_rules! certificate_setters {
    () => {
        /// Adds an attribute (`O`, `OU`, `C`, …) to the subject, before the existing ones.
        pub fn subject_entry(mut self, attribute: &str, value: &str) -> Self {
            self.subject.insert(0, (attribute.into(), value.into()));
            self
        }

        /// Kind of the new key.
        pub fn key_kind(mut self, kind: KeyKind) -> Self {
            self.key_kind = kind;
            self
        }

        /// Uses this key instead of a new one.
        pub fn key(mut self, key: &PKey<Private>) -> Self {
            self.key = Some(key.clone());
            self
        }

        /// The validity period of the certificate.
        pub fn validity(mut self, validity: Validity) -> Self {
            self.validity = validity;
            self
        }

        /// Digest with which the issuer signs this certificate.
        pub fn digest(mut self, digest: Digest) -> Self {
            self.digest = digest;
            self
        }

        /// Sets the key identifiers that the certificate holds.
        pub fn key_ids(mut self, key_ids: KeyIds) -> Self {
            self.key_ids = key_ids;
            self
        }

        /// Adds any other extension, with `der` as its value.
        pub fn extension(mut self, dotted: &str, critical: bool, der: &[u8]) -> Self {
            self.more.push((dotted.into(), critical, der.to_vec()));
            self
        }
    };
}
use certificate_setters;

/// Kind and size of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with that many bits; 1024 is below security level 1.
    Rsa(u32),
    /// NIST P-256.
    EcP256,
    /// NIST P-384.
    EcP384,
    /// Ed25519.
    Ed25519,
}

impl KeyKind {
    /// Makes a new key.
    pub fn generate(self) -> PKey<Private> {
        let on_curve = |curve| {
            let group = EcGroup::from_curve_name(curve).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        };
        match self {
            Self::Rsa(bits) => PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(),
            Self::EcP256 => on_curve(Nid::X9_62_PRIME256V1),
            Self::EcP384 => on_curve(Nid::SECP384R1),
            Self::Ed25519 => PKey::generate_ed25519().unwrap(),
        }
    }
}

/// The digest of a signature. Ed25519 keys sign without one, regardless of this value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Digest {
    /// MD5, rejected from security level 1 up. The issuer must have an RSA key.
    Md5,
    /// SHA-1, rejected from security level 1 up.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Digest {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
    ];

    /// Its OBJECT IDENTIFIER, as DER.
    pub(crate) fn object_identifier(self) -> Vec<u8> {
        der::object_identifier(match self {
            Self::Md5 => "1.2.840.113549.2.5",
            Self::Sha1 => "1.3.14.3.2.26",
            Self::Sha256 => "2.16.840.1.101.3.4.2.1",
            Self::Sha384 => "2.16.840.1.101.3.4.2.2",
            Self::Sha512 => "2.16.840.1.101.3.4.2.3",
        })
    }

    fn for_key(self, key: &PKey<Private>) -> MessageDigest {
        if key.id() == Id::ED25519 {
            return MessageDigest::null();
        }
        self.message_digest()
    }

    fn message_digest(self) -> MessageDigest {
        match self {
            Self::Md5 => MessageDigest::md5(),
            Self::Sha1 => MessageDigest::sha1(),
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }
}

/// A validity period in seconds from now; negative is the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// `notBefore`, or `thisUpdate` of a CRL.
    pub from: i64,
    /// `notAfter`, or `nextUpdate` of a CRL.
    pub until: i64,
}

impl Validity {
    /// Offsets in days from now.
    pub const fn days(from: i64, until: i64) -> Self {
        Self {
            from: from * DAY,
            until: until * DAY,
        }
    }

    /// Offsets in seconds from now.
    pub const fn seconds(from: i64, until: i64) -> Self {
        Self { from, until }
    }

    /// A period that ended an hour ago.
    pub const fn expired() -> Self {
        Self::seconds(-10 * DAY, -3600)
    }

    /// A period that begins in an hour.
    pub const fn not_yet() -> Self {
        Self::seconds(3600, 10 * DAY)
    }
}

/// A random positive serial number of 127 bits (RFC 5280 §4.1.2.2: at most 20 octets, positive).
pub fn random_serial() -> BigNum {
    let mut serial = BigNum::new().unwrap();
    serial.rand(127, MsbOption::ONE, false).unwrap();
    serial
}

/// The point in time `offset` seconds from now.
pub(crate) fn asn1_time(offset: i64) -> Asn1Time {
    Asn1Time::from_unix(unix_time(offset)).unwrap()
}

/// The point in time `offset` seconds from now as the text of a GeneralizedTime: `20260812170003Z`.
pub(crate) fn generalized_time(offset: i64) -> String {
    let time = bson::DateTime::from_millis(unix_time(offset) * 1000);
    let text = time.try_to_rfc3339_string().expect("a year of four digits");
    text.replace(['-', ':', 'T'], "")
}

fn unix_time(offset: i64) -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_secs();
    i64::try_from(now).unwrap() + offset
}

/// The extension authorityInfoAccess (RFC 5280 §4.2.2.1) of accessMethods and accessLocations (DER).
fn information_access(descriptions: &[(&str, Vec<u8>)]) -> X509Extension {
    let descriptions: Vec<Vec<u8>> = descriptions
        .iter()
        .map(|(method, location)| {
            der::sequence(&[der::object_identifier(method), location.clone()])
        })
        .collect();
    der::extension("1.3.6.1.5.5.7.1.1", false, &der::sequence(&descriptions))
}

/// accessMethod `id-ad-ocsp`.
const AD_OCSP: &str = "1.3.6.1.5.5.7.48.1";

/// accessMethod `id-ad-caIssuers`.
const AD_CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";

/// A distinguished name from `(attribute, value)` pairs, in the order they are encoded.
fn name(entries: &[(String, String)]) -> X509Name {
    let mut builder = X509Name::builder().unwrap();
    for (attribute, value) in entries {
        builder.append_entry_by_text(attribute, value).unwrap();
    }
    builder.build()
}

/// The common parts of the two kinds of certificate.
struct Draft<'a> {
    subject: &'a X509NameRef,
    key: &'a PKey<Private>,
    validity: Validity,
    serial: BigNum,
    digest: Digest,
    extensions: Vec<X509Extension>,
    key_ids: KeyIds,
}

/// The key identifiers that a certificate holds (RFC 5280 §4.2.1.1, §4.2.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyIds {
    /// The identifiers of its own key and of its issuer's key.
    #[default]
    Both,
    /// Both identifiers, and the issuer's name and the serial number of the issuer's certificate.
    WithSerial,
    /// No identifiers, like those of `openssl req -x509` and `openssl x509 -req` without a section of extensions.
    None,
}

impl Draft<'_> {
    /// Signs the certificate with the key of `issuer`, or with its own if there is none.
    fn sign(self, issuer: Option<&Ca>) -> X509 {
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        builder
            .set_serial_number(&self.serial.to_asn1_integer().unwrap())
            .unwrap();
        builder.set_subject_name(self.subject).unwrap();
        builder
            .set_issuer_name(issuer.map_or(self.subject, |ca| ca.cert().subject_name()))
            .unwrap();
        builder
            .set_not_before(&asn1_time(self.validity.from))
            .unwrap();
        builder
            .set_not_after(&asn1_time(self.validity.until))
            .unwrap();
        builder.set_pubkey(self.key).unwrap();
        for extension in &self.extensions {
            builder.append_extension2(extension).unwrap();
        }

        if self.key_ids != KeyIds::None {
            let context = builder.x509v3_context(issuer.map(|ca| ca.cert().as_ref()), None);
            let subject_id = SubjectKeyIdentifier::new().build(&context).unwrap();
            builder.append_extension(subject_id).unwrap();
            if let Some(ca) = issuer {
                let context = builder.x509v3_context(Some(ca.cert()), None);
                let mut authority_id = AuthorityKeyIdentifier::new();
                authority_id.keyid(true);
                if self.key_ids == KeyIds::WithSerial {
                    authority_id.issuer(true);
                }
                let authority_id = authority_id.build(&context).unwrap();
                builder.append_extension(authority_id).unwrap();
            }
        }

        let signer = issuer.map_or(self.key, Ca::key);
        builder.sign(signer, self.digest.for_key(signer)).unwrap();
        builder.build()
    }
}
