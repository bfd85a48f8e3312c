//! GridFS, on SecantusDB behind the bench, or on the bench alone where a server must misbehave.

mod chunks;
mod corrupt;
mod ends;
mod files;
mod indexes;

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Bson, Document, doc};
use mongotls::gridfs::GridFsBucket;
use mongotls::options::GridFsBucketOptions;
use mongotls::{Client, Collection, Database};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::server::Version;

/// A database of its own on a store, with a bucket whose chunks have four bytes.
struct Store {
    deployment: Deployment,
    database: Database,
    bucket: GridFsBucket,
}

impl Store {
    fn start() -> Option<Self> {
        let backend = or_skip(Secantus::shared())?.backend();
        let deployment = Deployment::start(Topology::ReplicaSet, Version::V8_2, &backend);
        let client = Client::connect(&deployment.uri("")).unwrap();
        let database = client.database(&ObjectId::new().to_hex());
        Some(Self {
            deployment,
            bucket: bucket(&database, 4),
            database,
        })
    }

    fn files(&self) -> Collection<Document> {
        self.database.collection("fs.files")
    }

    fn chunks(&self) -> Collection<Document> {
        self.database.collection("fs.chunks")
    }

    /// The numbers of the chunks of a file.
    fn numbers(&self, id: &Bson) -> Vec<i32> {
        let chunks = self.chunks();
        let found = chunks
            .find(doc! { "files_id": id.clone() })
            .sort(doc! { "n": 1 });
        let chunks = found.run().unwrap().map(|chunk| chunk.unwrap());
        chunks.map(|chunk| chunk.get_i32("n").unwrap()).collect()
    }

    /// Uploads a file with the ID `id`.
    fn put(&self, id: i32, name: &str, content: &[u8]) {
        let upload = self.bucket.upload_from_stream(name, content).id(id);
        assert_eq!(upload.run().unwrap(), Bson::Int32(id));
    }

    fn get(&self, id: impl Into<Bson>) -> mongotls::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.bucket.download_to_stream(id, &mut content).run()?;
        Ok(content)
    }
}

fn bucket(database: &Database, chunk_size: u32) -> GridFsBucket {
    database.gridfs_bucket(GridFsBucketOptions::default().chunk_size_bytes(chunk_size))
}

/// The error of this crate in one of `std::io`.
fn inner(error: &std::io::Error) -> &mongotls::Error {
    let inner = error.get_ref().unwrap();
    inner.downcast_ref().unwrap()
}
