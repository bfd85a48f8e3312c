//! The seed list: names, IP addresses and Unix sockets. Source: "Connection String", "Host
//! Information".

use std::net::{Ipv4Addr, Ipv6Addr};

use super::syntax::{self, ENCODE_PERCENT};
use super::trouble::{ENCODE_CREDENTIALS, invalid};
use crate::address::ServerAddress;
use crate::error::{Error, Result};

/// The hosts of `mongodb://`, separated by commas.
pub(super) fn seed_list(text: &str) -> Result<Vec<ServerAddress>> {
    let single = !text.contains(',');
    text.split(',')
        .enumerate()
        .map(|(index, host)| {
            let place = Place {
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
    let place = Place {
        number: 1,
        single: true,
    };
    let refuse = |problem| {
        Err(place.refuse(
            problem,
            "mongodb+srv:// takes one host name and nothing else.",
        ))
    };
    if text.contains(',') {
        return refuse("has a \",\": mongodb+srv takes one host");
    }
    if text.starts_with('[') {
        return refuse("is an IP address: mongodb+srv takes a name");
    }
    if text.contains(':') {
        return refuse("has a \":\": mongodb+srv takes no port");
    }
    match address(text, place)? {
        ServerAddress::Unix { .. } => refuse("is a Unix socket: mongodb+srv takes a name"),
        ServerAddress::Tcp { host, .. } if host.parse::<Ipv4Addr>().is_ok() => {
            refuse("is an IP address: mongodb+srv takes a name")
        }
        ServerAddress::Tcp { host, .. } => Ok(host),
    }
}

/// The host that an error is about.
#[derive(Clone, Copy)]
struct Place {
    number: usize,
    single: bool,
}

impl Place {
    fn refuse(self, problem: &str, remedy: &str) -> Error {
        invalid(format_args!("host {}", self.number), problem, remedy)
    }
}

fn address(text: &str, place: Place) -> Result<ServerAddress> {
    if text.is_empty() {
        let remedy = match place.single {
            true => {
                "Name a host behind \"//\". The path of a Unix socket must be percent-encoded: / as %2F."
            }
            false => "Remove the \",\" without a host.",
        };
        return Err(place.refuse("is empty", remedy));
    }
    if let Some(rest) = text.strip_prefix('[') {
        return ip_literal(rest, place);
    }
    let (host, port) = match text.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            return Err(place.refuse(
                "has more than one \":\"",
                "Put an IPv6 address in brackets, as in [::1]:27017. A \":\" in the user name or \
                 password must be percent-encoded as %3A, and an \"@\" must follow them.",
            ));
        }
        Some((host, digits)) => (host, Some(digits)),
        None => (text, None),
    };
    let decoded = syntax::decode(host)
        .map_err(|bad| bad.error(&format!("host {}", place.number), ENCODE_PERCENT))?;
    if decoded.contains('/') {
        return unix_socket(decoded, port, place);
    }
    check_name(&decoded, place)?;
    Ok(ServerAddress::tcp(&decoded, read_port(port, place)?))
}

fn unix_socket(path: String, port: Option<&str>, place: Place) -> Result<ServerAddress> {
    if port.is_some() {
        return Err(place.refuse(
            "is a Unix socket with a port",
            "Remove the port, or percent-encode a \":\" that belongs to the path.",
        ));
    }
    if path.chars().any(char::is_control) {
        return Err(place.refuse("has a control character in its path", "Remove it."));
    }
    if !path.ends_with(".sock") {
        return Err(place.refuse(
            "is the path of a Unix socket and does not end in .sock",
            "Name the socket's file, for example %2Ftmp%2Fmongodb-27017.sock.",
        ));
    }
    Ok(ServerAddress::unix(path))
}

/// Parses an IPv6 address in brackets, with a zone (RFC 6874) and a port, if present.
fn ip_literal(rest: &str, place: Place) -> Result<ServerAddress> {
    const REMEDY: &str = "Write an IPv6 address as [::1] or [::1]:27017, one with a zone as \
        [fe80::1%25eth0].";
    let Some((text, port)) = rest.split_once(']') else {
        return Err(place.refuse("has a \"[\" without a \"]\"", REMEDY));
    };
    let port = match port.strip_prefix(':') {
        Some(digits) => Some(digits),
        None if port.is_empty() => None,
        None => return Err(place.refuse("has text behind the \"]\"", REMEDY)),
    };
    let (address, zone) = match (text.split_once("%25"), text.split_once('%')) {
        (Some((address, zone)), _) => (address, Some(zone)),
        (None, Some((address, zone)))
            if address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() =>
        {
            return Err(place.refuse(
                "has a \"%\" before its zone that is not percent-encoded",
                "Write the \"%\" as %25, as in [fe80::1%25eth0].",
            ));
        }
        _ => (text, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let bad_zone = zone.is_some_and(|zone| zone.is_empty() || !zone.chars().all(plain));
    if address.parse::<Ipv6Addr>().is_err() || bad_zone {
        return Err(place.refuse("has brackets that hold no IPv6 address", REMEDY));
    }
    // The name of an interface is case-sensitive, unlike the rest.
    let zone = zone.map(|zone| format!("%{zone}")).unwrap_or_default();
    Ok(ServerAddress::Tcp {
        host: address.to_ascii_lowercase() + &zone,
        port: read_port(port, place)?,
    })
}

fn read_port(text: Option<&str>, place: Place) -> Result<u16> {
    let Some(digits) = text else {
        return Ok(ServerAddress::DEFAULT_PORT);
    };
    let port = match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse().unwrap_or(0),
        false => 0,
    };
    match port {
        0 => Err(place.refuse(
            "has a port that is not a number between 1 and 65535",
            "Correct the port, or leave out the \":\". If that is a password, percent-encode it (/ \
             as %2F, ? as %3F), and write an \"@\" between it and the host.",
        )),
        port => Ok(port),
    }
}

/// Checks a DNS name or a dotted IPv4 address. Names with characters beyond ASCII are accepted unchanged.
fn check_name(name: &str, place: Place) -> Result<()> {
    const REMEDY: &str = "Check the spelling of the host name.";
    if name.contains([':', '@']) {
        return Err(place.refuse(
            "has an encoded \":\" or \"@\"",
            "Do not encode the \":\" between user name and password or before a port, nor the \"@\" \
             before the host.",
        ));
    }
    if !name.chars().all(is_name) {
        return Err(place.refuse("has a character that no host name has", ENCODE_CREDENTIALS));
    }
    let labels = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 || labels.split('.').any(str::is_empty) {
        return Err(place.refuse("is over-long or has an empty part between dots", REMEDY));
    }
    if name.parse::<Ipv4Addr>().is_err() && reads_as_ipv4(labels) {
        return Err(place.refuse(
            "looks like an IPv4 address and is none",
            "Write four numbers between 0 and 255, joined by dots.",
        ));
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
    fn the_number_of_the_host_is_told() {
        let error = seed_list("a,b,c:0").unwrap_err();
        assert!(error.to_string().contains("host 3 has a port"), "{error}");
    }

    #[test]
    fn a_zone_behind_a_bare_percent_sign_is_told_how_to_write_it() {
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
