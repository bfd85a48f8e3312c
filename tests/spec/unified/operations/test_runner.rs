//! The special operations, of the test runner itself.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bson::{Bson, doc};
use mongotls::topology::TopologyDescription;

use super::{Call, Operation, Outcome, now};
use crate::unified::entities::Entity;
use crate::unified::failure::Failure;
use crate::unified::json::items;

pub(super) const OPERATIONS: &[Operation] = &[
    now("failPoint", &["failPoint", "client", "session"], fail_point),
    now(
        "targetedFailPoint",
        &["failPoint", "session"],
        targeted_fail_point,
    ),
    now(
        "assertSessionTransactionState",
        &["session", "state"],
        assert_transaction_state,
    ),
    now("assertSessionPinned", &["session"], assert_session_pinned),
    now(
        "assertSessionUnpinned",
        &["session"],
        assert_session_unpinned,
    ),
    now(
        "assertDifferentLsidOnLastTwoCommands",
        &["client"],
        assert_different_lsid,
    ),
    now(
        "assertSameLsidOnLastTwoCommands",
        &["client"],
        assert_same_lsid,
    ),
    now("assertSessionDirty", &["session"], assert_session_dirty),
    now(
        "assertSessionNotDirty",
        &["session"],
        assert_session_not_dirty,
    ),
    now(
        "assertCollectionExists",
        &["collectionName", "databaseName"],
        assert_collection_exists,
    ),
    now(
        "assertCollectionNotExists",
        &["collectionName", "databaseName"],
        assert_collection_not_exists,
    ),
    now(
        "assertIndexExists",
        &["collectionName", "databaseName", "indexName"],
        assert_index_exists,
    ),
    now(
        "assertIndexNotExists",
        &["collectionName", "databaseName", "indexName"],
        assert_index_not_exists,
    ),
    now("createEntities", &["entities"], create_entities),
    now(
        "loop",
        &[
            "operations",
            "storeErrorsAsEntity",
            "storeFailuresAsEntity",
            "storeSuccessesAsEntity",
            "storeIterationsAsEntity",
        ],
        run_loop,
    ),
    now(
        "assertNumberConnectionsCheckedOut",
        &["client", "connections"],
        assert_connections,
    ),
    now("runOnThread", &["thread", "operation"], run_on_thread),
    now("waitForThread", &["thread"], wait_for_thread),
    now(
        "waitForEvent",
        &["client", "event", "count"],
        wait_for_event,
    ),
    now(
        "assertEventCount",
        &["client", "event", "count"],
        assert_event_count,
    ),
    now(
        "recordTopologyDescription",
        &["client", "id"],
        record_topology_description,
    ),
    now(
        "assertTopologyType",
        &["topologyDescription", "topologyType"],
        assert_topology_type,
    ),
    now(
        "waitForPrimaryChange",
        &["client", "priorTopologyDescription", "timeoutMS"],
        wait_for_primary_change,
    ),
    now("wait", &["ms"], wait),
];

/// The limit of the operations that wait.
const LIMIT: Duration = Duration::from_secs(10);

fn fail_point(call: &Call<'_>) -> Result<Outcome, Failure> {
    let client = call.run.entities.client(call.text("client")?)?;
    let command = call.document("failPoint")?;
    call.run.remember_fail_point(&command);
    let outcome = client.client.database("admin").run_command(command);
    outcome.map_err(|error| Failure::runner(format!("the fail point was not set: {error:?}")))?;
    Ok(Outcome::Nothing)
}

/// Sets a fail point on the router that the session is pinned to.
fn targeted_fail_point(call: &Call<'_>) -> Result<Outcome, Failure> {
    let session = call.run.entities.session(call.text("session")?)?;
    let command = call.document("failPoint")?;
    let server = session.with(|session| Ok(mongotls::internals::pinned_server(session)))?;
    let server = server.ok_or_else(|| Failure::mismatch("the session is not pinned"))?;
    call.run.remember_fail_point(&command);
    let outcome = call.run.deployment.run_at(&server, "admin", command);
    outcome.map_err(|error| Failure::runner(format!("the fail point was not set: {error}")))?;
    Ok(Outcome::Nothing)
}

fn assert_transaction_state(call: &Call<'_>) -> Result<Outcome, Failure> {
    let session = call.run.entities.session(call.text("session")?)?;
    let expected = call.text("state")?;
    let state = session.with(|session| Ok(mongotls::internals::transaction_state(session)))?;
    match state == expected {
        true => Ok(Outcome::Nothing),
        false => Err(Failure::mismatch(format!(
            "expected the state {expected}, got {state}"
        ))),
    }
}

fn is_session_pinned(call: &Call<'_>) -> Result<bool, Failure> {
    let session = call.run.entities.session(call.text("session")?)?;
    session.with(|session| Ok(mongotls::internals::is_session_pinned(session)))
}

fn assert_session_pinned(call: &Call<'_>) -> Result<Outcome, Failure> {
    match is_session_pinned(call)? {
        true => Ok(Outcome::Nothing),
        false => Err(Failure::mismatch("the session is not pinned")),
    }
}

fn assert_session_unpinned(call: &Call<'_>) -> Result<Outcome, Failure> {
    match is_session_pinned(call)? {
        false => Ok(Outcome::Nothing),
        true => Err(Failure::mismatch("the session is pinned")),
    }
}

fn are_lsids_equal(call: &Call<'_>) -> Result<bool, Failure> {
    let client = call.run.entities.client(call.text("client")?)?;
    let commands = client
        .events
        .last_two_commands()
        .map_err(Failure::Mismatch)?;
    let lsids = commands
        .each_ref()
        .map(|command| command.get_document("lsid").ok());
    match lsids {
        [Some(later), Some(earlier)] => Ok(later == earlier),
        _ => Err(Failure::mismatch(format!(
            "a command has no lsid: {}, {}",
            commands[1], commands[0]
        ))),
    }
}

fn assert_different_lsid(call: &Call<'_>) -> Result<Outcome, Failure> {
    match are_lsids_equal(call)? {
        false => Ok(Outcome::Nothing),
        true => Err(Failure::mismatch(
            "the last two commands have the same lsid",
        )),
    }
}

fn assert_same_lsid(call: &Call<'_>) -> Result<Outcome, Failure> {
    match are_lsids_equal(call)? {
        true => Ok(Outcome::Nothing),
        false => Err(Failure::mismatch(
            "the last two commands have different lsids",
        )),
    }
}

fn is_session_dirty(call: &Call<'_>) -> Result<bool, Failure> {
    let session = call.run.entities.session(call.text("session")?)?;
    session.with(|session| Ok(mongotls::internals::is_session_dirty(session)))
}

fn assert_session_dirty(call: &Call<'_>) -> Result<Outcome, Failure> {
    match is_session_dirty(call)? {
        true => Ok(Outcome::Nothing),
        false => Err(Failure::mismatch("the session is not dirty")),
    }
}

fn assert_session_not_dirty(call: &Call<'_>) -> Result<Outcome, Failure> {
    match is_session_dirty(call)? {
        false => Ok(Outcome::Nothing),
        true => Err(Failure::mismatch("the session is dirty")),
    }
}

fn collection_exists(call: &Call<'_>) -> Result<bool, Failure> {
    let (database, collection) = (call.text("databaseName")?, call.text("collectionName")?);
    let list = doc! { "listCollections": 1, "filter": { "name": collection } };
    let found = call
        .run
        .deployment
        .all(database, list)
        .map_err(Failure::Runner)?;
    Ok(found
        .iter()
        .any(|info| info.get_str("name").is_ok_and(|name| name == collection)))
}

fn assert_collection_exists(call: &Call<'_>) -> Result<Outcome, Failure> {
    match collection_exists(call)? {
        true => Ok(Outcome::Nothing),
        false => Err(Failure::mismatch("the collection does not exist")),
    }
}

fn assert_collection_not_exists(call: &Call<'_>) -> Result<Outcome, Failure> {
    match collection_exists(call)? {
        false => Ok(Outcome::Nothing),
        true => Err(Failure::mismatch("the collection exists")),
    }
}

fn index_exists(call: &Call<'_>) -> Result<bool, Failure> {
    let index = call.text("indexName")?;
    if !collection_exists(call)? {
        return Ok(false);
    }
    let list = doc! { "listIndexes": call.text("collectionName")? };
    let found = call
        .run
        .deployment
        .all(call.text("databaseName")?, list)
        .map_err(Failure::Runner)?;
    Ok(found
        .iter()
        .any(|info| info.get_str("name").is_ok_and(|name| name == index)))
}

fn assert_index_exists(call: &Call<'_>) -> Result<Outcome, Failure> {
    match index_exists(call)? {
        true => Ok(Outcome::Nothing),
        false => Err(Failure::mismatch("the index does not exist")),
    }
}

fn assert_index_not_exists(call: &Call<'_>) -> Result<Outcome, Failure> {
    match index_exists(call)? {
        false => Ok(Outcome::Nothing),
        true => Err(Failure::mismatch("the index exists")),
    }
}

fn create_entities(call: &Call<'_>) -> Result<Outcome, Failure> {
    call.run.create_entities(&call.arguments["entities"])?;
    Ok(Outcome::Nothing)
}

/// Loops until a failure, or for a second: the program that would ask to stop is not here.
fn run_loop(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = |field: &str| call.arguments[field].as_str();
    let (errors, failures) = (name("storeErrorsAsEntity"), name("storeFailuresAsEntity"));
    let (successes, iterations) = (
        name("storeSuccessesAsEntity"),
        name("storeIterationsAsEntity"),
    );
    let entities = &call.run.entities;
    for name in [errors, failures].into_iter().flatten() {
        match entities.get(name) {
            Ok(Entity::Value(Bson::Array(_))) => {}
            Ok(_) => return Err(Failure::Entity(format!("\"{name}\" is not an array"))),
            Err(_) => entities.put(name, Entity::Value(Bson::Array(Vec::new())))?,
        }
    }
    for name in [successes, iterations].into_iter().flatten() {
        entities.put(name, Entity::Value(Bson::Int64(0)))?;
    }
    let end = Instant::now() + Duration::from_secs(1);
    let (mut succeeded, mut rounds) = (0_i64, 0_i64);
    while Instant::now() < end {
        rounds += 1;
        for operation in items(&call.arguments["operations"]) {
            let failure = match call.run.perform(operation) {
                Ok(()) => {
                    succeeded += 1;
                    continue;
                }
                Err(failure) => failure,
            };
            let store = match failure {
                Failure::Mismatch(_) => failures.or(errors),
                _ => errors.or(failures),
            };
            let Some(store) = store else {
                return Err(failure);
            };
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let entry = doc! { "error": failure.to_string(), "time": since.as_secs_f64() };
            if let Entity::Value(Bson::Array(mut all)) = entities.get(store)? {
                all.push(entry.into());
                entities.set_value(store, Bson::Array(all));
            }
            break;
        }
        if let Some(name) = successes {
            entities.set_value(name, Bson::Int64(succeeded));
        }
        if let Some(name) = iterations {
            entities.set_value(name, Bson::Int64(rounds));
        }
    }
    Ok(Outcome::Nothing)
}

fn assert_connections(call: &Call<'_>) -> Result<Outcome, Failure> {
    let client = call.run.entities.client(call.text("client")?)?;
    let expected = call.number("connections")?;
    let actual = client.events.checked_out();
    match u64::try_from(actual) == Ok(expected) {
        true => Ok(Outcome::Nothing),
        false => Err(Failure::mismatch(format!(
            "expected {expected} connections checked out, got {actual}"
        ))),
    }
}

fn run_on_thread(call: &Call<'_>) -> Result<Outcome, Failure> {
    let thread = call.run.entities.thread(call.text("thread")?)?;
    thread.run(call.arguments["operation"].clone())?;
    Ok(Outcome::Nothing)
}

fn wait_for_thread(call: &Call<'_>) -> Result<Outcome, Failure> {
    call.run
        .entities
        .thread(call.text("thread")?)?
        .wait(LIMIT)?;
    Ok(Outcome::Nothing)
}

fn wait_for_event(call: &Call<'_>) -> Result<Outcome, Failure> {
    let client = call.run.entities.client(call.text("client")?)?;
    let count = usize::try_from(call.number("count")?).unwrap_or(usize::MAX);
    let waited = client
        .events
        .wait_for(&call.arguments["event"], count, LIMIT, &call.run.entities);
    waited.map_err(Failure::Mismatch)?;
    Ok(Outcome::Nothing)
}

fn assert_event_count(call: &Call<'_>) -> Result<Outcome, Failure> {
    let client = call.run.entities.client(call.text("client")?)?;
    let event = &call.arguments["event"];
    let expected = call.number("count")?;
    let actual = client
        .events
        .count(event, &call.run.entities)
        .map_err(Failure::Mismatch)?;
    match u64::try_from(actual) == Ok(expected) {
        true => Ok(Outcome::Nothing),
        false => Err(Failure::mismatch(format!(
            "expected {expected} events {event}, got {actual}"
        ))),
    }
}

fn record_topology_description(call: &Call<'_>) -> Result<Outcome, Failure> {
    let client = call.run.entities.client(call.text("client")?)?;
    let topology = client.client.snapshot().topology;
    call.run
        .entities
        .put(call.text("id")?, Entity::Topology(topology))?;
    Ok(Outcome::Nothing)
}

fn assert_topology_type(call: &Call<'_>) -> Result<Outcome, Failure> {
    let topology = call
        .run
        .entities
        .topology(call.text("topologyDescription")?)?;
    let (expected, actual) = (call.text("topologyType")?, topology.topology_type.as_str());
    match expected == actual {
        true => Ok(Outcome::Nothing),
        false => Err(Failure::mismatch(format!(
            "expected the type {expected}, got {actual}"
        ))),
    }
}

fn wait_for_primary_change(call: &Call<'_>) -> Result<Outcome, Failure> {
    let primary =
        |topology: &TopologyDescription| topology.primary().map(|server| server.address.clone());
    let client = call.run.entities.client(call.text("client")?)?;
    let prior = call
        .run
        .entities
        .topology(call.text("priorTopologyDescription")?)?;
    let prior = primary(&prior);
    let limit = match call.arguments["timeoutMS"].is_null() {
        true => LIMIT,
        false => Duration::from_millis(call.number("timeoutMS")?),
    };
    let end = Instant::now() + limit;
    loop {
        let topology: Arc<TopologyDescription> = client.client.snapshot().topology;
        let now = primary(&topology);
        if now.is_some() && now != prior {
            return Ok(Outcome::Nothing);
        }
        if Instant::now() > end {
            return Err(Failure::mismatch(format!(
                "no other primary after {limit:?}"
            )));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn wait(call: &Call<'_>) -> Result<Outcome, Failure> {
    thread::sleep(Duration::from_millis(call.number("ms")?));
    Ok(Outcome::Nothing)
}
