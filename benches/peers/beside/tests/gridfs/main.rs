//! Files of GridFS that one driver writes and another one reads, byte for byte: this crate, the `mongodb` crate and PyMongo.
//!
//! Each of them writes files of random sizes to a bucket of its own, and each reads all files of each bucket. The store is
//! SecantusDB. `MONGOTLS_GRIDFS_FILES` sets the number of files of this crate (default: 1,000); the others write half of it
//! each.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::Command;

use mongotls::options::GridFsBucketOptions;
use mongotls_testbench::peers::{Secantus, SecantusOptions, or_skip};
use mongotls_testbench::random::Random;

/// Chunks that make many files have several.
const CHUNK_SIZE: u32 = 1000;

/// The contents by the names of the files.
type Files = BTreeMap<String, Vec<u8>>;

/// Files of random sizes: around the end of a chunk, of a few chunks, of a batch of chunks, and of usual chunks.
fn files(seed: u64, count: usize) -> Files {
    let mut random = Random::seeded(seed);
    let mut files = Files::new();
    for number in 0..count {
        let size = match number % 50 {
            0 => random.below(1_500_000),
            1..10 => (random.below(4) * 1000 + random.below(3)).saturating_sub(1),
            _ => random.below(20_000),
        };
        let mut content = Vec::with_capacity(size + 8);
        while content.len() < size {
            content.extend(random.number().to_le_bytes());
        }
        content.truncate(size);
        files.insert(format!("{seed}-{number}"), content);
    }
    files
}

/// The size of the chunks of a file. Small ones make a large file slow.
fn chunk_size(content: &[u8]) -> u32 {
    match content.len() > 100_000 {
        true => 255 << 10,
        false => CHUNK_SIZE,
    }
}

trait Peer {
    fn write(&self, bucket: &str, files: &Files);
    fn read(&self, bucket: &str, names: &[String]) -> Files;
}

struct Mongotls(mongotls::Database);

impl Mongotls {
    fn bucket(&self, name: &str) -> mongotls::gridfs::GridFsBucket {
        let options = GridFsBucketOptions::default().bucket_name(name);
        self.0.gridfs_bucket(options)
    }
}

impl Peer for Mongotls {
    fn write(&self, bucket: &str, files: &Files) {
        let bucket = self.bucket(bucket);
        for (name, content) in files {
            let upload = bucket.open_upload_stream(name);
            let mut upload = upload.chunk_size_bytes(chunk_size(content)).run().unwrap();
            // Pieces that do not fit the chunks.
            for piece in content.chunks(777) {
                upload.write_all(piece).unwrap();
            }
            upload.finish().unwrap();
        }
    }

    fn read(&self, bucket: &str, names: &[String]) -> Files {
        let bucket = self.bucket(bucket);
        let read = |name: &String| {
            let mut content = Vec::new();
            let download = bucket.open_download_stream_by_name(name).run();
            download.unwrap().read_to_end(&mut content).unwrap();
            (name.clone(), content)
        };
        names.iter().map(read).collect()
    }
}

struct Official(mongodb::sync::Database);

impl Official {
    fn bucket(&self, name: &str) -> mongodb::sync::gridfs::GridFsBucket {
        let options = mongodb::options::GridFsBucketOptions::builder();
        let options = options.bucket_name(name.to_owned()).build();
        self.0.gridfs_bucket(options)
    }
}

impl Peer for Official {
    fn write(&self, bucket: &str, files: &Files) {
        let bucket = self.bucket(bucket);
        for (name, content) in files {
            let upload = bucket.open_upload_stream(name);
            let mut upload = upload.chunk_size_bytes(chunk_size(content)).run().unwrap();
            upload.write_all(content).unwrap();
            upload.close().unwrap();
        }
    }

    fn read(&self, bucket: &str, names: &[String]) -> Files {
        let bucket = self.bucket(bucket);
        let read = |name: &String| {
            let mut content = Vec::new();
            let download = bucket.open_download_stream_by_name(name).run();
            download.unwrap().read_to_end(&mut content).unwrap();
            (name.clone(), content)
        };
        names.iter().map(read).collect()
    }
}

/// A process that exchanges the contents as files of a folder.
struct Pymongo {
    uri: String,
    folder: tempfile::TempDir,
}

impl Pymongo {
    fn run(&self, task: &str, bucket: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gridfs/peer.py");
        let python = Secantus::python().expect("PyMongo");
        let mut command = Command::new(python);
        let command = command.args([script, task, &self.uri, bucket]);
        let output = command.arg(self.folder.path()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
    }
}

impl Peer for Pymongo {
    fn write(&self, bucket: &str, files: &Files) {
        for (name, content) in files {
            let chunk_size = chunk_size(content);
            let path = self.folder.path().join(format!("{name}.{chunk_size}"));
            std::fs::write(path, content).unwrap();
        }
        self.run("write", bucket);
    }

    fn read(&self, bucket: &str, names: &[String]) -> Files {
        self.run("read", bucket);
        let read = |name: &String| {
            let path = self.folder.path().join(name);
            let content = std::fs::read(&path).unwrap();
            std::fs::remove_file(path).unwrap();
            (name.clone(), content)
        };
        names.iter().map(read).collect()
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures are the result")]
fn files_are_the_same_for_all_drivers() {
    let Some(store) = or_skip(Secantus::start(&SecantusOptions::plain())) else {
        return;
    };
    let count = std::env::var("MONGOTLS_GRIDFS_FILES").ok();
    let count = count.map_or(1000, |count| count.parse().expect("a number"));
    let uri = format!("mongodb://{}/", store.addr());
    let client = mongotls::Client::connect(&uri).unwrap();
    let official = mongodb::sync::Client::with_uri_str(&uri).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let peers: [(&str, &dyn Peer, usize); 3] = [
        ("mongotls", &Mongotls(client.database("interop")), count),
        (
            "mongodb",
            &Official(official.database("interop")),
            count / 2,
        ),
        ("PyMongo", &Pymongo { uri, folder }, count / 2),
    ];
    for (seed, (writer, peer, count)) in peers.iter().enumerate() {
        let files = files(seed as u64 + 1, *count);
        let bucket = format!("of_{writer}");
        peer.write(&bucket, &files);
        let names: Vec<String> = files.keys().cloned().collect();
        let bytes: usize = files.values().map(Vec::len).sum();
        for (reader, peer, _) in &peers {
            let read = peer.read(&bucket, &names);
            for (name, content) in &files {
                assert!(
                    read[name] == *content,
                    "{name} of {writer}, read by {reader}"
                );
            }
            println!("{count} files of {writer}, {bytes} bytes: read by {reader}");
        }
    }
}
