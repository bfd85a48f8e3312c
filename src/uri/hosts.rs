//! The seed list: names, IP addresses and Unix sockets. Source: "Connection String", "Host
//! Information".

use std::net::{Ipv4Addr, Ipv6Addr};

use super::error::invalid;
use super::syntax;
use crate::address::ServerAddress;
use crate::error::{Error, Result};
use crate::reason::options::{UriPlace, UriProblem};

/// The hosts of `mongodb://`, separated by commas.
pub(super) fn seed_list(text: &str) -> Result<Vec<ServerAddress>> {
    let single = !text.contains(',');
    text.split(',')
        .enumerate()
        .map(|(index, host)| {
            let place = HostPosition {
                number: index + 1,
                single,
            };
            address(host, place)
        })
        .collect()
}

/// The one name of `mongodb+srv://`. Source: "Initial DNS Seedlist Discovery", "Validation Before
/// Querying DNS"; a name of one or two parts is allowed since 2024-09-24.
pub(super) fn srv_host(text: &str) -> Result<String> {
    let place = HostPosition {
        number: 1,
        single: true,
    };
    let refuse = |problem| Err(place.error(problem));
    if text.contains(',') {
        return refuse(UriProblem::SrvList);
    }
    if text.starts_with('[') {
        return refuse(UriProblem::SrvAddress);
    }
    if text.contains(':') {
        return refuse(UriProblem::SrvPort);
    }
    match address(text, place)? {
        ServerAddress::Unix { .. } => refuse(UriProblem::SrvSocket),
        ServerAddress::Tcp { host, .. } if host.parse::<Ipv4Addr>().is_ok() => {
            refuse(UriProblem::SrvAddress)
        }
        ServerAddress::Tcp { host, .. } => Ok(host),
    }
}

/// The host that an error is about.
#[derive(Clone, Copy)]
struct HostPosition {
    number: usize,
    single: bool,
}

impl HostPosition {
    fn error(self, problem: UriProblem) -> Error {
        invalid(UriPlace::Host(self.number), problem)
    }
}

fn address(text: &str, place: HostPosition) -> Result<ServerAddress> {
    if text.is_empty() {
        let is_only = place.single;
        return Err(place.error(UriProblem::EmptyHost { is_only }));
    }
    if let Some(rest) = text.strip_prefix('[') {
        return ip_literal(rest, place);
    }
    let (host, port) = match text.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            return Err(place.error(UriProblem::SeveralColons));
        }
        Some((host, digits)) => (host, Some(digits)),
        None => (text, None),
    };
    let decoded = syntax::decode(host).map_err(|bad| bad.error(UriPlace::Host(place.number)))?;
    if decoded.contains('/') {
        return unix_socket(decoded, port, place);
    }
    check_name(&decoded, place)?;
    Ok(ServerAddress::tcp(&decoded, read_port(port, place)?))
}

fn unix_socket(path: String, port: Option<&str>, place: HostPosition) -> Result<ServerAddress> {
    if port.is_some() {
        return Err(place.error(UriProblem::SocketWithPort));
    }
    if path.chars().any(char::is_control) {
        return Err(place.error(UriProblem::ControlCharacterInPath));
    }
    if !path.ends_with(".sock") {
        return Err(place.error(UriProblem::SocketName));
    }
    Ok(ServerAddress::unix(path))
}

/// Parses an IPv6 address in brackets, with a zone (RFC 6874) and a port, if present.
fn ip_literal(rest: &str, place: HostPosition) -> Result<ServerAddress> {
    let Some((text, port)) = rest.split_once(']') else {
        return Err(place.error(UriProblem::UnclosedBracket));
    };
    let port = match port.strip_prefix(':') {
        Some(digits) => Some(digits),
        None if port.is_empty() => None,
        None => return Err(place.error(UriProblem::TextAfterBracket)),
    };
    let (address, zone) = match (text.split_once("%25"), text.split_once('%')) {
        (Some((address, zone)), _) => (address, Some(zone)),
        (None, Some((address, zone)))
            if address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() =>
        {
            return Err(place.error(UriProblem::ZonePercent));
        }
        _ => (text, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let bad_zone = zone.is_some_and(|zone| zone.is_empty() || !zone.chars().all(plain));
    if address.parse::<Ipv6Addr>().is_err() || bad_zone {
        return Err(place.error(UriProblem::NoIpv6Address));
    }
    // The name of an interface is case-sensitive, unlike the rest.
    let zone = zone.map(|zone| format!("%{zone}")).unwrap_or_default();
    Ok(ServerAddress::Tcp {
        host: address.to_ascii_lowercase() + &zone,
        port: read_port(port, place)?,
    })
}

fn read_port(text: Option<&str>, place: HostPosition) -> Result<u16> {
    let Some(digits) = text else {
        return Ok(ServerAddress::DEFAULT_PORT);
    };
    let port = match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse().unwrap_or(0),
        false => 0,
    };
    match port {
        0 => Err(place.error(UriProblem::Port)),
        port => Ok(port),
    }
}

/// Checks a DNS name or a dotted IPv4 address. Names with characters beyond ASCII are accepted unchanged.
fn check_name(name: &str, place: HostPosition) -> Result<()> {
    if name.contains([':', '@']) {
        return Err(place.error(UriProblem::EncodedDelimiter));
    }
    if !name.chars().all(is_name) {
        return Err(place.error(UriProblem::HostCharacter));
    }
    let labels = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 || labels.split('.').any(str::is_empty) {
        return Err(place.error(UriProblem::HostLabels));
    }
    if name.parse::<Ipv4Addr>().is_err() && reads_as_ipv4(labels) {
        return Err(place.error(UriProblem::LooksLikeIpv4));
    }
    Ok(())
}

/// Returns true if the C library reads `name` as an IPv4 address, such as 127.1, 0x7f000001 and 010.0.0.1
/// (`inet_aton`). A name such as 256.0.0.1 is looked up in DNS (RFC 3986 §3.2.2).
fn reads_as_ipv4(name: &str) -> bool {
    let parts: Option<Vec<u32>> = name.split('.').map(c_number).collect();
    let Some([first @ .., last]) = parts.as_deref() else {
        return false;
    };
    // The last number fills the bytes that the others leave.
    let is_in_range = u32::MAX.checked_shr(8 * u32::try_from(first.len()).unwrap_or(4));
    is_in_range.is_some_and(|most| *last <= most) && first.iter().all(|number| *number <= 0xff)
}

/// Parses a number in C notation: decimal, octal after 0, hexadecimal after 0x.
fn c_number(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (lower.as_str(), 10),
    };
    // `from_str_radix` would accept a sign.
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    u32::from_str_radix(digits, radix).ok().filter(|_| is_plain)
}

fn is_name(c: char) -> bool {
    match c {
        '-' | '_' | '.' => true,
        c if c.is_ascii() => c.is_ascii_alphanumeric(),
        // Characters without a width or that change the direction of writing; variants of the dot, the slash and the
        // at-sign.
        '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' => false,
        '\u{FEFF}' | '\u{FFFD}' | '\u{FF0E}' | '\u{FF0F}' | '\u{FF20}' | '\u{3002}' => false,
        c => !c.is_whitespace() && !c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> String {
        let list = seed_list(text).unwrap();
        assert_eq!(list.len(), 1);
        list[0].to_string()
    }

    #[test]
    fn hosts_are_read_in_all_their_forms() {
        assert_eq!(one("DB.Example"), "db.example:27017");
        assert_eq!(one("db.example.:1"), "db.example.:1");
        assert_eq!(one("127.0.0.1:65535"), "127.0.0.1:65535");
        assert_eq!(one("[2001:DB8::1]"), "[2001:db8::1]:27017");
        assert_eq!(one("[fe80::1%25Eth0]:2"), "[fe80::1%Eth0]:2");
        assert_eq!(one("%2Ftmp%2FM%20.sock"), "/tmp/M .sock");
        assert_eq!(one("b%C3%BCcher"), "bücher:27017");
        assert_eq!(one("mongodb-27017.sock"), "mongodb-27017.sock:27017");
        assert_eq!(seed_list("a,b:1,[::1]").unwrap().len(), 3);
    }

    #[test]
    fn a_name_of_numbers_that_is_no_address_is_a_name() {
        for name in [
            "256.0.0.1",
            "1.2.3.999",
            "1.2.3.4.5",
            "99999999999",
            "db.1",
            "1.2.3.x",
            "0x1g",
            "08.0.0.1",
            "0xffffffff0",
            "300.1.2",
            "1.16777216",
        ] {
            assert_eq!(one(name), format!("{name}:27017"));
            assert_eq!(srv_host(name).unwrap(), name);
        }
        for name in [
            "127.1",
            "1.2.3",
            "27017",
            "0x7f000001",
            "0X7f.1",
            "0x7f.0.0.1",
            "010.0.0.1",
            "127.0.0.01",
            "127.0.0.1.",
            "1.16777215",
            "0",
            "4294967295",
        ] {
            let error = seed_list(name).unwrap_err().to_string();
            let expected = "host 1 looks like an IPv4 address and is none";
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn the_error_names_the_number_of_the_host() {
        let error = seed_list("a,b,c:0").unwrap_err();
        assert!(error.to_string().contains("host 3 has a port"), "{error}");
    }

    #[test]
    fn an_unescaped_zone_gets_a_remedy() {
        for text in ["[fe80::1%eth0]", "[fe80::1%eth0]:27017", "[fe80::1%1]"] {
            let error = seed_list(text).unwrap_err();
            let cause = error.cause().unwrap();
            assert_eq!(cause.code(), crate::cause::CauseCode::InvalidUri);
            assert_eq!(
                (cause.message(), cause.remedy()),
                (
                    "invalid connection string: host 1 has a \"%\" before its zone that is not percent-encoded",
                    "Write the \"%\" as %25, as in [fe80::1%25eth0]."
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn srv_takes_one_name() {
        assert_eq!(srv_host("Cluster.Example").unwrap(), "cluster.example");
        for text in ["", "a,b", "a:1", "1.2.3.4", "[::1]", "%2Fx.sock"] {
            assert!(srv_host(text).is_err(), "{text}");
        }
    }
}
