//! The client: what a program holds on to, and shares between its threads.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bson::RawDocumentBuf;
use log::{debug, warn};

use crate::cause::{Cause, CauseCode};
use crate::command::Command;
use crate::conn::{Connector, Hello, Perished, Request};
use crate::cursor::Home;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::event::{Event, TlsReloadEvent};
use crate::options::{ClientOptions, ReadPreferenceMode};
use crate::pool::{Pool, PooledConnection};
use crate::time::{Deadline, TimeoutKind};
use crate::tls::HandshakeReport;
use crate::watch::{Snapshot, Wanted, Watcher};

/// A client of a MongoDB deployment.
///
/// Cheap to clone: all clones share the same connections, and every method takes `&self`, so that one
/// client serves all threads of a program. No connection is made before the first command needs one; it
/// is closed when the last clone is dropped. No thread runs in the background, unless the files of TLS
/// are watched.
///
/// ```no_run
/// use mongotls::bson::doc;
///
/// let client = mongotls::Client::connect("mongodb://db.example.com/?tls=true&tlsCAFile=/etc/ssl/db-ca.pem")?;
/// let reply = client.database("admin").run_command(doc! { "ping": 1 })?;
/// # Ok::<(), mongotls::Error>(())
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

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
        self.options
            .listener
            .emit(&Event::TlsReload(TlsReloadEvent {
                error: outcome.as_ref().err().cloned(),
                duration: started.elapsed(),
            }));
        outcome
    }
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
    /// The files that TLS needs are read now; the network is not used yet. Warnings about the
    /// connection string go to the log, target `mongotls::uri`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the connection string or a file is wrong.
    pub fn connect(uri: &str) -> Result<Self> {
        let (options, warnings) = ClientOptions::parse(uri)?;
        for warning in warnings {
            warn!(target: "mongotls::uri", "{warning}");
        }
        Self::with_options(options)
    }

    /// Makes a client from options.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if a file that the options name is wrong, or if they ask for what
    /// this version cannot do.
    pub fn with_options(options: ClientOptions) -> Result<Self> {
        for option in options.tls.iter().flat_map(|tls| tls.relaxed()) {
            warn!(target: "mongotls::tls", "{option}=true: an attacker on the way to the server may not be noticed");
        }
        // Looked at before they are read, so that no change is missed.
        let watched = options.tls.as_ref().and_then(|tls| {
            let interval = tls.watch_interval()?;
            Some((Snapshot::of(tls.files()), interval))
        });
        let connector = Connector::new(&options)?;
        let pools = options
            .hosts
            .iter()
            .map(|host| Arc::new(Pool::new(host.clone(), Arc::clone(&connector), &options)))
            .collect();
        let inner = Arc::new(Inner {
            options,
            connector,
            pools,
            choice: Mutex::new(Choice {
                index: 0,
                holds: Holds::No,
            }),
            watcher: OnceLock::new(),
        });
        if let Some((seen, interval)) = watched {
            inner.watch_files(seen, interval)?;
        }
        Ok(Self(inner))
    }

    /// The database of that name. No command is sent.
    pub fn database(&self, name: &str) -> Database {
        Database::new(self.clone(), name)
    }

    /// The database that the connection string names, if it names one.
    pub fn default_database(&self) -> Option<Database> {
        self.0
            .options
            .default_database
            .as_deref()
            .map(|name| self.database(name))
    }

    /// The options in force.
    pub fn options(&self) -> &ClientOptions {
        &self.0.options
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
        self.0.reload_tls()
    }

    /// What a server said about itself and, with TLS, the facts of the handshake: of a connection
    /// that is free or, if there is none, of a new one.
    ///
    /// # Errors
    /// As [`Database::run_command`], without those of a command.
    pub fn server_report(&self) -> Result<ServerReport> {
        let connection = self.check_out(self.deadline(None))?;
        let tls = self.0.connector.tls();
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
                let mut connection = pool.check_out(deadline)?;
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
            .0
            .options
            .socket_timeout
            .map(|limit| Deadline::after(Instant::now(), Some(limit), TimeoutKind::Socket));
        let deadline = match (deadline, own) {
            (Some(deadline), Some(own)) => Some(deadline.earlier(own)),
            (deadline, own) => deadline.or(own),
        };
        let is_direct = self.0.pools.len() == 1;
        let preference = read_preference(connection.hello(), command, is_direct)?;
        let sequences = command.sequences();
        let request = Request {
            database,
            body,
            sequences: &sequences,
            read_preference: preference.as_deref(),
        };
        let reply = self.0.connector.run(connection, &request, deadline);
        if connection.perished() == Some(Perished::StateChange) {
            self.choice().holds = Holds::No;
        }
        reply
    }

    /// A connection to a writable server of the seed list or, if none can be reached, to one that can
    /// be read from.
    fn check_out(&self, deadline: Option<Deadline>) -> Result<PooledConnection> {
        let pools = &self.0.pools;
        if let [pool] = pools.as_slice() {
            return pool.check_out(deadline);
        }
        let choice = *self.choice();
        let is_kept = match choice.holds {
            Holds::No => false,
            Holds::WhileWritable => true,
            Holds::Until(end) => Instant::now() < end,
        };
        if is_kept {
            match pools[choice.index].check_out(deadline) {
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
        let pools = &self.0.pools;
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
                pools[index].check_out(deadline)
            }
            None => Err(Error::all_failed(failures)),
        }
    }

    fn choose(&self, index: usize, holds: Holds) {
        *self.choice() = Choice { index, holds };
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        let choice = self.0.choice.lock();
        choice.unwrap_or_else(PoisonError::into_inner)
    }

    fn deadline(&self, limit: Option<Duration>) -> Option<Deadline> {
        let (limit, kind) = match (limit, self.0.options.timeout) {
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
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

/// What is known about a server from its connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerReport {
    /// The server.
    pub server: crate::ServerAddress,
    /// What it said about itself.
    pub hello: Hello,
    /// The facts of the TLS handshake; none without TLS.
    pub handshake: Option<HandshakeReport>,
    /// How many full handshakes the client has made, with all its servers.
    pub full_handshakes: u64,
    /// How many sessions it has resumed.
    pub resumed_handshakes: u64,
}

/// A connection whose hello is not out of date: a server that was a secondary when an older one was
/// established may be the primary now.
fn fresh(pool: &Arc<Pool>, deadline: Option<Deadline>) -> Result<PooledConnection> {
    let connection = pool.check_out(deadline)?;
    if connection.hello().is_writable_primary || connection.is_new() {
        return Ok(connection);
    }
    connection.clear_pool();
    pool.check_out(deadline)
}

/// Whether the search goes on after an error: the host cannot be reached, and there is time left.
fn goes_on(error: &Error, deadline: Option<Deadline>) -> bool {
    let has_time = deadline.is_none_or(|deadline| deadline.remaining(Instant::now()).is_ok());
    has_time && error.is_of_establishing()
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
