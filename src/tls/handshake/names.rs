//! Names in a certificate that nearly match (RFC 9525).
//!
//! In: the reference identifier, and the presented identifiers of the certificate, of every kind. Out: the near misses,
//! which are the identifiers that look like a match, with the reason why they do not match. OpenSSL decides what
//! matches. The rules here only explain its decision, and must not report a name that is unrelated to the expected one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use openssl::x509::X509Ref;
use openssl_sys as sys;

use crate::address::ip_address;
use crate::data::certificate::address_of_entry;
use crate::error::{Error, Result, Stage};
use crate::ffi::openssl as ffi;
use crate::reason::certificate::{
    NameAddition, NameKind, NearMiss, PresentedName, ServerName, WildcardFault,
};
use crate::reason::tls::TlsFailure;

impl PresentedName {
    /// Returns the subject alternative names of these kinds, in their order.
    pub(crate) fn of(certificate: &X509Ref) -> Vec<Self> {
        let names = certificate.subject_alt_names();
        let names = names.iter().flatten();
        names
            .filter_map(|name| match ffi::general_name(name)? {
                (sys::GEN_DNS, bytes) => Some(Self::Dns(bytes)),
                (sys::GEN_IPADD, bytes) => Some(Self::Ip(bytes)),
                (sys::GEN_EMAIL, bytes) => Some(Self::Email(bytes)),
                (sys::GEN_URI, bytes) => Some(Self::Uri(bytes)),
                _ => None,
            })
            .collect()
    }

    /// Returns whether a host or an address exists that the name matches.
    pub(crate) fn is_usable(&self) -> bool {
        match self {
            Self::Dns(bytes) => std::str::from_utf8(bytes).is_ok_and(|name| {
                let name = name.to_ascii_lowercase();
                // A host that the name is meant for.
                let host = name.replacen("*.", "a.", 1);
                matches!(ServerName::parse(&host), Ok(ServerName::Dns(host)) if matches(&host, &name))
            }),
            Self::Ip(bytes) => matches!(bytes.len(), 4 | 16),
            Self::Email(_) | Self::Uri(_) => false,
        }
    }
}

/// The largest number of near misses in one explanation.
const MOST_NEAR_MISSES: usize = 3;

/// Returns the names that look right but do not match. `common_name` is compared too, although OpenSSL does not
/// compare it.
pub(crate) fn near_misses(
    expected: &ServerName,
    presented: &[PresentedName],
    common_name: Option<&str>,
) -> Vec<NearMiss> {
    let of_names = presented.iter().filter_map(|name| match expected {
        ServerName::Dns(host) => host_miss(&host.to_ascii_lowercase(), name),
        ServerName::Ip(address) => address_miss(*address, name),
    });
    let of_common_name = common_name
        .filter(|name| match expected {
            ServerName::Dns(host) => {
                matches(&host.to_ascii_lowercase(), &name.to_ascii_lowercase())
            }
            ServerName::Ip(address) => name.parse() == Ok(*address),
        })
        .map(|name| NearMiss::CommonName(name.to_owned()));
    of_names
        .chain(of_common_name)
        .take(MOST_NEAR_MISSES)
        .collect()
}

/// Returns why a name does not match a host, if it is close to it.
fn host_miss(host: &str, name: &PresentedName) -> Option<NearMiss> {
    let (kind, bytes) = match name {
        PresentedName::Dns(bytes) => return dns_miss(host, bytes),
        PresentedName::Email(bytes) => (NameKind::Email, bytes),
        PresentedName::Uri(bytes) => (NameKind::Uri, bytes),
        PresentedName::Ip(_) => return None,
    };
    let text = std::str::from_utf8(bytes).ok()?;
    let (plain, _) = without_additions(&text.to_lowercase());
    matches(host, &plain).then(|| NearMiss::OtherKind {
        name: text.to_owned(),
        kind,
        needed: NameKind::Dns,
    })
}

fn dns_miss(host: &str, bytes: &[u8]) -> Option<NearMiss> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let is_close = host.contains("xn--") || !host.is_ascii();
        let shown = String::from_utf8_lossy(bytes);
        return is_close.then(|| NearMiss::Unicode(shown.into_owned()));
    };
    let name = || text.to_owned();
    let lower = text.to_lowercase();
    if let Some((before, _)) = lower.split_once('\0') {
        let is_close = matches(host, before) || lower.split('\0').any(|part| part == host);
        return is_close.then(|| NearMiss::Nul(name()));
    }
    if !text.is_ascii() {
        return has_unicode_form(host, &lower).then(|| NearMiss::Unicode(name()));
    }
    let (plain, additions) = without_additions(&lower);
    if !additions.is_empty() {
        return matches(host, &plain).then(|| NearMiss::Additions(name(), additions));
    }
    let mut parts = lower.split([',', ';', ' ']);
    if parts.clone().count() > 1 {
        let has_match = parts.any(|part| matches(host, part));
        return has_match.then(|| NearMiss::SeveralNames(name()));
    }
    if lower.contains('*') {
        return wildcard_miss(host, &lower);
    }
    relative_miss(host, &lower)
}

/// Returns whether a name that is not in ASCII has the labels of `host`, as far as those are not internationalised.
fn has_unicode_form(host: &str, name: &str) -> bool {
    let (ours, theirs) = (host.split('.'), name.split('.'));
    ours.clone().count() == theirs.clone().count()
        && ours.zip(theirs).all(|(ours, theirs)| {
            ours == theirs || theirs == "*" || (ours.starts_with("xn--") && !theirs.is_ascii())
        })
}

/// Returns a name without the additions that are often made by mistake, and these additions.
fn without_additions(text: &str) -> (String, Vec<NameAddition>) {
    let mut additions = Vec::new();
    let mut rest = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    if rest != text {
        additions.push(NameAddition::WhiteSpace);
    }
    if let Some((_, after)) = rest.split_once("://") {
        rest = after;
        additions.push(NameAddition::Scheme);
    }
    if let Some((before, _)) = rest.split_once('/') {
        rest = before;
        additions.push(NameAddition::Path);
    }
    if let Some((_, after)) = rest.rsplit_once('@') {
        rest = after;
        additions.push(NameAddition::User);
    }
    if let Some((before, port)) = rest.rsplit_once(':') {
        let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let is_address = before.contains(':') && !before.ends_with(']');
        if is_port && !is_address {
            rest = before;
            additions.push(NameAddition::Port);
        }
    }
    if let Some(inner) = rest.strip_prefix('[').and_then(|r| r.strip_suffix(']')) {
        rest = inner;
        additions.push(NameAddition::Brackets);
    }
    if let Some(before) = rest.strip_suffix('.') {
        rest = before;
        additions.push(NameAddition::FinalDot);
    }
    (rest.to_owned(), additions)
}

/// Returns why a name with a wildcard does not match.
fn wildcard_miss(host: &str, name: &str) -> Option<NearMiss> {
    if name == "*" {
        return Some(NearMiss::BareWildcard);
    }
    let owned = || name.to_owned();
    let stars = name.matches('*').count();
    let Some(domain) = name.strip_prefix("*.").filter(|_| stars == 1) else {
        let first = name.split('.').next();
        let fault = match stars {
            1 if first.is_some_and(|first| first.contains('*')) => WildcardFault::PartOfLabel,
            1 => WildcardFault::AfterFirstLabel,
            _ => WildcardFault::Several,
        };
        return glob(host, name).then(|| NearMiss::MisplacedWildcard(owned(), fault));
    };
    if domain == host {
        return Some(NearMiss::WildcardOfDomain(owned()));
    }
    let before = host.strip_suffix(domain)?.strip_suffix('.')?;
    match before.split('.').count() {
        1 if name.contains('_') || before.contains('_') => {
            Some(NearMiss::WildcardWithUnderscore(owned()))
        }
        1 if !domain.contains('.') => Some(NearMiss::WildcardOfTopLevel(owned())),
        1 => None,
        labels => Some(NearMiss::WildcardOfSeveralLabels {
            name: owned(),
            host: host.to_owned(),
            domain: domain.to_owned(),
            labels,
        }),
    }
}

/// Returns why a name above, below or beside the host does not match.
fn relative_miss(host: &str, name: &str) -> Option<NearMiss> {
    let below = |lower: &str, upper: &str| {
        lower
            .strip_suffix(upper)
            .is_some_and(|before| before.ends_with('.') && before.len() > 1)
    };
    let first = |name: &str, label: &str| {
        name.strip_prefix(label)
            .is_some_and(|after| after.starts_with('.'))
    };
    let owned = || name.to_owned();
    if let Some(domain) = name.strip_prefix('.') {
        return below(host, domain).then(|| NearMiss::LeadingDot(owned()));
    }
    if !host.contains('.') && first(name, host) {
        let host = host.to_owned();
        return Some(NearMiss::Longer {
            name: owned(),
            host,
        });
    }
    if !name.contains('.') && !name.is_empty() && first(host, name) {
        return Some(NearMiss::Shorter(owned()));
    }
    let is_parent = name.contains('.') && below(host, name);
    is_parent.then(|| NearMiss::ParentDomain(owned()))
}

/// Returns why a name does not match an address, if it is close to it.
fn address_miss(expected: IpAddr, name: &PresentedName) -> Option<NearMiss> {
    let (kind, bytes) = match name {
        PresentedName::Ip(bytes) => return ip_miss(expected, bytes),
        PresentedName::Dns(bytes) => (NameKind::Dns, bytes),
        PresentedName::Email(bytes) => (NameKind::Email, bytes),
        PresentedName::Uri(bytes) => (NameKind::Uri, bytes),
    };
    let text = std::str::from_utf8(bytes).ok()?;
    let (plain, _) = without_additions(&text.to_lowercase());
    let network = text
        .trim()
        .split_once('/')
        .and_then(|(address, length)| Some((address.parse().ok()?, length.parse().ok()?)));
    let name = text.to_owned();
    if network.is_some_and(|(network, length)| is_within(expected, network, length)) {
        return Some(NearMiss::NetworkName(name));
    }
    if plain.contains('*') && glob(&expected.to_string(), &plain) {
        return Some(NearMiss::WildcardAddress(name));
    }
    let found: IpAddr = plain.parse().ok()?;
    (canonical(found) == canonical(expected)).then_some(NearMiss::OtherKind {
        name,
        kind,
        needed: NameKind::Ip,
    })
}

/// Returns why an entry of the kind IP does not match.
fn ip_miss(expected: IpAddr, bytes: &[u8]) -> Option<NearMiss> {
    if let Some(found) = address_of_entry(bytes) {
        let is_other_form = found != expected && canonical(found) == canonical(expected);
        return is_other_form.then_some(NearMiss::OtherAddressForm { found, expected });
    }
    let length = bytes.len();
    if let (8 | 32, (network, mask)) = (length, bytes.split_at(length / 2)) {
        let network = address_of_entry(network)?;
        let prefix = mask.iter().map(|byte| byte.count_ones()).sum();
        return is_within(expected, network, prefix).then_some(NearMiss::NetworkEntry {
            length,
            network,
            prefix,
        });
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let is_text = text.trim().parse::<IpAddr>() == Ok(expected);
    is_text.then(|| NearMiss::AddressAsText(text.to_owned()))
}

/// Converts an IPv6 address that is mapped from or compatible with an IPv4 address to that IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6 != Ipv6Addr::LOCALHOST && v6 != Ipv6Addr::UNSPECIFIED => {
            v6.to_ipv4().map_or(address, IpAddr::V4)
        }
        other => other,
    }
}

/// Returns whether the first `length` bits of two addresses of one family are equal.
fn is_within(address: IpAddr, network: IpAddr, length: u32) -> bool {
    let bits = |v4: Ipv4Addr| u128::from(u32::from(v4)) << 96;
    let (ours, theirs, size) = match (address, network) {
        (IpAddr::V4(ours), IpAddr::V4(theirs)) => (bits(ours), bits(theirs), 32),
        (IpAddr::V6(ours), IpAddr::V6(theirs)) => (u128::from(ours), u128::from(theirs), 128),
        _ => return false,
    };
    length <= size && (ours ^ theirs).leading_zeros() >= length
}

/// Returns whether `name` matches `host` for OpenSSL, both in lower case: they are equal, or a wildcard replaces the
/// whole first label, with two labels after it and no underscore.
fn matches(host: &str, name: &str) -> bool {
    let by_wildcard = || {
        let domain = name.strip_prefix("*.")?;
        let label = host.strip_suffix(domain)?.strip_suffix('.')?;
        let is_plain = !label.is_empty() && !label.contains('.') && !label.contains('_');
        Some(is_plain && domain.contains('.') && !domain.contains(['_', '*']))
    };
    let is_name = !name.is_empty() && !name.contains('*');
    (is_name && host == name) || by_wildcard().unwrap_or(false)
}

/// Returns whether `name` would match if each `*` represented a part of a label.
fn glob(host: &str, name: &str) -> bool {
    let (ours, theirs) = (host.split('.'), name.split('.'));
    ours.clone().count() == theirs.clone().count()
        && ours.zip(theirs).all(|(ours, theirs)| {
            let mut parts = theirs.split('*');
            let first = parts.next().unwrap_or_default();
            let Some(mut rest) = ours.strip_prefix(first) else {
                return false;
            };
            let Some(last) = parts.next_back() else {
                return rest.is_empty();
            };
            for part in parts {
                match rest.split_once(part) {
                    Some((_, after)) => rest = after,
                    None => return false,
                }
            }
            rest.ends_with(last)
        })
}

impl ServerName {
    /// Returns the reference identifier for a host: an IP address, or a DNS name in ASCII.
    pub(crate) fn parse(host: &str) -> Result<Self> {
        if let Some(address) = ip_address(host) {
            return Ok(Self::Ip(address));
        }
        // The final dot of an absolute name is not part of names in certificates or of SNI.
        let name = host.strip_suffix('.').unwrap_or(host);
        // OpenSSL matches a name that begins with a dot with any name below it, so only whole labels are accepted.
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.len() <= 253 && name.split('.').all(is_label) {
            return Ok(Self::Dns(name.to_owned()));
        }
        let host = host.to_owned();
        Err(Error::failed(
            Stage::Tls,
            TlsFailure::UnusableHostName { host },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(name: &str) -> PresentedName {
        PresentedName::Dns(name.as_bytes().to_vec())
    }

    /// Returns the near miss of one name, if it is one.
    fn near_miss(expected: &str, name: PresentedName) -> Option<NearMiss> {
        let expected = ServerName::parse(expected).unwrap();
        near_misses(&expected, &[name], None).pop()
    }

    #[test]
    fn unrelated_names_are_no_near_misses() {
        for name in [
            "other.example",
            "*.other.example",
            "x*.other.example",
            "bücher.example",
            "other.example.",
            "other.example:27017",
            "a.example, b.example",
            "db.example.org",
            "192.0.2.7",
            "",
            ".",
            "*.*.*.*",
        ] {
            assert_eq!(near_miss("db.example", dns(name)), None, "{name:?}");
        }
        for name in [
            dns("192.0.2.8"),
            dns("db.example"),
            dns("192.0.3.*"),
            dns("192.0.3.0/24"),
            PresentedName::Ip(vec![192, 0, 2, 8]),
            PresentedName::Ip(vec![192, 0, 3, 0, 255, 255, 255, 0]),
            PresentedName::Ip(Vec::new()),
        ] {
            assert_eq!(near_miss("192.0.2.7", name.clone()), None, "{name:?}");
        }
        // The two loopback addresses differ, although each has a form as IPv4 in IPv6.
        let loopback = PresentedName::Ip(Ipv6Addr::LOCALHOST.octets().to_vec());
        assert_eq!(near_miss("0.0.0.1", loopback), None);
    }

    #[test]
    fn names_match_by_the_rules_of_openssl() {
        for (host, name, yes) in [
            ("db.example", "db.example", true),
            ("a.db.example", "*.db.example", true),
            ("xn--bcher-kva.db.example", "*.db.example", true),
            ("a.example", "*.example", false),
            ("a_.db.example", "*.db.example", false),
            ("a.b_.example", "*.b_.example", false),
            ("a.b_.example", "a.b_.example", true),
            ("a.b.db.example", "*.db.example", false),
            ("foo.db.example", "f*.db.example", false),
        ] {
            assert_eq!(matches(host, name), yes, "{host} {name}");
        }
        let usable = |name: &str| dns(name).is_usable();
        assert!(usable("db.example") && usable("*.db.example") && usable("localhost"));
        for name in [
            "127.0.0.1",
            "db.example.",
            "db.example:1",
            "a b",
            "*.example",
            "*",
            "f*.db.example",
            "*.*.example",
            "",
        ] {
            assert!(!usable(name), "{name}");
        }
    }
}
