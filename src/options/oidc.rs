//! Where the access tokens of MONGODB-OIDC come from: a function of the program.
//!
//! Source: "OIDC Callback" and "OIDC Human Callback" in "Driver Authentication". What is built in
//! (`ENVIRONMENT`) needs nothing of this.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{AuthMechanism, ClientOptionsBuilder, Secret};

impl ClientOptionsBuilder {
    /// Authenticates by MONGODB-OIDC with the access tokens that this function gives: that of a workload,
    /// which needs nobody at a keyboard.
    ///
    /// It is called on a thread of its own, never twice at a time, and not before 100 ms have passed since
    /// the last call. A token is kept for the connections to come, until a server refuses it. A call that
    /// takes longer than [`OidcRequest::timeout`], which is what is left of `connectTimeoutMS` or a minute,
    /// fails the operation that waits; so do an error and a panic.
    ///
    /// ```
    /// use std::fs;
    /// use mongotls::options::OidcToken;
    /// use mongotls::{ClientOptions, ServerAddress};
    ///
    /// let options = ClientOptions::builder()
    ///     .host(ServerAddress::tcp("db.example", 27017))
    ///     .oidc_callback(|request| {
    ///         assert_eq!(request.version, 1);
    ///         // Whatever gives a token within `request.timeout`: here a file that something else renews.
    ///         let token = fs::read_to_string("/run/secrets/db-token")?;
    ///         Ok(OidcToken::new(token.trim_end()))
    ///     })
    ///     .build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn oidc_callback(
        self,
        ask: impl Fn(&OidcRequest) -> Result<OidcToken, OidcError> + Send + Sync + 'static,
    ) -> Self {
        self.with_oidc_callback(OidcCallback::new(ask, None))
    }

    /// The same for a person: [`OidcRequest::idp_info`] says where they log in, and a
    /// [refresh token](OidcToken::refresh_token) spares them to do so again. The callback may take five
    /// minutes, which no other limit counts.
    ///
    /// The server says where to log in. So the callback is called for the hosts of
    /// [`oidc_allowed_hosts`](Self::oidc_allowed_hosts) alone.
    ///
    /// ```
    /// use mongotls::options::OidcToken;
    /// use mongotls::{ClientOptions, ServerAddress};
    ///
    /// # fn log_in(_: &str, _: Option<&str>) -> Result<(String, String), std::io::Error> { unreachable!() }
    /// let options = ClientOptions::builder()
    ///     .host(ServerAddress::tcp("db.example", 27017))
    ///     .oidc_human_callback(|request| {
    ///         let idp = request.idp_info.as_ref().ok_or("the server names no identity provider")?;
    ///         let refresh_token = request.refresh_token.as_ref().map(|token| token.expose());
    ///         let (access_token, refresh_token) = log_in(&idp.issuer, refresh_token)?;
    ///         Ok(OidcToken::new(access_token).refresh_token(refresh_token))
    ///     })
    ///     .oidc_allowed_hosts(["db.example"])
    ///     .build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn oidc_human_callback(
        self,
        ask: impl Fn(&OidcRequest) -> Result<OidcToken, OidcError> + Send + Sync + 'static,
    ) -> Self {
        let human = Some(AllowedHosts::default());
        self.with_oidc_callback(OidcCallback::new(ask, human))
    }

    fn with_oidc_callback(mut self, callback: OidcCallback) -> Self {
        self.credential.mechanism = Some(AuthMechanism::MongodbOidc);
        self.oidc_callback = Some(callback);
        self.oidc_callbacks += 1;
        self
    }

    /// The hosts that a [human callback](Self::oidc_human_callback) may be called for, without their ports:
    /// names, IP addresses, and `*.example` for every name below `example`. Default: `*.mongodb.net`,
    /// `*.mongodb-qa.net`, `*.mongodb-dev.net`, `*.mongodbgov.net`, `localhost`, `127.0.0.1` and `::1`.
    #[must_use]
    pub fn oidc_allowed_hosts(
        mut self,
        hosts: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.oidc_allowed_hosts = Some(AllowedHosts::new(hosts));
        self
    }
}

/// What a callback of [`ClientOptionsBuilder`](super::ClientOptionsBuilder) is asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OidcRequest {
    /// The version of this interface: [`OidcRequest::VERSION`]. It grows with changes that a program may
    /// want to know of.
    pub version: u32,
    /// How long the callback may take. What comes later is of no use to the operation that waits, though
    /// a token is still kept for the next.
    pub timeout: Duration,
    /// When that time is over.
    pub deadline: Instant,
    /// The user of the connection string or of the options.
    pub username: Option<String>,
    /// What the server says of the identity provider; with a human callback alone.
    pub idp_info: Option<IdpInfo>,
    /// The refresh token that the callback gave last, if it is to be used; with a human callback alone.
    pub refresh_token: Option<Secret>,
}

impl OidcRequest {
    /// The version of this interface.
    pub const VERSION: u32 = 1;
}

/// What a server says of the identity provider of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdpInfo {
    /// The URL of the authorization server: the `iss` of its tokens, and the base of its metadata (RFC
    /// 8414). It comes from the server, which the list of allowed hosts makes one of those you trust.
    pub issuer: String,
    /// The identifier of this client there.
    pub client_id: Option<String>,
    /// Further scopes to ask for.
    pub request_scopes: Vec<String>,
}

/// What a callback gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcToken {
    pub(crate) access_token: Secret,
    pub(crate) expires_in: Option<Duration>,
    pub(crate) refresh_token: Option<Secret>,
}

impl OidcToken {
    /// An access token, which is sent to the server as it is and not looked into.
    pub fn new(access_token: impl Into<Secret>) -> Self {
        Self {
            access_token: access_token.into(),
            expires_in: None,
            refresh_token: None,
        }
    }

    /// How long the token holds; after that it is not used for a new connection. Zero means for ever.
    /// Default: for ever; the server refuses a token that has expired, and then another is asked for.
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

    /// What gets the next token without a person; kept for the next call of a human callback.
    #[must_use]
    pub fn refresh_token(mut self, token: impl Into<Secret>) -> Self {
        self.refresh_token = Some(token.into());
        self
    }
}

/// What a callback says when it has no token. Its text is shown in errors: it must hold no secret.
pub type OidcError = Box<dyn StdError + Send + Sync>;

type Ask = dyn Fn(&OidcRequest) -> Result<OidcToken, OidcError> + Send + Sync;

/// A function of the program that gives access tokens.
#[derive(Clone)]
pub(crate) struct OidcCallback {
    ask: Arc<Ask>,
    /// Whether a person may have to do something, and which hosts may make them.
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
            ask: Arc::new(ask),
            human,
        }
    }

    pub(crate) fn ask(&self, request: &OidcRequest) -> Result<OidcToken, OidcError> {
        (self.ask)(request)
    }
}

impl fmt::Debug for OidcCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcCallback")
            .field("human", &self.human)
            .finish_non_exhaustive()
    }
}

/// Two callbacks are the same if they are one.
impl PartialEq for OidcCallback {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ask, &other.ask) && self.human == other.human
    }
}

/// The hosts that a human callback may be called for (`ALLOWED_HOSTS`). A server that is none of yours
/// could otherwise name an identity provider of its own, and be given what the person types there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    pub(crate) fn new(hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(hosts.into_iter().map(Into::into).collect())
    }

    /// Whether a host, a name or an IP address without brackets, is one of them. `*.example` stands for
    /// every name below `example`.
    pub(crate) fn allow(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.0.iter().any(|allowed| {
            let allowed = allowed.to_ascii_lowercase();
            match allowed.strip_prefix('*') {
                // The dot that follows the star keeps `evil-example` out.
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
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "mongodb.net",
            "evilmongodb.net",
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
    fn what_is_secret_is_not_shown() {
        let token = OidcToken::new("s3cret-access").refresh_token("s3cret-refresh");
        assert!(!format!("{token:?}").contains("s3cret"));
        let zero = token.expires_in(Duration::ZERO);
        assert_eq!(zero.expires_in, None);
    }
}
