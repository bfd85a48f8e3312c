//! A long CRL: loaded once for a client, with equal cost for each position of an entry.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use mongotls::{CauseCode, Client};
use mongotls_testbench::pki::{
    Ca, DAY, Identity, KeyKind, LeafSpec, PkiDir, Revocation, Validity, random_serial,
};
use mongotls_testbench::server::{Server, ServerTls};
use openssl::bn::BigNum;
use openssl::x509::{CrlReason, X509Crl};

use crate::cli::{mongotls, mongotls_with};
use crate::common::{Bench, code, fact, ping_on};

const ENTRIES: usize = 30_000;

/// A CRL, and the servers of its first, middle and last entry. Their serial numbers are the largest, a middle one, and
/// the smallest of all, so that sorting reverses the list.
struct Listed {
    crl: X509Crl,
    /// The servers, each with the reason in the CRL.
    servers: Vec<(Identity, &'static str)>,
}

impl Listed {
    fn new(bench: &Bench) -> Self {
        let cases = [
            (
                BigNum::from_slice(&[0x7f; 16]).unwrap(),
                CrlReason::KEY_COMPROMISE,
                "keyCompromise",
                30,
            ),
            (random_serial(), CrlReason::SUPERSEDED, "superseded", 20),
            (
                BigNum::from_u32(1).unwrap(),
                CrlReason::CESSATION_OF_OPERATION,
                "cessationOfOperation",
                10,
            ),
        ];
        let mut crl = bench.ca.crl();
        let mut servers = Vec::new();
        for (serial, reason, name, days) in cases {
            if !servers.is_empty() {
                crl = (0..ENTRIES / 2).fold(crl, |crl, _| {
                    crl.revoke(Revocation::of_serial(&random_serial()))
                });
            }
            let identity = bench.ca.issue(LeafSpec::local_server().serial(serial));
            crl = crl.revoke(
                Revocation::of(&identity.cert)
                    .reason(reason)
                    .at(-days * DAY),
            );
            servers.push((identity, name));
        }
        let crl = crl.build();
        Self { crl, servers }
    }

    /// Checks that each server is rejected with the CRL's data, and a server that is not listed is accepted, by a full
    /// handshake each time.
    fn check(&self, bench: &Bench, client: &Client) {
        let mut dates = Vec::new();
        for (identity, reason) in &self.servers {
            bench.server.set_tls(&ServerTls::new(identity));
            let error = ping_on(client).unwrap_err();
            assert_eq!(code(&error), CauseCode::RevokedCrl, "{error}");
            assert_eq!(fact(&error, "serial"), identity.serial_hex());
            assert_eq!(fact(&error, "reason"), *reason);
            dates.push(fact(&error, "revoked_at"));
        }
        assert!(dates[0] < dates[1] && dates[1] < dates[2], "{dates:?}");

        // Another client may have resumed a session when it was dropped, to end its sessions.
        let resumed = bench.server.counts().resumed;
        for _ in 0..3 {
            let good = bench.ca.issue(LeafSpec::local_server());
            bench.server.set_tls(&ServerTls::new(&good));
            ping_on(client).unwrap();
            // The connection is idle for too long, and the next ping makes a new one.
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(bench.server.counts().resumed, resumed);
    }
}

#[test]
fn a_long_crl_is_loaded_once_and_each_of_its_entries_is_found() {
    let bench = Bench::sound();
    let listed = Listed::new(&bench);
    for (name, bytes) in [
        ("crl.pem", listed.crl.to_pem().unwrap()),
        ("crl.der", listed.crl.to_der().unwrap()),
    ] {
        let path = bench.dir.write(name, bytes);
        let client = bench.client(&format!(
            "&tlsCRLFile={}&maxIdleTimeMS=1{}",
            path.display(),
            bench.without_monitors()
        ));
        // A deleted file cannot be read again.
        fs::remove_file(&path).unwrap();
        let accepted = bench.server.counts().accepted;
        listed.check(&bench, &client);
        assert!(bench.server.counts().accepted >= accepted + 6, "{name}");
        assert_eq!(
            code(&client.reload_tls().unwrap_err()),
            CauseCode::CrlFileUnreadable
        );
        listed.check(&bench, &client);
    }
}

#[test]
fn a_damaged_crl_among_sound_ones_is_not_left_out() {
    let bench = Bench::sound();
    let sound = String::from_utf8(bench.ca.crl().build().to_pem().unwrap()).unwrap();
    let lines: Vec<_> = sound.lines().collect();
    let without_a_line = [&lines[..2], &lines[3..]].concat().join("\n");
    let with_a_star = sound.replacen("\nMI", "\n*I", 1);
    for damaged in [without_a_line, with_a_star] {
        let path = bench
            .dir
            .write("crl.pem", format!("{sound}{damaged}\n{sound}"));
        let uri = bench.uri(&format!("&tlsCRLFile={}", path.display()));
        let error = Client::connect(&uri).unwrap_err();
        assert_eq!(code(&error), CauseCode::CrlFileInvalid);
        assert_eq!(fact(&error, "holds"), "a CRL");
        assert!(error.to_string().contains("cannot be decoded"), "{error}");
    }
}

/// A server that the CRL of its CA lists, and another CA with an empty CRL.
struct Revoked {
    bench: Bench,
    crl: X509Crl,
    other: Ca,
    serial: String,
}

impl Revoked {
    fn new() -> Self {
        let ca = Ca::root("bench root", KeyKind::EcP256);
        let identity = ca.issue(LeafSpec::local_server());
        let crl = ca.crl().revoke(Revocation::of(&identity.cert)).build();
        let server = Server::builder().tls(ServerTls::new(&identity)).start();
        Self {
            serial: identity.serial_hex(),
            other: Ca::root("other", KeyKind::EcP256),
            bench: Bench::around(server, ca),
            crl,
        }
    }

    fn pem(&self) -> Vec<u8> {
        self.crl.to_pem().unwrap()
    }

    #[track_caller]
    fn is_refused(&self, outcome: Result<impl std::fmt::Debug, mongotls::Error>) {
        let error = outcome.unwrap_err();
        assert_eq!(code(&error), CauseCode::RevokedCrl, "{error}");
        let serial = &self.serial;
        assert_eq!(
            error.cause().unwrap().message(),
            format!(
                "the server's certificate \"localhost\" is revoked: the CRL lists serial number {serial}"
            )
        );
    }
}

#[test]
fn a_crl_beside_the_trust_anchors_is_used() {
    let revoked = Revoked::new();
    let bench = &revoked.bench;
    let anchors = bench.ca.cert_pem();
    for text in [
        [&anchors[..], &revoked.pem()].concat(),
        [&revoked.pem()[..], &anchors].concat(),
    ] {
        let file = bench.dir.write("ca.pem", &text);
        revoked.is_refused(bench.handshake(|tls| tls.ca_file(&file)));
        // This may also be the file of tlsCRLFile.
        revoked.is_refused(bench.handshake(|tls| tls.ca_file(&file).crl_file(&file)));
        let text = String::from_utf8(text).unwrap();
        revoked.is_refused(bench.handshake(|tls| tls.ca_certificates_pem(text)));
    }
    let folder = PkiDir::new();
    folder.write("ca.pem", &anchors);
    folder.write("crl.pem", revoked.pem());
    let made = std::process::Command::new("openssl")
        .arg("rehash")
        .arg(folder.path())
        .output();
    assert!(made.unwrap().status.success());
    revoked.is_refused(bench.handshake(|tls| tls.ca_directory(folder.path())));
    // Disabling the check applies to these CRLs too.
    let file = bench.dir.path().join("ca.pem");
    bench
        .handshake(|tls| {
            tls.ca_file(&file)
                .dangerous(|tls| tls.disable_certificate_revocation_check(true))
        })
        .unwrap();
}

#[test]
fn a_crl_beside_the_anchors_is_of_no_less_weight() {
    let bench = Bench::sound();
    let other = Ca::root("other", KeyKind::EcP256);
    let both = |ca: &Ca| [bench.ca.cert_pem(), ca.crl().build().to_pem().unwrap()].concat();
    let file = bench.dir.write("ca.pem", both(&bench.ca));
    bench
        .handshake(|tls| tls.ca_file(&file).check_whole_chain(true))
        .unwrap();
    let file = bench.dir.write("ca.pem", both(&other));
    let error = bench.handshake(|tls| tls.ca_file(&file)).unwrap_err();
    assert_eq!(code(&error), CauseCode::CrlMissing, "{error}");
    assert_eq!(fact(&error, "crl_issuers"), "CN=other");
    assert_eq!(fact(&error, "crl_files"), file.display().to_string());
    let file = bench.dir.write("ca.pem", bench.ca.cert_pem());
    let error = bench
        .handshake(|tls| tls.ca_file(&file).check_whole_chain(true))
        .unwrap_err();
    assert_eq!(code(&error), CauseCode::OptionConflict);
    assert_eq!(
        error.cause().unwrap().message(),
        "check_whole_chain needs a CRL"
    );
}

#[test]
fn every_crl_of_a_der_file_is_used() {
    let revoked = Revoked::new();
    let bench = &revoked.bench;
    let empty = revoked.other.crl().build().to_der().unwrap();
    let listing = revoked.crl.to_der().unwrap();
    let two = [&empty[..], &listing].concat();
    let in_a_block = format!(
        "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
        openssl::base64::encode_block(&two)
    );
    for bytes in [
        two.clone(),
        [&listing[..], &empty].concat(),
        [&two[..], b"\n"].concat(),
        in_a_block.into_bytes(),
    ] {
        let file = bench.dir.write("crl.der", bytes);
        revoked.is_refused(bench.handshake(|tls| tls.ca_file(&bench.ca_file).crl_file(&file)));
        let report = mongotls::tls::FileReport::of(&file, None);
        let is_der = report.form == Some(mongotls::tls::FileForm::Der);
        assert_eq!(report.crls.len(), if is_der { 2 } else { 1 });
    }
}

#[test]
fn data_after_a_crl_is_reported() {
    let revoked = Revoked::new();
    let dir = &revoked.bench.dir;
    let der = revoked.crl.to_der().unwrap();
    let pem = revoked.pem();
    let half = &pem[..pem.len() / 2];
    let line = 1 + pem.iter().filter(|byte| **byte == b'\n').count();
    let cases = [
        (
            [&der[..], b"more"].concat(),
            "holds a CRL that cannot be decoded: number 2".to_owned(),
        ),
        (
            [&der[..], &der[..der.len() - 1]].concat(),
            "holds a CRL that cannot be decoded: number 2".to_owned(),
        ),
        (
            [&der[..], &revoked.bench.ca.cert().to_der().unwrap()].concat(),
            "holds a CRL that cannot be decoded: number 2".to_owned(),
        ),
        (
            [&pem[..], half].concat(),
            format!("holds a CRL that is cut off: its block begins on line {line}"),
        ),
        (
            [
                &pem[..],
                b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            ]
            .concat(),
            format!(
                "holds a CRL that cannot be decoded: number 2, whose block begins on line {line}"
            ),
        ),
    ];
    let remedy = "Replace the damaged part; a file holds whole CRLs, in PEM form or in DER form one after the other.";
    for (bytes, why) in cases {
        let file = dir.write("crl", &bytes);
        let uri = revoked
            .bench
            .uri(&format!("&tlsCRLFile={}", file.display()));
        let error = Client::connect(&uri).unwrap_err();
        assert_eq!(code(&error), CauseCode::CrlFileInvalid);
        let cause = error.cause().unwrap();
        assert_eq!(cause.message(), format!("tlsCRLFile {file:?} {why}"));
        assert_eq!(cause.remedy(), remedy);
        if bytes.starts_with(b"-----") {
            // A damaged CRL beside the anchors is not left out either.
            let file = dir.write("both.pem", [revoked.bench.ca.cert_pem(), bytes].concat());
            let uri = format!("mongodb://localhost/?tlsCAFile={}", file.display());
            assert_eq!(
                code(&Client::connect(&uri).unwrap_err()),
                CauseCode::CaFileInvalid
            );
        }
    }
}

#[test]
fn a_crl_without_next_update_is_used_up_to_its_maximum_age() {
    let bench = Bench::sound();
    let two_hours = Validity::seconds(-7200, DAY);
    let crl = bench.ca.crl().validity(two_hours).without_next_update();
    let crl = crl.build();
    let file = bench.dir.write("crl.pem", crl.to_pem().unwrap());
    let attempt = |limit: Option<Duration>| {
        bench.handshake(|tls| {
            let tls = tls.ca_file(&bench.ca_file).crl_file(&file);
            match limit {
                Some(limit) => tls.crl_max_age(limit),
                None => tls,
            }
        })
    };
    attempt(None).unwrap();
    attempt(Some(Duration::from_secs(3 * 3600))).unwrap();
    let error = attempt(Some(Duration::from_secs(3600))).unwrap_err();
    assert_eq!(code(&error), CauseCode::CrlExpired, "{error}");
    let cause = error.cause().unwrap();
    assert_eq!(
        cause.message(),
        format!(
            "the CRL of \"CN=bench root\" has no nextUpdate and is older than crl_max_age allows: its thisUpdate is {}",
            fact(&error, "this_update")
        )
    );
    assert_eq!(
        cause.remedy(),
        "Fetch the current CRL of that issuer into the file of tlsCRLFile, and do so before it is as old as crl_max_age."
    );
    // A newer one beside it counts, and one with nextUpdate is not limited.
    let more = bench.ca.crl().number(2).validity(two_hours).build();
    bench.dir.write(
        "crl.pem",
        [crl.to_pem().unwrap(), more.to_pem().unwrap()].concat(),
    );
    attempt(Some(Duration::from_secs(3600))).unwrap();
    let error = attempt(Some(Duration::ZERO)).unwrap_err();
    assert_eq!(code(&error), CauseCode::OptionConflict);
    assert_eq!(
        error.cause().unwrap().message(),
        "crl_max_age must not be zero"
    );
}

#[test]
fn the_crl_scope_must_match_the_certificate() {
    use mongotls_testbench::der;
    let url = "http://crl.example/part.crl";
    let point = |url: &str| {
        let name = der::context(6, url.as_bytes());
        // Constructed: [0] around [0] around the name.
        let mut full = der::context(0, &name);
        full[0] |= 0x20;
        let mut point = der::context(0, &full);
        point[0] |= 0x20;
        der::sequence(&[point])
    };
    let refused = |leaf: LeafSpec, why: &str| {
        let ca = Ca::root("bench root", KeyKind::EcP256);
        let identity = ca.issue(leaf);
        let server = Server::builder().tls(ServerTls::new(&identity)).start();
        let bench = Bench::around(server, ca);
        let crl = bench.ca.crl().extension("2.5.29.28", true, &point(url));
        let file = bench.dir.write("crl.pem", crl.build().to_pem().unwrap());
        let report = mongotls::tls::FileReport::of(&file, None);
        assert_eq!(
            report.crls[0].scope,
            [format!("the distribution point {url}")]
        );
        let outcome = bench.handshake(|tls| tls.ca_file(&bench.ca_file).crl_file(&file));
        if why.is_empty() {
            return drop(outcome.unwrap());
        }
        let error = outcome.unwrap_err();
        assert_eq!(code(&error), CauseCode::CrlInvalid, "{error}");
        assert_eq!(
            error.cause().unwrap().message(),
            format!(
                "the CRL of \"CN=bench root\" does not serve to check the server's certificate \"localhost\": it is for the distribution point {url}, and the certificate names {why}"
            )
        );
    };
    refused(LeafSpec::local_server().crl_url(url), "");
    refused(LeafSpec::local_server(), "none");
    let other = "http://crl.example/other.crl";
    refused(LeafSpec::local_server().crl_url(other), other);
}

/// The log, the doctor and `inspect` print equal warnings, for each issuer.
#[test]
fn a_crl_without_next_update_is_warned_about() {
    let bench = Bench::sound();
    let with = bench.ca.crl().build().to_pem().unwrap();
    let without = bench.ca.crl().without_next_update().build();
    let file = bench.dir.write("crl.pem", without.to_pem().unwrap());
    let uri = bench.uri(&format!("&tlsCRLFile={}", file.display()));
    let text = "has no nextUpdate, so that an old one is not noticed; crl_max_age limits its age";
    let log = |uri: &str| {
        let level = [("MONGOTLS_LOG", Path::new("mongotls::tls=warn"))];
        let run = mongotls_with(&["ping", uri], &level);
        assert_eq!(run.code, 0, "{}", run.err);
        run.err
    };
    let told = log(&uri);
    let line = format!("the CRL of \"CN=bench root\" in {file:?} {text}");
    let lines: Vec<&str> = told.lines().collect();
    let [told] = lines.as_slice() else {
        panic!("{told}");
    };
    assert!(told.contains("WARN") && told.ends_with(&line), "{told}");

    let of_file = format!("the CRL of \"CN=bench root\" {text}");
    let json = |words: &[&str]| -> serde_json::Value {
        let run = mongotls(&[words, &["--json"]].concat());
        assert_eq!(run.code, 0, "{}", run.err);
        serde_json::from_str(&run.out).unwrap()
    };
    let inspected = json(&["inspect", file.to_str().unwrap()]);
    assert_eq!(
        inspected["files"][0]["findings"],
        serde_json::json!([{
            "code": "crl-no-next-update", "severity": "warning", "message": of_file
        }])
    );
    let examined = json(&["doctor", &uri]);
    let warning = format!("tlsCRLFile {file:?}: {of_file}");
    assert_eq!(
        examined["warnings"],
        serde_json::json!([warning]),
        "{examined:#}"
    );

    // A CRL with an end causes no warning.
    fs::write(&file, with).unwrap();
    assert_eq!(log(&uri), "");
    assert_eq!(json(&["doctor", &uri])["warnings"], serde_json::json!([]));
}
