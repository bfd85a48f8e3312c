//! What connections and threads cost as they grow, and which limit is met first.
//!
//! `cargo bench --bench scale` prints tables: how fast 1 to 1000 connections are established, what they cost while nobody
//! uses them, and what 1 to 256 threads get done. The server is a process of its own on the same processors: this program,
//! started again with the word `serve`. How much of the processors' time was the server's stands beside what it limits.

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

/// How many connections.
const CONNECTIONS: [u32; 4] = [1, 10, 100, 1000];

/// How many threads.
const THREADS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// How many connections the most threads share.
const FEW: [usize; 3] = [2, 8, 32];

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => server::serve(),
        [rest::WORD, count, uri] => rest::look(count.parse().unwrap(), uri),
        [limits::WORD, uri] => limits::meet(uri),
        _ => measure(),
    }
}

fn measure() {
    limits::raise_descriptors();
    let servers = Servers::start();
    println!("{} processors\n", available_parallelism().unwrap());
    handshakes::print(&servers, &CONNECTIONS);
    println!();
    let each = rest::print(&servers, &CONNECTIONS);
    println!();
    let own = THREADS.map(|threads| (threads, threads));
    let shared = FEW.map(|connections| (THREADS[THREADS.len() - 1], connections));
    threads::print(&servers, &[&own[..], &shared].concat());
    println!();
    limits::print(&servers, &each);
}
