//! The operations that count documents or return the values of a field; and those that the library has only as commands,
//! because "CRUD API" deprecates them: `count` and `mapReduce`.

use bson::{Bson, Document, doc};
use mongotls::options::ReadConcern;
use mongotls::{Collection, Command, Scope};

use super::arguments::set;
use super::{Call, Outcome, collection};
use crate::unified::failure::Failure;

pub(super) const COUNT_DOCUMENTS: &[&str] = &[
    "filter",
    "collation",
    "comment",
    "hint",
    "limit",
    "maxTimeMS",
    "rawData",
    "readConcern",
    "readPreference",
    "session",
    "skip",
    "timeoutMS",
];

pub(super) const ESTIMATED_COUNT: &[&str] = &[
    "comment",
    "maxTimeMS",
    "rawData",
    "readConcern",
    "readPreference",
    "session",
    "timeoutMS",
];

pub(super) const DISTINCT: &[&str] = &[
    "fieldName",
    "filter",
    "collation",
    "comment",
    "hint",
    "maxTimeMS",
    "rawData",
    "readConcern",
    "readPreference",
    "session",
    "timeoutMS",
];

pub(super) const COUNT: &[&str] = &[
    "filter",
    "collation",
    "comment",
    "hint",
    "limit",
    "maxTimeMS",
    "rawData",
    "session",
    "skip",
    "timeoutMS",
];

pub(super) const MAP_REDUCE: &[&str] = &[
    "map",
    "reduce",
    "out",
    "finalize",
    "scope",
    "verbose",
    "session",
    "timeoutMS",
];

fn number(count: u64) -> Outcome {
    Outcome::Value(Bson::Int64(count.try_into().unwrap_or(i64::MAX)))
}

pub(super) fn count_documents<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut count = collection.count_documents(call.document("filter")?);
    set!(count, call:
        collation = collation("collation"),
        comment = value("comment"),
        hint = hint("hint"),
        limit = u64("limit"),
        max_time = millis("maxTimeMS"),
        raw_data = bool("rawData"),
        read_concern = read_concern("readConcern"),
        read_preference = preference("readPreference"),
        skip = u64("skip"),
        timeout = millis("timeoutMS"),
    );
    Ok(number(count.run()?))
}

pub(super) fn estimated_document_count<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let mut count = collection.estimated_document_count();
    set!(count, call:
        comment = value("comment"),
        max_time = millis("maxTimeMS"),
        raw_data = bool("rawData"),
        read_concern = read_concern("readConcern"),
        read_preference = preference("readPreference"),
        timeout = millis("timeoutMS"),
    );
    Ok(number(count.run()?))
}

pub(super) fn distinct<S: Scope>(
    call: &Call<'_>,
    collection: &Collection<Document, S>,
) -> Result<Outcome, Failure> {
    let filter = call.fields("filter")?.unwrap_or_default();
    let mut distinct = collection.distinct(call.text("fieldName")?, filter);
    set!(distinct, call:
        collation = collation("collation"),
        comment = value("comment"),
        hint = hint("hint"),
        max_time = millis("maxTimeMS"),
        raw_data = bool("rawData"),
        read_concern = read_concern("readConcern"),
        read_preference = preference("readPreference"),
        timeout = millis("timeoutMS"),
    );
    Ok(Outcome::Value(Bson::Array(distinct.run()?)))
}

/// The wire version of MongoDB 8.2. The actions of the library send `rawData` from there on.
const RAW_DATA: i32 = 27;

/// Runs a command on the collection of the call, with the arguments of these names as its fields.
fn run(
    call: &Call<'_>,
    name: &str,
    fields: &[(&'static str, &str)],
    prepare: impl Fn(Command) -> Command,
) -> Result<Document, Failure> {
    let entity = collection::entity(call)?;
    let mut body = doc! { name: entity.collection.name() };
    for (argument, field) in fields {
        if let Some(value) = call.value(argument)? {
            body.insert(*field, value);
        }
    }
    if call.run.deployment.configuration.version.wire < RAW_DATA {
        body.remove("rawData");
    }
    let concern = entity.collection.read_concern();
    if *concern != ReadConcern::default() {
        body.insert("readConcern", concern.to_document());
    }
    let preference = entity.collection.read_preference().clone();
    let mut command = Command::from(body).read_preference(preference);
    set!(command, call: timeout = millis("timeoutMS"));
    let command = prepare(command);
    let session = call.session()?;
    call.all_used()?;
    match session {
        Some(session) => {
            session.with(|session| Ok(entity.commands.within(session).run_command(command)?))
        }
        None => Ok(entity.commands.run_command(command)?),
    }
}

pub(super) fn count(call: &Call<'_>) -> Result<Outcome, Failure> {
    let fields = [
        ("filter", "query"),
        ("collation", "collation"),
        ("comment", "comment"),
        ("hint", "hint"),
        ("limit", "limit"),
        ("maxTimeMS", "maxTimeMS"),
        ("skip", "skip"),
        ("rawData", "rawData"),
    ];
    let reply = run(call, "count", &fields, Command::read)?;
    Ok(Outcome::Value(reply.get("n").cloned().unwrap_or_default()))
}

/// "Retryable Reads" excludes `mapReduce`, so the command is not declared as a read.
pub(super) fn map_reduce(call: &Call<'_>) -> Result<Outcome, Failure> {
    let fields = ["map", "reduce", "out", "finalize", "scope", "verbose"];
    let reply = run(
        call,
        "mapReduce",
        &fields.map(|name| (name, name)),
        |command| command,
    )?;
    match reply.get_array("results") {
        Ok(results) => {
            let documents = results.iter().filter_map(Bson::as_document).cloned();
            Ok(Outcome::Documents(documents.collect()))
        }
        Err(_) => Ok(Outcome::Document(reply)),
    }
}
