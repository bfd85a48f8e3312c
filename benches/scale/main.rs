//! The cost of connections and threads as their number grows, and the limit that is reached first.
//!
//! `cargo bench --bench scale` prints tables: the rate at which 1 to 1000 connections are established, their cost while
//! they are idle, and the work of 1 to 256 threads. The server is a separate process on the same processors: this
//! program, started again with the word `serve`. The server's share of the processor time is printed beside the results
//! that it limits.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers"
)]

#[path = "../common/mod.rs"]
mod common;
mod handshakes;
mod limits;
mod process;
mod rest;
mod server;
mod threads;

use std::env;
use std::thread::available_parallelism;

use self::server::Servers;

/// The numbers of connections.
const CONNECTIONS: [u32; 4] = [1, 10, 100, 1000];

/// The numbers of threads.
const THREADS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// The numbers of connections that the most threads share.
const FEW: [usize; 3] = [2, 8, 32];

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => server::serve(),
        [rest::WORD, count, uri] => rest::look(count.parse().unwrap(), uri),
        [limits::WORD, uri] => limits::meet(uri),
        // cargo adds `--bench`.
        tables => measure(tables.iter().filter(|word| **word != "--bench").copied()),
    }
}

/// Prints the tables of these names, or all tables.
fn measure<'a>(tables: impl Iterator<Item = &'a str>) {
    let tables: Vec<&str> = tables.collect();
    for table in &tables {
        assert!(TABLES.contains(table), "no table {table}: {TABLES:?}");
    }
    let is_wanted = |table: &str| tables.is_empty() || tables.contains(&table);
    limits::raise_descriptors();
    let servers = Servers::start();
    println!("{} processors", available_parallelism().unwrap());
    if is_wanted("handshakes") {
        handshakes::print(&servers, &CONNECTIONS);
    }
    let each =
        (is_wanted("rest") || is_wanted("limits")).then(|| rest::print(&servers, &CONNECTIONS));
    if is_wanted("threads") {
        let own = THREADS.map(|threads| (threads, threads));
        let shared = FEW.map(|connections| (THREADS[THREADS.len() - 1], connections));
        threads::print(&servers, &[&own[..], &shared].concat());
    }
    if let Some(each) = each.filter(|_| is_wanted("limits")) {
        limits::print(&servers, &each);
    }
}

/// The names of the tables.
const TABLES: [&str; 4] = ["handshakes", "rest", "threads", "limits"];
