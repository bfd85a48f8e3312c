//! An overloaded server: the labels of failures to connect, and the prose tests of "Client Backpressure" (the second one
//! was removed from the specification).
//!
//! `cut_connections.rs` shows that every close and reset before the reply to hello has them, at each byte.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use mongotls::bson::doc;
use mongotls::error::Stage;
use mongotls::internals::fix_jitter;
use mongotls::{CauseCode, Client, Command, Error};
use mongotls_testbench::fault::Fault;
use mongotls_testbench::pki::{Ca, KeyKind, Validity};
use mongotls_testbench::server::{ClientAuth, Server, fail_command};

use crate::common::{Bench, code, ping_on, plain_client};
use crate::target::attempt_error;

const LABELS: [&str; 2] = ["SystemOverloadedError", "RetryableError"];

/// Returns true if the error has both labels; there is never only one.
fn is_labelled(error: &Error) -> bool {
    let both = error.labels() == LABELS;
    assert!(both || error.labels().is_empty(), "{:?}", error.labels());
    both
}

fn expect(error: &Error, cause: CauseCode, stage: Stage, labelled: bool) {
    assert_eq!(
        (code(error), error.stage()),
        (cause, Some(stage)),
        "{error}"
    );
    assert_eq!(is_labelled(error), labelled, "{error}");
}

#[test]
fn errors_of_the_network_have_the_labels() {
    // There is no listener: the port was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = attempt_error(&format!("mongodb://{free}/"));
    expect(&error, CauseCode::ConnectionRefused, Stage::Connect, true);

    let bench = Bench::sound();
    let limit = "&connectTimeoutMS=300";
    for (after, cause) in [(0, Stage::Tls), (200, Stage::Tls)] {
        bench.server.faults().next(1, Fault::stall_after(after));
        let error = attempt_error(&bench.uri(limit));
        expect(&error, CauseCode::HandshakeTimeout, cause, true);
    }
    bench.server.faults().clear();
    let block = doc! { "blockConnection": true, "blockTimeMS": 1000 };
    bench
        .server
        .configure_fail_point(&fail_command(1, &["isMaster"], block));
    let error = attempt_error(&bench.uri(limit));
    expect(&error, CauseCode::HandshakeTimeout, Stage::Hello, true);

    // Closed before the answer to hello, in the clear and on TLS.
    let close = || fail_command(1, &["isMaster"], doc! { "closeConnection": true });
    bench.server.configure_fail_point(&close());
    expect(
        &attempt_error(&bench.uri("")),
        CauseCode::ConnectionClosed,
        Stage::Hello,
        true,
    );
    let plain = Server::builder().start();
    plain.configure_fail_point(&close());
    expect(
        &attempt_error(&plain.uri()),
        CauseCode::ServerRequiresTls,
        Stage::Hello,
        true,
    );

    // A close that looks like a missing certificate may be caused by overload.
    let ca = Ca::root("clients", KeyKind::EcP256);
    let picky = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf,
        |tls| tls.client_auth(ClientAuth::RequireLikeMongod, &[ca.cert()]),
    );
    let error = attempt_error(&picky.uri(""));
    expect(
        &error,
        CauseCode::ClientCertificateRequired,
        Stage::Hello,
        true,
    );
}

#[test]
fn errors_unrelated_to_overload_have_no_labels() {
    let error = attempt_error("mongodb://no-such-host.invalid/?connectTimeoutMS=2000");
    assert_eq!(
        (error.stage(), is_labelled(&error)),
        (Some(Stage::Resolve), false)
    );

    let expired = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf.validity(Validity::days(-20, -10)),
        |tls| tls,
    );
    expect(
        &attempt_error(&expired.uri("")),
        CauseCode::CertificateExpired,
        Stage::Tls,
        false,
    );
    let bench = Bench::sound();
    let stranger = Bench::sound();
    let uri = bench.uri("").replace(
        bench.ca_file.to_str().unwrap(),
        stranger.ca_file.to_str().unwrap(),
    );
    let error = attempt_error(&uri);
    assert_eq!(
        (error.stage(), is_labelled(&error)),
        (Some(Stage::Tls), false),
        "{error}"
    );

    let plain = Server::builder().start();
    let error = attempt_error(
        &bench
            .uri("")
            .replace(&bench.server.port().to_string(), &plain.port().to_string()),
    );
    expect(&error, CauseCode::ServerNotTls, Stage::Tls, false);
    plain
        .faults()
        .next(1, Fault::garbage_after(0, b"HTTP/1.1 400\r\n\r\n".to_vec()));
    expect(
        &attempt_error(&plain.uri()),
        CauseCode::NotMongodb,
        Stage::Hello,
        false,
    );

    // An error that the server reports is not caused by overload.
    for labels in [&[][..], &["SystemOverloadedError"]] {
        let failure = doc! { "errorCode": 462, "errorLabels": labels.to_vec() };
        let fail = fail_command(1, &["isMaster"], failure);
        bench.server.configure_fail_point(&fail);
        let error = attempt_error(&bench.uri(""));
        assert_eq!(code(&error), CauseCode::HelloFailed);
        assert_eq!(error.labels(), labels);
    }
}

#[test]
fn a_command_has_them_only_from_the_server() {
    let bench = Bench::sound();
    let client = bench.client("");
    ping_on(&client).unwrap();
    bench.server.configure_fail_point(&fail_command(
        1,
        &["ping"],
        doc! { "closeConnection": true },
    ));
    let error = ping_on(&client).unwrap_err();
    assert_eq!(
        (error.stage(), is_labelled(&error)),
        (Some(Stage::Command), false),
        "{error}"
    );
    let failure = doc! { "errorCode": 462, "errorLabels": LABELS.to_vec() };
    // It is tried twice more (maxAdaptiveRetries).
    bench
        .server
        .configure_fail_point(&fail_command(3, &["ping"], failure));
    assert!(is_labelled(&ping_on(&client).unwrap_err()));
}

/// The time that an insert takes until it fails for good, and its error.
fn failing_insert(client: &Client) -> (Duration, Error) {
    let insert = doc! { "insert": "things", "documents": [{ "a": 1 }] };
    let started = Instant::now();
    let error = client.database("db").run_command(insert).unwrap_err();
    (started.elapsed(), error)
}

#[test]
fn backpressure_prose_1_operation_retry_uses_exponential_backoff() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    ping_on(&client).unwrap();
    let failure = doc! { "errorCode": 2, "errorLabels": LABELS.to_vec() };
    server.configure_fail_point(&fail_command(6, &["insert"], failure));
    fix_jitter(Some(0.0));
    let (without_backoff, _) = failing_insert(&client);
    fix_jitter(Some(1.0));
    let (with_backoff, error) = failing_insert(&client);
    assert_eq!(error.command().unwrap().code, 2);
    // The sum of two pauses, of 200 ms and 400 ms.
    let difference = with_backoff.as_secs_f64() - (without_backoff.as_secs_f64() + 0.6);
    assert!(
        difference.abs() < 0.6,
        "{without_backoff:?} {with_backoff:?}"
    );
    assert!(
        with_backoff >= Duration::from_millis(600),
        "{with_backoff:?}"
    );
    assert!(
        without_backoff < Duration::from_millis(200),
        "{without_backoff:?}"
    );
}

/// The number of commands for a find that an overloaded server rejects each time.
fn attempts_of_rejected_find(options: &str) -> u64 {
    fix_jitter(Some(0.0));
    let server = Server::builder().start();
    let client = plain_client(&server, options);
    let failure = doc! { "errorCode": 462, "errorLabels": LABELS.to_vec() };
    server.configure_fail_point(&fail_command(100, &["find"], failure));
    let find = Command::from(doc! { "find": "things" }).read();
    let error = client.database("db").run_command(find).unwrap_err();
    assert!(is_labelled(&error));
    server.count_of("find")
}

#[test]
fn backpressure_prose_3_overload_errors_are_retried_a_maximum_of_max_retries_times() {
    assert_eq!(attempts_of_rejected_find(""), 3);
}

#[test]
fn backpressure_prose_4_overload_errors_are_retried_max_adaptive_retries_times_when_configured() {
    assert_eq!(attempts_of_rejected_find("maxAdaptiveRetries=1"), 2);
}

#[test]
fn backpressure_prose_5_overload_errors_with_base_backoff_ms_override_base_backoff() {
    let base = Arc::new(AtomicI32::new(0));
    let of_server = Arc::clone(&base);
    let rejected = move |_: &_| {
        let mut reply =
            doc! { "ok": 0, "code": 462, "errmsg": "overloaded", "errorLabels": LABELS.to_vec() };
        if let base @ 1.. = of_server.load(Ordering::Relaxed) {
            reply.insert("baseBackoffMS", base);
        }
        Some(reply)
    };
    let server = Server::builder().handle("insert", rejected).start();
    let client = plain_client(&server, "");
    ping_on(&client).unwrap();
    fix_jitter(Some(1.0));
    let (exponential, error) = failing_insert(&client);
    assert!(
        error
            .command()
            .unwrap()
            .reply
            .get("baseBackoffMS")
            .unwrap()
            .is_none()
    );
    base.store(50, Ordering::Relaxed);
    let (with_base, error) = failing_insert(&client);
    assert_eq!(
        error
            .command()
            .unwrap()
            .reply
            .get_i32("baseBackoffMS")
            .unwrap(),
        50
    );
    assert!(exponential >= Duration::from_millis(600), "{exponential:?}");
    assert!(with_base >= Duration::from_millis(300), "{with_base:?}");
    assert!(with_base < Duration::from_millis(600), "{with_base:?}");
}
