//! The common parts of all formats: reading a case, parsing its URI, comparing values.

use std::time::Duration;

use mongotls::options::{Acknowledgment, ClientOptions, Secret, Tag};
use mongotls::uri::Warning;
use mongotls::{CauseCode, Error, ErrorKind};
use serde_json::{Map, Value, json};

/// Fails unless the case contains these fields and no others: a field that is not compared is no test.
pub(crate) fn only_fields(case: &Value, known: &[&str]) -> Result<(), String> {
    let fields = case.as_object().ok_or("the case is not an object")?;
    let other = fields
        .keys()
        .find(|field| !known.contains(&field.as_str()) && *field != "comment");
    match other {
        Some(field) => Err(format!("the runner does not know the field \"{field}\"")),
        None => Ok(()),
    }
}

/// Returns a text that must be present.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, String> {
    let text = value[field].as_str();
    text.ok_or_else(|| format!("\"{field}\" is not a text"))
}

/// `valid` of a case.
pub(crate) fn is_valid(case: &Value) -> Result<bool, String> {
    let valid = case["valid"].as_bool();
    valid.ok_or_else(|| "\"valid\" is neither true nor false".to_owned())
}

/// Parses the URI of a case; returns `None` if the case expects an error, and there is one of configuration.
pub(crate) fn parse(case: &Value) -> Result<Option<(ClientOptions, Vec<Warning>)>, String> {
    match (is_valid(case)?, ClientOptions::parse(text(case, "uri")?)) {
        (true, Ok(parsed)) => {
            check_warnings(case, &parsed.1)?;
            Ok(Some(parsed))
        }
        (true, Err(error)) => Err(format!("expected no error, got: {error}")),
        (false, Ok(_)) => Err("expected an error, got none".to_owned()),
        (false, Err(error)) => check_error(&error).map(|()| None),
    }
}

fn check_error(error: &Error) -> Result<(), String> {
    let codes = [CauseCode::InvalidUri, CauseCode::OptionConflict];
    let code = error.cause().map(mongotls::Cause::code);
    if error.kind() != ErrorKind::Configuration || !code.is_some_and(|code| codes.contains(&code)) {
        return Err(format!(
            "expected an error of configuration, got: {error:?}"
        ));
    }
    Ok(())
}

/// `warning`: true expects at least one, false none, null any number.
pub(crate) fn check_warnings(case: &Value, warnings: &[Warning]) -> Result<(), String> {
    match (&case["warning"], warnings) {
        (Value::Null, _) | (Value::Bool(true), [_, ..]) | (Value::Bool(false), []) => Ok(()),
        (Value::Bool(true), []) => Err("expected a warning, got none".to_owned()),
        (Value::Bool(false), [first, ..]) => Err(format!("expected no warning, got: {first}")),
        (other, _) => Err(format!("\"warning\" is {other}")),
    }
}

/// Fails unless the two are equal.
pub(crate) fn same(what: &str, expected: &Value, actual: &Value) -> Result<(), String> {
    match expected == actual {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected}, got {actual}")),
    }
}

/// `options`: each one is compared with the typed option of that key.
pub(crate) fn check_options(expected: &Value, options: &ClientOptions) -> Result<(), String> {
    let expected = match expected {
        Value::Null => return Ok(()),
        Value::Object(expected) => expected,
        other => return Err(format!("\"options\" is {other}")),
    };
    for (key, value) in expected {
        let actual = option(options, key)
            .ok_or_else(|| format!("the runner does not know the option \"{key}\""))?;
        same(key, value, &actual)?;
    }
    Ok(())
}

/// The properties of a mechanism, or null if there are none.
pub(crate) fn properties(options: &ClientOptions) -> Value {
    let credential = options.credential();
    let properties = credential.map(|credential| &credential.properties);
    match properties {
        Some(properties) if !properties.is_empty() => properties
            .iter()
            .map(|(name, value)| (name.clone(), json!(value.expose())))
            .collect::<Map<_, _>>()
            .into(),
        _ => Value::Null,
    }
}

/// A typed option in the form of a case; `None` for a key that does not exist. Limits are in milliseconds; no limit is
/// 0 if 0 means that.
fn option(options: &ClientOptions, key: &str) -> Option<Value> {
    let or_zero = |limit: Option<Duration>| json!(limit.map_or(0, |limit| limit.as_millis()));
    let credential = options.credential();
    let proxy = options.proxy();
    let read = &options.read_preference();
    let write = &options.write_concern();
    Some(match key.to_ascii_lowercase().as_str() {
        "appname" => json!(options.app_name()),
        "authmechanism" => json!(credential.and_then(|c| c.mechanism).map(|m| m.as_str())),
        "authmechanismproperties" => properties(options),
        "authsource" => json!(credential.map(|credential| &credential.source)),
        "compressors" => options.compressors().iter().map(|c| c.as_str()).collect(),
        "connecttimeoutms" => or_zero(options.connect_timeout()),
        "directconnection" => json!(options.direct_connection()),
        "enableoverloadretargeting" => json!(options.enable_overload_retargeting()),
        "heartbeatfrequencyms" => json!(options.heartbeat_frequency().as_millis()),
        "journal" => json!(write.journal),
        "loadbalanced" => json!(options.load_balanced()),
        "localthresholdms" => json!(options.local_threshold().as_millis()),
        "maxadaptiveretries" => json!(options.max_adaptive_retries()),
        "maxconnecting" => json!(options.max_connecting()),
        "maxidletimems" => or_zero(options.max_idle_time()),
        "maxpoolsize" => json!(options.max_pool_size()),
        "maxstalenessseconds" => json!(read.max_staleness.map_or(-1, |limit| {
            i64::try_from(limit.as_secs()).unwrap_or(i64::MAX)
        })),
        "minpoolsize" => json!(options.min_pool_size()),
        "proxyhost" => json!(proxy.map(|proxy| &proxy.host)),
        "proxyport" => json!(proxy.map(|proxy| proxy.port)),
        "proxyusername" => json!(
            proxy
                .and_then(|p| p.credential.as_ref())
                .map(|c| &c.username)
        ),
        "proxypassword" => {
            json!(
                proxy
                    .and_then(|p| p.credential.as_ref())
                    .map(|c| c.password.expose())
            )
        }
        "readconcernlevel" => json!(options.read_concern().level),
        "readpreference" => json!(read.mode.as_str()),
        "readpreferencetags" => read.tag_sets.iter().map(|set| tag_set(set)).collect(),
        "replicaset" => json!(options.replica_set()),
        "retryreads" => json!(options.retry_reads()),
        "retrywrites" => json!(options.retry_writes()),
        "servermonitoringmode" => json!(options.server_monitoring_mode().as_str()),
        "serverselectiontimeoutms" => json!(options.server_selection_timeout().as_millis()),
        "serverselectiontryonce" => json!(options.server_selection_try_once()),
        "sockettimeoutms" => or_zero(options.socket_timeout()),
        "srvmaxhosts" => json!(options.srv().map(|srv| srv.max_hosts)),
        "srvservicename" => json!(options.srv().map(|srv| &srv.service_name)),
        "timeoutms" => json!(options.timeout().map(|limit| limit.as_millis())),
        "w" => match &write.w {
            Some(Acknowledgment::Nodes(nodes)) => json!(nodes),
            Some(tag) => json!(tag.to_string()),
            None => Value::Null,
        },
        "waitqueuetimeoutms" => or_zero(options.wait_queue_timeout()),
        "wtimeoutms" => json!(write.w_timeout.map(|limit| limit.as_millis())),
        "zlibcompressionlevel" => json!(options.zlib_compression_level()),
        key => return tls_option(options, key),
    })
}

fn tls_option(options: &ClientOptions, key: &str) -> Option<Value> {
    let tls = options.tls();
    Some(match key {
        "tls" | "ssl" => json!(tls.is_some()),
        "tlsallowinvalidcertificates" => json!(tls.and_then(|t| t.allow_invalid_certificates())),
        "tlsallowinvalidhostnames" => json!(tls.and_then(|t| t.allow_invalid_hostnames())),
        "tlscafile" => json!(tls.and_then(|t| t.ca_file())),
        "tlscrlfile" => json!(tls.and_then(|t| t.crl_files().first())),
        "tlscertificatekeyfile" => json!(tls.and_then(|t| t.certificate_key_file())),
        "tlscertificatekeyfilepassword" => {
            let password = tls.and_then(|tls| tls.certificate_key_file_password());
            json!(password.map(Secret::expose))
        }
        "tlsdisablecertificaterevocationcheck" => {
            json!(tls.and_then(|tls| tls.disable_certificate_revocation_check()))
        }
        "tlsdisableocspendpointcheck" => {
            json!(tls.and_then(|tls| tls.disable_ocsp_endpoint_check()))
        }
        "tlsinsecure" => json!(tls.and_then(|tls| tls.insecure())),
        _ => return None,
    })
}

fn tag_set(set: &[Tag]) -> Value {
    let tags = set.iter().map(|tag| (tag.name.clone(), json!(tag.value)));
    tags.collect::<Map<_, _>>().into()
}
