//! The answer to `hello`, and to its old spellings.
//!
//! [`Hello`] is a server's description of itself. A test may change it while the server runs, which raises
//! `topologyVersion` and so wakes the monitors that wait in an awaitable hello. Source: "Server Discovery And
//! Monitoring", "Server Monitoring" and "MongoDB Handshake" of the driver specifications.

use super::commands::failure;
use super::failpoint::integer;
use super::record::Request;
use crate::net::lock;
use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, doc};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The kind of server that it reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// A standalone server.
    #[default]
    Standalone,
    /// The primary of a replica set.
    Primary,
    /// A secondary of a replica set.
    Secondary,
    /// An arbiter of a replica set.
    Arbiter,
    /// A member in a state in which it serves no commands.
    OtherMember,
    /// A router of a sharded cluster (`msg: "isdbgrid"`).
    Mongos,
}

/// The list of the set that names a member with data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// `hosts`: it can become primary.
    #[default]
    Host,
    /// `passives`: it cannot become primary.
    Passive,
    /// No list: clients should not use it. Only its own hello names it.
    Hidden,
}

/// A server's description of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// The kind of the server.
    pub role: Role,
    /// `setName`.
    pub set_name: Option<String>,
    /// `setVersion`; sent if there is a `set_name`.
    pub set_version: i32,
    /// `electionId`; sent only by a primary.
    pub election_id: Option<ObjectId>,
    /// `hosts`.
    pub hosts: Vec<String>,
    /// `passives`; left out if there are none.
    pub passives: Vec<String>,
    /// `arbiters`; left out if there are none.
    pub arbiters: Vec<String>,
    /// `passive`, and `hidden`.
    pub standing: Standing,
    /// `tags`; left out if there are none.
    pub tags: Document,
    /// The lag of the date in `lastWrite` behind the last write; `None` omits `lastWrite`.
    pub lag: Option<Duration>,
    /// `me`.
    pub me: Option<String>,
    /// `primary`.
    pub primary: Option<String>,
    /// `minWireVersion`.
    pub min_wire_version: i32,
    /// `maxWireVersion`; 21 is MongoDB 7.0.
    pub max_wire_version: i32,
    /// `maxBsonObjectSize`.
    pub max_bson_object_size: i32,
    /// `maxMessageSizeBytes`.
    pub max_message_size_bytes: i32,
    /// `maxWriteBatchSize`.
    pub max_write_batch_size: i32,
    /// `logicalSessionTimeoutMinutes`; `None` omits it.
    pub logical_session_timeout_minutes: Option<i32>,
    /// `serviceId`, for a client that sends `loadBalanced: true`.
    pub service_id: Option<ObjectId>,
    /// True to send `topologyVersion`, which lets monitors stream.
    pub topology_version: bool,
    /// False to omit `helloOk`, like servers up to 4.2, which have no `hello` command.
    pub hello_ok: bool,
    /// The supported compressors; the answer names those that the client also offered.
    pub compressors: Vec<String>,
    /// Further fields; they replace those of the same name.
    pub extra: Document,
}

impl Default for Hello {
    fn default() -> Self {
        Self {
            role: Role::Standalone,
            set_name: None,
            set_version: 1,
            election_id: None,
            hosts: Vec::new(),
            passives: Vec::new(),
            arbiters: Vec::new(),
            standing: Standing::Host,
            tags: Document::new(),
            lag: None,
            me: None,
            primary: None,
            min_wire_version: 0,
            max_wire_version: 21,
            max_bson_object_size: 16_777_216,
            max_message_size_bytes: 48_000_000,
            max_write_batch_size: 100_000,
            logical_session_timeout_minutes: Some(30),
            service_id: None,
            topology_version: true,
            hello_ok: true,
            compressors: Vec::new(),
            extra: Document::new(),
        }
    }
}

impl Hello {
    /// A member of a replica set.
    pub fn member(role: Role, set_name: &str, me: &str, hosts: &[&str]) -> Self {
        Self {
            role,
            set_name: Some(set_name.into()),
            hosts: hosts.iter().map(|&host| host.into()).collect(),
            me: Some(me.into()),
            primary: (role == Role::Primary).then(|| me.into()),
            ..Self::default()
        }
    }

    /// A router.
    pub fn mongos() -> Self {
        Self {
            role: Role::Mongos,
            ..Self::default()
        }
    }

    fn answer(&self, request: &Request, version: Document, last_write: DateTime) -> Document {
        let legacy_name = request.name != "hello";
        let writable = matches!(self.role, Role::Standalone | Role::Primary | Role::Mongos);
        let writable_key = if legacy_name {
            "ismaster"
        } else {
            "isWritablePrimary"
        };
        let mut answer = doc! { writable_key: writable };
        if self.hello_ok && request.body.get_bool("helloOk").unwrap_or(false) {
            answer.insert("helloOk", true);
        }
        if self.topology_version {
            answer.insert("topologyVersion", version);
        }
        match self.role {
            Role::Mongos => drop(answer.insert("msg", "isdbgrid")),
            Role::Secondary => drop(answer.insert("secondary", true)),
            Role::Arbiter => drop(answer.insert("arbiterOnly", true)),
            Role::Standalone | Role::Primary | Role::OtherMember => {}
        }
        if let Some(set_name) = &self.set_name {
            self.tell_of_set(&mut answer, set_name, last_write);
        }
        for (key, value) in [("me", &self.me), ("primary", &self.primary)] {
            if let Some(value) = value {
                answer.insert(key, value);
            }
        }
        answer.extend(doc! {
            "maxBsonObjectSize": self.max_bson_object_size,
            "maxMessageSizeBytes": self.max_message_size_bytes,
            "maxWriteBatchSize": self.max_write_batch_size,
            "localTime": DateTime::now(),
            "connectionId": i32::try_from(request.connection).unwrap_or(i32::MAX),
            "minWireVersion": self.min_wire_version,
            "maxWireVersion": self.max_wire_version,
            "readOnly": false,
        });
        if let Some(minutes) = self.logical_session_timeout_minutes {
            answer.insert("logicalSessionTimeoutMinutes", minutes);
        }
        if let (Some(id), Ok(true)) = (self.service_id, request.body.get_bool("loadBalanced")) {
            answer.insert("serviceId", id);
        }
        let offered = request.body.get_array("compression").into_iter().flatten();
        let common: Vec<&Bson> = offered
            .filter(|name| {
                name.as_str()
                    .is_some_and(|name| self.compressors.iter().any(|known| known == name))
            })
            .collect();
        if !common.is_empty() {
            answer.insert("compression", common.into_iter().cloned().collect::<Bson>());
        }
        answer.extend(self.extra.clone());
        answer.insert("ok", 1.0);
        answer
    }

    fn tell_of_set(&self, answer: &mut Document, set_name: &str, last_write: DateTime) {
        answer.insert("setName", set_name);
        answer.insert("setVersion", self.set_version);
        answer.insert("hosts", self.hosts.clone());
        answer.insert("secondary", self.role == Role::Secondary);
        for (key, list) in [("passives", &self.passives), ("arbiters", &self.arbiters)] {
            if !list.is_empty() {
                answer.insert(key, list.clone());
            }
        }
        if self.standing != Standing::Host {
            answer.insert("passive", true);
        }
        if self.standing == Standing::Hidden {
            answer.insert("hidden", true);
        }
        if !self.tags.is_empty() {
            answer.insert("tags", self.tags.clone());
        }
        if let (Some(id), Role::Primary) = (self.election_id, self.role) {
            answer.insert("electionId", id);
        }
        if let (Some(lag), Role::Primary | Role::Secondary) = (self.lag, self.role) {
            let lag = i64::try_from(lag.as_millis()).unwrap_or(i64::MAX);
            let date = DateTime::from_millis(last_write.timestamp_millis().saturating_sub(lag));
            answer.insert("lastWrite", doc! { "lastWriteDate": date });
        }
    }

    /// The reason why a member in this role does not run the command, in MongoDB's words.
    ///
    /// Writes run only on a primary; reads run if the read preference allows it.
    fn refusal(&self, request: &Request) -> Option<Document> {
        if let Role::Standalone | Role::Primary | Role::Mongos = self.role {
            return None;
        }
        let preference = request.body.get_document("$readPreference");
        let mode = preference.and_then(|preference| preference.get_str("mode"));
        let primary_alone = matches!(mode, Err(_) | Ok("primary"));
        match Effect::of(&request.name) {
            Effect::Neither => None,
            Effect::Write => Some(failure(10107, "NotWritablePrimary", "not primary")),
            Effect::Read if primary_alone => Some(failure(
                13435,
                "NotPrimaryNoSecondaryOk",
                "not primary and secondaryOk=false",
            )),
            Effect::Read if self.role != Role::Secondary => Some(failure(
                13436,
                "NotPrimaryOrSecondary",
                "node is not in primary or recovering state",
            )),
            Effect::Read => None,
        }
    }
}

/// The effect of a command on data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Read,
    Write,
    /// No effect, or it continues a cursor, which only its own server can do.
    Neither,
}

impl Effect {
    pub(super) fn of(command: &str) -> Self {
        match command {
            "insert" | "update" | "delete" | "findAndModify" | "findandmodify" | "bulkWrite"
            | "create" | "createIndexes" | "drop" | "dropDatabase" | "dropIndexes" | "collMod"
            | "renameCollection" | "commitTransaction" | "abortTransaction" => Self::Write,
            "find" | "count" | "distinct" | "aggregate" | "listCollections" | "listIndexes"
            | "listDatabases" | "dbStats" | "collStats" => Self::Read,
            _ => Self::Neither,
        }
    }
}

/// A [`Hello`] that can change, and notifies waiting threads of that.
#[derive(Debug)]
pub(super) struct HelloState {
    current: Mutex<Current>,
    changed: Condvar,
}

#[derive(Debug)]
struct Current {
    hello: Hello,
    process_id: ObjectId,
    counter: i64,
}

impl Current {
    fn version(&self) -> Document {
        doc! { "processId": self.process_id, "counter": self.counter }
    }
}

impl HelloState {
    pub(super) fn new(hello: Hello) -> Self {
        Self {
            current: Mutex::new(Current {
                hello,
                process_id: ObjectId::new(),
                counter: 0,
            }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn get(&self) -> Hello {
        lock(&self.current).hello.clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Hello)) {
        let mut current = lock(&self.current);
        change(&mut current.hello);
        current.counter += 1;
        self.changed.notify_all();
    }

    /// Simulates a new process: another id, and a new counter.
    pub(super) fn restart(&self) {
        let mut current = lock(&self.current);
        current.process_id = ObjectId::new();
        current.counter = 0;
        self.changed.notify_all();
    }

    /// Wakes all waiting threads, so that they check if the wait is still needed.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    /// The reason why the command is not run in the current role, with `topologyVersion`, like all errors of that kind.
    pub(super) fn refusal(&self, request: &Request) -> Option<Document> {
        let current = lock(&self.current);
        let mut refusal = current.hello.refusal(request)?;
        if current.hello.topology_version {
            refusal.insert("topologyVersion", current.version());
        }
        Some(refusal)
    }

    /// The answer; `None` if `over` returned true during an awaitable hello.
    ///
    /// It waits only for a client that knows this process and its current state.
    pub(super) fn answer(
        &self,
        request: &Request,
        over: impl Fn() -> bool,
        last_write: impl Fn() -> DateTime,
    ) -> Option<Document> {
        let asked = match Awaited::read(&request.body) {
            Ok(asked) => asked,
            Err(refusal) => return Some(refusal),
        };
        let mut current = lock(&self.current);
        if let Some(asked) = asked {
            let is_same = |current: &Current| asked.process_id == current.process_id;
            if is_same(&current) && asked.counter > current.counter {
                let message = "the counter of topologyVersion is greater than the server's";
                return Some(failure(31382, "Location31382", message));
            }
            while is_same(&current) && asked.counter == current.counter {
                let left = asked.end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                if over() {
                    return None;
                }
                current = self
                    .changed
                    .wait_timeout(current, left.min(GLANCE))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
        let (hello, version) = (current.hello.clone(), current.version());
        drop(current); // not held while the data is locked: a command does that in the other order
        Some(hello.answer(request, version, last_write()))
    }
}

/// The parameters of an awaitable hello.
struct Awaited {
    process_id: ObjectId,
    counter: i64,
    end: Instant,
}

impl Awaited {
    /// Reads the parameters; `None` for a hello that wants its answer at once, an error if only one of the two is
    /// present.
    fn read(body: &Document) -> Result<Option<Self>, Document> {
        let version = body.get("topologyVersion");
        let limit = body.get("maxAwaitTimeMS");
        let (version, limit) = match (version, limit) {
            (None, None) => return Ok(None),
            (Some(version), Some(limit)) => (version, limit),
            _ => {
                let message = "'topologyVersion' and 'maxAwaitTimeMS' need each other";
                return Err(failure(31368, "Location31368", message));
            }
        };
        let version = version.as_document();
        let process_id = version.and_then(|version| version.get_object_id("processId").ok());
        let counter = version.and_then(|version| version.get_i64("counter").ok());
        let limit = integer(limit).and_then(|ms| u64::try_from(ms).ok());
        match (process_id, counter, limit) {
            (Some(process_id), Some(counter), Some(limit)) => Ok(Some(Self {
                process_id,
                counter,
                end: Instant::now() + Duration::from_millis(limit.min(A_DAY)),
            })),
            _ => Err(failure(
                14,
                "TypeMismatch",
                "'topologyVersion' or 'maxAwaitTimeMS' is malformed",
            )),
        }
    }
}

/// Returns true if this hello may wait for its answer.
pub(super) fn is_awaitable(request: &Request) -> bool {
    is_hello(&request.name) && request.body.contains_key("maxAwaitTimeMS")
}

/// Returns true if this is `hello` or an old spelling of it.
pub(super) fn is_hello(name: &str) -> bool {
    name == "hello" || name.eq_ignore_ascii_case("ismaster")
}

/// The interval at which a waiting thread checks that its client is still connected.
const GLANCE: Duration = Duration::from_millis(50);

/// Milliseconds; a longer wait has no limit.
const A_DAY: u64 = 86_400_000;
