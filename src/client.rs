//! The client: what a program holds on to, and shares between its threads.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use crate::address::ServerAddress;
use crate::conn::{Connector, Hello};
use crate::database::Database;
use crate::error::Result;
use crate::event::{self, Event, EventKind, TlsReloadEvent};
use crate::ffi::fork::{Abandon, PerProcess};
use crate::logging::{debug, warn};
use crate::op::{Deployment, HasDeployment, execute};
use crate::options::{ClientOptions, DriverInfo};
use crate::pool::PoolSnapshot;
use crate::sdam::{Topology, TopologyDescription};
use crate::srv;
use crate::tls::{HandshakeReport, Snapshot};
use crate::uri::ConnectionString;
use crate::watch::{Reason, Reload, Watcher};

/// A client of a MongoDB deployment.
///
/// Cheap to clone: all clones share the same connections, and every method takes `&self`, so that one
/// client serves all threads of a program. All connections are closed when the last clone is dropped, or by
/// [`close`](Client::close).
///
/// Each server is checked by a thread in the background, on a connection of its own, and a second one measures
/// round trips where servers tell of changes by themselves (MongoDB 4.4 and later); commands go to the server that
/// they need, and wait for it up to `serverSelectionTimeoutMS`. Further threads run only where an option needs one:
/// the files of TLS are watched, `minPoolSize` or `maxIdleTimeMS` is set, or DNS is looked at again (`mongodb+srv`).
///
/// # Fork
/// A client may be used on both sides of a `fork()`: the child begins with no connection and reads the files of
/// TLS again, and the parent goes on undisturbed. A [`Cursor`](crate::Cursor) stays the parent's. Processes made
/// by the bare system call `clone` are not noticed.
///
/// ```no_run
/// use mongotls::bson::doc;
///
/// let client = mongotls::Client::connect("mongodb://db.example.com/?tls=true&tlsCAFile=/etc/ssl/db-ca.pem")?;
/// let reply = client.database("admin").run_command(doc! { "ping": 1 })?;
/// # Ok::<(), mongotls::Error>(())
/// ```
#[derive(Clone)]
pub struct Client(Arc<PerProcess<Arc<Inner>>>);

struct Inner {
    options: ClientOptions,
    connector: Arc<Connector>,
    topology: Arc<Topology>,
    /// Looks at the files of TLS, if the options ask for it.
    watcher: OnceLock<Watcher>,
    /// Looks for new hosts in DNS, with `mongodb+srv`.
    #[cfg(feature = "srv")]
    polling: OnceLock<crate::ending::Ending>,
}

impl Inner {
    fn new(options: ClientOptions, connector: Arc<Connector>) -> Arc<Self> {
        let topology = Topology::new(&options, &connector);
        Arc::new(Self {
            options,
            connector,
            topology,
            watcher: OnceLock::new(),
            #[cfg(feature = "srv")]
            polling: OnceLock::new(),
        })
    }

    /// Tells the program of the topology, and starts the threads in the background.
    fn begin(&self) {
        self.topology.begin();
        #[cfg(feature = "srv")]
        if let Some(polling) = self.poll() {
            // Nobody else sets it.
            let _ = self.polling.set(polling);
        }
    }

    #[cfg(feature = "srv")]
    fn poll(&self) -> Option<crate::ending::Ending> {
        use crate::srv::polling;
        let topology = Arc::downgrade(&self.topology);
        polling::start(topology, &self.options, polling::SHORTEST)
    }

    /// What a forked child uses in place of what it has inherited: no connection, no lock, threads of its own.
    fn in_child(self: &Arc<Self>) -> Arc<Self> {
        // Looked at before they are read, so that no change is missed.
        let watched = self.watched();
        let connector = self.connector.in_child(&self.options);
        let connector = connector.unwrap_or_else(|_| Arc::clone(&self.connector));
        let child = Self::new(self.options.clone(), connector);
        if let Some((seen, interval)) = watched {
            child.watch_files(seen, interval);
        }
        child
    }

    /// What the files of TLS look like now, and how often to look again; none if nobody asked for that.
    fn watched(&self) -> Option<(Snapshot, Duration)> {
        watched(&self.options)
    }

    /// Starts the thread that looks at the files of TLS. It does not keep the client alive.
    fn watch_files(self: &Arc<Self>, seen: Snapshot, interval: Duration) {
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
            if failure.is_none() || failure != last_failure || reason == Reason::Change {
                client.tell_reload(&outcome, started.elapsed());
            }
            last_failure = failure;
            match outcome {
                Ok(()) => Reload::Done,
                Err(_) => Reload::Failed,
            }
        };
        let background = self.topology.background();
        let watcher = Watcher::start(background, seen, interval, reload);
        // Nobody else sets it.
        let _ = self.watcher.set(watcher);
    }

    fn reload_tls(&self) -> Result<()> {
        let started = Instant::now();
        let outcome = self.try_reload();
        self.tell_reload(&outcome, started.elapsed());
        outcome
    }

    /// Reads the files of TLS again, and retires the connections that were made with the old ones.
    fn try_reload(&self) -> Result<()> {
        self.connector.reload_tls(SystemTime::now())?;
        self.topology.retire();
        Ok(())
    }

    fn tell_reload(&self, outcome: &Result<()>, duration: Duration) {
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
        if listener.hears(EventKind::Tls) {
            listener.emit(&Event::TlsReload(TlsReloadEvent {
                error: outcome.as_ref().err().cloned(),
                duration,
            }));
        }
    }
}

impl Drop for Inner {
    /// Ends the threads of the topology and its pools, and what they are at.
    fn drop(&mut self) {
        self.topology.close();
    }
}

impl Abandon for Arc<Inner> {
    fn abandon(&self) {
        self.topology.abandon();
    }

    fn begin(&self) {
        Inner::begin(self);
    }
}

fn watched(options: &ClientOptions) -> Option<(Snapshot, Duration)> {
    let tls = options.tls.as_ref()?;
    let interval = tls.watch_interval()?;
    Some((Snapshot::of(tls), interval))
}

impl Client {
    /// Makes a client from a connection string.
    ///
    /// The files that TLS needs are read now, and DNS is asked with `mongodb+srv`; servers are looked for in the
    /// background, and that none is found shows with the first command. Warnings
    /// about the connection string go to the log, target `mongotls::uri`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the connection string or a file is wrong;
    /// with `mongodb+srv` also those of [`Stage::Resolve`](crate::Stage::Resolve).
    pub fn connect(uri: &str) -> Result<Self> {
        Self::from_connection_string(ConnectionString::parse(uri)?)
    }

    /// Makes a client from a connection string that was read before, as [`connect`](Self::connect) does.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect), but for a text that does not parse.
    pub fn from_connection_string(uri: ConnectionString) -> Result<Self> {
        let (options, warnings) = uri.finish()?;
        for warning in warnings {
            warn!(target: "mongotls::uri", "{warning}");
        }
        Self::with_options(options)
    }

    /// Makes a client from options.
    ///
    /// With `mongodb+srv`, DNS is asked now, for no longer than `connectTimeoutMS`; [`options`](Self::options) then
    /// show the hosts and what a TXT record adds.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the options contradict each other or one is out of
    /// range, as for [`ClientOptionsBuilder::build`](crate::options::ClientOptionsBuilder::build), if a file that they name is
    /// wrong, or if they ask for what this version cannot do; with `mongodb+srv` also
    /// [`ErrorKind::Network`](crate::ErrorKind::Network) and [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) of
    /// [`Stage::Resolve`](crate::Stage::Resolve).
    pub fn with_options(options: ClientOptions) -> Result<Self> {
        let mut options = options.checked()?;
        if let Some(warning) = options.without_effect() {
            warn!(target: "mongotls::uri", "{warning}");
        }
        if options.srv.is_some() {
            srv::resolve(&mut options)?;
        }
        for option in options.tls.iter().flat_map(|tls| tls.relaxed()) {
            warn!(target: "mongotls::tls", "{option}=true: an attacker on the way to the server may not be noticed");
        }
        // Looked at before they are read, so that no change is missed.
        let watched = watched(&options);
        let connector = Connector::new(&options)?;
        let inner = Inner::new(options, connector);
        if let Some((seen, interval)) = watched {
            inner.watch_files(seen, interval);
        }
        inner.begin();
        Ok(Self(Arc::new(PerProcess::new(inner))))
    }

    /// The database of that name. No command is sent.
    pub fn database(&self, name: &str) -> Database {
        Database::new(self.clone(), name)
    }

    /// The database that the connection string names, if it names one.
    pub fn default_database(&self) -> Option<Database> {
        self.inner()
            .options
            .default_database
            .as_deref()
            .map(|name| self.database(name))
    }

    /// The options in force.
    pub fn options(&self) -> &ClientOptions {
        &self.inner().options
    }

    /// Reads the files of TLS anew: CA, CRL, certificate and key.
    ///
    /// The new set is loaded and checked whole before it takes over; then the
    /// connections that were made with the old one are retired, those in use when their command ends. No
    /// command fails because of it, and no session of the old set is resumed.
    ///
    /// The new set may revoke more and trust fewer CAs. It is rejected if it is not in force: if no trust anchor is
    /// within its dates, if the client certificate is not but the current one is, if an issuer with a CRL in force
    /// would no longer have one, or if a CRL with a lower number would replace one in force.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if a file cannot be used or the new set is
    /// rejected. The old one then stays in force; the log, target `mongotls::tls`, and an
    /// [`Event`](crate::event::Event) say so.
    pub fn reload_tls(&self) -> Result<()> {
        self.inner().reload_tls()
    }

    /// Names a library on top of this one to servers, on connections that are made from now on (specification
    /// "MongoDB Handshake"). One that is named already is not named again.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if a text holds a `|`, or if all that
    /// is told does not fit into 512 bytes.
    pub fn append_metadata(&self, info: &DriverInfo) -> Result<()> {
        self.inner().connector.append_metadata(info)
    }

    /// What a server said about itself and, with TLS, the facts of the handshake: of a connection
    /// that is free or, if there is none, of a new one.
    ///
    /// # Errors
    /// As [`Database::run_command`], without those of a command.
    pub fn server_report(&self) -> Result<ServerReport> {
        let selected = execute::check_out(self)?;
        let connection = selected.connection();
        let tls = self.inner().connector.tls();
        let (full_handshakes, resumed_handshakes) =
            tls.map(|tls| tls.handshakes()).unwrap_or_default();
        Ok(ServerReport {
            server: connection.server().clone(),
            hello: connection.hello().clone(),
            handshake: connection.handshake().cloned(),
            full_handshakes,
            resumed_handshakes,
        })
    }

    /// How many connections and waiting threads there are now, and what TLS has done so far: cheap enough to be
    /// asked for every second.
    pub fn snapshot(&self) -> ClientSnapshot {
        let inner = self.inner();
        let tls = inner.connector.tls();
        let tls = tls.map(|tls| (tls.handshakes(), tls.undetermined_revocations()));
        let ((full_handshakes, resumed_handshakes), soft_failed_revocation_checks) =
            tls.unwrap_or_default();
        ClientSnapshot {
            topology: Arc::clone(inner.topology.snapshot().description()),
            pools: inner.topology.pool_snapshots(),
            full_handshakes,
            resumed_handshakes,
            soft_failed_revocation_checks,
        }
    }

    /// Closes the client and all its clones: no command is served any more, connections that are not in use are
    /// closed, attempts to connect are given up, and its threads end. Waits until what is in use has come back,
    /// for no longer than `limit`.
    ///
    /// Returns what was still in use then; empty if nothing was. Such a connection is closed when its command or
    /// its cursor ends. Commands that come later fail with
    /// [`ErrorKind::ClientClosed`](crate::ErrorKind::ClientClosed).
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
        inner.topology.close();
        if let Some(watcher) = inner.watcher.get() {
            watcher.end();
        }
        #[cfg(feature = "srv")]
        if let Some(polling) = inner.polling.get() {
            polling.end();
        }
        let until = now.checked_add(limit);
        let still = inner.topology.pools().into_iter().flat_map(|pool| {
            let in_use = pool.drain(until).into_iter();
            in_use.map(move |(connection_id, since)| ConnectionInUse {
                server: pool.server().clone(),
                connection_id,
                for_so_long: since.elapsed(),
            })
        });
        still.collect()
    }

    fn inner(&self) -> &Arc<Inner> {
        self.0.get(Inner::in_child)
    }
}

impl HasDeployment for Client {
    fn deployment(&self) -> Deployment<'_> {
        let inner = self.inner();
        Deployment {
            options: &inner.options,
            connector: &inner.connector,
            topology: &inner.topology,
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

/// What is known about a server from its connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerReport {
    /// The server.
    pub server: ServerAddress,
    /// What it said about itself.
    pub hello: Hello,
    /// The facts of the TLS handshake; none without TLS.
    pub handshake: Option<HandshakeReport>,
    /// How many full handshakes the client has made, with all its servers.
    pub full_handshakes: u64,
    /// How many sessions it has resumed.
    pub resumed_handshakes: u64,
}

/// What a client holds and has done, at an instant.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClientSnapshot {
    /// What is known of the deployment: its kind, and each server with its type and its last error.
    pub topology: Arc<TopologyDescription>,
    /// The pools, one for each server.
    pub pools: Vec<PoolSnapshot>,
    /// How many full TLS handshakes the client has made, with all its servers.
    pub full_handshakes: u64,
    /// How many TLS sessions it has resumed.
    pub resumed_handshakes: u64,
    /// How many full handshakes went on although nobody could say whether the server's certificate is revoked.
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
    /// How long ago it was checked out.
    pub for_so_long: Duration,
}

impl fmt::Display for ConnectionInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            connection_id,
            for_so_long,
        } = self;
        write!(
            f,
            "connection {connection_id} to {server}, for {} ms",
            for_so_long.as_millis()
        )
    }
}
