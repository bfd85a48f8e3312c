//! The common parts of the tests with failing servers: a server to break, with TLS or without, and the number of bytes
//! that it sends at each stage.
//!
//! Times are here too: the limit that such tests wait for, and one far beyond every event that happens without a limit.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use mongotls::error::Stage;
use mongotls::options::{DriverInfo, TlsOptions};
use mongotls::tls::TlsContext;
use mongotls::{Client, Error, ErrorKind, doctor};
use mongotls_testbench::fault::Action;
use mongotls_testbench::pki::KeyKind;
use mongotls_testbench::server::Server;
use openssl::ssl::SslVersion;

use crate::common::{Bench, expect_ready, ping_error, ping_on};

/// The limit of tests that wait for it.
pub(crate) const LIMIT: Duration = Duration::from_millis(800);

/// Long enough to show that something ended without a limit.
pub(crate) const FAR: Duration = Duration::from_secs(5);

/// One byte at a time, with a pause of this number of milliseconds before each: never long enough for a limit on each
/// read.
///
/// With 600 the last byte before [`LIMIT`] comes late, so that a read with the whole limit for itself ends far after
/// it.
pub(crate) fn trickle(pause: u64) -> Action {
    Action::Trickle {
        bytes: 1,
        interval: Duration::from_millis(pause),
    }
}

/// A server of the bench with TLS or without, and the parts of a connection string for it.
pub(crate) struct Target {
    pub(crate) bench: Option<Bench>,
    pub(crate) plain: Option<Server>,
}

impl Target {
    pub(crate) fn new(tls: bool) -> Self {
        Self::with(tls.then(Bench::sound))
    }

    /// A server without resumption: each handshake is a full one.
    pub(crate) fn without_tickets(tls: bool) -> Self {
        let bench = || Bench::with(KeyKind::EcP256, |spec| spec, |tls| tls.tickets(0));
        Self::with(tls.then(bench))
    }

    /// The server of `bench`, or one without TLS.
    pub(crate) fn with(bench: Option<Bench>) -> Self {
        Self {
            plain: bench.is_none().then(|| Server::builder().start()),
            bench,
        }
    }

    pub(crate) fn server(&self) -> &Server {
        self.bench
            .as_ref()
            .map(|bench| &bench.server)
            .or(self.plain.as_ref())
            .unwrap()
    }

    /// A connection string with these options (`name=value&…`).
    pub(crate) fn uri(&self, options: &str) -> String {
        match &self.bench {
            // By address: no resolver and no second address family in the measured time.
            Some(bench) => bench.uri_for("127.0.0.1", &format!("&{options}")),
            None => format!("{}?{options}", self.server().uri()),
        }
    }

    /// A client with these options.
    pub(crate) fn client(&self, options: &str) -> Client {
        Client::connect(&self.uri(options)).unwrap()
    }

    /// A client with these options, whose [monitor is idle](at_rest).
    pub(crate) fn settled(&self, options: &str) -> Client {
        at_rest(&self.uri(options))
    }
}

/// A client whose monitor has checked the server and does so again after ten minutes or on request. The program's first
/// command uses the monitor's connection. `uri` ends at least with a `?`.
pub(crate) fn checked(uri: &str) -> Client {
    let uri = format!("{uri}&serverMonitoringMode=poll&heartbeatFrequencyMS=600000");
    let client = Client::connect(&uri).unwrap();
    expect_ready(&client);
    client
}

/// A checked client whose [first connection of the program is a new one](dial_anew): the next that the server receives.
pub(crate) fn at_rest(uri: &str) -> Client {
    let client = checked(uri);
    dial_anew(&client);
    client
}

/// Makes a client's pool dial next, instead of adopting the monitor's connection: the hello of that connection contains
/// less data about the client than later ones do. The pool closes it when it dials, and the monitor opens another one
/// for its next check.
pub(crate) fn dial_anew(client: &Client) {
    client.append_metadata(&DriverInfo::new("anew")).unwrap();
}

/// The error of one attempt to connect, and of a ping after it: that of the doctor's examination of the first host.
pub(crate) fn attempt_error(uri: &str) -> Error {
    let examination = doctor::examine(uri).examinations.remove(0);
    examination.error.expect("the attempt succeeded")
}

/// The error of a client that waits for a server until [`LIMIT`]: it reports the wait, and the cause of the failed
/// attempts.
pub(crate) fn waiting_error(uri: &str) -> Error {
    let joint = if uri.contains('?') { '&' } else { '?' };
    let limit = LIMIT.as_millis();
    let error = ping_error(&format!("{uri}{joint}serverSelectionTimeoutMS={limit}"));
    let text = error.to_string();
    let cause = error.cause().unwrap_or_else(|| panic!("no cause: {text}"));
    assert_eq!((error.kind(), error.stage()), (ErrorKind::Timeout, None));
    assert!(
        text.starts_with(&format!(
            "no server for a read by primary within {limit} ms (serverSelectionTimeoutMS): "
        )),
        "{text}"
    );
    let told = format!(
        "{} [{}]\n      remedy: {}",
        cause.message(),
        cause.code(),
        cause.remedy()
    );
    assert!(text.contains(&told), "{told:?} in {text}");
    error
}

/// Runs `check` for all cases in parallel, since most of them only wait.
pub(crate) fn for_each<C: Send>(cases: impl IntoIterator<Item = C>, check: impl Fn(C) + Sync) {
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| check(case));
        }
    });
}

/// The number of bytes that a server sends for one connection with one ping, stage by stage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    pub(crate) handshake: u64,
    pub(crate) hello: u64,
    pub(crate) ping: u64,
}

impl Lengths {
    /// Counts them on the connections of a client that is the first one of its server and [has checked it](checked): on
    /// the monitor's, whose hello equals the program's, and which the ping uses. No handshake may resume a session.
    pub(crate) fn measure(bench: Option<&Bench>, server: &Server, client: &Client) -> Self {
        let sent = || server.counts().sent;
        let greeted = sent();
        // Kept until the end: closing it would cause a close_notify.
        let _alone = bench.map(|bench| {
            let options = TlsOptions::builder()
                .ca_file(&bench.ca_file)
                .build()
                .unwrap();
            let stream = TcpStream::connect(server.addr()).unwrap();
            let context = TlsContext::new(&options).unwrap();
            context.connect("127.0.0.1", stream).unwrap()
        });
        let handshake = sent() - greeted;
        let hello = greeted - handshake;
        ping_on(client).unwrap();
        let ping = sent() - greeted - handshake;
        Self {
            handshake,
            hello,
            ping,
        }
    }

    pub(crate) fn total(self) -> u64 {
        self.handshake + self.hello + self.ping
    }

    /// The stage of a client that has received exactly this number of bytes.
    pub(crate) fn stage(self, after: u64) -> Stage {
        match after {
            after if after < self.handshake => Stage::Tls,
            after if after < self.handshake + self.hello => Stage::Hello,
            _ => Stage::Command,
        }
    }
}

/// A server whose handshakes have equal lengths: Ed25519 signatures have one length, and there are no tickets, which
/// contain a number of varying length.
pub(crate) fn steady(version: SslVersion) -> Bench {
    Bench::with(
        KeyKind::Ed25519,
        |spec| spec,
        |tls| tls.tickets(0).versions(version, version),
    )
}
