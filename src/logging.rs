//! The log: each call writes one line, which external text cannot forge.
//!
//! The macros write the messages of this crate. [`Line`] writes those of the specifications: a text, and with the
//! feature `log-kv` the same values as key-value pairs with the names that the specifications give them. Both make
//! external text printable. Source: "Logging".
//!
//! No code in this crate calls the macros of `log` directly; a test checks that.

use std::fmt;
use std::time::Duration;

use log::{Level, log_enabled};

use crate::printable::Printable;
#[cfg(feature = "log-kv")]
use crate::printable::printable;

macro_rules! logging {
    ($d:tt $($name:ident as $own:ident)*) => {
        $(
            macro_rules! $own {
                (target: $d target:expr, $d($d rest:tt)+) => {
                    ::log::$name!(target: $d target, "{}", $crate::printable::Printable(format_args!($d($d rest)+)))
                };
            }
            pub(crate) use $own as $name;
        )*
    };
}

// The inner names differ, because one of the outer names is also a lint attribute.
logging!($ debug as log_debug error as log_error warn as log_warn);

/// A component of the specifications that writes messages. Source: "Logging", "Components".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    /// Commands.
    Command,
    /// Connection pools.
    Connection,
    /// Server selection.
    ServerSelection,
    /// Discovery and monitoring of servers.
    Topology,
}

impl Component {
    /// The target of the component's messages.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::Command => "mongotls::command",
            Self::Connection => "mongotls::connection",
            Self::ServerSelection => "mongotls::server_selection",
            Self::Topology => "mongotls::topology",
        }
    }

    /// Returns true if the program's logger wants messages of this level.
    #[inline]
    pub(crate) fn is_logged(self, level: Level) -> bool {
        log_enabled!(target: self.target(), level)
    }
}

/// One message of a specification, while it is put together.
#[derive(Debug)]
pub(crate) struct Line {
    text: String,
    #[cfg(feature = "log-kv")]
    pairs: Vec<(&'static str, Value)>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A number, such as a port or an ID.
    Number(i64),
    /// A flag.
    Flag(bool),
    /// A text. It need not be printable.
    Text(String),
}

impl Line {
    /// Begins the message with this name, which is the value of its field `message`.
    pub(crate) fn new(message: &'static str) -> Self {
        let mut line = Self {
            text: String::new(),
            #[cfg(feature = "log-kv")]
            pairs: Vec::new(),
        };
        line.hidden("message", message);
        line
    }

    /// Appends words to the text.
    pub(crate) fn words(&mut self, words: impl fmt::Display) {
        use fmt::Write as _;
        // Writing to a `String` cannot fail.
        let _ = write!(self.text, "{words}");
    }

    /// Adds a field, whose value is also appended to the text.
    pub(crate) fn field(&mut self, name: &'static str, value: impl Into<Value>) {
        let value = value.into();
        self.words(&value);
        self.hidden(name, value);
    }

    /// Adds a field that is not part of the text.
    #[cfg_attr(
        not(feature = "log-kv"),
        expect(unused_variables, reason = "there are no pairs")
    )]
    pub(crate) fn hidden(&mut self, name: &'static str, value: impl Into<Value>) {
        #[cfg(feature = "log-kv")]
        self.pairs.push((
            name,
            match value.into() {
                Value::Text(text) => Value::Text(printable(text)),
                other => other,
            },
        ));
    }

    /// The pairs of the message, in their order.
    #[cfg(all(test, feature = "log-kv"))]
    pub(crate) fn pairs(&self) -> &[(&'static str, Value)] {
        &self.pairs
    }

    /// The text. It need not be printable.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Writes the message to the log.
    pub(crate) fn write(&self, component: Component, level: Level) {
        let target = component.target();
        #[cfg(not(feature = "log-kv"))]
        log::log!(target: target, level, "{}", Printable(&self.text));
        #[cfg(feature = "log-kv")]
        log::logger().log(
            &log::Record::builder()
                .level(level)
                .target(target)
                .module_path_static(Some(module_path!()))
                .file_static(Some(file!()))
                .line(Some(line!()))
                .key_values(self)
                .args(format_args!("{}", Printable(&self.text)))
                .build(),
        );
    }
}

#[cfg(feature = "log-kv")]
impl log::kv::Source for Line {
    fn visit<'kvs>(
        &'kvs self,
        visitor: &mut dyn log::kv::VisitSource<'kvs>,
    ) -> Result<(), log::kv::Error> {
        self.pairs.iter().try_for_each(|(name, value)| {
            let value = match value {
                Value::Number(number) => log::kv::Value::from(*number),
                Value::Flag(flag) => log::kv::Value::from(*flag),
                Value::Text(text) => log::kv::Value::from(text.as_str()),
            };
            visitor.visit_pair(log::kv::Key::from_str(name), value)
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A duration in milliseconds.
impl From<Duration> for Value {
    fn from(duration: Duration) -> Self {
        Self::Number(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    fn visit(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else if !path.ends_with("logging.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names = ["debug", "error", "info", "trace", "warn"];
                let is_raw = |line: &str| {
                    let calls = names
                        .iter()
                        .any(|name| line.contains(&format!("log::{name}!(")));
                    let imports = line.trim_start().starts_with("use log::")
                        && names.iter().any(|name| line.contains(name));
                    calls || imports
                };
                let lines = text.lines().filter(|line| is_raw(line));
                found.extend(lines.map(|line| format!("{}: {line}", path.display())));
            }
        }
    }

    #[cfg(feature = "log-kv")]
    #[test]
    fn values_of_pairs_are_made_printable() {
        use std::collections::BTreeMap;

        use log::kv::{Key, Source, Value as KvValue, VisitSource};

        use super::*;

        struct Texts(BTreeMap<String, String>);
        impl<'kvs> VisitSource<'kvs> for Texts {
            fn visit_pair(
                &mut self,
                key: Key<'kvs>,
                value: KvValue<'kvs>,
            ) -> Result<(), log::kv::Error> {
                self.0.insert(key.to_string(), value.to_string());
                Ok(())
            }
        }

        let mut line = Line::new("Command started");
        line.field("commandName", "ping\n\u{202e}");
        line.hidden("durationMS", Duration::from_millis(7));
        line.hidden("awaited", true);
        line.hidden("driverConnectionId", u64::MAX);
        let mut texts = Texts(BTreeMap::new());
        line.visit(&mut texts).unwrap();
        let expected = [
            ("awaited", "true"),
            ("commandName", r"ping\n\u202e"),
            ("driverConnectionId", "9223372036854775807"),
            ("durationMS", "7"),
            ("message", "Command started"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(texts.0, BTreeMap::from(expected));
    }

    #[test]
    fn every_line_of_the_log_is_made_printable() {
        let mut found = Vec::new();
        visit(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut found,
        );
        assert_eq!(found, [""; 0]);
    }
}
