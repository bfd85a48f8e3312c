//! The integration tests of the drivers' OCSP support specification: seven situations of server and
//! responder, three sets of options, RSA and ECDSA, responses signed by the issuer and by a delegate.

use mongotls::CauseCode;
use mongotls::tls::RevocationStatus;
use mongotls_testbench::ocsp::Responder;
use mongotls_testbench::peers::{
    HaProxy, HaProxyOptions, OpensslOcsp, OpensslOcspOptions, or_skip,
};
use mongotls_testbench::pki::{Ca, Identity, KeyKind, LeafSpec, OcspSpec};
use mongotls_testbench::server::{Server, ServerTls};
use mongotls_testbench::stranger;
use openssl::x509::CrlReason;

use crate::common::{Bench, code, fact, ping};

/// One situation of the plan.
#[derive(Clone, Copy, Debug)]
struct Situation {
    #[allow(dead_code, reason = "shown where an assertion fails")]
    name: &'static str,
    must_staple: bool,
    /// True if the certificate is revoked.
    revoked: bool,
    staples: bool,
    responder_is_up: bool,
    /// The error of a client without relaxed options.
    refusal: Option<CauseCode>,
}

const SITUATIONS: [Situation; 7] = [
    Situation {
        name: "valid, must-staple, stapled",
        must_staple: true,
        revoked: false,
        staples: true,
        responder_is_up: true,
        refusal: None,
    },
    Situation {
        name: "revoked, must-staple, stapled",
        must_staple: true,
        revoked: true,
        staples: true,
        responder_is_up: true,
        refusal: Some(CauseCode::RevokedOcspStaple),
    },
    Situation {
        name: "valid, not stapled",
        must_staple: false,
        revoked: false,
        staples: false,
        responder_is_up: true,
        refusal: None,
    },
    Situation {
        name: "revoked, not stapled",
        must_staple: false,
        revoked: true,
        staples: false,
        responder_is_up: true,
        refusal: Some(CauseCode::RevokedOcspResponder),
    },
    Situation {
        name: "soft fail",
        must_staple: false,
        revoked: false,
        staples: false,
        responder_is_up: false,
        refusal: None,
    },
    Situation {
        name: "malicious server 1",
        must_staple: true,
        revoked: true,
        staples: false,
        responder_is_up: true,
        refusal: Some(CauseCode::MustStapleMissing),
    },
    Situation {
        name: "malicious server 2",
        must_staple: true,
        revoked: true,
        staples: false,
        responder_is_up: false,
        refusal: Some(CauseCode::MustStapleMissing),
    },
];

/// The source of the staple.
#[derive(Clone, Copy, Debug)]
enum Front {
    Bench,
    HaProxy,
}

/// The CAs, the responder and the server of one situation.
struct Stage {
    ca: Ca,
    identity: Identity,
    response: Vec<u8>,
    _responder: Responder,
}

impl Stage {
    fn new(situation: Situation, kind: KeyKind, by_delegate: bool) -> Self {
        let ca = Ca::root("plan", kind);
        let responder = Responder::start();
        let url = match situation.responder_is_up {
            true => responder.url(),
            false => format!("http://{}", stranger::nobody()),
        };
        let leaf = LeafSpec::local_server().key_kind(kind).ocsp_url(&url);
        let leaf = match situation.must_staple {
            true => leaf.must_staple(),
            false => leaf,
        };
        let identity = ca.issue(leaf);
        let delegate = ca.issue(LeafSpec::ocsp_responder("delegate").key_kind(kind));
        let spec = ca.ocsp(&identity.cert);
        let spec: OcspSpec = match situation.revoked {
            true => spec.revoked(-3600, None),
            false => spec,
        };
        let response = match by_delegate {
            true => spec.signed_by(&delegate).build(),
            false => spec.build(),
        };
        responder.answer(&identity.cert, response.clone());
        Self {
            ca,
            identity,
            response,
            _responder: responder,
        }
    }
}

/// Runs the seven situations with three sets of options.
fn run_plan(kind: KeyKind, by_delegate: bool, front: Front) {
    for situation in SITUATIONS {
        let stage = Stage::new(situation, kind, by_delegate);
        let context = format!("{situation:?} {kind:?} {by_delegate} {front:?}");
        let (bench, _proxy, port) = match front {
            Front::Bench => {
                let tls = ServerTls::new(&stage.identity);
                let tls = match situation.staples {
                    true => tls.staple(stage.response.clone()),
                    false => tls,
                };
                let server = Server::builder().tls(tls).start();
                let port = server.port();
                (Bench::around(server, stage.ca), None, port)
            }
            Front::HaProxy => {
                let server = Server::builder().start();
                let options = HaProxyOptions::new(&stage.identity, server.addr());
                let options = match situation.staples {
                    true => options.staple(&stage.response, stage.ca.cert()),
                    false => options,
                };
                let Some(proxy) = or_skip(HaProxy::start(&options)) else {
                    return;
                };
                let port = proxy.addr().port();
                (Bench::around(server, stage.ca), Some(proxy), port)
            }
        };
        let uri = |options: &str| {
            format!(
                "mongodb://localhost:{port}/?tls=true&tlsCAFile={}{options}",
                bench.ca_file.display()
            )
        };
        let outcome = ping(&uri("")).err().map(|error| code(&error));
        assert_eq!(outcome, situation.refusal, "{context}");
        for relaxed in ["&tlsInsecure=true", "&tlsAllowInvalidCertificates=true"] {
            ping(&uri(relaxed)).unwrap_or_else(|error| panic!("{context} {relaxed}: {error}"));
        }
    }
}

#[test]
fn the_plan_holds_with_ecdsa() {
    for by_delegate in [false, true] {
        run_plan(KeyKind::EcP256, by_delegate, Front::Bench);
    }
}

#[test]
fn the_plan_holds_with_rsa() {
    for by_delegate in [false, true] {
        run_plan(KeyKind::Rsa(2048), by_delegate, Front::Bench);
    }
}

#[test]
fn the_plan_holds_where_haproxy_staples() {
    run_plan(KeyKind::EcP256, true, Front::HaProxy);
    run_plan(KeyKind::Rsa(2048), false, Front::HaProxy);
}

#[test]
fn openssl_itself_answers_for_the_certificate() {
    for kind in [KeyKind::EcP256, KeyKind::Rsa(2048)] {
        for by_delegate in [false, true] {
            for arguments in [&[][..], &["-resp_key_id"]] {
                let ca = Ca::root("plan", kind);
                let delegate = ca.issue(LeafSpec::ocsp_responder("delegate").key_kind(kind));
                let options = OpensslOcspOptions::new(&ca).arguments(arguments);
                let options = match by_delegate {
                    true => options.signed_by(&delegate),
                    false => options,
                };
                let Some(responder) = or_skip(OpensslOcsp::start(&options)) else {
                    return;
                };
                let identity = ca.issue(
                    LeafSpec::local_server()
                        .key_kind(kind)
                        .ocsp_url(&responder.url()),
                );
                let tls = ServerTls::new(&identity);
                let bench = Bench::around(Server::builder().tls(tls).start(), ca);
                let context = format!("{kind:?} {by_delegate} {arguments:?}");
                let report = |bench: &Bench| bench.handshake(|tls| tls.ca_file(&bench.ca_file));
                // It reports unknown certificates as such.
                let unknown = report(&bench).unwrap();
                let words = super::told(&unknown).1;
                assert!(words[0].ends_with("says unknown"), "{context}: {words:?}");
                responder.good(&identity.cert);
                let (status, words) = super::told(&report(&bench).unwrap());
                assert_eq!(status, RevocationStatus::Good, "{context}: {words:?}");
                responder.revoked(&identity.cert, -60, Some(CrlReason::KEY_COMPROMISE));
                let error = report(&bench).map(drop).expect_err(&context);
                assert_eq!(code(&error), CauseCode::RevokedOcspResponder, "{context}");
                assert_eq!(fact(&error, "reason"), "keyCompromise");
            }
        }
    }
}
