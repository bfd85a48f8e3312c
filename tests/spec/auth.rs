//! "Driver Authentication": the credential that a connection string leads to.

use mongotls::options::Secret;
use serde_json::{Value, json};

use crate::expect::{only_fields, parse, properties, same};

pub(crate) fn run(case: &Value) -> Result<(), String> {
    only_fields(case, &["description", "uri", "valid", "credential"])?;
    let Some((options, _)) = parse(case)? else {
        return Ok(());
    };
    let actual = match &options.credential {
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
