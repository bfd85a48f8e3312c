//! The server, in a separate process: one that resumes sessions, and one that does not.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use mongotls::bson::{Document, doc};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Hello, Request, Server, ServerTls};

use crate::common::{ServerProcess, wait_for_the_end};

/// The data about the process.
pub(crate) struct Servers {
    /// The process id.
    pub(crate) process: u32,
    /// A connection string for the server that resumes sessions; more options may follow.
    pub(crate) resuming: String,
    /// A connection string for the server that does not.
    pub(crate) forgetful: String,
    _process: ServerProcess,
}

impl Servers {
    pub(crate) fn start() -> Self {
        let process = ServerProcess::start();
        let words: Vec<&str> = process.ready.split(' ').collect();
        let uri = |port| {
            format!(
                "mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={}",
                words[3]
            )
        };
        Self {
            process: words[0].parse().unwrap(),
            resuming: uri(words[1]),
            forgetful: uri(words[2]),
            _process: process,
        }
    }
}

/// Serves until standard input ends; prints its process id, the ports and the path of the CA file.
pub(crate) fn serve() {
    let root = Ca::root("root", KeyKind::EcP256);
    let tls = ServerTls::new(&root.issue(LeafSpec::local_server()));
    let resuming = start(tls.clone());
    let forgetful = start(tls.tickets(0));
    let dir = PkiDir::new();
    println!(
        "{} {} {} {}",
        std::process::id(),
        resuming.port(),
        forgetful.port(),
        dir.write("ca.pem", root.cert_pem()).display()
    );
    wait_for_the_end();
}

fn start(tls: ServerTls) -> Server {
    let meeting = Meeting::default();
    let builder = Server::builder().hello(Hello::mongos()).tls(tls);
    let builder = builder.handle(MEET, move |request| meeting.answer(request));
    builder.log_limit(0).start()
}

/// A command that is answered when as many have come as its number says, each on its own connection.
pub(crate) const MEET: &str = "benchMeet";

#[derive(Default)]
struct Meeting {
    /// The number of commands that have come for each number.
    arrived: Mutex<HashMap<i32, i32>>,
    all: Condvar,
}

impl Meeting {
    fn answer(&self, request: &Request) -> Option<Document> {
        let expected = request.body.get_i32(MEET).unwrap();
        let mut arrived = self.arrived.lock().unwrap();
        let count = arrived.entry(expected).or_default();
        *count += 1;
        let all = (*count + expected - 1) / expected * expected;
        if *count == all {
            self.all.notify_all();
        }
        let waits = |arrived: &mut HashMap<i32, i32>| arrived[&expected] < all;
        drop(self.all.wait_timeout_while(arrived, LIMIT, waits));
        Some(doc! { "ok": 1.0 })
    }
}

/// The time limit for the wait for the others.
const LIMIT: Duration = Duration::from_secs(60);
