//! "Initial DNS Seedlist Discovery": a client for a `mongodb+srv` URI, with a DNS server of the bench.
//!
//! Its zone is the file that `SRV_ZONE` names or, without it, `srv-zone.txt` beside the folder of the tests: lines of a
//! name, a type and data, in the notation of the specification's test README. Without either, the records of that
//! README are missing, which no file contains, and cases fail.
//!
//! The compared fields are `seeds`, `numSeeds`, `options`, `parsed_options` and `error`. `hosts` and `numHosts` are the
//! results of monitors with servers on fixed ports, and are left to the tests of monitoring; so is `ping`.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use mongotls::options::Secret;
use mongotls::{CauseCode, Client, ClientOptions, ConnectionString, Error};
use mongotls_testbench::dns::{DnsServer, Zone};
use serde_json::{Value, json};

use crate::expect::{check_options, only_fields, same, text};

/// A record that a case needs but the README lacks.
const MISSING: &str =
    "_customname._tcp.test22.test.build.10gen.cc. SRV 27018 localhost.test.build.10gen.cc.";

pub(crate) fn run(case: &Value) -> Result<(), String> {
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
    let client = connect(uri, None);
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
            let client = connect(uri, Some("user")).map_err(|error| error.to_string())?;
            check_options(&case["options"], client.options())
        }
        _ => check_options(&case["options"], options),
    }
}

fn connect(uri: &str, user: Option<&str>) -> Result<Client, Error> {
    let mut builder = ConnectionString::parse(uri)?.into_builder();
    if let Some(user) = user {
        builder = builder.credential(user, "password");
    }
    Client::with_options(builder.dns_server(server().addr()).build()?)
}

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
            "defaultDatabase" | "auth_database" => json!(options.default_database()),
            other => return Err(format!("the runner does not know \"{other}\"")),
        };
        same(field, expected, &actual)?;
    }
    Ok(())
}
