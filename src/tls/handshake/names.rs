//! Names in a certificate that nearly match (RFC 9525).
//!
//! In: the reference identifier, and all identifiers that the certificate presents, whatever their kind. Out:
//! why identifiers that look like a match do not match. OpenSSL decides what matches; the rules here only
//! explain its decision, and must not mention a name that is unrelated to the expected one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use openssl::x509::X509Ref;
use openssl_sys as sys;

use super::context::ServerName;
use crate::ffi::openssl as ffi;
use crate::printable::Quoted;

/// One subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Presented {
    Dns(Vec<u8>),
    Ip(Vec<u8>),
    Email(Vec<u8>),
    Uri(Vec<u8>),
}

impl Presented {
    /// The names of these kinds in a certificate, in their order.
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

    /// Returns whether some host or address matches the name.
    pub(crate) fn is_usable(&self) -> bool {
        match self {
            Self::Dns(bytes) => std::str::from_utf8(bytes).is_ok_and(|name| {
                let name = name.to_ascii_lowercase();
                // Some host that the name is meant for.
                let host = name.replacen("*.", "a.", 1);
                matches!(ServerName::parse(&host), Ok(ServerName::Dns(host)) if matches(&host, &name))
            }),
            Self::Ip(bytes) => matches!(bytes.len(), 4 | 16),
            Self::Email(_) | Self::Uri(_) => false,
        }
    }
}

impl fmt::Display for Presented {
    /// Writes the name as in OpenSSL's configuration: `DNS:db.example`, `IP:192.0.2.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        match self {
            Self::Dns(bytes) => write!(f, "DNS:{}", text(bytes)),
            Self::Email(bytes) => write!(f, "email:{}", text(bytes)),
            Self::Uri(bytes) => write!(f, "URI:{}", text(bytes)),
            Self::Ip(bytes) => match address(bytes) {
                Some(address) => write!(f, "IP:{address}"),
                None => write!(f, "IP:({} bytes)", bytes.len()),
            },
        }
    }
}

/// The first names of a list, and how many more there are: no line holds a hundred names.
pub(crate) fn list(names: &[impl fmt::Display]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = names.iter().take(SHOWN).map(ToString::to_string).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Explains why names that look right do not match, each in one clause. `common_name` is compared too, although
/// OpenSSL does not.
pub(crate) fn near_misses(
    expected: &ServerName,
    presented: &[Presented],
    common_name: Option<&str>,
) -> Vec<String> {
    const TOLD: usize = 3;
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
        .map(|name| {
            format!(
                "{} is its common name, and common names are not compared",
                Quoted(name)
            )
        });
    of_names.chain(of_common_name).take(TOLD).collect()
}

/// Returns why a name does not match a host, if it is close to it.
fn host_miss(host: &str, name: &Presented) -> Option<String> {
    let (kind, bytes) = match name {
        Presented::Dns(bytes) => return dns_miss(host, bytes),
        Presented::Email(bytes) => ("an e-mail address", bytes),
        Presented::Uri(bytes) => ("a URI", bytes),
        Presented::Ip(_) => return None,
    };
    let text = std::str::from_utf8(bytes).ok()?;
    let (plain, _) = undecorated(&text.to_lowercase());
    matches(host, &plain).then(|| of_another_kind(text, kind, "DNS"))
}

fn of_another_kind(text: &str, kind: &str, needed: &str) -> String {
    format!(
        "{} stands there as {kind}, and only names of the kind {needed} are compared",
        Quoted(text)
    )
}

fn dns_miss(host: &str, bytes: &[u8]) -> Option<String> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let is_close = host.contains("xn--") || !host.is_ascii();
        let shown = String::from_utf8_lossy(bytes);
        return is_close.then(|| in_unicode(&shown));
    };
    let lower = text.to_lowercase();
    if let Some((before, _)) = lower.split_once('\0') {
        let is_close = matches(host, before) || lower.split('\0').any(|part| part == host);
        return is_close.then(|| {
            format!(
                "{} holds a NUL character, and matches no host",
                Quoted(text)
            )
        });
    }
    if !text.is_ascii() {
        return has_unicode_form(host, &lower).then(|| in_unicode(text));
    }
    let (plain, decoration) = undecorated(&lower);
    if !decoration.is_empty() {
        let has = decoration.join(" and ");
        return matches(host, &plain).then(|| {
            format!(
                "{} has {has}, and a name in a certificate has none",
                Quoted(text)
            )
        });
    }
    let mut parts = lower.split([',', ';', ' ']);
    if parts.clone().count() > 1 {
        return parts.any(|part| matches(host, part)).then(|| {
            format!(
                "{} is one entry with several names, and each needs its own",
                Quoted(text)
            )
        });
    }
    if lower.contains('*') {
        return wildcard_miss(host, &lower);
    }
    relative_miss(host, &lower)
}

fn in_unicode(text: &str) -> String {
    format!(
        "{} is not in the ASCII form (xn--…) that certificates need",
        Quoted(text)
    )
}

/// Returns whether a name that is not in ASCII has the labels of `host`, as far as those are not internationalised.
fn has_unicode_form(host: &str, name: &str) -> bool {
    let (ours, theirs) = (host.split('.'), name.split('.'));
    ours.clone().count() == theirs.clone().count()
        && ours.zip(theirs).all(|(ours, theirs)| {
            ours == theirs || theirs == "*" || (ours.starts_with("xn--") && !theirs.is_ascii())
        })
}

/// A name without a common mistaken addition, and that addition.
fn undecorated(text: &str) -> (String, Vec<&'static str>) {
    let mut has = Vec::new();
    let mut rest = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    if rest != text {
        has.push("white space around it");
    }
    if let Some((_, after)) = rest.split_once("://") {
        (rest, has) = (after, [has, vec!["a scheme"]].concat());
    }
    if let Some((before, _)) = rest.split_once('/') {
        rest = before;
        has.push("a path");
    }
    if let Some((_, after)) = rest.rsplit_once('@') {
        rest = after;
        has.push("a user");
    }
    if let Some((before, port)) = rest.rsplit_once(':') {
        let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let is_address = before.contains(':') && !before.ends_with(']');
        if is_port && !is_address {
            rest = before;
            has.push("a port");
        }
    }
    if let Some(inner) = rest.strip_prefix('[').and_then(|r| r.strip_suffix(']')) {
        rest = inner;
        has.push("brackets");
    }
    if let Some(before) = rest.strip_suffix('.') {
        rest = before;
        has.push("a dot at its end");
    }
    (rest.to_owned(), has)
}

/// Returns why a name with a wildcard does not match.
fn wildcard_miss(host: &str, name: &str) -> Option<String> {
    if name == "*" {
        return Some("\"*\" matches no name: a wildcard needs a domain after it".to_owned());
    }
    let stars = name.matches('*').count();
    let Some(domain) = name.strip_prefix("*.").filter(|_| stars == 1) else {
        let how = match stars {
            1 if name
                .split('.')
                .next()
                .is_some_and(|first| first.contains('*')) =>
            {
                "has a wildcard for a part of a label"
            }
            1 => "has its wildcard after the first label",
            _ => "has more than one wildcard",
        };
        return glob(host, name).then(|| {
            format!(
                "{name} {how}, and only the whole first label of a name may be a wildcard",
                name = Quoted(&name)
            )
        });
    };
    if domain == host {
        return Some(format!(
            "the wildcard of {name} stands for one label, so that it does not match the domain itself",
            name = Quoted(&name)
        ));
    }
    let before = host.strip_suffix(domain)?.strip_suffix('.')?;
    match before.split('.').count() {
        1 if name.contains('_') || before.contains('_') => Some(format!(
            "the wildcard of {name} matches no name with an underscore",
            name = Quoted(&name)
        )),
        1 if !domain.contains('.') => Some(format!(
            "the wildcard of {name} matches nothing, since a domain of two labels or more must follow it",
            name = Quoted(&name)
        )),
        1 => None,
        count => Some(format!(
            "the wildcard of {name} stands for one label, and {host} has {count} before {domain}",
            name = Quoted(&name),
            host = Quoted(&host),
            domain = Quoted(&domain)
        )),
    }
}

/// Returns why a name above, below or beside the host does not match.
fn relative_miss(host: &str, name: &str) -> Option<String> {
    let below = |lower: &str, upper: &str| {
        lower
            .strip_suffix(upper)
            .is_some_and(|before| before.ends_with('.') && before.len() > 1)
    };
    let first = |name: &str, label: &str| {
        name.strip_prefix(label)
            .is_some_and(|after| after.starts_with('.'))
    };
    if let Some(domain) = name.strip_prefix('.') {
        return below(host, domain).then(|| {
            format!(
                "{} begins with a dot, and stands for no other name; \"*{name}\" would",
                Quoted(&name)
            )
        });
    }
    if !host.contains('.') && first(name, host) {
        return Some(format!(
            "{name} begins with {host}, and only a whole name matches",
            name = Quoted(&name),
            host = Quoted(&host)
        ));
    }
    if !name.contains('.') && !name.is_empty() && first(host, name) {
        return Some(format!(
            "{name} is the beginning of it, and only a whole name matches",
            name = Quoted(&name)
        ));
    }
    let is_parent = name.contains('.') && below(host, name);
    is_parent.then(|| {
        format!(
            "{name} is the domain above it, and stands for itself alone",
            name = Quoted(&name)
        )
    })
}

/// Returns why a name does not match an address, if it is close to it.
fn address_miss(expected: IpAddr, name: &Presented) -> Option<String> {
    let (kind, bytes) = match name {
        Presented::Ip(bytes) => return ip_miss(expected, bytes),
        Presented::Dns(bytes) => ("a DNS name", bytes),
        Presented::Email(bytes) => ("an e-mail address", bytes),
        Presented::Uri(bytes) => ("a URI", bytes),
    };
    let text = std::str::from_utf8(bytes).ok()?;
    let (plain, _) = undecorated(&text.to_lowercase());
    let network = text
        .trim()
        .split_once('/')
        .and_then(|(address, length)| Some((address.parse().ok()?, length.parse().ok()?)));
    if network.is_some_and(|(network, length)| is_within(expected, network, length)) {
        return Some(format!(
            "{} is a network, and only a single address matches",
            Quoted(text)
        ));
    }
    if plain.contains('*') && glob(&expected.to_string(), &plain) {
        return Some(format!(
            "{} has a wildcard, and no wildcard matches an address",
            Quoted(text)
        ));
    }
    let found: IpAddr = plain.parse().ok()?;
    (canonical(found) == canonical(expected)).then(|| of_another_kind(text, kind, "IP"))
}

/// Returns why an entry of the kind IP does not match.
fn ip_miss(expected: IpAddr, bytes: &[u8]) -> Option<String> {
    if let Some(found) = address(bytes) {
        let is_other_form = found != expected && canonical(found) == canonical(expected);
        return is_other_form.then(|| {
            format!("\"{found}\" and \"{expected}\" are one address in two forms, IPv4 and IPv6, and only the same form matches")
        });
    }
    let length = bytes.len();
    if let (8 | 32, (network, mask)) = (length, bytes.split_at(length / 2)) {
        let network = address(network)?;
        let ones = mask.iter().map(|byte| byte.count_ones()).sum();
        return is_within(expected, network, ones).then(|| {
            format!("the entry of {length} bytes is the network {network}/{ones}, and only a single address matches")
        });
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let is_text = text.trim().parse::<IpAddr>() == Ok(expected);
    is_text.then(|| {
        format!("{} stands there as text in an entry of the kind IP, which needs the 4 or 16 bytes of the address", Quoted(text))
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// An IPv4 address that is written as an IPv6 address, mapped or compatible, as an IPv4 address.
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

/// Returns whether `name` would match if each `*` stood for a part of a label.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(name: &str) -> Presented {
        Presented::Dns(name.as_bytes().to_vec())
    }

    /// The explanation for one name if a host or an address is expected.
    fn told(expected: &str, name: Presented) -> Option<String> {
        let expected = ServerName::parse(expected).unwrap();
        near_misses(&expected, &[name], None).pop()
    }

    #[test]
    fn each_near_miss_of_a_host_is_explained() {
        for (host, name, why) in [
            (
                "db.example",
                "db.example.",
                "\"db.example.\" has a dot at its end, and a name in a certificate has none",
            ),
            (
                "db.example",
                " db.example",
                "\" db.example\" has white space around it, and a name in a certificate has none",
            ),
            (
                "db.example",
                "db.example\n",
                "\"db.example\\n\" has white space around it, and a name in a certificate has none",
            ),
            (
                "db.example",
                "DB.example:27017",
                "\"DB.example:27017\" has a port, and a name in a certificate has none",
            ),
            (
                "db.example",
                "https://db.example/",
                "\"https://db.example/\" has a scheme and a path, and a name in a certificate has none",
            ),
            (
                "db.example",
                "mongodb://me@db.example:1/x",
                "\"mongodb://me@db.example:1/x\" has a scheme and a path and a user and a port, and a name in a certificate has none",
            ),
            (
                "a.db.example",
                "*.db.example.",
                "\"*.db.example.\" has a dot at its end, and a name in a certificate has none",
            ),
            (
                "a.b.db.example",
                "*.db.example",
                "the wildcard of \"*.db.example\" stands for one label, and \"a.b.db.example\" has 2 before \"db.example\"",
            ),
            (
                "db.example",
                "*.DB.example",
                "the wildcard of \"*.db.example\" stands for one label, so that it does not match the domain itself",
            ),
            (
                "a_1.db.example",
                "*.db.example",
                "the wildcard of \"*.db.example\" matches no name with an underscore",
            ),
            (
                "a.my_db.example",
                "*.my_db.example",
                "the wildcard of \"*.my_db.example\" matches no name with an underscore",
            ),
            (
                "db.local",
                "*.local",
                "the wildcard of \"*.local\" matches nothing, since a domain of two labels or more must follow it",
            ),
            (
                "db.example",
                "*",
                "\"*\" matches no name: a wildcard needs a domain after it",
            ),
            (
                "a.b.example",
                "*.*.example",
                "\"*.*.example\" has more than one wildcard, and only the whole first label of a name may be a wildcard",
            ),
            (
                "foo.example.com",
                "f*.example.com",
                "\"f*.example.com\" has a wildcard for a part of a label, and only the whole first label of a name may be a wildcard",
            ),
            (
                "a.b.example",
                "a.*.example",
                "\"a.*.example\" has its wildcard after the first label, and only the whole first label of a name may be a wildcard",
            ),
            (
                "xn--bcher-kva.example",
                "bücher.example",
                "\"bücher.example\" is not in the ASCII form (xn--…) that certificates need",
            ),
            (
                "db.example",
                "db.example\0.evil.example",
                "\"db.example\\u0000.evil.example\" holds a NUL character, and matches no host",
            ),
            (
                "db2.example",
                "db1.example, db2.example",
                "\"db1.example, db2.example\" is one entry with several names, and each needs its own",
            ),
            (
                "db1",
                "db1.example.com",
                "\"db1.example.com\" begins with \"db1\", and only a whole name matches",
            ),
            (
                "db1.example.com",
                "db1",
                "\"db1\" is the beginning of it, and only a whole name matches",
            ),
            (
                "db.example.com",
                "example.com",
                "\"example.com\" is the domain above it, and stands for itself alone",
            ),
            (
                "db.example.com",
                ".example.com",
                "\".example.com\" begins with a dot, and stands for no other name; \"*.example.com\" would",
            ),
        ] {
            assert_eq!(
                told(host, dns(name)).as_deref(),
                Some(why),
                "{host} {name:?}"
            );
        }
        let bytes = Presented::Dns(b"b\xfccher.example".to_vec());
        assert_eq!(
            told("xn--bcher-kva.example", bytes).as_deref(),
            Some(
                "\"b\u{fffd}cher.example\" is not in the ASCII form (xn--…) that certificates need"
            )
        );
        for (name, kind) in [
            (
                Presented::Email(b"db@db.example".to_vec()),
                "an e-mail address",
            ),
            (Presented::Uri(b"https://db.example:1/".to_vec()), "a URI"),
        ] {
            let why = told("db.example", name).unwrap();
            let end =
                format!("stands there as {kind}, and only names of the kind DNS are compared");
            assert!(why.ends_with(&end), "{why}");
        }
    }

    #[test]
    fn each_near_miss_of_an_address_is_explained() {
        let ip = |bytes: &[u8]| Presented::Ip(bytes.to_vec());
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 7];
        for (expected, name, why) in [
            (
                "192.0.2.7",
                dns("192.0.2.7"),
                "\"192.0.2.7\" stands there as a DNS name, and only names of the kind IP are compared",
            ),
            (
                "2001:db8::1",
                dns("[2001:DB8::1]:27017"),
                "\"[2001:DB8::1]:27017\" stands there as a DNS name, and only names of the kind IP are compared",
            ),
            (
                "192.0.2.7",
                Presented::Uri(b"mongodb://192.0.2.7:27017/".to_vec()),
                "\"mongodb://192.0.2.7:27017/\" stands there as a URI, and only names of the kind IP are compared",
            ),
            (
                "192.0.2.7",
                ip(&mapped),
                "\"::ffff:192.0.2.7\" and \"192.0.2.7\" are one address in two forms, IPv4 and IPv6, and only the same form matches",
            ),
            (
                "::ffff:192.0.2.7",
                ip(&[192, 0, 2, 7]),
                "\"192.0.2.7\" and \"::ffff:192.0.2.7\" are one address in two forms, IPv4 and IPv6, and only the same form matches",
            ),
            (
                "192.0.2.7",
                ip(&[192, 0, 2, 0, 255, 255, 255, 0]),
                "the entry of 8 bytes is the network 192.0.2.0/24, and only a single address matches",
            ),
            (
                "192.0.2.7",
                ip(b"192.0.2.7"),
                "\"192.0.2.7\" stands there as text in an entry of the kind IP, which needs the 4 or 16 bytes of the address",
            ),
            (
                "192.0.2.7",
                dns("192.0.2.*"),
                "\"192.0.2.*\" has a wildcard, and no wildcard matches an address",
            ),
            (
                "192.0.2.7",
                dns("192.0.2.0/24"),
                "\"192.0.2.0/24\" is a network, and only a single address matches",
            ),
        ] {
            assert_eq!(told(expected, name).as_deref(), Some(why), "{expected}");
        }
    }

    #[test]
    fn names_that_have_nothing_to_do_with_it_are_passed_over() {
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
            assert_eq!(told("db.example", dns(name)), None, "{name:?}");
        }
        for name in [
            dns("192.0.2.8"),
            dns("db.example"),
            dns("192.0.3.*"),
            dns("192.0.3.0/24"),
            Presented::Ip(vec![192, 0, 2, 8]),
            Presented::Ip(vec![192, 0, 3, 0, 255, 255, 255, 0]),
            Presented::Ip(Vec::new()),
        ] {
            assert_eq!(told("192.0.2.7", name.clone()), None, "{name}");
        }
        // The loopback addresses are two, although both are written as IPv4 in IPv6 in some way.
        let loopback = Presented::Ip(Ipv6Addr::LOCALHOST.octets().to_vec());
        assert_eq!(told("0.0.0.1", loopback), None);
    }

    #[test]
    fn the_rules_for_what_matches_are_those_of_openssl() {
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

    #[test]
    fn a_long_list_of_names_is_cut() {
        let names: Vec<_> = (0..100).map(|i| dns(&format!("h{i}"))).collect();
        assert_eq!(
            list(&names),
            "DNS:h0, DNS:h1, DNS:h2, DNS:h3, DNS:h4 and 95 more"
        );
        assert_eq!(list(&names[..2]), "DNS:h0, DNS:h1");
    }
}
