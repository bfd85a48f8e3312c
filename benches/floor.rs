//! What this library costs above the floor: a bare program on the `openssl` crate that does the same.
//!
//! `cargo bench --bench floor` runs both in turn against a server of the test bench and prints the CPU
//! time of the client's thread, as medians, and their ratio. The server is a process of its own: this
//! program, started again with the word `serve`.
//!
//! New clients go through a load balancer, as far as they can tell: they have no monitors, so that all they do is done by
//! the thread that is measured, with one full handshake, as the floor does it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers"
)]

mod common;

use std::env;
use std::fs;
use std::hint::black_box;
use std::net::TcpStream;
use std::path::Path;

use mongotls::Client;
use mongotls::bson::oid::ObjectId;
use mongotls::bson::{doc, rawdoc};
use mongotls_testbench::compress::Compressor;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Hello, Server, ServerTls};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;

use self::common::{ServerProcess, cpu, exchange, median, message, wait_for_the_end};

const ROUNDS: usize = 15;

fn main() {
    if env::args().nth(1).as_deref() == Some("serve") {
        return serve();
    }
    let server = ServerProcess::start();
    let (port, ca_file) = server.ready.split_once(' ').unwrap();
    let (port, ca_file) = (port.parse().unwrap(), Path::new(ca_file));
    measure(port, ca_file);
}

/// Serves until standard input ends; prints the port and the path of the CA file.
fn serve() {
    let root = Ca::root("root", KeyKind::EcP256);
    let tls = ServerTls::new(&root.issue(LeafSpec::local_server()));
    let hello = Hello {
        compressors: Compressor::ALL.map(|one| one.name().to_owned()).into(),
        extra: doc! { "serviceId": ObjectId::new() },
        ..Hello::mongos()
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

fn measure(port: u16, ca_file: &Path) {
    let uri = format!(
        "mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={}",
        ca_file.display()
    );

    println!(
        "{:<34} {:>10} {:>10} {:>7}",
        "client CPU, median", "floor", "mongotls", "ratio"
    );
    let mut floor = Floor::connect(&context(ca_file), port);
    let client = Client::connect(&uri).unwrap();
    let admin = client.database("admin");
    let ping = rawdoc! { "ping": 1_i32 };
    compare(
        "sequential ping",
        2000,
        || floor.ping(),
        || {
            black_box(admin.run_raw_command(ping.as_ref()).unwrap());
        },
    );

    // With the features of the compressors: what a small command and its reply cost more.
    for compressor in Compressor::ALL.map(Compressor::name) {
        let client = Client::connect(&format!("{uri}&compressors={compressor}")).unwrap();
        let admin = client.database("admin");
        let compressed = || {
            black_box(admin.run_raw_command(ping.as_ref()).unwrap());
        };
        let name = format!("the same, compressed with {compressor}");
        compare(&name, 2000, || floor.ping(), compressed);
    }

    let shared = context(ca_file);
    let uri = format!("{uri}&loadBalanced=true");
    let new_client = || {
        let client = Client::connect(&uri).unwrap();
        black_box(
            client
                .database("admin")
                .run_raw_command(ping.as_ref())
                .unwrap(),
        );
    };
    compare(
        "new client with a CA file, and ping",
        20,
        || Floor::connect(&context(ca_file), port).ping(),
        new_client,
    );
    compare(
        "the same, floor with a shared context",
        20,
        || Floor::connect(&shared, port).ping(),
        new_client,
    );
    compare(
        "Client::connect without network",
        50,
        || drop(context(ca_file)),
        || drop(Client::connect(&uri).unwrap()),
    );
}

/// Runs both in turn and prints the medians of their CPU times for one call.
fn compare(name: &str, calls: u32, mut floor: impl FnMut(), mut ours: impl FnMut()) {
    let (mut floors, mut others) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (a, b) = (cpu(calls, &mut floor), cpu(calls, &mut ours));
        // The first round warms up.
        if round > 0 {
            floors.push(a);
            others.push(b);
        }
    }
    let mut ratios: Vec<f64> = floors.iter().zip(&others).map(|(a, b)| b / a).collect();
    let (a, b, ratio) = (
        median(&mut floors),
        median(&mut others),
        median(&mut ratios),
    );
    println!("{name:<34} {a:>7.1} µs {b:>7.1} µs {ratio:>7.2}");
}

/// A context as a careful program would build it.
fn context(ca_file: &Path) -> SslContext {
    let mut store = X509StoreBuilder::new().unwrap();
    for certificate in X509::stack_from_pem(&fs::read(ca_file).unwrap()).unwrap() {
        store.add_cert(certificate).unwrap();
    }
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    builder.set_cert_store(store.build());
    builder.set_verify(SslVerifyMode::PEER);
    builder.build()
}

/// The bare program: it writes prebuilt messages and reads replies.
struct Floor {
    stream: SslStream<TcpStream>,
    reply: Vec<u8>,
}

impl Floor {
    fn connect(context: &SslContext, port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut ssl = Ssl::new(context).unwrap();
        ssl.param_mut()
            .set_ip("127.0.0.1".parse().unwrap())
            .unwrap();
        let mut floor = Self {
            stream: ssl.connect(socket).unwrap(),
            reply: Vec::new(),
        };
        floor.exchange(&message(&rawdoc! { "hello": 1_i32, "$db": "admin" }));
        floor
    }

    fn ping(&mut self) {
        self.exchange(&message(&rawdoc! { "ping": 1_i32, "$db": "admin" }));
    }

    fn exchange(&mut self, message: &[u8]) {
        exchange(&mut self.stream, message, &mut self.reply);
    }
}
