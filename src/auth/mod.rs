//! Authentication: the client proves its identity to a server in a conversation. Bytes and documents only.
//!
//! An [`Authenticator`] is created once per client. It makes all checks that need no connection, and caches data that
//! the mechanisms can reuse, such as salted keys. [`Authenticator::begin`] starts the [`Authentication`] of one
//! connection: it provides the fields that hello carries, reads the fields of hello's reply, selects the mechanism, and
//! becomes a [`Conversation`], which converts the server's replies to further commands. `conn` owns the sockets.
//!
//! A mechanism that gets its credential from another service does so in [`Authentication::start`], after hello and
//! until the deadline in [`Context`]. [`Authenticator::reauthenticate`] starts the authentication of a connection that
//! is authenticated already, without a hello.
//!
//! Source: "Driver Authentication", and "Speculative Authentication" in "MongoDB Handshake".

#[cfg(feature = "cloud")]
mod aws;
mod context;
mod conversation;
#[cfg(feature = "cloud")]
mod fetch;
#[cfg(feature = "gssapi")]
mod gssapi;
mod oidc;
mod plain;
mod sasl;
mod scram;

use bson::raw::RawDocument;
use zeroize::Zeroizing;

#[cfg(feature = "cloud")]
use self::aws::Aws;
pub(crate) use self::context::Context;
pub(crate) use self::conversation::{Authenticated, Conversation, Step};
use self::oidc::Oidc;
use self::sasl::SaslClient;
pub(crate) use self::sasl::with_room;
use self::scram::{Scram, ends_with_line_feed};
use crate::cause::Cause;
use crate::error::{CommandFailure, Error, Result};
use crate::options::{AuthMechanism, ClientOptions, Credential, Secret};
#[cfg(not(all(feature = "cloud", feature = "gssapi", feature = "saslprep")))]
use crate::reason::auth::AuthFeature;
use crate::reason::auth::{AuthFailure, CredentialRejection, UserMechanisms};

/// Authenticates the connections of one client.
#[derive(Debug)]
pub(crate) struct Authenticator {
    credential: Credential,
    /// The state that the SCRAM mechanisms share, or `None` for other mechanisms.
    scram: Option<Scram>,
    /// The sources of credentials of MONGODB-AWS, or `None` for other mechanisms.
    #[cfg(feature = "cloud")]
    aws: Option<Aws>,
    /// The access token of MONGODB-OIDC, or `None` for other mechanisms.
    oidc: Option<Oidc>,
}

impl Authenticator {
    /// Checks the credential of the options, and returns `None` if they name no user.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the mechanism cannot work with the other
    /// options, or is not supported by this build.
    pub(crate) fn new(options: &ClientOptions) -> Result<Option<Self>> {
        let Some(credential) = &options.credential else {
            return Ok(None);
        };
        let scram = match credential.mechanism {
            None | Some(AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256) => {
                Some(Scram::new(credential))
            }
            Some(AuthMechanism::Plain) => {
                plain::check(options).map_err(Error::configuration)?;
                None
            }
            Some(AuthMechanism::MongodbX509) => {
                check_x509(options).map_err(Error::configuration)?;
                None
            }
            Some(AuthMechanism::MongodbOidc) => None,
            #[cfg(feature = "cloud")]
            Some(AuthMechanism::MongodbAws) => None,
            #[cfg(not(feature = "cloud"))]
            Some(AuthMechanism::MongodbAws) => {
                return Err(Error::configuration(AuthFailure::NotBuiltIn(
                    AuthFeature::Aws,
                )));
            }
            #[cfg(feature = "gssapi")]
            Some(AuthMechanism::Gssapi) => None,
            #[cfg(not(feature = "gssapi"))]
            Some(AuthMechanism::Gssapi) => {
                return Err(Error::configuration(AuthFailure::NotBuiltIn(
                    AuthFeature::Gssapi,
                )));
            }
        };
        if scram.is_some() && credential.password.is_none() {
            return Err(Error::configuration(AuthFailure::PasswordMissing {
                user: credential.username.clone(),
            }));
        }
        // Without a mechanism, the password is checked after hello has negotiated one.
        if let (Some(scram), Some(mechanism)) = (&scram, credential.mechanism) {
            scram
                .check_password(mechanism)
                .map_err(Error::configuration)?;
        }
        let is = |mechanism| credential.mechanism == Some(mechanism);
        Ok(Some(Self {
            credential: credential.clone(),
            scram,
            #[cfg(feature = "cloud")]
            aws: is(AuthMechanism::MongodbAws).then(|| Aws::new(credential, &options.cloud)),
            oidc: is(AuthMechanism::MongodbOidc)
                .then(|| Oidc::new(credential, options))
                .transpose()
                .map_err(Error::configuration)?,
        }))
    }

    /// Starts the authentication of a connection before its hello is sent.
    pub(crate) fn begin(&self, context: &Context<'_>) -> Result<Authentication<'_>, Cause> {
        let speculative = match self.credential.mechanism {
            // The mechanism that hello most often negotiates.
            None => {
                let likely = AuthMechanism::ScramSha256;
                match self.scram().check_password(likely) {
                    Ok(()) => Some(self.scram_conversation(likely)?),
                    Err(_) => None,
                }
            }
            Some(
                mechanism @ (AuthMechanism::ScramSha1
                | AuthMechanism::ScramSha256
                | AuthMechanism::MongodbX509),
            ) => Some(self.conversation(mechanism, context)?),
            Some(AuthMechanism::MongodbOidc) => {
                let client = self.oidc().speculative(context);
                client.map(|client| Conversation::oidc(&self.credential, client))
            }
            // Other mechanisms must not start before the server is known.
            Some(_) => None,
        };
        let mut authentication = Authentication {
            authenticator: self,
            speculative: None,
            speculative_command: None,
        };
        if let Some(mut conversation) = speculative {
            let command = conversation.speculative()?.into_bytes();
            authentication.speculative_command = Some(command.into());
            authentication.speculative = Some(conversation);
        }
        Ok(authentication)
    }

    /// Starts the authentication of an established connection whose server requires it again
    /// (ReauthenticationRequired). Nothing is negotiated, and no hello is sent.
    pub(crate) fn reauthenticate(
        &self,
        authenticated: &Authenticated,
        context: &Context<'_>,
    ) -> Result<(Conversation, Step), Cause> {
        if let (Some(oidc), Some(token)) = (&self.oidc, &authenticated.token) {
            oidc.invalidate(token);
        }
        let mut conversation = self.conversation(authenticated.mechanism, context)?;
        let first = conversation.first()?;
        Ok((conversation, Step::Send(first)))
    }

    /// Returns the next conversation to try after the server rejected a command with this code, or `None` if the
    /// rejection is final. Only MONGODB-OIDC has more than one source of a token.
    pub(crate) fn retry(
        &self,
        conversation: &Conversation,
        code: i32,
        context: &Context<'_>,
    ) -> Result<Option<(Conversation, Step)>, Cause> {
        let (Some(oidc), Some(refused)) = (&self.oidc, conversation.oidc_client()) else {
            return Ok(None);
        };
        let Some(client) = oidc.retry(refused, code, context)? else {
            return Ok(None);
        };
        let mut conversation = Conversation::oidc(&self.credential, client);
        let first = conversation.first()?;
        Ok(Some((conversation, Step::Send(first))))
    }

    /// Clears cached credentials that may be out of date, because an authentication has failed.
    pub(crate) fn clear_cached(&self) {
        #[cfg(feature = "cloud")]
        if let Some(aws) = &self.aws {
            aws.clear_cached();
        }
    }

    /// Describes the server's rejection of a command of `conversation`.
    pub(crate) fn rejection(
        &self,
        conversation: &Conversation,
        failure: &CommandFailure,
        certificate_user: Option<&str>,
    ) -> CredentialRejection {
        let credential = &self.credential;
        let password = credential.password.as_ref().map_or("", Secret::expose);
        CredentialRejection {
            mechanism: conversation.mechanism(),
            source: credential.source.clone(),
            user: credential.username.clone(),
            certificate_user: certificate_user.map(str::to_owned),
            user_mechanisms: conversation.user_mechanisms.clone(),
            known_in: Vec::new(),
            password_ends_with_line_feed: ends_with_line_feed(password),
            server_code: failure.code,
            server_message: failure.message.clone(),
        }
    }

    /// The conversation of a mechanism.
    fn conversation(
        &self,
        mechanism: AuthMechanism,
        context: &Context<'_>,
    ) -> Result<Conversation, Cause> {
        match mechanism {
            AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256 => {
                Ok(self.scram_conversation(mechanism)?)
            }
            AuthMechanism::Plain => Ok(self.sasl(mechanism, plain::Plain::new(&self.credential))),
            AuthMechanism::MongodbX509 => Ok(Conversation::x509(self.credential.username.clone())),
            #[cfg(feature = "cloud")]
            AuthMechanism::MongodbAws => Ok(self.sasl(mechanism, self.aws().client(context)?)),
            #[cfg(not(feature = "cloud"))]
            AuthMechanism::MongodbAws => Err(AuthFailure::NotBuiltIn(AuthFeature::Aws).into()),
            AuthMechanism::MongodbOidc => {
                let client = self.oidc().begin(context)?;
                Ok(Conversation::oidc(&self.credential, client))
            }
            #[cfg(feature = "gssapi")]
            AuthMechanism::Gssapi => {
                let client = gssapi::Gssapi::new(&self.credential).client(context)?;
                Ok(self.sasl(mechanism, client))
            }
            #[cfg(not(feature = "gssapi"))]
            AuthMechanism::Gssapi => Err(AuthFailure::NotBuiltIn(AuthFeature::Gssapi).into()),
        }
    }

    #[cfg(feature = "cloud")]
    #[expect(clippy::expect_used, reason = "called for MONGODB-AWS only")]
    fn aws(&self) -> &Aws {
        self.aws.as_ref().expect("new() sets it for MONGODB-AWS")
    }

    #[expect(clippy::expect_used, reason = "called for MONGODB-OIDC only")]
    fn oidc(&self) -> &Oidc {
        self.oidc.as_ref().expect("new() sets it for MONGODB-OIDC")
    }

    fn scram_conversation(&self, mechanism: AuthMechanism) -> Result<Conversation, AuthFailure> {
        Ok(self.sasl(mechanism, self.scram().client(mechanism)?))
    }

    fn sasl(&self, mechanism: AuthMechanism, client: impl SaslClient + 'static) -> Conversation {
        Conversation::sasl(mechanism, &self.credential, Box::new(client))
    }

    #[expect(clippy::expect_used, reason = "called for the SCRAM mechanisms only")]
    fn scram(&self) -> &Scram {
        self.scram
            .as_ref()
            .expect("new() sets it for the SCRAM mechanisms and their negotiation")
    }
}

/// The authentication of one connection, until its conversation begins.
pub(crate) struct Authentication<'a> {
    authenticator: &'a Authenticator,
    /// The conversation that hello begins, and its first command.
    speculative: Option<Conversation>,
    speculative_command: Option<Zeroizing<Vec<u8>>>,
}

impl Authentication<'_> {
    /// The user whose mechanisms hello requests (`saslSupportedMechs`), or `None` if the options name the mechanism.
    pub(crate) fn user_to_negotiate(&self) -> Option<String> {
        let credential = &self.authenticator.credential;
        match (credential.mechanism, &credential.username) {
            // The server compares the name byte by byte, so it is not prepared.
            (None, Some(user)) => Some(format!("{}.{user}", credential.source)),
            _ => None,
        }
    }

    /// The first command of the conversation, in the form for hello (`speculativeAuthenticate`).
    pub(crate) fn speculative_command(&self) -> Option<&RawDocument> {
        RawDocument::from_bytes(self.speculative_command.as_ref()?).ok()
    }

    /// Selects the mechanism by the reply to hello, and returns the next step: [`Step::Done`] if that reply has ended
    /// the conversation already.
    pub(crate) fn start(
        self,
        hello: &RawDocument,
        context: &Context<'_>,
    ) -> Result<(Conversation, Step), Cause> {
        let negotiates = self.user_to_negotiate().is_some();
        let reply = HelloReply::read(hello);
        // The server may have rejected the token in hello because it is too old: then a new conversation begins.
        let speculative = match (self.speculative, reply.speculative) {
            (Some(mut conversation), Some(reply)) => match conversation.receive(reply) {
                Err(_) if conversation.mechanism() == AuthMechanism::MongodbOidc => None,
                step => Some((conversation, step?)),
            },
            _ => None,
        };
        let (mut conversation, step) = match speculative {
            Some(begun) => begun,
            None => {
                let authenticator = self.authenticator;
                let mechanism = authenticator.credential.mechanism;
                let mechanism = mechanism.unwrap_or_else(|| reply.default_mechanism());
                let mut conversation = authenticator.conversation(mechanism, context)?;
                let first = conversation.first()?;
                (conversation, Step::Send(first))
            }
        };
        if negotiates {
            conversation.user_mechanisms = reply.user_mechanisms;
        }
        Ok((conversation, step))
    }
}

/// The fields of hello's reply that are about authentication.
#[derive(Debug)]
struct HelloReply<'a> {
    user_mechanisms: UserMechanisms,
    speculative: Option<&'a RawDocument>,
}

impl<'a> HelloReply<'a> {
    /// Reads the fields. A field of another type counts as absent.
    fn read(hello: &'a RawDocument) -> Self {
        Self {
            user_mechanisms: read_user_mechanisms(hello),
            speculative: hello.get_document("speculativeAuthenticate").ok(),
        }
    }

    /// "Default Authentication Methods": SCRAM-SHA-256 if the server lists it, and SCRAM-SHA-1 in all other cases.
    fn default_mechanism(&self) -> AuthMechanism {
        match self.user_mechanisms.include(AuthMechanism::ScramSha256) {
            true => AuthMechanism::ScramSha256,
            false => AuthMechanism::ScramSha1,
        }
    }
}

/// Reads the mechanisms of a user in the reply to a hello that requested them.
pub(crate) fn read_user_mechanisms(hello: &RawDocument) -> UserMechanisms {
    let Ok(names) = hello.get_array("saslSupportedMechs") else {
        return UserMechanisms::Absent;
    };
    let names = names.into_iter().map_while(Result::ok).take(MOST_NAMES);
    let names = names.filter_map(|name| name.as_str().map(str::to_owned));
    UserMechanisms::Listed(names.filter(|name| name.len() <= LONGEST_NAME).collect())
}

/// Checks that TLS will send the client certificate that MONGODB-X509 takes the user from.
fn check_x509(options: &ClientOptions) -> Result<(), AuthFailure> {
    match &options.tls {
        None => Err(AuthFailure::X509WithoutTls),
        Some(tls) if tls.identity().is_none() => Err(AuthFailure::X509WithoutCertificate),
        Some(_) => Ok(()),
    }
}

/// The maximum number of names of mechanisms that are read, and the maximum length of each.
const MOST_NAMES: usize = 32;
const LONGEST_NAME: usize = 64;

#[cfg(all(test, not(feature = "cloud")))]
mod tests {
    use super::*;
    use crate::cause::CauseCode;
    use crate::options::OidcToken;

    #[test]
    fn cloud_mechanisms_are_rejected_before_connecting() {
        for (uri, what) in [
            ("mongodb://host/?authMechanism=MONGODB-AWS", "MONGODB-AWS"),
            (
                "mongodb://host/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s",
                "MONGODB-OIDC's environments",
            ),
        ] {
            let (options, _) = ClientOptions::parse(uri).unwrap();
            let error = Authenticator::new(&options).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Configuration);
            let cause = error.cause().unwrap();
            assert_eq!(cause.code(), CauseCode::MechanismUnsupported);
            assert!(cause.message().contains(what), "{cause}");
            assert!(cause.remedy().contains("feature cloud"), "{cause}");
        }
    }

    #[test]
    fn a_callback_needs_no_service() {
        let options = ClientOptions::builder()
            .host(crate::address::ServerAddress::tcp("host", 27017))
            .auth_mechanism(AuthMechanism::MongodbOidc, [] as [(&str, &str); 0])
            .oidc_callback(|_| Ok(OidcToken::new("token")))
            .build()
            .unwrap();
        assert!(Authenticator::new(&options).unwrap().is_some());
    }
}
