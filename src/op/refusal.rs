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
                broken_rules(details, "", "", &mut broken);
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
        code::BSON_OBJECT_TOO_LARGE
        | code::UPDATED_DOCUMENT_TOO_LARGE
        | code::UPSERTED_DOCUMENT_TOO_LARGE => RefusalKind::DocumentTooLarge,
        code::BAD_VALUE if text.starts_with("object to insert too large") => {
            RefusalKind::DocumentTooLarge
        }
        code::CURSOR_NOT_FOUND | code::CURSOR_KILLED => RefusalKind::CursorExpired,
        code::UNAUTHORIZED => {
            let (resource, action) = denied(text).unwrap_or_default();
            RefusalKind::Unauthorized { action, resource }
        }
        code::ATLAS_ERROR => {
            let (resource, action) = denied_by_atlas(text)?;
            RefusalKind::Unauthorized { action, resource }
        }
        code::IMMUTABLE_FIELD => RefusalKind::ImmutableField {
            field: immutable_field(text).map(str::to_owned),
        },
        code::INDEX_ALREADY_EXISTS
        | code::INDEX_OPTIONS_CONFLICT
        | code::INDEX_KEY_SPECS_CONFLICT => RefusalKind::IndexConflict,
        code::NAMESPACE_EXISTS => RefusalKind::NamespaceExists,
        code::API_STRICT_ERROR => RefusalKind::ApiStrict,
        _ => return None,
    })
}

/// A resource and an action, as far as a text names them.
type Denied = (Option<String>, Option<String>);

/// The resource and the action in `not authorized on shop to execute command { insert: "things", … }`, or the action in
/// `command insert requires authentication`.
fn denied(text: &str) -> Option<Denied> {
    let Some((_, rest)) = text.split_once("not authorized on ") else {
        let (command, _) = text.split_once(" requires authentication")?;
        let (_, action) = command.rsplit_once(' ')?;
        return Some((None, Some(action.to_owned())));
    };
    let (database, command) = rest.split_once(" to execute command {")?;
    let (action, rest) = command.trim_start().split_once(':')?;
    let rest = match action {
        "getMore" => rest
            .split_once("collection:")
            .map_or(rest, |(_, rest)| rest),
        _ => rest,
    };
    let name = rest.trim_start().strip_prefix('"');
    let resource = match name.and_then(|rest| rest.split_once('"')) {
        // This command runs on `admin`, and names both parts.
        Some((name, _)) if action == "renameCollection" => name.to_owned(),
        Some((collection, _)) => format!("{database}.{collection}"),
        None => database.to_owned(),
    };
    Some((Some(resource), Some(action.to_owned())))
}

/// The resource and the action in `user is not allowed to do action [insert] on [shop.things]`.
fn denied_by_atlas(text: &str) -> Option<Denied> {
    let action = between(text, "not allowed to do action [", "]")?;
    let resource = between(text, "] on [", "]").map(|name| name.trim_end_matches('.').to_owned());
    Some((resource, Some(action.to_owned())))
}

/// The field that an update must not change, in the texts of servers since MongoDB 2.6.
fn immutable_field(text: &str) -> Option<&str> {
    between(text, "immutable field '", "'")
        .or_else(|| between(text, "(immutable) field '", "'"))
        .or_else(|| between(text, "The ", " field cannot be changed"))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    let (middle, _) = rest.split_once(after)?;
    Some(middle)
}

/// Collects the rules in the details of a violation, which are nested as the rules are. The depth of a reply is limited.
/// `above`: the rule that these are the details of.
fn broken_rules(details: &Document, path: &str, above: &str, broken: &mut Vec<BrokenRule>) {
    let rule = details.get_str("operatorName").unwrap_or(above);
    let mut path = match details.get_str("propertyName") {
        Ok(name) => joined(path, name),
        // An operator of the query language names the field that it compares.
        Err(_) if path.is_empty() && rule.starts_with('$') => compared(details).to_owned(),
        Err(_) => path.to_owned(),
    };
    if let Some(index) = details.get("itemIndex") {
        path = format!("{path}[{index}]");
    }
    let names = |key| details.get_array(key).into_iter().flatten();
    let names = names("missingProperties").chain(names("additionalProperties"));
    let names: Vec<&str> = names.filter_map(Bson::as_str).collect();
    if !names.is_empty() {
        broken.extend(names.into_iter().map(|name| BrokenRule {
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
            broken_rules(part, &path, rule, broken);
        }
    }
    if !has_parts && !rule.is_empty() {
        let rule = rule.to_owned();
        broken.push(BrokenRule { path, rule });
    }
}

/// The field in `specifiedAs: { age: { $gt: 5 } }`, or nothing.
fn compared(details: &Document) -> &str {
    let specified = details.get_document("specifiedAs").ok();
    let field = specified.and_then(|specified| specified.keys().next());
    field
        .filter(|field| !field.starts_with('$'))
        .map_or("", String::as_str)
}

/// The fields whose values are the details of parts of a rule.
const PARTS: [&str; 7] = [
    "details",
    "schemaRulesNotSatisfied",
    "propertiesNotSatisfied",
    "clausesNotSatisfied",
    "itemsNotSatisfied",
    "schemasNotSatisfied",
    "failingDependencies",
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
        broken_rules(&details, "", "", &mut broken);
        let broken: Vec<_> = broken.iter().map(|it| (&*it.path, &*it.rule)).collect();
        assert_eq!(broken, [("address.zip", "bsonType"), ("name", "required")]);
    }

    /// The details of violations as the manual of MongoDB shows them ("Specify Validation With Query Operators", "Specify
    /// JSON Schema Validation").
    #[test]
    fn other_forms_of_details_are_read() {
        let rules = |details: Document| {
            let mut broken = Vec::new();
            broken_rules(&details, "", "", &mut broken);
            let rules = broken
                .into_iter()
                .map(|it| format!("{}: {}", it.path, it.rule));
            rules.collect::<Vec<_>>()
        };
        let comparison = doc! {
            "operatorName": "$gt", "specifiedAs": { "age": { "$gt": 5 } },
            "reason": "comparison failed", "consideredValue": 3,
        };
        assert_eq!(rules(comparison.clone()), ["age: $gt"]);
        let both = doc! {
            "operatorName": "$and",
            "clausesNotSatisfied": [{ "index": 0, "details": comparison }],
        };
        assert_eq!(rules(both), ["age: $gt"]);
        let items = doc! {
            "operatorName": "$jsonSchema",
            "schemaRulesNotSatisfied": [{
                "operatorName": "properties",
                "propertiesNotSatisfied": [{ "propertyName": "tags", "details": [{
                    "operatorName": "items", "itemIndex": 1,
                    "details": [{ "operatorName": "bsonType", "specifiedAs": { "bsonType": "string" } }],
                }] }],
            }],
        };
        assert_eq!(rules(items), ["tags[1]: bsonType"]);
        let additional = doc! {
            "operatorName": "$jsonSchema",
            "schemaRulesNotSatisfied": [{
                "operatorName": "additionalProperties",
                "specifiedAs": { "additionalProperties": false },
                "additionalProperties": ["colour", "size"],
            }],
        };
        let expected = ["colour: additionalProperties", "size: additionalProperties"];
        assert_eq!(rules(additional), expected);
        let dependent = doc! {
            "operatorName": "$jsonSchema",
            "schemaRulesNotSatisfied": [{
                "operatorName": "dependencies",
                "failingDependencies": [{ "conditionalProperty": "card", "missingProperties": ["address"] }],
            }],
        };
        assert_eq!(rules(dependent), ["address: dependencies"]);
        let any = doc! {
            "operatorName": "$jsonSchema",
            "schemaRulesNotSatisfied": [{
                "operatorName": "anyOf",
                "schemasNotSatisfied": [{ "index": 0, "details": [
                    { "operatorName": "minimum", "specifiedAs": { "minimum": 18 }, "consideredValue": 15 },
                ] }],
            }],
        };
        assert_eq!(rules(any), [": minimum"]);
    }

    /// The facts in the texts of MongoDB from 2.6 to 8.0, of Atlas, of SecantusDB and of FerretDB.
    #[test]
    fn the_texts_of_servers_are_read() {
        let unauthorized = |resource: Option<&str>, action: Option<&str>| {
            Some(RefusalKind::Unauthorized {
                action: action.map(str::to_owned),
                resource: resource.map(str::to_owned),
            })
        };
        let immutable = |field: Option<&str>| {
            let field = field.map(str::to_owned);
            Some(RefusalKind::ImmutableField { field })
        };
        for (number, text, expected) in [
            (
                13,
                "not authorized on shop to execute command { insert: \"things\", ordered: true, lsid: { id: UUID(\"1\") }, $db: \"shop\" }",
                unauthorized(Some("shop.things"), Some("insert")),
            ),
            (
                13,
                "not authorized on admin to execute command { serverStatus: 1 }",
                unauthorized(Some("admin"), Some("serverStatus")),
            ),
            (
                13,
                "not authorized on shop to execute command { getMore: 5, collection: \"things\", $db: \"shop\" }",
                unauthorized(Some("shop.things"), Some("getMore")),
            ),
            (
                13,
                "not authorized on admin to execute command { renameCollection: \"shop.a\", to: \"shop.b\" }",
                unauthorized(Some("shop.a"), Some("renameCollection")),
            ),
            (
                13,
                "command insert requires authentication",
                unauthorized(None, Some("insert")),
            ),
            (
                13,
                "there are no users authenticated",
                unauthorized(None, None),
            ),
            (
                8000,
                "user is not allowed to do action [insert] on [shop.things]",
                unauthorized(Some("shop.things"), Some("insert")),
            ),
            (
                8000,
                "user is not allowed to do action [listDatabases] on [admin.]",
                unauthorized(Some("admin"), Some("listDatabases")),
            ),
            (
                8000,
                "you are over your space quota, using 513 MB of 512 MB",
                None,
            ),
            (
                66,
                "Performing an update on the path '_id' would modify the immutable field '_id'",
                immutable(Some("_id")),
            ),
            (
                66,
                "Plan executor error during findAndModify :: caused by :: Performing an update on the path '_id' would modify the immutable field '_id'",
                immutable(Some("_id")),
            ),
            (
                66,
                "After applying the update, the (immutable) field '_id' was found to have been altered to _id: 2",
                immutable(Some("_id")),
            ),
            (
                66,
                "The _id field cannot be changed from {_id: 1.0} to {_id: 2.0}.",
                immutable(Some("_id")),
            ),
            (66, "cannot modify", immutable(None)),
            (
                2,
                "object to insert too large. size in bytes: 16777300, max size: 16777216",
                Some(RefusalKind::DocumentTooLarge),
            ),
            (2, "unknown operator: $foo", None),
            (
                10334,
                "BSONObj size: 16777300 (0x1000054) is invalid. Size must be between 0 and 16793600(16MB) First element: insert: \"things\"",
                Some(RefusalKind::DocumentTooLarge),
            ),
            (
                17419,
                "Resulting document after update is larger than 16777216",
                Some(RefusalKind::DocumentTooLarge),
            ),
            (
                17420,
                "Document to upsert is larger than 16777216",
                Some(RefusalKind::DocumentTooLarge),
            ),
            (
                43,
                "cursor id 5 not found",
                Some(RefusalKind::CursorExpired),
            ),
            (
                43,
                "Cursor not found, cursor id: 5",
                Some(RefusalKind::CursorExpired),
            ),
            (237, "cursor killed", Some(RefusalKind::CursorExpired)),
            (
                50,
                "operation exceeded time limit",
                Some(RefusalKind::MaxTimeExpired),
            ),
            (
                112,
                "Caused by :: Write conflict during plan execution and yielding is disabled. :: Please retry your operation or multi-document transaction.",
                Some(RefusalKind::WriteConflict),
            ),
            (
                112,
                "WriteConflict error: this operation conflicted with another operation. Please retry your operation or multi-document transaction.",
                Some(RefusalKind::WriteConflict),
            ),
            (10107, "not master", Some(RefusalKind::NotPrimary)),
            (10107, "not primary", Some(RefusalKind::NotPrimary)),
            (
                13435,
                "not master and slaveOk=false",
                Some(RefusalKind::NotPrimary),
            ),
            (
                189,
                "Primary stepped down while waiting for replication",
                Some(RefusalKind::NotPrimary),
            ),
            (
                85,
                "Index with name: a_1 already exists with different options",
                Some(RefusalKind::IndexConflict),
            ),
            (
                85,
                "An equivalent index already exists with the same name but different options. Requested index: { v: 2, unique: true, key: { a: 1 }, name: \"a_1\" }, existing index: { v: 2, key: { a: 1 }, name: \"a_1\" }",
                Some(RefusalKind::IndexConflict),
            ),
            (
                86,
                "An existing index has the same name as the requested index. When index names are not specified, they are auto generated and can cause conflicts. Please refer to our documentation. Requested index: { v: 2, key: { b: 1 }, name: \"a_1\" }, existing index: { v: 2, key: { a: 1 }, name: \"a_1\" }",
                Some(RefusalKind::IndexConflict),
            ),
            (
                68,
                "Identical index already exists: a_1",
                Some(RefusalKind::IndexConflict),
            ),
            (
                48,
                "Collection already exists. NS: shop.things",
                Some(RefusalKind::NamespaceExists),
            ),
            (
                48,
                "a collection 'shop.things' already exists",
                Some(RefusalKind::NamespaceExists),
            ),
            (
                323,
                "Provided apiStrict:true, but the command getLog is not in API Version 1. Information on supported commands and migrations in API Version 1 can be found at https://dochub.mongodb.org/core/manual-versioned-api",
                Some(RefusalKind::ApiStrict),
            ),
        ] {
            let found = kind(number, text, || (None, None));
            assert_eq!(found, expected, "{number} {text}");
        }
    }

    /// The index in the texts of MongoDB 2.6, 4.0, 4.4 and 8.0, with a collation, and of FerretDB 1.24, which names none.
    #[test]
    fn the_index_of_a_duplicate_is_read() {
        for (text, index) in [
            (
                "insertDocument :: caused by :: 11000 E11000 duplicate key error index: shop.users.$email_1  dup key: { : \"a\" }",
                Some("email_1"),
            ),
            (
                "E11000 duplicate key error collection: shop.users index: email_1 dup key: { : \"a\" }",
                Some("email_1"),
            ),
            (
                "E11000 duplicate key error collection: shop.users index: email_1 dup key: { email: \"a\" }",
                Some("email_1"),
            ),
            (
                "E11000 duplicate key error collection: shop.users index: email_1 collation: { locale: \"en\", strength: 2 } dup key: { email: CollationKey(0x29) }",
                Some("email_1"),
            ),
            (
                "E11000 duplicate key error collection: shop.users dup key: { _id: 1 }",
                None,
            ),
            ("E11000 duplicate key error collection: shop.users", None),
        ] {
            let key = DuplicateKey::of(11000, text, |_| None).unwrap();
            assert_eq!(key.index.as_deref(), index, "{text}");
        }
    }
}
