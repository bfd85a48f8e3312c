//! Counts instructions with `callgrind`, a tool of valgrind.
//!
//! It writes a file for each thread; the first thread is the one that runs the operations. The kernel's instructions are not
//! included, and the same program on the same OpenSSL and processor gives an equal number within a thousandth, for any
//! load of the machine.

use std::fs;
use std::io;

use mongotls_testbench::peers::PeerUnavailable;
use mongotls_testbench::pki::PkiDir;

use crate::operations::Subject;
use crate::tool;

/// Enough that the handshakes, whose costs differ, do not matter.
const OPERATIONS: u32 = 3000;

/// The instructions of an operation: those of twice as many, minus those of once as many.
pub(crate) fn instructions(subject: Subject, server: &str) -> Result<f64, PeerUnavailable> {
    let once = count(subject, server, OPERATIONS)?;
    let twice = count(subject, server, 2 * OPERATIONS)?;
    Ok((twice - once) / f64::from(OPERATIONS))
}

fn count(subject: Subject, server: &str, times: u32) -> Result<f64, PeerUnavailable> {
    let dir = PkiDir::new();
    let file = format!("--callgrind-out-file={}/out", dir.path().display());
    let arguments = ["--tool=callgrind", "--separate-threads=yes", &file];
    tool::run("valgrind", &arguments, (subject, server, times))?;
    let text = fs::read_to_string(dir.path().join("out-01"))
        // For one thread.
        .or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => fs::read_to_string(dir.path().join("out")),
            _ => Err(error),
        })
        .unwrap();
    let totals = text.lines().filter_map(|line| line.strip_prefix("totals:"));
    let total = totals.map(str::trim).next_back().unwrap();
    Ok(total.parse().unwrap())
}
