//! Reads the JSON of test files.

use bson::{Bson, Document};
use serde_json::Value;

/// Extended JSON as BSON.
pub(crate) fn bson(value: &Value) -> Result<Bson, String> {
    Bson::try_from(value.clone()).map_err(|error| format!("{value} is not Extended JSON: {error}"))
}

/// Extended JSON as a document.
pub(crate) fn document(value: &Value) -> Result<Document, String> {
    match bson(value)? {
        Bson::Document(document) => Ok(document),
        other => Err(format!("{other} is not a document")),
    }
}

/// A string that must be present.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, String> {
    value[field]
        .as_str()
        .ok_or_else(|| format!("the argument \"{field}\" is not a string"))
}

/// A number that is not negative; `5.0` is 5, and so is the Extended JSON of 5.
pub(crate) fn unsigned(value: &Value) -> Option<u64> {
    match bson(value).ok()? {
        Bson::Int32(number) => u64::try_from(number).ok(),
        Bson::Int64(number) => u64::try_from(number).ok(),
        #[expect(clippy::cast_possible_truncation, reason = "checked")]
        Bson::Double(number) if number >= 0.0 && number.fract() == 0.0 => Some(number as u64),
        _ => None,
    }
}

/// An array of strings, or nothing.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items
        .filter_map(|item| Some(item.as_str()?.to_owned()))
        .collect()
}

/// The items of an array, or nothing.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Fails if there is an argument with another name.
pub(crate) fn only_arguments(arguments: &Value, known: &[&str]) -> Result<(), String> {
    let names = arguments
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.keys());
    let mut other = names.filter(|name| !known.contains(&name.as_str()));
    match other.next() {
        Some(other) => Err(format!("the argument \"{other}\" is unknown")),
        None => Ok(()),
    }
}
