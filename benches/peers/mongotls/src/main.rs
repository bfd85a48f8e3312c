//! mongotls in the way that a program uses it.

use std::any::Any;
use std::hint::black_box;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use kit::documents::{BATCH, Item};
use kit::worker::{Peer, Pinger, Shape, Target, run, threads_now};
use mongotls::bson::{Document, RawDocumentBuf, rawdoc};
use mongotls::{Client, Command, Cursor};

fn main() -> ExitCode {
    run::<Mongotls>()
}

struct Mongotls(Target);

/// A client, and the command that it sends repeatedly.
#[derive(Clone)]
struct Handle {
    admin: mongotls::Database,
    bench: mongotls::Database,
    ping: RawDocumentBuf,
}

impl Peer for Mongotls {
    type Client = Handle;

    fn new(target: &Target) -> Self {
        Self(target.clone())
    }

    fn open(&self, options: &str) -> Handle {
        let client = Client::connect(&self.0.uri(options)).expect("a client");
        Handle {
            admin: client.database("admin"),
            bench: client.database("bench"),
            ping: rawdoc! { "ping": 1 },
        }
    }

    fn ping(client: &mut Handle) {
        let reply = client.admin.run_raw_command(client.ping.as_ref());
        black_box(reply.expect("a reply"));
    }

    fn settle(threads: usize) {
        // They hold the state that clients share.
        while threads_now() > threads {
            thread::sleep(Duration::from_micros(50));
        }
    }

    fn crew(&self, threads: usize, connections: usize) -> Vec<Pinger> {
        let client = self.open(&format!("&maxPoolSize={connections}"));
        let of_thread =
            |mut client: Handle| -> Pinger { Box::new(move || Self::ping(&mut client)) };
        (0..threads).map(|_| of_thread(client.clone())).collect()
    }

    fn read(client: &mut Handle, shape: Shape) -> Result<usize, &'static str> {
        Ok(match shape {
            Shape::Raw => {
                let mut cursor: Cursor = find(client);
                let mut count = 0;
                while cursor.advance().expect("a document") {
                    black_box(cursor.current());
                    count += 1;
                }
                count
            }
            Shape::Struct => count(find::<Item>(client)),
            Shape::Document => count(find::<Document>(client)),
        })
    }

    fn write(client: &mut Handle, documents: &[RawDocumentBuf]) {
        let insert =
            Command::from(rawdoc! { "insert": "documents" }).documents("documents", documents);
        let reply = client.bench.run_raw_command(insert);
        black_box(reply.expect("a reply"));
    }

    fn idle(&self, count: usize) -> Box<dyn Any> {
        let mut client = self.open(&format!("&minPoolSize={count}&maxPoolSize={count}"));
        Self::ping(&mut client);
        Box::new(client)
    }

    fn build(target: &Target) -> Box<dyn Any> {
        Box::new(Client::connect(&target.uri("")).expect("a client"))
    }
}

fn find<T>(client: &Handle) -> Cursor<T> {
    let size = BATCH as i32;
    let find = rawdoc! { "find": "documents", "batchSize": size };
    let cursor = client.bench.run_cursor_command(find).expect("a cursor");
    cursor.batch_size(size.unsigned_abs())
}

fn count<T>(documents: impl Iterator<Item = mongotls::Result<T>>) -> usize {
    let mut count = 0;
    for document in documents {
        black_box(document.expect("a document"));
        count += 1;
    }
    count
}
