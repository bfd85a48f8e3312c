//! How chunks are sent: several in a message, with one copy, and with few allocations.

use std::io::Write;

use allocation_counter::measure;
use mongotls::bson::{Bson, doc};
use mongotls_testbench::server::{Hello, Server, ServerBuilder};

use super::bucket;
use crate::common::plain_client;

/// A server of the bench, which has no indexes.
fn bench() -> ServerBuilder {
    let none = doc! { "ok": 1, "cursor": { "id": 0_i64, "ns": "db.x", "firstBatch": [] } };
    let builder = Server::builder().handle("listIndexes", move |_| Some(none.clone()));
    builder.handle("createIndexes", |_| Some(doc! { "ok": 1 }))
}

/// The numbers of chunks in the inserts of a server.
fn batches(server: &Server) -> Vec<usize> {
    let inserts = server.commands_named("insert").into_iter();
    let chunks = inserts.filter(|insert| insert.body.get_str("insert").ok() == Some("fs.chunks"));
    chunks
        .map(|insert| insert.documents("documents").len())
        .collect()
}

#[test]
fn several_chunks_are_in_a_message() {
    let server = bench().start();
    let client = plain_client(&server, "");
    let database = client.database("db");
    for (chunk_size, size, expected) in [
        (255 << 10, 10 * (255 << 10) + 1, vec![4, 4, 3]),
        (255 << 10, 4 * (255 << 10), vec![4]),
        (2 << 20, 5 << 20, vec![1, 1, 1]),
        (1000, 3000, vec![3]),
    ] {
        server.forget_commands();
        let content = vec![7; size];
        let files = bucket(&database, chunk_size);
        files
            .upload_from_stream("file", &content[..])
            .run()
            .unwrap();
        assert_eq!(batches(&server), expected);
        let all: Vec<_> = server
            .commands_named("insert")
            .iter()
            .flat_map(|insert| insert.documents("documents"))
            .filter_map(|chunk| chunk.get_i32("n").ok())
            .collect();
        let count = i32::try_from(all.len()).unwrap();
        assert_eq!(all, (0..count).collect::<Vec<_>>());
    }
}

#[test]
fn a_server_that_takes_less_gets_less() {
    let hello = Hello {
        max_message_size_bytes: 100_000,
        max_write_batch_size: 3,
        ..Hello::default()
    };
    let server = bench().hello(hello).start();
    let client = plain_client(&server, "");
    let content = vec![7; 100_000];
    let files = bucket(&client.database("db"), 30_000);
    files
        .upload_from_stream("file", &content[..])
        .run()
        .unwrap();
    assert_eq!(batches(&server), [3, 1]);
    server.forget_commands();
    let files = bucket(&client.database("db"), 10);
    files
        .upload_from_stream("file", &content[..75])
        .run()
        .unwrap();
    assert_eq!(batches(&server), [3, 3, 2]);
}

/// The bytes that an upload copies are those of one batch, whatever the size of the file: its memory is used again.
#[test]
fn a_batch_is_allocated_once() {
    let server = bench().log_limit(0).start();
    let client = plain_client(&server, "");
    let files = client.database("db").gridfs_bucket(None);
    let upload = |batches: usize| {
        let content = vec![7; batches * 4 * (255 << 10)];
        let mut upload = files.open_upload_stream("file").run().unwrap();
        let info = measure(|| upload.write_all(&content).unwrap());
        upload.close().unwrap();
        (info.bytes_total, info.count_total)
    };
    upload(1);
    let (one, of_one) = upload(1);
    let (eight, of_eight) = upload(8);
    // The first batch, whose first chunk grows into the rest.
    assert!(one < (1 << 20) + (300 << 10), "{one}");
    let per_batch = (eight - one) / 7;
    assert!(per_batch < 4096, "{per_batch} bytes for each further batch");
    let allocations = (of_eight - of_one) / 7;
    assert!(
        allocations < 40,
        "{allocations} allocations for each further batch"
    );
}

#[test]
fn a_download_reads_batches_of_a_mebibyte() {
    let server = bench().start();
    let client = plain_client(&server, "");
    let database = client.database("db");
    let files = bucket(&database, 100 << 10);
    let content: Vec<u8> = (0..25 * (100 << 10)).map(|n| (n % 251) as u8).collect();
    let id = files
        .upload_from_stream("file", &content[..])
        .run()
        .unwrap();
    server.forget_commands();
    let mut read = Vec::new();
    files
        .download_to_stream(id.clone(), &mut read)
        .run()
        .unwrap();
    assert!(read == content);
    let finds = server.commands_named("find");
    assert_eq!(finds[0].body["find"], Bson::String("fs.files".to_owned()));
    assert_eq!(
        finds[1].body["filter"],
        Bson::Document(doc! { "files_id": id })
    );
    assert_eq!(finds[1].body.get("batchSize"), Some(&Bson::Int64(10)));
    assert_eq!(server.count_of("getMore"), 2);
}
