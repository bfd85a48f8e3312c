//! CAs with the name of the issuer and another key: the most common reason for "I have set tlsCAFile, and it still
//! fails". Each scenario compares the whole message and the whole remedy.

use mongotls::CauseCode;
use mongotls_testbench::pki::{Ca, CaSpec, Identity, KeyIds, KeyKind, LeafSpec, PkiDir, Validity};
use mongotls_testbench::server::{Server, ServerTls};
use openssl::x509::X509Ref;

use super::{Expected, Seen, TLS_1_2, TLS_1_3, fingerprint, key, passes, shown, time};

/// The served chain, the trusted CAs, and the expected code, message and remedy.
struct Case {
    name: &'static str,
    identity: Identity,
    anchors: Vec<u8>,
    code: CauseCode,
    message: String,
    remedy: String,
}

fn root(key_of: &'static str) -> CaSpec {
    CaSpec::new("the root").key(&key(KeyKind::EcP256, key_of))
}

fn leaf() -> LeafSpec {
    LeafSpec::local_server().key(&key(KeyKind::EcP256, "leaf"))
}

/// Returns the property that distinguishes a certificate from others of its name.
fn identity(certificate: &X509Ref) -> String {
    format!(
        "(SHA-256 fingerprint {}, valid from {} to {})",
        fingerprint(certificate),
        time(certificate.not_before()),
        time(certificate.not_after())
    )
}

fn key_id(certificate: &X509Ref) -> String {
    let id = certificate.subject_key_id().unwrap().as_slice();
    let bytes: Vec<_> = id.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

const ANCHORS: &str = "ANCHORS is in use now.";

/// A CA was created again, and the client has the wrong one of its certificates.
fn cases() -> Vec<Case> {
    let no_ids = |spec: CaSpec| spec.key_ids(KeyIds::None);
    let (old, new) = (root("old").root(), root("new").root());
    let (old_plain, new_plain) = (no_ids(root("old")).root(), no_ids(root("new")).root());
    let plain_leaf = || leaf().key_ids(KeyIds::None);
    let other_key = |who: &str, has: &Ca, needs: &Ca| {
        format!(
            "{who} \"CN=the root\" bears the name of its issuer, but has another key, with the key identifier {} instead of {} {}",
            key_id(has.cert()),
            key_id(needs.cert()),
            identity(has.cert())
        )
    };
    let anchor = "the trust anchor";
    let no_anchor = "no trust anchor for the server's certificate \"localhost\":";
    let invalid = "the server's certificate \"localhost\" does not verify:";
    let plain = |ca: &Ca| {
        format!(
            "{anchor} \"CN=the root\" bears the name of its issuer, but has another key {}",
            identity(ca.cert())
        )
    };
    let again = "the CA was created again under its old name, or there are two of that name;";
    let mut all = vec![
        Case {
            name: "leaf alone",
            identity: new.issue(leaf()),
            anchors: old.cert_pem(),
            code: CauseCode::IssuerUnknown,
            message: format!("{no_anchor} {}", other_key(anchor, &old, &new)),
            remedy: format!(
                "Set tlsCAFile to the certificate of \"CN=the root\" with the key identifier {} that signed \"localhost\": {again} {ANCHORS}",
                key_id(new.cert())
            ),
        },
        Case {
            name: "leaf alone, without key identifiers",
            identity: new_plain.issue(plain_leaf()),
            anchors: old_plain.cert_pem(),
            code: CauseCode::SignatureInvalid,
            message: format!("{invalid} {}", plain(&old_plain)),
            remedy: format!(
                "Set tlsCAFile to the certificate of \"CN=the root\" that signed \"localhost\": {again} {ANCHORS}"
            ),
        },
    ];
    // The server still has its old certificate.
    for plain_ids in [false, true] {
        let ids = |spec: CaSpec| if plain_ids { no_ids(spec) } else { spec };
        let young = ids(root("new").validity(Validity::seconds(-60, 1000))).root();
        let old_leaf = match plain_ids {
            false => old.issue(leaf()),
            true => old_plain.issue(plain_leaf()),
        };
        let earlier = match plain_ids {
            false => format!(" with the key identifier {}", key_id(old.cert())),
            true => String::new(),
        };
        all.push(Case {
            name: "old leaf, new anchor",
            identity: old_leaf,
            anchors: young.cert_pem(),
            code: match plain_ids {
                false => CauseCode::IssuerUnknown,
                true => CauseCode::SignatureInvalid,
            },
            message: match plain_ids {
                false => format!("{no_anchor} {}", other_key(anchor, &young, &old)),
                true => format!("{invalid} {}", plain(&young)),
            },
            remedy: format!(
                "The trust anchor is newer than \"localhost\", so the CA was created again under its old name: have the new CA issue a certificate in place of \"localhost\". Until then, set tlsCAFile to the CA's earlier certificate{earlier}; {ANCHORS}"
            ),
        });
    }
    all.extend(sent_roots(&old, &new));
    all.extend(intermediates());
    all.extend(same_keys());
    all
}

/// The server sends its new root too.
fn sent_roots(old: &Ca, new: &Ca) -> Vec<Case> {
    let with_root = |ca: &Ca, leaf: LeafSpec| {
        let mut identity = ca.issue(leaf);
        identity.chain.push(ca.cert().clone());
        identity
    };
    let no_ids = |of| root(of).key_ids(KeyIds::None).root();
    let (old_plain, new_plain) = (no_ids("old"), no_ids("new"));
    let set = format!("set tlsCAFile to that certificate; {ANCHORS}");
    vec![
        Case {
            name: "new root sent",
            identity: with_root(new, leaf()),
            anchors: old.cert_pem(),
            code: CauseCode::UntrustedRoot,
            message: format!(
                "the chain ends in \"CN=the root\", which is not a trust anchor: the trust anchor of that name has another key, with the key identifier {} instead of {} {}",
                key_id(old.cert()),
                key_id(new.cert()),
                identity(old.cert())
            ),
            remedy: format!(
                "If the CA was created again under its old name, compare the SHA-256 fingerprint {} of the root that the server sends with the CA's own, and {}",
                fingerprint(new.cert()),
                set
            ),
        },
        Case {
            name: "new root sent, without key identifiers",
            identity: with_root(&new_plain, leaf().key_ids(KeyIds::None)),
            anchors: old_plain.cert_pem(),
            code: CauseCode::SignatureInvalid,
            message: format!(
                "the server's certificate \"localhost\" does not verify: the trust anchor \"CN=the root\" bears the name of its issuer, but has another key {}; the certificate \"CN=the root\" that the server sends signed it {}",
                identity(old_plain.cert()),
                identity(new_plain.cert())
            ),
            remedy: format!(
                "If the CA was created again under its old name, compare the SHA-256 fingerprint {} with the CA's own, and {}",
                fingerprint(new_plain.cert()),
                set
            ),
        },
        Case {
            name: "a self-signed certificate made again",
            identity: Identity::self_signed(LeafSpec::local_server()),
            anchors: Identity::self_signed(leaf()).cert.to_pem().unwrap(),
            code: CauseCode::SelfSigned,
            message: String::new(),
            remedy: String::new(),
        },
    ]
}

/// An intermediate CA was created again under its name.
fn intermediates() -> Vec<Case> {
    let root = root("old").root();
    let mid = |of| CaSpec::new("the middle").key(&key(KeyKind::EcP256, of));
    let (old, new) = (
        mid("mid").issued_by(&root),
        mid("other mid").issued_by(&root),
    );
    // The leaf of the new one, with the old one beside it.
    let mut mixed = new.issue(leaf());
    mixed.chain = old.chain().to_vec();
    let differs = |has: &Ca, needs: &Ca| {
        format!(
            "has another key, with the key identifier {} instead of {} {}",
            key_id(has.cert()),
            key_id(needs.cert()),
            identity(has.cert())
        )
    };
    vec![
        Case {
            name: "another intermediate of the name is sent",
            identity: mixed,
            anchors: root.cert_pem(),
            code: CauseCode::IssuerUnknown,
            message: format!(
                "no trust anchor for the server's certificate \"localhost\": the certificate \"CN=the middle\" that the server sends bears the name of its issuer, but {}",
                differs(&old, &new)
            ),
            remedy: format!(
                "Let the server send the certificate of \"CN=the middle\" with the key identifier {} that signed \"localhost\" (on mongod in net.tls.certificateKeyFile), in place of the one that it sends.",
                key_id(new.cert())
            ),
        },
        Case {
            name: "another intermediate of the name is trusted",
            identity: new.issue(leaf()),
            anchors: old.cert_pem(),
            code: CauseCode::IssuerUnknown,
            message: format!(
                "no trust anchor for the intermediate CA \"the middle\": its issuer \"CN=the root\" is neither a trust anchor nor sent by the server; the trust anchor \"CN=the middle\" bears the name of a CA that the server sends, but {}",
                differs(&old, &new)
            ),
            remedy: format!(
                "Set tlsCAFile to the certificate of \"CN=the middle\" with the key identifier {} that signed \"localhost\": the CA was created again under its old name, or there are two of that name; {ANCHORS}",
                key_id(new.cert())
            ),
        },
    ]
}

/// The keys are equal, but another property differs; or the signature does not belong to the key.
fn same_keys() -> Vec<Case> {
    let ca = root("old").root();
    let no_anchor = "no trust anchor for the server's certificate \"localhost\": the trust anchor \"CN=the root\" bears the name of its issuer, but";
    // Key identifiers by another method than RFC 5280's first.
    let odd = root("old")
        .key_ids(KeyIds::None)
        .extension("2.5.29.14", false, &[4, 3, 1, 2, 3])
        .root();
    let renewed = root("old").root();
    let by_serial = ca.issue(leaf().key_ids(KeyIds::WithSerial));
    let broken = ca.issue(leaf()).with_broken_signature();
    vec![
        Case {
            name: "another key identifier",
            identity: odd.issue(leaf()),
            anchors: ca.cert_pem(),
            code: CauseCode::IssuerUnknown,
            message: format!(
                "{no_anchor} has, with the same key, the key identifier {} instead of 01:02:03 {}",
                key_id(ca.cert()),
                identity(ca.cert())
            ),
            remedy: format!(
                "Set tlsCAFile to the certificate of \"CN=the root\" with the key identifier 01:02:03, or have \"localhost\" issued again, so that it names the key identifier that the CA has now; {ANCHORS}"
            ),
        },
        Case {
            name: "a renewed CA, and its old serial number in the leaf",
            identity: by_serial,
            anchors: renewed.cert_pem(),
            code: CauseCode::IssuerUnknown,
            message: format!(
                "{no_anchor} has, with the same key, the serial number {} instead of {} {}",
                super::serial(renewed.cert()),
                super::serial(ca.cert()),
                identity(renewed.cert())
            ),
            remedy: format!(
                "Set tlsCAFile to the certificate of \"CN=the root\" with the serial number {}, or have \"localhost\" issued again without the issuer's serial number in its authority key identifier; {ANCHORS}",
                super::serial(ca.cert())
            ),
        },
        Case {
            name: "an altered certificate",
            identity: broken,
            anchors: ca.cert_pem(),
            code: CauseCode::SignatureInvalid,
            message: format!(
                "the server's certificate \"localhost\" does not verify: the trust anchor \"CN=the root\" bears the name of its issuer, but its key does not verify the signature, although it has the right key identifier {}",
                identity(ca.cert())
            ),
            remedy: format!(
                "Let the server load \"localhost\" again as the CA issued it: it was altered. If it was not, another CA with the same name and key identifier signed it: set tlsCAFile to the certificate of that one; {ANCHORS}"
            ),
        },
    ]
}

#[test]
fn a_namesake_of_the_issuer_is_distinguished() {
    let server = Server::builder()
        .tls(ServerTls::new(&root("old").root().issue(leaf())))
        .start();
    let dir = PkiDir::new();
    let mut seen = Seen::default();
    for (number, case) in cases().into_iter().enumerate() {
        // A file that is written again is reported as changed.
        let ca_file = dir.write(&format!("ca-{number}.pem"), &case.anchors);
        let uri = format!(
            "mongodb://localhost:{}/?tls=true&tlsCAFile={}",
            server.port(),
            shown(&ca_file)
        );
        let anchors = format!("{} (1 from tlsCAFile)", shown(&ca_file));
        for (min, max) in [TLS_1_2, TLS_1_3] {
            server.set_tls(&ServerTls::new(&case.identity).versions(min, max));
            let scenario = format!("{} on {min:?}", case.name);
            let mut expected = Expected::new(case.code);
            if case.message.is_empty() {
                let anchor = openssl::x509::X509::from_pem(&case.anchors).unwrap();
                let own = &case.identity.cert;
                expected = expected.reads(
                    &format!(
                        "the server's certificate \"localhost\" is signed by itself and is not a trust anchor: the trust anchor of that name has another key {}",
                        identity(&anchor)
                    ),
                    &format!(
                        "The server has another certificate than the one in tlsCAFile. Compare its SHA-256 fingerprint {} with the server's own file, and put it into the file of tlsCAFile in place of the other; better, have a CA issue one.",
                        fingerprint(own)
                    ),
                );
            } else {
                let remedy = case.remedy.replace("ANCHORS", &anchors);
                expected = expected.reads(&case.message, &remedy);
            }
            seen.check(&scenario, &uri, &expected);
        }
    }
}

/// OpenSSL tries only one CA of a name if certificates have no key identifiers, and that may be the wrong one.
#[test]
fn of_two_anchors_of_one_name_the_right_one_is_named() {
    let ca = |of, ids| root(of).key_ids(ids).root();
    let dir = PkiDir::new();
    for ids in [KeyIds::None, KeyIds::Both] {
        let (old, new) = (ca("old", ids), ca("new", ids));
        let both = [old.cert_pem(), new.cert_pem()].concat();
        let ca_file = dir.write("ca.pem", both);
        let mut refused = 0;
        for (right, wrong) in [(&old, &new), (&new, &old)] {
            let identity_of = right.issue(leaf().key_ids(ids));
            let server = Server::builder().tls(ServerTls::new(&identity_of)).start();
            let uri = format!(
                "mongodb://localhost:{}/?tls=true&tlsCAFile={}",
                server.port(),
                shown(&ca_file)
            );
            let error = match crate::common::ping(&uri) {
                Ok(_) => continue,
                Err(error) => error,
            };
            refused += 1;
            let expected = Expected::new(CauseCode::SignatureInvalid).reads(
                &format!(
                    "the server's certificate \"localhost\" does not verify: the trust anchor \"CN=the root\" bears the name of its issuer, but has another key {}; the trust anchor \"CN=the root\" signed it {}",
                    identity(wrong.cert()),
                    identity(right.cert())
                ),
                &format!(
                    "Remove the one with the SHA-256 fingerprint {} from the file of tlsCAFile: without key identifiers in the certificates OpenSSL tries only one CA of a name.",
                    fingerprint(wrong.cert())
                ),
            );
            Seen::default().check_error("two of one name", &error, &expected);
        }
        // With key identifiers both work, so that a CA can be replaced.
        assert_eq!(refused, i32::from(ids == KeyIds::None), "{ids:?}");
    }
}

/// A CA that was renewed with its key verifies its earlier signatures, and the old certificate verifies later ones.
#[test]
fn a_ca_renewed_with_its_key_is_the_issuer_still() {
    let old = root("old").validity(Validity::days(-100, 1)).root();
    let new = root("old").root();
    let dir = PkiDir::new();
    for (signs, anchor) in [(&old, &new), (&new, &old)] {
        let ca_file = dir.write("ca.pem", anchor.cert_pem());
        let server = Server::builder()
            .tls(ServerTls::new(&signs.issue(leaf())))
            .start();
        let uri = format!(
            "mongodb://localhost:{}/?tls=true&tlsCAFile={}",
            server.port(),
            shown(&ca_file)
        );
        passes("renewed", &uri);
    }
}
