//! The scope of a CRL, by its issuing distribution point (RFC 5280 §5.2.5): which certificates, for which reasons.

use openssl::nid::Nid;
use openssl::x509::{X509CrlRef, X509Ref};

use crate::ffi::openssl as ffi;
use crate::reason::revocation::{CrlMismatch, CrlScope};
use crate::tls::config::pem;

/// Returns the scope of a CRL, without the parts that cannot be decoded: OpenSSL decides if the CRL is used.
pub(crate) fn scope(crl: &X509CrlRef) -> CrlScope {
    let value = ffi::crl_extension(crl, Nid::ISSUING_DISTRIBUTION_POINT);
    value.map_or_else(CrlScope::default, |value| decode(&value))
}

/// Returns why a CRL of this scope cannot be used to check a certificate, or `None` if it can.
pub(crate) fn mismatch(scope: &CrlScope, certificate: &X509Ref) -> Option<CrlMismatch> {
    let is_ca = ffi::is_ca(certificate);
    let own = points_of(certificate);
    let points = &scope.points;
    Some(if scope.is_indirect {
        CrlMismatch::Indirect
    } else if let Some(reasons) = &scope.reasons {
        CrlMismatch::SomeReasons(reasons.clone())
    } else if scope.attributes_only {
        CrlMismatch::AttributeCertificates
    } else if scope.end_entities_only && is_ca {
        CrlMismatch::EndEntities
    } else if scope.cas_only && !is_ca {
        CrlMismatch::CaCertificates
    } else if !points.is_empty() && !points.iter().any(|point| own.contains(point)) {
        CrlMismatch::DistributionPoint {
            of_crl: points.clone(),
            of_certificate: own,
        }
    } else {
        return None;
    })
}

/// Decodes the value of the extension.
fn decode(value: &[u8]) -> CrlScope {
    let mut scope = CrlScope::default();
    let Some((0x30, mut fields, _)) = pem::der_value(value) else {
        return scope;
    };
    while let Some((tag, contents, rest)) = pem::der_value(fields) {
        fields = rest;
        let is_true = contents.iter().any(|byte| *byte != 0);
        match tag {
            0xA0 => scope.points = urls(contents),
            0x81 => scope.end_entities_only = is_true,
            0x82 => scope.cas_only = is_true,
            0x83 => scope.reasons = Some(reasons(contents)),
            0x84 => scope.is_indirect = is_true,
            0x85 => scope.attributes_only = is_true,
            _ => {}
        }
    }
    scope
}

/// The URLs among the general names of a distribution point: `[0]` holds `fullName [0]`, which holds `[6]` for each.
fn urls(point: &[u8]) -> Vec<String> {
    let Some((0xA0, mut names, _)) = pem::der_value(point) else {
        return Vec::new();
    };
    let mut urls = Vec::new();
    while let Some((tag, contents, rest)) = pem::der_value(names) {
        names = rest;
        if tag == 0x86 {
            urls.push(String::from_utf8_lossy(contents).into_owned());
        }
    }
    urls
}

/// Returns the URLs in a certificate at which the CRLs for it are published.
fn points_of(certificate: &X509Ref) -> Vec<String> {
    let points = certificate.crl_distribution_points();
    let mut urls = Vec::new();
    for point in points.iter().flatten() {
        let names = point.distpoint().and_then(|point| point.fullname());
        let found = names.into_iter().flatten().filter_map(|name| name.uri());
        urls.extend(found.map(str::to_owned));
    }
    urls
}

/// Returns the names of the reasons in `ReasonFlags` (RFC 5280 §4.2.1.13), a bit string.
fn reasons(bits: &[u8]) -> Vec<&'static str> {
    const NAMES: [&str; 9] = [
        "unused",
        "keyCompromise",
        "cACompromise",
        "affiliationChanged",
        "superseded",
        "cessationOfOperation",
        "certificateHold",
        "privilegeWithdrawn",
        "aACompromise",
    ];
    // The first byte is the number of unused bits in the last one.
    let bytes = bits.get(1..).unwrap_or_default();
    let is_set = |bit: usize| {
        let byte = bytes.get(bit / 8).copied().unwrap_or_default();
        byte & (0x80 >> (bit % 8)) != 0
    };
    let set = NAMES.iter().enumerate().filter(|(bit, _)| is_set(*bit));
    set.map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_read() {
        let full = CrlScope::default;
        let url = b"\x30\x12\xa0\x10\xa0\x0e\x86\x0chttp://a.b/c";
        let cases: &[(&[u8], CrlScope)] = &[
            (b"\x30\x00", full()),
            (b"", full()),
            (
                b"\x30\x03\x81\x01\xff",
                CrlScope {
                    end_entities_only: true,
                    ..full()
                },
            ),
            (
                b"\x30\x03\x82\x01\xff",
                CrlScope {
                    cas_only: true,
                    ..full()
                },
            ),
            (
                b"\x30\x03\x85\x01\xff",
                CrlScope {
                    attributes_only: true,
                    ..full()
                },
            ),
            (
                b"\x30\x03\x84\x01\xff",
                CrlScope {
                    is_indirect: true,
                    ..full()
                },
            ),
            (
                b"\x30\x04\x83\x02\x05\x60",
                CrlScope {
                    reasons: Some(vec!["keyCompromise", "cACompromise"]),
                    ..full()
                },
            ),
            (
                b"\x30\x05\x83\x03\x07\x00\x80",
                CrlScope {
                    reasons: Some(vec!["aACompromise"]),
                    ..full()
                },
            ),
            (
                url,
                CrlScope {
                    points: vec!["http://a.b/c".to_owned()],
                    ..full()
                },
            ),
            (b"\x30\x84\xff\xff\xff\xff\x81", full()),
            (b"\x30\x03\x81\x01\x00", full()),
        ];
        for (value, scope) in cases {
            assert_eq!(decode(value), *scope, "{value:02x?}");
        }
    }
}
