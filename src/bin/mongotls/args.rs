//! The command line: from words to a plan that is known to make sense.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;
use mongotls::ServerAddress;
use mongotls::bson::Document;

use crate::extended_json;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
mongotls: connect to MongoDB over TLS, and find out why it fails

Usage:
  mongotls ping URI [-c N] [--json]       connect, ping N times (default 1) and time it
  mongotls run URI DB COMMAND [--all]     run one command; prints the reply
  mongotls doctor URI [--json]            examine each stage of a connection, to each host
                                          and each member that they name
  mongotls inspect FILE... [--json]       tell what files of certificates, keys and CRLs hold,
                                          and what is wrong with them

Arguments:
  URI       a connection string, such as 'mongodb://db.example/?tls=true&tlsCAFile=ca.pem'
  DB        the database that the command runs on
  COMMAND   a command in Extended JSON, such as '{\"find\": \"things\", \"filter\": {}}'
  FILE      PEM, DER or PKCS#12; nothing is sent anywhere

Options:
  -c, --count N   how many pings, 1 to 1000000
      --connect-to HOST:PORT=ADDRESS:PORT
                  connect to ADDRESS:PORT (or to the Unix socket ADDRESS) instead of HOST:PORT,
                  whose name is still verified; may be repeated
      --json      print one JSON object instead of text
      --all       follow the cursor of the reply; prints one document a line
      --password-file FILE
                  open encrypted keys with the password in the first line of FILE
  -h, --help      print this
  -V, --version   print the versions of mongotls and OpenSSL

The reply of a command is printed as relaxed Extended JSON.
Exit codes: 0 all is well, 1 it failed, 2 the command line is wrong.
Set MONGOTLS_LOG (for example to debug) for a log on standard error.";

/// A command line that makes sense.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) task: Task,
    pub(crate) json: bool,
    pub(crate) connect_to: Vec<Redirect>,
}

/// A server, and the address to connect to in its place.
pub(crate) type Redirect = (ServerAddress, ServerAddress);

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    Help,
    Version,
    Ping {
        uri: String,
        count: u32,
    },
    Run {
        uri: String,
        database: String,
        command: Document,
        all: bool,
    },
    Doctor {
        uri: String,
    },
    Inspect {
        files: Vec<PathBuf>,
        password_file: Option<PathBuf>,
    },
}

/// Reads the words after the program's name. The error is a complaint for people; it never repeats
/// the connection string.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Plan, String> {
    let mut parser = lexopt::Parser::from_args(words);
    let mut positional: Vec<OsString> = Vec::new();
    let (mut count, mut json, mut all) = (None, false, false);
    let mut password_file = None;
    let mut connect_to = Vec::new();
    while let Some(word) = parser.next().map_err(told)? {
        match word {
            Short('h') | Long("help") => {
                return Ok(Plan::of(Task::Help));
            }
            Short('V') | Long("version") => {
                return Ok(Plan::of(Task::Version));
            }
            Short('c') | Long("count") => count = Some(number(parser.value().map_err(told)?)?),
            Long("json") => json = true,
            Long("all") => all = true,
            // A password among the words would be seen by every user of the host.
            Long("password-file") => {
                password_file = Some(PathBuf::from(parser.value().map_err(told)?))
            }
            Long("connect-to") => connect_to.push(redirect(parser.value().map_err(told)?)?),
            Value(text) => positional.push(text),
            other => return Err(told(other.unexpected())),
        }
    }
    let mut words = positional.into_iter();
    let name = words.next().map(utf8).ok_or("no command is given")??;
    let mut next = |what: &str| {
        let word = words.next().map(utf8);
        word.ok_or(format!("{name} needs {what}"))?
    };
    let task = match name.as_str() {
        "ping" => Task::Ping {
            uri: next("a URI")?,
            count: count.take().unwrap_or(1),
        },
        "run" => Task::Run {
            uri: next("a URI")?,
            database: next("a database")?,
            command: extended_json::command(&next("a command")?)?,
            all: std::mem::take(&mut all),
        },
        "doctor" => Task::Doctor {
            uri: next("a URI")?,
        },
        "inspect" => Task::Inspect {
            files: files(words.by_ref())?,
            password_file: password_file.take(),
        },
        "help" => Task::Help,
        _ => {
            return Err(
                "there is no such command; the commands are ping, run, doctor and inspect"
                    .to_owned(),
            );
        }
    };
    if words.next().is_some() {
        return Err(format!(
            "{name} takes fewer arguments; put the URI into quotes, for it holds '&'"
        ));
    }
    if count.is_some() {
        return Err(format!("{name} takes no --count"));
    }
    if all {
        return Err(format!("{name} takes no --all"));
    }
    if password_file.is_some() {
        return Err(format!("{name} takes no --password-file"));
    }
    let connects = matches!(
        task,
        Task::Ping { .. } | Task::Run { .. } | Task::Doctor { .. }
    );
    if !connects && !connect_to.is_empty() {
        return Err(format!("{name} takes no --connect-to"));
    }
    if json && matches!(task, Task::Run { .. }) {
        return Err("run takes no --json: it always prints Extended JSON".to_owned());
    }
    Ok(Plan {
        task,
        json,
        connect_to,
    })
}

impl Plan {
    /// A task without options.
    fn of(task: Task) -> Self {
        Self {
            task,
            json: false,
            connect_to: Vec::new(),
        }
    }
}

/// `HOST:PORT=ADDRESS:PORT`, where a `/` begins the path of a Unix socket.
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

/// What is wrong with a word. Values are left out: one may be a connection string.
fn told(error: lexopt::Error) -> String {
    match error {
        lexopt::Error::MissingValue {
            option: Some(option),
        } => format!("{option} needs a value"),
        lexopt::Error::UnexpectedOption(option) => format!("there is no option {option}"),
        lexopt::Error::UnexpectedValue { option, .. } => format!("{option} takes no value"),
        lexopt::Error::NonUnicodeValue(_) => "an argument is not UTF-8".to_owned(),
        _ => "the command line does not make sense".to_owned(),
    }
}

fn utf8(word: OsString) -> Result<String, String> {
    word.into_string()
        .map_err(|_| "an argument is not UTF-8".to_owned())
}

/// Paths, which need not be UTF-8. A connection string is none: what is said of it would show it.
fn files(words: impl Iterator<Item = OsString>) -> Result<Vec<PathBuf>, String> {
    let files: Vec<PathBuf> = words.map(PathBuf::from).collect();
    let is_uri = |file: &PathBuf| file.to_string_lossy().contains("://");
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
    use mongotls::bson::doc;

    use super::*;

    fn plan(words: &[&str]) -> Result<Plan, String> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn commands_and_their_options_become_plans() {
        let ping = Task::Ping {
            uri: "mongodb://h".to_owned(),
            count: 3,
        };
        assert_eq!(
            plan(&["ping", "mongodb://h", "-c", "3", "--json"]),
            Ok(Plan {
                json: true,
                ..Plan::of(ping)
            })
        );
        let command = doc! { "find": "c", "filter": { "_id": bson::oid::ObjectId::from_bytes([0; 12]) }, "z": 1, "a": 2_i64 };
        let text = r#"{"find": "c", "filter": {"_id": {"$oid": "000000000000000000000000"}}, "z": 1, "a": {"$numberLong": "2"}}"#;
        let run = Task::Run {
            uri: "u".to_owned(),
            database: "d".to_owned(),
            command,
            all: true,
        };
        assert_eq!(plan(&["run", "u", "d", text, "--all"]), Ok(Plan::of(run)));
        let inspect = Task::Inspect {
            files: vec!["a".into(), "b".into()],
            password_file: Some("p".into()),
        };
        assert_eq!(
            plan(&["inspect", "a", "--password-file", "p", "b", "--json"]),
            Ok(Plan {
                json: true,
                ..Plan::of(inspect)
            })
        );
        assert_eq!(plan(&["--version"]), Ok(Plan::of(Task::Version)));
        let doctor = Task::Doctor {
            uri: "u".to_owned(),
        };
        let words = [
            "doctor",
            "u",
            "--connect-to",
            "a=b:1",
            "--connect-to=[::1]:2=/t.sock",
        ];
        let connect_to = vec![
            (ServerAddress::tcp("a", 27017), ServerAddress::tcp("b", 1)),
            (ServerAddress::tcp("::1", 2), ServerAddress::unix("/t.sock")),
        ];
        assert_eq!(
            plan(&words),
            Ok(Plan {
                connect_to,
                ..Plan::of(doctor)
            })
        );
    }

    #[test]
    fn a_wrong_command_line_is_told_without_the_connection_string() {
        let wrong: &[&[&str]] = &[
            &[],
            &["pong", "mongodb://u:secret@h"],
            &["ping"],
            &["ping", "mongodb://u:secret@h", "extra"],
            &["ping", "mongodb://u:secret@h", "-c", "0"],
            &["doctor", "mongodb://u:secret@h", "-c", "1"],
            &["ping", "mongodb://u:secret@h", "--all"],
            &["run", "mongodb://u:secret@h", "d", "{}"],
            &["run", "mongodb://u:secret@h", "d", "[1]"],
            &["run", "mongodb://u:secret@h", "d", "{\"a\": {\"$oid\": 1}}"],
            &["run", "mongodb://u:secret@h", "d", "{\"a\": 1}", "--json"],
            &["ping", "mongodb://u:secret@h", "--what"],
            &["ping", "--json=mongodb://u:secret@h"],
            &["ping", "-c"],
            &["inspect"],
            &["inspect", "a", "mongodb://u:secret@h"],
            &["inspect", "a", "--password-file"],
            &["inspect", "a", "--all"],
            &["doctor", "mongodb://u:secret@h", "--password-file", "p"],
            &["ping", "mongodb://u:secret@h", "--connect-to"],
            &["ping", "mongodb://u:secret@h", "--connect-to", "a:1"],
            &["ping", "mongodb://u:secret@h", "--connect-to", "a:1="],
            &["ping", "mongodb://u:secret@h", "--connect-to", "=b:1"],
            &["ping", "mongodb://u:secret@h", "--connect-to", "a:0=b:1"],
            &["inspect", "a", "--connect-to", "a:1=b:1"],
        ];
        for words in wrong {
            let complaint = plan(words).unwrap_err();
            assert!(
                !complaint.is_empty() && !complaint.contains("secret"),
                "{words:?}: {complaint}"
            );
        }
    }
}
