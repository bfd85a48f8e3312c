//! The cached status of certificates, its lifetime, and the evidence of sessions.

use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::doc;
use mongotls::options::TlsOptions;
use mongotls::tls::{RevocationStatus, TlsContext};
use mongotls::{CauseCode, Command};
use mongotls_testbench::ocsp::Behaviour;
use mongotls_testbench::pki::KeyKind;
use mongotls_testbench::server::ServerTls;
use openssl::ssl::SslVersion;

use super::responder::Asked;
use super::{Scene, Told, leaf};
use crate::common::{code, ping_on};

/// The words of the last event's steps.
fn last(told: &Told) -> Vec<String> {
    let told = told.lock().unwrap();
    let steps = &told.last().unwrap().certificates[0].steps;
    steps
        .iter()
        .map(|step| format!("{} {}", step.evidence, step.outcome))
        .collect()
}

/// A command on a new connection.
fn connect(client: &mongotls::Client) -> Result<(), mongotls::Error> {
    thread::sleep(Duration::from_millis(5));
    ping_on(client).map(drop)
}

#[test]
fn many_connections_at_once_ask_once() {
    let asked = Asked::new();
    asked
        .responder
        .behave(Behaviour::Delay(Duration::from_millis(1000)));
    let (client, told) = asked.scene.client(|tls| tls.session_resumption(false));
    let start = Barrier::new(64);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                start.wait();
                ping_on(&client).unwrap();
            });
        }
    });
    assert_eq!(asked.responder.count(), 1);
    assert_eq!(asked.scene.bench.server.counts().handshakes, 64);
    let told = told.lock().unwrap();
    for event in told.iter() {
        assert_eq!(event.certificates[0].status, RevocationStatus::Good);
    }
}

#[test]
fn concurrent_connections_wait_once_for_a_hanging_responder() {
    let asked = Asked::new();
    asked
        .responder
        .behave(Behaviour::Delay(Duration::from_secs(30)));
    let limit = Duration::from_millis(400);
    let (client, _) = asked
        .scene
        .client(|tls| tls.session_resumption(false).ocsp_responder_timeout(limit));
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| ping_on(&client).unwrap());
        }
    });
    for _ in 0..5 {
        connect(&client).unwrap();
    }
    assert!(started.elapsed() < limit * 4, "{:?}", started.elapsed());
    assert_eq!(asked.responder.count(), 1);
}

#[test]
fn without_a_limit_connections_wait_for_the_running_request() {
    let asked = Asked::new();
    asked.answers(|spec| spec.revoked(-9, None));
    asked
        .responder
        .behave(Behaviour::Delay(Duration::from_millis(600)));
    let tls = TlsOptions::builder()
        .ca_file(&asked.scene.bench.ca_file)
        .ocsp_responder_timeout(Duration::MAX)
        .build()
        .unwrap();
    let context = TlsContext::new(&tls).unwrap();
    let handshake = || {
        let socket = std::net::TcpStream::connect(asked.scene.bench.server.addr()).unwrap();
        context.connect("localhost", socket).map(drop)
    };
    thread::scope(|scope| {
        let first = scope.spawn(handshake);
        assert!(asked.responder.wait_for(1, Duration::from_secs(5)));
        let error = handshake().unwrap_err();
        assert_eq!(code(&error), CauseCode::RevokedOcspResponder);
        assert!(first.join().unwrap().is_err());
    });
}

/// A server that stalls until the time is nearly up must not gain five seconds without requests.
#[test]
fn a_request_without_time_is_repeated() {
    let asked = Asked::new();
    asked.answers(|spec| spec.revoked(-9, None));
    asked
        .responder
        .behave(Behaviour::Delay(Duration::from_millis(400)));
    let (client, _) = asked.scene.client(|tls| tls);
    let slow = ServerTls::new(&asked.scene.identity).staple_with(|_| {
        thread::sleep(Duration::from_millis(800));
        None
    });
    asked.scene.bench.server.set_tls(&slow);
    let command = Command::from(doc! { "ping": 1 }).timeout(Duration::from_secs(1));
    let error = client.database("admin").run_command(command).unwrap_err();
    assert_eq!(code(&error), CauseCode::HandshakeTimeout, "{error}");
    asked.scene.no_staple();
    let error = connect(&client).unwrap_err();
    assert_eq!(code(&error), CauseCode::RevokedOcspResponder, "{error}");
    assert_eq!(asked.responder.count(), 2);
}

#[test]
fn an_answer_is_kept_until_its_next_update_and_no_longer() {
    let asked = Asked::new();
    let (client, told) = asked.scene.client(|tls| tls.session_resumption(false));
    asked.answers(|spec| spec.next_update(Some(2)));
    connect(&client).unwrap();
    connect(&client).unwrap();
    assert!(
        last(&told)[0].starts_with("cache says good"),
        "{:?}",
        last(&told)
    );
    assert_eq!(asked.responder.count(), 1);
    asked.answers(|spec| spec.revoked(-9, None));
    thread::sleep(Duration::from_millis(2100));
    let error = connect(&client).unwrap_err();
    assert_eq!(code(&error), CauseCode::RevokedOcspResponder);
    // The revocation is cached too, and reported with its source.
    let error = connect(&client).unwrap_err();
    assert_eq!(code(&error), CauseCode::RevokedOcspResponder);
    assert_eq!(asked.responder.count(), 2);
    // Another client has a separate cache.
    assert!(asked.scene.plain().is_err());
    assert_eq!(asked.responder.count(), 3);
}

#[test]
fn inconclusive_responses_are_cached_briefly() {
    for change in [
        |spec: mongotls_testbench::pki::OcspSpec| spec.next_update(None),
        |spec: mongotls_testbench::pki::OcspSpec| spec.unknown(),
    ] {
        let asked = Asked::new();
        asked.answers(change);
        let (client, told) = asked.scene.client(|tls| tls);
        connect(&client).unwrap();
        thread::sleep(Duration::from_millis(5500));
        connect(&client).unwrap();
        assert_eq!(asked.responder.count(), 2);
        assert!(!last(&told)[0].starts_with("cache"), "{:?}", last(&told));
        // No session may replace a proof that was missing for some time.
        assert_eq!(asked.scene.bench.server.counts().resumed, 0);
    }
}

#[test]
fn a_staple_is_kept_and_the_fresher_answer_stays() {
    let scene = Scene::ec(|leaf| leaf);
    let (client, told) = scene.client(|tls| tls.session_resumption(false));
    let spec = || scene.issuer.ocsp(&scene.identity.cert);
    scene.staple(spec().build());
    connect(&client).unwrap();
    scene.no_staple();
    connect(&client).unwrap();
    assert!(
        last(&told)[0].starts_with("cache says good"),
        "{:?}",
        last(&told)
    );
    // An older staple, which may be replayed, does not remove a known revocation.
    scene.staple(spec().this_update(-30).revoked(-60, None).build());
    let error = connect(&client).unwrap_err();
    assert_eq!(code(&error), CauseCode::RevokedOcspStaple);
    scene.staple(spec().this_update(-600).next_update(Some(7200)).build());
    let error = connect(&client).unwrap_err();
    assert_eq!(code(&error), CauseCode::RevokedOcspStaple, "{error}");
    scene.no_staple();
    let error = connect(&client).unwrap_err();
    assert_eq!(code(&error), CauseCode::RevokedOcspStaple);
    // A reload starts with an empty cache.
    client.reload_tls().unwrap();
    connect(&client).unwrap();
}

#[test]
fn an_older_staple_does_not_replace_a_revocation() {
    let scene = Scene::ec(|leaf| leaf);
    let (client, _) = scene.client(|tls| tls.session_resumption(false));
    let spec = || scene.issuer.ocsp(&scene.identity.cert);
    let day = 24 * 60 * 60;
    let old = spec().this_update(-600).next_update(Some(7 * day)).build();
    let revoked = spec()
        .this_update(-30)
        .next_update(Some(day))
        .revoked(-60, None);
    scene.staple(old.clone());
    connect(&client).unwrap();
    scene.staple(revoked.build());
    let error = connect(&client).unwrap_err();
    assert_eq!(code(&error), CauseCode::RevokedOcspStaple);
    // Replaying it has no effect, however often.
    scene.staple(old);
    for _ in 0..3 {
        let error = connect(&client).unwrap_err();
        assert_eq!(code(&error), CauseCode::RevokedOcspStaple, "{error}");
    }
    // A younger one cancels it, as after certificateHold.
    scene.staple(spec().this_update(-10).build());
    connect(&client).unwrap();
    scene.no_staple();
    connect(&client).unwrap();
}

#[test]
fn a_session_is_not_resumed_past_the_response_that_it_rests_on() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let scene = Scene::new(KeyKind::EcP256, version, |leaf| leaf);
        let spec = || scene.issuer.ocsp(&scene.identity.cert);
        scene.staple(spec().next_update(Some(3)).build());
        let (client, told) = scene.client(|tls| tls);
        connect(&client).unwrap();
        connect(&client).unwrap();
        let counts = scene.bench.server.counts();
        assert_eq!((counts.handshakes, counts.resumed), (2, 1));
        let report = client.server_report().unwrap().handshake.unwrap();
        if report.resumed() {
            assert!(
                report.revocation()[0]
                    .steps
                    .last()
                    .unwrap()
                    .outcome
                    .contains("full handshake")
            );
        }
        assert_eq!(
            told.lock().unwrap().len(),
            1,
            "resumed handshakes tell nothing"
        );
        thread::sleep(Duration::from_millis(3100));
        scene.staple(spec().revoked(-1, None).build());
        let error = connect(&client).unwrap_err();
        assert_eq!(code(&error), CauseCode::RevokedOcspStaple, "{version:?}");
    }
}

#[test]
fn a_session_is_kept_only_where_evidence_carries_it() {
    // Without any check, the certificate determines the session's lifetime.
    let scene = Scene::ec(|leaf| leaf);
    let (client, _) = scene.client(|tls| tls);
    connect(&client).unwrap();
    connect(&client).unwrap();
    assert_eq!(scene.bench.server.counts().resumed, 1);
    // The responder gave no answer: the next connection may learn more.
    let asked = Asked::new();
    asked.responder.behave(Behaviour::Status(500));
    let (client, _) = asked.scene.client(|tls| tls);
    connect(&client).unwrap();
    connect(&client).unwrap();
    assert_eq!(asked.scene.bench.server.counts().resumed, 0);
    // Requests are disabled: nothing more can be learned.
    let (client, _) = asked
        .scene
        .client(|tls| tls.disable_ocsp_endpoint_check(true));
    connect(&client).unwrap();
    connect(&client).unwrap();
    assert_eq!(asked.scene.bench.server.counts().resumed, 1);
    // An inconclusive staple may be conclusive next time. No other client has a session with that server.
    let asked = Asked::new();
    let spec = asked.scene.issuer.ocsp(&asked.scene.identity.cert);
    asked.scene.staple(spec.unknown().build());
    let (client, _) = asked
        .scene
        .client(|tls| tls.disable_ocsp_endpoint_check(true));
    connect(&client).unwrap();
    connect(&client).unwrap();
    assert_eq!(asked.scene.bench.server.counts().resumed, 0);
    asked.scene.no_staple();
    // Its answer allows the session.
    asked.responder.behave(Behaviour::Sound);
    let (client, _) = asked.scene.client(|tls| tls);
    connect(&client).unwrap();
    connect(&client).unwrap();
    assert_eq!(asked.scene.bench.server.counts().resumed, 1);
}

/// Handshakes that succeed without a known status are counted and reported, one by one.
#[test]
fn checks_that_come_to_no_end_are_counted() {
    let scene = Scene::ec(|leaf| leaf);
    let answer = || scene.issuer.ocsp(&scene.identity.cert);
    let tls = TlsOptions::builder().ca_file(&scene.bench.ca_file);
    let context = TlsContext::new(&tls.build().unwrap()).unwrap();
    let counted = || {
        let stream = TcpStream::connect(scene.bench.server.addr()).unwrap();
        let stream = context.connect("127.0.0.1", stream).unwrap();
        let status = leaf(stream.report()).status;
        (status, context.undetermined_revocations())
    };
    // There is no evidence to look for.
    assert_eq!(counted(), (RevocationStatus::NotChecked, 0));
    scene.staple(answer().unknown().build());
    assert_eq!(counted(), (RevocationStatus::Undetermined, 1));
    assert_eq!(counted(), (RevocationStatus::Undetermined, 2));
    scene.staple(answer().build());
    assert_eq!(counted(), (RevocationStatus::Good, 2));
    assert_eq!(
        (context.full_handshakes(), context.resumed_handshakes()),
        (4, 0)
    );
}
