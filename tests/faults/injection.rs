//! Runs the operations under faults, and lets the judge compare each report with the store.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mongotls::{Error, Written};
use mongotls_testbench::deployment::Topology;
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::random::Random;
use mongotls_testbench::server::Backend;

use crate::judge::{Verdict, problems};
use crate::operations::{Kind, OPERATIONS, Operation};
use crate::runs_all;
use crate::scene::{Fault, Lane};

/// One run of an operation.
#[derive(Clone, Copy)]
struct Case {
    operation: &'static Operation,
    fault: Fault,
    retries: bool,
}

/// The result of many cases.
#[derive(Debug, Default)]
struct Report {
    problems: Vec<String>,
    answers: usize,
    unknown: usize,
    /// The answers of operations that are retried, with retries.
    retried: usize,
    retried_unknown: usize,
}

impl Report {
    /// Fails if a report of the driver was wrong, or if too many say nothing.
    fn expect_sound(&self, of: &str) {
        println!(
            "{of}: {} answers, {} unknown; with retries {} and {}",
            self.answers, self.unknown, self.retried, self.retried_unknown
        );
        let problems = &self.problems;
        assert!(
            problems.is_empty(),
            "{} problems:\n{}",
            problems.len(),
            problems.join("\n")
        );
        assert!(self.retried_unknown * 20 <= self.retried, "{of}");
    }
}

/// The deployments on which cases run at the same time, and what the operations return on them without a fault.
struct Bench {
    topology: Topology,
    lanes: Vec<Lane>,
    expected: HashMap<&'static str, Expected>,
}

#[derive(Debug)]
struct Expected {
    /// The result as text, or `None` for an error.
    value: Option<String>,
    /// The sizes of the messages that reply to the command that fails.
    replies: Vec<usize>,
}

impl Bench {
    fn new(topology: Topology) -> Option<Self> {
        let backend: Backend = or_skip(Secantus::shared())?.backend();
        let mut bench = Self {
            topology,
            lanes: (0..LANES).map(|_| Lane::new(topology, &backend)).collect(),
            expected: HashMap::new(),
        };
        let expected = Mutex::new(HashMap::new());
        bench.each(OPERATIONS.len(), |lane, index| {
            let operation = &OPERATIONS[index];
            let outcome = lane.run(operation, Fault::None, true);
            let value = outcome.result.as_ref().ok();
            let problems = problems(
                operation,
                &outcome,
                value.map(String::as_str),
                Error::written,
            );
            assert!(problems.is_empty(), "{}: {problems:?}", operation.name);
            let expected_here = Expected {
                value: value.cloned(),
                replies: outcome
                    .exchanges
                    .iter()
                    .filter(|exchange| exchange.name() == operation.command)
                    .map(|exchange| HEADER + exchange.reply.as_bytes().len())
                    .collect(),
            };
            expected
                .lock()
                .unwrap()
                .insert(operation.name, expected_here);
        });
        bench.expected = expected.into_inner().unwrap();
        Some(bench)
    }

    /// Does something `count` times, on all lanes at the same time.
    fn each(&self, count: usize, run: impl Fn(&Lane, usize) + Sync) {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for lane in &self.lanes {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count {
                            break;
                        }
                        run(lane, index);
                    }
                });
            }
        });
    }

    fn run(&self, cases: &[Case], verdict: Verdict) -> Report {
        let report = Mutex::new(Report::default());
        self.each(cases.len(), |lane, index| {
            let case = cases[index];
            let operation = case.operation;
            let outcome = lane.run(operation, case.fault, case.retries);
            let expected = self.expected[operation.name].value.as_deref();
            let mut found = problems(operation, &outcome, expected, verdict);
            let written = outcome.result.as_ref().err().map(verdict);
            let is_unknown = written == Some(Written::Unknown);
            if is_unknown && self.must_be_known(case) {
                found.push("the answer of the server decides".to_owned());
            }
            // The retry itself may be too slow on a busy machine.
            let is_late = outcome.result.as_ref().is_err_and(Error::is_timeout);
            let is_failed = outcome.result.is_err() && !is_late;
            if case.retries && is_repaired(case) && is_failed && expected.is_some() {
                found.push("a retry would have succeeded".to_owned());
            }
            let found = found.into_iter().map(|problem| {
                let Case { fault, retries, .. } = case;
                let name = operation.name;
                let error = outcome.result.as_ref().err().map(ToString::to_string);
                format!("{name}, {fault:?}, retries: {retries}: {problem} ({error:?})")
            });
            let mut report = report.lock().unwrap();
            report.problems.extend(found);
            report.answers += 1;
            report.unknown += usize::from(is_unknown);
            if case.retries && is_repaired(case) && !is_late {
                report.retried += 1;
                report.retried_unknown += usize::from(is_unknown);
            }
        });
        report.into_inner().unwrap()
    }

    /// Returns whether the answer of the server says what was written.
    fn must_be_known(&self, case: Case) -> bool {
        let is_router = self.topology != Topology::ReplicaSet;
        match case.fault {
            Fault::Code(_) => case.operation.kind == Kind::One && !is_router,
            Fault::Concern(_) => case.operation.kind != Kind::Other,
            _ => false,
        }
    }
}

/// Returns whether a retry repairs the fault.
fn is_repaired(case: Case) -> bool {
    let is_retried = match case.operation.kind {
        Kind::Read => !matches!(case.operation.command, "getMore" | "killCursors"),
        Kind::One | Kind::Batch => true,
        Kind::Many | Kind::Other => false,
    };
    is_retried
        && match case.fault {
            Fault::Close { times } => times == 1,
            Fault::Cut { times, .. } => times == 1,
            Fault::Block | Fault::Code(_) => true,
            _ => false,
        }
}

/// All operations with all of these faults, or a random selection of the cases.
fn cases(faults: &[Fault], selected: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for operation in OPERATIONS {
        for fault in faults {
            for retries in [true, false] {
                cases.push(Case {
                    operation,
                    fault: *fault,
                    retries,
                });
            }
        }
    }
    some(cases, selected)
}

/// A random selection of this number of elements, unless all cases run.
fn some<T>(mut all: Vec<T>, selected: usize) -> Vec<T> {
    if !runs_all() {
        let mut random = Random::default();
        while all.len() > selected {
            all.swap_remove(random.below(all.len()));
        }
    }
    all
}

/// The bytes of a message before its document: the header, the flags, and the kind of the section.
const HEADER: usize = 16 + 4 + 1;

/// The deployments at the same time. Most cases wait: for a timeout, or for a monitor that finds a server again.
const LANES: usize = 8;

const FAULTS_OF_CONNECTIONS: [Fault; 5] = [
    Fault::Close { times: 1 },
    Fault::Close { times: 2 },
    Fault::Cut {
        skip: 0,
        after: 0,
        times: 1,
    },
    Fault::Cut {
        skip: 0,
        after: 30,
        times: 2,
    },
    Fault::Block,
];

#[test]
fn what_is_reported_after_a_fault_of_a_connection_is_true() {
    let Some(bench) = Bench::new(Topology::LoadBalanced) else {
        return;
    };
    let report = bench.run(&cases(&FAULTS_OF_CONNECTIONS, 180), Error::written);
    report.expect_sound("connections");
}

#[test]
fn what_is_reported_after_a_step_down_is_true() {
    let Some(bench) = Bench::new(Topology::ReplicaSet) else {
        return;
    };
    let faults = [
        Fault::Code(10107),
        Fault::Code(11602),
        Fault::Concern(91),
        Fault::Concern(64),
        Fault::Election,
        Fault::Close { times: 1 },
    ];
    let report = bench.run(&cases(&faults, 100), Error::written);
    report.expect_sound("step-down");
}

/// Cuts each reply of a bulk at each byte.
#[test]
fn what_is_reported_after_a_cut_reply_of_a_bulk_is_true() {
    let Some(bench) = Bench::new(Topology::LoadBalanced) else {
        return;
    };
    let mut cuts = Vec::new();
    for operation in OPERATIONS
        .iter()
        .filter(|it| it.units.len() > 1 && it.kind == Kind::Batch)
    {
        for (skip, size) in bench.expected[operation.name].replies.iter().enumerate() {
            for after in 0..=*size {
                let fault = Fault::Cut {
                    skip,
                    after,
                    times: 1,
                };
                for retries in [true, false] {
                    cuts.push(Case {
                        operation,
                        fault,
                        retries,
                    });
                }
            }
        }
    }
    println!("{} bytes at which a reply can be cut", cuts.len() / 2);
    let report = bench.run(&some(cuts, 240), Error::written);
    report.expect_sound("cuts");
}

/// The harness finds each wrong rule.
#[test]
fn wrong_reports_are_found() {
    let Some(bench) = Bench::new(Topology::LoadBalanced) else {
        return;
    };
    let cases = cases(&FAULTS_OF_CONNECTIONS, 50);
    let wrong: [(&str, Verdict); 4] = [
        ("no answer is No", |error| match error.written() {
            Written::Unknown => Written::No,
            written => written,
        }),
        ("no answer is Yes", |error| match error.written() {
            Written::Unknown => Written::Yes,
            written => written,
        }),
        ("each error is Partly", |_| Written::Partly),
        ("each error is Unknown", |_| Written::Unknown),
    ];
    for (name, verdict) in wrong {
        let report = bench.run(&cases, verdict);
        assert!(!report.problems.is_empty(), "not found: {name}");
    }
}
