//! Where a server listens: a host and a port, or a Unix socket.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// The address of one server, as in the seed list of a connection string.
///
/// Host names are kept in lower case, since DNS does not tell cases apart. An IPv6 address is kept
/// without its brackets and printed with them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ServerAddress {
    /// A host name or an IP address, and a port.
    Tcp {
        /// The name or address; no brackets, lower case.
        host: String,
        /// The port, 1 to 65535.
        port: u16,
    },
    /// A Unix domain socket; its path ends in `.sock`.
    Unix {
        /// The path, absolute or relative to the working directory.
        path: PathBuf,
    },
}

impl ServerAddress {
    /// The port of a MongoDB server where none is given.
    pub const DEFAULT_PORT: u16 = 27017;

    /// The address of `host` and `port`. An IPv6 address may stand in brackets.
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

    /// The address of the socket at `path`.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::Unix {
            path: path.as_ref().to_owned(),
        }
    }

    /// The host, or the path of a Unix socket, as text for people.
    pub fn host(&self) -> String {
        match self {
            Self::Tcp { host, .. } => host.clone(),
            Self::Unix { path } => path.display().to_string(),
        }
    }

    /// The port; none for a Unix socket.
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
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path } => write!(f, "{}", path.display()),
        }
    }
}

/// `host` as an IP address, if it is one. A zone (`fe80::1%eth0`) is not part of the address.
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
    fn ip_addresses_are_told_from_names() {
        for address in ["127.0.0.1", "::1", "fe80::1%eth0"] {
            assert!(ip_address(address).is_some(), "{address}");
        }
        for name in ["localhost", "1.2.3", "127.0.0.1%lo", "a%b"] {
            assert!(ip_address(name).is_none(), "{name}");
        }
    }
}
