//! The table, a row a workload and peer; it is Markdown.

use kit::figures::{median, time};

/// What the values of a row are.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    /// Things without a unit.
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Nanoseconds => time(value),
            Self::Bytes => format!("{:.1} KiB", value / 1024.0),
            Self::Count if value < 100.0 => format!("{value:.2}"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

/// What the rounds of one peer came to.
pub(crate) struct Row<'a> {
    pub(crate) peer: &'a str,
    pub(crate) values: Vec<f64>,
}

/// What the rows of one workload have in common.
pub(crate) struct Title<'a> {
    pub(crate) workload: &'a str,
    /// On how many cores it runs.
    pub(crate) cores: &'a str,
    pub(crate) unit: Unit,
    /// What mongotls is meant to reach.
    pub(crate) reach: &'a str,
}

pub(crate) fn head() {
    line(&[
        "workload",
        "cores",
        "peer",
        "median",
        "least–greatest",
        "ratio",
        "reach",
    ]);
    println!("|---|---|---|--:|--:|--:|---|");
}

/// The rows of one workload. Ratios are those of the rounds to the same round of the floor.
pub(crate) fn rows(title: &Title<'_>, floor: Option<&Row<'_>>, rows: &[Row<'_>]) {
    let unit = title.unit;
    let (mut workload, mut cores) = (title.workload, title.cores);
    for row in rows {
        let median_of_row = unit.show(median(&row.values));
        let least = row.values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = row.values.iter().copied().fold(0.0, f64::max);
        let spread = format!("{}–{}", unit.show(least), unit.show(greatest));
        let ratio = floor.map_or_else(String::new, |floor| {
            let rounds = row.values.iter().zip(&floor.values);
            let ratios: Vec<f64> = rounds.map(|(value, floor)| value / floor).collect();
            format!("{:.2}", median(&ratios))
        });
        let reach = if row.peer == "mongotls" {
            title.reach
        } else {
            ""
        };
        line(&[
            workload,
            cores,
            row.peer,
            &median_of_row,
            &spread,
            &ratio,
            reach,
        ]);
        (workload, cores) = ("", "");
    }
}

/// A row without values.
pub(crate) fn without(peer: &str, reason: &str) {
    line(&["", "", peer, "", &format!("({reason})"), "", ""]);
}

fn line(&[workload, cores, peer, median, spread, ratio, reach]: &[&str; 7]) {
    println!(
        "| {workload:<44} | {cores:<5} | {peer:<16} | {median:>9} | {spread:>19} | {ratio:>6} | {reach:<11} |"
    );
}
