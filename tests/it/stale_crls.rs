//! CRLs and trust anchors that are not all in force: the sets that a reload accepts, and those that a chain needs.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use mongotls::{CauseCode, Client, Error};
use mongotls_testbench::pki::{Ca, CaSpec, KeyKind, LeafSpec, Revocation, Validity};
use mongotls_testbench::server::{Server, ServerTls};
use openssl::x509::X509Crl;

use crate::common::{Bench, code, fact, ping_on};

fn pem(crls: &[X509Crl]) -> Vec<u8> {
    let texts = crls.iter().map(|crl| crl.to_pem().unwrap());
    texts.collect::<Vec<_>>().concat()
}

/// A client without monitors whose CRLs can be replaced, and that makes a new connection for each command.
struct Scene {
    bench: Bench,
    client: Client,
}

impl Scene {
    fn new(crls: impl FnOnce(&Ca) -> Vec<X509Crl>) -> Self {
        let bench = Bench::sound();
        let path = bench.dir.write("crl.pem", pem(&crls(&bench.ca)));
        let monitors = bench.without_monitors();
        let client = bench.client(&format!(
            "&tlsCRLFile={}&maxIdleTimeMS=1{monitors}",
            path.display()
        ));
        let scene = Self { bench, client };
        scene.ping();
        scene
    }

    fn ping(&self) {
        ping_on(&self.client).unwrap();
        thread::sleep(Duration::from_millis(5));
    }

    fn crl_path(&self) -> PathBuf {
        self.bench.dir.path().join("crl.pem")
    }

    fn reload(&self, crls: &[X509Crl]) -> Result<(), Error> {
        self.bench.dir.write("crl.pem", pem(crls));
        self.client.reload_tls()
    }

    /// Expects a reload to be rejected, the old set to stay in use, and no session to be lost.
    fn rejects(&self, crls: &[X509Crl], expected: CauseCode, message: &str) -> Error {
        let error = self.reload(crls).unwrap_err();
        assert_eq!(code(&error), expected, "{error}");
        assert_eq!(without_dates(error.cause().unwrap().message()), message);
        self.ping();
        error
    }
}

/// Writes `DATE` for each date.
fn without_dates(text: &str) -> String {
    const LENGTH: usize = "2026-01-01T00:00:00Z".len();
    let mut rest = text;
    let mut blank = String::new();
    while let Some(first) = rest.chars().next() {
        let is_date = |date: &str| date.ends_with('Z') && &date[10..11] == "T";
        if first.is_ascii_digit() && rest.get(..LENGTH).is_some_and(is_date) {
            blank.push_str("DATE");
            rest = &rest[LENGTH..];
        } else {
            blank.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    blank
}

/// Expects that reloads work and sessions are resumed.
fn is_sound(scene: &Scene) {
    scene.client.reload_tls().unwrap();
    let before = scene.client.snapshot().resumed_handshakes;
    scene.ping();
    scene.ping();
    let snapshot = scene.client.snapshot();
    assert_eq!(snapshot.resumed_handshakes, before + 1);
}

#[test]
fn an_unused_stale_crl_does_no_harm() {
    let other = Ca::root("other", KeyKind::EcP256);
    let unneeded = [
        other.crl().validity(Validity::expired()).build(),
        other.crl().validity(Validity::not_yet()).build(),
    ];
    for crl in unneeded {
        is_sound(&Scene::new(|ca| vec![crl, ca.crl().build()]));
    }
}

#[test]
fn the_best_crl_of_an_issuer_counts() {
    is_sound(&Scene::new(|ca| {
        vec![
            ca.crl().number(1).validity(Validity::expired()).build(),
            ca.crl().number(2).build(),
            ca.crl().number(3).validity(Validity::not_yet()).build(),
        ]
    }));
}

#[test]
fn a_session_ends_with_the_crl_that_was_used() {
    let other = Ca::root("other", KeyKind::EcP256);
    let scene = Scene::new(|ca| {
        vec![
            other.crl().validity(Validity::expired()).build(),
            ca.crl().validity(Validity::seconds(-60, 3)).build(),
        ]
    });
    scene.ping();
    assert_eq!(scene.client.snapshot().resumed_handshakes, 1);
    thread::sleep(Duration::from_millis(3200));
    let error = ping_on(&scene.client).unwrap_err();
    assert_eq!(code(&error), CauseCode::CrlExpired, "{error}");
}

#[test]
fn an_issuer_keeps_a_crl_in_force() {
    let scene = Scene::new(|ca| vec![ca.crl().number(1).build()]);
    let ca = &scene.bench.ca;
    let path = scene.crl_path();
    let early = || ca.crl().number(2).validity(Validity::not_yet()).build();
    let late = || ca.crl().number(2).validity(Validity::expired()).build();
    let error = scene.rejects(
        &[early()],
        CauseCode::CrlNotYetValid,
        &format!(
            "the CRL of \"CN=bench root\" in {path:?} is valid only from DATE on, and would replace one which is in force until DATE"
        ),
    );
    assert_eq!(fact(&error, "path"), path.display().to_string());
    assert_eq!(fact(&error, "crl_issuer"), "CN=bench root");
    scene.rejects(
        &[late()],
        CauseCode::CrlExpired,
        &format!(
            "the CRL of \"CN=bench root\" in {path:?} is past its nextUpdate (DATE), and would replace one which is in force until DATE"
        ),
    );
    let other = Ca::root("other", KeyKind::EcP256).crl().build();
    scene.rejects(
        &[other],
        CauseCode::CrlMissing,
        "the files of tlsCRLFile no longer hold a CRL of \"CN=bench root\", and would replace one which is in force until DATE",
    );
    // Beside one in force there is no problem.
    let now = || ca.crl().number(2).build();
    scene.reload(&[late(), early(), now()]).unwrap();
    is_sound(&scene);
}

#[test]
fn a_crl_number_goes_down_only_after_its_crl_has_ended() {
    let (short, long) = (Validity::seconds(-3600, 4), Validity::days(-2, 7));
    let scene = Scene::new(|ca| vec![ca.crl().number(300).validity(short).build()]);
    let ca = &scene.bench.ca;
    let lower = || ca.crl().number(299).validity(long).build();
    let path = scene.crl_path();
    let error = scene.rejects(
        &[lower()],
        CauseCode::CrlInvalid,
        &format!(
            "the CRL of \"CN=bench root\" in {path:?} has the number 299 (thisUpdate DATE), and would replace number 300 (thisUpdate DATE), which is in force until DATE"
        ),
    );
    let numbers = ["crl_number", "crl_number_in_use"].map(|key| fact(&error, key));
    assert_eq!(numbers, ["299", "300"]);
    thread::sleep(Duration::from_millis(4200));
    scene.reload(&[lower()]).unwrap();
    is_sound(&scene);
}

#[test]
fn a_ca_with_a_new_key_restarts_its_crl_numbers() {
    let scene = Scene::new(|ca| vec![ca.crl().number(300).build()]);
    let new = Ca::root("bench root", KeyKind::EcP256);
    let both = [scene.bench.ca.cert_pem(), new.cert_pem()].concat();
    scene.bench.dir.write("ca.pem", both);
    scene.reload(&[new.crl().number(1).build()]).unwrap();
    let identity = new.issue(LeafSpec::local_server());
    scene.bench.server.set_tls(&ServerTls::new(&identity));
    is_sound(&scene);
}

#[test]
fn a_reload_may_revoke_more_and_trust_fewer() {
    let other = Ca::root("other", KeyKind::EcP256);
    let scene = Scene::new(|ca| vec![ca.crl().build()]);
    let (dir, ca) = (&scene.bench.dir, &scene.bench.ca);
    let crls = || vec![ca.crl().build(), other.crl().build()];
    dir.write("ca.pem", [ca.cert_pem(), other.cert_pem()].concat());
    scene.reload(&crls()).unwrap();
    // A CA is removed together with its CRL.
    dir.write("ca.pem", ca.cert_pem());
    scene.reload(&[ca.crl().build()]).unwrap();
    is_sound(&scene);
    // Or before its CRL.
    dir.write("ca.pem", [ca.cert_pem(), other.cert_pem()].concat());
    scene.reload(&crls()).unwrap();
    dir.write("ca.pem", ca.cert_pem());
    scene.reload(&crls()).unwrap();

    let server = scene.bench.ca.issue(LeafSpec::local_server());
    scene.bench.server.set_tls(&ServerTls::new(&server));
    scene.ping();
    let revoking = ca.crl().revoke(Revocation::of(&server.cert)).build();
    scene.reload(&[revoking, other.crl().build()]).unwrap();
    let error = ping_on(&scene.client).unwrap_err();
    assert_eq!(code(&error), CauseCode::RevokedCrl, "{error}");
    // All old anchors and their CRLs are removed.
    dir.write("ca.pem", other.cert_pem());
    scene.reload(&[other.crl().build()]).unwrap();
    let error = ping_on(&scene.client).unwrap_err();
    assert_eq!(code(&error), CauseCode::IssuerUnknown, "{error}");
}

#[test]
fn a_ca_goes_with_the_crl_of_an_intermediate_below_it() {
    let other = Ca::root("other", KeyKind::EcP256);
    let below = other.intermediate("below", KeyKind::EcP256);
    let scene = Scene::new(|ca| vec![ca.crl().build()]);
    let (dir, ca) = (&scene.bench.dir, &scene.bench.ca);
    dir.write("ca.pem", [ca.cert_pem(), other.cert_pem()].concat());
    scene
        .reload(&[ca.crl().build(), below.crl().build()])
        .unwrap();
    // With unchanged anchors the CRL must stay.
    scene.rejects(
        &[ca.crl().build()],
        CauseCode::CrlMissing,
        "the files of tlsCRLFile no longer hold a CRL of \"CN=below\", and would replace one which is in force until DATE",
    );
    dir.write("ca.pem", ca.cert_pem());
    scene.client.reload_tls().unwrap();
    is_sound(&scene);
}

#[test]
fn a_set_needs_one_anchor_in_force() {
    let bench = Bench::sound();
    let client = bench.client("");
    ping_on(&client).unwrap();
    let root = |name: &str, validity| CaSpec::new(name).validity(validity).root().cert_pem();
    let expired = root("expired", Validity::expired());
    let early = root("early", Validity::not_yet());
    let path = bench.ca_file.display();
    for (text, expected, message) in [
        (
            expired.clone(),
            CauseCode::CertificateExpired,
            format!(
                "none of the trust anchors in {path} (1 from tlsCAFile) is in force: the last of them, \"expired\", expired at DATE"
            ),
        ),
        (
            [early.clone(), expired.clone()].concat(),
            CauseCode::CertificateNotYetValid,
            format!(
                "none of the trust anchors in {path} (2 from tlsCAFile) is in force: the first of them, \"early\", is valid from DATE on"
            ),
        ),
    ] {
        bench.dir.write("ca.pem", text);
        let error = client.reload_tls().unwrap_err();
        assert_eq!(code(&error), expected, "{error}");
        assert_eq!(without_dates(error.cause().unwrap().message()), message);
        ping_on(&client).unwrap();
    }
    let own = bench.ca.cert_pem();
    bench.dir.write("ca.pem", [expired, early, own].concat());
    client.reload_tls().unwrap();
    ping_on(&client).unwrap();
}

/// A server below an intermediate CA.
struct Below {
    root: Ca,
    intermediate: Ca,
    server: Server,
}

impl Below {
    fn new() -> Self {
        let root = Ca::root("root", KeyKind::EcP256);
        let intermediate = root.intermediate("intermediate", KeyKind::EcP256);
        let identity = intermediate.issue(LeafSpec::local_server());
        let server = Server::builder().tls(ServerTls::new(&identity)).start();
        Self {
            root,
            intermediate,
            server,
        }
    }

    /// A handshake with these anchors and CRLs, with a look-up of the whole chain.
    fn handshake(&self, anchors: &[&Ca], crls: &[X509Crl]) -> Result<usize, Error> {
        let dir = mongotls_testbench::pki::PkiDir::new();
        let cas: Vec<_> = anchors.iter().map(|ca| ca.cert_pem()).collect();
        let (cas, crls) = (
            dir.write("ca.pem", cas.concat()),
            dir.write("crl.pem", pem(crls)),
        );
        let options = mongotls::options::TlsOptions::builder()
            .ca_file(cas)
            .crl_file(crls)
            .check_whole_chain(true)
            .build()
            .unwrap();
        let context = mongotls::tls::TlsContext::new(&options).unwrap();
        let socket = std::net::TcpStream::connect(self.server.addr()).unwrap();
        let stream = context.connect("localhost", socket)?;
        assert!(stream.report().is_verified());
        Ok(stream.report().verified_chain().len())
    }
}

#[test]
fn an_intermediate_anchor_needs_no_crl_of_its_own() {
    let below = Below::new();
    let (root, intermediate) = (&below.root, &below.intermediate);
    let own = || intermediate.crl().build();
    let stale = || root.crl().validity(Validity::expired()).build();
    let early = || root.crl().validity(Validity::not_yet()).build();
    let good = || root.crl().build();
    for anchors in [&[intermediate][..], &[intermediate, root]] {
        for crls in [
            &[own()][..],
            &[own(), good()],
            &[own(), stale()],
            &[own(), early()],
        ] {
            assert_eq!(below.handshake(anchors, crls).unwrap(), 2);
        }
    }
}

#[test]
fn certificates_below_an_anchor_need_its_crls() {
    let below = Below::new();
    let (root, intermediate) = (&below.root, &below.intermediate);
    let refused = |anchors: &[&Ca], crls: &[X509Crl], expected, message: &str| {
        let error = below.handshake(anchors, crls).unwrap_err();
        assert_eq!(code(&error), expected, "{error}");
        assert_eq!(without_dates(error.cause().unwrap().message()), message);
    };
    refused(
        &[intermediate],
        &[root.crl().build()],
        CauseCode::CrlMissing,
        "no CRL of \"CN=intermediate\" is there to check the server's certificate \"localhost\"",
    );
    refused(
        &[root],
        &[intermediate.crl().build()],
        CauseCode::CrlMissing,
        "no CRL of \"CN=root\" is there to check the intermediate CA \"intermediate\"",
    );
    let stale = root.crl().validity(Validity::expired()).build();
    refused(
        &[root],
        &[intermediate.crl().build(), stale],
        CauseCode::CrlExpired,
        "the CRL of \"CN=root\" is past its nextUpdate (DATE)",
    );
    // A CRL that lists the anchor itself counts.
    for anchors in [&[intermediate][..], &[root]] {
        let revoked = root.crl().revoke(Revocation::of(intermediate.cert()));
        let crls = [intermediate.crl().build(), revoked.build()];
        let error = below.handshake(anchors, &crls).unwrap_err();
        assert_eq!(code(&error), CauseCode::RevokedCrl, "{error}");
    }
    let crls = [intermediate.crl().build(), root.crl().build()];
    assert_eq!(below.handshake(&[root], &crls).unwrap(), 3);
}

#[test]
fn a_stale_crl_beside_one_in_force_is_a_warning() {
    let [ca, other] = ["root", "other"].map(|name| Ca::root(name, KeyKind::EcP256));
    let dir = mongotls_testbench::pki::PkiDir::new();
    let found = |crls: &[X509Crl]| {
        let path = dir.write("crl.pem", pem(crls));
        let report = mongotls::tls::FileReport::of(&path, None);
        let found = report.findings.iter();
        found
            .map(|finding| (finding.code.as_str(), finding.severity.as_str()))
            .collect::<Vec<_>>()
    };
    let stale = || ca.crl().validity(Validity::expired()).build();
    let early = || ca.crl().validity(Validity::days(1, 60)).build();
    let good = |ca: &Ca| ca.crl().validity(Validity::days(-1, 60)).build();
    assert_eq!(
        found(&[stale(), good(&ca), early()]),
        [("crl-expired", "warning"), ("crl-not-yet-valid", "warning")]
    );
    assert_eq!(
        found(&[stale(), good(&other)]),
        [("crl-expired", "failure")]
    );
}
