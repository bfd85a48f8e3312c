//! "Initial DNS Seedlist Discovery": a client for a `mongodb+srv` URI, with a DNS server of the bench.
//!
//! Its zone is the file that `SRV_ZONE` names or, without it, `srv-zone.txt` beside the folder of the tests: lines of a
//! name, a type and data, in the notation of the specification's test README. Without either, the records of that
//! README are missing, which no file contains, and cases fail.
//!
//! Every field of a case is compared. For `hosts`, `numHosts` and `ping`, a second client finds the deployment of the
//! case's folder, as the README describes it, on servers of the bench with TLS. The names and the fixed ports of the
//! records lead to them by `connect_to`.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::doc;
use mongotls::bson::oid::ObjectId;
use mongotls::options::{ClientOptionsBuilder, Secret};
use mongotls::{CauseCode, Client, ClientOptions, ConnectionString, Error, ServerAddress};
use mongotls_testbench::dns::{DnsServer, Zone};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
use mongotls_testbench::server::{Hello, Role, Server, ServerTls};
use serde_json::{Value, json};

use crate::expect::{check_options, only_fields, same, text};

/// A record that a case needs but the README lacks.
const MISSING: &str =
    "_customname._tcp.test22.test.build.10gen.cc. SRV 27018 localhost.test.build.10gen.cc.";

/// A case of the folder `replica-set`: three members of `repl0` on the ports 27017 to 27019.
pub(crate) fn run_replica_set(case: &Value) -> Result<(), String> {
    static DEPLOYMENT: OnceLock<Deployment> = OnceLock::new();
    let addresses = [27017, 27018, 27019].map(|port| format!("localhost:{port}"));
    let hosts = addresses.each_ref().map(String::as_str);
    let hello = |index: usize| {
        let role = if index == 0 {
            Role::Primary
        } else {
            Role::Secondary
        };
        Hello::member(role, "repl0", hosts[index], &hosts)
    };
    let deployment = || Deployment::start(&[27017, 27018, 27019], hello);
    run(case, DEPLOYMENT.get_or_init(deployment))
}

/// A case of the folder `sharded`: two routers on the ports 27017 and 27018.
pub(crate) fn run_sharded(case: &Value) -> Result<(), String> {
    static DEPLOYMENT: OnceLock<Deployment> = OnceLock::new();
    let deployment = || Deployment::start(&[27017, 27018], |_| Hello::mongos());
    run(case, DEPLOYMENT.get_or_init(deployment))
}

/// A case of the folder `load-balanced`: a load balancer on port 8000, and its routers.
pub(crate) fn run_load_balanced(case: &Value) -> Result<(), String> {
    static DEPLOYMENT: OnceLock<Deployment> = OnceLock::new();
    let hello = |_| {
        let mut hello = Hello::mongos();
        hello.extra.insert("serviceId", ObjectId::new());
        hello
    };
    let deployment = || Deployment::start(&[8000, 27017, 27018], hello);
    run(case, DEPLOYMENT.get_or_init(deployment))
}

fn run(case: &Value, deployment: &Deployment) -> Result<(), String> {
    let known = [
        "uri",
        "seeds",
        "numSeeds",
        "hosts",
        "numHosts",
        "options",
        "parsed_options",
        "error",
        "ping",
    ];
    only_fields(case, &known)?;
    let uri = text(case, "uri")?;
    let client = connect(uri, |builder| builder);
    if case["error"] == json!(true) {
        return match client {
            Ok(_) => Err("expected an error, got none".to_owned()),
            Err(error) => check_error(&error),
        };
    }
    let client = client.map_err(|error| format!("expected no error, got: {error}"))?;
    let options = client.options();
    check_seeds(case, options)?;
    check_parsed(&case["parsed_options"], options)?;
    // An authSource belongs to a user, and is visible only with one.
    match (&case["options"]["authSource"], &options.credential()) {
        (Value::String(_), None) => {
            let client = connect(uri, |builder| builder.credential("user", "password"))
                .map_err(|error| error.to_string())?;
            check_options(&case["options"], client.options())?;
        }
        _ => check_options(&case["options"], options)?,
    }
    check_deployment(case, uri, deployment)
}

fn connect(
    uri: &str,
    change: impl FnOnce(ClientOptionsBuilder) -> ClientOptionsBuilder,
) -> Result<Client, Error> {
    let builder = change(ConnectionString::parse(uri)?.into_builder());
    Client::with_options(builder.dns_server(server().addr()).build()?)
}

/// The servers of a folder, by the ports of the README.
struct Deployment {
    servers: Vec<(u16, Server)>,
    ca: String,
}

impl Deployment {
    fn start(ports: &[u16], hello: impl Fn(usize) -> Hello) -> Self {
        let ca = Ca::root("seed list root", KeyKind::EcP256);
        let names = ["*.test.build.10gen.cc", "*.sub.test.build.10gen.cc"];
        let leaf = names
            .iter()
            .fold(LeafSpec::local_server(), |leaf, name| leaf.dns(name));
        let tls = ServerTls::new(&ca.issue(leaf));
        let server = |(index, port): (usize, &u16)| {
            let server = Server::builder()
                .hello(hello(index))
                .tls(tls.clone())
                .start();
            (*port, server)
        };
        Self {
            servers: ports.iter().enumerate().map(server).collect(),
            ca: String::from_utf8_lossy(&ca.cert_pem()).into_owned(),
        }
    }

    /// Lets the names of the README lead to the servers.
    fn direct(&self, builder: ClientOptionsBuilder) -> ClientOptionsBuilder {
        let names = [
            "localhost",
            "localhost.test.build.10gen.cc",
            "localhost.sub.test.build.10gen.cc",
            "test.build.10gen.cc",
            "build.10gen.cc",
        ];
        let targets = self.servers.iter().flat_map(|(port, server)| {
            let target = ServerAddress::tcp("127.0.0.1", server.port());
            names.map(|name| (ServerAddress::tcp(name, *port), target.clone()))
        });
        targets
            .fold(builder, |builder, (from, to)| builder.connect_to(from, to))
            .tls_with(|tls| tls.ca_certificates_pem(&*self.ca))
    }
}

/// Compares `hosts` and `numHosts` once all servers are discovered, and runs a ping unless `ping` is false.
fn check_deployment(case: &Value, uri: &str, deployment: &Deployment) -> Result<(), String> {
    let client = connect(uri, |builder| deployment.direct(builder))
        .map_err(|error| format!("the second client: {error}"))?;
    let hosts = case["hosts"].as_array();
    let hosts: Option<BTreeSet<&str>> =
        hosts.map(|hosts| hosts.iter().filter_map(Value::as_str).collect());
    let started = Instant::now();
    loop {
        let snapshot = client.snapshot();
        let servers = &snapshot.topology.servers;
        let found: BTreeSet<String> = servers.keys().map(ToString::to_string).collect();
        // A load balancer is not monitored, and counts as available.
        let is_complete = servers.values().all(|server| server.is_available());
        let is_right = hosts
            .as_ref()
            .is_none_or(|hosts| found.iter().eq(hosts.iter()))
            && case["numHosts"]
                .as_u64()
                .is_none_or(|count| count == found.len() as u64);
        if is_complete && is_right {
            break;
        }
        if started.elapsed() > PATIENCE {
            return match is_right {
                true => Err(format!("not discovered: {:?}", snapshot.topology)),
                false => Err(format!("expected {:?}, found {found:?}", case["hosts"])),
            };
        }
        thread::sleep(Duration::from_millis(2));
    }
    if case["ping"] == json!(false) {
        return Ok(());
    }
    let ping = client.database("admin").run_command(doc! { "ping": 1 });
    ping.map(drop).map_err(|error| format!("ping: {error}"))
}

/// The time after which the discovery of the hosts has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// One server for all cases.
fn server() -> &'static DnsServer {
    static SERVER: OnceLock<DnsServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let file = match env::var_os("SRV_ZONE") {
            Some(file) => PathBuf::from(file),
            None => crate::root().unwrap_or_default().join("../srv-zone.txt"),
        };
        let text = fs::read_to_string(&file)
            .unwrap_or_else(|why| panic!("SRV_ZONE: {}: {why}", file.display()));
        DnsServer::start(Zone::parse(&text).with(MISSING))
    })
}

/// The specification's errors, and not that of a server which does not answer.
fn check_error(error: &Error) -> Result<(), String> {
    let codes = [
        CauseCode::SrvNotFound,
        CauseCode::SrvInvalid,
        CauseCode::InvalidUri,
        CauseCode::OptionConflict,
    ];
    let code = error.cause().map(mongotls::Cause::code);
    match code.is_some_and(|code| codes.contains(&code)) {
        true => Ok(()),
        false => Err(format!("expected an error of SRV, got: {error:?}")),
    }
}

fn check_seeds(case: &Value, options: &ClientOptions) -> Result<(), String> {
    let seeds: BTreeSet<String> = options.hosts().iter().map(ToString::to_string).collect();
    if let Value::Array(expected) = &case["seeds"] {
        let expected: BTreeSet<&str> = expected.iter().filter_map(Value::as_str).collect();
        same("seeds", &json!(expected), &json!(seeds))?;
    }
    match &case["numSeeds"] {
        Value::Null => Ok(()),
        expected => same("numSeeds", expected, &json!(seeds.len())),
    }
}

fn check_parsed(expected: &Value, options: &ClientOptions) -> Result<(), String> {
    let Some(fields) = expected.as_object() else {
        return Ok(());
    };
    let credential = options.credential();
    for (field, expected) in fields {
        let actual = match field.as_str() {
            "user" => json!(credential.and_then(|credential| credential.username.as_ref())),
            "password" => {
                let password = credential.and_then(|credential| credential.password.as_ref());
                json!(password.map(Secret::expose))
            }
            "db" | "defaultDatabase" | "auth_database" => json!(options.default_database()),
            other => return Err(format!("the runner does not know \"{other}\"")),
        };
        same(field, expected, &actual)?;
    }
    Ok(())
}
