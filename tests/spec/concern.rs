//! "Read and Write Concern": from a connection string, and from their parts to the document of a command.

use bson::{Bson, Document};
use mongotls::options::{ClientOptions, ReadConcern, WriteConcern};
use serde_json::{Map, Value, json};

use crate::expect::{is_valid, only_fields, parse, same, text};

/// Checks the concern of a connection string.
pub(crate) fn run_uri(case: &Value) -> Result<(), String> {
    let known = [
        "description",
        "uri",
        "valid",
        "warning",
        "readConcern",
        "writeConcern",
    ];
    only_fields(case, &known)?;
    if invalid_value_is_ignored(case)? {
        return Ok(());
    }
    let Some((options, _)) = parse(case)? else {
        return Ok(());
    };
    if let expected @ Value::Object(_) = &case["readConcern"] {
        let actual = json_of(&options.read_concern().to_document());
        same("readConcern", expected, &actual)?;
    }
    if let Value::Object(expected) = &case["writeConcern"] {
        let actual = json_of(&options.write_concern().to_document());
        same("writeConcern", &on_the_wire(expected)?, &actual)?;
    }
    Ok(())
}

/// Returns true if the case expects an error but does not specify a warning, and the value was ignored with a warning.
///
/// This format has no third result, and the two specifications differ: "Connection String" requires that an invalid
/// value is ignored with a warning, and "URI Options" tests wTimeoutMS for it. Such a case passes either way, as long
/// as the value has no effect.
fn invalid_value_is_ignored(case: &Value) -> Result<bool, String> {
    if is_valid(case)? || !case["warning"].is_null() {
        return Ok(false);
    }
    let parsed = ClientOptions::parse(text(case, "uri")?);
    Ok(parsed.is_ok_and(|(options, warnings)| {
        !warnings.is_empty()
            && options.write_concern().is_server_default()
            && options.read_concern().is_server_default()
    }))
}

/// Checks that the parts of a concern lead to a document, or to an error.
pub(crate) fn run_document(case: &Value) -> Result<(), String> {
    let known = [
        "description",
        "valid",
        "readConcern",
        "readConcernDocument",
        "writeConcern",
        "writeConcernDocument",
        "isServerDefault",
        "isAcknowledged",
    ];
    only_fields(case, &known)?;
    match (&case["readConcern"], &case["writeConcern"]) {
        (Value::Object(parts), Value::Null) => read_concern(parts, case),
        (Value::Null, Value::Object(parts)) => write_concern(parts, case),
        _ => Err("expected a read concern or a write concern".to_owned()),
    }
}

fn read_concern(parts: &Map<String, Value>, case: &Value) -> Result<(), String> {
    let concern = match parts.get("level") {
        Some(Value::String(level)) if parts.len() == 1 => ReadConcern::new(level),
        None if parts.is_empty() => ReadConcern::default(),
        _ => return Err(format!("the runner does not know {parts:?}")),
    };
    if !is_valid(case)? {
        return Err("no read concern is invalid".to_owned());
    }
    let document = json_of(&concern.to_document());
    same(
        "readConcernDocument",
        &case["readConcernDocument"],
        &document,
    )?;
    let is_default = json!(concern.is_server_default());
    same("isServerDefault", &case["isServerDefault"], &is_default)
}

fn write_concern(parts: &Map<String, Value>, case: &Value) -> Result<(), String> {
    let wire = bson::serialize_to_document(&on_the_wire(parts)?).map_err(|why| why.to_string())?;
    let concern = match (is_valid(case)?, WriteConcern::from_document(&wire)) {
        (true, Ok(concern)) => concern,
        (true, Err(why)) => return Err(format!("expected no error, got: {why}")),
        (false, Ok(_)) => return Err("expected an error, got none".to_owned()),
        (false, Err(_)) => return Ok(()),
    };
    let document = json_of(&concern.to_document());
    same(
        "writeConcernDocument",
        &case["writeConcernDocument"],
        &document,
    )?;
    let is_default = json!(concern.is_server_default());
    same("isServerDefault", &case["isServerDefault"], &is_default)?;
    let is_acknowledged = json!(concern.is_acknowledged());
    same("isAcknowledged", &case["isAcknowledged"], &is_acknowledged)
}

/// The names of a write concern's parts in a command.
fn on_the_wire(parts: &Map<String, Value>) -> Result<Value, String> {
    let fields = parts.iter().map(|(name, value)| {
        let wire = match name.as_str() {
            "w" => "w",
            "wtimeoutMS" => "wtimeout",
            "journal" => "j",
            _ => return Err(format!("the runner does not know the part \"{name}\"")),
        };
        Ok((wire.to_owned(), value.clone()))
    });
    Ok(Value::Object(fields.collect::<Result<_, _>>()?))
}

fn json_of(document: &Document) -> Value {
    Bson::from(document.clone()).into_relaxed_extjson()
}
