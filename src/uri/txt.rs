//! The options of a TXT record, in the form of a connection string's options. Source: "Initial DNS Seedlist Discovery",
//! "Default Connection String Options".

use super::Warning;
use super::options;
use super::syntax::Parts;
use crate::cause::Cause;
use crate::options::ClientOptionsBuilder;
use crate::printable::Quoted;
use crate::reason::Reason;
use crate::reason::options::OptionFailure;

/// The options that a TXT record may set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TxtOptions {
    pub(crate) auth_source: Option<String>,
    pub(crate) replica_set: Option<String>,
    pub(crate) load_balanced: Option<bool>,
}

impl TxtOptions {
    /// Parses the joined strings of a record. Values that a connection string would ignore with a warning are ignored
    /// here too.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the record.
    pub(crate) fn parse(text: &str) -> Result<(Self, Vec<Warning>), String> {
        if text.chars().any(char::is_control) {
            return Err("holds a control character".to_owned());
        }
        for option in text.split('&').filter(|option| !option.is_empty()) {
            let key = option.split('=').next().unwrap_or_default();
            if !ALLOWED.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                let shown: String = key.chars().take(MAX_SHOWN).collect();
                return Err(format!(
                    "sets {shown}, and may set {} alone",
                    ALLOWED.join(", "),
                    shown = Quoted(&shown)
                ));
            }
        }
        let parts = Parts {
            srv: true,
            userinfo: None,
            userinfo_offset: 0,
            hosts: "",
            database: "",
            options: text,
            after_hosts: text,
            slash: true,
        };
        let mut builder = ClientOptionsBuilder::default();
        let warnings = options::read(&parts, &mut builder).map_err(|error| {
            let message = match error.cause().map(Cause::reason) {
                Some(Reason::Option(OptionFailure::InvalidUri(failure))) => failure.to_string(),
                _ => error.to_string(),
            };
            format!("is not well-formed: {message}")
        })?;
        let warnings = warnings.into_iter().map(|warning| Warning {
            message: warning
                .message
                .replacen("connection string:", "TXT record:", 1),
            ..warning
        });
        Ok((
            Self {
                auth_source: builder.credential.source,
                replica_set: builder.replica_set,
                load_balanced: builder.load_balanced,
            },
            warnings.collect(),
        ))
    }
}

const ALLOWED: [&str; 3] = ["authSource", "replicaSet", "loadBalanced"];

/// The maximum length of a key in an error, in characters.
const MAX_SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_options_may_be_set_and_no_other() {
        let (options, warnings) =
            TxtOptions::parse("authsource=a%20b&replicaSet=rs0&loadBalanced=false&").unwrap();
        let expected = TxtOptions {
            auth_source: Some("a b".to_owned()),
            replica_set: Some("rs0".to_owned()),
            load_balanced: Some(false),
        };
        assert_eq!((options, warnings.len()), (expected, 0));
        assert_eq!(TxtOptions::parse("").unwrap().0, TxtOptions::default());
        for (text, why) in [
            ("ssl=false", "sets \"ssl\""),
            ("tls=false&replicaSet=a", "sets \"tls\""),
            ("authMechanism=PLAIN", "sets \"authMechanism\""),
            ("replicaSet=a;ssl=false&x=1", "sets \"x\""),
            ("v=spf1 -all", "sets \"v\""),
            ("authSource", "option 1 has no \"=\""),
            ("replicaSet=a&=b", "sets \"\""),
            ("authSource=a&authSource=b", "authSource is given twice"),
            ("authSource=", "(authSource)"),
            ("replicaSet=%zz", "(replicaSet)"),
            ("replicaSet=a\u{7}", "control character"),
        ] {
            let error = TxtOptions::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn ignored_values_are_ignored_in_txt_records_too() {
        let (options, warnings) = TxtOptions::parse("loadBalanced=perhaps").unwrap();
        assert_eq!(options, TxtOptions::default());
        assert!(warnings[0].message().starts_with("TXT record: option 1"));
    }
}
