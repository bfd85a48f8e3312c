//! The operations of a session.

use std::sync::Arc;
use std::time::Duration;

use bson::Bson;
use mongotls::options::TransactionOptions;
use mongotls::{Error, Session};
use serde_json::Value;

use super::arguments::set;
use super::{Call, Operation, Outcome, now, read_concern, read_preference, write_concern};
use crate::unified::entities::{Entity, SessionEntity};
use crate::unified::failure::Failure;
use crate::unified::json::{items, only_arguments, unsigned};

pub(super) const OPERATIONS: &[Operation] = &[
    now("endSession", &[], end_session),
    now("getSnapshotTime", &[], get_snapshot_time),
    now("startTransaction", TRANSACTION, start_transaction),
    now("commitTransaction", &["timeoutMS"], commit_transaction),
    now("abortTransaction", &["timeoutMS"], abort_transaction),
    now("withTransaction", WITH_TRANSACTION, with_transaction),
];

const TRANSACTION: &[&str] = &[
    "readConcern",
    "writeConcern",
    "readPreference",
    "maxCommitTimeMS",
];

const WITH_TRANSACTION: &[&str] = &[
    "callback",
    "readConcern",
    "writeConcern",
    "readPreference",
    "maxCommitTimeMS",
    "timeoutMS",
];

/// Options of a transaction.
pub(crate) fn transaction_options(value: &Value) -> Result<TransactionOptions, String> {
    only_arguments(value, TRANSACTION)?;
    let given = |name: &str| Some(&value[name]).filter(|value| !value.is_null());
    let mut options = TransactionOptions::default();
    options.read_concern = given("readConcern").map(read_concern).transpose()?;
    options.write_concern = given("writeConcern").map(write_concern).transpose()?;
    options.selection_criteria = given("readPreference").map(read_preference).transpose()?;
    options.max_commit_time = unsigned(&value["maxCommitTimeMS"]).map(Duration::from_millis);
    Ok(options)
}

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

fn start_transaction(call: &Call<'_>) -> Result<Outcome, Failure> {
    session(call)?.with(|session| {
        let mut start = session.start_transaction();
        set!(start, call:
            read_concern = read_concern("readConcern"),
            write_concern = write_concern("writeConcern"),
            read_preference = preference("readPreference"),
            max_commit_time = millis("maxCommitTimeMS"),
        );
        Ok(start.run()?)
    })?;
    call.all_used()?;
    Ok(Outcome::Nothing)
}

fn commit_transaction(call: &Call<'_>) -> Result<Outcome, Failure> {
    session(call)?.with(|session| {
        let mut commit = session.commit_transaction();
        set!(commit, call: timeout = millis("timeoutMS"));
        Ok(commit.run()?)
    })?;
    Ok(Outcome::Nothing)
}

fn abort_transaction(call: &Call<'_>) -> Result<Outcome, Failure> {
    session(call)?.with(|session| {
        let mut abort = session.abort_transaction();
        set!(abort, call: timeout = millis("timeoutMS"));
        Ok(abort.run()?)
    })?;
    Ok(Outcome::Nothing)
}

/// Neither `expectError` nor `ignoreResultAndError` keeps an error of the callback from the transaction.
fn with_transaction(call: &Call<'_>) -> Result<Outcome, Failure> {
    let callback = call.argument("callback").cloned().unwrap_or_default();
    let mut failed = None;
    let outcome = session(call)?.share(|session: &Session| {
        let mut transaction = session.transaction();
        set!(transaction, call:
            read_concern = read_concern("readConcern"),
            write_concern = write_concern("writeConcern"),
            read_preference = preference("readPreference"),
            max_commit_time = millis("maxCommitTimeMS"),
            timeout = millis("timeoutMS"),
        );
        let ran = transaction.run(|_| {
            items(&callback).iter().try_for_each(|operation| {
                match call.run.perform_in_callback(operation) {
                    Ok(None) => Ok(()),
                    Ok(Some(error)) => Err(*error),
                    Err(Failure::Operation(error)) => Err(*error),
                    Err(failure) => {
                        failed = Some(failure);
                        Err(Error::custom("the case has failed"))
                    }
                }
            })
        });
        Ok(ran?)
    });
    call.all_used()?;
    match failed {
        Some(failure) => Err(failure.at("callback")),
        None => outcome.map(|()| Outcome::Nothing),
    }
}
