//! The unified test format: operations on real servers, with the expected results, events and log messages.
//!
//! `schema.rs` (with `shape.rs`) rejects what the format does not allow. `scan.rs` decides if the library can run a
//! case; `requirements.rs` on which deployments. `run.rs` runs it: `entities.rs` has its entities, `operations/` one
//! file for each kind of object, `matcher.rs` compares values, `events.rs` and `logs.rs` what clients report.
//! `deployment.rs` has the servers, which lanes share: each lane has one store, and runs one file at a time.
//!
//! Source: "Unified Test Format".

mod deployment;
mod entities;
mod errors;
mod events;
mod failure;
mod json;
mod lanes;
mod logs;
mod matcher;
mod mutants;
mod operations;
mod requirements;
mod run;
mod scan;
mod schema;
mod server_cannot;
mod shape;
mod suite;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

use self::json::items;
use self::lanes::Lanes;
pub(crate) use self::matcher::hex_bytes;
use self::server_cannot::ServerCannot;
use self::suite::{Counts, Suite, Validity};
use crate::runner::Report;

/// Runs the files of the unified format whose path below the root contains `selected`.
pub(crate) fn run(root: &Path, selected: &str, report: &mut Report) {
    let started = Instant::now();
    let mut files = Vec::new();
    find(root, &mut files);
    files.sort();
    let mut suites = Vec::new();
    for file in files {
        let name = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        if !name.contains(selected) {
            continue;
        }
        match read(&file) {
            Ok(Some(content)) => suites.push(Suite::new(name, content)),
            Ok(None) => {}
            Err(why) => {
                println!("FAILED {name}: {why}");
                report.failed += 1;
            }
        }
    }
    let server_cannot = match ServerCannot::read() {
        Ok(list) => list,
        Err(why) => {
            println!("FAILED {why}");
            report.failed += 1;
            return;
        }
    };
    if suites.is_empty() {
        return;
    }
    let (total, reasons) = run_suites(&suites, &server_cannot, report);
    total.add_to(report);
    let encryption = root.join("client-side-encryption");
    if selected.is_empty() && encryption.is_dir() {
        println!("out of scope: client-side-encryption");
    }
    for (reason, count) in &reasons {
        println!("not yet: {count} cases need {reason}");
    }
    if selected.is_empty() {
        for unused in server_cannot.unused(root) {
            println!("FAILED server_cannot.txt: no case matches {unused}, remove it");
            report.failed += 1;
        }
    }
    println!(
        "unified test format: {total}; {:.0} s",
        started.elapsed().as_secs_f64()
    );
}

/// Changes expected values one at a time in at most `limit` places, and prints the changes that no case notices.
pub(crate) fn run_mutants(root: &Path, selected: &str, limit: Option<usize>) {
    let mut files = Vec::new();
    find(root, &mut files);
    files.sort();
    let suites = files.iter().filter_map(|file| {
        let name = file
            .strip_prefix(root)
            .unwrap_or(file)
            .to_string_lossy()
            .into_owned();
        let content = read(file)
            .ok()
            .flatten()
            .filter(|_| name.contains(selected))?;
        Some(Suite::new(name, content))
    });
    mutants::run(&suites.collect::<Vec<_>>(), limit);
}

fn run_suites(
    suites: &[Suite],
    server_cannot: &ServerCannot,
    report: &mut Report,
) -> (Counts, BTreeMap<&'static str, usize>) {
    let total = Mutex::new((Counts::default(), BTreeMap::new(), report));
    let lanes = Lanes::new(
        suites
            .iter()
            .any(|suite| suite.validity != Validity::Invalid),
    );
    lanes.each(suites, |suite, lane| {
        let result = suite.run(lane, server_cannot);
        let mut total = lock(&total);
        total.0 += &result.counts;
        for reason in &result.not_yet {
            *total.1.entry(*reason).or_insert(0) += 1;
        }
        total.2.used.extend(&result.skips);
        result.print();
    });
    let (counts, reasons, _) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    (counts, reasons)
}

/// Finds the JSON files, except those of client-side encryption, which this library does not have.
fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            if !path.ends_with("client-side-encryption") && !path.ends_with(".git") {
                find(&path, files);
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
}

/// Reads a file; returns `None` if it has another format. A file of the unified format has a `schemaVersion`, except
/// for some of those that must be rejected.
fn read(file: &Path) -> Result<Option<Value>, String> {
    let is_invalid = file
        .parent()
        .is_some_and(|folder| folder.ends_with("tests/invalid"));
    let text = fs::read_to_string(file).map_err(|why| why.to_string())?;
    if !is_invalid && !text.contains("\"schemaVersion\"") {
        return Ok(None);
    }
    let content: Value = serde_json::from_str(&text).map_err(|why| why.to_string())?;
    let is_unified = is_invalid || !content["schemaVersion"].is_null();
    Ok(is_unified.then_some(content))
}

/// The cases of a file.
fn cases(file: &Value) -> &[Value] {
    items(&file["tests"])
}

/// Locks a mutex; a panic elsewhere fails its own case.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
