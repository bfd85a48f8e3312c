//! Words for names in certificates that do not match the expected one.

use std::fmt;

use crate::data::certificate::address_of_entry;
use crate::printable::Quoted;
use crate::reason::certificate::{NameAddition, NameKind, NearMiss, PresentedName, WildcardFault};

impl fmt::Display for PresentedName {
    /// Writes the name as in OpenSSL's configuration: `DNS:db.example`, `IP:192.0.2.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        match self {
            Self::Dns(bytes) => write!(f, "DNS:{}", text(bytes)),
            Self::Email(bytes) => write!(f, "email:{}", text(bytes)),
            Self::Uri(bytes) => write!(f, "URI:{}", text(bytes)),
            Self::Ip(bytes) => match address_of_entry(bytes) {
                Some(address) => write!(f, "IP:{address}"),
                None => write!(f, "IP:({} bytes)", bytes.len()),
            },
        }
    }
}

/// Returns the first names of a list, and the number of the others, so that a line does not hold a hundred names.
pub(super) fn list(names: &[impl fmt::Display]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = names.iter().take(SHOWN).map(ToString::to_string).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl NameKind {
    /// The type of a subject alternative name in OpenSSL's configuration.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Dns => "DNS",
            Self::Ip => "IP",
            Self::Email => "email",
            Self::Uri => "URI",
        }
    }
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "a DNS name",
            Self::Ip => "an IP address",
            Self::Email => "an e-mail address",
            Self::Uri => "a URI",
        })
    }
}

impl fmt::Display for NearMiss {
    /// Writes one clause: the name, and the reason why it does not match.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommonName(name) => write!(
                f,
                "{} is its common name, and common names are not compared",
                Quoted(name)
            ),
            Self::OtherKind { name, kind, needed } => write!(
                f,
                "{} stands there as {kind}, and only names of the kind {} are compared",
                Quoted(name),
                needed.prefix()
            ),
            Self::Unicode(name) => write!(
                f,
                "{} is not in the ASCII form (xn--…) that certificates need",
                Quoted(name)
            ),
            Self::Nul(name) => write!(
                f,
                "{} holds a NUL character, and matches no host",
                Quoted(name)
            ),
            Self::Additions(name, additions) => {
                let additions: Vec<_> = additions.iter().map(|addition| addition.words()).collect();
                write!(
                    f,
                    "{} has {}, and a name in a certificate has none",
                    Quoted(name),
                    additions.join(" and ")
                )
            }
            Self::SeveralNames(name) => write!(
                f,
                "{} is one entry with several names, and each needs its own",
                Quoted(name)
            ),
            Self::BareWildcard => {
                f.write_str("\"*\" matches no name: a wildcard needs a domain after it")
            }
            Self::MisplacedWildcard(name, fault) => write!(
                f,
                "{} {}, and only the whole first label of a name may be a wildcard",
                Quoted(name),
                fault.words()
            ),
            Self::WildcardOfDomain(name) => write!(
                f,
                "the wildcard of {} stands for one label, so that it does not match the domain itself",
                Quoted(name)
            ),
            Self::WildcardWithUnderscore(name) => write!(
                f,
                "the wildcard of {} matches no name with an underscore",
                Quoted(name)
            ),
            Self::WildcardOfTopLevel(name) => write!(
                f,
                "the wildcard of {} matches nothing, since a domain of two labels or more must follow it",
                Quoted(name)
            ),
            Self::WildcardOfSeveralLabels {
                name,
                host,
                domain,
                labels,
            } => write!(
                f,
                "the wildcard of {} stands for one label, and {} has {labels} before {}",
                Quoted(name),
                Quoted(host),
                Quoted(domain)
            ),
            Self::LeadingDot(name) => write!(
                f,
                "{} begins with a dot, and stands for no other name; \"*{name}\" would",
                Quoted(name)
            ),
            Self::Longer { name, host } => write!(
                f,
                "{} begins with {}, and only a whole name matches",
                Quoted(name),
                Quoted(host)
            ),
            Self::Shorter(name) => write!(
                f,
                "{} is the beginning of it, and only a whole name matches",
                Quoted(name)
            ),
            Self::ParentDomain(name) => write!(
                f,
                "{} is the domain above it, and stands for itself alone",
                Quoted(name)
            ),
            Self::NetworkName(name) => write!(
                f,
                "{} is a network, and only a single address matches",
                Quoted(name)
            ),
            Self::WildcardAddress(name) => write!(
                f,
                "{} has a wildcard, and no wildcard matches an address",
                Quoted(name)
            ),
            Self::OtherAddressForm { found, expected } => write!(
                f,
                "\"{found}\" and \"{expected}\" are one address in two forms, IPv4 and IPv6, and only the same form matches"
            ),
            Self::NetworkEntry {
                length,
                network,
                prefix,
            } => write!(
                f,
                "the entry of {length} bytes is the network {network}/{prefix}, and only a single address matches"
            ),
            Self::AddressAsText(name) => write!(
                f,
                "{} stands there as text in an entry of the kind IP, which needs the 4 or 16 bytes of the address",
                Quoted(name)
            ),
        }
    }
}

impl NameAddition {
    fn words(self) -> &'static str {
        match self {
            Self::WhiteSpace => "white space around it",
            Self::Scheme => "a scheme",
            Self::Path => "a path",
            Self::User => "a user",
            Self::Port => "a port",
            Self::Brackets => "brackets",
            Self::FinalDot => "a dot at its end",
        }
    }
}

impl WildcardFault {
    fn words(self) -> &'static str {
        match self {
            Self::PartOfLabel => "has a wildcard for a part of a label",
            Self::AfterFirstLabel => "has its wildcard after the first label",
            Self::Several => "has more than one wildcard",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::certificate::ServerName;
    use crate::tls::near_misses;

    fn dns(name: &str) -> PresentedName {
        PresentedName::Dns(name.as_bytes().to_vec())
    }

    /// Returns the words for one name, if it is a near miss of a host or an address.
    fn words(expected: &str, name: PresentedName) -> Option<String> {
        let expected = ServerName::parse(expected).unwrap();
        let near_miss = near_misses(&expected, &[name], None).pop();
        near_miss.map(|near_miss| near_miss.to_string())
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
                words(host, dns(name)).as_deref(),
                Some(why),
                "{host} {name:?}"
            );
        }
        let bytes = PresentedName::Dns(b"b\xfccher.example".to_vec());
        assert_eq!(
            words("xn--bcher-kva.example", bytes).as_deref(),
            Some(
                "\"b\u{fffd}cher.example\" is not in the ASCII form (xn--…) that certificates need"
            )
        );
        for (name, kind) in [
            (
                PresentedName::Email(b"db@db.example".to_vec()),
                "an e-mail address",
            ),
            (
                PresentedName::Uri(b"https://db.example:1/".to_vec()),
                "a URI",
            ),
        ] {
            let why = words("db.example", name).unwrap();
            let end =
                format!("stands there as {kind}, and only names of the kind DNS are compared");
            assert!(why.ends_with(&end), "{why}");
        }
    }

    #[test]
    fn each_near_miss_of_an_address_is_explained() {
        let ip = |bytes: &[u8]| PresentedName::Ip(bytes.to_vec());
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
                PresentedName::Uri(b"mongodb://192.0.2.7:27017/".to_vec()),
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
            assert_eq!(words(expected, name).as_deref(), Some(why), "{expected}");
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
