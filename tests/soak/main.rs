//! Long runs under load: `make soak`, or one of them with its name as an argument.
//!
//! - `reloads`: every file of TLS is replaced repeatedly, `MONGOTLS_SOAK_ROUNDS` times (20);
//! - `restarts`: the server is killed every second and connections are cut, for `MONGOTLS_SOAK_SECONDS` (120).
//!
//! Clients and servers are separate processes: this program, started again with another word.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers"
)]

mod reloads;
mod restarts;

use std::env;

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["reloads-client", uri] => reloads::client(uri),
        ["restarts-client", uri] => restarts::client(uri),
        ["restarts-server", port, dir] => restarts::server(port.parse().unwrap(), dir.as_ref()),
        ["reloads"] => reloads::soak(),
        ["restarts"] => restarts::soak(),
        _ => {
            reloads::soak();
            restarts::soak();
        }
    }
}
