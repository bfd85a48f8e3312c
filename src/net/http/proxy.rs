//! The proxy that the environment names, as curl and others understand it.

use super::request::{HttpRequest, ProxyPolicy};
use super::url::host_and_port;

/// The proxy that the environment names (`http_proxy` or `https_proxy`, `all_proxy`, `no_proxy`).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// User and password in the form of Basic authentication (RFC 7617).
    pub(super) credential: Option<String>,
}

impl Proxy {
    /// The proxy for a request.
    pub(super) fn for_request(
        request: &HttpRequest<'_>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        match request.proxy {
            ProxyPolicy::Direct => None,
            ProxyPolicy::Environment => {
                Self::for_host(&request.url.host, request.url.secure, variable)
            }
        }
    }

    /// The value of `Proxy-Authorization`, if the proxy needs a user.
    pub(super) fn authorization(&self) -> Option<String> {
        let credential = self.credential.as_deref()?;
        Some(format!("Basic {credential}"))
    }

    /// The proxy for a host. `HTTP_PROXY` in upper case is ignored: in a CGI program, the sender of a request can set
    /// it.
    fn for_host(
        host: &str,
        secure: bool,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        let of_any = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| variable(name));
            values.find(|value| !value.is_empty())
        };
        let exempt = of_any(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        if exempt.split(',').any(|entry| covers(entry.trim(), host)) {
            return None;
        }
        let names: &[&str] = match secure {
            true => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
            false => &["http_proxy", "all_proxy", "ALL_PROXY"],
        };
        Self::parse(&of_any(names)?)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            // Other kinds of proxies are not supported.
            Some(_) => return None,
            None => text,
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, authority),
        };
        let (host, port) = host_and_port(authority, 80).ok()?;
        let credential = user.map(|user| {
            let decoded: Vec<u8> = percent_encoding::percent_decode_str(user).collect();
            openssl::base64::encode_block(&decoded)
        });
        Some(Self {
            host,
            port,
            credential,
        })
    }
}

/// Returns true if an entry of `no_proxy` applies to a host: it is the host, a domain above it, or `*`.
fn covers(entry: &str, host: &str) -> bool {
    let domain = entry
        .trim_start_matches('*')
        .trim_start_matches('.')
        .to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    entry == "*"
        || (!domain.is_empty() && (host == domain || host.ends_with(&format!(".{domain}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_the_one_that_the_environment_names() {
        let of = |secure: bool, variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let mut found = variables.iter().filter(|(key, _)| *key == name);
                found.next().map(|(_, value)| (*value).to_owned())
            };
            let proxy = Proxy::for_host("ocsp.example", secure, variable);
            proxy.map(|proxy| format!("{}:{}", proxy.host, proxy.port))
        };
        let proxy = |variables: &[(&str, &str)]| of(false, variables);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(proxy(&[]), None);
        assert_eq!(proxy(&[("http_proxy", "http://p:3128/")]), some("p:3128"));
        assert_eq!(proxy(&[("http_proxy", "p")]), some("p:80"));
        assert_eq!(proxy(&[("HTTP_PROXY", "http://p:3128")]), None);
        assert_eq!(proxy(&[("https_proxy", "http://p:3128")]), None);
        assert_eq!(of(true, &[("http_proxy", "http://p:3128")]), None);
        for name in ["https_proxy", "HTTPS_PROXY", "all_proxy"] {
            assert_eq!(of(true, &[(name, "http://p:3128")]), some("p:3128"));
        }
        assert_eq!(proxy(&[("ALL_PROXY", "http://p:1")]), some("p:1"));
        assert_eq!(
            proxy(&[("http_proxy", ""), ("all_proxy", "http://p:1")]),
            some("p:1")
        );
        assert_eq!(proxy(&[("all_proxy", "socks5://p:1")]), None);
        for (exempt, expected) in [
            ("*", None),
            ("ocsp.example", None),
            ("x, EXAMPLE", None),
            (".example", None),
            ("*.example", None),
            ("csp.example", some("p:80")),
            ("", some("p:80")),
            (",", some("p:80")),
        ] {
            assert_eq!(
                proxy(&[("http_proxy", "p"), ("no_proxy", exempt)]),
                expected,
                "{exempt:?}"
            );
        }
    }
}
