//! CRLs: their entries, and their problems.

use mongotls::CauseCode;
use mongotls::error::Stage;
use mongotls_testbench::der;
use mongotls_testbench::pki::{
    Ca, CaSpec, CrlSpec, Identity, KeyKind, LeafSpec, PkiDir, Revocation, Validity,
};
use mongotls_testbench::server::{Server, ServerTls};
use openssl::x509::{CrlReason, X509Crl};

use super::{Expected, KINDS, Seen, TLS_1_2, TLS_1_3, key, name, passes, shown, time};
use crate::common::Bench;

pub(super) const CODES: &[CauseCode] = &[
    CauseCode::RevokedCrl,
    CauseCode::CrlMissing,
    CauseCode::CrlExpired,
    CauseCode::CrlNotYetValid,
    CauseCode::CrlInvalid,
];

/// The extension issuingDistributionPoint (RFC 5280 §5.2.5).
const SCOPE: &str = "2.5.29.28";

/// An unknown extension: an arc for examples.
const UNKNOWN: &str = "2.999.1";

struct Desk {
    bench: Bench,
    mid: Ca,
    good: Identity,
    bad: Identity,
    crl_file: String,
}

impl Desk {
    fn new(kind: KeyKind) -> Self {
        let ca = |name: &str, of| CaSpec::new(name).key(&key(kind, of));
        let root = ca("the root", "root").root();
        let mid = ca("the intermediate", "mid").issued_by(&root);
        let leaf = || LeafSpec::local_server().key(&key(kind, "leaf"));
        let (good, bad) = (mid.issue(leaf()), mid.issue(leaf()));
        let server = Server::builder().tls(ServerTls::new(&good)).start();
        let bench = Bench::around(server, root);
        Self {
            crl_file: shown(&bench.dir.path().join("crl.pem")),
            bench,
            mid,
            good,
            bad,
        }
    }

    fn uri(&self) -> String {
        self.bench.uri(&format!("&tlsCRLFile={}", self.crl_file))
    }

    fn write(&self, crls: &[&X509Crl]) {
        let pem: Vec<u8> = crls.iter().flat_map(|crl| crl.to_pem().unwrap()).collect();
        self.bench.dir.write("crl.pem", pem);
    }

    /// A CRL of the intermediate that lists the bad certificate.
    fn listing(&self) -> CrlSpec<'_> {
        let entry = Revocation::of(&self.bad.cert).reason(CrlReason::KEY_COMPROMISE);
        self.mid.crl().revoke(entry)
    }

    fn expected(&self, code: CauseCode, identity: &Identity) -> Expected {
        Expected::new(code)
            .blames(&identity.cert, 0, "end entity")
            .fact("crl_files", vec![self.crl_file.clone()])
    }

    /// Expects the dates of the CRL.
    fn dated(&self, code: CauseCode, crl: &X509Crl) -> Expected {
        self.expected(code, &self.good)
            .fact("this_update", time(crl.last_update()))
            .fact("next_update", time(crl.next_update().unwrap()))
    }
}

fn check_all(kind: KeyKind) {
    let desk = Desk::new(kind);
    let mut seen = Seen::default();
    let sound = desk.listing().build();
    let expired = desk.listing().validity(Validity::expired()).build();
    let future = desk.listing().validity(Validity::not_yet()).build();
    let broken = desk.listing().broken_signature().build();
    let scope = |flag: u8| der::sequence(&[der::context(flag, &[0xff])]);
    let only_ca = desk.listing().only_ca_certificates().build();
    let indirect = desk.listing().extension(SCOPE, true, &scope(4)).build();
    let some_reasons = der::sequence(&[der::context(3, &[6, 0x40])]);
    let some_reasons = desk.listing().extension(SCOPE, true, &some_reasons).build();
    let unknown = desk.listing().extension(UNKNOWN, true, &[5, 0]).build();
    let of_root = desk.bench.ca.crl().build();
    let of_others = desk
        .bench
        .ca
        .crl()
        .extension(SCOPE, true, &scope(4))
        .build();
    let namesake = CaSpec::new("the intermediate")
        .key(&key(kind, "other"))
        .issued_by(&desk.bench.ca);
    let namesake = namesake.crl().build();
    let invalid = || desk.expected(CauseCode::CrlInvalid, &desk.good);
    let faults = [
        (
            "expired",
            &expired,
            desk.dated(CauseCode::CrlExpired, &expired),
        ),
        (
            "not yet valid",
            &future,
            desk.dated(CauseCode::CrlNotYetValid, &future).says("clock"),
        ),
        ("broken signature", &broken, invalid()),
        (
            "for CAs only",
            &only_ca,
            invalid().says("it covers CA certificates only, and this is an end entity"),
        ),
        (
            "indirect",
            &indirect,
            invalid().says("it is an indirect CRL, which is not supported"),
        ),
        (
            "for some reasons only",
            &some_reasons,
            invalid().says("it covers the reasons keyCompromise only"),
        ),
        ("unknown critical extension", &unknown, invalid()),
        (
            "of a CA of the same name",
            &namesake,
            invalid().says("it is signed with another key of that CA"),
        ),
        (
            "of another CA, and indirect",
            &of_others,
            desk.expected(CauseCode::CrlMissing, &desk.good)
                .fact("crl_issuers", vec!["CN=the root"])
                .reads(
                    "no CRL of \"CN=the intermediate\" is there to check the server's certificate \"localhost\"; the CRL of \"CN=the root\" is an indirect one, which is not supported",
                    "Add the CRL of that issuer to the file of tlsCRLFile.",
                ),
        ),
        (
            "of another CA",
            &of_root,
            desk.expected(CauseCode::CrlMissing, &desk.good)
                .fact("crl_issuers", vec!["CN=the root"]),
        ),
    ];
    let revoked = sound.get_by_serial(desk.bad.cert.serial_number());
    let openssl::x509::CrlStatus::Revoked(entry) = revoked else {
        panic!("not listed");
    };
    let listed = desk
        .expected(CauseCode::RevokedCrl, &desk.bad)
        .fact("reason", "keyCompromise")
        .fact("revoked_at", time(entry.revocation_date()))
        .fact("this_update", time(sound.last_update()))
        .fact("next_update", time(sound.next_update().unwrap()))
        .says(&desk.bad.serial_hex());
    for (min, max) in [TLS_1_2, TLS_1_3] {
        let serve = |identity: &Identity| {
            let tls = ServerTls::new(identity).versions(min, max);
            desk.bench.server.set_tls(&tls);
        };
        let scenario = |name: &str| format!("CRL {name} on {min:?} with {kind:?}");
        serve(&desk.good);
        desk.write(&[&sound]);
        passes(&scenario("sound"), &desk.uri());
        desk.write(&[&of_root, &sound]);
        passes(&scenario("among others"), &desk.uri());
        for (name, crl, expected) in &faults {
            desk.write(&[crl]);
            seen.check(&scenario(name), &desk.uri(), expected);
        }
        serve(&desk.bad);
        desk.write(&[&sound]);
        seen.check(&scenario("with the certificate"), &desk.uri(), &listed);
    }
    whole_chain(&desk, &mut seen);
    seen.are(CODES);
}

/// Tests the check of the whole chain, which only programs can request.
fn whole_chain(desk: &Desk, seen: &mut Seen) {
    let dir = PkiDir::new();
    let file = |name: &str, crl: X509Crl| dir.write(name, crl.to_pem().unwrap());
    let own = file("own.pem", desk.mid.crl().build());
    let upper = file("upper.pem", desk.bench.ca.crl().build());
    let entry = Revocation::of(desk.mid.cert()).reason(CrlReason::CESSATION_OF_OPERATION);
    let revoking = file("revoking.pem", desk.bench.ca.crl().revoke(entry).build());
    let late = desk.bench.ca.crl().validity(Validity::expired());
    let late = file("late.pem", late.build());
    let blamed = |code| {
        Expected::new(code)
            .blames(desk.mid.cert(), 1, "intermediate")
            .at(Stage::Revocation)
    };
    desk.bench.server.set_tls(&ServerTls::new(&desk.good));
    let attempt = |files: &[&std::path::PathBuf]| {
        desk.bench.handshake(|tls| {
            let tls = tls.ca_file(&desk.bench.ca_file).check_whole_chain(true);
            files.iter().fold(tls, |tls, file| tls.crl_file(file))
        })
    };
    attempt(&[&own, &upper]).unwrap();
    let cases = [
        (
            vec![&own, &revoking],
            CauseCode::RevokedCrl,
            vec![&revoking],
        ),
        (vec![&own], CauseCode::CrlMissing, vec![&own]),
        (vec![&own, &late], CauseCode::CrlExpired, vec![&late]),
    ];
    for (files, code, told) in cases {
        let error = attempt(&files).unwrap_err();
        seen.check_error("whole chain", &error, &blamed(code));
        let facts = error.cause().unwrap().facts();
        let fact = |key: &str| facts.get(key).unwrap().to_string();
        assert_eq!(fact("subject"), name(desk.mid.cert().subject_name()));
        assert_eq!(
            (fact("depth"), fact("role")),
            ("1".into(), "intermediate".into())
        );
        let told: Vec<_> = told.iter().map(|path| shown(path)).collect();
        assert_eq!(fact("crl_files"), told.join(", "));
    }
}

#[test]
fn each_fault_of_a_crl_has_its_facts() {
    KINDS.into_iter().for_each(check_all);
}
