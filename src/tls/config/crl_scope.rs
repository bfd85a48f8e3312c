//! The scope of a CRL, by its issuing distribution point (RFC 5280 §5.2.5): which certificates, for which reasons.

use openssl::nid::Nid;
use openssl::x509::{X509CrlRef, X509Ref};

use crate::ffi::openssl as ffi;
use crate::tls::config::files;

/// The limits of a CRL. A full CRL has no limits.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CrlScope {
    /// The places where the CRL is published, those that are URLs.
    points: Vec<String>,
    users_only: bool,
    cas_only: bool,
    attributes_only: bool,
    is_indirect: bool,
    reasons: Option<Vec<&'static str>>,
}

impl CrlScope {
    /// The scope of a CRL. What cannot be read is left out: OpenSSL decides whether the CRL is used.
    pub(crate) fn of(crl: &X509CrlRef) -> Self {
        let value = ffi::crl_extension(crl, Nid::ISSUING_DISTRIBUTION_POINT);
        value.map_or_else(Self::default, |value| Self::read(&value))
    }

    fn read(value: &[u8]) -> Self {
        let mut scope = Self::default();
        let Some((0x30, mut fields, _)) = files::der_value(value) else {
            return scope;
        };
        while let Some((tag, contents, rest)) = files::der_value(fields) {
            fields = rest;
            let is_true = contents.iter().any(|byte| *byte != 0);
            match tag {
                0xA0 => scope.points = urls(contents),
                0x81 => scope.users_only = is_true,
                0x82 => scope.cas_only = is_true,
                0x83 => scope.reasons = Some(reasons(contents)),
                0x84 => scope.is_indirect = is_true,
                0x85 => scope.attributes_only = is_true,
                _ => {}
            }
        }
        scope
    }

    /// Each limit, in words; empty for a full CRL.
    pub(crate) fn limits(&self) -> Vec<String> {
        let flags = [
            (self.users_only, "end entities only"),
            (self.cas_only, "CA certificates only"),
            (self.attributes_only, "attribute certificates only"),
            (self.is_indirect, "indirect: certificates of other CAs too"),
        ];
        let flags = flags.into_iter().filter(|(is_set, _)| *is_set);
        let reasons = self.reasons.iter();
        let reasons = reasons.map(|reasons| format!("the reasons {} only", reasons.join(", ")));
        let points = self.points.iter();
        flags
            .map(|(_, words)| words.to_owned())
            .chain(reasons)
            .chain(points.map(|point| format!("the distribution point {point}")))
            .collect()
    }

    /// Returns why a CRL of this scope cannot be used to check a certificate, or `None` if it can.
    pub(crate) fn mismatch(&self, certificate: &X509Ref) -> Option<String> {
        let is_ca = ffi::is_ca(certificate);
        let own = points_of(certificate);
        let text = if self.is_indirect {
            "it is an indirect CRL, which is not supported".to_owned()
        } else if let Some(reasons) = &self.reasons {
            format!("it covers the reasons {} only", reasons.join(", "))
        } else if self.attributes_only {
            "it covers attribute certificates only".to_owned()
        } else if self.users_only && is_ca {
            "it covers end entities only, and this is a CA".to_owned()
        } else if self.cas_only && !is_ca {
            "it covers CA certificates only, and this is an end entity".to_owned()
        } else if !self.points.is_empty() && !self.points.iter().any(|point| own.contains(point)) {
            let own = match own.as_slice() {
                [] => "none".to_owned(),
                own => own.join(", "),
            };
            let points = self.points.join(", ");
            format!("it is for the distribution point {points}, and the certificate names {own}")
        } else {
            return None;
        };
        Some(text)
    }

    pub(crate) fn is_indirect(&self) -> bool {
        self.is_indirect
    }
}

/// The URLs among the general names of a distribution point: `[0]` holds `fullName [0]`, which holds `[6]` for each.
fn urls(point: &[u8]) -> Vec<String> {
    let Some((0xA0, mut names, _)) = files::der_value(point) else {
        return Vec::new();
    };
    let mut urls = Vec::new();
    while let Some((tag, contents, rest)) = files::der_value(names) {
        names = rest;
        if tag == 0x86 {
            urls.push(String::from_utf8_lossy(contents).into_owned());
        }
    }
    urls
}

/// The URLs where a certificate says that its CRLs are published.
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

/// The names of the reasons in `ReasonFlags` (RFC 5280 §4.2.1.13), a bit string.
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
    // The first byte says how many bits of the last one are unused.
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
        let url = b"\x30\x12\xa0\x10\xa0\x0e\x86\x0chttp://a.b/c";
        let cases: &[(&[u8], &[&str])] = &[
            (b"\x30\x00", &[]),
            (b"", &[]),
            (b"\x30\x03\x81\x01\xff", &["end entities only"]),
            (b"\x30\x03\x82\x01\xff", &["CA certificates only"]),
            (b"\x30\x03\x85\x01\xff", &["attribute certificates only"]),
            (
                b"\x30\x03\x84\x01\xff",
                &["indirect: certificates of other CAs too"],
            ),
            (
                b"\x30\x04\x83\x02\x05\x60",
                &["the reasons keyCompromise, cACompromise only"],
            ),
            (
                b"\x30\x05\x83\x03\x07\x00\x80",
                &["the reasons aACompromise only"],
            ),
            (url, &["the distribution point http://a.b/c"]),
            (b"\x30\x84\xff\xff\xff\xff\x81", &[]),
            (b"\x30\x03\x81\x01\x00", &[]),
        ];
        for (value, limits) in cases {
            assert_eq!(CrlScope::read(value).limits(), *limits, "{value:02x?}");
        }
    }
}
