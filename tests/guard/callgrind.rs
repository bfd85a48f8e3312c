//! Counts instructions with `callgrind`, a tool of valgrind.
//!
//! It writes a file for each thread; the first thread is the one that pings. The kernel's instructions are not
//! included, and the same program on the same OpenSSL and processor gives an equal number within a thousandth, for any
//! load of the machine.

use std::fs;
use std::io;

use mongotls_testbench::peers::PeerUnavailable;
use mongotls_testbench::pki::PkiDir;

use crate::pings::Side;
use crate::tool;

/// Enough that the handshakes, whose costs differ, do not matter.
const PINGS: u32 = 3000;

/// The instructions of a ping: those of twice as many pings, minus those of once as many.
pub(crate) fn instructions(side: Side, server: &str) -> Result<f64, PeerUnavailable> {
    let once = count(side, server, PINGS)?;
    let twice = count(side, server, 2 * PINGS)?;
    Ok((twice - once) / f64::from(PINGS))
}

fn count(side: Side, server: &str, pings: u32) -> Result<f64, PeerUnavailable> {
    let dir = PkiDir::new();
    let file = format!("--callgrind-out-file={}/out", dir.path().display());
    let arguments = ["--tool=callgrind", "--separate-threads=yes", &file];
    tool::run("valgrind", &arguments, (side, server, pings))?;
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
