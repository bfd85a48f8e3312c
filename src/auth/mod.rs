//! Authentication: who the client is, proved to a server in a conversation. Bytes and documents only.
//!
//! An [`Authenticator`] is made once for a client, checks what can be checked before any connection,
//! and keeps what the mechanisms may reuse, such as salted keys. [`Authenticator::begin`] starts an
//! [`Attempt`] for one connection: it says what hello carries for authentication, reads what hello's
//! answer says of it, chooses the mechanism, and becomes a [`Conversation`], which turns the answers of
//! the server into further commands. Sockets are `conn`'s.
//!
//! A mechanism that must ask elsewhere for its credential does so in [`Attempt::start`], after hello and
//! until the deadline in [`Context`]. A connection that is authenticated already is authenticated anew by
//! [`Authenticator::anew`], without a hello.
//!
//! Source: "Driver Authentication", and "Speculative Authentication" in "MongoDB Handshake".

#[cfg(feature = "cloud")]
mod aws;
mod conversation;
mod excerpt;
#[cfg(feature = "cloud")]
mod fetch;
#[cfg(feature = "gssapi")]
mod gssapi;
mod oidc;
mod plain;
mod refusal;
mod sasl;
mod scram;
mod x509;

use bson::raw::RawDocument;
use openssl::error::ErrorStack;
use zeroize::Zeroizing;

#[cfg(feature = "cloud")]
use self::aws::Aws;
pub(crate) use self::conversation::{Conversation, Step, with_room};
pub(crate) use self::oidc::AccessToken;
use self::oidc::Oidc;
pub(crate) use self::refusal::{Refusal, UserMechanisms};
use self::sasl::SaslClient;
use self::scram::Scram;
use crate::address::ServerAddress;
use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};
use crate::options::{AuthMechanism, ClientOptions, Credential};
use crate::time::Deadline;
use crate::tls::Library;

/// Authenticates the connections of one client.
#[derive(Debug)]
pub(crate) struct Authenticator {
    credential: Credential,
    /// What the SCRAM mechanisms share; none for others.
    scram: Option<Scram>,
    /// Where MONGODB-AWS finds credentials; none for others.
    #[cfg(feature = "cloud")]
    aws: Option<Aws>,
    /// The access token of MONGODB-OIDC; none for others.
    oidc: Option<Oidc>,
}

/// What a mechanism may need to know of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// The server at the other end.
    pub(crate) server: &'a ServerAddress,
    /// The name of that server for DNS and Kerberos.
    #[cfg_attr(
        not(feature = "gssapi"),
        allow(dead_code, reason = "Kerberos alone asks")
    )]
    pub(crate) dns_name: &'a str,
    /// When the connection must be established; it limits the search for a credential too.
    pub(crate) deadline: Deadline,
}

/// How a connection was authenticated.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated {
    pub(crate) mechanism: AuthMechanism,
    /// The database that knows the user.
    pub(crate) source: String,
    /// The user; of MONGODB-X509 the one that the server took from the certificate.
    pub(crate) user: Option<String>,
    /// The access token that the server was shown; none of another mechanism than MONGODB-OIDC.
    pub(crate) token: Option<AccessToken>,
}

impl Authenticator {
    /// Checks what the options say of the user; none where they name no user.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the mechanism cannot work with
    /// the other options, or not at all in this build.
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
                x509::check(options).map_err(Error::configuration)?;
                None
            }
            Some(AuthMechanism::MongodbOidc) => None,
            #[cfg(feature = "cloud")]
            Some(AuthMechanism::MongodbAws) => None,
            #[cfg(not(feature = "cloud"))]
            Some(AuthMechanism::MongodbAws) => return Err(Error::configuration(without_aws())),
            #[cfg(feature = "gssapi")]
            Some(AuthMechanism::Gssapi) => None,
            #[cfg(not(feature = "gssapi"))]
            Some(AuthMechanism::Gssapi) => return Err(Error::configuration(without_gssapi())),
        };
        if scram.is_some() && credential.password.is_none() {
            return Err(Error::configuration(password_missing(credential)));
        }
        // Without a mechanism the server has the last word on it, and is asked first.
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

    /// Begins the authentication of a connection whose hello is about to be sent.
    pub(crate) fn begin(&self, context: &Context<'_>) -> Result<Attempt<'_>, Cause> {
        let speculated = match self.credential.mechanism {
            // The mechanism that hello negotiates is most often this one.
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
            Some(mechanism @ AuthMechanism::MongodbOidc) => {
                let client = self.oidc().speculative(context);
                client.map(|client| self.sasl(mechanism, client))
            }
            // The others must not be begun before the server is known.
            Some(_) => None,
        };
        let mut attempt = Attempt {
            authenticator: self,
            speculated: None,
            speculative_command: None,
        };
        if let Some(mut conversation) = speculated {
            let command = conversation.speculative()?.into_bytes();
            attempt.speculative_command = Some(command.into());
            attempt.speculated = Some(conversation);
        }
        Ok(attempt)
    }

    /// Begins the authentication of a connection that is long established, when the server asks for it
    /// (ReauthenticationRequired). Nothing is negotiated, and no hello is sent.
    pub(crate) fn anew(
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

    /// What to try once the server has refused a command of the conversation with this code; none where the
    /// refusal counts. MONGODB-OIDC alone has more than one way.
    pub(crate) fn again(
        &self,
        conversation: &Conversation,
        code: i32,
        context: &Context<'_>,
    ) -> Result<Option<(Conversation, Step)>, Cause> {
        let (Some(oidc), Some(refused)) = (&self.oidc, conversation.token()) else {
            return Ok(None);
        };
        let Some(client) = oidc.again(refused, code, context)? else {
            return Ok(None);
        };
        let mut conversation = self.sasl(AuthMechanism::MongodbOidc, client);
        let first = conversation.first()?;
        Ok(Some((conversation, Step::Send(first))))
    }

    /// Gives up what is kept of the credential and may be out of date: an authentication has failed.
    pub(crate) fn failed(&self) {
        #[cfg(feature = "cloud")]
        if let Some(aws) = &self.aws {
            aws.forget();
        }
    }

    /// What it means that the server refused a command of the conversation.
    pub(crate) fn refused(&self, refusal: &Refusal<'_>) -> Cause {
        refusal.explain(&self.credential)
    }

    /// The conversation of a mechanism.
    fn conversation(
        &self,
        mechanism: AuthMechanism,
        context: &Context<'_>,
    ) -> Result<Conversation, Cause> {
        match mechanism {
            AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256 => {
                self.scram_conversation(mechanism)
            }
            AuthMechanism::Plain => Ok(self.sasl(mechanism, plain::Plain::new(&self.credential))),
            AuthMechanism::MongodbX509 => Ok(Conversation::x509(self.credential.username.clone())),
            #[cfg(feature = "cloud")]
            AuthMechanism::MongodbAws => Ok(self.sasl(mechanism, self.aws().client(context)?)),
            #[cfg(not(feature = "cloud"))]
            AuthMechanism::MongodbAws => Err(without_aws()),
            AuthMechanism::MongodbOidc => Ok(self.sasl(mechanism, self.oidc().begin(context)?)),
            #[cfg(feature = "gssapi")]
            AuthMechanism::Gssapi => {
                let client = gssapi::Gssapi::new(&self.credential).client(context)?;
                Ok(self.sasl(mechanism, client))
            }
            #[cfg(not(feature = "gssapi"))]
            AuthMechanism::Gssapi => Err(without_gssapi()),
        }
    }

    #[cfg(feature = "cloud")]
    #[expect(clippy::expect_used, reason = "asked for by MONGODB-AWS alone")]
    fn aws(&self) -> &Aws {
        self.aws.as_ref().expect("new() keeps it for MONGODB-AWS")
    }

    #[expect(clippy::expect_used, reason = "asked for by MONGODB-OIDC alone")]
    fn oidc(&self) -> &Oidc {
        self.oidc.as_ref().expect("new() keeps it for MONGODB-OIDC")
    }

    fn scram_conversation(&self, mechanism: AuthMechanism) -> Result<Conversation, Cause> {
        Ok(self.sasl(mechanism, self.scram().client(mechanism)?))
    }

    fn sasl(&self, mechanism: AuthMechanism, client: impl SaslClient + 'static) -> Conversation {
        let (source, user) = (&self.credential.source, &self.credential.username);
        Conversation::sasl(mechanism, source, user.clone(), Box::new(client))
    }

    #[expect(
        clippy::expect_used,
        reason = "asked for by the SCRAM mechanisms alone"
    )]
    fn scram(&self) -> &Scram {
        self.scram
            .as_ref()
            .expect("new() keeps it for the SCRAM mechanisms and their negotiation")
    }
}

/// The authentication of one connection, until its conversation begins.
pub(crate) struct Attempt<'a> {
    authenticator: &'a Authenticator,
    /// The conversation that hello begins, and its first command.
    speculated: Option<Conversation>,
    speculative_command: Option<Zeroizing<Vec<u8>>>,
}

impl Attempt<'_> {
    /// The user whose mechanisms hello asks for (`saslSupportedMechs`); none where the mechanism is
    /// given.
    pub(crate) fn user_to_negotiate(&self) -> Option<String> {
        let credential = &self.authenticator.credential;
        match (credential.mechanism, &credential.username) {
            // As it was given: the server looks for it as it stands.
            (None, Some(user)) => Some(format!("{}.{user}", credential.source)),
            _ => None,
        }
    }

    /// The first command of the conversation, as hello carries it (`speculativeAuthenticate`).
    pub(crate) fn speculative_command(&self) -> Option<&RawDocument> {
        RawDocument::from_bytes(self.speculative_command.as_ref()?).ok()
    }

    /// Chooses the mechanism by the answer to hello, and says what to send next: nothing, if that answer
    /// has ended the conversation already.
    pub(crate) fn start(
        self,
        hello: &RawDocument,
        context: &Context<'_>,
    ) -> Result<(Conversation, Step), Cause> {
        let negotiates = self.user_to_negotiate().is_some();
        let offered = Offered::read(hello);
        // A token that hello carried in vain may have been too old: then the conversation begins anew.
        let speculated = match (self.speculated, offered.speculative) {
            (Some(mut conversation), Some(reply)) => match conversation.receive(reply) {
                Err(_) if conversation.mechanism() == AuthMechanism::MongodbOidc => None,
                step => Some((conversation, step?)),
            },
            _ => None,
        };
        let (mut conversation, step) = match speculated {
            Some(begun) => begun,
            None => {
                let authenticator = self.authenticator;
                let mechanism = authenticator.credential.mechanism;
                let mechanism = mechanism.unwrap_or_else(|| offered.default_mechanism());
                let mut conversation = authenticator.conversation(mechanism, context)?;
                let first = conversation.first()?;
                (conversation, Step::Send(first))
            }
        };
        if negotiates {
            conversation.user_mechanisms = offered.user_mechanisms;
        }
        Ok((conversation, step))
    }
}

/// What an answer to hello says of authentication.
#[derive(Debug)]
struct Offered<'a> {
    user_mechanisms: UserMechanisms,
    speculative: Option<&'a RawDocument>,
}

impl<'a> Offered<'a> {
    /// A field of another type counts as absent.
    fn read(hello: &'a RawDocument) -> Self {
        Self {
            user_mechanisms: UserMechanisms::read(hello),
            speculative: hello.get_document("speculativeAuthenticate").ok(),
        }
    }

    /// "Default Authentication Methods": SCRAM-SHA-256 where it is named, or else SCRAM-SHA-1, whatever
    /// else is named.
    fn default_mechanism(&self) -> AuthMechanism {
        match self.user_mechanisms.has(AuthMechanism::ScramSha256) {
            true => AuthMechanism::ScramSha256,
            false => AuthMechanism::ScramSha1,
        }
    }
}

/// Returns whether a password ends with a line feed or a carriage return, which is most likely the end of a file.
fn ends_with_line_feed(password: &str) -> bool {
    password.ends_with(['\n', '\r'])
}

const REMOVE_LINE_FEED: &str = "Remove the line feed at the end of the password before it is given to the client, in Rust with \
     trim_end_matches(['\\r', '\\n']).";

fn password_missing(credential: &Credential) -> Cause {
    Cause::new(
        CauseCode::OptionConflict,
        "the user has no password, and SCRAM, by which users log in without authMechanism, needs one",
        "Add the password behind the user name, as user:password, percent-encoded; or set authMechanism to one that \
         needs none.",
    )
    .fact_opt("user", credential.username.as_deref())
}

#[cfg(not(feature = "gssapi"))]
fn without_gssapi() -> Cause {
    not_built_in(
        AuthMechanism::Gssapi,
        "GSSAPI",
        "Build mongotls with its feature gssapi, which takes the system's Kerberos library.",
    )
}

#[cfg(not(feature = "cloud"))]
fn without_aws() -> Cause {
    not_built_in(
        AuthMechanism::MongodbAws,
        "MONGODB-AWS",
        "Build mongotls with its feature cloud, one of the default ones.",
    )
}

/// A cargo feature is off.
#[cfg(not(all(feature = "cloud", feature = "gssapi", feature = "saslprep")))]
fn not_built_in(mechanism: AuthMechanism, what: &str, remedy: &str) -> Cause {
    Cause::not_built_in(what, remedy).fact("mechanism", mechanism.as_str())
}

/// OpenSSL refuses what a mechanism needs, as it does in FIPS mode.
fn library_refuses(mechanism: AuthMechanism, what: &str, error: &ErrorStack) -> Cause {
    let reasons: Vec<&str> = error
        .errors()
        .iter()
        .filter_map(openssl::error::Error::reason)
        .collect();
    Cause::new(
        CauseCode::MechanismUnsupported,
        format!("this OpenSSL refuses {what}, which {mechanism} needs"),
        "Look at OpenSSL's configuration file (`openssl version -d` names its folder) for what it forbids.",
    )
    .fact("mechanism", mechanism.as_str())
    .fact("refused", what)
    .fact("fips", Library::inspect().fips)
    .fact_opt("openssl", (!reasons.is_empty()).then(|| reasons.join("; ")))
}

/// What the server sent does not follow the rules of the mechanism, or does not prove that it knows the
/// user.
fn server_not_proven(mechanism: AuthMechanism, what: &str) -> Cause {
    Cause::new(
        CauseCode::ServerNotProven,
        format!("the server did not prove by {mechanism} that it knows the user: {what}"),
        "Somebody may stand between this client and the server: make sure that the host is the one you mean and \
         that tls is on. Otherwise look for what speaks for the server on the way, such as a proxy.",
    )
    .fact("mechanism", mechanism.as_str())
}

#[cfg(all(test, not(feature = "cloud")))]
mod tests {
    use super::*;
    use crate::options::OidcToken;

    #[test]
    fn what_needs_the_services_of_clouds_is_refused_before_any_connection() {
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
            .host(ServerAddress::tcp("host", 27017))
            .auth_mechanism(AuthMechanism::MongodbOidc, [] as [(&str, &str); 0])
            .oidc_callback(|_| Ok(OidcToken::new("token")))
            .build()
            .unwrap();
        assert!(Authenticator::new(&options).unwrap().is_some());
    }
}
