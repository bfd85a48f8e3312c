//! The format of `connection-monitoring-and-pooling/tests/cmap-format`: operations on a pool, some on separate threads,
//! and the expected events.
//!
//! Unit and integration style run in the same way: with the test bench, whose `failCommand` is the fail point. The
//! bench represents any server version, so that `runOn` excludes nothing.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bson::Document;
use mongotls::event::{Event, PoolEvent, PoolEventKind, PoolOptions};
use mongotls::internals::{CheckedOut, Pool, is_pool_cleared};
use mongotls::{ConnectionString, Error, ErrorKind};
use mongotls_testbench::server::Server;
use serde_json::{Map, Value, json};

use crate::expect::{only_fields, text};

const FIELDS: &[&str] = &[
    "version",
    "style",
    "description",
    "runOn",
    "failPoint",
    "poolOptions",
    "operations",
    "error",
    "events",
    "ignore",
];

pub(crate) fn run(case: &Value) -> Result<(), String> {
    only_fields(case, FIELDS)?;
    if case["version"] != 1 || !["unit", "integration"].contains(&text(case, "style")?) {
        return Err("the runner knows version 1 of styles unit and integration".to_owned());
    }
    let server = Server::builder().start();
    if let Some(fail_point) = case["failPoint"].as_object() {
        let command = Document::try_from(fail_point.clone()).map_err(|error| error.to_string())?;
        server.configure_fail_point(&command);
    }
    let told = Arc::new(Told::default());
    let pool = make_pool(&server, &case["poolOptions"], &told)?;
    let mut run = Run {
        pool,
        told: Arc::clone(&told),
        held: Arc::default(),
        threads: HashMap::new(),
    };
    let operations = case["operations"].as_array().ok_or("no operations")?;
    let outcome = operations
        .iter()
        .try_for_each(|operation| run.perform(operation));
    // Later events are not part of the case.
    let events = told.events();
    run.end();
    check_error(outcome, &case["error"])?;
    check_events(&events, case)
}

/// The state of a case.
struct Run {
    pool: Pool,
    told: Arc<Told>,
    held: Arc<Held>,
    threads: HashMap<String, Worker>,
}

/// The connections that are checked out: those with a label to be checked in later, and the others.
#[derive(Default)]
struct Held {
    labelled: Mutex<HashMap<String, CheckedOut>>,
    /// Notified when there is one more with a label.
    labelled_more: Condvar,
    others: Mutex<Vec<CheckedOut>>,
}

impl Held {
    /// Takes the connection of that label. A case may have waited for its event before its thread puts it here.
    fn take(&self, label: &str) -> Option<CheckedOut> {
        let is_missing = |labelled: &mut HashMap<_, _>| !labelled.contains_key(label);
        let labelled = lock(&self.labelled);
        let waited = self
            .labelled_more
            .wait_timeout_while(labelled, LONG, is_missing);
        let (mut labelled, _) = waited.unwrap_or_else(PoisonError::into_inner);
        labelled.remove(label)
    }
}

/// A thread that performs operations in their order, and ends with the first error.
struct Worker {
    operations: Sender<Value>,
    thread: JoinHandle<Result<(), Failure>>,
}

/// The reason why an operation failed: an error of the pool, or of the case.
enum Failure {
    Pool(Error),
    Case(String),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Case(text)
    }
}

impl Run {
    fn perform(&mut self, operation: &Value) -> Result<(), Failure> {
        const FIELDS: &[&str] = &[
            "name",
            "thread",
            "target",
            "ms",
            "event",
            "count",
            "timeout",
            "label",
            "connection",
            "interruptInUseConnections",
            "object",
        ];
        only_fields(operation, FIELDS)?;
        if let Some(thread) = operation["thread"].as_str() {
            let worker = self
                .threads
                .get(thread)
                .ok_or_else(|| format!("no thread {thread}"))?;
            let sent = worker.operations.send(operation.clone());
            return sent.map_err(|_| format!("the thread {thread} has ended").into());
        }
        match text(operation, "name")? {
            "start" => {
                let worker = Worker::start(&self.pool, &self.held);
                self.threads
                    .insert(text(operation, "target")?.to_owned(), worker);
                Ok(())
            }
            "waitForThread" => {
                let target = text(operation, "target")?;
                let worker = self
                    .threads
                    .remove(target)
                    .ok_or_else(|| format!("no thread {target}"))?;
                worker.join()
            }
            "waitForEvent" => {
                let count = number(operation, "count")?;
                let limit = operation["timeout"]
                    .as_u64()
                    .map_or(LONG, Duration::from_millis);
                Ok(self
                    .told
                    .wait_for(text(operation, "event")?, count, limit)?)
            }
            _ => on_pool(&self.pool, &self.held, operation),
        }
    }

    /// Ends all threads, and drops everything.
    fn end(self) {
        self.pool.close();
        for worker in self.threads.into_values() {
            // A thread's error counts if the case waits for the thread.
            let _ = worker.join();
        }
    }
}

impl Worker {
    fn start(pool: &Pool, held: &Arc<Held>) -> Self {
        let (operations, to_do): (_, Receiver<Value>) = mpsc::channel();
        let (pool, held) = (pool.clone(), Arc::clone(held));
        let thread = thread::spawn(move || {
            to_do
                .iter()
                .try_for_each(|operation| on_pool(&pool, &held, &operation))
        });
        Self { operations, thread }
    }

    fn join(self) -> Result<(), Failure> {
        drop(self.operations);
        let ended = self.thread.join();
        ended.map_err(|_| Failure::Case("a thread panicked".to_owned()))?
    }
}

/// The operations that any thread may perform.
fn on_pool(pool: &Pool, held: &Held, operation: &Value) -> Result<(), Failure> {
    match text(operation, "name")? {
        "wait" => thread::sleep(Duration::from_millis(number(operation, "ms")?)),
        "ready" => pool.ready(),
        "clear" => pool.clear(operation["interruptInUseConnections"] == true),
        "close" => pool.close(),
        "checkOut" => {
            let connection = pool.check_out().map_err(Failure::Pool)?;
            match operation["label"].as_str() {
                Some(label) => {
                    drop(lock(&held.labelled).insert(label.to_owned(), connection));
                    held.labelled_more.notify_all();
                }
                None => lock(&held.others).push(connection),
            }
        }
        "checkIn" => {
            let label = text(operation, "connection")?;
            drop(
                held.take(label)
                    .ok_or_else(|| format!("no connection {label}"))?,
            );
        }
        other => return Err(format!("the runner does not know the operation {other}").into()),
    }
    Ok(())
}

fn make_pool(server: &Server, options: &Value, told: &Arc<Told>) -> Result<Pool, String> {
    let mut uri = format!("{}?", server.uri());
    let mut interval = Some(Duration::from_secs(10));
    for (name, value) in options.as_object().unwrap_or(&Map::new()) {
        match (name.as_str(), value.as_i64()) {
            ("backgroundThreadIntervalMS", Some(ms)) => {
                interval = u64::try_from(ms).ok().map(Duration::from_millis);
            }
            (_, Some(number)) => uri += &format!("{name}={number}&"),
            _ => {
                uri += &format!(
                    "{name}={}&",
                    value.as_str().ok_or_else(|| format!("{name}: {value}"))?
                )
            }
        }
    }
    let uri = ConnectionString::parse(&uri).map_err(|error| error.to_string())?;
    if let Some(warning) = uri.warnings().first() {
        return Err(format!("poolOptions: {warning}"));
    }
    let listening = Arc::clone(told);
    let builder = uri.into_builder();
    let options = builder
        .event_listener(move |event| listening.tell(event))
        .build();
    let options = options.map_err(|error| error.to_string())?;
    Pool::new(&options, interval).map_err(|error| error.to_string())
}

/// The events so far.
#[derive(Default)]
struct Told {
    events: Mutex<Vec<PoolEvent>>,
    more: Condvar,
}

impl Told {
    fn tell(&self, event: &Event) {
        if let Event::Pool(event) = event {
            lock(&self.events).push(event.clone());
            self.more.notify_all();
        }
    }

    fn events(&self) -> Vec<PoolEvent> {
        lock(&self.events).clone()
    }

    fn wait_for(&self, name: &str, count: u64, limit: Duration) -> Result<(), String> {
        let until = Instant::now() + limit;
        let mut events = lock(&self.events);
        loop {
            let found = events
                .iter()
                .filter(|event| event.kind.name() == name)
                .count() as u64;
            let left = until.saturating_duration_since(Instant::now());
            if found >= count {
                return Ok(());
            }
            if left.is_zero() {
                return Err(format!("{found} of {count} {name} came within {limit:?}"));
            }
            events = self
                .more
                .wait_timeout(events, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

fn check_error(outcome: Result<(), Failure>, expected: &Value) -> Result<(), String> {
    match (outcome, expected) {
        (Ok(()), Value::Null) => Ok(()),
        (Ok(()), expected) => Err(format!("expected the error {expected}, got none")),
        (Err(Failure::Case(why)), _) => Err(why),
        (Err(Failure::Pool(error)), Value::Null) => Err(format!("expected no error, got: {error}")),
        (Err(Failure::Pool(error)), expected) => {
            only_fields(expected, &["type", "message", "address"])?;
            let kind = match () {
                () if is_pool_cleared(&error) => "PoolClearedError",
                () if error.kind() == ErrorKind::ClientClosed => "PoolClosedError",
                () if error.is_timeout() && error.cause().is_none() => "WaitQueueTimeoutError",
                () => "another error",
            };
            let actual =
                json!({ "type": kind, "address": error.server().map(ToString::to_string) });
            let mut rest = expected.clone();
            // Our texts begin with the server, followed by the operation of the pool.
            let message = rest
                .as_object_mut()
                .and_then(|fields| fields.remove("message"));
            if let Some(message) = message.as_ref().and_then(Value::as_str) {
                if !error
                    .to_string()
                    .to_lowercase()
                    .contains(&message.to_lowercase())
                {
                    return Err(format!("expected the message {message:?}, got: {error}"));
                }
            }
            matches(&rest, &actual).map_err(|why| format!("{why} in the error {error}"))
        }
    }
}

fn check_events(events: &[PoolEvent], case: &Value) -> Result<(), String> {
    let ignored = case["ignore"].as_array().cloned().unwrap_or_default();
    let actual = events.iter().map(as_json);
    let actual: Vec<Value> = actual
        .filter(|event| !ignored.contains(&event["type"]))
        .collect();
    let expected = case["events"].as_array().cloned().unwrap_or_default();
    for (index, expected) in expected.iter().enumerate() {
        let actual_event = actual.get(index).unwrap_or(&Value::Null);
        matches(expected, actual_event)
            .map_err(|why| format!("event {index}: {why}; all: {}", json!(actual)))?;
    }
    Ok(())
}

/// "Spec Test Match Function": `expected` is a part of `actual`, and 42 matches any present value.
fn matches(expected: &Value, actual: &Value) -> Result<(), String> {
    let is_placeholder = *expected == 42 || *expected == "42";
    let differs = || Err(format!("expected {expected}, got {actual}"));
    match (expected, actual) {
        (_, Value::Null) if is_placeholder => differs(),
        _ if is_placeholder => Ok(()),
        (Value::Object(fields), Value::Object(_)) => fields.iter().try_for_each(|(name, value)| {
            matches(value, &actual[name]).map_err(|why| format!("{name}: {why}"))
        }),
        (Value::Array(items), Value::Array(_)) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| matches(value, &actual[index])),
        _ if expected == actual => Ok(()),
        _ => differs(),
    }
}

fn as_json(event: &PoolEvent) -> Value {
    let millis = |duration: &Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut json = match &event.kind {
        PoolEventKind::Created { options } => json!({ "options": options_as_json(options) }),
        PoolEventKind::Cleared {
            service_id,
            interrupt_in_use_connections,
        } => json!({
            "serviceId": service_id.map(|id| id.to_hex()),
            "interruptInUseConnections": interrupt_in_use_connections,
        }),
        PoolEventKind::ConnectionCreated { connection_id }
        | PoolEventKind::ConnectionCheckedIn { connection_id } => {
            json!({ "connectionId": connection_id })
        }
        PoolEventKind::ConnectionReady {
            connection_id,
            duration,
        }
        | PoolEventKind::ConnectionCheckedOut {
            connection_id,
            duration,
        } => {
            json!({ "connectionId": connection_id, "duration": millis(duration) })
        }
        PoolEventKind::ConnectionClosed {
            connection_id,
            reason,
            ..
        } => {
            json!({ "connectionId": connection_id, "reason": reason.as_str() })
        }
        PoolEventKind::ConnectionCheckOutFailed {
            reason, duration, ..
        } => {
            json!({ "reason": reason.as_str(), "duration": millis(duration) })
        }
        _ => json!({}),
    };
    json["type"] = json!(event.kind.name());
    json["address"] = json!(event.server.to_string());
    json
}

fn options_as_json(options: &PoolOptions) -> Value {
    let millis = |duration: Option<Duration>| duration.map(|duration| duration.as_millis());
    json!({
        "maxPoolSize": options.max_pool_size,
        "minPoolSize": options.min_pool_size,
        "maxConnecting": options.max_connecting,
        "maxIdleTimeMS": millis(options.max_idle_time),
        "waitQueueTimeoutMS": millis(options.wait_queue_timeout),
    })
}

fn number(operation: &Value, field: &str) -> Result<u64, String> {
    operation[field]
        .as_u64()
        .ok_or_else(|| format!("\"{field}\" is no number"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time limit for an event if the case gives none.
const LONG: Duration = Duration::from_secs(10);
