//! Changes the expected values of cases one at a time. A change that no case notices shows a comparison that the
//! runner does not make, or a value that the case does not determine.

use std::sync::Arc;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::lanes::{Lane, Lanes};
use super::lock;
use super::requirements;
use super::scan::{self, Plan};
use super::schema;
use super::suite::{Suite, Validity};
use crate::skips::SKIPS;

/// A change of one value of a case.
struct Mutant {
    suite: usize,
    case: usize,
    /// The path in the case.
    pointer: String,
    value: Value,
}

/// Runs at most `limit` changes, evenly spread over all of them, and prints those that pass.
pub(crate) fn run(suites: &[Suite], limit: Option<usize>) {
    let mut mutants = Vec::new();
    for (suite_index, suite) in suites.iter().enumerate() {
        if suite.validity != Validity::Pass || schema::check(&suite.file).is_err() {
            continue;
        }
        for (index, case) in super::cases(&suite.file).iter().enumerate() {
            let is_skipped = SKIPS
                .iter()
                .any(|skip| skip.suite == suite.name && case["description"] == skip.description);
            let can_run = !is_skipped
                && case["skipReason"].is_null()
                && matches!(scan::scan(&suite.file, case), Ok(Plan::Run));
            if can_run {
                for (pointer, value) in changes(case) {
                    mutants.push(Mutant {
                        suite: suite_index,
                        case: index,
                        pointer,
                        value,
                    });
                }
            }
        }
    }
    let all = mutants.len();
    let step = limit.map_or(1, |limit| all.div_ceil(limit.max(1)).max(1));
    let mutants: Vec<_> = mutants.into_iter().step_by(step).collect();
    let counts = Mutex::new((0, 0, 0));
    Lanes::new(true).each(&mutants, |mutant, lane| {
        let suite = &suites[mutant.suite];
        let outcome = survives(suite, mutant, lane);
        let mut counts = lock(&counts);
        match outcome {
            Some(true) => {
                counts.1 += 1;
                let case = &super::cases(&suite.file)[mutant.case];
                let (name, description) = (&suite.name, &case["description"]);
                let before = case.pointer(&mutant.pointer).unwrap_or(&Value::Null);
                println!(
                    "unnoticed: {name} {description} {}: {before} changed to {}",
                    mutant.pointer, mutant.value
                );
            }
            Some(false) => counts.0 += 1,
            None => counts.2 += 1,
        }
    });
    let (noticed, unnoticed, not_run) = *lock(&counts);
    println!(
        "{noticed} of {all} changes noticed, {unnoticed} unnoticed, {not_run} without a passing case"
    );
}

/// Returns true if the changed case passes, and `None` if the case does not pass without the change.
fn survives(suite: &Suite, mutant: &Mutant, lane: &Lane) -> Option<bool> {
    let case = &super::cases(&suite.file)[mutant.case];
    let configurations = suite.configurations(case);
    let configuration = configurations.into_iter().find(|one| {
        lane.deployment(*one).is_ok_and(|deployment| {
            requirements::has_parameters(&deployment, &suite.file, case)
                && lane.run(*one, &suite.file, mutant.case).is_ok()
        })
    })?;
    let mut changed = Value::clone(&suite.file);
    let pointer = format!("/tests/{}{}", mutant.case, mutant.pointer);
    *changed.pointer_mut(&pointer)? = mutant.value.clone();
    if schema::check(&changed).is_err() {
        return Some(false);
    }
    Some(
        lane.run(configuration, &Arc::new(changed), mutant.case)
            .is_ok(),
    )
}

/// The changes of the expected values of a case.
fn changes(case: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for field in ["expectEvents", "expectLogMessages", "outcome"] {
        if !case[field].is_null() {
            walk(&case[field], &format!("/{field}"), &mut found);
        }
    }
    operations(&case["operations"], "/operations", &mut found);
    found
}

fn operations(operations: &Value, pointer: &str, found: &mut Vec<(String, Value)>) {
    for (index, operation) in super::items(operations).iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        for field in ["expectResult", "expectError"] {
            if !operation[field].is_null() {
                walk(&operation[field], &format!("{pointer}/{field}"), found);
            }
        }
        let is_assertion = operation["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("assert"));
        for field in ["count", "connections", "topologyType"] {
            let value = &operation["arguments"][field];
            if is_assertion && !value.is_null() {
                walk(value, &format!("{pointer}/arguments/{field}"), found);
            }
        }
        let nested = &operation["arguments"]["operation"];
        for field in ["expectResult", "expectError"] {
            if !nested[field].is_null() {
                walk(
                    &nested[field],
                    &format!("{pointer}/arguments/operation/{field}"),
                    found,
                );
            }
        }
    }
}

/// Collects a change of each value in a value.
fn walk(value: &Value, pointer: &str, found: &mut Vec<(String, Value)>) {
    let changed = match value {
        Value::Null => json!("changed"),
        Value::Bool(flag) => json!(!flag),
        Value::Number(number) => match number.as_i64() {
            Some(number) => json!(number.wrapping_add(1_000_003)),
            None => json!(number.as_f64().unwrap_or(0.0) + 1_000_003.5),
        },
        Value::String(text) => json!(format!("{text}-changed")),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &format!("{pointer}/{index}"), found);
            }
            // One more type or label, or another list for the same client, is no other expectation.
            let name = pointer.rsplit('/').next().unwrap_or_default();
            let is_set = ["$$type", "errorLabelsContain", "errorLabelsOmit"].contains(&name);
            if is_set || pointer.matches('/').count() == 1 {
                return;
            }
            let mut more = items.clone();
            more.push(
                items
                    .last()
                    .cloned()
                    .unwrap_or_else(|| json!({ "changed": 1 })),
            );
            found.push((pointer.to_owned(), Value::Array(more)));
            return;
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                // They name an entity or a class of events, and do not expect anything.
                let is_name = ["client", "eventType", "databaseName", "collectionName"]
                    .contains(&name.as_str());
                let is_root = pointer.matches('/').count() <= 2;
                let is_flag = ["ignoreExtraEvents", "ignoreExtraMessages", "ignoreMessages"]
                    .contains(&name.as_str());
                if !(is_name && is_root || is_flag) {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    walk(value, &format!("{pointer}/{name}"), found);
                }
            }
            return;
        }
    };
    found.push((pointer.to_owned(), changed));
}
