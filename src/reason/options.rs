//! Why options cannot be used.

use std::time::Duration;

use crate::data::auth_mechanism::AuthMechanism;
use crate::data::tls_version::TlsVersion;

/// Why options cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OptionFailure {
    /// Options contradict each other, or have a value outside their range.
    Conflicts(Vec<OptionConflict>),
    /// A connection string does not parse.
    InvalidUri(UriFailure),
}

/// Options that contradict each other, or one with a value outside its range. `explain` words each rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OptionConflict {
    NoHost,
    HostWithoutNameOrPort,
    ConnectToUnixSocket,
    ConnectToWithoutNameOrPort,
    SrvServiceName,
    DefaultDatabaseEmpty,
    AppNameTooLong,
    DriverInfo,
    MaxConnectingZero,
    HeartbeatFrequencyTooShort,
    ServerSelectionTimeoutZero,
    ZlibCompressionLevel,
    PoolSizes,
    SeveralOidcCallbacks,
    OidcAllowedHostsAlone,
    SrvWithHosts,
    SrvServiceNameWithoutSrv,
    SrvMaxHostsWithoutSrv,
    TlsOffWithTlsOption,
    DirectWithSeveralHosts,
    DirectWithSrv,
    LoadBalancedWithSeveralHosts,
    LoadBalancedWithReplicaSet,
    LoadBalancedWithDirect,
    LoadBalancedWithSrvMaxHosts,
    SrvMaxHostsWithReplicaSet,
    ProxyHostEmpty,
    ProxyPortZero,
    ProxyCredentialIncomplete,
    ProxyUsernameTooLong,
    ProxyPasswordTooLong,
    HostTooLongForProxy,
    ProxyPortWithoutHost,
    ProxyUsernameWithoutHost,
    ProxyPasswordWithoutHost,
    UnacknowledgedJournal,
    TagsWithPrimary,
    MaxStalenessWithPrimary,
    MaxStalenessTooShort,
    AuthSourceEmpty,
    CallbackWithoutOidc,
    PropertiesWithoutMechanism,
    UsernameEmpty,
    AwsKeyIncomplete,
    /// The options hold AWS keys, and only those of the environment are allowed.
    AwsKeysNotAllowed,
    CanonicalizeHostName,
    OidcCallbackWithProperties,
    OidcWithoutEnvironment,
    OidcWithoutTokenResource,
    OidcTokenResource,
    OidcUsername,
    OidcEnvironment,
    #[cfg(feature = "cloud")]
    OidcNotConfigured,
    PinnedKeyUnverified,
    RevocationStatusUnchecked,
    CrlMaxAgeZero,
    OcspResponderTimeoutZero,
    /// `check_whole_chain` without a CRL file in the options.
    WholeChainWithoutCrlFile,
    /// `check_whole_chain`, and no file holds a CRL.
    WholeChainWithoutCrl,
    /// `authSource` must be `$external` with this mechanism.
    AuthSourceNotExternal(AuthMechanism),
    /// The mechanism has no other properties than the known ones.
    UnknownProperty {
        mechanism: AuthMechanism,
        known: &'static [&'static str],
    },
    /// The mechanism needs a part of the credential that is missing.
    Missing {
        mechanism: AuthMechanism,
        part: CredentialPart,
    },
    /// The mechanism takes no such part of the credential.
    Superfluous {
        mechanism: AuthMechanism,
        part: CredentialPart,
    },
    /// The newest version of TLS is older than the oldest one.
    Versions {
        min: TlsVersion,
        max: TlsVersion,
    },
    /// The security level is outside of 1 to 5.
    SecurityLevel(u32),
    /// Two options that must not be set together.
    Together(&'static str, &'static str),
    /// The interval of `watch_files` is below 10 ms.
    WatchInterval(Duration),
    /// `ca_directory` is a path with a colon.
    CaDirectoryHasColon(String),
    /// `tlsCRLFile` asks for a check that this option switches off.
    CrlFileUnchecked(&'static str),
    /// The key must not be repeated in a connection string.
    Repeated(&'static str),
    /// The key is given twice in a connection string, with different values.
    RepeatedDifferently(&'static str),
}

/// A part of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialPart {
    Username,
    Password,
    /// The access key id that belongs to a session token.
    AccessKeyId,
}

/// A connection string that breaks a rule. It holds no text of the string that may be a piece of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UriFailure {
    pub(crate) place: UriPlace,
    pub(crate) problem: UriProblem,
}

/// A place in a connection string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UriPlace {
    Scheme,
    /// A byte, counted from 1.
    Byte(usize),
    /// A byte of the user name or the password, counted from 1 in the whole string.
    CredentialByte(usize),
    Username,
    Password,
    /// All hosts.
    Hosts,
    /// A host, counted from 1.
    Host(usize),
    Database,
    /// All options.
    Options,
    /// An option, counted from 1, with its key if that is known.
    Option {
        number: usize,
        key: Option<&'static str>,
    },
}

/// The rule that a connection string breaks at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UriProblem {
    UnknownScheme,
    IsControlCharacter,
    /// An `@` that must be percent-encoded.
    RawAt,
    /// A second `:` in the credentials, which must be percent-encoded.
    SecondColon,
    /// Another character that must be percent-encoded in the credentials.
    RawCharacter,
    /// A `%` without two hexadecimal digits after it.
    BadPercent,
    NotUtf8,
    HoldsNul,
    /// The name of the database has an `@`: it may be a piece of a password.
    AtInDatabase,
    SlashInDatabase,
    HoldsControlCharacter,
    CharacterInDatabase(char),
    /// A `?` and an `@` follow the hosts: they may be a piece of a password.
    AtAfterHosts,
    EmptyHost {
        /// True if there is no other host.
        is_only: bool,
    },
    SeveralColons,
    Port,
    SocketWithPort,
    ControlCharacterInPath,
    /// The path of a Unix socket does not end in `.sock`.
    SocketName,
    UnclosedBracket,
    TextAfterBracket,
    NoIpv6Address,
    /// The `%` before the zone of an IPv6 address is not percent-encoded.
    ZonePercent,
    /// An encoded `:` or `@`.
    EncodedDelimiter,
    HostCharacter,
    /// The name is too long, or has an empty label.
    HostLabels,
    LooksLikeIpv4,
    /// Several hosts with `mongodb+srv`.
    SrvList,
    /// An IP address with `mongodb+srv`.
    SrvAddress,
    /// A port with `mongodb+srv`.
    SrvPort,
    /// A Unix socket with `mongodb+srv`.
    SrvSocket,
    TooManyOptions {
        most: usize,
    },
    NoEquals,
    NoKey,
    /// An `@` that may belong to a password.
    AtInOption,
    /// A key that is not supported, and must not be ignored.
    Unsupported {
        instead: &'static str,
    },
    Value(UriValueProblem),
    /// An option inside of the name of the database, or of another option.
    Stray(StrayOption),
    /// An option directly after the hosts.
    StrayAfterHosts(StrayOption),
    UnknownTlsKey {
        key: Option<String>,
        equivalent: Option<EquivalentKey>,
        /// The keys about TLS.
        known: Vec<&'static str>,
    },
}

/// A value of an option that must not be ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UriValueProblem {
    EmptyFile,
    EmptyAuthSource,
    EmptyProxyHost,
    UnknownMechanism(IntendedMechanism),
    /// A pair of `authMechanismProperties`, counted from 1, has an unknown name.
    UnknownProperty {
        number: usize,
    },
    /// `w` is a number outside of its range.
    AcknowledgmentCount,
}

/// The mechanism that an unknown name probably means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntendedMechanism {
    /// `DEFAULT` in another case.
    Default,
    One(AuthMechanism),
    /// MONGODB-CR, which MongoDB 4.0 and later do not support.
    ChallengeResponse,
    Unknown,
}

/// An option in a place where it would be read as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StrayOption {
    /// The key, if an error may quote it.
    pub(crate) key: Option<String>,
    /// The separator before the option, or `None` at the beginning of the text.
    pub(crate) separator: Option<String>,
    pub(crate) equivalent: Option<EquivalentKey>,
}

/// The replacement for a key of another driver, of an older version or of another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EquivalentKey {
    Tls,
    Key(&'static str),
    /// The certificate and its private key are in one file.
    CertificateKeyFile,
    /// The key with the opposite meaning.
    Opposite(&'static str),
    /// No key sets versions and ciphers.
    Protocol,
    /// No key activates the FIPS provider.
    FipsProvider,
    /// No key changes the name that is checked.
    HostName,
}
