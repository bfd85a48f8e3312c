//! 64 threads of commands while the server is killed and started again every second, and connections are cut at random
//! bytes of either direction, in the handshake or later.
//!
//! The client is a separate process, and so is each server, which is killed in the middle of its work. The
//! requirements:
//!
//! - every command ends with its own reply or with an error, within its limit;
//! - commands succeed again after each restart;
//! - in the end no connection is in use or being established, and no thread waits;
//! - after the client's end, its threads and its descriptors are gone.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::doc;
use mongotls::{Client, Command as MongoCommand, ErrorKind};
use mongotls_testbench::fault::Fault;
use mongotls_testbench::net::Bind;
use mongotls_testbench::pki::{Ca, Identity, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::random::Random;
use mongotls_testbench::server::{Server, ServerTls};

const THREADS: u64 = 64;
/// The limit of each command.
const LIMIT: Duration = Duration::from_secs(2);
/// The time by which a command may exceed its limit on a machine under this load.
const GRACE: Duration = Duration::from_secs(1);

pub(crate) fn soak() {
    let seconds: u64 = env::var("MONGOTLS_SOAK_SECONDS").map_or(120, |text| text.parse().unwrap());
    let dir = PkiDir::new();
    let ca = Ca::root("root", KeyKind::EcP256);
    let file = dir.write("ca.pem", ca.cert_pem());
    let identity = ca.issue(LeafSpec::local_server());
    dir.write("server.pem", identity.bundle_pem());
    // A port that the servers use one after another.
    let port = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut server = start_server(port, &dir);
    let uri = format!(
        "mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={}&maxPoolSize=16&minPoolSize=2&maxConnecting=4&maxIdleTimeMS=500",
        file.display()
    );
    let client = Command::new(env::current_exe().unwrap())
        .args(["restarts-client", &uri])
        .stdin(Stdio::piped())
        .spawn();
    let mut client = client.unwrap();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut restarts = 0;
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(900));
        end(&mut server);
        thread::sleep(Duration::from_millis(100));
        server = start_server(port, &dir);
        restarts += 1;
    }
    println!("{restarts} restarts in {seconds} s");
    drop(client.stdin.take());
    assert!(client.wait().unwrap().success(), "the client found a fault");
    end(&mut server);
}

fn start_server(port: u16, dir: &PkiDir) -> Child {
    let mut server = Command::new(env::current_exe().unwrap())
        .args([
            "restarts-server",
            &port.to_string(),
            &dir.path().display().to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    server
}

fn end(server: &mut Child) {
    server.kill().unwrap();
    server.wait().unwrap();
}

/// A server that cuts one connection in two. Ends with its input.
pub(crate) fn server(port: u16, dir: &Path) {
    let identity = Identity::from_bundle_pem(&fs::read(dir.join("server.pem")).unwrap());
    let bind = Bind::V4(port);
    let server = Server::builder()
        .tls(ServerTls::new(&identity))
        .bind(bind)
        .log_limit(0)
        .start();
    println!("ready");
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut random = Random::default();
    // Different cuts after each restart.
    for _ in 0..std::process::id() % 1000 {
        random.number();
    }
    loop {
        // The handshake takes about 1500 bytes; a reply about 100.
        let after = random.below(6000) as u64;
        match random.below(6) {
            0 => server.faults().all(Fault::reset_after(after)),
            1 => server.faults().all(Fault::close_after(after)),
            2 => server.faults().all(Fault::stall_after(after)),
            _ => server.faults().clear(),
        }
        thread::sleep(Duration::from_millis(3));
    }
}

/// The counters of the threads.
#[derive(Default)]
struct Counts {
    replies: AtomicU64,
    failures: AtomicU64,
    timeouts: AtomicU64,
    longest_micros: AtomicU64,
}

pub(crate) fn client(uri: &str) {
    let before = (threads(), descriptors());
    let counts = Counts::default();
    let over = AtomicBool::new(false);
    let client = Client::connect(uri).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (client, counts, over) = (&client, &counts, &over);
            scope.spawn(move || command_after_command(client, counts, over, thread));
        }
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        over.store(true, Ordering::Relaxed);
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} replies, {} errors of which {} time-outs; the longest command took {} ms",
        count(&counts.replies),
        count(&counts.failures),
        count(&counts.timeouts),
        count(&counts.longest_micros) / 1000,
    );
    assert!(
        count(&counts.replies) > 1000,
        "hardly anything went through"
    );
    // The background thread may be establishing a connection; everything else must be idle.
    let settles = || {
        let pool = client.snapshot().pools.remove(0);
        (pool.in_use, pool.pending, pool.waiting) == (0, 0, 0)
    };
    wait_until("the counts return to zero", settles);
    assert!(client.close(LIMIT).is_empty());
    drop(client);
    wait_until("threads and descriptors are gone", || {
        (threads(), descriptors()) == before
    });
    println!(
        "nothing is left: {} thread, {} descriptors, as before",
        before.0, before.1
    );
}

fn command_after_command(client: &Client, counts: &Counts, over: &AtomicBool, thread: u64) {
    let database = client.database("soak");
    let mut number = i64::try_from(thread).unwrap() << 40;
    while !over.load(Ordering::Relaxed) {
        number += 1;
        let started = Instant::now();
        let command = MongoCommand::from(doc! { "benchEcho": number }).timeout(LIMIT);
        let outcome = database.run_command(command);
        let took = started.elapsed();
        assert!(took < LIMIT + GRACE, "a command took {took:?}: {outcome:?}");
        let micros = u64::try_from(took.as_micros()).unwrap();
        counts.longest_micros.fetch_max(micros, Ordering::Relaxed);
        match outcome {
            Ok(reply) => {
                assert_eq!(
                    reply.get_i64("benchEcho").unwrap(),
                    number,
                    "the reply of another command"
                );
                counts.replies.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let expected = matches!(
                    error.kind(),
                    ErrorKind::Network | ErrorKind::Timeout | ErrorKind::Tls
                );
                assert!(expected, "{error:?}");
                counts.failures.fetch_add(1, Ordering::Relaxed);
                counts
                    .timeouts
                    .fetch_add(u64::from(error.is_timeout()), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(15);
    while !holds() {
        assert!(
            Instant::now() < until,
            "{what}: not so, {} threads, {} descriptors",
            threads(),
            descriptors()
        );
        thread::sleep(Duration::from_millis(10));
    }
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
