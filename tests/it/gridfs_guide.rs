//! The examples of `docs/gridfs.md`, run on SecantusDB behind the bench, and compared like those of `docs/tls.md`.

// example
use std::io::{Read, Seek, SeekFrom, Write};

use mongotls::bson::doc;
use mongotls::bson::oid::ObjectId;
use mongotls::options::{GridFsBucketOptions, WriteConcern};
use mongotls::{CauseCode, Client};
// end
use crate::guide::{Outcome, expect_shown};
use crate::transaction_guide::Desk;

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    let guide = include_str!("../../docs/gridfs.md");
    expect_shown(include_str!("gridfs_guide.rs"), guide);
}

#[test]
fn a_file() -> Outcome {
    if Desk::is_missing() {
        return Ok(());
    }
    let desk = Desk::new();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://db1.example.com,db2.example.com/?replicaSet=rs0"))?;
    let bucket = client.database("shop").gridfs_bucket(None);

    let mut upload = bucket
        .open_upload_stream("notes.txt")
        .metadata(doc! { "author": "Ada" })
        .run()?;
    upload.write_all(b"from 8 to 16")?;
    let id = upload.finish()?;

    let mut download = bucket.open_download_stream(id).run()?;
    download.seek(SeekFrom::Start(5))?;
    let mut text = String::new();
    download.read_to_string(&mut text)?;
    assert_eq!(text, "8 to 16");
    // end
    Ok(())
}

#[test]
fn revisions() -> Outcome {
    if Desk::is_missing() {
        return Ok(());
    }
    let desk = Desk::new();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://db1.example.com,db2.example.com/?replicaSet=rs0"))?;
    let options = GridFsBucketOptions::default()
        .bucket_name("reports")
        .write_concern(WriteConcern::majority());
    let reports = client.database("shop").gridfs_bucket(options);
    reports.upload_from_stream("may.csv", &b"a,b"[..]).run()?;
    reports.upload_from_stream("may.csv", &b"a,b,c"[..]).run()?;

    let mut newest = Vec::new();
    reports
        .download_to_stream_by_name("may.csv", &mut newest)
        .run()?;
    assert_eq!(newest, b"a,b,c");
    let mut oldest = String::new();
    reports
        .open_download_stream_by_name("may.csv")
        .revision(0)
        .run()?
        .read_to_string(&mut oldest)?;
    assert_eq!(oldest, "a,b");

    for file in reports.find(doc! { "filename": "may.csv" }).run()? {
        reports.delete(file?.id).run()?;
    }
    let error = reports
        .open_download_stream_by_name("may.csv")
        .run()
        .unwrap_err();
    assert_eq!(error.cause().unwrap().code(), CauseCode::GridfsFileNotFound);
    // end
    Ok(())
}

#[test]
fn an_interrupted_upload() -> Outcome {
    if Desk::is_missing() {
        return Ok(());
    }
    let desk = Desk::new();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://db1.example.com,db2.example.com/?replicaSet=rs0"))?;
    let bucket = client.database("shop").gridfs_bucket(None);
    let content = vec![7; 3_000_000];
    let id = ObjectId::new();

    let mut upload = bucket
        .open_upload_stream("backup.tar")
        .resumable(id)
        .run()?;
    upload.write_all(&content[..1_500_000])?;
    drop(upload);

    let mut upload = bucket
        .open_upload_stream("backup.tar")
        .resumable(id)
        .run()?;
    let stored = usize::try_from(upload.stored_bytes())?;
    assert_eq!(stored, 4 * 255 * 1024);
    upload.write_all(&content[stored..])?;
    upload.close()?;
    // end
    Ok(())
}
