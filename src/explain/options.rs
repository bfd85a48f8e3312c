//! Words for options that cannot be used.

use std::borrow::Cow;
use std::fmt;

use crate::cause::{CauseCode, Explanation};
use crate::reason::options::{
    CredentialPart, EquivalentKey, IntendedMechanism, OptionConflict, OptionFailure, StrayOption,
    UriFailure, UriPlace, UriProblem, UriValueProblem,
};

pub(super) fn explain(reason: &OptionFailure) -> Explanation {
    match reason {
        OptionFailure::Conflicts(conflicts) => {
            let conflicts: Vec<_> = conflicts.iter().map(ToString::to_string).collect();
            Explanation::new(
                CauseCode::OptionConflict,
                conflicts.join("; "),
                "Remove or change one of the options named.",
            )
            .fact("conflicts", conflicts)
        }
        OptionFailure::InvalidUri(failure) => Explanation::new(
            CauseCode::InvalidUri,
            format!("invalid connection string: {failure}"),
            uri_remedy(failure),
        )
        .fact("place", failure.place.to_string()),
    }
}

impl fmt::Display for OptionConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NoHost => "no host is given",
            Self::HostWithoutNameOrPort => "a host needs a name and a port from 1 to 65535",
            Self::ConnectToUnixSocket => {
                "connect_to replaces the address of a host, and a Unix socket is none"
            }
            Self::ConnectToWithoutNameOrPort => {
                "a target of connect_to needs a name and a port from 1 to 65535"
            }
            Self::SrvServiceName => "srvServiceName is not the name of a service (RFC 6335)",
            Self::DefaultDatabaseEmpty => "the name of the default database is empty",
            Self::AppNameTooLong => "appName is longer than 128 bytes",
            Self::DriverInfo => "driver_info needs a name, and its texts hold no '|' and no NUL",
            Self::MaxConnectingZero => "maxConnecting must be 1 or more",
            Self::HeartbeatFrequencyTooShort => "heartbeatFrequencyMS must be 500 or more",
            Self::ServerSelectionTimeoutZero => "serverSelectionTimeoutMS must be 1 or more",
            Self::ZlibCompressionLevel => "zlibCompressionLevel must be between -1 and 9",
            Self::PoolSizes => "minPoolSize is larger than maxPoolSize",
            Self::SeveralOidcCallbacks => "there is more than one OIDC callback",
            Self::OidcAllowedHostsAlone => "oidc_allowed_hosts needs oidc_human_callback",
            Self::SrvWithHosts => "mongodb+srv cannot be used with hosts of the program's",
            Self::SrvServiceNameWithoutSrv => "srvServiceName needs mongodb+srv",
            Self::SrvMaxHostsWithoutSrv => "srvMaxHosts needs mongodb+srv",
            Self::TlsOffWithTlsOption => "tls=false cannot be used with another TLS option",
            Self::DirectWithSeveralHosts => "directConnection=true allows one host only",
            Self::DirectWithSrv => "directConnection=true cannot be used with mongodb+srv",
            Self::LoadBalancedWithSeveralHosts => "loadBalanced=true allows one host only",
            Self::LoadBalancedWithReplicaSet => "loadBalanced=true cannot be used with replicaSet",
            Self::LoadBalancedWithDirect => {
                "loadBalanced=true cannot be used with directConnection=true"
            }
            Self::LoadBalancedWithSrvMaxHosts => {
                "loadBalanced=true cannot be used with srvMaxHosts"
            }
            Self::SrvMaxHostsWithReplicaSet => "srvMaxHosts cannot be used with replicaSet",
            Self::ProxyHostEmpty => "proxyHost is empty",
            Self::ProxyPortZero => "proxyPort must be 1 or more",
            Self::ProxyCredentialIncomplete => "proxyUsername and proxyPassword go together",
            Self::ProxyUsernameTooLong => "proxyUsername is longer than 255 bytes",
            Self::ProxyPasswordTooLong => "proxyPassword is longer than 255 bytes",
            Self::HostTooLongForProxy => {
                "with proxyHost the name of a server may have 255 bytes, and one is longer"
            }
            Self::ProxyPortWithoutHost => "proxyPort needs proxyHost",
            Self::ProxyUsernameWithoutHost => "proxyUsername needs proxyHost",
            Self::ProxyPasswordWithoutHost => "proxyPassword needs proxyHost",
            Self::UnacknowledgedJournal => {
                "w=0 asks for no acknowledgment and journal=true asks for one"
            }
            Self::TagsWithPrimary => "readPreferenceTags needs a readPreference other than primary",
            Self::MaxStalenessWithPrimary => {
                "maxStalenessSeconds needs a readPreference other than primary"
            }
            Self::MaxStalenessTooShort => {
                "maxStalenessSeconds must be 90 or more, or -1 for no limit"
            }
            Self::AuthSourceEmpty => "authSource must not be empty",
            Self::CallbackWithoutOidc => "an OIDC callback needs authMechanism=MONGODB-OIDC",
            Self::PropertiesWithoutMechanism => "authMechanismProperties needs an authMechanism",
            Self::UsernameEmpty => "the user name is empty",
            Self::AwsKeyIncomplete => {
                "MONGODB-AWS takes an access key id and a secret access key together, or neither"
            }
            Self::AwsKeysNotAllowed => {
                "MONGODB-AWS takes its keys from the environment alone here, and the options hold some"
            }
            Self::CanonicalizeHostName => {
                "CANONICALIZE_HOST_NAME must be none, forward or forwardAndReverse"
            }
            Self::OidcCallbackWithProperties => {
                "MONGODB-OIDC takes a callback or authMechanismProperties, not both"
            }
            Self::OidcWithoutEnvironment => {
                "MONGODB-OIDC needs an ENVIRONMENT in authMechanismProperties, or a callback of the program"
            }
            Self::OidcWithoutTokenResource => {
                "MONGODB-OIDC needs a TOKEN_RESOURCE in authMechanismProperties for azure and gcp"
            }
            Self::OidcTokenResource => "MONGODB-OIDC takes no TOKEN_RESOURCE for test and k8s",
            Self::OidcUsername => "MONGODB-OIDC takes a user name for azure alone",
            Self::OidcEnvironment => "ENVIRONMENT must be azure, gcp or k8s",
            #[cfg(feature = "cloud")]
            Self::OidcNotConfigured => {
                "MONGODB-OIDC has neither a callback nor a known ENVIRONMENT"
            }
            Self::PinnedKeyUnverified => {
                "pinned_key asks for a check that an unverified certificate cannot pass"
            }
            Self::RevocationStatusUnchecked => {
                "require_revocation_status asks for a check that another option switches off"
            }
            Self::CrlMaxAgeZero => "crl_max_age must not be zero",
            Self::OcspResponderTimeoutZero => "ocsp_responder_timeout must not be zero",
            Self::WholeChainWithoutCrlFile => "check_whole_chain needs a CRL file",
            Self::WholeChainWithoutCrl => "check_whole_chain needs a CRL",
            Self::AuthSourceNotExternal(mechanism) => {
                return write!(f, "authSource must be $external with {mechanism}");
            }
            Self::UnknownProperty {
                mechanism,
                known: [],
            } => return write!(f, "{mechanism} has no authMechanismProperties"),
            Self::UnknownProperty { mechanism, known } => {
                let known = known.join(", ");
                return write!(
                    f,
                    "the only authMechanismProperties of {mechanism} are {known}"
                );
            }
            Self::Missing { mechanism, part } => {
                let part = match part {
                    CredentialPart::Username => "a user name",
                    CredentialPart::Password => "a password",
                    CredentialPart::AccessKeyId => "an access key id beside AWS_SESSION_TOKEN",
                };
                return write!(f, "{mechanism} needs {part}");
            }
            Self::Superfluous { mechanism, part } => {
                let part = match part {
                    CredentialPart::Username => "user name",
                    CredentialPart::Password => "password",
                    CredentialPart::AccessKeyId => "access key id",
                };
                return write!(f, "{mechanism} takes no {part}");
            }
            Self::Versions { min, max } => {
                return write!(
                    f,
                    "min_version is {min} and max_version is {max}, which is older"
                );
            }
            Self::SecurityLevel(level) => {
                return write!(f, "security_level is {level}, and must be 1 to 5");
            }
            Self::Together(first, second) => {
                return write!(f, "{first} and {second} cannot be set together");
            }
            Self::WatchInterval(interval) => {
                return write!(f, "watch_files is {interval:?}, and must be 10 ms or more");
            }
            Self::CaDirectoryHasColon(path) => {
                return write!(
                    f,
                    "ca_directory {path:?} contains a colon, at which OpenSSL would split it into several folders"
                );
            }
            Self::CrlFileUnchecked(option) => {
                return write!(
                    f,
                    "tlsCRLFile asks for a check that {option}=true switches off"
                );
            }
            Self::Repeated(key) => return write!(f, "{key} must not be given twice"),
            Self::RepeatedDifferently(key) => {
                return write!(f, "{key} is given twice, with different values");
            }
        };
        f.write_str(text)
    }
}

impl fmt::Display for UriFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.problem)
    }
}

impl fmt::Display for UriPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "the scheme",
            Self::Byte(number) => return write!(f, "byte {number}"),
            Self::CredentialByte(number) => {
                return write!(f, "byte {number} (in the user name or password)");
            }
            Self::Username => "the user name",
            Self::Password => "the password",
            Self::Hosts => "the host part",
            Self::Host(number) => return write!(f, "host {number}"),
            Self::Database => "the database name",
            Self::Options => "the options",
            Self::Option {
                number,
                key: Some(key),
            } => return write!(f, "option {number} ({key})"),
            Self::Option { number, key: None } => return write!(f, "option {number}"),
        })
    }
}

/// Completes a sentence whose subject is the place.
impl fmt::Display for UriProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownScheme => "is missing or not a known one",
            Self::IsControlCharacter => "is a control character",
            Self::RawAt => "is an \"@\" that must be percent-encoded",
            Self::SecondColon => "is a second \":\", which must be percent-encoded",
            Self::RawCharacter => "is a character that must be percent-encoded",
            Self::BadPercent => "has a \"%\" that two hexadecimal digits do not follow",
            Self::NotUtf8 => "is not UTF-8 after percent-decoding",
            Self::HoldsNul => "contains a NUL",
            Self::AtInDatabase => {
                "contains an \"@\" that is not percent-encoded; it may belong to a password with an unescaped \"/\""
            }
            Self::SlashInDatabase => "contains a \"/\"",
            Self::HoldsControlCharacter => "contains a control character",
            Self::CharacterInDatabase(c) => return write!(f, "contains {c:?}"),
            Self::AtAfterHosts => {
                "is followed by \"?\" and an \"@\" that is not percent-encoded; it may belong to a password with an unescaped \"?\""
            }
            Self::EmptyHost { .. } => "is empty",
            Self::SeveralColons => "has more than one \":\"",
            Self::Port => "has a port that is not a number between 1 and 65535",
            Self::SocketWithPort => "is a Unix socket with a port",
            Self::ControlCharacterInPath => "has a control character in its path",
            Self::SocketName => "is the path of a Unix socket and does not end in .sock",
            Self::UnclosedBracket => "has a \"[\" without a \"]\"",
            Self::TextAfterBracket => "has text behind the \"]\"",
            Self::NoIpv6Address => "has brackets that hold no IPv6 address",
            Self::ZonePercent => "has a \"%\" before its zone that is not percent-encoded",
            Self::EncodedDelimiter => "has an encoded \":\" or \"@\"",
            Self::HostCharacter => "has a character that no host name has",
            Self::HostLabels => "is over-long or has an empty part between dots",
            Self::LooksLikeIpv4 => "looks like an IPv4 address and is none",
            Self::SrvList => "has a \",\": mongodb+srv takes one host",
            Self::SrvAddress => "is an IP address: mongodb+srv takes a name",
            Self::SrvPort => "has a \":\": mongodb+srv takes no port",
            Self::SrvSocket => "is a Unix socket: mongodb+srv takes a name",
            Self::TooManyOptions { most } => return write!(f, "are more than {most}"),
            Self::NoEquals => "has no \"=\"",
            Self::NoKey => "has no key before the \"=\"",
            Self::AtInOption => {
                "contains an \"@\" that is not percent-encoded; it may belong to a password"
            }
            Self::Unsupported { .. } => "is not supported",
            Self::Value(problem) => match problem {
                UriValueProblem::EmptyFile
                | UriValueProblem::EmptyAuthSource
                | UriValueProblem::EmptyProxyHost => "is empty",
                UriValueProblem::UnknownMechanism(_) => {
                    "is not a mechanism that this library knows"
                }
                UriValueProblem::UnknownProperty { number } => {
                    return write!(f, "has a pair (number {number}) whose name is not known");
                }
                UriValueProblem::AcknowledgmentCount => "is a number outside of 0 to 2147483647",
            },
            Self::Stray(option) | Self::StrayAfterHosts(option) => return option.fmt(f),
            Self::UnknownTlsKey { key: Some(key), .. } => {
                return write!(f, "has an unknown key about TLS, \"{key}\"");
            }
            Self::UnknownTlsKey { key: None, .. } => "has an unknown key about TLS",
        })
    }
}

impl fmt::Display for StrayOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.key {
            Some(key) => format!("\"{key}=\""),
            None => "an option".to_owned(),
        };
        match &self.separator {
            None => write!(f, "starts with {what}"),
            Some(space) if space.trim().is_empty() => write!(f, "contains {what} after a space"),
            Some(separator) => write!(f, "contains {what} after \"{separator}\""),
        }
    }
}

const ENCODE_CREDENTIALS: &str = "Percent-encode the user name and the password: % as %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23.";

fn uri_remedy(UriFailure { place, problem }: &UriFailure) -> Cow<'static, str> {
    const KEY_VALUE: &str = "Write options as key=value, joined by \"&\". Percent-encode a \"&\" in a value as %26, and in a password its / as %2F, ? as %3F and @ as %40.";
    const IPV6: &str =
        "Write an IPv6 address as [::1] or [::1]:27017, one with a zone as [fe80::1%25eth0].";
    let text = match problem {
        UriProblem::UnknownScheme => "Begin with mongodb:// or mongodb+srv://.",
        UriProblem::IsControlCharacter => {
            "Remove it; a text read from a file may end in a line break."
        }
        UriProblem::BadPercent | UriProblem::NotUtf8
            if matches!(place, UriPlace::Username | UriPlace::Password) =>
        {
            ENCODE_CREDENTIALS
        }
        UriProblem::BadPercent | UriProblem::NotUtf8 => {
            "Write a percent sign as %25; other bytes of UTF-8 as % and two hexadecimal digits."
        }
        UriProblem::RawAt
        | UriProblem::SecondColon
        | UriProblem::RawCharacter
        | UriProblem::AtInDatabase
        | UriProblem::HostCharacter
        | UriProblem::AtInOption => ENCODE_CREDENTIALS,
        UriProblem::HoldsNul => "Remove the %00.",
        UriProblem::SlashInDatabase => {
            "One \"/\" stands between the hosts and the database. Percent-encode those in the path of a Unix socket, in the user name and in the password, as %2F."
        }
        UriProblem::HoldsControlCharacter | UriProblem::ControlCharacterInPath => "Remove it.",
        UriProblem::CharacterInDatabase(_) => {
            "The name of a database holds none of / \\ \" $ and no space."
        }
        UriProblem::AtAfterHosts => {
            "Percent-encode the password (? as %3F, @ as %40). If the \"@\" does belong to an option, write %40 there, or \"/?\" behind the hosts."
        }
        UriProblem::EmptyHost { is_only: true } => {
            "Name a host behind \"//\". The path of a Unix socket must be percent-encoded: / as %2F."
        }
        UriProblem::EmptyHost { is_only: false } => "Remove the \",\" without a host.",
        UriProblem::SeveralColons => {
            "Put an IPv6 address in brackets, as in [::1]:27017. A \":\" in the user name or password must be percent-encoded as %3A, and an \"@\" must follow them."
        }
        UriProblem::Port => {
            "Correct the port, or leave out the \":\". If that is a password, percent-encode it (/ as %2F, ? as %3F), and write an \"@\" between it and the host."
        }
        UriProblem::SocketWithPort => {
            "Remove the port, or percent-encode a \":\" that belongs to the path."
        }
        UriProblem::SocketName => {
            "Name the socket's file, for example %2Ftmp%2Fmongodb-27017.sock."
        }
        UriProblem::UnclosedBracket | UriProblem::TextAfterBracket | UriProblem::NoIpv6Address => {
            IPV6
        }
        UriProblem::ZonePercent => "Write the \"%\" as %25, as in [fe80::1%25eth0].",
        UriProblem::EncodedDelimiter => {
            "Do not encode the \":\" between user name and password or before a port, nor the \"@\" before the host."
        }
        UriProblem::HostLabels => "Check the spelling of the host name.",
        UriProblem::LooksLikeIpv4 => "Write four numbers between 0 and 255, joined by dots.",
        UriProblem::SrvList
        | UriProblem::SrvAddress
        | UriProblem::SrvPort
        | UriProblem::SrvSocket => "mongodb+srv:// takes one host name and nothing else.",
        UriProblem::TooManyOptions { .. } => "Remove some.",
        UriProblem::NoEquals | UriProblem::NoKey => KEY_VALUE,
        UriProblem::Unsupported { instead } => instead,
        UriProblem::Value(problem) => return value_remedy(*problem),
        UriProblem::Stray(option) => {
            return with_equivalent(
                "Write \"/?\" before the first option and \"&\" between options. If this is text and not an option, write its \"=\" as %3D.",
                option,
            );
        }
        UriProblem::StrayAfterHosts(option) => {
            return with_equivalent(
                "Write \"/?\" between the hosts and the first option, as in mongodb://host/?tls=true, and \"&\" between options. In a user name or password, write ; as %3B and = as %3D.",
                option,
            );
        }
        UriProblem::UnknownTlsKey {
            equivalent: Some(equivalent),
            ..
        } => return equivalent.to_string().into(),
        UriProblem::UnknownTlsKey { known, .. } => {
            let known = known.join(", ");
            return format!("Check its spelling. The keys about TLS are {known}.").into();
        }
    };
    text.into()
}

fn with_equivalent(remedy: &'static str, option: &StrayOption) -> Cow<'static, str> {
    match option.equivalent {
        Some(equivalent) => format!("{remedy} {equivalent}").into(),
        None => remedy.into(),
    }
}

fn value_remedy(problem: UriValueProblem) -> Cow<'static, str> {
    let text = match problem {
        UriValueProblem::EmptyFile => "Name the file, or remove the option.",
        UriValueProblem::EmptyAuthSource => "Name the database, or remove the option.",
        UriValueProblem::EmptyProxyHost => "Name the proxy, or remove the option.",
        UriValueProblem::UnknownProperty { .. } => {
            "The names are SERVICE_NAME, CANONICALIZE_HOST_NAME, SERVICE_REALM, SERVICE_HOST, AWS_SESSION_TOKEN, ENVIRONMENT and TOKEN_RESOURCE. A value cannot hold a comma."
        }
        UriValueProblem::AcknowledgmentCount => {
            "Use majority, the name of a set of tags, or a number of members."
        }
        UriValueProblem::UnknownMechanism(intended) => match intended {
            IntendedMechanism::Default => "Write DEFAULT in capitals, or remove authMechanism.",
            IntendedMechanism::One(mechanism) => return format!("Write {mechanism}.").into(),
            IntendedMechanism::ChallengeResponse => {
                "Remove authMechanism, or write SCRAM-SHA-1: MongoDB 4.0 and later do not support MONGODB-CR."
            }
            IntendedMechanism::Unknown => {
                "Use SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509, PLAIN, GSSAPI, MONGODB-AWS or MONGODB-OIDC, in capitals; without authMechanism client and server agree on SCRAM."
            }
        },
    };
    text.into()
}

impl fmt::Display for EquivalentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => {
                "Use the key tls instead: tls=true turns TLS on, tls=false turns it off."
            }
            Self::Key(key) => return write!(f, "Use the key {key} instead."),
            Self::CertificateKeyFile => {
                "Use the key tlsCertificateKeyFile instead; its file holds the certificate and the private key."
            }
            Self::Opposite(key) => {
                return write!(
                    f,
                    "Remove it: the check is on by default. The key with the opposite meaning is {key}."
                );
            }
            Self::Protocol => {
                "No key sets versions and ciphers: use TlsOptionsBuilder::protocol in the program, or the configuration file of OpenSSL."
            }
            Self::FipsProvider => {
                "Activate the FIPS provider in the configuration file of OpenSSL; no key does so."
            }
            Self::HostName => {
                "Name the host in the connection string as its certificate does; no key changes the name that is checked."
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::AuthMechanism;

    #[test]
    fn an_unknown_mechanism_is_explained_by_the_intended_one() {
        for (intended, remedy) in [
            (
                IntendedMechanism::One(AuthMechanism::ScramSha256),
                "Write SCRAM-SHA-256.",
            ),
            (
                IntendedMechanism::Default,
                "Write DEFAULT in capitals, or remove authMechanism.",
            ),
            (
                IntendedMechanism::ChallengeResponse,
                "Remove authMechanism, or write SCRAM-SHA-1: MongoDB 4.0 and later do not support MONGODB-CR.",
            ),
            (
                IntendedMechanism::Unknown,
                "Use SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509, PLAIN, GSSAPI, MONGODB-AWS or MONGODB-OIDC, in \
                 capitals; without authMechanism client and server agree on SCRAM.",
            ),
        ] {
            let problem = UriValueProblem::UnknownMechanism(intended);
            let explanation = explain(&OptionFailure::InvalidUri(UriFailure {
                place: UriPlace::Option {
                    number: 1,
                    key: Some("authMechanism"),
                },
                problem: UriProblem::Value(problem),
            }));
            assert_eq!(
                explanation.message(),
                "invalid connection string: option 1 (authMechanism) is not a mechanism that this library knows"
            );
            assert_eq!(explanation.remedy(), remedy);
        }
    }
}
