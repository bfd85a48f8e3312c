//! Limits of this host are not attributed to the server: descriptors, threads and local ports that run out, in a child
//! process with lowered limits.

mod services;

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::cause::Category;
use mongotls::error::Stage;
use mongotls::{CauseCode, Client, Error, ErrorKind};
use mongotls_testbench::server::Server;

use crate::common::{code, expect_ready, fact, ping_on};
use crate::target::{checked, dial_anew};

/// The variable that marks a process of this binary as the child, and contains the address of the server.
const URI: &str = "MONGOTLS_TEST_OF_LIMITS";

/// Runs the test of that name again in a separate process, with `uri`; returns its output.
fn in_child(test: &str, uri: &str, before: &[&str]) -> String {
    let exe = std::env::current_exe().unwrap();
    let mut command = match before {
        [] => Command::new(&exe),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(&exe);
            command
        }
    };
    let name = format!("local_limits::{test}");
    let output = command
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(URI, uri)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    text
}

/// The output of a program that returns such an error from `main`, and the server's port.
pub(crate) fn example() -> (String, u16) {
    let server = Server::builder().start();
    let uri = format!("{}?", server.uri());
    let text = in_child("the_guide_has_an_example", &uri, &[]);
    let (_, error) = text.split_once("EXAMPLE\n").unwrap();
    (error.to_owned(), server.port())
}

#[test]
#[allow(clippy::print_stdout, reason = "the parent reads it")]
fn the_guide_has_an_example() {
    let Some(uri) = uri_of_child() else {
        let (text, _) = example();
        assert!(text.contains(" [local-limit]\n  remedy: "), "{text}");
        return;
    };
    let client = Client::connect(&format!(
        "{uri}serverMonitoringMode=poll&heartbeatFrequencyMS=500"
    ))
    .unwrap();
    expect_ready(&client);
    // The monitor's connection is not available to the pool after the second check.
    thread::sleep(Duration::from_millis(1500));
    set_limit(true, 100);
    let _kept = all_descriptors();
    println!("EXAMPLE\n{:?}", ping_on(&client).unwrap_err());
}

fn uri_of_child() -> Option<String> {
    std::env::var(URI).ok()
}

/// The connection string in the child. In the parent, runs `test` in a child with a server, and returns `None`.
fn uri_or_run(test: &str) -> Option<String> {
    let uri = uri_of_child();
    if uri.is_none() {
        let server = Server::builder().start();
        in_child(test, &format!("{}?", server.uri()), &[]);
    }
    uri
}

/// Sets the soft limit of this process.
#[allow(unsafe_code)]
fn set_limit(open_files: bool, value: u64) {
    let resource = match open_files {
        true => libc::RLIMIT_NOFILE,
        false => libc::RLIMIT_NPROC,
    };
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls read or write the one structure, which is live.
    unsafe {
        assert_eq!(libc::getrlimit(resource, &raw mut limit), 0);
        limit.rlim_cur = value.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(resource, &raw const limit), 0);
    }
}

/// Opens and keeps all descriptors that this process may still have.
fn all_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// Checks the properties that every error about a limit of this host has.
fn expect_local_limit(error: &Error, kind: ErrorKind, limit: &str, value: &str) {
    assert_eq!(
        (error.kind(), code(error)),
        (kind, CauseCode::LocalLimit),
        "{error}"
    );
    assert_eq!(error.cause().unwrap().category(), Category::Configuration);
    assert_eq!(
        (fact(error, "limit"), fact(error, "value")),
        (limit.to_owned(), value.to_owned())
    );
    assert_eq!(error.labels(), [""; 0], "{error}");
}

const FILES: &str = "this process has reached its limit of open files (RLIMIT_NOFILE is 100)";

const REMEDY: &str = "Raise the limit of open files of this process (`ulimit -n`, LimitNOFILE= in a systemd unit), or look \
                      for what it keeps open (`ls -l /proc/PID/fd`). A lower maxPoolSize needs fewer.";

#[test]
fn without_descriptors_nothing_is_blamed_on_the_server() {
    let Some(uri) = uri_of_child() else {
        let server = Server::builder().start();
        let uri = format!("{}?", server.uri_for("localhost"));
        in_child(
            "without_descriptors_nothing_is_blamed_on_the_server",
            &uri,
            &[],
        );
        return;
    };
    set_limit(true, 100);
    let by_address = uri.replace("localhost", "127.0.0.1");
    let known = checked(&by_address);
    let by_name = checked(&uri);
    for client in [&known, &by_name] {
        ping_on(client).unwrap();
    }
    let new = Client::connect(&format!(
        "{by_address}&serverSelectionTimeoutMS=700&heartbeatFrequencyMS=500"
    ))
    .unwrap();
    expect_ready(&new);
    let kept = all_descriptors();

    // Each pool has one connection, which the threads share: none fails.
    for client in [&known, &by_name] {
        thread::scope(|scope| {
            let pings: Vec<_> = (0..6).map(|_| scope.spawn(|| ping_on(client))).collect();
            pings
                .into_iter()
                .for_each(|ping| drop(ping.join().unwrap().unwrap()));
        });
    }
    // A client whose pool is empty.
    let fresh = format!("{by_address}&serverSelectionTimeoutMS=700");
    let client = Client::connect(&fresh).unwrap();
    let error = ping_on(&client).unwrap_err();
    expect_local_limit(&error, ErrorKind::Timeout, "RLIMIT_NOFILE", "100");
    let at = address(&by_address);
    assert_eq!(
        error.to_string(),
        format!(
            "no server for a read by primary within 700 ms (serverSelectionTimeoutMS): no server has answered\n  \
             {at}  Unknown: connecting failed: no connection to {at}: {FILES} [local-limit]\n      remedy: {REMEDY}"
        )
    );
    let named = Client::connect(&format!("{uri}&serverSelectionTimeoutMS=700")).unwrap();
    let error = ping_on(&named).unwrap_err();
    expect_local_limit(&error, ErrorKind::Timeout, "RLIMIT_NOFILE", "100");
    assert_eq!(
        error.cause().unwrap().message(),
        format!("the host name \"localhost\" cannot be resolved: {FILES}")
    );
    // A dial of a known server.
    let error = ping_on(&new).unwrap_err();
    expect_local_limit(&error, ErrorKind::Configuration, "RLIMIT_NOFILE", "100");
    assert_eq!(error.stage(), Some(Stage::Connect));
    assert_eq!(
        error.to_string(),
        format!("server {at}: connecting failed: no connection to {at}: {FILES}")
    );
    // Files.
    let error = Client::connect("mongodb://localhost/?tls=true&tlsCAFile=/etc/hosts").unwrap_err();
    expect_local_limit(&error, ErrorKind::Configuration, "RLIMIT_NOFILE", "100");
    assert_eq!(
        error.to_string(),
        format!("tlsCAFile \"/etc/hosts\" cannot be read: {FILES}")
    );
    let error = Client::connect("mongodb://localhost/?tls=true").unwrap_err();
    expect_local_limit(&error, ErrorKind::Configuration, "RLIMIT_NOFILE", "100");
    assert_eq!(
        error.to_string(),
        format!("the trust anchors of the system cannot be read: {FILES}")
    );

    // Released descriptors are used at once, and no pool was cleared.
    drop(kept);
    let begun = Instant::now();
    for client in [&known, &by_name, &new, &client, &named] {
        ping_on(client).unwrap();
        assert_eq!(client.snapshot().pools[0].generation, 0);
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// The address of a connection string with one host.
fn address(uri: &str) -> &str {
    uri.trim_start_matches("mongodb://")
        .split('/')
        .next()
        .unwrap()
}

#[test]
fn threads_share_what_connections_there_can_be() {
    let Some(uri) = uri_or_run("threads_share_what_connections_there_can_be") else {
        return;
    };
    let client = checked(&uri);
    dial_anew(&client);
    set_limit(true, 100);
    let mut kept = all_descriptors();
    kept.truncate(kept.len() - 3);
    let (threads, rounds) = (24, 40);
    let barrier = Barrier::new(threads);
    let slowest = thread::scope(|scope| {
        let work = || {
            barrier.wait();
            let begun = Instant::now();
            for _ in 0..rounds {
                ping_on(&client).unwrap();
            }
            begun.elapsed()
        };
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().map(|it| it.join().unwrap()).max().unwrap()
    });
    assert!(slowest < Duration::from_secs(60), "{slowest:?}");
    let pool = client.snapshot().pools.remove(0);
    assert!(
        pool.generation == 0 && (1..=4).contains(&pool.available),
        "{pool:?}"
    );
}

/// The names of the threads of this process.
fn names_of_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}

#[test]
fn threads_that_cannot_be_started_are_started_later() {
    let Some(uri) = uri_or_run("threads_that_cannot_be_started_are_started_later") else {
        return;
    };
    leave_root();
    set_limit(false, 1);
    if thread::Builder::new().spawn(|| ()).is_ok() {
        crate::matrix::skipped("threads that cannot be started; the limit does not hold here");
        return;
    }
    let client =
        Client::connect(&format!("{uri}&minPoolSize=2&serverSelectionTimeoutMS=700")).unwrap();
    let error = ping_on(&client).unwrap_err();
    expect_local_limit(&error, ErrorKind::Timeout, "RLIMIT_NPROC", "1");
    let at = address(&uri);
    let begin = format!(
        "no server for a read by primary within 700 ms (serverSelectionTimeoutMS): no server has answered\n  {at}  \
         Unknown: connecting failed: the server is not monitored yet: this process cannot start another thread \
         (RLIMIT_NPROC is 1"
    );
    assert!(error.to_string().starts_with(&begin), "{error}");
    let named = Client::connect(&format!(
        "{}&directConnection=true",
        uri.replace("127.0.0.1", "localhost")
    ))
    .unwrap();
    set_limit(false, 10_000);
    // A command that is already waiting.
    let begun = Instant::now();
    ping_on(&client).unwrap();
    ping_on(&named).unwrap();
    let wanted = ["mongotls-monito", "mongotls-pool"];
    while !wanted
        .iter()
        .all(|name| names_of_threads().iter().any(|it| it == name))
    {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            names_of_threads()
        );
        thread::sleep(Duration::from_millis(10));
    }
    // The resolver's thread, for a known server.
    let idle = checked(&format!(
        "{}&appName=idle",
        uri.replace("127.0.0.1", "localhost")
    ));
    dial_anew(&idle);
    set_limit(false, 1);
    let error = ping_on(&idle).unwrap_err();
    set_limit(false, 10_000);
    expect_local_limit(&error, ErrorKind::Configuration, "RLIMIT_NPROC", "1");
    assert_eq!(error.stage(), Some(Stage::Resolve));
    let begin = "the host name \"localhost\" cannot be resolved: this process cannot start another thread \
                 (RLIMIT_NPROC is 1";
    assert!(
        error.cause().unwrap().message().starts_with(begin),
        "{error}"
    );
    assert_eq!(idle.snapshot().pools[0].generation, 0);
    ping_on(&idle).unwrap();
}

/// The threads that a client needs besides those of its servers and pools.
#[cfg(feature = "srv")]
#[test]
fn client_threads_that_cannot_start_are_started_later() {
    use mongotls::ConnectionString;
    use mongotls::options::TlsOptions;
    use mongotls_testbench::dns::{DnsServer, Zone};
    use mongotls_testbench::server::Hello;

    let test = "client_threads_that_cannot_start_are_started_later";
    let Some(dns) = uri_of_child() else {
        let server = Server::builder().hello(Hello::mongos()).start();
        let zone = format!("_mongodb._tcp.db.0.0.1. SRV {} 127.0.0.1.", server.port());
        let dns = DnsServer::start(Zone::parse(&zone));
        in_child(test, &dns.addr().to_string(), &[]);
        return;
    };
    // A name that no connection string may contain; see `srv.rs`.
    let uri = ConnectionString::parse("mongodb+srv://db.example.org/?tls=false").unwrap();
    let polls = uri
        .into_builder()
        .dns_server(dns.parse::<std::net::SocketAddr>().unwrap());
    let mut polls = polls.build().unwrap();
    mongotls::internals::set_srv_host(&mut polls, "db.0.0.1");
    let uri = ConnectionString::parse("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500");
    let tls = TlsOptions::builder().watch_files(Duration::from_secs(3600));
    let tls = tls.build().unwrap();
    let watches = uri.unwrap().into_builder().tls(tls).build().unwrap();
    leave_root();
    set_limit(false, 1);
    if thread::Builder::new().spawn(|| ()).is_ok() {
        crate::matrix::skipped("threads that cannot be started; the limit does not hold here");
        return;
    }
    let polls = Client::with_options(polls).unwrap();
    let watches = Client::with_options(watches).unwrap();
    let wanted = ["mongotls-srv", "mongotls-watch"];
    let runs = |name: &&str| names_of_threads().iter().any(|it| it == name);
    assert!(!wanted.iter().any(runs), "{:?}", names_of_threads());
    set_limit(false, 10_000);
    ping_on(&polls).unwrap();
    ping_on(&watches).unwrap_err();
    let begun = Instant::now();
    while !wanted.iter().all(runs) {
        let names = names_of_threads();
        assert!(begun.elapsed() < Duration::from_secs(20), "{names:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Changes to a user without other processes: the limit of threads does not apply to root.
#[allow(unsafe_code)]
fn leave_root() {
    // SAFETY: the calls take only numbers.
    unsafe {
        if libc::geteuid() == 0 {
            assert_eq!(libc::setuid(61_000 + std::process::id() % 4000), 0);
        }
    }
}

/// Panics in the first messages about heartbeats that a thread of the client logs.
struct Panicking(AtomicUsize);

impl log::Log for Panicking {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let is_ours = thread::current().name().is_none();
        if is_ours && record.args().to_string().contains("Heartbeat") {
            assert!(
                self.0.fetch_add(1, Ordering::SeqCst) >= 3,
                "a panic of the test"
            );
        }
    }

    fn flush(&self) {}
}

static LOGGER: Panicking = Panicking(AtomicUsize::new(0));

#[test]
fn a_panic_does_not_end_monitoring() {
    let Some(uri) = uri_or_run("a_panic_does_not_end_monitoring") else {
        return;
    };
    log::set_logger(&LOGGER).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let client = Client::connect(&format!(
        "{uri}&serverMonitoringMode=poll&heartbeatFrequencyMS=500"
    ))
    .unwrap();
    ping_on(&client).unwrap();
    let begun = Instant::now();
    while LOGGER.0.load(Ordering::SeqCst) < 8 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(10));
    }
    ping_on(&client).unwrap();
}

#[test]
fn without_local_ports_the_range_is_named() {
    const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    if uri_of_child().is_none() {
        // The range belongs to a separate network namespace.
        let script = format!("ip link set lo up && echo 61000 61003 > {RANGE} && exec \"$@\"");
        let place = ["unshare", "--net", "sh", "-c", &script, "sh"];
        let can = Command::new(place[0])
            .args(&place[1..])
            .arg("true")
            .status();
        if !can.is_ok_and(|status| status.success()) {
            crate::matrix::skipped("local ports; they need unshare --net");
            return;
        }
        in_child("without_local_ports_the_range_is_named", "none", &place);
        return;
    }
    let server = Server::builder().start();
    let client = checked(&format!("{}?", server.uri()));
    let connect = || TcpStream::connect(server.addr());
    let mut kept = Vec::new();
    let error = loop {
        match connect() {
            Ok(stream) => kept.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    dial_anew(&client);
    let error = ping_on(&client).unwrap_err();
    expect_local_limit(
        &error,
        ErrorKind::Configuration,
        "net.ipv4.ip_local_port_range",
        "61000 61003",
    );
    let at = server.addr();
    assert_eq!(
        error.to_string(),
        format!(
            "server {at}: connecting failed: no connection to {at}: this host has no local port left for connections to \
             this address (net.ipv4.ip_local_port_range is 61000 61003)"
        )
    );
    assert_eq!(client.snapshot().pools[0].generation, 0);
    // A host without an IPv6 address is a different error.
    let nobody = Client::connect("mongodb://[2001:db8::1]/?serverSelectionTimeoutMS=700").unwrap();
    assert_eq!(
        code(&ping_on(&nobody).unwrap_err()),
        CauseCode::NetworkUnreachable
    );
}
