//! The pool of mongotls compared with those of r2d2 and of the `mongodb` crate, in one run.
//!
//! `make bench-pool` runs it. All peers are measured in turn, round by round, and medians are printed with the minimum
//! and the maximum. The server is a separate process: this program, started again with the word `serve`. With `pools`
//! or `pings` it measures only that part; a number limits the rounds.
//!
//! The output for a run:
//! - the elapsed time for one operation of all threads together, and its ratio to that of mongotls;
//! - the wait of a thread for its connection: median, 99th percentile, maximum;
//! - the share of the threads: the operations of the thread with the fewest, as a part of those of the thread with the
//!   most; 1 is fair.
//!
//! Waits are measured in separate runs, so that clocks and listeners slow down no counted operation.

#[path = "../../../common/mod.rs"]
mod common;
mod load;
mod peers;
mod pings;
mod pools;
mod table;

use std::env;

use mongotls_testbench::server::{Hello, Server};

use self::common::{ServerProcess, wait_for_the_end};

/// The connections of each pool.
const CONNECTIONS: u32 = 8;

const ROUNDS: usize = 9;

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let is_said = |word: &str| words.iter().any(|said| said == word);
    if is_said("serve") {
        return serve();
    }
    let rounds = words.iter().find_map(|word| word.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS);
    let server = ServerProcess::start();
    let port = server.ready.parse().expect("a port");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, {rounds} rounds, {CONNECTIONS} connections");
    if !is_said("pings") {
        pools::measure(port, rounds);
    }
    if !is_said("pools") {
        pings::measure(port, rounds);
    }
}

/// Serves until standard input ends; prints the port.
fn serve() {
    // Without sessions, which the `mongodb` crate would send with each command.
    let hello = Hello {
        logical_session_timeout_minutes: None,
        ..Hello::default()
    };
    let server = Server::builder().hello(hello).log_limit(0).start();
    println!("{}", server.port());
    wait_for_the_end();
}
