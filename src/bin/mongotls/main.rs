//! `mongotls`: ping a MongoDB deployment, run a command on it, and find out why that fails; look at the
//! files that TLS needs.
//!
//! The steps of a call: `args` turns the command line into a plan, `given` fetches what it names, one module a command
//! carries it out with the public API of the crate alone, and `output` prints. Exit codes: 0 all is well, 1 what was
//! asked for failed or the doctor found a failure, 2 the command line is wrong or the output cannot be written.

mod args;
mod deployment;
mod doctor;
mod extended_json;
mod given;
mod inspect;
mod json;
mod output;
mod ping;
mod run;
mod usage;
mod version;
mod waiting;

use std::io;
use std::process::ExitCode;

use mongotls::Error;
use serde_json::{Value, json};

use self::args::{Plan, Task};
use self::output::{Screen, Tone};

/// How a command ended.
enum Verdict {
    Well,
    Failed,
    /// The command line asks for what is not there.
    NotRun(String),
}

fn main() -> ExitCode {
    let filter = env_logger::Env::new().filter_or("MONGOTLS_LOG", "warn");
    env_logger::Builder::from_env(filter).init();
    let has_uri = std::env::var_os(given::URI_VARIABLE).is_some_and(|uri| !uri.is_empty());
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let mut json = words.iter().any(|word| word == "--json");
    let ended = match args::parse(words, has_uri) {
        Ok(plan) => {
            json = plan.json;
            carry_out(plan)
        }
        Err(complaint) => Ok(Verdict::NotRun(format!(
            "{complaint}\nTry: mongotls --help"
        ))),
    };
    match ended.and_then(|verdict| end(verdict, json)) {
        Ok(code) => code,
        Err(error) => {
            let _ = Screen::stderr().line(&format!("mongotls: cannot write the output: {error}"));
            ExitCode::from(2)
        }
    }
}

fn end(verdict: Verdict, json: bool) -> io::Result<ExitCode> {
    match verdict {
        Verdict::Well => Ok(ExitCode::SUCCESS),
        Verdict::Failed => Ok(ExitCode::from(1)),
        Verdict::NotRun(complaint) => {
            if json {
                let mut outcome = json::outcome(None);
                let first = complaint.lines().next();
                (outcome["ok"], outcome["message"]) = (json!(false), json!(first));
                Screen::stdout().json(&Value::Object(outcome))?;
            } else {
                let _ = Screen::stderr().line(&format!("mongotls: {complaint}"));
            }
            Ok(ExitCode::from(2))
        }
    }
}

fn carry_out(plan: Plan) -> io::Result<Verdict> {
    let mut screen = Screen::stdout();
    let json = plan.json;
    match plan.task {
        Task::Help(topic) => screen.line(&topic.text()).map(|()| Verdict::Well),
        Task::Version if json => screen.json(&version::json()).map(|()| Verdict::Well),
        Task::Version => screen.line(&version::text()).map(|()| Verdict::Well),
        Task::Ping { target, count } => match target.fetch() {
            Ok(target) => ping::ping(&mut screen, target, count, json),
            Err(complaint) => Ok(Verdict::NotRun(complaint)),
        },
        Task::Run {
            target,
            database,
            command,
            all,
        } => {
            let command = command.fetch("the command");
            let command = command.and_then(|text| extended_json::command(&text));
            match command.and_then(|command| Ok((command, target.fetch()?))) {
                Ok((command, target)) => {
                    let run = run::Run {
                        database,
                        command,
                        all,
                        json,
                    };
                    run::run(&mut screen, target, run)
                }
                Err(complaint) => Ok(Verdict::NotRun(complaint)),
            }
        }
        Task::Doctor { target } => match target.fetch() {
            Ok(target) => doctor::doctor(&mut screen, target, json),
            Err(complaint) => Ok(Verdict::NotRun(complaint)),
        },
        Task::Inspect {
            files,
            password_file,
        } => inspect::inspect(&mut screen, &files, password_file.as_deref(), json),
    }
}

/// Prints an error and its remedy to standard error. A failure to print does not change the exit code.
fn complain(error: &Error) {
    let mut screen = Screen::stderr();
    // In one line or in several, and printable.
    let text = error.to_string();
    let mut shown = format!("{} {text}", screen.paint(Tone::Bad, "mongotls:"));
    // A message that already has the remedy of each server needs no repetition.
    if let Some(cause) = error.cause().filter(|cause| !text.contains(cause.remedy())) {
        let code = screen.paint(Tone::Faint, format!("[{}]", cause.code()));
        shown += &format!(" {code}\n  {}", cause.remedy());
    }
    let _ = screen.line(&shown);
}
