//! The log of the command line, from variables of the environment. The library reads none of them.
//!
//! `MONGOTLS_LOG` has the filters of `env_logger`. The variables `MONGODB_LOG_…` are those of all MongoDB drivers; an
//! invalid value is reported and ignored. Source: "Logging", the fallback implementation methods.

use std::ffi::OsString;
use std::fs::OpenOptions;

use env_logger::Target;
use log::LevelFilter;
use mongotls::options::ClientOptionsBuilder;

use crate::output::{Screen, clean};

/// The settings in the environment.
struct Settings {
    /// Targets and their levels. A later row replaces an earlier one of the same target.
    filters: Vec<(&'static str, LevelFilter)>,
    destination: Destination,
    /// The maximum length of a document in the log, in bytes.
    document_length: Option<usize>,
    /// What was wrong with the variables, one line each.
    complaints: Vec<String>,
}

#[derive(Debug, PartialEq)]
enum Destination {
    Stdout,
    Stderr,
    File(OsString),
}

/// Starts the log.
pub(crate) fn start() {
    let Settings {
        filters,
        destination,
        mut complaints,
        ..
    } = read(|name| std::env::var_os(name));
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Warn);
    for (target, level) in filters {
        builder.filter_module(target, level);
    }
    if let Ok(own) = std::env::var("MONGOTLS_LOG") {
        builder.parse_filters(&own);
    }
    builder.target(match destination {
        Destination::Stdout => Target::Stdout,
        Destination::Stderr => Target::Stderr,
        Destination::File(path) => match OpenOptions::new().append(true).create(true).open(&path) {
            Ok(file) => Target::Pipe(Box::new(file)),
            Err(error) => {
                let path = clean(path.to_string_lossy());
                complaints.push(format!("{PATH}: cannot write to {path}: {error}"));
                Target::Stderr
            }
        },
    });
    builder.init();
    let mut screen = Screen::stderr();
    for complaint in complaints {
        let _ = screen.line(&format!("mongotls: {complaint}; the variable is ignored"));
    }
}

/// Applies the variable for the length of documents in the log.
pub(crate) fn limit_documents(builder: ClientOptionsBuilder) -> ClientOptionsBuilder {
    match read(|name| std::env::var_os(name)).document_length {
        Some(length) => builder.max_log_document_length(length),
        None => builder,
    }
}

/// Reads the variables. A variable that is not set or empty has no effect.
fn read(variable: impl Fn(&str) -> Option<OsString>) -> Settings {
    let mut complaints = Vec::new();
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut level = |name: &str| {
        let value = set(name)?;
        let level = value.to_str().and_then(level);
        if level.is_none() {
            let value = clean(value.to_string_lossy());
            complaints.push(format!("{name}: \"{value}\" is not a level"));
        }
        level
    };
    let all = level("MONGODB_LOG_ALL");
    let mut filters = Vec::new();
    // The component `client` is every other target of the library.
    let others = level("MONGODB_LOG_CLIENT").or(all);
    if let Some(level) = others {
        filters.push(("mongotls", level));
    }
    for (name, target) in COMPONENTS {
        // Without a level of its own a component keeps the default, whatever `client` has.
        let own = level(name).or(all);
        if let Some(level) = own.or(others.map(|_| LevelFilter::Warn)) {
            filters.push((target, level));
        }
    }
    let destination = match set(PATH) {
        None => Destination::Stderr,
        Some(path) if path.eq_ignore_ascii_case("stdout") => Destination::Stdout,
        Some(path) if path.eq_ignore_ascii_case("stderr") => Destination::Stderr,
        Some(path) => Destination::File(path),
    };
    let document_length = set(DOCUMENT_LENGTH).and_then(|value| {
        let length = value.to_str().and_then(|value| value.parse().ok());
        if length.is_none() {
            let value = clean(value.to_string_lossy());
            complaints.push(format!(
                "{DOCUMENT_LENGTH}: \"{value}\" is not a length in bytes"
            ));
        }
        length
    });
    Settings {
        filters,
        destination,
        document_length,
        complaints,
    }
}

/// Returns the level of `log` for a level of the specification, in upper or lower case. The levels above `error` do not
/// exist in `log`, and neither does `notice`; the closest less severe one replaces them.
fn level(text: &str) -> Option<LevelFilter> {
    Some(match text.to_ascii_lowercase().as_str() {
        "off" => LevelFilter::Off,
        "emergency" | "alert" | "critical" | "error" => LevelFilter::Error,
        "warn" => LevelFilter::Warn,
        "notice" | "info" => LevelFilter::Info,
        "debug" => LevelFilter::Debug,
        "trace" => LevelFilter::Trace,
        _ => return None,
    })
}

/// The components of the specification, and their targets.
const COMPONENTS: [(&str, &str); 4] = [
    ("MONGODB_LOG_COMMAND", "mongotls::command"),
    ("MONGODB_LOG_TOPOLOGY", "mongotls::topology"),
    ("MONGODB_LOG_SERVER_SELECTION", "mongotls::server_selection"),
    ("MONGODB_LOG_CONNECTION", "mongotls::connection"),
];
const PATH: &str = "MONGODB_LOG_PATH";
const DOCUMENT_LENGTH: &str = "MONGODB_LOG_MAX_DOCUMENT_LENGTH";

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn a_component_goes_before_all_components() {
        let of = |variables: &[(&str, &str)]| settings(variables).filters;
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[("MONGODB_LOG_ALL", "")]), []);
        assert_eq!(
            of(&[("MONGODB_LOG_COMMAND", "DeBug")]),
            [("mongotls::command", LevelFilter::Debug)]
        );
        assert_eq!(
            of(&[
                ("MONGODB_LOG_ALL", "debug"),
                ("MONGODB_LOG_TOPOLOGY", "off")
            ]),
            [
                ("mongotls", LevelFilter::Debug),
                ("mongotls::command", LevelFilter::Debug),
                ("mongotls::topology", LevelFilter::Off),
                ("mongotls::server_selection", LevelFilter::Debug),
                ("mongotls::connection", LevelFilter::Debug),
            ]
        );
        let client = of(&[("MONGODB_LOG_CLIENT", "trace")]);
        assert_eq!(client[0], ("mongotls", LevelFilter::Trace));
        assert!(
            client[1..]
                .iter()
                .all(|(_, level)| *level == LevelFilter::Warn)
        );
    }

    #[test]
    fn levels_that_log_lacks_become_the_closest_less_severe_one() {
        for (text, expected) in [
            ("emergency", LevelFilter::Error),
            ("alert", LevelFilter::Error),
            ("critical", LevelFilter::Error),
            ("error", LevelFilter::Error),
            ("WARN", LevelFilter::Warn),
            ("notice", LevelFilter::Info),
            ("info", LevelFilter::Info),
            ("debug", LevelFilter::Debug),
            ("trace", LevelFilter::Trace),
            ("off", LevelFilter::Off),
        ] {
            assert_eq!(level(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn invalid_values_are_reported_and_ignored() {
        let found = settings(&[
            ("MONGODB_LOG_ALL", "info"),
            ("MONGODB_LOG_COMMAND", "loud"),
            (DOCUMENT_LENGTH, "-1"),
        ]);
        assert_eq!(
            found.complaints,
            [
                "MONGODB_LOG_COMMAND: \"loud\" is not a level",
                "MONGODB_LOG_MAX_DOCUMENT_LENGTH: \"-1\" is not a length in bytes"
            ]
        );
        // As if they were not set.
        assert_eq!(found.document_length, None);
        assert!(
            found
                .filters
                .contains(&("mongotls::command", LevelFilter::Info))
        );
    }

    #[test]
    fn the_destination_is_a_stream_or_a_file() {
        for (value, expected) in [
            ("StdOut", Destination::Stdout),
            ("STDERR", Destination::Stderr),
            ("", Destination::Stderr),
            ("/x/log", Destination::File("/x/log".into())),
        ] {
            assert_eq!(settings(&[(PATH, value)]).destination, expected);
        }
        assert_eq!(settings(&[(DOCUMENT_LENGTH, "7")]).document_length, Some(7));
    }
}
