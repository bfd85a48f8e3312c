//! The programs in `examples/`, run like a reader would, with the bench.
//!
//! `cargo test` compiles them. A run that names its test targets does not; then missing or outdated programs are not
//! run.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use mongotls::ServerAddress;
use mongotls::bson::doc;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, Validity};
use mongotls_testbench::server::{ClientAuth, Server, ServerTls};

use crate::common::Bench;
use crate::matrix::skipped;

/// A running example with the processes that it has forked, which end with their guard.
pub(crate) struct Example {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Example {
    /// Starts an example, or returns `None` if it has not been compiled.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Option<Self> {
        let mut child = Command::new(compiled(name)?)
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, output })
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut errors = String::new();
            let stderr = self.child.stderr.as_mut().unwrap();
            stderr.read_to_string(&mut errors).unwrap();
            panic!("the example has ended: {errors}");
        }
        line.trim_end().to_owned()
    }

    /// Reads lines until one of them is `wanted`.
    fn read_until(&mut self, wanted: &str) {
        while self.line() != wanted {}
    }

    /// Returns the address of the service that the example has started.
    fn address(&mut self) -> String {
        let line = self.line();
        let address = line.strip_prefix("listening on ");
        address.unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    /// Waits for the end; returns the exit code and the rest of both outputs.
    pub(crate) fn end(mut self) -> (i32, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.output.read_to_string(&mut out).unwrap();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().code().unwrap(), out, err)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The group has the id of its first process.
            let group = format!("-{}", self.child.id());
            // The shell's own `kill`: a minimal system has no other.
            let kill = format!("kill -s KILL -- {group}");
            let _ = Command::new("sh").args(["-c", &kill]).status();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Returns the path of a compiled example, or `None` with a message if the examples are not compiled.
fn compiled(name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_mongotls")).parent().unwrap();
    let program = target.join("examples").join(name);
    if is_current(&program) {
        return Some(program);
    }
    let what = format!("examples/{name}.rs is not compiled: cargo build --examples, or cargo test");
    let required = std::env::var_os("MONGOTLS_REQUIRE_PEERS");
    assert!(required.is_none_or(|value| value.is_empty()), "{what}");
    skipped(&what);
    None
}

/// Returns whether a program is newer than all of its sources, which Cargo lists in a file beside it.
fn is_current(program: &Path) -> bool {
    let modified = |path: &Path| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    let Ok(sources) = fs::read_to_string(program.with_extension("d")) else {
        return false;
    };
    let sources = sources.split_once(": ").unwrap().1.split_whitespace();
    let built = modified(program);
    sources
        .map(|source| modified(Path::new(source)))
        .all(|source| source.is_some() && source <= built)
}

/// Sends a request by HTTP, and returns the status line and the body.
fn get(address: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn each_example_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<String> = files
        .map(|file| file.file_name().into_string().unwrap())
        .collect();
    names.sort();
    let here = include_str!("examples.rs");
    for name in &names {
        let name = name.strip_suffix(".rs").unwrap();
        assert!(here.contains(&format!("start(\"{name}\"")), "{name}");
    }
    assert_eq!(names.len(), 6);
}

#[test]
fn documents_are_types_of_the_program() {
    let bench = Bench::sound();
    let Some(example) = Example::start("collections", &[&bench.uri("")]) else {
        return;
    };
    let (code, out, err) = example.end();
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    let expected = [
        "inserted: 1",
        "inserted: 999 more",
        "found: Thing { id: 2, kind: \"nut\", size: 1.0 }",
        "found: Thing { id: 4, kind: \"nut\", size: 2.0 }",
        "found: Thing { id: 6, kind: \"nut\", size: 3.0 }",
    ];
    assert_eq!(lines[..5], expected);
    assert!(lines[5].starts_with("rejected: "), "{out}");
    assert_eq!(lines[6], "written: No");
    assert!(lines[7].starts_with("duplicate-key: "), "{out}");
    assert_eq!(lines[8..], ["deleted: 500", "left: 500"]);
    assert_eq!(bench.server.documents("shop.things").len(), 500);
}

#[test]
fn a_service_has_a_thread_for_each_request() {
    let bench = Bench::sound();
    let client = bench.client("");
    let things = [
        doc! { "_id": 1, "name": "lamp" },
        doc! { "_id": 2, "name": "table" },
    ];
    let insert = doc! { "insert": "things", "documents": things.to_vec() };
    client.database("shop").run_command(insert).unwrap();

    let uri = bench.uri("&serverSelectionTimeoutMS=500");
    let Some(mut example) = Example::start("thread_per_request", &[&uri]) else {
        return;
    };
    let address = example.address();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let expected = ("HTTP/1.1 200 OK".to_owned(), "lamp\ntable\n".to_owned());
                assert_eq!(get(&address), expected);
            });
        }
    });
    let Bench {
        server, dir: _dir, ..
    } = bench;
    drop(server);
    let (status, _) = get(&address);
    assert!(
        [
            "HTTP/1.1 503 Service Unavailable",
            "HTTP/1.1 504 Gateway Timeout"
        ]
        .contains(&&*status),
        "{status}"
    );
}

#[test]
fn a_client_certificate_is_replaced_while_the_example_runs() {
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let tls = ServerTls::new(&identity).client_auth(ClientAuth::Require, &[ca.cert()]);
    let bench = Bench::around(Server::builder().tls(tls).start(), ca);
    let write = |name: &str, validity| {
        let client = bench.ca.issue(LeafSpec::client(name).validity(validity));
        bench.dir.write("client.pem", client.bundle_pem())
    };
    let file = write("first", Validity::days(-1, 10));
    let uri = bench.uri(&format!("&tlsCertificateKeyFile={}", file.display()));
    let Some(mut example) = Example::start("client_certificate_rotation", &[&uri]) else {
        return;
    };
    example.read_until("ping");

    write("second", Validity::days(-1, 10));
    example.read_until("the new files are in force");
    example.read_until("ping");
    example.read_until("ping");
    let last = bench.server.program_connections().pop().unwrap();
    let certificate = last.client_certificate.as_ref().unwrap();
    let certificate = mongotls::tls::Certificate::from(&**certificate);
    assert!(
        certificate.subject.contains("CN=second"),
        "{}",
        certificate.subject
    );

    write("third", Validity::expired());
    let mut errors = BufReader::new(example.child.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    assert!(line.starts_with("the new files are rejected: "), "{line}");
    example.read_until("ping");
}

#[test]
fn workers_are_forked_from_a_parent_with_a_client() {
    let bench = Bench::sound();
    let uri = bench.uri("");
    let words = [uri.as_str(), "127.0.0.1:0", "2", "3"];
    let Some(mut example) = Example::start("prefork", &words) else {
        return;
    };
    let address = example.address();
    for _ in 0..6 {
        let (status, body) = get(&address);
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(
            body.starts_with("worker ") && body.ends_with(": ok\n"),
            "{body}"
        );
    }
    let (code, out, err) = example.end();
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(
        lines[..2]
            .iter()
            .all(|line| line.ends_with(" ended with 0")),
        "{out}"
    );
    assert_eq!(lines[2], "all workers have ended");
}

#[test]
fn metrics_come_from_events_and_a_snapshot() {
    let bench = Bench::sound();
    let Some(mut example) = Example::start("metrics_exporter", &[&bench.uri("")]) else {
        return;
    };
    let address = example.address();
    let server = ServerAddress::tcp("localhost", bench.server.port());
    let expected = [
        "mongotls_command_seconds_count{command=\"ping\",result=\"ok\"} ".to_owned(),
        "mongotls_command_seconds_sum{command=\"noSuchCommand\",result=\"error\"} ".to_owned(),
        format!("mongotls_check_out_seconds_count{{server=\"{server}\"}} "),
        format!("mongotls_connections_established_total{{server=\"{server}\"}} 1"),
        format!("mongotls_connections{{server=\"{server}\",state=\"in_use\"}} "),
        "mongotls_tls_handshakes_total{kind=\"full\"} ".to_owned(),
    ];
    let is_there = |text: &str, start: &String| text.lines().any(|line| line.starts_with(start));
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let (status, text) = get(&address);
        assert_eq!(status, "HTTP/1.1 200 OK");
        // Each line is a name, labels in braces and a number.
        for line in text.lines() {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(
                name.ends_with('}') && value.parse::<f64>().is_ok(),
                "{line}"
            );
        }
        if expected.iter().all(|start| is_there(&text, start)) {
            return;
        }
        assert!(std::time::Instant::now() < end, "{text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_tls_context_verifies_and_explains_without_a_client() {
    let bench = Bench::sound();
    let port = bench.server.port().to_string();
    let ca_file = bench.ca_file.to_str().unwrap();
    let Some(example) = Example::start("tls_context", &["localhost", &port, ca_file]) else {
        return;
    };
    let (code, out, err) = example.end();
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for start in [
        "protocol: TLSv1.3, TLS_",
        "verified: true",
        "certificate: CN=",
        "reply: ",
    ] {
        assert!(
            out.lines().any(|line| line.starts_with(start)),
            "{start}: {out}"
        );
    }

    let other = Ca::root("another root", KeyKind::EcP256);
    let file = bench.dir.write("other.pem", other.cert_pem());
    let words = ["localhost", port.as_str(), file.to_str().unwrap()];
    let (code, out, _) = Example::start("tls_context", &words).unwrap().end();
    assert_eq!(code, 1);
    assert!(out.contains("\ncause: issuer-unknown\nremedy: "), "{out}");
}
