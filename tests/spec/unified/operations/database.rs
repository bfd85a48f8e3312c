//! The operations of a database.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::{Document, RawBson};
use mongotls::options::{CursorTimeoutMode, CursorType};
use mongotls::{Command, Cursor, Database, Free, Scope};

use super::admin::{
    self, CREATE_COLLECTION, DROP_COLLECTION, LIST_COLLECTION_NAMES, LIST_COLLECTIONS,
    MODIFY_COLLECTION,
};
use super::aggregate::{self, AGGREGATE};
use super::arguments::scoped;
use super::change_stream::{self, CREATE};
use super::{Call, Operation, Outcome, now};
use crate::unified::entities::{CursorEntity, DatabaseEntity, Entity};
use crate::unified::failure::Failure;
use crate::unified::json::{bson, text, unsigned};

pub(super) const OPERATIONS: &[Operation] = &[
    now(
        "runCommand",
        &[
            "command",
            "commandName",
            "readPreference",
            "session",
            "timeoutMS",
        ],
        run_command,
    ),
    now("runCursorCommand", CURSOR_COMMAND, run_cursor_command),
    now("createCommandCursor", CURSOR_COMMAND, create_command_cursor),
    now(
        "aggregate",
        AGGREGATE,
        scoped!(object, aggregate::of_database),
    ),
    now("createChangeStream", CREATE, change_stream::of_database),
    now(
        "createCollection",
        CREATE_COLLECTION,
        scoped!(object, admin::create_collection),
    ),
    now(
        "dropCollection",
        DROP_COLLECTION,
        scoped!(object, admin::drop_collection),
    ),
    now(
        "listCollectionNames",
        LIST_COLLECTION_NAMES,
        scoped!(object, admin::list_collection_names),
    ),
    now(
        "listCollectionObjects",
        LIST_COLLECTION_NAMES,
        scoped!(object, admin::list_collection_names),
    ),
    now(
        "listCollections",
        LIST_COLLECTIONS,
        scoped!(object, admin::list_collections),
    ),
    now(
        "modifyCollection",
        MODIFY_COLLECTION,
        scoped!(object, admin::modify_collection),
    ),
];

const CURSOR_COMMAND: &[&str] = &[
    "command",
    "commandName",
    "readPreference",
    "session",
    "batchSize",
    "maxTimeMS",
    "comment",
    "cursorType",
    "timeoutMS",
    "timeoutMode",
];

fn database<'a>(call: &Call<'a>) -> Result<&'a DatabaseEntity, Failure> {
    match call.object {
        Some(Entity::Database(database)) => Ok(database),
        _ => Err(Failure::Entity("the object is not a database".to_owned())),
    }
}

/// The database of the call.
pub(super) fn object<'a>(call: &Call<'a>) -> Result<&'a Database, Failure> {
    Ok(&database(call)?.database)
}

/// The command of `command`, whose first field is `commandName`.
fn command(call: &Call<'_>) -> Result<Command, Failure> {
    let document = call.document("command")?;
    if !call.arguments["commandName"].is_null() {
        let name = text(call.arguments, "commandName").map_err(Failure::Malformed)?;
        if document.keys().next().is_none_or(|first| first != name) {
            return Err(Failure::malformed(format!(
                "the command does not begin with {name}"
            )));
        }
    }
    let mut command = Command::from(document);
    if let Some(preference) = call.preference("readPreference")? {
        command = command.read_preference(preference);
    }
    if let Some(limit) = unsigned(&call.arguments["timeoutMS"]) {
        command = command.timeout(Duration::from_millis(limit));
    }
    if let Some(limit) = unsigned(&call.arguments["maxTimeMS"]) {
        command = command.max_await_time(Duration::from_millis(limit));
    }
    match call.arguments["cursorType"].as_str() {
        None => {}
        Some("nonTailable") => command = command.cursor_type(CursorType::NonTailable),
        Some("tailable") => command = command.cursor_type(CursorType::Tailable),
        Some("tailableAwait") => command = command.cursor_type(CursorType::TailableAwait),
        Some(other) => return Err(Failure::malformed(format!("the cursor type {other}"))),
    }
    match call.arguments["timeoutMode"].as_str() {
        None => {}
        Some("cursorLifetime") => {
            command = command.timeout_mode(CursorTimeoutMode::CursorLifetime);
        }
        Some("iteration") => command = command.timeout_mode(CursorTimeoutMode::Iteration),
        Some(other) => return Err(Failure::malformed(format!("the timeout mode {other}"))),
    }
    Ok(command)
}

fn run_command(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (database, command) = (database(call)?, command(call)?);
    let reply = match call.session()? {
        Some(session) => {
            session.with(|session| Ok(database.database.within(session).run_command(command)?))?
        }
        None => database.database.run_command(command)?,
    };
    Ok(Outcome::Document(reply))
}

/// Opens a cursor within a scope, with the options of its further batches.
fn open<S: Scope>(call: &Call<'_>, scope: S) -> Result<Cursor<Document, S>, Failure> {
    let (database, command) = (database(call)?, command(call)?);
    let database = database.database.within(scope);
    let mut cursor = database.run_cursor_command::<Document>(command)?;
    let batch_size = unsigned(&call.arguments["batchSize"]);
    if let Some(size) = batch_size.and_then(|size| u32::try_from(size).ok()) {
        cursor = cursor.batch_size(size);
    }
    let comment = &call.arguments["comment"];
    if !comment.is_null() {
        let comment = RawBson::try_from(bson(comment).map_err(Failure::Malformed)?);
        cursor = cursor.comment(comment.map_err(|error| Failure::malformed(error.to_string()))?);
    }
    Ok(cursor)
}

fn run_cursor_command(call: &Call<'_>) -> Result<Outcome, Failure> {
    let documents: Vec<_> = match call.session()? {
        Some(session) => {
            session.with(|session| Ok(open(call, session)?.collect::<Result<_, _>>()?))?
        }
        None => open(call, Free)?.collect::<Result<_, _>>()?,
    };
    Ok(Outcome::Documents(documents))
}

fn create_command_cursor(call: &Call<'_>) -> Result<Outcome, Failure> {
    if !call.arguments["session"].is_null() {
        return Err(Failure::runner(
            "a cursor in a session cannot be an entity yet",
        ));
    }
    let cursor = Some(open(call, Free)?);
    let entity = CursorEntity { cursor };
    Ok(Outcome::Entity(Entity::Cursor(Arc::new(Mutex::new(
        entity,
    )))))
}
