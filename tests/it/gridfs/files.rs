//! Files: writing and reading in pieces, seeking, names and revisions, and the operations on stored files.

use std::io::{BufRead, ErrorKind as IoKind, Read, Seek, SeekFrom, Write};

use mongotls::bson::{Bson, DateTime, Document, doc};
use mongotls::options::{GridFsBucketOptions, WriteConcern};
use mongotls::{CauseCode, ErrorKind};

use super::{Store, inner};
use crate::common::code;

#[test]
fn content_comes_back_for_each_size_around_a_chunk() {
    let Some(store) = Store::start() else {
        return;
    };
    for size in [0, 1, 3, 4, 5, 8, 9, 40] {
        let content: Vec<u8> = (0..size).map(|n| b'a' + n % 26).collect();
        store.put(size.into(), "file", &content);
        assert_eq!(store.get(i32::from(size)).unwrap(), content);
        let chunks = store.numbers(&Bson::Int32(size.into()));
        let expected: Vec<i32> = (0..(i32::from(size) + 3) / 4).collect();
        assert_eq!(chunks, expected);
    }
    let file = store
        .bucket
        .find_one(doc! { "_id": 9 })
        .run()
        .unwrap()
        .unwrap();
    assert_eq!((file.length, file.chunk_size_bytes), (9, 4));
    assert_eq!(file.filename.as_deref(), Some("file"));
    assert_eq!(file.metadata, None);
    let raw = store
        .files()
        .find_one(doc! { "_id": 9 })
        .run()
        .unwrap()
        .unwrap();
    let keys: Vec<_> = raw.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["_id", "length", "chunkSize", "uploadDate", "filename"]
    );
    assert!(matches!(raw["length"], Bson::Int64(9)) && matches!(raw["chunkSize"], Bson::Int32(4)));
}

#[test]
fn a_stream_takes_and_gives_pieces_of_any_size() {
    let Some(store) = Store::start() else {
        return;
    };
    let content = b"0123456789abcdefghij!";
    let before = DateTime::now();
    let open = store.bucket.open_upload_stream("pieces");
    let mut upload = open.metadata(doc! { "a": 1 }).run().unwrap();
    let mut rest = &content[..];
    for size in [1, 2, 7, 0, 4, 100] {
        let (piece, others) = rest.split_at(size.min(rest.len()));
        upload.write_all(piece).unwrap();
        rest = others;
    }
    assert_eq!(upload.filename(), "pieces");
    let id = upload.id().clone();
    assert!(
        store
            .bucket
            .find_one(doc! { "_id": id.clone() })
            .run()
            .unwrap()
            .is_none()
    );
    upload.close().unwrap();
    let file = store
        .bucket
        .find_one(doc! { "_id": id.clone() })
        .run()
        .unwrap()
        .unwrap();
    assert_eq!((file.length, file.metadata), (21, Some(doc! { "a": 1 })));
    assert!(file.upload_date >= before && file.upload_date <= DateTime::now());

    let mut download = store.bucket.open_download_stream(id).run().unwrap();
    let (mut read, mut piece) = (Vec::new(), [0; 3]);
    loop {
        match download.read(&mut piece).unwrap() {
            0 => break,
            size => read.extend_from_slice(&piece[..size]),
        }
    }
    assert_eq!(read, content);
    assert_eq!(download.read(&mut piece).unwrap(), 0);
    assert_eq!((download.length(), download.chunk_size_bytes()), (21, 4));
    assert_eq!(download.filename(), Some("pieces"));
}

#[test]
fn seeking_reads_from_the_new_position() {
    let Some(store) = Store::start() else {
        return;
    };
    let content: Vec<u8> = (0..200).collect();
    store.put(1, "file", &content);
    let mut download = store.bucket.open_download_stream(1).run().unwrap();
    let mut read = |to: SeekFrom, size: usize| {
        let position = download.seek(to).unwrap();
        let mut piece = vec![0; size];
        let mut filled = 0;
        while filled < size {
            match download.read(&mut piece[filled..]).unwrap() {
                0 => break,
                more => filled += more,
            }
        }
        piece.truncate(filled);
        (position, piece)
    };
    for (to, position, size, count) in [
        (SeekFrom::Start(101), 101, 5, 5),
        (SeekFrom::Current(-6), 100, 1, 1),
        (SeekFrom::Current(0), 101, 3, 3),
        (SeekFrom::End(-3), 197, 9, 3),
        (SeekFrom::Start(0), 0, 200, 200),
        (SeekFrom::Start(198), 198, 1, 1),
        (SeekFrom::Start(500), 500, 4, 0),
        (SeekFrom::End(-200), 0, 4, 4),
    ] {
        let begin = position.min(200);
        let expected = (position as u64, content[begin..begin + count].to_vec());
        assert_eq!(read(to, size), expected, "{to:?}");
    }
    let error = download.seek(SeekFrom::End(-201)).unwrap_err();
    assert_eq!(error.kind(), IoKind::InvalidInput);
    assert_eq!(
        error.to_string(),
        "the position would be before the beginning of the file"
    );
}

#[test]
fn seeking_sends_nothing_and_skips_chunks() {
    let Some(store) = Store::start() else {
        return;
    };
    store.put(1, "file", &[7; 4000]);
    let nodes = store.deployment.nodes();
    let server = nodes[0].server();
    server.forget_commands();
    let mut download = store.bucket.open_download_stream(1).run().unwrap();
    download.seek(SeekFrom::Start(3998)).unwrap();
    assert_eq!(server.count_of("find"), 1);
    let rest = download.fill_buf().unwrap().len();
    assert_eq!(rest, 2);
    let finds = server.commands_named("find");
    let filter = finds.last().unwrap().body.get_document("filter").unwrap();
    assert_eq!(*filter, doc! { "files_id": 1, "n": { "$gte": 999_i64 } });
    // The last batch is not full, so its cursor is closed without another command.
    assert_eq!(server.count_of("getMore"), 0);
}

#[test]
fn revisions_are_counted_from_both_ends() {
    let Some(store) = Store::start() else {
        return;
    };
    for (id, text) in [(1, "one"), (2, "two"), (3, "three")] {
        store.put(id, "name", text.as_bytes());
        let date = DateTime::from_millis(i64::from(id) * 1000);
        let update = doc! { "$set": { "uploadDate": date } };
        store
            .files()
            .update_one(doc! { "_id": id }, update)
            .run()
            .unwrap();
    }
    let get = |revision: Option<i32>| {
        let mut content = Vec::new();
        let mut download = store
            .bucket
            .download_to_stream_by_name("name", &mut content);
        if let Some(revision) = revision {
            download = download.revision(revision);
        }
        let outcome = download.run();
        outcome.map(|_| String::from_utf8(content).unwrap())
    };
    for (revision, expected) in [
        (None, "three"),
        (Some(0), "one"),
        (Some(1), "two"),
        (Some(2), "three"),
        (Some(-1), "three"),
        (Some(-2), "two"),
        (Some(-3), "one"),
    ] {
        assert_eq!(get(revision).unwrap(), expected);
    }
    for revision in [3, -4, i32::MAX, i32::MIN] {
        let error = get(Some(revision)).unwrap_err();
        assert_eq!(code(&error), CauseCode::GridfsRevisionNotFound);
        let expected = format!("the file with the name \"name\" has no revision {revision}");
        assert_eq!(error.to_string(), expected);
    }
    let missing = store
        .bucket
        .open_download_stream_by_name("other")
        .revision(1);
    let error = missing.run().unwrap_err();
    assert_eq!(code(&error), CauseCode::GridfsFileNotFound);
    assert_eq!(
        error.to_string(),
        "there is no file with the name \"other\" in the bucket"
    );
}

#[test]
fn files_are_renamed_and_deleted_by_id_and_by_name() {
    let Some(store) = Store::start() else {
        return;
    };
    for id in 1..=4 {
        store.put(id, if id == 4 { "other" } else { "name" }, b"content");
    }
    let bucket = &store.bucket;
    let names = || -> Vec<String> {
        let files = bucket.find(doc! {}).sort(doc! { "_id": 1 }).run().unwrap();
        files.map(|file| file.unwrap().filename.unwrap()).collect()
    };
    bucket.rename(1, "first").run().unwrap();
    bucket.rename_by_name("name", "later").run().unwrap();
    assert_eq!(names(), ["first", "later", "later", "other"]);
    bucket.delete(1).run().unwrap();
    bucket.delete_by_name("later").run().unwrap();
    assert_eq!(names(), ["other"]);
    let left: Vec<Document> = store
        .chunks()
        .find(doc! {})
        .run()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(
        left.iter().all(|chunk| chunk["files_id"] == Bson::Int32(4)),
        "{left:?}"
    );
    for error in [
        bucket.rename(1, "x").run(),
        bucket.rename_by_name("name", "x").run(),
        bucket.delete(1).run(),
        bucket.delete_by_name("name").run(),
        bucket.open_download_stream(1).run().map(drop),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::GridFs);
        assert_eq!(code(&error), CauseCode::GridfsFileNotFound);
    }
    bucket.drop().run().unwrap();
    bucket.drop().run().unwrap();
    assert!(
        store
            .database
            .list_collection_names()
            .run()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn ids_of_any_type_match_only_themselves() {
    let Some(store) = Store::start() else {
        return;
    };
    let ids = [
        Bson::Document(doc! { "$gt": "" }),
        Bson::Document(doc! { "a": 1 }),
        Bson::String("text".to_owned()),
        Bson::Int64(1 << 40),
    ];
    for (n, id) in (1..).zip(&ids[1..]) {
        let content = [n];
        let upload = store.bucket.upload_from_stream("file", &content[..]);
        assert_eq!(upload.id(id.clone()).run().unwrap(), *id);
        assert_eq!(store.get(id.clone()).unwrap(), content);
    }
    // As an operator it would match each text.
    for outcome in [
        store.get(ids[0].clone()).map(drop),
        store.bucket.delete(ids[0].clone()).run(),
    ] {
        assert_eq!(code(&outcome.unwrap_err()), CauseCode::GridfsFileNotFound);
    }
    assert_eq!(store.get("text").unwrap(), [2]);
}

#[test]
fn nothing_is_written_after_the_end() {
    let Some(store) = Store::start() else {
        return;
    };
    let mut upload = store.bucket.open_upload_stream("file").run().unwrap();
    upload.write_all(b"12345").unwrap();
    upload.close().unwrap();
    for error in [upload.write(b"6").unwrap_err(), upload.flush().unwrap_err()] {
        assert_eq!(error.kind(), IoKind::InvalidInput);
        assert_eq!(inner(&error).kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.to_string(), "the upload is closed already");
    }
    for error in [upload.close(), upload.abort()] {
        assert_eq!(
            error.unwrap_err().to_string(),
            "the upload is closed already"
        );
    }
    assert_eq!(store.get(upload.id().clone()).unwrap(), b"12345");
}

#[test]
fn buckets_have_their_names_and_settings() {
    let Some(store) = Store::start() else {
        return;
    };
    let options = GridFsBucketOptions::builder()
        .bucket_name("photos")
        .chunk_size_bytes(16)
        .write_concern(WriteConcern::majority())
        .build();
    let photos = store.database.gridfs_bucket(options);
    assert_eq!((photos.name(), photos.chunk_size_bytes()), ("photos", 16));
    assert_eq!(*photos.write_concern(), WriteConcern::majority());
    let id = photos
        .upload_from_stream("a", &b"content"[..])
        .run()
        .unwrap();
    assert!(matches!(id, Bson::ObjectId(_)));
    let mut names = store.database.list_collection_names().run().unwrap();
    names.sort();
    assert_eq!(names, ["photos.chunks", "photos.files"]);
    let nodes = store.deployment.nodes();
    let server = nodes[0].server();
    for insert in server.commands_named("insert") {
        assert_eq!(
            insert.body["writeConcern"],
            Bson::Document(doc! { "w": "majority" })
        );
    }
    let session = store.database.client().start_session().run().unwrap();
    let within = store.database.within(&session).gridfs_bucket(None);
    let id = within
        .upload_from_stream("b", &b"content"[..])
        .run()
        .unwrap();
    let mut content = Vec::new();
    within.download_to_stream(id, &mut content).run().unwrap();
    assert_eq!(content, b"content");
    for size in [0, 17 << 20] {
        let upload = photos.open_upload_stream("x").chunk_size_bytes(size);
        let error = upload.run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(
            error.to_string().starts_with("a chunk must have from 1 to"),
            "{error}"
        );
    }
}
