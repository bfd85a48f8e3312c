//! The memory of large writes: that of one batch, for any number of documents. `make bench-memory` measures the process.

use allocation_counter::{AllocationInfo, measure};
use mongotls::bson::{Document, doc};
use mongotls::{Client, Collection};
use mongotls_testbench::lean::LeanServer;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::ServerTls;
use serde::Serialize;

/// Enough that all documents together need a multiple of the bound.
const DOCUMENTS: usize = 100_000;

/// The most bytes that may be in use above those before the write: the batch, and the message that has a copy of it.
const BOUND: u64 = 4 << 20;

/// With its `_id` it takes 256 bytes.
#[derive(Serialize)]
struct Thing {
    number: i64,
    text: String,
}

impl Thing {
    fn new(number: usize) -> Self {
        Self {
            number: i64::try_from(number).unwrap(),
            text: "x".repeat(207),
        }
    }
}

fn things<T: Send + Sync>() -> (LeanServer, PkiDir, Collection<T>) {
    let root = Ca::root("root", KeyKind::EcP256);
    let server = LeanServer::start(ServerTls::new(&root.issue(LeafSpec::local_server())));
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", root.cert_pem());
    let (port, ca_file) = (server.port(), ca_file.display());
    let uri = format!("mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={ca_file}");
    let client = Client::connect(&uri).unwrap();
    // The connection, which stays, is no part of the memory of a write.
    client
        .database("admin")
        .run_command(doc! { "ping": 1 })
        .unwrap();
    (server, dir, client.database("bench").collection("things"))
}

fn assert_bounded(info: &AllocationInfo) {
    let peak = info.bytes_max;
    assert!((1 << 20..BOUND).contains(&peak), "{peak} bytes");
}

#[test]
fn insert_many_needs_the_memory_of_one_batch() {
    let (_server, _dir, things) = things::<Thing>();
    let documents = (0..DOCUMENTS).map(Thing::new);
    let mut inserted = 0;
    let info = measure(|| {
        let result = things.insert_many(documents).count_only().run();
        inserted = result.unwrap().inserted_count;
    });
    assert_eq!(inserted, DOCUMENTS as u64);
    assert_bounded(&info);
}

#[test]
fn a_bulk_that_is_flushed_needs_the_memory_of_one_batch() {
    let (_server, _dir, things) = things::<Document>();
    let mut matched = 0;
    let info = measure(|| {
        let mut bulk = things.bulk().flush_at(1 << 20);
        for number in 0..DOCUMENTS {
            let number = i64::try_from(number).unwrap();
            bulk.update_one(
                doc! { "_id": number },
                doc! { "$set": { "text": "x".repeat(100) } },
            );
        }
        matched = bulk.run().unwrap().matched_count;
    });
    assert_eq!(matched, DOCUMENTS as u64);
    assert_bounded(&info);
}
