//! The cost of an idle client: memory, threads, descriptors, and the processor time of its maintenance.
//!
//! Each row is a separate process, this program started again, so that it has no memory of an earlier row.

use std::env;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use mongotls::Client;

use crate::process::{cpu_of_threads, descriptors, status};
use crate::server::Servers;
use crate::threads::wait_for_connections;

/// The duration of the measurement.
const REST: Duration = Duration::from_secs(20);
/// Long enough that no connection is unused for too long meanwhile.
const KEPT: u32 = 120_000;
/// Short enough that each is replaced meanwhile, twice.
const REPLACED: u32 = 10_000;

/// The word with which this program is started again.
pub(crate) const WORD: &str = "rest";

/// The cost of one of many connections.
pub(crate) struct Each {
    /// KiB.
    pub(crate) memory: f64,
    pub(crate) descriptors: f64,
    /// The number of threads of the whole client.
    pub(crate) threads: f64,
}

/// Prints a row for each number of connections; returns the cost of one in the last row.
pub(crate) fn print(servers: &Servers, counts: &[u32]) -> Each {
    println!();
    println!(
        "| connections | made in the background in | memory, each | threads | descriptors | CPU, kept | CPU, replaced every 10 s |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut each = Each {
        memory: 0.0,
        descriptors: 0.0,
        threads: 0.0,
    };
    for &count in counts {
        let uri = &servers.resuming;
        let [filled, memory, threads, files, kept] = in_a_process(uri, count, KEPT);
        let [.., replaced] = in_a_process(uri, count, REPLACED);
        each = Each {
            memory: memory / f64::from(count),
            descriptors: files / f64::from(count),
            threads,
        };
        println!(
            "| {count} | {filled:.0} ms | {:.1} KiB | {threads:.0} | {files:.0} | {kept:.2} ms/s | {replaced:.2} ms/s |",
            each.memory
        );
    }
    each
}

fn in_a_process(uri: &str, count: u32, idle: u32) -> [f64; 5] {
    let output = Command::new(env::current_exe().unwrap())
        .args([WORD, &count.to_string()])
        .arg(format!(
            "{uri}&minPoolSize={count}&maxPoolSize={count}&maxIdleTimeMS={idle}"
        ))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(|it| it.parse().unwrap())
        .collect();
    numbers.try_into().unwrap()
}

/// In the process of a row: prints the milliseconds until all connections exist, their memory in KiB, the client's
/// threads, its descriptors, and the milliseconds of processor time per second while idle.
pub(crate) fn look(count: usize, uri: &str) {
    // One-time costs are not included: another client has existed before.
    drop(warm(uri));
    while status("Threads:") > 1 {
        thread::sleep(Duration::from_millis(10));
    }
    let (memory, files) = (status("VmRSS:"), descriptors());
    let started = Instant::now();
    let client = Client::connect(uri).unwrap();
    wait_for_connections(&client, count);
    let filled = started.elapsed();
    // Until round trips are measured too, and before any connection is replaced.
    thread::sleep(Duration::from_secs(5));
    let (memory, files) = (status("VmRSS:") - memory, descriptors() - files);
    let threads = status("Threads:") - 1;
    let before = cpu_of_threads();
    thread::sleep(REST);
    let cpu = (cpu_of_threads() - before).as_secs_f64() * 1000.0 / REST.as_secs_f64();
    println!(
        "{} {memory} {threads} {files} {cpu}",
        filled.as_secs_f64() * 1000.0
    );
}

/// A client with one connection.
fn warm(uri: &str) -> Client {
    let client = Client::connect(uri).unwrap();
    wait_for_connections(&client, 1);
    client
}
