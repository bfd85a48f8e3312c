//! Finds the files of a format, runs their cases and counts the results.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bson_corpus;
use crate::skips::SKIPS;

/// A folder of files with `{"tests": [case, …]}`, or with one case each.
pub(crate) struct Format {
    /// The folder below the root, including its folders, except those of the unified format.
    pub(crate) folder: &'static str,
    /// Runs one case; an error contains the expected and the actual result.
    pub(crate) run: fn(&Value) -> Result<(), String>,
}

/// The result of a whole run. `Display` prints the closing line.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// The cases that need a part of the library that does not exist yet.
    pub(crate) not_yet: usize,
    /// The cases that the servers of the tests cannot run.
    pub(crate) server_cannot: usize,
    /// The rows of [`SKIPS`] that matched a case.
    pub(crate) used: HashSet<usize>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} not yet, {} server cannot, {} skipped",
            self.passed, self.failed, self.not_yet, self.server_cannot, self.skipped
        )
    }
}

/// Runs the files of a format whose path below the root contains `selected`.
pub(crate) fn run_format(root: &Path, format: &Format, selected: &str, report: &mut Report) {
    let files = match json_files(&root.join(format.folder)) {
        Ok(files) => files,
        Err(why) => {
            println!("FAILED {}: {why}", format.folder);
            report.failed += 1;
            return;
        }
    };
    for file in files {
        let path = file.strip_prefix(root).unwrap_or(&file);
        let suite = path.to_string_lossy().into_owned();
        if suite.contains(selected) {
            run_suite(&file, &suite, format, report);
        }
    }
}

fn json_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() && !path.ends_with("unified") {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err("no JSON file in the folder".to_owned()),
        false => Ok(files),
    }
}

fn run_suite(file: &Path, suite: &str, format: &Format, report: &mut Report) {
    let cases = match read_cases(file) {
        Ok(cases) => cases,
        Err(why) => {
            println!("FAILED {suite}: {why}");
            report.failed += 1;
            return;
        }
    };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut lines = Vec::new();
    for case in &cases {
        let description = description(case);
        let outcome = run_case(case, format);
        let skip = SKIPS
            .iter()
            .position(|skip| skip.suite == suite && skip.description == description);
        if let Some(index) = skip {
            report.used.insert(index);
        }
        match (skip, outcome) {
            (None, Ok(())) => passed += 1,
            (None, Err(why)) => {
                failed += 1;
                lines.push(format!("  FAILED \"{description}\": {why}"));
            }
            // A skip requires that the case fails.
            (Some(_), Ok(())) => {
                failed += 1;
                lines.push(format!(
                    "  FAILED \"{description}\": passes, remove its skip"
                ));
            }
            (Some(index), Err(_)) => {
                skipped += 1;
                lines.push(format!(
                    "  skipped \"{description}\": {}",
                    SKIPS[index].reason
                ));
            }
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("{verdict} {suite}: {passed} passed, {failed} failed, {skipped} skipped");
    lines.iter().for_each(|line| println!("{line}"));
    report.passed += passed;
    report.failed += failed;
    report.skipped += skipped;
}

fn read_cases(file: &Path) -> Result<Vec<Value>, String> {
    let text = fs::read_to_string(file).map_err(|why| why.to_string())?;
    let mut content: Value = serde_json::from_str(&text).map_err(|why| why.to_string())?;
    if let Some(cases) = bson_corpus::cases(&content) {
        return Ok(cases);
    }
    match content.get_mut("tests").map_or(Value::Null, Value::take) {
        Value::Array(cases) if !cases.is_empty() => Ok(cases),
        Value::Null if ONE_CASE.iter().any(|field| !content[field].is_null()) => Ok(vec![content]),
        _ => Err("no cases under \"tests\"".to_owned()),
    }
}

/// The fields that identify a file with one case.
const ONE_CASE: [&str; 5] = [
    "operations",
    "phases",
    "topology_description",
    "avg_rtt_ms",
    "uri",
];

fn run_case(case: &Value, format: &Format) -> Result<(), String> {
    // A panic is a failure of this case, not the end of the run.
    panic::catch_unwind(|| (format.run)(case)).unwrap_or_else(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("no message")))
    })
}

fn description(case: &Value) -> &str {
    case["description"].as_str().unwrap_or("(no description)")
}

/// The report contains panics, in their own place.
pub(crate) fn silence_panics() {
    panic::set_hook(Box::new(|_| {}));
}

/// A skip that matches no case is out of date, and fails, if the files are a whole checkout.
///
/// A folder may contain only some of the cases, and a missing case proves nothing there. The prose of the
/// specifications, which is beside the tests (`auth/auth.md`), identifies a checkout.
pub(crate) fn check_skips(root: &Path, report: &mut Report) {
    for (index, skip) in SKIPS.iter().enumerate() {
        let specification = skip.suite.split('/').next().unwrap_or_default();
        let prose = root.join(specification).join(format!("{specification}.md"));
        if prose.is_file() && !report.used.contains(&index) {
            report.failed += 1;
            println!(
                "FAILED {}: the skip of \"{}\" matches no case, remove it",
                skip.suite, skip.description
            );
        }
    }
}
