//! "Driver Authentication": the credential of a connection string.
//!
//! On keys of AWS in a connection string the cases contradict each other: older ones require that they are accepted,
//! and since DRIVERS-3131 (2025-09-30) others require that they are rejected. Clients can do either: they accept them
//! with a warning, unless an option excludes that (`aws_keys_from_environment_only`). A case that requires rejection is
//! run with a client that has the option, and is listed by name.

use mongotls::ConnectionString;
use mongotls::options::Secret;
use serde_json::{Value, json};

use crate::expect::{only_fields, parse, properties, same, text};

pub(crate) fn run(case: &Value) -> Result<(), String> {
    only_fields(case, &["description", "uri", "valid", "credential"])?;
    if wants_aws_keys_refused(case) {
        let description = text(case, "description")?;
        println!("note: with aws_keys_from_environment_only: \"{description}\"");
        return refuse_aws_keys(text(case, "uri")?);
    }
    let Some((options, _)) = parse(case)? else {
        return Ok(());
    };
    let actual = match &options.credential() {
        None => Value::Null,
        Some(credential) => json!({
            "username": credential.username,
            "password": credential.password.as_ref().map(Secret::expose),
            "source": credential.source,
            "mechanism": credential.mechanism.map(|mechanism| mechanism.as_str()),
            "mechanism_properties": properties(&options),
        }),
    };
    same("credential", &case["credential"], &actual)
}

/// Returns true if a case expects an error for a user and a password that MONGODB-AWS could use.
fn wants_aws_keys_refused(case: &Value) -> bool {
    let uri = case["uri"].as_str().unwrap_or_default();
    let user_info = uri.split_once('@').map_or("", |(before, _)| before);
    let has_both = user_info.trim_start_matches("mongodb://").contains(':');
    case["valid"] == false && has_both && uri.contains("authMechanism=MONGODB-AWS")
}

fn refuse_aws_keys(uri: &str) -> Result<(), String> {
    let builder = || ConnectionString::parse(uri).map(ConnectionString::into_builder);
    let outcome = |built: mongotls::Result<_>| match built {
        Ok(_) => "none".to_owned(),
        Err(error) => format!("{error}"),
    };
    let told =
        outcome(builder().and_then(|options| options.aws_keys_from_environment_only().build()));
    if !told.contains("from the environment alone") {
        return Err(format!(
            "expected a refusal of the keys, got the error: {told}"
        ));
    }
    // The keys are the reason if they are accepted otherwise.
    let told = outcome(builder().and_then(|options| options.build()));
    same("error without the option", &json!("none"), &json!(told))
}
