//! Server addresses: a host and a port, or a Unix socket.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::printable::Printable;

/// The address of one server, as in the seed list of a connection string.
///
/// Host names are stored in lower case, because DNS is case-insensitive. An IPv6 address is stored without brackets
/// and printed with them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ServerAddress {
    /// A host name or an IP address, and a port.
    Tcp {
        /// The name or address, in lower case and without brackets.
        host: String,
        /// The port, 1 to 65535.
        port: u16,
    },
    /// A Unix domain socket, whose path ends in `.sock`.
    Unix {
        /// The path, absolute or relative to the working directory.
        path: PathBuf,
    },
}

impl ServerAddress {
    /// The default port of a MongoDB server.
    pub const DEFAULT_PORT: u16 = 27017;

    /// Creates the address of `host` and `port`. An IPv6 address may be in brackets.
    ///
    /// ```
    /// use mongotls::ServerAddress;
    ///
    /// let address = ServerAddress::tcp("db.example.com", 27018);
    /// assert_eq!(address.to_string(), "db.example.com:27018");
    /// assert_eq!(Ok(address), "db.example.com:27018".parse());
    /// ```
    pub fn tcp(host: &str, port: u16) -> Self {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        Self::Tcp {
            host: bare.to_lowercase(),
            port,
        }
    }

    /// Creates the address of the socket at `path`.
    ///
    /// ```
    /// use mongotls::ServerAddress;
    ///
    /// let address = ServerAddress::unix("/run/mongodb/mongodb-27017.sock");
    /// assert_eq!(address.port(), None);
    /// ```
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::Unix {
            path: path.as_ref().to_owned(),
        }
    }

    /// Returns the host, or the path of a Unix socket, as readable text.
    pub fn host(&self) -> String {
        match self {
            Self::Tcp { host, .. } => host.clone(),
            Self::Unix { path } => path.display().to_string(),
        }
    }

    /// Returns the port, or `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } => Some(*port),
            Self::Unix { .. } => None,
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => {
                write!(f, "[{}]:{port}", Printable(host))
            }
            Self::Tcp { host, port } => write!(f, "{}:{port}", Printable(host)),
            Self::Unix { path } => write!(f, "{}", Printable(path.display())),
        }
    }
}

/// Parses `host`, `host:port` or `[address]:port`, the forms that servers use for each other.
impl FromStr for ServerAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, "")) => (address, None),
            Some((address, port)) => (address, Some(port.strip_prefix(':').ok_or(InvalidAddress)?)),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let is_address = text.starts_with('[');
        if is_address != host.contains(':') || (is_address && ip_address(host).is_none()) {
            return Err(InvalidAddress);
        }
        let is_foreign = |c: char| c.is_whitespace() || c.is_control() || "/@,[]".contains(c);
        if host.is_empty() || host.len() > MAX_NAME || host.contains(is_foreign) {
            return Err(InvalidAddress);
        }
        let port = match port {
            // `parse` would accept a sign.
            Some(digits) if !digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(InvalidAddress);
            }
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or(InvalidAddress)?,
            None => Self::DEFAULT_PORT,
        };
        Ok(Self::tcp(host, port))
    }
}

/// The error for a text that is not a server address. `Display` shows the valid forms, without repeating the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidAddress;

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not the address of a server: write host, host:port or [IPv6 address]:port, with a port from 1 to 65535",
        )
    }
}

impl std::error::Error for InvalidAddress {}

/// The maximum length of a DNS name, in bytes (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// Returns `host` as an IP address, if it is one. A zone (`fe80::1%eth0`) is not part of the address.
pub(crate) fn ip_address(host: &str) -> Option<IpAddr> {
    match host.split_once('%') {
        Some((address, _zone)) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_stand_in_a_connection_string() {
        assert_eq!(
            ServerAddress::tcp("DB.Example", 27018).to_string(),
            "db.example:27018"
        );
        assert_eq!(ServerAddress::tcp("[::1]", 1).to_string(), "[::1]:1");
        assert_eq!(ServerAddress::tcp("::1", 1), ServerAddress::tcp("[::1]", 1));
        assert_eq!(
            ServerAddress::unix("/tmp/M.sock").to_string(),
            "/tmp/M.sock"
        );
    }

    #[test]
    fn addresses_are_read_as_servers_write_them() {
        for (text, expected) in [
            ("Db.Example:27018", ServerAddress::tcp("db.example", 27018)),
            ("db", ServerAddress::tcp("db", 27017)),
            ("[::1]:5", ServerAddress::tcp("::1", 5)),
            ("[FE80::1%eth0]", ServerAddress::tcp("fe80::1%eth0", 27017)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            ":1",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:b",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]5",
            "[a]:1",
            "[]:1",
            "a b:1",
            "a\n",
            "/tmp/m.sock",
            "u@a",
        ] {
            assert_eq!(text.parse::<ServerAddress>(), Err(InvalidAddress), "{text}");
        }
        assert!("a".repeat(254).parse::<ServerAddress>().is_err());
    }

    #[test]
    fn ip_addresses_are_distinguished_from_names() {
        for address in ["127.0.0.1", "::1", "fe80::1%eth0"] {
            assert!(ip_address(address).is_some(), "{address}");
        }
        for name in ["localhost", "1.2.3", "127.0.0.1%lo", "a%b"] {
            assert!(ip_address(name).is_none(), "{name}");
        }
    }
}
