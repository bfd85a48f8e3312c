//! The credential of a client, checked against the rules of its mechanism.
//!
//! Source: the specification "Driver Authentication", section "MongoCredential Properties" of each mechanism.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{Secret, UnknownName};
use crate::data::auth_mechanism::AuthMechanism;
use crate::reason::options::{CredentialPart, OptionConflict};

/// A user and the way to authenticate it.
///
/// `Debug` shows neither the password nor the value of a property.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credential {
    /// The user name, or `None` if the mechanism takes it from elsewhere, as MONGODB-X509 does from the certificate.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The database that defines the user (`authSource`), or `$external` for mechanisms outside of MongoDB.
    pub source: String,
    /// The mechanism, or `None` to negotiate a SCRAM mechanism with the server.
    pub mechanism: Option<AuthMechanism>,
    /// The properties of the mechanism (`authMechanismProperties`), with names in upper case.
    pub properties: BTreeMap<String, Secret>,
}

impl Credential {
    /// Checks that the options required by the mechanism are set, and that those it forbids are not.
    pub(crate) fn check(&self, has_callback: bool) -> Result<(), OptionConflict> {
        let name = self.username.as_deref();
        let has_username = name.is_some_and(|name| !name.is_empty());
        let has_password = self.password.is_some();
        if self.source.is_empty() {
            return Err(OptionConflict::AuthSourceEmpty);
        }
        if has_callback && self.mechanism != Some(AuthMechanism::MongodbOidc) {
            return Err(OptionConflict::CallbackWithoutOidc);
        }
        let Some(mechanism) = self.mechanism else {
            return match has_username {
                true if self.properties.is_empty() => Ok(()),
                true => Err(OptionConflict::PropertiesWithoutMechanism),
                false => Err(OptionConflict::UsernameEmpty),
            };
        };
        if mechanism.is_always_external() && self.source != "$external" {
            return Err(OptionConflict::AuthSourceNotExternal(mechanism));
        }
        let unknown = |name: &String| !mechanism.properties().contains(&name.as_str());
        if self.properties.keys().any(unknown) {
            // The name is not repeated, because it may be part of a secret value that was cut at a comma.
            return Err(OptionConflict::UnknownProperty {
                mechanism,
                known: mechanism.properties(),
            });
        }
        match mechanism {
            AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256 | AuthMechanism::Plain => {
                require(has_username, mechanism, CredentialPart::Username)?;
                require(has_password, mechanism, CredentialPart::Password)
            }
            AuthMechanism::Gssapi => {
                require(has_username, mechanism, CredentialPart::Username)?;
                self.check_canonicalization()
            }
            AuthMechanism::MongodbX509 => forbid(has_password, mechanism, CredentialPart::Password),
            AuthMechanism::MongodbAws => {
                if has_username != has_password {
                    return Err(OptionConflict::AwsKeyIncomplete);
                }
                let has_token = self.properties.contains_key("AWS_SESSION_TOKEN");
                require(
                    has_username || !has_token,
                    mechanism,
                    CredentialPart::AccessKeyId,
                )
            }
            AuthMechanism::MongodbOidc => {
                forbid(has_password, mechanism, CredentialPart::Password)?;
                self.check_oidc_environment(has_username, has_callback)
            }
        }
    }

    fn check_canonicalization(&self) -> Result<(), OptionConflict> {
        match self.property("CANONICALIZE_HOST_NAME") {
            None | Some("none" | "forward" | "forwardAndReverse" | "true" | "false") => Ok(()),
            Some(_) => Err(OptionConflict::CanonicalizeHostName),
        }
    }

    fn check_oidc_environment(
        &self,
        has_username: bool,
        has_callback: bool,
    ) -> Result<(), OptionConflict> {
        let environment = self.property("ENVIRONMENT");
        let has_resource = self.properties.contains_key("TOKEN_RESOURCE");
        if has_callback {
            return match self.properties.is_empty() {
                true => Ok(()),
                false => Err(OptionConflict::OidcCallbackWithProperties),
            };
        }
        match environment {
            None => Err(OptionConflict::OidcWithoutEnvironment),
            Some("azure" | "gcp") if !has_resource => Err(OptionConflict::OidcWithoutTokenResource),
            Some("test" | "k8s") if has_resource => Err(OptionConflict::OidcTokenResource),
            Some("test" | "gcp" | "k8s") if has_username => Err(OptionConflict::OidcUsername),
            Some("test" | "azure" | "gcp" | "k8s") => Ok(()),
            Some(_) => Err(OptionConflict::OidcEnvironment),
        }
    }

    fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(Secret::expose)
    }
}

impl FromStr for AuthMechanism {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|mechanism| mechanism.as_str() == text)
            .ok_or(UnknownName::MECHANISM)
    }
}

/// The user's data from a connection string or a program, before the rules of the mechanism turn it into a
/// [`Credential`].
#[derive(Clone, Debug, Default)]
pub(crate) struct CredentialDraft {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) source: Option<String>,
    pub(crate) mechanism: Option<AuthMechanism>,
    pub(crate) properties: BTreeMap<String, Secret>,
    /// True if AWS keys must come from the environment, and not from these options.
    pub(crate) aws_from_environment: bool,
}

impl CredentialDraft {
    /// Returns the credential with the defaults of its mechanism, or `None` if no authentication is requested.
    ///
    /// A user name (even an empty one) or a mechanism requests authentication; a source alone does not.
    pub(crate) fn finish(
        self,
        database: Option<&str>,
    ) -> Result<Option<Credential>, OptionConflict> {
        if self.source.as_deref() == Some("") {
            return Err(OptionConflict::AuthSourceEmpty);
        }
        if self.username.is_none() && self.mechanism.is_none() {
            return match self.properties.is_empty() {
                true => Ok(None),
                false => Err(OptionConflict::PropertiesWithoutMechanism),
            };
        }
        let has_keys = self
            .username
            .as_deref()
            .is_some_and(|name| !name.is_empty())
            || self.password.is_some();
        if self.mechanism == Some(AuthMechanism::MongodbAws)
            && self.aws_from_environment
            && has_keys
        {
            return Err(OptionConflict::AwsKeysNotAllowed);
        }
        let external = self
            .mechanism
            .is_some_and(AuthMechanism::is_always_external);
        let source = match (self.source, database) {
            (Some(source), _) => source,
            (None, Some(database)) if !external => database.to_owned(),
            (None, None) if !external && self.mechanism != Some(AuthMechanism::Plain) => {
                "admin".to_owned()
            }
            (None, _) => "$external".to_owned(),
        };
        let mut properties = self.properties;
        if self.mechanism == Some(AuthMechanism::Gssapi) {
            properties
                .entry("SERVICE_NAME".to_owned())
                .or_insert_with(|| Secret::from("mongodb"));
        }
        let username = self.username.filter(|name| !name.is_empty());
        Ok(Some(Credential {
            username,
            password: self.password,
            source,
            mechanism: self.mechanism,
            properties,
        }))
    }

    /// Returns true if a user is set and only the password is missing.
    pub(crate) fn lacks_password(&self) -> bool {
        use AuthMechanism::{Plain, ScramSha1, ScramSha256};
        let has_user = self
            .username
            .as_deref()
            .is_some_and(|name| !name.is_empty());
        let needs_one = matches!(self.mechanism, None | Some(ScramSha1 | ScramSha256 | Plain));
        has_user && needs_one && self.password.is_none()
    }
}

fn require(
    is_present: bool,
    mechanism: AuthMechanism,
    part: CredentialPart,
) -> Result<(), OptionConflict> {
    match is_present {
        true => Ok(()),
        false => Err(OptionConflict::Missing { mechanism, part }),
    }
}

fn forbid(
    is_present: bool,
    mechanism: AuthMechanism,
    part: CredentialPart,
) -> Result<(), OptionConflict> {
    match is_present {
        true => Err(OptionConflict::Superfluous { mechanism, part }),
        false => Ok(()),
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("username", &self.username)
            .field("password", &self.password)
            .field("source", &self.source)
            .field("mechanism", &self.mechanism)
            .field("properties", &self.properties)
            .finish()
    }
}
