//! mongotls compared with a bare program on OpenSSL and with other drivers, with equal work in one run.
//!
//! `make bench` builds the workers and runs this. Words select: names of workloads ([`workloads::CASES`], and
//! `counts`), names of peers ([`peers::NAMES`]), and a number for the rounds. Peers take turns, round by round. All of
//! them connect over TLS 1.3 to the lean server of the test bench, a separate process: this program, started again with
//! the word `serve`. With the word `check` before the others it only checks the peers.
//!
//! For each workload and peer it prints the median of the rounds, the minimum and the maximum, and the median of the
//! rounds' ratios to the floor in the same round.

mod cores;
mod counts;
mod peers;
mod server;
mod table;
mod workloads;

use std::env;
use std::process::ExitCode;

use self::cores::Cores;
use self::peers::Peer;
use self::server::Server;
use self::workloads::CASES;

const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words == ["serve"] {
        server::serve();
        return ExitCode::SUCCESS;
    }
    let only_checks = words.first().is_some_and(|word| word == "check");
    let choice = match Choice::of(&words[usize::from(only_checks)..]) {
        Ok(choice) => choice,
        Err(complaint) => {
            eprintln!("{complaint}");
            return ExitCode::from(2);
        }
    };
    if only_checks {
        return ExitCode::SUCCESS;
    }
    let (server, cores) = (Server::start(), Cores::of_this_process());
    println!("{cores}; rounds: {}\n", choice.rounds);
    table::head();
    for case in CASES {
        if choice.has_workload(case.workload) {
            workloads::measure(case, &choice.peers, choice.rounds, &server, &cores);
        }
    }
    if choice.has_workload(counts::NAME) {
        counts::measure(&choice.peers, &server);
    }
    ExitCode::SUCCESS
}

/// The selection by the words.
struct Choice {
    /// The workloads; all of them if empty.
    workloads: Vec<String>,
    peers: Vec<Peer>,
    rounds: usize,
}

impl Choice {
    fn of(words: &[String]) -> Result<Self, String> {
        let (mut workloads, mut names, mut rounds) = (Vec::new(), Vec::new(), ROUNDS);
        for word in words {
            if let Ok(number) = word.parse() {
                rounds = number;
            } else if let Some(name) = peers::NAMES.iter().find(|name| *name == word) {
                names.push(*name);
            } else if workload_names().any(|name| name == word) {
                workloads.push(word.clone());
            } else {
                let known = workload_names().collect::<Vec<_>>().join(" ");
                return Err(format!(
                    "There is nothing called '{word}'.\nWorkloads: {known}\nPeers: {}",
                    peers::NAMES.join(" ")
                ));
            }
        }
        if names.is_empty() {
            names = peers::NAMES.to_vec();
        }
        // In the order of the table, for any order of the words.
        names.sort_by_key(|name| peers::NAMES.iter().position(|known| known == name));
        names.dedup();
        Ok(Self {
            workloads,
            peers: names.into_iter().map(Peer::named).collect(),
            rounds: rounds.max(1),
        })
    }

    fn has_workload(&self, name: &str) -> bool {
        self.workloads.is_empty() || self.workloads.iter().any(|asked| asked == name)
    }
}

fn workload_names() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<_> = CASES.iter().map(|case| case.workload).collect();
    names.dedup();
    names.into_iter().chain([counts::NAME])
}
