//! A server that implements the part of MongoDB that a connector's tests need, and misbehaves on request.
//!
//! [`Server::builder`] sets its answers and settings; [`ServerBuilder::start`] binds a free port and serves each
//! connection on a thread; dropping the [`Server`] ends them all. While it runs, tests may change its TLS settings
//! (rotation), its hello (topology), its faults, and read its record: [`Server::commands`], [`Server::connections`],
//! [`Server::counts`].
//!
//! There are three kinds of faults: a [`Fault`] cuts the stream at a byte, a [`ReplyFault`] breaks one message, and
//! `configureFailPoint` fails a command as MongoDB itself would. [`ServerBuilder::handle`] replaces a command's answer
//! completely. Everything is in memory, unless [`ServerBuilder::backend`] makes it the front end of a real store.

mod auth;
mod aws;
mod backend;
mod checks;
mod clock;
mod commands;
mod connection;
mod external;
mod failpoint;
mod forward;
mod front;
mod hello;
mod oidc;
mod record;
mod reply;
mod store;
mod tls;
mod version;

use crate::fault::{Fault, FaultPlan, Traffic};
use crate::net::{Bind, Endpoint, Listening, lock};
use bson::Document;
use openssl::ssl::SslContext;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use auth::{Auth, User};
pub use aws::AwsMechanism;
pub use backend::Backend;
pub use checks::{Check, CheckKind, Checks, most_within};
pub use clock::Clock;
pub use external::{ExternalConversation, ExternalMechanism, Said};
pub use failpoint::fail_command;
pub use hello::{Hello, Role, Standing};
pub use oidc::OidcMechanism;
pub use record::{ConnectionInfo, Counts, Request};
pub use reply::{CompressedFault, ReplyFault};
pub use store::Data;
pub use tls::{ClientAuth, ServerTls, Staple};
pub use version::Version;

/// A running server.
///
/// ```
/// use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
/// use mongotls_testbench::server::{Server, ServerTls};
///
/// let ca = Ca::root("root", KeyKind::EcP256);
/// let identity = ca.issue(LeafSpec::local_server());
/// let server = Server::builder().tls(ServerTls::new(&identity)).start();
/// assert!(server.uri().starts_with("mongodb://127.0.0.1:"));
/// assert_eq!(server.counts().accepted, 0);
/// ```
#[derive(Debug)]
pub struct Server {
    // Declared before `shared`, so that its threads have ended when the rest is dropped.
    listening: Listening,
    shared: Arc<Shared>,
}

impl Server {
    /// Begins a server: plain, on `127.0.0.1` and any port, a standalone.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            bind: Bind::default(),
            tls: None,
            hello: Hello::default(),
            handlers: HashMap::new(),
            faults: FaultPlan::default(),
            auth: None,
            behind_proxy: false,
            data: Data::default(),
            backend: None,
            version: Version::default(),
            clock: None,
            log_limit: 10_000,
        }
    }

    /// Its TCP address.
    ///
    /// # Panics
    ///
    /// If it listens on a Unix socket.
    pub fn addr(&self) -> SocketAddr {
        self.listening.endpoint().addr()
    }

    /// Its port.
    ///
    /// # Panics
    ///
    /// If it listens on a Unix socket.
    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    /// The address that it listens on.
    pub fn endpoint(&self) -> &Endpoint {
        self.listening.endpoint()
    }

    /// A connection string without options: `mongodb://127.0.0.1:PORT/`.
    pub fn uri(&self) -> String {
        format!("mongodb://{}/", self.endpoint().authority())
    }

    /// A connection string with another host name for the address, such as `localhost`.
    pub fn uri_for(&self, host: &str) -> String {
        format!("mongodb://{host}:{}/", self.port())
    }

    /// Replaces the TLS settings for future connections; earlier tickets become invalid.
    ///
    /// # Panics
    ///
    /// If OpenSSL rejects the settings.
    pub fn set_tls(&self, tls: &ServerTls) {
        *lock(&self.shared.tls) = Some(prepare(tls));
    }

    /// Stops using TLS for future connections.
    pub fn set_plain(&self) {
        *lock(&self.shared.tls) = None;
    }

    /// Changes its hello, and raises `topologyVersion`.
    pub fn set_hello(&self, change: impl FnOnce(&mut Hello)) {
        self.shared.hello.change(change);
    }

    /// Its hello.
    pub fn hello(&self) -> Hello {
        self.shared.hello.get()
    }

    /// Simulates another process on the same address: all connections end, its cursors and its fail points are removed,
    /// and `topologyVersion` has another process id. Its documents and its record stay.
    pub fn restart(&self) {
        self.shared.hello.restart();
        lock(&self.shared.store).restart();
        if let Some(forwarding) = &self.shared.forwarding {
            forwarding.restart();
        }
        self.shared.fail_point.clear();
        self.cut();
    }

    /// Separates it from the servers that share its [`Data`]: it continues with a copy.
    pub(crate) fn cut_off(&self, as_primary: bool) {
        lock(&self.shared.store).cut_off(as_primary);
    }

    /// Ends the separation: writes that only this server received are lost.
    pub(crate) fn rejoin(&self) {
        lock(&self.shared.store).rejoin();
    }

    /// The reads and writes that it ran as a separated primary, oldest first.
    pub(crate) fn stale(&self) -> Vec<Request> {
        lock(&self.shared.store).stale()
    }

    /// The [`Fault`]s of future connections.
    pub fn faults(&self) -> &FaultPlan {
        &self.shared.faults
    }

    /// Applies a fault to the next `times` replies to `command`; `"*"` means any.
    pub fn spoil_replies(&self, command: &str, times: usize, fault: ReplyFault) {
        self.shared.replies.add(command, times, fault);
    }

    /// Removes the faults of replies.
    pub fn heal_replies(&self) {
        self.shared.replies.clear();
    }

    /// Sets the fail point as `configureFailPoint` would; see [`fail_command`].
    ///
    /// # Panics
    ///
    /// If the command is malformed.
    pub fn configure_fail_point(&self, command: &Document) {
        let reply = self.shared.fail_point.configure(command);
        assert!(reply.get_f64("ok").is_ok_and(|ok| ok == 1.0), "{reply}");
    }

    /// Turns off all fail points.
    pub fn clear_fail_points(&self) {
        self.shared.fail_point.clear();
    }

    /// Ends every open connection and continues to listen.
    pub fn cut(&self) {
        self.listening.cut();
    }

    /// The received commands, oldest first, within the limit of the log.
    pub fn commands(&self) -> Vec<Request> {
        self.shared.record.commands()
    }

    /// The commands of that name.
    pub fn commands_named(&self, name: &str) -> Vec<Request> {
        let mut commands = self.commands();
        commands.retain(|request| request.name == name);
        commands
    }

    /// Deletes the recorded commands, and their counts.
    pub fn forget_commands(&self) {
        self.shared.record.forget_commands();
    }

    /// The connections, oldest first.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.shared.record.connections()
    }

    /// The hellos on connections that ran nothing else: the checks of monitors.
    pub fn checks(&self) -> Checks {
        self.shared.record.checks()
    }

    /// The connections that ran a command other than hello: those of the program, without those of monitors.
    pub fn program_connections(&self) -> Vec<ConnectionInfo> {
        let mut connections = self.connections();
        connections.retain(|info| info.other_commands > 0);
        connections
    }

    /// The counters of its record.
    pub fn counts(&self) -> Counts {
        Counts {
            sent: self.shared.traffic.sent.load(Ordering::Relaxed),
            received: self.shared.traffic.received.load(Ordering::Relaxed),
            ..self.shared.record.counts()
        }
    }

    /// The number of times a command was received.
    pub fn count_of(&self, command: &str) -> u64 {
        let counts = self.counts();
        counts.commands.get(command).copied().unwrap_or(0)
    }

    /// The number of open cursors.
    pub fn open_cursors(&self) -> usize {
        match &self.shared.forwarding {
            Some(forwarding) => forwarding.open_cursors(),
            None => lock(&self.shared.store).open_cursors(),
        }
    }

    /// The documents of `database.collection`, in the order of their insertion.
    pub fn documents(&self, namespace: &str) -> Vec<Document> {
        lock(&self.shared.store).documents(namespace)
    }

    /// Waits until `holds` returns true, for at most this time; returns true if it did.
    pub fn wait_until(&self, limit: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        while !holds(self) {
            if Instant::now() > end {
                return false;
            }
            self.shared.record.wait(Duration::from_millis(10));
        }
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listening.stop();
        self.shared.hello.wake();
    }
}

/// The options for a [`Server`].
pub struct ServerBuilder {
    bind: Bind,
    tls: Option<ServerTls>,
    hello: Hello,
    handlers: HashMap<String, Handler>,
    faults: FaultPlan,
    auth: Option<Auth>,
    behind_proxy: bool,
    data: Data,
    backend: Option<Backend>,
    version: Version,
    clock: Option<Clock>,
    log_limit: usize,
}

impl ServerBuilder {
    /// Sets the address to listen on.
    pub fn bind(mut self, bind: Bind) -> Self {
        self.bind = bind;
        self
    }

    /// Uses TLS.
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets its hello.
    pub fn hello(mut self, hello: Hello) -> Self {
        self.hello = hello;
        self
    }

    /// Answers a command with the result of `answer`; if that is `None`, with the default answer.
    ///
    /// The name is the command's, in the client's spelling: to replace hello completely, set it for `hello`, `isMaster`
    /// and `ismaster`.
    pub fn handle(
        mut self,
        command: &str,
        answer: impl Fn(&Request) -> Option<Document> + Send + Sync + 'static,
    ) -> Self {
        self.handlers.insert(command.into(), Box::new(answer));
        self
    }

    /// Applies this fault to every connection.
    pub fn fault(self, fault: Fault) -> Self {
        self.faults.all(fault);
        self
    }

    /// Requires authentication.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Expects each connection to begin with the PROXY protocol, version 2, and trusts its data about a verified client
    /// certificate, like a server behind a TLS front.
    pub fn behind_proxy(mut self) -> Self {
        self.behind_proxy = true;
        self
    }

    /// Shares its documents with other servers; cursors stay separate.
    pub fn data(mut self, data: &Data) -> Self {
        self.data = data.clone();
        self
    }

    /// Forwards the commands that the bench does not implement itself to a store, instead of keeping documents.
    ///
    /// Hello, authentication, fail points, `getParameter` and the like stay here; so do faults. Replies contain the
    /// store's `$clusterTime`. Separated members ([`Partition`](crate::replica_set::Partition)) get no copy of the data.
    pub fn backend(mut self, backend: &Backend) -> Self {
        self.backend = Some(backend.clone());
        self
    }

    /// Claims to be this version of MongoDB. Default: [`Version::V7_0`].
    ///
    /// It sets `maxWireVersion`, and for an old version leaves out what later ones brought.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self.hello.max_wire_version = version.wire;
        self.hello.topology_version = version.is_modern();
        self.hello.hello_ok = version.is_modern();
        self
    }

    /// Reports the time of this clock in each reply, as a server of a replica set or a router does.
    pub fn clock(mut self, clock: &Clock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Sets the number of commands in the log; 0 for none, as for a measurement. Default: 10 000.
    pub fn log_limit(mut self, limit: usize) -> Self {
        self.log_limit = limit;
        self
    }

    /// Binds and serves.
    ///
    /// # Panics
    ///
    /// If the address cannot be bound, or OpenSSL rejects the TLS settings.
    pub fn start(self) -> Server {
        let shared = Arc::new(Shared {
            tls: Mutex::new(self.tls.as_ref().map(prepare)),
            hello: hello::HelloState::new(self.hello),
            handlers: self.handlers,
            faults: self.faults,
            auth: self.auth,
            behind_proxy: self.behind_proxy,
            replies: reply::ReplyPlan::default(),
            fail_point: failpoint::FailPoint::default(),
            forwarding: self.backend.as_ref().map(forward::Forwarding::new),
            version: self.version,
            store: Mutex::new(store::Store::sharing(&self.data)),
            record: record::Record::new(self.log_limit),
            clock: self.clock,
            traffic: Arc::default(),
        });
        let serving = Arc::clone(&shared);
        let listening = Listening::start(&self.bind, move |socket, stop| {
            connection::serve(&serving, socket, stop);
        })
        .unwrap_or_else(|error| panic!("cannot listen on {:?}: {error}", self.bind));
        Server { listening, shared }
    }
}

type Handler = Box<dyn Fn(&Request) -> Option<Document> + Send + Sync>;

/// The state that all connections of a server share.
struct Shared {
    tls: Mutex<Option<(SslContext, ClientAuth)>>,
    hello: hello::HelloState,
    handlers: HashMap<String, Handler>,
    faults: FaultPlan,
    /// `None` allows all commands without authentication.
    auth: Option<Auth>,
    behind_proxy: bool,
    replies: reply::ReplyPlan,
    fail_point: failpoint::FailPoint,
    /// `None` keeps documents in `store`.
    forwarding: Option<forward::Forwarding>,
    version: Version,
    store: Mutex<store::Store>,
    record: record::Record,
    /// The clock of the deployment, if replies have its time.
    clock: Option<Clock>,
    traffic: Arc<Traffic>,
}

impl Shared {
    fn tls(&self) -> Option<(SslContext, ClientAuth)> {
        lock(&self.tls).clone()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("bind", &self.bind)
            .finish_non_exhaustive()
    }
}

fn prepare(tls: &ServerTls) -> (SslContext, ClientAuth) {
    let context = tls.context().expect("TLS settings that OpenSSL takes");
    (context, tls.auth_mode())
}
