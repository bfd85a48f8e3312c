//! The cost of a handshake with one ping: full, full with a stapled OCSP response, and resumed, in turn, with servers
//! of the test bench in a separate process. Measured: CPU time of the client's thread, and elapsed time.
//!
//! `cargo bench --bench handshakes`

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
    let ports: Vec<u16> = ports.split(' ').map(|port| port.parse().unwrap()).collect();
    println!(
        "{:<30} {:>9} {:>18} {:>18}",
        "handshake and ping", "full", "with a staple", "resumed"
    );
    for ((name, ..), ports) in CASES.iter().zip(ports.chunks(2)) {
        measure(name, ca_file, ports[0], ports[1]);
    }
}

/// Serves each case on two ports, without a staple and with one; prints the path of the CA file and the
/// ports.
fn serve() {
    let root = Ca::root("root", KeyKind::EcP256);
    let dir = PkiDir::new();
    print!("{}", dir.write("ca.pem", root.cert_pem()).display());
    let servers = CASES.map(|(_, version, kind)| {
        let mid = root.intermediate("intermediate", kind);
        let identity = mid.issue(LeafSpec::local_server().key_kind(kind));
        let tls = || ServerTls::new(&identity).versions(version, version);
        let stapled = tls().staple(mid.ocsp(&identity.cert).build());
        [tls(), stapled].map(|tls| {
            let server = Server::builder().tls(tls).log_limit(0).start();
            print!(" {}", server.port());
            server
        })
    });
    println!();
    wait_for_the_end();
    drop(servers);
}

fn measure(name: &str, ca_file: &str, plain: u16, stapled: u16) {
    let context = |resumes: bool| {
        let options = TlsOptions::builder()
            .ca_file(ca_file)
            .session_resumption(resumes);
        TlsContext::new(&options.build().unwrap()).unwrap()
    };
    let (full, with_staple, resuming) = (context(false), context(false), context(true));
    let ping = message(&rawdoc! { "ping": 1_i32, "$db": "admin" });
    let mut reply = Vec::new();
    let mut connect = |context: &TlsContext, port: u16| {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut stream = context.connect("localhost", socket).unwrap();
        exchange(&mut stream, &ping, &mut reply);
    };
    let (mut cpu, mut clock): ([Vec<f64>; 3], [Vec<f64>; 3]) = Default::default();
    for round in 0..=ROUNDS {
        for (index, (context, port)) in
            [(&full, plain), (&with_staple, stapled), (&resuming, plain)]
                .into_iter()
                .enumerate()
        {
            let (of_thread, on_clock) = times(CALLS, &mut || connect(context, port));
            // The first round warms up.
            if round > 0 {
                cpu[index].push(of_thread);
                clock[index].push(on_clock);
            }
        }
    }
    assert_eq!(
        (resuming.full_handshakes(), full.resumed_handshakes()),
        (1, 0)
    );
    for (what, samples) in [("CPU", cpu), ("time", clock)] {
        let [full, with_staple, resumed] = samples.map(|mut list| median(&mut list));
        println!(
            "{:<30} {full:>6.0} µs {with_staple:>6.0} µs ({:>5.2}) {resumed:>6.0} µs ({:>5.2})",
            format!("{name}, {what}"),
            with_staple / full,
            resumed / full
        );
    }
}
