//! `mongotls explain`: asks the server how it runs a command, and points out what costs time.
//!
//! `command` checks the command, `plan` reads the reply of any version, and `judge` finds what to say about it. The
//! command is not run by itself: the server executes it for its numbers, and changes nothing.

mod command;
mod judge;
mod plan;

use std::io;

use mongotls::bson::{Document, doc};
use mongotls::{Client, Command, Database, Error};
use serde_json::{Value, json};

use self::command::Explained;
use self::judge::{Finding, count, judge};
use self::plan::{Explanation, Plan};
use crate::input::FetchedUri;
use crate::output::{Screen, Tone, clean};
use crate::{Verdict, extended_json, json as form, print_error, wait_notice};

/// A command to explain, and the form in which the result is printed.
pub(crate) struct Explain {
    database: String,
    explained: Explained,
    json: bool,
}

impl Explain {
    /// Checks the command. The error is a message for the user.
    pub(crate) fn new(database: String, command: Document, json: bool) -> Result<Self, String> {
        Ok(Self {
            database,
            explained: Explained::new(command)?,
            json,
        })
    }
}

/// What the server has answered, and the findings in it.
struct Examined {
    reply: Document,
    explanation: Explanation,
    findings: Vec<Finding>,
}

pub(crate) fn explain(
    screen: &mut Screen,
    target: FetchedUri,
    explain: &Explain,
) -> io::Result<Verdict> {
    let examined = match target.client().and_then(|client| examine(&client, explain)) {
        Ok(examined) => examined,
        Err(error) if explain.json => {
            screen.json(&Value::Object(form::outcome(Some(&error))))?;
            return Ok(Verdict::Failed);
        }
        Err(error) => {
            print_error(&error);
            return Ok(Verdict::Failed);
        }
    };
    let is_good = !examined.findings.iter().any(|finding| finding.is_problem);
    match explain.json {
        true => screen.json(&as_json(examined, is_good))?,
        false => print(screen, &examined, explain)?,
    }
    Ok(if is_good {
        Verdict::Well
    } else {
        Verdict::Failed
    })
}

fn examine(client: &Client, explain: &Explain) -> Result<Examined, Error> {
    let database = client.database(&explain.database);
    let work = || {
        let command = Command::from(explain.explained.explain()).read();
        database.run_command(command)
    };
    let reply = wait_notice::with_notice(|| wait_notice::for_a_server(client), work)?;
    let explanation = Explanation::read(&reply);
    let needs_indexes = explanation.plans.iter().any(Plan::scans_collection);
    let collection = explain.explained.collection.as_deref();
    let indexes = collection.filter(|_| needs_indexes);
    let indexes = indexes.and_then(|collection| list_indexes(&database, collection));
    Ok(Examined {
        findings: judge(&explanation, &explain.explained, indexes.as_deref()),
        reply,
        explanation,
    })
}

/// The indexes of a collection. `None` if the user may not list them, or it is a view.
fn list_indexes(database: &Database, collection: &str) -> Option<Vec<Document>> {
    let list = Command::from(doc! { "listIndexes": collection }).read();
    let cursor = database.run_cursor_command::<Document>(list).ok()?;
    cursor.collect::<Result<_, _>>().ok()
}

fn print(screen: &mut Screen, examined: &Examined, explain: &Explain) -> io::Result<()> {
    let explanation = &examined.explanation;
    let mut row = |name: &str, value: &str| {
        let name = screen.paint(Tone::Faint, format!("{name:<11}"));
        screen.line(&format!("{name} {}", clean(value)))
    };
    if let Some(server) = &explanation.server {
        row("server", server)?;
    }
    row("command", &what(explanation, explain))?;
    for plan in &explanation.plans {
        row("plan", &stages(plan))?;
    }
    if !explanation.pipeline.is_empty() {
        let names = explanation.pipeline.iter().map(|stage| match &stage.shard {
            Some(shard) => format!("{} ({shard})", stage.name),
            None => stage.name.clone(),
        });
        row("then", &names.collect::<Vec<_>>().join(", "))?;
    }
    if let Some(numbers) = numbers(explanation) {
        row("examined", &numbers)?;
    }
    screen.line("")?;
    for finding in &examined.findings {
        let mark = match finding.is_problem {
            true => screen.paint(Tone::Warning, "problem"),
            false => screen.paint(Tone::Faint, "note   "),
        };
        let code = screen.paint(Tone::Faint, format!("[{}]", finding.code));
        screen.line(&format!("  {mark}  {} {code}", clean(&finding.message)))?;
        if let Some(remedy) = &finding.remedy {
            screen.line(&format!("           {}", clean(remedy)))?;
        }
    }
    if examined.findings.is_empty() {
        let verdict = screen.paint(Tone::Good, "all is well");
        screen.line(&format!("  {verdict}"))?;
    }
    Ok(())
}

/// The command, its collection, the engine and the time.
fn what(explanation: &Explanation, explain: &Explain) -> String {
    let explained = &explain.explained;
    let first = explanation.plans.first();
    let target = first.and_then(|plan| plan.namespace.clone());
    let target = target.unwrap_or_else(|| match &explained.collection {
        Some(collection) => format!("{}.{collection}", explain.database),
        None => explain.database.clone(),
    });
    let mut text = format!("{} on {target}", explained.name);
    if first.is_some_and(|plan| plan.is_slot_based) {
        text += ", slot-based engine";
    }
    // Shards work at the same time.
    if let Some(millis) = explanation
        .plans
        .iter()
        .filter_map(|plan| plan.millis)
        .max()
    {
        text += &format!(", {millis} ms");
    }
    text
}

/// The stages of a plan, in the order in which documents pass them.
fn stages(plan: &Plan) -> String {
    let stages = plan.stages.iter().rev().map(|stage| match &stage.index {
        Some(index) => format!("{} {index}", stage.name),
        None => stage.name.clone(),
    });
    let stages = stages.collect::<Vec<_>>().join(" -> ");
    match &plan.shard {
        Some(shard) => format!("{stages} ({shard})"),
        None => stages,
    }
}

fn numbers(explanation: &Explanation) -> Option<String> {
    let docs = explanation.sum(|plan| plan.docs_examined)?;
    let keys = explanation.sum(|plan| plan.keys_examined)?;
    let matched = explanation.sum(|plan| plan.matched)?;
    Some(format!(
        "{} and {}, for {}",
        count(docs, "document", "documents"),
        count(keys, "index key", "index keys"),
        count(matched, "match", "matches"),
    ))
}

fn as_json(examined: Examined, is_good: bool) -> Value {
    let plans = examined.explanation.plans.iter().map(|plan| {
        let names = plan.stages.iter().map(|stage| stage.name.as_str());
        json!({
            "shard": plan.shard,
            "namespace": plan.namespace,
            "stages": names.collect::<Vec<_>>(),
            "indexes": plan.indexes().collect::<Vec<_>>(),
            "slot_based": plan.is_slot_based,
            "matched": plan.matched,
            "documents_examined": plan.docs_examined,
            "keys_examined": plan.keys_examined,
            "execution_ms": plan.millis,
        })
    });
    let plans: Vec<Value> = plans.collect();
    let findings = examined.findings.iter().map(|finding| {
        json!({
            "code": finding.code,
            "severity": if finding.is_problem { "problem" } else { "note" },
            "message": finding.message,
            "remedy": finding.remedy,
        })
    });
    let findings: Vec<Value> = findings.collect();
    let mut outcome = form::outcome(None);
    outcome["ok"] = json!(is_good);
    outcome.insert("findings".to_owned(), json!(findings));
    outcome.insert("plans".to_owned(), json!(plans));
    outcome.insert("reply".to_owned(), extended_json::relaxed(examined.reply));
    Value::Object(outcome)
}
