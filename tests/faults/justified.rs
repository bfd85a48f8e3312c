//! Says whether a reply means success, from the specifications alone. The driver must not succeed with any other.

use mongotls::bson::{Bson, Document, RawBsonRef, RawDocument};

use crate::operations::{Kind, Operation};
use crate::replies::Exchange;

/// Returns whether an operation may succeed with this reply to one of its commands.
pub(crate) fn is_justified(operation: &Operation, exchange: &Exchange, body: &[u8]) -> bool {
    // Its result does not matter to the program.
    if exchange.name() == "killCursors" {
        return true;
    }
    let Ok(reply) = RawDocument::from_bytes(body) else {
        return false;
    };
    if reply.iter_elements().any(|element| element.is_err()) {
        return false;
    }
    let ok = all(reply, "ok");
    let is_ok =
        |value: &RawBsonRef<'_>| *value == RawBsonRef::Boolean(true) || whole(*value) == Some(1);
    if ok.is_empty() || !ok.iter().all(is_ok) {
        return false;
    }
    // The driver returns these replies as they are, or reads a cursor.
    let is_of_program = operation.name.starts_with("Database::run_");
    let command = &exchange.command;
    if !is_of_program && operation.kind != Kind::Read && !all(reply, "writeConcernError").is_empty()
    {
        return false;
    }
    // Its cursor is optional.
    if operation.name.ends_with("_with_reply") {
        return true;
    }
    match exchange.name() {
        "insert" if !is_of_program => {
            let sent = statements(command, "documents").len() as i64;
            has_no_errors(reply) && count_of(reply, "n") == Some(sent)
        }
        "update" => {
            let updates = statements(command, "updates");
            let is_multi = |update: &Document| update.get_bool("multi").unwrap_or(false);
            has_no_errors(reply)
                && is_within(reply, &updates, updates.iter().any(is_multi))
                && count_of(reply, "nModified") <= count_of(reply, "n")
                && count_of(reply, "nModified").is_some()
                && upserted_are_known(reply, updates.len() as i64)
        }
        "delete" => {
            let deletes = statements(command, "deletes");
            let is_multi =
                |delete: &Document| delete.get_i32("limit").is_ok_and(|limit| limit == 0);
            has_no_errors(reply) && is_within(reply, &deletes, deletes.iter().any(is_multi))
        }
        "findAndModify" => {
            let values = all(reply, "value");
            let is_value = |value: &RawBsonRef<'_>| {
                matches!(value, RawBsonRef::Document(_) | RawBsonRef::Null)
            };
            !values.is_empty() && values.iter().all(is_value)
        }
        "bulkWrite" => {
            let counts = [
                "nInserted",
                "nUpserted",
                "nMatched",
                "nModified",
                "nDeleted",
            ];
            let counts = counts.map(|name| count_of(reply, name));
            let sent = statements(command, "ops").len() as i64;
            let is_possible = |count: &Option<i64>| count.is_some_and(|count| count <= sent);
            let inserts = statements(command, "ops");
            let inserts = inserts
                .iter()
                .filter(|it| it.contains_key("insert"))
                .count() as i64;
            counts.iter().all(is_possible)
                && count_of(reply, "nErrors") == Some(0)
                && counts[0] == Some(inserts)
                && has_batch(reply, "firstBatch")
        }
        "find" | "aggregate" | "listCollections" | "listIndexes" => has_batch(reply, "firstBatch"),
        "getMore" => has_batch(reply, "nextBatch"),
        "count" if !is_of_program => count_of(reply, "n").is_some(),
        "distinct" => {
            !all(reply, "values").is_empty()
                && all(reply, "values")
                    .iter()
                    .all(|it| matches!(it, RawBsonRef::Array(_)))
        }
        "listDatabases" => matches!(all(reply, "databases")[..], [RawBsonRef::Array(_), ..]),
        "createSearchIndexes" => {
            matches!(all(reply, "indexesCreated")[..], [RawBsonRef::Array(_), ..])
        }
        _ => true,
    }
}

/// All values of the fields with this name.
fn all<'a>(document: &'a RawDocument, name: &str) -> Vec<RawBsonRef<'a>> {
    let fields = document.iter().map_while(Result::ok);
    let fields = fields.filter(|(key, _)| key.as_str() == name);
    fields.map(|(_, value)| value).collect()
}

/// The value of a whole number.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is whole and below the limit of an i64"
)]
fn whole(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(number) => Some(number.into()),
        RawBsonRef::Int64(number) => Some(number),
        RawBsonRef::Double(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Some(number as i64)
        }
        _ => None,
    }
}

/// The only value of a field, if it is a count.
fn count_of(reply: &RawDocument, name: &str) -> Option<i64> {
    match all(reply, name)[..] {
        [value] => whole(value).filter(|count| *count >= 0),
        _ => None,
    }
}

fn has_no_errors(reply: &RawDocument) -> bool {
    match all(reply, "writeErrors")[..] {
        [] => true,
        [RawBsonRef::Array(errors)] => errors.into_iter().next().is_none(),
        _ => false,
    }
}

fn is_within(reply: &RawDocument, statements: &[Document], is_multi: bool) -> bool {
    let n = count_of(reply, "n");
    n.is_some_and(|n| is_multi || n <= statements.len() as i64)
}

fn upserted_are_known(reply: &RawDocument, sent: i64) -> bool {
    match all(reply, "upserted")[..] {
        [] => true,
        [RawBsonRef::Array(upserted)] => upserted.into_iter().all(|one| {
            let Ok(RawBsonRef::Document(one)) = one else {
                return false;
            };
            let index = all(one, "index").pop().and_then(whole);
            index.is_some_and(|index| (0..sent).contains(&index)) && !all(one, "_id").is_empty()
        }),
        _ => false,
    }
}

fn has_batch(reply: &RawDocument, name: &str) -> bool {
    let cursors = all(reply, "cursor");
    let has_batch = |cursor: &RawBsonRef<'_>| match cursor {
        RawBsonRef::Document(cursor) => all(cursor, name)
            .iter()
            .any(|batch| matches!(batch, RawBsonRef::Array(_))),
        _ => false,
    };
    cursors.iter().any(has_batch)
}

fn statements(command: &Document, name: &str) -> Vec<Document> {
    let statements = command.get_array(name).into_iter().flatten();
    statements.filter_map(Bson::as_document).cloned().collect()
}
