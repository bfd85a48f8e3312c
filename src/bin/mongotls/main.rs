//! `mongotls`: ping a MongoDB deployment, run a command on it, and find out why that fails; look at the
//! files that TLS needs.
//!
//! The way of a call: `args` turns the command line into a plan, one module a command carries it out
//! with the public API of the crate alone, and `output` prints. Exit codes: 0 all is well, 1 what was
//! asked for failed or the doctor found a failure, 2 the command line is wrong.

mod args;
mod connect;
mod deployment;
mod doctor;
mod extended_json;
mod inspect;
mod json;
mod output;
mod ping;
mod run;

use std::io;
use std::process::ExitCode;

use self::args::{Plan, Task};
use self::output::Screen;

/// How a command ended.
enum Verdict {
    Well,
    Failed,
    /// The command line asks for what is not there.
    NotRun,
}

fn main() -> ExitCode {
    let filter = env_logger::Env::new().filter_or("MONGOTLS_LOG", "warn");
    env_logger::Builder::from_env(filter).init();
    let plan = match args::parse(std::env::args_os().skip(1)) {
        Ok(plan) => plan,
        Err(complaint) => {
            let _ = Screen::stderr().line(&format!("mongotls: {complaint}\nTry: mongotls --help"));
            return ExitCode::from(2);
        }
    };
    match carry_out(plan) {
        Ok(Verdict::Well) => ExitCode::SUCCESS,
        Ok(Verdict::Failed) => ExitCode::from(1),
        Ok(Verdict::NotRun) => ExitCode::from(2),
        Err(error) => {
            let _ = Screen::stderr().line(&format!("mongotls: cannot write the output: {error}"));
            ExitCode::from(2)
        }
    }
}

fn carry_out(plan: Plan) -> io::Result<Verdict> {
    let mut screen = Screen::stdout();
    match plan.task {
        Task::Help => screen.line(args::HELP).map(|()| Verdict::Well),
        Task::Version => screen.line(&version()).map(|()| Verdict::Well),
        Task::Ping { uri, count } => {
            ping::ping(&mut screen, &uri, &plan.connect_to, count, plan.json)
        }
        Task::Run {
            uri,
            database,
            command,
            all,
        } => run::run(&mut screen, &uri, &plan.connect_to, &database, command, all),
        Task::Doctor { uri } => doctor::doctor(&mut screen, &uri, &plan.connect_to, plan.json),
        Task::Inspect {
            files,
            password_file,
        } => inspect::inspect(&mut screen, &files, password_file.as_deref(), plan.json),
    }
}

fn version() -> String {
    format!(
        "mongotls {} ({})",
        env!("CARGO_PKG_VERSION"),
        mongotls::tls::openssl_version()
    )
}
