//! MONGODB-OIDC: the client sends an access token of an identity provider to the server.
//!
//! For a workload one message is enough: the cached token, or a new one from the environment or the program's callback.
//! For a person, the server first names its identity provider, unless a refresh token is cached. If the server rejects
//! a cached token, the token is removed from the cache and [`Oidc::retry`] starts a conversation with the next source.
//! Source: "MONGODB-OIDC" in "Driver Authentication".

#[cfg(feature = "cloud")]
mod environment;
mod tokens;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::raw::{RawDocument, cstr};
use bson::{RawBsonRef, RawDocumentBuf, rawdoc};
use zeroize::Zeroizing;

#[cfg(feature = "cloud")]
use self::environment::Environment;
pub(crate) use self::tokens::AccessToken;
use self::tokens::{CallArguments, ObtainedToken, TokenCall, Tokens};
use super::context::Context;
use super::sasl::{SaslClient, not_proven};
use crate::address::ServerAddress;
use crate::cause::Cause;
use crate::logging::warn;
use crate::options::{
    AuthMechanism, ClientOptions, Credential, IdpInfo, OidcCallback, OidcRequest,
};
use crate::printable::sanitize;
#[cfg(not(feature = "cloud"))]
use crate::reason::auth::AuthFeature;
use crate::reason::auth::{
    AccessTokenFailure, AccessTokenProblem, AccessTokenSource, AuthFailure, SaslViolation,
};
#[cfg(feature = "cloud")]
use crate::reason::options::OptionConflict;
use crate::server_code::{AUTHENTICATION_FAILED, REAUTHENTICATION_REQUIRED};
use crate::time::{Deadline, TimeoutKind};

/// The state that the connections of one client share.
#[derive(Debug)]
pub(super) struct Oidc(Arc<OidcShared>);

#[derive(Debug)]
struct OidcShared {
    source: Source,
    username: Option<String>,
    tokens: Arc<Tokens>,
}

#[derive(Clone, Debug)]
enum Source {
    #[cfg(feature = "cloud")]
    Environment(Box<Environment>),
    Callback(OidcCallback),
}

impl Oidc {
    pub(super) fn new(credential: &Credential, options: &ClientOptions) -> Result<Self, Cause> {
        if options.tls.is_none() {
            warn!(target: "mongotls::auth", "MONGODB-OIDC without TLS: everyone on the way to the server can read the access token, and log in with it");
        }
        let source = match &options.oidc_callback {
            Some(callback) => Source::Callback(callback.clone()),
            None => Source::environment(credential, options)?,
        };
        Ok(Self(Arc::new(OidcShared {
            tokens: Arc::new(Tokens::new(match &source {
                #[cfg(feature = "cloud")]
                Source::Environment(environment) => environment.source(),
                Source::Callback(_) => AccessTokenSource::Callback,
            })),
            source,
            username: credential.username.clone(),
        })))
    }

    /// Starts a conversation that hello can carry, with the cached token.
    pub(super) fn speculative(&self, context: &Context<'_>) -> Option<OidcClient> {
        self.0.check_host(context.server).ok()?;
        let token = self.0.tokens.cached(Instant::now())?;
        Some(self.client(TokenOrigin::Cache, Some(token), None))
    }

    /// Starts the conversation of a connection, with the first token that is available.
    pub(super) fn begin(&self, context: &Context<'_>) -> Result<OidcClient, Cause> {
        self.0.check_host(context.server)?;
        match self.0.tokens.cached(Instant::now()) {
            Some(token) => Ok(self.client(TokenOrigin::Cache, Some(token), None)),
            None => self.next(TokenOrigin::Cache, context),
        }
    }

    /// Starts the next conversation after the server rejected `refused` with this code, or returns `None` if there is
    /// no other token to try. Removes the rejected token from the cache.
    pub(super) fn retry(
        &self,
        refused: &OidcClient,
        code: i32,
        context: &Context<'_>,
    ) -> Result<Option<OidcClient>, Cause> {
        const REFUSALS: [i32; 2] = [AUTHENTICATION_FAILED, REAUTHENTICATION_REQUIRED];
        let origin = refused.origin;
        if origin == TokenOrigin::New || !REFUSALS.contains(&code) {
            return Ok(None);
        }
        if let Some(token) = refused.token() {
            self.0.tokens.invalidate(token);
        }
        let mut client = self.next(origin, context)?;
        if client.token.is_some() && client.origin == TokenOrigin::Cache {
            // Another connection has obtained this token in the meantime. It is the last one to try.
            client.origin = TokenOrigin::New;
        }
        Ok(Some(client))
    }

    /// Removes the token that a connection was authenticated with, before it is authenticated again.
    pub(super) fn invalidate(&self, token: &AccessToken) {
        self.0.tokens.invalidate(token);
    }

    /// Starts a conversation with a token of the origin after `origin`.
    fn next(&self, origin: TokenOrigin, context: &Context<'_>) -> Result<OidcClient, Cause> {
        let shared = &self.0;
        if !shared.is_human() {
            let ObtainedToken { token, is_cached } =
                shared.token(CallArguments::default(), &shared.limit(&context.deadline))?;
            // A token that another connection has obtained in the meantime may be too old.
            let origin = if is_cached {
                TokenOrigin::Cache
            } else {
                TokenOrigin::New
            };
            return Ok(self.client(origin, Some(token), None));
        }
        if let (TokenOrigin::Cache, Some(arguments)) = (origin, shared.tokens.refresh()) {
            let started = Instant::now();
            match shared.token(arguments, &shared.limit(&context.deadline)) {
                Ok(ObtainedToken { token, .. }) => {
                    return Ok(self.client(TokenOrigin::Refresh, Some(token), Some(started)));
                }
                Err(_) => {
                    shared.tokens.remove_refresh();
                    return Ok(self.client(TokenOrigin::New, None, Some(started)));
                }
            }
        }
        Ok(self.client(TokenOrigin::New, None, None))
    }

    fn client(
        &self,
        origin: TokenOrigin,
        token: Option<AccessToken>,
        since: Option<Instant>,
    ) -> OidcClient {
        OidcClient {
            shared: Arc::clone(&self.0),
            origin,
            is_complete: token.is_some(),
            token,
            time_of_person: since.map(|since| since.elapsed()).unwrap_or_default(),
        }
    }
}

impl Source {
    /// The environment of a credential without a callback.
    #[cfg(feature = "cloud")]
    fn environment(credential: &Credential, options: &ClientOptions) -> Result<Self, Cause> {
        Environment::of(credential, &options.cloud)
            .map(|environment| Self::Environment(Box::new(environment)))
            .ok_or_else(|| vec![OptionConflict::OidcNotConfigured].into())
    }

    #[cfg(not(feature = "cloud"))]
    fn environment(_: &Credential, _: &ClientOptions) -> Result<Self, Cause> {
        Err(AuthFailure::NotBuiltIn(AuthFeature::OidcEnvironments).into())
    }
}

impl OidcShared {
    fn is_human(&self) -> bool {
        matches!(&self.source, Source::Callback(callback) if callback.human.is_some())
    }

    /// Checks that a person may be sent to the identity provider that this server names.
    fn check_host(&self, server: &ServerAddress) -> Result<(), AuthFailure> {
        let Source::Callback(OidcCallback {
            human: Some(allowed),
            ..
        }) = &self.source
        else {
            return Ok(());
        };
        // A Unix socket leads to this host.
        let host = match server {
            ServerAddress::Tcp { host, .. } => host.as_str(),
            ServerAddress::Unix { .. } => "localhost",
        };
        if allowed.allow(host) {
            return Ok(());
        }
        Err(AuthFailure::OidcHostNotAllowed {
            host: host.to_owned(),
            allowed: allowed.to_string(),
        })
    }

    /// The deadline of a call: five minutes for a person, otherwise a minute or the deadline of the connection.
    fn limit(&self, connection: &Deadline) -> Deadline {
        match self.is_human() {
            true => human_deadline(),
            false => connection.earlier(within(LIMIT)),
        }
    }

    /// Returns the cached token, or one from a call.
    fn token(&self, arguments: CallArguments, deadline: &Deadline) -> Result<ObtainedToken, Cause> {
        let (source, username, deadline_of_call) =
            (self.source.clone(), self.username.clone(), *deadline);
        let CallArguments { idp, refresh } = arguments.clone();
        let call: TokenCall = Box::new(move || match source {
            #[cfg(feature = "cloud")]
            Source::Environment(environment) => environment.token(&deadline_of_call),
            Source::Callback(callback) => {
                let now = Instant::now();
                let timeout = deadline_of_call
                    .remaining(now)
                    .ok()
                    .flatten()
                    .unwrap_or_default();
                let request = OidcRequest {
                    version: OidcRequest::VERSION,
                    timeout,
                    deadline: now + timeout,
                    username,
                    idp_info: idp,
                    refresh_token: refresh,
                };
                let answer = callback.call(&request);
                answer.map_err(|error| {
                    let text = sanitize(error.to_string().as_bytes());
                    let failure = AccessTokenFailure {
                        source: AccessTokenSource::Callback,
                        problem: AccessTokenProblem::Callback(text),
                    };
                    AuthFailure::AccessToken(failure).into()
                })
            }
        });
        self.tokens.get(call, arguments, deadline)
    }
}

/// The origin of a conversation's token, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenOrigin {
    /// The cache.
    Cache,
    /// The identity provider, in exchange for the cached refresh token.
    Refresh,
    /// A call of the callback or the environment for this conversation, or a person.
    New,
}

/// The client's side of one conversation.
pub(super) struct OidcClient {
    shared: Arc<OidcShared>,
    origin: TokenOrigin,
    /// `None` until a person has logged in.
    token: Option<AccessToken>,
    is_complete: bool,
    /// The time that the conversation has waited for a person.
    time_of_person: Duration,
}

impl SaslClient for OidcClient {
    fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause> {
        let message = match (&self.token, &self.shared.username) {
            (Some(token), _) => return Ok(jwt(token)),
            (None, Some(user)) => rawdoc! { "n": user.as_str() },
            (None, None) => RawDocumentBuf::new(),
        };
        Ok(message.into_bytes().into())
    }

    fn respond(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
        if self.is_complete {
            return Err(violated(SaslViolation::UnexpectedMessage));
        }
        let idp = read_idp(message).map_err(violated)?;
        let started = Instant::now();
        let shared = &self.shared;
        // The cache may contain the token of another connection by now.
        let arguments = CallArguments {
            idp: Some(idp),
            refresh: None,
        };
        let obtained = shared.token(arguments, &human_deadline())?;
        self.time_of_person += started.elapsed();
        self.is_complete = true;
        let message = jwt(&obtained.token);
        self.token = Some(obtained.token);
        Ok(message)
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }
}

impl OidcClient {
    /// The access token that was sent to the server, if there is one.
    pub(super) fn token(&self) -> Option<&AccessToken> {
        self.token.as_ref()
    }

    /// The time that the conversation has waited for a person. No limit includes it.
    pub(super) fn time_of_person(&self) -> Duration {
        self.time_of_person
    }
}

impl fmt::Debug for OidcClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcClient")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

fn within(limit: Duration) -> Deadline {
    Deadline::after(Instant::now(), Some(limit), TimeoutKind::OidcCallback)
}

/// The deadline for a person.
fn human_deadline() -> Deadline {
    within(HUMAN_LIMIT)
}

/// Returns `{ "jwt": token }`. The buffer does not grow, which would leave a copy of the token behind.
fn jwt(token: &AccessToken) -> Zeroizing<Vec<u8>> {
    let text = token.expose().as_bytes();
    let head = b"\x02jwt\0";
    let size = 4 + head.len() + 4 + text.len() + 2;
    let mut message = Vec::with_capacity(size);
    let length = |length: usize| i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes();
    message.extend_from_slice(&length(size));
    message.extend_from_slice(head);
    message.extend_from_slice(&length(text.len() + 1));
    message.extend_from_slice(text);
    message.extend_from_slice(&[0, 0]);
    message.into()
}

/// Reads the server's description of its identity provider. The server is an allowed host.
fn read_idp(message: &[u8]) -> Result<IdpInfo, SaslViolation> {
    const MOST_SCOPES: usize = 100;
    let document = RawDocument::from_bytes(message).map_err(|_| SaslViolation::NotBson)?;
    let issuer = document
        .get_str(cstr!("issuer"))
        .map_err(|_| SaslViolation::NoIssuer)?;
    let client_id = document.get_str(cstr!("clientId")).ok();
    let scopes = match document.get(cstr!("requestScopes")) {
        Ok(Some(RawBsonRef::Array(scopes))) => scopes
            .into_iter()
            .map_while(Result::ok)
            .filter_map(|scope| scope.as_str().map(str::to_owned))
            .take(MOST_SCOPES)
            .collect(),
        _ => Vec::new(),
    };
    Ok(IdpInfo {
        issuer: issuer.to_owned(),
        client_id: client_id.map(str::to_owned),
        request_scopes: scopes,
    })
}

fn violated(violation: SaslViolation) -> Cause {
    not_proven(AuthMechanism::MongodbOidc, violation).into()
}

/// The time limit of a call if the connection has none.
const LIMIT: Duration = Duration::from_secs(60);
/// The time limit for a person.
const HUMAN_LIMIT: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_specification() {
        let tokens = Tokens::default();
        let token = tokens.put("abcd1234", None);
        let encoded = openssl::base64::encode_block(&jwt(&token));
        assert_eq!(encoded, "FwAAAAJqd3QACQAAAGFiY2QxMjM0AAA=");
        let idp = openssl::base64::decode_block(
            "WQAAAAJpc3N1ZXIADwAAAGh0dHBzOi8vaXNzdWVyAAJjbGllbnRJZAAFAAAAYWJjZAAEcmVxdWVzdFNjb3BlcwAXAAAAAjAAAgAAAGEAAjEAAgAAAGIAAAA=",
        );
        let idp = read_idp(&idp.unwrap()).unwrap();
        let expected = IdpInfo {
            issuer: "https://issuer".into(),
            client_id: Some("abcd".into()),
            request_scopes: vec!["a".into(), "b".into()],
        };
        assert_eq!(idp, expected);
    }

    #[test]
    fn the_description_of_an_identity_provider_is_not_trusted() {
        let of = |document: RawDocumentBuf| read_idp(document.as_bytes());
        assert_eq!(of(rawdoc! {}), Err(SaslViolation::NoIssuer));
        assert_eq!(of(rawdoc! { "issuer": 1 }), Err(SaslViolation::NoIssuer));
        assert_eq!(read_idp(b"\xff\xff"), Err(SaslViolation::NotBson));
        let odd = of(rawdoc! { "issuer": "i", "clientId": 1, "requestScopes": ["a", 1] }).unwrap();
        assert_eq!(
            (odd.client_id, odd.request_scopes),
            (None, vec!["a".to_owned()])
        );
        let many: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        let many = bson::doc! { "issuer": "i", "requestScopes": many };
        let many = of(RawDocumentBuf::try_from(&many).unwrap()).unwrap();
        assert_eq!(many.request_scopes.len(), 100);
    }
}
