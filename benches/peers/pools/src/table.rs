//! The medians of all rounds, as a table.

use crate::common::median;
use crate::load::{Percentiles, Run};

/// The results of one peer's rounds.
#[derive(Default)]
pub(crate) struct Results {
    each: Vec<f64>,
    share: Vec<f64>,
    median: Vec<f64>,
    p99: Vec<f64>,
    longest: Vec<f64>,
}

impl Results {
    pub(crate) fn add(&mut self, run: &Run, waited: Percentiles) {
        self.each.push(run.each());
        self.share.push(run.share());
        self.median.push(waited.median);
        self.p99.push(waited.p99);
        self.longest.push(waited.longest);
    }

    /// Prints a row for each peer. The ratios are those of the rounds to the same round of the first peer.
    pub(crate) fn print(threads: usize, names: &[&str], all: &[Self]) {
        for (name, results) in names.iter().zip(all) {
            let rounds = results.each.iter().zip(&all[0].each);
            let mut ratios: Vec<f64> = rounds.map(|(each, first)| each / first).collect();
            let of = |values: &[f64]| median(&mut values.to_vec());
            let least = results.each.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = results.each.iter().copied().fold(0.0, f64::max);
            println!(
                "{threads:>7}  {name:<9} {:>9} {:>9}–{:<9} {:>6.2}  {:>9} {:>9} {:>9}  {:>5.2}",
                time(of(&results.each)),
                time(least),
                time(greatest),
                median(&mut ratios),
                time(of(&results.median)),
                time(of(&results.p99)),
                time(of(&results.longest)),
                of(&results.share),
            );
        }
    }
}

/// The first lines of a table.
pub(crate) fn head(title: &str) {
    println!(
        "\n{title}\n{:>7}  {:<9} {:>9} {:^19} {:>6}  {:>9} {:>9} {:>9}  {:>5}",
        "threads", "pool", "each", "least–greatest", "ratio", "waited", "p99", "longest", "share",
    );
}

/// A time in nanoseconds, in a suitable unit.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e5 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e6 => format!("{:.0} µs", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}
