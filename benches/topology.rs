//! The cost of an idle client of many servers: threads, memory and processor time of its monitors.
//!
//! `cargo bench --bench topology` makes a client of 1, 10 and 200 routers on TLS, waits until it knows all of them, and
//! measures this process for half a minute, in which every server is checked and timed. The servers are in a separate
//! process: this program, started again with the word `serve`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers"
)]

mod common;

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use mongotls::Client;
use mongotls::bson::doc;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Hello, Server, ServerTls};

use self::common::{ServerProcess, wait_for_the_end};

const MOST: usize = 200;

const REST: Duration = Duration::from_secs(30);

fn main() {
    if env::args().nth(1).as_deref() == Some("serve") {
        return serve();
    }
    let servers = ServerProcess::start();
    let (hosts, ca_file) = servers.ready.split_once(' ').unwrap();
    let hosts: Vec<&str> = hosts.split(',').collect();
    println!(
        "{:>8} {:>10} {:>9} {:>14} {:>18} {:>22}",
        "servers", "known in", "threads", "memory", "CPU at rest", "wake-ups, each server"
    );
    for count in [1, 10, MOST] {
        let uri = format!(
            "mongodb://{}/?tls=true&tlsCAFile={ca_file}",
            hosts[..count].join(",")
        );
        measure(count, &uri);
    }
}

fn serve() {
    let root = Ca::root("root", KeyKind::EcP256);
    let tls = ServerTls::new(&root.issue(LeafSpec::local_server()));
    let server = |_| {
        let builder = Server::builder().hello(Hello::mongos()).tls(tls.clone());
        builder.log_limit(0).start()
    };
    let servers: Vec<Server> = (0..MOST).map(server).collect();
    let hosts: Vec<String> = servers.iter().map(|it| it.addr().to_string()).collect();
    let dir = PkiDir::new();
    println!(
        "{} {}",
        hosts.join(","),
        dir.write("ca.pem", root.cert_pem()).display()
    );
    wait_for_the_end();
}

fn measure(count: usize, uri: &str) {
    // Those of the last client are ending.
    while status("Threads:") > 1 {
        thread::sleep(Duration::from_millis(10));
    }
    let (memory, threads) = (status("VmRSS:"), status("Threads:"));
    let started = Instant::now();
    let client = Client::connect(uri).unwrap();
    client
        .database("admin")
        .run_command(doc! { "ping": 1 })
        .unwrap();
    let known = || {
        let topology = client.snapshot().topology;
        topology
            .servers
            .values()
            .filter(|it| it.is_available())
            .count()
    };
    while known() < count {
        thread::sleep(Duration::from_millis(1));
    }
    let known_in = started.elapsed();
    // Until round trips are measured too.
    thread::sleep(Duration::from_secs(12));
    let (threads, memory) = (status("Threads:") - threads, status("VmRSS:") - memory);
    let before = (cpu_of_process(), wake_ups());
    thread::sleep(REST);
    let (cpu, wake_ups) = (cpu_of_process() - before.0, wake_ups() - before.1);
    #[allow(clippy::cast_precision_loss)]
    let each = wake_ups as f64 / count as f64;
    println!(
        "{count:>8} {:>7} ms {threads:>9} {:>10} KiB {:>12.2} ms/s {:>14.1} a minute",
        known_in.as_millis(),
        memory,
        cpu.as_secs_f64() * 1000.0 / REST.as_secs_f64(),
        each * 60.0 / REST.as_secs_f64()
    );
}

/// A number of /proc/self/status.
fn status(key: &str) -> i64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The number of times that a thread of this process has gone to sleep.
fn wake_ups() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let counts = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        let line = text.lines().find(|it| it.starts_with("voluntary"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    counts.sum()
}

/// The processor time of all threads of this process.
fn cpu_of_process() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let times = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}
