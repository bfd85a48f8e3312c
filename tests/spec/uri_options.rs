//! "URI Options": the format of "Connection String", with the focus on the options. The files that a case names are
//! never opened.

use serde_json::Value;

pub(crate) fn run(case: &Value) -> Result<(), String> {
    crate::connection_string::run(case)
}
