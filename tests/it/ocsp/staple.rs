//! Responses that the server sends in the handshake: valid ones, and one fault at a time.

use std::time::Duration;

use mongotls::error::Stage;
use mongotls::tls::RevocationStatus;
use mongotls::{CauseCode, ErrorKind};
use mongotls_testbench::pki::{
    Ca, CaSpec, Digest, Identity, KeyKind, LeafSpec, OcspSpec, ResponderId, Revocation,
    SingleResponse, Validity,
};
use mongotls_testbench::server::{Server, ServerTls};
use openssl::ocsp::OcspResponseStatus;
use openssl::ssl::SslVersion;
use openssl::x509::CrlReason;

use super::{Scene, leaf, told};
use crate::common::{Bench, code, fact};

type Change = fn(OcspSpec) -> OcspSpec;

/// The reason for a response whose signature is not valid.
const SIGNATURE: &str = "its signature does not verify";

#[test]
fn a_valid_staple_counts_for_each_permitted_signer() {
    for kind in [KeyKind::EcP256, KeyKind::Rsa(2048), KeyKind::Ed25519] {
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let scene = Scene::new(kind, version, |leaf| leaf);
            let delegate = |spec: LeafSpec| Some(scene.issuer.issue(spec.key_kind(kind)));
            let checked = LeafSpec::ocsp_responder("without").ocsp_no_check(false);
            for signer in [
                None,
                delegate(LeafSpec::ocsp_responder("with nocheck")),
                delegate(checked),
            ] {
                for by in [ResponderId::ByName, ResponderId::ByKey] {
                    let spec = scene.issuer.ocsp(&scene.identity.cert);
                    let spec = match &signer {
                        Some(delegate) => spec.signed_by(delegate),
                        None => spec,
                    };
                    scene.staple(spec.responder_id(by).build());
                    let report = scene
                        .plain()
                        .unwrap_or_else(|error| panic!("{kind:?} {by:?}: {error}"));
                    let (status, words) = told(&report);
                    assert_eq!(
                        (status, words.len()),
                        (RevocationStatus::Good, 1),
                        "{words:?}"
                    );
                    assert!(
                        words[0].starts_with("staple says good, until "),
                        "{words:?}"
                    );
                    assert!(leaf(&report).valid_until.is_some());
                }
            }
        }
    }
}

#[test]
fn unusual_valid_staples_are_accepted() {
    let odd: [(&str, Change); 12] = [
        ("no nextUpdate", |spec| spec.next_update(None)),
        ("a clock a little ahead", |spec| spec.this_update(10)),
        ("a clock a little behind", |spec| {
            spec.next_update(Some(-10))
        }),
        ("a nonce that nobody asked for", |spec| spec.nonce(b"nonce")),
        ("an unknown extension", |spec| spec.unknown_extension(false)),
        ("signed with SHA-384", |spec| spec.digest(Digest::Sha384)),
        ("an old producedAt", |spec| spec.produced_at(-86_400)),
        ("an unknown extension of the answer", |spec| {
            spec.first(|single| single.unknown_extension(false))
        }),
        ("CertID by SHA-256", |spec| {
            spec.cert_id_digest(Digest::Sha256)
        }),
        ("CertID by SHA-384", |spec| {
            spec.cert_id_digest(Digest::Sha384)
        }),
        ("CertID by SHA-512", |spec| {
            spec.cert_id_digest(Digest::Sha512)
        }),
        ("CertID by SHA-1", |spec| spec.cert_id_digest(Digest::Sha1)),
    ];
    let scene = Scene::ec(|leaf| leaf);
    for (name, change) in odd {
        scene.staple(change(scene.issuer.ocsp(&scene.identity.cert)).build());
        let report = scene
            .plain()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(told(&report).0, RevocationStatus::Good, "{name}");
    }
}

#[test]
fn a_revoked_staple_tells_when_and_why() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let scene = Scene::new(KeyKind::EcP256, version, |leaf| leaf);
        let spec = scene.issuer.ocsp(&scene.identity.cert);
        let revoked = spec.clone().revoked(-3600, Some(CrlReason::KEY_COMPROMISE));
        scene.staple(revoked.build());
        let error = scene.plain().unwrap_err();
        assert_eq!(
            (code(&error), error.stage(), error.kind()),
            (
                CauseCode::RevokedOcspStaple,
                Some(Stage::Revocation),
                ErrorKind::Tls
            ),
            "{error}"
        );
        assert_eq!(fact(&error, "reason"), "keyCompromise");
        assert_eq!(fact(&error, "serial"), scene.identity.serial_hex());
        for key in [
            "revoked_at",
            "this_update",
            "next_update",
            "subject",
            "issuer",
            "checked_at",
        ] {
            assert!(!fact(&error, key).is_empty());
        }
        scene.staple(spec.revoked(-3600, None).build());
        let error = scene.plain().unwrap_err();
        assert_eq!(code(&error), CauseCode::RevokedOcspStaple);
        assert!(error.cause().unwrap().facts().get("reason").is_none());

        // Only the options that disable the check do so.
        scene
            .attempt(|tls| tls.dangerous(|tls| tls.insecure(true)))
            .unwrap();
        scene
            .attempt(|tls| tls.dangerous(|tls| tls.allow_invalid_certificates(true)))
            .unwrap();
        scene
            .attempt(|tls| tls.dangerous(|tls| tls.disable_certificate_revocation_check(true)))
            .unwrap();
        for error in [
            scene.attempt(|tls| tls.dangerous(|tls| tls.allow_invalid_hostnames(true))),
            scene.attempt(|tls| tls.disable_ocsp_endpoint_check(true)),
        ] {
            assert_eq!(code(&error.unwrap_err()), CauseCode::RevokedOcspStaple);
        }
    }
}

#[test]
fn of_several_answers_each_one_counts() {
    let scene = Scene::ec(|leaf| leaf);
    let other = scene.issuer.issue(LeafSpec::server("other"));
    let cert = &scene.identity.cert;
    let single = |cert| SingleResponse::new(scene.issuer.cert(), cert);
    let spec = || scene.issuer.ocsp(cert);
    let revoked = || single(cert).revoked(-10, None);
    let old = single(cert).this_update(-7200).next_update(Some(-3600));
    let good = [
        (
            "ours second",
            scene.issuer.ocsp(&other.cert).single(single(cert)),
        ),
        (
            "the other one is revoked",
            spec().single(single(&other.cert).revoked(-10, None)),
        ),
        ("one out of date beside one in force", spec().single(old)),
        ("unknown, then good", spec().unknown().single(single(cert))),
    ];
    for (name, spec) in good {
        scene.staple(spec.build());
        let report = scene
            .plain()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(told(&report).0, RevocationStatus::Good, "{name}");
    }
    for (name, spec) in [
        ("good, then revoked", spec().single(revoked())),
        (
            "revoked, then good",
            spec().revoked(-10, None).single(single(cert)),
        ),
        (
            "revoked by another digest",
            spec().single(revoked().cert_id_digest(Digest::Sha256)),
        ),
        ("unknown, then revoked", spec().unknown().single(revoked())),
    ] {
        scene.staple(spec.build());
        let error = scene.plain().map(drop).expect_err(name);
        assert_eq!(code(&error), CauseCode::RevokedOcspStaple, "{name}");
    }
}

#[test]
fn a_status_that_is_unknown_is_no_evidence() {
    let scene = Scene::ec(|leaf| leaf);
    let unknown = scene.issuer.ocsp(&scene.identity.cert).unknown();
    scene.staple(unknown.build());
    let (status, words) = told(&scene.plain().unwrap());
    assert_eq!(status, RevocationStatus::Undetermined);
    assert_eq!(words, ["staple says unknown"]);
    let error = scene
        .attempt(|tls| tls.require_revocation_status(true))
        .unwrap_err();
    assert_eq!(code(&error), CauseCode::RevocationUnknown, "{error}");
    assert_eq!(fact(&error, "tried"), "staple says unknown");
}

/// Asserts that a staple is rejected, with this reason.
fn refused(scene: &Scene, name: &str, staple: Vec<u8>, why: &str) {
    scene.staple(staple);
    let error = scene.plain().map(drop).expect_err(name);
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::OcspStapleInvalid, Some(Stage::Revocation)),
        "{name}: {error}"
    );
    let told = fact(&error, "why");
    assert!(told.contains(why), "{name}: {told}");
}

#[test]
fn a_staple_with_one_fault_is_refused_for_it() {
    let faults: [(&str, Change, &str); 31] = [
        ("broken signature", OcspSpec::broken_signature, SIGNATURE),
        (
            "signature over other bytes",
            |s| s.signature_over(*b"other"),
            SIGNATURE,
        ),
        (
            "wrong responder name",
            |s| s.responder_id(ResponderId::WrongName),
            SIGNATURE,
        ),
        (
            "wrong responder key",
            |s| s.responder_id(ResponderId::WrongKey),
            SIGNATURE,
        ),
        (
            "wrong serial",
            OcspSpec::wrong_serial,
            "another certificate",
        ),
        (
            "wrong issuer name",
            OcspSpec::wrong_issuer_name_hash,
            SIGNATURE,
        ),
        (
            "wrong issuer key",
            OcspSpec::wrong_issuer_key_hash,
            SIGNATURE,
        ),
        ("no answers", OcspSpec::no_singles, ""),
        (
            "thisUpdate in a minute",
            |s| s.this_update(60),
            "thisUpdate",
        ),
        (
            "thisUpdate in an hour",
            |s| s.this_update(3600),
            "thisUpdate",
        ),
        (
            "nextUpdate a minute ago",
            |s| s.next_update(Some(-60)),
            "nextUpdate",
        ),
        (
            "nextUpdate a year ago",
            |s| s.this_update(-40_000_000).next_update(Some(-31_000_000)),
            "nextUpdate",
        ),
        (
            "nextUpdate before thisUpdate",
            |s| s.this_update(5).next_update(Some(-5)),
            "nextUpdate",
        ),
        (
            "critical extension",
            |s| s.unknown_extension(true),
            "critical extension",
        ),
        (
            "critical extension of the answer",
            |s| s.first(|answer| answer.unknown_extension(true)),
            "critical extension",
        ),
        ("trailing data", |s| s.trailing(b"x"), "more bytes follow"),
        (
            "a second response",
            |s| {
                let again = s.build();
                s.trailing(&again)
            },
            "more bytes follow",
        ),
        (
            "malformedRequest",
            |s| s.status(OcspResponseStatus::MALFORMED_REQUEST),
            "malformedRequest",
        ),
        (
            "internalError",
            |s| s.status(OcspResponseStatus::INTERNAL_ERROR),
            "internalError",
        ),
        (
            "tryLater",
            |s| s.status(OcspResponseStatus::TRY_LATER),
            "tryLater",
        ),
        (
            "sigRequired",
            |s| s.status(OcspResponseStatus::SIG_REQUIRED),
            "sigRequired",
        ),
        (
            "unauthorized",
            |s| s.status(OcspResponseStatus::UNAUTHORIZED),
            "unauthorized",
        ),
        (
            "successful without a response",
            |s| s.response_bytes(false),
            "no OCSP response",
        ),
        (
            "another type of response",
            |s| s.response_type("1.2.3.4"),
            "no OCSP response",
        ),
        ("one byte", |s| s.truncated(1), "no OCSP response"),
        (
            "half",
            |s| {
                let half = s.build().len() / 2;
                s.truncated(half)
            },
            "no OCSP response",
        ),
        (
            "all but the last bytes",
            |s| {
                // The length of an ECDSA signature varies by a few bytes.
                let all = s.build().len() - 10;
                s.truncated(all)
            },
            "no OCSP response",
        ),
        (
            "revoked, with a broken signature",
            |s| s.revoked(-9, None).broken_signature(),
            SIGNATURE,
        ),
        (
            "good, out of date by two minutes",
            |s| s.next_update(Some(-120)),
            "nextUpdate",
        ),
        (
            "unknown, out of date",
            |s| s.unknown().next_update(Some(-120)),
            "nextUpdate",
        ),
        (
            "revoked, out of date",
            |s| s.revoked(-9, None).next_update(Some(-120)),
            "nextUpdate",
        ),
    ];
    let scene = Scene::ec(|leaf| leaf);
    for (name, change, why) in faults {
        let spec = change(scene.issuer.ocsp(&scene.identity.cert));
        refused(&scene, name, spec.build(), why);
    }
    refused(&scene, "HTML", b"<html>".to_vec(), "no OCSP response");
    refused(&scene, "zeros", vec![0; 100], "no OCSP response");
}

#[test]
fn unauthorized_signers_are_rejected() {
    let scene = Scene::ec(|leaf| leaf);
    let spec = || scene.issuer.ocsp(&scene.identity.cert);
    let stranger = Ca::root("stranger", KeyKind::EcP256);
    let namesake = Ca::root("bench issuer", KeyKind::EcP256);
    let below = scene.issuer.intermediate("below", KeyKind::EcP256);
    let responder = || LeafSpec::ocsp_responder("responder");
    let signed_by = |delegate: Identity| spec().signed_by(&delegate).build();
    let issued = |leaf: LeafSpec| signed_by(scene.issuer.issue(leaf));
    for (name, staple) in [
        ("another CA", spec().signed_by_ca(&stranger).build()),
        (
            "a CA of the same name",
            spec().signed_by_ca(&namesake).build(),
        ),
        (
            "the root above",
            spec().signed_by_ca(&scene.bench.ca).build(),
        ),
        (
            "a delegate of another CA",
            signed_by(stranger.issue(responder())),
        ),
        (
            "a delegate of a namesake",
            signed_by(namesake.issue(responder())),
        ),
        (
            "a delegate of the root",
            signed_by(scene.bench.ca.issue(responder())),
        ),
        (
            "a delegate of a CA below",
            signed_by(below.issue(responder())),
        ),
        ("without the usage", issued(LeafSpec::server("x"))),
        (
            "the server itself",
            spec().signed_by(&scene.identity).build(),
        ),
        ("expired", issued(responder().validity(Validity::expired()))),
        (
            "not yet valid",
            issued(responder().validity(Validity::not_yet())),
        ),
        (
            "signed by itself",
            signed_by(Identity::self_signed(responder())),
        ),
    ] {
        refused(&scene, name, staple, SIGNATURE);
    }
    let delegate = scene.issuer.issue(responder());
    let alone = spec().signed_by(&delegate).no_certificates().build();
    refused(&scene, "without its certificate", alone, SIGNATURE);
    let wrong_key = spec().signed_by(&delegate).signing_key(stranger.key());
    refused(&scene, "with another key", wrong_key.build(), SIGNATURE);
    let more = spec().signed_by(&delegate).certificate(stranger.cert());
    scene.staple(more.build());
    scene.plain().unwrap();
}

#[test]
fn a_delegated_responder_is_checked_unless_no_check_is_set() {
    let scene = Scene::ec(|leaf| leaf);
    let delegates = [false, true].map(|no_check| {
        let spec = LeafSpec::ocsp_responder("responder").ocsp_no_check(no_check);
        scene.issuer.issue(spec)
    });
    let crl = delegates.iter().fold(scene.issuer.crl(), |crl, delegate| {
        crl.revoke(Revocation::of(&delegate.cert))
    });
    let crl = crl.build().to_pem().unwrap();
    let crl_file = scene.bench.dir.write("crl.pem", crl);
    let [checked, unchecked] = delegates.map(|delegate| {
        let spec = scene.issuer.ocsp(&scene.identity.cert);
        spec.signed_by(&delegate).build()
    });
    scene.staple(checked);
    scene.plain().unwrap();
    let error = scene.attempt(|tls| tls.crl_file(&crl_file)).unwrap_err();
    assert_eq!(code(&error), CauseCode::OcspStapleInvalid, "{error}");
    assert!(fact(&error, "why").contains("a CRL lists"), "{error}");
    scene.staple(unchecked);
    scene.attempt(|tls| tls.crl_file(&crl_file)).unwrap();
}

#[test]
fn a_staple_cut_at_each_byte_is_refused() {
    let scene = Scene::ec(|leaf| leaf);
    let whole = scene.issuer.ocsp(&scene.identity.cert).build();
    for length in 1..whole.len() {
        refused(&scene, "cut", whole[..length].to_vec(), "no OCSP response");
    }
    scene.staple(whole);
    scene.plain().unwrap();
}

#[test]
fn must_staple_disables_soft_fail() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let scene = Scene::new(KeyKind::EcP256, version, LeafSpec::must_staple);
        let crl = scene.issuer.crl().build().to_pem().unwrap();
        let crl = scene.bench.dir.write("crl.pem", crl);
        for error in [
            scene.plain(),
            scene.attempt(|tls| tls.disable_ocsp_endpoint_check(true)),
            // A CRL that does not list it does not replace the staple.
            scene.attempt(|tls| tls.crl_file(crl)),
        ] {
            let error = error.unwrap_err();
            assert_eq!(
                (code(&error), error.stage()),
                (CauseCode::MustStapleMissing, Some(Stage::Revocation)),
                "{error}"
            );
            assert_eq!(fact(&error, "serial"), scene.identity.serial_hex());
        }
        scene
            .attempt(|tls| tls.dangerous(|tls| tls.insecure(true)))
            .unwrap();
        scene
            .attempt(|tls| tls.dangerous(|tls| tls.disable_certificate_revocation_check(true)))
            .unwrap();
        scene.staple(scene.issuer.ocsp(&scene.identity.cert).build());
        assert_eq!(told(&scene.plain().unwrap()).0, RevocationStatus::Good);
    }
}

#[test]
fn a_good_staple_does_not_outweigh_a_crl() {
    let scene = Scene::ec(|leaf| leaf);
    let write =
        |crl: openssl::x509::X509Crl| scene.bench.dir.write("crl.pem", crl.to_pem().unwrap());
    let revoked = scene
        .issuer
        .crl()
        .revoke(Revocation::of(&scene.identity.cert));
    let file = write(revoked.build());
    scene.staple(scene.issuer.ocsp(&scene.identity.cert).build());
    let error = scene.attempt(|tls| tls.crl_file(file)).unwrap_err();
    assert_eq!(code(&error), CauseCode::RevokedCrl, "{error}");
    // A CRL that does not list it is evidence if there is no staple.
    scene.no_staple();
    let file = write(scene.issuer.crl().build());
    let report = scene.attempt(|tls| tls.crl_file(file).require_revocation_status(true));
    let (status, words) = told(&report.unwrap());
    assert_eq!(status, RevocationStatus::Good);
    assert_eq!(words, ["CRL does not list it"]);
}

#[test]
fn without_anything_to_check_with_nothing_is_claimed() {
    let scene = Scene::ec(|leaf| leaf);
    let (status, words) = told(&scene.plain().unwrap());
    assert_eq!((status, words.len()), (RevocationStatus::NotChecked, 0));
    let error = scene
        .attempt(|tls| tls.require_revocation_status(true))
        .unwrap_err();
    assert_eq!(code(&error), CauseCode::RevocationUnknown, "{error}");
    for relax in [true, false] {
        let error = scene.attempt(|tls| {
            tls.require_revocation_status(true)
                .dangerous(|tls| match relax {
                    true => tls.insecure(true),
                    false => tls.disable_certificate_revocation_check(true),
                })
        });
        assert_eq!(code(&error.unwrap_err()), CauseCode::OptionConflict);
    }
}

#[test]
fn a_time_that_cannot_be_read_is_no_time() {
    let scene = Scene::ec(|leaf| leaf);
    for text in ["garbage", "20261399000000Z", "2026"] {
        let spec = || scene.issuer.ocsp(&scene.identity.cert);
        // OpenSSL 3.5 does not even decode it.
        let reason = |old| match openssl::version::number() >= 0x3050_0000 {
            true => "",
            false => old,
        };
        let staple = spec().first(|single| single.this_update_text(text));
        refused(&scene, text, staple.build(), reason("when it was made"));
        let staple = spec().first(|single| single.next_update_text(text));
        refused(&scene, text, staple.build(), reason("nextUpdate"));
    }
}

#[test]
fn a_server_that_is_its_own_anchor_gets_no_more_than_others() {
    for must_staple in [false, true] {
        let leaf = LeafSpec::local_server();
        let identity = Identity::self_signed(match must_staple {
            true => leaf.must_staple(),
            false => leaf,
        });
        let tls = mongotls_testbench::server::ServerTls::new(&identity);
        let server = mongotls_testbench::server::Server::builder()
            .tls(tls)
            .start();
        let bench = crate::common::Bench::around(server, Ca::root("unused", KeyKind::EcP256));
        let pem = || String::from_utf8(identity.cert_pem()).unwrap();
        let lax = bench.handshake(|tls| tls.ca_certificates_pem(pem()));
        let strict = bench.handshake(|tls| {
            tls.ca_certificates_pem(pem())
                .require_revocation_status(true)
        });
        match must_staple {
            false => {
                lax.unwrap();
                assert_eq!(code(&strict.unwrap_err()), CauseCode::RevocationUnknown);
            }
            true => {
                for error in [lax, strict] {
                    assert_eq!(code(&error.unwrap_err()), CauseCode::MustStapleMissing);
                }
            }
        }
    }
}

/// The number of seconds in a day.
const A_DAY: i64 = 24 * 60 * 60;

#[test]
fn a_staple_without_next_update_ends_with_its_age() {
    let soft = Scene::ec(|leaf| leaf);
    let must_staple = Scene::ec(LeafSpec::must_staple);
    let staple = |scene: &Scene, age: i64| {
        let spec = scene.issuer.ocsp(&scene.identity.cert).next_update(None);
        scene.staple(spec.this_update(-age).produced_at(-age).build());
    };
    let days = |count: u64| Duration::from_secs(count * 86_400);
    for (scene, age, limit, hard, most) in [
        (&soft, 6 * A_DAY, None, false, None),
        (&soft, 8 * A_DAY, None, false, Some(604_800)),
        (&soft, 8 * A_DAY, Some(days(9)), false, None),
        (&soft, 3600, Some(Duration::from_secs(60)), false, Some(60)),
        (&soft, A_DAY - 3600, None, true, None),
        (&soft, A_DAY + 3600, None, true, Some(86_400)),
        (&must_staple, A_DAY - 3600, None, false, None),
        (&must_staple, A_DAY + 3600, None, false, Some(86_400)),
        (&must_staple, A_DAY + 3600, Some(days(2)), true, None),
    ] {
        staple(scene, age);
        let outcome = scene.attempt(|tls| {
            let tls = tls.require_revocation_status(hard);
            limit.map_or(tls.clone(), |limit| tls.ocsp_max_age(limit))
        });
        let Some(most) = most else {
            assert_eq!(told(&outcome.unwrap()).0, RevocationStatus::Good);
            continue;
        };
        let error = outcome.unwrap_err();
        assert_eq!(code(&error), CauseCode::OcspStapleInvalid);
        assert_eq!(
            fact(&error, "why"),
            format!(
                "it is of {} (thisUpdate) without a nextUpdate, and older than {most} s (ocsp_max_age)",
                fact(&error, "this_update")
            )
        );
    }
    // A revocation remains valid.
    let spec = soft.issuer.ocsp(&soft.identity.cert).next_update(None);
    let old = spec.this_update(-30 * A_DAY).revoked(-30 * A_DAY, None);
    soft.staple(old.build());
    let error = soft.plain().unwrap_err();
    assert_eq!(code(&error), CauseCode::RevokedOcspStaple);
}

#[test]
fn a_staple_made_in_the_future_is_refused() {
    let scene = Scene::ec(|leaf| leaf);
    let spec = || scene.issuer.ocsp(&scene.identity.cert);
    scene.staple(spec().produced_at(10).build());
    assert_eq!(told(&scene.plain().unwrap()).0, RevocationStatus::Good);
    scene.staple(spec().produced_at(3600).build());
    let error = scene.plain().unwrap_err();
    assert_eq!(code(&error), CauseCode::OcspStapleInvalid);
    let why = fact(&error, "why");
    assert!(
        why.starts_with("it was made in the future, at ") && why.ends_with("Z (producedAt)"),
        "{why}"
    );
}

#[test]
fn must_staple_of_an_intermediate_applies_below_it() {
    let root = Ca::root("bench root", KeyKind::EcP256);
    let demanding = |issuer: &Ca, name| {
        // The TLS feature status_request.
        let spec = CaSpec::new(name).key_kind(KeyKind::EcP256);
        let spec = spec.extension("1.3.6.1.5.5.7.1.24", false, &[0x30, 3, 2, 1, 5]);
        spec.issued_by(issuer)
    };
    let issuer = demanding(&root, "demanding");
    let above = demanding(&root, "above").intermediate("bench issuer", KeyKind::EcP256);
    let attempt = |issuer: &Ca, leaf: LeafSpec, is_stapled: bool| {
        let identity = issuer.issue(leaf);
        let tls = ServerTls::new(&identity);
        let tls = match is_stapled {
            true => tls.staple(issuer.ocsp(&identity.cert).build()),
            false => tls,
        };
        let bench = Bench::around(Server::builder().tls(tls).start(), root.clone());
        bench.handshake(|tls| tls.ca_file(&bench.ca_file))
    };
    let plain = LeafSpec::local_server;
    let demand = |name: &str| {
        format!(
            "the CA {name:?} demands that certificates it issues ask for an OCSP response from the server (must-staple)"
        )
    };
    assert!(attempt(&issuer, plain().must_staple(), true).is_ok());
    let error = attempt(&issuer, plain().must_staple(), false).unwrap_err();
    assert_eq!(code(&error), CauseCode::MustStapleMissing);
    for (issuer, is_stapled, expected, message) in [
        (
            &issuer,
            false,
            CauseCode::MustStapleMissing,
            format!(
                "{}, \"localhost\" does not ask, and the server sent none",
                demand("demanding")
            ),
        ),
        (
            &issuer,
            true,
            CauseCode::InvalidCa,
            format!("{}, and \"localhost\" does not ask", demand("demanding")),
        ),
        (
            &above,
            true,
            CauseCode::InvalidCa,
            format!("{}, and \"bench issuer\" does not ask", demand("above")),
        ),
    ] {
        let error = attempt(issuer, plain(), is_stapled).unwrap_err();
        let cause = error.cause().unwrap();
        assert_eq!((cause.code(), cause.message()), (expected, &*message));
    }
}
