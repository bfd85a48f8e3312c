//! PyMongo with its extra `ocsp`, on the same servers and certificates: the tests compare if both accept the server.
//!
//! It runs if `MONGOTLS_PYMONGO` names a Python that has `pymongo[ocsp]`, and otherwise prints that it was skipped. If
//! the two differ, the difference is listed here, and in `docs/tls.md` with its reason.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mongotls_testbench::ocsp::Behaviour;
use mongotls_testbench::pki::{
    Ca, Digest, Identity, KeyKind, LeafSpec, OcspSpec, ResponderId, SingleResponse, Validity,
};
use openssl::ocsp::OcspResponseStatus;

use super::Scene;
use super::responder::Asked;

/// PyMongo, waiting for connection strings.
struct PyMongo {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

const PROGRAM: &str = "
import sys, pymongo
for line in sys.stdin:
    try:
        with pymongo.MongoClient(line.strip(), serverSelectionTimeoutMS=1500) as client:
            client.admin.command('ping')
        print('in', flush=True)
    except Exception as error:
        print('out', flush=True)
";

impl PyMongo {
    #[allow(clippy::print_stderr, reason = "whoever reads the log must see it")]
    fn start() -> Option<Self> {
        let Some(python) = std::env::var_os("MONGOTLS_PYMONGO") else {
            eprintln!("SKIPPED: MONGOTLS_PYMONGO names no Python with pymongo[ocsp]");
            return None;
        };
        let mut child = Command::new(python)
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        })
    }

    /// Returns true if PyMongo accepts the server.
    fn admits(&mut self, uri: &str) -> bool {
        writeln!(self.input, "{uri}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        match line.trim() {
            "in" => true,
            "out" => false,
            other => panic!("PyMongo ended: {other:?}"),
        }
    }
}

impl Drop for PyMongo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Change = fn(OcspSpec) -> OcspSpec;

/// The contents of responses.
const SAID: [(&str, Change); 35] = [
    ("good", |s| s),
    ("revoked", |s| s.revoked(-60, None)),
    ("unknown", OcspSpec::unknown),
    ("no nextUpdate", |s| s.next_update(None)),
    ("by key", |s| s.responder_id(ResponderId::ByKey)),
    ("broken signature", OcspSpec::broken_signature),
    ("signature over other bytes", |s| {
        s.signature_over(*b"other")
    }),
    ("wrong responder name", |s| {
        s.responder_id(ResponderId::WrongName)
    }),
    ("wrong responder key", |s| {
        s.responder_id(ResponderId::WrongKey)
    }),
    ("wrong serial", OcspSpec::wrong_serial),
    ("wrong issuer name", OcspSpec::wrong_issuer_name_hash),
    ("wrong issuer key", OcspSpec::wrong_issuer_key_hash),
    ("no answers", OcspSpec::no_singles),
    ("thisUpdate in 10 s", |s| s.this_update(10)),
    ("thisUpdate in an hour", |s| s.this_update(3600)),
    ("nextUpdate 10 s ago", |s| s.next_update(Some(-10))),
    ("nextUpdate an hour ago", |s| s.next_update(Some(-3600))),
    ("revoked, out of date", |s| {
        s.revoked(-9, None).next_update(Some(-60))
    }),
    ("critical extension", |s| s.unknown_extension(true)),
    ("unknown extension", |s| s.unknown_extension(false)),
    ("nonce", |s| s.nonce(b"nonce")),
    ("trailing data", |s| s.trailing(b"x")),
    ("tryLater", |s| s.status(OcspResponseStatus::TRY_LATER)),
    ("unauthorized", |s| {
        s.status(OcspResponseStatus::UNAUTHORIZED)
    }),
    ("without a response", |s| s.response_bytes(false)),
    ("another type", |s| s.response_type("1.2.3.4")),
    ("one byte", |s| s.truncated(1)),
    ("cut", |s| s.truncated(60)),
    ("CertID by SHA-256", |s| s.cert_id_digest(Digest::Sha256)),
    ("signed with SHA-1", |s| s.digest(Digest::Sha1)),
    ("signed with SHA-384", |s| s.digest(Digest::Sha384)),
    ("old producedAt", |s| s.produced_at(-86_400)),
    ("producedAt in the future", |s| s.produced_at(86_400)),
    ("revoked, with a broken signature", |s| {
        s.revoked(-9, None).broken_signature()
    }),
    ("unknown, out of date", |s| {
        s.unknown().next_update(Some(-60))
    }),
];

/// The behaviours of a responder.
fn behaviours() -> Vec<(&'static str, Behaviour)> {
    vec![
        ("status 404", Behaviour::Status(404)),
        ("status 500", Behaviour::Status(500)),
        ("HTML", Behaviour::Html),
        ("in chunks", Behaviour::Chunked),
        ("without a length", Behaviour::NoContentLength),
        ("no HTTP", Behaviour::Raw(b"SSH-2.0-x\r\n".to_vec())),
        ("nothing", Behaviour::Raw(Vec::new())),
        ("huge", Behaviour::Huge(10 << 20)),
        (
            "redirect to https",
            Behaviour::Redirect(302, "https://127.0.0.1:1/".into()),
        ),
        ("redirect for ever", Behaviour::RedirectForEver),
    ]
}

/// The differences: our result, PyMongo 4.20's result, and the cases. `docs/tls.md` has the reasons.
const DIFFERENCES: &[(&str, &str, &[&str])] = &[
    (
        "refuses",
        "admits",
        &[
            "must-staple false, staple: wrong serial",
            "must-staple false, staple: wrong issuer name",
            "must-staple false, staple: wrong issuer key",
            "must-staple false, staple: critical extension",
            "must-staple false, staple: trailing data",
            "must-staple true, staple: wrong serial",
            "must-staple true, staple: wrong issuer name",
            "must-staple true, staple: wrong issuer key",
            "must-staple true, staple: critical extension",
            "must-staple true, staple: trailing data",
            "staple by an expired delegate",
        ],
    ),
    (
        "admits",
        "refuses",
        &[
            "must-staple false, staple: thisUpdate in 10 s",
            "must-staple false, staple: nextUpdate 10 s ago",
            "must-staple true, staple: thisUpdate in 10 s",
            "must-staple true, staple: nextUpdate 10 s ago",
            "staple by two good answers",
            "responder: no answers",
            "responder: trailing data",
            "responder: without a response",
            "responder: another type",
            "responder: one byte",
            "responder: cut",
            "responder: HTML",
            "responder: huge",
        ],
    ),
];

#[test]
fn pymongo_accepts_the_same_servers() {
    let Some(mut pymongo) = PyMongo::start() else {
        return;
    };
    let mut found: Vec<String> = Vec::new();
    let mut cases = 0;
    let mut compare = |name: String, scene: &Scene| {
        let uri = scene.bench.uri("");
        let ours = crate::common::ping(&uri).is_ok();
        let theirs = pymongo.admits(&uri);
        cases += 1;
        if ours != theirs {
            let word = |admitted| if admitted { "admits" } else { "refuses" };
            found.push(format!(
                "{name}: we {}, PyMongo {}",
                word(ours),
                word(theirs)
            ));
        }
    };

    for must_staple in [false, true] {
        let scene = Scene::ec(|leaf| match must_staple {
            true => leaf.must_staple(),
            false => leaf,
        });
        compare(format!("must-staple {must_staple}, no staple"), &scene);
        for (name, change) in SAID {
            scene.staple(change(scene.issuer.ocsp(&scene.identity.cert)).build());
            compare(format!("must-staple {must_staple}, staple: {name}"), &scene);
        }
    }
    let scene = Scene::ec(|leaf| leaf);
    let spec = || scene.issuer.ocsp(&scene.identity.cert);
    let single = || SingleResponse::new(scene.issuer.cert(), &scene.identity.cert);
    let stranger = Ca::root("stranger", KeyKind::EcP256);
    let namesake = Ca::root("bench issuer", KeyKind::EcP256);
    let responder = || LeafSpec::ocsp_responder("responder");
    let by = |delegate: Identity| spec().signed_by(&delegate).build();
    for (name, staple) in [
        ("two good answers", spec().single(single()).build()),
        (
            "good, then revoked",
            spec().single(single().revoked(-9, None)).build(),
        ),
        (
            "revoked, then good",
            spec().revoked(-9, None).single(single()).build(),
        ),
        ("another CA", spec().signed_by_ca(&stranger).build()),
        (
            "a CA of the same name",
            spec().signed_by_ca(&namesake).build(),
        ),
        ("the root", spec().signed_by_ca(&scene.bench.ca).build()),
        ("a delegate", by(scene.issuer.issue(responder()))),
        ("a delegate of another CA", by(stranger.issue(responder()))),
        ("a delegate of a namesake", by(namesake.issue(responder()))),
        (
            "a delegate without the usage",
            by(scene.issuer.issue(LeafSpec::server("x"))),
        ),
        (
            "an expired delegate",
            by(scene
                .issuer
                .issue(responder().validity(Validity::expired()))),
        ),
        ("rubbish", vec![0; 100]),
    ] {
        scene.staple(staple);
        compare(format!("staple by {name}"), &scene);
    }
    for (name, change) in SAID {
        let asked = Asked::new();
        asked.answers(change);
        compare(format!("responder: {name}"), &asked.scene);
    }
    for (name, behaviour) in behaviours() {
        let asked = Asked::new();
        asked.responder.behave(behaviour);
        compare(format!("responder: {name}"), &asked.scene);
    }
    assert_eq!(cases, 129);
    let expected: Vec<String> = DIFFERENCES
        .iter()
        .flat_map(|(ours, theirs, names)| {
            let line = move |name: &&str| format!("{name}: we {ours}, PyMongo {theirs}");
            names.iter().map(line)
        })
        .collect();
    let new: Vec<_> = found
        .iter()
        .filter(|line| !expected.contains(line))
        .collect();
    let gone: Vec<_> = expected
        .iter()
        .filter(|line| !found.contains(line))
        .collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "{new:#?}, and no more {gone:#?}"
    );
}
