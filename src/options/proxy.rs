//! The SOCKS5 proxy on the way to servers. Source: "SOCKS5 Support".

use super::Secret;
use crate::address::ServerAddress;

/// A SOCKS5 proxy. It resolves the names of servers; its own name is resolved here.
///
/// Unix sockets do not go through it, and neither do questions to DNS (`mongodb+srv`), to OCSP responders and to
/// services that give credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyOptions {
    /// Its name or address (`proxyHost`). An IPv6 address may stand in brackets.
    pub host: String,
    /// Its port (`proxyPort`; 1 and up). Default: 1080.
    pub port: u16,
    /// Its user and password (`proxyUsername`, `proxyPassword`; 1 to 255 bytes each). They are sent in the clear, if the
    /// proxy asks for them. Default: none; only proxies that ask for nobody can then be passed.
    pub credential: Option<ProxyCredential>,
}

/// The user of a SOCKS5 proxy (RFC 1929).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyCredential {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

impl ProxyOptions {
    /// The longest user, password and name of a server, in bytes. Sources: RFC 1928 §5, RFC 1929 §2.
    pub const MAX_LENGTH: usize = 255;

    /// Returns why there can be no such proxy to these servers; empty if there can.
    pub(crate) fn conflicts(&self, hosts: &[ServerAddress]) -> Vec<&'static str> {
        let over_long = |text: &str| text.len() > Self::MAX_LENGTH;
        let has_long_name = |address: &ServerAddress| match address {
            ServerAddress::Tcp { host, .. } => over_long(host),
            ServerAddress::Unix { .. } => false,
        };
        let (username, password) = match &self.credential {
            Some(one) => (one.username.as_str(), one.password.expose()),
            None => ("", ""),
        };
        let rules = [
            (self.host.is_empty(), "proxyHost is empty"),
            (self.port == 0, "proxyPort must be 1 or more"),
            (
                username.is_empty() != password.is_empty(),
                "proxyUsername and proxyPassword go together",
            ),
            (
                over_long(username),
                "proxyUsername is longer than 255 bytes",
            ),
            (
                over_long(password),
                "proxyPassword is longer than 255 bytes",
            ),
            (
                hosts.iter().any(has_long_name),
                "with proxyHost the name of a server may have 255 bytes, and one is longer",
            ),
        ];
        let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
        broken.map(|(_, why)| why).collect()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> ServerAddress {
        ServerAddress::tcp(&self.host, self.port)
    }
}

/// The options of a proxy as they are collected.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyDraft {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
}

impl ProxyDraft {
    /// The options that need another one.
    pub(crate) fn conflicts(&self) -> Vec<&'static str> {
        let is_none = self.host.is_none();
        let rules = [
            (is_none && self.port.is_some(), "proxyPort needs proxyHost"),
            (
                is_none && self.username.is_some(),
                "proxyUsername needs proxyHost",
            ),
            (
                is_none && self.password.is_some(),
                "proxyPassword needs proxyHost",
            ),
            (
                self.username.is_some() != self.password.is_some(),
                "proxyUsername and proxyPassword go together",
            ),
        ];
        let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
        broken.map(|(_, why)| why).collect()
    }

    /// The options with their defaults; none without a proxy.
    pub(crate) fn finish(self) -> Option<ProxyOptions> {
        let credential = self.username.zip(self.password);
        Some(ProxyOptions {
            host: self.host?,
            port: self.port.unwrap_or(1080),
            credential: credential
                .map(|(username, password)| ProxyCredential { username, password }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{ClientOptions, ClientOptionsBuilder};

    fn one_host() -> ClientOptionsBuilder {
        ClientOptions::builder().host(ServerAddress::tcp("h", 1))
    }

    #[test]
    fn what_a_proxy_cannot_be_told_is_a_conflict_that_names_the_option() {
        let long = "x".repeat(256);
        let fits = &long[..255];
        let conflict = |builder: ClientOptionsBuilder| builder.build().unwrap_err().to_string();
        let of = |user: &str, password: &str| {
            let builder = one_host().proxy("p", 1080);
            builder.proxy_credential(user, password)
        };
        assert!(of(fits, fits).build().is_ok());
        for (builder, option) in [
            (of(&long, "secret"), "proxyUsername is longer"),
            (of("bob", &long), "proxyPassword is longer"),
            (of("", "secret"), "go together"),
            (of("bob", ""), "go together"),
            (one_host().proxy("p", 0), "proxyPort must be"),
            (one_host().proxy("", 1080), "proxyHost is empty"),
            (
                of("", "").host(ServerAddress::tcp(&long, 1)),
                "may have 255 bytes",
            ),
        ] {
            let text = conflict(builder);
            assert!(text.contains(option), "{option}: {text}");
            assert!(!text.contains("secret") && !text.contains(fits), "{text}");
        }
        // Texts without a byte are ignored ("SOCKS5 Support"), and without a proxy a name may have any length.
        assert_eq!(of("", "").build().unwrap().proxy.unwrap().credential, None);
        let far = one_host().host(ServerAddress::tcp(&long, 1));
        assert!(far.build().is_ok());
    }
}
