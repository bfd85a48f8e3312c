//! Tests of processes that are not plain Rust programs: their own handling of `SIGPIPE`, and an exit while
//! threads are in an OpenSSL that cleans up.
//!
//! Each child is this program started again with a word; the server is in the parent.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers"
)]

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Binary, doc, spec::BinarySubtype};
use mongotls::options::TlsOptions;
use mongotls::tls::TlsContext;
use mongotls::{Client, ConnectionString};
use mongotls_testbench::net::Bind;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Hello, Server, ServerTls};
use openssl_sys as sys;

/// The number of short programs that exit.
const EXITS: usize = 60;
/// The time limit of each of them, from its call of `exit` on. OpenSSL's clean-up waits for one second at most.
const LIMIT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sigpipe", uri] => write_after_the_end(uri),
        ["exit", uri, delay] => exit_under_load(uri, delay.parse().unwrap()),
        ["exit-inside", port, ca_file] => exit_inside(port.parse().unwrap(), ca_file),
        ["--list"] => {}
        _ => {
            a_peer_that_is_gone_does_not_end_the_process();
            programs_exit_under_load();
            the_thread_that_exits_is_not_waited_for();
        }
    }
    ExitCode::SUCCESS
}

/// A router behind a load balancer: its client has no monitor that would notice an end first.
fn server(tls: Option<&Ca>, bind: Bind) -> Server {
    let mut hello = Hello::mongos();
    hello.extra = doc! { "serviceId": ObjectId::new() };
    let builder = Server::builder().hello(hello).bind(bind);
    match tls {
        Some(ca) => builder.tls(ServerTls::new(&ca.issue(LeafSpec::local_server()))),
        None => builder,
    }
    .log_limit(0)
    .start()
}

fn child(words: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

fn a_peer_that_is_gone_does_not_end_the_process() {
    let dir = PkiDir::new();
    let ca = Ca::root("root", KeyKind::EcP256);
    let file = dir.write("ca.pem", ca.cert_pem());
    let socket = dir.path().join("mongodb.sock");
    let cases = [
        ("plain", None, Bind::default()),
        ("TLS", Some(&ca), Bind::default()),
        ("a Unix socket", None, Bind::Unix(socket)),
    ];
    for (name, tls, bind) in cases {
        let server = server(tls, bind);
        let mut uri = format!("{}?loadBalanced=true", server.uri());
        if tls.is_some() {
            uri += &format!("&tls=true&tlsCAFile={}", file.display());
        }
        let mut child = child(&["sigpipe", &uri]).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(output.next().unwrap().unwrap(), "ready", "{name}");
        server.cut();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let outcome: Vec<String> = output.map(Result::unwrap).collect();
        let status = child.wait().unwrap();
        // Without MSG_NOSIGNAL it is killed by signal 13.
        assert_eq!(
            (status.code(), outcome.len()),
            (Some(0), 1),
            "{name}: {status}"
        );
        println!(
            "ok: the child outlives a peer that is gone, {name}: {}",
            outcome[0]
        );
    }
}

/// The child: its handling of `SIGPIPE` is that of a C program.
fn write_after_the_end(uri: &str) {
    // SAFETY: restores the default, before any thread is started.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    let client = Client::connect(uri).unwrap();
    client
        .database("db")
        .run_command(doc! { "ping": 1 })
        .unwrap();
    println!("ready");
    io::stdin().read_line(&mut String::new()).unwrap();
    let large = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0; 12 << 20],
    };
    let insert = doc! { "insert": "large", "documents": [{ "large": large }] };
    let error = client.database("db").run_command(insert).unwrap_err();
    println!("{error}");
}

/// Runs a child until its end; how it ended, and how long after it said "bye".
fn run_to_the_end(words: &[&str]) -> (ExitStatus, Duration) {
    let mut child = child(words).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let bye = output.next().map(Result::unwrap);
    let begun = Instant::now();
    let status = child.wait().unwrap();
    assert_eq!(bye.as_deref(), Some("bye"), "{status}");
    (status, begun.elapsed())
}

/// Initialises OpenSSL as a C program does, so that OpenSSL cleans up at exit.
fn initialise_openssl_first() {
    // SAFETY: the call takes no argument but flags and a pointer that may be null.
    #[allow(unsafe_code)]
    let done = unsafe { sys::OPENSSL_init_ssl(0, std::ptr::null()) };
    assert_eq!(done, 1);
}

fn exit() -> ! {
    println!("bye");
    // SAFETY: ends the process and runs what was registered for its end.
    #[allow(unsafe_code)]
    unsafe {
        libc::exit(0)
    }
}

fn programs_exit_under_load() {
    let dir = PkiDir::new();
    let ca = Ca::root("root", KeyKind::EcP256);
    let file = dir.write("ca.pem", ca.cert_pem());
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let server = Server::builder().tls(tls).log_limit(0).start();
    let uri = format!(
        "{}?tls=true&tlsCAFile={}&minPoolSize=4",
        server.uri(),
        file.display()
    );
    let mut took = Duration::ZERO;
    for round in 0..EXITS {
        let (status, duration) = run_to_the_end(&["exit", &uri, &(round % 30).to_string()]);
        // Without protection about one in seven ends by SIGSEGV.
        assert_eq!(status.code(), Some(0), "round {round}: {status}");
        assert!(duration < LIMIT, "round {round}: {duration:?}");
        took += duration;
    }
    // The monitors, which wait for their servers, are not waited for.
    assert!(
        took < Duration::from_millis(500) * EXITS.try_into().unwrap(),
        "{took:?}"
    );
    println!("ok: {EXITS} programs exit under load, within {took:?} altogether");
}

/// The child: threads are in handshakes, in commands and in monitors when it exits.
fn exit_under_load(uri: &str, delay: u64) {
    initialise_openssl_first();
    let client = Client::connect(uri).unwrap();
    client
        .database("db")
        .run_command(doc! { "ping": 1 })
        .unwrap();
    let options = ConnectionString::parse(uri)
        .unwrap()
        .into_builder()
        .build()
        .unwrap();
    for _ in 0..2 {
        let client = client.clone();
        thread::spawn(move || {
            loop {
                let _ = client.database("db").run_command(doc! { "ping": 1 });
            }
        });
        let options = options.clone();
        thread::spawn(move || {
            loop {
                let client = Client::with_options(options.clone()).unwrap();
                let _ = client.database("db").run_command(doc! { "ping": 1 });
            }
        });
    }
    thread::sleep(Duration::from_millis(delay));
    exit();
}

/// A server that accepts and says nothing, for handshakes that do not end.
fn the_thread_that_exits_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    thread::spawn(move || {
        for stream in listener.incoming() {
            keep.lock().unwrap().push(stream.unwrap());
        }
    });
    let dir = PkiDir::new();
    let file = dir.write("ca.pem", Ca::root("root", KeyKind::EcP256).cert_pem());
    let (port, file) = (port.to_string(), file.display().to_string());
    let mut durations: Vec<_> = (0..5)
        .map(|_| {
            let (status, duration) = run_to_the_end(&["exit-inside", &port, &file]);
            assert_eq!(status.code(), Some(0), "{status}");
            duration
        })
        .collect();
    durations.sort();
    // The limit for those inside is a second. A busy machine may delay some of them.
    assert!(durations[2] < Duration::from_millis(800), "{durations:?}");
    println!("ok: the thread that exits is not waited for: {durations:?}");
}

/// The child: a thread waits in a handshake for ever, and the program's own stream exits in the middle of another one.
fn exit_inside(port: u16, ca_file: &str) {
    struct Exits(TcpStream);
    impl Read for Exits {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            exit()
        }
    }
    impl Write for Exits {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.write(buf)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    initialise_openssl_first();
    let options = TlsOptions::builder().ca_file(ca_file).build().unwrap();
    let context = TlsContext::new(&options).unwrap();
    let open = move || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let waiting = context.clone();
    thread::spawn(move || waiting.connect("localhost", open()).map(drop));
    thread::sleep(Duration::from_millis(100));
    let _ = context.connect("localhost", Exits(open()));
    panic!("the stream was not read");
}
