//! The common parts of several tests: a server with its PKI, and functions to inspect an error.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, doc};
use mongotls::client::PoolState;
use mongotls::doctor;
use mongotls::options::{TlsOptions, TlsOptionsBuilder};
use mongotls::tls::HandshakeReport;
use mongotls::{CauseCode, Client, ClientOptions, Error, ServerAddress};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{CheckKind, Hello, Request, Server, ServerTls, fail_command};
use openssl::ssl::{SslContext, SslMethod};

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A bench server on TLS, the CA file that verifies it, and the folder that holds it.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) ca: Ca,
    pub(crate) ca_file: PathBuf,
    pub(crate) dir: PkiDir,
}

impl Bench {
    /// A valid server: ECDSA, for `localhost` and the loopback addresses.
    pub(crate) fn sound() -> Self {
        Self::with(KeyKind::EcP256, |spec| spec, |tls| tls)
    }

    /// A server whose certificate and settings are changed.
    pub(crate) fn with(
        kind: KeyKind,
        leaf: impl FnOnce(LeafSpec) -> LeafSpec,
        tls: impl FnOnce(ServerTls) -> ServerTls,
    ) -> Self {
        let ca = Ca::root("bench root", kind);
        let identity = ca.issue(leaf(LeafSpec::local_server().key_kind(kind)));
        let server = Server::builder()
            .tls(tls(ServerTls::new(&identity)))
            .start();
        Self::around(server, ca)
    }

    /// Uses an existing server whose chain leads to `ca`.
    pub(crate) fn around(server: Server, ca: Ca) -> Self {
        let dir = PkiDir::new();
        let ca_file = dir.write("ca.pem", ca.cert_pem());
        Self {
            server,
            ca,
            ca_file,
            dir,
        }
    }

    /// A connection string for `localhost` with the CA file, and `options` (beginning with `&`).
    pub(crate) fn uri(&self, options: &str) -> String {
        self.uri_for("localhost", options)
    }

    /// A connection string for another name or address of this host.
    pub(crate) fn uri_for(&self, host: &str, options: &str) -> String {
        format!(
            "mongodb://{host}:{}/?tls=true&tlsCAFile={}{options}",
            self.server.port(),
            self.ca_file.display()
        )
    }

    /// Makes a handshake with options that only the builder has; the initial options lack the CA file. The doctor makes
    /// it, because it makes exactly one full one: a client's monitor makes one too, whose session is resumed.
    pub(crate) fn handshake(
        &self,
        change: impl FnOnce(TlsOptionsBuilder) -> TlsOptionsBuilder,
    ) -> Result<HandshakeReport, Error> {
        let tls = change(TlsOptions::builder()).build()?;
        let address = ServerAddress::tcp("localhost", self.server.port());
        let options = ClientOptions::builder().host(address).tls(tls).build()?;
        let examination = doctor::examine_options(&options).examinations.remove(0);
        match examination.error {
            Some(error) => Err(error),
            None => Ok(examination.handshake().unwrap().clone()),
        }
    }

    /// Turns the server into a router behind a load balancer, and returns the option for it: such a client has no
    /// monitors, so that each handshake belongs to a command.
    pub(crate) fn without_monitors(&self) -> &'static str {
        self.server.set_hello(|hello| {
            *hello = Hello::mongos();
            hello.extra = doc! { "serviceId": ObjectId::new() };
        });
        "&loadBalanced=true"
    }

    pub(crate) fn client(&self, options: &str) -> Client {
        Client::connect(&self.uri(options)).unwrap()
    }
}

/// The error of a first ping.
pub(crate) fn ping_error(uri: &str) -> Error {
    ping(uri).expect_err("the ping succeeded")
}

pub(crate) fn ping(uri: &str) -> Result<(), Error> {
    let client = Client::connect(uri)?;
    client
        .database("admin")
        .run_command(doc! { "ping": 1 })
        .map(|_| ())
}

/// The security level of clients on this host: OpenSSL's default is 1, and 2 from 3.2 on, but distributions such as
/// Debian change it.
pub(crate) fn security_level() -> u32 {
    let context = SslContext::builder(SslMethod::tls_client()).unwrap();
    context.build().security_level()
}

/// The size of an RSA key that is below that level: level 1 requires 1024 bits, level 2 requires 2048.
pub(crate) fn too_small_rsa() -> u32 {
    if security_level() < 2 { 768 } else { 1024 }
}

/// The code of an error's cause.
pub(crate) fn code(error: &Error) -> CauseCode {
    error
        .cause()
        .unwrap_or_else(|| panic!("no cause: {error}"))
        .code()
}

/// A fact of an error's cause, as text.
pub(crate) fn fact(error: &Error, key: &str) -> String {
    let facts = error
        .cause()
        .unwrap_or_else(|| panic!("no cause: {error}"))
        .facts();
    facts
        .get(key)
        .unwrap_or_else(|| panic!("no fact {key:?}: {facts:?}"))
        .to_string()
}

/// Runs `work` and fails unless it takes between `least` and `most`.
pub(crate) fn timed<T>(least: Duration, most: Duration, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let outcome = work();
    let took = started.elapsed();
    assert!(
        took >= least && took <= most,
        "took {took:?}, not between {least:?} and {most:?}"
    );
    outcome
}
/// A client of a server without TLS; `options` in the form of a connection string, or empty.
pub(crate) fn plain_client(server: &Server, options: &str) -> Client {
    Client::connect(&format!("{}?{options}", server.uri())).unwrap()
}

/// One ping on an existing client.
pub(crate) fn ping_on(client: &Client) -> Result<Document, Error> {
    client.database("admin").run_command(doc! { "ping": 1 })
}

/// Runs `work` and fails unless it ends at `limit`: not earlier, and at most a fifth of it later. The scheduler of a
/// busy machine gets 60 ms more.
pub(crate) fn at_limit<T>(limit: Duration, work: impl FnOnce() -> T) -> T {
    timed(limit, limit + limit / 5 + Duration::from_millis(60), work)
}

/// The body of a command without its session, which it must have.
pub(crate) fn without_session(body: &Document) -> Document {
    let mut body = body.clone();
    let session = body.remove("lsid");
    assert!(session.is_some(), "no session: {body}");
    body
}

/// Waits until a monitor has found the client's one server, so that commands can be sent to it.
pub(crate) fn expect_ready(client: &Client) {
    let until = Instant::now() + Duration::from_secs(10);
    while client.snapshot().pools[0].state != PoolState::Ready {
        assert!(Instant::now() < until, "{:?}", client.snapshot());
        thread::yield_now();
    }
}

/// Waits until a monitor's checks stream. Streaming begins half a second after the first check if the connection of
/// that check now belongs to the program.
pub(crate) fn expect_streaming(server: &Server) {
    let streams = |server: &Server| {
        let checks = server.checks().of_kind(CheckKind::Streaming);
        let last = checks.list().last().map(|check| check.connection);
        let mut connections = server.connections().into_iter();
        connections.any(|connection| connection.open && Some(connection.id) == last)
    };
    assert!(server.wait_until(Duration::from_secs(10), streams));
}

/// The commands on connections of the program, including their hellos; not the checks of monitors.
pub(crate) fn program_commands(server: &Server) -> Vec<Request> {
    let seen = server.program_connections();
    let mut commands = server.commands();
    commands.retain(|command| seen.iter().any(|it| it.id == command.connection));
    commands
}

/// Waits until the server has this number of connections that ran a command, and otherwise only those of monitors.
pub(crate) fn expect_program_open(server: &Server, connections: usize) {
    let open = |server: &Server| {
        let seen = server.program_connections().into_iter();
        seen.filter(|connection| connection.open).count()
    };
    let settled = server.wait_until(Duration::from_secs(5), |server| open(server) == connections);
    assert!(settled, "{} open, not {connections}", open(server));
}

/// Waits until the server has exactly this number of connections, including monitors'.
pub(crate) fn expect_open(server: &Server, connections: u64) {
    let settled = server.wait_until(Duration::from_secs(5), |server| {
        server.counts().open == connections
    });
    assert!(settled, "{:?}, not {connections} open", server.counts());
}

/// Keeps the single connection of the client busy while `work` runs, then releases it.
pub(crate) fn while_busy(server: &Server, client: &Client, work: impl FnOnce()) {
    let blocked = Duration::from_millis(1500);
    let block = doc! { "blockConnection": true, "blockTimeMS": 1500 };
    server.configure_fail_point(&fail_command(1, &["benchEcho"], block));
    thread::scope(|scope| {
        let started = Instant::now();
        let busy = scope.spawn(|| client.database("db").run_command(doc! { "benchEcho": 1 }));
        assert!(server.wait_until(
            Duration::from_secs(5),
            |server| server.count_of("benchEcho") == 1
        ));
        work();
        assert!(
            started.elapsed() < blocked,
            "the connection was free while it should be busy"
        );
        busy.join().unwrap().unwrap();
    });
}
