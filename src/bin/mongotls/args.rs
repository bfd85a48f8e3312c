//! The command line: turns words into a plan that is checked to be consistent.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use lexopt::prelude::*;
use mongotls::ServerAddress;

use crate::extended_json;
use crate::gridfs::FileTask;
use crate::input::{Redirect, Target, TextSource, URI_VARIABLE};
use crate::usage::{self, Shell, Topic};

/// A consistent command line.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) task: Task,
    pub(crate) json: bool,
}

/// The command to carry out.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    /// Prints this text.
    Help(Topic),
    Version,
    Ping {
        target: Target,
        count: u32,
    },
    Run {
        target: Target,
        database: String,
        command: TextSource,
        all: bool,
    },
    Explain {
        target: Target,
        database: String,
        command: TextSource,
    },
    Watch {
        target: Target,
        database: Option<String>,
        collection: Option<String>,
        resume: Option<String>,
    },
    GridFs {
        target: Target,
        database: String,
        bucket: Option<String>,
        task: FileTask,
    },
    Doctor {
        target: Target,
    },
    Inspect {
        files: Vec<PathBuf>,
        password_file: Option<PathBuf>,
    },
}

/// Reads the words after the program's name. `has_uri` is true if the environment has a connection string. The error is
/// a message for the user; it never contains the connection string.
pub(crate) fn parse(
    words: impl IntoIterator<Item = OsString>,
    has_uri: bool,
) -> Result<Plan, String> {
    let mut parser = lexopt::Parser::from_args(words);
    let mut positional: Vec<OsString> = Vec::new();
    let (mut count, mut json, mut all) = (None, false, false);
    let (mut password_file, mut key_password_file) = (None, None);
    let mut connect_to = Vec::new();
    let mut api_version = None;
    let (mut resume, mut bucket) = (None, None);
    let (mut wants_help, mut wants_version) = (false, false);
    while let Some(word) = parser.next().map_err(message)? {
        match word {
            Short('h') | Long("help") => wants_help = true,
            Short('V') | Long("version") => wants_version = true,
            Short('c') | Long("count") => count = Some(number(parser.value().map_err(message)?)?),
            Long("json") => json = true,
            Long("all") => all = true,
            // Every user of the host can see the arguments of a process, so passwords are read from files.
            Long("password-file") => password_file = Some(path(&mut parser)?),
            Long("key-password-file") => key_password_file = Some(path(&mut parser)?),
            Long("connect-to") => connect_to.push(redirect(parser.value().map_err(message)?)?),
            Long("api-version") => {
                let text = utf8(parser.value().map_err(message)?)?;
                let version = text.parse().map_err(|_| "--api-version takes 1")?;
                api_version = Some(version);
            }
            Long("resume") => resume = Some(utf8(parser.value().map_err(message)?)?),
            Long("bucket") => bucket = Some(utf8(parser.value().map_err(message)?)?),
            Value(text) => positional.push(text),
            other => return Err(message(other.unexpected())),
        }
        if wants_help {
            let command = positional.first().and_then(|word| word.to_str());
            let about = command.and_then(Topic::of).unwrap_or(Topic::General);
            return Ok(Plan {
                task: Task::Help(about),
                json: false,
            });
        }
    }
    if wants_version {
        let task = Task::Version;
        return Ok(Plan { task, json });
    }
    let mut words = positional.into_iter();
    let name = words.next().map(utf8).ok_or("no command is given")??;
    let action = match name.as_str() {
        "gridfs" => {
            let action = words.next().map(utf8).transpose()?;
            let action = action.filter(|action| ["put", "get", "ls"].contains(&action.as_str()));
            action.ok_or("gridfs needs put, get or ls")?
        }
        _ => String::new(),
    };
    // If the environment has a connection string, a missing argument is never the URI.
    let others = match (name.as_str(), action.as_str()) {
        ("run" | "explain", _) => 2,
        (_, "ls") => 1,
        ("gridfs", _) => 3,
        _ => 0,
    };
    let from_environment = has_uri
        && match name.as_str() {
            // Its other arguments are optional, too.
            "watch" => !words.as_slice().first().is_some_and(|word| is_uri(word)),
            _ => words.len() <= others,
        };
    let mut next = |what: &str| {
        let word = words.next().map(utf8);
        word.ok_or(format!("{name} needs {what}"))?
    };
    let mut target = || -> Result<Target, String> {
        let uri = match from_environment {
            true => TextSource::Variable,
            false => text_source(
                next(&format!("a URI, or {URI_VARIABLE} in the environment"))?,
                "the URI",
            )?,
        };
        Ok(Target {
            uri,
            password_file: password_file.take(),
            key_password_file: key_password_file.take(),
            connect_to: std::mem::take(&mut connect_to),
            api_version: api_version.take(),
        })
    };
    let task = match name.as_str() {
        "ping" => Task::Ping {
            target: target()?,
            count: count.take().unwrap_or(1),
        },
        "run" | "explain" => {
            let target = target()?;
            let database = next("a database")?;
            let command = text_source(next("a command")?, "the command")?;
            if let TextSource::Text(text) = &command {
                extended_json::command(text)?;
            }
            if (&target.uri, &command) == (&TextSource::StandardInput, &TextSource::StandardInput) {
                return Err("standard input can be the URI or the command, not both".to_owned());
            }
            match name.as_str() {
                "explain" => Task::Explain {
                    target,
                    database,
                    command,
                },
                _ => Task::Run {
                    target,
                    database,
                    command,
                    all: std::mem::take(&mut all),
                },
            }
        }
        "watch" => Task::Watch {
            target: target()?,
            database: words.next().map(utf8).transpose()?,
            collection: words.next().map(utf8).transpose()?,
            resume: resume.take(),
        },
        "gridfs" => {
            let target = target()?;
            let database = next("a database")?;
            let task = match action.as_str() {
                "put" => FileTask::Put {
                    file: next("a file")?.into(),
                    name: next("a name")?,
                },
                "get" => FileTask::Get {
                    name: next("a name")?,
                    file: next("a file")?.into(),
                },
                _ => FileTask::List,
            };
            Task::GridFs {
                target,
                database,
                bucket: bucket.take(),
                task,
            }
        }
        "doctor" => Task::Doctor { target: target()? },
        "inspect" => {
            if password_file.is_some() && key_password_file.is_some() {
                return Err("inspect takes one file with a password".to_owned());
            }
            Task::Inspect {
                files: files(words.by_ref())?,
                password_file: password_file.take().or(key_password_file.take()),
            }
        }
        "help" => match words.next().map(utf8).transpose()? {
            None => Task::Help(Topic::General),
            Some(command) => Task::Help(Topic::of(&command).ok_or_else(no_such_command)?),
        },
        "man" => Task::Help(Topic::Manual),
        "completions" => {
            const WRONG: &str = "completions exist for bash, zsh and fish";
            let shell = Shell::of(&next("bash, zsh or fish")?).ok_or(WRONG)?;
            Task::Help(Topic::Completions(shell))
        }
        _ => return Err(no_such_command()),
    };
    if words.next().is_some() {
        return Err(format!(
            "{name} takes fewer arguments; put the URI in quotes, because it contains '&'"
        ));
    }
    for (is_there, option) in [
        (count.is_some(), "--count"),
        (all, "--all"),
        (password_file.is_some(), "--password-file"),
        (key_password_file.is_some(), "--key-password-file"),
        (!connect_to.is_empty(), "--connect-to"),
        (api_version.is_some(), "--api-version"),
        (resume.is_some(), "--resume"),
        (bucket.is_some(), "--bucket"),
        (json && matches!(task, Task::Help(_)), "--json"),
    ] {
        if is_there {
            return Err(format!("{name} takes no {option}"));
        }
    }
    Ok(Plan { task, json })
}

/// Returns whether a word can only be a connection string, and not the name of a database.
fn is_uri(word: &OsStr) -> bool {
    let word = word.to_string_lossy();
    word == "-" || word.starts_with('@') || word.contains("://")
}

fn no_such_command() -> String {
    let names = usage::names();
    format!("there is no such command; the commands are {names}")
}

fn path(parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    parser.value().map(PathBuf::from).map_err(message)
}

/// Parses `HOST:PORT=ADDRESS:PORT`, where a `/` begins the path of a Unix socket.
fn redirect(text: OsString) -> Result<Redirect, String> {
    const WRONG: &str = "--connect-to takes HOST:PORT=ADDRESS:PORT";
    let text = utf8(text)?;
    let (server, target) = text.split_once('=').ok_or(WRONG)?;
    let server = server.parse().map_err(|_| WRONG)?;
    let target = match target.starts_with('/') {
        true => ServerAddress::unix(target),
        false => target.parse().map_err(|_| WRONG)?,
    };
    Ok((server, target))
}

/// Returns where the text of an argument comes from.
fn text_source(argument: String, what: &str) -> Result<TextSource, String> {
    match argument.trim() {
        "" => Err(format!("{what} is empty")),
        "@" => Err(format!("{what} needs the path of a file after @")),
        _ => Ok(TextSource::of(argument)),
    }
}

/// Describes the error in a word. Values are left out: one may be a connection string.
fn message(error: lexopt::Error) -> String {
    match error {
        lexopt::Error::MissingValue {
            option: Some(option),
        } => format!("{option} needs a value"),
        lexopt::Error::UnexpectedOption(option) => format!("there is no option {option}"),
        lexopt::Error::UnexpectedValue { option, .. } => format!("{option} takes no value"),
        lexopt::Error::NonUnicodeValue(_) => "an argument is not UTF-8".to_owned(),
        _ => "the command line is invalid".to_owned(),
    }
}

fn utf8(word: OsString) -> Result<String, String> {
    word.into_string()
        .map_err(|_| "an argument is not UTF-8".to_owned())
}

/// Reads paths, which need not be UTF-8. A connection string is rejected, because an error about the path would show
/// it.
fn files(words: impl Iterator<Item = OsString>) -> Result<Vec<PathBuf>, String> {
    let files: Vec<PathBuf> = words.map(PathBuf::from).collect();
    let is_uri = |file: &PathBuf| file.to_string_lossy().contains("://");
    if files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
        return Err("standard input can be read only once".to_owned());
    }
    if files.iter().any(is_uri) {
        return Err("inspect takes files; doctor takes a URI".to_owned());
    }
    if files.is_empty() {
        return Err("inspect needs a file".to_owned());
    }
    Ok(files)
}

fn number(text: OsString) -> Result<u32, String> {
    let number = text.to_str().and_then(|text| text.parse().ok());
    number
        .filter(|count| (1..=1_000_000).contains(count))
        .ok_or("the count must be a number from 1 to 1000000".to_owned())
}

#[cfg(test)]
mod tests {
    use mongotls::options::ServerApiVersion;

    use super::*;

    fn plan(words: &[&str]) -> Result<Plan, String> {
        parse(words.iter().map(OsString::from), false)
    }

    fn target(uri: TextSource) -> Target {
        Target {
            uri,
            password_file: None,
            key_password_file: None,
            connect_to: Vec::new(),
            api_version: None,
        }
    }

    #[test]
    fn commands_and_their_options_become_plans() {
        let text = |text: &str| TextSource::Text(text.to_owned());
        const COMMAND: &str = r#"{"find": "c", "filter": {}}"#;
        let cases: Vec<(&[&str], bool, Task)> = vec![
            (
                &["ping", "mongodb://h", "-c", "3", "--json"],
                true,
                Task::Ping {
                    target: target(text("mongodb://h")),
                    count: 3,
                },
            ),
            (
                &[
                    "ping",
                    "-",
                    "--password-file",
                    "p",
                    "--key-password-file",
                    "k",
                    "--connect-to",
                    "h=/s",
                    "--api-version=1",
                ],
                false,
                Task::Ping {
                    target: Target {
                        uri: TextSource::StandardInput,
                        password_file: Some("p".into()),
                        key_password_file: Some("k".into()),
                        connect_to: vec![(
                            ServerAddress::tcp("h", 27017),
                            ServerAddress::unix("/s"),
                        )],
                        api_version: Some(ServerApiVersion::V1),
                    },
                    count: 1,
                },
            ),
            (
                &["run", "u", "d", COMMAND, "--all", "--json"],
                true,
                Task::Run {
                    target: target(text("u")),
                    database: "d".to_owned(),
                    command: text(COMMAND),
                    all: true,
                },
            ),
            (
                &["run", "@uri.txt", "d", "-"],
                false,
                Task::Run {
                    target: target(TextSource::File("uri.txt".into())),
                    database: "d".to_owned(),
                    command: TextSource::StandardInput,
                    all: false,
                },
            ),
            (
                &["inspect", "a", "--password-file", "p", "-", "--json"],
                true,
                Task::Inspect {
                    files: vec!["a".into(), "-".into()],
                    password_file: Some("p".into()),
                },
            ),
            (
                &["explain", "u", "d", COMMAND],
                false,
                Task::Explain {
                    target: target(text("u")),
                    database: "d".to_owned(),
                    command: text(COMMAND),
                },
            ),
            (
                &["watch", "u"],
                false,
                Task::Watch {
                    target: target(text("u")),
                    database: None,
                    collection: None,
                    resume: None,
                },
            ),
            (
                &["watch", "u", "d", "c", "--resume", "05"],
                false,
                Task::Watch {
                    target: target(text("u")),
                    database: Some("d".to_owned()),
                    collection: Some("c".to_owned()),
                    resume: Some("05".to_owned()),
                },
            ),
            (
                &["gridfs", "put", "u", "d", "f.txt", "n"],
                false,
                Task::GridFs {
                    target: target(text("u")),
                    database: "d".to_owned(),
                    bucket: None,
                    task: FileTask::Put {
                        file: "f.txt".into(),
                        name: "n".to_owned(),
                    },
                },
            ),
            (
                &["gridfs", "ls", "u", "d", "--bucket", "b"],
                false,
                Task::GridFs {
                    target: target(text("u")),
                    database: "d".to_owned(),
                    bucket: Some("b".to_owned()),
                    task: FileTask::List,
                },
            ),
            (&["--version"], false, Task::Version),
            (&["--json", "-V"], true, Task::Version),
            (&["help"], false, Task::Help(Topic::General)),
            (&["man"], false, Task::Help(Topic::Manual)),
            (
                &["completions", "zsh"],
                false,
                Task::Help(Topic::Completions(Shell::Zsh)),
            ),
        ];
        for (words, json, task) in cases {
            assert_eq!(plan(words), Ok(Plan { task, json }), "{words:?}");
        }
        for name in [
            "ping", "run", "explain", "watch", "gridfs", "doctor", "inspect",
        ] {
            let about = Task::Help(Topic::of(name).unwrap());
            for words in [["help", name], [name, "--help"]] {
                let plan = plan(&words).unwrap();
                assert_eq!(plan.task, about, "{words:?}");
            }
        }
    }

    #[test]
    fn a_missing_uri_comes_from_the_environment() {
        let parse = |words: &[&str]| parse(words.iter().map(OsString::from), true).unwrap().task;
        let variable = || target(TextSource::Variable);
        assert_eq!(parse(&["doctor"]), Task::Doctor { target: variable() });
        assert_eq!(
            parse(&["doctor", "u"]),
            Task::Doctor {
                target: target(TextSource::Text("u".to_owned()))
            }
        );
        let run = |target| Task::Run {
            target,
            database: "d".to_owned(),
            command: TextSource::Text("{\"a\": 1}".to_owned()),
            all: false,
        };
        assert_eq!(parse(&["run", "d", "{\"a\": 1}"]), run(variable()));
        let watch = |target, database: &str| Task::Watch {
            target,
            database: Some(database.to_owned()),
            collection: None,
            resume: None,
        };
        assert_eq!(parse(&["watch", "d"]), watch(variable(), "d"));
        let other = target(TextSource::Text("mongodb://h".to_owned()));
        assert_eq!(parse(&["watch", "mongodb://h", "d"]), watch(other, "d"));
        let own = target(TextSource::Text("u".to_owned()));
        assert_eq!(parse(&["run", "u", "d", "{\"a\": 1}"]), run(own));
    }

    #[test]
    fn a_usage_error_does_not_show_the_connection_string() {
        const NO_URI: &str = "needs a URI, or MONGOTLS_URI in the environment";
        const FEWER: &str = "takes fewer arguments; put the URI in quotes, because it contains '&'";
        const COUNT: &str = "the count must be a number from 1 to 1000000";
        const URI: &str = "mongodb://u:secret@h";
        let wrong: Vec<(&[&str], String)> = vec![
            (&[], "no command is given".to_owned()),
            (&["pong", URI], no_such_command()),
            (&["help", "pong"], no_such_command()),
            (&["help", "ping", "run"], format!("help {FEWER}")),
            (&["ping"], format!("ping {NO_URI}")),
            (&["ping", ""], "the URI is empty".to_owned()),
            (&["ping", " "], "the URI is empty".to_owned()),
            (
                &["ping", "@"],
                "the URI needs the path of a file after @".to_owned(),
            ),
            (&["doctor", ""], "the URI is empty".to_owned()),
            (&["ping", URI, "extra"], format!("ping {FEWER}")),
            (&["ping", URI, "-c", "0"], COUNT.to_owned()),
            (
                &["doctor", URI, "-c", "1"],
                "doctor takes no --count".to_owned(),
            ),
            (&["ping", URI, "--all"], "ping takes no --all".to_owned()),
            (
                &["ping", URI, "--api-version", "2"],
                "--api-version takes 1".to_owned(),
            ),
            (
                &["inspect", "f", "--api-version", "1"],
                "inspect takes no --api-version".to_owned(),
            ),
            (&["run", URI, "d"], "run needs a command".to_owned()),
            (&["watch", URI, "d", "c", "x"], format!("watch {FEWER}")),
            (
                &["watch", URI, "--bucket", "b"],
                "watch takes no --bucket".to_owned(),
            ),
            (&["gridfs"], "gridfs needs put, get or ls".to_owned()),
            (&["gridfs", URI], "gridfs needs put, get or ls".to_owned()),
            (&["gridfs", "ls", URI], "gridfs needs a database".to_owned()),
            (
                &["gridfs", "get", URI, "d", "n"],
                "gridfs needs a file".to_owned(),
            ),
            (&["explain", URI, "d"], "explain needs a command".to_owned()),
            (
                &["explain", URI, "d", "{\"a\": 1}", "--all"],
                "explain takes no --all".to_owned(),
            ),
            (&["run", URI, "d", ""], "the command is empty".to_owned()),
            (
                &["run", URI, "d", "[1]"],
                "the command must be a JSON object that is not empty".to_owned(),
            ),
            (
                &["run", URI, "d", "{\"a\": {\"$oid\": \"secret\"}}"],
                "the command at \"a\": $oid is not valid Extended JSON".to_owned(),
            ),
            (
                &["run", "-", "d", "-"],
                "standard input can be the URI or the command, not both".to_owned(),
            ),
            (
                &["ping", URI, "--what"],
                "there is no option --what".to_owned(),
            ),
            (
                &["ping", "--json=mongodb://u:secret@h"],
                "--json takes no value".to_owned(),
            ),
            (&["ping", "-c"], "-c needs a value".to_owned()),
            (
                &["ping", URI, "--password-file"],
                "--password-file needs a value".to_owned(),
            ),
            (&["inspect"], "inspect needs a file".to_owned()),
            (
                &["inspect", "a", URI],
                "inspect takes files; doctor takes a URI".to_owned(),
            ),
            (
                &["inspect", "-", "-"],
                "standard input can be read only once".to_owned(),
            ),
            (
                &[
                    "inspect",
                    "a",
                    "--password-file",
                    "p",
                    "--key-password-file",
                    "k",
                ],
                "inspect takes one file with a password".to_owned(),
            ),
            (
                &["inspect", "a", "--all"],
                "inspect takes no --all".to_owned(),
            ),
            (
                &["help", "--password-file", "p"],
                "help takes no --password-file".to_owned(),
            ),
            (&["help", "--json"], "help takes no --json".to_owned()),
            (&["man", "--json"], "man takes no --json".to_owned()),
            (
                &["completions"],
                "completions needs bash, zsh or fish".to_owned(),
            ),
            (
                &["completions", "ksh"],
                "completions exist for bash, zsh and fish".to_owned(),
            ),
        ];
        for (words, complaint) in wrong {
            assert_eq!(plan(words), Err(complaint), "{words:?}");
        }
    }

    #[test]
    fn a_command_takes_the_options_of_the_table_and_no_others() {
        let all = usage::COMMANDS.iter().flat_map(|command| command.options);
        let all: Vec<_> = all.collect();
        for command in &usage::COMMANDS {
            let arguments: &[&str] = match command.name {
                "ping" | "doctor" => &["u"],
                "run" | "explain" => &["u", "d", "{\"a\": 1}"],
                "watch" => &["u"],
                "gridfs" => &["ls", "u", "d"],
                "inspect" => &["f"],
                "completions" => &["bash"],
                _ => &[],
            };
            for option in &all {
                let long = format!("--{}", option.long);
                let short = option.short.map(|short| format!("-{short}"));
                let value = match option.long {
                    "count" => Some("3"),
                    "api-version" => Some("1"),
                    _ => option.value.map(|_| "h=/s"),
                };
                let is_own = command.options.iter().any(|own| own.long == option.long);
                for spelling in [Some(long.clone()), short].into_iter().flatten() {
                    let words = [&[command.name], arguments, &[&spelling]].concat();
                    let words: Vec<_> = words.into_iter().chain(value).collect();
                    let refused = Err(format!("{} takes no {long}", command.name));
                    let plan = plan(&words);
                    assert_eq!(plan.is_ok(), is_own, "{words:?}: {plan:?}");
                    assert!(is_own || plan == refused, "{words:?}: {plan:?}");
                }
            }
        }
    }
}
