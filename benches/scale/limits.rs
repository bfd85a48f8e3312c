//! The limit that a growing number of connections reaches first, and the error of the program there.

use std::env;
use std::error::Error;
use std::iter;
use std::os::unix::process::CommandExt;
use std::process::{self, Command};
use std::sync::mpsc;
use std::thread;

use mongotls::Client;
use mongotls::bson::doc;

use crate::process::{backlog, free_memory, most_descriptors, ports};
use crate::rest::Each;
use crate::server::{MEET, Servers};

/// The word with which this program is started again to reach the limit.
pub(crate) const WORD: &str = "limit";

/// The needs of the program itself: a thousand connections and their servers' ends.
const NEEDED: u64 = 4096;
/// A limit that is reached quickly.
const FEW: u64 = 64;

/// Starts this program again with more descriptors, if it may have too few.
pub(crate) fn raise_descriptors() {
    if most_descriptors() < NEEDED {
        println!(
            "The limit of {} descriptors is raised to {NEEDED}.",
            most_descriptors()
        );
        let error = with_descriptors(NEEDED).args(env::args_os().skip(1)).exec();
        panic!("{error}");
    }
}

/// This program with that many descriptors.
fn with_descriptors(count: u64) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$0\" && exec \"$@\""]);
    command
        .arg(count.to_string())
        .arg(env::current_exe().unwrap());
    command
}

/// Prints the number of connections that each limit allows, the lowest one first, and reaches one of them.
pub(crate) fn print(servers: &Servers, each: &Each) {
    #[allow(clippy::cast_precision_loss)]
    let allowed = |amount: u64, each: f64| amount as f64 / each;
    let mut limits = [
        (
            format!(
                "descriptors: {} for a process (`ulimit -n`)",
                most_descriptors()
            ),
            allowed(most_descriptors(), each.descriptors),
        ),
        (
            format!("ports: {} to one server (`ip_local_port_range`)", ports()),
            allowed(ports(), 1.0),
        ),
        (
            format!("memory: {} MiB free", free_memory() / 1024),
            allowed(free_memory(), each.memory),
        ),
    ];
    limits.sort_by(|a, b| a.1.total_cmp(&b.1));
    println!();
    println!("| limit, the first one first | connections |");
    println!("|---|---|");
    let client = Client::connect(&servers.resuming).unwrap();
    let most = client.options().max_pool_size();
    println!("| `maxPoolSize`, unless it is set | {most} |");
    for (limit, connections) in limits {
        println!("| {limit} | {connections:.0} |");
    }
    println!(
        "| threads of the client | none: {:.0} for any number |",
        each.threads
    );
    println!(
        "| waiting to be accepted: {} (`somaxconn`) | none: `maxConnecting` at a time |",
        backlog()
    );
    // A thread that cannot establish a connection waits for one of another thread, for this time.
    let uri = format!(
        "{}&maxPoolSize=0&maxConnecting=8&waitQueueTimeoutMS=1000",
        servers.resuming
    );
    let output = with_descriptors(FEW).args([WORD, &uri]).output().unwrap();
    println!(
        "\nWith {FEW} descriptors: {}",
        String::from_utf8_lossy(&output.stdout).trim_end()
    );
}

/// In the process with the low limit: requests more connections at once than it may have, and prints the error of the
/// first thread that gets none.
pub(crate) fn meet(uri: &str) {
    let client = Client::connect(uri).unwrap();
    client
        .database("admin")
        .run_command(doc! { "ping": 1 })
        .unwrap();
    let (sender, errors) = mpsc::channel();
    let wanted = i32::try_from(2 * FEW).unwrap();
    for _ in 0..wanted {
        let (client, sender) = (client.clone(), sender.clone());
        thread::spawn(move || {
            let answer = client.database("admin").run_command(doc! { MEET: wanted });
            let _ = sender.send(answer.unwrap_err());
        });
    }
    let error = errors.recv().unwrap();
    let in_use: usize = client.snapshot().pools.iter().map(|it| it.in_use).sum();
    let causes = iter::successors(error.source(), |cause| (**cause).source());
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    println!("{in_use} connections, then \"{error}{causes}\"");
    // The other threads are still waiting.
    process::exit(0);
}
