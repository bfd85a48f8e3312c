//! The three pools, each with eight connections to the server of the test bench, over TCP without TLS.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use mongotls::bson::{doc, rawdoc};
use mongotls::event::{Event, EventKind, PoolEventKind};
use mongotls::{ClientOptions, ServerAddress};

use crate::CONNECTIONS;
use crate::common::{exchange, message};
use crate::load::Waits;

/// The pool of mongotls without its client.
pub(crate) fn our_pool(port: u16) -> mongotls::internals::Pool {
    let options = our_options(port).build().expect("sound options");
    let pool = mongotls::internals::Pool::new(&options, None).expect("a pool");
    pool.ready();
    pool
}

/// A client of mongotls; its waits are recorded if `waits` is given.
pub(crate) fn our_client(port: u16, waits: Option<Arc<Waits>>) -> mongotls::Client {
    let mut options = our_options(port);
    if let Some(waits) = waits {
        options = options.event_listener_for(&[EventKind::Pool], move |event| {
            if let Event::Pool(event) = event
                && let PoolEventKind::ConnectionCheckedOut { duration, .. } = event.kind
            {
                waits.note(duration);
            }
        });
    }
    let options = options.build().expect("sound options");
    mongotls::Client::with_options(options).expect("a client")
}

fn our_options(port: u16) -> mongotls::options::ClientOptionsBuilder {
    ClientOptions::builder()
        .hosts([ServerAddress::tcp("127.0.0.1", port)])
        .max_pool_size(CONNECTIONS)
}

/// The client of the `mongodb` crate, with the same options.
pub(crate) fn official_client(port: u16, waits: Option<Arc<Waits>>) -> mongodb::sync::Client {
    let address = mongodb::options::ServerAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port: Some(port),
    };
    let mut options = mongodb::options::ClientOptions::builder()
        .hosts(vec![address])
        .direct_connection(true)
        .max_pool_size(CONNECTIONS)
        .build();
    options.cmap_event_handler = waits.map(|waits| {
        EventHandler::callback(move |event| {
            if let CmapEvent::ConnectionCheckedOut(event) = event {
                waits.note(event.duration);
            }
        })
    });
    mongodb::sync::Client::with_options(options).expect("a client")
}

/// r2d2 with bare sockets, which it hands out without checking them.
pub(crate) fn r2d2_pool(port: u16) -> r2d2::Pool<Bare> {
    r2d2::Pool::builder()
        .max_size(CONNECTIONS)
        .test_on_check_out(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .build(Bare { port })
        .expect("a pool")
}

/// Makes sockets for r2d2.
#[derive(Debug)]
pub(crate) struct Bare {
    port: u16,
}

/// A socket with the message that it sends and the reply that it reads.
pub(crate) struct BareConnection {
    stream: TcpStream,
    ping: Vec<u8>,
    reply: Vec<u8>,
}

impl BareConnection {
    pub(crate) fn ping(&mut self) {
        exchange(&mut self.stream, &self.ping, &mut self.reply);
    }
}

impl r2d2::ManageConnection for Bare {
    // In a box, like the connections of mongotls: a pointer moves in and out of the pool.
    type Connection = Box<BareConnection>;
    type Error = io::Error;

    fn connect(&self) -> io::Result<Self::Connection> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        let mut connection = BareConnection {
            stream,
            ping: message(&rawdoc! { "hello": 1_i32, "$db": "admin" }),
            reply: Vec::new(),
        };
        connection.ping();
        connection.ping = message(&rawdoc! { "ping": 1_i32, "$db": "admin" });
        Ok(Box::new(connection))
    }

    fn is_valid(&self, _: &mut Self::Connection) -> io::Result<()> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Self::Connection) -> bool {
        false
    }
}

/// One ping with each of the three; r2d2's records its waits here.
pub(crate) struct Pingers {
    ours: mongotls::Database,
    r2d2: r2d2::Pool<Bare>,
    official: mongodb::sync::Database,
    /// In the order of [`NAMES`].
    waits: Option<[Arc<Waits>; 3]>,
}

/// The names of the peers.
pub(crate) const NAMES: [&str; 3] = ["mongotls", "r2d2", "mongodb"];

impl Pingers {
    pub(crate) fn new(port: u16, waits: Option<[Arc<Waits>; 3]>) -> Self {
        let of = |peer: usize| waits.as_ref().map(|waits| Arc::clone(&waits[peer]));
        Self {
            ours: our_client(port, of(0)).database("admin"),
            r2d2: r2d2_pool(port),
            official: official_client(port, of(2)).database("admin"),
            waits,
        }
    }

    pub(crate) fn ping(&self, peer: usize) {
        match peer {
            0 => {
                self.ours.run_command(doc! { "ping": 1 }).expect("a reply");
            }
            1 => {
                let asked = self.waits.is_some().then(Instant::now);
                let mut connection = self.r2d2.get().expect("a connection");
                if let (Some(asked), Some(waits)) = (asked, &self.waits) {
                    waits[1].note(asked.elapsed());
                }
                connection.ping();
            }
            _ => {
                let ping = self.official.run_command(mongodb::bson::doc! { "ping": 1 });
                ping.run().expect("a reply");
            }
        }
    }
}

/// Makes a pool establish all its connections.
pub(crate) fn fill<T>(check_out: impl Fn() -> T) {
    drop((0..CONNECTIONS).map(|_| check_out()).collect::<Vec<_>>());
}
