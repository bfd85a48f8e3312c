//! The server that benchmarks use: it behaves as documented, or they would measure something else.

use std::io::{Read, Seek, SeekFrom, Write};

use mongotls::bson::{Document, doc, rawdoc};
use mongotls::{Client, Command, Cursor};
use mongotls_testbench::lean::{BATCH, DOCUMENT_SIZE, DOCUMENTS, LeanServer};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::ServerTls;

fn client(options: &str) -> (LeanServer, PkiDir, Client) {
    let root = Ca::root("root", KeyKind::EcP256);
    let server = LeanServer::start(ServerTls::new(&root.issue(LeafSpec::local_server())));
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", root.cert_pem());
    let (port, ca_file) = (server.port(), ca_file.display());
    let uri = format!("mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={ca_file}{options}");
    (server, dir, Client::connect(&uri).unwrap())
}

#[test]
fn it_answers_pings_with_and_without_a_load_balancer() {
    for options in ["", "&directConnection=true", "&loadBalanced=true"] {
        let (_server, _dir, client) = client(options);
        let reply = client.database("admin").run_command(doc! { "ping": 1 });
        assert_eq!(reply.unwrap(), doc! { "ok": 1.0 }, "{options}");
    }
}

#[test]
fn a_cursor_gives_all_documents_in_batches() {
    let (_server, _dir, client) = client("");
    let find = doc! { "find": "documents" };
    let bench = client.database("bench");
    let mut cursor: Cursor = bench.run_cursor_command(find.clone()).unwrap();
    let (mut count, mut left_open) = (0, 0);
    while cursor.advance().unwrap() {
        count += 1;
        left_open += usize::from(cursor.is_open());
        assert_eq!(cursor.current().as_bytes().len(), DOCUMENT_SIZE);
    }
    assert_eq!((count, left_open), (DOCUMENTS, DOCUMENTS - BATCH));

    let reply = bench.run_command(find).unwrap();
    let cursor = reply.get_document("cursor").unwrap();
    let batch = cursor.get_array("firstBatch").unwrap();
    assert_eq!(batch.len(), BATCH);
}

#[test]
fn an_insert_is_counted_in_either_form() {
    let (_server, _dir, client) = client("");
    let bench = client.database("bench");
    let documents = vec![rawdoc! { "_id": 1 }; 1000];
    let sequence = Command::from(doc! { "insert": "documents" }).documents("documents", &documents);
    let inline: Vec<Document> = vec![doc! { "_id": 1 }; 7];
    for (insert, n) in [
        (sequence, 1000),
        (
            doc! { "insert": "documents", "documents": inline }.into(),
            7,
        ),
    ] {
        let reply = bench.run_command(insert).unwrap();
        assert_eq!(reply, doc! { "n": n, "ok": 1.0 });
    }
}

#[test]
fn updates_of_both_kinds_of_bulks_are_counted() {
    let (_server, _dir, client) = client("");
    let things = client.database("bench").collection::<Document>("things");
    let (filter, update) = (doc! { "n": 1 }, doc! { "$set": { "n": 2 } });
    let mut bulk = things.bulk();
    let mut of_client = client.bulk();
    for _ in 0..1500 {
        bulk.update_one(&filter, &update);
        of_client.update_one(things.namespace(), &filter, &update);
    }
    assert_eq!(bulk.run().unwrap().matched_count, 1500);
    assert_eq!(of_client.run().unwrap().matched_count, 1500);
}

#[test]
fn one_collection_has_one_document() {
    let (_server, _dir, client) = client("");
    let one = client.database("bench").collection::<Document>("one");
    let found = one.find(doc! {}).run().unwrap();
    assert!(!found.is_open());
    let found: Vec<_> = found.map(Result::unwrap).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_vec().unwrap().len(), DOCUMENT_SIZE);
}

#[test]
fn a_file_has_as_many_bytes_as_its_id_says() {
    const CHUNK: usize = 255 << 10;
    let (_server, _dir, client) = client("");
    let bucket = client.database("bench").gridfs_bucket(None);
    for length in [0, 1, CHUNK, CHUNK + 1, 9 * CHUNK, 9 * CHUNK + 5] {
        let mut content = Vec::new();
        let id = i64::try_from(length).unwrap();
        let mut download = bucket.open_download_stream(id).run().unwrap();
        download.read_to_end(&mut content).unwrap();
        assert_eq!(content.len(), length);
        let expected = |(at, byte): (usize, &u8)| *byte == u8::try_from(at / CHUNK).unwrap();
        assert!(content.iter().enumerate().all(expected));
    }
    let mut download = bucket.open_download_stream(1_i64 << 40).run().unwrap();
    let place = 300 * CHUNK as u64 + 7;
    download.seek(SeekFrom::Start(place)).unwrap();
    let mut byte = [0];
    download.read_exact(&mut byte).unwrap();
    assert_eq!(byte, [44]);
    let mut upload = bucket.open_upload_stream("file").run().unwrap();
    upload.write_all(&vec![0; 9 * CHUNK]).unwrap();
    upload.close().unwrap();
}
