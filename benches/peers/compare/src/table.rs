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

pub(crate) fn head() {
    line([
        "workload",
        "peer",
        "median",
        "least–greatest",
        "ratio",
        "reach",
    ]);
    println!(
        "|{:-<48}|{:-<18}|{:->12}|{:->24}|{:->8}|{:-<14}|",
        "", "", ":", ":", ":", ""
    );
}

/// The rows of one workload. Ratios are those of the rounds to the same round of the floor.
pub(crate) fn rows(
    title: &str,
    unit: Unit,
    reach: &str,
    floor: Option<&Row<'_>>,
    rows: &[Row<'_>],
) {
    let mut title = title;
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
        let reach = if row.peer == "mongotls" { reach } else { "" };
        line([title, row.peer, &median_of_row, &spread, &ratio, reach]);
        title = "";
    }
}

/// A row without values.
pub(crate) fn without(peer: &str, reason: &str) {
    line(["", peer, "", &format!("({reason})"), "", ""]);
}

fn line([workload, peer, median, spread, ratio, reach]: [&str; 6]) {
    println!(
        "| {workload:<46} | {peer:<16} | {median:>10} | {spread:>22} | {ratio:>6} | {reach:<12} |"
    );
}
