//! The floor: a bare program on the `openssl` crate that writes prepared messages and reads replies without parsing
//! them. It shows only the cost of TLS and of the system, which every client has.
//!
//! Its context is built once for all clients. It resumes no session, and reads in OpenSSL's default way.

mod connection;
mod messages;

use std::any::Any;
use std::cell::OnceCell;
use std::fs;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex};

use bson::RawDocumentBuf;
use kit::documents::{BATCH, Sale};
use kit::worker::{Peer, Pinger, Shape, Target, run};
use openssl::ssl::{SslContext, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;

use self::connection::Connection;
use self::messages::{
    CHUNKS_SIZE, find_chunks, find_one, get_more_chunks, insert, insert_chunks, update,
};

fn main() -> ExitCode {
    run::<Floor>()
}

struct Floor {
    target: Target,
    /// Built when it is needed, so that `build` is the first use of OpenSSL in its process.
    context: OnceCell<SslContext>,
}

impl Floor {
    fn context(&self) -> &SslContext {
        self.context.get_or_init(|| context(&self.target))
    }
}

/// A client: its connection, and its source.
struct Client {
    port: u16,
    context: SslContext,
    connection: Connection,
}

impl Peer for Floor {
    type Client = Client;

    fn new(target: &Target) -> Self {
        Self {
            target: target.clone(),
            context: OnceCell::new(),
        }
    }

    fn open(&self, _: &str) -> Client {
        Client {
            port: self.target.port,
            context: self.context().clone(),
            connection: Connection::new(self.context(), self.target.port),
        }
    }

    fn ping(client: &mut Client) {
        client.connection.ping();
    }

    fn fresh_ping(client: &mut Client) {
        client.connection = Connection::new(&client.context, client.port);
        client.connection.ping();
    }

    fn crew(&self, threads: usize, connections: usize) -> Vec<Pinger> {
        let made = (0..connections).map(|_| Connection::new(self.context(), self.target.port));
        if threads == connections {
            return made.map(own).collect();
        }
        let queue = Arc::new(Queue::new(made.collect()));
        (0..threads)
            .map(|_| taken_from(Arc::clone(&queue)))
            .collect()
    }

    fn read(client: &mut Client, shape: Shape) -> Result<usize, &'static str> {
        match shape {
            // The floor does not convert the bytes: there is one floor for all shapes.
            Shape::Raw | Shape::Struct | Shape::Borrowed | Shape::Document => {
                Ok(client.connection.read_all())
            }
        }
    }

    fn write(client: &mut Client, documents: &[RawDocumentBuf]) {
        client.connection.write(|| insert(documents));
    }

    fn insert_one(client: &mut Client, sale: &Sale) {
        client.connection.write(|| insert(&[sale.stored()]));
    }

    fn find_one(client: &mut Client) {
        client.connection.write(find_one);
    }

    fn insert_many(client: &mut Client, sales: &[Sale]) -> usize {
        let batches = sales.chunks(BATCH);
        for batch in batches.clone() {
            let documents = || batch.iter().map(Sale::stored).collect::<Vec<_>>();
            client.connection.write(|| insert(&documents()));
        }
        batches.map(<[Sale]>::len).sum()
    }

    fn bulk(client: &mut Client, count: usize) -> usize {
        (0..count / BATCH).for_each(|_| client.connection.write(update));
        count / BATCH * BATCH
    }

    fn upload(client: &mut Client, size: u64) {
        (0..size.div_ceil(CHUNKS_SIZE)).for_each(|_| client.connection.write(insert_chunks));
    }

    fn download(client: &mut Client, size: u64) -> u64 {
        let (find, next) = (find_chunks(size), get_more_chunks());
        let batches = client.connection.read_cursor(&find, next) as u64;
        assert_eq!(batches, size.div_ceil(CHUNKS_SIZE), "all batches are read");
        size
    }

    fn idle(&self, count: usize) -> Box<dyn Any> {
        let connections = (0..count).map(|_| {
            let mut connection = Connection::new(self.context(), self.target.port);
            connection.ping();
            connection
        });
        Box::new(connections.collect::<Vec<_>>())
    }

    fn build(target: &Target) -> Box<dyn Any> {
        Box::new(context(target))
    }
}

/// A context that a careful program would build.
fn context(target: &Target) -> SslContext {
    let mut builder = SslContext::builder(SslMethod::tls_client()).expect("a context");
    if let Some(path) = &target.ca_file {
        let pem = fs::read(path).expect("the CA file");
        let mut store = X509StoreBuilder::new().expect("a store");
        for certificate in X509::stack_from_pem(&pem).expect("certificates") {
            store.add_cert(certificate).expect("a certificate");
        }
        builder.set_cert_store(store.build());
    } else {
        builder
            .set_default_verify_paths()
            .expect("the system's trust anchors");
    }
    builder.set_verify(SslVerifyMode::PEER);
    builder.build()
}

fn own(mut connection: Connection) -> Pinger {
    Box::new(move || connection.ping())
}

fn taken_from(queue: Arc<Queue>) -> Pinger {
    Box::new(move || {
        let mut connection = queue.take();
        connection.ping();
        queue.give_back(connection);
    })
}

/// Connections that threads use in turn, as simple as possible.
struct Queue {
    free: Mutex<Vec<Connection>>,
    given_back: Condvar,
}

impl Queue {
    fn new(free: Vec<Connection>) -> Self {
        Self {
            free: Mutex::new(free),
            given_back: Condvar::new(),
        }
    }

    fn take(&self) -> Connection {
        let mut free = self.free.lock().expect("no panic");
        loop {
            match free.pop() {
                Some(connection) => return connection,
                None => free = self.given_back.wait(free).expect("no panic"),
            }
        }
    }

    fn give_back(&self, connection: Connection) {
        self.free.lock().expect("no panic").push(connection);
        self.given_back.notify_one();
    }
}
