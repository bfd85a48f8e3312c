//! Converts the bytes of a file to certificates, CRLs and keys, and those to plain data.
//!
//! Nothing here fails: undecodable parts are recorded. The amount of data is bounded. Only the time to open an
//! encrypted key depends on its file, which sets the number of hash iterations for the password.

use openssl::pkey::{PKey, Private};
use openssl::x509::extension::CrlNumber;
use openssl::x509::{X509, X509Crl, X509CrlRef, X509NameRef, X509VerifyResult};

use super::report::{ChainReport, CrlReport, KeyForm, KeyReport};
use crate::ffi::openssl as ffi;
use crate::ffi::openssl::instant;
use crate::tls::certificate::{key_digest, key_kind, object_name};
use crate::tls::config::crl_scope;
use crate::tls::config::files::{self, FileForm};
use crate::tls::config::key::{self, Password, UnlockFailure};
use crate::tls::config::pem::{self, PemBlock};

/// The decoded contents of a file.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) certificates: Vec<X509>,
    pub(super) crls: Vec<X509Crl>,
    pub(super) keys: Vec<FoundKey>,
    /// The labels of blocks that cannot be decoded.
    pub(super) damaged: Vec<String>,
    /// The number of blocks that begin but do not end.
    pub(super) unfinished: usize,
    /// True if there are more blocks or keys than the limits allow.
    pub(super) is_truncated: bool,
    /// The reason why a PKCS#12 file did not open.
    pub(super) locked: Option<UnlockFailure>,
}

/// A private key, opened or not.
pub(super) struct FoundKey {
    pub(super) key: Result<PKey<Private>, UnlockFailure>,
    form: KeyForm,
    encrypted: bool,
    /// The kind according to the label of a block.
    label: Option<&'static str>,
}

impl Contents {
    /// Returns true if there is nothing in it, not even something damaged or locked.
    pub(super) fn is_empty(&self) -> bool {
        self.certificates.is_empty()
            && self.crls.is_empty()
            && self.keys.is_empty()
            && self.damaged.is_empty()
            && self.locked.is_none()
    }

    pub(super) fn of(bytes: &[u8], mut password: Password<'_>) -> Self {
        match files::form(bytes) {
            FileForm::Pem => Self::of_pem(bytes, &mut password),
            FileForm::Der => Self::of_der(bytes, &mut password),
            FileForm::Pkcs12 => Self::of_pkcs12(bytes, &mut password),
            _ => Self::default(),
        }
    }

    fn of_pem(bytes: &[u8], password: &mut Password<'_>) -> Self {
        let mut contents = Self::default();
        let mut blocks = 0;
        for block in pem::pem_blocks(bytes) {
            blocks += 1;
            if blocks > MOST_BLOCKS {
                contents.is_truncated = true;
                return contents;
            }
            let decoded = if block.is_certificate() {
                block
                    .certificate()
                    .map(|decoded| contents.certificates.push(decoded))
            } else if block.is_crl() {
                X509Crl::from_pem(block.text).map(|decoded| contents.crls.push(decoded))
            } else {
                if block.is_key() && contents.keys.len() < MOST_KEYS {
                    contents.keys.push(FoundKey::in_block(&block, password));
                } else if block.is_key() {
                    contents.is_truncated = true;
                }
                Ok(())
            };
            if decoded.is_err() {
                contents.damaged.push(block.label.to_owned());
            }
        }
        contents.unfinished = pem::pem_beginnings(bytes).saturating_sub(blocks);
        contents
    }

    fn of_der(bytes: &[u8], password: &mut Password<'_>) -> Self {
        let mut contents = Self::default();
        if let Ok(certificate) = X509::from_der(bytes) {
            contents.certificates.push(certificate);
        } else if X509Crl::from_der(bytes).is_ok() {
            contents.crls_of_der(bytes);
        } else if let Some(key) = FoundKey::in_der(bytes, password) {
            contents.keys.push(key);
        }
        contents
    }

    /// Adds consecutive CRLs in DER form.
    fn crls_of_der(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.crls.len() < MOST_BLOCKS {
            let first = pem::first_der(bytes).unwrap_or(bytes);
            match X509Crl::from_der(first) {
                Ok(crl) => self.crls.push(crl),
                Err(_) => return self.damaged.push("X509 CRL".to_owned()),
            }
            bytes = bytes[first.len()..].trim_ascii_start();
        }
        self.is_truncated = !bytes.is_empty();
    }

    fn of_pkcs12(bytes: &[u8], password: &mut Password<'_>) -> Self {
        let mut contents = Self::default();
        match key::open_pkcs12(bytes, password) {
            Some(Ok(store)) => {
                contents.certificates = store.certificates;
                contents.keys.extend(store.key.map(|key| FoundKey {
                    key: Ok(key),
                    form: KeyForm::Pkcs12,
                    encrypted: store.encrypted,
                    label: None,
                }));
            }
            Some(Err(locked)) => contents.locked = Some(locked),
            None => {}
        }
        contents
    }
}

impl FoundKey {
    fn in_block(block: &PemBlock<'_>, password: &mut Password<'_>) -> Self {
        let (form, label) = match block.label {
            "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => (KeyForm::Pkcs8, None),
            "RSA PRIVATE KEY" => (KeyForm::Traditional, Some("RSA")),
            "EC PRIVATE KEY" => (KeyForm::Traditional, Some("EC")),
            "DSA PRIVATE KEY" => (KeyForm::Traditional, Some("DSA")),
            _ => (KeyForm::Traditional, None),
        };
        Self {
            key: key::open(block, password),
            form,
            encrypted: block.is_encrypted(),
            label,
        }
    }

    fn in_der(bytes: &[u8], password: &mut Password<'_>) -> Option<Self> {
        let (key, encrypted) = match PKey::private_key_from_der(bytes) {
            Ok(key) => (Ok(key), false),
            Err(_) => (key::open_encrypted_der(bytes, password)?, true),
        };
        let is_pkcs8 = encrypted || PKey::private_key_from_pkcs8(bytes).is_ok();
        Some(Self {
            key,
            form: if is_pkcs8 {
                KeyForm::Pkcs8
            } else {
                KeyForm::Traditional
            },
            encrypted,
            label: None,
        })
    }

    fn belongs_to(&self, certificate: &X509) -> bool {
        let (Ok(key), Ok(public)) = (&self.key, certificate.public_key()) else {
            return false;
        };
        public.public_eq(key)
    }

    pub(super) fn report(&self, certificates: &[X509]) -> KeyReport {
        let open = self.key.as_ref().ok();
        KeyReport {
            kind: open
                .map(|key| key_kind(key))
                .or(self.label.map(str::to_owned)),
            form: self.form,
            encrypted: self.encrypted,
            opened: open.is_some(),
            certificate: certificates
                .iter()
                .position(|certificate| self.belongs_to(certificate)),
            public_key_sha256: open.map(|key| key_digest(key)),
        }
    }
}

impl CrlReport {
    pub(super) fn of(crl: &X509CrlRef) -> Self {
        let number = crl.extension::<CrlNumber>().ok().flatten();
        let number = number.and_then(|(_, number)| number.to_bn().ok()?.to_dec_str().ok());
        Self {
            issuer: ffi::name_text(crl.issuer_name()),
            this_update: instant(crl.last_update()),
            next_update: crl.next_update().map(instant),
            entries: crl.get_revoked().map_or(0, |entries| entries.len()),
            number: number.map(|number| number.to_string()),
            signature_algorithm: object_name(ffi::crl_signature(crl)),
            scope: crl_scope::scope(crl).limits(),
        }
    }
}

impl ChainReport {
    /// The path upward from the certificate at `start`.
    pub(super) fn of(certificates: &[X509], start: usize) -> Self {
        let mut path = vec![start];
        let mut signatures_valid = true;
        let mut place = start;
        while let Some((issuer, signed)) = issuer_of(certificates, place, &path) {
            if path.len() == LONGEST_CHAIN {
                break;
            }
            path.push(issuer);
            signatures_valid &= signed;
            place = issuer;
        }
        Self {
            in_order: path.iter().copied().eq(0..certificates.len()),
            path,
            signatures_valid,
        }
    }
}

/// The position of the issuer of the certificate at `place`; the second value is true if it signed the certificate. If
/// several have the issuer's name (a CA that was renewed, or has a new key), the best match is returned.
fn issuer_of(certificates: &[X509], place: usize, path: &[usize]) -> Option<(usize, bool)> {
    let certificate = certificates.get(place)?;
    let same = |a: &X509NameRef, b: &X509NameRef| a.try_cmp(b).is_ok_and(|order| order.is_eq());
    if same(certificate.subject_name(), certificate.issuer_name()) {
        return None;
    }
    let candidates = certificates.iter().enumerate().filter(|(at, candidate)| {
        !path.contains(at) && same(candidate.subject_name(), certificate.issuer_name())
    });
    candidates
        .take(MOST_NAMESAKES)
        .map(|(at, candidate)| {
            let key = candidate.public_key();
            let signed = key.is_ok_and(|key| certificate.verify(&key).unwrap_or(false));
            let fits = candidate.issued(certificate) == X509VerifyResult::OK;
            (at, signed, fits)
        })
        .min_by_key(|(_, signed, fits)| (!signed, !fits))
        .map(|(at, signed, _)| (at, signed))
}

/// The maximum number of PEM blocks of a file that are decoded. The largest bundle of the public CAs has about 150.
const MOST_BLOCKS: usize = 2000;

/// The maximum number of private keys of a file that are opened: each may take a large part of a second.
const MOST_KEYS: usize = 8;

/// The longest chain that OpenSSL follows.
const LONGEST_CHAIN: usize = 100;

/// The maximum number of CAs of one name that are compared: each comparison verifies a signature.
const MOST_NAMESAKES: usize = 16;
