//! `mongotls gridfs`: uploads, downloads and lists the files of a bucket.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mongotls::Error;
use mongotls::bson::doc;
use mongotls::gridfs::{FilesCollectionDocument, GridFsBucket};
use mongotls::options::GridFsBucketOptions;
use serde_json::{Value, json};

use crate::input::FetchedUri;
use crate::output::{Screen, clean};
use crate::{Verdict, extended_json, json as form, print_error};

/// A task with the files of a bucket.
#[derive(Debug, PartialEq)]
pub(crate) enum FileTask {
    /// Uploads a local file, or standard input.
    Put { file: PathBuf, name: String },
    /// Downloads the newest file with this name to a local file, or to standard output.
    Get { name: String, file: PathBuf },
    /// Lists the files.
    List,
}

/// The path that stands for standard input and standard output.
const STANDARD: &str = "-";

pub(crate) fn gridfs(
    screen: &mut Screen,
    target: FetchedUri,
    database: &str,
    bucket: Option<String>,
    task: FileTask,
    json: bool,
) -> io::Result<Verdict> {
    let to_standard_output = matches!(&task, FileTask::Get { file, .. } if is_standard(file));
    let outcome = target.client().and_then(|client| {
        let mut options = GridFsBucketOptions::default();
        options.bucket_name = bucket;
        let bucket = client.database(database).gridfs_bucket(options);
        match task {
            FileTask::Put { file, name } => put(&bucket, &file, &name).map(Some),
            FileTask::Get { name, file } => get(&bucket, &name, &file).map(|()| None),
            FileTask::List => list(&bucket).map(Some),
        }
    });
    match outcome {
        // The content of the file is the whole output.
        Ok(_) if to_standard_output => {}
        Ok(result) if json => {
            let mut outcome = form::outcome(None);
            if let Some(Output::Files(files)) = &result {
                let files = files.iter().map(described).collect();
                outcome.insert("files".to_owned(), Value::Array(files));
            }
            if let Some(Output::Id(id)) = result {
                outcome.insert("id".to_owned(), id);
            }
            screen.json(&Value::Object(outcome))?;
        }
        Ok(None) => {}
        Ok(Some(Output::Id(id))) => screen.json(&id)?,
        Ok(Some(Output::Files(files))) => {
            for file in &files {
                let name = file.filename.as_deref().unwrap_or_default();
                let date = file.upload_date.try_to_rfc3339_string().unwrap_or_default();
                let line = format!("{:>14}  {date}  {name}", file.length);
                screen.line(&clean(line))?;
            }
        }
        Err(error) => {
            match json {
                true => screen.json(&Value::Object(form::outcome(Some(&error))))?,
                false => print_error(&error),
            }
            return Ok(Verdict::Failed);
        }
    }
    Ok(Verdict::Well)
}

enum Output {
    Id(Value),
    Files(Vec<FilesCollectionDocument>),
}

fn is_standard(file: &Path) -> bool {
    file == Path::new(STANDARD)
}

fn put(bucket: &GridFsBucket, file: &Path, name: &str) -> Result<Output, Error> {
    let id = match is_standard(file) {
        true => bucket.upload_from_stream(name, io::stdin().lock()).run()?,
        false => bucket.upload_from_stream(name, opened(file)?).run()?,
    };
    let id = extended_json::relaxed(doc! { "id": id });
    Ok(Output::Id(id["id"].clone()))
}

fn get(bucket: &GridFsBucket, name: &str, file: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| local(file, "written", &error);
    let download = |destination: &mut dyn Write| {
        let download = bucket.download_to_stream_by_name(name, &mut *destination);
        download.run()?;
        destination.flush().map_err(failed)
    };
    if is_standard(file) {
        return download(&mut io::stdout().lock());
    }
    // An existing file is not overwritten, and a part of one does not stay.
    let mut created = File::create_new(file).map_err(failed)?;
    let outcome = download(&mut created);
    if outcome.is_err() {
        let _ = fs::remove_file(file);
    }
    outcome
}

fn list(bucket: &GridFsBucket) -> Result<Output, Error> {
    let sorted = bucket
        .find(doc! {})
        .sort(doc! { "filename": 1, "uploadDate": 1 });
    sorted.run()?.collect::<Result<_, _>>().map(Output::Files)
}

fn opened(file: &Path) -> Result<File, Error> {
    File::open(file).map_err(|error| local(file, "read", &error))
}

/// The error for a local file.
fn local(file: &Path, verb: &str, error: &io::Error) -> Error {
    Error::custom(format!(
        "the file {} cannot be {verb}: {error}",
        file.display()
    ))
}

fn described(file: &FilesCollectionDocument) -> Value {
    let id = extended_json::relaxed(doc! { "id": file.id.clone() });
    json!({
        "id": id["id"],
        "filename": file.filename,
        "length": file.length,
        "chunkSize": file.chunk_size_bytes,
        "uploadDate": file.upload_date.try_to_rfc3339_string().unwrap_or_default(),
    })
}
