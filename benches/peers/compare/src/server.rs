//! The server, in a separate process.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use mongotls_testbench::lean::LeanServer;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::ServerTls;

/// This program, started again with the word `serve`; it ends when this is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
    pub(crate) ca_file: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        let program = env::current_exe().expect("the path of this program");
        let mut process = Command::new(program)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let mut ready = String::new();
        let output = process.stdout.take().expect("its output");
        BufReader::new(output)
            .read_line(&mut ready)
            .expect("a line");
        let (port, ca_file) = ready.trim_end().split_once(' ').expect("a port and a path");
        Self {
            process,
            port: port.parse().expect("a port"),
            ca_file: ca_file.to_owned(),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The CPU time of all its current threads, in nanoseconds.
    pub(crate) fn cpu(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id())).expect("its threads");
        let stats = tasks
            .flatten()
            .map(|task| fs::read_to_string(task.path().join("schedstat")));
        let spent = stats
            .flatten()
            .filter_map(|stat| stat.split(' ').next()?.parse::<f64>().ok());
        spent.sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Serves until standard input ends; prints the port and the path of the CA file.
pub(crate) fn serve() {
    let root = Ca::root("root", KeyKind::EcP256);
    let server = LeanServer::start(ServerTls::new(&root.issue(LeafSpec::local_server())));
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", root.cert_pem());
    println!("{} {}", server.port(), ca_file.display());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// A port without a listener.
pub(crate) fn closed_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its number").port()
}
