//! Certificate revocation lists (RFC 5280 §5).
//!
//! The `openssl` crate builds a CRL, but neither the reason of an entry nor the authority key identifier without a
//! certificate; both are written as DER here.

use super::{Ca, DAY, Digest, Validity, asn1_time};
use crate::der;
use openssl::bn::{BigNum, BigNumRef};
use openssl::pkey::Id;
use openssl::sign::Signer;
use openssl::x509::extension::CrlNumber;
use openssl::x509::{CrlReason, X509Crl, X509CrlBuilder, X509Ref, X509Revoked, X509RevokedBuilder};

/// One entry of a CRL.
#[derive(Debug)]
pub struct Revocation {
    serial: BigNum,
    reason: Option<CrlReason>,
    at: i64,
}

impl Revocation {
    /// Revokes `cert` as of an hour ago, without a reason.
    pub fn of(cert: &X509Ref) -> Self {
        Self::of_serial(&cert.serial_number().to_bn().unwrap())
    }

    /// Revokes a serial number.
    pub fn of_serial(serial: &BigNumRef) -> Self {
        Self {
            serial: serial.to_owned().unwrap(),
            reason: None,
            at: -3600,
        }
    }

    /// The reason (`reasonCode`).
    pub fn reason(mut self, reason: CrlReason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// The time of the revocation, in seconds from now.
    pub fn at(mut self, offset: i64) -> Self {
        self.at = offset;
        self
    }

    fn entry(&self) -> X509Revoked {
        let mut builder = X509RevokedBuilder::new().unwrap();
        builder
            .set_serial_number(&self.serial.to_asn1_integer().unwrap())
            .unwrap();
        builder.set_revocation_date(&asn1_time(self.at)).unwrap();
        let plain = builder.build();
        let Some(reason) = self.reason else {
            return plain;
        };

        // RFC 5280 §5.3.1: reasonCode ::= ENUMERATED, as an extension at the end of the entry.
        let code = u8::try_from(reason.as_raw()).expect("a reason code of one byte");
        let extension = der::sequence(&[
            der::object_identifier("2.5.29.21"),
            der::value(der::OCTET_STRING, &der::value(der::ENUMERATED, &[code])),
        ]);
        let plain = plain.to_der().unwrap();
        let entry = der::sequence(&[der::content(&plain), &der::sequence(&[extension])]);
        X509Revoked::from_der(&entry).unwrap()
    }
}

/// The options for a CRL; see [`Ca::crl`].
///
/// ```
/// use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, Revocation};
/// use openssl::x509::CrlReason;
///
/// let ca = Ca::root("root", KeyKind::EcP256);
/// let server = ca.issue(LeafSpec::local_server());
/// let crl = ca
///     .crl()
///     .revoke(Revocation::of(&server.cert).reason(CrlReason::KEY_COMPROMISE))
///     .build();
/// let pem = crl.to_pem().unwrap();
/// ```
#[derive(Debug)]
pub struct CrlSpec<'a> {
    issuer: &'a Ca,
    validity: Validity,
    without_next_update: bool,
    revoked: Vec<Revocation>,
    number: u32,
    digest: Digest,
    broken_signature: bool,
    only_ca_certificates: bool,
    more: Vec<(String, bool, Vec<u8>)>,
}

impl<'a> CrlSpec<'a> {
    pub(super) fn new(issuer: &'a Ca) -> Self {
        Self {
            issuer,
            validity: Validity::seconds(-3600, 7 * DAY),
            without_next_update: false,
            revoked: Vec::new(),
            number: 1,
            digest: Digest::default(),
            broken_signature: false,
            only_ca_certificates: false,
            more: Vec::new(),
        }
    }

    /// Adds an entry. A CRL lists them in the order of these calls, sorted or not, as CAs do.
    pub fn revoke(mut self, revocation: Revocation) -> Self {
        self.revoked.push(revocation);
        self
    }

    /// `thisUpdate` and `nextUpdate`. Default: an hour ago, and in a week.
    pub fn validity(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// Leaves `nextUpdate` out.
    pub fn without_next_update(mut self) -> Self {
        self.without_next_update = true;
        self
    }

    /// `cRLNumber`. Default: 1.
    pub fn number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Digest of the signature.
    pub fn digest(mut self, digest: Digest) -> Self {
        self.digest = digest;
        self
    }

    /// Breaks the signature.
    pub fn broken_signature(mut self) -> Self {
        self.broken_signature = true;
        self
    }

    /// Limits the CRL to CA certificates by issuingDistributionPoint, so that it does not cover end entities.
    pub fn only_ca_certificates(mut self) -> Self {
        self.only_ca_certificates = true;
        self
    }

    /// Adds any other extension, with `der` as its value.
    pub fn extension(mut self, dotted: &str, critical: bool, der: &[u8]) -> Self {
        self.more.push((dotted.into(), critical, der.to_vec()));
        self
    }

    /// Makes the CRL.
    pub fn build(self) -> X509Crl {
        let issuer = self.issuer.cert();
        let mut builder = X509CrlBuilder::new().unwrap();
        builder.set_issuer_name(issuer.subject_name()).unwrap();
        builder
            .set_last_update(&asn1_time(self.validity.from))
            .unwrap();
        builder
            .set_next_update(&asn1_time(self.validity.until))
            .unwrap();
        for revocation in &self.revoked {
            builder.add_revoked(revocation.entry()).unwrap();
        }

        let key_id = issuer.subject_key_id().expect("a subject key identifier");
        let authority_id = der::sequence(&[der::context(0, key_id.as_slice())]);
        builder
            .append_extension(der::extension("2.5.29.35", false, &authority_id))
            .unwrap();
        let number = CrlNumber::new(BigNum::from_u32(self.number).unwrap()).unwrap();
        builder.append_extension(number.build().unwrap()).unwrap();
        if self.only_ca_certificates {
            // RFC 5280 §5.2.5: onlyContainsCACerts [2] TRUE; the extension is critical.
            let scope = der::sequence(&[der::context(2, &[0xff])]);
            builder
                .append_extension(der::extension("2.5.29.28", true, &scope))
                .unwrap();
        }
        for (dotted, critical, value) in &self.more {
            builder
                .append_extension(der::extension(dotted, *critical, value))
                .unwrap();
        }

        let key = self.issuer.key();
        builder.sign(key, self.digest.for_key(key)).unwrap();
        let mut crl = builder.build().unwrap();
        if self.without_next_update {
            crl = self.drop_next_update(&crl);
        }
        if !self.broken_signature {
            return crl;
        }
        let mut der = crl.to_der().unwrap();
        *der.last_mut().unwrap() ^= 0x01;
        X509Crl::from_der(&der).unwrap()
    }

    /// Removes `nextUpdate` from a CRL and signs it again: the `openssl` crate cannot make one without it.
    fn drop_next_update(&self, crl: &X509Crl) -> X509Crl {
        let der = crl.to_der().unwrap();
        let parts = der::split(der::content(&der)).unwrap();
        let fields = der::split(parts[0].1).unwrap();
        // version, signature, issuer, thisUpdate, nextUpdate, ...
        let kept = fields.iter().enumerate().filter(|(at, _)| *at != 4);
        let kept: Vec<_> = kept
            .map(|(_, (tag, content))| der::value(*tag, content))
            .collect();
        let listing = der::sequence(&kept);
        let key = self.issuer.key();
        let mut signer = match key.id() {
            Id::ED25519 => Signer::new_without_digest(key),
            _ => Signer::new(self.digest.for_key(key), key),
        }
        .unwrap();
        let mut signature = vec![0];
        signature.extend(signer.sign_oneshot_to_vec(&listing).unwrap());
        let algorithm = der::value(parts[1].0, parts[1].1);
        let der = der::sequence(&[listing, algorithm, der::value(3, &signature)]);
        X509Crl::from_der(&der).unwrap()
    }
}
