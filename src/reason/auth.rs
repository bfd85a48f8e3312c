//! Why authentication failed.

#[cfg(feature = "cloud")]
use std::path::PathBuf;

#[cfg(feature = "cloud")]
use super::files::ReadProblem;
#[cfg(feature = "cloud")]
use super::io::OsError;
use crate::data::auth_mechanism::AuthMechanism;
use crate::data::limit::ReachedLimit;
use crate::time::Elapsed;

/// Why a client cannot authenticate, or why an authentication failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AuthFailure {
    /// The options name a user without a password and without a mechanism that needs none.
    PasswordMissing { user: Option<String> },
    /// PLAIN separates user name and password by a NUL, and one of them holds another.
    PlainHoldsNul,
    /// PLAIN would send the password in plain text.
    PlainWithoutTls,
    /// MONGODB-X509 needs a client certificate, and TLS is off.
    X509WithoutTls,
    /// MONGODB-X509 needs a client certificate, and none is configured.
    X509WithoutCertificate,
    /// SASLprep (RFC 4013) prohibits the password.
    PasswordProhibited { ends_with_line_feed: bool },
    /// A cargo feature is off.
    #[cfg(not(all(feature = "cloud", feature = "gssapi", feature = "saslprep")))]
    NotBuiltIn(AuthFeature),
    /// This host cannot start the thread on which a mechanism waits.
    NoThread {
        mechanism: AuthMechanism,
        reached: ReachedLimit,
    },
    /// OpenSSL refuses what a mechanism needs, as it does in FIPS mode.
    CryptoUnavailable {
        mechanism: AuthMechanism,
        primitive: CryptoPrimitive,
        /// True if OpenSSL runs in FIPS mode.
        fips: bool,
        /// OpenSSL's own reasons.
        errors: Vec<String>,
    },
    /// The server broke a rule of the mechanism, or did not prove that it knows the user.
    NotProven {
        mechanism: AuthMechanism,
        violation: SaslViolation,
    },
    /// The server requests an iteration count of SCRAM that this client does not accept.
    IterationCount {
        mechanism: AuthMechanism,
        requested: u32,
        limit: IterationLimit,
    },
    /// The server ended a SCRAM conversation with `server-error` (RFC 5802 §7).
    ScramError {
        mechanism: AuthMechanism,
        error: String,
    },
    /// The server rejected the credential with an error.
    Rejected(Box<CredentialRejection>),
    /// The host of the server is not among the allowed ones, so the human callback of MONGODB-OIDC was not called.
    OidcHostNotAllowed { host: String, allowed: String },
    /// MONGODB-OIDC got no access token.
    AccessToken(AccessTokenFailure),
    /// MONGODB-AWS got no credentials, or could not use them.
    #[cfg(feature = "cloud")]
    Aws(AwsFailure),
    /// The Kerberos library failed.
    #[cfg(feature = "gssapi")]
    Kerberos(KerberosFailure),
    /// The Kerberos library did not end in time.
    #[cfg(feature = "gssapi")]
    KerberosTimeout(Elapsed),
}

/// A part of authentication that a cargo feature brings.
#[cfg(not(all(feature = "cloud", feature = "gssapi", feature = "saslprep")))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthFeature {
    #[cfg(not(feature = "gssapi"))]
    Gssapi,
    #[cfg(not(feature = "cloud"))]
    Aws,
    #[cfg(not(feature = "cloud"))]
    OidcEnvironments,
    #[cfg(not(feature = "saslprep"))]
    Saslprep,
}

/// An algorithm of OpenSSL that a mechanism needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CryptoPrimitive {
    RandomNumbers,
    Md5,
    Pbkdf2,
    Hmac,
}

/// The limit of iteration counts that the server's count is outside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IterationLimit {
    Least(u32),
    Most(u32),
}

/// The rule of a conversation that the server broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SaslViolation {
    // The replies to saslStart and saslContinue.
    NoConversationId,
    ConversationIdChanged,
    NoDone,
    NoPayload,
    PayloadTooLarge,
    TooManyReplies,
    EndedEarly,

    // The messages of any mechanism.
    UnexpectedMessage,
    NotBson,

    // SCRAM.
    MessageTooLong,
    MessageNotUtf8,
    NoNonce,
    NonceMalformed,
    NonceNotContinued,
    NoSalt,
    SaltMalformed,
    NoIterationCount,
    IterationCountMalformed,
    NoSignature,
    SignatureMalformed,
    SignatureWrong,
    ErrorMalformed,
    MandatoryExtension,
    FieldOutOfOrder,
    FieldWithoutName,

    // GSSAPI.
    /// The Kerberos library refused a message, with this text.
    #[cfg(feature = "gssapi")]
    Gssapi(String),
    #[cfg(feature = "gssapi")]
    SecurityLayerRequired,
    #[cfg(feature = "gssapi")]
    SecurityLayersMalformed,

    // MONGODB-AWS.
    #[cfg(feature = "cloud")]
    AwsNoNonce,
    #[cfg(feature = "cloud")]
    AwsNonceLength,
    #[cfg(feature = "cloud")]
    AwsNonceNotContinued,
    #[cfg(feature = "cloud")]
    NoStsHost,
    #[cfg(feature = "cloud")]
    InvalidStsHost,

    // MONGODB-OIDC.
    NoIssuer,
}

/// A server rejected a credential with an error.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CredentialRejection {
    pub(crate) mechanism: AuthMechanism,
    /// The database that the user was looked up in (`authSource`).
    pub(crate) source: String,
    pub(crate) user: Option<String>,
    /// The subject of the client certificate, as the server spells it.
    pub(crate) certificate_user: Option<String>,
    /// The mechanisms that the server has keys of the user for.
    pub(crate) user_mechanisms: UserMechanisms,
    /// The other databases that have a user of that name, as far as they were searched.
    pub(crate) known_in: Vec<String>,
    pub(crate) password_ends_with_line_feed: bool,
    /// The code and the message of the server's error.
    pub(crate) server_code: i32,
    pub(crate) server_message: String,
}

/// The mechanisms that a server has keys of a user for (`saslSupportedMechs`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum UserMechanisms {
    /// No hello requested them.
    #[default]
    NotRequested,
    /// The server's reply has no such field: it does not know the user, or does not support the field.
    Absent,
    /// The names in the server's reply. Unknown names are kept.
    Listed(Vec<String>),
}

impl UserMechanisms {
    /// Returns whether the server listed `mechanism`.
    pub(crate) fn include(&self, mechanism: AuthMechanism) -> bool {
        matches!(self, Self::Listed(names) if names.iter().any(|name| name == mechanism.as_str()))
    }
}

/// An error of the Kerberos library.
#[cfg(feature = "gssapi")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KerberosFailure {
    pub(crate) error: KerberosError,
    pub(crate) user: String,
    /// The principal of the server, or its host-based name.
    pub(crate) service: String,
    /// The library's own text.
    pub(crate) text: String,
}

/// The meaning of an error of the Kerberos library.
#[cfg(feature = "gssapi")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KerberosError {
    TicketExpired,
    TicketMissing,
    ServiceUnknown,
    /// The KDC issued no ticket for the user's password.
    PasswordRejected,
    Other,
}

/// A source of access tokens that gave none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AccessTokenFailure {
    pub(crate) source: AccessTokenSource,
    pub(crate) problem: AccessTokenProblem,
}

/// Where MONGODB-OIDC gets access tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AccessTokenSource {
    #[default]
    Callback,
    #[cfg(feature = "cloud")]
    Azure,
    #[cfg(feature = "cloud")]
    GoogleCloud,
    #[cfg(feature = "cloud")]
    Kubernetes,
    #[cfg(feature = "cloud")]
    TestEnvironment,
}

/// Why a source gave no access token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AccessTokenProblem {
    /// The callback returned an error, with this text.
    Callback(String),
    Panicked,
    EmptyToken,
    TimedOut(Elapsed),
    /// The environment variable with the path of the token file is not set.
    #[cfg(feature = "cloud")]
    VariableNotSet(&'static str),
    #[cfg(feature = "cloud")]
    TokenFile(TokenFileFailure),
    /// The metadata service at this URL failed.
    #[cfg(feature = "cloud")]
    MetadataService {
        url: String,
        problem: CredentialServiceProblem,
    },
}

/// A file that gave no token.
#[cfg(feature = "cloud")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TokenFileFailure {
    pub(crate) path: PathBuf,
    pub(crate) problem: TokenFileProblem,
}

/// Why a file gave no token.
#[cfg(feature = "cloud")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenFileProblem {
    /// The system did not open or read the file.
    System(OsError),
    /// The file is too large, of another type, or was not read in time.
    NotRead(ReadProblem),
    NotUtf8,
    Empty,
}

/// Why a credential service gave no credential.
#[cfg(feature = "cloud")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CredentialServiceProblem {
    /// The URL cannot be used: the reason.
    InvalidUrl(String),
    /// The exchange by HTTP failed, with this text.
    Http(String),
    /// No TLS connection was established, with this text.
    Tls(String),
    /// The reply has another status than 200.
    Status {
        status: u16,
        /// The beginning of its body, unless it may hold a credential.
        body: String,
    },
    /// The reply is not the JSON of credentials. The place is known, and the text is not: it may hold a secret.
    NotJson { line: usize, column: usize },
    /// The reply lacks this part.
    Missing(&'static str),
    /// This part of the reply cannot be read.
    Unreadable(&'static str),
}

/// Why MONGODB-AWS got no credentials, or could not use them.
#[cfg(feature = "cloud")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AwsFailure {
    /// The environment has a part of the credentials and lacks these variables.
    EnvironmentIncomplete { missing: Vec<&'static str> },
    /// AWS STS gave no credentials for the web identity.
    Sts { role: String, problem: StsProblem },
    /// The agent of ECS at this URL gave no credentials.
    Ecs {
        url: String,
        problem: CredentialServiceProblem,
    },
    /// The container credential service gave no credentials.
    Container {
        problem: ContainerProblem,
        /// True if the environment names a file with the service's token.
        has_token_file: bool,
    },
    /// No source has credentials. The last one is the EC2 metadata service at this URL.
    NoSource {
        web_identity: WebIdentityVariables,
        ec2_url: String,
        ec2_problem: CredentialServiceProblem,
    },
    /// OpenSSL cannot sign, with this text.
    Signing(String),
}

/// Why AWS STS gave no credentials.
#[cfg(feature = "cloud")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StsProblem {
    TokenFile(TokenFileFailure),
    /// OpenSSL has no random numbers for the name of the session, with this text.
    RandomNumbers(String),
    Service {
        url: String,
        problem: CredentialServiceProblem,
    },
    /// STS rejected the web identity with this status and, if its reply has one, this error.
    Rejected {
        status: u16,
        error: Option<String>,
    },
}

/// Why the container credential service of AWS gave no credentials.
#[cfg(feature = "cloud")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ContainerProblem {
    /// The URL in the environment cannot be used: the reason.
    InvalidUrl(String),
    /// The URL has http, and its host is neither loopback nor one of AWS's link-local addresses.
    HttpHost(String),
    TokenFile(TokenFileFailure),
    /// The token has a character that a header cannot hold.
    TokenNotHeader,
    Service {
        host: String,
        problem: CredentialServiceProblem,
    },
}

/// The environment variables for a web identity, of which two are needed.
#[cfg(feature = "cloud")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WebIdentityVariables {
    NoneSet,
    OnlyTokenFile,
    OnlyRole,
}
