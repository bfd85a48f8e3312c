//! The measurements.

use kit::documents::WRITTEN;

use crate::cores::Cores;
use crate::peers::{FLOOR, Peer, Worker};
use crate::server::{Server, closed_port};
use crate::table::{self, Row, Title, Unit};

/// One measurement of the workers.
pub(crate) struct Case {
    /// The word that selects it, together with others.
    pub(crate) workload: &'static str,
    title: &'static str,
    /// True if the worker and the server run on one core.
    pinned: bool,
    /// Sent to each new worker.
    prepare: &'static [&'static str],
    /// Sent in each round. `PORT` is a port without a listener, and `CA` the path of the CA file.
    ask: &'static str,
    /// The number of operations in that.
    operations: f64,
    /// True if each round has a new worker: for operations that need one, and for results that depend on how the system
    /// treats an older connection.
    anew: bool,
    /// True if one round is enough, because other processes do not affect the result.
    once: bool,
    /// True if the CPU time of the server for the floor is shown too: the server must not be the limit there.
    with_server: bool,
    figures: &'static [Figure],
}

/// A number of the reply that is shown.
struct Figure {
    /// The suffix of the title.
    title: &'static str,
    /// The index of the number.
    at: usize,
    /// True if it is one number for all operations of a round together.
    of_all: bool,
    unit: Unit,
    /// The goal of mongotls: a ratio to the floor, unless stated otherwise.
    reach: &'static str,
}

const fn cpu(reach: &'static str) -> Figure {
    Figure {
        title: ", CPU",
        at: 0,
        of_all: true,
        unit: Unit::Nanoseconds,
        reach,
    }
}

const fn wall(reach: &'static str) -> Figure {
    Figure {
        title: ", time",
        at: 1,
        ..cpu(reach)
    }
}

const fn p99(reach: &'static str) -> Figure {
    Figure {
        title: ", 99th percentile",
        at: 2,
        of_all: false,
        ..cpu(reach)
    }
}

const PINNED: Case = Case {
    workload: "",
    title: "",
    pinned: true,
    prepare: &["open"],
    ask: "",
    operations: 1.0,
    anew: false,
    once: false,
    with_server: false,
    figures: &[],
};

const PER_DOCUMENT: f64 = WRITTEN as f64;

pub(crate) const CASES: &[Case] = &[
    Case {
        workload: "ping",
        title: "ping",
        ask: "ping 2000",
        operations: 2000.0,
        figures: &[cpu("0.95")],
        with_server: true,
        ..PINNED
    },
    Case {
        workload: "ping",
        title: "ping",
        pinned: false,
        ask: "ping 2000",
        operations: 2000.0,
        figures: &[cpu(""), wall("")],
        ..PINNED
    },
    Case {
        workload: "threads",
        title: "8 threads, 8 connections",
        pinned: false,
        prepare: &[],
        ask: "threads 8 8 1000",
        operations: 8000.0,
        figures: &[wall("1.1"), p99("")],
        ..PINNED
    },
    Case {
        workload: "threads",
        title: "8 threads, 2 connections",
        pinned: false,
        prepare: &[],
        ask: "threads 8 2 1000",
        operations: 8000.0,
        figures: &[wall("1.2"), p99("⅓ libmongoc")],
        ..PINNED
    },
    Case {
        workload: "connect",
        title: "new client, ping",
        prepare: &[],
        ask: "connect 10",
        operations: 10.0,
        figures: &[cpu("1.15")],
        ..PINNED
    },
    Case {
        workload: "connect",
        title: "… another client has a session",
        prepare: &["open"],
        ask: "connect 10",
        operations: 10.0,
        figures: &[cpu("0.75")],
        ..PINNED
    },
    Case {
        workload: "connect",
        title: "new client, ping, no monitors",
        prepare: &[],
        ask: "connect 10 &loadBalanced=true",
        operations: 10.0,
        figures: &[cpu("1.15")],
        ..PINNED
    },
    Case {
        workload: "connect",
        title: "… another client has a session",
        prepare: &["open &loadBalanced=true"],
        ask: "connect 10 &loadBalanced=true",
        operations: 10.0,
        figures: &[cpu("0.75")],
        ..PINNED
    },
    Case {
        workload: "fresh",
        title: "new connection of a warm client, ping",
        prepare: &[],
        ask: "fresh 20",
        operations: 20.0,
        figures: &[cpu("0.72")],
        ..PINNED
    },
    Case {
        workload: "cursor",
        anew: true,
        title: "a document of a cursor, raw",
        ask: "read raw",
        operations: PER_DOCUMENT,
        figures: &[cpu("1.15")],
        ..PINNED
    },
    Case {
        workload: "cursor",
        anew: true,
        title: "a document of a cursor, borrowed struct",
        ask: "read borrowed",
        operations: PER_DOCUMENT,
        figures: &[cpu("2.6")],
        ..PINNED
    },
    Case {
        workload: "cursor",
        anew: true,
        title: "a document of a cursor, owned struct",
        ask: "read struct",
        operations: PER_DOCUMENT,
        figures: &[cpu("2.8")],
        ..PINNED
    },
    Case {
        workload: "cursor",
        anew: true,
        title: "a document of a cursor, Document",
        ask: "read document",
        operations: PER_DOCUMENT,
        figures: &[cpu("4")],
        ..PINNED
    },
    Case {
        workload: "insert",
        anew: true,
        title: "a document inserted",
        ask: "write",
        operations: PER_DOCUMENT,
        figures: &[cpu("1.5")],
        ..PINNED
    },
    Case {
        workload: "insert_one",
        title: "insert_one of a struct",
        ask: "insert_one 2000",
        operations: 2000.0,
        figures: &[cpu("")],
        anew: true,
        ..PINNED
    },
    Case {
        workload: "find_one",
        title: "find_one into a struct",
        ask: "find_one 2000",
        operations: 2000.0,
        figures: &[cpu("")],
        anew: true,
        ..PINNED
    },
    Case {
        workload: "insert_many",
        title: "a struct of insert_many",
        ask: "insert_many",
        operations: PER_DOCUMENT,
        figures: &[cpu("3.0")],
        anew: true,
        ..PINNED
    },
    Case {
        workload: "bulk",
        title: "an update of a bulk",
        ask: "bulk",
        operations: PER_DOCUMENT,
        figures: &[cpu("½ official")],
        anew: true,
        ..PINNED
    },
    Case {
        workload: "gridfs",
        title: "a MiB of a file, uploaded",
        ask: "upload 256",
        operations: 256.0,
        figures: &[cpu("")],
        anew: true,
        ..PINNED
    },
    Case {
        workload: "gridfs",
        title: "a MiB of a file, downloaded",
        ask: "download 256",
        operations: 256.0,
        figures: &[cpu("")],
        anew: true,
        ..PINNED
    },
    Case {
        workload: "memory",
        title: "an idle connection, of 200",
        pinned: false,
        prepare: &[],
        ask: "idle 200",
        anew: true,
        once: true,
        figures: &[Figure {
            title: ", memory",
            unit: Unit::Bytes,
            reach: "28 KiB",
            ..cpu("")
        }],
        ..PINNED
    },
    Case {
        workload: "build",
        title: "client without network, CA file",
        prepare: &[],
        ask: "build PORT CA",
        anew: true,
        figures: &[cpu("0.5 ms")],
        ..PINNED
    },
    Case {
        workload: "build",
        title: "… the second of a process",
        prepare: &["build PORT CA"],
        ask: "build PORT CA",
        anew: true,
        figures: &[cpu("0.5 ms")],
        ..PINNED
    },
    Case {
        workload: "build",
        title: "client without network, system's anchors",
        prepare: &[],
        ask: "build PORT",
        anew: true,
        figures: &[cpu("")],
        ..PINNED
    },
    Case {
        workload: "build",
        title: "… the second of a process",
        prepare: &["build PORT"],
        ask: "build PORT",
        anew: true,
        figures: &[cpu("once")],
        ..PINNED
    },
];

/// The replies of one peer so far.
struct Answers<'a> {
    peer: &'a Peer,
    worker: Option<Worker>,
    answers: Result<Vec<Vec<f64>>, String>,
}

/// Runs the peers in turn, and prints their rows.
pub(crate) fn measure(case: &Case, peers: &[Peer], rounds: usize, server: &Server, cores: &Cores) {
    let (port, ca_file) = (closed_port().to_string(), &server.ca_file);
    let line = |line: &str| line.replace("PORT", &port).replace("CA", ca_file);
    cores.bind(server.id(), case.pinned);
    let under = ["taskset", "-c", cores.list(case.pinned)];
    let mut all: Vec<_> = peers
        .iter()
        .map(|peer| Answers {
            peer,
            worker: None,
            answers: Ok(Vec::new()),
        })
        .collect();
    let mut of_server = Vec::new();
    // The first round warms up.
    let rounds = if case.once { 1..=1 } else { 0..=rounds };
    for round in rounds {
        for one in &mut all {
            let Ok(answers) = &mut one.answers else {
                continue;
            };
            let worker = one.worker.get_or_insert_with(|| {
                let mut worker = one.peer.start(&under, server);
                for prepare in case.prepare {
                    // If it does not support this, the next command fails too.
                    let _ = worker.ask(&line(prepare));
                }
                worker
            });
            let server_before = server.cpu();
            let answer = worker.ask(&line(case.ask));
            match answer {
                Ok(_) if round == 0 => {}
                Ok(numbers) => {
                    answers.push(numbers);
                    if one.peer.name == FLOOR && case.with_server {
                        of_server.push((server.cpu() - server_before) / case.operations);
                    }
                }
                Err(reason) => one.answers = Err(reason),
            }
            if case.anew {
                one.worker = None;
            }
        }
    }
    drop(
        all.iter_mut()
            .map(|one| one.worker.take())
            .collect::<Vec<_>>(),
    );
    for figure in case.figures {
        print(case, figure, &all, &of_server);
    }
}

fn print(case: &Case, figure: &Figure, all: &[Answers<'_>], of_server: &[f64]) {
    let operations = if figure.of_all { case.operations } else { 1.0 };
    let value = |numbers: &Vec<f64>| numbers.get(figure.at).map(|number| number / operations);
    let rows = all.iter().map(|one| Row {
        peer: one.peer.name,
        values: match &one.answers {
            Ok(answers) => Ok(answers.iter().filter_map(value).collect()),
            Err(reason) => Err(reason),
        },
    });
    let server = (!of_server.is_empty()).then(|| Row {
        peer: "(its server)",
        values: Ok(of_server.to_vec()),
    });
    let title = Title {
        workload: &format!("{}{}", case.title, figure.title),
        cores: if case.pinned { "one" } else { "all" },
        unit: figure.unit,
        reach: figure.reach,
    };
    table::rows(&title, &rows.chain(server).collect::<Vec<_>>());
}
