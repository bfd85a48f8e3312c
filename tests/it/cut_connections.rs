//! Connections that the server closes or resets, after each byte in turn.
//!
//! The error names the stage and the phase, the number of received bytes, and whether a reply had begun. Then the same
//! client works again and keeps none of the connections that ended.

use mongotls::bson::doc;
use mongotls::error::Stage;
use mongotls::{CauseCode, Error, ErrorKind};
use mongotls_testbench::fault::{Action, Fault, Layer};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
use mongotls_testbench::server::{ClientAuth, Server, ServerTls, fail_command};
use openssl::ssl::SslVersion;

use crate::common::{Bench, code, expect_open, expect_streaming, fact, ping_on};
use crate::target::{FAR, Lengths, Target, checked, steady};

/// Ends a connection of the program after each number of bytes in turn, and calls `check` with each error. Afterwards
/// the same client works, and none of its connections remains.
fn end_everywhere(
    target: &Target,
    layer: Layer,
    action: &Action,
    check: impl Fn(u64, Lengths, &Error),
) {
    // Each attempt is tested separately.
    let options = "connectTimeoutMS=5000&socketTimeoutMS=5000&maxPoolSize=1&waitQueueTimeoutMS=1&maxAdaptiveRetries=0";
    let server = target.server();
    // Above TLS the bytes of messages count; they are equal to those of a server without TLS.
    let plain = (layer == Layer::Message).then(|| Target::new(false));
    let measured = plain.as_ref().unwrap_or(target);
    let of_measured = checked(&measured.uri(""));
    let lengths = Lengths::measure(measured.bench.as_ref(), measured.server(), &of_measured);
    drop(of_measured);
    assert!(lengths.hello > 100 && lengths.ping > 30, "{lengths:?}");

    let client = target.settled(options);
    let established = lengths.handshake + lengths.hello;
    for after in 0..lengths.total() {
        // After an error of a command the client checks the server again before it continues.
        let other = (after >= established).then(|| target.settled(options));
        server
            .faults()
            .next(1, Fault::new(after, action.clone()).on(layer));
        let error = ping_on(other.as_ref().unwrap_or(&client))
            .expect_err(&format!("{action:?} after {after} bytes of {lengths:?}"));
        check(after, lengths, &error);
        // An overloaded server does this to new connections only.
        let of_establishing = error.stage() != Some(Stage::Command);
        for label in ["SystemOverloadedError", "RetryableError"] {
            assert_eq!(
                error.has_label(label),
                of_establishing,
                "after {after}: {error}"
            );
        }
        if after + 1 == lengths.total() {
            ping_on(&other.unwrap()).unwrap();
        }
    }
    // Even the monitor's connection, which was available to the pool, is closed.
    expect_open(server, 0);
    let accepted = server.counts().accepted;
    ping_on(&client).unwrap();
    assert_eq!(server.counts().accepted, accepted + 1);
    expect_open(server, 1);
}

/// Checks the facts of the error of an ended TLS connection.
fn expect_circumstances(error: &Error, begun: bool) {
    match error.stage().unwrap() {
        Stage::Tls => assert_eq!(fact(error, "phase"), "during the TLS handshake", "{error}"),
        Stage::Hello => assert_eq!(fact(error, "phase"), "after the TLS handshake", "{error}"),
        Stage::Command => {
            let expected = if begun { "yes" } else { "no" };
            assert_eq!(fact(error, "begun"), expected, "{error}");
        }
        stage => assert_eq!(stage, Stage::Connect, "{error}"),
    }
}

/// Checks the error of a close after this number of bytes on the wire on TLS.
fn closed_on_tls(after: u64, lengths: Lengths, error: &Error) {
    let stage = lengths.stage(after);
    assert_eq!(
        (code(error), error.stage(), error.kind()),
        (CauseCode::ConnectionClosed, Some(stage), ErrorKind::Network),
        "after {after} of {lengths:?}: {error}"
    );
    // Nothing of the reply can be read before its record is whole.
    expect_circumstances(error, false);
    if stage != Stage::Command {
        assert_eq!(fact(error, "received_bytes"), after.to_string());
    }
}

/// Checks the error of a reset after this number of bytes on the wire on TLS. The reset may arrive before the client
/// sends its next message, so that the client is still at the previous stage.
fn reset_on_tls(after: u64, lengths: Lengths, error: &Error) {
    assert_eq!(
        (code(error), error.kind()),
        (CauseCode::ConnectionReset, ErrorKind::Network),
        "after {after} of {lengths:?}: {error}"
    );
    let (stage, latest) = (error.stage().unwrap(), lengths.stage(after));
    let earliest = match latest {
        Stage::Tls if after == 0 => Stage::Connect,
        Stage::Hello => Stage::Tls,
        stage => stage,
    };
    assert!(
        (earliest..=latest).contains(&stage),
        "after {after} of {lengths:?}: {error}"
    );
    expect_circumstances(error, false);
}

#[test]
fn a_close_at_each_byte_of_tls_1_3_reports_its_phase() {
    let target = Target::with(Some(steady(SslVersion::TLS1_3)));
    end_everywhere(&target, Layer::Tcp, &Action::Close, closed_on_tls);
}

#[test]
fn a_close_at_each_byte_of_tls_1_2_reports_its_phase() {
    let target = Target::with(Some(steady(SslVersion::TLS1_2)));
    end_everywhere(&target, Layer::Tcp, &Action::Close, closed_on_tls);
}

#[test]
fn a_reset_at_each_byte_of_tls_1_3_reports_its_phase() {
    let target = Target::with(Some(steady(SslVersion::TLS1_3)));
    end_everywhere(&target, Layer::Tcp, &Action::Reset, reset_on_tls);
}

#[test]
fn a_reset_at_each_byte_of_tls_1_2_reports_its_phase() {
    let target = Target::with(Some(steady(SslVersion::TLS1_2)));
    end_everywhere(&target, Layer::Tcp, &Action::Reset, reset_on_tls);
}

#[test]
fn an_end_at_each_byte_of_replies_over_tls_is_reported() {
    for (action, expected) in [
        (Action::Close, CauseCode::ConnectionClosed),
        (Action::Reset, CauseCode::ConnectionReset),
    ] {
        let target = Target::new(true);
        end_everywhere(&target, Layer::Message, &action, |after, lengths, error| {
            assert_eq!(
                (code(error), error.kind()),
                (expected, ErrorKind::Network),
                "after {after}: {error}"
            );
            let stages = if action == Action::Reset && after == 0 {
                // A reset may overtake the end of the handshake.
                vec![Stage::Tls, Stage::Hello]
            } else {
                vec![lengths.stage(after)]
            };
            assert!(
                stages.contains(&error.stage().unwrap()),
                "after {after} of {lengths:?}: {error}"
            );
            expect_circumstances(error, after > lengths.hello);
        });
    }
}

#[test]
fn an_end_at_each_byte_of_plain_replies_is_reported() {
    for (action, expected) in [
        (Action::Close, CauseCode::ConnectionClosed),
        (Action::Reset, CauseCode::ConnectionReset),
    ] {
        let target = Target::new(false);
        end_everywhere(&target, Layer::Tcp, &action, |after, lengths, error| {
            let stage = lengths.stage(after);
            let seen = (code(error), error.stage().unwrap());
            if after == 0 {
                // Without a byte of a reply to hello: a server rejects a client without TLS in this way. A reset may
                // come before hello is sent.
                let at_once = action == Action::Reset && seen == (expected, Stage::Connect);
                assert!(
                    at_once || seen == (CauseCode::ServerRequiresTls, Stage::Hello),
                    "{error}"
                );
                return;
            }
            assert_eq!(
                seen,
                (expected, stage),
                "after {after} of {lengths:?}: {error}"
            );
            let begun = if after == lengths.hello { "no" } else { "yes" };
            assert_eq!(
                fact(error, "begun"),
                begun,
                "after {after} of {lengths:?}: {error}"
            );
        });
    }
}

#[test]
fn an_idle_connection_that_the_server_ended_fails_one_command() {
    for tls in [true, false] {
        let target = Target::new(tls);
        let client = target.settled("");
        ping_on(&client).unwrap();
        target.server().cut();
        expect_open(target.server(), 0);
        let error = ping_on(&client).unwrap_err();
        assert_eq!(error.stage(), Some(Stage::Command), "{error}");
        let ends = [CauseCode::ConnectionClosed, CauseCode::ConnectionReset];
        assert!(ends.contains(&code(&error)), "{error}");
        ping_on(&client).unwrap();
        assert_eq!(target.server().program_connections().len(), 2);
    }
}

#[test]
fn a_close_seen_by_the_monitor_fails_no_command() {
    for tls in [true, false] {
        let target = Target::new(tls);
        let client = target.client("serverMonitoringMode=stream");
        ping_on(&client).unwrap();
        let server = target.server();
        expect_streaming(server);
        let checks = |server: &Server| server.checks().handshakes().len();
        let before = checks(server);
        server.cut();
        // The monitor's next connection follows after it has handled the end of the last one.
        assert!(server.wait_until(FAR, |server| checks(server) == before + 1));
        ping_on(&client).unwrap();
        assert_eq!(server.program_connections().len(), 2);
    }
}

#[test]
fn a_close_after_hello_is_no_missing_client_certificate() {
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let tls = ServerTls::new(&identity).client_auth(ClientAuth::Request, &[ca.cert()]);
    let bench = Bench::around(Server::builder().tls(tls).start(), ca);
    let client = bench.client("");
    ping_on(&client).unwrap();
    // The server requested a certificate, continued without one, and answered: it accepts the client.
    bench.server.configure_fail_point(&fail_command(
        1,
        &["ping"],
        doc! { "closeConnection": true },
    ));
    let error = ping_on(&client).unwrap_err();
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::ConnectionClosed, Some(Stage::Command)),
        "{error}"
    );
    ping_on(&client).unwrap();
}
