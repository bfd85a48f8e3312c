//! `mongotls run`: runs one command and prints its reply as relaxed Extended JSON.

use std::io;

use mongotls::bson::{Bson, Document};
use mongotls::{Client, Database, Error};
use serde_json::{Value, json};

use crate::input::FetchedUri;
use crate::output::Screen;
use crate::{Verdict, extended_json, json as form, print_error, wait_notice};

/// A command to run, and the form in which its result is printed.
pub(crate) struct Run {
    pub(crate) database: String,
    pub(crate) command: Document,
    pub(crate) all: bool,
    pub(crate) json: bool,
}

pub(crate) fn run(screen: &mut Screen, target: FetchedUri, run: Run) -> io::Result<Verdict> {
    let json = run.json;
    let outcome = match target.client() {
        Ok(client) => {
            let database = client.database(&run.database);
            match run.all {
                true => all(screen, &client, &database, run)?,
                false => once(screen, &client, &database, run)?,
            }
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(verdict) => Ok(verdict),
        Err(error) if json => {
            let outcome = form::outcome(Some(&error));
            screen.json(&Value::Object(outcome))?;
            Ok(Verdict::Failed)
        }
        Err(error) => {
            print_error(&error);
            Ok(Verdict::Failed)
        }
    }
}

/// Runs the command and prints its reply.
fn once(
    screen: &mut Screen,
    client: &Client,
    database: &Database,
    run: Run,
) -> io::Result<Result<Verdict, Error>> {
    let work = || database.run_command(run.command);
    let reply = match wait_notice::with_notice(|| wait_notice::for_a_server(client), work) {
        Ok(reply) => reply,
        Err(error) => return Ok(Err(error)),
    };
    let failed = partial_failure(&reply);
    let reply = extended_json::relaxed(reply);
    match run.json {
        true => screen.json(&with_reply(failed, reply))?,
        false => screen.indented_json(&reply)?,
    }
    Ok(Ok(verdict(failed, run.json)))
}

/// Runs the command and prints the documents of the cursor in its reply; without a cursor, the reply.
fn all(
    screen: &mut Screen,
    client: &Client,
    database: &Database,
    run: Run,
) -> io::Result<Result<Verdict, Error>> {
    let work = || {
        let (reply, cursor) = database.run_cursor_command_with_reply::<Document>(run.command)?;
        Ok((partial_failure(&reply), reply, cursor))
    };
    let (failed, reply, cursor) =
        match wait_notice::with_notice(|| wait_notice::for_a_server(client), work) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
    let print = |screen: &mut Screen, document| {
        let document = extended_json::relaxed(document);
        match run.json {
            true => screen.json(&json!({ "document": document })),
            false => screen.json(&document),
        }
    };
    let Some(cursor) = cursor else {
        match run.json {
            true => screen.json(&with_reply(failed, extended_json::relaxed(reply)))?,
            false => print(screen, reply)?,
        }
        return Ok(Ok(verdict(failed, run.json)));
    };
    for document in cursor {
        match document {
            Ok(document) => print(screen, document)?,
            Err(error) => return Ok(Err(error)),
        }
        // The reader has closed the output, and the cursor may never end.
        if screen.is_closed() {
            break;
        }
    }
    if run.json {
        let mut outcome = form::outcome(None);
        outcome["ok"] = json!(failed.is_none());
        outcome["message"] = json!(failed);
        screen.json(&Value::Object(outcome))?;
    }
    Ok(Ok(verdict(failed, run.json)))
}

fn with_reply(failed: Option<&str>, reply: Value) -> Value {
    let mut outcome = form::outcome(None);
    outcome["ok"] = json!(failed.is_none());
    outcome["message"] = json!(failed);
    outcome.insert("reply".to_owned(), reply);
    Value::Object(outcome)
}

/// Returns the outcome of the command, and reports it on standard error unless the output is JSON.
fn verdict(failed: Option<&str>, json: bool) -> Verdict {
    match failed {
        None => Verdict::Well,
        Some(why) => {
            if !json {
                let _ = Screen::stderr().line(&format!("mongotls: {why}"));
            }
            Verdict::Failed
        }
    }
}

/// Describes the failed writes that a successful reply reports, if any.
fn partial_failure(reply: &Document) -> Option<&'static str> {
    let has_any = |key| matches!(reply.get(key), Some(Bson::Array(items)) if !items.is_empty());
    let errors = match reply.get("nErrors") {
        Some(Bson::Int32(count)) => i64::from(*count),
        Some(Bson::Int64(count)) => *count,
        Some(Bson::Double(count)) if *count > 0.0 => 1,
        _ => 0,
    };
    let is_document = matches!(reply.get("writeConcernError"), Some(Bson::Document(_)));
    if has_any("writeErrors") {
        Some("writes have failed: the reply has writeErrors")
    } else if errors > 0 {
        Some("writes have failed: nErrors of the reply is not 0")
    } else if is_document || has_any("writeConcernErrors") {
        Some("the write concern was not met: the reply has a writeConcernError")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use mongotls::bson::doc;

    use super::*;

    #[test]
    fn replies_that_tell_of_failed_writes_are_failures() {
        for (reply, expected) in [
            (doc! { "ok": 1, "n": 1 }, None),
            (doc! { "ok": 1, "writeErrors": [], "nErrors": 0 }, None),
            (
                doc! { "ok": 1, "nErrors": 0.0, "writeConcernErrors": [] },
                None,
            ),
            (
                doc! { "ok": 1, "cursor": { "firstBatch": [{ "writeErrors": [1] }] } },
                None,
            ),
            (
                doc! { "ok": 1, "writeErrors": [{ "code": 11000 }] },
                Some("writes have failed: the reply has writeErrors"),
            ),
            (
                doc! { "ok": 1, "nErrors": 2 },
                Some("writes have failed: nErrors of the reply is not 0"),
            ),
            (
                doc! { "ok": 1, "nErrors": 1_i64 },
                Some("writes have failed: nErrors of the reply is not 0"),
            ),
            (
                doc! { "ok": 1, "writeConcernError": { "code": 64 } },
                Some("the write concern was not met: the reply has a writeConcernError"),
            ),
        ] {
            assert_eq!(partial_failure(&reply), expected, "{reply}");
        }
    }
}
