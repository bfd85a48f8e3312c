//! The authentication mechanisms. Source: "Driver Authentication".

use crate::enum_text::display_as_str;

/// The authentication mechanisms of MongoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthMechanism {
    /// SCRAM with SHA-1 (RFC 5802).
    ScramSha1,
    /// SCRAM with SHA-256 (RFC 7677).
    ScramSha256,
    /// The client's TLS certificate.
    MongodbX509,
    /// The plaintext password, for servers that use LDAP (RFC 4616).
    Plain,
    /// Kerberos (RFC 4752).
    Gssapi,
    /// AWS IAM.
    MongodbAws,
    /// An OpenID Connect access token.
    MongodbOidc,
}

impl AuthMechanism {
    pub(crate) const ALL: [Self; 7] = [
        Self::ScramSha1,
        Self::ScramSha256,
        Self::MongodbX509,
        Self::Plain,
        Self::Gssapi,
        Self::MongodbAws,
        Self::MongodbOidc,
    ];

    /// Returns the name used in `authMechanism` and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::MongodbX509 => "MONGODB-X509",
            Self::Plain => "PLAIN",
            Self::Gssapi => "GSSAPI",
            Self::MongodbAws => "MONGODB-AWS",
            Self::MongodbOidc => "MONGODB-OIDC",
        }
    }

    /// Returns true if users of this mechanism are always defined in `$external`, regardless of the database.
    pub(crate) fn is_always_external(self) -> bool {
        matches!(
            self,
            Self::MongodbX509 | Self::Gssapi | Self::MongodbAws | Self::MongodbOidc
        )
    }

    /// Returns true if any mechanism has a property with this name.
    pub(crate) fn is_property(name: &str) -> bool {
        Self::ALL
            .into_iter()
            .any(|mechanism| mechanism.properties().contains(&name))
    }

    /// Returns the properties of the mechanism.
    pub(crate) fn properties(self) -> &'static [&'static str] {
        match self {
            Self::Gssapi => &[
                "SERVICE_NAME",
                "CANONICALIZE_HOST_NAME",
                "SERVICE_REALM",
                "SERVICE_HOST",
            ],
            Self::MongodbAws => &["AWS_SESSION_TOKEN"],
            Self::MongodbOidc => &["ENVIRONMENT", "TOKEN_RESOURCE"],
            Self::ScramSha1 | Self::ScramSha256 | Self::MongodbX509 | Self::Plain => &[],
        }
    }
}

display_as_str!(AuthMechanism);
