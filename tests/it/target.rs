//! What the tests of failing servers share: a server to spoil, with TLS or without, and how many
//! bytes it sends at each stage.
//!
//! Times are here too: the limit that such tests wait for, and one far beyond what ends by itself.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use mongotls::options::TlsOptions;
use mongotls::tls::TlsContext;
use mongotls::{Client, Stage};
use mongotls_testbench::fault::Action;
use mongotls_testbench::pki::KeyKind;
use mongotls_testbench::server::Server;
use openssl::ssl::SslVersion;

use crate::common::{Bench, ping_on, plain_client};

/// The limit of tests that wait for it.
pub(crate) const LIMIT: Duration = Duration::from_millis(800);

/// Long enough to show that something ended by itself.
pub(crate) const FAR: Duration = Duration::from_secs(5);

/// A byte at a time, with a pause of so many milliseconds before each: never long enough a silence for
/// a limit on each read.
///
/// With 600 the last byte before [`LIMIT`] comes late, so that a read which is given the whole limit
/// anew ends far behind it.
pub(crate) fn trickle(pause: u64) -> Action {
    Action::Trickle {
        bytes: 1,
        interval: Duration::from_millis(pause),
    }
}

/// A server of the bench with TLS or without, and what a connection string to it holds.
pub(crate) struct Target {
    pub(crate) bench: Option<Bench>,
    pub(crate) plain: Option<Server>,
}

impl Target {
    pub(crate) fn new(tls: bool) -> Self {
        Self {
            bench: tls.then(Bench::sound),
            plain: (!tls).then(|| Server::builder().start()),
        }
    }

    pub(crate) fn server(&self) -> &Server {
        self.bench
            .as_ref()
            .map(|bench| &bench.server)
            .or(self.plain.as_ref())
            .unwrap()
    }

    /// A client with these options (`name=value&…`).
    pub(crate) fn client(&self, options: &str) -> Client {
        match &self.bench {
            // By address: no resolver and no second family of addresses in what is timed.
            Some(bench) => {
                Client::connect(&bench.uri_for("127.0.0.1", &format!("&{options}"))).unwrap()
            }
            None => plain_client(self.server(), options),
        }
    }
}

/// Runs `check` for each case at once, since most of them only wait.
pub(crate) fn for_each<C: Send>(cases: impl IntoIterator<Item = C>, check: impl Fn(C) + Sync) {
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| check(case));
        }
    });
}

/// How many bytes a server sends for one connection with one ping, one stage after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    pub(crate) handshake: u64,
    pub(crate) hello: u64,
    pub(crate) ping: u64,
}

impl Lengths {
    /// Counts them on sound connections.
    pub(crate) fn measure(bench: Option<&Bench>, server: &Server, client: &Client) -> Self {
        let sent = || server.counts().sent;
        let begin = sent();
        // Kept until the end: closing it would draw a close_notify.
        let _alone = bench.map(|bench| {
            let options = TlsOptions::builder()
                .ca_file(&bench.ca_file)
                .build()
                .unwrap();
            let stream = TcpStream::connect(server.addr()).unwrap();
            let context = TlsContext::new(&options).unwrap();
            context.connect("127.0.0.1", stream).unwrap()
        });
        let handshake = sent() - begin;
        client.server_report().unwrap();
        let hello = sent() - begin - 2 * handshake;
        ping_on(client).unwrap();
        let ping = sent() - begin - 2 * handshake - hello;
        Self {
            handshake,
            hello,
            ping,
        }
    }

    pub(crate) fn total(self) -> u64 {
        self.handshake + self.hello + self.ping
    }

    /// At which stage a client is that has got so many bytes and no more.
    pub(crate) fn stage(self, after: u64) -> Stage {
        match after {
            after if after < self.handshake => Stage::Tls,
            after if after < self.handshake + self.hello => Stage::Hello,
            _ => Stage::Command,
        }
    }
}

/// A server whose handshakes are of the same length each time: Ed25519 signatures have one length,
/// and there are no tickets, which hold a number of varying length.
pub(crate) fn steady(version: SslVersion) -> Bench {
    Bench::with(
        KeyKind::Ed25519,
        |spec| spec,
        |tls| tls.tickets(0).versions(version, version),
    )
}
