//! The `mongodb` crate in the way that a program uses it.

use std::any::Any;
use std::hint::black_box;
use std::io::{Read, Write};
use std::process::ExitCode;

use kit::documents::{BATCH, BorrowedItem, Item, Sale, filter, update};
use kit::worker::{PIECE, Peer, Pinger, Shape, Target, run};
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::{UpdateOneModel, WriteModel};
use mongodb::sync::{Client, Collection, Cursor, Database};

/// The program.
pub fn main() -> ExitCode {
    run::<Official>()
}

struct Official(Target);

/// A client's databases.
#[derive(Clone)]
struct Handle {
    client: Client,
    admin: Database,
    bench: Database,
    sales: Collection<Sale>,
    one: Collection<Item>,
}

impl Peer for Official {
    type Client = Handle;

    fn new(target: &Target) -> Self {
        Self(target.clone())
    }

    fn open(&self, options: &str) -> Handle {
        let client = Client::with_uri_str(self.0.uri(options)).expect("a client");
        let bench = client.database("bench");
        Handle {
            admin: client.database("admin"),
            sales: bench.collection("documents"),
            one: bench.collection("one"),
            bench,
            client,
        }
    }

    fn ping(client: &mut Handle) {
        let reply = client.admin.run_command(doc! { "ping": 1 }).run();
        black_box(reply.expect("a reply"));
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
                let mut cursor = find::<RawDocumentBuf>(client);
                let mut count = 0;
                while cursor.advance().expect("a document") {
                    black_box(cursor.current());
                    count += 1;
                }
                count
            }
            Shape::Struct => count(find::<Item>(client)),
            Shape::Borrowed => {
                let mut cursor = find::<BorrowedItem<'_>>(client);
                let mut count = 0;
                while cursor.advance().expect("a document") {
                    black_box(cursor.deserialize_current().expect("a document"));
                    count += 1;
                }
                count
            }
            Shape::Document => count(find::<Document>(client)),
        })
    }

    fn write(client: &mut Handle, documents: &[RawDocumentBuf]) {
        let documents = documents.iter().map(AsRef::as_ref);
        let inserted = client
            .bench
            .collection::<&mongodb::bson::RawDocument>("documents")
            .insert_many(documents)
            .run();
        black_box(inserted.expect("a reply"));
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
        let namespace = client.sales.namespace();
        let models = (0..count).map(|number| {
            let model = UpdateOneModel::builder()
                .namespace(namespace.clone())
                .filter(filter(number))
                .update(update());
            WriteModel::UpdateOne(model.build())
        });
        let written = client.client.bulk_write(models).run();
        written.expect("a reply").matched_count as usize
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
        // The number of connections that are made in parallel each half second: the default is two, which takes a
        // minute for 200, and 50 of them leave each connection a tenth more memory.
        let options = format!("&minPoolSize={count}&maxPoolSize={count}&maxConnecting=5");
        let mut client = self.open(&options);
        Self::ping(&mut client);
        Box::new(client)
    }

    fn build(target: &Target) -> Box<dyn Any> {
        Box::new(Client::with_uri_str(target.uri("")).expect("a client"))
    }
}

fn find<T: Send + Sync>(client: &Handle) -> Cursor<T> {
    let collection: Collection<T> = client.bench.collection("documents");
    let found = collection.find(doc! {}).batch_size(BATCH as u32).run();
    found.expect("a cursor")
}

fn count<T>(documents: impl Iterator<Item = mongodb::error::Result<T>>) -> usize {
    let mut count = 0;
    for document in documents {
        black_box(document.expect("a document"));
        count += 1;
    }
    count
}
