//! The events of a client entity: which are collected, and how they match expected ones.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bson::{Bson, Document, RawDocument, doc};
use mongotls::event::{CommandEvent, CommandInfo, Event, PoolEventKind, SdamEventKind};
use serde_json::Value;

use super::json::{bson, texts};
use super::lock;
use super::matcher::{Lookup, matches};

/// The events of one client.
pub(crate) struct Events {
    /// The types that the client observes, such as `commandStartedEvent`.
    observed: Vec<String>,
    ignored_commands: Vec<String>,
    observes_sensitive: bool,
    stored: Vec<Stored>,
    /// False after the operations of a case.
    is_on: AtomicBool,
    checked_out: AtomicI64,
    collected: Mutex<Collected>,
    more: Condvar,
}

/// Events that the case reads as an entity.
pub(crate) struct Stored {
    pub(crate) id: String,
    types: Vec<String>,
    documents: Mutex<Vec<Document>>,
}

#[derive(Default)]
struct Collected {
    events: Vec<Event>,
    /// The requests of sensitive commands that are not finished.
    sensitive: HashSet<i32>,
}

/// A class of events, as in `eventType`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Command,
    Cmap,
    Sdam,
}

impl Class {
    pub(crate) fn of(expected: &Value) -> Self {
        match expected["eventType"].as_str() {
            Some("cmap") => Self::Cmap,
            Some("sdam") => Self::Sdam,
            _ => Self::Command,
        }
    }
}

impl Stored {
    /// The documents so far.
    pub(crate) fn documents(&self) -> Vec<Document> {
        lock(&self.documents).clone()
    }
}

impl Events {
    /// Reads what a client entity observes.
    pub(crate) fn new(client: &Value) -> Self {
        let stored = client["storeEventsAsEntities"]
            .as_array()
            .into_iter()
            .flatten();
        let stored = stored.map(|stored| Stored {
            id: stored["id"].as_str().unwrap_or_default().to_owned(),
            types: texts(&stored["events"]),
            documents: Mutex::default(),
        });
        Self {
            observed: texts(&client["observeEvents"]),
            ignored_commands: texts(&client["ignoreCommandMonitoringEvents"]),
            observes_sensitive: client["observeSensitiveCommands"] == true,
            stored: stored.collect(),
            is_on: AtomicBool::new(true),
            checked_out: AtomicI64::new(0),
            collected: Mutex::default(),
            more: Condvar::new(),
        }
    }

    /// Receives an event of the client.
    pub(crate) fn receive(&self, event: &Event) {
        if let Event::Pool(event) = event {
            match event.kind {
                PoolEventKind::ConnectionCheckedOut { .. } => {
                    self.checked_out.fetch_add(1, Ordering::SeqCst);
                }
                PoolEventKind::ConnectionCheckedIn { .. } => {
                    self.checked_out.fetch_sub(1, Ordering::SeqCst);
                }
                _ => {}
            }
        }
        let Some(name) = name(event) else { return };
        if !self.is_on.load(Ordering::SeqCst) {
            return;
        }
        for stored in &self.stored {
            if stored
                .types
                .iter()
                .any(|own| own.eq_ignore_ascii_case(&name))
            {
                lock(&stored.documents).push(as_document(&name, event));
            }
        }
        let mut collected = lock(&self.collected);
        let is_ignored = self.is_ignored(event, &mut collected);
        if !is_ignored && self.observed.contains(&name) {
            collected.events.push(event.clone());
            drop(collected);
            self.more.notify_all();
        }
    }

    fn is_ignored(&self, event: &Event, collected: &mut Collected) -> bool {
        let Event::Command(event) = event else {
            return false;
        };
        let info = info(event);
        let is_listed = |name: &String| *name == info.command_name;
        if info.command_name == "configureFailPoint" || self.ignored_commands.iter().any(is_listed)
        {
            return true;
        }
        let is_sensitive = match event {
            CommandEvent::Started(started) => {
                let is_sensitive = is_sensitive(&info.command_name, &started.command);
                if is_sensitive {
                    collected.sensitive.insert(info.request_id);
                }
                is_sensitive
            }
            _ => collected.sensitive.remove(&info.request_id),
        };
        is_sensitive && !self.observes_sensitive
    }

    /// Stops collecting: later events are not part of the case.
    pub(crate) fn stop(&self) {
        self.is_on.store(false, Ordering::SeqCst);
    }

    /// Removes the events so far.
    pub(crate) fn forget(&self) {
        lock(&self.collected).events.clear();
    }

    pub(crate) fn stored(&self) -> &[Stored] {
        &self.stored
    }

    /// The number of connections that are checked out.
    pub(crate) fn checked_out(&self) -> i64 {
        self.checked_out.load(Ordering::SeqCst)
    }

    /// The commands of the last two started events.
    pub(crate) fn last_two_commands(&self) -> Result<[Document; 2], String> {
        let collected = lock(&self.collected);
        let started = collected
            .events
            .iter()
            .rev()
            .filter_map(|event| match event {
                Event::Command(CommandEvent::Started(started)) => Some(&started.command),
                _ => None,
            });
        let commands: Result<Vec<Document>, _> =
            started.take(2).map(|command| document(command)).collect();
        let commands = commands?;
        <[Document; 2]>::try_from(commands)
            .map_err(|commands| format!("{} commands were observed", commands.len()))
    }

    /// The number of events so far that match.
    pub(crate) fn count(&self, expected: &Value, lookup: &dyn Lookup) -> Result<usize, String> {
        let name = expected_name(expected)?;
        if !self.observed.contains(&name) {
            return Err(format!("the client does not observe {name}"));
        }
        let collected = lock(&self.collected);
        let matching = collected
            .events
            .iter()
            .filter(|event| event_matches(expected, event, lookup).is_ok());
        Ok(matching.count())
    }

    /// Waits until that many events match; fails after `limit`.
    pub(crate) fn wait_for(
        &self,
        expected: &Value,
        count: usize,
        limit: Duration,
        lookup: &dyn Lookup,
    ) -> Result<(), String> {
        let end = Instant::now() + limit;
        loop {
            let matching = self.count(expected, lookup)?;
            if matching >= count {
                return Ok(());
            }
            let now = Instant::now();
            if now >= end {
                return Err(format!(
                    "{matching} of {count} events {expected} after {limit:?}"
                ));
            }
            let collected = lock(&self.collected);
            let wait = (end - now).min(Duration::from_millis(50));
            drop(self.more.wait_timeout(collected, wait));
        }
    }

    /// Fails unless the events of that class match `expectEvents`.
    pub(crate) fn check(&self, expected: &Value, lookup: &dyn Lookup) -> Result<(), String> {
        let wanted = Class::of(expected);
        let collected = lock(&self.collected);
        let actual: Vec<&Event> = collected
            .events
            .iter()
            .filter(|event| class(event) == Some(wanted))
            .collect();
        let all = || {
            actual
                .iter()
                .map(|event| summary(event))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let events = expected["events"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for (index, expected) in events.iter().enumerate() {
            let actual_event = actual.get(index).ok_or_else(|| {
                format!(
                    "event {index}: expected {expected}, got no event; all: {}",
                    all()
                )
            })?;
            event_matches(expected, actual_event, lookup)
                .map_err(|why| format!("event {index}: {why}; all: {}", all()))?;
        }
        match actual.len() > events.len() && expected["ignoreExtraEvents"] != true {
            true => Err(format!(
                "expected {} events, got {}: {}",
                events.len(),
                actual.len(),
                all()
            )),
            false => Ok(()),
        }
    }
}

fn is_sensitive(name: &str, command: &RawDocument) -> bool {
    const SENSITIVE: &[&str] = &[
        "authenticate",
        "saslstart",
        "saslcontinue",
        "getnonce",
        "createuser",
        "updateuser",
        "copydbgetnonce",
        "copydbsaslstart",
        "copydb",
    ];
    let name = name.to_ascii_lowercase();
    // Hello is sensitive if it authenticates; the crate removes the command then.
    SENSITIVE.contains(&name.as_str())
        || ["hello", "ismaster"].contains(&name.as_str()) && command.is_empty()
}

fn class(event: &Event) -> Option<Class> {
    match event {
        Event::Command(_) => Some(Class::Command),
        Event::Pool(_) => Some(Class::Cmap),
        Event::Sdam(_) => Some(Class::Sdam),
        _ => None,
    }
}

/// The name of an event's type in the format.
fn name(event: &Event) -> Option<String> {
    let name = match event {
        Event::Command(CommandEvent::Started(_)) => "commandStarted",
        Event::Command(CommandEvent::Succeeded(_)) => "commandSucceeded",
        Event::Command(CommandEvent::Failed(_)) => "commandFailed",
        Event::Pool(event) => match &event.kind {
            PoolEventKind::Created { .. } => "poolCreated",
            PoolEventKind::Ready => "poolReady",
            PoolEventKind::Cleared { .. } => "poolCleared",
            PoolEventKind::Closed => "poolClosed",
            kind => return Some(lower_first(kind.name()) + "Event"),
        },
        Event::Sdam(event) => return Some(lower_first(event.kind.name()) + "Event"),
        _ => return None,
    };
    Some(format!("{name}Event"))
}

fn lower_first(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_ascii_lowercase() + rest
}

fn expected_name(expected: &Value) -> Result<String, String> {
    let fields = expected.as_object();
    let name = fields.and_then(|fields| fields.keys().next());
    name.cloned()
        .ok_or_else(|| format!("{expected} is not an event"))
}

fn info(event: &CommandEvent) -> &CommandInfo {
    match event {
        CommandEvent::Started(event) => &event.info,
        CommandEvent::Succeeded(event) => &event.info,
        CommandEvent::Failed(event) => &event.info,
        _ => unreachable!("there are three kinds of command events"),
    }
}

fn event_matches(expected: &Value, event: &Event, lookup: &dyn Lookup) -> Result<(), String> {
    let wanted = expected_name(expected)?;
    let own = name(event).unwrap_or_default();
    if own != wanted {
        return Err(format!("expected {expected}, got {}", summary(event)));
    }
    let fields = expected[&wanted].as_object().into_iter().flatten();
    for (field, expected) in fields {
        field_matches(field, expected, event, lookup)
            .map_err(|why| format!("{wanted}.{field}: {why}"))?;
    }
    Ok(())
}

fn field_matches(
    field: &str,
    expected: &Value,
    event: &Event,
    lookup: &dyn Lookup,
) -> Result<(), String> {
    let same = |actual: Value| match *expected == actual {
        true => Ok(()),
        false => Err(format!("expected {expected}, got {actual}")),
    };
    match (field, event) {
        ("command", Event::Command(CommandEvent::Started(started))) => {
            let actual = Bson::Document(document(&started.command)?);
            matches(&bson(expected)?, Some(&actual), true, lookup)
        }
        ("reply", Event::Command(CommandEvent::Succeeded(succeeded))) => {
            let actual = Bson::Document(document(&succeeded.reply)?);
            matches(&bson(expected)?, Some(&actual), true, lookup)
        }
        ("commandName", Event::Command(event)) => same(info(event).command_name.as_str().into()),
        ("databaseName", Event::Command(event)) => same(info(event).database_name.as_str().into()),
        ("hasServiceId", Event::Command(event)) => same(
            info(event)
                .service_id
                .is_some_and(|id| id.bytes() != [0; 12])
                .into(),
        ),
        ("hasServerConnectionId", Event::Command(event)) => same(
            info(event)
                .server_connection_id
                .is_some_and(|id| id > 0)
                .into(),
        ),
        (field, Event::Pool(event)) => match (field, &event.kind) {
            ("hasServiceId", PoolEventKind::Cleared { service_id, .. }) => {
                same(service_id.is_some_and(|id| id.bytes() != [0; 12]).into())
            }
            (
                "interruptInUseConnections",
                PoolEventKind::Cleared {
                    interrupt_in_use_connections,
                    ..
                },
            ) => same((*interrupt_in_use_connections).into()),
            ("reason", PoolEventKind::ConnectionClosed { reason, .. }) => {
                same(reason.as_str().into())
            }
            ("reason", PoolEventKind::ConnectionCheckOutFailed { reason, .. }) => {
                same(reason.as_str().into())
            }
            _ => Err("the runner does not know the field".to_owned()),
        },
        (field, Event::Sdam(event)) => match (field, &event.kind) {
            ("previousDescription", SdamEventKind::ServerDescriptionChanged { previous, .. }) => {
                description_matches(expected, previous.server_type.as_str())
            }
            ("newDescription", SdamEventKind::ServerDescriptionChanged { new, .. }) => {
                description_matches(expected, new.server_type.as_str())
            }
            ("previousDescription", SdamEventKind::TopologyDescriptionChanged { previous, .. }) => {
                description_matches(expected, previous.topology_type.as_str())
            }
            ("newDescription", SdamEventKind::TopologyDescriptionChanged { new, .. }) => {
                description_matches(expected, new.topology_type.as_str())
            }
            (
                "awaited",
                SdamEventKind::ServerHeartbeatStarted { awaited, .. }
                | SdamEventKind::ServerHeartbeatSucceeded { awaited, .. }
                | SdamEventKind::ServerHeartbeatFailed { awaited, .. },
            ) => same((*awaited).into()),
            _ => Err("the runner does not know the field".to_owned()),
        },
        _ => Err("the runner does not know the field".to_owned()),
    }
}

/// `type` is the only field of a description.
fn description_matches(expected: &Value, kind: &str) -> Result<(), String> {
    match expected["type"].as_str() {
        Some(expected) if expected != kind => {
            Err(format!("expected the type {expected}, got {kind}"))
        }
        _ => Ok(()),
    }
}

/// A raw document of an event as a document.
fn document(raw: &RawDocument) -> Result<Document, String> {
    Document::try_from(raw).map_err(|error| format!("an event has malformed BSON: {error}"))
}

/// A short text for reports.
fn summary(event: &Event) -> String {
    let name = name(event).unwrap_or_default();
    match event {
        Event::Command(event) => {
            let text = match event {
                CommandEvent::Started(event) => document(&event.command).map(|doc| doc.to_string()),
                CommandEvent::Succeeded(event) => document(&event.reply).map(|doc| doc.to_string()),
                CommandEvent::Failed(event) => Ok(event.failure.to_string()),
                _ => Ok(String::new()),
            };
            let text: String = text.unwrap_or_default().chars().take(300).collect();
            format!("{name} {} {text}", info(event).command_name)
        }
        Event::Sdam(event) => match &event.kind {
            SdamEventKind::ServerDescriptionChanged { previous, new } => {
                format!("{name} {} to {}", previous.server_type, new.server_type)
            }
            SdamEventKind::TopologyDescriptionChanged { previous, new } => {
                format!("{name} {} to {}", previous.topology_type, new.topology_type)
            }
            _ => name,
        },
        _ => name,
    }
}

/// An event in the form of `storeEventsAsEntities`.
fn as_document(name: &str, event: &Event) -> Document {
    let (first, rest) = name.split_at(1);
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut stored =
        doc! { "name": first.to_ascii_uppercase() + rest, "observedAt": since.as_secs_f64() };
    let mut put = |name: &str, value: Bson| {
        stored.insert(name, value);
    };
    let number = |number: u64| Bson::Int64(i64::try_from(number).unwrap_or(i64::MAX));
    match event {
        Event::Command(event) => {
            let info = info(event);
            put("commandName", info.command_name.as_str().into());
            put("databaseName", info.database_name.as_str().into());
            put("requestId", info.request_id.into());
            put("operationId", info.operation_id.into());
            put("connectionId", info.server.to_string().into());
            match event {
                CommandEvent::Succeeded(event) => {
                    put("duration", event.duration.as_secs_f64().into())
                }
                CommandEvent::Failed(event) => {
                    put("duration", event.duration.as_secs_f64().into());
                    put("failure", event.failure.to_string().into());
                }
                _ => {}
            }
        }
        Event::Pool(event) => {
            put("address", event.server.to_string().into());
            match &event.kind {
                PoolEventKind::ConnectionCreated { connection_id }
                | PoolEventKind::ConnectionCheckedIn { connection_id }
                | PoolEventKind::ConnectionReady { connection_id, .. }
                | PoolEventKind::ConnectionCheckedOut { connection_id, .. } => {
                    put("connectionId", number(*connection_id));
                }
                PoolEventKind::ConnectionClosed {
                    connection_id,
                    reason,
                    ..
                } => {
                    put("connectionId", number(*connection_id));
                    put("reason", reason.as_str().into());
                }
                PoolEventKind::ConnectionCheckOutFailed { reason, .. } => {
                    put("reason", reason.as_str().into());
                }
                _ => {}
            }
        }
        Event::Sdam(event) => put("topologyId", event.topology_id.into()),
        _ => {}
    }
    stored
}
