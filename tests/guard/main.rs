//! The guard of an operation's cost: system calls, allocations and instructions, compared with those of a bare program.
//!
//! A sequential ping, `insert_one` and `find_one` over TLS 1.3 on a warm client must not cost more than the numbers in
//! `kept.rs`. The server is a separate process, and so is the program under `strace` and `callgrind`: this program,
//! started again with a word.
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
mod operations;
mod strace;
mod tool;

use std::env;
use std::process::ExitCode;

use mongotls_testbench::peers::or_skip;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Clock, Hello, Server, ServerTls};

use self::common::{ServerProcess, wait_for_the_end};
use self::cost::Cost;
use self::kept::Kept;
use self::operations::{Operation, Side, Subject};
use self::strace::SystemCalls;

/// The number of operations whose allocations are counted.
const OPERATIONS: u32 = 1000;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => serve(),
        [tool::WORD, side, operation, server, times] => {
            let times: u32 = times.parse().unwrap();
            let subject = Subject::of([side, operation]);
            subject.run(server, |run| (0..times).for_each(|_| run()));
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
    let mut builder = Server::builder().hello(Hello::mongos()).tls(tls);
    for command in ["insert", "find", "commitTransaction"] {
        builder = builder.handle(command, |_| Some(Operation::reply(command)));
    }
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
    let mut wrong = Vec::new();
    let mut renewed = String::new();
    for kept in &kept::ALL {
        let (problems, now) = check(kept, &server.ready);
        wrong.extend(problems);
        renewed.extend(now);
    }
    wrong.extend(check_transaction(&server.ready));
    for wrong in &wrong {
        println!("FAILED: {wrong}");
    }
    if !renewed.is_empty() {
        println!("the numbers of tests/guard/kept.rs are here and now:{renewed}");
    }
    match wrong.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Measures an operation. Returns the problems, and the current numbers if all three were measured.
fn check(kept: &Kept, server: &str) -> (Vec<String>, Option<String>) {
    let (operation, name) = (kept.operation, kept.operation.name());
    let system_calls = system_calls(operation, server);
    let allocations = allocations(operation, server);
    let instructions = instructions(operation, server);
    let mut judgements = vec![cost::judge_allocations(
        name,
        allocations,
        kept.cost.allocations,
    )];
    if let Some((raw, limit)) = kept.above_raw {
        let raw = self::allocations(raw, server);
        judgements.push(cost::judge_above_raw(name, allocations, raw, limit));
    }
    if let Some((own, bare)) = system_calls {
        let kept = kept.cost.system_calls;
        judgements.push(cost::judge_system_calls(name, own, bare, kept));
    }
    if let Some(both) = instructions {
        let kept = (kept.cost.instructions, kept.floor_instructions);
        judgements.push(cost::judge_instructions(name, both, kept));
    }
    let problems = judgements.into_iter().filter_map(Result::err).collect();
    let (Some((system_calls, _)), Some((instructions, bare))) = (system_calls, instructions) else {
        return (problems, None);
    };
    let now = Cost {
        system_calls,
        allocations,
        instructions,
    };
    let now = format!("\n{operation:?}\n{now}\n    floor_instructions: {bare:.1},");
    (problems, Some(now))
}

/// Measures a transaction with two commands. It must cost what its commands cost, and the commit. Returns the problems.
fn check_transaction(server: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let operation = Operation::Transaction;
    let subject = Subject {
        operation,
        side: Side::Mongotls,
    };
    if let Some(own) = or_skip(SystemCalls::of(subject, server)) {
        println!("system calls of {}: {own}", operation.name());
        if own.total() > kept::SYSTEM_CALLS_OF_TRANSACTION + 0.05 {
            problems.push(format!("system calls of a transaction: {own}"));
        }
    }
    let of = |operation| allocations(operation, server);
    let commands = of(Operation::InsertOne) + of(Operation::FindOne);
    let more = of(operation) - commands;
    if more > kept::ALLOCATIONS_OF_TRANSACTION + 0.05 {
        problems.push(format!(
            "a transaction makes {more:.2} allocations more than its commands"
        ));
    }
    problems
}

/// The system calls of an operation on either side.
fn system_calls(operation: Operation, server: &str) -> Option<(f64, f64)> {
    let of = |side| or_skip(SystemCalls::of(Subject { operation, side }, server));
    let (own, bare) = (of(Side::Mongotls)?, of(Side::Floor)?);
    let name = operation.name();
    println!("system calls of {name}: {own}; of a bare program: {bare}");
    Some((own.total(), bare.total()))
}

/// The allocations of an operation, except those of OpenSSL.
fn allocations(operation: Operation, server: &str) -> f64 {
    let side = Side::Mongotls;
    let subject = Subject { operation, side };
    let own = subject.run(server, |run| allocations::count(OPERATIONS, run));
    println!("allocations of {}: {own:.2}", operation.name());
    own
}

/// The instructions of an operation on either side.
fn instructions(operation: Operation, server: &str) -> Option<(f64, f64)> {
    let name = operation.name();
    if cfg!(debug_assertions) {
        println!("instructions of {name}: not of this build; make guard counts those of a release");
        return None;
    }
    let of = |side| or_skip(callgrind::instructions(Subject { operation, side }, server));
    let (own, bare) = (of(Side::Mongotls)?, of(Side::Floor)?);
    println!("instructions of {name}: {own:.0}; of a bare program: {bare:.0}");
    Some((own, bare))
}
