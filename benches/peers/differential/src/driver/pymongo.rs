//! PyMongo, in a process of its own.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bson::Document;

use super::Driver;

/// A running `worker.py`; dropping it ends the process.
pub(crate) struct PyMongo {
    process: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl PyMongo {
    /// Starts the worker with an interpreter that has PyMongo.
    pub(crate) fn new(python: &Path, uri: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("worker.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg(uri)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", python.display()));
        let input = process.stdin.take();
        let output = process.stdout.take().expect("its output");
        Self {
            process,
            input,
            output,
        }
    }
}

impl Driver for PyMongo {
    fn run(&mut self, operation: &Document) -> Document {
        let bytes = operation.to_vec().expect("an operation");
        let input = self.input.as_mut().expect("its input");
        input.write_all(&bytes).expect("PyMongo has ended");
        let mut length = [0; 4];
        self.output
            .read_exact(&mut length)
            .expect("PyMongo has ended");
        let size = usize::try_from(i32::from_le_bytes(length)).expect("a length");
        let mut reply = vec![0; size];
        reply[..4].copy_from_slice(&length);
        self.output
            .read_exact(&mut reply[4..])
            .expect("PyMongo has ended");
        Document::from_reader(reply.as_slice()).expect("a result")
    }
}

impl Drop for PyMongo {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}
