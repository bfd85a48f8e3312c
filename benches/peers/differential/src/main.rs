//! Runs the same generated operations through mongotls, the `mongodb` crate and PyMongo, and compares the results, the
//! commands that the servers receive, and the documents at the end.
//!
//! Each driver has a replica set of the test bench in front of a SecantusDB of its own. `tests/differential.sh` builds the
//! program and runs it: `differential SEEDS PYTHON [ferretdb]`.

mod command;
mod compare;
mod coverage;
mod driver;
mod generate;
mod known;
mod lane;
mod operations;
mod stage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use bson::Document;

use crate::compare::{Counts, compare, json};
use crate::coverage::Coverage;
use crate::driver::Peer;
use crate::known::Uses;
use crate::lane::Lane;
use crate::stage::Store;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(seeds), Some(python)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: differential SEEDS PYTHON [ferretdb]");
        return ExitCode::from(2);
    };
    let seeds = match seeds.split_once('-') {
        Some((first, end)) => first.parse().ok().zip(end.parse().ok()),
        None => seeds.parse().ok().map(|count: u64| (0, count)),
    };
    let Some((first, end)) = seeds else {
        eprintln!("differential: SEEDS is a number, or FIRST-END");
        return ExitCode::from(2);
    };
    let store = match arguments.next().as_deref() {
        Some("ferretdb") => Store::FerretDb,
        _ => Store::Secantus,
    };
    run(first, end, PathBuf::from(python), store)
}

/// The drivers.
struct Drivers {
    ours: Lane,
    peers: BTreeMap<Peer, Lane>,
    store: Store,
}

impl Drivers {
    /// Removes operations and options from a sequence as long as mongotls and the peer differ.
    fn minimal(&self, peer: Peer, operations: &[Document]) -> Vec<Document> {
        let differs = |operations: &[Document]| {
            self.ours.send(operations.to_vec());
            let theirs = self.peers[&peer].run(operations);
            let ours = self.ours.receive();
            let (mut uses, mut counts) = (Uses::new(), Counts::default());
            compare(
                (peer, self.store),
                operations,
                &ours,
                &theirs,
                &mut uses,
                &mut counts,
            )
            .is_err()
        };
        let mut minimal = operations.to_vec();
        for index in (0..minimal.len()).rev() {
            let mut fewer = minimal.clone();
            fewer.remove(index);
            if differs(&fewer) {
                minimal = fewer;
            }
        }
        for index in 0..minimal.len() {
            let name = minimal[index].get_str("name").expect("the name").to_owned();
            let options = operations::named(&name).map_or(&[][..], |operation| operation.options);
            for option in options {
                let mut fewer = minimal.clone();
                let arguments = fewer[index].get_document_mut("arguments");
                let had = arguments.is_ok_and(|arguments| arguments.remove(option.name).is_some());
                if had && differs(&fewer) {
                    minimal = fewer;
                }
            }
        }
        minimal
    }
}

fn run(first: u64, end: u64, python: PathBuf, store: Store) -> ExitCode {
    let start = Instant::now();
    let lane = |peer| Lane::start(peer, store, python.clone());
    let peers = [Peer::Official, Peer::PyMongo];
    let drivers = Drivers {
        ours: lane(None),
        peers: peers
            .into_iter()
            .map(|peer| (peer, lane(Some(peer))))
            .collect(),
        store,
    };
    let mut coverage = Coverage::default();
    let (mut uses, mut counts) = (Uses::new(), Counts::default());
    let mut differences = 0;
    for chunk in chunks(first, end) {
        let sequences: Vec<_> = chunk
            .map(|seed| (seed, Rc::new(generate::sequence(seed))))
            .collect();
        for (seed, operations) in &sequences {
            drivers.ours.send(operations.to_vec());
            for peer in generate::peers(*seed) {
                drivers.peers[peer].send(operations.to_vec());
            }
        }
        let mut found = Vec::new();
        for (seed, operations) in &sequences {
            let ours = drivers.ours.receive();
            for peer in generate::peers(*seed) {
                let theirs = Rc::new(drivers.peers[peer].receive());
                match compare(
                    (*peer, store),
                    operations,
                    &ours,
                    &theirs,
                    &mut uses,
                    &mut counts,
                ) {
                    Ok(()) => coverage.note(operations, *peer, &ours, &theirs),
                    Err(difference) => {
                        differences += 1;
                        found.push((*seed, *peer, Rc::clone(operations), difference));
                    }
                }
            }
        }
        for (seed, peer, operations, difference) in found {
            println!("seed {seed}: mongotls and {peer} differ\n{difference}");
            let minimal = drivers.minimal(peer, &operations);
            println!("  a minimal sequence:");
            for operation in &minimal {
                println!("    {}", json(operation));
            }
        }
        if differences > 0 {
            break;
        }
    }
    println!(
        "{} seeds, {} operations and {} commands compared, {differences} differences, {:.1} s",
        end - first,
        counts.operations,
        counts.commands,
        start.elapsed().as_secs_f64(),
    );
    let mut failures = Vec::new();
    // Other stores reject many commands, and have one server.
    if differences == 0 && end - first >= COVERED && store == Store::Secantus {
        failures = proof(&coverage, &drivers.ours, &uses);
    }
    for failure in &failures {
        println!("{failure}");
    }
    ExitCode::from(u8::from(differences > 0 || !failures.is_empty()))
}

/// Checks that the run can be trusted: each option has occurred, the comparison notices the absence of each, and each known
/// difference has occurred.
fn proof(coverage: &Coverage, ours: &Lane, uses: &Uses) -> Vec<String> {
    let mut failures = Vec::new();
    let missing = coverage.missing();
    if !missing.is_empty() {
        failures.push(format!("no seed has sent: {}", missing.join(", ")));
    }
    let unused: Vec<_> = known::frequent()
        .filter(|name| !uses.contains_key(name))
        .collect();
    if !unused.is_empty() {
        failures.push(format!(
            "these known differences do not occur: {}",
            unused.join(", ")
        ));
    }
    let start = Instant::now();
    let (unnoticed, count) = coverage.unnoticed(ours);
    if !unnoticed.is_empty() {
        let options = unnoticed.join(", ");
        failures.push(format!("nothing notices that mongotls ignores: {options}"));
    }
    let noticed = count - unnoticed.len();
    println!(
        "mongotls without one option at a time: {noticed} of {count} are noticed, {:.1} s",
        start.elapsed().as_secs_f64(),
    );
    failures
}

fn chunks(first: u64, end: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    let starts = (first..end).step_by(CHUNK);
    starts.map(move |start| start..end.min(start + CHUNK as u64))
}

/// The number of seeds that the drivers run before the results are compared.
const CHUNK: usize = 50;

/// The number of seeds that contain all options.
const COVERED: u64 = 200;
