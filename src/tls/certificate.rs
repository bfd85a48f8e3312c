//! Converts an OpenSSL certificate to a [`Certificate`]: plain data for reports, errors and the command line.

use openssl::asn1::{Asn1IntegerRef, Asn1OctetStringRef};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKeyRef};
use openssl::sha::sha256;
use openssl::x509::{X509ExtendedKeyUsage, X509KeyUsage, X509Ref};

use crate::data::certificate::{Certificate, address_of_entry};
use crate::ffi::openssl::{self as ffi, instant};
use crate::options::SpkiPin;

/// For tests: no type of the `openssl` crate is part of the API.
#[cfg(feature = "_internals")]
#[doc(hidden)]
impl From<&X509Ref> for Certificate {
    fn from(cert: &X509Ref) -> Self {
        Self::of(cert)
    }
}

impl Certificate {
    /// Describes a certificate of OpenSSL. Facts that it cannot decode are missing.
    pub(crate) fn of(cert: &X509Ref) -> Self {
        // Errors of OpenSSL while it decodes are visible as missing facts.
        let _mark = ffi::ErrorMark::set();
        let mut dns_names = Vec::new();
        let mut ip_addresses = Vec::new();
        for name in cert.subject_alt_names().into_iter().flatten() {
            if let Some(dns) = name.dnsname() {
                dns_names.push(dns.to_owned());
            } else if let Some(address) = name.ipaddress().and_then(address_of_entry) {
                ip_addresses.push(address);
            }
        }
        let common_name = cert.subject_name().entries_by_nid(Nid::COMMONNAME).last();
        let usage = cert.extended_key_usage();
        let public = cert.public_key();
        Self {
            subject: ffi::name_text(cert.subject_name()),
            issuer: ffi::name_text(cert.issuer_name()),
            serial: serial(cert.serial_number()),
            not_before: instant(cert.not_before()),
            not_after: instant(cert.not_after()),
            dns_names,
            ip_addresses,
            key: public
                .as_ref()
                .map_or_else(|_| "unreadable".to_owned(), |key| key_kind(key)),
            signature_algorithm: object_name(cert.signature_algorithm().object().nid()),
            sha256_fingerprint: cert
                .digest(MessageDigest::sha256())
                .map(|digest| hex(&digest))
                .unwrap_or_default(),
            subject_key_id: cert.subject_key_id().map(key_id),
            authority_key_id: cert.authority_key_id().map(key_id),
            authority_serial: cert.authority_serial().map(serial),
            self_issued: cert
                .subject_name()
                .try_cmp(cert.issuer_name())
                .is_ok_and(|order| order.is_eq()),
            is_ca: ffi::is_ca(cert),
            key_usage: cert.key_usage().map(key_usage),
            extended_key_usage: ffi::extended_key_usage(cert).or(usage.map(|_| Vec::new())),
            allows_client_auth: usage
                .is_none_or(|usage| usage.contains(X509ExtendedKeyUsage::SSL_CLIENT)),
            allows_server_auth: usage.is_none_or(|usage| {
                usage.intersects(X509ExtendedKeyUsage::SSL_SERVER | X509ExtendedKeyUsage::SGC)
            }),
            public_key_sha256: spki_pin(cert)
                .map(|pin| pin.to_string())
                .unwrap_or_default(),
            common_name: common_name.and_then(|entry| entry.data().to_string().ok()),
            user_name: ffi::user_name(cert.subject_name()),
        }
    }
}

fn key_usage(usage: X509KeyUsage) -> Vec<&'static str> {
    [
        (X509KeyUsage::DIGITAL_SIGNATURE, "digitalSignature"),
        (X509KeyUsage::NON_REPUDIATION, "nonRepudiation"),
        (X509KeyUsage::KEY_ENCIPHERMENT, "keyEncipherment"),
        (X509KeyUsage::DATA_ENCIPHERMENT, "dataEncipherment"),
        (X509KeyUsage::KEY_AGREEMENT, "keyAgreement"),
        (X509KeyUsage::KEY_CERT_SIGN, "keyCertSign"),
        (X509KeyUsage::CRL_SIGN, "cRLSign"),
        (X509KeyUsage::ENCIPHER_ONLY, "encipherOnly"),
        (X509KeyUsage::DECIPHER_ONLY, "decipherOnly"),
    ]
    .into_iter()
    .filter(|(bit, _)| usage.contains(*bit))
    .map(|(_, name)| name)
    .collect()
}

/// A serial number in hexadecimal, upper case.
fn serial(number: &Asn1IntegerRef) -> String {
    let number = number.to_bn().and_then(|number| number.to_hex_str());
    number.map(|text| text.to_string()).unwrap_or_default()
}

/// A key identifier as OpenSSL prints it: upper case, a colon between bytes.
fn key_id(id: &Asn1OctetStringRef) -> String {
    let bytes: Vec<_> = id.as_slice().iter().map(|b| format!("{b:02X}")).collect();
    bytes.join(":")
}

/// The pin of a certificate's public key, or `None` if OpenSSL cannot encode the key.
pub(crate) fn spki_pin(certificate: &X509Ref) -> Option<SpkiPin> {
    ffi::spki_der(certificate).map(|spki| SpkiPin::from_digest(sha256(&spki)))
}

/// The name of a `CRLReason` (RFC 5280 §5.3.1).
pub(crate) fn reason_name(code: i64) -> Option<&'static str> {
    Some(match code {
        0 => "unspecified",
        1 => "keyCompromise",
        2 => "cACompromise",
        3 => "affiliationChanged",
        4 => "superseded",
        5 => "cessationOfOperation",
        6 => "certificateHold",
        9 => "privilegeWithdrawn",
        10 => "aACompromise",
        _ => return None,
    })
}

/// The kind and size of a key, such as `RSA 2048`.
pub(crate) fn key_kind<T: HasPublic>(key: &PKeyRef<T>) -> String {
    match key.id() {
        Id::RSA => format!("RSA {}", key.bits()),
        Id::EC => {
            let curve = key.ec_key().ok().and_then(|key| key.group().curve_name());
            format!(
                "EC {}",
                curve.map_or_else(|| key.bits().to_string(), object_name)
            )
        }
        id => object_name(Nid::from_raw(id.as_raw())),
    }
}

/// The SHA-256 digest of the public key.
pub(crate) fn key_digest<T: HasPublic>(key: &PKeyRef<T>) -> String {
    let der = key.public_key_to_der();
    der.map(|der| hex(&sha256(&der))).unwrap_or_default()
}

pub(crate) fn object_name(nid: Nid) -> String {
    nid.long_name()
        .map_or_else(|_| format!("NID {}", nid.as_raw()), str::to_owned)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use openssl::asn1::Asn1Time;
    use openssl::x509::X509Name;

    use super::*;

    #[test]
    fn names_are_reversed_and_escaped_as_rfc_2253_asks() {
        let mut name = X509Name::builder().unwrap();
        for (key, value) in [
            ("C", "IS"),
            ("O", "Acme, Inc."),
            ("OU", "#1 "),
            ("CN", "a+b\n"),
        ] {
            name.append_entry_by_text(key, value).unwrap();
        }
        name.append_entry_by_text("L", "München").unwrap();
        assert_eq!(
            ffi::name_text(&name.build()),
            r"L=München,CN=a\+b\0A,OU=\#1\ ,O=Acme\, Inc.,C=IS"
        );
    }

    #[test]
    fn the_name_of_a_user_has_all_its_bytes_from_0x80_on_escaped() {
        for (value, expected) in [
            ("Jürgen", r"CN=J\C3\BCrgen,O=a\, b"),
            ("Ω", r"CN=\CE\A9,O=a\, b"),
            ("😀", r"CN=\F0\9F\98\80,O=a\, b"),
            ("plain", r"CN=plain,O=a\, b"),
            ("a\\b", r"CN=a\\b,O=a\, b"),
        ] {
            let mut name = X509Name::builder().unwrap();
            name.append_entry_by_text("O", "a, b").unwrap();
            name.append_entry_by_text("CN", value).unwrap();
            assert_eq!(ffi::user_name(&name.build()), expected);
        }
    }

    #[test]
    fn asn1_times_become_instants_on_both_sides_of_1970() {
        for seconds in [0_i64, 1_786_554_003, 4_102_444_800] {
            let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
            assert_eq!(instant(&Asn1Time::from_unix(seconds).unwrap()), expected);
        }
        let before = Asn1Time::from_str("19600101000000Z").unwrap();
        assert_eq!(
            instant(&before),
            SystemTime::UNIX_EPOCH - Duration::from_secs(315_619_200)
        );
    }
}
