//! The log messages of client entities, with their values.
//!
//! The runner installs one logger for the process. Each message has the ID of its client's topology, which tells
//! clients apart. Messages are kept only while a case compares them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

use bson::oid::ObjectId;
use bson::{Bson, Document};
use log::kv::{self, VisitSource, VisitValue};
use log::{Level, LevelFilter, Log, Metadata, Record};
use mongotls::event::Event;
use serde_json::Value;

use super::json::{document, items};
use super::lock;
use super::matcher::{Lookup, matches};

/// A message with its level and component in the words of the format.
#[derive(Clone, Debug)]
struct Message {
    level: &'static str,
    component: &'static str,
    data: Document,
}

/// What one client logs.
pub(crate) struct LogSink {
    /// The components, and the least severe level of each.
    observed: Vec<(String, String)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    topology: Option<ObjectId>,
    /// The number of messages that do not count.
    forgotten: usize,
    /// The messages of the case, after its operations.
    messages: Option<Vec<Message>>,
}

/// The messages by topology.
static MESSAGES: Mutex<Option<HashMap<String, Vec<Message>>>> = Mutex::new(None);
/// The number of running cases that compare messages.
static READERS: AtomicUsize = AtomicUsize::new(0);

/// Collects messages until it is dropped.
pub(crate) struct Collecting(());

/// Starts to collect messages.
pub(crate) fn collect() -> Collecting {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // Another logger would make the comparisons of messages fail.
        let _ = log::set_logger(&Logger);
    });
    let mut messages = lock(&MESSAGES);
    READERS.fetch_add(1, Ordering::SeqCst);
    messages.get_or_insert_default();
    log::set_max_level(LevelFilter::Trace);
    Collecting(())
}

impl Drop for Collecting {
    fn drop(&mut self) {
        let mut messages = lock(&MESSAGES);
        if READERS.fetch_sub(1, Ordering::SeqCst) == 1 {
            *messages = None;
            log::set_max_level(LevelFilter::Off);
        }
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        component(metadata.target()).is_some()
    }

    fn log(&self, record: &Record<'_>) {
        let Some(component) = component(record.target()) else {
            return;
        };
        let mut reader = Reader::default();
        if record.key_values().visit(&mut reader).is_err() {
            return;
        }
        let Ok(topology) = reader.0.get_str("topologyId").map(ToOwned::to_owned) else {
            return;
        };
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        let message = Message {
            level,
            component,
            data: reader.0,
        };
        if let Some(messages) = &mut *lock(&MESSAGES) {
            messages.entry(topology).or_default().push(message);
        }
    }

    fn flush(&self) {}
}

fn component(target: &str) -> Option<&'static str> {
    match target {
        "mongotls::command" => Some("command"),
        "mongotls::topology" => Some("topology"),
        "mongotls::server_selection" => Some("serverSelection"),
        "mongotls::connection" => Some("connection"),
        _ => None,
    }
}

/// Reads the values of a message.
#[derive(Default)]
struct Reader(Document);

impl<'kvs> VisitSource<'kvs> for Reader {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let mut read = ValueReader(Bson::Null);
        value.visit(&mut read)?;
        self.0.insert(key.as_str(), read.0);
        Ok(())
    }
}

struct ValueReader(Bson);

impl VisitValue<'_> for ValueReader {
    fn visit_any(&mut self, value: kv::Value<'_>) -> Result<(), kv::Error> {
        self.0 = value.to_string().into();
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.0 = Bson::Null;
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = i32::try_from(value).map_or(Bson::Int64(value), Bson::Int32);
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_any(kv::Value::from(value)),
        }
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }
}

impl LogSink {
    /// Reads `observeLogMessages`.
    pub(crate) fn new(observed: &Value) -> Self {
        let observed = observed.as_object().into_iter().flatten();
        let observed = observed.map(|(component, level)| {
            (
                component.clone(),
                level.as_str().unwrap_or_default().to_owned(),
            )
        });
        Self {
            observed: observed.collect(),
            state: Mutex::default(),
        }
    }

    /// Learns the ID of the client's topology from its events.
    pub(crate) fn see(&self, event: &Event) {
        if let Event::Sdam(event) = event {
            lock(&self.state).topology.get_or_insert(event.topology_id);
        }
    }

    /// Ignores the messages so far.
    pub(crate) fn forget(&self) {
        let count = self.current().len();
        lock(&self.state).forgotten = count;
    }

    /// Ends the collection: later messages are not part of the case.
    pub(crate) fn stop(&self) {
        let messages = self.current();
        lock(&self.state).messages = Some(messages);
    }

    fn current(&self) -> Vec<Message> {
        let Some(topology) = lock(&self.state).topology else {
            return Vec::new();
        };
        let messages = lock(&MESSAGES);
        let own = messages
            .as_ref()
            .and_then(|all| all.get(&topology.to_hex()));
        own.cloned().unwrap_or_default()
    }

    /// Fails unless the messages match `expectLogMessages`.
    pub(crate) fn check(&self, expected: &Value, lookup: &dyn Lookup) -> Result<(), String> {
        let state = lock(&self.state);
        let all = state.messages.iter().flatten().skip(state.forgotten);
        let ignored = items(&expected["ignoreMessages"]);
        let is_ignored = |message: &Message| {
            ignored
                .iter()
                .any(|ignored| message_matches(ignored, message, lookup).is_ok())
        };
        let actual: Vec<&Message> = all
            .filter(|message| self.observes(message) && !is_ignored(message))
            .collect();
        let summary = || {
            let lines = actual
                .iter()
                .map(|message| format!("{} {}", message.level, message.data));
            lines.collect::<Vec<_>>().join("; ")
        };
        let messages = items(&expected["messages"]);
        for (index, expected) in messages.iter().enumerate() {
            let message = actual.get(index).ok_or_else(|| {
                format!(
                    "message {index}: expected {expected}, got no message; all: {}",
                    summary()
                )
            })?;
            message_matches(expected, message, lookup)
                .map_err(|why| format!("message {index}: {why}; all: {}", summary()))?;
        }
        match actual.len() > messages.len() && expected["ignoreExtraMessages"] != true {
            true => Err(format!(
                "expected {} messages, got {}: {}",
                messages.len(),
                actual.len(),
                summary()
            )),
            false => Ok(()),
        }
    }

    fn observes(&self, message: &Message) -> bool {
        self.observed.iter().any(|(component, least)| {
            component == message.component && severity(message.level) <= severity(least)
        })
    }
}

/// The rank of a level; 0 is the most severe.
fn severity(level: &str) -> usize {
    const LEVELS: &[&str] = &[
        "emergency",
        "alert",
        "critical",
        "error",
        "warning",
        "notice",
        "info",
        "debug",
        "trace",
    ];
    LEVELS
        .iter()
        .position(|known| *known == level)
        .unwrap_or(LEVELS.len())
}

/// The level that the `log` crate has instead of one of the format.
fn own_level(level: &str) -> &str {
    match level {
        "emergency" | "alert" | "critical" => "error",
        "notice" => "info",
        level => level,
    }
}

fn message_matches(expected: &Value, message: &Message, lookup: &dyn Lookup) -> Result<(), String> {
    let level = own_level(expected["level"].as_str().unwrap_or_default());
    if level != message.level {
        return Err(format!(
            "expected the level {level}, got {}: {}",
            message.level, message.data
        ));
    }
    if expected["component"] != message.component {
        let actual = message.component;
        return Err(format!(
            "expected the component {}, got {actual}",
            expected["component"]
        ));
    }
    if let Some(is_redacted) = expected["failureIsRedacted"].as_bool() {
        let failure = message
            .data
            .get_str("failure")
            .map_err(|_| "the message has no failure")?;
        if failure.contains("REDACTED") != is_redacted {
            return Err(format!(
                "expected failureIsRedacted {is_redacted}, got {failure:?}"
            ));
        }
    }
    let expected = Bson::Document(document(&expected["data"])?);
    matches(
        &expected,
        Some(&Bson::Document(message.data.clone())),
        true,
        lookup,
    )
}
