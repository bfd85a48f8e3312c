//! A server that has worked before: one unusual reply to its monitor fails no command. Commands fail at once only if
//! two checks in a row fail because of a certificate or a setting.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::doc;
use mongotls::error::Stage;
use mongotls::{CauseCode, Client, Command, ErrorKind};
use mongotls_testbench::fault::{Fault, Layer};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
use mongotls_testbench::server::{ReplyFault, Server, ServerTls};

use crate::common::{Bench, code, expect_streaming, ping_on};
use crate::target::{Target, for_each};

/// Waits until the description of the client's one server has an error of that cause.
fn expect_known_failure(client: &Client, wanted: CauseCode) {
    let until = Instant::now() + Duration::from_secs(10);
    let known = || {
        let topology = client.snapshot().topology;
        let error = topology.servers.values().next()?.error.clone()?;
        error.cause().map(|cause| cause.code())
    };
    while known() != Some(wanted) {
        assert!(Instant::now() < until, "{:?}", client.snapshot().topology);
        thread::yield_now();
    }
}

/// Pings on eight threads in parallel, none of which may fail. They are reads: a command that waits for a connection
/// while the pool is cleared is retried only if it is one.
fn expect_pings(client: &Client, what: &str) {
    let barrier = Barrier::new(8);
    for_each(0..8, |_| {
        barrier.wait();
        let ping = Command::from(doc! { "ping": 1 }).read();
        let pinged = client.database("admin").run_command(ping);
        pinged.unwrap_or_else(|error| panic!("{what}: {error}"));
    });
}

const PAGE: &[u8] = b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/html\r\n\r\n<html>";

#[test]
fn one_odd_answer_to_a_monitor_fails_no_command() {
    let of_message = |bytes: &[u8]| Fault::garbage_after(0, bytes).on(Layer::Message);
    let odd = [
        ("a page", true, of_message(PAGE), CauseCode::NotMongodb),
        (
            "a page in the clear",
            true,
            Fault::garbage_after(0, PAGE),
            CauseCode::ServerNotTls,
        ),
        (
            "a page, plain",
            false,
            Fault::garbage_after(0, PAGE),
            CauseCode::NotMongodb,
        ),
        (
            "a banner",
            false,
            Fault::garbage_after(0, *b"220 mail\r\n"),
            CauseCode::NotMongodb,
        ),
        (
            "an end before hello",
            false,
            Fault::close_after(0),
            CauseCode::ServerRequiresTls,
        ),
    ];
    for_each(odd, |(what, tls, fault, expected)| {
        let target = Target::new(tls);
        let client = target.client("heartbeatFrequencyMS=60000");
        ping_on(&client).unwrap();
        expect_streaming(target.server());
        // The check after the interrupted one is made at once; the next only on request.
        target.server().faults().next(1, fault);
        target.server().cut();
        expect_known_failure(&client, expected);
        expect_pings(&client, what);
    });
}

#[test]
fn an_answer_to_another_request_fails_no_command() {
    let server = Server::builder().start();
    let uri = format!(
        "{}?serverMonitoringMode=poll&heartbeatFrequencyMS=500",
        server.uri()
    );
    let client = Client::connect(&uri).unwrap();
    ping_on(&client).unwrap();
    for _ in 0..3 {
        server.spoil_replies("hello", 1, ReplyFault::WrongResponseTo);
        let until = Instant::now() + Duration::from_millis(800);
        while Instant::now() < until {
            expect_pings(&client, "a wrong responseTo");
        }
    }
}

#[test]
fn a_wire_version_that_changes_for_a_while_is_waited_for() {
    let server = Server::builder().start();
    let uri = format!("{}?serverSelectionTimeoutMS=1500", server.uri());
    let client = Client::connect(&uri).unwrap();
    ping_on(&client).unwrap();
    server.set_hello(|hello| hello.max_wire_version = 6);
    let until = Instant::now() + Duration::from_secs(10);
    while client.snapshot().topology.is_compatible() {
        assert!(Instant::now() < until);
        thread::yield_now();
    }
    let begun = Instant::now();
    let error = ping_on(&client).unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(1500));
    assert_eq!(
        (error.kind(), code(&error)),
        (ErrorKind::Timeout, CauseCode::HelloFailed)
    );
    let address = server.addr();
    assert_eq!(
        error.to_string(),
        format!(
            "no server for a read by primary within 1500 ms (serverSelectionTimeoutMS): server at {address} reports \
             wire version 6, but this version of mongotls requires at least 8 (MongoDB 4.2)\n  {address}  Standalone"
        )
    );
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ping_on(&client));
        server.set_hello(|hello| hello.max_wire_version = 21);
        waiting.join().unwrap().unwrap();
    });
    // A server that never worked fails commands at once.
    server.set_hello(|hello| hello.max_wire_version = 6);
    let stranger =
        Client::connect(&format!("{}?serverSelectionTimeoutMS=60000", server.uri())).unwrap();
    let error = ping_on(&stranger).unwrap_err();
    assert_eq!(
        (error.kind(), error.stage()),
        (ErrorKind::Command, Some(Stage::Hello))
    );
}

#[test]
fn a_certificate_must_be_refused_twice() {
    let bench = Bench::with(KeyKind::EcP256, |spec| spec, |tls| tls.tickets(0));
    let client = bench.client("&serverSelectionTimeoutMS=60000&heartbeatFrequencyMS=60000");
    ping_on(&client).unwrap();
    expect_streaming(&bench.server);
    let right = ServerTls::new(&bench.ca.issue(LeafSpec::local_server())).tickets(0);
    let foreign = Ca::root("another root", KeyKind::EcP256);
    let wrong = ServerTls::new(&foreign.issue(LeafSpec::local_server())).tickets(0);

    bench.server.set_tls(&wrong);
    bench.server.cut();
    expect_known_failure(&client, CauseCode::IssuerUnknown);
    bench.server.set_tls(&right);
    expect_pings(&client, "a certificate that was wrong once");
    expect_streaming(&bench.server);

    bench.server.set_tls(&wrong);
    bench.server.cut();
    expect_known_failure(&client, CauseCode::IssuerUnknown);
    let begun = Instant::now();
    let error = ping_on(&client).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
    assert_eq!(
        (error.kind(), error.stage(), code(&error)),
        (ErrorKind::Tls, Some(Stage::Tls), CauseCode::IssuerUnknown)
    );
}
