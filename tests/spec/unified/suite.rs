//! One file of the unified format: its cases, their results, and the report.

use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use serde_json::Value;

use super::deployment::Configuration;
use super::failure::Failure;
use super::lanes::Lane;
use super::requirements;
use super::scan::{self, Plan};
use super::schema;
use super::server_cannot::ServerCannot;
use crate::runner::Report;
use crate::skips::{SKIPS, Skip};

/// A file with its name.
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) file: Arc<Value>,
    pub(crate) validity: Validity,
}

/// What the cases of a file prove; files in `unified-test-format/tests` test the runner itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    /// The cases pass.
    Pass,
    /// The cases fail.
    Fail,
    /// The file is not of the format.
    Invalid,
}

/// The numbers of cases.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    passed: usize,
    failed: usize,
    not_yet: usize,
    server_cannot: usize,
    /// They have a `skipReason`, no deployment that they allow, or are out of scope.
    skipped: usize,
    /// How often a case ran, on all deployments.
    runs: usize,
}

/// The results of a file.
pub(crate) struct SuiteResult<'a> {
    name: &'a str,
    pub(crate) counts: Counts,
    lines: Vec<String>,
    pub(crate) not_yet: Vec<&'static str>,
    /// The rows of [`SKIPS`] that matched a case.
    pub(crate) skips: Vec<usize>,
}

/// The result of a case.
enum CaseResult {
    Passed,
    Failed(String),
    NotYet(&'static str),
    ServerCannot,
    Skipped(String),
}

impl Suite {
    pub(crate) fn new(name: String, file: Value) -> Self {
        let validity = match &name {
            name if name.contains("tests/invalid/") => Validity::Invalid,
            name if name.contains("tests/valid-fail/") => Validity::Fail,
            _ => Validity::Pass,
        };
        Self {
            name,
            file: Arc::new(file),
            validity,
        }
    }

    /// Runs all cases on all deployments that they allow.
    pub(crate) fn run(&self, lane: &Lane, server_cannot: &ServerCannot) -> SuiteResult<'_> {
        let mut result = SuiteResult {
            name: &self.name,
            counts: Counts::default(),
            lines: Vec::new(),
            not_yet: Vec::new(),
            skips: Vec::new(),
        };
        match (schema::check(&self.file), self.validity) {
            (Err(_), Validity::Invalid) => result.add("", CaseResult::Passed),
            (Ok(()), Validity::Invalid) => {
                result.add(
                    "",
                    CaseResult::Failed("the file is not rejected".to_owned()),
                );
            }
            // A version that the runner does not support is one of the reasons for a failure.
            (Err(why), Validity::Fail) if why.contains("is not supported") => {
                result.add("", CaseResult::Passed);
            }
            (Err(why), _) => result.add("", CaseResult::Failed(why)),
            (Ok(()), validity) => {
                for (index, case) in super::cases(&self.file).iter().enumerate() {
                    let outcome = match validity {
                        Validity::Fail => self.run_failing(index, lane, &mut result.counts.runs),
                        _ => self.run_case(index, lane, server_cannot, &mut result.counts.runs),
                    };
                    let description = case["description"].as_str().unwrap_or_default();
                    let outcome = result.skip(description, outcome);
                    result.add(description, outcome);
                }
            }
        }
        result
    }

    /// The deployments that a case allows.
    pub(crate) fn configurations(&self, case: &Value) -> Vec<Configuration> {
        let all = Configuration::all().into_iter();
        all.filter(|one| requirements::allow(*one, &self.file, case))
            .collect()
    }

    fn run_case(
        &self,
        index: usize,
        lane: &Lane,
        server_cannot: &ServerCannot,
        runs: &mut usize,
    ) -> CaseResult {
        let case = &super::cases(&self.file)[index];
        let description = case["description"].as_str().unwrap_or_default();
        if let Some(why) = case["skipReason"].as_str() {
            return CaseResult::Skipped(format!("its skipReason: {why}"));
        }
        match scan::scan(&self.file, case) {
            Err(failure) => return CaseResult::Failed(failure.to_string()),
            Ok(Plan::NotYet(why)) => return CaseResult::NotYet(why),
            Ok(Plan::OutOfScope(why)) => {
                return CaseResult::Skipped(format!("out of scope: {why}"));
            }
            Ok(Plan::Run) => {}
        }
        match lane.problem() {
            Some(why) if lane.is_skipped => return CaseResult::Skipped(why.to_owned()),
            Some(why) => return CaseResult::Failed(why.to_owned()),
            None => {}
        }
        let (mut passed, mut cannot, mut failures) = (0, 0, Vec::new());
        for configuration in self.configurations(case) {
            match lane.deployment(configuration) {
                Ok(deployment) if requirements::has_parameters(&deployment, &self.file, case) => {}
                Ok(_) => continue,
                Err(why) => return CaseResult::Failed(why),
            }
            *runs += 1;
            let outcome = lane.run(configuration, &self.file, index);
            match (
                server_cannot.reason(&self.name, description, configuration),
                outcome,
            ) {
                (None, Ok(())) => passed += 1,
                (None, Err(why)) => failures.push(format!("{configuration}: {why}")),
                (Some(_), Err(_)) => cannot += 1,
                (Some(_), Ok(())) => failures.push(format!(
                    "{configuration}: passes, remove its line in server_cannot.txt"
                )),
            }
        }
        match (failures.is_empty(), passed, cannot) {
            (false, ..) => CaseResult::Failed(failures.join("\n    ")),
            (true, 0, 0) => CaseResult::Skipped("no deployment meets its requirements".to_owned()),
            (true, 0, _) => CaseResult::ServerCannot,
            (true, ..) => CaseResult::Passed,
        }
    }

    /// Runs a case that must fail, and compares the reason with the name of the file.
    fn run_failing(&self, index: usize, lane: &Lane, runs: &mut usize) -> CaseResult {
        let case = &super::cases(&self.file)[index];
        let file_name = self.name.rsplit('/').next().unwrap_or_default();
        match scan::scan(&self.file, case) {
            Err(failure) => return expected_failure(file_name, &failure),
            Ok(Plan::NotYet(why)) => return CaseResult::NotYet(why),
            Ok(Plan::OutOfScope(why)) => {
                return CaseResult::Skipped(format!("out of scope: {why}"));
            }
            Ok(Plan::Run) => {}
        }
        if let Some(why) = lane.problem().filter(|_| lane.is_skipped) {
            return CaseResult::Skipped(why.to_owned());
        }
        for configuration in self.configurations(case) {
            *runs += 1;
            match lane.run(configuration, &self.file, index) {
                Ok(()) => {
                    return CaseResult::Failed(format!("{configuration}: passes, but must fail"));
                }
                Err(failure) => match expected_failure(file_name, &failure) {
                    CaseResult::Passed => {}
                    other => return other,
                },
            }
        }
        CaseResult::Passed
    }
}

/// Fails unless the failure has the reason that the name of the file documents.
fn expected_failure(file: &str, failure: &Failure) -> CaseResult {
    let text = failure.to_string();
    let fits = match failure {
        // Neither a hang nor a panic is a documented reason.
        _ if text.contains("has not ended") || text.contains("panicked") => false,
        Failure::Runner(_) => false,
        Failure::Entity(_) => {
            file.starts_with("entity-") || file.starts_with("assert") || file.contains("undefined")
        }
        Failure::Malformed(_) => !file.starts_with("operator-"),
        Failure::Operation(_) | Failure::Mismatch(_) => !file.contains("undefined"),
    };
    match fits {
        true => CaseResult::Passed,
        false => CaseResult::Failed(format!("fails for another reason: {text}")),
    }
}

impl SuiteResult<'_> {
    /// Applies the row of [`SKIPS`] for this case. A skip requires that the case fails.
    fn skip(&mut self, description: &str, result: CaseResult) -> CaseResult {
        let is_of = |skip: &Skip| skip.suite == self.name && skip.description == description;
        let Some(index) = SKIPS.iter().position(is_of) else {
            return result;
        };
        self.skips.push(index);
        match result {
            CaseResult::Failed(_) => CaseResult::Skipped(SKIPS[index].reason.to_owned()),
            CaseResult::Passed => CaseResult::Failed("passes, remove its skip".to_owned()),
            other => other,
        }
    }

    fn add(&mut self, description: &str, result: CaseResult) {
        let counts = &mut self.counts;
        match result {
            CaseResult::Passed => counts.passed += 1,
            CaseResult::Failed(why) => {
                counts.failed += 1;
                self.lines
                    .push(format!("  FAILED \"{description}\": {why}"));
            }
            CaseResult::NotYet(why) => {
                counts.not_yet += 1;
                self.not_yet.push(why);
            }
            CaseResult::ServerCannot => counts.server_cannot += 1,
            CaseResult::Skipped(why) => {
                counts.skipped += 1;
                self.lines
                    .push(format!("  skipped \"{description}\": {why}"));
            }
        }
    }

    pub(crate) fn print(&self) {
        let verdict = if self.counts.failed == 0 {
            "ok"
        } else {
            "FAILED"
        };
        let lines = self.lines.iter().map(|line| format!("\n{line}"));
        println!(
            "{verdict} {}: {}{}",
            self.name,
            self.counts,
            lines.collect::<String>()
        );
    }
}

impl Counts {
    pub(crate) fn add_to(&self, report: &mut Report) {
        report.passed += self.passed;
        report.failed += self.failed;
        report.skipped += self.skipped;
        report.not_yet += self.not_yet;
        report.server_cannot += self.server_cannot;
    }
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.not_yet += other.not_yet;
        self.server_cannot += other.server_cannot;
        self.skipped += other.skipped;
        self.runs += other.runs;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} not yet, {} server cannot, {} skipped ({} runs)",
            self.passed, self.failed, self.not_yet, self.server_cannot, self.skipped, self.runs
        )
    }
}
