//! The client: what a program holds on to, and shares between its threads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;
use log::{debug, warn};

use crate::command::Command;
use crate::conn::Hello;
use crate::conn::{Connector, Request};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::options::ClientOptions;
use crate::pool::{Pool, PooledConnection};
use crate::time::{Deadline, TimeoutKind};
use crate::tls::HandshakeReport;

/// A client of a MongoDB deployment.
///
/// Cheap to clone: all clones share the same connections, and every method takes `&self`, so that one
/// client serves all threads of a program. No thread runs in the background and no connection is made
/// before the first command needs one; it is closed when the last clone is dropped.
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
    /// One for each host, in the order of the seed list.
    pools: Vec<Arc<Pool>>,
    /// The pool whose server answered last.
    current: AtomicUsize,
}

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
        let connector = Connector::new(&options)?;
        let pools = options
            .hosts
            .iter()
            .map(|host| Arc::new(Pool::new(host.clone(), Arc::clone(&connector), &options)))
            .collect();
        Ok(Self(Arc::new(Inner {
            options,
            pools,
            current: AtomicUsize::new(0),
        })))
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

    /// What a server said about itself and, with TLS, the facts of the handshake: of a connection
    /// that is free or, if there is none, of a new one.
    ///
    /// # Errors
    /// As [`Database::run_command`], without those of a command.
    pub fn server_report(&self) -> Result<ServerReport> {
        let connection = self.check_out(self.deadline(None))?;
        Ok(ServerReport {
            server: connection.server().clone(),
            hello: connection.hello().clone(),
            handshake: connection.handshake().cloned(),
        })
    }

    /// Runs a command on a server that is chosen now.
    pub(crate) fn run(
        &self,
        database: &str,
        command: &Command,
    ) -> Result<(RawDocumentBuf, Arc<Pool>)> {
        let deadline = self.deadline(command.limit());
        let body = command.body()?;
        let mut connection = self.check_out(deadline)?;
        let reply = self.run_on(&mut connection, database, body, command, deadline)?;
        Ok((reply, Arc::clone(connection.pool())))
    }

    /// Runs a command on the server of that pool.
    pub(crate) fn run_in(
        &self,
        pool: &Arc<Pool>,
        database: &str,
        command: &Command,
    ) -> Result<RawDocumentBuf> {
        let deadline = self.deadline(command.limit());
        let body = command.body()?;
        let mut connection = pool.check_out(deadline)?;
        self.run_on(&mut connection, database, body, command, deadline)
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
        let preference = read_preference(connection.hello(), command)?;
        let sequences = command.sequences();
        let request = Request {
            database,
            body,
            sequences: &sequences,
            read_preference: preference.as_deref(),
        };
        connection.run(&request, deadline)
    }

    /// A connection to the server that answered last or, if it cannot be reached, to another host of
    /// the seed list. A server that takes writes is preferred.
    fn check_out(&self, deadline: Option<Deadline>) -> Result<PooledConnection> {
        let pools = &self.0.pools;
        let current = self.0.current.load(Ordering::Relaxed);
        let mut read_only = None;
        let mut failures: Vec<Error> = Vec::new();
        for offset in 0..pools.len() {
            let index = (current + offset) % pools.len();
            match pools[index].check_out(deadline) {
                Ok(connection) if pools.len() == 1 || connection.hello().is_writable_primary => {
                    self.0.current.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                Ok(connection) => read_only = read_only.or(Some(connection)),
                Err(error) => {
                    debug!(target: "mongotls::client", "{error}");
                    failures.push(error);
                }
            }
        }
        match (read_only, failures.len()) {
            (Some(connection), _) => Ok(connection),
            (None, 1) => Err(failures.remove(0)),
            (None, _) => Err(Error::all_failed(failures)),
        }
    }

    fn deadline(&self, limit: Option<Duration>) -> Option<Deadline> {
        let limit = limit
            .or(self.0.options.timeout)
            .filter(|limit| !limit.is_zero())?;
        Some(Deadline::after(
            Instant::now(),
            Some(limit),
            TimeoutKind::Operation,
        ))
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
}

/// The value of `$readPreference`, where the server needs one (specification "Server Selection",
/// "Passing a Read Preference").
fn read_preference(hello: &Hello, command: &Command) -> Result<Option<RawDocumentBuf>> {
    let document = match command.preference() {
        Some(preference) if hello.set_name.is_some() || hello.is_mongos => preference.to_document(),
        // A member that is talked to directly must answer, whether it is the primary or not.
        None if hello.set_name.is_some() && !hello.is_writable_primary => {
            bson::doc! { "mode": "primaryPreferred" }
        }
        _ => return Ok(None),
    };
    RawDocumentBuf::try_from(&document)
        .map(Some)
        .map_err(|error| Error::bson("the read preference cannot be encoded", error))
}
