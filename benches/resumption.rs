//! What resuming a session saves: CPU time and time on the clock of a handshake with one ping, full and
//! resumed in turn, against a server of the test bench in a process of its own.
//!
//! `cargo bench --bench resumption`

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers"
)]

mod common;

use std::env;
use std::net::TcpStream;

use mongotls::bson::rawdoc;
use mongotls::options::TlsOptions;
use mongotls::tls::TlsContext;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Server, ServerTls};
use openssl::ssl::SslVersion;

use self::common::{ServerProcess, exchange, median, message, times, wait_for_the_end};

const ROUNDS: usize = 15;
const CALLS: u32 = 20;

const CASES: [(&str, SslVersion, KeyKind); 4] = [
    ("TLS 1.3, ECDSA P-256", SslVersion::TLS1_3, KeyKind::EcP256),
    ("TLS 1.3, RSA 2048", SslVersion::TLS1_3, KeyKind::Rsa(2048)),
    ("TLS 1.2, ECDSA P-256", SslVersion::TLS1_2, KeyKind::EcP256),
    ("TLS 1.2, RSA 2048", SslVersion::TLS1_2, KeyKind::Rsa(2048)),
];

fn main() {
    if env::args().nth(1).as_deref() == Some("serve") {
        return serve();
    }
    let server = ServerProcess::start();
    let (ca_file, ports) = server.ready.split_once(' ').unwrap();
    println!(
        "{:<22} {:>10} {:>10} {:>6}   {:>10} {:>10} {:>6}",
        "handshake and ping", "full CPU", "resumed", "ratio", "full time", "resumed", "ratio"
    );
    for ((name, ..), port) in CASES.iter().zip(ports.split(' ')) {
        measure(name, ca_file, port.parse().unwrap());
    }
}

/// Serves each case on a port of its own; prints the path of the CA file and the ports.
fn serve() {
    let root = Ca::root("root", KeyKind::EcP256);
    let mid = root.intermediate("intermediate", KeyKind::EcP256);
    let dir = PkiDir::new();
    print!("{}", dir.write("ca.pem", root.cert_pem()).display());
    let servers = CASES.map(|(_, version, kind)| {
        let identity = mid.issue(LeafSpec::local_server().key_kind(kind));
        let tls = ServerTls::new(&identity).versions(version, version);
        let server = Server::builder().tls(tls).log_limit(0).start();
        print!(" {}", server.port());
        server
    });
    println!();
    wait_for_the_end();
    drop(servers);
}

fn measure(name: &str, ca_file: &str, port: u16) {
    let context = |resumes: bool| {
        let options = TlsOptions::builder()
            .ca_file(ca_file)
            .session_resumption(resumes);
        TlsContext::new(&options.build().unwrap()).unwrap()
    };
    let (full, resuming) = (context(false), context(true));
    let ping = message(&rawdoc! { "ping": 1_i32, "$db": "admin" });
    let mut reply = Vec::new();
    let mut connect = |context: &TlsContext| {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut stream = context.connect("localhost", socket).unwrap();
        exchange(&mut stream, &ping, &mut reply);
    };
    let mut samples: [Vec<f64>; 4] = Default::default();
    for round in 0..=ROUNDS {
        let full = times(CALLS, &mut || connect(&full));
        let resumed = times(CALLS, &mut || connect(&resuming));
        // The first round warms up.
        if round > 0 {
            for (list, value) in samples
                .iter_mut()
                .zip([full.0, resumed.0, full.1, resumed.1])
            {
                list.push(value);
            }
        }
    }
    let (fulls, resumed) = resuming.handshakes();
    assert_eq!((fulls, full.handshakes().1), (1, 0), "{resumed} resumed");
    let [full_cpu, resumed_cpu, full_time, resumed_time] =
        samples.map(|mut list| median(&mut list));
    println!(
        "{name:<22} {full_cpu:>7.0} µs {resumed_cpu:>7.0} µs {:>6.2}   {full_time:>7.0} µs {resumed_time:>7.0} µs {:>6.2}",
        resumed_cpu / full_cpu,
        resumed_time / full_time
    );
}
