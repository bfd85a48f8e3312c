//! The cost of compression for a small command: pings on connections with and without compression, in turn, with a
//! server of the test bench in a separate process. Measured: CPU time of the client's thread.
//!
//! `cargo bench --features snappy,zlib,zstd --bench compression`

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers"
)]

mod common;

use std::env;
use std::hint::black_box;

use mongotls::Client;
use mongotls::bson::rawdoc;
use mongotls_testbench::compress::Compressor;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Hello, Server, ServerTls};

use self::common::{ServerProcess, cpu, median, wait_for_the_end};

const ROUNDS: usize = 15;
const CALLS: u32 = 2000;

fn main() {
    if env::args().nth(1).as_deref() == Some("serve") {
        return serve();
    }
    let server = ServerProcess::start();
    let (port, ca_file) = server.ready.split_once(' ').unwrap();
    let uri = format!("mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={ca_file}");
    let names = ["none"]
        .into_iter()
        .chain(Compressor::ALL.map(Compressor::name));
    let mut peers: Vec<_> = names
        .map(|name| {
            let compressors = match name {
                "none" => String::new(),
                name => format!("&compressors={name}"),
            };
            let client = Client::connect(&format!("{uri}{compressors}")).unwrap();
            (name, client.database("admin"), Vec::new())
        })
        .collect();
    let ping = rawdoc! { "ping": 1 };
    for round in 0..=ROUNDS {
        for (_, admin, samples) in &mut peers {
            let sample = cpu(CALLS, &mut || {
                black_box(admin.run_raw_command(ping.as_ref()).unwrap());
            });
            // The first round warms up.
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    println!("a ping, CPU, by compressor");
    for (name, _, samples) in &mut peers {
        println!("{name:<8} {:>7.1} µs", median(samples));
    }
}

/// Serves until standard input ends; prints the port and the path of the CA file.
fn serve() {
    let root = Ca::root("root", KeyKind::EcP256);
    let tls = ServerTls::new(&root.issue(LeafSpec::local_server()));
    let hello = Hello {
        compressors: Compressor::ALL.map(|one| one.name().to_owned()).into(),
        ..Hello::default()
    };
    let server = Server::builder().hello(hello).tls(tls).log_limit(0).start();
    let dir = PkiDir::new();
    println!(
        "{} {}",
        server.port(),
        dir.write("ca.pem", root.cert_pem()).display()
    );
    wait_for_the_end();
}
