//! Why authentication failed.

use crate::limit::ReachedLimit;
use crate::options::AuthMechanism;
#[cfg(feature = "gssapi")]
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
        /// Whether OpenSSL runs in FIPS mode.
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

/// What an error of the Kerberos library means.
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
