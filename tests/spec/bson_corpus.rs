//! The format of `bson-corpus/tests`: BSON and Extended JSON, decoded and encoded by the types that programs use.
//!
//! Those are the types of the `bson` crate, which this crate exports. Source: "BSON Corpus".

use std::str::FromStr;

use mongotls::bson::{Bson, Decimal128, Document, RawDocumentBuf};
use serde_json::{Value, json};

use crate::expect::{only_fields, same, text};

/// The cases of a file: each one gets its group and the type of its file.
pub(crate) fn cases(file: &Value) -> Option<Vec<Value>> {
    let bson_type = file["bson_type"].as_str()?;
    let groups = ["valid", "decodeErrors", "parseErrors"].into_iter();
    let cases = groups.flat_map(|group| {
        let cases = file[group].as_array().into_iter().flatten();
        cases.map(move |case| {
            let mut case = case.clone();
            case["group"] = json!(group);
            case["bson_type"] = json!(bson_type);
            case
        })
    });
    Some(cases.collect())
}

pub(crate) fn run(case: &Value) -> Result<(), String> {
    match text(case, "group")? {
        "valid" => run_valid(case),
        "decodeErrors" => {
            only_fields(case, &["group", "bson_type", "description", "bson"])?;
            match decode(&bytes(text(case, "bson")?)?) {
                Ok(document) => Err(format!("expected an error, got {document}")),
                Err(_) => Ok(()),
            }
        }
        _ => run_parse_error(case),
    }
}

fn run_valid(case: &Value) -> Result<(), String> {
    const FIELDS: &[&str] = &[
        "group",
        "bson_type",
        "description",
        "canonical_bson",
        "canonical_extjson",
        "relaxed_extjson",
        "degenerate_bson",
        "degenerate_extjson",
        // A conversion that an implementation may offer. Ours keeps the deprecated types.
        "converted_bson",
        "converted_extjson",
        "lossy",
    ];
    only_fields(case, FIELDS)?;
    let canonical = bytes(text(case, "canonical_bson")?)?;
    let canonical_json = normalised(json_of(text(case, "canonical_extjson")?)?);
    let is_lossy = case["lossy"] == true;

    let document = decode(&canonical)?;
    same_bytes("canonical_bson", &canonical, &encode(&document)?)?;
    same(
        "canonical_bson as canonical_extjson",
        &canonical_json,
        &canonical_of(&document),
    )?;
    let relaxed = case["relaxed_extjson"].as_str().map(json_of).transpose()?;
    if let Some(relaxed) = &relaxed {
        same(
            "canonical_bson as relaxed_extjson",
            relaxed,
            &relaxed_of(&document),
        )?;
        let parsed = parse(relaxed)?;
        same("relaxed_extjson", relaxed, &relaxed_of(&parsed))?;
    }
    let degenerate_json = case["degenerate_extjson"]
        .as_str()
        .map(json_of)
        .transpose()?;
    let texts = [
        ("canonical_extjson", Some(&canonical_json)),
        ("degenerate_extjson", degenerate_json.as_ref()),
    ];
    for (name, json) in texts {
        let Some(json) = json else { continue };
        let parsed = parse(json)?;
        same(name, &canonical_json, &canonical_of(&parsed))?;
        if !is_lossy {
            same_bytes(name, &canonical, &encode(&parsed)?)?;
        }
    }
    if let Some(degenerate) = case["degenerate_bson"].as_str() {
        let document = decode(&bytes(degenerate)?)?;
        same_bytes("degenerate_bson", &canonical, &encode(&document)?)?;
    }
    Ok(())
}

fn run_parse_error(case: &Value) -> Result<(), String> {
    only_fields(case, &["group", "bson_type", "description", "string"])?;
    let input = text(case, "string")?;
    let parsed = match text(case, "bson_type")? {
        "0x13" => Decimal128::from_str(input)
            .map(|value| value.to_string())
            .map_err(|error| error.to_string()),
        "0x00" | "0x05" => {
            // The input is valid JSON, and no valid Extended JSON.
            let json = json_of(input)?;
            parse(&json).and_then(|document| encode(&document).map(|_| document.to_string()))
        }
        other => {
            return Err(format!(
                "the runner does not know parse errors of the type {other}"
            ));
        }
    };
    match parsed {
        Ok(value) => Err(format!("expected an error, got {value}")),
        Err(_) => Ok(()),
    }
}

/// Decodes all of a document.
fn decode(bytes: &[u8]) -> Result<Document, String> {
    let raw = RawDocumentBuf::from_bytes(bytes.to_vec()).map_err(|error| error.to_string())?;
    Document::try_from(raw).map_err(|error| error.to_string())
}

fn encode(document: &Document) -> Result<Vec<u8>, String> {
    let raw = RawDocumentBuf::try_from(document).map_err(|error| error.to_string())?;
    Ok(raw.into_bytes())
}

fn parse(json: &Value) -> Result<Document, String> {
    match Bson::try_from(json.clone()).map_err(|error| error.to_string())? {
        Bson::Document(document) => Ok(document),
        other => Err(format!("{other} is not a document")),
    }
}

fn canonical_of(document: &Document) -> Value {
    normalised(Bson::Document(document.clone()).into_canonical_extjson())
}

/// Gives equal texts to equal numbers: `1.5E+18` is `1500000000000000000.0`. "Implementations MUST normalize JSON
/// comparisons however necessary".
fn normalised(mut json: Value) -> Value {
    match &mut json {
        Value::Object(fields) => {
            let number = fields
                .get("$numberDouble")
                .and_then(|text| text.as_str()?.parse::<f64>().ok());
            match number.filter(|number| number.is_finite()) {
                Some(number) => json!({ "$numberDouble": format!("{number:?}") }),
                None => {
                    fields
                        .iter_mut()
                        .for_each(|(_, value)| *value = normalised(value.take()));
                    json
                }
            }
        }
        Value::Array(items) => {
            items
                .iter_mut()
                .for_each(|value| *value = normalised(value.take()));
            json
        }
        _ => json,
    }
}

fn relaxed_of(document: &Document) -> Value {
    Bson::Document(document.clone()).into_relaxed_extjson()
}

fn json_of(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{text}: {error}"))
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    crate::unified::hex_bytes(text)
}

fn same_bytes(what: &str, expected: &[u8], actual: &[u8]) -> Result<(), String> {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<String>()
    };
    same(what, &json!(hex(expected)), &json!(hex(actual)))
}
