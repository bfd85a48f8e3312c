//! The costs of a ping that do not depend on the load of the machine: instructions and system calls.
//!
//! Each is the difference of two runs with different numbers of pings, so that the start and the handshake are not
//! included. All threads of the process count.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::peers::{PYMONGO, Peer};
use crate::server::Server;
use crate::table::{self, Row, Title, Unit};

/// The word that selects it.
pub(crate) const NAME: &str = "counts";

/// The numbers of pings in the two runs.
const FEW: u32 = 100;
const MANY: u32 = 600;

/// The number of runs.
const RUNS: usize = 2;

/// A program that runs another one and counts.
struct Counter {
    title: &'static str,
    reach: &'static str,
    program: &'static str,
    /// The arguments of the program. `FILE` is replaced by the path for the result.
    arguments: &'static [&'static str],
    /// Finds the number in the result.
    total: fn(&str) -> Option<f64>,
    /// A peer that it does not support, and the reason.
    without: Option<(&'static str, &'static str)>,
}

const COUNTERS: [Counter; 2] = [
    Counter {
        title: "ping, instructions",
        reach: "17000",
        program: "valgrind",
        arguments: &[
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--log-file=FILE",
        ],
        total: |log| {
            let line = log
                .lines()
                .find_map(|line| line.split_once("Collected : "))?;
            line.1.trim().parse().ok()
        },
        without: Some((PYMONGO, "an interpreter")),
    },
    Counter {
        title: "ping, system calls",
        reach: "2.0",
        program: "strace",
        arguments: &["-f", "-c", "-U", "calls,name", "-o", "FILE"],
        total: |summary| {
            let line = summary
                .lines()
                .find(|line| line.trim_end().ends_with("total"))?;
            line.split_whitespace().next()?.parse().ok()
        },
        without: None,
    },
];

pub(crate) fn measure(peers: &[Peer], server: &Server) {
    for counter in &COUNTERS {
        let rows = peers.iter().map(|peer| Row {
            peer: peer.name,
            values: match counter.without {
                Some((name, reason)) if name == peer.name => Err(reason),
                _ => Ok((0..RUNS).map(|_| counter.a_ping(peer, server)).collect()),
            },
        });
        let title = Title {
            workload: counter.title,
            cores: "all",
            unit: Unit::Count,
            reach: counter.reach,
        };
        table::rows(&title, &rows.collect::<Vec<_>>());
    }
}

impl Counter {
    fn a_ping(&self, peer: &Peer, server: &Server) -> f64 {
        let [few, many] = [FEW, MANY].map(|pings| self.count(peer, server, pings));
        (many - few) / f64::from(MANY - FEW)
    }

    fn count(&self, peer: &Peer, server: &Server, pings: u32) -> f64 {
        let file = Scratch::new();
        let arguments: Vec<_> = self
            .arguments
            .iter()
            .map(|word| word.replace("FILE", &file.path()))
            .collect();
        let under: Vec<&str> = [self.program]
            .into_iter()
            .chain(arguments.iter().map(String::as_str))
            .collect();
        let mut worker = peer.start(&under, server);
        for line in ["open", &format!("ping {pings}")] {
            worker.ask(line).expect("every peer can ping");
        }
        // It has a result when it has ended.
        drop(worker);
        let result = fs::read_to_string(file.path()).unwrap_or_default();
        (self.total)(&result)
            .unwrap_or_else(|| panic!("{} counted nothing: {result}", self.program))
    }
}

/// A file that is deleted on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(env::temp_dir().join(format!("mongotls-counts-{}", std::process::id())))
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
