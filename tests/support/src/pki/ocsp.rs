//! OCSP responses (RFC 6960 §4.2), byte by byte.
//!
//! No builder of OpenSSL is used: it would reject most of the responses that tests need. All parts without a requested
//! fault are valid, so a response has exactly the requested faults.

use super::{Ca, DAY, Digest, Identity, generalized_time};
use crate::der;
use openssl::bn::BigNumRef;
use openssl::hash::hash;
use openssl::ocsp::OcspResponseStatus;
use openssl::pkey::{Id, PKey, Private};
use openssl::sign::Signer;
use openssl::x509::{CrlReason, X509, X509Ref};

/// The part of a response about one certificate.
///
/// ```
/// use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, SingleResponse};
///
/// let ca = Ca::root("root", KeyKind::EcP256);
/// let server = ca.issue(LeafSpec::local_server());
/// let other = ca.issue(LeafSpec::local_server());
/// let about_other = SingleResponse::new(ca.cert(), &other.cert).unknown();
/// let both = ca.ocsp(&server.cert).single(about_other).build();
/// ```
#[derive(Clone, Debug)]
pub struct SingleResponse {
    issuer_name: Vec<u8>,
    issuer_key: Vec<u8>,
    serial: Vec<u8>,
    digest: Digest,
    wrong_name_hash: bool,
    wrong_key_hash: bool,
    status: Vec<u8>,
    this_update: String,
    next_update: Option<String>,
    extensions: Vec<Vec<u8>>,
}

impl SingleResponse {
    /// The status good, updated an hour ago and again in a day; the CertID uses SHA-1, as is most common.
    pub fn new(issuer: &X509Ref, cert: &X509Ref) -> Self {
        Self {
            issuer_name: issuer.subject_name().to_der().unwrap(),
            issuer_key: subject_public_key(issuer),
            serial: integer(&cert.serial_number().to_bn().unwrap()),
            digest: Digest::Sha1,
            wrong_name_hash: false,
            wrong_key_hash: false,
            status: der::context(0, &[]),
            this_update: generalized_time(-3600),
            next_update: Some(generalized_time(DAY)),
            extensions: Vec::new(),
        }
    }

    /// Sets the status revoked, at this time in seconds from now (negative is the past), with or without a reason.
    pub fn revoked(mut self, at: i64, reason: Option<CrlReason>) -> Self {
        let time = der::value(der::GENERALIZED_TIME, generalized_time(at).as_bytes());
        let reason = reason.map(|reason| {
            let code = u8::try_from(reason.as_raw()).expect("a reason code of one byte");
            der::context_constructed(0, &der::value(der::ENUMERATED, &[code]))
        });
        let info = [time, reason.unwrap_or_default()].concat();
        self.status = der::context_constructed(1, &info);
        self
    }

    /// Sets the status unknown: the responder does not know the certificate.
    pub fn unknown(mut self) -> Self {
        self.status = der::context(2, &[]);
        self
    }

    /// The digest of the CertID. Default: SHA-1.
    pub fn cert_id_digest(mut self, digest: Digest) -> Self {
        self.digest = digest;
        self
    }

    /// Uses this serial number instead.
    pub fn serial(mut self, serial: &BigNumRef) -> Self {
        self.serial = integer(serial);
        self
    }

    /// Flips a bit in the CertID's serialNumber.
    pub fn wrong_serial(mut self) -> Self {
        *self.serial.last_mut().unwrap() ^= 0x01;
        self
    }

    /// Flips a bit in the CertID's issuerNameHash.
    pub fn wrong_issuer_name_hash(mut self) -> Self {
        self.wrong_name_hash = true;
        self
    }

    /// Flips a bit in the CertID's issuerKeyHash.
    pub fn wrong_issuer_key_hash(mut self) -> Self {
        self.wrong_key_hash = true;
        self
    }

    /// `thisUpdate`, in seconds from now. Default: an hour ago.
    pub fn this_update(self, offset: i64) -> Self {
        self.this_update_text(&generalized_time(offset))
    }

    /// `thisUpdate` as any text in place of a GeneralizedTime.
    pub fn this_update_text(mut self, text: &str) -> Self {
        self.this_update = text.into();
        self
    }

    /// `nextUpdate` in seconds from now, or `None` to omit it. Default: in a day.
    pub fn next_update(mut self, offset: Option<i64>) -> Self {
        self.next_update = offset.map(generalized_time);
        self
    }

    /// `nextUpdate` as any text in place of a GeneralizedTime.
    pub fn next_update_text(mut self, text: &str) -> Self {
        self.next_update = Some(text.into());
        self
    }

    /// Adds an unknown extension to singleExtensions.
    pub fn unknown_extension(mut self, critical: bool) -> Self {
        self.extensions.push(unknown_extension(critical));
        self
    }

    /// issuerNameHash and issuerKeyHash.
    pub(crate) fn hashes(&self) -> (Vec<u8>, Vec<u8>) {
        let digest = self.digest.message_digest();
        let mut name_hash = hash(digest, &self.issuer_name).unwrap().to_vec();
        let mut key_hash = hash(digest, &self.issuer_key).unwrap().to_vec();
        name_hash[0] ^= u8::from(self.wrong_name_hash);
        key_hash[0] ^= u8::from(self.wrong_key_hash);
        (name_hash, key_hash)
    }

    fn to_der(&self) -> Vec<u8> {
        let (name_hash, key_hash) = self.hashes();
        let cert_id = der::sequence(&[
            algorithm_identifier(&self.digest.object_identifier(), true),
            der::value(der::OCTET_STRING, &name_hash),
            der::value(der::OCTET_STRING, &key_hash),
            der::value(der::INTEGER, &self.serial),
        ]);
        let time = |text: &String| der::value(der::GENERALIZED_TIME, text.as_bytes());
        let next_update = self.next_update.as_ref();
        der::sequence(&[
            cert_id,
            self.status.clone(),
            time(&self.this_update),
            next_update.map_or_else(Vec::new, |text| der::context_constructed(0, &time(text))),
            extensions(&self.extensions),
        ])
    }
}

/// The signer according to the response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponderId {
    /// The signer's name.
    #[default]
    ByName,
    /// The SHA-1 of the signer's key.
    ByKey,
    /// The name of no certificate.
    WrongName,
    /// The SHA-1 of no key.
    WrongKey,
}

/// The options for an OCSP response; see [`Ca::ocsp`].
///
/// Methods about one certificate (status, CertID, times) apply to the one given to [`Ca::ocsp`];
/// [`single`](Self::single) adds others.
///
/// ```
/// use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
/// use openssl::x509::CrlReason;
///
/// let ca = Ca::root("root", KeyKind::EcP256);
/// let server = ca.issue(LeafSpec::local_server());
/// let good: Vec<u8> = ca.ocsp(&server.cert).build();
/// let revoked = ca
///     .ocsp(&server.cert)
///     .revoked(-3600, Some(CrlReason::KEY_COMPROMISE))
///     .build();
/// let delegate = ca.issue(LeafSpec::ocsp_responder("responder"));
/// let outdated = ca
///     .ocsp(&server.cert)
///     .signed_by(&delegate)
///     .next_update(Some(-60))
///     .build();
/// ```
#[derive(Clone, Debug)]
pub struct OcspSpec {
    status: OcspResponseStatus,
    response_bytes: Option<bool>,
    response_type: String,
    version: Option<u8>,
    responder_id: ResponderId,
    signer: X509,
    key: PKey<Private>,
    certificates: Vec<X509>,
    produced_at: String,
    singles: Vec<SingleResponse>,
    extensions: Vec<Vec<u8>>,
    digest: Digest,
    broken_signature: bool,
    signed_bytes: Option<Vec<u8>>,
    length: Option<usize>,
    trailing: Vec<u8>,
}

impl OcspSpec {
    pub(super) fn new(issuer: &Ca, cert: &X509Ref) -> Self {
        Self {
            status: OcspResponseStatus::SUCCESSFUL,
            response_bytes: None,
            response_type: "1.3.6.1.5.5.7.48.1.1".into(),
            version: None,
            responder_id: ResponderId::ByName,
            signer: issuer.cert().clone(),
            key: issuer.key().clone(),
            certificates: Vec::new(),
            produced_at: generalized_time(0),
            singles: vec![SingleResponse::new(issuer.cert(), cert)],
            extensions: Vec::new(),
            digest: Digest::default(),
            broken_signature: false,
            signed_bytes: None,
            length: None,
            trailing: Vec::new(),
        }
    }

    /// A response with only a status, such as `tryLater` or `unauthorized`; it has no signature.
    pub fn failure(status: OcspResponseStatus) -> Vec<u8> {
        der::sequence(&[response_status(status)])
    }

    /// See [`SingleResponse::revoked`].
    pub fn revoked(self, at: i64, reason: Option<CrlReason>) -> Self {
        self.first(|single| single.revoked(at, reason))
    }

    /// See [`SingleResponse::unknown`].
    pub fn unknown(self) -> Self {
        self.first(SingleResponse::unknown)
    }

    /// See [`SingleResponse::cert_id_digest`].
    pub fn cert_id_digest(self, digest: Digest) -> Self {
        self.first(|single| single.cert_id_digest(digest))
    }

    /// See [`SingleResponse::wrong_serial`].
    pub fn wrong_serial(self) -> Self {
        self.first(SingleResponse::wrong_serial)
    }

    /// See [`SingleResponse::wrong_issuer_name_hash`].
    pub fn wrong_issuer_name_hash(self) -> Self {
        self.first(SingleResponse::wrong_issuer_name_hash)
    }

    /// See [`SingleResponse::wrong_issuer_key_hash`].
    pub fn wrong_issuer_key_hash(self) -> Self {
        self.first(SingleResponse::wrong_issuer_key_hash)
    }

    /// See [`SingleResponse::this_update`].
    pub fn this_update(self, offset: i64) -> Self {
        self.first(|single| single.this_update(offset))
    }

    /// See [`SingleResponse::next_update`].
    pub fn next_update(self, offset: Option<i64>) -> Self {
        self.first(|single| single.next_update(offset))
    }

    /// Changes the part about the certificate given to [`Ca::ocsp`] with any of its methods.
    ///
    /// # Panics
    ///
    /// If [`no_singles`](Self::no_singles) has removed it.
    pub fn first(mut self, change: impl FnOnce(SingleResponse) -> SingleResponse) -> Self {
        let first = self.singles.first_mut().expect("a SingleResponse");
        *first = change(first.clone());
        self
    }

    /// Removes every SingleResponse; only those that are added later remain.
    pub fn no_singles(mut self) -> Self {
        self.singles.clear();
        self
    }

    /// Appends a SingleResponse.
    pub fn single(mut self, single: SingleResponse) -> Self {
        self.singles.push(single);
        self
    }

    /// `producedAt`, in seconds from now. Default: now.
    pub fn produced_at(mut self, offset: i64) -> Self {
        self.produced_at = generalized_time(offset);
        self
    }

    /// The signer that it names. Default: the signer's name.
    pub fn responder_id(mut self, id: ResponderId) -> Self {
        self.responder_id = id;
        self
    }

    /// Signed by a delegate, whose certificate is included.
    pub fn signed_by(mut self, delegate: &Identity) -> Self {
        self.signer = delegate.cert.clone();
        self.key = delegate.key.clone();
        self.certificates = vec![delegate.cert.clone()];
        self
    }

    /// Signed by this authority instead; no certificate is included.
    pub fn signed_by_ca(mut self, ca: &Ca) -> Self {
        self.signer = ca.cert().clone();
        self.key = ca.key().clone();
        self.certificates.clear();
        self
    }

    /// Signs with this key; the responder ID stays unchanged.
    pub fn signing_key(mut self, key: &PKey<Private>) -> Self {
        self.key = key.clone();
        self
    }

    /// Includes no certificate; call it after [`signed_by`](Self::signed_by).
    pub fn no_certificates(mut self) -> Self {
        self.certificates.clear();
        self
    }

    /// Includes one more certificate.
    pub fn certificate(mut self, cert: &X509Ref) -> Self {
        self.certificates.push(cert.to_owned());
        self
    }

    /// Digest of the signature. Default: SHA-256. An Ed25519 key signs without one.
    pub fn digest(mut self, digest: Digest) -> Self {
        self.digest = digest;
        self
    }

    /// Flips a bit of the signature.
    pub fn broken_signature(mut self) -> Self {
        self.broken_signature = true;
        self
    }

    /// Signs these bytes instead of its own.
    pub fn signature_over(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.signed_bytes = Some(bytes.into());
        self
    }

    /// `responseStatus`. Unless it is `successful`, there are no responseBytes.
    pub fn status(mut self, status: OcspResponseStatus) -> Self {
        self.status = status;
        self
    }

    /// Sets if responseBytes are present, for any status.
    pub fn response_bytes(mut self, present: bool) -> Self {
        self.response_bytes = Some(present);
        self
    }

    /// `responseType`, in dotted form. Default: `id-pkix-ocsp-basic`.
    pub fn response_type(mut self, dotted: &str) -> Self {
        self.response_type = dotted.into();
        self
    }

    /// `version`. Default: left out, which means v1; v1 written out is 0.
    pub fn version(mut self, version: u8) -> Self {
        self.version = Some(version);
        self
    }

    /// Adds a nonce (RFC 8954).
    pub fn nonce(mut self, nonce: &[u8]) -> Self {
        let value = der::value(der::OCTET_STRING, nonce);
        self.extensions
            .push(extension("1.3.6.1.5.5.7.48.1.2", false, &value));
        self
    }

    /// Adds an unknown extension to responseExtensions; [`first`](Self::first) reaches singleExtensions.
    pub fn unknown_extension(mut self, critical: bool) -> Self {
        self.extensions.push(unknown_extension(critical));
        self
    }

    /// Appends bytes after the end.
    pub fn trailing(mut self, bytes: &[u8]) -> Self {
        self.trailing.extend_from_slice(bytes);
        self
    }

    /// Keeps only the first `length` bytes.
    pub fn truncated(mut self, length: usize) -> Self {
        self.length = Some(length);
        self
    }

    /// Makes the response, as DER.
    pub fn build(&self) -> Vec<u8> {
        let successful = self.status == OcspResponseStatus::SUCCESSFUL;
        let mut parts = vec![response_status(self.status)];
        if self.response_bytes.unwrap_or(successful) {
            let bytes = der::sequence(&[
                der::object_identifier(&self.response_type),
                der::value(der::OCTET_STRING, &self.basic()),
            ]);
            parts.push(der::context_constructed(0, &bytes));
        }
        let mut response = der::sequence(&parts);
        response.truncate(self.length.unwrap_or(usize::MAX));
        response.extend_from_slice(&self.trailing);
        response
    }

    /// BasicOCSPResponse (RFC 6960 §4.2.1).
    fn basic(&self) -> Vec<u8> {
        let data = self.response_data();
        let mut signature = self.sign(self.signed_bytes.as_deref().unwrap_or(&data));
        if self.broken_signature {
            *signature.last_mut().unwrap() ^= 0x01;
        }
        let mut parts = vec![
            data,
            signature_algorithm(&self.key, self.digest),
            der::value(der::BIT_STRING, &[&[0], &signature[..]].concat()),
        ];
        if !self.certificates.is_empty() {
            let certificates: Vec<_> = self
                .certificates
                .iter()
                .map(|cert| cert.to_der().unwrap())
                .collect();
            parts.push(der::context_constructed(0, &der::sequence(&certificates)));
        }
        der::sequence(&parts)
    }

    fn response_data(&self) -> Vec<u8> {
        let version = self.version.map_or_else(Vec::new, |version| {
            der::context_constructed(0, &der::value(der::INTEGER, &[version]))
        });
        let by_key =
            |hash: &[u8]| der::context_constructed(2, &der::value(der::OCTET_STRING, hash));
        let responder_id = match self.responder_id {
            ResponderId::ByName => {
                der::context_constructed(1, &self.signer.subject_name().to_der().unwrap())
            }
            ResponderId::WrongName => {
                let nobody = super::name(&[("CN".into(), "nobody".into())]);
                der::context_constructed(1, &nobody.to_der().unwrap())
            }
            ResponderId::ByKey => {
                let key = subject_public_key(&self.signer);
                by_key(&hash(Digest::Sha1.message_digest(), &key).unwrap())
            }
            ResponderId::WrongKey => by_key(&[0; 20]),
        };
        let singles: Vec<_> = self.singles.iter().map(SingleResponse::to_der).collect();
        der::sequence(&[
            version,
            responder_id,
            der::value(der::GENERALIZED_TIME, self.produced_at.as_bytes()),
            der::sequence(&singles),
            extensions(&self.extensions),
        ])
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let mut signer = if self.key.id() == Id::ED25519 {
            Signer::new_without_digest(&self.key)
        } else {
            Signer::new(self.digest.message_digest(), &self.key)
        }
        .unwrap();
        signer.sign_oneshot_to_vec(bytes).unwrap()
    }
}

fn response_status(status: OcspResponseStatus) -> Vec<u8> {
    let code = u8::try_from(status.as_raw()).expect("a status of one byte");
    der::value(der::ENUMERATED, &[code])
}

/// The content of subjectPublicKey: the input of issuerKeyHash and byKey (RFC 6960 §4.1.1).
fn subject_public_key(cert: &X509Ref) -> Vec<u8> {
    let info = cert.public_key().unwrap().public_key_to_der().unwrap();
    let parts = der::split(der::content(&info)).expect("SubjectPublicKeyInfo");
    parts[1].1[1..].to_vec() // without the number of unused bits
}

/// The content of an INTEGER that is not negative.
fn integer(number: &BigNumRef) -> Vec<u8> {
    let bytes = number.to_vec();
    match bytes.first() {
        Some(..0x80) => bytes,
        _ => [&[0], &bytes[..]].concat(),
    }
}

fn signature_algorithm(key: &PKey<Private>, digest: Digest) -> Vec<u8> {
    let dotted = match (key.id(), digest) {
        (Id::ED25519, _) => "1.3.101.112",
        (Id::RSA, Digest::Md5) => "1.2.840.113549.1.1.4",
        (Id::RSA, Digest::Sha1) => "1.2.840.113549.1.1.5",
        (Id::RSA, Digest::Sha256) => "1.2.840.113549.1.1.11",
        (Id::RSA, Digest::Sha384) => "1.2.840.113549.1.1.12",
        (Id::RSA, Digest::Sha512) => "1.2.840.113549.1.1.13",
        (Id::EC, Digest::Sha1) => "1.2.840.10045.4.1",
        (Id::EC, Digest::Sha256) => "1.2.840.10045.4.3.2",
        (Id::EC, Digest::Sha384) => "1.2.840.10045.4.3.3",
        (Id::EC, Digest::Sha512) => "1.2.840.10045.4.3.4",
        (kind, digest) => panic!("no signature of {kind:?} with {digest:?}"),
    };
    // RFC 3279 §2.2.1 and §2.2.3: RSA has NULL as parameters, ECDSA has none.
    algorithm_identifier(&der::object_identifier(dotted), key.id() == Id::RSA)
}

fn algorithm_identifier(object_identifier: &[u8], null: bool) -> Vec<u8> {
    let parameters: &[u8] = if null { &[der::NULL, 0] } else { &[] };
    der::sequence(&[object_identifier, parameters])
}

/// `[1] EXPLICIT Extensions`; empty if there are none.
fn extensions(list: &[Vec<u8>]) -> Vec<u8> {
    if list.is_empty() {
        return Vec::new();
    }
    der::context_constructed(1, &der::sequence(list))
}

fn extension(dotted: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical {
        der::value(der::BOOLEAN, &[0xff])
    } else {
        Vec::new() // DEFAULT FALSE
    };
    der::sequence(&[
        der::object_identifier(dotted),
        critical,
        der::value(der::OCTET_STRING, value),
    ])
}

/// An extension from the arc that is reserved for examples (RFC 5612).
fn unknown_extension(critical: bool) -> Vec<u8> {
    extension("1.3.6.1.4.1.32473.1", critical, &[der::NULL, 0])
}
