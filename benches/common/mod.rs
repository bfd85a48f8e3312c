//! The common parts of the benchmarks: a server in a separate process, CPU times, medians, bare messages.

#![allow(dead_code, reason = "each benchmark uses some of it")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use mongotls::bson::RawDocumentBuf;

/// This program, started again with the word `serve`; it ends when this is dropped.
pub(crate) struct ServerProcess {
    child: Child,
    /// The line that it printed when it was ready.
    pub(crate) ready: String,
}

impl ServerProcess {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut ready).unwrap();
        let ready = ready.trim_end().to_owned();
        Self { child, ready }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// In the server's process: returns when the other process ends it.
pub(crate) fn wait_for_the_end() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The CPU time of this thread for one call, in microseconds.
pub(crate) fn cpu(calls: u32, work: &mut impl FnMut()) -> f64 {
    times(calls, work).0
}

/// The CPU time of this thread and the elapsed time for one call, in microseconds.
pub(crate) fn times(calls: u32, work: &mut impl FnMut()) -> (f64, f64) {
    let (cpu, started) = (thread_cpu_ns(), Instant::now());
    for _ in 0..calls {
        work();
    }
    let each = |ns: f64| ns / 1000.0 / f64::from(calls);
    let clock = started.elapsed().as_secs_f64() * 1e9;
    (each(thread_cpu_ns() - cpu), each(clock))
}

/// The first number of schedstat: nanoseconds on a CPU.
pub(crate) fn thread_cpu_ns() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Sends a message and reads the reply into a buffer.
pub(crate) fn exchange(stream: &mut (impl Read + Write), message: &[u8], reply: &mut Vec<u8>) {
    stream.write_all(message).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    reply.resize(u32::from_le_bytes(length) as usize - 4, 0);
    stream.read_exact(reply).unwrap();
}

/// An OP_MSG with one body.
pub(crate) fn message(body: &RawDocumentBuf) -> Vec<u8> {
    let size = u32::try_from(21 + body.as_bytes().len()).unwrap();
    let words = [size, 1, 0, 2013, 0].map(u32::to_le_bytes).concat();
    [&words[..], &[0], body.as_bytes()].concat()
}
