//! The operations of cursors.

use std::sync::{Arc, Mutex};

use bson::Document;
use mongotls::Cursor;

use super::{Call, Operation, Outcome, now};
use crate::unified::entities::{CursorEntity, Entity};
use crate::unified::failure::Failure;
use crate::unified::lock;

pub(super) const OPERATIONS: &[Operation] = &[
    now("close", &[], close),
    now("iterateOnce", &[], iterate_once),
    now(
        "iterateUntilDocumentOrError",
        &[],
        iterate_until_document_or_error,
    ),
];

fn cursor<'a>(call: &Call<'a>) -> Result<&'a Arc<Mutex<CursorEntity>>, Failure> {
    match call.object {
        Some(Entity::Cursor(cursor)) => Ok(cursor),
        _ => Err(Failure::Entity("the object is not a cursor".to_owned())),
    }
}

fn close(call: &Call<'_>) -> Result<Outcome, Failure> {
    lock(cursor(call)?).close();
    Ok(Outcome::Nothing)
}

/// Calls `advance`, and returns the document that it moved to, if there is one.
fn next(
    call: &Call<'_>,
    advance: impl Fn(&mut Cursor<Document>) -> mongotls::Result<bool>,
) -> Result<Option<Document>, Failure> {
    let mut entity = lock(cursor(call)?);
    let Some(cursor) = &mut entity.cursor else {
        return Err(Failure::runner("the cursor is closed"));
    };
    match advance(cursor)? {
        true => match Document::try_from(cursor.current()) {
            Ok(document) => Ok(Some(document)),
            Err(error) => Err(Failure::mismatch(format!("malformed BSON: {error}"))),
        },
        false => Ok(None),
    }
}

fn iterate_once(call: &Call<'_>) -> Result<Outcome, Failure> {
    Ok(match next(call, Cursor::advance)? {
        Some(document) => Outcome::Document(document),
        None => Outcome::Nothing,
    })
}

fn iterate_until_document_or_error(call: &Call<'_>) -> Result<Outcome, Failure> {
    match next(call, Cursor::advance_or_wait)? {
        Some(document) => Ok(Outcome::Document(document)),
        None => Err(Failure::mismatch("the cursor ended without a document")),
    }
}
