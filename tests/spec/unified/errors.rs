//! Compares the error of an operation with `expectError`.

use std::collections::BTreeMap;
use std::error::Error as _;

use bson::{Bson, Document, doc};
use mongotls::Error;
use mongotls::results::{BulkWriteResult, PartialBulkWriteResult, WriteConcernError};
use serde_json::Value;

use super::json::{bson, texts};
use super::matcher::{Lookup, matches, matches_roots};
use super::operations::bulk_result;

/// Fails unless the error is the expected one.
pub(crate) fn check(expected: &Value, error: &Error, lookup: &dyn Lookup) -> Result<(), String> {
    let fields = expected.as_object().into_iter().flatten();
    for (field, expected) in fields {
        check_field(field, expected, error, lookup)
            .map_err(|why| format!("expectError.{field}: {why}; the error: {error:?}"))?;
    }
    Ok(())
}

fn check_field(
    field: &str,
    expected: &Value,
    error: &Error,
    lookup: &dyn Lookup,
) -> Result<(), String> {
    let same = |actual: Value| match *expected == actual {
        true => Ok(()),
        false => Err(format!("expected {expected}, got {actual}")),
    };
    let labels = |wanted: bool| {
        let wrong = texts(expected)
            .into_iter()
            .find(|label| error.has_label(label) != wanted);
        match wrong {
            Some(label) => Err(format!(
                "the label {label} is {}",
                if wanted { "missing" } else { "present" }
            )),
            None => Ok(()),
        }
    };
    match field {
        "isError" => Ok(()),
        // An answer of the server makes an error that is not one of the client.
        "isClientError" => same(server_error(error).is_none().into()),
        "isTimeoutError" => same(error.is_timeout().into()),
        "errorContains" => {
            let text = whole_text(error).to_lowercase();
            let expected = expected.as_str().unwrap_or_default().to_lowercase();
            match text.contains(&expected) {
                true => Ok(()),
                false => Err(format!("{expected:?} is not part of {text:?}")),
            }
        }
        "errorCode" => {
            let code = server_error(error).map(|failure| Bson::Int32(failure.code));
            matches(&bson(expected)?, code.as_ref(), false, lookup)
        }
        "errorCodeName" => {
            let name = server_error(error).map(|failure| failure.code_name);
            let name = name.unwrap_or_default();
            match name.eq_ignore_ascii_case(expected.as_str().unwrap_or_default()) {
                true => Ok(()),
                false => Err(format!("expected {expected}, got {name:?}")),
            }
        }
        "errorLabelsContain" => labels(true),
        "errorLabelsOmit" => labels(false),
        "errorResponse" => {
            let reply = error
                .command()
                .map(|failure| Document::try_from(&*failure.reply));
            let reply = reply
                .transpose()
                .map_err(|error| error.to_string())?
                .map(Bson::Document);
            matches(&bson(expected)?, reply.as_ref(), true, lookup)
        }
        "expectResult" => {
            let partial = error
                .bulk_failure()
                .and_then(|failure| failure.partial_result.as_ref());
            let partial = partial.map(|result| Bson::Document(bulk_result(result)));
            // A bulk without a partial result has no write that is known to have succeeded. The cases of collections, whose
            // results have this field, express it by zeros.
            let is_of_collection = expected.get("insertedIds").is_some();
            let partial = partial.or_else(|| is_of_collection.then(|| no_success().into()));
            matches(&bson(expected)?, partial.as_ref(), true, lookup)
        }
        "writeErrors" => write_errors(expected, error, lookup),
        "writeConcernErrors" => write_concern_errors(expected, error, lookup),
        _ => Err("the runner does not know the field".to_owned()),
    }
}

/// What a server said about a failure.
struct ServerError<'a> {
    code: i32,
    code_name: &'a str,
    message: &'a str,
}

/// The error in the reply to a command: of the command, of its first failed write, or of the write concern.
fn server_error(error: &Error) -> Option<ServerError<'_>> {
    if let Some(failure) = error.command() {
        return Some(ServerError {
            code: failure.code,
            code_name: &failure.code_name,
            message: &failure.message,
        });
    }
    let failed = error.write_failure().map(|failure| &failure.errors[..]);
    let of_write = failed.unwrap_or_default().first().map(|error| ServerError {
        code: error.code,
        code_name: &error.code_name,
        message: &error.message,
    });
    let of_concern = concern_errors(error).first().map(|error| ServerError {
        code: error.code,
        code_name: &error.code_name,
        message: &error.message,
    });
    of_write.or(of_concern)
}

/// Compares the failed writes: a document for each index, and no others.
fn write_errors(expected: &Value, error: &Error, lookup: &dyn Lookup) -> Result<(), String> {
    let failures = error.write_failure().map(|failure| &failure.errors[..]);
    let actual: BTreeMap<String, Bson> = failures
        .unwrap_or_default()
        .iter()
        .map(|error| {
            let fields = failure(error.code, &error.message, error.details.as_ref());
            (error.index.to_string(), Bson::Document(fields))
        })
        .collect();
    let expected = expected.as_object().ok_or("not a document")?;
    if let Some(other) = actual.keys().find(|index| !expected.contains_key(*index)) {
        return Err(format!("the write {other} failed, too"));
    }
    expected.iter().try_for_each(|(index, expected)| {
        let outcome = matches(&bson(expected)?, actual.get(index), true, lookup);
        outcome.map_err(|why| format!("{index}: {why}"))
    })
}

/// Compares the failures of the write concern: a list of documents.
fn write_concern_errors(
    expected: &Value,
    error: &Error,
    lookup: &dyn Lookup,
) -> Result<(), String> {
    let actual: Vec<_> = concern_errors(error)
        .into_iter()
        .map(|error| failure(error.code, &error.message, error.details.as_ref()))
        .map(Bson::Document)
        .collect();
    matches_roots(&bson(expected)?, &actual, lookup)
}

/// The failures of the write concern: at most one, or one for each command of a bulk.
fn concern_errors(error: &Error) -> Vec<&WriteConcernError> {
    match error.bulk_failure() {
        Some(bulk) => bulk.concern_errors.iter().collect(),
        None => {
            let failure = error.write_failure();
            let error = failure.and_then(|failure| failure.concern_error.as_ref());
            error.into_iter().collect()
        }
    }
}

/// The result of a bulk of which no write has succeeded.
fn no_success() -> Document {
    let mut result = BulkWriteResult::default();
    result.acknowledged = true;
    bulk_result(&PartialBulkWriteResult::Collection(result))
}

fn failure(code: i32, message: &str, details: Option<&Document>) -> Document {
    let mut fields = doc! { "code": code, "message": message };
    if let Some(details) = details {
        fields.insert("details", details);
    }
    fields
}

/// The texts of the error, of its causes, and of the server.
fn whole_text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    match server_error(error) {
        Some(failure) => format!("{text}: {}", failure.message),
        None => text,
    }
}
