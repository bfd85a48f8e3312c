//! What a client is asked to do: plain typed data, a builder that checks it, and no OpenSSL.
//!
//! [`ClientOptions`] come from a connection string ([`ClientOptions::parse`]) or from
//! [`ClientOptions::builder`]. [`ConnectionString::into_builder`](crate::ConnectionString::into_builder)
//! joins the two; what the program sets then takes precedence over the text. Each field tells its unit, range, default and key.
//!
//! Secrets are [`Secret`]: zeroed when dropped, never printed.

mod builder;
mod check;
pub(crate) mod cloud;
mod concern;
mod credential;
mod driver;
mod oidc;
mod pin;
mod protocol;
mod proxy;
mod secret;
mod tls;
mod unknown;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

pub use self::builder::ClientOptionsBuilder;
#[cfg(feature = "srv")]
pub(crate) use self::builder::Deployment;
pub(crate) use self::check::database_name_problem;
pub(crate) use self::cloud::CloudServices;
pub use self::concern::{
    Acknowledgment, ReadConcern, ReadPreference, ReadPreferenceMode, Tag, TagSet, WriteConcern,
};
pub(crate) use self::credential::CredentialDraft;
pub use self::credential::{AuthMechanism, Credential};
pub use self::driver::DriverInfo;
pub(crate) use self::oidc::{AllowedHosts, OidcCallback};
pub use self::oidc::{IdpInfo, OidcError, OidcRequest, OidcToken};
pub use self::pin::{InvalidPin, SpkiPin};
pub(crate) use self::protocol::ProtocolList;
pub use self::protocol::{ProtocolOptions, TlsVersion};
pub(crate) use self::proxy::ProxyDraft;
pub use self::proxy::{ProxyCredential, ProxyOptions};
pub use self::secret::Secret;
pub(crate) use self::tls::option_conflict;
pub use self::tls::{DangerousTlsOptions, TlsOptions, TlsOptionsBuilder};
pub(crate) use self::tls::{IdentitySource, PasswordSource};
pub use self::unknown::UnknownName;
use crate::address::ServerAddress;
use crate::event::EventListener;

/// The options of a client, checked and with their defaults filled in.
///
/// The names of the keys are those of a connection string. Source: the "URI Options" specification
/// of the MongoDB drivers, unless a method says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientOptions {
    pub(crate) hosts: Vec<ServerAddress>,
    pub(crate) srv: Option<SrvOptions>,
    pub(crate) dns_server: Option<SocketAddr>,
    pub(crate) connect_to: BTreeMap<ServerAddress, ServerAddress>,
    pub(crate) default_database: Option<String>,
    pub(crate) app_name: Option<String>,
    pub(crate) driver_info: Vec<DriverInfo>,
    pub(crate) credential: Option<Credential>,
    pub(crate) plain_without_tls: bool,
    pub(crate) tls: Option<TlsOptions>,
    pub(crate) replica_set: Option<String>,
    pub(crate) direct_connection: Option<bool>,
    pub(crate) load_balanced: bool,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) socket_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) server_selection_timeout: Duration,
    pub(crate) wait_queue_timeout: Option<Duration>,
    pub(crate) max_pool_size: u32,
    pub(crate) min_pool_size: u32,
    pub(crate) max_connecting: u32,
    pub(crate) max_idle_time: Option<Duration>,
    pub(crate) heartbeat_frequency: Duration,
    pub(crate) server_monitoring_mode: ServerMonitoringMode,
    pub(crate) local_threshold: Duration,
    pub(crate) server_selection_try_once: Option<bool>,
    pub(crate) compressors: Vec<Compressor>,
    pub(crate) zlib_compression_level: i32,
    pub(crate) read_preference: ReadPreference,
    pub(crate) read_concern: ReadConcern,
    pub(crate) write_concern: WriteConcern,
    pub(crate) retry_reads: bool,
    pub(crate) retry_writes: bool,
    pub(crate) max_adaptive_retries: u32,
    pub(crate) enable_overload_retargeting: bool,
    pub(crate) proxy: Option<ProxyOptions>,
    pub(crate) max_log_document_length: usize,
    /// Who is told of events.
    pub(crate) listener: EventListener,
    /// Who gives the access tokens of MONGODB-OIDC; none with a built-in environment.
    pub(crate) oidc_callback: Option<OidcCallback>,
    /// Which credential services are asked.
    pub(crate) cloud: CloudServices,
}

/// How servers are monitored. Source: "Server Discovery and Monitoring".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerMonitoringMode {
    /// Streaming, except on platforms of functions as a service.
    #[default]
    Auto,
    /// The server reports changes as they happen.
    Stream,
    /// The client asks at regular intervals.
    Poll,
}

impl ServerMonitoringMode {
    /// The mode as connection strings have it: `auto`, `stream` or `poll`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Stream => "stream",
            Self::Poll => "poll",
        }
    }
}

impl fmt::Display for ServerMonitoringMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A compression of messages. Source: "OP_COMPRESSED".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compressor {
    /// Snappy.
    Snappy,
    /// zlib (RFC 1950).
    Zlib,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compressor {
    /// The name as it stands in a connection string and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// Whether the cargo feature of the same name is on. A compressor that is not built in is not offered
    /// to servers; the client then warns in the log.
    pub fn is_built_in(self) -> bool {
        match self {
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Zlib => cfg!(feature = "zlib"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }
}

impl fmt::Display for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Compressor {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        [Self::Snappy, Self::Zlib, Self::Zstd]
            .into_iter()
            .find(|compressor| compressor.as_str() == text)
            .ok_or(UnknownName::COMPRESSOR)
    }
}

/// The name whose DNS records hold the seed list. Source: "Initial DNS Seedlist Discovery".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SrvOptions {
    /// The name in the connection string.
    pub host: String,
    /// The service to look up (`srvServiceName`; RFC 6335). Default: `mongodb`.
    pub service_name: String,
    /// How many hosts to pick from the records (`srvMaxHosts`; 0 means all). Default: 0.
    pub max_hosts: u32,
    /// What the connection string or the program says itself, and DNS does not change.
    pub(crate) given: Given,
}

impl SrvOptions {
    /// RFC 6335 §5.1, with up to 62 characters: "Initial DNS Seedlist Discovery", "srvServiceName".
    pub(crate) fn is_service_name(text: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        text.len() <= 62
            && text.bytes().all(plain)
            && text.bytes().any(|byte| byte.is_ascii_alphabetic())
            && text.split('-').all(|part| !part.is_empty())
    }
}

/// Which options stand in the connection string, or were set by the program, although the field does not show it:
/// those of a TXT record give way to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) auth_source: bool,
    pub(crate) load_balanced: bool,
}

impl ClientOptions {
    /// The limit of the server's log on the application's name, in bytes. Source: "MongoDB
    /// Handshake".
    pub const MAX_APP_NAME: usize = 128;

    /// Collects options from scratch.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use mongotls::ClientOptions;
    ///
    /// let options = ClientOptions::builder()
    ///     .host("db.example.com:27017".parse()?)
    ///     .max_pool_size(20)
    ///     .timeout(Duration::from_secs(5))
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> ClientOptionsBuilder {
        ClientOptionsBuilder::default()
    }

    /// The servers to begin with (the seed list), in their order. At least one, unless `srv` is set; a client
    /// then fills it with what DNS answers.
    pub fn hosts(&self) -> &[ServerAddress] {
        &self.hosts
    }

    /// The name whose DNS records hold the seed list (`mongodb+srv://`).
    pub fn srv(&self) -> Option<&SrvOptions> {
        self.srv.as_ref()
    }

    /// The name server that is asked about `mongodb+srv://`, by UDP and TCP. Default: those of `/etc/resolv.conf`,
    /// or 127.0.0.1 if it names none. The addresses of hosts come from the system's resolver, whatever stands here.
    /// Source: this library; no key of a connection string sets it.
    pub fn dns_server(&self) -> Option<SocketAddr> {
        self.dns_server
    }

    /// The addresses to connect to in place of those of servers: for SSH tunnels and forwarded ports. Default: empty.
    ///
    /// A key is a server as the connection string, DNS or a replica set names it; host and port must both match. It applies
    /// to every connection to that server, monitors included. The server keeps its name for TLS (SNI, verification),
    /// authentication, logs and events. A value may also be a Unix socket. Source: this library; no key of a connection
    /// string sets it.
    pub fn connect_to(&self) -> &BTreeMap<ServerAddress, ServerAddress> {
        &self.connect_to
    }

    /// The database named in the connection string.
    pub fn default_database(&self) -> Option<&str> {
        self.default_database.as_deref()
    }

    /// The application's name in the server's log (`appName`); at most 128 bytes.
    pub fn app_name(&self) -> Option<&str> {
        self.app_name.as_deref()
    }

    /// Libraries on top of this one, named to servers beside it. Default: none. Source: "MongoDB Handshake".
    pub fn driver_info(&self) -> &[DriverInfo] {
        &self.driver_info
    }

    /// The user; none connects without authentication.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// Whether the mechanism PLAIN may send the password without TLS. Default: false.
    pub fn plain_without_tls(&self) -> bool {
        self.plain_without_tls
    }

    /// TLS; none connects in the clear.
    pub fn tls(&self) -> Option<&TlsOptions> {
        self.tls.as_ref()
    }

    /// The name of the replica set that the servers must belong to (`replicaSet`).
    pub fn replica_set(&self) -> Option<&str> {
        self.replica_set.as_deref()
    }

    /// Whether to talk to the one host alone (`directConnection`); none leaves it to the seed list.
    pub fn direct_connection(&self) -> Option<bool> {
        self.direct_connection
    }

    /// Whether the host is a load balancer (`loadBalanced`). Default: false.
    pub fn load_balanced(&self) -> bool {
        self.load_balanced
    }

    /// The limit for name resolution, TCP, TLS and MongoDB handshake of one connection
    /// (`connectTimeoutMS`; 0 and none mean no limit). Default: 10 s.
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// The limit for one command and its reply (`socketTimeoutMS`; 0 and none mean no limit).
    /// Default: none.
    pub fn socket_timeout(&self) -> Option<Duration> {
        self.socket_timeout
    }

    /// The limit for one operation as a whole (`timeoutMS`; 0 means no limit, none that the other
    /// limits apply). Default: none.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The limit for finding a server (`serverSelectionTimeoutMS`; 1 and up, a 0 in a connection
    /// string is ignored with a warning). Default: 30 s.
    pub fn server_selection_timeout(&self) -> Duration {
        self.server_selection_timeout
    }

    /// The limit for the wait for a pooled connection (`waitQueueTimeoutMS`; 0 and none mean no
    /// limit). Default: none. Source: CMAP.
    pub fn wait_queue_timeout(&self) -> Option<Duration> {
        self.wait_queue_timeout
    }

    /// How many connections a pool may hold (`maxPoolSize`; 0 means no limit). Default: 100.
    pub fn max_pool_size(&self) -> u32 {
        self.max_pool_size
    }

    /// How many connections a pool keeps ready (`minPoolSize`). Default: 0.
    pub fn min_pool_size(&self) -> u32 {
        self.min_pool_size
    }

    /// How many connections a pool may establish at a time (`maxConnecting`; 1 and up). Default: 2.
    pub fn max_connecting(&self) -> u32 {
        self.max_connecting
    }

    /// How long a connection may stay unused (`maxIdleTimeMS`; 0 and none mean no limit). Default:
    /// none.
    pub fn max_idle_time(&self) -> Option<Duration> {
        self.max_idle_time
    }

    /// The interval of regular checks of a server (`heartbeatFrequencyMS`; 500 ms and up). Default:
    /// 10 s.
    pub fn heartbeat_frequency(&self) -> Duration {
        self.heartbeat_frequency
    }

    /// How servers are monitored (`serverMonitoringMode`). Default: auto.
    pub fn server_monitoring_mode(&self) -> ServerMonitoringMode {
        self.server_monitoring_mode
    }

    /// How much slower than the fastest server a server may be (`localThresholdMS`). Default: 15 ms.
    pub fn local_threshold(&self) -> Duration {
        self.local_threshold
    }

    /// Accepted and without effect: it rules drivers of one thread (`serverSelectionTryOnce`).
    pub fn server_selection_try_once(&self) -> Option<bool> {
        self.server_selection_try_once
    }

    /// The compressors to offer, best first (`compressors`). Each needs the cargo feature of its name.
    /// Default: none. Source: "OP_COMPRESSED".
    pub fn compressors(&self) -> &[Compressor] {
        &self.compressors
    }

    /// The level of zlib (`zlibCompressionLevel`); -1 to 9. Default: -1, zlib's own.
    pub fn zlib_compression_level(&self) -> i32 {
        self.zlib_compression_level
    }

    /// Which members serve reads (`readPreference`, `readPreferenceTags`, `maxStalenessSeconds`). Default: the primary.
    ///
    /// No effect yet: a command goes to the primary unless
    /// [`Command::read_preference`](crate::Command::read_preference) says otherwise. The log and the doctor warn of it.
    pub fn read_preference(&self) -> &ReadPreference {
        &self.read_preference
    }

    /// The read concern (`readConcernLevel`). Default: the server's. No effect yet: a command is sent as the program writes
    /// it. The log and the doctor warn of it.
    pub fn read_concern(&self) -> &ReadConcern {
        &self.read_concern
    }

    /// The write concern (`w`, `journal`, `wTimeoutMS`). Default: the server's. No effect yet: a command is sent as the
    /// program writes it. The log and the doctor warn of it.
    pub fn write_concern(&self) -> &WriteConcern {
        &self.write_concern
    }

    /// Whether a failed read is tried once more (`retryReads`). Default: true.
    pub fn retry_reads(&self) -> bool {
        self.retry_reads
    }

    /// Whether a failed write is tried once more (`retryWrites`). Default: true.
    pub fn retry_writes(&self) -> bool {
        self.retry_writes
    }

    /// How often an operation is tried again while the server is overloaded (`maxAdaptiveRetries`).
    /// Default: 2. Source: "Client Backpressure".
    pub fn max_adaptive_retries(&self) -> u32 {
        self.max_adaptive_retries
    }

    /// Whether such a retry may go to another server (`enableOverloadRetargeting`). Default: false.
    /// Source: "Client Backpressure".
    pub fn enable_overload_retargeting(&self) -> bool {
        self.enable_overload_retargeting
    }

    /// The SOCKS5 proxy that all TCP connections to MongoDB servers go through, without exception (`proxyHost` and its
    /// companions). Default: none. Source: "SOCKS5 Support".
    pub fn proxy(&self) -> Option<&ProxyOptions> {
        self.proxy.as_ref()
    }

    /// How much of a command, a reply or an error is shown in the log, in bytes of Extended JSON. Default:
    /// 1000. Source: "Logging".
    pub fn max_log_document_length(&self) -> usize {
        self.max_log_document_length
    }
}
