//! The peak memory of large writes and of large files, above that of the idle client.
//!
//! `cargo bench --bench memory` inserts ten million documents of 256 bytes from an iterator, sends a million updates
//! with a bulk write that is flushed at 1 MiB, and uploads and downloads a file of 4 GiB. Each of them has a process of its
//! own: this program, started again with the name of the work. So has the server, the lean one of the test bench. A number
//! as the argument divides the numbers of documents, and the size of the file.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers"
)]

mod common;

use std::env;
use std::fs;
use std::io::{self, Read};
use std::process::Command;

use mongotls::bson::{Document, doc};
use mongotls::{Client, Database};
use mongotls_testbench::lean::LeanServer;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::ServerTls;
use serde::Serialize;

use self::common::{ServerProcess, times, wait_for_the_end};

/// The numbers of documents and of updates.
const INSERTED: u32 = 10_000_000;
const UPDATED: u32 = 1_000_000;

/// The size of the file, in MiB.
const FILE: u32 = 4096;

/// The size at which the bulk is flushed; that of a batch of `insert_many` is the same.
const BATCH: usize = 1 << 20;

/// Does its work with a part of the usual number of documents, and prints a row.
type Work = fn(&Database, u32);

const WORKS: [(&str, Work); 4] = [
    ("insert", insert),
    ("update", bulk_update),
    ("upload", upload),
    ("download", download),
];

/// With its `_id` it takes 256 bytes.
#[derive(Serialize)]
struct Thing {
    number: i64,
    text: String,
}

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "serve") {
        return serve();
    }
    let part = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1);
    let named = |word: &String| WORKS.iter().find(|(name, _)| name == word);
    if let Some((_, work)) = words.iter().find_map(named) {
        let server = ServerProcess::start();
        let (port, ca_file) = server.ready.split_once(' ').unwrap();
        let uri = format!("mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={ca_file}");
        let client = Client::connect(&uri).unwrap();
        let bench = client.database("bench");
        bench.run_command(doc! { "ping": 1 }).unwrap();
        return work(&bench, part);
    }
    println!("| | number | size of all | idle | peak above it | CPU each |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (name, _) in WORKS {
        let mut work = Command::new(env::current_exe().unwrap());
        let status = work.args([name, &part.to_string()]).status().unwrap();
        assert!(status.success(), "{name}");
    }
}

fn insert(bench: &Database, part: u32) {
    let count = INSERTED / part;
    let things = (0..count).map(|number| Thing {
        number: number.into(),
        text: "x".repeat(207),
    });
    let collection = bench.collection::<Thing>("things");
    measure("insert_many, `count_only()`", count, 256, &mut || {
        let insert = collection.insert_many(things.clone()).count_only();
        assert_eq!(insert.run().unwrap().inserted_count, u64::from(count));
    });
}

fn bulk_update(bench: &Database, part: u32) {
    let count = UPDATED / part;
    let one = doc! { "q": filter(0), "u": update() };
    let size = one.to_vec().unwrap().len();
    let collection = bench.collection::<Document>("things");
    let title = "bulk of updates, `flush_at(1 MiB)`";
    measure(title, count, size, &mut || {
        let mut bulk = collection.bulk().flush_at(BATCH);
        for number in 0..count {
            bulk.update_one(filter(number), update());
        }
        assert_eq!(bulk.run().unwrap().matched_count, u64::from(count));
    });
}

fn upload(bench: &Database, part: u32) {
    let (bucket, size) = (bench.gridfs_bucket(None), FILE / part);
    measure("GridFS, a MiB uploaded", size, 1 << 20, &mut || {
        let source = io::repeat(7).take(u64::from(size) << 20);
        bucket.upload_from_stream("file", source).run().unwrap();
    });
}

fn download(bench: &Database, part: u32) {
    let (bucket, size) = (bench.gridfs_bucket(None), FILE / part);
    let length = i64::from(size) << 20;
    measure("GridFS, a MiB downloaded", size, 1 << 20, &mut || {
        let download = bucket.download_to_stream(length, io::sink());
        assert_eq!(download.run().unwrap(), length.unsigned_abs());
    });
}

fn filter(number: u32) -> Document {
    doc! { "_id": i64::from(number) }
}

fn update() -> Document {
    doc! { "$set": { "price": 99.5, "active": false } }
}

/// Runs the write, and prints a row.
fn measure(name: &str, number: u32, size: usize, write: &mut dyn FnMut()) {
    // From now on VmHWM is the peak.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let idle = kib("VmRSS:");
    let (cpu, _) = times(1, &mut || write());
    let peak = kib("VmHWM:") - idle;
    let (all, each) = (
        u64::from(number) * size as u64,
        cpu * 1000.0 / f64::from(number),
    );
    println!(
        "| {name} | {number} | {} MiB | {idle} KiB | {peak} KiB | {each:.0} ns |",
        all >> 20
    );
}

/// A number of /proc/self/status, in KiB.
fn kib(key: &str) -> i64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn serve() {
    let root = Ca::root("root", KeyKind::EcP256);
    let server = LeanServer::start(ServerTls::new(&root.issue(LeafSpec::local_server())));
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", root.cert_pem());
    println!("{} {}", server.port(), ca_file.display());
    wait_for_the_end();
}
