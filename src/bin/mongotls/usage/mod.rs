//! The table of commands and options, and the texts that are generated from it: `help`, the manual page and the shell
//! completions.
//!
//! `args` reads the words of a command line. A test there checks that it accepts exactly the options of this table.

mod completions;
mod manual;

use std::fmt::Write;

pub(crate) use self::completions::Shell;

/// A text that the command line prints about itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Topic {
    /// All commands.
    General,
    Command(&'static Subcommand),
    Manual,
    Completions(Shell),
}

/// A command of the command line.
#[derive(Debug, PartialEq)]
pub(crate) struct Subcommand {
    pub(crate) name: &'static str,
    /// The arguments, and the most important options.
    arguments: &'static str,
    /// The summary for the list of all commands.
    summary: &'static str,
    about: &'static str,
    pub(crate) options: &'static [Opt],
    /// The meanings of the exit codes 0, 1 and 2.
    exit_codes: [&'static str; 3],
}

/// An option of the command line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Opt {
    pub(crate) short: Option<char>,
    /// The name after `--`.
    pub(crate) long: &'static str,
    pub(crate) value: Option<ArgumentValue>,
    about: &'static str,
}

/// The value that an option takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ArgumentValue {
    name: &'static str,
    is_file: bool,
}

impl Topic {
    /// Returns the text that `help` prints about a command, or `None` if there is no such command.
    pub(crate) fn of(command: &str) -> Option<Self> {
        let found = COMMANDS.iter().find(|known| known.name == command)?;
        Some(match found.name {
            "help" => Self::General,
            _ => Self::Command(found),
        })
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::General => general(),
            Self::Command(command) => about(command),
            Self::Manual => manual::page(),
            Self::Completions(shell) => shell.script(),
        }
    }
}

/// The names of all commands, for the error after a wrong one.
pub(crate) fn names() -> String {
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    let (last, others) = names.split_last().unwrap_or((&"", &[]));
    format!("{} and {last}", others.join(", "))
}

impl Subcommand {
    /// The command line, without its less important options.
    fn synopsis(&self) -> String {
        format!("mongotls {} {}", self.name, self.arguments)
            .trim_end()
            .to_owned()
    }

    /// The first line of the help text.
    fn usage(&self) -> String {
        let json = self.options.iter().any(|option| option.long == JSON.long);
        self.synopsis() + if json { " [--json]" } else { "" }
    }

    fn takes_files(&self) -> bool {
        self.arguments.starts_with("FILE")
    }
}

impl Opt {
    /// Returns this option with another description.
    const fn described_as(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// The option as it is shown in a list: `-c, --count N`.
    fn head(&self) -> String {
        let short = match self.short {
            Some(short) => format!("-{short}, "),
            None => "    ".to_owned(),
        };
        let value = self
            .value
            .map_or(String::new(), |value| format!(" {}", value.name));
        format!("{short}--{}{value}", self.long)
    }
}

fn general() -> String {
    let mut text = format!("mongotls: {SUMMARY}\n\nUsage:\n");
    for command in &COMMANDS {
        list(&mut text, &command.synopsis(), command.summary, 42);
    }
    text.push_str("\nArguments:\n");
    for (name, about) in ARGUMENTS {
        list(&mut text, name, about, 12);
    }
    text.push_str("\nOptions:\n");
    for option in &OPTIONS {
        list(&mut text, &option.head(), option.about, 18);
    }
    text.push('\n');
    fill(&mut text, SECRETS, 0);
    text.push_str("\nVariables:\n");
    for (name, about) in VARIABLES {
        list(&mut text, name, about, 18);
    }
    text.push_str("\nExit codes:\n");
    for (code, meaning) in EXIT_CODES.iter().enumerate() {
        list(&mut text, &code.to_string(), meaning, 5);
    }
    text + "\nMore about JSON, exit codes and variables: docs/command-line.md"
}

fn about(command: &Subcommand) -> String {
    let mut text = format!("Usage: {}\n\n", command.usage());
    fill(&mut text, command.about, 0);
    if !command.options.is_empty() {
        text.push_str("\nOptions:\n");
    }
    for option in command.options {
        list(&mut text, &option.head(), option.about, 30);
    }
    text.push_str("\nExit codes:\n");
    for (code, meaning) in command.exit_codes.iter().enumerate() {
        if !meaning.is_empty() {
            list(&mut text, &code.to_string(), meaning, 5);
        }
    }
    text.trim_end().to_owned()
}

/// Adds an entry of a list: the name, and its description in a separate column. A long name has its own line.
fn list(text: &mut String, name: &str, about: &str, column: usize) {
    let head = format!("  {name}");
    match head.len() + 2 <= column {
        true => _ = write!(text, "{head:column$}"),
        false => _ = write!(text, "{head}\n{:column$}", ""),
    }
    fill(text, about, column);
}

/// Adds a text in lines of at most [`WIDTH`]. The first line continues the last one of `text`; the others are indented.
fn fill(text: &mut String, words: &str, indent: usize) {
    let mut width = indent;
    for (index, word) in words.split(' ').enumerate() {
        if index > 0 && width + 1 + word.len() > WIDTH {
            _ = write!(text, "\n{:indent$}", "");
            width = indent;
        } else if index > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += word.len();
    }
    text.push('\n');
}

const WIDTH: usize = 96;

const SUMMARY: &str = "connect to MongoDB over TLS, and explain failures";

const FILE: Option<ArgumentValue> = Some(ArgumentValue {
    name: "FILE",
    is_file: true,
});

const COUNT: Opt = Opt {
    short: Some('c'),
    long: "count",
    value: Some(ArgumentValue {
        name: "N",
        is_file: false,
    }),
    about: "how many pings, 1 to 1000000",
};

const CONNECT_TO: Opt = Opt {
    short: None,
    long: "connect-to",
    value: Some(ArgumentValue {
        name: "HOST:PORT=ADDRESS:PORT",
        is_file: false,
    }),
    about: "connect to ADDRESS:PORT (or to the Unix socket ADDRESS) instead of HOST:PORT, whose name is still \
            verified; may be repeated",
};

const API_VERSION: Opt = Opt {
    short: None,
    long: "api-version",
    value: Some(ArgumentValue {
        name: "VERSION",
        is_file: false,
    }),
    about: "declare this version of the Stable API with every command: 1",
};

const JSON: Opt = Opt {
    short: None,
    long: "json",
    value: None,
    about: "print JSON instead of text",
};

const ALL: Opt = Opt {
    short: None,
    long: "all",
    value: None,
    about: "follow the cursor of the reply; print one document per line",
};

const RESUME: Opt = Opt {
    short: None,
    long: "resume",
    value: Some(ArgumentValue {
        name: "TOKEN",
        is_file: false,
    }),
    about: "continue behind the event that was printed with TOKEN",
};

const BUCKET: Opt = Opt {
    short: None,
    long: "bucket",
    value: Some(ArgumentValue {
        name: "NAME",
        is_file: false,
    }),
    about: "the bucket of the files; default: fs",
};

const PASSWORD_FILE: Opt = Opt {
    short: None,
    long: "password-file",
    value: FILE,
    about: "the user's password is the first line of FILE",
};

const KEY_PASSWORD_FILE: Opt = Opt {
    short: None,
    long: "key-password-file",
    value: FILE,
    about: "the password of private keys is the first line of FILE",
};

const HELP: Opt = Opt {
    short: Some('h'),
    long: "help",
    value: None,
    about: "print help; after a command, its full help",
};

const VERSION: Opt = Opt {
    short: Some('V'),
    long: "version",
    value: None,
    about: "print the versions of mongotls and OpenSSL, and the built-in features",
};

/// All options.
const OPTIONS: [Opt; 11] = [
    COUNT,
    CONNECT_TO,
    API_VERSION,
    JSON,
    ALL,
    RESUME,
    BUCKET,
    PASSWORD_FILE,
    KEY_PASSWORD_FILE,
    HELP,
    VERSION,
];

const ONE_OBJECT: Opt = JSON.described_as("print one JSON object");

const WRONG: &str = "the command line is wrong, or its output cannot be written";

pub(crate) static COMMANDS: [Subcommand; 10] = [
    Subcommand {
        name: "ping",
        arguments: "[URI] [-c N]",
        summary: "connect, and measure N pings (default 1)",
        about: "Connects, pings N times (default 1), and prints the server, its version, the negotiated TLS, \
                and how long the pings took. URI is a connection string, - for standard input, or @FILE; it is \
                optional if MONGOTLS_URI is set.",
        options: &[COUNT, ONE_OBJECT, PASSWORD_FILE, KEY_PASSWORD_FILE, CONNECT_TO, API_VERSION],
        exit_codes: ["every ping was answered", "the connection or a ping failed", WRONG],
    },
    Subcommand {
        name: "run",
        arguments: "[URI] DB COMMAND [--all]",
        summary: "run one command and print its reply",
        about: "Runs one command on the database DB and prints the reply as relaxed Extended JSON. URI is a \
                connection string, - for standard input, or @FILE; it is optional if MONGOTLS_URI is set. COMMAND \
                is Extended JSON, also in the older forms of mongoexport; - and @FILE work too.",
        options: &[
            ALL.described_as(
                "follow the cursor of the reply and print one document per line; a reply without a cursor is printed as \
                 the only document",
            ),
            JSON.described_as(
                "print a JSON object with the result, and the reply in \"reply\"; with --all one object per document, \
                 in \"document\", and then the result",
            ),
            PASSWORD_FILE,
            KEY_PASSWORD_FILE,
            CONNECT_TO,
            API_VERSION,
        ],
        exit_codes: [
            "the command succeeded",
            "the command failed, or its reply has writeErrors, a writeConcernError or, as in bulkWrite, a number of \
             nErrors",
            WRONG,
        ],
    },
    Subcommand {
        name: "explain",
        arguments: "[URI] DB COMMAND",
        summary: "explain how the server runs a command, and what costs time",
        about: "Asks the server to explain one command on the database DB, and points out what costs time: a collection \
                that is read as a whole, a sort in memory, many documents examined for few matches, an index that is not \
                used, files used for lack of memory. The server executes the command for its numbers, and changes \
                nothing. URI is a connection string, - for standard input, or @FILE; it is optional if MONGOTLS_URI is \
                set. COMMAND is aggregate, count, delete, distinct, find, findAndModify, mapReduce or update, as Extended \
                JSON; - and @FILE work too.",
        options: &[
            JSON.described_as(
                "print one JSON object, with the findings, the plans, and the reply of the server",
            ),
            PASSWORD_FILE,
            KEY_PASSWORD_FILE,
            CONNECT_TO,
            API_VERSION,
        ],
        exit_codes: [
            "no problem was found; there may be notes",
            "the command could not be explained, or a problem was found",
            "the command line is wrong, the command cannot be explained, or the output cannot be written",
        ],
    },
    Subcommand {
        name: "watch",
        arguments: "[URI] [DB [COLLECTION]]",
        summary: "print changes as they happen",
        about: "Prints the changes of a collection, a database or the whole deployment as they happen, until it is \
                interrupted. Each line is a JSON object with the \"event\" as relaxed Extended JSON, and the \"token\" at which \
                --resume continues. After a failure of the network it continues by itself. It needs a replica set or a sharded \
                cluster. URI is a connection string, - for standard input, or @FILE; it is optional if MONGOTLS_URI is set.",
        options: &[
            RESUME,
            JSON.described_as("print the reason of the end as a JSON object, too"),
            PASSWORD_FILE,
            KEY_PASSWORD_FILE,
            CONNECT_TO,
            API_VERSION,
        ],
        exit_codes: [
            "what is watched was dropped or renamed, or the reader has closed the output",
            "the changes cannot be watched, or no longer",
            WRONG,
        ],
    },
    Subcommand {
        name: "gridfs",
        arguments: "put|get|ls [URI] DB ...",
        summary: "upload, download and list files of GridFS",
        about: "Stores files in the database DB, and reads them. 'put [URI] DB FILE NAME' uploads FILE under NAME and prints \
                its ID. 'get [URI] DB NAME FILE' downloads the newest file with this name to FILE, which must not exist. \
                'ls [URI] DB' lists the files with their sizes in bytes. FILE is a path, or - for standard input and standard \
                output. URI is a connection string, or @FILE; it is optional if MONGOTLS_URI is set.",
        options: &[
            BUCKET,
            JSON.described_as("print one JSON object, with the \"id\" of an upload or the \"files\""),
            PASSWORD_FILE,
            KEY_PASSWORD_FILE,
            CONNECT_TO,
            API_VERSION,
        ],
        exit_codes: [
            "success",
            "the connection failed, there is no such file, or a local file cannot be read or written",
            WRONG,
        ],
    },
    Subcommand {
        name: "doctor",
        arguments: "[URI]",
        summary: "examine each stage of a connection, to every host and every member of the deployment",
        about: "Examines each stage of a connection (options, DNS, TCP, TLS, revocation, hello, authentication, a \
                command), to each host of the connection string and to each member that these hosts name. Explains \
                what failed, why, and what to do about it. URI is a connection string, - for standard input, or @FILE; it is \
                optional if MONGOTLS_URI is set.",
        options: &[ONE_OBJECT, PASSWORD_FILE, KEY_PASSWORD_FILE, CONNECT_TO, API_VERSION],
        exit_codes: ["no failure was found; there may be warnings", "a failure was found", WRONG],
    },
    Subcommand {
        name: "inspect",
        arguments: "FILE...",
        summary: "show the contents of files of certificates, keys and CRLs, and the problems in them",
        about: "Shows the contents of files of certificates, keys and CRLs, and the problems in them. FILE is PEM, \
                DER or PKCS#12, or - for standard input. Nothing is sent over the network.",
        options: &[
            ONE_OBJECT,
            KEY_PASSWORD_FILE.described_as("open encrypted keys with the password in the first line of FILE"),
            PASSWORD_FILE.described_as("an alias of --key-password-file"),
        ],
        exit_codes: [
            "no file would make a connection fail",
            "a file would make a connection fail",
            "the command line is wrong, a password file cannot be read, or the output cannot be written",
        ],
    },
    Subcommand {
        name: "completions",
        arguments: "SHELL",
        summary: "print the completions for bash, zsh or fish",
        about: "Prints a script that completes the command line. For bash, put the line 'source <(mongotls \
                completions bash)' into ~/.bashrc. For zsh, write the script to a file _mongotls in a folder of \
                $fpath. For fish, write it to ~/.config/fish/completions/mongotls.fish.",
        options: &[],
        exit_codes: ["success", "", WRONG],
    },
    Subcommand {
        name: "man",
        arguments: "",
        summary: "print the manual page",
        about: "Prints the manual page. To read it: mongotls man | man -l -",
        options: &[],
        exit_codes: ["success", "", WRONG],
    },
    Subcommand {
        name: "help",
        arguments: "[COMMAND]",
        summary: "print this help, or the full help of a command",
        about: "Prints all commands and options, or the full help of one command.",
        options: &[],
        exit_codes: ["success", "", WRONG],
    },
];

const ARGUMENTS: [(&str, &str); 4] = [
    (
        "URI",
        "a connection string, such as 'mongodb://db.example/?tls=true&tlsCAFile=ca.pem'; @FILE reads it from a file, \
         and - from standard input",
    ),
    ("DB", "the database that the command runs on"),
    (
        "COMMAND",
        "a command in Extended JSON, such as '{\"find\": \"things\", \"filter\": {}}'; @FILE and - as above",
    ),
    (
        "FILE",
        "PEM, DER or PKCS#12, or - for standard input; nothing is sent over the network",
    ),
];

const SECRETS: &str = "Every user of the host can see the arguments of a program. Keep secrets out of them: set MONGOTLS_URI \
     in place of URI, use - or @FILE, or omit the password. On a terminal, mongotls prompts for the user's password if \
     the mechanism needs one.";

const VARIABLES: [(&str, &str); 4] = [
    (
        "MONGOTLS_URI",
        "the connection string, if the command line has none",
    ),
    (
        "MONGOTLS_LOG",
        "what is logged on standard error, such as debug; default: warn",
    ),
    (
        "MONGODB_LOG_ALL",
        "the level of all components, such as debug; see docs/command-line.md for other variables of the log",
    ),
    ("NO_COLOR", "any value: no colours"),
];

const EXIT_CODES: [&str; 3] = ["success", "failure", WRONG];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_a_terminal() {
        let topics = COMMANDS
            .iter()
            .filter_map(|command| Topic::of(command.name));
        for topic in topics {
            let text = topic.text();
            let long = text
                .lines()
                .find(|line| line.len() > WIDTH || line.ends_with(' '));
            assert_eq!(long, None);
        }
    }

    #[test]
    fn an_option_of_a_command_is_among_all_options() {
        for option in COMMANDS.iter().flat_map(|command| command.options) {
            let same = |known: &&Opt| {
                (known.short, known.long, known.value) == (option.short, option.long, option.value)
            };
            assert!(OPTIONS.iter().any(|known| same(&known)), "{option:?}");
        }
    }
}
