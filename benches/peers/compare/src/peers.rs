//! The workers: a program for each peer, which runs commands line by line.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::server::Server;

/// The peers, in the order of the table.
pub(crate) const NAMES: [&str; 6] = [
    FLOOR,
    OURS,
    "libmongoc",
    "official-openssl",
    "official-rustls",
    PYMONGO,
];

pub(crate) const FLOOR: &str = "floor";
pub(crate) const OURS: &str = "mongotls";
pub(crate) const PYMONGO: &str = "pymongo";

/// One peer.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// The program and the arguments before the server's port.
    program: Vec<PathBuf>,
}

impl Peer {
    pub(crate) fn named(name: &'static str) -> Self {
        let here = env::current_exe().expect("the path of this program");
        let programs = here.parent().expect("its folder");
        let program = if name == PYMONGO {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pymongo/worker.py");
            vec![programs.join("pymongo/bin/python"), script]
        } else {
            vec![programs.join(format!("worker-{name}"))]
        };
        Self { name, program }
    }

    /// Starts it, under another program if given.
    pub(crate) fn start(&self, under: &[&str], server: &Server) -> Worker {
        let mut words = under
            .iter()
            .map(PathBuf::from)
            .chain(self.program.iter().cloned());
        let mut process = Command::new(words.next().expect("a program"))
            .args(words)
            .args([&server.port.to_string(), &server.ca_file])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.name));
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("its output"));
        Worker {
            name: self.name,
            process,
            input,
            output,
        }
    }
}

/// A running worker; it ends when this is dropped.
pub(crate) struct Worker {
    name: &'static str,
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Runs a command, and returns its numbers or the reason why there are none.
    pub(crate) fn ask(&mut self, line: &str) -> Result<Vec<f64>, String> {
        let input = self.input.as_mut().expect("it is not ended yet");
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{}: {line}: {error}", self.name));
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("a line");
        if let Some(reason) = answer.trim_end().strip_prefix("no ") {
            return Err(reason.to_owned());
        }
        let numbers: Vec<f64> = answer.split_whitespace().flat_map(str::parse).collect();
        assert!(!numbers.is_empty(), "{} did not do this: {line}", self.name);
        Ok(numbers)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}
