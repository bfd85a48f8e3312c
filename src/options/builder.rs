//! The builder of [`ClientOptions`], which collects options from a program or a connection string and checks them.
//!
//! Every field is optional until [`ClientOptionsBuilder::build`] fills in the defaults. All rules that involve two
//! options are checked there, so that options from a connection string and from a program obey the same rules. All
//! conflicts are reported at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::{
    AllowedHosts, ClientOptions, CloudServices, Compressor, CredentialDraft, DriverInfo,
    ExplicitOptions, OidcCallback, OidcError, OidcRequest, OidcToken, ProxyDraft, ReadConcern,
    ReadPreference, ReadPreferenceMode, Secret, ServerApi, ServerMonitoringMode, SrvOptions,
    TagSet, TlsOptions, TlsOptionsBuilder, WriteConcern,
};
use crate::address::ServerAddress;
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, EventListener};
use crate::options::AuthMechanism;
use crate::reason::options::OptionConflict;

/// Collects [`ClientOptions`]. The getter of each option documents its unit, range and default.
#[derive(Clone, Debug, Default)]
pub struct ClientOptionsBuilder {
    pub(crate) hosts: Vec<ServerAddress>,
    pub(crate) srv_host: Option<String>,
    pub(crate) srv_service_name: Option<String>,
    pub(crate) srv_max_hosts: Option<u32>,
    pub(crate) default_database: Option<String>,
    pub(crate) app_name: Option<String>,
    pub(crate) credential: CredentialDraft,
    pub(crate) tls_enabled: Option<bool>,
    pub(crate) tls: Option<TlsOptionsBuilder>,
    pub(crate) replica_set: Option<String>,
    pub(crate) direct_connection: Option<bool>,
    pub(crate) load_balanced: Option<bool>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) socket_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) server_selection_timeout: Option<Duration>,
    pub(crate) wait_queue_timeout: Option<Duration>,
    pub(crate) max_pool_size: Option<u32>,
    pub(crate) min_pool_size: Option<u32>,
    pub(crate) max_connecting: Option<u32>,
    pub(crate) max_idle_time: Option<Duration>,
    pub(crate) heartbeat_frequency: Option<Duration>,
    pub(crate) server_monitoring_mode: Option<ServerMonitoringMode>,
    reuse_monitor_connection: Option<bool>,
    pub(crate) local_threshold: Option<Duration>,
    pub(crate) server_selection_try_once: Option<bool>,
    pub(crate) compressors: Vec<Compressor>,
    pub(crate) zlib_compression_level: Option<i32>,
    pub(crate) read_preference: Option<ReadPreferenceMode>,
    pub(crate) read_preference_tags: Vec<TagSet>,
    pub(crate) max_staleness: Option<Duration>,
    pub(crate) read_concern: ReadConcern,
    pub(crate) write_concern: WriteConcern,
    pub(crate) retry_reads: Option<bool>,
    pub(crate) retry_writes: Option<bool>,
    pub(crate) max_adaptive_retries: Option<u32>,
    pub(crate) enable_overload_retargeting: Option<bool>,
    pub(crate) proxy: ProxyDraft,
    dns_server: Option<SocketAddr>,
    connect_to: BTreeMap<ServerAddress, ServerAddress>,
    plain_without_tls: bool,
    driver_info: Vec<DriverInfo>,
    max_log_document_length: Option<usize>,
    server_api: Option<ServerApi>,
    listener: EventListener,
    pub(super) oidc_callback: Option<OidcCallback>,
    pub(super) oidc_callbacks: usize,
    pub(super) oidc_allowed_hosts: Option<AllowedHosts>,
    cloud: CloudServices,
}

/// Defines setters that only store their argument. Numbers have one fixed type, so that literals need no suffix.
macro_rules! setters {
    ($($(#[doc = $doc:literal])+ $name:ident($type:ty) $(=> $field:ident)?;)*) => {
        $(
            $(#[doc = $doc])+
            #[must_use]
            pub fn $name(mut self, value: $type) -> Self {
                setters!(@store self, value.into(), $name $(, $field)?);
                self
            }
        )*
    };
    (@store $self:ident, $value:expr, $name:ident) => { $self.$name = Some($value) };
    (@store $self:ident, $value:expr, $name:ident, $field:ident) => { $self.$field = $value };
}

impl ClientOptions {
    /// Creates a builder without any options set.
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
}

impl ClientOptionsBuilder {
    /// Adds a server to the seed list.
    ///
    /// ```
    /// use mongotls::{ClientOptions, ServerAddress};
    ///
    /// let options = ClientOptions::builder()
    ///     .host(ServerAddress::tcp("a.example.com", 27017))
    ///     .host(ServerAddress::tcp("b.example.com", 27017))
    ///     .build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn host(mut self, address: ServerAddress) -> Self {
        self.hosts.push(address);
        self
    }

    /// Replaces the seed list.
    ///
    /// ```
    /// use mongotls::{ClientOptions, ServerAddress};
    ///
    /// let names = ["a.example.com", "b.example.com"];
    /// let hosts = names.map(|name| ServerAddress::tcp(name, 27017));
    /// let options = ClientOptions::builder().hosts(hosts).build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn hosts(mut self, addresses: impl IntoIterator<Item = ServerAddress>) -> Self {
        self.hosts = addresses.into_iter().collect();
        self
    }

    /// Connects to `target` instead of `server`; see [`ClientOptions::connect_to`]. Each call adds one server.
    ///
    /// ```
    /// # use mongotls::ConnectionString;
    /// // ssh -L 27018:db.example:27017 bastion.example
    /// let options = ConnectionString::parse("mongodb://db.example/?tls=true")?
    ///     .into_builder()
    ///     .connect_to("db.example:27017".parse()?, "127.0.0.1:27018".parse()?)
    ///     .build()?;
    /// # assert_eq!(options.connect_to().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn connect_to(mut self, server: ServerAddress, target: ServerAddress) -> Self {
        self.connect_to.insert(server, target);
        self
    }

    /// Connects with TLS, using exactly these options: TLS options from a connection string are dropped. Use
    /// [`tls_with`](Self::tls_with) to keep them.
    ///
    /// ```
    /// use mongotls::ClientOptions;
    /// use mongotls::options::TlsOptions;
    ///
    /// let tls = TlsOptions::builder().ca_file("ca.pem").build()?;
    /// let options = ClientOptions::builder()
    ///     .host("db.example.com:27017".parse()?)
    ///     .tls(tls)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.tls_enabled = Some(true);
        self.tls = Some(options.into());
        self
    }

    /// Connects with TLS, and changes the TLS options that are already set.
    ///
    /// ```
    /// # use mongotls::ConnectionString;
    /// let uri = ConnectionString::parse("mongodb://db.example/?tlsCAFile=/etc/ssl/db.pem")?;
    /// let options = uri.into_builder().tls_with(|tls| tls.certificate_key_file("/etc/ssl/app.pem")).build()?;
    /// assert!(options.tls().is_some_and(|tls| tls.ca_file().is_some()));
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn tls_with(mut self, change: impl FnOnce(TlsOptionsBuilder) -> TlsOptionsBuilder) -> Self {
        self.tls_enabled = Some(true);
        self.tls = Some(change(self.tls.take().unwrap_or_default()));
        self
    }

    /// Connects without TLS, even if a connection string enabled it.
    #[must_use]
    pub fn no_tls(mut self) -> Self {
        self.tls_enabled = Some(false);
        self.tls = None;
        self
    }

    /// Authenticates as this user.
    ///
    /// ```no_run
    /// use mongotls::ClientOptions;
    ///
    /// let password = std::fs::read_to_string("/run/secrets/db-password")?;
    /// let options = ClientOptions::builder()
    ///     .host("db.example.com:27017".parse()?)
    ///     .credential("ada", password.trim_end())
    ///     .auth_source("admin")
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn credential(mut self, username: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.credential.username = Some(username.into());
        self.credential.password = Some(password.into());
        self
    }

    /// Sets the password of the user in the connection string.
    #[must_use]
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.credential.password = Some(password.into());
        self
    }

    /// Authenticates by this mechanism, with these properties (`authMechanismProperties`).
    #[must_use]
    pub fn auth_mechanism<N, V>(
        mut self,
        mechanism: AuthMechanism,
        properties: impl IntoIterator<Item = (N, V)>,
    ) -> Self
    where
        N: AsRef<str>,
        V: Into<Secret>,
    {
        self.credential.mechanism = Some(mechanism);
        self.credential.properties = properties
            .into_iter()
            .map(|(name, value)| (name.as_ref().to_uppercase(), value.into()))
            .collect();
        self
    }

    /// Authenticates against this database (`authSource`).
    #[must_use]
    pub fn auth_source(mut self, database: impl Into<String>) -> Self {
        self.credential.source = Some(database.into());
        self
    }

    /// Rejects AWS keys in a connection string or in [`credential`](Self::credential). MONGODB-AWS then takes its
    /// keys from the environment, where they can be renewed. Default: such keys are accepted, with a warning in the log.
    ///
    /// Source: "Driver Authentication", "MONGODB-AWS". Since 2025-09-30 it requires that drivers reject such keys
    /// without exception (DRIVERS-3131). This driver accepts them by default, as PyMongo and the official Rust driver
    /// do, because existing programs depend on it.
    #[must_use]
    pub fn aws_keys_from_environment_only(mut self) -> Self {
        self.credential.aws_from_environment = true;
        self
    }

    /// Authenticates by MONGODB-OIDC with access tokens from this callback, for workloads that run without human
    /// interaction.
    ///
    /// The callback runs on a thread of its own. It is never called concurrently, and not sooner than 100 ms after
    /// the previous call. A token is reused for later connections until a server rejects it. A call may take at most
    /// [`OidcRequest::timeout`], which is the remaining `connectTimeoutMS` or one minute. If it takes longer, panics
    /// or returns an error, the waiting operation fails.
    ///
    /// ```
    /// use std::fs;
    /// use mongotls::options::OidcToken;
    /// use mongotls::{ClientOptions, ServerAddress};
    ///
    /// let options = ClientOptions::builder()
    ///     .host(ServerAddress::tcp("db.example", 27017))
    ///     .oidc_callback(|request| {
    ///         assert_eq!(request.version, 1);
    ///         // Whatever gives a token within `request.timeout`: here a file that something else renews.
    ///         let token = fs::read_to_string("/run/secrets/db-token")?;
    ///         Ok(OidcToken::new(token.trim_end()))
    ///     })
    ///     .build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn oidc_callback(
        self,
        ask: impl Fn(&OidcRequest) -> Result<OidcToken, OidcError> + Send + Sync + 'static,
    ) -> Self {
        self.with_oidc_callback(OidcCallback::new(ask, None))
    }

    /// Authenticates by MONGODB-OIDC with access tokens from this callback, for a human user.
    /// [`OidcRequest::idp_info`] describes where the user logs in, and a [refresh token](OidcToken::refresh_token)
    /// avoids another login. The callback may take five minutes, which do not count against any other limit.
    ///
    /// The identity provider is named by the server. For that reason the callback is called only for the hosts in
    /// [`oidc_allowed_hosts`](Self::oidc_allowed_hosts).
    ///
    /// ```
    /// use mongotls::options::OidcToken;
    /// use mongotls::{ClientOptions, ServerAddress};
    ///
    /// # fn log_in(_: &str, _: Option<&str>) -> Result<(String, String), std::io::Error> { unreachable!() }
    /// let options = ClientOptions::builder()
    ///     .host(ServerAddress::tcp("db.example", 27017))
    ///     .oidc_human_callback(|request| {
    ///         let idp = request.idp_info.as_ref().ok_or("the server names no identity provider")?;
    ///         let refresh_token = request.refresh_token.as_ref().map(|token| token.expose());
    ///         let (access_token, refresh_token) = log_in(&idp.issuer, refresh_token)?;
    ///         Ok(OidcToken::new(access_token).refresh_token(refresh_token))
    ///     })
    ///     .oidc_allowed_hosts(["db.example"])
    ///     .build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn oidc_human_callback(
        self,
        ask: impl Fn(&OidcRequest) -> Result<OidcToken, OidcError> + Send + Sync + 'static,
    ) -> Self {
        let human = Some(AllowedHosts::default());
        self.with_oidc_callback(OidcCallback::new(ask, human))
    }

    fn with_oidc_callback(mut self, callback: OidcCallback) -> Self {
        self.credential.mechanism = Some(AuthMechanism::MongodbOidc);
        self.oidc_callback = Some(callback);
        self.oidc_callbacks += 1;
        self
    }

    /// Sets the hosts for which a [human callback](Self::oidc_human_callback) may be called, without ports: names, IP
    /// addresses, and `*.example` for every name below `example`. Default: `*.mongodb.net`, `*.mongodb-qa.net`,
    /// `*.mongodb-dev.net`, `*.mongodbgov.net`, `*.mongo.com`, `localhost`, `127.0.0.1` and `::1`.
    #[must_use]
    pub fn oidc_allowed_hosts(
        mut self,
        hosts: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.oidc_allowed_hosts = Some(AllowedHosts::new(hosts));
        self
    }

    /// Allows the mechanism PLAIN to send the password without TLS, where anyone on the network path can read it. A
    /// connection string cannot allow this.
    #[must_use]
    pub fn dangerously_send_plain_without_tls(mut self) -> Self {
        self.plain_without_tls = true;
        self
    }

    /// Connects to all servers through this SOCKS5 proxy (`proxyHost`, `proxyPort`).
    #[must_use]
    pub fn proxy(mut self, host: impl Into<String>, port: u16) -> Self {
        self.proxy.host = Some(host.into());
        self.proxy.port = Some(port);
        self
    }

    /// Authenticates to the proxy if it requests authentication (`proxyUsername`, `proxyPassword`; 1 to 255 bytes
    /// each). An empty text counts as not set.
    #[must_use]
    pub fn proxy_credential(
        mut self,
        username: impl Into<String>,
        password: impl Into<Secret>,
    ) -> Self {
        self.proxy.username = Some(username.into()).filter(|text| !text.is_empty());
        self.proxy.password = Some(password.into()).filter(|text| !text.expose().is_empty());
        self
    }

    /// Calls this function for every [`Event`], on the thread on which the event happens. A slow function delays that
    /// thread. A later call replaces the function.
    ///
    /// ```
    /// use mongotls::ConnectionString;
    ///
    /// let options = ConnectionString::parse("mongodb://db.example.com/")?
    ///     .into_builder()
    ///     .event_listener(|event| println!("{event:?}"))
    ///     .build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn event_listener(mut self, listen: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.listener = EventListener::new(listen);
        self
    }

    /// Uses these credential services instead of the real ones, for tests.
    #[cfg(feature = "_internals")]
    #[doc(hidden)]
    #[must_use]
    pub fn cloud_services(mut self, services: CloudServices) -> Self {
        self.cloud = services;
        self
    }

    /// Calls this function only for events of these kinds, so that other events cost nothing.
    ///
    /// ```
    /// use mongotls::ConnectionString;
    /// use mongotls::event::{Event, EventKind};
    ///
    /// let options = ConnectionString::parse("mongodb://db.example.com/")?
    ///     .into_builder()
    ///     .event_listener_for(&[EventKind::Pool], |event| {
    ///         if let Event::Pool(pool) = event {
    ///             println!("{pool}"); // a line of CMAP's log
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn event_listener_for(
        mut self,
        kinds: &[EventKind],
        listen: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Self {
        self.listener = EventListener::new(listen);
        self.listener.limit_to(kinds);
        self
    }

    /// Reports a wrapping library to servers; each call adds one.
    #[must_use]
    pub fn driver_info(mut self, info: DriverInfo) -> Self {
        self.driver_info.push(info);
        self
    }

    /// Sets the members that serve reads (`readPreference`, `readPreferenceTags`, `maxStalenessSeconds`).
    #[must_use]
    pub fn read_preference(mut self, preference: ReadPreference) -> Self {
        self.read_preference = Some(preference.mode);
        self.read_preference_tags = preference.tag_sets;
        self.max_staleness = preference.max_staleness;
        self
    }

    setters! {
        /// Sets [`ClientOptions::default_database`].
        default_database(impl Into<String>);
        /// Sets [`ClientOptions::app_name`].
        app_name(impl Into<String>);
        /// Sets [`ClientOptions::replica_set`].
        replica_set(impl Into<String>);
        /// Sets [`ClientOptions::direct_connection`].
        direct_connection(bool);
        /// Sets [`ClientOptions::load_balanced`].
        load_balanced(bool);
        /// Sets [`ClientOptions::connect_timeout`]; zero means no limit.
        connect_timeout(Duration);
        /// Sets [`ClientOptions::socket_timeout`]; zero means no limit.
        socket_timeout(Duration);
        /// Sets [`ClientOptions::timeout`]; zero means no limit.
        timeout(Duration);
        /// Sets [`ClientOptions::server_selection_timeout`].
        server_selection_timeout(Duration);
        /// Sets [`ClientOptions::wait_queue_timeout`]; zero means no limit.
        wait_queue_timeout(Duration);
        /// Sets [`ClientOptions::max_pool_size`].
        max_pool_size(u32);
        /// Sets [`ClientOptions::min_pool_size`].
        min_pool_size(u32);
        /// Sets [`ClientOptions::max_connecting`].
        max_connecting(u32);
        /// Sets [`ClientOptions::max_idle_time`]; zero means no limit.
        max_idle_time(Duration);
        /// Sets [`ClientOptions::heartbeat_frequency`].
        heartbeat_frequency(Duration);
        /// Sets [`ClientOptions::server_monitoring_mode`].
        server_monitoring_mode(ServerMonitoringMode);
        /// Sets [`ClientOptions::reuse_monitor_connection`].
        reuse_monitor_connection(bool);
        /// Sets [`ClientOptions::local_threshold`].
        local_threshold(Duration);
        /// Sets [`ClientOptions::compressors`].
        compressors(impl Into<Vec<Compressor>>) => compressors;
        /// Sets [`ClientOptions::zlib_compression_level`].
        zlib_compression_level(i32);
        /// Sets [`ClientOptions::max_log_document_length`].
        max_log_document_length(usize);
        /// Sets [`ClientOptions::server_api`].
        ///
        /// Every command of the client declares this version, and nothing can declare another one for a part of the
        /// commands. The server rejects a command that does not conform to the declaration. The server must know the
        /// command `hello` (MongoDB 4.4.2 and later).
        server_api(ServerApi);
        /// Sets [`ClientOptions::read_concern`].
        read_concern(impl Into<ReadConcern>) => read_concern;
        /// Sets [`ClientOptions::write_concern`].
        write_concern(impl Into<WriteConcern>) => write_concern;
        /// Sets [`ClientOptions::retry_reads`].
        retry_reads(bool);
        /// Sets [`ClientOptions::retry_writes`].
        retry_writes(bool);
        /// Sets [`ClientOptions::max_adaptive_retries`].
        max_adaptive_retries(u32);
        /// Sets [`ClientOptions::enable_overload_retargeting`].
        enable_overload_retargeting(bool);
        /// Sets [`ClientOptions::dns_server`].
        dns_server(impl Into<SocketAddr>);
    }

    /// Checks the options against each other and fills in the defaults.
    ///
    /// ```
    /// use mongotls::{ClientOptions, ErrorKind};
    ///
    /// let options = ClientOptions::builder()
    ///     .host("db.example.com:27017".parse()?)
    ///     .max_pool_size(5)
    ///     .min_pool_size(10);
    /// assert_eq!(options.build().unwrap_err().kind(), ErrorKind::Configuration);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) with every conflict found.
    pub fn build(self) -> Result<ClientOptions> {
        let mut conflicts = self.conflicts();
        if self.oidc_callbacks > 1 {
            conflicts.push(OptionConflict::SeveralOidcCallbacks);
        }
        let mut oidc_callback = self.oidc_callback;
        if let Some(hosts) = self.oidc_allowed_hosts {
            match oidc_callback
                .as_mut()
                .and_then(|callback| callback.human.as_mut())
            {
                Some(allowed) => *allowed = hosts,
                None => conflicts.push(OptionConflict::OidcAllowedHostsAlone),
            }
        }
        let explicit = ExplicitOptions {
            auth_source: self.credential.source.is_some(),
            load_balanced: self.load_balanced.is_some(),
        };
        let credential = self
            .credential
            .finish(self.default_database.as_deref())
            .unwrap_or_else(|conflict| {
                conflicts.push(conflict);
                None
            });
        // TLS is on if it is requested, if another TLS option implies it (as in PyMongo), or with SRV.
        let tls = match (self.tls_enabled, self.tls) {
            // The conflicts of these options are already in the list.
            (_, Some(tls)) => tls.build().ok(),
            (Some(true), None) => Some(TlsOptions::default()),
            (None, None) if self.srv_host.is_some() => Some(TlsOptions::default()),
            (Some(false) | None, None) => None,
        };
        let srv = self.srv_host.map(|host| SrvOptions {
            host,
            service_name: self
                .srv_service_name
                .unwrap_or_else(|| "mongodb".to_owned()),
            max_hosts: self.srv_max_hosts.unwrap_or(0),
            explicit,
        });
        let options = ClientOptions {
            hosts: self.hosts,
            srv,
            dns_server: self.dns_server,
            connect_to: self.connect_to,
            default_database: self.default_database,
            app_name: self.app_name,
            credential,
            plain_without_tls: self.plain_without_tls,
            tls,
            replica_set: self.replica_set,
            direct_connection: self.direct_connection,
            load_balanced: self.load_balanced.unwrap_or(false),
            connect_timeout: Some(self.connect_timeout.unwrap_or(Duration::from_secs(10))),
            socket_timeout: self.socket_timeout,
            timeout: self.timeout,
            server_selection_timeout: self
                .server_selection_timeout
                .unwrap_or(Duration::from_secs(30)),
            wait_queue_timeout: self.wait_queue_timeout,
            max_pool_size: self.max_pool_size.unwrap_or(100),
            min_pool_size: self.min_pool_size.unwrap_or(0),
            max_connecting: self.max_connecting.unwrap_or(2),
            max_idle_time: self.max_idle_time,
            heartbeat_frequency: self.heartbeat_frequency.unwrap_or(Duration::from_secs(10)),
            server_monitoring_mode: self.server_monitoring_mode.unwrap_or_default(),
            reuse_monitor_connection: self.reuse_monitor_connection.unwrap_or(true),
            local_threshold: self.local_threshold.unwrap_or(Duration::from_millis(15)),
            server_selection_try_once: self.server_selection_try_once,
            compressors: self.compressors,
            zlib_compression_level: self.zlib_compression_level.unwrap_or(-1),
            read_preference: ReadPreference {
                mode: self.read_preference.unwrap_or_default(),
                tag_sets: self.read_preference_tags,
                max_staleness: self.max_staleness,
            },
            read_concern: self.read_concern,
            write_concern: self.write_concern,
            retry_reads: self.retry_reads.unwrap_or(true),
            retry_writes: self.retry_writes.unwrap_or(true),
            max_adaptive_retries: self.max_adaptive_retries.unwrap_or(2),
            enable_overload_retargeting: self.enable_overload_retargeting.unwrap_or(false),
            proxy: self.proxy.finish(),
            driver_info: self.driver_info,
            max_log_document_length: self.max_log_document_length.unwrap_or(1000),
            server_api: self.server_api,
            listener: self.listener,
            oidc_callback,
            cloud: self.cloud,
        };
        conflicts.extend(options.conflicts());
        match conflicts.is_empty() {
            true => Ok(options.without_zero_limits()),
            false => Err(Error::configuration(conflicts)),
        }
    }

    /// Returns the broken rules that can no longer be detected in the finished options; [`ClientOptions`] checks the
    /// others.
    fn conflicts(&self) -> Vec<OptionConflict> {
        let srv = self.srv_host.is_some();
        let rules = [
            (!self.hosts.is_empty() && srv, OptionConflict::SrvWithHosts),
            // "Initial DNS Seedlist Discovery", "URI Validation".
            (
                !srv && self.srv_service_name.is_some(),
                OptionConflict::SrvServiceNameWithoutSrv,
            ),
            (
                !srv && self.srv_max_hosts.is_some(),
                OptionConflict::SrvMaxHostsWithoutSrv,
            ),
            (
                self.tls_enabled == Some(false) && self.tls.is_some(),
                OptionConflict::TlsOffWithTlsOption,
            ),
        ];
        let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
        let fixed = broken.map(|(_, why)| why).chain(self.proxy.conflicts());
        let tls = self.tls.iter().flat_map(TlsOptionsBuilder::conflicts);
        fixed.chain(tls).collect()
    }
}

/// The input of the rules about the kind of deployment: first the options alone, later together with the results of
/// DNS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeploymentOptions {
    /// The number of known hosts.
    pub(crate) hosts: usize,
    /// True if the hosts come from DNS.
    pub(crate) srv: bool,
    /// The maximum number of hosts to take from DNS; 0 means all.
    pub(crate) max_hosts: u32,
    pub(crate) replica_set: bool,
    pub(crate) direct: bool,
    pub(crate) load_balanced: bool,
}

impl DeploymentOptions {
    /// Returns the rules that are broken.
    pub(crate) fn conflicts(&self) -> Vec<OptionConflict> {
        let several_hosts = self.hosts > 1;
        let some_srv_hosts = self.max_hosts > 0;
        let rules = [
            // "URI Options", "directConnection URI option with multiple seeds or SRV URI".
            (
                self.direct && several_hosts && !self.srv,
                OptionConflict::DirectWithSeveralHosts,
            ),
            (self.direct && self.srv, OptionConflict::DirectWithSrv),
            // "Load Balancer Support", "URI Validation".
            (
                self.load_balanced && several_hosts,
                OptionConflict::LoadBalancedWithSeveralHosts,
            ),
            (
                self.load_balanced && self.replica_set,
                OptionConflict::LoadBalancedWithReplicaSet,
            ),
            (
                self.load_balanced && self.direct,
                OptionConflict::LoadBalancedWithDirect,
            ),
            (
                self.load_balanced && some_srv_hosts,
                OptionConflict::LoadBalancedWithSrvMaxHosts,
            ),
            // "Initial DNS Seedlist Discovery", "URI Validation".
            (
                some_srv_hosts && self.replica_set,
                OptionConflict::SrvMaxHostsWithReplicaSet,
            ),
        ];
        let broken = rules.into_iter().filter(|(broken, _)| *broken);
        broken.map(|(_, why)| why).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_host() -> ClientOptionsBuilder {
        ClientOptions::builder().host(ServerAddress::tcp("db", 27017))
    }

    #[test]
    fn defaults_are_those_of_the_specifications() {
        let options = one_host().build().unwrap();
        assert_eq!(options.connect_timeout, Some(Duration::from_secs(10)));
        assert_eq!(
            (
                options.max_pool_size,
                options.max_connecting,
                options.min_pool_size
            ),
            (100, 2, 0)
        );
        assert!(
            options.retry_reads
                && options.retry_writes
                && options.tls.is_none()
                && options.credential.is_none()
        );
    }

    #[test]
    fn zero_means_no_limit() {
        let options = one_host()
            .connect_timeout(Duration::ZERO)
            .max_idle_time(Duration::ZERO)
            .build()
            .unwrap();
        assert_eq!(
            (options.connect_timeout, options.max_idle_time),
            (None, None)
        );
    }

    #[test]
    fn every_conflict_is_reported_at_once() {
        let error = one_host()
            .max_connecting(0_u32)
            .load_balanced(true)
            .replica_set("rs")
            .build()
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("maxConnecting") && text.contains("replicaSet"),
            "{text}"
        );
    }

    #[test]
    fn secrets_stay_out_of_debug() {
        let builder = one_host()
            .credential("alice", "hunter2")
            .proxy("p", 1)
            .proxy_credential("bob", "hunter2");
        let builder = builder.tls(
            TlsOptions::builder()
                .certificate_key_file_password("hunter2")
                .build()
                .unwrap(),
        );
        assert!(!format!("{builder:?}").contains("hunter2"));
        assert!(!format!("{:?}", builder.build().unwrap()).contains("hunter2"));
    }
}
