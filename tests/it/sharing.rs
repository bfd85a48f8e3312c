//! Clients of one process with equal options, whose files have equal contents, share one OpenSSL context and its
//! sessions.
//!
//! A session is evidence for one set of options and files. So it is never used by a client with other options or files,
//! regardless of other clients.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use mongotls::options::{TlsOptions, TlsOptionsBuilder, TlsVersion};
use mongotls::tls::TlsContext;
use mongotls::{CauseCode, Client};
use mongotls_testbench::pki::{Ca, KeyKind};

use crate::common::{Bench, code, ping_on, timed};
use crate::resumption::Caller;
use crate::target::{FAR, checked};
use crate::trust::hashed;

/// A caller with the bench's CA file and these options.
fn caller(
    bench: &Bench,
    change: impl FnOnce(TlsOptionsBuilder) -> TlsOptionsBuilder,
) -> Caller<'_> {
    let options = change(TlsOptions::builder().ca_file(&bench.ca_file));
    Caller::with(bench, options.build().unwrap())
}

/// The numbers of full and resumed handshakes in a client's snapshot.
fn counts(client: &Client) -> (u64, u64) {
    let report = client.server_report().unwrap();
    (report.full_handshakes, report.resumed_handshakes)
}

#[test]
fn a_second_client_resumes_at_once_and_each_counts_its_own() {
    let bench = Bench::sound();
    let first = checked(&bench.uri(""));
    assert_eq!(counts(&first), (1, 0));
    // Options that are not about TLS make no difference.
    let second = checked(&bench.uri("&appName=other"));
    let report = second.server_report().unwrap();
    assert!(report.handshake.unwrap().resumed());
    assert_eq!(counts(&second), (0, 1));
    assert_eq!(counts(&first), (1, 0));
    let seen = bench.server.counts();
    assert_eq!((seen.handshakes, seen.resumed), (2, 1));
}

#[test]
fn contexts_with_equal_options_share_and_others_do_not() {
    let bench = Bench::sound();
    let crl = bench.ca.crl().build().to_pem().unwrap();
    let crl = bench.dir.write("crl.pem", &crl);
    let again = bench.dir.write("again.pem", bench.ca.cert_pem());
    let text = String::from_utf8(bench.ca.cert_pem()).unwrap();
    type Change<'a> = &'a dyn Fn(TlsOptionsBuilder) -> TlsOptionsBuilder;
    let changes: [(&str, Change<'_>); 8] = [
        ("nothing", &|tls| tls),
        ("a CRL", &|tls| tls.crl_file(&crl)),
        ("the whole chain", &|tls| {
            tls.crl_file(&crl).check_whole_chain(true)
        }),
        ("a common name", &|tls| {
            tls.dangerous(|tls| tls.allow_common_name(true))
        }),
        ("no name", &|tls| {
            tls.dangerous(|tls| tls.allow_invalid_hostnames(true))
        }),
        ("a version", &|tls| {
            tls.protocol(|protocol| protocol.min_version(TlsVersion::Tls13))
        }),
        ("a file of another name", &|tls| tls.ca_file(&again)),
        ("text", &|_| {
            TlsOptions::builder().ca_certificates_pem(text.clone())
        }),
    ];
    let mut all = Vec::new();
    for (name, change) in changes {
        let first = caller(&bench, change);
        assert!(!first.call().unwrap(), "{name}: a session of another one");
        let second = caller(&bench, change);
        assert!(second.call().unwrap(), "{name}: no session of its equal");
        assert_eq!(
            (
                first.context.full_handshakes(),
                first.context.resumed_handshakes()
            ),
            (1, 0),
            "{name}"
        );
        assert_eq!(
            (
                second.context.full_handshakes(),
                second.context.resumed_handshakes()
            ),
            (0, 1),
            "{name}"
        );
        all.extend([first, second]);
    }
}

#[test]
fn contexts_with_callbacks_are_not_shared() {
    let bench = Bench::sound();
    let log = bench.dir.path().join("keys.log");
    let folder = hashed(&[&bench.ca]);
    type Change<'a> = &'a dyn Fn(TlsOptionsBuilder) -> TlsOptionsBuilder;
    let changes: [(&str, Change<'_>); 2] = [
        ("a key log", &|tls| {
            tls.dangerous(|tls| tls.key_log_file(&log))
        }),
        ("a folder", &|tls| tls.ca_directory(folder.path())),
    ];
    for (name, change) in changes {
        let callers = [caller(&bench, change), caller(&bench, change)];
        for caller in &callers {
            assert!(!caller.call().unwrap(), "{name}");
            assert!(caller.call().unwrap(), "{name}");
        }
    }
}

#[test]
fn changed_files_lead_to_a_separate_context() {
    let bench = Bench::sound();
    let other = Ca::root("another root", KeyKind::EcP256);
    let before = caller(&bench, |tls| tls);
    assert!(!before.call().unwrap());
    let both = [bench.ca.cert_pem(), other.cert_pem()].concat();
    bench.dir.write("ca.pem", &both);
    let meanwhile = caller(&bench, |tls| tls);
    assert!(!meanwhile.call().unwrap());
    // The contents count, not the time of the write.
    bench.dir.write("ca.pem", bench.ca.cert_pem());
    let after = caller(&bench, |tls| tls);
    assert!(after.call().unwrap());
    assert!(before.call().unwrap() && meanwhile.call().unwrap());
}

#[test]
fn a_client_accepts_no_server_that_its_own_file_does_not_trust() {
    let bench = Bench::sound();
    let uri = bench.uri("");
    let first = checked(&uri);
    assert_eq!(counts(&first), (1, 0));
    // The first one has a session with the server, based on a chain to a root that is no longer in the file.
    let other = Ca::root("another root", KeyKind::EcP256);
    bench.dir.write("ca.pem", other.cert_pem());
    let error = ping_on(&Client::connect(&uri).unwrap()).unwrap_err();
    assert_eq!(code(&error), CauseCode::IssuerUnknown, "{error}");
    assert_eq!(bench.server.counts().resumed, 0);
    let caller = caller(&bench, |tls| tls);
    let error = caller.call().unwrap_err();
    assert_eq!(code(&error), CauseCode::IssuerUnknown, "{error}");
    ping_on(&first).unwrap();
}

#[test]
fn sessions_are_dropped_with_the_last_user() {
    let bench = Bench::sound();
    let first = caller(&bench, |tls| tls);
    assert!(!first.call().unwrap());
    let second = caller(&bench, |tls| tls);
    drop(first);
    let third = caller(&bench, |tls| tls);
    assert!(third.call().unwrap());
    drop((second, third));
    assert!(!caller(&bench, |tls| tls).call().unwrap());
}

#[test]
fn after_a_reload_no_session_from_before_it_is_resumed() {
    let bench = Bench::sound();
    // Without monitors, so that each handshake belongs to a command.
    let uri = bench.uri(&format!("&maxIdleTimeMS=1{}", bench.without_monitors()));
    let client = || Client::connect(&uri).unwrap();
    let (first, second) = (client(), client());
    let ping = |client: &Client| {
        thread::sleep(Duration::from_millis(5));
        ping_on(client).unwrap();
        let snapshot = client.snapshot();
        (snapshot.full_handshakes, snapshot.resumed_handshakes)
    };
    assert_eq!(ping(&first), (1, 0));
    assert_eq!(ping(&second), (0, 1));
    second.reload_tls().unwrap();
    // A later client shares the new context, although the old one is still in use.
    let third = client();
    assert_eq!(ping(&third), (1, 0));
    assert_eq!(ping(&second), (0, 2));
    assert_eq!(ping(&first), (1, 1));
}

#[test]
fn a_named_pipe_is_read_once_for_each_context() {
    let bench = Bench::sound();
    let pipe = bench.dir.path().join("pipe.pem");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let options = TlsOptions::builder().ca_file(&pipe).build().unwrap();
    // The first one stays usable.
    let mut contexts = Vec::new();
    for _ in 0..2 {
        let context = timed(Duration::ZERO, FAR, || {
            thread::scope(|scope| {
                scope.spawn(|| fs::write(&pipe, bench.ca.cert_pem()).unwrap());
                TlsContext::new(&options).unwrap()
            })
        });
        contexts.push(context);
        let context = contexts.last().unwrap();
        let socket = std::net::TcpStream::connect(bench.server.addr()).unwrap();
        let stream = context.connect("localhost", socket).unwrap();
        assert!(stream.report().is_verified() && !stream.report().resumed());
    }
}
