//! The operations of a GridFS bucket.

use std::io::Read;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use mongotls::gridfs::{FilesCollectionDocument, GridFsBucket};
use serde_json::Value;

use super::arguments::set;
use super::{Call, Operation, Outcome, now};
use crate::unified::entities::Entity;
use crate::unified::failure::Failure;

pub(super) const OPERATIONS: &[Operation] = &[
    now("delete", &["id", "timeoutMS"], delete),
    now("deleteByName", &["filename", "timeoutMS"], delete_by_name),
    now("download", &["id", "timeoutMS"], download),
    now(
        "downloadByName",
        &["filename", "revision", "timeoutMS"],
        download_by_name,
    ),
    now("drop", &["timeoutMS"], drop_bucket),
    now("find", FIND, find),
    now("rename", &["id", "newFilename", "timeoutMS"], rename),
    now(
        "renameByName",
        &["filename", "newFilename", "timeoutMS"],
        rename_by_name,
    ),
    now("upload", UPLOAD, upload),
    now("uploadWithId", UPLOAD, upload),
];

const FIND: &[&str] = &[
    "filter",
    "allowDiskUse",
    "batchSize",
    "limit",
    "maxTimeMS",
    "noCursorTimeout",
    "skip",
    "sort",
    "timeoutMS",
];

const UPLOAD: &[&str] = &[
    "id",
    "filename",
    "source",
    "chunkSizeBytes",
    "metadata",
    "contentType",
    "disableMD5",
    "timeoutMS",
];

/// The bucket of the call.
fn bucket<'a>(call: &Call<'a>) -> Result<&'a GridFsBucket, Failure> {
    match call.object {
        Some(Entity::Bucket(bucket)) => Ok(bucket),
        _ => Err(Failure::Entity("the object is not a bucket".to_owned())),
    }
}

/// The outcome of an operation without a result, if it has read all arguments.
fn nothing(call: &Call<'_>, outcome: mongotls::Result<()>) -> Result<Outcome, Failure> {
    call.all_used()?;
    outcome?;
    Ok(Outcome::Nothing)
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let mut delete = bucket(call)?.delete(call.present("id")?);
    set!(delete, call: timeout = millis("timeoutMS"));
    nothing(call, delete.run())
}

fn delete_by_name(call: &Call<'_>) -> Result<Outcome, Failure> {
    let mut delete = bucket(call)?.delete_by_name(call.text("filename")?);
    set!(delete, call: timeout = millis("timeoutMS"));
    nothing(call, delete.run())
}

fn download(call: &Call<'_>) -> Result<Outcome, Failure> {
    let mut open = bucket(call)?.open_download_stream(call.present("id")?);
    set!(open, call: timeout = millis("timeoutMS"));
    call.all_used()?;
    content(open.run()?)
}

fn download_by_name(call: &Call<'_>) -> Result<Outcome, Failure> {
    let mut content = Vec::new();
    let name = call.text("filename")?;
    let mut download = bucket(call)?.download_to_stream_by_name(name, &mut content);
    set!(download, call: revision = i32("revision"), timeout = millis("timeoutMS"));
    call.all_used()?;
    download.run()?;
    Ok(binary(content))
}

/// Reads a stream to its end, in small pieces.
fn content(mut stream: impl Read) -> Result<Outcome, Failure> {
    let (mut content, mut piece) = (Vec::new(), [0; 3]);
    loop {
        match stream.read(&mut piece).map_err(library_error)? {
            0 => return Ok(binary(content)),
            size => content.extend_from_slice(&piece[..size]),
        }
    }
}

/// The error of the library inside one of `std::io`.
fn library_error(error: std::io::Error) -> Failure {
    match error
        .into_inner()
        .map(|inner| inner.downcast::<mongotls::Error>())
    {
        Some(Ok(error)) => Failure::from(*error),
        _ => Failure::runner("a stream failed without an error of the library"),
    }
}

fn binary(bytes: Vec<u8>) -> Outcome {
    Outcome::Value(Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }))
}

fn drop_bucket(call: &Call<'_>) -> Result<Outcome, Failure> {
    let mut drop = bucket(call)?.drop();
    set!(drop, call: timeout = millis("timeoutMS"));
    nothing(call, drop.run())
}

fn find(call: &Call<'_>) -> Result<Outcome, Failure> {
    let mut find = bucket(call)?.find(call.document("filter")?);
    set!(find, call:
        allow_disk_use = bool("allowDiskUse"),
        batch_size = u32("batchSize"),
        limit = i64("limit"),
        max_time = millis("maxTimeMS"),
        no_cursor_timeout = bool("noCursorTimeout"),
        skip = u64("skip"),
        sort = fields("sort"),
        timeout = millis("timeoutMS"),
    );
    call.all_used()?;
    let files = find.run()?.map(|file| document(file?));
    Ok(Outcome::Documents(files.collect::<Result<_, Failure>>()?))
}

fn document(file: FilesCollectionDocument) -> Result<Document, Failure> {
    let mut document = doc! {
        "_id": file.id,
        "length": i64::try_from(file.length).map_err(|error| Failure::runner(error.to_string()))?,
        "chunkSize": i64::from(file.chunk_size_bytes),
        "uploadDate": file.upload_date,
    };
    if let Some(name) = file.filename {
        document.insert("filename", name);
    }
    if let Some(metadata) = file.metadata {
        document.insert("metadata", metadata);
    }
    Ok(document)
}

fn rename(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("newFilename")?;
    let mut rename = bucket(call)?.rename(call.present("id")?, name);
    set!(rename, call: timeout = millis("timeoutMS"));
    nothing(call, rename.run())
}

fn rename_by_name(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("newFilename")?;
    let mut rename = bucket(call)?.rename_by_name(call.text("filename")?, name);
    set!(rename, call: timeout = millis("timeoutMS"));
    nothing(call, rename.run())
}

fn upload(call: &Call<'_>) -> Result<Outcome, Failure> {
    let source = call.read("source", "{ $$hexBytes }", hex_bytes)?;
    let source = source.ok_or_else(|| Failure::malformed("the argument \"source\" is missing"))?;
    let name = call.text("filename")?;
    let mut upload = bucket(call)?.upload_from_stream(name, &source[..]);
    set!(upload, call:
        id = value("id"),
        chunk_size_bytes = u32("chunkSizeBytes"),
        metadata = fields("metadata"),
        timeout = millis("timeoutMS"),
    );
    // The library computes no MD5, as the specification asks of new drivers.
    call.bool("disableMD5")?;
    call.all_used()?;
    Ok(Outcome::Value(upload.run()?))
}

/// The bytes of `{ $$hexBytes: "1122" }`.
fn hex_bytes(value: &Value) -> Option<Vec<u8>> {
    let text = value["$$hexBytes"].as_str()?;
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect();
    let pairs = digits?;
    let whole = pairs.len() % 2 == 0;
    whole.then(|| pairs.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
