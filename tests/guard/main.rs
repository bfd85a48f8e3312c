//! The guard of a ping's cost: system calls, allocations and instructions, compared with those of a bare program.
//!
//! A sequential ping over TLS 1.3 on a warm client must not cost more than the numbers in `kept.rs`. The server is a
//! separate process, and so is the program under `strace` and `callgrind`: this program, started again with a word.
//!
//! `make guard` runs it as a release build. `cargo test` runs it too, without the instructions: a build with less
//! optimization has others than users get.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers"
)]

mod allocations;
mod callgrind;
#[path = "../../benches/common/mod.rs"]
mod common;
mod cost;
mod kept;
mod pings;
mod strace;
mod tool;

use std::env;
use std::process::ExitCode;

use mongotls_testbench::peers::or_skip;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Clock, Hello, Server, ServerTls};

use self::common::{ServerProcess, wait_for_the_end};
use self::cost::Cost;
use self::pings::Side;
use self::strace::SystemCalls;

/// The number of pings whose allocations are counted.
const PINGS: u32 = 1000;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => serve(),
        [tool::WORD, side, server, pings] => {
            let pings: u32 = pings.parse().unwrap();
            Side::of(side).ping(server, |ping| (0..pings).for_each(|_| ping()));
        }
        ["--list", ..] => {}
        _ => return guard(),
    }
    ExitCode::SUCCESS
}

/// Serves until standard input ends; prints the port and the path of the CA file.
fn serve() {
    let root = Ca::root("root", KeyKind::EcP256);
    let tls = ServerTls::new(&root.issue(LeafSpec::local_server()));
    let builder = Server::builder().hello(Hello::mongos()).tls(tls);
    // Each reply has a new cluster time, as those of a busy replica set.
    let builder = builder.clock(&Clock::default());
    let server = builder.log_limit(0).start();
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", root.cert_pem());
    println!("{} {}", server.port(), ca_file.display());
    wait_for_the_end();
}

fn guard() -> ExitCode {
    cost::check_the_rules();
    let server = ServerProcess::start();
    let server = server.ready.as_str();
    let system_calls = system_calls(server);
    let allocations = allocations(server);
    let instructions = instructions(server);

    let mut code = ExitCode::SUCCESS;
    let mut judge = |judgement: Result<(), String>| {
        if let Err(wrong) = judgement {
            println!("FAILED: {wrong}");
            code = ExitCode::FAILURE;
        }
    };
    let kept = kept::PING;
    if let Some((own, bare)) = system_calls {
        judge(cost::judge_system_calls(own, bare, kept.system_calls));
    }
    judge(cost::judge_allocations(allocations, kept.allocations));
    if let Some(both) = instructions {
        let kept = (kept.instructions, kept::FLOOR_INSTRUCTIONS);
        judge(cost::judge_instructions(both, kept));
    }
    if let (Some((system_calls, _)), Some((instructions, bare))) = (system_calls, instructions) {
        let now = Cost {
            system_calls,
            allocations,
            instructions,
        };
        println!("the numbers of tests/guard/kept.rs are here and now:");
        println!("{now}");
        println!("    FLOOR_INSTRUCTIONS: {bare:.1}");
    }
    code
}

/// The system calls of a ping on either side.
fn system_calls(server: &str) -> Option<(f64, f64)> {
    let own = or_skip(SystemCalls::of_a_ping(Side::Mongotls, server))?;
    let bare = or_skip(SystemCalls::of_a_ping(Side::Floor, server))?;
    println!("system calls of a ping: {own}; of a bare program: {bare}");
    Some((own.total(), bare.total()))
}

/// The allocations of a ping, except those of OpenSSL.
fn allocations(server: &str) -> f64 {
    let own = Side::Mongotls.ping(server, |ping| allocations::count(PINGS, ping));
    println!("allocations of a ping: {own:.2}");
    own
}

/// The instructions of a ping on either side.
fn instructions(server: &str) -> Option<(f64, f64)> {
    if cfg!(debug_assertions) {
        println!("instructions of a ping: not of this build; make guard counts those of a release");
        return None;
    }
    let own = or_skip(callgrind::instructions(Side::Mongotls, server))?;
    let bare = or_skip(callgrind::instructions(Side::Floor, server))?;
    println!("instructions of a ping: {own:.0}; of a bare program: {bare:.0}");
    Some((own, bare))
}
