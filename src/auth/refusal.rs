//! A server's refusal of the user → a cause.
//!
//! Servers say little on purpose: a wrong password, an unknown user and a wrong `authSource` get the same
//! answer. Which mechanisms hello has named for the user tells some of them apart, since MongoDB names them
//! only for a user that it knows ("Mechanism Negotiation via Handshake"). Codes are those of MongoDB's
//! `error_codes.yml`.

use bson::raw::RawDocument;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::cause::{Cause, CauseCode};
use crate::error::CommandFailure;
use crate::options::{AuthMechanism, Credential, Secret};
use crate::printable::Quoted;

/// A server refused a command of a conversation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) mechanism: AuthMechanism,
    /// What the server said.
    pub(crate) failure: &'a CommandFailure,
    /// What hello has said about the user.
    pub(crate) known: &'a UserMechanisms,
    /// The other databases that know a user of that name, as far as somebody has asked.
    pub(crate) known_in: &'a [String],
    /// The subject of the client certificate, as the server spells it.
    pub(crate) certificate_user: Option<&'a str>,
}

/// The mechanisms that a server has keys of a user for (`saslSupportedMechs`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum UserMechanisms {
    /// Nobody asked.
    #[default]
    NotAsked,
    /// The server named none: it does not know the user, or does not answer such questions.
    NotNamed,
    /// These.
    Named(Vec<String>),
}

impl UserMechanisms {
    /// What an answer to a hello says that asked for them. The names may be any; unknown ones are kept.
    pub(crate) fn read(hello: &RawDocument) -> Self {
        let Ok(names) = hello.get_array("saslSupportedMechs") else {
            return Self::NotNamed;
        };
        let names = names.into_iter().map_while(Result::ok).take(MOST_NAMES);
        let names = names.filter_map(|name| name.as_str().map(str::to_owned));
        Self::Named(names.filter(|name| name.len() <= LONGEST_NAME).collect())
    }

    /// Whether a mechanism is named.
    pub(crate) fn has(&self, mechanism: AuthMechanism) -> bool {
        matches!(self, Self::Named(names) if names.iter().any(|name| name == mechanism.as_str()))
    }
}

impl Refusal<'_> {
    pub(super) fn explain(&self, credential: &Credential) -> Cause {
        let cause = match self.mechanism {
            _ if self.is_unavailable() => self.unavailable(),
            AuthMechanism::MongodbX509 => self.certificate(credential),
            AuthMechanism::Plain => self.external(credential),
            AuthMechanism::MongodbAws => self.other(
                "See whose keys they are by `aws sts get-caller-identity`, and that the server has that ARN as a user of \
                 $external; check that the keys are in force, and that the clock is right: AWS STS takes no signature \
                 that is older than 15 minutes.",
            ),
            AuthMechanism::MongodbOidc => self.other(
                "Check that the token's issuer and audience are those of the server's oidcIdentityProviders, that it has \
                 not expired, and that the server has the user or a role for its groups; the server's log says which.",
            ),
            AuthMechanism::Gssapi => self.other(
                "Check that the server has the principal, with its realm, as a user of $external; its log tells what \
                 its Kerberos library says of its own key table and clock.",
            ),
            AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256 => self.password(credential),
        };
        let password = credential.password.as_ref().map_or("", Secret::expose);
        let cause = match super::ends_with_line_feed(password) {
            true => {
                let remedy = format!("{} {}", super::REMOVE_LINE_FEED, cause.remedy());
                cause.with_remedy(remedy)
            }
            false => cause,
        };
        let offered = match self.known {
            UserMechanisms::Named(names) => Some(names.clone()),
            _ => None,
        };
        let user = credential.username.as_deref().or(self.certificate_user);
        cause
            .fact("mechanism", self.mechanism.as_str())
            .fact_opt("user", user)
            .fact("auth_source", credential.source.as_str())
            .fact_opt("user_mechanisms", offered)
            .fact_opt(
                "known_in",
                (!self.known_in.is_empty()).then(|| self.known_in.to_vec()),
            )
            .fact("server_code", i64::from(self.failure.code))
            .fact("server_message", self.failure.message.as_str())
    }

    /// Whether the server does not offer the mechanism at all, or not for this user.
    fn is_unavailable(&self) -> bool {
        let of_server = match self.failure.code {
            MECHANISM_UNAVAILABLE => true,
            // Servers before 4.4.
            BAD_VALUE => self.failure.message.contains("mechanism"),
            _ => false,
        };
        of_server || self.is_not_named()
    }

    fn is_not_named(&self) -> bool {
        matches!(self.known, UserMechanisms::Named(_)) && !self.known.has(self.mechanism)
    }

    fn unavailable(&self) -> Cause {
        let mechanism = self.mechanism;
        let (message, remedy) = if self.is_not_named() {
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
                    "{keys}A mechanism that no user gets must be added to the server's authenticationMechanisms \
                     (setParameter)."
                ),
            )
        };
        Cause::new(
            CauseCode::MechanismUnavailable,
            format!("{message}: {}", self.said()),
            remedy,
        )
    }

    /// MONGODB-X509.
    fn certificate(&self, credential: &Credential) -> Cause {
        let said = self.said();
        let Some(subject) = self.certificate_user else {
            return self
                .other("Configure the client certificate of the user (tlsCertificateKeyFile).");
        };
        let other = credential.username.as_deref();
        let other = other.filter(|user| *user != subject);
        if let Some(user) = other.filter(|user| escaped(user) == subject) {
            let message = format!(
                "the server refused the user \"{user}\" of the client certificate, whose name MongoDB writes as \"{subject}\": {said}"
            );
            let encoded = utf8_percent_encode(subject, NON_ALPHANUMERIC);
            let remedy = format!(
                "Leave the user out of the connection string, so that the server takes it from the certificate, or \
                 write it as MongoDB does: {encoded}"
            );
            return Cause::new(CauseCode::AuthenticationFailed, message, remedy)
                .fact("certificate_user", subject);
        }
        if let Some(user) = other {
            let message = format!(
                "the server refused the user \"{user}\", and the client certificate is that of \"{subject}\": {said}"
            );
            let remedy = "Leave the user out of the connection string, so that the server takes it from the \
                          certificate, or configure the certificate of that user.";
            return Cause::new(CauseCode::AuthenticationFailed, message, remedy)
                .fact("certificate_user", subject);
        }
        // MongoDB takes a certificate with the O, OU and DC of its own for that of a member.
        if said.contains("cluster authentication") {
            let message = format!(
                "the server takes the client certificate \"{subject}\" for that of a member of its cluster: {said}"
            );
            let remedy =
                "Use a client certificate that differs from those of the servers in O, OU or DC.";
            return Cause::new(CauseCode::AuthenticationFailed, message, remedy)
                .fact("certificate_user", subject);
        }
        let message = format!(
            "the server refused the user of the client certificate, \"{subject}\", most likely because there is no \
             such user in the database $external: {said}"
        );
        let remedy = format!(
            "Create the user, with the roles that it needs: db.getSiblingDB(\"$external\").runCommand({{createUser: \
             {subject}, roles: [{{role: \"readWrite\", db: \"DATABASE\"}}]}})",
            subject = Quoted(&subject)
        );
        Cause::new(CauseCode::AuthenticationFailed, message, remedy)
            .fact("certificate_user", subject)
    }

    /// PLAIN: somebody behind the server knows the user.
    fn external(&self, credential: &Credential) -> Cause {
        let remedy = match credential.source.as_str() {
            "$external" => {
                "Check the user name and the password with what the server asks, most often LDAP, and that the \
                 server has the user or a role for its groups."
            }
            _ => {
                "Set authSource=$external: PLAIN is for users outside of MongoDB, whom no other database has."
            }
        };
        self.other(remedy)
    }

    /// SCRAM.
    fn password(&self, credential: &Credential) -> Cause {
        let user = credential.username.as_deref().unwrap_or_default();
        let source = &credential.source;
        if !matches!(self.failure.code, AUTHENTICATION_FAILED | USER_NOT_FOUND) {
            return self.other("Look at the server's log for this connection.");
        }
        let (mechanism, said) = (self.mechanism, self.said());
        let (message, remedy) = match self.known {
            UserMechanisms::Named(_) => (
                format!(
                    "the server knows the user {user} of the database {source} and refused it by {mechanism}, \
                     most likely for its password: {said}"
                , user = Quoted(&user), source = Quoted(&source)),
                "Correct the password; in a connection string it is percent-encoded. If it is right, see whether \
                 the user may log in from this host only (authenticationRestrictions)."
                    .to_owned(),
            ),
            UserMechanisms::NotNamed if !self.known_in.is_empty() => {
                let found = self.known_in.join(", ");
                (
                    format!(
                        "the server knows the user {user} not in the database {source}, and in {found}: {said}"
                    , user = Quoted(&user), source = Quoted(&source)),
                    format!("Set authSource={} in the connection string.", self.known_in[0]),
                )
            }
            UserMechanisms::NotNamed => (
                format!(
                    "the server refused the user {user} of the database {source} by {mechanism}, most likely \
                     because it knows no such user there: {said}"
                , user = Quoted(&user), source = Quoted(&source)),
                format!(
                    "Correct the user name, or set authSource to the database in which the user was created, most \
                     often admin. Now it is {source}."
                , source = Quoted(&source)),
            ),
            UserMechanisms::NotAsked => (
                format!(
                    "the server refused the user {user} of the database {source} by {mechanism}: {said}"
                , user = Quoted(&user), source = Quoted(&source)),
                "Check the user name, the password, and authSource, the database in which the user was created; a \
                 server does not say which is wrong."
                    .to_owned(),
            ),
        };
        Cause::new(CauseCode::AuthenticationFailed, message, remedy)
    }

    fn other(&self, remedy: &str) -> Cause {
        let message = format!(
            "the server refused the user by {}: {}",
            self.mechanism,
            self.said()
        );
        Cause::new(CauseCode::AuthenticationFailed, message, remedy)
    }

    fn said(&self) -> &str {
        self.failure.message.trim_end_matches('.')
    }
}

/// A name with each byte from 0x80 on escaped, as MongoDB writes the names of X.509 users.
fn escaped(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii() {
            text.push(char::from(byte));
        } else {
            text += &format!("\\{byte:02X}");
        }
        text
    })
}

const BAD_VALUE: i32 = 2;
const USER_NOT_FOUND: i32 = 11;
const AUTHENTICATION_FAILED: i32 = 18;
const MECHANISM_UNAVAILABLE: i32 = 334;

/// How many names of mechanisms are read, and how long each may be.
const MOST_NAMES: usize = 32;
const LONGEST_NAME: usize = 64;
