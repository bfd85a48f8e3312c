//! The table of keys: the keys of a connection string, and the field that each key sets.
//!
//! The names are those of the specification "URI Options", compared case-insensitively. The getter of
//! [`ClientOptions`](crate::ClientOptions) documents unit, range and default.

use zeroize::Zeroizing;

use super::values::{self, ValueKind, change_tls as tls, relax_tls as relax};
use ValueKind::{Count, Encoded, File, Flag, LongMillis, Millis, Other, Password, Text, Tls};

/// One key.
pub(super) struct Key {
    /// The documented spelling.
    pub(super) name: &'static str,
    pub(super) value: ValueKind,
    pub(super) repeat: Repeat,
}

/// The effect of repeating a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// A warning; the last valid value counts.
    LastCounts,
    /// An error, unless the values are equal: the wrong one would weaken security.
    MustAgree,
    /// An error ("SOCKS5 Support").
    Never,
    /// A list.
    List,
}

/// One row for each key: its name, the effect of a repetition, the parser of the value and the field that it sets.
macro_rules! keys {
    ($($name:literal $repeat:ident $value:expr;)*) => {
        /// Every key, in groups.
        pub(super) static KEYS: &[Key] = &[$(Key {
            name: $name,
            repeat: Repeat::$repeat,
            value: $value,
        }),*];
    };
}

keys! {
    // The deployment.
    "directConnection"          LastCounts  Flag(|o, v| o.direct_connection = Some(v));
    "loadBalanced"              LastCounts  Flag(|o, v| o.load_balanced = Some(v));
    "replicaSet"                LastCounts  Text(|o, v| o.replica_set = Some(v));
    "srvMaxHosts"               LastCounts  Count(0, |o, v| o.srv_max_hosts = Some(v));
    "srvServiceName"            LastCounts  Other(values::srv_service_name);
    "appName"                   LastCounts  Other(values::app_name);

    // Authentication.
    "authMechanism"             MustAgree   Other(values::auth_mechanism);
    "authMechanismProperties"   MustAgree   Other(values::auth_mechanism_properties);
    "authSource"                MustAgree   Other(values::auth_source);
    "gssapiServiceName"         MustAgree   Other(values::gssapi_service_name);

    // TLS.
    "tls"                                   MustAgree  Tls;
    "tlsCAFile"                             MustAgree  File(|o, v| tls(o, |t| t.ca_file(v)));
    "tlsCRLFile"                            MustAgree  File(|o, v| tls(o, |t| t.crl_file(v)));
    "tlsCertificateKeyFile"                 MustAgree  File(|o, v| tls(o, |t| t.certificate_key_file(v)));
    "tlsCertificateKeyFilePassword"         MustAgree  Password(|o, v| tls(o, |t| t.certificate_key_file_password(v)));
    "tlsDisableOCSPEndpointCheck"           MustAgree  Flag(|o, v| tls(o, |t| t.disable_ocsp_endpoint_check(v)));
    "tlsDisableCertificateRevocationCheck"  MustAgree  Flag(|o, v| relax(o, |t| t.disable_certificate_revocation_check(v)));
    "tlsAllowInvalidCertificates"           MustAgree  Flag(|o, v| relax(o, |t| t.allow_invalid_certificates(v)));
    "tlsAllowInvalidHostnames"              MustAgree  Flag(|o, v| relax(o, |t| t.allow_invalid_hostnames(v)));
    "tlsSessionResumption"                  MustAgree  Flag(|o, v| tls(o, |t| t.session_resumption(v)));
    "tlsInsecure"                           MustAgree  Flag(|o, v| relax(o, |t| t.insecure(v)));

    // Time limits. Zero means no limit, where zero is allowed.
    "connectTimeoutMS"          LastCounts  Millis(0, |o, v| o.connect_timeout = Some(v));
    "serverSelectionTimeoutMS"  LastCounts  Millis(1, |o, v| o.server_selection_timeout = Some(v));
    "socketTimeoutMS"           LastCounts  Millis(0, |o, v| o.socket_timeout = Some(v));
    "timeoutMS"                 LastCounts  Millis(0, |o, v| o.timeout = Some(v));
    "waitQueueTimeoutMS"        LastCounts  Millis(1, |o, v| o.wait_queue_timeout = Some(v));

    // Pools.
    "maxConnecting"             LastCounts  Count(1, |o, v| o.max_connecting = Some(v));
    "maxIdleTimeMS"             LastCounts  Millis(0, |o, v| o.max_idle_time = Some(v));
    "maxPoolSize"               LastCounts  Count(0, |o, v| o.max_pool_size = Some(v));
    "minPoolSize"               LastCounts  Count(0, |o, v| o.min_pool_size = Some(v));

    // Monitoring and selection of servers.
    "heartbeatFrequencyMS"      LastCounts  Millis(500, |o, v| o.heartbeat_frequency = Some(v));
    "localThresholdMS"          LastCounts  Millis(0, |o, v| o.local_threshold = Some(v));
    "serverMonitoringMode"      LastCounts  Other(values::server_monitoring_mode);
    "serverSelectionTryOnce"    LastCounts  Flag(|o, v| o.server_selection_try_once = Some(v));

    // Reads and writes.
    "readPreference"            LastCounts  Other(values::read_preference);
    "readPreferenceTags"        List        Encoded(values::read_preference_tags);
    "maxStalenessSeconds"       LastCounts  Other(values::max_staleness);
    "readConcernLevel"          LastCounts  Text(|o, v| o.read_concern.level = Some(v));
    "w"                         LastCounts  Other(values::w);
    "wTimeoutMS"                LastCounts  LongMillis(|o, v| o.write_concern.w_timeout = Some(v));
    "journal"                   LastCounts  Flag(|o, v| o.write_concern.journal = Some(v));
    "retryReads"                LastCounts  Flag(|o, v| o.retry_reads = Some(v));
    "retryWrites"               LastCounts  Flag(|o, v| o.retry_writes = Some(v));
    "maxAdaptiveRetries"        LastCounts  Count(0, |o, v| o.max_adaptive_retries = Some(v));
    "enableOverloadRetargeting" LastCounts  Flag(|o, v| o.enable_overload_retargeting = Some(v));

    // Compression.
    "compressors"               LastCounts  Other(values::compressors);
    "zlibCompressionLevel"      LastCounts  Other(values::zlib_compression_level);

    // The SOCKS5 proxy.
    "proxyHost"                 Never       Other(values::proxy_host);
    "proxyPort"                 Never       Other(values::proxy_port);
    "proxyUsername"             Never       Text(|o, v| o.proxy.username = Some(v));
    "proxyPassword"             Never       Other(values::proxy_password);
}

/// Another spelling of a key.
pub(super) struct Alias {
    pub(super) name: &'static str,
    /// The current spelling.
    pub(super) key: &'static str,
    /// Returns the value for that spelling, or `None` if the value is invalid.
    pub(super) translate: fn(&str) -> Option<Zeroizing<String>>,
    /// True if the use of the alias causes a warning.
    pub(super) deprecated: bool,
}

/// The other spellings: those of the specifications, and those of PyMongo before its version 4.
pub(super) static ALIASES: &[Alias] = &[
    Alias {
        name: "ssl",
        key: "tls",
        translate: unchanged,
        deprecated: false,
    },
    old("j", "journal", unchanged),
    old("wtimeout", "wTimeoutMS", unchanged),
    old("ssl_ca_certs", "tlsCAFile", unchanged),
    old("ssl_crlfile", "tlsCRLFile", unchanged),
    old("ssl_certfile", "tlsCertificateKeyFile", unchanged),
    old(
        "ssl_pem_passphrase",
        "tlsCertificateKeyFilePassword",
        unchanged,
    ),
    // ssl_match_hostname=false
    old("ssl_match_hostname", "tlsAllowInvalidHostnames", inverse),
    // ssl_cert_reqs=CERT_NONE
    old(
        "ssl_cert_reqs",
        "tlsAllowInvalidCertificates",
        certificate_requirement,
    ),
];

/// Keys that are known and not supported.
pub(super) struct Unsupported {
    pub(super) name: &'static str,
    /// The replacement for the key.
    pub(super) instead: &'static str,
    /// True if ignoring the key would remain unnoticed until it causes harm: an error instead of a warning.
    pub(super) refused: bool,
}

pub(super) static UNSUPPORTED: &[Unsupported] = &[
    Unsupported {
        name: "fsync",
        instead: "Use journal=true.",
        refused: false,
    },
    Unsupported {
        name: "ssl_keyfile",
        instead: "Put the private key and the certificate into one PEM file and name it in \
                  tlsCertificateKeyFile.",
        refused: true,
    },
];

/// The meaning of a name in a connection string.
#[derive(Clone, Copy)]
pub(super) enum KeyLookup {
    Key(&'static Key),
    Alias(&'static Alias, &'static Key),
    Unsupported(&'static Unsupported),
    Unknown,
}

impl KeyLookup {
    /// Looks `name` up, case-insensitively.
    pub(super) fn look_up(name: &str) -> Self {
        let is_name = |candidate: &str| candidate.eq_ignore_ascii_case(name);
        if let Some(key) = KEYS.iter().find(|key| is_name(key.name)) {
            return Self::Key(key);
        }
        if let Some(alias) = ALIASES.iter().find(|alias| is_name(alias.name)) {
            if let Some(key) = KEYS.iter().find(|key| key.name == alias.key) {
                return Self::Alias(alias, key);
            }
        }
        let unsupported = UNSUPPORTED.iter().find(|key| is_name(key.name));
        unsupported.map_or(Self::Unknown, Self::Unsupported)
    }

    /// The name in its documented spelling.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Key(key) => Some(key.name),
            Self::Alias(alias, _) => Some(alias.name),
            Self::Unsupported(key) => Some(key.name),
            Self::Unknown => None,
        }
    }

    /// Returns true if the value may contain an `@`.
    pub(super) fn is_text(self) -> bool {
        match self {
            Self::Key(key) | Self::Alias(_, key) => key.value.is_text(),
            Self::Unsupported(_) | Self::Unknown => false,
        }
    }

    /// Returns true if the value is parsed before it is decoded.
    pub(super) fn is_split_before_decoding(self) -> bool {
        matches!(self, Self::Key(key) if matches!(key.value, Encoded(_)))
    }

    /// Returns true if the value is a secret, or may contain one.
    pub(super) fn is_secret(self) -> bool {
        let (Self::Key(key) | Self::Alias(_, key)) = self else {
            return false;
        };
        [
            "tlsCertificateKeyFilePassword",
            "proxyPassword",
            "authMechanismProperties",
        ]
        .contains(&key.name)
    }
}

const fn old(
    name: &'static str,
    key: &'static str,
    translate: fn(&str) -> Option<Zeroizing<String>>,
) -> Alias {
    Alias {
        name,
        key,
        translate,
        deprecated: true,
    }
}

fn unchanged(text: &str) -> Option<Zeroizing<String>> {
    Some(Zeroizing::new(text.to_owned()))
}

fn inverse(text: &str) -> Option<Zeroizing<String>> {
    values::flag(text).map(|(value, _)| Zeroizing::new((!value).to_string()))
}

fn certificate_requirement(text: &str) -> Option<Zeroizing<String>> {
    match text {
        "CERT_NONE" => unchanged("true"),
        "CERT_OPTIONAL" | "CERT_REQUIRED" => unchanged("false"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_aliases_lead_to_keys() {
        let mut names: Vec<String> = KEYS
            .iter()
            .map(|key| key.name)
            .chain(ALIASES.iter().map(|alias| alias.name))
            .chain(UNSUPPORTED.iter().map(|key| key.name))
            .map(str::to_ascii_lowercase)
            .collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        for alias in ALIASES {
            assert!(
                matches!(KeyLookup::look_up(alias.name), KeyLookup::Alias(..)),
                "{}",
                alias.name
            );
        }
    }

    #[test]
    fn options_that_weaken_security_must_agree() {
        for key in KEYS {
            let sensitive = key.name.starts_with("tls") || key.name.starts_with("auth");
            assert!(
                !sensitive || key.repeat == Repeat::MustAgree,
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn names_are_found_without_regard_to_case() {
        let name = |text| KeyLookup::look_up(text).name();
        assert_eq!(name("TLSCAFILE"), Some("tlsCAFile"));
        assert_eq!(name("SSL"), Some("ssl"));
        assert_eq!(name("tlsCAFil"), None);
        // Only A to Z are folded: this is the Kelvin sign.
        assert_eq!(name("\u{212A}"), None);
    }
}
