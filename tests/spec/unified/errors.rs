//! Compares the error of an operation with `expectError`.

use std::error::Error as _;

use bson::{Bson, Document};
use mongotls::Error;
use serde_json::Value;

use super::json::{bson, texts};
use super::matcher::{Lookup, matches};

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
        "isClientError" => same(error.command().is_none().into()),
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
            let code = error.command().map(|failure| Bson::Int32(failure.code));
            matches(&bson(expected)?, code.as_ref(), false, lookup)
        }
        "errorCodeName" => {
            let name = error
                .command()
                .map(|failure| failure.code_name.as_str())
                .unwrap_or_default();
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
        "expectResult" => matches(&bson(expected)?, None, false, lookup),
        "writeErrors" | "writeConcernErrors" => {
            Err("the errors of a bulk write are not connected to the runner".to_owned())
        }
        _ => Err("the runner does not know the field".to_owned()),
    }
}

/// The texts of the error, of its causes, and of the server.
fn whole_text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    match error.command() {
        Some(failure) => format!("{text}: {}", failure.message),
        None => text,
    }
}
