//! OCSP responses as OpenSSL reads them: a valid one is valid, and each fault is one fault.

use mongotls_testbench::der;
use mongotls_testbench::pki::{
    Ca, CaSpec, DAY, Digest, Identity, KeyKind, LeafSpec, OcspSpec, PkiDir, ResponderId,
    SingleResponse, Validity,
};
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::ocsp::{
    OcspCertId, OcspCertStatus, OcspFlag, OcspResponse, OcspResponseStatus, OcspRevokedStatus,
};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{CrlReason, X509, X509Ref};
use std::process::Command;
use std::time::SystemTime;

/// OpenSSL's findings, each part checked separately so that one fault cannot hide another.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    status: OcspResponseStatus,
    /// `Some("")` if the signer is authorized and the signature valid; the reason otherwise.
    verified: Option<String>,
    /// Status and reason, by the CertID with this digest; `None` if the response does not contain it.
    about: Option<(OcspCertStatus, OcspRevokedStatus)>,
    /// True if now lies between thisUpdate and nextUpdate, with a minute of tolerance.
    current: Option<bool>,
    has_next_update: bool,
}

/// The results of OpenSSL's parser and verifier for a response about `cert`, or `None` if it cannot be decoded.
fn see(der: &[u8], root: &Ca, issuer: &X509, cert: &X509Ref) -> Option<Seen> {
    see_by(der, root, issuer, cert, MessageDigest::sha1())
}

fn see_by(
    der: &[u8],
    root: &Ca,
    issuer: &X509,
    cert: &X509Ref,
    digest: MessageDigest,
) -> Option<Seen> {
    let response = OcspResponse::from_der(der).ok()?;
    let mut seen = Seen {
        status: response.status(),
        verified: None,
        about: None,
        current: None,
        has_next_update: false,
    };
    let Ok(basic) = response.basic() else {
        ErrorStack::get();
        return Some(seen);
    };
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(root.cert().clone()).unwrap();
    let mut certs = Stack::new().unwrap();
    certs.push(issuer.clone()).unwrap();
    let verified = basic.verify(&certs, &store.build(), OcspFlag::empty());
    seen.verified = Some(verified.map_or_else(
        |stack| stack.errors().last().unwrap().reason().unwrap().to_owned(),
        |()| String::new(),
    ));
    let id = OcspCertId::from_cert(digest, cert, issuer).unwrap();
    if let Some(status) = basic.find_status(&id) {
        seen.about = Some((status.status, status.reason));
        seen.has_next_update = status.next_update().is_some();
        seen.current = Some(status.check_validity(60, None).is_ok());
    }
    Some(seen)
}

fn sound() -> Seen {
    Seen {
        status: OcspResponseStatus::SUCCESSFUL,
        verified: Some(String::new()),
        about: Some((OcspCertStatus::GOOD, OcspRevokedStatus::NO_STATUS)),
        current: Some(true),
        has_next_update: true,
    }
}

fn unspoken() -> Seen {
    Seen {
        about: None,
        current: None,
        has_next_update: false,
        ..sound()
    }
}

fn refused(reason: &str) -> Seen {
    Seen {
        verified: Some(reason.into()),
        ..sound()
    }
}

fn revoked(reason: OcspRevokedStatus) -> Seen {
    Seen {
        about: Some((OcspCertStatus::REVOKED, reason)),
        ..sound()
    }
}

/// The output of `openssl ocsp` for a response, with its text form.
fn openssl_ocsp(der: &[u8], root: &Ca, issuer: &X509, cert: &X509, more: &[&str]) -> String {
    let dir = PkiDir::new();
    dir.write("root.pem", root.cert_pem());
    dir.write("issuer.pem", issuer.to_pem().unwrap());
    dir.write("cert.pem", cert.to_pem().unwrap());
    dir.write("response", der);
    let arguments = "ocsp -resp_text -no_nonce -respin response -CAfile root.pem";
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .args(["-verify_other", "issuer.pem", "-issuer", "issuer.pem"])
        .args(more)
        .args(["-cert", "cert.pem"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat()
}

fn ca() -> (Ca, Identity) {
    let ca = Ca::root("root", KeyKind::EcP256);
    let server = ca.issue(LeafSpec::local_server());
    (ca, server)
}

#[test]
fn sound_response_verifies_with_every_kind_of_key_and_digest() {
    for kind in [
        KeyKind::Rsa(2048),
        KeyKind::EcP256,
        KeyKind::EcP384,
        KeyKind::Ed25519,
    ] {
        let root = Ca::root("root", kind);
        let middle = root.intermediate("intermediate", kind);
        let server = middle.issue(LeafSpec::local_server());
        for digest in [Digest::Sha1, Digest::Sha256, Digest::Sha384, Digest::Sha512] {
            let response = middle.ocsp(&server.cert).digest(digest).build();
            let seen = see(&response, &root, middle.cert(), &server.cert);
            assert_eq!(seen, Some(sound()), "{kind:?} {digest:?}");
        }
        let response = middle.ocsp(&server.cert).build();
        let said = openssl_ocsp(&response, &root, middle.cert(), &server.cert, &[]);
        assert!(said.contains("Response verify OK"), "{said}");
        assert!(said.contains("cert.pem: good"), "{said}");
        assert!(
            said.contains("Responder Id: CN = intermediate")
                || said.contains("Responder Id: CN=intermediate"),
            "{said}"
        );
        // The root answers for the intermediate.
        let above = root.ocsp(middle.cert()).build();
        let seen = see(&above, &root, root.cert(), middle.cert());
        assert_eq!(seen, Some(sound()), "{kind:?}");
    }
}

#[test]
fn digest_of_the_signature_is_the_one_asked_for() {
    let root = Ca::root("root", KeyKind::Rsa(2048));
    let server = root.issue(LeafSpec::local_server());
    for (digest, name) in [
        (Digest::Sha1, "sha1WithRSAEncryption"),
        (Digest::Sha256, "sha256WithRSAEncryption"),
        (Digest::Sha384, "sha384WithRSAEncryption"),
    ] {
        let response = root.ocsp(&server.cert).digest(digest).build();
        let said = openssl_ocsp(&response, &root, root.cert(), &server.cert, &[]);
        assert!(
            said.contains(&format!("Signature Algorithm: {name}")),
            "{said}"
        );
        assert!(said.contains("Response verify OK"), "{said}");
    }
}

#[test]
fn each_change_is_seen_and_nothing_else() {
    let (ca, server) = ca();
    let good = || ca.ocsp(&server.cert);
    let single = || SingleResponse::new(ca.cert(), &server.cert);
    let other = ca.issue(LeafSpec::local_server());
    let stale = || Seen {
        current: Some(false),
        ..sound()
    };
    let unknown = || Seen {
        about: Some((OcspCertStatus::UNKNOWN, OcspRevokedStatus::NO_STATUS)),
        ..sound()
    };
    let open = || Seen {
        has_next_update: false,
        ..sound()
    };
    let about_other = || SingleResponse::new(ca.cert(), &other.cert);
    // OpenSSL requires that the issuer in the CertID has signed.
    let of_another_ca = || Seen {
        verified: Some("root ca not trusted".into()),
        ..unspoken()
    };
    let empty = || Seen {
        verified: Some("response contains no revocation data".into()),
        ..unspoken()
    };
    let bad_signature = "signature failure";
    let no_signer = "signer certificate not found";

    #[rustfmt::skip]
    let cases: Vec<(&str, OcspSpec, Seen)> = vec![
        ("sound", good(), sound()),
        ("revoked", good().revoked(-60, None), revoked(OcspRevokedStatus::NO_STATUS)),
        ("revoked for a reason", good().revoked(-60, Some(CrlReason::SUPERSEDED)), revoked(OcspRevokedStatus::STATUS_SUPERSEDED)),
        ("key compromise", good().revoked(-60, Some(CrlReason::KEY_COMPROMISE)), revoked(OcspRevokedStatus::KEY_COMPROMISE)),
        ("unknown", good().unknown(), unknown()),
        ("SHA-256 in the CertID", good().cert_id_digest(Digest::Sha256), unspoken()),
        ("wrong serial", good().wrong_serial(), unspoken()),
        ("wrong name hash", good().wrong_issuer_name_hash(), of_another_ca()),
        ("wrong key hash", good().wrong_issuer_key_hash(), of_another_ca()),
        ("other serial", good().first(|s| s.serial(&other.cert.serial_number().to_bn().unwrap())), unspoken()),
        ("no SingleResponse", good().no_singles(), empty()),
        ("another's alone", good().no_singles().single(about_other()), unspoken()),
        ("another's after it", good().single(about_other().revoked(-60, None)), sound()),
        ("another's before it", good().no_singles().single(about_other().unknown()).single(single()), sound()),
        ("good, then revoked", good().single(single().revoked(-60, None)), sound()),
        ("revoked, then good", good().revoked(-60, None).single(single()), revoked(OcspRevokedStatus::NO_STATUS)),
        ("no nextUpdate", good().next_update(None), open()),
        ("outdated", good().next_update(Some(-120)), stale()),
        ("just within grace", good().next_update(Some(-10)), sound()),
        ("from the future", good().this_update(600), stale()),
        ("nextUpdate before thisUpdate", good().this_update(-10).next_update(Some(-20)), stale()),
        ("old but current", good().this_update(-300 * DAY), sound()),
        ("producedAt in the future", good().produced_at(DAY), sound()),
        ("by key", good().responder_id(ResponderId::ByKey), sound()),
        ("nobody's name", good().responder_id(ResponderId::WrongName), refused(no_signer)),
        ("nobody's key", good().responder_id(ResponderId::WrongKey), refused(no_signer)),
        ("broken signature", good().broken_signature(), refused(bad_signature)),
        ("other bytes signed", good().signature_over(*b"other bytes"), refused(bad_signature)),
        ("another's key", good().signing_key(&other.key), refused(bad_signature)),
        ("nonce", good().nonce(&[7; 16]), sound()),
        ("unknown extension", good().unknown_extension(true), sound()),
        ("unknown single extension", good().first(|s| s.unknown_extension(true)), sound()),
        ("v1 written out", good().version(0), sound()),
        ("v2", good().version(1), sound()),
        ("trailing data", good().trailing(b"more"), sound()),
        ("needless certificate", good().certificate(&other.cert), sound()),
    ];
    for (change, spec, expected) in cases {
        let seen = see(&spec.build(), &ca, ca.cert(), &server.cert).expect(change);
        assert_eq!(seen, expected, "{change}");
    }
}

#[test]
fn what_is_no_time_is_never_current() {
    let (ca, server) = ca();
    for spec in [
        ca.ocsp(&server.cert)
            .first(|s| s.this_update_text("yesterday")),
        ca.ocsp(&server.cert)
            .first(|s| s.next_update_text("tomorrow")),
    ] {
        let response = spec.build();
        let words = [&b"yesterday"[..], b"tomorrow"];
        assert!(
            words
                .iter()
                .any(|word| response.windows(word.len()).any(|part| part == *word))
        );
        let seen = see(&response, &ca, ca.cert(), &server.cert).unwrap();
        // OpenSSL 3.6 cannot decode such a response; earlier versions can.
        if seen.verified.is_some() {
            assert_eq!(
                seen,
                Seen {
                    current: Some(false),
                    ..sound()
                }
            );
        }
    }
}

#[test]
fn cert_id_is_found_by_its_own_digest_only() {
    let (ca, server) = ca();
    let digests = [
        (Digest::Sha1, MessageDigest::sha1()),
        (Digest::Sha256, MessageDigest::sha256()),
        (Digest::Sha384, MessageDigest::sha384()),
        (Digest::Sha512, MessageDigest::sha512()),
    ];
    for (made, _) in digests {
        let response = ca.ocsp(&server.cert).cert_id_digest(made).build();
        for (asked, digest) in digests {
            let seen = see_by(&response, &ca, ca.cert(), &server.cert, digest);
            let expected = if made == asked { sound() } else { unspoken() };
            assert_eq!(seen, Some(expected), "{made:?} {asked:?}");
        }
    }
}

#[test]
fn a_wrong_cert_id_is_wrong_in_one_field() {
    let (ca, server) = ca();
    // The fields of the CertID as `openssl ocsp` prints them.
    let fields = |spec: OcspSpec| {
        let said = openssl_ocsp(&spec.build(), &ca, ca.cert(), &server.cert, &[]);
        ["Issuer Name Hash", "Issuer Key Hash", "Serial Number"].map(|name| {
            let (_, rest) = said.split_once(name).unwrap();
            rest.lines().next().unwrap().to_owned()
        })
    };
    let right = fields(ca.ocsp(&server.cert));
    let different = |spec: OcspSpec| {
        let wrong = fields(spec);
        [0, 1, 2].map(|field| wrong[field] != right[field])
    };
    let spec = || ca.ocsp(&server.cert);
    assert_eq!(
        different(spec().wrong_issuer_name_hash()),
        [true, false, false]
    );
    assert_eq!(
        different(spec().wrong_issuer_key_hash()),
        [false, true, false]
    );
    assert_eq!(different(spec().wrong_serial()), [false, false, true]);
    assert!(right[2].contains(&server.serial_hex()), "{right:?}");
}

#[test]
fn delegates_are_taken_or_refused_for_their_own_reason() {
    let (root, _) = ca();
    let middle = root.intermediate("intermediate", KeyKind::EcP256);
    let server = middle.issue(LeafSpec::local_server());
    let delegate = || LeafSpec::ocsp_responder("responder");
    let spec = || middle.ocsp(&server.cert);
    let by = |identity: &Identity| spec().signed_by(identity);
    let sound_delegate = middle.issue(delegate());
    let namesake = Ca::root("intermediate", KeyKind::EcP256);
    let sibling = root.intermediate("sibling", KeyKind::EcP256);
    let below = middle.intermediate("below", KeyKind::EcP256);
    let below_delegate = below.issue(delegate());
    let stranger = Ca::root("stranger", KeyKind::EcP256);
    let untrusted = "certificate verify error";
    let may_not = "root ca not trusted";
    let no_signer = "signer certificate not found";

    #[rustfmt::skip]
    let cases: Vec<(&str, OcspSpec, Seen)> = vec![
        ("delegate", by(&sound_delegate), sound()),
        ("delegate by key", by(&sound_delegate).responder_id(ResponderId::ByKey), sound()),
        ("RSA delegate", by(&middle.issue(delegate().key_kind(KeyKind::Rsa(2048)))), sound()),
        ("Ed25519 delegate", by(&middle.issue(delegate().key_kind(KeyKind::Ed25519))), sound()),
        ("delegate with nocheck off", by(&middle.issue(delegate().ocsp_no_check(false))), sound()),
        ("delegate after another certificate", by(&sound_delegate).no_certificates().certificate(&server.cert).certificate(&sound_delegate.cert), sound()),
        ("delegate not included", by(&sound_delegate).no_certificates(), refused(no_signer)),
        ("another included", by(&sound_delegate).no_certificates().certificate(&server.cert), refused(no_signer)),
        ("broken signature", by(&sound_delegate).broken_signature(), refused("signature failure")),
        ("no usage", by(&middle.issue(delegate().purposes(&[]))), refused(may_not)),
        ("a server's certificate", by(&server), refused(may_not)),
        ("expired", by(&middle.issue(delegate().validity(Validity::expired()))), refused(untrusted)),
        ("not yet valid", by(&middle.issue(delegate().validity(Validity::not_yet()))), refused(untrusted)),
        ("broken certificate", by(&middle.issue(delegate()).with_broken_signature()), refused(untrusted)),
        ("issued by an untrusted namesake", by(&namesake.issue(delegate())), refused(untrusted)),
        ("issued by a stranger", by(&stranger.issue(delegate())), refused(untrusted)),
        ("issued by the CA's own CA", by(&root.issue(delegate())), refused(may_not)),
        ("issued by a sibling", by(&sibling.issue(delegate())).certificate(sibling.cert()), refused(may_not)),
        ("issued below the CA", by(&below_delegate).certificate(below.cert()), refused(may_not)),
        ("signed by a stranger", spec().signed_by_ca(&stranger), refused(no_signer)),
        ("signed by a namesake", spec().signed_by_ca(&namesake), refused("signature failure")),
    ];
    for (delegate, spec, expected) in cases {
        let seen = see(&spec.build(), &root, middle.cert(), &server.cert).expect(delegate);
        assert_eq!(seen, expected, "{delegate}");
    }

    // The certificates contain the details that OpenSSL's verdict does not distinguish.
    let text = |identity: &Identity| String::from_utf8(identity.cert.to_text().unwrap()).unwrap();
    assert!(text(&sound_delegate).contains("OCSP Signing"));
    assert!(text(&sound_delegate).contains("OCSP No Check"));
    let checked = middle.issue(delegate().ocsp_no_check(false));
    assert!(text(&checked).contains("OCSP Signing"));
    assert!(!text(&checked).contains("OCSP No Check"));
    let useless = middle.issue(delegate().purposes(&[]));
    assert!(!text(&useless).contains("OCSP Signing"));
    assert!(text(&useless).contains("OCSP No Check"));
    let impostor = namesake.issue(delegate());
    assert_eq!(
        impostor.cert.issuer_name().to_der().unwrap(),
        sound_delegate.cert.issuer_name().to_der().unwrap()
    );
    assert!(
        !impostor
            .cert
            .verify(middle.cert().public_key().unwrap().as_ref())
            .unwrap()
    );
}

#[test]
fn failures_have_a_status_and_nothing_else() {
    let (ca, server) = ca();
    for (status, name) in [
        (OcspResponseStatus::MALFORMED_REQUEST, "malformedrequest"),
        (OcspResponseStatus::INTERNAL_ERROR, "internalerror"),
        (OcspResponseStatus::TRY_LATER, "trylater"),
        (OcspResponseStatus::SIG_REQUIRED, "sigrequired"),
        (OcspResponseStatus::UNAUTHORIZED, "unauthorized"),
    ] {
        let response = ca.ocsp(&server.cert).status(status).build();
        assert_eq!(response, OcspSpec::failure(status));
        assert_eq!(response.len(), 5);
        let seen = see(&response, &ca, ca.cert(), &server.cert).unwrap();
        assert_eq!((seen.status, seen.verified), (status, None));
        let said = openssl_ocsp(&response, &ca, ca.cert(), &server.cert, &[]);
        assert!(said.contains(&format!("Responder Error: {name}")), "{said}");
    }
    // A failure with responseBytes, and a success without them.
    let late = ca.ocsp(&server.cert).status(OcspResponseStatus::TRY_LATER);
    let seen = see(
        &late.response_bytes(true).build(),
        &ca,
        ca.cert(),
        &server.cert,
    );
    let expected = Seen {
        status: OcspResponseStatus::TRY_LATER,
        ..sound()
    };
    assert_eq!(seen, Some(expected));
    let empty = ca.ocsp(&server.cert).response_bytes(false).build();
    assert_eq!(empty, [0x30, 3, 0x0a, 1, 0]);
}

#[test]
fn responses_that_cannot_be_read() {
    let ca = Ca::root("root", KeyKind::Ed25519); // two signatures of the same are the same
    let server = ca.issue(LeafSpec::local_server());
    let spec = ca.ocsp(&server.cert);
    let whole = spec.build();
    for length in [0, 1, 4, whole.len() / 2, whole.len() - 1] {
        let cut = spec.clone().truncated(length).build();
        assert_eq!(cut, whole[..length]);
        assert_eq!(see(&cut, &ca, ca.cert(), &server.cert), None, "{length}");
    }
    let longer = spec.clone().trailing(b"more").build();
    assert_eq!(longer, [&whole[..], b"more"].concat());

    let foreign = spec.clone().response_type("1.3.6.1.4.1.32473.2").build();
    let seen = see(&foreign, &ca, ca.cert(), &server.cert).unwrap();
    assert_eq!(
        (seen.status, seen.verified),
        (OcspResponseStatus::SUCCESSFUL, None)
    );
    let said = openssl_ocsp(&foreign, &ca, ca.cert(), &server.cert, &[]);
    assert!(said.contains("unknown response type"), "{said}");
}

#[test]
fn times_version_and_extensions_are_where_they_belong() {
    let (ca, server) = ca();
    let text = |spec: OcspSpec| openssl_ocsp(&spec.build(), &ca, ca.cert(), &server.cert, &[]);
    let spec = || ca.ocsp(&server.cert);
    // A time up to half a minute ago may be printed, to the second.
    let says = |said: &str, label: &str, offset: i64| {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let time = i64::try_from(now).unwrap() + offset;
        let any = (time - 30..=time)
            .map(|time| Asn1Time::from_unix(time).unwrap().to_string())
            .any(|time| said.contains(&format!("{label}: {time}")));
        assert!(any, "{label} {offset}: {said}");
    };
    let said = text(
        spec()
            .this_update(-30 * DAY)
            .next_update(Some(30 * DAY))
            .produced_at(-9 * DAY),
    );
    says(&said, "This Update", -30 * DAY);
    says(&said, "Next Update", 30 * DAY);
    says(&said, "Produced At", -9 * DAY);
    assert!(said.contains("Version: 1 (0x0)"), "{said}");
    let said = text(spec().revoked(-20 * DAY, Some(CrlReason::KEY_COMPROMISE)));
    says(&said, "Revocation Time", -20 * DAY);
    assert!(
        said.contains("Revocation Reason: keyCompromise (0x1)"),
        "{said}"
    );
    assert!(!text(spec().next_update(None)).contains("Next Update"));
    assert!(text(spec().version(1)).contains("Version: 2 (0x1)"));

    let said = text(spec().nonce(&[0xab; 8]));
    assert!(said.contains("OCSP Nonce:"), "{said}");
    assert!(
        said.contains("0408ABABABABABABABAB") || said.contains("ABABABABABABABAB"),
        "{said}"
    );
    // One is in the SingleResponse, before its end; the other after it.
    for (critical, mark) in [(true, ": critical"), (false, ": ")] {
        let said = text(spec().unknown_extension(critical));
        let (_, rest) = said.split_once("Response Extensions:").expect(&said);
        assert!(
            rest.contains(&format!("1.3.6.1.4.1.32473.1{mark}\n")),
            "{said}"
        );
        assert!(!said.contains("Response Single Extensions:"), "{said}");
        let said = text(spec().first(|single| single.unknown_extension(critical)));
        let (_, rest) = said.split_once("Response Single Extensions:").expect(&said);
        assert!(
            rest.contains(&format!("1.3.6.1.4.1.32473.1{mark}\n")),
            "{said}"
        );
        assert!(!said.contains("Response Extensions:"), "{said}");
    }
}

#[test]
fn certificates_name_their_responders_in_order_and_in_any_form() {
    let (ca, _) = ca();
    let text = |cert: &X509| String::from_utf8(cert.to_text().unwrap()).unwrap();
    // From the text: OpenSSL's own function for it sorts them.
    let urls = |cert: &X509| {
        let text = text(cert);
        let urls = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("OCSP - URI:"));
        urls.map(str::to_owned).collect::<Vec<_>>()
    };
    let odd = [
        "http://127.0.0.1:1/a",
        "https://127.0.0.1:2/",
        "ldap://127.0.0.1/cn=ocsp",
        "http://user:password@127.0.0.1/",
        "no URL at all",
    ];
    let spec = odd
        .iter()
        .fold(LeafSpec::local_server(), |spec, url| spec.ocsp_url(url));
    let cert = ca.issue(spec).cert;
    assert_eq!(urls(&cert), odd);

    // The printed form of an empty one depends on the version.
    let cert = ca.issue(LeafSpec::local_server().ocsp_url("")).cert;
    let method = der::object_identifier("1.3.6.1.5.5.7.48.1");
    let access = der::sequence(&[method, der::context(6, b"")]);
    let bytes = cert.to_der().unwrap();
    assert!(bytes.windows(access.len()).any(|part| part == access));

    let spec = LeafSpec::local_server().ca_issuers_url("http://127.0.0.1:3/ca.der");
    let issuers_only = ca.issue(spec).cert;
    let said = text(&issuers_only);
    assert!(
        said.contains("CA Issuers - URI:http://127.0.0.1:3/ca.der"),
        "{said}"
    );
    assert!(!said.contains("OCSP - "), "{said}");
    let both = LeafSpec::local_server()
        .ca_issuers_url(odd[0])
        .ocsp_url(odd[1]);
    assert_eq!(urls(&ca.issue(both).cert), [odd[1]]);

    let dns = der::context(2, b"responder.example");
    let cert = ca.issue(LeafSpec::local_server().ocsp_location(&dns)).cert;
    assert!(
        text(&cert).contains("OCSP - DNS:responder.example"),
        "{}",
        text(&cert)
    );

    let middle = CaSpec::new("intermediate").ocsp_url(odd[0]).issued_by(&ca);
    assert_eq!(urls(middle.cert()), [odd[0]]);
    assert_eq!(urls(ca.cert()), [""; 0]);
}

#[test]
fn must_staple_is_the_tls_feature_extension() {
    let (ca, _) = ca();
    let features = |spec: LeafSpec| {
        let text = String::from_utf8(ca.issue(spec).cert.to_text().unwrap()).unwrap();
        let (_, rest) = text.split_once("TLS Feature:")?;
        Some(rest.lines().nth(1).unwrap().trim().to_owned())
    };
    assert_eq!(features(LeafSpec::local_server()), None);
    let must_staple = features(LeafSpec::local_server().must_staple());
    assert_eq!(must_staple.as_deref(), Some("status_request"));
    let both = features(LeafSpec::local_server().tls_features(&[17, 5]));
    assert_eq!(both.as_deref(), Some("status_request_v2, status_request"));
    let other = features(LeafSpec::local_server().tls_features(&[17]));
    assert_eq!(other.as_deref(), Some("status_request_v2"));
}
