//! Files that cannot be read: each error names the file and the chunk.

use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom};

use mongotls::bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use mongotls::{CauseCode, ErrorKind};

use super::{Store, inner};
use crate::common::{code, fact};

fn data(size: usize) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![7; size],
    })
}

/// Damages the chunks of a file.
type Damage<'a> = Box<dyn Fn() + 'a>;

#[test]
fn a_wrong_chunk_is_named() {
    let Some(store) = Store::start() else {
        return;
    };
    // Without the unique index there can be duplicates.
    store.files().insert_one(doc! { "_id": 0 }).run().unwrap();
    let of = |n: i32| doc! { "files_id": 1, "n": n };
    let set = |fields: Document| doc! { "$set": fields };
    let cases: Vec<(&str, i32, Damage<'_>)> = vec![
        ("chunk 0 is missing", 0, Box::new(|| delete(&store, of(0)))),
        ("chunk 1 is missing", 1, Box::new(|| delete(&store, of(1)))),
        ("chunk 2 is missing", 2, Box::new(|| delete(&store, of(2)))),
        (
            "chunk 1 has 3 bytes, and must have 4",
            1,
            Box::new(|| update(&store, of(1), set(doc! { "data": data(3) }))),
        ),
        (
            "chunk 1 has 5 bytes, and must have 4",
            1,
            Box::new(|| update(&store, of(1), set(doc! { "data": data(5) }))),
        ),
        (
            "chunk 2 has 0 bytes, and must have 1",
            2,
            Box::new(|| update(&store, of(2), set(doc! { "data": data(0) }))),
        ),
        (
            "chunk 2 has 4 bytes, and must have 1",
            2,
            Box::new(|| update(&store, of(2), set(doc! { "data": data(4) }))),
        ),
        (
            "there are two chunks 0",
            0,
            Box::new(|| insert(&store, doc! { "files_id": 1, "n": 0, "data": data(4) })),
        ),
        (
            "chunk 3 lies behind the end of the file",
            3,
            Box::new(|| insert(&store, doc! { "files_id": 1, "n": 3, "data": data(1) })),
        ),
        (
            "chunk 1 has no usable field \"data\"",
            1,
            Box::new(|| update(&store, of(1), set(doc! { "data": "text" }))),
        ),
        (
            "chunk 2 has no usable field \"n\"",
            2,
            Box::new(|| update(&store, of(2), set(doc! { "n": "2" }))),
        ),
    ];
    for (what, chunk, spoil) in cases {
        store.chunks().delete_many(doc! {}).run().unwrap();
        store.files().delete_one(doc! { "_id": 1 }).run().unwrap();
        store.put(1, "file", b"123456789");
        spoil();
        let error = store.get(1).unwrap_err();
        assert_eq!(
            (error.kind(), code(&error)),
            (ErrorKind::GridFs, CauseCode::GridfsCorrupt),
            "{what}"
        );
        let expected = format!("the file with the ID 1 cannot be read: {what}");
        assert_eq!(error.to_string(), expected);
        assert_eq!(fact(&error, "chunk"), chunk.to_string());
        assert_eq!(fact(&error, "file_id"), "1");

        // A stream returns the complete chunks before it, and then the same error each time.
        let mut download = store.bucket.open_download_stream(1).run().unwrap();
        let mut read = Vec::new();
        let error = download.read_to_end(&mut read).unwrap_err();
        assert_eq!(error.kind(), IoKind::InvalidData);
        assert_eq!(inner(&error).to_string(), expected);
        assert_eq!(download.read(&mut [0]).unwrap_err().to_string(), expected);
        assert!(read.len() % 4 == 0 || read.len() == 9, "{read:?}");
    }
}

fn delete(store: &Store, filter: Document) {
    assert_eq!(
        store
            .chunks()
            .delete_one(filter)
            .run()
            .unwrap()
            .deleted_count,
        1
    );
}

fn update(store: &Store, filter: Document, update: Document) {
    let updated = store.chunks().update_one(filter, update).run().unwrap();
    assert_eq!(updated.modified_count, 1);
}

fn insert(store: &Store, chunk: Document) {
    store.chunks().insert_one(chunk).run().unwrap();
}

#[test]
fn a_part_that_is_sound_can_be_read() {
    let Some(store) = Store::start() else {
        return;
    };
    store.put(1, "file", b"123456789");
    delete(&store, doc! { "files_id": 1, "n": 1 });
    let mut download = store.bucket.open_download_stream(1).run().unwrap();
    download.seek(SeekFrom::Start(8)).unwrap();
    let mut rest = String::new();
    download.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "9");
}

#[test]
fn an_empty_chunk_behind_the_end_is_ignored() {
    let Some(store) = Store::start() else {
        return;
    };
    store.put(1, "file", b"1234");
    insert(&store, doc! { "files_id": 1, "n": 1, "data": data(0) });
    assert_eq!(store.get(1).unwrap(), b"1234");
    // The chunks of an empty file are not read.
    store.put(2, "empty", b"");
    insert(&store, doc! { "files_id": 2, "n": 0, "data": data(3) });
    assert_eq!(store.get(2).unwrap(), b"");
}

#[test]
fn numbers_of_a_file_are_not_trusted() {
    let Some(store) = Store::start() else {
        return;
    };
    for (key, value) in [
        ("length", Bson::Int64(-1)),
        ("length", Bson::Double(1.5)),
        ("length", Bson::Double(1e300)),
        ("length", Bson::String("9".to_owned())),
        ("chunkSize", Bson::Int32(0)),
        ("chunkSize", Bson::Int32(-4)),
        ("chunkSize", Bson::Int64(1 << 40)),
        ("chunkSize", Bson::Double(0.5)),
    ] {
        store.files().delete_many(doc! {}).run().unwrap();
        store.chunks().delete_many(doc! {}).run().unwrap();
        store.put(1, "file", b"123456789");
        let update = doc! { "$set": { key: value.clone() } };
        store.files().update_one(doc! {}, update).run().unwrap();
        let error = store.get(1).unwrap_err();
        assert_eq!(code(&error), CauseCode::GridfsCorrupt);
        let expected = format!(
            "the file with the ID 1 cannot be read: its document has no usable field \"{key}\""
        );
        assert_eq!(error.to_string(), expected, "{value}");
        let mut found = store.bucket.find(doc! {}).run().unwrap();
        let error = found.next().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bson, "{error}");
        // It can be deleted nevertheless.
        store.bucket.delete(1).run().unwrap();
    }
    // A length that no server could store is found out by the first chunk that is missing.
    store.put(2, "file", b"1234");
    let update = doc! { "$set": { "length": i64::MAX } };
    store
        .files()
        .update_one(doc! { "_id": 2 }, update)
        .run()
        .unwrap();
    let error = store.get(2).unwrap_err();
    assert_eq!(fact(&error, "chunk"), "1");
    let other_types = doc! { "$set": { "length": 4.0, "chunkSize": 4_i64 } };
    store
        .files()
        .update_one(doc! { "_id": 2 }, other_types)
        .run()
        .unwrap();
    assert_eq!(store.get(2).unwrap(), b"1234");
}
