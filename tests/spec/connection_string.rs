//! "Connection String": hosts, user and database, besides validity, warnings and options. Null means no expectation.

use std::net::{Ipv4Addr, Ipv6Addr};

use mongotls::ServerAddress;
use mongotls::options::{ClientOptions, Secret};
use serde_json::{Value, json};

use crate::expect::{check_options, only_fields, parse, same, text};

pub(crate) fn run(case: &Value) -> Result<(), String> {
    let known = [
        "description",
        "uri",
        "valid",
        "warning",
        "hosts",
        "auth",
        "options",
    ];
    only_fields(case, &known)?;
    let Some((options, _)) = parse(case)? else {
        return Ok(());
    };
    check_hosts(&case["hosts"], &options)?;
    check_auth(&case["auth"], &options)?;
    check_options(&case["options"], &options)
}

fn check_hosts(expected: &Value, options: &ClientOptions) -> Result<(), String> {
    let expected = match expected {
        Value::Null => return Ok(()),
        Value::Array(hosts) => hosts,
        other => return Err(format!("\"hosts\" is {other}")),
    };
    let with_port = |host: &Value| {
        only_fields(host, &["type", "host", "port"])?;
        let default = match text(host, "type")? {
            "unix" => Value::Null,
            _ => json!(ServerAddress::DEFAULT_PORT),
        };
        let port = Some(&host["port"]).filter(|port| !port.is_null());
        let port = port.unwrap_or(&default);
        Ok(json!([host["type"], host["host"], port]))
    };
    let expected = expected
        .iter()
        .map(with_port)
        .collect::<Result<Value, String>>()?;
    let actual = options.hosts().iter().map(host).collect();
    same("hosts", &expected, &actual)
}

fn host(address: &ServerAddress) -> Value {
    let host = address.host();
    let kind = match address {
        ServerAddress::Unix { .. } => "unix",
        _ if host.parse::<Ipv4Addr>().is_ok() => "ipv4",
        _ if host.parse::<Ipv6Addr>().is_ok() => "ip_literal",
        _ => "hostname",
    };
    json!([kind, host, address.port()])
}

fn check_auth(expected: &Value, options: &ClientOptions) -> Result<(), String> {
    if expected.is_null() {
        return Ok(());
    }
    only_fields(expected, &["username", "password", "db"])?;
    let credential = options.credential();
    let password = credential.and_then(|credential| credential.password.as_ref());
    let actual = json!({
        "username": credential.and_then(|credential| credential.username.as_ref()),
        "password": password.map(Secret::expose),
        "db": options.default_database(),
    });
    same("auth", expected, &actual)
}
