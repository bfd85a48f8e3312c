//! An `http` or `https` URL, parsed and assembled (RFC 3986).

use std::fmt;

/// A parsed URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// True for `https`.
    pub(super) secure: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query, beginning with a slash.
    pub(super) target: String,
}

impl Url {
    /// Parses an absolute URL. Only `http` is accepted, without a user and without white space.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        match Self::parse_any(text) {
            Ok(url) if url.secure => Err("only http URLs are asked"),
            other => other,
        }
    }

    /// Parses an absolute `http` or `https` URL, without a user and without white space.
    pub(crate) fn parse_any(text: &str) -> Result<Self, &'static str> {
        let begins_with = |scheme: &str| {
            let start = text.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        let (secure, start) = match (begins_with("http://"), begins_with("https://")) {
            (true, _) => (false, "http://".len()),
            (_, true) => (true, "https://".len()),
            _ => return Err("only http URLs are asked"),
        };
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it holds a character that a URL cannot hold");
        }
        let rest = &text[start..];
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = host_and_port(authority, default_port(secure))?;
        let target = target.split('#').next().unwrap_or_default();
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            secure,
            host,
            port,
            target: format!("{slash}{target}"),
        })
    }

    /// The URL that `location`, absolute or only a path, leads to from here (RFC 9110 §10.2.2).
    pub(crate) fn join(&self, location: &str) -> Result<Self, &'static str> {
        match location.starts_with('/') && !location.starts_with("//") {
            true => Self::parse(&format!("http://{}{location}", self.authority())),
            false => Self::parse(location),
        }
    }

    /// This URL with one more path segment, which is already escaped.
    pub(crate) fn with_segment(&self, segment: &str) -> Self {
        let slash = if self.target.ends_with('/') { "" } else { "/" };
        Self {
            target: format!("{}{slash}{segment}", self.target),
            ..self.clone()
        }
    }

    /// Returns true for `https`.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host: a name, or an IP address without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Host and port, in the form of a `Host` header.
    pub(super) fn authority(&self) -> String {
        match self.port == default_port(self.secure) {
            true => self.bracketed_host(),
            false => self.host_and_port(),
        }
    }

    /// Host and port, always with the port.
    pub(super) fn host_and_port(&self) -> String {
        format!("{}:{}", self.bracketed_host(), self.port)
    }

    fn bracketed_host(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target)
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

pub(super) fn host_and_port(authority: &str, default: u16) -> Result<(String, u16), &'static str> {
    if authority.contains('@') {
        return Err("it holds a user");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("its IPv6 address has no end")?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if !digits.is_empty() => {
            digits.parse().map_err(|_| "its port is no number")?
        }
        Some(_) => default,
        None if port.is_empty() => default,
        None => return Err("its host cannot be read"),
    };
    if host.is_empty() || port == 0 {
        return Err("it names no host");
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_and_formatted() {
        let cases = [
            ("http://ocsp.example", "http://ocsp.example/"),
            (
                "HTTP://ocsp.example:80/a?b=c#d",
                "http://ocsp.example/a?b=c",
            ),
            ("http://ocsp.example:8080?x", "http://ocsp.example:8080/?x"),
            ("http://[::1]:88/p/", "http://[::1]:88/p/"),
            ("http://127.0.0.1:", "http://127.0.0.1/"),
        ];
        for (text, expected) in cases {
            assert_eq!(Url::parse(text).unwrap().to_string(), expected);
        }
        for wrong in [
            "",
            "https://a/",
            "ldap://a/",
            "http://",
            "http:///p",
            "http://:80/",
            "http://a:0/",
            "http://a:99999/",
            "http://u@a/",
            "http://u:p@a/",
            "http://[::1/",
            "http://[::1]x/",
            "http://a b/",
            "http://a/\r\nX: y",
            "http://é/",
            "httpx",
        ] {
            assert!(Url::parse(wrong).is_err(), "{wrong:?}");
        }
        let secure = Url::parse_any("HTTPS://sts.example:443/?a").unwrap();
        assert_eq!(secure.to_string(), "https://sts.example/?a");
        assert_eq!(secure.host_and_port(), "sts.example:443");
        assert!(secure.is_secure() && !Url::parse_any("http://a/").unwrap().is_secure());
        assert!(Url::parse_any("ftp://a/").is_err());
        let url = Url::parse("http://a:81/x").unwrap();
        assert_eq!(url.with_segment("MD%2B").to_string(), "http://a:81/x/MD%2B");
        assert_eq!(url.join("/y").unwrap().to_string(), "http://a:81/y");
        assert_eq!(url.join("http://b/").unwrap().to_string(), "http://b/");
        for wrong in ["https://a/", "//b/", "y", ""] {
            assert!(url.join(wrong).is_err(), "{wrong:?}");
        }
    }
}
