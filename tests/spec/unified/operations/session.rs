//! The operations of a session.

use std::sync::Arc;

use bson::Bson;

use super::{Call, Operation, Outcome, later, now};
use crate::unified::entities::{Entity, SessionEntity};
use crate::unified::failure::Failure;

pub(super) const OPERATIONS: &[Operation] = &[
    now("endSession", &[], end_session),
    now("getSnapshotTime", &[], get_snapshot_time),
    later("startTransaction", TRANSACTION, "transactions"),
    later("commitTransaction", &["timeoutMS"], "transactions"),
    later("abortTransaction", &["timeoutMS"], "transactions"),
    later("withTransaction", WITH_TRANSACTION, "transactions"),
];

const TRANSACTION: &[&str] = &[
    "readConcern",
    "writeConcern",
    "readPreference",
    "maxCommitTimeMS",
    "timeoutMS",
];

const WITH_TRANSACTION: &[&str] = &[
    "callback",
    "readConcern",
    "writeConcern",
    "readPreference",
    "maxCommitTimeMS",
    "timeoutMS",
];

fn session<'a>(call: &Call<'a>) -> Result<&'a Arc<SessionEntity>, Failure> {
    match call.object {
        Some(Entity::Session(session)) => Ok(session),
        _ => Err(Failure::Entity("the object is not a session".to_owned())),
    }
}

fn end_session(call: &Call<'_>) -> Result<Outcome, Failure> {
    session(call)?.end();
    Ok(Outcome::Nothing)
}

fn get_snapshot_time(call: &Call<'_>) -> Result<Outcome, Failure> {
    let time = session(call)?.with(|session| Ok(session.snapshot_time()?))?;
    Ok(match time {
        Some(time) => Outcome::Value(Bson::Timestamp(time)),
        None => Outcome::Nothing,
    })
}
