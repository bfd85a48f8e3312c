//! The peak memory of large writes and of large files, above that of the idle client.
//!
//! `cargo bench --bench memory` inserts ten million documents of 256 bytes from an iterator, sends a million updates
//! with a bulk write that is flushed at 1 MiB, and uploads and downloads a file of 4 GiB. The server is the lean one of the test bench, in a separate process: this
//! program, started again with the word `serve`. A number as the argument divides the numbers of documents, and the size
//! of the file.

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

use mongotls::Client;
use mongotls::bson::{Document, doc};
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
    let server = ServerProcess::start();
    let (port, ca_file) = server.ready.split_once(' ').unwrap();
    let uri = format!("mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={ca_file}");
    let client = Client::connect(&uri).unwrap();
    let bench = client.database("bench");
    bench.run_command(doc! { "ping": 1 }).unwrap();
    println!("idle: {} KiB\n", kib("VmRSS:"));
    println!("| | number | size of all | peak above idle | CPU each |");
    println!("|---|--:|--:|--:|--:|");
    let inserted = INSERTED / part;
    measure("insert_many, `count_only()`", inserted, 256, &mut || {
        let things = (0..inserted).map(|number| Thing {
            number: number.into(),
            text: "x".repeat(207),
        });
        let collection = bench.collection::<Thing>("things");
        let result = collection.insert_many(things).count_only().run().unwrap();
        assert_eq!(result.inserted_count, u64::from(inserted));
    });
    let updated = UPDATED / part;
    let size = doc! { "q": filter(0), "u": update() }
        .to_vec()
        .unwrap()
        .len();
    measure(
        "bulk of updates, `flush_at(1 MiB)`",
        updated,
        size,
        &mut || {
            let mut bulk = bench
                .collection::<Document>("things")
                .bulk()
                .flush_at(BATCH);
            for number in 0..updated {
                bulk.update_one(filter(number), update());
            }
            assert_eq!(bulk.run().unwrap().matched_count, u64::from(updated));
        },
    );
    files(&bench, (FILE / part).max(1));
}

fn files(bench: &mongotls::Database, mebibytes: u32) {
    let bucket = bench.gridfs_bucket(None);
    let length = u64::from(mebibytes) << 20;
    measure("GridFS, a MiB uploaded", mebibytes, 1 << 20, &mut || {
        let source = io::repeat(7).take(length);
        bucket.upload_from_stream("file", source).run().unwrap();
    });
    measure("GridFS, a MiB downloaded", mebibytes, 1 << 20, &mut || {
        let id = i64::try_from(length).unwrap();
        let mut download = bucket.open_download_stream(id).run().unwrap();
        let copied = io::copy(&mut download, &mut io::sink()).unwrap();
        assert_eq!(copied, length);
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
        "| {name} | {number} | {} MiB | {peak} KiB | {each:.0} ns |",
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
