//! The options of a client: plain typed data, and a builder that checks it. Nothing in here uses OpenSSL.
//!
//! [`ClientOptions`] come from a connection string ([`ClientOptions::parse`]) or from [`ClientOptions::builder`].
//! [`ConnectionString::into_builder`](crate::ConnectionString::into_builder) combines the two; values set by the
//! program then override those of the string. Each getter documents its unit, range, default and connection string
//! key.
//!
//! Passwords, keys and tokens are of type [`Secret`], which is zeroed when dropped and never printed.

mod builder;
mod change_stream;
mod check;
pub(crate) mod cloud;
mod collation;
mod collection;
mod concern;
mod create;
mod credential;
mod cursor;
mod driver;
mod gridfs;
mod hint;
mod oidc;
mod pin;
mod protocol;
mod proxy;
mod return_document;
mod secret;
mod server_api;
mod tls;
mod transaction;
mod unknown;
mod verbosity;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

pub use self::builder::ClientOptionsBuilder;
#[cfg(feature = "srv")]
pub(crate) use self::builder::DeploymentOptions;
pub use self::change_stream::{FullDocumentBeforeChangeType, FullDocumentType};
pub(crate) use self::check::{collection_name_problem, database_name_problem};
pub(crate) use self::cloud::CloudServices;
pub use self::collation::{
    Collation, CollationAlternate, CollationBuilder, CollationCaseFirst, CollationMaxVariable,
    CollationStrength,
};
pub(crate) use self::collection::Criteria;
pub use self::collection::{
    CollectionOptions, CollectionOptionsBuilder, DatabaseOptions, DatabaseOptionsBuilder,
};
pub use self::concern::{
    Acknowledgment, ReadConcern, ReadPreference, ReadPreferenceMode, Tag, TagSet, WriteConcern,
};
pub use self::create::{
    ChangeStreamPreAndPostImages, ClusteredIndex, TimeseriesGranularity, TimeseriesOptions,
    ValidationAction, ValidationLevel,
};
pub use self::credential::Credential;
pub(crate) use self::credential::CredentialDraft;
pub use self::cursor::{CursorTimeoutMode, CursorType};
pub use self::driver::DriverInfo;
pub use self::gridfs::{GridFsBucketOptions, GridFsBucketOptionsBuilder};
pub use self::hint::Hint;
pub(crate) use self::oidc::{AllowedHosts, OidcCallback};
pub use self::oidc::{IdpInfo, OidcError, OidcRequest, OidcToken};
pub use self::pin::{InvalidPin, SpkiPin};
pub(crate) use self::protocol::ProtocolList;
pub use self::protocol::{ProtocolOptions, TlsVersion};
pub(crate) use self::proxy::ProxyDraft;
pub use self::proxy::{ProxyCredential, ProxyOptions};
pub use self::return_document::ReturnDocument;
pub use self::secret::Secret;
pub use self::server_api::{ServerApi, ServerApiVersion};
pub use self::tls::{DangerousTlsOptions, TlsOptions, TlsOptionsBuilder};
pub(crate) use self::tls::{IdentitySource, PasswordSource};
pub use self::transaction::TransactionOptions;
pub use self::unknown::UnknownName;
pub use self::verbosity::Verbosity;
use crate::address::ServerAddress;
pub use crate::data::auth_mechanism::AuthMechanism;
pub use crate::data::compressor::Compressor;
use crate::enum_text::display_as_str;
use crate::event::EventListener;

/// The options of a client, checked and with their defaults filled in.
///
/// The keys in parentheses are those of a connection string. Source: the "URI Options" specification of the MongoDB
/// drivers, unless a method names another one.
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
    pub(crate) reuse_monitor_connection: bool,
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
    pub(crate) server_api: Option<ServerApi>,
    /// The listener that receives events.
    pub(crate) listener: EventListener,
    /// The callback that returns access tokens for MONGODB-OIDC, or `None` with a built-in environment.
    pub(crate) oidc_callback: Option<OidcCallback>,
    /// The addresses of the credential services.
    pub(crate) cloud: CloudServices,
}

/// The way in which servers are monitored. Source: "Server Discovery and Monitoring".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerMonitoringMode {
    /// Streaming, or polling on function-as-a-service (FaaS) platforms.
    #[default]
    Auto,
    /// The server reports changes as they happen.
    Stream,
    /// The client checks the server at regular intervals.
    Poll,
}

impl ServerMonitoringMode {
    /// Returns the mode as written in a connection string: `auto`, `stream` or `poll`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Stream => "stream",
            Self::Poll => "poll",
        }
    }
}

display_as_str!(ServerMonitoringMode);

impl FromStr for Compressor {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        [Self::Snappy, Self::Zlib, Self::Zstd]
            .into_iter()
            .find(|compressor| compressor.as_str() == text)
            .ok_or(UnknownName::COMPRESSOR)
    }
}

/// The name whose DNS records contain the seed list. Source: "Initial DNS Seedlist Discovery".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SrvOptions {
    /// The name in the connection string.
    pub host: String,
    /// The service name to look up (`srvServiceName`; RFC 6335). Default: `mongodb`.
    pub service_name: String,
    /// The number of hosts to select from the records (`srvMaxHosts`; 0 means all). Default: 0.
    pub max_hosts: u32,
    /// The options that the connection string or the program sets itself, and that DNS must not change.
    pub(crate) explicit: ExplicitOptions,
}

impl SrvOptions {
    /// Returns true if `text` is a valid service name: RFC 6335 §5.1, with up to 62 characters ("Initial DNS Seedlist
    /// Discovery", "srvServiceName").
    pub(crate) fn is_service_name(text: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        text.len() <= 62
            && text.bytes().all(plain)
            && text.bytes().any(|byte| byte.is_ascii_alphabetic())
            && text.split('-').all(|part| !part.is_empty())
    }
}

/// Records options that the connection string or the program sets explicitly, where the field itself does not show
/// it. Such options take precedence over those of a TXT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExplicitOptions {
    pub(crate) auth_source: bool,
    pub(crate) load_balanced: bool,
}

impl ClientOptions {
    /// The maximum length of the application name, in bytes. Source: "MongoDB Handshake".
    pub const MAX_APP_NAME: usize = 128;

    /// Returns the initial servers (the seed list), in order. The list has at least one server, unless `srv` is set:
    /// a client then fills it from DNS.
    pub fn hosts(&self) -> &[ServerAddress] {
        &self.hosts
    }

    /// Returns the name whose DNS records contain the seed list (`mongodb+srv://`).
    pub fn srv(&self) -> Option<&SrvOptions> {
        self.srv.as_ref()
    }

    /// Returns the name server that resolves `mongodb+srv://` names, over UDP and TCP. Default: the name servers in
    /// `/etc/resolv.conf`, or 127.0.0.1 if there is none. This option does not affect the addresses of hosts, which
    /// always come from the system's resolver. Source: this library; there is no connection string key for it.
    pub fn dns_server(&self) -> Option<SocketAddr> {
        self.dns_server
    }

    /// Returns the addresses to connect to instead of the servers' own addresses, for SSH tunnels and forwarded
    /// ports. Default: empty.
    ///
    /// A key is a server as named by the connection string, DNS or a replica set; both host and port must match. The
    /// mapping applies to every connection to that server, including those of monitors. The server keeps its name for
    /// TLS (SNI, verification), authentication, logs and events. A value may also be a Unix socket. Source: this
    /// library; there is no connection string key for it.
    pub fn connect_to(&self) -> &BTreeMap<ServerAddress, ServerAddress> {
        &self.connect_to
    }

    /// Returns the database named in the connection string.
    pub fn default_database(&self) -> Option<&str> {
        self.default_database.as_deref()
    }

    /// Returns the application name that appears in the server's log (`appName`); at most 128 bytes.
    pub fn app_name(&self) -> Option<&str> {
        self.app_name.as_deref()
    }

    /// Returns the wrapping libraries that are reported to servers along with this driver. Default: empty. Source:
    /// "MongoDB Handshake".
    pub fn driver_info(&self) -> &[DriverInfo] {
        &self.driver_info
    }

    /// Returns the version of the Stable API that each command declares, or `None` to declare no version. Default:
    /// `None`. There is no connection string key for it. Source: "Stable API For Drivers".
    pub fn server_api(&self) -> Option<ServerApi> {
        self.server_api
    }

    /// Returns the credential, or `None` to connect without authentication.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// Returns true if the mechanism PLAIN may send the password without TLS. Default: false.
    pub fn plain_without_tls(&self) -> bool {
        self.plain_without_tls
    }

    /// Returns the TLS options, or `None` to connect without TLS.
    pub fn tls(&self) -> Option<&TlsOptions> {
        self.tls.as_ref()
    }

    /// Returns the name of the replica set that the servers must belong to (`replicaSet`).
    pub fn replica_set(&self) -> Option<&str> {
        self.replica_set.as_deref()
    }

    /// Returns true for a direct connection to a single host, and false for discovery of the whole deployment
    /// (`directConnection`). With `None`, the seed list decides.
    pub fn direct_connection(&self) -> Option<bool> {
        self.direct_connection
    }

    /// Returns true if the host is a load balancer (`loadBalanced`). Default: false.
    pub fn load_balanced(&self) -> bool {
        self.load_balanced
    }

    /// Returns the time limit for establishing one connection: name resolution, TCP, TLS and MongoDB handshake
    /// together (`connectTimeoutMS`; 0 and `None` mean no limit). Default: 10 s.
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// Returns the time limit for one command and its reply (`socketTimeoutMS`; 0 and `None` mean no limit). Default:
    /// no limit. Deprecated in favour of [`timeout`](Self::timeout), with which it is ignored.
    pub fn socket_timeout(&self) -> Option<Duration> {
        self.socket_timeout
    }

    /// Returns the time limit for one operation as a whole (`timeoutMS`). 0 means no limit; `None` means that the
    /// other limits apply. Default: `None`. Source: "Client Side Operations Timeout"; see the
    /// [guide](crate::guide::timeouts).
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns the time limit for server selection (`serverSelectionTimeoutMS`; 1 ms and up). A value of 0 in a
    /// connection string is ignored with a warning. Default: 30 s.
    pub fn server_selection_timeout(&self) -> Duration {
        self.server_selection_timeout
    }

    /// Returns the time limit for waiting for a pooled connection (`waitQueueTimeoutMS`). `None` means no
    /// limit, and so does 0 in the builder; the smallest value in a connection string is 1. Default: no limit. Source:
    /// CMAP. Deprecated in favour of [`timeout`](Self::timeout), with which it is ignored.
    pub fn wait_queue_timeout(&self) -> Option<Duration> {
        self.wait_queue_timeout
    }

    /// Returns the maximum number of connections in a pool (`maxPoolSize`; 0 means no limit). Default: 100.
    pub fn max_pool_size(&self) -> u32 {
        self.max_pool_size
    }

    /// Returns the number of connections that a pool keeps ready (`minPoolSize`). Default: 0.
    pub fn min_pool_size(&self) -> u32 {
        self.min_pool_size
    }

    /// Returns the maximum number of connections that a pool establishes at the same time (`maxConnecting`; 1 and
    /// up). Default: 2.
    pub fn max_connecting(&self) -> u32 {
        self.max_connecting
    }

    /// Returns the maximum time that a connection may remain idle (`maxIdleTimeMS`; 0 and `None` mean no limit).
    /// Default: no limit.
    pub fn max_idle_time(&self) -> Option<Duration> {
        self.max_idle_time
    }

    /// Returns the interval between regular checks of a server (`heartbeatFrequencyMS`; 500 ms and up). Default: 10
    /// s.
    pub fn heartbeat_frequency(&self) -> Duration {
        self.heartbeat_frequency
    }

    /// Returns the monitoring mode (`serverMonitoringMode`). Default: auto.
    pub fn server_monitoring_mode(&self) -> ServerMonitoringMode {
        self.server_monitoring_mode
    }

    /// Returns true if the pool of a server may take over the connection of the server's first check. Default: true.
    ///
    /// A client that has just started then needs one connection and one TLS handshake instead of two before its first
    /// command. The monitor opens another connection for its second check, which therefore does not stream. With
    /// false, the monitor keeps its connection, and begins to stream immediately, exactly as "Server Monitoring"
    /// describes it. Use false if a program or a test counts the connections or heartbeats of a client.
    ///
    /// The option has no effect with authentication, with compression, or behind a load balancer: the pool then opens
    /// its own connections. No key of the connection string sets it.
    ///
    /// ```
    /// use mongotls::ClientOptions;
    ///
    /// let options = ClientOptions::builder()
    ///     .host("db.example.com".parse()?)
    ///     .reuse_monitor_connection(false)
    ///     .build()?;
    /// assert!(!options.reuse_monitor_connection());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reuse_monitor_connection(&self) -> bool {
        self.reuse_monitor_connection
    }

    /// Returns the latency window: the maximum difference in round-trip time between the fastest suitable server and
    /// a selected one (`localThresholdMS`). Default: 15 ms.
    pub fn local_threshold(&self) -> Duration {
        self.local_threshold
    }

    /// Returns the value of `serverSelectionTryOnce`. It is accepted but has no effect, because it applies to
    /// single-threaded drivers only.
    pub fn server_selection_try_once(&self) -> Option<bool> {
        self.server_selection_try_once
    }

    /// Returns the compressors to offer, in order of preference (`compressors`). Each needs the cargo feature of its
    /// name. Default: empty. Source: "OP_COMPRESSED".
    pub fn compressors(&self) -> &[Compressor] {
        &self.compressors
    }

    /// Returns the zlib compression level (`zlibCompressionLevel`), from -1 to 9. Default: -1, which is zlib's own
    /// default.
    pub fn zlib_compression_level(&self) -> i32 {
        self.zlib_compression_level
    }

    /// Returns the read preference: the members that serve reads (`readPreference`, `readPreferenceTags`,
    /// `maxStalenessSeconds`). Default: the primary.
    ///
    /// It applies to reads of collections and to aggregations of databases, unless the database, the collection or the
    /// action has its own. A command of [`run_command`](crate::Database::run_command) runs on the primary unless
    /// [`Command::read_preference`](crate::Command::read_preference) is set (specification "Run Command").
    pub fn read_preference(&self) -> &ReadPreference {
        &self.read_preference
    }

    /// Returns the read concern (`readConcernLevel`). Default: the server's default.
    ///
    /// It applies to reads of collections and to aggregations of databases, unless the database, the collection or the
    /// action has its own. A command of [`run_command`](crate::Database::run_command) is sent as the program writes it.
    pub fn read_concern(&self) -> &ReadConcern {
        &self.read_concern
    }

    /// Returns the write concern (`w`, `journal`, `wTimeoutMS`). Default: the server's default.
    ///
    /// It applies to writes and to the administration of collections, unless the database, the collection or the action
    /// has its own. A command of [`run_command`](crate::Database::run_command) is sent as the program writes it.
    pub fn write_concern(&self) -> &WriteConcern {
        &self.write_concern
    }

    /// Returns true if a read is retried after an error that another connection or server may not have (`retryReads`).
    /// Default: true. Source: "Retryable Reads".
    ///
    /// It is retried once, or with a time limit ([`timeout`](Self::timeout)) as often as the limit allows. Commands are
    /// reads if the program [declares it](crate::Command::read). Without this option neither reads nor undeclared commands
    /// nor the commands of cursors are retried after overload.
    pub fn retry_reads(&self) -> bool {
        self.retry_reads
    }

    /// Returns true if writes are retried (`retryWrites`). Default: true. Source: "Retryable Writes", "Client
    /// Backpressure".
    ///
    /// A command that is not [declared as a read](crate::Command::read) may be a write. It is retried only if an overloaded
    /// server rejects it, and only if this option and [`retry_reads`](Self::retry_reads) are both on.
    pub fn retry_writes(&self) -> bool {
        self.retry_writes
    }

    /// Returns the maximum number of retries of an operation once a server has rejected it because of overload
    /// (`maxAdaptiveRetries`). Default: 2. 0 means that nothing is retried after overload. Source: "Client Backpressure".
    pub fn max_adaptive_retries(&self) -> u32 {
        self.max_adaptive_retries
    }

    /// Returns true if a retry after an overload error prefers another server (`enableOverloadRetargeting`). Default:
    /// false. Source: "Client Backpressure".
    pub fn enable_overload_retargeting(&self) -> bool {
        self.enable_overload_retargeting
    }

    /// Returns the SOCKS5 proxy for all TCP connections to MongoDB servers, without exception (`proxyHost` and
    /// related keys). Default: no proxy. Source: "SOCKS5 Support".
    pub fn proxy(&self) -> Option<&ProxyOptions> {
        self.proxy.as_ref()
    }

    /// Returns the maximum size of a command, reply or error in the log, in bytes of Extended JSON. Default: 1000.
    /// Source: "Logging".
    pub fn max_log_document_length(&self) -> usize {
        self.max_log_document_length
    }
}
