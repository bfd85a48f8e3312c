//! The client: what a program holds on to, and shares between its threads.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bson::RawDocumentBuf;
use log::{debug, warn};

use crate::address::ServerAddress;
use crate::cause::{Cause, CauseCode};
use crate::command::Command;
use crate::conn::{Connector, Hello, Perished, Request};
use crate::cursor::Home;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, TlsReloadEvent};
use crate::fork::{Abandon, PerProcess};
use crate::options::{ClientOptions, DriverInfo, ReadPreferenceMode};
use crate::pool::{Pool, PoolSnapshot, PooledConnection, Settings};
use crate::srv;
use crate::time::{Deadline, TimeoutKind};
use crate::tls::HandshakeReport;
use crate::watch::{Snapshot, Wanted, Watcher};

/// A client of a MongoDB deployment.
///
/// Cheap to clone: all clones share the same connections, and every method takes `&self`, so that one
/// client serves all threads of a program. No connection is made before the first command needs one, unless
/// `minPoolSize` asks for it; all are closed when the last clone is dropped, or by [`close`](Client::close). No
/// thread runs in the background, unless the files of TLS are watched, or `minPoolSize` or `maxIdleTimeMS` is set.
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
    /// One for each host, in the order of the seed list.
    pools: Vec<Arc<Pool>>,
    choice: Mutex<Choice>,
    /// Looks at the files of TLS, if the options ask for it.
    watcher: OnceLock<Watcher>,
}

impl Inner {
    fn new(options: ClientOptions, connector: Arc<Connector>) -> Arc<Self> {
        let settings = Settings::new(&options);
        let pool = |host: &ServerAddress| {
            Pool::new(host.clone(), Arc::clone(&connector), settings.clone())
        };
        let pools: Vec<Arc<Pool>> = options.hosts.iter().map(pool).collect();
        Arc::new(Self {
            options,
            connector,
            pools,
            choice: Mutex::new(Choice {
                index: 0,
                holds: Holds::No,
            }),
            watcher: OnceLock::new(),
        })
    }

    /// Tells the program of the pools, and lets them serve.
    fn begin(&self) {
        self.pools.iter().for_each(|pool| pool.announce());
        // Until servers are monitored, each is taken for there until it proves otherwise.
        self.pools.iter().for_each(Pool::ready);
    }

    /// What a forked child uses in place of what it has inherited: no connection, no lock, threads of its own.
    fn in_child(self: &Arc<Self>) -> Arc<Self> {
        let connector = self.connector.in_child(&self.options);
        let connector = connector.unwrap_or_else(|_| Arc::clone(&self.connector));
        let child = Self::new(self.options.clone(), connector);
        if let Some((seen, interval)) = child.watched() {
            if let Err(error) = child.watch_files(seen, interval) {
                warn!(target: "mongotls::tls", "after a fork: {error}");
            }
        }
        child
    }

    /// What the files of TLS look like now, and how often to look again; none if nobody asked for that.
    fn watched(&self) -> Option<(Snapshot, Duration)> {
        watched(&self.options)
    }

    /// Starts the thread that looks at the files of TLS. It does not keep the client alive.
    fn watch_files(self: &Arc<Self>, seen: Snapshot, interval: Duration) -> Result<()> {
        let client = Arc::downgrade(self);
        let reload = move || match client.upgrade() {
            Some(client) => {
                // The log and the event tell what went wrong; the next change is another chance.
                let _ = client.reload_tls();
                Wanted::Still
            }
            None => Wanted::NoMore,
        };
        let watcher = Watcher::start(seen, interval, reload).map_err(no_thread)?;
        // Nobody else sets it.
        let _ = self.watcher.set(watcher);
        Ok(())
    }

    fn reload_tls(&self) -> Result<()> {
        let started = Instant::now();
        let outcome = self.connector.reload_tls(SystemTime::now());
        match &outcome {
            Ok(()) => {
                self.pools.iter().for_each(|pool| pool.retire());
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
                duration: started.elapsed(),
            }));
        }
        outcome
    }
}

impl Drop for Inner {
    /// Ends the threads of the pools, and what they are at.
    fn drop(&mut self) {
        self.pools.iter().for_each(|pool| pool.close());
    }
}

impl Abandon for Arc<Inner> {
    fn abandon(&self) {
        self.pools.iter().for_each(|pool| pool.abandon());
    }

    fn begin(&self) {
        Inner::begin(self);
    }
}

fn watched(options: &ClientOptions) -> Option<(Snapshot, Duration)> {
    let tls = options.tls.as_ref()?;
    let interval = tls.watch_interval()?;
    Some((Snapshot::of(tls.files()), interval))
}

fn no_thread(error: std::io::Error) -> Error {
    let cause = Cause::new(
        CauseCode::OptionConflict,
        format!("watch_files needs a thread, and the system has none left: {error}"),
        "Raise the limit of threads of this process, or leave watch_files out and call reload_tls.",
    );
    Error::configuration(cause).with_source(error)
}

/// Which host of the seed list commands go to.
///
/// A stand-in for the monitors of "Server Discovery and Monitoring": servers are asked only when a
/// connection to them is established. A writable server is kept until it cannot be reached or says
/// that its state has changed. Where none is writable, one that can be read from is kept for
/// [`READ_ONLY_FOR`], so that hosts which cannot be reached are not tried with each command.
#[derive(Clone, Copy, Debug)]
struct Choice {
    /// The host that was chosen last; a search begins here.
    index: usize,
    /// How long the choice holds.
    holds: Holds,
}

#[derive(Clone, Copy, Debug)]
enum Holds {
    /// The next command searches.
    No,
    /// While its connections say that the server takes writes.
    WhileWritable,
    Until(Instant),
}

/// How long a server that only reads is used before a writable one is looked for again: 10 s, as
/// `heartbeatFrequencyMS`.
const READ_ONLY_FOR: Duration = Duration::from_secs(10);

impl Client {
    /// Makes a client from a connection string.
    ///
    /// The files that TLS needs are read now; the network is not used yet, but for DNS with `mongodb+srv`. Warnings
    /// about the connection string go to the log, target `mongotls::uri`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the connection string or a file is wrong;
    /// with `mongodb+srv` also those of [`Stage::Resolve`](crate::Stage::Resolve).
    pub fn connect(uri: &str) -> Result<Self> {
        let (options, warnings) = ClientOptions::parse(uri)?;
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
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if a file that the options name is wrong, or if they ask for what
    /// this version cannot do; with `mongodb+srv` also [`ErrorKind::Network`](crate::ErrorKind::Network) and
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) of [`Stage::Resolve`](crate::Stage::Resolve).
    pub fn with_options(mut options: ClientOptions) -> Result<Self> {
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
            inner.watch_files(seen, interval)?;
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
    /// The new set is loaded and checked whole, dates included, before it takes over; then the
    /// connections that were made with the old one are retired, those in use when their command ends. No
    /// command fails because of it, and no session of the old set is resumed.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the new set is not sound. The old
    /// one then stays in force; the log, target `mongotls::tls`, and an
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
        let connection = self.check_out(self.deadline(None))?;
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
            pools: inner.pools.iter().map(|pool| pool.snapshot()).collect(),
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
        inner.pools.iter().for_each(|pool| pool.close());
        if let Some(watcher) = inner.watcher.get() {
            watcher.end();
        }
        let until = now.checked_add(limit);
        let still = inner.pools.iter().flat_map(|pool| {
            let server = pool.server();
            let in_use = pool.drain(until).into_iter();
            in_use.map(move |(connection_id, since)| ConnectionInUse {
                server: server.clone(),
                connection_id,
                for_so_long: since.elapsed(),
            })
        });
        still.collect()
    }

    fn inner(&self) -> &Arc<Inner> {
        self.0.get(Inner::in_child)
    }

    /// Runs a command on a server that is chosen now.
    pub(crate) fn run(
        &self,
        database: &str,
        command: &Command,
    ) -> Result<(RawDocumentBuf, PooledConnection)> {
        let deadline = self.deadline(command.limit());
        let body = command.body()?;
        let mut connection = self.check_out(deadline)?;
        let reply = self.run_on(&mut connection, database, body, command, deadline)?;
        Ok((reply, connection))
    }

    /// Runs a command where a cursor lives.
    pub(crate) fn run_at(
        &self,
        home: &mut Home,
        database: &str,
        command: &Command,
    ) -> Result<RawDocumentBuf> {
        let deadline = self.deadline(command.limit());
        let body = command.body()?;
        match home {
            Home::Server(pool) => {
                let mut connection = check_out(pool, deadline)?;
                self.run_on(&mut connection, database, body, command, deadline)
            }
            Home::Connection(connection) => {
                self.run_on(connection, database, body, command, deadline)
            }
        }
    }

    fn run_on(
        &self,
        connection: &mut PooledConnection,
        database: &str,
        body: &bson::RawDocument,
        command: &Command,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        let own = self
            .inner()
            .options
            .socket_timeout
            .map(|limit| Deadline::after(Instant::now(), Some(limit), TimeoutKind::Socket));
        let deadline = match (deadline, own) {
            (Some(deadline), Some(own)) => Some(deadline.earlier(own)),
            (deadline, own) => deadline.or(own),
        };
        let is_direct = self.inner().pools.len() == 1;
        let preference = read_preference(connection.hello(), command, is_direct)?;
        let sequences = command.sequences();
        let request = Request {
            database,
            body,
            sequences: &sequences,
            read_preference: preference.as_deref(),
        };
        let reply = self.inner().connector.run(connection, &request, deadline);
        // Such a failure speaks against the other connections to the server too.
        match connection.perished() {
            Some(Perished::Alone) | None => {}
            Some(Perished::Network) => connection.clear_pool(reply.as_ref().err()),
            Some(Perished::StateChange) => {
                connection.clear_pool(reply.as_ref().err());
                self.choice().holds = Holds::No;
            }
        }
        reply
    }

    /// A connection to a writable server of the seed list or, if none can be reached, to one that can
    /// be read from.
    fn check_out(&self, deadline: Option<Deadline>) -> Result<PooledConnection> {
        let pools = &self.inner().pools;
        if let [pool] = pools.as_slice() {
            return check_out(pool, deadline);
        }
        let choice = *self.choice();
        let is_kept = match choice.holds {
            Holds::No => false,
            Holds::WhileWritable => true,
            Holds::Until(end) => Instant::now() < end,
        };
        if is_kept {
            match check_out(&pools[choice.index], deadline) {
                Ok(connection) if connection.hello().is_writable_primary => return Ok(connection),
                Ok(connection) if matches!(choice.holds, Holds::Until(_)) => return Ok(connection),
                Ok(_) => {}
                Err(error) if goes_on(&error, deadline) => {
                    return self.search(choice.index + 1, vec![error], deadline);
                }
                Err(error) => return Err(error),
            }
        }
        self.search(choice.index, Vec::new(), deadline)
    }

    /// Asks the hosts in their order, beginning with `first`, until one is writable. `failures` are
    /// those of the hosts just before it, which are not asked again.
    ///
    /// Only a host that cannot be reached is passed over. A full pool or a limit that has passed says
    /// nothing about the server, and the command must not go to one that refuses it.
    fn search(
        &self,
        first: usize,
        mut failures: Vec<Error>,
        deadline: Option<Deadline>,
    ) -> Result<PooledConnection> {
        let pools = &self.inner().pools;
        let (mut read_only, mut other) = (None, None);
        for offset in 0..pools.len() - failures.len() {
            let index = (first + offset) % pools.len();
            match fresh(&pools[index], deadline) {
                Ok(connection) if connection.hello().is_writable_primary => {
                    self.choose(index, Holds::WhileWritable);
                    return Ok(connection);
                }
                // Checked in meanwhile: a dial elsewhere may take long.
                Ok(connection) if connection.hello().secondary => {
                    read_only = read_only.or(Some(index));
                }
                // An arbiter, or a member that starts: it answers, and refuses to be read from.
                Ok(_) => other = other.or(Some(index)),
                Err(error) if goes_on(&error, deadline) => {
                    debug!(target: "mongotls::client", "{error}");
                    failures.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        match read_only.or(other) {
            Some(index) => {
                self.choose(index, Holds::Until(Instant::now() + READ_ONLY_FOR));
                check_out(&pools[index], deadline)
            }
            None => Err(Error::all_failed(failures)),
        }
    }

    fn choose(&self, index: usize, holds: Holds) {
        *self.choice() = Choice { index, holds };
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        let choice = self.inner().choice.lock();
        choice.unwrap_or_else(PoisonError::into_inner)
    }

    fn deadline(&self, limit: Option<Duration>) -> Option<Deadline> {
        let (limit, kind) = match (limit, self.inner().options.timeout) {
            (Some(limit), _) => (limit, TimeoutKind::Operation),
            (None, Some(limit)) => (limit, TimeoutKind::Client),
            (None, None) => return None,
        };
        let is_limited = !limit.is_zero();
        is_limited.then(|| Deadline::after(Instant::now(), Some(limit), kind))
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientSnapshot {
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

/// A connection whose hello is not out of date: a server that was a secondary when an older one was
/// established may be the primary now.
fn fresh(pool: &Arc<Pool>, deadline: Option<Deadline>) -> Result<PooledConnection> {
    let connection = check_out(pool, deadline)?;
    if connection.hello().is_writable_primary || connection.is_new() {
        return Ok(connection);
    }
    connection.clear_pool(None);
    drop(connection);
    check_out(pool, deadline)
}

/// A connection of the pool. One that was cleared meanwhile is taken for ready again: the dial will tell.
fn check_out(pool: &Arc<Pool>, deadline: Option<Deadline>) -> Result<PooledConnection> {
    loop {
        match pool.check_out(deadline) {
            Err(error) if error.is_pool_cleared() && has_time(deadline) => pool.ready(),
            outcome => return outcome,
        }
    }
}

/// Whether the search goes on after an error: the host cannot be reached, and there is time left.
fn goes_on(error: &Error, deadline: Option<Deadline>) -> bool {
    has_time(deadline) && error.is_of_establishing()
}

fn has_time(deadline: Option<Deadline>) -> bool {
    deadline.is_none_or(|deadline| deadline.remaining(Instant::now()).is_ok())
}

/// The value of `$readPreference`, where the server needs one (specification "Server Selection",
/// "Passing a Read Preference").
fn read_preference(
    hello: &Hello,
    command: &Command,
    is_direct: bool,
) -> Result<Option<RawDocumentBuf>> {
    // Topology type Single: a member that is talked to directly must answer, whether it is the
    // primary or not.
    let chosen = command
        .preference()
        .filter(|preference| !is_direct || preference.mode != ReadPreferenceMode::Primary);
    let document = match chosen {
        Some(preference) if hello.set_name.is_some() || hello.is_mongos => preference.to_document(),
        None if hello.set_name.is_some() && !hello.is_writable_primary => {
            bson::doc! { "mode": "primaryPreferred" }
        }
        _ => return Ok(None),
    };
    RawDocumentBuf::try_from(&document)
        .map(Some)
        .map_err(|error| Error::bson("the read preference cannot be encoded", error))
}
