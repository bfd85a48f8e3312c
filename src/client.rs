//! The client, which a program keeps and shares between its threads.
//!
//! This file holds what programs use, and the background threads that belong to no server. `op/` runs the commands.

use std::borrow::Cow;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::address::ServerAddress;
use crate::bounds::Bounds;
use crate::cancel::Canceller;
use crate::conn::Connector;
use crate::data::hello::Hello;
use crate::error::Result;
use crate::event::{self, Event, EventKind, TlsEvent, TlsReloadEvent};
use crate::ffi::fork::{Abandon, PerProcess};
use crate::logging::{debug, warn};
use crate::op::{Deployment, HasDeployment, end_sessions, execute};
use crate::options::{ClientOptions, DriverInfo, ReadConcern, ReadPreference, WriteConcern};
pub use crate::pool::{PoolSnapshot, PoolState};
use crate::sdam::{Topology, TopologyDescription};
use crate::session::SessionPool;
use crate::srv;
use crate::tls::{FilesSnapshot, HandshakeReport, TlsContext};
use crate::uri::ConnectionString;
use crate::watch::{Reload, ReloadReason, Watcher};

/// A client of a MongoDB deployment.
///
/// A client is cheap to clone: all clones share the same connections. Every method takes `&self`, so one client serves
/// all threads of a program. All connections are closed when the last clone is dropped, or by [`close`](Client::close).
///
/// For each server, a background thread checks it on a connection of its own. If the server reports changes by itself
/// (MongoDB 4.4 and later), the thread measures round trip times on a second connection. A command waits for a suitable server for at most
/// `serverSelectionTimeoutMS`. Further threads run only if an option needs them: to watch the files of TLS, for
/// `minPoolSize` or `maxIdleTimeMS`, or to poll DNS (`mongodb+srv`).
///
/// # Fork
/// A client may be used in both processes after a `fork()`. The child begins without connections and reads the files of
/// TLS again; the parent continues as before. A [`Cursor`](crate::Cursor) or a [`Session`](crate::Session) works only in the process that
/// opened it. The
/// client does not detect a process that was created by the system call `clone` directly.
///
/// ```no_run
/// use mongotls::bson::doc;
///
/// let client = mongotls::Client::connect("mongodb://db.example.com/?tls=true&tlsCAFile=/etc/ssl/db-ca.pem")?;
/// let reply = client.database("admin").run_command(doc! { "ping": 1 })?;
/// # Ok::<(), mongotls::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<PerProcess<Arc<ClientInner>>>,
    /// The limits of everything that is started from this handle.
    bounds: Bounds,
}

struct ClientInner {
    options: ClientOptions,
    connector: Arc<Connector>,
    topology: Arc<Topology>,
    sessions: Arc<SessionPool>,
    /// Watches the files of TLS, if the options enable it.
    watcher: OnceLock<Watcher>,
    /// Polls DNS for new hosts, with `mongodb+srv`.
    #[cfg(feature = "srv")]
    polling: OnceLock<crate::stop::Stop>,
    /// Ends change streams, which wait without an end, when the client is closed.
    closing: Canceller,
}

impl ClientInner {
    fn new(options: ClientOptions, connector: Arc<Connector>) -> Arc<Self> {
        let topology = Topology::new(&options, &connector);
        Arc::new(Self {
            options,
            connector,
            topology,
            sessions: Arc::new(SessionPool::new()),
            watcher: OnceLock::new(),
            #[cfg(feature = "srv")]
            polling: OnceLock::new(),
            closing: Canceller::new(),
        })
    }

    /// Sends the first events of the topology, and starts the background threads.
    fn begin(&self) {
        self.topology.begin();
        #[cfg(feature = "srv")]
        if let Some(polling) = self.poll() {
            // This is the only place that sets it.
            let _ = self.polling.set(polling);
        }
    }

    #[cfg(feature = "srv")]
    fn poll(&self) -> Option<crate::stop::Stop> {
        use crate::srv::polling;
        let topology = Arc::downgrade(&self.topology);
        polling::start(topology, &self.options, polling::SHORTEST)
    }

    /// The replacement for a forked child: no inherited connection or lock, and threads of its own.
    fn in_child(self: &Arc<Self>) -> Arc<Self> {
        // Record the state of the files before they are read; otherwise a change in between would be missed.
        let watched = self.watched();
        let connector = self.connector.in_child(&self.options);
        let connector = connector.unwrap_or_else(|_| Arc::clone(&self.connector));
        let child = Self::new(self.options.clone(), connector);
        if let Some((seen, interval)) = watched {
            child.watch_files(seen, interval);
        }
        child
    }

    fn deployment(&self) -> Deployment<'_> {
        Deployment {
            options: &self.options,
            connector: &self.connector,
            topology: &self.topology,
            sessions: &self.sessions,
            bounds: Bounds::NONE,
        }
    }

    /// The current state of the files of TLS and the interval of checks, or `None` if they are not watched.
    fn watched(&self) -> Option<(FilesSnapshot, Duration)> {
        watched(&self.options)
    }

    /// Starts the thread that watches the files of TLS. It does not keep the client alive.
    fn watch_files(self: &Arc<Self>, seen: FilesSnapshot, interval: Duration) {
        let client = Arc::downgrade(self);
        let mut last_failure = None;
        let reload = move |reason| {
            let Some(client) = client.upgrade() else {
                return Reload::NoMore;
            };
            let started = Instant::now();
            let outcome = client.try_reload();
            let failure = outcome.as_ref().err().map(ToString::to_string);
            // A retry that fails for the same reason as before is not reported again.
            if failure.is_none() || failure != last_failure || reason == ReloadReason::Change {
                client.emit_reload(&outcome, started.elapsed());
            }
            last_failure = failure;
            match outcome {
                Ok(()) => Reload::Done,
                Err(_) => Reload::Failed,
            }
        };
        let background = self.topology.background();
        let watcher = Watcher::start(background, seen, interval, reload);
        // This is the only place that sets it.
        let _ = self.watcher.set(watcher);
    }

    fn reload_tls(&self) -> Result<()> {
        let started = Instant::now();
        let outcome = self.try_reload();
        self.emit_reload(&outcome, started.elapsed());
        outcome
    }

    /// Reads the files of TLS again, and retires the connections that were established with the old ones.
    fn try_reload(&self) -> Result<()> {
        self.connector.reload_tls(SystemTime::now())?;
        self.topology.retire();
        Ok(())
    }

    fn emit_reload(&self, outcome: &Result<()>, duration: Duration) {
        event::begin_operation();
        match outcome {
            Ok(()) => {
                debug!(target: "mongotls::tls", "the files of TLS were read anew");
            }
            Err(error) => {
                warn!(target: "mongotls::tls", "the files of TLS are not usable, the old ones stay in force: {error}");
            }
        }
        let listener = &self.options.listener;
        if listener.listens_to(EventKind::Tls) {
            listener.emit(&Event::Tls(TlsEvent::Reload(TlsReloadEvent {
                error: outcome.as_ref().err().cloned(),
                duration,
            })));
        }
    }
}

impl Drop for ClientInner {
    /// Ends the sessions of the client. Then stops the monitor and pool threads and aborts their I/O.
    fn drop(&mut self) {
        if !thread::panicking() {
            end_sessions::run(self.deployment());
        }
        self.topology.close();
    }
}

impl Abandon for Arc<ClientInner> {
    fn abandon(&self) {
        self.topology.abandon();
    }

    fn begin(&self) {
        ClientInner::begin(self);
    }
}

fn watched(options: &ClientOptions) -> Option<(FilesSnapshot, Duration)> {
    let tls = options.tls.as_ref()?;
    let interval = tls.watch_interval()?;
    Some((FilesSnapshot::of(tls), interval))
}

impl Client {
    /// Creates a client from a connection string.
    ///
    /// This call reads the files of TLS and, with `mongodb+srv`, queries DNS. Servers are discovered in the background: if
    /// there is none, the first command fails. Warnings about the connection string go to the log, target
    /// `mongotls::uri`.
    ///
    /// ```no_run
    /// let uri = "mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem&timeoutMS=5000";
    /// let client = mongotls::Client::connect(uri)?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the connection string or a file is wrong;
    /// with `mongodb+srv` also those of [`Stage::Resolve`](crate::error::Stage::Resolve).
    pub fn connect(uri: &str) -> Result<Self> {
        Self::from_connection_string(ConnectionString::parse(uri)?)
    }

    /// Creates a client from a connection string, as [`connect`](Self::connect). The official driver has this name.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect).
    pub fn with_uri_str(uri: impl AsRef<str>) -> Result<Self> {
        Self::connect(uri.as_ref())
    }

    /// Creates a client from a parsed connection string, as [`connect`](Self::connect) does.
    ///
    /// ```no_run
    /// use mongotls::{Client, ConnectionString};
    ///
    /// let uri = ConnectionString::parse("mongodb://db.example.com/?tlsCAFile=ca.pem")?;
    /// for warning in uri.warnings() {
    ///     eprintln!("{warning}");
    /// }
    /// let client = Client::from_connection_string(uri)?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect), except for a text that does not parse.
    pub fn from_connection_string(uri: ConnectionString) -> Result<Self> {
        let (options, warnings) = uri.finish()?;
        for warning in warnings {
            warn!(target: "mongotls::uri", "{warning}");
        }
        Self::with_options(options)
    }

    /// Creates a client from options.
    ///
    /// With `mongodb+srv` this call queries DNS, for at most `connectTimeoutMS`; [`options`](Self::options) then has the
    /// hosts and the options of a TXT record.
    ///
    /// ```no_run
    /// use mongotls::options::TlsOptions;
    /// use mongotls::{Client, ClientOptions};
    ///
    /// let options = ClientOptions::builder()
    ///     .host("db.example.com:27017".parse()?)
    ///     .tls(TlsOptions::builder().ca_file("ca.pem").build()?)
    ///     .build()?;
    /// let client = Client::with_options(options)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if options contradict each other or are out of range,
    /// as for [`ClientOptionsBuilder::build`](crate::options::ClientOptionsBuilder::build), if a file that they name is
    /// wrong, or if this version does not support one of them; with `mongodb+srv` also
    /// [`ErrorKind::Network`](crate::ErrorKind::Network) and [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) of
    /// [`Stage::Resolve`](crate::error::Stage::Resolve).
    pub fn with_options(options: ClientOptions) -> Result<Self> {
        let mut options = options.checked()?;
        if let Some(warning) = options.aws_keys_deprecation() {
            warn!(target: "mongotls::uri", "{warning}");
        }
        if options.srv.is_some() {
            srv::resolve(&mut options)?;
        }
        for option in options.tls.iter().flat_map(|tls| tls.relaxed()) {
            warn!(target: "mongotls::tls", "{option}=true: an attacker on the way to the server may not be noticed");
        }
        // Record the state of the files before they are read; otherwise a change in between would be missed.
        let watched = watched(&options);
        let connector = Connector::new(&options)?;
        let inner = ClientInner::new(options, connector);
        if let Some((seen, interval)) = watched {
            inner.watch_files(seen, interval);
        }
        inner.begin();
        Ok(Self {
            shared: Arc::new(PerProcess::new(inner)),
            bounds: Bounds::default(),
        })
    }

    /// Returns a handle of the same client with a deadline: whatever is started from it sends no further command after
    /// that instant. Databases, collections, actions, cursors and sessions from the handle inherit the deadline.
    ///
    /// A deadline works like `timeoutMS` that ends at this instant, and the earlier limit counts. An operation after it
    /// fails with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), before anything is sent. A cursor still returns the
    /// documents that have arrived. Cleaning up (`killCursors`) has its own limit: `timeoutMS`, or two seconds without it. See
    /// the [guide](crate::guide::timeouts).
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use std::time::{Duration, Instant};
    ///
    /// // All work for one request of a user ends after two seconds.
    /// let client = client.until(Instant::now() + Duration::from_secs(2));
    /// let things = client.database("shop").collection::<Document>("things");
    /// let bolts = things.count_documents(doc! { "kind": "bolt" }).run()?;
    /// let bolt = things.find_one(doc! { "kind": "bolt" }).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            bounds: self.bounds.until(deadline),
        }
    }

    /// Returns a handle of the same client with a canceller: whatever is started from it ends when the canceller is used, on
    /// any thread. Databases, collections, actions, cursors and sessions from the handle inherit the canceller. They also keep
    /// those that they have already.
    ///
    /// The operation fails within a moment with [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), wherever it waits,
    /// and is not retried. A connection whose reply is outstanding is closed; the others stay. A write may have been made:
    /// see [`Error::written`](crate::Error::written). The [guide](crate::guide::timeouts#cancellation) has the rules.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::{Canceller, ErrorKind};
    ///
    /// let canceller = Canceller::new();
    /// let things = client.cancelled_by(&canceller).database("shop").collection::<Document>("things");
    /// let counting = std::thread::spawn(move || things.count_documents(doc! {}).run());
    /// // The user has gone away.
    /// canceller.cancel();
    /// if let Err(error) = counting.join().unwrap() {
    ///     assert_eq!(error.kind(), ErrorKind::Cancelled);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn cancelled_by(&self, canceller: &Canceller) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            bounds: self.bounds.cancelled_by(canceller),
        }
    }

    /// Returns a handle of the same client with further limits.
    pub(crate) fn within_bounds(&self, bounds: &Bounds) -> Cow<'_, Self> {
        match bounds.is_empty() {
            true => Cow::Borrowed(self),
            false => Cow::Owned(Self {
                shared: Arc::clone(&self.shared),
                bounds: self.bounds.and(bounds),
            }),
        }
    }

    /// The read concern of databases and collections that have none of their own.
    pub fn read_concern(&self) -> &ReadConcern {
        self.options().read_concern()
    }

    /// The write concern of databases and collections that have none of their own.
    pub fn write_concern(&self) -> &WriteConcern {
        self.options().write_concern()
    }

    /// The read preference of databases and collections that have none of their own. The official driver has this name.
    pub fn selection_criteria(&self) -> &ReadPreference {
        self.options().read_preference()
    }

    /// The options that apply.
    pub fn options(&self) -> &ClientOptions {
        &self.inner().options
    }

    /// Reads the files of TLS again: CA, CRL, certificate and key.
    ///
    /// The new set is loaded and checked as a whole before it becomes active. Then the connections that were established
    /// with the old set are retired; a connection in use is retired when its command ends. No command fails because of
    /// it, and no TLS session of the old set is resumed.
    ///
    /// The new set may revoke more certificates and trust fewer CAs. It is rejected in these cases:
    ///
    /// - No trust anchor is within its dates.
    /// - The new client certificate is not within its dates, but the current one is.
    /// - An issuer that has a valid CRL would no longer have one.
    /// - A CRL with a lower number would replace a valid one.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost/?tlsCertificateKeyFile=client.pem")?;
    /// // After client.pem was replaced:
    /// if let Err(error) = client.reload_tls() {
    ///     eprintln!("the old certificate stays in force: {error}");
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if a file cannot be used or the new set is rejected.
    /// The old set then stays active; the log, target `mongotls::tls`, and an [`Event`] report it.
    pub fn reload_tls(&self) -> Result<()> {
        self.inner().reload_tls()
    }

    /// Adds the name of a library that uses this one to the client metadata that new connections send to servers
    /// (specification "MongoDB Handshake"). A library with the same texts is not added twice, even if
    /// the options named it. An empty text counts as unset.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// use mongotls::options::DriverInfo;
    ///
    /// client.append_metadata(&DriverInfo::new("my-orm").version("2.1.0"))?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if a text contains `|`, or if the metadata would
    /// exceed 512 bytes.
    pub fn append_metadata(&self, info: &DriverInfo) -> Result<()> {
        self.inner().connector.append_metadata(info)
    }

    /// Returns the description that a server gave of itself and, with TLS, the facts of the handshake. They come from an
    /// idle connection of the pool or, if there is none, from a new one.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let report = client.server_report()?;
    /// if let Some(handshake) = &report.handshake {
    ///     println!("{}: {}", report.server, handshake.protocol());
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::run_command`](crate::Database::run_command), except for errors of a command.
    pub fn server_report(&self) -> Result<ServerReport> {
        let selected = execute::check_out(self, "serverReport")?;
        let connection = selected.connection();
        let tls = self.inner().connector.tls();
        Ok(ServerReport {
            server: connection.server().clone(),
            hello: connection.hello().clone(),
            handshake: connection.handshake().cloned(),
            full_handshakes: tls.as_ref().map_or(0, TlsContext::full_handshakes),
            resumed_handshakes: tls.as_ref().map_or(0, TlsContext::resumed_handshakes),
        })
    }

    /// Returns the current numbers of connections and waiting threads, and the counters of TLS. The call is cheap enough
    /// to be made every second.
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// for pool in &client.snapshot().pools {
    ///     println!("{}: {} in use, {} threads wait", pool.server, pool.in_use, pool.waiting);
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn snapshot(&self) -> ClientSnapshot {
        let inner = self.inner();
        let tls = inner.connector.tls();
        ClientSnapshot {
            topology: Arc::clone(inner.topology.snapshot().description()),
            pools: inner.topology.pool_snapshots(),
            full_handshakes: tls.as_ref().map_or(0, TlsContext::full_handshakes),
            resumed_handshakes: tls.as_ref().map_or(0, TlsContext::resumed_handshakes),
            soft_failed_revocation_checks: tls
                .as_ref()
                .map_or(0, TlsContext::undetermined_revocations),
        }
    }

    /// Closes the client and all its clones: closes idle connections, aborts attempts to connect, and stops the threads.
    /// Waits for connections in use to come back, for at most `limit`.
    ///
    /// Before that the client tells a server that is known which [sessions](crate::Session) have ended, which takes one
    /// round trip, and 1 s at most. Errors of this command are ignored.
    ///
    /// Returns the connections that were still in use after that. Each is closed when its command or its cursor ends.
    /// Later commands fail with [`ErrorKind::ClientClosed`](crate::ErrorKind::ClientClosed).
    ///
    /// ```no_run
    /// # let client = mongotls::Client::connect("mongodb://db.example.com/")?;
    /// for connection in client.close(std::time::Duration::from_secs(5)) {
    ///     eprintln!("still in use: {connection}");
    /// }
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn close(&self, limit: Duration) -> Vec<ConnectionInUse> {
        let now = Instant::now();
        let inner = self.inner();
        inner.closing.cancel();
        end_sessions::run(inner.deployment());
        inner.topology.close();
        if let Some(watcher) = inner.watcher.get() {
            watcher.end();
        }
        #[cfg(feature = "srv")]
        if let Some(polling) = inner.polling.get() {
            polling.stop();
        }
        let until = now.checked_add(limit);
        let still = inner.topology.pools().into_iter().flat_map(|pool| {
            let in_use = pool.drain(until).into_iter();
            in_use.map(move |(connection_id, since)| ConnectionInUse {
                server: pool.server().clone(),
                connection_id,
                held_for: since.elapsed(),
            })
        });
        still.collect()
    }

    /// Is cancelled when the client is closed.
    pub(crate) fn closing(&self) -> Canceller {
        self.inner().closing.clone()
    }

    fn inner(&self) -> &Arc<ClientInner> {
        self.shared.get(ClientInner::in_child)
    }
}

// A panic leaves no client in a broken state: its locks are not poisoned, no lock is held while a function of the
// program runs, and guards undo work that a panic interrupts.
impl UnwindSafe for Client {}
impl RefUnwindSafe for Client {}

impl HasDeployment for Client {
    fn deployment(&self) -> Deployment<'_> {
        Deployment {
            bounds: &self.bounds,
            ..self.inner().deployment()
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("options", self.options())
            .finish_non_exhaustive()
    }
}

/// The facts about a server that a connection to it has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerReport {
    /// The server.
    pub server: ServerAddress,
    /// The description that the server gave of itself.
    pub hello: Hello,
    /// The facts of the TLS handshake; `None` without TLS.
    pub handshake: Option<HandshakeReport>,
    /// The number of full handshakes that the client has made, with all its servers.
    pub full_handshakes: u64,
    /// The number of TLS sessions that it has resumed.
    pub resumed_handshakes: u64,
}

/// The state and the counters of a client at an instant.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClientSnapshot {
    /// The deployment: its type, and each server with its type and its last error.
    pub topology: Arc<TopologyDescription>,
    /// The pools, one for each server.
    pub pools: Vec<PoolSnapshot>,
    /// The number of full TLS handshakes that the client has made, with all its servers.
    pub full_handshakes: u64,
    /// The number of TLS sessions that it has resumed.
    pub resumed_handshakes: u64,
    /// The number of full handshakes that succeeded although the revocation status of the server's certificate was unknown.
    pub soft_failed_revocation_checks: u64,
}

/// A connection that was in use when the client was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInUse {
    /// The server.
    pub server: ServerAddress,
    /// The number of the connection in its pool, as in [events](crate::event).
    pub connection_id: u64,
    /// The time since it was checked out.
    pub held_for: Duration,
}

impl fmt::Display for ConnectionInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            connection_id,
            held_for,
        } = self;
        write!(
            f,
            "connection {connection_id} to {server}, for {} ms",
            held_for.as_millis()
        )
    }
}
