//! The callbacks that provide access tokens for MONGODB-OIDC.
//!
//! Source: "OIDC Callback" and "OIDC Human Callback" in "Driver Authentication". The built-in environments
//! (`ENVIRONMENT`) do not use this module.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Secret;

/// The argument of a callback of [`ClientOptionsBuilder`](super::ClientOptionsBuilder).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OidcRequest {
    /// The version of this interface: [`OidcRequest::VERSION`]. It increases with changes that may matter to a
    /// program.
    pub version: u32,
    /// The maximum time the callback may take. A later token does not help the waiting operation, but is cached for
    /// the next one.
    pub timeout: Duration,
    /// The end of that time.
    pub deadline: Instant,
    /// The user name in the connection string or in the options.
    pub username: Option<String>,
    /// The server's information about the identity provider; only with a human callback.
    pub idp_info: Option<IdpInfo>,
    /// The refresh token that the callback returned last, if it can be used; only with a human callback.
    pub refresh_token: Option<Secret>,
}

impl OidcRequest {
    /// The version of this interface.
    pub const VERSION: u32 = 1;
}

/// Information from the server about a user's identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdpInfo {
    /// The URL of the authorization server: the `iss` of its tokens, and the base of its metadata (RFC 8414). It
    /// comes from the server; the list of allowed hosts ensures that this is a server you trust.
    pub issuer: String,
    /// The identifier of this client at the identity provider.
    pub client_id: Option<String>,
    /// Additional scopes to request.
    pub request_scopes: Vec<String>,
}

/// The result of a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcToken {
    pub(crate) access_token: Secret,
    pub(crate) expires_in: Option<Duration>,
    pub(crate) refresh_token: Option<Secret>,
}

impl OidcToken {
    /// Creates a result with this access token, which is sent to the server as it is and is not parsed.
    pub fn new(access_token: impl Into<Secret>) -> Self {
        Self {
            access_token: access_token.into(),
            expires_in: None,
            refresh_token: None,
        }
    }

    /// Sets the lifetime of the token; after that it is not used for new connections. Zero means no limit. Default:
    /// no limit; the server rejects an expired token, and the callback is then called again.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use mongotls::options::OidcToken;
    ///
    /// let token = OidcToken::new("ey…").expires_in(Duration::from_secs(300));
    /// ```
    #[must_use]
    pub fn expires_in(mut self, duration: Duration) -> Self {
        self.expires_in = Some(duration).filter(|duration| !duration.is_zero());
        self
    }

    /// Adds a refresh token, which obtains the next access token without human interaction. It is kept for the next
    /// call of a human callback.
    #[must_use]
    pub fn refresh_token(mut self, token: impl Into<Secret>) -> Self {
        self.refresh_token = Some(token.into());
        self
    }
}

/// The error of a callback that has no token. Its text appears in errors, so it must not contain a secret.
pub type OidcError = Box<dyn StdError + Send + Sync>;

type TokenFunction = dyn Fn(&OidcRequest) -> Result<OidcToken, OidcError> + Send + Sync;

/// A callback of the program that returns access tokens.
#[derive(Clone)]
pub(crate) struct OidcCallback {
    function: Arc<TokenFunction>,
    /// The hosts for which the callback may be called, if it requires human interaction.
    pub(crate) human: Option<AllowedHosts>,
}

// A panic of the program's function is caught where it is called.
impl std::panic::UnwindSafe for OidcCallback {}
impl std::panic::RefUnwindSafe for OidcCallback {}

impl OidcCallback {
    pub(crate) fn new(
        ask: impl Fn(&OidcRequest) -> Result<OidcToken, OidcError> + Send + Sync + 'static,
        human: Option<AllowedHosts>,
    ) -> Self {
        Self {
            function: Arc::new(ask),
            human,
        }
    }

    pub(crate) fn call(&self, request: &OidcRequest) -> Result<OidcToken, OidcError> {
        (self.function)(request)
    }
}

impl fmt::Debug for OidcCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcCallback")
            .field("human", &self.human)
            .finish_non_exhaustive()
    }
}

/// Two callbacks are equal if they are the same object.
impl PartialEq for OidcCallback {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.function, &other.function) && self.human == other.human
    }
}

/// The hosts for which a human callback may be called (`ALLOWED_HOSTS`). A malicious server could otherwise name its
/// own identity provider and receive the credentials that the user types there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    pub(crate) fn new(hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(hosts.into_iter().map(Into::into).collect())
    }

    /// Returns true if the list contains a host, given as a name or an IP address without brackets. `*.example`
    /// stands for every name below `example`.
    pub(crate) fn allow(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.0.iter().any(|allowed| {
            let allowed = allowed.to_ascii_lowercase();
            match allowed.strip_prefix('*') {
                // The dot that follows the star excludes `evil-example`.
                Some(below) => {
                    below.starts_with('.')
                        && below.len() > 1
                        && host.len() > below.len()
                        && host.ends_with(below)
                }
                None => host == allowed,
            }
        })
    }
}

impl Default for AllowedHosts {
    fn default() -> Self {
        Self::new([
            "*.mongodb.net",
            "*.mongodb-qa.net",
            "*.mongodb-dev.net",
            "*.mongodbgov.net",
            "*.mongo.com",
            "localhost",
            "127.0.0.1",
            "::1",
        ])
    }
}

impl fmt::Display for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&self.0.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_allowed_by_name_or_below_a_domain() {
        let hosts = AllowedHosts::default();
        for host in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "::1",
            "a.mongodb.net",
            "A.b.MongoDB.net",
            "a.mongodb.net.",
            "x.mongodbgov.net",
            "a.mongo.com",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "mongodb.net",
            "evilmongodb.net",
            "mongo.com",
            "a.mongo.com.evil.example",
            "a.mongodb.net.evil.example",
            ".mongodb.net",
            "127.0.0.2",
            "localhost.evil.example",
            "",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
        assert!(!AllowedHosts::new([""; 0]).allow("localhost"));
        assert!(!AllowedHosts::new(["*", "*.", "*example"]).allow("a.example"));
        assert!(AllowedHosts::new(["example.com"]).allow("example.com"));
        assert!(!AllowedHosts::new(["example.com"]).allow("a.example.com"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let token = OidcToken::new("s3cret-access").refresh_token("s3cret-refresh");
        assert!(!format!("{token:?}").contains("s3cret"));
        let zero = token.expires_in(Duration::ZERO);
        assert_eq!(zero.expires_in, None);
    }
}
