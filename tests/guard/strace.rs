//! Counts system calls with `strace`.
//!
//! Without `-f` it traces only the first thread of the program, which is the one that runs the operations: monitors are not counted.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use mongotls_testbench::peers::PeerUnavailable;
use mongotls_testbench::pki::PkiDir;

use crate::operations::Subject;
use crate::tool;

const OPERATIONS: u32 = 500;

/// The system calls of an operation, by name.
#[derive(Debug)]
pub(crate) struct SystemCalls(BTreeMap<String, f64>);

impl SystemCalls {
    /// Those of twice as many operations, minus those of once as many: so earlier and later system calls do not count.
    pub(crate) fn of(subject: Subject, server: &str) -> Result<Self, PeerUnavailable> {
        let once = trace(subject, server, OPERATIONS)?;
        let mut calls = trace(subject, server, 2 * OPERATIONS)?;
        for (name, count) in once {
            *calls.entry(name).or_default() -= count;
        }
        for count in calls.values_mut() {
            *count /= f64::from(OPERATIONS);
        }
        Ok(Self(calls))
    }

    pub(crate) fn total(&self) -> f64 {
        self.0.values().sum()
    }
}

impl fmt::Display for SystemCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.0.iter().filter(|(_, count)| count.abs() >= 0.005);
        let calls: Vec<_> = calls
            .map(|(name, count)| format!("{name} {count:.2}"))
            .collect();
        f.write_str(&calls.join(", "))
    }
}

fn trace(
    subject: Subject,
    server: &str,
    times: u32,
) -> Result<BTreeMap<String, f64>, PeerUnavailable> {
    let dir = PkiDir::new();
    let log = dir.path().join("log");
    let log = log.to_str().unwrap();
    tool::run("strace", &["-qq", "-o", log], (subject, server, times))?;
    let log = fs::read_to_string(log).unwrap();
    let mut calls = BTreeMap::new();
    for name in log.lines().filter_map(|line| Some(line.split_once('(')?.0)) {
        // With most clocks this is not a system call; see vdso(7).
        if name != "clock_gettime" {
            *calls.entry(name.to_owned()).or_default() += 1.0;
        }
    }
    assert!(!calls.is_empty(), "{log}");
    Ok(calls)
}
