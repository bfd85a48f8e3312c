//! The input and output of the command line: secrets that are not arguments, explained waits, JSON in one form, help,
//! and output that cannot be written.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::doc;
use mongotls_testbench::pki::{KeyKind, LeafSpec, PkiDir, Validity};
use mongotls_testbench::server::{Auth, Server, User};
use mongotls_testbench::stranger;
use serde_json::{Value, json};

use crate::cli::{Run, mongotls};
use crate::common::Bench;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mongotls");

/// A server with the user ada and the password pencil, and the connection string of ada without the password.
fn server_of_ada() -> (Server, String) {
    let auth = Auth::new().user(User::new("admin", "ada", "pencil"));
    let server = Server::builder().auth(auth).start();
    let uri = format!("mongodb://ada@{}/", server.addr());
    (server, uri)
}

/// Runs the command line with a text on standard input and with a connection string in the environment.
fn fed(words: &[&str], input: &str, uri: Option<&str>) -> Run {
    let mut command = Command::new(PROGRAM);
    command.args(words).env_remove("MONGOTLS_LOG");
    match uri {
        Some(uri) => command.env("MONGOTLS_URI", uri),
        None => command.env_remove("MONGOTLS_URI"),
    };
    command.stdin(Stdio::piped());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that reads none of it may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn object(run: &Run) -> Value {
    let object = serde_json::from_str(&run.out);
    object.unwrap_or_else(|error| panic!("{error}: {}{}", run.out, run.err))
}

/// The command line on a terminal, as for a person.
struct Terminal(Child);

impl Terminal {
    fn start(words: &[&str]) -> Self {
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let line = format!("{PROGRAM} {}", words.join(" "));
        let mut command = Command::new("script");
        command
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("NO_COLOR", "1")
            .env_remove("MONGOTLS_LOG")
            .env_remove("MONGOTLS_URI");
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(streams.spawn().unwrap())
    }

    /// Reads until `text` has been printed; returns all of it.
    fn read_until(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        let mut byte = [0];
        let out = self.0.stdout.as_mut().unwrap();
        while !String::from_utf8_lossy(&read).ends_with(text) {
            let count = out.read(&mut byte).unwrap();
            assert_eq!(count, 1, "{}", String::from_utf8_lossy(&read));
            read.push(byte[0]);
        }
        String::from_utf8(read).unwrap()
    }

    fn write(&mut self, text: &str) {
        let input = self.0.stdin.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
    }

    /// Reads the rest; returns it with the exit code.
    fn end(mut self) -> (i32, String) {
        let mut rest = String::new();
        let out = self.0.stdout.as_mut().unwrap();
        out.read_to_string(&mut rest).unwrap();
        let code = self.0.wait().unwrap().code().unwrap();
        (code, rest.replace('\r', ""))
    }
}

#[test]
fn a_connection_string_need_not_be_an_argument() {
    let (_server, uri) = server_of_ada();
    let uri = uri.replace("ada@", "ada:pencil@");
    let dir = PkiDir::new();
    let file = dir.write("uri.txt", format!("{uri}\n"));
    let at_file = format!("@{}", file.display());
    let command = dir.write("command.json", r#"{"ping": 1}"#);
    let at_command = format!("@{}", command.display());
    let line = format!("{uri}\n");
    for (words, input, variable) in [
        (&["ping", "-"][..], line.as_str(), None),
        (&["ping", &at_file], "", None),
        (&["ping"], "", Some(uri.as_str())),
        (&["doctor", "-"], &line, None),
        (&["doctor"], "", Some(uri.as_str())),
        (&["run", "-", "admin", r#"{"ping": 1}"#], &line, None),
        (&["run", "admin", r#"{"ping": 1}"#], "", Some(uri.as_str())),
        (&["run", "admin", "-"], r#"{"ping": 1}"#, Some(uri.as_str())),
        (&["run", &at_file, "admin", &at_command], "", None),
        // The command line takes precedence.
        (&["ping", &uri], "", Some("mongodb://localhost:1")),
    ] {
        let run = fed(words, input, variable);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{words:?}");
    }
    let missing = format!("@{}/missing", dir.path().display());
    for (words, input, complaint) in [
        (
            ["ping", "-"],
            "\n",
            "the URI is empty in standard input".to_owned(),
        ),
        (
            ["doctor", &missing],
            "",
            format!(
                "cannot read the URI from {}: No such file or directory (os error 2)",
                &missing[1..]
            ),
        ),
        (
            ["ping", "@/dev/zero"],
            "",
            "cannot read the URI from /dev/zero: it is larger than 48 MB".to_owned(),
        ),
    ] {
        let run = fed(&words, input, None);
        let told = (run.code, run.out, run.err);
        assert_eq!(told, (2, String::new(), format!("mongotls: {complaint}\n")));
    }
}

#[test]
fn passwords_come_from_files_for_every_command() {
    let (_server, uri) = server_of_ada();
    let dir = PkiDir::new();
    for text in [
        "pencil\n",
        "pencil",
        "pencil\r\n",
        "\u{feff}pencil\nsecond line\n",
    ] {
        let file = dir.write("password.txt", text);
        let file = file.to_str().unwrap();
        for words in [
            &["ping", &uri, "--password-file", file][..],
            &[
                "run",
                &uri,
                "admin",
                r#"{"ping": 1}"#,
                "--password-file",
                file,
            ],
            &["doctor", &uri, "--password-file", file],
        ] {
            let run = mongotls(words);
            assert_eq!(
                (run.code, run.err.as_str()),
                (0, ""),
                "{text:?}: {}",
                run.out
            );
        }
    }
    let run = mongotls(&["ping", &uri, "--password-file", "/nowhere"]);
    assert_eq!(
        (run.code, run.err.as_str()),
        (
            2,
            "mongotls: cannot read the password file /nowhere: No such file or directory (os error 2)\n"
        )
    );

    let bench = Bench::sound();
    let client = bench.ca.issue(LeafSpec::client("app"));
    let key = bench
        .dir
        .write("client.pem", client.encrypted_bundle_pem("s3cr3t"));
    let file = bench.dir.write("key-password.txt", "s3cr3t\n");
    let (file, uri) = (
        file.to_str().unwrap(),
        bench.uri(&format!("&tlsCertificateKeyFile={}", key.display())),
    );
    for words in [
        &["ping", &uri, "--key-password-file", file][..],
        &[
            "run",
            &uri,
            "admin",
            r#"{"ping": 1}"#,
            "--key-password-file",
            file,
        ],
        &["doctor", &uri, "--key-password-file", file],
        &[
            "inspect",
            key.to_str().unwrap(),
            "--key-password-file",
            file,
        ],
        &["inspect", key.to_str().unwrap(), "--password-file", file],
    ] {
        let run = mongotls(words);
        assert_eq!(
            (run.code, run.err.as_str()),
            (0, ""),
            "{words:?}: {}",
            run.out
        );
    }
}

#[test]
fn a_terminal_prompt_for_the_user_password_has_no_echo() {
    let (server, uri) = server_of_ada();
    for (words, expected) in [
        (&["ping", &uri, "--json"][..], "\"ok\":true"),
        (&["doctor", &uri], "ada of admin, SCRAM-SHA-256"),
    ] {
        let mut terminal = Terminal::start(words);
        let asked = terminal.read_until("Password of the MongoDB user: ");
        assert_eq!(asked, "Password of the MongoDB user: ");
        // The echo is switched off right after the prompt is printed, as for a person who types.
        thread::sleep(Duration::from_secs(1));
        terminal.write("pencil\n");
        let (code, text) = terminal.end();
        assert!(code == 0 && text.contains(expected), "{text}");
        assert!(!text.contains("pencil"), "{text}");
    }
    // There is no prompt if nothing is missing, or if a password is not used.
    let with_password = uri.replace("ada@", "ada:pencil@");
    let anonymous = uri.replace("ada@", "");
    for uri in [&with_password, &anonymous] {
        let (code, text) = Terminal::start(&["ping", uri]).end();
        assert!(code == 0 && !text.contains("Password"), "{text}");
    }
    let x509 = format!("{uri}?authMechanism=MONGODB-X509");
    let (code, text) = Terminal::start(&["ping", &x509]).end();
    assert!(code == 1 && !text.contains("Password of"), "{text}");
    // There is no prompt without a terminal either.
    let commands = server.commands().len();
    let run = mongotls(&["ping", &uri]);
    assert_eq!(
        (run.code, run.out.as_str(), run.err.as_str()),
        (
            1,
            "",
            "mongotls: the user has no password, and SCRAM, by which users log in without authMechanism, needs one \
             [option-conflict]\n  Add the password after the user name, as user:password, percent-encoded; or set \
             authMechanism to one that needs no password.\n"
        )
    );
    assert_eq!(server.commands().len(), commands);
}

#[test]
fn a_terminal_prompt_is_never_for_a_key_password() {
    let bench = Bench::sound();
    let client = bench.ca.issue(LeafSpec::client("app"));
    let key = bench
        .dir
        .write("client.pem", client.encrypted_bundle_pem("s3cr3t"));
    let uri = bench.uri(&format!("&tlsCertificateKeyFile={}", key.display()));
    for words in [
        ["ping", &uri],
        ["doctor", &uri],
        ["inspect", key.to_str().unwrap()],
    ] {
        let (_, text) = Terminal::start(&words).end();
        let asks = text.contains("assword:") || text.contains("phrase");
        assert!(!asks && text.contains("encrypted"), "{text}");
    }
}

#[test]
fn a_wait_of_more_than_a_second_is_explained_on_a_terminal() {
    let nobody = stranger::nobody();
    let uri = format!("mongodb://{nobody}/?serverSelectionTimeoutMS=2500");
    let wait = format!(
        "mongotls: waiting for a server, for at most 2.50 s (serverSelectionTimeoutMS), and for its reply. \
         Until now: Unknown: {nobody} (Unknown, server {nobody}: connecting failed: "
    );
    for words in [
        &["ping", &uri][..],
        &["run", &uri, "admin", r#"{"ping": 1}"#],
    ] {
        let started = Instant::now();
        let mut terminal = Terminal::start(words);
        let first = terminal.read_until("\n");
        assert!(first.starts_with(&wait), "{first}");
        assert!(started.elapsed() > Duration::from_secs(1));
        let (code, rest) = terminal.end();
        assert!(code == 1 && !rest.contains("waiting"), "{rest}");
        // Without a terminal only the outcome is printed.
        let run = mongotls(words);
        assert!(run.code == 1 && !run.err.contains("waiting"), "{}", run.err);
    }
    let server = Server::builder().start();
    let (code, text) = Terminal::start(&["ping", &server.uri()]).end();
    assert!(code == 0 && !text.contains("waiting"), "{text}");
}

#[test]
fn failed_writes_exit_with_1() {
    let server = Server::builder()
        .handle("insert", |_| {
            Some(doc! { "ok": 1, "n": 0, "writeErrors": [{ "index": 0, "code": 11000, "errmsg": "dup" }] })
        })
        .handle("update", |_| {
            Some(doc! { "ok": 1, "n": 1, "writeConcernError": { "code": 64, "errmsg": "timed out" } })
        })
        .handle("bulkWrite", |_| {
            let results = doc! { "id": 0_i64, "ns": "admin.$cmd.bulkWrite", "firstBatch": [{ "ok": 0, "idx": 0 }] };
            Some(doc! { "ok": 1, "nErrors": 1, "cursor": results })
        })
        .handle("delete", |_| Some(doc! { "ok": 1, "n": 1, "writeErrors": [] }))
        .start();
    let uri = server.uri();
    let errors = "writes have failed: the reply has writeErrors";
    let concern = "the write concern was not met: the reply has a writeConcernError";
    let bulk = "writes have failed: nErrors of the reply is not 0";
    for (command, why) in [
        ("insert", Some(errors)),
        ("update", Some(concern)),
        ("bulkWrite", Some(bulk)),
        ("delete", None),
    ] {
        let text = format!("{{\"{command}\": \"t\"}}");
        let code = i32::from(why.is_some());
        let err = why.map_or_else(String::new, |why| format!("mongotls: {why}\n"));
        for all in [&[][..], &["--all"]] {
            let run = mongotls(&[&["run", &uri, "admin", &text], all].concat());
            assert_eq!((run.code, &run.err), (code, &err), "{command} {all:?}");
            assert!(!run.out.is_empty());
            let run = mongotls(&[&["run", &uri, "admin", &text, "--json"], all].concat());
            assert_eq!(
                (run.code, run.err.as_str()),
                (code, ""),
                "{command} {all:?}"
            );
            let last: Value = serde_json::from_str(run.out.lines().last().unwrap()).unwrap();
            assert_eq!(
                (&last["ok"], &last["message"]),
                (&json!(why.is_none()), &json!(why))
            );
        }
    }
}

#[test]
fn json_has_one_shape_for_all_commands() {
    let bench = Bench::sound();
    let (uri, nobody) = (
        bench.uri(""),
        format!(
            "mongodb://{}/?serverSelectionTimeoutMS=300",
            stranger::nobody()
        ),
    );
    let missing = bench.dir.path().join("missing.pem");
    let ca = bench.ca_file.to_str().unwrap();
    let keys = [
        "ok",
        "stage",
        "category",
        "cause",
        "message",
        "remedy",
        "facts",
        "code",
        "code_name",
    ];
    let ping = r#"{"ping": 1}"#;
    for (words, code) in [
        (&["ping", &uri][..], 0),
        (&["run", &uri, "admin", ping], 0),
        (&["doctor", &uri], 0),
        (&["inspect", ca], 0),
        (&["ping", &nobody], 1),
        (&["run", &nobody, "admin", ping], 1),
        (&["run", &nobody, "admin", ping, "--all"], 1),
        (&["run", &uri, "admin", r#"{"nonsense": 1}"#], 1),
        (&["doctor", &nobody], 1),
        (&["inspect", missing.to_str().unwrap()], 1),
        (&["ping", ""], 2),
        (&["run", &uri, "admin", "{"], 2),
        (&["ping", "@/nowhere"], 2),
        (&["nonsense"], 2),
    ] {
        let run = mongotls(&[words, &["--json"]].concat());
        assert_eq!((run.code, run.err.as_str()), (code, ""), "{words:?}");
        let object = object(&run);
        for key in keys {
            assert!(
                object.get(key).is_some(),
                "{words:?} without {key}: {object}"
            );
        }
        assert_eq!(object["ok"], code == 0, "{words:?}");
        assert_eq!(
            object["message"].is_string(),
            code != 0 && words[0] != "inspect",
            "{words:?}"
        );
    }
    let run = mongotls(&["run", &uri, "admin", r#"{"nonsense": 1}"#, "--json"]);
    let refused = object(&run);
    assert_eq!(
        (
            &refused["stage"],
            &refused["code"],
            &refused["code_name"],
            &refused["cause"]
        ),
        (
            &json!("command"),
            &json!(59),
            &json!("CommandNotFound"),
            &Value::Null
        )
    );
    let run = mongotls(&["run", &uri, "admin", ping, "--json"]);
    let replied = object(&run);
    assert_eq!(
        (&replied["ok"], &replied["reply"]["ok"]),
        (&json!(true), &json!(1.0))
    );
    let run = mongotls(&["ping", "", "--json"]);
    assert_eq!(object(&run)["message"], "the URI is empty");
    let version = object(&mongotls(&["--version", "--json"]));
    assert_eq!(version["openssl"], mongotls::tls::openssl_version());
    assert!(
        version["features"]
            .as_array()
            .unwrap()
            .contains(&json!("cli"))
    );
}

#[test]
fn run_all_prints_documents_as_json_and_then_the_outcome() {
    let server = Server::builder().start();
    let uri = server.uri();
    mongotls(&[
        "run",
        &uri,
        "d",
        r#"{"insert": "t", "documents": [{"_id": 1}, {"_id": 2}]}"#,
    ]);
    let run = mongotls(&["run", &uri, "d", r#"{"find": "t"}"#, "--all", "--json"]);
    let lines: Vec<Value> = run
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((run.code, lines.len()), (0, 3));
    assert_eq!(
        lines[..2],
        [
            json!({ "document": { "_id": 1 } }),
            json!({ "document": { "_id": 2 } })
        ]
    );
    assert_eq!(
        (&lines[2]["ok"], &lines[2]["cause"]),
        (&json!(true), &Value::Null)
    );
}

#[test]
fn run_all_prints_a_reply_that_has_no_cursor() {
    let server = Server::builder()
        .handle("ping", |_| Some(doc! { "ok": 1, "x": 7 }))
        .start();
    let run = mongotls(&["run", &server.uri(), "admin", r#"{"ping": 1}"#, "--all"]);
    assert_eq!(
        (run.code, run.out.as_str(), run.err.as_str()),
        (0, "{\"ok\":1,\"x\":7}\n", "")
    );
    assert_eq!(server.count_of("ping"), 1);
}

#[test]
fn run_all_stops_when_the_reader_closes() {
    let server = Server::builder()
        .handle("find", |_| {
            Some(doc! { "ok": 1, "cursor": { "id": 7_i64, "ns": "d.t", "firstBatch": [{ "x": 1 }] } })
        })
        .handle("getMore", |_| {
            Some(doc! { "ok": 1, "cursor": { "id": 7_i64, "ns": "d.t", "nextBatch": [{ "x": 1 }] } })
        })
        .start();
    let mut command = Command::new(PROGRAM);
    command.args(["run", &server.uri(), "d", r#"{"find": "t"}"#, "--all"]);
    let streams = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = streams.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
    assert_eq!(server.count_of("killCursors"), 1);
}

#[test]
fn unwritable_output_exits_with_2_unwritable_errors_do_not() {
    let server = Server::builder().start();
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    for (words, json) in [
        (["ping", &server.uri()], false),
        (["ping", &server.uri()], true),
        (["help", "run"], false),
    ] {
        let mut command = Command::new(PROGRAM);
        command
            .args(words)
            .args(json.then_some("--json"))
            .stdout(full());
        let output = command.output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        let expected = "mongotls: cannot write the output: No space left on device (os error 28)\n";
        assert_eq!(
            (output.status.code(), err.as_str()),
            (Some(2), expected),
            "{words:?}"
        );
    }
    let nobody = format!(
        "mongodb://{}/?serverSelectionTimeoutMS=300",
        stranger::nobody()
    );
    for (words, code) in [(["ping", nobody.as_str()], 1), (["ping", ""], 2)] {
        let mut command = Command::new(PROGRAM);
        let output = command.args(words).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}");
    }
}

#[test]
fn each_command_has_help_and_version_lists_features() {
    let usage = |words: &[&str]| {
        let run = mongotls(words);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{words:?}");
        run.out.lines().next().unwrap().to_owned()
    };
    for (name, line) in [
        ("ping", "Usage: mongotls ping [URI] [-c N] [--json]"),
        (
            "run",
            "Usage: mongotls run [URI] DB COMMAND [--all] [--json]",
        ),
        (
            "explain",
            "Usage: mongotls explain [URI] DB COMMAND [--json]",
        ),
        (
            "watch",
            "Usage: mongotls watch [URI] [DB [COLLECTION]] [--json]",
        ),
        (
            "gridfs",
            "Usage: mongotls gridfs put|get|ls [URI] DB ... [--json]",
        ),
        ("doctor", "Usage: mongotls doctor [URI] [--json]"),
        ("inspect", "Usage: mongotls inspect FILE... [--json]"),
        ("completions", "Usage: mongotls completions SHELL"),
        ("man", "Usage: mongotls man"),
    ] {
        assert_eq!(usage(&["help", name]), line);
        assert_eq!(usage(&[name, "--help"]), line);
    }
    assert_eq!(
        usage(&["help"]),
        "mongotls: connect to MongoDB over TLS, and explain failures"
    );
    let run = mongotls(&["help", "nonsense"]);
    assert_eq!(
        (run.code, run.err.as_str()),
        (
            2,
            "mongotls: there is no such command; the commands are ping, run, explain, watch, gridfs, doctor, \
             inspect, completions, man and help\n\
             Try: mongotls --help\n"
        )
    );
    let version = mongotls(&["--version"]).out;
    let lines: Vec<&str> = version.lines().collect();
    assert_eq!(lines.len(), 2, "{version}");
    let openssl = mongotls::tls::openssl_version();
    assert_eq!(
        lines[0],
        format!("mongotls {} ({openssl})", env!("CARGO_PKG_VERSION"))
    );
    let features: Vec<&str> = lines[1]
        .strip_prefix("features: ")
        .unwrap()
        .split(", ")
        .collect();
    for (name, is_built_in) in [
        ("cli", true),
        ("cloud", true),
        ("gssapi", cfg!(feature = "gssapi")),
        ("srv", cfg!(feature = "srv")),
        ("zlib", cfg!(feature = "zlib")),
        ("vendored", cfg!(feature = "vendored")),
    ] {
        assert_eq!(features.contains(&name), is_built_in, "{name}");
    }
}

#[test]
fn inspect_reads_standard_input() {
    let bench = Bench::sound();
    let pem = String::from_utf8(bench.ca.cert_pem()).unwrap();
    let run = fed(&["inspect", "-"], &pem, None);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
    assert_eq!(run.out.lines().next(), Some("-: a certificate"));
    let run = fed(&["inspect", "-", "--json"], "no certificate\n", None);
    let object = object(&run);
    assert_eq!(
        (run.code, &object["ok"], &object["files"][0]["path"]),
        (1, &json!(false), &json!("-"))
    );
}

#[test]
fn multi_line_errors_are_printed_without_repetition() {
    let (one, two) = (stranger::nobody(), stranger::nobody());
    let uri = format!("mongodb://{one},{two}/?serverSelectionTimeoutMS=300");
    for words in [
        &["ping", &uri][..],
        &["run", &uri, "admin", r#"{"ping": 1}"#],
    ] {
        let run = mongotls(words);
        assert_eq!((run.code, run.out.as_str()), (1, ""));
        assert!(!run.err.contains("\\n"), "{}", run.err);
        let lines: Vec<&str> = run.err.lines().collect();
        assert!(
            lines.len() == 5 && lines[0].starts_with("mongotls: no server for "),
            "{}",
            run.err
        );
        for (address, line) in [(one, lines[1]), (two, lines[3])] {
            // The addresses are shown in their order.
            let either = line.contains(&one.to_string()) || line.contains(&two.to_string());
            assert!(
                either && line.ends_with("[connection-refused]"),
                "{address}: {line}"
            );
        }
        assert!(lines[2].starts_with("      remedy: ") && lines[4].starts_with("      remedy: "));
        assert_eq!(run.err.matches("[connection-refused]").count(), 2);
    }
    // One server, one error: its code and remedy once.
    let bench = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf.validity(Validity::expired()),
        |tls| tls,
    );
    let run = mongotls(&["ping", &bench.uri("")]);
    assert_eq!(
        run.err.matches("[certificate-expired]").count(),
        1,
        "{}",
        run.err
    );
    assert_eq!(run.err.matches("Renew").count(), 1, "{}", run.err);
}

#[test]
fn a_password_with_a_line_feed_is_named_as_the_reason() {
    let (server, _) = server_of_ada();
    let uri = format!("mongodb://ada:pencil%0A@{}/", server.addr());
    let remedy = "Remove the line feed at the end of the password before it is given to the client, in Rust with \
                  trim_end_matches(['\\r', '\\n']).";
    let run = mongotls(&["ping", &uri, "--json"]);
    let found = object(&run);
    assert_eq!(
        (&found["cause"], &found["remedy"]),
        (&json!("option-conflict"), &json!(remedy))
    );
    assert_eq!(
        found["message"],
        format!(
            "server {}: authentication failed: the password ends with a line feed, as texts that were read from a file \
             do, and SASLprep (RFC 4013) prohibits it",
            server.addr()
        )
    );
    let run = mongotls(&[
        "ping",
        &format!("{uri}?authMechanism=SCRAM-SHA-1"),
        "--json",
    ]);
    let found = object(&run);
    assert_eq!(found["cause"], "authentication-failed");
    let told = found["remedy"].as_str().unwrap();
    assert!(told.starts_with(remedy), "{told}");
}
