//! Words for commands and writes that a server rejected, or did not acknowledge.

use bson::Document;

use crate::cause::{CauseCode, Explanation, FactValue};
use crate::printable::Quoted;
use crate::reason::write::{BrokenRule, Refusal, RefusalKind};

pub(super) fn explain(refusal: &Refusal) -> Explanation {
    let text = &refusal.text;
    let explanation = match &refusal.kind {
        RefusalKind::DuplicateKey {
            index,
            pattern,
            value,
        } => duplicate_key(text, index.as_deref(), pattern.as_ref(), value.as_ref()),
        RefusalKind::ValidationFailed { broken } => validation(text, broken),
        RefusalKind::WriteConflict => Explanation::new(
            CauseCode::WriteConflict,
            format!("another operation changed the same document: {text}"),
            "Run the operation again. In a transaction, run the whole transaction again.",
        ),
        RefusalKind::NotPrimary => Explanation::new(
            CauseCode::NotPrimary,
            format!("the server is not the primary: {text}"),
            "Wait until the replica set has elected a primary, and run the operation again; retryWrites=true does this \
             once. With directConnection=true connect to the primary, or to the whole set.",
        ),
        RefusalKind::WriteConcernTimeout { required } => Explanation::new(
            CauseCode::WriteConcernTimeout,
            format!("the write was made, but not confirmed by enough members in time: {text}"),
            "Do not repeat the write unless a repetition is harmless. Check the secondaries (`rs.status()`), and raise \
             wtimeout or timeoutMS if they only lag.",
        )
        .fact_opt("w", required.clone()),
        RefusalKind::MaxTimeExpired => Explanation::new(
            CauseCode::MaxTimeExpired,
            format!("the server stopped the operation when its time was over: {text}"),
            "Check that an index serves the filter (`explain`), or raise timeoutMS or max_time.",
        ),
        RefusalKind::DocumentTooLarge => Explanation::new(
            CauseCode::DocumentTooLarge,
            format!("the document is larger than the server allows: {text}"),
            "Split the document, or store large values in files (GridFS). The limit is 16 MiB for a document, after an \
             update too.",
        ),
        RefusalKind::CursorExpired => Explanation::new(
            CauseCode::CursorExpired,
            format!("the server does not have the cursor any more: {text}"),
            "Read faster or in smaller batches (batch_size): servers close a cursor that is not read for 10 minutes, and \
             all cursors when they restart. Then run the query again.",
        ),
        RefusalKind::Unauthorized { action, resource } => Explanation::new(
            CauseCode::Unauthorized,
            match (action, resource) {
                (Some(action), Some(resource)) => format!(
                    "the user may not run {} on {}",
                    Quoted(action),
                    Quoted(resource)
                ),
                _ => format!("the user may not run the command: {text}"),
            },
            "Give the user a role with this action (`db.grantRolesToUser`), or name another user and authSource in the \
             connection string.",
        )
        .fact_opt("action", action.clone())
        .fact_opt("resource", resource.clone()),
        RefusalKind::ImmutableField { field } => Explanation::new(
            CauseCode::ImmutableField,
            match field {
                Some(field) => format!("the field {} cannot change: {text}", Quoted(field)),
                None => format!("a field of the update cannot change: {text}"),
            },
            "Leave the field out of the update. To change an _id, insert a new document and delete the old one.",
        )
        .fact_opt("field", field.clone()),
        RefusalKind::IndexConflict => Explanation::new(
            CauseCode::IndexConflict,
            format!("there is another index with this name or these keys: {text}"),
            "Drop the other index, or give the new one its name and options (`db.collection.getIndexes()` lists them).",
        ),
        RefusalKind::NamespaceExists => Explanation::new(
            CauseCode::NamespaceExists,
            format!("there is a collection or a view with this name: {text}"),
            "Use the one that is there, or drop it first.",
        ),
        RefusalKind::ApiStrict => Explanation::new(
            CauseCode::ApiStrict,
            format!("the command is not a part of the Stable API: {text}"),
            "Run the command with a client whose ServerApi is not strict, or use a command of the Stable API.",
        ),
    };
    let position = refusal.position.and_then(|at| i64::try_from(at).ok());
    let explanation = explanation.fact("server_code", i64::from(refusal.code));
    match position {
        Some(position) => explanation.fact("write", position),
        None => explanation,
    }
}

fn duplicate_key(
    text: &str,
    index: Option<&str>,
    pattern: Option<&Document>,
    value: Option<&Document>,
) -> Explanation {
    let message = match (index, value) {
        (Some(index), Some(value)) => {
            format!("the unique index {} already has {value}", Quoted(&index))
        }
        _ => format!("a unique index already has the value: {text}"),
    };
    Explanation::new(
        CauseCode::DuplicateKey,
        message,
        "Use another value, or update the document that has it (`upsert`). For an _id that the program sets, check that \
         it is unique.",
    )
    .fact_opt("index", index)
    .fact_opt("key_pattern", pattern.map(ToString::to_string))
    .fact_opt("key_value", value.map(ToString::to_string))
}

fn validation(text: &str, broken: &[BrokenRule]) -> Explanation {
    let rules: Vec<String> = broken.iter().map(rule).collect();
    let message = match rules.is_empty() {
        true => format!("the document violates the rules of its collection: {text}"),
        false => format!(
            "the document violates the rules of its collection: {}",
            rules.join(", ")
        ),
    };
    let explanation = Explanation::new(
        CauseCode::ValidationFailed,
        message,
        "Correct the document, or change the rules (`collMod` with a validator). bypass_document_validation skips them \
         for a user who may do so.",
    );
    match rules.is_empty() {
        true => explanation,
        false => explanation.fact("rules", FactValue::List(rules)),
    }
}

fn rule(BrokenRule { path, rule }: &BrokenRule) -> String {
    match path.is_empty() {
        true => rule.clone(),
        false => format!("{path}: {rule}"),
    }
}
