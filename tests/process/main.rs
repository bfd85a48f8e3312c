//! Tests of processes that are not plain Rust programs: their own handling of `SIGPIPE`, and an exit while threads are
//! inside OpenSSL as it cleans up.
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
#[cfg(feature = "srv")]
use std::net::UdpSocket;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
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
use mongotls_testbench::pki::{Ca, Identity, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Hello, Server, ServerTls};
use mongotls_testbench::socks5::Socks5Proxy;
use openssl_sys as sys;
use socket2::SockRef;

/// The number of short programs that exit.
const EXITS: usize = 60;
/// The time limit of each of them, from its call of `exit` on. OpenSSL's clean-up waits for one second at most.
const LIMIT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sigpipe", uri] => write_after_the_end(uri),
        #[cfg(feature = "srv")]
        ["sigpipe-dns", dns] => ask_for_hosts(dns.parse().unwrap()),
        ["sigpipe-attempt", uri] => attempt_to_connect(uri),
        ["exit", uri, delay] => exit_under_load(uri, delay.parse().unwrap()),
        ["exit-inside", port, ca_file] => exit_inside(port.parse().unwrap(), ca_file),
        ["--list"] => {}
        _ => {
            a_peer_that_is_gone_does_not_end_the_process();
            a_proxy_a_responder_or_a_name_server_that_is_gone_does_not_end_the_process();
            programs_exit_under_load();
            the_thread_that_exits_is_not_waited_for();
        }
    }
    ExitCode::SUCCESS
}

/// A router behind a load balancer: its client has no monitor that would notice an end first.
fn server(tls: Option<&Identity>, bind: Bind) -> Server {
    let mut hello = Hello::mongos();
    hello.extra = doc! { "serviceId": ObjectId::new() };
    let builder = Server::builder().hello(hello).bind(bind);
    match tls {
        Some(identity) => builder.tls(ServerTls::new(identity)),
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
    let identity = ca.issue(LeafSpec::local_server());
    let socket = dir.path().join("mongodb.sock");
    let proxy = Socks5Proxy::builder().start();
    let by_proxy = format!("&{}", proxy.options());
    let cases = [
        ("plain", None, Bind::default(), ""),
        ("TLS", Some(&identity), Bind::default(), ""),
        ("a Unix socket", None, Bind::Unix(socket), ""),
        ("by SOCKS5", None, Bind::default(), &by_proxy),
    ];
    for (name, tls, bind, options) in cases {
        let server = server(tls, bind);
        let mut uri = format!("{}?loadBalanced=true{options}", server.uri());
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
    restore_sigpipe();
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

/// Restores the default of `SIGPIPE`, as in a C program.
fn restore_sigpipe() {
    // SAFETY: no other thread has been started.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Ends a connection so that the client's next write fails with `EPIPE`: an end, and then a reset.
fn end_and_reset(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let socket = SockRef::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

/// A listener that sends `answer` after this number of bytes, and then ends each connection.
fn gone_after(expected: usize, answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if stream.read_exact(&mut vec![0; expected]).is_ok() {
                let _ = stream.write_all(answer);
            }
            end_and_reset(&stream);
        }
    });
    addr
}

/// Each of these peers ends the connection before the client's first or next write to it. The child runs on the
/// processor of this thread and yields to it, so that the end comes first; the child counts the attempts in which it
/// did.
fn a_proxy_a_responder_or_a_name_server_that_is_gone_does_not_end_the_process() {
    let pinned = Pinned::here();
    let dir = PkiDir::new();
    let ca = Ca::root("root", KeyKind::EcP256);
    let file = dir.write("ca.pem", ca.cert_pem());

    // SOCKS5: after the choice of no authentication, the request for a connection is written.
    let proxy = gone_after(3, &[5, 0]);
    let uri = format!(
        "mongodb://127.0.0.1:1/?loadBalanced=true&proxyHost=127.0.0.1&proxyPort={}",
        proxy.port()
    );
    pinned.outlives("a SOCKS5 proxy", &["sigpipe-attempt", &uri]);

    // HTTP: the request to an OCSP responder.
    let responder = gone_after(0, &[]);
    let leaf = LeafSpec::local_server().ocsp_url(&format!("http://{responder}/"));
    let server = server(Some(&ca.issue(leaf)), Bind::default());
    let uri = format!(
        "{}?loadBalanced=true&tls=true&tlsCAFile={}",
        server.uri(),
        file.display()
    );
    pinned.outlives("an OCSP responder", &["sigpipe-attempt", &uri]);

    // DNS: a truncated answer by UDP leads to TCP.
    #[cfg(feature = "srv")]
    pinned.outlives(
        "a name server",
        &["sigpipe-dns", &truncating_name_server().to_string()],
    );
}

/// The processors that this program may use while peer and child share one of them.
struct Pinned(libc::cpu_set_t);

impl Pinned {
    /// Pins this thread, and all that are started from now on, to one processor.
    #[allow(unsafe_code)]
    fn here() -> Self {
        // SAFETY: the sets are plain data of the given size, for the calling thread.
        unsafe {
            let mut all = std::mem::zeroed();
            assert_eq!(libc::sched_getaffinity(0, size_of_val(&all), &mut all), 0);
            let first = (0..1024).find(|cpu| libc::CPU_ISSET(*cpu, &all)).unwrap();
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(first, &mut one);
            assert_eq!(libc::sched_setaffinity(0, size_of_val(&one), &one), 0);
            Self(all)
        }
    }

    /// Runs a child that succeeds and prints the number of its attempts that met the end.
    fn outlives(&self, name: &str, words: &[&str]) {
        let output = child(words).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name}: {}: {told}",
            output.status
        );
        let broken: usize = told.trim().parse().unwrap();
        assert!(broken > 0, "{name}: no attempt met the end");
        println!("ok: the child outlives {name} that is gone, in {broken} of {ATTEMPTS} attempts");
    }
}

impl Drop for Pinned {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: as in `here`.
        unsafe {
            libc::sched_setaffinity(0, size_of_val(&self.0), &self.0);
        }
    }
}

/// A name server whose answers by UDP are marked as truncated, and which ends each connection.
#[cfg(feature = "srv")]
fn truncating_name_server() -> SocketAddr {
    // A port that UDP gets may be in use for TCP.
    let (udp, tcp) = std::iter::repeat_with(|| {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind(udp.local_addr().unwrap()).ok()?;
        Some((udp, tcp))
    })
    .take(50)
    .flatten()
    .next()
    .expect("a port that is free for UDP and TCP");
    let addr = udp.local_addr().unwrap();
    thread::spawn(move || {
        let mut query = [0; 2048];
        while let Ok((length, from)) = udp.recv_from(&mut query) {
            // A response that is truncated, with the question of the query.
            query[2] |= 0x80 | 2;
            let _ = udp.send_to(&query[..length], from);
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming() {
            end_and_reset(&stream.unwrap());
        }
    });
    addr
}

/// The maximum number of attempts of a child until a write has met the end.
const ATTEMPTS: usize = 20;

/// Lets every other thread of its processor go first.
#[allow(unsafe_code)]
fn yield_to_all() {
    // SAFETY: the parameter is plain data, for the calling thread; threads that it starts inherit it.
    unsafe {
        let parameter: libc::sched_param = std::mem::zeroed();
        assert_eq!(libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameter), 0);
    }
}

/// The child: looks up the hosts of an SRV record repeatedly.
#[cfg(feature = "srv")]
fn ask_for_hosts(dns: SocketAddr) {
    count_broken_pipes(|| {
        let uri = "mongodb+srv://db.example.org/?connectTimeoutMS=500";
        let builder = ConnectionString::parse(uri).unwrap().into_builder();
        let options = builder.dns_server(dns).build().unwrap();
        Client::with_options(options).unwrap_err().to_string()
    });
}

/// The child: connects repeatedly, on its own thread, because a client of a load balancer has no monitors.
fn attempt_to_connect(uri: &str) {
    count_broken_pipes(|| {
        let client = Client::connect(uri).unwrap();
        match client.server_report() {
            Ok(report) => format!("{:?}", report.handshake.unwrap().revocation()),
            Err(error) => error.to_string(),
        }
    });
}

fn count_broken_pipes(attempt: impl Fn() -> String) {
    restore_sigpipe();
    yield_to_all();
    let outcomes = (0..ATTEMPTS).map(|_| attempt());
    // A proxy's end is reported in other words than the system's.
    let is_broken = |outcome: &String| {
        let outcome = outcome.to_lowercase();
        outcome.contains("broken pipe") || outcome.contains("closed the connection before")
    };
    println!("{}", outcomes.filter(is_broken).count());
}

/// Runs a child until its end; returns its exit status, and the time since it printed "bye".
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
    // The exit does not wait for the monitors, which wait for their servers.
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

/// A server that accepts and sends nothing, for handshakes that do not end.
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
    // The limit for threads inside OpenSSL is a second. A busy machine may delay some of them.
    assert!(durations[2] < Duration::from_millis(800), "{durations:?}");
    println!("ok: the thread that exits is not waited for: {durations:?}");
}

/// The child: a thread waits in a handshake without end, and the program's own stream exits in the middle of another
/// one.
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
