//! Files of TLS that change under a running client.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::event::{Event, TlsEvent};
use mongotls::options::{TlsOptions, TlsOptionsBuilder};
use mongotls::{CauseCode, Client, ClientOptions, ServerAddress};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, Revocation, Validity};
use mongotls_testbench::server::{ClientAuth, ConnectionInfo, Server, ServerTls};

use openssl::ssl::SslVersion;

use crate::common::{Bench, code, expect_program_open, ping_on};
use crate::trust::hashed;

/// A server that requires a client certificate, and a client whose files can be rewritten.
struct Rotation {
    bench: Bench,
    client: Client,
}

impl Rotation {
    fn new() -> Self {
        Self::with("")
    }

    /// Creates it with more options, beginning with `&`.
    fn with(options: &str) -> Self {
        let ca = Ca::root("bench root", KeyKind::EcP256);
        let identity = ca.issue(LeafSpec::local_server());
        let tls = ServerTls::new(&identity).client_auth(ClientAuth::Require, &[ca.cert()]);
        let bench = Bench::around(Server::builder().tls(tls).start(), ca);
        let first = bench.ca.issue(LeafSpec::client("first"));
        let file = bench.dir.write("client.pem", first.bundle_pem());
        let key = file.display();
        let client = bench.client(&format!("&tlsCertificateKeyFile={key}{options}"));
        Self { bench, client }
    }

    /// Creates one whose client watches the file of its certificate; also returns the file, and the reloads.
    fn watched() -> (Self, PathBuf, Told) {
        let rotation = Self::new();
        let file = rotation.bench.dir.path().join("client.pem");
        let (client, told) = watching(&rotation.bench, |tls| tls.certificate_key_file(&file));
        (Self { client, ..rotation }, file, told)
    }

    fn write(&self, common_name: &str, validity: Validity) {
        let identity = self
            .bench
            .ca
            .issue(LeafSpec::client(common_name).validity(validity));
        self.bench.dir.write("client.pem", identity.bundle_pem());
    }

    /// The subject of the certificate on the newest connection.
    fn presented(&self) -> String {
        ping_on(&self.client).unwrap();
        let last = self.bench.server.program_connections().pop().unwrap();
        subject(&last)
    }
}

/// The subject of the certificate that the client sent.
fn subject(connection: &ConnectionInfo) -> String {
    let certificate = connection.client_certificate.as_ref().unwrap();
    mongotls::tls::Certificate::from(&**certificate).subject
}

#[test]
fn a_new_certificate_is_used_from_the_next_command_on() {
    let rotation = Rotation::new();
    assert!(
        rotation.presented().contains("CN=first"),
        "{}",
        rotation.presented()
    );
    rotation.write("second", Validity::days(-1, 10));
    assert!(rotation.presented().contains("CN=first"));
    rotation.client.reload_tls().unwrap();
    assert!(
        rotation.presented().contains("CN=second"),
        "{}",
        rotation.presented()
    );
    expect_program_open(&rotation.bench.server, 1);
}

/// The open connections on which only checks were made.
fn monitors(server: &Server) -> Vec<ConnectionInfo> {
    let mut monitors = server.connections();
    monitors.retain(|connection| connection.open && connection.is_monitor());
    monitors
}

#[test]
fn monitors_take_a_new_certificate_soon() {
    let rotation = Rotation::with("&serverMonitoringMode=stream&heartbeatFrequencyMS=500");
    let server = &rotation.bench.server;
    // One streams, the other one measures round trips.
    let limit = Duration::from_secs(20);
    assert!(server.wait_until(limit, |server| monitors(server).len() == 2));
    rotation.write("second", Validity::days(-1, 10));
    rotation.client.reload_tls().unwrap();
    let are_new = |monitors: &[ConnectionInfo]| {
        let mut subjects = monitors.iter().map(subject);
        monitors.len() == 2 && subjects.all(|subject| subject.contains("CN=second"))
    };
    assert!(server.wait_until(limit, |server| are_new(&monitors(server))));
}

#[test]
fn a_reload_amid_the_first_check_holds_no_command_up() {
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let slow = ServerTls::new(&ca.issue(LeafSpec::local_server())).staple_with(|_| {
        thread::sleep(Duration::from_millis(300));
        None
    });
    let bench = Bench::around(Server::builder().tls(slow).start(), ca);
    let client = bench.client("&serverSelectionTimeoutMS=5000");
    assert!(
        bench
            .server
            .wait_until(Duration::from_secs(5), |server| server.counts().accepted
                == 1)
    );
    thread::scope(|scope| {
        let waits = scope.spawn(|| ping_on(&client).map(drop));
        client.reload_tls().unwrap();
        waits.join().unwrap().unwrap();
    });
}

#[test]
fn a_set_that_is_not_sound_leaves_the_old_one_in_force() {
    let rotation = Rotation::new();
    ping_on(&rotation.client).unwrap();
    let other_key = Ca::root("x", KeyKind::EcP256).issue(LeafSpec::client("x"));
    let bad = [
        (b"rubbish".to_vec(), CauseCode::KeyFileNoPrivateKey),
        (
            [
                other_key.cert_pem(),
                rotation.bench.ca.issue(LeafSpec::client("y")).key_pem(),
            ]
            .concat(),
            CauseCode::KeyCertificateMismatch,
        ),
    ];
    for (bytes, expected) in bad {
        rotation.bench.dir.write("client.pem", bytes);
        assert_eq!(code(&rotation.client.reload_tls().unwrap_err()), expected);
    }
    rotation.write("expired", Validity::expired());
    assert_eq!(
        code(&rotation.client.reload_tls().unwrap_err()),
        CauseCode::ClientCertificateExpired
    );
    rotation.write("early", Validity::not_yet());
    assert_eq!(
        code(&rotation.client.reload_tls().unwrap_err()),
        CauseCode::CertificateNotYetValid
    );
    assert!(rotation.presented().contains("CN=first"));
    assert_eq!(
        rotation.bench.server.program_connections().len(),
        1,
        "the old connection was kept"
    );
}

#[test]
fn a_reload_invalidates_tickets_of_revoked_servers() {
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let bench = Bench::around(Server::builder().tls(ServerTls::new(&identity)).start(), ca);
    let write = |crl: openssl::x509::X509Crl| bench.dir.write("crl.pem", crl.to_pem().unwrap());
    let crl = write(bench.ca.crl().build());
    let client = bench.client(&format!("&tlsCRLFile={}&maxIdleTimeMS=1", crl.display()));
    for _ in 0..2 {
        ping_on(&client).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    assert!(
        bench
            .server
            .wait_until(Duration::from_secs(5), |server| server.counts().resumed
                == 2)
    );
    write(
        bench
            .ca
            .crl()
            .revoke(Revocation::of(&identity.cert))
            .build(),
    );
    client.reload_tls().unwrap();
    assert_eq!(code(&ping_on(&client).unwrap_err()), CauseCode::RevokedCrl);
}

#[test]
fn no_command_fails_because_of_a_reload() {
    let rotation = Rotation::new();
    let (stop, commands) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    ping_on(&rotation.client).unwrap();
                    commands.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 0..20 {
            rotation.write(&format!("number {n}"), Validity::days(-1, 10));
            rotation.client.reload_tls().unwrap();
            let seen = commands.load(Ordering::Relaxed);
            while commands.load(Ordering::Relaxed) < seen + 20 {
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(rotation.presented().contains("CN=number 19"));
}

/// The events of reloads: success, or the code of the error.
type Told = Arc<Mutex<Vec<Result<(), CauseCode>>>>;

/// A client that watches its files, and its events.
fn watching(
    bench: &Bench,
    change: impl FnOnce(TlsOptionsBuilder) -> TlsOptionsBuilder,
) -> (Client, Told) {
    let told = Told::default();
    let list = Arc::clone(&told);
    let tls = TlsOptions::builder()
        .ca_file(&bench.ca_file)
        .watch_files(Duration::from_millis(20));
    let options = ClientOptions::builder()
        .host(ServerAddress::tcp("localhost", bench.server.port()))
        .tls(change(tls).build().unwrap())
        .event_listener(move |event| {
            if let Event::Tls(TlsEvent::Reload(reload)) = event {
                let outcome = reload
                    .error
                    .as_ref()
                    .map_or(Ok(()), |error| Err(code(error)));
                list.lock().unwrap().push(outcome);
            }
        })
        .build()
        .unwrap();
    (Client::with_options(options).unwrap(), told)
}

/// Waits until the listener has received these events.
fn wait_for(told: &Told, expected: &[Result<(), CauseCode>]) {
    let started = Instant::now();
    while told.lock().unwrap().len() < expected.len() && started.elapsed() < Duration::from_secs(10)
    {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(*told.lock().unwrap(), expected);
}

#[test]
fn a_watched_file_is_reloaded_when_it_changes_and_only_then() {
    let (rotation, file, told) = Rotation::watched();
    assert!(rotation.presented().contains("CN=first"));
    thread::sleep(Duration::from_millis(100));
    wait_for(&told, &[]);

    // In place; then by another file that is renamed to it, directly and after a deletion.
    let mut text = std::fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap();
    text.write_all(b"# a word beside the certificate\n")
        .unwrap();
    wait_for(&told, &[Ok(())]);
    assert!(rotation.presented().contains("CN=first"));
    let replace = |name: &str| {
        let identity = rotation.bench.ca.issue(LeafSpec::client(name));
        let other = rotation.bench.dir.write("next.pem", identity.bundle_pem());
        std::fs::rename(other, &file).unwrap();
    };
    replace("second");
    wait_for(&told, &[Ok(()), Ok(())]);
    assert!(rotation.presented().contains("CN=second"));
    std::fs::remove_file(&file).unwrap();
    let unreadable = Err(CauseCode::KeyFileUnreadable);
    wait_for(&told, &[Ok(()), Ok(()), unreadable]);
    assert!(rotation.presented().contains("CN=second"));
    replace("third");
    wait_for(&told, &[Ok(()), Ok(()), unreadable, Ok(())]);
    assert!(rotation.presented().contains("CN=third"));
}

#[test]
fn a_link_that_is_turned_to_another_folder_is_a_change() {
    let rotation = Rotation::new();
    let dir = rotation.bench.dir.path();
    let folder = |name: &str| {
        let identity = rotation.bench.ca.issue(LeafSpec::client(name));
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("tls.crt"), identity.chain_pem()).unwrap();
        std::fs::write(dir.join(name).join("tls.key"), identity.key_pem()).unwrap();
    };
    // As in Kubernetes: names that lead through a link, which is replaced atomically.
    folder("one");
    folder("two");
    std::os::unix::fs::symlink("one", dir.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), dir.join(name)).unwrap();
    }
    let (client, told) = watching(&rotation.bench, |tls| {
        tls.certificate_and_key_files(dir.join("tls.crt"), dir.join("tls.key"))
    });
    std::os::unix::fs::symlink("two", dir.join("..data_tmp")).unwrap();
    std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    wait_for(&told, &[Ok(())]);
    ping_on(&client).unwrap();
    let last = rotation.bench.server.connections().pop().unwrap();
    let certificate = last.client_certificate.unwrap();
    let subject = mongotls::tls::Certificate::from(&*certificate).subject;
    assert!(subject.contains("CN=two"), "{subject}");
}

#[test]
fn the_watch_stops_with_the_last_client() {
    let rotation = Rotation::new();
    let file = rotation.bench.dir.path().join("client.pem");
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    let tls = TlsOptions::builder()
        .ca_file(&rotation.bench.ca_file)
        .certificate_key_file(&file)
        .watch_files(Duration::from_millis(10));
    let options = ClientOptions::builder()
        .host(ServerAddress::tcp(
            "localhost",
            rotation.bench.server.port(),
        ))
        .tls(tls.build().unwrap())
        .event_listener(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            panic!("a fault of the program");
        })
        .build()
        .unwrap();
    let client = Client::with_options(options).unwrap();
    let reaches = |calls_wanted: u64| {
        let started = Instant::now();
        while calls.load(Ordering::Relaxed) < calls_wanted {
            assert!(started.elapsed() < Duration::from_secs(10));
            thread::sleep(Duration::from_millis(5));
        }
    };
    for number in 1..=3 {
        rotation.write(&format!("client {number}"), Validity::days(-1, 10));
        reaches(number);
    }
    ping_on(&client).unwrap();
    // The listener belongs to the options of the client: when it is dropped, the thread has released it.
    drop(client);
    let started = Instant::now();
    while Arc::strong_count(&calls) > 1 {
        assert!(started.elapsed() < Duration::from_secs(5));
        thread::sleep(Duration::from_millis(5));
    }
    let before = calls.load(Ordering::Relaxed);
    rotation.write("late", Validity::days(-1, 10));
    thread::sleep(Duration::from_millis(100));
    assert_eq!(calls.load(Ordering::Relaxed), before);
}

#[test]
fn an_interval_that_would_keep_the_machine_busy_is_refused() {
    let error = TlsOptions::builder()
        .watch_files(Duration::from_millis(9))
        .build()
        .unwrap_err();
    assert_eq!(code(&error), CauseCode::OptionConflict);
    assert!(error.to_string().contains("10 ms or more"), "{error}");
}

/// Waits until the condition holds.
fn eventually(holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "it did not come to that");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns whether the server's chain leads to no anchor.
fn is_distrusted(client: &Client) -> bool {
    let error = ping_on(client).err();
    error.is_some_and(|error| code(&error) == CauseCode::IssuerUnknown)
}

/// Replaces the contents of a file in place, with unchanged size and time of modification.
fn rewrite_in_place(path: &Path, text: &[u8], size: usize) {
    let padding = vec![b'\n'; size - text.len()];
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all(&[text, &padding].concat()).unwrap();
    file.set_modified(modified).unwrap();
    let metadata = std::fs::metadata(path).unwrap();
    assert_eq!(metadata.len(), size as u64);
    assert_eq!(metadata.modified().unwrap(), modified);
}

const SIZE: usize = 4096;

#[test]
fn a_file_with_its_old_size_and_time_is_a_change() {
    let rotation = Rotation::new();
    let file = rotation.bench.dir.path().join("client.pem");
    let bundle = |name| rotation.bench.ca.issue(LeafSpec::client(name)).bundle_pem();
    let (first, second) = (bundle("first"), bundle("second"));
    std::fs::write(&file, vec![b'\n'; SIZE]).unwrap();
    rewrite_in_place(&file, &first, SIZE);
    let (client, _) = watching(&rotation.bench, |tls| tls.certificate_key_file(&file));
    let rotation = Rotation { client, ..rotation };
    assert!(rotation.presented().contains("CN=first"));
    rewrite_in_place(&file, &second, SIZE);
    eventually(|| rotation.presented().contains("CN=second"));
}

#[test]
fn a_certificate_is_used_when_it_becomes_valid() {
    let (rotation, _, told) = Rotation::watched();
    assert!(rotation.presented().contains("CN=first"));
    rotation.write("second", Validity::seconds(3, 3600));
    let early = Err(CauseCode::CertificateNotYetValid);
    wait_for(&told, &[early]);
    assert!(rotation.presented().contains("CN=first"));
    // Reported once, regardless of the number of attempts.
    wait_for(&told, &[early, Ok(())]);
    assert!(rotation.presented().contains("CN=second"));
}

#[test]
fn a_folder_in_place_of_a_file_fails_the_reload() {
    let (rotation, file, told) = Rotation::watched();
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    wait_for(&told, &[Err(CauseCode::KeyFileUnreadable)]);
    std::fs::remove_dir(&file).unwrap();
    rotation.write("second", Validity::days(-1, 10));
    eventually(|| rotation.presented().contains("CN=second"));
}

#[test]
fn a_ca_that_was_removed_from_its_folder_is_trusted_no_more() {
    let bench = Bench::sound();
    let other = Ca::root("other", KeyKind::EcP256);
    let stranger = Ca::root("stranger", KeyKind::EcP256);
    let folder = hashed(&[&bench.ca, &other]);
    let hash = |ca: &Ca| format!("{:08x}.0", ca.cert().subject_name_hash());
    let file = folder.path().join(hash(&bench.ca));
    // By a link, like those of `openssl rehash`, to a file that keeps its position.
    let target = std::fs::canonicalize(&file).unwrap();
    std::fs::write(&target, vec![b'\n'; SIZE]).unwrap();
    rewrite_in_place(&target, &bench.ca.cert_pem(), SIZE);
    let tls = TlsOptions::builder()
        .ca_directory(folder.path())
        .watch_files(Duration::from_millis(20));
    let client = client_of(&bench, tls);
    ping_on(&client).unwrap();
    rewrite_in_place(&target, &stranger.cert_pem(), SIZE);
    eventually(|| is_distrusted(&client));
    // Restored, and then removed completely.
    rewrite_in_place(&target, &bench.ca.cert_pem(), SIZE);
    eventually(|| ping_on(&client).is_ok());
    std::fs::remove_file(&file).unwrap();
    eventually(|| is_distrusted(&client));
}

/// A client with a short timeout.
fn client_of(bench: &Bench, tls: TlsOptionsBuilder) -> Client {
    let options = ClientOptions::builder()
        .host(ServerAddress::tcp("localhost", bench.server.port()))
        .tls(tls.build().unwrap())
        .server_selection_timeout(Duration::from_secs(3))
        .build();
    Client::with_options(options.unwrap()).unwrap()
}

/// Variables of the environment name the system's trust anchors, which a test must not change for others.
const SYSTEM_STORE: &str = "rotation::a_ca_that_the_system_trusts_no_more_is_not_trusted";

#[test]
fn a_ca_that_the_system_trusts_no_more_is_not_trusted() {
    let Some(kind) = std::env::var_os("MONGOTLS_TEST_SYSTEM_STORE") else {
        for (kind, file, directory) in [("file", true, false), ("folder", false, true)] {
            let bench = Bench::sound();
            let folder = hashed(&[&bench.ca, &Ca::root("other", KeyKind::EcP256)]);
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            child
                .args(["--exact", SYSTEM_STORE])
                .env("MONGOTLS_TEST_SYSTEM_STORE", kind)
                .env_remove("SSL_CERT_FILE")
                .env_remove("SSL_CERT_DIR");
            if file {
                child.env("SSL_CERT_FILE", folder.path().join("bundle.pem"));
            }
            if directory {
                child.env("SSL_CERT_DIR", folder.path());
            }
            let ended = child.output().unwrap();
            let text = String::from_utf8_lossy(&ended.stdout);
            assert!(
                ended.status.success() && text.contains("1 passed"),
                "{text}"
            );
        }
        return;
    };
    let bench = Bench::sound();
    let other = Ca::root("other", KeyKind::EcP256);
    let path = |name| std::env::var_os(name).map(std::path::PathBuf::from);
    let target = match path("SSL_CERT_FILE") {
        Some(file) => file,
        None => {
            let folder = path("SSL_CERT_DIR").unwrap();
            folder.join(format!("{:08x}.0", bench.ca.cert().subject_name_hash()))
        }
    };
    let _ = std::fs::remove_file(&target);
    std::fs::write(&target, vec![b'\n'; 2 * SIZE]).unwrap();
    let with = |cas: &[&Ca]| -> Vec<u8> { cas.iter().flat_map(|ca| ca.cert_pem()).collect() };
    rewrite_in_place(&target, &with(&[&other, &bench.ca]), 2 * SIZE);
    let tls = TlsOptions::builder().watch_files(Duration::from_millis(20));
    let client = client_of(&bench, tls);
    ping_on(&client).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    rewrite_in_place(&target, &with(&[&other]), 2 * SIZE);
    eventually(|| is_distrusted(&client));
}

/// The first part of a remedy, about a file that has changed.
fn changed(path: &Path) -> String {
    format!(
        "{:?} has changed since it was read: call Client::reload_tls, or set watch_files, to use what it holds now. If that does not help: ",
        path.display().to_string()
    )
}

fn remedy(client: &Client) -> (CauseCode, String) {
    let error = ping_on(client).unwrap_err();
    (code(&error), error.cause().unwrap().remedy().to_owned())
}

#[test]
fn a_renewed_certificate_that_was_not_reloaded_is_named() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let ca = Ca::root("bench root", KeyKind::EcP256);
        let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()))
            .client_auth(ClientAuth::Require, &[ca.cert()])
            .versions(version, version);
        let bench = Bench::around(Server::builder().tls(tls).start(), ca);
        let issue = |validity| {
            let spec = LeafSpec::client("client").validity(validity);
            bench.ca.issue(spec).bundle_pem()
        };
        let file = bench.dir.write("client.pem", issue(Validity::expired()));
        let monitors = bench.without_monitors();
        let client = bench.client(&format!(
            "&tlsCertificateKeyFile={}{monitors}",
            file.display()
        ));
        let renew = "Renew the certificate in tlsCertificateKeyFile.";
        let expected = CauseCode::ClientCertificateExpired;
        assert_eq!(remedy(&client), (expected, renew.to_owned()));
        bench.dir.write("client.pem", issue(Validity::days(-1, 10)));
        assert_eq!(remedy(&client), (expected, changed(&file) + renew));
        client.reload_tls().unwrap();
        ping_on(&client).unwrap();
    }
}

#[test]
fn a_renewed_ca_or_crl_that_was_not_reloaded_is_named() {
    let bench = Bench::sound();
    let crl = |validity| bench.ca.crl().validity(validity).build().to_pem().unwrap();
    let file = bench.dir.write("crl.pem", crl(Validity::expired()));
    let monitors = bench.without_monitors();
    let client = bench.client(&format!("&tlsCRLFile={}{monitors}", file.display()));
    let (expected, before) = remedy(&client);
    assert_eq!(expected, CauseCode::CrlExpired);
    bench.dir.write("crl.pem", crl(Validity::days(-1, 10)));
    assert_eq!(remedy(&client), (expected, changed(&file) + &before));
    client.reload_tls().unwrap();
    ping_on(&client).unwrap();

    let new = Ca::root("new root", KeyKind::EcP256);
    let identity = new.issue(LeafSpec::local_server());
    bench.server.set_tls(&ServerTls::new(&identity));
    bench.server.cut();
    let client = bench.client(&format!("&maxIdleTimeMS=1{monitors}"));
    let (expected, before) = remedy(&client);
    assert_eq!(expected, CauseCode::IssuerUnknown);
    bench.dir.write("ca.pem", new.cert_pem());
    assert_eq!(
        remedy(&client),
        (expected, changed(&bench.ca_file) + &before)
    );
    client.reload_tls().unwrap();
    ping_on(&client).unwrap();
    // A failure for another reason is reported as before.
    let other = new.issue(LeafSpec::server("other.example"));
    bench.server.set_tls(&ServerTls::new(&other));
    thread::sleep(Duration::from_millis(5));
    bench
        .dir
        .write("ca.pem", [new.cert_pem(), b"\n".to_vec()].concat());
    let (expected, remedy) = remedy(&client);
    assert_eq!(expected, CauseCode::HostnameMismatch);
    assert!(!remedy.contains("reload_tls"), "{remedy}");
}
