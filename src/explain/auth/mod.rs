//! Words for failures of authentication.
//!
//! Servers say little on purpose: a wrong password, an unknown user and a wrong `authSource` get the same error. The
//! mechanisms that hello lists for the user distinguish some of these cases, because MongoDB lists them only for a user
//! that it knows ("Mechanism Negotiation via Handshake"). Codes are those of MongoDB's `error_codes.yml`.

mod credentials;

use std::borrow::Cow;

#[cfg(feature = "cloud")]
pub(crate) use self::credentials::{limited_aws, limited_environment};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::cause::{CauseCode, Explanation};
use crate::data::auth_mechanism::AuthMechanism;
use crate::data::limit::ReachedLimit;
use crate::explain::limit::local_limit;
use crate::explain::wording;
use crate::printable::Quoted;
#[cfg(not(all(feature = "cloud", feature = "gssapi", feature = "saslprep")))]
use crate::reason::auth::AuthFeature;
use crate::reason::auth::{
    AuthFailure, CredentialRejection, CryptoPrimitive, IterationLimit, SaslViolation,
    UserMechanisms,
};
#[cfg(feature = "gssapi")]
use crate::reason::auth::{KerberosError, KerberosFailure};
use crate::server_code::{AUTHENTICATION_FAILED, BAD_VALUE, MECHANISM_UNAVAILABLE, USER_NOT_FOUND};
#[cfg(feature = "gssapi")]
use crate::time::Elapsed;

pub(super) fn explain(reason: &AuthFailure) -> Explanation {
    match reason {
        AuthFailure::PasswordMissing { user } => Explanation::new(
            CauseCode::OptionConflict,
            "the user has no password, and SCRAM, by which users log in without authMechanism, needs one",
            "Add the password after the user name, as user:password, percent-encoded; or set authMechanism to one that \
             needs no password.",
        )
        .fact_opt("user", user.as_deref()),
        AuthFailure::PlainHoldsNul => option_conflict(
            AuthMechanism::Plain,
            "PLAIN cannot send a user name or a password that holds a NUL",
            "Choose another password, or a user with SCRAM.",
        ),
        AuthFailure::PlainWithoutTls => option_conflict(
            AuthMechanism::Plain,
            "PLAIN sends the password in plain text, and tls is off: everyone on the route could read it",
            "Add tls=true to the connection string.",
        ),
        AuthFailure::X509WithoutTls => option_conflict(
            AuthMechanism::MongodbX509,
            "MONGODB-X509 takes the user from the client certificate, and tls is off",
            "Add tls=true and tlsCertificateKeyFile to the connection string.",
        ),
        AuthFailure::X509WithoutCertificate => option_conflict(
            AuthMechanism::MongodbX509,
            "MONGODB-X509 takes the user from the client certificate, and no client certificate is configured",
            "Name the PEM file with the client's certificate and private key in tlsCertificateKeyFile.",
        ),
        AuthFailure::PasswordProhibited {
            ends_with_line_feed,
        } => password_prohibited(*ends_with_line_feed),
        #[cfg(not(all(feature = "cloud", feature = "gssapi", feature = "saslprep")))]
        AuthFailure::NotBuiltIn(feature) => not_built_in(*feature),
        AuthFailure::NoThread { mechanism, reached } => no_thread(*mechanism, reached),
        AuthFailure::CryptoUnavailable {
            mechanism,
            primitive,
            fips,
            errors,
        } => crypto_unavailable(*mechanism, *primitive, *fips, errors),
        AuthFailure::NotProven {
            mechanism,
            violation,
        } => not_proven(*mechanism, violation),
        AuthFailure::IterationCount {
            mechanism,
            requested,
            limit,
        } => iteration_count(*mechanism, *requested, *limit),
        AuthFailure::ScramError { mechanism, error } => Explanation::new(
            CauseCode::AuthenticationFailed,
            format!(
                "the server refused the user by {mechanism}: {error}",
                error = Quoted(error)
            ),
            "Check the user name, the password, and authSource.",
        )
        .fact("mechanism", mechanism.as_str()),
        AuthFailure::Rejected(rejection) => rejected(rejection),
        AuthFailure::OidcHostNotAllowed { host, allowed } => {
            credentials::host_not_allowed(host, allowed)
        }
        AuthFailure::AccessToken(failure) => credentials::access_token(failure),
        #[cfg(feature = "cloud")]
        AuthFailure::Aws(failure) => credentials::aws(failure),
        #[cfg(feature = "gssapi")]
        AuthFailure::Kerberos(failure) => kerberos(failure),
        #[cfg(feature = "gssapi")]
        AuthFailure::KerberosTimeout(elapsed) => kerberos_timeout(*elapsed),
    }
}

fn option_conflict(mechanism: AuthMechanism, message: &str, remedy: &str) -> Explanation {
    Explanation::new(CauseCode::OptionConflict, message, remedy)
        .fact("mechanism", mechanism.as_str())
}

fn password_prohibited(ends_with_line_feed: bool) -> Explanation {
    let (message, remedy) = match ends_with_line_feed {
        true => (
            "the password ends with a line feed, as texts that were read from a file do, and SASLprep (RFC 4013) \
             prohibits it",
            REMOVE_LINE_FEED,
        ),
        false => (
            "the password cannot be used with SCRAM-SHA-256: SASLprep (RFC 4013) prohibits one of its characters, or \
             the order of its scripts",
            "Choose another password: control characters, private characters, and characters that are younger than \
             Unicode 3.2, such as most emoji, are prohibited, and letters of scripts written from right to left cannot \
             be combined with others.",
        ),
    };
    option_conflict(AuthMechanism::ScramSha256, message, remedy)
}

#[cfg(not(all(feature = "cloud", feature = "gssapi", feature = "saslprep")))]
fn not_built_in(feature: AuthFeature) -> Explanation {
    let (mechanism, what, remedy) = match feature {
        #[cfg(not(feature = "gssapi"))]
        AuthFeature::Gssapi => (
            AuthMechanism::Gssapi,
            "GSSAPI",
            "Build mongotls with its feature gssapi, which uses the system's Kerberos library.",
        ),
        #[cfg(not(feature = "cloud"))]
        AuthFeature::Aws => (
            AuthMechanism::MongodbAws,
            "MONGODB-AWS",
            "Build mongotls with its feature cloud, one of the default ones.",
        ),
        #[cfg(not(feature = "cloud"))]
        AuthFeature::OidcEnvironments => (
            AuthMechanism::MongodbOidc,
            "MONGODB-OIDC's environments",
            "Build mongotls with its feature cloud, one of the default ones, or give the client a callback that gets \
             the access token.",
        ),
        #[cfg(not(feature = "saslprep"))]
        AuthFeature::Saslprep => (
            AuthMechanism::ScramSha256,
            "SASLprep (RFC 4013), which the password needs, as it has other characters than those of ASCII",
            "Build mongotls with its feature saslprep, one of the default ones, or choose a password of ASCII.",
        ),
    };
    wording::not_built_in(what, remedy).fact("mechanism", mechanism.as_str())
}

fn crypto_unavailable(
    mechanism: AuthMechanism,
    primitive: CryptoPrimitive,
    fips: bool,
    errors: &[String],
) -> Explanation {
    let name = match primitive {
        CryptoPrimitive::RandomNumbers => "random numbers",
        CryptoPrimitive::Md5 => "MD5",
        CryptoPrimitive::Pbkdf2 => "PBKDF2 or HMAC",
        CryptoPrimitive::Hmac => "HMAC",
    };
    let remedy = match primitive {
        CryptoPrimitive::Md5 => {
            "Give the user keys for SCRAM-SHA-256: run updateUser with its password and mechanisms: \
             [\"SCRAM-SHA-256\"]. FIPS forbids MD5, which MongoDB's SCRAM-SHA-1 needs."
        }
        _ => {
            "Check which algorithms OpenSSL's configuration file forbids (`openssl version -d` prints its folder)."
        }
    };
    Explanation::new(
        CauseCode::MechanismUnsupported,
        format!("this OpenSSL refuses {name}, which {mechanism} needs"),
        remedy,
    )
    .fact("mechanism", mechanism.as_str())
    .fact("refused", name)
    .fact("fips", fips)
    .fact_opt("openssl", (!errors.is_empty()).then(|| errors.join("; ")))
}

fn not_proven(mechanism: AuthMechanism, violation: &SaslViolation) -> Explanation {
    let violation = violation_text(violation);
    Explanation::new(
        CauseCode::ServerNotProven,
        format!("the server did not prove by {mechanism} that it knows the user: {violation}"),
        "Another host may intercept this connection: make sure that the host is the one you mean and that tls is on. \
         Otherwise look for a proxy that answers for the server.",
    )
    .fact("mechanism", mechanism.as_str())
}

/// The end of a sentence about the server.
fn violation_text(violation: &SaslViolation) -> Cow<'_, str> {
    use SaslViolation as V;
    Cow::Borrowed(match violation {
        V::NoConversationId => "its reply has no conversationId",
        V::ConversationIdChanged => "it changed the conversationId",
        V::NoDone => "its reply does not say whether it is done",
        V::NoPayload => "its reply has no payload",
        V::PayloadTooLarge => "its message is too large",
        V::TooManyReplies => "it does not end the conversation",
        V::EndedEarly => "it ended the conversation early",
        V::UnexpectedMessage => "it sent an unexpected message",
        V::NotBson => "its message is not BSON",
        V::MessageTooLong => "its message is too long",
        V::MessageNotUtf8 => "its message is not UTF-8",
        V::NoNonce => "its first message has no nonce at its beginning",
        V::NonceMalformed => "its nonce is malformed",
        V::NonceNotContinued => "its nonce does not continue that of the client",
        V::NoSalt => "its first message has no salt",
        V::SaltMalformed => "its salt is malformed",
        V::NoIterationCount => "its first message has no iteration count",
        V::IterationCountMalformed => "its iteration count is malformed",
        V::NoSignature => "its last message has no signature",
        V::SignatureMalformed => "its signature is malformed",
        V::SignatureWrong => "its signature is wrong",
        V::ErrorMalformed => "its error is malformed",
        V::MandatoryExtension => "it requires an extension that this client does not know",
        V::FieldOutOfOrder => "it sent a field twice, or out of order",
        V::FieldWithoutName => "its message has a field without a name",
        #[cfg(feature = "gssapi")]
        V::Gssapi(text) => text,
        #[cfg(feature = "gssapi")]
        V::SecurityLayerRequired => "it requires a security layer of GSSAPI",
        #[cfg(feature = "gssapi")]
        V::SecurityLayersMalformed => "its offer of security layers cannot be read",
        #[cfg(feature = "cloud")]
        V::AwsNoNonce => "it sent no nonce",
        #[cfg(feature = "cloud")]
        V::AwsNonceLength => "its nonce does not have 64 bytes",
        #[cfg(feature = "cloud")]
        V::AwsNonceNotContinued => "its nonce does not begin with that of the client",
        #[cfg(feature = "cloud")]
        V::NoStsHost => "it named no STS host",
        #[cfg(feature = "cloud")]
        V::InvalidStsHost => "it named an invalid STS host",
        V::NoIssuer => "it named no issuer",
    })
}

fn iteration_count(mechanism: AuthMechanism, requested: u32, limit: IterationLimit) -> Explanation {
    let (bound, remedy) = match limit {
        IterationLimit::Least(least) => (
            format!("fewer than {least}"),
            "Set scramIterationCount and scramSHA256IterationCount of the server to 4096 or more, then set the user's \
             password again. If they are not lower, another host may intercept this connection.",
        ),
        IterationLimit::Most(most) => (
            format!("more than {most}"),
            "Lower scramIterationCount or scramSHA256IterationCount of the server, then set the user's password again.",
        ),
    };
    Explanation::new(
        CauseCode::ServerNotProven,
        format!("the server requests {requested} iterations of {mechanism}, {bound}"),
        remedy,
    )
    .fact("mechanism", mechanism.as_str())
    .fact("iterations", requested)
}

fn rejected(rejection: &CredentialRejection) -> Explanation {
    let line_feed = match rejection.password_ends_with_line_feed {
        true => format!("{REMOVE_LINE_FEED} "),
        false => String::new(),
    };
    let Rejected {
        code,
        message,
        remedy,
        certificate_user,
    } = match rejection.mechanism {
        _ if is_mechanism_unavailable(rejection) => mechanism_unavailable(rejection),
        AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256 => rejected_password(rejection),
        AuthMechanism::MongodbX509 => rejected_certificate(rejection),
        AuthMechanism::Plain => Rejected::by_mechanism(
            rejection,
            match rejection.source.as_str() {
                "$external" => {
                    "Check the user name and the password with the directory that the server uses, most often LDAP, and \
                 that the server has the user or a role for its groups."
                }
                _ => {
                    "Set authSource=$external: PLAIN is for users outside of MongoDB, which no other database has."
                }
            },
        ),
        AuthMechanism::MongodbAws => Rejected::by_mechanism(
            rejection,
            "Run `aws sts get-caller-identity` to see which user the keys belong to, and check that the server has that \
             ARN as a user of $external; check that the keys are in force, and that the clock is right: AWS STS accepts \
             no signature that is older than 15 minutes.",
        ),
        AuthMechanism::MongodbOidc => Rejected::by_mechanism(
            rejection,
            "Check that the token's issuer and audience are those of the server's oidcIdentityProviders, that it has \
             not expired, and that the server has the user or a role for its groups; the server's log says which.",
        ),
        AuthMechanism::Gssapi => Rejected::by_mechanism(
            rejection,
            "Check that the server has the principal, with its realm, as a user of $external; its log shows the errors \
             of its Kerberos library about its own key table and clock.",
        ),
    };
    let user = rejection.user.as_deref();
    let listed = match &rejection.user_mechanisms {
        UserMechanisms::Listed(names) => Some(names.clone()),
        UserMechanisms::NotRequested | UserMechanisms::Absent => None,
    };
    let known_in = &rejection.known_in;
    Explanation::new(code, message, format!("{line_feed}{remedy}"))
        .fact_opt("certificate_user", certificate_user)
        .fact("mechanism", rejection.mechanism.as_str())
        .fact_opt("user", user.or(rejection.certificate_user.as_deref()))
        .fact("auth_source", rejection.source.as_str())
        .fact_opt("user_mechanisms", listed)
        .fact_opt("known_in", (!known_in.is_empty()).then(|| known_in.clone()))
        .fact("server_code", i64::from(rejection.server_code))
        .fact("server_message", rejection.server_message.as_str())
}

/// The words for a rejection.
struct Rejected {
    code: CauseCode,
    message: String,
    remedy: String,
    /// The subject of the client certificate, if the message is about it.
    certificate_user: Option<String>,
}

impl Rejected {
    fn new(message: String, remedy: impl Into<String>) -> Self {
        Self {
            code: CauseCode::AuthenticationFailed,
            message,
            remedy: remedy.into(),
            certificate_user: None,
        }
    }

    /// A rejection of which nothing is known but the server's message.
    fn by_mechanism(rejection: &CredentialRejection, remedy: &str) -> Self {
        let message = format!(
            "the server refused the user by {}: {}",
            rejection.mechanism,
            server_message(rejection)
        );
        Self::new(message, remedy)
    }
}

/// Returns whether the server does not offer the mechanism at all, or not to this user.
fn is_mechanism_unavailable(rejection: &CredentialRejection) -> bool {
    let of_server = match rejection.server_code {
        MECHANISM_UNAVAILABLE => true,
        // Servers before 4.4.
        BAD_VALUE => rejection.server_message.contains("mechanism"),
        _ => false,
    };
    of_server || is_not_listed(rejection)
}

fn is_not_listed(rejection: &CredentialRejection) -> bool {
    let mechanisms = &rejection.user_mechanisms;
    matches!(mechanisms, UserMechanisms::Listed(_)) && !mechanisms.include(rejection.mechanism)
}

fn mechanism_unavailable(rejection: &CredentialRejection) -> Rejected {
    let mechanism = rejection.mechanism;
    let (message, remedy) = if is_not_listed(rejection) {
        (
            format!("the user has no keys for {mechanism} on the server"),
            "Set authMechanism to a mechanism of the user, or leave it out; or set the user's password again by \
             updateUser, which makes keys for all mechanisms that the server offers."
                .to_owned(),
        )
    } else {
        let keys = match mechanism {
            AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256 => {
                "Leave authMechanism out, or set it to a mechanism that the user has keys for. "
            }
            _ => "",
        };
        (
            format!("the server does not offer {mechanism} to the user"),
            format!(
                "{keys}If the server offers the mechanism to no user, add it to the server's authenticationMechanisms \
                 (setParameter)."
            ),
        )
    };
    Rejected {
        code: CauseCode::MechanismUnavailable,
        ..Rejected::new(format!("{message}: {}", server_message(rejection)), remedy)
    }
}

fn rejected_certificate(rejection: &CredentialRejection) -> Rejected {
    let server_text = server_message(rejection);
    let Some(subject) = rejection.certificate_user.as_deref() else {
        let remedy = "Configure the client certificate of the user (tlsCertificateKeyFile).";
        return Rejected::by_mechanism(rejection, remedy);
    };
    let other = rejection.user.as_deref().filter(|user| *user != subject);
    let (message, remedy) = match other {
        Some(user) if mongodb_spelling(user) == subject => (
            format!(
                "the server refused the user \"{user}\" of the client certificate, whose name MongoDB writes as \"{subject}\": {server_text}"
            ),
            format!(
                "Leave the user out of the connection string, so that the server takes it from the certificate, or \
                 write it as MongoDB does: {}",
                utf8_percent_encode(subject, NON_ALPHANUMERIC)
            ),
        ),
        Some(user) => (
            format!(
                "the server refused the user \"{user}\", and the client certificate is that of \"{subject}\": {server_text}"
            ),
            "Leave the user out of the connection string, so that the server takes it from the certificate, or \
             configure the certificate of that user."
                .to_owned(),
        ),
        // If O, OU and DC are those of the server's own certificate, MongoDB takes the client for a member.
        None if server_text.contains("cluster authentication") => (
            format!(
                "the server takes the client certificate \"{subject}\" for that of a member of its cluster: {server_text}"
            ),
            "Use a client certificate that differs from those of the servers in O, OU or DC."
                .to_owned(),
        ),
        None => (
            format!(
                "the server refused the user of the client certificate, \"{subject}\", most likely because there is no \
                 such user in the database $external: {server_text}"
            ),
            format!(
                "Create the user, with the roles that it needs: \
                 db.getSiblingDB(\"$external\").runCommand({{createUser: {subject}, roles: [{{role: \"readWrite\", db: \
                 \"DATABASE\"}}]}})",
                subject = Quoted(subject)
            ),
        ),
    };
    Rejected {
        certificate_user: Some(subject.to_owned()),
        ..Rejected::new(message, remedy)
    }
}

/// SCRAM.
fn rejected_password(rejection: &CredentialRejection) -> Rejected {
    let code = rejection.server_code;
    if !matches!(code, AUTHENTICATION_FAILED | USER_NOT_FOUND) {
        let remedy = "Look at the server's log for this connection.";
        return Rejected::by_mechanism(rejection, remedy);
    }
    let user = Quoted(rejection.user.as_deref().unwrap_or_default());
    let source = Quoted(&rejection.source);
    let (mechanism, said) = (rejection.mechanism, server_message(rejection));
    let (message, remedy) = match (&rejection.user_mechanisms, rejection.known_in.first()) {
        (UserMechanisms::Listed(_), _) => (
            format!(
                "the server knows the user {user} of the database {source} and refused it by {mechanism}, most likely \
                 for its password: {said}"
            ),
            "Correct the password; in a connection string it is percent-encoded. If it is right, check whether the user \
             may log in from this host (authenticationRestrictions)."
                .to_owned(),
        ),
        (UserMechanisms::Absent, Some(first)) => {
            let known_in = rejection.known_in.join(", ");
            (
                format!(
                    "the server does not know the user {user} in the database {source}, but knows it in {known_in}: \
                     {said}"
                ),
                format!("Set authSource={first} in the connection string."),
            )
        }
        (UserMechanisms::Absent, None) => (
            format!(
                "the server refused the user {user} of the database {source} by {mechanism}, most likely because it \
                 knows no such user there: {said}"
            ),
            format!(
                "Correct the user name, or set authSource to the database in which the user was created, most often \
                 admin. Now it is {source}."
            ),
        ),
        (UserMechanisms::NotRequested, _) => (
            format!(
                "the server refused the user {user} of the database {source} by {mechanism}: {said}"
            ),
            "Check the user name, the password, and authSource, the database in which the user was created; a server \
             does not say which is wrong."
                .to_owned(),
        ),
    };
    Rejected::new(message, remedy)
}

fn server_message(rejection: &CredentialRejection) -> &str {
    rejection.server_message.trim_end_matches('.')
}

/// The name as MongoDB writes the names of X.509 users: each byte from 0x80 on is escaped.
fn mongodb_spelling(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii() {
            text.push(char::from(byte));
        } else {
            text += &format!("\\{byte:02X}");
        }
        text
    })
}

fn no_thread(mechanism: AuthMechanism, reached: &ReachedLimit) -> Explanation {
    let what = match mechanism {
        AuthMechanism::Gssapi => "the Kerberos library was not called",
        _ => "no OIDC token was requested",
    };
    local_limit(what, reached).fact("mechanism", mechanism.as_str())
}

#[cfg(feature = "gssapi")]
fn kerberos(failure: &KerberosFailure) -> Explanation {
    let KerberosFailure {
        error,
        user,
        service,
        text,
    } = failure;
    let (quoted_user, quoted_service) = (Quoted(user), Quoted(service));
    let (code, message, remedy) = match error {
        KerberosError::TicketExpired => (
            CauseCode::KerberosTicketMissing,
            format!("the Kerberos ticket of {quoted_user} has expired: {text}"),
            format!("Get a new one by `kinit {user}`, or run a program that renews it (k5start)."),
        ),
        KerberosError::TicketMissing => (
            CauseCode::KerberosTicketMissing,
            format!("there is no Kerberos ticket of {quoted_user}: {text}"),
            format!(
                "Get one by `kinit {user}`, or point KRB5CCNAME or KRB5_CLIENT_KTNAME to where there is one."
            ),
        ),
        KerberosError::ServiceUnknown => (
            CauseCode::KerberosServiceUnknown,
            format!("the KDC does not know the service {quoted_service}: {text}"),
            "Connect by the name that the service principal has, or set SERVICE_HOST, SERVICE_NAME, SERVICE_REALM or \
             CANONICALIZE_HOST_NAME in authMechanismProperties; `klist -k` on the server lists its principals."
                .to_owned(),
        ),
        KerberosError::PasswordRejected => (
            CauseCode::KerberosFailed,
            format!("the KDC gave no ticket to {quoted_user} for its password: {text}"),
            "Check the user name with its realm, and the password; and that the clock is right."
                .to_owned(),
        ),
        KerberosError::Other => (
            CauseCode::KerberosFailed,
            format!(
                "Kerberos failed for the user {quoted_user} and the service {quoted_service}: {text}"
            ),
            CHECK_KERBEROS.to_owned(),
        ),
    };
    Explanation::new(code, message, remedy)
        .fact("mechanism", AuthMechanism::Gssapi.as_str())
        .fact("user", user.as_str())
        .fact("service", service.as_str())
}

#[cfg(feature = "gssapi")]
fn kerberos_timeout(elapsed: Elapsed) -> Explanation {
    Explanation::new(
        CauseCode::KerberosFailed,
        format!(
            "the Kerberos library did not end {}",
            wording::within(elapsed)
        ),
        CHECK_KERBEROS,
    )
    .fact("mechanism", AuthMechanism::Gssapi.as_str())
    .fact("option", elapsed.kind.option())
}

#[cfg(feature = "gssapi")]
const CHECK_KERBEROS: &str = "Check /etc/krb5.conf and the route to the KDC; `KRB5_TRACE=/dev/stderr` shows what the library does.";

const REMOVE_LINE_FEED: &str = "Remove the line feed at the end of the password before it is given to the client, in Rust with \
     trim_end_matches(['\\r', '\\n']).";
