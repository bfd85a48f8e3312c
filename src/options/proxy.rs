//! The SOCKS5 proxy for connections to servers. Source: "SOCKS5 Support".

use super::Secret;
use crate::address::ServerAddress;
use crate::reason::options::OptionConflict;

/// A SOCKS5 proxy. The proxy resolves the names of servers; the client resolves the name of the proxy.
///
/// Unix sockets do not use the proxy. Neither do requests to DNS (`mongodb+srv`), OCSP responders and credential
/// services.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyOptions {
    /// The name or address of the proxy (`proxyHost`). An IPv6 address may be in brackets.
    pub host: String,
    /// The port of the proxy (`proxyPort`; 1 and up). Default: 1080.
    pub port: u16,
    /// The user name and password for the proxy (`proxyUsername`, `proxyPassword`; 1 to 255 bytes each). They are sent
    /// unencrypted if the proxy requests them. Default: `None`, which works only with proxies that require no
    /// authentication.
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
    /// The maximum length of a user name, password or server name, in bytes. Sources: RFC 1928 §5, RFC 1929 §2.
    pub const MAX_LENGTH: usize = 255;

    /// Returns the reasons why this proxy cannot be used for these servers. The list is empty if it can.
    pub(crate) fn conflicts(&self, hosts: &[ServerAddress]) -> Vec<OptionConflict> {
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
            (self.host.is_empty(), OptionConflict::ProxyHostEmpty),
            (self.port == 0, OptionConflict::ProxyPortZero),
            (
                username.is_empty() != password.is_empty(),
                OptionConflict::ProxyCredentialIncomplete,
            ),
            (over_long(username), OptionConflict::ProxyUsernameTooLong),
            (over_long(password), OptionConflict::ProxyPasswordTooLong),
            (
                hosts.iter().any(has_long_name),
                OptionConflict::HostTooLongForProxy,
            ),
        ];
        let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
        broken.map(|(_, why)| why).collect()
    }

    /// Returns the address of the proxy.
    pub(crate) fn address(&self) -> ServerAddress {
        ServerAddress::tcp(&self.host, self.port)
    }
}

/// The proxy options while they are collected.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyDraft {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
}

impl ProxyDraft {
    /// Returns the conflicts of options that need another option.
    pub(crate) fn conflicts(&self) -> Vec<OptionConflict> {
        let is_none = self.host.is_none();
        let rules = [
            (
                is_none && self.port.is_some(),
                OptionConflict::ProxyPortWithoutHost,
            ),
            (
                is_none && self.username.is_some(),
                OptionConflict::ProxyUsernameWithoutHost,
            ),
            (
                is_none && self.password.is_some(),
                OptionConflict::ProxyPasswordWithoutHost,
            ),
            (
                self.username.is_some() != self.password.is_some(),
                OptionConflict::ProxyCredentialIncomplete,
            ),
        ];
        let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
        broken.map(|(_, why)| why).collect()
    }

    /// Returns the options with their defaults, or `None` without a proxy.
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
    fn values_that_socks5_cannot_carry_conflict() {
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
        // Empty texts are ignored ("SOCKS5 Support"), and without a proxy a name may have any length.
        assert_eq!(of("", "").build().unwrap().proxy.unwrap().credential, None);
        let far = one_host().host(ServerAddress::tcp(&long, 1));
        assert!(far.build().is_ok());
    }
}
