//! The cause of an error that a server answers with: the code, and what the server's text and details say.
//!
//! Only the final error of an operation gets a cause. An error whose code has no remedy of its own has none.

use bson::{Bson, Document, RawBsonRef};

use crate::document::to_document;
use crate::error::{CommandFailure, Error, Stage};
use crate::reason::write::{BrokenRule, Refusal, RefusalKind};
use crate::results::{DuplicateKey, WriteConcernError, WriteError};
use crate::server_code as code;

/// Adds the cause, if the error is one of the known ones and has none yet.
#[cold]
pub(crate) fn explained(error: Error) -> Error {
    if error.cause().is_some() {
        return error;
    }
    let Some(refusal) = refusal(&error) else {
        return error;
    };
    let key = match (&refusal.kind, error.command()) {
        (RefusalKind::DuplicateKey { .. }, Some(failure)) => duplicate_key(failure),
        _ => None,
    };
    let error = error.with_cause(refusal);
    match key {
        Some(key) => error.with_duplicate_key(key),
        None => error,
    }
}

fn duplicate_key(failure: &CommandFailure) -> Option<DuplicateKey> {
    DuplicateKey::of(failure.code, &failure.message, |key| {
        to_document(failure.reply.get_document(key).ok()?).ok()
    })
}

fn refusal(error: &Error) -> Option<Refusal> {
    if let Some(failure) = error.write_failure() {
        return match (failure.errors.first(), &failure.concern_error) {
            (Some(error), _) => of_write(error),
            (None, Some(error)) => of_concern(error),
            (None, None) => None,
        };
    }
    let failure = error.command()?;
    if error.stage() != Some(Stage::Command) {
        return None;
    }
    let kind = kind(failure.code, &failure.message, || {
        let details = match failure.reply.get("errInfo") {
            Ok(Some(RawBsonRef::Document(details))) => to_document(details).ok(),
            _ => None,
        };
        (duplicate_key(failure), details)
    })?;
    Some(Refusal {
        position: None,
        code: failure.code,
        text: failure.message.clone(),
        kind,
    })
}

fn of_write(error: &WriteError) -> Option<Refusal> {
    let more = || (error.duplicate_key.clone(), error.details.clone());
    Some(Refusal {
        position: Some(error.index),
        code: error.code,
        text: error.message.clone(),
        kind: kind(error.code, &error.message, more)?,
    })
}

fn of_concern(error: &WriteConcernError) -> Option<Refusal> {
    let details = error.details.as_ref();
    let has_expired = details.is_some_and(|it| it.get_bool("wtimeout").unwrap_or(false));
    let kind = match has_expired || error.code == code::WRITE_CONCERN_FAILED {
        true => {
            let required = details.and_then(|it| it.get_document("writeConcern").ok());
            let required = required.and_then(|concern| concern.get("w"));
            RefusalKind::WriteConcernTimeout {
                required: required.map(|w| match w {
                    Bson::String(tag) => tag.clone(),
                    other => other.to_string(),
                }),
            }
        }
        false => kind(error.code, &error.message, || (None, error.details.clone()))?,
    };
    Some(Refusal {
        position: None,
        code: error.code,
        text: error.message.clone(),
        kind,
    })
}

fn kind(
    number: i32,
    text: &str,
    more: impl FnOnce() -> (Option<DuplicateKey>, Option<Document>),
) -> Option<RefusalKind> {
    Some(match number {
        _ if code::DUPLICATE_KEYS.contains(&number) => {
            let key = more().0.unwrap_or_default();
            RefusalKind::DuplicateKey {
                index: key.index,
                pattern: key.pattern,
                value: key.value,
            }
        }
        code::DOCUMENT_VALIDATION_FAILURE => {
            let mut broken = Vec::new();
            let details = more().1.unwrap_or_default();
            if let Ok(details) = details.get_document("details") {
                broken_rules(details, "", &mut broken);
            }
            RefusalKind::ValidationFailed { broken }
        }
        code::WRITE_CONFLICT => RefusalKind::WriteConflict,
        code::LEGACY_NOT_PRIMARY
        | code::NOT_WRITABLE_PRIMARY
        | code::NOT_PRIMARY_NO_SECONDARY_OK
        | code::NOT_PRIMARY_OR_SECONDARY
        | code::PRIMARY_STEPPED_DOWN
        | code::INTERRUPTED_DUE_TO_REPL_STATE_CHANGE => RefusalKind::NotPrimary,
        code::MAX_TIME_MS_EXPIRED => RefusalKind::MaxTimeExpired,
        code::BSON_OBJECT_TOO_LARGE => RefusalKind::DocumentTooLarge,
        code::CURSOR_NOT_FOUND => RefusalKind::CursorExpired,
        code::UNAUTHORIZED => {
            let (resource, action) = denied(text).unzip();
            RefusalKind::Unauthorized { action, resource }
        }
        code::IMMUTABLE_FIELD => RefusalKind::ImmutableField {
            field: between(text, "immutable field '", "'").map(str::to_owned),
        },
        code::INDEX_OPTIONS_CONFLICT | code::INDEX_KEY_SPECS_CONFLICT => RefusalKind::IndexConflict,
        code::NAMESPACE_EXISTS => RefusalKind::NamespaceExists,
        code::API_STRICT_ERROR => RefusalKind::ApiStrict,
        _ => return None,
    })
}

/// The resource and the action in `not authorized on shop to execute command { insert: "things", … }`.
fn denied(text: &str) -> Option<(String, String)> {
    let (_, rest) = text.split_once("not authorized on ")?;
    let (database, command) = rest.split_once(" to execute command {")?;
    let (action, rest) = command.trim_start().split_once(':')?;
    let collection = rest.trim_start().strip_prefix('"');
    let resource = match collection.and_then(|rest| rest.split_once('"')) {
        Some((collection, _)) => format!("{database}.{collection}"),
        None => database.to_owned(),
    };
    Some((resource, action.to_owned()))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    let (middle, _) = rest.split_once(after)?;
    Some(middle)
}

/// Collects the rules in the details of a violation, which are nested as the rules are. The depth of a reply is limited.
fn broken_rules(details: &Document, path: &str, broken: &mut Vec<BrokenRule>) {
    let path = match details.get_str("propertyName") {
        Ok(name) => joined(path, name),
        Err(_) => path.to_owned(),
    };
    let rule = details.get_str("operatorName").unwrap_or_default();
    if let Ok(missing) = details.get_array("missingProperties") {
        let names = missing.iter().filter_map(Bson::as_str);
        broken.extend(names.map(|name| BrokenRule {
            path: joined(&path, name),
            rule: rule.to_owned(),
        }));
        return;
    }
    let mut has_parts = false;
    for part in PARTS.iter().filter_map(|key| details.get(*key)) {
        let parts: Vec<&Document> = match part {
            Bson::Document(part) => vec![part],
            Bson::Array(parts) => parts.iter().filter_map(Bson::as_document).collect(),
            _ => Vec::new(),
        };
        has_parts |= !parts.is_empty();
        for part in parts {
            broken_rules(part, &path, broken);
        }
    }
    if !has_parts && !rule.is_empty() {
        let rule = rule.to_owned();
        broken.push(BrokenRule { path, rule });
    }
}

/// The fields whose values are the details of parts of a rule.
const PARTS: [&str; 5] = [
    "details",
    "schemaRulesNotSatisfied",
    "propertiesNotSatisfied",
    "clausesNotSatisfied",
    "itemsNotSatisfied",
];

fn joined(path: &str, name: &str) -> String {
    match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn the_rules_that_a_document_violates_have_their_paths() {
        let details = doc! {
            "operatorName": "$jsonSchema",
            "schemaRulesNotSatisfied": [
                { "operatorName": "properties", "propertiesNotSatisfied": [
                    { "propertyName": "address", "details": [
                        { "operatorName": "properties", "propertiesNotSatisfied": [
                            { "propertyName": "zip", "details": [
                                { "operatorName": "bsonType", "reason": "type did not match" },
                            ] },
                        ] },
                    ] },
                ] },
                { "operatorName": "required", "missingProperties": ["name"] },
            ],
        };
        let mut broken = Vec::new();
        broken_rules(&details, "", &mut broken);
        let broken: Vec<_> = broken.iter().map(|it| (&*it.path, &*it.rule)).collect();
        assert_eq!(broken, [("address.zip", "bsonType"), ("name", "required")]);
    }

    #[test]
    fn the_texts_of_servers_are_read() {
        let text =
            "not authorized on shop to execute command { insert: \"things\", ordered: true }";
        let expected = ("shop.things".to_owned(), "insert".to_owned());
        assert_eq!(denied(text), Some(expected));
        let expected = ("admin".to_owned(), "serverStatus".to_owned());
        let text = "not authorized on admin to execute command { serverStatus: 1 }";
        assert_eq!(denied(text), Some(expected));
        assert_eq!(denied("command insert requires authentication"), None);
    }
}
