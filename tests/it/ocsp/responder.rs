//! Responders that the certificate names: the requests to them, and the handling of their responses.

use std::thread;
use std::time::Duration;

use mongotls::CauseCode;
use mongotls::doctor;
use mongotls::error::Stage;
use mongotls::tls::RevocationStatus;
use mongotls_testbench::fault::{Action, Fault, Layer};
use mongotls_testbench::http_proxy::HttpProxy;
use mongotls_testbench::ocsp::{Behaviour, Responder};
use mongotls_testbench::pki::{KeyKind, LeafSpec, OcspSpec, ResponderId};
use mongotls_testbench::server::{Server, ServerTls};
use mongotls_testbench::stranger;
use openssl::ocsp::OcspResponseStatus;
use openssl::ssl::SslVersion;
use openssl::x509::CrlReason;

use super::{Scene, told};
use crate::cli::mongotls;
use crate::common::{code, fact, timed};

/// A server without a staple, and the responder that its certificate names.
pub(super) struct Asked {
    pub(super) scene: Scene,
    pub(super) responder: Responder,
}

impl Asked {
    pub(super) fn new() -> Self {
        Self::on(KeyKind::EcP256, SslVersion::TLS1_3)
    }

    fn on(kind: KeyKind, version: SslVersion) -> Self {
        let responder = Responder::start();
        let url = responder.url();
        let scene = Scene::new(kind, version, |leaf| leaf.ocsp_url(&url));
        let asked = Self { scene, responder };
        asked.answers(|spec| spec);
        asked
    }

    pub(super) fn answers(&self, change: impl FnOnce(OcspSpec) -> OcspSpec) {
        let cert = &self.scene.identity.cert;
        let response = change(self.scene.issuer.ocsp(cert)).build();
        self.responder.answer(cert, response);
    }

    /// The status and the text of the only step, in a handshake whose responders have 500 ms.
    fn outcome(&self) -> (RevocationStatus, String) {
        let limit = Duration::from_millis(500);
        let report = self.scene.attempt(|tls| tls.ocsp_responder_timeout(limit));
        let (status, mut words) = told(&report.unwrap());
        let url = self.responder.url();
        let step = words.pop().unwrap();
        assert!(words.is_empty(), "{words:?}");
        let outcome = step.strip_prefix(&format!("responder {url} "));
        (
            status,
            outcome.unwrap_or_else(|| panic!("{step}")).to_owned(),
        )
    }
}

#[test]
fn a_responder_is_queried_and_its_status_used() {
    for kind in [KeyKind::EcP256, KeyKind::Rsa(2048)] {
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let asked = Asked::on(kind, version);
            let (status, words) = asked.outcome();
            assert_eq!(
                (status, words.as_str()),
                (RevocationStatus::Good, "says good")
            );
            let requests = asked.responder.requests();
            let [request] = requests.as_slice() else {
                panic!("{requests:?}");
            };
            assert_eq!(request.http.method, "GET");
            assert!(request.complaints.is_empty(), "{:?}", request.complaints);
            let [id] = request.cert_ids.as_slice() else {
                panic!("{request:?}");
            };
            assert!(id.is_about(asked.scene.issuer.cert(), &asked.scene.identity.cert));
            asked.answers(|spec| spec.revoked(-60, Some(CrlReason::SUPERSEDED)));
            let error = asked.scene.plain().unwrap_err();
            assert_eq!(
                (code(&error), error.stage()),
                (CauseCode::RevokedOcspResponder, Some(Stage::Revocation)),
                "{error}"
            );
            assert_eq!(fact(&error, "responder"), asked.responder.url());
            assert_eq!(fact(&error, "reason"), "superseded");
        }
    }
}

#[test]
fn long_requests_and_post_only_responders_use_post() {
    let asked = Asked::new();
    for status in [405, 501] {
        asked.responder.behave_on("GET", Behaviour::Status(status));
        assert_eq!(asked.outcome().0, RevocationStatus::Good, "{status}");
        let methods: Vec<_> = asked
            .responder
            .requests()
            .into_iter()
            .map(|r| r.http.method)
            .collect();
        assert_eq!(methods[methods.len() - 2..], ["GET", "POST"]);
    }
    let responder = Responder::start();
    let url = format!("{}/{}", responder.url(), "long/".repeat(40));
    let scene = Scene::ec(|leaf| leaf.ocsp_url(&url));
    responder.answer(
        &scene.identity.cert,
        scene.issuer.ocsp(&scene.identity.cert).build(),
    );
    assert_eq!(told(&scene.plain().unwrap()).0, RevocationStatus::Good);
    let requests = responder.requests();
    let [request] = requests.as_slice() else {
        panic!("{requests:?}");
    };
    assert_eq!(request.http.method, "POST");
    assert_eq!(
        request.http.header("content-type"),
        Some("application/ocsp-request")
    );
    assert!(request.complaints.is_empty(), "{:?}", request.complaints);
}

#[test]
fn every_valid_form_of_response_is_accepted() {
    let asked = Asked::new();
    for behaviour in [
        Behaviour::Sound,
        Behaviour::KeepAlive,
        Behaviour::Delay(Duration::from_millis(100)),
        Behaviour::Chunked,
        Behaviour::NoContentLength,
        Behaviour::Interim,
        Behaviour::ContentType(None),
        Behaviour::ContentType(Some("text/plain".into())),
    ] {
        asked.responder.behave(behaviour.clone());
        let (status, words) = asked.outcome();
        assert_eq!(status, RevocationStatus::Good, "{behaviour:?}: {words}");
    }
    let other = Responder::start();
    let cert = &asked.scene.identity.cert;
    other.answer(cert, asked.scene.issuer.ocsp(cert).build());
    for status in [301, 302, 303, 307, 308] {
        asked
            .responder
            .behave(Behaviour::Redirect(status, other.url()));
        assert_eq!(asked.outcome().0, RevocationStatus::Good, "{status}");
    }
    assert_eq!(other.count(), 5);
}

#[test]
fn a_misbehaving_responder_is_skipped_and_reported() {
    let https = || "https://127.0.0.1:1".to_owned();
    let cases = [
        (Behaviour::Status(404), "HTTP status 404"),
        (Behaviour::Status(500), "HTTP status 500"),
        (Behaviour::Status(503), "HTTP status 503"),
        (Behaviour::Html, "it is no OCSP response"),
        (
            Behaviour::Redirect(302, https()),
            "redirects to a URL that cannot be used",
        ),
        (
            Behaviour::Redirect(302, "ldap://a".into()),
            "redirects to a URL that cannot be used",
        ),
        (Behaviour::RedirectToItself, "redirects more than 3 times"),
        (Behaviour::RedirectForEver, "redirects more than 3 times"),
        (
            Behaviour::ContentLength("1000000".into()),
            "more than 65536 bytes",
        ),
        (
            Behaviour::ContentLength("9000".into()),
            "in the middle of its answer",
        ),
        (Behaviour::ContentLength("x".into()), "no number"),
        (Behaviour::ContentLength("-1".into()), "no number"),
        (
            Behaviour::ContentLength("99999999999999999999999".into()),
            "no number",
        ),
        (
            Behaviour::ContentLength("20".into()),
            "it is no OCSP response",
        ),
        (Behaviour::Huge(100 << 20), "more than 65536 bytes"),
        (Behaviour::Endless, "more than 65536 bytes"),
        (Behaviour::EndlessChunked, "more than 65536 bytes"),
        (Behaviour::EndlessHeaders, ""),
        (Behaviour::EndlessHeaderLine, "headers without an end"),
        (
            Behaviour::Raw(b"SSH-2.0-x\r\n".to_vec()),
            "does not speak HTTP",
        ),
        (
            Behaviour::Raw(Vec::new()),
            "ended the connection before its answer",
        ),
        (
            Behaviour::Raw(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
            "it is no OCSP response",
        ),
        (Behaviour::Delay(Duration::from_secs(30)), "in time"),
    ];
    let asked = Asked::new();
    for (behaviour, reason) in cases {
        asked.responder.behave(behaviour.clone());
        let (status, words) = timed(Duration::ZERO, Duration::from_millis(1000), || {
            asked.outcome()
        });
        assert_eq!(
            status,
            RevocationStatus::Undetermined,
            "{behaviour:?}: {words}"
        );
        assert!(words.contains(reason), "{behaviour:?}: {words}");
        let error = asked.scene.attempt(|tls| {
            tls.require_revocation_status(true)
                .ocsp_responder_timeout(Duration::from_millis(200))
        });
        let error = error.map(drop).expect_err("certainty was asked for");
        assert_eq!(code(&error), CauseCode::RevocationUnknown, "{behaviour:?}");
        assert!(
            fact(&error, "tried").contains(&asked.responder.url()),
            "{error:?}"
        );
    }
}

#[test]
fn a_connection_that_breaks_at_any_byte_is_passed_over_in_time() {
    let asked = Asked::new();
    let trickle = Action::Trickle {
        bytes: 1,
        interval: Duration::from_millis(20),
    };
    for after in [0, 1, 10, 40, 200, 300] {
        for action in [Action::Stall, Action::Close, Action::Reset, trickle.clone()] {
            let is_trickle = matches!(action, Action::Trickle { .. });
            asked
                .responder
                .faults()
                .next(2, Fault::new(after, action.clone()));
            let limit = Duration::from_millis(300);
            let report = timed(Duration::ZERO, Duration::from_millis(700), || {
                asked.scene.attempt(|tls| tls.ocsp_responder_timeout(limit))
            });
            let (status, words) = told(&report.unwrap());
            // Near the end of the answer a trickle may still finish in time.
            let allowed = match is_trickle && after >= 300 {
                true => vec![RevocationStatus::Undetermined, RevocationStatus::Good],
                false => vec![RevocationStatus::Undetermined],
            };
            assert!(
                allowed.contains(&status),
                "{action:?} after {after}: {words:?}"
            );
            asked.responder.faults().clear();
        }
    }
}

#[test]
fn an_invalid_response_is_ignored_whatever_its_status() {
    type Change = fn(OcspSpec) -> OcspSpec;
    let faults: [(Change, &str); 12] = [
        (OcspSpec::broken_signature, "its signature does not verify"),
        (
            |s| s.revoked(-9, None).broken_signature(),
            "its signature does not verify",
        ),
        (
            |s| s.responder_id(ResponderId::WrongName),
            "its signature does not verify",
        ),
        (OcspSpec::wrong_serial, "another certificate"),
        (|s| s.this_update(3600), "thisUpdate"),
        (|s| s.next_update(Some(-3600)), "nextUpdate"),
        (
            |s| s.revoked(-9, None).next_update(Some(-3600)),
            "nextUpdate",
        ),
        (|s| s.trailing(b"x"), "more bytes follow"),
        (|s| s.status(OcspResponseStatus::TRY_LATER), "tryLater"),
        (
            |s| s.status(OcspResponseStatus::UNAUTHORIZED),
            "unauthorized",
        ),
        (|s| s.unknown_extension(true), "critical extension"),
        (|s| s.nonce(&[7; 70 << 10]), "more than 65536"),
    ];
    let asked = Asked::new();
    for (change, reason) in faults {
        asked.answers(change);
        let (status, words) = asked.outcome();
        assert_eq!(status, RevocationStatus::Undetermined, "{words}");
        assert!(words.contains(reason), "{words}, not {reason}");
    }
    asked.answers(OcspSpec::unknown);
    assert_eq!(
        asked.outcome(),
        (RevocationStatus::Undetermined, "says unknown".into())
    );
}

/// A scene whose certificate names these URLs.
fn named(urls: &[String]) -> Scene {
    Scene::ec(|leaf| urls.iter().fold(leaf, |leaf, url| leaf.ocsp_url(url)))
}

#[test]
fn of_several_responders_the_first_conclusive_answer_counts() {
    let responders = [Responder::start(), Responder::start(), Responder::start()];
    let scene = named(&responders.each_ref().map(Responder::url));
    let cert = &scene.identity.cert;
    let [hangs, unknown, revoked] = &responders;
    hangs.behave(Behaviour::Delay(Duration::from_secs(30)));
    unknown.answer(cert, scene.issuer.ocsp(cert).unknown().build());
    revoked.answer(cert, scene.issuer.ocsp(cert).revoked(-9, None).build());
    revoked.behave(Behaviour::Delay(Duration::from_millis(200)));
    let error = timed(
        Duration::from_millis(150),
        Duration::from_millis(900),
        || scene.plain().unwrap_err(),
    );
    assert_eq!(code(&error), CauseCode::RevokedOcspResponder, "{error}");
    assert_eq!(fact(&error, "responder"), revoked.url());
    for responder in &responders {
        assert_eq!(responder.connections(), 1, "asked side by side");
    }
    // A good answer ends the wait in the same way, before the responder that hangs.
    revoked.answer(cert, scene.issuer.ocsp(cert).build());
    let report = timed(Duration::ZERO, Duration::from_millis(900), || {
        scene.plain().unwrap()
    });
    let (status, words) = told(&report);
    assert_eq!(status, RevocationStatus::Good);
    assert!(
        words.iter().any(|words| words.ends_with("says unknown")),
        "{words:?}"
    );
}

#[test]
fn other_urls_than_http_are_not_queried() {
    let nobody = stranger::nobody();
    for (url, reason) in [
        ("https://127.0.0.1:1/", "only http URLs are asked"),
        ("ldap://127.0.0.1/", "only http URLs are asked"),
        ("http://user:pass@127.0.0.1/", "it holds a user"),
        ("nonsense", "only http URLs are asked"),
        (&format!("http://{nobody}"), "cannot be reached"),
    ] {
        let scene = named(&[url.to_owned()]);
        let (status, words) = told(&scene.plain().unwrap());
        assert_eq!(status, RevocationStatus::Undetermined, "{url}");
        assert!(words[0].contains(reason), "{words:?}");
    }
    // A URL that could control a terminal is reported with its control characters escaped, and no request is sent.
    let scene = named(&["http://127.0.0.1:1/\u{1b}[2J\r\nX: y".to_owned()]);
    let (_, words) = told(&scene.plain().unwrap());
    assert!(words[0].contains("cannot hold"), "{words:?}");
    assert!(!words[0].contains(char::is_control), "{words:?}");
    // Only the first of many get requests, and the others are not reported as slow.
    let many: Vec<_> = (0..9).map(|n| format!("http://{nobody}/{n}")).collect();
    let (_, words) = told(&named(&many).plain().unwrap());
    assert_eq!(words.len(), 9);
    assert!(words[8].contains("was not asked"), "{words:?}");
    // Only the issuers of the certificate are named: there is no responder.
    let scene = Scene::ec(|leaf| leaf.ca_issuers_url("http://127.0.0.1:1/ca.der"));
    assert_eq!(
        told(&scene.plain().unwrap()).0,
        RevocationStatus::NotChecked
    );
}

#[test]
fn options_decide_whether_responders_are_queried() {
    let asked = Asked::new();
    asked.answers(|spec| spec.revoked(-9, None));
    let scene = &asked.scene;
    let report = scene.attempt(|tls| tls.disable_ocsp_endpoint_check(true));
    let (status, words) = told(&report.unwrap());
    assert_eq!(status, RevocationStatus::Undetermined);
    assert!(
        words[0].contains("tlsDisableOCSPEndpointCheck"),
        "{words:?}"
    );
    for option in [
        "&tlsDisableOCSPEndpointCheck=true",
        "&tlsDisableCertificateRevocationCheck=true",
        "&tlsInsecure=true",
        "&tlsAllowInvalidCertificates=true",
    ] {
        crate::common::ping(&scene.bench.uri(option)).unwrap();
    }
    // A CRL is evidence that precedes the responders.
    let crl = scene
        .bench
        .dir
        .write("crl.pem", scene.issuer.crl().build().to_pem().unwrap());
    let report = scene.attempt(|tls| tls.crl_file(crl)).unwrap();
    assert_eq!(told(&report).1, ["CRL does not list it"]);
    // A staple precedes them too.
    scene.staple(scene.issuer.ocsp(&scene.identity.cert).build());
    assert_eq!(told(&scene.plain().unwrap()).0, RevocationStatus::Good);
    assert_eq!(asked.responder.count(), 0);
    scene.staple(scene.issuer.ocsp(&scene.identity.cert).unknown().build());
    assert_eq!(
        code(&scene.plain().unwrap_err()),
        CauseCode::RevokedOcspResponder
    );
    assert_eq!(asked.responder.count(), 1);
}

#[test]
fn responders_of_intermediate_cas_are_not_queried() {
    let responder = Responder::start();
    let root = mongotls_testbench::pki::Ca::root("root", KeyKind::EcP256);
    let mid = mongotls_testbench::pki::CaSpec::new("mid")
        .ocsp_url(&responder.url())
        .issued_by(&root);
    let identity = mid.issue(LeafSpec::local_server());
    let server = Server::builder().tls(ServerTls::new(&identity)).start();
    let bench = crate::common::Bench::around(server, root);
    let report = bench.handshake(|tls| tls.ca_file(&bench.ca_file)).unwrap();
    let found = report.revocation();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[1].status, RevocationStatus::NotChecked);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(responder.connections(), 0);
}

#[test]
fn the_proxy_of_the_environment_is_used() {
    let asked = Asked::new();
    let proxy = HttpProxy::to(asked.responder.addr());
    let uri = asked.scene.bench.uri("");
    let run = |variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mongotls"));
        command.args(["doctor", &uri, "--json"]);
        for name in [
            "http_proxy",
            "all_proxy",
            "ALL_PROXY",
            "no_proxy",
            "NO_PROXY",
        ] {
            command.env_remove(name);
        }
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        object["stages"][4]["revocation"][0]["status"].clone()
    };
    assert_eq!(run(&[("http_proxy", &proxy.url())]), "good");
    let requests = proxy.requests();
    assert!(
        requests[0].target.starts_with(&asked.responder.url()),
        "{requests:?}"
    );
    assert_eq!(
        run(&[("http_proxy", &proxy.url()), ("no_proxy", "127.0.0.1")]),
        "good"
    );
    assert_eq!(proxy.count(), 1);
    let refuses = HttpProxy::answering(403);
    assert_eq!(run(&[("http_proxy", &refuses.url())]), "undetermined");
    let knows = HttpProxy::with_password(asked.responder.addr(), "user:p@ss");
    let with_password = knows.url().replace("http://", "http://user:p%40ss@");
    assert_eq!(run(&[("http_proxy", &with_password)]), "good");
}

#[test]
fn doctor_tells_what_was_tried() {
    let asked = Asked::new();
    let uri = asked.scene.bench.uri("");
    let run = mongotls(&["doctor", &uri, "--json"]);
    let object: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    let stage = &object["stages"][4];
    assert_eq!((run.code, &stage["name"]), (0, &"revocation".into()));
    let found = &stage["revocation"][0];
    assert_eq!(
        (&found["depth"], &found["status"]),
        (&0.into(), &"good".into())
    );
    let step = &found["steps"][0];
    assert_eq!(
        step["evidence"],
        format!("responder {}", asked.responder.url())
    );
    assert_eq!(step["outcome"], "says good");
    assert!(step["duration_ms"].is_number() && found["valid_until"].is_string());
    let text = mongotls(&["doctor", &uri]).out;
    assert!(
        text.contains(&format!("responder {} says good", asked.responder.url())),
        "{text}"
    );

    asked.responder.behave(Behaviour::Status(500));
    let run = mongotls(&["doctor", &uri, "--json"]);
    let object: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(run.code, 0);
    let warnings = object["warnings"].to_string();
    assert!(
        warnings.contains("is revoked is not known") && warnings.contains("HTTP status 500"),
        "{warnings}"
    );
    asked.responder.behave(Behaviour::Sound);
    asked.answers(|spec| spec.revoked(-9, None));
    let run = mongotls(&["doctor", &uri, "--json"]);
    let object: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        (
            run.code,
            &object["cause"],
            &object["category"],
            &object["stage"]
        ),
        (
            1,
            &"revoked-ocsp-responder".into(),
            &"revocation".into(),
            &"revocation".into()
        )
    );
}

#[test]
fn a_recovered_responder_is_queried_again() {
    let asked = Asked::new();
    let (client, told) = asked.scene.client(|tls| tls);
    asked.responder.behave(Behaviour::Status(503));
    crate::common::ping_on(&client).unwrap();
    asked.responder.behave(Behaviour::Sound);
    asked.answers(|spec| spec.revoked(-9, None));
    let started = std::time::Instant::now();
    // A dead responder gets no requests for five seconds, so that it does not delay each connection.
    let error = loop {
        thread::sleep(Duration::from_millis(100));
        match crate::common::ping_on(&client) {
            Ok(_) => assert!(started.elapsed() < Duration::from_secs(8)),
            Err(error) => break error,
        }
    };
    assert_eq!(code(&error), CauseCode::RevokedOcspResponder);
    assert!(started.elapsed() > Duration::from_secs(4));
    assert_eq!(asked.responder.count(), 2);
    let events = told.lock().unwrap();
    let last = events.last().unwrap();
    assert_eq!(
        code(last.error.as_ref().unwrap()),
        CauseCode::RevokedOcspResponder
    );
    let first = &events[0].certificates[0];
    assert_eq!(first.status, RevocationStatus::Undetermined);
}

#[test]
fn redirects_lead_to_no_other_host_and_no_post_is_redirected() {
    let asked = Asked::new();
    let other = Responder::start();
    let port = other.addr().port();
    for host in ["localhost", "169.254.169.254", "10.0.0.1", "[::1]"] {
        let target = format!("http://{host}:{port}/");
        asked.responder.behave(Behaviour::Redirect(302, target));
        let (status, words) = asked.outcome();
        let name = host.trim_matches(['[', ']']);
        assert_eq!(
            (status, words),
            (
                RevocationStatus::Undetermined,
                format!("redirects to another host, {name}, which is not asked")
            )
        );
    }
    // A request that is too long for GET.
    let long = format!("{}/{}", asked.responder.url(), "x".repeat(250));
    let scene = Scene::ec(|leaf| leaf.ocsp_url(&long));
    for status in [301, 302, 303, 307, 308] {
        let target = format!("{}/", other.url());
        asked.responder.behave(Behaviour::Redirect(status, target));
        let (_, words) = told(&scene.plain().unwrap());
        assert_eq!(
            words,
            [format!(
                "responder {long} redirects a POST, which is not followed"
            )]
        );
    }
    assert!(other.requests().is_empty());
}

#[test]
fn a_silent_responder_leaves_time_for_the_connection() {
    let asked = Asked::new();
    asked
        .responder
        .behave(Behaviour::Delay(Duration::from_secs(60)));
    let url = asked.responder.url();
    let uri = asked.scene.bench.uri("&connectTimeoutMS=3000");
    let half = Duration::from_millis(1000)..Duration::from_millis(2900);
    let diagnosis = timed(half.start, half.end, || doctor::examine(&uri));
    assert!(diagnosis.is_ok(), "{diagnosis:?}");
    let expected = format!("responder {url} did not answer in time (connectTimeoutMS)");
    let warnings = &diagnosis.examinations[0].warnings;
    assert!(
        warnings.iter().any(|warning| warning.ends_with(&expected)),
        "{warnings:?}"
    );
}

/// The time limit passes after half of it was spent on a responder.
#[test]
fn a_time_limit_that_a_silent_responder_used_up_names_it() {
    let asked = Asked::new();
    asked
        .responder
        .behave(Behaviour::Delay(Duration::from_secs(60)));
    let url = asked.responder.url();
    let remedy = "Let this host reach the OCSP responder, or let the server staple. TLS works: see whether the server, or the server behind a proxy, is overloaded or stopped; then raise connectTimeoutMS.";
    let cases = [
        // The server is slow, and the responder gets the rest of the time.
        (
            "the TLS handshake",
            Stage::Tls,
            Fault::trickle_after(0, 1 << 20, Duration::from_millis(1100)),
        ),
        // The responder has half of the time, and the server does not answer hello.
        (
            "the MongoDB handshake",
            Stage::Hello,
            Fault::stall_after(0).on(Layer::Message),
        ),
    ];
    for (what, stage, fault) in cases {
        let server = &asked.scene.bench.server;
        server.faults().all(fault);
        let uri = asked
            .scene
            .bench
            .uri_for("127.0.0.1", "&connectTimeoutMS=2000");
        let error = crate::target::attempt_error(&uri);
        server.faults().clear();
        assert_eq!(
            (code(&error), error.stage()),
            (CauseCode::HandshakeTimeout, Some(stage))
        );
        assert_eq!(fact(&error, "responder"), url);
        let ms: u64 = fact(&error, "responder_ms").parse().unwrap();
        assert!((500..1500).contains(&ms), "{what}: {ms}");
        let cause = error.cause().unwrap();
        let spent = if ms == 1000 {
            "1 s".to_owned()
        } else {
            format!("{ms} ms")
        };
        assert_eq!(
            cause.message(),
            format!(
                "{what} did not end within 2 s (connectTimeoutMS); {spent} of that time were spent on the OCSP responder {url:?}, which did not answer"
            )
        );
        assert_eq!(cause.remedy(), remedy);
    }
    // A responder that answers is not at fault.
    asked.responder.behave(Behaviour::Sound);
    let server = &asked.scene.bench.server;
    server
        .faults()
        .all(Fault::stall_after(0).on(Layer::Message));
    let uri = asked
        .scene
        .bench
        .uri_for("127.0.0.1", "&connectTimeoutMS=800");
    let error = crate::target::attempt_error(&uri);
    assert_eq!(
        error.cause().unwrap().message(),
        "the MongoDB handshake did not end within 800 ms (connectTimeoutMS)"
    );
}
