//! mongotls in the way that a program uses it.

use std::any::Any;
use std::hint::black_box;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use kit::documents::{BATCH, BorrowedItem, Item, Sale, filter, update};
use kit::worker::{PIECE, Peer, Pinger, Shape, Target, run, threads_now};
use mongotls::bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use mongotls::{Client, Collection, Command, Cursor};

fn main() -> ExitCode {
    run::<Mongotls>()
}

struct Mongotls(Target);

/// A client, and the command that it sends repeatedly.
#[derive(Clone)]
struct Handle {
    admin: mongotls::Database,
    bench: mongotls::Database,
    sales: Collection<Sale>,
    one: Collection<Item>,
    ping: RawDocumentBuf,
}

impl Peer for Mongotls {
    type Client = Handle;

    fn new(target: &Target) -> Self {
        Self(target.clone())
    }

    fn open(&self, options: &str) -> Handle {
        let client = Client::connect(&self.0.uri(options)).expect("a client");
        let bench = client.database("bench");
        Handle {
            admin: client.database("admin"),
            sales: bench.collection("documents"),
            one: bench.collection("one"),
            bench,
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
            Shape::Borrowed => {
                let mut cursor: Cursor = find(client);
                let mut count = 0;
                while let Some(item) = cursor.next_as::<BorrowedItem<'_>>().expect("a document") {
                    black_box(item);
                    count += 1;
                }
                count
            }
            Shape::Document => count(find::<Document>(client)),
        })
    }

    fn write(client: &mut Handle, documents: &[RawDocumentBuf]) {
        let insert =
            Command::from(rawdoc! { "insert": "documents" }).documents("documents", documents);
        let reply = client.bench.run_raw_command(insert);
        black_box(reply.expect("a reply"));
    }

    fn insert_one(client: &mut Handle, sale: &Sale) {
        black_box(client.sales.insert_one(sale).run().expect("a reply"));
    }

    fn find_one(client: &mut Handle) {
        let found = client.one.find_one(doc! { "number": 0 }).run();
        black_box(found.expect("a reply").expect("a document"));
    }

    fn insert_many(client: &mut Handle, sales: &[Sale]) -> usize {
        let inserted = client.sales.insert_many(sales).run();
        inserted.expect("a reply").inserted_ids.len()
    }

    fn bulk(client: &mut Handle, count: usize) -> usize {
        let mut bulk = client.sales.bulk().flush_at(1 << 20);
        for number in 0..count {
            bulk.update_one(filter(number), update());
        }
        bulk.run().expect("a reply").matched_count as usize
    }

    fn upload(client: &mut Handle, size: u64) {
        let bucket = client.bench.gridfs_bucket(None);
        let upload = bucket.open_upload_stream("file").run();
        let (mut upload, piece) = (upload.expect("an upload"), vec![7; PIECE]);
        for _ in 0..size / PIECE as u64 {
            upload.write_all(&piece).expect("a piece");
        }
        upload.close().expect("a file");
    }

    fn download(client: &mut Handle, size: u64) -> u64 {
        let bucket = client.bench.gridfs_bucket(None);
        let id = Bson::Int64(size.try_into().expect("a size"));
        let download = bucket.open_download_stream(id).run();
        let (mut download, mut piece) = (download.expect("a download"), vec![0; PIECE]);
        let mut all = 0;
        loop {
            match download.read(&mut piece).expect("a piece") {
                0 => return all,
                read => all += read as u64,
            }
        }
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
    let documents: Collection<T> = client.bench.collection("documents");
    let found = documents.find(doc! {}).batch_size(BATCH as u32).run();
    found.expect("a cursor")
}

fn count<T>(documents: impl Iterator<Item = mongotls::Result<T>>) -> usize {
    let mut count = 0;
    for document in documents {
        black_box(document.expect("a document"));
        count += 1;
    }
    count
}
