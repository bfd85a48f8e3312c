//! Compares values: "Evaluating Matches" of the unified test format, with its special operators.

use bson::{Bson, Document};

/// What the special operators look up.
pub(crate) trait Lookup {
    /// The BSON entity of this name.
    fn value(&self, name: &str) -> Result<Bson, String>;
    /// The logical session ID of the session of this name.
    fn session_id(&self, name: &str) -> Result<Document, String>;
}

/// Fails unless `actual` matches `expected`. A root document may have more fields than expected.
pub(crate) fn matches(
    expected: &Bson,
    actual: Option<&Bson>,
    is_root: bool,
    lookup: &dyn Lookup,
) -> Result<(), String> {
    if let Some((operator, argument)) = operator(expected)? {
        return apply(operator, argument, actual, is_root, lookup);
    }
    let Some(actual) = actual else {
        return Err(format!("expected {expected}, got no value"));
    };
    match (expected, actual) {
        (Bson::Document(expected), Bson::Document(actual)) => {
            documents_match(expected, actual, is_root, lookup)
        }
        (Bson::Array(expected), Bson::Array(actual)) => {
            if expected.len() != actual.len() {
                return Err(format!(
                    "expected {} items, got {}: {}",
                    expected.len(),
                    actual.len(),
                    Bson::Array(actual.clone())
                ));
            }
            let pairs = expected.iter().zip(actual).enumerate();
            pairs
                .into_iter()
                .try_for_each(|(index, (expected, actual))| {
                    if let Some(("$$unsetOrMatches" | "$$exists", _)) = operator(expected)? {
                        return Err(format!("{index}: an item of an array cannot be absent"));
                    }
                    let outcome = matches(expected, Some(actual), false, lookup);
                    outcome.map_err(|why| format!("{index}: {why}"))
                })
        }
        _ if are_equal(expected, actual) => Ok(()),
        _ => Err(format!("expected {expected}, got {actual}")),
    }
}

/// Fails unless the items are as many as expected, and each matches as a root document.
pub(crate) fn matches_roots(
    expected: &Bson,
    actual: &[Bson],
    lookup: &dyn Lookup,
) -> Result<(), String> {
    if let Some(("$$unsetOrMatches", argument)) = operator(expected)? {
        return matches_roots(argument, actual, lookup);
    }
    let Bson::Array(expected) = expected else {
        let actual = Bson::Array(actual.to_vec());
        return matches(expected, Some(&actual), false, lookup);
    };
    if expected.len() != actual.len() {
        let actual = Bson::Array(actual.to_vec());
        return Err(format!(
            "expected {} documents, got {actual}",
            expected.len()
        ));
    }
    let pairs = expected.iter().zip(actual).enumerate();
    pairs
        .into_iter()
        .try_for_each(|(index, (expected, actual))| {
            let outcome = matches(expected, Some(actual), true, lookup);
            outcome.map_err(|why| format!("{index}: {why}"))
        })
}

fn documents_match(
    expected: &Document,
    actual: &Document,
    is_root: bool,
    lookup: &dyn Lookup,
) -> Result<(), String> {
    for (name, value) in expected {
        matches(value, actual.get(name), false, lookup).map_err(|why| format!("{name}: {why}"))?;
    }
    let other = actual.keys().find(|name| !expected.contains_key(*name));
    match other {
        Some(name) if !is_root => Err(format!("unexpected field \"{name}\" in {actual}")),
        _ => Ok(()),
    }
}

/// Returns the operator and its argument if the value is a document with one field, whose name begins with `$$`.
fn operator(value: &Bson) -> Result<Option<(&str, &Bson)>, String> {
    let Bson::Document(document) = value else {
        return Ok(None);
    };
    let mut fields = document.iter();
    match (fields.next(), fields.next()) {
        (Some((name, argument)), None) if name.starts_with("$$") => Ok(Some((name, argument))),
        (Some((name, _)), Some(_)) if name.starts_with("$$") => {
            Err(format!("the operator {name} must be the only field"))
        }
        _ => Ok(None),
    }
}

fn apply(
    operator: &str,
    argument: &Bson,
    actual: Option<&Bson>,
    is_root: bool,
    lookup: &dyn Lookup,
) -> Result<(), String> {
    let present = || actual.ok_or_else(|| format!("expected {operator} {argument}, got no value"));
    let name = || {
        let name = argument.as_str();
        name.ok_or_else(|| format!("the argument of {operator} is not a string"))
    };
    match operator {
        "$$exists" => match (argument, actual) {
            (Bson::Boolean(true), Some(_)) | (Bson::Boolean(false), None) => Ok(()),
            (Bson::Boolean(true), None) => Err("expected a value, got none".to_owned()),
            (Bson::Boolean(false), Some(actual)) => Err(format!("expected no value, got {actual}")),
            _ => Err("the argument of $$exists is not a boolean".to_owned()),
        },
        "$$type" => has_type(argument, present()?),
        "$$matchesEntity" => matches(&lookup.value(name()?)?, Some(present()?), is_root, lookup),
        "$$matchesHexBytes" => {
            let expected = hex_bytes(name()?)?;
            match present()? {
                Bson::String(text) if text.as_bytes() == expected => Ok(()),
                Bson::Binary(binary) if binary.bytes == expected => Ok(()),
                actual => Err(format!("expected the bytes {argument}, got {actual}")),
            }
        }
        "$$unsetOrMatches" => match actual {
            Some(_) => matches(argument, actual, is_root, lookup),
            None => Ok(()),
        },
        "$$sessionLsid" => {
            let expected = Bson::Document(lookup.session_id(name()?)?);
            match present()? {
                actual if *actual == expected => Ok(()),
                actual => Err(format!("expected the session {expected}, got {actual}")),
            }
        }
        "$$lte" => {
            let (limit, actual) = (number(argument), number(present()?));
            match (&limit, &actual) {
                (Some(limit), Some(actual)) if actual <= limit => Ok(()),
                (Some(_), Some(_)) => Err(format!("expected at most {argument}, got {actual:?}")),
                _ => Err(format!("$$lte compares {argument} with {actual:?}")),
            }
        }
        "$$matchAsDocument" => {
            let Bson::String(text) = present()? else {
                return Err(format!("expected Extended JSON, got {}", present()?));
            };
            let actual: serde_json::Value = serde_json::from_str(text)
                .map_err(|error| format!("invalid Extended JSON {text:?}: {error}"))?;
            let actual = Bson::try_from(actual)
                .map_err(|error| format!("invalid Extended JSON {text:?}: {error}"))?;
            match actual {
                Bson::Document(_) => matches(argument, Some(&actual), false, lookup),
                _ => Err(format!(
                    "expected a document in Extended JSON, got {text:?}"
                )),
            }
        }
        "$$matchAsRoot" => match (argument, present()?) {
            (Bson::Document(_), Bson::Document(_)) => matches(argument, actual, true, lookup),
            (_, actual) => Err(format!("$$matchAsRoot compares {argument} with {actual}")),
        },
        other => Err(format!(
            "the operator {other} is unknown or is not allowed here"
        )),
    }
}

fn has_type(expected: &Bson, actual: &Bson) -> Result<(), String> {
    let names: Vec<&str> = match expected {
        Bson::String(name) => vec![name],
        Bson::Array(names) => names.iter().filter_map(Bson::as_str).collect(),
        _ => Vec::new(),
    };
    if names.is_empty() {
        return Err("the argument of $$type is neither a string nor an array of them".to_owned());
    }
    if let Some(unknown) = names.iter().find(|name| !TYPES.contains(name)) {
        return Err(format!("the type {unknown} is unknown"));
    }
    let own = type_name(actual);
    let is_number = ["int", "long", "double", "decimal"].contains(&own);
    match names.contains(&own) || is_number && names.contains(&"number") {
        true => Ok(()),
        false => Err(format!("expected the type {expected}, got {own}")),
    }
}

const TYPES: &[&str] = &[
    "double",
    "string",
    "object",
    "array",
    "binData",
    "undefined",
    "objectId",
    "bool",
    "date",
    "null",
    "regex",
    "dbPointer",
    "javascript",
    "symbol",
    "javascriptWithScope",
    "int",
    "timestamp",
    "long",
    "decimal",
    "minKey",
    "maxKey",
    "number",
];

/// The name of a type in the query operator `$type`.
fn type_name(value: &Bson) -> &'static str {
    match value {
        Bson::Double(_) => "double",
        Bson::String(_) => "string",
        Bson::Document(_) => "object",
        Bson::Array(_) => "array",
        Bson::Binary(_) => "binData",
        Bson::Undefined => "undefined",
        Bson::ObjectId(_) => "objectId",
        Bson::Boolean(_) => "bool",
        Bson::DateTime(_) => "date",
        Bson::Null => "null",
        Bson::RegularExpression(_) => "regex",
        Bson::DbPointer(_) => "dbPointer",
        Bson::JavaScriptCode(_) => "javascript",
        Bson::Symbol(_) => "symbol",
        Bson::JavaScriptCodeWithScope(_) => "javascriptWithScope",
        Bson::Int32(_) => "int",
        Bson::Timestamp(_) => "timestamp",
        Bson::Int64(_) => "long",
        Bson::Decimal128(_) => "decimal",
        Bson::MinKey => "minKey",
        Bson::MaxKey => "maxKey",
    }
}

/// Equality of values that are neither documents nor arrays: numbers of different types may be equal.
fn are_equal(expected: &Bson, actual: &Bson) -> bool {
    match (number(expected), number(actual)) {
        (Some(expected), Some(actual)) => expected == actual,
        (None, None) => are_same(expected, actual),
        _ => false,
    }
}

/// A number that is not a Decimal128, for comparisons between the types. The second part decides between integers that are
/// equal as a double.
#[derive(Debug, PartialEq, PartialOrd)]
struct Number(f64, i128);

fn number(value: &Bson) -> Option<Number> {
    let of_integer = |integer: i64| Number(integer as f64, i128::from(integer));
    match value {
        Bson::Int32(integer) => Some(of_integer(i64::from(*integer))),
        Bson::Int64(integer) => Some(of_integer(*integer)),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only integers are compared by it"
        )]
        Bson::Double(number) => Some(Number(*number, *number as i128)),
        _ => None,
    }
}

/// Equality of documents of a collection: values and types are the same, and only the order of fields may differ.
pub(crate) fn are_same(expected: &Bson, actual: &Bson) -> bool {
    match (expected, actual) {
        (Bson::Document(expected), Bson::Document(actual)) => {
            expected.len() == actual.len()
                && expected.iter().all(|(name, value)| {
                    actual
                        .get(name)
                        .is_some_and(|actual| are_same(value, actual))
                })
        }
        (Bson::Array(expected), Bson::Array(actual)) => {
            expected.len() == actual.len()
                && expected
                    .iter()
                    .zip(actual)
                    .all(|(expected, actual)| are_same(expected, actual))
        }
        (Bson::JavaScriptCodeWithScope(expected), Bson::JavaScriptCodeWithScope(actual)) => {
            let scope = |code: &bson::JavaScriptCodeWithScope| Bson::Document(code.scope.clone());
            expected.code == actual.code && are_same(&scope(expected), &scope(actual))
        }
        (Bson::Double(expected), Bson::Double(actual)) => {
            expected.to_bits() == actual.to_bits()
                || expected == actual
                || expected.is_nan() && actual.is_nan()
        }
        _ => expected == actual,
    }
}

/// The bytes of a string of hexadecimal digits.
pub(crate) fn hex_bytes(text: &str) -> Result<Vec<u8>, String> {
    let malformed = || format!("malformed hexadecimal bytes: {text:?}");
    if text.len() % 2 != 0 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| malformed()))
        .collect()
}
