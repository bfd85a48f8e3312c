//! The table, with a row for each workload and peer, in Markdown.

use kit::figures::{median, time};

use crate::peers::{FLOOR, OURS};

/// The unit of the values of a row.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    /// A number without a unit.
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

/// The results of one peer's rounds, or the reason why there are none.
pub(crate) struct Row<'a> {
    pub(crate) peer: &'a str,
    pub(crate) values: Result<Vec<f64>, &'a str>,
}

/// The common fields of the rows of one workload.
pub(crate) struct Title<'a> {
    pub(crate) workload: &'a str,
    /// The number of cores that it runs on.
    pub(crate) cores: &'a str,
    pub(crate) unit: Unit,
    /// The goal of mongotls.
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

/// Prints the rows of one workload. Ratios are those of the rounds to the same round of the floor.
pub(crate) fn rows(title: &Title<'_>, rows: &[Row<'_>]) {
    let show = |value| title.unit.show(value);
    let floor = rows.iter().find(|row| row.peer == FLOOR);
    let floor = floor.and_then(|row| row.values.as_ref().ok());
    let (mut workload, mut cores) = (title.workload, title.cores);
    for Row { peer, values } in rows {
        let (middle, spread, ratio) = match values {
            Ok(values) => {
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                let greatest = values.iter().copied().fold(0.0, f64::max);
                let spread = format!("{}–{}", show(least), show(greatest));
                (
                    show(median(values)),
                    spread,
                    floor.map(|floor| ratio(values, floor)),
                )
            }
            Err(reason) => (String::new(), format!("({reason})"), None),
        };
        let reach = if *peer == OURS { title.reach } else { "" };
        line(&[
            workload,
            cores,
            peer,
            &middle,
            &spread,
            &ratio.unwrap_or_default(),
            reach,
        ]);
        (workload, cores) = ("", "");
    }
}

fn ratio(values: &[f64], floor: &[f64]) -> String {
    let ratios: Vec<f64> = values
        .iter()
        .zip(floor)
        .map(|(value, floor)| value / floor)
        .collect();
    match median(&ratios) {
        small if small < 0.1 => format!("{small:.3}"),
        ratio => format!("{ratio:.2}"),
    }
}

fn line(&[workload, cores, peer, median, spread, ratio, reach]: &[&str; 7]) {
    println!(
        "| {workload:<45} | {cores:<5} | {peer:<16} | {median:>9} | {spread:>21} | {ratio:>6} | {reach:<11} |"
    );
}
