//! Compares what the driver reports about an operation with what the store has afterwards.

use std::collections::BTreeMap;

use mongotls::results::PartialBulkWriteResult;
use mongotls::{Error, Written};

use crate::operations::{Kind, Operation};
use crate::scene::Outcome;

/// The collections (`c`), documents (`c/id`) and indexes (`c#name`) of a database. A document has the value of its field
/// `n`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<String, i32>);

impl Snapshot {
    pub(crate) fn add(&mut self, name: String, n: i32) {
        self.0.insert(name, n);
    }

    /// How often a write was made between this snapshot and a later one. `+name` adds something, `-name` removes it, and
    /// `*name` adds 1 to `n`.
    pub(crate) fn applied(&self, later: &Self, unit: &str) -> i32 {
        let (sign, name) = unit.split_at(1);
        let (before, after) = (self.0.get(name), later.0.get(name));
        match sign {
            "+" => i32::from(before.is_none() && after.is_some()),
            "-" => i32::from(before.is_some() && after.is_none()),
            _ => after.copied().unwrap_or(0) - before.copied().unwrap_or(0),
        }
    }
}

/// The rule by which an error says whether something was written. The tests of the harness use wrong ones.
pub(crate) type Verdict = fn(&Error) -> Written;

/// Returns what is wrong in the report of an operation. `expected`: its result without a fault.
pub(crate) fn problems(
    operation: &Operation,
    outcome: &Outcome,
    expected: Option<&str>,
    verdict: Verdict,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut claim = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };
    let applied = |unit: &&str| outcome.before.applied(&outcome.after, unit);
    let counts: Vec<i32> = operation.units.iter().map(applied).collect();
    for (unit, count) in operation.units.iter().zip(&counts) {
        claim(
            (0..=1).contains(count),
            format!("{unit} was made {count} times"),
        );
    }
    let made = |index: usize| counts.get(index).is_some_and(|count| *count > 0);
    let all = (0..counts.len()).all(made);
    let any = (0..counts.len()).any(made);
    let error = match &outcome.result {
        Ok(value) => {
            claim(all, format!("a success, and the writes are {counts:?}"));
            claim(
                expected == Some(value.as_str()),
                format!("{value}, not {expected:?}"),
            );
            return problems;
        }
        Err(error) => error,
    };
    let written = verdict(error);
    let holds = match written {
        Written::No => !any && outcome.before == outcome.after,
        Written::Partly => any,
        Written::Yes => all,
        Written::Unknown => true,
    };
    claim(holds, format!("{written:?}, and the writes are {counts:?}"));
    claim(
        operation.kind != Kind::Read || written == Written::No,
        format!("a read with {written:?}"),
    );
    let failure = error.write_failure();
    for failed in failure.iter().flat_map(|failure| &failure.errors) {
        let index = failed.index;
        claim(index < counts.len(), format!("no write {index}"));
        let is_one = operation.kind != Kind::Many;
        claim(
            !is_one || !made(index),
            format!("{index} failed, and was made"),
        );
    }
    if let Some(end) = failure.and_then(|failure| failure.stopped_at) {
        let later = (end..counts.len()).find(|index| made(*index));
        claim(
            later.is_none(),
            format!("{later:?} was made behind the end"),
        );
    }
    let partial = error.bulk_failure();
    if let Some(partial) = partial.and_then(|failure| failure.partial_result.as_ref()) {
        let total = partial.inserted_count()
            + partial.modified_count()
            + partial.deleted_count()
            + partial.upserted_count();
        let made_in_all: i32 = counts.iter().sum();
        claim(
            total <= u64::try_from(made_in_all).unwrap_or(0),
            format!("{total} writes are counted of {counts:?}"),
        );
        for index in named(partial) {
            claim(made(index), format!("{index} succeeded, and was not made"));
        }
    }
    problems
}

/// The indexes of the writes that a partial result names as made.
fn named(partial: &PartialBulkWriteResult) -> Vec<usize> {
    match partial {
        PartialBulkWriteResult::Collection(result) => {
            let upserted = result.upserted_ids.keys();
            result
                .inserted_ids
                .keys()
                .chain(upserted)
                .copied()
                .collect()
        }
        PartialBulkWriteResult::Verbose(result) => {
            let updates = result.update_results.keys();
            let deletes = result.delete_results.keys();
            let others = updates.chain(deletes);
            result
                .insert_results
                .keys()
                .chain(others)
                .copied()
                .collect()
        }
        _ => Vec::new(),
    }
}
