//! `mongotls`: pings a MongoDB deployment, runs a command on it, and explains why that fails or is slow; follows its
//! changes; stores files; inspects the files that TLS needs.
//!
//! The steps of a call: `args` turns the command line into a plan, `input` fetches the values that it names, one module
//! for each command carries it out with only the public API of the crate, and `output` prints. Exit codes: 0 means
//! success; 1 means that the command failed, or the doctor or `explain` found something; 2 means that the command line
//! is wrong or the output cannot be written.

mod args;
mod deployment;
mod doctor;
mod explain;
mod extended_json;
mod gridfs;
mod input;
mod inspect;
mod json;
mod log_setup;
mod output;
mod ping;
mod run;
mod usage;
mod version;
mod wait_notice;
mod watch;

use std::io;
use std::process::ExitCode;

use mongotls::Error;
use serde_json::{Value, json};

use self::args::{Plan, Task};
use self::output::{Screen, Tone};

/// The result of a command.
enum Verdict {
    Well,
    Failed,
    /// The command line names something that does not exist.
    NotRun(String),
}

fn main() -> ExitCode {
    log_setup::start();
    let has_uri = std::env::var_os(input::URI_VARIABLE).is_some_and(|uri| !uri.is_empty());
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let mut json = words.iter().any(|word| word == "--json");
    let ended = match args::parse(words, has_uri) {
        Ok(plan) => {
            json = plan.json;
            execute(plan)
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

fn execute(plan: Plan) -> io::Result<Verdict> {
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
        Task::Explain {
            target,
            database,
            command,
        } => {
            let command = command.fetch("the command");
            let command = command.and_then(|text| extended_json::command(&text));
            let explain =
                command.and_then(|command| explain::Explain::new(database, command, json));
            match explain.and_then(|explain| Ok((explain, target.fetch()?))) {
                Ok((explain, target)) => explain::explain(&mut screen, target, &explain),
                Err(complaint) => Ok(Verdict::NotRun(complaint)),
            }
        }
        Task::Watch {
            target,
            database,
            collection,
            resume,
        } => {
            let resume = resume.map(|token| token.parse()).transpose();
            let resume = resume.map_err(|error: Error| format!("--resume: {error}"));
            match resume.and_then(|resume| Ok((resume, target.fetch()?))) {
                Ok((resume, target)) => {
                    let watching = watch::Watching {
                        database,
                        collection,
                        resume,
                        json,
                    };
                    watch::watch(&mut screen, target, watching)
                }
                Err(complaint) => Ok(Verdict::NotRun(complaint)),
            }
        }
        Task::GridFs {
            target,
            database,
            bucket,
            task,
        } => match target.fetch() {
            Ok(target) => gridfs::gridfs(&mut screen, target, &database, bucket, task, json),
            Err(complaint) => Ok(Verdict::NotRun(complaint)),
        },
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

/// Prints an error and its remedy to standard error. If that fails, the exit code does not change.
fn print_error(error: &Error) {
    let mut screen = Screen::stderr();
    // The text has one or several lines, and is printable.
    let text = error.to_string();
    let mut shown = format!("{} {text}", screen.paint(Tone::Bad, "mongotls:"));
    // If the message already contains the remedy of each server, the remedy is not repeated.
    if let Some(cause) = error.cause().filter(|cause| !text.contains(cause.remedy())) {
        let code = screen.paint(Tone::Faint, format!("[{}]", cause.code()));
        shown += &format!(" {code}\n  {}", cause.remedy());
    }
    let _ = screen.line(&shown);
}
