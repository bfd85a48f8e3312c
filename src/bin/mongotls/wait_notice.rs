//! Messages about a wait that takes long.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use mongotls::Client;

use crate::output::{Screen, Tone, clean, ms};

/// Does `work`. If that takes longer than a second and standard error is a terminal, prints once what is delaying it.
pub(crate) fn with_notice<T>(what: impl FnOnce() -> String + Send, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    thread::scope(|scope| {
        // The channel closes when the work is done, even after a panic.
        let (_working, is_done) = mpsc::channel::<()>();
        let notify = move || {
            if is_done.recv_timeout(NOTICE_DELAY) == Err(RecvTimeoutError::Timeout) {
                let mut screen = Screen::stderr();
                let name = screen.paint(Tone::Faint, "mongotls:");
                // A closed terminal is no error here.
                let _ = screen.line(&format!("{name} {}", clean(what())));
            }
        };
        // If no thread can be started, the wait is silent.
        let _ = thread::Builder::new().spawn_scoped(scope, notify);
        work()
    })
}

/// Describes what a command of the client waits for.
pub(crate) fn for_a_server(client: &Client) -> String {
    let topology = client.snapshot().topology;
    let limit = ms(client.options().server_selection_timeout());
    format!(
        "waiting for a server, for at most {limit} (serverSelectionTimeoutMS), and for its reply. Until now: {topology}"
    )
}

/// Describes the wait before the client exists.
pub(crate) fn for_a_client(uri: &str) -> String {
    match uri.starts_with("mongodb+srv:") {
        true => "waiting for the DNS records of the connection string".to_owned(),
        false => "waiting for the files that the connection string names".to_owned(),
    }
}

const NOTICE_DELAY: Duration = Duration::from_secs(1);
