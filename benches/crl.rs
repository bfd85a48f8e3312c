//! The cost of a CRL of a million entries, compared with a bare program that uses OpenSSL's own loader.
//!
//! `cargo bench --bench crl` makes the CRL, makes each of the two load it from PEM and from DER and then run some
//! handshakes, and prints CPU time and memory with their ratios. Each load runs in a separate process, this program
//! started again, so that its peak memory is that of one load; the processes take turns, and the figures are medians.
//! No session is resumed, because a resumed handshake checks no CRL.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers"
)]

mod common;

use std::env;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mongotls::options::TlsOptions;
use mongotls::tls::TlsContext;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir, Revocation, random_serial};
use mongotls_testbench::server::{Server, ServerTls};
use openssl::ssl::{Ssl, SslContext, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::store::{X509Lookup, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{CrlReason, X509};

use self::common::{ServerProcess, median, thread_cpu_ns, wait_for_the_end};

const ENTRIES: usize = 1_000_000;
const ROUNDS: usize = 5;
const HANDSHAKES: usize = 9;
const RELOADS: usize = 5;
const FORMS: [&str; 2] = ["pem", "der"];
const PROGRAMS: [&str; 2] = ["openssl", "mongotls"];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", ..] => serve(),
        ["load", program, form, port, folder] => {
            let files = Files::of(folder, form);
            let port = port.parse().unwrap();
            match program {
                "openssl" => load(
                    || bare_context(&files),
                    |context| bare_handshake(context, port),
                ),
                _ => load(
                    || our_context(&files),
                    |context| our_handshake(context, port),
                ),
            }
        }
        ["reload", folder] => reload(&Files::of(folder, "pem")),
        _ => compare(),
    }
}

/// Serves until standard input ends; prints the port and the folder with the files.
fn serve() {
    let root = Ca::root("root", KeyKind::EcP256);
    let tls = ServerTls::new(&root.issue(LeafSpec::local_server()));
    let server = Server::builder().tls(tls).log_limit(0).start();
    let dir = PkiDir::new();
    dir.write("ca.pem", root.cert_pem());
    // Serial numbers in random order, and a reason for every other one, as in real lists.
    let crl = (0..ENTRIES).fold(root.crl(), |crl, n| {
        let revocation = Revocation::of_serial(&random_serial());
        crl.revoke(match n % 2 {
            0 => revocation,
            _ => revocation.reason(CrlReason::SUPERSEDED),
        })
    });
    let crl = crl.build();
    dir.write("crl.pem", crl.to_pem().unwrap());
    dir.write("crl.der", crl.to_der().unwrap());
    println!("{} {}", server.port(), dir.path().display());
    wait_for_the_end();
}

fn compare() {
    let server = ServerProcess::start();
    let (port, folder) = server.ready.split_once(' ').unwrap();
    // A table for each form: a column for each program, with its values for each row.
    let mut figures: [[[Vec<f64>; 6]; 2]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (form, figures) in FORMS.iter().zip(&mut figures) {
            for (program, figures) in PROGRAMS.iter().zip(figures) {
                let found = child(&["load", program, form, port, folder]);
                for (values, value) in figures.iter_mut().zip(found) {
                    values.push(value);
                }
            }
        }
    }

    println!("a CRL of {ENTRIES} entries, medians of {ROUNDS} processes each");
    for (form, figures) in FORMS.iter().zip(&mut figures) {
        let size = fs::metadata(Path::new(folder).join(format!("crl.{form}")))
            .unwrap()
            .len();
        println!();
        println!(
            "{:<26} {:>12} {:>12} {:>7}",
            format!("{form}, {} MB", size / 1_000_000),
            PROGRAMS[0],
            PROGRAMS[1],
            "ratio"
        );
        let rows = [
            ("load, CPU", "ms"),
            ("first handshake, CPU", "ms"),
            ("both together, CPU", "ms"),
            ("later handshakes, CPU", "ms"),
            ("load, peak of memory", "MB"),
            ("memory held then", "MB"),
        ];
        let [floors, ours] = figures;
        for ((row, unit), (floor, our)) in rows.iter().zip(floors.iter_mut().zip(ours)) {
            let mut ratios: Vec<f64> = floor.iter().zip(&*our).map(|(a, b)| b / a).collect();
            let (a, b, ratio) = (median(floor), median(our), median(&mut ratios));
            println!("{row:<26} {a:>9.1} {unit} {b:>9.1} {unit} {ratio:>7.2}");
        }
    }

    let [first, second, last, held] = child(&["reload", folder])[..] else {
        unreachable!("the child prints four figures")
    };
    println!();
    println!(
        "peak of memory: {first:.0} MB after one load, {second:.0} after a reload, {last:.0} after {RELOADS}; held then: {held:.0}"
    );
}

/// The figures that this program prints when it is started again with `arguments`.
fn child(arguments: &[&str]) -> Vec<f64> {
    let child = Command::new(env::current_exe().unwrap())
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(child.status.success(), "{arguments:?} failed");
    let text = String::from_utf8(child.stdout).unwrap();
    text.split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect()
}

/// Loads, makes handshakes, and prints the figures of a column.
fn load<C>(load: impl FnOnce() -> C, handshake: impl Fn(&C)) {
    let before = status_mb("VmRSS");
    let mut context = None;
    let cpu = cpu_ms(|| context = Some(load()));
    let context = context.unwrap();
    let (peak, held) = (status_mb("VmHWM") - before, status_mb("VmRSS") - before);
    let first = cpu_ms(|| handshake(&context));
    let mut later: Vec<f64> = (0..HANDSHAKES)
        .map(|_| cpu_ms(|| handshake(&context)))
        .collect();
    let later = median(&mut later);
    println!("{cpu} {first} {} {later} {peak} {held}", cpu + first);
}

/// Loads repeatedly like `Client::reload_tls`: the old context is dropped when the new one exists.
fn reload(files: &Files) {
    let before = status_mb("VmRSS");
    let mut context = our_context(files);
    let mut peaks = vec![status_mb("VmHWM") - before];
    for _ in 0..RELOADS {
        // Contexts of equal files are shared.
        let mut ca = fs::read(&files.ca).unwrap();
        ca.push(b'\n');
        fs::write(&files.ca, ca).unwrap();
        context = our_context(files);
        peaks.push(status_mb("VmHWM") - before);
    }
    let held = status_mb("VmRSS") - before;
    println!("{} {} {} {held}", peaks[0], peaks[1], peaks[RELOADS]);
    drop(context);
}

struct Files {
    ca: PathBuf,
    crl: PathBuf,
    form: SslFiletype,
}

impl Files {
    fn of(folder: &str, form: &str) -> Self {
        let folder = Path::new(folder);
        Self {
            ca: folder.join("ca.pem"),
            crl: folder.join(format!("crl.{form}")),
            form: if form == "pem" {
                SslFiletype::PEM
            } else {
                SslFiletype::ASN1
            },
        }
    }
}

fn our_context(files: &Files) -> TlsContext {
    let options = TlsOptions::builder()
        .ca_file(&files.ca)
        .crl_file(&files.crl)
        .session_resumption(false);
    TlsContext::new(&options.build().unwrap()).unwrap()
}

fn our_handshake(context: &TlsContext, port: u16) {
    context.connect("127.0.0.1", socket(port)).unwrap();
}

/// A context that a careful program would build.
fn bare_context(files: &Files) -> SslContext {
    let mut store = X509StoreBuilder::new().unwrap();
    for certificate in X509::stack_from_pem(&fs::read(&files.ca).unwrap()).unwrap() {
        store.add_cert(certificate).unwrap();
    }
    let lookup = store.add_lookup(X509Lookup::file()).unwrap();
    lookup.load_crl_file(&files.crl, files.form).unwrap();
    store.set_flags(X509VerifyFlags::CRL_CHECK).unwrap();
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    builder.set_cert_store(store.build());
    builder.set_verify(SslVerifyMode::PEER);
    builder.build()
}

fn bare_handshake(context: &SslContext, port: u16) {
    let mut ssl = Ssl::new(context).unwrap();
    ssl.param_mut()
        .set_ip("127.0.0.1".parse().unwrap())
        .unwrap();
    ssl.connect(socket(port)).unwrap();
}

fn socket(port: u16) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn cpu_ms(work: impl FnOnce()) -> f64 {
    let before = thread_cpu_ns();
    work();
    (thread_cpu_ns() - before) / 1e6
}

/// A size from the status of this process: `VmRSS` is the current one, `VmHWM` the peak.
fn status_mb(key: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    let kb: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kb * 1024.0 / 1e6
}
