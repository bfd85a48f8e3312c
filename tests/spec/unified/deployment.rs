//! The deployments on which cases run: all topologies of the test bench, in front of one store.

use std::collections::BTreeSet;
use std::fmt;

use bson::{Bson, Document, doc};
use mongotls::{Client, ServerAddress};
use mongotls_testbench::client::RawClient;
use mongotls_testbench::deployment::{self as bench, Topology};
use mongotls_testbench::node::NodeOptions;
use mongotls_testbench::server::{Auth, Backend, User, Version};
use serde_json::Value;

use super::json::{items, unsigned};

/// A kind of deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(crate) topology: Topology,
    pub(crate) version: Version,
    pub(crate) has_auth: bool,
}

impl Configuration {
    /// All kinds. Servers older than 5.0 are never behind a load balancer.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for has_auth in [false, true] {
            for topology in Topology::ALL {
                for version in [Version::V4_2, Version::V8_2] {
                    let is_possible =
                        topology != Topology::LoadBalanced || version != Version::V4_2;
                    if is_possible {
                        all.push(Self {
                            topology,
                            version,
                            has_auth,
                        });
                    }
                }
            }
        }
        all
    }

    /// The mechanisms of its servers.
    pub(crate) fn mechanisms(self) -> &'static [&'static str] {
        match self.has_auth {
            true => &["SCRAM-SHA-1", "SCRAM-SHA-256"],
            false => &[],
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, _] = self.version.numbers;
        let auth = if self.has_auth { " auth" } else { "" };
        write!(f, "{} {major}.{minor}{auth}", self.topology)
    }
}

/// A running deployment.
pub(crate) struct Deployment {
    pub(crate) configuration: Configuration,
    servers: bench::Deployment,
    store: Backend,
}

const USER: &str = "runner";
const PASSWORD: &str = "secret";

impl Deployment {
    /// Starts a deployment in front of this store.
    pub(crate) fn start(configuration: Configuration, store: &Backend) -> Self {
        let mut options = NodeOptions::new();
        if configuration.has_auth {
            options = options.setup(|_, builder| {
                let auth = Auth::new().mechanisms(&["SCRAM-SHA-1", "SCRAM-SHA-256"]);
                builder.auth(auth.user(User::new("admin", USER, PASSWORD)))
            });
        }
        let Configuration {
            topology, version, ..
        } = configuration;
        Self {
            configuration,
            servers: bench::Deployment::start_with(topology, version, store, options),
            store: store.clone(),
        }
    }

    /// The connection string of a client entity, which may check the servers often.
    pub(crate) fn uri(
        &self,
        uses_many: Option<bool>,
        options: &Value,
        checks_often: bool,
    ) -> Result<String, String> {
        let uri = match uses_many {
            Some(false) => self.servers.uri(""),
            Some(true) | None => self.servers.uri_of_all(""),
        };
        let (hosts, present) = uri.split_once("/?").unwrap_or((&uri, ""));
        let mut hosts = hosts.trim_start_matches("mongodb://").to_owned();
        let present = present.split('&').filter(|pair| !pair.is_empty());
        let mut pairs: Vec<String> = present.map(ToOwned::to_owned).collect();
        let mut remove = |name: &str| {
            pairs.retain(|pair| {
                let own = pair.split('=').next().unwrap_or_default();
                !own.eq_ignore_ascii_case(name)
            });
        };
        let mut more = Vec::new();
        let mut names = options
            .as_object()
            .into_iter()
            .flat_map(|options| options.keys());
        if checks_often && !names.any(|name| name.eq_ignore_ascii_case("heartbeatFrequencyMS")) {
            more.push("heartbeatFrequencyMS=500".to_owned());
        }
        for (name, value) in options.as_object().into_iter().flatten() {
            remove(name);
            let is_direct = name.eq_ignore_ascii_case("directConnection") && *value == true;
            if is_direct {
                remove("replicaSet");
                hosts = hosts.split(',').next().unwrap_or_default().to_owned();
            }
            more.extend(option(name, value)?);
        }
        pairs.extend(more);
        let user = self.user();
        Ok(format!("mongodb://{user}{hosts}/?{}", pairs.join("&")))
    }

    /// The user of a connection string, with its `@`.
    fn user(&self) -> String {
        match self.configuration.has_auth {
            true => format!("{USER}:{PASSWORD}@"),
            false => String::new(),
        }
    }

    /// Runs a command on one server.
    pub(crate) fn run_at(
        &self,
        server: &ServerAddress,
        database: &str,
        command: Document,
    ) -> Result<Document, mongotls::Error> {
        let uri = format!("mongodb://{}{server}/?directConnection=true", self.user());
        let client = Client::connect(&uri)?;
        client.database(database).run_command(command)
    }

    /// Runs a command of the runner itself on the store; `ok: 0` is an error.
    pub(crate) fn run(&self, database: &str, command: Document) -> Result<Document, String> {
        let reply = self.store.command(database, command.clone());
        let reply = reply.map_err(|error| format!("{command}: {error}"))?;
        match reply.get("ok").and_then(number) {
            Some(1) => Ok(reply),
            _ => Err(format!("{command}: {reply}")),
        }
    }

    /// Runs a command that opens a cursor, and returns all documents.
    pub(crate) fn all(&self, database: &str, command: Document) -> Result<Vec<Document>, String> {
        let mut reply = self.run(database, command)?;
        let mut all = Vec::new();
        loop {
            let cursor = reply
                .get_document("cursor")
                .map_err(|error| format!("{reply}: {error}"))?;
            let batch = cursor
                .get_array("firstBatch")
                .or_else(|_| cursor.get_array("nextBatch"));
            let batch = batch.map_err(|error| format!("{reply}: {error}"))?;
            all.extend(batch.iter().filter_map(|item| item.as_document().cloned()));
            let id = cursor.get("id").and_then(number).unwrap_or(0);
            if id == 0 {
                return Ok(all);
            }
            let namespace = cursor.get_str("ns").unwrap_or_default();
            let collection = namespace
                .split_once('.')
                .map_or("", |(_, collection)| collection);
            reply = self.run(database, doc! { "getMore": id, "collection": collection })?;
        }
    }

    /// The documents of a collection, in the order of their IDs.
    pub(crate) fn documents(
        &self,
        database: &str,
        collection: &str,
    ) -> Result<Vec<Document>, String> {
        let find = doc! {
            "find": collection,
            "sort": { "_id": 1 },
            "readConcern": { "level": "local" },
        };
        self.all(database, find)
    }

    /// A server parameter; `None` if the server does not know it.
    pub(crate) fn parameter(&self, name: &str) -> Option<Bson> {
        let node = self.servers.nodes().into_iter().next()?;
        let mut server = RawClient::connect(node.server().addr()).ok()?;
        let reply = server
            .command("admin", doc! { "getParameter": 1, name: 1 })
            .ok()?;
        reply.get(name).cloned()
    }

    /// Disables these fail points on all servers.
    pub(crate) fn disable_fail_points(&self, names: &BTreeSet<String>) -> Result<(), String> {
        if !names.is_empty() {
            self.servers.clear_fail_points();
        }
        Ok(())
    }
}

fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(clippy::cast_possible_truncation, reason = "`ok` is 0 or 1")]
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

/// The pairs of a connection string for one of `uriOptions`.
fn option(name: &str, value: &Value) -> Result<Vec<String>, String> {
    let pair = |text: &str| format!("{name}={}", escape(text));
    Ok(match value {
        Value::String(text) => vec![pair(text)],
        Value::Bool(flag) => vec![pair(&flag.to_string())],
        Value::Array(_) if name.eq_ignore_ascii_case("readPreferenceTags") => items(value)
            .iter()
            .filter_map(Value::as_str)
            .map(pair)
            .collect(),
        Value::Array(_) => {
            let texts = items(value).iter().filter_map(Value::as_str);
            vec![pair(&texts.collect::<Vec<_>>().join(","))]
        }
        Value::Object(fields) if fields.contains_key("$$placeholder") => {
            return Err(format!("there is no value for the placeholder of {name}"));
        }
        Value::Object(fields) if !fields.keys().any(|name| name.starts_with('$')) => {
            let pairs = fields.iter().map(|(name, value)| match value.as_str() {
                Some(text) => Ok(format!("{name}:{text}")),
                None => Err(format!("there is no value for {name}: {value}")),
            });
            vec![pair(&pairs.collect::<Result<Vec<_>, _>>()?.join(","))]
        }
        other => match unsigned(other) {
            Some(number) => vec![pair(&number.to_string())],
            None => return Err(format!("{name}={other} has no form in a connection string")),
        },
    })
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' | b',' => {
                escaped.push(char::from(byte));
            }
            byte => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}
