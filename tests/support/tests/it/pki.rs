//! The PKI as OpenSSL reads it: each defect has exactly its own reason.

use mongotls_testbench::pki::{
    BasicConstraints, Ca, CaSpec, Digest, Identity, KeyKind, LeafSpec, PkiDir, Purpose, Revocation,
    Usage, Validity,
};
use openssl::asn1::Asn1Time;
use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::store::{X509Lookup, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{
    CrlReason, CrlStatus, ReasonCode, X509, X509Crl, X509PurposeId, X509StoreContext,
};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// OpenSSL's verdict on a server certificate, as its error code; 0 is good.
fn verdict(root: &Ca, identity: &Identity, host: &str, crl: Option<&Path>) -> i32 {
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(root.cert().clone()).unwrap();
    if let Some(path) = crl {
        store
            .add_lookup(X509Lookup::file())
            .unwrap()
            .load_crl_file(path, openssl::ssl::SslFiletype::PEM)
            .unwrap();
    }
    let mut param = X509VerifyParam::new().unwrap();
    param.set_purpose(X509PurposeId::SSL_SERVER).unwrap();
    param.set_auth_level(2);
    match host.parse() {
        Ok(ip) => param.set_ip(ip).unwrap(),
        Err(_) => param.set_host(host).unwrap(),
    }
    if crl.is_some() {
        param.set_flags(X509VerifyFlags::CRL_CHECK).unwrap();
    }
    store.set_param(&param).unwrap();

    let mut chain = Stack::new().unwrap();
    for cert in &identity.chain {
        chain.push(cert.clone()).unwrap();
    }
    let mut context = X509StoreContext::new().unwrap();
    context
        .init(&store.build(), &identity.cert, &chain, |c| {
            c.verify_cert()?;
            Ok(c.error().as_raw())
        })
        .unwrap()
}

fn check(root: &Ca, identity: &Identity) -> i32 {
    verdict(root, identity, "localhost", None)
}

#[test]
fn sound_chain_verifies_with_every_kind_of_key() {
    for kind in [
        KeyKind::Rsa(2048),
        KeyKind::EcP256,
        KeyKind::EcP384,
        KeyKind::Ed25519,
    ] {
        let root = Ca::root("root", kind);
        let middle = root.intermediate("intermediate", kind);
        let server = middle.issue(LeafSpec::local_server().key_kind(kind));
        assert_eq!(server.chain.len(), 1, "{kind:?}");
        assert_eq!(check(&root, &server), 0, "{kind:?}");
        assert_eq!(verdict(&root, &server, "127.0.0.1", None), 0, "{kind:?}");
        assert_eq!(verdict(&root, &server, "::1", None), 0, "{kind:?}");
    }
}

#[test]
fn certificates_carry_key_identifiers_and_long_random_serials() {
    let root = Ca::root("root", KeyKind::EcP256);
    let one = root.issue(LeafSpec::local_server());
    let two = root.issue(LeafSpec::local_server());
    assert_eq!(
        one.cert.authority_key_id().unwrap().as_slice(),
        root.cert().subject_key_id().unwrap().as_slice()
    );
    assert_ne!(one.serial_hex(), two.serial_hex());
    let serial = one.cert.serial_number().to_bn().unwrap();
    assert!(serial.num_bits() >= 64 && !serial.is_negative());
    assert!(one.cert.not_before() < &*Asn1Time::days_from_now(0).unwrap());
}

#[test]
fn each_defect_is_refused_for_its_own_reason() {
    let root = Ca::root("root", KeyKind::EcP256);
    let middle = root.intermediate("intermediate", KeyKind::EcP256);
    let good = || LeafSpec::local_server();
    let below = |spec: CaSpec| spec.issued_by(&root).issue(LeafSpec::local_server());

    // OpenSSL 3 gave "invalid CA certificate" another number.
    let invalid_ca = match openssl::version::number() >= 0x3000_0000 {
        true => 79,
        false => 24,
    };
    #[rustfmt::skip]
    let cases: Vec<(&str, Identity, i32)> = vec![
        ("expired", middle.issue(good().validity(Validity::expired())), 10),
        ("not yet valid", middle.issue(good().validity(Validity::not_yet())), 9),
        ("expired intermediate", below(CaSpec::new("i").validity(Validity::expired())), 10),
        ("no intermediate sent", middle.issue(good()).without_chain(), 20),
        ("unknown root", Ca::root("other", KeyKind::EcP256).issue(good()), 20),
        ("self-signed", Identity::self_signed(good()), 18),
        ("broken signature", middle.issue(good()).with_broken_signature(), 7),
        ("other name", middle.issue(good().no_san().dns("other.example")), 62),
        ("only a client", middle.issue(good().purposes(&[Purpose::ClientAuth])), 26),
        ("code signing", middle.issue(good().purposes(&[Purpose::CodeSigning])), 26),
        ("key usage", middle.issue(good().usage(Usage::CertSign)), 26),
        ("weak key", root.issue(good().key_kind(KeyKind::Rsa(1024))), 66),
        ("weak digest", middle.issue(good().digest(Digest::Sha1)), 68),
        ("MD5", root.intermediate("rsa", KeyKind::Rsa(2048)).issue(good().digest(Digest::Md5)), 68),
        ("CA:FALSE", below(CaSpec::new("i").basic_constraints(BasicConstraints::NotCa)), invalid_ca),
        ("no basicConstraints", below(CaSpec::new("i").basic_constraints(BasicConstraints::Absent)), invalid_ca),
        ("no keyCertSign", below(CaSpec::new("i").without_cert_sign()), invalid_ca),
        ("path length", CaSpec::new("a").path_length(0).issued_by(&root).intermediate("b", KeyKind::EcP256).issue(good()), 25),
        ("not permitted", below(CaSpec::new("i").permit_dns("example.org")), 47),
        ("excluded", below(CaSpec::new("i").exclude_dns("localhost")), 48),
    ];
    for (defect, identity, expected) in cases {
        assert_eq!(check(&root, &identity), expected, "{defect}");
    }
    assert_eq!(
        check(&root, &below(CaSpec::new("i").permit_dns("localhost"))),
        0
    );
}

#[test]
fn name_without_alternative_names_is_only_a_common_name() {
    let root = Ca::root("root", KeyKind::EcP256);
    let server = root.issue(LeafSpec::server("localhost").no_san().cn("elsewhere"));
    assert!(server.cert.subject_alt_names().is_none());
    let cn = server.cert.subject_name().entries_by_nid(Nid::COMMONNAME);
    let names: Vec<_> = cn.map(|e| e.data().to_string().unwrap()).collect();
    assert_eq!(names, ["elsewhere"]);
}

#[test]
fn crl_holds_serial_reason_and_dates() {
    let root = Ca::root("root", KeyKind::EcP256);
    let middle = root.intermediate("intermediate", KeyKind::Ed25519);
    let server = middle.issue(LeafSpec::local_server());
    let other = middle.issue(LeafSpec::local_server());
    let crl = middle
        .crl()
        .revoke(Revocation::of(&server.cert).reason(CrlReason::SUPERSEDED))
        .build();
    assert!(crl.verify(middle.key()).unwrap());
    let CrlStatus::Revoked(entry) = crl.get_by_cert(&server.cert) else {
        panic!("not revoked");
    };
    let (_, reason) = entry.extension::<ReasonCode>().unwrap().unwrap();
    assert_eq!(reason.get_i64().unwrap(), 4);
    assert!(matches!(
        crl.get_by_cert(&other.cert),
        CrlStatus::NotRevoked
    ));

    let dir = PkiDir::new();
    let judge = |identity: &Identity, crl: X509Crl| {
        let path = dir.write("crl.pem", crl.to_pem().unwrap());
        verdict(&root, identity, "localhost", Some(&path))
    };
    let list = || middle.crl().revoke(Revocation::of(&server.cert));
    assert_eq!(judge(&server, list().build()), 23);
    assert_eq!(judge(&other, list().build()), 0);
    assert_eq!(
        judge(&other, list().validity(Validity::expired()).build()),
        12
    );
    assert_eq!(
        judge(&other, list().validity(Validity::not_yet()).build()),
        11
    );
    assert_eq!(judge(&other, list().broken_signature().build()), 8);
    assert_eq!(judge(&other, list().only_ca_certificates().build()), 44);
    assert_eq!(judge(&other, root.crl().build()), 3);
}

#[test]
fn extensions_about_revocation_read_back() {
    let root = Ca::root("root", KeyKind::EcP256);
    let spec = LeafSpec::local_server()
        .must_staple()
        .ocsp_url("http://127.0.0.1:1/a")
        .ocsp_url("http://127.0.0.1:2/b")
        .crl_url("http://127.0.0.1:3/c");
    let cert = root.issue(spec).cert;
    let urls: Vec<_> = cert
        .ocsp_responders()
        .unwrap()
        .iter()
        .map(|u| u.to_string())
        .collect();
    assert_eq!(urls, ["http://127.0.0.1:1/a", "http://127.0.0.1:2/b"]);
    let points = cert.crl_distribution_points().unwrap();
    let uri = points[0].distpoint().unwrap().fullname().unwrap()[0].uri();
    assert_eq!(uri, Some("http://127.0.0.1:3/c"));
    let text = String::from_utf8(cert.to_text().unwrap()).unwrap();
    assert!(
        text.contains("TLS Feature") && text.contains("status_request"),
        "{text}"
    );
}

#[test]
fn every_file_form_of_a_key_reads_back() {
    let root = Ca::root("root", KeyKind::EcP256);
    let middle = root.intermediate("intermediate", KeyKind::EcP256);
    for kind in [KeyKind::EcP256, KeyKind::Rsa(2048)] {
        let identity = middle.issue(LeafSpec::client("app").key_kind(kind));
        let same = |pem: &[u8], password: &[u8]| {
            let key = PKey::private_key_from_pem_passphrase(pem, password).unwrap();
            assert!(key.public_eq(&identity.key));
        };
        same(&identity.key_pem(), b"");
        same(&identity.traditional_key_pem(), b"");
        same(&identity.encrypted_key_pem("secret"), b"secret");
        same(&identity.encrypted_traditional_key_pem("secret"), b"secret");
        let wrong = PKey::private_key_from_pem_passphrase(&identity.encrypted_key_pem("a"), b"b");
        assert!(wrong.is_err());

        assert_eq!(
            X509::stack_from_pem(&identity.bundle_pem()).unwrap().len(),
            2
        );
        let p12 = Pkcs12::from_der(&identity.pkcs12("secret")).unwrap();
        let parsed = p12.parse2("secret").unwrap();
        assert!(parsed.pkey.unwrap().public_eq(&identity.key));
        assert_eq!(parsed.ca.unwrap().len(), 1);
    }
}

#[test]
fn files_are_private_and_go_away_with_their_folder() {
    let dir = PkiDir::new();
    let path = dir.write("key.pem", "one");
    dir.write("key.pem", "two");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(dir);
    assert!(!path.exists());
}
