//! The formats of `server-discovery-and-monitoring/tests`: replies to hello and errors of operations go in, and the
//! expected topology, or the expected events, must come out.
//!
//! The topology has pools that only count their generations. `PossiblePrimary` is `Unknown` here, as the specification
//! allows for clients with many threads.

use std::collections::BTreeSet;

use bson::{Document, RawDocumentBuf};
use mongotls::ServerAddress;
use mongotls::event::{SdamEvent, SdamEventKind};
use mongotls::internals::sdam::{OperationError, OperationErrorKind, Topology};
use mongotls::options::ClientOptions;
use mongotls::topology::TopologyVersion;
use mongotls::topology::{ServerDescription, TopologyDescription};
use serde_json::{Map, Value, json};

use crate::expect::{only_fields, same, text};

pub(crate) fn run(case: &Value) -> Result<(), String> {
    only_fields(case, &["description", "uri", "phases"])?;
    let (options, _) =
        ClientOptions::parse(text(case, "uri")?).map_err(|error| error.to_string())?;
    let mut topology = Topology::new(&options);
    for (index, phase) in list(&case["phases"])?.iter().enumerate() {
        run_phase(&mut topology, phase).map_err(|why| format!("phase {}: {why}", index + 1))?;
    }
    Ok(())
}

fn run_phase(topology: &mut Topology, phase: &Value) -> Result<(), String> {
    let known = ["description", "responses", "applicationErrors", "outcome"];
    only_fields(phase, &known)?;
    for response in list(&phase["responses"])? {
        let [server, reply] = list(response)? else {
            return Err(format!("a response is {response}"));
        };
        let reply = as_bson(reply)?;
        let is_network_error = reply == RawDocumentBuf::new();
        topology.checked(&address(server)?, (!is_network_error).then_some(&*reply));
    }
    for error in list(&phase["applicationErrors"])? {
        fail(topology, error)?;
    }
    let outcome = &phase["outcome"];
    match outcome.get("events") {
        Some(events) => {
            only_fields(outcome, &["events"])?;
            check_events(&topology.take_events(), list(events)?)
        }
        None => check_topology(topology, outcome),
    }
}

fn fail(topology: &mut Topology, error: &Value) -> Result<(), String> {
    let known = [
        "address",
        "generation",
        "maxWireVersion",
        "when",
        "type",
        "response",
    ];
    only_fields(error, &known)?;
    let reply = as_bson(error.get("response").unwrap_or(&json!({})))?;
    let kind = match text(error, "type")? {
        "network" => OperationErrorKind::Network,
        "timeout" => OperationErrorKind::Timeout,
        "command" if error["response"].is_object() => OperationErrorKind::Command(&reply),
        other => return Err(format!("the runner does not know the error {other:?}")),
    };
    let before_handshake = match text(error, "when")? {
        "beforeHandshakeCompletes" => true,
        "afterHandshakeCompletes" => false,
        other => return Err(format!("the runner does not know {other:?}")),
    };
    let max_wire_version = error["maxWireVersion"].as_i64();
    let max_wire_version = max_wire_version.and_then(|version| i32::try_from(version).ok());
    let operation = OperationError {
        generation: error["generation"].as_u64(),
        max_wire_version: max_wire_version.ok_or("no maxWireVersion")?,
        before_handshake,
        kind,
    };
    topology.operation_failed(&address(&error["address"])?, &operation);
    Ok(())
}

fn check_topology(topology: &Topology, outcome: &Value) -> Result<(), String> {
    let known = [
        "topologyType",
        "setName",
        "servers",
        "logicalSessionTimeoutMinutes",
        "maxSetVersion",
        "maxElectionId",
        "compatible",
    ];
    only_fields(outcome, &known)?;
    let actual = topology.description();
    let servers = outcome["servers"].as_object().ok_or("no servers")?;
    let expected: BTreeSet<ServerAddress> = servers
        .keys()
        .map(|server| address(&json!(server)))
        .collect::<Result<_, _>>()?;
    let found: BTreeSet<ServerAddress> = actual.servers.keys().cloned().collect();
    if expected != found {
        return Err(format!("expected the servers {expected:?}, got {actual}"));
    }
    let fields = json!({
        "topologyType": actual.topology_type.as_str(),
        "setName": actual.set_name,
        "logicalSessionTimeoutMinutes": actual.logical_session_timeout_minutes,
        "maxSetVersion": actual.max_set_version,
        "maxElectionId": actual.max_election_id.map(|id| json!({ "$oid": id.to_hex() })),
        "compatible": actual.is_compatible(),
    });
    check_fields(outcome, &fields, &["servers"])?;
    for (name, expected) in servers {
        let address = address(&json!(name))?;
        let server = &actual.servers[&address];
        check_server(expected, server).map_err(|why| format!("{name}: {why}"))?;
        if let Some(pool) = expected.get("pool") {
            only_fields(pool, &["generation"])?;
            let generation = json!(topology.generation(&address));
            same(
                &format!("generation of {name}"),
                &pool["generation"],
                &generation,
            )?;
        }
    }
    Ok(())
}

fn check_server(expected: &Value, server: &ServerDescription) -> Result<(), String> {
    let known = [
        "type",
        "setName",
        "setVersion",
        "electionId",
        "logicalSessionTimeoutMinutes",
        "minWireVersion",
        "maxWireVersion",
        "topologyVersion",
        "error",
        "pool",
    ];
    only_fields(expected, &known)?;
    // The default is 0, or no value if a server is never checked.
    let wire_version = |name: &str, version: i32| match &expected[name] {
        Value::Null if version == 0 => Value::Null,
        _ => json!(version),
    };
    let fields = json!({
        "type": server.server_type.as_str(),
        "setName": server.set_name,
        "setVersion": server.set_version,
        "electionId": server.election_id.map(|id| json!({ "$oid": id.to_hex() })),
        "logicalSessionTimeoutMinutes": server.logical_session_timeout_minutes,
        "minWireVersion": wire_version("minWireVersion", server.min_wire_version),
        "maxWireVersion": wire_version("maxWireVersion", server.max_wire_version),
        "topologyVersion": server.topology_version.map(version),
    });
    check_fields(expected, &fields, &["error", "pool"])?;
    let error = server.error.as_ref().map(ToString::to_string);
    match (&expected["error"], &error) {
        (Value::String(part), Some(text)) if text.contains(part) => Ok(()),
        (Value::Null, None) => Ok(()),
        (Value::Null, Some(_)) if expected.get("error").is_none() => Ok(()),
        (expected, _) => Err(format!("expected the error {expected}, got {error:?}")),
    }
}

/// Compares the fields that the case has.
fn check_fields(expected: &Value, actual: &Value, others: &[&str]) -> Result<(), String> {
    let fields = expected.as_object().ok_or("no object")?;
    let compared = fields
        .iter()
        .filter(|(name, _)| !others.contains(&name.as_str()));
    for (name, value) in compared {
        same(name, &plain(value), &plain(&actual[name]))?;
    }
    Ok(())
}

fn check_events(actual: &[SdamEvent], expected: &[Value]) -> Result<(), String> {
    let actual: Vec<Value> = actual.iter().map(event).collect();
    for (index, expected) in expected.iter().enumerate() {
        let fields = expected.as_object().ok_or("an event is no object")?;
        let fields: Map<String, Value> = fields
            .iter()
            .map(|(name, fields)| (name.clone(), sorted(fields)))
            .collect();
        let found = actual.get(index).unwrap_or(&Value::Null);
        same(&format!("event {index}"), &Value::Object(fields), found)?;
    }
    match actual.get(expected.len()) {
        None => Ok(()),
        Some(more) => Err(format!("expected no more events, got {more}")),
    }
}

/// An event in the form of a case; fields that no case has are left out.
fn event(event: &SdamEvent) -> Value {
    let (name, mut fields) = match &event.kind {
        SdamEventKind::TopologyOpening => ("topology_opening_event", json!({})),
        SdamEventKind::TopologyClosed => ("topology_closed_event", json!({})),
        SdamEventKind::TopologyDescriptionChanged { previous, new } => (
            "topology_description_changed_event",
            json!({ "previousDescription": topology(previous), "newDescription": topology(new) }),
        ),
        SdamEventKind::ServerOpening { server } => (
            "server_opening_event",
            json!({ "address": server.to_string() }),
        ),
        SdamEventKind::ServerClosed { server } => (
            "server_closed_event",
            json!({ "address": server.to_string() }),
        ),
        SdamEventKind::ServerDescriptionChanged { previous, new } => (
            "server_description_changed_event",
            json!({
                "address": new.address.to_string(),
                "previousDescription": server(previous),
                "newDescription": server(new),
            }),
        ),
        other => (other.name(), json!({})),
    };
    // The cases use 42 for any value.
    fields["topologyId"] = json!("42");
    let mut event = Map::new();
    event.insert(name.to_owned(), fields);
    Value::Object(event)
}

fn topology(description: &TopologyDescription) -> Value {
    let servers = description.servers.values();
    let mut value = json!({
        "topologyType": description.topology_type.as_str(),
        "servers": servers.map(|one| server(one)).collect::<Value>(),
    });
    if let Some(name) = &description.set_name {
        value["setName"] = json!(name);
    }
    value
}

fn server(description: &ServerDescription) -> Value {
    let list = |addresses: &BTreeSet<ServerAddress>| -> Value {
        addresses
            .iter()
            .map(|address| json!(address.to_string()))
            .collect()
    };
    let mut value = json!({
        "address": description.address.to_string(),
        "arbiters": list(&description.arbiters),
        "hosts": list(&description.hosts),
        "passives": list(&description.passives),
        "type": description.server_type.as_str(),
    });
    if let Some(primary) = &description.primary {
        value["primary"] = json!(primary.to_string());
    }
    if let Some(name) = &description.set_name {
        value["setName"] = json!(name);
    }
    value
}

/// The fields of an expected event, with its lists, which are sets, sorted, and without empty values.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let set = fields.iter().filter(|(_, value)| !value.is_null());
            set.map(|(name, value)| (name.clone(), sorted(value)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(sorted).collect();
            items.sort_by_key(|item| {
                item["address"]
                    .as_str()
                    .map_or(item.to_string(), str::to_owned)
            });
            items.into()
        }
        other => plain(other),
    }
}

/// A value in a form that can be compared.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => match (fields.len(), &fields.get("$numberLong")) {
            (1, Some(Value::String(digits))) => digits
                .parse()
                .map_or(value.clone(), |number: i64| json!(number)),
            _ => fields
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect::<Map<_, _>>()
                .into(),
        },
        _ if *value == "PossiblePrimary" => json!("Unknown"),
        other => other.clone(),
    }
}

fn version(version: TopologyVersion) -> Value {
    json!({ "processId": { "$oid": version.process_id.to_hex() }, "counter": version.counter })
}

/// A list; an absent one is empty.
fn list(value: &Value) -> Result<&[Value], String> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        other => Err(format!("{other} is no list")),
    }
}

pub(crate) fn address(value: &Value) -> Result<ServerAddress, String> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| format!("{value} is no address"))
}

/// The Extended JSON as BSON, as the server would send it.
fn as_bson(value: &Value) -> Result<RawDocumentBuf, String> {
    let fields = value.as_object().ok_or("an answer is no object")?.clone();
    let document = Document::try_from(fields).map_err(|error| error.to_string())?;
    RawDocumentBuf::try_from(&document).map_err(|error| error.to_string())
}
