//! The formats of `server-selection/tests` and `max-staleness/tests`: a topology, the requirements of an operation, and
//! the servers that are suitable for it.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bson::{Bson, DateTime};
use mongotls::ServerAddress;
use mongotls::internals::sdam::{
    choose, in_latency_window, moving_average, server, suitable, topology,
};
use mongotls::options::{ReadPreference, ReadPreferenceMode, Tag, TagSet};
use mongotls::topology::{ServerDescription, ServerType, TopologyDescription, TopologyType};
use mongotls_testbench::random::Random;
use serde_json::{Value, json};

use crate::expect::{only_fields, text};
use crate::sdam::address;

/// `server_selection/*/*` and `max-staleness`.
pub(crate) fn run(case: &Value) -> Result<(), String> {
    let known = [
        "description",
        "heartbeatFrequencyMS",
        "topology_description",
        "operation",
        "read_preference",
        "deprioritized_servers",
        "suitable_servers",
        "in_latency_window",
        "error",
    ];
    only_fields(case, &known)?;
    let interval = match &case["heartbeatFrequencyMS"] {
        Value::Null => Duration::from_secs(10),
        interval => milliseconds(interval)?,
    };
    let topology = topology_of(&case["topology_description"], interval)?;
    let read = read_preference(&case["read_preference"])?;
    let preference = match case["operation"].as_str() {
        Some("write") => None,
        Some("read") | None => Some(&read),
        Some(other) => return Err(format!("the runner does not know the operation {other:?}")),
    };
    let deprioritized = addresses(&case["deprioritized_servers"])?;
    let deprioritized: Vec<ServerAddress> = deprioritized.into_iter().collect();
    let found = match (
        suitable(&topology, preference, &deprioritized),
        case["error"] == true,
    ) {
        (Ok(found), false) => found,
        (Err(_), true) => return Ok(()),
        (Ok(found), true) => return Err(format!("expected an error, got {found:?}")),
        (Err(error), false) => return Err(format!("expected no error, got {error}")),
    };
    let is_in = |found: &[&std::sync::Arc<ServerDescription>], what: &str| {
        let found: BTreeSet<_> = found.iter().map(|server| server.address.clone()).collect();
        match (&case[what], addresses(&case[what])?) {
            (Value::Array(_), expected) if expected == found => Ok(()),
            (_, expected) => Err(format!("{what}: expected {expected:?}, got {found:?}")),
        }
    };
    is_in(&found, "suitable_servers")?;
    // The default of `localThresholdMS`.
    is_in(
        &in_latency_window(found, Duration::from_millis(15)),
        "in_latency_window",
    )
}

/// `rtt`.
pub(crate) fn run_rtt(case: &Value) -> Result<(), String> {
    only_fields(case, &["avg_rtt_ms", "new_rtt_ms", "new_avg_rtt"])?;
    let before = match &case["avg_rtt_ms"] {
        Value::String(text) if text == "NULL" => None,
        average => Some(milliseconds(average)?),
    };
    let actual = moving_average(before, milliseconds(&case["new_rtt_ms"])?);
    let expected = milliseconds(&case["new_avg_rtt"])?;
    match actual.abs_diff(expected) < Duration::from_micros(1) {
        true => Ok(()),
        false => Err(format!("expected {expected:?}, got {actual:?}")),
    }
}

/// `in_window`.
pub(crate) fn run_in_window(case: &Value) -> Result<(), String> {
    let known = [
        "description",
        "topology_description",
        "mocked_topology_state",
        "iterations",
        "outcome",
    ];
    only_fields(case, &known)?;
    only_fields(&case["outcome"], &["tolerance", "expected_frequencies"])?;
    let topology = topology_of(&case["topology_description"], Duration::from_secs(10))?;
    let states = case["mocked_topology_state"].as_array().ok_or("no state")?;
    let mut counts = HashMap::new();
    for state in states {
        only_fields(state, &["address", "operation_count"])?;
        let count = state["operation_count"]
            .as_u64()
            .and_then(|count| usize::try_from(count).ok());
        counts.insert(
            address(&state["address"])?,
            count.ok_or("no operation_count")?,
        );
    }
    let nearest = ReadPreference::new(ReadPreferenceMode::Nearest);
    let suitable = suitable(&topology, Some(&nearest), &[]).map_err(|error| error.to_string())?;
    let window = in_latency_window(suitable, Duration::from_millis(15));

    let iterations = case["iterations"].as_u64().ok_or("no iterations")?;
    let mut random = Random::default();
    let mut chosen: HashMap<&ServerAddress, u64> = HashMap::new();
    for _ in 0..iterations {
        let server = choose(&window, |address| counts[address], |end| random.below(end));
        *chosen
            .entry(&server.ok_or("nothing was chosen")?.address)
            .or_default() += 1;
    }
    let tolerance = case["outcome"]["tolerance"]
        .as_f64()
        .ok_or("no tolerance")?;
    let expected = case["outcome"]["expected_frequencies"]
        .as_object()
        .ok_or("no frequencies")?;
    for (name, expected) in expected {
        let expected = expected.as_f64().ok_or("a frequency is no number")?;
        let count = chosen.remove(&address(&json!(name))?).unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let actual = count as f64 / iterations as f64;
        let allowed = if expected == 0.0 || expected == 1.0 {
            0.0
        } else {
            tolerance
        };
        if (actual - expected).abs() > allowed {
            return Err(format!(
                "{name}: expected a share of {expected}, got {actual}"
            ));
        }
    }
    match chosen.is_empty() {
        true => Ok(()),
        false => Err(format!("nobody expects {chosen:?}")),
    }
}

fn topology_of(description: &Value, interval: Duration) -> Result<TopologyDescription, String> {
    const TYPES: [TopologyType; 6] = [
        TopologyType::Unknown,
        TopologyType::Single,
        TopologyType::ReplicaSetNoPrimary,
        TopologyType::ReplicaSetWithPrimary,
        TopologyType::Sharded,
        TopologyType::LoadBalanced,
    ];
    only_fields(description, &["type", "servers"])?;
    let name = text(description, "type")?;
    let topology_type = TYPES.into_iter().find(|it| it.as_str() == name);
    let topology_type = topology_type.ok_or_else(|| format!("the topology {name:?}"))?;
    let zero = Instant::now();
    let servers = description["servers"].as_array().ok_or("no servers")?;
    let servers = servers.iter().map(|server| server_of(server, zero));
    Ok(topology(
        topology_type,
        servers.collect::<Result<_, _>>()?,
        interval,
    ))
}

fn server_of(description: &Value, zero: Instant) -> Result<ServerDescription, String> {
    const TYPES: [ServerType; 9] = [
        ServerType::Unknown,
        ServerType::Standalone,
        ServerType::Mongos,
        ServerType::RsPrimary,
        ServerType::RsSecondary,
        ServerType::RsArbiter,
        ServerType::RsOther,
        ServerType::RsGhost,
        ServerType::LoadBalancer,
    ];
    let known = [
        "address",
        "type",
        "avg_rtt_ms",
        "tags",
        "lastUpdateTime",
        "lastWrite",
        "maxWireVersion",
        "minWireVersion",
    ];
    only_fields(description, &known)?;
    let name = match text(description, "type")? {
        "PossiblePrimary" => "Unknown",
        name => name,
    };
    let server_type = TYPES.into_iter().find(|it| it.as_str() == name);
    let server_type = server_type.ok_or_else(|| format!("the server {name:?}"))?;
    let mut server = server(address(&description["address"])?, server_type);
    if !description["avg_rtt_ms"].is_null() {
        server.round_trip_time = Some(milliseconds(&description["avg_rtt_ms"])?);
    }
    if !description["lastUpdateTime"].is_null() {
        server.last_update_time = Some(zero + milliseconds(&description["lastUpdateTime"])?);
    }
    if !description["lastWrite"].is_null() {
        only_fields(&description["lastWrite"], &["lastWriteDate"])?;
        let date = Bson::try_from(description["lastWrite"]["lastWriteDate"].clone());
        server.last_write_date = match date.map_err(|error| error.to_string())? {
            Bson::Int64(millis) => Some(DateTime::from_millis(millis)),
            Bson::Int32(millis) => Some(DateTime::from_millis(i64::from(millis))),
            Bson::DateTime(date) => Some(date),
            other => return Err(format!("lastWriteDate is {other}")),
        };
    }
    let version = |field: &str, default| match &description[field] {
        Value::Null => Ok(default),
        number => serde_json::from_value(number.clone()).map_err(|error| error.to_string()),
    };
    server.min_wire_version = version("minWireVersion", 0)?;
    server.max_wire_version = version("maxWireVersion", 21)?;
    let tags = tags(&description["tags"])?.into_iter();
    server.tags = tags.map(|tag| (tag.name, tag.value)).collect();
    Ok(server)
}

fn read_preference(preference: &Value) -> Result<ReadPreference, String> {
    let known = ["mode", "tag_sets", "maxStalenessSeconds", "hedge"];
    if preference.is_null() {
        return Ok(ReadPreference::default());
    }
    only_fields(preference, &known)?;
    let mode = match preference["mode"].as_str() {
        None => ReadPreferenceMode::Primary,
        Some(mode) => {
            // The cases write modes with a capital letter.
            let (first, rest) = mode.split_at_checked(1).ok_or("an empty mode")?;
            let mode = first.to_lowercase() + rest;
            mode.parse().map_err(|_| format!("the mode {mode:?}"))?
        }
    };
    let sets = preference["tag_sets"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let max_staleness = match preference["maxStalenessSeconds"].as_i64() {
        Some(-1) | None => None,
        Some(seconds) => Some(u64::try_from(seconds).map_err(|error| error.to_string())?),
    };
    let sets = sets.iter().map(tags).collect::<Result<Vec<_>, _>>()?;
    let preference = ReadPreference::new(mode).tag_sets(sets);
    Ok(match max_staleness {
        Some(limit) => preference.max_staleness(Duration::from_secs(limit)),
        None => preference,
    })
}

fn tags(tags: &Value) -> Result<TagSet, String> {
    let Some(tags) = tags.as_object() else {
        return Ok(TagSet::new());
    };
    tags.iter()
        .map(|(name, value)| {
            let value = value.as_str().ok_or("a tag is no text")?;
            Ok(Tag::new(name.clone(), value))
        })
        .collect()
}

fn addresses(servers: &Value) -> Result<BTreeSet<ServerAddress>, String> {
    let servers = servers.as_array().map_or(&[][..], Vec::as_slice);
    servers
        .iter()
        .map(|server| address(&server["address"]))
        .collect()
}

fn milliseconds(value: &Value) -> Result<Duration, String> {
    let value = match value["$numberLong"].as_str() {
        Some(digits) => digits.parse().ok(),
        None => value.as_f64(),
    };
    let seconds = value.map(|millis| millis / 1000.0);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| "that is no number of milliseconds".to_owned())
}
