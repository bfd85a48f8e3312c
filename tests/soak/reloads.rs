//! Eight threads of commands while every file of TLS is replaced repeatedly, sometimes by an invalid one, and the
//! server is restarted in between.
//!
//! The client is a separate process, so that its memory is measured without that of the server. The requirements:
//!
//! - no command fails, except while the server is down;
//! - an invalid set is rejected and the old one stays in use; a valid one replaces it;
//! - no command uses an old certificate after a reload has been confirmed;
//! - the client's memory does not grow after the first quarter.

use std::env;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mongotls::Client;
use mongotls::bson::doc;
use mongotls::tls::Certificate;
use mongotls_testbench::net::Bind;
use mongotls_testbench::pki::{Ca, Identity, KeyKind, LeafSpec, PkiDir, Validity};
use mongotls_testbench::server::{ClientAuth, Server, ServerTls};

const THREADS: u64 = 8;

// --- the client ---

/// Runs commands on all threads, and executes the lines of its input.
pub(crate) fn client(uri: &str) {
    let client = Client::connect(uri).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..THREADS)
        .map(|_| {
            let (client, over, done) = (client.clone(), Arc::clone(&over), Arc::clone(&done));
            thread::spawn(move || {
                let database = client.database("soak");
                while !over.load(Ordering::Relaxed) {
                    let started = millis();
                    match database.run_command(doc! { "benchEcho": "x".repeat(200) }) {
                        Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => {
                            println!("failed {started} {} {error}", millis());
                            thread::sleep(Duration::from_millis(20));
                        }
                    }
                }
            })
        })
        .collect();
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "reload" => match client.reload_tls() {
                Ok(()) => println!("reloaded"),
                Err(error) => println!("refused {}", error.cause().unwrap().code()),
            },
            "memory" => println!("memory {}", resident_kib()),
            "count" => println!("count {}", done.load(Ordering::Relaxed)),
            _ => break,
        }
    }
    over.store(true, Ordering::Relaxed);
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    println!("ended");
}

/// The resident memory of the process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

fn millis() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis()
}

/// The client's process, and its spontaneous output.
struct Soaked {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    failures: Vec<Failure>,
}

struct Failure {
    from: u128,
    to: u128,
    text: String,
}

impl Soaked {
    fn start(uri: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["reloads-client", uri])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
            failures: Vec::new(),
        }
    }

    /// Sends a line and returns the reply to it; failures of commands in between are kept.
    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        loop {
            let answer = self.output.next().expect("the client ended").unwrap();
            let Some(failure) = answer.strip_prefix("failed ") else {
                return answer;
            };
            let mut words = failure.splitn(3, ' ');
            self.failures.push(Failure {
                from: words.next().unwrap().parse().unwrap(),
                to: words.next().unwrap().parse().unwrap(),
                text: words.next().unwrap().to_owned(),
            });
        }
    }

    fn number(&mut self, line: &str) -> u64 {
        let answer = self.ask(line);
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

// --- the server, and the files ---

/// One generation of all files.
struct Set {
    name: String,
    server_ca: Ca,
    server: Identity,
}

pub(crate) fn soak() {
    let rounds: u32 = env::var("MONGOTLS_SOAK_ROUNDS").map_or(20, |text| text.parse().unwrap());
    let dir = PkiDir::new();
    let client_ca = Ca::root("clients", KeyKind::EcP256);
    let make = |round: u32| {
        let server_ca = Ca::root(&format!("servers {round}"), KeyKind::EcP256);
        let server = server_ca.issue(LeafSpec::local_server());
        Set {
            name: format!("client {round}"),
            server_ca,
            server,
        }
    };
    let tls = |set: &Set| {
        ServerTls::new(&set.server).client_auth(ClientAuth::Require, &[client_ca.cert()])
    };
    let mut set = make(0);
    write(&dir, &client_ca, &set, None);
    let start = |set: &Set, port: u16| {
        Server::builder()
            .tls(tls(set))
            .bind(Bind::V4(port))
            .log_limit(50_000)
            .start()
    };
    let mut server = start(&set, 0);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let uri = format!(
        "mongodb://localhost:{}/?tls=true&tlsCAFile={}&tlsCRLFile={}&tlsCertificateKeyFile={}&maxPoolSize=6",
        server.port(),
        path("ca.pem"),
        path("crl.pem"),
        path("client.pem"),
    );
    let mut client = Soaked::start(&uri);
    let mut away: Vec<(u128, u128)> = Vec::new();
    let (mut refused, mut first_memory) = (0, 0);
    for round in 1..=rounds {
        thread::sleep(Duration::from_millis(500));
        if round % 4 == 0 {
            spoil(&dir, &client_ca, round);
            let answer = client.ask("reload");
            assert!(answer.starts_with("refused "), "round {round}: {answer}");
            println!("round {round}: a bad set was {answer}");
            refused += 1;
        } else {
            let next = make(round);
            write(&dir, &client_ca, &next, Some(&set));
            let answer = client.ask("reload");
            assert_eq!(answer, "reloaded", "round {round}");
            set = next;
            // The server changes after the client trusts its next CA.
            server.set_tls(&tls(&set));
            thread::sleep(Duration::from_millis(200));
        }
        let since = Instant::now();
        thread::sleep(Duration::from_millis(500));
        let commands = server.commands().into_iter().rev();
        let mut seen = 0;
        for command in commands.take_while(|command| command.received > since) {
            let certificate = command.client_certificate.expect("a client certificate");
            let subject = Certificate::from(&*certificate).subject;
            assert!(
                subject.starts_with(&format!("CN={},", set.name)),
                "round {round}: {subject}"
            );
            seen += 1;
        }
        assert!(seen > 0, "round {round}: no command in half a second");
        if round % 5 == 0 {
            let gone = millis();
            let port = server.port();
            drop(server);
            thread::sleep(Duration::from_millis(100));
            server = start(&set, port);
            // A cut connection may be noticed with the next command on it.
            thread::sleep(Duration::from_millis(300));
            away.push((gone, millis()));
        }
        if round == rounds.div_ceil(4) {
            first_memory = client.number("memory");
        }
    }
    let memory = client.number("memory");
    let commands = client.number("count");
    assert_eq!(client.ask("end"), "ended");
    assert!(client.child.wait().unwrap().success());

    let excused = |failure: &&Failure| {
        !away
            .iter()
            .any(|(from, to)| failure.from <= *to && failure.to >= *from)
    };
    let unexcused: Vec<_> = client
        .failures
        .iter()
        .filter(excused)
        .map(|f| &f.text)
        .collect();
    assert!(
        unexcused.is_empty(),
        "{} commands failed: {unexcused:#?}",
        unexcused.len()
    );
    println!(
        "{rounds} reloads ({refused} refused), {} restarts, {commands} commands, {} failed while the server was away, 0 otherwise",
        away.len(),
        client.failures.len()
    );
    println!("memory: {first_memory} KiB after a quarter, {memory} KiB at the end");
    assert!(
        memory <= first_memory + first_memory / 10 + 1024,
        "the client's memory grows"
    );
}

/// Writes a set; the CA file and the CRLs still contain those of the previous set.
fn write(dir: &PkiDir, client_ca: &Ca, set: &Set, before: Option<&Set>) {
    let cas = std::iter::once(&set.server_ca).chain(before.map(|set| &set.server_ca));
    let (mut anchors, mut crls) = (Vec::new(), Vec::new());
    for ca in cas {
        anchors.extend(ca.cert_pem());
        crls.extend(ca.crl().build().to_pem().unwrap());
    }
    dir.write("ca.pem", anchors);
    dir.write("crl.pem", crls);
    dir.write(
        "client.pem",
        client_ca.issue(LeafSpec::client(&set.name)).bundle_pem(),
    );
}

/// Makes one of the files unusable, in a different way each time.
fn spoil(dir: &PkiDir, client_ca: &Ca, round: u32) {
    let file = |name: &str| std::fs::read(Path::new(dir.path()).join(name)).unwrap();
    match (round / 4) % 5 {
        0 => drop(dir.write("ca.pem", "<html>not found</html>")),
        1 => {
            let half = file("client.pem");
            dir.write("client.pem", &half[..half.len() / 2]);
        }
        2 => {
            let crl = Ca::root("other", KeyKind::EcP256);
            let crl = crl.crl().validity(Validity::expired()).build();
            dir.write("crl.pem", crl.to_pem().unwrap());
        }
        3 => {
            let other = client_ca.issue(LeafSpec::client("x"));
            let key = client_ca.issue(LeafSpec::client("y")).key_pem();
            dir.write("client.pem", [other.cert_pem(), key].concat());
        }
        _ => std::fs::remove_file(dir.path().join("crl.pem")).unwrap(),
    }
}
