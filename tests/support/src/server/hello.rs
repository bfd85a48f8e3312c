//! The answer to `hello`, and to its old spellings.
//!
//! [`Hello`] holds what a server says of itself; a test may change it under a running server, which
//! raises `topologyVersion` and so wakes the monitors that wait in an awaitable hello. Source:
//! "Server Discovery And Monitoring" and "MongoDB Handshake" of the driver specifications.

use super::record::Request;
use crate::net::lock;
use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, doc};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What kind of server it says to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// A server on its own.
    #[default]
    Standalone,
    /// The primary of a replica set.
    Primary,
    /// A secondary of a replica set.
    Secondary,
    /// An arbiter of a replica set.
    Arbiter,
    /// A member that is in no state to serve.
    OtherMember,
    /// A router of a sharded cluster (`msg: "isdbgrid"`).
    Mongos,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// What kind of server.
    pub role: Role,
    /// `setName`.
    pub set_name: Option<String>,
    /// `hosts`.
    pub hosts: Vec<String>,
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
    /// `logicalSessionTimeoutMinutes`; `None` leaves it out.
    pub logical_session_timeout_minutes: Option<i32>,
    /// Whether to send `topologyVersion`, which lets monitors stream.
    pub topology_version: bool,
    /// Compressors that it takes; the answer names those that the client offered too.
    pub compressors: Vec<String>,
    /// Further fields; they replace those of the same name.
    pub extra: Document,
}

impl Default for Hello {
    fn default() -> Self {
        Self {
            role: Role::Standalone,
            set_name: None,
            hosts: Vec::new(),
            me: None,
            primary: None,
            min_wire_version: 0,
            max_wire_version: 21,
            max_bson_object_size: 16_777_216,
            max_message_size_bytes: 48_000_000,
            max_write_batch_size: 100_000,
            logical_session_timeout_minutes: Some(30),
            topology_version: true,
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

    fn answer(&self, request: &Request, version: Bson) -> Document {
        let legacy_name = request.name != "hello";
        let writable = matches!(self.role, Role::Standalone | Role::Primary | Role::Mongos);
        let writable_key = if legacy_name {
            "ismaster"
        } else {
            "isWritablePrimary"
        };
        let mut answer = doc! { writable_key: writable };
        if request.body.get_bool("helloOk").unwrap_or(false) {
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
            answer.insert("setName", set_name);
            answer.insert("setVersion", 1);
            answer.insert("hosts", self.hosts.clone());
            answer.insert("secondary", self.role == Role::Secondary);
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
}

/// A [`Hello`] that can change, and wakes those who wait for that.
#[derive(Debug)]
pub(super) struct HelloState {
    current: Mutex<(Hello, i64)>,
    changed: Condvar,
    process_id: ObjectId,
}

impl HelloState {
    pub(super) fn new(hello: Hello) -> Self {
        Self {
            current: Mutex::new((hello, 0)),
            changed: Condvar::new(),
            process_id: ObjectId::new(),
        }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Hello)) {
        let mut current = lock(&self.current);
        change(&mut current.0);
        current.1 += 1;
        self.changed.notify_all();
    }

    /// The answer; `None` if `over` said, during an awaitable hello, that there is no point any more.
    pub(super) fn answer(&self, request: &Request, over: impl Fn() -> bool) -> Option<Document> {
        let known = request.body.get_document("topologyVersion");
        let known = known.and_then(|version| version.get_i64("counter"));
        let limit = match request.body.get("maxAwaitTimeMS") {
            Some(Bson::Int64(ms)) => u64::try_from(*ms).ok(),
            Some(Bson::Int32(ms)) => u64::try_from(*ms).ok(),
            _ => None,
        };
        let mut current = lock(&self.current);
        if let (Ok(known), Some(limit)) = (known, limit) {
            let end = Instant::now() + Duration::from_millis(limit);
            while current.1 == known && Instant::now() < end {
                if over() {
                    return None;
                }
                current = self
                    .changed
                    .wait_timeout(current, Duration::from_millis(10))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
        let version = doc! { "processId": self.process_id, "counter": current.1 };
        Some(current.0.answer(request, version.into()))
    }
}

/// Whether this is `hello` or an old spelling of it.
pub(super) fn is_hello(name: &str) -> bool {
    name == "hello" || name.eq_ignore_ascii_case("ismaster")
}
